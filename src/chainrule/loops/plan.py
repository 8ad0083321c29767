"""The plan of a step: what every pass takes and gives.

It is frozen: a pass returns another plan, in which more is decided. First there are equations (`task`), then kernels
without a schedule (`groups`), then with one (`works`), then places in memory (`stored`), and in the end the step from
its first gather to its last delivery (`stages`), of which a target only prints each.

Three kinds of memory hold tensors. *Kept* tensors, parameters and states, are arrays that outlive the step. The
*blocks* hold all tensors with samples: each block of samples has one stretch of them, of equal length, so that a
worker's samples are its own. The *common* memory holds tensors without samples. In the last two, tensors that are never
alive at once share a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Literal

from chainrule.ir.expr import Tensor
from chainrule.ir.index import Index
from chainrule.ir.print import to_text
from chainrule.ir.walk import components
from chainrule.loops import nodes as ir
from chainrule.loops.fuse import Group
from chainrule.loops.kernel import crosses, scattered
from chainrule.loops.layout import Layout, sampled
from chainrule.loops.names import plain
from chainrule.loops.places import Ids
from chainrule.loops.schedule import Machine, Schedule, Tile, alternatives, choose, few_rows, needs_rows, single_sided
from chainrule.loops.task import Task

ALIGN = 16
"""Entries: every tensor begins at a whole vector of any width."""

Tiles = Mapping[str, Tile]
"""Measured tiles, by the keys of the kernels they are for."""

Region = Literal["kept", "blocks", "common"]
Key = tuple[Tensor, bool]
"""A tensor, or with True its copy in rows."""


@dataclass(frozen=True)
class Work:
    """A kernel to be written: a group and its schedule. `rows` is what it reads in rows. With `blocks` the workers
    share out blocks of samples, and each touches its own alone."""

    group: Group
    schedule: Schedule
    rows: tuple[Tensor, ...]
    blocks: bool

    @cached_property
    def plain(self) -> tuple[Tensor, ...]:
        """What it reads as it was stored."""
        lanes = set(self.schedule.loops[-1].indices) if self.rows else set[Index]()
        reads = (c for e in self.group.equations for c in components(e.value))
        return tuple(dict.fromkeys(c.tensor for c in reads if c.tensor not in self.rows or lanes.isdisjoint(c.free)))


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies: in which memory, from which entry on."""

    region: Region
    offset: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Draw:
    """Each worker draws its samples' random numbers."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Gather:
    """Each worker brings in its samples of the data `given`, as `tensor` or, in `rows`, as its copy in rows."""

    tensor: Tensor
    given: Tensor
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What a worker gathers at the next step is brought to the cache."""

    given: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The copy of a tensor in rows is made of what lies in blocks."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Check:
    """The step ends here unless the loss is a finite number."""

    loss: Tensor


@dataclass(frozen=True, slots=True)
class Barrier:
    """The workers wait for each other. Where a step `begins` they leave instead if one of them will never come:
    nothing is written before all are here."""

    begins: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """An output goes to its array: each worker's samples, or all of what has none by the first worker."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Turns:
    """The end of a pipelined step: the workers share out `update`, and run it by turns with the next step's first
    kernel, so many `positions` at a time, or they run `both`, one kernel in the place of the two. Its batch is double
    buffered: `gathers` fill the spare buffers before that, and behind it each swaps with the one in use."""

    update: ir.Kernel
    first: ir.Kernel
    gathers: tuple[Gather, ...]
    both: ir.Kernel | None

    @property
    def positions(self) -> int:
        return self.update.unit

    @property
    def opening(self) -> tuple[Stage, ...]:
        """What runs before the first of all steps: what the end of each does for the one behind it."""
        first = (Gather(each.given, each.given) for each in self.gathers)
        return (Barrier(begins=True), *first, Barrier(), self.first)

    @property
    def closing(self) -> tuple[Stage, ...]:
        """What runs before the two kernels where there is a next step."""
        return (*self.gathers, Barrier())

    @property
    def kernels(self) -> tuple[ir.Kernel, ...]:
        return (self.update, self.first, self.both) if self.both else (self.update, self.first)


Stage = Draw | Gather | Prefetch | ir.Kernel | Rows | Check | Barrier | Turns | Deliver


@dataclass(frozen=True)
class Plan:
    """A step of `task` for a `machine`. More than half a vector of `samples` expected at once go into the lanes: a
    block has `width` samples. Without `scheduled` each equation is a kernel as it stands; `tiles` are taken by the
    kernels they are for, and of the others each takes its `variant`-th best.

    - `names`: each tensor's name in the code.
    - `layouts`: how each tensor lies in memory; `haloed` are those around which zeros are written.
    - `views`: tensors that are another one's memory, a reshape.
    - `reloads`: of each tensor that is gathered a second time, the data it holds.
    - `in_place`: kept tensors whose new value takes their place as it is computed.
    - `next`: what the first kernel of a pipelined step reads of its batch, and what holds it for the step after;
      `persistent` tensors live from one step to the next.
    - `stored`, `stride`, `common`: places; how long a block's stretch is, and the common memory, in entries;
      `buffers`: the name by which kernels know what is stored."""

    task: Task
    machine: Machine
    width: int
    samples: int
    scheduled: bool = True
    tiles: Tiles = field(default_factory=dict[str, Tile])
    variant: int = 0
    names: Mapping[Tensor, str] = field(default_factory=dict[Tensor, str])
    layouts: Mapping[Tensor, Layout] = field(default_factory=dict[Tensor, Layout])
    haloed: frozenset[Tensor] = frozenset()
    views: Mapping[Tensor, Tensor] = field(default_factory=dict[Tensor, Tensor])
    groups: tuple[Group, ...] = ()
    works: tuple[Work, ...] = ()
    reloads: Mapping[Tensor, Tensor] = field(default_factory=dict[Tensor, Tensor])
    in_place: Mapping[Tensor, Tensor] = field(default_factory=dict[Tensor, Tensor])
    next: Mapping[Tensor, Tensor] = field(default_factory=dict[Tensor, Tensor])
    persistent: frozenset[Tensor] = frozenset()
    stored: Mapping[Key, Stored] = field(default_factory=dict[Key, Stored])
    buffers: Mapping[Key, str] = field(default_factory=dict[Key, str])
    stride: int = 0
    common: int = 0
    stages: tuple[Stage, ...] = ()

    @property
    def lanes(self) -> int:
        return self.machine.lanes

    @property
    def single(self) -> bool:
        """Whether every batch has one sample."""
        return self.samples == 1 and bool(self.task.following)

    @property
    def blocks(self) -> int:
        """The blocks that the expected samples fill."""
        return -(-self.samples // self.width)

    @property
    def turns(self) -> Turns | None:
        """How a step ends and the next one begins, where they are pipelined."""
        return next((stage for stage in self.stages if isinstance(stage, Turns)), None)

    @property
    def kernels(self) -> Iterator[ir.Kernel]:
        for stage in self.stages:
            yield from kernels(stage)

    @cached_property
    def made_of(self) -> Mapping[str, Work]:
        """What each kernel of equations is made of, by its name."""
        return {f"k{n}": work for n, work in enumerate(self.works, 1)}

    def made(self, stage: Stage) -> list[Work]:
        """What a stage's kernels are made of; nothing where it copies, checks, waits or writes zeros."""
        return [self.made_of[kernel.name] for kernel in kernels(stage) if kernel.name in self.made_of]

    @cached_property
    def ids(self) -> Ids:
        """The data that are whole numbers, those that are reloaded too."""
        again = {new: self.task.ids[old] for new, old in self.reloads.items() if old in self.task.ids}
        return {**self.task.ids, **again}

    @cached_property
    def afresh(self) -> frozenset[Tensor]:
        """The data of which copies in rows are made from what is given: those without zeros around them."""
        return frozenset(self.task.data) - self.haloed

    @cached_property
    def olds(self) -> Mapping[Tensor, Tensor]:
        """What becomes each new value of a kept tensor, whose place that may take."""
        return {new: old for old, new in self.task.following.items()}

    @cached_property
    def in_memory(self) -> frozenset[Tensor]:
        """What must be in memory: read outside of the kernel that computes it, or after the step."""
        wanted = {*self.task.outputs, *self.task.following, *self.task.following.values()}
        if self.task.loss is not None:
            wanted.add(self.task.loss)
        for work in self.works:
            own = set(work.group.targets)
            wanted.update(v for t in work.group.reads if (v := self.base(t)) not in own or t in self.views)
            if scattered(work.group, self.ids):
                wanted |= own
        return frozenset(wanted)

    def base(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory it is."""
        return self.views.get(tensor, tensor)

    def touched(self, work: Work) -> set[Tensor]:
        return {*map(self.base, work.group.reads), *self.written(work)}

    def written(self, work: Work) -> set[Tensor]:
        return {t for new in work.group.targets for t in (new, self.olds.get(new, new))}

    def entries(self, key: Key) -> int:
        """The length of a place: in a block, or of a tensor without samples."""
        layout = self.layouts[key[0]]
        size = layout.apart if key[1] else layout.size
        return -(-size * (self.width if sampled(key[0]) else 1) // ALIGN) * ALIGN

    def key(self, name: str) -> str:
        """What a kernel's measured tile is known by."""
        made = self.made_of[name]
        return key_of(self, made.group, made.schedule)


def kernels(stage: Stage) -> tuple[ir.Kernel, ...]:
    match stage:
        case ir.Kernel():
            return (stage,)
        case Turns():
            return stage.kernels
        case _:
            return ()


def work(plan: Plan, group: Group, schedule: Schedule) -> Work:
    """The kernel of a group by a schedule."""
    scatters = scattered(group, plan.ids) is not None
    in_rows = plan.width > 1 and schedule.lanes == "outputs" and not scatters
    blocks = not scatters and not schedule.across and any(i.is_sample for i in group.indices) and not crosses(group)
    return Work(group, schedule, tuple(needs_rows(group, schedule.loops[-1])) if in_rows else (), blocks)


def schedule_of(plan: Plan, group: Group, *, few: bool = False) -> Schedule:
    """The measured tile, or the model's choice; or a tile of `few` rows, for what comes from a far cache."""
    schedule = choose(group, plan.layouts, plan.machine, plan.width, plan.samples)
    if few:
        schedule = replace(schedule, tile=few_rows(schedule, plan.machine))
    if not plan.scheduled:
        return replace(schedule, tile=(1,) * len(schedule.tile))
    tile = plan.tiles.get(key_of(plan, group, schedule)) if plan.tiles else None
    if tile is not None:
        return replace(schedule, tile=tile) if _may_take(plan.machine, tile, group, schedule) else schedule
    if plan.variant:
        others = alternatives(group, schedule, plan.machine, plan.width, plan.samples)
        return others[min(plan.variant, len(others) - 1)]
    return schedule


def _may_take(machine: Machine, tile: Tile, group: Group, schedule: Schedule) -> bool:
    """Whether a tile is one for such a schedule: any of those gives the same bits."""
    if len(tile) != len(schedule.tile) or min(tile) < 1 or prod(tile) > machine.accumulators:
        return False
    return all(tile[n] == 1 for n in single_sided(group, schedule.loops))


def key_of(plan: Plan, group: Group, schedule: Schedule) -> str:
    """What decides the code of a kernel but for its tile, in whatever program it stands."""
    every = dict.fromkeys(t for e in group.equations for t in (e.tensor, *e.value.tensors))
    names = {t: Tensor(f"t{n}", t.shape, t.dtype) for n, t in enumerate(every)}
    texts = [to_text(plain(e.over(names))) for e in group.equations]
    shapes = [(t.shape, plan.layouts[t].halo, plan.layouts[t].width) for t in every]
    extents = [loop.extent for loop in schedule.loops]
    whole = repr((texts, shapes, schedule.lanes, extents, plan.width, plan.samples, plan.machine))
    return sha256(whole.encode()).hexdigest()[:32]
