"""The first kernel of a step at the end of the one before: where that is done, and that it changes no bit.

What is exchanged between steps is tested with native code, tests/targets/test_pipeline.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.examples import examples
from tests.loops.test_same_bits import bits
from tests.networks import networks

import chainrule as cr
from chainrule.compile import evaluation, training
from chainrule.loops import pipeline
from chainrule.loops.plan import Turns
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task

MACHINE = Machine(16, 24)


def task_of(*layers: Any, rule: cr.Optimizer | None = None, loss: str = "softmax_cross_entropy") -> Task:
    model = cr.Sequential(*layers, loss=loss)
    return training(model.network, model.derive(), rule or cr.SGD(0.1), "numbers")


def turns(task: Task, samples: int = 1) -> Turns | None:
    return lower(task, MACHINE, samples=samples).turns


LARGE = cr.Input(700), cr.Dense(13), cr.Tanh(), cr.Dense(3)


@pytest.mark.parametrize("rule", [cr.SGD(0.1), cr.SGD(0.1, momentum=0.9), cr.Adam()], ids=str)
@pytest.mark.parametrize("samples", [1, 8])
def test_the_update_of_a_large_tensor_and_its_next_products_take_turns(rule: cr.Optimizer, samples: int) -> None:
    found = turns(task_of(*LARGE, rule=rule), samples)
    assert found
    assert "sum[j<700]" in found.first.comment[0] and "relu" not in found.first.comment[0]
    assert any("i<13, j<700" in line for line in found.update.comment)
    assert 1 < found.positions <= pipeline.NEAR // 700
    assert [(g.given.name, g.tensor.name) for g in found.gathers] == [("input", "next(input)")]


def test_with_one_sample_the_update_and_the_next_products_are_one_kernel() -> None:
    """Where the products read each entry of the tensor once; a convolution reads it at every place."""
    one, two = (turns(task_of(*LARGE, rule=cr.Adam()), samples) for samples in (1, 2))
    conv = turns(task_of(cr.Input(16, 6, 6), cr.Conv2d(64, 3), cr.Flatten(), cr.Dense(3)))
    assert one and one.both and two and not two.both and conv and not conv.both
    assert {b.name for b in one.both.written} == {b.name for k in (one.update, one.first) for b in k.written}


def test_images_are_taken_in_as_the_rows_that_they_are() -> None:
    found = turns(task_of(cr.Input(1, 28, 25), cr.Flatten(), *LARGE[1:]))
    assert found and [g.given.name for g in found.gathers] == ["input"]


def test_a_step_begins_with_products_that_take_nothing_computed() -> None:
    x, y = cr.Input(700), cr.Input(900)
    sides = cr.Dense(13)(x), cr.Dense(13)(y)
    model = cr.Model((x, y), cr.Dense(3)(cr.Tanh()(cr.Add()(*sides))), loss="softmax_cross_entropy")
    found = turns(training(model.network, model.derive(), cr.SGD(0.1), "numbers"))
    assert found and [g.given.name for g in found.gathers] == ["input1"]


NONE: dict[str, tuple[Callable[[], Task], int]] = {
    "samples in the lanes": (lambda: task_of(*LARGE), 9),
    "a tensor that the nearest cache holds": (lambda: task_of(cr.Input(600), *LARGE[1:]), 1),
    "a row that it does not hold": (lambda: task_of(cr.Input(9000), *LARGE[1:]), 1),
    "what is drawn at each step": (lambda: task_of(LARGE[0], cr.Dropout(0.5), *LARGE[1:]), 1),
    "a large tensor behind the first layer": (lambda: task_of(cr.Input(7), cr.Dense(700), *LARGE[1:]), 1),
    "an update that goes by no rows": (lambda: task_of(*LARGE, rule=cr.SGD(0.1, clip_norm=1.0)), 1),
    "zeros around what is given": (
        lambda: task_of(cr.Input(16, 6, 6), cr.Conv2d(64, 3, padding=1), cr.Flatten(), cr.Dense(3)), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NONE)
def test_elsewhere_a_step_ends_before_the_next_begins(name: str) -> None:
    make, samples = NONE[name]
    assert turns(make(), samples) is None


def test_what_trains_nothing_has_no_next_step() -> None:
    model = cr.Sequential(*LARGE, loss="softmax_cross_entropy")
    assert turns(evaluation(model.network, "classes")) is None


def test_what_a_step_delivers_is_not_made_for_the_next() -> None:
    model = cr.Sequential(*LARGE[:2], loss="half_squared_error")
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    assert turns(task)
    assert turns(replace(task, outputs=(*task.outputs, model.network.logits))) is None


@examples(3, 400)
@given(st.data())
def test_drawn_networks_give_the_same_bits(data: st.DataObject) -> None:
    """With a nearest cache that holds a few rows of small tensors."""
    model, labels = data.draw(networks())
    task = training(model.network, model.derive(), cr.SGD(0.1, momentum=0.5), labels)
    expected, samples = data.draw(st.sampled_from([(1, 1), (2, 3)]))
    wanted = bits(task, samples, expected=expected, scheduled=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "NEAR", data.draw(st.sampled_from([8, 40])))
        assert bits(task, samples, expected=expected, workers=data.draw(st.sampled_from([1, 2]))) == wanted
