"""Values by hand agree with the floats, and are exact where that is claimed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tests.derive.cases import ALL

from chainrule.arrays.execute import execute
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.semantics.exact import Log, Number, plain, run
from chainrule.semantics.labelled import shape_of

SIZES = {"N": 2}


@pytest.mark.parametrize("name", ALL)
def test_every_case_has_the_values_of_the_float_semantics(name: str) -> None:
    program = ALL[name].derivation.joint
    rng = np.random.default_rng(1)
    given: dict[str, Any] = {}
    for tensor in program.given:
        shape = shape_of(tensor, SIZES)
        integers = rng.integers(0, ALL[name].ranges.get(tensor.name, 2), shape)
        given[tensor.name] = integers if tensor.dtype == "integer" else rng.uniform(0.5, 2, shape)
    floats = execute(program, given, dtype=np.dtype("float64"))
    exact = run(program.equations, {n: v.astype(object) for n, v in given.items()}, SIZES)
    for tensor in program.outputs:
        mine = [float(plain(entry)) for entry in exact[tensor.name].flat]
        np.testing.assert_allclose(mine, floats[tensor.name].ravel(), rtol=1e-9, atol=1e-12)


def values(text: str, **given: list[Number]) -> dict[str, list[Number]]:
    tensors = {name: Tensor(name, (len(entries),)) for name, entries in given.items()}
    equations = list(parse_program(text, tensors=tensors))
    known = {name: np.array(entries, object) for name, entries in given.items()}
    result = run(equations, known, {})
    return {e.tensor.name: list(result[e.tensor.name]) for e in equations}


def test_a_sigmoid_and_a_softmax_of_equal_numbers_are_exact() -> None:
    assert values("z[i] = sigmoid(u[i])", u=[0, 0])["z"] == [Fraction(1, 2), Fraction(1, 2)]
    shares = values("p[i] = exp(u[i] - logsumexp[j](u[j]))", u=[5, 5, 5])["p"]
    assert shares == [Fraction(1, 3)] * 3
    assert values("y[k<1] = logsumexp[j](u[j] + 0*k[k])", u=[5, 5], k=[0])["y"] == [Log(Fraction(5), Fraction(2))]


def test_roots_are_exact_where_they_are_rational() -> None:
    third, half = values("y[i] = x[i]**(-1/2)", x=[9, Fraction(1, 4)])["y"], values("y[i] = x[i]**(1/2)", x=[2])["y"]
    assert third == [Fraction(1, 3), 2] and isinstance(half[0], float)


def test_what_is_not_exact_is_a_float() -> None:
    assert isinstance(values("z[i] = sigmoid(u[i])", u=[1])["z"][0], float)


def test_a_function_without_a_value_is_an_error_unless_a_bracket_hides_it() -> None:
    assert values("z[i] = [i == 1]*log(u[i])", u=[-1, 1])["z"] == [0, 0]
    with pytest.raises(ArithmeticError, match="no real number"):
        values("z[i] = log(u[i])", u=[-1, 1])


def test_a_sum_over_an_index_of_the_left_side_leaves_that_as_it_is() -> None:
    assert values("y[i] = sum[i](x[i]) + x[i]", x=[1, 2, 3])["y"] == [7, 8, 9]
