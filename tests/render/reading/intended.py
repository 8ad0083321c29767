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
    extreme,
    key,
    matmul,
    matrix,
    operated,
    partial,
    plane,
    power,
    seal,
    softmax,
    total,
    unknown,
)

from chainrule.forms import OPERATORS, Form, matrix_shape, walk
from chainrule.forms.nodes import Entries, Fill, Jacobian, Length, Number, Ones, Operation, Sum, View
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
    Pad,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import distinct, nodes
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
    axes: dict[str, int] = field(default_factory=dict[str, int])
    sizes: dict[Extent, int] = field(default_factory=dict[Extent, int])
    sums: dict[object, int] = field(default_factory=dict[object, int])
    pads: dict[tuple[Tensor, int], Pad | None] = field(default_factory=dict[tuple[Tensor, int], "Pad | None"])

    @property
    def known(self) -> Known:
        loss = self.names.loss
        return Known(self.ranks, self.shapes, frozenset(self.extents), (loss.stem, loss.layer), self.blocks, self.axes)

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
        return component(self.meet(self.names.loss, LOSS), 0, (), ())

    def bars(self, read: Component | View) -> int:
        """The bars above a padded read: so many say one thing of a tensor."""
        bars = self.names.bars(read.tensor, read.pad)
        assert self.pads.setdefault((read.tensor, bars), read.pad) == read.pad, "two paddings are written alike"
        return bars

    # Components -------------------------------------------------------------------------------------

    def component(self, node: Component, at: Place) -> int:
        axes = list(zip(node.subscripts, node.tensor.shape, strict=True))
        samples = tuple(number(s, at) for s, e in axes if e == "N")
        lower = tuple(number(s, at) for s, e in axes if e != "N")
        bars = self.bars(node)
        signal = self.names.signal(node.tensor)
        if signal is not None:
            return component(self.meet(signal, node.tensor), bars, samples, lower)
        if self.names.gradient(node.tensor) is None:
            return component(self.meet(self.names.symbol(node.tensor), node.tensor), bars, samples, lower)
        of = self.of(node.tensor)
        own = self.meet(self.names.symbol(of), of)
        return self.share(node.tensor, partial(self.loss(), component(own, bars, samples, lower)))

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
            case Reduce():
                known = node, tuple(at[shown(i.name)] for i in node.free)
                if known not in self.sums:
                    self.sums[known] = self.reduced(node, at)
                return self.sums[known]
            case Add(terms=terms):
                return sum(self.expression(t, at) for t in terms) % PRIME
            case Multiply(factors=factors):
                return prod(self.expression(f, at) for f in factors) % PRIME
            case _:
                raise TypeError(type(node).__name__)

    def reduced(self, node: Reduce, at: Place) -> int:
        names = [shown(i.name) for i in node.indices]
        places = product(range(2), repeat=len(names))
        values = [self.expression(node.body, {**at, **dict(zip(names, p, strict=True))}) for p in places]
        if node.kind == "sum":
            return sum(values) % PRIME
        if node.kind == "logsumexp":
            return applied("log", sum(applied("exp", v) for v in values) % PRIME)
        return unknown(node.kind, *values)

    # Forms ------------------------------------------------------------------------------------------

    def nabla(self, gradient: Tensor, shape: tuple[Extent, Extent] | None) -> Value:
        signal = self.names.signal(gradient)
        if signal is not None:
            own = self.meet(self.names.matrix_symbol(gradient, signal) if shape else signal, gradient, shape)
            return matrix(own, self.shapes[own])
        of = self.of(gradient)
        own = self.meet(self.names.matrix_symbol(gradient, self.names.symbol(of)), of, shape)
        self.loss()
        return self.share(gradient, matrix(("∇", own), self.shapes[own]))

    def form(self, form: Form, at: Place) -> Value:
        match form:
            case View():
                return self.plane(form, at) if self.mode == "planes" else self.block(form, at)
            case Entries():
                return self.entries(form, at)
            case Number(value=value):
                own = self.expression(value, at)
                return own if self.mode == "planes" else np.array([[own]], dtype=object)
            case Fill(value=value, shape=shape):
                return np.full((self.size(shape[0]), self.size(shape[1])), exact(value), dtype=object)
            case Ones(shape=shape):
                return plane("𝟏", "×".join(map(str, shape)))
            case Jacobian(of=of, wrt=wrt):
                return self.jacobian(of, wrt)
            case Sum(indices=indices, inner=inner):
                names = [shown(i.name) for i in indices]
                places = (dict(zip(names, p, strict=True)) for p in product(range(2), repeat=len(names)))
                values = [self.form(inner, {**at, **place}) for place in places]
                return sum(values[1:], values[0]) % PRIME
            case Operation(of=of):
                return self.operation(form, [self.form(part, at) for part in of])

    def operation(self, form: Operation, values: list[Value]) -> Value:
        first = values[0]
        match form.name:
            case "transpose":
                return first.T
            case "matmul":
                return matmul(*values)
            case "diag":
                return np.diag(first[:, 0])
            case "hadamard" | "scale":
                return _times(values)
            case "plus":
                return sum(values[1:], first) % PRIME
            case "power":
                return power(first, form["exponent"])
            case "apply" | "apply2":
                return self.function(form["function"], values)
            case "softmax" | "softmax_rows":
                return softmax(first)
            case "onehot" | "onehot_rows":
                view = form.of[0]
                assert isinstance(view, View)
                own = self.meet(self.names.symbol(view.tensor), view.tensor)
                shape = self.matrix_shape(form)
                self.blocks["onehot", own, seal(first)] = shape
                return matrix(("onehot", key(first)), shape)
            case "logsumexp" | "logsumexp_rows":
                total_ = applied("exp", first).sum(axis=int(form.name == "logsumexp_rows"), keepdims=True) % PRIME
                return applied("log", total_)
            case "logsumexp_all":
                return applied("log", np.array([[applied("exp", first).sum() % PRIME]], dtype=object))
            case "max" | "argmax" | "max_rows" | "argmax_rows" | "max_all" | "argmax_all":
                kind, _, along = form.name.partition("_")
                words = {"rows": "row", "all": "", "": "" if first.shape[1] == 1 else "col"}
                return extreme(words[along] + kind, first)
            case "total":
                return total(first)
            case "pad":
                return operated(_margin(form), first)
            case "up" | "down":
                factors = form["factor"]
                steps = str(factors[0]) if len(set(factors)) == 1 else ",".join(map(str, factors))
                return operated(("↑" if form.name == "up" else "↓") + steps, first)
            case "correlate" | "convolve":
                return bilinear("⋆" if form.name == "correlate" else "∗", *values)
            case "maxpool" | "argmaxpool":
                apart = "" if set(form["hole"]) == {1} else "↑" + ",".join(map(str, form["hole"]))
                return operated(f"{form.name}_{'×'.join(map(str, form['window']))}{apart}", first)
            case "unpool":
                return plane("unpool", key(values[1]), key(first))
            case name:
                raise TypeError(name)

    def entries(self, form: Entries, at: Place) -> Value:
        names = [shown(i.name) for i in form.axes]
        sizes = [self.size(i.extent) for i in form.axes]
        for name, size in zip(names, sizes, strict=True):
            assert self.axes.setdefault(name, size) == size, f"{name} runs over {size} and {self.axes[name]}"
        places = product(*map(range, sizes))
        cells = [self.expression(form.entry, {**at, **dict(zip(names, place, strict=True))}) for place in places]
        return np.array(cells, dtype=object).reshape((*sizes, 1, 1)[:2])

    def matrix_shape(self, form: Form) -> tuple[int, int]:
        rows, columns = (self.size(length.extent({})) for length in matrix_shape(form))
        return rows, columns

    def jacobian(self, of: Tensor, wrt: Tensor) -> Value:
        letter = self.names.jacobians.get((of.name, wrt.name))
        shape = self.matrix_shape(Jacobian(of, wrt))
        if not of.shape:
            own = self.meet(self.names.matrix_symbol(wrt, self.names.symbol(wrt)), wrt)
            self.loss()
            return matrix(("∇", own), shape)
        if letter:
            self.shapes["J", letter] = shape
            return matrix(("J", letter), shape)
        a, b = (self.meet(self.names.symbol(t), t) for t in (of, wrt))
        return matrix(("∂", a, b), shape)

    def block(self, view: View, at: Place) -> Value:
        """A matrix: a tensor, or one with subscripts but for its rows and columns; run together under vec."""
        tensor = view.tensor
        lengths = [length.extent({}) for length in matrix_shape(view)] if len(view.whole) <= 2 else [1, 1]
        extents = (lengths[0], lengths[1])
        if not view.fixed and not view.joined:
            if self.names.signal(tensor) is not None or self.names.gradient(tensor) is not None:
                return self.nabla(tensor, extents)
            own = self.meet(self.names.matrix_symbol(tensor, self.names.symbol(tensor)), tensor, extents)
            return matrix(own, self.shapes[own])
        word = "vec" if view.joined else ""
        samples = tuple(number(s, at) for s, e in view.fixed if e == "N")
        lower = tuple(number(s, at) for s, e in view.fixed if e != "N")
        gradient = None if self.names.signal(tensor) else self.names.gradient(tensor)
        of = self.of(tensor) if gradient else tensor
        symbol = self.names.signal(tensor) or self.names.symbol(of)
        if not view.fixed:
            symbol = self.names.matrix_symbol(tensor, symbol)
        own = self.meet(symbol, of)
        shape = (self.size(extents[0]), self.size(extents[1]))
        self.blocks[word, own, len(view.fixed)] = shape
        value = matrix((word, "∇" if gradient else "", own, samples, lower, self.bars(view)), shape)
        if gradient:
            self.loss()
        return self.share(tensor, value) if gradient else value

    def function(self, function: str, arguments: Sequence[Value]) -> Value:
        if function == "step":
            return entrywise(lambda v: unknown("step", v), *arguments)
        return applied(called(function), *arguments)

    def plane(self, view: View, at: Place) -> Value:
        tensor = view.tensor
        if None not in view.at:
            return self.component(Component(tensor, tuple(s for s, _ in view.fixed), view.pad), at)
        samples = tuple(number(s, at) for s, e in view.fixed if e == "N")
        lower = tuple(number(s, at) for s, e in view.fixed if e != "N")
        signal = self.names.signal(tensor)
        if signal is not None:
            return plane(self.meet(signal, tensor), samples, lower, self.bars(view))
        gradient = self.names.gradient(tensor)
        of = self.of(tensor) if gradient else tensor
        symbol = self.names.symbol(of) if view.fixed else self.names.matrix_symbol(tensor, self.names.symbol(of))
        own = self.meet(symbol, of)
        if gradient is None:
            return plane(own, samples, lower, self.bars(view))
        self.loss()
        return self.share(tensor, plane("∇", own, samples, lower, self.bars(view)))

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
                assert isinstance(part, Form)
                return self.form(part, at)

    def worked(self, node: Expr) -> int:
        """A line of numbers. What stands for terms left out is one unknown number."""
        match node:
            case Constant(value=Fraction() as value):
                return exact(rounded(value))
            case Component(tensor=tensor):
                letters = {letter: value for value, letter in self.names.constants.items()}
                return exact(letters[tensor.name]) if tensor.name in letters else unknown("…")
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


def _margin(form: Operation) -> str:
    pairs = list(zip(form["before"], form["after"], strict=True))
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
    """How a row of letters is read: as a product of matrices, of numbers and planes, or of components."""
    forms = [part for part in formula.parts if isinstance(part, Form)]
    inside = [node for form in forms for node in walk(form)]
    matrices = any(isinstance(node, Operation) and OPERATORS[node.name].kind == "matrix" for node in inside)
    batch = Length.of("N")
    views = [node for node in inside if isinstance(node, View)]
    joined = any(view.joined or (batch in view.whole and len(view.whole) < 3) for view in views)
    if matrices or joined or any(isinstance(node, Fill | Jacobian | Entries) for node in inside):
        return "matrix"
    if forms:
        several = any(isinstance(node, View) and len(node.whole) > 2 for node in inside)
        planes = any(isinstance(node, Operation) and OPERATORS[node.name].kind == "plane" for node in inside)
        fixed = any(isinstance(node, View) and node.fixed for node in inside)
        return "planes" if several or planes or fixed or any(isinstance(n, Ones) for n in inside) else "matrix"
    return "matrix" if any(isinstance(part, Nabla) for part in formula.parts) else "components"


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
            expression(distinct(part))  # as it is written
        elif isinstance(part, Form):
            for node in walk(part):
                match node:
                    case View():
                        meet([s for s, _ in node.fixed])
                    case Entries(axes=axes, entry=entry):
                        found.update(dict.fromkeys(axes))
                        expression(entry)
                    case Sum(indices=indices):
                        found.update(dict.fromkeys(indices))
                    case _:
                        pass
    return list(found)
