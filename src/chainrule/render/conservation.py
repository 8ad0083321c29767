"""How much of the error signal a window hands on: the sum of the weights with which it reads its input.

An equation that is linear in x window by window has y(x + t·1) = y(x) + t·w, so Σ_h ∂y_i/∂x_h = w_i, whatever x is.
The weights are the equation's value at x = 1, computed, and not known from the name of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute_equations
from chainrule.ir.expr import Add, Component, Expr, Multiply, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import fresh, nodes

Values = dict[str, NDArray[Any]]
LARGEST = 10**6


def constants(equations: Iterable[Equation]) -> Values:
    """The tensors that depend on no given one, such as the number of real cells of each window."""
    known: Values = {}
    for equation in equations:
        read = equation.value.tensors
        whole = _sized(equation.tensor) and all(s.plain is not None for s in equation.target.subscripts)
        if whole and all(t.name in known for t in read):
            known[equation.tensor.name] = _value(equation, known, {})
    return known


def shares(equation: Equation, x: Tensor, known: Mapping[str, NDArray[Any]]) -> list[Fraction] | None:
    """The different sums of weights that the windows of an equation have, ascending; None where they depend on
    more than the place, or nothing is summed."""
    others = [t for t in equation.value.tensors if t != x]
    if not all(t.name in known for t in others) or not _shifts(equation.value, x):
        return None
    if Reduce not in equation.value.types:
        return None
    if isinstance(equation.value, Reduce) and equation.value.kind == "max":
        return [Fraction(1)]
    use = next(n for n in nodes(equation.value) if isinstance(n, Component) and n.tensor == x)
    pairs = list(zip(use.subscripts, x.shape, strict=True))
    if any(isinstance(e, str) and s.plain not in equation.indices for s, e in pairs):
        return None
    # An axis of open extent that the windows do not run over: its entries are alike.
    extents = {e: 1 for t in (x, equation.tensor, *others) for e in t.shape if isinstance(e, str)}
    values = {**known, x.name: np.ones([extents.get(e, 1) if isinstance(e, str) else e for e in x.shape])}
    found = _value(equation, values, extents)
    return sorted({Fraction(w).limit_denominator(LARGEST) for w in set(map(float, found.flat))})


def planes(equation: Equation, x: Tensor, wrt: Component) -> tuple[tuple[Index, ...], Component] | None:
    """The indices of `wrt` that the windows run over, and y with the indices that it shares with x named alike."""
    use = next(n for n in nodes(equation.value) if isinstance(n, Component) and n.tensor == x)
    mapping: dict[Index, Affine] = {}
    summed: list[Index] = []
    for read, own in zip(use.subscripts, wrt.subscripts, strict=True):
        if own.plain is None:
            return None
        if read.plain is not None and read.plain in equation.indices:
            mapping[read.plain] = own
        else:
            summed.append(own.plain)
    taken = [*equation.indices, *wrt.free]
    for index in equation.indices:  # one that y alone runs over has a name of its own
        if index not in mapping and index.name in {i.name for i in wrt.free}:
            own = fresh(index.name, index.extent, taken)
            taken.append(own)
            mapping[index] = Affine.of(own)
    y = Component(equation.tensor, tuple(s.substitute(mapping) for s in equation.target.subscripts))
    return (tuple(summed), y) if summed else None


def _value(equation: Equation, values: Values, extents: Mapping[str, int]) -> NDArray[Any]:
    """The components that an equation defines, over its indices."""
    axes = equation.indices
    part = Component(Tensor(equation.tensor.name, tuple(i.extent for i in axes)), tuple(map(Affine.of, axes)))
    return execute_equations([Equation(part, equation.value)], values, extents=extents)[equation.tensor.name]


def _sized(tensor: Tensor) -> bool:
    return not any(isinstance(e, str) for e in tensor.shape)


def _shifts(expr: Expr, x: Tensor) -> bool:
    """Whether adding a constant to x adds a multiple of it to the expression, for every x."""
    if x not in expr.tensors:
        return False
    match expr:
        case Component(pad=pad):
            return pad in (None, 0)
        case Add(terms=terms):
            return all(_shifts(t, x) for t in terms)
        case Multiply(factors=factors):
            reading = [f for f in factors if x in f.tensors]
            return len(reading) == 1 and _shifts(reading[0], x)
        case Reduce(kind="sum", body=body):
            return _shifts(body, x)
        case Reduce(kind="max", body=Component(pad=pad)):
            return pad in (None, "-inf")
        case _:
            return False
