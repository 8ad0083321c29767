"""Where the components of a tensor lie in memory.

A tensor without samples is row-major. One with samples lies in blocks of `width` samples: in a block, component f of
sample s is at f·width + s (`rows` = False), so that one vector holds a component of `width` samples; or at
s·apart + f (`rows` = True), so that one vector holds neighbouring components of one sample. Axes that are read beyond
their ends with padding 0 may have a halo of zeros around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import CompileError
from chainrule.ir.expr import Component, Tensor
from chainrule.ir.index import SAMPLES, Affine


def sampled(tensor: Tensor) -> bool:
    return SAMPLES in tensor.shape


def own_subscripts(component: Component) -> tuple[Affine, ...]:
    """The subscripts of the axes but the samples'."""
    return component.subscripts[1:] if sampled(component.tensor) else component.subscripts


@dataclass(frozen=True)
class Layout:
    """`halo` has the zeros before and after each axis but the samples'."""

    tensor: Tensor
    halo: tuple[tuple[int, int], ...]
    width: int
    rows: bool = False

    @cached_property
    def extents(self) -> tuple[int, ...]:
        return extents(self.tensor)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The positions of each axis, the halo's among them."""
        return tuple(before + e + after for e, (before, after) in zip(self.extents, self.halo, strict=True))

    @cached_property
    def size(self) -> int:
        """Components of one sample, or of the tensor where it has none, the halo among them."""
        return 1 + sum((n - 1) * step for n, step in zip(self.lengths, self.strides, strict=True))

    @property
    def apart(self) -> int:
        """Entries between neighbouring samples in rows: no multiple of a kilobyte, or a column would keep to a few
        lines of the cache."""
        return self.size + (16 if self.size % 256 == 0 else 0)

    @property
    def length(self) -> int:
        """Entries that one sample takes."""
        return self.apart if self.rows else self.size

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Zeros between two rows are those behind the one and those before the other."""
        padded = [e + max(sides) for e, sides in zip(self.extents, self.halo, strict=True)]
        return tuple(prod(padded[axis + 1 :]) for axis in range(len(padded)))

    @cached_property
    def origin(self) -> int:
        return sum(before * step for (before, _), step in zip(self.halo, self.strides, strict=True))

    @cached_property
    def bare(self) -> Layout:
        """The same without a halo."""
        return replace(self, halo=((0, 0),) * len(self.halo))

    @cached_property
    def unhaloed(self) -> bool:
        return not any(map(any, self.halo))

    def inside(self, entries: NDArray[Any]) -> NDArray[Any]:
        """The components in memory (`size`, …), without the halo: a view (*extents, …)."""
        steps = [step * entries.strides[0] for step in self.strides]
        shape = (*self.extents, *entries.shape[1:])
        return np.lib.stride_tricks.as_strided(entries[self.origin :], shape, (*steps, *entries.strides[1:]))

    def flat(self, subscripts: Sequence[Affine]) -> Affine:
        """The place of a component within its sample, from the subscripts of the axes but the samples'."""
        return Affine.total(zip(subscripts, self.strides, strict=True), self.origin)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Stretches of components that lie side by side with the halo and without it: the first one's place without,
        its place with, and how many there are."""
        inner = len(self.extents)
        while inner and not any(self.halo[inner - 1]):
            inner -= 1
        # The innermost haloed axis is whole within itself: a run is one row of it, with all axes inside it.
        axis = max(inner - 1, 0)
        for position in product(*(range(e) for e in self.extents[:axis])):
            subscripts = [Affine((), p) for p in (*position, *([0] * (len(self.extents) - axis)))]
            yield self.bare.flat(subscripts).offset, self.flat(subscripts).offset, prod(self.extents[axis:])


def extents(tensor: Tensor) -> tuple[int, ...]:
    """The extents of the axes but the samples'. Raises CompileError where one of them is no number."""
    sizes = tensor.shape[1:] if sampled(tensor) else tensor.shape
    numbers = tuple(e for e in sizes if isinstance(e, int))
    if len(numbers) < len(sizes) or (sampled(tensor) and tensor.shape[0] != SAMPLES):
        raise CompileError(
            f"{tensor.name} has the shape {tensor.shape}", about=tensor.name,
            fix="compiled programs have numbers for all extents, but N for the samples along the first axis",
        )
    return numbers
