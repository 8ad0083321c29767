"""What an optimizer accepts, and what `fit` accepts for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.ir.expr import Tensor
from chainrule.optim.named import OPTIMIZERS, optimizer_named
from chainrule.optim.optimizer import Optimizer

NAN, INF = float("nan"), float("inf")
ALL: list[Any] = [cr.SGD, cr.Adagrad, cr.RMSProp, cr.Adam, cr.AdamW]


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize(
    "options",
    [
        *({"rate": bad} for bad in (0, -1, NAN, INF, "fast", None, True)),
        *({clip: bad} for clip in ("clip_value", "clip_norm") for bad in (0, -1.0, NAN, INF, "1", 1e-40, False)),
    ],
)
def test_what_all_optimizers_refuse(rule: Any, options: dict[str, Any]) -> None:
    with pytest.raises(cr.ModelError, match=next(iter(options))) as error:
        rule(**options)
    assert error.value.about == rule.__name__
    assert f"{rule.__name__}(" in error.value.fix


@pytest.mark.parametrize(
    ("rule", "option", "values"),
    [
        (cr.SGD, "momentum", (1, -0.1, NAN, "a", None)),
        (cr.SGD, "nesterov", ("yes", None, 2)),
        (cr.Adagrad, "initial", (-1, NAN, INF, "a")),
        (cr.Adagrad, "epsilon", (0, -1e-7, NAN, 1e-50)),
        (cr.RMSProp, "decay", (1, -0.1)),
        (cr.RMSProp, "momentum", (1, -0.1)),
        (cr.RMSProp, "epsilon", (0,)),
        (cr.Adam, "beta1", (1, -0.1, NAN)),
        (cr.Adam, "beta2", (1.0, -0.1, "a")),
        (cr.Adam, "epsilon", (0, INF)),
        (cr.AdamW, "weight_decay", (-0.1, NAN, INF)),
        (cr.AdamW, "beta2", (1.0,)),
    ],
)
def test_bad_options_are_named_with_the_fix(rule: Any, option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(cr.ModelError, match=option) as error:
            rule(**{option: value})
        assert error.value.about == rule.__name__
        assert f"{rule.__name__}(" in error.value.fix


def test_nesterov_needs_a_momentum() -> None:
    with pytest.raises(cr.ModelError, match="momentum above 0"):
        cr.SGD(nesterov=True)


@pytest.mark.parametrize("given", [None, "0.1x", float("nan"), float("inf"), -1.0, [1, 2]])
def test_a_schedule_that_gives_no_rate_is_refused_with_the_step(given: Any) -> None:
    with pytest.raises(cr.ModelError, match="step 3"):
        cr.Adam(lambda step: given).rate_at(3)


@pytest.mark.parametrize("number", [np.float32(0.9), np.float64(0.9), 0.9, 1e-20])
def test_numbers_of_numpy_and_tiny_ones_are_read_exactly(number: Any) -> None:
    tensor = Tensor("p.W", (2,))
    text = str(cr.Adam(beta1=number, beta2=number).program([(tensor, Tensor("δp.W", (2,)))]))
    assert ("9/10*weight1" in text and "1/10*" in text) == (number != 1e-20)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_has_a_name(name: str) -> None:
    rule = optimizer_named(name)
    assert optimizer_named(rule) is rule
    x, t = np.random.default_rng(0).normal(size=(2, 16, 3))
    model = cr.Sequential(cr.Input(3), cr.Dense(3), loss="half_squared_error")
    losses = model.fit(x, t, epochs=6, batch_size=4, optimizer=name, verbose=False).loss
    assert losses[-1] < losses[0]


def test_without_a_name_it_is_descent_with_momentum() -> None:
    assert optimizer_named(None) == optimizer_named("sgd") == cr.SGD(0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("adamm", "did you mean 'adam'"),
        ("Adm", "did you mean 'adam'"),
        ("RMSpop", "did you mean 'rmsprop'"),
        ("lbfgs", "choose from sgd, nesterov, adam"),
        (cr.Adam, r"call it: cr\.Adam\(\)"),
        (3, "a name or an object"),
    ],
)
def test_what_is_no_optimizer_is_refused_with_the_nearest(value: Any, says: str) -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(3), loss="half_squared_error")
    with pytest.raises(cr.ModelError, match=says):
        model.fit(np.ones((2, 3)), np.ones((2, 3)), optimizer=value, verbose=False)


def test_a_rule_of_ones_own_is_its_equations() -> None:
    class Signs(Optimizer):
        def equations(self, rank: int) -> str:
            return "value_next[i] = value[i] - rate*([gradient[i] > 0] - [-gradient[i] > 0])" if rank == 1 else (
                "value_next[i, j] = value[i, j]"
            )

    model = cr.Sequential(cr.Input(3), cr.Dense(3), loss="half_squared_error", dtype="float64")
    model.fit(np.ones((2, 3)), np.full((2, 3), 100.0), epochs=4, batch_size=2, optimizer=Signs(0.5), verbose=False)
    np.testing.assert_array_equal(model.parameters["dense1.b"], 2.0)


def test_a_rule_without_its_last_equation_is_refused() -> None:
    class Half(Optimizer):
        def equations(self, rank: int) -> str:
            return "other = rate"

    with pytest.raises(cr.ModelError, match="value_next"):
        Half(0.5).program([(Tensor("p.W", (2,)), Tensor("δp.W", (2,)))])
