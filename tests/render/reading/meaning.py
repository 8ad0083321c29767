"""What formulas are worth: numbers modulo a prime, for what was read and for what was to be written.

A tensor is an unknown function of its subscripts, and so is every scalar function of its arguments: any two
formulas that agree in all of them say the same. Each index takes the values 0 and 1. A matrix is an array of such
numbers, its extents small and different; a plane is three of them, and a correlation or a convolution is an unknown
bilinear product. ∂a/∂b is an unknown function of a and b: a formula says which derivative, not what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from hashlib import blake2b
from itertools import product
from math import prod
from typing import Any

import numpy as np
from tests.render.reading.grammar import Node
from tests.render.reading.tokens import Letter, ReadingError

PRIME = 2**61 - 1
Value = Any
"""A number modulo PRIME, or an object array of them."""
CELLS = 3


def unknown(*about: object) -> int:
    return int.from_bytes(blake2b(repr(about).encode(), digest_size=16).digest(), "big") % PRIME


def entrywise(function: Callable[..., int], *arguments: Value) -> Value:
    if all(isinstance(a, int) for a in arguments):
        return function(*arguments)
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=object) for a in arguments))
    return np.array([function(*v) for v in zip(*(a.ravel() for a in arrays), strict=True)], object).reshape(
        arrays[0].shape
    )


def exact(value: Fraction) -> int:
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def power(value: Value, exponent: Fraction) -> Value:
    if exponent < 0:
        return entrywise(lambda v: pow(v, -1, PRIME), power(value, -exponent))
    if exponent.denominator == 1:
        return entrywise(lambda v: pow(v, exponent.numerator, PRIME), value)
    return entrywise(lambda v: unknown("power", v, str(exponent)), value)


def key(value: Value) -> object:
    return value if isinstance(value, int) else tuple(map(tuple, value)) if value.ndim == 2 else tuple(value)


def applied(name: str, *arguments: Value) -> Value:
    return entrywise(lambda *v: unknown("apply", name, *v), *arguments)


def plane(*about: object) -> Value:
    return np.array([unknown("plane", *about, k) for k in range(CELLS)], dtype=object)


def operated(name: str, argument: Value) -> Value:
    """An operation on a plane as a whole."""
    return plane(name, key(argument))


def bilinear(sign: str, left: Value, right: Value) -> Value:
    """⋆ or ∗ of two planes; a number that stands for a constant plane is one."""
    a, b = (np.broadcast_to(np.asarray(v, dtype=object), (CELLS,)) for v in (left, right))
    cells = range(CELLS)
    return np.array(
        [sum(unknown(sign, i, j, k) * a[j] * b[k] for j in cells for k in cells) % PRIME for i in cells], object
    )


def total(value: Value) -> int:
    cells = np.broadcast_to(np.asarray(value, dtype=object), (CELLS,))
    return int(sum(unknown("total", k) * v for k, v in enumerate(cells)) % PRIME)


def seal(value: Value) -> int:
    """A number that tells a value from others."""
    return unknown(np.asarray(value, dtype=object).ravel().tolist())


def partial(of: Value, wrt: Value) -> int:
    return unknown("∂", key(of), key(wrt))


@dataclass(frozen=True)
class Known:
    """What a reader knows of the letters: the rank (without samples) of each tensor by letter and layer, its shape as a
    matrix, the named extents, the letter of the loss; the shape of what stands with so many subscripts in a matrix
    form, with vec( ) around it or not; and how far the indices of a matrix run that is given entry by entry."""

    ranks: Mapping[tuple[str, str], int]
    shapes: Mapping[tuple[str, str], tuple[int, int]]
    extents: frozenset[str]
    loss: tuple[str, str]
    blocks: Mapping[tuple[str, tuple[str, str], int], tuple[int, int]]
    axes: Mapping[str, int]


Place = Mapping[str, int]


class Reading:
    """The value of what was read. `bounds` collects the extents that stand below sums."""

    def __init__(self, known: Known, mode: str) -> None:
        self.known, self.mode = known, mode
        self.bounds: set[tuple[str, str]] = set()
        self.view = ""
        self.sums: dict[object, Value] = {}

    def value(self, node: Node, at: Place) -> Value:
        arguments = node.arguments
        match node.kind:
            case "number":
                return exact(Fraction(node.text))
            case "dots":
                return unknown("…")
            case "add":
                return _sum([self.value(a, at) for a in arguments])
            case "minus":
                return -self.value(arguments[0], at) % PRIME
            case "row":
                return self.row(arguments, at)
            case "⊙":
                return self.value(arguments[0], at) * self.value(arguments[1], at) % PRIME
            case "⋆" | "∗":
                return bilinear(node.kind, self.value(arguments[0], at), self.value(arguments[1], at))
            case "divide":
                return self.value(arguments[0], at) * power(self.value(arguments[1], at), Fraction(-1)) % PRIME
            case "partial" | "∇":
                return self.derivative(node, at)
            case "root":
                return power(self.value(arguments[0], at), Fraction(1, 2))
            case "power":
                return power(self.value(arguments[0], at), Fraction(node.text.removeprefix("⊙")))
            case "transpose":
                inner = self.value(arguments[0], at)
                return inner if isinstance(inner, int) else inner.T
            case "↑" | "↓":
                return operated(node.kind + node.text, self.value(arguments[0], at))
            case "share" if not node.text.isdigit():
                return self.entries(arguments[0], node.text, at)
            case "share":
                return entrywise(lambda v: unknown("share", node.text, v), self.value(arguments[0], at))
            case "big":
                return self.big(node, at)
            case "bracket":
                return self.bracket(node, at)
            case "call":
                return self.call(node, at)
            case "unpool":
                position, body = (self.value(a, at) for a in arguments)
                return plane("unpool", key(position), key(body))
            case "letter":
                assert node.letter is not None
                return self.letter(node.letter, at)
            case _:
                raise ReadingError(f"no value for {node.kind}")

    def row(self, factors: Sequence[Node], at: Place) -> Value:
        if self.mode == "planes":
            rest = [f for f in factors if not _ones(f)]
            values = [self.value(f, at) for f in rest]
            if len(rest) < len(factors):
                # 𝟏ᵀ x and 𝟏ᵀ x 𝟏: the numbers before them multiply the sum.
                return prod(values[:-1], start=total(values[-1])) % PRIME
            return prod(values[1:], start=values[0]) % PRIME
        if self.mode == "components":
            return prod((self.value(f, at) for f in factors), start=1) % PRIME
        values = [ONES[_ones(factor)] or self.value(factor, at) for factor in factors]
        scale = prod(number for v in values if (number := _scalar(v)) is not None) % PRIME
        rest = [v for v in values if _scalar(v) is None]
        while len(rest) > 1:
            # 𝟏ᵀ 𝟏 has no known size: what stands beside it comes first, and a sum of rows or columns before 𝟏 as one.
            pairs = [k for k in range(len(rest) - 1) if not _both_ones(rest[k], rest[k + 1])]
            sized = (k for k in pairs if not isinstance(rest[k], _One) and not isinstance(rest[k + 1], _OneRow))
            place = next(sized, pairs[0] if pairs else len(rest) - 1)
            if place + 1 == len(rest):
                if [type(v) for v in rest] == [_One, _OneRow]:
                    return scale  # 𝟏 𝟏ᵀ is as large as it must be
                raise ReadingError("a product of ones")
            rest[place : place + 2] = [matmul(rest[place], rest[place + 1])]
        return scale * (1 if not rest or isinstance(rest[0], _One | _OneRow) else rest[0]) % PRIME

    def entries(self, entry: Node, lower: str, at: Place) -> Value:
        """(x_{2i})_i: the matrix, or the column, with these entries."""
        names = self.binders(lower)
        sizes = [self.known.axes[name] for name in names]
        places = product(*map(range, sizes))
        cells = [self.components(entry, {**at, **dict(zip(names, place, strict=True))}) for place in places]
        return np.array(cells, dtype=object).reshape((*sizes, 1)[:2])

    def components(self, node: Node, at: Place) -> Value:
        """What is component by component inside a matrix form."""
        mode, self.mode = self.mode, "components"
        value = self.value(node, at)
        self.mode = mode
        return value

    def binders(self, lower: str) -> list[str]:
        """The indices below a sign, and how far each is said to run."""
        names: list[str] = []
        for binder in lower.replace(" ", "").split(","):
            name, _, bound = binder.partition("<")
            if bound:
                self.bounds.add((name, bound))
            names.append(name)
        return names

    def derivative(self, node: Node, at: Place) -> Value:
        of, wrt = node.arguments
        if self.mode == "components" or (node.kind == "partial" and self.mode == "planes"):
            return partial(self.value(of, at), self.value(wrt, at))
        if node.kind == "partial":
            if of.letter is None or wrt.letter is None:
                raise ReadingError("a Jacobian of no letters")
            a, b = self.symbol(of.letter), self.symbol(wrt.letter)
            if a == self.known.loss and (wrt.letter.lower or any(u.startswith("(") for u in wrt.letter.upper)):
                return self.block(wrt.letter, at, "∇")
            if a == self.known.loss:
                return matrix(("∇", b), self.known.shapes[b])
            return matrix(("∂", a, b), (self.known.shapes[a][0], self.known.shapes[b][0]))
        letter = of.letter
        if letter is None:
            raise ReadingError("a gradient by no letter")
        if self.mode == "planes":
            return plane("∇", self.symbol(letter), *self.subscripts(letter, at), letter.bars)
        return self.block(letter, at, "∇")

    def big(self, node: Node, at: Place) -> Value:
        """Of equal sums within sums one is computed, where no letter in it is another index."""
        text = letters(node)
        known = node, self.mode, self.view, tuple((name, n) for name, n in at.items() if name in text)
        if known not in self.sums:
            self.sums[known] = self._big(node, at)
        return self.sums[known]

    def _big(self, node: Node, at: Place) -> Value:
        sign, lower = node.text.split(" ", 1)
        names = self.binders(lower)
        values = [
            self.value(node.arguments[0], {**at, **dict(zip(names, place, strict=True))})
            for place in product(range(2), repeat=len(names))
        ]
        if sign == "Σ":
            return _sum(values)
        return unknown(sign, *map(key, values))

    def bracket(self, node: Node, at: Place) -> int:
        if node.text == ">":
            left, right = (self.value(a, at) for a in node.arguments)
            return entrywise(lambda a, b: unknown("step", (a - b) % PRIME), left, right)
        if node.text == "=":
            left, right = node.arguments
            return unknown("=", self.number(left, at), self.number(right, at))
        zero, middle, end = node.arguments
        if node.text != "≤<" or zero.text != "0":
            raise ReadingError(f"a bracket with {node.text}")
        extent = end.text or (end.letter.stem if end.letter else "")
        return unknown("inside", self.number(middle, at), extent)

    def number(self, node: Node, at: Place) -> object:
        """An affine number of indices; or the component of an integer tensor."""
        match node.kind:
            case "number":
                return int(node.text)
            case "add":
                parts = [self.number(a, at) for a in node.arguments]
                return sum(p for p in parts if isinstance(p, int))
            case "minus":
                inner = self.number(node.arguments[0], at)
                assert isinstance(inner, int)
                return -inner
            case "row":
                return prod(n for a in node.arguments if isinstance(n := self.number(a, at), int))
            case "letter":
                letter = node.letter
                assert letter is not None
                if not letter.upper and not letter.lower and letter.stem + letter.primes in at:
                    return at[letter.stem + letter.primes]
                return ("integer", self.components(node, at))
            case _:
                raise ReadingError(f"{node.kind} is no number of indices")

    def call(self, node: Node, at: Place) -> Value:
        name, _, lower = node.text.partition("_")
        if name == "vec":
            self.view = "vec"
        values = [self.value(a, at) for a in node.arguments]
        if name == "vec":
            self.view = ""
            return values[0]
        if name == "onehot":
            own = node.arguments[0].letter
            assert own is not None
            return matrix(("onehot", key(values[0])), self.known.blocks["onehot", self.symbol(own), seal(values[0])])
        if name == "softmax":
            return softmax(values[0])
        if name.endswith("max") and len(values) == 1 and self.mode == "matrix":
            return extreme(name, values[0])
        if name == "diag":
            return Unit(values[0]) if _ones(node.arguments[0]) else np.diag(np.array(values[0], object, ndmin=2)[:, 0])
        if name == "sum":
            return total(values[0])
        if name in OPERATIONS:
            return operated(f"{name}_{lower}", values[0])
        return applied(node.text, *values)

    def symbol(self, letter: Letter) -> tuple[str, str]:
        layer = next((u[1:-1] for u in letter.upper if u.startswith("[")), "")
        return letter.stem + letter.primes, layer

    def subscripts(self, letter: Letter, at: Place) -> tuple[tuple[int, ...], tuple[int, ...]]:
        samples = [u[1:-1] for u in letter.upper if u.startswith("(")]
        lower = letter.lower.split(",") if letter.lower else []
        if len(lower) == 1:
            # Letters side by side are subscripts of their own, where the tensor has more than one.
            rank = self.known.ranks[self.symbol(letter)]
            one = _single(lower[0], at) if self.mode == "planes" else bool(set(lower[0]) & {"+", "−"})
            lower = units(lower[0]) if rank > 1 and not one else lower
        return tuple(subscript(s, at) for s in samples), tuple(subscript(s, at) for s in lower)

    def block(self, letter: Letter, at: Place, sign: str = "") -> Value:
        """A matrix, or with subscripts one of several."""
        symbol = self.symbol(letter)
        samples = tuple(subscript(u[1:-1], at) for u in letter.upper if u.startswith("("))
        parts = letter.lower.split(",") if letter.lower else []
        counts = {n for view, own, n in self.known.blocks if (view, own) == (self.view, symbol)}
        if len(parts) == 1 and not (len(samples) + 1 in counts and (parts[0].isdigit() or _single(parts[0], at))):
            parts = units(parts[0])
        lower = tuple(subscript(s, at) for s in parts)
        count = len(samples) + len(lower)
        if not count and not self.view:
            return matrix((sign, symbol) if sign else symbol, self.known.shapes[symbol])
        if (self.view, symbol, count) not in self.known.blocks:
            raise ReadingError(f"{letter} in a matrix form")
        shape = self.known.blocks[self.view, symbol, count]
        return matrix((self.view, sign, symbol, samples, lower, letter.bars), shape)

    def letter(self, letter: Letter, at: Place) -> Value:
        symbol = self.symbol(letter)
        if symbol in self.known.ranks:
            if self.mode == "matrix":
                return self.block(letter, at)
            samples, lower = self.subscripts(letter, at)
            if self.mode == "planes" and len(lower) < self.known.ranks[symbol]:
                return plane(symbol, samples, lower, letter.bars)
            if len(lower) != self.known.ranks[symbol]:
                raise ReadingError(f"{letter} has rank {self.known.ranks[symbol]}")
            return component(symbol, letter.bars, samples, lower)
        if letter.stem == "J" and (letter.lower or "J" not in self.known.extents):
            return matrix(("J", letter.lower), self.known.shapes["J", letter.lower])
        if letter.stem == "𝟏":
            return plane("𝟏", letter.lower) if self.mode == "planes" else 1
        if not letter.upper and not letter.lower:
            if letter.stem in self.known.extents or letter.stem in ("π", "e"):
                return unknown("constant", letter.stem)
            raise ReadingError(f"{letter.stem} is no letter of this formula")
        raise ReadingError(f"{letter} is unknown")


@cache
def letters(node: Node) -> str:
    """All letters in it, and what stands above and below them."""
    own = node.letter
    scripts = (own.stem, own.primes, *own.upper, own.lower) if own else ()
    return " ".join((node.text, "".join(scripts), *map(letters, node.arguments)))


def _sum(values: Sequence[Value]) -> Value:
    return sum(values[1:], values[0]) % PRIME


def softmax(value: Value) -> Value:
    value = as_matrix(value)
    return matrix(("softmax", key(value)), value.shape)


OPERATIONS = ("pad", "crop", "maxpool", "argmaxpool")


def component(symbol: tuple[str, str], bars: int, samples: tuple[int, ...], lower: tuple[int, ...]) -> int:
    return unknown("component", symbol, bars, samples, lower)


def matrix(about: object, shape: tuple[int, int]) -> Value:
    cells = [[unknown("matrix", about, i, j) for j in range(shape[1])] for i in range(shape[0])]
    return np.array(cells, dtype=object).reshape(shape)


class _One:
    """The column 𝟏, as long as it must be."""


class _OneRow:
    """Its transpose."""


@dataclass(frozen=True)
class Unit:
    """A number times diag(𝟏) and one times 𝟏 𝟏ᵀ: as large as what it is added to, multiplied by entry by entry, or
    compared with."""

    scale: int
    rest: int = 0
    __array_ufunc__ = None  # arrays leave the operation to this

    def like(self, other: Value) -> Value:
        shape = np.shape(other)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ReadingError(f"diag(𝟏) beside {shape}")
        return (self.scale * np.eye(shape[0], dtype=int).astype(object) + self.rest) % PRIME

    def __add__(self, other: Value) -> Value:
        if isinstance(other, Unit):
            return Unit(self.scale + other.scale, self.rest + other.rest)
        number = _scalar(other)
        return self.like(other) + other if number is None else Unit(self.scale, self.rest + number)

    def __mul__(self, other: Value) -> Value:
        number = _scalar(other)
        return self.like(other) * other if number is None else Unit(self.scale * number, self.rest * number)

    def __neg__(self) -> Unit:
        return Unit(-self.scale, -self.rest)

    def __mod__(self, prime: int) -> Unit:
        return Unit(self.scale % prime, self.rest % prime)

    @property
    def T(self) -> Unit:
        return self

    __radd__, __rmul__ = __add__, __mul__


ONES = {"": None, "column": _One(), "row": _OneRow()}


def _ones(node: Node) -> str:
    if node.kind == "letter" and node.letter is not None and node.letter.stem == "𝟏" and not node.letter.lower:
        return "column"
    return "row" if node.kind == "transpose" and _ones(node.arguments[0]) == "column" else ""


def _both_ones(left: Value, right: Value) -> bool:
    return isinstance(left, _One | _OneRow) and isinstance(right, _One | _OneRow)


def as_matrix(value: Value) -> Value:
    """A matrix of one number is one."""
    return np.array([[value]], dtype=object) if isinstance(value, int) else value


def extreme(name: str, value: Value) -> Value:
    """The maximum, or its place, of each row or each column, or of all entries."""
    kind, value = name.removeprefix("row").removeprefix("col"), as_matrix(value)
    if name.startswith("row"):
        return np.array([[unknown(kind, *row)] for row in value], dtype=object)
    if name.startswith("col"):
        return np.array([[unknown(kind, *column) for column in value.T]], dtype=object)
    return np.array([[unknown(kind, *value.ravel())]], dtype=object)


def _scalar(value: Value) -> int | None:
    """The number that a value is, where it is one."""
    if isinstance(value, int | _One | _OneRow | Unit):
        return value if isinstance(value, int) else None
    return int(value[0, 0]) if value.shape == (1, 1) else None


def matmul(left: Value, right: Value) -> Value:
    match left, right:
        case Unit(scale=scale, rest=0), (_One() | _OneRow()) as other:
            if scale != 1:
                raise ReadingError("a number of ones")
            return other
        case Unit(scale=scale, rest=0), other:
            return scale * other % PRIME
        case _, Unit(rest=0):
            return matmul(right, left)
        case _One(), _:
            if np.asarray(right, dtype=object).ndim == 2 and right.shape[0] != 1:
                raise ReadingError("𝟏 times more than one row")
            return right
        case _OneRow(), _:
            return right.sum(axis=0, keepdims=True) % PRIME
        case _, _One():
            return left.sum(axis=1, keepdims=True) % PRIME
        case _, _OneRow():
            if np.asarray(left, dtype=object).ndim == 2 and left.shape[1] != 1:
                raise ReadingError("more than one column times 𝟏ᵀ")
            return left
        case _:
            pass
    if (1, 1) in (left.shape, right.shape):
        return left * right % PRIME
    if left.shape[1] != right.shape[0]:
        raise ReadingError(f"{left.shape} times {right.shape}")
    return left @ right % PRIME


def units(text: str) -> list[str]:
    """Letters side by side, each with its primes."""
    found: list[str] = []
    for character in text:
        if character in "′″‴":
            found[-1] += character
        else:
            found.append(character)
    return found


def _single(text: str, at: Place) -> bool:
    """Whether it is one subscript, and not several side by side."""
    if text.isdigit():
        return False
    try:
        subscript(text, at)
    except ReadingError:
        return False
    return True


def subscript(text: str, at: Place) -> int:
    """2i+p−1 at a place."""
    result, rest, sign = 0, text, 1
    while rest:
        if rest[0] in "+−":
            sign, rest = (-1 if rest[0] == "−" else 1), rest[1:]
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        rest = rest[len(digits) :]
        name = next((rest[:k] for k in range(len(rest), 0, -1) if rest[:k] in at), "")
        if (not digits and not name) or (name and digits in ("0", "1")):
            raise ReadingError(f"no subscript: {text!r}")
        result += sign * int(digits or 1) * (at[name] if name else 1)
        rest = rest[len(name) :]
        if rest and rest[0] not in "+−":
            raise ReadingError(f"no subscript: {text!r}")
    return result
