"""Arithmetic in the prime field GF(p), p = 2^61 − 1, on arrays, and keyed pseudo-random words.

An element is a uint64 entry below p, so a sum fits into a word; products are made of halves or limbs, and 2^61 = 1
folds what stands above.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from hashlib import blake2b
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import ShapeError

PRIME = 2**61 - 1
_P = np.uint64(PRIME)
_LOW_BITS = np.uint64(2**32 - 1)
_LIMB = np.uint64(2**21 - 1)
_WORDS = 8  # elements whose sum stays below 2^64
_FEW, _FEWER = 256, 48
_CHUNK = 2048 // 3  # 3 limb products below 2^42 for each term: a chunk's sum stays within float64's exact 2^53

Words = NDArray[np.uint64]


@lru_cache(4096)
def element(value: int | Fraction) -> np.uint64:
    """The field element of an exact rational."""
    value = Fraction(value)
    return np.uint64(value.numerator * pow(value.denominator, -1, PRIME) % PRIME)


def elements(values: ArrayLike) -> Words:
    """Field elements from integers (any array of them) or from uint64 words, each reduced mod p."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise TypeError(f"field elements are made of integers, not {array.dtype}")
    return array % _P if array.dtype == np.uint64 else (array.astype(np.int64) % PRIME).astype(np.uint64)


def residue(x: Words) -> Words:
    """x mod p for any 64-bit x: 2^61 = 1, and the smaller of x and x − p (which wraps where x < p)."""
    x = (x & _P) + (x >> np.uint64(61))
    return np.minimum(x, np.subtract(x, _P))  # the operator would warn that a number by itself wraps


def _shift(x: Words, bits: int) -> Words:
    """x·2^bits for x < 2^61: a rotation of 61 bits."""
    return ((x << np.uint64(bits)) & _P) | (x >> np.uint64(61 - bits))


def add(a: Words, b: Words) -> Words:
    return residue(a + b)


def add_all(terms: Sequence[Words]) -> Words:
    """The sum of any number of arrays."""
    result = terms[0]
    for start in range(1, len(terms), _WORDS - 1):
        result = residue(reduce(np.add, terms[start : start + _WORDS - 1], result))
    return result


def multiply(a: Words, b: Words) -> Words:
    """High halves have 29 bits and low ones 32, so no partial product exceeds 64; 2^64 = 8."""
    if np.broadcast(a, b).size <= _FEWER:  # one by one, where the calls for halves take longer
        return np.array(np.multiply(a, b, dtype=object) % PRIME, np.uint64)[()]
    half = np.uint64(32)
    a1, a0, b1, b0 = a >> half, a & _LOW_BITS, b >> half, b & _LOW_BITS
    middle = a1 * b0 + a0 * b1
    low = a0 * b0
    middle = (middle >> np.uint64(29)) + ((middle & np.uint64(2**29 - 1)) << half)
    return residue(((a1 * b1) << np.uint64(3)) + middle + (low & _P) + (low >> np.uint64(61)))


def power(a: Words, exponent: int) -> Words:
    """a^exponent; a negative exponent is a power of the inverse, and the inverse of 0 is 0."""
    if a.size <= _FEW and not 0 <= exponent <= 3:  # one by one, where the calls for many products take longer
        found = [pow(x, exponent, PRIME) if x else 0 for x in a.ravel().tolist()]
        return np.array(found, np.uint64).reshape(a.shape)
    exponent = exponent % (PRIME - 1) if exponent < 0 else exponent
    result = np.ones_like(a)
    while exponent:
        if exponent & 1:
            result = multiply(result, a)
        a, exponent = multiply(a, a), exponent >> 1
    return result


def total(a: Words, axes: tuple[int, ...]) -> Words:
    """The sum over axes (below 2^32 terms): the halves are summed apart where a word might not hold it."""
    if prod(a.shape[axis] for axis in axes) <= _WORDS:
        return residue(a.sum(axes, dtype=np.uint64))
    high, low = (a >> np.uint64(32)).sum(axes, dtype=np.uint64), (a & _LOW_BITS).sum(axes, dtype=np.uint64)
    return add(_shift(residue(high), 32), residue(low))


def matmul(a: Words, b: Words) -> Words:
    """(…, m, k) × (…, k, n) → (…, m, n), by one float64 product of limbs for each chunk of k.

    With a = a0 + a1·2^21 + a2·2^42 and b likewise, 2^63 = 4 folds the nine limb products into three columns:
    a0b0 + a1·4b2 + a2·4b1, a0b1 + a1b0 + a2·4b2 (·2^21), a0b2 + a1b1 + a2b0 (·2^42), each product below 2^42.
    """
    n = b.shape[-1]
    result = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], n), np.uint64)
    for start in range(0, a.shape[-1], _CHUNK):
        part, other = a[..., start : start + _CHUNK], b[..., start : start + _CHUNK, :]
        left = np.concatenate([x.astype(np.float64) for x in _limbs(part)], axis=-1)
        b0, b1, b2 = (x.astype(np.float64) for x in _limbs(other))
        rows = ((b0, b1, b2), (4 * b2, b0, b1), (4 * b1, 4 * b2, b0))
        right = np.concatenate([np.concatenate(row, axis=-1) for row in rows], axis=-2)
        product = (left @ right).astype(np.uint64)
        for column in range(3):
            result = add(result, _shift(product[..., column * n : (column + 1) * n], 21 * column))
    return result


def _limbs(x: Words) -> tuple[Words, Words, Words]:
    return x & _LIMB, (x >> np.uint64(21)) & _LIMB, x >> np.uint64(42)


def dot(a: Words, b: Words) -> int:
    """Σ a·b over all entries of two arrays of one shape."""
    if a.shape != b.shape:
        raise ShapeError("an inner product of two shapes", about=f"{a.shape} and {b.shape}", fix="give equal shapes")
    return int(matmul(a.reshape(1, -1), b.reshape(-1, 1))[0, 0])


# Keyed pseudo-random values.


@lru_cache(4096)
def key(seed: int, *names: object) -> int:
    """128 bits that the seed and the names decide."""
    return int.from_bytes(blake2b(repr((seed, *names)).encode(), digest_size=16).digest(), "little")


@np.errstate(over="ignore")  # numpy warns of wrap-around on 0-d operands; here it is meant
def mix(x: Words, by: int) -> Words:
    """A 64-bit hash of each word: two rounds of SplitMix64's finaliser (Steele, Lea, Flood 2014) under a 128-bit
    key."""
    for half in (by & (2**64 - 1), by >> 64):
        x = x ^ np.uint64(half)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x
