"""What each operator of ONNX is here: the table, by name."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.interop import arithmetic, arranged, layered
from chainrule.interop.graph import Operand
from chainrule.interop.nodes import Extents, Node, shape_of
from chainrule.interop.resize import PLACED
from chainrule.interop.views import Size, View, inserted, permuted, removed, repeated, selected, size_of, sliced
from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from chainrule.nn.upsampling import Upsample


def _sizes(node: Node, value: Any) -> list[Size]:
    """A shape, as a constant or computed."""
    if isinstance(value, Extents):
        return [*value.values]
    if value is None or isinstance(value, View):
        node.graph.refuse("a shape is computed from values", "give it as a constant")
    return [(int(extent), False) for extent in np.asarray(value).reshape(-1)]


# Rows


def _element(name: str) -> Callable[[Node], Any]:
    return lambda node: arithmetic.element(node.graph, name, *(node.value(k) for k in range(len(node.inputs))))


def _layer(make: Callable[[Node], Any]) -> Callable[[Node], Any]:
    return lambda node: layered.pointwise(node.graph, make(node), node.x)


def _paired(node: Node, places: Sequence[int]) -> list[tuple[Size, Size]]:
    """Two lists of extents, of which one may have a single entry."""
    one, other = (_sizes(node, node[place]) for place in places)
    count = max(len(one), len(other))
    return list(zip(one * (count if len(one) == 1 else 1), other * (count if len(other) == 1 else 1), strict=True))


def _arithmetic(name: str, over: Callable[[int, int], int]) -> Callable[[Node], Any]:
    """A function of components, or of extents."""

    def row(node: Node) -> Any:
        if any(isinstance(value, Extents) for value in node.inputs):
            pairs = _paired(node, (0, 1))
            counted = [(a[1], b[1]) for a, b in pairs]
            if any((a and b) or (b and name == "div") or ((a or b) and name in ("add", "sub")) for a, b in counted):
                node.graph.refuse("the number of samples is computed with", "keep samples independent of each other")
            scalar = all(not isinstance(v, Extents) or v.scalar for v in node.inputs)
            return Extents(tuple((over(a[0], b[0]), a[1] or b[1]) for a, b in pairs), scalar)
        if name == "add":
            return arithmetic.total(node.graph, node.value(0), node.value(1))
        return arithmetic.element(node.graph, name, node.value(0), node.value(1))

    return row


def _most(name: str) -> Callable[[Node], Any]:
    def row(node: Node) -> Operand:
        found = node.value(0)
        for place in range(1, len(node.inputs)):
            found = arithmetic.element(node.graph, name, found, node.value(place))
        return found

    return row


def _equal(node: Node) -> Any:
    if any(isinstance(value, Extents) for value in node.inputs):
        return np.array([a == b for a, b in _paired(node, (0, 1))])
    differ = "[{0} > {1}] + [{1} > {0}]"
    return arithmetic.applied(node.graph, f"1 - ({differ})", node.value(0), node.value(1))


def _where(node: Node) -> Any:
    if isinstance(node[0], np.ndarray) and any(isinstance(value, Extents) for value in node.inputs[1:]):
        pairs = _paired(node, (1, 2))
        return Extents(tuple(a if c else b for c, (a, b) in zip(node[0].reshape(-1), pairs, strict=True)))
    chosen = [_finite(node, place) for place in (1, 2)]
    return arithmetic.element(node.graph, "where", node.value(0), *chosen)


def _finite(node: Node, place: int) -> Operand:
    value = node[place]
    if isinstance(value, np.ndarray) and value.size == 1:
        return node.graph.finite(float(value.reshape(-1)[0]))
    return node.value(place)


def _clip(node: Node) -> Operand:
    low, high = node.option("min", 1), node.option("max", 2)
    if low is not None and high is not None and low < high:
        return layered.pointwise(node.graph, Hardtanh(float(low), float(high)), node.x)
    found: Operand = node.x
    if low is not None:
        found = arithmetic.element(node.graph, "maximum", found, float(low))
    return found if high is None else arithmetic.element(node.graph, "minimum", found, float(high))


def _power(node: Node) -> Operand:
    exponent = node.value(1)
    if isinstance(exponent, View):
        return arithmetic.applied(node.graph, "exp({1}*log({0}))", node.value(0), exponent)
    return arithmetic.power(node.graph, node.x, exponent)


def _prelu(node: Node) -> Operand:
    slope = node.view(1)
    sizes = [size for size, _ in slope.sizes]
    if len(node.x.axes) == 2 and sizes == [size_of(node.x.axes[1])[0]]:
        return layered.given(node.graph, PReLU(), node.x, {"a": slope})
    return arithmetic.applied(node.graph, "relu({0}) + {1}*min({0}, 0)", node.x, slope)


def _selu(node: Node) -> Operand:
    if "alpha" not in node.attributes and "gamma" not in node.attributes:
        return layered.pointwise(node.graph, SELU(), node.x)
    alpha, gamma = (_decimal(node.said(name, given)) for name, given in (("alpha", 1.67326319), ("gamma", 1.05070102)))
    return arithmetic.applied(node.graph, f"{gamma}*(relu({{0}}) + {alpha}*expm1(min({{0}}, 0)))", node.x)


def _softmax(log: bool) -> Callable[[Node], Any]:
    def row(node: Node) -> Operand:
        axis, rank = node.said("axis", -1 if node.version >= 13 else 1), len(node.x.axes)
        if node.version < 13 and axis % rank != rank - 1:
            node.graph.refuse(f"a softmax of opset {node.version} over several axes", "convert the file to opset 13")
        return layered.softmax(node.graph, node.x, axis, log)

    return row


def _matrix(node: Node, weight: View, place: int) -> View | None:
    """A matrix of weights (inputs, outputs) as one (outputs, inputs), where nothing else reads it."""
    g, name = node.graph, weight.source.name
    if weight.source.node or name not in g.trained or not weight.unmoved or len(weight.axes) != 2:
        return None
    turned = f"{name}.T"
    if turned not in g.weights:
        g.weights[turned] = np.ascontiguousarray(g.weights[name].T)
        g.trained.add(turned)
    return g.weight(turned)


def _matmul(node: Node) -> Operand:
    weight = node[1]
    if isinstance(weight, View) and isinstance(node[0], View) and node.single_use(1):
        turned = _matrix(node, weight, 1)
        if turned is not None:
            return layered.linear(node.graph, node.x, turned, node.bias)
    found = arithmetic.matmul(node.graph, node.view(0), node.view(1))
    return found if node.bias is None else arithmetic.element(node.graph, "add", found, node.bias)


def _gemm(node: Node) -> Operand:
    g, x, weight, bias = node.graph, node.x, node.view(1), node.weight(2)
    alpha, beta = node.said("alpha", 1.0), node.said("beta", 1.0)
    x = permuted(x, [1, 0]) if node.said("transA", 0) else x
    units = weight.sizes[0 if node.said("transB", 0) else 1]
    if alpha == 1 and beta == 1 and (bias is None or bias.sizes == [units]):
        turned = weight if node.said("transB", 0) else _matrix(node, weight, 1) if node.single_use(1) else None
        if turned is not None:
            return layered.linear(g, x, turned, bias)
    y: Operand = arithmetic.matmul(g, x, permuted(weight, [1, 0]) if node.said("transB", 0) else weight)
    y = y if alpha == 1 else arithmetic.element(g, "mul", y, float(alpha))
    if bias is None:
        return y
    return arithmetic.element(g, "add", y, bias if beta == 1 else arithmetic.element(g, "mul", bias, float(beta)))


def _pads(node: Node, rank: int) -> Any:
    """The padding of a window, as layers take it."""
    auto = node.said("auto_pad", "NOTSET")
    if auto in ("VALID", "SAME_UPPER"):
        return "valid" if auto == "VALID" else "same"
    if auto == "SAME_LOWER" and node.kind != "ConvTranspose":
        kernel = node.said("kernel_shape") or [size for size, _ in node.view(1).sizes[2:]]
        ones, extents = [1] * rank, [size for size, _ in node.x.sizes[2:]]
        found: list[list[int]] = []
        for size, step, wide, extent in zip(
            kernel, node.said("strides", ones), node.said("dilations", ones), extents, strict=True
        ):
            total = max((-(-extent // step) - 1) * step + wide * (size - 1) + 1 - extent, 0)
            found.append([total - total // 2, total // 2])
        return found
    if auto != "NOTSET":
        node.graph.refuse(f"auto_pad={auto}", "export it with pads")
    pads = node.said("pads", [0] * 2 * rank)
    node.graph.small([max(pads, default=0)])
    return [[int(before), int(after)] for before, after in zip(pads[:rank], pads[rank:], strict=True)]


def _convolution(node: Node) -> Operand:
    rank = len(node.x.axes) - 2
    transposed, padding = node.kind == "ConvTranspose", _pads(node, rank)
    if transposed:
        if node.said("output_shape") or isinstance(padding, str) or any(a != b for a, b in padding):
            node.graph.refuse("a transposed convolution whose output is cut unevenly", "give both sides the same pads")
        padding = [before for before, _ in padding]
    ones = [1] * rank
    return layered.convolution(
        node.graph, node.x, node.view(1), node.weight(2), stride=node.said("strides", ones), padding=padding,
        dilation=node.said("dilations", ones), groups=node.said("group", 1), transposed=transposed,
        added=node.said("output_padding", [0] * rank),
    )


def _pool(node: Node) -> Any:
    size = node.said("kernel_shape", [])
    kind = "max" if node.kind == "MaxPool" else "mean"
    found = layered.pool(
        node.graph, kind, node.x, size, node.said("strides", [1] * len(size)), _pads(node, len(size)),
        bool(node.said("ceil_mode", 0)), bool(node.said("count_include_pad", 0)), node.said("dilations"),
    )
    return [found, None]  # where the greatest stand is no function of values, and may not be read


def _batch_norm(node: Node) -> Operand:
    momentum, epsilon = 1 - node.said("momentum", 0.9), node.said("epsilon", 1e-5)
    scale, shift = node.view(1), node.view(2)
    return layered.batch_norm(
        node.graph, node.x, scale, shift, node.array(3), node.array(4), _decimal(momentum), _decimal(epsilon)
    )


def _decimal(value: float) -> float:
    """The number that was meant by one of float32."""
    return float(f"{np.float32(value):.7g}")


def _instance_norm(node: Node) -> Operand:
    epsilon = _decimal(node.said("epsilon", 1e-5))
    scale, shift = node.inputs[1:3]
    if all(isinstance(value, np.ndarray) for value in (scale, shift)) and (scale == 1).all() and not shift.any():
        return layered.group_norm(node.graph, node.x, None, None, None, epsilon)
    return layered.group_norm(node.graph, node.x, None, node.view(1), node.view(2), epsilon)


def _layer_norm(node: Node) -> Operand:
    rank = len(node.x.axes)
    axes = rank - node.said("axis", -1) % rank
    return layered.layer_norm(
        node.graph, node.x, axes, node.weight(1), node.weight(2), _decimal(node.said("epsilon", 1e-5))
    )


def _dropout(node: Node) -> Any:
    rate = node.option("ratio", 1, 0.5)
    return [layered.dropout(node.graph, node.x, _decimal(float(rate))), None]


def _copy(node: Node) -> Any:
    """The same; of a parameter one more, since exporters write equal values once."""
    value = node[0]
    if not isinstance(value, View) or value.source.name not in node.graph.trained:
        return value
    g, name = node.graph, node.made
    g.weights[name] = g.weights[value.source.name]
    g.trained.add(name)
    return g.weight(name)


def _cast(node: Node) -> Any:
    value = node[0]
    if isinstance(value, View) and not value.source.integer and node.said("to") in (2, 3, 4, 5, 6, 7, 12, 13):
        node.graph.refuse("real numbers are rounded to whole ones", "networks are differentiable here")
    return value


def _reduced(kind: str) -> Callable[[Node], Any]:
    def row(node: Node) -> Operand:
        g, x, keep = node.graph, node.x, bool(node.said("keepdims", 1))
        axes = node.option("axes", 1)
        if not axes and node.said("noop_with_empty_axes", 0):
            return x
        over = [axis % len(x.axes) for axis in axes] if axes else list(range(len(x.axes)))
        return arithmetic.norm(g, x, 2, over, keep) if kind == "l2" else arithmetic.reduce(g, kind, x, over, keep)

    return row


def _reshape(node: Node) -> Any:
    value, target = node[0], _sizes(node, node[1])
    if isinstance(value, Extents):
        return Extents(value.values, not target)
    x = node.x
    own = x.sizes
    target = [own[k] if size == (0, False) and not node.said("allowzero", 0) else size for k, size in enumerate(target)]
    number, samples = math.prod(size for size, _ in own), any(has for _, has in own)
    for place, size in enumerate(target):
        if size == (-1, False):
            rest = [s for k, s in enumerate(target) if k != place]
            left = samples and not any(has for _, has in rest)
            count = math.prod(s for s, _ in rest)
            if not count or number % count:
                node.graph.refuse(f"a reshape of {own} to {target}", "export the network again")
            target[place] = (number // count, left)
    if samples and not any(has for _, has in target) and target[:1] == [(1, False)]:
        target[0] = (1, True)  # exported with a single sample
    return node.graph.reshaped(x, target)


def _flatten(node: Node) -> View:
    x = node.x
    axis = node.said("axis", 1)
    axis += len(x.axes) if axis < 0 else 0
    parts = [x.sizes[:axis], x.sizes[axis:]]
    return node.graph.reshaped(x, [(math.prod(s for s, _ in part), any(has for _, has in part)) for part in parts])


def _transpose(node: Node) -> View:
    rank = len(node.x.axes)
    return permuted(node.x, node.said("perm", list(range(rank))[::-1]))


def _squeeze(node: Node) -> Any:
    value = node[0]
    if isinstance(value, Extents):
        return Extents(value.values, True)
    x, axes = node.x, node.option("axes", 1)
    return removed(x, [axis % len(x.axes) for axis in axes] if axes is not None else range(len(x.axes)))


def _unsqueeze(node: Node) -> Any:
    value, axes = node[0], node.option("axes", 1, [])
    if isinstance(value, Extents):
        return Extents(value.values)
    x, rank = node.x, len(node.x.axes) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = inserted(x, axis)
    return x


def _concat(node: Node) -> Any:
    if any(isinstance(value, Extents) for value in node.inputs):
        return Extents(tuple(size for value in node.inputs for size in _sizes(node, value)))
    return arranged.concat(node.graph, [node.view(place) for place in range(len(node.inputs))], node.said("axis", 0))


def _split(node: Node) -> list[View]:
    x, axis, lengths = node.x, node.said("axis", 0) % len(node.x.axes), node.option("split", 1)
    extent = size_of(x.axes[axis])[0]
    if lengths is None:
        each = -(-extent // node.said("num_outputs", node.outputs))
        lengths = [min(each, extent - start) for start in range(0, extent, each)]
    return arranged.pieces(node.graph, x, axis, lengths)


def _slice(node: Node) -> Any:
    starts, ends = node.option("starts", 1), node.option("ends", 2)
    value = node[0]
    axes = node.option("axes", 3) or list(range(len(starts)))
    steps = node.option("steps", 4) or [1] * len(starts)
    if isinstance(value, Extents):
        return Extents(value.values[slice(starts[0], ends[0], steps[0])])
    x = node.x
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis %= len(x.axes)
        extent, samples = size_of(x.axes[axis])
        if samples and (start, step) == (0, 1) and end >= 2**31 - 1:
            continue
        if samples:
            node.graph.refuse("this takes a part of the samples", "networks are functions of each sample here")
        # Beyond the beginning ONNX means the beginning, where Python's None says so.
        last = None if step < 0 and end < -extent else end
        places = range(*slice(start, last, step).indices(extent))
        if not len(places):
            node.graph.refuse("a slice holds nothing", "export the network again")
        x = sliced(node.graph.single(x, axis), axis, places[0], len(places), step)
    return x


def _gather(node: Node) -> Any:
    axis, value, places = node.said("axis", 0), node[0], node[1]
    if isinstance(value, Extents):
        chosen = np.asarray(node.array(1))
        found = [value.values[int(place)] for place in chosen.reshape(-1)]
        return Extents(tuple(found), chosen.ndim == 0)
    x = node.x
    axis %= len(x.axes)
    if isinstance(places, View):
        if axis or len(x.axes) != 2:
            node.graph.refuse("places that are computed, of more than the rows of a table", "use an Embedding")
        return layered.embedding(node.graph, x, places)
    extent, at = size_of(x.axes[axis])[0], np.asarray(places)
    at = np.where(at < 0, at + extent, at)
    if ((at < 0) | (at >= extent)).any():
        node.graph.refuse(f"a place beyond the {extent} of the axis", "export the network again")
    if at.ndim == 0:
        return selected(node.graph.single(x, axis), axis, int(at))
    return arranged.chosen(node.graph, x, axis, at)


def _expand(node: Node) -> View:
    x, shape = node.x, _sizes(node, node[1])
    for _ in range(len(shape) - len(x.axes)):
        x = inserted(x, 0)
    offset = len(x.axes) - len(shape)
    for place, size in enumerate(shape):
        axis = place + offset
        if not x.axes[axis] and size != (1, False):
            x = repeated(x, axis, size)
    return x


def _pad(node: Node) -> View:
    x, widths, mode = node.x, node.option("pads", 1), node.said("mode", "constant")
    value = node.option("value", 2, 0.0)
    axes = node.option("axes", 3) or list(range(len(x.axes)))
    if mode != "constant":
        node.graph.refuse(f"padding of the mode {mode!r}", "pad with a constant")
    pairs = zip(widths[: len(axes)], widths[len(axes) :], strict=True)
    number = float(np.asarray(value).reshape(-1)[0]) if np.size(value) else 0.0
    return node.graph.padded(x, {axis % len(x.axes): pair for axis, pair in zip(axes, pairs, strict=True)}, number)


def _resize(node: Node) -> View:
    """A layer where cells are repeated, or interpolated at whole steps, over all axes but two; else a matrix for each
    axis."""
    x, mode, rank = node.x, node.said("mode", "nearest"), len(node.x.axes)
    place = node.said("coordinate_transformation_mode", "half_pixel")
    nearest = node.said("nearest_mode", "round_prefer_floor")
    if place not in PLACED or node.said("antialias", 0):
        node.graph.refuse(f"a resize by {place}, or that smooths", "resize without cropping and antialias")
    if mode not in ("nearest", "linear", "cubic"):
        node.graph.refuse(f"a resize in the mode {mode!r}", "resize by nearest, linear or cubic")
    axes = [axis % rank for axis in node.said("axes", range(rank))]
    lengths = [x.sizes[axis][0] for axis in axes]
    given, policy = node.option("scales", 2), node.said("keep_aspect_ratio_policy", "stretch")
    if node[3] is None:
        scales = [float(scale) for scale in given]
        made = [math.floor(length * scale) for length, scale in zip(lengths, scales, strict=True)]
    else:
        made = [size for size, _ in _sizes(node, node[3])]
        scales = [new / length for new, length in zip(made, lengths, strict=True)]
        if policy != "stretch":
            scales = [(min if policy == "not_larger" else max)(scales)] * len(axes)
            made = [math.floor(length * scales[0] + 0.5) for length in lengths]
    whole = {axis: round(scale) for axis, scale in zip(axes, scales, strict=True)}
    half = place in ("half_pixel", "pytorch_half_pixel")
    repeats = mode == "nearest" and ((place == "asymmetric" and nearest == "floor") or (half and "prefer" in nearest))
    plain = [*whole.values()] == scales and min(scales) >= 1 and whole.get(0, 1) == whole.get(1, 1) == 1
    if plain and rank in (3, 4) and (repeats or (mode == "linear" and (half or place == "align_corners"))):
        factors = [whole.get(axis, 1) for axis in range(2, rank)]
        kind = "linear" if mode == "linear" else "nearest"
        return layered.given(node.graph, Upsample(factors, kind, place == "align_corners"), x)
    for axis, new, scale in zip(axes, made, scales, strict=True):
        if scale != 1:
            x = arranged.resized(
                node.graph, x, axis, new, scale, place, mode, nearest=nearest, a=node.said("cubic_coeff_a", -0.75),
                inside=bool(node.said("exclude_outside", 0)),
            )
    return x


def _depth(node: Node) -> View:
    """Channels as cells of blocks."""
    return arranged.cells_of_channels(node.graph, node.x, node.said("blocksize", 1), node.said("mode", "DCR") == "CRD")


def _einsum(node: Node) -> Operand:
    return arithmetic.einsum(node.graph, node.said("equation", ""), [node.view(k) for k in range(len(node.inputs))])


FUNCTIONS: dict[str, Callable[[Node], Any]] = {
    "Add": _arithmetic("add", operator.add), "Sub": _arithmetic("sub", operator.sub),
    "Mul": _arithmetic("mul", operator.mul), "Div": _arithmetic("div", operator.floordiv),
    **{name: _element(ours) for name, ours in {
        "Neg": "neg", "Abs": "abs", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal",
        "Erf": "erf", "Sin": "sin", "Cos": "cos", "Greater": "gt", "Less": "lt", "Not": "not",
    }.items()},
    "Max": _most("maximum"), "Min": _most("minimum"), "Equal": _equal, "Where": _where, "Clip": _clip, "Pow": _power,
    "Relu": _layer(lambda node: ReLU()), "Sigmoid": _layer(lambda node: Sigmoid()), "Tanh": _layer(lambda node: Tanh()),
    "LeakyRelu": _layer(lambda node: LeakyReLU(_decimal(node.said("alpha", 0.01)))),
    "Elu": _layer(lambda node: ELU(_decimal(node.said("alpha", 1.0)))), "Selu": _selu,
    "Gelu": _layer(lambda node: GELU("tanh" if node.said("approximate") == "tanh" else "exact")),
    "Softplus": _layer(lambda node: Softplus()), "Softsign": _layer(lambda node: Softsign()),
    "HardSigmoid": _layer(lambda n: HardSigmoid(_decimal(n.said("alpha", 0.2)), _decimal(n.said("beta", 0.5)))),
    "HardSwish": _layer(lambda node: HardSwish()), "PRelu": _prelu,
}  # fmt: skip
ROWS: dict[str, Callable[[Node], Any]] = {
    "Softmax": _softmax(False), "LogSoftmax": _softmax(True), "Gemm": _gemm, "MatMul": _matmul, "Einsum": _einsum,
    "Conv": _convolution, "ConvTranspose": _convolution, "MaxPool": _pool, "AveragePool": _pool,
    "GlobalAveragePool": lambda node: layered.adaptive(node.graph, "mean", node.x, [1] * (len(node.x.axes) - 2)),
    "GlobalMaxPool": lambda node: layered.adaptive(node.graph, "max", node.x, [1] * (len(node.x.axes) - 2)),
    "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
    "Dropout": _dropout, "Identity": _copy, "Cast": _cast, "ReduceMean": _reduced("mean"),
    "ReduceSum": _reduced("sum"), "ReduceMax": _reduced("max"), "ReduceMin": _reduced("min"),
    "ReduceL2": _reduced("l2"),
    "Reshape": _reshape, "Transpose": _transpose, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "Expand": _expand, "Pad": _pad,
    "Resize": _resize, "DepthToSpace": _depth, "Shape": shape_of,
}  # fmt: skip
