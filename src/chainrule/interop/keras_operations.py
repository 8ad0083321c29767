"""What each operation of `keras.ops` is here: the table, by the names of their classes."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.interop import arithmetic, arranged, layered
from chainrule.interop.graph import Operand
from chainrule.interop.views import Size, View, inserted, permuted, removed, repeated, selected, size_of, sliced
from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)

if TYPE_CHECKING:
    from chainrule.interop.keras import Reading

Row = Callable[..., Any]


def axes_of(given: Any, rank: int) -> list[int]:
    """Axes that are named by one number, by several, or not at all: all."""
    chosen = range(rank) if given is None else given if isinstance(given, (list, tuple)) else [given]
    return [int(axis) % rank for axis in chosen]


def each(value: Any, rank: int) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)] * rank


def channels_first(x: View, data_format: Any) -> View:
    rank = len(x.axes)
    return x if data_format == "channels_first" else permuted(x, [0, rank - 1, *range(1, rank - 1)])


def back(x: Any, data_format: Any) -> Any:
    rank = len(x.axes)
    return x if data_format == "channels_first" else permuted(x, [0, *range(2, rank), 1])


# Operations, whose options are attributes


def _element(name: str) -> Row:
    def row(k: Reading, made: Any, *args: Any) -> View:
        return arithmetic.element(k.graph, name, *map(k.operand, args))

    return row


def _total(k: Reading, made: Any, x: Any, y: Any) -> Operand:
    return arithmetic.total(k.graph, k.operand(x), k.operand(y))


def _layer(make: Callable[[Any], Any]) -> Row:
    return lambda k, made, x: layered.pointwise(k.graph, make(made), k.view(x))


def _relu(k: Reading, made: Any, x: View) -> View:
    """A ReLU with a slope below the threshold, and a greatest value."""
    slope, top, least = float(made.negative_slope), made.max_value, float(made.threshold)
    if least:
        text = f"[{{0}} > {{1}}]*{{0}} + {slope!r}*(1 - [{{0}} > {{1}}])*({{0}} - {{1}})"
        y = arithmetic.applied(k.graph, text, x, least)
    elif slope:
        y = layered.pointwise(k.graph, LeakyReLU(slope), x)
    elif top is None:
        return layered.pointwise(k.graph, ReLU(), x)
    else:
        return layered.pointwise(k.graph, Hardtanh(0.0, float(top)), x)
    return y if top is None else arithmetic.element(k.graph, "minimum", y, float(top))


def _equal(different: bool) -> Row:
    differ = "[{0} > {1}] + [{1} > {0}]"
    text = differ if different else f"1 - ({differ})"

    def row(k: Reading, made: Any, x: Any, y: Any) -> View:
        return arithmetic.applied(k.graph, text, k.operand(x), k.operand(y))

    return row


def _power(k: Reading, made: Any, x: Any, y: Any) -> Operand:
    base, exponent = k.operand(x), k.operand(y)
    if isinstance(base, View) and not isinstance(exponent, View):
        return arithmetic.power(k.graph, base, exponent)
    return arithmetic.applied(k.graph, "exp({1}*log({0}))", base, exponent)


def _clip(k: Reading, made: Any, x: View) -> Operand:
    return arithmetic.applied(k.graph, "min(max({0}, {1}), {2})", x, *map(k.operand, (made.x_min, made.x_max)))


def _where(k: Reading, made: Any, condition: Any, one: Any, other: Any) -> Operand:
    return arithmetic.element(k.graph, "where", *map(k.operand, (condition, one, other)))


def _pool(kind: str) -> Row:
    def row(k: Reading, made: Any, x: View) -> View:
        x, rank = channels_first(x, made.data_format), len(x.axes) - 2
        size = each(made.pool_size, rank)
        stride = size if made.strides is None else each(made.strides, rank)
        y = layered.pool(k.graph, kind, x, size, stride, made.padding, False, False)
        return back(y, made.data_format)

    return row


def _attention(
    k: Reading, made: Any, q: View, key: View, v: View, bias: Any = None, mask: Any = None, scale: Any = None
) -> View:
    """Attention over (N, places, heads, units)."""
    if made.attn_logits_soft_cap is not None or isinstance(mask, View) or (bias is not None and mask is not None):
        k.graph.refuse("attention with capped scores, or with a computed mask", "mask by a constant, or by a bias")
    if bias is not None:
        mask = k.view(bias)
    elif mask is not None:
        mask = k.view(np.where(np.asarray(mask, bool), 0.0, -np.inf))
    q, key, v = (permuted(view, [0, 2, 1, 3]) for view in (q, key, v))
    found = layered.attention(k.graph, q, key, v, mask, made.is_causal, None if scale is None else float(scale), 0.0)
    return permuted(found, [0, 2, 1, 3])


def _reduced(kind: str) -> Row:
    def row(k: Reading, made: Any, x: View) -> Operand:
        return arithmetic.reduce(k.graph, kind, x, axes_of(made.axis, len(x.axes)), bool(made.keepdims))

    return row


def _variance(root: bool) -> Row:
    def row(k: Reading, made: Any, x: View) -> Operand:
        found = arithmetic.variance(k.graph, x, axes_of(made.axis, len(x.axes)), bool(made.keepdims), 0.0)
        return arithmetic.element(k.graph, "sqrt", found) if root else found

    return row


def _softmax(log: bool) -> Row:
    def row(k: Reading, made: Any, x: View) -> Operand:
        axes = axes_of(made.axis, len(x.axes))
        if len(axes) > 1:
            k.graph.refuse("a softmax over several axes", "reshape them to one")
        return layered.softmax(k.graph, x, axes[0], log)

    return row


def _reshaped(k: Reading, made: Any, x: View) -> View:
    target: list[Size] = [(1, True) if e is None else (int(e), False) for e in made.newshape]
    number, samples = math.prod(size for size, _ in x.sizes), any(has for _, has in x.sizes)
    for place, size in enumerate(target):
        if size == (-1, False):
            rest = [s for other, s in enumerate(target) if other != place]
            target[place] = number // math.prod(s for s, _ in rest), samples and not any(has for _, has in rest)
    return k.graph.reshaped(x, target)


def _item(k: Reading, made: Any, x: View, key: Any) -> View:
    """x[…], by numbers and slices."""
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    if any(isinstance(part, View) for part in keys):
        k.graph.refuse("places that are computed", "choose fixed places, or an Embedding")
    plain = sum(part is not None and part is not Ellipsis for part in keys)
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (len(x.axes) - plain)
    axis = 0
    for part in keys:
        if part is None:
            x = inserted(x, axis)
        elif isinstance(part, slice):
            if part != slice(None):
                x = _cut(k, x, axis, part)
        elif isinstance(part, (int, np.integer)):
            extent = size_of(x.axes[axis])[0]
            x, axis = selected(k.graph.single(x, axis), axis, int(part) % extent), axis - 1
        else:
            k.graph.refuse("places of another kind than numbers and slices", "use ops.take")
        axis += 1
    return x


def _cut(k: Reading, x: View, axis: int, part: slice) -> View:
    extent, samples = size_of(x.axes[axis])
    if samples:
        k.graph.refuse("this takes a part of the samples", "networks are functions of each sample here")
    places = range(*part.indices(extent))
    if not len(places):
        k.graph.refuse("a slice holds nothing", "choose another")
    return sliced(k.graph.single(x, axis), axis, places[0], len(places), places.step)


def _take(k: Reading, made: Any, x: View, ids: Any) -> Any:
    x = k.view(x)
    axis = (made.axis or 0) % len(x.axes)
    if isinstance(ids, View):
        if axis or len(x.axes) != 2:
            k.graph.refuse("places that are computed, of more than the rows of a table", "use an Embedding")
        return layered.embedding(k.graph, x, ids)
    places = np.asarray(ids)
    if places.ndim == 0:
        return selected(k.graph.single(x, axis), axis, int(places) % size_of(x.axes[axis])[0])
    return arranged.chosen(k.graph, x, axis, places % size_of(x.axes[axis])[0])


def _split(k: Reading, made: Any, x: View) -> list[View]:
    axis = made.axis % len(x.axes)
    return arranged.pieces(k.graph, x, axis, [shape[axis][0] for shape in k.graph.call.sizes])


def _padded(k: Reading, made: Any, x: View, value: Any = None) -> View:
    widths = np.broadcast_to(np.asarray(made.pad_width), (len(x.axes), 2)).tolist()
    pairs = {axis: (int(before), int(after)) for axis, (before, after) in enumerate(widths)}
    if made.mode == "constant":
        return k.graph.padded(x, pairs, float(value or 0))
    modes = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    for axis, (before, after) in pairs.items():
        if before or after:
            x = arranged.bordered(k.graph, x, axis, before, after, modes.get(str(made.mode), str(made.mode)))
    return x


def _repeated(k: Reading, made: Any, x: View) -> View:
    if made.axis is None or not isinstance(made.repeats, (int, np.integer)):
        k.graph.refuse("a repeat of the flattened tensor, or of each place by a number of its own", "give it an axis")
    return repeated(x, made.axis % len(x.axes), (int(made.repeats), False), inner=True)


def _tiled(k: Reading, made: Any, x: View) -> View:
    times = each(made.repeats, 1)
    for _ in range(len(times) - len(x.axes)):
        x = inserted(x, 0)
    for axis, count in enumerate(times, len(x.axes) - len(times)):
        x = repeated(x, axis, (count, False)) if count > 1 else x
    return x


def _broadcast(k: Reading, made: Any, x: Any) -> View:
    x, shape = k.view(x), k.graph.call.sizes[0]
    for _ in range(len(shape) - len(x.axes)):
        x = inserted(x, 0)
    for axis, size in enumerate(shape):
        if not x.axes[axis] and size != (1, False):
            x = repeated(x, axis, size)
    return x


def _exchanged(k: Reading, made: Any, x: View) -> View:
    order = list(range(len(x.axes)))
    one, other = made.axis1, made.axis2
    order[one], order[other] = order[other], order[one]
    return permuted(x, order)


def _transpose(k: Reading, made: Any, x: View) -> View:
    rank = len(x.axes)
    return permuted(x, range(rank)[::-1] if made.axes is None else axes_of(made.axes, rank))


def _joined(k: Reading, made: Any, values: Sequence[Any]) -> Operand:
    return arranged.concat(k.graph, [k.view(value) for value in values], made.axis)


def _stacked(k: Reading, made: Any, values: Sequence[Any]) -> Operand:
    views = [k.view(value) for value in values]
    axis = made.axis % (len(views[0].axes) + 1)
    return arranged.concat(k.graph, [inserted(view, axis) for view in views], axis)


def _expanded(k: Reading, made: Any, x: View) -> View:
    axes = made.axis if isinstance(made.axis, (list, tuple)) else [made.axis]
    for axis in sorted(a % (len(x.axes) + len(axes)) for a in axes):
        x = inserted(x, axis)
    return x


def _triangle(upper: bool) -> Row:
    def row(k: Reading, made: Any, x: View) -> Operand:
        height, width = (size_of(axis)[0] for axis in x.axes[-2:])
        kept = (np.triu if upper else np.tril)(np.ones((height, width)), made.k)
        return arithmetic.element(k.graph, "mul", x, k.operand(kept))

    return row


def _matmul(k: Reading, made: Any, a: Any, b: Any) -> Operand:
    return arithmetic.matmul(k.graph, k.view(a), k.view(b))


def _einsum(k: Reading, made: Any, *views: Any) -> Operand:
    """Keras's ellipses stand for the leading axes, of which the samples are one."""
    text, given = made.subscripts.replace(" ", ""), [k.view(view) for view in views]
    if "..." in text:
        inputs = text.partition("->")[0].split(",")
        counts = [len(v.axes) - len(p.replace("...", "")) for v, p in zip(given, inputs, strict=True) if "..." in p]
        free = [letter for letter in "ABCDEFGH" if letter not in text][: max(counts)]
        if len(set(counts)) > 1:
            k.graph.refuse(f"the sum {made.subscripts!r}", "write each index out")
        text = text.replace("...", "".join(free))
    return arithmetic.einsum(k.graph, text, given)


def _dot(k: Reading, made: Any, a: View, b: View) -> Operand:
    """Contraction over axes of both: of the last ones with the first, or of those that are named."""
    a, b = k.view(a), k.view(b)
    axes = made.axes
    pairs = ([*range(len(a.axes) - axes, len(a.axes))], [*range(axes)]) if isinstance(axes, int) else axes
    ours, theirs = (axes_of(part, len(view.axes)) for part, view in zip(pairs, (a, b), strict=True))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    one = [next(letters) for _ in a.axes]
    other = [one[ours[theirs.index(axis)]] if axis in theirs else next(letters) for axis in range(len(b.axes))]
    left = [x for axis, x in enumerate(one) if axis not in ours]
    right = [x for axis, x in enumerate(other) if axis not in theirs]
    return arithmetic.einsum(k.graph, f"{''.join(one)},{''.join(other)}->{''.join(left + right)}", [a, b])


def _cumulated(k: Reading, made: Any, x: View) -> Operand:
    if made.axis is None:
        k.graph.refuse("a cumulated sum of the flattened tensor", "give it an axis")
    return arithmetic.cumulated(k.graph, x, made.axis)


def _glu(k: Reading, made: Any, x: View) -> Operand:
    axis = made.axis % len(x.axes)
    return arithmetic.element(k.graph, "glu", *arranged.pieces(k.graph, x, axis, [size_of(x.axes[axis])[0] // 2] * 2))


def _cast(k: Reading, made: Any, x: Any) -> Any:
    if isinstance(x, View) and not x.source.integer and "int" in str(made.dtype):
        k.graph.refuse("real numbers are rounded to whole ones", "networks are differentiable here")
    return x


def _normalised(k: Reading, made: Any, x: View) -> Operand:
    """x over its norm, whose square is at least epsilon."""
    if made.order != 2:
        k.graph.refuse(f"a normalisation by the norm of order {made.order}", "norms of order 2 are known")
    square = arithmetic.element(k.graph, "square", x)
    assert isinstance(square, View)
    total = arithmetic.reduce(k.graph, "sum", square, axes_of(made.axis, len(x.axes)), True)
    return arithmetic.applied(k.graph, "{0}*max({1}, {2})**(-1/2)", x, total, float(made.epsilon or 1e-7))


def _named(names: Mapping[str, str]) -> dict[str, Row]:
    return {theirs: _element(ours) for theirs, ours in names.items()}


OPERATIONS: dict[str, Row] = {
    **_named({
        "Subtract": "sub", "Multiply": "mul", "Divide": "div", "TrueDivide": "div", "Negative": "neg",
        "Absolute": "abs", "Exp": "exp", "Expm1": "expm1", "Log": "log", "Log1p": "log1p", "Sin": "sin", "Cos": "cos",
        "Erf": "erf", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Square": "square", "Reciprocal": "reciprocal",
        "Maximum": "maximum", "Minimum": "minimum", "Sign": "sign", "Greater": "gt", "Less": "lt",
        "GreaterEqual": "ge", "LessEqual": "le", "LogicalNot": "not", "LogicalAnd": "and", "LogSigmoid": "log_sigmoid",
        "TanhShrink": "tanhshrink",
    }),
    "Add": _total, "Equal": _equal(False), "NotEqual": _equal(True), "Power": _power, "Clip": _clip, "Where": _where,
    "Relu": _layer(lambda made: ReLU()), "ReLU": _relu, "Mish": _layer(lambda made: Mish()),
    "SoftShrink": lambda k, made, x: arithmetic.element(k.graph, "softshrink", x, float(made.threshold)),
    "HardShrink": lambda k, made, x: arithmetic.element(k.graph, "hardshrink", x, float(made.threshold)),
    "Relu6": _layer(lambda made: Hardtanh(0.0, 6.0)),
    "Sigmoid": _layer(lambda made: Sigmoid()), "Tanh": _layer(lambda made: Tanh()),
    "Softplus": _layer(lambda made: Softplus()), "Softsign": _layer(lambda made: Softsign()),
    "Silu": _layer(lambda made: SiLU()), "Selu": _layer(lambda made: SELU()),
    "LeakyRelu": _layer(lambda made: LeakyReLU(float(made.negative_slope))),
    "Elu": _layer(lambda made: ELU(float(made.alpha))), "HardSigmoid": _layer(lambda made: HardSigmoid(1 / 6, 0.5)),
    "HardSilu": _layer(lambda made: HardSwish()), "HardTanh": _layer(lambda made: Hardtanh(-1.0, 1.0)),
    "Gelu": _layer(lambda made: GELU("tanh" if made.approximate else "exact")), "Glu": _glu,
    "Celu": lambda k, made, x: arithmetic.element(k.graph, "celu", x, float(made.alpha)),
    "Softmax": _softmax(False), "LogSoftmax": _softmax(True), "Logsumexp": _reduced("logsumexp"),
    "MaxPool": _pool("max"), "AveragePool": _pool("mean"), "DotProductAttention": _attention,
    "Normalize": _normalised, "Mean": _reduced("mean"), "Sum": _reduced("sum"), "Max": _reduced("max"),
    "Min": _reduced("min"), "Var": _variance(False), "Std": _variance(True), "Cumsum": _cumulated,
    "Matmul": _matmul, "Einsum": _einsum, "Tensordot": _dot, "Tril": _triangle(False), "Triu": _triangle(True),
    # Moves
    "Reshape": _reshaped, "Transpose": _transpose, "Swapaxes": _exchanged, "Concatenate": _joined, "Stack": _stacked,
    "Split": _split, "Pad": _padded, "Take": _take, "Repeat": _repeated, "Tile": _tiled, "BroadcastTo": _broadcast,
    "GetItem": _item, "ExpandDims": _expanded, "Cast": _cast,
    "Squeeze": lambda k, made, x: removed(x, axes_of(made.axis, len(x.axes))),
    "Flip": lambda k, made, x: arranged.flip(k.graph, x, axes_of(made.axis, len(x.axes))),
    "Unstack": lambda k, made, x: arranged.unbound(k.graph, x, made.axis % len(x.axes)),
}  # fmt: skip
