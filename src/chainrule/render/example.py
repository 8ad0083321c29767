"""The worked example: a small sample pushed forward and back, the numbers under the lines that they instantiate."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from math import prod
from typing import TypeVar

from chainrule import forms
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, iterative, kind, nodes
from chainrule.render.backward import Backward
from chainrule.render.component import MINUS, OMITTED
from chainrule.render.document import Block, Cell, Figure, Heading, Inline, Paragraph, Table, Text
from chainrule.render.formula import Formula, Nabla, Part, Worked, write
from chainrule.render.lines import Detail
from chainrule.render.names import Names
from chainrule.render.pieces import Exact, Numbers, whole_in_print
from chainrule.render.sample import Place, Sample, Trial, trial
from chainrule.render.styles import UNICODE
from chainrule.render.writer import coupled
from chainrule.semantics.exact import Number, plain
from chainrule.semantics.labelled import shape_of, size

SHOWN = 16
"""Entries of a tensor up to which all are printed, if its rows have no more than BROAD, and LETTERS in print."""
BROAD, LETTERS = 5, 44
TERMS = 4
"""Terms of a sum up to which all are printed."""
LONGEST, LONG = 24, 8
"""Numbers in a line beyond which only its result is printed; where there are many lines, fewer."""
FEW = 3
"""Entries of a tensor up to which they stand beside a layer in a figure."""
ROWS = 14
"""Lines beyond which one of each kind is printed."""
DOTS = Component(OMITTED, ())
T = TypeVar("T")


class Numbered(Backward):
    """The lines of the small derivation with their numbers."""

    def __init__(self, sample: Sample, language: str, detail: Detail, drawn: Container[Tensor] = ()) -> None:
        """What is `drawn` as a whole has its numbers in a picture, and not once more."""
        super().__init__(sample.derivation, language, detail)
        self.sample, self.drawn_whole = sample, drawn
        joint = sample.derivation.joint
        named = [name.tensor for fold in sample.derivation.folds for name in fold.names]
        self.tensors = {t.name: t for t in (*joint.given, *joint.defined, *named)}
        self.single = sample.sizes[SAMPLES] == 1
        self.longest, self.tallest = LONGEST, SHOWN

    def section(self, whole: Derivation, pictures: Iterable[Figure] = ()) -> Iterable[Block]:
        """The example, with the numbers that lines have in the backward pass of the `whole` derivation, and pictures of
        them."""
        yield Heading(1, self.say("example.heading"))
        key = "own" if self.sample.own else "same" if whole is self.derivation else "cut"
        rounded = any(isinstance(plain(v), float) for own in self.sample.values.values() for v in own.values())
        yield Paragraph(self.say(f"example.{key}", rounded=self.say("example.rounded") if rounded else ()))
        yield Paragraph(self.join(self.given(), "document.semicolon"))
        yield from pictures
        header = tuple(self.say(f"example.{key}") for key in ("line", "numbers", "result"))
        yield Table(header, (*self.forward_rows(), *self.backward_rows(Backward(whole, self.language, self.detail))))
        found = trial(self.sample)
        if found is not None:
            yield Paragraph(self.tried(found))

    def tried(self, found: Trial) -> Text:
        """What a step along the gradients does to the loss, and the quotient of differences beside a gradient."""
        names = self.names if self.single else self.batch
        at = tuple(Affine((), n) for n in found.place)
        places: dict[str, Inline | Text] = {
            "loss": self.math(self.names.loss.stem, names=names), "rate": self.number(found.rate),
            "before": self.number(found.before), "after": self.number(found.after), "h": self.number(found.h),
            "old": self.math(forms.whole(found.tensor), names=names),
            "gradient": self.math(Nabla(adjoint_of(found.tensor)), names=names),
            "w": self.math(Component(found.tensor, at), names=names),
            "quotient": self.number(found.quotient), "slope": self.number(found.gradient),
        }
        return self.say("figure.step", **places)

    def number(self, value: Number) -> Formula:
        return self.math(Numbers(exact(value)))

    def given(self) -> Iterable[Text]:
        for tensor in self.derivation.joint.given:
            if not self.values(tensor) or tensor in self.running or tensor in self.drawn_whole:
                continue
            view = self.names if self.single else self.batch
            symbol: Part = forms.whole(tensor)
            if tensor in self.derivation.backward.inputs and tensor.name in self.names.adjoints:
                symbol = Nabla(tensor)
            whole = self.whole(tensor)
            if whole is None:
                kept = (e for e in tensor.shape if e != SAMPLES or not self.single)
                shape = "×".join(str(size(e, self.sample.sizes)) for e in kept)
                numbers = repeated([exact(v) for _, v in sorted(self.values(tensor).items())])
                shown = self.math(Numbers(numbers), names=view)
                key = "many" if len(numbers) == len(self.values(tensor)) else "cycle"
                yield self.say(f"example.{key}", x=self.math(symbol, names=view), shape=shape, numbers=shown)
            else:
                yield (self.math(symbol, "=", *whole, names=view),)

    # --- rows -----------------------------------------------------------------------------------

    def forward_rows(self) -> Iterable[tuple[Cell, ...]]:
        lines: list[tuple[object, Text, Sequence[Equation], Names, Part]] = []
        for equation in (e for e in self.derivation.forward.equations if e.tensor not in self.running):
            shown = (one_sample(equation) if self.single else None) or equation
            view = self.batch if coupled(equation) or not self.single else self.names
            name = kind(equation.value, equation.indices)
            lines.append((name, (), (shown,), view, forms.whole(equation.tensor)))
        return self.rows(lines)

    def backward_rows(self, whole: Backward) -> Iterable[tuple[Cell, ...]]:
        lines: list[tuple[object, Text, Sequence[Equation], Names, Part]] = []
        numbers = {row.made.name: number for number, row in whole.numbered if row.made}
        for row in (row for _, rows in self.pages() for row in rows):
            number = numbers.get(row.made.name) if row.made else None
            batch = not (self.single and row.per_sample)
            results = row.results(batch)
            if results and number is not None:
                name: object = self.derivation.number(row.use.lemma) if row.use else None
                if row.fold:
                    name = kind(results[0].value, results[0].indices)
                view = self.view(self.names, not batch)
                symbol = forms.whole(row.name.tensor) if row.name else Nabla(results[0].tensor)
                lines.append((name, (f"({number})",), results, view, symbol))
        return self.rows(lines)

    def rows(self, lines: Sequence[tuple[object, Text, Sequence[Equation], Names, Part]]) -> Iterable[tuple[Cell, ...]]:
        few = self.detail != "full" and len(lines) > ROWS
        self.longest, self.tallest = (LONG, 2) if few else (LONGEST, SHOWN)
        seen: set[object] = set()
        for name, number, equations, view, symbol in lines:
            row = self.row(number, equations, view, symbol)
            if row is None or (few and (name in seen or not (row[2] or self.handy(equations)))):
                continue
            seen.add(name)
            yield row

    def handy(self, lines: Sequence[Equation]) -> bool:
        """Whether the numbers of one component are few enough that all of them are printed."""
        sums = (n for line in lines for n in nodes(line.value) if isinstance(n, Reduce) and n.kind == "sum")
        return all(prod(size(i.extent, self.sample.sizes) for i in n.indices) <= TERMS for n in sums)

    def row(self, number: Text, lines: Sequence[Equation], view: Names, symbol: Part) -> tuple[Cell, ...] | None:
        """What is computed, one component of it in numbers, and all of them; nothing for what is the same number for
        any sample, as 1/N is."""
        scalar = not [e for e in lines[0].tensor.shape if e != SAMPLES]
        if scalar and not lines[0].value.tensors:
            return None
        if not self.values(self.tensors[lines[0].tensor.name]):
            return None
        worked = self.instance(lines, view)
        whole = self.whole(self.tensors[lines[0].tensor.name])
        name = number or (self.math(symbol, names=view),)
        result: Cell = ()
        drawn = self.tensors[lines[0].tensor.name] in self.drawn_whole
        if whole is not None and not drawn and not (scalar and worked is not None):
            result = ((self.math(symbol, "=", *whole, names=view),),)
        return (name,), (worked,) if worked is not None else (), result

    # --- values ---------------------------------------------------------------------------------

    def beside(self, tensor: Tensor) -> tuple[Text, Text]:
        """A tensor's value and the gradient by it, as they stand in a figure: nothing where they are long."""
        above, below = (self.brief(t) for t in (tensor, adjoint_of(tensor)))
        return above, below

    def brief(self, tensor: Tensor) -> Text:
        known = self.tensors.get(tensor.name)
        shown = self.whole(known) if known is not None and len(self.values(known)) <= FEW else None
        return (self.math(*shown),) if shown else ()

    def values(self, tensor: Tensor) -> Mapping[Place, Number]:
        return self.sample.values.get(tensor.name, {})

    def value(self, tensor: Tensor, place: Place) -> Number | None:
        """The value at a place, where the sample's axis may be left out."""
        own = self.tensors[tensor.name].shape
        if len(own) > len(place):
            axis = own.index(SAMPLES)
            place = (*place[:axis], 0, *place[axis:])
        return self.values(tensor).get(place)

    def whole(self, tensor: Tensor) -> tuple[Part, ...] | None:
        """All entries, as a number, a column, a matrix or several; None where they are too many."""
        shape = [*shape_of(tensor, self.sample.sizes)]
        if self.single and SAMPLES in tensor.shape:
            del shape[tensor.shape.index(SAMPLES)]
        broad = shape and shape[-1] > (BROAD if len(shape) > 1 else 2 * BROAD)
        tall = len(shape) > 1 and prod(shape[:-1]) > self.tallest
        if prod(shape) > SHOWN or broad or tall or not self.values(tensor):
            return None
        entries = [exact(v) for _, v in sorted(self.values(tensor).items())]
        length = shape[-1] if shape else 1
        lines = (Numbers(tuple(entries[n : n + length])) for n in range(0, len(entries), length))
        if max(len(write(self.math(line), UNICODE)) for line in lines) > LETTERS:
            return None
        if len(shape) < 2:
            return (Numbers(tuple(entries)),) if shape else (Numbers(entries[0]),)
        width, height = shape[-1], shape[-2]
        rows = [tuple(entries[n : n + width]) for n in range(0, len(entries), width)]
        planes = [Numbers(tuple(rows[n : n + height])) for n in range(0, len(rows), height)]
        return tuple(part for n, plane in enumerate(planes) for part in ((",", plane) if n else (plane,)))

    def candidates(self, line: Equation) -> Iterable[Place]:
        """The places of a line: from the first on, and in an image first the one in the middle, away from borders."""
        extents = [size(i.extent, self.sample.sizes) for i in line.indices]
        if prod(extents) > SHOWN:
            yield tuple(e // 2 if e > 2 else 0 for e in extents)
        yield from product(*map(range, extents))

    def instance(self, lines: Sequence[Equation], view: Names) -> Text | None:
        """One component in numbers: one that is not 0, if there is any."""
        chosen: tuple[Equation, dict[Index, int], Number] | None = None
        for line in lines:
            for place in self.candidates(line):
                at = dict(zip(line.indices, place, strict=True))
                value = self.value(line.tensor, where(line.target.subscripts, at))
                if value is not None and (chosen is None or (chosen[2] == 0 and value != 0)):
                    chosen = line, at, value
                if chosen is not None and chosen[2] != 0:
                    break
        if chosen is None:
            return None
        line, at, value = chosen
        worked = numbered(line.value, at, self)
        target = Component(line.tensor, tuple(Affine((), n) for n in where(line.target.subscripts, at)))
        if long(worked, most=self.longest):
            return (self.math(target, "=", Numbers(exact(value)), names=view),)
        if isinstance(worked, Constant):
            return (self.math(target, "=", Worked(worked), names=view),)
        sign = "=" if whole_in_print(exact(value)) else "≈"
        return (self.math(target, "=", Worked(worked), sign, Numbers(exact(value)), names=view),)


def repeated(values: Sequence[Exact]) -> tuple[Exact, ...]:
    """The shortest start of the values that they are, over and over."""
    starts = range(1, len(values) + 1)
    period = next(n for n in starts if all(value == values[at % n] for at, value in enumerate(values)))
    return tuple(values[:period])


def exact(value: Number) -> Exact:
    number = plain(value)
    return number if isinstance(number, float) else Fraction(number)


def where(subscripts: Sequence[Affine], at: Mapping[Index, int]) -> Place:
    return tuple(s.offset + sum(c * at[i] for i, c in s.terms) for s in subscripts)


def long(*worked: Expr, most: int = LONGEST) -> bool:
    """Whether there are more numbers than are printed."""
    return sum(isinstance(node, Constant) for node in nodes(*worked)) > most


def leaf(value: Number) -> Constant:
    return Constant(Fraction(plain(value)))


@iterative
def numbered(node: Expr, at: dict[Index, int], own: Numbered) -> Steps[Expr]:
    """The expression with numbers for its letters; of a long sum the first terms and the last."""
    match node:
        case Constant(value=Fraction() as value):
            letter = own.names.constants.get(value)
            return Component(Tensor(letter, ()), ()) if letter else node
        case Constant(value=value):
            return Constant(Fraction(3.141592653589793 if value == "pi" else 2.718281828459045))
        case Size(extent=extent):
            return Constant(Fraction(own.sample.sizes[extent]))
        case Component(tensor=tensor, subscripts=subscripts, pad=pad):
            value = own.value(tensor, where(subscripts, at))
            if value is None:
                assert pad is not None
                return DOTS if pad == "-inf" else Constant(Fraction(pad))
            return leaf(value)
        case Delta(left=left, right=right):
            one = where((left,), at)[0]
            other = own.value(right.tensor, where(right.subscripts, at)) if isinstance(right, Component) else (
                where((right,), at)[0]
            )
            return Constant(Fraction(one == other))
        case Guard(subscript=subscript, extent=extent):
            return Constant(Fraction(0 <= where((subscript,), at)[0] < size(extent, own.sample.sizes)))
        case Add(terms=terms):
            parts: list[Expr] = []
            for term in terms:
                part: Expr = yield term, at, own
                parts.extend(part.terms if isinstance(part, Add) else (part,))
            return Add(tuple(parts))
        case Multiply(factors=(Constant(value=Fraction(numerator=-1, denominator=1)), *others)):
            inner: Expr = yield (Multiply(tuple(others)) if len(others) > 1 else others[0]), at, own
            return Apply(MINUS, (inner,))
        case Multiply(factors=factors):
            brackets = [factor for factor in factors if isinstance(factor, Delta | Guard)]
            for factor in brackets:
                if (yield factor, at, own) == Constant(Fraction(0)):
                    return Constant(Fraction(0))
            parts = []
            for factor in factors:
                if factor not in brackets:
                    parts.append((yield factor, at, own))
            return Multiply(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Constant(Fraction(1))
        case Power(base=base, exponent=exponent):
            inner = yield base, at, own
            if exponent == -1 and isinstance(inner, Constant) and isinstance(inner.value, Fraction) and inner.value:
                return Constant(1 / inner.value)
            return Power(inner, exponent)
        case Apply(function=function, arguments=arguments):
            parts = []
            for argument in arguments:
                parts.append((yield argument, at, own))
            return Apply(function, tuple(parts))
        case Reduce(kind=kind_, indices=indices, body=body):
            parts = []
            selects = isinstance(body, Multiply) and any(isinstance(f, Delta | Guard) for f in body.factors)
            places: list[Place | None] = [*product(*(range(size(i.extent, own.sample.sizes)) for i in indices))]
            if kind_ in ("sum", "logsumexp") and not selects:
                places = shortened(places, None)
            for place in places:
                if place is None:
                    parts.append(DOTS)
                    continue
                part = yield body, {**at, **dict(zip(indices, place, strict=True))}, own
                if part is not DOTS and not (selects and kind_ == "sum" and part == Constant(Fraction(0))):
                    parts.append(part)
                if kind_ in ("max", "argmax") and long(*parts):
                    break
            return reduced(kind_, parts)
        case _:
            raise TypeError(f"no numbers known for {type(node).__name__}")


def shortened(terms: list[T], dots: T) -> list[T]:
    """The first terms and the last, where there are many."""
    return [*terms[: TERMS - 2], dots, terms[-1]] if len(terms) > TERMS else terms


def reduced(kind_: str, parts: list[Expr]) -> Expr:
    if kind_ == "logsumexp":
        return Apply("log", (reduced("sum", [p if p is DOTS else Apply("exp", (p,)) for p in parts]),))
    if kind_ in ("max", "argmax"):
        return Apply(kind_, tuple(parts))
    parts = shortened(parts, DOTS)
    return Add(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Constant(Fraction(0))
