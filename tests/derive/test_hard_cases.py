"""Every hard case: its gradients equal dual numbers exactly, and every step of it is an identity."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from chainrule.arrays.execute import execute
from chainrule.derive import derive_equation
from chainrule.derive.lemma import Piece, adjoint_of, one_sample
from chainrule.derive.trace import RULES, Setting
from chainrule.ir.expr import Component, Constant, Derivative, Multiply, Tensor
from chainrule.ir.index import Affine
from chainrule.ir.parse import parse_equation
from chainrule.ir.program import Program
from chainrule.ir.walk import bound
from tests.derive.cases import ALL, USERS
from tests.derive.oracle import false_steps, gradients_are_exact
from tests.examples import few


@pytest.mark.parametrize(("samples", "name"), [*product([3], ALL), *few(product([1], ALL), 4)])
def test_gradients_equal_dual_numbers_in_the_field(name: str, samples: int) -> None:
    case = ALL[name]
    assert gradients_are_exact(case.derivation, {"N": samples}, seed=samples, ranges=case.ranges)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("samples", [1, 3])
def test_gradients_agree_with_central_differences(name: str, samples: int) -> None:
    """In floating point, so that what is derived is also in range and finite where it is executed."""
    case, rng = ALL[name], np.random.default_rng(samples)
    derivation = case.derivation
    output = derivation.forward.outputs[0].name
    given = {
        t.name: rng.integers(0, case.ranges[t.name], _sizes(t, samples))
        if t.name in case.ranges
        else rng.uniform(0.5, 2, _sizes(t, samples))
        for t in derivation.joint.given
    }
    run = execute(derivation.joint, given)
    weight = given.get(f"δ({output})", np.ones(()))
    for name in derivation.gradients:
        direction = rng.standard_normal(given[name].shape)
        up, down = (
            float(np.sum(weight*execute(derivation.forward, {**given, name: given[name] + h*direction})[output]))
            for h in (1e-6, -1e-6)
        )
        slope = (up - down)/2e-6
        assert abs(slope - float(np.sum(run[f"δ({name})"]*direction))) <= 1e-5*max(1.0, abs(slope)), name


def _sizes(tensor: Tensor, samples: int) -> tuple[int, ...]:
    return tuple(samples if e == "N" else int(e) for e in tensor.shape)


@pytest.mark.parametrize("name", ALL)
def test_every_step_is_an_identity(name: str) -> None:
    case = ALL[name]
    derivation = case.derivation
    checked = 0
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            assert false_steps(use.instance, derivation.forward, {"N": 2}, 5, case.ranges) == []
            checked += len(use.instance.all_steps)
    assert checked > 0


@pytest.mark.parametrize("name", ALL)
def test_the_lemma_of_one_sample_is_an_identity_too(name: str) -> None:
    case = ALL[name]
    for gradient in case.derivation.parts.values():
        for use in gradient.uses:
            sample = use.instance.sample
            if sample is not None:
                equations = (sample.equation, *sample.facts, *sample.auxiliary)
                program = Program(equations, inputs=sample.equation.value.tensors)
                assert false_steps(sample, program, {}, 7, case.ranges) == []
            else:
                assert one_sample(use.equation) is None


@pytest.mark.parametrize("name", ALL)
def test_a_step_that_is_changed_is_refused(name: str) -> None:
    """The negative control of the step check: the result times 1 + 10⁻⁷ at each piece."""
    case = ALL[name]
    derivation = case.derivation
    lemma = next(iter(derivation.parts.values())).uses[0].instance
    wrong = Constant(1 + Fraction(1, 10**7))
    pieces = tuple(
        Piece(p.equation, (*p.steps[:-1], replace(p.steps[-1], after=Multiply((wrong, p.steps[-1].after)))))
        for p in lemma.pieces
    )
    assert false_steps(replace(lemma, pieces=pieces), derivation.forward, {"N": 2}, 5, case.ranges)


def test_a_sum_of_squares_under_three_sums_has_its_gradient() -> None:
    (equation,) = USERS["squares_under_three_sums"].derivation.backward.equations
    assert str(equation) == "δx[i<2, i1<3, i2<2] = 2*x[i, i1, i2]"


def test_a_derivative_is_not_taken_under_a_sum_over_an_index_of_its_component() -> None:
    equation = parse_equation("y = sum[i<3](x[i]**2)")
    (i,) = bound(equation.value)
    wrt = Component(Tensor("x", (3,)), (Affine.of(i),))
    with pytest.raises(AssertionError, match="an index of the sum"):
        RULES["derivative.reduction"].apply(
            Derivative(equation.value, wrt), Setting(equation, wrt, adjoint_of(equation.tensor))
        )


def test_a_law_that_is_zero_is_dropped() -> None:
    (equation,) = USERS["derivative_that_is_zero"].derivation.backward.equations
    assert str(equation) == "δx[n, i<3] = δy[n, i]*sign(x[n, i])"


def test_an_index_over_samples_that_reads_another_axis_has_no_lemma_for_one_sample() -> None:
    derivation = derive_equation("y[n<N, m, s<3] = pad(x, 0)[n, s] + x[m, 0]")
    assert [use.lemma.sample for use in derivation.uses] == [None]
    assert gradients_are_exact(derivation, {"N": 2, "M": 3}, seed=1)


def test_a_piece_may_be_the_first_part_of_an_axis() -> None:
    derivation = derive_equation("y[n, i<2] = x[n, i]\ny[n, i + 2] = x[n, i]**2")
    assert derivation.forward.outputs[0].shape == ("N", 4)
    assert gradients_are_exact(derivation, {"N": 3}, seed=1)
