"""CSV files: a table of numbers, one column of which is what is to be learnt."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError

Array = NDArray[Any]
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class _Columns:
    """How a line is read: `target` is the place of the target, None where every column is an input."""

    path: Path
    count: int
    names: list[str] | None
    target: int | None

    def show(self, column: int) -> str:
        name = f" ({_short(self.names[column])})" if self.names else ""
        return f"column {column + 1}{name}"


def read_csv(
    path: Path, *, target: str | int | None = None, header: bool | None = None, columns: int | None = None
) -> tuple[Array, Array | None, list[str] | None]:
    """(x, y, names of the classes or None). Columns are separated by commas, semicolons or tabs and counted from 1;
    empty lines are passed over. Where the table has just `columns` columns, they are all inputs and y is None.

    Raises DataError naming the file, the line, the column and the value.
    """
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty", fix="give a table with one line for each sample")
    line, cells = first
    named = header if header is not None else not any(_number(cell) is not None for cell in cells)
    if named:
        names = [cell.strip() for cell in cells]
        first = next(rows, None)
        if first is None:
            raise DataError(
                f"{path} has only line {line}, the names of the columns",
                fix="give one line for each sample; header=False says that the first line holds values",
            )
    else:
        names = None
    place = None if columns == len(cells) and target is None else _target(path, target, names, len(cells))
    if place is not None and len(cells) < 2:
        raise DataError(
            f"{path} has one column",
            fix="give the inputs and the target, separated by commas, semicolons or tabs",
        )
    return _table(_Columns(path, len(cells), names, place), first, rows)


def _rows(path: Path) -> Iterator[Row]:
    """(number of the line, its cells)."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            start = file.readline(1 << 16)
            delimiter = max(",;\t", key=start.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text in UTF-8: {error.reason}", fix="save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error}", fix="save it as CSV, one line for each sample") from None


def _target(path: Path, target: str | int | None, names: list[str] | None, count: int) -> int:
    if target is None:
        return count - 1
    if names and target in names:
        if names.count(str(target)) > 1:
            raise DataError(f"{path} has {names.count(str(target))} columns {target!r}", fix="give the column's number")
        return names.index(str(target))
    number = _whole(target)
    if number is not None:
        if not 1 <= abs(number) <= count:
            raise DataError(
                f"{path} has no column {number}", fix=f"columns count from 1 to {count}; -1 is the last one"
            )
        return number - 1 if number > 0 else count + number
    near = get_close_matches(str(target), names or [], 1, 0.5)
    known = ", ".join(map(_short, (names or [])[:12])) + (" …" if len(names or []) > 12 else "")
    raise DataError(
        f"{path} has no column {str(target)[:60]!r}",
        fix=f"did you mean {near[0]!r}?" if near else f"there are {known}" if names else "give its number, from 1",
    )


def _whole(target: str | int) -> int | None:
    if isinstance(target, int):
        return target
    text = target.removeprefix("-")
    return int(target) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _table(columns: _Columns, first: Row | None, rows: Iterator[Row]) -> tuple[Array, Array | None, list[str] | None]:
    values, labels, lines = array("d"), list[str](), list[int]()
    while first is not None:
        line, cells = first
        if len(cells) != columns.count:
            raise DataError(
                f"line {line} of {columns.path} has {len(cells)} cells, but the first line has {columns.count}",
                fix="give every line the same number of cells",
            )
        lines.append(line)
        if columns.target is not None:
            labels.append(cells.pop(columns.target).strip())
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = [math.nan]
        # float reads 1_000 as a number, and nan and inf as well.
        if not math.isfinite(sum(map(abs, numbers))) or "_" in "".join(cells):
            numbers = [_cell(columns, line, column, cell) for column, cell in enumerate(cells)]
        values.extend(numbers)
        first = next(rows, None)
    x = np.frombuffer(values, np.float64).reshape(len(lines), -1)
    if columns.target is None:
        return x, None, None
    return x, *_targets(columns, columns.target, labels, lines)


def _cell(columns: _Columns, line: int, column: int, cell: str) -> float:
    """A cell among the inputs. Raises DataError where it is no finite number."""
    if columns.target is not None and column >= columns.target:
        column += 1
    value = _number(cell)
    if value is not None and math.isfinite(value):
        return value
    where = f"line {line}, {columns.show(column)} of {columns.path}"
    if not cell.strip():
        raise DataError(f"{where} is empty", fix="fill it, or leave the line out")
    if value is not None:
        raise DataError(f"{where} is {_short(cell)}, which is not finite", fix="fill it, or leave the line out")
    fix = "write a number; one column may hold texts, the target, which is the last unless it is named"
    raise DataError(f"{where} is {_short(cell)!r}, which is no number", fix=fix)


def _targets(columns: _Columns, place: int, labels: list[str], lines: list[int]) -> tuple[Array, list[str] | None]:
    """Classes where the cells are texts, else numbers, whole ones as int64."""
    numbers = [_number(label) for label in labels]
    texts = [row for row, value in enumerate(numbers) if value is None]
    for row, label in enumerate(labels):
        if not label:
            raise DataError(
                f"line {lines[row]}, {columns.show(place)} of {columns.path} is empty",
                fix="every line needs a target: fill it, or leave the line out",
            )
    if 2 * len(texts) > len(labels):
        classes = sorted(set(labels))
        code = {label: number for number, label in enumerate(classes)}
        return np.array([code[label] for label in labels], np.int64), classes
    if texts:
        row = texts[0]
        raise DataError(
            f"line {lines[row]}, {columns.show(place)} of {columns.path} is {_short(labels[row])!r}, which is no "
            f"number, as {len(labels) - len(texts)} others are",
            fix="give numbers, or a text for every class",
        )
    y = np.array(numbers, np.float64)
    odd = np.flatnonzero(~np.isfinite(y))
    if len(odd):
        row = int(odd[0])
        raise DataError(
            f"line {lines[row]}, {columns.show(place)} of {columns.path} is {_short(labels[row])}, which is not finite",
            fix="every line needs a target: fill it, or leave the line out",
        )
    return (y.astype(np.int64) if (y == np.floor(y)).all() and (np.abs(y) < 2**53).all() else y), None


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:39]}…"
