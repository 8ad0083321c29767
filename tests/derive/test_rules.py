"""The catalogue of rules: each does what its example says, each is needed, and a corrupted one is refused."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import pytest

from chainrule.derive import check
from chainrule.derive.trace import RULES, Rewrite, Rule, Setting
from chainrule.errors import DerivationError
from chainrule.ir.expr import (
    ADJOINT,
    LOSS,
    POSITION,
    Add,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Multiply,
    Reduce,
    Tensor,
    derived,
)
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation, parse_expression
from chainrule.ir.walk import key, substitute, transform
from tests.derive.cases import ALL, CASES
from tests.derive.oracle import gradients_are_exact

INDICES = {
    "i": Index("i", 3), "j": Index("j", 4), "k": Index("k", 3), "h": Index("h", 6), "g": Index("g", 4),
}
Y = Tensor("y", (3,))
TENSORS = {
    "x": Tensor("x", (3,)), "y": Y, "a": Tensor("a", (3,)), "b": Tensor("b", (3,)),
    "p": Tensor("p", (3,)), "t": Tensor("t", (3,)), "v": Tensor("v", (6,)), "c": Tensor("c", (4,)),
    "w": Tensor("w", (3,)), "loss": LOSS, "δy": derived(ADJOINT, Y), "d": Tensor("d", (3,)),
    "m": Tensor("m", (3,), "integer"), "y.argmax": derived(POSITION, Y, dtype="integer"),
}


def read(text: str) -> Expr:
    return parse_expression(text, tensors=TENSORS, indices=INDICES)


def setting() -> Setting:
    equation = parse_equation("y[k] = 2*x[k]", tensors=TENSORS)
    return Setting(equation, Component(TENSORS["x"], (Affine.of(INDICES["i"]),)), TENSORS["δy"])


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_does_what_its_example_says(rule: Rule) -> None:
    before, after = map(read, rule.example)
    assert key(rule.apply(before, setting())) == key(after)
    assert before is not after


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_leaves_alone_what_it_does_not_fit(rule: Rule) -> None:
    other = read("t[i]*p[i] + w[j - 1]" if rule.id == "collect" else "w[k] + t[i]*p[i]")
    assert rule.apply(other, setting()) is other


def test_every_rule_is_used_by_a_hard_case() -> None:
    used = {
        step.rule for case in ALL.values() for gradient in case.derivation.parts.values() for step in gradient.steps
    }
    assert set(RULES) - used == set()


@contextmanager
def corrupted(id: str, apply: Rewrite) -> Generator[None]:
    original = RULES[id]
    RULES[id] = replace(original, apply=apply)
    try:
        yield
    finally:
        RULES[id] = original


def drop_last_term(expr: Expr, setting: Setting) -> Expr:
    """∂(a + b) = ∂a."""

    def visit(node: Expr) -> Expr:
        match node:
            case Derivative(of=Add(terms=terms), wrt=wrt):
                return Derivative(terms[0], wrt)
            case _:
                return node

    return transform(expr, visit)


def wrong_power(expr: Expr, setting: Setting) -> Expr:
    """∂(a^r) = a^(r−1)·∂a, without the r."""
    right = RIGHT["derivative.power"](expr, setting)

    def visit(node: Expr) -> Expr:
        match node:
            case Multiply(factors=(Constant(), base, Derivative() as inner)):
                return Multiply((base, inner))
            case _:
                return node

    return transform(right, visit)


def shift_subscript(expr: Expr, setting: Setting) -> Expr:
    """∂x_k/∂x_i = [k + 1 = i]."""
    right = RIGHT["derivative.component"](expr, setting)

    def visit(node: Expr) -> Expr:
        is_new = isinstance(node, Delta) and isinstance(node.right, Affine)
        return Delta(node.left + 1, node.right) if is_new else node  # type: ignore[union-attr]

    return transform(right, visit) if right is not expr else expr


def transpose(expr: Expr, setting: Setting) -> Expr:
    """[k = i][l = j] becomes [k = j][l = i]."""
    right = RIGHT["derivative.component"](expr, setting)

    def visit(node: Expr) -> Expr:
        match node:
            case Multiply(factors=(Delta(left=a, right=Affine() as b), Delta(left=c, right=Affine() as d))):
                return Multiply((Delta(a, d), Delta(c, b)))
            case _:
                return node

    return transform(right, visit) if right is not expr else expr


def drop_index(expr: Expr, setting: Setting) -> Expr:
    """∂ℓ/∂x = one term of the sum over the paths."""
    right = RIGHT["chain"](expr, setting)
    if not isinstance(right, Reduce) or len(right.indices) < 2:
        return right
    return Reduce("sum", right.indices[:-1], substitute(right.body, {right.indices[-1]: Affine()}))


def scale(expr: Expr, setting: Setting) -> Expr:
    """The law of a function, off by one part in ten million."""
    right = RIGHT["law"](expr, setting)
    return right if right is expr else Multiply((Constant(1 + Fraction(1, 10**7)), right))


RIGHT = {id: rule.apply for id, rule in RULES.items()}


@pytest.mark.parametrize(
    ("id", "wrong", "case"),
    [
        ("derivative.sum", drop_last_term, "u_plus_u"),
        ("derivative.power", wrong_power, "quotient"),
        ("derivative.component", shift_subscript, "mean_pool_overlapping_padded"),
        ("derivative.component", transpose, "shared_weight"),
        ("chain", drop_index, "dense"),
        ("law", scale, "sigmoid"),
    ],
)
def test_a_corrupted_rule_is_refused(
    id: str, wrong: Rewrite, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By deriving itself, and by the oracle where deriving does not check."""
    extents = {"N": 2}
    assert gradients_are_exact(CASES[case].derived_anew(), extents, 1)
    with corrupted(id, wrong):
        with pytest.raises(DerivationError, match="is false"):
            assert CASES[case].derived_anew()
        with monkeypatch.context() as patch:
            patch.setattr(check, "checked", lambda derivation, memory: derivation)
            assert not gradients_are_exact(CASES[case].derived_anew(), extents, 1)
    assert gradients_are_exact(CASES[case].derived_anew(), extents, 1)
