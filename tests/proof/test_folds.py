"""The formula of a whole layer as Coq proves it, and wrong ones that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any, ClassVar

import pytest

import chainrule as cr
from chainrule.derive import Derivation
from chainrule.derive.fold import FOLDING, Fold
from chainrule.derive.scene import Line, extents_for, of_fold
from chainrule.derive.subject import Subject
from chainrule.derive.trial import failures
from chainrule.ir.expr import Constant, Expr, Multiply, Tensor
from chainrule.verify.certificate import Certificate
from chainrule.verify.claims import Claim, of_formula, of_shares
from chainrule.verify.coq import theorems
from chainrule.verify.plan import fold_subject
from chainrule.verify.proof import proved
from chainrule.verify.session import Session
from chainrule.verify.theorem import Theorem
from tests.derive.test_fold import NETWORKS, model
from tests.proof.mutants import closes, given, mutants, refused

pytestmark = pytest.mark.proof

NORMALISATIONS = {
    **{name: model(name) for name in NETWORKS},
    "instance norm": cr.Sequential(
        cr.Input(2, 3, 2), cr.InstanceNorm(), cr.Flatten(), cr.Dense(2), loss="half_squared_error"
    ),
}
"""Each with the folds of its input and of its scale."""


def test_the_formulas_of_normalisations_are_proved(coq: Session) -> None:
    """For all extents but those that the mean divides by as numbers."""
    folds = [fold for one in NORMALISATIONS.values() for fold in one.derive().folds]
    every = [of_formula(fold, fold_subject(fold)) for fold in folds]
    _, found, axioms = proved(every, coq)
    assert len(found) >= 2 * len(NORMALISATIONS) and not axioms
    assert [(str(one.what), one.reason) for one in found if one.reason] == []
    assert {one.level for one in found} == {0}
    assert {row.rule for claim in every for row in claim.rows} >= FOLDING.keys()
    numbers = {str(one.what): one.numbers for one in found}
    assert numbers["∂dense1.u by all of batchnorm1.y"] == (), "every N and every width"
    assert numbers["∂conv2d1.u by all of batchnorm1.y"] == (("i", 2), ("j", 3)), "what its mean is over, and not c < 2"


class _Own(cr.Layer):
    """Sums within sums, with numbers outside and inside."""

    equation = """
        U[d, i] = 1/3*sum[n](x[n, d]*x[n, i])
        y[n, o] = tanh(1/2*(1/3*(1/2*sum[m<N, v](x[m, v]*x[m, o]) - b[o])))*U[o, o]
    """
    init: ClassVar[Any] = {"b": cr.normal(0.5, 2)}


def test_a_common_denominator_past_sums_within_sums_is_proved(coq: Session) -> None:
    network = cr.Sequential(cr.Input(2), _Own(), cr.Dense(2), loss="half_squared_error")
    (fold,) = network.derive().folds
    claim = of_formula(fold, fold_subject(fold))
    assert "denominator" in {row.rule for row in claim.rows}
    _, (one,), _ = proved([claim], coq)
    assert (one.reason, one.level) == ("", 0)


def test_the_certificate_shows_the_lines_of_a_fold_as_proved() -> None:
    derivation = cr.Sequential(cr.Input(3), cr.BatchNorm(), loss="half_squared_error").derive()
    certificate = derivation.verify(prove=True)
    assert len(derivation.folds) == 2
    assert Certificate.from_json(certificate.to_json()) == certificate
    for fold in derivation.folds:
        entries = [e for e in certificate.entries if e.what == fold_subject(fold)]
        shares, formula = of_shares(fold, fold_subject(fold)), of_formula(fold, fold_subject(fold))
        rows = (*shares.rows, *formula.rows)
        assert [entries[place].rule for place in (*shares.places, *formula.places)] == [row.rule for row in rows]
        assert {e.tier for e in entries} == {"proved"}
    text = certificate.to_text(width=1000)
    assert "δbatchnorm1.v as its lemmas have it, " in text and "batchnorm1.y.root is not 0, " in text
    written = derivation.to_markdown(detail="full", certificate=certificate)
    assert "`batchnorm1.y.root` is not 0, " in written and "`N` terms in a sum over `N`" in written


# What is given, and wrong lines.


def test_the_shares_of_all_uses_add_up_and_no_others_do(coq: Session) -> None:
    """Of three uses of x, and of the only one of a scale."""
    by_input, by_scale = model("batch norm").derive().folds
    claims = [of_shares(fold, fold_subject(fold)) for fold in (by_input, by_scale)]
    assert [(row.rule, len(claim.links[0].by)) for claim in claims for row in claim.rows] == [("uses", 3), ("cite", 1)]
    for n, claim in enumerate(claims):
        theorem = Theorem(claim, f"claim_{n}")
        (row,) = theorem.rows
        given(coq, theorem)
        assert closes(coq, theorem, row, (), theorem.line(row.after), 5)
        wrong = mutants(row.after, 12, Random("mutants of shares"))
        assert len(wrong) > 6
        assert [str(line) for line in wrong if closes(coq, theorem, row, (), theorem.line(line), 5)] == []
        coq.said(f"Reset {theorem.name}_section.")


def test_a_fold_is_refused_where_what_it_stands_on_is_another_or_is_missing(coq: Session) -> None:
    (fold, _) = model("layer norm").derive().folds
    claim = of_formula(fold, fold_subject(fold))

    def doubled(tensor: Tensor) -> Claim:
        two = Constant(Fraction(2))
        facts = (replace(e, value=Multiply((two, e.value))) if e.tensor == tensor else e for e in claim.facts)
        return replace(claim, facts=tuple(facts))

    wrong = {"vanish": doubled(fold.forward[0].tensor), "root": doubled(fold.names[0].tensor)}
    wrong |= {"quotient": replace(claim, divisors=()), "cite": doubled(fold.cited[0].tensor)}
    _, found, _ = proved([claim, *wrong.values()], coq)
    assert [one.reason for one in found] == ["", *(f"Coq does not close the step {rule}" for rule in wrong)]


def _changed(derivation: Derivation) -> Iterator[tuple[Fold, Theorem, list[tuple[int, Expr]]]]:
    random = Random("mutants of folds")
    for number, fold in enumerate(derivation.folds):
        theorem = Theorem(of_formula(fold, fold_subject(fold)), f"claim_{number}")
        yield fold, theorem, [(n, e) for n, row in enumerate(theorem.rows) for e in mutants(row.after, 2, random)]


@pytest.mark.parametrize("name", [pytest.param("batch norm of planes", marks=pytest.mark.campaign), "rms norm"])
def test_a_line_of_a_fold_with_one_change_is_refused_or_true(name: str, coq: Session) -> None:
    derivation = model(name).derive()
    extents = extents_for(derivation.forward, 2)
    tried, accepted = 0, 0
    for fold, theorem, lines in _changed(derivation):
        given(coq, theorem)
        assert all(closes(coq, theorem, row, (), theorem.line(row.after), 2) for row in theorem.rows)
        for n, line in lines:
            row, tried = theorem.rows[n], tried + 1
            if closes(coq, theorem, row, (), theorem.line(line), 2):
                accepted += 1
                scene = of_fold(fold, extents, fold_subject(fold), forms=False)
                scene = replace(scene, lines=(Line(Subject("other"), row.rule, row.before, line),))
                assert failures(scene, 7) == {}, f"{row.before} = {line} is false and was proved"
        coq.said(f"Reset {theorem.name}_section.")
    assert tried > 20 and accepted <= tried // 10


WRONG = {
    "vanish": ("num (Z.max 0 n # 1) * m = sum n f ->", "m = sum n f ->"),
    "root": ("power r a = power s b.", "power s a = power r b."),
    "quotient": ("a = q * s.", "q = a * s."),
    "powers": ("power (-1 # 1) a * power (-1 # 1) a * a = power (-1 # 1) a.", "power (-1 # 1) a * a * a = one."),
    "denominator": ("power (-1 # 1) m * (m * a + b).", "power (-1 # 1) m * (a + b)."),
}


def test_a_corrupted_rule_of_folds_is_refused() -> None:
    assert refused(theorems("Rules.v"), WRONG) == {*WRONG} == {*FOLDING}
