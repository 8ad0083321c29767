"""barrier.h, entered by Python's threads."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from tests.runtime.kernels import EXPORT, HERE, Array, pointer

from chainrule.runtime.build import build
from chainrule.runtime.headers import header
from chainrule.runtime.workers import Team

# Each step every worker adds what all have in row `step` and puts it into its own place of the next row: a worker that
# runs ahead or reads too early gets another sum.
SOURCE = f"""
{EXPORT} long run(team *t, long worker, long steps, long *table, long last) {{
  long step = 0;
  for (; step < steps; step++) {{
    if (meet(t)) break;
    long sum = 0;
    for (long i = 0; i < t->workers; i++) sum += table[step * t->workers + i];
    table[(step + 1) * t->workers + worker] = sum % 1000003 + worker;
    if (worker == 0) count_step(t);
    if (worker == 1 && step == last) ask_to_leave(t);
  }}
  return step;
}}
{EXPORT} long wait_for_stop(team *t, long worker) {{
  long step = 0;
  for (; !meet(t); step++)
    if (worker == 0) count_step(t);
  return step;
}}
{EXPORT} long size(void) {{ return sizeof(team); }}
"""


@cache
def library(waits: bool = True) -> ctypes.CDLL:
    source = header(["barrier"]) + (SOURCE if waits else SOURCE.replace("if (meet(t)) break;", ""))
    loaded = ctypes.CDLL(str(build(source, target=HERE)))
    loaded.run.restype = loaded.wait_for_stop.restype = ctypes.c_long
    return loaded


def run(workers: int, steps: int, last: int = -1, *, waits: bool = True) -> tuple[list[int], Array, Team]:
    """What each worker returns, the table and the record; workers that do not wait come one after the other."""
    team, table = Team(workers), np.ones((steps + 1, workers), np.int64)
    with ThreadPoolExecutor(workers if waits else 1) as pool:
        arguments = (ctypes.c_long(steps), pointer(table), ctypes.c_long(last))
        function = library(waits).run
        calls = [pool.submit(function, ctypes.byref(team), ctypes.c_long(w), *arguments) for w in range(workers)]
        return [call.result() for call in calls], table, team


def expected(workers: int, steps: int) -> Array:
    table = np.ones((steps + 1, workers), np.int64)
    for step in range(steps):
        table[step + 1] = table[step].sum() % 1000003 + np.arange(workers)
    return table


@pytest.mark.parametrize(("workers", "steps"), [(1, 50), (2, 5000), (3, 300), (8, 60)])
def test_no_worker_runs_ahead(workers: int, steps: int) -> None:
    returned, table, team = run(workers, steps)
    assert returned == [steps] * workers
    assert np.array_equal(table, expected(workers, steps))
    assert team.steps == steps


def test_workers_that_do_not_wait_are_seen() -> None:
    assert not np.array_equal(run(2, 3, waits=False)[1], expected(2, 3))


@pytest.mark.parametrize("workers", [2, 3])
def test_all_leave_at_the_same_step(workers: int) -> None:
    returned, table, team = run(workers, 1000, last=41)
    assert returned == [42] * workers
    assert team.steps == 42
    assert np.array_equal(table[:43], expected(workers, 42)) and (table[43:] == 1).all()


def test_python_counts_and_stops_from_outside() -> None:
    team = Team(2)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(library().wait_for_stop, ctypes.byref(team), ctypes.c_long(w)) for w in range(2)]
        seen = 0
        while team.steps < 100:  # this thread runs while the workers do
            assert team.steps >= seen
            seen = team.steps
        assert not any(call.done() for call in calls)
        team.stop = 1
        returned = [call.result(60) for call in calls]
    assert returned[0] == returned[1] == team.steps >= 100


def test_the_record_is_the_same_in_python_and_c() -> None:
    assert library().size() == ctypes.sizeof(Team)
    team = Team(3)
    assert (team.workers, team.steps, team.stop) == (3, 0, 0)
