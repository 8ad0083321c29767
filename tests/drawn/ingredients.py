"""Ingredients: for each feature a program may want, an expression that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.drawn.expressions import ONE_PLACE, TWO_PLACE, Expressions
from tests.drawn.language import (
    Add,
    Affine,
    Apply,
    Equation,
    Expr,
    Given,
    Index,
    Multiply,
    N,
    Power,
    Read,
    Reduce,
    Same,
    at,
    free,
    moved,
    places,
    put,
    walk,
)
from tests.drawn.spans import width
from tests.drawn.tensors import Scope, Shape, StuckError, inside_axis, named, positive, spatial

# From what draws, the indices in scope and how deep the expression may be.
Ingredient = Callable[[Expressions, Scope, int], Expr]
SMOOTH = ["tanh", "sigmoid", "softplus"]


def applied(function: str) -> Ingredient:
    return lambda draw, scope, depth: draw.apply(function, scope, depth)


def reduced(kind: str, count: int = 0) -> Ingredient:
    return lambda draw, scope, depth: draw.reduce(kind, scope, depth, count)


def powered(which: str) -> Ingredient:
    return lambda draw, scope, depth: draw.power(which, scope, depth)


INGREDIENTS: dict[str, Ingredient] = {
    **{function: applied(function) for function in (*ONE_PLACE, *TWO_PLACE)},
    **{kind: reduced(kind) for kind in ("sum", "mean", "logsumexp")},
    "maximum": reduced("max"),
    "maximum over several indices": reduced("max", 2),
    "rational power": powered("root"),
    "division": powered("divide"),
}


def ingredient(feature: str) -> Callable[[Ingredient], Ingredient]:
    def add(made: Ingredient) -> Ingredient:
        INGREDIENTS[feature] = made
        return made

    return add


def some(options: Iterable[Index]) -> list[Index]:
    found = list(options)
    if not found:
        raise StuckError
    return found


def without(scope: Scope, v: Index) -> Scope:
    """What is in scope under an index that hides one of its name."""
    return (*(i for i in scope if i.name != v.name), v)


# Reductions


@ingredient("nested reductions")
def _nested(draw: Expressions, scope: Scope, depth: int) -> Expr:
    kinds: dict[Any, float] = {"sum": 4, "max": 1, "logsumexp": 1, "mean": 1}
    new, inside = draw.inner(scope, 1)
    if draw.chance(0.35):
        body = _nested(draw, inside, draw.depth())
    else:
        body = draw.reduce(draw.weighted(kinds), inside, depth)
    if new[0] not in free(body) and not draw.chance(0.1):
        body = draw.product([draw.read(inside, new), body])
    if draw.chance(0.4):
        body = Apply(draw.pick(SMOOTH), (body,))
    return Reduce(draw.weighted(kinds), new, body)


@ingredient("product of sums")
def _sums(draw: Expressions, scope: Scope, depth: int) -> Expr:
    sums = [draw.reduce("sum", scope, depth - 1) for _ in range(2)]
    return Power(draw.tame(sums[0], 4), Fraction(2)) if draw.chance(0.25) else draw.product(sums)


@ingredient("body lacks an index")
def _lacking(draw: Expressions, scope: Scope, depth: int) -> Expr:
    new, _ = draw.inner(scope, 1)
    body = draw.expr(scope, depth)
    if new[0].name in {i.name for i in free(body)}:
        raise StuckError
    return Reduce(draw.weighted({"sum": 2, "max": 2, "logsumexp": 1, "mean": 1}), new, body)


@ingredient("hidden index")
def _hidden(draw: Expressions, scope: Scope, depth: int) -> Expr:
    i = Index(draw.pick(some(spatial(scope))).name, draw.common_extent())
    inside = without(scope, i)
    if not draw.fits(inside):
        raise StuckError
    body = draw.product([draw.read(inside, [i]), draw.expr(inside, depth)])
    return Reduce(draw.weighted({"sum": 4, "max": 1, "logsumexp": 1}), (i,), body)


@ingredient("second sample index")
def _samples(draw: Expressions, scope: Scope, depth: int) -> Expr:
    kind = draw.weighted({"mean": 4, "sum": 1, "max": 1, "logsumexp": 1})
    return draw.reduce(kind, scope, depth, 1, True)


# Brackets


@ingredient("lone bracket")
def _bracket(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return draw.bracket(scope)


@ingredient("[i == j]")
def _same(draw: Expressions, scope: Scope, depth: int) -> Expr:
    whole = draw.shuffled(spatial(scope))
    if len(whole) < 2:
        (j,), inside = draw.inner(scope, 1)
        whole = [i for i in spatial(inside) if i != j]
        right = at(draw.pick(whole)) if whole else Affine((), 0)
        return Reduce("sum", (j,), draw.product([Same(at(j), right), draw.read(inside, [j])]))
    right = Affine(((whole[1], draw.pick([1, 1, 2])),), draw.pick([0, 0, 1, -1]))
    bracket = Same(at(whole[0]), right)
    return bracket if draw.chance(0.25) else draw.product([bracket, draw.expr(scope, depth)])


@ingredient("[0 <= i < e]")
def _within(draw: Expressions, scope: Scope, depth: int) -> Expr:
    whole = some(spatial(scope))
    return draw.product([draw.within(scope, draw.pick(whole)), draw.expr(scope, depth)])


@ingredient("[x > 0]")
def _positive(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return draw.product([positive(draw.expr(scope, depth), scope), draw.leaf(scope)])


# Windows and other subscripts


@ingredient("pad 0")
def _padded(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return window(draw, scope, draw.pick(["sum", "mean", "max"]), 1, 1, "zero")


@ingredient("pad with a number")
def _padded_with(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return window(draw, scope, draw.pick(["sum", "max"]), draw.pick([1, 2]), 1, "number")


@ingredient("pad -inf")
def _padded_below(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return window(draw, scope, "max", draw.pick([1, 1, 2]), 1, "-inf")


@ingredient("stride")
def _strided(draw: Expressions, scope: Scope, depth: int) -> Expr:
    kind, stride, dilation = draw.pick(["sum", "max", "mean"]), draw.pick([2, 2, 3]), draw.pick([1, 1, 2])
    return window(draw, scope, kind, stride, dilation, draw.pick(["none", "zero", "zero"]))


@ingredient("dilation")
def _dilated(draw: Expressions, scope: Scope, depth: int) -> Expr:
    stride, dilation = draw.pick([1, 1, 2]), draw.pick([2, 3])
    return window(draw, scope, "sum", stride, dilation, draw.pick(["none", "zero", "zero"]))


def window(draw: Expressions, scope: Scope, kind: str, stride: int, dilation: int, pad: str) -> Expr:
    """A window over an axis: its subscript is stride·i + dilation·p + offset."""
    i = draw.pick(some(spatial(scope)))
    (p,), inside = draw.inner(scope, 1)
    if p.extent == 1:
        p = Index(p.name, 2)
        inside = without(inside, p)
    if i not in inside or not draw.fits(inside):
        raise StuckError
    need = 0 if pad != "none" else stride * (width(i) - 1) + dilation * (width(p) - 1) + 1
    source = draw.new(inside, [p], "input") or draw.new(inside, [p], "parameter")
    shapes = draw.shapes()
    offset = 0 if pad == "none" else draw.pick([0, -1, -1, 1])
    name = windowed(draw, scope, shapes, need) if source is None or draw.chance(0.4) else source.name
    slid = Affine(((i, stride), (p, dilation)), offset)
    subscripts, extent = slide(draw, shapes.get(name) or draw.given[name].shape, inside, slid, need)
    value: Any = {"none": None, "zero": Fraction(0), "number": draw.padding(name), "-inf": "-inf"}[pad]
    if pad == "number" and value == 0:
        value = Fraction(1, 2)
    read = Read(name, subscripts, value)
    if pad == "-inf" and not all(meets(slid, i, p, at_i, extent) for at_i in range(width(i))):
        raise StuckError
    if pad == "-inf" or kind == "max":
        return Reduce("max", (p,), read)
    weight = draw.read(inside, [p]) if draw.chance(0.7) else None
    return Reduce("mean" if kind == "mean" else "sum", (p,), draw.product([weight, read]) if weight else read)


def windowed(draw: Expressions, scope: Scope, shapes: dict[str, Shape], need: int) -> str:
    """A tensor with an axis of at least so many places."""
    sampled = any(i.extent == N for i in scope)
    options = [
        name for name, shape in shapes.items()
        if any(isinstance(e, int) and e >= need for e in shape) and (N not in shape or sampled)
    ]  # fmt: skip
    if not options:
        raise StuckError
    return draw.pick(options)


def slide(draw: Expressions, shape: Shape, inside: Scope, slid: Affine, need: int) -> tuple[tuple[Affine, ...], int]:
    """Subscripts with `slid` at the first axis of at least so many places, and the extent of that axis."""
    subscripts: list[Affine] = []
    found: int | None = None
    for extent in shape:
        plain = [j for j in inside if j.extent == extent]
        if isinstance(extent, int) and found is None and extent >= need:
            subscripts.append(slid)
            found = extent
        elif plain or extent == N:
            subscripts.append(at(draw.pick(plain)))
        else:
            subscripts.append(Affine((), draw.below(int(extent))))
    if found is None:
        raise StuckError
    return tuple(subscripts), found


def meets(slid: Affine, i: Index, p: Index, at_i: int, extent: int) -> bool:
    """Whether a window reads something inside of its axis."""
    factors = dict(slid.terms)
    return any(0 <= factors[i] * at_i + factors[p] * b + slid.offset < extent for b in range(width(p)))


@ingredient("reversed")
def _reversed(draw: Expressions, scope: Scope, depth: int) -> Expr:
    i = draw.pick(some(spatial(scope)))
    made = draw.new(scope, [i]) or draw.read(scope, [i], fresh=0)
    if not isinstance(made, Read) or all(s.plain != i for s in made.subscripts):
        raise StuckError
    back = Affine(((i, -1),), width(i) - 1)
    turned = tuple(back if s.plain == i else s for s in made.subscripts)
    return draw.product([replace(made, subscripts=turned), draw.leaf(scope)])


@ingredient("several reads of one tensor")
def _several_reads(draw: Expressions, scope: Scope, depth: int) -> Expr:
    first = draw.read(scope, [draw.pick(some(spatial(scope)))])
    shape = draw.shapes().get(first.name) if isinstance(first, Read) else None
    if shape is None or not isinstance(first, Read):
        raise StuckError
    for _ in range(8):
        other = draw.fit(first.name, shape, scope, [])
        if other is not None and other.subscripts != first.subscripts:
            both = (first, other)
            return draw.product(both) if draw.chance(0.5) else Add(((True, first), (False, other)))
    raise StuckError


@ingredient("strides side by side")
def _strides(draw: Expressions, scope: Scope, depth: int) -> Expr:
    """Reads of one axis at s·i + j and at other places of the same stride, or of none."""
    whole = some(draw.shuffled(spatial(scope)))
    i, stride = whole[0], draw.pick([2, 2, 3])
    inside, bound = scope, None
    if len(whole) > 1 and draw.chance(0.6):
        j = whole[1]
    else:
        (bound,), inside = draw.inner(scope, 1)
        j = bound
        if i not in inside:
            raise StuckError
    first = Affine(((i, stride), (j, 1)), draw.pick([0, 0, 1]))
    extent = first.bounds[1] + 1 + draw.weighted({0: 3, 1: 1})
    sample = next((n for n in scope if n.extent == N), None)
    lead: tuple[Index, ...] = (sample,) if sample and draw.inputs_left else ()
    name = draw.give("input" if lead else "parameter", (*(n.extent for n in lead), extent))
    more = [j for j in whole if j != i]
    choices = [
        Affine(((i, stride),), draw.pick([0, 0, 1])), Affine(((i, 1),), draw.pick([0, 1])), Affine((), 0),
        Affine(((i, stride), (draw.pick(more), 1)) if more else ((i, stride),), draw.pick([0, 0, 1])),
        Affine(((i, draw.pick([1, 2, 3])),), -1),
    ]  # fmt: skip

    def read(s: Affine) -> Expr:
        whole_axis = inside_axis(s, extent) and (s.plain is None or s.plain.extent == extent)
        return Read(name, (*map(at, lead), s), None if whole_axis else draw.padding(name))

    one: Expr = read(first)
    if bound is not None:
        one = Reduce(draw.pick(["mean", "sum", "max", "logsumexp"]), (bound,), one)
    if draw.chance(0.3):
        one = Apply(draw.pick(["tanh", "sigmoid", "exp"]), (draw.tame(one, 2),))
    others = [read(draw.pick(choices)) for _ in range(draw.pick([1, 1, 2]))]
    if draw.chance(0.5):
        return draw.product([one, *others])
    return Add(((True, one), *((draw.chance(0.5), o) for o in others)))


@ingredient("a value twice")
def _again(draw: Expressions, scope: Scope, depth: int) -> Expr:
    """The value of an equation before, at this one's indices: where these reach further than that one's, its tensor
    does not hold it."""
    earlier = [e for e in draw.equations if e.name not in draw.integers and not draw.only]
    found = [(e, new) for e in earlier if (new := _elsewhere(draw, e, scope)) is not None]
    if not found:
        raise StuckError
    before, new = draw.pick(found)
    value = moved(before.value, new)
    shapes = {**{g.name: g.shape for g in draw.given.values()}, **draw.defined, **draw.integers}
    for path, r in [*places(value)]:
        if isinstance(r, Read) and r.pad is None and not _whole(r, shapes[r.name]):
            if r.name in draw.integers:
                raise StuckError
            value = put(value, path, replace(r, pad=draw.padding(r.name)))
    return draw.product([draw.tame(value, 4), draw.leaf(scope)])


def _elsewhere(draw: Expressions, e: Equation, scope: Scope) -> dict[Index, Index] | None:
    """Indices of this scope for those of an equation before, where there are any, those that reach further first."""
    inner = {i for node in walk(e.value) if isinstance(node, Reduce) for i in node.indices}
    new: dict[Index, Index] = {}
    for i in sorted(free(e.value), key=lambda i: i.name):
        options = [j for j in scope if (j.extent == N) == (i.extent == N) and j.name not in {k.name for k in inner}]
        further = [j for j in options if width(j) > width(i)]
        if not options:
            return None
        new[i] = draw.pick(further or options)
    return new if draw.fits((*scope, *inner)) else None


def _whole(r: Read, shape: Shape) -> bool:
    """Whether every place that it is read at is inside of the tensor."""
    return all(
        s.plain.extent == extent if s.plain else isinstance(extent, int) and inside_axis(s, extent)
        for s, extent in zip(r.subscripts, shape, strict=False)
    )


@ingredient("two maxima of one tensor")
def _two_maxima(draw: Expressions, scope: Scope, depth: int) -> Expr:
    """Each has its own place."""
    indices, inside = draw.inner(scope, 1)
    first = draw.read(inside, indices)
    shape = draw.shapes().get(first.name) if isinstance(first, Read) else None
    if shape is None or not isinstance(first, Read):
        raise StuckError
    for _ in range(8):
        other = draw.fit(first.name, shape, inside, indices)
        if other is not None and other.subscripts != first.subscripts:
            one, two = (Reduce("max", indices, r) for r in (first, other))
            return draw.product([one, two]) if draw.chance(0.5) else Add(((True, one), (False, two)))
    raise StuckError


# Tensors of certain kinds


@ingredient("parameter")
def _parameter(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return draw.new(scope, kind="parameter") or draw.leaf(scope)


@ingredient("diagonal")
def _diagonal(draw: Expressions, scope: Scope, depth: int) -> Expr:
    i = draw.pick(some(spatial(scope)))
    if sum(g.kind == "parameter" for g in draw.given.values()) >= 6:
        raise StuckError
    name = draw.give("parameter", (width(i), width(i)))
    return draw.product([named(name, i, i), draw.leaf(scope)])


@ingredient("random")
def _random(draw: Expressions, scope: Scope, depth: int) -> Expr:
    n = next((i for i in scope if i.extent == N), None)
    if n is None or draw.form != "layer":
        raise StuckError
    chosen = (n, *draw.shuffled(spatial(scope))[:2])
    name = draw.give("random", tuple(i.extent for i in chosen))
    return draw.product([named(name, *chosen), draw.expr(scope, depth)])


@ingredient("state")
def _state(draw: Expressions, scope: Scope, depth: int) -> Expr:
    if draw.form != "layer":
        raise StuckError
    chosen = draw.shuffled(spatial(scope))[: draw.pick([0, 1, 1, 1, 2])]
    name = draw.give("state", tuple(i.extent for i in chosen))
    following = draw.tensor(f"{name}_next", f"{name}1")
    draw.given[name] = replace(draw.given[name], next=following)
    draw.pending.append((name, following, tuple(chosen)))
    read = named(name, *chosen)
    return draw.pick([draw.product([read, draw.leaf(scope)]), Add(((True, draw.leaf(scope)), (False, read)))])


@ingredient("argmax")
def _argmax(draw: Expressions, scope: Scope, depth: int) -> Expr:
    """A row chosen by where the greatest entry is, an equation of its own."""
    known = [n for n, s in draw.integers.items() if all(any(i.extent == e for i in scope) for e in s[:-1])]
    if not known:
        raise StuckError
    name = draw.pick(known)
    *shape, top = draw.integers[name]
    subscripts = tuple(at(draw.pick([i for i in scope if i.extent == e])) for e in shape)
    v = draw.index(scope, top)
    inside = without(scope, v)
    if not draw.fits(inside) or {i for s in subscripts for i in s.indices} - set(inside):
        raise StuckError
    return Reduce("sum", (v,), draw.product([Same(at(v), Read(name, subscripts)), draw.read(inside, [v])]))


@ingredient("[v == id]")
def _row(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return row(draw, scope)


@ingredient("several id columns")
def _rows(draw: Expressions, scope: Scope, depth: int) -> Expr:
    return Add(((True, row(draw, scope, several=True)), (True, row(draw, scope, several=True))))


def row(draw: Expressions, scope: Scope, several: bool = False) -> Expr:
    """A row of a table, by a whole number that is given."""
    n = next((i for i in scope if i.extent == N), None)
    if draw.sampled and n is None:
        raise StuckError
    lead: tuple[Index, ...] = (n,) if n else ()
    given = numbers(draw, scope, lead, several)
    last = int(given.shape[-1])
    plain = [i for i in spatial(scope) if i.extent == last]
    if len(given.tops) > 1 or not plain or draw.chance(0.2):
        column = draw.below(last)
        top, subscript = given.tops[column % len(given.tops)], Affine((), column)
    else:
        top, subscript = next(iter(given.tops)), at(draw.pick(plain))
    number = Read(given.name, (*map(at, lead), subscript))
    v = draw.index(scope, top)
    if v in scope:
        raise StuckError
    if draw.chance(0.15) and (i := next((i for i in spatial(scope) if i.extent == top), None)):
        return draw.product([Same(at(i), number), draw.leaf(scope)])
    inside = without(scope, v)
    if not draw.fits(inside) or {*lead, *subscript.indices} - set(inside):
        raise StuckError
    read, bracket = draw.read(inside, [v], fresh=0.8), Same(at(v), number)
    return Reduce("sum", (v,), Multiply((bracket, read) if draw.chance(0.7) else (read, bracket)))


def numbers(draw: Expressions, scope: Scope, lead: tuple[Index, ...], several: bool) -> Given:
    """An input of whole numbers, one of those there are or a new one."""
    known = [g for g in draw.given.values() if g.kind == "id" and len(g.shape) == len(lead) + 1]
    if not known and not draw.inputs_left:
        raise StuckError
    if known and (several or draw.chance(0.4) or not draw.inputs_left):
        return draw.pick(known)
    columns = 2 if several else draw.pick([width(i) for i in spatial(scope)] or [1])
    tops = draw.shuffled([2, 3, 4])[:columns] if several else [draw.extent() + 1]
    return draw.given[draw.give("id", (*(i.extent for i in lead), columns), tops=tuple(tops))]
