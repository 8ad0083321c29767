"""Reshape, Concat, and Dense over the last axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.nn.layerwise import LOSS, disagreements, extents, model_of

import chainrule as cr

SHAPES = [
    ((6,), (2, 3)), ((2, 3), (6,)), ((2, 3), (3, -1)), ((4, 3, 2), (-1,)), ((4, 3, 2), (2, 2, 3, 2)), ((2, 3), (2, 3)),
    ((1,), (1, -1, 1)), ((5,), (-1,)), ((2, 2, 3, 2), (3, -1, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "target"), SHAPES)
def test_reshape_keeps_the_order_of_rows(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(3, *shape))
    model = model_of(cr.Reshape(*target), *shape)
    np.testing.assert_array_equal(model.predict(x), x.reshape(3, *target))
    t = np.random.default_rng(1).normal(size=model.predict(x).shape)
    np.testing.assert_allclose(model.gradients(x, t)[1]["input"], (x - t.reshape(x.shape)) / 3, rtol=1e-15)


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=4), st.data())
def test_reshape_between_dense_layers(shape: list[int], data: st.DataObject) -> None:
    whole = data.draw(st.permutations(shape))
    at = data.draw(st.integers(0, len(shape) - 1))
    target = [-1 if i == at else extent for i, extent in enumerate(whole)]
    model = model_of([cr.Dense(math.prod(shape)), cr.Reshape(*whole), cr.Reshape(*target), cr.Dense(2)], *shape)

    def forward(p: dict[str, Any], x: Any) -> Any:
        h = x.reshape(len(x), -1) @ p["dense1.W"].T + p["dense1.b"]
        return h @ p["dense2.W"].T + p["dense2.b"]

    assert disagreements(model, forward, samples=2) == []


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=3), st.integers(1, 3), st.data())
def test_concat_of_any_number(shape: list[int], samples: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(1, len(shape)))
    widths = data.draw(st.lists(extents, min_size=1, max_size=4))
    inputs = [cr.Input(*shape[: axis - 1], width, *shape[axis:]) for width in widths]
    joined = cr.Concat(axis)(*inputs)
    model = cr.Model(inputs, cr.Dense(2)(joined), loss=LOSS, dtype="float64")

    def forward(p: dict[str, Any], *x: Any) -> Any:
        h = jnp.concatenate(x, axis)
        return h.reshape(len(h), -1) @ p["dense1.W"].T + p["dense1.b"]

    assert disagreements(model, forward, samples=samples) == []
    plain = cr.Model(inputs, joined)
    sizes = [tuple(2 if extent == "N" else int(extent) for extent in v.shape) for v in inputs]
    x: Any = tuple(np.random.default_rng(i).normal(size=size) for i, size in enumerate(sizes))
    np.testing.assert_array_equal(plain.predict(x if len(x) > 1 else x[0]), np.concatenate(x, axis).astype("float32"))


def test_a_value_joined_with_itself_adds_its_gradients() -> None:
    x = cr.Input(3)
    model = cr.Model(x, cr.Concat()(x, x), loss=LOSS, dtype="float64")
    value, target = np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 6))
    np.testing.assert_array_equal(model.gradients(value, target)[1]["input"], 2 * value)


@examples(2, 100)
@given(st.lists(extents, min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_dense_over_the_last_axis(shape: list[int], samples: int, units: int, bias: bool) -> None:
    model = model_of(cr.Dense(units, bias=bias, axes="last"), *shape)
    assert model.parameters["dense1.W"].shape == (units, shape[-1])
    assert disagreements(model, lambda p, x: x @ p["dense1.W"].T + p.get("dense1.b", 0.0), samples=samples) == []


def test_these_layers_are_saved_with_their_options(tmp_path: Path) -> None:
    x, y = cr.Input(2, 3), cr.Input(2, 3)
    h = cr.Dense(4, axes="last")(cr.Reshape(3, -1)(cr.Concat(2)(x, y)))
    model = cr.Model([x, y], h)
    model.save(tmp_path / "m")
    values = tuple(np.random.default_rng(i).normal(size=(2, 2, 3)) for i in range(2))
    np.testing.assert_array_equal(cr.load(tmp_path / "m").predict(values), model.predict(values))
    assert cr.Reshape(shape=[3, -1]).config == cr.Reshape(3, -1).config == {"shape": [3, -1]}


def joined(axis: Any, *shapes: tuple[int, ...]) -> Any:
    inputs = [cr.Input(*shape) for shape in shapes]
    return cr.Model(inputs, cr.Concat(axis)(*inputs))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: model_of(cr.Reshape(4, 2), 2, 3), ["reshape1", "(4, 2)", "6 components", "(N, 2, 3)", "product is 6"]),
        (lambda: model_of(cr.Reshape(4, -1), 2, 3), ["reshape1", "(4, -1)", "6 components", "divides 6"]),
        (lambda: model_of(cr.Reshape(7, -1), 2, 3), ["(7, -1)", "divides 6"]),
        (lambda: cr.Reshape(), ["Reshape", "one shape"]),
        (lambda: cr.Reshape(-1, -1), ["Reshape", "at most one -1"]),
        (lambda: cr.Reshape(0, 3), ["Reshape", "not 0"]),
        (lambda: cr.Reshape(2.5), ["Reshape", "2.5"]),
        (lambda: cr.Reshape(3, shape=[3]), ["Reshape", "one shape"]),
        (lambda: cr.Concat(0), ["Concat", "axis", "not 0", "samples"]),
        (lambda: cr.Concat(-1), ["Concat", "axis", "not -1"]),
        (lambda: cr.Concat()(), ["Concat", "at least 1", "given 0"]),
        (lambda: joined(2, (3,), (3,)), ["concat1", "axis=2", "(N, 3)", "axis=1"]),
        (lambda: joined(1, (3, 2), (3, 4)), ["concat1", "(N, 3, 2)", "(N, 3, 4)", "axis 1"]),
        (lambda: joined(1, (3,), (3, 4)), ["concat1", "(N, 3)", "(N, 3, 4)"]),
        (lambda: cr.Dense(3, axes="first"), ["Dense", "axes", "'first'", "'all' or 'last'"]),
        (lambda: model_of(cr.Dense(3, axes="last"), *()), ["dense1", "Input(1)"]),
    ],
)
def test_a_bad_option_is_named_with_the_fix(build: Callable[[], Any], says: list[str]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert all(part in str(caught.value) for part in [*says, "fix"]), str(caught.value)
