"""When each tensor lives, whose place it takes, and how much lives at once.

Kernel n runs at the time 2n; what lies between it and the one before, copies in rows and borders of zeros, at 2n − 1;
the batch is taken in at −2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from chainrule.ir.expr import Tensor
from chainrule.ir.index import Index
from chainrule.ir.walk import components
from chainrule.loops.fuse import Group
from chainrule.loops.layout import Layout, sampled
from chainrule.loops.memory import ALIGN
from chainrule.loops.places import Ids
from chainrule.loops.schedule import Schedule
from chainrule.loops.task import Task

Key = tuple[Tensor, bool]
"""A tensor, or with True its copy in rows."""


@dataclass(frozen=True)
class Work:
    """A group and its schedule. `rows` is what it reads in rows. `blocks`: the workers share out blocks of samples, and
    each touches its own alone."""

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


@dataclass(frozen=True)
class Facts:
    """What lives depend on beside the order: `stored` are the targets that are in memory, `views` tensors that are
    another one's memory, `bordered` those with zeros around them; `taken` says of what is taken in again which data it
    is. A block has `width` samples; there are `blocks` of them. `lasting` tensors live from one step to the next."""

    task: Task
    layouts: Mapping[Tensor, Layout]
    views: Mapping[Tensor, Tensor]
    stored: frozenset[Tensor]
    bordered: frozenset[Tensor]
    taken: Mapping[Tensor, Tensor]
    width: int
    blocks: int
    lasting: frozenset[Tensor] = frozenset()

    @cached_property
    def ids(self) -> Ids:
        """The data that are whole numbers, those that are taken in again too."""
        again = {new: self.task.ids[old] for new, old in self.taken.items() if old in self.task.ids}
        return {**self.task.ids, **again}

    @cached_property
    def afresh(self) -> frozenset[Tensor]:
        """The data of which copies in rows are made from what is given: those without zeros around them."""
        return frozenset(self.task.data) - self.bordered

    def base(self, tensor: Tensor) -> Tensor:
        return self.views.get(tensor, tensor)

    @cached_property
    def olds(self) -> Mapping[Tensor, Tensor]:
        """What becomes each new value of a kept tensor, whose place that may take."""
        return {new: old for old, new in self.task.following.items()}

    def touched(self, work: Work) -> set[Tensor]:
        return {*map(self.base, work.group.reads), *self.written(work)}

    def written(self, work: Work) -> set[Tensor]:
        return {t for new in work.group.targets for t in (new, self.olds.get(new, new))}

    def entries(self, key: Key) -> int:
        """The length of a place: in a block, or of a tensor without samples."""
        layout = self.layouts[key[0]]
        size = layout.apart if key[1] else layout.size
        return -(-size * (self.width if sampled(key[0]) else 1) // ALIGN) * ALIGN


class Lives:
    """`born` and `dies` are the first and the last time at which a place is taken. `over` says which tensors take the
    place of another: one that is read for the last time by the kernel that writes them, only at the point that is
    written. `copied` are the kernels before which copies in rows are made, `first` those that write a tensor first."""

    def __init__(self, works: Sequence[Work], facts: Facts) -> None:
        self.works, self.facts = works, facts
        self.born: dict[Key, int] = {(t, False): -2 for t in (*facts.task.data, *facts.lasting)}
        self.dies = dict(self.born)
        self.first: dict[Tensor, int] = {}
        in_rows: dict[Tensor, list[int]] = {}
        for n, work in enumerate(works):
            for tensor in work.group.targets:
                if tensor in facts.stored:
                    self.first.setdefault(tensor, n)
                    self.born.setdefault((tensor, False), 2 * n - (tensor in facts.bordered))
                    self.dies[tensor, False] = 2 * n
            for tensor in work.plain:
                if tensor in facts.taken and tensor not in self.first:
                    self.first[tensor] = at = self.before(n, tensor)
                    self.born[tensor, False] = 2 * at - 1
            for tensor in map(facts.base, work.plain):
                if (tensor, False) in self.born:
                    self.dies[tensor, False] = 2 * n
            for tensor in map(facts.base, work.rows):
                in_rows.setdefault(tensor, []).append(n)
        for tensor in (*facts.task.outputs, *facts.lasting):
            self.dies[facts.base(tensor), False] = 2 * len(works)
        self.pieces = Counter(e.tensor for w in works for e in w.group.equations)
        self.over = dict(self.places_taken())
        self.copied: dict[Tensor, int] = {}
        for tensor, readers in in_rows.items():
            self.copied[tensor] = at = self.copy(tensor, readers[0])
            self.born[tensor, True], self.dies[tensor, True] = 2 * at - 1, 2 * readers[-1]
            if tensor not in facts.afresh:
                self.dies[tensor, False] = max(self.dies[tensor, False], 2 * at - 1)

    def copy(self, tensor: Tensor, reader: int) -> int:
        """The kernel before which a tensor is copied in rows: as late as no meeting is added, but before its place is
        taken, and where it is read no more right behind its last reader, as long as the cache has it."""
        at = self.before(reader, tensor)
        if tensor in self.facts.afresh:
            return at
        last = self.dies[tensor, False] // 2
        return min(at, last if tensor in self.over.values() else last + 1)

    def before(self, reader: int, tensor: Tensor) -> int:
        """The first of the kernels up to a reader between which and the reader no blocks are shared out."""
        while reader > 0 and not self.works[reader - 1].blocks and tensor not in self.works[reader - 1].group.targets:
            reader -= 1
        return reader

    def places_taken(self) -> Iterable[tuple[Tensor, Tensor]]:
        for n, work in enumerate(self.works):
            dying = self.dying(n)
            for new in work.group.targets:
                old = next((t for t in dying if self.may_take(work, new, t) and self.alike(new, t)), None)
                if old is not None:
                    dying.remove(old)
                    yield new, old

    def dying(self, number: int) -> list[Tensor]:
        """What a kernel is the last to read."""
        return [t for t in self.works[number].plain if self.dies.get((t, False)) == 2 * number]

    def alike(self, one: Tensor, other: Tensor) -> bool:
        return self.facts.layouts[one].halo == self.facts.layouts[other].halo

    def may_take(self, work: Work, new: Tensor, old: Tensor) -> bool:
        """Whether a target may be written over what its kernel reads, if both are laid out alike."""
        group, base, layouts = work.group, self.facts.base, self.facts.layouts
        if not work.blocks or not sampled(old) or new.dtype != old.dtype or old in group.targets:
            return False
        if new not in self.facts.stored or self.pieces[new] > 1 or layouts[new].extents != layouts[old].extents:
            return False
        at = next(n for n, e in enumerate(group.equations) if e.tensor == new)
        if any(base(t) == old for e in group.equations[at + 1 :] for t in e.value.tensors):
            return False
        point = group.equations[at].target.subscripts
        read = [c for e in group.equations for c in components(e.value) if base(c.tensor) == old]
        return all(c.tensor == old and c.pad is None and c.subscripts == point for c in read)

    def root(self, key: Key) -> Key:
        """The tensor that was first in the place."""
        tensor, rows = key
        while not rows and tensor in self.over:
            tensor = self.over[tensor]
        return tensor, rows

    @cached_property
    def spans(self) -> dict[Key, tuple[int, int]]:
        """For each place of its own how long it is taken."""
        result: dict[Key, tuple[int, int]] = {}
        for key, born in self.born.items():
            root = self.root(key)
            first, last = result.get(root, (born, self.dies[key]))
            result[root] = min(first, born), max(last, self.dies[key])
        return result

    @cached_property
    def most(self) -> tuple[int, int]:
        """Entries of all blocks that live at once, at the worst time; and that time."""
        change: dict[int, int] = {}
        for key, (born, dies) in self.spans.items():
            if sampled(key[0]):
                entries = self.facts.entries(key)
                change[born] = change.get(born, 0) + entries
                change[dies + 1] = change.get(dies + 1, 0) - entries
        alive, worst, when = 0, 0, 0
        for time in sorted(change):
            alive += change[time]
            if alive > worst:
                worst, when = alive, time
        return worst * self.facts.blocks, when
