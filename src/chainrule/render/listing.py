"""A program as a short listing that runs: one statement for each equation, in the program's order.

`render.statement` says how one equation is written, `render.module` what makes a listing a file of its own.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

from chainrule.arrays.ids import Limits
from chainrule.derive.adjoint import Derivation
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.render.libraries import NUMPY, NumPy
from chainrule.render.names import GREEK, Names
from chainrule.render.statement import Statement

WIDTH = 92


def listing(derivation: Derivation, names: Names, titles: tuple[str, str] = ("forward", "backward")) -> str:
    """A function from the inputs and parameters to the loss and the gradients, named as in the program. `titles` are
    the comments above its two halves. Raises DerivationError for what no NumPy is known for."""
    return _Listing(derivation, names, titles).text()


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
    for tensor in dict.fromkeys((*derivation.backward.inputs, *derivation.backward.defined)):
        name = tensor.name
        if name not in result:
            of, share = names.adjoints.get(name, (name, ""))
            add(name, f"d{result.get(of, of)}" + (f"_{share}" if share else ""))
    return result


def _word(stem: str, layer: str) -> str:
    """An ASCII name: γ is gamma, x̃ is x_, m* is argmax."""
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


def needed(derivation: Derivation) -> set[Tensor]:
    """What the loss and the gradients depend on."""
    result = {*derivation.gradients.values(), derivation.loss or derivation.forward.outputs[0]}
    for equation in reversed((*derivation.forward.equations, *derivation.backward.equations)):
        if equation.tensor in result:
            result.update(equation.value.tensors)
    return result


def signals_of(derivation: Derivation) -> list[Tensor]:
    """The gradients that the derivation starts from: none where there is a loss."""
    forward = derivation.forward
    return [t for t in derivation.backward.inputs if t not in (*forward.given, *forward.defined)]


def joined(imports: Iterable[str], helpers: Iterable[str], functions: Iterable[str]) -> str:
    """A file of these, two empty lines between its parts. An empty line among the imports ends those that come with
    Python; `math` is one where it is used."""
    parts, imports = [*helpers, *functions], [*imports]
    if any("math." in text for text in parts):
        imports = ["import math", *([] if "" in imports else [""]), *imports]
    return "\n\n\n".join(["\n".join(imports), *parts]) + "\n"


class _Listing:
    def __init__(self, derivation: Derivation, names: Names, titles: tuple[str, str]) -> None:
        self.derivation, self.titles = derivation, titles
        given = (*derivation.forward.given, *signals_of(derivation))
        limits = Limits(derivation.joint.equations, given)
        self.function = Function(NUMPY, variables(derivation, names), given, limits)

    def text(self) -> str:
        derivation, function = self.derivation, self.function
        forward, backward = derivation.forward, derivation.backward
        wanted, words = needed(derivation), function.words
        lines = [f"# {self.titles[0]}", *function.lines(e for e in forward.equations if e.tensor in wanted)]
        lines += ["", f"# {self.titles[1]}", *function.lines(e for e in backward.equations if e.tensor in wanted)]
        outcome = words[derivation.loss.name if derivation.loss is not None else forward.outputs[0].name]
        pairs = [f'"{name}": {words[t.name]}' for name, t in derivation.gradients.items()]
        lines += ["", *filled(f"return {outcome}, {{", pairs, "}", "    ")]
        name = "gradients" if derivation.loss is None else "loss_and_gradients"
        head = filled(f"def {name}(", [words[t.name] for t in function.given], "):", "        ")
        helpers = [text for name, text in NUMPY.helpers.items() if name in function.helpers]
        body = "\n".join(f"    {line}".rstrip() for line in [*function.head(), *lines])
        return joined(NUMPY.imports, helpers, ["\n".join([*head, body])])


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
