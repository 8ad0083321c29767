"""The dense layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.initialisers import Initialiser, named, zeros
from chainrule.nn.layer import Layer, Shape
from chainrule.nn.shapes import axes, flat, positive, size, truth


class Dense(Layer):
    """u = W x + b over every axis of a sample: (N, …) -> (N, units); W is (units, inputs), b is (units,).

    With axes="last" it contracts over the last axis alone, at each place of the others: (N, T, D) -> (N, T, units).
    `init` names the initialiser of W; `l2` adds (l2/2)·ΣW² to the loss, in place of the model's.
    """

    def __init__(
        self,
        units: int,
        bias: bool = True,
        init: str = "glorot",
        l2: float | None = None,
        axes: Literal["all", "last"] = "all",
    ) -> None:
        super().__init__(l2=l2)
        named(init)
        if axes not in ("all", "last"):
            raise ModelError(f"axes must be 'all' or 'last', not {axes!r}", about="Dense", fix='write axes="last"')
        self.axes = axes
        self.units = positive("units", units, "Dense", "Dense(10)")
        self.bias, self.start = truth("bias", bias, "Dense"), init

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError("Dense needs at least one axis besides the samples", fix="give Input(1), not Input()")
        if self.axes == "last":
            places = ", ".join(["n", *(f"t{i + 1}" if len(shape) > 3 else "t" for i in range(len(shape) - 2))])
            return f"u[{places}, k<{self.units}] = sum[l](W[k, l] * x[{places}, l])" + (" + b[k]" if self.bias else "")
        inputs = ["l"] if len(shape) == 2 else axes(len(shape) - 1)
        bound = ", ".join(inputs)
        bias = " + b[k]" if self.bias else ""
        return f"u[n, k<{self.units}] = sum[{bound}](W[k, {flat(inputs, shape)}] * x[n, {bound}]){bias}"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        (shape,) = shapes
        inputs = int(shape[-1]) if self.axes == "last" and len(shape) > 1 else size(shape)
        weight = named(self.start, self.units, inputs)
        return {"W": weight, "b": zeros(self.units)} if self.bias else {"W": weight}
