"""Rows that memory need not hold: whatever comes in batches, written once to a file that is read as an array."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten

Array = NDArray[Any]
BATCH = 1 << 16  # rows of a Parquet file that are read at once


def rows(
    source: Iterable[Any] | str | PathLike[str], *, target: str | None = None, dtype: DTypeLike = np.float32
) -> Any:
    """Arrays out of batches, each (x, y) or x, or out of a Parquet file with columns of numbers, of which `target`
    names y: (x, y) or x. They are files in the system's temporary folder (TMPDIR), which go when the arrays do; memory
    holds one batch. Whole numbers as y stay whole, all else is of `dtype`.

        x, y = cr.rows(((read(part), labels(part)) for part in parts))
        model.fit(x, y, shuffle="blocks")

    Raises DataError for batches of different shapes, or none.
    """
    if isinstance(source, (str, PathLike)):
        source = _parquet(fspath(source), target)
    columns: list[_Column] = []
    for number, batch in enumerate(source, 1):
        parts: list[Any] = list(cast(Any, batch)) if isinstance(batch, tuple) else [batch]
        arrays: list[Array] = [np.atleast_1d(np.asarray(part)) for part in parts]
        if not columns:
            whole = [place > 0 and array.dtype.kind in "biu" for place, array in enumerate(arrays)]
            kinds = [np.dtype(np.int64 if w else dtype) for w in whole]
            columns = [_Column(array.shape[1:], kind) for array, kind in zip(arrays, kinds, strict=True)]
        if len(arrays) != len(columns) or len({len(array) for array in arrays}) > 1:
            raise DataError(f"batch {number} has {len(arrays)} arrays, or arrays of different lengths")
        for column, array in zip(columns, arrays, strict=True):
            column.add(array, number)
    if not columns or not columns[0].count:
        raise DataError("there are no rows", fix="give an iterable that yields (x, y)")
    made = [column.array() for column in columns]
    return tuple(made) if len(made) > 1 else made[0]


class _Column:
    """A file that grows by rows of one shape."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.file = tempfile.TemporaryFile(prefix="chainrule-")  # noqa: SIM115  (lives as long as its array)
        self.shape, self.dtype, self.count = shape, dtype, 0

    def add(self, array: Array, number: int) -> None:
        if array.shape[1:] != self.shape or array.dtype.kind not in "biuf":
            found = f"rows of shape {array.shape[1:]} and type {array.dtype}"
            raise DataError(f"batch {number} has {found}, not numbers of shape {self.shape}")
        self.file.write(np.ascontiguousarray(array, self.dtype).data)
        self.count += len(array)

    def array(self) -> Array:
        self.file.flush()
        return np.memmap(self.file, self.dtype, "r", shape=(self.count, *self.shape))


def read_parquet(path: str, most: int) -> Any:
    """A Parquet file as pyarrow's table, in which a text that recurs is kept once. Raises DataError as `parquet` does,
    and where the file says that it holds more bytes than `most`."""
    with parquet(path) as file:
        texts = [field.name for field in file.schema_arrow if str(field.type) in ("string", "large_string")]
    with parquet(path, texts) as file:
        about = file.metadata
        # What is said of single columns is not looked at: where that is damaged, pyarrow ends the process.
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if max(size, 8 * about.num_rows * about.num_columns) > most:
            fix = "read it in parts: cr.rows(path, target=…)"
            raise DataError(f"{path} unpacks to more than {most:,} bytes", fix=fix)
        table = file.read()
        table.validate(full=True)  # texts that are none in UTF-8, and places beyond the end, are found by no reading
        return table


@contextmanager
def parquet(path: str, texts: Sequence[str] = ()) -> Generator[Any]:
    """pyarrow's view of a Parquet file, in which a text of the columns `texts` is kept once however often it recurs.
    Raises DataError where pyarrow is not installed, or the file is damaged."""
    try:
        from pyarrow import parquet as library  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        raise DataError("Parquet files need pyarrow", fix='pip install "chainrule[parquet]"') from None
    try:
        with cast(Any, library).ParquetFile(path, read_dictionary=[*texts]) as file:
            yield file
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # pyarrow's own are some of these
        if isinstance(error, DataError) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise DataError(
            f"{path} is no Parquet file, or a damaged one: {shorten(str(error), 200)}", fix="write it once more"
        ) from None


def _parquet(path: str, target: str | None) -> Iterator[Any]:
    """Batches of a file's rows. Raises DataError as `parquet` does, and where a column holds no numbers."""
    with parquet(path) as file:
        names: list[str] = list(file.schema_arrow.names)
        if target is not None and target not in names:
            raise DataError(f"{path} has no column {target!r}", fix=f"there are {', '.join(names)}")
        for batch in file.iter_batches(BATCH):
            arrays: dict[str, Array] = {
                name: np.asarray(batch.column(name).to_numpy(zero_copy_only=False)) for name in names
            }
            for name, array in arrays.items():
                if array.dtype.kind not in "biuf":
                    raise DataError(f"the column {name!r} of {path} holds no numbers", fix="read it with cr.read_data")
            x = np.stack([array for name, array in arrays.items() if name != target], axis=1)
            yield x if target is None else (x, arrays[target])
