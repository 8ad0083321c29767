"""The chance that a false line passes at a random point: degrees of rational functions, and collisions.

Where the two sides of a line differ, their difference is a rational function of the random words: the entries that are
drawn, and one fresh variable for each application of an uninterpreted function to arguments of its own. By Schwartz
and Zippel a polynomial of degree d is 0 at a random point with a chance of at most d·max, where max bounds the chance
of any one value. To that come the events that would make the field's values others than those of the formulas: two
different arguments of one function that meet, a denominator that is 0. All is counted upwards, in whole numbers.

The keyed hash is taken for a random function. Schwartz, J. ACM 27 (1980); Zippel, EUROSAM 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, prod

from chainrule.evaluate.labelled import size
from chainrule.ir import walk
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
)
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.index import Index
from chainrule.ir.parse import law
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, iterative

ONE_VALUE = Fraction(9, 2**64)  # no residue of a 64-bit word mod p has more than 9 of the 2^64 words


@dataclass(frozen=True, slots=True)
class Degree:
    """A value P/Q with deg P ≤ top and deg Q ≤ bottom; `axes` are the indices that Q may depend on."""

    top: int
    bottom: int = 0
    axes: frozenset[Index] = frozenset()

    def __mul__(self, other: Degree) -> Degree:
        return Degree(self.top + other.top, self.bottom + other.bottom, self.axes | other.axes)

    @property
    def reach(self) -> int:
        return max(self.top, self.bottom)


NUMBER, WORD = Degree(0), Degree(1)
Slope = Degree | None  # None is 0


def sum_of(terms: Sequence[Degree]) -> Degree:
    """Over the product of the denominators."""
    bottom = sum(t.bottom for t in terms)
    axes = frozenset[Index]().union(*(t.axes for t in terms))
    return Degree(max(t.top + bottom - t.bottom for t in terms), bottom, axes)


def either(cases: Iterable[Degree]) -> Degree:
    """A bound for a value that is one of these."""
    cases = tuple(cases)
    axes = frozenset[Index]().union(*(c.axes for c in cases))
    return Degree(max(c.top for c in cases), max(c.bottom for c in cases), axes)


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


class Degrees:
    """Degrees of expressions, and of their tangents, over tensors whose degrees are known: the abstract counterpart
    of the field's interpreter. `tensors` without an entry are drawn at random."""

    def __init__(self, extents: Mapping[str, int], events: Events | None = None) -> None:
        self.extents, self.events = extents, events or Events()
        self.tensors: dict[str, Degree] = {}
        self.slopes: dict[str, Slope] = {}
        self.definitions: Mapping[str, Equation] = {}
        self._depends: dict[str, set[int]] = {}  # the axes of a tensor that its denominators depend on
        self._values: dict[Expr, Degree] = {}

    # Programs.

    def define(self, equation: Equation) -> None:
        """Take a tensor's value from its equation; a further piece widens it."""
        name = equation.tensor.name
        value = self.value(equation.value)
        slope = self.tangent(equation.value, self._moving)
        if name in self.tensors:
            value = either((value, self.tensors[name]))
            slope = either([s for s in (slope, self.slopes.get(name)) if s]) if slope or self.slopes.get(name) else None
        self.tensors[name], self.slopes[name] = value, slope
        axes = value.axes if slope is None else value.axes | slope.axes
        depends = {n for n, s in enumerate(equation.target.subscripts) if not axes.isdisjoint(s.indices)}
        self._depends[name] = self._depends.get(name, set()) | depends
        self._values.clear()

    def _moving(self, node: Component) -> Slope:
        slope = self.slopes.get(node.tensor.name)
        return slope and self._at(slope, node)

    def _at(self, degree: Degree, node: Component) -> Degree:
        """The degree of a tensor's entries, read at these subscripts."""
        depends = self._depends.get(node.tensor.name, range(len(node.subscripts)))
        axes = frozenset(i for n in depends for i in node.subscripts[n].indices)
        return Degree(degree.top, degree.bottom, axes if degree.bottom else frozenset())

    def count(self, indices: Iterable[Index]) -> int:
        return prod(size(i.extent, self.extents) for i in indices)

    # Values.

    def value(self, root: Expr) -> Degree:
        stack = [root]
        while stack:
            node = stack[-1]
            parts = () if isinstance(node, Derivative) else walk.children(node)
            missing = [] if node in self._values else [c for c in parts if c not in self._values]
            stack.extend(missing)
            if not missing:
                stack.pop()
                if node not in self._values:
                    self._values[node] = self._value(node)
        return self._values[root]

    def _value(self, node: Expr) -> Degree:
        match node:
            case Constant(value=Fraction()) | Size() | Delta() | Guard() | Reduce(kind="argmax"):
                if isinstance(node, Reduce):
                    self._compared(node)
                return NUMBER
            case Constant():
                return WORD
            case Component(tensor=tensor):
                known = NUMBER if tensor.dtype == "integer" else self.tensors.get(tensor.name, WORD)
                return self._at(known, node)
            case Add(terms=terms):
                return sum_of([self._values[t] for t in terms])
            case Multiply(factors=factors):
                return self._product([self._values[f] for f in factors])
            case Reduce(kind="sum", indices=indices, body=body):
                return self._summed(self._values[body], indices)
            case Reduce(kind="max", body=body):
                self._compared(node)
                return self._values[body]
            case Reduce(body=body):
                self.events.apply("logsumexp", self.count(node.free), self._values[body].reach)
                return WORD
            case Power(base=base, exponent=exponent):
                return self.power(self._values[base], exponent, node.free)
            case Apply(function=function, arguments=arguments):
                return self.apply(function, [self._values[a] for a in arguments], node.free)
            case Derivative(of=of, wrt=wrt):
                return self.jacobian(of, wrt) or NUMBER
            case _:
                raise TypeError(f"no degree known for {type(node).__name__}")

    def _compared(self, node: Reduce) -> None:
        window = self.count(node.indices)
        degree = self._values[node.body].reach
        self.events.compared += self.count(node.free) * window * (window - 1) // 2 * (2 * degree + 4)

    def _product(self, factors: Iterable[Degree]) -> Degree:
        result = NUMBER
        for factor in factors:
            result = result * factor
        return result

    def _summed(self, body: Degree, indices: tuple[Index, ...]) -> Degree:
        """Terms whose denominators differ are brought over the product of all of them."""
        times = self.count(i for i in indices if i in body.axes)
        return Degree(body.top + (times - 1) * body.bottom, times * body.bottom, body.axes - frozenset(indices))

    def weighted(self, value: Degree, indices: tuple[Index, ...]) -> Degree:
        """The degree of Σ weight · value with a random weight for each of the indices."""
        return Degree(value.top + 1 + (self.count(indices) - 1) * value.bottom, self.count(indices) * value.bottom)

    def power(self, base: Degree, exponent: Fraction, free: tuple[Index, ...]) -> Degree:
        whole, rest = floor(exponent), exponent - floor(exponent)
        if whole >= 0:
            result = Degree(whole * base.top, whole * base.bottom, base.axes)
        else:
            self.events.inverted += self.count(free) * base.top
            result = Degree(-whole * base.bottom, -whole * base.top, frozenset(free) if base.top else base.axes)
        if rest:
            self.events.apply(("power", rest), self.count(free), base.reach)
            result = result * WORD
        return result

    def apply(self, function: str, arguments: list[Degree], free: tuple[Index, ...]) -> Degree:
        base, argument = split_derivative(function)
        if argument is not None:
            return self._law(base, argument, arguments, free)[0]
        given = sum_of(arguments)
        if CATALOGUE[base].note:  # a kink: its arguments times a random step
            self.events.apply("kink", self.count(free), given.reach)
            return given * WORD
        self.events.apply(base, self.count(free), max(a.reach for a in arguments))
        return WORD

    def _law(
        self, base: str, argument: int, arguments: list[Degree], free: tuple[Index, ...],
        slopes: Mapping[str, Slope] | None = None,
    ) -> tuple[Degree, Slope]:
        """A law's value, and its tangent where the slopes of x, y and f are given."""
        expression = law(base, argument)
        inner = _Scalars(self.extents, self.events, self.count(free))
        inner.tensors = {"x": arguments[0], "y": arguments[-1], "f": self.apply(base, arguments, free)}
        value = _over(inner.value(expression), free)
        if slopes is None:
            return value, None
        slope = inner.tangent(expression, lambda node: slopes[node.tensor.name])
        return value, slope and _over(slope, free)

    # Tangents.

    def jacobian(self, of: Expr, wrt: Component) -> Slope:
        """∂of/∂wrt: a component starts from brackets, a defined tensor from its definition."""
        definitions = {n: e for n, e in self.definitions.items() if n != wrt.tensor.name}
        known: dict[str, Slope] = {}

        def seed(node: Component) -> Slope:
            name = node.tensor.name
            if name == wrt.tensor.name:
                return NUMBER
            if name in definitions:
                if name not in known:
                    known[name] = None
                    known[name] = self.tangent(definitions[name].value, seed)
                slope = known[name]
                return slope and _over(slope, (*node.free, *wrt.free))
            return None

        return self.tangent(of, seed)

    def tangent(self, root: Expr, seed: Callable[[Component], Slope]) -> Slope:
        return self._tangent(root, seed)

    @iterative
    def _tangent(self, node: Expr, seed: Callable[[Component], Slope]) -> Steps[Slope]:
        match node:
            case Constant() | Size() | Guard() | Delta() | Reduce(kind="argmax"):
                return None
            case Component():
                return None if node.tensor.dtype == "integer" else seed(node)
            case Add(terms=terms):
                parts: list[Slope] = []
                for term in terms:
                    parts.append((yield self, term, seed))
                present = [p for p in parts if p is not None]
                return sum_of(present) if present else None
            case Multiply(factors=factors):
                products: list[Degree] = []
                for n, factor in enumerate(factors):
                    slope: Slope = yield self, factor, seed
                    if slope is not None:
                        others = [self.value(f) for m, f in enumerate(factors) if m != n]
                        products.append(self._product([slope, *others]))
                return sum_of(products) if products else None
            case Reduce(kind=kind, indices=indices, body=body):
                slope = yield self, body, seed
                if slope is None or kind == "max":
                    return slope
                if kind == "logsumexp":
                    given = sum_of([self.value(body), self.value(node)])
                    self.events.apply("exp", self.count((*node.free, *indices)), given.reach)
                    slope = slope * WORD
                return self._summed(slope, indices)
            case Power(base=base, exponent=exponent):
                slope = yield self, base, seed
                return slope and slope * self.power(self.value(base), exponent - 1, node.free)
            case Apply(function=function, arguments=arguments):
                slopes: list[Slope] = []
                for argument in arguments:
                    slopes.append((yield self, argument, seed))
                return self.chain(function, [self.value(a) for a in arguments], slopes, node.free)
            case Derivative():
                return None
            case _:
                raise TypeError(f"no degree known for the tangent of {type(node).__name__}")

    def chain(self, function: str, arguments: list[Degree], slopes: list[Slope], free: tuple[Index, ...]) -> Slope:
        base, argument = split_derivative(function)
        if argument is None:
            parts = [
                slope * self._law(base, n, arguments, free)[0] for n, slope in enumerate(slopes) if slope is not None
            ]
            return sum_of(parts) if parts else None
        own = {"x": slopes[0], "y": slopes[-1], "f": self.chain(base, arguments, slopes, free)}
        return self._law(base, argument, arguments, free, own)[1]


class _Scalars(Degrees):
    """Inside a law every node is a scalar, met `times` times."""

    def __init__(self, extents: Mapping[str, int], events: Events, times: int) -> None:
        super().__init__(extents, events)
        self.times = times

    def count(self, indices: Iterable[Index]) -> int:
        return self.times * super().count(indices)


def _over(degree: Degree, free: tuple[Index, ...]) -> Degree:
    """A law's denominator depends on the indices of the arguments."""
    return Degree(degree.top, degree.bottom, frozenset(free) if degree.bottom else frozenset())


def chance(sides: Iterable[Degree], events: Events) -> Fraction:
    """The chance that two sides which differ are found equal in one trial."""
    one, other = sides
    return min(Fraction(1), ONE_VALUE * (max(one.top + other.bottom, other.top + one.bottom) + events.weight))
