"""What is printed is what is computed: every formula of a document is read back, in each format, and says the same.

Three small readers (text, LaTeX, MathML) and one grammar share nothing with what writes. Saboteurs show what they see.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
from tests.built_in import derived
from tests.derive.cases import CASES
from tests.examples import few
from tests.nn.test_every_layer import MODELS as LAYERS
from tests.render.reading.compare import FORMATS, Wanted, computes, same, unbound
from tests.render.reading.meaning import Unit
from tests.render.reading.tokens import ReadingError

import chainrule as cr
from chainrule.derive.adjoint import Derivation
from chainrule.nn.layers import LAYERS as REGISTRY
from chainrule.render.build import build
from chainrule.render.document import Figure, formulas
from chainrule.render.formula import write
from chainrule.render.styles import LATEX, UNICODE, Piece, Style

MODELS = {"neuron": "full", "mlp-textbook": "full", "lenet": "full", "transformer-tiny": "standard"}
LONGER = {"mlp": "full", "vgg-small": "full", "resnet-tiny": "full", "transformer-tiny": "full"}


def printed(derivation: Derivation, detail: str = "full") -> list[Wanted]:
    """The formulas of the document that compute something, each once."""
    seen = {(write(f, UNICODE), f.parts, id(f.names)): f for f in formulas(build(derivation, "en", detail))}
    return [Wanted(f) for f in seen.values() if computes(f)]


def faults(found: Iterable[Wanted], format: str, style: Style | None = None, enough: int = 10) -> list[str]:
    own, read = FORMATS[format]
    wrong: list[str] = []
    for wanted in found:
        if len(wrong) >= enough:
            break
        try:
            wanted.check(style or own, read)
        except (AssertionError, LookupError, ValueError, ReadingError) as error:
            wrong.append(f"{write(wanted.formula, style or own)}: {error!r}")
    return wrong


@pytest.mark.parametrize("name", few(MODELS, {*MODELS} - {"lenet"}))
def test_every_formula_of_a_model_is_read_back(name: str) -> None:
    found = printed(derived(name), MODELS[name])
    assert len(found) > 50
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


@pytest.mark.parametrize("text", [
    "y[n<4] = sum[i<2](x[n, i, i])", "y[i<3] = exp((a[i] + b[i])*(a[i] - b[i]))",
    "y[n, i<4] = pad(x, 0)[n, i - 1]*pad(x, 1)[n, i + 1] + x[n, 3]*max[p<3](pad(x, -inf)[n, i + p - 1])",
    "y[n] = exp(abs(x[n, 0]))**(3/2) + abs(x[n, 1])**(3/2)",
    "y = max[i<2]([0 <= i - 3 < 3]*w[i])",
    "y[n, i<2] = max[c<3](x[n, c]) - abs((x[n, 2*i] - x[n, i + 1])*abs(x[n, 2]))",
    "y[i<3] = erfc(e[i])*exp(-e[i])",  # beside a tensor e no exponential is written by that letter
    "y[i<3] = sum[j<2](pad(pad, 0)[i + j - 1]*w[j])",  # nor is a tensor called as an operator is
    "y[n, i<3] = abs(x[n, i])*max[p<3](pad(x, -inf)[n, i + p - 1])",  # its Jacobian: both by one letter
    "y[n] = sum[i<2, j<2](x[n, j, j] + x[n, i, j])",  # by x it is 2 (∂f/∂y) diag(𝟏) + (∂f/∂y) 𝟏 𝟏ᵀ
])  # fmt: skip
def test_every_formula_of_an_equation_is_read_back(text: str) -> None:
    found = printed(cr.derive(text))
    assert len(found) > 2
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


@pytest.mark.parametrize("text", ["y[n] = sum[i](x[n, i]*sum[k](v[i, k]))", "y[n, o] = sum[k](A[o, k]*x[n, k])"])
def test_the_derivative_beside_an_arrow_has_the_indices_of_its_ends(text: str) -> None:
    document = build(cr.derive(text, wrt="x"), "en", "full")
    assert unbound(document) == []
    loose = tuple(
        replace(block, spots=tuple(replace(spot, text=()) for spot in block.spots))
        for block in document.blocks if isinstance(block, Figure)
    )
    assert any(unbound(replace(document, blocks=(figure,))) for figure in loose) == ("o" in text)


def test_a_lone_diagonal_of_ones_is_as_large_as_what_it_is_compared_with() -> None:
    unit = np.eye(2, dtype=int)
    assert same(Unit(3), 3 * unit) and same(Unit(1) + unit, 2 * unit)
    assert not same(Unit(1), 3 * unit) and not same(Unit(1), unit[:1])
    assert not same(Unit(1), np.ones((2, 2), int))
    assert same(Unit(3) + 1, 3 * unit + 1) and not same(Unit(3) + 1, 3 * unit)


@pytest.mark.campaign
@pytest.mark.parametrize("name", LONGER)
def test_every_formula_of_a_longer_model_is_read_back(name: str) -> None:
    found = printed(derived(name), LONGER[name])
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


@pytest.mark.parametrize("name", few(CASES, 9))
def test_every_formula_of_a_hard_case_is_read_back(name: str) -> None:
    found = printed(CASES[name].derivation)
    assert len(found) > 5
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


@pytest.mark.parametrize("name", few(LAYERS, 7))
def test_every_formula_of_a_layer_is_read_back(name: str) -> None:
    shape, build_layer = LAYERS[name]
    x = cr.Input(*shape, dtype="integer" if REGISTRY[name].integer else "real")
    found = printed(cr.Model(x, build_layer(x)).derive(), "standard")
    assert [fault for format in FORMATS for fault in faults(found, format)] == []


# --- negative controls: what a printer may lose -------------------------------------------------


@cache
def sample() -> Sequence[Wanted]:
    """Formulas that are read back as they stand: the hard cases' test and the models' say so."""
    names = ("dense", "softmax", "quotient", "powers", "conv2d_stride_padding", "mse_and_decay", "batch_norm")
    return [f for n in names for f in printed(CASES[n].derivation)] + printed(derived("mlp-textbook"))


Call = Callable[..., Any]


def swapped(lower: str) -> str:
    """kl as lk, with the markup around the letters."""
    return re.sub(r"^(<mi>)?([a-z])(</mi><mi>)?([a-z])(</mi>)?$", r"\1\4\3\2\5", lower)


def layerless(upper: Sequence[str]) -> list[str]:
    return [u for u in upper if not u.startswith(("[", "<mn>["))]


def untransposed(upper: Sequence[str]) -> list[str]:
    return [u for u in upper if u not in ("ᵀ", r"\top", "<mi>⊤</mi>")]


SABOTAGE: dict[str, dict[str, Call]] = {
    "a parenthesis": {"parenthesise": lambda write, text: text},
    "the order of subscripts": {"script": lambda write, base, upper, lower: write(base, upper, swapped(lower))},
    "a transpose": {
        "script": lambda write, base, upper, lower: write(base, untransposed(upper), lower),
        "power": lambda write, base, exponent: Piece(base) if exponent == "ᵀ" else write(base, exponent),
    },
    "a minus": {"token": lambda write, text: write("+" if text == "−" else text)},
    "what is below": {"fraction": lambda write, above, below: write(below, above)},
    "a layer": {"script": lambda write, base, upper, lower: write(base, layerless(upper), lower)},
    "a bar": {"bar": lambda write, stem: write(stem).replace("\u0304", "").replace(r"\bar", "").replace("¯", "~")},
    "an index of a sum": {"operator": lambda write, sign, lower, body: write(sign, lower.replace("k", "j"), body)},
    "an exponent": {
        "power": lambda write, base, exponent: Piece(base) if exponent[-1:] == "2" else write(base, exponent)
    },
    "a prime": {"call": lambda write, function, primes, arguments: write(function, "", arguments)},
}


class Saboteur:
    """A style some of whose methods lose something."""

    def __init__(self, style: Style, methods: dict[str, Call]) -> None:
        self.style, self.methods = style, methods

    def __getattr__(self, name: str) -> Call:
        own = getattr(self.style, name)
        return partial(self.methods[name], own) if name in self.methods else own


LOST = [(lost, [*FORMATS][n % len(FORMATS)]) for n, lost in enumerate(SABOTAGE)]
"""Each in one format, so that each reader sees a third of them; every pair is in the campaign."""


@pytest.mark.parametrize(("lost", "format"), few(product(SABOTAGE, FORMATS), LOST))
def test_what_a_printer_loses_turns_it_red(lost: str, format: str) -> None:
    style = cast(Style, Saboteur(FORMATS[format][0], SABOTAGE[lost]))
    assert len(faults(sample(), format, style, enough=3)) == 3


def test_a_gradient_that_is_zero_is_printed_as_zero() -> None:
    text = CASES["abs"].derivation
    found = [w.formula for w in printed(text, "standard") if "∂f/∂v" in write(w.formula, UNICODE)]
    assert any("= 0" in write(f, UNICODE) for f in found) and any("= 0" in write(f, LATEX) for f in found)


def aligned(source: str) -> list[str]:
    """The formulas of the proofs in LaTeX: both sides of every line, without its number and its reason."""
    found: list[str] = []
    for body in re.findall(r"\\begin\{align\}\n(.*?)\n\\end\{align\}", source, re.DOTALL):
        for row in body.split(" \\\\\n"):
            row = re.sub(r"\\tag\{.*?\}(\\label\{.*?\})?|\\notag", "", row).strip()
            row = row.partition(r"\reason")[0].strip().removesuffix("&&").strip()
            left, _, right = row.partition("&")
            if right.startswith(r"\quad"):
                found[-1] = f"{found[-1]} {right.removeprefix(chr(92) + 'quad').strip()}".strip()
            else:
                found += [side.strip() for side in (left, right) if side.strip()]
    return found


@pytest.mark.parametrize("name", ["mlp-textbook", "lenet"])
def test_markdown_and_latex_hold_exactly_the_formulas_of_the_document(name: str) -> None:
    derivation = derived(name)
    wanted = [re.sub(" +", " ", write(f, LATEX)) for f in formulas(build(derivation, "en", "standard"))]
    for source in (derivation.to_markdown(), derivation.to_latex()):
        body = re.sub(r"```.*?```|\\begin\{verbatim\}.*?\\end\{verbatim\}", "", source, flags=re.DOTALL)
        inline = re.findall(r"(?<!\\)\$([^$]+)\$", body)
        found = [re.sub(r"\\displaystyle |\\allowbreak ", "", f) for f in (*inline, *aligned(body))]
        assert Counter(wanted) - Counter(re.sub(" +", " ", f) for f in found) == Counter()
        assert len(found) >= len(wanted) > 100
