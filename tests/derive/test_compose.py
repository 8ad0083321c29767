"""Composite lemmas are worth what the backward program computes, also through padded reads of the error signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive.compose import composites
from chainrule.ir.expr import Expr, Guard
from chainrule.ir.print import to_text
from chainrule.ir.walk import transform
from tests.built_in import derived
from tests.floats import evaluate

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


def form_of(*layers: Any) -> list[tuple[str, str, str]]:
    """The composites of a network: their form, from what and to what they lead."""
    derivation = cr.Sequential(*layers, loss="half_squared_error").derive()
    found = composites(derivation)
    return [
        (r.form, outer.equation.tensor.name, inner.tensor.name) for r in found for outer, inner in r.uses
    ]


def test_a_composite_leads_over_tensors_with_one_use() -> None:
    """The mean of batch normalisation is read twice: through the variance alone its gradient would be 0."""
    found = form_of(cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid())
    assert found and not any(to == "batchnorm1.m" for *_, to in found)
    parts = cr.Sequential(cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid()).derive().parts
    assert len(parts["batchnorm1.m"].uses) == 2


def test_recurrence_is_said_from_one_linear_output_to_the_one_before() -> None:
    found = form_of(cr.Input(2), cr.Dense(3), "sigmoid", cr.Dense(3), cr.BatchNorm(), "tanh", cr.Dense(2))
    assert [entry for entry in found if entry[0] == "recurrence"] == [("recurrence", "dense2.u", "dense1.u")]
    assert ("map", "dense3.u", "batchnorm1.y") in found


class Vanishing(cr.Layer):
    """y is 0 whatever h is, and h reads every second entry of x."""

    equation = """
        h[n, i<2] = tanh(x[n, 2*i])
        y[n, i<2] = h[n, i] - h[n, i]
    """


def test_a_composite_of_what_vanishes_is_0_of_a_sample_too() -> None:
    """With 0 as the error signal of h one line says what x gets; for any other there would be one for each residue."""
    found = composites(cr.Sequential(cr.Input(2), cr.Dense(3), Vanishing(), loss="half_squared_error").derive())
    (composite,) = (r for r in found if r.composite.inner.equation.tensor.name == "vanishing1.h")
    assert composite.sample and to_text(composite.sample.result) == to_text(composite.composite.result) == "0"


def test_a_composite_through_one_unit_keeps_its_concise_form_and_its_jacobians() -> None:
    text = derived("neuron").to_text(width=200)
    assert "(C2.5)" in text or "C2.5" in text


@pytest.mark.parametrize("size", [5, 6, 12])
def test_windows_that_part_into_pieces_at_small_shapes_only_have_their_composite(size: int) -> None:
    """The kind of a composite is derived at small shapes, where a dilated window overlaps with none."""
    layers = (cr.ReLU(), cr.Conv2d(2, 2, dilation=2))
    model = cr.Sequential(cr.Input(3, size, size), *layers, loss="mean_squared_error")
    assert composites(model.derive())
