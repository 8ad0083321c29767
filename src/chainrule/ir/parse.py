"""Reading equations from text. The grammar is that of Python's expressions, read with `ast` and never evaluated.

    u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]
    y[n, i<14] = max[p<2](pad(x, -inf)[n, 2*i + p - 1])
    y[n, 12*(c<3) + 4*(i<3) + (j<4)] = x[n, c, i, j]

Reading has two phases. The first walks the text once, collects every index with the scope that binds it and every
subscript, and leaves behind functions that will build the nodes. Then the extents are solved for: an extent is
declared (`i<14`, `k<K`), fixed by an unpadded plain subscript, or the largest that keeps unpadded affine subscripts in
range; what nothing fixes becomes a named extent (k -> "K"). The second phase builds the nodes.

What is written is what is built: `a + b + c` is one sum, `(a + b) + c` a sum in a sum. `a/b` is a product with the
power b**-1, `a/2` one with the constant 1/2, `a - b*c` a sum with the product of -1, b, c; `2/3` is one constant;
`mean[n](x)` is the sum times the reciprocal of the extent; `[x > 0]` is step(x).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from typing import NoReturn, TypeVar, cast

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.expr import (
    Add, Apply, Component, Constant, Delta, Derivative, Expr, Guard, Multiply, Pad, Power, Reduce, ReduceKind, Size,
    Tensor,
)
from chainrule.ir.functions import CATALOGUE, arity, is_function
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.program import Equation

MAX_LENGTH = 10_000
MAX_NESTING = 100
MAX_DIGITS = 40
MAX_DECIMAL_EXPONENT = 400
MAX_POWER = 64

REDUCTIONS: tuple[ReduceKind, ...] = ("sum", "max", "argmax", "logsumexp")
_NUMBER = re.compile(r"(?<![\w.])\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?")
_EXPONENT = re.compile(r"[eE]([+-]?\d+)$")
_MINUS_ONE = Constant(Fraction(-1))
_CALLABLE = (*CATALOGUE, *REDUCTIONS, "mean", "pad", "D")

Build = Callable[[], Expr]
Scope = Mapping[str, Index]
T = TypeVar("T")


def mean_factors(indices: tuple[Index, ...]) -> tuple[Expr, ...]:
    """The factors that make a sum over `indices` a mean: the reciprocals of the extents."""
    total = 1
    named: list[Expr] = []
    for index in indices:
        if isinstance(index.extent, int):
            total *= index.extent
        else:
            named.append(Power(Size(index.extent), Fraction(-1)))
    if len(named) == len(indices):
        return tuple(named)
    return (Constant(Fraction(1, total)), *named)


def shorten(text: str, width: int = 100) -> str:
    """The text on one line, cut in the middle where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width // 2]} … {text[-width // 2 :]}"


def _nearest(name: str, names: Collection[str]) -> str:
    match = get_close_matches(name, sorted(names), 1, 0.5)
    return f"did you mean {match[0]}? " if match else ""


def _scan(text: str) -> str:
    """The text without comments and line breaks, refused where it could strain Python's own parser."""
    if len(text) > MAX_LENGTH:
        raise EquationError(
            f"an equation of {len(text)} characters is longer than {MAX_LENGTH}", about=shorten(text),
            fix="split it into several equations",
        )
    if "\0" in text:
        raise EquationError("a null byte in an equation", about=shorten(text).replace("\0", "\\0"))
    text = " ".join(line.split("#", 1)[0] for line in text.splitlines()).strip()
    if "'" in text or '"' in text:
        raise EquationError("quoted text is no part of the language", about=shorten(text))
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_NESTING:
            raise EquationError(
                f"brackets nested deeper than {MAX_NESTING}", about=shorten(text),
                fix="name an inner part by an equation of its own",
            )
    for match in _NUMBER.finditer(text):
        number = match[0]
        exponent = _EXPONENT.search(number)
        if len(number) > MAX_DIGITS or exponent and abs(int(exponent[1])) > MAX_DECIMAL_EXPONENT:
            raise EquationError(
                f"the number {shorten(number, 20)} is too long: at most {MAX_DIGITS} characters and an exponent of at "
                f"most {MAX_DECIMAL_EXPONENT}", about=shorten(text),
            )
    if not text:
        raise EquationError("an empty equation", fix="write it as in: y[n, k] = sigmoid(u[n, k])")
    return text


class _Extents:
    """Classes of extents that must be equal (union-find), each with its value once that is known."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parent: dict[str, str] = {}
        self.value: dict[str, Extent] = {}
        self.place: dict[str, str] = {}

    def new(self) -> str:
        key = f"?{len(self.parent)}"
        self.parent[key] = key
        return key

    def find(self, key: str) -> str:
        while self.parent[key] != key:
            self.parent[key] = key = self.parent[self.parent[key]]
        return key

    def get(self, key: str) -> Extent | None:
        return self.value.get(self.find(key))

    def fix(self, key: str, extent: Extent, place: str, what: str) -> None:
        root = self.find(key)
        if root not in self.value:
            self.value[root], self.place[root] = extent, place
        elif self.value[root] != extent:
            self._conflict(what, self.value[root], self.place[root], extent, place)

    def join(self, one: str, other: str, place: str, what: str) -> None:
        a, b = self.find(one), self.find(other)
        if a == b:
            return
        if a in self.value and b in self.value and self.value[a] != self.value[b]:
            # The place of an axis is the tensor's declared shape; the subscript says where the two meet.
            self._conflict(what, self.value[a], self.place[a], self.value[b], f"{place} ({self.place[b]})")
        if a not in self.value and b in self.value:
            self.value[a], self.place[a] = self.value[b], f"{place} ({self.place[b]})"
        self.parent[b] = a

    def _conflict(self, what: str, one: Extent, first: str, other: Extent, second: str) -> NoReturn:
        raise ShapeError(
            f"{what} has extent {one} by {first}, but {other} by {second}", about=shorten(self.text),
            fix="give the axes the same extent, or use two different indices",
        )


@dataclass(frozen=True, slots=True)
class _Use:
    """One subscript of one axis."""

    tensor: str
    axis: int
    key: str
    subscript: Affine
    padded: bool
    is_target: bool
    place: str
    whole: bool = False
    """Plain in a padded read whose padding is for another axis: pad(x, 0)[n, i + p - 1] reads n unpadded."""


class _Reader:
    def __init__(
        self,
        text: str,
        tensors: Mapping[str, Tensor] | None,
        extents: Mapping[str, int] | None,
        integer: Collection[str] = (),
    ) -> None:
        self.text = _scan(text)
        self.encoded = self.text.encode()
        self.closed = tensors is not None
        self.tensors = dict(tensors or {})
        self.named = dict(extents or {})
        self.integer = set(integer)
        self.extents = _Extents(self.text)
        self.indices: list[Index] = []
        self.axes: dict[str, tuple[str, ...]] = {}
        self.uses: list[_Use] = []
        self.free: dict[str, Index] = {}
        # Whether a new name in a subscript binds a free index: on the left-hand side, and in an expression that is
        # read without a declaration of its indices.
        self.binding = False
        self.target_name: str | None = None
        self.final: dict[Index, Index] = {}

    # Refusals

    def error(self, problem: str, fix: str = "") -> NoReturn:
        raise EquationError(problem, about=shorten(self.text), fix=fix)

    def source(self, node: ast.AST) -> str:
        start, end = cast("tuple[int, int]", (getattr(node, "col_offset"), getattr(node, "end_col_offset")))  # noqa: B009
        return self.encoded[start:end].decode()

    def refuse(self, node: ast.AST) -> NoReturn:
        if isinstance(node, ast.Attribute):
            self.error(
                f"attribute access is no part of the language: {shorten(self.source(node), 40)}",
                "a dotted name is a tensor's only where that tensor is declared",
            )
        what = {"ListComp": "comprehension", "GeneratorExp": "comprehension", "JoinedStr": "f-string"}
        kind = what.get(type(node).__name__, type(node).__name__.lower())
        self.error(f"{kind} is no part of the language: {shorten(self.source(node), 40)}")

    def name(self, node: ast.AST) -> str | None:
        """The name that a node spells, dotted where a tensor of that dotted name is declared."""
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            if parts:
                self.refuse(node)
            return None
        parts.append(inner.id)
        name = ".".join(reversed(parts))
        if any(part.startswith("_") for part in parts):
            self.error(f"the name {shorten(name, 40)} starts with an underscore", "names start with a letter")
        if len(parts) > 1 and name not in self.tensors:
            self.refuse(node)
        return name

    # Indices and subscripts

    def bind(self, name: str, extent: ast.AST | None) -> Index:
        if name.startswith("_"):
            self.error(f"the name {shorten(name, 40)} starts with an underscore", "names start with a letter")
        key = self.extents.new()
        index = Index(name, key)
        self.indices.append(index)
        if extent is not None:
            self.extents.fix(key, self.extent(extent), f"{name}<{self.source(extent)}", f"index {name}")
        return index

    def extent(self, node: ast.AST) -> Extent:
        if isinstance(node, ast.Name) and node.id not in self.named:
            name = self.name(node)
            assert name is not None
            return name
        value = self.affine(node, {})
        if value.terms or value.offset < 1:
            self.error(f"{shorten(self.source(node), 40)} is no extent", "an extent is a positive number or a name")
        return value.offset

    def declared(self, node: ast.AST) -> tuple[str, ast.AST | None] | None:
        """(i, None) of `i` and (i, 14) of `i<14`."""
        match node:
            case ast.Name(id=name):
                return name, None
            case ast.Compare(left=ast.Name(id=name), ops=[ast.Lt()], comparators=[extent]):
                return name, extent
            case _:
                return None

    def not_affine(self, node: ast.AST) -> NoReturn:
        text = shorten(self.source(node), 40)
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        unknown = sorted(n for n in names if n[:1].isupper() and n not in self.named)
        fix = "a subscript is a sum of indices with integer coefficients, 2*i + p - 1"
        if unknown:
            fix = "pass extents={" + ", ".join(f"'{n}': ..." for n in unknown) + "}"
        self.error(f"the subscript {text} is not affine in the indices", fix)

    def affine(self, node: ast.AST, scope: Scope) -> Affine:
        match node:
            case ast.Constant(value=int(value)) if not isinstance(value, bool):
                return Affine((), value)
            case ast.Name(id=name):
                index = scope.get(name) or self.free.get(name)
                if index is not None:
                    return Affine.of(index)
                if name in self.named:
                    return Affine((), self.named[name])
                if not self.binding:
                    self.unbound(name)
                self.free[name] = self.bind(name, None)
                return Affine.of(self.free[name])
            case ast.Compare(left=ast.Name(id=name), ops=[ast.Lt()], comparators=[extent]) if self.binding:
                if name in self.free:
                    self.error(f"index {name} is declared twice", f"write {name} alone after its first occurrence")
                self.free[name] = self.bind(name, extent)
                return Affine.of(self.free[name])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.affine(left, scope) + self.affine(right, scope)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return self.affine(left, scope) - self.affine(right, scope)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                one, other = self.affine(left, scope), self.affine(right, scope)
                if one.terms and other.terms:
                    self.not_affine(node)
                return other * one.offset if not one.terms else one * other.offset
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.affine(operand, scope)
            case _:
                self.not_affine(node)

    def unbound(self, name: str) -> NoReturn:
        if name.startswith("_"):
            self.error(f"the name {shorten(name, 40)} starts with an underscore", "names start with a letter")
        if name[:1].isupper():
            self.error(
                f"{name} in a subscript is neither an index nor a known extent", f"pass extents={{'{name}': ...}}"
            )
        if self.target_name is None:
            self.error(f"index {name} is not bound", "sum over it or declare it in `indices`")
        self.error(
            f"index {name} is free on the right but not on the left", "sum over it or add it to the left"
        )

    def subscripts(self, node: ast.Subscript, scope: Scope) -> tuple[tuple[Affine, ...], list[str]]:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return tuple(self.affine(part, scope) for part in parts), [self.source(part) for part in parts]

    # Tensors

    def component(self, node: ast.AST, scope: Scope, integer: bool = False) -> Callable[[], Component]:
        """x[i, j], pad(x, 0)[i, j] or a scalar's bare name."""
        pad: Pad | None = None
        inner = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(inner, ast.Call):
            match inner:
                case ast.Call(func=ast.Name(id="pad"), args=[tensor, value], keywords=[]):
                    pad = self.pad(value)
                    inner = tensor
                case _:
                    self.error(
                        f"{shorten(self.source(inner), 40)} cannot have subscripts",
                        "subscript a tensor, x[i], or a padded one, pad(x, 0)[i]",
                    )
        name = self.name(inner)
        if name is None:
            self.error(f"{shorten(self.source(inner), 40)} cannot have subscripts", "only tensors have components")
        subscripts, parts = self.subscripts(node, scope) if isinstance(node, ast.Subscript) else ((), [])
        place = shorten(self.source(node), 60)
        keys = self.axes_of(name, len(subscripts), place)
        if integer and name not in self.tensors:
            self.integer.add(name)
        for axis, (subscript, key, part) in enumerate(zip(subscripts, keys, parts, strict=True)):
            plain = subscript.plain
            if plain is not None and pad is None:
                self.extents.join(str(plain.extent), key, place, f"index {plain.name}")
            whole = pad is not None and plain is not None and any(s.plain is None for s in subscripts)
            self.uses.append(_Use(name, axis, key, subscript, pad is not None, self.binding, part, whole))
        return lambda: Component(self.tensor(name), tuple(self.resolve(s) for s in subscripts), pad)

    def pad(self, node: ast.AST) -> Pad:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
                return "-inf"
            case _:
                value = self.rational(node)
                if value is None:
                    self.error(f"pad with {shorten(self.source(node), 40)}", "pad with a number or -inf: pad(x, 0)")
                return value

    def axes_of(self, name: str, rank: int, place: str) -> tuple[str, ...]:
        known = self.tensors.get(name)
        if known is None and self.closed and name != self.target_name:
            self.error(
                f"the name {name} is not declared",
                _nearest(name, self.tensors) + f"declared: {shorten(', '.join(self.tensors), 200) or 'none'}",
            )
        if known is not None and len(known.shape) != rank:
            raise ShapeError(
                f"{place} has {rank} subscripts, but {name} has {len(known.shape)} axes {_shape(known.shape)}",
                about=shorten(self.text), fix="give one subscript for each axis",
            )
        if name not in self.axes:
            self.axes[name] = tuple(self.extents.new() for _ in range(rank))
            if known is not None:
                for axis, (key, extent) in enumerate(zip(self.axes[name], known.shape, strict=True)):
                    self.extents.fix(key, extent, f"axis {axis} of {name} {_shape(known.shape)}", name)
        if len(self.axes[name]) != rank:
            raise ShapeError(
                f"{place} has {rank} subscripts, elsewhere {name} has {len(self.axes[name])}",
                about=shorten(self.text), fix="give one subscript for each axis",
            )
        return self.axes[name]

    def tensor(self, name: str) -> Tensor:
        if name in self.tensors:
            return self.tensors[name]
        dtype = "integer" if name in self.integer else "real"
        return Tensor(name, tuple(self.solved(key) for key in self.axes[name]), dtype)

    # Extents

    def solved(self, key: str) -> Extent:
        extent = self.extents.get(key)
        assert extent is not None
        return extent

    def resolve(self, subscript: Affine) -> Affine:
        return Affine(tuple((self.final[index], c) for index, c in subscript.terms), subscript.offset)

    def known(self, subscript: Affine) -> Affine | None:
        """The subscript with the indices' extents, where all are known."""
        terms: list[tuple[Index, int]] = []
        for index, c in subscript.terms:
            extent = self.extents.get(str(index.extent))
            if extent is None:
                return None
            terms.append((Index(index.name, extent), c))
        return Affine(tuple(terms), subscript.offset)

    def fitted(self) -> dict[str, tuple[int, _Use]]:
        """For each open class the largest extent that keeps every affine subscript, in which it alone is open and no
        coefficient is negative, in range."""
        found: dict[str, tuple[int, _Use]] = {}
        for use in self.uses:
            axis = self.extents.get(use.key)
            if use.padded or not isinstance(axis, int) or any(c < 0 for _, c in use.subscript.terms):
                continue
            coefficients: dict[str, int] = {}
            rest = use.subscript.offset
            for index, c in use.subscript.terms:
                root = self.extents.find(str(index.extent))
                extent = self.extents.get(root)
                if extent is None:
                    coefficients[root] = coefficients.get(root, 0) + c
                elif isinstance(extent, int):
                    rest += c * (extent - 1)
                else:
                    break
            else:
                if len(coefficients) == 1:
                    ((root, c),) = coefficients.items()
                    extent = (axis - 1 - rest) // c + 1
                    if extent < 1:
                        raise ShapeError(
                            f"no position of {use.place} is inside axis {use.axis} of {use.tensor} of extent {axis}",
                            about=shorten(self.text), fix=f"write pad({use.tensor}, 0) or a smaller window",
                        )
                    if root not in found or extent < found[root][0]:
                        found[root] = extent, use
        return found

    def reached(self, is_target: bool) -> dict[str, tuple[int, _Use]]:
        """For each open axis the least extent that holds all its subscripts, where these have known bounds."""
        found: dict[str, tuple[int, _Use]] = {}
        open_: set[str] = set()
        for use in self.uses:
            if use.is_target != is_target or use.padded or self.extents.get(use.key) is not None:
                continue
            subscript = self.known(use.subscript)
            bounds = subscript.bounds() if subscript is not None else None
            root = self.extents.find(use.key)
            if bounds is None or bounds[1] < 0:
                open_.add(root)
            elif root not in found or bounds[1] + 1 > found[root][0]:
                found[root] = bounds[1] + 1, use
        return {root: entry for root, entry in found.items() if root not in open_}

    def joined(self) -> bool:
        """Let the plain subscripts of padded reads fix what nothing else does. Declared extents may differ there."""
        for use in self.uses:
            plain = use.subscript.plain
            if use.whole and plain is not None:
                one, other = self.extents.find(str(plain.extent)), self.extents.find(use.key)
                if one != other and (self.extents.get(one) is None or self.extents.get(other) is None):
                    self.extents.join(one, other, use.place, f"index {plain.name}")
                    return True
        return False

    def solve(self) -> None:
        while True:
            for attempt in (self.fitted, lambda: self.reached(True), lambda: self.reached(False)):
                found = attempt()
                for root, (extent, use) in found.items():
                    self.extents.fix(root, extent, use.place, use.tensor)
                if found:
                    break
            else:
                if not self.joined():
                    break
        plain = {u.subscript.plain for u in self.uses if not u.is_target and (u.whole or not u.padded)}
        loose: dict[Index, _Use] = {}
        for use in self.uses:
            if not use.is_target and not use.whole and (use.padded or use.subscript.plain is None):
                for index in use.subscript.indices:
                    loose.setdefault(index, use)
        certain = {self.extents.find(str(index.extent)) for index in plain if index is not None}
        for index, use in loose.items():
            root = self.extents.find(str(index.extent))
            if self.extents.get(root) is None and root not in certain:
                self.error(
                    f"the extent of index {index.name} is open: {use.place} of {use.tensor} does not fix it",
                    f"declare it as {index.name}<... where it is first written",
                )
        taken = {e for t in self.tensors.values() for e in t.shape if isinstance(e, str)} | set(self.named)
        taken |= {e for e in self.extents.value.values() if isinstance(e, str)}
        for index in self.indices:
            if self.extents.get(str(index.extent)) is None:
                self.extents.fix(str(index.extent), self.symbol(index.name.upper(), taken), index.name, index.name)
        for use in self.uses:
            if self.extents.get(use.key) is None:
                if not use.padded:
                    self.error(
                        f"the extent of axis {use.axis} of {use.tensor} is open: {use.place} does not fix it",
                        f"declare the indices of {use.place} as i<..., or give the shape of {use.tensor}",
                    )
                name = f"{use.tensor.replace('.', '_')}{use.axis}".upper()
                self.extents.fix(use.key, self.symbol(name, taken), use.place, use.tensor)
        for index in self.indices:
            self.final[index] = Index(index.name, self.solved(str(index.extent)))

    def symbol(self, name: str, taken: set[str]) -> Extent:
        # N is the number of samples in every equation, and a name that the caller gives means what he says.
        if name == SAMPLES and name not in self.named:
            return name
        if name in self.named:
            return self.named[name]
        number, candidate = 0, name
        while candidate in taken:
            number += 1
            candidate = f"{name}{number}"
        taken.add(candidate)
        return candidate

    def symbols(self) -> set[str]:
        """The named extents that an expression may use as numbers."""
        known = {e for t in self.tensors.values() for e in t.shape if isinstance(e, str)}
        return known | {e for e in self.extents.value.values() if isinstance(e, str)} | {SAMPLES}

    # Numbers

    def literal(self, node: ast.AST) -> Fraction | None:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as inner):
                value = self.literal(inner)
                return None if value is None else -value
            case ast.Constant(value=bool()):
                return None
            case ast.Constant(value=int(value)):
                return Fraction(value)
            case ast.Constant(value=float()):
                return Fraction(self.source(node).replace("_", ""))
            case _:
                return None

    def rational(self, node: ast.AST) -> Fraction | None:
        """A literal, or a quotient of two."""
        match node:
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                one, other = self.literal(left), self.literal(right)
                return None if one is None or other is None else one / self.divisor(other)
            case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp() as inner):
                value = self.rational(inner)
                return None if value is None else -value
            case _:
                return self.literal(node)

    def divisor(self, value: Fraction) -> Fraction:
        if value == 0:
            self.error("division by zero")
        return value

    # Expressions

    def expression(self, node: ast.AST, scope: Scope) -> Build:
        value = self.literal(node)
        if value is not None:
            return _always(Constant(value))
        match node:
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self.sum(node, scope)
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return _product(self.factors(node, scope))
            case ast.BinOp(op=ast.Pow()):
                return self.power(node, scope)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _product([_always(_MINUS_ONE), self.expression(operand, scope)])
            case ast.Name() | ast.Attribute():
                return self.scalar(node, scope)
            case ast.Subscript():
                return self.component(node, scope)
            case ast.Call():
                return self.call(node, scope)
            case ast.List(elts=[ast.Compare() as comparison]):
                return self.bracket(comparison, scope)
            case ast.List():
                self.brackets(node)
            case _:
                self.refuse(node)

    def chain(
        self, node: ast.BinOp, operators: tuple[type[ast.operator], ...]
    ) -> list[tuple[ast.operator | None, ast.expr, bool]]:
        """The operands of a chain of left-associative operators, each with the operator before it and whether it is
        in parentheses. A left operand in parentheses starts elsewhere than the whole."""
        operands: list[tuple[ast.operator | None, ast.expr, bool]] = []
        while True:
            between = self.encoded[node.left.end_col_offset : node.right.col_offset]
            operands.append((node.op, node.right, b"(" in between))
            bare = node.left.col_offset == node.col_offset
            if not (bare and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, operators)):
                operands.append((None, node.left, not bare))
                return operands[::-1]
            node = node.left

    def sum(self, node: ast.BinOp, scope: Scope) -> Build:
        terms: list[Build] = []
        for operator, operand, enclosed in self.chain(node, (ast.Add, ast.Sub)):
            if not isinstance(operator, ast.Sub):
                terms.append(self.expression(operand, scope))
                continue
            value = None if enclosed else self.rational(operand)
            if value is not None:
                terms.append(_always(Constant(-value)))
            elif isinstance(operand, ast.BinOp) and isinstance(operand.op, ast.Mult | ast.Div) and not enclosed:
                terms.append(_product([_always(_MINUS_ONE), *self.factors(operand, scope)]))
            else:
                terms.append(_product([_always(_MINUS_ONE), self.expression(operand, scope)]))
        return lambda: Add(tuple(term() for term in terms))

    def factors(self, node: ast.BinOp, scope: Scope) -> list[Build]:
        operands = self.chain(node, (ast.Mult, ast.Div))
        (_, head, enclosed), (operator, second, _) = operands[:2]
        one, other = self.literal(head), self.literal(second)
        factors: list[Build]
        if one is not None and other is not None and isinstance(operator, ast.Div):
            factors = [_always(Constant(one / self.divisor(other)))]
            operands = operands[2:]
        elif isinstance(head, ast.UnaryOp) and isinstance(head.op, ast.USub) and one is None and not enclosed:
            factors = [_always(_MINUS_ONE), self.expression(head.operand, scope)]
            operands = operands[1:]
        else:
            factors = [self.expression(head, scope)]
            operands = operands[1:]
        for operator, operand, _ in operands:
            value = self.literal(operand)
            if isinstance(operator, ast.Mult):
                factors.append(self.expression(operand, scope))
            elif value is not None:
                factors.append(_always(Constant(1 / self.divisor(value))))
            else:
                factors.append(_reciprocal(self.expression(operand, scope)))
        return factors

    def power(self, node: ast.BinOp, scope: Scope) -> Build:
        exponent = self.rational(node.right)
        if exponent is None:
            self.error(
                f"the exponent {shorten(self.source(node.right), 40)} is no number",
                "exponents are constant: x**2, x**(1/2); write exp(y*log(x)) for x to the power y",
            )
        if abs(exponent) > MAX_POWER:
            self.error(f"the exponent {shorten(str(exponent), 20)} is beyond ±{MAX_POWER}")
        base = self.expression(node.left, scope)
        return lambda: Power(base(), exponent)

    def scalar(self, node: ast.AST, scope: Scope) -> Build:
        name = self.name(node)
        assert name is not None
        known = self.tensors.get(name)
        if known is not None and not known.shape and name not in ("pi", "e"):
            return self.component(node, scope)
        if name in ("pi", "e"):
            return _always(Constant(name))
        if name in self.named:
            return _always(Constant(Fraction(self.named[name])))
        if known is not None:
            self.axes_of(name, 0, name)

        def build() -> Expr:
            if name in self.symbols():
                return Size(name)
            if name in scope or name in self.free:
                self.error(f"index {name} is used as a number", "an index stands in subscripts and brackets only")
            return self.component(node, scope)()

        return build

    def brackets(self, node: ast.AST) -> NoReturn:
        self.error(
            f"{shorten(self.source(node), 40)} is no bracket",
            "the brackets are [i == j], [v == id[n]], [0 <= i + p - 1 < 14] and [x > 0]",
        )

    def bracket(self, node: ast.Compare, scope: Scope) -> Build:
        match node:
            case ast.Compare(left=zero, ops=[ast.LtE(), ast.Lt()], comparators=[at, end]) if self.literal(zero) == 0:
                subscript, extent = self.affine(at, scope), self.extent(end)
                return lambda: Guard(self.resolve(subscript), extent)
            case ast.Compare(left=left, ops=[ast.Gt()], comparators=[zero]) if self.literal(zero) == 0:
                argument = self.expression(left, scope)
                return lambda: Apply("step", (argument(),))
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                one = self.affine(left, scope)
                if isinstance(right, ast.Subscript | ast.Attribute) or self.is_scalar(right, scope):
                    component = self.component(right, scope, integer=True)
                    return lambda: Delta(self.resolve(one), component())
                other = self.affine(right, scope)
                return lambda: Delta(self.resolve(one), self.resolve(other))
            case _:
                self.brackets(node)

    def is_scalar(self, node: ast.AST, scope: Scope) -> bool:
        if not isinstance(node, ast.Name) or node.id in scope or node.id in self.free:
            return False
        return node.id in self.tensors and not self.tensors[node.id].shape

    def call(self, node: ast.Call, scope: Scope) -> Build:
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self.error(f"keyword or starred arguments in {shorten(self.source(node), 40)}", "write plain arguments")
        if isinstance(node.func, ast.Subscript) and isinstance(node.func.value, ast.Name):
            return self.reduction(node.func.value.id, node.func, node.args, scope)
        name = self.name(node.func)
        if name is None:
            self.error(f"{shorten(self.source(node.func), 40)} cannot be called")
        count = len(node.args)
        if name == "D":
            return self.derivative(node, scope)
        if is_function(name):
            if count != arity(name):
                reduce = f", or {name}[i](...) to reduce over i" if name in REDUCTIONS else ""
                self.error(f"{name} takes {arity(name)} arguments, not {count}", f"write {_example(name)}{reduce}")
            arguments = [self.expression(argument, scope) for argument in node.args]
            return lambda: Apply(name, tuple(argument() for argument in arguments))
        if name == "pad":
            self.error("pad without subscripts", "write pad(x, 0)[i]")
        if name in REDUCTIONS or name == "mean":
            self.error(f"{name} without indices", f"write {name}[i](...)")
        self.error(
            f"the function {shorten(name, 40)} is unknown",
            _nearest(name, _CALLABLE)
            + f"known: {', '.join(CATALOGUE)}, and over indices {', '.join(REDUCTIONS)}, mean",
        )

    def reduction(self, name: str, node: ast.Subscript, arguments: list[ast.expr], scope: Scope) -> Build:
        if name not in REDUCTIONS and name != "mean":
            self.error(
                f"{shorten(name, 40)} is no reduction",
                _nearest(name, (*REDUCTIONS, "mean")) + f"known: {', '.join(REDUCTIONS)}, mean",
            )
        if len(arguments) != 1:
            self.error(f"{name}[...] takes one argument, not {len(arguments)}")
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        inner: dict[str, Index] = {}
        for part in parts:
            binder = self.declared(part)
            if binder is None:
                self.error(f"{shorten(self.source(part), 40)} is no index to reduce over", "write i or i<14")
            if binder[0] in inner:
                self.error(f"{name} reduces twice over index {binder[0]}", "give the indices different names")
            inner[binder[0]] = self.bind(*binder)
        if not inner:
            self.error(f"{name} over no index", f"write {name}[i](...)")
        bound = tuple(inner.values())
        body = self.expression(arguments[0], {**scope, **inner})

        def build() -> Expr:
            indices = tuple(self.final[index] for index in bound)
            if name == "mean":
                return Multiply((*mean_factors(indices), Reduce("sum", indices, body())))
            return Reduce(name, indices, body())

        return build

    def derivative(self, node: ast.Call, scope: Scope) -> Build:
        if len(node.args) != 2 or not isinstance(node.args[1], ast.Subscript | ast.Name | ast.Attribute):
            self.error(f"{shorten(self.source(node), 40)} is no derivative", "write D(expression, x[i, j])")
        of = self.expression(node.args[0], scope)
        wrt = self.component(node.args[1], scope)

        def build() -> Expr:
            component = wrt()
            if component.pad is not None or any(s.plain is None for s in component.subscripts):
                self.error(
                    f"a derivative by {shorten(self.source(node.args[1]), 40)}", "differentiate by plain x[i, j]"
                )
            return Derivative(of(), component)

        return build

    # Whole texts

    def read_expression(self, indices: Mapping[str, Index] | None) -> Expr:
        body = ast.parse(self.text, mode="eval").body
        for name, index in (indices or {}).items():
            self.free[name] = self.bind(name, None)
            self.extents.fix(str(self.free[name].extent), index.extent, f"the declared {name}<{index.extent}", name)
        self.binding = indices is None
        build = self.expression(body, {})
        # A free index of an expression is no axis of a target: its reads decide its extent as on a right-hand side.
        self.binding = False
        self.uses = [replace(use, is_target=False) for use in self.uses]
        self.solve()
        return build()

    def read_equation(self) -> Equation:
        statements = ast.parse(self.text, mode="exec").body
        match statements:
            case [ast.Assign(targets=[target], value=value)]:
                pass
            case _:
                self.error("this is no equation", "write one equation: y[n, k] = ...")
        if not isinstance(target, ast.Subscript | ast.Name | ast.Attribute):
            self.error(f"{shorten(self.source(target), 40)} cannot be defined", "define a tensor: y[n, k] = ...")
        self.target_name = self.name(target.value if isinstance(target, ast.Subscript) else target)
        if self.target_name is None:
            self.error(f"{shorten(self.source(target), 40)} cannot be defined", "define a tensor: y[n, k] = ...")
        if self.target_name in ("pi", "e") and not isinstance(target, ast.Subscript):
            self.error(f"{self.target_name} is a constant", "give the tensor another name")
        match value:
            case ast.Call(func=ast.Subscript(value=ast.Name(id="argmax"))):
                self.integer.add(self.target_name)
            case ast.Subscript(value=ast.Name(id=name)) if name in self.tensors:
                if self.tensors[name].dtype == "integer":
                    self.integer.add(self.target_name)
            case _:
                pass
        self.binding = True
        left = self.component(target, {})
        self.binding = False
        right = self.expression(value, {})
        self.solve()
        return Equation(left(), right())


def _always(node: Expr) -> Build:
    return lambda: node


def _reciprocal(base: Build) -> Build:
    return lambda: Power(base(), Fraction(-1))


def _product(factors: list[Build]) -> Build:
    if len(factors) == 1:
        return factors[0]
    return lambda: Multiply(tuple(factor() for factor in factors))


def _example(name: str) -> str:
    return f"{name}({', '.join('xy'[: arity(name)])})"


def _shape(shape: tuple[Extent, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _guarded(text: str, read: Callable[[], T]) -> T:
    """Python's own refusals of a text become ours."""
    try:
        return read()
    except (EquationError, ShapeError):
        raise
    except SyntaxError as error:
        raise EquationError(
            f"this cannot be read: {error.msg}", about=shorten(text), 
            fix="write y[n, k] = ... in Python's expression grammar",
        ) from None
    except (RecursionError, MemoryError):
        raise EquationError("nested too deeply", about=shorten(text), fix="split it into several equations") from None
    except ValueError as error:
        raise EquationError(f"this cannot be read: {error}", about=ascii(shorten(text))) from None


def parse_expression(
    text: str,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    indices: Mapping[str, Index] | None = None,
    extents: Mapping[str, int] | None = None,
) -> Expr:
    """Read an expression. With `indices`, only these are free in it; without, every unbound index is. With `tensors`,
    every name must be one of them; without, an unknown name is a new tensor.

    Raises EquationError where the text is no expression, ShapeError where extents or ranks do not fit.
    """
    return _guarded(text, lambda: _Reader(text, tensors, extents).read_expression(indices))


def parse_equation(
    text: str,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    extents: Mapping[str, int] | None = None,
    integer: Collection[str] = (),
) -> Equation:
    """Read an equation. With `tensors`, every name but the target must be one of them; without, an unknown name is a
    new tensor, of integers where it stands right of == or in `integer`. `extents` gives names their numbers.

    Raises EquationError where the text is no equation, ShapeError where extents or ranks do not fit.
    """
    return _guarded(text, lambda: _Reader(text, tensors, extents, integer).read_equation())


def _lines(text: str) -> Iterator[str]:
    """The equations of a program: one on each line; a line with an open bracket goes on."""
    parts: list[str] = []
    depth = 0
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        depth += sum((c in "([{") - (c in ")]}") for c in line)
        if line:
            parts.append(line)
        if depth <= 0 and parts:
            yield " ".join(parts)
            parts, depth = [], 0
    if parts:
        yield " ".join(parts)


def parse_program(
    text: str, *, tensors: Mapping[str, Tensor] | None = None, extents: Mapping[str, int] | None = None
) -> list[Equation]:
    """Read equations, one on each line, `#` starts a comment. The tensors of a line are known to the lines after it.
    A tensor that several lines define piece by piece is as large as its pieces reach.

    Raises what `parse_equation` raises.
    """
    lines = list(_lines(text))

    def read(sizes: Mapping[str, Tensor]) -> list[Equation]:
        known = {**(tensors or {}), **sizes}
        open_: dict[str, Tensor] = {}
        equations: list[Equation] = []
        for line in lines:
            defined = {e.tensor.name for e in equations}
            target = line.split("=", 1)[0].split("[", 1)[0].strip()
            visible = {**known, **open_}
            if target in defined and target not in known:
                visible.pop(target, None)
            reader = _Reader(line, visible, extents)
            reader.closed = tensors is not None
            equation = _guarded(line, reader.read_equation)
            equations.append(equation)
            for name in reader.axes:
                tensor = reader.tensor(name)
                if name == equation.tensor.name and name in defined and name not in known:
                    tensor = _union(open_[name], tensor, line)
                if name not in known:
                    open_[name] = tensor
        merged = {e.tensor.name: open_[e.tensor.name] for e in equations if e.tensor.name not in known}
        # Pieces of different reach are read again with the size of the whole.
        if any(e.tensor != merged.get(e.tensor.name, e.tensor) for e in equations):
            return read(merged)
        return equations

    return _guarded(text, lambda: read({}))


def _union(one: Tensor, other: Tensor, line: str) -> Tensor:
    if len(one.shape) != len(other.shape):
        raise ShapeError(
            f"pieces of {one.name} have {len(one.shape)} and {len(other.shape)} axes", about=shorten(line),
            fix="give every piece the same number of subscripts",
        )
    shape: list[Extent] = []
    for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)):
        if a != b and (isinstance(a, str) or isinstance(b, str)):
            raise ShapeError(
                f"pieces of {one.name} have extents {a} and {b} along axis {axis}", about=shorten(line),
                fix=f"declare {one.name} with its shape, or give the indices the same extent",
            )
        shape.append(a if a == b else max(cast(int, a), cast(int, b)))
    return Tensor(one.name, tuple(shape), one.dtype)


_SCALARS = {name: Tensor(name, ()) for name in ("x", "y", "f")}


@cache
def law(function: str, argument: int) -> Expr:
    """The catalogue's law for the derivative of `function` by an argument: an expression over scalars x, y (the
    arguments) and f (the function's value)."""
    return parse_expression(CATALOGUE[function].laws[argument], tensors=_SCALARS, indices={})
