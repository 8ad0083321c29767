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
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size, Tensor
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
At = list[int]
"""The values of the indices, each at its slot."""
Evaluated = Callable[[At], Number]


def run(equations: Iterable[Equation], given: Mapping[str, Mapping[Place, Number]], sizes: Mapping[str, int]) -> Values:
    """The values of all tensors, by name and place. `sizes` holds the named extents."""
    values: Values = {name: dict(entries) for name, entries in given.items()}
    for equation in equations:
        own = values.setdefault(equation.tensor.name, {})
        line = Line(equation.value, values, sizes)
        target = line.place(equation.target.subscripts)
        for at in line.each(equation.indices):
            own[target(at)] = line.value(at)
    return values


def size(extent: Extent, sizes: Mapping[str, int]) -> int:
    return extent if isinstance(extent, int) else sizes[extent]


def places(tensor: Tensor, sizes: Mapping[str, int]) -> Iterable[Place]:
    return product(*(range(size(e, sizes)) for e in tensor.shape))


class Line:
    """An expression made ready to be evaluated at many places."""

    def __init__(self, expr: Expr, values: Mapping[str, Mapping[Place, Number]], sizes: Mapping[str, int]) -> None:
        self.values, self.sizes = values, sizes
        self.slots: dict[Index, int] = {}
        self.value = self.compiled(expr)

    def slot(self, index: Index) -> int:
        return self.slots.setdefault(index, len(self.slots))

    def each(self, indices: Sequence[Index]) -> Iterable[At]:
        """One list of index values, set to every combination of these in turn."""
        own = [self.slot(i) for i in indices]
        at = [0] * len(self.slots)
        for place in product(*(range(size(i.extent, self.sizes)) for i in indices)):
            for slot, position in zip(own, place, strict=True):
                at[slot] = position
            yield at

    def at(self, places: Mapping[Index, int]) -> Number:
        """The value where the free indices have these values."""
        own = [(self.slot(i), position) for i, position in places.items()]
        at = [0] * len(self.slots)
        for slot, position in own:
            at[slot] = position
        return self.value(at)

    def where(self, subscript: Affine) -> Callable[[At], int]:
        offset, terms = subscript.offset, [(self.slot(i), c) for i, c in subscript.terms]
        return lambda at: offset + sum([c * at[slot] for slot, c in terms])

    def place(self, subscripts: Sequence[Affine]) -> Callable[[At], Place]:
        plain = [s.plain for s in subscripts]
        slots = [self.slot(i) for i in plain if i is not None]
        if len(slots) == len(plain):
            return lambda at: tuple([at[slot] for slot in slots])
        parts = [(s.offset, [(self.slot(i), c) for i, c in s.terms]) for s in subscripts]
        return lambda at: tuple([offset + sum([c * at[slot] for slot, c in terms]) for offset, terms in parts])

    def compiled(self, expr: Expr) -> Evaluated:
        """Depth is that of one equation."""
        match expr:
            case Constant(value=Fraction() as value):
                number = value.numerator if value.denominator == 1 else value
                return lambda at: number
            case Constant(value=value):
                real = math.pi if value == "pi" else math.e
                return lambda at: real
            case Size(extent=extent):
                count = self.sizes[extent]
                return lambda at: count
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                entries, place = self.values.get(tensor.name, {}), self.place(subscripts)
                outside = -math.inf if pad == "-inf" else pad
                if outside is None:
                    return lambda at: entries[place(at)]
                return lambda at: entries.get(place(at), outside)
            case Delta(left=left, right=Affine() as right):
                one, other = self.where(left), self.where(right)
                return lambda at: int(one(at) == other(at))
            case Delta(left=left, right=right):
                assert isinstance(right, Component)
                one, chosen = self.where(left), self.compiled(right)
                return lambda at: int(one(at) == chosen(at))
            case Guard(subscript=subscript, extent=extent):
                one, limit = self.where(subscript), size(extent, self.sizes)
                return lambda at: int(0 <= one(at) < limit)
            case Add(terms=terms):
                parts = [self.compiled(t) for t in terms]
                return lambda at: add([part(at) for part in parts])
            case Multiply(factors=factors):
                return self.product(factors)
            case Power(base=base, exponent=exponent):
                part = self.compiled(base)
                return lambda at: power(part(at), exponent)
            case Apply(function=function, arguments=arguments):
                parts = [self.compiled(a) for a in arguments]
                return lambda at: apply(function, [part(at) for part in parts])
            case Reduce(kind=kind, indices=indices, body=body):
                return self.reduction(kind, indices, body)
            case _:
                raise DerivationError(f"no value is known for {type(expr).__name__}", about=expr)

    def product(self, factors: Sequence[Expr]) -> Evaluated:
        """A bracket that is 0 makes the product 0, whatever stands beside it."""
        brackets = [self.compiled(f) for f in factors if isinstance(f, Delta | Guard)]
        parts = [self.compiled(f) for f in factors if not isinstance(f, Delta | Guard)]

        def multiplied(at: At) -> Number:
            for bracket in brackets:
                if not bracket(at):
                    return 0
            result: Number = 1
            for part in parts:
                result = times(result, part(at))
            return result

        return multiplied

    def reduction(self, kind: str, indices: Sequence[Index], body: Expr) -> Evaluated:
        slots = [self.slot(i) for i in indices]
        combinations = list(product(*(range(size(i.extent, self.sizes)) for i in indices)))
        part = self.compiled(body)

        def reduced(at: At) -> Number:
            # An index of this name may stand outside too.
            entries, outside = list[Number](), [at[slot] for slot in slots]
            for place in combinations:
                for slot, position in zip(slots, place, strict=True):
                    at[slot] = position
                entries.append(part(at))
            for slot, position in zip(slots, outside, strict=True):
                at[slot] = position
            return reduce(kind, entries)

        return reduced


def plain(value: Number) -> int | Fraction | float:
    return float(value) if isinstance(value, Log) else value


def add(terms: Sequence[Number]) -> Number:
    if not any(isinstance(t, Log) for t in terms):
        return sum(map(plain, terms))
    logs = [t for t in terms if isinstance(t, Log)]
    if len(logs) != 1 or any(isinstance(t, float) for t in terms):
        return sum(map(plain, terms))
    (log,) = logs
    return Log(log.value + sum(Fraction(t) for t in terms if isinstance(t, int | Fraction)), log.of)


def times(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
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
    if value < 0 and exponent.denominator != 1:
        raise ArithmeticError(f"{float(value)} has no power {exponent}")
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


def apply(function: str, arguments: Sequence[Number]) -> Number:
    """A scalar function of the catalogue: exact where that is rational."""
    first = arguments[0]
    numbers = list(map(plain, arguments))
    match function:
        case "relu":
            return max(numbers[0], 0)
        case "step":
            return int(numbers[0] > 0)
        case "sign":
            return (numbers[0] > 0) - (numbers[0] < 0)
        case "abs":
            return abs(numbers[0])
        case "max":
            return max(numbers)
        case "min":
            return min(numbers)
        case _:
            pass
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
