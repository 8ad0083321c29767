"""The backward pass is printed in the order of computing, with macros that LaTeX knows."""

from __future__ import annotations

import re
from itertools import product
from typing import Literal

import pytest
from tests.built_in import derived, document
from tests.examples import few

import chainrule as cr
from chainrule.derive import Derivation
from chainrule.ir.expr import Tensor
from chainrule.render.backward import Backward
from chainrule.render.latex import render as latex
from chainrule.render.markdown import render as markdown

MODELS = ("lenet", "resnet-tiny", "transformer-tiny")
# Every command that the documents may use: amsmath, amssymb, booktabs, longtable and tikz define them, or the document.
WORDS = (
    "Delta LTleft LTright Sigma allowbreak allowdisplaybreaks approx arraybackslash arraystretch ast bar begin "
    "beta bigl bigr bottomrule cdot checkmark date delta dimexpr displaystyle documentclass dots downarrow draw "
    "ell end endhead exp footnotesize frac gamma hat infty item label le left linewidth log maketitle mathbf "
    "mathcal mathrm max midrule mu multicolumn nabla newcolumntype newline node notag odot operatorname par "
    "parbox parindent parskip partial pi providecommand quad raggedright reason renewcommand resizebox right "
    "section setlength sigma small smallskip sqrt star subsection sum tabcolsep tag text textbf textcolor texttt "
    "tilde times title top toprule uparrow usepackage varepsilon vdots xrightarrow addlinespace"
)
KNOWN = set(WORDS.split())


class Rows(Backward):
    def first_uses(self) -> list[tuple[Tensor, bool]]:
        """For each row: the tensor whose gradient it completes, or the one whose gradient it starts from."""
        return [
            entry
            for _, rows in self.pages()
            for row in rows
            for entry in (
                [(row.use.equation.tensor, False)] if row.use else []
            ) + ([(row.part.tensor, True)] if row.use is None or len(row.part.uses) == 1 else [])
        ]


def out_of_order(derivation: Derivation, entries: list[tuple[Tensor, bool]]) -> list[str]:
    done = {derivation.loss}
    wrong: list[str] = []
    for tensor, made in entries:
        if made:
            done.add(tensor)
        elif tensor not in done:
            wrong.append(tensor.name)
    return wrong


@pytest.mark.parametrize("name", few(MODELS, {*MODELS} - {"resnet-tiny"}))
def test_every_row_reads_gradients_of_rows_before_it(name: str) -> None:
    derivation = derived(name)
    rows = Rows(derivation, "en", "standard").first_uses()
    assert len(rows) > 10
    assert out_of_order(derivation, rows) == []
    assert out_of_order(derivation, rows[::-1]) != []


@pytest.mark.parametrize(
    ("name", "lang"), few(product(MODELS, ["en", "zh"]), [("lenet", "en"), ("transformer-tiny", "zh")])
)
def test_every_command_is_one_that_latex_knows(name: str, lang: Literal["en", "zh"]) -> None:
    for text in (latex(document(name, lang)), markdown(document(name, lang))):
        assert set(re.findall(r"\\([A-Za-z]+)", text)) - KNOWN == set()


def test_a_power_of_each_entry_is_written_with_its_sign() -> None:
    text = cr.Sequential(cr.Input(1, 5, 5), cr.MeanPool2d(3, stride=2, padding=1)).derive().to_markdown()
    assert r"^{\odot-1}" in text
