"""Whatever is given in place of equations, one of our own errors answers, or it is derived."""



from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr
from chainrule.ir.parse import parse_expression

TEXTS = [
    "u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]",
    "y[n, o, i<4] = sum[c, p](W[o, c, p] * pad(x, 0)[n, c, 2*i + p - 1]) + b[o]",
    "y[n, i<4] = max[p<2](x[n, 2*i + p])",
    "y[n, 12*(c<3) + 4*(i<3) + (j<4)] = x[n, c, i, j]",
    "e[n, t, d] = sum[v]([v == id[n, t]] * E[v, d])",
    "loss = mean[n](logsumexp[k](u[n, k]) - sum[k](t[n, k] * u[n, k]))",
    "y[n] = -x[n]**2/(a[n] + 1e-3)**(1/2) # c",
    "m = mean[n](x[n]); s = mean[n]((x[n] - m)**2); y[n] = (x[n] - m)/(s + 1/100)**(1/2)",
    "y[n, 2*(i<3)] = x[n, i]\ny[n, 2*(i<3) + 1] = x[n, i]**2\nz[n, k] = y[n, k]*w[k]",
    "H[j<3, k<3] = D(D(sum[n<5](softplus(sum[l<3](w[l]*x[n, l]))), w[j]), w[k])",
    "p[n, k] = [x[n, k] > 0]*exp(x[n, k] - logsumexp[j](x[n, j]))",
    "h[n, t<3] = pad(h, 0)[n, t-1] + x[n, t]",
]
WORDS = [
    "0", "-1", "999999999999", "1e400", "1e-400", "1/3", "0x10", "1j", "True", "inf", "nan", "pi", "N", "x", "i", "_a",
    "δ", "²", "\u202e", "\0", "\n", "\\", "'", "$", ":=", "lambda x: x", "[", "]", "(", ")", "{", "==", "<", "=", "+=",
    "**", "//", "-", "not", "if", "x.y", "loss", "sum", "max[i](x[i])", "pad(x, 0)", "D(x, x)", "argmax[k]", "d1_tanh",
    "x**65", "0**-1", "f'{x}'", "#", ";", "x[i,]", "x[()]", "x[1:2]", "x[i][j]", "1000000007*i", "(i<3)", "i<0",
    "i<10**9", "\u2028", "i" * 500, "9" * 41, "(" * 120, "-" * 300, "x[" * 120,
]
PIECES = re.compile(r"\w+|\s+|[^\w\s]")


def mutated(seed: int) -> str:
    draw = random.Random(seed)
    parts = PIECES.findall(draw.choice(TEXTS))
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        at, other = draw.randrange(len(parts)), draw.randrange(len(parts))
        match draw.randrange(6):
            case 0:
                parts[at : at + 1] = []
            case 1:
                parts.insert(at, parts[other])
            case 2:
                parts[at] = parts[other]
            case 3:
                parts[at] = draw.choice(WORDS)
            case 4:
                parts.insert(at, draw.choice(WORDS))
            case _:
                parts = parts[: at + 1]
        parts = parts or [""]
    return "".join(parts)


def in_a_layer(text: Any) -> None:
    class Own(cr.Layer):
        equation = text
        init = {"W": cr.normal(1.0, 4, "k")} if "W[" in text else {}

    cr.Sequential(cr.Input(4), Own(), loss="mean_squared_error")


def as_a_loss(text: Any) -> None:
    cr.Sequential(cr.Input(4), cr.Dense(3), loss=text)


def as_an_expression(text: Any) -> None:
    parse_expression(text.split("=", 1)[-1])


READERS: list[Callable[[Any], object]] = [cr.derive, in_a_layer, as_a_loss, as_an_expression]


@pytest.mark.parametrize("read", READERS, ids=lambda read: str(read.__name__))
def test_mutated_equations_are_read_or_refused_by_one_of_our_errors(read: Callable[[Any], object]) -> None:
    refused = 0
    for seed in range(400):
        try:
            read(mutated(seed))
        except cr.ChainruleError as error:
            refused += 1
            assert str(error).strip() and len(str(error)) < 2000, seed
    assert refused


def test_the_equations_that_are_mutated_are_derived_themselves() -> None:
    for text in TEXTS[:-1]:
        assert cr.derive(text).backward.equations


ODD: list[Any] = [3, 0.5, b"y = x", ["y = x"], {}, object(), float("nan"), 10**30, range(3), ..., cr.Dense(3)]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_what_is_no_text_is_refused_by_one_of_our_errors(odd: Any) -> None:
    def layer(**attributes: Any) -> None:
        cr.Sequential(cr.Input(3), type("Own", (cr.Layer,), {"equation": "y[n, k] = w[k]*x[n, k]", **attributes})())

    with pytest.raises(cr.EquationError, match="equations are a text, not"):
        cr.derive(odd)
    with pytest.raises(cr.DerivationError):
        cr.derive("y[n] = x[n]", wrt=[odd])
    with pytest.raises(cr.EquationError, match="equations are a text, not"):
        layer(equation=odd, init={"w": cr.ones("k")})
    with pytest.raises(cr.ModelError, match="`init` names what a layer has"):
        layer(init={"w": odd})
    with pytest.raises(cr.ModelError, match="`state` names what a layer has"):
        layer(init={"w": cr.ones("k")}, state={"m": odd})
    if not isinstance(odd, dict):
        with pytest.raises(cr.DerivationError):
            cr.derive("y[n] = x[n]", wrt=odd)
        with pytest.raises(cr.ModelError, match="`init` names what a layer has"):
            layer(init=odd)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", ["2x", "2if x else 3", "1.5.x", "3n"])
def test_a_number_that_runs_into_letters_is_named(number: str) -> None:
    with pytest.raises(cr.EquationError, match="is no number"):
        cr.derive(f"y[n] = {number}*x[n]")
