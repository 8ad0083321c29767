"""The step of a plan: its kernels written out, and what stands before, between and behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from chainrule.loops import nodes as ir
from chainrule.loops.fuse import Group
from chainrule.loops.halo import zeros_around
from chainrule.loops.kernel import Builder
from chainrule.loops.liveness import Liveness
from chainrule.loops.names import described
from chainrule.loops.pipeline import reading_once
from chainrule.loops.places import Place
from chainrule.loops.plan import Check, Deliver, Draw, Gather, Key, Plan, Prefetch, Rows, Stage, Turns, schedule_of
from chainrule.loops.schedule import Schedule


def write_loops(plan: Plan) -> Plan:
    """The stages of a step, without its barriers: a barrier depends on what loops touch."""
    return replace(plan, stages=tuple(_stages(plan, _places(plan))))


def _places(plan: Plan) -> dict[Key, Place]:
    places: dict[Key, Place] = {}
    for (tensor, in_rows), where in plan.stored.items():
        kind = "int" if tensor.dtype == "integer" else "real"
        apart = plan.stride if where.region == "blocks" else 0
        places[tensor, in_rows] = Place(ir.Buffer(plan.buffers[tensor, in_rows], kind), where.layout, apart)
    for tensor, layout in plan.layouts.items():
        places.setdefault((tensor, False), Place(ir.Buffer(plan.names[tensor], "real"), layout, 0))
    return places


def _stages(plan: Plan, places: Mapping[Key, Place]) -> Iterator[Stage]:
    lives, ahead = Liveness(plan), None
    haloed = plan.haloed.difference(plan.in_place.values())
    pipelined = any(work.schedule.across for work in plan.works)
    ahead_of = {old: new for old, new in plan.next.items() if pipelined and old in plan.task.data}
    yield from map(Draw, plan.task.drawn)
    yield from (Gather(t, t) for t in plan.task.data if t not in ahead_of)
    if found := tuple(t for t in plan.task.data if t not in plan.task.drawn):
        yield Prefetch(found)
    for tensor in plan.task.data:
        if tensor in haloed:
            yield zeros_around(places[tensor, False], plan.names[tensor], plan.width)
    for number, work in enumerate(plan.works):
        for tensor in (t for t, at in lives.copied.items() if at == number):
            yield Gather(tensor, tensor, rows=True) if tensor in plan.afresh else Rows(tensor)
        for tensor, at in lives.first.items():
            if at == number and tensor in haloed:
                yield zeros_around(places[tensor, False], plan.names[tensor], plan.width)
            if at == number and tensor in plan.reloads:
                yield Gather(tensor, plan.reloads[tensor])
        kernel = _kernel(plan, places, number + 1, work.group, work.schedule)
        if work.schedule.across:
            ahead = kernel
        elif ahead is not None and number == len(plan.works) - 1:
            gathers = tuple(Gather(new, old) for old, new in ahead_of.items())
            yield Turns(kernel, ahead, gathers, _both(plan, places, work.group))
        else:
            yield kernel
        if plan.task.loss is not None and plan.task.loss in work.group.targets:
            yield Check(plan.task.loss)
    yield from map(Deliver, plan.task.outputs)


def _kernel(
    plan: Plan, places: Mapping[Key, Place], number: int, group: Group, schedule: Schedule, update: Group | None = None
) -> ir.Kernel:
    before = update.equations if update else ()
    builder = Builder(group, schedule, places, plan.in_memory, plan.lanes, plan.width, plan.ids, before)
    return builder.build(f"k{number}", [described(e, plan.names) for e in (*before, *group.equations)])


def _both(plan: Plan, places: Mapping[Key, Place], update: Group) -> ir.Kernel | None:
    """A step's last kernel and the next one's first in one, where each has one sample."""
    news = {old: new for old, new in plan.in_place.items() if new in update.targets}
    group = reading_once(plan.works[0].group, update, news, plan.next) if plan.single else None
    if group is None:
        return None
    schedule = replace(schedule_of(plan, group, few=True), across=True)
    return _kernel(plan, places, len(plan.works) + 1, group, schedule, update)
