"""Layers keep what they have learnt; weights are copied, models too; what a layer gives is looked at."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)).astype(np.float32), RNG.integers(0, 3, 60)


def base(seed: int = 3) -> cr.Sequential:
    return cr.Sequential(
        cr.Input(6), cr.Dense(5), cr.BatchNorm(), cr.ReLU(), cr.Dense(3), loss="softmax_cross_entropy", seed=seed
    )


def trained(model: cr.Model, epochs: int = 2) -> cr.Model:
    model.fit(X, Y, epochs=epochs, optimizer="adam", executor="numpy", verbose=False)
    return model


def pickled(model: cr.Model) -> cr.Model:
    return pickle.loads(pickle.dumps(model))  # noqa: S301  (our own bytes)


class Scale(cr.Layer):
    equation = "y[n, k] = g[k]*x[n, k]"
    init = {"g": cr.ones("k")}  # noqa: RUF012


def test_a_model_on_layers_that_have_learnt_begins_with_that() -> None:
    model = trained(base())
    head = cr.Model(model.inputs, model.output.parents[0], seed=0)
    np.testing.assert_array_equal(head.predict(X), model.activations(X, "relu1"))
    assert np.abs(head.parameters["dense1.W"] - base().parameters["dense1.W"]).max() > 1e-3


def test_models_with_a_layer_in_common_learn_together_and_others_do_not() -> None:
    model, other = base(), base()
    head = cr.Model(model.inputs, model.output.parents[0])
    trained(model)
    for name in ("dense1.W", "dense1.b", "batchnorm1.g"):
        if name in head.parameters:
            np.testing.assert_array_equal(head.parameters[name], model.parameters[name])
    np.testing.assert_array_equal(head.predict(X), model.activations(X, "relu1"))
    head.parameters["dense1.W"] = np.zeros((5, 6))
    assert not model.parameters["dense1.W"].any() and other.parameters["dense1.W"].any()


def test_a_layer_at_another_size_has_parameters_of_its_own() -> None:
    layer = cr.Dense(4)
    one = cr.Sequential(cr.Input(3), layer)
    two = cr.Sequential(cr.Input(7), layer)
    one.parameters["dense1.b"] = np.arange(4)
    assert two.parameters["dense1.W"].shape == (4, 7)
    np.testing.assert_array_equal(two.parameters["dense1.b"], np.arange(4))  # this one has one size


def test_a_layer_in_models_of_two_types_is_rounded_to_each() -> None:
    layer = cr.Dense(4)
    one, two = (cr.Sequential(cr.Input(3), layer, dtype=dtype) for dtype in ("float64", "float32"))
    one.parameters["dense1.b"] = np.full(4, 0.1)
    assert two.parameters["dense1.b"].dtype == np.float32
    np.testing.assert_array_equal(two.parameters["dense1.b"], np.float32(0.1))


def test_weights_are_copied_by_name_or_as_a_mapping_says() -> None:
    model, other = trained(base()), base(seed=9)
    taken = other.copy_weights(model)
    assert set(taken) == {*model.parameters, *model.states}
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    wide = cr.Sequential(cr.Input(6), cr.Dense(5), cr.Dense(4))
    assert wide.copy_weights(model) == ["dense1.W", "dense1.b"]
    turned = cr.Sequential(cr.Input(5), cr.Dense(3))
    assert turned.copy_weights(model, {"dense1": "dense2"}) == ["dense1.W", "dense1.b"]
    np.testing.assert_array_equal(turned.parameters["dense1.W"], model.parameters["dense2.W"])
    with pytest.raises(cr.ShapeError):
        turned.copy_weights(model, {"dense1": "dense1"})
    with pytest.raises(cr.ModelError, match="no layer is called 'dense7'"):
        turned.copy_weights(model, {"dense7": "dense1"})
    with pytest.raises(cr.ModelError, match="has no 'dense7"):
        turned.copy_weights(model, {"dense1": "dense7"})


def test_what_a_layer_gives_is_looked_at_by_its_name() -> None:
    model = trained(base())
    hidden = model.activations(X, "relu1")
    assert hidden.shape == (60, 5) and (hidden >= 0).all()
    w, b = model.parameters["dense2.W"], model.parameters["dense2.b"]
    np.testing.assert_allclose(hidden @ w.T + b, model.logits(X), rtol=2e-5, atol=1e-6)
    with pytest.raises(cr.ModelError, match="no layer is called 'relu2'"):
        model.activations(X, "relu2")


def test_several_inputs_may_be_given_by_name() -> None:
    a, b = cr.Input(2), cr.Input(3)
    model = cr.Model([a, b], cr.Concat()(a, b))
    x = {"input2": np.ones((4, 3)), "input1": np.zeros((4, 2))}
    np.testing.assert_array_equal(model.predict(x), np.repeat([[0, 0, 1, 1, 1]], 4, axis=0))
    with pytest.raises(cr.DataError, match="x has the inputs a"):
        model.predict({"a": 1})


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickled(model)])
def test_a_copy_goes_on_as_the_model_would_and_by_itself(copied: Any) -> None:
    model = trained(base())
    twin = copied(model)
    assert twin.training.optimizer == model.training.optimizer
    trained(model)
    assert not np.array_equal(twin.predict(X), model.predict(X))
    trained(twin)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


def test_layers_of_ones_own_are_copied_with_their_model() -> None:
    model = cr.Sequential(cr.Input(6), Scale(), loss="mean_squared_error")
    model.parameters["scale1.g"] = np.arange(6)
    np.testing.assert_array_equal(pickled(model).predict(X), model.predict(X))
    layer = copy.deepcopy(model["scale1"])
    assert isinstance(layer, Scale) and layer is not model["scale1"]
    assert repr(copy.deepcopy(cr.Dense(3))) == repr(cr.Dense(3))


def test_a_model_goes_to_another_process_and_back() -> None:
    model = base()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(trained, model).result()
    np.testing.assert_array_equal(there.predict(X), trained(model).predict(X))


@pytest.mark.parametrize("executor", ["numpy", "native"])
def test_a_layer_that_is_frozen_learns_nothing_and_others_what_they_did(executor: Any) -> None:
    options: dict[str, Any] = {"epochs": 2, "optimizer": "adam", "executor": executor, "verbose": False}
    model, start = base(), base()
    model.freeze("dense1", "batchnorm1")
    model.fit(X, Y, **options)
    for name, array in {**model.parameters, **model.states}.items():
        before = {**start.parameters, **start.states}[name]
        assert (array.tobytes() == before.tobytes()) == (not name.startswith("dense2")), name
    twin = pickled(model)
    assert twin.rates == {"dense1": 0.0, "batchnorm1": 0.0}
    model.unfreeze()
    model.fit(X, Y, **options)
    assert not np.array_equal(model.parameters["dense1.W"], start.parameters["dense1.W"]) and not model.rates


@pytest.mark.parametrize("executor", ["numpy", "native"])
def test_a_layers_rate_is_a_factor_of_the_optimizers(executor: Any) -> None:
    """One step of plain descent: its change is the factor times the change it would be."""
    changes: list[np.ndarray] = []
    for factor in (1.0, 0.25):
        model = base()
        model.set_rates({"dense2": factor})
        before = {name: np.array(array) for name, array in model.parameters.items()}
        model.fit(X, Y, epochs=1, batch_size=60, optimizer=cr.SGD(0.5), executor=executor, verbose=False)
        changes.append(np.concatenate([(model.parameters[n] - a).ravel() for n, a in before.items() if "dense2" in n]))
        changes.append(np.concatenate([(model.parameters[n] - a).ravel() for n, a in before.items() if "dense1" in n]))
    np.testing.assert_allclose(changes[2], 0.25 * changes[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(changes[3], changes[1], rtol=1e-3, atol=1e-6)
    for bad in ({"dense9": 1.0}, {"dense1": -1.0}, {"dense1": float("nan")}):
        with pytest.raises(cr.ModelError):
            base().set_rates(bad)
