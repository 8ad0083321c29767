"""The same part of two equations is computed once: where, and with the same values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.loops.tasks import computed_exactly, elements, task_of

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import Reduce
from chainrule.ir.walk import nodes
from chainrule.loops.shared import shared as shared_equations
from chainrule.loops.task import Task


def logsumexps(task: Task) -> list[Any]:
    return [n for e in task.equations for n in {*nodes(e.value)} if isinstance(n, Reduce) and n.kind == "logsumexp"]


def shared(task: Task) -> Task:
    return replace(task, equations=tuple(shared_equations(task.equations)))


def unchanged(task: Task, samples: int = 3) -> bool:
    """Whether every tensor of a task has the same values over GF(p) in the shared one."""
    given = elements(task, samples, 5)
    wanted, found = (computed_exactly(each, given, samples, 5) for each in (task, shared(task)))
    return all(np.array_equal(wanted[t], found[t]) for t in wanted)


@pytest.mark.parametrize("shape", [(4,), (3, 4)], ids=str)
def test_softmax_and_cross_entropy_share_their_logarithm(shape: tuple[int, ...]) -> None:
    model = cr.Sequential(cr.Input(*shape), cr.Dense(5), loss="softmax_cross_entropy")
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    once = shared(task)
    assert len(logsumexps(task)) == 2 and len(logsumexps(once)) == 1
    assert len(once.equations) == len(task.equations) + 2 and unchanged(task)


FIRST = "y[n, i] = x[n, i] - logsumexp[j](x[n, j])\n"
APART = {
    "over another tensor": "z[n] = logsumexp[j](w[n, j])",
    "over another axis": "z[i] = logsumexp[j](v[i, j])\nu[i] = logsumexp[j](v[j, i])",
    "of something more": "z[n] = logsumexp[j](x[n, j] + x[n, j])",
}


@pytest.mark.parametrize("name", APART)
def test_what_is_not_the_same_stays_apart(name: str) -> None:
    task = task_of(FIRST + APART[name], data="x[N, 3]; w[N, 3]", kept="v[3, 3]")
    assert shared(task) == task and unchanged(task)


def test_names_of_indices_do_not_matter_and_where_it_stands_does_not() -> None:
    lines = "z[m] = 2*logsumexp[i](x[m, i])", "u[n] = logsumexp[i](y[n, i])", "w[k] = u[k] + logsumexp[i](y[k, i])"
    task = task_of(FIRST + "\n".join(lines), data="x[N, 3]")
    assert [len(logsumexps(t)) for t in (task, shared(task))] == [4, 2] and unchanged(task)
