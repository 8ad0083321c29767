"""Optimizers' steps that Coq proves, and steps that it refuses."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.ir.expr import Tensor
from chainrule.ir.program import Program
from chainrule.verify.certificate import Certificate
from chainrule.verify.claims import of_programs
from chainrule.verify.proof import proved
from chainrule.verify.session import Session
from chainrule.verify.steps import step_check
from chainrule.verify.theorem import Theorem
from tests.verify.test_steps import PAIRS, RULES, first_alone, mixed_up, rewritten, scaled, without_last

pytestmark = pytest.mark.proof


def test_every_optimizers_step_is_proved_for_all_extents(coq: Session) -> None:
    every = [claim for rule in RULES.values() for claim in of_programs(step_check(rule, PAIRS))]
    _, found, axioms = proved(every, coq)
    assert len(every) > 100 and not axioms
    assert not [str(one.what) for one in found if one.reason or one.level or one.numbers or one.assumed]


def test_axes_of_one_length_stay_apart() -> None:
    """Two vectors of three entries: the theorem is for vectors of any two lengths."""
    pairs = [(Tensor(name, (3,)), Tensor(f"δ{name}", (3,))) for name in "ab"]
    claim, _ = of_programs(step_check(cr.SGD(clip_norm=1.0), pairs))
    theorem = Theorem(claim, "claim")
    theorem.section()
    assert len({*theorem.sizes.values()}) == 2


FEW = PAIRS[:2]
ADAM, CLIPPED = cr.Adam(), cr.SGD(clip_norm=1.0)
WRONG: dict[str, tuple[cr.Optimizer, Program]] = {
    "a decay of weights": (ADAM, cr.AdamW().program(FEW)),
    "a number": (ADAM, rewritten(ADAM.program(FEW), "moment1_next.p0", scaled)),
    "another parameter's state": (ADAM, rewritten(ADAM.program(FEW), "moment1_next.p0", mixed_up)),
    "a factor the less": (ADAM, rewritten(ADAM.program(FEW), "value_next.p1", without_last)),
    "a step that looks ahead": (cr.SGD(momentum=0.9), cr.SGD(momentum=0.9, nesterov=True).program(FEW)),
    "no clipping": (CLIPPED, cr.SGD().program(FEW)),
    "another length": (CLIPPED, cr.SGD(clip_norm=2.0).program(FEW)),
    "a norm over one parameter": (CLIPPED, rewritten(CLIPPED.program(FEW), "norm()", first_alone)),
    "another bound": (cr.SGD(clip_value=0.5), cr.SGD(clip_value=0.25).program(FEW)),
}


@pytest.mark.parametrize("name", WRONG)
def test_of_a_wrong_step_the_lines_are_refused_that_are_false(name: str, coq: Session) -> None:
    """Those that the field finds false, and no other."""
    rule, program = WRONG[name]
    check = step_check(rule, FEW, program)
    _, found, _ = proved([*of_programs(check)], coq)
    refused = {number for number, one in enumerate(found) if one.reason}
    assert refused == {*check.run(1)} and refused


def test_the_certificate_shows_a_models_step_as_proved() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), cr.Sigmoid(), loss="half_squared_error")
    certificate = model.verify(optimizer=cr.AdamW(clip_norm=1.0), prove=True)
    assert Certificate.from_json(certificate.to_json()) == certificate
    tiers = {str(e.what): e.tier for e in certificate.entries if e.what.kind == "step"}
    assert len(tiers) == 8 and set(tiers.values()) == {"proved"}
    assert "the step of AdamW: value_next.dense1.W: 1 lines for all extents\n" in certificate.to_text(width=1000)
    document = model.derive().to_markdown(detail="full", certificate=certificate)
    assert "| the step of `AdamW`: `value_next.dense1.W` | 1 | proved |" in document
