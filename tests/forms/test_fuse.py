"""Indices that run together become one, and only those."""

from __future__ import annotations

import pytest

from chainrule.forms.fuse import fuse
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program

GIVEN = {
    "W": Tensor("W", (5, 24)), "x": Tensor("x", ("N", 2, 3, 4)), "V": Tensor("V", (5, 24)), "v": Tensor("v", (2, 3)),
    "y": Tensor("y", ("N", 24)),
}


def fused(text: str) -> str:
    (equation,) = parse_program(text, tensors=GIVEN)
    result = fuse(equation.target, equation.value)
    return f"{result.target} = {result.value}"


def test_a_dense_after_an_image_reads_it_flat() -> None:
    found = fused("u[n, k] = sum[c, i, j](W[k, 12*c + 4*i + j]*x[n, c, i, j])")
    assert "sum[f<24](W[k, f]*flat(x, N×24)[n, f])" in found


def test_a_reshape_is_the_flat_tensor_itself() -> None:
    assert fused("y[n, 12*c + 4*i + j] = x[n, c, i, j]").endswith("y[n, f] = flat(x, N×24)[n, f]")


@pytest.mark.parametrize(
    "text",
    [
        "u[n, k] = sum[c, i, j](W[k, 12*c + 4*i + j]*x[n, c, i, j]*v[c, i])",  # v knows the digits apart
        "u[n, k, c] = sum[i, j](W[k, 12*c + 4*i + j]*x[n, c, i, j])",  # c is no part of the sum
        "u[n, k] = sum[j, i, c](W[k, 6*j + 2*i + c]*x[n, c, i, j])",  # x has the digits the other way round
    ],
)
def test_digits_that_are_told_apart_stay(text: str) -> None:
    assert "flat" not in fused(text)
