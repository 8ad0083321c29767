"""A sum over a product as a network: each index is a node, each factor an edge between its two indices or a vector at
its one. A summed index with two neighbours is a matrix product, with one a matrix times a vector, with none a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from itertools import combinations

from chainrule.forms.nodes import ONE, Fill, Form, operation, several
from chainrule.ir.expr import Expr
from chainrule.ir.index import Extent, Index

Axis = Index | None


class NoFormError(Exception):
    """The expression is no expression in these operators."""


@dataclass(frozen=True, slots=True)
class Part:
    """A factor of a product by the indices that it depends on; `make` gives it with these rows and columns."""

    axes: tuple[Index, ...]
    make: Callable[[Axis, Axis], Form]
    summed: bool = False


def times(left: Form, right: Form) -> Form:
    """Their product; that with a 1 is the other."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Fill) and one.shape == (1, 1) and one.value == 1:
            return other
    return operation("matmul", left, right)


def _extent(axis: Axis) -> Extent:
    return 1 if axis is None else axis.extent


def fill(value: Fraction, rows: Axis, columns: Axis) -> Fill:
    return Fill(value, (_extent(rows), _extent(columns)))


def choices(indices: Sequence[Index], none: bool) -> Iterator[tuple[Index, ...]]:
    """The subsets of the indices, the smaller ones first, and of a size those with samples."""
    for size in range(1 if none else len(indices) + 1):
        yield from sorted(combinations(indices, size), key=lambda c: not any(i.is_sample for i in c))


@lru_cache(maxsize=1 << 16)
def reducible(factors: frozenset[tuple[Index, ...]], outside: frozenset[Index], sums: frozenset[Index]) -> bool:
    """Whether factors that depend on these indices can be matrices once those outside stand in subscripts: what
    `contracted` finds of the indices alone, before a form is made. An index is summed where it leaves two at most;
    which one goes first decides nothing, as a graph of treewidth two stays one."""
    parts = [frozenset(f) - outside for f in factors]
    waiting = set(sums)
    while waiting:
        for k in waiting:
            own = [part for part in parts if k in part]
            beside = frozenset[Index]().union(*own) - {k}
            if len(beside) <= 2:
                break
        else:
            return False
        if any(len(part) > 2 for part in own):
            return False
        waiting.remove(k)
        parts = [part for part in parts if k not in part] + [beside]
    return all(len(part) <= 2 for part in parts)


def closure(factors: Sequence[Expr], outside: Sequence[Index], sums: Sequence[Index]) -> set[Index]:
    """The indices outside, and those of the sum that hang together with them."""
    found = set(outside)
    while more := {i for f in factors if found & set(f.free) for i in f.free if i in sums} - found:
        found |= more
    return found


def columns_of(parts: Sequence[Part], axis: Axis) -> Form:
    return several("hadamard", [part.make(axis, None) for part in parts])


def contracted(parts: list[Part], sums: Sequence[Index], rows: Axis) -> list[Part]:
    """The parts with the summed indices eliminated, those with the fewest neighbours first."""
    waiting = list(sums)

    def about(k: Index) -> tuple[list[Part], list[Index]]:
        own = [part for part in parts if k in part.axes]
        return own, [i for i in dict.fromkeys(i for part in own for i in part.axes) if i != k]

    def cost(k: Index) -> tuple[int, bool, bool]:
        own, beside = about(k)
        turned = any(len(part.axes) == 2 and part.axes[0] == k for part in own)
        return len(beside), rows not in beside, turned

    while waiting:
        k = min(waiting, key=cost)
        waiting.remove(k)
        own, beside = about(k)
        if len(beside) > 2 or any(len(part.axes) > 2 for part in own):
            raise NoFormError
        if rows in beside[1:]:
            beside = beside[::-1]
        place = parts.index(own[0]) if own else len(parts)
        parts = [part for part in parts if part not in own]
        parts.insert(place, Part(tuple(beside), partial(_eliminated, k, own, beside), True))
    if any(len(part.axes) > 2 for part in parts):
        raise NoFormError
    return parts


def _eliminated(k: Index, own: Sequence[Part], beside: Sequence[Index], rows: Axis, columns: Axis) -> Form:
    """The sum over k of the product of these parts, as a matrix with these rows and columns."""
    vectors = [part for part in own if part.axes == (k,)]

    def edges(a: Index, *, first: bool) -> Form:
        between = [part for part in own if a in part.axes]
        return several("hadamard", [part.make(a, k) if first else part.make(k, a) for part in between])

    if not beside:
        vectors.sort(key=lambda part: part.summed)
        left = vectors.pop(0).make(None, k) if len(vectors) > 1 else fill(ONE, None, k)
        return times(left, columns_of(vectors, k))
    if len(beside) == 1:
        (a,) = beside
        if rows == a:
            return times(edges(a, first=True), columns_of(vectors, k) if vectors else fill(ONE, k, None))
        row = several("hadamard", [v.make(None, k) for v in vectors]) if vectors else fill(ONE, None, k)
        return times(row, edges(a, first=False))
    assert rows is not None and columns is not None
    right = edges(columns, first=False)
    if vectors:
        right = times(operation("diag", columns_of(vectors, k)), right)
    return times(edges(rows, first=True), right)
