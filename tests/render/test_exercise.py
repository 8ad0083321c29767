"""Exercises: what a sheet leaves out, and questions whose answers are those of the networks they speak of."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.built_in import derived

import chainrule as cr
from chainrule.arrays.execute import execute, execute_equations
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.variant import with_decay, with_function, with_sum
from chainrule.errors import DataError, DerivationError
from chainrule.ir.program import Equation
from chainrule.render.build import build
from chainrule.render.document import Document, Heading, Lines, Paragraph, Table, Text, formulas
from chainrule.render.formula import Blank, Formula, write
from chainrule.render.html import render as write_page
from chainrule.render.pdf import unknown
from chainrule.render.questions import Question, Questions, lines_of, moved, points, vanishing
from chainrule.render.styles import UNICODE
from chainrule.render.text import flat

CHANGED = {"en": "In the place of ", "zh": " 变为："}


def network(activation: type[cr.Layer] = cr.Sigmoid, **more: Any) -> Derivation:
    layers = cr.Input(3), cr.Dense(4), activation(), cr.Dense(2), activation()
    return cr.Sequential(*layers, loss="half_squared_error", **more).derive()


@cache
def asked(name: str = "mlp", lang: str = "en") -> Questions:
    return Questions(derived(name), lang, "standard")


def question(questions: Questions, kind: str) -> Question:
    """The one that this method of Questions asks."""
    (found,) = getattr(questions, kind)()
    return found


def lines(text: str) -> set[int]:
    """The numbers of (1), (3)–(5)."""
    found = set[int]()
    for run in text.split(", "):
        ends = [int(n) for n in re.findall(r"\((\d+)\)", run)]
        found |= set(range(ends[0], ends[-1] + 1)) if ends else set()
    return found


def changed(answer: tuple[Text, ...]) -> set[int]:
    said = [flat(line) for line in answer]
    return lines(said[0]) if said[0].startswith(CHANGED["en"]) else set()


def rows(derivation: Derivation) -> dict[int, list[str]]:
    """What the document's lines of the backward pass compute, as it prints them."""
    table = next(b for b in build(derivation, "en", "full").blocks if isinstance(b, Table) and len(b.header) == 3
                 and flat(b.header[0]) == "explanation")
    cells = [[flat(text) for text in cell] for row in table.rows if len(row) == 3 for cell in row]
    return {int(why[0].split(")")[0][1:]): [*detailed, *concise]
            for why, detailed, concise in zip(cells[::3], cells[1::3], cells[2::3], strict=True)}


# --- another network -----------------------------------------------------------------------------


def test_the_lines_that_another_activation_changes_are_those_that_differ_in_that_networks_document() -> None:
    sigmoid, tanh = network(), network(cr.Tanh)
    questions = Questions(sigmoid, "en", "standard")
    answer = question(questions, "another_function").answer
    there = rows(tanh)
    differing = {number for number, row in rows(sigmoid).items() if row != there[number]}
    assert changed(answer) == differing == {3, 7}
    said = " ".join(flat(line) for line in answer).replace("\u00a0", " ")
    assert all(text.replace("\u00a0", " ") in said for number in differing for text in there[number])
    assert not changed(questions.differences(with_function(sigmoid, "sigmoid", "sigmoid")))


def values(derivation: Derivation, samples: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        t.name: rng.uniform(-1, 1, [samples if e == "N" else int(e) for e in t.shape])
        for t in derivation.joint.given
    }


def agrees(derivation: Derivation, name: str) -> bool:
    """Whether a gradient is that of central differences of the loss."""
    given, h = values(derivation), 1e-5
    assert derivation.loss is not None
    gradient = execute(derivation.joint, given)[derivation.gradients[name].name]
    for place in np.ndindex(gradient.shape):
        ends: list[float] = []
        for step in (h, -h):
            moved_ = given[name].copy()
            moved_[place] += step
            ends.append(float(execute(derivation.forward, {**given, name: moved_})[derivation.loss.name]))
        if abs((ends[0] - ends[1]) / (2 * h) - gradient[place]) > 1e-8:
            return False
    return True


def test_the_changed_networks_are_derived_right_and_differ() -> None:
    derivation = network()
    weight = derivation.forward.parameters[0]
    decayed = with_decay(derivation, weight, Fraction(1, 5))
    others = with_function(derivation, "sigmoid", "tanh"), with_sum(derivation), decayed
    before = execute(derivation.joint, values(derivation))
    for other in others:
        assert other is not None and agrees(other, weight.name)
        own = execute(other.joint, values(other))
        assert not np.allclose(own[adjoint_of(weight).name], before[adjoint_of(weight).name])
    twice, once = (execute(other.joint, values(derivation)) for other in others[1:] if other)
    name = adjoint_of(weight).name
    assert np.allclose(twice[name], 3 * before[name])
    assert np.allclose(once[name], before[name] + values(derivation)[weight.name] / 5)


def test_a_sum_for_the_mean_changes_the_first_lines_and_decay_adds_some() -> None:
    questions = asked("mlp-textbook")
    answer = question(questions, "sum_for_mean").answer
    assert changed(answer) == {1, 2} and flat(answer[1]).replace("\u00a0", " ") == "∂𝓛/∂ℓ^(n) = 1"
    answer = question(questions, "decay").answer
    assert not changed(answer) and "(1/10) W^[1]_ij" in flat(answer[1]).replace("\u00a0", " ")
    assert "line (8)" in flat(answer[5]) and "(1)–(10)" in flat(answer[-1])
    assert with_sum(cr.derive("y[n, k] = tanh(x[n, k])")) is None


# --- what depends on what ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "mlp-textbook", "lenet"])
def test_what_is_kept_is_what_the_backward_pass_needs(name: str) -> None:
    derivation, needed = derived(name), kept(asked(name))
    given = next(points(derivation))
    found = execute(derivation.joint, given)
    own = {name: value for name, value in {**given, **found}.items() if name in needed}
    backward = execute_equations(derivation.backward.equations, own, extents={"N": 4})
    assert all(np.array_equal(backward[t.name], found[t.name]) for t in derivation.backward.defined)
    for left_out in needed[-3:]:
        fewer = {name: value for name, value in own.items() if name != left_out}
        with pytest.raises(DataError, match="has no value"):
            execute_equations(derivation.backward.equations, fewer, extents={"N": 4})


def kept(questions: Questions) -> list[str]:
    """The tensors that the answer says are read, by the symbols that it prints."""
    said = flat(question(questions, "kept").answer[0]).replace("\u00a0", " ")
    symbols = said.removeprefix("It reads ").removesuffix(".").split(", ")
    forward = questions.derivation.forward
    by_symbol = {flat(questions.symbols_of([t])): t.name for t in (*forward.given, *forward.defined)}
    return [by_symbol[symbol] for symbol in symbols]


def closure(equations: tuple[Equation, ...], start: str) -> set[str]:
    """The tensors that are computed from one, through any line."""
    found = {start}
    for equation in equations:
        if found & {t.name for t in equation.value.tensors}:
            found.add(equation.tensor.name)
    return found - {start}


def test_what_a_bias_moves_is_what_is_computed_from_it_and_not_what_a_normalisation_takes_out() -> None:
    derivation = network()
    bias = derivation.forward.parameters[-1]
    assert moved(derivation, bias) == closure(derivation.joint.equations, bias.name)
    deep = derived("lenet")
    bias = deep.forward.parameters[-1]
    assert moved(deep, bias) == closure(deep.joint.equations, bias.name)
    layers = cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid()
    normal = cr.Sequential(*layers, loss="half_squared_error").derive()
    before = next(t for t in normal.forward.parameters if t.name == "dense1.b")
    found, read = moved(normal, before), closure(normal.joint.equations, before.name)
    assert {"dense1.u", "batchnorm1.m"} <= found < read
    assert not found & {"batchnorm1.y", "sigmoid1.z", "loss()"} and "loss()" in read


def test_a_gradient_that_is_small_behind_a_normalisation_counts_as_changed() -> None:
    layers = cr.Input(3, 4), cr.LayerNorm(), cr.MultiHeadAttention(2), cr.Flatten(), cr.Dense(2)
    derivation = cr.Sequential(*layers, loss="half_squared_error").derive()
    parameters = derivation.forward.parameters
    found = moved(derivation, parameters[-1])
    # The bias of the keys moves no attention: softmax takes it out, so its gradient is 0 before and after.
    gradients = {t.name for t in parameters if adjoint_of(t).name not in found}
    assert gradients == {"multiheadattention1.bk"}


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_the_lines_for_a_layer_alone_are_those_that_its_gradients_are_computed_from(name: str) -> None:
    questions = asked(name)
    derivation = questions.derivation
    wanted = {adjoint_of(t) for t in derivation.forward.parameters[-2:]}
    for equation in reversed(derivation.backward.equations):
        wanted |= set(equation.value.tensors) if equation.tensor in wanted else set()
    # The gradient by ℓ is the constant 1/N, which later lines have in them.
    out = {n for n, row in questions.numbered if not any(e.tensor in wanted for e in row.results(batch=True))} - {1}
    assert lines(flat(question(questions, "frozen").answer[0]).split(".")[0]) == out and 1 < len(out)


def test_gradients_that_are_0_for_weights_of_0_are_so_by_differences_and_no_others() -> None:
    derivation = network()
    weights = [t for t in derivation.forward.parameters if len(t.shape) > 1]
    zero = vanishing(derivation, weights)
    assert not vanishing(derivation, [])
    given = {name: v * (name not in {w.name for w in weights}) for name, v in next(points(derivation)).items()}
    for tensor in derivation.forward.parameters:
        ends = (given, {**given, tensor.name: given[tensor.name] + 1e-3})
        low, high = (float(execute(derivation.forward, own)["loss()"]) for own in ends)
        assert (abs(high - low) < 1e-12) == (adjoint_of(tensor).name in zero)


# --- reasons -------------------------------------------------------------------------------------


def test_why_a_weight_is_transposed_is_asked_only_where_it_is() -> None:
    found = question(asked("mlp"), "transpose")
    said = " ".join(flat(line) for line in found.answer).replace("\u00a0", " ")
    assert "line (5)" in flat(found.text) and "W^[2]ᵀ δ^[2]" in rows(derived("mlp"))[5][1].replace("\u00a0", " ")
    assert "over l, the second subscript" in said and "over k, the first subscript" in said
    assert "(32×10)(10×1) = 32×1 ✓" in said
    other = cr.derive("u[n, l] = sum[k](W[k, l]*x[n, k])")
    assert not list(Questions(other, "en", "standard").transpose())


def test_why_there_is_a_minus_is_the_solution_of_the_forward_subscripts() -> None:
    found = question(asked("lenet"), "turned")
    said = flat(found.answer[0]).replace("\u00a0", " ")
    (s, h), (i, t) = (part.split(" = ") for part in re.findall(r"\S+ = \S+?(?=[,:])", said)[:2])
    for point in range(5):
        for p in range(3):
            at = {"p": p, i: 0, h: point}
            solved = _affine(t, at)
            assert _affine(s, {**at, i: solved}) == point
            assert _affine(s, {**at, i: solved + 1}) != point
    assert not list(asked("mlp").turned())


def _affine(text: str, at: dict[str, int]) -> int:
    """The value of h−p+1."""
    terms = re.findall(r"([+−]?)(\w+)", text)
    return sum((-1 if sign == "−" else 1) * (int(word) if word.isdigit() else at[word]) for sign, word in terms)


def test_the_numbers_learnt_are_those_of_the_model() -> None:
    total = flat(question(asked("lenet"), "learnt").answer[-1])
    assert f"{sum(p.size for p in cr.read_model('lenet').parameters.values()):,}" in total


def test_lines_are_named_in_runs() -> None:
    assert lines_of([1, 2, 4, 5, 6, 9]) == "(1), (2), (4)–(6), (9)" and lines(lines_of([1, 2, 4, 5, 6, 9])) == {
        1, 2, 4, 5, 6, 9
    }


# --- the sheet -----------------------------------------------------------------------------------


@cache
def sheet(level: Any, answers: Any, lang: str = "en") -> Document:
    return build(derived("neuron"), lang, "standard", exercise=True, level=level, answers=answers)


def blank(document: Document) -> list[Formula]:
    return [f for f in formulas(document) if any(isinstance(part, Blank) for part in f.parts)]


def test_levels_ask_for_more_and_say_less() -> None:
    first, second, third = (sheet(level, "without") for level in (1, 2, 3))
    assert len(blank(first)) < len(blank(second)) < len(blank(third))
    proofs = [[b for b in d.blocks if isinstance(b, Lines)] for d in (first, second, third)]
    given = {write(line.right, UNICODE) for b in build(derived("neuron"), "en", "standard").blocks
             if isinstance(b, Lines) for line in b.lines}
    assert {write(x.right, UNICODE) for b in proofs[0] for x in b.lines} <= given
    assert all(any(isinstance(p, Blank) for p in x.right.parts) for b in proofs[1] for x in b.lines[1:])
    assert all(any(isinstance(p, Blank) for p in x.right.parts) and not x.reason for b in proofs[2] for x in b.lines)
    for one, other in pairwise((first, second, third)):
        titles = [[flat(b.text) for b in d.blocks if isinstance(b, Heading)] for d in (one, other)]
        assert titles[0] == titles[1]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_solution_sheet_stands_alone_or_after_the_exercise(lang: str) -> None:
    after, without, alone = (sheet(3, answers, lang) for answers in ("after", "without", "alone"))
    lead, *blocks = without.blocks
    assert isinstance(lead, Paragraph) and list(after.blocks[1 : 1 + len(blocks)]) == blocks
    solutions = [b.text if isinstance(b, Heading) else b for b in after.blocks[2 + len(blocks) :]]
    assert solutions == [b.text if isinstance(b, Heading) else b for b in alone.blocks]
    assert blank(without) and not blank(alone) and alone.title != without.title
    # Every question of the sheet is answered.
    table = next(b for b in alone.blocks if isinstance(b, Table) and len(b.header) == 2)
    questions = {flat(row[0][0]) for row in table.rows}
    assert questions <= {flat(b.text) for b in without.blocks if isinstance(b, Paragraph)} and len(questions) > 6
    assert all(any(flat(text) for text in row[1]) for row in table.rows)


def test_what_is_no_level_and_no_place_of_answers_is_refused() -> None:
    for wrong in ({"level": 4}, {"answers": "never"}):
        with pytest.raises(DerivationError, match=r"4|never"):
            build(derived("neuron"), "en", "standard", exercise=True, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pages_have_every_line_to_write_on_and_every_character(lang: str) -> None:
    document = sheet(3, "after", lang)
    lines_ = [f for f in blank(document) if f.parts == (Blank(None),)]
    others = len(blank(document)) - len(lines_)
    page = write_page(document)
    assert page.count('<span class="line">') == len(lines_) > 10 and page.count('class="blank"') == others
    assert unknown(document) == [] and unknown(replace(document, title="\u0e01")) == ["\u0e01"]
