"""Which equations share a kernel, and in what order the kernels run.

An equation joins the one that it reads where it reads it only at the point that was just computed: a bias and an
activation join their product, an optimizer's update joins the gradient that it consumes. Values go from one to the next
in registers, and a tensor that nothing else reads never exists in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from math import prod
from typing import Literal

from chainrule.ir.expr import Component, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, components, fresh, nodes, rename, substitute

Lanes = Literal["samples", "outputs", "terms"]


@dataclass(frozen=True)
class Group:
    """Equations over the same output indices; what a later one reads of an earlier one is at the same point. `lanes`
    is what their sums have in the lanes, None without sums: it decides their bits."""

    equations: tuple[Equation, ...]
    lanes: Lanes | None = None

    @property
    def indices(self) -> tuple[Index, ...]:
        return self.equations[0].indices

    @property
    def computes(self) -> str:
        """The names of what it computes."""
        return "; ".join(spelled(e.tensor) for e in self.equations)

    @cached_property
    def targets(self) -> tuple[Tensor, ...]:
        return tuple(dict.fromkeys(e.tensor for e in self.equations))

    @cached_property
    def reads(self) -> tuple[Tensor, ...]:
        return tuple(dict.fromkeys(t for e in self.equations for t in e.value.tensors))


def joined(group: Group, equation: Equation) -> Group | None:
    """The group with one more equation, written over the group's indices; None where it does not fit. Pieces of a
    tensor share a group where they share a sum; what reads all of the tensor joins them with an equation for each."""
    points: dict[Tensor, list[tuple[Affine, ...]]] = {}
    for each in group.equations:
        points.setdefault(each.tensor, []).append(each.target.subscripts)
    if equation.tensor in points:
        sums = {node for e in group.equations for node in nodes(e.value) if isinstance(node, Reduce)}
        shared = equation.indices == group.indices and not sums.isdisjoint(nodes(equation.value))
        return Group((*group.equations, equation)) if shared else None  # else pieces of one tensor stay apart
    own = [c for c in components(equation.value) if c.tensor in points]
    pieces = [*zip(*(points[c.tensor] for c in own), strict=False)]
    made: list[Equation] = []
    for piece in pieces:
        mapping: dict[Index, Affine] = {}
        for read, point in zip(own, piece, strict=True):
            for subscript, at in zip(read.subscripts, point, strict=True):
                index = subscript.plain
                if index is None or index not in equation.indices or mapping.setdefault(index, at) != at:
                    return None
        if set(mapping) != set(equation.indices) or not _within(mapping, group.indices):
            return None
        new = _over(equation, mapping)
        here = {c.tensor: at for c, at in zip(own, piece, strict=True)}
        if not all(c.pad is None and c.subscripts == here[c.tensor] for c in components(new.value) if c.tensor in here):
            return None
        made.append(new)
    count, names = _size(group.indices)
    if not made or any(set(e.indices) != set(group.indices) for e in made):
        return None
    return Group((*group.equations, *made)) if _size(equation.indices) == (count * len(made), names) else None


def _within(mapping: Mapping[Index, Affine], indices: Sequence[Index]) -> bool:
    """Whether each point of `indices` is another one of the mapping's. What is mapped to are subscripts of a target, so
    that none is reached twice."""
    for index, point in mapping.items():
        plain = point.plain
        if plain is None:
            reach = point.bounds()
            if isinstance(index.extent, str) or reach is None or reach[0] < 0 or reach[1] >= index.extent:
                return False
        elif plain.extent != index.extent:
            return False
    return {i for point in mapping.values() for i in point.indices} == {*indices}


def _size(indices: Iterable[Index]) -> tuple[int, list[str]]:
    """How many points: a number, and the named extents that multiply it."""
    extents = [i.extent for i in indices]
    return prod(e for e in extents if isinstance(e, int)), sorted(e for e in extents if isinstance(e, str))


def _over(equation: Equation, mapping: Mapping[Index, Affine]) -> Equation:
    """The equation at other output indices; a bound index of one of their names gets another."""
    taken = {i.name for a in mapping.values() for i in a.indices}
    value = equation.value
    clash = [i for i in dict.fromkeys(bound(value)) if i.name in taken]
    # Two steps, by way of fresh names, so that an index may take the name of another.
    away: dict[Index, Index] = {}
    for index in mapping:
        away[index] = fresh(f"{index.name}0", index.extent, [*bound(value), *away.values(), *mapping, *clash])
    value = rename(value, away)
    target = rename(equation.target, away)
    back = {away[index]: form for index, form in mapping.items()}
    new_target = substitute(target, back)
    assert isinstance(new_target, Component)
    return Equation(new_target, substitute(value, back))


def ordered(equations: Sequence[Equation], late: Sequence[Equation], after: Tensor | None) -> list[Equation]:
    """The equations with each of `late` moved up to just behind the one whose value it consumes, as soon as all that it
    reads is there, and `after` too."""
    pieces = Counter(e.tensor for e in equations)
    needs = [{t for t in e.value.tensors if t in pieces} for e in late]
    users: dict[Tensor, list[int]] = {}
    for number, needed in enumerate(needs):
        for tensor in needed:
            users.setdefault(tensor, []).append(number)
    ready = [number for number, needed in enumerate(needs) if not needed]
    result: list[Equation] = []

    def place(equation: Equation) -> None:
        result.append(equation)
        pieces[equation.tensor] -= 1
        if not pieces[equation.tensor]:
            for number in users.get(equation.tensor, ()):
                needs[number].discard(equation.tensor)
                if not needs[number]:
                    heappush(ready, number)

    moved = set(late)
    for equation in equations:
        if equation not in moved:
            place(equation)
            while ready and (after is None or not pieces[after]):
                place(late[heappop(ready)])
    return result


def grouped(groups: Sequence[Group], fits: Callable[[Group], bool]) -> list[Group]:
    """The groups, each equation joined with the group before it where that fits. What an equation has in the lanes it
    has in every group, so that fusion changes no bit."""
    result: list[Group] = []
    for group in groups:
        (equation,), last = group.equations, result[-1] if result else None
        longer = joined(last, equation) if last else None
        if last and longer and (group.lanes is None or last.lanes in (None, group.lanes)):
            longer = replace(longer, lanes=last.lanes or group.lanes)
            if fits(longer):
                result[-1] = longer
                continue
        result.append(group)
    return result
