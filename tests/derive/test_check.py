"""Derivations are checked before they are handed out: what is refused, what never is, how often a kind is checked."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

import chainrule as cr
from chainrule.derive import Lemma, adjoint, check, derive_program
from chainrule.derive import compose as compose_module
from chainrule.derive import lemma as lemma_module
from chainrule.derive.check import KNOWN, checked, forms_hold, lemma_holds, settled
from chainrule.derive.compose import Composite, compose
from chainrule.derive.lemma import derive_lemma
from chainrule.derive.scene import Line, Scene
from chainrule.derive.subject import Subject
from chainrule.errors import DerivationError, EquationError
from chainrule.forms import recognise
from chainrule.forms.matrices import Found, plain
from chainrule.forms.nodes import scaled
from chainrule.ir.expr import ONE, Component, Constant, Expr, Multiply, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_expression
from chainrule.ir.program import Equation
from tests.derive.cases import CASES

TWO = Fraction(2)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    KNOWN.clear()
    yield
    KNOWN.clear()


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """The scenes that are checked, as they are."""
    found, right = list[Scene](), check.failures

    def noted(scene: Scene, seed: int) -> Any:
        found.append(scene)
        return right(scene, seed)

    monkeypatch.setattr(check, "failures", noted)
    return found


def deep(blocks: int, width: int = 6) -> cr.Model:
    hidden = [layer for _ in range(blocks) for layer in (cr.Dense(width), cr.Sigmoid())]
    return cr.Sequential(cr.Input(width), *hidden, cr.Dense(3), loss="softmax_cross_entropy")


# What is refused.


def test_a_false_line_is_named_with_its_lemma_its_rule_and_both_sides() -> None:
    (use,) = cr.derive("y[n, k] = sum[l](W[k, l]*x[n, l])", wrt="W")["W"].uses
    (piece,) = use.lemma.pieces
    last = piece.steps[-1]
    value = Multiply((Constant(ONE.value * 10_000_001 / 10_000_000), last.after))  # type: ignore[operator]
    steps = (*piece.steps[:-1], replace(last, after=value))
    wrong = replace(piece, equation=replace(piece.equation, value=value), steps=steps)
    with pytest.raises(DerivationError) as caught:
        lemma_holds(replace(use.lemma, pieces=(wrong,)))
    for said in ("∂W in y", last.rule, str(last.before), str(value)):
        assert said in str(caught.value)


def test_steps_that_do_not_follow_one_another_are_refused() -> None:
    (use,) = cr.derive("y[n, k] = sum[l](W[k, l]*x[n, l])", wrt="W")["W"].uses
    with pytest.raises(DerivationError, match="do not follow one another"):
        lemma_holds(replace(use.lemma, steps=use.lemma.steps[1:]))


def test_a_use_that_is_left_out_of_a_sum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = adjoint._total  # pyright: ignore[reportPrivateUsage]

    def first_alone(tensor: Tensor, uses: Any) -> Equation:
        total = right(tensor, uses)
        return Equation(total.target, total.value.terms[0])  # type: ignore[attr-defined]

    case = CASES["residual"]
    inputs = [t for t in case.program.inputs if t.dtype == "real"]
    derive_program(case.program, None, inputs)
    monkeypatch.setattr(adjoint, "_total", first_alone)
    with pytest.raises(DerivationError, match="the derived gradient is not the program's"):
        derive_program(case.program, None, inputs)


def test_a_false_form_is_not_printed_and_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "y[n, k] = sum[l](W[k, l]*x[n, l])"
    shown = cr.derive(text, wrt="W").to_text()
    KNOWN.clear()

    def doubled(target: Component, value: Expr) -> Found | None:
        found = plain(target, value)
        return found and replace(found, right=scaled(Fraction(2), (), found.right))

    for family in recognise.FAMILIES:
        monkeypatch.setitem(recognise.FAMILIES, family, doubled)
    with forgotten():
        derivation = cr.derive(text, wrt="W")
        lemma = derivation["W"].uses[0].lemma
        assert forms_hold(lemma) and lemma.concise is None and recognise.refused
        again = derivation.to_text()
    assert "= Δᵀ X" in shown and "= Δᵀ X" not in again and "∂f/∂W_ij = δ_i x_j" in again


def test_a_false_line_of_a_lemma_for_one_sample_is_refused_where_it_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    (use,) = cr.derive("y[n, k] = sum[l](W[k, l]*x[n, l])", wrt="x")["x"].uses
    monkeypatch.setattr(lemma_module, "derive_lemma", lambda *given, **more: doubled(derive_lemma(*given, **more)))
    with pytest.raises(DerivationError, match="∂x in y, one sample is false"):
        _ = use.lemma.sample


def test_a_false_line_of_a_composite_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(outer: Lemma, inner: Lemma) -> Composite:
        right = compose(outer, inner)
        last = right.steps[-1]
        return replace(right, steps=(*right.steps[:-1], replace(last, after=Multiply((Constant(TWO), last.after)))))

    derivation = deep(1, 7).derive()
    monkeypatch.setattr(compose_module, "compose", wrong)
    with pytest.raises(DerivationError, match=r"a line of composite 1, .* is false"):
        derivation.to_text()


def test_of_forms_nothing_is_asked_until_a_document_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Expr]()

    def noted(target: Component, value: Expr) -> Found | None:
        asked.append(value)
        return plain(target, value)

    monkeypatch.setitem(recognise.FAMILIES, "matrix", noted)
    with forgotten():
        derivation = deep(2, 7).derive()
        assert not asked
        derivation.to_text()
    assert asked


def doubled(lemma: Lemma) -> Lemma:
    """With twice what is right in its last line."""
    (piece,) = lemma.pieces
    last = piece.steps[-1]
    value = Multiply((Constant(TWO), last.after))
    steps = (*piece.steps[:-1], replace(last, after=value))
    return replace(lemma, pieces=(replace(piece, equation=replace(piece.equation, value=value), steps=steps),))


@contextmanager
def forgotten() -> Generator[None]:
    """No form that was recognised before or within is known after."""
    caches = (recognise._found, recognise._passes)  # pyright: ignore[reportPrivateUsage]
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
    recognise.refused.clear()


# What never is.


@pytest.mark.parametrize(
    "text",
    [
        "y[n] = max[k<100](x[n, k])",
        "y[n, i<3] = max[k<70](x[n, k + i])",
        "y[n, i] = sum[j](x[n, j]*max[k<80](w[i, j, k]))",
        "y[n] = max[k<65](x[n, k]) * max[k<65](x[n, k])",
        "y[n] = relu(x[n])*relu(x[n])",
        "y[n] = x[n]**(1/2)*x[n]**(1/2)",
        "y[n] = (x[n]**(1/3))**6 + (x[n]**2)**(1/2)",
        "y[n] = (abs(x[n]) + x[n])**3*step(x[n])",
        "y[n] = sum[k](exp(w[n, k] - logsumexp[j](w[n, j])))*x[n]",
        "y[n] = max(x[n], z[n])*min(x[n], z[n])",
        "y[n] = log(x[n] - 100)",
    ],
)
def test_a_right_gradient_is_not_refused(text: str) -> None:
    assert cr.derive(text).backward.equations


def one_line(before: str, after: str) -> tuple[Scene, Line]:
    names = {"x": Tensor("x", (3,)), "y": Tensor("y", (3,)), "v": Tensor("v", (2, 3))}
    indices = {"i": Index("i", 3), "n": Index("n", 2)}
    sides = (parse_expression(t, tensors=names, indices=indices) for t in (before, after))
    line = Line(Subject("other", y="a line"), "by hand", *sides)
    return Scene((line,), tuple(names.values()), (), {}, {}), line


HOLD = [
    ("(x[i]**(1/2))**2", "x[i]"), ("step(x[i])*step(x[i])", "step(x[i])"), ("log(x[i]*y[i])", "log(x[i]) + log(y[i])"),
    ("exp(x[i] + y[i])", "exp(x[i])*exp(y[i])"), ("sigmoid(x[i])", "1/(1 + exp(-x[i]))"),
]
FAIL = [
    ("(x[i]**(1/2))**2", "x[i] + 1/10000000"), ("step(x[i])*step(x[i])", "2*step(x[i])"),
    ("log(x[i]*y[i])", "log(x[i]) - log(y[i])"), ("exp(x[i] + y[i])", "exp(x[i]) + exp(y[i])"),
    ("sigmoid(x[i])", "1/(1 + exp(x[i]))"), ("log(x[i]*y[i])", "log(x[i]) + log(y[i]) + 1/10000000"),
]


@pytest.mark.parametrize("digits", [50, 15])
def test_what_the_field_cannot_settle_is_settled_by_laws_or_real_numbers(
    digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if digits == 15:
        monkeypatch.setitem(sys.modules, "mpmath", None)
    assert [settled(*one_line(*sides)) for sides in HOLD] == [True] * len(HOLD)
    assert [settled(*one_line(*sides)) for sides in FAIL] == [False] * len(FAIL)


@pytest.mark.parametrize("digits", [50, 15])
@pytest.mark.parametrize("name", ["dense", "residual", "mse_and_decay", "max_pool"])
def test_a_gradient_that_the_field_refuses_is_judged_by_real_numbers(
    name: str, digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the field could settle none: what is right passes, what is wrong does not."""
    if digits == 15:
        monkeypatch.setitem(sys.modules, "mpmath", None)
    monkeypatch.setattr(check, "gradient_difference", lambda *_: "refused")
    derivation = CASES[name].derivation
    checked(derivation)
    KNOWN.clear()
    first, *rest = derivation.backward.equations
    twice = replace(first, value=Multiply((Constant(ONE.value * 2), first.value)))  # type: ignore[operator]
    wrong = replace(derivation, backward=replace(derivation.backward, equations=(twice, *rest)))
    with pytest.raises(DerivationError, match="the derived gradient"):
        checked(wrong)


# A kind once.


def test_a_kind_is_checked_once_however_deep_the_network(trials: list[Scene]) -> None:
    deep(2).derive()
    shallow = len(trials)
    trials.clear()
    KNOWN.clear()
    deep(12).derive()
    assert len(trials) == shallow > 5


def test_what_was_derived_before_is_not_checked_again(trials: list[Scene]) -> None:
    deep(2).derive()
    trials.clear()
    deep(2).derive()
    assert trials == []


def test_lemmas_of_one_kind_at_other_extents_share_a_check(trials: list[Scene]) -> None:
    deep(2, 5).derive()
    trials.clear()
    deep(2, 9).derive()
    assert not [s for s in trials if any(line.what.kind == "lemma" for line in s.lines)]


def test_a_lemma_that_is_not_its_kinds_is_checked_by_itself(trials: list[Scene]) -> None:
    def lemma(text: str) -> Lemma:
        return cr.derive(text, wrt="x")["x"].uses[0].lemma

    right, other = (lemma(f"y[n, k] = {c}*x[n, k]") for c in (2, 3))
    trials.clear()
    lemma_holds(replace(right, equation=replace(right.equation)))
    assert trials == []
    wrong = replace(right, pieces=other.pieces, steps=other.steps)
    with pytest.raises(DerivationError, match="is false"):
        lemma_holds(wrong)
    assert trials


def test_a_form_is_asked_for_by_its_equation(trials: list[Scene]) -> None:
    i = Index("i", 3)
    x, y = Tensor("x", (3,)), Tensor("y", (3,))
    equation = Equation(Component(y, (Affine.of(i),)), Component(x, (Affine.of(i),)))
    assert check.equation_holds(equation) and check.equation_holds(equation)
    assert len(trials) <= 1


def test_a_program_that_is_not_well_formed_is_refused_before_anything_is_checked(trials: list[Scene]) -> None:
    with pytest.raises(EquationError):
        cr.derive("y[n, k] = x[n, k]*y[n, k]")
    assert trials == []
