"""The last section of a document whose lines were checked: what the certificate says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from re import fullmatch

from chainrule.render.document import Block, Code, Heading, Inline, Items, Paragraph, Table, Text
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
    rows: tuple[tuple[str, int, str, str], ...]
    shapes: tuple[str, ...]


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

    def named(self, what: str) -> Text:
        """What a row of the certificate is about, in the document's language."""
        one = what.endswith(ONE)
        what = what.removesuffix(ONE)
        for key, pattern in WHAT.items():
            if found := fullmatch(pattern, what):
                places = {name: self.place(name, value) for name, value in found.groupdict().items()}
                said = self.say(f"certificate.{key}", **places)
                return (*said, *self.say("certificate.one")) if one else said
        return (Code(what),)

    def place(self, name: str, value: str) -> Inline:
        return self.sentences[f"certificate.{value}"] if name == "form" else value if name == "number" else Code(value)

    def shaped(self, shape: str) -> Text:
        """What was checked, at which extents."""
        what, _, extents = shape.rpartition(": ")
        reduced = extents.endswith(REDUCED)
        said = (*self.named(what), ": ", Code(extents.removesuffix(REDUCED)))
        return (*said, *self.say("certificate.reduced")) if reduced else said


ONE, REDUCED = ", one sample", " (reduced)"
WHAT = {
    "lemma": r"∂(?P<x>.+) in (?P<y>.+)", "composite": r"composite (?P<number>\d+), (?P<form>map|recurrence|last)",
    "form": r"(?P<y>.+) itself", "gradients": "all gradients together",
    "program": r"the program that runs: (?P<y>.+)", "step": r"the step of (?P<rule>\w+): (?P<y>.+)",
    "loops": "the loops of a step",
}
"""How `verify` names what it checks, by the sentence that says it."""


TIERS = {"exact": "exact", "exact up to a constant": "constant", "evidence": "evidence", "loops": "loops"}
