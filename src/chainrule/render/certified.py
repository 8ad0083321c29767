"""The last section of a document whose lines were checked: what the certificate says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.derive.subject import Shapes, Subject
from chainrule.render.document import Block, Code, Heading, Items, Paragraph, Table, Text
from chainrule.render.writer import Writer

EXCLUSIONS = ("rounding", "kinks", "shapes", "laws", "selections")


@dataclass(frozen=True)
class Checked:
    """What a document says of a certificate: how many lines passed each tier, the bound over all of them, a row
    (what, how many lines, tier, bound) for each lemma, and the shapes at which they were checked."""

    exact: int
    constant: int
    evidence: int
    bound: str
    rows: tuple[tuple[Subject, int, str, str], ...]
    shapes: tuple[Shapes, ...]
    proof: Theorems | None = None


@dataclass(frozen=True)
class Theorems:
    """How many lines Coq proved, its version and the axioms; for each theorem what it is about, how many lines it has,
    what it stands on, (kind, name), which indices' extents stay numbers, and whether the shapes are tied as in the
    layer; and what is not proved."""

    lines: int
    coq: str
    axioms: tuple[str, ...]
    proved: tuple[tuple[Subject, int, tuple[tuple[str, str], ...], tuple[tuple[str, int], ...], bool], ...]
    refused: tuple[Subject, ...]


class Certified(Writer):
    def certificate(self, checked: Checked | None) -> Iterable[Block]:
        """The claim; with more detail what it means and excludes; in full every lemma and every shape."""
        if checked is None:
            return
        yield Heading(1, self.say("certificate.heading"))
        claim = self.say("certificate.claim", lines=str(checked.exact), bound=Code(checked.bound))
        for key, count in (("constant", checked.constant), ("evidence", checked.evidence)):
            if count:
                claim = (*claim, *self.say(f"certificate.{key}", count=str(count)))
        if checked.proof is not None:
            lines = str(checked.proof.lines)
            claim = (*self.say("certificate.proved", lines=lines, version=checked.proof.coq), *claim)
        yield Paragraph(claim)
        if self.detail == "brief":
            return
        yield Paragraph(self.say("certificate.meaning"))
        if checked.proof is not None:
            axioms = ", ".join(checked.proof.axioms) or self.sentences["certificate.none"]
            yield Paragraph(self.say("certificate.proof", axioms=axioms))
        if checked.evidence:
            yield Paragraph(self.say("certificate.second"))
        yield Paragraph(self.say("certificate.nothing"))
        yield Items(tuple(self.say(f"certificate.{key}") for key in EXCLUSIONS))
        if self.detail != "full":
            return
        header = tuple(self.say(f"certificate.{key}") for key in ("what", "lines", "tier", "bound"))
        names = {tier: f"certificate.tier_{key}" for tier, key in TIERS.items()}
        rows = (
            ((self.named(what),), ((str(count),),), (self.say(names[tier]),), ((Code(bound),),))
            for what, count, tier, bound in checked.rows
        )
        yield Table(header, tuple(rows))
        if checked.proof is not None:
            yield Paragraph(self.say("certificate.theorems"))
            yield Items(tuple(self.theorems(checked.proof)))
        yield Paragraph(self.say("certificate.at"))
        yield Items(tuple(self.shaped(shape) for shape in checked.shapes))

    def theorems(self, proof: Theorems) -> Iterable[Text]:
        """What each theorem is about, and under which hypotheses; and what is not proved."""
        for what, lines, assumed, numbers, tied in proof.proved:
            said = (*self.named(what), *self.say("certificate.long", lines=str(lines)))
            if numbers:
                fixed = ", ".join(f"{name} < {extent}" for name, extent in numbers)
                said = (*said, *self.say("certificate.but", numbers=Code(fixed)))
            if tied:
                said = (*said, *self.say("certificate.tied"))
            for place, (kind, name) in enumerate(assumed):
                start = self.sentences["certificate.and" if place else "certificate.given"]
                said = (*said, start, *self.say(f"certificate.given_{kind}", name=Code(name)))
            yield said
        for what in proof.refused:
            yield (*self.named(what), *self.say("certificate.refused"))

    def named(self, subject: Subject) -> Text:
        """What a row of the certificate is about, in the document's language."""
        if subject.kind == "other":
            return (Code(subject.y),)
        form = self.sentences[f"certificate.{subject.form}"] if subject.form else ""
        said = self.say(
            f"certificate.{subject.kind}", x=Code(subject.x), y=Code(subject.y), rule=Code(subject.rule),
            number=str(subject.number), form=form,
        )
        if subject.cut:
            said = (*said, *self.say("certificate.cut", extent=str(subject.cut)))
        return (*said, *self.say("certificate.one")) if subject.one_sample else said

    def shaped(self, shapes: Shapes) -> Text:
        """What was checked, at which extents."""
        said = (*self.named(shapes.subject), ": ", Code(shapes.extents))
        return (*said, *self.say("certificate.reduced")) if shapes.reduced else said


TIERS = {tier: tier.split()[-1] for tier in ("proved", "exact", "exact up to a constant", "evidence", "loops")}
