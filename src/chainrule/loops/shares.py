"""A step in parts, for those who share a batch: each computes sums over its own samples, and all add them up.

What one sample's value depends on of the others is here, in every layer and loss, a sum over them: a mean, a variance,
a gradient. Each such sum becomes a tensor of its own, and they stand in rounds. A sum of the first round reads nothing
that another sum gave, one of the next what the first round gave, and so on; the sums of a round are added up together.
So the rounds are as few as the equations allow: as many as the longest chain of sums, each of which reads the one
before. What comes after all sums is the same for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chainrule.errors import ModelError
from chainrule.ir.expr import Component, Delta, Expr, Guard, Reduce, Size, Tensor, derived
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.print import spelled, to_text
from chainrule.ir.program import Equation, Program
from chainrule.ir.source import shorten
from chainrule.ir.walk import nodes, transform
from chainrule.loops.made import Parts
from chainrule.loops.task import Task

SAMPLE_COUNT = derived("samples", shape=())
"""How many samples all have together."""


@dataclass(frozen=True)
class Round:
    """What each computes of its samples until all meet. The outputs of `task` are the `sums`, which all add up, and
    then what later rounds read of each sample; what is drawn, it is given."""

    task: Task
    sums: tuple[Tensor, ...]


@dataclass(frozen=True)
class Shares:
    """A step in rounds; `rest` makes of the sums what the step leaves behind, for everybody alike."""

    rounds: tuple[Round, ...]
    rest: Program


def shares(task: Task) -> Shares:
    """Raises ModelError, with the equation, where samples depend on each other by more than sums over them."""
    equations, sums = _apart(task.equations)
    levels = dict[Tensor, int]()
    for e in equations:
        level = (e.tensor in sums) + max((levels.get(t, 0) for t in e.value.tensors), default=0)
        levels[e.tensor] = max(level, levels.get(e.tensor, 0))

    last = 1 + max((levels[t] for t in sums), default=0)
    readers: dict[Tensor, set[int]] = {t: {last} for t in (*task.outputs, *task.following.values())}
    places: list[tuple[Equation, set[int]]] = []
    for e in reversed(equations):
        if not (wanted := readers.get(e.tensor)):
            continue
        if e.tensor in sums:
            chosen = {levels[e.tensor]}
        elif _lasts(e.tensor):
            chosen = {min(wanted)}
        else:
            chosen = wanted
        places.append((e, set(chosen)))
        for t in e.value.tensors:
            readers.setdefault(t, set()).update(chosen)
    own = {at: tuple(e for e, chosen in reversed(places) if at in chosen) for at in range(1, last + 1)}
    rounds = tuple(_round(task, own[at], sums, readers, at) for at in range(1, last))
    rest = own[last]
    return Shares(rounds, Program(rest, inputs=_given(rest)))


def _apart(equations: Sequence[Equation]) -> tuple[list[Equation], set[Tensor]]:
    """The equations with every sum over samples as a tensor of its own, and these tensors. Sums that are the same are
    one."""
    parts, result, sums = Parts("sum"), list[Equation](), set[Tensor]()
    for equation in equations:

        def put(node: Expr, of: Tensor = equation.tensor) -> Expr:
            if isinstance(node, Size):
                return Component(SAMPLE_COUNT, ()) if node.extent == SAMPLES else node
            if not isinstance(node, Reduce) or node.kind != "sum" or not any(i.is_sample for i in node.indices):
                return node
            if any(i.is_sample for i in node.free) or sum(i.is_sample for i in node.indices) > 1:
                return node
            point, new = parts.point(node, of)
            if new:
                result.append(Equation(point, node))
                sums.add(point.tensor)
            return point

        value = transform(equation.value, put, Size, Reduce)
        result.append(Equation(equation.target, value))
    for e in result:
        of_samples = e.value.body if e.tensor in sums and isinstance(e.value, Reduce) else e.value
        if not _by_sample(e.target) or not all(map(_by_sample, nodes(of_samples))):
            raise ModelError(
                f"samples depend on each other by more than sums over them, in {spelled(e.tensor)}: "
                f"{shorten(to_text(e), 120)}; processes that share a batch can add up sums only",
                fix='write executor="jax", which shares it among devices, or synchronised=False',
            )
    return result, sums


def _by_sample(node: Expr) -> bool:
    """Whether a node says nothing of which sample is which, and reads of each only what is its own."""
    match node:
        case Component(tensor=tensor, subscripts=subscripts):
            pairs = [*zip(subscripts, tensor.shape, strict=True)]
            at = [s.plain for s, n in pairs if n == SAMPLES]
            return len(at) < 2 and None not in at and not any(_samples(s) for s, n in pairs if n != SAMPLES)
        case Delta(left=left, right=right):
            return not _samples(left) and (isinstance(right, Component) or not _samples(right))
        case Guard(subscript=subscript):
            return not _samples(subscript)
        case Reduce(indices=indices):
            return not any(i.is_sample for i in indices)
        case _:
            return True


def _samples(subscript: Affine) -> bool:
    return any(i.is_sample for i in subscript.indices)


def _lasts(tensor: Tensor) -> bool:
    """Whether it is handed from the round that makes it to later ones; any other is computed wherever it is read."""
    return tensor.dtype == "real" and tensor.shape[:1] == (SAMPLES,)


def _round(
    task: Task, equations: tuple[Equation, ...], sums: set[Tensor], readers: dict[Tensor, set[int]], at: int
) -> Round:
    made, given = {e.tensor: None for e in equations}, _given(equations)
    own = tuple(t for t in made if t in sums)
    later = tuple(t for t in made if _lasts(t) and max(readers[t]) > at)
    data = tuple(t for t in given if SAMPLES in t.shape)
    kept = tuple(t for t in given if SAMPLES not in t.shape)
    return Round(Task(equations, data, kept, {}, (*own, *later)), own)


def _given(equations: Iterable[Equation]) -> tuple[Tensor, ...]:
    """What equations read and none of them defines."""
    equations = tuple(equations)
    made = {e.tensor for e in equations}
    return tuple(dict.fromkeys(t for e in equations for t in e.value.tensors if t not in made))
