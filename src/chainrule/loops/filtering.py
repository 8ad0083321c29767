"""Convolutions with fewer products: minimal filtering.

m neighbouring outputs y_i = Σ_b w_b·x_{i+b}, i < m, b < r, take m·r products. With n = m + r − 1 points p_ξ, the last
of which is ∞, they take one for each of these:

    y_i = Σ_ξ p_ξ^i·u_ξ·v_ξ    u_ξ = Σ_b p_ξ^b·w_b / Π_η (p_ξ − p_η)    v_ξ = Σ_k c_ξk·x_k

over finite η ≠ ξ, where c_ξk is the coefficient of z^k in Π_η (z − p_η); at ∞ only the highest power counts, and
there is no divisor. It is the transpose of the product of polynomials by their values (Toom 1963, Cook 1966; Winograd,
Arithmetic Complexity of Computations, 1980). Sums over channels, samples and other axes are taken of the products u·v,
and the y made of those. Exact wherever the divisors are not 0; floats are rounded in other places.

An image is filtered, and a gradient sent back to it, with m = 2 outputs in a tile and all r taps of the window: each u
is made once for all places. For the gradient of a window its r entries are the outputs, and the taps are the m entries
of a tile of what comes back: both u and v are made in registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import prod

from chainrule.ir.expr import Add, Component, Constant, Expr, Multiply, Reduce, derived
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, fresh, nodes, substitute, transform
from chainrule.loops.layout import extents, own_subscripts, sampled
from chainrule.loops.places import flat_factors
from chainrule.loops.task import Task

TILE, WINDOW = 2, 3
"""m and r: two thirds of the products. Larger ones take fewer still, but p_ξ by which floats lose digits, more
operations for u and v, and code so long that compiling it takes a second more."""
POINTS = 0, 1, -1
"""The finite p_ξ: they make u and v of sums and differences, and lose no more digits than the plain products."""
TERMS = 16
"""Where fewer products are added up for one u and place, making the y costs what they save."""

Row = tuple[Fraction, ...]


def filtered(task: Task) -> Task:
    """The task with its convolutions of stride 1 so written where that is of use."""
    equations: list[Equation] = []
    for equation in task.equations:
        window = window_of(equation)
        equations += window.rewritten(equation) if window else [equation]
    return replace(task, equations=tuple(equations))


@dataclass(frozen=True)
class Window:
    """In a sum over w·x the subscript of x along one axis is `place` ± `taps` + a number; `place` is an index of the
    output, `taps` one of the sum and of w."""

    node: Reduce
    w: Component
    x: Component
    place: Index
    taps: Index
    sign: int

    def rewritten(self, equation: Equation) -> list[Equation]:
        return self.gradient(equation) if sampled(self.w.tensor) else self.filtering(equation)

    def filtering(self, equation: Equation) -> list[Equation]:
        """The equations of all u, then one for each output of a tile; of places left over, as they were."""
        places, taps = size(self.place), size(self.taps)
        start = self.tile(self.place, equation)
        own = tuple(s for s in self.w.subscripts if s.plain != self.taps)
        w = [substitute(self.w, {self.taps: Affine((), b)}) for b in range(taps)][:: self.sign]
        first = start if self.sign > 0 else start + (1 - taps)
        x = [substitute(self.x, {self.place: first + k, self.taps: Affine()}) for k in range(TILE + taps - 1)]
        rows = products(TILE, taps)
        made: list[Equation] = []
        for number, row in enumerate(rows):
            shape = tuple(size(s.indices[0]) for s in own)
            tensor = derived("filtered", equation.tensor, number=number, shape=shape, dtype="real")
            made.append(Equation(Component(tensor, own), weighted([c / row.divisor for c in row.w], w)))
        others = tuple(i for i in self.node.indices if i != self.taps)
        sums = [
            Reduce("sum", others, Multiply((u.target, weighted(row.x, x)))) for u, row in zip(made, rows, strict=True)
        ]
        made += [self.at(start + i, equation, weighted([row.y[i] for row in rows], sums)) for i in range(TILE)]
        return made + [self.at(Affine((), n), equation, self.node) for n in range(places - places % TILE, places)]

    def gradient(self, equation: Equation) -> list[Equation]:
        """An equation for each entry of the window."""
        places = size(self.place)
        start = self.tile(self.taps, equation)
        w = [substitute(self.w, {self.taps: start + k}) for k in range(TILE)]
        x = [substitute(self.x, {self.place: Affine(), self.taps: start + k}) for k in range(places + TILE - 1)]
        rows = products(places, TILE)
        indices = tuple(start.indices[0] if i == self.taps else i for i in self.node.indices)
        sums = [Reduce("sum", indices, Multiply((weighted(row.w, w), weighted(row.x, x)))) for row in rows]
        return [
            self.at(Affine((), b), equation, weighted([row.y[b] / row.divisor for row in rows], sums))
            for b in range(places)
        ]

    def tile(self, index: Index, equation: Equation) -> Affine:
        """Where a tile of the positions of an index begins."""
        taken = (*equation.indices, *bound(equation.value))
        return Affine.of(fresh("t", size(index) // TILE, taken)) * TILE

    def at(self, place: Affine, equation: Equation, y: Expr) -> Equation:
        """The equation at one place, with y for its sum."""
        target = substitute(equation.target, {self.place: place})
        assert isinstance(target, Component)
        value = transform(equation.value, lambda node: y if node is self.node else node)
        return Equation(target, substitute(value, {self.place: place}))


def size(index: Index) -> int:
    assert isinstance(index.extent, int)
    return index.extent


def window_of(equation: Equation) -> Window | None:
    """That of the innermost axis along which the one sum of an equation is a convolution of stride 1."""
    sums = {node for node in nodes(equation.value) if isinstance(node, Reduce)}
    node = sums.pop() if len(sums) == 1 else None
    factors = flat_factors(node.body) if node and node.kind == "sum" else ()
    if node is None or len(factors) != 2:
        return None
    for w, x in (factors, factors[::-1]):
        if isinstance(w, Component) and isinstance(x, Component) and w.pad is None and _surrounded(x):
            for subscript in reversed(own_subscripts(x)):
                pairs = [(i, j) for i in subscript.indices for j in subscript.indices if j in node.indices]
                for place, taps in pairs if len(subscript.terms) == 2 else ():
                    window = Window(node, w, x, place, taps, subscript.coefficient(taps))
                    stride = subscript.coefficient(place)
                    if stride == abs(window.sign) == 1 and _alone(window, equation) and _of_use(window, equation):
                        return window
    return None


def _alone(window: Window, equation: Equation) -> bool:
    """Whether `place` and `taps` stand nowhere but in that one subscript of x, and by themselves in the target and in
    w, each once."""
    w, x, place, taps = window.w, window.x, window.place, window.taps
    plain = [s.plain for s in w.subscripts]
    return (
        [s.plain for s in equation.target.subscripts].count(place) == 1 and place not in w.free
        and None not in plain and plain.count(taps) == 1
        and all(sum(i in s.indices for s in x.subscripts) == 1 for i in (place, taps))
    )


def _of_use(window: Window, equation: Equation) -> bool:
    """Whether fewer products are less work, for the window and the terms that there are."""
    w, x, place, taps = window.w, window.x, window.place, window.taps
    if len(window.node.indices) < 2 or not (isinstance(place.extent, int) and isinstance(taps.extent, int)):
        return False
    if sampled(equation.tensor):
        terms = prod(size(i) for i in window.node.indices if i != taps and not i.is_sample)
        return not sampled(w.tensor) and taps.extent == WINDOW and place.extent >= 2 * TILE and terms >= TERMS
    return (
        sampled(w.tensor) and sampled(x.tensor) and window.sign > 0 and place.extent == WINDOW
        and taps.extent >= 2 * TILE and taps.extent % TILE == 0
    )


def _surrounded(x: Component) -> bool:
    """Whether what is read is inside a tensor, or in zeros around it that are no more than it has entries."""
    if x.pad is None:
        return True
    sizes = extents(x.tensor)
    reach = [subscript.bounds() or (0, 0) for subscript in own_subscripts(x)]
    wide = [max(high + 1, size) - min(low, 0) for (low, high), size in zip(reach, sizes, strict=True)]
    return x.pad == 0 and prod(wide) <= 2 * prod(sizes)


@dataclass(frozen=True)
class Product:
    """The coefficients of the w_b in u, of the x_k in v, and of u·v in the y_i; `divisor` is that of u, or of u·v."""

    w: Row
    x: Row
    y: Row
    divisor: Fraction


@cache
def products(outputs: int, taps: int) -> Sequence[Product]:
    """One for each point."""
    assert outputs + taps - 2 == len(POINTS)
    result: list[Product] = []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        w, y = (tuple(Fraction(point**n) for n in range(count)) for count in (taps, outputs))
        divisor = Fraction(prod(point - other for other in others))
        result.append(Product(w, (*with_roots(others), Fraction(0)), y, divisor))
    w, y = (tuple(Fraction(n == count - 1) for n in range(count)) for count in (taps, outputs))
    return (*result, Product(w, with_roots(POINTS), y, Fraction(1)))


def with_roots(roots: Iterable[int]) -> Row:
    """The coefficients of Π (z − root), the constant first."""
    row = [Fraction(1)]
    for root in roots:
        row = [above - root * own for own, above in zip([*row, Fraction(0)], [Fraction(0), *row], strict=True)]
    return tuple(row)


def weighted(coefficients: Iterable[Fraction], values: Iterable[Expr]) -> Expr:
    """Σ coefficient·value."""
    terms = [
        value if c == 1 else Multiply((Constant(c), value))
        for c, value in zip(coefficients, values, strict=True) if c
    ]
    return Add(tuple(terms)) if len(terms) > 1 else terms[0]
