"""An ONNX graph as it is written: names, constants, extents, and the functions of each component."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.arrays.nodes import Axes, DType, Shape
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Affine, Extent, Index
from chainrule.loops.task import Task

Array = NDArray[Any]
REST = -(2**63)  # where a slice that goes backwards ends: before the first entry


@dataclass(frozen=True)
class File:
    """What is written beside a task's equations. `fixed` are the kept tensors that are constants of the graph; the
    others are inputs, whose default is their value. `outputs` are the names of what comes out."""

    task: Task
    values: Mapping[str, Array]
    outputs: Mapping[Tensor, str]
    fixed: bool
    dtype: np.dtype[Any]
    name: str
    about: Mapping[str, str]


@dataclass
class Graph:
    """The nodes so far, and the names of what they make."""

    file: File
    onnx: Any
    nodes: list[tuple[str, Sequence[str], str, Mapping[str, Any]]] = field(default_factory=list[Any])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    same: dict[tuple[Any, ...], str] = field(default_factory=dict[Any, str])
    says: dict[str, str] = field(default_factory=dict[str, str])
    known: dict[Tensor, str] = field(default_factory=dict[Tensor, str])
    counts: Counter[str] = field(default_factory=Counter[str])
    sizes: dict[Extent, str] = field(default_factory=dict[Extent, str])
    within: str = ""

    # Names and constants

    def unique(self, name: str) -> str:
        self.counts[name] += 1
        return name if self.counts[name] == 1 else self.unique(f"{name}_{self.counts[name]}")

    def add(self, kind: str, *of: str, **attributes: Any) -> str:
        """The name of what an operator makes of these."""
        made = self.unique(f"{self.within}/{kind}")
        self.nodes.append((kind, of, made, attributes))
        return made

    def constant(self, array: ArrayLike) -> str:
        """The name of a constant; equal ones are one."""
        array = np.asarray(array)
        key = array.dtype, array.shape, array.tobytes()
        if key in self.same:
            return self.same[key]
        text = ",".join(map(str, array.ravel()[:8])) + "…" * (array.size > 8)
        name = self.unique(f"{'ints' if array.dtype.kind == 'i' and array.ndim else 'number'} {text}")
        self.constants[name] = array
        self.same[key] = name
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float | Fraction, dtype: DType = "real") -> str:
        return self.constant(np.array(value, np.int64) if dtype == "integer" else np.array(float(value), self.kind))

    @property
    def kind(self) -> np.dtype[Any]:
        return self.file.dtype

    def named(self, node: str, name: str, since: int) -> str:
        """The value of a node by this name: the last node's own, where it was added after the first `since`."""
        if len(self.nodes) == since or self.nodes[-1][2] != node or node in self.sizes.values():
            self.add("Identity", node)
        kind, of, _, attributes = self.nodes.pop()
        self.nodes.append((kind, of, self.unique(name), attributes))
        return self.nodes[-1][2]

    # Extents

    def size(self, extent: Extent) -> str:
        """The name of a vector of one number: the extent."""
        if isinstance(extent, int):
            return self.ints(extent)
        if extent not in self.sizes:
            tensor = next(t for t in (*self.file.task.data, *self.file.task.kept) if extent in t.shape)
            axis, self.within = tensor.shape.index(extent), extent
            self.sizes[extent] = self.add("Shape", tensor.name, start=axis, end=axis + 1)
        return self.sizes[extent]

    def vector(self, shape: Iterable[Extent]) -> str:
        """The name of a shape."""
        shape = tuple(shape)
        if all(isinstance(e, int) for e in shape):
            return self.ints(*map(int, shape))
        sizes = [self.size(e) for e in shape]
        return self.add("Concat", *sizes, axis=0) if len(sizes) > 1 else sizes[0]

    def product(self, extents: Iterable[Extent]) -> str:
        """The name of a vector of one number: their product."""
        extents = tuple(extents)
        number = self.ints(math.prod(e for e in extents if isinstance(e, int)))
        return reduce(lambda a, e: self.add("Mul", a, self.size(e)), (e for e in extents if isinstance(e, str)), number)

    def reshaped(self, of: str, shape: Sequence[Extent]) -> str:
        open_ = [e for e in shape if isinstance(e, str)]
        if len(open_) > 1:
            return self.add("Reshape", of, self.vector(shape))
        return self.add("Reshape", of, self.ints(*(-1 if isinstance(e, str) else e for e in shape)))

    def transposed(self, of: str, order: Sequence[int]) -> str:
        return of if [*order] == [*range(len(order))] else self.add("Transpose", of, perm=[*order])

    def expanded(self, of: str, shape: Shape, to: Shape) -> str:
        """An array repeated along axes that it lacks or that have length 1: those that it has may stay 1 here."""
        own = (*(1,) * (len(to) - len(shape)), *shape)
        return self.add("Expand", of, self.vector(1 if e == o else o for e, o in zip(own, to, strict=True)))

    # Whole numbers

    def places(self, subscript: Affine) -> str:
        """The values of a subscript over its indices, an axis for each."""
        if all(isinstance(i.extent, int) for i in subscript.indices):
            return self.constant(numbers(subscript))
        zero, one = self.scalar(0, "integer"), self.scalar(1, "integer")
        total, rank = self.scalar(subscript.offset, "integer"), len(subscript.terms)
        for axis, (index, c) in enumerate(subscript.terms):
            count = self.add("Squeeze", self.size(index.extent))
            term = self.add("Mul", self.add("Range", zero, count, one), self.scalar(c, "integer"))
            axes = [a for a in range(rank) if a != axis]
            term = self.add("Unsqueeze", term, self.ints(*axes)) if axes else term
            total = self.add("Add", total, term)
        return total

    def cast(self, of: str, dtype: DType) -> str:
        kind = {"real": self.kind, "integer": np.dtype(np.int64), "bool": np.dtype(bool)}[dtype]
        return self.add("Cast", of, to=self.onnx.helper.np_dtype_to_tensor_dtype(kind))

    def merged(self, of: str, own: Axes, groups: Sequence[Axes], sizes: Mapping[Index, Extent]) -> str:
        """An array whose axes are these indices, with an axis for each group of them, summed over all others."""
        wanted = [i for group in groups for i in group]
        summed = [axis for axis, i in enumerate(own) if i not in wanted]
        if summed:
            of, own = self.add("ReduceSum", of, self.ints(*summed), keepdims=0), tuple(i for i in own if i in wanted)
        of = self.transposed(of, [own.index(i) for i in wanted])
        if all(len(group) == 1 for group in groups):
            return of
        lengths = [[sizes[i] for i in group] for group in groups]
        several = (math.prod(e for e in own if isinstance(e, int)) for own in lengths)
        unknown = (next((e for e in own if isinstance(e, str)), None) for own in lengths)
        return self.reshaped(of, [e or count for e, count in zip(unknown, several, strict=True)])

    def turned(self, of: str, axes: Sequence[int]) -> str:
        """An array with axes turned round."""
        if not axes:
            return of
        count = len(axes)
        return self.add("Slice", of, *(self.ints(*n) for n in ([-1] * count, [REST] * count, axes, [-1] * count)))


def numbers(subscript: Affine, over: Sequence[Index] | None = None) -> Array:
    """The values of a subscript whose extents are numbers, over its indices or these."""
    indices = subscript.indices if over is None else over
    grids = np.ogrid[tuple(slice(int(i.extent)) for i in indices)]
    total = sum((subscript.coefficient(i) * g for i, g in zip(indices, grids, strict=True)), np.int64(subscript.offset))
    return np.asarray(np.broadcast_to(total, [int(i.extent) for i in indices]), np.int64)


# Functions entry by entry

Entry = Callable[[Graph, Sequence[str]], str]


def _operator(kind: str) -> Entry:
    """One operator; of several operands two at a time, in their order."""
    return lambda g, of: reduce(lambda a, b: g.add(kind, a, b), of) if len(of) > 1 else g.add(kind, of[0])


def _expm1(g: Graph, of: Sequence[str]) -> str:
    """exp(x) − 1 = tanh(x/2)·(exp(x) + 1), which keeps its digits near 0."""
    half = g.add("Tanh", g.add("Mul", of[0], g.scalar(0.5)))
    return g.add("Mul", half, g.add("Add", g.add("Exp", of[0]), g.scalar(1)))


def _log1p(g: Graph, of: Sequence[str]) -> str:
    """log(1 + x) = log(u)·x/(u − 1) with u = 1 + x as it is rounded: W. Kahan; see Goldberg, ACM Computing Surveys 23
    (1991), theorem 4."""
    x, one = of[0], g.scalar(1)
    u = g.add("Add", x, one)
    log = g.add("Log", u)
    ratio = g.add("Div", x, g.add("Sub", u, one))
    whole = g.add("Where", g.add("Equal", u, x), log, g.add("Mul", log, ratio))
    return g.add("Where", g.add("Equal", u, one), x, whole)


def _multiplied(g: Graph, of: Sequence[str]) -> str:
    minus = g.scalar(-1)
    rest = [o for o in of if o != minus]
    product = reduce(lambda a, b: g.add("Mul", a, b), rest) if rest else g.scalar(1)
    return g.add("Neg", product) if (len(of) - len(rest)) % 2 else product


FUNCTIONS: Mapping[str, Entry] = {
    "add": _operator("Add"), "multiply": _multiplied, "and": _operator("And"),
    "where": lambda g, of: g.add("Where", *of),
    "equal": _operator("Equal"), "less": _operator("Less"), "less_equal": _operator("LessOrEqual"),
    "exp": _operator("Exp"), "expm1": _expm1, "log": _operator("Log"), "log1p": _log1p,
    "sin": _operator("Sin"), "cos": _operator("Cos"), "tanh": _operator("Tanh"),
    "sigmoid": _operator("Sigmoid"), "softplus": _operator("Softplus"), "relu": _operator("Relu"),
    "erf": _operator("Erf"), "erfc": lambda g, of: g.add("Sub", g.scalar(1), g.add("Erf", of[0])),
    "step": lambda g, of: g.cast(g.add("Greater", of[0], g.scalar(0)), "real"),
    "max": _operator("Max"), "min": _operator("Min"), "sign": _operator("Sign"), "abs": _operator("Abs"),
}  # fmt: skip
