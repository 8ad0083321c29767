"""What a form says, in components: its meaning written out, operator by operator.

Checking, evaluating and printing a form in full are this one function: what comes out is pure language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import count, groupby
from math import prod

from chainrule.errors import DerivationError, ShapeError
from chainrule.forms.nodes import Entries, Fill, Form, Jacobian, Length, Number, Ones, Operation, Sum, View
from chainrule.forms.operators import LETTERS, OPEN, OPERATORS, matrix_shape, parameters, shape, template
from chainrule.ir.expr import ONE, Component, Constant, Delta, Derivative, Expr, Guard, Pad, Reduce, multiply, summed
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import components, rebuild, substitute

Place = tuple[Affine, ...]
Entry = Callable[[Place, Pad | None], Expr]


def expand(form: Form, place: Sequence[Affine], extents: Mapping[str, int]) -> Expr:
    """The entry of a form at a place. `extents` are needed where windows run over named extents.

    Raises ShapeError where operands do not fit.
    """
    return _Expansion(extents).entry(form, tuple(place), None)


def number(digits: Sequence[Affine], extents: Sequence[Extent]) -> Affine:
    """The mixed-radix number of digits, the highest place first."""
    result = Affine()
    for digit, extent in zip(digits, extents, strict=True):
        result = result * (extent if isinstance(extent, int) else 0) + digit
    return result


def digits(of: Affine) -> list[Affine]:
    """The digits of a mixed-radix number, the highest place first."""
    return [Affine.of(i) for i, _ in sorted(of.terms, key=lambda t: (-t[1], t[0].extent != 1))]


class _Expansion:
    def __init__(self, extents: Mapping[str, int]) -> None:
        self.extents, self.numbers = extents, count()

    def entry(self, form: Form, place: Place, pad: Pad | None) -> Expr:
        """The entry at a place; with `pad`, that where the place lies outside."""
        match form:
            case View():
                return self.read(form, place, pad)
            case _ if pad is not None:
                assert pad == 0, "only a view is padded with another value than 0"
                lengths = [length.extent(self.extents) for length in shape(form)]
                inside = [Guard(s, e) for s, e in zip(place, lengths, strict=True) if not s.within(e)]
                return multiply((*inside, self.entry(form, place, None)))
            case Entries(axes=axes, entry=entry):
                return substitute(entry, dict(zip(axes, (*place, Affine(), Affine()), strict=False)))
            case Number(value=value):
                return value
            case Fill(value=value):
                return Constant(value)
            case Ones():
                return ONE
            case Jacobian(of=of, wrt=wrt):
                upper, lower = place[: len(of.shape)], place[len(of.shape) :][: len(wrt.shape)]
                return Derivative(Component(of, upper), Component(wrt, lower))
            case Sum(indices=indices, inner=inner):
                return summed(indices, self.entry(inner, place, None))
            case Operation():
                return self.operation(form, place)

    def read(self, view: View, place: Place, pad: Pad | None) -> Expr:
        """The tensor where its view is: digits run together for a parted axis, a number parted for run ones."""
        own = iter(place)
        seen = [s if s is not None else next(own, Affine()) for s in view.at]
        subscripts: list[Affine] = []
        inside, position = True, 0
        for axes, group in groupby(view.axes):
            members = len(list(group))
            here, lengths = seen[position : position + members], view.view[position : position + members]
            if len(axes) > 1:
                subscripts += _parted(here[0], lengths[0])
            else:
                subscript = number(here, lengths) if members > 1 else here[0]
                if None in view.at[position : position + members]:
                    inside = inside and all(subscript.within(view.tensor.shape[axis]) for axis in axes)
                subscripts.append(subscript)
            position += members
        fill = view.pad if inside else pad if pad is not None else Fraction(0)
        return Component(view.tensor, tuple(subscripts), fill)

    def operation(self, form: Operation, place: Place) -> Expr:
        operator = OPERATORS[form.name]
        entries: list[Entry] = [partial(self.entry, part) for part in form.of]
        match operator.kind:
            case "entrywise":
                meaning = template(operator.meaning.format(**dict(form.parameters)))

                def put(*operands: Entry) -> Expr:
                    return _Instance(self, form, dict(zip(LETTERS, operands, strict=False)), place).of([meaning], [{}])

                if not operator.folds:
                    return put(*entries)
                first, *others = entries
                value = first(place, None)
                for other in others:
                    value = put(partial(_known, value), other)
                return value
            case "matrix":
                meanings = [template(operator.meaning)]
                seen = [dict(zip("ij", (*place, Affine(), Affine()), strict=False))]
            case "plane":
                ranks = range(len(shape(form.of[0])))
                meanings = [template(operator.meaning.format(**parameters(form, k))) for k in ranks]
                seen = [{"i": place[k]} if place else dict[str, Affine]() for k in ranks]
                if not meanings:
                    raise ShapeError(f"{form.name} of a number")
        return _Instance(self, form, dict(zip(LETTERS, entries, strict=False))).of(meanings, seen)

    def index(self, length: Length) -> tuple[tuple[Index, ...], Affine]:
        """A new index of this length, or one for each digit; and the number that they make."""
        extents = length.digits or (length.extent(self.extents),)
        own = tuple(Index(f"·{next(self.numbers)}", extent) for extent in extents)
        return own, number([Affine.of(i) for i in own], extents)


class _Instance:
    """A meaning with operands put in: several lines at once, one for each axis, whose trees are alike."""

    def __init__(
        self, expansion: _Expansion, form: Operation, entries: Mapping[str, Entry], place: Place | None = None
    ) -> None:
        self.expansion, self.form, self.entries, self.place = expansion, form, entries, place

    def of(self, lines: Sequence[Expr], seen: Sequence[Mapping[str, Affine]]) -> Expr:
        match lines[0]:
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                if self.place is not None:
                    return self.entries[tensor.name](self.place if subscripts else (), pad)
                pairs = [(line, own) for line, own in zip(lines, seen, strict=True) if isinstance(line, Component)]
                at = tuple(_at(s, own) for line, own in pairs for s in line.subscripts)
                return self.entries[tensor.name](at, pad)
            case Delta(right=Component()):
                pairs = [(line, own) for line, own in zip(lines, seen, strict=True) if isinstance(line, Delta)]
                chosen = self.of([line.right for line, _ in pairs if isinstance(line.right, Component)], seen)
                assert isinstance(chosen, Component)
                windows = [line.left.indices[0].extent for line, _ in pairs]
                at = [_at(line.left, own) for line, own in pairs]
                return Delta(number(at, windows) if len(at) > 1 else at[0], chosen)
            case Delta():
                brackets: list[Expr] = []
                for line, own in zip(lines, seen, strict=True):
                    assert isinstance(line, Delta) and isinstance(line.right, Affine)
                    brackets.append(Delta(_at(line.left, own), _at(line.right, own)))
                return multiply(brackets)
            case Reduce(kind=kind):
                indices: list[Index] = []
                inner = [dict(own) for own in seen]
                for axis, line in enumerate(lines):
                    assert isinstance(line, Reduce)
                    for index in line.indices:
                        length = self.length(index, line.body, axis)
                        own, value = self.expansion.index(length)
                        # A sum over an axis of one entry is that entry.
                        single = kind == "sum" and length == Length(1) and not length.digits
                        inner[axis][index.name] = Affine() if single else value
                        indices += () if single else own
                body = self.of([line.body for line in lines if isinstance(line, Reduce)], inner)
                return summed(indices, body) if kind == "sum" else Reduce(kind, tuple(indices), body)
            case first:
                inside = zip(*(line.parts for line in lines), strict=True)
                return rebuild(first, tuple(self.of(part, seen) for part in inside))

    def length(self, index: Index, body: Expr, axis: int) -> Length:
        """The length of a bound index: declared, or that of the axis which it runs over."""
        if index.extent != OPEN:
            return Length.of(index.extent)
        found: list[Length] = []
        for read in components(body):
            for k, subscript in enumerate(read.subscripts):
                if subscript.plain == index:
                    operand = self.form.of[LETTERS.index(read.tensor.name)]
                    planes = OPERATORS[self.form.name].kind == "plane"
                    found.append(shape(operand)[axis] if planes else matrix_shape(operand)[k])
        return max(found, key=lambda length: len(length.digits))


def _known(value: Expr, place: Place, pad: Pad | None) -> Expr:
    """An entry that has been written out already."""
    return value


def _at(subscript: Affine, seen: Mapping[str, Affine]) -> Affine:
    result = Affine((), subscript.offset)
    for index, c in subscript.terms:
        result = result + seen[index.name] * c
    return result


def _parted(of: Affine, extent: Extent) -> list[Affine]:
    """The digits of a mixed-radix number."""
    if prod(i.extent if isinstance(i.extent, int) else 0 for i, _ in of.terms) != extent:
        raise DerivationError("axes that are run together are read by something else than digits", about=of)
    return digits(of)

