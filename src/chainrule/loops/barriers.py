"""Barriers: where workers wait for each other.

A stage reads and writes memory. Two stages may touch the same memory in any order of the workers unless a barrier lies
between them; only stages that share out blocks of samples, and touch a worker's own blocks alone, need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from chainrule.ir.expr import Tensor
from chainrule.loops import nodes as ir
from chainrule.loops.plan import Barrier, Check, Plan, Reload, Rows, Stage, Turns


class Span(NamedTuple):
    """Entries `start` … `stop` − 1 of a memory."""

    memory: str
    start: int
    stop: int

    def meets(self, other: Span) -> bool:
        return self.memory == other.memory and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True)
class Access:
    """What a stage reads and writes. With `blocks` each worker touches its own blocks of samples alone."""

    blocks: bool
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]

    def conflicts(self, earlier: Access) -> str | None:
        """The kind of dependence between two stages that no order of the workers may break."""
        if self.blocks and earlier.blocks:
            return None
        if _meet(self.reads, earlier.writes):
            return "read after write"
        if _meet(self.writes, earlier.reads):
            return "write after read"
        return "write after write" if _meet(self.writes, earlier.writes) else None


def _meet(spans: Iterable[Span], others: tuple[Span, ...]) -> bool:
    return any(span.meets(other) for span in spans for other in others)


def insert_barriers(plan: Plan) -> Plan:
    """A barrier before each stage that conflicts with one since the last barrier, and before the loss is checked."""
    spans = spans_of(plan)
    stages: list[Stage] = []
    since = [gathering(plan, spans)]
    for stage in plan.stages:
        access = access_of(stage, plan, spans)
        if isinstance(stage, Check) or any(access.conflicts(earlier) for earlier in since):
            stages.append(Barrier())
            since = []
        since.append(access)
        stages.append(stage)
    return replace(plan, stages=(*stages, *_before_delivery(stages, plan)))


def _before_delivery(stages: Iterable[Stage], plan: Plan) -> Iterator[Barrier]:
    """A barrier at the end, where several workers have written an output that one delivers."""
    outputs = {plan.buffers[t, False] for t in plan.task.outputs}
    shared: set[str] = set()
    for stage in stages:
        if isinstance(stage, Barrier):
            shared = set()
        elif isinstance(stage, ir.Kernel) and isinstance(stage.split, int):
            shared |= {b.name for b in stage.written}
    if shared & outputs:
        yield Barrier()


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


def gathering(plan: Plan, spans: dict[str, Span]) -> Access:
    """What the start of a step touches: it gathers the batch."""
    data = tuple(spans[plan.buffers[t, False]] for t in plan.task.data)
    return Access(True, (), data)


def access_of(stage: Stage, plan: Plan, spans: dict[str, Span]) -> Access:
    """What a stage between barriers touches."""
    def of(buffers: Iterable[ir.Buffer]) -> tuple[Span, ...]:
        return tuple(spans[b.name] for b in buffers)

    def at(tensor: Tensor, in_rows: bool = False) -> Span:
        return spans[plan.buffers[tensor, in_rows]]

    match stage:
        case ir.Kernel(buffers=buffers, written=written, split=split, crosses=crosses):
            return Access(split == "blocks" and not crosses, of(buffers), of(written))
        case Turns(update=update, first=first, next=following):
            new = tuple(map(at, following.values()))
            reads = (*new, *of((*update.buffers, *first.buffers)))
            return Access(False, reads, (*new, *of((*update.written, *first.written))))
        case Rows(tensor=tensor, given=given):
            return Access(True, () if given else (at(tensor),), (at(tensor, True),))
        case Reload(tensor=tensor):
            return Access(True, (), (at(tensor),))
        case Check(loss=loss):
            return Access(False, (at(loss),), ())
        case Barrier():
            return Access(True, (), ())
