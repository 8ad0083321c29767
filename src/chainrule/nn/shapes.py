"""What the texts of layers are made of: names for the axes of a sample, and options checked before any work."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from chainrule.errors import ModelError
from chainrule.nn.layer import Shape
from chainrule.nn.text import plain, sized
from chainrule.options import BEHIND

_AXES = {1: ["k"], 2: ["i", "j"], 3: ["c", "i", "j"]}


def axes(rank: int) -> list[str]:
    """Names for the indices of one sample of that rank: k; i, j; c, i, j; a1, a2, …"""
    return _AXES.get(rank) or [f"a{i + 1}" for i in range(rank)]


def indices(shape: Shape) -> str:
    """The subscripts of a whole tensor of that shape: n, c, i, j."""
    return ", ".join(["n", *axes(len(shape) - 1)])


def flat(names: list[str], shape: Shape) -> str:
    """The position of a component in row-major order, c*784 + i*28 + j for the shape (N, C, 28, 28)."""
    extents = [extent for extent in shape[1:] if isinstance(extent, int)]
    assert len(extents) == len(names)
    places = [math.prod(extents[i + 1 :]) for i in range(len(names))]
    return " + ".join(name if place == 1 else f"{place}*{name}" for name, place in zip(names, places, strict=True))


def size(shape: Shape) -> int:
    """The number of components of one sample."""
    return math.prod(extent for extent in shape[1:] if isinstance(extent, int))


def positive(name: str, value: Any, about: str, example: str) -> int:
    """An option that is a positive whole number. Raises ModelError otherwise, with `example` as the fix."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{name} must be a positive whole number, not {value!r}", about=about, fix=f"write {example}")
    return value


def truth(name: str, value: Any, about: str) -> bool:
    """An option that is True or False. Raises ModelError otherwise."""
    value = plain(value)
    if not isinstance(value, bool):
        fix = BEHIND if isinstance(value, str) else f"write {name}=True"
        raise ModelError(f"{name} must be True or False, not {value!r}", about=about, fix=fix)
    return value


def real(
    name: str,
    value: Any,
    about: str,
    example: str,
    holds: Callable[[float], bool] = lambda value: True,
    what: str = "a finite number",
) -> float:
    """An option that is a finite number for which `holds`. Raises ModelError otherwise, with `example` as the fix."""
    value = plain(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) < math.inf or not holds(value):
        raise ModelError(f"{name} must be {what}, not {value!r}", about=about, fix=f"write {example}")
    return sized(name, value, about)


def probability(name: str, value: Any, about: str, example: str) -> float:
    """An option in [0, 1). Raises ModelError otherwise."""
    return real(name, value, about, example, lambda p: 0 <= p < 1, "a number in [0, 1)")


def exact(value: float) -> str:
    """The decimal that a number is written as, which equations read exactly; in brackets where it is negative."""
    return repr(value) if value >= 0 else f"({value!r})"


def complement(value: float) -> str:
    """The decimal 1 - value, exact for what people write."""
    return str(1 - Decimal(repr(value)))


def divided(units: int, heads: int, about: str) -> int:
    """units / heads. Raises ModelError where that is no whole number."""
    if units % heads:
        raise ModelError(
            f"heads={heads} does not divide units={units}",
            about=about,
            fix=f"write units={units - units % heads or heads}, or heads={math.gcd(units, heads)}",
        )
    return units // heads
