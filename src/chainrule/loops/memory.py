"""Places for tensors whose lifetimes are known, and where workers wait for each other because of what lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from chainrule.ir.expr import Tensor
from chainrule.loops import nodes as ir
from chainrule.loops.task import Check, Meet, Rows, Stage

ALIGN = 16
"""Entries: every tensor begins at a whole vector of any width."""


def packed(
    items: Sequence[tuple[tuple[Tensor, bool], int, int, int]]
) -> tuple[dict[tuple[Tensor, bool], int], int]:
    """A place for each item (key, born, dies, size): the lowest at which none lies that lives at the same time; the
    largest first."""
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[tuple[Tensor, bool], int] = {}
    total = 0
    for key, born, dies, size in sorted(items, key=lambda item: -item[3]):
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
    stages: Iterable[Stage], memory: Mapping[str, tuple[str, int, int]], given: Iterable[str],
    buffer: Callable[[Tensor, bool], str],
) -> Iterable[Stage]:
    """The stages with a meeting wherever one touches memory that other workers write, or writes what they touch.
    Stages that share out blocks of samples touch their own blocks only; so does the one before all, which takes the
    batch in."""
    taken = [name for name in given if name in memory]
    since: list[tuple[bool, list[str], list[str]]] = [(True, taken, taken)]
    for stage in stages:
        match stage:
            case ir.Kernel(buffers=buffers, written=written, split=split):
                blocks, touched, changed = split == "blocks", [b.name for b in buffers], [b.name for b in written]
            case Check():
                yield Meet()
                since = []
                yield stage
                continue
            case Rows(tensor=tensor):
                name = buffer(tensor, False)
                blocks, touched, changed = True, [name, f"{name}r"], [f"{name}r"]
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
