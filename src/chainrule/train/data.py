"""Data for training: checks that name the row and the column, labels as targets, the digits, standardisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DataError, ShapeError
from chainrule.ir.expr import Tensor
from chainrule.nn.layer import show
from chainrule.nn.losses import Labels

Array = NDArray[Any]
_PART = 4096  # samples at a time, where there is no room for a copy of all
_SCALE = 100.0  # inputs whose ranges differ by this factor, or that deviate by this, are learnt badly as they are
_STEPS = 64  # of numbers, which a column is to have room for
_FEW = 10  # samples that say nothing of a scale


def _array(values: ArrayLike, what: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} is no array: {error}", fix="give every row the same length") from None
    if array.dtype.kind not in "biuf":
        kind = "text" if array.dtype.kind in "US" else f"type {array.dtype}"
        fix = f"convert {what} to numbers: {what}.astype(float)"
        if what == "y":
            fix = "number the classes: classes, y = np.unique(y, return_inverse=True)"
        raise DataError(f"{what} holds {kind}, not numbers", fix=fix)
    if array.ndim == 0:
        raise DataError(f"{what} is a single number", fix="give one row for each sample")
    return array


def numbers(values: ArrayLike, what: str, about: object = None) -> Array:
    """The values as an array. Raises DataError for a NaN, an infinity, or something that is no number."""
    try:
        array = _array(values, what)
        _finite(array, what)
    except DataError as error:
        raise DataError(error.problem, about=about, fix=error.fix) from None
    return array


def _finite(array: Array, what: str) -> None:
    if array.dtype.kind != "f" or sums_up(array) or np.isfinite(array).all():
        return
    place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
    bad = int((~np.isfinite(array)).sum())
    more = f" and {bad - 1} more values that are not finite" if bad > 1 else ""
    raise DataError(
        f"{what} holds {array[tuple(place)]} at {_place(place)}{more}",
        fix=f"remove such rows, or fill them: np.nan_to_num({what})",
    )


def sums_up(array: Array) -> bool:
    """Whether the sum is finite, and with it every entry: quicker than looking at each. A product of the array with
    itself would wake the threads of BLAS, which then wait for more on the processors that train."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum())


def _cast(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """The array in the model's dtype, in which a large number must still be finite."""
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(array, dtype)
    lost = ~np.isfinite(made)
    if lost.any():
        place = tuple(int(i) for i in np.argwhere(lost)[0])
        raise DataError(
            f"{what} holds {array[place]} at {_place(place)}, which is more than {dtype} can hold",
            fix=f"scale {what}, or build the model with dtype='float64'" if dtype.itemsize < 8 else f"scale {what}",
        )
    return made


def _place(place: Sequence[int]) -> str:
    return f"row {place[0]}" + (f", column {', '.join(map(str, place[1:]))}" if place[1:] else "")


def as_input(values: ArrayLike, tensor: Tensor, reader: str, dtype: np.dtype[Any]) -> Array:
    """The samples as an array of the input's shape. `reader` is the layer that reads it.

    Raises ShapeError with both shapes, DataError for a NaN, an infinity or something that is no number.
    """
    x = _array(values, "x")
    wanted = tensor.shape[1:]
    if x.shape[1:] != wanted:
        sample = ", ".join(map(str, wanted))
        if x.shape == wanted:
            fix = "this is one sample: give x[None]"
        elif x.ndim and len(x) and math.prod(x.shape[1:]) == math.prod(int(e) for e in wanted):
            fix = f"reshape it: x.reshape(len(x), {sample})"
        elif x.ndim == len(tensor.shape):
            fix = f"give samples of shape {show(wanted)}, or declare Input({', '.join(map(str, x.shape[1:]))})"
        else:
            fix = f"give one row of shape {show(wanted)} for each sample"
        raise ShapeError(
            f"x has the shape {x.shape}, but {tensor.name} takes {show(tensor.shape)}",
            about=f"{reader}, which reads {tensor.name}",
            fix=fix,
        )
    if not len(x):
        raise DataError("x has no samples", fix="give at least one row")
    _finite(x, "x")
    if tensor.dtype == "integer":
        if x.dtype.kind == "f" and not (x == np.floor(x)).all():
            raise DataError(f"{tensor.name} takes whole numbers, but x holds fractions", fix="round x first")
        beyond = np.abs(x) >= 2.0**63 if x.dtype.kind == "f" else x > np.iinfo(np.int64).max
        if beyond.any():
            place = tuple(int(i) for i in np.argwhere(beyond)[0])
            raise DataError(
                f"x holds {x[place]} at {_place(place)}, which is more than a whole number of 64 bits",
                fix="number the entries from 0",
            )
        return x.astype(np.int64)
    return _cast(x, dtype, "x")


def as_target(values: ArrayLike, shape: tuple[Any, ...], labels: Labels, samples: int, dtype: np.dtype[Any]) -> Array:
    """Labels or numbers as an array of the output's shape. Whole numbers of shape (N,) are classes where the
    output has several columns, and of shape (N, …) where it has (N, …, m): they become rows with a single 1.

    Raises DataError for a label out of range, a NaN, or a length that is not that of x; ShapeError otherwise.
    """
    y = _array(values, "y")
    if len(y) != samples:
        raise DataError(f"x has {samples} samples and y has {len(y)}", fix="give one label for each sample")
    _finite(y, "y")
    wanted = (samples, *shape[1:])
    if len(shape) > 2 and labels == "classes" and y.shape == wanted[:-1] and (y == np.floor(y)).all():
        return _one_hot(y, int(shape[-1]), dtype)
    if len(shape) == 2 and (y.ndim == 1 or (y.shape == (samples, 1) and shape[1] > 1)):
        y = y.reshape(samples)
        classes = int(shape[1])
        if classes > 1:
            if y.dtype.kind == "f" and (labels == "numbers" or not (y == np.floor(y)).all()):
                raise ShapeError(
                    f"y has the shape {y.shape}, but the model's output has {show(shape)}",
                    fix=f"give whole-number labels 0 … {classes - 1}, or one row of {classes} numbers for each sample",
                )
            if labels == "binary":
                raise ShapeError(
                    f"y has the shape {y.shape}, but the model's output has {show(shape)}",
                    fix=f"give {classes} zeros and ones for each sample, or use the loss softmax_cross_entropy",
                )
            return _one_hot(y, classes, dtype)
        y = y.reshape(samples, 1)
    if y.shape != wanted:
        raise ShapeError(
            f"y has the shape {y.shape}, but the model's output has {show(shape)}", fix=f"give y the shape {wanted}"
        )
    if labels == "binary" and ((y < 0) | (y > 1)).any():
        row = int(np.argwhere((y < 0) | (y > 1))[0][0])
        raise DataError(
            f"y holds {y[row].tolist()} in row {row}: binary labels are 0 or 1", fix="map the two classes to 0 and 1"
        )
    if labels == "classes":
        wrong = (y < 0).any(axis=-1) | (np.abs(y.sum(axis=-1) - 1) > 1e-4)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"{_place(place)} of y is no distribution over the classes: {y[place].tolist()}",
                fix="each row has one 1 and zeros, or sums to 1",
            )
    return _cast(y, dtype, "y")


def _one_hot(y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
    """Labels as rows with a single 1. Raises DataError for a label out of range."""
    out = (y < 0) | (y >= classes)
    if out.any():
        place = tuple(int(i) for i in np.argwhere(out)[0])
        fix = f"give the last layer {int(y.max()) + 1} units, or correct the labels"
        if y.min() < 0:
            fix = f"labels must be 0 … {classes - 1}: number the classes so, or leave such rows out"
        elif y.min() == 1 and y.max() == classes:
            fix = "number the classes from 0: y - 1"
        raise DataError(
            f"y holds the label {int(y[place])} in {_place(place)}, but the last layer has {classes} outputs: "
            f"labels run from 0 to {classes - 1}",
            fix=fix,
        )
    one_hot = np.zeros((*y.shape, classes), dtype)
    np.put_along_axis(one_hot, y.astype(np.intp)[..., None], 1, axis=-1)
    return one_hot


def is_one_hot(target: Array) -> bool:
    """Whether every row is one class: a single 1, and zeros."""
    if target.ndim != 2 or target.shape[1] < 2:
        return False
    return bool(((target == 0) | (target == 1)).all() and (target.sum(1) == 1).all())


def split(samples: int, fraction: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two disjoint sets of rows, the second with this fraction of the samples."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.integer, np.floating)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(
            f"validation_split must be a number between 0 and 1, not {fraction!r}", fix="write validation_split=0.1"
        )
    if not math.isfinite(fraction):
        raise DataError(f"validation_split={fraction!r} is not between 0 and 1", fix="write validation_split=0.1")
    held = round(samples * fraction)
    if not 0 < fraction < 1 or not 0 < held < samples:
        raise DataError(
            f"validation_split={fraction!r} leaves {samples - held} of {samples} samples for training and {held} for "
            "validation",
            fix="choose a fraction between 0 and 1, as in validation_split=0.1",
        )
    order = rng.permutation(samples)
    return np.sort(order[held:]), np.sort(order[:held])


def differ_in_scale(x: Array) -> bool:
    """Whether the columns of (N, F) differ so much in scale that they had better be standardised; of many samples some
    are looked at."""
    if x.ndim != 2 or len(x) < _FEW or not x.shape[1]:
        return False
    some = x[:: -(-len(x) // _PART)].astype(np.float64)
    spread, wide = some.std(axis=0), np.ptp(some, axis=0)
    return bool(spread.max() > _SCALE or wide.max() > _SCALE * wide[wide > 0].min(initial=np.inf))


def too_fine(x: Array, dtype: np.dtype[Any]) -> list[int]:
    """The columns of (N, F) in which the type tells fewer than so many steps apart; of many samples some are looked
    at."""
    if x.ndim != 2 or x.dtype.kind != "f" or x.dtype.itemsize <= dtype.itemsize or len(x) < _FEW:
        return []
    some = x[:: -(-len(x) // _PART)]
    spread, size = np.ptp(some, axis=0), np.abs(some).max(axis=0)
    return np.flatnonzero((spread > 0) & (spread < _STEPS * np.finfo(dtype).eps * size)).tolist()


def digits(seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """scikit-learn's 1,797 handwritten digits as (x, y, x_test, y_test): x is (samples, 64) in 0 … 1, y is 0 … 9.
    A fifth of every class is held out: scikit-learn's stratified split with random_state=seed.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    Raises DataError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
        from sklearn.model_selection import train_test_split  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError:
        raise DataError(
            "the digits come with scikit-learn, which is not installed", fix='pip install "chainrule[data]"'
        ) from None
    pixels, labels = load_digits(return_X_y=True)  # pyright: ignore[reportUnknownVariableType]
    x, y = np.asarray(pixels, np.float64) / 16.0, np.asarray(labels, np.int64)  # pyright: ignore[reportUnknownArgumentType]
    rows = np.arange(len(y))
    _, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=y)  # pyright: ignore[reportUnknownVariableType]
    held = np.isin(rows, test)  # pyright: ignore[reportUnknownArgumentType]
    return x[~held], y[~held], x[held], y[held]


@dataclass(frozen=True, eq=False)
class Standardiser:
    """The mean and the deviation of a data set: for each column of (N, F), each channel of (N, C, …), and once for
    images (N, H, W). `apply` gives (x − mean)/deviation. A constant column has the deviation 1, so it becomes 0."""

    mean: Array
    deviation: Array

    def __repr__(self) -> str:
        return f"<Standardiser of {len(self.mean)} columns or channels; it has their mean and deviation>"

    @classmethod
    def fit(cls, x: ArrayLike, rows: NDArray[np.int64] | None = None) -> Standardiser:
        """Of all samples, or of these rows. Raises DataError for a NaN, an infinity, no samples, or something that is
        no number."""
        array = numbers(x, "x")
        if array.ndim < 2:
            raise DataError("x has one axis", fix="give one row for each sample: x[:, None]")
        if not len(array):
            raise DataError("x has no samples", fix="give at least one row")
        over = (0, 1, 2) if array.ndim == 3 else (0, *range(2, array.ndim))
        count = len(array) if rows is None else len(rows)
        places = [slice(at, at + _PART) for at in range(0, count, _PART)]
        parts = [place if rows is None else rows[place] for place in places]
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.sum([array[part].sum(axis=over, dtype=np.float64, keepdims=True) for part in parts], axis=0)
            each = sums.size / (count * math.prod(array.shape[1:]))
            mean = sums * each
            squares = np.sum([((array[part] - mean) ** 2).sum(axis=over) for part in parts], axis=0)
            deviation = np.sqrt(squares * each)
        mean, deviation = mean.reshape(-1), deviation.reshape(-1)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise DataError("x is too large for a mean and a deviation", fix="scale x")
        # A constant column of 0.1 has a deviation of rounding errors.
        constant = deviation <= 8 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation))

    def apply(self, x: ArrayLike) -> Array:
        """Raises ShapeError where x has not the columns or channels that were fitted."""
        array = numbers(x, "x")
        columns = 1 if array.ndim == 3 else array.shape[1] if array.ndim > 1 else 0
        if columns != len(self.mean):
            raise ShapeError(
                f"x has the shape {array.shape}, but {len(self.mean)} columns or channels were fitted",
                fix="give data of the shape that was fitted",
            )
        shape = (1, len(self.mean), *[1] * (array.ndim - 2)) if array.ndim != 3 else (1, 1, 1)
        made = (array - self.mean.reshape(shape)) / self.deviation.reshape(shape)
        return made.astype(array.dtype if array.dtype.kind == "f" else np.float64)
