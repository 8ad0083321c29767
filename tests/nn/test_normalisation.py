"""BatchNorm, LayerNorm and RMSNorm: gradients, running averages, inference, constant inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.derive.oracle import gradients_are_exact
from tests.examples import examples
from tests.nn.layerwise import differing, disagreements, extents, model_of, randomised

import chainrule as cr

EPSILONS = st.sampled_from([1e-5, 1e-3, 0.5, 1e-12])


def batch_norm(epsilon: float) -> Callable[..., Any]:
    def forward(p: dict[str, Any], x: Any) -> Any:
        over = (0, *range(2, x.ndim))
        one = (1, -1, *(1,) * (x.ndim - 2))
        z = (x - x.mean(over, keepdims=True)) / jnp.sqrt(x.var(over, keepdims=True) + epsilon)
        return p["batchnorm1.g"].reshape(one) * z + p["batchnorm1.b"].reshape(one)

    return forward


def layer_norm(axes: int, epsilon: float) -> Callable[..., Any]:
    def forward(p: dict[str, Any], x: Any) -> Any:
        over = tuple(range(x.ndim - axes, x.ndim))
        z = (x - x.mean(over, keepdims=True)) / jnp.sqrt(x.var(over, keepdims=True) + epsilon)
        return p["layernorm1.g"] * z + p["layernorm1.b"]

    return forward


def rms_norm(axes: int, epsilon: float) -> Callable[..., Any]:
    def forward(p: dict[str, Any], x: Any) -> Any:
        over = tuple(range(x.ndim - axes, x.ndim))
        return p["rmsnorm1.g"] * x / jnp.sqrt((x**2).mean(over, keepdims=True) + epsilon)

    return forward


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=3), st.integers(2, 5), EPSILONS)
def test_batch_norm(shape: list[int], samples: int, epsilon: float) -> None:
    assert disagreements(model_of(cr.BatchNorm(epsilon=epsilon), *shape), batch_norm(epsilon), samples=samples) == []


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=3), st.integers(1, 3), EPSILONS, st.data())
def test_layer_norm(shape: list[int], samples: int, epsilon: float, data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, len(shape)))
    scales = (1.0, 30.0)
    model = model_of(cr.LayerNorm(axes, epsilon), *shape)
    assert disagreements(model, layer_norm(axes, epsilon), samples=samples, scales=scales) == []


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=3), st.integers(1, 3), EPSILONS, st.data())
def test_rms_norm(shape: list[int], samples: int, epsilon: float, data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, len(shape)))
    assert disagreements(model_of(cr.RMSNorm(axes, epsilon), *shape), rms_norm(axes, epsilon), samples=samples) == []


CONSTANT = [
    (cr.BatchNorm(), batch_norm(1e-5)),
    (cr.LayerNorm(2), layer_norm(2, 1e-5)),
    (cr.RMSNorm(2), rms_norm(2, 1e-5)),
]


@pytest.mark.parametrize(("layer", "forward"), CONSTANT, ids=["BatchNorm", "LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("value", [0.0, 0.75, -4.0])
def test_constant_inputs_have_finite_gradients(layer: cr.Layer, forward: Any, value: float) -> None:
    assert disagreements(
        model_of(layer, 2, 3), forward, scales=(1.0,), differences=False, change=lambda x: np.full_like(x, value)
    ) == []


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1, 1)])
def test_a_batch_of_one_without_space_gives_the_shift(shape: tuple[int, ...]) -> None:
    model = randomised(model_of(cr.BatchNorm(), *shape), np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(1, *shape))
    _, gradients = model.gradients(x, np.zeros_like(x))
    assert (gradients["input"] == 0).all()
    assert (gradients["batchnorm1.g"] == 0).all()
    np.testing.assert_allclose(gradients["batchnorm1.b"], model.parameters["batchnorm1.b"], rtol=1e-15)


def test_the_check_refuses_another_formula() -> None:
    model = model_of(cr.LayerNorm(), 4)

    def outside_the_root(p: Any, x: Any) -> Any:
        return p["layernorm1.g"] * (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-5) + p["layernorm1.b"]

    assert disagreements(model, outside_the_root) != []
    assert differing({"w": np.ones(3)}, {"w": jnp.asarray([1, 1, 1 + 2e-9])}) == ["w"]


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 2, 3)])
def test_training_moves_the_running_averages_and_inference_reads_them(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    x = 2 + 3 * rng.normal(size=(8, *shape))
    y = rng.normal(size=(8, *shape))
    model = randomised(model_of(cr.BatchNorm(momentum=0.25, epsilon=0.01), *shape), rng)
    over = (0, *range(2, x.ndim))
    m, v = x.mean(over), x.var(over)
    mean, variance = np.zeros_like(m), np.ones_like(v)
    for _ in range(3):
        model.fit(x, y, epochs=1, batch_size=8, optimizer=cr.SGD(0.01), verbose=False)
        mean, variance = 0.75 * mean + 0.25 * m, 0.75 * variance + 0.25 * v
    np.testing.assert_allclose(model.states["batchnorm1.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(model.states["batchnorm1.running_variance"], variance, rtol=1e-12)

    one = (1, -1, *(1,) * (x.ndim - 2))
    g, b = (np.asarray(model.parameters[f"batchnorm1.{name}"]).reshape(one) for name in "gb")
    expected = g * (x - mean.reshape(one)) / np.sqrt(variance.reshape(one) + 0.01) + b
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict(x[:1]), expected[:1], rtol=1e-12)
    assert model.evaluate(x, y)["loss"] == pytest.approx(0.5 * ((expected - y) ** 2).sum() / 8, rel=1e-12)
    model.gradients(x, y)  # leaves the states as they are
    np.testing.assert_allclose(model.states["batchnorm1.running_mean"], mean, rtol=1e-12)

    model.save(tmp_path / "m")
    again = cr.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert dict(again.states).keys() == {"batchnorm1.running_mean", "batchnorm1.running_variance"}


@pytest.mark.parametrize(("momentum", "expected"), [(0, 0.0), (1, 5.0), (1.0, 5.0)])
def test_momentum_is_the_share_of_the_new_batch(momentum: float, expected: float) -> None:
    model = model_of(cr.BatchNorm(momentum), 1)
    model.fit(np.array([[4.0], [6.0]]), np.zeros((2, 1)), epochs=1, batch_size=2, verbose=False)
    assert float(model.states["batchnorm1.running_mean"][0]) == expected


def test_scale_and_shift_do_not_decay() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    losses = [
        cr.Sequential(cr.Input(2, 3), cr.LayerNorm(2), loss="half_squared_error", l2=l2).gradients(x, x)[0]
        for l2 in (0.0, 5.0)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.BatchNorm(momentum=1.5), ["BatchNorm", "momentum", "1.5", "from 0 to 1"]),
        (lambda: cr.BatchNorm(momentum=-0.1), ["momentum", "-0.1"]),
        (lambda: cr.BatchNorm(epsilon=0), ["BatchNorm", "epsilon", "positive", "not 0"]),
        (lambda: cr.LayerNorm(epsilon=-1e-5), ["LayerNorm", "epsilon", "-1e-05"]),
        (lambda: cr.RMSNorm(epsilon=float("nan")), ["RMSNorm", "epsilon", "nan"]),
        (lambda: cr.LayerNorm(axes=0), ["LayerNorm", "axes", "positive whole number", "not 0"]),
        (lambda: cr.LayerNorm(axes=1.5), ["axes", "1.5"]),
        (lambda: model_of(cr.LayerNorm(3), 2, 3), ["layernorm1", "axes=3", "(N, 2, 3)", "axes=2"]),
        (lambda: model_of(cr.RMSNorm(), *()), ["rmsnorm1", "axes=1", "(N,)"]),
        (lambda: model_of(cr.BatchNorm(), *()), ["batchnorm1", "(N,)", "channels"]),
    ],
)
def test_a_bad_option_is_named_with_the_fix(build: Callable[[], Any], says: list[str]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert all(part in str(caught.value) for part in [*says, "fix"]), str(caught.value)


def test_a_batch_norm_used_twice_goes_on_with_its_averages() -> None:
    start, layer = cr.Input(3), cr.BatchNorm(momentum=0.25)
    model = cr.Model(start, layer(cr.Tanh()(layer(start))), loss="half_squared_error", dtype="float64")
    rng = np.random.default_rng(3)
    x, gain = rng.normal(size=(5, 3)), np.array([0.5, 2.0, -1.0])
    model.parameters["batchnorm1.g"] = gain
    first = np.tanh(gain * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5))
    model.fit(x, np.zeros((5, 3)), epochs=1, batch_size=5, optimizer=cr.SGD(1e-12), verbose=False)
    once = 0.25 * x.mean(0), 0.75 + 0.25 * x.var(0)
    mean, variance = 0.75 * once[0] + 0.25 * first.mean(0), 0.75 * once[1] + 0.25 * first.var(0)
    np.testing.assert_allclose(model.states["batchnorm1.running_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(model.states["batchnorm1.running_variance"], variance, rtol=1e-9)
    inner = np.tanh(gain * (x - mean) / np.sqrt(variance + 1e-5))
    np.testing.assert_allclose(model.predict(x), gain * (inner - mean) / np.sqrt(variance + 1e-5), rtol=1e-9)
    assert gradients_are_exact(model.derive(), {"N": 5}, 1)
    assert "batchnorm1" in model.derive().to_markdown()


def test_uses_of_a_batch_norm_with_different_channels_are_refused() -> None:
    layer = cr.BatchNorm(affine=False)
    with pytest.raises(cr.ModelError, match="running_mean of shapes"):
        cr.Sequential(cr.Input(4), layer, cr.Dense(3), layer)
