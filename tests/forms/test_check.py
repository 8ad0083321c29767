"""What leaves the recognisers is what it was recognised from; and nothing of the vocabulary is without its form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.derive.adjoint import Derivation
from chainrule.derive.check import KNOWN
from chainrule.derive.lemma import one_sample
from chainrule.errors import ChainruleError
from chainrule.forms import Concise, Form, concise, holds, operation, recognise, refused, whole
from chainrule.forms.matrices import Found
from chainrule.forms.nodes import Operation, parts, rebuilt
from chainrule.forms.operators import fits
from chainrule.ir.expr import Component, Expr, Tensor
from chainrule.ir.parse import parse_equation
from chainrule.nn.losses import LOSSES
from chainrule.train.models import BUILT_IN
from tests.derive.cases import CASES
from tests.examples import few
from tests.forms.values import concise as concise_value
from tests.forms.values import detailed, drawn
from tests.nn.test_every_layer import MODELS, model_with

HAD_A_FORM = Path(__file__).with_name("had_a_form.txt")
"""The lines of built-in models, layers and losses that have a concise form: not one may lose it."""


SMALL = ("MultiHeadAttention", "Conv1d", "MeanPool1d", "BatchNorm", "Embedding", "LayerNorm", "Softmax")
"""Layers whose lines have forms of every family."""


def derivation(name: str) -> Derivation:
    """That of a built-in model, of a model with a layer, or of a loss behind one."""
    if name in BUILT_IN:
        return cr.read_model(name).derive()
    if name in MODELS:
        return model_with(name).derive()
    return cr.Sequential(cr.Input(4), cr.Dense(1 if name == "hinge" else 3), loss=name).derive()


def lines(name: str, derivation: Derivation) -> Iterator[tuple[str, Concise | None]]:
    for lemma in derivation.lemmas:
        for what, own in (("batch", lemma), ("sample", lemma.sample)):
            if own is not None:
                yield f"{name}: ∂{own.wrt.tensor.name} in {own.equation.tensor.name}, {what}", own.concise
    for equation in derivation.forward.equations:
        for what, own in (("batch", equation), ("sample", one_sample(equation))):
            if own is not None:
                yield f"{name}: {own.tensor.name} itself, {what}", concise(own.target, own.value)


def assert_none_is_lost(names: Iterable[str]) -> None:
    KNOWN.clear()
    clear()
    refused.clear()
    found = {key for name in names for key, form in lines(name, derivation(name)) if form is not None}
    had = {line for line in HAD_A_FORM.read_text().splitlines() if line.partition(":")[0] in names}
    assert had and had - found == set()
    assert [(form.target, str(form.detailed)) for form in refused] == []


def test_no_line_of_these_layers_loses_its_form_and_none_is_refused() -> None:
    assert_none_is_lost(("mlp-textbook", *SMALL, "softmax_cross_entropy"))


@pytest.mark.campaign
def test_no_line_of_the_vocabulary_loses_its_form_and_none_is_refused() -> None:
    names = (*BUILT_IN, *MODELS, *LOSSES)
    assert {line.partition(":")[0] for line in HAD_A_FORM.read_text().splitlines()} <= set(names)
    assert_none_is_lost(names)


@pytest.mark.parametrize("name", few(CASES, 2))
def test_no_form_of_a_case_is_refused(name: str) -> None:
    refused.clear()
    list(lines(name, CASES[name].derivation))
    assert not refused


def corrupted(form: Form) -> Iterator[Form]:
    """The form with one operation left out, or its operands exchanged."""
    match form:
        case Operation(name="hadamard" | "plus", of=of):
            yield from of[:1] if len(of) == 2 else [Operation(form.name, of[:-1])]
        case Operation(name="scale" | "matmul" | "correlate" | "convolve", of=of):
            yield of[0]
            yield of[-1]
            yield replace(form, of=of[::-1])
        case Operation(of=(of,)):
            yield of
        case _:
            pass
    inside = parts(form)
    for k, part in enumerate(inside):
        for new in corrupted(part):
            yield rebuilt(form, [*inside[:k], new, *inside[k + 1 :]])


EXTENTS = {"N": 2}


def same(form: Concise) -> bool:
    """Whether a form says what it is beside, in floats."""
    given = drawn(form.detailed, EXTENTS, top=4)
    try:
        one, other = concise_value(form, given, EXTENTS), detailed(form, given, EXTENTS)
        return fits(form.left, form.right) and np.allclose(one, other, rtol=1e-9)
    except (ChainruleError, AssertionError):
        return False


@pytest.mark.parametrize("name", SMALL)
def test_what_loses_a_factor_is_told_apart(name: str) -> None:
    """The negative control of the check: it takes from changed forms exactly those that floats find equal."""
    wrong = [
        replace(form, right=right) for _, form in lines(name, derivation(name)) if form is not None
        for right in corrupted(form.right)
    ]
    assert [str(form.right) for form in wrong if holds(form) != same(form)] == []
    assert sum(not holds(form) for form in wrong) > 20


def test_a_recogniser_that_loses_a_factor_gives_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    equation = parse_equation(
        "y[n, k] = 3*sum[l](W[k, l]*x[n, l])", tensors={"W": Tensor("W", (3, 4)), "x": Tensor("x", ("N", 4))}
    )
    right = concise(equation.target, equation.value)
    assert right is not None and isinstance(right.right, Operation)

    def careless(target: Component, value: Expr) -> Found | None:
        assert isinstance(right.right, Operation)
        return Found(whole(target.tensor), right.right.of[0], ())

    for family in recognise.FAMILIES:
        monkeypatch.setitem(recognise.FAMILIES, family, careless)
    clear()
    refused.clear()
    assert concise(equation.target, equation.value) is None
    assert len(refused) == len(recognise.FAMILIES)
    clear()


def clear() -> None:
    recognise._found.cache_clear()  # pyright: ignore[reportPrivateUsage]
    recognise._passes.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_a_form_of_another_shape_is_told_apart() -> None:
    equation = parse_equation("y[i] = x[i]", tensors={"x": Tensor("x", (4,))})
    form = concise(equation.target, equation.value)
    assert form is not None and holds(form)
    assert not holds(replace(form, right=operation("transpose", form.right)))
    assert not holds(replace(form, right=operation("diag", form.right)))
