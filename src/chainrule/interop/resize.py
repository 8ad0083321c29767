"""Axes of images with more or fewer cells, as matrices from the old cells to the new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACED: dict[str, Callable[[Any, int, int, float], Any]] = {
    "half_pixel": lambda i, length, new, scale: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, length, new, scale: (i + 0.5) / scale - 0.5 if new > 1 else 0.0 * i,
    "asymmetric": lambda i, length, new, scale: i / scale,
    "align_corners": lambda i, length, new, scale: i * (length - 1) / (length * scale - 1) if new > 1 else 0 * i,
    "half_pixel_symmetric": lambda i, length, new, scale: (
        length / 2 * (1 - new / (scale * length)) + (i + 0.5) / scale - 0.5
    ),
}
"""Where each new cell lies among the old ones, by the names that ONNX has for it."""
NEAREST: dict[str, Callable[[Any], Any]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5), "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor, "ceil": np.ceil,
}


def interpolated(
    length: int, at: Any, mode: str, nearest: str = "floor", a: float = -0.75, inside: bool = False
) -> NDArray[np.float64]:
    """The matrix from `length` old cells to the new ones, which lie at `at`: each is the nearest old one, or "linear"
    or "cubic" between its neighbours, with Keys's coefficient `a`. Cells outside are the outermost ones again, or with
    `inside` nothing. Keys, IEEE Transactions on Acoustics, Speech, and Signal Processing 29 (1981)."""
    first, new = np.floor(at), len(at)
    away = at - first
    if mode == "nearest":
        shares = {0: np.ones(new)}
        first = NEAREST[nearest](at)
    elif mode == "linear":
        shares = {0: 1 - away, 1: away}
    else:
        outer = [a * (((d - 5) * d + 8) * d - 4) for d in (away + 1, 2 - away)]
        inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (away, 1 - away)]
        shares = {-1: outer[0], 0: inner[0], 1: inner[1], 2: outer[1]}
    matrix = np.zeros((new, length))
    for step, share in shares.items():
        cells = first + step
        within = (cells >= 0) & (cells < length) | (not inside)
        np.add.at(matrix, (np.arange(new), np.clip(cells, 0, length - 1).astype(int)), share * within)
    return matrix / matrix.sum(1, keepdims=True) if inside else matrix
