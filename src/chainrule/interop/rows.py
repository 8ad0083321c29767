"""What the calls of any framework become: layers of ours with their options, element-wise texts, and moves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.interop.graph import Array, Graph, Operand, laid, runs
from chainrule.interop.views import (
    SAMPLE,
    Digits,
    Size,
    Source,
    View,
    aligned,
    flipped,
    inserted,
    of,
    permuted,
    removed,
    renewed,
    repeated,
    selected,
    size_of,
    sliced,
)
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES, Index
from chainrule.nn.activations import LogSoftmax, Softmax
from chainrule.nn.arrangement import Add, Concat
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

# Element-wise functions that are no layers: {0}, {1}, … are the operands.
ELEMENT = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0}*{1}", "div": "{0}/{1}", "neg": "-({0})", "abs": "abs({0})",
    "exp": "exp({0})", "expm1": "expm1({0})", "log": "log({0})", "log1p": "log1p({0})", "sin": "sin({0})",
    "cos": "cos({0})", "erf": "erf({0})", "erfc": "erfc({0})", "sqrt": "({0})**(1/2)", "rsqrt": "({0})**(-1/2)",
    "square": "({0})**2", "reciprocal": "({0})**(-1)", "maximum": "max({0}, {1})", "minimum": "min({0}, {1})",
    "sign": "sign({0})", "gt": "[{0} > {1}]", "lt": "[{1} > {0}]", "ge": "(1 - [{1} > {0}])",
    "le": "(1 - [{0} > {1}])", "not": "(1 - {0})", "and": "{0}*{1}", "where": "{0}*{1} + (1 - {0})*{2}",
    "log_sigmoid": "-softplus(-({0}))",
    "celu": "max({0}, 0) + {1}*expm1(min({0}, 0)/{1})",
    "softplus": "softplus({1}*({0}))/{1}", "threshold": "[{0} > {1}]*{0} + (1 - [{0} > {1}])*{2}",
    "softshrink": "relu({0} - {1}) - relu(-({0}) - {1})", "tanhshrink": "{0} - tanh({0})", "sum": "{0} + {1}",
    "hardshrink": "[abs({0}) > {1}]*{0}", "glu": "{0}*sigmoid({1})",
}  # fmt: skip


def element(g: Graph, name: str, *operands: Operand) -> Operand:
    """A function of each component, operands aligned at their last axes."""
    return applied(g, ELEMENT[name], *operands)


def applied(g: Graph, text: str, *operands: Operand) -> Operand:
    """A text of each component."""
    views = [operand for operand in operands if isinstance(operand, View)]
    if not views:
        g.refuse("this computes with numbers alone", "compute it before, and give the network the result")
    axes, found = g.together(views)
    moved = iter(found)
    return g.equation(text, [next(moved) if isinstance(o, View) else o for o in operands], axes)


def power(g: Graph, x: View, exponent: float) -> Operand:
    if float(exponent).is_integer():
        return applied(g, f"({{0}})**({int(exponent)})", x)
    numerator, denominator = float(exponent).as_integer_ratio()
    written = f"{numerator}/{denominator}" if denominator <= 64 else repr(float(exponent))
    return applied(g, f"({{0}})**({written})", x)


def total(g: Graph, one: Operand, other: Operand) -> Operand:
    """one + other, by the layer Add where both are whole tensors of samples of one shape."""
    if isinstance(one, View) and isinstance(other, View):
        nodes = one.source.node, other.source.node
        alike = one.whole and other.whole and one.source.shape == other.source.shape and nodes[0] is not nodes[1]
        if nodes[0] and nodes[1] and alike and _same_layout(one, other) and SAMPLE in one.digits:
            return replace(one, source=Source(one.source.shape, g.layer(Add(), [nodes[0], nodes[1]])))
    return element(g, "add", one, other)


def _same_layout(one: View, other: View) -> bool:
    """Whether both have the same digits at the same places, up to their names."""
    sizes = [[d.extent for d in axis] for axis in one.axes], [[d.extent for d in axis] for axis in other.axes]
    if sizes[0] != sizes[1]:
        return False
    names = dict(zip(other.digits, one.digits, strict=True))
    return [tuple((names[i], c) for i, c in place.terms) for place in other.at] == [place.terms for place in one.at]


def pointwise(g: Graph, layer: Any, x: View) -> Operand:
    """A layer that is a function of each component: moves and it change places."""
    if SAMPLE not in x.digits:
        return applied(g, layer.formula("{0}"), x)
    if not (x.source.node and x.whole and x.source.shape[:1] == (SAMPLES,)):
        x = g.spread(x)
    assert x.source.node
    return replace(x, source=Source(x.source.shape, g.layer(layer, [x.source.node])))


def dropout(g: Graph, x: View, rate: float) -> Operand:
    if rate == 0:
        return x
    if rate == 1:
        return applied(g, "0*{0}", x)
    return pointwise(g, Dropout(rate), x)


def own(**weights: Operand | None) -> dict[str, str] | None:
    """The names of weights that are given whole; None where one is no parameter of its own."""
    names: dict[str, str] = {}
    for name, value in weights.items():
        if value is None:
            continue
        if not isinstance(value, View) or value.source.node or not value.source.name or not value.unmoved:
            return None
        names[name] = value.source.name
    return names


def linear(g: Graph, x: View, weight: View, bias: View | None) -> Operand:
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


def contraction(g: Graph, a: View, axis: int, b: View, other: int) -> View:
    """Σ a·b over one axis of each; the axes that are left stand one after another."""
    places = iter((axis, other) * 3)
    joint, (a, b) = g.aligned([a, b], lambda view: [view.axes[next(places)]])
    axes = [*(d for k, d in enumerate(a.axes) if k != axis), *(d for k, d in enumerate(b.axes) if k != other)]
    return _product(g, a, b, axes, joint[0])


def einsum(g: Graph, text: str, views: Sequence[View]) -> Operand:
    """Einstein's sum: "bij,bjk->bik"."""
    given, _, wanted = text.replace(" ", "").partition("->")
    parts = given.split(",")
    letters = list(dict.fromkeys(given.replace(",", "")))
    if "." in given or "->" not in text or any(len(set(part)) < len(part) for part in parts):
        g.refuse(f"the sum {text!r}", "write each index out, once for each operand, as in bij,bjk->bik")
    which = iter(parts * (len(views) + 1))

    def own(view: View) -> list[Digits]:
        part = next(which)
        return [view.axes[part.index(letter)] if letter in part else () for letter in letters]

    joint, found = g.aligned(views, own)
    digits = dict(zip(letters, joint, strict=True))
    over = tuple(digit for letter in letters if letter not in wanted for digit in digits[letter])
    axes = [digits[letter] for letter in wanted]
    if SAMPLE in over:
        g.refuse("a sum over the samples", "a network is a function of each sample here")
    product = "*".join(f"{{{k}}}" for k in range(len(found)))
    return g.equation(f"sum[{{r}}]({product})" if over else product, found, axes, over)


def _product(g: Graph, a: View, b: View, axes: Sequence[Digits], over: Digits) -> View:
    if sum(SAMPLE in digits for digits in (*axes, over)) > 1:
        g.refuse("a product of samples with samples", "a network is a function of each sample here")
    return g.equation("sum[{r}]({0}*{1})" if over else "{0}*{1}", [a, b], axes, over)


def matmul(g: Graph, a: View, b: View) -> Operand:
    """NumPy's matmul: products of the matrices in the last two axes, for vectors as well."""
    vectors = len(a.axes) == 1, len(b.axes) == 1
    a, b = inserted(a, 0) if vectors[0] else a, inserted(b, 1) if vectors[1] else b
    rank = max(len(a.axes), len(b.axes))
    # The second is laid so that what is summed over is the last axis of both.
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    views = [_leading(a, rank), permuted(_leading(b, rank), swapped)]
    joint, (a, b) = g.aligned(views, lambda view: [*view.axes[: rank - 2], view.axes[-1]])
    rows, columns = a.axes[-2], b.axes[-2]
    y = _product(g, a, b, [*joint[:-1], rows, columns], joint[-1])
    gone = [rank - 2] * vectors[0] + [rank - 1] * vectors[1]
    return removed(y, gone) if gone else y


def _leading(view: View, rank: int) -> View:
    return replace(view, axes=((),) * (rank - len(view.axes)) + view.axes)


def reduce(g: Graph, kind: str, x: View, over: Sequence[int], keep: bool) -> Operand:
    """sum, mean, max, min or logsumexp over some axes."""
    axes = sorted(axis % len(x.axes) for axis in over)
    bound = [digit for axis in axes for digit in x.axes[axis]]
    kept = [() if k in axes else digits for k, digits in enumerate(x.axes)]
    node = x.source.node
    # A channel's mean is a layer, where the rest of the value is untouched.
    pools = {"mean": GlobalMeanPool, "max": GlobalMaxPool}
    if node and axes and axes == list(range(2, len(x.axes))) and kind in pools and x.unmoved and SAMPLE in x.axes[0]:
        made = g.result(g.layer(pools[kind](), [node]), x.source.shape[:2])
        return replace(made, axes=(*made.axes, *((),) * len(axes))) if keep else made
    y = x if not bound else g.equation(f"{kind}[{{r}}]({{0}})", [x], kept, bound)
    return y if keep else removed(y, axes)


def variance(g: Graph, x: View, over: Sequence[int], keep: bool, correction: float) -> Operand:
    """The mean of (x − mean)² over some axes, times count/(count − correction)."""
    count = math.prod(size_of(x.axes[axis])[0] for axis in over)
    mean = reduce(g, "mean", x, over, True)
    away = element(g, "square", element(g, "sub", x, mean))
    assert isinstance(away, View)
    y = reduce(g, "mean", away, over, keep)
    return element(g, "mul", y, count / (count - correction)) if correction else y


def norm(g: Graph, x: View, order: float, over: Sequence[int], keep: bool) -> Operand:
    """Σ |x|, or the root of Σ x², over some axes."""
    if order not in (1, 2):
        g.refuse(f"a norm of order {order}", "norms of order 1 and 2 are known")
    inner = element(g, "square" if order == 2 else "abs", x)
    assert isinstance(inner, View)
    found = reduce(g, "sum", inner, over, keep)
    return element(g, "sqrt", found) if order == 2 else found


def cosine(g: Graph, x: View, y: View, axis: int = 1, epsilon: float = 1e-8) -> Operand:
    """The cosine of the angle between the vectors along an axis, their lengths at least epsilon."""
    lengths = [element(g, "maximum", norm(g, value, 2, [axis], False), epsilon) for value in (x, y)]
    product = element(g, "mul", x, y)
    assert isinstance(product, View)
    return applied(g, "{0}/({1}*{2})", reduce(g, "sum", product, [axis], False), *lengths)


def weight_norm(g: Graph, v: View, length: View, axis: int = 0) -> Operand:
    """v times length/|v|, a length for each entry of an axis. Salimans & Kingma, NeurIPS 2016."""
    others = [k for k in range(len(v.axes)) if k != axis]
    return applied(g, "{0}*{1}/{2}", v, length, norm(g, v, 2, others, True))


def softmax(g: Graph, x: View, axis: int, log: bool = False) -> Operand:
    order = [k for k in range(len(x.axes)) if k != axis % len(x.axes)] + [axis % len(x.axes)]
    extent = size_of(x.axes[axis])[0]
    if SAMPLE in x.axes[axis]:
        g.refuse("a softmax over the samples", "a network is a function of each sample here")
    y = g.rowwise(LogSoftmax() if log else Softmax(), permuted(x, order), 1, [extent])
    return permuted(y, [order.index(k) for k in range(len(order))])


def embedding(g: Graph, table: View, ids: View) -> Operand:
    """Rows of a table at whole numbers of an input."""
    names = own(E=table)
    entries, units = (size_of(axis)[0] for axis in table.axes)
    if names and ids.source.node and ids.whole and ids.source.integer and ids.source.shape[:1] == (SAMPLES,):
        node = g.layer(Embedding(entries, units), [ids.source.node], names)
        new = g.result(node, (*ids.source.shape, units))
        return View(new.source, (*ids.axes, new.axes[-1]), (*ids.at, new.at[-1]))
    if len(table.axes[0]) != 1 or not ids.source.integer:
        g.refuse("these ids are no input of whole numbers", "give the ids as an input of the network")
    ids = renewed(ids)
    (row,) = table.axes[0]
    text = f"sum[{{r}}]([{{letters[{row.name}]}} == {{1}}]*{{0}})"
    return g.equation(text, [table, ids], [*ids.axes, table.axes[1]], [row])


def convolution(
    g: Graph, x: View, weight: View, bias: View | None, *, stride: Sequence[int], padding: Any,
    dilation: Sequence[int], groups: int, transposed: bool = False, added: Sequence[int] = (0, 0),
) -> Operand:
    """A convolution over one or two axes, or its transpose; `padding` as the layers take it."""
    rank = len(x.axes) - 2
    if rank not in (1, 2):
        g.refuse(f"a convolution over {rank} axes", "one or two axes are convolved here")
    sizes = [size for size, _ in weight.sizes]
    kernel = sizes[2:]
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
    include: bool = True,
) -> Operand:
    rank = len(size)
    kinds = {("max", 1): MaxPool1d, ("max", 2): MaxPool2d, ("mean", 1): MeanPool1d, ("mean", 2): MeanPool2d}
    if (kind, rank) not in kinds or len(x.axes) != rank + 2:
        g.refuse(f"pooling over {rank} axes of {len(x.axes)}", "one or two axes of (N, channels, …) are pooled here")
    more = {"count_include_pad": include} if kind == "mean" else {}
    layer = kinds[kind, rank](list(size), list(stride), padding, ceil=ceil, **more)
    return given(g, layer, x)


def adaptive(g: Graph, kind: str, x: View, size: Sequence[int]) -> Operand:
    rank = len(size)
    if all(extent == 1 for extent in size):
        pooled = g.layer(GlobalMeanPool() if kind == "mean" else GlobalMaxPool(), [g.plain(x)])
        made = g.result(pooled, (SAMPLES, size_of(x.axes[1])[0]))
        return replace(made, axes=(*made.axes, *((),) * rank))
    return given(g, (AdaptiveMeanPool if kind == "mean" else AdaptiveMaxPool)(list(size)), x)


def batch_norm(
    g: Graph, x: View, scale: View | None, shift: View | None, mean: Any, variance: Any, momentum: float, epsilon: float
) -> Operand:
    """Batch normalisation of axis 1; `mean` and `variance` are the running ones, arrays."""
    affine = scale is not None and shift is not None
    names = own(g=scale, b=shift)
    if names is None or (scale is None) != (shift is None):
        g.refuse("a batch normalisation whose scale and shift are no parameters", "give it both, or none")
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


def layer_norm(g: Graph, x: View, axes: int, scale: View | None, shift: View | None, epsilon: float) -> Operand:
    names = own(g=scale, b=shift)
    if names is None:
        g.refuse("a layer normalisation whose scale is no parameter of its own", "")
    extents = [size for size, _ in x.sizes[-axes:]]
    return g.rowwise(LayerNorm(axes, epsilon, scale is not None, shift is not None), x, axes, extents, names)


def rms_norm(g: Graph, x: View, axes: int, scale: View | None, epsilon: float) -> Operand:
    names = own(g=scale)
    if names is None:
        g.refuse("an RMS normalisation whose scale is no parameter of its own", "")
    return g.rowwise(RMSNorm(axes, epsilon, scale is not None), x, axes, [size for size, _ in x.sizes[-axes:]], names)


def group_norm(
    g: Graph, x: View, groups: int | None, scale: View | None, shift: View | None, epsilon: float
) -> Operand:
    """With no number of groups each channel is one."""
    if (scale is None) != (shift is None):
        g.refuse("a group normalisation with a scale or a shift alone", "give it both, or none")
    affine = scale is not None
    layer = InstanceNorm(epsilon, affine) if groups is None else GroupNorm(groups, epsilon, affine)
    return given(g, layer, x, {"gain": scale, "b": shift})


def attention(
    g: Graph, q: View, k: View, v: View, mask: View | None, causal: bool, scale: float | None, rate: float
) -> Operand:
    if not len(q.axes) == len(k.axes) == len(v.axes):
        g.refuse("attention whose queries, keys and values have different numbers of axes", "give all the same axes")
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


def concat(g: Graph, values: Sequence[View], axis: int) -> Operand:
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


def flip(g: Graph, x: View, axes: Sequence[int]) -> View:
    for axis in axes:
        x = flipped(g.single(x, axis % len(x.axes)), axis % len(x.axes))
    return x


def cumulated(g: Graph, x: View, axis: int) -> Operand:
    """Sums of the entries up to each place of an axis."""
    axis %= len(x.axes)
    x = renewed(g.single(x, axis))
    (inner,) = x.axes[axis]
    outer: Index = renewed(replace(x, axes=(x.axes[axis],), at=x.at)).axes[0][0]
    axes = [*x.axes[:axis], (outer,), *x.axes[axis + 1 :]]
    text = f"sum[{{r}}]([0 <= {{letters[{outer.name}]}} - {{letters[{inner.name}]}} < {inner.extent}]*{{0}})"
    return g.equation(text, [x], axes, [inner])


def chosen(g: Graph, x: View, axis: int, places: Array) -> Operand:
    """The entries of an axis at fixed places, whose axes stand in its place: a slice, where they are at equal steps."""
    flat = places.reshape(-1)
    steps = set(np.diff(flat).tolist()) or {1}
    x = g.single(x, axis)
    if len(steps) == 1 and (step := int(steps.pop())):
        found = sliced(x, axis, int(flat[0]), len(flat), step)
    else:
        hot = np.zeros((len(flat), size_of(x.axes[axis])[0]))
        hot[np.arange(len(flat)), flat] = 1
        order = [k for k in range(len(x.axes)) if k != axis]
        product = contraction(g, g.fixed(f"places_{len(g.weights)}", hot), 1, x, axis)
        found = permuted(product, [*(1 + order.index(k) if k != axis else 0 for k in range(len(x.axes)))])
    sizes = found.sizes
    return g.reshaped(found, [*sizes[:axis], *((int(e), False) for e in places.shape), *sizes[axis + 1 :]])


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
