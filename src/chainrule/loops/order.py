"""The order of kernels in which little is alive at once. What is computed stays, and with it every bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chainrule.ir.expr import Tensor, derived
from chainrule.ir.walk import components
from chainrule.loops.fuse import Group
from chainrule.loops.liveness import Liveness
from chainrule.loops.plan import Plan, Work, schedule_of, work
from chainrule.loops.schedule import fits

MOST_CHANGES = 12
DEAR, OPERATIONS = 1 / 12, 2**24
"""A change costs barriers or work: each must save the share DEAR of a step's memory, or OPERATIONS / operations of it
where the step has so many operations that this is less."""


def reorder(plan: Plan) -> Plan:
    """The kernels in an order, with data reloaded and in layouts, that take less memory."""
    if not plan.scheduled:
        return plan
    chain = [Liveness(replace(plan, works=tuple(sunk(plan))))]
    while len(chain) < MOST_CHANGES:
        lives = chain[-1]
        at = min((lives.most[1] + 1) // 2, len(lives.works) - 1)
        changes = earlier(lives, at), widened(lives, at), reloaded(lives, at)
        tried = [Liveness(change) for change in changes if change]
        if not tried:
            break
        chain.append(min(tried, key=lambda lives: lives.most[0]))
    kept = sum(plan.layouts[t].size for t in plan.task.kept)
    sizes = [kept + lives.most[0] for lives in chain]
    price = min(DEAR, OPERATIONS / max(1, plan.task.operations * plan.blocks * plan.width)) * sizes[0]
    return chain[min(range(len(sizes)), key=lambda n: sizes[n] + n * price)].plan


def sunk(plan: Plan) -> list[Work]:
    """A kernel moves down to its first reader where all that it reads is still alive there anyway."""
    result = [*plan.works]
    lives = Liveness(plan)
    for each in plan.works[::-1]:
        at = result.index(each)
        own = set(each.group.targets)
        if not each.blocks or not own.isdisjoint(plan.task.outputs) or plan.task.loss in own:
            continue
        reader = next((n for n in range(at + 1, len(result)) if own & plan.touched(result[n])), at)
        while reader > at and not result[reader - 1].blocks:
            reader -= 1
        inputs = [t for t in map(plan.base, each.plain) if (t, False) in lives.born]
        if reader <= at + 1 or any(_last(result, t, plan) < reader for t in inputs):
            continue
        read = plan.touched(each)
        if all(read.isdisjoint(plan.written(other)) for other in result[at + 1 : reader]):
            result[at:reader] = [*result[at + 1 : reader], each]
    return result


def earlier(lives: Liveness, at: int) -> Plan | None:
    """Kernels that share out something else than blocks, gradients of weights, moved up before one: what they alone
    still read dies."""
    works, plan = lives.works, lives.plan
    first = next((n + 1 for n, w in enumerate(works) if plan.task.loss in w.group.targets), 0)
    while at > first and not works[at].blocks:
        at -= 1
    if at < first:
        return None
    moved: list[Work] = []
    stay: list[Work] = []
    touched, written = set[Tensor](), set[Tensor]()
    for each in works[at:]:
        own, new = plan.touched(each), plan.written(each)
        if not each.blocks and own.isdisjoint(written) and new.isdisjoint(touched):
            moved.append(each)
        else:
            stay.append(each)
            touched |= own
            written |= new
    return replace(plan, works=(*works[:at], *moved, *stay)) if moved and stay else None


def widened(lives: Liveness, at: int) -> Plan | None:
    """A tensor with room for a halo, so that one with a halo may take its place. The zeros are the other's: who reads
    beyond the tensor's own ends would find there what lay there before."""
    plan, here = lives.plan, lives.works[at]
    padded = {c.tensor for w in lives.works for e in w.group.equations for c in components(e.value) if c.pad == 0}
    for new in here.group.targets:
        for old in lives.dying(at):
            if old in padded or old in plan.views.values() or lives.alike(new, old):
                continue
            if not lives.may_take(here, new, old):
                continue
            wide = replace(plan, layouts={
                **plan.layouts, old: replace(plan.layouts[old], halo=plan.layouts[new].halo)
            })
            concerned = [w for w in lives.works if old in plan.touched(w)]
            if any(w.group.lanes == "outputs" and not fits(w.group, wide.layouts) for w in concerned):
                continue  # its neighbours would not be neighbours any more
            made = tuple(work(wide, w.group, schedule_of(wide, w.group)) if w in concerned else w for w in lives.works)
            if plan.layouts[old].unhaloed and all(
                a.schedule.lanes == b.schedule.lanes for a, b in zip(made, lives.works, strict=True)
            ):
                return replace(wide, works=made)
    return None


def reloaded(lives: Liveness, at: int) -> Plan | None:
    """The largest of the data that are read before a kernel and after it, gathered again for the later readers."""
    works, plan = lives.works, lives.plan
    found: list[tuple[int, Tensor, int]] = []
    for tensor in plan.task.data:
        later = [n for n in range(at, len(works)) if tensor in works[n].group.reads]
        if not later or later[0] == at or tensor in plan.views.values() or not _read(works[:at], tensor):
            continue
        if not any(tensor in works[n].rows for n in later):
            found.append((plan.entries((tensor, False)), tensor, later[0]))
    if not found:
        return None
    _, old, place = max(found, key=lambda option: option[0])
    new = derived("again", old, number=len(plan.reloads))
    number = 1 + sum(name[0] == "y" for name in plan.names.values())
    plan = replace(
        plan, reloads={**plan.reloads, new: old}, names={**plan.names, new: f"y{number}"},
        layouts={**plan.layouts, new: replace(plan.layouts[old], tensor=new)},
        haloed=plan.haloed | {new} if old in plan.haloed else plan.haloed,
    )
    return replace(plan, works=(*works[:place], *(_over(plan, w, old, new) for w in works[place:])))


def _over(plan: Plan, each: Work, old: Tensor, new: Tensor) -> Work:
    """The same reading another tensor."""
    if old not in each.group.reads:
        return each
    equations = tuple(e.over({old: new}) for e in each.group.equations)
    return work(plan, Group(equations, each.group.lanes), each.schedule)


def _read(works: Sequence[Work], tensor: Tensor) -> bool:
    return any(tensor in w.group.reads for w in works)


def _last(works: Sequence[Work], tensor: Tensor, plan: Plan) -> int:
    """The last kernel that reads a tensor as it was stored."""
    return max((n for n, w in enumerate(works) if tensor in map(plan.base, w.plain)), default=-1)
