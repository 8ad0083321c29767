"""The float semantics of the language, over NumPy arrays.

A value is an array whose axes carry index labels. Every affine read is one strided view of the (padded) array, every
sum over a product a chain of batched matrix products, every derivative node a full Jacobian by forward mode. A
bracket is a boolean array until it meets a product, where it selects: false makes 0 of infinities and NaNs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from chainrule.evaluate.ids import check_ids
from chainrule.ir.contraction import contraction
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Pad,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.functions import FUNCTIONS, derivative_name, split_derivative
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.laws import expanded, logarithm
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import Steps, iterative

Array = NDArray[Any]
Axes = tuple[Index, ...]


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


def _selecting() -> np.errstate:
    """Where a bracket is false the factor beside it may be infinite or no number, as 1/0 is in padding: it is not
    selected, and nothing is said of it."""
    return np.errstate(divide="ignore", invalid="ignore")


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
        self.logarithms: dict[Expr, tuple[Labelled, Labelled]] = {}  # the two terms of each

    # Sizes and views

    def size(self, extent: Extent) -> int:
        if isinstance(extent, int):
            return extent
        if extent not in self.extents:
            raise ShapeError(f"the extent {extent} has no number", fix=f"give an array with an axis of extent {extent}")
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
        origin = array[(*(slice(s.offset, None) for s in subscripts), ...)]  # `...` keeps a scalar a view
        steps = tuple(zip(subscripts, array.strides, strict=True))
        strides = [sum(s.coefficient(i) * step for s, step in steps) for i in axes]
        return Labelled(as_strided(origin, shape, strides, writeable=writeable), axes)

    def whole(self, array: Array, subscripts: Sequence[Affine]) -> Labelled | None:
        """The array itself, where each subscript is an index of its own that runs over the whole axis."""
        axes = tuple(i for s in subscripts if (i := s.plain) is not None)
        if len(axes) < array.ndim or len(set(axes)) < len(axes) or self.shape(axes) != array.shape:
            return None
        return Labelled(array, axes)

    def read(self, array: Array, subscripts: Sequence[Affine], pad: Pad | None, name: str) -> Labelled:
        if whole := self.whole(array, subscripts):
            return whole
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
        place = self.whole(array, subscripts)
        if place is None:
            self.read(array, subscripts, None, name)  # raises where the target is out of range
            place = self.strided(array, subscripts, writeable=True)
        place.array[...] = value.over(place.axes)

    def positions(self, subscript: Affine) -> Labelled:
        """The subscript's own values."""
        axes = subscript.indices
        steps = (Labelled(c * np.arange(self.size(i.extent)), (i,)).over(axes) for i, c in subscript.terms)
        return Labelled(reduce(np.add, steps, np.array(subscript.offset)), axes)

    # Values

    def array(self, tensor: Tensor) -> Array:
        if tensor.name not in self.values:
            raise DataError(f"{tensor.name} has no value", fix=f"give an array for {tensor.name}")
        return _typed(tensor, self.values[tensor.name], self.dtype)

    @iterative
    def value(self, node: Expr) -> Steps[Labelled]:
        if node in self.known:
            return self.known[node]
        match node:
            case Constant(value=value):
                number = {"pi": pi, "e": e}[value] if isinstance(value, str) else float(value)
                result = Labelled(np.asarray(number, self.dtype), ())
            case Size(extent=extent):
                result = Labelled(np.asarray(self.size(extent), self.dtype), ())
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                result = self.read(self.array(tensor), subscripts, pad, tensor.name)
            case Guard(subscript=subscript, extent=extent):
                place = self.positions(subscript)
                result = Labelled((place.array >= 0) & (place.array < self.size(extent)), place.axes)
            case Delta(left=left, right=Component() as right):
                self.within(left, right)
                result = _equal(self.positions(left), (yield self, right))
            case Delta(left=left, right=Affine() as right):
                result = _equal(self.positions(left), self.positions(right))
            case Add(terms=terms):
                arrays, late = list[Array](), list[Array]()
                for term in terms:
                    value = self.real((yield self, term)).over(node.free)
                    whole, sign = logarithm(term)
                    if whole is not None:
                        value, small = (sign * part.over(node.free) for part in self.logarithms[whole])
                        late.append(small)
                    arrays.append(value)
                result = Labelled(reduce(np.add, [*arrays, *late]), node.free)
            case Power(base=base, exponent=exponent):
                inner = self.real((yield self, base))
                result = Labelled(np.asarray(inner.array ** _number(exponent)), inner.axes)
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    result = self.real((yield self, expanded(node)))
                else:
                    arrays = list[Array]()
                    for argument in arguments:
                        arrays.append(self.real((yield self, argument)).over(node.free))
                    result = Labelled(np.asarray(FUNCTIONS[function](*arrays)), node.free)
            case Multiply() | Reduce(kind="sum"):
                product = contraction(node)
                assert product is not None
                for factor in product.factors:
                    yield self, _ids(factor) or factor
                result = self.contract([self.factor(f) for f in product.factors], node.free, product.reduced)
            case Reduce(body=body, indices=indices):
                result = self.select(node, self.full((yield self, body), (*node.free, *indices)))
            case Derivative(of=of, wrt=wrt):
                result = self.derivative(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")
        self.known[node] = result
        return result

    def factor(self, factor: Expr) -> Labelled | _Pick:
        """The value of a factor of a product, a bracket [v = id[…]] as the index it picks."""
        ids = _ids(factor)
        if ids is None or not isinstance(factor, Delta) or not self.within(factor.left, ids):
            return self.value(factor)
        return _Pick(factor.left.indices[0], self.value(ids))

    def within(self, left: Affine, ids: Component) -> bool:
        """Whether each id is a value of the index: then what it picks can be read in place of a sum."""
        array = self.value(ids).array
        return left.plain is None or bool(((array >= 0) & (array < self.size(left.plain.extent))).all())

    def select(self, node: Reduce, body: Array) -> Labelled:
        """max, argmax and logsumexp over the last axes of `body`."""
        rows = body.reshape(*body.shape[: len(node.free)], prod(self.shape(node.indices)))
        top = rows.max(-1)
        if node.kind == "logsumexp":
            rows = rows.astype(self.dtype, copy=False)
            # Shifted by the maximum no exponential overflows; rows of -inf alone, or with +inf, need no shift.
            shift = np.asarray(np.where(np.isfinite(top), top, 0))
            with np.errstate(divide="ignore", over="ignore"):
                rest = np.log(np.exp(rows - shift[..., None]).sum(-1))
            self.logarithms[node] = Labelled(shift, node.free), Labelled(rest, node.free)
            return Labelled(rest + shift, node.free)
        first = rows.argmax(-1) if node.kind == "argmax" else top
        if isinstance(node.body, Component) and node.body.pad == "-inf" and (top == -np.inf).any():
            # Entries of -inf inside the tensor look like the padding, which is never selected.
            tensor = np.ones(self.array(node.body.tensor).shape, bool)
            inside = self.read(tensor, node.body.subscripts, Fraction(0), node.body.tensor.name)
            eligible = self.full(inside, (*node.free, *node.indices)).reshape(rows.shape)
            if node.kind == "argmax":
                first = (eligible & (rows == top[..., None])).argmax(-1)
        return Labelled(np.asarray(first), node.free)

    def derivative(self, of: Expr, wrt: Component) -> Labelled:
        """∂of/∂wrt: the Jacobian by all of the tensor, read at the subscripts of `wrt`."""
        tangents = _Tangents(self, wrt.tensor)
        tangent = tangents.of(of) or Labelled(np.zeros((), self.dtype), ())
        jacobian = self.full(tangent, (*of.free, *tangents.axes))
        return self.read(jacobian, (*map(Affine.of, of.free), *wrt.subscripts), None, wrt.tensor.name)

    # Sums over products

    def contract(self, factors: Iterable[Labelled | _Pick], kept: Axes, summed: Axes) -> Labelled:
        """Σ over `summed` of the product of the factors, with the axes `kept`."""
        arrays = [f for f in factors if isinstance(f, Labelled)]
        picks = [f for f in factors if isinstance(f, _Pick)]
        for number, pick in enumerate(picks):
            v, ids, rest = pick.index, pick.ids, [*picks[:number], *picks[number + 1 :]]
            if any(v == p.index or v in p.ids.axes for p in rest):
                continue
            if v in summed:
                taken = [self.gather(f, pick) if v in f.axes else f for f in arrays]
                return self.contract([*taken, *rest], kept, tuple(i for i in summed if i != v))
            if not any(v in f.axes for f in arrays) and any(i in summed for i in ids.axes):
                axes = _union(ids.axes, (i for i in kept if i != v))
                inner = self.contract([*arrays, *rest], axes, tuple(i for i in summed if i not in ids.axes))
                return self.scatter(inner, pick, kept)
        arrays += [_equal(self.positions(Affine.of(p.index)), p.ids) for p in picks]
        if not summed:
            return self.multiply(arrays, kept, ())
        if all(f.array.dtype != bool for f in arrays):
            return self.chain(arrays, kept, summed)
        # As zeros and ones the brackets join the matrix products. Where 0·∞ or 0·NaN makes that differ from
        # selecting, the result has a NaN, and the product is made in full.
        result = self.chain(arrays, kept, summed)
        return self.multiply(arrays, kept, summed) if np.isnan(result.array).any() else result

    def multiply(self, factors: Sequence[Labelled], kept: Axes, summed: Axes) -> Labelled:
        """The product term by term, brackets as a selection, then its sum."""
        axes = (*kept, *summed)
        brackets = [f.over(axes) for f in factors if f.array.dtype == bool]
        others = [self.real(f).over(axes) for f in factors if f.array.dtype != bool]
        product = reduce(np.multiply, others, np.ones((), self.dtype))
        if brackets:
            product = np.where(reduce(np.logical_and, brackets), product, np.zeros((), self.dtype))
        product = np.broadcast_to(product, self.shape(axes))
        return Labelled(np.asarray(product.sum(tuple(range(len(kept), len(axes)))) if summed else product), kept)

    def chain(self, factors: Sequence[Labelled], kept: Axes, summed: Axes) -> Labelled:
        """The sum by products of two factors at a time, the smallest result first."""
        factors = factors or [Labelled(np.ones((), self.dtype), ())]
        work: list[Labelled] = []
        for number, f in enumerate(map(self.real, factors)):
            elsewhere = _union(kept, *(g.axes for g in (*factors[:number], *factors[number + 1 :])))
            alone = tuple(axis for axis, i in enumerate(f.axes) if i not in elsewhere)
            axes = tuple(i for i in f.axes if i in elsewhere)
            work.append(Labelled(np.asarray(f.array.sum(alone)), axes) if alone else f)
        work = work or [Labelled(np.ones((), self.dtype), ())]
        while len(work) > 1:
            options: list[tuple[int, int, int, Axes]] = []
            for a, b in combinations(range(len(work)), 2):
                needed = _union(kept, *(f.axes for n, f in enumerate(work) if n not in (a, b)))
                axes = tuple(i for i in _union(work[a].axes, work[b].axes) if i in needed)
                options.append((prod(self.shape(axes)), a, b, axes))
            _, a, b, axes = min(options, key=lambda option: option[0])
            right, left = work.pop(b), work.pop(a)
            if any(i in right.axes and i not in left.axes for i in kept[:1]):
                left, right = right, left  # the result's first index leads, so that fewer axes move at the end
            work.append(self.product(left, right, axes))
        absent = (i for i in summed if not any(i in f.axes for f in factors))
        times = prod(self.shape(absent))
        array = work[0].array if times == 1 else work[0].array * self.dtype.type(times)
        return Labelled(self.full(Labelled(array, work[0].axes), kept), kept)

    def product(self, a: Labelled, b: Labelled, needed: Axes) -> Labelled:
        """Σ of a·b over the indices not needed, all of which both have: a batch of matrix products."""
        summed = [i for i in (a if a.array.size > b.array.size else b).axes if i not in needed]
        if not summed:
            return Labelled(a.over(needed) * b.over(needed), needed)
        batch = [i for i in a.axes if i in b.axes and i in needed]
        left = [i for i in a.axes if i not in b.axes]
        right = [i for i in b.axes if i not in a.axes]
        stack, rows, terms, columns = map(self.shape, (batch, left, summed, right))
        result = np.matmul(
            a.over([*batch, *left, *summed]).reshape(*stack, prod(rows), prod(terms)),
            b.over([*batch, *summed, *right]).reshape(*stack, prod(terms), prod(columns)),
        )
        return Labelled(result.reshape((*stack, *rows, *columns)), (*batch, *left, *right))

    def gather(self, factor: Labelled, pick: _Pick) -> Labelled:
        """The factor at index = ids."""
        axis, ids = factor.axes.index(pick.index), pick.ids
        axes = _union(factor.axes[:axis], ids.axes, factor.axes[axis + 1 :])
        if len(axes) == len(factor.axes) - 1 + len(ids.axes):
            return Labelled(np.take(factor.array, ids.array, axis), axes)
        places = (ids if i == pick.index else self.positions(Affine.of(i)) for i in factor.axes)
        return Labelled(factor.array[tuple(place.over(axes) for place in places)], axes)

    def scatter(self, terms: Labelled, pick: _Pick, kept: Axes) -> Labelled:
        """Each term added at index = ids, in order; the axes of `ids` that are not kept are summed."""
        ids = pick.ids
        stays = tuple(i for i in ids.axes if i in kept)
        others = tuple(i for i in terms.axes if i not in ids.axes)
        place = np.zeros((), np.int64)
        for i in stays:
            place = place * self.size(i.extent) + self.positions(Affine.of(i)).over(ids.axes)
        place = np.broadcast_to(place * self.size(pick.index.extent) + ids.array, ids.array.shape)
        width = prod(self.shape(others))
        axes = (*stays, pick.index, *others)
        result = np.zeros(self.shape(axes), self.dtype)
        np.add.at(
            result.reshape(-1),
            (place.reshape(-1, 1) * width + np.arange(width)).ravel(),
            self.full(terms, (*ids.axes, *others)).ravel(),
        )
        return Labelled(Labelled(result, axes).over(kept), kept)


class _Tangents:
    """Forward mode: the tangent of a node has its axes and one more for each axis of the tensor `wrt`, or is None
    where the node does not depend on it."""

    def __init__(self, evaluation: _Evaluation, wrt: Tensor) -> None:
        self.at, self.wrt = evaluation, wrt
        # No index of an equation has such a name.
        self.axes = tuple(Index(f"∂{axis}", extent) for axis, extent in enumerate(wrt.shape))
        self.plain = tuple(map(Affine.of, self.axes))
        self.known: dict[Expr, Labelled | None] = {}

    @iterative
    def of(self, node: Expr) -> Steps[Labelled | None]:
        if node in self.known:
            return self.known[node]
        parts: list[Labelled | None] = []
        kept = (*node.free, *self.axes)
        match node:
            case Component(tensor=tensor) if tensor == self.wrt:
                pairs = zip(node.subscripts, self.plain, strict=True)
                parts.append(self.product([_equal(self.at.positions(s), self.at.positions(j)) for s, j in pairs], kept))
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                whole = np.zeros(tuple(map(self.at.size, (*tensor.shape, *self.wrt.shape))), self.at.dtype)
                for equation in self.at.definitions.get(tensor.name, ()):
                    tangent: Labelled | None = yield self, equation.value
                    if tangent is not None:
                        self.at.store(whole, (*equation.target.subscripts, *self.plain), tangent, tensor.name)
                        zero = None if pad is None else Fraction(0)
                        parts = [self.at.read(whole, (*subscripts, *self.plain), zero, tensor.name)]
            case Add(terms=terms):
                for term in terms:
                    parts.append((yield self, term))
            case Power(base=base, exponent=exponent):
                slope = Multiply((Constant(exponent), Power(base, exponent - 1)))
                parts.append(self.product([self.at.value(slope), (yield self, base)], kept))
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    parts.append((yield self, expanded(node)))
                else:
                    for number, argument in enumerate(arguments):
                        slope = Apply(derivative_name(function, number), arguments)
                        parts.append(self.product([self.at.value(slope), (yield self, argument)], kept))
            case Multiply() | Reduce(kind="sum"):
                product = contraction(node)
                assert product is not None
                for number, factor in enumerate(product.factors):
                    tangent = yield self, factor
                    others = (self.at.factor(f) for n, f in enumerate(product.factors) if n != number)
                    parts.append(self.product([tangent, *others], kept, product.reduced))
            case Reduce(kind="logsumexp", indices=indices, body=body):
                weight = Apply("exp", (Add((body, Multiply((Constant(Fraction(-1)), node)))),))
                parts.append(self.product([self.at.value(weight), (yield self, body)], kept, indices))
            case Reduce(kind="max", indices=indices, body=body):
                inner: Labelled | None = yield self, body
                if inner is not None:
                    rows = self.at.full(inner, (*kept, *indices)).reshape(*self.at.shape(kept), -1)
                    first = self.at.value(Reduce("argmax", indices, body)).over(kept)[..., None]
                    parts.append(Labelled(np.take_along_axis(rows, first, -1)[..., 0], kept))
            case Derivative():
                raise DerivationError("a derivative inside a derivative has no value", fix="derive the inner one first")
            case _:  # constants, sizes, brackets and argmax
                pass
        present = [part.over(kept) for part in parts if part is not None]
        self.known[node] = Labelled(np.asarray(reduce(np.add, present)), kept) if present else None
        return self.known[node]

    def product(self, factors: Sequence[Labelled | _Pick | None], kept: Axes, summed: Axes = ()) -> Labelled | None:
        present = [f for f in factors if f is not None]
        return self.at.contract(present, kept, summed) if len(present) == len(factors) else None


def _equal(a: Labelled, b: Labelled) -> Labelled:
    axes = _union(a.axes, b.axes)
    return Labelled(np.asarray(a.over(axes) == b.over(axes)), axes)


def _ids(factor: Expr) -> Component | None:
    """id[…] where the factor is a bracket [v = id[…]] with a plain v: what a gather or scatter can stand for."""
    match factor:
        case Delta(left=left, right=Component(pad=None) as right) if left.plain and left.plain not in right.free:
            return right
        case _:
            return None


def _typed(tensor: Tensor, array: ArrayLike, dtype: DTypeLike) -> Array:
    array = np.asarray(array)
    if tensor.dtype == "real":
        return array.astype(dtype, copy=False)
    if array.dtype.kind not in "iub":
        raise DataError(f"{tensor.name} holds integers, not {array.dtype}", fix="convert it with .astype(int)")
    return array.astype(np.int64, copy=False)


def bind_extents(tensors: Iterable[Tensor], arrays: Mapping[str, ArrayLike]) -> dict[str, int]:
    """The numbers of the named extents, from the shapes of the arrays.

    Raises ShapeError where an array does not fit its tensor or two arrays disagree, DataError where one is missing.
    """
    extents: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name not in arrays:
            raise DataError(f"{tensor.name} has no value", fix=f"give an array of shape {_text(tensor.shape)}")
        shape = np.shape(arrays[tensor.name])
        if len(shape) == len(tensor.shape):
            for extent, size in zip(tensor.shape, shape, strict=True):
                if isinstance(extent, str):
                    extents.setdefault(extent, size)
        wanted = tuple(extents.get(extent, extent) if isinstance(extent, str) else extent for extent in tensor.shape)
        if shape != wanted:
            named = "" if wanted == tensor.shape else f" = {_text(wanted)}"
            raise ShapeError(
                f"{tensor.name} has shape {_text(tensor.shape)}{named}, but the array given has shape {_text(shape)}",
                fix=f"give an array of shape {_text(wanted)}",
            )
    return extents


def _text(shape: Sequence[Extent]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def evaluate(
    expr: Expr,
    values: Mapping[str, Array],
    indices: Sequence[Index],
    *,
    extents: Mapping[str, int] | None = None,
    dtype: DTypeLike = np.float64,
    definitions: Mapping[str, Equation] | None = None,
) -> Array:
    """The value of an expression, with one axis for each of `indices`: real in `dtype`, or integer for an argmax or
    an integer tensor. Derivative nodes see through the tensors in `definitions`.

    Raises ShapeError for a read outside a tensor, DataError for a missing value or an id out of range.
    """
    pieces = {name: (equation,) for name, equation in (definitions or {}).items()}
    result = _Evaluation(values, extents or {}, dtype, pieces)
    with _selecting():
        value = result.value(expr)
    return np.array(result.full(value if value.array.dtype.kind == "i" else result.real(value), indices))


def execute_equations(
    equations: Iterable[Equation],
    values: Mapping[str, Array],
    *,
    extents: Mapping[str, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Array]:
    """The tensors that the equations define, in order; several pieces write into one array.

    Raises what `evaluate` raises, DataError for a whole number that numbers nothing, and EquationError where the
    pieces of a tensor leave components undefined.
    """
    equations, known = tuple(equations), dict(values)
    read = {t for e in equations for t in e.value.tensors if t.dtype == "integer" and t.name in values}
    check_ids(equations, {t: known[t.name] for t in read}, extents)
    defined: dict[str, Array] = {}
    missing: dict[str, int] = {}
    definitions: dict[str, list[Equation]] = {}
    for equation in equations:
        tensor, name = equation.tensor, equation.tensor.name
        evaluation = _Evaluation(known, extents or {}, dtype, definitions)
        with _selecting():
            value = evaluation.value(equation.value)
        if tensor.dtype == "integer" and value.array.dtype.kind not in "iu":
            raise EquationError(f"{name} holds integers, its value is real", about=equation, fix=f"make {name} real")
        if name not in defined:
            shape = tuple(map(evaluation.size, tensor.shape))
            known[name] = defined[name] = np.empty(shape, np.int64 if tensor.dtype == "integer" else evaluation.dtype)
            missing[name] = prod(shape)
        evaluation.store(defined[name], equation.target.subscripts, value, name)
        missing[name] -= prod(evaluation.shape(equation.indices))
        definitions.setdefault(name, []).append(equation)
    for name, count in missing.items():
        if count:
            raise EquationError(
                f"the equations of {name} define {defined[name].size - count} of its {defined[name].size} components",
                about=definitions[name][0], fix="define every component exactly once",
            )
    return defined


def execute(
    program: Program, given: Mapping[str, ArrayLike], *, extents: Mapping[str, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Array]:
    """Run the program: every tensor it defines, by name. Named extents take their numbers from the arrays given, those
    that no array has from `extents`.

    Raises ShapeError where an array does not fit its tensor, DataError where one is missing or of the wrong kind.
    """
    extents = {**(extents or {}), **bind_extents(program.given, given)}
    values = {tensor.name: _typed(tensor, given[tensor.name], dtype) for tensor in program.given}
    return execute_equations(program.equations, values, extents=extents, dtype=dtype)
