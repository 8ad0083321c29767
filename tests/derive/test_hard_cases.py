"""Every hard case: its gradients equal dual numbers exactly, and every step of it is an identity."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from chainrule.derive.lemma import Piece, one_sample
from chainrule.ir.expr import Constant, Multiply
from chainrule.ir.program import Program
from chainrule.ir.walk import tensors
from tests.derive.cases import CASES
from tests.derive.oracle import false_steps, gradients_are_exact, plain


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("samples", [1, 3])
def test_gradients_equal_dual_numbers_in_the_field(name: str, samples: int) -> None:
    case = CASES[name]
    assert gradients_are_exact(case.derivation, {"N": samples}, seed=samples, ranges=case.ranges)


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_an_identity(name: str) -> None:
    case = CASES[name]
    derivation = case.derivation
    checked = 0
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            if plain(use.equation):
                assert false_steps(use.instance, derivation.forward, {"N": 2}, 5, case.ranges) == []
                checked += len(use.instance.all_steps)
    assert checked > 0 or not all(plain(e) for e in derivation.forward.equations)


@pytest.mark.parametrize("name", CASES)
def test_the_lemma_of_one_sample_is_an_identity_too(name: str) -> None:
    case = CASES[name]
    for gradient in case.derivation.parts.values():
        for use in gradient.uses:
            sample = use.instance.sample
            if sample is not None and plain(sample.equation):
                equations = (sample.equation, *sample.facts, *sample.auxiliary)
                program = Program(equations, inputs=tensors(sample.equation.value))
                assert false_steps(sample, program, {}, 7, case.ranges) == []
            else:
                assert one_sample(use.equation) is None or not plain(use.equation)


@pytest.mark.parametrize("name", CASES)
def test_a_step_that_is_changed_is_refused(name: str) -> None:
    """The negative control of the step check: the result times 1 + 10⁻⁷ at each piece."""
    case = CASES[name]
    derivation = case.derivation
    lemma = next(iter(derivation.parts.values())).uses[0].instance
    if not plain(lemma.equation):
        assert name in ("reshape",)
        return
    wrong = Constant(1 + Fraction(1, 10**7))
    pieces = tuple(
        Piece(p.equation, (*p.steps[:-1], replace(p.steps[-1], after=Multiply((wrong, p.steps[-1].after)))))
        for p in lemma.pieces
    )
    assert false_steps(replace(lemma, pieces=pieces), derivation.forward, {"N": 2}, 5, case.ranges)
