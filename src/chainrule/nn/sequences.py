"""Layers over sequences: embeddings of numbered entries and of positions, and attention. A sequence is (N, T, D)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.initialisers import Initialiser, named, normal, zeros
from chainrule.nn.layer import Layer, Node, Random, Shape, State, bernoulli, show
from chainrule.nn.shapes import complement, divided, exact, positive, probability, real, truth

_FAR = 1_000_000_000  # exp(−10⁹ + s) is 0 in both precisions for every score s that is not of that size itself


class Embedding(Layer):
    """y = E[x]: row x of a table (entries, units) in the place of each whole number x from 0 to entries − 1, so
    (N, T) -> (N, T, units). Its input is one of whole numbers: Input(7, dtype="integer").

    The rows start with variance 1/units; `l2` adds (l2/2)·ΣE² to the loss, in place of the model's.
    """

    integer = True

    def __init__(self, entries: int, units: int, l2: float | None = None) -> None:
        super().__init__(l2=l2)
        self.entries = positive("entries", entries, "Embedding", "Embedding(100, 16)")
        self.units = positive("units", units, "Embedding", "Embedding(100, 16)")

    def equations(self, *shapes: Shape) -> str:
        places = ", ".join(["n", *(f"t{i + 1}" if len(shapes[0]) > 2 else "t" for i in range(len(shapes[0]) - 1))])
        return f"y[{places}, k<{self.units}] = sum[v<{self.entries}]([v == x[{places}]]*E[v, k])"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"E": normal(self.units**-0.5, self.entries, self.units)}


class PositionEmbedding(Layer):
    """y = x + P for every sample, with a learned row of P (T, D) for each position of (N, T, D).
    It starts with the standard deviation 0.02; `l2` adds (l2/2)·ΣP² to the loss, in place of the model's."""

    def __init__(self, l2: float | None = None) -> None:
        super().__init__(l2=l2)

    def equations(self, *shapes: Shape) -> str:
        _sequence(shapes[0], "PositionEmbedding")
        return "y[n, t, k] = x[n, t, k] + P[t, k]"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"P": normal(0.02, *_sequence(shapes[0], "PositionEmbedding"))}


class MultiHeadAttention(Layer):
    """Scaled dot-product attention with several heads: (N, T, D) -> (N, T, units). Vaswani et al., NeurIPS 2017.

    Called on one value it attends to itself; on two, the first asks and the second is attended to:
    attention(queries, context). q = Wq·x, k = Wk·context, v = Wv·context; each head takes units/heads components of
    them, weighs the positions by softmax(q·k/√(units/heads)), and Wo puts the heads together. `units` is the D of the
    queries unless given. With `causal` a position attends to none after it. W are (units, inputs); `l2` adds
    (l2/2)·ΣW² for each of them, in place of the model's.
    """

    inputs = None

    def __init__(
        self,
        heads: int,
        units: int | None = None,
        causal: bool = False,
        bias: bool = True,
        init: str = "glorot",
        l2: float | None = None,
    ) -> None:
        super().__init__(l2=l2)
        named(init)
        example = "MultiHeadAttention(4, units=32)"
        self.heads = positive("heads", heads, "MultiHeadAttention", example)
        self.units = None if units is None else positive("units", units, "MultiHeadAttention", example)
        if self.units is not None:
            divided(self.units, self.heads, "MultiHeadAttention")
        self.causal, self.bias = (truth(n, v, type(self).__name__) for n, v in (("causal", causal), ("bias", bias)))
        self.start = init

    def __call__(self, *inputs: Node) -> Node:
        if len(inputs) > 2:
            raise ModelError(
                f"MultiHeadAttention takes 1 or 2 inputs and was given {len(inputs)}",
                about="MultiHeadAttention",
                fix="call it on one value, or on the queries and the context",
            )
        return super().__call__(*inputs)

    def _parts(self, *shapes: Shape) -> tuple[int, int, int, int, int]:
        """T of the queries and the context, D of both, and the units."""
        asks, inputs = _sequence(shapes[0], "MultiHeadAttention")
        keys, context = _sequence(shapes[-1], "MultiHeadAttention")
        if self.causal and asks != keys:
            raise ShapeError(
                f"causal=True needs as many positions in both, not {show(shapes[0])} and {show(shapes[-1])}",
                fix="write causal=False",
            )
        return asks, keys, inputs, context, inputs if self.units is None else self.units

    def equations(self, *shapes: Shape) -> str:
        _, keys, _, _, units = self._parts(*shapes)
        width = divided(units, self.heads, "MultiHeadAttention")
        x, z = ("x", "x") if len(shapes) == 1 else ("x1", "x2")
        head = f"{width}*h + c"
        root = math.isqrt(width)
        scale = f"1/{root}" if root * root == width else f"{width}**(-1/2)"
        later = f" - {_FAR}*[0 <= r - t - 1 < {keys}]" if self.causal else ""

        def projected(name: str, place: str, value: str) -> str:
            bias = f" + b{name}[{head}]" if self.bias else ""
            return (
                f"{name}[n, h<{self.heads}, {place}, c<{width}] = "
                f"sum[l](W{name}[{head}, l]*{value}[n, {place}, l]){bias}"
            )

        return "\n".join(
            [
                projected("q", "t", x),
                projected("k", "r", z),
                projected("v", "r", z),
                f"s[n, h, t, r] = {scale}*sum[c](q[n, h, t, c]*k[n, h, r, c]){later}",
                "p[n, h, t, r] = exp(s[n, h, t, r] - logsumexp[u](s[n, h, t, u]))",
                "a[n, h, t, c] = sum[r](p[n, h, t, r]*v[n, h, r, c])",
                f"y[n, t, o<{units}] = sum[h, c](Wo[o, {head}]*a[n, h, t, c]){' + bo[o]' if self.bias else ''}",
            ]
        )

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        _, _, inputs, context, units = self._parts(*shapes)
        widths = {"Wq": inputs, "Wk": context, "Wv": context, "Wo": units}
        weights = {name: named(self.start, units, width) for name, width in widths.items()}
        biases = {name: zeros(units) for name in ("bq", "bk", "bv", "bo")} if self.bias else {}
        return {**weights, **biases}


class Attention(Layer):
    """Scaled dot-product attention of queries, keys and values that are given: y = softmax(scale·q·kᵀ)·v over the
    positions of the keys, for (N, …, T, c), (N, …, R, c) and (N, …, R, d) -> (N, …, T, d). Vaswani et al., NeurIPS
    2017. `scale` is 1/√c unless given; with `causal` a position attends to none after it. A fourth input (N, …, T, R)
    is added to the scores, and `dropout` sets weights to 0 in training, as Dropout does."""

    inputs = None

    def __init__(self, causal: bool = False, scale: float | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.causal = truth("causal", causal, "Attention")
        self.scale = None if scale is None else real("scale", scale, "Attention", "Attention(scale=0.125)")
        self.dropout = probability("dropout", dropout, "Attention", "Attention(dropout=0.1)")

    def __call__(self, *inputs: Node) -> Node:
        if len(inputs) not in (3, 4):
            raise ModelError(
                f"Attention takes 3 or 4 inputs and was given {len(inputs)}", about="Attention",
                fix="call it on queries, keys and values",
            )
        return super().__call__(*inputs)

    def _equations(self, shapes: tuple[Shape, ...], mask: str) -> str:
        (lead, asks, width), (of_keys, keys, of), (of_values, held, _) = map(_matrix, shapes[:3])
        fits = lead == of_keys == of_values and width == of and keys == held
        if not fits or any(shape != (*lead, asks, keys) for shape in shapes[3:]):
            raise ShapeError(
                f"Attention does not fit {', '.join(map(show, shapes))}",
                fix="give queries (N, …, T, c), keys (N, …, R, c), values (N, …, R, d)",
            )
        if self.causal and asks != keys:
            raise ShapeError(
                f"causal=True needs as many queries as keys, not {asks} and {keys}", fix="write causal=False"
            )
        at = ", ".join(["n", *(["h"] if len(lead) == 2 else [f"h{i + 1}" for i in range(len(lead) - 1)])])
        root = math.isqrt(width)
        scale = f"1/{root}" if root * root == width else f"{width}**(-1/2)"
        scale = scale if self.scale is None else exact(self.scale)
        more = f" - {_FAR}*[0 <= r - t - 1 < {keys}]" if self.causal else ""
        more += f" + x4[{at}, t, r]" if len(shapes) > 3 else ""
        return "\n".join(
            [
                f"s[{at}, t, r] = {scale}*sum[c](x1[{at}, t, c]*x2[{at}, r, c]){more}",
                f"p[{at}, t, r] = exp(s[{at}, t, r] - logsumexp[u](s[{at}, t, u]))",
                f"y[{at}, t, d] = sum[r](p[{at}, t, r]*{mask.format(at=at)}x3[{at}, r, d])",
            ]
        )

    def equations(self, *shapes: Shape) -> str:
        mask = f"mask[{{at}}, t, r]/{complement(self.dropout)}*" if self.dropout else ""
        return self._equations(shapes, mask)

    def inference_equations(self, *shapes: Shape) -> str:
        return self._equations(shapes, "")

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        if not self.dropout:
            return {}
        (lead, asks, _), (_, keys, _) = map(_matrix, shapes[:2])
        return {"mask": bernoulli(float(complement(self.dropout)), "n", *map(int, lead[1:]), asks, keys)}


def _matrix(shape: Shape) -> tuple[Shape, int, int]:
    """The axes before the last two, and these. Raises ShapeError where there are fewer than three."""
    if len(shape) < 3:
        raise ShapeError(f"Attention takes (N, …, T, c), not {show(shape)}", fix="put cr.Reshape before it")
    *lead, rows, columns = shape
    return tuple(lead), int(rows), int(columns)


def _sequence(shape: Shape, about: str) -> tuple[int, int]:
    """T and D of (N, T, D). Raises ShapeError for any other shape."""
    if len(shape) != 3:
        raise ShapeError(
            f"{about} takes a sequence (N, T, D), not {show(shape)}",
            fix="give Input(7, 16), or put Embedding or Reshape before it",
        )
    return int(shape[1]), int(shape[2])
