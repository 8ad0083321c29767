"""Arrays whose axes are indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ShapeError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Affine, Extent, Index

Array = NDArray[Any]
Axes = tuple[Index, ...]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Data with an index for each axis: numbers of an arithmetic, int64 integers, or the truth of brackets as bool.
    `undefined` marks the entries that come from a read outside a tensor (their data is arbitrary); `bracket` marks what
    hides them where it is false; `same` names the two indices that a bracket says are equal."""

    axes: Axes
    data: Array
    undefined: Mask | None = None
    bracket: bool = False
    same: tuple[Index, Index] | None = None


def onto(data: Array, axes: Axes, target: Axes) -> Array:
    """The same data with its axes in the target's order and extent 1 for the axes it lacks."""
    if axes == target:
        return data
    data = data.transpose([axes.index(axis) for axis in target if axis in axes])
    return data[tuple([slice(None) if axis in axes else None for axis in target])]


def axes_of(arrays: Iterable[Labelled]) -> Axes:
    axes: dict[Index, None] = {}
    for array in arrays:
        axes.update(dict.fromkeys(array.axes))
    return tuple(axes)


def undefined_of(arrays: Iterable[Labelled], axes: Axes) -> Mask | None:
    masks = [onto(a.undefined, a.axes, axes) for a in arrays if a.undefined is not None]
    return reduce(np.logical_or, masks) if masks else None


def size(extent: Extent, extents: Mapping[str, int]) -> int:
    if isinstance(extent, int):
        return extent
    if extent not in extents:
        raise ShapeError("a named extent without a value", about=extent, fix=f"give extents={{{extent!r}: …}}")
    return extents[extent]


def shape_of(tensor: Tensor, extents: Mapping[str, int]) -> tuple[int, ...]:
    return tuple([size(extent, extents) for extent in tensor.shape])


def ranges(subscript: Affine, extents: Mapping[str, int]) -> Labelled:
    """The integer values of a subscript over its indices."""
    axes = subscript.indices
    data = np.asarray(subscript.offset, np.int64)
    for index, c in subscript.terms:
        data = data + c * onto(np.arange(size(index.extent, extents)), (index,), axes)
    return Labelled(axes, data)


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


def chosen(arrays: list[Labelled], reduced: Axes) -> tuple[list[Labelled], Axes]:
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


def reaches(arrays: list[Labelled], reduced: Axes) -> Labelled | None:
    """Where an undefined factor reaches the product: a bracket that is 0 hides it (Iverson's convention)."""
    axes = axes_of(a for a in arrays if a.undefined is not None or a.bracket)
    mask = undefined_of(arrays, axes)
    if mask is None:
        return None
    for a in arrays:
        if a.bracket:
            shown = a.data if a.undefined is None else a.data | a.undefined
            mask = mask & onto(shown, a.axes, axes)
    summed = tuple(n for n, axis in enumerate(axes) if axis in reduced)
    mask = np.asarray(mask.any(summed))
    return Labelled(tuple(a for a in axes if a not in reduced), mask) if mask.any() else None
