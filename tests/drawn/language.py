"""The language once more, for tests: a small tree of its own, its text, and what it reads. Shares nothing with src/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, Literal

N = "N"  # the extent of a sample index


@dataclass(frozen=True)
class Index:
    name: str
    extent: int | str


@dataclass(frozen=True)
class Affine:
    """offset + Σ coefficient·index."""

    terms: tuple[tuple[Index, int], ...] = ()
    offset: int = 0

    @property
    def plain(self) -> Index | None:
        return self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 and not self.offset else None

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(i for i, _ in self.terms)

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value; a sample index counts as 0."""
        reach = [c * (i.extent - 1) for i, c in self.terms if isinstance(i.extent, int)]
        return self.offset + sum(min(0, r) for r in reach), self.offset + sum(max(0, r) for r in reach)


def at(index: Index) -> Affine:
    return Affine(((index, 1),))


class Expr:
    """Base of all nodes."""


@dataclass(frozen=True)
class Number(Expr):
    value: Fraction | Literal["pi"]
    decimal: bool = False


@dataclass(frozen=True)
class Read(Expr):
    name: str
    subscripts: tuple[Affine, ...]
    pad: Fraction | Literal["-inf"] | None = None


@dataclass(frozen=True)
class Add(Expr):
    """Terms, each added or (False) taken away."""

    terms: tuple[tuple[bool, Expr], ...]


@dataclass(frozen=True)
class Multiply(Expr):
    factors: tuple[Expr, ...]


@dataclass(frozen=True)
class Divide(Expr):
    above: Expr
    below: Expr


@dataclass(frozen=True)
class Minus(Expr):
    of: Expr


@dataclass(frozen=True)
class Power(Expr):
    base: Expr
    exponent: Fraction


@dataclass(frozen=True)
class Apply(Expr):
    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Reduce(Expr):
    kind: Literal["sum", "mean", "max", "logsumexp", "argmax"]
    indices: tuple[Index, ...]
    body: Expr


@dataclass(frozen=True)
class Same(Expr):
    """[left == right], right an affine number or a component of an integer tensor."""

    left: Affine
    right: Affine | Read


@dataclass(frozen=True)
class Within(Expr):
    """[0 <= of < extent]"""

    of: Affine
    extent: int


@dataclass(frozen=True)
class Positive(Expr):
    """[of > 0]"""

    of: Expr


@dataclass(frozen=True)
class Equation:
    name: str
    subscripts: tuple[Affine, ...]
    value: Expr

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(dict.fromkeys(i for s in self.subscripts for i in s.indices))

    @property
    def names(self) -> set[str]:
        """The tensors that it reads."""
        return {r.name for r in reads(self.value)}


Kind = Literal["input", "parameter", "id", "state", "random", "target"]


@dataclass(frozen=True)
class Given:
    """A tensor that the program is given. `tops`: whole numbers below it, or one for each column of the last axis;
    `next`: what a state becomes."""

    name: str
    shape: tuple[int | str, ...]
    kind: Kind
    positive: bool = False
    tops: tuple[int, ...] = ()
    next: str = ""


TARGET = "<t>"  # the name of what a loss compares with, which no program gives to another tensor
Form = Literal["text", "layer"]


@dataclass(frozen=True)
class Program:
    """`equations`, the last one's tensor the result; in a layer `loss` is the equation over u and t, which is the loss
    `named` where it has a name. `declared`: every index with its extent, also where the text would do without."""

    seed: int
    form: Form
    given: tuple[Given, ...]
    equations: tuple[Equation, ...]
    loss: Equation | None = None
    named: str = ""
    declared: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """The shapes of all tensors by name: a defined one is as large as its pieces reach."""
        result: dict[str, tuple[int | str, ...]] = {g.name: g.shape for g in self.given}
        for e in self.equations:
            own = tuple(s.indices[0].extent if sampled(s) else s.bounds[1] + 1 for s in e.subscripts)
            other = result.get(e.name, own)
            result[e.name] = tuple(
                max(a, b) if isinstance(a, int) and isinstance(b, int) else a for a, b in zip(own, other, strict=True)
            )
        return result

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def texts(self) -> list[str]:
        return [equation_text(e, self.declared) for e in self.equations]

    def __str__(self) -> str:
        """The smallest that says everything: what is given, the equations, the loss."""
        kinds = {"input": "x", "parameter": "w", "id": "id", "state": "state", "random": "mask", "target": "t"}
        given = ", ".join(
            f"{g.name}({', '.join(map(str, g.shape))}) {kinds[g.kind]}{f'<{g.tops}' if g.tops else ''}"
            for g in self.given
        )
        loss = f"\nloss: {self.named or self.loss_text}" if self.loss else ""
        return f"# {self.form}: {given}\n{self.text}{loss}"

    @property
    def loss_text(self) -> str | None:
        return equation_text(self.loss, self.declared) if self.loss else None


def sampled(s: Affine) -> bool:
    return any(i.extent == N for i in s.indices)


# Walking


def parts(node: Any) -> tuple[Expr, ...]:
    """The expressions directly inside."""
    match node:
        case Add(terms):
            return tuple(t for _, t in terms)
        case Multiply(factors):
            return factors
        case Divide(above, below):
            return above, below
        case Minus(of) | Positive(of):
            return (of,)
        case Power(base, _):
            return (base,)
        case Apply(_, arguments):
            return arguments
        case Reduce(_, _, body):
            return (body,)
        case Same(_, Read() as right):
            return (right,)
        case _:
            return ()


def walk(node: Expr) -> Iterator[Expr]:
    yield node
    for part in parts(node):
        yield from walk(part)


def free(node: Expr) -> set[Index]:
    match node:
        case Read(_, subscripts, _):
            return {i for s in subscripts for i in s.indices}
        case Reduce(_, indices, body):
            return {i for i in free(body) if i not in indices}
        case Same(left, right):
            return {*left.indices, *(free(right) if isinstance(right, Read) else right.indices)}
        case Within(of, _):
            return set(of.indices)
        case _:
            return {i for part in parts(node) for i in free(part)}


def reads(node: Expr) -> Iterator[Read]:
    return (n for n in walk(node) if isinstance(n, Read))


def places(root: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Expr]]:
    """Every expression inside, and the way to it."""
    if isinstance(root, Expr):
        yield path, root
    if is_dataclass(root) and not isinstance(root, type):
        for field in fields(root):
            yield from places(getattr(root, field.name), (*path, field.name))
    elif isinstance(root, tuple):
        for n, item in enumerate(root):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from places(item, (*path, n))


def put(root: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The same with another expression at a place."""
    if not path:
        return new
    step, *rest = path
    if isinstance(step, str):
        return replace(root, **{step: put(getattr(root, step), tuple(rest), new)})
    return (*root[:step], put(root[step], tuple(rest), new), *root[step + 1 :])


def moved(node: Any, new: Mapping[Index, Index]) -> Any:
    """The same at other indices."""
    match node:
        case Affine(terms, offset):
            total = dict[Index, int]()
            for i, c in terms:
                total[new.get(i, i)] = total.get(new.get(i, i), 0) + c
            return Affine(tuple((i, c) for i, c in total.items() if c), offset)
        case Reduce(kind, indices, body):
            return Reduce(kind, indices, moved(body, {i: j for i, j in new.items() if i not in indices}))
        case tuple():
            return tuple(moved(part, new) for part in node)  # pyright: ignore[reportUnknownVariableType]
        case Expr():
            return replace(node, **{field.name: moved(getattr(node, field.name), new) for field in fields(node)})  # pyright: ignore[reportArgumentType]
        case _:
            return node


# Text


def affine_text(a: Affine, declare: Mapping[Index, str] | None = None) -> str:
    """The offset stands first where the first coefficient is negative."""
    shown = declare or {}
    words: list[str] = []
    for index, c in a.terms:
        name = shown.get(index, index.name)
        if "<" in name and (len(a.terms) > 1 or c != 1 or a.offset):
            name = f"({name})"
        words.append(("-" if c < 0 else "+") + (name if abs(c) == 1 else f"{abs(c)}*{name}"))
    if a.offset or not words:
        number = f"{'-' if a.offset < 0 else '+'}{abs(a.offset)}"
        words.insert(0 if words and words[0][0] == "-" and a.offset > 0 else len(words), number)
    first, *rest = words
    return (first[1:] if first[0] == "+" else first) + "".join(f" {w[0]} {w[1:]}" for w in rest)


def number_text(value: Fraction, decimal: bool = False) -> str:
    if decimal and 1000 % value.denominator == 0:
        return repr(float(value))
    return str(value)


_SUM, _PRODUCT, _POWER, _ATOM = range(4)


def text(node: Expr, level: int = _SUM, undeclared: bool = False) -> str:
    """The node's text, in parentheses where its own level is below `level`."""
    own, written = _text(node, undeclared)
    return written if own >= level else f"({written})"


def _text(node: Expr, bare: bool) -> tuple[int, str]:
    match node:
        case Number("pi", _):
            return _ATOM, "pi"
        case Number(Fraction() as value, decimal):
            written = number_text(value, decimal)
            return (_SUM if value < 0 else _PRODUCT if "/" in written else _ATOM), written
        case Read(name, subscripts, pad):
            name = name if pad is None else f"pad({name}, {pad if isinstance(pad, str) else number_text(pad)})"
            return _ATOM, f"{name}[{', '.join(map(affine_text, subscripts))}]" if subscripts else name
        case Add(terms):
            words = [("+" if plus else "-") + text(t, _SUM if plus and not n else _PRODUCT, bare)
                     for n, (plus, t) in enumerate(terms)]
            head = words[0] if words[0][0] == "-" else words[0][1:]
            return _SUM, head + "".join(f" {w[0]} {w[1:]}" for w in words[1:])
        case Multiply(factors):
            return _PRODUCT, "*".join(text(f, _POWER if n else _PRODUCT, bare) for n, f in enumerate(factors))
        case Divide(above, below):
            return _PRODUCT, f"{text(above, _PRODUCT, bare)}/{text(below, _POWER, bare)}"
        case Minus(of):
            return _SUM, f"-{text(of, _PRODUCT, bare)}"
        case Power(base, exponent):
            shown = str(exponent) if exponent.denominator == 1 else f"({exponent})"
            return _POWER, f"{text(base, _ATOM, bare)}**{shown}"
        case Apply(function, arguments):
            return _ATOM, f"{function}({', '.join(text(a, _SUM, bare) for a in arguments)})"
        case Reduce(kind, indices, body):
            fixed = {i for i in _fixed(body) if bare or i.extent == N}
            shown = ", ".join(i.name if i in fixed else f"{i.name}<{i.extent}" for i in indices)
            return _ATOM, f"{kind}[{shown}]({text(body, _SUM, bare)})"
        case Same(left, right):
            return _ATOM, f"[{affine_text(left)} == {text(right) if isinstance(right, Read) else affine_text(right)}]"
        case Within(of, extent):
            return _ATOM, f"[0 <= {affine_text(of)} < {extent}]"
        case Positive(of):
            return _ATOM, f"[{text(of, _SUM, bare)} > 0]"
        case _:
            raise TypeError(type(node).__name__)


def _fixed(node: Expr) -> set[Index]:
    """The free indices whose extent a plain, unpadded read gives."""
    match node:
        case Read(_, subscripts, None):
            return {s.plain for s in subscripts if s.plain is not None}
        case Reduce(_, indices, body):
            return {i for i in _fixed(body) if i.name not in {j.name for j in indices}}
        case _:
            return {i for part in parts(node) for i in _fixed(part)}


def equation_text(e: Equation, declared: bool = True) -> str:
    fixed = {i for i in _fixed(e.value) if not declared or i.extent == N}
    seen = {i: i.name if i in fixed else f"{i.name}<{i.extent}" for i in e.indices}
    left = ", ".join(affine_text(s, seen) for s in e.subscripts)
    return f"{e.name}[{left}] = {text(e.value, _SUM, not declared)}" if left else f"{e.name} = {text(e.value)}"
