"""Where samples couple, lines about one of them end: N times a sample's gradient is not that of its own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive import Derivation, derive_program
from chainrule.ir.expr import LOSS, Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program
from chainrule.render.build import build
from chainrule.render.document import formulas
from chainrule.render.formula import write
from chainrule.render.styles import UNICODE
from tests.render.reading.differences import slope

U = "u[n, k] = sum[l](W[k, l]*x[n, l])\n"
MEAN = "e[n] = sum[k](z[n, k]**2)\nloss = mean[n](e[n])"
# The tensors whose equations couple samples first, going backwards, and those below them.
PROGRAMS: dict[str, tuple[str, set[str], set[str]]] = {
    "nothing": (U + "z[n, k] = tanh(u[n, k])\n" + MEAN, set(), set()),
    "a sum of losses": (U + "z[n, k] = tanh(u[n, k])\ne[n] = sum[k](z[n, k]**2)\nloss = sum[n](e[n])", set(), set()),
    "decay": (U + "loss = mean[n](sum[k](u[n, k]**2)) + 1/2*sum[k, l](W[k, l]**2)", set(), set()),
    "parts of the loss": (
        U + "z[n, k] = u[n, k]\nd = mean[n](sum[k](z[n, k]**2))\nloss = 3*d + sum[k, l](W[k, l]**2)", set(), set()
    ),
    "a count": (U + "c = sum[n](t[n])\nloss = sum[n](t[n]*sum[k](u[n, k]**2))/c", set(), set()),
    "the mean of a batch": (
        U + "m[k] = mean[n](u[n, k])\nz[n, k] = u[n, k] - m[k]\n" + MEAN, {"z"}, {"z", "m", "u"}
    ),
    "above and below": (
        U + "v[n, k] = tanh(u[n, k])\nm[k] = mean[n](v[n, k]**2)\n"
        "y[n, k] = v[n, k]/m[k]\nz[n, k] = tanh(y[n, k])\n" + MEAN, {"y"}, {"y", "m", "v", "u"},
    ),
    "pairs": (
        U + "s[n, m<N] = sum[k](u[n, k]*u[m, k])\nq[n, m<N] = tanh(s[n, m])\nloss = mean[n](sum[m](q[n, m]))",
        {LOSS.name}, {LOSS.name, "q", "s", "u"},
    ),
    "a root of the mean": (U + "loss = mean[n](sum[k](u[n, k]**2))**(1/2)", {LOSS.name}, {LOSS.name, "u"}),
    "a product of means": (
        U + "loss = mean[n](u[n, 0]**2)*mean[n](u[n, 1]**2)", {LOSS.name}, {LOSS.name, "u"}
    ),
}
SHAPES: dict[str, tuple[Any, ...]] = {"W": (2, 3), "x": ("N", 3), "t": ("N",)}


def derived(name: str) -> Derivation:
    text = PROGRAMS[name][0]
    tensors = {key: Tensor(key, shape) for key, shape in SHAPES.items() if f"{key}[" in text}
    equations = tuple(parse_program(text, tensors=tensors))
    loss = equations[-1].tensor
    program = Program(equations, inputs=tuple(tensors.values()), outputs=(loss,)).over({loss: LOSS})
    return derive_program(program, LOSS, [tensors["W"]])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_first_equation_that_couples_and_what_is_below(name: str) -> None:
    found = derived(name)
    _, first, below = PROGRAMS[name]
    assert {e.tensor.name for e in found.coupling.first} == first
    assert {e.tensor.name for e in found.coupling.below} == below


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_not_below_has_a_loss_of_its_own(name: str) -> None:
    """The influence of one sample's u on the loss does not depend on another's exactly where nothing couples them."""
    program = derived(name).forward
    free = Program(program.equations[1:], (program.equations[0].tensor, *program.inputs), outputs=program.outputs)
    rng = np.random.default_rng(0)
    sizes = {t.name: tuple(3 if e == "N" else int(e) for e in t.shape) for t in free.inputs}
    given = {name: rng.normal(size=shape) for name, shape in sizes.items()}

    def loss(a: float, b: float) -> float:
        moved = {**given, "u": given["u"] + np.array([[a, a], [b, b], [0, 0]])}
        return float(execute(free, moved)[LOSS.name])

    mixed = slope(lambda a: slope(lambda b: loss(50*a, 50*b)))
    assert (abs(mixed) > 1e-2) == bool(PROGRAMS[name][1])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_formula_speaks_of_one_sample_from_where_the_document_says_so(lang: str) -> None:
    model = cr.Sequential(cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid(), loss="half_squared_error")
    document = build(model.derive(), lang, "standard")
    written = [write(f, UNICODE) for f in formulas(document)]
    below = [text for text in written if "W^[1]" in text and ("∂" in text or "∇" in text)]
    assert len(below) > 3 and not any("ℓ" in text or "δ" in text for text in below)
    words = " ".join(str(part) for block in document.blocks for part in getattr(block, "text", ()))
    assert ("the samples are coupled" if lang == "en" else "样本在此相互耦合") in words


def test_a_lemma_cited_above_and_below_is_stated_for_one_sample_too() -> None:
    layers = [cr.Dense(2), cr.BatchNorm(), "tanh", cr.Dense(2)]
    derivation = cr.Sequential(cr.Input(2), *layers, loss="half_squared_error").derive()
    (above,), (below,) = (derivation.parts[name].uses for name in ("dense2.W", "dense1.W"))
    assert derivation.sample(above) is not None and derivation.sample(below) is None
    assert derivation.sample_of(below.lemma) is not None
