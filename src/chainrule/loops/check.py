"""What must hold of a plan after each pass, whatever the pass.

Nothing here asks a pass what it meant. Before there are loops, every read has a writer before it, and tensors that are
alive at once have places of their own. Once there are, memory is followed from stage to stage: what lies where, and who
has touched it since the workers last met. A fault bears the name of the dependence that it breaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import Component, Tensor
from chainrule.ir.index import Index
from chainrule.ir.print import spelled
from chainrule.ir.walk import components
from chainrule.loops import nodes as ir
from chainrule.loops.barriers import Access, Dependence, Span, Split, spans_of, split_of
from chainrule.loops.fuse import Group
from chainrule.loops.kernel import crosses
from chainrule.loops.layout import Layout, sampled
from chainrule.loops.liveness import Liveness
from chainrule.loops.places import within
from chainrule.loops.plan import Barrier, Check, Deliver, Draw, Gather, Key, Plan, Prefetch, Rows, Stage, Turns

Numbers = NDArray[np.int64]
Kind = Dependence | Literal["halo", "reload", "control"]


class Fault(NamedTuple):
    """A dependence that is broken, and where."""

    kind: Kind
    text: str


def check(plan: Plan, after: str, *, last: bool) -> None:
    """Raises AssertionError where a pass leaves a plan that is broken."""
    found = faults(plan, barriers=last)
    assert not found, f"after {after}: {'; '.join(f'{kind}: {text}' for kind, text in found)}"


def faults(plan: Plan, *, barriers: bool = True) -> list[Fault]:
    """What is broken in a plan; without `barriers` whatever one would mend is not."""
    if plan.stages:
        return _Memory(plan, barriers).faults
    return [*_order(plan), *(_places(plan) if plan.stored else ())]


def _order(plan: Plan) -> Iterator[Fault]:
    """Every read has a writer before it, and comes before what overwrites it."""
    groups = [w.group for w in plan.works] or plan.groups or [Group((e,)) for e in plan.task.equations]
    left = Counter(e.tensor for g in groups for e in g.equations)
    given = {*plan.task.data, *plan.task.kept, *plan.reloads}
    gone = set[Tensor]()
    for group in groups:
        for tensor in map(plan.base, group.reads):
            if tensor not in given and tensor not in group.targets:
                yield Fault("read after write", f"{group.computes} reads {spelled(tensor)} before it is written")
            if tensor in gone:
                yield Fault("write after read", f"{group.computes} reads {spelled(tensor)} when it is overwritten")
        left.subtract(e.tensor for e in group.equations)
        given.update(t for t in group.targets if not left[t])
        gone.update(t for new in group.targets for t in (new, plan.olds.get(new, new)) if t in plan.task.kept
                    and (t is new or t in plan.in_place))


def _places(plan: Plan) -> Iterator[Fault]:
    """Tensors that are alive at once have places of their own."""
    spans, lives = spans_of(plan), Liveness(plan).spans
    alive = [(key, spans[plan.buffers[key]], *times) for key, times in lives.items() if key in plan.stored]
    for (one, here, born, dies), (other, there, first, last) in combinations(alive, 2):
        if first <= dies and born <= last and here.meets(there):
            yield Fault("write after read", f"{_named(one)} and {_named(other)} are alive at once in one place")


@dataclass
class _Entry:
    """What lies in a place of some layout: a tensor or its copy in rows, and zeros around it or not."""

    halo: tuple[tuple[int, int], ...]
    key: Key | None = None
    zeros: bool = False


class _Memory:
    """The memory of one step, as its stages leave it."""

    def __init__(self, plan: Plan, barriers: bool) -> None:
        self.plan, self.barriers, self.spans = plan, barriers, spans_of(plan)
        self.pieces = Counter((e.tensor, False) for w in plan.works for e in w.group.equations)
        self.faults: list[Fault] = []
        self.holds: dict[Span, _Entry] = {}
        self.made = Counter[Key]()
        self.lost: dict[Key, str] = {}
        """What was written over, and by whom."""
        self.since: list[tuple[str, Access]] = []
        task = plan.task
        self.checked = task.loss is None
        ahead = plan.persistent if plan.turns else ()
        for tensor in (*task.kept, *ahead):  # they are there from the step before; around what is kept there are zeros
            self.write("", (tensor, False))
            self.entry("", (tensor, False)).zeros = tensor in task.kept
            self.made[tensor, False] = self.pieces[tensor, False]
        self.drawn, self.delivered = set[Tensor](), set[Tensor]()
        if barriers and plan.stages[0] != Barrier(begins=True):
            self.fault("control", "no barrier between a step and the one before")
        for stage in plan.stages:
            self.run(stage)
        for tensor in set(task.outputs) - self.delivered:
            self.fault("read after write", f"{spelled(tensor)} is not delivered")
        for tensor in (*plan.persistent, *plan.in_place.values()):
            self.read("what follows the step", (plan.base(tensor), False), False)
        for key in [(old, False) for old, new in task.following.items() if old is not new and old not in plan.in_place]:
            if self.made[key] < 2 * self.pieces[key]:
                self.fault("read after write", f"the next step reads {_named(key)}, whose new value is not there")

    def run(self, stage: Stage) -> None:
        match stage:
            case Barrier():
                self.since = []
            case ir.Kernel(name=name) if name in self.plan.made_of:
                own = not crosses(self.plan.made_of[name].group)
                self.stage(name, split_of(stage) if own else "positions", *self.of(stage))
            case ir.Kernel():
                self.surround(stage)
            case Draw(tensor=tensor):
                self.drawn.add(tensor)
            case Prefetch():
                pass
            case Gather(tensor=tensor, given=given, rows=rows):
                if given in self.plan.task.drawn and given not in self.drawn:
                    self.fault("read after write", f"{spelled(given)} is gathered, which is not drawn")
                self.stage("a gather", "blocks", [], [(tensor, rows)])
                if rows:
                    self.entry("", (tensor, True)).zeros = False
            case Rows(tensor=tensor):
                zeros = tensor in self.plan.haloed
                self.stage("a copy in rows", "blocks", [((tensor, False), zeros)], [(tensor, True)])
                self.entry("", (tensor, True)).zeros = zeros
            case Deliver(tensor=tensor):
                self.stage("delivery", "blocks" if sampled(tensor) else "nothing", [((tensor, False), False)], [])
                self.delivered.add(tensor)
            case Check(loss=loss):
                self.stage("the check of the loss", "positions", [((loss, False), False)], [])
                self.checked = True
            case Turns(update=update, first=first, gathers=gathers):
                reads, writes = self.of(update)
                new = [(each.tensor, False) for each in gathers]  # where the next batch is, in every second step
                reads += [(key, False) for key in new]
                self.stage("the pipelined end", "positions", reads, [*new, *writes, *self.of(first)[1]])

    def of(self, kernel: ir.Kernel) -> tuple[list[tuple[Key, bool]], list[Key]]:
        """What a kernel reads, and whether it relies on zeros around that; what it writes. A read that is beyond its
        tensor wherever the loops are is none."""
        plan, work = self.plan, self.plan.made_of[kernel.name]
        padded = {plan.base(c.tensor) for e in work.group.equations for c in components(e.value) if self.beyond(c)}
        keys = [(plan.base(t), False) for t in work.plain if t not in work.group.targets]
        keys += [(plan.base(t), True) for t in work.rows]
        names = {buffer.name for buffer in kernel.buffers}
        reads = [(key, key[0] in padded) for key in keys if plan.buffers.get(key) in names]
        return reads, [(e.tensor, False) for e in work.group.equations if e.tensor in plan.in_memory]

    def beyond(self, read: Component) -> bool:
        """Whether a read leaves its tensor for the zeros around it."""
        layout = self.plan.layouts[read.tensor]
        return read.pad == 0 and not layout.unhaloed and within(read, layout) and not within(read, layout.bare)

    def stage(self, name: str, split: Split, reads: Sequence[tuple[Key, bool]], writes: Sequence[Key]) -> None:
        for key, zeros in reads:
            self.read(name, key, zeros)
        for key, (other, _) in product(writes, reads):  # in place is what has one name
            if self.plan.buffers[key] != self.plan.buffers[other] and self.span(key).meets(self.span(other)):
                self.fault("write after read", f"{name} writes {_named(key)} over {_named(other)}, which it reads")
        for key in writes:
            self.write(name, key)
        self.meet(name, Access(split, [self.span(k) for k, _ in reads], [self.span(k) for k in writes]))

    def span(self, key: Key) -> Span:
        return self.spans[self.plan.buffers[key]]

    def meet(self, name: str, now: Access) -> None:
        """Between barriers no two stages touch memory in an order that matters."""
        for before, earlier in self.since if self.barriers else ():
            for kind in now.conflicts(earlier):
                self.fault(kind, f"no barrier between {before} and {name}")
        self.since.append((name, now))

    def read(self, name: str, key: Key, zeros: bool) -> None:
        entry = self.holds.get(self.span(key))
        if entry is None or entry.key != key:
            if key in self.lost:
                self.fault("write after read", f"{name} reads {_named(key)}, over which {self.lost[key]} has written")
            else:
                kind = "reload" if key[0] in self.plan.reloads else "read after write"
                self.fault(kind, f"{name} reads {_named(key)}, which is not there")
        elif self.made[key] < self.pieces[key]:
            self.fault("read after write", f"{name} reads {_named(key)}, of which a part is not there")
        elif zeros and not (entry.zeros and entry.halo == self.plan.layouts[key[0]].halo):
            self.fault("halo", f"{name} reads beyond the ends of {_named(key)}, where there are no zeros")

    def fault(self, kind: Kind, text: str) -> None:
        self.faults.append(Fault(kind, text))

    def write(self, name: str, key: Key) -> None:
        entry = self.entry(name, key)
        if entry.key is not None and entry.key != key:
            self.lost[entry.key] = name
        entry.key = key
        self.made[key] += 1
        if name and not self.checked and self.plan.stored[key].region == "kept":
            self.fault("control", f"{name} changes {_named(key)} before the loss is checked")

    def entry(self, name: str, key: Key) -> _Entry:
        """The place of a tensor; what lay across it is gone."""
        span, halo = self.span(key), self.plan.stored[key].layout.halo
        if span not in self.holds or self.holds[span].halo != halo:
            for other in [s for s in self.holds if s.meets(span)]:
                gone = self.holds.pop(other).key
                if gone is not None:
                    self.lost[gone] = name
            self.holds[span] = _Entry(halo)
        return self.holds[span]

    def surround(self, kernel: ir.Kernel) -> None:
        """Zeros around a tensor leave what lies between them."""
        tensor = next(t for t in self.plan.haloed if kernel.name == f"around_{self.plan.names[t]}")
        self.entry(kernel.name, (tensor, False)).zeros = _is_halo(kernel, self.plan.stored[tensor, False].layout)
        self.meet(kernel.name, Access(split_of(kernel), [], [self.span((tensor, False))]))


def _is_halo(kernel: ir.Kernel, layout: Layout) -> bool:
    """Whether a kernel stores all of a halo, and nothing else."""
    def places(loops: Iterable[Sequence[int]]) -> Numbers:
        grid = np.zeros((), int)
        for positions, step in zip(loops, layout.strides, strict=True):
            grid = np.add.outer(grid, np.multiply(positions, step))
        return grid + layout.origin

    around = [range(-before, e + after) for e, (before, after) in zip(layout.extents, layout.halo, strict=True)]
    halo = np.setdiff1d(places(around), places(map(range, layout.extents)))
    return np.array_equal(np.unique(np.concatenate([*_stores(kernel.body, {})]) // layout.width), halo)


def _stores(statements: Iterable[ir.Statement], loops: Mapping[Index, Numbers]) -> Iterator[Numbers]:
    """The addresses of what is stored, in the first block."""
    for statement in statements:
        match statement:
            case ir.For(loop=loop, start=start, stop=stop, body=body):
                turns = np.arange(start, stop) if isinstance(start, int) and isinstance(stop, int) else np.zeros(1, int)
                yield from _stores(body, {**loops, loop: turns})
            case ir.Store(address=address):
                grid = np.full((), address.affine.offset)
                for index, step in address.affine.terms:
                    grid = np.add.outer(grid, loops[index] * step)
                yield grid.ravel()
            case _:
                pass


def _named(key: Key) -> str:
    return f"{spelled(key[0])} in rows" if key[1] else spelled(key[0])
