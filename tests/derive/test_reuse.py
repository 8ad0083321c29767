"""Values known from the forward pass are read at shifted subscripts too, and only where that changes nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

import chainrule as cr
from chainrule.derive import Derivation, algebra, derive_program
from chainrule.derive.trace import RULES, Setting
from chainrule.errors import DerivationError
from chainrule.ir.expr import Apply, Component, Expr, Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import transform
from tests.derive.oracle import false_steps, gradients_are_exact

Shapes = dict[str, tuple[Any, ...]]
READ: dict[str, tuple[str, Shapes]] = {
    "before": ("h[n, t<5, k] = tanh(sum[j](W[k, j]*pad(g, 0)[n, t - 1, j]))", {"W": (2, 3), "g": ("N", 5, 3)}),
    "after": ("h[n, t<4, k] = tanh(sum[j](W[k, j]*g[n, t + 1, j]))", {"W": (2, 3), "g": ("N", 5, 3)}),
    "padded": ("y[n, i<6] = sigmoid(pad(x, 0)[n, i - 2])", {"x": ("N", 4)}),
    "turned": ("y[n, i<4] = exp(x[n, 3 - i])", {"x": ("N", 4)}),
    "strided": ("y[n, i<4] = exp(x[n, 2*i])", {"x": ("N", 7)}),
    "strided and moved": ("y[n, i<4] = exp(pad(x, 0)[n, 2*i - 1])", {"x": ("N", 7)}),
    "a window": ("y[n, i<5] = exp(sum[p](w[p]*pad(x, 0)[n, i + p - 1]))", {"x": ("N", 5), "w": (3,)}),
}


def derivation(name: str) -> Derivation:
    text, shapes = READ[name]
    tensors = {key: Tensor(key, shape) for key, shape in shapes.items()}
    equations = tuple(parse_program(text, tensors=tensors))
    program = Program(equations, inputs=tuple(tensors.values()), outputs=(equations[-1].tensor,))
    return derive_program(program, None, list(tensors.values()))


def computes_again(found: Derivation) -> bool:
    return any(Apply in e.value.types for e in found.backward.equations)


@pytest.mark.parametrize("name", READ)
def test_a_known_value_is_read_at_a_shifted_subscript(name: str) -> None:
    found = derivation(name)
    assert not computes_again(found)
    assert gradients_are_exact(found, {"N": 2}, seed=1)
    for part in found.parts.values():
        assert all(false_steps(use.lemma, found.forward, {"N": 2}, seed=2) == [] for use in part.uses)


def test_the_document_says_what_the_read_outside_is() -> None:
    text = cr.derive(READ["after"][0], wrt="g").to_text()
    assert "= Σ_k δ̄_{h−1,k} (1 − h̄_{h−1,k}²) W_kj" in text
    assert "h̄ is h read as 0 outside its range" in text


# --- where it is not done -----------------------------------------------------------------------

def expression(text: str, **shapes: tuple[int, ...]) -> Expr:
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    (equation,) = parse_program(f"r[h<5] = {text}", tensors=tensors)
    return equation.value


FACT = "y[i<4] = exp(x[i + 1])"
KEPT = {
    "nothing is 0 outside": "d[h]*exp(x[h])",
    "the bracket is another one": "[0 <= h - 2 < 4]*d[h]*exp(x[h])",
    "0 beside what may be infinite": "pad(c, 0)[h - 1]*exp(x[h])**-1",
    "the bracket is in another term": "[0 <= h - 1 < 4]*d[h] + exp(x[h])",
}
TAKEN = {
    "a bracket beside it": ("[0 <= h - 1 < 4]*exp(x[h])**-1", "[0 <= h - 1 < 4]*pad(y, 0)[h - 1]**-1"),
    "a factor that is 0 outside": ("pad(c, 0)[h - 1]*(1 - exp(x[h]))", "pad(c, 0)[h - 1]*(1 - pad(y, 0)[h - 1])"),
}
SHAPES = {"d": (5,), "c": (4,), "x": (5,), "y": (4,)}


def fact() -> Setting:
    (equation,) = parse_program(FACT, tensors={"x": Tensor("x", (5,))})
    return Setting(equation, Component(Tensor("x", (5,)), ()), Tensor("δy", (4,)))


@pytest.mark.parametrize("why", KEPT)
def test_a_value_is_kept_where_a_read_outside_would_show(why: str) -> None:
    before = expression(KEPT[why], **SHAPES)
    assert RULES["reuse"].apply(before, fact()) is before


@pytest.mark.parametrize("why", TAKEN)
def test_a_value_is_read_as_0_where_the_product_is_0(why: str) -> None:
    before, after = (expression(text, **SHAPES) for text in TAKEN[why])
    assert RULES["reuse"].apply(before, fact()) is after


@contextmanager
def uncovered() -> Generator[None]:
    """The rule, reading y as 0 outside its range wherever it matches."""
    original = RULES["reuse"]

    def visit(node: Expr, facts: list[Equation]) -> Expr:
        for known in facts:
            if type(node) is type(known.value) and (found := algebra.match(known, node, _Everything())) is not None:
                return found
        return node

    def apply(expr: Expr, own: Setting) -> Expr:
        return transform(expr, lambda node: visit(node, [own.equation, *own.facts]))

    RULES["reuse"] = replace(original, apply=apply)
    try:
        yield
    finally:
        RULES["reuse"] = original


class _Everything(frozenset[Any]):
    def __contains__(self, item: object) -> bool:
        return True


def test_a_read_outside_that_shows_is_refused() -> None:
    """y[i] = exp(x[i + 1]) stands beside another read of x, at which nothing is 0."""
    text = "y[n, i<4] = exp(x[n, i + 1])\nz[n, h<5] = exp(x[n, h])*x[n, h]"
    x = Tensor("x", ("N", 5))
    equations = tuple(parse_program(text, tensors={"x": x}))
    program = Program(equations, inputs=(x,), outputs=(equations[-1].tensor,))
    with uncovered(), pytest.raises(DerivationError, match="by the rule reuse"):
        derive_program(program, None, [x])
    assert computes_again(derive_program(program, None, [x]))
