"""Real arithmetic: at 50 digits, where what agrees is evidence and no exact identity, and in plain float64."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial, reduce
from math import e, inf, pi
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.ir.expr import NamedReal, Tensor
from chainrule.ir.functions import CATALOGUE, FUNCTIONS
from chainrule.semantics.entries import Entries
from chainrule.semantics.labelled import Array, shape_of
from chainrule.semantics.prime import key

DIGITS = 50


class MissingLibraryError(ChainruleError, ImportError):
    """A check needs a library that only an extra installs."""


def library() -> Any:
    """mpmath, at 50 digits. Raises MissingLibraryError where it is not installed."""
    try:
        import mpmath
    except ImportError:
        raise MissingLibraryError(
            "arithmetic at 50 digits needs mpmath", about="verify", fix="pip install 'chainrule[verify]'"
        ) from None
    context: Any = mpmath.MPContext()
    context.dps = DIGITS
    return context


def finite(*numbers: Any) -> bool:
    return all(abs(x) < inf for x in numbers)


class Reals(Entries):
    """Where there is no value stands NaN, of which nothing is said, nor of an infinity."""

    close: Any
    """How near two results are that are equal, relative to the greatest number there or to 1."""

    def same(self, a: Any, b: Any, beside: Iterable[Any] = ()) -> bool:
        return not finite(a, b) or bool(abs(a - b) <= self.close * max(1, *map(abs, (a, b, *beside))))

    @abstractmethod
    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Numbers between 1/4 and 5/4, of full precision."""

    def draw(self, tensor: Tensor, seed: int, top: int, *, positive: bool) -> Array:
        """Random numbers for a tensor, with a random sign unless `positive`; integers below `top`."""
        rng = np.random.default_rng(key(seed, "reals", tensor.name))
        shape = shape_of(tensor, self.extents)
        if tensor.dtype == "integer":
            return rng.integers(0, top, shape)
        numbers = self.uniform(rng, shape)
        return numbers if positive else numbers * np.where(rng.random(shape) < 0.5, 1, -1)


class Floats(Reals):
    dtype = np.dtype(np.float64)
    lowest = -np.inf
    nothing = np.nan
    close = 1e-9

    def constant(self, value: Fraction) -> float:
        return float(value)

    def named(self, name: NamedReal) -> float:
        return {"pi": pi, "e": e}[name]

    def lifted(self, data: Array) -> Array:
        return data.astype(np.float64, copy=False)

    def raised(self, data: Array, exponent: Fraction) -> Array:
        with np.errstate(all="ignore"):
            return data ** (exponent.numerator if exponent.denominator == 1 else float(exponent))

    def function(self, name: str, *arguments: Array) -> Array:
        with np.errstate(all="ignore"):
            return FUNCTIONS[name](*arguments)

    def exponentials(self, window: Array) -> Array:
        return np.logaddexp.reduce(window, -1)

    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.uniform(0.25, 1.25, shape)


class Objects(Entries):
    """Numbers that are objects of Python's."""

    dtype = np.dtype(object)

    def one(self, function: Callable[[Any], Any] | Callable[[Any, Any], Any], *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return self.array(np.frompyfunc(function, len(arrays), 1)(*arrays))

    def rows(self, function: Callable[[list[Any]], Any], window: Array) -> Array:
        """A function of the list of entries along the last axis."""
        result = np.empty(window.shape[:-1], object)
        for at in np.ndindex(*result.shape):
            result[at] = function(list(window[at]))
        return result


class Precise(Objects, Reals):
    """A factor of 0 hides what is no number."""

    def __init__(self, extents: Mapping[str, int], mp: Any) -> None:
        super().__init__(extents)
        self.mp, self.close = mp, mp.mpf("1e-40")
        self.lowest, self.nothing = mp.ninf, mp.nan

    def constant(self, value: Fraction) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator

    def named(self, name: NamedReal) -> Any:
        return +getattr(self.mp, name)

    def lifted(self, data: Array) -> Array:
        return data if data.dtype == object else self.one(lambda x: self.mp.mpf(int(x)), data)

    def times(self, a: Array, b: Array) -> Array:
        return self.one(lambda x, y: x * y if x and y else self.mp.zero, a, b)

    def raised(self, data: Array, exponent: Fraction) -> Array:
        power = int(exponent) if exponent.denominator == 1 else self.constant(exponent)

        def value(x: Any) -> Any:
            return x**power if x > 0 or (exponent.denominator == 1 and (exponent >= 0 or x)) else self.mp.nan

        return self.one(value, data)

    def function(self, name: str, *arguments: Array) -> Array:
        return self.one(partial(self._value, name), *arguments)

    def _value(self, name: str, *arguments: Any) -> Any:
        if any(self.mp.isnan(x) for x in arguments):
            return self.mp.nan
        value = CATALOGUE[name].value(self.mp, *arguments)
        return self.mp.mpf(value) if not isinstance(value, self.mp.mpc) and self.mp.isfinite(value) else self.mp.nan

    def exponentials(self, window: Array) -> Array:
        def value(row: list[Any]) -> Any:
            top = reduce(max, row)
            return top + self.mp.log(self.mp.fsum(self.mp.exp(x - top) for x in row))

        return self.rows(value, window)

    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        words = rng.integers(0, 2**62, (*shape, 3)).astype(object)
        whole = words[..., 0] * 2**124 + words[..., 1] * 2**62 + words[..., 2]
        return self.one(lambda w: self.mp.mpf(w) / self.mp.mpf(2) ** 186 + self.mp.mpf(1) / 4, whole)


def precise(extents: Mapping[str, int]) -> Precise:
    """Raises MissingLibraryError without mpmath."""
    return Precise(extents, library())


def best(extents: Mapping[str, int]) -> Reals:
    """50 digits, or floats without mpmath."""
    try:
        return precise(extents)
    except MissingLibraryError:
        return Floats(extents)
