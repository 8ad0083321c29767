"""Matrices given entry by entry: their forms say what the lines say, are printed so, and are read back."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import render
from chainrule.forms import Concise, concise, refused
from chainrule.forms.nodes import Sum, walk
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_equation
from chainrule.render.formula import write
from chainrule.render.styles import UNICODE
from tests.forms.values import concise as concise_value
from tests.forms.values import detailed, drawn
from tests.render.reading.compare import FORMATS
from tests.render.test_reading import faults, printed

TENSORS = {
    "A": Tensor("A", (3, 3)), "x": Tensor("x", (7,)), "X": Tensor("X", ("N", 4)), "W": Tensor("W", (3, 4)),
    "id": Tensor("id", ("N", 2), "integer"), "s": Tensor("s", ()),
}
# A line for each kind of entries: a diagonal, a step, what is reversed, padding, brackets, a maximum over a matrix.
LINES = (
    "y[i<3] = sum[j<3](tanh(A[j, j])*A[i, j])",
    "y[j<4] = sum[i<3](tanh(x[2*i + 1] + W[i, j]))",
    "y[i<3] = sum[j<4](tanh(W[i, j]*x[4 - j]))",
    "y[i<3, j<4] = W[i, j]*pad(x, 1)[i + j - 1]",
    "y[i<3] = sum[j<4](W[i, j]*pad(x, 0)[2*j - 1])",
    "y[i<3] = sum[j<4](W[i, j]*[j == 2*i])",
    "y[i<3] = sum[j<4](W[i, j]*[0 <= i + j - 1 < 2])",
    "y[i<3, j<4] = [2 == i]*W[i, j]",
    "y[n<N, j<4] = [j == id[n, 1]]*X[n, j]",
    "y[i<3, j<3] = [i == j]*x[2*i]*s",
    "y[i<3] = A[i, 0]*max[j<3, k<4](W[j, k]*x[k + 2])",
    "y[i<3] = sum[j<3](A[i, j]*logsumexp[k<4](W[j, k] + x[k + 1]))",
)


def form_of(line: str) -> Concise:
    equation = parse_equation(line, tensors=TENSORS)
    form = concise(equation.target, equation.value)
    assert form is not None
    return form


@pytest.mark.parametrize("line", LINES)
def test_a_form_by_entries_is_the_line(line: str) -> None:
    refused.clear()
    form = form_of(line)
    given = drawn(form.detailed, {"N": 3})
    assert np.allclose(concise_value(form, given, {"N": 3}), detailed(form, given, {"N": 3}))
    assert not any(isinstance(node, Sum) for node in walk(form.right))
    assert not refused


@pytest.mark.parametrize("line, text", [
    ("y[n, i<2, j<2] = g[i]*x[n, 2*i + j]", "(∂f/∂x_{2i′+j′})_{i′,j′} = diag(g) δ"),
    ("y[n, i<2, j<2] = g[i]*x[n, 2*i + j]", "∇_g f = (δ ⊙ (x_{2i+j})_{i,j}) 𝟏"),
    ("y[n, i<3] = sum[j<2](W[i, j]*z[n, j, 1])", "y = W (z_j1)_j"),
])
def test_what_would_read_as_another_tensor_or_part_of_it_is_given_entry_by_entry(line: str, text: str) -> None:
    """A vector is no matrix, whatever its subscripts; z_1 is a row, and not a column."""
    assert text in re.sub(" +", " ", render.text(cr.derive(line), width=300))


def test_what_is_nothing_but_components_has_no_form() -> None:
    equation = parse_equation("y[i<3] = A[i, i] + x[2*i]", tensors=TENSORS)
    assert concise(equation.target, equation.value) is None


@pytest.mark.parametrize("line", [
    "y[i1<2] = sum[i<1](w[0])",
    "x2[n<N, m<N, v<3] = pad(E, 0)[1, v + 1]",
    "y[n, (i<2) + (j<1)] = sum[k<2]([k == id[n, 1]]*x[n, i, k])",
    "r[n<N, m<N, i<1] = max(1, pad(x, 1)[n, 0])",
    "y[n, k<2] = sum[l<3](pad(W, 1)[k, l]*pad(x, 1/2)[n, 2*l - 1])",
    "y[k<2] = sum[l<2](V[2, l]*V[l + 1, k]*V[2*l, k])",
    "y[n, i<2, j<2] = x[n, 2*i + j]*pad(x, 0)[n, i]",
    "y[i<2] = sum[j<2]([j == i]*w[i, j])",
])
def test_every_formula_of_a_written_line_is_read_back(line: str) -> None:
    found = printed(cr.derive(line))
    assert len(found) > 5
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


def test_padding_is_seen_in_a_matrix() -> None:
    found = printed(cr.derive("y[n, k<2] = sum[l<3](V[k, l]*pad(x, 0)[n, 2*l - 1])"))
    texts = [write(wanted.formula, UNICODE) for wanted in found]
    assert any("(x\u0304_{2l−1})_" in text for text in texts)
