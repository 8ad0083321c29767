"""What each call of PyTorch is here: the table of ATen's operators, by name."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from chainrule.interop import arithmetic, arranged, layered
from chainrule.interop import aten_moves as moves
from chainrule.interop.aten_moves import Fixed
from chainrule.interop.graph import FAR, Graph, Operand
from chainrule.interop.recurrent import unrolled
from chainrule.interop.views import SAMPLE, View, inserted, size_of
from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from chainrule.nn.upsampling import Upsample


def _viewed(row: Callable[..., Any]) -> Callable[..., Any]:
    """A row that is given views alone: constant tensors as well, each with its shape."""

    def view(g: Graph, value: Any) -> Any:
        return [view(g, part) for part in value] if isinstance(value, list) else moves.view_of(g, value)

    return lambda g, *args: row(g, *(view(g, arg) for arg in args))


def _element(name: str, defaults: Mapping[int, float] = {}) -> Callable[..., Any]:
    count = 1 + max((k for k in range(4) if f"{{{k}}}" in arithmetic.ELEMENT[name]), default=0)

    def row(g: Graph, *args: Any) -> Operand:
        each = [args[k] if k < len(args) and args[k] is not None else defaults.get(k) for k in range(count)]
        given = [moves.valued(g, value) for value in each]
        return arithmetic.element(g, name, *given)

    return row


def _logical(name: str) -> Callable[..., Any]:
    """A function of truth values, which are 0 and 1."""

    def row(g: Graph, *args: Any) -> Operand:
        if not g.call.logical:
            g.refuse("numbers are read as truth values, or bit by bit", "compare them first: x != 0")
        return _element(name)(g, *args)

    return row


def _scaled(name: str, reverse: bool = False) -> Callable[..., Any]:
    """add and sub, whose second operand has a factor."""

    def row(g: Graph, x: Any, y: Any, alpha: Any = 1) -> Operand:
        x, y = moves.valued(g, x), moves.valued(g, y)
        if alpha not in (None, 1):
            y = arithmetic.element(g, "mul", y, float(alpha)) if isinstance(y, View) else y * alpha
        x, y = (y, x) if reverse else (x, y)
        return arithmetic.total(g, x, y) if name == "add" else arithmetic.element(g, name, x, y)

    return row


def _layer(make: Callable[..., Any]) -> Callable[..., Any]:
    """A layer that is a function of each component, made from the options of the call."""
    return lambda g, x, *options: layered.pointwise(g, make(*options), x)


def _elu(g: Graph, x: View, alpha: float = 1, scale: float = 1, inner: float = 1) -> Operand:
    if scale != 1 or inner != 1:
        g.refuse("an ELU with scales", "write it with exp and where")
    return layered.pointwise(g, ELU(float(alpha)), x)


def _softplus(g: Graph, x: View, beta: float, threshold: float) -> Operand:
    return layered.pointwise(g, Softplus(), x) if beta == 1 else arithmetic.element(g, "softplus", x, float(beta))


def _reduced(kind: str) -> Callable[..., Any]:
    def row(g: Graph, x: View, axes: Any = None, keep: bool = False, *_: Any) -> Operand:
        given = range(len(x.axes)) if axes in (None, []) else axes if isinstance(axes, (list, tuple)) else [axes]
        return arithmetic.reduce(g, kind, x, [axis % len(x.axes) for axis in given], keep)

    return row


def _all(kind: str) -> Callable[..., Any]:
    return lambda g, x, *_: arithmetic.reduce(g, kind, x, range(len(x.axes)), False)


def _variance(root: bool) -> Callable[..., Any]:
    def row(g: Graph, x: View, axes: Any, correction: Any = 1, keep: bool = False) -> Operand:
        given = range(len(x.axes)) if axes in (None, []) else axes
        correction = 1 if correction is None else correction
        found = arithmetic.variance(g, x, [axis % len(x.axes) for axis in given], bool(keep), float(correction))
        return arithmetic.element(g, "sqrt", found) if root else found

    return row


def _moments(g: Graph, x: View, axes: Any, correction: Any = 1, keep: bool = False) -> list[Operand]:
    return [_variance(False)(g, x, axes, correction, keep), _reduced("mean")(g, x, axes, keep)]


def _norm(g: Graph, x: View, order: float = 2, axes: Any = None, keep: bool = False, dtype: Any = None) -> Operand:
    given = range(len(x.axes)) if axes is None else axes
    return arithmetic.norm(g, x, order, [axis % len(x.axes) for axis in given], keep)


def _softmax(log: bool) -> Callable[..., Any]:
    return lambda g, x, axis, *_: layered.softmax(g, x, axis, log)


def _addmm(g: Graph, bias: View, a: View, b: View, beta: float = 1, alpha: float = 1) -> Operand:
    if beta != 1 or alpha != 1:
        g.refuse("addmm with factors", "write alpha*(a @ b) + beta*bias")
    return arithmetic.element(g, "add", arithmetic.matmul(g, a, b), bias)


def _linear(g: Graph, x: View, weight: View, bias: View | None = None) -> Operand:
    return layered.linear(g, x, weight, bias)


def _convolution(transposed: bool = False) -> Callable[..., Any]:
    def row(g: Graph, x: View, weight: Any, bias: Any, stride: Any, padding: Any, *rest: Any) -> Operand:
        rank = len(x.axes) - 2
        added, groups, dilation = rest if transposed else (0, rest[1], rest[0])
        pads = padding if isinstance(padding, str) else _each(padding, rank)
        return layered.convolution(
            g, x, weight, bias, stride=_each(stride, rank), padding=pads, dilation=_each(dilation, rank),
            groups=groups, transposed=transposed, added=_each(added, rank),
        )

    return _viewed(row)


def _each(value: Any, rank: int) -> list[int]:
    """One number for each axis, where one may stand for all."""
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    return given * rank if len(given) == 1 else given


def _max_pool(rank: int) -> Callable[..., Any]:
    def row(
        g: Graph, x: View, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
    ) -> Any:
        size = _each(size, rank)
        stride, pads = _each(stride, rank) if stride else size, _each(padding, rank)
        return layered.pool(g, "max", x, size, stride, pads, ceil, dilation=_each(dilation, rank))

    return row


def _mean_pool(rank: int) -> Callable[..., Any]:
    def row(
        g: Graph, x: View, size: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, include: bool = True,
        divisor: Any = None,
    ) -> Any:
        if divisor is not None:
            g.refuse("mean pooling with a divisor of its own", "leave divisor_override out")
        size = _each(size, rank)
        pads = _each(padding, rank)
        return layered.pool(g, "mean", x, size, _each(stride, rank) if stride else size, pads, ceil, include)

    return row


def _batch_norm(
    g: Graph, x: View, scale: Any, shift: Any, mean: Any, variance: Any, training: bool, momentum: float,
    epsilon: float, _: bool,
) -> Operand:
    if mean is None or variance is None:
        g.refuse("a batch normalisation without running averages", "track_running_stats=True keeps them")
    scale, shift = moves.view_of(g, scale), moves.view_of(g, shift)
    return layered.batch_norm(g, x, scale, shift, mean.array, variance.array, momentum, epsilon)


def _instance_norm(
    g: Graph, x: View, scale: Any, shift: Any, mean: Any, variance: Any, inputs: bool, momentum: float,
    epsilon: float, _: bool,
) -> Operand:
    if mean is not None:
        g.refuse("an instance normalisation with running averages", "leave track_running_stats out")
    return layered.group_norm(g, x, None, scale, shift, epsilon)


def _group_norm(g: Graph, x: View, groups: int, scale: Any, shift: Any, epsilon: float, _: bool) -> Operand:
    return layered.group_norm(g, x, groups, scale, shift, epsilon)


def _layer_norm(g: Graph, x: View, shape: Sequence[int], scale: Any, shift: Any, epsilon: float, _: bool) -> Operand:
    return layered.layer_norm(g, x, len(shape), scale, shift, epsilon)


def _rms_norm(g: Graph, x: View, shape: Sequence[int], scale: Any, epsilon: Any) -> Operand:
    if epsilon is None:
        g.refuse("an RMS normalisation whose epsilon is that of the type", "give it eps=1e-6")
    return layered.rms_norm(g, x, len(shape), scale, epsilon)


def _prelu(g: Graph, x: View, slope: View) -> Operand:
    shared = size_of(slope.axes[0])[0] == 1
    return layered.given(g, PReLU(shared), x, {"a": slope})


def _attention(
    g: Graph, q: View, k: View, v: View, mask: Any, rate: float, causal: bool, scale: Any, grouped: bool
) -> Operand:
    if isinstance(mask, Fixed):
        kept = mask.tensor.dtype.is_floating_point
        array = mask.array if kept else np.where(mask.array, 0.0, -np.inf)
        mask = g.fixed(mask.name, np.asarray(array, np.float64))
    elif isinstance(mask, View) and g.call.logical:
        mask = arithmetic.applied(g, f"{FAR!r}*(1 - {{0}})", mask)
    q, k, v = (moves.view_of(g, value) for value in (q, k, v))
    return layered.attention(g, q, k, v, mask, causal, None if scale is None else float(scale), rate)


def _masked(g: Graph, x: View, mask: Any, value: Any) -> Operand:
    """masked_fill: a number in the place of some components."""
    number = float(value.tensor) if isinstance(value, Fixed) else float(value)
    kept = moves.valued(g, mask)
    return arithmetic.applied(g, "{0}*(1 - {1}) + {2}*{1}", x, kept, g.finite(number))


def _where(g: Graph, condition: Any, one: Any, other: Any) -> Operand:
    one, other = (g.finite(v) if isinstance(v, float) else v for v in (_number(one), _number(other)))
    return arithmetic.element(g, "where", moves.valued(g, condition), moves.valued(g, one), moves.valued(g, other))


def _number(value: Any) -> Any:
    return float(value.tensor) if isinstance(value, Fixed) and value.tensor.dim() == 0 else value


def _tril(upper: bool) -> Callable[..., Any]:
    def row(g: Graph, x: View, diagonal: int = 0) -> Operand:
        height, width = (size_of(axis)[0] for axis in x.axes[-2:])
        made = np.triu if upper else np.tril
        kept = g.constant(f"mask_{len(g.weights)}", made(np.ones((height, width)), diagonal))
        return arithmetic.element(g, "mul", x, kept)

    return row


def _equal(different: bool) -> Callable[..., Any]:
    """[a == b]; of an integer input and a whole number as the language has it."""

    def row(g: Graph, x: Any, y: Any) -> Operand:
        x, y = moves.valued(g, x), moves.valued(g, y)
        if isinstance(x, View) and x.source.integer and not isinstance(y, View) and float(y).is_integer() and y >= 0:
            text = f"[{int(y)} == {{0}}]"
            return arithmetic.applied(g, f"1 - {text}" if different else text, x)
        differ = "[{0} > {1}] + [{1} > {0}]"
        return arithmetic.applied(g, differ if different else f"1 - ({differ})", x, y)

    return row


def _upsample(mode: str) -> Callable[..., Any]:
    """A layer where cells are repeated, or interpolated at whole steps; else a matrix for each axis."""

    def row(g: Graph, x: View, *rest: Any) -> Operand:
        (made,) = g.call.sizes
        lengths, new = ([extent for extent, _ in sizes[2:]] for sizes in (x.sizes, made))
        scales = rest[-1] or [after / before for before, after in zip(lengths, new, strict=True)]
        corners = mode != "nearest" and bool(rest[1])
        if mode != "cubic" and all(new[k] == lengths[k] * scale for k, scale in enumerate(scales)) and all(
            after % before == 0 for before, after in zip(lengths, new, strict=True)
        ):
            factors = [after // before for before, after in zip(lengths, new, strict=True)]
            return layered.given(g, Upsample(factors, mode, corners), x)
        place = "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel"
        for axis, (length, after, scale) in enumerate(zip(lengths, new, scales, strict=True), 2):
            x = arranged.resized(g, x, axis, after, after / length if corners else scale, place, mode)
        return x

    return row


def _adaptive(kind: str) -> Callable[..., Any]:
    def row(g: Graph, x: View, size: Any, *_: Any) -> Any:
        (made,) = g.call.sizes[:1]
        found = layered.adaptive(g, kind, x, [extent for extent, _ in made[2:]])
        return [found, None] if kind == "max" else found

    return row


def _embedding(g: Graph, table: View, ids: View, *_: Any) -> Operand:
    return layered.embedding(g, table, ids)


def _bag(g: Graph, table: View, ids: Any, offsets: Any, scale: bool, mode: int, *_: Any) -> Any:
    """A sum, mean or maximum of the rows of each sample, whose ids are merged with the samples and `offsets` apart."""
    (axis,) = ids.axes if isinstance(ids, View) else ((),)
    if axis[:1] != (SAMPLE,) or size_of(axis)[0] != offsets:
        g.refuse("bags that are not as long as each other", "give the ids as (N, length)")
    rows = layered.embedding(g, table, replace(ids, axes=((SAMPLE,), axis[1:])))
    return [arithmetic.reduce(g, ("sum", "mean", "max")[mode], rows, [1], False), None, None, None]


def _distance(g: Graph, x: View, y: View, order: float, epsilon: float, keep: bool) -> Operand:
    return arithmetic.norm(g, arithmetic.applied(g, f"{{0}} - {{1}} + {epsilon!r}", x, y), order, [-1], keep)


def _distances(g: Graph, x: View, y: View, order: float, *_: Any) -> Operand:
    """Of each vector of one to each of another."""
    apart = arithmetic.element(g, "sub", inserted(x, len(x.axes) - 1), inserted(y, len(y.axes) - 2))
    return arithmetic.norm(g, apart, order, [-1], False)


def _tensordot(g: Graph, x: View, y: View, one: Sequence[int], other: Sequence[int]) -> Operand:
    letters = [chr(ord("a") + k) for k in range(len(x.axes))]
    more = [chr(ord("n") + k) for k in range(len(y.axes))]
    for a, b in zip(one, other, strict=True):
        more[b] = letters[a]
    left = [letter for letter in (*letters, *more) if (letter in letters) != (letter in more)]
    return arithmetic.einsum(g, f"{''.join(letters)},{''.join(more)}->{''.join(left)}", [x, y])


def _product(g: Graph, x: View, axis: int, keep: bool = False, *_: Any) -> Operand:
    parts = arranged.unbound(g, x, axis % len(x.axes))
    found = reduce(lambda one, other: arithmetic.element(g, "mul", one, other), parts)
    return inserted(found, axis % len(x.axes)) if keep else found


def _recurrent(kind: str) -> Callable[..., Any]:
    def row(
        g: Graph, x: View, states: Any, weights: Sequence[View], biases: bool, layers: int, rate: float,
        training: bool, both: bool, first: bool,
    ) -> Any:
        given = states if isinstance(states, list) else [states]
        return unrolled(
            g, kind, x, given, weights, biases=biases, layers=layers, rate=rate if training else 0.0, both=both,
            first=first,
        )

    return _viewed(row)


def _drawn(g: Graph, *_: Any) -> Any:
    g.refuse("numbers are drawn at random", "give the noise as an input of the network")


def _detached(g: Graph, *_: Any) -> Any:
    g.refuse("a value is detached: no gradient goes through it", "give it as an input of the network")


def _dropped_channels(g: Graph, x: View, rate: float, training: bool) -> Operand:
    """A mask of dropout for each channel."""
    if not training or not rate:
        return x
    ones = arranged.everywhere(g, 1.0, x.sizes[:2])
    mask = layered.dropout(g, ones, rate)
    for axis in range(2, len(x.axes)):
        mask = inserted(mask, axis)
    return arithmetic.element(g, "mul", x, mask)


def _batch_norm_functional(
    g: Graph, x: View, scale: Any, shift: Any, mean: Any, variance: Any, training: bool, momentum: float,
    epsilon: float,
) -> Any:
    y = _batch_norm(g, x, scale, shift, mean, variance, training, momentum, epsilon, False)
    return [y, None, None, mean, variance]


def _power(g: Graph, x: View, exponent: Any) -> Operand:
    exponent = moves.valued(g, exponent)
    if isinstance(exponent, View):
        return arithmetic.applied(g, "exp({1}*log({0}))", x, exponent)
    return arithmetic.power(g, x, exponent)


def _bilinear(g: Graph, x: View, y: View, weight: View, bias: Any = None) -> Operand:
    if len(x.axes) != 2:
        g.refuse("a bilinear map of more than vectors", "flatten the axes before it")
    found = arithmetic.einsum(g, "ni,kij,nj->nk", [x, weight, y])
    return found if bias is None else arithmetic.element(g, "add", found, bias)


def _raised(g: Graph, base: float, exponent: View) -> Operand:
    return arithmetic.applied(g, f"exp({{0}}*log({float(base)!r}))", exponent)


def _gelu(g: Graph, x: View, approximate: str = "none") -> Operand:
    return layered.pointwise(g, GELU("tanh" if approximate == "tanh" else "exact"), x)


def _clamp(g: Graph, x: View, low: Any = None, high: Any = None) -> Operand:
    found: Any = x
    if low is not None:
        found = arithmetic.element(g, "maximum", found, moves.valued(g, low))
    return found if high is None else arithmetic.element(g, "minimum", found, moves.valued(g, high))


def _dropped(g: Graph, x: View, rate: float, training: bool) -> Operand:
    return layered.dropout(g, x, rate if training else 0.0)


def _largest(kind: str) -> Callable[..., Any]:
    """max and min over an axis: the values, and not where they are."""
    return lambda g, x, axis, keep=False: [arithmetic.reduce(g, kind, x, [axis], keep), None]


ROWS: dict[str, Callable[..., Any]] = {
    **{name: _element(name) for name in (
        "neg", "abs", "exp", "expm1", "log", "log1p", "sin", "cos", "erf", "erfc", "sqrt", "rsqrt", "square",
        "reciprocal", "maximum", "minimum", "log_sigmoid", "tanhshrink", "sign", "tan", "sinh", "cosh", "asinh", "log2",
        "log10", "exp2", "hypot", "logaddexp",
    )},
    **{f"{name}.{kind}": _element(name) for name in ("gt", "lt", "ge", "le", "mul", "div")
       for kind in ("Tensor", "Scalar")},
    **{f"logical_{name}": _logical(name) for name in ("not", "and", "or", "xor")}, "bitwise_not": _logical("not"),
    **{f"bitwise_{name}.Tensor": _logical(name) for name in ("and", "or", "xor")},
    "where.self": _where, "where.ScalarOther": _where, "where.ScalarSelf": _where, "where.Scalar": _where,
    "eq.Scalar": _equal(False), "eq.Tensor": _equal(False), "ne.Scalar": _equal(True), "ne.Tensor": _equal(True),
    "add.Tensor": _scaled("add"), "add.Scalar": _scaled("add"), "sub.Tensor": _scaled("sub"),
    "sub.Scalar": _scaled("sub"), "rsub.Scalar": _scaled("sub", True), "rsub.Tensor": _scaled("sub", True),
    "pow.Tensor_Scalar": _power, "pow.Tensor_Tensor": _power, "pow.Scalar": _raised,
    "clamp": _clamp, "clamp_min": _clamp,
    "clamp_max": lambda g, x, high: _clamp(g, x, None, high), "softshrink": _element("softshrink", {1: 0.5}),
    "hardshrink": _element("hardshrink", {1: 0.5}), "threshold": _element("threshold"),
    "celu": _element("celu", {1: 1.0}), "lerp.Scalar": _element("lerp"), "lerp.Tensor": _element("lerp"),
    "addcmul": _element("addcmul", {3: 1.0}), "addcdiv": _element("addcdiv", {3: 1.0}),
    "relu": _layer(ReLU), "relu6": _layer(lambda: Hardtanh(0.0, 6.0)), "sigmoid": _layer(Sigmoid), "tanh": _layer(Tanh),
    "silu": _layer(SiLU), "selu": _layer(SELU), "mish": _layer(Mish), "hardswish": _layer(HardSwish),
    "hardsigmoid": _layer(lambda: HardSigmoid(1 / 6, 0.5)), "gelu": _gelu, "elu": _elu, "softplus": _softplus,
    "leaky_relu": _layer(lambda slope=0.01: LeakyReLU(float(slope))),
    "hardtanh": _layer(lambda low=-1, high=1: Hardtanh(float(low), float(high))), "prelu": _viewed(_prelu),
    "dropout": _dropped, "feature_dropout": _dropped_channels,
    "native_dropout": lambda g, x, rate, training: [_dropped(g, x, rate, training), None],
    **dict.fromkeys(("randn_like", "rand_like", "randn", "rand", "bernoulli", "bernoulli.p", "normal_functional",
                     "randint_like", "multinomial", "alpha_dropout", "rrelu"), _drawn),
    "detach": _detached, "linear": _viewed(_linear), "addmm": _viewed(_addmm), "baddbmm": _viewed(_addmm),
    **dict.fromkeys(("matmul", "bmm", "mm", "dot"), _viewed(arithmetic.matmul)),
    "einsum": _viewed(lambda g, text, views, path=None: arithmetic.einsum(g, text, views)),
    "conv1d": _convolution(), "conv2d": _convolution(), "conv1d.padding": _convolution(),
    "conv2d.padding": _convolution(), "conv_transpose1d": _convolution(True),
    "conv_transpose2d.input": _convolution(True),
    "max_pool1d": _max_pool(1), "max_pool2d": _max_pool(2), "avg_pool1d": _mean_pool(1), "avg_pool2d": _mean_pool(2),
    "adaptive_avg_pool1d": _adaptive("mean"), "adaptive_avg_pool2d": _adaptive("mean"),
    "adaptive_max_pool1d": _adaptive("max"), "adaptive_max_pool2d": _adaptive("max"),
    "upsample_nearest1d.vec": _upsample("nearest"), "upsample_nearest2d.vec": _upsample("nearest"),
    "upsample_linear1d.vec": _upsample("linear"), "upsample_bilinear2d.vec": _upsample("linear"),
    "upsample_bicubic2d.vec": _upsample("cubic"),
    "avg_pool3d": _mean_pool(3), "max_pool3d": _max_pool(3), "conv3d": _convolution(), "conv3d.padding": _convolution(),
    **{f"{name}.input": _recurrent(name) for name in ("rnn_tanh", "rnn_relu", "gru", "lstm")},
    "arange.start_step": lambda g, start, end, step, *_: step, "embedding_bag.padding_idx": _viewed(_bag),
    "pairwise_distance": _viewed(_distance), "cdist": _viewed(_distances), "tensordot": _viewed(_tensordot),
    "prod.dim_int": _product, "_native_batch_norm_legit_functional": _batch_norm_functional,
    "batch_norm": _batch_norm, "instance_norm": _viewed(_instance_norm), "group_norm": _viewed(_group_norm),
    "layer_norm": _viewed(_layer_norm), "rms_norm": _viewed(_rms_norm), "embedding": _viewed(_embedding),
    "scaled_dot_product_attention": _attention, "cosine_similarity": _viewed(arithmetic.cosine),
    "softmax.int": _softmax(False), "log_softmax.int": _softmax(True), "glu": lambda g, x, axis=-1: arithmetic.element(
        g, "glu", *arranged.pieces(g, x, axis % len(x.axes), [size_of(x.axes[axis])[0] // 2] * 2)),
    "mean.dim": _reduced("mean"), "mean": _all("mean"), "sum.dim_IntList": _reduced("sum"), "sum": _all("sum"),
    "amax": _reduced("max"), "amin": _reduced("min"), "logsumexp": _reduced("logsumexp"), "max": _all("max"),
    "min": _all("min"), "max.dim": _largest("max"), "min.dim": _largest("min"),
    "var.correction": _variance(False), "std.correction": _variance(True), "var.dim": _variance(False),
    "var_mean.correction": _moments, "std.dim": _variance(True),
    "var": lambda g, x, unbiased=True: _variance(False)(g, x, None, unbiased),
    "std": lambda g, x, unbiased=True: _variance(True)(g, x, None, unbiased), "linalg_vector_norm": _norm,
    "norm.ScalarOpt_dim": _norm, "cumsum": lambda g, x, axis, dtype=None: arithmetic.cumulated(g, x, axis),
    "masked_fill.Scalar": _masked, "masked_fill.Tensor": _masked, "tril": _tril(False), "triu": _tril(True),
    "_weight_norm": _viewed(arithmetic.weight_norm), "bilinear": _viewed(_bilinear), **moves.MOVES,
}  # fmt: skip
SOFT = {"softmax.int", "log_softmax.int", "logsumexp", "amax", "max.dim", "scaled_dot_product_attention"}
"""The calls for which −10⁹ and less is nothing."""
AVERAGING = {"batch_norm", "_native_batch_norm_legit_functional"}
"""The calls that change buffers as layers of ours do."""
