"""Keras models as models: the same outputs, the same gradients, the same training, whatever backend Keras has."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import chainrule as cr
from tests.doors.keras_nets import NETS, checked, differences, made

MSE = "mean_squared_error"


@pytest.mark.parametrize("name", NETS)
def test_outputs_and_every_gradient_are_those_of_keras(name: str) -> None:
    assert checked(name) == []


def test_they_are_in_float32_as_well() -> None:
    assert checked("convolutions", "float32") == []


def test_jax_as_keras_backend_gives_the_same() -> None:
    """In a process of its own, since Keras has one backend."""
    names = ["residual", "separable", "along time", "gated"]  # JAX's attention rounds to float32
    code = f"from tests.doors.keras_nets import checked\nfor name in {names}: assert checked(name) == [], name"
    root = Path(__file__).resolve().parents[2]
    more = {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, **more}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_a_wrong_weight_is_seen() -> None:
    net, x, target = made("transformer")
    model = cr.from_keras(net, loss=MSE)
    net.trainable_variables[-1].assign(net.trainable_variables[-1] + 1e-9)
    assert differences(model, net, x, target, 1e-12)


def test_layers_are_called_as_in_keras_and_saved_with_their_names(tmp_path: Path) -> None:
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, activation="relu", name="stem")(x)
    y = layers.BatchNormalization(name="norm")(y)
    body = keras.Sequential([keras.Input((48,)), layers.Dense(5, name="inner")], name="body")
    net = keras.Model(x, layers.Dense(2, name="head")(body(layers.Flatten()(y))))
    model = cr.from_keras(net, loss="softmax_cross_entropy")
    assert [label for label, _ in model.network.layers if not label.endswith("_input")] == [
        "stem", "stem_relu", "norm", "body_inner", "head"
    ]
    assert isinstance(model["stem"], cr.Conv2d) and isinstance(model["head"], cr.Dense)
    np.testing.assert_array_equal(model.parameters["head.W"], ops.convert_to_numpy(net.get_layer("head").kernel).T)
    samples = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype("float32")
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(samples), model.predict(samples))
    assert len(net.get_layer("head")._inbound_nodes) == 1  # Keras's own graph is as it was


def test_native_training_has_the_losses_of_keras() -> None:
    net, (x,), target = made("residual", "float32")
    model = cr.from_keras(net, loss=MSE)
    net.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    theirs = net.fit(x, target, batch_size=len(x), epochs=3, verbose=0, shuffle=False).history["loss"]
    ours = model.fit(
        x, target, epochs=3, batch_size=len(x), optimizer=cr.SGD(0.05), verbose=False, executor="native"
    )
    np.testing.assert_allclose([epoch["loss"] for epoch in ours.epochs], theirs, rtol=1e-5)
    assert theirs[0] != pytest.approx(theirs[2], rel=1e-4)


def test_what_is_frozen_stays_frozen() -> None:
    net, (x,), target = made("dense", "float32")
    net.layers[0].trainable = False
    model = cr.from_keras(net, loss=MSE)
    before = {name: np.array(value) for name, value in model.parameters.items()}
    model.fit(x, target, epochs=1, optimizer=cr.SGD(0.1), verbose=False)
    still = [name for name, value in before.items() if np.array_equal(value, model.parameters[name])]
    assert sorted(still) == [f"{net.layers[0].name}.W", f"{net.layers[0].name}.b"]


def test_a_frozen_kernel_of_a_layer_that_learns_is_a_constant() -> None:
    net, x, _ = made("dense", "float32")
    expected = ops.convert_to_numpy(net(*x))
    net.layers[0].kernel.trainable = False
    model = cr.from_keras(net, loss=MSE)
    np.testing.assert_allclose(model.predict(x[0]), expected, rtol=1e-5, atol=1e-6)
    assert len(model.parameters) == len(net.trainable_variables)


def test_dropout_is_that_of_training() -> None:
    net = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.25), layers.Dense(2)])
    assert sorted(p for p in cr.from_keras(net).network.random.values() if p) == [0.75]


class ByNumber(layers.Layer):
    """A weight in a list, which no attribute of the layer shows."""

    def build(self, shape: Any) -> None:
        self.own = [self.add_weight(shape=(shape[-1],))]

    def call(self, x: Any) -> Any:
        return x * ops.exp(self.own[0])


class Drawing(layers.Layer):
    def call(self, x: Any) -> Any:
        return x + keras.random.normal((3,))[:0].sum() * keras.random.uniform(ops.shape(x))


def on(layer: Any, *shape: int) -> Any:
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


class Unbuilt(keras.Model):
    def call(self, x: Any) -> Any:
        return x


def masked() -> Any:
    ids = keras.Input((4,), dtype="int32")
    x = layers.Embedding(5, 6, mask_zero=True)(ids)
    return keras.Model(ids, layers.MultiHeadAttention(2, 3)(x, x))


REFUSED: dict[str, tuple[Any, str]] = {
    "a recurrent layer": (lambda: on(layers.LSTM(4), 5, 3), "LSTM"),
    "a weight that is read as a number": (lambda: on(ByNumber(), 3), "by_number"),
    "random numbers": (lambda: on(layers.GaussianNoise(0.1), 3), "GaussianNoise"),
    "a mask": (masked, "mask"),
    "a model without a graph": (Unbuilt, "keras.Input"),
    "no model": (lambda: layers.Dense(3), "no keras.Model"),
    "an open extent": (lambda: on(layers.Conv1D(2, 3), None, 3), "extents"),  # pyright: ignore[reportArgumentType]
    "an operation without a row": (lambda: on(layers.Lambda(lambda x: ops.sort(x)), 3), "Sort"),
    "a part of the samples": (lambda: on(layers.Lambda(lambda x: ops.flip(x, axis=0)), 3), "samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_come_in_is_named(name: str) -> None:
    make, says = REFUSED[name]
    with pytest.raises(cr.ChainruleError) as caught:
        cr.from_keras(make())
    assert says in str(caught.value), str(caught.value)
