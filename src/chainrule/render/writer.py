"""What every part of a document is written with: its names, its sentences, and small facts about equations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from chainrule.derive import matrix as m
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import Lemma, one_sample
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.ir.walk import tensors
from chainrule.render.document import Inline, Text
from chainrule.render.formula import Formula, Part, bounded
from chainrule.render.lines import Detail
from chainrule.render.names import Names, Symbol, names_of
from chainrule.render.prose import pieces, sentences

T = TypeVar("T")


class Writer:
    """`say` puts names into the sentences of the language, `math` makes a formula."""

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

    def relative_names(self, involved: Iterable[Tensor], number: int) -> tuple[Symbol | None, ...]:
        """The symbols of tensors as they are written from layer `number`."""
        names = self.names.relative(number)
        return tuple(names.symbol(t) if t.name in names.symbols else None for t in involved)

    def local(self, lemma: Lemma) -> Names:
        involved = (*tensors_of(lemma.equation), *(t for e in (*lemma.facts, *lemma.auxiliary) for t in tensors_of(e)))
        steps = (lemma.sample or lemma).all_steps
        shown = frozenset(i for step in steps for e in (step.before, step.after) for i in bounded(e))
        names = replace(self.names.local(involved, lemma.error_signal), bounded=shown)
        return self.view(names, lemma.sample is not None)

    def view(self, names: Names, per_sample: bool) -> Names:
        """What has no form for one sample (batch statistics, weight decay and the sums it is in) is about 𝓛."""
        samples = any(SAMPLES in tensor.shape for tensor in self.derivation.forward.given)
        return names.of_batch() if samples and not per_sample else names


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
    return any(SAMPLES in t.shape for t in tensors_of(equation)) and one_sample(equation) is None


def tensors_of(equation: Equation) -> tuple[Tensor, ...]:
    return tuple(dict.fromkeys((equation.tensor, *tensors(equation.value))))
