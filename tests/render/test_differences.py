"""Every line of a document is true of the network: read back from the print, and held against central differences.

Both sides of every equals sign are worth the same at a point in float64 with three samples, where ∂ℓ/∂x of a line
about one sample is the derivative of that sample's loss. Neither a rule nor the backward pass has a say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from tests.examples import few
from tests.render.reading.compare import FORMATS, FUNCTIONS, SIGNS
from tests.render.reading.differences import World
from tests.render.reading.grammar import Node, parse
from tests.render.reading.intended import indices_of, mode_of, shown
from tests.render.reading.tokens import ReadingError, Sign, Token, Vocabulary, depth_change, numbered
from tests.render.reading.worth import Reader, Scope, letters

import chainrule as cr
from chainrule.derive.adjoint import Derivation
from chainrule.derive.compose import compose
from chainrule.derive.coupling import Coupling
from chainrule.derive.lemma import adjoint_of
from chainrule.forms import Form
from chainrule.forms.nodes import Entries as ByEntries
from chainrule.forms.nodes import parts, rebuilt
from chainrule.ir.expr import Add, Component, Constant, Expr, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.render.backward import Backward
from chainrule.render.build import build
from chainrule.render.document import Line, Lines, Paragraph, Table
from chainrule.render.formula import Formula, Worked, write
from chainrule.render.pieces import Numbers
from chainrule.render.styles import UNICODE


class Entries(cr.Layer):
    """What has no form but one by entries: digits of an axis, a shifted read, one outside its range."""

    equation = """
        z[n, i<2, j<2] = g[i]*x[n, 2*i + j]
        y[n, i<2] = sum[j<2](W[i, j]*tanh(z[n, j, 1]))*pad(x, 0)[n, i + 3]
    """
    init = {"g": cr.normal(1.0, 2), "W": cr.normal(1.0, 2, 2)}  # noqa: RUF012 - as users write it


NETWORKS: dict[str, list[Any]] = {
    "entries": [cr.Input(2), cr.Dense(4), Entries()],
    "batch norm": [cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid()],
    "layer norm": [cr.Input(2), cr.Dense(3), cr.LayerNorm(), cr.Tanh()],
    "softmax": [cr.Input(2), cr.Dense(3), cr.Softmax()],
    "convolution and batch norm": [cr.Input(1, 3), cr.Conv1d(2, kernel_size=2, padding=1), cr.BatchNorm()],
}
LARGER: dict[str, list[Any]] = {
    "planes and batch norm": [cr.Input(1, 2, 3), cr.Conv2d(2, kernel_size=2, padding=1), cr.BatchNorm()],
    "layers below and above": [cr.Input(2), cr.Dense(3), cr.BatchNorm(), "relu", cr.Dense(3), "tanh", cr.Dense(2)],
    "perceptron": [cr.Input(2), cr.Dense(3), "sigmoid", cr.Dense(3), "sigmoid", cr.Dense(2)],
}
BRANCHED = "a residual block"
TOLERANCE = 1e-6
PLACES = 6
"""Components and samples at which a line is judged, drawn where it has more."""
Lemma = tuple[Equation, Tensor]


@dataclass(frozen=True)
class Said:
    """Formulas side by side that make one statement, and the lemma that they stand in."""

    formulas: tuple[Formula, ...]
    lemma: Lemma | None


def derivation(name: str) -> Derivation:
    if name == BRANCHED:
        x = cr.Input(2)
        u = cr.Dense(3)(x)
        y = cr.Add()(u, cr.Tanh()(cr.BatchNorm()(cr.Dense(3)(cr.Sigmoid()(u)))))
        return cr.Model(x, cr.Dense(1)(y), loss="half_squared_error", dtype="float64").derive()
    return cr.Sequential(*{**NETWORKS, **LARGER}[name], loss="half_squared_error", dtype="float64").derive()


@cache
def world(name: str) -> World:
    return World(derivation(name))


def said(derived: Derivation, detail: str) -> Iterator[Said]:
    """What a document says with an equals sign, but for the worked example, whose point is another."""
    before: list[Formula] = []
    for block in build(derived, "en", detail).blocks:
        match block:
            case Paragraph(text=text):
                before.extend(part for part in text if isinstance(part, Formula))
            case Lines(lines=lines):
                lemma = lemma_of(derived, lines[0])
                yield from (Said((f,), lemma) for f in before)
                before.clear()
                yield from (Said(chain, lemma) for chain in chains(lines))
            case Table(rows=rows):
                yield from (Said((f,), None) for f in before)
                before.clear()
                cells = (text for row in rows for cell in row for text in cell)
                yield from (Said((part,), None) for text in cells for part in text if isinstance(part, Formula))
            case _:
                pass


def lemma_of(derived: Derivation, line: Line) -> Lemma | None:
    number = line.number.split(".")[0]
    if not number.isdigit():
        return None
    lemma = derived.lemmas[int(number) - 1]
    return lemma.equation, lemma.wrt.tensor


def chains(lines: Iterable[Line]) -> Iterator[tuple[Formula, ...]]:
    """Each line with the left side that it continues."""
    left: Formula | None = None
    for line in lines:
        left = line.left or left
        assert left is not None
        yield left, line.right


def computes(statement: Said) -> bool:
    parts = [part for formula in statement.formulas for part in formula.parts]
    letters_for_any_map = any(isinstance(part, str) and part.endswith("(") for part in parts)
    numbers = any(isinstance(part, Numbers | Worked) for part in parts)
    return "=" in parts and not numbers and not letters_for_any_map and any(not isinstance(p, str) for p in parts)


def sides(statement: Said, format: str, words: Vocabulary) -> list[list[Token]]:
    """The tokens between the equals signs of a statement."""
    style, read = FORMATS[format]
    found: list[list[Token]] = [[]]
    depth = 0
    for token in (t for f in statement.formulas for t in numbered(read(write(f, style), words), f.names.constants)):
        depth += depth_change(token)
        if token == Sign("=") and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return found


def judge(statement: Said, format: str, point: World) -> None:
    """Raises AssertionError where two sides are not worth the same, ReadingError where they cannot be read."""
    formulas = statement.formulas
    names = formulas[-1].names
    known = letters(point, names, statement.lemma)
    stems = {stem for stem, _ in known} | {SAMPLES} | SIGNS | set(names.constants.values())
    functions = FUNCTIONS - {stem for stem, _ in known}
    ranges: dict[str, int] = {}
    for index in (i for formula in formulas for i in indices_of(formula)):
        extent = point.samples if isinstance(index.extent, str) else index.extent
        assert ranges.setdefault(shown(index.name), extent) == extent, f"{index.name} runs over two ranges"
    words = Vocabulary(frozenset(stems), functions, any(stem == "e" for stem, _ in known))
    trees = [parse(side, functions) for side in sides(statement, format, words)]
    assert len(trees) > 1
    modes = {mode_of(f) for f in formulas}
    mode = next((mode for mode in ("matrix", "planes") if mode in modes), "components")
    scope = Scope(point, names, mode, ranges, statement.lemma, known)
    free = [name for name in ranges if any(name in open_indices(tree, ranges) for tree in trees)]
    places = list(product(range(1 if names.batch else point.samples), *(range(ranges[name]) for name in free)))
    for sample, *place in Random(0).sample(places, min(len(places), PLACES)):
        at, n = dict(zip(free, place, strict=True)), None if names.batch else sample
        values = [Reader(scope, n).worth(tree, at) for tree in trees]
        for value in values[1:]:
            assert equal(values[0], value), f"sample {n}, {at}: {values}"


def open_indices(node: Node, names: Iterable[str]) -> set[str]:
    """The indices in a formula that no sum in it runs over."""
    found = {name for argument in node.arguments for name in open_indices(argument, names)}
    if node.letter is not None:
        texts = ",".join((node.letter.stem + node.letter.primes, node.letter.lower, *node.letter.upper))
        found |= set(re.findall("|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)", texts))
    if node.kind == "big" or (node.kind == "share" and not node.text.isdigit()):
        found -= {binder.partition("<")[0] for binder in node.text.split(" ")[-1].split(",")}
    return found


def equal(one: Any, other: Any) -> bool:
    size = max(float(np.max(np.abs(one))), float(np.max(np.abs(other))), 1e-2)
    return bool(np.all(np.abs(np.asarray(one) - other) <= TOLERANCE * size))


def false(statements: Iterable[Said], format: str, point: World) -> list[str]:
    wrong: list[str] = []
    for statement in statements:
        try:
            judge(statement, format, point)
        except (AssertionError, ReadingError, LookupError, ValueError) as error:
            wrong.append(f"{text(statement)}: {type(error).__name__} {error}")
    return wrong


def text(statement: Said) -> str:
    return " ".join(write(f, UNICODE) for f in statement.formulas)


def statements(derived: Derivation, detail: str = "full") -> Sequence[Said]:
    return [s for s in said(derived, detail) if computes(s)]


@pytest.mark.parametrize("name", few(NETWORKS, 2))
def test_every_printed_line_is_true_of_the_network(name: str) -> None:
    found = statements(derivation(name), "standard")
    assert len(found) > 60
    assert false(found, "text", world(name)) == []


@pytest.mark.parametrize("format", ["latex", "mathml"])
def test_every_line_is_true_in_every_format(format: str) -> None:
    assert false(statements(derivation("batch norm"), "full"), format, world("batch norm")) == []


@pytest.mark.campaign
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", (*NETWORKS, *LARGER, BRANCHED))
def test_every_line_of_a_full_document_is_true(name: str, format: str) -> None:
    assert false(statements(derivation(name), "full"), format, world(name)) == []


# --- negative controls --------------------------------------------------------------------------


def blind(name: str) -> Derivation:
    """The derivation, taken as if its samples were never coupled."""
    derived = replace(derivation(name))
    derived.__dict__["coupling"] = Coupling({}, frozenset())
    return derived


@pytest.mark.parametrize("name", ["batch norm", "convolution and batch norm"])
def test_a_line_about_one_sample_below_batch_normalisation_is_false(name: str) -> None:
    true = {text(s) for s in statements(derivation(name), "standard")}
    found = [s for s in statements(blind(name), "standard") if text(s) not in true]
    refused = " ".join(false(found, "text", world(name)))
    weight = "W^[1]_ij = δ^[1]_i x_j" if name == "batch norm" else "∇_{W^[1]_oc} ℓ = "
    assert weight in refused and "∂ℓ/∂b_i" in refused


def test_a_composite_through_one_of_several_uses_is_false() -> None:
    """The mean is read by the variance and by the output: the sum of both is its gradient, and one alone is 0."""
    derived = derivation("batch norm")
    shares = {use.equation.tensor.name: use for use in derived.parts["batchnorm1.m"].uses}
    (outer,) = derived.parts["batchnorm1.v"].uses
    composite = compose(outer.instance, shares["batchnorm1.v"].instance)
    names = Backward(derived, "en", "full").batch
    target = Component(adjoint_of(composite.target.tensor), composite.target.subscripts)
    line = Said((Formula((target, "=", composite.result), names),), None)
    assert len(false([line], "text", world("batch norm"))) == 1


def moved(form: Form) -> Form:
    """The form with every matrix that is given entry by entry read one place further on."""
    if isinstance(form, ByEntries) and isinstance(form.entry, Component):
        *others, last = form.entry.subscripts
        return replace(form, entry=Component(form.entry.tensor, (*others, last + 1), Fraction(0)))
    return rebuilt(form, [moved(part) for part in parts(form)])


def test_entries_that_are_read_elsewhere_are_false() -> None:
    wrong: list[Said] = []
    for statement in statements(derivation("entries"), "standard"):
        *others, last = statement.formulas
        if isinstance(form := last.parts[-1], Form) and moved(form) != form:
            wrong.append(Said((*others, Formula((*last.parts[:-1], moved(form)), last.names)), statement.lemma))
    assert len(wrong) > 5
    assert len(false(wrong, "text", world("entries"))) == len(wrong)


def test_a_line_that_is_wrong_by_a_term_is_false() -> None:
    true, wrong = statements(derivation("batch norm"), "standard"), list[Said]()
    for statement in true:
        *others, last = statement.formulas
        if isinstance(last.parts[-1], Expr):
            parts = (*last.parts[:-1], Add((last.parts[-1], Constant(Fraction(1, 100)))))
            wrong.append(Said((*others, Formula(parts, last.names)), statement.lemma))
    assert len(wrong) > 60
    assert len(false(wrong, "text", world("batch norm"))) == len(wrong)
