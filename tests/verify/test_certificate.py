"""The certificate: what it covers, what it claims, and that it refuses what is wrong."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import execute as executor
from chainrule.cli import main
from chainrule.derive import Derivation, derive_program
from chainrule.derive.reduce import reduced_lemma, reduced_program
from chainrule.derive.scene import Line, Scene
from chainrule.derive.subject import Subject
from chainrule.errors import DataError, VerificationError
from chainrule.ir.expr import Constant, Multiply, Tensor
from chainrule.ir.functions import CATALOGUE, FUNCTIONS
from chainrule.ir.index import Index
from chainrule.ir.parse import parse_expression, parse_program
from chainrule.ir.program import Equation, Program
from chainrule.semantics.reals import MissingLibraryError, library
from chainrule.verify import proof
from chainrule.verify.certificate import Certificate, Entry, certify, settle
from chainrule.verify.claims import claims
from chainrule.verify.exact import GradientCheck, ProgramCheck, SceneCheck
from chainrule.verify.floats import measure
from chainrule.verify.plan import TARGET, planned
from tests.derive.cases import CASES
from tests.examples import few

LENET = """u1[n,o,i<28,j<28] = sum[c,p,q](W1[o,c,p,q]*pad(x,0)[n,c,i+p-2,j+q-2]) + b1[o]
z1[n,o,i,j] = relu(u1[n,o,i,j])
y1[n,o,i<14,j<14] = max[p<2,q<2](z1[n,o,2*i+p,2*j+q])
u2[n,o,i,j] = sum[c,p,q](W2[o,c,p,q]*y1[n,c,i+p,j+q]) + b2[o]
z2[n,o,i,j] = relu(u2[n,o,i,j])
y2[n,o,i<5,j<5] = mean[p<2,q<2](z2[n,o,2*i+p,2*j+q])
u3[n,k] = sum[c,i,j](W3[k,25*c+5*i+j]*y2[n,c,i,j]) + b3[k]
z3[n,k] = relu(u3[n,k])
u4[n,k] = sum[l](W4[k,l]*z3[n,l]) + b4[k]
z4[n,k] = relu(u4[n,k])
u5[n,k] = sum[l](W5[k,l]*z4[n,l]) + b5[k]
loss = mean[n](logsumexp[k](u5[n,k]) - sum[k](t[n,k]*u5[n,k]))"""
SHAPES: dict[str, tuple[int | str, ...]] = {
    "x": ("N", 1, 28, 28), "t": ("N", 10), "W1": (6, 1, 5, 5), "b1": (6,), "W2": (16, 6, 5, 5), "b2": (16,),
    "W3": (120, 400), "b3": (120,), "W4": (84, 120), "b4": (84,), "W5": (10, 84), "b5": (10,),
}


def lenet() -> Program:
    tensors = {name: Tensor(name, shape) for name, shape in SHAPES.items()}
    equations = tuple(parse_program(LENET, tensors=tensors))
    parameters = tuple(t for name, t in tensors.items() if name not in "xt")
    return Program(equations, inputs=(tensors["x"], tensors["t"]), parameters=parameters,
                   outputs=(equations[-1].tensor,))


def mlp() -> cr.Model:
    return cr.Sequential(cr.Input(6), cr.Dense(5), cr.Sigmoid(), cr.Dense(3), loss="softmax_cross_entropy")


@pytest.mark.parametrize("name", few(CASES, 6))
def test_every_line_of_every_case_is_checked_exactly(name: str) -> None:
    certificate = certify(CASES[name].derivation)
    assert certificate.count("exact") == len(certificate.entries) > 3
    assert 0 < certificate.bound <= TARGET
    assert any(e.rule == "dual numbers" for e in certificate.entries)


def test_lenet_is_checked_with_its_code_paths_at_reduced_shapes() -> None:
    program = lenet()
    derivation = derive_program(program, program.outputs[0], [*program.parameters, program.inputs[0]])
    certificate = certify(derivation)
    assert certificate.count("exact") == len(certificate.entries) > 400
    assert certificate.bound <= TARGET
    assert any("all gradients together: x 2×1×28×28" in str(s) for s in certificate.shapes)
    assert any(s.reduced for s in certificate.shapes) and "stride" in certificate.notes[0]


def test_a_network_is_checked_at_full_size_and_batch() -> None:
    model = cr.Sequential(cr.Input(784), cr.Dense(128), cr.ReLU(), cr.Dense(10), loss="softmax_cross_entropy")
    certificate = model.verify(samples=64)
    assert certificate.bound <= TARGET
    assert any(str(s).startswith("all gradients together: input 64×784, target 64×10") for s in certificate.shapes)
    assert any(e.what.kind == "program" for e in certificate.entries)


def test_a_certificate_says_what_it_means_and_survives_json(tmp_path: Path) -> None:
    certificate = mlp().verify()
    text = certificate.to_text()
    for word in ("checked exactly", "2^-", "Shapes checked", "rounding", "ties", "shapes other than", "dense1.W"):
        assert word in text
    assert text.count("\n") < certificate.to_text(full=True).count("\n")
    assert "derivative.product" in certificate.to_text(full=True)
    certificate.save(tmp_path / "c.json")
    again = Certificate.from_json((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert again == certificate and isinstance(again.entries[0], Entry)
    for bad in ("", "[]", '{"entries": [{}]}', '{"entries": 3}'):
        with pytest.raises(DataError):
            Certificate.from_json(bad)


# Refusals.


def tampered(derivation: Derivation, where: str) -> Derivation:
    """A derivation with one number changed: in a lemma's last line, in the backward program, or in both."""
    slightly = Constant(Fraction(10_000_001, 10_000_000))
    gradient = derivation.parts["dense1.W"]
    (use,) = gradient.uses
    old = use.equations[0]
    new = Equation(old.target, Multiply((slightly, old.value)))
    if where != "lemma":
        equations = tuple(new if e is old else e for e in derivation.backward.equations)
        derivation = replace(derivation, backward=replace(derivation.backward, equations=equations))
    if where != "backward":
        lemma = use.lemma
        (piece,) = lemma.pieces
        value = Multiply((slightly, piece.equation.value))
        steps = (*piece.steps[:-1], replace(piece.steps[-1], after=value))
        piece = replace(piece, equation=Equation(piece.equation.target, value), steps=steps)
        use = replace(use, lemma=replace(lemma, pieces=(piece,)), equations=(new,))
        derivation = replace(derivation, parts={**derivation.parts, "dense1.W": replace(gradient, uses=(use,))})
    return derivation


@pytest.mark.parametrize("where", ["lemma", "backward", "both"])
def test_a_factor_of_one_in_ten_million_is_refused(where: str) -> None:
    with pytest.raises(VerificationError) as caught:
        certify(tampered(mlp().derive(), where))
    error = caught.value
    assert error.left != error.right and error.line and error.point
    assert error.left in str(error) and error.right in str(error)


def test_the_whole_gradient_names_the_wrong_one() -> None:
    derivation = tampered(mlp().derive(), "backward")
    failed = GradientCheck(derivation, {"N": 2}).run(0)
    assert "the gradient of dense1.W" in failed[0].point


def test_a_simplified_backward_program_is_compared_with_the_derived_one() -> None:
    derivation = mlp().derive()
    outputs = tuple(t.name for t in derivation.gradients.values())
    wrong = tampered(derivation, "backward").joint
    assert ProgramCheck(derivation.joint, derivation.joint, {"N": 2}, outputs).run(1) == {}
    failed = ProgramCheck(derivation.joint, wrong, {"N": 2}, outputs).run(1)
    assert [outputs[n] for n in failed] == ["δ(dense1.W)"]


# Lines that the field does not settle as they stand.


def scene(before: str, after: str) -> SceneCheck:
    names = {"x": Tensor("x", (3,)), "y": Tensor("y", (3,)), "v": Tensor("v", (2, 3))}
    indices = {"i": Index("i", 3), "n": Index("n", 2)}
    sides = (parse_expression(t, tensors=names, indices=indices) for t in (before, after))
    line = Line(Subject("other", y="a line"), "by hand", *sides)
    return SceneCheck(Scene((line,), tuple(names.values()), (), {}, {}))


def tier(before: str, after: str) -> str:
    (plan,) = planned([(scene(before, after), False)])
    (entry,) = settle(plan, 0, [])
    return entry.tier


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x[i]*(y[i] + 1)", "x[i]*y[i] + x[i]", "exact"),
        ("(x[i]**(1/2))**2", "x[i]", "exact"),
        ("x[i]**(1/3)*x[i]**(2/3)*y[i]", "y[i]*x[i]", "exact"),
        ("(x[i]**(1/2) + 1)**2", "x[i] + 2*x[i]**(1/2) + 1", "exact"),
        ("step(x[i])*step(x[i])", "step(x[i])", "exact"),
        ("sum[k<3](y[i]*exp(v[n, k] - logsumexp[j](v[n, j])))", "y[i]", "exact"),
        ("log(x[i]*y[i])", "log(x[i]) + log(y[i])", "exact up to a constant"),
        ("exp(x[i] + y[i])", "exp(x[i])*exp(y[i])", "evidence"),
        ("[0 <= i - 1 < 3]*exp(x[i - 1] + y[i])", "[0 <= i - 1 < 3]*exp(x[i - 1])*exp(y[i])", "evidence"),
        ("sigmoid(x[i])", "1/(1 + exp(-x[i]))", "evidence"),
        ("logsumexp[k](v[n, k])", "log(sum[k](exp(v[n, k])))", "evidence"),
    ],
)
def test_a_true_line_passes_a_tier_and_the_right_one(before: str, after: str, expected: str) -> None:
    assert tier(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(x[i]**(1/2))**2", "x[i] + 1/10000000"),
        ("step(x[i])*step(x[i])", "2*step(x[i])"),
        ("sum[k<3](y[i]*exp(v[n, k] - logsumexp[j](v[n, j])))", "3*y[i]"),
        ("log(x[i]*y[i])", "log(x[i]) - log(y[i])"),
        ("log(x[i]*y[i])", "log(x[i]) + log(y[i]) + 1/10000000"),
        ("exp(x[i] + y[i])", "exp(x[i]) + exp(y[i])"),
        ("sigmoid(x[i])", "1/(1 + exp(x[i]))"),
    ],
)
def test_a_false_line_passes_neither_tier(before: str, after: str) -> None:
    with pytest.raises(VerificationError):
        tier(before, after)


def test_the_second_tier_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpmath", None)
    with pytest.raises(MissingLibraryError, match=r"chainrule\[verify\]"):
        tier("exp(x[i] + y[i])", "exp(x[i])*exp(y[i])")
    assert mlp().verify().count("exact") > 50  # the first tier needs nothing


def test_every_function_of_the_catalogue_has_a_value_at_50_digits() -> None:
    for name, function in CATALOGUE.items():
        for point in ([0.75, 0.5], [-0.5, 2.25], [3.0, 3.0]):
            arguments = [abs(a) if name == "log" else a for a in point[: function.arity]]
            mine = FUNCTIONS[name](*(np.asarray(a) for a in arguments))
            value = function.value(library(), *map(library().mpf, arguments))
            assert float(value) == pytest.approx(float(mine), rel=1e-14)


# Shapes.


def test_reduced_shapes_keep_strides_remainders_windows_and_paddings() -> None:
    small = reduced_program(lenet())
    assert small is not None
    shapes = {t.name: t.shape for t in (*small.given, *small.defined)}
    assert shapes["W1"] == (3, 1, 5, 5) and shapes["W2"] == (3, 3, 5, 5)
    assert shapes["u1"][2] == shapes["x"][2] == 2 * int(shapes["y1"][2]) < 28
    assert shapes["W3"][1] == 3 * int(shapes["y2"][2]) ** 2


def test_a_window_that_an_axis_of_any_length_moves_is_derived_with_its_checks() -> None:
    derivation = cr.derive("y[n, q, h<3] = pad(x, 0)[n, q, 1 - h + 2*q]*v[h]")
    assert "Q" in derivation.forward.equations[0].tensor.shape
    assert certify(derivation).count("exact") > 10


def test_a_lemma_at_reduced_shapes_has_the_same_lines() -> None:
    text = "y[n, o, i<15] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, 2*i + p - 1])"
    tensors = {"W": Tensor("W", (9, 8, 3)), "x": Tensor("x", ("N", 8, 30))}
    program = Program(tuple(parse_program(text, tensors=tensors)), inputs=tuple(tensors.values()))
    program = replace(program, outputs=(program.equations[0].tensor,))
    lemma = derive_program(program, None, [tensors["x"]]).parts["x"].uses[0].lemma
    small = reduced_lemma(lemma)
    assert small is not None and small.wrt.tensor.shape[2] in range(4, 12, 2)  # even, as 30 is
    assert [s.rule for s in small.all_steps] == [s.rule for s in lemma.all_steps]
    broken = replace(lemma, steps=(replace(lemma.steps[0], after=lemma.steps[0].before), *lemma.steps[1:]))
    assert reduced_lemma(broken) is None  # a line that is not the rule's own is checked as it stands


# Float behaviour.


def test_the_errors_of_gradients_are_measured_in_ulps() -> None:
    found = measure(mlp().derive())
    assert {(m.kind, m.dtype) for m in found} == {
        (kind, dtype) for kind in ("random", "saturated", "tied") for dtype in ("float32", "float64")
    }
    assert all(m.ulps is not None and m.ulps < 50 for m in found if m.kind == "random")


@pytest.mark.parametrize("name", ["relu", "max_of_two", "max_pool"])
def test_a_mask_that_takes_the_kink_for_positive_shows_at_ties_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation = CASES[name].derivation
    measure(derivation, samples=4)
    monkeypatch.setitem(FUNCTIONS, "step", lambda x: (x >= 0).astype(x.dtype))
    if name == "max_pool":  # the last maximum in place of the first
        monkeypatch.setattr(executor, "first_greatest", lambda a: a.shape[-1] - 1 - a[..., ::-1].argmax(-1))
    with pytest.raises(VerificationError, match="tie"):
        measure(derivation, samples=4)


# Maxima.


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("y[n] = max[k<6](x[n, k])", 3, 40),  # two samples a trial
        ("y[n, k] = max[i<3](x[n, k])", 1, 3),  # all entries are equal, and the first of them is selected
        ("y[i<1] = max[p<2](pad(x, -inf)[i + p - 1]) + x[i]", 1, 3),  # one of the two is padding
    ],
)
def test_trials_are_added_until_each_position_of_a_maximum_was_selected(text: str, least: int, most: int) -> None:
    whole = GradientCheck(cr.derive(text), {"N": 2, "K": 4})
    (plan,) = planned([(whole, False)])
    (entry,) = settle(plan, 0, [])
    assert least <= entry.trials - plan.trials + 1 <= most and entry.tier == "exact"


def test_checks_share_the_points_where_a_maximum_selects_something_new() -> None:
    plan = planned([(GradientCheck(cr.derive("y[n] = max[k<12](x[n, k])"), {"N": 1}), False)])[0]
    telling = list[int]()
    (first,), (second,) = settle(plan, 0, telling), settle(plan, 0, telling)
    assert second.trials == len({*range(plan.trials), *telling}) <= 12 < first.trials
    assert first.bound < second.bound < 2**-60


def test_a_maximum_over_a_hundred_terms_is_checked_exactly() -> None:
    certificate = certify(cr.derive("y[n] = max[k<100](x[n, k]*w[k])"))
    assert certificate.count("exact") == len(certificate.entries)


# The command line.


def test_the_command_prints_the_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "certificate.json"
    assert main(["verify", "neuron", "-o", str(path)]) == 0
    assert "checked exactly" in capsys.readouterr().out
    assert Certificate.from_json(path.read_text(encoding="utf-8")).bound <= TARGET
    assert main(["verify", "z[n, k] = sigmoid(u[n, k])", "--full"]) == 0
    assert "derivative.function" in capsys.readouterr().out


def test_the_command_exits_with_1_where_a_line_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tampered(mlp().derive(), "both")
    monkeypatch.setattr("chainrule.commands.documents._derivation", lambda what, wrt: wrong)
    assert main(["verify", "y = x"]) == 1
    assert "no identity" in capsys.readouterr().err


# What Coq proves; tests/proof runs it.

EQUATION = "y[n, k] = sigmoid(a[k]*u[n, k])"


def test_without_coq_one_sentence_says_so_and_the_certificate_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "coqc", lambda: None)
    derivation = cr.derive(EQUATION)
    plain, asked = derivation.verify(), derivation.verify(prove=True)
    assert asked.proof is None and asked.notes == (*plain.notes, proof.MISSING)
    assert [(e.what, e.tier, e.bound) for e in asked.entries] == [(e.what, e.tier, e.bound) for e in plain.entries]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_proved_stands_in_json_table_and_document(
    lang: Literal["en", "zh"], monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation = cr.derive(EQUATION)
    every = [*claims(derivation)]
    theorems = [proof.Proved(c.what, c.places, (("law", "sigmoid"), ("ties", "max")), (("p", 3),)) for c in every]
    theorems[-1] = proof.Proved(every[-1].what, every[-1].places, reason="a step is left")
    found = proof.Proof("8.16.1", tuple(theorems))
    monkeypatch.setattr("chainrule.verify.certificate.proved_by_coq", lambda derivation, *given: found)
    certificate = derivation.verify(prove=True)
    assert certificate.count("proved") == sum(len(c.places) for c in every[:-1]), "no form, nor the last lemma"
    assert Certificate.from_json(certificate.to_json()) == certificate
    table, text = certificate.to_text(), derivation.to_text(lang, "full", certificate=certificate)
    assert "lines proved by Coq 8.16.1" in table and "not proved: a step is left" in table
    refused = {"en": "not proved", "zh": "没有证明"}[lang]
    assert all(word in text for word in ("Coq 8.16.1", "sigmoid", "p < 3", refused))
