"""Every line of the vocabulary's derivations passes a tier; the README states how many pass which."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.optim.named import OPTIMIZERS
from tests.examples import few
from tests.nn.test_every_layer import MODELS, model_with
from tests.nn.test_losses import VARIANTS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BUILT_IN = ("neuron", "mlp", "lenet", "vgg-small", "resnet-tiny", "transformer-tiny")
FEW = ("Conv2d", "MaxPool1d", "GELU")


def with_loss(loss: str, options: dict[str, Any]) -> cr.Certificate:
    chosen = LOSSES[loss](**options)
    model = cr.Sequential(cr.Input(3), cr.Dense(4), cr.Tanh(), cr.Dense(3), loss=chosen, l2=0.01)
    return model.verify()


def step_of(optimizer: str) -> list[str]:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="half_squared_error")
    rule = OPTIMIZERS[optimizer]
    entries = model.verify(optimizer=rule).entries
    return [e.tier for e in entries if e.what.kind == "step"]


@pytest.mark.parametrize("layer", FEW)
def test_every_line_of_a_layer_passes_a_tier(layer: str) -> None:
    certificate = model_with(layer).verify()
    assert certificate.count("exact") > 50
    assert sum(map(certificate.count, ("exact", "exact up to a constant", "evidence"))) == len(certificate.entries) - 1
    assert certificate.count("loops") == 1
    assert certificate.bound <= 2**-60


@pytest.mark.parametrize("loss", few(LOSSES, 5))
def test_every_line_of_a_loss_passes_a_tier(loss: str) -> None:
    certificate = with_loss(loss, {})
    assert certificate.count("exact") > 50
    assert certificate.bound <= 2**-60


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizers_step_is_exact(optimizer: str) -> None:
    tiers = step_of(optimizer)
    assert tiers and set(tiers) == {"exact"}


def test_what_passes_by_evidence_alone_is_the_whole_of_a_deep_network_and_no_line_of_a_lemma() -> None:
    layers = [layer for _ in range(12) for layer in (cr.Dense(2), cr.BatchNorm())]
    certificate = cr.Sequential(cr.Input(2), *layers, cr.Dense(2), loss="half_squared_error").verify()
    evidence = {e.what.kind for e in certificate.entries if e.tier == "evidence"}
    assert evidence == {"program", "gradients"}
    assert certificate.count("exact") > 200 and certificate.bound <= 2**-60


@pytest.mark.campaign
def test_the_whole_gradient_of_a_residual_network_is_exact() -> None:
    certificate = cr.read_model("resnet-tiny").verify()
    assert {e.what.kind for e in certificate.entries if e.tier == "evidence"} == {"program"}
    assert certificate.count("exact") > 350 and certificate.bound <= 2**-60


def counts() -> dict[str, int]:
    """How many lines of the whole vocabulary pass each tier: every layer, every loss and its options, every optimizer
    and built-in model."""
    assert {loss for loss, _ in VARIANTS} == set(LOSSES) and set(MODELS) == set(LAYERS)
    certificates = [model_with(name).verify() for name in MODELS]
    certificates += [with_loss(loss, options) for loss, options in VARIANTS]
    certificates += [cr.read_model(name).verify() for name in BUILT_IN]
    found = {tier: sum(c.count(tier) for c in certificates) for tier in ("exact", "exact up to a constant", "evidence")}
    found["exact"] += sum(len(step_of(name)) for name in OPTIMIZERS)
    return found


STATED = re.compile(r"([\d,]+) lines are checked exactly, ([\d,]+) exactly up to a constant, ([\d,]+) by evidence")


@pytest.mark.campaign
def test_the_readme_states_the_counts_of_today() -> None:
    stated = STATED.search(" ".join(README.split()))
    assert stated
    assert [int(number.replace(",", "")) for number in stated.groups()] == list(counts().values())
