"""Standardisation as a layer: a model carries the mean and the deviation of the data that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.errors import ShapeError
from chainrule.nn.initialisers import ones, zeros
from chainrule.nn.layer import Layer, Random, Shape, State
from chainrule.nn.shapes import axes, indices


class Standardise(Layer):
    """y = (x − mean)/deviation: for each column of (N, F), each channel of (N, C, …), and once for images (N, H, W).

    Both are states, 0 and 1 at first. Where nobody has set them, as model.states["standardise1.mean"] = x.mean(axis=0)
    does, and the layer is not frozen, they are those of the rows that the model is first trained on, without what is
    held out; then they stay.
    """

    state: Mapping[str, State | Random] = {
        "mean": State("mean_next", zeros("k")),
        "deviation": State("deviation_next", ones("k")),
    }

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError("Standardise needs an axis besides the samples", fix="give Input(3), not Input()")
        where = indices(shape)
        k = "0" if len(shape) == 3 else axes(len(shape) - 1)[0]
        extent = 1 if len(shape) == 3 else shape[1]
        return "\n".join(
            [
                f"mean_next[k<{extent}] = mean[k]",
                f"deviation_next[k<{extent}] = deviation[k]",
                f"y[{where}] = (x[{where}] - mean[{k}]) / deviation[{k}]",
            ]
        )
