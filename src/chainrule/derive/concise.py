"""What a matrix form says, in components: (A B)[i, j] = Σ_k A[i, k] B[k, j], and so on for each operation.

A row or a column is named by a subscript: an index, or the mixed-radix number of the digits that it runs over.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import count, groupby
from math import prod

from chainrule.derive.blocks import Blocks, walk
from chainrule.derive.matrix import (
    Block,
    Diagonal,
    Elementwise,
    Fill,
    Hadamard,
    Jacobian,
    Matrix,
    OneHot,
    Plus,
    Product,
    Scalar,
    Scale,
    Softmax,
    Sum,
    Symbol,
    Transpose,
)
from chainrule.errors import DerivationError
from chainrule.ir.expr import Apply, Component, Constant, Delta, Derivative, Expr, Power, Reduce, Size, add, multiply
from chainrule.ir.index import Affine, Extent, Index

Axis = Affine | None  # None: an axis of extent 1


def component_form(form: Matrix, indices: Sequence[Index]) -> Expr:
    """The entry of a matrix at these indices: row and column, row alone for a column, none for a number."""
    rows, columns = (*map(Affine.of, indices), None, None)[:2]
    return _Components(form).entry(form, rows, columns)


def blocks_form(form: Blocks) -> Expr:
    """The entry that `form.target` names, for every value of its indices."""
    subscripts = _seen(form.target, form.left)
    whole = [own for at, own in zip(form.left.at, subscripts, strict=True) if at is None]
    rows, columns = (*whole, None, None)[:2]
    return _Components(form.right).entry(form.right, rows, columns)


def _seen(c: Component, block: Block) -> list[Affine]:
    """The subscripts of a component along the axes of a block's view."""
    result: list[Affine] = []
    for own, group in groupby(block.axes):
        subscripts = [c.subscripts[k] for k in own]
        if len(own) > 1:
            result.append(_number(subscripts, [_known(c.tensor.shape[k]) for k in own]))
        elif len(list(group)) > 1:
            result += _digits(subscripts[0])
        else:
            result += subscripts
    return result


def _digits(number: Affine) -> list[Affine]:
    """The digits of a mixed-radix number, the highest place first."""
    return [Affine.of(i) for i, _ in sorted(number.terms, key=lambda t: (-t[1], t[0].extent != 1))]


def _known(extent: Extent) -> int:
    return extent if isinstance(extent, int) else 0


def _number(digits: Sequence[Affine], extents: Sequence[int]) -> Affine:
    result = Affine()
    for digit, extent in zip(digits, extents, strict=True):
        result = result * extent + digit
    return result


class _Components:
    def __init__(self, form: Matrix) -> None:
        self.numbers = count()
        # The digits that a summed axis has, where a tensor is read with some of its axes run together.
        self.digits: dict[Extent, tuple[int, ...]] = {}
        for block in (node for node in walk(form) if isinstance(node, Block)):
            for own, extent in zip(block.axes, block.view, strict=True):
                if len(own) > 1:
                    self.digits[extent] = tuple(_known(block.tensor.shape[k]) for k in own)

    def inner(self, extent: Extent) -> tuple[tuple[Index, ...], Affine]:
        """A summed axis: its indices, and the number that they make."""
        extents = self.digits.get(extent, (extent,))
        own = tuple(Index(f"·{next(self.numbers)}", e) for e in extents)
        if len(own) == 1:
            return own, Affine.of(own[0])
        return own, _number([Affine.of(i) for i in own], [_known(e) for e in extents])

    def entry(self, form: Matrix, i: Axis, j: Axis) -> Expr:
        entry = self.entry
        match form:
            case Symbol(tensor=tensor):
                return Component(tensor, _at((i, j), len(tensor.shape)))
            case Block():
                return self.block(form, i, j)
            case OneHot(of=of):
                row, column = (i, j) if None in of.at else (None, i)
                chosen = self.block(of, row, None)
                assert isinstance(chosen, Component)
                return Delta(column or Affine(), chosen)
            case Softmax(of=of, rows=rows):
                extent = of.shape[1] if rows else of.shape[0]
                own, number = self.inner(extent)
                other = entry(of, i, number) if rows else entry(of, number, j)
                total = Reduce("logsumexp", own, other)
                return Apply("exp", (add((entry(of, i, j), multiply((Constant(Fraction(-1)), total)))),))
            case Sum(indices=indices, of=of):
                return Reduce("sum", indices, entry(of, i, j))
            case Jacobian(of=of, wrt=wrt):
                upper, lower = (i, j) if of.shape else (None, i)
                return Derivative(
                    Component(of, _at((upper,), len(of.shape))), Component(wrt, _at((lower,), len(wrt.shape)))
                )
            case Fill(value=value):
                return Constant(value)
            case Scalar(name=name):
                return Constant(name) if name in ("pi", "e") else Size(name)
            case Transpose(of=of):
                return entry(of, j, i)
            case Product(left=left, right=right):
                extent = left.shape[1]
                if extent == 1:
                    return multiply((entry(left, i, None), entry(right, None, j)))
                own, k = self.inner(extent)
                return Reduce("sum", own, multiply((entry(left, i, k), entry(right, k, j))))
            case Hadamard(factors=factors):
                return multiply(entry(f, i, j) for f in factors)
            case Plus(terms=terms):
                return add(entry(t, i, j) for t in terms)
            case Scale(number=number, scalars=scalars, of=of):
                powers = (Power(entry(scalar, None, None), exponent) for scalar, exponent in scalars)
                return multiply((Constant(number), *powers, entry(of, i, j)))
            case Diagonal(of=of):
                if i is None or j is None:
                    return entry(of, i or j, None)
                return multiply((Delta(i, j), entry(of, i, None)))
            case Elementwise(function="log", arguments=(Product() as of,)) if (inner := _exponent(of)) is not None:
                # log Σ exp is one function, with a law of its own.
                rows = isinstance(of.right, Fill)
                own, k = self.inner(of.left.shape[1])
                return Reduce("logsumexp", own, entry(inner, i, k) if rows else entry(inner, k, j))
            case Elementwise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return Power(entry(base, i, j), exponent)
            case Elementwise(function=function, arguments=arguments):
                return Apply(function, tuple(entry(a, i, j) for a in arguments))

    def block(self, form: Block, i: Axis, j: Axis) -> Expr:
        """The tensor read where its view is: digits run together for a parted axis, a number parted for run ones."""
        own = iter((i, j))
        seen = [s if s is not None else next(own) or Affine() for s in form.at]
        subscripts: list[Affine] = []
        position = 0
        for own, group in groupby(form.axes):
            count = len(list(group))
            here = seen[position : position + count]
            if len(own) > 1:
                subscripts += self.parted(here[0], form.view[position])
            elif count > 1:
                subscripts.append(_number(here, [_known(e) for e in form.view[position : position + count]]))
            else:
                subscripts += here
            position += count
        return Component(form.tensor, tuple(subscripts))

    def parted(self, number: Affine, extent: Extent) -> list[Affine]:
        """The digits of a mixed-radix number."""
        if prod(_known(i.extent) for i, _ in number.terms) != extent:
            raise DerivationError("axes that are run together are read by something else than digits", about=number)
        return _digits(number)


def _exponent(product_: Product) -> Matrix | None:
    """X where a product is exp(X) 𝟏 or 𝟏ᵀ exp(X)."""
    match product_:
        case Product(left=Elementwise(function="exp", arguments=(x,)), right=Fill(value=value)) if value == 1:
            return x
        case Product(left=Fill(value=value), right=Elementwise(function="exp", arguments=(x,))) if value == 1:
            return x
        case _:
            return None


def _at(axes: Sequence[Axis], rank: int) -> tuple[Affine, ...]:
    """The subscripts of a tensor of that rank; an axis of extent 1 is read at 0."""
    return tuple(axis if axis is not None else Affine() for axis in axes[:rank])
