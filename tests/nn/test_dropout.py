"""Dropout, and the counter-based generator of everything that layers draw."""

# ruff: noqa: RUF012 (layers are written here as users write them)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.nn.agreement import draws
from tests.nn.layerwise import disagreements, extents, model_of

import chainrule as cr

WORD = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10, from the paper: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & WORD, (a >> 64) ^ c[3] ^ k[1], a & WORD]
        k = [(k[0] + 0x9E3779B97F4A7C15) & WORD, (k[1] + 0xBB67AE8584CAA73B) & WORD]
    return c


class Scale(cr.Layer):
    equation = "y[n, k] = g[k]*x[n, k]"
    init = {"g": cr.ones("k")}


class Noise(cr.Layer):
    equation = "y[n, k] = x[n, k] + u[n, k]"
    state = {"u": cr.uniform("n", "k")}


def two(first: int, rate: float = 0.5, dtype: str = "float64") -> cr.Model:
    """Two masks: one over `first` components and one over 9."""
    a, b = cr.Input(first), cr.Input(9)
    left, right = cr.Dropout(rate)(a), Scale()(cr.Dropout(rate)(b))
    return cr.Model([a, b], cr.Dense(9)(left) + right, loss="half_squared_error", dtype=dtype)


def drawn(model: cr.Model, seed: int, step: int, samples: int = 4, dtype: str = "float64") -> list[Any]:
    return list(draws(model, seed, step, samples, dtype).values())


@examples(15, 300)
@given(st.integers(0, 2**70), st.integers(0, 2**40), st.sampled_from([0.0, 0.1, 0.5, 0.999]))
def test_a_mask_is_the_documented_function_of_seed_tensor_step_and_place(seed: int, step: int, rate: float) -> None:
    for number, mask in enumerate(drawn(two(5, rate), seed, step, 3)):
        for i, value in enumerate(mask.ravel()):
            word = philox([1 + i // 4, 0, step, 0], [seed & WORD, number])[i % 4]
            assert value == float((word >> 11) / 2**53 < 1 - rate)


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 24), ("float64", 53)])
def test_uniform_numbers_are_the_first_bits_of_the_words(dtype: str, bits: int) -> None:
    (found,) = drawn(model_of(Noise(), 5), 7, 3, 2, dtype)
    assert found.dtype == dtype
    for i, value in enumerate(found.ravel()):
        word = philox([1 + i // 4, 0, 3, 0], [7, 0])[i % 4]
        assert value == (word >> (64 - bits)) / 2**bits


def test_masks_depend_on_the_seed_the_tensor_and_the_step_alone() -> None:
    model = two(9)
    first, second = drawn(model, 1, 0)
    for a, b in zip(drawn(model, 1, 0), drawn(two(9), 1, 0, dtype="float32"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first != second).any()
    assert (first != drawn(model, 2, 0)[0]).any()
    assert (first != drawn(model, 1, 1)[0]).any()
    # Another size of the first mask leaves the second, and more samples leave those there are.
    np.testing.assert_array_equal(second, drawn(two(50), 1, 0)[1])
    np.testing.assert_array_equal(second, drawn(model, 1, 0, samples=10)[1][:4])
    # Steps in another order, or left out.
    later = drawn(model, 1, 5)
    drawn(model, 1, 2)
    np.testing.assert_array_equal(later[0], drawn(model, 1, 5)[0])


def test_training_counts_its_steps() -> None:
    """With the loss Σ y the step of g is its mask, so training shows which masks it drew."""
    scale = 1 / 0.75
    model = cr.Sequential(
        cr.Input(40), cr.Dropout(0.25), Scale(), dtype="float64",
        loss="loss = sum[n, k](u[n, k]) + 0*sum[n, k](t[n, k])",
    )  # fmt: skip
    expected = np.ones(40)
    for step in range(6):
        expected -= scale * drawn(model, 9, step, 1)[0][0]
    model.fit(np.ones((1, 40)), np.zeros((1, 40)), epochs=6, batch_size=1, optimizer=cr.SGD(1.0), seed=9, verbose=False)
    np.testing.assert_allclose(model.parameters["scale1.g"], expected, rtol=1e-12)


def test_the_same_seed_trains_to_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6)), rng.integers(0, 3, 20)
    results: list[Any] = []
    for seed in (4, 4, 5):
        model = cr.Sequential(cr.Input(6), cr.Dense(8), cr.Dropout(0.3), cr.Dense(3), loss="softmax_cross_entropy")
        model.fit(x, y, epochs=2, batch_size=20, seed=seed, verbose=False)
        results.append(model.parameters["dense2.W"])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_the_share_of_ones_is_within_five_deviations(rate: float) -> None:
    (mask,) = drawn(model_of(cr.Dropout(rate), 500), 3, 0, 400)
    count, keep = mask.size, 1 - rate
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask.sum() - count * keep) <= 5 * np.sqrt(count * keep * rate)
    # Neighbours, and the same place in the next step, are independent.
    for other in (np.roll(mask, 1), drawn(model_of(cr.Dropout(rate), 500), 3, 1, 400)[0]):
        both = keep**2
        assert abs((mask * other).sum() - count * both) <= 5 * np.sqrt(3 * count * both * (1 - both))


@examples(2, 60)
@given(st.lists(extents, min_size=1, max_size=3), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.5, 0.3, 0.99]))
def test_gradients_are_those_of_the_masked_and_scaled_input(shape: list[int], samples: int, rate: float) -> None:
    model = model_of(cr.Dropout(rate), *shape)
    (mask,) = drawn(model, 0, 0, samples)
    assert disagreements(model, lambda p, x: x * mask / (1 - rate), samples=samples) == []
    x = np.random.default_rng(1).normal(size=(samples, *shape))
    np.testing.assert_array_equal(model.predict(x), x)
    assert model.evaluate(x, x)["loss"] == 0


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, 1.5, float("nan"), "0.5", None, True])
def test_a_rate_outside_0_to_1_is_refused(rate: Any) -> None:
    with pytest.raises(cr.ModelError) as caught:
        cr.Dropout(rate)
    assert all(part in str(caught.value) for part in ("Dropout", "rate", repr(rate), "[0, 1)", "fix"))
