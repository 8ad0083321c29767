"""From the columns of a table to the numbers that a network takes, and from its outputs back to labels.

The mapping is learnt once, from the table that a model is trained on, and is part of the model and its file: the names
of the columns, what stands in for a missing number, the values that texts have, the labels of the classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.nn.losses import Labels
from chainrule.train.table import Column, Table, column_of, dense, is_table, plain, table_of

Array = NDArray[Any]
Kind = Literal["classes", "numbers"]

FEW = 20  # whole numbers of so many kinds are classes
VALUES = 64  # texts of one column that have an input of their own: the most frequent
ROWS = 20  # rows from which on a text of its own in each says nothing
_IDS = ("id", "index", "no", "nr", "number", "row", "rownames", "record", "key")
_TARGETS = ("target", "class", "label")


@dataclass(frozen=True)
class Feature:
    """A column that is an input. One of numbers has one input, with `fill` where nothing is known; one of texts has
    an input of 0 and 1 for each of its `values`, and where `missing` for the lack of one; two values share an input."""

    name: str
    fill: float | None = None
    values: tuple[str, ...] = ()
    missing: bool = False

    @property
    def width(self) -> int:
        kinds = len(self.values) + self.missing
        return 1 if self.fill is not None or kinds == 2 else kinds

    def encode(self, table: Table, column: Column) -> Array:
        """(rows, width). Raises DataError for texts among numbers, an infinity, and texts that are all unknown."""
        if self.fill is not None:
            return _numbers(table, column, self.fill)[:, None]
        codes, texts = column.as_texts
        places = _places(self.values, texts)
        known = np.append(places, -1)[codes]
        held = codes >= 0
        if held.any() and not (known[held] >= 0).any() and len(self.values) < VALUES:
            raise DataError(
                f"{table.show(column)} of {table.source} holds {_some(texts)}, none of the values that the model knows",
                fix=f"it knows {_some(self.values)}",
            )
        known = np.where(held, known, len(self.values) if self.missing else -1)
        if self.width == 1:
            return np.where(known < 0, 0.5, known)[:, None].astype(np.float64)
        return (known[:, None] == np.arange(self.width)).astype(np.float64)


@dataclass(frozen=True)
class Target:
    """What is learnt: numbers, or classes by their `labels`, in the order of the outputs."""

    name: str
    labels: tuple[str, ...] | None = None

    @property
    def numeric(self) -> bool:
        """Whether the labels are numbers."""
        return self.labels is not None and all(_is_number(label) for label in self.labels)

    def encode(self, table: Table, column: Column) -> Array:
        """A place in `labels` for each row, or a number. Raises DataError where one is missing or unknown."""
        if column.missing.any():
            row = int(np.flatnonzero(column.missing)[0])
            raise DataError(
                f"{table.place(row, column)} is empty", fix="every row needs a target: fill it, or leave the row out"
            )
        if self.labels is None:
            return _numbers(table, column, None)
        codes, texts = column.as_texts
        found = _places(self.labels, texts)
        if (found < 0).any():
            odd = texts[np.flatnonzero(found < 0).tolist()[0]]
            raise DataError(
                f"{table.source} has the class {shorten(odd, 40)!r}, which the model does not know",
                fix=f"it knows {_some(self.labels)}",
            )
        return found[codes].astype(np.int64)


@dataclass(frozen=True)
class Columns:
    """The mapping. `order` holds the names of all columns of the table that it was learnt from, of inputs, target and
    what was left out; they are places from 1 where the table had no names. No features: samples are arrays.
    `refuse`: missing numbers are refused. `notes` say in words what learning did."""

    features: tuple[Feature, ...] = ()
    target: Target | None = None
    order: tuple[str, ...] = ()
    named: bool = True
    refuse: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of_numbers(cls, table: Table) -> Columns:
        """Of a table whose columns are all numbers, with none missing."""
        features = tuple(Feature(name, fill=0.0) for name in table.names)
        return cls(features, None, tuple(table.names), table.named, refuse=True)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.target.labels or () if self.target else ()

    @property
    def scaled(self) -> Array:
        """Which inputs are numbers, not zeros and ones that stand for texts."""
        return np.concatenate([np.full(f.width, f.fill is not None) for f in self.features])

    def encode(self, table: Table) -> Array:
        """The inputs, (rows, inputs). Columns are matched by name, or by place where one of the tables has no names.

        Raises DataError naming a column that is missing, or one that the model does not know.
        """
        found = self._matched(table)
        for _, column in found:
            if self.refuse and column.missing.any():
                row = int(np.flatnonzero(column.missing)[0])
                raise DataError(
                    f"{table.place(row, column)} is empty", fix="fill it, leave the row out, or let it be filled"
                )
        return np.concatenate([feature.encode(table, column) for feature, column in found], axis=1)

    def target_of(self, table: Table) -> Array:
        """What is to be learnt of each row: places in the labels, or numbers. Raises DataError where the table has no
        such column."""
        assert self.target is not None
        column = _named(table, self.target.name) if self._by_name(table) else None
        if column is None and not self._by_name(table) and len(table.columns) == len(self.order):
            column = table.columns[self.order.index(self.target.name)]
        if column is None:
            raise DataError(
                f"{table.source} has no column {shorten(self.target.name, 40)!r}, which the model learnt",
                fix="give a table with the target",
            )
        return self.target.encode(table, column)

    def _by_name(self, table: Table) -> bool:
        return self.named and table.named

    def _matched(self, table: Table) -> list[tuple[Feature, Column]]:
        if not self._by_name(table):
            names = [feature.name for feature in self.features]
            several = (self.order, [n for n in self.order if not self.target or n != self.target.name], names)
            for order in several:
                if len(order) == len(table.columns):
                    return [(f, table.columns[order.index(f.name)]) for f in self.features]
            raise DataError(
                f"{table.source} has {len(table.columns)} columns, but the model was trained on {len(names)}",
                fix=f"give {_some(names)}",
            )
        found: list[tuple[Feature, Column]] = []
        for feature in self.features:
            column = _named(table, feature.name)
            if column is None:
                raise DataError(
                    f"{table.source} has no column {shorten(feature.name, 40)!r}, which the model takes",
                    fix=f"it takes {_some([feature.name for feature in self.features])}",
                )
            found.append((feature, column))
        taken = {id(column) for _, column in found}
        known = {name.strip().casefold() for name in self.order}
        for column in table.columns:
            if id(column) not in taken and column.name.strip().casefold() not in known:
                raise DataError(
                    f"{table.show(column)} of {table.source} is none that the model was trained with",
                    fix=f"leave it out; the model takes {_some([feature.name for feature in self.features])}",
                )
        return found

    def saved(self) -> dict[str, Any]:
        """What a file of the model keeps, as JSON has it."""
        features = [
            [f.name, f.fill] if f.fill is not None else [f.name, list(f.values), f.missing] for f in self.features
        ]
        target = None if self.target is None else [self.target.name, self.target.labels and list(self.target.labels)]
        return {
            "features": features, "target": target, "order": list(self.order), "named": self.named,
            "refuse": self.refuse,
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Columns:
        """From what `saved` gave. Raises ValueError, TypeError or LookupError where it is damaged."""
        features: list[Feature] = []
        for name, *rest in saved["features"]:
            if len(rest) == 1:
                features.append(Feature(_text(name), fill=_finite(rest[0])))
            else:
                values, missing = rest
                features.append(Feature(_text(name), values=tuple(map(_text, values)), missing=_truth(missing)))
        target = None
        if saved["target"] is not None:
            name, labels = saved["target"]
            target = Target(_text(name), None if labels is None else tuple(map(_text, labels)))
        order = tuple(map(_text, saved["order"]))
        if any(feature.width < 1 or feature.name not in order for feature in features):
            raise ValueError("a column has no place in the table")
        return cls(tuple(features), target, order, _truth(saved["named"]), _truth(saved["refuse"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is neither true nor false")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise TypeError("what stands in for a missing number is none")
    return float(value)


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(name, 40) for name in names[:12])
    return shown + (" …" if len(names) > 12 else "") or "none"


def _numbers(table: Table, column: Column, fill: float | None) -> Array:
    """The numbers of a column. Raises DataError where one is infinite or the column holds texts."""
    if column.texts is not None:
        if column.missing.all() and fill is not None:
            return np.full(len(column), fill)
        row = int(np.flatnonzero(~column.missing)[0])
        raise DataError(
            f"{table.place(row, column)} is {shorten(column.texts[int(column.values[row])], 40)!r}, which is no number",
            fix="write numbers in this column, as in the table that the model was trained on",
        )
    odd = np.flatnonzero(np.isinf(column.values))
    if len(odd):
        row = int(odd[0])
        raise DataError(
            f"{table.place(row, column)} is {column.values[row]}, which is not finite",
            fix="fill it, or leave the row out",
        )
    return column.values if fill is None else np.where(column.missing, fill, column.values)


def _places(values: Sequence[str], texts: Sequence[str]) -> Array:
    """The place of each text among the values, −1 where it is none of them. What is spelled exactly so goes before
    what differs in capitals, and a number is the same however it is written."""
    exact = {value: place for place, value in enumerate(values)}
    loose: dict[str, int] = {}
    for place, value in enumerate(values):
        loose[_key(value)] = -1 if _key(value) in loose else place
    return np.array([exact.get(text, loose.get(_key(text), -1)) for text in texts], np.int64)


def _key(text: str) -> str:
    return plain(float(text)) if _is_number(text) else text.casefold()


# Names of columns


def _named(table: Table, name: str) -> Column | None:
    """The column of that name; capitals decide only where two names differ in nothing else."""
    exact = [column for column in table.columns if column.name == name]
    loose = [column for column in table.columns if column.name.strip().casefold() == name.strip().casefold()]
    several = exact or loose
    return several[0] if len(several) == 1 else None


def find(table: Table, wanted: str | int) -> Column:
    """The column of that name or number: from 1, or −1 for the last. Raises DataError with the nearest names."""
    names = table.names
    if isinstance(wanted, str) and table.named:
        twice = [name for name in names if name == wanted or (name.startswith(f"{wanted} (") and wanted in names)]
        if len(twice) > 1 and all(name == wanted or name[len(wanted) + 2 : -1].isdigit() for name in twice):
            raise DataError(f"{table.source} has {len(twice)} columns {wanted!r}", fix="give the column's number")
        if (column := _named(table, wanted)) is not None:
            return column
    whole = wanted if isinstance(wanted, int) else None
    if isinstance(wanted, str) and (digits := wanted.removeprefix("-")).isascii() and digits.isdigit():
        whole = int(wanted) if len(digits) < 10 else None
    if whole is not None:
        if not 1 <= abs(whole) <= len(names):
            raise DataError(
                f"{table.source} has no column {whole}", fix=f"columns count from 1 to {len(names)}; -1 is the last one"
            )
        return table.columns[whole - 1 if whole > 0 else whole]
    near = get_close_matches(str(wanted).casefold(), {name.casefold(): name for name in names}, 1, 0.5)
    there = next((name for name in names if near and name.casefold() == near[0]), "")
    fix = f"did you mean {shorten(there, 40)!r}?" if near else f"there are {_some(names)}"
    raise DataError(
        f"{table.source} has no column {shorten(str(wanted), 60)!r}",
        fix=fix if table.named else f"its columns have no names: give a number, from 1 to {len(names)}",
    )


# Learning the mapping


def learn(
    table: Table,
    *,
    target: str | int | None = None,
    columns: Sequence[str | int] | None = None,
    drop: Sequence[str | int] = (),
    kind: Kind | None = None,
    refuse: bool = False,
) -> tuple[Columns, Table]:
    """The mapping of a table with its target, and the rows that have one."""
    if len(table.columns) < 2:
        raise DataError(
            f"{table.source} has one column",
            fix="give the inputs and the target, separated by commas, semicolons, tabs or spaces, or --separator",
        )
    wanted = _default_target(table) if target is None else find(table, target)
    notes: list[str] = []
    if target is None and wanted is not table.columns[-1]:
        notes.append(f"the target is the column {shorten(wanted.name, 40)}, by its name; --target chooses another")
    goal = _target(table, wanted, kind, notes)
    known = ~wanted.missing
    if not known.any():
        raise DataError(f"{table.show(wanted)} of {table.source} is empty", fix="choose another target")
    if not known.all():
        lost = int((~known).sum())
        notes.append(f"{lost} of {len(table)} rows have no {shorten(wanted.name, 40)}: they are left out")
        table = _taken(table, known)
        wanted = next(column for column in table.columns if column.name == wanted.name)
    chosen = [column for column in table.columns if column is not wanted]
    if columns is not None:
        chosen = [find(table, name) for name in columns]
        chosen = [column for i, column in enumerate(chosen) if column is not wanted and column not in chosen[:i]]
    dropped = [find(table, name) for name in drop]
    features = _features(table, [column for column in chosen if column not in dropped], notes)
    made = Columns(
        tuple(features), goal, tuple(table.names), table.named, refuse, (*table.notes, *notes)
    )
    return made, table


def _taken(table: Table, rows: Array) -> Table:
    columns = tuple(Column(c.name, c.values[rows], c.texts, c.dates) for c in table.columns)
    lines = None if table.lines is None else table.lines[rows]
    return Table(table.source, columns, table.named, lines, table.notes)


def _default_target(table: Table) -> Column:
    last = table.columns[-1]
    if not table.named or last.name.casefold() in _TARGETS:
        return last
    likely = [column for column in table.columns if column.name.casefold() in _TARGETS]
    return likely[0] if len(likely) == 1 else last


def _target(table: Table, column: Column, kind: Kind | None, notes: list[str]) -> Target:
    """What is learnt of a column: classes where it holds texts, or few whole numbers; else numbers."""
    where, rows = f"{table.show(column)} of {table.source}", int((~column.missing).sum())
    if column.dates:
        raise DataError(f"{where} holds dates, which are nothing to learn", fix="choose the column to learn: --target")
    if column.texts is not None:
        if kind == "numbers":
            _numbers(table, column, None)
        groups = _spellings(column, notes)
        if len(groups) > rows / 2 and rows >= ROWS:
            raise DataError(
                f"{where}, the target, holds {len(groups)} texts in {rows} rows, so there is nothing to learn",
                fix=f"choose the column to learn, --target: there are {_some(table.names)}",
            )
        return Target(column.name, tuple(sorted(groups)))
    values = np.unique(column.values[~column.missing])
    whole = bool(np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) < 2**53).all())
    few = whole and len(values) <= FEW and (2 * len(values) <= rows or len(values) <= 3)
    if kind == "numbers" or (kind is None and not few):
        return Target(column.name)
    if not np.isfinite(values).all():
        _numbers(table, column, None)
    return Target(column.name, tuple(plain(value) for value in values.tolist()))


def _spellings(column: Column, notes: list[str]) -> dict[str, int]:
    """The texts of a column with their counts. Spellings that differ in capitals alone are one text, written as most
    are; letters are taken as they are where there are many."""
    codes, texts = column.as_texts
    counts = np.bincount(codes[codes >= 0], minlength=len(texts)).tolist()
    letters = all(len(text) == 1 for text in texts) and len(texts) > 4
    groups: dict[str, list[tuple[int, str]]] = {}
    for text, count in zip(texts, counts, strict=True):
        if count:
            groups.setdefault(text if letters else text.casefold(), []).append((count, text))
    for group in groups.values():
        if len(group) > 1:
            shown = " and ".join(repr(shorten(text, 40)) for _, text in group[:3])
            notes.append(f"{shorten(column.name, 40)}: {shown} are taken for one")
    return {
        min(group, key=lambda one: (-one[0], one[1]))[1]: sum(count for count, _ in group) for group in groups.values()
    }


def _features(table: Table, columns: Sequence[Column], notes: list[str]) -> list[Feature]:
    dates = [column for column in columns if column.dates]
    if dates:
        names = ", ".join(shorten(column.name, 40) for column in dates[:5])
        raise DataError(
            f"{table.show(dates[0])} of {table.source} holds dates",
            fix=f"leave out what is no number of its own, --drop {names}, or write year, month or days since a day as "
            "numbers",
        )
    features = [feature for column in columns if (feature := _feature(table, column, notes)) is not None]
    if not features:
        raise DataError(f"{table.source} has no column to learn from", fix="give inputs: numbers, or texts that recur")
    return features


def _feature(table: Table, column: Column, notes: list[str]) -> Feature | None:
    """The input that a column becomes; None where it can say nothing, which is noted."""
    name, rows = shorten(column.name, 40) if table.named else f"column {column.name}", len(column)
    missing = int(column.missing.sum())
    if column.texts is None:
        values = _numbers(table, column, None)
        held = values[~column.missing]
        if not len(held) or (len(held) > 1 and (held == held[0]).all()):
            notes.append(f"{name} is {'empty' if not len(held) else f'always {plain(held[0])}'}: it is left out")
            return None
        if rows >= ROWS and not missing and (np.diff(values) == 1).all():
            if column.name.strip().casefold() in _IDS:
                notes.append(f"{name} numbers the rows: it is left out")
                return None
            notes.append(f"{name} counts the rows: --drop it if it says nothing of them")
        fill = float(np.median(held))
        if missing:
            notes.append(f"{name}: {missing} of {rows} are missing, taken for the median, {fill:g}")
        return Feature(column.name, fill=fill)
    groups = _spellings(column, notes)
    if len(groups) + bool(missing) < 2:
        notes.append(f"{name} is {f'always {next(iter(groups))!r}' if groups else 'empty'}: it is left out")
        return None
    if rows >= ROWS and len(groups) > (rows - missing) / 2 and len(groups) > 2:
        notes.append(f"{name} has a text of its own in most rows, which says nothing of others: it is left out")
        return None
    order = sorted(groups, key=lambda text: (-groups[text], text))
    if len(order) > VALUES:
        notes.append(f"{name}: the {VALUES} most frequent of {len(order)} texts are told apart")
    if missing:
        notes.append(f"{name}: {missing} of {rows} are missing, taken for a value of its own")
    return Feature(column.name, values=tuple(sorted(order[:VALUES])), missing=missing > 0)


# Tables and labels in memory


class Mapped(Protocol):
    """A model, as far as it maps columns."""

    columns: Columns | None
    classes: tuple[str, ...]


@contextmanager
def learning(model: Mapped, x: Any, y: Any, outputs: int) -> Generator[None]:
    """Learn the mapping of a first table and its labels; where these turn out not to fit, the model stays as it was."""
    known = model.columns, model.classes
    if model.columns is None:
        model.columns = _learnt(x, y, outputs)
        if model.columns is not None:
            for note in model.columns.notes:
                warnings.warn(note, stacklevel=4)
            model.classes = model.columns.labels or model.classes
    try:
        yield
    except BaseException:
        model.columns, model.classes = known
        raise


def _learnt(x: Any, y: Any, outputs: int) -> Columns | None:
    features, order, named, notes = list[Feature](), list[str](), True, list[str]()
    if is_table(x):
        table = table_of(x)
        features, order, named = _features(table, table.columns, notes), table.names, table.named
    column, target = _labels(y), None
    if column is not None:
        table = Table("y", (column,), False)
        values = column.values[~column.missing]
        kinds = np.unique(values)
        beyond = column.texts is None and len(kinds) == max(outputs, 2) and (kinds == np.floor(kinds)).all()
        if column.texts is not None or (beyond and (kinds[0] < 0 or kinds[-1] >= max(outputs, 2))):
            target = _target(table, column, "classes", notes)
            count = len(target.labels or ())
            if count > max(outputs, 2):
                raise DataError(
                    f"y holds {count} classes, but the model has {outputs} output{'s' * (outputs > 1)}",
                    fix=f"give the last layer {count} units",
                )
    if not features and target is None:
        return None
    return Columns(tuple(features), target, tuple(order), named, False, tuple(notes))


def _labels(y: Any) -> Column | None:
    """y as a column, where it is one value for each sample."""
    if hasattr(y, "columns") and hasattr(y, "iloc") and len(y.columns) == 1:
        y = y.iloc[:, 0]
    name = str(getattr(y, "name", None) or "y")
    array = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    return column_of(name, array) if array.ndim == 1 and array.dtype.kind in "OUSiuf" and len(array) else None


def encoded(columns: Columns | None, x: Any) -> Any:
    """The samples as a network takes them: a table by its mapping, a sparse matrix as an array, else as they are."""
    if is_table(x):
        table = table_of(x)
        if columns is None or not columns.features:
            return Columns.of_numbers(table).encode(table)
        return columns.encode(table)
    return dense(x)


def coded(columns: Columns | None, y: Any) -> Any:
    """The targets as numbers: labels by their places among the model's."""
    if columns is None or columns.target is None or columns.target.labels is None:
        return y
    column = _labels(y)
    if column is None or (column.texts is None and not columns.target.numeric):
        return y
    return columns.target.encode(Table("y", (column,), False), column)


def chosen(output: Array, kind: Labels, classes: Sequence[str]) -> Array | None:
    """The place of each sample's class: of the largest output, or whether the only one is above 1/2. None where numbers
    are learnt."""
    if kind == "classes" or (classes and output.ndim == 2 and output.shape[1] == len(classes)):
        return output.argmax(axis=-1)
    return (output[:, 0] > 0.5).astype(np.int64) if kind == "binary" and output.shape[1:] == (1,) else None


def labelled(columns: Columns | None, classes: Sequence[str], places: Array) -> Array:
    """The labels of these places, where the model has some. A label that is a number comes back as one."""
    names = np.array(columns.labels if columns and columns.labels else classes)
    if places.max(initial=0) >= len(names):
        return places
    if columns and columns.target and columns.target.numeric:
        names = names.astype(np.float64)
        names = names.astype(np.int64) if (names == np.floor(names)).all() else names
    return cast(Array, names[places])
