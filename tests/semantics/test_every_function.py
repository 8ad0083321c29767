"""Each scalar function, from its one entry to gradients, documents, and native code or why there is none."""

from __future__ import annotations

import numpy as np
import pytest
from tests.render.test_listing import differences, source_of

import chainrule as cr
from chainrule.compile import gradients
from chainrule.derive.trial import gradient_differs
from chainrule.ir.functions import CATALOGUE
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.semantics.reals import best


def derived(name: str) -> cr.Derivation:
    given = ("x[n, k]", "t[n, k]")[: CATALOGUE[name].arity]
    return cr.derive(f"y[n<2, k<3] = {name}({', '.join(given)})", wrt="x")


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_function_is_derived_checked_and_printed(name: str) -> None:
    derivation = derived(name)
    assert gradient_differs(derivation, {}, 3, best) is None
    for text in (derivation.to_text(), derivation.to_latex(), derivation.to_html("zh")):
        assert (CATALOGUE[name].symbol or name) in text or name in ("exp", "step", "abs", "sigmoid")


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_listing_gives_the_gradient(name: str) -> None:
    derivation = derived(name)
    assert differences(derivation, source_of(derivation)) == []


class Wave(cr.Layer):
    equation = "y[n, k] = sin(w[k]*x[n, k]) + log1p(erf(x[n, k])**2)"
    init = {"w": cr.ones("k")}  # noqa: RUF012


def test_a_function_without_native_code_says_so_and_numpy_trains() -> None:
    model = cr.Sequential(cr.Input(3), Wave(), cr.Dense(2), loss="mean_squared_error")
    task = gradients(model.network, model.derive())
    with pytest.raises(cr.CompileError, match="sin has no native code"):
        lower(task, Machine(16, 24, 1), samples=8)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="sin has no native code"):
        history = model.fit(x, np.sin(x[:, :2]), epochs=3, batch_size=8, optimizer=cr.Adam(1e-2))
    assert history.loss[-1] < history.loss[0]


def test_what_is_composed_in_the_language_alone_needs_no_entry() -> None:
    assert "sqrt" not in CATALOGUE
    assert gradient_differs(cr.derive("y[n<2] = sqrt(x[n])", wrt="x"), {}, 3, best) is None
