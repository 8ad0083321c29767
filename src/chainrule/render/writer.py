"""What every part of a document is written with: its names, its sentences, and small facts about equations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from numpy.typing import NDArray

from chainrule.derive import matrix as m
from chainrule.derive import planes as pl
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import Lemma, one_sample
from chainrule.derive.trace import LOSS
from chainrule.ir.expr import Component, Constant, Derivative, Expr, Reduce, Tensor, multiply, summed
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import tensors
from chainrule.render.conservation import constants, shares
from chainrule.render.conservation import planes as summed_sides
from chainrule.render.document import Inline, Text
from chainrule.render.formula import Formula, Part, bounded
from chainrule.render.lines import Detail
from chainrule.render.names import Names, Symbol, names_of
from chainrule.render.prose import pieces, sentences

T = TypeVar("T")
WEIGHT = "·weight"
"""The sum of a window's weights, in the line that says what is lost; no tensor of a user has this name."""


class Writer:
    """`say` puts names into the sentences of the language, `math` makes a formula."""

    def __init__(self, derivation: Derivation, language: str, detail: Detail) -> None:
        self.derivation, self.language = derivation, language
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

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        return constants(self.derivation.forward.equations)

    def conserved(self, lemma: Lemma, names: Names) -> Text | None:
        """What part of the error signal reaches x, where that is a law: for windows whose weights sum to 1 or less."""
        shown = lemma.sample or lemma
        x = shown.wrt.tensor
        found = shares(shown.equation, x, self.constants)
        sides = summed_sides(shown.equation, x, shown.wrt)
        if not found or sides is None or found[-1] != 1 or found[0] <= 0:
            return None
        inner, y = sides
        signal: Expr = Component(shown.error_signal, y.subscripts)
        outer = [i for i in y.free if i not in shown.wrt.free]
        places = {
            "left": self.math(Reduce("sum", inner, Derivative(Component(LOSS, ()), shown.wrt)), names=names),
            "right": self.math(summed(outer, signal), names=names),
        }
        if found == [1]:
            return self.say("conservation.kept", **places)
        weight = Component(Tensor(WEIGHT, tuple(i.extent for i in outer)), tuple(Affine.of(i) for i in outer))
        taken = {symbol.stem for symbol in names.symbols.values()}
        letter = next((s for s in "srv" if s not in taken), "s")
        view = replace(names, symbols={**names.symbols, WEIGHT: Symbol(letter)})
        places["weighted"] = self.math(summed(outer, multiply((weight, signal))), names=view)
        places["w"] = self.math(weight, names=view)
        places["lost"] = self.math("1", "−", weight, names=view)
        values = self.join((self.math(Constant(w), names=names),) for w in found)
        return self.say("conservation.lost", values=values, **places)

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


WAYS: tuple[tuple[str, type], ...] = (
    ("unpool", pl.Unpool), ("convolution", pl.Convolve), ("correlation", pl.Correlate), ("total", pl.Total),
)


def ways(form: pl.Form, signal: str) -> list[str]:
    """What a gradient in planes is, as keys of sentences: the operation, and what the zeros in it are for."""
    inside = list(pl.walk(form))
    found = [key for key, kind in WAYS if any(isinstance(node, kind) for node in inside)][:1] or ["planes"]
    if any(isinstance(node, pl.Convolve) and isinstance(_stretched(node.right), pl.Ones) for node in inside):
        found = ["spread"]
    if any(isinstance(node, pl.Correlate) and _reads(node.large, signal) for node in inside):
        found = ["correlation_of"]
    kernels = [node.right for node in inside if isinstance(node, pl.Convolve)]
    for node in inside:
        if isinstance(node, pl.Up):
            key = "stride" if _reads(node, signal) else "dilation" if node in kernels else "gaps"
            found += [key] if key not in found else []
    return found


def _reads(form: pl.Form, name: str) -> bool:
    return any(isinstance(node, pl.Plane) and node.read.tensor.name == name for node in pl.walk(form))


def _stretched(form: pl.Form) -> pl.Form:
    return form.of if isinstance(form, pl.Up) else form


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
