"""Derivative nodes in floating point, against central differences."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.floats import evaluate

from chainrule.ir.expr import Apply, Component, Derivative, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


@pytest.mark.parametrize(
    "value",
    [
        "x[i, j]**3 / (1 + x[i, j]**2)",
        "sigmoid(x[i, j]) * tanh(x[i, 0]) + softplus(x[0, j])",
        "sum[k](x[i, k] * x[k, j] * w[k])",
        "sum[k, l](exp(x[k, l]) * x[i, k] * [0 <= k + j - 1 < 3])",
        "logsumexp[k](x[i, k] * w[k]) * w[j]",
        "max[k](x[i, k] * w[k]) * x[i, j]",
        "max[p<2, q<2](pad(x, -inf)[2*i + p - 1, 2*j + q - 1])",
        "sum[p<2](pad(x, 0)[i + p, 2*j - p] * w[i])",
        "sum[v<3]([v == id[i]] * x[v, j]**2)",
        "sum[k]([i == id[k]] * x[k, j])",
        "max(x[i, j], x[j, i]) + relu(x[i, j]) + w[i]",
        "w[i] * pi",
        "(x[i, j] - mean[k](x[k, j])) * (mean[k](x[k, j]**2) + 1)**(-1/2)",
    ],
)
def test_derivatives_are_central_differences(value: str) -> None:
    x, w, words = normal(3, 3), normal(3), np.array([2, 0, 2])
    rank = {"x": Tensor("x", (3, 3)), "w": Tensor("w", (3,)), "id": Tensor("id", (3,), "integer")}
    size = 2 if "inf" in value else 3
    equation = parse_equation(f"y[i<{size}, j<{size}] = {value}", tensors=rank)
    a, b = Index("a", 3), Index("b", 3)
    node = Derivative(equation.value, Component(rank["x"], (Affine.of(a), Affine.of(b))))

    def at(x: Array) -> Array:
        return evaluate(equation.value, {"x": x, "w": w, "id": words}, equation.indices)

    found = evaluate(node, {"x": x, "w": w, "id": words}, [*equation.indices, a, b])
    for p, q in product(range(3), range(3)):
        h = np.zeros((3, 3))
        h[p, q] = 1e-6
        np.testing.assert_allclose(found[:, :, p, q], (at(x + h) - at(x - h)) / 2e-6, atol=1e-7)


def test_a_derivative_sees_through_a_definition() -> None:
    w, x = normal(2, 3), normal(4, 3)
    u = parse_equation("u[n<4, k<2] = sum[l<3](W[k, l] * x[n, l])")
    of = parse_equation("y[n<4, k<2] = u[n, k]").value
    i, j = Index("i", 2), Index("j", 3)
    node = Derivative(of, Component(Tensor("W", (2, 3)), (Affine.of(i), Affine.of(j))))
    values = {"W": w, "x": x, "u": x @ w.T}
    n, k = of.free
    found = evaluate(node, values, [n, k, i, j], definitions={"u": u})
    np.testing.assert_allclose(found, np.einsum("ki,nj->nkij", np.eye(2), x))
    assert not evaluate(node, values, [n, k, i, j]).any()


@pytest.mark.parametrize("value", ["D(x[i]**2, x[i])", "D(sum[j](x[j]**2), x[i])"])
def test_a_derivative_by_an_index_of_its_own_is_the_diagonal(value: str) -> None:
    x = normal(3)
    equation = parse_equation(f"y[i<3] = {value}", tensors={"x": Tensor("x", (3,))})
    np.testing.assert_allclose(evaluate(equation.value, {"x": x}, equation.indices), 2 * x)


def test_the_derivative_of_a_deep_expression_does_not_exhaust_the_stack() -> None:
    x = Component(Tensor("x", ()), ())
    node: Any = x
    for _ in range(3000):
        node = Apply("tanh", (node,))
    assert evaluate(Derivative(node, x), {"x": np.asarray(0.5)}, []) >= 0
