"""Initial values of parameters.

Sources: Glorot & Bengio, AISTATS 2010, eq. 16; He et al., ICCV 2015, eq. 10; LeCun et al., Efficient
BackProp, 1998, §4.6. A weight has the shape (outputs, inputs, *kernel); a kernel multiplies both fans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]
Distribution = Literal["uniform", "normal"]


@dataclass(frozen=True)
class Initialiser:
    """How a parameter starts. `shape` gives its axes by index names of the layer's equation, or by numbers."""

    shape: tuple[str | int, ...]
    draw: Draw
    call: str = field(default="Initialiser({})", compare=False)
    """How it is written, but for the shape."""

    def __repr__(self) -> str:
        return self.call.format(", ".join(map(repr, self.shape))).replace("(, ", "(").replace(", )", ")")

    def with_shape(self, shape: tuple[int, ...]) -> Initialiser:
        return replace(self, shape=shape)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (outputs, inputs, *kernel); a vector is one row of inputs."""
    if len(shape) < 2:
        return math.prod(shape), 1
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _scaled(
    name: str, shape: tuple[str | int, ...], distribution: Distribution, variance: Callable[[int, int], float]
) -> Initialiser:
    if distribution not in ("uniform", "normal"):
        raise ModelError(f"unknown distribution {distribution!r}", fix="choose 'uniform' or 'normal'")

    def draw(rng: np.random.Generator, extents: tuple[int, ...]) -> NDArray[Any]:
        deviation = math.sqrt(variance(*(max(fan, 1) for fan in fans(extents))))
        if distribution == "normal":
            return rng.normal(0.0, deviation, extents)
        # A uniform distribution on ±√3·s has the standard deviation s.
        bound = math.sqrt(3.0) * deviation
        return rng.uniform(-bound, bound, extents)

    return Initialiser(shape, draw, f"{name}({{}}, distribution={distribution!r})")


def glorot(*shape: str | int, distribution: Distribution = "uniform") -> Initialiser:
    """Variance 2/(fan_in + fan_out): for sigmoid, tanh and linear layers."""
    return _scaled("glorot", shape, distribution, lambda fan_in, fan_out: 2.0 / (fan_in + fan_out))


def he(*shape: str | int, distribution: Distribution = "normal") -> Initialiser:
    """Variance 2/fan_in: for ReLU."""
    return _scaled("he", shape, distribution, lambda fan_in, fan_out: 2.0 / fan_in)


def lecun(*shape: str | int, distribution: Distribution = "normal") -> Initialiser:
    """Variance 1/fan_in: keeps the variance of a linear layer."""
    return _scaled("lecun", shape, distribution, lambda fan_in, fan_out: 1.0 / fan_in)


def _finite(value: float, what: str, example: str) -> float:
    """The first argument of an initialiser, which is a number and no axis."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not number or not abs(value) < math.inf:
        name = example.split("(", 1)[0]
        raise ModelError(
            f"the first argument of {name} is the {what}, a finite number, not {value!r}",
            about=name,
            fix=f"write cr.{example}",
        )
    return float(value)


def constant(value: float, *shape: str | int) -> Initialiser:
    """This value everywhere."""
    value = _finite(value, "value", 'constant(0.5, "k")')
    return Initialiser(shape, lambda rng, extents: np.full(extents, value), f"constant({value!r}, {{}})")


def zeros(*shape: str | int) -> Initialiser:
    return constant(0.0, *shape)


def ones(*shape: str | int) -> Initialiser:
    return constant(1.0, *shape)


def normal(deviation: float, *shape: str | int) -> Initialiser:
    """Mean 0 and this standard deviation."""
    deviation = _finite(deviation, "standard deviation", 'normal(0.1, "k")')
    if deviation < 0:
        raise ModelError(
            f"a standard deviation is not negative, but this is {deviation!r}",
            about="normal",
            fix='write cr.normal(0.1, "k")',
        )
    return Initialiser(shape, lambda rng, extents: rng.normal(0.0, deviation, extents), f"normal({deviation!r}, {{}})")


NAMED: dict[str, Callable[..., Initialiser]] = {
    "glorot": glorot,
    "glorot_uniform": glorot,
    "glorot_normal": lambda *shape: glorot(*shape, distribution="normal"),
    "he": he,
    "he_uniform": lambda *shape: he(*shape, distribution="uniform"),
    "he_normal": he,
    "lecun": lecun,
    "lecun_uniform": lambda *shape: lecun(*shape, distribution="uniform"),
    "lecun_normal": lecun,
    "zeros": zeros,
    "ones": ones,
}
OTHERS = {
    "xavier": "glorot",
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "kaiming": "he",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
}


def named(name: str, *shape: str | int) -> Initialiser:
    """The initialiser of that name. Raises ModelError with the nearest name where there is none."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(f"an initialiser is named by a text, not by {name!r}", fix=f"choose from {', '.join(NAMED)}")
    if name in OTHERS:
        raise ModelError(f"the initialiser {name!r} is called {OTHERS[name]!r} here", fix=f"write {OTHERS[name]!r}")
    if name not in NAMED:
        near = get_close_matches(name, NAMED, 1, 0.5)
        fix = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(NAMED)}"
        raise ModelError(f"unknown initialiser {name!r}", fix=fix)
    return NAMED[name](*shape)
