"""The chance that a false line passes at a random point: degrees of rational functions, and collisions.

Where the two sides of a line differ, their difference is a rational function of the random words: the entries that are
drawn, and one fresh variable for each application of an uninterpreted function to arguments of its own. By Schwartz
and Zippel a polynomial of degree d is 0 at a random point with a chance of at most d·max, where max bounds the chance
of any one value. To that come the events that would make the field's values others than those of the formulas: two
different arguments of one function that meet, a denominator that is 0. All is counted upwards, in whole numbers.

The keyed hash is taken for a random function. Schwartz, J. ACM 27 (1980); Zippel, EUROSAM 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor, prod

from chainrule.ir.expr import Component, Delta, Expr, Guard, NamedReal, Reduce, Tensor
from chainrule.ir.index import Index
from chainrule.ir.program import Equation
from chainrule.semantics.evaluator import Arithmetic, Evaluator
from chainrule.semantics.labelled import Axes, shape_of, size

ONE_VALUE = Fraction(9, 2**64)  # no residue of a 64-bit word mod p has more than 9 of the 2^64 words


@dataclass(frozen=True, slots=True)
class Degree:
    """A value P/Q with deg P ≤ top and deg Q ≤ bottom, over the indices `axes`; Q depends on those `under` alone."""

    top: int
    bottom: int = 0
    axes: Axes = ()
    under: frozenset[Index] = frozenset()

    @property
    def reach(self) -> int:
        return max(self.top, self.bottom)


@dataclass(frozen=True, slots=True)
class Whole:
    """The same of a tensor's entries; `under` are the numbers of the axes that Q depends on."""

    top: int
    bottom: int = 0
    under: frozenset[int] = frozenset()


NUMBER, WORD = Whole(0), Whole(1)


def product_of(factors: Sequence[Degree]) -> Degree:
    return Degree(sum(f.top for f in factors), sum(f.bottom for f in factors), *_indices(factors))


def sum_of(terms: Sequence[Degree]) -> Degree:
    """Over the product of the denominators."""
    bottom = sum(t.bottom for t in terms)
    return Degree(max(t.top + bottom - t.bottom for t in terms), bottom, *_indices(terms))


def _indices(values: Iterable[Degree]) -> tuple[Axes, frozenset[Index]]:
    values = tuple(values)
    return tuple(dict.fromkeys(i for v in values for i in v.axes)), frozenset(i for v in values for i in v.under)


@dataclass
class Events:
    """What may happen besides: for each function how many arguments it is given and of what degree, the total degree
    of the denominators, and how many entries maxima compare."""

    applications: dict[object, list[tuple[int, int]]] = field(default_factory=dict[object, list[tuple[int, int]]])
    inverted: int = 0
    compared: int = 0

    def apply(self, function: object, count: int, degree: int) -> None:
        self.applications.setdefault(function, []).append((count, degree))

    @property
    def weight(self) -> int:
        """The chance of any of them, in units of ONE_VALUE."""
        total = self.inverted + self.compared
        for uses in self.applications.values():
            count = sum(c for c, _ in uses)
            total += count * (count - 1) // 2 * (2 * max(d for _, d in uses) + 1)
        return total


class Degrees(Arithmetic[Degree, Whole]):
    """The abstract counterpart of the field: degrees in place of elements."""

    uninterpreted = True

    def __init__(self, extents: Mapping[str, int], events: Events | None = None) -> None:
        super().__init__(extents)
        self.events = events or Events()

    def count(self, indices: Iterable[Index]) -> int:
        return prod(size(i.extent, self.extents) for i in indices)

    def number(self, value: Fraction) -> Degree:
        return Degree(0)

    def real(self, name: NamedReal) -> Degree:
        return Degree(1)

    def given(self, tensor: Tensor, array: Whole) -> Whole:
        return NUMBER if tensor.dtype == "integer" else array

    def read(self, array: Whole, node: Component, fill: Fraction, rest: Axes = ()) -> Degree:
        at = [*[s.indices for s in node.subscripts], *[(i,) for i in rest]]
        return Degree(array.top, array.bottom, (*node.free, *rest), frozenset(i for n in array.under for i in at[n]))

    def bracket(self, node: Delta | Guard, ids: Degree | None) -> Degree:
        return Degree(0, axes=node.free)

    def add(self, terms: Sequence[Degree]) -> Degree:
        return sum_of(terms)

    def contract(self, factors: Sequence[Degree], reduced: Axes = ()) -> Degree:
        """Terms whose denominators differ are brought over the product of all of them."""
        body = product_of(factors)
        times = self.count(i for i in reduced if i in body.under)
        axes = tuple(i for i in body.axes if i not in reduced)
        return Degree(body.top + (times - 1) * body.bottom, times * body.bottom, axes, body.under - {*reduced})

    def power(self, base: Degree, exponent: Fraction) -> Degree:
        whole, rest = floor(exponent), exponent - floor(exponent)
        if whole >= 0:
            result = replace(base, top=whole * base.top, bottom=whole * base.bottom)
        else:
            self.events.inverted += self.count(base.axes) * base.top
            under = frozenset(base.axes) if base.top else base.under
            result = Degree(-whole * base.bottom, -whole * base.top, base.axes, under)
        return product_of([result, self.fresh(("power", rest), [base])]) if rest else result

    def fresh(self, function: object, arguments: Sequence[Degree]) -> Degree:
        """One variable for each place."""
        axes = _indices(arguments)[0]
        self.events.apply(function, self.count(axes), max(a.reach for a in arguments))
        return Degree(1, axes=axes)

    def apply(self, function: str, arguments: Sequence[Degree]) -> Degree:
        return self.fresh(function, arguments)

    def logsumexp(self, body: Degree, indices: Axes) -> Degree:
        axes = tuple(i for i in body.axes if i not in indices)
        return self.fresh("logsumexp", [Degree(body.top, body.bottom, axes)])

    def select(self, node: Reduce, body: Degree) -> tuple[Degree, Degree]:
        window = self.count(node.indices)
        position = Degree(0, axes=tuple(i for i in body.axes if i not in node.indices))
        self.events.compared += self.count(position.axes) * window * (window - 1) // 2 * (2 * body.reach + 4)
        return position, self.pick(body, node.indices, position)

    def pick(self, value: Degree, indices: Axes, position: Degree) -> Degree:
        axes = tuple(dict.fromkeys((*position.axes, *(i for i in value.axes if i not in indices))))
        under = value.under if value.under.isdisjoint(indices) else frozenset(axes)
        return Degree(value.top, value.bottom, axes, under)

    def whole(self, value: Degree, axes: Axes) -> Whole:
        return Whole(value.top, value.bottom, frozenset(n for n, i in enumerate(axes) if i in value.under))

    def relabelled(self, value: Degree, old: Index, new: Index) -> Degree:
        def moved(axes: Iterable[Index]) -> Axes:
            return tuple(dict.fromkeys(new if i == old else i for i in axes))

        return replace(value, axes=moved(value.axes), under=frozenset(moved(value.under)))


class Run:
    """The degrees of a program's tensors, and of their tangents; `given` are drawn at random, `moving` are those of
    them that move along random directions."""

    def __init__(
        self, extents: Mapping[str, int], given: Iterable[Tensor], events: Events | None = None,
        definitions: Mapping[str, Equation] | None = None, moving: Iterable[str] = (),
    ) -> None:
        self.degrees = Degrees(extents, events)
        self.events = self.degrees.events
        self.values = {t.name: WORD for t in given}
        self.slopes = dict.fromkeys(moving, WORD)
        self.evaluator = Evaluator(self.degrees, self.values, definitions)

    def value(self, expr: Expr) -> Degree:
        return self.evaluator.value(expr)

    def tangent(self, expr: Expr) -> Degree | None:
        return self.evaluator.tangent(expr, self.evaluator.direction(self.slopes))

    def define(self, equation: Equation) -> None:
        """Take a tensor's value from its equation; a further piece widens it."""
        tensor = equation.tensor
        found = self.value(equation.value), self.tangent(equation.value)
        self.evaluator.clear()
        self.evaluator.forget(tensor)
        for degree, known in zip(found, (self.values, self.slopes), strict=True):
            if degree is not None:
                subscripts = enumerate(equation.target.subscripts)
                under = frozenset(n for n, s in subscripts if not degree.under.isdisjoint(s.indices))
                old = known.get(tensor.name, NUMBER)
                known[tensor.name] = Whole(
                    max(degree.top, old.top), max(degree.bottom, old.bottom), under | old.under
                )

    def total(self, tensor: Tensor, entries: Whole) -> Degree:
        """Of ⟨entries, random words⟩."""
        shape = shape_of(tensor, self.degrees.extents)
        times = prod(shape[n] for n in entries.under)
        return Degree(entries.top + 1 + (times - 1) * entries.bottom, times * entries.bottom)


def chance(sides: Iterable[Degree], events: Events) -> Fraction:
    """The chance that two sides which differ are found equal in one trial."""
    one, other = sides
    return min(Fraction(1), ONE_VALUE * (max(one.top + other.bottom, other.top + one.bottom) + events.weight))
