"""Equations that read themselves are refused; where an index orders them, with the unrolled program that means it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from chainrule.arrays.execute import execute
from chainrule.errors import EquationError
from chainrule.ir.check import check_program
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program

X, U = Tensor("x", ("N", 3, 2)), Tensor("U", (2, 2))
RECURRENT = "h[n, t<3, k<2] = tanh(x[n, t, k] + sum[j](U[k, j]*pad(h, 1/2)[n, t-1, j]))"


def read(text: str, **more: Tensor) -> Program:
    known = {"x": X, "U": U, **more}
    return Program(tuple(parse_program(text, tensors=known)), inputs=(X, U))


def refused(program: Program) -> EquationError:
    with pytest.raises(EquationError) as caught:
        check_program(program)
    return caught.value


def advised(error: EquationError) -> list[str]:
    return [line.strip() for line in error.fix.splitlines()[1:]]


def run(lines: list[str], given: Mapping[str, np.ndarray]) -> np.ndarray:
    program = read("\n".join(lines))
    check_program(program)
    return execute(program, given, dtype=np.dtype(np.float64))["h"]


@pytest.mark.parametrize("step", [-1, 1])
def test_the_unrolled_program_of_the_error_means_the_recurrence(step: int) -> None:
    error = refused(read(RECURRENT.replace("t-1", f"t + {step}")))
    assert "recurrence over an index is not supported yet: h -> h over t" in error.problem
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(4, 3, 2)), "U": rng.normal(size=(2, 2))}
    expected, before = np.empty((4, 3, 2)), np.full((4, 2), 0.5)
    for t in range(3)[::-step]:
        expected[:, t] = before = np.tanh(given["x"][:, t] + before @ given["U"].T)
    np.testing.assert_allclose(run(advised(error), given), expected, rtol=1e-14)
    mistaken = [line.replace("h1[n, j]", "h0[n, j]").replace("h2[n, j]", "h1[n, j]") for line in advised(error)]
    if step < 0:
        assert np.abs(run(mistaken, given) - expected).max() > 1e-3


def test_of_many_positions_the_first_and_the_last_are_shown() -> None:
    lines = advised(refused(read("h[n, t<900] = 2*pad(h, 0)[n, t-2] + x[n, 0, 0]")))
    assert lines == [
        "h0[n] = 2*0 + x[n, 0, 0]", "h1[n] = 2*0 + x[n, 0, 0]", "…", "h899[n] = 2*h897[n] + x[n, 0, 0]",
        "h[n, 0] = h0[n]", "h[n, 1] = h1[n]", "…", "h[n, 899] = h899[n]",
    ]


def test_two_equations_that_read_each_other_are_unrolled_together() -> None:
    h = Tensor("h", ("N", 3, 2))
    text = "c[n, t<3, k<2] = x[n, t, k]*pad(h, 1)[n, t-1, k]\nh[n, t<3, k<2] = c[n, t, k] + pad(c, 0)[n, t-1, k]"
    lines = advised(refused(read(text, h=h)))
    assert lines[:4] == [
        "c0[n, k<2] = x[n, 0, k]*1", "h0[n, k<2] = c0[n, k] + 0",
        "c1[n, k<2] = x[n, 1, k]*h0[n, k]", "h1[n, k<2] = c1[n, k] + c0[n, k]",
    ]
    given = {"x": np.random.default_rng(1).normal(size=(4, 3, 2))}
    c, expected = np.empty((4, 3, 2)), np.empty((4, 3, 2))
    for t in range(3):
        c[:, t] = given["x"][:, t] * (expected[:, t - 1] if t else 1)
        expected[:, t] = c[:, t] + (c[:, t - 1] if t else 0)
    np.testing.assert_allclose(run(lines, {**given, "U": np.zeros((2, 2))}), expected, rtol=1e-14)


def test_the_tensors_of_the_advice_have_names_that_are_free() -> None:
    assert advised(refused(read("h1[n] = x[n, 0, 0]\n" + RECURRENT)))[0].startswith("h_0[n, k<2] =")


@pytest.mark.parametrize(
    "text",
    [
        "h[n, t<3, k<2] = tanh(x[n, t, k] + h[n, t, k])",  # at the same place
        "h[n, t<3] = pad(h, 0)[n, t-1] + pad(h, 0)[n, t+1]",  # both ways
        "h[n, t<3] = sum[s<3](h[n, s])",  # every place
        "h[n, 3*s + (t<3)] = x[n, t, s]\nh[n, 6] = h[n, 0]",  # in pieces
    ],
)
def test_what_no_index_orders_is_a_cycle(text: str) -> None:
    error = refused(read(text))
    assert "cyclic equations: h -> h" in error.problem
    assert "unrolled" not in error.fix
