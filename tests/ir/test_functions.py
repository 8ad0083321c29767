"""The scalar laws, each on its own: against numerical differentiation at 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest

from chainrule.ir.expr import Add, Apply, Component, Constant, Expr, Multiply, Power
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.parse import law

TRUE: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "sigmoid": lambda x: 1/(1 + mpmath.exp(-x)),
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "erf": mpmath.erf,
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "erfc": mpmath.erfc,
    "step": lambda x: mpmath.mpf(x > 0),
    "relu": lambda x: x if x > 0 else mpmath.mpf(0),
    "max": lambda x, y: x if x >= y else y,
    "min": lambda x, y: x if x <= y else y,
    "sign": mpmath.sign,
    "abs": abs,
}
POINTS = [("0.7", "1.3"), ("2.25", "-0.4"), ("0.03", "0.02")]


def number(expr: Expr, values: dict[str, Any]) -> Any:
    match expr:
        case Constant(value=value):
            if isinstance(value, str):
                return {"pi": mpmath.pi, "e": mpmath.e}[value]
            return mpmath.mpf(value.numerator)/value.denominator
        case Component(tensor=tensor):
            return values[tensor.name]
        case Add(terms=terms):
            return sum(number(t, values) for t in terms)
        case Multiply(factors=factors):
            return mpmath.fprod(number(f, values) for f in factors)
        case Power(base=base, exponent=exponent):
            return number(base, values)**(mpmath.mpf(exponent.numerator)/exponent.denominator)
        case Apply(function=function, arguments=arguments):
            return TRUE[function](*(number(a, values) for a in arguments))
        case _:
            raise TypeError(expr)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("point", POINTS)
def test_a_law_is_the_derivative(name: str, point: tuple[str, str]) -> None:
    function = CATALOGUE[name]
    assert len(function.laws) == function.arity
    with mpmath.workdps(60):
        arguments = [mpmath.mpf(v) for v in point[: function.arity]]
        values = dict(zip("xy", arguments, strict=False)) | {"f": TRUE[name](*arguments)}
        for i in range(function.arity):
            order = tuple(int(i == j) for j in range(function.arity))
            slope = mpmath.diff(TRUE[name], tuple(arguments), order)
            assert abs(number(law(name, i), values) - slope) < mpmath.mpf(10)**-25


def test_a_wrong_law_is_not_the_derivative() -> None:
    with mpmath.workdps(60):
        x = mpmath.mpf("0.7")
        wrong = TRUE["sigmoid"](x)*(1 - TRUE["sigmoid"](x))*(1 + mpmath.mpf(10)**-7)
        assert abs(wrong - mpmath.diff(TRUE["sigmoid"], x)) > mpmath.mpf(10)**-9


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [("relu", 0, 0), ("max", 0, 1), ("max", 1, 0), ("min", 0, 1), ("min", 1, 0), ("abs", 0, 0)],
)
def test_the_convention_at_a_kink(name: str, argument: int, value: int) -> None:
    zero = mpmath.mpf(0)
    values = {"x": zero, "y": zero, "f": zero}
    assert number(law(name, argument), values) == value
