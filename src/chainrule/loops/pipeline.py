"""Software pipelining: the first kernel of a step, run at the end of the step before it.

A step ends with the update of a large tensor, and the next one begins with products of its batch and that tensor. Where
few samples come at once, each of the two takes as long as a far cache takes to give the tensor. Run by turns, some
positions of the tensor's first axis at a time, the products find in the nearest cache what the update left there, and
the tensor comes from afar once. With one sample the products read each entry once: then one kernel computes an entry,
stores it and multiplies it. What is computed stays, and with it every bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chainrule.ir.expr import Component, Tensor, derived
from chainrule.ir.index import Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, replace_tensors
from chainrule.loops.fuse import Group
from chainrule.loops.kernel import scattered
from chainrule.loops.places import flat_factors
from chainrule.loops.plan import Plan, Work
from chainrule.loops.schedule import SIZES, Schedule, reductions, single_sided

NEAR = 2**13
"""Entries of the nearest cache, 32 KB. A tensor that fits needs no turns; what a turn updates must fit."""


def pipeline(plan: Plan) -> Plan:
    """Where the last kernel updates a tensor, the kernel that reads it first becomes the first of the step. Both then
    take turns, in tiles of equally many positions of the tensor's first axis, and the batch is double buffered."""
    works = _by_turns(plan) if plan.scheduled and plan.width == 1 else None
    if works is None:
        return plan
    first = works[0].group
    given = [t for t in map(plan.base, first.reads) if t in plan.task.data]
    read = dict.fromkeys((*given, *(t for t in first.reads if plan.base(t) in given)))
    new = {t: derived("next", t) for t in read}
    return replace(
        plan, works=works, next=new,
        names={**plan.names, **{new[t]: f"{plan.names[t]}n" for t in read}},
        layouts={**plan.layouts, **{new[t]: replace(plan.layouts[t], tensor=new[t]) for t in read}},
        views={**plan.views, **{new[t]: new[plan.views[t]] for t in read if t in plan.views}},
        persistent=frozenset((*given, *(new[t] for t in given), *plan.in_memory.intersection(first.targets))),
    )


def _by_turns(plan: Plan) -> tuple[Work, ...] | None:
    works = plan.works
    pairs = [
        (plan.layouts[old].size, old, first, update)
        for old, new in plan.in_place.items() if plan.layouts[old].size > NEAR
        for update in works if new in update.group.targets and _comes_last(update, plan)
        for first in works if old in first.group.reads and _comes_first(first, plan)
        if _position_by_position(update, {old, new}) and _position_by_position(first, {old})
    ]
    for _, old, first, update in sorted(pairs, key=lambda pair: -pair[0]):
        row = plan.layouts[old].strides[0]
        most = update.schedule.tile[1] if reductions(update.group) else first.schedule.tile[1]
        size = max((size for size in SIZES if size <= most and size * row <= NEAR), default=0)
        if size:
            between = [work for work in works if work not in (first, update)]
            ahead = replace(first, schedule=replace(_turn(first, size), across=True), blocks=False)
            return (ahead, *between, replace(update, schedule=_turn(update, size)))
    return None


def reading_once(
    first: Group, update: Group, news: Mapping[Tensor, Tensor], taken: Mapping[Tensor, Tensor]
) -> Group | None:
    """The first kernel's equations with `news` (old value -> updated) and `taken` (this batch -> the next) in place;
    None unless they read one updated tensor, each entry of it once."""
    every = [c for e in first.equations for c in components(e.value) if c.tensor in news]
    if len(every) != 1 or reductions(update) or len(reductions(first)) != 1:
        return None
    (read,), (node,) = every, reductions(first)
    factors = flat_factors(node.body)
    plain = [s.plain for s in read.subscripts]
    outputs = [i for i in first.indices if not i.is_sample]
    if not all(isinstance(f, Component) and f.pad is None for f in factors) or read not in factors:
        return None
    if None in plain or len({*plain}) < len(plain) or {*plain} != {*outputs, *node.indices}:
        return None
    replaced = {**taken, **news}
    return Group(tuple(Equation(e.target, replace_tensors(e.value, replaced)) for e in first.equations), first.lanes)


def _turn(work: Work, size: int) -> Schedule:
    """The schedule in tiles that are one turn."""
    return replace(work.schedule, tile=(1, size, *(1 for _ in work.schedule.loops[1:])))


def _comes_first(work: Work, plan: Plan) -> bool:
    """Whether all that a kernel takes is there before the step, and what it makes is for this step alone."""
    task, own = plan.task, {*work.group.targets}
    given = {*task.data, *task.kept} - {*task.drawn, *task.stepwise} - plan.haloed
    if not work.blocks or not {*map(plan.base, work.group.reads)} - own <= given:
        return False
    if not own.isdisjoint({*task.outputs, *task.following.values(), task.loss}):
        return False
    return not any(_depend(work, other, plan) for other in plan.works[: plan.works.index(work)])


def _comes_last(work: Work, plan: Plan) -> bool:
    """Whether a kernel may run when all others have."""
    if scattered(work.group, plan.ids) or not {*work.group.targets}.isdisjoint(plan.task.outputs):
        return False
    return not any(_depend(work, other, plan) for other in plan.works[plan.works.index(work) + 1 :])


def _depend(one: Work, other: Work, plan: Plan) -> bool:
    """Whether the order of two kernels matters."""
    return not (
        plan.written(one).isdisjoint(plan.touched(other)) and plan.written(other).isdisjoint(plan.touched(one))
    )


def _position_by_position(work: Work, tensors: set[Tensor]) -> bool:
    """Whether each position of a kernel's first loop has to do with one position of the tensors' first axis."""
    outer = work.schedule.loops[:-1] if work.schedule.lanes == "outputs" else work.schedule.loops
    if not outer or len(outer[0].indices) != 1:
        return False
    if 1 in single_sided(work.group, work.schedule.loops):
        return False
    index = outer[0].indices[0]
    every = (c for e in work.group.equations for c in (e.target, *components(e.value)) if c.tensor in tensors)
    return all(
        c.subscripts[:1] == (Affine.of(index),) and not any(index in s.indices for s in c.subscripts[1:]) for c in every
    )
