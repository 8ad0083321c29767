"""What is computed, in the calls of any framework: texts of each component, sums of products, reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from chainrule.interop.graph import Graph, Operand
from chainrule.interop.views import SAMPLE, Digits, Source, View, inserted, permuted, removed, renewed, size_of
from chainrule.ir.index import Index
from chainrule.nn.arrangement import Add
from chainrule.nn.pooling import GlobalMaxPool, GlobalMeanPool

# Element-wise functions that are no layers: {0}, {1}, … are the operands.
ELEMENT = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0}*{1}", "div": "{0}/{1}", "neg": "-({0})", "abs": "abs({0})",
    "exp": "exp({0})", "expm1": "expm1({0})", "log": "log({0})", "log1p": "log1p({0})", "sin": "sin({0})",
    "cos": "cos({0})", "erf": "erf({0})", "erfc": "erfc({0})", "sqrt": "({0})**(1/2)", "rsqrt": "({0})**(-1/2)",
    "square": "({0})**2", "reciprocal": "({0})**(-1)", "maximum": "max({0}, {1})", "minimum": "min({0}, {1})",
    "sign": "sign({0})", "gt": "[{0} > {1}]", "lt": "[{1} > {0}]", "ge": "(1 - [{1} > {0}])",
    "le": "(1 - [{0} > {1}])", "not": "(1 - {0})", "and": "{0}*{1}", "or": "{0} + {1} - {0}*{1}",
    "xor": "{0} + {1} - 2*{0}*{1}", "where": "{0}*{1} + (1 - {0})*{2}",
    "log_sigmoid": "-softplus(-({0}))",
    "celu": "max({0}, 0) + {1}*expm1(min({0}, 0)/{1})",
    "softplus": "softplus({1}*({0}))/{1}", "threshold": "[{0} > {1}]*{0} + (1 - [{0} > {1}])*{2}",
    "softshrink": "relu({0} - {1}) - relu(-({0}) - {1})", "tanhshrink": "{0} - tanh({0})", "sum": "{0} + {1}",
    "tan": "sin({0})/cos({0})", "sinh": "(exp({0}) - exp(-({0})))/2", "cosh": "(exp({0}) + exp(-({0})))/2",
    "asinh": "log({0} + sqrt(({0})**2 + 1))", "hypot": "sqrt(({0})**2 + ({1})**2)",
    "log2": f"log({{0}})/{math.log(2)!r}", "log10": f"log({{0}})/{math.log(10)!r}",
    "exp2": f"exp({{0}}*{math.log(2)!r})", "logaddexp": "max({0}, {1}) + softplus(-abs({0} - {1}))",
    "lerp": "{0} + {2}*({1} - {0})", "addcmul": "{0} + {3}*{1}*{2}", "addcdiv": "{0} + {3}*{1}/{2}",
    "hardshrink": "[abs({0}) > {1}]*{0}", "glu": "{0}*sigmoid({1})",
}  # fmt: skip


def element(g: Graph, name: str, *operands: Operand) -> View:
    """A function of each component, operands aligned at their last axes."""
    return applied(g, ELEMENT[name], *operands)


def applied(g: Graph, text: str, *operands: Operand) -> View:
    """A text of each component."""
    views = [operand for operand in operands if isinstance(operand, View)]
    if not views:
        g.refuse("this computes with numbers alone", "compute it before, and give the network the result")
    axes, found = g.together(views)
    moved = iter(found)
    return g.equation(text, [next(moved) if isinstance(o, View) else o for o in operands], axes)


def power(g: Graph, x: View, exponent: float) -> View:
    if float(exponent).is_integer():
        return applied(g, f"({{0}})**({int(exponent)})", x)
    numerator, denominator = float(exponent).as_integer_ratio()
    written = f"{numerator}/{denominator}" if denominator <= 64 else repr(float(exponent))
    return applied(g, f"({{0}})**({written})", x)


def total(g: Graph, one: Operand, other: Operand) -> View:
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


def contraction(g: Graph, a: View, axis: int, b: View, other: int) -> View:
    """Σ a·b over one axis of each; the axes that are left stand one after another."""
    places = iter((axis, other) * 3)
    joint, (a, b) = g.aligned([a, b], lambda view: [view.axes[next(places)]])
    axes = [*(d for k, d in enumerate(a.axes) if k != axis), *(d for k, d in enumerate(b.axes) if k != other)]
    return _product(g, a, b, axes, joint[0])


def einsum(g: Graph, text: str, views: Sequence[View]) -> View:
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


def matmul(g: Graph, a: View, b: View) -> View:
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


def reduce(g: Graph, kind: str, x: View, over: Sequence[int], keep: bool) -> View:
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


def variance(g: Graph, x: View, over: Sequence[int], keep: bool, correction: float) -> View:
    """The mean of (x − mean)² over some axes, times count/(count − correction)."""
    count = math.prod(size_of(x.axes[axis])[0] for axis in over)
    mean = reduce(g, "mean", x, over, True)
    away = element(g, "square", element(g, "sub", x, mean))
    assert isinstance(away, View)
    y = reduce(g, "mean", away, over, keep)
    return element(g, "mul", y, count / (count - correction)) if correction else y


def norm(g: Graph, x: View, order: float, over: Sequence[int], keep: bool) -> View:
    """Σ |x|, or the root of Σ x², over some axes."""
    if order not in (1, 2):
        g.refuse(f"a norm of order {order}", "norms of order 1 and 2 are known")
    inner = element(g, "square" if order == 2 else "abs", x)
    assert isinstance(inner, View)
    found = reduce(g, "sum", inner, over, keep)
    return element(g, "sqrt", found) if order == 2 else found


def cosine(g: Graph, x: View, y: View, axis: int = 1, epsilon: float = 1e-8) -> View:
    """The cosine of the angle between the vectors along an axis, their lengths at least epsilon."""
    lengths = [element(g, "maximum", norm(g, value, 2, [axis], False), epsilon) for value in (x, y)]
    product = element(g, "mul", x, y)
    assert isinstance(product, View)
    return applied(g, "{0}/({1}*{2})", reduce(g, "sum", product, [axis], False), *lengths)


def weight_norm(g: Graph, v: View, length: View, axis: int = 0) -> View:
    """v times length/|v|, a length for each entry of an axis. Salimans & Kingma, NeurIPS 2016."""
    others = [k for k in range(len(v.axes)) if k != axis]
    return applied(g, "{0}*{1}/{2}", v, length, norm(g, v, 2, others, True))


def cumulated(g: Graph, x: View, axis: int) -> View:
    """Sums of the entries up to each place of an axis."""
    axis %= len(x.axes)
    x = renewed(g.single(x, axis))
    (inner,) = x.axes[axis]
    outer: Index = renewed(replace(x, axes=(x.axes[axis],), at=x.at)).axes[0][0]
    axes = [*x.axes[:axis], (outer,), *x.axes[axis + 1 :]]
    text = f"sum[{{r}}]([0 <= {{letters[{outer.name}]}} - {{letters[{inner.name}]}} < {inner.extent}]*{{0}})"
    return g.equation(text, [x], axes, [inner])
