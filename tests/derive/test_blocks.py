"""Every form in blocks equals its component form, evaluated by two evaluators that share nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.derive.blocks import Blocks, blocks
from chainrule.derive.concise import blocks_form
from chainrule.derive.lemma import one_sample
from chainrule.derive.matrix import Transpose, evaluate
from chainrule.evaluate import numpy as executor
from chainrule.evaluate.functions import FUNCTIONS
from chainrule.ir.expr import Component
from chainrule.ir.program import Equation
from tests.derive.cases import CASES
from tests.nn.test_every_layer import MODELS, model_with

EXTENTS = {"N": 2}
Values = dict[str, NDArray[Any]]


def size(extent: int | str) -> int:
    return extent if isinstance(extent, int) else EXTENTS.get(extent, 3)


def values(equation: Equation, top: int) -> Values:
    rng = np.random.default_rng(0)
    return {
        t.name: rng.integers(0, top, [size(e) for e in t.shape]) if t.dtype == "integer"
        else rng.uniform(0.5, 2, [size(e) for e in t.shape])
        for t in equation.value.tensors
    }


def concise(form: Blocks, equation: Equation, given: Values) -> NDArray[Any]:
    """The tensor that the form says, put together from its blocks."""
    shape = [size(e) for e in form.left.view]
    result = np.zeros(shape)
    for place in np.ndindex(*(size(i.extent) for i in form.at)):
        at = dict(zip(form.at, place, strict=True))
        block = evaluate(form.right, given, functions=FUNCTIONS, extents=EXTENTS, at=at)
        where = tuple(
            slice(None) if s is None else s.offset + sum(c * at[i] for i, c in s.terms) for s in form.left.at
        )
        result[where] = block.reshape(result[where].shape)
    return result.reshape([size(e) for e in equation.tensor.shape])


def detailed(equation: Equation, given: Values) -> NDArray[Any]:
    indices = equation.target.free
    array = executor.evaluate(equation.value, given, indices, extents=EXTENTS)
    result = np.zeros([size(e) for e in equation.tensor.shape])
    for place in np.ndindex(*array.shape):
        at = dict(zip(indices, place, strict=True))
        result[tuple(s.offset + sum(c * at[i] for i, c in s.terms) for s in equation.target.subscripts)] = array[place]
    return result


def equations(derivation: Any) -> list[Equation]:
    every = [*derivation.joint.equations]
    whole = [e for e in every if all(s.radix(x) for s, x in zip(e.target.subscripts, e.tensor.shape, strict=True))]
    return [f for e in whole for f in (e, one_sample(e)) if f is not None and f.value.tensors]


def wrong(found: list[Equation], top: int) -> tuple[list[str], int]:
    """The equations whose form says something else, and how many have one."""
    bad: list[str] = []
    seen = 0
    for equation in found:
        form = blocks(equation.target, equation.value)
        if form is None:
            continue
        seen += 1
        given = values(equation, top)
        if not np.allclose(concise(form, equation, given), detailed(equation, given), rtol=1e-10):
            bad.append(str(equation))
        components = executor.evaluate(blocks_form(form), given, equation.target.free, extents=EXTENTS)
        plain = executor.evaluate(equation.value, given, equation.target.free, extents=EXTENTS)
        if not np.allclose(components, plain, rtol=1e-10):
            bad.append(f"components of {equation}")
    return bad, seen


@pytest.mark.parametrize("name", MODELS)
def test_the_forms_of_every_layer_equal_the_detailed_ones(name: str) -> None:
    assert wrong(equations(model_with(name).derive()), 5)[0] == []


@pytest.mark.parametrize("name", CASES)
def test_the_forms_of_every_case_equal_the_detailed_ones(name: str) -> None:
    assert wrong(equations(CASES[name].derivation), min(CASES[name].ranges.values(), default=2))[0] == []


def test_attention_embedding_softmax_and_flattened_planes_have_forms() -> None:
    for name, least in (("transformer-tiny", 40), ("lenet", 10), ("mlp", 4)):
        bad, seen = wrong(equations(cr.read_model(name).derive()), 10)
        assert bad == [] and seen >= least


def test_a_form_that_is_transposed_is_told_apart() -> None:
    derivation = cr.read_model("transformer-tiny").derive()
    (equation,) = (e for e in derivation.forward.equations if e.tensor.name.endswith(".s"))
    form = blocks(equation.target, equation.value)
    assert form is not None
    swapped = Blocks(form.left, Transpose(form.right), form.at, form.target, form.detailed)
    given = values(equation, 2)
    assert not np.allclose(concise(swapped, equation, given), detailed(equation, given))
    assert isinstance(equation.target, Component)
