"""What the names in an equation stand for: indices, named extents, and the components of tensors.

Everything is built at once, over indices of unknown extent and tensors of unknown shape; `settle` gives the same
expression over what the extents were solved to.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from fractions import Fraction
from itertools import count
from typing import NoReturn

from chainrule.errors import ShapeError, UndeclaredError
from chainrule.ir.expr import Add, Component, Constant, Delta, Expr, Guard, Multiply, Pad, Power, Reduce, Size, Tensor
from chainrule.ir.extents import Extents, Use, part_of_axis
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.source import Source, shorten
from chainrule.ir.walk import Steps, iterative, rebuild

Scope = Mapping[str, Index]
MINUS_ONE = Constant(Fraction(-1))
_NO_TENSORS = frozenset({"inf", "nan"})


def parts(node: ast.expr) -> list[ast.expr]:
    """The entries of a subscript, one or several."""
    return node.elts if isinstance(node, ast.Tuple) else [node]


def mean_factors(indices: tuple[Index, ...]) -> tuple[Expr, ...]:
    """The factors that make a sum over `indices` a mean: the reciprocals of the extents."""
    total = 1
    named: list[Expr] = []
    for index in indices:
        if isinstance(index.extent, int):
            total *= index.extent
        else:
            named.append(Power(Size(index.extent), Fraction(-1)))
    return tuple(named) if len(named) == len(indices) else (Constant(Fraction(1, total)), *named)


def without(bracket: Expr) -> Expr:
    """1 where a bracket is 0."""
    return Add((Constant(Fraction(1)), Multiply((MINUS_ONE, bracket))))


def is_mean(node: Multiply) -> bool:
    last = node.factors[-1]
    return isinstance(last, Reduce) and last.kind == "sum" and node.factors[:-1] == mean_factors(last.indices)


def nearest(name: str, names: Collection[str]) -> str:
    match = get_close_matches(name, sorted(names), 1, 0.5)
    return f"did you mean {match[0]}? " if match else ""


def shape_text(shape: tuple[Extent, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


class Names:
    """The names of one text. In a closed world every tensor but the target is declared; in an open one an unknown name
    is a new tensor."""

    def __init__(
        self,
        source: Source,
        tensors: Mapping[str, Tensor],
        extents: Mapping[str, int],
        integer: Collection[str] = (),
        closed: bool = True,
    ) -> None:
        self.source = source
        self.tensors = tensors
        self.named = extents
        self.integer = set(integer)
        self.closed = closed
        self.extents = Extents(source.text, extents)
        self.axes: dict[str, tuple[Extent, ...]] = {}
        self.free: dict[str, Index] = {}
        # Whether a new name in a subscript binds a free index: on the left-hand side, and in an expression that is
        # read without a declaration of its indices.
        self.binding = False
        self.target: str | None = None
        self._misused: set[str] = set()

    def spelled(self, node: ast.expr) -> str | None:
        """The name that a node spells, dotted where a tensor of that dotted name is declared."""
        words: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            words.append(inner.attr)
            inner = inner.value
        name = ".".join([inner.id, *reversed(words)]) if isinstance(inner, ast.Name) else None
        if words and name not in self.tensors:
            self.source.refuse(node)
        return name

    # Indices and subscripts

    def bind(self, name: str, extent: ast.expr | None) -> Index:
        index = self.extents.index(name)
        if extent is not None:
            place = f"{name}<{self.source.of(extent)}"
            self.extents.fix(index.extent, self.extent(extent), place, f"index {name}")
        return index

    def declare(self, name: str, extent: Extent) -> None:
        """A free index that the caller names."""
        self.free[name] = self.bind(name, None)
        self.extents.fix(self.free[name].extent, extent, f"the declared {name}<{extent}", name)

    def extent(self, node: ast.expr) -> Extent:
        if isinstance(node, ast.Name) and node.id not in self.named:
            return node.id
        value = self.affine(node, {})
        if value.terms or value.offset < 1:
            self.source.error(f"{self.source.cut(node)} is no extent", "an extent is a positive number or a name")
        return value.offset

    def affine(self, node: ast.expr, scope: Scope) -> Affine:
        match node:
            case ast.Constant(value=int(value)) if not isinstance(value, bool):
                return Affine((), value)
            case ast.Name(id=name):
                index = scope.get(name) or self.free.get(name)
                if index is None and name in self.named:
                    return Affine((), self.named[name])
                if index is None:
                    if not self.binding:
                        self._unbound(name)
                    index = self.free[name] = self.bind(name, None)
                return Affine.of(index)
            case ast.Compare(left=ast.Name(id=name), ops=[ast.Lt()], comparators=[extent]) if self.binding:
                if name in self.free:
                    self.source.error(
                        f"index {name} is declared twice", f"write {name} alone after its first occurrence"
                    )
                self.free[name] = self.bind(name, extent)
                return Affine.of(self.free[name])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.affine(left, scope) + self.affine(right, scope)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return self.affine(left, scope) - self.affine(right, scope)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                one, other = self.affine(left, scope), self.affine(right, scope)
                if one.terms and other.terms:
                    self._not_affine(node)
                return other * one.offset if not one.terms else one * other.offset
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.affine(operand, scope)
            case _:
                self._not_affine(node)

    def _not_affine(self, node: ast.expr) -> NoReturn:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        unknown = sorted(n for n in names if n[:1].isupper() and n not in self.named)
        fix = "a subscript is a sum of indices with integer coefficients, 2*i + p - 1"
        if unknown:
            fix = "pass extents={" + ", ".join(f"'{n}': ..." for n in unknown) + "}"
        self.source.error(f"the subscript {self.source.cut(node)} is not affine in the indices", fix)

    def _unbound(self, name: str) -> NoReturn:
        if name[:1].isupper():
            self.source.error(
                f"{name} in a subscript is neither an index nor a known extent", f"pass extents={{'{name}': ...}}"
            )
        if self.target is None:
            self.source.error(f"index {name} is not bound", "sum over it or declare it in `indices`")
        self.source.error(
            f"index {name} is free on the right but not on the left", "sum over it or add it to the left"
        )

    def is_index(self, node: ast.expr, scope: Scope) -> bool:
        """Whether it is made of indices, of one at least. Raises EquationError for a name that is a tensor's too."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        apart = any(isinstance(n, ast.Subscript | ast.Call | ast.Attribute | ast.List) for n in ast.walk(node))
        indices = sorted(name for name in names if name in scope or name in self.free)
        if apart or not indices:
            return False
        if both := next(filter(self.is_scalar, indices), None):
            self.source.error(
                f"in a bracket {both} may be the index or the tensor of that name", "give one of them another name"
            )
        return True

    def is_chosen(self, node: ast.expr, scope: Scope) -> bool:
        """Whether a subscript is an entry of a tensor, which holds integers then."""
        if isinstance(node, ast.Name):
            return node.id not in scope and node.id not in self.free and self.is_scalar(node.id)
        return isinstance(node, ast.Subscript)

    def unused(self, stem: str) -> str:
        """A name for an index that the text does not have, nor any tensor."""
        words = {n.id for n in ast.walk(self.source.tree()) if isinstance(n, ast.Name)}
        taken = words | {index.name for index in self.extents.indices} | self.tensors.keys()
        return next(name for k in count() if (name := f"{stem}{k or ''}") not in taken)

    # Tensors

    def component(self, node: ast.expr, scope: Scope, integer: bool = False) -> Component:
        """x[i, j], pad(x, 0)[i, j] or a scalar's bare name. In an open world `integer` decides what a new tensor
        holds."""
        pad: Pad | None = None
        inner = node.value if isinstance(node, ast.Subscript) else node
        match inner:
            case ast.Call(func=ast.Name(id="pad"), args=[tensor, value], keywords=[]):
                pad, inner = self._pad(value), tensor
            case ast.Call():
                self._no_tensor(inner, "subscript a tensor, x[i], or a padded one, pad(x, 0)[i]")
            case _:
                pass
        name = self.spelled(inner)
        if name is None:
            self._no_tensor(inner, "only tensors have components")
        written = parts(node.slice) if isinstance(node, ast.Subscript) else []
        subscripts = tuple(self.affine(part, scope) for part in written)
        place = self.source.cut(node, 60)
        axes = self.axes_of(name, len(subscripts), place)
        if integer and name not in self.tensors:
            self.integer.add(name)
        is_target = self.binding and self.target is not None
        shifted = any(s.plain is None for s in subscripts)
        for axis, (subscript, extent, part) in enumerate(zip(subscripts, axes, written, strict=True)):
            plain = subscript.plain
            if plain is not None and pad is None and not (is_target and self._is_part(plain.extent, extent)):
                hint = "" if name == self.target else part_of_axis(name, place)
                self.extents.join(plain.extent, extent, place, f"index {plain.name}", hint)
            whole = pad is not None and plain is not None and shifted
            text = self.source.of(part)
            use = Use(name, axis, extent, subscript, text, pad is not None, is_target, whole, place)
            self.extents.uses.append(use)
        return Component(Tensor(name, axes), subscripts, pad)

    def _is_part(self, own: Extent, axis: Extent) -> bool:
        """Whether an index that is declared runs over a part of an axis: other lines define the other pieces."""
        one, whole = self.extents.get(own), self.extents.get(axis)
        return isinstance(one, int) and isinstance(whole, int) and one < whole

    def _no_tensor(self, node: ast.expr, fix: str) -> NoReturn:
        self.source.error(f"{self.source.cut(node)} cannot have subscripts", fix)

    def _pad(self, node: ast.expr) -> Pad:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
                return "-inf"
            case _:
                value = self.source.rational(node)
                if value is None:
                    self.source.error(f"pad with {self.source.cut(node)}", "pad with a number or -inf: pad(x, 0)")
                return value

    def axes_of(self, name: str, rank: int, place: str) -> tuple[Extent, ...]:
        """The extents of the axes, one unknown for each, of a tensor read with `rank` subscripts."""
        known = self.tensors.get(name)
        if known is None and self.closed and name != self.target:
            declared = f"declared: {shorten(', '.join(self.tensors), 200) or 'none'}"
            raise UndeclaredError(
                f"the name {name} is not declared", about=shorten(self.source.text),
                fix=nearest(name, self.tensors) + declared,
            )
        if known is None and name in _NO_TENSORS:
            self.source.error(
                f"{name} is no number here",
                "-inf stands in pad(x, -inf)[i] only; for a tensor of that name, choose another",
            )
        if known is not None and len(known.shape) != rank:
            self._wrong_rank(
                f"{place} has {rank} subscripts, but {name} has {len(known.shape)} axes {shape_text(known.shape)}"
            )
        if name not in self.axes:
            self.axes[name] = tuple(self.extents.unknown() for _ in range(rank))
            if known is not None:
                for axis, (unknown, extent) in enumerate(zip(self.axes[name], known.shape, strict=True)):
                    self.extents.fix(unknown, extent, f"axis {axis} of {name} {shape_text(known.shape)}", name)
        if len(self.axes[name]) != rank:
            self._wrong_rank(f"{place} has {rank} subscripts, elsewhere {name} has {len(self.axes[name])}")
        return self.axes[name]

    def _wrong_rank(self, problem: str) -> NoReturn:
        raise ShapeError(problem, about=shorten(self.source.text), fix="give one subscript for each axis")

    def is_scalar(self, name: str) -> bool:
        return name in self.tensors and not self.tensors[name].shape

    def is_integer(self, name: str) -> bool:
        return name in self.tensors and self.tensors[name].dtype == "integer"

    def bare(self, name: str, scope: Scope) -> Size:
        """A name that stands alone. Whether it is a named extent or a scalar tensor shows in the end."""
        if name in self.tensors:
            self.axes_of(name, 0, name)
        if name in scope:
            self._misused.add(name)
        return Size(name)

    # What it all is in the end

    def solve(self) -> None:
        self.extents.solve(self._declared_extents() | set(self.named))
        for use in self.extents.uses:
            if use.tensor not in self.tensors and not (use.is_target or use.padded) and use.subscript.plain is None:
                self._refuse_beyond(use)

    def _refuse_beyond(self, use: Use) -> None:
        """A new tensor is as large as its plain reads say: another read that goes further shows that these were
        meant for a part of it."""
        extent, bounds = self.extents.get(use.extent), self.extents.affine(use.subscript).bounds()
        if bounds is None or not isinstance(extent, int) or bounds[1] < extent:
            return
        for other in self.extents.uses:
            plain = other.subscript.plain
            if (other.tensor, other.axis, other.padded) == (use.tensor, use.axis, False) and plain is not None:
                raise ShapeError(
                    f"{use.place} reaches {bounds[1]}, but {other.whole_place} with {plain.name}<{extent} makes axis "
                    f"{use.axis} of {use.tensor} as long as {extent}",
                    about=shorten(self.source.text), fix=part_of_axis(other.tensor, other.whole_place),
                )

    def _declared_extents(self) -> set[str]:
        return {e for tensor in self.tensors.values() for e in tensor.shape if isinstance(e, str)}

    def tensor(self, name: str) -> Tensor:
        if name in self.tensors:
            return self.tensors[name]
        shape = tuple(self.extents.solved(extent) for extent in self.axes[name])
        return Tensor(name, shape, "integer" if name in self.integer else "real")

    def at_least_zero(self, subscript: Affine) -> Expr:
        """The bracket [0 ≤ subscript]: up to an extent that the subscript does not reach."""
        if (extent := _beyond(subscript)) is not None:
            return Guard(subscript, extent)
        below = -subscript - Affine((), 1)
        if (extent := _beyond(below)) is not None:
            return without(Guard(below, extent))
        self.source.error(
            "a comparison of indices that has no greatest value", "compare one index with another: [n <= m]"
        )

    def settle(self, root: Expr) -> Expr:
        """The expression over solved extents."""
        return _settle(root, self, self._declared_extents() | self.extents.names() | {SAMPLES})

    def settle_component(self, node: Component) -> Component:
        return Component(self.tensor(node.tensor.name), tuple(map(self.extents.affine, node.subscripts)), node.pad)

    def scalar(self, name: str) -> Component:
        if name in self._misused or name in self.free:
            self.source.error(
                f"index {name} is used as a number", "an index stands in subscripts and brackets only"
            )
        self.axes_of(name, 0, name)
        return Component(self.tensor(name), ())


def _beyond(subscript: Affine) -> Extent | None:
    """An extent that the subscript does not reach, if one is known: a number, or that of the index it grows with."""
    if (bounds := subscript.bounds()) is not None:
        return max(bounds[1] + 1, 1)
    match [term for term in subscript.terms if term[1] > 0]:
        case []:
            return max(subscript.offset + 1, 1)
        case [(index, 1)] if subscript.offset <= 0:
            return index.extent
        case _:
            return None


@iterative
def _settle(node: Expr, names: Names, sizes: set[str]) -> Steps[Expr]:
    affine = names.extents.affine
    match node:
        case Component():
            return names.settle_component(node)
        case Size(extent=name):
            return node if name in sizes else names.scalar(name)
        case Guard(subscript=subscript, extent=extent):
            at, end = affine(subscript), names.extents.final(extent)
            return names.at_least_zero(at) if end is None else Guard(at, end)
        case Delta(left=left, right=right):
            return Delta(affine(left), names.settle_component(right) if isinstance(right, Component) else affine(right))
        case Reduce(kind=kind, indices=indices, body=body):
            return Reduce(kind, tuple(map(names.extents.settled, indices)), (yield body, names, sizes))
        case Multiply(factors=factors) if is_mean(node):
            # No text spells an unknown extent, so this is a mean that was written as one.
            reduced = yield factors[-1], names, sizes
            return Multiply((*mean_factors(reduced.indices), reduced))
        case _:
            settled: list[Expr] = []
            for child in node.parts:
                settled.append((yield child, names, sizes))
            return rebuild(node, tuple(settled))
