"""The layers, each by its equations. Shapes are written with the sample axis N first."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.initialisers import Initialiser, named, zeros
from chainrule.nn.layer import Layer, Shape, show
from chainrule.nn.text import plain

_AXES = {1: ["k"], 2: ["i", "j"], 3: ["c", "i", "j"]}


def axes(rank: int) -> list[str]:
    """Names for the indices of one sample of that rank: k; i, j; c, i, j; a1, a2, …"""
    return _AXES.get(rank) or [f"a{i + 1}" for i in range(rank)]


def indices(shape: Shape) -> str:
    """The subscripts of a whole tensor of that shape: n, c, i, j."""
    return ", ".join(["n", *axes(len(shape) - 1)])


def flat(names: list[str], shape: Shape) -> str:
    """The position of a component in row-major order, c*784 + i*28 + j for the shape (N, C, 28, 28)."""
    extents = [extent for extent in shape[1:] if isinstance(extent, int)]
    assert len(extents) == len(names)
    places = [math.prod(extents[i + 1 :]) for i in range(len(names))]
    return " + ".join(name if place == 1 else f"{place}*{name}" for name, place in zip(names, places, strict=True))


def size(shape: Shape) -> int:
    """The number of components of one sample."""
    return math.prod(extent for extent in shape[1:] if isinstance(extent, int))


class Dense(Layer):
    """u = W x + b over every axis of a sample: (N, …) -> (N, units); W is (units, inputs), b is (units,).

    `init` names the initialiser of W; `l2` adds (l2/2)·ΣW² to the loss, in place of the model's.
    """

    def __init__(self, units: int, bias: bool = True, init: str = "glorot", l2: float | None = None) -> None:
        super().__init__(l2=l2)
        units = plain(units)
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(
                f"units must be a positive whole number, not {units!r}", about="Dense", fix="write Dense(10)"
            )
        named(init)
        self.units, self.bias, self.start = units, bias, init

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError("Dense needs at least one axis besides the samples", fix="give Input(1), not Input()")
        inputs = ["l"] if len(shape) == 2 else axes(len(shape) - 1)
        bound = ", ".join(inputs)
        bias = " + b[k]" if self.bias else ""
        return f"u[n, k<{self.units}] = sum[{bound}](W[k, {flat(inputs, shape)}] * x[n, {bound}]){bias}"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        weight = named(self.start, self.units, size(shapes[0]))
        return {"W": weight, "b": zeros(self.units)} if self.bias else {"W": weight}


class _Elementwise(Layer):
    """z = g(x) for each component."""

    function = ""

    def equations(self, *shapes: Shape) -> str:
        where = indices(shapes[0])
        return f"z[{where}] = {self.function}(x[{where}])"


class Sigmoid(_Elementwise):
    """z = 1/(1 + exp(−x))."""

    function = "sigmoid"

    def __init__(self) -> None:
        super().__init__()


class Tanh(_Elementwise):
    """z = tanh(x)."""

    function = "tanh"

    def __init__(self) -> None:
        super().__init__()


class ReLU(_Elementwise):
    """z = x where x > 0, else 0; the derivative at 0 is 0."""

    function = "relu"

    def __init__(self) -> None:
        super().__init__()


class Softmax(Layer):
    """p = exp(x)/Σ exp(x) over the last axis."""

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        names = ["n", *axes(len(shapes[0]) - 1)]
        if len(names) < 2:
            raise ShapeError("Softmax needs an axis besides the samples", fix="give Input(3), not Input()")
        return f"p[{', '.join(names)}] = exp(x[{', '.join(names)}] - logsumexp[h](x[{', '.join([*names[:-1], 'h'])}]))"


class Flatten(Layer):
    """(N, C, H, W) -> (N, C·H·W), row by row. Dense needs none: it contracts over every axis."""

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        names = axes(len(shapes[0]) - 1)
        return f"y[n, {flat(names, shapes[0])}] = x[n, {', '.join(names)}]"


class Add(Layer):
    """y = x1 + x2, of one shape: a skip connection. `h + x` in a graph is the same."""

    inputs = 2

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"Add needs two inputs of one shape, not {show(shapes[0])} and {show(shapes[1])}",
                fix="put a Dense layer of the other's width on one of them",
            )
        where = indices(shapes[0])
        return f"y[{where}] = x1[{where}] + x2[{where}]"


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (Dense, Sigmoid, Tanh, ReLU, Softmax, Flatten, Add)
}
ACTIVATIONS: dict[str, type[Layer]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "softmax": Softmax,
    "flatten": Flatten,
}
