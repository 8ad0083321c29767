"""Programs drawn from the whole grammar: `program(seed)` is the same on every machine.

Well formed by construction. Each program wants a few features (`features.py`) and is given an ingredient for each, so
that every pair of them occurs.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

from tests.drawn.expressions import ONE_PLACE, TWO_PLACE, Expressions
from tests.drawn.ingredients import INGREDIENTS, SMOOTH
from tests.drawn.language import (
    TARGET,
    Add,
    Affine,
    Apply,
    Equation,
    Expr,
    Given,
    Index,
    Multiply,
    N,
    Number,
    Power,
    Program,
    Read,
    Reduce,
    at,
    free,
    places,
    put,
    reads,
)
from tests.drawn.spans import span, width
from tests.drawn.tensors import PLAIN_INDICES, Scope, Shape, StuckError, named, spatial

LIMIT = 6.0  # the largest value of a tensor

STRUCTURAL = ("several equations", "three equations", "mixed radix on the left", "pieces")


class Maker(Expressions):
    def left_indices(self, last: bool) -> Scope:
        scope: Scope = ()
        if self.sampled and (last or self.chance(0.75)):
            scope = (Index("n", N),)
            if not last and self.chance(0.12):
                scope += (Index("m", N),)
        count = self.weighted({1: 5, 2: 3, 3: 0.7} if scope else {0: 0.7, 1: 4, 2: 3, 3: 1})
        if self.form == "layer" and last:
            count = max(1, count)
        for _ in range(min(count, 4 - len(scope))):
            new = self.index(tuple(scope), self.common_extent())
            if new.name in {i.name for i in scope}:
                new = Index(next(n for n in PLAIN_INDICES if n not in {i.name for i in scope}), new.extent)
            if self.fits((*scope, new)):
                scope += (new,)
        return scope

    def value(self, scope: Scope, wants: list[str], budget: int) -> Expr:
        """What is wanted, each where it can be had here and then struck off the list, put together."""
        self.left = budget
        terms: list[Expr] = []
        for feature in [*wants]:
            made = self.ingredient(feature, scope)
            if made is not None:
                terms.append(made)
                wants.remove(feature)
        if not terms or self.chance(0.45):
            terms.append(self.expr(scope, self.weighted({1: 2, 2: 3, 3: 1.5})))
        terms = self.shuffled(terms)
        while len(terms) > 1:
            one, other = terms.pop(), terms.pop()
            if self.chance(0.3):
                both = self.product([one, other])
            elif self.chance(0.15):
                both = Multiply((Apply(self.pick(SMOOTH), (one,)), self.tame(other, 12)))
            else:
                both = Add(((True, self.tame(one, 20)), (self.chance(0.7), self.tame(other, 20))))
            terms.append(both)
        return self.tame(terms[0], LIMIT)

    def ingredient(self, feature: str, scope: Scope) -> Expr | None:
        for _ in range(3):
            with suppress(StuckError):
                return INGREDIENTS[feature](self, scope, self.depth())
        return None

    def define(self, scope: Scope, wants: list[str], budget: int, name: str, split: str, radix: bool) -> None:
        """One equation, or the pieces of one."""
        pieces = self.pieces(scope, split)
        made: list[Equation] = []
        for own, subscripts in pieces:
            plain = [n for n, i in enumerate(own) if i.extent != N]
            if radix and len(plain) >= 2 and not split:
                a, b = self.shuffled(plain)[:2]
                one, other = own[a], own[b]
                subscripts[min(a, b)] = Affine(((one, width(other)), (other, 1)))
                del subscripts[max(a, b)]
            value = self.value(own, wants, budget if len(pieces) == 1 else budget // 2)
            made.append(Equation(name, tuple(subscripts), value))
        spans = [span(e.value, self.spans) for e in made]
        self.equations += made
        self.defined[name] = Program(0, self.form, tuple(self.given.values()), tuple(made)).shapes[name]
        self.spans[name] = min(s[0] for s in spans), max(s[1] for s in spans)
        seen = {r.name for e in made for r in reads(e.value)}
        self.unread = [n for n in (*self.unread, name) if n not in seen]

    def pieces(self, scope: Scope, split: str) -> list[tuple[Scope, list[Affine]]]:
        """(the indices of a piece, the subscripts on its left-hand side), for each."""
        whole = spatial(scope)
        if not split or not whole:
            return [(scope, [at(i) for i in scope])]
        split_at = self.pick(whole)

        def left(of: Affine) -> list[Affine]:
            return [of if i == split_at else at(i) for i in scope]

        if split == "residues":
            step = self.pick([2, 2, 3])
            return [(scope, left(Affine(((split_at, step),), r))) for r in range(step)]
        first = tuple(i for i in scope if i != split_at)
        return [(first, left(Affine())), (scope, left(Affine(((split_at, 1),), 1)))]

    def integer(self) -> None:
        """An equation a[…] = argmax[k](…)."""
        scope = self.left_indices(False)[:3]
        node = self.reduce("argmax", scope, 1, 1, False)
        if isinstance(node, Reduce) and set(node.indices) <= free(node.body):
            name = self.tensor()
            self.equations.append(Equation(name, tuple(map(at, scope)), node))
            self.defined[name] = tuple(i.extent for i in scope)
            self.integers[name] = (*(i.extent for i in scope), node.indices[0].extent)

    def program(self, wants: list[str]) -> Program:
        wants, count, split, radix = self.structure(wants)
        where = self.below(count), self.below(count)
        self.make_room(wants)
        budget = self.weighted({2: 2, 4: 3, 7: 2})
        for n in range(count):
            last = n == count - 1
            if "argmax" in wants and not self.integers:
                self.integer()
            scope = self.left_indices(last)
            if (n in where and (radix or split)) or (last and "[i == j]" in wants):
                scope = self.widened(scope)
            own = wants if last else [w for w in wants if self.chance(0.5)]
            rest = [w for w in wants if w not in own]
            name = self.tensor(*(["y"] if last else []))
            self.define(scope, own, budget, name, split if n == where[0] else "", radix and n == where[1])
            wants = own + rest
            for pending in self.pending:
                self.next_state(*pending)
            self.pending = []
        return self.whole()

    def structure(self, wants: list[str]) -> tuple[list[str], int, str, bool]:
        """(what is wanted of expressions, how many equations, in which pieces one is, whether one is mixed radix)."""
        count = self.weighted({1: 3.5, 2: 3, 3: 2, 4: 1.5})
        if "three equations" in wants:
            count = max(count, 3)
        elif {"several equations", "a value twice"} & set(wants):
            count = max(count, 2)
        split = self.pick(["residues", "blocks"]) if "pieces" in wants or self.chance(0.04) else ""
        radix = "mixed radix on the left" in wants or self.chance(0.04)
        return [w for w in wants if w not in STRUCTURAL], count, split, radix

    def make_room(self, wants: list[str]) -> None:
        """The form and the inputs that what is wanted needs."""
        if {"state", "random"} & set(wants) and self.form == "text":
            self.form, self.sampled = "layer", True
        if {"several id columns", "[v == id]", "second sample index"} & set(wants):
            self.sampled = True
        if {"several inputs", "several id columns", "[v == id]"} & set(wants):
            self.inputs = max(self.inputs, 2)
        if "several inputs" in wants:
            wants.remove("several inputs")

    def widened(self, scope: Scope) -> Scope:
        while len(spatial(scope)) < 2 and len(scope) < 4:
            names = {i.name for i in scope}
            scope += (Index(next(x for x in PLAIN_INDICES if x not in names), self.pick([2, 3])),)
        return scope

    def next_state(self, name: str, following: str, indices: Scope) -> None:
        """What a state becomes: part of it, and of a mean of the batch or of a parameter."""
        n = Index("n", N)
        self.left = 2
        inside, last = (n, *indices), self.equations[-1].name
        shape = self.defined.pop(last)  # which comes behind it
        mean = Reduce("mean", (n,), self.tame(self.expr(inside, 1), 4))
        if n not in free(mean.body):
            with suppress(StuckError):
                mean = replace(mean, body=self.read(inside, [n]))
        value = Add(
            (
                (True, Multiply((Number(Fraction(9, 10)), named(name, *indices)))),
                (True, Multiply((Number(Fraction(1, 10)), mean))),
            )
        )
        self.defined[last] = shape
        place = next(n for n, e in enumerate(self.equations) if e.name == last)
        self.equations.insert(place, Equation(following, tuple(map(at, indices)), value))

    def whole(self) -> Program:
        shape = self.defined[self.equations[-1].name]
        loss, name = None, ""
        if self.form == "layer":
            self.complete()
        read = {name for e in self.equations for name in e.names}
        given = tuple(g for g in self.given.values() if g.name in read or g.kind in ("input", "id"))
        if self.form == "layer":
            given += (Given(TARGET, shape, "target"),)
            loss, name = self.loss(shape)
        return Program(self.seed, self.form, given, tuple(self.equations), loss, name, self.chance(0.6))

    def complete(self) -> None:
        """A layer of one input calls it x; one that nothing reads may be among several."""
        count = sum(g.kind in ("input", "id") for g in self.given.values())
        used = {*self.given, *self.defined}
        if count == 1 and self.inputs > 1 and "x" not in used:
            named_x = {n: "x" if n == "x1" else n for n in self.given}
            self.given = {named_x[n]: replace(g, name=named_x[n]) for n, g in self.given.items()}
            self.equations = [_renamed(e, "x1", "x") for e in self.equations]
            return
        while count < min(self.inputs, 2):
            self.give("input", (N, 2))
            count += 1

    def loss(self, shape: Shape) -> tuple[Equation, str]:
        n = Index("n", N)
        axes = tuple(Index(name, e) for name, e in zip("ijkl", shape[1:], strict=False))
        u, t = named("u", n, *axes), named("t", n, *axes)
        square = Power(Add(((True, u), (False, t))), Fraction(2))
        kind = self.weighted({"half": 5, "mean": 2, "pairs": 1, "softmax": 1, "drawn": 1.5, "norm": 1})
        m = Index("m", N)
        match kind:
            case "half":
                each: Expr = Multiply((Number(Fraction(1, 2)), Reduce("sum", axes, square)))
            case "mean":
                each = Reduce("mean", axes, square)
            case "pairs":
                gap = Power(Add(((True, u), (False, named("u", m, *axes)))), Fraction(2))
                apart = Reduce("mean", (m,), Reduce("sum", axes, gap))
                each = Add(((True, apart), (True, Reduce("sum", axes, Multiply((u, t))))))
            case "softmax":
                each = Add(((True, Reduce("logsumexp", axes, u)), (False, Reduce("sum", axes, Multiply((t, u))))))
            case "norm":
                inside = Add(((True, Number(Fraction(1, 10))), (True, Reduce("sum", axes, square))))
                each = Power(inside, Fraction(1, 2))
            case _:
                self.only, self.left = ("u", "t"), 4
                self.defined |= {"u": shape, "t": shape}
                self.spans |= {"u": (-6, 6), "t": (-2, 2)}
                inner = self.product([self.read((n, *axes), [n]), self.expr((n, *axes), 2)])
                each = Reduce("sum", axes, Add(((True, inner), (True, Multiply((Number(Fraction(1, 4)), square))))))
        name = {"half": "half_squared_error", "mean": "mean_squared_error"}.get(kind, "")
        return Equation("loss", (), Reduce("mean", (n,), each)), name


def _renamed(e: Equation, old: str, new: str) -> Equation:
    while found := [path for path, node in places(e.value) if isinstance(node, Read) and node.name == old]:
        node = next(n for p, n in places(e.value) if p == found[0])
        assert isinstance(node, Read)
        e = replace(e, value=put(e.value, found[0], replace(node, name=new)))
    return e


# What a program may want: those that occur least by themselves more often.
WANTED: dict[str, float] = dict.fromkeys(
    (
        "several equations", "three equations", "sum", "nested reductions", "maximum", "maximum over several indices",
        "logsumexp", "mean", "product of sums", "rational power", "division", *ONE_PLACE, *TWO_PLACE, "[i == j]",
        "[v == id]", "several id columns", "[0 <= i < e]", "[x > 0]", "pad 0", "pad with a number", "pad -inf",
        "stride", "dilation", "reversed", "several reads of one tensor", "strides side by side",
        "body lacks an index", "diagonal", "hidden index", "second sample index", "parameter", "state", "random",
        "argmax", "lone bracket", "mixed radix on the left", "pieces", "several inputs", "a value twice",
        "two maxima of one tensor",
    ),
    1.0,
) | {
    "a value twice": 1.8, "state": 1.9, "random": 1.7, "several id columns": 1.8, "pad -inf": 1.8, "argmax": 1.6,
}  # fmt: skip


def program(seed: int) -> Program:
    """The program of this number."""
    maker = Maker(seed)
    wants: list[str] = []
    for _ in range(maker.weighted({2: 2, 3: 3, 4: 3, 5: 2.5})):
        wants.append(maker.weighted({w: c for w, c in WANTED.items() if w not in wants}))
    return maker.program(wants)
