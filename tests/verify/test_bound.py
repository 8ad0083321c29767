"""The computed bound: degrees of known rational functions, what is counted besides, and the number of trials."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from chainrule.derive.scene import Line, Scene
from chainrule.derive.subject import Subject
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Index
from chainrule.ir.parse import parse_equation, parse_expression
from chainrule.semantics.field import evaluate, random_values
from chainrule.semantics.prime import PRIME
from chainrule.verify.bound import ONE_VALUE, WORD, Events, Run, chance
from chainrule.verify.exact import SceneCheck
from chainrule.verify.plan import TARGET, planned

TENSORS = {"x": Tensor("x", (3,)), "y": Tensor("y", (3,)), "W": Tensor("W", (3, 3))}
INDICES = {"i": Index("i", 3)}


def degree(text: str) -> tuple[int, int, Events]:
    run = Run({}, TENSORS.values())
    value = run.value(parse_expression(text, tensors=TENSORS, indices=INDICES))
    return value.top, value.bottom, run.events


@pytest.mark.parametrize(
    ("text", "top", "bottom"),
    [
        ("3/7", 0, 0),
        ("x[i]*y[i] + x[i]", 2, 0),
        ("sum[j](W[i, j]*x[j])", 2, 0),
        ("(x[i] + y[i])**3", 3, 0),
        ("x[i]/y[i]", 1, 1),
        ("x[i]/y[i] + y[i]/x[i]", 2, 2),  # (x² + y²)/(x y)
        ("sum[j](x[j]/y[j])", 3, 3),  # three denominators
        ("sum[j](x[j]/y[i])", 1, 1),  # one
        ("sigmoid(x[i]**5)", 1, 0),  # a fresh variable
        ("relu(x[i])", 2, 0),  # x times a random step
        ("x[i]**(-3/2)", 1, 2),  # x^-2 times a fresh variable
        ("max[j](W[i, j])", 1, 0),
        ("d1_sigmoid(x[i])", 2, 0),  # s(1 − s)
        ("d1_log(x[i])", 0, 1),
    ],
)
def test_a_degree_is_that_of_the_rational_function(text: str, top: int, bottom: int) -> None:
    assert degree(text)[:2] == (top, bottom)


def test_collisions_and_zero_denominators_are_counted() -> None:
    assert degree("x[i]*y[i]")[2].weight == 0
    assert degree("x[i]/y[i]")[2].weight == 3  # three denominators of degree 1
    assert degree("sigmoid(x[i])")[2].weight == 3 * 3  # three pairs of arguments, each a degree-1 difference, doubled
    assert degree("sigmoid(x[i]) + sigmoid(x[i])**2")[2].weight == 3 * 3  # one application, read twice
    one, many = (degree(f"sigmoid(x[i]{power})")[2].weight for power in ("", "**8"))
    assert many > one


def test_a_definition_hands_its_degree_on() -> None:
    run = Run({}, TENSORS.values(), moving=["x"])
    run.define(parse_equation("u[i] = sum[j](W[i, j]*x[j])", tensors=TENSORS))
    u = Tensor("u", (3,))
    value = run.value(parse_expression("u[i]**2", tensors={"u": u}, indices=INDICES))
    assert value.top == 4 and run.slopes["u"].top == 2 and run.values["u"] != WORD


@pytest.mark.parametrize(
    "text",
    ["x[i]*y[i]*x[i] + y[i]", "x[i]/(y[i] + 2)", "sum[j](W[i, j]*x[j])/sum[j](y[j]**2)", "(x[i] + 1)**4/y[i]**2",
     "sum[j](x[j]/y[i])", "sum[j](W[i, j]/(x[j] + y[i]))"],
)
def test_a_degree_bounds_what_the_field_shows(text: str) -> None:
    """P/Q with every drawn word scaled by t is a rational function of t; one of degree d is fixed by 2d + 2 values, so
    values at t = 1 … 2d + 2 decide the next."""
    expr = parse_expression(text, tensors=TENSORS, indices=INDICES)
    top, bottom, _ = degree(text)
    drawn = random_values(expr.tensors, {}, 1)
    unknowns = top + bottom + 2

    def value(t: int) -> int:
        scaled = {n: np.asarray([int(w) * t % PRIME for w in v.ravel()], np.uint64).reshape(v.shape)
                  for n, v in drawn.items()}
        return int(evaluate(expr, scaled, (INDICES["i"],), extents={}, seed=1)[0])

    # P(t) − f(t)·Q(t) = 0 at more points than unknowns: the matrix of the system has a kernel.
    rows: list[list[int]] = []
    for t in range(1, unknowns + 3):
        powers, found = [pow(t, k, PRIME) for k in range(max(top, bottom) + 1)], value(t)
        rows.append(powers[: top + 1] + [-found * power % PRIME for power in powers[: bottom + 1]])
    assert _rank(rows) < unknowns


def _rank(rows: list[list[int]]) -> int:
    rows, rank = [list(r) for r in rows], 0
    for column in range(len(rows[0])):
        pivot = next((n for n in range(rank, len(rows)) if rows[n][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        inverse = pow(rows[rank][column], -1, PRIME)
        for n in range(rank + 1, len(rows)):
            factor = rows[n][column] * inverse % PRIME
            rows[n] = [(a - factor * b) % PRIME for a, b in zip(rows[n], rows[rank], strict=True)]
        rank += 1
    return rank


def test_trials_are_added_until_the_union_is_small_enough() -> None:
    def check(lines: int) -> SceneCheck:
        left, right = (parse_expression(t, tensors=TENSORS, indices=INDICES) for t in ("x[i]*y[i]", "y[i]*x[i]"))
        line = Line(Subject("other"), "b", left, right)
        return SceneCheck(Scene((line,) * lines, tuple(TENSORS.values()), (), {}, {}))

    (one,) = planned([(check(1), False)])
    assert one.trials == 2 and check(1).chances[0] == 2 * ONE_VALUE
    plan = planned([(check(100), False), (check(3), False)])
    assert sum(sum(c**p.trials for c in p.check.chances) for p in plan) <= TARGET
    (strict,) = planned([(check(1), False)], Fraction(1, 2**150))
    assert strict.trials == 3


def test_a_chance_never_exceeds_1() -> None:
    huge = Run({}, TENSORS.values()).value(parse_expression("x[i]**64", tensors=TENSORS, indices=INDICES))
    events = Events(inverted=2**70)
    assert chance((huge, huge), events) == 1
