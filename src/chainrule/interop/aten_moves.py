"""What PyTorch's calls are given, and what those are that move and arrange."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.errors import ModelError
from chainrule.interop import arranged
from chainrule.interop.graph import Graph, Operand
from chainrule.interop.views import (
    SAMPLE,
    Size,
    View,
    diagonal,
    inserted,
    permuted,
    removed,
    repeated,
    selected,
    size_of,
    sliced,
    unfolded,
)

OPEN = (-1, False)
"""An extent that depends on values, as the number of places that a mask chooses."""


def size_samples(extent: Any, known: Mapping[Any, int]) -> Size:
    """An extent of PyTorch's: a number, or one times that of the samples; OPEN where it depends on values that are not
    `known`. Raises ModelError for another expression."""
    if isinstance(extent, int):
        return extent, False
    expression = extent.node.expr.subs(known)
    if any(str(symbol).startswith("u") for symbol in expression.free_symbols):
        return OPEN
    if not expression.free_symbols:
        return int(expression), False
    values = [Fraction(str(expression.subs(dict.fromkeys(expression.free_symbols, p)))) / p for p in (1009, 2003)]
    if values[0] != values[1] or values[0].denominator != 1:
        raise ModelError(f"an axis has {expression} entries", fix="keep samples independent of each other")
    return int(values[0]), True


def sizes(value: Any, known: Mapping[Any, int]) -> list[Size]:
    return [size_samples(extent, known) for extent in value.shape]


# The rows: the graph, and the arguments of the call as PyTorch orders them


@dataclass(frozen=True, eq=False)
class Fixed:
    """A tensor that nothing trains, and what it is called."""

    tensor: Any
    name: str

    @property
    def array(self) -> Any:
        return self.tensor.detach().cpu().numpy()


def valued(g: Graph, value: Any) -> Any:
    """A constant tensor as an operand."""
    if isinstance(value, Fixed):
        return g.constant(value.name, np.asarray(value.array, np.float64))
    if hasattr(value, "node"):
        g.refuse("the number of samples is computed with", "networks are functions of each sample here")
    return float(value) if isinstance(value, bool) else value


def reshaped(g: Graph, x: View, *_: Any) -> View:
    return g.reshaped(x, g.call.sizes[0])


def expanded(g: Graph, x: View, *_: Any) -> View:
    return _expanded(x, g.call.sizes[0])


def _expanded(x: View, shape: Sequence[Size]) -> View:
    for _ in range(len(shape) - len(x.axes)):
        x = inserted(x, 0)
    for axis, size in enumerate(shape):
        if not x.axes[axis] and size != (1, False):
            x = repeated(x, axis, size)
    return x


def repeated_by(g: Graph, x: View, *_: Any) -> View:
    (made,) = g.call.sizes
    for _new in range(len(made) - len(x.axes)):
        x = inserted(x, 0)
    for axis, ((new, samples), (old, own)) in enumerate(zip(made, x.sizes, strict=True)):
        x = repeated(x, axis, (new // old, samples and not own))
    return x


def parts(g: Graph, x: View, lengths: Any, axis: int = 0) -> list[View]:
    """chunk, split: the lengths are those of the results."""
    return arranged.pieces(g, x, axis % len(x.axes), [shape[axis][0] for shape in g.call.sizes])


def exchanged(g: Graph, x: View, one: int, other: int) -> View:
    order = list(range(len(x.axes)))
    order[one], order[other] = order[other], order[one]
    return permuted(x, order)


def permuted_by(g: Graph, x: View, order: Sequence[int]) -> View:
    return permuted(x, [axis % len(x.axes) for axis in order])


def cut(g: Graph, x: View, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> View:
    axis %= len(x.axes)
    extent, samples = size_of(x.axes[axis])
    if samples and start in (None, 0) and step == 1 and (end is None or not isinstance(end, int) or end >= 2**62):
        return x
    if samples:
        g.refuse("this takes a part of the samples", "networks are functions of each sample here")
    first, last, step = slice(start, min(end, extent) if end is not None else None, step).indices(extent)
    return sliced(g.single(x, axis), axis, first, len(range(first, last, step)), step)


def chosen(g: Graph, x: View, axis: int, place: int) -> View:
    axis %= len(x.axes)
    return selected(g.single(x, axis), axis, place % size_of(x.axes[axis])[0])


def squeezed(g: Graph, x: View, axes: Any = None) -> View:
    given = range(len(x.axes)) if axes is None else axes if isinstance(axes, (list, tuple)) else [axes]
    return removed(x, [axis % len(x.axes) for axis in given])


def bordered(g: Graph, x: View, widths: Sequence[int], mode: str = "constant", value: Any = None) -> View:
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    if mode != "constant":
        for k, (before, after) in enumerate(pairs):
            x = arranged.bordered(g, x, len(x.axes) - 1 - k, before, after, mode)
        return x
    return g.padded(x, {len(x.axes) - 1 - k: pair for k, pair in enumerate(pairs)}, float(value or 0.0))


def joined(g: Graph, tensors: Sequence[Any], axis: int = 0) -> Operand:
    return arranged.concat(g, [view_of(g, tensor) for tensor in tensors], axis)


def stacked(g: Graph, tensors: Sequence[Any], axis: int = 0) -> Operand:
    views = [view_of(g, tensor) for tensor in tensors]
    axis %= len(views[0].axes) + 1
    return arranged.concat(g, [inserted(view, axis) for view in views], axis)


def view_of(g: Graph, value: Any) -> View:
    """A tensor among views; a constant one keeps its shape."""
    return g.fixed(value.name, np.asarray(value.array, np.float64)) if isinstance(value, Fixed) else value


def picked(g: Graph, x: View, axis: int, ids: Any) -> Operand:
    if not isinstance(ids, Fixed):
        g.refuse("places that are computed", "choose fixed places, or an Embedding")
    return arranged.chosen(g, x, axis % len(x.axes), ids.array)


def _merged(g: Graph, x: View, places: Sequence[Any]) -> tuple[View, int, Any]:
    """x with the axes that fixed tensors of whole numbers choose from as one, which axis that is, and the places along
    it. The tensors stand beside each other; a fixed mask is the places that it chooses."""
    arrays: list[Any] = []
    for place in places:
        if isinstance(place, View):
            g.refuse("places that are computed, or chosen by a mask that is", "choose fixed places, or an Embedding")
        array = None if place is None else place.array
        arrays += [array] if array is None or array.dtype != bool else np.nonzero(array)
    given = {axis: array for axis, array in enumerate(arrays) if array is not None}
    axes = [*given]
    if axes != [*range(axes[0], axes[-1] + 1)]:
        g.refuse("places along axes that are apart", "choose along one axis after the other")
    if any(SAMPLE in x.axes[each] for each in axes):
        g.refuse("this takes a part of the samples", "networks are functions of each sample here")
    extents = [size_of(x.axes[each])[0] for each in axes]
    within = [np.where(array < 0, array + e, array) for array, e in zip(given.values(), extents, strict=True)]
    flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*within)), extents)
    if not np.size(flat):
        g.refuse("this chooses nothing", "leave it out")
    rest = x.sizes
    merged = g.reshaped(x, [*rest[: axes[0]], (math.prod(extents), False), *rest[axes[-1] + 1 :]])
    return merged, axes[0], np.asarray(flat)


def indexed(g: Graph, x: View, places: Sequence[Any]) -> View:
    """x[…] by fixed places."""
    return arranged.chosen(g, *_merged(g, x, places))


def put(g: Graph, x: View, places: Sequence[Any], values: Any, accumulate: bool = False) -> View:
    """x with x[…] = values, by fixed places."""
    merged, axis, flat = _merged(g, x, places)
    if accumulate or len(np.unique(flat)) < flat.size:
        g.refuse("values that are added, or put to one place twice", "write each place once")
    order, sizes, new = np.argsort(flat.ravel()), merged.sizes, [(int(extent), False) for extent in flat.shape]
    values = _expanded(view_of(g, values), [*sizes[:axis], *new, *sizes[axis + 1 :]])
    values = g.reshaped(values, [*sizes[:axis], (flat.size, False), *sizes[axis + 1 :]])
    if (np.diff(order) != 1).any():
        values = arranged.chosen(g, values, axis, order)
    return g.reshaped(arranged.replaced(g, merged, axis, flat.ravel()[order], values), x.sizes)


def scattered(g: Graph, x: View, source: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> View:
    """x with x[start:end:step] = source along an axis."""
    axis %= len(x.axes)
    extent, samples = size_of(x.axes[axis])
    source = view_of(g, source)
    places = np.arange(extent)[slice(start, end if isinstance(end, int) else None, step)]
    if len(places) == extent and step == 1:
        return _expanded(source, x.sizes)
    if samples:
        g.refuse("this changes a part of the samples", "networks are functions of each sample here")
    return arranged.replaced(g, x, axis, places, source)


def put_one(g: Graph, x: View, source: Any, axis: int, place: int) -> View:
    """x with x[place] = source along an axis."""
    axis %= len(x.axes)
    place %= size_of(x.axes[axis])[0]
    return scattered(g, x, inserted(view_of(g, source), axis), axis, place, place + 1)


def filled(value: float) -> Callable[..., Any]:
    """A number everywhere, in a shape that has the samples."""

    def row(g: Graph, *args: Any) -> View:
        return arranged.everywhere(g, value, g.call.sizes[0])

    return row


def rolled(g: Graph, x: View, shifts: Sequence[int], axes: Sequence[int] = ()) -> Operand:
    if not axes:
        g.refuse("a roll of the flattened tensor", "roll along an axis")
    for shift, axis in zip(shifts, axes, strict=True):
        axis %= len(x.axes)
        extent = size_of(x.axes[axis])[0]
        head, tail = arranged.pieces(g, x, axis, [extent - shift % extent, shift % extent])
        found = arranged.concat(g, [tail, head], axis) if shift % extent else x
        assert isinstance(found, View)
        x = found
    return x


def moved(g: Graph, x: View, source: Any, target: Any) -> View:
    """An axis, or each of a list, at another place; the others keep their order."""
    rank = len(x.axes)
    sources, targets = ([axis % rank for axis in (given if isinstance(given, list) else [given])]
                        for given in (source, target))
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(place, axis)
    return permuted(x, order)


def interleaved(g: Graph, x: View, times: int, axis: Any) -> View:
    if axis is None:
        g.refuse("repeat_interleave of the flattened tensor", "give it an axis")
    return repeated(x, axis % len(x.axes), (times, False), inner=True)


def _retyped(g: Graph, x: View, *_: Any) -> View:
    """Another type: the same numbers, unless real ones would become whole."""
    if g.call.rounded:
        g.refuse("real numbers are rounded to whole ones", "networks are differentiable here")
    return x


MOVES: dict[str, Callable[..., Any]] = {
    "cat": joined, "stack": stacked, "concat": joined, "expand_as": expanded,
    **dict.fromkeys(("contiguous", "clone", "alias", "lift_fresh_copy", "positive"), lambda g, x, *_: x),
    **dict.fromkeys(("to.dtype_layout", "to.dtype", "to.device", "_to_copy"), _retyped),
    **dict.fromkeys(
        ("view", "reshape", "flatten.using_ints", "unflatten.int", "_unsafe_view", "view_as", "reshape_as"), reshaped,
    ),
    "expand": expanded, "repeat": repeated_by, "tile": repeated_by, "chunk": parts, "split.Tensor": parts,
    "split_with_sizes": parts, "split.sizes": parts, "tensor_split.sections": parts, "tensor_split.indices": parts,
    "unbind.int": lambda g, x, axis=0: arranged.unbound(g, x, axis % len(x.axes)), "transpose.int": exchanged,
    "swapaxes": exchanged, "permute": permuted_by, "t": lambda g, x: permuted(x, range(len(x.axes))[::-1]),
    "numpy_T": lambda g, x: permuted(x, range(len(x.axes))[::-1]), "mT": lambda g, x: exchanged(g, x, -2, -1),
    **dict.fromkeys(("movedim.int", "moveaxis.int", "movedim.intlist", "moveaxis.intlist"), moved),
    "slice.Tensor": cut, "select.int": chosen,
    "narrow": lambda g, x, axis, start, length: cut(g, x, axis, start, start + length),
    "squeeze": squeezed, "squeeze.dim": squeezed, "squeeze.dims": squeezed,
    "unsqueeze": lambda g, x, axis: inserted(x, axis % (len(x.axes) + 1)), "flip": arranged.flip, "roll": rolled,
    "pad": bordered, "constant_pad_nd": lambda g, x, widths, value=0: bordered(g, x, widths, "constant", value),
    "unfold": lambda g, x, axis, size, step: unfolded(
        g.single(x, axis % len(x.axes)), axis % len(x.axes), size, step,
    ),
    **{f"{how}{name}{like}": filled(value) for name, value in (("zeros", 0.0), ("ones", 1.0))
       for how, like in (("", ""), ("new_", ""), ("", "_like"))},
    "full": lambda g, size, value, *_: arranged.everywhere(g, value, g.call.sizes[0]),
    "full_like": lambda g, x, value, *_: arranged.everywhere(g, value, g.call.sizes[0]),
    "new_full": lambda g, x, size, value, *_: arranged.everywhere(g, value, g.call.sizes[0]),
    "pixel_shuffle": lambda g, x, factor: arranged.cells_of_channels(g, x, factor, True), "index_select": picked,
    "pixel_unshuffle": arranged.channels_of_cells, "channel_shuffle": arranged.shuffled,
    "im2col": arranged.columns, "col2im": arranged.summed_columns,
    "index.Tensor": indexed, "index_put": put, "slice_scatter": scattered, "select_scatter": put_one,
    "copy": lambda g, x, source, *_: expanded(g, view_of(g, source)), "zero": filled(0.0),
    "fill.Scalar": lambda g, x, value: arranged.everywhere(g, float(value), g.call.sizes[0]),
    "diagonal": lambda g, x, offset=0, one=0, other=1: diagonal(
        g.single(g.single(x, one % len(x.axes)), other % len(x.axes)), one % len(x.axes), other % len(x.axes), offset,
    ),
    "repeat_interleave.self_int": lambda g, x, times, axis=None, output_size=None: interleaved(g, x, times, axis),
}  # fmt: skip
VIEWS = {
    "contiguous", "alias", "to.dtype", "to.dtype_layout", "to.device", "view", "reshape", "flatten.using_ints",
    "unflatten.int", "_unsafe_view", "view_as", "expand", "expand_as", "chunk", "split.Tensor", "split_with_sizes",
    "unbind.int", "transpose.int", "permute", "t", "movedim.int", "movedim.intlist", "moveaxis.int",
    "moveaxis.intlist", "swapaxes", "slice.Tensor", "select.int", "narrow", "squeeze", "squeeze.dim", "squeeze.dims",
    "unsqueeze",
}
"""The calls whose result looks at their argument."""
