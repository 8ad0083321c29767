"""The algorithm on one page: what the backward pass computes, as formulas for all samples and as a NumPy listing."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.errors import DerivationError
from chainrule.render.backward import Backward, Row
from chainrule.render.document import Block, Cell, Heading, Listing, Paragraph, Table, Text
from chainrule.render.listing import listing
from chainrule.render.names import Names
from chainrule.render.writer import runs_of

LONGEST = 75
"""Lines of a listing beyond which only one is written of layers that repeat."""


class Algorithm(Backward):
    def algorithm(self) -> Iterable[Block]:
        if len(self.derivation.forward.equations) == 1 and self.detail == "brief":
            return
        if len(self.pages()) > 1:
            # Of a single layer, the backward pass has these lines, and stands before the program.
            yield Heading(1, self.say("algorithm.heading"))
            yield Paragraph(self.say("algorithm.lead"))
            yield self.formulas()
        yield from self.program()

    def formulas(self) -> Table:
        """Layer by layer, the error signals and the gradients of the parameters, for all samples at once."""
        rows: list[tuple[Cell, ...]] = []
        parameters = self.derivation.forward.parameters
        known: dict[object, int] = {}
        for run in runs_of(self.pages(), self.page_signature):
            numbers = [block[0][0] for block in run]
            names = (self.names if len(run) == 1 else self.names.relative(numbers[0])).of_batch()
            last = "equations" if self.derivation.loss is None else "others"
            title = self.say(f"backward.{last if numbers[0] == self.LAST else 'before'}")
            if numbers[0] > 0:
                title = self.say("backward.layer", number=str(numbers[0]))
            if len(run) > 1:
                title = self.say("backward.layers", range=self.range(numbers))
            before = self.again(run, known)
            if before is not None:
                rows.append(((title,), (self.say("figure.as", number=str(before)),), ()))
                continue
            lines = [(row.name is None and row.part.tensor in parameters, self.line(row, names))
                     for _, page in run[0] for row in page]
            left, right = ([line for own, text in lines if own == side for line in text] for side in (False, True))
            rows.append(((title,), tuple(left), tuple(right)))
        header = ("layer", "signals", "gradients")
        return Table(tuple(self.say(f"algorithm.{key}") for key in header), tuple(rows))

    def line(self, row: Row, names: Names) -> list[Text]:
        """The concise form of a row, else its components."""
        results = row.results(batch=True)
        form = row.concise(results, batch=True)
        if form is not None:
            return [(self.math(form.left, "=", form.right, names=names),)]
        return [(self.math(e.target, "=", e.value, names=names),) for e in results]

    def program(self) -> Iterable[Block]:
        """The listing, where NumPy has words for all of it; a long one, but in full, with one of layers that repeat."""
        if self.detail == "brief":
            return
        titles = self.plain("algorithm.forward"), self.plain("algorithm.back")
        try:
            text = listing(self.derivation, self.names, titles)
            if self.detail == "standard" and text.count("\n") > LONGEST:
                alike = self.plain("figure.alike"), self.plain("figure.again")
                text = listing(self.derivation, self.names, titles, alike)
        except DerivationError:
            return
        yield Paragraph(self.say("algorithm.listing", loss=self.math(self.batch.loss.stem)))
        yield Listing(text.rstrip("\n"))

    def plain(self, key: str) -> str:
        return self.sentences[key]
