"""Weights of samples and of single outputs: checks that name the row, and targets where the weight is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DataError, ShapeError
from chainrule.nn.layer import show
from chainrule.train.data import numbers

Array = NDArray[Any]


def as_weight(values: ArrayLike, entries: tuple[Any, ...], samples: int, dtype: np.dtype[Any]) -> Array:
    """The weights as an array of shape (N,), or of `entries`, the shape of the outputs whose losses are added up.

    Raises ShapeError for another shape, DataError for a weight that is negative, not finite or no number.
    """
    array = numbers(values, "sample_weight")
    shapes = {(samples,): "(N,)", (samples, *entries[1:]): show(entries)}
    if array.shape not in shapes:
        wanted = " or ".join(dict.fromkeys(shapes.values()))
        flat = array.size == samples
        raise ShapeError(
            f"sample_weight has the shape {array.shape}, but is one of {wanted} with N = {samples}",
            about="sample_weight",
            fix="flatten it: sample_weight.reshape(-1)" if flat else "give one weight for each sample",
        )
    made = np.ascontiguousarray(array, dtype)
    for bad, what in ((array < 0, "weights are not negative"), (~np.isfinite(made), f"{dtype} cannot hold that")):
        if array.dtype.kind != "b" and bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            column = f", column {', '.join(map(str, place[1:]))}" if place[1:] else ""
            raise DataError(
                f"sample_weight holds {array[place]} at row {place[0]}{column}: {what}",
                about="sample_weight",
                fix="give 0 to what does not count, and scale the others",
            )
    return made


def without_masked(y: ArrayLike, weight: Array, shape: tuple[Any, ...]) -> ArrayLike:
    """The targets with a valid one in place of each whose weight is 0: it may be NaN, or a label of no class.

    `shape` is the output's. Targets of a wrong shape stay as they are.
    """
    masked = weight == 0
    try:
        made = np.array(y)
    except ValueError:
        return y
    if not masked.any() or made.dtype.kind not in "biuf" or made.ndim == 0 or len(made) != len(masked):
        return y
    if made.ndim < masked.ndim and made.size == masked.size:
        masked = masked.reshape(made.shape)
    if made.shape[: masked.ndim] != masked.shape:
        return y
    made[masked] = 0
    if masked.ndim < made.ndim == len(shape) and made.shape[-1] > 1:
        made[(*np.nonzero(masked), ..., 0)] = 1  # of each distribution the first class
    return made
