"""The value of what a formula is to say, from its nodes, in the meaning of `meaning.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
from tests.render.reading.meaning import (
    PRIME,
    Known,
    Place,
    Value,
    applied,
    bilinear,
    component,
    entrywise,
    exact,
    key,
    matmul,
    matrix,
    operated,
    partial,
    plane,
    power,
    softmax,
    total,
    unknown,
)

from chainrule.derive import blocks
from chainrule.derive import matrix as m
from chainrule.derive import planes as pl
from chainrule.ir.expr import (
    LOSS,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import nodes
from chainrule.render.formula import Formula, Nabla, Worked
from chainrule.render.names import Names, Symbol
from chainrule.render.pieces import Numbers

WRITTEN = {"sigmoid": "σ", "relu": "ReLU", "abs": "|"}


def shown(name: str) -> str:
    """i1 is written i′, and i4 as i‴′."""
    stem = name.rstrip("0123456789")
    count = int(name[len(stem) :] or "0")
    return stem + "‴" * (count // 3) + ["", "′", "″"][count % 3]


def called(function: str) -> str:
    for argument in ("1", "2"):
        if function.startswith(f"d{argument}_"):
            base = function[3:]
            two = base in ("max", "min")
            return (base if base == "abs" else WRITTEN.get(base, base)) + "′" + (argument if two else "")
    return WRITTEN.get(function, function)


@dataclass
class Intended:
    """Values of parts. `symbols` and `extents` collect what a reader of the formula must know."""

    names: Names
    mode: str
    ranks: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    shapes: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict[tuple[str, str], tuple[int, int]])
    owners: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    blocks: dict[tuple[str, tuple[str, str], int], tuple[int, int]] = field(
        default_factory=dict[tuple[str, tuple[str, str], int], tuple[int, int]]
    )
    at: Place = field(default_factory=dict[str, int])
    extents: set[str] = field(default_factory=set[str])
    sizes: dict[Extent, int] = field(default_factory=dict[Extent, int])

    @property
    def known(self) -> Known:
        loss = self.names.loss
        return Known(self.ranks, self.shapes, frozenset(self.extents), (loss.stem, loss.layer), self.blocks)

    def meet(self, symbol: Symbol, tensor: Tensor, shape: tuple[Extent, Extent] | None = None) -> tuple[str, str]:
        """The letter of a tensor; two tensors of one formula never share one."""
        own = (symbol.stem, symbol.layer)
        owner = "loss" if self.names.is_loss(Tensor(tensor.name, ())) else tensor.name
        assert self.owners.setdefault(own, owner) == owner, f"{own} is {owner} and {self.owners[own]}"
        self.ranks[own] = sum(e != "N" for e in tensor.shape)
        if shape is None:
            axes = tensor.shape
            shape = (axes[0] if axes else 1, axes[1] if len(axes) > 1 else 1)
        self.shapes[own] = (self.size(shape[0]), self.size(shape[1]))
        return own

    def size(self, extent: Extent) -> int:
        """The small extent that stands for an extent; different ones for different ones."""
        return 1 if extent == 1 else self.sizes.setdefault(extent, len(self.sizes) + 2)

    def of(self, gradient: Tensor) -> Tensor:
        name = self.names.adjoints[gradient.name][0]
        return LOSS if name == LOSS.name else Tensor(name, gradient.shape)

    def share(self, gradient: Tensor, value: Value) -> Value:
        number = self.names.adjoints[gradient.name][1]
        return entrywise(lambda v: unknown("share", number, v), value) if number else value

    def loss(self) -> int:
        return component(self.meet(self.names.loss, LOSS), False, (), ())

    # Components -------------------------------------------------------------------------------------

    def component(self, node: Component, at: Place) -> int:
        axes = list(zip(node.subscripts, node.tensor.shape, strict=True))
        samples = tuple(number(s, at) for s, e in axes if e == "N")
        lower = tuple(number(s, at) for s, e in axes if e != "N")
        bar = node.pad is not None
        signal = self.names.signal(node.tensor)
        if signal is not None:
            return component(self.meet(signal, node.tensor), bar, samples, lower)
        if self.names.gradient(node.tensor) is None:
            return component(self.meet(self.names.symbol(node.tensor), node.tensor), bar, samples, lower)
        of = self.of(node.tensor)
        own = self.meet(self.names.symbol(of), of)
        return self.share(node.tensor, partial(self.loss(), component(own, bar, samples, lower)))

    def expression(self, node: Expr, at: Place) -> int:
        match node:
            case Constant(value=Fraction() as value):
                return exact(value)
            case Constant(value=value):
                return unknown("constant", "π" if value == "pi" else value)
            case Size(extent=extent):
                self.extents.add(extent)
                return unknown("constant", extent)
            case Component():
                return self.component(node, at)
            case Delta(left=left, right=Component() as right):
                return unknown("=", number(left, at), ("integer", self.component(right, at)))
            case Delta(left=left, right=Affine() as right):
                return unknown("=", number(left, at), number(right, at))
            case Guard(subscript=subscript, extent=extent):
                self.extents |= {extent} if isinstance(extent, str) else set()
                return unknown("inside", number(subscript, at), str(extent))
            case Derivative(of=of, wrt=wrt):
                return partial(self.expression(of, at), self.component(wrt, at))
            case Power(base=base, exponent=exponent):
                return power(self.expression(base, at), exponent)
            case Apply(function="step", arguments=(argument,)):
                return unknown("step", self.expression(argument, at))
            case Apply(function=function, arguments=arguments):
                return applied(called(function), *(self.expression(a, at) for a in arguments))
            case Reduce(kind=kind, indices=indices, body=body):
                places = product(range(2), repeat=len(indices))
                names = [shown(i.name) for i in indices]
                values = [self.expression(body, {**at, **dict(zip(names, p, strict=True))}) for p in places]
                if kind == "sum":
                    return sum(values) % PRIME
                if kind == "logsumexp":
                    return applied("log", sum(applied("exp", v) for v in values) % PRIME)
                return unknown(kind, *values)
            case Add(terms=terms):
                return sum(self.expression(t, at) for t in terms) % PRIME
            case Multiply(factors=factors):
                return prod(self.expression(f, at) for f in factors) % PRIME
            case _:
                raise TypeError(type(node).__name__)

    # Matrix forms -----------------------------------------------------------------------------------

    def nabla(self, gradient: Tensor, shape: tuple[Extent, Extent] | None) -> Value:
        signal = self.names.signal(gradient)
        if signal is not None:
            own = self.meet(self.names.matrix_symbol(gradient, signal) if shape else signal, gradient, shape)
            return matrix(own, self.shapes[own])
        of = self.of(gradient)
        own = self.meet(self.names.matrix_symbol(gradient, self.names.symbol(of)), of, shape)
        self.loss()
        return self.share(gradient, matrix(("∇", own), self.shapes[own]))

    def matrix(self, form: m.Matrix) -> Value:
        match form:
            case m.Symbol(tensor=tensor):
                if self.names.signal(tensor) is not None or self.names.gradient(tensor) is not None:
                    return self.nabla(tensor, form.shape)
                own = self.meet(self.names.matrix_symbol(tensor, self.names.symbol(tensor)), tensor, form.shape)
                return matrix(own, self.shapes[own])
            case m.Block():
                return self.block(form)
            case m.OneHot(of=of):
                inner = self.block(of)
                own = self.meet(self.names.symbol(of.tensor), of.tensor)
                self.blocks["onehot", own, 0] = (self.size(form.shape[0]), self.size(form.shape[1]))
                return matrix(("onehot", key(inner)), self.blocks["onehot", own, 0])
            case m.Softmax(of=of):
                return softmax(self.matrix(of))
            case m.Sum(indices=indices, of=of):
                outside, values = self.at, list[Value]()
                for place in product(range(2), repeat=len(indices)):
                    self.at = {**outside, **dict(zip((shown(i.name) for i in indices), place, strict=True))}
                    values.append(self.matrix(of))
                self.at = outside
                return sum(values[1:], values[0]) % PRIME
            case m.Jacobian(of=of, wrt=wrt):
                letter = self.names.jacobians.get((of.name, wrt.name))
                shape = (self.size(form.shape[0]), self.size(form.shape[1]))
                if not of.shape:
                    own = self.meet(self.names.matrix_symbol(wrt, self.names.symbol(wrt)), wrt)
                    self.loss()
                    return matrix(("∇", own), shape)
                if letter:
                    self.shapes["J", letter] = shape
                    return matrix(("J", letter), shape)
                a, b = (self.meet(self.names.symbol(t), t) for t in (of, wrt))
                return matrix(("∂", a, b), shape)
            case m.Fill(value=value, shape=shape):
                return np.full((self.size(shape[0]), self.size(shape[1])), exact(value), dtype=object)
            case m.Scalar(name=name):
                if name not in ("pi", "e"):
                    self.extents.add(name)
                return np.array([[unknown("constant", "π" if name == "pi" else name)]], dtype=object)
            case m.Transpose(of=of):
                return self.matrix(of).T
            case m.Product(left=left, right=right):
                return matmul(self.matrix(left), self.matrix(right))
            case m.Hadamard(factors=factors):
                return _times(map(self.matrix, factors))
            case m.Plus(terms=terms):
                arrays = list(map(self.matrix, terms))
                return sum(arrays[1:], arrays[0]) % PRIME
            case m.Scale(number=n, scalars=scalars, of=of):
                powers = [power(self.matrix(scalar), exponent) for scalar, exponent in scalars]
                return _times([self.matrix(of), *powers]) * exact(n) % PRIME
            case m.Diagonal(of=of):
                return np.diag(self.matrix(of)[:, 0])
            case m.Elementwise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return power(self.matrix(base), exponent)
            case m.Elementwise(function=function, arguments=arguments):
                return self.function(function, [self.matrix(a) for a in arguments])

    def block(self, form: m.Block) -> Value:
        """A tensor with subscripts but for its rows and columns; run together under vec."""
        tensor = form.tensor
        view = "vec" if any(len(own) > 1 for own in form.axes) else ""
        places = [(s, e) for s, e in zip(form.at, form.view, strict=True) if s is not None]
        if not places and not view:
            return self.matrix(m.Symbol(tensor))
        samples = tuple(number(s, self.at) for s, e in places if e == "N")
        lower = tuple(number(s, self.at) for s, e in places if e != "N")
        gradient = None if self.names.signal(tensor) else self.names.gradient(tensor)
        of = self.of(tensor) if gradient else tensor
        symbol = self.names.signal(tensor) or self.names.symbol(of)
        if not places:
            symbol = self.names.matrix_symbol(tensor, symbol)
        own = self.meet(symbol, of)
        shape = (self.size(form.shape[0]), self.size(form.shape[1]))
        self.blocks[view, own, len(places)] = shape
        value = matrix((view, "∇" if gradient else "", own, samples, lower), shape)
        if gradient:
            self.loss()
        return self.share(tensor, value) if gradient else value

    def function(self, function: str, arguments: Sequence[Value]) -> Value:
        if function == "step":
            return entrywise(lambda v: unknown("step", v), *arguments)
        return applied(called(function), *arguments)

    # Planes -----------------------------------------------------------------------------------------

    def plane(self, node: pl.Plane, at: Place) -> Value:
        if not node.axes:
            return self.component(node.read, at)
        tensor = node.read.tensor
        axes = list(enumerate(zip(node.read.subscripts, tensor.shape, strict=True)))
        samples = tuple(number(s, at) for k, (s, e) in axes if e == "N" and k not in node.axes)
        lower = tuple(number(s, at) for k, (s, e) in axes if e != "N" and k not in node.axes)
        whole = not node.subscripts
        signal = self.names.signal(tensor)
        if signal is not None:
            return plane(self.meet(signal, tensor), samples, lower)
        gradient = self.names.gradient(tensor)
        of = self.of(tensor) if gradient else tensor
        symbol = self.names.matrix_symbol(tensor, self.names.symbol(of)) if whole else self.names.symbol(of)
        own = self.meet(symbol, of)
        if gradient is None:
            return plane(own, samples, lower)
        self.loss()
        return self.share(tensor, plane("∇", own, samples, lower))

    def form(self, form: pl.Form, at: Place) -> Value:
        match form:
            case pl.Plane():
                return self.plane(form, at)
            case pl.Number(value=value):
                return self.expression(value, at)
            case pl.Ones(shape=shape):
                return plane("𝟏", "×".join(map(str, shape)))
            case pl.Pad(of=of):
                inner = self.form(of, at)
                return inner if form.idle else operated(_margin(form), inner)
            case pl.Up(of=of, factors=factors) | pl.Down(of=of, factors=factors):
                sign = "↑" if isinstance(form, pl.Up) else "↓"
                steps = str(factors[0]) if len(set(factors)) == 1 else ",".join(map(str, factors))
                return operated(sign + steps, self.form(of, at))
            case pl.Correlate(large=large, kernel=kernel):
                return bilinear("⋆", self.form(large, at), self.form(kernel, at))
            case pl.Convolve(left=left, right=right):
                return bilinear("∗", self.form(left, at), self.form(right, at))
            case pl.Extreme(position=position, of=of, window=window, holes=holes):
                apart = "" if set(holes) == {1} else "↑" + ",".join(map(str, holes))
                word = "argmaxpool" if position else "maxpool"
                return operated(f"{word}_{'×'.join(map(str, window))}{apart}", self.form(of, at))
            case pl.Unpool(of=of, position=position):
                return plane("unpool", key(self.form(position, at)), key(self.form(of, at)))
            case pl.Hadamard(factors=factors):
                return _times(self.form(f, at) for f in factors)
            case pl.Plus(terms=terms):
                values = [self.form(t, at) for t in terms]
                return sum(values[1:], values[0]) % PRIME
            case pl.Scale(number=n, scalars=scalars, of=of):
                return _times([self.form(of, at), *(self.form(s, at) for s in scalars)]) * exact(n) % PRIME
            case pl.Sum(indices=indices, of=of):
                names = [shown(i.name) for i in indices]
                places = (dict(zip(names, p, strict=True)) for p in product(range(2), repeat=len(names)))
                values = [self.form(of, {**at, **place}) for place in places]
                return sum(values[1:], values[0]) % PRIME
            case pl.Total(of=of):
                return total(self.form(of, at))
            case pl.Entrywise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return power(self.form(base, at), exponent)
            case pl.Entrywise(function=function, arguments=arguments):
                return self.function(function, [self.form(a, at) for a in arguments])

    def part(self, part: object, at: Place) -> Value:
        self.at = at
        match part:
            case Expr():
                if self.mode == "matrix":
                    # ∂ℓ/∂b where a matrix form stands on the other side.
                    assert isinstance(part, Component) and not part.subscripts
                    return self.scalar(part)
                return self.expression(part, at)
            case Nabla(gradient=gradient):
                if not gradient.shape:
                    return self.scalar(Component(gradient, ()))
                return self.nabla(gradient, None)
            case Numbers():
                raise TypeError("numbers are compared on their own")
            case Worked(expr=expr):
                return self.worked(expr)
            case _:
                return self.form(part, at) if self.mode == "planes" else self.matrix(part)  # pyright: ignore[reportArgumentType]

    def worked(self, node: Expr) -> int:
        """A line of numbers. What stands for terms left out is one unknown number."""
        match node:
            case Constant(value=Fraction() as value):
                return exact(rounded(value))
            case Component():
                return unknown("…")
            case Apply(function="−", arguments=(argument,)):
                return -self.worked(argument) % PRIME
            case Apply(function="step", arguments=(argument,)):
                return unknown("step", self.worked(argument))
            case Apply(function=function, arguments=arguments):
                return applied(called(function), *map(self.worked, arguments))
            case Power(base=base, exponent=exponent):
                return power(self.worked(base), exponent)
            case Add(terms=terms):
                return sum(map(self.worked, terms)) % PRIME
            case Multiply(factors=factors):
                return prod(map(self.worked, factors)) % PRIME
            case _:
                raise TypeError(type(node).__name__)

    def scalar(self, node: Component) -> Value:
        """A number in a matrix form."""
        if self.names.signal(node.tensor) is None and self.names.gradient(node.tensor) is not None:
            of = self.of(node.tensor)
            own = self.meet(self.names.symbol(of), of)
            self.loss()
            return self.share(node.tensor, matrix(("∇", own), (1, 1)))
        symbol = self.names.signal(node.tensor) or self.names.symbol(node.tensor)
        own = self.meet(symbol, node.tensor)
        return matrix(own, (1, 1))


def rounded(value: Fraction) -> Fraction:
    """What is printed of a number: all of a short fraction, four digits of any other."""
    return value if value.denominator <= 1000 else Fraction(f"{float(value):.4g}")


def _times(values: Iterable[Value]) -> Value:
    first, *rest = values
    for value in rest:
        first = first * value % PRIME
    return first


def _margin(form: pl.Pad) -> str:
    pairs = list(zip(form.before, form.after, strict=True))
    known = [a for pair in pairs for a in pair if a is not None]
    crop = all(a <= 0 for a in known)
    texts: list[str] = []
    for before, after in pairs:
        b, a = ("·" if v is None else f"{-v if crop else v}".replace("-", "−") for v in (before, after))
        texts.append(b if a == b else f"{b}|{a}")
    return ("crop_" if crop else "pad_") + (texts[0] if len(set(texts)) == 1 else ",".join(texts))


def number(subscript: Affine, at: Place) -> int:
    return subscript.offset + sum(c * at[shown(i.name)] for i, c in subscript.terms)


def mode_of(formula: Formula) -> str:
    kinds = [type(p).__module__ for p in formula.parts if not isinstance(p, str | Nabla | Numbers | Worked)]
    if any(k.endswith("derive.planes") for k in kinds):
        return "planes"
    if any(k.endswith("derive.matrix") for k in kinds) or any(isinstance(p, Nabla) for p in formula.parts):
        return "matrix"
    return "components"


def indices_of(formula: Formula) -> list[Index]:
    """Every index that occurs in a formula."""
    found: dict[Index, None] = {}

    def meet(subscripts: Iterable[Affine]) -> None:
        found.update(dict.fromkeys(i for s in subscripts for i in s.indices))

    def expression(expr: Expr) -> None:
        for node in nodes(expr):
            match node:
                case Component(subscripts=subscripts):
                    meet(subscripts)
                case Derivative(wrt=wrt):
                    meet(wrt.subscripts)
                case Delta(left=left, right=right):
                    meet([left] if isinstance(right, Component) else [left, right])
                    if isinstance(right, Component):
                        meet(right.subscripts)
                case Guard(subscript=subscript):
                    meet([subscript])
                case Reduce(indices=indices):
                    found.update(dict.fromkeys(indices))
                case _:
                    pass

    for part in formula.parts:
        if isinstance(part, Expr):
            expression(part)
        elif isinstance(part, m.Matrix):
            for node in blocks.walk(part):
                match node:
                    case m.Block(at=at):
                        meet([s for s in at if s is not None])
                    case m.Sum(indices=indices):
                        found.update(dict.fromkeys(indices))
                    case _:
                        pass
        elif isinstance(part, pl.Form):
            for node in pl.walk(part):
                match node:
                    case pl.Plane(read=read):
                        expression(read)
                    case pl.Sum(indices=indices):
                        found.update(dict.fromkeys(indices))
                    case pl.Unpool(position=position):
                        expression(position.read)
                    case _:
                        pass
    return list(found)
