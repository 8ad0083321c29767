"""Two arithmetics for the interpreter of loops: float64, and GF(2^61 − 1) as the field executor has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import e, isfinite, pi
from typing import Any

import numpy as np

from chainrule.evaluate.functions import FUNCTIONS
from chainrule.evaluate.prime import PRIME, key, mix, residue


class Floats:
    """float64, or another type: nothing is fused, so that another order of a sum shows in its last bits."""

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = np.dtype(dtype)
        self.unwritten = np.nan
        self.operations: dict[str, Callable[..., Any]] = {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
            "mac": lambda a, b, c: a * b + c, "square_root": np.sqrt, "root": lambda x, r: x ** self.dtype.type(r),
            "greater": np.greater, "better": lambda a, b: ~(a <= b) & (b == b), "lowest": lambda: self.number("-inf"),
            "lse_start": lambda: self.number("-inf"), "lse_top": lambda m, v: np.where(v <= m, m, v),
            "lse_add": lambda s, v, m, at: s + np.exp(v - np.where(np.isfinite(m), m, 0)),
            "lse_end": lambda m, s: np.log(s) + np.where(np.isfinite(m), m, 0),
        }

    def number(self, value: Any) -> Any:
        return self.dtype.type({"pi": pi, "e": e, "-inf": -np.inf}.get(value, value))

    def finite(self, value: Any) -> bool:
        return isfinite(value)

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        function = self.operations.get(operation) or FUNCTIONS[operation.removesuffix("_")]
        with np.errstate(all="ignore"):
            return np.asarray(function(*arguments), None if operation in ("greater", "better") else self.dtype)[()]


LOWEST = -1  # no field element: any of them beats it


class Field:
    """Python's whole numbers below p, or arrays of them."""

    def __init__(self, seed: int) -> None:
        self.dtype = np.dtype(object)
        self.unwritten = None
        self.seed = seed

    def number(self, value: Any) -> Any:
        if isinstance(value, str):
            return int(residue(mix(np.zeros((), np.uint64), key(self.seed, "real", value))))
        return int(value.numerator * pow(value.denominator, -1, PRIME) % PRIME)

    def finite(self, value: Any) -> bool:
        return True

    def keyed(self, x: Any, *names: object) -> Any:
        return self.back(residue(mix(np.asarray(x, np.uint64), key(self.seed, *names))))

    def back(self, words: Any) -> Any:
        return words.astype(object) if words.ndim else int(words)

    def function(self, name: object, x: Any) -> Any:
        return self.keyed(x, "function", name, 0)

    def rank(self, x: Any) -> Any:
        x = np.asarray(x, object)
        words = mix(np.where(x == LOWEST, 0, x).astype(np.uint64), key(self.seed, "rank"))
        return np.where(x == LOWEST, 0, self.back(np.atleast_1d(words >> np.uint64(1)).reshape(x.shape)) + 1)

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        match operation.removesuffix("_"), arguments:
            case "add", (a, b):
                return (a + b) % PRIME
            case "sub", (a, b):
                return (a - b) % PRIME
            case "mul", (a, b):
                return a * b % PRIME
            case "neg", (a,):
                return -a % PRIME
            case "mac", (a, b, total):
                return (a * b + total) % PRIME
            case "div", (a, b):
                inverse = np.vectorize(lambda x: pow(x, PRIME - 2, PRIME), otypes=[object])(b)[()]
                return a * inverse % PRIME
            case "square_root", (x,):
                return self.function(("power", Fraction(1, 2)), x)
            case "root", (x, rest):
                return self.function(("power", rest), x)
            case "better" | "greater", (a, b):
                return self.rank(a) > self.rank(b)
            case "lowest", ():
                return LOWEST
            case "lse_start", ():
                return 0
            case "lse_top", (top, _):
                return top
            case "lse_add", (total, x, _, at):
                place = mix(np.asarray(at, np.uint64), key(self.seed, "position"))
                words = mix(np.asarray(x, np.uint64) ^ place, key(self.seed, "entry"))
                return (total + self.back(words)) % 2**64
            case "lse_end", (_, total):
                return self.keyed(total, "logsumexp")
            case "relu", (x,):
                return x * self.function("step", x) % PRIME
            case "abs", (x,):
                return x * self.function("sign", x) % PRIME
            case "max", (x, y):
                return (x + (y - x) * self.function("step", (y - x) % PRIME)) % PRIME
            case "min", (x, y):
                return (x + (y - x) * self.function("step", (x - y) % PRIME)) % PRIME
            case name, (x,):
                return self.function(name, x)
            case name, _:
                raise NotImplementedError(name)
