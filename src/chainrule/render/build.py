"""From a derivation to its document.

Nothing is derived here: a printed line is a run of the trace's steps with one reason, a gradient is the
last line of its lemma, a concise form is what `forms` recognises.
"""

from __future__ import annotations

from chainrule.derive.adjoint import Derivation
from chainrule.errors import DerivationError
from chainrule.render.algorithm import Algorithm
from chainrule.render.backward import Backward
from chainrule.render.certified import Certified, Checked
from chainrule.render.conventions import Conventions
from chainrule.render.document import Document, Paragraph
from chainrule.render.example import Example
from chainrule.render.exercise import Exercise
from chainrule.render.lemmas import Lemmas
from chainrule.render.lines import DETAILS
from chainrule.render.overview import Overview
from chainrule.render.prose import sentences
from chainrule.render.sample import Given


def build(
    derivation: Derivation, language: str, detail: str, checked: Checked | None = None, example: Given | None = None,
    exercise: bool = False,
) -> Document:
    """The document of a derivation. `example` holds the reader's own numbers for the worked example, by name; an
    `exercise` leaves blanks, and ends with a solution sheet. Raises DerivationError for an unknown language or level of
    detail, and for numbers that fit nothing."""
    if detail not in DETAILS:
        raise DerivationError(f"there is no level of detail {detail!r}", fix="one of " + ", ".join(DETAILS))
    algorithm = Algorithm(derivation, language, detail)
    overview = Overview(derivation, language, detail)
    lemmas = Lemmas(derivation, language, detail)
    backward = Backward(derivation, language, detail)
    sheet = Exercise(derivation, language, detail)
    network, page, notation = overview.network(), tuple(algorithm.algorithm()), overview.notation()
    notation = (*notation, *lemmas.evaluations())
    proofs, composites = tuple(lemmas.lemmas()), tuple(lemmas.composites())
    passes = (*backward.backward(), *Example(derivation, language, detail).example(example))
    end = (
        *Conventions(derivation, language, detail).conventions(),
        *Certified(derivation, language, detail).certificate(checked),
    )
    if exercise:
        blocks = (
            Paragraph(sheet.lead()), *network, *notation, *sheet.sheet((*proofs, *passes)), *end,
            *sheet.solutions((*page, *proofs, *composites, *passes)),
        )
    else:
        blocks = (*network, *page, *notation, *proofs, *composites, *passes, *end)
    return Document(language, sentences(language)["document.title"], blocks)
