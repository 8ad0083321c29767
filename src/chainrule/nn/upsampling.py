"""More cells from few: each repeated, or weighted means of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.nn.equations import constant, keeping
from chainrule.nn.layer import Layer, Random, Shape, State
from chainrule.nn.shapes import truth
from chainrule.nn.window import OFFSETS, PLACES, numbers, space


class Upsample(Layer):
    """(N, channels, *space) -> (N, channels, *scale·space), `scale` a whole number for each axis. "nearest" repeats
    each cell; "linear" weighs the two neighbours along each axis by how near they are, where cells lie at the centres
    of equal parts of the whole, or with `corners` the outermost ones at its ends. The weights are constant matrices."""

    def __init__(
        self, scale: Sequence[int], mode: Literal["nearest", "linear"] = "nearest", corners: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(scale, (list, tuple)) or len(scale) not in (1, 2):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(f"scale is a list of 1 or 2 numbers, not {scale!r}", about="Upsample", fix="write [2, 2]")
        self.scale = numbers("scale", scale, len(scale), "Upsample")
        if mode not in ("nearest", "linear"):
            raise ModelError(f"mode is 'nearest' or 'linear', not {mode!r}", about="Upsample", fix='write "nearest"')
        self.mode, self.corners = mode, truth("corners", corners, "Upsample")

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        extents = space(shape, len(self.scale), "Upsample")
        if self.mode == "nearest":
            places = list(zip(PLACES, OFFSETS, self.scale, extents, strict=False))
            cells = ", ".join(f"{s}*({i}<{e}) + ({p}<{s})" if s > 1 else i for i, p, s, e in places)
            return f"y[n, c, {cells}] = x[n, c, {', '.join(i for i, _, _, _ in places)}]"
        kept = self.states(shape)
        sizes = [(scale * e, e) for scale, e in zip(self.scale, extents, strict=True)]
        where = ", ".join(f"{i}<{size}" for i, (size, _) in zip(PLACES, sizes, strict=False))
        bound = ", ".join(OFFSETS[: len(sizes)])
        shares = "*".join(f"{name}[{i}, {p}]" for name, i, p in zip(kept, PLACES, OFFSETS, strict=False))
        lines = [keeping(name, size) for name, size in zip(kept, sizes, strict=True)]
        return "\n".join([*lines, f"y[n, c, {where}] = sum[{bound}]({shares}*x[n, c, {bound}])"])

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        extents = space(shapes[0], len(self.scale), "Upsample")
        if self.mode == "nearest":
            return {}
        made = (_weights(e, scale, self.corners) for e, scale in zip(extents, self.scale, strict=True))
        return {name: constant(name, weights) for name, weights in zip(("A", "B"), made, strict=False)}


def _weights(extent: int, scale: int, corners: bool) -> NDArray[Any]:
    """(scale·extent, extent): what share each cell has in each of the new ones."""
    size = scale * extent
    if corners:
        at = np.arange(size) * ((extent - 1) / (size - 1) if size > 1 else 0.0)
    else:
        at = np.clip((np.arange(size) + 0.5) / scale - 0.5, 0, extent - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(extent)))
