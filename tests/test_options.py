"""What people bring from other libraries is answered with what it is called here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr


def fit(*arguments: Any, **options: Any) -> None:
    model: Any = cr.Sequential(cr.Input(2), cr.Dense(2), loss="softmax_cross_entropy")
    model.fit(np.eye(2), [0, 1], *arguments, **options)


LAYER: Any = cr.Dense
CONV: Any = cr.Conv2d
DROPOUT: Any = cr.Dropout
ADAM: Any = cr.Adam
SGD: Any = cr.SGD


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CONV(1, 8, 3), ["3 numbers are given", "the number of inputs is found by itself", "cr.Conv2d(8, 3)"]),
        (lambda: LAYER(64, 10), ["cr.Dense(10)", "found by itself"]),
        (lambda: LAYER(10, activation="relu"), ["no option 'activation'", "a layer of its own"]),
        (lambda: LAYER(in_features=64, out_features=10), ["'in_features'", "found by itself"]),
        (lambda: LAYER(out_features=10), ["it is called units here"]),
        (lambda: CONV(8, kernel=3), ["it is called kernel_size here"]),
        (lambda: DROPOUT(p=0.5), ["it is called rate here"]),
        (lambda: LAYER(10, biass=True), ["did you mean 'bias'?"]),
        (lambda: LAYER(10, colour=3), ["no option 'colour'", "write Dense(units, bias=True"]),
        (lambda: LAYER(), ["missing a required argument", "write Dense(units"]),
        (lambda: ADAM(lr=0.1), ["it is called rate here"]),
        (lambda: ADAM(betas=(0.9, 0.99)), ["beta1=0.9"]),
        (lambda: SGD(learning_rate=0.1), ["it is called rate here"]),
        (lambda: fit(lr=0.1), ["the rate is the optimizer's"]),
        (lambda: fit(n_epochs=3), ["it is called epochs here"]),
        (lambda: fit(10), ["too many positional arguments", "epochs=10"]),
    ],
)  # fmt: skip
def test_an_option_of_another_library_is_answered_with_ours(make: Callable[[], object], says: list[str]) -> None:
    with pytest.raises(cr.ModelError) as caught:
        make()
    assert all(part in str(caught.value) for part in says), str(caught.value)


def test_what_is_asked_for_rightly_is_done() -> None:
    assert CONV(8, 3, stride=2).config == {"filters": 8, "kernel_size": 3, "stride": 2}
    assert ADAM(0.1) == cr.Adam(rate=0.1)
    fit(epochs=1, verbose=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("y[n] = x[n]^2", ["^ is no part", "x**2"]),
        ("y[n] = x[n] if x[n] > 0 else 0", ["if is no part", "[x[n] > 0]*x[n]"]),
        ("y[n, k] = W[k, l] @ x[n, l]", ["@ is no part", "sum[l](W[k, l]*x[n, l])"]),
        ("y[n] = x[n] > 0", ["a comparison is no part", "[x[n] > 0]"]),
        ("y[n] = x[n] and z[n]", ["[a > 0]*[b > 0]"]),
        ("y[n] = x[n] // 2", ["// is no part"]),
        ("y[n] = e**(-x[n])", ["write exp(-x[n])"]),
        ("y[n] = sum(x[n, l])", ["sum[i]"]),
    ],
)
def test_the_language_names_what_was_tried(text: str, says: list[str]) -> None:
    with pytest.raises(cr.EquationError) as caught:
        cr.derive(text)
    assert all(part in str(caught.value) for part in says), str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Relu", "did you mean 'ReLU'?"), ("RELU", "did you mean 'ReLU'?"), ("relu", "did you mean 'ReLU'?"),
        ("Densee", "did you mean 'Dense'?"), ("Subtract", "inputs = 2; equation ="), ("LSTM", "has no 'LSTM'$"),
    ],
)  # fmt: skip
def test_a_name_that_there_is_not_is_answered_with_the_nearest(name: str, says: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(says).replace(r"\$", "$")):
        getattr(cr, name)


def test_what_is_seen_at_a_prompt_is_a_line() -> None:
    model = cr.Sequential(cr.Input(8), cr.Dropout(0.5), cr.Dense(3), loss="softmax_cross_entropy")
    shown = [repr(model), repr(model.derive()), repr(model.verify())]
    assert shown[0] == "<Sequential of Dropout, Dense with 27 parameters; print its summary()>"
    assert shown[1].startswith("<derivation of dense1.W, dense1.b, input by ") and shown[2].startswith("<certificate: ")
    assert all(len(line) < 300 and "\n" not in line for line in shown)


@pytest.mark.parametrize("text", ["y[n] = \x1b[31m", "y[n] = x\u202e[n]", "\x9b[n] = 1"])
def test_an_equation_cannot_steer_the_terminal(text: str) -> None:
    with pytest.raises(cr.EquationError) as caught:
        cr.derive(text)
    assert not {"\x1b", "\u202e", "\x9b"} & set(str(caught.value))


def test_names_are_read_in_capitals_too() -> None:
    model = cr.Sequential(cr.Input(2), cr.Dense(2), "RELU", "LeakyReLU", loss="Mean_Squared_Error")
    model.fit(np.eye(2), np.eye(2), epochs=1, optimizer="SGD", verbose=False)
    assert [label for label, _ in model.network.layers] == ["dense1", "relu1", "leakyrelu1"]
    assert model.loss and model.loss.name == "mean_squared_error" and isinstance(model.training.optimizer, cr.SGD)
