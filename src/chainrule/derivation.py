"""A derivation as its user holds it: what `chainrule.derive` derives, and ways to print it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from chainrule import render
from chainrule.derive import Derivation as Derived
from chainrule.derive import derive_equation
from chainrule.errors import DerivationError

if TYPE_CHECKING:
    from chainrule.verify.certificate import Certificate

Language = Literal["en", "zh"]
Detail = Literal["brief", "standard", "full"]


@dataclass(frozen=True)
class Derivation(Derived):
    """The back-propagation of a program, line by line. `d["dense1.W"]` is one gradient with its lemmas.

    `lang` is "en" or "zh"; `detail` is "brief", "standard" or "full". A `certificate`, as `model.verify()` gives it,
    becomes the last section.
    """

    def to_text(
        self,
        lang: Language = "en",
        detail: Detail = "standard",
        width: int = 100,
        certificate: Certificate | None = None,
    ) -> str:
        """Plain text with Unicode mathematics, at most `width` columns wide."""
        return render.text(self, lang, detail, width, _checked(self, certificate))

    def to_markdown(
        self, lang: Language = "en", detail: Detail = "standard", certificate: Certificate | None = None
    ) -> str:
        """Markdown with LaTeX mathematics."""
        return render.markdown(self, lang, detail, _checked(self, certificate))

    def to_latex(
        self, lang: Language = "en", detail: Detail = "standard", certificate: Certificate | None = None
    ) -> str:
        """A complete LaTeX document."""
        return render.latex(self, lang, detail, _checked(self, certificate))

    def to_html(
        self, lang: Language = "en", detail: Detail = "standard", certificate: Certificate | None = None
    ) -> str:
        """One HTML page, complete in itself: it loads nothing, and is read without JavaScript."""
        return render.html(self, lang, detail, _checked(self, certificate))

    def to_pdf(
        self, lang: Language = "en", detail: Detail = "standard", certificate: Certificate | None = None
    ) -> bytes:
        """A PDF, through the package typst (extra `pdf`). Raises DerivationError where that is missing."""
        return render.pdf(self, lang, detail, _checked(self, certificate))

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return render.notebook(self)[0]

    def _repr_latex_(self) -> str:
        """What a notebook puts into LaTeX."""
        return render.notebook(self)[1]


def _checked(derivation: Derived, certificate: Certificate | None) -> render.Checked | None:
    """What a document says of a certificate. Raises DerivationError where that is another derivation's."""
    if certificate is None:
        return None
    from chainrule.verify.certificate import digest

    if certificate.program != digest(derivation):
        raise DerivationError("the certificate is another derivation's", fix="give what this model's verify() returns")
    return render.Checked(
        exact=certificate.count("exact"),
        constant=certificate.count("exact up to a constant"),
        evidence=certificate.count("evidence"),
        bound=certificate.power,
        rows=certificate.rows,
        shapes=certificate.shapes,
    )


def printable(derived: Derived) -> Derivation:
    return Derivation(*(getattr(derived, field.name) for field in fields(derived)))


def derive(text: str, *, wrt: str | Sequence[str] | None = None) -> Derivation:
    """Derive one equation, given as text: `derive("u[n, k] = sum[l](W[k, l]*x[n, l])", wrt="W")`.

    The derivation starts from a given gradient of the left side. `wrt` names the tensors to differentiate
    by, by default all on the right. Raises EquationError, ShapeError or DerivationError.
    """
    return printable(derive_equation(text, wrt=wrt))
