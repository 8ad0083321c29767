"""The matrix form of a line: a small tree of matrix operations, recognised from the component form.

One sample is a column: a vector x[j] is n×1, so δ[i]·x[j] is δ xᵀ. A batch has its samples in rows:
Σ_n Δ[n,i]·X[n,j] is Δᵀ X. The tree has an evaluator of its own, so that "concise = detailed" can be
checked, and a shape at every node. What is no matrix expression has no form: `recognise` gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ShapeError
from chainrule.ir.expr import Add, Apply, Component, Constant, Derivative, Expr, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.index import Affine, Extent, Index

Shape = tuple[Extent, Extent]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A tensor of rank 0, 1 (a column) or 2."""

    tensor: Tensor

    @property
    def shape(self) -> Shape:
        extents = self.tensor.shape
        return extents[0] if extents else 1, extents[1] if len(extents) > 1 else 1


@dataclass(frozen=True, slots=True)
class Jacobian:
    """J[k, j] = ∂of_k/∂wrt_j; with a scalar `of`, the gradient, as a column."""

    of: Tensor
    wrt: Tensor

    @property
    def shape(self) -> Shape:
        return (self.of.shape[0], self.wrt.shape[0]) if self.of.shape else (self.wrt.shape[0], 1)


@dataclass(frozen=True, slots=True)
class Fill:
    """A matrix of one constant: the vector 1 of a row sum, the 1 of 1 − z."""

    value: Fraction
    shape: Shape


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number that is no tensor: a named extent, or a named real."""

    name: str

    @property
    def shape(self) -> Shape:
        return (1, 1)


@dataclass(frozen=True, slots=True)
class Transpose:
    of: Matrix

    @property
    def shape(self) -> Shape:
        rows, columns = self.of.shape
        return columns, rows


@dataclass(frozen=True, slots=True)
class Product:
    """The matrix product; building it checks that the inner extents agree."""

    left: Matrix
    right: Matrix

    def __post_init__(self) -> None:
        if self.left.shape[1] != self.right.shape[0]:
            raise ShapeError(f"({_times(self.left.shape)})({_times(self.right.shape)}) is no matrix product")

    @property
    def shape(self) -> Shape:
        return self.left.shape[0], self.right.shape[1]


@dataclass(frozen=True, slots=True)
class Hadamard:
    """The element-wise product ⊙ of matrices of one shape."""

    factors: tuple[Matrix, ...]

    def __post_init__(self) -> None:
        if len({f.shape for f in self.factors}) != 1:
            raise ShapeError("⊙ needs one shape, got " + ", ".join(_times(f.shape) for f in self.factors))

    @property
    def shape(self) -> Shape:
        return self.factors[0].shape


@dataclass(frozen=True, slots=True)
class Plus:
    terms: tuple[Matrix, ...]

    def __post_init__(self) -> None:
        if len({t.shape for t in self.terms}) != 1:
            raise ShapeError("+ needs one shape, got " + ", ".join(_times(t.shape) for t in self.terms))

    @property
    def shape(self) -> Shape:
        return self.terms[0].shape


@dataclass(frozen=True, slots=True)
class Scale:
    """A rational number, and scalars to rational powers, times a matrix."""

    number: Fraction
    scalars: tuple[tuple[Matrix, Fraction], ...]
    of: Matrix

    @property
    def shape(self) -> Shape:
        return self.of.shape


@dataclass(frozen=True, slots=True)
class Diagonal:
    """diag(v) of a column."""

    of: Matrix

    @property
    def shape(self) -> Shape:
        return self.of.shape[0], self.of.shape[0]


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A scalar function of each entry; `exponent` for a power."""

    function: str
    arguments: tuple[Matrix, ...]
    exponent: Fraction | None = None

    @property
    def shape(self) -> Shape:
        return self.arguments[0].shape


@dataclass(frozen=True, slots=True)
class Block:
    """A tensor seen with the axes `view`, neighbouring ones run together or one parted into its digits, and read at
    subscripts but for one or two axes (None), which are left whole. `axes` says for each axis of the view which of the
    tensor's it is made of; the digits of one axis share it."""

    tensor: Tensor
    view: tuple[Extent, ...]
    axes: tuple[tuple[int, ...], ...]
    at: tuple[Affine | None, ...]

    @property
    def plain(self) -> bool:
        """Whether the view is the tensor's own."""
        return self.view == self.tensor.shape

    @property
    def shape(self) -> Shape:
        whole = [e for e, s in zip(self.view, self.at, strict=True) if s is None]
        return (*whole, 1, 1)[0], (*whole, 1, 1)[1]


@dataclass(frozen=True, slots=True)
class OneHot:
    """Row t has its 1 in the column that the integer t of a vector names; of one integer alone, a column."""

    of: Block
    extent: Extent

    @property
    def shape(self) -> Shape:
        return (self.of.shape[0], self.extent) if None in self.of.at else (self.extent, 1)


@dataclass(frozen=True, slots=True)
class Softmax:
    """exp of each entry over the sum of its column, or (`rows`) of its row."""

    of: Matrix
    rows: bool

    @property
    def shape(self) -> Shape:
        return self.of.shape


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum over indices that stand in subscripts."""

    indices: tuple[Index, ...]
    of: Matrix

    @property
    def shape(self) -> Shape:
        return self.of.shape


Matrix = (
    Symbol | Jacobian | Fill | Scalar | Transpose | Product | Hadamard | Plus | Scale | Diagonal | Elementwise
    | Block | OneHot | Softmax | Sum
)


def _times(shape: Shape) -> str:
    return f"{shape[0]}×{shape[1]}"


Axis = Index | None


def recognise(value: Expr, target: Sequence[Index]) -> Matrix | None:
    """The matrix form of a component form with the free indices `target` (at most two), or None."""
    if len(target) > 2:
        return None
    rows, columns = (*target, None, None)[:2]
    try:
        form = _spread(value, rows, columns)
    except _NoFormError:
        return None
    assert form.shape == (_extent(rows), _extent(columns)), "a form has the shape of its target"
    return form


class _NoFormError(Exception):
    """The expression is no matrix expression."""


def _extent(axis: Axis) -> Extent:
    return 1 if axis is None else axis.extent


def _axes(expr: Expr, rows: Axis, columns: Axis) -> tuple[bool, bool]:
    return rows is not None and rows in expr.free, columns is not None and columns in expr.free


def _form(expr: Expr, rows: Axis, columns: Axis) -> Matrix:
    """The matrix whose entry (rows, columns) the expression is. Depth is that of one equation."""
    for axis in expr.free:
        if axis not in (rows, columns):
            raise _NoFormError
    shape = (_extent(rows), _extent(columns))
    match expr:
        case Constant(value=Fraction() as value):
            return Fill(value, shape)
        case Constant() | Size() | Power() if not expr.free and shape != (1, 1):
            return _product((expr,), rows, columns)
        case Constant() | Size():
            return Scalar(expr.extent if isinstance(expr, Size) else str(expr.value))
        case Component():
            return _symbol(expr, rows, columns)
        case Derivative():
            return _jacobian(expr, rows, columns)
        case Add(terms=terms):
            return Plus(tuple(_spread(t, rows, columns) for t in terms))
        case Multiply(factors=factors):
            return _product(factors, rows, columns)
        case Power(base=base, exponent=exponent):
            return Elementwise("power", (_spread(base, rows, columns),), exponent)
        case Apply(function=function, arguments=arguments):
            return Elementwise(function, tuple(_spread(a, rows, columns) for a in arguments))
        case Reduce(kind="sum", indices=indices, body=body):
            factors = body.factors if isinstance(body, Multiply) else (body,)
            return _contraction(list(factors), indices, rows, columns)
        case _:
            raise _NoFormError


def _symbol(component: Component, rows: Axis, columns: Axis) -> Matrix:
    axes = [s.plain for s in component.subscripts]
    whole = all(a is not None and a.extent == e for a, e in zip(axes, component.tensor.shape, strict=True))
    if not whole or len(axes) > 2 or component.pad is not None:
        raise _NoFormError
    if axes == [a for a in (rows, columns) if a is not None] or (axes == [rows] and columns is None):
        symbol = Symbol(component.tensor)
        return Transpose(symbol) if rows is None and columns is not None else symbol
    if axes == [columns, rows] and rows is not None:
        return Transpose(Symbol(component.tensor))
    raise _NoFormError


def _jacobian(node: Derivative, rows: Axis, columns: Axis) -> Matrix:
    if not isinstance(node.of, Component):
        raise _NoFormError
    upper, lower = ([s.plain for s in c.subscripts] for c in (node.of, node.wrt))
    if len(upper) > 1 or len(lower) != 1:
        raise _NoFormError
    form = Jacobian(node.of.tensor, node.wrt.tensor)
    axes = [*upper, *lower]
    if axes == [a for a in (rows, columns) if a is not None]:
        return Transpose(form) if rows is None and columns is not None else form
    if axes == [columns, rows]:
        return Transpose(form)
    raise _NoFormError


def _spread(expr: Expr, rows: Axis, columns: Axis) -> Matrix:
    """The form, repeated along an axis that the expression does not depend on: 1 bᵀ."""
    has_rows, has_columns = _axes(expr, rows, columns)
    constant = not expr.free and not isinstance(expr, Reduce)
    if constant or ((has_rows or rows is None) and (has_columns or columns is None)):
        return _form(expr, rows, columns)
    inner = _form(expr, rows if has_rows else None, columns if has_columns else None)
    if rows is not None and not has_rows:
        inner = Product(Fill(Fraction(1), (rows.extent, 1)), inner)
    if columns is not None and not has_columns:
        inner = Product(inner, Fill(Fraction(1), (1, columns.extent)))
    return inner


def _product(factors: Sequence[Expr], rows: Axis, columns: Axis) -> Matrix:
    number, scalars, rest = Fraction(1), list[tuple[Matrix, Fraction]](), list[Expr]()
    for factor in factors:
        match factor:
            case Constant(value=Fraction() as value):
                number *= value
            case Power(base=base, exponent=exponent) if not factor.free:
                scalars.append((_form(base, None, None), exponent))
            case _ if not factor.free:
                scalars.append((_form(factor, None, None), Fraction(1)))
            case _:
                rest.append(factor)
    both = [f for f in rest if len(f.free) == 2]
    left = [f for f in rest if f.free == (rows,)]
    right = [f for f in rest if f.free == (columns,)]
    if columns is None or rows is None:
        form = _hadamard([_form(f, rows, columns) for f in rest]) if rest else Fill(Fraction(1), (1, 1))
        if not rest and (rows or columns):
            form = Fill(Fraction(1), (_extent(rows), _extent(columns)))
    elif both:
        form = _hadamard([_form(f, rows, columns) for f in both])
        if left:
            form = Product(Diagonal(_hadamard([_form(f, rows, None) for f in left])), form)
        if right:
            form = Product(form, Diagonal(_hadamard([_form(f, columns, None) for f in right])))
    elif left and right:
        column = _hadamard([_form(f, rows, None) for f in left])
        form = Product(column, _hadamard([_form(f, None, columns) for f in right]))
    else:
        raise _NoFormError
    return form if number == 1 and not scalars else Scale(number, tuple(scalars), form)


def _hadamard(forms: list[Matrix]) -> Matrix:
    return forms[0] if len(forms) == 1 else Hadamard(tuple(forms))


def _contraction(factors: list[Expr], indices: tuple[Index, ...], rows: Axis, columns: Axis) -> Matrix:
    """Σ_k L[rows, k]·R[k, columns] as a product; of several summed indices, the one with the rows goes first."""
    k = next((i for i in indices if any(i in f.free and rows in f.free for f in factors)), indices[0])
    others = tuple(i for i in indices if i != k)
    left = [f for f in factors if k in f.free and (rows is not None and rows in f.free)]
    if any(i in f.free for f in left for i in (*others, columns) if i is not None and i != rows):
        raise _NoFormError
    right = [f for f in factors if f not in left]
    if not left and columns is None and not others:
        left_form: Matrix = Fill(Fraction(1), (1, k.extent))
    elif left:
        left_form = _product(left, rows, k)
    else:
        if rows is not None:
            raise _NoFormError
        left, right = [f for f in right if f.free == (k,)], [f for f in right if f.free != (k,)]
        left_form = _product(left, None, k) if left else Fill(Fraction(1), (1, k.extent))
    if others:
        return Product(left_form, _contraction(right, others, k, columns))
    return Product(left_form, _product(right, k, columns) if right else Fill(Fraction(1), (k.extent, 1)))


# --- evaluation ---------------------------------------------------------------------------------

Array = NDArray[Any]


def evaluate(
    form: Matrix, values: Mapping[str, Array], *, functions: Mapping[str, Callable[..., Array]],
    extents: Mapping[str, int], jacobians: Mapping[tuple[str, str], Array] | None = None,
    at: Mapping[Index, int] | None = None,
) -> Array:
    """The value of a form, always as a two-dimensional array.

    `values` holds tensors by name, `functions` the scalar functions, `extents` the named extents, `at` the indices
    that stand in subscripts.
    Works for any array type with +, ·, @ and powers, so also for exact numbers in object arrays.
    """

    def size(extent: Extent) -> int:
        return extent if isinstance(extent, int) else extents[extent]

    here = dict(at or {})

    def block(form: Block) -> Array:
        view = np.asarray(values[form.tensor.name]).reshape([size(e) for e in form.view])
        place = (
            slice(None) if s is None else s.offset + sum(c * here[i] for i, c in s.terms) for s in form.at
        )
        value = np.asarray(view[tuple(place)])
        return value.reshape(value.shape + (1,) * (2 - value.ndim))

    def run(form: Matrix) -> Array:
        match form:
            case Block():
                return block(form)
            case OneHot(of=of, extent=extent):
                chosen = block(of)[:, 0]
                rows = (np.arange(size(extent)) == chosen[:, None]).astype(object if _exact(values) else float)
                return rows if None in of.at else rows.T
            case Softmax(of=of, rows=rows):
                raised = functions["exp"](run(of))
                return raised / raised.sum(axis=1 if rows else 0, keepdims=True)
            case Sum(indices=indices, of=of):
                total = np.zeros([size(e) for e in form.shape], dtype=object if _exact(values) else float)
                for place in product(*(range(size(i.extent)) for i in indices)):
                    here.update(zip(indices, place, strict=True))
                    total = total + run(of)
                return total
            case Symbol(tensor=tensor):
                value = np.asarray(values[tensor.name])
                return value.reshape(value.shape + (1,) * (2 - value.ndim))
            case Jacobian(of=of, wrt=wrt):
                assert jacobians is not None
                value = np.asarray(jacobians[of.name, wrt.name])
                return value.reshape(value.shape + (1,) * (2 - value.ndim))
            case Fill(value=number, shape=shape):
                exact = number if number.denominator != 1 else int(number)
                return np.full((size(shape[0]), size(shape[1])), exact, dtype=object if _exact(values) else float)
            case Scalar(name=name):
                return np.asarray([[extents[name] if name in extents else getattr(np, name)]])
            case Transpose(of=of):
                return run(of).T
            case Product(left=left, right=right):
                return run(left) @ run(right)
            case Hadamard(factors=factors):
                result = run(factors[0])
                for f in factors[1:]:
                    result = result * run(f)
                return result
            case Plus(terms=terms):
                result = run(terms[0])
                for t in terms[1:]:
                    result = result + run(t)
                return result
            case Scale(number=number, scalars=scalars, of=of):
                result = run(of) * (number if _exact(values) else float(number))
                for scalar, exponent in scalars:
                    result = result * _power(run(scalar), exponent)
                return result
            case Diagonal(of=of):
                return np.diag(run(of)[:, 0])
            case Elementwise(function="power", arguments=(base,), exponent=Fraction() as exponent):
                return _power(run(base), exponent)
            case Elementwise(function=name, arguments=arguments):
                return functions[name](*(run(a) for a in arguments))

    return run(form)


def _exact(values: Mapping[str, Array]) -> bool:
    return any(np.asarray(v).dtype == object for v in values.values())


def _power(base: Array, exponent: Fraction) -> Array:
    """A power that stays exact for exact entries and a whole exponent."""
    if base.dtype == object:
        assert exponent.denominator == 1
        return base ** int(exponent) if exponent >= 0 else (base * Fraction(1)) ** int(exponent)
    return base.astype(float) ** float(exponent)
