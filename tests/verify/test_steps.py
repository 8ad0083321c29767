"""Optimizer steps in the certificate, and steps that are not the rule's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

import chainrule as cr
from chainrule.errors import VerificationError
from chainrule.ir.expr import Component, Constant, Expr, Multiply, Tensor, derived
from chainrule.ir.program import Equation, Program, State
from chainrule.ir.walk import transform
from chainrule.optim import optimizer
from chainrule.verify.certificate import settle
from chainrule.verify.plan import planned
from chainrule.verify.steps import Pair, step_check

PAIRS: list[Pair] = [
    (Tensor(f"p{n}", shape), Tensor(f"δp{n}", shape)) for n, shape in enumerate([(2, 3), (3,), (), (2, 1, 2)])
]
RULES: dict[str, cr.Optimizer] = {
    str(rule): rule
    for rule in (
        cr.SGD(0.1), cr.SGD(0.1, momentum=0.9), cr.SGD(0.1, momentum=0.9, nesterov=True), cr.Adagrad(), cr.RMSProp(),
        cr.RMSProp(momentum=0.5), cr.Adam(), cr.AdamW(), cr.SGD(0.1, clip_value=0.5), cr.Adam(clip_norm=2.0),
        cr.AdamW(weight_decay=0.1, clip_value=1.0, clip_norm=0.25),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_every_optimizers_step_is_exact_within_its_bound(name: str) -> None:
    (plan,) = planned([(step_check(RULES[name], PAIRS), False)])
    entries = settle(plan, 0, [])
    assert {e.tier for e in entries} == {"exact"}
    assert sum(e.bound for e in entries) <= 2**-60
    assert {e.what.y for e in entries} >= {f"value_next.{value.name}" for value, _ in PAIRS}


def refused(rule: cr.Optimizer, program: Program) -> bool:
    return bool(step_check(rule, PAIRS, program).run(1))


def rewritten(program: Program, name: str, change: Callable[[Expr], Expr]) -> Program:
    """The program with one equation's value changed."""
    assert name in {e.tensor.name for e in program.equations}
    equations = tuple(
        Equation(e.target, transform(e.value, change)) if e.tensor.name == name else e for e in program.equations
    )
    assert equations != program.equations
    return Program(equations, program.inputs, states=program.states, outputs=program.outputs)


def scaled(node: Expr) -> Expr:
    """Every broken number times 1 + 10⁻⁷."""
    if isinstance(node, Constant) and not isinstance(node.value, str) and node.value.denominator > 1:
        return Constant(node.value * (1 + Fraction(1, 10**7)))
    return node


def mixed_up(node: Expr) -> Expr:
    """The state of one parameter read in another's step."""
    if isinstance(node, Component) and node.tensor.name == "moment1.p0":
        return Component(Tensor("moment2.p0", node.tensor.shape), node.subscripts)
    return node


def without_last(node: Expr) -> Expr:
    return Multiply(node.factors[:-1]) if isinstance(node, Multiply) and len(node.factors) > 1 else node


def first_alone(node: Expr) -> Expr:
    """The squares of the first parameter in place of those of all."""
    if isinstance(node, Component) and node.tensor.name.startswith("squares"):
        return Component(derived("squares1", shape=()), ())
    return node


def test_a_step_that_is_not_the_rules_is_refused() -> None:
    adam = cr.Adam()
    program = adam.program(PAIRS)
    assert not refused(adam, program)
    assert refused(adam, rewritten(program, "moment1_next.p0", scaled))
    assert refused(adam, rewritten(program, "moment1_next.p0", mixed_up))
    assert refused(adam, rewritten(program, "value_next.p1", without_last))
    assert refused(adam, cr.Adam(beta1=0.999, beta2=0.9).program(PAIRS))
    assert refused(cr.AdamW(), adam.program(PAIRS))
    assert refused(cr.Adam(clip_norm=1.0), cr.Adam(clip_norm=2.0).program(PAIRS))


def test_a_norm_over_some_of_the_parameters_is_refused() -> None:
    rule = cr.SGD(0.1, clip_norm=1.0)
    program = rule.program(PAIRS)
    assert refused(rule, rewritten(program, "norm()", first_alone))


def test_a_models_certificate_names_the_step() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), cr.Sigmoid(), loss="half_squared_error")
    certificate = model.verify(optimizer=cr.AdamW(clip_norm=1.0))
    named = [str(e.what) for e in certificate.entries if e.what.kind == "step"]
    assert "the step of AdamW: value_next.dense1.W" in named
    assert certificate.count("exact") == len(certificate.entries) - certificate.count("loops")
    assert not [e for e in model.verify().entries if e.what.kind == "step"]


def test_a_wrong_step_raises_with_the_values_of_both_sides() -> None:
    (plan,) = planned([(step_check(cr.Adam(), PAIRS, cr.AdamW().program(PAIRS)), False)])
    with pytest.raises(VerificationError) as caught:
        settle(plan, 0, [])
    error = caught.value
    assert "the step of Adam: value_next.p0" in error.line and "value_next.p0[0, 0]" in error.point
    assert error.left != error.right and error.left in str(error) and error.right in str(error)


def test_a_changed_sign_and_rates_of_decay_swapped_for_one_parameter_are_refused() -> None:
    def negated(node: Expr) -> Expr:
        return Constant(Fraction(1)) if isinstance(node, Constant) and node.value == -1 else node

    def swapped(node: Expr) -> Expr:
        other = {Fraction(9, 10): Fraction(999, 1000), Fraction(1, 10): Fraction(1, 1000)}
        found = [value for number, value in other.items() if node == Constant(number)]
        return Constant(found[0]) if found else node

    adam = cr.Adam()
    for name, change in (("value_next.p2", negated), ("moment1_next.p2", swapped)):
        failed = step_check(adam, PAIRS, rewritten(adam.program(PAIRS), name, change)).run(1)
        assert failed and all(".p2" in difference.point for difference in failed.values())


def test_states_that_follow_one_another_wrongly_are_refused() -> None:
    program = cr.Adam().program(PAIRS)
    follows = {s.tensor.name: s.next for s in program.states}
    other = {"moment1.p0": "moment2.p0", "moment2.p0": "moment1.p0"}
    states = tuple(State(s.tensor, follows[other.get(s.tensor.name, s.tensor.name)]) for s in program.states)
    for wrong in (states, program.states[:-1]):
        with pytest.raises(VerificationError, match="its states"):
            step_check(cr.Adam(), PAIRS, replace(program, states=wrong))


def test_a_mistake_where_the_parameters_are_put_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = optimizer._instance  # pyright: ignore[reportPrivateUsage]

    def wrong(
        text: str, shared: Mapping[str, Tensor], given: Mapping[str, Tensor], parameter: Tensor
    ) -> Sequence[Equation]:
        return right(text, shared, {**given, "moment2": given["moment1"]}, parameter)

    monkeypatch.setattr(optimizer, "_instance", wrong)
    assert step_check(cr.Adam(), PAIRS).run(1)


def test_the_step_of_a_large_model_is_checked_at_small_extents_and_says_so() -> None:
    check = step_check(cr.Adam(clip_norm=1.0), [(Tensor("W", (1000, 1000)), Tensor("δW", (1000, 1000)))])
    assert check.run(1) == {} and ("W", (3, 3)) in check.shapes
    assert check.what.cut == 3 and "at extents of at most 3" in str(check.what)
