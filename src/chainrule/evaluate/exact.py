"""The semantics by hand: a program's values as exact numbers, for as long as its functions allow.

Whole numbers and fractions stay exact through sums, products, maxima and where a function has a rational value:
σ(0) = 1/2. A logarithm of a sum of equal exponentials is kept as a + log q, so that a softmax of equal numbers is exact
too. Everything else is a float from there on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from chainrule.errors import DerivationError
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.program import Equation


@dataclass(frozen=True, slots=True)
class Log:
    """value + log(of)."""

    value: Fraction
    of: Fraction

    def __float__(self) -> float:
        return float(self.value) + math.log(self.of)


Number = int | Fraction | float | Log
Place = tuple[int, ...]
Values = dict[str, dict[Place, Number]]
At = dict[Index, int]
Evaluated = Callable[[At], Number]


def run(equations: Iterable[Equation], given: Mapping[str, Mapping[Place, Number]], sizes: Mapping[str, int]) -> Values:
    """The values of all tensors, by name and place. `sizes` holds the named extents."""
    values: Values = {name: dict(entries) for name, entries in given.items()}
    for equation in equations:
        own = values.setdefault(equation.tensor.name, {})
        evaluate = compiled(equation.value, values, sizes)
        indices = equation.indices
        for place in product(*(range(size(i.extent, sizes)) for i in indices)):
            at = dict(zip(indices, place, strict=True))
            own[tuple(where(s, at) for s in equation.target.subscripts)] = evaluate(at)
    return values


def size(extent: Extent, sizes: Mapping[str, int]) -> int:
    return extent if isinstance(extent, int) else sizes[extent]


def places(tensor: Tensor, sizes: Mapping[str, int]) -> Iterable[Place]:
    return product(*(range(size(e, sizes)) for e in tensor.shape))


def where(subscript: Affine, at: At) -> int:
    return subscript.offset + sum(c * at[i] for i, c in subscript.terms)


def compiled(expr: Expr, values: Mapping[str, Mapping[Place, Number]], sizes: Mapping[str, int]) -> Evaluated:
    """A function from index values to the expression's value. Depth is that of one equation."""

    def inner(node: Expr) -> Evaluated:
        return compiled(node, values, sizes)

    match expr:
        case Constant(value=Fraction() as value):
            number = value.numerator if value.denominator == 1 else value
            return lambda at: number
        case Constant(value=value):
            real = math.pi if value == "pi" else math.e
            return lambda at: real
        case Size(extent=extent):
            count = sizes[extent]
            return lambda at: count
        case Component(tensor=tensor, subscripts=subscripts, pad=pad):
            entries = values.get(tensor.name, {})
            outside = -math.inf if pad == "-inf" else pad
            if outside is None:
                return lambda at: entries[tuple(where(s, at) for s in subscripts)]
            return lambda at: entries.get(tuple(where(s, at) for s in subscripts), outside)
        case Delta(left=left, right=Affine() as right):
            return lambda at: int(where(left, at) == where(right, at))
        case Delta(left=left, right=right):
            assert isinstance(right, Component)
            chosen = inner(right)
            return lambda at: int(where(left, at) == chosen(at))
        case Guard(subscript=subscript, extent=extent):
            limit = size(extent, sizes)
            return lambda at: int(0 <= where(subscript, at) < limit)
        case Add(terms=terms):
            parts = [inner(t) for t in terms]
            return lambda at: add([part(at) for part in parts])
        case Multiply(factors=factors):
            # A bracket that is 0 makes the product 0, whatever stands beside it.
            brackets = [inner(f) for f in factors if isinstance(f, Delta | Guard)]
            parts = [inner(f) for f in factors if not isinstance(f, Delta | Guard)]

            def multiplied(at: At) -> Number:
                result: Number = 1
                if all(bracket(at) for bracket in brackets):
                    for part in parts:
                        result = times(result, part(at))
                    return result
                return 0

            return multiplied
        case Power(base=base, exponent=exponent):
            part = inner(base)
            return lambda at: power(part(at), exponent)
        case Apply(function=function, arguments=arguments):
            parts = [inner(a) for a in arguments]
            return lambda at: apply(function, [part(at) for part in parts])
        case Reduce(kind=kind, indices=indices, body=body):
            part = inner(body)
            ranges = [range(size(i.extent, sizes)) for i in indices]

            def reduced(at: At) -> Number:
                entries = [part({**at, **dict(zip(indices, place, strict=True))}) for place in product(*ranges)]
                return reduce(kind, entries)

            return reduced
        case _:
            raise DerivationError(f"no value is known for {type(expr).__name__}", about=expr)


def plain(value: Number) -> int | Fraction | float:
    return float(value) if isinstance(value, Log) else value


def add(terms: Sequence[Number]) -> Number:
    logs = [t for t in terms if isinstance(t, Log)]
    if len(logs) != 1 or any(isinstance(t, float) for t in terms):
        return sum(map(plain, terms))
    (log,) = logs
    return Log(log.value + sum(Fraction(t) for t in terms if isinstance(t, int | Fraction)), log.of)


def times(a: Number, b: Number) -> Number:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Log) and other == -1:
            return Log(-one.value, 1 / one.of)
        if isinstance(one, Log) and other == 1:
            return one
    if 0 in (a, b) and not isinstance(a, float) and not isinstance(b, float):
        return 0
    return plain(a) * plain(b)


def power(base: Number, exponent: Fraction) -> Number:
    value = plain(base)
    if isinstance(value, float):
        return value ** float(exponent)
    whole, root = exponent.numerator, exponent.denominator
    up, down = (_root(n, root) for n in (Fraction(value).numerator, Fraction(value).denominator))
    if up is None or down is None:
        return float(value) ** float(exponent)
    result = Fraction(up, down) ** whole
    return int(result) if result.denominator == 1 else result


def _root(value: int, degree: int) -> int | None:
    """The whole root of a whole number, if it has one."""
    if degree == 1:
        return value
    if value < 0:
        return None
    guess = round(value ** (1 / degree))
    return guess if guess**degree == value else None


AT_ZERO: dict[str, Fraction] = {
    "exp": Fraction(1), "expm1": Fraction(0), "sigmoid": Fraction(1, 2), "tanh": Fraction(0), "erfc": Fraction(1),
}
REAL: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "tanh": math.tanh, "erfc": math.erfc,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
}
PIECEWISE: dict[str, Callable[..., int | Fraction | float]] = {
    "relu": lambda x: max(x, 0), "step": lambda x: int(x > 0), "abs": abs, "max": max, "min": min,
    "sign": lambda x: (x > 0) - (x < 0),
}


def apply(function: str, arguments: Sequence[Number]) -> Number:
    """A scalar function of the catalogue: exact where that is rational."""
    first = arguments[0]
    if function in PIECEWISE:
        return PIECEWISE[function](*map(plain, arguments))
    if function == "exp" and isinstance(first, Log):
        return first.of if first.value == 0 else float(first.of) * math.exp(first.value)
    if function in AT_ZERO and not isinstance(first, float | Log) and first == 0:
        return AT_ZERO[function]
    if function == "log" and not isinstance(first, float | Log) and first > 0:
        return Log(Fraction(0), Fraction(first)) if first != 1 else 0
    if function not in REAL:
        raise DerivationError(f"no value is known for the function {function}")
    return REAL[function](float(first))


def reduce(kind: str, entries: Sequence[Number]) -> Number:
    if kind == "sum":
        return add(entries)
    numbers = list(map(plain, entries))
    if kind == "max":
        return max(numbers)
    if kind == "argmax":
        return numbers.index(max(numbers))
    top = max(numbers)
    if all(n == top for n in numbers) and not isinstance(top, float):
        return Log(Fraction(top), Fraction(len(numbers)))
    return float(top) + math.log(sum(math.exp(float(n) - float(top)) for n in numbers))
