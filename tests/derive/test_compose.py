"""Composite lemmas are worth what the backward program computes, also through padded reads of the error signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.derive.compose import composites
from chainrule.evaluate.numpy import evaluate, execute
from chainrule.ir.expr import Expr, Guard
from chainrule.ir.walk import transform

MODELS: dict[str, list[Any]] = {
    "padded convolutions": [
        cr.Input(2, 5, 6), cr.Conv2d(3, 3, padding=1), "relu", cr.Conv2d(2, 3, padding=1), "sigmoid", cr.Dense(3),
    ],
    "valid convolutions": [cr.Input(2, 7), cr.Conv1d(3, 3), "tanh", cr.Conv1d(2, 2), "relu", cr.Dense(3)],
    "strides and pools": [
        cr.Input(1, 8, 8), cr.Conv2d(2, 3, stride=2), "relu", cr.MaxPool2d(2), cr.Conv2d(2, 1), "tanh", cr.Dense(3),
    ],
    "dense": [cr.Input(4), cr.Dense(3), "sigmoid", cr.Dense(4), "sigmoid", cr.Dense(3)],
}


def differences(name: str, change: Any = lambda node: node) -> list[float]:
    """For each composite, how far its last line is from the gradient that the program computes."""
    model = cr.Sequential(*MODELS[name], loss="softmax_cross_entropy", dtype="float64")
    derivation = model.derive()
    rng = np.random.default_rng(1)
    sizes = {t.name: tuple(2 if e == "N" else int(e) for e in t.shape) for t in derivation.forward.given}
    values = {t: rng.normal(size=shape) for t, shape in sizes.items()}
    values |= execute(derivation.joint, values)
    result: list[float] = []
    for repeated in composites(derivation):
        composite = repeated.composite
        line = transform(composite.result, change)
        found = evaluate(line, values, composite.target.free, extents={"N": 2})
        result.append(float(np.abs(found - values[f"δ({composite.target.tensor.name})"]).max()))
    return result


@pytest.mark.parametrize("name", MODELS)
def test_a_composite_is_the_gradient(name: str) -> None:
    found = differences(name)
    assert found
    assert max(found) < 1e-12


def test_the_range_of_a_cited_gradient_matters() -> None:
    """relu′ of a read outside its tensor is no number of the network's: the bracket must stay."""

    def unguarded(node: Expr) -> Expr:
        return Guard(node.subscript + 1, node.extent) if isinstance(node, Guard) else node

    assert max(differences("padded convolutions", unguarded)) > 1e-6
