"""Tensors that passes make for parts of equations."""

from __future__ import annotations

from collections.abc import Iterator

from chainrule.ir.expr import Component, Expr, Reduce, Tensor, derived
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import Key, key


def outer(node: Expr) -> tuple[Index, ...]:
    """The indices that a node is a function of, the samples' first."""
    return tuple(sorted(node.free, key=lambda index: not index.is_sample))


def nameable(node: Expr) -> bool:
    """Whether a node can be a tensor of its own: one that is a function of pairs of samples has no place in memory."""
    return sum(index.is_sample for index in node.free) < 2


def inner(value: Expr) -> Iterator[Reduce]:
    """The reductions inside of others that run over what they depend on, those that can be tensors."""
    seen: set[tuple[Expr, frozenset[Index]]] = set()
    stack = [(value, frozenset[Index]())]
    while stack:
        node, around = stack.pop()
        if Reduce not in node.types or (node, around) in seen:
            continue
        seen.add((node, around))
        if isinstance(node, Reduce):
            if not around.isdisjoint(node.free) and nameable(node):
                yield node
            around = around.union(node.indices)
        stack.extend((part, around) for part in reversed(node.parts))


Identity = tuple[Key, tuple[Extent, ...]]


def identity(node: Expr) -> Identity:
    """What two nodes share that have the same values, whatever their indices are called."""
    return key(node, outer(node)), tuple(index.extent for index in outer(node))


class Parts:
    """Tensors for parts of equations: one for all parts that are the same but for the names of indices."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.known: dict[Identity, Tensor] = {}
        self.numbers: dict[Tensor, int] = {}

    def point(self, part: Expr, of: Tensor) -> tuple[Component, bool]:
        """The component that stands for a part of an equation of `of`, and whether its tensor is new."""
        what = identity(part)
        new = what not in self.known
        if new:
            self.numbers[of] = number = self.numbers.get(of, 0) + 1
            dtype = "integer" if isinstance(part, Reduce) and part.kind == "argmax" else "real"
            self.known[what] = derived(self.kind, of, number=number, shape=what[1], dtype=dtype)
        return Component(self.known[what], tuple(map(Affine.of, outer(part)))), new
