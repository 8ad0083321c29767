"""Indices that only ever run together, as one: a Dense after an image reads W[k, 25c + 5i + j] and x[c, i, j].

Where several indices stand as one mixed-radix number in one place, and everywhere else side by side in that order over
whole axes, they are one index f over the product of their extents, and x is read as a flat tensor: x_f.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from chainrule.ir.expr import Component, Delta, Expr, Guard, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import bound, components, fresh, nodes, transform

FLAT = "flat"
Group = tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Flat:
    """A tensor seen with some of its axes run together: for each axis of the view, the tensor's axes that make it."""

    tensor: Tensor
    axes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Fused:
    """target = value over fused indices. `flat` says by name what each flat tensor is, and `digits` which indices each
    new one stands for."""

    target: Component
    value: Expr
    flat: Mapping[str, Flat] = field(default_factory=dict[str, Flat])
    digits: Mapping[Index, Group] = field(default_factory=dict[Index, Group])


def fuse(target: Component, value: Expr) -> Fused:
    """The equation with every group of indices fused that can be."""
    result = Fused(target, value)
    for group in dict.fromkeys(_groups(target, value)):
        if all(i in (*result.target.free, *bound(result.value)) for i in group) and _fits(group, result):
            result = _fused(group, result)
    return result


def _groups(target: Component, value: Expr) -> Iterator[Group]:
    """The digits of the mixed-radix numbers that stand in subscripts, the highest place first."""
    for c in (target, *components(value)):
        for s, extent in zip(c.subscripts, c.tensor.shape, strict=True):
            if len(s.terms) > 1 and s.radix(extent):
                yield tuple(i for i, _ in sorted(s.terms, key=lambda t: (-t[1], t[0].extent != 1)))


def _number(group: Group) -> Affine:
    place, result = 1, Affine()
    for index in reversed(group):
        result, place = Affine.of(index) * place + result, place * int(index.extent)
    return Affine(tuple(sorted(result.terms, key=lambda t: group.index(t[0]))))


def _fits(group: Group, fused: Fused) -> bool:
    if any(isinstance(i.extent, str) for i in group):
        return False
    for c in (fused.target, *components(fused.value)):
        if set(group) & set(c.free) and _place(group, c) is None:
            return False
    for node in nodes(fused.value):
        if isinstance(node, Delta | Guard) and set(group) & set(node.free):
            return False
        if isinstance(node, Reduce) and set(group) & set(node.indices):
            where = [node.indices.index(i) if i in node.indices else -1 for i in group]
            if -1 in where or node.kind == "argmax":
                return False
    return True


def _place(group: Group, c: Component) -> tuple[int, int] | None:
    """The axes (first, how many) at which a component is read at the group and at nothing else of it."""
    number = _number(group)
    for k, s in enumerate(c.subscripts):
        if set(s.terms) == set(number.terms) and not s.offset:
            rest = [i for n, other in enumerate(c.subscripts) if n != k for i in other.indices]
            return (k, 1) if s.radix(c.tensor.shape[k]) and not set(rest) & set(group) else None
    plain = [s.plain for s in c.subscripts]
    for k in range(len(plain) - len(group) + 1):
        if plain[k : k + len(group)] == list(group):
            whole = all(i.extent == e for i, e in zip(group, c.tensor.shape[k:], strict=False))
            rest = [i for s in (*c.subscripts[:k], *c.subscripts[k + len(group) :]) for i in s.indices]
            return (k, len(group)) if whole and c.pad is None and not set(rest) & set(group) else None
    return None


def _fused(group: Group, fused: Fused) -> Fused:
    taken = [*fused.target.free, *bound(fused.value)]
    new = fresh("f", prod(int(i.extent) for i in group), taken)
    flat = dict(fused.flat)

    def read(c: Component) -> Component:
        if not set(group) & set(c.free):
            return c
        place = _place(group, c)
        assert place is not None
        k, count = place
        tensor = c.tensor
        if count > 1:
            shape = (*tensor.shape[:k], new.extent, *tensor.shape[k + count :])
            base = flat.get(tensor.name) or Flat(tensor, tuple((n,) for n in range(len(tensor.shape))))
            merged = tuple(n for axes in base.axes[k : k + count] for n in axes)
            axes = (*base.axes[:k], merged, *base.axes[k + count :])
            tensor = Tensor(f"{FLAT}({base.tensor.name}, {'×'.join(map(str, shape))})", shape, tensor.dtype)
            flat[tensor.name] = Flat(base.tensor, axes)
        return Component(tensor, (*c.subscripts[:k], Affine.of(new), *c.subscripts[k + count :]), c.pad)

    def visit(node: Expr) -> Expr:
        match node:
            case Component():
                return read(node)
            case Reduce(kind=kind, indices=indices, body=body) if set(group) & set(indices):
                first = min(indices.index(i) for i in group)
                rest = [i for i in indices if i not in group]
                rest.insert(sum(i not in group for i in indices[:first]), new)
                return Reduce(kind, tuple(rest), body)
            case _:
                return node

    value = transform(fused.value, visit)
    target = read(fused.target)
    return Fused(target, value, flat, {**fused.digits, new: group})
