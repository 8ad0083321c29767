"""A derivation as its user holds it: what `chainrule.derive` derives, and ways to print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from chainrule import render
from chainrule.derive import Derivation as Derived
from chainrule.derive import derive_equation
from chainrule.errors import DerivationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.verify.certificate import Certificate

Language = Literal["en", "zh"]
Detail = Literal["brief", "standard", "full"]


class Choices(TypedDict, total=False):
    """What is printed, in every format.

    lang: "en" or "zh". detail: "brief", "standard" or "full". certificate: as `model.verify()` gives it; becomes the
    last section. example: the reader's own numbers for the worked example, by name, as in {"input": [[1, 2]], "target":
    [[0, 1]], "dense1.W": [[2, -1], [-1, 1]]}; what is left out gets small whole numbers. exercise: blanks to fill in,
    and a solution sheet at the end.
    """

    lang: Language
    detail: Detail
    certificate: Certificate | None
    example: Mapping[str, ArrayLike] | None
    exercise: bool


@dataclass(frozen=True)
class Derivation(Derived):
    """The back-propagation of a program, line by line. `d["dense1.W"]` is one gradient with its lemmas.

    Every `to_…` takes the keywords of `Choices`: lang, detail, certificate, example, exercise. Each raises
    DerivationError for an unknown one, another derivation's certificate, and numbers that fit nothing.
    """

    def to_text(self, *, width: int = 100, **choices: Unpack[Choices]) -> str:
        """Plain text with Unicode mathematics, at most `width` columns wide."""
        lang, detail, more = _chosen(self, choices)
        return render.text(self, lang, detail, width, **more)

    def to_markdown(self, **choices: Unpack[Choices]) -> str:
        """Markdown with LaTeX mathematics."""
        lang, detail, more = _chosen(self, choices)
        return render.markdown(self, lang, detail, **more)

    def to_latex(self, **choices: Unpack[Choices]) -> str:
        """A complete LaTeX document."""
        lang, detail, more = _chosen(self, choices)
        return render.latex(self, lang, detail, **more)

    def to_html(self, **choices: Unpack[Choices]) -> str:
        """One HTML page, complete in itself: it loads nothing, and is read without JavaScript."""
        lang, detail, more = _chosen(self, choices)
        return render.html(self, lang, detail, **more)

    def to_pdf(self, **choices: Unpack[Choices]) -> bytes:
        """A PDF, through the package typst (extra `pdf`). Raises DerivationError where that is missing."""
        lang, detail, more = _chosen(self, choices)
        return render.pdf(self, lang, detail, **more)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return render.notebook(self)[0]

    def _repr_latex_(self) -> str:
        """What a notebook puts into LaTeX."""
        return render.notebook(self)[1]


def _chosen(derivation: Derived, choices: Choices) -> tuple[str, str, render.More]:
    """The language, the level of detail, and what else a document holds."""
    more: render.More = {
        "checked": _checked(derivation, choices.get("certificate")),
        "example": choices.get("example"),
        "exercise": choices.get("exercise", False),
    }
    return choices.get("lang", "en"), choices.get("detail", "standard"), more


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
