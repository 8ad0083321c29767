"""How many operations an equation takes: additions, multiplications, divisions, comparisons, function values; and how
long its derivatives are before they are simplified.

Each subexpression is computed once for every value of the indices that it depends on, as a program would that moves
what does not change out of its loops; what equations share, once for all of them. A bracket costs nothing: it says
which terms there are, so a sum over them has that many fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import prod

from chainrule.ir.expr import Add, Apply, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size
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
    return round(sum(_own(node, sizes) * count(node.free) for node in every))


def _size(extent: Extent, sizes: Mapping[str, int]) -> int:
    """Named extents other than the samples are not known: they count as 1."""
    return extent if isinstance(extent, int) else sizes.get(extent, 1)


def _own(node: Expr, sizes: Mapping[str, int]) -> int | Fraction:
    """The operations of a node by itself, for one value of its free indices."""
    match node:
        case Add(terms=terms):
            return len(terms) - 1
        case Multiply(factors=factors):
            real = [f for f in factors if not isinstance(f, Delta | Guard) and not _sign(f)]
            return _share(max(len(real) - 1, 0), factors, node.free, sizes)
        case Power() | Apply():
            return 1
        case Reduce(kind=kind, indices=indices, body=body):
            factors = body.factors if isinstance(body, Multiply) else (body,)
            terms = _share(prod([_size(i.extent, sizes) for i in indices]), factors, body.free, sizes)
            return max(terms - 1, 0) + (terms + 1 if kind == "logsumexp" else 0)
        case _:
            return 0


def _sign(factor: Expr) -> bool:
    return isinstance(factor, Constant) and factor.value == -1


def _share(terms: int, factors: Iterable[Expr], free: Iterable[Index], sizes: Mapping[str, int]) -> int | Fraction:
    """Of so many terms those for which all brackets are 1: of one, one value of its left side of all there are."""
    brackets = [[i for i in f.left.indices if i in free] for f in factors if isinstance(f, Delta)]
    among = prod([max(prod([_size(i.extent, sizes) for i in own]), 1) for own in brackets])
    return terms if among == 1 else Fraction(terms, among)


def derivative_size(root: Expr) -> tuple[int, int]:
    """How many nodes the derivatives of an expression have, by all the tensors that it reads, as the rules write them:
    a product of k factors becomes k products of k factors, and what is inside a function is written once more beside
    its derivative. And how deep the expression is, for each level is a line or more of the derivation."""
    size: dict[Expr, int] = {}
    slope: dict[Expr, int] = {}
    depth: dict[Expr, int] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        parts = node.parts
        missing = [part for part in parts if part not in size]
        if missing:
            stack += missing
            continue
        stack.pop()
        size[node] = 1 + sum(size[part] for part in parts)
        depth[node] = 1 + max((depth[part] for part in parts), default=0)
        match node:
            case Multiply(factors=factors):
                own = sum(len(f.tensors) * (size[node] - size[f]) for f in factors)
            case Add() | Reduce(kind="sum"):
                own = len(node.tensors) * (1 + len(parts))
            case Constant() | Size() | Guard():
                own = 0
            case _:
                own = len(node.tensors) * size[node]
        slope[node] = own + sum(slope[part] for part in parts)
    return slope[root], depth[root]
