"""The NumPy listing runs, and gives the loss and the gradients of the program that it was written from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.derive.cases import ALL
from tests.nn.test_every_layer import MODELS, model_with, ranges

import chainrule as cr
from chainrule.derive import Derivation
from chainrule.evaluate.numpy import execute
from chainrule.ir.expr import Tensor
from chainrule.render.listing import listing
from chainrule.render.names import names_of

Values = dict[str, NDArray[Any]]


def random_values(derivation: Derivation, samples: int, top: int) -> Values:
    rng = np.random.default_rng(samples)

    def value(tensor: Tensor) -> NDArray[Any]:
        shape = tuple(e if isinstance(e, int) else samples for e in tensor.shape)
        return rng.integers(0, top, shape) if tensor.dtype == "integer" else rng.uniform(0.01, 0.3, shape)

    return {t.name: value(t) for t in derivation.joint.given}


def outcome(derivation: Derivation, source: str, values: Values) -> tuple[Any, Values]:
    space: dict[str, Any] = {}
    exec(source, space)  # noqa: S102 - to run it is the test
    function = space["gradients" if derivation.loss is None else "loss_and_gradients"]
    return function(*(values[t.name] for t in derivation.joint.given))


def differences(derivation: Derivation, source: str, samples: int = 3, top: int = 5) -> list[str]:
    """What the listing computes otherwise than the program."""
    values = random_values(derivation, samples, top)
    wanted = execute(derivation.joint, values, dtype=np.dtype("float64"))
    value, gradients = outcome(derivation, source, values)
    name = (derivation.loss or derivation.forward.outputs[0]).name
    wrong = [] if np.allclose(value, wanted[name], rtol=1e-10) else [name]
    assert gradients.keys() == derivation.gradients.keys()
    for key, tensor in derivation.gradients.items():
        same_shape = np.shape(gradients[key]) == wanted[tensor.name].shape
        if not same_shape or not np.allclose(gradients[key], wanted[tensor.name], rtol=1e-10, atol=1e-12):
            wrong.append(key)
    return wrong


def source_of(derivation: Derivation) -> str:
    return listing(derivation, names_of(derivation))


@pytest.mark.parametrize("name", ["neuron", "mlp", "mlp-textbook", "lenet", "resnet-tiny", "transformer-tiny"])
def test_the_listing_of_a_model_gives_its_gradients(name: str) -> None:
    derivation = cr.read_model(name).derive()
    source = source_of(derivation)
    assert differences(derivation, source, 2, 256) == []
    assert [line for line in source.splitlines() if len(line) > 104] == []


@pytest.mark.parametrize("name", MODELS)
def test_the_listing_of_every_layer_gives_its_gradients(name: str) -> None:
    model = model_with(name)
    derivation = model.derive()
    assert differences(derivation, source_of(derivation), top=min([5, *ranges(model).values()])) == []


@pytest.mark.parametrize("name", ALL)
def test_the_listing_of_an_equation_gives_its_gradients(name: str) -> None:
    derivation = ALL[name].derivation
    assert differences(derivation, source_of(derivation), top=2) == []


def test_a_dense_layer_reads_as_its_matrix_form() -> None:
    source = source_of(cr.read_model("mlp-textbook").derive())
    for line in ("u1 = x @ W1.T + b1", "dW2 = du2.T @ z1", "db2 = du2.sum(axis=0)", "dz1 = du2 @ W2"):
        assert f"    {line}\n" in source


def test_a_listing_with_a_line_changed_is_told_apart() -> None:
    derivation = cr.read_model("mlp-textbook").derive()
    source = source_of(derivation)
    assert differences(derivation, source.replace("du2 @ W2", "2 * du2 @ W2")) != []
    assert differences(derivation, source.replace("1 - z1", "1 + z1")) != []
