"""What layers give for options that few networks have, against JAX and sums written out. That their gradients are those
of what they give is tested for every layer (test_every_layer.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainrule as cr

Given = dict[str, Any]
Case = tuple[tuple[int, ...], Any, Callable[[Any, Given], Any]]
NCHW = ("NCHW", "OIHW", "NCHW")


def pooled(x: Any, size: tuple[int, int], stride: tuple[int, int], pads: Any, kind: str, count: Any = None) -> Any:
    """XLA's reduction over windows; a mean divides by the number of cells that `count` holds."""

    def total(value: Any, start: float, function: Any) -> Any:
        return jax.lax.reduce_window(value, start, function, (1, 1, *size), (1, 1, *stride), [(0, 0), (0, 0), *pads])

    if kind == "max":
        return total(x, -jnp.inf, jax.lax.max)
    return total(x, 0.0, jax.lax.add) / total(jnp.ones_like(x) if count is None else count, 0.0, jax.lax.add)


def binned(x: Any, size: tuple[int, int], function: Any) -> Any:
    """Bins that share cells where sizes do not divide the extents."""
    pairs = zip(x.shape[2:], size, strict=True)
    cells = [[slice(i * e // s, -(-(i + 1) * e // s)) for i in range(s)] for e, s in pairs]
    return np.array([[function(x[..., a, b], (-2, -1)) for b in cells[1]] for a in cells[0]]).transpose(2, 3, 0, 1)


def transposed(x: Any, p: Given) -> Any:
    """Stride 2, dilation 2, padding 1, output padding 1, for each of two groups."""
    w, parts = jnp.flip(p["convtranspose2d1.W"], (2, 3)), []
    for k in range(2):
        kernel = w[2 * k : 2 * k + 2].transpose(1, 0, 2, 3)
        parts.append(jax.lax.conv_general_dilated(
            x[:, 2 * k : 2 * k + 2], kernel, (1, 1), [(3, 4), (3, 4)], (2, 2), (2, 2), dimension_numbers=NCHW
        ))
    return jnp.concatenate(parts, 1) + p["convtranspose2d1.b"][:, None, None]


def grouped(x: Any, p: Given, label: str, groups: int) -> Any:
    parts = x.reshape(len(x), groups, -1)
    z = (parts - parts.mean(-1, keepdims=True)) / jnp.sqrt(parts.var(-1, keepdims=True) + 1e-5)
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return z.reshape(x.shape) * p[f"{label}.gain"].reshape(shape) + p[f"{label}.b"].reshape(shape)


def attended(x: Any, p: Given) -> Any:
    q, k, v = x, jnp.tanh(x), jax.nn.sigmoid(x)
    s = 0.3 * q @ k.swapaxes(-1, -2) + x[..., :1] * jnp.ones(x.shape[-2]) + jnp.where(np.tri(x.shape[-2]) > 0, 0, -1e9)
    return jax.nn.softmax(s, -1) @ v


def attention(x: Any) -> Any:
    bias = cr.Equations("y[n, h, t, r<4] = x[n, h, t, 0]")(x)
    return cr.Attention(causal=True, scale=0.3)(x, cr.Tanh()(x), cr.Sigmoid()(x), bias)


PAIRS = ((1, 0), (2, 1))
BEYOND = ((1, 2), (1, 2))  # what ceil adds to one cell of padding, for 3 cells in steps of 2 of (6, 8)
IMAGE = (2, 5, 7)
CASES: dict[str, Case] = {
    "pairs of padding, convolved": (IMAGE, cr.Conv2d(3, 3, padding=PAIRS, bias=False), lambda x, p: (
        jax.lax.conv_general_dilated(x, p["conv2d1.W"], (1, 1), PAIRS, dimension_numbers=NCHW)
    )),
    "pairs of padding, pooled": (IMAGE, cr.MaxPool2d(3, 2, PAIRS), lambda x, p: (
        pooled(x, (3, 3), (2, 2), PAIRS, "max")
    )),
    "ceil, greatest": ((2, 6, 8), cr.MaxPool2d(3, 2, 1, ceil=True), lambda x, p: (
        pooled(x, (3, 3), (2, 2), BEYOND, "max")
    )),
    "ceil, mean of what is inside": ((2, 6, 8), cr.MeanPool2d(3, 2, 1, ceil=True), lambda x, p: (
        pooled(x, (3, 3), (2, 2), BEYOND, "mean")
    )),
    "ceil, mean of what is padded": ((2, 6, 8), cr.MeanPool2d(3, 2, 1, True, ceil=True), lambda x, p: (
        pooled(jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 2), ((0, 1), (0, 1)), "mean")
    )),
    "bins": (IMAGE, cr.AdaptiveMeanPool([3, 2]), lambda x, p: binned(x, (3, 2), np.mean)),
    "bins that share cells": ((2, 4, 6), cr.AdaptiveMaxPool([3, 2]), lambda x, p: binned(x, (3, 2), np.max)),
    "nearest": (IMAGE, cr.Upsample([2, 3]), lambda x, p: x.repeat(2, 2).repeat(3, 3)),
    "linear": (IMAGE, cr.Upsample([2, 3], "linear"), lambda x, p: jax.image.resize(x, (3, 2, 10, 21), "linear")),
    "linear between corners": ((1, 3), cr.Upsample([2], "linear", corners=True), lambda x, p: np.stack(
        [np.interp(np.linspace(0, 2, 6), np.arange(3), row) for row in x[:, 0]]
    )[:, None]),
    "transposed, groups, dilation": (
        (4, 3, 4), cr.ConvTranspose2d(6, 3, stride=2, padding=1, output_padding=1, dilation=2, groups=2), transposed,
    ),
    "group norm": ((6, 2, 3), cr.GroupNorm(3), lambda x, p: grouped(x, p, "groupnorm1", 3)),
    "instance norm": ((4, 5), cr.InstanceNorm(), lambda x, p: grouped(x, p, "instancenorm1", 4)),
    "attention": ((2, 4, 3), attention, attended),
    "prelu": ((3, 2), cr.PReLU(), lambda x, p: jnp.where(x > 0, x, p["prelu1.a"][:, None] * x)),
    "mish": ((5,), cr.Mish(), lambda x, p: x * jnp.tanh(jax.nn.softplus(x))),
    "hard swish": ((5,), cr.HardSwish(), lambda x, p: jax.nn.hard_swish(x)),
    "hard sigmoid": ((5,), cr.HardSigmoid(1 / 6, 0.5), lambda x, p: jax.nn.hard_sigmoid(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_layer_gives_what_its_definition_says(name: str) -> None:
    shape, build, expected = CASES[name]
    rng, start = np.random.default_rng(0), cr.Input(*shape)
    model = cr.Model(start, build(start), dtype="float64")
    for parameter, array in model.parameters.items():
        model.parameters[parameter] = array + rng.normal(size=array.shape)
    x = 2 * rng.normal(size=(3, *shape))
    wanted = np.asarray(expected(x, dict(model.parameters)))
    found = model.predict(x)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda x: cr.Conv2d(3, 3, padding=((1, 0), (1,)))(x), "padding"),  # pyright: ignore[reportArgumentType]
        (lambda x: cr.MaxPool2d(2, padding=((0, 3), (0, 0)))(x), "padding alone"),
        (lambda x: cr.AdaptiveMaxPool([3, 2])(x), "alike"),
        (lambda x: cr.AdaptiveMeanPool(3)(x), "list of 1 or 2"),  # pyright: ignore[reportArgumentType]
        (lambda x: cr.Upsample([2, 2], "cubic")(x), "mode"),  # pyright: ignore[reportArgumentType]
        (lambda x: cr.GroupNorm(4)(x), "does not divide"),
        (lambda x: cr.ConvTranspose2d(4, 3, groups=4)(x), "does not divide"),
        (lambda x: cr.Attention()(x, x), "3 or 4 inputs"),
        (lambda x: cr.Attention()(x, x, cr.MaxPool2d(2)(x)), "does not fit"),
        (lambda x: cr.Equations("y[n] = k", {"k": [0]})(x), "positive whole number"),
        (lambda x: cr.Equations("y[n, i] = __import__")(x), "underscore"),
    ],
)
def test_a_bad_option_is_named(build: Callable[[Any], Any], says: str) -> None:
    start = cr.Input(2, 5, 7)
    with pytest.raises(cr.ChainruleError, match=says):
        cr.Model(start, build(start))


def test_layers_may_have_names_and_no_two_the_same() -> None:
    start, first, second = cr.Input(3), cr.Dense(4), cr.Dense(2)
    first.label = "encoder"
    assert [*cr.Model(start, second(first(start))).parameters] == ["encoder.W", "encoder.b", "dense2.W", "dense2.b"]
    for label, says in (("encoder", "two layers"), ("a.b", "letters"), ("_a", "letters")):
        second.label = label
        with pytest.raises(cr.ModelError, match=says):
            cr.Model(start, second(first(start)))
