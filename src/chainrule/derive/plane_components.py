"""What a form in planes says, in components: (a ⋆ k)[i] = Σ_p a[i + p] k[p], and so on for each operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import count

from chainrule.derive.planes import (
    Convolve,
    Correlate,
    Down,
    Entrywise,
    Extreme,
    Form,
    Hadamard,
    Length,
    Number,
    Ones,
    Pad,
    Plane,
    Plus,
    Scale,
    Sum,
    Total,
    Unpool,
    Up,
)
from chainrule.derive.window import Concise
from chainrule.ir.expr import ONE, Apply, Component, Constant, Delta, Expr, Guard, Power, Reduce, add, multiply, summed
from chainrule.ir.expr import Pad as PadValue
from chainrule.ir.index import Affine, Index

Cell = tuple[Affine, ...]


def component_form(concise: Concise, extents: Mapping[str, int]) -> Expr:
    """The right side at the indices of the left side's target."""
    at = tuple(concise.left.read.subscripts[axis] for axis in concise.left.axes)
    return _Components(extents).cell(concise.right, at)


class _Components:
    def __init__(self, extents: Mapping[str, int]) -> None:
        self.extents, self.numbers = extents, count()

    def indices(self, shape: Sequence[int]) -> tuple[Index, ...]:
        return tuple(Index(f"·p{next(self.numbers)}", extent) for extent in shape)

    def shape(self, form: Form) -> tuple[int, ...]:
        """The extents of a plane; none for a number."""
        match form:
            case Plane(read=read, axes=axes):
                return tuple(Length.of(read.tensor.shape[a]).value(self.extents) for a in axes)
            case Number() | Total():
                return ()
            case Ones(shape=shape):
                return tuple(Length.of(e).value(self.extents) for e in shape)
            case Pad(size=size) | Unpool(size=size):
                return tuple(s.value(self.extents) for s in size)
            case Up(of=of, factors=factors):
                return tuple(f * (n - 1) + 1 for f, n in zip(factors, self.shape(of), strict=True))
            case Down(of=of, factors=factors):
                return tuple(-(-n // f) for f, n in zip(factors, self.shape(of), strict=True))
            case Correlate(large=large, kernel=kernel):
                return tuple(a - k + 1 for a, k in zip(self.shape(large), self.shape(kernel), strict=True))
            case Convolve(left=left, right=right):
                return tuple(a + b - 1 for a, b in zip(self.shape(left), self.shape(right), strict=True))
            case Extreme(of=of, window=window, holes=holes):
                sizes = (Length.of(w).value(self.extents) for w in window)
                return tuple(n - h * (w - 1) for n, h, w in zip(self.shape(of), holes, sizes, strict=True))
            case Scale(of=of) | Sum(of=of):
                return self.shape(of)
            case Hadamard(factors=several) | Plus(terms=several) | Entrywise(arguments=several):
                return max(map(self.shape, several), key=len)

    def cell(self, form: Form, at: Cell) -> Expr:
        """One entry of a plane. A number has the same at every place."""
        match form:
            case Plane():
                return self.read(form, at, None)
            case Number(value=value):
                return value
            case Ones():
                return ONE
            case Pad(of=of, before=before, value=value):
                inside = tuple(i - b for i, b in zip(at, before, strict=True))
                if isinstance(of, Plane):
                    return self.read(of, inside, value)
                assert value == 0, "only a plane is padded with another value than 0"
                return multiply((*self.ranges(inside, self.shape(of)), self.cell(of, inside)))
            case Up(of=of, factors=factors):
                own = self.indices(self.shape(of))
                cells = zip(at, factors, own, strict=True)
                brackets = [Delta(t, Affine.of(i) * f) for t, f, i in cells]
                return summed(own, multiply((*brackets, self.cell(of, _plain(own)))))
            case Down(of=of, factors=factors):
                return self.cell(of, tuple(i * f for i, f in zip(at, factors, strict=True)))
            case Correlate(large=large, kernel=kernel):
                own = self.indices(self.shape(kernel))
                moved = tuple(i + Affine.of(p) for i, p in zip(at, own, strict=True))
                return summed(own, multiply((self.cell(large, moved), self.cell(kernel, _plain(own)))))
            case Convolve(left=left, right=right):
                own = self.indices(self.shape(right))
                moved = tuple(i - Affine.of(p) for i, p in zip(at, own, strict=True))
                ranges = self.ranges(moved, self.shape(left))
                return summed(own, multiply((*ranges, self.cell(left, moved), self.cell(right, _plain(own)))))
            case Extreme(position=position, of=of, window=window, holes=holes):
                own = self.indices([Length.of(w).value(self.extents) for w in window])
                moved = tuple(i + Affine.of(p) * h for i, p, h in zip(at, own, holes, strict=True))
                return Reduce("argmax" if position else "max", own, self.cell(of, moved))
            case Unpool():
                return self.unpooled(form, at)
            case Hadamard(factors=factors):
                return multiply(self.cell(f, at) for f in factors)
            case Plus(terms=terms):
                return add(self.cell(t, at) for t in terms)
            case Scale(number=number, scalars=scalars, of=of):
                return multiply((Constant(number), *(self.cell(s, at) for s in scalars), self.cell(of, at)))
            case Sum(indices=indices, of=of):
                return summed(indices, self.cell(of, at))
            case Total(of=of):
                own = self.indices(self.shape(of))
                return summed(own, self.cell(of, _plain(own)))
            case Entrywise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return Power(self.cell(base, at), exponent)
            case Entrywise(function=function, arguments=arguments):
                return Apply(function, tuple(self.cell(a, at) for a in arguments))

    def read(self, plane: Plane, at: Cell, pad: PadValue | None) -> Expr:
        """The component at a place; where that may lie outside, padded, with 0 beside a bracket that is false there."""
        subscripts = list(plane.read.subscripts)
        # A number, b_o beside a plane, has no axes and is the same at every place.
        for axis, place in zip(plane.axes, at if plane.axes else (), strict=True):
            subscripts[axis] = place
        extents = plane.read.tensor.shape
        inside = all(subscripts[a].within(extents[a]) for a in plane.axes)
        fill = plane.read.pad if inside else pad if pad is not None else Fraction(0)
        return Component(plane.read.tensor, tuple(subscripts), fill)

    def ranges(self, at: Cell, shape: Sequence[int]) -> list[Expr]:
        return [Guard(i, n) for i, n in zip(at, shape, strict=True) if not i.within(n)]

    def unpooled(self, form: Unpool, at: Cell) -> Expr:
        places = self.indices(self.shape(form.of))
        inner = self.indices([Length.of(w).value(self.extents) for w in form.window])
        flat = Affine()
        for index in inner:
            flat = flat * int(index.extent) + Affine.of(index)
        cells = zip(at, form.before, form.strides, places, form.holes, inner, strict=True)
        brackets = [Delta(t + b, Affine.of(i) * s + Affine.of(p) * h) for t, b, s, i, h, p in cells]
        chosen = self.read(form.position, _plain(places), None)
        assert isinstance(chosen, Component)
        error = self.cell(form.of, _plain(places))
        return summed((*places, *inner), multiply((*brackets, Delta(flat, chosen), error)))


def _plain(indices: Sequence[Index]) -> Cell:
    return tuple(Affine.of(i) for i in indices)
