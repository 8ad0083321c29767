"""What every part of a document is written with: its names, its sentences, and small facts about equations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

from numpy.typing import NDArray

from chainrule.derive.adjoint import Derivation
from chainrule.derive.check import equation_holds, forms_hold
from chainrule.derive.lemma import Lemma, adjoint_of, one_sample
from chainrule.forms import Concise, Form, concise, walk, whole
from chainrule.forms.nodes import Ones, Operation, View
from chainrule.ir.expr import (
    LOSS,
    Component,
    Constant,
    Derivative,
    Expr,
    Reduce,
    Size,
    Tensor,
    derived,
    multiply,
    summed,
)
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.program import Equation
from chainrule.render.component import bounded
from chainrule.render.conservation import constants, shares
from chainrule.render.conservation import planes as summed_sides
from chainrule.render.document import Inline, Text
from chainrule.render.formula import Formula, Part
from chainrule.render.lines import Detail
from chainrule.render.names import LAYER, Names, Symbol, names_of
from chainrule.render.prose import pieces, sentences

T = TypeVar("T")
WEIGHT = derived("weight", shape=())
"""The sum of a window's weights, in the line that says what is lost."""


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
    def running(self) -> frozenset[Tensor]:
        """The states that a step moves and no gradient depends on, running statistics, with their next values: a
        document has them in full detail alone."""
        forward = self.derivation.forward
        nexts = {state.next for state in forward.states}
        read = {t for e in forward.equations if e.tensor not in nexts for t in e.value.tensors}
        states = {state.tensor for state in forward.states} | nexts
        return frozenset() if self.detail == "full" else frozenset(states - read)

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        return constants(self.derivation.forward.equations)

    def conserved(self, lemma: Lemma, names: Names) -> Text | None:
        """What part of the error signal reaches x, where that is a law: for windows whose weights sum to 1 or less."""
        shown = self.stated(lemma)
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
        weight = Component(replace(WEIGHT, shape=tuple(i.extent for i in outer)), tuple(Affine.of(i) for i in outer))
        taken = {symbol.stem for symbol in names.symbols.values()}
        letter = next((s for s in "srv" if s not in taken), "s")
        view = replace(names, symbols={**names.symbols, WEIGHT.name: Symbol(letter)})
        places["weighted"] = self.math(summed(outer, multiply((weight, signal))), names=view)
        places["w"] = self.math(weight, names=view)
        places["lost"] = self.math("1", "−", weight, names=view)
        values = self.join((self.math(Constant(w), names=names),) for w in found)
        return self.say("conservation.lost", values=values, **places)

    def math(self, *parts: Part, names: Names | None = None) -> Formula:
        return Formula(parts, names or self.names)

    def range(self, numbers: Sequence[int]) -> Formula:
        """r = 2, …, 6 for neighbours, r = 2, 4, …, 8 for others."""
        own = sorted(numbers)
        step = own[1] - own[0] if len(own) > 1 else 1
        first = own[:1] if step == 1 else own[:2]
        shown = own if len(own) <= len(first) + 1 else [*first, "…", own[-1]]
        return self.math(f"{LAYER} = " + ", ".join(map(str, shown)))

    def relative_names(self, involved: Iterable[Tensor], number: int) -> tuple[Symbol | None, ...]:
        """The symbols of tensors as they are written from layer `number`."""
        names = self.names.relative(number)
        return tuple(names.symbol(t) if t.name in names.symbols else None for t in involved)

    def local(self, lemma: Lemma) -> Names:
        involved = (*tensors_of(lemma.equation), *(t for e in (*lemma.facts, *lemma.auxiliary) for t in tensors_of(e)))
        steps = self.stated(lemma).all_steps
        shown = frozenset(bounded(*(e for step in steps for e in (step.before, step.after))))
        names = replace(self.names.local(involved, lemma.error_signal), bounded=shown)
        return self.view(names, self.derivation.sample_of(lemma) is not None)

    def stated(self, lemma: Lemma) -> Lemma:
        """The lemma as it is printed: for one sample, where it is cited so."""
        return self.derivation.sample_of(lemma) or lemma

    def coupling(self, equation: Equation, names: Names, like: Equation | None = None) -> Text | None:
        """Where samples couple, and why no line from here back is about one of them; nothing for other equations. It is
        said in the letters of the equation `like`."""
        through = self.derivation.coupling.first.get(equation)
        if through is None:
            return None
        letters = dict(zip(tensors_of(equation), tensors_of(like or equation), strict=True))
        statistics = [t for t in through if SAMPLES not in t.shape]
        places: dict[str, Inline | Text] = {"N": self.math(Size(SAMPLES), names=names)}
        places["y"] = self.math((like or equation).target, names=names)
        places["through"] = self.join((self.math(whole(letters[t]), names=names),) for t in statistics)
        cause = self.say("coupling.statistics" if statistics else "coupling.samples", **places)
        return self.say("coupling.here", cause=cause, **places)

    def view(self, names: Names, per_sample: bool) -> Names:
        """What has no form for one sample (batch statistics, weight decay and the sums it is in) is about 𝓛."""
        samples = any(SAMPLES in tensor.shape for tensor in self.derivation.forward.given)
        return names.of_batch() if samples and not per_sample else names


def concise_forward(equation: Equation) -> Concise | None:
    """The concise form of a forward equation, or of a sum of gradients."""
    return concise(equation.target, equation.value) if equation_holds(equation) else None


def concise_of(lemma: Lemma, mapping: Mapping[Tensor, Tensor] | None = None, gradient: Tensor | None = None
               ) -> Concise | None:
    """The concise form of a lemma's result; with a mapping, over other tensors and as what `gradient` is."""
    if not forms_hold(lemma):
        return None
    own = gradient or adjoint_of(lemma.wrt.tensor)
    return None if lemma.concise is None else lemma.concise.over(mapping or {}, own)


WAYS = {"unpool": "unpool", "convolution": "convolve", "correlation": "correlate", "total": "total"}


def ways(form: Form, signal: str) -> list[str]:
    """What a gradient in planes is, as keys of sentences: the operation, and what the zeros in it are for."""
    inside = [node for node in walk(form) if isinstance(node, Operation)]
    found = [key for key, name in WAYS.items() if any(node.name == name for node in inside)][:1] or ["planes"]
    kernels = [node.of[1] for node in inside if node.name == "convolve"]
    if any(isinstance(_stretched(kernel), Ones) for kernel in kernels):
        found = ["spread"]
    if any(node.name == "correlate" and _reads(node.of[0], signal) for node in inside):
        found = ["correlation_of"]
    for node in inside:
        if node.name == "up":
            key = "stride" if _reads(node, signal) else "dilation" if node in kernels else "gaps"
            found += [key] if key not in found else []
    return found


def _reads(form: Form, name: str) -> bool:
    return any(isinstance(node, View) and node.tensor.name == name for node in walk(form))


def _stretched(form: Form) -> Form:
    return form.of[0] if isinstance(form, Operation) and form.name == "up" else form


PERIODS = range(1, 7)
Entry = tuple[int, T]
Block = tuple[Entry[T], ...]


def runs_of(entries: Sequence[Entry[T]], signature: Callable[[Entry[T]], object]) -> list[list[Block[T]]]:
    """The entries as runs of equal blocks: neighbouring numbers whose signatures repeat with a period, three times at
    least (twice for a longer block). An entry by itself is a run of one block of one."""
    own = [signature(entry) for entry in entries]
    step = [abs(b[0] - a[0]) == 1 for a, b in pairwise(entries)]

    def repeats(at: int, period: int) -> int:
        last = at + period
        while last < len(entries) and own[last] == own[last - period] and all(step[last - period : last]):
            last += 1
        return (last - at) // period

    runs: list[list[Block[T]]] = []
    at = 0
    while at < len(entries):
        found = [(p * n, -p) for p in PERIODS if (n := repeats(at, p)) > (2 if p == 1 else 1)]
        covered, period = max(found, default=(1, -1))
        blocks = [tuple(entries[k : k - period]) for k in range(at, at + covered, -period)]
        runs.append(blocks)
        at += covered
    return runs


def coupled(equation: Equation) -> bool:
    """Whether an equation takes samples together, so that it has no form for one of them."""
    return any(SAMPLES in t.shape for t in tensors_of(equation)) and one_sample(equation) is None


def tensors_of(equation: Equation) -> tuple[Tensor, ...]:
    return tuple(dict.fromkeys((equation.tensor, *equation.value.tensors)))
