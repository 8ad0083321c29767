"""The catalogue of scalar functions: for each, its arguments, the law of its derivative, and its values.

A law is an expression of the language over the arguments `x`, `y` and the function's own value `f`.
These are the only derivatives that are written down anywhere; the tests check each on its own at 50
digits. `d1_g`, `d2_g` name the partial derivatives of g in expressions.

Sources: Abramowitz & Stegun, Handbook of Mathematical Functions, §4 (exp, log, sin, cos, tanh), §7 (erf, erfc).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _sigmoid(m: Any, x: Array) -> Array:
    small = m.exp(-m.abs(x))
    return m.where(x >= 0, 1, small) / (1 + small)


# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf(x)/x in x² up to
# 15/32, exp(x²)·erfc(x) in x from there to 4, and beyond (1/√π − x·exp(x²)·erfc(x))·x² in 1/x². Highest power first.
_NEAR = (
    1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3,
)
_NEAR_BELOW = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_FAR = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)
_FAR_BELOW = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)
_TAIL = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4,
)
_TAIL_BELOW = (
    1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def _polynomial(m: Any, coefficients: Sequence[float], x: Array) -> Array:
    return reduce(lambda value, c: value * x + c, coefficients[1:], m.full_like(x, coefficients[0]))


def _erfc(m: Any, x: Array) -> Array:
    size = m.abs(x)
    small, middle, large = m.minimum(size, 0.46875) ** 2, m.clip(size, 0.46875, 4), m.clip(size, 4, 30)
    near = 1 - x * (_polynomial(m, _NEAR, small) / _polynomial(m, _NEAR_BELOW, small))
    far = _polynomial(m, _FAR, middle) / _polynomial(m, _FAR_BELOW, middle)
    inverse = large**-2
    tail = (m.pi**-0.5 - inverse * _polynomial(m, _TAIL, inverse) / _polynomial(m, _TAIL_BELOW, inverse)) / large
    # exp(−x²) from x² in two parts, the first exact: the rounding of x² would grow with it.
    head = m.trunc(m.minimum(size, 30) * 16) / 16
    bell = m.exp(-head * head) * m.exp(-(m.minimum(size, 30) - head) * (m.minimum(size, 30) + head))
    rest = m.where(size <= 4, far, tail) * bell
    return m.where(size <= 0.46875, near, m.where(x > 0, rest, 2 - rest))


def _erf(m: Any, x: Array) -> Array:
    small = m.minimum(m.abs(x), 0.46875) ** 2
    near = x * (_polynomial(m, _NEAR, small) / _polynomial(m, _NEAR_BELOW, small))
    return m.where(m.abs(x) <= 0.46875, near, 1 - _erfc(m, x))


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """`laws[i]` is the derivative by argument i. A function with a `kink` is piecewise: its law holds away from it, and
    what holds there is the convention stated.

    Values: `floats` computes it over arrays, from the functions of a library `m`, NumPy or one with its names, right at
    both ends and without warnings; `real` over single numbers, from those of `math` or mpmath's 50 digits. Both are the
    functions of that name unless given. `zero` is its value at 0 where no other argument has a rational one. `composed`
    writes it with the others; where random values stand for functions, only what is not composed has some of its own.

    Notation: `symbol` is what a document writes for its name, `numpy` its name in NumPy, or `listing` a definition of
    it there. `header` is the file in runtime/csrc that defines it, "" that of the operations; without one it has no
    native code.
    """

    name: str
    laws: tuple[str, ...]
    meaning: str
    kink: str = ""
    composed: str = ""
    zero: Fraction | None = None
    floats: Callable[[Any, Array], Array] | Callable[[Any, Array, Array], Array] | None = None
    real: Callable[[Any, Any], Any] | Callable[[Any, Any, Any], Any] | None = None
    symbol: str = ""
    numpy: str = ""
    listing: str = ""
    header: str | None = None

    @property
    def arity(self) -> int:
        return len(self.laws)

    def value(self, m: Any, *arguments: Any) -> Any:
        function: Callable[..., Any] = getattr(m, self.name) if self.real is None else partial(self.real, m)
        return function(*arguments)

    def over(self, m: Any) -> Callable[..., Any]:
        """The function over the arrays of a library: NumPy, or one with its names."""
        return getattr(m, self.numpy or self.name) if self.floats is None else partial(self.floats, m)


CATALOGUE: dict[str, ScalarFunction] = {
    function.name: function
    for function in (
        ScalarFunction("exp", ("f",), "e to the power x", zero=Fraction(1), header="exp.h"),
        ScalarFunction("expm1", ("f + 1",), "exp(x) - 1", zero=Fraction(0), header="exp.h"),
        ScalarFunction("log", ("x**-1",), "the natural logarithm", header="log.h"),
        ScalarFunction("log1p", ("(1 + x)**-1",), "log(1 + x)", zero=Fraction(0)),
        ScalarFunction(
            "sigmoid", ("f*(1 - f)",), "1/(1 + exp(-x))", zero=Fraction(1, 2), floats=_sigmoid,
            real=lambda m, x: 1 / (1 + m.exp(-x)) if x > -700 else m.exp(x), symbol="σ",
            listing="def sigmoid(u):\n    return 1 / (1 + np.exp(-u))", header="exp.h",
        ),
        ScalarFunction("tanh", ("1 - f**2",), "the hyperbolic tangent", zero=Fraction(0), header="exp.h"),
        ScalarFunction("sin", ("cos(x)",), "the sine of x in radians", zero=Fraction(0)),
        ScalarFunction("cos", ("-sin(x)",), "the cosine of x in radians", zero=Fraction(1)),
        ScalarFunction(
            "softplus", ("sigmoid(x)",), "log(1 + exp(x))", floats=lambda m, x: m.logaddexp(x, 0),
            real=lambda m, x: max(x, 0) + m.log1p(m.exp(-abs(x))),
            listing="def softplus(u):\n    return np.logaddexp(u, 0)", header="log.h",
        ),
        ScalarFunction(
            "erf", ("2*pi**(-1/2)*exp(-x**2)",), "the error function, 1 - erfc(x)", zero=Fraction(0), floats=_erf,
            listing="def erf(u):\n    return np.vectorize(math.erf)(u)",
        ),
        ScalarFunction(
            "erfc", ("-2*pi**(-1/2)*exp(-x**2)",),
            "the complementary error function, 2/sqrt(pi) times the integral of exp(-s**2) from x on",
            zero=Fraction(1), floats=_erfc, listing="def erfc(u):\n    return np.vectorize(math.erfc)(u)",
            header="double.h",
        ),
        ScalarFunction(
            "step", ("0",), "1 where x > 0, else 0", "constant on both sides of 0; step(0) = 0",
            floats=lambda m, x: (x > 0).astype(x.dtype), real=lambda m, x: int(x > 0), header="",
        ),
        ScalarFunction(
            "relu", ("step(x)",), "x where x > 0, else 0", "relu'(0) = 0, a choice from [0, 1]", "x*step(x)",
            floats=lambda m, x: m.maximum(x, 0), real=lambda m, x: max(x, 0), symbol="ReLU",
            listing="def relu(u):\n    return np.maximum(u, 0)", header="",
        ),
        ScalarFunction(
            "max", ("1 - step(y - x)", "step(y - x)"), "the greater of x and y", "the first wins a tie",
            "x + (y - x)*step(y - x)", real=lambda m, x, y: max(x, y), numpy="maximum", header="",
        ),
        ScalarFunction(
            "min", ("1 - step(x - y)", "step(x - y)"), "the lesser of x and y", "the first wins a tie",
            "x + (y - x)*step(x - y)", real=lambda m, x, y: min(x, y), numpy="minimum", header="",
        ),
        ScalarFunction(
            "sign", ("0",), "1 where x > 0, -1 where x < 0, 0 at 0", "constant on both sides of 0",
            real=lambda m, x: (x > 0) - (x < 0), header="",
        ),
        ScalarFunction(
            "abs", ("sign(x)",), "x where x > 0, else -x", "abs'(0) = 0, a choice from [-1, 1]", "x*sign(x)",
            real=lambda m, x: abs(x), header="",
        ),
    )
}
FUNCTIONS: dict[str, Callable[..., Array]] = {name: f.over(np) for name, f in CATALOGUE.items()}
"""The values over NumPy arrays."""
ABBREVIATIONS = {"sqrt": "x**(1/2)"}
"""What is read as an expression, and is no function of its own."""


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
