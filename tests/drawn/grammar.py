"""Programs drawn from the whole grammar: `program(seed)` is the same on every machine.

Well formed by construction. Spans (the least and the greatest value that an expression can have) keep numbers moderate
and what stands under a root or in a logarithm positive. Each program wants a few features (`features.py`) and is given
an ingredient for each, so that every pair of them occurs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from tests.drawn.language import (
    TARGET,
    Add,
    Affine,
    Apply,
    Divide,
    Equation,
    Expr,
    Form,
    Given,
    Index,
    Kind,
    Minus,
    Multiply,
    N,
    Number,
    Positive,
    Power,
    Program,
    Read,
    Reduce,
    Same,
    Within,
    at,
    free,
    parts,
    places,
    put,
    reads,
)

T = TypeVar("T")
Scope = tuple[Index, ...]
Span = tuple[float, float]
SAMPLES = 4  # as many as spans reckon with
GRID = 150  # the most positions that the indices in a scope may have together
LIMIT = 6.0  # the largest value of a tensor

ONE_PLACE = ("exp", "expm1", "log", "sigmoid", "tanh", "softplus", "erfc", "step", "relu", "sign", "abs")
TWO_PLACE = ("max", "min")

PLAIN_TENSORS = [*"ABCEHQRUVWabcfghqrsvwz"]
NUMBERED_TENSORS = [
    "x1", "x2", "y1", "y2", "w1", "w2", "w11", "h1", "h2", "z10", "t0", "t1", "W1", "b1", "e1", "y12", "x_1", "use1",
    "k1",
]  # fmt: skip
OURS = [
    "δy", "δx", "δ", "loss", "sample_loss", "argmax", "argmax_y", "target", "input", "output", "weight", "prediction",
    "logsumexp", "y_argmax", "share", "residue", "use2", "y_1", "dy", "dx", "dW", "N1", "K", "L", "pad1", "onehot", "J",
    "delta", "sigmoid", "rate", "y·flat", "x·use1", "np", "i", "k", "n", "out", "state",
]  # fmt: skip
DOTTED = ("y.argmax", "x.use1", "loss.argmax", "δx.use1")  # where they are declared
PLAIN_INDICES = ["i", "j", "k", "l", "p", "q", "c", "d", "o", "s", "h", "v"]
NUMBERED_INDICES = ["i", "i1", "i2", "i3", "k", "k1", "k2", "j", "j1", "j2", "n1", "m1", "p1", "i10"]


def positive(of: Expr, scope: Iterable[Index]) -> Positive:
    """[a > 0]. Of a tensor without axes that is called like an index, [n > 0] would be about the index."""
    hidden = isinstance(of, Read) and not of.subscripts and of.name in {"n", "m", *(i.name for i in scope)}
    return Positive(Apply("tanh", (of,)) if hidden else of)


def width(i: Index) -> int:
    return SAMPLES if i.extent == N else int(i.extent)


def named(name: str, *subscripts: Index | Affine) -> Read:
    return Read(name, tuple(at(s) if isinstance(s, Index) else s for s in subscripts))


class StuckError(Exception):
    """What was wanted cannot be had in this scope."""


class Maker:
    def __init__(self, seed: int) -> None:
        self.seed, self._random = seed, random.Random(seed).random
        self.given: dict[str, Given] = {}
        self.defined: dict[str, tuple[int | str, ...]] = {}
        self.spans: dict[str, Span] = {}
        self.equations: list[Equation] = []
        self.left = 0
        self.unread: list[str] = []
        self.form: Form = "layer" if self.chance(0.6) else "text"
        self.sampled = self.form == "layer" or self.chance(0.6)
        self.inputs = self.weighted({1: 5, 2: 3, 3: 2})
        self.only: tuple[str, ...] | None = None
        self.reserved: set[str] = set()
        tensors, indices = [*PLAIN_TENSORS], [*PLAIN_INDICES]
        if self.chance(0.3):
            tensors = NUMBERED_TENSORS + (tensors[:4] if self.chance(0.5) else [])
        if self.chance(0.3):
            tensors = self.shuffled(OURS)[:9] + tensors[: 6 if len(tensors) > 10 else 3] + NUMBERED_TENSORS[:3]
        if self.chance(0.35):
            indices = NUMBERED_INDICES + self.shuffled(indices)[:2]
        self.tensor_names, self.index_names = self.shuffled(tensors), indices
        self.reused = self.chance(0.3)

    # Chance, from `random` alone, which is the same in every version of Python

    def chance(self, p: float) -> bool:
        return self._random() < p

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def weighted(self, weights: dict[T, float]) -> T:
        place = self._random() * sum(weights.values())
        for option, weight in weights.items():
            place -= weight
            if place < 0:
                return option
        return next(reversed(weights))

    def shuffled(self, options: Iterable[T]) -> list[T]:
        rest, result = list(options), list[T]()
        while rest:
            result.append(rest.pop(int(self._random() * len(rest))))
        return result

    def extent(self) -> int:
        return self.weighted({1: 1, 2: 4, 3: 4, 4: 1.5, 5: 0.5})

    # Spans

    def span(self, node: Expr) -> Span:
        match node:
            case Number(value, _):
                number = math.pi if value == "pi" else float(value)
                return number, number
            case Read(name, _, pad):
                low, high = self.spans[name]
                return (low, high) if pad is None or pad == "-inf" else (min(low, float(pad)), max(high, float(pad)))
            case Add(terms):
                ends = [(self.span(t) if plus else _minus(self.span(t))) for plus, t in terms]
                return sum(e[0] for e in ends), sum(e[1] for e in ends)
            case Multiply(factors):
                result: Span = (1.0, 1.0)
                for f in factors:
                    result = _product(result, self.span(f))
                return result
            case Divide(above, below):
                low, high = self.span(below)
                return _product(self.span(above), (1 / high, 1 / low) if low > 0 else (-1e9, 1e9))
            case Minus(of):
                return _minus(self.span(of))
            case Power(base, exponent):
                low, high = self.span(base)
                if exponent < 0 or exponent.denominator > 1:
                    ends = sorted((max(low, 1e-9) ** float(exponent), max(high, 1e-9) ** float(exponent)))
                    return ends[0], ends[1]
                n = int(exponent)
                ends = sorted((low**n, high**n))
                return (0.0 if n % 2 == 0 and low < 0 < high else ends[0]), ends[1]
            case Apply(function, arguments):
                return _applied(function, [self.span(a) for a in arguments])
            case Reduce(kind, indices, body):
                low, high = self.span(body)
                count = math.prod(width(i) for i in indices)
                if kind == "sum":
                    return min(low * count, low), max(high * count, high)
                return (low, high + math.log(count)) if kind == "logsumexp" else (low, high)
            case _:
                return 0.0, 1.0

    def tame(self, node: Expr, limit: float) -> Expr:
        """The same, or something of it that is no larger than this."""
        size = max(map(abs, self.span(node)))
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
        low, high = self.span(node)
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

    # Names

    def tensor(self, *wishes: str) -> str:
        free_names = [n for n in (*wishes, *self.tensor_names, *PLAIN_TENSORS, *NUMBERED_TENSORS) if not self.taken(n)]
        self.reserved.add(free_names[0])
        return free_names[0]

    def taken(self, name: str) -> bool:
        # The inputs of a layer are called x, or x1, x2, …
        inputs = {"x"} if self.inputs == 1 else {f"x{i + 1}" for i in range(self.inputs)}
        return name in self.reserved or (self.form == "layer" and name in inputs)

    def index(self, scope: Scope, extent: int | str | None = None) -> Index:
        used = {i.name for i in scope}
        if extent == N:
            return Index(next(n for n in ("n", "m", "m1", "n2", "s") if n not in used), N)
        names = [n for n in self.index_names if n not in used]
        if used and self.reused and self.chance(0.2):
            names = sorted(used - {"n", "m"}) or names
        return Index(self.pick(names) if self.chance(0.4) else names[0], extent or self.extent())

    def common_extent(self) -> int:
        known = [e for shape in self.shapes().values() for e in shape if isinstance(e, int)]
        return self.pick(known) if known and self.chance(0.6) else self.extent()

    # Tensors

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Of the real tensors that may be read."""
        given = {g.name: g.shape for g in self.given.values() if g.kind in ("input", "parameter")}
        return {n: s for n, s in {**given, **self.defined}.items() if n in (self.only or (n,)) and n in self.spans}

    def give(self, kind: Kind, shape: tuple[int | str, ...], *, positive: bool = False, tops: tuple[int, ...] = (),
             name: str = "") -> str:
        if not name and kind in ("input", "id") and self.form == "layer":
            count = sum(g.kind in ("input", "id") for g in self.given.values())
            name = "x" if self.inputs == 1 else f"x{count + 1}"
        dotted = [n for n in DOTTED if self.form == "text" and self.chance(0.08) and not self.taken(n)]
        name = name or self.tensor(*(("x",) if kind == "input" and self.chance(0.6) else dotted))
        self.reserved.add(name)
        self.given[name] = Given(name, shape, kind, positive, tops)
        self.spans[name] = (0.5, 2.0) if positive else (0.0, 1.0) if kind == "random" else (-2.0, 2.0)
        return name

    @property
    def inputs_left(self) -> int:
        return 0 if self.only else self.inputs - sum(g.kind in ("input", "id") for g in self.given.values())

    def read(self, scope: Scope, need: Sequence[Index] = (), fresh: float = 0.4) -> Expr:
        """A component of some tensor; its subscripts hold all of `need`."""
        shapes = self.shapes()
        names = self.shuffled(shapes)
        unread = [n for n in self.unread if n in shapes]
        if unread and self.chance(0.7):
            names = [self.pick(unread), *names]
        if not self.chance(fresh):
            for name in names[:4]:
                if (found := self.fit(name, shapes[name], scope, need)) is not None:
                    return found
        made = self.new(scope, need)
        if made is not None:
            return made
        for name in names * 3:
            if (found := self.fit(name, shapes[name], scope, need, always=True)) is not None:
                return found
        if need:
            raise StuckError
        return self.number()

    def fit(
        self, name: str, shape: tuple[int | str, ...], scope: Scope, need: Sequence[Index], always: bool = False
    ) -> Read | None:
        """A read of this tensor in this scope."""
        missing, padded = list(need), False
        subscripts: list[Affine] = []
        for axis, extent in enumerate(shape):
            rest = len(shape) - axis
            plain = [i for i in scope if i.extent == extent]
            wanted = [i for i in plain if i in missing]
            if extent == N:
                if not plain:
                    return None
                subscripts.append(at(self.pick(wanted or plain)))
            elif plain and (self.chance(0.72) or (wanted and rest <= len(missing))):
                subscripts.append(at(self.pick(wanted if wanted and self.chance(0.8) else plain)))
            else:
                assert isinstance(extent, int)
                others = [i for i in missing if i.extent != N]
                subscript = self.affine(extent, scope, others[:1], self.chance(0.4 if not always else 0.7))
                # A plain subscript reads the whole of an axis, unless it is padded.
                padded = padded or not _inside(subscript, extent) or subscript.plain is not None
                subscripts.append(subscript)
            missing = [i for i in missing if i not in subscripts[-1].indices]
        if missing:
            return None
        pad = self.padding(name) if padded or (shape and self.chance(0.03)) else None
        return Read(name, tuple(subscripts), pad)

    def padding(self, name: str) -> Fraction:
        if self.spans[name][0] > 0:
            return self.pick([Fraction(1), Fraction(1, 2), Fraction(3, 2)])
        if self.chance(0.65):
            return Fraction(0)
        return self.pick([Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(2, 3)])

    def affine(self, extent: int, scope: Scope, need: Sequence[Index], free_to_leave: bool) -> Affine:
        """A subscript of an axis of this extent: inside of it where that can be, unless it is free to leave."""
        indices = [i for i in scope if i.extent != N]
        if not indices or (not need and self.chance(0.15)):
            return Affine((), int(self._random() * extent))
        chosen = [*need] or [self.pick(indices)]
        others = [i for i in indices if i not in chosen]
        if others and self.chance(0.4):
            chosen.append(self.pick(others))
        terms = tuple((i, self.weighted({1: 5, 2: 3, 3: 1, -1: 1.2, -2: 0.3})) for i in chosen)
        for attempt in (terms, tuple((i, 1) for i, _ in terms), terms[:1], ((terms[0][0], 1),)):
            low, high = Affine(attempt).bounds
            slack = extent - 1 - (high - low)
            if slack >= 0:
                shift = int(self._random() * (slack + 1)) - low
                return Affine(attempt, shift + (self.pick([-1, 1, 2]) if free_to_leave and self.chance(0.4) else 0))
            if free_to_leave and self.chance(0.6):
                return Affine(attempt, -low + self.pick([0, -1, 1, -2, 0]))
        low, _ = Affine(terms).bounds
        return Affine(terms, -low + self.pick([0, -1, 1]))

    def new(self, scope: Scope, need: Sequence[Index] = (), kind: Kind | None = None) -> Read | None:
        """A read of a tensor that is made for it."""
        samples = [i for i in scope if i.extent == N]
        sample = next((i for i in need if i.extent == N), None) or (self.pick(samples) if samples else None)
        count = sum(g.kind == "parameter" for g in self.given.values())
        if kind is None:
            can = self.inputs_left > 0 and (sample is not None or not self.sampled)
            if self.only or (not can and count >= 4) or (count >= 4 and self.chance(0.7)):
                return None
            kind = "input" if can and (not self.shapes() or self.chance(0.55)) else "parameter"
        if kind == "parameter" and (self.only or count >= 5 or any(i.extent == N for i in need)):
            return None
        if kind == "input" and (not self.inputs_left or (self.sampled and sample is None)):
            return None
        whole = [i for i in scope if i.extent != N and i not in need]
        chosen = [i for i in need if i.extent != N]
        chosen += self.shuffled(whole)[: self.weighted({0: 2, 1: 5, 2: 2})]
        if kind == "input" and not chosen and whole:
            chosen = [self.pick(whole)]
        chosen = self.shuffled(chosen)[:3]
        if not set(chosen) >= {i for i in need if i.extent != N}:
            return None
        subscripts: list[Affine] = []
        shape: list[int | str] = []
        if kind == "input" and self.sampled:
            assert sample
            subscripts, shape = [at(sample)], [N]
        for i in chosen:
            if self.chance(0.8):
                subscripts.append(at(i))
                shape.append(width(i))
            else:
                s = self.affine(0, (i, *whole), [i], True)
                low, high = s.bounds
                s = _shifted(s, -low)
                subscripts.append(s)
                shape.append(high - low + 1 + (0 if s.plain else self.weighted({0: 3, 1: 1})))
        if kind == "input" and len(shape) == 1 and self.sampled:
            subscripts.append(Affine((), 0))
            shape.append(self.extent())
        if any(isinstance(e, int) and e > 9 for e in shape):
            return None
        name = self.give(kind, tuple(shape), positive=self.chance(0.15))
        return Read(name, tuple(subscripts))

    # Expressions

    def number(self) -> Number:
        if self.chance(0.05):
            return Number("pi")
        value = self.pick([Fraction(1, 2), Fraction(2), Fraction(1, 3), Fraction(3), Fraction(-1), Fraction(3, 4),
                           Fraction(1), Fraction(-2, 3), Fraction(1, 10), Fraction(5, 2)])
        return Number(value, self.chance(0.3))

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
                exponent = self.pick([Fraction(1, 2), Fraction(-1, 2), Fraction(1, 3), Fraction(-3, 4), Fraction(3, 2),
                                      Fraction(2, 3)])
                return Power(self.positive(inside), exponent)
            case _:
                below = self.positive(self.leaf(scope))
                if self.chance(0.7):
                    return Divide(inside, below)
                return self.product([inside, Power(below, Fraction(self.pick([-1, -1, -2])))])

    def bracket(self, scope: Scope) -> Expr:
        whole = [i for i in scope if i.extent != N]
        if not whole or self.chance(0.25):
            return positive(self.leaf(scope), scope)
        i = self.pick(whole)
        others = [j for j in whole if j != i]
        if self.chance(0.5):
            right = at(self.pick(others)) if others and self.chance(0.8) else Affine((), int(self._random() * width(i)))
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

    # Ingredients: each makes an expression that has the feature

    def window(self, scope: Scope, kind: str, stride: int, dilation: int, pad: str) -> Expr:
        """A window over an axis: its subscript is stride·i + dilation·p + offset."""
        whole = [i for i in scope if i.extent != N]
        if not whole:
            raise StuckError
        i = self.pick(whole)
        (p,), inside = self.inner(scope, 1)
        if p.extent == 1:
            p = Index(p.name, 2)
            inside = (*(j for j in inside if j.name != p.name), p)
        if i not in inside or not self.fits(inside):
            raise StuckError
        reach = stride * (width(i) - 1) + dilation * (width(p) - 1)
        source = self.new(inside, [p], "input") or self.new(inside, [p], "parameter")
        shapes = self.shapes()
        offset = 0 if pad == "none" else self.pick([0, -1, -1, 1])
        if source is None or self.chance(0.4):
            options = [
                n for n, s in shapes.items()
                if any(isinstance(e, int) and (pad != "none" or e > reach) for e in s)
                and (N not in s or any(j.extent == N for j in scope))
            ]
            if not options:
                raise StuckError
            name = self.pick(options)
        else:
            name = source.name
        shape, done = shapes.get(name) or self.given[name].shape, False
        subscripts: list[Affine] = []
        for extent in shape:
            if extent == N:
                subscripts.append(at(self.pick([j for j in inside if j.extent == N])))
            elif not done and isinstance(extent, int) and (pad != "none" or extent > reach):
                subscripts.append(Affine(((i, stride), (p, dilation)), offset))
                done = True
            else:
                plain = [j for j in inside if j.extent == extent]
                subscripts.append(at(self.pick(plain)) if plain else Affine((), int(self._random() * int(extent))))
        if not done:
            raise StuckError
        value: Any = {"none": None, "zero": Fraction(0), "number": self.padding(name), "-inf": "-inf"}[pad]
        if pad == "number" and value == 0:
            value = Fraction(1, 2)
        read = Read(name, tuple(subscripts), value)
        if pad == "-inf":
            extents = dict(zip(subscripts, shape, strict=True))
            s = next(s for s in subscripts if p in s.indices)
            if not all(any(0 <= stride * a + dilation * b + offset < int(extents[s]) for b in range(width(p)))
                       for a in range(width(i))):
                raise StuckError
            return Reduce("max", (p,), read)
        if kind == "max":
            return Reduce("max", (p,), read)
        weight = self.read(inside, [p]) if self.chance(0.7) else None
        return Reduce("mean" if kind == "mean" else "sum", (p,), self.product([weight, read]) if weight else read)

    def ingredient(self, feature: str, scope: Scope) -> Expr:
        depth = self.weighted({0: 2, 1: 3, 2: 1})
        if feature in ONE_PLACE or feature in TWO_PLACE:
            return self.apply(feature, scope, depth)
        match feature:
            case "sum" | "mean" | "logsumexp":
                return self.reduce(feature, scope, depth)
            case "maximum":
                return self.reduce("max", scope, depth)
            case "maximum over several indices":
                return self.reduce("max", scope, depth, 2)
            case "nested reductions":
                new, inside = self.inner(scope, 1)
                if self.chance(0.35):
                    body = self.ingredient(feature, inside)
                else:
                    body = self.reduce(self.weighted({"sum": 4, "max": 1, "logsumexp": 1, "mean": 1}), inside, depth)
                if new[0] not in free(body) and not self.chance(0.1):
                    body = self.product([self.read(inside, new), body])
                if self.chance(0.4):
                    body = Apply(self.pick(["tanh", "sigmoid", "softplus"]), (body,))
                return Reduce(self.weighted({"sum": 4, "max": 1, "logsumexp": 1, "mean": 1}), new, body)
            case "product of sums":
                sums = [self.reduce("sum", scope, depth - 1) for _ in range(2)]
                return Power(self.tame(sums[0], 4), Fraction(2)) if self.chance(0.25) else self.product(sums)
            case "rational power":
                return self.power("root", scope, depth)
            case "division":
                return self.power("divide", scope, depth)
            case "[i == j]":
                whole = self.shuffled([i for i in scope if i.extent != N])
                if len(whole) < 2:
                    (j,), inside = self.inner(scope, 1)
                    whole = [i for i in inside if i.extent != N and i != j]
                    right = at(self.pick(whole)) if whole else Affine((), 0)
                    return Reduce("sum", (j,), self.product([Same(at(j), right), self.read(inside, [j])]))
                right = Affine(((whole[1], self.pick([1, 1, 2])),), self.pick([0, 0, 1, -1]))
                bracket = Same(at(whole[0]), right)
                return bracket if self.chance(0.25) else self.product([bracket, self.expr(scope, depth)])
            case "[v == id]":
                return self.table(scope)
            case "several id columns":
                return Add(((True, self.table(scope, several=True)), (True, self.table(scope, several=True))))
            case "[0 <= i < e]":
                whole = [i for i in scope if i.extent != N]
                if not whole:
                    raise StuckError
                return self.product([self.within(scope, self.pick(whole)), self.expr(scope, depth)])
            case "[x > 0]":
                return self.product([positive(self.expr(scope, depth), scope), self.leaf(scope)])
            case "pad 0":
                return self.window(scope, self.pick(["sum", "mean", "max"]), 1, 1, "zero")
            case "pad with a number":
                return self.window(scope, self.pick(["sum", "max"]), self.pick([1, 2]), 1, "number")
            case "pad -inf":
                return self.window(scope, "max", self.pick([1, 1, 2]), 1, "-inf")
            case "stride":
                return self.window(scope, self.pick(["sum", "max", "mean"]), self.pick([2, 2, 3]), self.pick([1, 1, 2]),
                                   self.pick(["none", "zero", "zero"]))
            case "dilation":
                stride, dilation = self.pick([1, 1, 2]), self.pick([2, 3])
                return self.window(scope, "sum", stride, dilation, self.pick(["none", "zero", "zero"]))
            case "reversed":
                whole = [i for i in scope if i.extent != N]
                if not whole:
                    raise StuckError
                i = self.pick(whole)
                made = self.new(scope, [i])
                if made is None:
                    made = self.read(scope, [i], fresh=0)
                if not isinstance(made, Read) or all(s.plain != i for s in made.subscripts):
                    raise StuckError
                back = Affine(((i, -1),), width(i) - 1)
                turned = tuple(back if s.plain == i else s for s in made.subscripts)
                return self.product([replace(made, subscripts=turned), self.leaf(scope)])
            case "several reads of one tensor":
                whole = [i for i in scope if i.extent != N]
                if not whole:
                    raise StuckError
                first = self.read(scope, [self.pick(whole)])
                shape = self.shapes().get(first.name) if isinstance(first, Read) else None
                if shape is None or not isinstance(first, Read):
                    raise StuckError
                for _ in range(8):
                    other = self.fit(first.name, shape, scope, [])
                    if other is not None and other.subscripts != first.subscripts:
                        both = (first, other)
                        return self.product(both) if self.chance(0.5) else Add(((True, first), (False, other)))
                raise StuckError
            case "strides side by side":
                return self.strides(scope)
            case "body lacks an index":
                new, inside = self.inner(scope, 1)
                body = self.expr(scope, depth)
                if new[0].name in {i.name for i in free(body)}:
                    raise StuckError
                return Reduce(self.weighted({"sum": 2, "max": 2, "logsumexp": 1, "mean": 1}), new, body)
            case "diagonal":
                whole = [i for i in scope if i.extent != N]
                if not whole:
                    raise StuckError
                i = self.pick(whole)
                if sum(g.kind == "parameter" for g in self.given.values()) >= 6:
                    raise StuckError
                name = self.give("parameter", (width(i), width(i)))
                return self.product([named(name, i, i), self.leaf(scope)])
            case "hidden index":
                whole = [i for i in scope if i.extent != N]
                if not whole:
                    raise StuckError
                i = Index(self.pick(whole).name, self.common_extent())
                inside = (*(j for j in scope if j.name != i.name), i)
                if not self.fits(inside):
                    raise StuckError
                body = self.product([self.read(inside, [i]), self.expr(inside, depth)])
                return Reduce(self.weighted({"sum": 4, "max": 1, "logsumexp": 1}), (i,), body)
            case "second sample index":
                kind = self.weighted({"mean": 4, "sum": 1, "max": 1, "logsumexp": 1})
                return self.reduce(kind, scope, depth, 1, True)
            case "parameter":
                return self.new(scope, kind="parameter") or self.leaf(scope)
            case "state":
                return self.state(scope)
            case "random":
                n = next((i for i in scope if i.extent == N), None)
                whole = [i for i in scope if i.extent != N]
                if n is None or self.form != "layer":
                    raise StuckError
                chosen = (n, *self.shuffled(whole)[:2])
                name = self.give("random", tuple(i.extent for i in chosen))
                return self.product([named(name, *chosen), self.expr(scope, depth)])
            case "argmax":
                return self.argmax(scope)
            case "lone bracket":
                return self.bracket(scope)
            case _:
                return self.expr(scope, depth)

    def strides(self, scope: Scope) -> Expr:
        """Reads of one axis at s·i + j and at other places of the same stride, or of none."""
        whole = self.shuffled([i for i in scope if i.extent != N])
        if not whole:
            raise StuckError
        i, stride = whole[0], self.pick([2, 2, 3])
        inside, bound = scope, None
        if len(whole) > 1 and self.chance(0.6):
            j = whole[1]
        else:
            (bound,), inside = self.inner(scope, 1)
            j = bound
            if i not in inside:
                raise StuckError
        first = Affine(((i, stride), (j, 1)), self.pick([0, 0, 1]))
        extent = first.bounds[1] + 1 + self.weighted({0: 3, 1: 1})
        sample = next((n for n in scope if n.extent == N), None)
        lead: tuple[Index, ...] = (sample,) if sample and self.inputs_left else ()
        name = self.give("input" if lead else "parameter", (*(n.extent for n in lead), extent))
        more = [j for j in whole if j != i]
        choices = [
            Affine(((i, stride),), self.pick([0, 0, 1])), Affine(((i, 1),), self.pick([0, 1])), Affine((), 0),
            Affine(((i, stride), (self.pick(more), 1)) if more else ((i, stride),), self.pick([0, 0, 1])),
            Affine(((i, self.pick([1, 2, 3])),), -1),
        ]

        def read(s: Affine) -> Expr:
            whole_axis = _inside(s, extent) and (s.plain is None or s.plain.extent == extent)
            return Read(name, (*map(at, lead), s), None if whole_axis else self.padding(name))

        one: Expr = read(first)
        if bound is not None:
            one = Reduce(self.pick(["mean", "sum", "max", "logsumexp"]), (bound,), one)
        if self.chance(0.3):
            one = Apply(self.pick(["tanh", "sigmoid", "exp"]), (self.tame(one, 2),))
        others = [read(self.pick(choices)) for _ in range(self.pick([1, 1, 2]))]
        if self.chance(0.5):
            return self.product([one, *others])
        return Add(((True, one), *((self.chance(0.5), o) for o in others)))

    def table(self, scope: Scope, several: bool = False) -> Expr:
        """A row of a table, by a whole number that is given."""
        n = next((i for i in scope if i.extent == N), None)
        whole = [i for i in scope if i.extent != N]
        if self.sampled and n is None:
            raise StuckError
        first: tuple[Index, ...] = (n,) if n else ()
        known = [g for g in self.given.values() if g.kind == "id" and len(g.shape) == len(first) + 1]
        if not known and not self.inputs_left:
            raise StuckError
        if known and (several or self.chance(0.4) or not self.inputs_left):
            given = self.pick(known)
        else:
            columns = 2 if several else self.pick([width(i) for i in whole] or [1])
            tops = self.shuffled([2, 3, 4])[:columns] if several else [self.extent() + 1]
            given = self.given[self.give("id", (*(i.extent for i in first), columns), tops=tuple(tops))]
        last = int(given.shape[-1])
        plain = [i for i in whole if i.extent == last]
        if len(given.tops) > 1 or not plain or self.chance(0.2):
            column = int(self._random() * last)
            top, subscript = given.tops[column % len(given.tops)], Affine((), column)
        else:
            top, subscript = next(iter(given.tops)), at(self.pick(plain))
        bracket = lambda v: Same(at(v), Read(given.name, (*map(at, first), subscript)))  # noqa: E731
        v = self.index(scope, top)
        if v in scope:
            raise StuckError
        if self.chance(0.15) and (i := next((i for i in whole if i.extent == top), None)):
            return self.product([bracket(i), self.leaf(scope)])
        inside = (*(i for i in scope if i.name != v.name), v)
        if not self.fits(inside) or (set(first) | set(subscript.indices)) - set(inside):
            raise StuckError
        row = self.read(inside, [v], fresh=0.8)
        return Reduce("sum", (v,), Multiply((bracket(v), row) if self.chance(0.7) else (row, bracket(v))))

    def state(self, scope: Scope) -> Expr:
        if self.form != "layer":
            raise StuckError
        whole = [i for i in scope if i.extent != N]
        chosen = self.shuffled(whole)[: self.pick([0, 1, 1, 1, 2])]
        name = self.give("state", tuple(i.extent for i in chosen))
        following = self.tensor(f"{name}_next", f"{name}1")
        self.given[name] = replace(self.given[name], next=following)
        self.pending.append((name, following, tuple(chosen)))
        read = named(name, *chosen)
        return self.pick([self.product([read, self.leaf(scope)]), Add(((True, self.leaf(scope)), (False, read)))])

    def argmax(self, scope: Scope) -> Expr:
        """A row chosen by where the greatest entry is, an equation of its own."""
        known = [n for n, s in self.integers.items() if all(any(i.extent == e for i in scope) for e in s[:-1])]
        if not known:
            raise StuckError
        name = self.pick(known)
        *shape, top = self.integers[name]
        subscripts = tuple(at(self.pick([i for i in scope if i.extent == e])) for e in shape)
        v = self.index(scope, top)
        inside = (*(i for i in scope if i.name != v.name), v)
        if not self.fits(inside) or {i for s in subscripts for i in s.indices} - set(inside):
            raise StuckError
        return Reduce("sum", (v,), self.product([Same(at(v), Read(name, subscripts)), self.read(inside, [v])]))

    # Equations

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
        self.left = budget
        terms: list[Expr] = []
        for feature in [*wants]:
            for _ in range(3):
                try:
                    terms.append(self.ingredient(feature, scope))
                except StuckError:
                    continue
                wants.remove(feature)
                break
        if not terms or self.chance(0.45):
            terms.append(self.expr(scope, self.weighted({1: 2, 2: 3, 3: 1.5})))
        terms = self.shuffled(terms)
        while len(terms) > 1:
            one, other = terms.pop(), terms.pop()
            if self.chance(0.3):
                both = self.product([one, other])
            elif self.chance(0.15):
                both = Multiply((Apply(self.pick(["tanh", "sigmoid", "softplus"]), (one,)), self.tame(other, 12)))
            else:
                both = Add(((True, self.tame(one, 20)), (self.chance(0.7), self.tame(other, 20))))
            terms.append(both)
        return self.tame(terms[0], LIMIT)

    def define(self, scope: Scope, wants: list[str], budget: int, name: str, split: str, radix: bool) -> None:
        """One equation, or the pieces of one."""
        whole = [i for i in scope if i.extent != N]
        pieces: list[tuple[Scope, dict[Index, Affine]]] = [(scope, {i: at(i) for i in scope})]
        if split and whole:
            i = self.pick(whole)
            if split == "residues":
                step = self.pick([2, 2, 3])
                pieces = [(scope, {**pieces[0][1], i: Affine(((i, step),), r)}) for r in range(step)]
            else:
                first = tuple(j for j in scope if j != i)
                pieces = [(first, {**{j: at(j) for j in first}, i: Affine()}),
                          (scope, {**pieces[0][1], i: Affine(((i, 1),), 1)})]
        made: list[Equation] = []
        for own, place in pieces:
            subscripts = [place[i] for i in scope]
            plain = [n for n, i in enumerate(own) if i.extent != N]
            if radix and len(plain) >= 2 and not split:
                a, b = self.shuffled(plain)[:2]
                one, other = own[a], own[b]
                subscripts[min(a, b)] = Affine(((one, width(other)), (other, 1)))
                del subscripts[max(a, b)]
            value = self.value(own, wants, budget if len(pieces) == 1 else budget // 2)
            made.append(Equation(name, tuple(subscripts), value))
        spans = [self.span(e.value) for e in made]
        self.equations += made
        self.defined[name] = Program(0, self.form, tuple(self.given.values()), tuple(made)).shapes[name]
        self.spans[name] = min(s[0] for s in spans), max(s[1] for s in spans)
        seen = {r.name for e in made for r in reads(e.value)}
        self.unread = [n for n in (*self.unread, name) if n not in seen]

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
        self.pending: list[tuple[str, str, Scope]] = []
        self.integers: dict[str, tuple[int | str, ...]] = {}
        count = self.weighted({1: 3.5, 2: 3, 3: 2, 4: 1.5})
        structural = {"mixed radix on the left", "pieces", "several equations", "three equations"}
        asked = [w for w in wants if w in structural]
        wants = [w for w in wants if w not in structural]
        if "three equations" in asked:
            count = max(count, 3)
        elif asked and "several equations" in asked:
            count = max(count, 2)
        split = self.pick(["residues", "blocks"]) if "pieces" in asked or self.chance(0.04) else ""
        radix = "mixed radix on the left" in asked or self.chance(0.04)
        where = int(self._random() * count), int(self._random() * count)
        if {"state", "random"} & set(wants) and self.form == "text":
            self.form, self.sampled = "layer", True
        if {"several id columns", "[v == id]", "second sample index"} & set(wants):
            self.sampled = True
        if "several inputs" in wants:
            wants.remove("several inputs")
            self.inputs = max(self.inputs, 2)
        if {"several id columns", "[v == id]"} & set(wants):
            self.inputs = max(self.inputs, 2)
        budget = self.weighted({2: 2, 4: 3, 7: 2})
        for n in range(count):
            last = n == count - 1
            if "argmax" in wants and not self.integers:
                self.integer()
            scope = self.left_indices(last)
            if (n in where and radix) or (n in where and split) or (last and "[i == j]" in wants):
                while len([i for i in scope if i.extent != N]) < 2 and len(scope) < 4:
                    names = {i.name for i in scope}
                    scope += (Index(next(x for x in PLAIN_INDICES if x not in names), self.pick([2, 3])),)
            own = wants if last else [w for w in wants if self.chance(0.5)]
            rest = [w for w in wants if w not in own]
            self.define(
                scope, own, budget, self.tensor(*(["y"] if last else [])), split if n == where[0] else "",
                radix and n == where[1],
            )
            wants = own + rest
            for name, following, indices in self.pending:
                self.next_state(name, following, indices)
            self.pending = []
        return self.whole()

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
        value = Add(((True, Multiply((Number(Fraction(9, 10)), named(name, *indices)))),
                     (True, Multiply((Number(Fraction(1, 10)), mean)))))
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

    def loss(self, shape: tuple[int | str, ...]) -> tuple[Equation, str]:
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


def _minus(span: Span) -> Span:
    return -span[1], -span[0]


def _product(one: Span, other: Span) -> Span:
    ends = [a * b for a in one for b in other]
    return min(ends), max(ends)


def _exp(x: float) -> float:
    return math.exp(min(x, 60))


_MONOTONE: dict[str, Callable[[float], float]] = {
    "exp": _exp, "expm1": lambda x: _exp(x) - 1, "log": lambda x: math.log(max(x, 1e-9)),
    "sigmoid": lambda x: 1 / (1 + _exp(-x)), "tanh": math.tanh, "relu": lambda x: max(x, 0), "erfc": math.erfc,
    "softplus": lambda x: max(x, 0) + math.log1p(_exp(-abs(x))),
}  # fmt: skip


def _applied(function: str, spans: list[Span]) -> Span:
    low, high = spans[0]
    match function:
        case "step":
            return 0.0, 1.0
        case "sign":
            return -1.0, 1.0
        case "abs":
            return (0.0 if low < 0 < high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case "max" | "min":
            choose = max if function == "max" else min
            return choose(low, spans[1][0]), choose(high, spans[1][1])
        case _:
            ends = sorted((_MONOTONE[function](low), _MONOTONE[function](high)))
            return ends[0], ends[1]


def _inside(s: Affine, extent: int) -> bool:
    low, high = s.bounds
    return low >= 0 and high < extent


def _shifted(s: Affine, by: int) -> Affine:
    return Affine(s.terms, s.offset + by)


# What a program may want: those that occur least by themselves more often.
WANTED: dict[str, float] = dict.fromkeys(
    (
        "several equations", "three equations", "sum", "nested reductions", "maximum", "maximum over several indices",
        "logsumexp", "mean", "product of sums", "rational power", "division", *ONE_PLACE, *TWO_PLACE, "[i == j]",
        "[v == id]", "several id columns", "[0 <= i < e]", "[x > 0]", "pad 0", "pad with a number", "pad -inf",
        "stride", "dilation", "reversed", "several reads of one tensor", "strides side by side",
        "body lacks an index", "diagonal", "hidden index", "second sample index", "parameter", "state", "random",
        "argmax", "lone bracket", "mixed radix on the left", "pieces", "several inputs",
    ),
    1.0,
) | {"state": 1.9, "random": 1.7, "several id columns": 1.8, "pad -inf": 1.8, "argmax": 1.6}  # fmt: skip


def program(seed: int) -> Program:
    """The program of this number."""
    maker = Maker(seed)
    wants: list[str] = []
    for _ in range(maker.weighted({2: 2, 3: 3, 4: 3, 5: 2.5})):
        wants.append(maker.weighted({w: c for w, c in WANTED.items() if w not in wants}))
    return maker.program(wants)
