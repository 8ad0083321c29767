"""Convolutions with fewer products: which are so written, that nothing changes exactly, and little in floats."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest
from tests.loops.arithmetic import Floats
from tests.loops.tasks import computed, computed_exactly, elements, floats, task_of

import chainrule as cr
from chainrule.compile import forward, training
from chainrule.ir.cost import operations_for
from chainrule.ir.expr import Reduce
from chainrule.ir.walk import nodes
from chainrule.loops import filtering
from chainrule.loops.filtering import filtered, products
from chainrule.loops.interpret import Step
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task

SEED, SAMPLES = 7, 3


def conv(layer: Any, *shape: int) -> Task:
    model = cr.Sequential(cr.Input(*shape), layer, cr.Tanh(), cr.Flatten(), cr.Dense(2), loss="softmax_cross_entropy")
    return training(model.network, model.derive(), cr.SGD(0.1), "numbers")


def rewritten(task: Task) -> list[str]:
    """The tensors of a task that are computed in tiles."""
    every = dict.fromkeys(e.tensor.name for e in task.equations if filtering.window_of(e))
    assert (filtered(task) == task) == (not every)
    return [*every]


def differing(task: Task) -> list[str]:
    given = elements(task, SAMPLES, SEED)
    wanted, found = (computed_exactly(each, given, SAMPLES, SEED) for each in (task, filtered(task)))
    return [t.name for t in wanted if not np.array_equal(wanted[t], found[t])]


WRITTEN: dict[str, tuple[cr.Layer, tuple[int, ...], list[str]]] = {
    "3 by 3 with padding": (cr.Conv2d(8, 3, padding=1), (6, 8, 8), ["conv2d1.u", "δ(conv2d1.W)"]),
    "an odd number of places": (cr.Conv2d(8, 3, padding=1), (6, 7, 7), ["conv2d1.u"]),
    "an odd number along the last axis": (cr.Conv2d(8, 3, padding=1), (6, 8, 7), ["conv2d1.u", "δ(conv2d1.W)"]),
    "3 by 5": (cr.Conv2d(8, (3, 5), padding=(1, 2)), (4, 12, 12), ["conv2d1.u", "δ(conv2d1.W)"]),
    "4 by 4": (cr.Conv2d(8, 4), (4, 9, 9), []),
    "along one axis": (cr.Conv1d(6, 3), (16, 12), ["conv1d1.u", "δ(conv1d1.W)"]),
    "few channels": (cr.Conv2d(8, 3, padding=1), (5, 8, 8), ["δ(conv2d1.W)"]),
    "a stride": (cr.Conv2d(8, 3, stride=2), (6, 9, 9), []),
    "a dilation": (cr.Conv2d(8, 3, dilation=2), (6, 12, 12), []),
    "a window of one place": (cr.Conv2d(8, 1), (32, 8, 8), []),
    "a large window": (cr.Conv2d(8, 7), (6, 12, 12), []),
}


@cache
def written(name: str) -> tuple[Task, list[str]]:
    layer, shape, names = WRITTEN[name]
    return conv(layer, *shape), names


@pytest.mark.parametrize("name", WRITTEN)
def test_a_convolution_in_tiles_is_the_convolution(name: str) -> None:
    task, wanted = written(name)
    assert rewritten(task) == wanted
    assert not wanted or differing(task) == []


def test_gradients_go_back_through_tiles() -> None:
    """The gradient of what a convolution reads is one too, with the window turned round."""
    model = cr.Sequential(
        cr.Input(2, 8, 8), cr.Conv2d(6, 3, padding=1), cr.ReLU(), cr.Conv2d(6, 3, padding=1), cr.Flatten(), cr.Dense(2),
        loss="softmax_cross_entropy",
    )  # fmt: skip
    task = training(model.network, model.derive(), cr.SGD(0.1, momentum=0.9), "numbers")
    assert rewritten(task) == ["conv2d2.u", "δ(relu1.z)", "δ(conv2d1.W)", "δ(conv2d2.W)"]
    assert differing(task) == []


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (3, 2)])
def test_outputs_of_a_tile_are_their_sums(outputs: int, taps: int) -> None:
    """For unit vectors w and x, so for all: Σ y·(w·W)(x·X) is 1 where an x is that of an output and a tap."""
    rows = products(outputs, taps)
    assert len(rows) == outputs + taps - 1
    for i in range(outputs):
        for b in range(taps):
            for k in range(len(rows)):
                terms = [p.y[i] * p.w[b] * (p.x[k] if k < len(p.x) else 0) / p.divisor for p in rows]
                assert sum(terms, Fraction(0)) == (k == i + b)


@pytest.mark.parametrize("wrong", ["w", "x", "y", "divisor"])
def test_a_wrong_coefficient_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(outputs: int, taps: int) -> Any:
        *rows, last = products(outputs, taps)
        other = 2 * last.divisor if wrong == "divisor" else tuple(2 * c for c in getattr(last, wrong))
        return (*rows, replace(last, **{wrong: other}))

    task, names = written("3 by 3 with padding")
    monkeypatch.setattr(filtering, "products", broken)
    assert {*names} <= {*differing(task)}


def test_there_are_fewer_products() -> None:
    """A tile of 2 takes 4 products for 6, and so does the gradient of a window of 3."""
    task, names = written("3 by 3 with padding")
    for name in names:
        before, after = (_terms(each, name) for each in (task, filtered(task)))
        assert after == before * 4 / 6


def _terms(task: Task, name: str) -> float:
    """The products of all sums of a tensor, for one sample."""
    sums = {n for e in task.equations if e.tensor.name == name for n in nodes(e.value) if isinstance(n, Reduce)}
    extents = ([i.extent for i in (*n.free, *n.indices) if isinstance(i.extent, int)] for n in sums)
    return float(sum(map(prod, extents)))


@pytest.mark.parametrize("name", ["3 by 3 with padding", pytest.param("3 by 5", marks=pytest.mark.campaign)])
def test_floats_lose_no_more(name: str) -> None:
    """On average less than 1.3 times as much as by the plain products, each sum added up term by term."""
    task, names = written(name)
    task = replace(task, outputs=tuple(e.tensor for e in task.equations if e.tensor.name in names))
    given = floats(task, 2)
    exact = computed(task, given)
    plain, tiled = (
        Step(lower(each, Machine(1, 12), samples=2, scheduled=False), Floats("float32"), given).outputs
        for each in (task, filtered(task))
    )
    for tensor in task.outputs:
        errors = [np.sqrt(np.mean((found[tensor] - exact[tensor]) ** 2)) for found in (plain, tiled)]
        assert 0 < errors[1] < 1.3 * errors[0] and not np.array_equal(plain[tensor], tiled[tensor]), (tensor, errors)


def test_with_one_sample_in_each_vector_they_are_as_they_were() -> None:
    task = written("3 by 3 with padding")[0]
    lowered = [lower(task, Machine(16, 24), samples=samples) for samples in (8, 9)]
    assert [any("filter" in e.tensor.name for e in each.task.equations) for each in lowered] == [False, True]


def test_what_predicts_is_in_tiles_too() -> None:
    model = cr.Sequential(cr.Input(6, 8, 8), cr.Conv2d(8, 3), cr.ReLU())
    assert rewritten(forward(model.network, model.network.inference_logits)) == ["conv2d1.u"]


NOT = {
    "two windows along the axis": "y[n, o] = sum[c, b](w[c, b]*x[n, c, o + 2*b])",
    "the place in the weights": "y[n, o] = sum[c, b](v[o, c, b]*x[n, c, o + b])",
    "a third factor": "y[n, o] = sum[c, b](w[c, b]*x[n, c, o + b]*u[c])",
    "two sums": "y[n, o] = sum[c, b](w[c, b]*x[n, c, o + b]) + sum[c](u[c]*x[n, c, o + 1])",
}


@pytest.mark.parametrize("name", NOT)
def test_what_is_no_such_convolution_stays(name: str) -> None:
    given = "w[16, 3]; v[10, 16, 3]; u[16]"
    plain = task_of("y[n, o<10] = sum[c, b](w[c, b]*x[n, c, o + b])", data="x[N, 16, 12]", kept=given)
    assert rewritten(plain) == ["y"] and differing(plain) == []
    text = NOT[name].replace("y[n, o]", "y[n, o<8]" if "2*b" in NOT[name] else "y[n, o<10]")
    assert rewritten(task_of(text, data="x[N, 16, 12]", kept=given)) == []


def test_a_whole_step_counts_what_it_takes() -> None:
    task = conv(cr.Conv2d(32, 3, padding=1), 32, 16, 16)
    before, after = (operations_for(each.equations, 64) for each in (task, filtered(task)))
    assert 0.6 < after / before < 0.85
