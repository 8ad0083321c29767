"""Arrays over GF(p) whose axes are indices: entry-by-entry functions, contractions, windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ShapeError
from chainrule.evaluate.prime import Words, element, elements, matmul, multiply, total
from chainrule.ir.index import Affine, Extent, Index

Shape = Callable[[tuple[Index, ...]], tuple[int, ...]]
WINDOW = Index("", 0)  # labels a flattened window while its axes are put in order
DIRECT = 4096  # entries up to which a product is built before it is summed: less than the calls of a matrix product


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Data with an index for each axis: uint64 field elements, or int64 integers. `undefined` marks the entries
    that come from a read outside a tensor (their data is arbitrary); `bracket` marks the 0/1 of a Delta or Guard,
    `bits` any words that are all 0 or 1; `same` names the two indices that a bracket says are equal."""

    axes: tuple[Index, ...]
    data: NDArray[Any]
    undefined: NDArray[np.bool_] | None = None
    bracket: bool = False
    bits: bool = False
    same: tuple[Index, Index] | None = None

    @property
    def words(self) -> Words:
        return self.data if self.data.dtype == np.uint64 else elements(self.data)


def onto(data: NDArray[Any], axes: tuple[Index, ...], target: tuple[Index, ...]) -> NDArray[Any]:
    """The same data with its axes in the target's order and extent 1 for the axes it lacks."""
    if axes == target:
        return data
    data = data.transpose([axes.index(axis) for axis in target if axis in axes])
    return data[tuple(slice(None) if axis in axes else None for axis in target)]


def axes_of(arrays: Iterable[Labelled]) -> tuple[Index, ...]:
    axes: dict[Index, None] = {}
    for array in arrays:
        axes.update(dict.fromkeys(array.axes))
    return tuple(axes)


def undefined_of(arrays: Iterable[Labelled], axes: tuple[Index, ...]) -> NDArray[np.bool_] | None:
    masks = [onto(a.undefined, a.axes, axes) for a in arrays if a.undefined is not None]
    return reduce(np.logical_or, masks) if masks else None


def elementwise(function: Callable[..., NDArray[Any]], *arrays: Labelled) -> Labelled:
    """A function of field elements, entry by entry over the union of the axes."""
    axes = axes_of(arrays)
    data = np.asarray(function(*[onto(a.words, a.axes, axes) for a in arrays]))
    mask = undefined_of(arrays, axes)
    return Labelled(axes, data, None if mask is None else np.broadcast_to(mask, data.shape))


def _without(a: Labelled, summed: set[Index]) -> Labelled:
    axes = tuple(n for n, axis in enumerate(a.axes) if axis in summed)
    return Labelled(tuple(axis for axis in a.axes if axis not in summed), total(a.data, axes)) if axes else a


def _pair(a: Labelled, b: Labelled, summed: set[Index]) -> Labelled:
    """Σ over `summed` of a·b: one batched matrix product where both have an index that is summed."""
    a, b = _without(a, summed.difference(b.axes)), _without(b, summed.difference(a.axes))
    shared = tuple(axis for axis in a.axes if axis in b.axes and axis in summed)
    if not shared:
        return elementwise(multiply, a, b)
    batch = tuple(axis for axis in a.axes if axis in b.axes and axis not in summed)
    rows = tuple(axis for axis in a.axes if axis not in b.axes)
    columns = tuple(axis for axis in b.axes if axis not in a.axes)
    left, right = onto(a.data, a.axes, batch + rows + shared), onto(b.data, b.axes, batch + shared + columns)
    shape = left.shape[: len(batch) + len(rows)] + right.shape[len(batch) + len(shared) :]
    many, inner = prod(shape[: len(batch)]), prod(right.shape[len(batch) : len(batch) + len(shared)])
    m, n = prod(shape[len(batch) : len(batch) + len(rows)]), prod(shape[len(batch) + len(rows) :])
    data = matmul(left.reshape(many, m, inner), right.reshape(many, inner, n))
    return Labelled(batch + rows + columns, data.reshape(shape))


def size(extent: Extent, extents: Mapping[str, int]) -> int:
    if isinstance(extent, int):
        return extent
    if extent not in extents:
        raise ShapeError("a named extent without a value", about=extent, fix=f"give extents={{{extent!r}: …}}")
    return extents[extent]


def ranges(subscript: Affine, extents: Mapping[str, int]) -> Labelled:
    """The integer values of a subscript over its indices."""
    axes = subscript.indices
    data = np.asarray(subscript.offset, np.int64)
    for index, c in subscript.terms:
        data = data + c * onto(np.arange(size(index.extent, extents)), (index,), axes)
    return Labelled(axes, data)


def bracketed(axes: tuple[Index, ...], truth: NDArray[np.bool_], undefined: NDArray[np.bool_] | None) -> Labelled:
    return Labelled(axes, np.asarray(truth).astype(np.uint64), undefined, True, True)


def relabelled(a: Labelled, old: Index, new: Index) -> Labelled:
    """`new` in place of the axis `old`; where both are there, the entries at which they are equal."""
    if old not in a.axes:
        return a
    if new not in a.axes:
        one, other = (tuple([new if axis == old else axis for axis in axes]) for axes in (a.axes, a.same or ()))
        return replace(a, axes=one, same=other or None)
    first, second = a.axes.index(old), a.axes.index(new)
    mask = None if a.undefined is None else np.diagonal(a.undefined, 0, first, second)
    axes = (*(axis for axis in a.axes if axis not in (old, new)), new)
    return Labelled(axes, np.diagonal(a.data, 0, first, second), mask)


def contract(arrays: list[Labelled], reduced: tuple[Index, ...], shape: Shape) -> Labelled:
    """Σ over `reduced` of the product of the arrays."""
    undefined = _reaches(arrays, reduced) if any(a.undefined is not None for a in arrays) else None
    if undefined is None:
        arrays, reduced = _chosen(arrays, reduced)
    axes = axes_of(arrays)
    repeated = prod(shape(tuple([i for i in reduced if i not in axes])))
    result = _product(arrays, axes, reduced) if prod(shape(axes)) <= DIRECT else _pairwise(arrays, reduced, shape)
    data = result.data if repeated == 1 else multiply(result.data, np.asarray(element(repeated)))
    if undefined is None:
        return Labelled(result.axes, data, bits=result.bits and repeated == 1)
    mask = np.broadcast_to(onto(undefined.data, undefined.axes, result.axes), data.shape)
    return Labelled(result.axes, data, mask)


def _chosen(arrays: list[Labelled], reduced: tuple[Index, ...]) -> tuple[list[Labelled], tuple[Index, ...]]:
    """Σ_i [i = j]·a_i = a_j, for every bracket of this kind."""
    while True:
        for n, a in enumerate(arrays):
            if a.same is not None and len(arrays) > 1:
                one, other = a.same
                old, new = (one, other) if one in reduced else (other, one)
                if old in reduced:
                    arrays = [relabelled(b, old, new) for m, b in enumerate(arrays) if m != n]
                    reduced = tuple([i for i in reduced if i != old])
                    break
        else:
            return arrays, reduced


def _product(arrays: list[Labelled], axes: tuple[Index, ...], reduced: tuple[Index, ...]) -> Labelled:
    """The product entry by entry, the smallest factors first, then its sum. A word times 0 or 1 is a word."""
    order = sorted(arrays, key=lambda a: a.data.size)
    parts = [onto(a.words, a.axes, axes) for a in order if not a.bits]
    parts += [onto(a.data, a.axes, axes) for a in order if a.bits]
    words = sum(not a.bits for a in order)
    data = parts[0]
    for n, part in enumerate(parts[1:], 1):
        data = multiply(data, part) if n < words else data * part
    summed = tuple([n for n, axis in enumerate(axes) if axis in reduced])
    if not summed:
        return Labelled(axes, data, bits=not words)
    return Labelled(tuple([axis for axis in axes if axis not in reduced]), total(data, summed))


def _pairwise(arrays: list[Labelled], reduced: tuple[Index, ...], shape: Shape) -> Labelled:
    """The same a pair at a time, the pair with the smallest result first."""
    parts = [Labelled(a.axes, a.words) for a in arrays]
    if len(parts) == 1:
        return _without(parts[0], set(reduced))
    while len(parts) > 1:
        plans: list[tuple[int, int, int, set[Index]]] = []
        for i, j in combinations(range(len(parts)), 2):
            both, rest = axes_of((parts[i], parts[j])), axes_of(p for n, p in enumerate(parts) if n not in (i, j))
            gone = {axis for axis in both if axis in reduced and axis not in rest}
            plans.append((prod(shape(tuple([axis for axis in both if axis not in gone]))), i, j, gone))
        _, i, j, gone = min(plans, key=lambda plan: plan[:3])
        b, a = parts.pop(j), parts.pop(i)
        parts.append(_pair(a, b, gone))
    return parts[0]


def _reaches(arrays: list[Labelled], reduced: tuple[Index, ...]) -> Labelled | None:
    """Where an undefined factor reaches the product: a bracket that is 0 hides it (Iverson's convention)."""
    axes = axes_of(a for a in arrays if a.undefined is not None or a.bracket)
    mask = undefined_of(arrays, axes)
    if mask is None:
        return None
    for a in arrays:
        if a.bracket:
            shown = a.data != 0 if a.undefined is None else (a.data != 0) | a.undefined
            mask = mask & onto(shown, a.axes, axes)
    summed = tuple(n for n, axis in enumerate(axes) if axis in reduced)
    mask = np.asarray(mask.any(summed))
    return Labelled(tuple(a for a in axes if a not in reduced), mask) if mask.any() else None


def flattened(
    a: Labelled, indices: tuple[Index, ...], data: NDArray[Any], shape: Shape
) -> tuple[tuple[Index, ...], NDArray[Any]]:
    """The other axes, and data of `a` with the window's indices flattened into one last axis, WINDOW."""
    axes = tuple(axis for axis in a.axes if axis not in indices)
    full = np.broadcast_to(onto(data, a.axes, axes + indices), shape(axes + indices))
    return axes, full.reshape(*shape(axes), prod(shape(indices)))


def hides(a: Labelled, indices: tuple[Index, ...], shape: Shape) -> NDArray[np.bool_] | None:
    """The windows with an undefined entry."""
    return None if a.undefined is None else np.asarray(flattened(a, indices, a.undefined, shape)[1].any(-1))
