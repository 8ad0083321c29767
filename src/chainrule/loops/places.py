"""Where a point of an equation's indices is: positions, and what lies there in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from chainrule.ir.expr import Add, Apply, Component, Delta, Expr, Multiply, Power, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes
from chainrule.loops import nodes as ir
from chainrule.loops.layout import Layout, own_subscripts


@dataclass(frozen=True, slots=True)
class Sample:
    """Samples block·width + at; with `at` None, one in each lane."""

    block: Affine
    at: Affine | None


Position = Affine | Sample | ir.Local
Env = Mapping[Index, Position]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor in memory: its buffer, its layout, and how far apart two blocks of samples are."""

    buffer: ir.Buffer
    layout: Layout
    stride: int = 0


Ids = Mapping[Tensor, tuple[tuple[Component, float], ...]]
"""The data that are whole numbers: which of their entries are compared, and of how many positions each is one."""


def ids_of(equations: Iterable[Equation], data: Iterable[Tensor]) -> Ids:
    """An entry is a position of the longest index that it is compared with, `arrays.ids` sees to it; one that is
    compared with anything but an index may be any number."""
    found: dict[Tensor, dict[Component, float]] = {t: {} for t in data if t.dtype == "integer"}
    for equation in equations:
        for node in nodes(equation.value) if Delta in equation.value.types else ():
            if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor in found:
                index, entries = node.left.plain, found[node.right.tensor]
                positions = index.extent if index is not None and isinstance(index.extent, int) else inf
                entries[node.right] = max(entries.get(node.right, 0), positions)
    return {tensor: tuple(entries.items()) for tensor, entries in found.items()}


def is_position(ids: Ids, read: Component, index: Index) -> bool:
    """Whether what is read is always a position of the index."""
    return read.tensor in ids and read.pad is None and isinstance(index.extent, int) and all(
        positions <= index.extent or _apart(entry.subscripts, read.subscripts) for entry, positions in ids[read.tensor]
    )


def _apart(one: Sequence[Affine], other: Sequence[Affine]) -> bool:
    """Whether two entries differ at some axis, whatever the indices."""
    return any(not a.terms and not b.terms and a != b for a, b in zip(one, other, strict=True))


def flat_factors(node: Expr) -> list[Expr]:
    """The factors of a product, those of products inside it too; the node itself where it is none."""
    if not isinstance(node, Multiply):
        return [node]
    return [factor for part in node.factors for factor in flat_factors(part)]


def invariant(body: Expr, indices: Iterable[Index]) -> Iterator[Expr]:
    """The largest parts of an expression that do not depend on the indices and take work to evaluate."""
    stack = [(body, frozenset(indices))]
    while stack:
        node, moving = stack.pop()
        if not moving.isdisjoint(node.free):
            inside = moving.union(node.indices) if isinstance(node, Reduce) else moving
            stack.extend((part, inside) for part in reversed(node.parts))
        elif isinstance(node, (Add, Multiply, Power, Apply, Reduce)):
            yield node


def within(node: Component, layout: Layout) -> bool:
    """Whether no position of a padded read lies outside the tensor and its halo of zeros."""
    own = own_subscripts(node)
    reaches = [s.bounds() for s in own]
    halo = layout.halo if node.pad == 0 else [(0, 0)] * len(layout.halo)
    return all(
        reach is not None and -before <= reach[0] and reach[1] < extent + after
        for reach, extent, (before, after) in zip(reaches, layout.extents, halo, strict=True)
    )


SPARING = 0.8
"""A loop over a window is cut where the padding leaves less than this share of its products."""


def padded_factors(node: Reduce) -> list[Component]:
    """The factors of a sum's terms that are 0 outside of their tensor."""
    factors = flat_factors(node.body)
    return [f for f in factors if isinstance(f, Component) and f.pad == 0 and len(factors) > 1]


def inside(subscript: Affine, index: Index, extent: int) -> float:
    """The share of an index's positions at which a subscript is one of `extent` positions, over all that the other
    indices of the subscript take; 1 where the loop over the index cannot be cut to those."""
    c = subscript.coefficient(index)
    rest = subscript - Affine(((index, c),)) if c else subscript
    span = rest.bounds()
    if abs(c) != 1 or span is None or not isinstance(index.extent, int):
        return 1.0
    places = range(span[0], span[1] + 1)
    return sum(0 <= at + c * n < extent for at in places for n in range(index.extent)) / (len(places) * index.extent)


def known_part(subscript: Affine, env: Env) -> Affine:
    """The known part of a subscript: positions found at run time are left out."""
    return Affine.total(
        [(at, c) for index, c in subscript.terms if isinstance(at := env[index], Affine)], subscript.offset
    )


def placed(layout: Layout, subscripts: Sequence[Affine], env: Env) -> tuple[Affine, tuple[tuple[ir.Local, int], ...]]:
    flat = layout.flat(subscripts)
    found = tuple((p, c) for i, c in flat.terms if isinstance(p := env[i], ir.Local))
    return known_part(flat, env), found


def position_key(position: Position) -> object:
    """A key of a position that does not depend on the order of terms."""
    match position:
        case Affine(terms=terms, offset=offset):
            return frozenset(terms), offset
        case Sample(block=block, at=at):
            return position_key(block), None if at is None else position_key(at)
        case ir.Local():
            return position


def key_of(component: Component, env: Env) -> tuple[object, ...]:
    """What a component is at a point: the tensor, and where in it."""
    places: list[object] = []
    for subscript in component.subscripts:
        found = frozenset((p, c) for i, c in subscript.terms if not isinstance(p := env[i], Affine))
        places.append((position_key(known_part(subscript, env)), found))
    return (component.tensor, component.pad, *places)
