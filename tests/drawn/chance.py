"""Chance from `random` alone, which is the same in every version of Python."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    def __init__(self, seed: int) -> None:
        self.seed, self._random = seed, random.Random(seed).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def chance(self, p: float) -> bool:
        return self._random() < p

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def weighted(self, weights: dict[T, float]) -> T:
        place = self._random() * sum(weights.values())
        for option, weight in weights.items():
            place -= weight
            if place < 0:
                return option
        return next(reversed(weights))

    def shuffled(self, options: Iterable[T]) -> list[T]:
        rest, result = list(options), list[T]()
        while rest:
            result.append(rest.pop(self.below(len(rest))))
        return result
