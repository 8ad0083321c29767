"""The calls of any framework that are layers of ours, with their options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.interop import arranged
from chainrule.interop.arithmetic import applied, contraction, einsum, element, reduce
from chainrule.interop.graph import Graph, Operand, laid, runs
from chainrule.interop.views import (
    SAMPLE,
    Source,
    View,
    aligned,
    inserted,
    of,
    permuted,
    renewed,
    repeated,
    size_of,
    values_of,
)
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.nn.activations import LogSoftmax, Softmax
from chainrule.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from chainrule.nn.dense import Dense
from chainrule.nn.dropout import Dropout
from chainrule.nn.equations import Equations
from chainrule.nn.layer import Layer, instantiate
from chainrule.nn.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from chainrule.nn.pooling import (
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    GlobalMaxPool,
    GlobalMeanPool,
    MaxPool1d,
    MaxPool2d,
    MeanPool1d,
    MeanPool2d,
)
from chainrule.nn.sequences import Attention, Embedding
from chainrule.nn.window import Window, padding_of, windows


def pointwise(g: Graph, layer: Any, x: View) -> View:
    """A layer that is a function of each component: moves and it change places."""
    if SAMPLE not in x.digits:
        return applied(g, layer.formula("{0}"), x)
    if not (x.source.node and x.whole and x.source.shape[:1] == (SAMPLES,)):
        x = g.spread(x)
    assert x.source.node
    return replace(x, source=Source(x.source.shape, g.layer(layer, [x.source.node])))


def dropout(g: Graph, x: View, rate: float) -> View:
    if rate == 0:
        return x
    if rate == 1:
        return applied(g, "0*{0}", x)
    return pointwise(g, Dropout(rate), x)


def own(**weights: Operand | None) -> dict[str, str] | None:
    """The names of parameters that are given whole; None where one is computed, or nothing trains it."""
    names: dict[str, str] = {}
    for name, value in weights.items():
        if value is None:
            continue
        if not isinstance(value, View) or not value.unmoved:
            return None
        if value.source.node or value.source.constant or not value.source.name:
            return None
        names[name] = value.source.name
    return names


def linear(g: Graph, x: View, weight: View, bias: View | None) -> View:
    """x Wᵀ + b over the last axis."""
    names, sampled = own(W=weight, b=bias), SAMPLE in x.digits and SAMPLE not in x.axes[-1]
    if names is None or not sampled:
        y = contraction(g, x, len(x.axes) - 1, weight, 1)
        return y if bias is None else element(g, "add", y, bias)
    units = size_of(weight.axes[0])[0]
    if x.axes[:-1] != ((SAMPLE,),):
        return g.rowwise(Dense(units, bias=bias is not None, axes="last"), x, 1, [units], names)
    # The layer contracts over all axes: a tensor whose components are in their order needs no flattening.
    flat = x.source.node and x.whole and [i for place in x.at[1:] for i, _ in place.terms] == list(x.axes[-1])
    node = x.source.node if flat else g.written(x, x.axes)
    assert node
    made = g.layer(Dense(units, bias=bias is not None), [node], names)
    return g.result(made, (SAMPLES, units))


def softmax(g: Graph, x: View, axis: int, log: bool = False) -> View:
    order = [k for k in range(len(x.axes)) if k != axis % len(x.axes)] + [axis % len(x.axes)]
    extent = size_of(x.axes[axis])[0]
    if SAMPLE in x.axes[axis]:
        g.refuse("a softmax over the samples", "a network is a function of each sample here")
    if SAMPLE not in x.digits:
        text = "{0} - {1}" if log else "exp({0} - {1})"
        return applied(g, text, x, reduce(g, "logsumexp", x, [axis], True))
    y = g.rowwise(LogSoftmax() if log else Softmax(), permuted(x, order), 1, [extent])
    return permuted(y, [order.index(k) for k in range(len(order))])


def embedding(g: Graph, table: View, ids: View) -> View:
    """Rows of a table at whole numbers, of an input or fixed."""
    names = own(E=table)
    if ids.source.constant and ids.pad is None:
        found = arranged.chosen(g, table, 0, values_of(ids, g.weights[ids.source.name]).astype(int))
        for axis, (_, samples) in enumerate(ids.sizes):
            found = repeated(found, axis, (1, True)) if samples else found
        return found
    entries, units = (size_of(axis)[0] for axis in table.axes)
    if names and ids.source.node and ids.whole and ids.source.integer and ids.source.shape[:1] == (SAMPLES,):
        node = g.layer(Embedding(entries, units), [ids.source.node], names)
        new = g.result(node, (*ids.source.shape, units))
        return View(new.source, (*ids.axes, new.axes[-1]), (*ids.at, new.at[-1]))
    if len(table.axes[0]) != 1 or not ids.source.integer:
        g.refuse(
            "these ids are computed, and an embedding takes those of an input",
            "compute them before, and give the network the result",
        )
    ids = renewed(ids)
    (row,) = table.axes[0]
    text = f"sum[{{r}}]([{{letters[{row.name}]}} == {{1}}]*{{0}})"
    return g.equation(text, [table, ids], [*ids.axes, table.axes[1]], [row])


def convolution(
    g: Graph, x: View, weight: View, bias: View | None, *, stride: Sequence[int], padding: Any,
    dilation: Sequence[int], groups: int, transposed: bool = False, added: Sequence[int] = (0, 0),
) -> View:
    """A convolution, or its transpose, as a layer over one or two axes; over more the sum of what windows hold. The
    `padding` is as the layers take it."""
    rank = len(x.axes) - 2
    sizes = [size for size, _ in weight.sizes]
    kernel = sizes[2:]
    if rank > 2 and not transposed:
        held, _ = _held(g, x, kernel, stride, padding, dilation)
        n, (channels, _), *rest = held.sizes
        held = g.reshaped(held, [n, (groups, False), (channels // groups, False), *rest])
        weight = g.reshaped(weight, [(groups, False), (sizes[0] // groups, False), *((e, False) for e in sizes[1:])])
        where, within = "abdefh"[:rank], "pqrstu"[:rank]
        y = einsum(g, f"ngc{where}{within},goc{within}->ngo{where}", [held, weight])
        y = g.reshaped(y, [n, (sizes[0], False), *rest[:rank]])
        if bias is None:
            return y
        for axis in range(1, rank + 1):
            bias = inserted(bias, axis)
        return element(g, "add", y, bias)
    if rank not in (1, 2):
        g.refuse(f"a transposed convolution over {rank} axes", "one or two axes are convolved here")
    shared: dict[str, Any] = {"stride": list(stride), "dilation": list(dilation), "groups": groups}
    shared["bias"] = bias is not None
    if transposed:
        kind = ConvTranspose1d if rank == 1 else ConvTranspose2d
        layer: Layer = kind(
            sizes[1] * groups, kernel, padding=padding, output_padding=list(added)[:rank], **shared
        )
    else:
        layer = (Conv1d if rank == 1 else Conv2d)(sizes[0], kernel, padding=padding, **shared)
    return given(g, layer, x, {"W": weight, "b": bias})


def given(g: Graph, layer: Layer, x: View, weights: Mapping[str, View | None] | None = None) -> View:
    """What a layer gives for one value of samples, each by itself. Where its weights are no parameters of its own, but
    computed or another layer's too, and where samples are merged with other axes, its equations are read so."""
    held = {name: view for name, view in (weights or {}).items() if view is not None}
    shape, names = (SAMPLES, *(size for size, _ in x.sizes[1:])), own(**held)
    out = instantiate(layer, "layer", [Tensor("input", shape)]).output.shape
    more = [group for group in runs(x.axes[:1]) if group and group != (SAMPLE,)]
    if names is not None and (not more or layer.states(shape) or x.axes[0][:1] != (SAMPLE,)):
        return g.result(g.layer(layer, [g.plain(x)], names), out)
    nodes = [g.written(x, [(SAMPLE,), *more, *x.axes[1:]])]
    read = {"x": "x1"} if names is None and held else {}
    if names is None:
        nodes += [g.written(view, view.axes) for view in held.values()]
        read |= {name: f"x{place}" for place, name in enumerate(held, 2)}
    text = re.sub(r"[A-Za-z_]\w*", lambda word: read.get(word[0], word[0]), layer.equations(shape))
    extents, at = [size_of(group)[0] for group in more], [f"m{place}" for place in range(1, len(more) + 1)]
    lines = [line.replace("[n", f"[{', '.join(['n', *at])}") for line in text.strip().splitlines()]
    first = ", ".join(["n", *(f"{index}<{extent}" for index, extent in zip(at, extents, strict=True))])
    lines = [line.replace(f"[{', '.join(['n', *at])}", f"[{first}", 1) for line in lines]
    shapes = {name: [size for size, _ in view.sizes] for name, view in held.items()} if names else None
    made = g.layer(Equations("\n".join(line.strip() for line in lines), shapes), nodes, names)
    return laid(Source((SAMPLES, *extents, *out[1:]), made), [x.axes[0], *of(Source(out, made)).axes[1:]])


def pool(
    g: Graph, kind: str, x: View, size: Sequence[int], stride: Sequence[int], padding: Any, ceil: bool,
    include: bool = True, dilation: Sequence[int] | None = None,
) -> View:
    """A layer over one or two axes; over more what windows hold, reduced."""
    rank = len(size)
    kinds = {("max", 1): MaxPool1d, ("max", 2): MaxPool2d, ("mean", 1): MeanPool1d, ("mean", 2): MeanPool2d}
    if len(x.axes) != rank + 2:
        g.refuse(f"pooling over {rank} axes of {len(x.axes)}", "give it (N, channels, …)")
    for window in zip(size, dilation or [1] * rank, strict=True):
        g.small(window)
    if (kind, rank) in kinds:
        more: dict[str, Any] = {"count_include_pad": include} if kind == "mean" else {}
        more |= {"dilation": list(dilation)} if dilation else {}
        return given(g, kinds[kind, rank](list(size), list(stride), padding, ceil=ceil, **more), x)
    border = -np.inf if kind == "max" else 0.0
    held, found = _held(g, x, size, stride, padding, dilation or [1] * rank, border, ceil)
    if any(window.hollow for window in found):
        g.refuse("a window holds padding alone", "pad less")
    over = range(2 + rank, 2 + 2 * rank)
    if kind == "max":
        return reduce(g, kind, held, over, False)
    # A mean counts the cells of the input, or those of the padding too, but not what rounding up adds.
    y, counts = reduce(g, "sum", held, over, False), np.ones(())
    g.small([window.outputs * window.size for window in found])
    for window, plain in zip(found, _windows(x, size, stride, padding, dilation or [1] * rank), strict=True):
        places, offsets = np.arange(window.outputs)[:, None], np.arange(window.size)
        cells = window.stride * places + window.dilation * offsets - window.before
        low, high = (-plain.before, plain.extent + plain.after) if include else (0, plain.extent)
        counts = counts[..., None] * ((low <= cells) & (cells < high)).sum(1)
    return element(g, "mul", y, g.fixed(f"shares_{len(g.weights)}", 1 / counts))


def _windows(
    x: View, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Sequence[int], ceil: bool = False
) -> list[Window]:
    """The windows along all axes of a value but two."""
    rank = len(size)
    shape = (SAMPLES, *(extent for extent, _ in x.sizes[1:]))
    return windows(shape, "the window", size, stride, padding_of(padding, rank, "the window"), dilation, ceil)


def _held(
    g: Graph, x: View, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Sequence[int],
    border: float = 0.0, ceil: bool = False,
) -> tuple[View, list[Window]]:
    """What windows hold, as last axes, and the windows."""
    found = _windows(x, size, stride, padding, dilation, ceil)
    pads = [(window.before, window.after) for window in found]
    return arranged.windows(g, x, size, stride, pads, dilation, border), found


def adaptive(g: Graph, kind: str, x: View, size: Sequence[int]) -> View:
    rank = len(size)
    if all(extent == 1 for extent in size):
        pooled = g.layer(GlobalMeanPool() if kind == "mean" else GlobalMaxPool(), [g.plain(x)])
        made = g.result(pooled, (SAMPLES, size_of(x.axes[1])[0]))
        return replace(made, axes=(*made.axes, *((),) * rank))
    return given(g, (AdaptiveMeanPool if kind == "mean" else AdaptiveMaxPool)(list(size)), x)


def _affine(g: Graph, y: View, scale: View | None, shift: View | None, after: int = 0) -> View:
    """y times a scale, plus a shift, each of the axes of y before the last `after`."""
    for name, value in (("mul", scale), ("add", shift)):
        if value is not None:
            for _ in range(after):
                value = inserted(value, len(value.axes))
            y = element(g, name, y, value)
    return y


def batch_norm(
    g: Graph, x: View, scale: View | None, shift: View | None, mean: Any, variance: Any, momentum: float, epsilon: float
) -> View:
    """Batch normalisation of axis 1; `mean` and `variance` are the running ones, arrays."""
    affine = scale is not None and shift is not None
    names = own(g=scale, b=shift)
    if names is None or (scale is None) != (shift is None):
        y = batch_norm(g, x, None, None, mean, variance, momentum, epsilon)
        return _affine(g, y, scale, shift, len(x.axes) - 2)
    rest = [axis for k, axis in enumerate(x.axes) if k != 1]
    groups = runs(rest)
    if groups[:1] != [(SAMPLE,)]:
        g.refuse("a batch normalisation of values that are the same for all samples", "")
    node = g.written(x, [(SAMPLE,), x.axes[1], *groups[1:]])
    label = {"running_mean": np.asarray(mean), "running_variance": np.asarray(variance)}
    made = g.layer(BatchNorm(momentum, epsilon, affine), [node], names, constants=label)
    shape = (SAMPLES, *(size_of(group)[0] for group in (x.axes[1], *groups[1:])))
    out = laid(Source((SAMPLES, *shape[2:], shape[1]), made), [*rest, x.axes[1]])
    at = (out.at[0], out.at[-1], *out.at[1:-1])
    axes = (*out.axes[:1], out.axes[-1], *out.axes[1:-1])
    return View(Source(shape, made), axes, at)


def layer_norm(g: Graph, x: View, axes: int, scale: View | None, shift: View | None, epsilon: float) -> View:
    names = own(g=scale, b=shift)
    if names is None:
        return _affine(g, layer_norm(g, x, axes, None, None, epsilon), scale, shift)
    extents = [size for size, _ in x.sizes[-axes:]]
    return g.rowwise(LayerNorm(axes, epsilon, scale is not None, shift is not None), x, axes, extents, names)


def rms_norm(g: Graph, x: View, axes: int, scale: View | None, epsilon: float) -> View:
    names = own(g=scale)
    if names is None:
        return _affine(g, rms_norm(g, x, axes, None, epsilon), scale, None)
    return g.rowwise(RMSNorm(axes, epsilon, scale is not None), x, axes, [size for size, _ in x.sizes[-axes:]], names)


def group_norm(
    g: Graph, x: View, groups: int | None, scale: View | None, shift: View | None, epsilon: float
) -> View:
    """With no number of groups each channel is one."""
    if (scale is None) != (shift is None):
        return _affine(g, group_norm(g, x, groups, None, None, epsilon), scale, shift, len(x.axes) - 2)
    affine = scale is not None
    layer = InstanceNorm(epsilon, affine) if groups is None else GroupNorm(groups, epsilon, affine)
    return given(g, layer, x, {"gain": scale, "b": shift})


def attention(
    g: Graph, q: View, k: View, v: View, mask: View | None, causal: bool, scale: float | None, rate: float
) -> View:
    if not len(q.axes) == len(k.axes) == len(v.axes):
        g.refuse("attention whose queries, keys and values have different numbers of axes", "give all the same axes")
    if len(q.axes) > 2 and (times := size_of(q.axes[-3])[0] // size_of(k.axes[-3])[0]) > 1:
        # A head of keys and values is that of several of queries.
        k, v = (repeated(view, len(view.axes) - 3, (times, False), inner=True) for view in (k, v))
    joint, views = g.aligned([q, k, v], lambda view: view.axes[:-2])
    q, k, v = views
    groups = [group for group in runs(joint) if group]
    nodes = [g.written(view, [*groups, *view.axes[-2:]]) for view in views]
    scores = [*joint, q.axes[-2], k.axes[-2]]
    if mask is not None:
        mask = renewed(mask)
        full, mappings = aligned([scores, [()] * (len(scores) - len(mask.axes)) + list(mask.axes)])
        if full != scores:
            g.refuse("a mask that runs along merged axes", "give the mask the axes of the scores")
        nodes.append(g.written(mask.substituted(mappings[1]), [*groups, q.axes[-2], k.axes[-2]]))
    node = g.layer(Attention(causal, scale, rate), nodes)
    lead = (SAMPLES if group == (SAMPLE,) else size_of(group)[0] for group in groups)
    made = Source((*lead, size_of(q.axes[-2])[0], size_of(v.axes[-1])[0]), node)
    return laid(made, [*joint, q.axes[-2], v.axes[-1]])
