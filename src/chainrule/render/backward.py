"""The backward pass from the loss to the input: explanation, detailed, concise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from chainrule.derive.adjoint import Gradient, Use
from chainrule.derive.check import forms_hold
from chainrule.derive.fold import Fold, is_root
from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.forms import Concise, Form, whole
from chainrule.forms.nodes import Operation, Sum, View
from chainrule.ir.expr import LOSS, Component, Delta, Derivative, Guard, Size, Tensor
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, nodes
from chainrule.render.alike import Repetition, Said, repetition, swapped
from chainrule.render.document import Block, Cell, Code, Heading, Paragraph, Table, Text
from chainrule.render.folded import Folded
from chainrule.render.formula import Nabla
from chainrule.render.names import Names
from chainrule.render.pieces import affine_token
from chainrule.render.text import FIXED
from chainrule.render.writer import Writer, concise_forward, concise_of, runs_of, tensors_of, ways

SAVED = 4
"""Rows of a layer from which it is left out where one like it has been printed."""


class Backward(Folded):
    """The rows of the backward pass, one table for each layer or run of equal layers."""

    def backward(self) -> Iterable[Block]:
        derivation = self.derivation
        single = len(derivation.forward.equations) == 1
        several = len(self.pages()) > 1 and self.layers > 0
        yield Heading(1, self.say("backward.result" if single else "backward.heading"))
        lead = "backward.lead_given" if derivation.loss is None else "backward.lead"
        said = self.say(lead)
        if derivation.loss is not None:
            seed = Derivative(Component(LOSS, ()), Component(LOSS, ()))
            seeds = [self.math(seed, names=self.batch)]
            if any(self.names.is_loss(t) and t != LOSS for t in derivation.forward.defined):
                seeds.append(self.math(seed))
            said += self.say("backward.start", seed=self.join((s, f"{FIXED}={FIXED}1") for s in seeds))
        yield Paragraph(said)
        header = (self.say("backward.explanation"), self.say("backward.detailed"), self.say("backward.concise"))
        number = 0
        cells: list[tuple[Cell, ...]] = []
        known: dict[object, int] = {}
        printed: dict[int, Said] = {}
        self.explained.clear()
        for run in self.runs:
            numbers = [block[0][0] for block in run]
            names = self.names if len(run) == 1 else self.names.relative(numbers[0])
            rows = [row for _, part in run[0] for row in part]
            page = numbers[0]
            before = self.again(run, known)
            if before is not None:
                lines = f"({number + 1})–({number + len(rows)})"
                alike = self.say("figure.as_lines", lines=lines, number=str(before))
                cells.append((((*self.title(page, rows), *alike),),))
                number += len(rows)
                continue
            if len(run) > 1:
                cells.append(((self.say("backward.layers", range=self.range(numbers)),),))
            elif several:
                cells.append(((self.title(page, rows),),))
            for place, row in enumerate(rows, number + 1):
                equation = row.use.equation if row.use else row.fold.sinks[0] if row.fold else None
                # Of one layer alone its lemma says so.
                told = several or self.detail != "standard"
                if told and equation and (coupling := self.coupling(equation, names.of_batch())):
                    if self.detail == "standard":
                        through = (use.lemma for use in derivation.uses if use.equation == equation)
                        coupling = self.say("coupling.back", number=str(min(map(derivation.number, through))))
                    line = self.say("coupling.line", line=f"({place})", coupling=coupling)
                    title = cells.pop()[0][0] if several else ()
                    cells.append(((title, line),))
                    break
            said = [self.said_by(row) for row in rows]
            place = 0
            while place < len(rows):
                found = repetition(said[place:], printed) if len(run) == 1 and self.detail != "full" else None
                if found is None:
                    number += 1
                    cells.append(rows[place].cells(self, f"({number}) ", names, self.explained))
                    if len(run) == 1:
                        printed[number] = said[place]
                    place += 1
                else:
                    cells.append((((), self.repeated(number + 1, found)),))
                    number, place = number + found.count, place + found.count
            if not several:
                # Of several layers, the algorithm has these lines.
                batch = [text for row in rows for text in row.batch(self, names)]
                label = self.say("backward.batch", N=self.math(Size(SAMPLES)))
                cells.extend([((label,), (), tuple(batch))] if batch else [])
        yield Table(header, tuple(cells))

    def again(self, run: Sequence[Sequence[tuple[int, list[Row]]]], known: dict[object, int]) -> int | None:
        """The number of an earlier layer whose rows are the same but for the numbers, if there is one and that is worth
        saying; in full every layer has its rows."""
        (page, rows), *more = run[0]
        first = known.setdefault(self.page_signature((page, rows)), page)
        alone = len(run) == 1 and not more and len(rows) >= SAVED
        return first if first != page and alone and self.detail != "full" else None

    def said_by(self, row: Row) -> Said:
        equations = row.results(batch=not row.per_sample)
        fold = (self.fold_number(row.fold), row.name is None) if row.fold else None
        cited = self.derivation.number(row.use.lemma) if row.use else len(row.part.uses)
        return Said(equations, (cited if row.fold is None else fold, row.use is None, row.per_sample))

    def repeated(self, number: int, found: Repetition) -> Text:
        """Which lines repeat which, and what stands in them for what."""
        lines, first = (f"({n})–({n + found.count - 1})" for n in (number, found.first))
        return self.say("backward.repeated", lines=lines, first=first, substitution=swapped(self, found.tensors))

    def title(self, page: int, rows: Sequence[Row]) -> Text:
        """A layer by its number and the names of its parts."""
        labels = self.labels(rows)
        if page > 0:
            return (*self.say("backward.layer", number=str(page)), " · ", *labels)
        said = self.say("backward.others" if page == self.LAST else "backward.before")
        return labels if page == self.LAST and labels else said

    def labels(self, rows: Iterable[Row]) -> Text:
        """The names of the layers that the rows go through, in the order of the network: dense1 + sigmoid1."""
        through = {e.tensor for row in rows for e in ((row.use.equation,) if row.use else ())}
        through |= {e.tensor for row in rows if row.fold for e in row.fold.forward}
        layers = self.derivation.layers
        own = [e.tensor.name for e in self.derivation.forward.equations if e.tensor in through]
        labels = dict.fromkeys(layers[name] for name in own if name in layers)
        return tuple(part for n, label in enumerate(labels) for part in ((" + ", Code(label)) if n else (Code(label),)))

    @cached_property
    def explained(self) -> set[object]:
        """The lemmas whose rows have been explained; a later row cites alone, but in full."""
        return set()

    LAST = -1
    """The page of equations that belong to no numbered layer: a normalisation, a sum, the loss."""

    def pages(self) -> list[tuple[int, list[Row]]]:
        """The rows of the backward pass in the order of computing, parted where the layer of the equation that they go
        through changes."""
        order = {e.tensor: n for n, e in enumerate(self.derivation.forward.equations)}
        parameters = self.derivation.forward.parameters
        rows: list[tuple[int, tuple[int, int, int], Row]] = []
        named: set[Tensor] = set()
        for place, part in enumerate(self.derivation.parts.values()):
            if part.tensor in self.between:
                continue
            if (fold := self.formulas_of.get(part.tensor)) is not None:
                sink = fold.sinks[0].tensor
                for number, name in enumerate(name for name in fold.names if name.tensor not in named):
                    rows.append((self.page(sink), (-order[sink], 0, number), Row(part, None, 0, False, fold, name)))
                named.update(name.tensor for name in fold.names)
                key = (-order[sink], 2 if part.tensor not in parameters else 1, place)
                rows.append((self.page(sink), key, Row(part, None, 0, False, fold)))
                continue
            late = part.tensor not in parameters and part.tensor not in order
            single = [self.derivation.sample(use) is not None for use in part.uses]
            for share, use in enumerate(part.uses, 1):
                key = (-order[use.equation.tensor], 2 if part.tensor not in parameters else 1, place)
                rows.append((self.page(use.equation.tensor), key, Row(part, use, share, single[share - 1])))
            if part.sum is not None or not part.uses:
                last = part.uses[-1].equation.tensor if part.uses else part.tensor
                key = (-order.get(last, -len(order)), 3 if late else 2, place + len(order))
                rows.append((self.page(last), key, Row(part, None, 0, all(single))))
        ordered = sorted(rows, key=lambda r: r[1])
        return [(page, [row for *_, row in group]) for page, group in groupby(ordered, key=lambda r: r[0])]

    @cached_property
    def formulas_of(self) -> dict[Tensor, Fold]:
        """The tensors whose gradient is one row by a fold: all of them but in full detail, which has every line."""
        if self.detail == "full":
            return {}
        return {fold.target.tensor: fold for fold in self.derivation.folds if fold.whole}

    @cached_property
    def between(self) -> set[Tensor]:
        """The tensors whose gradients are in such a row."""
        return {gradient.tensor for fold in self.formulas_of.values() for gradient in fold.inner}

    @cached_property
    def runs(self) -> list[list[tuple[tuple[int, list[Row]], ...]]]:
        """The pages as runs of equal blocks."""
        return runs_of(self.pages(), self.page_signature)

    @cached_property
    def numbered(self) -> list[tuple[int, Row]]:
        """Every row with the number of its line; of equal layers the lines of the first stand for all."""
        result: list[tuple[int, Row]] = []
        number = 0
        for run in self.runs:
            own = [[row for _, part in block for row in part] for block in run]
            result += [entry for rows in own for entry in enumerate(rows, number + 1)]
            number += len(own[0])
        return result

    def page(self, tensor: Tensor) -> int:
        number = self.names.layer(tensor)
        return self.LAST if number is None else number

    def page_signature(self, entry: tuple[int, list[Row]]) -> object:
        page, rows = entry
        result: list[object] = []
        for row in rows:
            involved = (row.part.tensor, *(tensors_of(row.use.equation) if row.use else ()))
            if row.fold is not None:
                involved = tuple(dict.fromkeys(t for e in (*row.fold.forward, *row.fold.names) for t in tensors_of(e)))
            cited = self.derivation.number(row.use.lemma) if row.use else len(row.part.uses)
            result.append((cited, row.use is None, row.name is None, row.share, self.relative_names(involved, page)))
        # What belongs to no numbered layer is no repetition of another page.
        return page < 1 and id(rows[0]), tuple(result)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the backward pass: a use of a tensor, or (without one) the sum over its uses; with a `fold`, its
    formula, or a value that this names. `per_sample` says whether what it computes is true of one sample alone."""

    part: Gradient
    use: Use | None
    share: int
    per_sample: bool
    fold: Fold | None = None
    name: Equation | None = None

    @property
    def made(self) -> Tensor | None:
        """The tensor that the row computes."""
        return next((e.tensor for e in self.results(batch=True)), None)

    def results(self, batch: bool) -> tuple[Equation, ...]:
        """The last lines of the lemma in this use's tensors, for all samples or for one."""
        if self.fold is not None:
            gradient = Component(adjoint_of(self.part.tensor), self.fold.target.subscripts)
            return (self.name or Equation(gradient, self.fold.result),)
        if self.use is None:
            if self.part.sum is None:
                return ()
            sample = None if batch else one_sample(self.part.sum)
            return (sample or self.part.sum,)
        lemma = None if batch else self.use.lemma.sample
        if lemma is None:
            return self.use.equations
        mapping = {_without_samples(a): _without_samples(b) for a, b in self.use.mapping.items()}
        gradient = _without_samples(self.use.contribution)
        placed = (p.equation.over(mapping) for p in lemma.pieces)
        return tuple(Equation(Component(gradient, e.target.subscripts), e.value) for e in placed)

    def concise(self, results: Sequence[Equation], batch: bool) -> Concise | None:
        """The concise form of the results, in this use's tensors."""
        if not results or (self.fold is not None and not forms_hold(self.fold)):
            return None
        if self.use is None:
            return concise_forward(results[0])
        sample = None if batch else self.use.lemma.sample
        lemma, mapping = sample or self.use.lemma, self.use.mapping
        if sample is not None:
            mapping = {_without_samples(a): _without_samples(b) for a, b in mapping.items()}
        return concise_of(lemma, mapping, results[0].tensor)

    def cells(self, writer: Folded, number: str, names: Names, explained: set[object]) -> tuple[Cell, ...]:
        """Explanation, detailed and concise; `explained` holds the kinds of lemma that need no words any more."""
        view = writer.view(names, self.per_sample)
        results = self.results(batch=not self.per_sample)
        detailed = tuple((writer.math(e.target, "=", e.value, names=view),) for e in results)
        form = self.concise(results, batch=not self.per_sample)
        concise: Cell = () if form is None else ((writer.math(form.left, "=", form.right, names=view),),)
        new = self.use is None or writer.detail == "full" or self.use.lemma.kind not in explained
        matrix = form.right if form is not None and form.family != "planes" else None
        why = self.explanation(writer, results, matrix, view, explained)
        if new and form is not None and form.family == "planes" and self.use is not None:
            signal = adjoint_of(self.use.equation.tensor)
            places = {"signal": writer.math(Nabla(signal), names=view)}
            said = [writer.say(f"planes.{key}", **places) for key in ways(form.right, signal.name) if key != "planes"]
            why = writer.join([why, *said], "document.semicolon")
            stated = writer.derivation.lemmas[writer.derivation.number(self.use.lemma) - 1]
            if stated is not self.use.lemma:
                # The lemma is stated for other extents, where its windows may have other weights.
                law, there = (writer.conserved(e, writer.local(e)) for e in (self.use.lemma, stated))
                if law is not None and law != there:
                    why = writer.join([why, law], "document.semicolon")
        return ((number, *why),), detailed, concise

    def batch(self, writer: Writer, names: Names) -> Iterable[Text]:
        """The concise form for all samples, where the row speaks of one."""
        if not self.per_sample or not (results := self.results(batch=True)):
            return
        form = self.concise(results, batch=True)
        if form is not None:
            yield (writer.math(form.left, "=", form.right, names=names.of_batch()),)

    def explanation(
        self, writer: Folded, results: Sequence[Equation], form: Form | None, names: Names, explained: set[object]
    ) -> Text:
        x = self.part.tensor
        letter = writer.math(whole(x), names=names)
        if self.fold is not None:
            if self.name is not None:
                return writer.say(f"fold.{'root' if is_root(self.name.tensor) else 'quotient'}")
            return writer.say("fold.by", number=str(writer.fold_number(self.fold)))
        if self.use is None:
            if not self.part.uses:
                return writer.say("backward.unused", x=letter)
            return writer.say("backward.sum", x=letter, count=str(len(self.part.uses)))
        parts = [self.citation(writer, self.use, names)]
        again = writer.detail != "full" and self.use.lemma.kind in explained
        explained.add(self.use.lemma.kind)
        if len(self.part.uses) > 1:
            parts.append(writer.say("backward.share", number=str(self.share), count=str(len(self.part.uses))))
        if len(results) > 1:
            parts.append(writer.say("backward.classes"))
        if again:
            return writer.join(parts, "document.semicolon")
        parts.extend(self.paths(writer, self.use, results, names))
        if form is not None and (weight := transposed(form, self.use)) is not None:
            parts.append(writer.say("backward.transpose", W=writer.math(whole(weight), names=names)))
        return writer.join(parts, "document.semicolon")

    def citation(self, writer: Writer, use: Use, names: Names) -> Text:
        """Lemma 3 with W^[2] for W: the tensor differentiated by, and those that have another letter here."""
        number = writer.derivation.number(use.lemma)
        stated = writer.derivation.lemmas[number - 1]
        local = writer.local(stated)
        there = local.of_batch() if names.batch else local
        swaps: list[Text] = []
        read = {t for piece in stated.pieces for t in piece.equation.value.tensors} | {stated.wrt.tensor}
        for old, new in dict.fromkeys(zip(tensors_of(stated.equation), tensors_of(use.equation), strict=True)):
            if old == LOSS or there.symbol(old) == names.symbol(new):
                continue
            if old in read and there.symbol(old).stem != names.symbol(new).stem:
                pair = {
                    "old": writer.math(whole(old), names=there), "new": writer.math(whole(new), names=names),
                }
                swaps.append(writer.say("backward.for", **pair))
        if not swaps:
            return writer.say("backward.by", number=str(number))
        return writer.say("backward.by_with", number=str(number), substitution=writer.join(swaps))

    def paths(self, writer: Writer, use: Use, results: Sequence[Equation], names: Names) -> Iterable[Text]:
        """Why a sum over components of y stands in the result, or none."""
        if len(results) != 1:
            return
        (result,) = results
        signal = adjoint_of(use.equation.tensor)
        reads = [c for c in components(result.value) if c.tensor.name == signal.name]
        if len(reads) != 1 or not reads[0].subscripts:
            return
        y = Component(replace(use.equation.tensor, shape=reads[0].tensor.shape), reads[0].subscripts)
        x = Component(replace(use.tensor, shape=result.tensor.shape), result.target.subscripts)
        summed = [i for i in reads[0].free if i not in result.indices]
        places = {"x": writer.math(x, names=names), "y": writer.math(y, names=names)}
        if not summed:
            own = reads[0].subscripts == result.target.subscripts
            several = len(self.part.uses) > 1
            key = "own" if own else "once_here" if several else "once"
            yield writer.say("backward.own") if own else writer.say(f"backward.{key}", **places)
            return
        over = writer.math(",".join(affine_token(Affine.of(i)) for i in summed))
        many = set(summed) == set(reads[0].free)
        if many and use.tensor not in writer.derivation.forward.parameters:
            sparse = any(
                isinstance(node, Guard | Delta) or (isinstance(node, Component) and node.pad is not None)
                for node in nodes(result.value)
            )
            yield writer.say("backward.some" if sparse else "backward.many", **places, k=over)
        else:
            yield writer.say("backward.windows", x=places["x"], k=over)


def _without_samples(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=tuple(e for e in tensor.shape if e != SAMPLES))


def transposed(form: Form, use: Use) -> Tensor | None:
    """The weight that the equation reads and the form reads transposed, if any."""
    match form:
        case Operation(name="transpose", of=(View(tensor=tensor),)):
            weight = any(t.name == tensor.name and SAMPLES not in t.shape for t in use.equation.value.tensors)
            return tensor if weight and len(tensor.shape) == 2 and tensor.name != use.tensor.name else None
        case Operation(name="matmul", of=(left, right)):
            return transposed(left, use) or transposed(right, use)
        case Operation(name="scale", of=(of, *_)) | Sum(inner=of):
            return transposed(of, use)
        case _:
            return None
