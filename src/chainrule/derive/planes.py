"""Planes, the operations on them that convolutions and pooling are made of, and their values.

A plane is a tensor with its spatial axes whole. The evaluator shares nothing with that of component forms: it pads,
inserts zeros and slides windows over plain arrays. It works on floats and on exact numbers in object arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import Component, Constant, Size, Tensor
from chainrule.ir.expr import Pad as PadValue
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import replace_tensors


@dataclass(frozen=True, slots=True)
class Length:
    """constant + Σ coefficient·extent over named extents."""

    constant: int
    named: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(extent: Extent) -> Length:
        return Length(extent) if isinstance(extent, int) else Length(0, ((extent, 1),))

    def __mul__(self, factor: int) -> Length:
        return Length(self.constant * factor, tuple((n, c * factor) for n, c in self.named))

    def __add__(self, other: Length | int) -> Length:
        if isinstance(other, int):
            return Length(self.constant + other, self.named)
        total = dict(self.named)
        for name, c in other.named:
            total[name] = total.get(name, 0) + c
        named = tuple((n, c) for n, c in total.items() if c)
        return Length(self.constant + other.constant, named)

    @property
    def known(self) -> int | None:
        return None if self.named else self.constant

    def value(self, extents: Mapping[str, int]) -> int:
        return self.constant + sum(c * extents[n] for n, c in self.named)


@dataclass(frozen=True, slots=True)
class Plane:
    """A tensor read at subscripts, but for its `axes`, which are left whole."""

    read: Component
    axes: tuple[int, ...]

    @property
    def subscripts(self) -> tuple[Affine, ...]:
        return tuple(s for k, s in enumerate(self.read.subscripts) if k not in self.axes)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or the value of a named extent."""

    value: Constant | Size


@dataclass(frozen=True, slots=True)
class Ones:
    shape: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Pad:
    """The plane with `before` cells of `value` put before it on each axis (or, negative, so many cut off), and after
    it what makes it `size` long. `of_size` is the length of what is inside. Up to step − 1 cells more change
    nothing in what is read, as a window with this step does not reach them."""

    of: Form
    before: tuple[int, ...]
    size: tuple[Length, ...]
    of_size: tuple[Length, ...]
    steps: tuple[int, ...]
    value: PadValue

    @property
    def idle(self) -> bool:
        """Whether nothing is put on or cut off."""
        return not any(self.before) and not any(a is None or a for a in self.after)

    @property
    def after(self) -> tuple[int | None, ...]:
        """How many cells come after: as many as before where that changes nothing, else none where none are
        needed, else as many as are needed; None where a named extent leaves it open."""
        result: list[int | None] = []
        for before, size, inner, step in zip(self.before, self.size, self.of_size, self.steps, strict=True):
            least = (size + inner * -1 + -before).known
            choices = [] if least is None else [a for a in (before, 0) if least <= a < least + step]
            result.append(choices[0] if choices else least)
        return tuple(result)


@dataclass(frozen=True, slots=True)
class Up:
    """factor − 1 zeros inserted between neighbours along each axis."""

    of: Form
    factors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Down:
    """Every factor-th entry along each axis, from the first."""

    of: Form
    factors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Correlate:
    """⋆: (a ⋆ k)_i = Σ_p a_(i+p)·k_p, where k lies inside a."""

    large: Form
    kernel: Form


@dataclass(frozen=True, slots=True)
class Convolve:
    """∗: (a ∗ b)_t = Σ_(i+p=t) a_i·b_p, in full."""

    left: Form
    right: Form


@dataclass(frozen=True, slots=True)
class Extreme:
    """The maximum of each window, or its position; `holes` are the steps between the window's cells."""

    position: bool
    of: Form
    window: tuple[Extent, ...]
    holes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unpool:
    """Each entry of a plane added to the cell of its window that `position` names; window i begins at stride·i, and
    `before` cells of the whole are cut off."""

    of: Form
    position: Plane
    window: tuple[Extent, ...]
    strides: tuple[int, ...]
    holes: tuple[int, ...]
    before: tuple[int, ...]
    size: tuple[Length, ...]


@dataclass(frozen=True, slots=True)
class Hadamard:
    factors: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Plus:
    terms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """A rational number and scalars times a plane."""

    number: Fraction
    scalars: tuple[Form, ...]
    of: Form


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum over indices that stand in subscripts."""

    indices: tuple[Index, ...]
    of: Form


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of all entries of a plane."""

    of: Form


@dataclass(frozen=True, slots=True)
class Entrywise:
    """A scalar function of each entry; `exponent` for a power."""

    function: str
    arguments: tuple[Form, ...]
    exponent: Fraction | None = None


Form = (
    Plane | Number | Ones | Pad | Up | Down | Correlate | Convolve | Extreme | Unpool | Hadamard | Plus | Scale | Sum
    | Total | Entrywise
)


def parts(form: Form) -> tuple[Form, ...]:
    """The forms directly inside one."""
    match form:
        case Plane() | Number() | Ones():
            return ()
        case Correlate(large=a, kernel=b) | Convolve(left=a, right=b):
            return a, b
        case Unpool(of=of, position=position):
            return of, position
        case Pad() | Up() | Down() | Extreme() | Sum() | Total():
            return (form.of,)
        case Scale(scalars=scalars, of=of):
            return *scalars, of
        case Hadamard(factors=several) | Plus(terms=several) | Entrywise(arguments=several):
            return several


def over(form: Any, mapping: Mapping[Tensor, Tensor]) -> Any:
    """The same form over other tensors. Depth is that of one equation."""
    match form:
        case Plane(read=read):
            return replace(form, read=replace_tensors(read, mapping))
        case tuple():
            return tuple(over(part, mapping) for part in cast(tuple[object, ...], form))
        case _ if isinstance(form, Form):
            own = {f.name: over(getattr(form, f.name), mapping) for f in fields(form)}
            return replace(form, **own)
        case _:
            return form


def walk(form: Form) -> Iterator[Form]:
    yield form
    for part in parts(form):
        yield from walk(part)


# --- values -------------------------------------------------------------------------------------

Array = NDArray[Any]


def evaluate(
    form: Form, values: Mapping[str, Array], at: Mapping[Index, int], *, extents: Mapping[str, int],
    functions: Mapping[str, Callable[..., Array]],
) -> Array:
    """The plane that a form is where its subscripts have the values `at`. Object arrays keep numbers exact."""
    run = _Evaluator(values, extents, functions)
    return run.form(form, dict(at))


class _Evaluator:
    def __init__(
        self, values: Mapping[str, Array], extents: Mapping[str, int], functions: Mapping[str, Callable[..., Array]]
    ) -> None:
        self.values, self.extents, self.functions = values, extents, functions
        self.exact = any(np.asarray(v).dtype == object for v in values.values())

    def number(self, value: Fraction) -> Any:
        return value if self.exact else float(value)

    def filled(self, shape: tuple[int, ...], value: PadValue | int) -> Array:
        fill = -np.inf if value == "-inf" else self.number(Fraction(value))
        return np.full(shape, fill, dtype=object if self.exact else float)

    def extent(self, extent: Extent) -> int:
        return Length.of(extent).value(self.extents)

    def form(self, form: Form, at: dict[Index, int]) -> Array:
        match form:
            case Plane():
                return self.plane(form, at)
            case Number(value=Size(extent=name)):
                return np.asarray(self.number(Fraction(self.extents[name])))
            case Number(value=value):
                assert isinstance(value, Constant)
                return np.asarray(
                    self.number(value.value) if isinstance(value.value, Fraction) else getattr(np, value.value)
                )
            case Ones(shape=shape):
                return self.filled(tuple(map(self.extent, shape)), 1)
            case Pad(of=of, before=before, size=size, value=value):
                return self.placed(self.form(of, at), before, [s.value(self.extents) for s in size], value)
            case Up(of=of, factors=factors):
                inner = self.form(of, at)
                shape = tuple(f * (n - 1) + 1 for f, n in zip(factors, inner.shape, strict=True))
                result = self.filled(shape, 0)
                result[tuple(slice(None, None, f) for f in factors)] = inner
                return result
            case Down(of=of, factors=factors):
                return self.form(of, at)[tuple(slice(None, None, f) for f in factors)]
            case Correlate(large=large, kernel=kernel):
                return self.correlation(self.form(large, at), self.form(kernel, at))
            case Convolve(left=left, right=right):
                return self.convolution(self.form(left, at), self.form(right, at))
            case Extreme():
                return self.extreme(form, at)
            case Unpool():
                return self.unpooled(form, at)
            case Hadamard(factors=several):
                result = self.form(several[0], at)
                for factor in several[1:]:
                    result = result * self.form(factor, at)
                return result
            case Plus(terms=several):
                result = self.form(several[0], at)
                for term in several[1:]:
                    result = result + self.form(term, at)
                return result
            case Scale(number=number, scalars=scalars, of=of):
                result = self.form(of, at) * self.number(number)
                for scalar in scalars:
                    result = result * self.form(scalar, at)
                return result
            case Sum(indices=indices, of=of):
                ranges = [range(self.extent(i.extent)) for i in indices]
                planes = [self.form(of, {**at, **dict(zip(indices, place, strict=True))}) for place in product(*ranges)]
                return sum(planes[1:], planes[0])
            case Total(of=of):
                return np.asarray(self.form(of, at).sum())
            case Entrywise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                inner = self.form(base, at)
                return inner ** (int(exponent) if exponent.denominator == 1 and self.exact else float(exponent))
            case Entrywise(function=function, arguments=arguments):
                return self.functions[function](*(self.form(a, at) for a in arguments))

    def plane(self, plane: Plane, at: dict[Index, int]) -> Array:
        value = np.asarray(self.values[plane.read.tensor.name])
        place: list[int | slice] = []
        for k, subscript in enumerate(plane.read.subscripts):
            if k in plane.axes:
                place.append(slice(None))
                continue
            where = subscript.offset + sum(c * at[i] for i, c in subscript.terms)
            if not 0 <= where < value.shape[k]:
                assert plane.read.pad is not None
                return self.filled(tuple(value.shape[a] for a in plane.axes), plane.read.pad)
            place.append(where)
        return np.asarray(value[tuple(place)])

    def placed(self, plane: Array, before: tuple[int, ...], size: list[int], value: PadValue) -> Array:
        """The plane put on a canvas, its first cell at `before`; what does not fit is cut off."""
        canvas = self.filled(tuple(size), value)
        here = tuple(slice(max(b, 0), max(min(b + n, s), 0)) for b, n, s in zip(before, plane.shape, size, strict=True))
        own = tuple(slice(max(-b, 0), max(min(n, s - b), 0)) for b, n, s in zip(before, plane.shape, size, strict=True))
        canvas[here] = plane[own]
        return canvas

    def correlation(self, large: Array, kernel: Array) -> Array:
        shape = tuple(a - k + 1 for a, k in zip(large.shape, kernel.shape, strict=True))
        result = self.filled(shape, 0)
        for place in np.ndindex(*kernel.shape):
            cells = tuple(slice(p, p + n) for p, n in zip(place, shape, strict=True))
            result = result + large[cells] * kernel[place]
        return result

    def convolution(self, left: Array, right: Array) -> Array:
        result = self.filled(tuple(a + b - 1 for a, b in zip(left.shape, right.shape, strict=True)), 0)
        for place in np.ndindex(*right.shape):
            cells = tuple(slice(p, p + n) for p, n in zip(place, left.shape, strict=True))
            result[cells] = result[cells] + left * right[place]
        return result

    def extreme(self, form: Extreme, at: dict[Index, int]) -> Array:
        inner = self.form(form.of, at)
        window = tuple(map(self.extent, form.window))
        shape = tuple(n - h * (w - 1) for n, h, w in zip(inner.shape, form.holes, window, strict=True))
        cells = [
            inner[tuple(slice(h * p, h * p + n) for h, p, n in zip(form.holes, place, shape, strict=True))]
            for place in np.ndindex(*window)
        ]
        stacked = np.stack(cells)
        return stacked.argmax(axis=0) if form.position else stacked.max(axis=0)

    def unpooled(self, form: Unpool, at: dict[Index, int]) -> Array:
        errors, chosen = self.form(form.of, at), self.plane(form.position, at)
        size = [s.value(self.extents) for s in form.size]
        window = tuple(map(self.extent, form.window))
        result = self.filled(tuple(size), 0)
        for place in np.ndindex(*errors.shape):
            inside = np.unravel_index(int(chosen[place]), window)
            cell = tuple(
                s * i + h * int(p) - b
                for s, i, h, p, b in zip(form.strides, place, form.holes, inside, form.before, strict=True)
            )
            if all(0 <= c < n for c, n in zip(cell, size, strict=True)):
                result[cell] = result[cell] + errors[place]
        return result


def assembled(
    left: Plane, right: Form, values: Mapping[str, Array], *, extents: Mapping[str, int],
    functions: Mapping[str, Callable[..., Array]],
) -> Array:
    """The whole tensor that left = right says, plane by plane: as an array over the free indices of the left side, in
    the order of its subscripts."""
    outer = list(dict.fromkeys(i for s in left.subscripts for i in s.indices))
    inner = [left.read.subscripts[k].plain for k in left.axes]
    sizes = {i: Length.of(i.extent).value(extents) for i in (*outer, *inner) if i is not None}
    shape = [sizes[i] for i in (*outer, *inner) if i is not None]
    run = _Evaluator(values, extents, functions)
    result = np.zeros(shape, dtype=object if run.exact else float)
    for place in np.ndindex(*shape[: len(outer)]):
        result[place] = run.form(right, dict(zip(outer, place, strict=True)))
    order = [*outer, *inner]
    return np.transpose(result, [order.index(i) for i in left.read.free])
