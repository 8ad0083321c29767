"""The algorithm on one page: what the backward pass computes, as formulas for all samples and as a NumPy listing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from chainrule.derive.fold import Fold
from chainrule.errors import DerivationError
from chainrule.forms import concise
from chainrule.ir.expr import Tensor
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
        yield Heading(1, self.say("algorithm.heading"))
        if len(self.derivation.forward.equations) > 1:
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
            left: list[Text] = []
            right: list[Text] = []
            for row in (row for _, page in run[0] for row in page):
                fold = self.folding(row)
                left += self.named(fold, names) if fold is not None else []
                (right if row.part.tensor in parameters else left).extend(self.line(row, fold, names))
            rows.append(((title,), tuple(left), tuple(right)))
        header = ("layer", "signals", "gradients")
        return Table(tuple(self.say(f"algorithm.{key}") for key in header), tuple(rows))

    def line(self, row: Row, fold: Fold | None, names: Names) -> list[Text]:
        """The concise form of a row, else its components; of rows that fold into one formula that alone, in the place
        of the last of them."""
        if fold is not None:
            *_, use = fold.uses
            last = None if fold.whole and len(fold.uses) > 1 else use
            if row.use != last or row.part.tensor != fold.target.tensor:
                return []
            form = self.fold_form(fold)
            if form is None:
                return [(self.math(fold.shares, "=", fold.result, names=names),)]
            return [(self.math(*form.left, "=", form.right, names=names),)]
        results = row.results(batch=True)
        form = row.concise(results, batch=True)
        if form is not None:
            return [(self.math(form.left, "=", form.right, names=names),)]
        return [(self.math(e.target, "=", e.value, names=names),) for e in results]

    def folding(self, row: Row) -> Fold | None:
        """The fold that a row is part of."""
        for fold in self.derivation.folds:
            between = {gradient.tensor for gradient in fold.inner}
            own = row.part.tensor == fold.target.tensor and (row.use in fold.uses or (row.use is None and fold.whole))
            if own or row.part.tensor in between:
                return fold
        return None

    def named(self, fold: Fold, names: Names) -> list[Text]:
        """The values that a formula names, where they are not named yet."""
        lines: list[Text] = []
        for name in fold.names:
            if name.tensor not in self.known:
                self.known.add(name.tensor)
                form = concise(name.target, name.value)
                left, right = (form.left, form.right) if form is not None else (name.target, name.value)
                lines.append((self.math(left, "=", right, names=names),))
        return lines

    @cached_property
    def known(self) -> set[Tensor]:
        """The values that have been named."""
        return set()

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
