"""What a matrix form says, in components: (A B)[i, j] = Σ_k A[i, k] B[k, j], and so on for each operation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import count

from chainrule.derive.matrix import (
    Diagonal,
    Elementwise,
    Fill,
    Hadamard,
    Jacobian,
    Matrix,
    Plus,
    Product,
    Scalar,
    Scale,
    Symbol,
    Transpose,
)
from chainrule.ir.expr import Apply, Component, Constant, Delta, Derivative, Expr, Power, Reduce, Size, add, multiply
from chainrule.ir.index import Affine, Index

Axis = Index | None  # None: an axis of extent 1


def component_form(form: Matrix, indices: Sequence[Index]) -> Expr:
    """The entry of a matrix at these indices: row and column, row alone for a column, none for a number."""
    rows, columns = (*indices, None, None)[:2]
    numbers = count()

    def entry(form: Matrix, i: Axis, j: Axis) -> Expr:
        match form:
            case Symbol(tensor=tensor):
                return Component(tensor, _at((i, j), len(tensor.shape)))
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
                k = Index(f"·{next(numbers)}", extent)
                return Reduce("sum", (k,), multiply((entry(left, i, k), entry(right, k, j))))
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
                return multiply((Delta(Affine.of(i), Affine.of(j)), entry(of, i, None)))
            case Elementwise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return Power(entry(base, i, j), exponent)
            case Elementwise(function=function, arguments=arguments):
                return Apply(function, tuple(entry(a, i, j) for a in arguments))

    return entry(form, rows, columns)


def _at(axes: Sequence[Axis], rank: int) -> tuple[Affine, ...]:
    """The subscripts of a tensor of that rank; an axis of extent 1 is read at 0."""
    return tuple(Affine.of(axis) if axis is not None else Affine() for axis in axes[:rank])
