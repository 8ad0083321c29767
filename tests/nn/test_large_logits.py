"""Losses and probabilities of large logits, in float32, against 50 digits: where what is large cancels, no digit of
what is left is lost, by either executor."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import chainrule as cr

LOGITS = np.array(
    [[1e4, 9999, 0], [1e4, 9999, 9998.5], [3e5, 299999, 300000.5], [20, -20, 17.25], [-1e4, -9999, -9999.75]],
    np.float32,
)
HARD = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
WEIGHTS = [1.0, 2.0, 0.75]
ROUNDING = 3e-7


class Identity(cr.Layer):
    equation = "y[n, k] = x[n, k]"


def exactly(u: Any, t: Any, weights: Any) -> Any:
    """−Σ w t log p with 50 digits."""
    with mpmath.workdps(50):
        numbers = [mpmath.mpf(float(x)) for x in u]
        total = max(numbers) + mpmath.log(mpmath.fsum(mpmath.exp(x - max(numbers)) for x in numbers))
        terms = zip(numbers, t, weights, strict=True)
        return float(mpmath.fsum(mpmath.mpf(float(w)) * float(s) * (total - x) for x, s, w in terms))


def values(loss: Any, u: Any, t: Any, executor: Any) -> float:
    model = cr.Sequential(cr.Input(3), Identity(), loss=loss)
    return model.evaluate(u[None], t[None], executor=executor)["loss"]


@pytest.mark.parametrize("executor", ["native", "numpy"])
@pytest.mark.parametrize("row", range(len(LOGITS)))
def test_cross_entropies_of_large_logits_keep_their_digits(row: int, executor: str) -> None:
    u, t = LOGITS[row], HARD[row]
    for loss, weights in (
        (cr.softmax_cross_entropy(), [1, 1, 1]), (cr.softmax_cross_entropy(class_weights=WEIGHTS), WEIGHTS),
        (cr.kl_divergence(), [1, 1, 1]),
    ):
        right = exactly(u, t, weights)
        assert values(loss, u, t, executor) == pytest.approx(right, rel=ROUNDING, abs=1e-7), loss


@pytest.mark.parametrize("executor", ["native", "numpy"])
def test_probabilities_and_gradients_of_large_logits_keep_their_digits(executor: Any) -> None:
    model = cr.Sequential(cr.Input(3), Identity(), loss="softmax_cross_entropy")
    with mpmath.workdps(50):
        shifted = [[mpmath.exp(mpmath.mpf(float(x)) - float(max(u))) for x in u] for u in LOGITS]
        right = np.array([[float(x / mpmath.fsum(row)) for x in row] for row in shifted])
    np.testing.assert_allclose(model.predict(LOGITS, executor=executor), right, rtol=0, atol=ROUNDING)
    _, found = model.gradients(LOGITS, HARD, executor=executor)
    np.testing.assert_allclose(found["input"] * len(LOGITS), right - HARD, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("executor", ["native", "numpy"])
def test_positions_of_a_sequence_too(executor: Any) -> None:
    """The mean over positions, of whose logarithms of sums each is a tensor's entry."""
    x = cr.Input(5, 3)
    layer = type("Identity2", (cr.Layer,), {"equation": "y[n, t, k] = x[n, t, k]"})
    model = cr.Model(x, layer()(x), loss="softmax_cross_entropy")
    right = np.mean([exactly(u, t, [1, 1, 1]) for u, t in zip(LOGITS, HARD, strict=True)])
    found = model.evaluate(LOGITS[None], HARD[None], executor=executor)["loss"]
    assert found == pytest.approx(right, rel=ROUNDING, abs=1e-7)


def test_a_logarithm_added_as_one_number_loses_them() -> None:
    """What the tests above refuse: the difference of two numbers of 10 000."""
    u, t = LOGITS[0], HARD[0]
    whole = np.float32(exactly(u, [1, 0, 0], [1, 1, 1]) + float(u[0]))
    assert abs(float(whole - np.float32(u @ t)) / exactly(u, t, [1, 1, 1]) - 1) > 100 * ROUNDING
