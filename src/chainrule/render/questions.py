"""Questions about a derivation. Every answer is computed: from its lines, from those of a network that differs in one
thing, or from what the program gives at random points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.derive.variant import activation, by_alone, with_decay, with_function, with_sum
from chainrule.forms import whole
from chainrule.ir.expr import LOSS, Add, Component, Expr, Reduce, Tensor, is_position
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, components, nodes
from chainrule.render.backward import Backward, Row, transposed
from chainrule.render.concise import shape_check
from chainrule.render.document import Block, Cell, Heading, Inline, Paragraph, Table, Text
from chainrule.render.formula import Formula, Nabla
from chainrule.render.overview import shape_text
from chainrule.render.pieces import affine_token
from chainrule.render.sample import range_of

Level = Literal[1, 2, 3]
LEVELS: tuple[Level, ...] = (1, 2, 3)
"""The lemmas are given, and applied; derived, with reasons as hints; derived without."""
OTHER = {"tanh": "sigmoid"}
"""What an activation is replaced by, where it is not tanh."""
DECAY = Fraction(1, 10)
FAINT, NOISE = 1e-9, 1e-12
"""What rounding may make of a difference that is 0, in parts of the value; of a gradient, in parts of the largest."""
POINTS, EXTENT = 3, 4
"""Random points; samples, and entries of any other axis without a number, at each."""
FEW, MANY = 6, 12
"""Parameters and lines up to which each is printed; gradients up to which each is named."""


@dataclass(frozen=True)
class Question:
    """`level` is the first one that it is asked at."""

    level: Level
    text: Text
    answer: Cell


class Questions(Backward):
    """What a network's lines say, and what they would be if it were another."""

    def section(self, level: Level) -> Iterable[Block]:
        asked = [q for q in self.questions() if q.level <= level]
        if asked:
            yield Heading(1, self.say("question.heading"))
            yield Paragraph(self.say("question.lead"))
            rows = (((self.join(((f"{n}.",), q.text), "question.space"),), q.answer) for n, q in enumerate(asked, 1))
            yield Table((self.say("question.question"), self.say("question.answer")), tuple(rows))

    def questions(self) -> Iterable[Question]:
        yield from self.learnt()
        yield from self.kept()
        yield from self.another_function()
        yield from self.reached()
        yield from self.frozen()
        yield from self.sum_for_mean()
        yield from self.decay()
        yield from self.transpose()
        yield from self.turned()
        yield from self.all_zero()

    # --- read off ---------------------------------------------------------------------------------

    def learnt(self) -> Iterable[Question]:
        """How many numbers the parameters have."""
        parameters = self.derivation.forward.parameters
        counts = [prod(e for e in t.shape if isinstance(e, int)) for t in parameters]
        if not parameters or any(isinstance(e, str) for t in parameters for e in t.shape):
            return
        lines: list[Text] = []
        if len(parameters) <= FEW:
            for tensor, count in zip(parameters, counts, strict=True):
                shape = f" = {count:,}" if len(tensor.shape) > 1 else ""
                lines.append((self.math(whole(tensor)), self.sentences["question.colon"], shape_text(tensor), shape))
        total = self.say("question.total", count=f"{sum(counts):,}", tensors=str(len(counts)))
        yield Question(1, self.say("question.learnt"), (*lines, *([total] if len(counts) > 1 else [])))

    def kept(self) -> Iterable[Question]:
        """What of the forward pass the lines read."""
        own = {e.tensor for _, row in self.numbered for e in row.results(batch=True)}
        read = {t for _, row in self.numbered for e in row.results(batch=True) for t in e.value.tensors} - own
        forward = [t for t in self.derivation.forward.defined if t not in self.running]
        kept = [t for t in forward if t in read]
        gone = [t for t in forward if t not in read and not is_position(t)]
        given = [t for t in self.derivation.forward.given if t in read]
        if forward and (kept or given):
            answer = [self.say("question.read", these=self.symbols_of([*given, *kept]))]
            answer += [self.say("question.unread", these=self.symbols_of(gone))] if gone else []
            yield Question(1, self.say("question.kept"), tuple(answer))

    # --- another network --------------------------------------------------------------------------

    def another_function(self) -> Iterable[Question]:
        """The first activation replaced by another, everywhere."""
        for equation in self.derivation.forward.equations:
            read = {t.name for t in equation.value.tensors}
            if (old := activation(equation)) is not None and read & self.derivation.parts.keys():
                new = OTHER.get(old, "tanh")
                other = with_function(self.derivation, old, new)
                there = next(e for e in other.forward.equations if e.tensor == equation.tensor)
                places = {"old": self.value_of(equation), "new": self.value_of(there)}
                yield Question(2, self.say("question.function", **places), self.differences(other))
                return

    def sum_for_mean(self) -> Iterable[Question]:
        other = with_sum(self.derivation)
        if other is not None:
            n = self.math("N")
            yield Question(2, self.say("question.sum", N=n), self.differences(other, batch=True))

    def decay(self) -> Iterable[Question]:
        parts = self.derivation.parts
        weights = [t for t in self.derivation.forward.parameters if len(t.shape) > 1 and t.name in parts]
        other = with_decay(self.derivation, weights[0], DECAY) if weights else None
        if other is not None:
            loss = next(e for e in other.forward.equations if e.tensor == LOSS).value
            assert isinstance(loss, Add)
            penalty = self.math(loss.terms[-1], names=self.batch)
            yield Question(3, self.say("question.decay", penalty=penalty), self.differences(other))

    def differences(self, other: Derivation, *, batch: bool = False) -> Cell:
        """Which lines another network's backward pass has in place of these or besides, and what they are, for all
        samples with `batch`."""
        there = Backward(other, self.language, self.detail)
        before, after = ({_content(row): (number, row) for number, row in own.numbered} for own in (self, there))
        gone = sorted({number for content, (number, _) in before.items() if content not in after})
        new = [row for content, (_, row) in after.items() if content not in before]
        answer: list[Text] = []
        if gone:
            answer.append(self.say("question.changed", lines=lines_of(gone)))
        elif new:
            answer.append(self.say("question.added"))
        answer += [text for row in new[:FEW] for text in lines_by(there, row, batch or not row.per_sample)]
        if len(new) > FEW:
            answer.append(("…",))
        for content, (number, row) in before.items():
            share = after[content][1].made if content in after else None
            if share is not None and share != row.made:
                name = there.math(Nabla(share), names=there.batch)
                answer.append(self.say("question.now", share=name, line=f"({number})"))
        kept = sorted({number for number, _ in before.values()} - set(gone))
        answer.append(self.say("question.unchanged", lines=lines_of(kept)) if kept else self.say("question.all"))
        return tuple(answer)

    def value_of(self, equation: Equation) -> Formula:
        return self.math((one_sample(equation) or equation).value)

    # --- what depends on what ---------------------------------------------------------------------

    def reached(self) -> Iterable[Question]:
        """What changes with the last parameter."""
        parameters = self.derivation.forward.parameters
        if not parameters or self.derivation.loss is None:
            return
        changed = moved(self.derivation, parameters[-1])
        forward = [t for t in self.derivation.forward.defined if t not in self.running and not is_position(t)]
        answer = [self.say("question.forward", these=self.symbols_of([t for t in forward if t.name in changed]))]
        for key, is_ in (("backward", True), ("same", False)):
            found = [t for t in self.printed if (adjoint_of(t).name in changed) == is_]
            numbers = sorted({n for n, row in self.numbered if row.part.tensor in found})
            if found:
                these = self.say("question.lines", lines=lines_of(numbers))
                these = self.gradients_of(found) if len(found) <= MANY else these
                answer.append(self.say(f"question.{key}", these=these))
        yield Question(2, self.say("question.reached", x=self.math(whole(parameters[-1]))), tuple(answer))

    def frozen(self) -> Iterable[Question]:
        """The lines that are needed where the last layer alone learns."""
        layers = self.derivation.layers
        parameters = [t for t in self.derivation.forward.parameters if t.name in self.derivation.parts]
        if not parameters:
            return
        own = layers.get(parameters[-1].name)
        learning = [t for t in parameters if layers.get(t.name) == own]
        alone = by_alone(self.derivation, learning)
        left = {number for number, row in self.numbered if row.part.tensor.name in alone.parts}
        out = {number for number, _ in self.numbered} - left
        if out:
            answer = self.say("question.out", lines=lines_of(sorted(out)), rest=lines_of(sorted(left)))
            yield Question(2, self.say("question.frozen", these=self.symbols_of(learning)), (answer,))

    def all_zero(self) -> Iterable[Question]:
        """The gradients that are 0 where all weights are."""
        weights = [t for t in self.derivation.forward.parameters if len(t.shape) > 1]
        if not weights or self.derivation.loss is None:
            return
        zero = vanishing(self.derivation, weights)
        parts = [t for t in self.derivation.forward.parameters if t.name in self.derivation.parts]
        yes, no = ([t for t in parts if (adjoint_of(t).name in zero) == is_] for is_ in (True, False))
        if yes and no:
            answer = (
                self.say("question.zero", these=self.gradients_of(yes)),
                self.say("question.alive", these=self.gradients_of(no)),
            )
            yield Question(3, self.say("question.weights"), answer)

    # --- reasons ----------------------------------------------------------------------------------

    def transpose(self) -> Iterable[Question]:
        """Why the first weight that stands transposed does."""
        for number, row in self.numbered:
            results = row.results(not row.per_sample)
            form = row.concise(results, not row.per_sample)
            equation = self.equation_of(row)
            if row.use is None or form is None or equation is None:
                continue
            weight = transposed(form.right, row.use)
            ahead, back = (_summed(value, weight) for value in (equation.value, results[0].value))
            if weight is None or ahead is None or back is None or ahead[1] == back[1]:
                continue
            names = self.view(self.names, row.per_sample)
            places: dict[str, Inline | Text] = {
                "W": self.math(whole(weight), names=names), "line": f"({number})",
                "y": self.math(equation.target, "=", equation.value, names=names),
                "x": self.math(_component(row, results[0]), names=names), "factor": self.math(back[0], names=names),
                "detail": self.math(results[0].target, "=", results[0].value, names=names),
                "form": self.math(form.left, "=", form.right, names=names),
            }
            for way, (read, place) in (("ahead", ahead), ("back", back)):
                places[way] = self.say(f"question.place_{place}")
                places[f"{way}_index"] = self.math(affine_token(read.subscripts[place]), names=names)
            check = shape_check(form.right)
            answer = [self.say("question.sums", **places), self.say("question.path_sum", **places)]
            answer += [self.say("question.shapes", check=self.math(check))] if check else []
            yield Question(3, self.say("question.transpose", **places), tuple(answer))
            return

    def turned(self) -> Iterable[Question]:
        """Why a subscript that is added to going forward is subtracted from going back."""
        for number, row in self.numbered:
            equation, results = self.equation_of(row), row.results(not row.per_sample)
            if equation is None or len(results) != 1 or row.part.tensor in self.derivation.forward.parameters:
                continue
            x = _read(equation.value, row.part.tensor)
            signal = _read(results[0].value, adjoint_of(equation.tensor))
            if x is None or signal is None:
                continue
            pairs = [
                (s, h, i, t)
                for s, h in zip(x.subscripts, results[0].target.subscripts, strict=True)
                for i, t in zip(equation.target.subscripts, signal.subscripts, strict=True)
                if s.plain is None and h.plain and i.plain in s.indices and t.plain is None and h.plain in t.indices
            ]
            if not pairs:
                continue
            names = self.view(self.names, row.per_sample)
            s, h, i, t = (self.math(affine_token(a)) for a in pairs[0])
            places = {
                "line": f"({number})", "x": self.math(x, names=names), "signal": self.math(signal, names=names),
                "s": s, "h": h, "i": i, "t": t, "y": self.math(equation.target, names=names),
                "at": self.math(_component(row, results[0]), names=names),
            }
            yield Question(3, self.say("question.turned", **places), (self.say("question.solved", **places),))
            return

    def equation_of(self, row: Row) -> Equation | None:
        """The equation that a row goes through, for one sample where the row is about one."""
        if row.use is None:
            return None
        return one_sample(row.use.equation) if row.per_sample else row.use.equation

    # --- words ------------------------------------------------------------------------------------

    @cached_property
    def printed(self) -> dict[Tensor, bool]:
        """The tensors whose gradients are lines, in order; and whether the lines are about one sample."""
        return {row.part.tensor: row.per_sample for _, row in self.numbered if row.name is None}

    def symbols_of(self, tensors: Iterable[Tensor]) -> Text:
        single = not self.derivation.coupling.first
        views = ((t, self.view(self.names, single and t != LOSS)) for t in dict.fromkeys(tensors))
        return self.join((self.math(whole(t), names=names),) for t, names in views)

    def gradients_of(self, tensors: Iterable[Tensor]) -> Text:
        views = ((t, self.view(self.names, self.printed[t])) for t in tensors)
        return self.join((self.math(Nabla(adjoint_of(t)), names=names),) for t, names in views)


def _content(row: Row) -> tuple[Key, ...]:
    """What a row says, whichever share of the gradient it is called."""
    target = None if row.name is not None else adjoint_of(row.part.tensor)
    return tuple(e.over({e.tensor: target or e.tensor}).key for e in row.results(batch=True))


def _component(row: Row, result: Equation) -> Component:
    """The component whose gradient this is."""
    return Component(replace(row.part.tensor, shape=result.tensor.shape), result.target.subscripts)


def lines_by(writer: Backward, row: Row, batch: bool) -> Sequence[Text]:
    """What a row computes, by components and in concise form."""
    results, names = row.results(batch), writer.view(writer.names, not batch)
    form = row.concise(results, batch)
    lines: list[Text] = [(writer.math(e.target, "=", e.value, names=names),) for e in results]
    lines += [(writer.math(form.left, "=", form.right, names=names),)] if form is not None else []
    return lines


def _read(value: Expr, tensor: Tensor) -> Component | None:
    """The tensor as the value reads it, if it does so once."""
    found = [c for c in components(value) if c.tensor.name == tensor.name]
    return found[0] if len(found) == 1 else None


def _summed(value: Expr, tensor: Tensor | None) -> tuple[Component, int] | None:
    """The tensor as the value reads it, and the place of its one subscript that a sum runs over."""
    read = _read(value, tensor) if tensor is not None else None
    over = {i for n in nodes(value) if isinstance(n, Reduce) and n.kind == "sum" for i in n.indices}
    places = [at for at, s in enumerate(read.subscripts) if s.plain in over] if read is not None else []
    return (read, places[0]) if read is not None and len(places) == 1 else None


def lines_of(numbers: Sequence[int]) -> str:
    """(1), (3)–(7)."""
    runs: list[list[int]] = []
    for _, own in groupby(enumerate(numbers), key=lambda entry: entry[1] - entry[0]):
        run = [number for _, number in own]
        runs += [run] if len(run) > 2 else [[n] for n in run]
    return ", ".join(f"({run[0]})" if len(run) == 1 else f"({run[0]})–({run[-1]})" for run in runs)


def points(derivation: Derivation) -> Iterator[dict[str, NDArray[Any]]]:
    """A few random points: values of all that the program is given, by name. Weights are the smaller the more of them
    a sum has, so that nothing is driven to its limits, where a change is lost in rounding."""
    rng = np.random.default_rng(0)
    for _ in range(POINTS):
        given: dict[str, NDArray[Any]] = {}
        for t in derivation.joint.given:
            shape = [e if isinstance(e, int) else EXTENT for e in t.shape]
            top = range_of(derivation.forward, t) if t.dtype == "integer" else 0
            scale = prod(shape[1:]) ** -0.5 if t in derivation.forward.parameters else 1
            given[t.name] = rng.integers(top, size=shape) if top else scale * rng.uniform(-1.5, 1.5, shape)
        yield given


def moved(derivation: Derivation, tensor: Tensor) -> set[str]:
    """The tensors, by name, that change with this one at some of a few random points."""
    result, rng = set[str](), np.random.default_rng(1)
    for given in points(derivation):
        other = {**given, tensor.name: given[tensor.name] + rng.uniform(0.1, 0.5, given[tensor.name].shape)}
        before, after = (execute(derivation.joint, values) for values in (given, other))
        largest = _largest(derivation, before)
        for name, value in before.items():
            if np.max(np.abs(after[name] - value), initial=0) > max(FAINT * _size(value), NOISE * largest):
                result.add(name)
    return result


def vanishing(derivation: Derivation, tensors: Iterable[Tensor]) -> set[str]:
    """The tensors of the backward pass, by name, that are 0 at a few random points but for these, which are 0."""
    zero = {t.name for t in tensors}
    alive = set[str]()
    for given in points(derivation):
        found = execute(derivation.joint, {n: v * (n not in zero) for n, v in given.items()})
        alive |= {n for n, v in found.items() if _size(v) > NOISE * _largest(derivation, found)}
    return {t.name for t in derivation.backward.defined} - alive


def _largest(derivation: Derivation, values: Mapping[str, NDArray[Any]]) -> float:
    """The size of the largest gradient."""
    return max(_size(values[t.name]) for t in derivation.backward.defined)


def _size(value: NDArray[Any]) -> float:
    return float(np.max(np.abs(value), initial=0))
