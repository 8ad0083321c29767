"""The order of kernels that keeps little alive at once. What is computed stays, and with it every bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from chainrule.ir.expr import Tensor, derived
from chainrule.ir.walk import components
from chainrule.loops.fuse import Group
from chainrule.loops.layout import Layout
from chainrule.loops.lives import Facts, Lives, Work
from chainrule.loops.schedule import Schedule, fits

MOST_CHANGES = 12
DEAR, OPERATIONS = 1 / 12, 2**24
"""A change takes meetings of the workers, or work: of a step's memory it must save the share DEAR, or less where a step
has more than OPERATIONS / DEAR operations."""


Plan = tuple[Sequence[Work], Facts]
Scheduler = Callable[[Group, Mapping[Tensor, Layout]], Schedule]


def arranged(works: Sequence[Work], facts: Facts, schedule: Scheduler) -> Plan:
    """The kernels in an order, with data taken in again and in layouts, that take less memory."""
    chain = [Lives(sunk(works, facts), facts)]
    while len(chain) < MOST_CHANGES:
        lives = chain[-1]
        at = min((lives.most[1] + 1) // 2, len(lives.works) - 1)
        changes = earlier(lives, at), widened(lives, at, schedule), taken(lives, at)
        tried = [Lives(*change) for change in changes if change]
        if not tried:
            break
        chain.append(min(tried, key=lambda lives: lives.most[0]))
    kept = sum(facts.layouts[t].size for t in facts.task.kept)
    sizes = [kept + lives.most[0] for lives in chain]
    price = min(DEAR, OPERATIONS / max(1, facts.task.operations * facts.blocks * facts.width)) * sizes[0]
    best = chain[min(range(len(sizes)), key=lambda n: sizes[n] + n * price)]
    return best.works, best.facts


def sunk(works: Sequence[Work], facts: Facts) -> list[Work]:
    """What is read much later, of what lives until then anyway, is computed there."""
    result = [*works]
    lives = Lives(works, facts)
    for work in reversed(works):
        at = result.index(work)
        own = set(work.group.targets)
        if not work.blocks or not own.isdisjoint(facts.task.outputs) or facts.task.loss in own:
            continue
        reader = next((n for n in range(at + 1, len(result)) if own & facts.touched(result[n])), at)
        while reader > at and not result[reader - 1].blocks:
            reader -= 1
        inputs = [t for t in map(facts.base, work.plain) if (t, False) in lives.born]
        if reader <= at + 1 or any(_last(result, t, facts) < reader for t in inputs):
            continue
        read = facts.touched(work)
        if all(read.isdisjoint(facts.written(other)) for other in result[at + 1 : reader]):
            result[at:reader] = [*result[at + 1 : reader], work]
    return result


def earlier(lives: Lives, at: int) -> Plan | None:
    """Kernels that share out something else than blocks, gradients of weights, moved up before one: what they alone
    still read dies."""
    works, facts = lives.works, lives.facts
    first = next((n + 1 for n, w in enumerate(works) if facts.task.loss in w.group.targets), 0)
    while at > first and not works[at].blocks:
        at -= 1
    if at < first:
        return None
    moved: list[Work] = []
    stay: list[Work] = []
    touched, written = set[Tensor](), set[Tensor]()
    for work in works[at:]:
        own, new = facts.touched(work), facts.written(work)
        if not work.blocks and own.isdisjoint(written) and new.isdisjoint(touched):
            moved.append(work)
        else:
            stay.append(work)
            touched |= own
            written |= new
    return ([*works[:at], *moved, *stay], facts) if moved and stay else None


def widened(lives: Lives, at: int, schedule: Scheduler) -> Plan | None:
    """A tensor with room for zeros around it, so that one with zeros around it may take its place. The zeros are the
    other's: who reads beyond the tensor's own ends would find there what lay there before."""
    facts, work = lives.facts, lives.works[at]
    padded = {c.tensor for w in lives.works for e in w.group.equations for c in components(e.value) if c.pad == 0}
    for new in work.group.targets:
        for old in lives.dying(at):
            if old in padded or old in facts.views.values() or lives.alike(new, old):
                continue
            if not lives.may_take(work, new, old):
                continue
            halo = facts.layouts[new].halo
            layouts = {**facts.layouts, old: replace(facts.layouts[old], halo=halo)}
            concerned = [w for w in lives.works if old in facts.touched(w)]
            if any(w.group.lanes == "outputs" and not fits(w.group, layouts) for w in concerned):
                continue  # its neighbours would not be neighbours any more
            made = [replace(w, schedule=schedule(w.group, layouts)) if w in concerned else w for w in lives.works]
            if facts.layouts[old].unhaloed and all(
                a.schedule.lanes == b.schedule.lanes for a, b in zip(made, lives.works, strict=True)
            ):
                return made, replace(facts, layouts=layouts)
    return None


def taken(lives: Lives, at: int) -> Plan | None:
    """The largest of the data that are read before a kernel and after it, taken in again for the later readers."""
    works, facts = lives.works, lives.facts
    found: list[tuple[int, Tensor, int]] = []
    for tensor in facts.task.data:
        later = [n for n in range(at, len(works)) if tensor in works[n].group.reads]
        if not later or later[0] == at or tensor in facts.views.values() or not _read(works[:at], tensor):
            continue
        if not any(tensor in works[n].rows for n in later):
            found.append((facts.entries((tensor, False)), tensor, later[0]))
    if not found:
        return None
    _, old, place = max(found, key=lambda option: option[0])
    new = derived("again", old, number=len(facts.taken))
    return [*works[:place], *(_over(w, old, new) for w in works[place:])], replace(
        facts, taken={**facts.taken, new: old}, layouts={**facts.layouts, new: replace(facts.layouts[old], tensor=new)},
        bordered=facts.bordered | {new} if old in facts.bordered else facts.bordered,
    )


def _over(work: Work, old: Tensor, new: Tensor) -> Work:
    """The same reading another tensor."""
    if old not in work.group.reads:
        return work
    equations = tuple(e.over({old: new}) for e in work.group.equations)
    return replace(
        work, group=Group(equations, work.group.lanes), rows=tuple(new if t == old else t for t in work.rows)
    )


def _read(works: Sequence[Work], tensor: Tensor) -> bool:
    return any(tensor in w.group.reads for w in works)


def _last(works: Sequence[Work], tensor: Tensor, facts: Facts) -> int:
    """The last kernel that reads a tensor as it was stored."""
    return max((n for n, w in enumerate(works) if tensor in map(facts.base, w.plain)), default=-1)
