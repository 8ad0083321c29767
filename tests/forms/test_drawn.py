"""Equations that users write, and drawn ones: every form is the component form, and the document prints."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import render
from chainrule.derive.adjoint import derive_equation
from chainrule.derive.lemma import Lemma
from chainrule.forms import Concise, holds, refused
from tests.examples import CAMPAIGN
from tests.forms.values import concise as concise_value
from tests.forms.values import detailed, drawn

SEEDS = 300 if CAMPAIGN else 12
EXTENTS = {"N": 3, "I": 3, "J": 4, "K": 2, "L": 2}
QUADRATIC = "y[n, o<2] = sum[i<3, j<3](x[n, i]*A[o, i, j]*x[n, j])"
# Inputs whose forms once lost a factor, or whose document ended in an error.
WRITTEN = (
    QUADRATIC,
    "y[n, o<3] = sum[f<2](U[o, f]*sigmoid(sum[i<4](V[f, i]*x[n, i]) + b[f]))",
    "y[n, i<4] = sum[k<2](W[k, i]*sigmoid(sum[j<4](W[k, j]*x[n, j])))",
    "y[n, k<3] = max[p<2](sum[j<4](x[n, j]*W[k, p, j]))",
    "y[n, k<3] = tanh(sum[i<4, j<4](x[n, i]*W[k, i, j]*x[n, j]) + sum[i<4](U[k, i]*x[n, i]))",
    "y[n, q<2] = W[q]*x[n, 1] + h[n]",
    "y[k<4] = x[k]*sum[i<4](x[i] - sum[j<4](x[j]))",
    "y[n, k<4] = (x[n, k] - mean[j<4](x[n, j]))*(mean[i<4]((x[n, i] - mean[l<4](x[n, l]))**2) + 1/100000)**(-1/2)",
    "y[n, o<1] = sum[f<2, i<4](V[i, f]*x[n, i])",
    "y[n, k<3] = x[n, k]*sum[i<3](x[n, i]**2)",
    "y[n] = sum[i<3, j<3](x[n, i]*A[i, j]*x[n, j])**(1/2)",
    "y[n, k<3] = logsumexp[j<4](A[k, j] + x[n, j])*max[j<4](x[n, j])",
    "y[n, i<3] = max[k<2](z[n])*sum[k<2](z[n])*x[n, i]",
)


def lemmas(text: str) -> list[Lemma]:
    derivation = derive_equation(text)
    return [own for lemma in derivation.lemmas for own in (lemma, lemma.sample) if own is not None]


def agree(form: Concise) -> bool:
    given = drawn(form.detailed, EXTENTS)
    one, other = concise_value(form, given, EXTENTS), detailed(form, given, EXTENTS)
    return bool(np.allclose(one, other, rtol=1e-9))


@pytest.mark.parametrize("text", WRITTEN)
def test_what_users_write_has_forms_that_are_the_component_forms(text: str) -> None:
    refused.clear()
    forms = [lemma.concise for lemma in lemmas(text)]
    assert not refused
    assert sum(form is not None for form in forms) >= 0.5 * len(forms)
    for form in forms:
        assert form is None or (holds(form) and agree(form))
    assert "derived" in cr.derive(text).to_text()


def test_a_quadratic_form_keeps_every_factor() -> None:
    """Σ_o δ_o (A_o + A_oᵀ) x: for x = (1, 2), A = [1 3; 2 0], [0 1; 3 2] and δ = (8, −4) it is (64, −8)."""
    text = QUADRATIC.replace("<3", "<2")
    derivation = derive_equation(text)
    lemma = derivation["x"].uses[0].instance.sample
    assert lemma is not None and lemma.concise is not None
    A = np.array([[[1.0, 3], [2, 0]], [[0, 1], [3, 2]]])
    given = {"δ(y)": np.array([8.0, -4]), "x": np.array([1.0, 2]), "A": A}
    assert concise_value(lemma.concise, given).tolist() == [64, -8]
    printed = re.sub(" +", " ", render.text(derivation, width=300))
    assert "∇_x f = Σ_o (∂f/∂y_o) A_o x + Σ_o (∂f/∂y_o) A_oᵀ x" in printed


# --- drawn equations ----------------------------------------------------------------------------

EXTENT = {"i": 3, "j": 4, "k": 3, "l": 4, "m": 2}


class Draw:
    """An equation over tensors of two axes at most besides the sample: sums in sums, products of sums, powers and
    functions of them, maxima."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.shapes: dict[str, tuple[tuple[int, ...], bool]] = {}

    def text(self) -> str:
        target = self.random.choice([["i"], ["i", "j"], []])
        left = ", ".join(["n", *(f"{a}<{EXTENT[a]}" for a in target)])
        return f"Y[{left}] = {self.expression(target, 3)}"

    def tensor(self, scope: list[str]) -> str:
        axes = self.random.sample(scope, min(self.random.choice([0, 1, 1, 2, 2]), len(scope)))
        shape = tuple(EXTENT[a] for a in axes), self.random.random() < 0.5
        free = [name for name in "xyzABCDuvw" if self.shapes.get(name, shape) == shape]
        if not free:
            return "2"
        name = self.random.choice(free)
        self.shapes[name] = shape
        subscripts = [*(["n"] if shape[1] else []), *axes]
        return f"{name}[{', '.join(subscripts)}]" if subscripts else name

    def expression(self, scope: list[str], depth: int) -> str:
        choice = self.random.random()
        others = [k for k in "klm" if k not in scope]
        if depth == 0 or choice < 0.2:
            return self.tensor(scope)
        if choice < 0.5:
            return "*".join(self.inner(scope, depth) for _ in range(self.random.choice([2, 2, 3])))
        if choice < 0.6:
            return f"{self.expression(scope, depth - 1)} + {self.expression(scope, depth - 1)}"
        if choice < 0.85 and others:
            bound = self.random.sample(others, min(len(others), self.random.choice([1, 1, 2])))
            kind = self.random.choice(["sum"] * 6 + ["mean", "max", "logsumexp"]) if len(bound) == 1 else "sum"
            binders = ", ".join(f"{k}<{EXTENT[k]}" for k in bound)
            return f"{kind}[{binders}]({self.expression([*scope, *bound], depth - 1)})"
        if choice < 0.93:
            return f"{self.random.choice(['tanh', 'exp', 'sigmoid'])}({self.expression(scope, depth - 1)})"
        return f"({self.expression(scope, depth - 1)})**{self.random.choice(['2', '3', '(-1)', '(1/2)'])}"

    def inner(self, scope: list[str], depth: int) -> str:
        return f"({self.expression(scope, depth - 1)})"


@pytest.mark.drawn
def test_of_drawn_lemmas_eight_in_ten_have_a_form_and_every_form_holds() -> None:
    refused.clear()
    have = total = 0
    for seed in range(SEEDS):
        text = Draw(seed).text()
        for lemma in lemmas(text):
            form = lemma.concise
            total += 1
            have += form is not None
            assert form is None or agree(form), f"{text}: {form.detailed}"
    assert not refused
    assert total > 1.6 * SEEDS and have >= 0.8 * total
