"""The lemmas of a derivation, line by line, and those that are put together from others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby

from chainrule.derive.adjoint import Use
from chainrule.derive.calculus import apply_law
from chainrule.derive.check import composite_holds, forms_hold
from chainrule.derive.compose import Repeated, composites
from chainrule.derive.fold import Fold
from chainrule.derive.lemma import Lemma, adjoint_of
from chainrule.derive.subject import Subject
from chainrule.derive.trace import RULES, Setting, Step
from chainrule.forms import Form, concise, outline, whole
from chainrule.forms.nodes import Jacobian
from chainrule.ir.expr import (
    LOSS,
    Add,
    Apply,
    Component,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Pad,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, components, nodes
from chainrule.render.component import bounded
from chainrule.render.concise import shape_check
from chainrule.render.document import Block, Figure, Heading, Inline, Line, Lines, Paragraph, Text
from chainrule.render.figure import width_of
from chainrule.render.folded import Folded
from chainrule.render.formula import Formula, Nabla, Part
from chainrule.render.lines import ATTACHED, LIMIT, Run, group
from chainrule.render.names import Names
from chainrule.render.paths import Paths
from chainrule.render.pieces import affine_token
from chainrule.render.text import flat
from chainrule.render.writer import concise_of, coupled, tensors_of, ways

LONGEST = 5.0
"""In em: a factor up to which it stands beside an arrow; a figure with longer ones shows no more than its lemma."""


class Lemmas(Folded):
    """Each lemma once, with the reason for every line; then what is put together of them."""

    @cached_property
    def proven(self) -> dict[object, int]:
        """The lemmas by the outline of their concise forms: the number of the first with each."""
        return {}

    def lemmas(self) -> Iterable[Block]:
        if not self.derivation.lemmas:
            return
        yield Heading(1, self.say("lemma.heading"))
        yield Paragraph(self.say("lemma.lead"))
        numbered = enumerate(self.derivation.lemmas, 1)
        for _, group_ in groupby(numbered, key=lambda entry: _stated(entry[1])):
            yield from self.group(list(group_))

    def evaluations(self) -> Iterable[Block]:
        """The derivatives that equations are written with: how each is evaluated, the innermost first."""
        if not self.derivation.evaluations:
            return
        yield Heading(1, self.say("written.heading"))
        yield Paragraph(self.say("written.lead"))
        number = 0
        for equation, found in groupby(self.derivation.evaluations, key=lambda e: e.equation):
            evaluations = list(found)
            steps = [step for e in evaluations for step in e.steps]
            shown = frozenset(bounded(*(e for step in steps for e in (step.before, step.after))))
            names = self.view(replace(self.names, bounded=shown), False)
            stated = self.math(equation.target, "=", equation.value, names=names)
            yield Paragraph(self.say("written.given", equation=stated))
            for evaluation in evaluations:
                number += 1
                lemma = Lemma(equation, evaluation.derivative.wrt, evaluation.steps, (), (), ())
                rows: list[Line] = []
                left: Formula | None = self.math(evaluation.derivative, names=names)
                for run in group(evaluation.steps, self.detail, LIMIT):
                    right = self.math("=", run.steps[-1].after, names=names)
                    rows.append(Line(f"D{number}.{len(rows) + 1}", left, right, self.reason(run, lemma, names)))
                    left = None
                yield Lines(tuple(rows))
                yield from map(Paragraph, self.choices(lemma))

    def group(self, lemmas: Sequence[tuple[int, Lemma]]) -> Iterable[Block]:
        """The lemmas about one equation: what is given, each proof, and what is to be said of them."""
        (number, lemma), (last, _) = lemmas[0], lemmas[-1]
        shown = self.stated(lemma)
        names, equation = self.local(lemma), shown.equation
        y = equation.tensor
        ends = {
            "y": self.math(_symbol(y), names=names),
            "x": self.join(
                (self.math(whole(other.wrt.tensor), names=self.local(other)),) for _, other in lemmas
            ),
        }
        if len(lemmas) == 1:
            yield Heading(2, self.say("lemma.title", number=str(number), **ends))
        else:
            yield Heading(2, self.say("lemma.titles", first=str(number), last=str(last), **ends))
        stated = self.math(equation.target, "=", equation.value, names=names)
        wanted = self.join((self.math(self.stated(e).start, names=self.local(e)),) for _, e in lemmas)
        if names.is_loss(y):
            yield Paragraph(self.say("lemma.given_loss", equation=stated, gradient=wanted))
        else:
            signal = self.math(Component(shown.error_signal, equation.target.subscripts), names=names)
            key = "given" if names.signal(shown.error_signal) else "given_gradient"
            # Of several, the title says what is wanted, and so does each proof.
            key += "_several" if len(lemmas) > 2 else ""
            yield Paragraph(self.say(f"lemma.{key}", equation=stated, signal=signal, gradient=wanted))
        coupling = self.coupled(lemma, names)
        yield from map(Paragraph, self.once([coupling] if coupling is not None else []))
        said: list[Text] = []
        for own, each in lemmas:
            view = self.local(each)
            short = self.short(own, each)
            if self.detail != "brief" and short is None:
                yield from self.paths(Paths(self, self.stated(each), view).figure())
            yield Lines(tuple(self.lemma_lines(str(own), each, view, short)))
            law = self.conserved(each, view)
            said += (*self.notes(self.stated(each), view), *([law] if law else []), *self.meaning(each.equation))
        yield from map(Paragraph, self.once(said))

    def once(self, texts: Iterable[Text]) -> list[Text]:
        """The texts that have not been said yet; in full, those of one group of lemmas that are different."""
        new = {key: text for text in texts if (key := flat(text)) not in self.said}
        if self.detail != "full":
            self.said.update(new)
        return [*new.values()]

    @cached_property
    def said(self) -> set[str]:
        return set()

    def paths(self, figures: Iterable[Figure]) -> Iterable[Figure]:
        """The first figure of one path and the first of many; in full every one."""
        for figure in figures:
            many = len(figure.spots) > 3
            if any(width_of(arrow.text) > LONGEST for arrow in figure.arrows):
                continue
            if self.detail == "full" or many not in self.drawn:
                self.drawn.add(many)
                yield figure

    @cached_property
    def drawn(self) -> set[bool]:
        return set()

    def short(self, number: int, lemma: Lemma) -> Text | None:
        """Why the lines between the first and the last are left out, if they are: in brief, and in standard where the
        result is the error signal alone or where an earlier lemma with the same concise form has been proven."""
        if self.detail == "full":
            return None
        shown = self.stated(lemma)
        form = concise_of(shown)
        name = outline(form.right) if form is not None else None
        earlier = self.proven.setdefault(name, number) if name is not None else number
        if self.detail == "brief" or lemma.kind in self.only_folded:
            return ()
        read = {c.tensor.name for piece in shown.pieces for c in components(piece.equation.value)}
        plain = all(s.plain is not None for c in components(shown.equation.value) for s in c.subscripts)
        if plain and read <= {shown.error_signal.name} and len(shown.pieces) == 1:
            return ()
        return self.say("lemma.alike", number=str(earlier)) if earlier != number else None

    @cached_property
    def only_folded(self) -> frozenset[Key]:
        """The kinds of lemmas that are cited in folds alone, where a line of each is enough."""
        return self.kinds_in(fold for fold in self.derivation.folds if fold.whole and fold.inner)

    @cached_property
    def said_by_folds(self) -> frozenset[Key]:
        """The kinds of lemmas whose every result a fold says in its own form."""
        return self.kinds_in(fold for fold in self.derivation.folds if fold.whole)

    def kinds_in(self, folds: Iterable[Fold]) -> frozenset[Key]:
        """The kinds of lemmas that are cited in these folds alone."""
        involved = [use for fold in folds for use in fold.involved]
        inside = {use.contribution for use in involved}
        elsewhere = {use.lemma.kind for use in self.derivation.uses if use.contribution not in inside}
        return frozenset(use.lemma.kind for use in involved) - elsewhere

    def coupled(self, lemma: Lemma, names: Names) -> Text | None:
        """Why the lemma is about all samples together, where it is."""
        for use in self.derivation.uses:
            if use.lemma.kind == lemma.kind and (text := self.coupling(use.equation, names, lemma.equation)):
                return text
        if self.stated(lemma) is lemma and any(SAMPLES in t.shape for t in tensors_of(lemma.equation)):
            if coupled(lemma.equation):
                told = lemma.equation.tensor == LOSS or (self.detail == "standard" and self.derivation.coupling.first)
                return None if told else self.say("lemma.coupled", n=self.math("n"))
            return self.say("lemma.below")
        return None

    def lemma_lines(self, number: str, lemma: Lemma, names: Names, short: Text | None) -> Iterable[Line]:
        shown = self.stated(lemma)
        standard = self.detail == "standard"
        stated = short is not None and standard
        once = standard and lemma.kind in self.said_by_folds
        matrix = () if once else tuple(self.matrix_line(shown, names, checked=not stated))
        # In standard, the algorithm has the forms for all samples.
        batch = () if shown is lemma or (standard and (matrix or once)) else self.batch_line(lemma, names)
        closing = [*matrix, *batch]
        proof = [*self.proof(shown, names, LIMIT - max(len(closing), once), short)]
        if stated:
            # What needs no proof is one line, with its other form beside it.
            left, right, reason = proof[-1]
            # Why, the lemma says that is cited.
            forms = ((_joined(a, b),) if short else self.say("figure.closing", form=_joined(a, b), reason=why)
                     for a, b, why in closing)
            proof[-1] = left, right, self.join((x for x in (reason, *forms) if x), "document.semicolon")
            closing = []
        rows = [*proof, *closing]
        for position, (left, right, reason) in enumerate(rows, 1):
            yield Line(f"{number}.{position}", left, right, reason)

    def proof(
        self, shown: Lemma, names: Names, limit: int, short: Text | None
    ) -> Iterable[tuple[Formula | None, Formula, Text]]:
        """The lines from ∂ℓ/∂x to the result, piece by piece where the gradient has several; the first and the last
        alone where there is a reason to be `short`."""
        single = len(shown.pieces) == 1
        steps = shown.all_steps if single else shown.steps
        if names.signal(shown.error_signal) is None and shown.signal is None:
            steps = tuple(s for s in steps if s.rule != "error_signal")  # it has no other letter
        runs = group(steps, self.detail, limit if single else max(limit - len(shown.pieces), 4))
        target = shown.wrt
        left: Formula | None = self.math(shown.start, names=names)
        if short is not None and single and not any(step.split for step in steps):
            # One line: what the chain rule says, and what comes out.
            reason = short or self.reason(runs[-1], shown, names)
            ends = dict.fromkeys((runs[0].steps[-1].after, runs[-1].steps[-1].after))
            yield left, self.math(*(part for end in ends for part in ("=", end)), names=names), reason
            return
        for position, run in enumerate(runs):
            for step in run.steps:
                target, changed = _split(target, step)
                left = self.math(Derivative(Component(LOSS, ()), target), names=names) if changed else left
            last = single and position == len(runs) - 1
            if short is None or position == 0 or last:
                reason = short if short and last else self.reason(run, shown, names)
                yield left, self.math("=", run.steps[-1].after, names=names), reason
                left = None
        if single:
            return
        for piece in shown.pieces:
            left = self.math(piece.equation.target, names=names)
            if self.detail == "full":
                for run in group(piece.steps, self.detail, limit):
                    yield left, self.math("=", run.steps[-1].after, names=names), self.reason(run, shown, names)
                    left = None
            else:
                split = [affine_token(s) for s in piece.equation.target.subscripts if s.plain is None]
                reason = self.say("lemma.piece_result", index=self.math(", ".join(split)))
                yield left, self.math("=", piece.equation.value, names=names), reason

    def matrix_line(self, shown: Lemma, names: Names, checked: bool) -> Iterable[tuple[Formula, Formula, Text]]:
        """The concise form, with its shapes where they are to be `checked`."""
        form = concise_of(shown)
        if form is None:
            return
        if form.family == "planes":
            reason = self.planes_reason(form.right, shown, names)
        else:
            check = shape_check(form.right) if checked else ""
            reason = self.say("lemma.checked", check=self.math(check)) if check else self.say("lemma.matrix")
        yield self.math(form.left, names=names), self.math("=", form.right, names=names), reason

    def planes_reason(self, planes: Form, shown: Lemma, names: Names) -> Text:
        places = {"signal": self.math(Nabla(shown.error_signal), names=names)}
        sentences = (self.say(f"planes.{key}", **places) for key in ways(planes, shown.error_signal.name))
        return self.join(sentences, "document.semicolon")

    def batch_line(self, lemma: Lemma, names: Names) -> Iterable[tuple[Formula, Formula, Text]]:
        batch, size = names.of_batch(), self.math(Size(SAMPLES))
        form = concise_of(lemma)
        reason = self.say("lemma.batch", N=size)
        if form is None:
            if len(lemma.pieces) == 1:
                equation = lemma.pieces[0].equation
                yield self.math(equation.target, names=batch), self.math("=", equation.value, names=batch), reason
            return
        yield self.math(form.left, names=batch), self.math("=", form.right, names=batch), reason

    # Reasons --------------------------------------------------------------------------------------

    def reason(self, run: Run, shown: Lemma, names: Names) -> Text:
        if self.detail == "full":
            (step,) = run.steps
            return self.rule_reason(step, shown, names)
        return self.join((self.group_reason(g, run.steps, shown, names) for g in run.reasons), "document.semicolon")

    def places(self, steps: Sequence[Step], shown: Lemma, names: Names) -> dict[str, Inline | Text]:
        """What a sentence about steps of this lemma can name."""
        y = _reached(shown)
        x = shown.wrt
        result: dict[str, Inline | Text] = {
            "x": self.math(x, names=names), "X": self.math(whole(x.tensor), names=names),
            "y": self.math(y, names=names),
            "loss": self.math(Component(LOSS, ()), names=names),
            "signal": self.math(Component(shown.error_signal, y.subscripts), names=names),
            "dy": self.math(Derivative(Component(LOSS, ()), y), names=names),
        }
        setting = Setting(shown.equation, x, shown.error_signal)
        for step in steps:
            if step.rule == "derivative.component":
                read = next(d for d in _derivatives(step.before) if _reads(d.of, x.tensor))
                result["read"] = self.math(read, names=names)
                result["bracket"] = self.math(RULES["derivative.component"].apply(read, setting), names=names)
            elif step.rule == "law":
                applied = [f for f in nodes(step.before) if isinstance(f, Apply)]
                laws = {f.function: f for f in reversed(applied) if split_derivative(f.function)[1] is not None}
                result["law"] = self.join((self.math(f, "=", apply_law(f), names=names),) for f in laws.values())
            elif step.rule == "reuse":
                before = set(components(step.before))
                new = [c for c in components(step.after) if c not in before]
                result["values"] = self.join((self.math(c, names=names),) for c in new)
            elif step.split is not None:
                index, affine = step.split
                result["index"] = self.math(f"{affine_token(Affine.of(index))} = {affine_token(affine)}")
        return result

    def group_reason(self, name: str, steps: Sequence[Step], shown: Lemma, names: Names) -> Text:
        places = self.places(steps, shown, names)
        if name == "chain" and names.is_loss(shown.equation.tensor):
            name = "chain_loss"
        if name == "definition" and names.signal(shown.error_signal) is None:
            name = "definition_plain"
        if name == "padding" and Guard in steps[-1].after.types:
            name = "padding_beside"
        if name == "linearity":
            others = [t for t in shown.equation.value.tensors if t != shown.wrt.tensor]
            if others:
                places["others"] = self.join((self.math(whole(t), names=names),) for t in others)
                name = "linearity_others" if len(others) > 1 else "linearity_other"
        return self.say(f"group.{name}", **places)

    def rule_reason(self, step: Step, shown: Lemma, names: Names) -> Text:
        return self.say(f"rule.{step.rule}", **self.places([step], shown, names))

    def notes(self, shown: Lemma, names: Names) -> Iterable[Text]:
        """Conventions that act in this lemma, and what a bar above a letter means."""
        written = [s.after for s in shown.all_steps]
        for equation in shown.auxiliary:
            position = self.math(whole(equation.tensor), names=names)
            stated = self.math(equation.target, "=", equation.value, names=names)
            yield self.say("note.argmax", position=position, equation=stated)
        yield from self.choices(shown)
        padded: dict[tuple[Tensor, Pad], None] = dict.fromkeys(
            (c.tensor, c.pad)
            for e in (shown.equation.value, *written, *(a.value for a in shown.auxiliary))
            for c in components(e) if c.pad is not None
        )
        for tensor, pad in padded:
            letter = replace(tensor, shape=())
            component, bare = Component(letter, (), pad), Component(letter, ())
            if pad == "-inf":
                yield self.say("note.never", read=self.math(component, names=names), x=self.math(bare, names=names))
            else:
                value = self.math(str(pad).replace("-", "−"))
                yield self.say(
                    "note.padding", read=self.math(component, names=names), x=self.math(bare, names=names), value=value
                )

    def meaning(self, equation: Equation) -> Iterable[Text]:
        """What an equation does to the gradient that comes back, said where it is first met."""
        for key in _deeds(equation):
            if key not in self.meant and self.detail != "brief":
                self.meant.add(key)
                yield self.say(f"meaning.{key}")

    @cached_property
    def meant(self) -> set[str]:
        """What has been said of gradients that come back."""
        return set()

    def choices(self, shown: Lemma) -> Iterable[Text]:
        """What is chosen where a derivative does not exist: at kinks, and where several share a maximum."""
        if shown.auxiliary:
            yield self.say("note.window")
        found = {f.function for s in shown.all_steps for f in nodes(s.after) if isinstance(f, Apply)}
        for function in ("relu", "step", "max", "min", "sign", "abs"):
            if any(split_derivative(f) in ((function, 0), (function, 1)) for f in found):
                yield self.say(f"note.{function}")
        of = (node for node in nodes(shown.equation.value) if shown.wrt.tensor in node.tensors)
        if any(isinstance(node, Power) and 0 < node.exponent < 1 for node in of):
            yield self.say("note.root")

    # Composites ------------------------------------------------------------------------------------

    def composites(self) -> Iterable[Block]:
        found = composites(self.derivation)
        if self.detail != "full":
            # One of each form says it all.
            forms = list(dict.fromkeys(repeated.form for repeated in found))
            found = tuple(next(r for r in found if r.form == form) for form in forms)
        folded = tuple(self.folds())
        if self.detail == "brief" or not (found or folded):
            return
        if found:
            yield Heading(1, self.say("composite.heading"))
            yield Paragraph(self.say("composite.lead"))
        for number, repeated in enumerate(found, 1):
            yield from self.composite(number, repeated)
        yield from folded

    def composite(self, number: int, repeated: Repeated) -> Iterable[Block]:
        (outer, inner), *_ = repeated.uses
        composite, one = repeated.sample or repeated.composite, repeated.sample is not None
        composite_holds(composite, Subject("composite", number=number, form=repeated.form, one_sample=one))
        ids = (self.derivation.number(outer.lemma), self.derivation.number(inner.lemma))
        title = self.say(f"composite.title_{repeated.form}", number=str(number), outer=str(ids[0]), inner=str(ids[1]))
        yield Heading(2, title)
        numbers = self.alike(repeated.uses)
        names = self.names
        if len(numbers) > 1:
            names = names.relative(self.names.layer(inner.tensor) or 0)
            yield Paragraph(self.say("composite.lead_run", range=self.range(numbers)))
        jacobians = {
            (composite.outer.equation.tensor.name, composite.inner.equation.tensor.name): "g",
            (composite.inner.equation.tensor.name, composite.inner.wrt.tensor.name): "h",
        }
        names = replace(names if repeated.sample else names.of_batch(), jacobians=jacobians)
        rows: list[tuple[Formula | None, Formula, Text]] = []
        middle = self.math(composite.outer.pieces[0].equation.target, names=names)
        for position, step in enumerate(composite.steps):
            if position > 1 and step.rule in ATTACHED and self.detail != "full":
                rows[-1] = (rows[-1][0], self.math("=", step.after, names=names), rows[-1][2])
                continue
            if position == 0:
                reason = self.say("composite.inner", number=str(ids[1]))
            elif position == 1:
                reason = self.say("composite.outer", number=str(ids[0]), gradient=middle)
            else:
                reason = self.rule_reason(step, composite.inner, names)
            left = self.math(Component(adjoint_of(composite.target.tensor), composite.target.subscripts), names=names)
            rows.append((None if position else left, self.math("=", step.after, names=names), reason))
        holds = forms_hold(composite)
        gradient = Component(adjoint_of(composite.target.tensor), composite.target.subscripts)
        form = concise(gradient, composite.result) if holds else None
        if form is not None:
            check = shape_check(form.right)
            reason = self.say("composite.matrix_plain")
            if form.family == "planes":
                reason = self.planes_reason(form.right, composite.outer, names)
            elif check:
                reason = self.say("composite.matrix", check=self.math(check))
            rows.append((self.math(form.left, names=names), self.math("=", form.right, names=names), reason))
        yield Lines(tuple(Line(f"C{number}.{i}", *row) for i, row in enumerate(rows, 1)))
        if repeated.form != "map" or repeated.sample is None:
            return
        general = composite.jacobian[-1].after
        general_form = concise(gradient, general) if holds else None
        if general_form is None:
            return
        z, u, x = composite.outer.equation.tensor, composite.inner.equation.tensor, composite.target.tensor
        plain = replace(names, jacobians={}, signals={})
        places = {
            "jg": self.math(Jacobian(z, u), names=names), "dg": self.math(Jacobian(z, u), names=plain),
            "jh": self.math(Jacobian(u, x), names=names), "dh": self.math(Jacobian(u, x), names=plain),
        }
        if any(not t.shape for t in (z, u, x)):
            return
        mapping = {
            "g": self.math(whole(z), "=", "g(", whole(u), ")", names=names),
            "h": self.math(whole(u), "=", "h(", whole(x), ")", names=names),
        }
        yield Paragraph(self.say("composite.jacobian", **mapping, **places))
        start = self.math(composite.jacobian[0].before, names=plain)
        nabla = self.math(Nabla(adjoint_of(x)), names=plain)
        general_names = replace(plain, jacobians=jacobians)
        further = (
            (start, self.math("=", general, names=plain), self.say("composite.chain")),
            (nabla, self.math("=", general_form.right, names=general_names), self.say("composite.matrix_plain")),
        )
        yield Lines(tuple(Line(f"C{number}.{i}", *row) for i, row in enumerate(further, len(rows) + 1)))

    def alike(self, uses: Sequence[tuple[Use, Use]]) -> list[int]:
        """The layers in which the composite of the first uses is written the same, relative to their numbers."""
        found: dict[int, object] = {}
        for outer, inner in uses:
            number = self.names.layer(inner.tensor)
            if number is not None:
                involved = (*tensors_of(outer.equation), *tensors_of(inner.equation))
                found[number] = self.relative_names(involved, number)
        return [n for n, names in found.items() if names == next(iter(found.values()))]


def _joined(left: Formula, right: Formula) -> Formula:
    """left = right as one formula."""
    return Formula((*left.parts, *right.parts), right.names)


def _deeds(equation: Equation) -> Iterable[str]:
    """max routes, add distributes, multiply swaps; what a bounded function does near its limits."""
    value = equation.value
    if any(isinstance(node, Reduce) and node.kind == "max" for node in nodes(value)):
        yield "routes"
    alike = isinstance(value, Add) and all(
        isinstance(t, Component) and t.subscripts == equation.target.subscripts for t in value.terms
    )
    if alike:
        yield "adds"
    products = (node.factors for node in nodes(value) if isinstance(node, Multiply))
    if any(len({f.tensor for f in factors if isinstance(f, Component)}) > 1 for factors in products):
        yield "swaps"
    if any(isinstance(node, Apply) and node.function in ("sigmoid", "tanh") for node in nodes(value)):
        yield "saturates"


def _stated(lemma: Lemma) -> object:
    """What lemmas about one equation share."""
    *equation, _ = lemma.kind
    return tuple(equation), lemma.per_sample


def _symbol(tensor: Tensor) -> Part:
    return Component(LOSS, ()) if tensor == LOSS else whole(tensor)


def _derivatives(expr: Expr) -> Iterable[Derivative]:
    return (node for node in nodes(expr) if isinstance(node, Derivative))


def _reads(expr: Expr, tensor: Tensor) -> bool:
    return isinstance(expr, Component) and expr.tensor == tensor


def _reached(lemma: Lemma) -> Component:
    """The component of y that the chain rule's line sums over."""
    for node in _derivatives(lemma.steps[0].after):
        if isinstance(node.of, Component) and node.of.tensor == lemma.equation.tensor and node.wrt == lemma.wrt:
            return node.of
    return lemma.equation.target


def _split(target: Component, step: Step) -> tuple[Component, bool]:
    """The component differentiated by, after a step that writes an index of it in another form."""
    if step.split is None:
        return target, False
    index, affine = step.split
    return Component(target.tensor, tuple(s.substitute({index: affine}) for s in target.subscripts)), True
