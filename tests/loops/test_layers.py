"""The loops of every layer, loss and optimizer, carried out by the interpreter: equal to the equations.

Exactly over GF(p); over float64 within a rounding error of a few terms, by two workers in either order.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
from tests.examples import few
from tests.loops.arithmetic import Field, Floats
from tests.loops.tasks import computed, computed_exactly, differing, elements, far, floats, wanted
from tests.nn.test_every_layer import model_with

import chainrule as cr
from chainrule.compile import evaluation, forward, gradients, training
from chainrule.loops.interpret import Step
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.nn.network import assemble
from chainrule.optim.named import OPTIMIZERS

SEED = 3
OPTIMIZER = [
    *OPTIMIZERS.values(), cr.SGD(0.1), cr.AdamW(clip_value=0.5), cr.RMSProp(momentum=0.5, clip_norm=1.0),
    cr.Adagrad(clip_value=0.3, clip_norm=0.5),
]
# Lanes, samples that are expected, samples that come: one block and a part, one in each vector, a batch of one.
Case = tuple[int, int, int]
CASES: list[Case] = [(4, 6, 6), (4, 2, 3), (4, 4, 4), (4, 1, 1), (8, 8, 11), (16, 9, 5)]
# The layers whose loops differ most: tests/targets/test_field_loops.py has all of them as C over the field.
SOME = ["Dense", "Conv2d", "ConvTranspose2d", "MaxPool1d", "LayerNorm", "BatchNorm", "Embedding", "MultiHeadAttention"]


def disagreements(task: Task, case: Case) -> list[str]:
    """Tensors that the loops compute otherwise than the equations, or two orders of the workers otherwise."""
    lanes, expected, samples = case
    lowered = lower(task, Machine(lanes, 12), samples=expected)
    exact = elements(task, samples, SEED)
    step = Step(lowered, Field(SEED), exact, (1, 0))
    off = [*differing({**step.outputs, **step.kept}, wanted(task, computed_exactly(task, exact, samples, SEED)))]
    given = floats(task, samples)
    steps = [Step(lowered, Floats(), given, workers) for workers in ((0, 1, 2), (2, 1, 0))]
    one, other = ({**step.outputs, **step.kept} for step in steps)
    off += far(one, wanted(task, computed(task, given)), 1e-12)
    return off + [t.name for t in other if not np.array_equal(one[t], other[t], equal_nan=True)]


@pytest.mark.parametrize(
    ("name", "case"), few(product(LAYERS, CASES), [(name, CASES[n % 2]) for n, name in enumerate(SOME)])
)
def test_a_training_step_of_every_layer(name: str, case: Case) -> None:
    model = model_with(name)
    rule = OPTIMIZER[list(LAYERS).index(name) % len(OPTIMIZER)]
    task = training(model.network, model.derive(), rule, "numbers")
    assert disagreements(task, case) == []


WEIGHTS = ["none", "of samples", "of entries"]
LOSS_AND_WEIGHTS = [(name, WEIGHTS[(n + turn) % 3]) for n, name in enumerate(LOSSES) for turn in range(3)]


@pytest.mark.parametrize(("name", "weights"), few(LOSS_AND_WEIGHTS, 3))
def test_every_loss_with_weights_and_accuracy(name: str, weights: str) -> None:
    loss = LOSSES[name]()
    x = cr.Input(2, 3)
    model = cr.Model(x, cr.Dense(3, axes="last")(x), loss=loss, l2=0.01)
    rank = {"none": 0, "of samples": 1, "of entries": len(loss.entries(model.network.logits.shape))}[weights]
    net = assemble(model.inputs, model.output, model.loss, model.l2, rank)
    assert disagreements(training(net, model._derived(net), cr.SGD(0.1), loss.labels), CASES[rank % 2]) == []
    assert disagreements(evaluation(net, loss.labels), CASES[(rank + 1) % 2]) == []


EVERY = range(len(OPTIMIZER))  # all of them as C over the field: tests/targets/test_field_loops.py


@pytest.mark.parametrize(("number", "case"), few(product(EVERY, CASES), [(n, CASES[n // 3 % 2]) for n in EVERY[::3]]))
def test_every_optimizer_over_every_rank(number: int, case: Case) -> None:
    """A scalar, a vector and matrices; numbers for all parameters; a gradient that is zero."""
    x = cr.Input(1, 5)
    model = cr.Model(x, cr.Dense(3)(cr.Flatten()(cr.LayerNorm()(cr.Conv1d(2, 2)(x)))), loss="softmax_cross_entropy")
    task = training(model.network, model.derive(), OPTIMIZER[number], "classes")
    assert disagreements(task, case) == []


SMALL = [((3, 1), (1, 0)), ((1, 3), (0, 1)), ((3, 5), (1, 2)), ((5, 3), (2, 1)), ((5, 5), (2, 2))]
"""Kernels, with their padding, of which most lies outside of a small image."""


@pytest.mark.parametrize(
    ("kernel", "padding", "image"), few([(*k, i) for k in SMALL for i in ((2, 2), (4, 2), (1, 3))], 8), ids=str
)
def test_padding_that_is_most_of_a_small_image(kernel: Any, padding: Any, image: tuple[int, int]) -> None:
    """Also where what is read so lies in the place of another with zeros around it, or lends that its place."""
    x = cr.Input(2, *image)
    h = cr.Sigmoid()(cr.Conv2d(3, 1)(x))
    sides = [cr.Conv2d(3, k, padding=p)(n) for k, p in SMALL[:2] for n in (cr.Tanh()(h),)]
    out = reduce(lambda a, b: cr.Add()(a, b), [cr.Conv2d(3, kernel, padding=padding)(h), *sides])
    model = cr.Model(x, cr.Dense(2)(cr.Flatten()(out)), loss="half_squared_error")
    assert disagreements(training(model.network, model.derive(), cr.SGD(0.1), "numbers"), CASES[0]) == []
    assert disagreements(forward(model.network, model.network.inference_logits), CASES[0]) == []


def test_a_step_whose_loss_is_not_finite_changes_nothing() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="mean_squared_error")
    task = training(model.network, model.derive(), cr.Adam(), "numbers")
    lowered = lower(task, Machine(4, 12), samples=5)
    given = floats(task, 5)
    given[task.data[0]][3, 1] = np.inf
    step = Step(lowered, Floats(), given)
    assert step.failed
    assert all(np.array_equal(step.kept[t], given[t]) for t in task.kept)
    assert not Step(lowered, Floats(), floats(task, 5)).failed


def test_the_interpreter_refuses_an_address_outside_of_its_tensor() -> None:
    model = model_with("Conv2d")
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    lowered = lower(task, Machine(4, 12), samples=6)
    tensor = next(t for t, rows in lowered.stored if not rows and t not in (*task.kept, *task.data))
    where = lowered.stored[tensor, False]
    smaller = replace(where.layout, tensor=replace(tensor, shape=(*tensor.shape[:-1], 1)))
    broken = replace(lowered, stored={**lowered.stored, (tensor, False): replace(where, layout=smaller)})
    with pytest.raises((IndexError, ValueError)):
        Step(broken, Floats(), floats(task, 6))


@pytest.mark.parametrize("expected", [1, 6])
def test_what_several_workers_have_written_is_delivered_whole(expected: int) -> None:
    model = model_with("Conv2d")
    task = gradients(model.network, model.derive())
    lowered = lower(task, Machine(4, 12), samples=expected)
    given = floats(task, 6)
    for workers in ((0, 1), (1, 0), (0, 1, 2)):
        assert far(Step(lowered, Floats(), given, workers).outputs, wanted(task, computed(task, given)), 1e-12) == []
