"""The float semantics of the language, over NumPy arrays.

A value is an array whose axes carry index labels. Every affine read is one strided view of the (padded) array, every
sum over a product a chain of batched matrix products, every derivative node a full Jacobian by forward mode. A
bracket is a boolean array until it meets a product, where it selects: false makes 0 of infinities and NaNs too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import combinations
from math import e, pi, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, DTypeLike, NDArray

from chainrule.errors import DataError, DerivationError, EquationError, ShapeError
from chainrule.ir.contraction import contraction
from chainrule.ir.expr import (
    Add, Apply, Component, Constant, Delta, Derivative, Expr, Guard, Multiply, Pad, Power, Reduce, Size, Tensor,
)
from chainrule.ir.functions import CATALOGUE, derivative_name, split_derivative
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.parse import law
from chainrule.ir.program import Equation, Program, reads
from chainrule.ir.walk import Steps, iterative, transform

Array = NDArray[Any]
Axes = tuple[Index, ...]


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "log": np.log,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "step": lambda x: (x > 0).astype(x.dtype),
    "relu": lambda x: np.maximum(x, 0),
    "max": np.maximum,
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """An array and the index that each of its axes runs over."""

    array: Array
    axes: Axes

    def over(self, axes: Sequence[Index]) -> Array:
        """The array with its axes in the order of `axes`, of length 1 where it has none."""
        array = self.array.transpose([self.axes.index(i) for i in axes if i in self.axes])
        return array[tuple(slice(None) if i in self.axes else None for i in axes)]


@dataclass(frozen=True, slots=True)
class _Pick:
    """The bracket [index = ids], not spelled out as zeros and ones."""

    index: Index
    ids: Labelled


def _union(*axes: Iterable[Index]) -> Axes:
    return tuple(dict.fromkeys(index for group in axes for index in group))


def _number(value: Pad) -> float | int:
    if isinstance(value, str):
        return -np.inf
    return value.numerator if value.denominator == 1 else float(value)


class _Evaluation:
    """The values of the nodes of one expression; labels make them independent of where a node stands."""

    def __init__(
        self,
        values: Mapping[str, Array],
        extents: Mapping[str, int],
        dtype: DTypeLike,
        definitions: Mapping[str, Sequence[Equation]],
    ) -> None:
        self.values, self.extents, self.definitions = values, extents, definitions
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.known: dict[Expr, Labelled] = {}

    # Sizes and views

    def size(self, extent: Extent) -> int:
        if isinstance(extent, int):
            return extent
        if extent not in self.extents:
            raise ShapeError(f"the extent {extent} has no number", fix=f"give an array that has an axis of extent {extent}")
        return self.extents[extent]

    def shape(self, axes: Iterable[Index]) -> tuple[int, ...]:
        return tuple(self.size(index.extent) for index in axes)

    def full(self, value: Labelled, axes: Sequence[Index]) -> Array:
        return np.broadcast_to(value.over(axes), self.shape(axes))

    def real(self, value: Labelled) -> Labelled:
        return Labelled(value.array.astype(self.dtype, copy=False), value.axes)

    def strided(self, array: Array, subscripts: Sequence[Affine], *, writeable: bool = False) -> Labelled:
        """array[subscripts] as a view; every subscript is in range."""
        axes = _union(*(s.indices for s in subscripts))
        shape = self.shape(axes)
        if 0 in shape:
            return Labelled(np.empty(shape, array.dtype), axes)
        origin = array[tuple(slice(s.offset, None) for s in subscripts)]
        strides = [sum(s.coefficient(i) * step for s, step in zip(subscripts, array.strides, strict=True)) for i in axes]
        return Labelled(as_strided(origin, shape, strides, writeable=writeable), axes)

    def read(self, array: Array, subscripts: Sequence[Affine], pad: Pad | None, name: str) -> Labelled:
        widths: list[tuple[int, int]] = []
        for axis, (subscript, extent) in enumerate(zip(subscripts, array.shape, strict=True)):
            reaches = [c * (self.size(i.extent) - 1) for i, c in subscript.terms]
            low = subscript.offset + sum(min(0, r) for r in reaches)
            high = subscript.offset + sum(max(0, r) for r in reaches)
            widths.append((max(0, -low), max(0, high - extent + 1)))
            if pad is None and any(widths[-1]) and 0 not in self.shape(subscript.indices):
                raise ShapeError(
                    f"axis {axis} of {name} is read at {low} … {high}, outside its shape {array.shape}",
                    fix=f"write pad({name}, 0)[…], or give the indices smaller extents",
                )
        if pad is not None and any(map(any, widths)):
            fill = _number(pad)
            if np.issubdtype(array.dtype, np.integer) and fill == -np.inf:
                fill = np.iinfo(array.dtype).min
            array = np.pad(array, widths, constant_values=fill)
            subscripts = [s + before for s, (before, _) in zip(subscripts, widths, strict=True)]
        return self.strided(array, subscripts)

    def store(self, array: Array, subscripts: Sequence[Affine], value: Labelled, name: str) -> None:
        """array[subscripts] = value; mixed-radix subscripts are strides like any other."""
        self.read(array, subscripts, None, name)  # raises where the target is out of range
        place = self.strided(array, subscripts, writeable=True)
        place.array[...] = value.over(place.axes)

    def positions(self, subscript: Affine) -> Labelled:
        """The subscript's own values."""
        axes = subscript.indices
        steps = (Labelled(c * np.arange(self.size(i.extent)), (i,)).over(axes) for i, c in subscript.terms)
        return Labelled(reduce(np.add, steps, np.array(subscript.offset)), axes)

    # Values

    def _evaluate(self, node: Expr) -> Steps[Labelled]:
        if node in self.known:
            return self.known[node]
        match node:
            case Constant(value=value):
                number = {"pi": pi, "e": e}[value] if isinstance(value, str) else float(value)
                result = Labelled(np.asarray(number, self.dtype), ())
            case Size(extent=extent):
                result = Labelled(np.asarray(self.size(extent), self.dtype), ())
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                result = self.read(self._array(tensor), subscripts, pad, tensor.name)
            case Guard(subscript=subscript, extent=extent):
                place = self.positions(subscript)
                result = Labelled((place.array >= 0) & (place.array < self.size(extent)), place.axes)
            case Delta(left=left, right=right):
                if isinstance(right, Component):
                    self._check_ids(left, right)
                    ids = yield self, right
                else:
                    ids = self.positions(right)
                result = self._equal(self.positions(left), ids)
            case Add(terms=terms):
                total: list[Array] = []
                for term in terms:
                    total.append(self.real((yield self, term)).over(node.free))
                result = Labelled(reduce(np.add, total), node.free)
            case Power(base=base, exponent=exponent):
                inner = self.real((yield self, base))
                result = Labelled(np.asarray(inner.array ** _number(exponent)), inner.axes)
            case Apply(function=function, arguments=arguments):
                name, argument = split_derivative(function)
                if argument is not None:
                    result = yield self, _expand(node)
                else:
                    operands: list[Array] = []
                    for operand in arguments:
                        operands.append(self.real((yield self, operand)).over(node.free))
                    result = Labelled(np.asarray(FUNCTIONS[name](*operands)), node.free)
            case Multiply() | Reduce(kind="sum"):
                product = contraction(node)
                assert product is not None
                factors: list[Labelled | _Pick] = []
                for factor in product.factors:
                    if self._picks(factor):
                        self._check_ids(factor.left, factor.right)
                        factors.append(_Pick(factor.left.indices[0], (yield self, factor.right)))
                    else:
                        factors.append((yield self, factor))
                result = self.contract(factors, node.free, product.reduced)
            case Reduce(indices=indices, body=body):
                result = self._reduce(node, self.full((yield self, body), (*node.free, *indices)))
            case Derivative(of=of, wrt=wrt):
                result = self._derivative(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")
        self.known[node] = result
        return result

    value = iterative(_evaluate)

    def _array(self, tensor: Tensor) -> Array:
        if tensor.name not in self.values:
            raise DataError(f"{tensor.name} has no value", fix=f"give an array for {tensor.name}")
        return self.values[tensor.name]

    @staticmethod
    def _picks(factor: Expr) -> TypeGuard[_IntegerDelta]:
        ...
