"""Folds: the gradient through a layer as the one formula that people know, derived, checked and true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive import check
from chainrule.derive.fold import FOLDING, Fold, put
from chainrule.derive.trace import Setting
from chainrule.errors import DerivationError
from chainrule.ir.expr import Constant, Expr, Multiply, Power, Tensor, derived
from chainrule.ir.index import Index
from chainrule.ir.parse import parse_equation, parse_expression
from chainrule.ir.print import to_text
from chainrule.ir.walk import key, transform
from tests.examples import few
from tests.floats import evaluate

NETWORKS: dict[str, list[Any]] = {
    "batch norm": [cr.Input(2), cr.Dense(3), cr.BatchNorm(), "tanh"],
    "batch norm of planes": [cr.Input(1, 3, 4), cr.Conv2d(2, kernel_size=2), cr.BatchNorm()],
    "layer norm": [cr.Input(2), cr.Dense(4), cr.LayerNorm()],
    "layer norm of two axes": [cr.Input(2, 3), cr.LayerNorm(axes=2)],
    "rms norm": [cr.Input(3), cr.RMSNorm()],
}
KNOWN_FORMULAS = {
    "batch norm": "g[i]/s[i]/N*(N*δ[n, i] - sum[n1<N](δ[n1, i]) - h[n, i]*sum[n2<N](δ[n2, i]*h[n2, i]))",
    "layer norm": "1/4/s[n]*(4*δ[n, i]*g[i] - sum[k<4](δ[n, k]*g[k]) - h[n, i]*sum[k1<4](δ[n, k1]*g[k1]*h[n, k1]))",
    "rms norm": "1/3/s[n]*(3*δ[n, i]*g[i] - h[n, i]*sum[k<3](δ[n, k]*g[k]*h[n, k]))",
}
"""∇_x of FORMULAS.md, h being x̂ and s its denominator."""


def model(name: str) -> cr.Sequential:
    return cr.Sequential(*NETWORKS[name], cr.Flatten(), cr.Dense(2), loss="half_squared_error", dtype="float64")


def letters(fold: Fold) -> str:
    """The formula with short names."""
    text = to_text(fold.result)
    y = fold.sinks[0].tensor.name
    for long, short in ((f"{y}.root", "s"), (f"{y}.quotient", "h"), (f"δ{y}", "δ"), (y.removesuffix("y") + "g", "g")):
        text = text.replace(long, short)
    return text


@pytest.mark.parametrize("name", KNOWN_FORMULAS)
def test_a_normalisation_folds_into_the_formula_that_people_know(name: str) -> None:
    assert letters(model(name).derive().folds[0]) == KNOWN_FORMULAS[name]


def test_the_scale_takes_up_the_named_value() -> None:
    _, scale = model("batch norm").derive().folds
    assert letters(scale) == "sum[n](δ[n, i]*h[n, i])"


def differences(fold: Fold, derivation: cr.Derivation) -> float:
    """How far the formula is from what the backward program computes for three samples."""
    rng = np.random.default_rng(2)
    given = {t.name: rng.normal(size=tuple(3 if e == "N" else int(e) for e in t.shape)) for t in derivation.joint.given}
    values = {**given, **execute(derivation.joint, given)}
    line = fold.result
    for name in reversed(fold.names):
        line = put(line, {name.tensor: name})
    found, wanted = (evaluate(e, values, fold.target.free, extents={"N": 3}) for e in (line, fold.shares))
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("name", few(NETWORKS, 2))
def test_a_fold_is_what_the_program_computes(name: str) -> None:
    derivation = model(name).derive()
    assert len(derivation.folds) == 2
    assert max(differences(fold, derivation) for fold in derivation.folds) < 1e-12


def test_a_fold_is_the_share_of_its_layer_where_the_tensor_is_used_elsewhere_too() -> None:
    x = cr.Input(3)
    derivation = cr.Model(x, cr.Add()(x, cr.LayerNorm()(x)), loss="half_squared_error", dtype="float64").derive()
    fold = derivation.folds[0]
    assert not fold.whole and len(fold.uses) == 3 and len(derivation.parts["input"].uses) == 4
    assert differences(fold, derivation) < 1e-12


def test_any_equations_fold_where_that_is_shorter() -> None:
    (fold,) = cr.derive("a[n] = x[n]*x[n]; y[n] = a[n] + x[n]").folds
    assert to_text(fold.result) == "δy[n]*(1 + 2*x[n])"


def test_what_a_parameter_needs_anyway_does_not_fold() -> None:
    """The gradients of queries, keys and values are needed by their weights."""
    attention = cr.Sequential(cr.Input(3, 4), cr.MultiHeadAttention(2), loss="half_squared_error").derive()
    dense = cr.Sequential(cr.Input(3), cr.Dense(3), "tanh", cr.Dense(2), loss="softmax_cross_entropy").derive()
    assert attention.folds == dense.folds == ()


# --- the rules, and what a wrong one comes to -----------------------------------------------------

TENSORS = {
    "x": Tensor("x", ("N", 2)), **{t: Tensor(t, (2,)) for t in "mv"}, **{t: Tensor(t, ("N",)) for t in "du"},
    "s": derived("root", shape=(2,)), "h": derived("quotient", shape=("N", 2)),
}
FACTS = ("m[c] = mean[n](x[n, c])", "s[c] = (v[c] + 1)**(1/2)", "h[n, c] = (x[n, c] - m[c])*s[c]**(-1)")


@pytest.mark.parametrize("rule", FOLDING.values(), ids=lambda rule: rule.id)
def test_a_rule_does_what_its_example_says(rule: Any) -> None:
    indices = {"n": Index("n", "N"), "c": Index("c", 2)}
    facts = tuple(parse_equation(text, tensors=TENSORS) for text in FACTS)
    before, after, other = (
        parse_expression(text, tensors=TENSORS, indices=indices) for text in (*rule.example, "m[c]*v[c] + v[c]**2")
    )
    setting = Setting(facts[0], facts[0].target, TENSORS["m"], facts=facts)
    assert key(rule.apply(before, setting)) == key(after)
    assert rule.apply(other, setting) is other


FOLDED = {id: rule.apply for id, rule in FOLDING.items()}


def doubled(expr: Expr, setting: Setting) -> Expr:
    """a/M + b = (a + b)/M."""
    right = FOLDED["denominator"](expr, setting)
    return Multiply((Constant(2), right)) if right is not expr else expr  # type: ignore[arg-type]


def unrooted(expr: Expr, setting: Setting) -> Expr:
    """a^r = σ^(r + 1) where σ = √a."""

    def raised(node: Expr) -> Expr:
        return Power(node.base, node.exponent + 1) if isinstance(node, Power) else node

    right = FOLDED["root"](expr, setting)
    return right if right is expr else transform(right, raised, Power)


@pytest.mark.parametrize(("id", "wrong"), [("denominator", doubled), ("root", unrooted)])
def test_a_corrupted_rule_is_refused(id: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOLDING, id, replace(FOLDING[id], apply=wrong))
    check.KNOWN.clear()
    try:
        with pytest.raises(DerivationError, match=f"is false, by the rule {id}"):
            cr.derive("m[n]=mean[k](x[n,k]); v[n]=mean[k]((x[n,k]-m[n])**2); y[n,k]=(x[n,k]-m[n])*(v[n]+1/10)**(-1/2)")
    finally:
        check.KNOWN.clear()
