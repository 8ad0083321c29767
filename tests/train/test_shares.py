"""A step in rounds, of sums over shares of a batch: what it leaves behind is what the step of the whole batch does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.examples import few
from tests.nn.test_every_layer import KINDS, MODELS, model_with

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import Multiply, Tensor, constant
from chainrule.ir.program import Program
from chainrule.loops.shares import SAMPLE_COUNT, Round, Shares, shares
from chainrule.loops.task import Task
from chainrule.nn.losses import LOSSES
from chainrule.train.ranks import differing, reduced_shares


def step(*layers: cr.Layer, loss: str = "half_squared_error", rule: cr.Optimizer | None = None) -> Task:
    model = cr.Sequential(cr.Input(3, 4), *layers, cr.Dense(2), loss=loss, l2=0.1)
    assert model.loss
    return training(model.network, model.derive(), rule or cr.Adam(clip_norm=1.0), model.loss.labels)


def names(tensors: list[Tensor]) -> list[str]:
    return [t.name for t in tensors]


@pytest.mark.parametrize("name", few(MODELS, KINDS))
def test_rounds_of_every_layer_give_its_step(name: str) -> None:
    task, parts = reduced_shares(model_with(name).derive())
    assert len(parts.rounds) == (3 if name == "BatchNorm" else 1)
    assert differing(task, parts) == []


@pytest.mark.parametrize("name", LOSSES)
def test_rounds_of_every_loss_give_its_step(name: str) -> None:
    task, parts = reduced_shares(cr.Sequential(cr.Input(4), cr.Dense(3), loss=name).derive())
    assert len(parts.rounds) == 1 and differing(task, parts) == []


@pytest.mark.parametrize(
    ("layers", "rounds"),
    [
        ((cr.Dense(4), cr.Tanh(), cr.LayerNorm(), cr.Dropout(0.3)), 1),
        ((cr.BatchNorm(),), 3),
        ((cr.Dense(4), cr.BatchNorm()), 4),
        ((cr.Dense(4), cr.BatchNorm(), cr.ReLU(), cr.Dense(4), cr.BatchNorm()), 7),
        ((cr.Dense(4), cr.Equations("y[n, k] = x[n, k] - mean[m](x[m, k])"), cr.Tanh()), 3),
        ((cr.Dense(4), cr.Equations("y[n, k] = x[n, k]*sum[m](x[m, k])**2"), cr.Tanh()), 3),
    ],
    ids=lambda value: value if isinstance(value, int) else "-".join(type(one).__name__ for one in value),
)
def test_rounds_are_the_longest_chain_of_sums(layers: tuple[cr.Layer, ...], rounds: int) -> None:
    """For each batch normalisation its mean, its variance and its gradient, and one more for all that is left, where
    parameters stand below."""
    task = step(*layers)
    parts = shares(task)
    assert len(parts.rounds) == rounds and differing(task, parts) == []
    seen = {*task.kept, SAMPLE_COUNT}
    for part in parts.rounds:  # each can be computed when its turn comes, and adds up something new
        assert {*part.task.kept} <= seen and part.sums and not seen & {*part.sums}
        seen |= {*part.sums}


@pytest.mark.parametrize(
    ("loss", "rounds"),
    [
        ("loss = mean[n](sum[k]((u[n, k] - t[n, k])**2))", 1),
        ("e[n] = sum[k](exp(u[n, k])*t[n, k])", 1),
        ("loss = sum[n](sum[k]((u[n, k] - t[n, k])**2))", 1),
        ("loss = mean[n](u[n, 0])*mean[n](u[n, 0]*t[n, 0])", 2),
    ],
)
def test_losses_that_are_no_means_are_shared_too(loss: str, rounds: int) -> None:
    task, parts = reduced_shares(cr.Sequential(cr.Input(3), cr.Dense(2), loss=loss).derive())
    assert len(parts.rounds) == rounds and differing(task, parts) == []


@pytest.mark.parametrize(
    "loss",
    [
        "loss = max[n](sum[k]((u[n, k] - t[n, k])**2))",
        "loss = mean[n](logsumexp[m](sum[k](u[n, k]*u[m, k])) - t[n, 0])",
        "loss = mean[n](u[n, 0]*t[n, 0]) + pad(u, 0)[0, 1]",
        "loss = sum[n](sum[m](sum[k]((u[n, k] - u[m, k])**2)*t[n, 0]))",
    ],
)
def test_what_needs_more_than_sums_is_refused_with_its_equation(loss: str) -> None:
    derivation = cr.Sequential(cr.Input(3), cr.Dense(2), loss=loss).derive()
    with pytest.raises(cr.ModelError, match=r"more than sums over them, in .* = "):
        reduced_shares(derivation)


def test_statistics_of_each_share_are_refused_where_there_are_no_shares() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="half_squared_error")
    with pytest.raises(cr.ModelError, match="for processes of MPI"):
        model.fit([[1.0, 2.0, 3.0]], [[1.0, 2.0]], synchronised=False)


def test_a_sum_that_each_share_keeps_to_itself_or_doubles_is_seen() -> None:
    task = step(cr.Dense(4), cr.BatchNorm(), rule=cr.SGD(0.1))
    parts = shares(task)
    first, *others = parts.rounds
    mean = first.task.equations[-1]
    assert mean.tensor in first.sums and differing(task, parts) == []
    doubled = replace(mean, value=Multiply((constant(2), mean.value)))
    wrong = replace(first, task=replace(first.task, equations=(*first.task.equations[:-1], doubled)))
    assert "batchnorm1.running_mean" in names(differing(task, replace(parts, rounds=(wrong, *others))))
    # The step of a share taken for a part of the whole: its statistics are its own.
    whole = replace(task, outputs=tuple(t for t in (*task.outputs, *task.following.values()) if t not in task.kept))
    alone = Round(replace(whole, following={}, drawn={}), whole.outputs)
    assert differing(task, Shares((alone,), Program(())))
