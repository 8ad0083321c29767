"""Updates against optax, and what a schedule and a momentum mean."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

import chainrule as cr


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_steps_agree_with_optax(momentum: float) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="half_squared_error", dtype="float64")
    start: Any = {name: np.array(value) for name, value in model.parameters.items()}
    rule = optax.sgd(0.1, momentum=momentum or None)
    state = rule.init(start)

    def loss(p: Any) -> Any:
        return 0.5 * (((x @ p["dense1.W"].T + p["dense1.b"] - t) ** 2).sum(axis=1)).mean()

    for _ in range(5):
        updates, state = rule.update(jax.grad(loss)(start), state)
        start = optax.apply_updates(start, updates)
    model.fit(x, t, epochs=5, batch_size=8, optimizer=cr.SGD(0.1, momentum=momentum), verbose=False)
    for name, value in start.items():
        np.testing.assert_allclose(model.parameters[name], value, rtol=1e-10)


def test_a_schedule_gives_the_rate_of_each_step() -> None:
    steps: list[int] = []

    def rate(step: int) -> float:
        steps.append(step)
        return 0.0

    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="half_squared_error")
    before = dict(model.parameters)
    model.fit(np.ones((5, 3)), np.ones((5, 2)), epochs=2, batch_size=2, optimizer=cr.SGD(rate), verbose=False)
    assert steps == [0, 1, 2, 3, 4, 5]
    for name, value in before.items():
        np.testing.assert_array_equal(model.parameters[name], value)


def test_a_schedule_that_gives_no_number_is_refused() -> None:
    with pytest.raises(cr.ModelError, match="step 3"):
        cr.SGD(lambda step: float("nan")).rate_at(3)
