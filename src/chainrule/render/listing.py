"""A program as a short listing that runs: one statement for each equation, in the program's order.

`render.statement` says how one equation is written, `render.module` what makes a listing a file of its own.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from chainrule.arrays.ids import Limits
from chainrule.derive.adjoint import Derivation
from chainrule.derive.fold import in_place
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.ir.walk import kind
from chainrule.render.libraries import NUMPY, NumPy
from chainrule.render.names import GREEK, HAT, Names
from chainrule.render.statement import Statement
from chainrule.render.writer import runs_of

WIDTH = 92
SAVED = 3
"""Equations of a layer from which it is left out where one like it has been written."""


def listing(
    derivation: Derivation, names: Names, titles: tuple[str, str] = ("forward", "backward"),
    alike: tuple[str, str] | None = None,
) -> str:
    """A function from the inputs and parameters to the loss and the gradients, named as in the program. `titles` are
    the comments above its two halves. With `alike`, of layers that repeat only one is written, and a sentence for the
    others: the first for a run of them, with their numbers in place of {range}, the second for the layer {number} that
    is as the layer {first}. Raises DerivationError for what no NumPy is known for."""
    return _Listing(derivation, names, titles, alike).text()


def variables(derivation: Derivation, names: Names, reserved: Iterable[str] = ()) -> dict[str, str]:
    """A name in Python for every tensor: W^[1] is W1, and its gradient dW1. None is one of those `reserved`."""
    taken: set[str] = {"np", "math", "len", "int", SAMPLES, *NUMPY.helpers, *reserved}
    result: dict[str, str] = {}

    def add(name: str, word: str) -> None:
        while word in taken or keyword.iskeyword(word):
            word += "_"
        taken.add(word)
        result[name] = word

    program = derivation.forward
    for tensor in dict.fromkeys((*program.given, *program.defined)):
        symbol = names.symbols.get(tensor.name)
        add(tensor.name, "loss" if symbol is None or tensor == derivation.loss else _word(symbol.stem, symbol.layer))
    for tensor in dict.fromkeys((*derivation.backward.inputs, *derivation.backward.defined, *_named(derivation))):
        name = tensor.name
        if (symbol := names.symbols.get(name)) is not None and name not in result:
            add(name, _word(symbol.stem, symbol.layer))
        elif name not in result:
            of, share = names.adjoints.get(name, (name, ""))
            add(name, f"d{result.get(of, of)}" + (f"_{share}" if share else ""))
    return result


def _named(derivation: Derivation) -> list[Tensor]:
    """The values that folds name."""
    return [name.tensor for fold in derivation.folds if fold.whole for name in fold.names]


def _word(stem: str, layer: str) -> str:
    """An ASCII name: γ is gamma, x̂ is x_hat, x̃ is x_, m* is argmax."""
    stem = stem.replace(HAT, "_hat")
    greek = {letter: name for name, letter in GREEK.items()} | {"ℓ": "sample_loss", "σ": "sigma", "π": "pi"}
    text = "".join(greek.get(c, c) for c in stem.replace("m*", "argmax").replace("*", "_argmax"))
    plain = unicodedata.normalize("NFKD", text)
    ascii_ = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" if c.isspace() or c in "·." else ""
                     for c in plain)
    if plain != unicodedata.normalize("NFKC", text) and ascii_ == stem[: len(ascii_)]:
        ascii_ += "_"
    word = (ascii_ or "v") + ("_" if layer and not layer[0].isdigit() else "") + layer.replace(",", "_")
    word = "".join(c if c.isalnum() or c == "_" else "_" for c in word)
    return word if not word[0].isdigit() else f"v{word}"


class Function:
    """The lines of one function, and what they share: see `statement.Context`. It is given these tensors; `taken` are
    whole numbers that need no check, for every entry is a value of its index."""

    def __init__(
        self, library: NumPy, words: Mapping[str, str], given: Sequence[Tensor], limits: Limits
    ) -> None:
        self.library, self.words, self.given, self.limits = library, words, given, limits
        self.like = next((words[t.name] for t in given if t.dtype == "real"), "")
        self.helpers: set[str] = set()
        self.defined: set[str] = set()
        self.pads: dict[tuple[str, str], str] = {}
        self.sized = False

    def lines(
        self, equations: Iterable[Equation], comments: Callable[[Equation], Sequence[str]] = lambda _: ()
    ) -> list[str]:
        """A statement for each equation, below what is said of it."""
        lines = list[str]()
        for equation in equations:
            lines += comments(equation)
            lines.extend(part for line in Statement(self, equation).lines() for part in _broken(line))
        return lines

    def head(self) -> list[str]:
        """How many samples there are, where that is read."""
        if not self.sized:
            return []
        batch = next(t for t in self.given if SAMPLES in t.shape)
        axis, word = batch.shape.index(SAMPLES), self.words[batch.name]
        return [f"{SAMPLES} = len({word})" if axis == 0 else f"{SAMPLES} = {word}.shape[{axis}]"]


def needed(derivation: Derivation, backward: Sequence[Equation]) -> set[Tensor]:
    """What the loss and the gradients depend on, by these equations of the backward pass."""
    result = {*derivation.gradients.values(), derivation.loss or derivation.forward.outputs[0]}
    for equation in reversed((*derivation.forward.equations, *backward)):
        if equation.tensor in result:
            result.update(equation.value.tensors)
    return result


def signals_of(derivation: Derivation) -> list[Tensor]:
    """The gradients that the derivation starts from: none where there is a loss."""
    forward = derivation.forward
    return [t for t in derivation.backward.inputs if t not in (*forward.given, *forward.defined)]


class _Listing:
    def __init__(
        self, derivation: Derivation, names: Names, titles: tuple[str, str], alike: tuple[str, str] | None
    ) -> None:
        self.derivation, self.names, self.titles, self.alike = derivation, names, titles, alike
        self.backward = in_place(derivation)
        self.wanted = needed(derivation, self.backward)
        kept = {state.tensor for state in derivation.forward.states} - self.wanted
        given = [t for t in (*derivation.forward.given, *signals_of(derivation)) if t not in kept]
        limits = Limits(derivation.joint.equations, given)
        self.function = Function(NUMPY, variables(derivation, names), given, limits)

    def text(self) -> str:
        derivation, function = self.derivation, self.function
        forward, words = derivation.forward, function.words
        lines = self.block([e for e in forward.equations if e.tensor in self.wanted], self.titles[0])
        lines += ["", *self.block(self.beside([e for e in self.backward if e.tensor in self.wanted]), self.titles[1])]
        outcome = words[derivation.loss.name if derivation.loss is not None else forward.outputs[0].name]
        pairs = [f'"{name}": {words[t.name]}' for name, t in derivation.gradients.items()]
        lines += ["", *filled(f"return {outcome}, {{", pairs, "}", "    ")]
        name = "gradients" if derivation.loss is None else "loss_and_gradients"
        head = filled(f"def {name}(", [words[t.name] for t in function.given], "):", "        ")
        helpers = [text for name, text in NUMPY.helpers.items() if name in function.helpers]
        uses = ["import math\n"] if any("math." in text for text in helpers) else []
        body = "\n".join(f"    {line}".rstrip() for line in [*function.head(), *lines])
        return "\n\n".join(["".join([*uses, *NUMPY.imports]), *helpers, "\n".join([*head, body])]) + "\n"

    def block(self, equations: Sequence[Equation], title: str) -> list[str]:
        lines = [f"# {title}"]
        entries = [(number, list(own)) for number, own in groupby(equations, key=self.number)]
        runs = runs_of(entries, self.signature) if self.alike else [[(entry,)] for entry in entries]
        known: dict[object, int] = {}
        for first, *others in runs:
            if self.alike and (before := self.again(first, known)) is not None:
                lines.append("# " + self.alike[1].format(number=first[0][0], first=before))
                continue
            lines += self.function.lines(e for _, own in first for e in own)
            if self.alike and others:
                numbers = [block[0][0] for block in others]
                ends = [*numbers[:1], "…", *numbers[-1:]] if len(numbers) > 2 else numbers
                lines.append("# " + self.alike[0].format(range=", ".join(map(str, ends))))
        return lines

    def again(self, block: Sequence[tuple[int, list[Equation]]], known: dict[object, int]) -> int | None:
        """The number of the layer with the same equations, if one has been written and there is something to save."""
        numbers = [known.setdefault(self.signature(entry), entry[0]) for entry in block]
        short = sum(len(own) for _, own in block) < SAVED
        return None if short or numbers[0] == block[0][0] else numbers[0]

    def beside(self, equations: Sequence[Equation]) -> list[Equation]:
        """The equations in an order of computing: a parameter's gradient as soon as what it reads is there."""
        parameters = {t.name for t in self.derivation.forward.parameters}
        late = [e for e in equations if self.names.adjoints.get(e.tensor.name, ("",))[0] in parameters]
        missing = Counter(e.tensor for e in equations)  # of a tensor in pieces every piece must be there
        result: list[Equation] = []
        for equation in [e for e in equations if e not in late]:
            result.append(equation)
            missing[equation.tensor] -= 1
            while ready := [e for e in late if not any(missing[t] for t in e.value.tensors)]:
                result += ready
                missing.subtract(e.tensor for e in ready)
                late = [e for e in late if e not in ready]
        return [*result, *late]

    def number(self, equation: Equation) -> int:
        """The number of the layer that an equation, or the tensor that it is a gradient of, belongs to."""
        name = self.names.adjoints.get(equation.tensor.name, (equation.tensor.name,))[0]
        return self.names.layer(Tensor(name, ())) or 0

    def signature(self, entry: tuple[int, list[Equation]]) -> object:
        """What layers that repeat have in common: the same equations over tensors of the same names."""
        number, equations = entry
        view = self.names.relative(number)

        def name(tensor: Tensor) -> object:
            return view.gradient(tensor) or (view.symbol(tensor) if tensor.name in view.symbols else tensor.name)

        same = tuple((kind(e.value, e.indices), *map(name, (e.tensor, *e.value.tensors))) for e in equations)
        return same if number else (same, id(equations))


def filled(head: str, words: Sequence[str], tail: str, indent: str) -> list[str]:
    """head word, word, …tail, on more lines where one is too short."""
    whole = head + ", ".join(words) + tail
    if len(whole) <= WIDTH:
        return [whole]
    lines, current = [head], indent
    for number, word in enumerate(words):
        part = word + (", " if number < len(words) - 1 else "")
        if len(current + part) > WIDTH and current.strip():
            lines.append(current.rstrip())
            current = indent
        current += part
    return [*lines, current, tail]


def _broken(line: str) -> list[str]:
    """A long line in several, broken inside brackets after a comma or before an operator."""
    lines: list[str] = []
    outside = 0  # brackets that lines before have opened
    while len(line) > WIDTH:
        depth, best, least = outside, 0, WIDTH
        for place, character in enumerate(line[:WIDTH]):
            depth += (character in "([{") - (character in ")]}")
            before = line[place + 1 : place + 3] in ("* ", "/ ", "+ ", "- ", "@ ", "==")
            if character == " " and 0 < depth <= least and place > 8 and (line[place - 1] == "," or before):
                best, least = place, depth
        if not best:
            break
        lines.append(line[:best])
        line, outside = "    " + line[best + 1 :], least
    return [*lines, line]
