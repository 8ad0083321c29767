"""Embeddings and attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.nn.layerwise import LOSS, disagreements, extents, model_of, randomised

import chainrule as cr

P = "multiheadattention1."


def attention(heads: int, causal: bool) -> Callable[..., Any]:
    """jax.nn.dot_product_attention takes its softmax in float32, so it is written out here."""

    def forward(p: dict[str, Any], *inputs: Any) -> Any:
        def project(name: str, x: Any) -> Any:
            u = x @ p[f"{P}W{name}"].T + p.get(f"{P}b{name}", 0.0)
            return u if name == "o" else u.reshape(*u.shape[:2], heads, -1)

        q, k, v = (project(name, x) for name, x in zip("qkv", (inputs[0], inputs[-1], inputs[-1]), strict=True))
        scores = jnp.einsum("nthc,nrhc->nhtr", q, k) / jnp.sqrt(q.shape[-1])
        if causal:
            scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
        o = jnp.einsum("nhtr,nrhc->nthc", jax.nn.softmax(scores), v)
        return project("o", o.reshape(*o.shape[:2], -1))

    return forward


@examples(2, 100)
@given(extents, extents, extents, st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_self_attention(
    positions: int, width: int, per_head: int, heads: int, samples: int, causal: bool, bias: bool, given_units: bool
) -> None:
    units = heads * per_head
    layer = cr.MultiHeadAttention(heads, units if given_units else None, causal, bias)
    model = model_of(layer, positions, width if given_units else units)
    assert disagreements(model, attention(heads, causal), samples=samples, scales=(0.5, 2.0)) == []


@examples(2, 100)
@given(extents, extents, extents, extents, st.sampled_from([(1, 1), (2, 4), (3, 3), (2, 6)]), st.booleans())
def test_attention_to_a_context(
    asks: int, keys: int, width: int, other: int, heads: tuple[int, int], causal: bool
) -> None:
    keys = asks if causal else keys
    x, z = cr.Input(asks, width), cr.Input(keys, other)
    out = cr.MultiHeadAttention(heads[0], heads[1], causal=causal)(x, z)
    model = cr.Model([x, z], out, loss=LOSS, dtype="float64")
    assert disagreements(model, attention(heads[0], causal), samples=2, scales=(0.5, 2.0)) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_future_of_a_causal_position_has_gradient_0(at: int, dtype: str) -> None:
    model = cr.Sequential(
        cr.Input(5, 4), cr.MultiHeadAttention(2, causal=True), dtype=dtype,
        loss=f"loss = sum[n, k]((u[n, {at}, k] - t[n, {at}, k])**2)",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, t = 10 * rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 5, 4))
    gradient = model.gradients(x, t)[1]["input"]
    assert (gradient[:, at + 1 :] == 0).all()
    assert (gradient[:, : at + 1] != 0).any(axis=(0, 2)).all()
    changed = x.copy()
    changed[:, at + 1 :] = 7
    np.testing.assert_array_equal(model.predict(changed)[:, : at + 1], model.predict(x)[:, : at + 1])


@pytest.mark.parametrize("causal", [False, True])
def test_scores_of_1000_give_finite_values_and_gradients(causal: bool) -> None:
    model = randomised(model_of(cr.MultiHeadAttention(2, causal=causal), 3, 4), np.random.default_rng(0))
    x = 1000 * np.random.default_rng(1).normal(size=(2, 3, 4))
    loss, gradients = model.gradients(x, x)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())


def test_one_position_attends_to_itself_alone() -> None:
    model = randomised(model_of(cr.MultiHeadAttention(2), 1, 4), np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 1, 4))
    p = {name.removeprefix(P): np.asarray(value) for name, value in model.parameters.items()}
    value = (x @ p["Wv"].T + p["bv"]) @ p["Wo"].T + p["bo"]
    np.testing.assert_allclose(model.predict(x), value, rtol=1e-12)
    gradients = model.gradients(x, x)[1]
    for name in ("Wq", "Wk", "bq", "bk"):
        assert np.abs(gradients[P + name]).max() < 1e-12


def test_the_shapes_of_attention_are_outputs_first() -> None:
    model = model_of(cr.MultiHeadAttention(2, 6), 5, 3)
    shapes = {name.removeprefix(P): value.shape for name, value in model.parameters.items()}
    weights = {"Wq": (6, 3), "Wk": (6, 3), "Wv": (6, 3), "Wo": (6, 6)}
    assert shapes == weights | dict.fromkeys(("bq", "bk", "bv", "bo"), (6,))
    assert model.predict(np.zeros((1, 5, 3))).shape == (1, 5, 6)


@examples(2, 100)
@given(st.lists(extents, max_size=2), st.integers(1, 6), extents, st.integers(1, 4))
def test_embedding(shape: list[int], entries: int, units: int, samples: int) -> None:
    x = cr.Input(*shape, dtype="integer")
    model = cr.Model(x, cr.Embedding(entries, units)(x), loss=LOSS, dtype="float64")
    assert disagreements(model, lambda p, ids: p["embedding1.E"][ids], samples=samples, entries=entries) == []


def test_repeated_entries_add_their_gradients() -> None:
    x = cr.Input(4, dtype="integer")
    model = cr.Model(x, cr.Embedding(5, 2)(x), loss=LOSS, dtype="float64")
    ids = np.array([[1, 3, 1, 1], [3, 0, 1, 3]])
    _, gradients = model.gradients(ids, model.predict(ids) - 2)  # δ = (y − t)/2 = 1
    np.testing.assert_allclose(gradients["embedding1.E"], np.array([[1] * 2, [4] * 2, [0] * 2, [3] * 2, [0] * 2]))
    assert set(gradients) == {"embedding1.E"}


def test_an_entry_out_of_range_is_named() -> None:
    x = cr.Input(4, dtype="integer")
    model = cr.Model(x, cr.Embedding(5, 2)(x))
    for wrong in (5, -1):
        with pytest.raises(cr.DataError, match=rf"input\[0, 2\] is {wrong}, outside 0 … 4"):
            model.predict(np.array([[1, 3, wrong, 1]]))


@examples(2, 100)
@given(extents, extents, st.integers(1, 3))
def test_position_embedding(positions: int, width: int, samples: int) -> None:
    assert disagreements(
        model_of(cr.PositionEmbedding(), positions, width), lambda p, x: x + p["positionembedding1.P"], samples=samples
    ) == []


@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_block(causal: bool) -> None:
    ids = cr.Input(4, dtype="integer")
    x = cr.PositionEmbedding()(cr.Embedding(6, 4)(ids))
    h = x + cr.MultiHeadAttention(2, causal=causal)(cr.LayerNorm()(x))
    h = h + cr.Dense(4, axes="last")(cr.GELU()(cr.Dense(8, axes="last")(cr.LayerNorm()(h))))
    model = cr.Model(ids, cr.Dense(3)(h), loss=LOSS, dtype="float64")

    def norm(p: dict[str, Any], name: str, x: Any) -> Any:
        z = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return p[f"{name}.g"] * z + p[f"{name}.b"]

    def dense(p: dict[str, Any], name: str, x: Any) -> Any:
        return x @ p[f"{name}.W"].T + p[f"{name}.b"]

    def forward(p: dict[str, Any], ids: Any) -> Any:
        x = p["embedding1.E"][ids] + p["positionembedding1.P"]
        h = x + attention(2, causal)(p, norm(p, "layernorm1", x))
        u = jax.nn.gelu(dense(p, "dense1", norm(p, "layernorm2", h)), approximate=False)
        h = h + dense(p, "dense2", u)
        return dense(p, "dense3", h.reshape(len(h), -1))

    assert disagreements(model, forward, samples=2, entries=6, scales=(1.0, 1.0)) == []


def test_a_sequence_model_is_saved_and_learns(tmp_path: Path) -> None:
    ids = cr.Input(5, dtype="integer")
    x = cr.PositionEmbedding()(cr.Embedding(4, 8)(ids))
    model = cr.Model(ids, cr.Dense(2)(x + cr.MultiHeadAttention(2)(x)), loss="softmax_cross_entropy", seed=1)
    data = np.random.default_rng(0).integers(0, 4, (64, 5))
    history = model.fit(data, (data == 3).any(1).astype(int), epochs=8, verbose=False)
    assert history.loss[-1] < 0.7 * history.loss[0]
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(cr.load(tmp_path / "m").predict(data), model.predict(data))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.Embedding(0, 4), ["Embedding", "entries", "not 0"]),
        (lambda: cr.Embedding(4, -1), ["Embedding", "units", "not -1"]),
        (lambda: model_of(cr.Embedding(4, 2), 7), ["embedding1", "whole numbers", 'cr.Input(7, dtype="integer")']),
        (lambda: model_of(cr.Embedding(4, 2), *()), ["embedding1", 'cr.Input(dtype="integer")']),
        (lambda: model_of(cr.PositionEmbedding(), 7), ["positionembedding1", "(N, T, D)", "(N, 7)"]),
        (lambda: cr.MultiHeadAttention(3, 8), ["MultiHeadAttention", "heads=3", "units=8", "units=6, or heads=1"]),
        (lambda: cr.MultiHeadAttention(4, 2), ["heads=4", "units=2", "units=4, or heads=2"]),
        (lambda: cr.MultiHeadAttention(0), ["MultiHeadAttention", "heads", "not 0"]),
        (lambda: cr.MultiHeadAttention(2, 4.5), ["units", "4.5"]),
        (lambda: cr.MultiHeadAttention(2, init="glorott"), ["glorott", "'glorot'"]),
        (lambda: model_of(cr.MultiHeadAttention(3), 5, 8), ["multiheadattention1", "heads=3", "units=8", "(N, 5, 8)"]),
        (lambda: model_of(cr.MultiHeadAttention(2), 8), ["multiheadattention1", "(N, T, D)", "(N, 8)"]),
        (lambda: cr.MultiHeadAttention(2)(*[cr.Input(3, 4)] * 3), ["1 or 2 inputs", "given 3"]),
        (lambda: cr.MultiHeadAttention(2)(), ["at least 1", "given 0"]),
        (
            lambda: cr.MultiHeadAttention(2, causal=True)(a := cr.Input(3, 4), b := cr.Input(5, 4))
            and cr.Model([a, b], cr.MultiHeadAttention(2, causal=True)(a, b)),
            ["causal=True", "(N, 3, 4)", "(N, 5, 4)"],
        ),
    ],
)
def test_a_bad_option_is_named_with_the_fix(build: Callable[[], Any], says: list[str]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert all(part in str(caught.value) for part in [*says, "fix"]), str(caught.value)
