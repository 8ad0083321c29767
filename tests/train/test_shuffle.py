"""The order of an epoch's samples: every order has the same chance, and native code makes the same one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.compile import forward
from chainrule.train.runners import NativeRunner
from chainrule.train.shuffle import shuffled, words_for

Order = NDArray[np.int64]
FEW, RUNS = 4, 24_000
LIMIT = 62.0  # χ² with 23 degrees of freedom exceeds it once in 50,000 times


@pytest.fixture(scope="module")
def native() -> NativeRunner:
    model = cr.Sequential(cr.Input(2), cr.Dense(1))
    return NativeRunner(forward(model.network, model.network.logits), 1, 1)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 4, 1001, 70_000])
def test_an_order_holds_every_sample_once_and_is_the_same_by_native_code(samples: int, native: NativeRunner) -> None:
    words = words_for(samples, np.random.default_rng(samples))
    found = native.shuffled(samples, words)
    assert np.array_equal(np.sort(found), np.arange(samples))
    assert np.array_equal(found, shuffled(samples, words))
    assert samples < 3 or not np.array_equal(found, native.shuffled(samples, ~words))


@pytest.mark.parametrize("word", [0, 2**32, 2**63, 2**64 - 1])
def test_the_least_and_the_largest_words_stay_inside(word: int, native: NativeRunner) -> None:
    words = np.full(51, word, np.uint64)
    found = native.shuffled(101, words)
    assert np.array_equal(np.sort(found), np.arange(101))
    assert np.array_equal(found, shuffled(101, words))


def unevenness(draw: Callable[[np.random.Generator], Order]) -> float:
    """χ² of how often each order of FEW samples comes."""
    rng = np.random.default_rng(5)
    seen = Counter(tuple(draw(rng).tolist()) for _ in range(RUNS))
    orders = list(permutations(range(FEW)))
    mean = RUNS / len(orders)
    return sum((seen[order] - mean) ** 2 for order in orders) / mean


def test_every_order_is_as_likely_as_another() -> None:
    assert unevenness(lambda rng: shuffled(FEW, words_for(FEW, rng))) < LIMIT


def test_a_shuffle_that_lets_every_sample_go_anywhere_is_refused() -> None:
    def biased(rng: np.random.Generator) -> Order:
        order = np.arange(FEW)
        for i, j in enumerate(rng.integers(0, FEW, FEW)):
            order[i], order[j] = order[j], order[i]
        return order

    assert unevenness(biased) > 4 * LIMIT


def test_a_word_that_is_used_twice_is_refused() -> None:
    def biased(rng: np.random.Generator) -> Order:
        return shuffled(FEW, np.repeat(words_for(0, rng), 3))

    assert unevenness(biased) > 4 * LIMIT


def test_places_of_many_samples_are_independent_of_where_they_were() -> None:
    samples, runs = 10, 20_000
    rng, seen = np.random.default_rng(6), np.zeros((samples, samples))
    for _ in range(runs):
        seen[np.arange(samples), shuffled(samples, words_for(samples, rng))] += 1
    mean = runs / samples
    assert ((seen - mean) ** 2).sum() / mean < 150  # 81 degrees of freedom: once in 200,000 times
