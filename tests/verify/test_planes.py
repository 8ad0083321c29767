"""Forms in planes, said in components, are what they stand for; corrupted ones are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chainrule.derive.plane_components import component_form
from chainrule.derive.scene import Line, of_lemma
from chainrule.derive.subject import Subject
from chainrule.derive.window import concise
from chainrule.errors import ShapeError
from chainrule.verify.exact import SceneCheck
from tests.derive.cases import CASES
from tests.derive.test_window import CORRUPTED, changed, lemmas

EXTENTS = {"N": 2}
RULE = "form in planes"


@pytest.mark.parametrize("name", [n for n in CASES if "conv" in n or "pool" in n or n == "reshape"])
def test_forms_in_planes_hold_exactly(name: str) -> None:
    rules: list[str] = []
    for _, lemma in lemmas(CASES[name]):
        check = SceneCheck(of_lemma(lemma, EXTENTS))
        rules += [line.rule for line in check.scene.lines]
        assert check.run(3) == {}
    assert (RULE in rules) == (name != "reshape")  # a mixed-radix number leaves no axis whole


@pytest.mark.parametrize("name", CORRUPTED)
def test_a_corrupted_form_is_refused(name: str) -> None:
    case, wrt, change = CORRUPTED[name]
    lemma = next(lemma for tensor, lemma in lemmas(CASES[case]) if tensor == wrt)
    form = concise(lemma)
    assert form is not None
    wrong = replace(form, right=changed(form.right, change))
    assert wrong != form
    try:
        line = Line(Subject("other", y=name), RULE, form.detailed, component_form(wrong, EXTENTS))
        found = SceneCheck(replace(of_lemma(lemma, EXTENTS), lines=(line,))).run(3)
    except ShapeError:
        return  # It reads outside its tensors.
    assert set(found) == {0}
