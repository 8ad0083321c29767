"""barrier.h, entered by Python's threads."""

from __future__ import annotations

import ctypes
import time
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
{EXPORT} long run(team *t, long worker, long steps, long *table) {{
  long step = 0;
  for (; step < steps; step++) {{
    if (meet(t)) break;
    long sum = 0;
    for (long i = 0; i < t->workers; i++) sum += table[step * t->workers + i];
    table[(step + 1) * t->workers + worker] = sum % 1000003 + worker;
  }}
  return step;
}}
{EXPORT} long size(void) {{ return sizeof(team); }}
"""


@cache
def library(waits: bool = True) -> ctypes.CDLL:
    source = header(["barrier"]) + (SOURCE if waits else SOURCE.replace("if (meet(t)) break;", ""))
    loaded = ctypes.CDLL(str(build(source, target=HERE)))
    loaded.run.restype = ctypes.c_long
    return loaded


def run(workers: int, steps: int, *, waits: bool = True) -> tuple[list[int], Array]:
    """What each worker returns, and the table; workers that do not wait come one after the other."""
    team, table = Team(workers), np.ones((steps + 1, workers), np.int64)
    with ThreadPoolExecutor(workers if waits else 1) as pool:
        arguments = (ctypes.c_long(steps), pointer(table))
        function = library(waits).run
        calls = [pool.submit(function, ctypes.byref(team), ctypes.c_long(w), *arguments) for w in range(workers)]
        return [call.result() for call in calls], table


def expected(workers: int, steps: int) -> Array:
    table = np.ones((steps + 1, workers), np.int64)
    for step in range(steps):
        table[step + 1] = table[step].sum() % 1000003 + np.arange(workers)
    return table


@pytest.mark.parametrize(("workers", "steps"), [(1, 50), (2, 5000), (3, 300), (8, 60)])
def test_no_worker_runs_ahead(workers: int, steps: int) -> None:
    returned, table = run(workers, steps)
    assert returned == [steps] * workers
    assert np.array_equal(table, expected(workers, steps))


def test_workers_that_do_not_wait_are_seen() -> None:
    assert not np.array_equal(run(2, 3, waits=False)[1], expected(2, 3))


def test_those_leave_who_wait_for_one_that_never_comes() -> None:
    team, table = Team(3), np.ones((3, 3), np.int64)
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(library().run, ctypes.byref(team), ctypes.c_long(w), ctypes.c_long(2), pointer(table))
            for w in (1, 2)
        ]
        time.sleep(0.05)
        assert not any(call.done() for call in calls)
        team.stop = 1
        assert [call.result(60) for call in calls] == [0, 0]
    assert (table == 1).all()


def test_where_all_have_come_none_leaves() -> None:
    """However early `stop` is set: it is read behind the last to come."""
    for turn in range(200):
        team, table = Team(2), np.ones((2, 2), np.int64)
        with ThreadPoolExecutor(1) as pool:
            arguments = (ctypes.c_long(1), pointer(table))
            other = pool.submit(library().run, ctypes.byref(team), ctypes.c_long(1), *arguments)
            assert library().run(ctypes.byref(team), ctypes.c_long(0), *arguments) == 1
            team.stop = 1
            assert other.result(60) == 1, turn
        assert np.array_equal(table, expected(2, 1))


def test_the_record_is_the_same_in_python_and_c() -> None:
    assert library().size() == ctypes.sizeof(Team)
    team = Team(3)
    assert (team.workers, team.stop) == (3, 0)
