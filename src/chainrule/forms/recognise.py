"""The concise form of an equation: recognised, written out again, and compared with what it was recognised from.

What a recogniser finds is compared over GF(p) at a random point of a small shape, with the component form: a form that
says something else is not given away, and stands in `refused`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Literal

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.forms.expand import digits, expand, number
from chainrule.forms.fuse import fuse
from chainrule.forms.matrices import Found, blocks, entries, is_jacobian, plain
from chainrule.forms.nodes import Entries, Form, View, over, walk
from chainrule.forms.operators import fits, shape
from chainrule.forms.shown import scattered
from chainrule.forms.windows import planes
from chainrule.ir.expr import Component, Delta, Derivative, Expr, Guard, Multiply, Reduce, Size, Tensor
from chainrule.ir.index import Affine, Extent, Index, small_extents
from chainrule.ir.walk import bound, fresh, hidden, nodes, rename, replace_tensors, substitute, transform
from chainrule.semantics.field import evaluate, integer_ranges, random_values

SMALL, FEW = 3, 2  # other extents, samples
WORK = 20_000
"""How many entries a sum may have over all places of the free indices, for all of these to be compared."""
SEED = 17
Family = Literal["matrix", "planes", "blocks", "entries"]


@dataclass(frozen=True, slots=True)
class Concise:
    """left = right for every value of the indices `fixed`; `detailed` is the component form of it, whose value is that
    of `target`."""

    left: View | Entries
    right: Form
    fixed: tuple[Index, ...]
    family: Family
    target: Component
    detailed: Expr

    def over(self, mapping: Mapping[Tensor, Tensor], gradient: Tensor) -> Concise:
        """The form over other tensors, as what `gradient` is."""
        target = Component(gradient, self.target.subscripts, self.target.pad)
        own = self.left
        return replace(
            self, left=replace(own, entry=target) if isinstance(own, Entries) else replace(own, tensor=gradient),
            right=over(self.right, mapping), target=target, detailed=replace_tensors(self.detailed, mapping),
        )

    def expanded(self, extents: Mapping[str, int]) -> Expr:
        """The right side in components, at the indices of the target."""
        return expand(self.right, _place(self.target, self.left), extents)


refused: deque[Concise] = deque(maxlen=100)
"""The last forms that were recognised and are not what they were recognised from: a fault of a recogniser's."""


def concise(target: Component, value: Expr) -> Concise | None:
    """The concise form of target = value, or None: of whole matrices, else in planes, else in blocks."""
    return of_lines([(target, value)], (target, value))


def of_lines(
    lines: Iterable[tuple[Component, Expr]], result: tuple[Component, Expr] | None
) -> Concise | None:
    """The form of several lines that are equal, the last of which is the result where that does not stand in pieces.
    In planes it is that of the line which leaves the most axes whole, and of those the last. Entries are for what has
    no other form, or one that sums over single numbers."""
    if result is not None and (form := _recognised("matrix", *result)) is not None:
        return form
    forms = [form for line in lines if (form := _found("planes", *line)) is not None]
    forms.sort(key=_axes)
    planes_ = next(filter(_passes, reversed(forms)), None)
    if planes_ is not None and not _mixed(planes_.right):
        return planes_
    blocks_ = None if result is None else _recognised("blocks", *result)
    more = blocks_ is not None and planes_ is not None and _axes(blocks_) > _axes(planes_)
    found = blocks_ if planes_ is None or more else planes_
    if result is None or (found is not None and (found is planes_ or not scattered(found.right))):
        return found
    entries_ = _recognised("entries", *result)
    return entries_ if found is None or (entries_ is not None and not scattered(entries_.right)) else found


def _axes(form: Concise) -> int:
    """How many axes of the result are left whole."""
    return len(shape(form.left))


def _mixed(form: Form) -> bool:
    """Whether a tensor is read whole and entry by entry: x_i x is better a matrix, x xᵀ."""
    views = [node for node in walk(form) if isinstance(node, View)]
    return any(a.tensor == b.tensor and None in a.at and None not in b.at for a in views for b in views)


def _blocks(target: Component, value: Expr) -> Found | None:
    return blocks(fuse(target, value))


FAMILIES: dict[Family, Callable[[Component, Expr], Found | None]] = {
    "matrix": plain, "planes": planes, "blocks": _blocks, "entries": entries,
}


def _recognised(family: Family, target: Component, value: Expr) -> Concise | None:
    form = _found(family, target, value)
    return form if form is not None and _passes(form) else None


@lru_cache(maxsize=4096)
def _found(family: Family, target: Component, value: Expr) -> Concise | None:
    if not all(is_jacobian(node) for node in nodes(value) if isinstance(node, Derivative)):
        return None
    products = (node.factors for node in nodes(value) if isinstance(node, Multiply))
    if any(hidden(f, factors) for factors in products for f in factors):
        return None  # a form has no place beside the bracket
    apart = _apart(value, target)
    found = FAMILIES[family](target, apart)
    return None if found is None else Concise(found.left, found.right, found.fixed, family, target, apart)


@lru_cache(maxsize=4096)
def _passes(form: Concise) -> bool:
    """The one way out of the recognisers: what differs from the line that it was read from does not pass."""
    right = holds(form)
    if not right:
        refused.append(form)
    return right


def _apart(value: Expr, target: Component) -> Expr:
    """The expression with a name of its own for every bound index that another one hides or could be taken for."""
    taken = [*target.free, *value.free]

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Reduce)
        inside = [*taken, *bound(node.body)]
        new: dict[Index, Index] = {}
        for index in node.indices:
            new[index] = fresh(index.name, index.extent, inside)
            inside.append(new[index])
        if all(old == own for old, own in new.items()):
            return node
        return Reduce(node.kind, tuple(new.values()), rename(node.body, new))

    return transform(value, visit, Reduce)


def _place(target: Component, left: View | Entries) -> list[Affine]:
    """The subscripts of the target along the axes that are left whole."""
    if isinstance(left, Entries):
        return [Affine.of(i) for i in left.axes]
    result: list[Affine] = []
    for own, group in groupby(left.axes):
        subscripts = [target.subscripts[k] for k in own]
        if len(own) > 1:
            result.append(number(subscripts, [target.tensor.shape[k] for k in own]))
        elif len(list(group)) > 1:
            result += digits(subscripts[0])
        else:
            result += subscripts
    return [s for s, at in zip(result, left.at, strict=True) if at is None]


# The check at the exit.


def holds(form: Concise) -> bool:
    """Whether a form says what its component form says, at a random point of a small shape."""
    try:
        if not fits(form.left, form.right):
            return False
        sides = (form.detailed, form.expanded(small_extents(_named(form.detailed, form.target), FEW)))
    except ChainruleError:
        return False
    one, other, free = _small(*sides, form.target.free)
    places = _places(free, all_=max(map(_work, (one, other))) <= WORK)
    return all(_equal(*(substitute(side, place) for side in (one, other)), own) for place, own in places)


def _work(expr: Expr) -> int:
    """How many entries the largest sum has."""
    bodies = (node.body if isinstance(node, Reduce) else node for node in nodes(expr))
    return max(prod(i.extent if isinstance(i.extent, int) else 2 for i in body.free) for body in bodies)


def _small(one: Expr, other: Expr, free: tuple[Index, ...]) -> tuple[Expr, Expr, tuple[Index, ...]]:
    """Both expressions over smaller shapes and tensors numbered as they come. An extent stays where a subscript is more
    than an index, as for windows and digits; any other is but a number of equal cases."""
    kept, met = set[Extent](), dict[Extent, None].fromkeys(i.extent for i in free)
    for node in nodes(one, other):
        match node:
            case Component(tensor=tensor, subscripts=subscripts):
                pairs = list(zip(subscripts, tensor.shape, strict=True))
            case Guard(subscript=subscript, extent=extent):
                pairs = [(subscript, extent), (subscript * 2, extent)]
            case Delta(left=left, right=right):
                sides = (left, right) if isinstance(right, Affine) else (left,)
                pairs = [(side, side.plain.extent if side.plain else 0) for side in sides]
            case Reduce(indices=indices, body=body):
                pairs = [(Affine.of(i), i.extent) for i in indices]
                # So many equal terms are a number of the form.
                kept.update(i.extent for i in indices if i not in body.free)
            case _:
                continue
        for subscript, extent in pairs:
            extents = (extent, *(i.extent for i in subscript.indices))
            met.update(dict.fromkeys(extents))
            if subscript.plain is None or len(set(extents)) > 1:
                kept.update(extents)
    large = sorted(e for e in met if isinstance(e, int) and e not in kept and e > SMALL)
    sizes: dict[Extent, Extent] = {e: SMALL + 1 + n % 3 for n, e in enumerate(large)}
    tensors: dict[Tensor, Tensor] = {}

    def sized(index: Index) -> Index:
        return Index(index.name, sizes.get(index.extent, index.extent))

    def moved(a: Affine) -> Affine:
        return Affine(tuple((sized(i), c) for i, c in a.terms), a.offset)

    def visit(node: Expr) -> Expr:
        match node:
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                shape = tuple(sizes.get(e, e) for e in tensor.shape)
                own = tensors.setdefault(tensor, Tensor(f"t{len(tensors)}", shape, tensor.dtype))
                return Component(own, tuple(map(moved, subscripts)), pad)
            case Derivative(of=Component() as of, wrt=wrt):  # a Jacobian by name: any matrix
                name = f"{of.tensor.name} by {wrt.tensor.name}"
                return Component(Tensor(name, of.tensor.shape + wrt.tensor.shape), of.subscripts + wrt.subscripts)
            case Reduce(kind=kind, indices=indices, body=body):
                return Reduce(kind, tuple(map(sized, indices)), body)
            case Delta(left=left, right=right):
                return Delta(moved(left), moved(right) if isinstance(right, Affine) else right)
            case Guard(subscript=subscript, extent=extent):
                return Guard(moved(subscript), sizes.get(extent, extent))
            case _:
                return node

    return transform(one, visit), transform(other, visit), tuple(map(sized, free))


def _places(free: tuple[Index, ...], *, all_: bool) -> list[tuple[dict[Index, Affine], tuple[Index, ...]]]:
    """All places, or the corners and some inside."""
    if all_:
        return [({}, free)]
    far = {i: (Index(f"{i.name}·", 2), i.extent) for i in free if isinstance(i.extent, int) and i.extent > 2}
    own = tuple(far[i][0] if i in far else i for i in free)
    corners = {i: Affine(((j, e - 1),)) for i, (j, e) in far.items()}
    inside = {i: Affine(((j, 1),), (e - 1) // 2) for i, (j, e) in far.items()}
    return [(corners, own), (inside, own)]


@lru_cache(maxsize=4096)
def _equal(one: Expr, other: Expr, free: tuple[Index, ...]) -> bool:
    tensors = tuple(dict.fromkeys((*one.tensors, *other.tensors)))
    extents = small_extents({*_named(one, other), *(i.extent for i in free if isinstance(i.extent, str))}, FEW)
    try:
        values = random_values(tensors, extents, SEED, integer_ranges(tensors, (one, other), extents))
        left, right = (evaluate(side, values, free, extents=extents, seed=SEED) for side in (one, other))
    except ChainruleError:
        return False
    return np.array_equal(left, right)


def _named(*exprs: Expr) -> set[str]:
    """The named extents of everything that an expression is about."""
    found: set[Extent] = {i.extent for expr in exprs for i in (*expr.free, *bound(expr))}
    found.update(e for expr in exprs for tensor in expr.tensors for e in tensor.shape)
    found.update(node.extent for node in nodes(*exprs) if isinstance(node, Size | Guard))
    return {e for e in found if isinstance(e, str)}
