"""The array program executed over NumPy arrays: the semantics of the language in floating point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import e, pi, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, DTypeLike

from chainrule.arrays.einsum import Array, Plan
from chainrule.arrays.ids import Limits, check_ids
from chainrule.arrays.lower import lower
from chainrule.arrays.nodes import (
    Assignment,
    Axes,
    Broadcast,
    Cast,
    Einsum,
    Gather,
    Given,
    Iota,
    Map,
    Node,
    Number,
    Pad,
    Power,
    Reduce,
    Reshape,
    Scatter,
    Size,
    Slice,
    Transpose,
    in_order,
)
from chainrule.errors import DataError, EquationError, ShapeError
from chainrule.ir.expr import Tensor
from chainrule.ir.functions import FUNCTIONS
from chainrule.ir.index import Affine, Extent
from chainrule.ir.program import Equation, Program

VIEWS = Given, Number, Iota, Broadcast, Slice
TWO: Mapping[str, Any] = {
    "add": np.add, "multiply": np.multiply, "and": np.logical_and, "equal": np.equal, "less": np.less,
    "less_equal": np.less_equal,
}


def _value(node: Node, operands: Sequence[Any], dtype: np.dtype[Any]) -> Any:
    """An array from its operands."""
    first: Any = operands[0] if operands else None
    shape: Any = node.shape
    kind = np.dtype(np.int64) if node.dtype == "integer" else dtype
    match node:
        case Number(value=value):
            number = {"pi": pi, "e": e, "-inf": -np.inf}[value] if isinstance(value, str) else float(value)
            return np.asarray(number, kind)
        case Iota(subscript=subscript):
            steps = zip(subscript.terms, np.ogrid[tuple(slice(n) for n in shape)], strict=True)
            return sum((c * places for (_, c), places in steps), np.asarray(subscript.offset))
        case Cast():
            return first.astype(kind)
        case Transpose(order=order):
            return first.transpose(order)
        case Reshape():
            return first.reshape(shape)
        case Broadcast():
            return np.broadcast_to(first, shape)
        case Pad(widths=widths, fill=fill):
            lowest = np.iinfo(np.int64).min if node.dtype == "integer" else -np.inf
            result = np.full(shape, lowest if isinstance(fill, str) else float(fill), first.dtype)
            result[tuple(slice(b, b + n) for (b, _), n in zip(widths, first.shape, strict=True))] = first
            return result
        case Slice(subscripts=subscripts, axes=axes):
            return strided(first, subscripts, axes, shape)
        case Gather(axis=axis):
            if len(operands) == 2:
                return np.take(first, operands[1], axis)
            return first[(*(slice(None),) * axis, *operands[1:])]
        case Scatter():
            return _scattered(first, operands[1:], shape)
        case Reduce():
            return _reduced(node, *operands)
        case Map(function=function):
            if function in TWO:
                return reduce(TWO[function], operands)
            apply: Any = np.where if function == "where" else FUNCTIONS[function]
            return apply(*operands)
        case Power(exponent=exponent):
            return first ** (exponent.numerator if exponent.denominator == 1 else float(exponent))
        case _:
            raise TypeError(f"{type(node).__name__} is not executed")


def strided(
    array: Array, subscripts: Sequence[Affine], axes: Axes, shape: tuple[int, ...], *, writeable: bool = False
) -> Array:
    """array[subscripts] over these axes as a view; every subscript is in range."""
    if 0 in shape:
        return np.empty(shape, array.dtype)
    origin = array[(*(slice(s.offset, None) for s in subscripts), ...)]  # `...` keeps a scalar a view
    steps = tuple(zip(subscripts, array.strides, strict=True))
    return as_strided(origin, shape, [sum(s.coefficient(i) * n for s, n in steps) for i in axes], writeable=writeable)


def _scattered(terms: Array, places: Sequence[Array], shape: tuple[int, ...]) -> Array:
    result, count = np.zeros(shape, terms.dtype), len(places)
    width, place = prod(shape[count:]), np.zeros((), np.int64)
    for n, p in zip(shape, places, strict=False):
        place = place * n + p
    flat = np.broadcast_to(place, terms.shape[: terms.ndim - len(shape) + count]).reshape(-1, 1)
    np.add.at(result.reshape(-1), (flat * width + np.arange(width)).ravel(), terms.ravel())
    return result


def _reduced(node: Reduce, a: Array, other: Array | None = None) -> Any:
    rows: Any = (*node.shape, -1)
    match node.kind:
        case "sum":
            return a.sum(node.axes)
        case "max":
            return a.max(node.axes)
        case "peak":
            # Shifted by the maximum no exponential overflows; rows of -inf alone, or with +inf, need no shift.
            top = a.max(node.axes)
            return np.where(np.isfinite(top), top, np.zeros((), a.dtype))
        case "argmax":
            a = a.reshape(rows)
            if other is not None and (top := a.max(-1, keepdims=True)).min(initial=0) == -np.inf:
                return first_greatest(other.reshape(rows) & (a == top))
            return first_greatest(a)
        case _:
            assert other is not None
            with np.errstate(divide="ignore", over="ignore"):
                return np.log(np.exp(a - np.expand_dims(other, node.axes)).sum(node.axes))


def first_greatest(rows: Array) -> Array:
    """Where in each row the greatest entry stands; of equal ones the first."""
    return rows.argmax(-1)


@dataclass(frozen=True)
class Executable:
    """A program made ready for the numbers of its extents: its assignments with their arrays in order, and the plans of
    its sums. `whole` are the tensors of whole numbers that are given."""

    assignments: tuple[tuple[Assignment, tuple[Node, ...]], ...]
    plans: Mapping[Node, Plan]
    shapes: Mapping[Tensor, tuple[int, ...]]
    whole: tuple[Tensor, ...]

    def run(self, given: Mapping[str, ArrayLike], dtype: np.dtype[Any]) -> dict[str, Array]:
        known: dict[str, Any] = dict(given)
        defined: dict[str, Array] = {}
        for assignment, nodes in self.assignments:
            tensor, name, part = assignment.tensor, assignment.tensor.name, assignment.part
            value = self.value(nodes, known, dtype)
            kind = np.dtype(np.int64) if tensor.dtype == "integer" else dtype
            if part is None:
                root = assignment.value
                while isinstance(root, Transpose | Reshape):
                    (root,) = root.operands
                copied = np.array if isinstance(root, VIEWS) else np.asarray  # what only looks at another array
                known[name] = defined[name] = copied(value, kind, order="C")
            else:
                if name not in defined:
                    known[name] = defined[name] = np.empty(self.shapes[tensor], kind)
                axes = tuple(i for s in part for i in s.indices)
                strided(defined[name], part, axes, value.shape, writeable=True)[...] = value
        return defined

    def value(self, nodes: Sequence[Node], known: Mapping[str, ArrayLike], dtype: np.dtype[Any]) -> Any:
        arrays = dict[Node, Any]()
        # Where a bracket is false the factor beside it may be infinite or no number, as 1/0 is in padding: it is not
        # selected, and nothing is said of it.
        with np.errstate(divide="ignore", invalid="ignore"):
            for node in nodes:
                operands = [arrays[o] for o in node.operands]
                if isinstance(node, Einsum):
                    arrays[node] = self.plans[node].run(operands, dtype)
                elif isinstance(node, Given):
                    name = node.tensor.name
                    if name not in known:
                        raise DataError(f"{name} has no value", fix=f"give an array for {name}")
                    arrays[node] = _typed(node.tensor, known[name], dtype)
                else:
                    arrays[node] = _value(node, operands, dtype)
        return arrays[nodes[-1]]


@lru_cache(64)
def executable(equations: tuple[Equation, ...], extents: tuple[tuple[str, int], ...]) -> Executable:
    """Raises ShapeError for an extent without a number, EquationError where components are left undefined."""
    numbers = dict(extents)
    made = {e.tensor for e in equations}
    whole = dict.fromkeys(t for e in equations for t in e.value.tensors if t.dtype == "integer" and t not in made)
    lowered = lower(equations, numbers, Limits(equations, whole, numbers))
    assignments = tuple((a, tuple(in_order(a.value))) for a in lowered)
    every = [node for _, nodes in assignments for node in nodes]
    for node in every:
        names = [node.extent] if isinstance(node, Size) else [n for n in node.shape if isinstance(n, str)]
        if names:
            raise ShapeError(
                f"the extent {names[0]} has no number", fix=f"give an array with an axis of extent {names[0]}"
            )
    shapes = {t: tuple(numbers.get(n, 0) if isinstance(n, str) else n for n in t.shape) for t in made}
    for equation in equations:
        name, size = equation.tensor.name, prod(shapes[equation.tensor])
        filled = sum(prod(map(int, a.value.shape)) for a in lowered if a.tensor == equation.tensor)
        if filled != size:
            raise EquationError(
                f"the equations of {name} define {filled} of its {size} components", about=equation,
                fix="define every component exactly once",
            )
    return Executable(assignments, {n: Plan(n) for n in every if isinstance(n, Einsum)}, shapes, tuple(whole))


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


def execute_equations(
    equations: Iterable[Equation],
    values: Mapping[str, ArrayLike],
    *,
    extents: Mapping[str, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Array]:
    """The tensors that the equations define, in order; several pieces write into one array.

    Raises ShapeError for a read outside a tensor, DataError for a missing value or a whole number that numbers nothing,
    and EquationError where the pieces of a tensor leave components undefined.
    """
    equations, extents = tuple(equations), extents or {}
    ready = executable(equations, tuple(sorted(extents.items())))
    whole = {t: _typed(t, values[t.name], dtype) for t in ready.whole if t.name in values}
    check_ids(equations if whole else (), whole, extents)
    return ready.run(values, np.dtype(dtype))


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
