"""Recognising matrices: an expression over two of its indices, the rows and the columns, as a tree of operators.

One sample is a column: a vector x[j] is n×1, so δ[i]·x[j] is δ xᵀ. A batch has its samples in rows: Σ_n Δ[n,i]·X[n,j]
is Δᵀ X. A sum over a product is a network of its indices, `forms.contract`; what is left over between rows and columns
is multiplied entry by entry. Other indices of the target stand in subscripts, and for each value of them the line is
such an expression, S_h = Q_h K_hᵀ; so may indices of a sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import combinations

from chainrule.forms.contract import (
    Axis,
    NoFormError,
    Part,
    choices,
    closure,
    columns_of,
    contracted,
    fill,
    reducible,
    times,
)
from chainrule.forms.fuse import Flat, Fused
from chainrule.forms.nodes import (
    ONE,
    Entries,
    Fill,
    Form,
    Jacobian,
    Number,
    Operation,
    Sum,
    View,
    operation,
    scaled,
    several,
    walk,
    whole,
)
from chainrule.forms.shown import (
    clash,
    has_matrices,
    is_large,
    only_components,
    reads_as_entry,
    reads_as_row,
    scattered,
    varies,
)
from chainrule.ir.expr import (
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
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import fresh, key, rename, transform

ATTEMPTS = 300
"""How many ways of putting a line together are tried before it is left without a form."""


@dataclass(frozen=True, slots=True)
class Found:
    """left = right for every value of the target's indices `fixed`."""

    left: View | Entries
    right: Form
    fixed: tuple[Index, ...]


def plain(target: Component, value: Expr) -> Found | None:
    """The matrix that target = value is, of tensors of two axes at most and nothing in subscripts."""
    axes = [s.plain for s in target.subscripts]
    if None in axes or len(axes) > 2:
        return None
    rows, columns = (*axes, None, None)[:2]
    try:
        return Found(whole(target.tensor), _Reader({}, (), True).form(value, rows, columns), ())
    except NoFormError:
        return None


def blocks(fused: Fused) -> Found | None:
    """The form of an equation any of whose indices may stand in subscripts: of all that there are, one with the fewest
    sums outside a matrix, and of those the one that leaves the most axes whole."""
    return _best(fused, entries=False)


def entries(target: Component, value: Expr) -> Found | None:
    """The same of matrices that are given entry by entry too."""
    return _best(Fused(target, _told_apart(target, value)), entries=True)


def _told_apart(target: Component, value: Expr) -> Expr:
    """The expression with another name for every bound index whose name stands for another length as well."""
    new = {i: i for i in (*target.free, *value.free)}

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Reduce)
        for index in node.indices:
            new.setdefault(index, fresh(index.name, index.extent, new.values()))
        own = {i: new[i] for i in node.indices}
        return Reduce(node.kind, tuple(own.values()), rename(node.body, own))

    return transform(value, visit, Reduce)


def _best(fused: Fused, *, entries: bool) -> Found | None:
    own = list(fused.target.free)
    numbers = {min(2, len(own)), min(1, len(own))}
    found = [form for number in numbers for form in _blocks(fused, number, entries=entries)]
    if own and all(rank[0] for rank, _ in found):
        found += _blocks(fused, 0, entries=entries)
    return min(found, key=lambda entry: entry[0], default=(None, None))[1]


def _blocks(fused: Fused, number: int, *, entries: bool) -> Iterator[tuple[tuple[int, int, int], Found]]:
    """The forms that leave so many axes of the target whole: how many single numbers sums outside them run over, how
    many indices these have, and how many the target."""
    own = list(fused.target.free)
    for axes in sorted(combinations(own, number), key=lambda a: [-own.index(i) for i in a[::-1]]):
        fixed = tuple(i for i in own if i not in axes)
        if any(i.is_sample for i in axes) and fixed:
            continue
        reader = _Reader(fused.flat, fixed, entries=entries)
        try:
            left, order = reader.result(fused.target)
            right = reader.form(fused.value, *(*order, None, None)[:2])
        except NoFormError:
            continue
        outside = [node for node in walk(right) if isinstance(node, Sum)]
        # An index that stands for several is no subscript: the tensors have none such.
        if not fused.digits.keys().isdisjoint((*fixed, *(i for node in outside for i in node.indices))):
            continue
        bare = not axes and not any(map(is_large, walk(right)))
        matrices = has_matrices(right)
        alike = clash(left, right) or any(map(reads_as_entry, (left, *walk(right))))
        if all(map(varies, outside)) and not bare and not alike and (matrices or not only_components(right)):
            yield (scattered(right), sum(len(n.indices) for n in outside), len(fixed)), Found(
                left, right, fixed
            )


@dataclass
class _Reader:
    """`flat` says what the tensors with axes run together are, `fixed` are the indices that stand in subscripts;
    `simple` readers take nothing but whole tensors, those of `entries` also what is given entry by entry."""

    flat: Mapping[str, Flat]
    fixed: tuple[Index, ...]
    simple: bool = False
    entries: bool = False
    left: list[int] = field(default_factory=lambda: [ATTEMPTS])

    def own(self, expr: Expr) -> tuple[Index, ...]:
        return tuple(i for i in expr.free if i not in self.fixed)

    def form(self, expr: Expr, rows: Axis, columns: Axis) -> Form:
        """The matrix whose entry (rows, columns) the expression is, repeated along an axis that it does not depend on:
        1 bᵀ. Depth is that of one equation."""
        own = self.own(expr)
        if any(i not in (rows, columns) for i in own):
            raise NoFormError
        if isinstance(expr, Constant) and isinstance(expr.value, Fraction):
            return fill(expr.value, rows, columns)
        if not own and (rows or columns) and not isinstance(expr, Reduce):
            constant = not expr.tensors and not isinstance(expr, Constant | Size | Power)
            factors = expr.factors if isinstance(expr, Multiply) else (expr,)
            return self.entry(expr, rows, columns) if constant else self.product(factors, (), rows, columns)
        inner = self.entry(expr, rows if rows in own else None, columns if columns in own else None)
        if rows is not None and rows not in own:
            inner = times(fill(ONE, rows, None), inner)
        if columns is not None and columns not in own:
            inner = times(inner, fill(ONE, None, columns))
        return inner

    def entry(self, expr: Expr, rows: Axis, columns: Axis) -> Form:
        """The same where the expression depends on every axis that there is."""
        match expr:
            case Constant() | Size():
                return Number(expr)
            case Component():
                return self.component(expr, rows, columns)
            case Derivative():
                return _jacobian(expr, rows, columns)
            case Add(terms=terms):
                return several("plus", [self.form(t, rows, columns) for t in terms])
            case Multiply(factors=factors):
                return self.product(factors, (), rows, columns)
            case Power(base=base, exponent=exponent):
                return operation("power", self.form(base, rows, columns), exponent=exponent)
            case Apply(function=function, arguments=arguments):
                name = "apply" if len(arguments) == 1 else "apply2"
                return self.softmax(expr, rows, columns) or operation(
                    name, *(self.form(a, rows, columns) for a in arguments), function=function
                )
            case Reduce(kind="sum", indices=indices, body=body):
                return self.product(body.factors if isinstance(body, Multiply) else (body,), indices, rows, columns)
            case Reduce():
                return self.extreme(expr, rows, columns)
            case Delta() | Guard():
                return self.bracket(expr, rows, columns)
            case _:
                raise NoFormError

    def extreme(self, expr: Reduce, rows: Axis, columns: Axis) -> Form:
        """A maximum, its place, or a logarithm of a sum of exponentials, over one axis or over all of a matrix."""
        kind, body = expr.kind, expr.body
        own = tuple(i for i in expr.indices if i in body.free)
        if own != expr.indices and kind != "max":
            raise NoFormError  # how many equal terms there are would not be seen
        if not own:
            return self.form(body, rows, columns)
        match own:
            case (k,) if rows is None or columns is None:
                if rows is not None:
                    return operation(f"{kind}_rows", self.form(body, rows, k))
                return operation(kind, self.form(body, k, columns))
            case (k, m) if rows is columns is None:
                return operation(f"{kind}_all", self.form(body, k, m))
            case _:
                raise NoFormError

    # Tensors ----------------------------------------------------------------------------------------

    def component(self, c: Component, rows: Axis, columns: Axis) -> Form:
        wanted = [a for a in (rows, columns) if a is not None]
        try:
            view, axes = self.view(c)
        except NoFormError:
            return self.entrywise(c, rows, columns)
        if reads_as_row(view):
            return self.entrywise(c, rows, columns)
        if axes == wanted:
            return operation("transpose", view) if rows is None and columns is not None else view
        if axes == wanted[::-1]:
            return operation("transpose", view)
        raise NoFormError

    def result(self, c: Component) -> tuple[View | Entries, list[Index]]:
        """What is computed, and the indices at its axes: entry by entry where these are no axes of the tensor."""
        try:
            return self.view(c)
        except NoFormError:
            places = [_digits(s, e) for s, e in zip(c.subscripts, c.tensor.shape, strict=True) if self.whole(s)]
            if c.tensor.name in self.flat or None in places:
                raise
            own = [i for digits in places for i in digits or () if i not in self.fixed]
            return Entries(tuple(own), c), own

    def whole(self, s: Affine) -> bool:
        return any(i not in self.fixed for i in s.indices)

    def view(self, c: Component) -> tuple[View, list[Index]]:
        """What a component reads, and the indices at the axes that are left whole. An axis is parted where it is read
        in blocks, W_h, but for where there are entries."""
        flat = self.flat.get(c.tensor.name) or Flat(c.tensor, tuple((n,) for n in range(len(c.tensor.shape))))
        view: list[Extent] = []
        axes: list[tuple[int, ...]] = []
        at: list[Affine | None] = []
        whole_: list[Index] = []
        inside = c.pad is None or all(s.within(e) for s, e in zip(c.subscripts, c.tensor.shape, strict=True))
        for s, extent, own in zip(c.subscripts, c.tensor.shape, flat.axes, strict=True):
            digits = _digits(s, extent)
            if digits is None or (len(digits) > 1 and not self.whole(s)):
                if self.whole(s) or not (inside or self.entries):
                    raise NoFormError
                view.append(extent)
                axes.append(own)
                at.append(s)
                continue
            blocks_ = len(digits) == 2 and any(i in self.fixed for i in digits) and len(own) == 1
            if len(digits) > 1 and (self.simple or self.entries or not blocks_):
                raise NoFormError
            for index in digits:
                view.append(index.extent)
                axes.append(own)
                at.append(Affine.of(index) if index in self.fixed else None)
                whole_ += [] if index in self.fixed else [index]
        if len(whole_) > 2 or len(set(whole_)) < len(whole_) or (self.simple and len(whole_) < len(at)):
            raise NoFormError
        return View(flat.tensor, tuple(view), tuple(axes), tuple(at), None if inside else c.pad), whole_

    def entrywise(self, entry: Component | Delta | Guard, rows: Axis, columns: Axis) -> Form:
        """The matrix with these entries, given one by one."""
        axes = tuple(i for i in (rows, columns) if i is not None)
        if not self.entries or any(tensor.name in self.flat for tensor in entry.tensors):
            raise NoFormError
        form = Entries(axes, entry)
        return operation("transpose", form) if rows is None and columns is not None else form

    def bracket(self, delta: Delta | Guard, rows: Axis, columns: Axis) -> Form:
        """One-hot rows for a bracket against integers, the unit matrix for one between two indices."""
        match delta:
            case Delta(left=Affine() as left, right=Component() as chosen) if left.plain is not None:
                try:
                    view, axes = self.view(chosen)
                except NoFormError:
                    return self.entrywise(delta, rows, columns)
                if axes == [] and rows == left.plain and columns is None:
                    return operation("onehot", view, extent=left.plain.extent)
                if axes == [rows] and columns == left.plain:
                    return operation("onehot_rows", view, extent=left.plain.extent)
                if len(axes) == 1 and axes == [columns] and rows == left.plain:
                    return operation("transpose", operation("onehot_rows", view, extent=left.plain.extent))
            case _ if not self.entries and _unit(delta, rows, columns):
                return operation("diag", fill(ONE, rows, None))
            case _:
                pass
        return self.entrywise(delta, rows, columns)

    def softmax(self, expr: Apply, rows: Axis, columns: Axis) -> Form | None:
        """exp(u_k − log Σ_j exp(u_j))."""
        match expr:
            case Apply(
                function="exp",
                arguments=(Add(terms=(u, Multiply(factors=(minus, Reduce(kind="logsumexp", indices=(j,), body=v))))),),
            ) if minus is Constant(Fraction(-1)):
                pass
            case _:
                return None
        for along in (rows, columns):
            if along is None or along.extent != j.extent or along in v.free:
                continue
            if key(rename(v, {j: along})) == key(u):
                return operation("softmax_rows" if along == columns else "softmax", self.form(u, rows, columns))
        return None

    # Products ---------------------------------------------------------------------------------------

    def product(self, factors: Sequence[Expr], sums: Sequence[Index], rows: Axis, columns: Axis) -> Form:
        """Σ of the product of the factors, with as few of the sum's indices in subscripts as there can be."""
        axes = frozenset(self.own(f) for f in factors)
        unit = any(_unit(f, rows, columns) for f in factors)
        for outside in choices(sums, self.simple):
            if not self.left[0]:
                break
            self.left[0] -= 1
            rest = tuple(k for k in sums if k not in outside)
            if not unit and not reducible(axes, frozenset(outside), frozenset(rest)):
                continue
            try:
                if not outside:
                    return self.once(factors, rest, rows, columns)
                inner = _Reader(self.flat, (*self.fixed, *outside), self.simple, self.entries, self.left)
                bound = closure(factors, outside, rest)
                inside = [f for f in factors if bound & set(f.free)]
                left = tuple(dict.fromkeys(i for f in inside for i in inner.own(f) if i not in rest))
                part = Part(left, partial(_outside, inner, outside, inside, [k for k in rest if k in bound]))
                others = [f for f in factors if f not in inside]
                return self.once(others, [k for k in rest if k not in bound], rows, columns, part)
            except NoFormError:
                continue
        raise NoFormError

    def once(
        self, factors: Sequence[Expr], sums: Sequence[Index], rows: Axis, columns: Axis, *more: Part
    ) -> Form:
        number, scalars, parts = ONE, list[Form](), list(more)
        for factor in factors:
            match factor:
                case Constant(value=Fraction() as value):
                    number *= value
                case Power(base=base, exponent=exponent) if not self.own(factor):
                    scalars.append(operation("power", self.form(base, None, None), exponent=exponent))
                case _ if not self.own(factor):
                    scalars.append(self.form(factor, None, None))
                case _:
                    parts.append(Part(self.own(factor), partial(self.form, factor)))
        for k in [k for k in sums if not any(k in part.axes for part in parts)]:
            # Every term is the same.
            scalars.append(Number(_size(k.extent)))
        unit = next((f for f in factors if _unit(f, rows, columns)), None)
        if unit is not None and rows is not None and columns is not None and self.entries:
            # A diagonal matrix: what else there is counts where both indices are one.
            rest = [rename(f, {columns: rows}) for f in factors if f is not unit]
            if not more and any(self.own(f) for f in rest):
                return operation("diag", self.product(rest, sums, rows, None))
        parts = contracted(parts, [k for k in sums if any(k in part.axes for part in parts)], rows)
        scalars += [part.make(None, None) for part in parts if not part.axes]
        number, scalars = _flattened(number, scalars)
        both = [part.make(rows, columns) for part in parts if len(part.axes) == 2]
        left = [part for part in parts if part.axes == (rows,)]
        right = [part for part in parts if part.axes == (columns,)]
        if not both and not left and not right:
            if rows is None and columns is None:
                if number == 1 and len(scalars) == 1:
                    return scalars[0]
                form: Form = fill(ONE, None, None)
            elif rows is None or columns is None:
                form = fill(ONE, rows, columns)
            else:
                form = times(fill(ONE, rows, None), fill(ONE, None, columns))
        elif columns is None or rows is None:
            form = several("hadamard", [part.make(rows, columns) for part in (*left, *right)])
        elif both:
            form = several("hadamard", both)
            if left:
                form = times(operation("diag", columns_of(left, rows)), form)
            if right:
                form = times(form, operation("diag", columns_of(right, columns)))
        else:
            column = columns_of(left, rows) if left else fill(ONE, rows, None)
            row = several("hadamard", [p.make(None, columns) for p in right]) if right else fill(ONE, None, columns)
            form = times(column, row)
        if isinstance(form, Operation) and form.name == "scale":
            form, inner = form.of[0], form.of[1:]
            number, scalars = _flattened(number, [*scalars, *inner])
        return scaled(number, scalars, form)


def _flattened(number: Fraction, scalars: Sequence[Form]) -> tuple[Fraction, list[Form]]:
    """A number and scalars, those that are numbers times scalars taken apart."""
    result: list[Form] = []
    for scalar in scalars:
        match scalar:
            case Operation(name="scale", of=of):
                inner, rest = _flattened(number, [*of[1:], of[0]])
                number, result = inner, [*result, *rest]
            case Number(value=Constant(value=Fraction() as value)) | Fill(value=value, shape=(1, 1)):
                number *= value
            case _:
                result.append(scalar)
    return number, result


def _outside(
    reader: _Reader, indices: tuple[Index, ...], factors: Sequence[Expr], sums: Sequence[Index], rows: Axis,
    columns: Axis,
) -> Form:
    return Sum(indices, reader.once(factors, sums, rows, columns))


def is_jacobian(node: Derivative) -> bool:
    """Whether a derivative is an entry of a matrix: of a vector or a number by a vector."""
    return isinstance(node.of, Component) and len(node.of.subscripts) <= 1 == len(node.wrt.subscripts)


def _jacobian(node: Derivative, rows: Axis, columns: Axis) -> Form:
    if not isinstance(node.of, Component) or not is_jacobian(node):
        raise NoFormError
    upper, lower = ([s.plain for s in c.subscripts] for c in (node.of, node.wrt))
    form = Jacobian(node.of.tensor, node.wrt.tensor)
    axes, wanted = [*upper, *lower], [a for a in (rows, columns) if a is not None]
    if axes == wanted:
        return operation("transpose", form) if rows is None and columns is not None else form
    if axes == wanted[::-1]:
        return operation("transpose", form)
    raise NoFormError


def _unit(factor: Expr, rows: Axis, columns: Axis) -> bool:
    """Whether it is the unit matrix: [i = j]."""
    match factor:
        case Delta(left=left, right=Affine() as right) if rows is not None and columns is not None:
            return {left.plain, right.plain} == {rows, columns} and rows.extent == columns.extent
        case _:
            return False


def _size(extent: Extent) -> Constant | Size:
    return Constant(Fraction(extent)) if isinstance(extent, int) else Size(extent)


def _digits(s: Affine, extent: Extent) -> tuple[Index, ...] | None:
    """The digits of a subscript that is a mixed-radix number of its axis, the highest place first."""
    if s.plain is not None and s.plain.extent == extent:
        return (s.plain,)
    if len(s.terms) > 1 and s.radix(extent):
        return tuple(i for i, _ in sorted(s.terms, key=lambda t: (-t[1], t[0].extent != 1)))
    return None
