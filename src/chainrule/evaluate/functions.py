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
# 15/32, exp(x²)·erfc(x) in x from there to 4; beyond 6 no double lies between erf and 1. Highest power first.
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


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    return reduce(lambda value, c: value * x + c, coefficients[1:], np.full_like(x, coefficients[0]))


def _erf(x: Array) -> Array:
    size = np.abs(x)
    small, large = np.minimum(size, 0.46875) ** 2, np.clip(size, 0.46875, 6)
    near = x * (_polynomial(_NEAR, small) / _polynomial(_NEAR_BELOW, small))
    rest = np.exp(-large * large) * _polynomial(_FAR, large) / _polynomial(_FAR_BELOW, large)
    return np.where(size <= 0.46875, near, np.copysign(1 - rest, x))


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": _softplus,
    "erf": _erf,
    "step": _step,
    "relu": _relu,
    "max": np.maximum,
    "min": np.minimum,
    "sign": np.sign,
    "abs": np.abs,
}
