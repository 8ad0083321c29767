"""How many operations an equation takes: additions, multiplications, divisions, comparisons, function values.

Each subexpression is computed once for every value of the indices that it depends on, as a program would that moves
what does not change out of its loops; what equations share, once for all of them. A bracket costs nothing: it says
which terms there are, so a sum over them has that many fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import prod

from chainrule.ir.expr import Add, Apply, Constant, Delta, Expr, Guard, Multiply, Power, Reduce
from chainrule.ir.index import SAMPLES, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes


def operations(equations: Iterable[Equation]) -> int:
    """The operations that one sample more costs; where nothing depends on samples, all of them."""
    equations = list(equations)
    one, two = (operations_for(equations, n) for n in (1, 2))
    return two - one if two > one else one


def operations_for(equations: Iterable[Equation], samples: int) -> int:
    """The operations for so many samples."""
    sizes = {SAMPLES: samples}

    def count(indices: Iterable[Index]) -> int:
        return prod(_size(i.extent, sizes) for i in dict.fromkeys(indices))

    every = nodes(*(e.value for e in equations))
    return round(sum((_own(node, sizes) * count(node.free) for node in every), start=Fraction(0)))


def _size(extent: Extent, sizes: Mapping[str, int]) -> int:
    """Named extents other than the samples are not known: they count as 1."""
    return extent if isinstance(extent, int) else sizes.get(extent, 1)


def _own(node: Expr, sizes: Mapping[str, int]) -> Fraction:
    """The operations of a node by itself, for one value of its free indices."""
    match node:
        case Add(terms=terms):
            return Fraction(len(terms) - 1)
        case Multiply(factors=factors):
            real = [f for f in factors if not isinstance(f, Delta | Guard) and not _sign(f)]
            share = prod((_chosen(f, node.free, sizes) for f in factors), start=Fraction(1))
            return max(len(real) - 1, 0) * share
        case Power() | Apply():
            return Fraction(1)
        case Reduce(kind=kind, indices=indices, body=body):
            factors = body.factors if isinstance(body, Multiply) else (body,)
            share = prod((_chosen(f, body.free, sizes) for f in factors), start=Fraction(1))
            terms = prod(_size(i.extent, sizes) for i in indices) * share
            return max(terms - 1, Fraction(0)) + (terms + 1 if kind == "logsumexp" else 0)
        case _:
            return Fraction(0)


def _sign(factor: Expr) -> bool:
    return isinstance(factor, Constant) and factor.value == -1


def _chosen(factor: Expr, free: Iterable[Index], sizes: Mapping[str, int]) -> Fraction:
    """The share of the terms for which a bracket is 1: one value of its left side of all there are."""
    if not isinstance(factor, Delta):
        return Fraction(1)
    own = [i for i in factor.left.indices if i in free]
    return Fraction(1, max(prod(_size(i.extent, sizes) for i in own), 1))
