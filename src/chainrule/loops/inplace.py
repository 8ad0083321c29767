"""Updates in place: the new value of a kept tensor written over the old one as it is computed."""

from __future__ import annotations

from dataclasses import replace

from chainrule.ir.expr import Component, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import components
from chainrule.loops.fuse import Group
from chainrule.loops.layout import extents
from chainrule.loops.plan import Plan, schedule_of, work


def update_in_place(plan: Plan) -> Plan:
    """New values in the place of the old ones where that changes nothing, and copied there at the end where it does."""
    changing = {old: new for old, new in plan.task.following.items() if old is not new}
    in_place = {old: new for old, new in changing.items() if _may_overwrite(plan, old, new)}
    copies = [Group((_copy(new, old),)) for old, new in changing.items() if old not in in_place]
    works = (*plan.works, *(work(plan, group, schedule_of(plan, group)) for group in copies))
    return replace(plan, in_place=in_place, works=works)


def _copy(new: Tensor, old: Tensor) -> Equation:
    at = tuple(Affine.of(Index(f"i{n}", extent)) for n, extent in enumerate(extents(old), 1))
    return Equation(Component(old, at), Component(new, at))


def _may_overwrite(plan: Plan, old: Tensor, new: Tensor) -> bool:
    """Whether the new value of a kept tensor may take the old one's place as it is computed."""
    groups = [w.group for w in plan.works]
    made = [n for n, group in enumerate(groups) if new in group.targets]
    checked = max((n for n, group in enumerate(groups) if plan.task.loss in group.targets), default=-1)
    if not made or made[-1] <= checked or new in plan.task.outputs:
        return False
    position = made[-1]
    if any(n != position and new in group.reads for n, group in enumerate(groups)):
        return False
    if any(old in group.reads for group in groups[position + 1 :]):
        return False
    equations = groups[position].equations
    own = [n for n, e in enumerate(equations) if e.tensor == new]
    if any(old in e.value.tensors for e in equations[own[-1] + 1 :]):
        return False
    if any(Reduce in e.value.types for e in equations[own[0] + 1 : own[-1] + 1]):
        return False  # what comes before a sum may be stored before it
    points = [e.target.subscripts for e in equations[own[0] : own[-1] + 1] if e.tensor == new]
    read = [c for e in equations for c in components(e.value) if c.tensor == old]
    return all(c.subscripts in points for c in read)
