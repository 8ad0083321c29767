"""A derivation as its user holds it: what `chainrule.derive` derives, and ways to print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from chainrule.derive import Derivation as Derived
from chainrule.derive import derive_equation
from chainrule.derive.adjoint import Gradient as Part
from chainrule.errors import DerivationError
from chainrule.ir.source import shorten

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule import render
    from chainrule.verify.certificate import Certificate

Language = Literal["en", "zh"]
Detail = Literal["brief", "standard", "full"]


class More(TypedDict, total=False):
    """What a document may hold besides, in every format.

    certificate: as `model.verify()` gives it; becomes the last section.
    example: the reader's own numbers for the worked example, by name, as in {"input": [[1, 2]], "target": [[0, 1]],
    "dense1.W": [[2, -1], [-1, 1]]}; what is left out gets small whole numbers.
    exercise: blanks to fill in, questions, and a solution sheet at the end.
    level: of an exercise; 1 gives the lemmas and asks for the backward pass and the numbers, 2 asks for the lemmas too,
    with their reasons as hints, and 3 without.
    answers: the solution sheet "after" the exercise, "without" it, or the sheet "alone".
    name: the network's, for the title.
    """

    certificate: Certificate | None
    example: Mapping[str, ArrayLike] | None
    exercise: bool
    level: Literal[1, 2, 3]
    answers: Literal["after", "without", "alone"]
    name: str | None


@dataclass(frozen=True, repr=False)
class Gradient(Part):
    """The gradient of one tensor in a derivation: `print` gives the trace, a notebook shows its lines."""

    of: Derivation

    def _repr_html_(self) -> str:
        return _printer().notebook(self.of, self.tensor.name)[0]

    def _repr_latex_(self) -> str:
        return _printer().notebook(self.of, self.tensor.name)[1]


@dataclass(frozen=True)
class Derivation(Derived):
    """The back-propagation of a program, line by line. `d["dense1.W"]` is one gradient with its lemmas.

    `lang` is "en" or "zh"; `detail` is "brief", "standard" or "full"; `More` says what else every `to_…` takes. Each
    raises DerivationError for an unknown one, another derivation's certificate, and numbers that fit nothing.
    """

    def verify(
        self, *, samples: int = 2, seed: int = 0, floats: bool = False, prove: bool = False,
        keep: str | PathLike[str] | None = None,
    ) -> Certificate:
        """Check every line, as `model.verify` does; `prove` has Coq prove what it can, `keep` is a file for the proof.
        Raises VerificationError for the first line that is no identity."""
        from chainrule.verify.certificate import certify

        return certify(self, samples=samples, seed=seed, floats=floats, prove=prove, keep=keep)

    def to_text(
        self, lang: Language = "en", detail: Detail = "standard", width: int = 100, **more: Unpack[More]
    ) -> str:
        """Plain text with Unicode mathematics, at most `width` columns wide."""
        return _printer().text(self, lang, detail, width, **_chosen(self, more))

    def to_markdown(self, lang: Language = "en", detail: Detail = "standard", **more: Unpack[More]) -> str:
        """Markdown with LaTeX mathematics."""
        return _printer().markdown(self, lang, detail, **_chosen(self, more))

    def to_latex(self, lang: Language = "en", detail: Detail = "standard", **more: Unpack[More]) -> str:
        """A complete LaTeX document."""
        return _printer().latex(self, lang, detail, **_chosen(self, more))

    def to_html(self, lang: Language = "en", detail: Detail = "standard", **more: Unpack[More]) -> str:
        """One HTML page, complete in itself: it loads nothing, and is read without JavaScript."""
        return _printer().html(self, lang, detail, **_chosen(self, more))

    def to_pdf(self, lang: Language = "en", detail: Detail = "standard", **more: Unpack[More]) -> bytes:
        """A PDF, through the package typst (extra `pdf`). Raises DerivationError where that is missing."""
        return _printer().pdf(self, lang, detail, **_chosen(self, more))

    def to_numpy(self) -> str:
        """A Python file: the listing of the document, each line below its equation and the lemma that it is of, and a
        test by central differences. Raises DerivationError for a function that NumPy has no word for."""
        return _modules().numpy(self)

    def to_jax(self) -> str:
        """A Python file with `function`, whose gradient is this backward pass (`jax.custom_vjp`), and a test against
        jax.grad. Raises DerivationError for a function that JAX has no word for."""
        return _modules().jax(self)

    def to_torch(self) -> str:
        """A Python file with `function`, whose gradient is this backward pass (`torch.autograd.Function`), and a test
        against autograd. Raises DerivationError for a function that PyTorch has no word for."""
        return _modules().torch(self)

    def __getitem__(self, name: str) -> Gradient:
        part = super().__getitem__(name)
        return Gradient(part.tensor, part.uses, part.sum, self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        wrt, count = shorten(", ".join(self.gradients), 60), len(self.lemmas)
        return f"<derivation of {wrt} by {count} kinds of lemma; print it, or call to_markdown()>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return _printer().notebook(self)[0]

    def _repr_latex_(self) -> str:
        """What a notebook puts into LaTeX."""
        return _printer().notebook(self)[1]


def _printer():  # its type is the module's
    """chainrule.render, imported when something is printed: it would make up a fifth of a training's start."""
    from chainrule import render

    return render


def _modules():  # its type is the module's
    from chainrule.render import module

    return module


def _chosen(derivation: Derived, more: More) -> render.More:
    """The same, as a document takes it."""
    return {
        "checked": _checked(derivation, more.get("certificate")),
        "example": more.get("example"),
        "exercise": more.get("exercise", False),
        "level": more.get("level", 2),
        "answers": more.get("answers", "after"),
        "name": more.get("name"),
    }


def _checked(derivation: Derived, certificate: Certificate | None) -> render.Checked | None:
    """What a document says of a certificate. Raises DerivationError where that is another derivation's."""
    if certificate is None:
        return None
    from chainrule.verify.certificate import digest

    if certificate.program != digest(derivation):
        raise DerivationError("the certificate is another derivation's", fix="give what this model's verify() returns")
    return _printer().Checked(
        exact=certificate.count("exact"),
        constant=certificate.count("exact up to a constant"),
        evidence=certificate.count("evidence"),
        bound=certificate.power,
        rows=certificate.rows,
        shapes=certificate.shapes,
        proof=_theorems(certificate),
    )


def _theorems(certificate: Certificate) -> render.Theorems | None:
    if (proof := certificate.proof) is None:
        return None
    proved = ((t.what, len(t.places), t.assumed, t.numbers, t.level == 1) for t in proof.proved)
    refused = tuple(dict.fromkeys(t.what for t in proof.theorems if t.reason))
    return _printer().Theorems(certificate.count("proved"), proof.coq, proof.axioms, tuple(proved), refused)


def printable(derived: Derived) -> Derivation:
    return Derivation(*(getattr(derived, field.name) for field in fields(derived)))


def derive(text: str, *, wrt: str | Sequence[str] | None = None) -> Derivation:
    """Derive equations, given as text, one on each line: `derive("u[n, k] = sum[l](W[k, l]*x[n, l])", wrt="W")`.

    The derivation starts from a given gradient of what the last line defines, or from that itself where it is the
    scalar `loss`. `wrt` names the tensors to differentiate by, by default all that the lines read and do not define.
    Raises EquationError, ShapeError or DerivationError.
    """
    return printable(derive_equation(text, wrt=wrt))
