"""Expressions drawn over the tensors there are; numbers stay moderate, and positive under a root or a logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tests.drawn.language import (
    Add,
    Affine,
    Apply,
    Divide,
    Expr,
    Index,
    Minus,
    Multiply,
    N,
    Number,
    Power,
    Reduce,
    Same,
    Within,
    at,
    free,
    parts,
    reads,
)
from tests.drawn.spans import span, width
from tests.drawn.tensors import PLAIN_INDICES, Scope, StuckError, Tensors, positive, spatial

GRID = 150  # the most positions that the indices in a scope may have together

ONE_PLACE = ("exp", "expm1", "log", "sigmoid", "tanh", "softplus", "erfc", "step", "relu", "sign", "abs")
TWO_PLACE = ("max", "min")


class Expressions(Tensors):
    left = 0  # how many more nodes an expression may have

    def depth(self) -> int:
        return self.weighted({0: 2, 1: 3, 2: 1})

    def tame(self, node: Expr, limit: float) -> Expr:
        """The same, or something of it that is no larger than this."""
        size = max(map(abs, span(node, self.spans)))
        if size <= limit:
            return node
        if size <= 6 * limit and self.chance(0.6):
            return Multiply((Number(Fraction(1, math.ceil(size / limit))), node))
        plain = size < 30 and len(list(reads(node))) < 3 and not any(isinstance(p, Reduce) for p in parts(node))
        if not self.chance(0.5) and plain:
            return Divide(node, Add(((True, Number(Fraction(1))), (True, Power(node, Fraction(2))))))
        return Apply(self.pick(["tanh", "sigmoid"]), (node,))

    def positive(self, node: Expr) -> Expr:
        """Something of it that is well above 0."""
        low, high = span(node, self.spans)
        if low >= 0.2 and self.chance(0.8):
            return self.tame(node, 30)
        node = node if max(-low, high) <= 5 else self.tame(node, 5)
        constant = Number(self.pick([Fraction(1), Fraction(1, 2), Fraction(3, 2), Fraction(1, 4)]))
        match self.weighted({"square": 4, "exp": 1, "sigmoid": 1, "softplus": 1, "abs": 1, "relu": 1, "two": 1}):
            case "exp":
                return Apply("exp", (self.tame(node, 2),))
            case "square":
                return Add(((True, constant), (True, Power(node, Fraction(2)))))
            case "two":
                other = Power(self.tame(node, 2), Fraction(4))
                return Add(((True, other), (True, constant)))
            case function:
                return Add(((True, Apply(function, (node,))), (True, constant)))

    def leaf(self, scope: Scope) -> Expr:
        return self.number() if self.chance(0.08) else self.read(scope)

    def expr(self, scope: Scope, depth: int) -> Expr:
        if depth <= 0 or self.left <= 0:
            return self.leaf(scope)
        self.left -= 1
        match self.weighted({
            "leaf": 3, "add": 4, "multiply": 4, "apply": 3.5, "reduce": 3.5, "power": 1, "divide": 0.8, "minus": 0.5,
            "two": 0.6, "bracket": 0.8,
        }):  # fmt: skip
            case "leaf":
                return self.leaf(scope)
            case "add":
                terms = [self.expr(scope, depth - 1) for _ in range(self.weighted({2: 5, 3: 1.5}))]
                return Add(tuple((not n or self.chance(0.65), t) for n, t in enumerate(terms)))
            case "multiply":
                return self.product([self.expr(scope, depth - 1) for _ in range(self.weighted({2: 5, 3: 1}))])
            case "apply":
                return self.apply(self.pick(ONE_PLACE), scope, depth - 1)
            case "reduce":
                kind = self.weighted({"sum": 5, "mean": 2, "max": 2, "logsumexp": 2})
                return self.reduce(kind, scope, depth - 1)
            case "power":
                return self.power(self.pick(["whole", "root"]), scope, depth - 1)
            case "divide":
                return self.power("divide", scope, depth - 1)
            case "minus":
                return Minus(self.expr(scope, depth - 1))
            case "two":
                return self.apply(self.pick(TWO_PLACE), scope, depth - 1)
            case _:
                return self.product([self.bracket(scope), self.expr(scope, depth - 1)])

    def product(self, factors: Sequence[Expr]) -> Expr:
        return Multiply(tuple(self.tame(f, 12) for f in factors))

    def apply(self, function: str, scope: Scope, depth: int) -> Expr:
        if function in TWO_PLACE:
            return Apply(function, (self.expr(scope, depth), self.expr(scope, depth)))
        inside = self.expr(scope, depth)
        if function == "log":
            return Apply("log", (self.positive(inside),))
        limit = {"exp": 2.5, "expm1": 2.0, "erfc": 2.0}.get(function, 20.0)
        node = Apply(function, (self.tame(inside, limit),))
        return self.product([node, self.leaf(scope)]) if function in ("step", "sign") else node

    def power(self, which: str, scope: Scope, depth: int) -> Expr:
        inside = self.expr(scope, depth)
        match which:
            case "whole":
                return Power(self.tame(inside, 4), Fraction(self.pick([2, 2, 3])))
            case "root":
                exponent = self.pick(
                    [Fraction(1, 2), Fraction(-1, 2), Fraction(1, 3), Fraction(-3, 4), Fraction(3, 2), Fraction(2, 3)]
                )
                return Power(self.positive(inside), exponent)
            case _:
                below = self.positive(self.leaf(scope))
                if self.chance(0.7):
                    return Divide(inside, below)
                return self.product([inside, Power(below, Fraction(self.pick([-1, -1, -2])))])

    def bracket(self, scope: Scope) -> Expr:
        whole = spatial(scope)
        if not whole or self.chance(0.25):
            return positive(self.leaf(scope), scope)
        i = self.pick(whole)
        others = [j for j in whole if j != i]
        if self.chance(0.5):
            right = at(self.pick(others)) if others and self.chance(0.8) else Affine((), self.below(width(i)))
            if self.chance(0.3):
                terms = tuple((j, self.pick([1, 2])) for j in right.indices)
                right = Affine(terms, right.offset + self.pick([0, 1, -1]))
            return Same(at(i), right)
        return self.within(scope, i)

    def within(self, scope: Scope, i: Index) -> Expr:
        others = [j for j in scope if j.extent != N and j != i]
        terms: tuple[tuple[Index, int], ...] = ((i, self.pick([1, 1, 2])),)
        if others and self.chance(0.4):
            terms += ((self.pick(others), self.pick([1, -1])),)
        return Within(Affine(terms, self.pick([0, -1, 1, -1])), self.extent() + 1)

    def fits(self, scope: Scope) -> bool:
        return math.prod(width(i) for i in scope) <= GRID

    def inner(self, scope: Scope, count: int, sample: bool = False) -> tuple[tuple[Index, ...], Scope]:
        """Indices to reduce over, and what is in scope under them."""
        for _ in range(6):
            new: list[Index] = []
            for n in range(count):
                extent = N if sample and not n else self.common_extent()
                hidden = tuple(i for i in scope if i.extent == N or i.name not in {j.name for j in new})
                candidate = self.index((*hidden, *new), extent)
                if candidate.name in {j.name for j in new}:
                    taken = {j.name for j in (*scope, *new)}
                    candidate = Index(next(x for x in PLAIN_INDICES if x not in taken), extent)
                new.append(candidate)
            names = {j.name for j in new}
            inside = (*(i for i in scope if i.name not in names), *new)
            if self.fits(inside):
                return tuple(new), inside
        raise StuckError

    def reduce(self, kind: Any, scope: Scope, depth: int, count: int = 0, sample: bool | None = None) -> Expr:
        if sample is None:
            sample = bool(self.sampled and kind != "argmax" and self.chance(0.12))
        try:
            new, inside = self.inner(scope, count or self.weighted({1: 4, 2: 1}), sample)
        except StuckError:
            return self.leaf(scope)
        body = self.expr(inside, depth)
        for i in new:
            if i not in free(body) and not self.chance(0.05):
                try:
                    other = self.read(inside, [i])
                except StuckError:
                    continue
                body = self.product([other, body]) if self.chance(0.7) else Add(((True, body), (True, other)))
        return Reduce(kind, new, body)
