"""From the columns of a table to the numbers that a network takes, and from its outputs back to labels.

The mapping is learnt once, from the table that a model is trained on, and is part of the model and its file: the names
of the columns, what stands in for a missing number, the values that texts have, the labels of the classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.nn.losses import Labels
from chainrule.train.table import Column, Known, Table, column_of, dense, is_table, plain, table_of

Array = NDArray[Any]

VALUES = 256  # texts of one column with an input of their own: the most frequent; 64 cost 0.08 of R² of 400 drawn towns


@dataclass(frozen=True)
class Feature:
    """A column that is an input. One of numbers has one input, with `fill` where nothing is known; one of texts has
    an input of 0 and 1 for each of its `values`, and where `missing` for the lack of one; two values share an input.
    So has one of a single number with gaps."""

    name: str
    fill: float | None = None
    values: tuple[str, ...] = ()
    missing: bool = False

    @property
    def width(self) -> int:
        kinds = len(self.values) + self.missing
        return 1 if self.fill is not None or kinds == 2 else kinds

    @property
    def of_texts(self) -> bool:
        return self.fill is None and not all(map(_is_number, self.values))

    def encode(self, table: Table, column: Column) -> Array:
        """(rows, width). Raises DataError for texts among numbers, an infinity, and texts that are all unknown."""
        if self.fill is not None:
            return numbers_of(table, column, self.fill)[:, None]
        codes, texts = column.as_texts
        places = _places(self.values, texts)
        known = np.append(places, -1)[codes]
        held = codes >= 0
        if held.any() and not (known[held] >= 0).any() and len(self.values) < VALUES:
            raise DataError(
                f"{table.show(column)} of {table.source} holds {some(texts)}, none of the values that the model knows",
                fix=f"it knows {some(self.values)}",
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
        if column.wrong:
            raise column.wrong
        if column.missing.any():
            row = int(np.flatnonzero(column.missing)[0])
            raise DataError(
                f"{table.place(row, column)} is empty", fix="every row needs a target: fill it, or leave the row out"
            )
        if self.labels is None:
            return numbers_of(table, column, None)
        codes, texts = column.as_texts
        found = _places(self.labels, texts)
        if (found < 0).any():
            odd = texts[np.flatnonzero(found < 0).tolist()[0]]
            raise DataError(
                f"{table.source} has the class {shorten(odd, 40)!r}, which the model does not know",
                fix=f"it knows {some(self.labels)}",
            )
        return found[codes].astype(np.int64)


@dataclass(frozen=True)
class Columns:
    """The mapping. `order` holds the names of all columns of the table that it was learnt from, of inputs, target and
    what was left out; they are places from 1 where the table had no names. No features: samples are arrays.
    `refuse`: missing numbers are refused; `comma`: whether decimals were written with one, where that was seen. `notes`
    say in words what learning did."""

    features: tuple[Feature, ...] = ()
    target: Target | None = None
    order: tuple[str, ...] = ()
    named: bool = True
    refuse: bool = False
    comma: bool | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        names = shorten(", ".join(feature.name for feature in self.features), 60)
        target = f"; target {self.target.name}" if self.target else ""
        return f"<Columns: {len(self.features)} inputs, {names}{target}>"

    @classmethod
    def of_numbers(cls, table: Table) -> Columns:
        """Of a table whose columns are all numbers, with none missing."""
        features = tuple(Feature(name, fill=0.0) for name in table.names)
        return cls(features, None, tuple(table.names), table.named, refuse=True)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.target.labels or () if self.target else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns that a table may have: the labels of a frame's samples are none of its columns."""
        goal = () if self.target is None or self.target.name in self.order else (self.target.name,)
        return self.order + goal

    @property
    def known(self) -> Known:
        """What a reader of further tables is told."""
        names = self.names if self.named else ()
        taken = tuple(feature.name for feature in self.features) if self.named else ()
        return Known(names, taken, tuple(f.name for f in self.features if f.of_texts), self.comma)

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

    def goal(self, table: Table) -> Column:
        """The column of what is to be learnt. Raises DataError where the table has none."""
        if self.target is None:
            raise DataError(f"the model knows no target among the columns of {table.source}", fix="name it: --target")
        column = _named(table, self.target.name) if self._by_name(table) else None
        if column is None and not self._by_name(table) and len(table.columns) == len(self.order):
            column = table.columns[self.order.index(self.target.name)]
        if column is None:
            raise DataError(
                f"{table.source} has no column {shorten(self.target.name, 40)!r}, which the model learnt",
                fix="give a table with the target",
            )
        return column

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
                fix=f"give {some(names)}",
            )
        found: list[tuple[Feature, Column]] = []
        for feature in self.features:
            column = _named(table, feature.name)
            if column is None:
                raise DataError(
                    f"{table.source} has no column {shorten(feature.name, 40)!r}, which the model takes",
                    fix=f"it takes {some([feature.name for feature in self.features])}",
                )
            if column.name != feature.name:
                names = f"{shorten(column.name, 40)!r} of {table.source} is taken for {shorten(feature.name, 40)!r}"
                warnings.warn(f"the column {names}", stacklevel=2)
            found.append((feature, column))
        taken = {id(column) for _, column in found}
        known = {name.strip().casefold() for name in self.names}
        for column in table.columns:
            if id(column) not in taken and column.name.strip().casefold() not in known:
                raise DataError(
                    f"{table.show(column)} of {table.source} is none that the model was trained with",
                    fix=f"leave it out; the model takes {some([feature.name for feature in self.features])}",
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
            "refuse": self.refuse, "comma": self.comma,
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
        comma = None if saved["comma"] is None else _truth(saved["comma"])
        return cls(tuple(features), target, order, _truth(saved["named"]), _truth(saved["refuse"]), comma)


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


def some(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(name, 40) for name in names[:12])
    return shown + (" …" if len(names) > 12 else "") or "none"


def numbers_of(table: Table, column: Column, fill: float | None) -> Array:
    """The numbers of a column. Raises DataError where one is infinite or the column holds texts."""
    if column.wrong:
        raise column.wrong
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
    fix = f"did you mean {shorten(there, 40)!r}?" if near else f"there are {some(names)}"
    raise DataError(
        f"{table.source} has no column {shorten(str(wanted), 60)!r}",
        fix=fix if table.named else f"its columns have no names: give a number, from 1 to {len(names)}",
    )


# Tables and labels in memory


def labels_of(y: Any) -> Column | None:
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
    column = labels_of(y)
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
