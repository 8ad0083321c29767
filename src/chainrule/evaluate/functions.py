"""The scalar functions of the catalogue over NumPy arrays, right at both ends and without warnings."""

from __future__ import annotations

from collections.abc import Callable
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


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "log": np.log,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": _softplus,
    "step": _step,
    "relu": _relu,
    "max": np.maximum,
}
