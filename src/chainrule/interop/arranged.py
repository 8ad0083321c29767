"""The calls of any framework that arrange: one value after another, parts, places, borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.interop.arithmetic import contraction, element
from chainrule.interop.graph import Array, Graph
from chainrule.interop.resize import PLACED, interpolated
from chainrule.interop.views import (
    SAMPLE,
    Size,
    View,
    flipped,
    inserted,
    permuted,
    removed,
    repeated,
    selected,
    size_of,
    sliced,
    unfolded,
)
from chainrule.nn.arrangement import Concat


def concat(g: Graph, values: Sequence[View], axis: int) -> View:
    """One value after another along an axis."""
    axis %= len(values[0].axes)
    values = [g.single(value, axis) for value in values]
    if len(values) == 1:
        return values[0]
    nodes = [value.source.node for value in values]
    plain = all(v.unmoved and v.source.node and v.axes[0] == (SAMPLE,) for v in values)
    if plain and axis and len(set(nodes)) == len(nodes):
        shape = [*values[0].source.shape]
        shape[axis] = sum(size_of(v.axes[axis])[0] for v in values)
        return g.result(g.layer(Concat(axis), [node for node in nodes if node]), tuple(shape))
    end = sum(size_of(value.axes[axis])[0] for value in values)
    terms, at = list[View](), 0
    for value in values:
        length = size_of(value.axes[axis])[0]
        terms.append(g.padded(value, {axis: (at, end - at - length)}, 0.0))
        at += length
    axes, found = g.together(terms)
    return g.equation(" + ".join(f"{{{k}}}" for k in range(len(found))), found, axes)


def pieces(g: Graph, x: View, axis: int, lengths: Sequence[int]) -> list[View]:
    x, at, found = g.single(x, axis), 0, list[View]()
    for length in lengths:
        found.append(sliced(x, axis, at, length))
        at += length
    return found


def unbound(g: Graph, x: View, axis: int) -> list[View]:
    x = g.single(x, axis)
    return [selected(x, axis, place) for place in range(size_of(x.axes[axis])[0])]


def everywhere(g: Graph, value: float, sizes: Sequence[Size]) -> View:
    """A number in a shape that has the samples."""
    view = g.fixed(f"filled_{len(g.weights)}", np.asarray(float(value)))
    for size in reversed(sizes):
        view = repeated(inserted(view, 0), 0, size)
    return view


def cells_of_channels(g: Graph, x: View, factor: int, first: bool) -> View:
    """Channels as cells of blocks of an image, factor² to a block. The number of a channel begins with that of the
    channel that is left where `first`, else with the cell's."""
    n, (c, _), (h, _), (w, _) = x.sizes
    left = c // factor**2
    parts = (left, factor, factor) if first else (factor, factor, left)
    x = g.reshaped(x, [n, *((extent, False) for extent in (*parts, h, w))])
    x = permuted(x, [0, 1, 4, 2, 5, 3] if first else [0, 3, 4, 1, 5, 2])
    return g.reshaped(x, [n, (left, False), (h * factor, False), (w * factor, False)])


def channels_of_cells(g: Graph, x: View, factor: int) -> View:
    """The cells of each block of an image as channels, factor² for one."""
    n, (c, _), (h, _), (w, _) = x.sizes
    parts = (c, h // factor, factor, w // factor, factor)
    x = permuted(g.reshaped(x, [n, *((extent, False) for extent in parts)]), [0, 1, 3, 5, 2, 4])
    return g.reshaped(x, [n, *((extent, False) for extent in (c * factor**2, h // factor, w // factor))])


def shuffled(g: Graph, x: View, groups: int) -> View:
    """Channels of each of some groups, taken in turn."""
    n, (c, _), *space = x.sizes
    x = g.reshaped(x, [n, (groups, False), (c // groups, False), *space])
    return g.reshaped(permuted(x, [0, 2, 1, *range(3, len(x.axes))]), [n, (c, False), *space])


def windows(
    g: Graph, x: View, size: Sequence[int], stride: Sequence[int], padding: Sequence[Sequence[int]],
    dilation: Sequence[int], border: float,
) -> View:
    """The windows along all axes but two, with the number `border` around them; what they hold are last axes."""
    x = g.padded(x, {axis: (pair[0], pair[1]) for axis, pair in enumerate(padding, 2)}, border)
    for axis, (extent, step, wide) in enumerate(zip(size, stride, dilation, strict=True), 2):
        x = unfolded(g.single(x, axis), axis, extent, step, wide)
    return x


def columns(
    g: Graph, x: View, size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> View:
    """The windows of an image as columns: (N, channels·window, places)."""
    x = windows(g, x, size, stride, [(cells, cells) for cells in padding], dilation, 0.0)
    n, (c, _), *rest = x.sizes
    (h, w), held = ([extent for extent, _ in part] for part in (rest[:2], rest[2:]))
    x = permuted(x, [0, 1, 4, 5, 2, 3])
    return g.reshaped(x, [n, (c * held[0] * held[1], False), (h * w, False)])


def summed_columns(
    g: Graph, x: View, out: Sequence[int], size: Sequence[int], dilation: Sequence[int], padding: Sequence[int],
    stride: Sequence[int],
) -> View:
    """The image whose cells are the sums of all that stands for them in the columns of its windows."""
    spans = [wide * (extent - 1) + 1 for wide, extent in zip(dilation, size, strict=True)]
    counts = [
        (length + 2 * cells - span) // step + 1
        for length, cells, span, step in zip(out, padding, spans, stride, strict=True)
    ]
    n, (c, _), _ = x.sizes
    parts = (c // (size[0] * size[1]), *size, *counts)
    x = permuted(g.reshaped(x, [n, *((extent, False) for extent in parts)]), [0, 1, 2, 4, 3, 5])
    x = g.reshaped(x, [n, *((e, False) for e in (parts[0], size[0] * counts[0], size[1] * counts[1]))])
    for axis in (2, 3):
        k = axis - 2
        within, place = np.divmod(np.arange(size[k] * counts[k]), counts[k])
        cells = dilation[k] * within + stride[k] * place - padding[k]
        x = mapped(g, g.single(x, axis), axis, (np.arange(out[k])[:, None] == cells).astype(np.float64))
    return x


def replaced(g: Graph, x: View, axis: int, places: Array, values: View) -> View:
    """x with other values at fixed places of an axis, no place twice."""
    if not (np.diff(places) == 1).all():
        extent = size_of(x.axes[axis])[0]
        hot = (np.arange(extent)[:, None] == places).astype(np.float64)
        others = mapped(g, g.single(x, axis), axis, np.diag(1.0 - hot.sum(1)))
        return element(g, "add", others, mapped(g, g.single(values, axis), axis, hot))
    lengths = [int(places[0]), len(places), size_of(x.axes[axis])[0] - int(places[-1]) - 1]
    head, _, tail = pieces(g, x, axis, lengths)
    return concat(g, [part for part, length in zip((head, values, tail), lengths, strict=True) if length], axis)


def flip(g: Graph, x: View, axes: Sequence[int]) -> View:
    for axis in axes:
        x = flipped(g.single(x, axis % len(x.axes)), axis % len(x.axes))
    return x


def chosen(g: Graph, x: View, axis: int, places: Array) -> View:
    """The entries of an axis at fixed places, whose axes stand in its place: a slice, where they are at equal steps."""
    flat = places.reshape(-1)
    steps = set(np.diff(flat).tolist()) or {1}
    x = g.single(x, axis)
    if len(steps) == 1 and (step := int(steps.pop())):
        found = sliced(x, axis, int(flat[0]), len(flat), step)
    else:
        hot = np.zeros(g.small((len(flat), size_of(x.axes[axis])[0])))
        hot[np.arange(len(flat)), flat] = 1
        found = mapped(g, x, axis, hot)
    sizes = found.sizes
    return g.reshaped(found, [*sizes[:axis], *((int(e), False) for e in places.shape), *sizes[axis + 1 :]])


def mapped(g: Graph, x: View, axis: int, matrix: Array) -> View:
    """A fixed matrix times the vectors along an axis."""
    order = [k for k in range(len(x.axes)) if k != axis]
    product = contraction(g, g.fixed(f"places_{len(g.weights)}", matrix), 1, x, axis)
    return permuted(product, [*(1 + order.index(k) if k != axis else 0 for k in range(len(x.axes)))])


def resized(
    g: Graph, x: View, axis: int, new: int, scale: float, place: str, mode: str, **options: Any
) -> View:
    """An axis with `new` cells, `scale` times as many as before; `options` as of `interpolated`."""
    length = size_of(x.axes[axis])[0]
    g.small((new, length))
    at = PLACED[place](np.arange(new), length, new, scale)
    return mapped(g, g.single(x, axis), axis, interpolated(length, at, mode, **options))


def bordered(g: Graph, x: View, axis: int, before: int, after: int, mode: str) -> View:
    """An axis with its own entries around it: in a circle, reflected, or the outermost ones repeated."""
    extent = size_of(x.axes[axis])[0]
    x = g.single(x, axis)

    def part(start: int, length: int) -> View:
        return sliced(x, axis, start, length)

    match mode:
        case "circular":
            around = part(extent - before, before) if before else None, part(0, after) if after else None
        case "reflect":
            around = (
                flipped(part(1, before), axis) if before else None,
                flipped(part(extent - 1 - after, after), axis) if after else None,
            )
        case "replicate":
            ends = removed(part(0, 1), [axis]), removed(part(extent - 1, 1), [axis])
            around = tuple(
                repeated(inserted(end, axis), axis, (times, False)) if times else None
                for end, times in zip(ends, (before, after), strict=True)
            )
        case _:
            g.refuse(f"padding of the mode {mode!r}", "pad with a constant")
    found = concat(g, [view for view in (around[0], x, around[1]) if view is not None], axis)
    assert isinstance(found, View)
    return found
