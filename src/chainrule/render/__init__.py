"""A derivation, printed: plain text for a terminal, Markdown, LaTeX, HTML, PDF; in English and Chinese.

`detail` is "brief" (each lemma's first and last line), "standard" (steps with one reason are one line)
or "full" (every step of the trace). `checked` adds the certificate as the last section, `example` holds the reader's
own numbers for the worked example, and an `exercise` of a `level` leaves blanks and asks questions; its solution sheet
stands after it, or alone.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from chainrule.derive.adjoint import Derivation
from chainrule.render import html as _html
from chainrule.render import latex as _latex
from chainrule.render import markdown as _markdown
from chainrule.render import pdf as _pdf
from chainrule.render import text as _text
from chainrule.render.algorithm import Algorithm
from chainrule.render.build import build
from chainrule.render.certified import Checked, Theorems
from chainrule.render.document import Block, Document, Paragraph
from chainrule.render.exercise import Answers
from chainrule.render.glance import Glance
from chainrule.render.lemmas import Lemmas
from chainrule.render.questions import Level
from chainrule.render.sample import Given

__all__ = [
    "Answers", "Checked", "Document", "Given", "Level", "More", "Theorems", "build", "drawn", "html", "latex",
    "markdown", "notebook", "pdf", "text",
]


class More(TypedDict, total=False):
    """What a document may hold besides."""

    checked: Checked | None
    example: Given | None
    exercise: bool
    level: Level
    answers: Answers
    name: str | None


def text(
    derivation: Derivation, lang: str = "en", detail: str = "standard", width: int = 100, **more: Unpack[More]
) -> str:
    """Plain text with Unicode mathematics, in lines of at most `width` columns."""
    return _text.render(build(derivation, lang, detail, **more), width)


def markdown(derivation: Derivation, lang: str = "en", detail: str = "standard", **more: Unpack[More]) -> str:
    """Markdown with LaTeX mathematics."""
    return _markdown.render(build(derivation, lang, detail, **more))


def latex(derivation: Derivation, lang: str = "en", detail: str = "standard", **more: Unpack[More]) -> str:
    """A complete LaTeX document; the Chinese one is for XeLaTeX."""
    return _latex.render(build(derivation, lang, detail, **more))


def html(derivation: Derivation, lang: str = "en", detail: str = "standard", **more: Unpack[More]) -> str:
    """One HTML page, complete in itself."""
    return _html.render(build(derivation, lang, detail, **more))


def pdf(derivation: Derivation, lang: str = "en", detail: str = "standard", **more: Unpack[More]) -> bytes:
    """A PDF. Raises DerivationError where the package typst is missing."""
    return _pdf.render(build(derivation, lang, detail, **more))


def notebook(derivation: Derivation, gradient: str | None = None) -> tuple[str, str]:
    """What a notebook shows, as HTML and as LaTeX without a preamble: the algorithm, or the lines of one gradient."""
    blocks: tuple[Block, ...]
    lemmas, single = Lemmas(derivation, "en", "standard"), len(derivation.forward.equations) == 1
    if gradient is None and not single:
        algorithm = Algorithm(derivation, "en", "standard")
        blocks = algorithm.formulas(), Paragraph(algorithm.say("algorithm.more"))
    else:
        parts = derivation.parts.values() if gradient is None else (derivation.parts[gradient],)
        uses = [use for part in parts for use in part.uses]
        blocks = tuple(b for use in uses for b in lemmas.group([(derivation.number(use.lemma), use.instance)]))
    return _html.cell(*blocks), _latex.body(Document("en", "", blocks))


def drawn(derivation: Derivation) -> str:
    """The network of a derivation as a notebook shows it: a diagram with shapes, and a table of its layers."""
    return _html.cell(*Glance(derivation, "en", "standard").drawn_and_counted())
