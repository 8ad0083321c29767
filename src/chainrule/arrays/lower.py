"""Equations lowered to the array program, each once.

While it is lowered a value is an array and the index of each of its axes, so that products, sums and brackets need no
order of axes; where two meet, the axes of one are moved. A read is a slice at affine subscripts, a sum over a product
one `Einsum`, where it slides a window a `Convolution`, a bracket [v = id[…]] a gather or a scatter. A bracket is an
array of booleans until it meets a product, where it selects: false makes 0 of infinities and NaNs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from chainrule.arrays.convolution import recognised
from chainrule.arrays.ids import Limits
from chainrule.arrays.nodes import (
    Assignment,
    Axes,
    Broadcast,
    DType,
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
    Scatter,
    Shape,
    Size,
    Slice,
    cast,
    in_order,
    mapped,
    number,
    reshape,
    transpose,
)
from chainrule.errors import DerivationError, EquationError, ShapeError
from chainrule.ir import expr as ir
from chainrule.ir.expr import Component, Delta, Expr
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.laws import expanded, logarithm
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, hidden, iterative, nodes

ZERO = number(0)


@dataclass(frozen=True, slots=True)
class Value:
    """An array and the index that each of its axes runs over."""

    node: Node
    axes: Axes = ()


@dataclass(frozen=True, slots=True)
class Pick:
    """The bracket [index = ids] in a product, not spelled out as zeros and ones. Where `sure`, every id is a value of
    the index."""

    index: Index
    ids: Value
    sure: bool


class Lowering:
    """The values of the nodes of one expression. `order` is that of the indices in its equation, but samples lead;
    `extents` are those that are known as numbers."""

    def __init__(self, order: Iterable[Index], extents: Mapping[str, int], limits: Limits, *, select: bool) -> None:
        self.order = {i: k for k, i in enumerate(sorted(union(order), key=lambda i: not i.is_sample))}
        self.extents, self.limits, self.select = extents, limits, select
        self.known: dict[Expr, Value] = {}
        self.logarithms: dict[Expr, tuple[Value, Value]] = {}  # the two terms of each

    # Shapes and axes

    def size(self, extent: Extent) -> Extent:
        return extent if isinstance(extent, int) else self.extents.get(extent, extent)

    def shape(self, axes: Iterable[Index]) -> Shape:
        return tuple(self.size(i.extent) for i in axes)

    def aligned(self, value: Value, axes: Axes) -> Node:
        """The array with its axes in this order, so that it meets one over all of them entry by entry."""
        wanted = [i for i in axes if i in value.axes]
        node = transpose(value.node, [value.axes.index(i) for i in wanted])
        rest = axes[axes.index(wanted[0]) :] if wanted else ()
        return reshape(node, [self.size(i.extent) if i in wanted else 1 for i in rest])

    def full(self, value: Value, axes: Axes) -> Node:
        """The array over exactly these axes, repeated along those that it lacks."""
        node = self.aligned(value, axes)
        return node if len(value.axes) == len(axes) else Broadcast((node,), self.shape(axes), node.dtype)

    def ordered(self, axes: Iterable[Index]) -> Axes:
        return tuple(sorted(union(axes), key=self.order.__getitem__))

    def map(self, function: str, *values: Value) -> Value:
        """A function entry by entry, over all axes: in the order of a value that has them all, if there is one."""
        largest = max(values, key=lambda v: len(v.axes)).axes
        every = union(*(v.axes for v in values))
        axes = largest if len(largest) == len(every) else self.ordered(every)
        return Value(mapped(function, *(self.aligned(v, axes) for v in values)), axes)

    def real(self, value: Value) -> Value:
        return Value(cast(value.node, "real"), value.axes)

    def iota(self, subscript: Affine | Index) -> Value:
        subscript = Affine.of(subscript) if isinstance(subscript, Index) else subscript
        return Value(Iota((), self.shape(subscript.indices), "integer", subscript), subscript.indices)

    def count(self, extent: Extent, dtype: DType = "integer") -> Node:
        size = self.size(extent)
        return number(size, dtype) if isinstance(size, int) else Size((), (), dtype, size)

    def within(self, place: Value, extent: Extent) -> Value:
        """Whether whole numbers lie in 0 … extent−1."""
        zero, size = Value(number(0, "integer")), Value(self.count(extent))
        return self.map("and", self.map("less_equal", zero, place), self.map("less", place, size))

    def clipped(self, place: Value, extent: Extent) -> Value:
        """Whole numbers moved into 0 … extent−1."""
        last = Value(mapped("add", self.count(extent), number(-1, "integer")))
        return self.map("max", self.map("min", place, last), Value(number(0, "integer")))

    # Reads

    def reach(self, subscript: Affine) -> tuple[int, int] | None:
        """The least and the greatest value, where they are known."""
        low = high = subscript.offset
        for index, c in subscript.terms:
            size = self.size(index.extent)
            if isinstance(size, str):
                return None
            low, high = low + min(0, c * (size - 1)), high + max(0, c * (size - 1))
        return low, high

    def covers(self, subscript: Affine, extent: Extent) -> bool:
        """Whether it is an index that runs over the whole axis."""
        return subscript.plain is not None and self.size(subscript.plain.extent) == extent

    def complete(self, subscripts: Iterable[Affine], shape: Shape) -> bool:
        """Whether they are mixed-radix numbers that run over whole axes."""
        return all(self.covers(s, e) or s.radix(e) for s, e in zip(subscripts, shape, strict=True))

    def read(self, c: Component) -> Value:
        of: Node = Given((), tuple(map(self.size, c.tensor.shape)), c.tensor.dtype, c.tensor)
        subscripts, pad, widths = c.subscripts, c.pad, list[tuple[int, int]]()
        if isinstance(pad, Fraction) and pad.denominator != 1:
            of = cast(of, "real")
        for axis, (s, extent) in enumerate(zip(subscripts, of.shape, strict=True)):
            reach = (0, 0) if self.covers(s, extent) else self.reach(s)
            if reach is None or (isinstance(extent, str) and not self.covers(s, extent)):
                if pad is not None:
                    return self.chosen(of, subscripts, pad)
                reach = 0, 0
            last = extent - 1 if isinstance(extent, int) else 0
            widths.append((max(0, -reach[0]), max(0, reach[1] - last)))
            if pad is None and any(widths[-1]) and 0 not in self.shape(s.indices):
                raise ShapeError(
                    f"axis {axis} of {c.tensor.name} is read at {reach[0]} … {reach[1]}, outside its shape {of.shape}",
                    fix=f"write pad({c.tensor.name}, 0)[…], or give the indices smaller extents",
                )
        if pad is not None and any(map(any, widths)):
            shape = tuple(e + sum(w) if isinstance(e, int) else e for e, w in zip(of.shape, widths, strict=True))
            of = Pad((of,), shape, of.dtype, tuple(widths), pad)
            subscripts = tuple(s + before for s, (before, _) in zip(subscripts, widths, strict=True))
        return self.slice(of, subscripts)

    def slice(self, of: Node, subscripts: tuple[Affine, ...]) -> Value:
        indices = [i for s in subscripts for i in s.indices]
        distinct = len(set(indices)) == len(indices) and all(s.terms for s in subscripts)
        if distinct and self.complete(subscripts, of.shape):
            digits = tuple(i for s in subscripts for i in digits_of(s))
            return Value(of if len(digits) == len(subscripts) else reshape(of, self.shape(digits)), digits)
        # Indices that share an axis, or are in two, stand together, in their order in the equation.
        mixed = [len(s.terms) > 1 or any(indices.count(i) > 1 for i in s.indices) for s in subscripts]
        first, last = (mixed.index(True), len(mixed) - mixed[::-1].index(True)) if any(mixed) else (0, 0)
        inside = self.ordered(i for s in subscripts[first:last] for i in s.indices)
        before, after = ([i for s in part for i in s.indices] for part in (subscripts[:first], subscripts[last:]))
        axes = union(before, inside, after)
        return Value(Slice((of,), self.shape(axes), of.dtype, subscripts, axes), axes)

    def chosen(self, of: Node, subscripts: Sequence[Affine], pad: ir.Pad) -> Value:
        """A padded read along an axis whose extent is open: where the subscripts lie inside, else the padding."""
        axes = self.ordered(i for s in subscripts for i in s.indices)
        places = [
            (self.iota(s) if self.covers(s, e) else self.clipped(self.iota(s), e), e)
            for s, e in zip(subscripts, of.shape, strict=True)
        ]
        found = Gather((of, *(self.aligned(p, axes) for p, _ in places)), self.shape(axes), of.dtype, 0)
        inside = self.outside_none(subscripts, of.shape)
        assert inside is not None
        return self.map("where", inside, self.real(Value(found, axes)), Value(number(pad)))

    def outside_none(self, subscripts: Sequence[Affine], shape: Shape) -> Value | None:
        """Where no subscript reads outside the shape; None where that is so everywhere."""
        brackets = list[Value]()
        for s, extent in zip(subscripts, shape, strict=True):
            reach = self.reach(s)
            sure = reach is not None and isinstance(extent, int) and reach[0] >= 0 and reach[1] < extent
            if not sure and not self.covers(s, extent):
                brackets.append(self.within(self.iota(s), extent))
        return (brackets[0] if len(brackets) == 1 else self.map("and", *brackets)) if brackets else None

    # Values

    @iterative
    def value(self, node: Expr) -> Steps[Value]:
        if node in self.known:
            return self.known[node]
        match node:
            case ir.Constant(value=value):
                result = Value(number(value))
            case ir.Size(extent=extent):
                result = Value(self.count(extent, "real"))
            case Component():
                result = self.read(node)
            case ir.Guard(subscript=subscript, extent=extent):
                result = self.within(self.iota(subscript), extent)
            case Delta(left=left, right=right):
                other = self.iota(right) if isinstance(right, Affine) else (yield self, right)
                result = self.map("equal", self.iota(left), other)
            case ir.Add(terms=terms):
                values, late = list[Value](), list[Value]()
                for term in terms:
                    value = self.real((yield self, term))
                    whole, sign = logarithm(term)
                    if whole is not None:
                        value, small = (p if sign > 0 else self.minus(p) for p in self.logarithms[whole])
                        late.append(small)
                    values.append(value)
                result = self.map("add", *values, *late)
            case ir.Power(base=base, exponent=exponent):
                inner = self.real((yield self, base))
                result = Value(Power((inner.node,), inner.node.shape, "real", exponent), inner.axes)
            case ir.Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    result = self.real((yield self, expanded(node)))
                else:
                    values = list[Value]()
                    for argument in arguments:
                        values.append(self.real((yield self, argument)))
                    result = self.map(function, *values)
            case ir.Multiply() | ir.Reduce(kind="sum"):
                factors, summed = factors_of(node)
                for factor in factors:
                    yield self, _ids(factor) or factor
                values = [self.factor(f) for f in factors]
                held = [v for v, f in zip(values, factors, strict=True) if hidden(f, factors)]
                result = self.contract(values, summed, held)
            case ir.Reduce(body=body):
                result = self.reduce(node, (yield self, body))
            case _:
                raise DerivationError(f"{type(node).__name__} has no value here", about=node, fix="derive it first")
        self.known[node] = result
        return result

    def minus(self, value: Value) -> Value:
        return self.map("multiply", Value(number(-1)), value)

    def reduce(self, node: ir.Reduce, body: Value) -> Value:
        """max, argmax and logsumexp."""
        kind, indices = node.kind, node.indices
        every = union(body.axes, indices)
        left = tuple(i for i in every if i not in indices)
        shape = self.shape(left)
        if kind == "argmax":
            axes = (*left, *indices)
            operands = [self.full(body, axes)]
            # Entries of -inf in the tensor look like the padding, which is never selected.
            if isinstance(node.body, Component) and node.body.pad == "-inf":
                inside = self.outside_none(node.body.subscripts, tuple(map(self.size, node.body.tensor.shape)))
                operands += [self.full(inside, axes)] if inside is not None else []
            places = tuple(range(len(left), len(axes)))
            return Value(Reduce(tuple(operands), shape, "integer", kind, places), left)
        array, places = self.full(body, every), tuple(every.index(i) for i in indices)
        if kind == "max":
            return Value(Reduce((array,), shape, array.dtype, kind, places), left)
        array = cast(array, "real")
        peak = Reduce((array,), shape, "real", "peak", places)
        parts = Value(peak, left), Value(Reduce((array, peak), shape, "real", "rest", places), left)
        self.logarithms[node] = parts
        return self.map("add", *parts)

    def factor(self, factor: Expr) -> Value | Pick:
        """The value of a factor of a product, a bracket [v = id[…]] as the index it picks."""
        ids = _ids(factor)
        if ids is None or not isinstance(factor, Delta):
            return self.value(factor)
        index = factor.left.indices[0]
        return Pick(index, self.value(ids), self.limits.sure(ids, index.extent))

    # Products and sums

    def contract(self, factors: Iterable[Value | Pick], summed: Axes, held: Sequence[Value | Pick] = ()) -> Value:
        """Σ over `summed` of the product of the factors; those that brackets may hide are `held` inside."""
        factors = [*factors]
        arrays = [f for f in factors if isinstance(f, Value)]
        picks = [f for f in factors if isinstance(f, Pick)]
        for pick in picks:
            v, ids, rest = pick.index, pick.ids, [p for p in picks if p is not pick]
            if any(v == p.index or v in p.ids.axes for p in rest):
                continue
            if not pick.sure:
                ids, rest = self.clipped(ids, v.extent), [*rest, self.within(ids, v.extent)]
            if v in summed:
                taken = [self.gather(f, v, ids) if v in f.axes else f for f in arrays]
                return self.contract([*taken, *rest], tuple(i for i in summed if i != v), held)
            own = tuple(i for i in ids.axes if i in summed)
            if own and not any(v in f.axes for f in arrays):
                terms = self.contract([*arrays, *rest], tuple(i for i in summed if i not in own), held)
                return self.scatter(terms, v, ids, own)
        arrays += [self.map("equal", self.iota(p.index), p.ids) for p in picks]
        within = [f for f in arrays if set(f.axes) & set(summed) or any(f is h for h in held)]
        outside = [f for f in arrays if not any(f is w for w in within)]
        idle = self.shape(i for i in summed if not any(i in f.axes for f in within))
        counts = [number(prod(e for e in idle if isinstance(e, int)))]
        counts += [self.count(e, "real") for e in idle if isinstance(e, str)]
        return self.multiply([*map(Value, counts), *outside, *([self.sum(within, summed)] if within else [])])

    def multiply(self, factors: Sequence[Value]) -> Value:
        """The product entry by entry, brackets as a selection."""
        brackets = [f for f in factors if f.node.dtype == "bool"]
        others = [self.real(f) for f in factors if f.node.dtype != "bool"]
        others = [f for f in others if not (isinstance(f.node, Number) and f.node.value == 1)]
        product = self.map("multiply", *others) if len(others) > 1 else others[0] if others else Value(number(1))
        if not brackets:
            return product
        where = brackets[0] if len(brackets) == 1 else self.map("and", *brackets)
        return self.map("where", where, product, Value(ZERO)) if others else self.real(where)

    def sum(self, factors: Sequence[Value], summed: Axes) -> Value:
        if self.select:
            factors = self.selected(factors)
        kept = self.ordered(i for f in factors for i in f.axes if i not in summed)
        if len(factors) > 1:
            axes = tuple(f.axes for f in factors)
            product = Einsum(tuple(f.node for f in factors), self.shape(kept), "real", axes, kept)
            return Value(recognised(product), kept)
        one = self.real(factors[0])
        places = tuple(one.axes.index(i) for i in summed if i in one.axes)
        left = tuple(i for i in one.axes if i not in summed)
        return Value(Reduce((one.node,), self.shape(left), "real", "sum", places), left)

    def selected(self, factors: Sequence[Value]) -> Sequence[Value]:
        """Brackets choose among factors that may be infinite before these are multiplied."""
        brackets = [f for f in factors if f.node.dtype == "bool"]
        free = [f for f in factors if f.node.dtype != "bool" and any(map(_unbounded, in_order(f.node)))]
        if not brackets or not free:
            return factors
        return [self.multiply([*brackets, *free]), *(f for f in factors if f not in brackets and f not in free)]

    def gather(self, factor: Value, index: Index, ids: Value) -> Value:
        """The factor at index = ids."""
        own = factor.axes
        chosen = [k for k, i in enumerate(own) if i == index or i in ids.axes]
        first, last = min(chosen), max(chosen) + 1
        inside = union((i for i in own[first:last] if i != index), ids.axes) if last > first + 1 else ids.axes
        places = [self.aligned(ids if i == index else self.iota(i), inside) for i in own[first:last]]
        axes = (*own[:first], *inside, *own[last:])
        return Value(Gather((factor.node, *places), self.shape(axes), factor.node.dtype, first), axes)

    def scatter(self, terms: Value, index: Index, ids: Value, summed: Axes) -> Value:
        """Each term added at index = ids, in order, over the axes of `ids` that are summed."""
        stays = tuple(i for i in ids.axes if i not in summed)
        others = tuple(i for i in terms.axes if i not in ids.axes)
        places = [self.aligned(self.iota(i), ids.axes) for i in stays]
        axes = (*stays, index, *others)
        array = self.full(self.real(terms), (*ids.axes, *others))
        return Value(Scatter((array, *places, ids.node), self.shape(axes), "real"), axes)


def union(*axes: Iterable[Index]) -> Axes:
    return tuple(dict.fromkeys(index for group in axes for index in group))


def digits_of(subscript: Affine) -> list[Index]:
    """The indices of a mixed-radix number, the highest place first."""
    return [i for i, _ in sorted(subscript.terms, key=lambda t: (-t[1], t[0].extent != 1))]


def factors_of(node: Expr) -> tuple[list[Expr], Axes]:
    """The factors of a product, products inside it merged, and what they are summed over."""
    body, summed = (node.body, node.indices) if isinstance(node, ir.Reduce) else (node, ())
    factors, stack = list[Expr](), [body]
    while stack:
        part = stack.pop()
        if isinstance(part, ir.Multiply):
            stack += part.factors[::-1]
        else:
            factors.append(part)
    return factors, summed


def _ids(factor: Expr) -> Component | None:
    """id[…] where the factor is a bracket [v = id[…]] with a plain v: what a gather or scatter can stand for."""
    match factor:
        case Delta(left=left, right=Component(pad=None) as right) if left.plain and left.plain not in right.free:
            return right
        case _:
            return None


def _unbounded(node: Node) -> bool:
    """Whether it may be infinite, or no number, where what it is made of is neither."""
    match node:
        case Power(exponent=exponent):
            return exponent < 0 or exponent.denominator > 1
        case Map(function=function):
            return function in ("log", "log1p", "exp", "expm1", "sqrt")
        case Number(value=value) | Pad(fill=value):
            return value == "-inf"
        case _:
            return False


def lower(
    equations: Iterable[Equation], extents: Mapping[str, int], limits: Limits, *, select: bool = False
) -> list[Assignment]:
    """The equations as assignments, in order; several that define a tensor write its parts. With `select` brackets
    choose before a sum multiplies what may be infinite; the executor sees to that as it runs."""
    result = list[Assignment]()
    for equation in equations:
        target, tensor = equation.target, equation.tensor
        bound = (i for node in nodes(equation.value) if isinstance(node, ir.Reduce) for i in node.indices)
        lowering = Lowering((*target.free, *equation.value.free, *bound), extents, limits, select=select)
        value = lowering.value(equation.value)
        if tensor.dtype == "real":
            value = lowering.real(value)
        elif value.node.dtype != "integer":
            name = tensor.name
            raise EquationError(f"{name} holds integers, its value is real", about=equation, fix=f"make {name} real")
        shape = tuple(map(lowering.size, tensor.shape))
        if lowering.complete(target.subscripts, shape):
            array = lowering.full(value, tuple(i for s in target.subscripts for i in digits_of(s)))
            result.append(Assignment(tensor, reshape(array, shape)))
        else:
            lowering.read(Component(tensor, target.subscripts))  # raises where the target is out of range
            result.append(Assignment(tensor, lowering.full(value, target.free), target.subscripts))
    return result
