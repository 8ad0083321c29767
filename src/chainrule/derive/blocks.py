"""The concise form of a line whose tensors have more than two axes, or that reads one by its digits.

Indices that only ever run together are one (`derive.fuse`): vec(y). Of the others, two at most are a matrix's rows and
columns; the rest stand as subscripts, and for each value of them the line is a matrix expression, S_h = Q_h K_hᵀ. So
one-hot rows stand for brackets against integers, and softmax for exp(u − log Σ exp(u)). What comes out is recognised by
`derive.matrix` and evaluated there, entry by entry beside no component form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any, cast

from chainrule.derive.fuse import Flat, fuse
from chainrule.derive.matrix import Block, Matrix, OneHot, Plus, Softmax, Sum, Symbol, recognise
from chainrule.errors import ShapeError
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Multiply, Reduce, Tensor
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import key, rename, transform

MARK = "block"


@dataclass(frozen=True, slots=True)
class Blocks:
    """left = right for every value of the indices `at`; `detailed` is the component form that it was read from, and
    `target` what that is the value of."""

    left: Block
    right: Matrix
    at: tuple[Index, ...]
    target: Component
    detailed: Expr

    def over(self, mapping: Mapping[Tensor, Tensor], gradient: Tensor) -> Blocks:
        """The form over other tensors, as what `gradient` is."""
        return replace(self, left=replace(self.left, tensor=gradient), right=over(self.right, mapping))


class _NoFormError(Exception):
    """The expression is no matrix expression."""


def over(form: Any, mapping: Mapping[Tensor, Tensor]) -> Any:
    """The same form over other tensors. Depth is that of one equation."""
    if isinstance(form, Tensor):
        return mapping.get(form, form)
    if isinstance(form, tuple):
        return tuple(over(part, mapping) for part in cast(tuple[object, ...], form))
    if is_dataclass(form) and not isinstance(form, type | Index | Affine | Expr):
        return replace(form, **{f.name: over(getattr(form, f.name), mapping) for f in fields(form)})
    return form


@lru_cache(maxsize=1024)
def blocks(target: Component, value: Expr) -> Blocks | None:
    """The form of target = value, or None."""
    fused = fuse(target, value)
    reader = _Reader(fused.flat)
    own = list(fused.target.free)
    found: list[Blocks] = []
    for count in {min(2, len(own)), min(1, len(own))}:
        for axes in sorted(combinations(own, count), key=lambda a: [-own.index(i) for i in a[::-1]]):
            fixed = tuple(i for i in own if i not in axes)
            if any(i.is_sample for i in axes) and fixed:
                continue
            try:
                right = reader.form(fused.value, axes, fixed)
                left = reader.block(fused.target, fixed)
            except (_NoFormError, ShapeError):
                continue
            if not _scattered(right):
                found.append(Blocks(left, right, fixed, target, value))
    return min(found, key=lambda form: (len(_outside(form.right)), len(form.at)), default=None)


def walk(form: Any) -> Iterator[Any]:
    """A form and all forms inside it."""
    if isinstance(form, tuple):
        for part in cast(tuple[object, ...], form):
            yield from walk(part)
    elif is_dataclass(form) and not isinstance(form, type | Index | Affine | Expr | Tensor):
        yield form
        for f in fields(form):
            yield from walk(getattr(form, f.name))


def _outside(form: Matrix) -> list[Index]:
    return [i for node in walk(form) if isinstance(node, Sum) for i in node.indices]


def _scattered(form: Matrix) -> bool:
    """Whether a sum outside a form runs over single numbers: then it is no matrix form, but its components again."""
    outside = set(_outside(form))
    return any(
        isinstance(node, Block) and None not in node.at and outside & {i for s in node.at if s for i in s.indices}
        for node in walk(form)
    )


class _Reader:
    """Puts a matrix-like tensor for every read, recognises, and puts the reads back."""

    def __init__(self, flat: Mapping[str, Flat]) -> None:
        self.flat = flat
        self.forms: dict[str, Matrix] = {}

    def form(self, value: Expr, axes: Sequence[Index], fixed: Sequence[Index]) -> Matrix:
        terms = value.terms if isinstance(value, Add) else (value,)
        try:
            return self.recognised(value, axes, fixed)
        except _NoFormError:
            forms = [self.term(term, axes, fixed) for term in terms]
        return forms[0] if len(forms) == 1 else Plus(tuple(forms))

    def term(self, term: Expr, axes: Sequence[Index], fixed: Sequence[Index]) -> Matrix:
        """A term by itself, some of the indices of its sum standing outside: Σ_h A_h W_hᵀ."""
        for outer, inner in _parted(term):
            if outer and any(i in axes for i in outer):
                continue
            try:
                form = self.recognised(inner, axes, (*fixed, *outer))
            except _NoFormError:
                continue
            return Sum(outer, form) if outer else form
        raise _NoFormError

    def recognised(self, value: Expr, axes: Sequence[Index], fixed: Sequence[Index]) -> Matrix:
        if any(i not in (*axes, *fixed) for i in value.free):
            raise _NoFormError
        # What does not depend on the axes is repeated along them only by a sum's own form.
        form = recognise(self.flattened(value, fixed), list(axes))
        if form is None:
            raise _NoFormError
        return self.back(form)

    def flattened(self, value: Expr, fixed: Sequence[Index]) -> Expr:
        """The expression over tensors of rank two at most, without the fixed indices."""

        def visit(node: Expr) -> Expr:
            match node:
                case Component():
                    return self.read(node, fixed)
                case Delta(left=left, right=Component() as right) if left.plain is not None:
                    return self.one_hot(left.plain, right, fixed)
                case Apply(function="exp", arguments=(argument,)):
                    return self.softmax(argument) or node
                case Reduce(kind="logsumexp", indices=indices, body=body):
                    return Apply("log", (Reduce("sum", indices, Apply("exp", (body,))),))
                case _:
                    return node

        return transform(value, visit)

    def read(self, c: Component, fixed: Sequence[Index]) -> Expr:
        if c.tensor.name in self.forms:
            return c
        block = self.block(c, fixed)
        return self.stand_in(block, self.axes_of(c, block))

    def axes_of(self, c: Component, block: Block) -> list[Index]:
        """The indices at the whole axes of a block, in order."""
        digits = [i for s, e in zip(c.subscripts, c.tensor.shape, strict=True) for i in _digits(s, e) or (None,)]
        return [i for i, s in zip(digits, block.at, strict=True) if s is None and i is not None]

    def stand_in(self, form: Matrix, axes: Sequence[Index]) -> Component:
        name = next((n for n, other in self.forms.items() if other == form), f"{MARK}({len(self.forms)})")
        self.forms[name] = form
        return Component(Tensor(name, tuple(i.extent for i in axes)), tuple(map(Affine.of, axes)))

    def block(self, c: Component, fixed: Sequence[Index]) -> Block:
        if c.pad is not None:
            raise _NoFormError
        flat = self.flat.get(c.tensor.name) or Flat(c.tensor, tuple((n,) for n in range(len(c.tensor.shape))))
        view: list[Extent] = []
        axes: list[tuple[int, ...]] = []
        at: list[Affine | None] = []
        whole: list[Index] = []
        for s, extent, own in zip(c.subscripts, c.tensor.shape, flat.axes, strict=True):
            digits = _digits(s, extent)
            if digits is None:
                if any(i not in fixed for i in s.indices):
                    raise _NoFormError
                view.append(extent)
                axes.append(own)
                at.append(s)
                continue
            if len(own) > 1 < len(digits):
                raise _NoFormError
            for index in digits:
                view.append(index.extent)
                axes.append(own)
                at.append(Affine.of(index) if index in fixed else None)
                whole += [] if index in fixed else [index]
        if len(whole) > 2 or len(set(whole)) < len(whole):
            raise _NoFormError
        return Block(flat.tensor, tuple(view), tuple(axes), tuple(at))

    def one_hot(self, index: Index, chosen: Component, fixed: Sequence[Index]) -> Expr:
        of = self.forms.get(chosen.tensor.name)
        assert isinstance(of, Block), "the integers are read before the bracket"
        if index in fixed or sum(s is None for s in of.at) > 1:
            raise _NoFormError
        rows = [s.plain for s in chosen.subscripts if s.plain is not None]
        return self.stand_in(OneHot(of, index.extent), [*rows, index])

    def softmax(self, argument: Expr) -> Expr | None:
        """exp(u_k − log Σ_j exp(u_j)); the inner logarithm has been written out already."""
        match argument:
            case Add(terms=(Component() as u, Multiply(factors=(Constant(value=Fraction() as c), Apply() as log)))):
                pass
            case _:
                return None
        if c != -1:
            return None
        match log:
            case Apply(function="log", arguments=(Reduce(indices=(j,), body=Apply(function="exp", arguments=(v,))),)):
                pass
            case _:
                return None
        free = [i for i in u.free if i.extent == j.extent and i not in log.free]
        if len(free) != 1 or key(rename(v, {j: free[0]})) != key(u):
            return None
        form = self.forms.get(u.tensor.name)
        if form is None:
            return None
        axes = [s.plain for s in u.subscripts]
        along = axes.index(free[0])
        return self.stand_in(Softmax(form, rows=len(axes) > 1 and along == 1), [i for i in axes if i is not None])

    def back(self, form: Any) -> Any:
        """The reads where their stand-ins are."""
        if isinstance(form, Symbol):
            own = self.forms.get(form.tensor.name, form)
            whole = isinstance(own, Block) and own.plain and not any(own.at)
            return Symbol(own.tensor) if isinstance(own, Block) and whole else own
        if isinstance(form, tuple):
            return tuple(self.back(part) for part in cast(tuple[object, ...], form))
        if is_dataclass(form) and not isinstance(form, type | Index | Affine | Expr | Tensor | Block):
            return replace(form, **{f.name: self.back(getattr(form, f.name)) for f in fields(form)})
        return form


def _digits(s: Affine, extent: Extent) -> tuple[Index, ...] | None:
    """The digits of a subscript that is a mixed-radix number of its axis, the highest place first."""
    if s.plain is not None and s.plain.extent == extent:
        return (s.plain,)
    if len(s.terms) > 1 and s.radix(extent):
        return tuple(i for i, _ in sorted(s.terms, key=lambda t: (-t[1], t[0].extent != 1)))
    return None


def _parted(term: Expr) -> Iterator[tuple[tuple[Index, ...], Expr]]:
    """A term with none, one, … of the indices of its sum taken outside."""
    factors = term.factors if isinstance(term, Multiply) else (term,)
    sums = [f for f in factors if isinstance(f, Reduce) and f.kind == "sum"]
    if len(sums) != 1:
        yield (), term
        return
    (total,) = sums
    for count in range(len(total.indices) + 1):
        for outer in _choices(total.indices, count):
            rest = tuple(i for i in total.indices if i not in outer)
            inner = Reduce("sum", rest, total.body) if rest else total.body
            own: Iterable[Expr] = (inner if f is total else f for f in factors)
            flat = [g for f in own for g in (f.factors if isinstance(f, Multiply) else (f,))]
            yield outer, Multiply(tuple(flat)) if len(flat) > 1 else flat[0]


def _choices(indices: Sequence[Index], count: int) -> list[tuple[Index, ...]]:
    """The subsets of a size, those with samples first."""
    return sorted(combinations(indices, count), key=lambda c: not any(i.is_sample for i in c))
