"""Forms of matrices: what has one, and that it equals its component form in floats, unlike the check at the exit."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.derive import Lemma
from chainrule.forms import Concise, concise, operation
from chainrule.ir.parse import parse_equation
from tests.derive.cases import CASES
from tests.derive.test_checklist import mlp
from tests.forms.values import concise as concise_value
from tests.forms.values import detailed, drawn

EXTENTS = {"N": 3, "L": 2, "I": 5}
# What has a matrix form, for a batch or for one sample; a case that loses its form turns the test red.
WITH_FORM = {
    "dense", "sigmoid", "tanh", "relu", "max_of_two", "softplus", "softmax", "logsumexp", "u_plus_u", "silu",
    "quotient", "mean", "quadratic_form", "residual", "shared_weight", "mse_and_decay", "cross_entropy", "log",
}


def forms(lemma: Lemma) -> list[Concise]:
    """The matrix forms of a lemma and of its one-sample form."""
    found = [shown.concise for shown in (lemma, lemma.sample) if shown is not None]
    return [form for form in found if form is not None and form.family == "matrix"]


def form_of(text: str, **shapes: tuple[int | str, ...]) -> Concise:
    from chainrule.ir.expr import Tensor

    equation = parse_equation(text, tensors={name: Tensor(name, shape) for name, shape in shapes.items()})
    form = concise(equation.target, equation.value)
    assert form is not None, text
    return form


def agree(form: Concise) -> bool:
    given = drawn(form.detailed, EXTENTS)
    return np.allclose(concise_value(form, given, EXTENTS), detailed(form, given, EXTENTS), rtol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_the_concise_form_equals_the_detailed_one(name: str) -> None:
    seen = 0
    for gradient in CASES[name].derivation.parts.values():
        for use in gradient.uses:
            for form in forms(use.instance):
                assert agree(form), str(form.detailed)
                seen += 1
    assert (seen > 0) >= (name in WITH_FORM)


def test_every_line_of_an_mlp_has_a_concise_form() -> None:
    for gradient in mlp(3).parts.values():
        for use in gradient.uses:
            assert forms(use.instance), str(use.instance)


def test_a_form_with_a_transpose_swapped_is_told_apart() -> None:
    from dataclasses import replace

    lemma = next(iter(CASES["shared_weight"].derivation.parts.values())).uses[0].instance
    form = forms(lemma)[0]
    swapped = replace(form, right=operation("transpose", form.right))
    given = drawn(form.detailed, EXTENTS)
    assert not np.allclose(concise_value(swapped, given, EXTENTS), detailed(form, given, EXTENTS))


WRITTEN = {
    "y[i] = sum[k](A[i, k]*x[k])": "matmul(A, x)",
    "y[i, j] = sum[k](A[i, k]*B[k, j])": "matmul(A, B)",
    "y[i, j] = sum[k](A[i, k]*x[k]*B[k, j])": "matmul(A, matmul(diag(x), B))",
    "y[i] = sum[k, l](A[i, k]*B[k, l]*x[l])": "matmul(A, matmul(B, x))",
    "y = sum[i, j](x[i]*B[i, j]*x[j])": "matmul(transpose(x), matmul(B, x))",
    "y = sum[i, j](B[i, j]*x[i]*x[j])": "matmul(transpose(x), matmul(B, x))",
    "y = sum[i, j](A[i, j]*B[j, i])": "matmul(ones, matmul(hadamard(transpose(A), B), ones))",
    "y[i] = x[i]*sum[j](x[j]*x[j])": "scale(x, matmul(transpose(x), x))",
    "y[i] = x[i]*sum[j](x[j])**(-2)": "scale(x, power(matmul(ones, x)))",
    "y[i, j] = sum[k](A[i, k])*B[i, j]": "matmul(diag(matmul(A, ones)), B)",
    "y[i, j] = sum[k](A[i, k]*B[i, k]*B[k, j])": "matmul(hadamard(A, B), B)",
    "y[i] = sum[k, l](A[i, k]*A[i, l]*B[k, l])": "matmul(hadamard(A, matmul(A, transpose(B))), ones)",
    "y[i, j] = sum[k](x[k]*B[k, j])": "matmul(ones, matmul(transpose(x), B))",
    "y[i] = max[k](A[i, k]) - logsumexp[k](A[i, k])": "plus(max_rows(A), scale(logsumexp_rows(A), number))",
    "y[j] = max[k](A[k, j])": "max_rows(transpose(A))",
    "y[i] = sum[k](A[i, k]*(x[k] - sum[j](x[j])))": "",
    "y[i, j] = exp(A[i, j] - logsumexp[k](A[i, k]))": "softmax_rows(A)",
    "y[o, i] = sum[k](T[o, i, k]*x[k])": "matmul(T, x)",
    "y[o] = sum[i, j](x[i]*T[o, i, j]*x[j])": "matmul(transpose(x), matmul(T, x))",
    "y[i] = sum[o, j](z[o]*T[o, i, j]*x[j])": "",
    "y = sum[i](x[i])*sum[j](x[j]**2)": "scale(ones, matmul(ones, x), matmul(ones, power(x)))",
    "y[i] = sum[k](3/2*x[k])/N + x[i]*N": "",
    "y[i] = tanh(sum[k, l](A[i, k]*tanh(sum[j](B[k, j]*x[j])))*z[i])": "",
}
SHAPES: dict[str, tuple[int | str, ...]] = {
    "A": (4, 4), "B": (4, 4), "x": (4,), "z": (4,), "T": (4, 4, 4), "s": (),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_written_equations_have_forms_that_hold(text: str) -> None:
    form = form_of(text, **SHAPES)
    assert agree(form)
    if WRITTEN[text]:
        assert outlined(form.right) == WRITTEN[text]


def outlined(form: object) -> str:
    from chainrule.forms.nodes import Fill, Number, Operation, Sum, View

    match form:
        case View(tensor=tensor):
            return tensor.name
        case Fill():
            return "ones"
        case Number():
            return "number"
        case Sum(inner=inner):
            return f"sum({outlined(inner)})"
        case Operation(name=name, of=of):
            return f"{name}({', '.join(map(outlined, of))})"
        case _:
            raise TypeError(form)


