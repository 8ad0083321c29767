"""Liveness: when each tensor is alive, and which tensor takes the place of another.

Kernel n, counted from 0 though its name is k1 for the first, runs at the time 2n; what lies between it and the one
before, copies in rows and zeros around tensors, at 2n − 1; the batch is gathered at −2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from chainrule.ir.expr import Tensor
from chainrule.ir.walk import components
from chainrule.loops.layout import sampled
from chainrule.loops.plan import Key, Plan, Work


class Liveness:
    """Of the kernels of a plan in their order.

    - `born`, `dies`: the first and the last time at which a tensor is alive.
    - `over`: in-place aliasing: over[new] = old, where the kernel that writes `new` is the last that reads `old`, and
      reads it only at the point that it writes.
    - `copied`: the kernels before which copies in rows are made.
    - `first`: the kernel that writes a tensor first, or before which a tensor is reloaded."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.works = plan, plan.works
        task = plan.task
        self.born: dict[Key, int] = {(t, False): -2 for t in (*task.data, *plan.persistent)}
        self.dies = dict(self.born)
        self.first: dict[Tensor, int] = {}
        in_rows: dict[Tensor, list[int]] = {}
        for n, work in enumerate(self.works):
            for tensor in work.group.targets:
                if tensor in plan.in_memory:
                    self.first.setdefault(tensor, n)
                    self.born.setdefault((tensor, False), 2 * n - (tensor in plan.haloed))
                    self.dies[tensor, False] = 2 * n
            for tensor in work.plain:
                if tensor in plan.reloads and tensor not in self.first:
                    self.first[tensor] = at = self.before(n, tensor)
                    self.born[tensor, False] = 2 * at - 1
            for tensor in map(plan.base, work.plain):
                if (tensor, False) in self.born:
                    self.dies[tensor, False] = 2 * n
            for tensor in map(plan.base, work.rows):
                in_rows.setdefault(tensor, []).append(n)
        for tensor in (*task.outputs, *plan.persistent):
            self.dies[plan.base(tensor), False] = 2 * len(self.works)
        self.pieces = Counter(e.tensor for w in self.works for e in w.group.equations)
        self.over = dict(self.places_taken())
        self.copied: dict[Tensor, int] = {}
        for tensor, readers in in_rows.items():
            self.copied[tensor] = at = self.copy(tensor, readers[0])
            self.born[tensor, True], self.dies[tensor, True] = 2 * at - 1, 2 * readers[-1]
            if tensor not in plan.afresh:
                self.dies[tensor, False] = max(self.dies[tensor, False], 2 * at - 1)

    def copy(self, tensor: Tensor, reader: int) -> int:
        """The kernel before which a tensor is copied in rows: `before` its reader, or, where the tensor dies sooner,
        right behind the last kernel that reads it (right before that one, where it takes the tensor's place)."""
        at = self.before(reader, tensor)
        if tensor in self.plan.afresh:
            return at
        last = self.dies[tensor, False] // 2
        return min(at, last if tensor in self.over.values() else last + 1)

    def before(self, reader: int, tensor: Tensor) -> int:
        """The earliest kernel such that neither it nor any up to the reader shares out blocks or writes the tensor."""
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
        return self.plan.layouts[one].halo == self.plan.layouts[other].halo

    def may_take(self, work: Work, new: Tensor, old: Tensor) -> bool:
        """Whether a target may be written over what its kernel reads, if both are laid out alike."""
        group, base, layouts = work.group, self.plan.base, self.plan.layouts
        if not work.blocks or not sampled(old) or new.dtype != old.dtype or old in group.targets:
            return False
        if new not in self.plan.in_memory or self.pieces[new] > 1 or layouts[new].extents != layouts[old].extents:
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
                entries = self.plan.entries(key)
                change[born] = change.get(born, 0) + entries
                change[dies + 1] = change.get(dies + 1, 0) - entries
        alive, worst, when = 0, 0, 0
        for time in sorted(change):
            alive += change[time]
            if alive > worst:
                worst, when = alive, time
        return worst * self.plan.blocks, when
