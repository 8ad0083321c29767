"""A step for batches of one sample: the number of samples is 1, and a sum over them is its one term."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from chainrule.ir.expr import Constant, Expr, Multiply, Power, Reduce, Size
from chainrule.ir.index import Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import substitute, transform
from chainrule.loops.task import Task

ONE = Constant(Fraction(1))


def single(task: Task) -> Task:
    """The task with equations that are true of one sample alone, which is at position 0."""
    return replace(task, equations=tuple(Equation(e.target, transform(e.value, _of_one)) for e in task.equations))


def _of_one(node: Expr) -> Expr:
    match node:
        case Size():
            return ONE
        case Power(base=base) if base is ONE:
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
