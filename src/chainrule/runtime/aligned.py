"""Arrays that begin where a line of the cache does, as NumPy's need not: a vector across two lines takes twice the time
to read and to write."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE = 64  # bytes


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    size, spare = prod(shape), LINE // np.dtype(dtype).itemsize
    entries = np.zeros(size + spare, dtype)
    skip = -entries.ctypes.data % LINE // entries.itemsize
    return entries[skip : skip + size].reshape(shape)


def aligned(values: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """A copy of an array, of its type or another."""
    made = zeros(values.shape, values.dtype if dtype is None else dtype)
    made[...] = values
    return made
