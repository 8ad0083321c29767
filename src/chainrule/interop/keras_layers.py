"""What each layer of Keras is here that is one of ours: the table, by the names of their classes."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.interop import arithmetic, layered
from chainrule.interop.graph import Operand
from chainrule.interop.keras_operations import Row, axes_of, back, channels_first, each
from chainrule.interop.views import View, permuted, removed, sliced
from chainrule.nn.activations import HardSwish, Mish
from chainrule.nn.layer import Layer
from chainrule.nn.upsampling import Upsample

if TYPE_CHECKING:
    from chainrule.interop.keras import Reading

def _dense(k: Reading, layer: Any, x: View) -> View:
    if layer.lora_enabled:
        k.graph.refuse("a kernel with low-rank additions", "merge them into the kernel")
    y = layered.linear(k.graph, x, k.turned(layer._kernel, (1, 0)), k.plain(layer.bias))
    return k.through(layer.activation, y)


def _kernel(k: Reading, kernel: Any, depthwise: bool = False) -> tuple[View, int]:
    """The kernel of a convolution, (…, inputs of a group, outputs), as (outputs, inputs of a group, …). That of a
    depthwise one, (…, inputs, outputs of each), has as many groups as inputs: their number is the second result."""
    rank, sizes = len(kernel.shape) - 2, [int(extent) for extent in kernel.shape]
    if not depthwise:
        turned = k.turned(kernel, (rank + 1, rank, *range(rank)))
        groups = 0
    else:
        shape = (sizes[-2] * sizes[-1], 1, *sizes[:-2])
        turned, groups = k.turned(kernel, (rank, rank + 1, *range(rank)), shape), sizes[-2]
    return turned, groups


def _convolved(k: Reading, layer: Any, x: View, kernel: Any, bias: Any, depthwise: bool = False, **other: Any) -> View:
    """A convolution with the options of a layer, channels first."""
    weight, groups = _kernel(k, kernel, depthwise)
    rank = layer.rank
    options = {"stride": layer.strides, "dilation": layer.dilation_rate} | other
    stride, dilation = (each(options[name], rank) for name in ("stride", "dilation"))
    padding: Any = layer.padding
    if padding == "causal":
        padding = [[dilation[0] * (int(kernel.shape[0]) - 1), 0]]
    return layered.convolution(
        k.graph, x, weight, k.plain(bias), stride=stride, padding=padding, dilation=dilation,
        groups=groups or x.sizes[1][0] // weight.sizes[1][0],
    )


def _convolution(depthwise: bool) -> Row:
    def row(k: Reading, layer: Any, x: View) -> View:
        if getattr(layer, "lora_enabled", False):
            k.graph.refuse("a kernel with low-rank additions", "merge them into the kernel")
        kernel = layer.kernel if depthwise else layer._kernel
        y = _convolved(k, layer, channels_first(x, layer.data_format), kernel, layer.bias, depthwise)
        return k.through(layer.activation, back(y, layer.data_format))

    return row


def _separable(k: Reading, layer: Any, x: View) -> View:
    """Each channel convolved by itself, and then the channels mixed."""
    x = channels_first(x, layer.data_format)
    y = _convolved(k, layer, x, layer.depthwise_kernel, None, True)
    if layer.padding == "causal":
        k.graph.refuse("a separable convolution with causal padding", "pad before it")
    weight, _ = _kernel(k, layer.pointwise_kernel)
    ones = [1] * layer.rank
    y = layered.convolution(
        k.graph, y, weight, k.plain(layer.bias), stride=ones, padding="valid", dilation=ones, groups=1
    )
    return k.through(layer.activation, back(y, layer.data_format))


def _transposed(k: Reading, layer: Any, x: View) -> View:
    """Keras's "same" cuts off what is more than stride times as long, the smaller half before."""
    rank, x = layer.rank, channels_first(x, layer.data_format)
    stride, dilation = each(layer.strides, rank), each(layer.dilation_rate, rank)
    if layer.output_padding is not None:
        k.graph.refuse("a transposed convolution with output_padding", "leave it out")
    sizes = [int(extent) for extent in layer.kernel.shape]
    weight = k.turned(layer.kernel, (rank + 1, rank, *range(rank)))
    wide = [d * (size - 1) + 1 for d, size in zip(dilation, sizes, strict=False)]
    more = [size - step for size, step in zip(wide, stride, strict=True)]
    cut = [max(m, 0) // 2 if layer.padding == "same" else 0 for m in more]
    y = layered.convolution(
        k.graph, x, weight, k.plain(layer.bias), stride=stride, padding=cut, dilation=dilation, groups=1,
        transposed=True, added=[max(-m, 0) for m in more],
    )
    if layer.padding == "same":
        for axis in range(rank):
            y = sliced(k.graph.single(y, 2 + axis), 2 + axis, 0, x.sizes[2 + axis][0] * stride[axis])
    return k.through(layer.activation, back(y, layer.data_format))


def _batch_norm(k: Reading, layer: Any, x: View) -> View:
    if layer.renorm:
        k.graph.refuse("a batch renormalisation", "leave renorm out")
    axis, rank = layer.axis % len(x.axes), len(x.axes)
    order = [0, axis, *(a for a in range(1, rank) if a != axis)]
    x = permuted(x, order)
    both = layer.scale and layer.center
    scale, shift = (k.plain(layer.gamma), k.plain(layer.beta)) if both else (None, None)
    mean, variance = k.numbers(layer.moving_mean), k.numbers(layer.moving_variance)
    y: Any = layered.batch_norm(k.graph, x, scale, shift, mean, variance, 1 - layer.momentum, float(layer.epsilon))
    ones = [(1, False)] * (rank - 2)
    if not both and layer.scale:
        y = arithmetic.element(k.graph, "mul", y, k.graph.reshaped(k.view(k.weight(layer.gamma)), [y.sizes[1], *ones]))
    if not both and layer.center:
        y = arithmetic.element(k.graph, "add", y, k.graph.reshaped(k.view(k.weight(layer.beta)), [y.sizes[1], *ones]))
    return permuted(y, [order.index(a) for a in range(rank)])


def _last(k: Reading, given: Any, x: View) -> int:
    """How many axes a normalisation is over, which must be the last ones."""
    axes = sorted(axes_of(given, len(x.axes)))
    if axes != list(range(len(x.axes) - len(axes), len(x.axes))):
        k.graph.refuse("a normalisation over axes that are not the last", "permute the axes before it")
    return len(axes)


def _layer_norm(k: Reading, layer: Any, x: View) -> View:
    if getattr(layer, "rms_scaling", False):
        k.graph.refuse("a layer normalisation with rms_scaling", "use RMSNormalization")
    scale, shift = k.plain(layer.gamma if layer.scale else None), k.plain(layer.beta if layer.center else None)
    return layered.layer_norm(k.graph, x, _last(k, layer.axis, x), scale, shift, float(layer.epsilon))


def _rms_norm(k: Reading, layer: Any, x: View) -> View:
    return layered.rms_norm(k.graph, x, _last(k, layer.axis, x), k.plain(layer.scale), float(layer.epsilon))


def _group_norm(k: Reading, layer: Any, x: View) -> View:
    axis, rank = layer.axis % len(x.axes), len(x.axes)
    order = [0, axis, *(a for a in range(1, rank) if a != axis)]
    x, groups = permuted(x, order), None if layer.groups == -1 or layer.groups == x.sizes[axis][0] else layer.groups
    if layer.scale != layer.center:
        k.graph.refuse("a group normalisation with a scale or a shift alone", "give it both, or none")
    scale, shift = (k.plain(layer.gamma), k.plain(layer.beta)) if layer.scale else (None, None)
    y = layered.group_norm(k.graph, x, groups, scale, shift, float(layer.epsilon))
    return permuted(y, [order.index(a) for a in range(rank)])


def _dropout(k: Reading, layer: Any, x: View) -> Operand:
    if layer.noise_shape is not None:
        k.graph.refuse("dropout with a noise_shape", "leave noise_shape out")
    return layered.dropout(k.graph, x, float(layer.rate))


def _noisy(name: str) -> Row:
    """A layer that draws what no layer of ours draws, unless it draws nothing."""

    def row(k: Reading, layer: Any, x: View) -> View:
        if getattr(layer, name):
            k.graph.refuse(f"random numbers of {type(layer).__name__}", "use Dropout")
        return x

    return row


def _embedding(k: Reading, layer: Any, ids: View) -> View:
    if layer.lora_enabled:
        k.graph.refuse("a table with low-rank additions", "merge them into the table")
    table = k.view(k.weight(layer._embeddings))
    return layered.embedding(k.graph, table, ids)


def _global(kind: str) -> Row:
    def row(k: Reading, layer: Any, x: View) -> View:
        x = channels_first(x, layer.data_format)
        y = layered.adaptive(k.graph, kind, x, [1] * (len(x.axes) - 2))
        return back(y, layer.data_format) if layer.keepdims else removed(y, range(2, len(y.axes)))

    return row


def _upsampled(k: Reading, layer: Any, x: View) -> View:
    modes = {"nearest": "nearest", "bilinear": "linear"}
    mode = getattr(layer, "interpolation", "nearest")
    if mode not in modes:
        k.graph.refuse(f"upsampling by {mode}", "use nearest or bilinear")
    data_format = getattr(layer, "data_format", "channels_last")
    x = channels_first(x, data_format)
    y = layered.given(k.graph, Upsample(each(layer.size, len(x.axes) - 2), modes[mode]), x)
    return back(y, data_format)


def _rescaled(k: Reading, layer: Any, x: View) -> View:
    scale, offset = (k.operand(np.asarray(value, np.float64)) for value in (layer.scale, layer.offset))
    return arithmetic.applied(k.graph, "{0}*{1} + {2}", x, scale, offset)


def _standardised(k: Reading, layer: Any, x: View) -> View:
    """Less the mean that was learnt, over the root of the variance, at least ε."""
    if layer.invert:
        k.graph.refuse("an inverse normalisation", "leave invert out")
    mean, root = k.numbers(layer.mean), np.maximum(np.sqrt(k.numbers(layer.variance)), 1e-7)
    return arithmetic.applied(k.graph, "({0} - {1})/{2}", x, k.operand(mean), k.operand(root))


ACTIVATIONS: dict[str, Callable[[], Layer]] = {"mish": Mish, "hard_silu": HardSwish}
"""Keras's functions of numbers alone, which no symbol goes through."""
LAYERS: dict[str, Row] = {
    "Activation": lambda k, layer, x: k.through(layer.activation, x), "Dense": _dense,
    "Conv1D": _convolution(False), "Conv2D": _convolution(False),
    "DepthwiseConv1D": _convolution(True), "DepthwiseConv2D": _convolution(True), "SeparableConv1D": _separable,
    "SeparableConv2D": _separable, "Conv1DTranspose": _transposed, "Conv2DTranspose": _transposed,
    "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm, "Dropout": _dropout, "Embedding": _embedding,
    **{name: _noisy("rate") for name in ("SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout")},
    "GaussianNoise": _noisy("stddev"), "ActivityRegularization": lambda k, layer, x: x,
    **{f"Global{name}Pooling{rank}D": _global(kind) for name, kind in (("Average", "mean"), ("Max", "max"))
       for rank in (1, 2)},
    "Rescaling": _rescaled, "Normalization": _standardised,
    "UpSampling1D": _upsampled, "UpSampling2D": _upsampled,
}  # fmt: skip
"""The layers that ours are for, or whose own code draws; every other is read from its code."""
