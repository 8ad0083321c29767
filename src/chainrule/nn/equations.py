"""Layers that are no kind of their own: equations as a text, a parameter, a constant. Networks that come from elsewhere
are made of these where the vocabulary has no word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.ir.source import checked_text
from chainrule.nn.initialisers import Initialiser, named, zeros
from chainrule.nn.layer import Layer, Random, Shape, State
from chainrule.nn.shapes import positive
from chainrule.nn.text import plain

Shapes = Mapping[str, Sequence[int]]


class Equations(Layer):
    """The equations of a text, one on each line, for inputs x, or x1, x2, …: Equations("y[n, k] = g[k]*x[n, k]",
    parameters={"g": [8]}). The last line defines the output. `parameters` and `constants` are named with their shapes;
    a constant is a state that keeps its value, 0 until it is set."""

    inputs = None

    def __init__(self, text: str, parameters: Shapes | None = None, constants: Shapes | None = None) -> None:
        super().__init__()
        self.text = checked_text(text)
        self.own = {name: _extents(name, shape) for name, shape in (parameters or {}).items()}
        self.kept = {name: _extents(name, shape) for name, shape in (constants or {}).items()}

    def equations(self, *shapes: Shape) -> str:
        return "\n".join([*(keeping(name, shape) for name, shape in self.kept.items()), self.text])

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {name: _start(shape) for name, shape in self.own.items()}

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        return {name: constant(name, np.zeros(shape)) for name, shape in self.kept.items()}


class Parameter(Layer):
    """A parameter as a value, for several layers to read: its output is `W`, of this shape, the same for all samples.
    It is called on nothing: w = cr.Parameter([3, 8])()."""

    inputs = 0

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = _extents("Parameter", shape)

    def equations(self, *shapes: Shape) -> str:
        where = ", ".join(f"i{axis + 1}" for axis in range(len(self.shape)))
        return f"y[{where}] = W[{where}]" if where else "y = W"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"W": _start(self.shape)}


def constant(name: str, values: NDArray[Any]) -> State:
    """A state that keeps these values: its next value is `name`_next, by the equation of `keeping`."""
    return State(f"{name}_next", Initialiser(values.shape, lambda rng, extents: values))


def keeping(name: str, shape: tuple[int, ...]) -> str:
    """The equation that keeps a constant: m_next[i1] = m[i1]."""
    where = ", ".join(f"i{axis + 1}" for axis in range(len(shape)))
    return f"{name}_next[{where}] = {name}[{where}]" if where else f"{name}_next = {name}"


def _start(shape: tuple[int, ...]) -> Initialiser:
    return named("glorot", *shape) if len(shape) > 1 else zeros(*shape)


def _extents(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, (list, tuple)):
        raise ModelError(f"the shape of {name} is a list of extents, not {shape!r}", fix="write [3, 8]")
    return tuple(positive("an extent", plain(extent), name, "[3, 8]") for extent in shape)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
