"""Native code against NumPy in float64: the whole vocabulary, a few programs to a source; and the same bits always."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.examples import few
from tests.loops.tasks import far, floats, task_of, together
from tests.nn.test_every_layer import MODELS, model_with
from tests.targets.native import BOUND, HERE, at_lanes, by_numpy, distance, library, natively

import chainrule as cr
from chainrule.compile import evaluation, training
from chainrule.loops.task import Task
from chainrule.nn.losses import LOSSES
from chainrule.nn.network import assemble
from chainrule.train.runners import drawn

# Where a gradient is 0 but for rounding, an epsilon of its size would make steps of the rounding.
OPTIMIZERS = [
    cr.SGD(0.1), cr.SGD(0.1, momentum=0.9, nesterov=True), cr.Adam(epsilon=1e-2),
    cr.Adagrad(clip_norm=0.5, clip_value=0.3), cr.AdamW(epsilon=1e-2, clip_value=0.5),
    cr.RMSProp(momentum=0.5, epsilon=1e-2, clip_norm=1.0),
]  # fmt: skip
GROUPS = 4
# A program that compiles fast: not optimised, which changes no bit (tested below).


def layers(group: int) -> Task:
    names = list(MODELS)[group::GROUPS]
    tasks: dict[str, Task] = {}
    for number, name in enumerate(names):
        model = model_with(name)
        tasks[f"m{number}"] = training(model.network, model.derive(), OPTIMIZERS[number % len(OPTIMIZERS)], "numbers")
    return together(tasks)


def losses() -> Task:
    """Every loss with its accuracy, without weights, with weights of samples and of entries."""
    tasks: dict[str, Task] = {}
    x = cr.Input(2, 3)
    for name in LOSSES:
        loss = LOSSES[name]()
        model = cr.Model(x, cr.Dense(3, axes="last")(x), loss=loss, l2=0.01)
        for rank in (0, 1, len(loss.entries(model.network.logits.shape))):
            net = assemble(model.inputs, model.output, model.loss, model.l2, rank)
            tasks[f"{name}{rank}"] = evaluation(net, loss.labels)
    return together(tasks)


# Samples, batch, samples that the code is laid out for: vectors of samples, one sample in each, one in all.
RUNS = {"samples in the lanes": (23, 9, HERE.lanes), "outputs in the lanes": (7, 3, 2), "one sample": (3, 1, 1)}
PROGRAMS: list[tuple[str, int | str]] = [(run, program) for run in RUNS for program in (*range(GROUPS), "losses")]
# Each program in one of the three ways, and all of them in the campaign; the interpreter checks both.


@pytest.mark.parametrize(("run", "program"), few(PROGRAMS, 3))
def test_the_vocabulary_equals_numpy(run: str, program: int | str) -> None:
    samples, batch, expected = RUNS[run]
    task = layers(program) if isinstance(program, int) else losses()
    order = np.random.default_rng(1).permutation(samples)
    given = floats(task, samples)
    built = library(at_lanes(task, HERE.lanes, samples=expected))
    found = natively(built, given, order, batch, seed=5)
    right = by_numpy(task, given, order, batch, seed=5)
    assert found.failed == right.failed == -1
    wrong = {name: d for name, d in distance(found, right).items() if not d < BOUND}
    assert wrong == {}
    again = natively(built, given, order, batch, seed=5, workers=2)
    assert again.bits == found.bits
    if task.drawn:
        assert natively(built, given, order, batch, seed=6).bits != found.bits


def test_a_wrong_result_is_told() -> None:
    task = layers(0)
    given = floats(task, 5)
    right = by_numpy(task, given, np.arange(5), 5)
    tensor = next(iter(right.kept))
    right.kept[tensor] = right.kept[tensor] + 1e-5
    found = by_numpy(task, given, np.arange(5), 5)
    assert [name for name, d in distance(found, right).items() if not d < BOUND] == [tensor.name]
    assert far(found.kept, right.kept, 1e-7) != []


BITS = cr.Sequential(
    cr.Input(1, 7, 7), cr.Conv2d(2, 3, padding=1), cr.ReLU(), cr.MaxPool2d(3, stride=2), cr.BatchNorm(), cr.Flatten(),
    cr.Dense(19), cr.Dropout(0.3), cr.LayerNorm(), cr.Dense(3), loss="softmax_cross_entropy",
)  # fmt: skip


@pytest.mark.parametrize(("expected", "batch"), few([(40, 19), (2, 3), (1, 1)], 3))
def test_schedules_flags_workers_and_runs_change_no_bit(expected: int, batch: int) -> None:
    task = training(BITS.network, BITS.derive(), cr.Adam(clip_norm=1.0), "classes")
    given = floats(task, 44)
    order = np.random.default_rng(0).permutation(44)[:41]
    scheduled, plain = (at_lanes(task, HERE.lanes, samples=expected, scheduled=s) for s in (True, False))
    built = library(scheduled, flags=("-O2",))
    found = [natively(built, given, order, batch, workers=workers) for workers in (1, 1, 2, 3)]
    found.append(natively(library(plain, flags=("-O0",)), given, order, batch))
    for other in found[1:]:
        assert [name for name, b in other.bits.items() if b != found[0].bits[name]] == []


def test_what_a_compiler_does_wrongly_is_kept_from_it() -> None:
    """gcc 12.2 with AVX-512 vectorised such loops, and took the first row for the second."""

    class Chosen(cr.Layer):
        """Entries of a matrix by the place of a maximum: in its gradient whole numbers choose between floats."""

        equation = """
            h[n, i<2] = argmax[j<2](x[n, j]*x[n, i])
            y[n, k<2, l<3] = sum[j<2]([j == h[n, k]]*w[j, k])
        """
        init: ClassVar[Any] = {"w": cr.normal(0.5, 2, 2)}

    model = cr.Model(x := cr.Input(2), Chosen()(x), loss="half_squared_error")
    task = training(model.network, model.derive(), cr.SGD(0.5), "numbers")
    given, order = floats(task, 5), np.arange(5)
    for expected, batch in ((1, 1), (2, 3), (HERE.lanes, 5)):
        found = natively(library(at_lanes(task, HERE.lanes, samples=expected), flags=("-O2",)), given, order, batch)
        right = by_numpy(task, given, order, batch)
        assert {name: d for name, d in distance(found, right).items() if not d < BOUND} == {}


def test_what_is_drawn_is_what_numpy_draws() -> None:
    seed, text = 2**63 + 5, "y[n, i, j] = m[n, i, j]*x[n]\nz[n, k] = u[n, k]*x[n]"
    task = task_of(text, data="x[N]; m[N, 3, 5]; u[N, 7]")
    _, mask, uniform = task.data
    task = replace(task, drawn={mask: (0, 0.6), uniform: (1, None)})
    given = {t: np.ones((29, *(int(e) for e in t.shape[1:]))) for t in task.data}
    built = library(at_lanes(task, HERE.lanes, samples=16), flags=("-O0",))
    found = list(natively(built, given, np.arange(29), 16, seed=seed, workers=2).outputs.values())
    for step, rows in enumerate((16, 13)):
        wanted = drawn(task, seed, step, rows, np.dtype(np.float32))
        for array, tensor in zip(found, (mask, uniform), strict=True):
            assert np.array_equal(array[16 * step : 16 * step + rows], wanted[tensor])
