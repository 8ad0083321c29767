"""A derivation as a document: headings, paragraphs, lines of a proof and tables, built once and printed
by every format.

Nothing is derived here: a printed line is a run of the trace's steps with one reason, a gradient is the
last line of its lemma, a matrix form is what `derive.matrix` recognises. The level of detail chooses how
steps are grouped into lines, never other steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from chainrule.derive import matrix as m
from chainrule.derive.adjoint import Derivation, Gradient, Use
from chainrule.derive.calculus import apply_law
from chainrule.derive.compose import Recurrence, compose, recurrences
from chainrule.derive.lemma import Lemma, adjoint_of, full_mapping, one_sample
from chainrule.derive.trace import LOSS, RULES, Setting, Step
from chainrule.errors import DerivationError
from chainrule.ir.expr import ZERO, Apply, Component, Delta, Derivative, Expr, Guard, Pad, Size, Tensor
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, kind, nodes, tensors
from chainrule.render.formula import Formula, Nabla, Part, affine_token, shape_check
from chainrule.render.names import Names, Symbol, names_of
from chainrule.render.prose import pieces, sentences

T = TypeVar("T")
Detail = Literal["brief", "standard", "full"]
DETAILS: tuple[Detail, ...] = ("brief", "standard", "full")


@dataclass(frozen=True, slots=True)
class Code:
    """A name as it stands in a program."""

    text: str


Inline = str | Formula | Code
Text = tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: Text


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Text


@dataclass(frozen=True, slots=True)
class Line:
    """left = right, and why; a line without `left` continues the one above."""

    number: str
    left: Formula | None
    right: Formula
    reason: Text


@dataclass(frozen=True, slots=True)
class Lines:
    lines: tuple[Line, ...]


Cell = tuple[Text, ...]
"""The lines of a table's cell."""


@dataclass(frozen=True, slots=True)
class Table:
    header: tuple[Text, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[Text, ...]


Block = Heading | Paragraph | Lines | Table | Items


@dataclass(frozen=True, slots=True)
class Document:
    language: str
    title: str
    blocks: tuple[Block, ...]


def formulas(document: Document) -> Iterable[Formula]:
    """Every formula of a document, in order."""
    for block in document.blocks:
        match block:
            case Heading(text=text) | Paragraph(text=text):
                texts: Iterable[Text] = (text,)
            case Items(items=texts):
                pass
            case Lines(lines=lines):
                texts = ((*((x.left,) if x.left else ()), x.right, *x.reason) for x in lines)
            case Table(header=header, rows=rows):
                texts = (*header, *(t for row in rows for cell in row for t in cell))
        for text in texts:
            yield from (part for part in text if isinstance(part, Formula))


def build(derivation: Derivation, language: str, detail: str) -> Document:
    """The document of a derivation. Raises DerivationError for an unknown language or level of detail."""
    if detail not in DETAILS:
        raise DerivationError(f"there is no level of detail {detail!r}", fix="one of " + ", ".join(DETAILS))
    writer = _Writer(derivation, language, detail)
    blocks = (*writer.network(), *writer.notation(), *writer.lemmas(), *writer.composites(), *writer.backward())
    return Document(language, sentences(language)["document.title"], blocks)


# --- which steps make a line --------------------------------------------------------------------

GROUPS: dict[str, str] = {
    "chain": "chain", "error_signal": "definition", "definition": "definition",
    "derivative.sum": "linearity", "derivative.reduction": "linearity", "derivative.product": "linearity",
    "derivative.independent": "linearity", "derivative.power": "power", "derivative.function": "function",
    "derivative.max": "max", "derivative.logsumexp": "logsumexp", "derivative.component": "component",
    "distribute": "distribute", "bracket": "bracket", "single": "bracket", "split": "split", "residues": "split",
    "radix": "split", "solve": "solve", "padding": "padding", "range": "padding", "law": "law", "reuse": "reuse",
    "collect": "algebra", "take_out": "algebra", "like_terms": "algebra", "constants": "algebra",
    "associate": "algebra", "zero": "algebra", "unit": "algebra", "cite": "cite",
}
ATTACHED = frozenset({"zero", "unit", "associate", "constants"})
"""Rules that only tidy: their steps belong to the line before."""
DERIVATIVES = frozenset({"linearity", "independent", "power", "function", "max", "logsumexp", "component"})
MERGES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"law"}), frozenset({"reuse", "algebra"})),
    (frozenset({"reuse", "algebra"}), frozenset({"algebra", "reuse"})),
    (frozenset({"solve"}), frozenset({"padding"})),
    (DERIVATIVES - {"component"}, DERIVATIVES - {"component"}),
    (frozenset({"bracket", "split"}), frozenset({"bracket", "split"})),
    (DERIVATIVES, DERIVATIVES),
    (frozenset({"law", "reuse"}), frozenset({"reuse", "algebra", "law"})),
    (frozenset({"solve", "padding", "bracket"}), frozenset({"solve", "padding", "algebra"})),
)
"""Which neighbouring lines become one, in this order, where a lemma has more lines than it may."""
LIMIT = 7


@dataclass
class Run:
    """Steps that make one line, and their reasons in order."""

    reasons: list[str]
    steps: list[Step]


def group(steps: Sequence[Step], detail: Detail, limit: int) -> list[Run]:
    """Steps as lines: each its own in full; else by reason, at most `limit` where merging can do it."""
    runs: list[Run] = []
    rules = [step.rule for step in steps]
    for position, step in enumerate(steps):
        if detail == "full":
            runs.append(Run([step.rule], [step]))
            continue
        name = GROUPS[step.rule]
        if step.rule == "derivative.independent" and any(node is ZERO for node in nodes(step.after)):
            # Its zeros are cleared by a later step: the lines part so that none of them is printed.
            name = "linearity" if rules[position + 1 : position + 2] == ["zero"] else "independent"
        if runs and name == "bracket" and runs[-1].reasons == ["distribute"]:
            runs[-1] = Run([name], [*runs[-1].steps, step])
        elif runs and (step.rule in ATTACHED or runs[-1].reasons[-1] in (name, "independent")):
            runs[-1].steps.append(step)
            if name != runs[-1].reasons[-1] and step.rule not in ATTACHED:
                runs[-1].reasons.append(name)
        else:
            runs.append(Run([name], [step]))
    if detail == "full":
        return runs
    for first, second in MERGES:
        position = 1
        while len(runs) > limit and position < len(runs):
            before, run = runs[position - 1], runs[position]
            if before.reasons[-1] in first and run.reasons[0] in second:
                before.steps.extend(run.steps)
                before.reasons.extend(r for r in run.reasons if r not in before.reasons)
                del runs[position]
            else:
                position += 1
    return runs


# --- writing ------------------------------------------------------------------------------------


class _Writer:
    """Builds the blocks. `say` puts names into the sentences of the language."""

    def __init__(self, derivation: Derivation, language: str, detail: Detail) -> None:
        self.derivation = derivation
        self.detail: Detail = detail
        self.names = names_of(derivation)
        self.batch = self.names.of_batch()
        self.sentences = sentences(language)
        self.layers = max((n for t in derivation.forward.defined if (n := self.names.layer(t))), default=0)

    def say(self, key: str, **places: Inline | Text) -> Text:
        result: list[Inline] = []
        for text, place in pieces(self.sentences[key]):
            if text:
                result.append(text)
            if place is not None:
                value = places[place]
                result.extend(value if isinstance(value, tuple) else (value,))
        return tuple(result)

    def join(self, texts: Iterable[Text], key: str = "document.comma") -> Text:
        result: list[Inline] = []
        for text in texts:
            result.extend((self.sentences[key], *text) if result else text)
        return tuple(result)

    def math(self, *parts: Part, names: Names | None = None) -> Formula:
        return Formula(parts, names or self.names)

    def range(self, first: int, last: int) -> Formula:
        return self.math(f"ℓ = {first}, …, {last}" if last - first > 1 else f"ℓ = {first}, {last}")

    # The network ----------------------------------------------------------------------------------

    def network(self) -> Iterable[Block]:
        equations = self.derivation.forward.equations
        single = len(equations) == 1
        yield Heading(1, self.say("network.equation_heading" if single else "network.heading"))
        yield Paragraph(self.say("network.equation_lead" if single else "network.lead"))
        rows: list[tuple[Cell, ...]] = []
        for first, last, members, names in self.blocks(equations):
            for equation in members:
                code: Text = (Code(equation.tensor.name),)
                if last != first:
                    code = self.say("network.layers", range=self.range(first, last))
                rows.append(((code,), *self.both_forms(equation, names)))
        yield Table((self.say("network.code"), self.say("network.components"), self.say("network.matrix")), tuple(rows))
        if self.names.given:
            for equation in equations:
                if adjoint_of(equation.tensor) in self.derivation.backward.inputs:
                    y = equation.target
                    signal = Derivative(Component(LOSS, ()), y)
                    yield Paragraph(
                        self.say(
                            "network.equation_signal", signal=self.math(signal), loss=self.math(Component(LOSS, ())),
                            y=self.math(m.Symbol(y.tensor)),
                        )
                    )

    def both_forms(self, equation: Equation, names: Names) -> tuple[Cell, Cell]:
        """The equation by components and, where it has one, in matrix form; for one sample where it can be."""
        sample = one_sample(equation)
        view = names.of_batch() if coupled(equation) else names
        shown = sample or equation
        components_form = self.math(shown.target, "=", shown.value, names=view)
        form = matrix_form(shown)
        if form is None:
            return ((components_form,),), ()
        return ((components_form,),), ((self.math(m.Symbol(shown.tensor), "=", form, names=view),),)

    def blocks(self, equations: Sequence[Equation]) -> Iterable[tuple[int, int, list[Equation], Names]]:
        """The equations layer by layer; a run of equal layers once, with ℓ for their numbers."""
        layers: list[tuple[int, list[Equation]]] = []
        for equation in equations:
            number = self.names.layer(equation.tensor) or 0
            if layers and layers[-1][0] == number:
                layers[-1][1].append(equation)
            else:
                layers.append((number, [equation]))

        def signature(entry: tuple[int, list[Equation]]) -> object:
            number, members = entry
            return tuple((kind(e.value, e.indices), self.relative_names(_of(e), number)) for e in members)

        for run in runs_of(layers, signature):
            first, last = run[0][0], run[-1][0]
            if first != last:
                yield first, last, run[0][1], self.names.relative(first)
            else:
                yield first, last, run[0][1], self.names

    def relative_names(self, involved: Iterable[Tensor], number: int) -> tuple[Symbol | None, ...]:
        """The symbols of tensors as they are written from layer `number`."""
        names = self.names.relative(number)
        return tuple(names.symbol(t) if t.name in names.symbols else None for t in involved)

    # Notation -------------------------------------------------------------------------------------

    def notation(self) -> Iterable[Block]:
        program = self.derivation.forward
        yield Heading(1, self.say("notation.heading"))
        scalar = Component(LOSS, ())
        given = self.names.given
        items: list[Text] = []
        if any(SAMPLES in t.shape for t in (*program.given, *program.defined)):
            n, size = self.math("n"), self.math(Size(SAMPLES))
            if given or any(one_sample(e) for e in program.equations):
                one, all_ = self.math(scalar), self.math(scalar, names=self.batch)
                items.append(self.say("notation.samples", n=n, N=size, sample_loss=one, batch_loss=all_))
            else:
                items.append(self.say("notation.coupled", n=n, N=size))
        if given:
            items.append(self.say("notation.given", loss=self.math(scalar)))
        if self.layers:
            items.append(self.say("notation.layers", l=self.math("ℓ")))
        v = Tensor("v", (1,))
        view = replace(
            self.names, symbols={**self.names.symbols, "v": Symbol("v")},
            adjoints={**self.names.adjoints, adjoint_of(v).name: ("v", "")}, signals={}, bare=frozenset({"v"}),
        )
        items.append(
            self.say(
                "notation.gradient", nabla=self.math(Nabla(adjoint_of(v)), names=view),
                v=self.math(m.Symbol(v), names=view), loss=self.math(scalar),
            )
        )
        for equation in program.equations:
            if self.layers and adjoint_of(equation.tensor).name in self.names.signals:
                number = self.names.layer(equation.tensor)
                gradient = Nabla(adjoint_of(equation.tensor))
                local = self.names.relative(number or 0)
                delta, loss = self.math(gradient, names=local), self.math(scalar)
                items.append(self.say("notation.signal", delta=delta, l=self.math("ℓ"), loss=loss))
                items.append(self.say("notation.signal_batch", capital=self.math(gradient, names=local.of_batch())))
                break
        i, k = Index("i", 2), Index("k", 2)
        bracket = Delta(Affine.of(k), Affine.of(i))
        items.append(self.say("notation.bracket", bracket=self.math(bracket), k=self.math("k"), i=self.math("i")))
        items.append(self.say("notation.primes", i=self.math("i"), i1=self.math("i′"), i2=self.math("i″")))
        items.append(self.say("notation.hadamard"))
        yield Items(tuple(items))
        yield from self.symbols()

    def symbols(self) -> Iterable[Block]:
        """The table of given tensors: symbol, name in code, shape; many with one letter share a row."""
        by_stem: dict[str, list[Tensor]] = {}
        for tensor in self.derivation.forward.given:
            by_stem.setdefault(self.names.symbol(tensor).stem, []).append(tensor)
        rows: list[tuple[Cell, ...]] = []
        for group_ in by_stem.values():
            if len(group_) > 4:
                ends = (group_[0], group_[-1])
                symbol: Text = (self.math(m.Symbol(ends[0]), ", …, ", m.Symbol(ends[1])),)
                code: Text = (Code(ends[0].name), ", …, ", Code(ends[1].name))
                shapes = {t.shape for t in group_}
                rows.append(((symbol,), (code,), ((shape_text(group_[0]) if len(shapes) == 1 else "…",),)))
            else:
                rows.extend(
                    (((self.math(m.Symbol(t)),),), ((Code(t.name),),), ((shape_text(t),),)) for t in group_
                )
        if rows:
            header = (self.say("notation.symbol"), self.say("notation.code"), self.say("notation.shape"))
            yield Table(header, tuple(rows))

    # Lemmas ---------------------------------------------------------------------------------------

    def lemmas(self) -> Iterable[Block]:
        if not self.derivation.lemmas:
            return
        yield Heading(1, self.say("lemma.heading"))
        yield Paragraph(self.say("lemma.lead"))
        for number, lemma in enumerate(self.derivation.lemmas, 1):
            yield from self.lemma(number, lemma)

    def local(self, lemma: Lemma) -> Names:
        involved = (*_of(lemma.equation), *(t for e in (*lemma.facts, *lemma.auxiliary) for t in _of(e)))
        names = self.names.local(involved, lemma.error_signal)
        return names.of_batch() if coupled(lemma.equation) else names

    def lemma(self, number: int, lemma: Lemma) -> Iterable[Block]:
        shown = lemma.sample or lemma
        names = self.local(lemma)
        y, x, equation = shown.equation.tensor, shown.wrt.tensor, shown.equation
        ends = {"y": self.math(_symbol(y), names=names), "x": self.math(m.Symbol(x), names=names)}
        yield Heading(2, self.say("lemma.title", number=str(number), **ends))
        stated = self.math(equation.target, "=", equation.value, names=names)
        wanted = self.math(shown.start, names=names)
        if names.is_loss(y):
            yield Paragraph(self.say("lemma.given_loss", equation=stated, gradient=wanted))
        else:
            signal = self.math(Component(shown.error_signal, equation.target.subscripts), names=names)
            yield Paragraph(self.say("lemma.given", equation=stated, signal=signal, gradient=wanted))
        if coupled(lemma.equation):
            if y == LOSS:
                yield Paragraph(self.say("lemma.batch_loss"))
            else:
                yield Paragraph(self.say("lemma.coupled", n=self.math("n")))
        yield Lines(tuple(self.lemma_lines(str(number), lemma, shown, names)))
        yield from map(Paragraph, self.notes(shown, names))

    def lemma_lines(self, number: str, lemma: Lemma, shown: Lemma, names: Names) -> Iterable[Line]:
        closing = [*self.matrix_line(shown, names), *(self.batch_line(lemma, names) if lemma.sample else ())]
        rows = [*self.proof(shown, names, LIMIT - len(closing)), *closing]
        for position, (left, right, reason) in enumerate(rows, 1):
            yield Line(f"{number}.{position}", left, right, reason)

    def proof(self, shown: Lemma, names: Names, limit: int) -> Iterable[tuple[Formula | None, Formula, Text]]:
        """The lines from ∂ℓ/∂x to the result, piece by piece where the gradient has several."""
        single = len(shown.pieces) == 1
        steps = shown.all_steps if single else shown.steps
        runs = group(steps, self.detail, limit if single else max(limit - len(shown.pieces), 4))
        target = shown.wrt
        left: Formula | None = self.math(shown.start, names=names)
        for position, run in enumerate(runs):
            for step in run.steps:
                target, changed = _split(target, step)
                left = self.math(Derivative(Component(LOSS, ()), target), names=names) if changed else left
            if self.detail != "brief" or position == 0 or (single and position == len(runs) - 1):
                yield left, self.math("=", run.steps[-1].after, names=names), self.reason(run, shown, names)
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

    def matrix_line(self, shown: Lemma, names: Names) -> Iterable[tuple[Formula, Formula, Text]]:
        if len(shown.pieces) != 1 or (form := matrix_form(shown.pieces[0].equation)) is None:
            return
        check = shape_check(form)
        reason = self.say("lemma.checked", check=self.math(check)) if check else self.say("lemma.matrix")
        yield self.math(Nabla(adjoint_of(shown.wrt.tensor)), names=names), self.math("=", form, names=names), reason

    def batch_line(self, lemma: Lemma, names: Names) -> Iterable[tuple[Formula, Formula, Text]]:
        if len(lemma.pieces) != 1:
            return
        batch = names.of_batch()
        size = self.math(Size(SAMPLES))
        signal = names.signal(lemma.error_signal)
        capital = self.math(Nabla(lemma.error_signal), names=batch)
        equation = lemma.pieces[0].equation
        form = matrix_form(equation)
        if form is not None and signal:
            key = "lemma.batch_rows" if self.names.given else "lemma.batch_signal"
            reason = self.say(key, N=size, capital=capital)
        else:
            reason = self.say("lemma.batch", N=size)
        left, right = (equation.target, equation.value) if form is None else (Nabla(equation.tensor), form)
        yield self.math(left, names=batch), self.math("=", right, names=batch), reason

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
            "x": self.math(x, names=names), "X": self.math(m.Symbol(x.tensor), names=names),
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
        if name == "linearity":
            others = [t for t in tensors(shown.equation.value) if t != shown.wrt.tensor]
            if others:
                places["others"] = self.join((self.math(m.Symbol(t), names=names),) for t in others)
                name = "linearity_others" if len(others) > 1 else "linearity_other"
        return self.say(f"group.{name}", **places)

    def rule_reason(self, step: Step, shown: Lemma, names: Names) -> Text:
        return self.say(f"rule.{step.rule}", **self.places([step], shown, names))

    def notes(self, shown: Lemma, names: Names) -> Iterable[Text]:
        """Conventions that act in this lemma, and what a bar above a letter means."""
        written = [s.after for s in shown.all_steps]
        for equation in shown.auxiliary:
            position = self.math(m.Symbol(equation.tensor), names=names)
            stated = self.math(equation.target, "=", equation.value, names=names)
            yield self.say("note.argmax", position=position, equation=stated)
            yield self.say("note.window")
        found = {f.function for e in written for f in nodes(e) if isinstance(f, Apply)}
        for function, key in (("relu", "note.relu"), ("step", "note.step"), ("max", "note.max")):
            if any(split_derivative(f) in ((function, 0), (function, 1)) for f in found):
                yield self.say(key)
        padded: dict[tuple[Tensor, Pad], None] = dict.fromkeys(
            (c.tensor, c.pad)
            for e in (shown.equation.value, *written, *(a.value for a in shown.auxiliary))
            for c in components(e) if c.pad is not None
        )
        for tensor, pad in padded:
            letter = Tensor(tensor.name, ())
            component, bare = Component(letter, (), pad), Component(letter, ())
            if pad == "-inf":
                yield self.say("note.never", read=self.math(component, names=names), x=self.math(bare, names=names))
            else:
                value = self.math(str(pad).replace("-", "−"))
                yield self.say(
                    "note.padding", read=self.math(component, names=names), x=self.math(bare, names=names), value=value
                )
        y = shown.equation.target
        if names.is_loss(y.tensor) and not y.subscripts and shown.error_signal in tensors(written[-1]):
            seed = Derivative(Component(LOSS, ()), y)
            yield self.say("note.seed", seed=self.math(seed, names=names))

    # Composites -----------------------------------------------------------------------------------

    def composites(self) -> Iterable[Block]:
        found = recurrences(self.derivation)
        if not found:
            return
        yield Heading(1, self.say("composite.heading"))
        yield Paragraph(self.say("composite.lead"))
        for number, recurrence in enumerate(found, 1):
            yield from self.composite(number, recurrence)

    def composite(self, number: int, recurrence: Recurrence) -> Iterable[Block]:
        (outer, inner), *_ = recurrence.uses
        a, b = outer.instance.sample, inner.instance.sample
        composite = compose(a, b) if a and b else recurrence.composite
        ids = (self.derivation.number(outer.lemma), self.derivation.number(inner.lemma))
        title = self.say("composite.title", number=str(number), outer=str(ids[0]), inner=str(ids[1]))
        yield Heading(2, title)
        numbers = [n for _, use in recurrence.uses if (n := self.names.layer(use.tensor)) is not None]
        names = self.names
        if len(numbers) > 1:
            names = names.relative(self.names.layer(inner.tensor) or 0)
            yield Paragraph(self.say("composite.lead_run", range=self.range(min(numbers), max(numbers))))
        jacobians = {
            (composite.outer.equation.tensor.name, composite.inner.equation.tensor.name): "g",
            (composite.inner.equation.tensor.name, composite.inner.wrt.tensor.name): "h",
        }
        names = replace(names, jacobians=jacobians) if a and b else replace(names.of_batch(), jacobians=jacobians)
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
        form = m.recognise(composite.result, composite.target.free)
        if form is not None:
            check = shape_check(form)
            plain_reason = self.say("composite.matrix_plain")
            reason = self.say("composite.matrix", check=self.math(check)) if check else plain_reason
            left = self.math(Nabla(adjoint_of(composite.target.tensor)), names=names)
            rows.append((left, self.math("=", form, names=names), reason))
        yield Lines(tuple(Line(f"C{number}.{i}", *row) for i, row in enumerate(rows, 1)))
        if not (a and b):
            return
        general = composite.jacobian[-1].after
        general_form = m.recognise(general, composite.target.free)
        if general_form is None:
            return
        z, u, x = composite.outer.equation.tensor, composite.inner.equation.tensor, composite.target.tensor
        plain = replace(names, jacobians={}, signals={})
        places = {
            "jg": self.math(m.Jacobian(z, u), names=names), "dg": self.math(m.Jacobian(z, u), names=plain),
            "jh": self.math(m.Jacobian(u, x), names=names), "dh": self.math(m.Jacobian(u, x), names=plain),
        }
        if any(not t.shape for t in (z, u, x)):
            return
        mapping = {
            "g": self.math(m.Symbol(z), "=", "g(", m.Symbol(u), ")", names=names),
            "h": self.math(m.Symbol(u), "=", "h(", m.Symbol(x), ")", names=names),
        }
        yield Paragraph(self.say("composite.jacobian", **mapping, **places))
        start = self.math(composite.jacobian[0].before, names=plain)
        nabla = self.math(Nabla(adjoint_of(x)), names=plain)
        general_names = replace(plain, jacobians=jacobians)
        further = (
            (start, self.math("=", general, names=plain), self.say("composite.chain")),
            (nabla, self.math("=", general_form, names=general_names), self.say("composite.matrix_plain")),
        )
        yield Lines(tuple(Line(f"C{number}.{i}", *row) for i, row in enumerate(further, len(rows) + 1)))

    # The backward pass ----------------------------------------------------------------------------

    def backward(self) -> Iterable[Block]:
        derivation = self.derivation
        single = len(derivation.forward.equations) == 1
        yield Heading(1, self.say("backward.result" if single else "backward.heading"))
        lead = "backward.lead_given" if derivation.loss is None else "backward.lead"
        yield Paragraph(self.say(lead))
        if derivation.loss is not None:
            seed = Derivative(Component(LOSS, ()), Component(LOSS, ()))
            seeds = [self.math(seed, names=self.batch)]
            if any(self.names.is_loss(t) and t != LOSS for t in derivation.forward.defined):
                seeds.append(self.math(seed))
            yield Paragraph(self.say("backward.start", seed=self.join((s, " = 1") for s in seeds)))
        header = (self.say("backward.explanation"), self.say("backward.detailed"), self.say("backward.concise"))
        number = 0
        for run in runs_of(self.pages(), self.page_signature):
            page, rows = run[0]
            names = self.names if len(run) == 1 else self.names.relative(page)
            if len(run) > 1:
                numbers = [p for p, _ in run]
                yield Heading(2, self.say("backward.layers", range=self.range(min(numbers), max(numbers))))
            elif page > 0 and self.layers:
                yield Heading(2, (*self.say("backward.layer", number=str(page)), *self.labels(page)))
            elif self.layers:
                yield Heading(2, self.say("backward.others" if page == self.LAST else "backward.before"))
            cells: list[tuple[Cell, ...]] = []
            batch: list[Text] = []
            for row in rows:
                number += 1
                cells.append(row.cells(self, f"({number}) ", names))
                batch.extend(row.batch(self, names))
            if batch:
                cells.append(((self.say("backward.batch", N=self.math(Size(SAMPLES))),), (), tuple(batch)))
            yield Table(header, tuple(cells))

    def labels(self, number: int) -> Text:
        """The names of the layers that share a number: · dense1 + sigmoid1."""
        own = [e.tensor.name for e in self.derivation.forward.equations if self.names.layer(e.tensor) == number]
        labels = dict.fromkeys(self.derivation.layers[name] for name in own if name in self.derivation.layers)
        return tuple(part for n, label in enumerate(labels) for part in (" + " if n else " · ", Code(label)))

    LAST = -1
    """The page of equations that belong to no layer, such as the loss."""

    def pages(self) -> list[tuple[int, list[_Row]]]:
        """The rows of the backward pass, grouped by the layer of the equation they go through."""
        order = {e.tensor: n for n, e in enumerate(self.derivation.forward.equations)}
        parameters = self.derivation.forward.parameters
        rows: list[tuple[int, tuple[int, int, int], _Row]] = []
        for place, part in enumerate(self.derivation.parts.values()):
            late = part.tensor not in parameters and part.tensor not in order
            for share, use in enumerate(part.uses, 1):
                key = (-order[use.equation.tensor], 2 if part.tensor not in parameters else 1, place)
                rows.append((self.page(use.equation.tensor), key, _Row(part, use, share)))
            if part.sum is not None or not part.uses:
                last = part.uses[-1].equation.tensor if part.uses else part.tensor
                key = (-order.get(last, -len(order)), 3 if late else 2, place + len(order))
                rows.append((self.page(last), key, _Row(part, None, 0)))
        pages: dict[int, list[_Row]] = {}
        for page, _, row in sorted(rows, key=lambda r: r[1]):
            pages.setdefault(page, []).append(row)
        return list(pages.items())

    def page(self, tensor: Tensor) -> int:
        number = self.names.layer(tensor)
        return self.LAST if number is None else number

    def page_signature(self, entry: tuple[int, list[_Row]]) -> object:
        page, rows = entry
        result: list[object] = []
        for row in rows:
            involved = (row.part.tensor, *(_of(row.use.equation) if row.use else ()))
            cited = self.derivation.number(row.use.lemma) if row.use else len(row.part.uses)
            result.append((cited, row.use is None, row.share, self.relative_names(involved, page)))
        return page < 1 and page, tuple(result)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the backward pass: a use of a tensor, or (without one) the sum over its uses."""

    part: Gradient
    use: Use | None
    share: int

    def results(self, batch: bool) -> tuple[Equation, ...]:
        """The last lines of the lemma in this use's tensors: for one sample where there is such a form."""
        if self.use is None:
            if self.part.sum is None:
                return ()
            sample = None if batch else one_sample(self.part.sum)
            return (sample or self.part.sum,)
        lemma = self.use.lemma.sample
        if batch or lemma is None:
            return self.use.equations
        mapping = {_without_samples(a): _without_samples(b) for a, b in self.use.mapping.items()}
        full = full_mapping(lemma, mapping)
        gradient = _without_samples(self.use.contribution)
        placed = (p.equation.over(full) for p in lemma.pieces)
        return tuple(Equation(Component(gradient, e.target.subscripts), e.value) for e in placed)

    def per_sample(self) -> bool:
        if self.use is not None:
            return self.use.lemma.sample is not None
        return all(use.lemma.sample is not None for use in self.part.uses)

    def cells(self, writer: _Writer, number: str, names: Names) -> tuple[Cell, ...]:
        per_sample = self.per_sample()
        reads = self.use.equation if self.use else None
        samples = any(coupled(e) for e in ((reads,) if reads else (use.equation for use in self.part.uses)))
        view = names.of_batch() if samples else names
        results = self.results(batch=not per_sample)
        form = matrix_form(results[0]) if len(results) == 1 else None
        detailed = tuple((writer.math(e.target, "=", e.value, names=view),) for e in results)
        concise: Cell = ()
        if form is not None:
            concise = ((writer.math(Nabla(results[0].tensor), "=", form, names=view),),)
        return ((number, *self.explanation(writer, results, form, view)),), detailed, concise

    def batch(self, writer: _Writer, names: Names) -> Iterable[Text]:
        """The matrix form for all samples, where the row speaks of one."""
        if not self.per_sample() or not (results := self.results(batch=True)):
            return
        form = matrix_form(results[0]) if len(results) == 1 else None
        if form is not None:
            yield (writer.math(Nabla(results[0].tensor), "=", form, names=names.of_batch()),)

    def explanation(self, writer: _Writer, results: Sequence[Equation], form: m.Matrix | None, names: Names) -> Text:
        x = self.part.tensor
        letter = writer.math(m.Symbol(x), names=names)
        if self.use is None:
            if not self.part.uses:
                return writer.say("backward.unused", x=letter)
            return writer.say("backward.sum", x=letter, count=str(len(self.part.uses)))
        parts = [self.citation(writer, self.use, names)]
        if len(self.part.uses) > 1:
            parts.append(writer.say("backward.share", number=str(self.share), count=str(len(self.part.uses))))
        if len(results) > 1:
            parts.append(writer.say("backward.classes"))
        parts.extend(self.paths(writer, self.use, results, names))
        if form is not None and (weight := _transposed(form, self.use)) is not None:
            parts.append(writer.say("backward.transpose", W=writer.math(m.Symbol(weight), names=names)))
        return writer.join(parts, "document.semicolon")

    def citation(self, writer: _Writer, use: Use, names: Names) -> Text:
        """Lemma 3 with W^[2] for W: the tensor differentiated by, and those that have another letter here."""
        number = writer.derivation.number(use.lemma)
        stated = writer.derivation.lemmas[number - 1]
        local = writer.local(stated)
        there = local.of_batch() if names.batch else local
        swaps: list[Text] = []
        read = {t for piece in stated.pieces for t in tensors(piece.equation.value)} | {stated.wrt.tensor}
        for old, new in dict.fromkeys(zip(_of(stated.equation), _of(use.equation), strict=True)):
            if old == LOSS or there.symbol(old) == names.symbol(new):
                continue
            own = new == self.part.tensor and new in writer.derivation.forward.parameters
            if own or (old in read and there.symbol(old).stem != names.symbol(new).stem):
                pair = {
                    "old": writer.math(m.Symbol(old), names=there), "new": writer.math(m.Symbol(new), names=names),
                }
                swaps.append(writer.say("backward.for", **pair))
        if not swaps:
            return writer.say("backward.by", number=str(number))
        return writer.say("backward.by_with", number=str(number), substitution=writer.join(swaps))

    def paths(self, writer: _Writer, use: Use, results: Sequence[Equation], names: Names) -> Iterable[Text]:
        """Why a sum over components of y stands in the result, or none."""
        if len(results) != 1:
            return
        (result,) = results
        signal = adjoint_of(use.equation.tensor)
        reads = [c for c in components(result.value) if c.tensor.name == signal.name]
        if len(reads) != 1 or not reads[0].subscripts:
            return
        y = Component(Tensor(use.equation.tensor.name, reads[0].tensor.shape), reads[0].subscripts)
        x = Component(Tensor(use.tensor.name, result.tensor.shape), result.target.subscripts)
        summed = [i for i in reads[0].free if i not in result.indices]
        places = {"x": writer.math(x, names=names), "y": writer.math(y, names=names)}
        if not summed:
            own = reads[0].subscripts == result.target.subscripts
            yield writer.say("backward.own") if own else writer.say("backward.once", **places)
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


# --- small facts --------------------------------------------------------------------------------


def matrix_form(equation: Equation) -> m.Matrix | None:
    """The matrix form of an equation with plain subscripts, or None."""
    indices = [s.plain for s in equation.target.subscripts]
    plain = [i for i in indices if i is not None]
    return m.recognise(equation.value, plain) if len(plain) == len(indices) else None


def runs_of(
    entries: Sequence[tuple[int, T]], signature: Callable[[tuple[int, T]], object]
) -> list[list[tuple[int, T]]]:
    """Entries of neighbouring numbers and equal signature together, where there are three or more."""
    runs: list[list[tuple[int, T]]] = []
    last: object = None
    for entry in entries:
        own = signature(entry)
        if runs and own == last and abs(entry[0] - runs[-1][-1][0]) == 1:
            runs[-1].append(entry)
        else:
            runs.append([entry])
        last = own
    return [part for run in runs for part in ([run] if len(run) > 2 else [[e] for e in run])]


def coupled(equation: Equation) -> bool:
    """Whether an equation takes samples together, so that it has no form for one of them."""
    return any(SAMPLES in t.shape for t in _of(equation)) and one_sample(equation) is None


def shape_text(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "1"


def _of(equation: Equation) -> tuple[Tensor, ...]:
    return tuple(dict.fromkeys((equation.tensor, *tensors(equation.value))))


def _symbol(tensor: Tensor) -> Part:
    return Component(LOSS, ()) if tensor == LOSS else m.Symbol(tensor)


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


def _without_samples(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tuple(e for e in tensor.shape if e != SAMPLES), tensor.dtype)


def _transposed(form: m.Matrix, use: Use) -> Tensor | None:
    """The weight that the equation reads and the form reads transposed, if any."""
    match form:
        case m.Transpose(of=m.Symbol(tensor=tensor)):
            weight = any(t.name == tensor.name and SAMPLES not in t.shape for t in tensors(use.equation.value))
            return tensor if weight and len(tensor.shape) == 2 and tensor.name != use.tensor.name else None
        case m.Product(left=left, right=right):
            return _transposed(left, use) or _transposed(right, use)
        case m.Scale(of=of):
            return _transposed(of, use)
        case _:
            return None
