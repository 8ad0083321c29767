"""A task in the form that is lowered: equations to equations, each tensor with a place in memory, each sum's terms
without sums of their own where those can be tensors.

- An index bound inside has no name of those around it.
- What is a function of pairs of samples has no place in memory: it is written out where it is read.
- The samples are the first axis of what is computed.
- Logarithms of sums of exponentials that occur again are tensors (`shared.py`).
- A reduction inside of another, of what that runs over, is a tensor of its own, computed once for each of its values:
  the squares Σ_i (x_ni − V_fi)² in Σ_f U_of·exp(−Σ_i (x_ni − V_fi)²).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeGuard

from chainrule.errors import CompileError
from chainrule.ir.expr import (
    ONE,
    Add,
    Component,
    Constant,
    Delta,
    Expr,
    Multiply,
    Reduce,
    Tensor,
    add,
    derived,
    multiply,
    summed,
)
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.print import affine_text, spelled
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, bound, fresh, iterative, rebuild, rename, substitute, transform
from chainrule.loops.layout import sampled
from chainrule.loops.made import Parts, nameable
from chainrule.loops.shared import MINUS, shared
from chainrule.loops.task import Task


def normal(task: Task) -> Task:
    equations = [_apart(equation) for equation in task.equations]
    equations = _without_pairs(equations, {*task.outputs, *task.following.values()})
    equations = [_at_samples(equation) for equation in _samples_first(equations, task)]
    return replace(task, equations=tuple(_without_inner_reductions(shared(equations))))


# Names of bound indices


def _apart(equation: Equation) -> Equation:
    """The equation with other names for bound indices that have the name of an index around them."""
    value = _renamed(equation.value, frozenset(index.name for index in equation.indices))
    return equation if value is equation.value else Equation(equation.target, value)


@iterative
def _renamed(node: Expr, around: frozenset[str]) -> Steps[Expr]:
    if Reduce not in node.types:
        return node
    if isinstance(node, Reduce):
        new = list(node.indices)
        body = node.body
        if any(index.name in around for index in node.indices):
            taken = [*body.free, *(Index(name, 1) for name in sorted(around))]
            new = list[Index]()
            for index in node.indices:
                new.append(fresh(index.name, index.extent, taken) if index.name in around else index)
                taken.append(new[-1])
            body = rename(body, dict(zip(node.indices, new, strict=True)))
        body = yield body, around.union(index.name for index in new)
        return node if body is node.body and tuple(new) == node.indices else Reduce(node.kind, tuple(new), body)
    parts: list[Expr] = []
    for child in node.parts:
        parts.append((yield child, around))
    return node if tuple(parts) == node.parts else rebuild(node, tuple(parts))


# Pairs of samples


def _pairs(tensor: Tensor) -> bool:
    return tensor.shape.count(SAMPLES) > 1


def _without_pairs(equations: Sequence[Equation], wanted: set[Tensor]) -> list[Equation]:
    """The equations with what is a function of pairs of samples written out where it is read."""
    if not any(_pairs(equation.tensor) for equation in equations):
        return [*equations]
    definitions: dict[Tensor, list[Equation]] = {}
    result: list[Equation] = []

    def put(node: Expr) -> Expr:
        return _written_out(node, definitions[node.tensor]) if _is_one_of(node, definitions) else node

    for equation in equations:
        tensor, value = equation.tensor, transform(equation.value, put, Component)
        equation = _apart(Equation(equation.target, value)) if value is not equation.value else equation
        if not _pairs(tensor):
            result.append(equation)
            continue
        if tensor.dtype == "integer":
            raise _refused(tensor, "says where a maximum lies")
        if tensor in wanted:
            raise _refused(tensor, "is an output")
        definitions.setdefault(tensor, []).append(equation)
    return result


def _is_one_of(node: Expr, tensors: Container[Tensor]) -> TypeGuard[Component]:
    return isinstance(node, Component) and node.tensor in tensors


def _written_out(node: Component, pieces: Sequence[Equation]) -> Expr:
    """What a component is by the equations of its tensor: the value at its subscripts where each of them is an index of
    the equation, and else Σ over the indices of a piece of [the piece's subscripts are these]·value, and the padding
    where there is none."""
    if node.pad == "-inf":
        raise _refused(node.tensor, "is read beyond its ends in a maximum")
    terms: list[Expr] = []
    inside: list[Expr] = []
    for piece in pieces:
        taken = [*piece.indices, *bound(piece.value), *node.free]
        at: dict[Index, Affine] = {}
        brackets: list[Expr] = []
        over: list[Index] = []
        for own, read, extent in zip(piece.target.subscripts, node.subscripts, node.tensor.shape, strict=True):
            index = own.plain
            if index is not None and index.extent == extent and read.within(extent):
                at[index] = read
                continue
            for index in own.indices:
                over.append(fresh(index.name, index.extent, taken))
                taken.append(over[-1])
                at[index] = Affine.of(over[-1])
            brackets.append(Delta(own.substitute(at), read))
        value = substitute(piece.value, at)
        terms.append(summed(over, multiply((*brackets, value))) if brackets else value)
        inside.append(summed(over, multiply(brackets)))
    if isinstance(node.pad, Fraction) and node.pad:
        outside = [ONE, *(Multiply((MINUS, part)) for part in inside)]
        terms.append(Multiply((Constant(node.pad), add(outside))))
    return add(terms)


def _refused(tensor: Tensor, why: str) -> CompileError:
    return CompileError(f"{spelled(tensor)} has a value for each pair of samples and {why}", about=spelled(tensor))


# Samples first


def _samples_first(equations: Sequence[Equation], task: Task) -> list[Equation]:
    """The equations over tensors whose first axis is the samples'."""
    fixed = {*task.data, *task.kept, *task.outputs, *task.following.values()}
    made: dict[Tensor, tuple[Tensor, list[int]]] = {}
    for equation in equations:
        tensor = equation.tensor
        if tensor not in fixed and SAMPLES in tensor.shape[1:] and not _pairs(tensor):
            order = sorted(range(len(tensor.shape)), key=lambda axis: tensor.shape[axis] != SAMPLES)
            made[tensor] = derived("arranged", tensor, shape=tuple(tensor.shape[axis] for axis in order)), order
    if not made:
        return [*equations]

    def put(node: Expr) -> Expr:
        if isinstance(node, Component) and node.tensor in made:
            tensor, order = made[node.tensor]
            return Component(tensor, tuple(node.subscripts[axis] for axis in order), node.pad)
        return node

    result: list[Equation] = []
    for equation in equations:
        target = put(equation.target)
        assert isinstance(target, Component)
        result.append(Equation(target, transform(equation.value, put, Component)))
    return result


# Neighbouring samples


def _at_samples(equation: Equation) -> Equation:
    """The equation with each read at other samples, n − 1, as the sum over all of [m = n − 1]·x[m], with what padding
    there is: samples lie in vectors, and only whole ones are read."""
    taken = [*equation.indices, *bound(equation.value)]

    def put(node: Expr) -> Expr:
        if not isinstance(node, Component) or not sampled(node.tensor) or node.subscripts[0].plain is not None:
            return node
        read, rest = node.subscripts[0], node.subscripts[1:]
        if not isinstance(node.pad, Fraction):
            raise CompileError(f"{spelled(node.tensor)} is read at the samples {affine_text(read)}", about=node)
        m = fresh("m", SAMPLES, taken)
        taken.append(m)
        here = Delta(Affine.of(m), read)
        value: Expr = Reduce("sum", (m,), Multiply((here, Component(node.tensor, (Affine.of(m), *rest), node.pad))))
        if not node.pad:
            return value
        there = Reduce("sum", (m,), here)
        return Add((value, Multiply((Constant(node.pad), Add((ONE, Multiply((MINUS, there))))))))

    value = transform(equation.value, put, Component)
    return equation if value is equation.value else Equation(equation.target, value)


# Reductions inside of others


def _without_inner_reductions(equations: Sequence[Equation]) -> list[Equation]:
    parts = Parts("inner")
    result: list[Equation] = []
    for equation in equations:

        def point(node: Reduce, of: Tensor = equation.tensor) -> Component:
            """What stands for an inner reduction; the first time, its equation is added."""
            here, new = parts.point(node, of)
            if new:
                result.append(Equation(here, node))
            return here

        value = _outside(equation.value, frozenset(), point)
        result.append(equation if value is equation.value else Equation(equation.target, value))
    return result


@iterative
def _outside(node: Expr, around: frozenset[Index], point: Callable[[Reduce], Component]) -> Steps[Expr]:
    """The node with a point for each reduction in it of what the reductions around it run over."""
    if Reduce not in node.types:
        return node
    if isinstance(node, Reduce):
        body = yield node.body, around.union(node.indices), point
        same = node if body is node.body else Reduce(node.kind, node.indices, body)
        return same if around.isdisjoint(node.free) or not nameable(node) else point(same)
    parts: list[Expr] = []
    for child in node.parts:
        parts.append((yield child, around, point))
    return node if tuple(parts) == node.parts else rebuild(node, tuple(parts))
