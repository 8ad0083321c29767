"""Steps that overlap, as native code: over floats the bits of steps that do not, over GF(p) the values."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from tests.examples import few
from tests.loops.tasks import floats
from tests.targets.native import HERE, at_lanes, built_of, library, natively
from tests.targets.test_field_loops import differing

import chainrule as cr
from chainrule.compile import emit, training
from chainrule.loops import pipeline
from chainrule.loops.plan import Plan
from chainrule.loops.task import Task
from chainrule.runtime.library import Library
from chainrule.train.runners import outputs_of

SAMPLES = 11
LAYERS = cr.Input(700), cr.Dense(13), cr.Tanh(), cr.Dense(3)
RULES = [cr.SGD(0.1), cr.Adam(0.01)]


def task_of(rule: cr.Optimizer, *layers: Any, loss: str = "softmax_cross_entropy") -> Task:
    model = cr.Sequential(*layers or LAYERS, loss=loss)
    return training(model.network, model.derive(), rule, "numbers")


def order() -> Any:
    return np.random.default_rng(2).permutation(SAMPLES)


@pytest.mark.parametrize(("batch", "rule"), few(product([1, 4], RULES), 3), ids=str)
def test_steps_that_overlap_give_the_same_bits(batch: int, rule: cr.Optimizer) -> None:
    task = task_of(rule)
    given = floats(task, SAMPLES)
    scheduled, plain = (at_lanes(task, HERE.lanes, samples=batch, scheduled=s) for s in (True, False))
    assert scheduled.turns and not plain.turns
    wanted = natively(library(plain), given, order(), batch).bits
    built = library(scheduled)
    for workers in (1, 2, 3):
        assert natively(built, given, order(), batch, workers=workers).bits == wanted
    assert in_parts(built, given, batch) == wanted


@pytest.mark.parametrize("batch", [1, 4])
def test_images_that_are_taken_as_rows_give_the_same_bits(batch: int) -> None:
    task = task_of(cr.SGD(0.1), cr.Input(4, 7, 25), cr.Flatten(), *LAYERS[1:])
    given = floats(task, SAMPLES)
    scheduled, plain = (at_lanes(task, HERE.lanes, samples=batch, scheduled=s) for s in (True, False))
    assert scheduled.turns and bool(scheduled.turns.both) == (batch == 1)
    found, wanted = (natively(library(each), given, order(), batch).bits for each in (scheduled, plain))
    assert found == wanted


def in_parts(built: Library, given: Any, batch: int) -> dict[str, bytes]:
    """By several calls, as `fit` makes them: each begins and ends as steps do that do not overlap."""
    task, steps = built.task, -(-SAMPLES // batch)
    arrays = {t: np.array(a, np.float32) for t, a in given.items()}
    arrays |= {t: np.repeat(arrays[t], steps) for t in task.stepwise}
    outputs = outputs_of(task, SAMPLES, steps, np.dtype(np.float32))
    kept = {t: arrays[t] for t in task.kept}
    built.prepare({t: arrays[t] for t in task.data}, kept, outputs, order(), batch)
    for first, last in ((0, 1), (1, steps - 1), (steps - 1, steps)):
        assert built.steps(SAMPLES, batch, first, last, workers=2) == -1
    built.unpack()
    return {t.name: a.tobytes() for t, a in {**outputs, **kept}.items()}


def test_a_loss_that_is_not_finite_leaves_the_values_of_before() -> None:
    task = task_of(cr.SGD(0.1), loss="mean_squared_error")
    given = floats(task, SAMPLES)
    given[task.data[0]][order()[4], 3] = np.nan
    scheduled, plain = (at_lanes(task, HERE.lanes, samples=1, scheduled=s) for s in (True, False))
    found, wanted = (natively(library(each), given, order(), 1) for each in (scheduled, plain))
    assert scheduled.turns and found.failed == wanted.failed == 4
    assert all(np.array_equal(found.kept[t], wanted.kept[t]) for t in task.kept)
    assert all(np.isfinite(value).all() for value in found.kept.values())


@pytest.mark.parametrize("batch", [1, 2])
def test_steps_that_overlap_are_exact(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over GF(p), where the nearest cache holds a few rows of a small tensor; zeros around what comes of it."""
    monkeypatch.setattr(pipeline, "NEAR", 30)
    task = task_of(
        cr.SGD(0.1, momentum=0.9), cr.Input(6), cr.Dense(9), cr.Tanh(), cr.Reshape(1, 9), cr.Conv1d(2, 3, padding=1),
        cr.Flatten(), cr.Dense(2),
    )  # fmt: skip
    assert at_lanes(task, 4, samples=batch).turns
    assert differing(task, 4, 5, batch, workers=2) == []


TURN = "                k1(M, from, stop, y2, p2, p1, x1n);\n"
BOTH = "if (from < to) k15(N, from, to, p1, y2, p2, y12, x1, x1n);"
BROKEN = {
    "this batch again": (4, TURN, TURN.replace("x1n", "x1")),
    "this sample again": (1, BOTH, BOTH.replace("x1n", "x1")),
    "the next sample too soon": (1, BOTH, BOTH.replace("x1,", "x1n,")),
    "no exchange": (1, "x1 = x1n, x1n = x1_was;", ""),
    "nothing at the start": (1, "k1(N, from, to,", "(void)(N, from, to,"),
    "some positions are left out": (4, TURN, f"if (from) {TURN}"),
    "some entries are left out": (1, BOTH, BOTH.replace("k15(N, from,", "k15(N, from + 1,")),
    "no update": (1, BOTH, BOTH.replace("k15(", "k1(").replace("p1, y2, p2, y12, x1,", "y2, p2, p1,")),
}


@pytest.mark.parametrize("error", BROKEN)
def test_an_exchange_that_goes_wrong_is_seen(error: str) -> None:
    task = task_of(cr.SGD(0.1))
    batch, text, wrong = BROKEN[error]
    lowered = at_lanes(task, HERE.lanes, samples=batch)
    given = floats(task, SAMPLES)
    source = emit(lowered)
    assert source.count(text) == 1
    assert bits_of(lowered, source.replace(text, wrong), given, batch) != bits_of(lowered, source, given, batch)


def bits_of(lowered: Plan, source: str, given: Any, batch: int) -> dict[str, bytes]:
    return natively(built_of(lowered, source, HERE), given, order(), batch).bits


def test_a_place_that_does_not_last_is_seen() -> None:
    """What a step leaves for the next one, in the place of something that is computed before that is read."""
    task = task_of(cr.SGD(0.1))
    given = floats(task, SAMPLES)
    lowered = at_lanes(task, HERE.lanes, samples=1)
    places = {key[0].name: (key, where) for key, where in lowered.stored.items()}
    (left, where), (_, other) = places["tanh1.z"], places["δ(dense1.u)"]
    moved = replace(lowered, stored={**lowered.stored, left: replace(where, offset=other.offset)})
    assert natively(library(moved), given, order(), 1).bits != natively(library(lowered), given, order(), 1).bits
