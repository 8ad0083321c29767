"""Places for tensors whose lifetimes are known, and where workers wait for each other because of what lies there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from chainrule.ir.expr import Tensor
from chainrule.loops import nodes as ir
from chainrule.loops.task import Check, Meet, Rows, Stage, Taken, Turns

ALIGN = 16
"""Entries: every tensor begins at a whole vector of any width."""


Item = tuple[tuple[Tensor, bool], int, int, int]


def packed(items: Sequence[Item]) -> tuple[dict[tuple[Tensor, bool], int], int]:
    """A place for each item (key, born, dies, size): the lowest at which none lies that lives at the same time. Placed
    one after another in several orders, of which the shortest memory is taken: the largest first, those that live
    longest, those that are largest and live longest, those born first, those that die last."""
    orders: tuple[Callable[[Item], int], ...] = (
        lambda item: -item[3], lambda item: item[1] - item[2], lambda item: (item[1] - item[2]) * item[3],
        lambda item: item[1], lambda item: -item[2],
    )  # fmt: skip
    return min((_placed(sorted(items, key=order)) for order in orders), key=lambda found: found[1])


def _placed(items: Sequence[Item]) -> tuple[dict[tuple[Tensor, bool], int], int]:
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[tuple[Tensor, bool], int] = {}
    total = 0
    for key, born, dies, size in items:
        offset = 0
        for start, end, first, last in sorted(placed):
            if first <= dies and born <= last and offset + size > start and offset < end:
                offset = end
        placed.append((offset, offset + size, born, dies))
        offsets[key] = offset
        total = max(total, offset + size)
    return offsets, total


def spread(stride: int) -> int:
    """A length for blocks such that equal places in neighbouring blocks are not in the same lines of a cache."""
    lines = -(-stride // ALIGN)
    return (lines | 1) * ALIGN if lines else 0


def met(
    stages: Iterable[Stage], memory: Mapping[str, tuple[str, int, int]], given: Collection[str],
    buffer: Callable[[Tensor, bool], str],
) -> Iterable[Stage]:
    """The stages with a meeting wherever one touches memory that other workers write, or writes what they touch.
    Stages that share out blocks of samples touch their own blocks only; so does the one before all, which takes the
    batch in."""
    since: list[tuple[bool, list[str], list[str]]] = [(True, [*given], [*given])]
    for stage in stages:
        match stage:
            case ir.Kernel(buffers=buffers, written=written, split=split, crosses=crosses):
                blocks = split == "blocks" and not crosses
                touched, changed = [b.name for b in buffers], [b.name for b in written]
            case Check():
                yield Meet()
                since = []
                yield stage
                continue
            case Turns(update=update, first=first, next=taken):
                new = [buffer(t, False) for t in taken.values()]
                blocks, touched = False, [*new, *(b.name for b in (*update.buffers, *first.buffers))]
                changed = [*new, *(b.name for b in (*update.written, *first.written))]
            case Rows(tensor=tensor, given=afresh):
                name, rows = buffer(tensor, False), buffer(tensor, True)
                blocks, touched, changed = True, [rows] if afresh else [name, rows], [rows]
            case Taken(tensor=tensor):
                name = buffer(tensor, False)
                blocks, touched, changed = True, [name], [name]
            case Meet():
                raise AssertionError("meetings are made here")
        if any(
            not (blocks and other_blocks) and (
                _meet(touched, other_changed, memory) or _meet(changed, other_touched, memory)
            )
            for other_blocks, other_touched, other_changed in since
        ):
            yield Meet()
            since = []
        since.append((blocks, touched, changed))
        yield stage


def whole(stages: Iterable[Stage], outputs: set[str]) -> tuple[Stage, ...]:
    """The stages, with a meeting at their end where several workers have written an output that one delivers."""
    made: list[Stage] = []
    shared: set[str] = set()
    for stage in stages:
        made.append(stage)
        if isinstance(stage, Meet):
            shared = set()
        elif isinstance(stage, ir.Kernel) and isinstance(stage.split, int):
            shared |= {b.name for b in stage.written}
    return (*made, Meet()) if shared & outputs else tuple(made)


def _meet(names: Iterable[str], others: Iterable[str], memory: Mapping[str, tuple[str, int, int]]) -> bool:
    spans = [memory[name] for name in names]
    return any(
        region == where and start < end and first < last
        for where, first, end in (memory[name] for name in others)
        for region, start, last in spans
    )
