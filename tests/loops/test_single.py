"""A step written for one sample computes what the step for any number of them does, exactly, and sums over none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.loops.tasks import computed_exactly, elements

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import LOSS, Multiply, Reduce, Size
from chainrule.ir.walk import nodes
from chainrule.loops.single import single
from chainrule.loops.task import Task

SEED = 3


class Root(cr.Layer):
    """Over the field a root of 1 is any element."""

    equation = "y[n, k] = 1**(1/3)*x[n, k]"


NETWORKS: dict[str, tuple[Any, ...]] = {
    "dense": (cr.Input(3), cr.Dense(4), cr.Sigmoid(), cr.Dense(2)),
    "a sum over places too": (
        cr.Input(1, 4, 4), cr.Conv2d(2, 3, padding=1), cr.MaxPool2d(2), cr.Flatten(), cr.Dense(2),
    ),
    "statistics of the batch": (cr.Input(3), cr.Dense(4), cr.BatchNorm(), cr.Dense(2)),
    "a root of one": (cr.Input(3), Root(), cr.Dense(2)),
    "rows that ids pick": (cr.Input(3, dtype="integer"), cr.Embedding(5, 2), cr.Flatten(), cr.Dense(2)),
}  # fmt: skip
RULES = {"sgd": cr.SGD(0.1), "adam": cr.Adam(0.01), "clipped": cr.SGD(0.1, clip_norm=1.0)}


def task_of(network: str, rule: str, l2: float = 0.01) -> Task:
    model = cr.Sequential(*NETWORKS[network], loss="softmax_cross_entropy", l2=l2)
    return training(model.network, model.derive(), RULES[rule], "numbers")


def differing(task: Task, samples: int) -> set[str]:
    """What the step for one sample computes otherwise than the step for any number of them."""
    given = elements(task, samples, SEED)
    wanted, found = (computed_exactly(each, given, samples, SEED) for each in (task, single(task)))
    lasting = {*task.outputs, *task.following.values()}
    assert lasting <= found.keys()  # the product that an update alone reads may be gone
    return {t.name for t in lasting.union(wanted.keys() & found.keys()) if not np.array_equal(wanted[t], found[t])}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_for_one_sample_is_exact_for_one_and_for_no_more(network: str, rule: str) -> None:
    task = task_of(network, rule)
    assert differing(task, 1) == set()
    weights = {t.name for t in task.following.values() if t.name.startswith("value_next") and t.name.endswith(".W")}
    assert weights and {LOSS.name, *weights} <= differing(task, 2)


FACTORS = {
    ("dense", "sgd"): {"dense1.W": 3, "dense2.W": 2},
    ("a sum over places too", "sgd"): {"dense1.W": 2},
    ("dense", "adam"): {},
}
"""The matrices that are updated by a product of two vectors, and the length of the vector that the rate goes to."""


@pytest.mark.parametrize(("network", "rule"), FACTORS)
def test_the_rate_goes_to_the_shorter_vector(network: str, rule: str) -> None:
    task = task_of(network, rule, l2=0.0)
    assert differing(task, 1) == set()
    made = [e for e in single(task).equations if e.tensor.name.startswith("factor(")]
    assert {e.tensor.name.rpartition("value_next.")[2][:-1]: e.tensor.shape[0] for e in made} == FACTORS[network, rule]
    for update in (e for e in single(task).equations if made and e.tensor.name == "value_next.dense1.W"):
        assert [len(n.factors) for n in nodes(update.value) if isinstance(n, Multiply)] == [2]


def test_a_product_that_more_than_an_update_reads_stays() -> None:
    """As an output it is wanted itself."""
    task = task_of("dense", "sgd", l2=0.0)
    gradient = next(e.tensor for e in task.equations if e.tensor.name == "δ(dense1.W)")
    wanted = single(replace(task, outputs=(*task.outputs, gradient)))
    assert {e.tensor.name for e in wanted.equations if e.tensor.name.startswith("factor")} == {
        "factor(value_next.dense2.W)"
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_it_knows_the_number_of_samples_and_sums_over_none(network: str) -> None:
    def left(task: Task) -> list[Any]:
        every = [*nodes(*(e.value for e in task.equations))]
        sums = [n for n in every if isinstance(n, Reduce) and any(i.is_sample for i in n.indices)]
        return [n for n in every if isinstance(n, Size)] + sums

    task = task_of(network, "sgd")
    assert left(task) and not left(single(task))
