"""The number that a formula is worth at a point of its network, from what was read of its print.

A letter is its tensor's value; ∂ℓ/∂x, ∇_x ℓ and δ are derivatives by central differences; ∂ of an expression is the
difference of that expression as it was read. Nothing here knows what a formula is to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
from tests.render.reading.differences import World, slope
from tests.render.reading.grammar import Node
from tests.render.reading.meaning import Place, subscript, units
from tests.render.reading.tokens import Letter, ReadingError

from chainrule.derive.lemma import adjoint_of
from chainrule.ir.expr import LOSS, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.render.names import Names

Worth = Any
"""A float, or an array of them: in a matrix form a column, a matrix; in planes an array of the axes that are left."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "σ": lambda u: 1 / (1 + np.exp(-u)), "√": np.sqrt, "|": np.abs,
    "ReLU": lambda u: np.maximum(u, 0), "max": np.maximum, "min": np.minimum,
}


@dataclass(frozen=True)
class Meant:
    """What a letter stands for: a tensor, or the gradient of the loss by it."""

    tensor: Tensor
    gradient: bool = False


@dataclass(frozen=True)
class Scope:
    """How letters are to be taken: the names of the formula, the lemma's equation and what it is differentiated by,
    where it stands in a lemma, and the extents of the indices."""

    world: World
    names: Names
    mode: str
    ranges: Mapping[str, int]
    lemma: tuple[Equation, Tensor] | None = None
    letters: Mapping[tuple[str, str], Meant] = field(default_factory=dict[tuple[str, str], Meant])


def letters(world: World, names: Names, lemma: tuple[Equation, Tensor] | None) -> dict[tuple[str, str], Meant]:
    """What each letter of a formula with these names stands for; in a lemma, those of its equation come first."""
    program = world.program
    tensors = list(dict.fromkeys((*program.given, *program.defined)))
    if lemma is not None:
        own = (lemma[0].tensor, *lemma[0].value.tensors)
        tensors = [*(t for t in tensors if t not in own), *(t for t in tensors if t in own)]
    found: dict[tuple[str, str], Meant] = {}
    for tensor in tensors:
        symbol = names.symbol(tensor)
        for s in (symbol, names.matrix_symbol(tensor, symbol)):
            found[s.stem, s.layer] = Meant(tensor)
    for tensor in tensors:
        signal = names.signal(adjoint_of(tensor))
        if signal is not None:
            found[signal.stem, signal.layer] = Meant(tensor, True)
    if world.of_sample is not None:
        found["ℓ", ""] = Meant(world.of_sample)
    found["𝓛", ""] = Meant(LOSS)
    return found


class Reader:
    """The worth of nodes where the sample is `n` (None for formulas about all of them). `held` are values that an
    expression is differentiated at in place of the program's."""

    def __init__(self, scope: Scope, n: int | None) -> None:
        self.scope, self.n, self.world = scope, n, scope.world
        self.held: dict[Tensor, Any] = {}

    def worth(self, node: Node, at: Place) -> Worth:
        arguments = node.arguments
        match node.kind:
            case "number":
                return float(Fraction(node.text))
            case "add":
                return _total([self.worth(a, at) for a in arguments])
            case "minus":
                return -self.worth(arguments[0], at)
            case "row":
                return self.row(arguments, at)
            case "⊙":
                return self.worth(arguments[0], at) * self.worth(arguments[1], at)
            case "⋆" | "∗":
                left, right = (self.worth(a, at) for a in arguments)
                return correlated(left, right) if node.kind == "⋆" else convolved(left, right)
            case "divide":
                return self.worth(arguments[0], at) / self.worth(arguments[1], at)
            case "partial" | "∇":
                return self.derivative(node, at, None)
            case "share" if not node.text.isdigit():
                return self.entries(arguments[0], node.text, at)
            case "share":
                return self.derivative(arguments[0], at, int(node.text))
            case "root":
                return np.sqrt(self.worth(arguments[0], at))
            case "power":
                return self.worth(arguments[0], at) ** float(Fraction(node.text.removeprefix("⊙")))
            case "transpose":
                inner = self.worth(arguments[0], at)
                return _turned(inner)
            case "↑":
                return stretched(self.worth(arguments[0], at), node.text)
            case "big":
                return self.big(node, at)
            case "bracket":
                return np.multiply(self.bracket(node, at), 1.0)
            case "call":
                return self.call(node, at)
            case "letter":
                assert node.letter is not None
                return self.letter(node.letter, at)
            case _:
                raise ReadingError(f"no number for {node.kind}")

    # --- operations -----------------------------------------------------------------------------

    def row(self, factors: Sequence[Node], at: Place) -> Worth:
        if self.scope.mode == "components":
            # A bracket that is 0 makes the product 0, whatever else is in it.
            if any(f.kind == "bracket" and not self.bracket(f, at) for f in factors):
                return 0.0
            factors = [f for f in factors if f.kind != "bracket"]
        ones = [_ones(f) for f in factors]
        values = [None if one else self.worth(f, at) for f, one in zip(factors, ones, strict=True)]
        if self.scope.mode != "matrix":
            result: Worth = 1.0
            for value in values:
                result = result if value is None else result * value
            return np.sum(result) if any(ones) else result
        scale, rest = 1.0, list[Any]()
        for value, one in zip(values, ones, strict=True):
            if value is not None and np.ndim(value) == 0:
                scale *= value
            else:
                rest.append(one or value)
        while len(rest) > 1:
            at_ = next(
                (k for k in range(len(rest) - 1) if not (isinstance(rest[k], str) and isinstance(rest[k + 1], str))),
                None,
            )
            if at_ is None:
                raise ReadingError("a product of ones")
            rest[at_ : at_ + 2] = [matmul(rest[at_], rest[at_ + 1])]
        return scale * (1.0 if not rest or isinstance(rest[0], str) else rest[0])

    def big(self, node: Node, at: Place) -> Worth:
        sign, lower = node.text.split(" ", 1)
        values = [self.worth(node.arguments[0], {**at, **place}) for place in self.places(self.binders(lower))]
        if sign not in ("Σ", "max"):
            raise ReadingError(f"no number for {sign}")
        return _total(values) if sign == "Σ" else max(values)

    def entries(self, entry: Node, lower: str, at: Place) -> Worth:
        """(x_{2i})_i: the matrix, or the column, whose entries are read component by component."""
        reader, extents = Reader(replace(self.scope, mode="components"), self.n), self.binders(lower)
        reader.held = self.held
        cells = [reader.worth(entry, {**at, **place}) for place in self.places(extents)]
        return np.reshape(cells, (*extents.values(), 1)[:2])

    def places(self, extents: Mapping[str, int]) -> Iterator[Place]:
        return (dict(zip(extents, place, strict=True)) for place in product(*map(range, extents.values())))

    def binders(self, lower: str) -> dict[str, int]:
        """The indices below a sign, and how far each runs."""
        extents: dict[str, int] = {}
        for binder in lower.replace(" ", "").split(","):
            name, _, bound = binder.partition("<")
            extents[name] = self.extent(bound) if bound else self.scope.ranges[name]
            assert extents[name] == self.scope.ranges[name], f"{binder} is printed for {self.scope.ranges[name]}"
        return extents

    def extent(self, text: str) -> int:
        return self.world.samples if text == SAMPLES else int(text)

    def bracket(self, node: Node, at: Place) -> Any:
        parts = [self.worth(a, at) for a in node.arguments]
        match node.text:
            case "=":
                return parts[0] == parts[1]
            case ">":
                return parts[0] > parts[1]
            case "≤<":
                return parts[0] <= parts[1] < parts[2]
            case _:
                raise ReadingError(f"a bracket with {node.text}")

    def call(self, node: Node, at: Place) -> Worth:
        name, _, lower = node.text.partition("_")
        values = [self.worth(a, at) for a in node.arguments]
        if name == "diag":
            return np.diag(values[0][:, 0])
        if name == "softmax":
            axis = 0 if self.n is not None else 1
            raised = np.exp(values[0] - np.max(values[0]))
            return raised / raised.sum(axis=axis, keepdims=True)
        if name in ("pad", "crop"):
            return margin(values[0], lower, 1 if name == "pad" else -1)
        if name == "sum":
            return np.sum(values[0])
        function = FUNCTIONS[name.rstrip("′")]
        if not name.endswith("′"):
            return function(*values)
        (value,) = values
        return slope(lambda step: function(value + step))

    # --- letters --------------------------------------------------------------------------------

    def meant(self, letter: Letter) -> Meant:
        layer = next((u[1:-1] for u in letter.upper if u.startswith("[")), "")
        found = self.scope.letters.get((letter.stem + letter.primes, layer))
        if found is None:
            raise ReadingError(f"{letter} is unknown")
        return found

    def letter(self, letter: Letter, at: Place) -> Worth:
        name = letter.stem + letter.primes
        if not letter.upper and not letter.lower and name in at and (name, "") not in self.scope.letters:
            return at[name]
        if letter.stem == "𝟏":
            sizes = [int(e) for e in letter.lower.split("×")] if letter.lower else []
            return np.ones(sizes) if sizes else 1.0
        if name == SAMPLES:
            return float(self.world.samples)
        if letter.stem in ("π", "e") and (name, "") not in self.scope.letters:
            return math.pi if letter.stem == "π" else math.e
        if letter.stem == "J":
            pairs = {key: pair for pair, key in self.scope.names.jacobians.items()}
            of, wrt = (self.known(n) for n in pairs[letter.lower])
            return self.jacobian(of, wrt)
        meant = self.meant(letter)
        if meant.gradient:
            return self.view(meant.tensor, self.gradient(meant.tensor, None), letter, at)
        value = self.held.get(meant.tensor)
        return self.view(meant.tensor, self.world.value(meant.tensor) if value is None else value, letter, at)

    def known(self, name: str) -> Tensor:
        program = self.world.program
        return next(t for t in (*program.given, *program.defined) if t.name == name)

    def view(self, tensor: Tensor, array: Any, letter: Letter, at: Place) -> Worth:
        """What is left of an array with this letter's subscripts; as a column or a matrix in a matrix form."""
        fixed = self.fixed(tensor, letter, at)
        whole = all(isinstance(p, int) for p in fixed)
        outside = any(isinstance(p, int) and not 0 <= p < s for p, s in zip(fixed, np.shape(array), strict=True))
        if outside and not letter.bars:
            raise ReadingError(f"{letter} is read outside its range")
        if outside:
            return 0.0
        found = np.asarray(array)[fixed]
        if self.scope.mode == "matrix" and not whole:
            if found.ndim > 2:
                raise ReadingError(f"{letter} is no matrix")
            return found.reshape(-1, 1) if found.ndim == 1 else found
        return float(found) if found.ndim == 0 else found

    def fixed(self, tensor: Tensor, letter: Letter, at: Place) -> tuple[int | slice, ...]:
        """For each axis the number that stands at it, or all of it."""
        samples = [subscript(u[1:-1], at) for u in letter.upper if u.startswith("(")]
        rank = sum(e != SAMPLES for e in tensor.shape)
        texts = letter.lower.split(",") if letter.lower else []
        if len(texts) == 1 and rank > 1 and not set(texts[0]) & {"+", "−"}:
            texts = units(texts[0])
        if self.scope.mode == "components" and len(texts) != rank:
            raise ReadingError(f"{letter} has rank {rank}")
        chosen = self.placed(tensor, texts)
        result: list[int | slice] = []
        for axis, extent in enumerate(tensor.shape):
            if extent == SAMPLES:
                n = samples.pop(0) if samples else self.n
                result.append(slice(None) if n is None else n)
            else:
                result.append(subscript(chosen[axis], at) if axis in chosen else slice(None))
        if samples or (self.scope.mode == "components" and slice(None) in result):
            raise ReadingError(f"{letter}: which sample?")
        return tuple(result)

    def placed(self, tensor: Tensor, texts: Sequence[str]) -> dict[int, str]:
        """At which axes the subscripts stand: where fewer than all do, at those of their indices' extents."""
        axes = [axis for axis, extent in enumerate(tensor.shape) if extent != SAMPLES]
        for own in combinations(axes, len(texts)):
            pairs = dict(zip(own, texts, strict=True))
            if all(self.scope.ranges.get(t, tensor.shape[a]) == tensor.shape[a] for a, t in pairs.items()):
                return pairs
        if len(texts) == len(axes):
            return dict(zip(axes, texts, strict=True))
        raise ReadingError(f"{texts} do not fit {tensor.shape}")

    # --- derivatives ----------------------------------------------------------------------------

    def gradient(self, tensor: Tensor, through: Equation | None) -> Any:
        """The derivative of the loss: of all samples, or of this one and by its own part of the tensor."""
        if self.n is None:
            return self.world.derivative(self.world.of_loss(True), tensor, through)
        return self.world.derivative(self.world.of_loss(False), tensor, through)[self.n]

    def through(self, tensor: Tensor, share: int | None) -> Equation | None:
        """The one equation that a gradient is taken through: that of a share, or of the lemma that is about it."""
        if share is not None:
            return self.world.derivation.parts[tensor.name].uses[share - 1].equation
        if self.scope.lemma is not None and self.scope.lemma[1] == tensor:
            return self.scope.lemma[0]
        return None

    def derivative(self, node: Node, at: Place, share: int | None) -> Worth:
        of, wrt = node.arguments if node.kind == "partial" else (node.arguments[1], node.arguments[0])
        if wrt.letter is None:
            raise ReadingError("a derivative by no letter")
        x = self.meant(wrt.letter)
        if x.gradient:
            raise ReadingError("a derivative by a gradient")
        y = self.meant(of.letter) if of.letter is not None else None
        if y is not None and not y.gradient and y.tensor in (LOSS, self.world.of_sample):
            batch = y.tensor == LOSS
            if not batch and self.n is None and x.tensor != y.tensor and not _sampled(of.letter):
                raise ReadingError("the loss of which sample?")
            if batch and self.n is not None:
                raise ReadingError("the loss of all samples in a line about one")
            if batch and x.tensor == LOSS:
                return 1.0
            return self.view(x.tensor, self.gradient(x.tensor, self.through(x.tensor, share)), wrt.letter, at)
        if self.scope.mode != "components":
            assert y is not None
            return self.jacobian(y.tensor, x.tensor)
        if y is not None and y.tensor != x.tensor and not y.gradient:
            lemma = self.scope.lemma
            if y.tensor in self.world.program.given or (lemma is not None and lemma[0].tensor != y.tensor):
                return 0.0  # it does not depend on x, or not in the lemma's equation
            found = self.world.derivative(y.tensor, x.tensor, self.world.equation(y.tensor))
            assert of.letter is not None
            return float(found[(*self.fixed(y.tensor, of.letter, at), *self.fixed(x.tensor, wrt.letter, at))])
        return self.difference(of, x.tensor, self.fixed(x.tensor, wrt.letter, at), at)

    def difference(self, of: Node, tensor: Tensor, place: tuple[int | slice, ...], at: Place) -> Worth:
        """The difference of an expression as it was read, where one component of a tensor moves."""
        start, outside = np.asarray(self.world.value(tensor)), self.held

        def moved(step: float) -> Worth:
            array = start.copy()
            array[place] += step
            self.held = {**outside, tensor: array}
            return self.worth(of, at)

        found = slope(moved)
        self.held = outside
        return found

    def jacobian(self, of: Tensor, wrt: Tensor) -> Any:
        """∂of/∂wrt for one sample, as a matrix."""
        found = self.world.derivative(of, wrt, self.world.equation(of))
        index: list[Any] = []
        for tensor in (of, wrt):
            index += [self.n if e == SAMPLES else slice(None) for e in tensor.shape]
        chosen = found[tuple(index)]
        return chosen.reshape(chosen.shape[0], -1)


def _sampled(letter: Letter | None) -> bool:
    return letter is not None and any(u.startswith("(") for u in letter.upper)


def _total(values: Sequence[Worth]) -> Worth:
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def _ones(node: Node) -> str:
    letter = node.letter
    if node.kind == "letter" and letter is not None and letter.stem == "𝟏" and not letter.lower:
        return "column"
    return "row" if node.kind == "transpose" and _ones(node.arguments[0]) == "column" else ""


def _turned(value: Worth) -> Worth:
    return value if np.ndim(value) == 0 else value.T


def matmul(left: Any, right: Any) -> Any:
    """A product of two matrices, one of which may be a column or a row of ones, as long as it must be."""
    if isinstance(left, str):
        if left == "row":
            return right.sum(axis=0, keepdims=True)
        if right.shape[0] != 1:
            raise ReadingError("𝟏 times more than one row")
        return right
    if isinstance(right, str):
        if right == "column":
            return left.sum(axis=1, keepdims=True)
        if left.shape[1] != 1:
            raise ReadingError("more than one column times 𝟏ᵀ")
        return left
    if left.shape[1] != right.shape[0] and (1, 1) in (left.shape, right.shape):
        return left * right
    if left.shape[1] != right.shape[0]:
        raise ReadingError(f"{left.shape} times {right.shape}")
    return left @ right


def correlated(large: Any, kernel: Any) -> Any:
    """The kernel slides over the other array, inside it."""
    size = [a - b + 1 for a, b in zip(large.shape, kernel.shape, strict=True)]
    result = np.zeros(size)
    for place in np.ndindex(*kernel.shape):
        result += kernel[place] * large[tuple(slice(p, p + s) for p, s in zip(place, size, strict=True))]
    return result


def convolved(left: Any, right: Any) -> Any:
    """The full convolution."""
    result = np.zeros([a + b - 1 for a, b in zip(left.shape, right.shape, strict=True)])
    for place in np.ndindex(*right.shape):
        result[tuple(slice(p, p + s) for p, s in zip(place, left.shape, strict=True))] += right[place] * left
    return result


def margin(array: Any, text: str, sign: int) -> Any:
    """pad and crop with a|b along each axis."""
    pairs = [(part.split("|") * 2)[:2] for part in text.split(",")]
    pairs = pairs * array.ndim if len(pairs) == 1 else pairs
    for axis, pair in enumerate(pairs):
        before, after = (sign * int(p.replace("−", "-")) for p in pair)
        widths = [(0, 0)] * array.ndim
        widths[axis] = (max(before, 0), max(after, 0))
        array = np.pad(array, widths)
        keep = [slice(None)] * array.ndim
        keep[axis] = slice(max(-before, 0), array.shape[axis] - max(-after, 0))
        array = array[tuple(keep)]
    return array


def stretched(array: Any, text: str) -> Any:
    """s − 1 zeros between neighbours."""
    steps = [int(s) for s in text.split(",")]
    steps = steps * array.ndim if len(steps) == 1 else steps
    result = np.zeros([s * (e - 1) + 1 for s, e in zip(steps, array.shape, strict=True)])
    result[tuple(slice(None, None, s) for s in steps)] = array
    return result
