"""The catalogue of scalar functions: for each, its arguments and the law of its derivative.

A law is an expression of the language over the arguments `x`, `y` and the function's own value `f`.
These are the only derivatives that are written down anywhere; the tests check each on its own at 50
digits. `d1_g`, `d2_g` name the partial derivatives of g in expressions.

Sources: Abramowitz & Stegun, Handbook of Mathematical Functions, §4 (exp, log, tanh), §7 (erfc).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """`laws[i]` is the derivative by argument i. A `kink` is piecewise: its law holds away from the
    kink, and the value at the kink is the convention stated in `note`."""

    name: str
    arity: int
    laws: tuple[str, ...]
    meaning: str
    note: str = ""


CATALOGUE: dict[str, ScalarFunction] = {
    function.name: function
    for function in (
        ScalarFunction("exp", 1, ("f",), "e to the power x"),
        ScalarFunction("expm1", 1, ("f + 1",), "exp(x) - 1"),
        ScalarFunction("log", 1, ("x**-1",), "the natural logarithm"),
        ScalarFunction("sigmoid", 1, ("f*(1 - f)",), "1/(1 + exp(-x))"),
        ScalarFunction("tanh", 1, ("1 - f**2",), "the hyperbolic tangent"),
        ScalarFunction("softplus", 1, ("sigmoid(x)",), "log(1 + exp(x))"),
        ScalarFunction("erfc", 1, ("-2*pi**(-1/2)*exp(-x**2)",), "the complementary error function, 2/sqrt(pi) times "
                       "the integral of exp(-s**2) from x on"),
        ScalarFunction("step", 1, ("0",), "1 where x > 0, else 0", "constant on both sides of 0; step(0) = 0"),
        ScalarFunction("relu", 1, ("step(x)",), "x where x > 0, else 0", "relu'(0) = 0, a choice from [0, 1]"),
        ScalarFunction("max", 2, ("1 - step(y - x)", "step(y - x)"), "the greater of x and y", "the first wins a tie"),
        ScalarFunction("min", 2, ("1 - step(x - y)", "step(x - y)"), "the lesser of x and y", "the first wins a tie"),
        ScalarFunction("sign", 1, ("0",), "1 where x > 0, -1 where x < 0, 0 at 0", "constant on both sides of 0"),
        ScalarFunction("abs", 1, ("sign(x)",), "x where x > 0, else -x", "abs'(0) = 0, a choice from [-1, 1]"),
    )
}


def split_derivative(name: str) -> tuple[str, int | None]:
    """("sigmoid", 0) for "d1_sigmoid"; (name, None) for a function that is no derivative."""
    if name[:1] == "d" and name[1:2].isdigit() and name[2:3] == "_":
        return name[3:], int(name[1]) - 1
    return name, None


def derivative_name(name: str, argument: int) -> str:
    return f"d{argument + 1}_{name}"


def is_function(name: str) -> bool:
    base, argument = split_derivative(name)
    return base in CATALOGUE and (argument is None or 0 <= argument < CATALOGUE[base].arity)


def arity(name: str) -> int:
    return CATALOGUE[split_derivative(name)[0]].arity
