"""Convolutions with fewer products: minimal filtering.

m neighbouring outputs y_i = Σ_b w_b·x_{i+b}, i < m, b < r, take m·r products. With n = m + r − 1 points p_ξ, the last
of which is ∞, they take one for each of these:

    y_i = Σ_ξ p_ξ^i·u_ξ·v_ξ    u_ξ = Σ_b p_ξ^b·w_b / Π_η (p_ξ − p_η)    v_ξ = Σ_k c_k·x_k, c_k that of z^k in Π_η (z − p_η)

over finite η ≠ ξ; at ∞ only the highest power counts, and there is no divisor. It is the transpose of the product of
polynomials by their values (Toom 1963, Cook 1966; Winograd, Arithmetic Complexity of Computations, 1980). A convolution
sums u·v over channels and over the window's other axes: each u is made once for all places, the v in registers, and the
y when all is summed. Where the divisors are not 0 this is exact; floats are rounded in other places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import prod

from chainrule.ir.expr import Add, Component, Constant, Expr, Multiply, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, fresh, nodes, substitute, transform
from chainrule.loops.layout import extents, own_subscripts, sampled
from chainrule.loops.places import flat_factors
from chainrule.loops.task import Task

OUTPUTS = 2
"""m: more outputs take fewer products still, but by numbers so large that floats lose digits."""
POINTS = 0, 1, -1, 2, -2
"""The finite p_ξ, of which the first m + r − 2 are taken."""
TAPS = range(3, 6)
"""r: fewer save little, and for more there are no such small p_ξ."""
TERMS = 16
"""Where fewer products are added up for one u and place, making the y costs what they save."""

Row = tuple[Fraction, ...]


def filtered(task: Task) -> Task:
    """The task with its convolutions of stride 1 so written, over images and back to them, where that is of use."""
    equations: list[Equation] = []
    for equation in task.equations:
        window = window_of(equation)
        equations += rewritten(equation, window) if window else [equation]
    return replace(task, equations=tuple(equations))


@dataclass(frozen=True)
class Window:
    """In a sum over w·x the subscript of x along one axis is `place` + `direction`·`taps` + a number."""

    node: Reduce
    w: Component
    x: Component
    place: Index
    taps: Index
    direction: int


def window_of(equation: Equation) -> Window | None:
    """That of the innermost axis along which the one sum of an equation is a convolution of stride 1."""
    sums = {node for node in nodes(equation.value) if isinstance(node, Reduce)}
    if len(sums) != 1 or not sampled(equation.tensor):
        return None
    (node,) = sums
    match sorted(flat_factors(node.body), key=lambda f: isinstance(f, Component) and sampled(f.tensor)):
        case [Component(pad=None) as w, Component() as x] if node.kind == "sum" and sampled(x.tensor):
            pass
        case _:
            return None
    if sampled(w.tensor) or any(i.is_sample for i in node.indices) or not _surrounded(x):
        return None
    plain = [s.plain for s in w.subscripts]
    for subscript in reversed(own_subscripts(x)):
        for place, taps in ((i, j) for i in subscript.indices for j in subscript.indices if i in equation.indices):
            once = all(sum(i in s.indices for s in x.subscripts) == 1 for i in (place, taps))
            if not (once and len(subscript.terms) == 2 and taps in node.indices and plain.count(taps) == 1):
                continue
            if None in plain or place in plain or sum(place in s.indices for s in equation.target.subscripts) != 1:
                continue
            direction = subscript.coefficient(taps)
            window = Window(node, w, x, place, taps, direction)
            if abs(direction) == subscript.coefficient(place) == 1 and _pays(window, equation):
                return window
    return None


def _surrounded(x: Component) -> bool:
    """Whether what is read is inside a tensor, or in zeros around it that are no more than it has entries."""
    if x.pad is None:
        return True
    sizes = extents(x.tensor)
    reach = [subscript.bounds() or (0, 0) for subscript in own_subscripts(x)]
    wide = [max(high + 1, size) - min(low, 0) for (low, high), size in zip(reach, sizes, strict=True)]
    return x.pad == 0 and prod(wide) <= 2 * prod(sizes)


def _pays(window: Window, equation: Equation) -> bool:
    others = prod(i.extent for i in window.node.indices if isinstance(i.extent, int) and i != window.taps)
    place = window.place.extent
    whole = any(s.plain == window.place for s in equation.target.subscripts)
    return whole and window.taps.extent in TAPS and isinstance(place, int) and place >= 2 * OUTPUTS and others >= TERMS


def rewritten(equation: Equation, window: Window) -> list[Equation]:
    """The equations of all u, then one for each of the m outputs; of places left over, as they were."""
    place, taps = window.place.extent, window.taps.extent
    assert isinstance(place, int) and isinstance(taps, int)
    indices = (*equation.indices, *bound(equation.value))
    tile = Affine.of(fresh("t", place // OUTPUTS, indices)) * OUTPUTS
    others = tuple(i for i in window.node.indices if i != window.taps)
    own = tuple(s for s in window.w.subscripts if s.plain != window.taps)
    start = 0 if window.direction > 0 else 1 - taps
    made: list[Equation] = []
    sums: list[Expr] = []
    for number, (ws, xs, _) in enumerate(products(taps)):
        tensor = Tensor(f"filter {number} of {equation.tensor.name}", tuple(s.indices[0].extent for s in own))
        w = [substitute(window.w, {window.taps: Affine((), b)}) for b in range(taps)][:: window.direction]
        x = [substitute(window.x, {window.place: tile + start + k, window.taps: Affine()}) for k in range(len(xs))]
        made.append(Equation(Component(tensor, own), weighted(ws, w)))
        sums.append(Reduce("sum", others, Multiply((made[-1].target, weighted(xs, x)))))

    def at(position: Affine, value: Expr) -> Equation:
        target = substitute(equation.target, {window.place: position})
        assert isinstance(target, Component)
        return Equation(target, substitute(value, {window.place: position}))

    for i in range(OUTPUTS):
        y = weighted([ys[i] for _, _, ys in products(taps)], sums)
        made.append(at(tile + i, transform(equation.value, lambda node, y=y: y if node is window.node else node)))
    return made + [at(Affine((), n), equation.value) for n in range(place - place % OUTPUTS, place)]


@cache
def products(taps: int) -> Sequence[tuple[Row, Row, Row]]:
    """For each point the coefficients of the w_b in u, of the x_k in v, and of u·v in the y_i."""
    finite = POINTS[: taps + OUTPUTS - 2]
    result: list[tuple[Row, Row, Row]] = []
    for point in finite:
        others = [other for other in finite if other != point]
        divisor = prod(point - other for other in others)
        powers = [Fraction(point**n) for n in range(max(taps, OUTPUTS))]
        result.append((tuple(p / divisor for p in powers[:taps]), with_roots(others), tuple(powers[:OUTPUTS])))
    highest = [tuple(Fraction(n == size - 1) for n in range(size)) for size in (taps, OUTPUTS)]
    return (*result, (highest[0], with_roots(finite), highest[1]))


def with_roots(roots: Iterable[int]) -> Row:
    """The coefficients of Π (z − root), the constant first."""
    row = [Fraction(1)]
    for root in roots:
        row = [above - root * own for own, above in zip([*row, Fraction(0)], [Fraction(0), *row], strict=True)]
    return tuple(row)


def weighted(coefficients: Iterable[Fraction], values: Iterable[Expr]) -> Expr:
    terms = [
        value if c == 1 else Multiply((Constant(c), value))
        for c, value in zip(coefficients, values, strict=True) if c
    ]
    return Add(tuple(terms)) if len(terms) > 1 else terms[0]
