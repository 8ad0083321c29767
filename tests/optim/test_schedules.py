"""Schedules against optax, over all their steps and some beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

import chainrule as cr


def joined(inner: Any, steps: int, start: float = 0.0) -> Any:
    return optax.join_schedules([optax.linear_schedule(start, float(inner(0)), steps), inner], [steps])


CASES: list[tuple[Any, Any, int]] = [
    (cr.step_decay(0.1, 4, 0.5), optax.exponential_decay(0.1, 4, 0.5, staircase=True), 14),
    (cr.step_decay(0.1, 1), optax.exponential_decay(0.1, 1, 0.1, staircase=True), 8),
    (cr.step_decay(0.3, 3, 1), optax.constant_schedule(0.3), 8),
    (cr.cosine(0.1, 10), optax.cosine_decay_schedule(0.1, 10), 15),
    (cr.cosine(0.2, 7, 0.05), optax.cosine_decay_schedule(0.2, 7, alpha=0.25), 12),
    (cr.cosine(0.2, 1), optax.cosine_decay_schedule(0.2, 1), 4),
    (cr.warm_up(0.4, 5), joined(optax.constant_schedule(0.4), 5), 9),
    (cr.warm_up(0.4, 1, start=0.1), joined(optax.constant_schedule(0.4), 1, 0.1), 4),
    (cr.warm_up(cr.cosine(0.1, 6), 4), joined(optax.cosine_decay_schedule(0.1, 6), 4), 14),
    (cr.warm_up(cr.cosine(0.1, 6, 0.01), 4, 0.02), optax.warmup_cosine_decay_schedule(0.02, 0.1, 4, 10, 0.01), 14),
    (cr.warm_up(cr.step_decay(0.1, 3), 2), joined(optax.exponential_decay(0.1, 3, 0.1, staircase=True), 2), 12),
    (cr.one_cycle(0.1, 10), optax.cosine_onecycle_schedule(10, 0.1), 14),
    (cr.one_cycle(0.3, 13, 0.45, 10, 100), optax.cosine_onecycle_schedule(13, 0.3, 0.45, 10, 100), 17),
    (cr.one_cycle(0.3, 2, 0.1), optax.cosine_onecycle_schedule(2, 0.3, 0.1), 5),
    (cr.one_cycle(0.3, 1), optax.cosine_onecycle_schedule(1, 0.3), 4),
    (cr.one_cycle(0.3, 5, 0.99), optax.cosine_onecycle_schedule(5, 0.3, 0.99), 8),
]


@pytest.mark.parametrize(("ours", "theirs", "steps"), CASES, ids=[repr(ours) for ours, _, _ in CASES])
def test_the_rates_are_those_of_optax(ours: Any, theirs: Any, steps: int) -> None:
    mine = [ours(step) for step in range(steps)]
    assert all(type(rate) is float for rate in mine)
    # The end of a cosine is 0 up to the rounding of the rate.
    np.testing.assert_allclose(mine, [float(theirs(step)) for step in range(steps)], rtol=1e-9, atol=1e-17)


def test_the_comparison_refuses_a_schedule_one_step_late() -> None:
    other: Any = optax.cosine_decay_schedule(0.1, 10)
    late = [float(other(step + 1)) for step in range(10)]
    assert not np.isclose([cr.cosine(0.1, 10)(step) for step in range(10)], late, rtol=1e-3).any()


def test_a_warm_up_starts_at_zero_and_reaches_the_rate() -> None:
    schedule = cr.warm_up(0.5, 4)
    assert [schedule(step) for step in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert cr.cosine(0.5, 4)(4) == 0


def test_schedules_print_as_they_are_written() -> None:
    schedule = cr.warm_up(cr.cosine(0.1, steps=100), steps=10)
    assert repr(schedule) == "warm_up(then=cosine(rate=0.1, steps=100, floor=0.0), steps=10, start=0.0)"
    assert "one_cycle(peak=0.1, steps=9" in repr(cr.Adam(cr.one_cycle(0.1, 9)))


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: cr.step_decay(0, 10), "rate"),
        (lambda: cr.step_decay(float("inf"), 10), "rate"),
        (lambda: cr.step_decay(0.1, 0), "every"),
        (lambda: cr.step_decay(0.1, 2.5), "every"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.step_decay(0.1, 2, 1.5), "factor"),
        (lambda: cr.step_decay(0.1, 2, 0), "factor"),
        (lambda: cr.cosine(-1, 10), "rate"),
        (lambda: cr.cosine(0.1, -10), "steps"),
        (lambda: cr.cosine(0.1, True), "steps"),
        (lambda: cr.cosine(0.1, 10, 0.2), "floor"),
        (lambda: cr.cosine(0.1, 10, -0.2), "floor"),
        (lambda: cr.warm_up("fast", 10), "then"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.warm_up(0, 10), "then"),
        (lambda: cr.warm_up(0.1, 0), "steps"),
        (lambda: cr.warm_up(0.1, 10, float("nan")), "start"),
        (lambda: cr.one_cycle(0, 10), "peak"),
        (lambda: cr.one_cycle(0.1, 0), "steps"),
        (lambda: cr.one_cycle(0.1, 10, 1.0), "rise"),
        (lambda: cr.one_cycle(0.1, 10, 0.0), "rise"),
        (lambda: cr.one_cycle(0.1, 10, 0.3, 0.5), "start_divisor"),
        (lambda: cr.one_cycle(0.1, 10, 0.3, 25, 0), "end_divisor"),
    ],
)
def test_bad_options_are_named_with_the_fix(make: Any, option: str) -> None:
    with pytest.raises(cr.ModelError, match=option) as error:
        make()
    assert error.value.about and error.value.fix
