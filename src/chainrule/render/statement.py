"""One assignment of the array program as a statement of an array library: NumPy's, or what others spell otherwise.

A sum of products is a matrix product where it is one, else einsum. A slice at affine subscripts is an index of open
grids, as the formula has it: x[:, :, 2*i + p].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from string import ascii_letters
from typing import Protocol

from chainrule.arrays.ids import Limits
from chainrule.arrays.lower import lower
from chainrule.arrays.nodes import (
    Axes,
    Broadcast,
    Cast,
    Einsum,
    Gather,
    Given,
    Iota,
    Map,
    Node,
    Number,
    Pad,
    Power,
    Reduce,
    Reshape,
    Scatter,
    Shape,
    Size,
    Slice,
    Transpose,
    in_order,
)
from chainrule.errors import DerivationError
from chainrule.forms.fuse import Fused, fuse
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes
from chainrule.render.libraries import NumPy

BRACKET, SUM, PRODUCT, POWER, ATOM = range(5)
SIGNS = {"equal": "==", "less": "<", "less_equal": "<="}


@dataclass(frozen=True, slots=True)
class Code:
    """Python for an array, and how tightly it binds."""

    text: str
    precedence: int = ATOM
    minus: bool = False
    """Whether the value is minus the text."""
    truth: bool = False
    """Whether it is an array of booleans, which stand for 1 and 0."""
    below: str = ""
    """What the value is one over."""
    peak: bool = False
    """Whether it is the part of a logarithm of a sum that is written with the rest of it."""

    def at(self, precedence: int) -> str:
        if self.minus and self.truth:
            return self.number.at(precedence)
        if self.minus:
            text = f"-{self.text if self.precedence >= PRODUCT else f'({self.text})'}"
            return text if precedence <= PRODUCT else f"({text})"
        return self.text if self.precedence >= precedence else f"({self.text})"

    @property
    def whole(self) -> str:
        return self.at(SUM)

    @property
    def number(self) -> Code:
        """The same as a number: 1.0 for a bracket that holds. NumPy has no difference of booleans, and their sum is
        another boolean."""
        if not self.truth:
            return self
        return Code(f"1.0 * {replace(self, minus=False).at(POWER)}", PRODUCT, self.minus)

    def then(self, rest: str) -> Code:
        """The code with an index or a method behind it."""
        return Code(f"{replace(self, minus=False).at(ATOM)}{rest}", minus=self.minus, truth=self.truth, peak=self.peak)


def fraction(value: Fraction) -> Code:
    """The number in decimals where that is exact and short, else as a quotient."""
    minus, value = value < 0, abs(value)
    if value.denominator == 1:
        return Code(str(value.numerator), ATOM, minus)
    text = repr(float(value))
    if (Fraction(text) == value and len(text) <= 7) or len(str(value)) > len(text):
        return Code(text, ATOM, minus)
    below = str(value.denominator) if value.numerator == 1 else ""
    return Code(f"{value.numerator} / {value.denominator}", PRODUCT, minus, below=below)


class Context(Protocol):
    """What the statements of one listing share."""

    library: NumPy
    like: str
    """An array of real numbers that is given."""
    words: Mapping[str, str]
    """Tensors by name: their names in Python."""
    given: Sequence[Tensor]
    limits: Limits
    helpers: set[str]
    """The helper functions that the statements call."""
    defined: set[str]
    """The tensors that are written part by part and exist already."""
    pads: dict[tuple[str, str], str]
    sized: bool
    """Whether the number of samples is read."""


class Statement:
    """One equation: the lines that its reads need before it, and the assignment."""

    def __init__(self, listing: Context, equation: Equation) -> None:
        self.listing, self.equation = listing, equation
        target = equation.target
        complete = all(s.radix(e) for s, e in zip(target.subscripts, target.tensor.shape, strict=True))
        fused = fuse(target, equation.value) if complete else Fused(target, equation.value)
        self.flat = fused.flat
        (self.assignment,) = lower([Equation(fused.target, fused.value)], {}, listing.limits, select=True)
        self.padding, self.before = list[str](), list[str]()
        self.sums = set[str]()
        self.grids: dict[Axes, None] = {}
        self.letters: dict[Index, str] = {}
        others = (i for node in nodes(fused.value) for i in node.free)
        for index in dict.fromkeys((*fused.target.free, *others)):
            first = index.name[:1] if index.name[:1] in ascii_letters else ""
            used = self.letters.values()
            self.letters[index] = next((c for c in (*first, *ascii_letters) if c not in used), "a")
        self.places: dict[tuple[Axes, Index], str] = {}

    def lines(self) -> list[str]:
        equation, assignment = self.equation, self.assignment
        tensor, name = equation.tensor, self.listing.words[equation.tensor.name]
        root, made = assignment.value, list[str]()
        if assignment.part is not None:
            root = root.operands[0] if isinstance(root, Broadcast) else root
            if name not in self.listing.defined:
                self.listing.defined.add(name)
                zeros = self.library.zeros(self.shape(tensor.shape), self.like, integer=tensor.dtype == "integer")
                made.append(f"{name} = {zeros}")
            axes = tuple(i for s in assignment.part for i in s.indices)
            place = self.index(assignment.part, tensor.shape, axes)
            value = self.code(root, name).whole
            return [*made, *self.grown(self.library.put(name, place, value))]
        value = self.code(root, name)
        value = value.number if tensor.dtype == "real" else value
        if assignment.tensor != tensor:
            value = value.then(f".reshape({self.extents(tensor.shape)})")
        text = self.library.scalar(value.whole, self.like) if _number(root) and not tensor.shape else value.whole
        return self.grown("" if text == name else f"{name} = {text}")

    def grown(self, assigned: str) -> list[str]:
        """The assignment, after the lines that it needs."""
        return [*self.padding, *map(self.grid, self.grids), *self.before, *([assigned] if assigned else [])]

    # Names and extents

    def place(self, group: Axes, index: Index) -> str:
        """The name of an index in the grid of a group; in every grid of a statement it is another."""
        self.grids.setdefault(group)
        if (group, index) not in self.places:
            word = self.letters[index]
            while word in (SAMPLES, *self.listing.words.values(), *self.places.values()):
                word += word[0]
            self.places[group, index] = word
        return self.places[group, index]

    def grid(self, group: Axes) -> str:
        words, extents = [self.place(group, i) for i in group], [self.extent(i.extent) for i in group]
        return self.library.grid(words, extents, self.like)

    def affine(self, s: Affine, group: Axes) -> str:
        text = ""
        for index, c in s.terms:
            word = self.place(group, index)
            term = word if abs(c) == 1 else f"{abs(c)} * {word}"
            text = f"{text} {'-' if c < 0 else '+'} {term}" if text else ("-" if c < 0 else "") + term
        if s.offset:
            text = f"{text} {'-' if s.offset < 0 else '+'} {abs(s.offset)}" if text else str(s.offset)
        return text or "0"

    def extent(self, extent: Extent) -> str:
        if isinstance(extent, int):
            return str(extent)
        for tensor in self.listing.given:
            if extent in tensor.shape:
                if extent == SAMPLES:
                    self.listing.sized = True
                    return SAMPLES
                return f"{self.listing.words[tensor.name]}.shape[{tensor.shape.index(extent)}]"
        raise DerivationError(f"nothing given has the extent {extent}", about=self.equation)

    def extents(self, shape: Iterable[Extent]) -> str:
        return ", ".join(map(self.extent, shape))

    def shape(self, shape: Sequence[Extent]) -> str:
        return f"({self.extents(shape)}{',' if len(shape) == 1 else ''})"

    def word(self, tensor: Tensor) -> str:
        if tensor.name in self.flat:
            return f"{self.listing.words[self.flat[tensor.name].tensor.name]}.reshape({self.extents(tensor.shape)})"
        return self.listing.words[tensor.name]

    # Reads

    def index(self, subscripts: Sequence[Affine], shape: Shape, axes: Axes) -> str:
        """What stands in the brackets behind a name, so that these axes come out: whole axes as they are, constants and
        single steps as slices, all else as grids."""
        used = [i for s in subscripts for i in s.indices]
        kinds = list[str]()
        for s, extent in zip(subscripts, shape, strict=True):
            own = s.terms[0][0] if len(s.terms) == 1 and s.terms[0][1] > 0 and used.count(s.terms[0][0]) == 1 else None
            sliced = own is not None and isinstance(own.extent, int) and isinstance(extent, int)
            whole = own is not None and s.plain is not None and own.extent == extent
            kinds.append(":" if whole else "number" if not s.terms else "slice" if sliced else "grid")
        if "grid" in kinds:
            # NumPy puts the axes of grids where the first of them stands only if no slice stands between.
            first, last = kinds.index("grid"), len(kinds) - kinds[::-1].index("grid")
            kinds = ["grid" if first <= n < last else k for n, k in enumerate(kinds)]
        gridded = {i for s, k in zip(subscripts, kinds, strict=True) if k == "grid" for i in s.indices}
        group = tuple(i for i in axes if i in gridded)
        found = dict.fromkeys(
            i for s, k in zip(subscripts, kinds, strict=True) for i in (group if k == "grid" else s.indices)
        )
        if ("grid" in kinds and "number" in kinds) or tuple(found) != axes:
            kinds, group = ["grid"] * len(kinds), axes
        parts = list[str]()
        for kind, s, extent in zip(kinds, subscripts, shape, strict=True):
            match kind:
                case "grid":
                    parts.append(self.affine(s, group))
                case "number":
                    parts.append(str(s.offset))
                case _:
                    parts.append(":" if kind == ":" else _slice(s, extent))
        return ", ".join(parts)

    def padded(self, node: Pad, of: Code) -> Code:
        """A name for the array with cells put around it."""
        fill = fraction(node.fill).whole if isinstance(node.fill, Fraction) else f"-{self.library.prefix}.inf"
        code, pads = self.library.pad(of.number.whole, node.widths, fill), self.listing.pads
        if (of.text, code) not in pads:
            stem = of.text if of.text.isidentifier() else "array"
            word = f"{stem}_padded"
            while word in (*self.listing.words.values(), *pads.values()):
                word += "_"
            pads[of.text, code] = word
            self.padding.append(f"{word} = {code}")
        return Code(pads[of.text, code])

    # Arrays

    def code(self, root: Node, name: str) -> Code:
        """The code of an array that `name` is to stand for."""
        codes = dict[Node, Code]()
        for node in in_order(root, _written):
            inside = [codes[o] for o in _written(node)]
            codes[node] = self.scattered(node, inside, name) if isinstance(node, Scatter) else self.one(node, inside)
        return codes[root]

    def one(self, node: Node, inside: Sequence[Code]) -> Code:
        """The code of an array, from those of its operands."""
        of = node.operands[0] if node.operands else node
        match node:
            case Given(tensor=tensor):
                return Code(self.word(tensor))
            case Number(value=value):
                if isinstance(value, Fraction):
                    return fraction(value)
                return Code(f"{self.library.prefix}.{value.strip('-')}", minus=value == "-inf")
            case Size(extent=extent):
                return Code(self.extent(extent))
            case Iota(subscript=s):
                return Code(self.affine(s, s.indices), ATOM if s.plain or not s.terms else SUM)
            case Cast():
                if self.library.typed:
                    return self.real(of, inside[0])
                code = replace(inside[0], truth=True)
                return code if of.dtype == "bool" else code.number
            case Transpose(order=order):
                return inside[0].then(self.turned(order))
            case Reshape(shape=shape):
                return inside[0].then(_spread(of.shape, shape) or f".reshape({self.extents(shape)})")
            case Broadcast(shape=shape):
                return self.repeated(of, inside[0], shape)
            case Pad():
                return self.padded(node, inside[0])
            case Slice(subscripts=subscripts, axes=axes):
                return inside[0].then(f"[{self.index(subscripts, of.shape, axes)}]")
            case Gather(axis=axis):
                return inside[0].then(f"[{', '.join([':'] * axis + [c.whole for c in inside[1:]])}]")
            case Reduce():
                return self.reduced(node, inside[0] if self.library.typed else inside[0].number)
            case Einsum():
                return self.einsum(node, inside)
            case Power(exponent=exponent):
                return self.power(of, inside[0].number, exponent)
            case Map():
                return self.mapped(node, inside)
            case _:
                raise DerivationError(f"no {self.library.name} is known for {type(node).__name__}", about=self.equation)

    @property
    def library(self) -> NumPy:
        return self.listing.library

    @property
    def like(self) -> str:
        return self.listing.like

    def real(self, of: Node, code: Code) -> Code:
        """Brackets or whole numbers as real ones, by the library's word."""
        if _number(of):
            return code
        return Code(self.library.real(replace(code, minus=False).at(ATOM), self.like), minus=code.minus)

    def turned(self, order: Sequence[int]) -> str:
        if [*order] == sorted(order):
            return ""
        return ".T" if [*order] == [1, 0] else self.library.transpose(order)

    def repeated(self, of: Node, code: Code, shape: Shape) -> Code:
        if of.shape:
            return Code(f"{self.library.prefix}.broadcast_to({code.number.whole}, {self.shape(shape)})")
        if code.text == "0":
            return Code(self.library.zeros(self.shape(shape), self.like))
        made = self.library.full(
            self.shape(shape), code.number.whole, self.like, integer=of.dtype == "integer", number=_number(of)
        )
        return Code(made)

    def scattered(self, node: Scatter, inside: Sequence[Code], name: str) -> Code:
        """Lines that add the terms to zeros."""
        terms, *places = inside
        if node is not self.assignment.value or self.assignment.part is not None:
            name += "_sum"
            while name in (*self.listing.words.values(), *self.sums):
                name += "_"
            self.sums.add(name)
        self.before.append(f"{name} = {self.library.zeros(self.shape(node.shape), self.like)}")
        self.before.append(self.library.add_at(name, [p.whole for p in places], terms.whole))
        return Code(name)

    def reduced(self, node: Reduce, of: Code) -> Code:
        if self.library.typed and node.operands[0].dtype == "bool":
            of = self.real(node.operands[0], of)
        count, axes = len(node.operands[0].shape), node.axes
        axis = f"{self.library.axis}={axes[0] if len(axes) == 1 else axes}"
        match node.kind:
            case "peak":
                return Code("", peak=True)
            case "rest":
                self.listing.helpers.add("logsumexp")
                return Code(f"{self.library.calls['logsumexp']}({of.whole}, {axis})")
            case "argmax":
                if len(axes) > 1:
                    of = Code(f"{of.at(ATOM)}.reshape({self.extents(node.shape)}{', ' * bool(node.shape)}-1)")
                return Code(f"{of.at(ATOM)}.argmax({self.library.axis}={len(node.shape)})")
            case kind:
                kind = self.library.reduction(kind)
                return Code(f"{of.at(ATOM)}.{kind}({'' if len(axes) == count else axis})")

    def mapped(self, node: Map, inside: Sequence[Code]) -> Code:
        function = node.function
        if self.library.typed and function not in ("and", "where"):
            brackets = [o.dtype == "bool" for o in node.operands]
            inside = [self.real(o, c) if b else c for o, c, b in zip(node.operands, inside, brackets, strict=True)]
        numbers = [*map(_number, node.operands)]
        match function:
            case "add":
                return _sum(inside)
            case "multiply":
                return _product(inside)
            case "where":
                where, one, other = inside
                texts = where.text, one.number.whole, other.whole
                if self.library.typed and numbers[0]:
                    return Code(f"({texts[1]} if {texts[0]} else {texts[2]})")
                return Code(self.library.where(*texts, self.like, numbers=all(numbers[1:])))
            case "and":
                return Code(" & ".join(c.at(ATOM) for c in inside), BRACKET, truth=True)
            case "step":
                code = Code(f"{inside[0].number.whole} > 0", BRACKET, truth=True)
                return Code(self.library.real(code.at(ATOM), self.like)) if self.library.typed else code
            case "equal" | "less" | "less_equal":
                return Code(f"{inside[0].whole} {SIGNS[function]} {inside[1].whole}", BRACKET, truth=True)
            case _:
                return self.called(function, [c.number.whole for c in inside], numbers)

    def called(self, function: str, arguments: Sequence[str], numbers: Sequence[bool]) -> Code:
        if function in ("max", "min"):
            return Code(self.library.extreme(function, arguments, numbers))
        call = self.library.calls.get(function)
        if call is None:
            raise DerivationError(f"no {self.library.name} is known for {function}", about=self.equation)
        self.listing.helpers.add(function)
        if all(numbers) and self.library.typed:
            call = f"math.{function}"
        return Code(f"{call}({', '.join(arguments)})")

    def einsum(self, node: Einsum, inside: Sequence[Code]) -> Code:
        minus = sum(c.minus for c in inside) % 2 == 1
        codes = [replace(c, minus=False) for c in inside]
        if self.library.typed:
            brackets = [o.dtype == "bool" for o in node.operands]
            codes = [self.real(o, c) if b else c for o, c, b in zip(node.operands, codes, brackets, strict=True)]
        elif all(c.truth for c in codes):
            codes[0] = codes[0].number
        every = tuple(dict.fromkeys(i for own in node.indices for i in own))
        summed = [i for i in every if i not in node.kept]
        if len(codes) == 2:
            pairs = [*zip(codes, node.indices, strict=True)]
            (a, own), (b, other) = pairs
            if len(every) == 1 + len(node.kept) < 3 and (own == other or (not node.kept and set(own) == set(other))):
                b = b if own == other else b.then(self.turned([other.index(i) for i in own]))
                product = _product([a, b])
                axis = "" if not node.kept else f"{self.library.axis}={own.index(summed[0])}"
                return Code(f"{product.number.at(ATOM)}.sum({axis})", minus=minus)
            for one, two in (pairs, pairs[::-1]):
                form = self.matrix_product(*one, *two, summed, node.kept)
                if form is not None:
                    return replace(form, minus=minus)
        letters: dict[Index, str] = {}
        for index in every:
            used = letters.values()
            letters[index] = next(c for c in (self.letters[index], *ascii_letters) if c not in used)
        words = ",".join("".join(letters[i] for i in own) for own in node.indices)
        result = "".join(letters[i] for i in node.kept)
        arguments = ", ".join(c.whole for c in codes)
        return Code(f'{self.library.prefix}.einsum("{words}->{result}", {arguments})', minus=minus)

    def power(self, of: Node, base: Code, exponent: Fraction) -> Code:
        if exponent < 0:
            below = base.at(POWER) if exponent == -1 else self.power(of, base, -exponent).at(POWER)
            return Code(f"1 / {below}", PRODUCT, below=below)
        if exponent == Fraction(1, 2):
            own = self.library.typed and _number(of)
            return Code(f"{'math' if own else self.library.prefix}.sqrt({base.whole})", POWER)
        return Code(f"{base.at(ATOM)}**{fraction(exponent).at(ATOM)}", POWER)

    def matrix_product(
        self, a: Code, own: Axes, b: Code, other: Axes, summed: Sequence[Index], kept: Axes
    ) -> Code | None:
        """a @ b, where that is a sum over the last axis of a and the first of b, and gives the axes in order."""
        if len(summed) != 1 or not (summed[0] in own and summed[0] in other):
            return None
        (k,) = summed
        left, right = [tuple(i for i in axes if i != k) for axes in (own, other)]
        if set(left) & set(right) or len(right) > 1 or (*left, *right) != kept or (len(left) > 1 and own[-1] != k):
            return None
        a, b = a.then(self.turned([own.index(i) for i in (*left, k)])) if own[-1] != k else a, b
        b = b.then(self.turned([other.index(i) for i in (k, *right)])) if other[0] != k else b
        return Code(f"{a.number.at(PRODUCT)} @ {b.at(POWER)}", PRODUCT)


def _number(node: Node) -> bool:
    """Whether the code of an array is that of one number of Python's."""
    return not node.shape and all(isinstance(n, Number | Size | Iota | Map | Power | Cast) for n in in_order(node))


def _written(node: Node) -> Sequence[Node]:
    """The operands whose code stands in that of an array. What padding is not is left to the reader."""
    return node.operands[:1] if isinstance(node, Reduce) else node.operands


def _slice(s: Affine, extent: Extent) -> str:
    """start:stop:step, as short as it can be, of an index with a positive step."""
    ((index, step),) = s.terms
    last = s.offset + step * (int(index.extent) - 1)
    stop = "" if last + step >= int(extent) else str(last + 1)
    return f"{s.offset or ''}:{stop}" + (f":{step}" if step != 1 else "")


def _spread(shape: Shape, to: Shape) -> str:
    """An index that puts in axes of length 1, where that is all that a reshape does."""
    shown, rest = list[str](), [*shape]
    for size in to:
        if rest and rest[0] == size:
            shown.append(":")
            rest.pop(0)
        elif size == 1:
            shown.append("None")
        else:
            return ""
    if rest or ":" not in shown:
        return ""
    tail = len(shown) - shown[::-1].index(":")
    several = "None" in shown[:tail] or tail == 1
    return f"[{', '.join(shown if several else ['...', *shown[tail:]])}]"


def _sum(terms: Sequence[Code]) -> Code:
    """The terms in order; the logarithm of a sum stands where its greatest entry is added."""
    peaks = sum(t.peak for t in terms)
    late = iter(terms[len(terms) - peaks :])
    terms = [next(late) if t.peak else t for t in terms[: len(terms) - peaks]]
    if len(terms) == 1:
        return terms[0]
    if terms[0].truth and (terms[0].minus or terms[1].truth):
        terms[0] = terms[0].number
    text = terms[0].whole
    for term in terms[1:]:
        text += f" {'-' if term.minus else '+'} {replace(term, minus=False).at(PRODUCT)}"
    return Code(text, SUM)


def _product(factors: Sequence[Code]) -> Code:
    """Entry by entry; reciprocals stand below, at the end."""
    minus = sum(f.minus for f in factors) % 2 == 1
    parts = [replace(f, minus=False) for f in factors]
    parts = [p for p in parts if p.text != "1"] or [Code("1")]
    if len(parts) == 1:
        return replace(parts[0], minus=minus)
    above = sorted((p for p in parts if not p.below), key=lambda p: p.truth)  # NumPy has no minus of a bracket
    if minus and above and above[0].truth and len(above) < len(parts):
        above[0] = above[0].number
    text = " * ".join(p.at(POWER) if n else p.at(PRODUCT) for n, p in enumerate(above)) or "1"
    text += "".join(f" / {p.below}" for p in parts if p.below)
    return Code(text, PRODUCT, minus, all(p.truth for p in parts))
