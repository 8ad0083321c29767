"""Loss and gradients of every vocabulary item against JAX in float64, to 1e-10, over random shapes and batch 1."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.examples import few
from tests.nn.agreement import Tree, dense, disagreements, flat

import chainrule as cr


def softmax_loss(u: Any, t: Any) -> Any:
    return jnp.mean(jax.nn.logsumexp(u, axis=1) - jnp.sum(t * u, axis=1))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "half_squared_error": lambda u, t: jnp.mean(0.5 * jnp.sum((u - t) ** 2, axis=tuple(range(1, u.ndim)))),
    "mean_squared_error": lambda u, t: jnp.mean((u - t) ** 2),
    "binary_cross_entropy": lambda u, t: jnp.mean(jax.nn.softplus(u) - t * u),
    "softmax_cross_entropy": softmax_loss,
}


SHAPES = [(1, 1, 1), (1, 5, 3), (7, 4, 2), (3, 9, 6)]


FUNCTIONS: dict[type[cr.Layer], Callable[[Any], Any]] = {
    cr.Sigmoid: jax.nn.sigmoid, cr.Tanh: jnp.tanh, cr.ReLU: jax.nn.relu, cr.Softmax: jax.nn.softmax, cr.Flatten: flat,
}


@pytest.mark.parametrize(("layer", "function", "shape"), few([(*f, s) for f in FUNCTIONS.items() for s in SHAPES], 3))
def test_activations(layer: Any, function: Any, shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    rng = np.random.default_rng([n, k, m])
    x, t = rng.normal(size=(n, k)), rng.normal(size=(n, m))
    model = cr.Sequential(cr.Input(k), cr.Dense(m), layer(), loss="half_squared_error", dtype="float64", seed=n)
    assert disagreements(model, lambda p, x: function(dense(p, "dense1", x)), LOSSES["half_squared_error"], x, t) == []


@pytest.mark.parametrize(
    ("layer", "samples", "rank"), few(product(["sigmoid", "tanh", "relu", "softmax"], [1, 4], [2, 3, 4]), 5)
)
def test_activations_of_any_rank(layer: str, rank: int, samples: int) -> None:
    shape = (2, 3, 4, 2)[:rank]
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(samples, *shape))
    function: Any = getattr(jax.nn, layer) if layer != "tanh" else jnp.tanh
    model = cr.Sequential(cr.Input(*shape), layer, loss="mean_squared_error", dtype="float64")
    t = rng.normal(size=x.shape)
    assert disagreements(model, lambda p, x: function(x), LOSSES["mean_squared_error"], x, t) == []


@pytest.mark.parametrize(
    ("samples", "bias", "shape"),
    few(product([1, 5], [True, False], [(4,), (1,), (2, 3), (1, 3, 2), (2, 1, 1), (2, 2, 1, 3)]), 5),
)
def test_dense_contracts_over_every_axis(shape: tuple[int, ...], samples: int, bias: bool) -> None:
    rng = np.random.default_rng(len(shape))
    x, t = rng.normal(size=(samples, *shape)), rng.normal(size=(samples, 3))
    model = cr.Sequential(cr.Input(*shape), cr.Dense(3, bias=bias), loss="half_squared_error", dtype="float64")
    assert disagreements(model, lambda p, x: dense(p, "dense1", x), LOSSES["half_squared_error"], x, t) == []


@pytest.mark.parametrize(("name", "shape"), few(product(LOSSES, SHAPES), 3))
def test_losses(name: str, shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    m = max(m, 2) if name == "softmax_cross_entropy" else m  # a single class is refused
    rng = np.random.default_rng([9, n, k, m])
    x = rng.normal(size=(n, k))
    t: Any = rng.normal(size=(n, m))
    if name == "binary_cross_entropy":
        t = rng.integers(0, 2, (n, m)).astype(float)
    if name == "softmax_cross_entropy":
        t = np.eye(m)[rng.integers(0, m, n)]
    model = cr.Sequential(cr.Input(k), cr.Dense(m), loss=name, dtype="float64")
    assert disagreements(model, lambda p, x: dense(p, "dense1", x), LOSSES[name], x, t) == []


def test_soft_targets() -> None:
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(3), 5)
    model = cr.Sequential(cr.Input(4), cr.Dense(3), loss="softmax_cross_entropy", dtype="float64")
    assert disagreements(model, lambda p, x: dense(p, "dense1", x), softmax_loss, x, t) == []


def test_squared_error_with_weight_decay() -> None:
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    model = cr.Sequential(
        cr.Input(4), cr.Dense(3, l2=0.5), cr.Tanh(), cr.Dense(2), loss="mean_squared_error", l2=0.03, dtype="float64"
    )

    def forward(p: Tree, x: Any) -> Any:
        return dense(p, "dense2", jnp.tanh(dense(p, "dense1", x)))

    def decay(p: Tree) -> Any:
        return 0.25 * jnp.sum(p["dense1.W"] ** 2) + 0.015 * jnp.sum(p["dense2.W"] ** 2)

    assert disagreements(model, forward, LOSSES["mean_squared_error"], x, t, penalty=decay) == []


@pytest.mark.parametrize("samples", [1, 6])
def test_a_skip_connection(samples: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(samples, 4)), rng.integers(0, 3, samples)
    start = cr.Input(4)
    h = cr.Sigmoid()(cr.Dense(4)(start))
    model = cr.Model(start, cr.Dense(3)(h + start), loss="softmax_cross_entropy", dtype="float64")

    def forward(p: Tree, x: Any) -> Any:
        return dense(p, "dense2", jax.nn.sigmoid(dense(p, "dense1", x)) + x)

    assert disagreements(model, forward, softmax_loss, x, y, np.eye(3)[y]) == []


def test_a_layer_used_twice_shares_its_parameters() -> None:
    rng = np.random.default_rng(4)
    x, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    start, layer = cr.Input(3), cr.Dense(3)
    model = cr.Model(start, layer(cr.Tanh()(layer(start))), loss="half_squared_error", dtype="float64")
    assert list(model.parameters) == ["dense1.W", "dense1.b"]

    def forward(p: Tree, x: Any) -> Any:
        return dense(p, "dense1", jnp.tanh(dense(p, "dense1", x)))

    assert disagreements(model, forward, LOSSES["half_squared_error"], x, t) == []


def test_a_value_added_to_itself_counts_twice() -> None:
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    start = cr.Input(3)
    u = cr.Dense(2)(start)
    model = cr.Model(start, u + u, loss="half_squared_error", dtype="float64")
    assert disagreements(model, lambda p, x: 2 * dense(p, "dense1", x), LOSSES["half_squared_error"], x, t) == []


def test_two_inputs() -> None:
    rng = np.random.default_rng(7)
    a, b = cr.Input(3), cr.Input(2, 2)
    model = cr.Model([a, b], cr.Dense(2)(a) + cr.Dense(2)(b), loss="half_squared_error", dtype="float64")
    x, t = (rng.normal(size=(4, 3)), rng.normal(size=(4, 2, 2))), rng.normal(size=(4, 2))
    _, ours = model.gradients(x, t)
    p = dict(model.parameters)
    delta = (dense(p, "dense1", x[0]) + dense(p, "dense2", x[1]) - t) / 4
    np.testing.assert_allclose(ours["input1"], delta @ p["dense1.W"], rtol=1e-10)
    np.testing.assert_allclose(ours["input2"], (delta @ p["dense2.W"]).reshape(4, 2, 2), rtol=1e-10)


def test_a_loss_of_ones_own() -> None:
    rng = np.random.default_rng(8)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    model = cr.Sequential(
        cr.Input(3), cr.Dense(2), loss="loss = mean[n](sum[k]((u[n, k] - t[n, k])**4))", dtype="float64"
    )
    def loss(u: Any, t: Any) -> Any:
        return jnp.mean(jnp.sum((u - t) ** 4, axis=1))

    assert disagreements(model, lambda p, x: dense(p, "dense1", x), loss, x, t) == []
