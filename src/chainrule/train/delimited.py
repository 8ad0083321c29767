"""Tables from text files: .csv, .tsv, .data, gzipped or not. What separates the cells, how decimals are written and
whether the first line holds names is seen from the lines themselves; what is given goes before what is seen."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, cast

import numpy as np

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.train.table import BLANK, EMPTY, Column, Growing, Number, Table, number, number_with_comma, without_index

SUFFIXES = (".csv", ".tsv", ".data", ".txt")
SEPARATORS = ";\t|, "
SEEN = 200  # lines that are looked at before a file is read
ROWS = 4096  # rows that are turned into numbers at a time
LINE = 1 << 20  # characters of one line, at most
PACKED = 100  # text is seldom packed to less than a hundredth
SMALL = 1 << 26

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class _Form:
    """How the lines of a file are read: names of the columns, or none; the places of those that are kept."""

    path: Path
    separator: str
    number: Number
    missing: frozenset[str]
    width: int = 0
    names: tuple[str, ...] | None = None
    commented: bool = False  # whether the names stand in a comment
    first: int = 0  # columns before these hold names of rows
    notes: tuple[str, ...] = ()

    def where(self, line: int, column: int) -> str:
        name = f" ({shorten(self.names[column], 40)})" if self.names else ""
        return f"line {line}, column {column + self.first + 1}{name} of {self.path}"


def is_delimited(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return bool(suffixes) and (suffixes[-1] in SUFFIXES or (suffixes[-1] == ".gz" and suffixes[-2:-1] != [".npz"] and (
        suffixes[-2:-1] != [] and suffixes[-2] in SUFFIXES
    )))


def read_table(
    path: Path,
    *,
    header: bool | None = None,
    separator: str | None = None,
    missing: Collection[str] = (),
    texts: Collection[str] = (),
) -> Table:
    """The table in a file. `texts` names columns that hold texts, whatever they look like.

    Raises DataError naming the file, the line, the column and the value.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise DataError(f"the separator {shorten(repr(separator), 40)} is no single character", fix="write ';'")
    _check_size(path)
    form = _form(path, header, separator, frozenset(missing))
    lines, columns = _read(form, [name in texts for name in _names(form)])
    columns, notes = _kept(form, columns)
    if not columns:
        raise DataError(f"{path} has no columns with values in them", fix="give the inputs and the target")
    return Table(str(path), columns, form.names is not None, lines, (*form.notes, *notes))


def _check_size(path: Path) -> None:
    """Refuse what would be waited for, and what unpacks to more than a text could have been packed."""
    if not path.is_file():
        raise DataError(f"{path} is no regular file", fix="save what it gives as a file first")
    most = max(SMALL, PACKED * path.stat().st_size)
    found = 0
    with _open(path) as file:
        while found <= most and (part := bytes(file.buffer.read(1 << 20))):
            found += len(part)
    if found > most:
        raise DataError(f"{path} unpacks to more than {most:,} bytes", fix="unpack it, and give that")


# Lines


@contextmanager
def _open(path: Path) -> Generator[io.TextIOWrapper]:
    """The text of a file."""
    with path.open("rb") as raw:
        try:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
            file.seek(0)
            yield io.TextIOWrapper(file, "utf-16" if wide else "utf-8-sig", newline="")
        except UnicodeError as error:
            why = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
            raise DataError(f"{path} is no text in UTF-8: {why}", fix="save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error}", fix="save it as CSV, one line for each sample") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged gzip file: {error}", fix="pack it again") from None


def _lines(file: io.TextIOWrapper, form: _Form | None, path: Path) -> Iterator[str]:
    """The lines that are no comments, as csv reads them."""
    for place, line in enumerate(iter(lambda: file.readline(LINE), ""), 1):
        if len(line) == LINE:
            raise DataError(f"line {place} of {path} is longer than {LINE:,} characters", fix="is it a table?")
        if form is not None and form.separator == " ":
            line = line.replace("\t", " ").strip() + "\n"
        yield "\n" if line.startswith("#") else line


def _rows(file: io.TextIOWrapper, form: _Form) -> Iterator[Row]:
    """(number of the line, its cells)."""
    if form.separator == "\n":
        for at, line in enumerate(_lines(file, form, form.path), 1):
            if line.strip():
                yield at, [line.strip().strip('"')]
        return
    reader = csv.reader(
        _lines(file, form, form.path), delimiter=form.separator, strict=True, skipinitialspace=form.separator == " "
    )
    for cells in reader:
        if any(map(str.strip, cells)):
            yield reader.line_num, cells


# How a file is written


def _form(path: Path, header: bool | None, separator: str | None, missing: frozenset[str]) -> _Form:
    with _open(path) as file:
        sample = [line for line in islice(_lines(file, None, path), SEEN) if line.strip()]
    if not sample:
        raise DataError(f"{path} is empty", fix="give a table with one line for each sample")
    chosen = separator or _separator(sample)
    decimals = number_with_comma if chosen != "," and _has_commas(sample, chosen) else number
    form = _Form(path, chosen, decimals, missing)
    with _open(path) as file:
        rows = [cells for _, cells in islice(_rows(file, form), SEEN)]
    if not rows:
        raise DataError(f"{path} is empty", fix="give a table with one line for each sample")
    form = _headed(form, header, rows)
    if form.names is None and header is not False and (names := _commented(form)):
        return replace(form, names=_unique(names, False), commented=True)
    return form


def _commented(form: _Form) -> list[str]:
    """The names in the last comment before the first row, where they are as many as its cells."""
    last = ""
    with _open(form.path) as file:
        while (line := file.readline(LINE)).startswith("#") or (line and not line.strip()):
            last = line if line.strip() else last
    rows = _cells([last.lstrip("#")], form.separator)
    return [cell.strip() for cell in rows[0]] if rows and len(rows[0]) == form.width > 1 else []


def _cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    text = [line.replace("\t", " ").strip() for line in lines] if separator == " " else lines
    try:
        return [row for row in csv.reader(text, delimiter=separator, skipinitialspace=separator == " ") if row]
    except csv.Error:
        return []


def _separator(lines: Sequence[str]) -> str:
    """What separates the cells: what gives most lines one number of cells, and cells with no other separator."""
    best, chosen = 0.0, "\n"
    for separator in SEPARATORS:
        rows = _cells(lines, separator)
        counts = [len(row) for row in rows]
        usual = max(set(counts), key=counts.count, default=1)
        if usual < 2:
            usual = max(counts, default=1)
            if usual < 2 or separator == " ":
                continue
        cells = list(chain.from_iterable(rows))
        sound = sum(_is_sound(cell.strip(), separator) for cell in cells)
        score = counts.count(usual) / len(counts) * sound / len(cells) * (0.9 if separator == " " else 1.0)
        if score > best:
            best, chosen = score, separator
    return chosen


def _is_sound(cell: str, separator: str) -> bool:
    """Whether a cell is one number or one text, not several with another separator between."""
    if separator != "," and number_with_comma(cell) is not None:
        return True
    parts = cell.split()
    several = len(parts) > 1 and all(number(part) is not None for part in parts)
    return not several and not any(other in cell for other in SEPARATORS if other not in (separator, " "))


def _has_commas(lines: Sequence[str], separator: str) -> bool:
    """Whether decimals are written with a comma: some are, and none with a point."""
    if separator == "\n":
        return False
    cells = [cell.strip() for row in _cells(lines, separator) for cell in row]
    commas = [cell for cell in cells if "," in cell and number_with_comma(cell) is not None]
    points = any("," not in cell and "." in cell and number_with_comma(cell) is None and number(cell) is not None
                 for cell in cells)
    # Three figures behind every comma may be thousands, unless semicolons stand where commas would.
    thousands = all(number(cell) is not None for cell in commas)
    return bool(commas) and not points and (separator == ";" or not thousands)


def _headed(form: _Form, header: bool | None, rows: list[list[str]]) -> _Form:
    """The form with its names, where the first line holds some."""
    first, below = rows[0], rows[1:]
    notes: tuple[str, ...] = ("decimals are written with commas",) if form.number is number_with_comma else ()
    usual = [len(row) for row in below]
    short = bool(below) and header is not False and len(first) > 0 and all(count == len(first) + 1 for count in usual)
    if short and all(not row[-1].strip() for row in below):  # a separator at the end of each line but the first
        short, first = False, [*first, ""]
        named = True
    else:
        named = short or (header if header is not None else _is_header(first, below, form))
    if named and header is False:
        named = False
    if not named:
        return replace(form, width=len(first), notes=notes)
    if not below:
        raise DataError(
            f"{form.path} has only one line, the names of the columns",
            fix="give one line for each sample; header=False says that the first line holds values",
        )
    if short:
        notes = (*notes, "the first column, above which there is no name, holds names of rows: it is left out")
    return replace(
        form, width=len(first) + short, names=_unique([name.strip() for name in first], short), first=int(short),
        notes=notes,
    )


def _unique(names: list[str], short: bool) -> tuple[str, ...]:
    """The names, each once: a column without a name has its place, and a second one of a name says so."""
    made: list[str] = []
    for place, name in enumerate(names, 1):
        name = name or ("" if place == 1 else f"column {place + short}")
        count = names[:place].count(name)
        made.append(name if count < 2 else f"{name} ({count})")
    return tuple(made)


def _is_header(first: list[str], below: list[list[str]], form: _Form) -> bool:
    """Whether the first line holds names, judged by what stands below it."""
    columns = [[row[i].strip() for row in below if len(row) > i] for i in range(len(first))]
    cells = [cell.strip() for cell in first]

    def value(cell: str) -> float | None:
        found = form.number(cell)
        return number(cell) if found is None else found

    def empty(cell: str) -> bool:
        return cell.lower() in EMPTY | BLANK or cell in form.missing

    if not below:
        return not any(value(cell) is not None for cell in cells)
    numeric = [
        all(value(c) is not None or empty(c) for c in column) and not all(map(empty, column)) for column in columns
    ]
    texts = [i for i, cell in enumerate(cells) if value(cell) is None and not empty(cell)]
    if any(numeric[i] for i in texts):
        return True
    if any(cells[i] in columns[i] for i in texts):
        return False
    numbers = [float(cast(float, value(cell))) for cell in cells if value(cell) is not None]
    if not numbers:
        return bool(texts) and len(set(cells)) == len(cells)
    start = numbers[0]
    counted = len(numbers) > 1 or bool(texts)
    counted = counted and numbers == [start + i for i in range(len(numbers))] and start == np.floor(start)
    if not counted:
        return False
    strange = False  # whether a number above a column could not stand in it
    for cell, column, is_number in zip(cells, columns, numeric, strict=True):
        name = value(cell)
        if name is None:
            continue
        values = [float(v) for v in map(value, column) if v is not None]
        outside = len(numbers) > 2 and bool(values) and not min(values) <= name <= max(values)
        strange = strange or outside or not is_number or any(v != np.floor(v) for v in values)
    if start == 0:
        return strange or len(numbers) > 3
    return strange and len(numbers) > 2 and start > 1


# Columns


def _names(form: _Form) -> tuple[str, ...]:
    return form.names or tuple(str(i + 1) for i in range(form.width))


def _read(form: _Form, texts: Sequence[bool]) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], list[Column]]:
    """The columns, and the line of each row. Those that turn out to hold texts are read again."""
    names = _names(form)
    columns = [
        Growing(name, form.number, form.missing, numeric=not text) for name, text in zip(names, texts, strict=True)
    ]
    lines = _fill(form, columns, lambda column: True)
    found = np.array(lines, np.int64)
    for place, column in enumerate(columns):
        column.settle(lambda line, place=place: form.where(line, place))
    again = [
        column if column.numeric or text else Growing(column.name, form.number, form.missing, numeric=False)
        for column, text in zip(columns, texts, strict=True)
    ]
    if any(new is not old for new, old in zip(again, columns, strict=True)):
        _fill(form, again, lambda place: again[place] is not columns[place])
    return found, [column.column() for column in again]


def _fill(form: _Form, columns: Sequence[Growing], wanted: Callable[[int], bool]) -> list[int]:
    lines: list[int] = []
    with _open(form.path) as file:
        rows = _rows(file, form)
        if form.names is not None and not form.commented:
            next(rows, None)
        while part := list(islice(rows, ROWS)):
            numbers = [line for line, _ in part]
            cells = [_width(form, line, row) for line, row in part]
            lines += numbers
            for place, column in enumerate(zip(*cells, strict=True)):
                if place >= form.first and wanted(place - form.first):
                    columns[place - form.first].add(column, numbers)
    return lines


def _width(form: _Form, line: int, row: list[str]) -> list[str]:
    if len(row) == form.width:
        return row
    if len(row) == form.width + 1 and not row[-1].strip():
        return row[:-1]
    raise DataError(
        f"line {line} of {form.path} has {len(row)} cells, but the first line has {form.width}",
        fix="give every line the same number of cells",
    )


def _kept(form: _Form, columns: list[Column]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns without an index of rows in front and an empty one at the end."""
    if form.names is None:
        return tuple(columns), ()
    if columns and columns[-1].missing.all() and columns[-1].name == f"column {form.width}":
        columns = columns[:-1]
    return without_index(columns)
