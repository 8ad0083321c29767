"""Expressions and programs over GF(2^61 − 1): values at a point, and tangents along a direction.

`interpreter` states the semantics; the arithmetic is that of `prime`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import EquationError, ShapeError
from chainrule.evaluate.interpreter import Interpreter, Selected, checked, named
from chainrule.evaluate.labelled import onto, ranges, size
from chainrule.evaluate.prime import (
    PRIME,
    Words,
    add,
    dot,
    element,
    elements,
    inverse,
    key,
    matmul,
    multiply,
    power,
    subtract,
    total,
)
from chainrule.ir.expr import Component, Delta, Expr, Tensor
from chainrule.ir.index import Index
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import nodes

__all__ = [
    "PRIME", "Words", "add", "dot", "element", "elements", "evaluate", "execute", "integer_ranges", "inverse", "matmul",
    "multiply", "power", "random_values", "subtract", "total",
]


def random_values(
    tensors: Iterable[Tensor],
    extents: Mapping[str, int],
    seed: int,
    integer_ranges: Mapping[str, int] | None = None,
) -> dict[str, NDArray[Any]]:
    """A random point: for each tensor by name uniform field elements, or for an integer tensor integers in
    0 … integer_ranges[name] − 1. A tensor's values depend on the seed, its name and its shape alone."""
    values: dict[str, NDArray[Any]] = {}
    for tensor in tensors:
        shape = tuple(size(extent, extents) for extent in tensor.shape)
        generator = np.random.default_rng(key(seed, "values", tensor.name))
        if tensor.dtype == "integer":
            if integer_ranges is None or tensor.name not in integer_ranges:
                raise ShapeError("an integer tensor without a range", about=tensor.name, fix="give integer_ranges")
            values[tensor.name] = generator.integers(0, integer_ranges[tensor.name], shape)
        else:
            values[tensor.name] = generator.integers(0, PRIME, shape, dtype=np.uint64)
    return values


def integer_ranges(given: Iterable[Tensor], expressions: Iterable[Expr], extents: Mapping[str, int]) -> dict[str, int]:
    """How many values each integer tensor takes: as many as the brackets that it stands in tell apart."""
    found: dict[str, int] = {t.name: 2 for t in given if t.dtype == "integer"}
    for expression in expressions:
        for node in nodes(expression) if Delta in expression.types else ():
            if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor.name in found:
                reach = node.left.offset + sum(c * (size(i.extent, extents) - 1) for i, c in node.left.terms if c > 0)
                found[node.right.tensor.name] = max(found[node.right.tensor.name], reach + 1)
    return found


@overload
def evaluate(
    expr: Expr, values: Mapping[str, NDArray[Any]], indices: tuple[Index, ...], *, extents: Mapping[str, int],
    seed: int, tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None, dual: Literal[False] = False,
) -> NDArray[Any]: ...


@overload
def evaluate(
    expr: Expr, values: Mapping[str, NDArray[Any]], indices: tuple[Index, ...], *, extents: Mapping[str, int],
    seed: int, tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None, dual: Literal[True],
) -> tuple[NDArray[Any], Words]: ...


def evaluate(
    expr: Expr,
    values: Mapping[str, NDArray[Any]],
    indices: tuple[Index, ...],
    *,
    extents: Mapping[str, int],
    seed: int,
    tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None,
    dual: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], Words]:
    """The values of `expr` over `indices`, in their order; with `dual`, also its tangent along `tangents`.

    `values` and `tangents` hold an array for each tensor by name; a tensor without a tangent is constant. Inside a
    Derivative, a tensor in `definitions` depends on what its equation (of plain target indices) reads. Field elements
    are uint64, integers (argmax, components of integer tensors) int64.

    Raises EquationError (no value, indices left over), ShapeError (extents, a read outside), DerivationError.
    """
    interpreter = Interpreter(values, extents, seed, definitions)
    value = interpreter.over(interpreter.value(expr), indices)
    if not dual:
        return value
    slope = interpreter.tangent(expr, interpreter.direction(tangents or {}))
    return value, np.zeros(value.shape, np.uint64) if slope is None else interpreter.over(slope, indices)


def execute(
    program: Program,
    given: Mapping[str, NDArray[Any]],
    *,
    seed: int,
    tangents: Mapping[str, NDArray[Any]] | None = None,
    extents: Mapping[str, int] | None = None,
    selected: Selected | None = None,
) -> dict[str, tuple[NDArray[Any], Words]]:
    """Run a program: each tensor's value and its tangent along `tangents`, given tensors included; what its maxima
    select is noted in `selected`.

    A tensor that the program defines moves along its tangent besides what it is computed from.
    Named extents come from the shapes of the given arrays, or from `extents`. Raises what `evaluate` raises, and
    EquationError where a component is bound twice or not at all.
    """
    sizes = dict(extents or {})
    for tensor in program.given:
        if tensor.name not in given:
            raise EquationError("a given tensor without a value", about=named(tensor), fix="give its array")
        for extent, length in zip(tensor.shape, np.shape(given[tensor.name]), strict=False):
            if isinstance(extent, str):
                sizes.setdefault(extent, length)
    values = {t.name: checked(t, given[t.name], sizes) for t in program.given}
    slopes = {name: np.zeros(value.shape, np.uint64) for name, value in values.items()} | dict(tangents or {})
    moving = set(tangents or {}) & values.keys()
    interpreter = Interpreter(values, sizes, seed, selected=selected)
    direction = interpreter.direction(slopes, moving)
    unfinished: dict[str, tuple[NDArray[Any], Words, NDArray[np.int64]]] = {}
    for equation in program.equations:
        tensor, name = equation.tensor, equation.tensor.name
        value = interpreter.over(interpreter.value(equation.value), equation.indices)
        moved = interpreter.tangent(equation.value, direction) if moving else None
        interpreter.values.clear()  # equations share little, and what they build is large
        direction.known.clear()
        if name not in unfinished:
            shape = tuple(size(extent, sizes) for extent in tensor.shape)
            empty = np.zeros(shape, np.int64 if tensor.dtype == "integer" else np.uint64)
            unfinished[name] = empty, np.zeros(shape, np.uint64), np.zeros(shape, np.int64)
        whole, whole_slope, bound = unfinished[name]
        place = _place(equation, whole.shape, sizes)
        np.add.at(bound, place, 1)
        if bound.max(initial=0) > 1:
            raise EquationError("a component bound twice", about=named(tensor), fix="make the pieces disjoint")
        whole[place] = value if tensor.dtype == "integer" or value.dtype == np.uint64 else elements(value)
        if moved is not None:
            whole_slope[place] = interpreter.over(moved, equation.indices)
        if bound.all():
            if tangents is not None and name in tangents:
                whole_slope = add(whole_slope, tangents[name])
            values[name], slopes[name] = whole, whole_slope
            if whole_slope.any():
                moving.add(name)
    for tensor in program.defined:
        if tensor.name not in values:
            raise EquationError("components that no equation binds", about=named(tensor), fix="add their piece")
    return {name: (value, slopes[name]) for name, value in values.items()}


def _place(equation: Equation, shape: tuple[int, ...], extents: Mapping[str, int]) -> tuple[NDArray[np.int64], ...]:
    """The positions of the components that an equation binds, axis by axis over its indices."""
    positions = [ranges(subscript, extents) for subscript in equation.target.subscripts]
    if any(np.any((p.data < 0) | (p.data >= extent)) for p, extent in zip(positions, shape, strict=True)):
        raise ShapeError("a component outside its tensor", about=named(equation.tensor), fix="use smaller extents")
    return tuple(onto(p.data, p.axes, equation.indices) for p in positions)
