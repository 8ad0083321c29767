"""A value in a NumPy listing: its code, what its axes are, and how tightly the code binds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from chainrule.ir.index import Index

SUM, PRODUCT, POWER, ATOM = range(4)
Kind = Literal["real", "whole", "truth"]
"""What NumPy computes with: floats, integers or booleans."""


@dataclass(frozen=True, slots=True)
class Value:
    """Code for an array whose axes are these indices, in this order."""

    code: str
    axes: tuple[Index, ...] = ()
    precedence: int = ATOM
    minus: bool = False
    """Whether the value is minus the code."""
    kind: Kind = "real"
    below: str = ""
    """What the value is one over."""
    led: bool = False
    """Whether a bracket is the first factor: NumPy has no minus of it."""

    def at(self, precedence: int) -> str:
        if self.minus and self.kind == "truth":
            return self.number.at(precedence)
        if self.minus:
            text = f"-{self.code if self.precedence >= PRODUCT and not self.led else f'({self.code})'}"
            return text if precedence <= PRODUCT else f"({text})"
        return self.code if self.precedence >= precedence else f"({self.code})"

    @property
    def text(self) -> str:
        return self.at(SUM)

    @property
    def bracketed(self) -> bool:
        return self.kind == "truth" or self.led

    @property
    def number(self) -> Value:
        """The same as a number: 1.0 for a bracket that holds. NumPy has no difference of booleans, and their sum is
        another boolean."""
        if self.kind != "truth":
            return self
        return Value(f"1.0 * {replace(self, minus=False).at(POWER)}", self.axes, PRODUCT, self.minus)


def power(base: Value, exponent: Fraction) -> str:
    if exponent == Fraction(1, 2):
        return f"np.sqrt({base.text})"
    number = fraction(exponent)
    return f"{base.at(ATOM)}**{number.at(ATOM)}"


def kind_of(values: Iterable[Value]) -> Kind:
    """Of a sum or a product of these."""
    kinds = {v.kind for v in values}
    return "real" if "real" in kinds else "whole"


def fraction(value: Fraction) -> Value:
    """The number in decimals where that is exact and short, else as a quotient."""
    minus, value = value < 0, abs(value)
    if value.denominator == 1:
        return Value(str(value.numerator), (), ATOM, minus, "whole")
    text = repr(float(value))
    if (Fraction(text) == value and len(text) <= 7) or len(str(value)) > len(text):
        return Value(text, (), ATOM, minus)
    below = str(value.denominator) if value.numerator == 1 else ""
    return Value(f"{value.numerator} / {value.denominator}", (), PRODUCT, minus, below=below)


def without(axes: Sequence[Index], indices: Iterable[Index]) -> tuple[Index, ...]:
    gone = set(indices)
    return tuple(i for i in axes if i not in gone)
