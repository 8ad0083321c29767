"""Pooling against JAX over drawn shapes and options, exactly in GF(p); ties, borders, conservation, bad options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.derive.oracle import gradients_are_exact
from tests.examples import examples
from tests.nn.agreement import disagreements

import chainrule as cr

Drawn = tuple[str, tuple[int, ...], int, tuple[int, ...], tuple[int, ...], Any]
LAYERS: dict[tuple[str, int], Any] = {
    ("max", 1): cr.MaxPool1d,
    ("max", 2): cr.MaxPool2d,
    ("mean", 1): cr.MeanPool1d,
    ("mean", 2): cr.MeanPool2d,
    ("mean with padding", 1): lambda *options: cr.MeanPool1d(*options, count_include_pad=True),  # pyright: ignore[reportUnknownLambdaType]
    ("mean with padding", 2): lambda *options: cr.MeanPool2d(*options, count_include_pad=True),  # pyright: ignore[reportUnknownLambdaType]
}


def squares(u: Any, t: Any) -> Any:
    return 0.5 * jnp.sum((u - t) ** 2) / len(u)


def windows(size: Sequence[int], stride: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (1, 1, *size), (1, 1, *stride)


def pool(kind: str, x: Any, size: Sequence[int], stride: Sequence[int], padding: Any) -> Any:
    """XLA's reduction over windows."""
    pads = padding.upper() if isinstance(padding, str) else [(0, 0), (0, 0), *((p, p) for p in padding)]
    if kind == "max":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *windows(size, stride), pads)

    def total(value: Any) -> Any:
        return jax.lax.reduce_window(value, 0.0, jax.lax.add, *windows(size, stride), pads)

    return total(x) / (total(jnp.ones_like(x)) if kind == "mean" else float(np.prod(size)))


@st.composite
def pools(draw: st.DrawFn) -> Drawn:
    rank = draw(st.sampled_from([1, 2, 2]))
    size = draw(st.tuples(*[st.integers(1, 4)] * rank))
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(*(st.integers(0, k - 1) for k in size))))
    space = draw(st.tuples(*[st.integers(1, 9)] * rank))
    pads = (0,) * rank if isinstance(padding, str) else padding
    assume(padding == "same" or all(e + 2 * p >= k for e, p, k in zip(space, pads, size, strict=True)))
    kind = draw(st.sampled_from(["max", "mean", "mean with padding"]))
    return kind, (draw(st.integers(1, 3)), *space), draw(st.integers(1, 3)), size, draw(
        st.tuples(*[st.integers(1, 4)] * rank)
    ), padding


def check(
    kind: str, shape: tuple[int, ...], samples: int, size: tuple[int, ...], stride: tuple[int, ...], padding: Any,
    seed: int,
) -> None:
    layer = LAYERS[kind, len(shape) - 1](size, stride, padding)
    model = cr.Sequential(cr.Input(*shape), layer, loss="half_squared_error", dtype="float64")
    rng = np.random.default_rng(seed)
    # Few different values, so that many maxima are tied.
    x = rng.integers(-2, 3, (samples, *shape)).astype(float) if seed % 2 else rng.normal(size=(samples, *shape))
    t = rng.normal(size=(samples, *map(int, model.network.logits.shape[1:])))
    assert disagreements(model, lambda p, x: pool(kind, x, size, stride, padding), squares, x, t) == []
    assert gradients_are_exact(model.derive(), {"N": samples}, seed)


@given(pools(), st.integers(0, 99))
@examples(5, 1000)
def test_pools_agree_with_jax_and_are_exact(drawn: Drawn, seed: int) -> None:
    check(*drawn, seed)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 1, 1), (2, 3, 4), (2, 2, 3, 2)])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("layer", "reduce"), [(cr.GlobalMaxPool, jnp.max), (cr.GlobalMeanPool, jnp.mean)])
def test_global_pools(layer: Any, reduce: Any, shape: tuple[int, ...], samples: int) -> None:
    model = cr.Sequential(cr.Input(*shape), layer(), loss="half_squared_error", dtype="float64")
    rng = np.random.default_rng(len(shape))
    x, t = rng.normal(size=(samples, *shape)), rng.normal(size=(samples, shape[0]))
    assert disagreements(model, lambda p, x: reduce(x.reshape(*x.shape[:2], -1), axis=2), squares, x, t) == []
    assert gradients_are_exact(model.derive(), {"N": samples}, 1)


def input_gradient(layer: cr.Layer, x: Any, signal: Any) -> Any:
    """∂ℓ/∂x of one sample's single channel, where ∂ℓ/∂y is the signal: ℓ = ½(y − t)² with t = y − signal."""
    x, signal = np.array(x, float)[None, None], np.array(signal, float)[None, None]
    model = cr.Sequential(cr.Input(*x.shape[1:]), layer, loss="half_squared_error", dtype="float64")
    return model.gradients(x, model.predict(x) - signal)[1]["input"][0, 0]


def test_the_seeds_examples() -> None:
    """The article's window [[1, 3], [2, 0]] with the error signal 8."""
    window = [[1, 3], [2, 0]]
    np.testing.assert_array_equal(input_gradient(cr.MaxPool2d(2), window, [[8]]), [[0, 8], [0, 0]])
    np.testing.assert_array_equal(input_gradient(cr.MeanPool2d(2), window, [[8]]), [[2, 2], [2, 2]])


def test_the_first_maximum_wins_a_tie() -> None:
    np.testing.assert_array_equal(input_gradient(cr.MaxPool2d(2), [[5, 7], [7, 7]], [[8]]), [[0, 8], [0, 0]])
    np.testing.assert_array_equal(input_gradient(cr.MaxPool1d(3), [0.0, -0.0, 0.0], [8]), [8, 0, 0])


def test_overlapping_windows_add_up_at_a_shared_maximum() -> None:
    np.testing.assert_array_equal(input_gradient(cr.MaxPool1d(2, stride=1), [1, 3, 2], [5, 7]), [0, 12, 0])


def test_padding_never_wins_even_where_every_value_is_lower_than_any_number() -> None:
    low = -1e6
    gradient = input_gradient(cr.MaxPool1d(3, stride=2, padding=1), [low, low, low], [3, 4])
    np.testing.assert_array_equal(gradient, [3, 4, 0])


CONSERVING = [
    (cr.MaxPool2d(2), (6, 6)),
    (cr.MaxPool2d(3, stride=1, padding=1), (5, 4)),
    (cr.MaxPool2d(2, stride=3), (8, 8)),
    (cr.MaxPool2d(3, stride=2, padding="same"), (6, 7)),
    (cr.MeanPool2d(2), (6, 6)),
    (cr.MeanPool2d(3, stride=2, padding=1), (6, 7)),
    (cr.MeanPool2d(2, stride=3), (8, 8)),
    (cr.MeanPool2d(3, stride=1), (5, 5)),
]


def sums(layer: cr.Layer, space: tuple[int, int]) -> tuple[float, float]:
    """Σ ∂ℓ/∂x and Σ δ for a random sample and signal."""
    rng = np.random.default_rng(8)
    shape = cr.Sequential(cr.Input(1, *space), layer).network.logits.shape[2:]
    signal = rng.normal(size=tuple(int(e) for e in shape))
    return float(input_gradient(layer, rng.normal(size=space), signal).sum()), float(signal.sum())


@pytest.mark.parametrize(("layer", "space"), CONSERVING, ids=[str(layer) for layer, _ in CONSERVING])
def test_the_error_signal_is_conserved(layer: cr.Layer, space: tuple[int, int]) -> None:
    found, given = sums(layer, space)
    assert found == pytest.approx(given, rel=1e-12)


def test_a_divisor_that_counts_padding_loses_its_share() -> None:
    layer = cr.MeanPool2d(3, stride=2, padding=1, count_include_pad=True)
    found, given = sums(layer, (5, 5))
    assert abs(found - given) > 0.01
    # A corner window holds 4 real cells of 9, an edge window 6.
    kept = input_gradient(layer, np.zeros((5, 5)), [[9, 0, 0], [0, 0, 0], [0, 0, 0]]).sum()
    assert kept == pytest.approx(4)
    assert input_gradient(layer, np.zeros((5, 5)), [[0, 9, 0], [0, 0, 0], [0, 0, 0]]).sum() == pytest.approx(6)


def built(layer: cr.Layer, *shape: int) -> cr.Model:
    return cr.Sequential(cr.Input(*shape), layer)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.MaxPool2d(0), ("MaxPool2d", "size", "positive")),
        (lambda: cr.MaxPool2d(2, stride=-2), ("stride", "-2")),
        (lambda: cr.MaxPool2d((2, 2, 2)), ("size", "2 of them")),
        (lambda: cr.MaxPool2d(2, padding=2), ("padding=2", "padding alone", "padding=1")),
        (lambda: cr.MeanPool1d(3, padding="half"), ("padding", "'half'")),
        (lambda: built(cr.MaxPool2d(3), 1, 2, 5), ("maxpool2d1", "3", "padded input of 2", "axis 2")),
        (lambda: built(cr.MeanPool2d(2), 28, 28), ("meanpool2d1", "(N, 28, 28)")),
        (lambda: built(cr.GlobalMaxPool(), 28), ("globalmaxpool1", "(N, 28)")),
    ],
)
def test_a_bad_option_is_answered_with_the_fix(build: Any, says: tuple[str, ...]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert [part for part in says if part not in str(caught.value)] == []
    assert caught.value.fix
