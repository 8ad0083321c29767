"""Operations are counted from the equations: what a program takes that computes nothing twice."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.ir.cost import operations
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program

GIVEN = {
    "W": Tensor("W", (3, 4)), "x": Tensor("x", ("N", 4)), "b": Tensor("b", (3,)), "u": Tensor("u", ("N", 3)),
    "z": Tensor("z", ("N", 2, 8)), "id": Tensor("id", ("N",), "integer"), "E": Tensor("E", (5, 2)),
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("y[n, k] = sum[l](W[k, l]*x[n, l])", 3 * (4 + 3)),  # 4 products and 3 additions for each output
        ("y[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]", 3 * 8),
        ("y[n, k] = sigmoid(u[n, k])", 3),
        ("y[n, k] = u[n, k] - b[k]", 3),  # a minus is no multiplication
        ("y[n, c, i<4] = max[p<2](z[n, c, 2*i + p])", 8),  # one comparison for each pair
        ("y[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))", 3 * 2 + (3 + 2 + 1)),  # the logarithm once, not 3 times
        ("y[n, d] = sum[v]([v == id[n]]*E[v, d])", 0),  # a bracket chooses: nothing is computed
        ("y[k, l] = sum[n](u[n, k]*x[n, l])", 12 * 2),  # one sample more: a product and an addition
        ("y[k] = b[k]*b[k]", 3),  # the same for any number of samples
    ],
)
def test_an_equation_takes_so_many_operations(text: str, wanted: int) -> None:
    assert operations(parse_program(text, tensors=GIVEN)) == wanted


def test_the_backward_pass_of_a_dense_layer_costs_twice_its_forward_pass() -> None:
    derivation = cr.Sequential(cr.Input(50), cr.Dense(40), loss="half_squared_error").derive()
    forward = operations(e for e in derivation.forward.equations if e.tensor.name == "dense1.u")
    backward = operations(e for e in derivation.backward.equations if e.tensor.name in ("δ(dense1.W)", "δ(input)"))
    assert 1.95 < backward / forward <= 2
