"""One group of equations and its schedule, written out as a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from chainrule.ir.expr import Add, Apply, Component, Delta, Expr, Multiply, Power, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import components
from chainrule.loops import nodes as ir
from chainrule.loops.fuse import Group
from chainrule.loops.layout import sampled
from chainrule.loops.lower import ZERO, Lowering
from chainrule.loops.places import Env, Ids, Place, Position, Sample, flat_factors, is_position
from chainrule.loops.schedule import Schedule, bundles


class Builder:
    """`stored` are the targets that something outside of the group reads; `update` holds equations that are computed
    where the group reads their targets."""

    def __init__(
        self, group: Group, schedule: Schedule, places: Mapping[tuple[Tensor, bool], Place], stored: frozenset[Tensor],
        lanes: int, width: int, ids: Ids, update: Sequence[Equation] = (),
    ) -> None:
        self.group, self.schedule = group, schedule
        self.lanes, self.width = lanes, width
        self.low = Lowering(places, lanes, width, ids, schedule.lanes == "terms", stored, update)
        self.split: Literal["blocks"] | int | None = None
        self.unit = 1
        self.order: list[int | Index] = [*range(len(schedule.loops))]
        self.order[schedule.across : schedule.across] = [i for i in group.indices if i.is_sample]

    def build(self, name: str, comment: Sequence[str]) -> ir.Kernel:
        pick = scattered(self.group, self.low.ids)
        if pick is not None:
            self.scatter(*pick)
        else:
            self.hoist(set())
            self.nest(0, [{}])
        return ir.Kernel(
            name, tuple(comment), tuple(dict.fromkeys((*self.low.written, *self.low.read))), tuple(self.low.written),
            self.split, self.unit, tuple(self.low.statements), crosses(self.group),
        )

    # Loops over the outputs

    def nest(self, level: int, envs: list[Env]) -> None:
        """The loops from a level on, then what stands inside."""
        if level == len(self.order):
            self.body(envs)
            return
        match self.order[level]:
            case Index() as sample:
                self.blocks(level, sample, envs)
            case number:
                self.positions(level, number, envs, level == 0)

    def blocks(self, level: int, sample: Index, envs: list[Env]) -> None:
        tile, first = self.schedule.tile[0], 0
        stop = "blocks"
        if level == 0:
            self.split, first, stop = "blocks", "from", "to"
        at = None if self.width > 1 else Affine()
        variable = self.low.variable("blocks", "b")
        for size in dict.fromkeys((tile, 1)):
            with self.low.inside() as statements:
                points: list[Env] = [
                    {**env, sample: Sample(Affine.of(variable) + n, at)} for n in range(size) for env in envs
                ]
                self.hoist(set(points[0]), points)
                self.nest(level + 1, points)
            start = first if size == tile else None
            self.low.statements.append(ir.For(variable, start, stop, size, tuple(statements)))

    def positions(self, level: int, number: int, envs: list[Env], split: bool) -> None:
        """A loop over an output index: in tiles, then what is left, then, in the lanes, a part of a vector."""
        loop, tile = self.schedule.loops[number], self.schedule.tile[number + 1]
        vector = self.schedule.lanes == "outputs" and number == len(self.schedule.loops) - 1
        unit = self.lanes if vector else 1
        count = loop.extent // unit
        variable = self.low.variable(loop.extent, "i")
        if split:
            self.split, self.unit = loop.extent, tile * unit
        if vector:
            self.low.lane = variable
        pieces = [(0, count - count % tile, tile), (count - count % tile, count, count % tile)]
        for start, stop, size in pieces:
            if stop > start:
                self.piece(level, loop.indices, variable, (start * unit, stop * unit), size, unit, envs, split)
        if vector and loop.extent % unit:
            self.low.part = loop.extent % unit
            self.piece(level, loop.indices, variable, (count * unit, loop.extent), 1, unit, envs, split)
            self.low.part = None
        if vector:
            self.low.lane = None

    def piece(
        self, level: int, indices: Sequence[Index], variable: Index, span: tuple[int, int], size: int, unit: int,
        envs: list[Env], split: bool,
    ) -> None:
        start, stop = span
        with self.low.inside() as statements:
            here: list[Position] = [Affine.of(variable) + n * unit for n in range(size)]
            once = not split and stop - start <= size * unit and self.low.lane is not variable
            if once:
                here = [Affine((), start + n * unit) for n in range(size)]
            zero: Position = Affine()
            points: list[Env] = [{**env, **dict.fromkeys(indices, zero), indices[-1]: p} for p in here for env in envs]
            self.hoist(set(points[0]), points)
            self.nest(level + 1, points)
        if once:
            self.low.statements += statements
        else:
            first = ("from", start) if split else start
            last = ("to", stop) if split else stop
            whole = size * unit if stop - start >= size * unit else stop - start
            self.low.statements.append(ir.For(variable, first, last, whole, tuple(statements)))

    def hoist(self, bound: set[Index], envs: list[Env] | None = None) -> None:
        """Name what depends on the outer indices alone, outside of the inner loops."""
        if bound >= set(self.group.indices):
            return
        for equation in self.group.equations:
            for node in early(equation.value, bound):
                self.low.many(node, envs or [{}])

    def body(self, envs: list[Env]) -> None:
        """The values at the points of a tile: first sums, at all points together, then what is made of them, point by
        point, so that few values wait in registers."""
        for part in segments(self.group):
            reductions = [node for equation in part for node in outermost(equation.value)]
            if reductions:
                self.fetch(part, envs)
            for nodes in bundles(reductions):
                if len(nodes) > 1:
                    self.low.bundle(nodes, envs)
                else:
                    self.low.many(nodes[0], envs)
            for env in envs:
                self.low.compute(part, env)

    def fetch(self, part: Sequence[Equation], envs: list[Env]) -> None:
        """Bring to the cache, while sums run, what is put together with them at the end."""
        made = set(self.group.targets)
        every = dict.fromkeys(node for equation in part for node in ends(equation.value))
        for node in every:
            if isinstance(node, Component) and node.pad is None and node.tensor not in made:
                for env in envs:
                    self.low.fetch(node, env)

    # Sums that go where a bracket says

    def scatter(self, index: Index, ids: Component) -> None:
        """δE[v, d] = Σ δ[n, d]·[v = id[n]]: each term goes to the row that its id names, in the order of the sum."""
        equation = self.group.equations[0]
        node = equation.value
        assert isinstance(node, Reduce)
        target = equation.target
        others = [i for i in equation.indices if i != index]
        rest = [f for f in flat_factors(node.body) if not (isinstance(f, Delta) and f.right is ids)]

        def zero(points: list[Env], alive: ir.Atom | None) -> None:
            self.low.store(target, points[0], ZERO)

        def add(points: list[Env], alive: ir.Atom | None) -> None:
            picked: Env = {**points[0], index: self.low.found(ids, points[0])}

            def one(inner: list[Env], alive: ir.Atom | None) -> None:
                sum_so_far = self.low.fresh_load(target, inner[0])
                terms = [self.low.many(f, inner)[0] for f in rest]
                self.low.store(target, inner[0], self.low.added(sum_so_far, terms))

            self.low.loop(others, [picked], one, None)

        self.low.loop(list(equation.indices), [{}], zero, None)
        self.low.loop(list(node.indices), [{}], add, None)


def segments(group: Group) -> list[list[Equation]]:
    """The equations of a group, cut before each sum that reads what the group has computed."""
    parts: list[list[Equation]] = [[]]
    defined: set[Tensor] = set()
    for equation in group.equations:
        sums = list(outermost(equation.value))
        if any(not defined.isdisjoint(node.tensors) for node in sums):
            parts.append([])
        parts[-1].append(equation)
        defined.add(equation.tensor)
    return parts


def scattered(group: Group, ids: Ids) -> tuple[Index, Component] | None:
    """The output index that a bracket of the one sum picks by an id of its terms."""
    node = group.equations[0].value
    if len(group.equations) > 1 or not (isinstance(node, Reduce) and node.kind == "sum"):
        return None
    factors = flat_factors(node.body)
    for factor in factors:
        match factor:
            case Delta(left=left, right=Component() as right) if (
                (v := left.plain) is not None and v in group.indices and is_position(ids, right, v)
                and set(right.free) <= set(node.indices)
            ):
                others = [f for f in factors if f is not factor]
                if not any(v in f.free or isinstance(f, Delta) for f in others):
                    return v, right
            case _:
                pass
    return None


def crosses(group: Group) -> bool:
    """Whether a sample's value depends on other samples: then it is not enough that a worker's own are there."""
    own = {index for index in group.indices if index.is_sample}
    reads = (c for e in group.equations for c in components(e.value) if sampled(c.tensor))
    return bool(own) and any(c.subscripts[0].plain not in own for c in reads)


def early(value: Expr, bound: set[Index]) -> Iterator[Expr]:
    """The largest parts of a value that depend on these indices alone and take work; of a term that is a product its
    factors, for it is multiplied where it is added."""
    stack = [(value, frozenset(bound))]
    while stack:
        node, known = stack.pop()
        if known.issuperset(node.free):
            if isinstance(node, (Add, Multiply, Power, Apply, Reduce)):
                yield node
        elif isinstance(node, Add):
            stack.extend((factor, known) for term in reversed(node.terms) for factor in reversed(flat_factors(term)))
        else:
            inside = known.difference(node.indices) if isinstance(node, Reduce) else known
            stack.extend((part, inside) for part in reversed(node.parts))


def ends(value: Expr) -> Iterator[Expr]:
    """The outermost reductions, and what a value is made of beside them."""
    stack = [value]
    while stack:
        node = stack.pop()
        inner = () if isinstance(node, Reduce) else node.parts
        if not inner:
            yield node
        stack.extend(reversed(inner))


def outermost(value: Expr) -> Iterator[Reduce]:
    return (node for node in ends(value) if isinstance(node, Reduce))
