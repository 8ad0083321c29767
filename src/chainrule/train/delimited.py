"""Tables from text files: .csv, .tsv, .data, packed or not. What separates the cells, how decimals are written and
whether the first line holds names is seen from the lines themselves; what is given goes before what is seen, and what a
model knows of its columns goes before what is guessed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.train.packed import SUFFIXES as PACKED
from chainrule.train.packed import check_size, unpacked
from chainrule.train.table import (
    BLANK,
    EMPTY,
    NOTHING,
    Column,
    Growing,
    Known,
    Number,
    Table,
    each_once,
    number,
    number_with_comma,
    without_index,
)

SUFFIXES = (".csv", ".tsv", ".data", ".txt")
SEPARATORS = ";\t|, "
SEEN = 200  # lines that are looked at before a file is read
ROWS = 4096  # rows that are turned into numbers at a time
_TOLD = re.compile('"?sep=([^"])"?')  # a first line for Excel, which says what separates
LINE = 1 << 20  # characters of one line, at most

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
    comma: bool | None = None  # whether decimals are written with one, where the file says so
    escaped: bool = False  # quotes within texts stand behind a backslash, as R writes them
    notes: tuple[str, ...] = ()

    def where(self, line: int, column: int) -> str:
        name = f" ({shorten(self.names[column], 40)})" if self.names else ""
        return f"line {line}, column {column + self.first + 1}{name} of {self.path}"


def is_delimited(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def read_table(
    path: Path,
    *,
    header: bool | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    missing: Collection[str] = (),
    known: Known = NOTHING,
) -> Table:
    """The table in a file. `known` is what a model knows of the columns of its tables.

    Raises DataError naming the file, the line, the column and the value.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n\0'):
        raise DataError(f"the separator {shorten(repr(separator), 40)} is no single character", fix="write ';'")
    if decimal not in (None, ".", ","):
        raise DataError(f"{shorten(repr(decimal), 40)} is no sign for decimals", fix="write '.' or ','")
    check_size(path)
    form = _form(path, header, separator, decimal, frozenset(missing), known)
    lines, columns = _read(form, [name in known.texts for name in _names(form)])
    columns, notes = _kept(form, columns)
    if not columns:
        raise DataError(f"{path} has no columns with values in them", fix="give the inputs and the target")
    return Table(str(path), columns, form.names is not None, lines, (*form.notes, *notes), form.comma)


# Lines


@contextmanager
def _open(path: Path) -> Generator[io.TextIOWrapper]:
    """The text of a file."""
    with unpacked(path) as file:
        try:
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
            file.seek(0)
            yield io.TextIOWrapper(file, "utf-16" if wide else "utf-8-sig", newline="")
        except UnicodeError as error:
            why = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
            raise DataError(f"{path} is no text in UTF-8: {why}", fix="save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error}", fix="save it as CSV, one line for each sample") from None


def _lines(file: io.TextIOWrapper, form: _Form | None, path: Path) -> Iterator[str]:
    """The lines that are no comments, as csv reads them."""
    for place, line in enumerate(iter(lambda: file.readline(LINE), ""), 1):
        if len(line) == LINE:
            raise DataError(f"line {place} of {path} is longer than {LINE:,} characters", fix="is it a table?")
        if "\0" in line:
            raise DataError(
                f"line {place} of {path} holds a zero byte at character {line.index(chr(0)) + 1}, which no text does",
                fix="the file is damaged, or in another encoding: save it as CSV in UTF-8",
            )
        if form is not None and form.separator == " ":
            line = line.replace("\t", " ").strip() + "\n"
        yield "\n" if line.startswith("#") or (place == 1 and _TOLD.fullmatch(line.rstrip("\r\n"))) else line


def _rows(file: io.TextIOWrapper, form: _Form) -> Iterator[Row]:
    """(number of the line, its cells)."""
    if form.separator == "\n":
        for at, line in enumerate(_lines(file, form, form.path), 1):
            if line.strip():
                yield at, [line.strip().strip('"')]
        return
    reader = csv.reader(
        _lines(file, form, form.path), delimiter=form.separator, strict=True, skipinitialspace=form.separator == " ",
        escapechar="\\" if form.escaped else None,
    )
    for cells in reader:
        if any(map(str.strip, cells)):
            yield reader.line_num, cells


# How a file is written


def _form(
    path: Path, header: bool | None, separator: str | None, decimal: str | None, missing: frozenset[str], known: Known
) -> _Form:
    with _open(path) as file:
        sample = [line for line in islice(_lines(file, None, path), SEEN) if line.strip()]
    if not sample:
        raise DataError(f"{path} is empty", fix="give a table with one line for each sample")
    with _open(path) as file:
        told = _TOLD.fullmatch(file.readline(LINE).rstrip("\r\n"))
    chosen = separator or (told[1] if told else _separator(sample))
    comma, notes = _has_commas(sample, chosen, known.comma if decimal is None else decimal == ",", decimal is not None)
    form = _Form(
        path, chosen, number_with_comma if comma else number, missing, comma=comma, notes=notes,
        escaped=_is_escaped(path, chosen),
    )
    with _open(path) as file:
        rows = [cells for _, cells in islice(_rows(file, form), SEEN)]
    if not rows:
        raise DataError(f"{path} is empty", fix="give a table with one line for each sample")
    form = _headed(form, header, rows, known)
    if form.names is None and header is not False and (names := _commented(form)):
        found, twice = each_once(names)
        return replace(form, names=found, commented=True, notes=(*form.notes, *twice))
    return form


def _is_escaped(path: Path, separator: str) -> bool:
    """Whether a quote behind a backslash does not end its cell."""
    within = re.compile(rf'\\"(?!\s*(?:{re.escape(separator)}|$))')
    with _open(path) as file:
        return any('\\"' in line and within.search(line) for line in _lines(file, None, path))


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


def _has_commas(
    lines: Sequence[str], separator: str, told: bool | None, forced: bool
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether decimals are written with a comma, None where no number says, and what is to be said of it. Numbers that
    can be read in one way only decide; where there are none, what is `told` does, and without it three figures behind a
    comma are thousands, unless semicolons stand where commas would. `forced`: what is told decides alone."""
    rows = [[line] for line in lines] if separator == "\n" else _cells(lines, separator)
    cells = [cell.strip() for row in rows for cell in row]
    both = [(cell, number(cell), number_with_comma(cell)) for cell in cells if "," in cell or "." in cell]
    points = any("." in cell and point is not None and comma is None for cell, point, comma in both)
    commas = any("," in cell and point is None and comma is not None for cell, point, comma in both)
    odd = [(cell, point, comma) for cell, point, comma in both if None not in (point, comma)]
    if forced or not (points or commas or odd):
        found = told
    elif points or commas or told is not None:
        found = told if not (points or commas) else not points
    else:
        found = separator == ";" and any("," in cell for cell, _, _ in odd)
    notes = ["decimals are written with commas"] if found and (commas or odd) and not forced else []
    doubted = [one for one in odd if separator == ";" or (separator != "," and "," in one[0])]
    if doubted and told is None and not (points or commas):
        cell, point, comma = doubted[0]
        notes = [
            f"{cell} is taken for {comma if found else point:g}, not {point if found else comma:g}: --decimal, or "
            "decimal=, says which of '.' and ',' begins the decimals"
        ]
    return found, tuple(notes)


def _headed(form: _Form, header: bool | None, rows: list[list[str]], known: Known) -> _Form:
    """The form with its names, where the first line holds some."""
    first, below = rows[0], rows[1:]
    usual = [len(row) for row in below]
    short = bool(below) and header is not False and len(first) > 0 and all(count == len(first) + 1 for count in usual)
    notes = form.notes
    if short and all(not row[-1].strip() for row in below):  # a separator at the end of each line but the first
        short, first = False, [*first, ""]
        named = True
    elif short or header is not None:
        named = short or header is True
    else:
        named, doubted = (True, _are_numbers(first)) if _are_known(first, known) else _is_header(first, below, form)
        if doubted:
            shown = shorten(", ".join(cell.strip() for cell in first), 40)
            other = "--no-header, or header=False, takes it for a sample"
            if not named:
                other = "--header, or header=True, takes it for names"
            notes = (*notes, f"the first line, {shown}, is taken for {'names' if named else 'a sample'}: {other}")
    if not named:
        return replace(form, width=len(first), notes=notes)
    if not below:
        raise DataError(
            f"{form.path} has only one line, the names of the columns",
            fix="give one line for each sample; header=False says that the first line holds values",
        )
    if short:
        notes = (*notes, "the first column, above which there is no name, holds names of rows: it is left out")
    names, twice = each_once([name.strip() for name in first], 1 + short)
    return replace(form, width=len(first) + short, names=names, first=int(short), notes=(*notes, *twice))


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(number(cell.strip()) is not None for cell in cells if cell.strip())


def _are_known(first: Sequence[str], known: Known) -> bool:
    """Whether these are names of columns that a model knows: they are all such, or all that it takes are there."""
    cells = [cell.strip().casefold() for cell in first if cell.strip()]
    names, taken = ({name.strip().casefold() for name in one if name.strip()} for one in (known.names, known.taken))
    return bool(names and cells) and len(set(cells)) == len(cells) and (names >= set(cells) or taken <= set(cells))


def _is_header(first: list[str], below: list[list[str]], form: _Form) -> tuple[bool, bool]:
    """Whether the first line holds names, judged by what stands below it; and whether that may be doubted."""
    columns = [[row[i].strip() for row in below if len(row) > i] for i in range(len(first))]
    cells = [cell.strip() for cell in first]

    def value(cell: str) -> float | None:
        found = form.number(cell)
        return number(cell) if found is None else found

    def empty(cell: str) -> bool:
        return cell.lower() in EMPTY | BLANK or cell in form.missing

    if not below:
        return not any(value(cell) is not None for cell in cells), False
    numeric = [
        all(value(c) is not None or empty(c) for c in column) and not all(map(empty, column)) for column in columns
    ]
    texts = [i for i, cell in enumerate(cells) if value(cell) is None and not empty(cell)]
    if any(numeric[i] for i in texts):
        return True, False
    if any(cells[i] in columns[i] for i in texts):
        return False, False
    above = {i: name for i, cell in enumerate(cells) if (name := value(cell)) is not None}
    if not above:
        recurs = any(len(set(column)) <= len(column) / 2 for column in columns)
        return bool(texts) and len(set(cells)) == len(cells), bool(texts) and not recurs
    below_them = [[v for v in map(value, columns[i]) if v is not None] for i in above]
    recurs = any(len(columns[i]) > 3 and len(set(columns[i])) <= len(columns[i]) / 2 for i in texts)
    return _are_names(list(above.values()), below_them, bool(texts), recurs, all(numeric[i] for i in above))


def _are_names(
    names: list[float], below: list[list[float]], texts: bool, recurs: bool, numeric: bool
) -> tuple[bool, bool]:
    """The same of the numbers in a first line, with those below each. Names that are numbers are whole and ascend, and
    often could not stand in their columns. `texts`: the line holds texts too, and where `recurs` one that is none of
    few below it; `numeric`: all these columns are of numbers."""
    outside = [bool(some) and not min(some) <= name <= max(some) for name, some in zip(names, below, strict=True)]
    if not np.isfinite(names).all() or (np.floor(names) != names).any():
        return False, False
    ascend = bool((np.diff(names) > 0).all())
    if recurs and (all(outside) or (ascend and len(names) > 1)):
        return True, names[0] != 0
    if not ascend:
        return False, False
    steps = set(np.diff(names).tolist())
    if steps <= {1}:  # 0, 1, 2, … or 2010, 2011, …
        fractions = any(v != np.floor(v) for values in below for v in values)
        strange = not numeric or fractions or (len(names) > 2 and any(outside))
        if names[0] == 0 and (steps or texts):
            named = strange or len(names) > 3
            return named, bool(steps) and not (named and (texts or len(names) > 3))
        return strange and len(names) > 2 and names[0] > 1, bool(steps)
    named = texts and len(names) > 2 and all(outside) and names[-1] < 2 * names[0]  # 1990, 2000, 2015
    return named, all(outside)


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
