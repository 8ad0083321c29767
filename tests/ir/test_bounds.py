"""What an equation may cost: within the bounds it is derived, beyond them one sentence says which and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.examples import few

import chainrule as cr
from chainrule.ir.cost import derivative_size
from chainrule.ir.parse import parse_expression


def product(factors: int) -> str:
    return "y[n] = " + "*".join(["x[n]"] * factors)


def total(terms: int) -> str:
    return "y[n] = " + " + ".join(f"x{i}[n]" for i in range(terms))


def nested(depth: int) -> str:
    return "y[n] = " + "tanh(" * depth + "x[n]" + ")" * depth


def signs(number: int) -> str:
    return "y[n] = " + "-" * number + "x[n]"


def indices(number: int) -> str:
    names = [f"i{n}" for n in range(number)]
    left = ", ".join(f"{name}<{2 if n < 8 else 1}" for n, name in enumerate(names))
    return f"y[{left}] = x[{', '.join(names)}]**2"


def reduced(number: int) -> str:
    names = [f"i{n}" for n in range(number)]
    return f"y = sum[{', '.join(names)}](x[{', '.join(names)}]**2)"


def brackets(number: int) -> str:
    return "y[i<4] = sum[j<4](" + "*".join(["[i == j]"] * number) + "*x[j])"


def derivatives(number: int) -> str:
    return "y = " + "D(" * number + "tanh(x)" + ", x)" * number


WITHIN_AND_BEYOND: dict[Callable[[int], str], tuple[int, int, str]] = {
    product: (50, 60, "nodes make up its derivatives, more than 3000"),
    total: (50, 60, "nodes make up its derivatives, more than 3000"),
    nested: (63, 64, "65 operations stand around one place, more than 64"),
    signs: (63, 64, "65 operations stand around one place, more than 64"),
    indices: (12, 13, "13 indices stand together, more than 12"),
    reduced: (12, 13, "13 indices stand together, more than 12"),
    brackets: (63, 64, "65 factors stand in one product, more than 64"),
    derivatives: (5, 6, "nodes make up its derivatives, more than 3000"),
}


def name_of(write: Callable[[int], str]) -> str:
    return str(write.__name__)


@pytest.mark.parametrize("write", few(WITHIN_AND_BEYOND, {*WITHIN_AND_BEYOND} - {nested}), ids=name_of)
def test_within_a_bound_an_equation_is_derived(write: Callable[[int], str]) -> None:
    assert cr.derive(write(WITHIN_AND_BEYOND[write][0])).backward.equations


@pytest.mark.parametrize("write", WITHIN_AND_BEYOND, ids=name_of)
def test_beyond_a_bound_an_equation_is_refused(write: Callable[[int], str]) -> None:
    _, beyond, words = WITHIN_AND_BEYOND[write]
    with pytest.raises(cr.EquationError, match=words) as caught:
        cr.derive(write(beyond))
    assert caught.value.fix
    with pytest.raises(cr.ChainruleError):
        cr.derive(write(40 * beyond))


ONE = {
    "y[n, i<3] = x[n, 256*i]": None,
    "y[n, i<3] = x[n, 257*i]": "split its gradient into 257 classes, more than 256",
    "y[n, i<3] = x[n, 1000000007*i]": "split its gradient into 1000000007 classes",
    "y[n, i<3, j<3] = x[n, 16*i, 16*j]": None,
    "y[n, i<3, j<3] = x[n, 16*i, 17*j]": "split its gradient into 272 classes",
    "y[n, i<3, j<1000] = x[n, 1000*i + j]": None,  # a mixed-radix number is not split
    "y[n, 1000*(i<3) + (j<1000)] = w[i]*x[n, j]": None,
    "y[n, i<3] = sum[p<3](w[p]*x[n, i + 1000*p])": None,  # nor is a dilation
    "y[n, i<2147483647] = x[n, i]": None,
    "y[n, i<2147483648] = x[n, i]": "y (N, 2147483648) does not fit into memory",
    "y[n, i<50000, j<50000] = x[n, i]": "it is over more than 2147483647 positions",
    "y[n] = sum[i<50000, j<50000](x[n])": "sum[i<50000, j<50000](x[n]) does not fit into memory",
    "y[n] = pad(x, 0)[n, 9999999999999]": "reaches 9999999999999",
    "y = sum[i<" + "9"*40 + "](sum[j<" + "9"*40 + "](x[i, j]))": "does not fit into memory",
    "y[n, i<10] = pad(x, 0)[n, 999999999*i]": "reaches 0 … 8999999991, beyond ±2147483647",
}


@pytest.mark.parametrize("text", ONE)
def test_strides_and_sizes_are_bounded(text: str) -> None:
    words = ONE[text]
    if words is None:
        assert cr.derive(text, wrt="x").backward.equations
        return
    with pytest.raises(cr.ChainruleError) as caught:
        cr.derive(text)
    assert words in str(caught.value)


def test_a_tensor_has_a_bounded_number_of_pieces() -> None:
    def text(number: int) -> str:
        return "; ".join(f"y[n, {i}] = x[n]*{i + 2}" for i in range(number))

    assert cr.derive(text(20)).backward.equations
    with pytest.raises(cr.EquationError, match="y is defined in 257 pieces, more than 256"):
        cr.derive(text(257))


@pytest.mark.parametrize(
    ("text", "derivative", "depth"),
    [
        ("2", 0, 1), ("x[i]", 1, 1), ("x[i]*x[i]*x[i]", 12, 2), ("x[i] + z[i]", 8, 2), ("tanh(tanh(x[i]))", 6, 3),
    ],
)
def test_the_size_of_derivatives_is_counted_before_they_are_made(text: str, derivative: int, depth: int) -> None:
    assert derivative_size(parse_expression(text)) == (derivative, depth)
