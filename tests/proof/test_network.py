"""The whole gradient of a network as one theorem over the real numbers; and wrong ones, refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.derive import derive_program
from chainrule.train.models import read_model
from chainrule.verify.coq import theorems
from chainrule.verify.network import REAL_AXIOMS
from chainrule.verify.proof import axioms_of, compiled, prove_gradient
from tests.derive.cases import Case
from tests.proof.mutants import refused

pytestmark = pytest.mark.proof


Answers = list[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Answers]:
    """The file of mlp, and what Coq answers to it."""
    path, answers = tmp_path_factory.mktemp("whole") / "mlp.v", Answers()

    def remembered(text: str, program: str) -> subprocess.CompletedProcess[str]:
        answers.append(compiled(text, program))
        return answers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.verify.proof.compiled", remembered)
        assert prove_gradient(read_model("mlp").derive(), path) == ""
    return path.read_text(encoding="utf-8"), answers


@pytest.fixture
def kept(whole: tuple[str, Answers]) -> str:
    return whole[0]


def test_the_theorem_of_mlp_speaks_of_the_derivative_of_its_loss_along_every_direction(kept: str) -> None:
    statement = re.findall(r"^Theorem gradient : (derivable_pt_lim at_loss 0 .*)\.$", kept, re.MULTILINE)
    assert len(statement) == 1
    parameters = ("dense1_W", "dense1_b", "dense2_W", "dense2_b")
    assert all(f"(δ_{p}" in statement[0] and f"(d_{p}" in statement[0] for p in parameters)
    assert not re.search(r"\b(Admitted|admit|Axiom|Parameter|Conjecture|give_up)\b", kept)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"(Definition δ_dense1_u .*) \* \(one \+", r"\1 * (zero +"),
        (r"(Definition δ_dense2_b .*)\(δ_dense2_u n_1", r"\1(δ_dense2_u (n_1 + 1)%Z"),
        (r"(Definition δ_sample_loss .*)\(power \(-1 # 1\)", r"\1(power (-2 # 1)"),
    ],
)
def test_a_wrong_backward_program_is_refused(kept: str, old: str, new: str) -> None:
    program = shutil.which("coqc")
    assert program
    wrong = re.sub(old, new, kept)
    assert wrong != kept and compiled(wrong, program).returncode


def test_another_axiom_of_the_real_numbers_is_refused(
    whole: tuple[str, Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (answer,) = whole
    monkeypatch.setattr("chainrule.verify.proof.compiled", lambda text, program: answer)
    monkeypatch.setattr("chainrule.verify.proof.REAL_AXIOMS", REAL_AXIOMS - {"ClassicalDedekindReals.sig_forall_dec"})
    with pytest.raises(cr.VerificationError, match="sig_forall_dec"):
        prove_gradient(read_model("mlp").derive())


def test_a_logsumexp_over_a_window_is_proved_and_another_order_of_it_refused(tmp_path: Path) -> None:
    path, program = tmp_path / "window.v", shutil.which("coqc")
    case = Case(
        "window", "y[n, i, j] = sum[k](W[i, j, k]*x[n, k])\nl[n] = logsumexp[i, j](y[n, i, j])\nloss = sum[n](l[n])",
        {"x": ("N", 4), "W": (2, 3, 4)},
    )
    inputs, weight = case.program.inputs[:1], case.program.inputs[1]
    forward = replace(case.program, inputs=inputs, parameters=(weight,))
    assert prove_gradient(derive_program(forward, forward.outputs[0], [weight]), path) == ""
    kept = path.read_text(encoding="utf-8")
    wrong = re.sub(r"(Definition at_l .*)\(joined 3 \(fun i_1 j_1 =>", r"\1(joined 3 (fun j_1 i_1 =>", kept, count=1)
    assert wrong != kept and program and compiled(wrong, program).returncode


def test_what_cannot_be_proved_is_said() -> None:
    assert prove_gradient(cr.derive("y[n, k] = 2*x[n, k] + 3")) == "no loss"
    assert prove_gradient(read_model("lenet").derive())


# Laws of analysis, each with one thing in it changed.

CORRUPTED = {
    "law_sigmoid": ("sigmoid x (sigmoid x * (1 - sigmoid x)).", "sigmoid x (sigmoid x * (1 + sigmoid x))."),
    "law_log": ("ln x (/ x).", "ln x (x)."),
    "law_tanh": ("tanh x (1 - tanh x ^ 2).", "tanh x (1 - tanh x)."),
    "law_relu": ("(fun t => Rmax t 0) x (step x).", "(fun t => Rmax t 0) x 1."),
    "curve_mul": ("(dmul R Rplus Rmult a b).", "(dadd R Rplus a b)."),
    "curve_logsumexp": ("curve_logsumexp n c f : (0 < n)%Z ->", "curve_logsumexp n c f :"),
}  # fmt: skip


BASE = f"{theorems()}\n{theorems('Compose.v')}\nEnd Chainrule.\n"
"""What stands in front of the analysis."""


def test_a_corrupted_law_of_analysis_is_refused() -> None:
    assert refused(f"{BASE}{theorems('Real.v')}", CORRUPTED) == {*CORRUPTED}


def test_compose_stands_on_no_axiom_and_real_on_those_of_the_real_numbers() -> None:
    program = shutil.which("coqc")
    assert program
    asked = ("Print Assumptions layer.\nPrint Assumptions unique.\n",
             "Print Assumptions curve_max.\nPrint Assumptions law_sigmoid.\n")
    done = compiled(f"{BASE}{asked[0]}{theorems('Real.v')}\n{asked[1]}", program)
    assert not done.returncode and done.stdout.count("Closed under the global context") == 2
    assert 2 <= len(axioms_of(done.stdout)) and axioms_of(done.stdout) <= REAL_AXIOMS
