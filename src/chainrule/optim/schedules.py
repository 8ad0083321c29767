"""Schedules: the rate as a function of the step, 0, 1, …

`step_decay`: piecewise constant. `cosine`: Loshchilov, Hutter, ICLR 2017 (SGDR), equation 5, without restarts.
`warm_up`: Goyal et al., arXiv:1706.02677, 2017, §2.2. `one_cycle`: Smith, Topin, arXiv:1708.07120, 2017, with halves of
a cosine in place of lines, as PyTorch and optax have it; the momentum stays as it is.
"""
# ruff: noqa: N801  (lower case, like the initialisers: cr.cosine(0.1, steps=1000) is a function of the step)

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ModelError
from chainrule.optim.optimizer import Rate, check_rate, is_number


@dataclass(frozen=True)
class step_decay:
    """`rate`, times `factor` (0 < factor ≤ 1) after each `every` steps."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_rate(self, self.rate)
        _whole(self, "every", "1000")
        if not (is_number(self.factor) and 0 < self.factor <= 1):
            raise _error(self, "factor", "above 0 and at most 1", "0.5")

    def __call__(self, step: int) -> float:
        return float(self.rate) * float(self.factor) ** (step // self.every)


@dataclass(frozen=True)
class cosine:
    """From `rate` down to `floor` (0 ≤ floor ≤ rate) in `steps` steps, along half a cosine; then `floor`."""

    rate: float
    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self, self.rate)
        _whole(self, "steps", "1000")
        if not (is_number(self.floor) and 0 <= self.floor <= self.rate):
            raise _error(self, "floor", "at least 0 and at most the rate", "0.001")

    def __call__(self, step: int) -> float:
        return _between(float(self.rate), float(self.floor), min(step / self.steps, 1.0))


@dataclass(frozen=True)
class warm_up:
    """From `start` ≥ 0 in `steps` equal steps to `then`, a rate or a schedule, which counts its own steps from
    there."""

    then: Rate
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.then) and not (is_number(self.then) and 0 < self.then < math.inf):
            raise _error(self, "then", "a positive number or a schedule", "0.1")
        _whole(self, "steps", "100")
        if not (is_number(self.start) and 0 <= self.start < math.inf):
            raise _error(self, "start", "a finite number that is not negative", "0.0")

    def __call__(self, step: int) -> float:
        first = self.then(max(step - self.steps, 0)) if callable(self.then) else float(self.then)
        return first if step >= self.steps else self.start + (first - self.start) * (step / self.steps)


@dataclass(frozen=True)
class one_cycle:
    """From `peak`/`start_divisor` up to `peak` in the share `rise` (0 < rise < 1) of the steps, then down to
    `peak`/(`start_divisor`·`end_divisor`); both along half a cosine. The momentum stays as it is."""

    peak: float
    steps: int
    rise: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __post_init__(self) -> None:
        if not (is_number(self.peak) and 0 < self.peak < math.inf):
            raise _error(self, "peak", "a positive number", "0.1")
        _whole(self, "steps", "1000")
        if not (is_number(self.rise) and 0 < self.rise < 1):
            raise _error(self, "rise", "above 0 and below 1", "0.3")
        for name in ("start_divisor", "end_divisor"):
            value = getattr(self, name)
            if not (is_number(value) and 1 <= value < math.inf):
                raise _error(self, name, "a finite number of at least 1", "25.0")

    def __call__(self, step: int) -> float:
        start = self.peak / self.start_divisor
        end, top = start / self.end_divisor, int(self.rise * self.steps)
        if step >= self.steps:
            return end
        if step < top:
            return _between(start, self.peak, step / top)
        return _between(self.peak, end, (step - top) / (self.steps - top))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _error(of: object, name: str, range_: str, example: str) -> ModelError:
    about = type(of).__name__
    value = getattr(of, name)
    return ModelError(f"{name} must be {range_}, not {value!r}", about=about, fix=f"write {name}={example}")


def _whole(of: object, name: str, example: str) -> None:
    value: Any = getattr(of, name)
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise _error(of, name, "a positive whole number", example)
