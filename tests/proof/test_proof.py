"""What Coq proves of the built-in models, and what it refuses: wrong rules and wrong lines."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.derive import Derivation, Lemma, derive_program
from chainrule.derive.compose import composites
from chainrule.derive.scene import Line, extents_for, of_lemma
from chainrule.derive.subject import Subject
from chainrule.derive.trace import RULES
from chainrule.derive.trial import failures
from chainrule.ir.expr import Constant, Expr, Size, multiply
from chainrule.ir.parse import parse_equation
from chainrule.train.models import BUILT_IN, read_model
from chainrule.verify.certificate import Certificate
from chainrule.verify.claims import Claim, Cleared, Row, claims, of_chain, of_piece
from chainrule.verify.coq import theorems
from chainrule.verify.plan import every_lemma
from chainrule.verify.proof import ALLOWED, prove, proved
from chainrule.verify.session import Session
from chainrule.verify.theorem import Theorem
from tests.derive.cases import CASES, Case
from tests.proof.mutants import closes, given, mutants, refused
from tests.proof.windows import WINDOWS

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def coqc() -> str:
    program = shutil.which("coqc")
    assert program, "make proof installs Coq"
    return program


# Models.


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_line_of_a_built_in_model_is_proved_for_all_extents(name: str, coq: Session) -> None:
    """But for the forms whose windows are strided, which are proved at the numbers of the layer."""
    derivation = read_model(name).derive()
    proof, every = prove(derivation, coq=coq), [*claims(derivation)]
    assert proof is not None and set(proof.axioms) <= ALLOWED
    forms = [claim.rows[-1].rule == "form" for claim in every]
    assert [str(t.what) for t in proof.theorems if t.reason] == []
    assert {t.level for t, form in zip(proof.theorems, forms, strict=True) if not form} == {0}
    own = [t for t, form in zip(proof.theorems, forms, strict=True) if form]
    assert len(own) >= 6 and sum(t.level == 0 for t in own) >= 0.85 * len(own)
    assert {what for what, _ in proof.lines} == {claim.what for claim in every}


def test_the_kept_proof_is_checked_without_chainrule(
    coqc: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, saved = tmp_path / "kept.v", tmp_path / "certificate.json"
    assert main(["verify", "mlp", "--optimizer", "adam", "--prove", "--keep", str(kept), "-o", str(saved)]) == 0
    assert "lines proved by Coq" in capsys.readouterr().out
    certificate = Certificate.from_json(saved.read_text(encoding="utf-8"))
    assert certificate.count("proved") > 150 and certificate.proof is not None
    assert {e.what.kind for e in certificate.entries if e.tier != "proved"} == {"gradients", "loops", "program"}
    assert certificate == Certificate.from_json(certificate.to_json())
    done = subprocess.run([coqc, "-q", kept.name], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Closed under the global context" in done.stdout
    text = kept.read_text(encoding="utf-8")
    assert "exact (claim_" in text, "lines that are the same but for names are proved once"
    assert _axioms_by_checker(kept) == []
    own = tmp_path / "own.v"
    own.write_text("Axiom anything : False.\n", encoding="utf-8")
    subprocess.run([coqc, "-q", own.name], cwd=tmp_path, check=True)
    assert _axioms_by_checker(own) == ["own.anything"]


def _axioms_by_checker(source: Path) -> list[str]:
    """What Coq's independent checker says that a compiled file assumes. Coq's own library, which takes it twenty
    seconds, is taken as it is."""
    checker = shutil.which("coqchk")
    assert checker
    done = subprocess.run(
        [checker, "-silent", "-o", "-norec", source.stem], cwd=source.parent, capture_output=True, text=True, check=True
    )
    assert "CONTEXT SUMMARY" in done.stderr
    return re.findall(rf"^ +({source.stem}\.\S+)$", done.stderr, re.MULTILINE)


def test_equations_of_a_users_own_are_proved() -> None:
    certificate = cr.derive("y[n, i<9] = sum[p<3](w[p]*x[n, 2*i + p])").verify(prove=True)
    assert certificate.proof is not None
    assert {t.reason for t in certificate.proof.theorems} == {""}, "the strided forms too"
    assert any(("p", 3) in t.numbers for t in certificate.proof.theorems), "a stride counts by p"
    generic = [t for t in certificate.proof.theorems if t.level == 0]
    assert len(generic) >= 7 and not any(name == "i" for t in generic for name, _ in t.numbers), "for every i"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("sum[k](d[n, k]*W[j, k])", "sum[k](d[n, k]*W[k, j])"),
        ("d[n, j]*(1 + z[n, j])", "d[n, j] - d[n, j]*z[n, j]"),
        ("sum[i<3, p<2](d[n, i]*[2*i + p + 1 == j])", "sum[p<2](sum[i<3]([j - p == 2*i]*d[n, i]))"),
    ],
)
def test_a_form_that_says_something_else_is_refused(wrong: str, right: str, coq: Session) -> None:
    what = Subject("form", y="y")
    false, true = (parse_equation(f"y[n<5, j<6] = {text}").value for text in (wrong, right))
    lines = [Claim(what, (0,), (Row("form", before, true),), ()) for before in (false, true)]
    _, found, _ = proved(lines, coq)
    assert [one.reason for one in found] == ["Coq does not close the step form", ""]


def test_an_open_line_leaves_the_others_proved_and_names_its_step(coq: Session) -> None:
    every = [*claims(cr.derive("y[n, k] = 2*x[n, k] + 3"))]
    what = Subject("form", y="wrong")
    before, after = (parse_equation(f"y[n<5] = {e}").value for e in ("a[n]", "a[n]**2"))
    wrong = Claim(what, (0,), (Row("form", before, after),), ())
    text, found, axioms = proved([every[0], wrong, *every[1:]], coq)
    assert [t.reason for t in found] == ["", "Coq does not close the step form", *("" for _ in every[1:])]
    assert "wrong" not in text and not axioms
    steps = [part for part in Theorem(every[0], "claim_0").parts() if len(part.ways) > 1]
    assert steps  # the file says of each the way that closed it
    assert all(part.text not in text and any(part.by(way) in text for way in part.ways) for part in steps)


def test_a_part_that_is_refused_or_runs_on_leaves_nothing() -> None:
    true, false = "Lemma a : True. Proof. exact I. Qed.", "Lemma b : False. Proof. exact I. Qed."
    with Session() as coq:
        assert not coq.accepts(f"{true}\n{false}") and "No object" in coq.said("Locate a.")
        assert not coq.accepts(f"Ltac loop := loop.\n{true.replace('exact I', 'loop')}", 1)
        with coq.aside():
            assert coq.accepts(true) and "Top.a" in coq.said("Locate a.")
        assert "No object" in coq.said("Locate a.") and coq.accepts(true) and "Top.a" in coq.said("Locate a.")
        with pytest.raises(RuntimeError, match="Coq has ended"):
            coq.said("Quit.")


# Lines that differ inside functions: equal ones are proved, others are not.

GIVEN = """
Variables (N M n : Z) (f g : K -> K) (h : K -> K -> K) (x y : Z -> K) (A : Z -> Z -> K) (e : Z -> Z).
Hypothesis inside_n : (0 <= n < N)%Z.
"""
INSIDE = {
    "a product": "f (x n * y n * x 1%Z) * y n = y n * f (y n * x 1%Z * x n)",
    "a function in a function": "f (g (x n * y n) * x n) * y n = y n * f (x n * g (y n * x n))",
    "two arguments": "h (x n * y n) (x n + y n) * y n = y n * h (y n * x n) (y n + x n)",
    "a sum": "power (1 # 2) (sum N (fun i => x i * y i)) * y n = y n * power (1 # 2) (sum N (fun i => y i * x i))",
    "a sum in each term": "sum N (fun i => f (sum M (fun j => A i j * x j)) * y n)\n"
    "= sum N (fun i => y n * f (sum M (fun j => x j * A i j)))",
    "a factor of a sum": "f (sum M (fun j => A n j * x n)) * y n = y n * f (x n * sum M (fun j => A n j))",
    "a logsumexp": "logsumexp N (fun i => x i * y i) * y n = y n * logsumexp N (fun i => y i * x i)",
    "a maximum": "max N (fun i => x i * y i) * f (x n * y n) = f (y n * x n) * max N (fun i => y i * x i)",
    "a position": "bracket (at_id n (argmax N (fun i => x i * y i))) * f (x n)\n"
    "= f (x n) * bracket (at_id n (argmax N (fun i => y i * x i)))",
    "a maximum over a window": "max (cells (cells N 2) M) (joined M (joined 2 (fun i j k => x i * A j k))) * f (x n)\n"
    "= f (x n) * max (cells (cells N 2) M) (joined M (joined 2 (fun i j k => A j k * x i)))",
    "an index that is read": "bracket (at_id n (e (n + 1 - 1)%Z)) * f (x n) = f (x n) * bracket (at_id n (e n))",
    "sums in another order": "sum N (fun i => sum M (fun j => A i j * f (x i))) * y n\n"
    "= y n * sum M (fun j => sum N (fun i => f (x i) * A i j))",
    "a padded read": "bracket (inside (n + 1) N) * f (x (n + 1)%Z) * y n\n"
    "= y n * bracket (inside (n + 1) N) * f (read (inside (n + 1) N) (x (n + 1)%Z) zero)",
}
OTHERS = {
    "another factor": "f (x n * y n) * y n = y n * f (x n * x n)",
    "a function the less": "f (g (x n) * y n) = f (y n * x n)",
    "another index in a sum": "sum N (fun i => f (sum M (fun j => A i j * x j)) * y i)\n"
    "= sum N (fun i => y n * f (sum M (fun j => x j * A i j)))",
    "another order of a window": "max (cells N M) (joined M (fun i j => A i j * x i)) * y n\n"
    "= y n * max (cells M N) (joined N (fun j i => x i * A i j))",
    "another order of arguments": "h (x n) (y n) * y n = y n * h (y n) (x n)",
    "a read outside": "f (x (n + 1)%Z) * y n = y n * f (read (inside (n + 1) N) (x (n + 1)%Z) zero)",
}  # fmt: skip


def test_what_is_equal_inside_functions_is_found(coq: Session) -> None:
    assert coq.accepts(GIVEN)
    every = {**INSIDE, **OTHERS}
    assert [name for name, goal in every.items() if coq.accepts(f"Goal {goal}.\nProof. equal. Qed.", 60)] == [*INSIDE]


KINDS = {
    case.name: case.derivation
    for case in (
        Case("products within functions", "y[n, k] = tanh(a[n, k]*b[k])*c[n]", {"a": ("N", 3), "b": (3,), "c": ("N",)}),
        Case("a range that a bracket leaves", "y[n, i<3] = sin(pad(d, 0)[i]*x[n, i + 1])", {"d": (5,), "x": ("N", 5)}),
        Case("sums that count", "y[n] = exp(b[n]*sum[k<3](b[n]))*sum[i, k<3](c[i])", {"b": ("N",), "c": (4,)}),
        Case("a sum read in a bracket alone", "y[n, j] = tanh(sum[k<3, i<2](x[n, k + 1]))*x[n, j]", {"x": ("N", 5)}),
        Case("a position beside a window", "y[n, i<7] = sin(max[j<4](pad(x, -inf)[n, i + j - 1]))", {"x": ("N", 7)}),
        Case("a position as a form", "y[n] = argmax[k<3](x[n, k])*z[n]", {"x": ("N", 3), "z": ("N",)}),
        Case("a bracket beside another", "y[n, k<2] = pad(x, -1)[n, k, k] + x[n, k + 1, k]", {"x": ("N", 3, 2)}),
        Case("a mean of equal terms", "y[n, j<4] = a[n, j]*mean[m<N](C[j, 1]**3)", {"a": ("N", 4), "C": (4, 3)}),
        Case(
            "a bracket that pins a sum of brackets", "y[n, j<2] = tanh(v[n, j, j]*(x[n, j, j]*x[n, j, 1 - j]))*z[n, j]",
            {"v": ("N", 2, 2), "x": ("N", 2, 2), "z": ("N", 2)},
        ),
        Case(
            "a sum of nothing but functions",
            "y[i<3] = a[i]*sin(sum[l<2](logsumexp[p<3](v[p]*sum[q<2](w[l, 2*q]*u[q, i]))))",
            {"v": (3,), "a": (3,), "w": (2, 4), "u": (2, 3)},
        ),
        Case(
            "two sums of one line that are equal",
            "y[n, i<2] = (sum[m<N](x[n, i] - x[m, i]) - sum[m<N](x[m, i] - x[n, i]) + z[i])*sum[m<N](x[m, i]*x[m, i])",
            {"x": ("N", 2), "z": (2,)},
        ),
        Case("a maximum of one value", "y[n] = sin(max[k<2](u[n] + u[n]))*u[n]", {"u": ("N",)}),
        Case(
            "a value at a number of two digits",
            "y[2*(i<3) + (q<2)] = sigmoid(sum[j<2](pad(x, 0)[i + j - 1, j]*a[q]))", {"x": (3, 2), "a": (2,)},
        ),
    )
}
"""Small equations of which lines had stayed open, or closed only at the layer's numbers."""


def test_small_equations_of_each_kind_are_proved(coq: Session) -> None:
    every = [(name, claim) for name, derivation in KINDS.items() for claim in claims(derivation)]
    _, found, axioms = proved([claim for _, claim in every], coq)
    assert not axioms and len(found) > 50
    for (name, claim), one in zip(every, found, strict=True):
        assert not one.reason, f"{name}: {one.what}: {one.reason}"
        generic = claim.rows[-1].rule == "form" or one.level == 0
        assert generic, f"{name}: {one.what} is proved at the numbers of the layer alone"


def test_a_sum_of_equal_terms_counts_them_and_no_other_number(coq: Session) -> None:
    every = claims(KINDS["a mean of equal terms"])
    claim = next(c for c in every if c.rows[-1].rule == "form" and str(c.what) == "y itself")
    (row,) = claim.rows
    lines = (row.after, multiply((Constant(Fraction(2)), row.after)), multiply((Size("N"), row.after)))
    _, found, _ = proved([replace(claim, rows=(Row("form", row.before, line),)) for line in lines], coq)
    assert [one.reason for one in found] == ["", *["Coq does not close the step form"] * 2]
    assert ("size", "N") in found[0].assumed


@pytest.mark.parametrize(
    ("name", "rule", "old", "new"),
    [
        ("maximum", "derivative.max", "(6 * p_1 + 3 * q1 + r1)", "(p_1 + 2 * q1 + 4 * r1)"),
        ("position", "derivative.product", "(fun p_1 q_1 r_1 =>", "(fun q_1 p_1 r_1 =>"),
        ("logsumexp", "derivative.logsumexp", "(fun p2 q2 r2 =>", "(fun p2 r2 q2 =>"),
        ("logsumexp", "reuse", "(y_1 n_1)", "(y_1 p_1)"),
    ],
)
def test_windows_of_three_indices_are_proved_and_a_wrong_line_refused(
    name: str, rule: str, old: str, new: str, coq: Session
) -> None:
    every = [*claims(WINDOWS[name].derivation)]
    _, found, axioms = proved(every, coq)
    assert len(found) >= 4 and not axioms and [t.reason for t in found if t.reason] == []
    theorem = Theorem(every[0], "claim_0")
    given(coq, theorem)
    row, clearing = next(step for step in zip(theorem.rows, theorem.cleared, strict=True) if step[0].rule == rule)
    line = theorem.line(row.after)
    assert old in line
    wrong = line.replace(old, new)
    assert [closes(coq, theorem, row, clearing, text, 20) for text in (line, wrong)] == [True, False]


def test_the_chain_rule_is_proved_for_any_functions_and_a_wrong_line_refused(coq: Session) -> None:
    (repeated, *_) = composites(read_model("mlp").derive())
    _chain_rule(coq, of_chain(repeated.composite, Subject("composite", number=1)), 2)


def test_the_chain_rule_is_proved_where_the_outer_function_is_the_loss(coq: Session) -> None:
    """∂ℓ/∂x = (∂ℓ/∂ℓ)(∂ℓ/∂x) is its first line."""
    text = "u[n, k] = sum[j](W[k, j]*x[n, j])\nz[n, k] = tanh(u[n, k])\nloss = sum[n, k](z[n, k]*t[n, k])"
    program = Case("a loss of its own", text, {"x": ("N", 4), "t": ("N", 3), "W": (3, 4)}).program
    forward = replace(program, inputs=program.inputs[:2], parameters=program.inputs[2:])
    (repeated,) = composites(derive_program(forward, forward.outputs[0], forward.parameters))
    _chain_rule(coq, of_chain(repeated.composite, Subject("composite", number=1)), 1)


def _chain_rule(coq: Session, claim: Claim, links: int) -> None:
    """Closes with its own lines, and with no other but for the factor ∂ℓ/∂ℓ, which is 1."""
    theorem, random = Theorem(claim, "claim_0"), Random("mutants of the chain rule")
    assert [row.rule for row in theorem.rows] == ["chain", "chain", "distribute"] and len(claim.links) == links
    given(coq, theorem)
    assert all(closes(coq, theorem, row, (), theorem.line(row.after), 5) for row in theorem.rows)

    def own(line: Expr) -> str:
        return str(line).replace("*D(loss, loss)", "").replace("D(loss, loss)*", "")

    for row in theorem.rows:
        others = [line for line in mutants(row.after, 6, random) if own(line) != own(row.after)]
        assert others
        assert [str(line) for line in others if closes(coq, theorem, row, (), theorem.line(line), 5)] == []


# Wrong rules.

CORRUPTED = {
    "derivative.independent": ("snd (still a) = zero.", "snd (still a) = a."),
    "derivative.sum": ("snd (dadd a b) = snd a + snd b.", "snd (dadd a b) = snd a."),
    "derivative.reduction": ("dfirst (Z.to_nat n) f = dsum n f.", "dfirst (Z.to_nat n) f = dsum (n + 1) f."),
    "derivative.product": ("= snd a * fst b + fst a * snd b.", "= snd a * snd b."),
    "derivative.power": ("times (S n) * fst (whole a n)", "times n * fst (whole a n)"),
    "derivative.function": ("snd (dfun g g' a) = g' (fst a) * snd a.", "snd (dfun g g' a) = g' (fst a)."),
    "derivative.max": ("(at_id i (argmax n (fun j => fst (f j)))) * snd (f i)).", "(at_id i 0%Z) * snd (f i))."),
    "derivative.argmax": ("(argmax n f)))) = zero.", "(argmax n f)))) = one."),
    "derivative.logsumexp": ("= sum n (fun i => exp (fst (f i) +", "= sum n (fun i => exp (snd (f i) +"),
    "derivative.component": ("snd (moved x j i) = bracket (i =? j)%Z.", "snd (moved x j i) = x i."),
    "chain": ("(0 <= k < n)%Z -> d k = d' k.", "(0 <= k < n)%Z -> d k = d' 0%Z."),
    "error_signal": ("sum n e = sum n y.", "sum n e = sum (n + 1) y."),
    "definition": ("(forall i, y i = e i) ->", "(forall i, y i = e 0%Z) ->"),
    "law": ("(forall i, y i = e i) ->", "(forall i, y 0%Z = e i) ->"),
    "reuse": ("(y e : Z -> K) n : (forall i, y i = e i)", "(y e : Z -> K) n : (forall i, y i = y i)"),
    "distribute": ("a * (b + c) = a * b + a * c.\nProof", "a * (b + c) = a * b + c.\nProof"),
    "zero": ("a * zero = zero.", "a * zero = a."),
    "solve": ("sum n f = bracket (inside s n) * r.", "sum n f = r."),
    "bracket": ("(0 <= s < n)%Z -> (forall i, 0 <= i < n -> d i = true", "(forall i, 0 <= i < n -> d i = true"),
    "single": ("sum 1 f = f 0%Z.", "sum 1 f = f 1%Z."),
    "range": ("(0 <= a < n)%Z -> bracket (inside a n) = one.", "(0 <= a <= n)%Z -> bracket (inside a n) = one."),
    "padding": ("bracket b * a = read b a zero.", "bracket b * a = read b a one."),
    "radix": ("(0 <= d < h)%Z -> (0 <= d' < h)%Z ->\n  bracket", "(0 <= d <= h)%Z -> (0 <= d' <= h)%Z ->\n  bracket"),
    "residues": ("(m * (c - 1) + r < n <= m * c + r)%Z ->", "(m * (c - 1) + r <= n <= m * c + r)%Z ->"),
    "unit": ("one * power 1 a = a.", "one * power 2 a = a."),
    "associate": ("a * (b * c) = a * b * c.", "a * (b * c) = a * b + c."),
    "constants": ("num (1 # 2) * a * num (2 # 1) = one * a.", "num (1 # 2) * a * num (3 # 1) = one * a."),
    "take_out": ("sum n (fun i => a * f i) = a * sum n f.", "sum n (fun i => a + f i) = a + sum n f."),
    "like_terms": ("a + a = num (2 # 1) * a.", "a + a = a."),
    "collect": ("a * b + a * c = a * (b + c).", "a * b + a * c = a * b * c."),
}  # fmt: skip


WINDOW = {
    "in_cells": ("(0 <= p < cells n m)%Z ->", "(0 <= p <= cells n m)%Z ->"),
    "cells": ("if (0 <? m)%Z then n * m else 0.", "n * m."),
    "sum_cells": ("sum m (fun j => f (m * i + j)%Z)).", "sum m (fun j => f (n * i + j)%Z))."),
    "nested": ("nested g r (m * p + j) (f j))", "nested g r (p + m * j) (f j))"),
    "max_over_positions": ("dmax (positions n w) nil (flat w f).", "dmax n nil (flat w f)."),
}


def test_every_rule_has_a_corrupted_copy() -> None:
    assert set(CORRUPTED) == set(RULES)


def test_a_corrupted_rule_is_refused() -> None:
    wrong = {**CORRUPTED, **WINDOW}
    assert refused(theorems("Rules.v"), wrong) == {*wrong}


# Wrong lines.

DRAWN = {"mlp": 2, "lenet": 1, "conv2d_stride_padding": 1, "max_pool_gaps": 1, "quotient": 1, "softmax": 1}
"""Changes of each line. Together they are more than 500 lines."""


def _derivation(name: str) -> Derivation:
    return CASES[name].derivation if name in CASES else read_model(name).derive()


def _changed(name: str) -> Iterator[tuple[Lemma, Theorem, list[tuple[Row, Cleared, Expr]]]]:
    """For each lemma its theorem, and lines with one change in the place of the last line of a step."""
    random = Random(f"mutants of {name}")
    lemmas = [lemma for what, lemma in every_lemma(_derivation(name)) if not what.one_sample]
    for n, lemma in enumerate(lemmas):
        theorem = Theorem(of_piece(lemma, 0, _subject(n)), f"claim_{n}")
        steps = zip(theorem.rows, theorem.cleared, strict=True)
        yield lemma, theorem, [
            (row, found, line) for row, found in steps for line in mutants(row.after, DRAWN[name], random)
        ]


def test_more_than_500_lines_are_changed() -> None:
    assert sum(len(lines) for name in DRAWN for _, _, lines in _changed(name)) > 500


@pytest.mark.parametrize("name", DRAWN)
def test_a_line_with_one_change_is_refused_or_true(name: str, coq: Session) -> None:
    """The step's own proof is tried; what Coq accepts the field must too."""
    extents = extents_for(_derivation(name).forward, 2)
    tried = accepted = 0
    for lemma, theorem, lines in _changed(name):
        given(coq, theorem)
        for row, found, line in lines:
            tried += 1
            if closes(coq, theorem, row, found, theorem.line(line), 1):
                accepted += 1
                scene = of_lemma(replace(lemma, pieces=lemma.pieces[:1]), extents, forms=False)
                scene = replace(scene, lines=(Line(_subject(0), row.rule, row.before, line),))
                assert failures(scene, 7) == {}, f"{row.before} = {line} is false and was proved"
        coq.said(f"Reset {theorem.name}_section.")
    assert tried >= 10 and accepted <= tried // 10


def _subject(number: int) -> Subject:
    return Subject("other", y=str(number))


def test_an_axiom_is_seen_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = theorems()
    text = text.replace("Section Chainrule.", "Axiom anything : True.\nSection Chainrule.", 1)
    with_axiom = text.replace("intros H. apply first_ext.", "intros H. pose proof anything. apply first_ext.", 1)
    assert with_axiom != text
    monkeypatch.setattr("chainrule.verify.proof.theorems", lambda: with_axiom)
    with pytest.raises(cr.VerificationError, match="anything"):
        prove(cr.derive("y[n, k] = 2*x[n, k] + 3"))
