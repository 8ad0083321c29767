"""Forms whose target has indices in subscripts, or axes run together: they equal their component forms in floats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chainrule.derive import derive_equation
from chainrule.derive.lemma import one_sample
from chainrule.forms import Concise, concise, operation
from chainrule.ir.program import Equation
from tests.built_in import derived
from tests.derive.cases import CASES
from tests.examples import few
from tests.forms.values import concise as concise_value
from tests.forms.values import detailed, drawn
from tests.nn.test_every_layer import KINDS, MODELS, model_with

EXTENTS = {"N": 2, "K": 3, "C": 3, "I": 3, "J": 3}


def equations(derivation: Any) -> list[Equation]:
    every = [*derivation.joint.equations]
    whole = [e for e in every if all(s.radix(x) for s, x in zip(e.target.subscripts, e.tensor.shape, strict=True))]
    return [f for e in whole for f in (e, one_sample(e)) if f is not None and f.value.tensors]


def agree(form: Concise, top: int) -> bool:
    given = drawn(form.detailed, EXTENTS, top=top)
    return np.allclose(concise_value(form, given, EXTENTS), detailed(form, given, EXTENTS), rtol=1e-10)


def wrong(found: list[Equation], top: int) -> tuple[list[str], int]:
    """The equations whose form says something else, and how many have one in blocks."""
    forms = [form for e in found if (form := concise(e.target, e.value)) is not None and form.family == "blocks"]
    return [str(form.detailed) for form in forms if not agree(form, top)], len(forms)


@pytest.mark.parametrize("name", few(MODELS, KINDS))
def test_the_forms_of_every_layer_equal_the_detailed_ones(name: str) -> None:
    assert wrong(equations(model_with(name).derive()), 5)[0] == []


@pytest.mark.parametrize("name", CASES)
def test_the_forms_of_every_case_equal_the_detailed_ones(name: str) -> None:
    assert wrong(equations(CASES[name].derivation), min(CASES[name].ranges.values(), default=2))[0] == []


def test_attention_embedding_softmax_and_flattened_planes_have_forms() -> None:
    for name, least in (("transformer-tiny", 20), ("lenet", 5)):
        bad, seen = wrong(equations(derived(name)), 10)
        assert bad == [] and seen >= least


def test_a_form_that_is_transposed_is_told_apart() -> None:
    derivation = derived("transformer-tiny")
    (equation,) = (e for e in derivation.forward.equations if e.tensor.name.endswith(".s"))
    form = concise(equation.target, equation.value)
    assert form is not None and form.family == "blocks" and form.fixed and agree(form, 2)
    assert not agree(replace(form, right=operation("transpose", form.right)), 2)


def test_axes_run_together_in_one_factor_are_so_in_the_product() -> None:
    assert derive_equation("y[n, 4*(i<1) + (j<3)] = x[n, i, j]*w")["w"].uses[0].lemma.concise is not None
