"""Barriers: where workers wait for each other.

A stage reads and writes memory. Two stages may touch the same memory in any order of the workers unless a barrier lies
between them. None is needed between stages that share out blocks of samples, and touch a worker's own blocks alone,
nor between stages that are the first worker's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from chainrule.ir.expr import Tensor
from chainrule.loops import nodes as ir
from chainrule.loops.layout import sampled
from chainrule.loops.plan import Barrier, Check, Deliver, Draw, Gather, Plan, Prefetch, Rows, Stage, Turns

Split = Literal["blocks", "positions", "nothing"]
Dependence = Literal["read after write", "write after read", "write after write"]


class Span(NamedTuple):
    """Entries `start` … `stop` − 1 of a memory."""

    memory: str
    start: int
    stop: int

    def meets(self, other: Span) -> bool:
        return self.memory == other.memory and self.start < other.stop and other.start < self.stop


class Access(NamedTuple):
    """What a stage reads and writes, and what of it the workers share out: blocks of samples, of which each touches its
    own alone, positions, or nothing, so that the first worker does all."""

    split: Split
    reads: Sequence[Span]
    writes: Sequence[Span]

    def conflicts(self, earlier: Access) -> Iterator[Dependence]:
        """The dependences that no order of the workers may break."""
        if self.split == earlier.split != "positions":
            return
        pairs: tuple[tuple[Dependence, Sequence[Span], Sequence[Span]], ...] = (
            ("read after write", self.reads, earlier.writes), ("write after read", self.writes, earlier.reads),
            ("write after write", self.writes, earlier.writes),
        )
        for kind, ours, theirs in pairs:
            if any(a.meets(b) for a in ours for b in theirs):
                yield kind


def insert_barriers(plan: Plan) -> Plan:
    """A barrier where the step begins, before each stage that conflicts with one since the last barrier, and before the
    loss is checked."""
    spans = spans_of(plan)

    def at(*tensors: Tensor, in_rows: bool = False) -> list[Span]:
        return [spans[plan.buffers[t, in_rows]] for t in tensors]

    def of(*buffers: ir.Buffer) -> list[Span]:
        return [spans[b.name] for b in buffers]

    def access(stage: Stage) -> Access:
        match stage:
            case ir.Kernel(buffers=buffers, written=written):
                return Access(split_of(stage), of(*buffers), of(*written))
            case Turns(update=update, first=first, gathers=gathers):
                new = at(*(gather.tensor for gather in gathers))
                reads = of(*update.buffers, *first.buffers)
                return Access("positions", new + reads, new + of(*update.written, *first.written))
            case Draw() | Prefetch():
                return Access("blocks", [], [])
            case Gather(tensor=tensor, rows=rows):
                return Access("blocks", [], at(tensor, in_rows=rows))
            case Rows(tensor=tensor):
                return Access("blocks", at(tensor), at(tensor, in_rows=True))
            case Deliver(tensor=tensor):
                return Access("blocks" if sampled(tensor) else "nothing", at(tensor), [])
            case Check(loss=loss):
                return Access("positions", at(loss), [])
            case Barrier():
                raise AssertionError("barriers are made here")

    stages: list[Stage] = [Barrier(begins=True)]
    since: list[Access] = []
    for stage in plan.stages:
        now = access(stage)
        if isinstance(stage, Check) or any(any(now.conflicts(earlier)) for earlier in since):
            stages.append(Barrier())
            since.clear()
        since.append(now)
        stages.append(stage)
    return replace(plan, stages=tuple(stages))


def split_of(kernel: ir.Kernel) -> Split:
    if kernel.split is None:
        return "nothing"
    return "blocks" if kernel.split == "blocks" and not kernel.crosses else "positions"


def spans_of(plan: Plan) -> dict[str, Span]:
    """For the name of each buffer the memory that it takes."""
    result: dict[str, Span] = {}
    for key, where in plan.stored.items():
        name = plan.buffers[key]
        if where.region == "kept":
            result[name] = Span(name, 0, 1)
        else:
            size = where.layout.length * (plan.width if where.region == "blocks" else 1)
            result[name] = Span(where.region, where.offset, where.offset + size)
    return result
