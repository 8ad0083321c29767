"""Pooling against JAX over drawn shapes and options, exactly in GF(p); ties, borders, conservation, bad options."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
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
from chainrule.nn.window import Window

Drawn = tuple[str, tuple[int, ...], int, tuple[int, ...], tuple[int, ...], Any, tuple[int, ...]]
LAYERS: dict[tuple[str, int], Any] = {
    ("max", 1): cr.MaxPool1d,
    ("max", 2): cr.MaxPool2d,
    ("mean", 1): cr.MeanPool1d,
    ("mean", 2): cr.MeanPool2d,
    ("mean with padding", 1): partial(cr.MeanPool1d, count_include_pad=True),
    ("mean with padding", 2): partial(cr.MeanPool2d, count_include_pad=True),
}


def squares(u: Any, t: Any) -> Any:
    return 0.5 * jnp.sum((u - t) ** 2) / len(u)


def pool(kind: str, x: Any, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Sequence[int]) -> Any:
    """What windows hold, gathered, and then reduced to the first of the greatest or to the mean."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    same = isinstance(padding, str)
    pads = jax.lax.padtype_to_pads(x.shape[2:], spans, stride, padding.upper()) if same else [(p, p) for p in padding]

    def held(x: Any, border: float) -> Any:
        padded = (*x.shape[:2], *(e + before + after for e, (before, after) in zip(x.shape[2:], pads, strict=True)))
        inside = (..., *(slice(before, before + e) for e, (before, _) in zip(x.shape[2:], pads, strict=True)))
        x, rank = jnp.full(padded, border).at[inside].set(x), len(size)
        for axis, (k, s, d, span) in enumerate(zip(size, stride, dilation, spans, strict=True)):
            places = np.arange(0, x.shape[2 + 2 * axis] - span + 1, s)[:, None] + d * np.arange(k)
            x = jnp.take(x, places, axis=2 + 2 * axis)
        x = jnp.moveaxis(x, range(3, 3 + 2 * rank, 2), range(2 + rank, 2 + 2 * rank))
        return x.reshape(*x.shape[: 2 + rank], -1)

    if kind == "max":
        cells = held(x, -jnp.inf)
        return jnp.take_along_axis(cells, cells.argmax(-1, keepdims=True), -1)[..., 0]
    total = held(x, 0.0).sum(-1)
    return total / (held(jnp.ones_like(x), 0.0).sum(-1) if kind == "mean" else float(np.prod(size)))


@st.composite
def pools(draw: st.DrawFn) -> Drawn:
    rank = draw(st.sampled_from([1, 2, 2]))
    size, stride, dilation, space = (draw(st.tuples(*[st.integers(1, most)] * rank)) for most in (4, 4, 3, 9))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(*(st.integers(0, s - 1) for s in spans))))
    pads = (0,) * rank if isinstance(padding, str) else padding
    assume(padding == "same" or all(e + 2 * p >= s for e, p, s in zip(space, pads, spans, strict=True)))
    channels, samples = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["max", "mean", "mean with padding"]))
    ones = pool("mean with padding", np.ones((1, 1, *space)), size, stride, padding, dilation)
    assume(ones.min() > 0)  # no window holds padding alone
    return kind, (channels, *space), samples, size, stride, padding, dilation


def check(
    kind: str, shape: tuple[int, ...], samples: int, size: tuple[int, ...], stride: tuple[int, ...], padding: Any,
    dilation: tuple[int, ...], seed: int,
) -> None:
    layer = LAYERS[kind, len(shape) - 1](size, stride, padding, dilation=dilation)
    model = cr.Sequential(cr.Input(*shape), layer, loss="half_squared_error", dtype="float64")
    rng = np.random.default_rng(seed)
    # Few different values, so that many maxima are tied.
    x = rng.integers(-2, 3, (samples, *shape)).astype(float) if seed % 2 else rng.normal(size=(samples, *shape))
    t = rng.normal(size=(samples, *map(int, model.network.logits.shape[1:])))
    expected = partial(pool, kind, size=size, stride=stride, padding=padding, dilation=dilation)
    assert disagreements(model, lambda p, x: expected(x), squares, x, t) == []
    assert gradients_are_exact(model.derive(), {"N": samples}, seed)


@given(pools(), st.integers(0, 99))
@examples(5, 1000)
def test_pools_agree_with_jax_and_are_exact(drawn: Drawn, seed: int) -> None:
    check(*drawn, seed)


def test_a_window_is_hollow_where_each_of_its_cells_is_padding() -> None:
    seen: set[bool] = set()
    for extent, size, stride, dilation, before, after in product(*map(range, (1, 1, 1, 1, 0, 0), (6, 4, 4, 4, 5, 4))):
        window = Window(extent, size, stride, dilation, before, after)
        starts = [stride * place - before for place in range(window.outputs)]
        reads = [[start + dilation * offset for offset in range(size)] for start in starts]
        assert window.hollow == any(all(not 0 <= cell < extent for cell in cells) for cells in reads)
        seen.add(window.hollow)
    assert seen == {True, False}
    assert not Window(1 << 62, 3, stride=2).hollow  # at once


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
        (lambda: built(cr.MaxPool2d(2, padding=2), 1, 4, 4), ("padding=2", "padding alone", "axis 2", "padding=1")),
        (lambda: built(cr.MeanPool1d(2, padding=2, dilation=3), 1, 1), ("padding=2", "padding alone", "less dilation")),
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
