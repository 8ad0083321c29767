"""The computational graph with numbers: what stands beside its nodes and arrows are the example's values and gradients.

The numbers are read from the page, as a reader sees them, and compared with central differences of the program.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.built_in import derived, document

import chainrule as cr
from chainrule.render.build import build
from chainrule.render.circuit import Circuit
from chainrule.render.document import Arrow, Figure, Spot
from chainrule.render.figure import draw
from chainrule.render.formula import Formula, write
from chainrule.render.html import render as page
from chainrule.render.sample import Sample, sample_of
from chainrule.render.styles import LATEX, UNICODE
from chainrule.semantics.exact import plain, run

NETWORKS = ("neuron", "mlp-textbook")
SPAN = re.compile(r'<span class="(spot|value|gradient)" style="[^"]*">(.*?)</span>(?=<span class="[svgl]|</div>)')
STEP = 1e-4


@cache
def sample(name: str) -> Sample:
    found = sample_of(derived(name), None, whole=False)
    assert found is not None
    return found


def number(markup: str) -> float:
    """A number as it stands in MathML: −1/16, 0.25."""
    markup = re.sub(r"<mfrac><mn>(\d+)</mn><mn>(\d+)</mn></mfrac>", r"\1/\2", markup)
    text = re.sub(r"<[^>]*>|\s", "", markup).replace("−", "-")
    return float(Fraction(text))


def read(source: str) -> tuple[list[tuple[str, float, float]], list[tuple[float, float]]]:
    """From the drawing on a page: of each spot its symbol, value and gradient; of each weight value and gradient."""
    drawing = re.search(r'<div class="drawing".*?</figure>', source, re.DOTALL)
    assert drawing is not None
    spans = [(m[1], m[2]) for m in SPAN.finditer(drawing[0])]
    spots = [
        (tex(first), number(second), number(third))
        for (a, first), (b, second), (c, third) in zip(spans, spans[1:], spans[2:], strict=False)
        if (a, b, c) == ("spot", "value", "gradient")
    ]
    weights = [part.split("<b>∂") for kind, part in spans if kind == "value" and "<b>" in part]
    return spots, [(number(value), number(gradient)) for value, gradient in weights]


def tex(markup: str) -> str:
    found = re.search(r'data-tex="([^"]*)"', markup)
    return found[1] if found else ""


def by_differences(sample: Sample, name: str, place: tuple[int, ...]) -> float:
    """The derivative of the loss by one component, from the equations that follow it alone."""
    equations = list(sample.derivation.forward.equations)
    names = [e.tensor.name for e in equations]
    after = equations[names.index(name) + 1 :] if name in names else equations
    loss = sample.derivation.loss
    assert loss is not None
    values: list[float] = []
    for step in (STEP, -STEP):
        state: dict[str, Any] = {}
        for own, entries in sample.values.items():
            array = np.empty([1 + max(axis) for axis in zip(*entries, strict=True)], object)
            for at, value in entries.items():
                array[at] = float(plain(value)) + step * ((own, at) == (name, place))
            state[own] = array
        values.append(float(run(after, state, sample.sizes)[loss.name].item()))
    return (values[0] - values[1]) / (2 * STEP)


def wrong(name: str, source: str) -> list[str]:
    """The numbers of a page's drawing that are not the program's."""
    own = sample(name)
    circuit = Circuit(own, "en", "standard")
    known = [(t, place) for t in own.values if t in circuit.tensors for place in own.values[t]]
    written = {_tex(circuit, *unit): unit for unit in known}
    spots, weights = read(source)
    faults: list[str] = []
    for symbol, value, gradient in spots:
        tensor, place = written[symbol]
        if abs(value - float(plain(own.values[tensor][place]))) > 1e-3 * max(1, abs(value)):
            faults.append(f"{symbol} = {value}")
        if abs(gradient - by_differences(own, tensor, place)) > 1e-3 * max(1, abs(gradient)):
            faults.append(f"∂ {symbol}: {gradient}")
    parameters = [t.name for t in own.derivation.forward.parameters]
    places = [(t, place, value) for t in parameters for place, value in own.values[t].items()]
    wanted = sorted((float(plain(value)), by_differences(own, t, place)) for t, place, value in places)
    if not np.allclose(sorted(weights), wanted, atol=1e-3):
        faults.append("weights")
    return faults


def _tex(circuit: Circuit, name: str, place: tuple[int, ...]) -> str:
    at = place[1:] if circuit.tensors[name].shape[:1] == ("N",) else place
    (formula,) = circuit.texts((name, at))[0]
    assert isinstance(formula, Formula)
    return write(formula, LATEX)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_of_the_figure_are_those_of_the_program(name: str) -> None:
    source = page(document(name, "en"))
    spots, weights = read(source)
    assert len(spots) > 6 and len(weights) > 5
    assert wrong(name, source) == []


def test_a_wrong_number_in_the_figure_is_found() -> None:
    source = page(document("mlp-textbook", "en"))
    start = source.index('<div class="drawing"')
    assert wrong("mlp-textbook", source[:start] + source[start:].replace("<mn>16</mn>", "<mn>15</mn>", 1)) != []


def test_a_long_row_goes_on_below_and_a_skip_is_an_arc_above() -> None:
    spots = tuple(Spot(n, 0, (f"layer {n}",)) for n in range(20))
    arrows = (*(Arrow(n, n + 1, ("16×32×32",)) for n in range(19)), Arrow(1, 3))
    drawing = draw(Figure(spots, arrows, ()))
    assert drawing.width <= 49 and len({y for _, y in drawing.places}) > 3
    assert len(set(drawing.places)) == 20
    skip, straight = drawing.strokes[-1], drawing.strokes[1]
    assert skip.via is not None and skip.via[1] < straight.start[1] - 1
    assert [s for s in drawing.strokes[:-1] if s.via is not None] == []
    assert all(abs(a[0] - b[0]) > 3 or a[1] != b[1] for a, b in pairwise(drawing.places))


def drawn(kind: str) -> tuple[list[str], list[str]]:
    """The planes of a pooling's picture, and the sums below it."""
    text = f"y[n, c<2, i<2, j<2] = {kind}[p<2, q<2](x[n, c, 2*i + p, 2*j + q])"
    figures = [b for b in build(cr.derive(text), "en", "standard").blocks if isinstance(b, Figure)]
    picture = next(f for f in figures if len(f.spots) == 4)
    planes = [write(p, UNICODE) for spot in picture.spots for p in spot.text if isinstance(p, Formula)]
    return planes, [write(p, UNICODE) for p in picture.caption if isinstance(p, Formula)][1::2]


def test_pooling_is_drawn_forward_and_backward_with_both_sums() -> None:
    """The largest of each window takes its whole error, or each cell a quarter; neither loses any."""
    x, signal = "x_0 = [1, 3, 2, 0; 0, 1, 3, 2; 2, 1, 0, 3; 1, 2, 0, 3]", "∇_{y_0} f = [8, −4; 2, 6]"
    assert drawn("max") == (
        [x, "y_0 = [3, 3; 2, 3]", signal, "∇_{x_0} f = [0, 8, 0, 0; 0, 0, −4, 0; 2, 0, 0, 6; 0, 0, 0, 0]"], ["12", "12"]
    )
    planes, sums = drawn("mean")
    assert planes[2] == signal and sums == ["12", "12"]
    assert planes[3] == "∇_{x_0} f = [2, 2, −1, −1; 2, 2, −1, −1; ½, ½, 3/2, 3/2; ½, ½, 3/2, 3/2]"
