"""Concise forms: trees of operators applied to views of tensors.

A view is a tensor with some axes left whole and the others read at subscripts; what an operator means stands in
`operators`. A matrix has two axes, a column may be without its second one; a plane has the spatial axes of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from chainrule.ir.expr import Component, Constant, Delta, Guard, Pad, Size, Tensor
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import kind, replace_tensors

ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Length:
    """constant + Σ coefficient·extent over named extents; of axes that are run together, the extents of each."""

    constant: int
    named: tuple[tuple[str, int], ...] = ()
    digits: tuple[Extent, ...] = field(default=(), compare=False)

    @staticmethod
    def of(extent: Extent, digits: tuple[Extent, ...] = ()) -> Length:
        return Length(extent, (), digits) if isinstance(extent, int) else Length(0, ((extent, 1),), digits)

    def __mul__(self, factor: int) -> Length:
        return Length(self.constant * factor, tuple((n, c * factor) for n, c in self.named))

    def __add__(self, other: Length | int) -> Length:
        if isinstance(other, int):
            return Length(self.constant + other, self.named)
        total = dict(self.named)
        for name, c in other.named:
            total[name] = total.get(name, 0) + c
        return Length(self.constant + other.constant, tuple((n, c) for n, c in total.items() if c))

    def every(self, step: int) -> Length:
        """How many of that length every step-th is."""
        return self if self.named else Length(-(-self.constant // step))

    def __str__(self) -> str:
        terms = [name if c == 1 else f"{c}*{name}" for name, c in self.named]
        return " + ".join([*terms, str(self.constant)] if self.constant or not terms else terms)

    @property
    def known(self) -> int | None:
        return None if self.named else self.constant

    def extent(self, extents: Mapping[str, int]) -> Extent:
        """The length as the extent of an index: a name where it is one, else a number."""
        if len(self.named) == 1 and not self.constant and self.named[0][1] == 1:
            return self.named[0][0]
        return self.constant + sum(c * extents[n] for n, c in self.named)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor seen with the axes `view`, neighbouring ones run together or one parted into its digits, and read at
    subscripts but for those axes that are left whole (None). `axes` says for each axis of the view which of the
    tensor's it is made of; the digits of one axis share it. `pad` is what a read outside the tensor gives."""

    tensor: Tensor
    view: tuple[Extent, ...]
    axes: tuple[tuple[int, ...], ...]
    at: tuple[Affine | None, ...]
    pad: Pad | None = None

    @property
    def whole(self) -> tuple[Length, ...]:
        """The lengths of the axes that are left whole."""
        return tuple(
            Length.of(e, tuple(self.tensor.shape[k] for k in own) if len(own) > 1 else ())
            for e, own, s in zip(self.view, self.axes, self.at, strict=True) if s is None
        )

    @property
    def fixed(self) -> tuple[tuple[Affine, Extent], ...]:
        """The subscripts, each with the extent of its axis."""
        return tuple((s, e) for s, e in zip(self.at, self.view, strict=True) if s is not None)

    @property
    def joined(self) -> bool:
        """Whether axes are run together: vec(x)."""
        return any(len(own) > 1 for own in self.axes)


def whole(tensor: Tensor) -> View:
    return seen(tensor, (None,) * len(tensor.shape))


def seen(tensor: Tensor, at: Sequence[Affine | None], pad: Pad | None = None) -> View:
    """The tensor with its own axes, read at these subscripts."""
    return View(tensor, tensor.shape, tuple((k,) for k in range(len(tensor.shape))), tuple(at), pad)


@dataclass(frozen=True, slots=True)
class Entries:
    """The matrix, or the column, whose entry at `axes` is a read or a bracket: (x_{2i+1})_i, ([i = 2j])_{ij}. It is
    for what is no whole axis: slices, steps, diagonals, padded reads. With no axes it is a number."""

    axes: tuple[Index, ...]
    entry: Component | Delta | Guard

    @property
    def subscripts(self) -> tuple[Index, ...]:
        """The indices that stand in subscripts."""
        return tuple(i for i in self.entry.free if i not in self.axes)


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number, a named real number, or the value of a named extent."""

    value: Constant | Size


@dataclass(frozen=True, slots=True)
class Fill:
    """A matrix of one constant: the vector 1 of a row sum, the 1 of 1 − z."""

    value: Fraction
    shape: tuple[Extent, Extent]


@dataclass(frozen=True, slots=True)
class Ones:
    """A plane of ones."""

    shape: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Jacobian:
    """J[k, j] = ∂of_k/∂wrt_j; with a scalar `of`, the gradient, as a column."""

    of: Tensor
    wrt: Tensor


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum over indices that stand in subscripts."""

    indices: tuple[Index, ...]
    inner: Form


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator of the table applied to forms; what its meaning has in braces stands in `parameters`, of an operator
    on planes once for each axis."""

    name: str
    of: tuple[Form, ...]
    parameters: tuple[tuple[str, Any], ...] = ()

    def __getitem__(self, parameter: str) -> Any:
        return dict(self.parameters)[parameter]


Form = View | Entries | Number | Fill | Ones | Jacobian | Sum | Operation


def operation(name: str, *of: Form, **parameters: object) -> Operation:
    return Operation(name, of, tuple(parameters.items()))


def several(name: str, forms: Iterable[Form]) -> Form:
    """An operator of any number of operands; of one, that form."""
    first, *others = forms
    return Operation(name, (first, *others)) if others else first


def scaled(number: Fraction, scalars: Iterable[Form], form: Form) -> Form:
    """A number and scalars times a form."""
    factors = (*([Number(Constant(number))] if number != 1 else []), *scalars)
    return Operation("scale", (form, *factors)) if factors else form


def parts(form: Form) -> tuple[Form, ...]:
    """The forms directly inside one."""
    match form:
        case Operation(of=of):
            return of
        case Sum(inner=inner):
            return (inner,)
        case _:
            return ()


def rebuilt(form: Form, inside: Sequence[Form]) -> Form:
    match form:
        case Operation():
            return replace(form, of=tuple(inside))
        case Sum(indices=indices):
            return Sum(indices, *inside)
        case _:
            return form


def walk(form: Form) -> Iterator[Form]:
    """A form and all forms inside it."""
    yield form
    for part in parts(form):
        yield from walk(part)


def over(form: Form, mapping: Mapping[Tensor, Tensor]) -> Form:
    """The same form over other tensors. Depth is that of one equation."""
    match form:
        case View(tensor=tensor):
            return replace(form, tensor=mapping.get(tensor, tensor))
        case Entries(axes=axes, entry=entry):
            moved = replace_tensors(entry, mapping)
            assert isinstance(moved, Component | Delta | Guard)
            return Entries(axes, moved)
        case Jacobian(of=of, wrt=wrt):
            return Jacobian(mapping.get(of, of), mapping.get(wrt, wrt))
        case _:
            return rebuilt(form, [over(part, mapping) for part in parts(form)])


def outline(form: Form) -> object:
    """What two forms share that say the same of other tensors and extents: the operators and where each tensor stands,
    padding left out."""
    order: dict[str, int] = {}

    def outlined(form: Form) -> object:
        match form:
            case View(tensor=tensor):
                return order.setdefault(tensor.name, len(order))
            case Entries(axes=axes, entry=entry):
                read = tuple(order.setdefault(t.name, len(order)) for t in entry.tensors)
                return "entries", read, kind(entry, (*axes, *form.subscripts))
            case Operation(name="pad", of=(inner,)):
                return outlined(inner)
            case Operation(name="apply" | "apply2" | "power"):
                return form.name, form.parameters, tuple(map(outlined, form.of))
            case Operation():
                return form.name, tuple(map(outlined, form.of))
            case Number(value=value):
                return type(value).__name__, getattr(value, "value", None)
            case Fill(value=value):
                return "fill", value
            case _:
                return type(form).__name__, tuple(map(outlined, parts(form)))

    return outlined(form)
