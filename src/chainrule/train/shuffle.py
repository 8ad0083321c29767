"""The order in which an epoch takes its samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def words_for(samples: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """What `shuffled` reads, two samples a word; a bit generator's words stay the same from NumPy to NumPy."""
    return rng.bit_generator.random_raw(samples // 2 + 1)


def shuffled(samples: int, words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """0 … samples − 1 in an order made of random words, where there is no native code; csrc/batch.h makes the same.

    Number i, from 0 on, comes to a place j ≤ i, and what stood there to place i (Fisher and Yates). A word w of 64 bits
    is the fraction w/2^64 of what there is to choose from: w·(i + 1) has j above its lowest 64 bits, and these are the
    fraction for number i + 1 (Brackett-Rozinsky and Lemire, 2024). Nothing is rejected, so two numbers' places together
    have their share of the 2^64 words to within one: their chance is right to samples² parts in 2^64.
    """
    order, given, rest = list(range(samples)), iter(words.tolist()), 0
    for i in range(samples):
        product = (rest if i & 1 else next(given)) * (i + 1)
        j, rest = product >> 64, product & 0xFFFFFFFFFFFFFFFF
        order[i], order[j] = order[j], i
    return np.array(order, np.int64)
