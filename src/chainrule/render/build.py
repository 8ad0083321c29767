"""From a derivation to its document: its sections, in one ordered list.

Nothing is derived here: a printed line is a run of the trace's steps with one reason, a gradient is the
last line of its lemma, a concise form is what `forms` recognises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from chainrule.derive.adjoint import Derivation
from chainrule.errors import DerivationError
from chainrule.render.algorithm import Algorithm
from chainrule.render.backward import Backward
from chainrule.render.certified import Certified, Checked
from chainrule.render.circuit import Circuit
from chainrule.render.conventions import Conventions
from chainrule.render.document import Block, Document, Paragraph
from chainrule.render.example import Numbered
from chainrule.render.exercise import ANSWERS, Answers, Exercise, Part, has_numbers
from chainrule.render.lemmas import Lemmas
from chainrule.render.lines import DETAILS, Detail
from chainrule.render.matrices import Matrices
from chainrule.render.overview import Overview
from chainrule.render.prose import sentences
from chainrule.render.questions import LEVELS, Level, Questions
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
    level: Level

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
        matrices = Matrices(of.sample, of.language, of.detail)
        figures = tuple(matrices.figures())
        yield from Numbered(of.sample, of.language, of.detail, matrices.drawn).section(of.derivation, figures)
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


def questions(of: Context) -> Iterable[Block]:
    yield from Questions(*of.style).section(of.level)


def notation(of: Context) -> Iterable[Block]:
    yield from Overview(*of.style).notation(Conventions(*of.style).conventions())


def certificate(of: Context) -> Iterable[Block]:
    yield from Certified(*of.style).certificate(of.checked)


SECTIONS: tuple[tuple[Callable[[Context], Iterable[Block]], Part], ...] = (
    (network, "given"),
    (example, "asked"),
    (algorithm, "told"),
    (written, "given"),
    (lemmas, "asked"),
    (composites, "told"),
    (backward, "asked"),
    (questions, "posed"),
    (notation, "given"),
    (certificate, "given"),
)

RESULT_FIRST = (network, backward, algorithm)
"""With what the document of a lone equation or layer begins: what comes out, and as code."""


def build(
    derivation: Derivation, language: str, detail: str, checked: Checked | None = None, example: Given | None = None,
    exercise: bool = False, name: str | None = None, level: Level = 2, answers: Answers = "after",
) -> Document:
    """The document of a derivation. `example` holds the reader's own numbers for the worked example, by name; an
    `exercise` of a `level` leaves blanks and asks questions, and `answers` says where its solution sheet is; `name` is
    that of the network, for the title. Raises DerivationError for an unknown language, level or level of detail, and
    for numbers that fit nothing."""
    if detail not in DETAILS:
        raise DerivationError(f"there is no level of detail {detail!r}", fix="one of " + ", ".join(DETAILS))
    if level not in LEVELS:
        raise DerivationError(f"there is no level {level!r} of exercises", fix="1, 2 or 3")
    if answers not in ANSWERS:
        raise DerivationError(f"answers are not {answers!r}", fix="one of " + ", ".join(ANSWERS))
    context = Context(derivation, language, detail, checked, example, level)
    sections = SECTIONS
    if len(Algorithm(derivation, language, context.detail).pages()) == 1:
        # Sorting keeps the order of the others.
        first: dict[object, int] = {section: place for place, section in enumerate(RESULT_FIRST)}
        sections = sorted(SECTIONS, key=lambda entry: first.get(entry[0], len(first)))
    made: list[tuple[tuple[Block, ...], Part]] = [
        (tuple(section(context)), "given" if level == 1 and section is lemmas else part)
        for section, part in sections if exercise or part != "posed"
    ]
    blocks = tuple(block for own, _ in made for block in own)
    title = sentences(language)["document.title"]
    if name is not None:
        title = sentences(language)["figure.title"].format(title=title, name=name)
    if exercise:
        sheet = Exercise(derivation, language, detail)
        asked = (b for own, part in made if part != "told" for b in sheet.sheet(own, part, level))
        told = (b for own, part in made for b in own if part != "given" or has_numbers(b))
        if answers == "alone":
            return Document(language, sentences(language)["exercise.title"].format(title=title), tuple(told))
        solutions = sheet.solutions(told) if answers == "after" else ()
        blocks = (Paragraph(sheet.lead(level, answers)), *asked, *solutions)
    return Document(language, title, blocks)
