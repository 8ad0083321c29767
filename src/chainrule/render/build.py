"""From a derivation to its document: its sections, in one ordered list.

Nothing is derived here: a printed line is a run of the trace's steps with one reason, a gradient is the
last line of its lemma, a concise form is what `forms` recognises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from chainrule.derive.adjoint import Derivation
from chainrule.errors import DerivationError
from chainrule.render.algorithm import Algorithm
from chainrule.render.backward import Backward
from chainrule.render.certified import Certified, Checked
from chainrule.render.circuit import Circuit
from chainrule.render.conventions import Conventions
from chainrule.render.document import Block, Document, Figure, Paragraph
from chainrule.render.example import Numbered
from chainrule.render.exercise import Exercise
from chainrule.render.lemmas import Lemmas
from chainrule.render.lines import DETAILS, Detail
from chainrule.render.overview import Overview
from chainrule.render.prose import sentences
from chainrule.render.sample import Given, Sample, sample_of
from chainrule.render.windows import Windows


@dataclass(frozen=True)
class Context:
    """What a document is made of."""

    derivation: Derivation
    language: str
    detail: Detail
    checked: Checked | None
    given: Given | None

    @cached_property
    def sample(self) -> Sample | None:
        """The numbers of the figure and of the worked example; None in brief, unless the reader gave them, and for a
        network too large for numbers."""
        if self.detail == "brief" and not self.given:
            return None
        return sample_of(self.derivation, self.given, whole=self.detail == "full")

    @property
    def style(self) -> tuple[Derivation, str, Detail]:
        return self.derivation, self.language, self.detail


def network(of: Context) -> Iterable[Block]:
    if of.sample is None:
        yield from Overview(*of.style).network(None, None)
        return
    circuit = Circuit(of.sample, of.language, of.detail)
    yield from Overview(*of.style).network(circuit.figure(), circuit)


def example(of: Context) -> Iterable[Block]:
    if of.sample is not None:
        yield from Numbered(of.sample, of.language, of.detail).section(of.derivation is not of.sample.derivation)
        yield from Windows(of.sample, of.language, of.detail).figures()


def algorithm(of: Context) -> Iterable[Block]:
    yield from Algorithm(*of.style).algorithm()


def written(of: Context) -> Iterable[Block]:
    yield from Lemmas(*of.style).evaluations()


def lemmas(of: Context) -> Iterable[Block]:
    yield from Lemmas(*of.style).lemmas()


def composites(of: Context) -> Iterable[Block]:
    yield from Lemmas(*of.style).composites()


def backward(of: Context) -> Iterable[Block]:
    yield from Backward(*of.style).backward()


def notation(of: Context) -> Iterable[Block]:
    yield from Overview(*of.style).notation(Conventions(*of.style).conventions())


def certificate(of: Context) -> Iterable[Block]:
    yield from Certified(*of.style).certificate(of.checked)


Part = Literal["given", "asked", "told"]
"""What a section is in an exercise: given to the reader, asked with blanks and then answered, or told as an answer."""
SECTIONS: tuple[tuple[Callable[[Context], Iterable[Block]], Part], ...] = (
    (network, "given"),
    (example, "asked"),
    (algorithm, "told"),
    (written, "given"),
    (lemmas, "asked"),
    (composites, "told"),
    (backward, "asked"),
    (notation, "given"),
    (certificate, "given"),
)

RESULT_FIRST = (network, backward, algorithm)
"""With what the document of a lone equation or layer begins: what comes out, and as code."""


def build(
    derivation: Derivation, language: str, detail: str, checked: Checked | None = None, example: Given | None = None,
    exercise: bool = False, name: str | None = None,
) -> Document:
    """The document of a derivation. `example` holds the reader's own numbers for the worked example, by name; an
    `exercise` leaves blanks, and ends with a solution sheet; `name` is that of the network, for the title. Raises
    DerivationError for an unknown language or level of detail, and for numbers that fit nothing."""
    if detail not in DETAILS:
        raise DerivationError(f"there is no level of detail {detail!r}", fix="one of " + ", ".join(DETAILS))
    context = Context(derivation, language, detail, checked, example)
    sections = SECTIONS
    if len(Algorithm(derivation, language, context.detail).pages()) == 1:
        # Sorting keeps the order of the others.
        first: dict[object, int] = {section: place for place, section in enumerate(RESULT_FIRST)}
        sections = sorted(SECTIONS, key=lambda entry: first.get(entry[0], len(first)))
    made = [(tuple(section(context)), part) for section, part in sections]
    blocks = tuple(block for own, _ in made for block in own)
    if exercise:
        sheet = Exercise(derivation, language, detail)
        asked = (b for own, part in made if part != "told" for b in sheet.sheet(own, blank=part == "asked"))
        answers = (b for own, part in made for b in own if part != "given" or isinstance(b, Figure))
        blocks = (Paragraph(sheet.lead()), *asked, *sheet.solutions(answers))
    title = sentences(language)["document.title"]
    if name is not None:
        title = sentences(language)["figure.title"].format(title=title, name=name)
    return Document(language, title, blocks)
