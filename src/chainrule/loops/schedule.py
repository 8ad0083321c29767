"""Schedules: what of a kernel goes into the lanes of a vector, and its register tile.

A schedule says where and when, never what. It orders and tiles output indices only; every output component takes its
terms in the order of its equation, so all schedules give the same bits. The cost model counts products, loads and the
latency of a chain of additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from chainrule.ir.expr import Add, Apply, Component, Constant, Expr, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes
from chainrule.loops.fuse import Group, Lanes
from chainrule.loops.layout import Layout, extents, own_subscripts, sampled
from chainrule.loops.places import SPARING, flat_factors, inside, padded_factors, within

Tile = tuple[int, ...]
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)


@dataclass(frozen=True, slots=True)
class Machine:
    """The lanes of a vector, the accumulators that fit into registers beside their operands, and the workers among whom
    a step is shared out."""

    lanes: int
    accumulators: int
    workers: int = 1

    @property
    def held(self) -> int:
        """Vectors that a compiler keeps in registers through a loop: accumulators and what they are made of."""
        return self.accumulators * 5 // 4

    @property
    def latency(self) -> int:
        """Additions that must be under way at once to keep the units busy."""
        return 4 if self.lanes == 16 else 8


@dataclass(frozen=True, slots=True)
class Loop:
    """Neighbouring output indices as one loop: its counter stands for the last of them and runs on beyond that one's
    extent, while the others stay at 0."""

    indices: tuple[Index, ...]
    extent: int


@dataclass(frozen=True)
class Schedule:
    """How a kernel runs.

    - `lanes`: what a vector holds: samples, neighbouring outputs of the last loop, or terms of sums, which are split.
    - `tile`: what is computed together: tile[0] blocks of samples, and tile[n] positions of loop n, whole vectors of
      them for the last loop where outputs are in the lanes.
    - `across`: whether the first loop is outside of that over the blocks of samples."""

    lanes: Lanes
    loops: tuple[Loop, ...]
    tile: Tile
    across: bool = False


def loops(group: Group, layouts: Mapping[Tensor, Layout]) -> tuple[Loop, ...]:
    """The output indices but the samples'. Neighbours are one loop where in every component the outer one's stride is
    the inner one's stride times its extent."""
    parts = [c for e in group.equations for c in (e.target, *reads(e))]
    barred = {i for e in group.equations for i in positional(e.value)}
    barred.update(i for node in reductions(group) for subscript, _ in _cuts(node) for i in subscript.indices)
    result: list[Loop] = []
    for index in reversed([i for i in group.indices if not i.is_sample]):
        assert isinstance(index.extent, int)
        last = result[0] if result else None
        if last is not None and index not in barred and not barred.intersection(last.indices):
            inner = last.indices[-1]
            steps = [(step(c, index, layouts), step(c, inner, layouts)) for c in parts]
            if all(a is not None and b is not None and a == b * last.extent for a, b in steps):
                result[0] = Loop((index, *last.indices), index.extent * last.extent)
                continue
        result.insert(0, Loop((index,), index.extent))
    return tuple(result)


def reads(equation: Equation) -> Iterable[Component]:
    return (node for node in nodes(equation.value) if isinstance(node, Component))


def step(component: Component, index: Index, layouts: Mapping[Tensor, Layout]) -> int | None:
    """How far apart in memory neighbouring positions of an index are; None where padding depends on it."""
    layout = layouts[component.tensor]
    own = own_subscripts(component)
    if component.pad is not None and index in component.free and not within(component, layout):
        return None
    return layout.flat(own).coefficient(index)


def positional(value: Expr) -> Iterable[Index]:
    """Indices whose very position matters, in brackets."""
    for node in nodes(value):
        if not isinstance(node, (Component, Constant, Size, Add, Multiply, Power, Apply, Reduce)):
            yield from node.free


def side_by_side(group: Group, loop: Loop, layouts: Mapping[Tensor, Layout]) -> bool:
    """Whether neighbouring positions of a loop are neighbours in memory for all that depends on them."""
    index = loop.indices[-1]
    if any(i in loop.indices for e in group.equations for i in positional(e.value)):
        return False
    for equation in group.equations:
        if step(equation.target, index, layouts) != 1:
            return False
        for component in reads(equation):
            if component.tensor.dtype != "real" and index in component.free:
                return False
            if step(component, index, layouts) not in (0, 1):
                return False
    return True


def fits(group: Group, layouts: Mapping[Tensor, Layout]) -> bool:
    """Whether neighbouring outputs of the group can be in the lanes."""
    found = loops(group, layouts)
    return bool(found) and side_by_side(group, found[-1], layouts)


def lanes_of(
    equation: Equation, layouts: Mapping[Tensor, Layout], machine: Machine, width: int, samples: int
) -> Lanes | None:
    """What the sums of an equation have in the lanes: decided by the equation alone."""
    alone = Group((equation,))
    sums = any(node.kind == "sum" for node in reductions(alone))
    machine = replace(machine, workers=1)  # how many there are must not change a bit
    if sums and width > 1 and any(i.is_sample for i in alone.indices):
        return "samples"
    return choose(alone, layouts, machine, width, samples).lanes if sums else None


def needs_rows(group: Group, loop: Loop) -> list[Tensor]:
    """The tensors with samples of which neighbouring components go into the lanes."""
    own = set(loop.indices)
    return list(dict.fromkeys(
        c.tensor for e in group.equations for c in reads(e)
        if sampled(c.tensor) and not own.isdisjoint(c.free) and c.tensor not in group.targets
    ))


def choose(
    group: Group, layouts: Mapping[Tensor, Layout], machine: Machine, width: int, samples: int
) -> Schedule:
    """The cheapest schedule by the model among those with the group's lanes; `samples` is how many are expected at
    once."""
    found = loops(group, layouts)
    blocks = -(-samples // width)
    has_samples = any(i.is_sample for i in group.indices)
    if has_samples and width > 1:
        return Schedule("samples", found, tiles(group, found, machine, "samples", blocks)[0])
    options: list[tuple[float, Schedule]] = []
    outer = samples if has_samples else 1
    for lanes in ("outputs", "terms"):
        if group.lanes not in (None, lanes):
            continue
        if lanes == "outputs":
            if not fits(group, layouts):
                continue
            copied = [t for t in needs_rows(group, found[-1]) if width > 1]
            extra = sum(layouts[t].size for t in copied) * blocks * width / 2  # a copy in rows is a transpose
        else:
            extra = 0
        tile = tiles(group, found, machine, lanes, outer)[0]
        cost = total_cost(group, found, tile, machine, lanes, outer, samples, width) + extra
        options.append((cost, Schedule(lanes, found, tile)))
    return min(options, key=lambda option: option[0])[1]


def alternatives(group: Group, schedule: Schedule, machine: Machine, width: int, samples: int) -> list[Schedule]:
    """The schedules that differ from one in the tile alone, by what the model thinks of them."""
    has_samples = any(i.is_sample for i in group.indices)
    outer = (-(-samples // width) if schedule.lanes == "samples" else samples) if has_samples else 1
    return [replace(schedule, tile=tile) for tile in tiles(group, schedule.loops, machine, schedule.lanes, outer)]


def few_rows(schedule: Schedule, machine: Machine) -> Tile:
    """The tile for sums whose rows come from a far cache, each entry updated before it is multiplied: half the latency
    and one rows, with which update and product fill the units, since the prefetcher follows few streams."""
    rows = min(machine.latency // 2 + 1, schedule.loops[0].extent)
    return (1, rows, *(1 for _ in schedule.loops[1:]))


def reductions(group: Group) -> list[Reduce]:
    return [n for e in group.equations for n in nodes(e.value) if isinstance(n, Reduce)]


def bundles(reductions: Iterable[Reduce]) -> list[list[Reduce]]:
    """Reductions that are computed in one nest of loops: sums over the same samples, which are much to go through
    again, and otherwise each by itself."""
    result: dict[object, list[Reduce]] = {}
    for node in dict.fromkeys(reductions):
        together = node.kind == "sum" and any(i.is_sample for i in node.indices) and not padded_factors(node)
        plain = all(isinstance(n, (Component, Constant, Add, Multiply)) for n in nodes(node.body))
        result.setdefault((node.indices, frozenset(node.free)) if together and plain else node, []).append(node)
    return [*result.values()]


@dataclass(frozen=True, slots=True)
class Demand:
    """What one term of a bundle of sums takes: `products`, loads of `vectors` and of single numbers (`scalars`). A load
    is given as the loops that it depends on, 0 for the blocks of samples: a tile needs it so often as the product of
    its sides there. `sums` has the factors of each sum in the same way. `left` is the share of the terms that padding
    leaves."""

    own: tuple[int, ...]
    sums: tuple[tuple[tuple[int, ...], ...], ...]
    products: int
    vectors: tuple[tuple[int, ...], ...]
    scalars: tuple[tuple[int, ...], ...]
    left: float

    def cycles(self, tile: Sequence[int], machine: Machine) -> float:
        """For one term at all points of a tile."""
        width = 2 if machine.lanes < 16 else 1  # vectors multiplied in one cycle
        vectors = [prod([tile[n] for n in loops]) for loops in self.vectors]
        scalars = [prod([tile[n] for n in loops]) for loops in self.scalars]
        vector, scalar = sum(vectors), sum(scalars)
        points = prod([tile[n] for n in self.own])
        products = points * self.products
        factors = [[prod([tile[n] for n in loops]) for loops in each] for each in self.sums]
        held = points * len(factors) + max(sum(each) - max(each) for each in factors) + 1
        if held > machine.held:  # a vector is loaded anew for each product
            vector = products
        busy = max(products / width, vector / width + scalar / 2, machine.latency / width)
        return (busy + 0.06 * vector + 0.05 * scalar) * self.left


def demand(together: Sequence[Reduce], found: Sequence[Loop], lanes: Lanes) -> Demand:
    def loops_of(part: Expr) -> tuple[int, ...]:
        free = set(part.free)
        blocks = (0,) if lanes == "samples" and any(i.is_sample for i in free) else ()
        return (*blocks, *(n for n, loop in enumerate(found, 1) if not free.isdisjoint(loop.indices)))

    node, bodies = together[0], [each.body for each in together]
    parts = [*dict.fromkeys(n for n in nodes(*bodies) if isinstance(n, Component))]
    moving = [_moving(part, node, found, lanes) for part in parts]
    return Demand(
        loops_of(node),
        tuple(tuple(map(loops_of, dict.fromkeys(flat_factors(body)))) for body in bodies),
        sum(max(1, len(flat_factors(body)) - 1) for body in bodies),
        tuple(loops_of(part) for part, moves in zip(parts, moving, strict=True) if moves),
        tuple(loops_of(part) for part, moves in zip(parts, moving, strict=True) if not moves),
        prod([share for _, share in _cuts(node)]),
    )


def _cuts(node: Reduce) -> Iterable[tuple[Affine, float]]:
    """For each index of a sum, the subscripts that lead it beyond a tensor's ends, and the share of its terms that
    padding leaves on average, where that is worth a cut."""
    for index in node.indices:
        for component in padded_factors(node):
            for subscript, extent in zip(own_subscripts(component), extents(component.tensor), strict=True):
                if (share := inside(subscript, index, extent)) < SPARING:
                    yield subscript, share


def single_sided(group: Group, found: Sequence[Loop]) -> set[int]:
    """The loops (from 1) of which a tile has one position, whatever that costs: where sums leave out the terms that
    padding makes 0, all tiles leave out the same. A 0 that is added may change the sign of another, and 0·∞ is none."""
    moving = {i for node in reductions(group) for subscript, _ in _cuts(node) for i in subscript.indices}
    return {n for n, loop in enumerate(found, 1) if not moving.isdisjoint(loop.indices)}


def tiles(
    group: Group, found: Sequence[Loop], machine: Machine, lanes: Lanes, blocks: int
) -> list[Tile]:
    """The tiles that fit into the registers, the cheapest by the model first."""
    demands = [demand(sums, found, lanes) for sums in bundles(reductions(group)) if sums[0].kind == "sum"]
    if not demands:
        return [(1,) * (len(found) + 1)]
    most = machine.accumulators // max(len(d.sums) for d in demands)
    counts = [blocks, *(_positions(loop, machine, lanes, loop is found[-1]) for loop in found)]
    sizes = [(1, 2, 3, 4) if lanes == "samples" else (1,), *(SIZES for _ in found)]
    single = single_sided(group, found)
    options = [
        [s for s in some if s <= max(count, 1) and (s == 1 or n not in single)]
        for n, (some, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    costs: dict[Tile, float] = {}
    shared = 0 if any(i.is_sample for i in group.indices) else 1  # blocks of samples, or else the first loop
    for tile in _tiles(options, max(most, 1)):
        cost = 0.0
        each = [_parts(count, t) for count, t in zip(counts, tile, strict=True)]
        if shared < len(each):
            each[shared] = _share(counts[shared], tile[shared], machine.workers, blocks=shared == 0)
        for part in product(*each):
            times = prod(n for n, _ in part)
            if times:
                cost += times * sum(d.cycles([t for _, t in part], machine) for d in demands)
        # Among equals the smaller program; where sums are taken together, of those the tile along outer loops, whose
        # planes are streams.
        longer = [n for n, t in enumerate(tile) if t > 1]
        costs[tile] = cost * (1 + 0.001 * len(longer) + (0.0005 * sum(longer) if most < machine.accumulators else 0.0))
    return sorted(costs, key=costs.__getitem__)


def _tiles(options: Sequence[Sequence[int]], most: int) -> Iterable[tuple[int, ...]]:
    """The tiles of at most so many points, with at most three sides longer than 1."""
    tiles: list[tuple[int, ...]] = [()]
    for sizes in options:
        tiles = [
            (*tile, size) for tile in tiles for size in sizes
            if prod(tile) * size <= most and sum(t > 1 for t in (*tile, size)) <= 3
        ]
    return tiles


def _positions(loop: Loop, machine: Machine, lanes: Lanes, last: bool) -> int:
    return -(-loop.extent // machine.lanes) if lanes == "outputs" and last else loop.extent


def _parts(count: int, tile: int) -> list[tuple[int, int]]:
    """How often the tile fits, and once what is left over."""
    return [(count // tile, tile), (1, count % tile)] if count % tile else [(count // tile, tile)]


def _share(count: int, tile: int, workers: int, *, blocks: bool) -> list[tuple[int, int]]:
    """The same for the greatest share of a worker. Blocks that are left over are run one by one."""
    if blocks:
        own = -(-count // workers)
        return [(own // tile, tile), (own % tile, 1)]
    units = -(-count // tile)
    return _parts(min(count, -(-units // workers) * tile), tile)


def _moving(component: Component, node: Reduce, found: Sequence[Loop], lanes: Lanes) -> bool:
    match lanes:
        case "samples":
            return any(i.is_sample for i in component.free)
        case "outputs":
            return not set(found[-1].indices).isdisjoint(component.free)
        case "terms":
            return any(i.is_sample for i in component.free) or node.indices[-1] in component.free


def total_cost(
    group: Group, found: Sequence[Loop], tile: Sequence[int], machine: Machine, lanes: Lanes, outer: int,
    samples: int, width: int,
) -> float:
    """Cycles of a kernel, to compare ways to fill the lanes."""
    vectors = [_positions(loop, machine, lanes, loop is found[-1]) for loop in found]
    cost = 0.0
    for part in product(*(_parts(c, t) for c, t in zip((outer, *vectors), tile, strict=True))):
        times = prod(n for n, _ in part)
        sizes = [t for _, t in part]
        if not times:
            continue
        for node in reductions(group):
            terms = prod(_terms(i, samples, width, lanes) for i in node.indices)
            if lanes == "terms" and not any(i.is_sample for i in node.indices):
                last = node.indices[-1].extent
                terms = terms // last * -(-last // machine.lanes) if isinstance(last, int) else terms
            cost += times * demand([node], found, lanes).cycles(sizes, machine) * terms
            if lanes == "terms":
                cost += times * prod(sizes) * machine.lanes / 2  # the sum over the lanes
        cost += times * prod(sizes) * len(group.equations)
    return cost


def _terms(index: Index, samples: int, width: int, lanes: Lanes) -> int:
    if not isinstance(index.extent, int):
        return -(-samples // width) if lanes == "terms" else samples
    return index.extent
