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
        yield Paragraph(claim)
        if self.detail == "brief":
            return
        yield Paragraph(self.say("certificate.meaning"))
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
        yield Paragraph(self.say("certificate.at"))
        yield Items(tuple(self.shaped(shape) for shape in checked.shapes))

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


TIERS = {"exact": "exact", "exact up to a constant": "constant", "evidence": "evidence", "loops": "loops"}
