"""A step for batches of one sample: the number of samples is 1, and a sum over them is its one term.

The gradient of a matrix is then a product of two vectors, and an update by it, w − η·(δ·x), takes a product fewer for
each entry as w + (−η·δ)·x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from chainrule.ir.expr import Component, Constant, Expr, Multiply, Power, Reduce, Size, Tensor, derived
from chainrule.ir.index import Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, nodes, substitute, transform
from chainrule.loops.task import Task

ONE = Constant(Fraction(1))


def single(task: Task) -> Task:
    """The task with equations that are true of one sample alone, which is at position 0."""
    equations = [Equation(e.target, transform(e.value, _of_one)) for e in task.equations]
    lasting = {*task.outputs, *task.following.values()}
    return replace(task, equations=tuple(_vectors_first(equations, lasting, {*task.following.values()})))


def _of_one(node: Expr) -> Expr:
    match node:
        case Size():
            return ONE
        case Power(base=base, exponent=exponent) if base is ONE and exponent.denominator == 1:
            return ONE
        case Multiply(factors=factors) if ONE in factors:
            others = tuple(factor for factor in factors if factor is not ONE)
            return Multiply(others) if len(others) > 1 else others[0] if others else ONE
        case Reduce(kind="sum", indices=indices, body=body) if any(i.is_sample for i in indices):
            others = tuple(i for i in indices if not i.is_sample)
            body = substitute(body, {i: Affine() for i in indices if i.is_sample})
            return Reduce("sum", others, body) if others else body
        case _:
            return node


def _vectors_first(equations: Sequence[Equation], lasting: set[Tensor], updated: set[Tensor]) -> list[Equation]:
    """The equations in which an update by numbers times a product of two vectors takes the product of the numbers and
    the shorter vector, made where the product of the two was. That is gone, so it must be for this update alone: read
    once, and not `lasting`."""
    times = Counter(c.tensor for e in equations for c in components(e.value))
    computed = Counter(e.tensor for e in equations)
    products = {
        e.tensor: e for e in equations
        if times[e.tensor] == computed[e.tensor] == 1 and e.tensor not in lasting and _of_vectors(e)
    }
    result: list[Equation] = []
    for equation in equations:
        for node in nodes(equation.value) if equation.tensor in updated else ():
            read = [f for f in node.factors if f.free] if isinstance(node, Multiply) else []
            match read:
                case [Component(tensor=tensor, subscripts=subscripts, pad=None)] if tensor in products:
                    numbers = [f for f in node.parts if f not in read]
                case _:
                    continue
            if any(t in computed for number in numbers for t in number.tensors):
                continue  # it may not be there yet
            made = products[tensor]
            at = {own.indices[0]: s for own, s in zip(made.target.subscripts, subscripts, strict=True)}
            one, other = sorted((substitute(c, at) for c in components(made.value)), key=_extent)
            vector = derived("factor", equation.tensor, shape=tuple(i.extent for i in one.free), dtype="real")
            point = Component(vector, tuple(map(Affine.of, one.free)))
            factor, whole = Equation(point, Multiply((*numbers, one))), Multiply((point, other))
            result = [factor if e is made else e for e in result]
            value = transform(equation.value, lambda n, a=node, b=whole: b if n is a else n)
            equation = Equation(equation.target, value)
            break
        result.append(equation)
    return result


def _of_vectors(equation: Equation) -> bool:
    """Whether an equation is the product of two vectors: of components that have no index in common, and one each at
    least."""
    match equation.value:
        case Multiply(factors=(Component(pad=None) as one, Component(pad=None) as other)):
            apart = one.free and other.free and {*one.free}.isdisjoint(other.free)
            return bool(apart) and all(s.plain for s in equation.target.subscripts)
        case _:
            return False


def _extent(node: Expr) -> int:
    return prod(i.extent if isinstance(i.extent, int) else 1 for i in node.free)
