"""Lowering: a step's equations to loops, by a flat list of passes from plan to plan.

    pass               decides
    normalise          the form that is lowered: samples first, each tensor with a place, values shared
    specialise_batch   for batches of one sample: no sum over them
    filter_windows     convolutions with fewer products, minimal filtering
    name               what each tensor is called in the code
    order_updates      updates right behind the gradients that they consume
    add_halos          layouts, with zeros around what is read beyond its ends
    view               reshapes that are no work
    vectorise          what each sum has in the lanes, which decides its bits
    fuse               which equations share a kernel
    schedule           each kernel's register tile
    reorder            the order of kernels, reloads and layouts in which little is alive at once
    update_in_place    which new values are written over the old ones
    pipeline           the first kernel of a step at the end of the one before
    allocate           places in memory
    write_loops        kernels, and what stands between them
    insert_barriers    where workers wait for each other

What comes out is checked after each pass (`check.py`). No pass changes what is computed; those from `fuse` on change no
bit of it either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from chainrule.ir.expr import Component, Tensor
from chainrule.ir.program import Equation
from chainrule.loops.barriers import insert_barriers
from chainrule.loops.check import check
from chainrule.loops.emit import write_loops
from chainrule.loops.filtering import filtered
from chainrule.loops.fuse import Group, grouped, ordered
from chainrule.loops.halo import add_halos
from chainrule.loops.inplace import update_in_place
from chainrule.loops.kernel import scattered
from chainrule.loops.layout import own_subscripts, sampled
from chainrule.loops.memory import allocate
from chainrule.loops.names import names_of
from chainrule.loops.normal import normal
from chainrule.loops.order import reorder
from chainrule.loops.pipeline import pipeline
from chainrule.loops.plan import Plan, Tiles, schedule_of, work
from chainrule.loops.schedule import Machine, fits, lanes_of
from chainrule.loops.single import single
from chainrule.loops.task import Task

Pass = Callable[[Plan], Plan]


def lower(
    task: Task, machine: Machine, *, samples: int, scheduled: bool = True, tiles: Tiles | None = None, variant: int = 0
) -> Plan:
    """The loops of a task. Where more `samples` are expected at once than half a vector has lanes, they go into the
    lanes; a task of training for 1 is for batches of 1 alone. Without `scheduled` the loops are as the equations have
    them, one equation a kernel: what every schedule must equal bit for bit. `tiles` are taken for the kernels they
    name; of the others each takes its `variant`-th best by the model. Raises CompileError where the program has no
    loops."""
    width = machine.lanes if 2 * samples > machine.lanes else 1
    plan = Plan(task, machine, width, samples, scheduled, tiles or {}, variant)
    for each in PASSES:
        plan = each(plan)
        check(plan, each.__name__, last=each is PASSES[-1])
    return plan


def normalise(plan: Plan) -> Plan:
    return replace(plan, task=normal(plan.task))


def specialise_batch(plan: Plan) -> Plan:
    return replace(plan, task=single(plan.task)) if plan.single else plan


def filter_windows(plan: Plan) -> Plan:
    return replace(plan, task=filtered(plan.task)) if plan.width > 1 and not plan.single else plan


def name(plan: Plan) -> Plan:
    return replace(plan, names=names_of(plan.task))


def order_updates(plan: Plan) -> Plan:
    """Updates directly follow the gradients that they consume, where that is allowed: everything that reads a kept
    tensor comes before its new value."""
    equations: Sequence[Equation] = plan.task.equations
    new = {new for old, new in plan.task.following.items() if new is not old}
    targets = [e.tensor for e in equations]
    loss = targets.index(plan.task.loss) if plan.task.loss in targets else len(targets)
    first = next((n for n in range(loss + 1, len(targets)) if targets[n] in new), None)
    if plan.scheduled and first is not None:
        equations = ordered(equations, equations[first:], plan.task.loss)
    return replace(plan, groups=tuple(Group((e,)) for e in equations))


def view(plan: Plan) -> Plan:
    """Tensors that hold the components of another one in the order in which that lies in memory: a reshape is no
    work."""
    if not plan.scheduled:
        return plan
    task, equations = plan.task, [e for group in plan.groups for e in group.equations]
    pieces = Counter(e.tensor for e in equations)
    lasting = {*task.kept, *task.outputs, *task.following.values()}
    views: dict[Tensor, Tensor] = {}
    for equation in equations:
        target, value = equation.target, equation.value
        if not isinstance(value, Component) or value.pad is not None or pieces[target.tensor] > 1:
            continue
        one, other = plan.layouts[target.tensor], plan.layouts[value.tensor]
        if target.tensor in lasting or value.tensor in task.kept or target.tensor.dtype != value.tensor.dtype:
            continue
        if sampled(target.tensor) != sampled(value.tensor) or not (one.unhaloed and other.unhaloed):
            continue
        if sampled(target.tensor) and target.subscripts[0] != value.subscripts[0]:
            continue
        here, there = map(own_subscripts, (target, value))
        if one.size == other.size and set(one.flat(here).terms) == set(other.flat(there).terms):
            views[target.tensor] = views.get(value.tensor, value.tensor)
    groups = tuple(g for g in plan.groups if g.equations[0].tensor not in views)
    return replace(plan, views=views, groups=groups)


def vectorise(plan: Plan) -> Plan:
    """What each equation's sums have in the lanes: decided by the equation alone, so that fusion changes no bit."""
    def of(group: Group) -> Group:
        (equation,) = group.equations
        return Group((equation,), lanes_of(equation, plan.layouts, plan.machine, plan.width, plan.samples))

    return replace(plan, groups=tuple(map(of, plan.groups)))


def fuse(plan: Plan) -> Plan:
    """Kernels of several equations; what scatters its terms stays alone, and so does what would lose its lanes."""
    def fits_together(group: Group) -> bool:
        alone = any(scattered(Group((e,)), plan.ids) for e in group.equations)
        return not alone and (group.lanes != "outputs" or fits(group, plan.layouts))

    return replace(plan, groups=tuple(grouped(plan.groups, fits_together))) if plan.scheduled else plan


def schedule(plan: Plan) -> Plan:
    return replace(plan, works=tuple(work(plan, group, schedule_of(plan, group)) for group in plan.groups))


PASSES: Sequence[Pass] = (
    normalise, specialise_batch, filter_windows, name, order_updates, add_halos, view, vectorise, fuse, schedule,
    reorder, update_in_place, pipeline, allocate, write_loops, insert_barriers,
)
