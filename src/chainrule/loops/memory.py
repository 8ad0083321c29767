"""Allocation: a place in memory for each tensor, shared by those that are never alive at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chainrule.loops.layout import sampled
from chainrule.loops.liveness import Liveness
from chainrule.loops.plan import ALIGN, Key, Plan, Region, Stored

Item = tuple[Key, int, int, int]


def allocate(plan: Plan) -> Plan:
    """A place for each tensor in memory and each copy in rows. Kept tensors have memory of their own; a new value that
    is written in place has the old one's, a view that of the tensor it shows."""
    lives = Liveness(plan)
    own = {*plan.task.kept, *plan.in_place.values()}
    stored: dict[Key, Stored] = {}
    sizes: dict[Region, int] = {}
    for region in ("blocks", "common"):
        keys = [k for k in lives.born if k[0] not in own and sampled(k[0]) == (region == "blocks")]
        offsets, sizes[region] = packed([(k, *lives.spans[k], plan.entries(k)) for k in keys if k in lives.spans])
        for key in keys:
            layout = replace(plan.layouts[key[0]], rows=key[1])
            stored[key] = Stored(region, offsets[lives.root(key)], layout)
    for tensor in plan.task.kept:
        stored[tensor, False] = Stored("kept", 0, plan.layouts[tensor])
    for old, new in plan.in_place.items():
        stored[new, False] = stored[old, False]
    for view, of in plan.views.items():
        for in_rows in (False, True):
            if (of, in_rows) in stored:
                layout = replace(plan.layouts[view], rows=in_rows)
                stored[view, in_rows] = replace(stored[of, in_rows], layout=layout)
    olds = {new: old for old, new in plan.in_place.items()}

    def buffer(key: Key) -> str:
        tensor, in_rows = lives.root((plan.base(key[0]), key[1]))
        return plan.names[olds.get(tensor, tensor)] + ("r" if in_rows else "")

    return replace(
        plan, stored=stored, buffers={key: buffer(key) for key in stored}, stride=spread(sizes["blocks"]),
        common=sizes["common"],
    )


def packed(items: Sequence[Item]) -> tuple[dict[Key, int], int]:
    """A place for each item (key, born, dies, size): the lowest at which none lies that lives at the same time. Placed
    one after another in several orders, of which the shortest memory is taken: the largest first, those that live
    longest, those that are largest and live longest, those born first, those that die last."""
    orders: tuple[Callable[[Item], int], ...] = (
        lambda item: -item[3], lambda item: item[1] - item[2], lambda item: (item[1] - item[2]) * item[3],
        lambda item: item[1], lambda item: -item[2],
    )  # fmt: skip
    return min((_placed(sorted(items, key=order)) for order in orders), key=lambda found: found[1])


def _placed(items: Sequence[Item]) -> tuple[dict[Key, int], int]:
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[Key, int] = {}
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
