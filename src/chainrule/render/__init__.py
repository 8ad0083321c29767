"""A derivation, printed: plain text for a terminal, Markdown, LaTeX, HTML, PDF; in English and Chinese.

`detail` is "brief" (each lemma's first and last line), "standard" (steps with one reason are one line)
or "full" (every step of the trace). `checked` adds the certificate as the last section.
"""

from __future__ import annotations

from chainrule.derive.adjoint import Derivation
from chainrule.render import html as _html
from chainrule.render import latex as _latex
from chainrule.render import markdown as _markdown
from chainrule.render import pdf as _pdf
from chainrule.render import text as _text
from chainrule.render.build import build
from chainrule.render.certified import Checked
from chainrule.render.document import Document

__all__ = ["Checked", "Document", "build", "html", "latex", "markdown", "notebook", "pdf", "text"]


def text(
    derivation: Derivation, lang: str = "en", detail: str = "standard", width: int = 100, checked: Checked | None = None
) -> str:
    """Plain text with Unicode mathematics, in lines of at most `width` columns."""
    return _text.render(build(derivation, lang, detail, checked), width)


def markdown(
    derivation: Derivation, lang: str = "en", detail: str = "standard", checked: Checked | None = None
) -> str:
    """Markdown with LaTeX mathematics."""
    return _markdown.render(build(derivation, lang, detail, checked))


def latex(
    derivation: Derivation, lang: str = "en", detail: str = "standard", checked: Checked | None = None
) -> str:
    """A complete LaTeX document; the Chinese one is for XeLaTeX."""
    return _latex.render(build(derivation, lang, detail, checked))


def html(derivation: Derivation, lang: str = "en", detail: str = "standard", checked: Checked | None = None) -> str:
    """One HTML page, complete in itself."""
    return _html.render(build(derivation, lang, detail, checked))


def pdf(derivation: Derivation, lang: str = "en", detail: str = "standard", checked: Checked | None = None) -> bytes:
    """A PDF. Raises DerivationError where the package typst is missing."""
    return _pdf.render(build(derivation, lang, detail, checked))


def notebook(derivation: Derivation) -> tuple[str, str]:
    """What a notebook shows, as HTML and as LaTeX without a preamble."""
    document = build(derivation, "en", "standard")
    return _html.fragment(document), _latex.body(document)
