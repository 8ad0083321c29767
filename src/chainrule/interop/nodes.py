"""The nodes of an ONNX file as rows read them, and those that are computed while the file is read, as no input reaches
them."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.interop.graph import Array, Graph, Operand
from chainrule.interop.views import Size, View


@dataclass(frozen=True)
class Extents:
    """Whole numbers some of which are multiples of the number of samples: what Shape gives."""

    values: tuple[Size, ...]
    scalar: bool = False

    @property
    def known(self) -> Extents | Array:
        """The same as plain numbers, where no number of samples is among them."""
        if any(samples for _, samples in self.values):
            return self
        numbers = np.array([number for number, _ in self.values], np.int64)
        return numbers.reshape(()) if self.scalar else numbers


@dataclass
class Node:
    """One operator: its inputs, None where one is left out, and its attributes."""

    graph: Graph
    kind: str
    inputs: list[Any]
    attributes: dict[str, Any]
    version: int
    outputs: int
    names: list[str]
    readers: list[int]
    made: str
    bias: Any = None

    def __getitem__(self, place: int) -> Any:
        return self.inputs[place] if place < len(self.inputs) else None

    def said(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def option(self, name: str, place: int, default: Any = None) -> Any:
        """What newer versions have as an input and older ones as an attribute, as numbers."""
        value = self[place]
        if value is None:
            return self.attributes.get(name, default)
        if isinstance(value, Extents):
            return [self.number(size) for size in value.values]
        return self.array(place).tolist()

    def number(self, size: Size) -> int:
        if size[1]:
            self.graph.refuse("a number depends on how many samples there are", "keep samples independent")
        return size[0]

    def value(self, place: int) -> Operand:
        """An input as an operand."""
        value = self[place]
        if isinstance(value, (View, float, int)):
            return value
        if value is None or isinstance(value, Extents):
            self.graph.refuse("the number of samples is computed with", "networks are functions of each sample here")
        array = np.asarray(value, np.float64)
        return self.graph.constant(self._called(place), array)

    def view(self, place: int) -> View:
        """An input as a view, a constant one with its shape."""
        value = self[place]
        if isinstance(value, View):
            return value
        if value is None or isinstance(value, Extents):
            self.graph.refuse("a tensor is missing here, or is a shape", "export the network again")
        return self.graph.fixed(self._called(place), np.asarray(value, np.float64))

    def weight(self, place: int) -> View | None:
        return None if self[place] is None else self.view(place)

    def single_use(self, place: int) -> bool:
        """Whether nothing else reads this input."""
        return self.readers[place] == 1

    def _called(self, place: int) -> str:
        return self.names[place] or f"{self.kind}_{place}"

    def array(self, place: int) -> Array:
        value = self[place]
        if isinstance(value, View) and not value.source.node and value.unmoved:
            return self.graph.weights[value.source.name]
        if value is None or isinstance(value, (View, Extents)):
            self.graph.refuse("this is computed from values", "give it as a constant")
        return np.asarray(value)

    @property
    def x(self) -> View:
        return self.view(0)


def shape_of(node: Node) -> Any:
    value = node[0]
    if isinstance(value, View):
        return Extents(tuple(value.sizes)[slice(node.said("start", 0), node.said("end"))])
    return np.array(np.shape(value), np.int64)


# What is computed


def _numbers(node: Node) -> list[Array]:
    return [np.asarray(value) for value in node.inputs if value is not None]


def _of_two(function: Callable[..., Any]) -> Callable[[Node], Array]:
    def fold(node: Node) -> Array:
        one, other = _numbers(node)
        return function(one, other)

    return fold


def _constant(node: Node) -> Array:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            return np.asarray(node.attributes[name])
    node.graph.refuse("a constant that is no number", "export the network again")


def _range(node: Node) -> Array:
    start, end, step = (value.reshape(-1)[0] for value in _numbers(node))
    node.graph.small([max(0, math.ceil((float(end) - float(start)) / float(step)))])
    return np.arange(start, end, step)


def _fold_slice(node: Node) -> Array:
    data, starts, ends, *rest = _numbers(node)
    axes = rest[0].tolist() if rest else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        cut[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(cut)]


def _fold_reshape(node: Node) -> Array:
    data, shape = _numbers(node)
    return data.reshape([data.shape[k] if extent == 0 else int(extent) for k, extent in enumerate(shape.tolist())])


def _fold_axes(insert: bool) -> Callable[[Node], Array]:
    def fold(node: Node) -> Array:
        data, axes = np.asarray(node[0]), node.option("axes", 1)
        if insert:
            return np.expand_dims(data, tuple(axes))
        return np.squeeze(data, None if axes is None else tuple(axes))

    return fold


def _filled(node: Node) -> Array:
    return np.full(node.graph.small(_numbers(node)[0].tolist()), node.said("value", np.zeros(1, np.float32))[0])


def _fold_expand(node: Node) -> Array:
    data, shape = _numbers(node)
    return np.broadcast_to(data, node.graph.small(np.broadcast_shapes(data.shape, tuple(shape.tolist()))))


def _fold_cast(node: Node) -> Array:
    kinds = {1: np.float32, 11: np.float64, 10: np.float32, 6: np.int64, 7: np.int64, 9: np.bool_}
    return np.asarray(node[0]).astype(kinds.get(node.said("to"), np.int64))


def _quotient(one: Array, other: Array) -> Array:
    return one / other if one.dtype.kind == "f" else one // np.where(other == 0, 1, other)


FOLDED: dict[str, Callable[[Node], Any]] = {
    "Constant": _constant, "Add": _of_two(np.add), "Sub": _of_two(np.subtract), "Mul": _of_two(np.multiply),
    "Div": _of_two(_quotient), "Pow": _of_two(np.power), "Equal": _of_two(np.equal), "Less": _of_two(np.less),
    "Greater": _of_two(np.greater), "Sqrt": lambda node: np.sqrt(node[0]), "Mod": _of_two(np.mod),
    "Neg": lambda node: -np.asarray(node[0]),
    "Reciprocal": lambda node: 1 / np.asarray(node[0]), "Not": lambda node: ~np.asarray(node[0]),
    "Where": lambda node: np.where(*_numbers(node)), "Cast": _fold_cast, "Range": _range,
    "Exp": lambda node: np.exp(node[0]), "Sin": lambda node: np.sin(node[0]), "Cos": lambda node: np.cos(node[0]),
    "ConstantOfShape": _filled,
    "Shape": shape_of, "Gather": lambda node: np.take(*_numbers(node), axis=node.said("axis", 0)), "Slice": _fold_slice,
    "Concat": lambda node: np.concatenate(_numbers(node), node.said("axis", 0)), "Reshape": _fold_reshape,
    "Squeeze": _fold_axes(False), "Unsqueeze": _fold_axes(True), "Identity": lambda node: node[0],
    "Transpose": lambda node: np.transpose(node[0], node.said("perm")),
    "Expand": _fold_expand,
    "Trilu": lambda node: (np.triu if node.said("upper", 1) else np.tril)(node[0], int(node.option("k", 1, 0))),
}  # fmt: skip
