"""Contractions: sums over products, with what each index does in them.

u[n, k] = Σ_l W[k, l]·x[n, l] has the free indices n and k and the reduced index l: a matrix product. The NumPy
executor, the matrix forms and the schedules read the same classification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from chainrule.ir.expr import Component, Delta, Expr, Guard, Multiply, Reduce
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import nodes


@dataclass(frozen=True)
class Contraction:
    """Σ over `reduced` of the product of `factors`.

    Every index of the result is in `free` (it occurs in one factor at most) or in `batch` (in two or more); the rest
    are `reduced`.
    """

    factors: tuple[Expr, ...]
    free: tuple[Index, ...]
    batch: tuple[Index, ...]
    reduced: tuple[Index, ...]

    @cached_property
    def windowed(self) -> tuple[Index, ...]:
        """The indices that share a subscript with another one, as i and p do in 2*i + p. They cut across the other
        kinds. Found when first asked for, because it takes a walk through all of the factors."""
        shared = {
            index
            for factor in self.factors
            for subscript in _subscripts(factor)
            if len(subscript.terms) > 1
            for index in subscript.indices
            if index in factor.free
        }
        return tuple(index for index in dict.fromkeys((*self.free, *self.batch, *self.reduced)) if index in shared)


def contraction(expr: Expr, free: Iterable[Index] | None = None) -> Contraction | None:
    """The contraction that a sum, or a product without a sum, is; None for any other expression.

    `free` are the indices of the result in their order, by default those free in `expr`. Products directly inside
    the product are merged into it.
    """
    if isinstance(expr, Reduce) and expr.kind == "sum":
        body, reduced = expr.body, expr.indices
    elif isinstance(expr, Multiply):
        body, reduced = expr, ()
    else:
        return None
    factors = tuple(_factors(body))
    result = tuple(dict.fromkeys(expr.free if free is None else free))
    uses = Counter(index for factor in factors for index in factor.free)
    return Contraction(
        factors,
        tuple(index for index in result if uses[index] < 2),
        tuple(index for index in result if uses[index] >= 2),
        reduced,
    )


def _factors(body: Expr) -> Iterable[Expr]:
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, Multiply):
            stack.extend(reversed(node.factors))
        else:
            yield node


def _subscripts(factor: Expr) -> Iterable[Affine]:
    for node in nodes(factor):
        match node:
            case Component(subscripts=subscripts):
                yield from subscripts
            case Guard(subscript=subscript):
                yield subscript
            case Delta(left=left, right=right):
                yield left
                if isinstance(right, Affine):
                    yield right
            case _:
                pass
