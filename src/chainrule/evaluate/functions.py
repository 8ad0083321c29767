"""The scalar functions of the catalogue over NumPy arrays, right at both ends and without warnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


def _step(x: Array) -> Array:
    return (x > 0).astype(x.dtype)


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf(x)/x in x² up to
# 15/32, exp(x²)·erfc(x) in x from there to 4, and beyond (1/√π − x·exp(x²)·erfc(x))·x² in 1/x². Highest power first.
_NEAR = (
    1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3,
)
_NEAR_BELOW = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_FAR = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)
_FAR_BELOW = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)

_TAIL = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4,
)
_TAIL_BELOW = (
    1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
    2.33520497626869185e-3,
)

def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    return reduce(lambda value, c: value * x + c, coefficients[1:], np.full_like(x, coefficients[0]))


def _erfc(x: Array) -> Array:
    size = np.abs(x)
    small, middle, large = np.minimum(size, 0.46875) ** 2, np.clip(size, 0.46875, 4), np.clip(size, 4, 30)
    near = 1 - x * (_polynomial(_NEAR, small) / _polynomial(_NEAR_BELOW, small))
    far = _polynomial(_FAR, middle) / _polynomial(_FAR_BELOW, middle)
    inverse = large**-2
    tail = (np.pi**-0.5 - inverse * _polynomial(_TAIL, inverse) / _polynomial(_TAIL_BELOW, inverse)) / large
    # exp(−x²) from x² in two parts, the first exact: the rounding of x² would grow with it.
    head = np.trunc(np.minimum(size, 30) * 16) / 16
    bell = np.exp(-head * head) * np.exp(-(np.minimum(size, 30) - head) * (np.minimum(size, 30) + head))
    rest = np.where(size <= 4, far, tail) * bell
    return np.where(size <= 0.46875, near, np.where(x > 0, rest, 2 - rest))


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": _softplus,
    "erfc": _erfc,
    "step": _step,
    "relu": _relu,
    "max": np.maximum,
    "min": np.minimum,
    "sign": np.sign,
    "abs": np.abs,
}
