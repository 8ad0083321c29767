"""Indices and the affine subscripts made of them.

An index runs over 0 … extent−1. An extent is a number, or a name ("N", "K") that an array's shape
gives later. "N" is the number of samples: an index with that extent is the sample index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

Extent = int | str
SAMPLES = "N"


def small_extents(names: Iterable[str], samples: int) -> dict[str, int]:
    """Numbers for named extents: `samples` for N, small distinct ones side by side for others. Many are smaller, since
    work grows with their product."""
    others = sorted({*names} - {SAMPLES})
    least = 3 if len(others) < 8 else 2
    return {SAMPLES: samples, **{name: least + n % least for n, name in enumerate(others)}}


class Index(NamedTuple):
    """A named index and its extent: a tuple, since walks compare and hash them more than anything else."""

    name: str
    extent: Extent

    @property
    def is_sample(self) -> bool:
        return self.extent == SAMPLES


@dataclass(frozen=True, slots=True)
class Affine:
    """offset + Σ coefficient·index, with integer, non-zero coefficients, in order of writing."""

    terms: tuple[tuple[Index, int], ...] = ()
    offset: int = 0

    @staticmethod
    def of(index: Index) -> Affine:
        return Affine(((index, 1),))

    @staticmethod
    def total(parts: Iterable[tuple[Affine, int]], offset: int = 0) -> Affine:
        """offset + Σ factor·part."""
        coefficients: dict[Index, int] = {}
        for part, factor in parts:
            offset += part.offset * factor
            for index, c in part.terms:
                coefficients[index] = coefficients.get(index, 0) + c * factor
        return Affine(tuple([term for term in coefficients.items() if term[1]]), offset)

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(index for index, _ in self.terms)

    @property
    def plain(self) -> Index | None:
        """The index, where the subscript is that index alone."""
        if self.offset == 0 and len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        return None

    def coefficient(self, index: Index) -> int:
        return next((c for i, c in self.terms if i == index), 0)

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.offset + other)
        return Affine.total(((self, 1), (other, 1)))

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(tuple((i, c * factor) for i, c in self.terms), self.offset * factor)

    def __neg__(self) -> Affine:
        return self * -1

    def __sub__(self, other: Affine | int) -> Affine:
        return self + (-other)

    def substitute(self, mapping: Mapping[Index, Affine]) -> Affine:
        if not any(i in mapping for i, _ in self.terms):
            return self
        return Affine.total(((mapping.get(index) or Affine.of(index), c) for index, c in self.terms), self.offset)

    def bounds(self) -> tuple[int, int] | None:
        """The least and the greatest value, or None where a named extent leaves them open."""
        low = high = self.offset
        for index, c in self.terms:
            if isinstance(index.extent, str):
                return None
            reach = c * (index.extent - 1)
            low, high = low + min(0, reach), high + max(0, reach)
        return low, high

    def within(self, extent: Extent) -> bool:
        """Whether every value provably lies in 0 … extent−1."""
        if self.plain is not None and self.plain.extent == extent:
            return True
        bounds = self.bounds()
        return bounds is not None and isinstance(extent, int) and 0 <= bounds[0] and bounds[1] < extent

    def radix(self, extent: Extent) -> bool:
        """Whether the subscript is a mixed-radix number that takes each of 0 … extent−1 exactly once.

        c·H·W + i·W + j with c<C, i<H, j<W and extent C·H·W is one; so is a plain index of that extent.
        """
        if self.plain is not None:
            return self.plain.extent == extent
        place = 1
        for index, c in sorted(self.terms, key=lambda term: term[1]):
            if index.extent == 1 and c != place:
                continue
            if c != place or isinstance(index.extent, str):
                return False
            place *= index.extent
        return self.offset == 0 and place == extent
