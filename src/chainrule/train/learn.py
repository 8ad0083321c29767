"""Learning the mapping of a table: what is to be learnt, which columns are inputs, and what is said of the others."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from shlex import quote
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.train.assembled import Assembled
from chainrule.train.columns import VALUES, Columns, Feature, Target, find, labels_of, numbers_of, some
from chainrule.train.table import Column, Table, is_table, plain, table_of

Array = NDArray[Any]
Kind = Literal["classes", "numbers"]

FEW = 20  # whole numbers of so many kinds are classes
ROWS = 20  # rows from which on a text of its own in each says nothing
_IDS = ("id", "index", "no", "nr", "number", "row", "rownames", "record", "key")
_TARGETS = ("target", "class", "label")


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
            f"{table.source} has one column" + "".join(f"; {note}" for note in table.notes),
            fix="give the inputs and the target, separated by commas, semicolons, tabs or spaces, or --separator",
        )
    wanted = _default_target(table) if target is None else find(table, target)
    notes: list[str] = []
    if target is None and wanted is not table.columns[-1]:
        notes.append(f"the target is the column {shorten(wanted.name, 40)}, by its name; --target chooses another")
    goal = _target(table, wanted, kind, notes)
    place = table.columns.index(wanted)
    table, lost = answered(table, wanted)
    notes += lost
    wanted = table.columns[place]
    chosen = [column for column in table.columns if column is not wanted]
    if columns is not None:
        chosen = [find(table, name) for name in columns]
        chosen = [column for i, column in enumerate(chosen) if column is not wanted and column not in chosen[:i]]
    dropped = [find(table, name) for name in drop]
    features = _features(table, [column for column in chosen if column not in dropped], notes)
    made = Columns(
        tuple(features), goal, tuple(table.names), table.named, refuse, table.comma, (*table.notes, *notes)
    )
    return made, table


def answered(table: Table, wanted: Column) -> tuple[Table, list[str]]:
    """The rows with something in a column, and what is said of the others. Raises DataError where there are none."""
    known = ~wanted.missing
    if not known.any():
        raise DataError(f"{table.show(wanted)} of {table.source} is empty", fix="choose another: --target, or target=")
    if known.all():
        return table, []
    lost = f"{int((~known).sum())} of {len(table)} rows have no {shorten(wanted.name, 40)}: they are left out"
    columns = tuple(replace(column, values=column.values[known]) for column in table.columns)
    return replace(table, columns=columns, lines=None if table.lines is None else table.lines[known]), [lost]


def _default_target(table: Table) -> Column:
    last = table.columns[-1]
    if not table.named or last.name.casefold() in _TARGETS:
        return last
    likely = [column for column in table.columns if column.name.casefold() in _TARGETS]
    return likely[0] if len(likely) == 1 else last


def _target(table: Table, column: Column, kind: Kind | None, notes: list[str]) -> Target:
    """What is learnt of a column: classes where it holds texts, or few whole numbers; else numbers."""
    where, rows = f"{table.show(column)} of {table.source}", int((~column.missing).sum())
    if column.wrong:
        raise column.wrong
    if column.dates:
        raise DataError(f"{where} holds dates, which are nothing to learn", fix="choose the column to learn: --target")
    if column.texts is not None:
        if kind == "numbers":
            shown = some([repr(shorten(text, 20)) for text in column.texts[:3]])
            raise DataError(f"{where} holds texts, such as {shown}", fix="leave out --kind numbers, or kind='numbers'")
        groups = _spellings(column, notes)
        if len(groups) > rows / 2 and rows >= ROWS:
            raise DataError(
                f"{where}, the target, holds {len(groups)} texts in {rows} rows, so there is nothing to learn",
                fix=f"choose the column to learn, --target: there are {some(table.names)}",
            )
        return Target(column.name, tuple(sorted(groups)))
    values = np.unique(column.values[~column.missing])
    whole = bool(np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) < 2**53).all())
    few = whole and len(values) <= FEW and (2 * len(values) <= rows or len(values) <= 3)
    if kind == "numbers" or (kind is None and not few):
        return Target(column.name)
    if not np.isfinite(values).all():
        numbers_of(table, column, None)
    if kind is None and len(values) > 2:
        name = shorten(column.name, 40) if table.named else f"column {column.name}"
        notes.append(f"{name}: {len(values)} whole numbers are taken for classes: --kind, or kind=, for numbers")
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
        names = [shorten(column.name, 40) for column in dates[:5]]
        raise DataError(
            f"{table.show(dates[0])} of {table.source} holds dates",
            fix=f"leave out what is no number of its own (--drop {quote(','.join(names))}, or drop={names}), or write "
            "year, month or days since a day as numbers",
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
        values = numbers_of(table, column, None)
        held = values[~column.missing]
        if not len(held) or (len(held) > 1 and (held == held[0]).all() and not missing):
            notes.append(f"{name} is {'empty' if not len(held) else f'always {plain(held[0])}'}: it is left out")
            return None
        if len(held) > 1 and (held == held[0]).all():
            notes.append(f"{name} is {plain(held[0])}, or missing ({missing} of {rows}): which of both is an input")
            return Feature(column.name, values=(plain(held[0]),), missing=True)
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


@contextmanager
def learning(model: Assembled, x: Any, y: Any, outputs: int) -> Generator[None]:
    """Learn the mapping of a first table and its labels; where these turn out not to fit, the model stays as it was."""
    known = model.columns, model.classes
    if model.columns is None:
        model.columns = _learnt(x, y, outputs)
        if model.columns is not None:
            for note in model.columns.notes:
                warnings.warn(note, stacklevel=6)
            model.classes = model.columns.labels or model.classes
    try:
        yield
    except BaseException:
        model.columns, model.classes = known
        raise


def inputs_of(x: Any) -> Columns:
    """The mapping of a table in memory to inputs; of what is none, a mapping without any."""
    if not is_table(x):
        return Columns()
    table = table_of(x)
    notes = [*table.notes]
    features = tuple(_features(table, table.columns, notes))
    return Columns(features, order=tuple(table.names), named=table.named, notes=tuple(notes))


def _learnt(x: Any, y: Any, outputs: int) -> Columns | None:
    inputs = inputs_of(x)
    column, target, notes = labels_of(y), None, [*inputs.notes]
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
    if not inputs.features and target is None:
        return None
    return replace(inputs, target=target, notes=tuple(notes))
