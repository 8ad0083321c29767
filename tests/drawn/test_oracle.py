"""The oracle: complex steps give what JAX gives, both see a wrong gradient, and kinks are avoided."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from chainrule.ir.expr import Multiply, constant
from chainrule.ir.program import Equation as Line
from tests.drawn import oracle
from tests.drawn.consumers import CLOSE, against_jax, against_slopes
from tests.drawn.grammar import program
from tests.drawn.language import Affine, Apply, Equation, Given, Index, N, Power, Program, Read, Reduce, at
from tests.drawn.subject import subject

SEEDS = (3, 26, 40)
n, k = Index("n", N), Index("k", 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_complex_steps_give_what_jax_gives(seed: int) -> None:
    drawn = program(seed)
    point = oracle.point(drawn)
    assert point is not None
    value, gradients = oracle.gradients(drawn, point)
    rng = np.random.default_rng(0)
    directions = {name: rng.uniform(-1, 1, point.values[name].shape) for name in gradients}
    found, slopes = oracle.slopes(drawn, point, directions)
    np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12)
    for name, gradient in gradients.items():
        assert abs(slopes[name] - (gradient * directions[name]).sum()) < CLOSE


def squares() -> Program:
    """y[n] = Σ_k x[n, k]²"""
    body = Power(Read("x", (at(n), at(k))), Fraction(2))
    return Program(1, "text", (Given("x", (N, 3), "input"),), (Equation("y", (at(n),), Reduce("sum", (k,), body)),))


def test_a_wrong_gradient_is_seen_by_both() -> None:
    made = subject(squares())
    *rest, last = made.derivation.backward.equations
    twice = Line(last.target, Multiply((constant(2), last.value)))
    backward = replace(made.derivation.backward, equations=(*rest, twice))
    wrong = replace(made, derivation=replace(made.derivation, backward=backward))
    for consumer in (against_slopes, against_jax):
        assert consumer(made) == []
        assert [f.kind for f in consumer(wrong)] == ["wrong gradient"]


def test_a_point_at_a_kink_is_not_taken() -> None:
    def of(s: Affine) -> Program:
        value = Apply("abs", (Read("x", (at(n), s)),))
        return Program(1, "text", (Given("x", (N, 1), "input"),), (Equation("y", (at(n),), value),))

    drawn = of(Affine())
    assert oracle.point(drawn) is not None
    near = oracle.draw(drawn, 0, 0.7, 3)
    far = oracle._watched(drawn, near, 3)
    near["x"][1] = 1e-6
    assert oracle.kinked(oracle._watched(drawn, near, 3), far)


def test_what_rounding_leaves_of_zero_is_at_a_kink() -> None:
    zero, rest = (oracle.Watch([np.array([value, 0.0])]) for value in (0.0, 1e-17))
    assert not oracle.kinked(zero, zero, zero)
    assert oracle.kinked(zero, zero, zero, rest)
