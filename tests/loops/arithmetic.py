"""An arithmetic for the interpreter of loops, float64; `Field` is GF(2^61 − 1) as the field executor has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import e, isfinite, pi
from typing import Any

import numpy as np

from chainrule.ir.functions import FUNCTIONS
from chainrule.verify.loops import Field

__all__ = ["Field", "Floats"]


class Floats:
    """float64, or another type: nothing is fused, so that another order of a sum shows in its last bits."""

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = np.dtype(dtype)
        self.unwritten = np.nan
        self.operations: dict[str, Callable[..., Any]] = {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
            "mac": lambda a, b, c: a * b + c, "square_root": np.sqrt, "reciprocal_root": lambda x: 1 / np.sqrt(x),
            "power": lambda x, r: np.asarray(x) ** self.dtype.type(r),
            "greater": np.greater, "better": lambda a, b: ~(a <= b) & (b == b), "lowest": lambda: self.number("-inf"),
            "lse_start": lambda: self.number("-inf"), "lse_top": lambda m, v: np.where(v <= m, m, v),
            "lse_add": lambda s, v, m, at: s + np.exp(v - np.where(np.isfinite(m), m, 0)),
            "lse_shift": lambda m: np.where(np.isfinite(m), m, 0), "lse_rest": np.log,
        }

    def number(self, value: Any) -> Any:
        return self.dtype.type({"pi": pi, "e": e, "-inf": -np.inf}.get(value, value))

    def finite(self, value: Any) -> bool:
        return isfinite(value)

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        function = self.operations.get(operation) or FUNCTIONS[operation.removesuffix("_")]
        with np.errstate(all="ignore"):
            return np.asarray(function(*arguments), None if operation in ("greater", "better") else self.dtype)[()]
