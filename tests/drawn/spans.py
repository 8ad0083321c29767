"""The least and the greatest value that an expression can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tests.drawn.language import Add, Apply, Divide, Expr, Index, Minus, Multiply, N, Number, Power, Read, Reduce

Span = tuple[float, float]
SAMPLES = 4  # as many as are reckoned with


def width(i: Index) -> int:
    return SAMPLES if i.extent == N else int(i.extent)


def span(node: Expr, of: Mapping[str, Span]) -> Span:
    """Of an expression, from the spans of the tensors that it reads."""
    match node:
        case Number(value, _):
            number = math.pi if value == "pi" else float(value)
            return number, number
        case Read(name, _, pad):
            low, high = of[name]
            return (low, high) if pad is None or pad == "-inf" else (min(low, float(pad)), max(high, float(pad)))
        case Add(terms):
            ends = [(span(t, of) if plus else _minus(span(t, of))) for plus, t in terms]
            return sum(e[0] for e in ends), sum(e[1] for e in ends)
        case Multiply(factors):
            result: Span = (1.0, 1.0)
            for f in factors:
                result = _product(result, span(f, of))
            return result
        case Divide(above, below):
            low, high = span(below, of)
            return _product(span(above, of), (1 / high, 1 / low) if low > 0 else (-1e9, 1e9))
        case Minus(negated):
            return _minus(span(negated, of))
        case Power(base, exponent):
            low, high = span(base, of)
            if exponent < 0 or exponent.denominator > 1:
                ends = sorted((max(low, 1e-9) ** float(exponent), max(high, 1e-9) ** float(exponent)))
                return ends[0], ends[1]
            n = int(exponent)
            ends = sorted((low**n, high**n))
            return (0.0 if n % 2 == 0 and low < 0 < high else ends[0]), ends[1]
        case Apply(function, arguments):
            return _applied(function, [span(a, of) for a in arguments])
        case Reduce(kind, indices, body):
            low, high = span(body, of)
            count = math.prod(width(i) for i in indices)
            if kind == "sum":
                return min(low * count, low), max(high * count, high)
            return (low, high + math.log(count)) if kind == "logsumexp" else (low, high)
        case _:
            return 0.0, 1.0


def _minus(span: Span) -> Span:
    return -span[1], -span[0]


def _product(one: Span, other: Span) -> Span:
    ends = [a * b for a in one for b in other]
    return min(ends), max(ends)


def _exp(x: float) -> float:
    return math.exp(min(x, 60))


_MONOTONE: dict[str, Callable[[float], float]] = {
    "exp": _exp, "expm1": lambda x: _exp(x) - 1, "log": lambda x: math.log(max(x, 1e-9)),
    "sigmoid": lambda x: 1 / (1 + _exp(-x)), "tanh": math.tanh, "relu": lambda x: max(x, 0), "erfc": math.erfc,
    "softplus": lambda x: max(x, 0) + math.log1p(_exp(-abs(x))),
}  # fmt: skip


def _applied(function: str, spans: list[Span]) -> Span:
    low, high = spans[0]
    match function:
        case "step":
            return 0.0, 1.0
        case "sign":
            return -1.0, 1.0
        case "abs":
            return (0.0 if low < 0 < high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case "max" | "min":
            choose = max if function == "max" else min
            return choose(low, spans[1][0]), choose(high, spans[1][1])
        case _:
            ends = sorted((_MONOTONE[function](low), _MONOTONE[function](high)))
            return ends[0], ends[1]
