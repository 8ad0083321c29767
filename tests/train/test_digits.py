"""Real handwritten digits: the split, and what the network learns."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.models import read_model_file
from chainrule.train.run import Choices, optimizer_for, scheduled


def test_the_split_is_fixed_stratified_and_disjoint() -> None:
    x, y, x_test, y_test = cr.digits()
    again = cr.digits()
    assert all(np.array_equal(a, b) for a, b in zip((x, y, x_test, y_test), again, strict=True))
    assert (len(x) + len(x_test), x.shape[1]) == (1797, 64)
    assert (x.min(), x.max()) == (0, 1)
    assert len(x_test) / 1797 == pytest.approx(0.2, abs=0.01)
    fractions = np.bincount(y_test) / (np.bincount(y) + np.bincount(y_test))
    assert np.abs(fractions - 0.2).max() < 0.01


def test_at_least_97_percent_of_the_held_out_digits_are_recognised() -> None:
    x, y, x_test, y_test = cr.digits()
    file = read_model_file("mlp")
    plan, steps = scheduled(file.training, len(x), Choices())
    assert (plan.epochs, plan.batch_size, plan.rate, plan.validation, plan.patience) == (147, 32, 0.03, 0.1, 50)
    optimizer, model = optimizer_for(plan, steps), file.build()
    assert optimizer == cr.Adam(cr.cosine(0.03, steps)) and steps == 147 * 41
    history = model.fit(
        x, y, epochs=plan.epochs, batch_size=plan.batch_size, optimizer=optimizer, verbose=False,
        validation_split=plan.validation, patience=plan.patience,
    )
    assert history.stopped == "EarlyStopping"
    assert model.evaluate(x_test, y_test)["accuracy"] >= 0.97
