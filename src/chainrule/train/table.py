"""Tables: columns of numbers, texts or dates by name, from text files and from what holds columns in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten

Array = NDArray[Any]
Number = Callable[[str], float | None]

EMPTY = frozenset(("", "na", "n/a", "#n/a", "nan", "-nan", "null", "<na>", "nat", "?", "."))
BLANK = frozenset(("none", "-"))  # nothing among numbers; among texts they are as good as others
FIGURES = 1000  # characters of a number, at most
_LONGEST = max(map(len, EMPTY | BLANK))
ODD = 0.05  # of a column of numbers: so many texts are slips of the pen, more are what the column holds
_INDEX = re.compile(r"|Unnamed: \d+(\.\d+)*")  # the name that an index of rows in front has in a file
_LEVEL = re.compile(r"__index_level_\d+__")  # and one that pandas writes to Parquet

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:([,'’ \u00a0\u202f])\d{3})(?:\1\d{3})*(?:\.\d+)?")
_COMMA = re.compile(r"[+-]?(?:[1-9]\d{0,2}(?:[.'’ \u00a0\u202f]\d{3})+|\d+|(?=,))(?:,\d+)?(?:[eE][+-]?\d+)?")
_UNIT = re.compile(r"([+-]?)[$€£¥]\s?(.+)|(.+?)\s?[%$€£¥]")
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\.?)?"
_DAY = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{1,2}[- ][A-Za-z]{3,9}\.?,?[- ]\d{2,4}|"
    r"[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
)
_DATE = re.compile(rf"(?:(?:[A-Za-z]{{3,9}},? )?(?:{_DAY}))(?:[T ]{_CLOCK}(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?)?|{_CLOCK}")


@dataclass(frozen=True, eq=False)
class Column:
    """`values` are float64, NaN where nothing is known; or places in `texts`, -1 there. Dates are texts too. `wrong` is
    what is raised where the column is used."""

    name: str
    values: Array
    texts: tuple[str, ...] | None = None
    dates: bool = False
    wrong: DataError | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> Array:
        return np.isnan(self.values) if self.texts is None else self.values < 0

    @property
    def as_texts(self) -> tuple[Array, tuple[str, ...]]:
        """(places, texts): a number is the text that it is usually written as."""
        if self.texts is not None:
            return self.values, self.texts
        found, places = np.unique(self.values, return_inverse=True)
        return np.where(self.missing, -1, places), tuple(plain(value) for value in found.tolist())


@dataclass(frozen=True, eq=False)
class Table:
    """`source` is its file, or the name of an argument. `named`: the names are the table's own, not places from 1.
    `lines` are those of a file, one for each row. `notes` say what was taken for no part of the data, or in doubt.
    `comma`: whether decimals were written with one, where that was seen."""

    source: str
    columns: tuple[Column, ...]
    named: bool
    lines: Array | None = None
    notes: tuple[str, ...] = ()
    comma: bool | None = None

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def place(self, row: int, column: Column) -> str:
        where = f"row {row}" if self.lines is None else f"line {self.lines[row]}"
        return f"{where}, {self.show(column)} of {self.source}"

    def show(self, column: Column) -> str:
        number = self.columns.index(column) + 1
        return f"column {number} ({shorten(column.name, 40)})" if self.named else f"column {number}"


@dataclass(frozen=True)
class Known:
    """What a model knows of its tables: the `names` of their columns, of which it has `taken` some; those that hold
    `texts`, whatever they look like; whether decimals are written with a comma."""

    names: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    comma: bool | None = None


NOTHING = Known()


def each_once(names: Sequence[str], start: int = 1) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of columns, each once, and what is said of those that were not. One without a name has its place, from
    `start`, but the first, and a second one of a name says so."""
    made: list[str] = []
    notes: list[str] = []
    for place, name in enumerate(names):
        count, found = 1, name or (f"column {place + start}" if place else "")
        while found in made or (count > 1 and found in names):
            count += 1
            found = f"{name or f'column {place + start}'} ({count})"
        made.append(found)
        if name and count > 1:
            notes.append(f"a further column {shorten(name, 40)} is called {shorten(found, 40)}")
    return tuple(made), tuple(notes)


def without_index(columns: Sequence[Column]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns that are no index of the rows, and what is said of one."""
    front = list(takewhile(lambda column: _INDEX.fullmatch(column.name), columns))
    kept = [column for column in columns if column not in front and not _LEVEL.fullmatch(column.name)]
    notes = [
        f"the {'first ' * (column in front)}column, {column.name or 'without a name'}, is an index of the rows: it is "
        "left out"
        for column in columns if column not in kept
    ]
    return (tuple(kept), tuple(notes)) if kept else (tuple(columns), ())


def plain(value: float) -> str:
    """A number as it is usually written: 3 for 3.0."""
    return str(int(value)) if abs(value) < 2**53 and value == np.floor(value) else repr(float(value))


def number(cell: str) -> float | None:
    """A number with a point for its decimals, thousands separated or not, with a sign of money or percent or none."""
    if len(cell) > FIGURES:
        return None
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        pass
    if found := _THOUSANDS.fullmatch(cell):
        return float(cell.replace(found[1], ""))
    return _with_unit(cell, number)


def _with_unit(cell: str, read: Number) -> float | None:
    """A number with a sign of money or percent, which is read without it."""
    if found := _UNIT.fullmatch(cell):
        text = (found[1] or "") + (found[2] or found[3]).strip()
        return None if _UNIT.fullmatch(text) else read(text)
    return None


def number_with_comma(cell: str) -> float | None:
    """A number with a comma for its decimals, as in 1.234,5, with a sign of money or percent or none."""
    if len(cell) > FIGURES:
        return None
    if cell[-1:].isdigit() and _COMMA.fullmatch(cell):
        return float(re.sub(r"[.'’ \u00a0\u202f]", "", cell).replace(",", "."))
    return _with_unit(cell, number_with_comma)


def column_of(name: str, cells: Any, missing: frozenset[str] = frozenset()) -> Column:
    """A column in memory: an array of any type, or objects of any kind, None and NaN among them."""
    array = np.asarray(cells)
    if array.ndim != 1:
        raise DataError(f"the column {name!r} holds arrays", fix="give one value for each row")
    if array.dtype.kind in "Mm":
        texts = np.array(["" if np.isnat(value) else str(value) for value in array])
        return _as_texts(name, texts.tolist(), missing, dates=True)
    if array.dtype.kind in "iuf":
        values = array.astype(np.float64)
        for text in missing:
            value = number(text)
            values[values == value] = np.nan
        return Column(name, values)
    if array.dtype.kind == "c":
        raise DataError(f"the column {name!r} holds complex numbers", fix="give their parts as columns of their own")
    objects: list[Any] = array.astype(object).tolist()
    texts = ["" if _nothing(value) else value if isinstance(value, str) else _text(name, value) for value in objects]
    if array.dtype.kind == "b" or any(isinstance(value, (bool, np.bool_)) for value in objects):
        return _as_texts(name, texts, missing)
    built = Growing(name, number, missing)
    built.add(texts, range(len(texts)))
    built.settle(lambda row: f"row {row}, column {name!r}")
    return built.column() if built.numeric else _as_texts(name, texts, missing)


def _nothing(value: Any) -> bool:
    """Whether an object stands for what is missing: None, and what is unequal to itself or says that it is neither."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and value != value


def _text(name: str, value: Any) -> str:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return plain(float(cast(Any, value)))
    if isinstance(value, (list, tuple, dict, set, np.ndarray, bytes)):
        raise DataError(
            f"the column {name!r} holds {type(cast(Any, value)).__name__}, neither numbers nor texts",
            fix="give one number or text for each row",
        )
    return str(value)


def _as_texts(name: str, texts: list[str], missing: frozenset[str], *, dates: bool = False) -> Column:
    built = Growing(name, number, missing, numeric=False)
    built.add(texts, range(len(texts)))
    column = built.column()
    return Column(name, column.values, column.texts, dates or column.dates)


class Growing:
    """A column that is read some rows at a time: of numbers, until texts are found in it, or of texts."""

    def __init__(
        self, name: str, number: Number, missing: frozenset[str] = frozenset(), *, numeric: bool = True
    ) -> None:
        self.name, self.number, self.missing, self.numeric = name, number, missing, numeric
        self.parts: list[Array] = []
        self.places: dict[str, int] = {}
        self.texts, self.numbers = 0, 0
        self.odd: tuple[int, str] = 0, ""
        self.wrong: DataError | None = None

    def nothing(self, cell: str) -> bool:
        text = cell.lower() if len(cell) <= _LONGEST else cell
        return text in EMPTY or cell in self.missing or (self.numeric and text in BLANK)

    def add(self, cells: Sequence[str], rows: Sequence[int]) -> None:
        if not self.numeric:
            self.parts.append(np.fromiter(map(self._place, cells), np.int32, len(cells)))
            return
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
            # float reads 1_000 as a number, and nan and inf as well.
            plain = self.number is number and not self.missing and "_" not in "".join(cells)
        except ValueError:
            values, plain = None, False
        if values is None or not plain or not np.isfinite(values).all():
            values = np.fromiter(map(self._value, cells, rows), np.float64, len(cells))
        else:
            self.numbers += len(values)
        self.parts.append(values)

    def _value(self, cell: str, row: int) -> float:
        cell = cell.strip()
        if self.nothing(cell):
            return np.nan
        value = self.number(cell)
        if value is None:
            self.odd = self.odd if self.texts else (row, cell)
            self.texts += 1
            return np.nan
        self.numbers += 1
        return value

    def _place(self, cell: str) -> int:
        cell = cell.strip()
        if self.nothing(cell):
            return -1
        return self.places.setdefault(cell, len(self.places))

    def settle(self, where: Callable[[int], str]) -> None:
        """Decide what the column holds: numbers, among which a few texts are wrong, or texts."""
        row, cell = self.odd
        slip = self.texts <= ODD * (self.texts + self.numbers) or (self.texts == 1 and not re.search(r"\d", cell))
        if self.texts and self.numbers and slip:
            self.wrong = DataError(
                f"{where(row)} is {shorten(cell, 40)!r}, which is no number, as {self.numbers} others are",
                fix="write a number, or leave the cell empty; --missing, or missing=, says that this text is as good "
                "as nothing, and --drop, or drop=, leaves the column out",
            )
        self.numeric = self.numeric and (self.wrong is not None or not self.texts)

    def column(self) -> Column:
        values = np.concatenate(self.parts) if self.parts else np.zeros(0)
        if self.numeric:
            return Column(self.name, values, wrong=self.wrong)
        known = self.places
        dates = bool(known) and sum(_DATE.fullmatch(text) is not None for text in known) >= 0.9 * len(known)
        return Column(self.name, values, tuple(known), dates)


# What holds columns in memory


def is_table(x: Any) -> bool:
    """Whether this is a table in memory: a data frame of any library, or an array of texts or objects."""
    if (hasattr(x, "dtypes") and hasattr(x, "columns")) or (hasattr(x, "column_names") and hasattr(x, "column")):
        return True
    if isinstance(x, np.ndarray):
        array = cast(Array, x)
        return array.dtype.kind in "OUS" and array.ndim == 2
    if isinstance(x, (list, tuple)) and len(x) and isinstance(x[0], (list, tuple, np.ndarray)):  # pyright: ignore[reportUnknownArgumentType]
        return any(isinstance(cell, (str, type(None))) for cell in x[0])  # pyright: ignore[reportUnknownVariableType]
    return False


def dense(x: Any) -> Any:
    """A sparse matrix as an array; anything else as it is."""
    return x.toarray() if hasattr(x, "toarray") and hasattr(x, "nnz") else x


def table_of(x: Any, source: str = "x", missing: Iterable[str] = ()) -> Table:
    """A data frame, pandas', polars', pyarrow's, or an array of objects, as a table."""
    empty = frozenset(missing)
    if hasattr(x, "column_names"):
        names, columns = [str(name) for name in x.column_names], [_cells(x.column(i)) for i in range(x.num_columns)]
    elif hasattr(x, "columns"):
        names = [str(name) for name in x.columns]
        columns = [_cells(x.iloc[:, i] if hasattr(x, "iloc") else x[name]) for i, name in enumerate(x.columns)]
    else:
        try:
            rows: Array = np.asarray(x, object)
        except ValueError:
            rows = np.zeros(0)
        if rows.ndim != 2:
            raise DataError(f"the rows of {source} have different lengths", fix="give every row the same length")
        names, columns = [str(i + 1) for i in range(rows.shape[1])], list(rows.T)
        return Table(source, tuple(column_of(n, c, empty) for n, c in zip(names, columns, strict=True)), False)
    once, twice = each_once(names)
    kept, notes = without_index([column_of(n, c, empty) for n, c in zip(once, columns, strict=True)])
    return Table(source, kept, True, notes=(*twice, *notes))


def _cells(column: Any) -> Any:
    """The cells of a column of a data frame, whatever its library keeps them in. A text that pyarrow keeps once, for
    many rows, is one object."""
    if not hasattr(column, "to_pylist"):
        return np.asarray(column.to_numpy())
    parts: list[Array] = []
    for chunk in getattr(column, "chunks", [column]):
        coded = hasattr(chunk, "dictionary")
        values = np.array([*(chunk.dictionary if coded else chunk).to_pylist(), None], object)
        places = chunk.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False) if coded else slice(-1)
        parts.append(values[places])
    return np.concatenate([*parts, np.zeros(0, object)])
