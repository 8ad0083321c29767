"""The plain layers with every loss: gradients exact in GF(p), by central differences, and every step an identity.

Layers with windows, states or integer inputs have tests of their own, over their options.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.derive.oracle import false_steps, gradients_are_exact
from tests.examples import few

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.ir.expr import LOSS
from chainrule.nn.layer import Layer
from chainrule.nn.losses import LOSSES

PLAIN: list[type[Layer]] = [cr.Dense, cr.Sigmoid, cr.Tanh, cr.ReLU, cr.Softmax, cr.Flatten, cr.Add]


def model_with(layer: type[Layer], loss: str) -> cr.Model:
    x = cr.Input(2, 3)
    match layer.__name__:
        case "Add":
            h = cr.Dense(4)(x)
            return cr.Model(x, cr.Add()(h, cr.Sigmoid()(h)), loss=loss, l2=0.1)
        case "Dense":
            return cr.Sequential(x, cr.Dense(4), loss=loss, l2=0.1)
        case _:
            return cr.Sequential(x, cr.Dense(3), layer(), cr.Dense(4), loss=loss, l2=0.1)


# Every layer with every loss, in `make test` each of them once.
PAIRS = [(PLAIN[(n + turn) % len(PLAIN)], loss) for n, loss in enumerate(LOSSES) for turn in range(len(PLAIN))]


@pytest.mark.parametrize(("layer", "loss"), few(PAIRS, len(PLAIN)))
def test_gradients_are_exact(layer: type[Layer], loss: str) -> None:
    for samples in (1, 3):
        assert gradients_are_exact(model_with(layer, loss).derive(), {"N": samples}, seed=samples)


@pytest.mark.parametrize(("layer", "loss"), few(PAIRS, len(PLAIN)))
def test_gradients_agree_with_central_differences(layer: type[Layer], loss: str) -> None:
    derivation = model_with(layer, loss).derive()
    rng = np.random.default_rng(3)
    given = {
        t.name: rng.standard_normal(tuple(2 if e == "N" else int(e) for e in t.shape)) for t in derivation.forward.given
    }
    given["target"] = np.abs(given["target"])  # no logarithm of a negative share
    run = execute(derivation.joint, given)
    for name in derivation.gradients:
        direction = rng.standard_normal(given[name].shape)
        up, down = (
            execute(derivation.forward, {**given, name: given[name] + h * direction})[LOSS.name] for h in (1e-6, -1e-6)
        )
        slope = float(up - down) / 2e-6
        assert abs(slope - float(np.sum(run[f"δ({name})"] * direction))) <= 1e-6 * max(1.0, abs(slope)), name


def test_the_number_of_lemmas_does_not_grow_with_depth_under_weight_decay() -> None:
    def lemmas(depth: int) -> int:
        layers = [layer for _ in range(depth) for layer in (cr.Dense(3), cr.Sigmoid())]
        return len(cr.Sequential(cr.Input(3), *layers, loss="half_squared_error", l2=0.1).derive().lemmas)

    assert lemmas(4) == lemmas(12)


@pytest.mark.parametrize("loss", few(LOSSES, len(LOSSES)))
def test_every_step_of_a_model_is_an_identity(loss: str) -> None:
    derivation = cr.Sequential(cr.Input(2), cr.Dense(3), cr.Sigmoid(), cr.Dense(2), loss=loss, l2=0.1).derive()
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            assert false_steps(use.instance, derivation.forward, {"N": 2}, 4) == []
