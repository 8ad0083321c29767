"""Arithmetic by hand: a program's values as exact numbers, for as long as its functions allow.

Whole numbers and fractions stay exact through sums, products, maxima and where a function has a rational value:
σ(0) = 1/2. A logarithm of a sum of equal exponentials is kept as a + log q, so that a softmax of equal numbers is exact
too. Everything else is a float from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from chainrule.ir.expr import NamedReal
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.program import Equation
from chainrule.semantics.entries import execute
from chainrule.semantics.labelled import Array
from chainrule.semantics.reals import Objects


@dataclass(frozen=True, slots=True)
class Log:
    """value + log(of)."""

    value: Fraction
    of: Fraction

    def __float__(self) -> float:
        return float(self.value) + math.log(self.of)


Number = int | Fraction | float | Log


class Exact(Objects):
    """A function without a value gives NaN, which a false bracket hides; what is left of it is an ArithmeticError."""

    lowest = -math.inf
    nothing = math.nan

    def constant(self, value: Fraction) -> Number:
        return value.numerator if value.denominator == 1 else value

    def named(self, name: NamedReal) -> float:
        return {"pi": math.pi, "e": math.e}[name]

    def lifted(self, data: Array) -> Array:
        return data if data.dtype == object else self.array(data + 0)

    def plus(self, *arrays: Array) -> Array:
        return self.rows(add, np.stack(np.broadcast_arrays(*arrays), -1))

    def times(self, a: Array, b: Array) -> Array:
        return self.one(times, a, b)

    def total(self, data: Array, axes: tuple[int, ...]) -> Array:
        last = np.moveaxis(data, axes, range(-len(axes), 0))
        return self.rows(add, last.reshape(*last.shape[: -len(axes)], -1))

    def raised(self, data: Array, exponent: Fraction) -> Array:
        return self.one(partial(_or_nan, power, exponent), data)

    def function(self, name: str, *arguments: Array) -> Array:
        return self.one(partial(_or_nan, apply, name), *arguments)

    def exponentials(self, window: Array) -> Array:
        return self.rows(logsumexp, window)

    def rank(self, window: Array) -> Array:
        return self.one(plain, window)


def run(equations: Iterable[Equation], given: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """The values of all tensors, by name; `sizes` holds the named extents. Raises ArithmeticError where a function has
    no value."""
    values, _ = execute(Exact(sizes), equations, given)
    for name in values.keys() - given.keys():
        if any(isinstance(x, float) and math.isnan(x) for x in values[name].flat):
            raise ArithmeticError("no real number")
    return values


def _or_nan(function: Any, fixed: Any, *arguments: Number) -> Number:
    try:
        return function(fixed, *arguments)
    except (ValueError, ArithmeticError):
        return math.nan


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


def power(exponent: Fraction, base: Number) -> Number:
    value = plain(base)
    if value < 0 and exponent.denominator != 1:
        raise ArithmeticError(f"{float(value)} has no power {exponent}")
    if isinstance(value, float):
        return value ** float(exponent)
    up, down = (_root(n, exponent.denominator) for n in (Fraction(value).numerator, Fraction(value).denominator))
    if up is None or down is None:
        return float(value) ** float(exponent)
    result = Fraction(up, down) ** exponent.numerator
    return int(result) if result.denominator == 1 else result


def _root(value: int, degree: int) -> int | None:
    """The whole root of a whole number, if it has one."""
    if degree == 1:
        return value
    if value < 0:
        return None
    guess = round(value ** (1 / degree))
    return guess if guess**degree == value else None


def apply(name: str, *arguments: Number) -> Number:
    """A scalar function of the catalogue: exact where that is rational."""
    function, first = CATALOGUE[name], arguments[0]
    if function.kink:
        return function.value(math, *map(plain, arguments))
    if name == "exp" and isinstance(first, Log):
        return first.of if first.value == 0 else float(first.of) * math.exp(first.value)
    if not isinstance(first, float | Log):
        if function.zero is not None and first == 0:
            return function.zero
        if name == "log" and first > 0:
            return Log(Fraction(0), Fraction(first)) if first != 1 else 0
    return function.value(math, float(first))


def logsumexp(entries: Sequence[Number]) -> Number:
    numbers = list(map(plain, entries))
    top = max(numbers)
    if all(n == top for n in numbers) and not isinstance(top, float):
        return Log(Fraction(top), Fraction(len(numbers)))
    return float(top) + math.log(sum(math.exp(float(n) - float(top)) for n in numbers))
