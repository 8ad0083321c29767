"""The tensors of a program that is being drawn: their names, shapes and spans, and reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tests.drawn.chance import Chance
from tests.drawn.language import Affine, Apply, Equation, Expr, Form, Given, Index, Kind, N, Number, Positive, Read, at
from tests.drawn.spans import Span, width

Scope = tuple[Index, ...]
Shape = tuple[int | str, ...]

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


def spatial(scope: Scope) -> list[Index]:
    return [i for i in scope if i.extent != N]


def named(name: str, *subscripts: Index | Affine) -> Read:
    return Read(name, tuple(at(s) if isinstance(s, Index) else s for s in subscripts))


def positive(of: Expr, scope: Scope) -> Positive:
    """[a > 0]. Of a tensor without axes that is called like an index, [n > 0] would be about the index."""
    hidden = isinstance(of, Read) and not of.subscripts and of.name in {"n", "m", *(i.name for i in scope)}
    return Positive(Apply("tanh", (of,)) if hidden else of)


class StuckError(Exception):
    """What was wanted cannot be had in this scope."""


class Tensors(Chance):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.given: dict[str, Given] = {}
        self.defined: dict[str, tuple[int | str, ...]] = {}
        self.equations: list[Equation] = []
        self.spans: dict[str, Span] = {}
        self.unread: list[str] = []
        self.form: Form = "layer" if self.chance(0.6) else "text"
        self.sampled = self.form == "layer" or self.chance(0.6)
        self.inputs = self.weighted({1: 5, 2: 3, 3: 2})
        self.only: tuple[str, ...] | None = None
        self.reserved: set[str] = set()
        self.integers: dict[str, Shape] = {}  # with how many values there are, behind the shape
        self.pending: list[tuple[str, str, Scope]] = []  # states, their next values and indices
        tensors, indices = [*PLAIN_TENSORS], [*PLAIN_INDICES]
        if self.chance(0.3):
            tensors = NUMBERED_TENSORS + (tensors[:4] if self.chance(0.5) else [])
        if self.chance(0.3):
            tensors = self.shuffled(OURS)[:9] + tensors[: 6 if len(tensors) > 10 else 3] + NUMBERED_TENSORS[:3]
        if self.chance(0.35):
            indices = NUMBERED_INDICES + self.shuffled(indices)[:2]
        self.tensor_names, self.index_names = self.shuffled(tensors), indices
        self.reused = self.chance(0.3)

    # Names

    def extent(self) -> int:
        return self.weighted({1: 1, 2: 4, 3: 4, 4: 1.5, 5: 0.5})

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

    def shapes(self) -> dict[str, Shape]:
        """Of the real tensors that may be read."""
        given = {g.name: g.shape for g in self.given.values() if g.kind in ("input", "parameter")}
        return {n: s for n, s in {**given, **self.defined}.items() if n in (self.only or (n,)) and n in self.spans}

    def give(
        self, kind: Kind, shape: Shape, *, positive: bool = False, tops: tuple[int, ...] = (), name: str = ""
    ) -> str:
        if not name and kind in ("input", "id") and self.form == "layer":
            count = sum(g.kind in ("input", "id") for g in self.given.values())
            name = "x" if self.inputs == 1 else f"x{count + 1}"
        dotted = [n for n in DOTTED if self.form == "text" and self.chance(0.08) and not self.taken(n)]
        if self.form == "text" and self.chance(0.3):  # what could be taken for something of another tensor's
            known = [n for n in sorted(self.reserved) if "." not in n]
            of = [f"{n}.{word}" for n in known for word in ("use1", "use2", "argmax")]
            of += 5 * [f"δ{n}" for n, s in sorted(self.shapes().items()) if s == shape]
            free = [n for n in of if not self.taken(n)]
            dotted += [self.pick(free)] if free else []
        name = name or self.tensor(*(("x",) if kind == "input" and self.chance(0.6) else dotted))
        self.reserved.add(name)
        self.given[name] = Given(name, shape, kind, positive, tops)
        self.spans[name] = (0.5, 2.0) if positive else (0.0, 1.0) if kind == "random" else (-2.0, 2.0)
        return name

    @property
    def inputs_left(self) -> int:
        return 0 if self.only else self.inputs - sum(g.kind in ("input", "id") for g in self.given.values())

    # Reads

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

    def fit(self, name: str, shape: Shape, scope: Scope, need: Sequence[Index], always: bool = False) -> Read | None:
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
                padded = padded or not inside_axis(subscript, extent) or subscript.plain is not None
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
        indices = spatial(scope)
        if not indices or (not need and self.chance(0.15)):
            return Affine((), self.below(extent))
        chosen = [*need] or [self.pick(indices)]
        others = [i for i in indices if i not in chosen]
        if others and self.chance(0.4):
            chosen.append(self.pick(others))
        terms = tuple((i, self.weighted({1: 5, 2: 3, 3: 1, -1: 1.2, -2: 0.3})) for i in chosen)
        for attempt in (terms, tuple((i, 1) for i, _ in terms), terms[:1], ((terms[0][0], 1),)):
            low, high = Affine(attempt).bounds
            slack = extent - 1 - (high - low)
            if slack >= 0:
                shift = self.below(slack + 1) - low
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
                s = shifted(s, -low)
                subscripts.append(s)
                shape.append(high - low + 1 + (0 if s.plain else self.weighted({0: 3, 1: 1})))
        if kind == "input" and len(shape) == 1 and self.sampled:
            subscripts.append(Affine((), 0))
            shape.append(self.extent())
        if any(isinstance(e, int) and e > 9 for e in shape):
            return None
        name = self.give(kind, tuple(shape), positive=self.chance(0.15))
        return Read(name, tuple(subscripts))

    def number(self) -> Number:
        if self.chance(0.05):
            return Number("pi")
        value = self.pick(
            [
                Fraction(1, 2),
                Fraction(2),
                Fraction(1, 3),
                Fraction(3),
                Fraction(-1),
                Fraction(3, 4),
                Fraction(1),
                Fraction(-2, 3),
                Fraction(1, 10),
                Fraction(5, 2),
            ]
        )
        return Number(value, self.chance(0.3))


def inside_axis(s: Affine, extent: int) -> bool:
    low, high = s.bounds
    return low >= 0 and high < extent


def shifted(s: Affine, by: int) -> Affine:
    return Affine(s.terms, s.offset + by)
