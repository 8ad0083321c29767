"""Activations: values, gradients, kinks, and both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.nn.layerwise import disagreements, extents, model_of, slopes

import chainrule as cr

Case = tuple[cr.Layer, Callable[[Any], Any]]
SLOPES = st.sampled_from([0.01, 0.3, 0.0, -0.2, 1.7, 1e-5])


def leaky(slope: float) -> Case:
    return cr.LeakyReLU(slope), lambda x: jax.nn.leaky_relu(x, slope)


def elu(alpha: float) -> Case:
    return cr.ELU(alpha), lambda x: jax.nn.elu(x, alpha)


def hardtanh(low: float, width: float) -> Case:
    high = low + width
    return cr.Hardtanh(low, high), lambda x: jnp.where(x > high, high, jnp.where(x < low, low, x))


def gelu(form: Any) -> Case:
    return cr.GELU(form), lambda x: jax.nn.gelu(x, approximate=form == "tanh")


CASES: dict[str, st.SearchStrategy[Case]] = {
    "LeakyReLU": st.builds(leaky, SLOPES),
    "ELU": st.builds(elu, SLOPES),
    "Hardtanh": st.builds(hardtanh, st.sampled_from([-1.0, -0.25, 0.5]), st.sampled_from([0.1, 1.0, 2.0])),
    "GELU exact": st.just(gelu("exact")),
    "GELU tanh": st.just(gelu("tanh")),
    "SELU": st.just((cr.SELU(), jax.nn.selu)),
    "SiLU": st.just((cr.SiLU(), jax.nn.silu)),
    "Softplus": st.just((cr.Softplus(), jax.nn.softplus)),
    "Softsign": st.just((cr.Softsign(), jax.nn.soft_sign)),
    "LogSoftmax": st.just((cr.LogSoftmax(), jax.nn.log_softmax)),
}


@pytest.mark.parametrize("name", CASES)
@examples(2, 60)
@given(data=st.data())
def test_values_and_gradients(name: str, data: st.DataObject) -> None:
    layer, function = data.draw(CASES[name])
    shape = data.draw(st.lists(extents, min_size=1, max_size=3))
    scales = (1.0, 0.01, 1e-8, 5.0, 30.0, 1000.0)
    assert disagreements(
        model_of(layer, *shape), lambda p, x: function(x), samples=data.draw(st.integers(1, 4)), scales=scales
    ) == []


SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


@pytest.mark.parametrize(
    ("layer", "at", "slope"),
    [
        (cr.ReLU(), [-1, 0, 1], [0, 0, 1]),
        (cr.LeakyReLU(0.25), [-1, 0, -0.0, 1], [0.25, 0.25, 0.25, 1]),
        (cr.ELU(0.5), [0, -0.0, 1], [0.5, 0.5, 1]),
        (cr.SELU(), [0, 1], [SCALE * ALPHA, SCALE]),
        (cr.Hardtanh(), [-1 - 1e-9, -1, 0, 1, 1 + 1e-9], [0, 1, 1, 1, 0]),
        (cr.Hardtanh(-0.5, 2), [-1, -0.5, 2, 3], [0, 1, 1, 0]),
        (cr.Softsign(), [0, 1, -1], [1, 0.25, 0.25]),
        (cr.GELU(), [0], [0.5]),
        (cr.GELU("tanh"), [0], [0.5]),
        (cr.SiLU(), [0], [0.5]),
        (cr.Softplus(), [0], [0.5]),
    ],
    ids=str,
)
def test_the_derivative_at_a_kink_is_the_documented_one(layer: cr.Layer, at: list[float], slope: list[float]) -> None:
    np.testing.assert_allclose(slopes(layer, [at]), [slope], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layer", "values", "derivative"),
    [
        (cr.LeakyReLU(), [-10, 1000], [0.01, 1]),
        (cr.ELU(2.0), [-2, 1000], [0, 1]),
        (cr.SELU(), [-SCALE * ALPHA, 1000 * SCALE], [0, SCALE]),
        (cr.GELU(), [0, 1000], [0, 1]),
        (cr.GELU("tanh"), [0, 1000], [0, 1]),
        (cr.SiLU(), [0, 1000], [0, 1]),
        (cr.Softplus(), [0, 1000], [0, 1]),
        (cr.Softsign(), [-1000 / 1001, 1000 / 1001], [1001.0**-2, 1001.0**-2]),
        (cr.Hardtanh(), [-1, 1], [0, 0]),
        (cr.LogSoftmax(), [-2000, 0], [1, -1]),
    ],
    ids=str,
)
def test_saturated_inputs_give_the_limits(
    layer: cr.Layer, values: list[float], derivative: list[float], dtype: str
) -> None:
    model = model_of(layer, 2, dtype=dtype)
    x, rtol = np.array([[-1000.0, 1000.0]]), 1e-15 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(model.predict(x), [values], rtol=rtol, atol=0)
    _, gradients = model.gradients(x, np.asarray(model.predict(x)) - 1)
    np.testing.assert_allclose(gradients["input"], [derivative], rtol=100 * rtol, atol=0)


def test_every_activation_has_a_name_and_keeps_the_shape() -> None:
    from chainrule.nn.layers import ACTIVATIONS

    x = np.random.default_rng(0).normal(size=(3, 4))
    for name in set(ACTIVATIONS) - {"flatten"}:
        assert cr.Sequential(cr.Input(4), name).predict(x).shape == x.shape


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.LeakyReLU(float("nan")), ["LeakyReLU", "slope", "nan", "finite"]),
        (lambda: cr.LeakyReLU("0.1"), ["slope", "'0.1'", "LeakyReLU(slope=0.01)"]),
        (lambda: cr.ELU(float("inf")), ["ELU", "alpha", "inf", "ELU(alpha=1.0)"]),
        (lambda: cr.ELU(True), ["alpha", "True"]),
        (lambda: cr.GELU("erf"), ["GELU", "form", "'erf'", "'exact' or 'tanh'"]),
        (lambda: cr.Hardtanh(1, 1), ["Hardtanh", "low=1", "high=1"]),
        (lambda: cr.Hardtanh(high=-float("inf")), ["high", "-inf"]),
        (lambda: cr.SELU(alpha=1), ["SELU", "alpha"]),
        (lambda: cr.Sequential(cr.Input(), cr.LogSoftmax()), ["logsoftmax1", "axis besides the samples"]),
    ],
)
def test_a_bad_option_is_named_with_the_fix(build: Callable[[], Any], says: list[str]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert all(part in str(caught.value) for part in [*says, "fix"]), str(caught.value)


def test_an_option_of_numpys_is_a_number() -> None:
    np.testing.assert_allclose(slopes(cr.LeakyReLU(np.float32(0.5)), [[-1.0]]), [[0.5]])  # pyright: ignore[reportArgumentType]
