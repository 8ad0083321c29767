"""Whole numbers that are given, and what they number: the row of a table, a class.

A bracket [v = id[n]] is 0 where the id is none of v's values, so a number too large would vanish without a word. It is
data that number nothing, and is named. Where an entry is read beside several indices, as in a gradient whose index is
split, it need be a value of one of them. One tensor may hold columns for tables of different sizes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.expr import Component, Delta, Reduce, Tensor
from chainrule.ir.index import Extent
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes

Array = NDArray[Any]
ANY = np.iinfo(np.int64).max


def check_ids(
    equations: Iterable[Equation], given: Mapping[Tensor, Array], extents: Mapping[str, int] | None = None
) -> None:
    """Raises DataError for a given whole number that is no value of an index it is compared with. An index whose
    extent has no number in `extents` has any value."""
    for tensor, limit in limits(equations, {t: a.shape for t, a in given.items()}, extents).items():
        ids = given[tensor]
        wrong = ((ids < 0) | (ids >= limit)) & (limit > 0) & (limit < ANY)
        if wrong.any():
            place = tuple(int(p) for p in np.argwhere(wrong)[0])
            top = int(np.broadcast_to(limit, ids.shape)[place])
            raise DataError(
                f"{tensor.name}{list(place)} is {int(ids[place])}, outside 0 … {top - 1}",
                fix=f"number the entries of {tensor.name} from 0 to {top - 1}",
            )


def limits(
    equations: Iterable[Equation], given: Mapping[Tensor, tuple[int, ...]], extents: Mapping[str, int] | None = None
) -> dict[Tensor, Array]:
    """What each entry of the given whole numbers, of these shapes, must be less than: 0 where it is compared with
    nothing, `ANY` where it may be any number. All rows of the first axis, the samples, have the limits of one."""
    found: dict[Tensor, Array] = {}
    for read, extent in _compared(equations, given):
        top = extent if isinstance(extent, int) else (extents or {}).get(extent, ANY)
        shape = (1, *given[read.tensor][1:]) if given[read.tensor] else ()
        limit = found.setdefault(read.tensor, np.zeros(shape, np.int64))
        at = tuple(
            slice(None) if s.terms or not axis else slice(max(s.offset, 0), max(s.offset + 1, 0))
            for axis, s in enumerate(read.subscripts)
        )
        limit[at] = np.maximum(limit[at], top)
    return found


class Limits:
    """Whether an entry that is compared with an index is a value of it: one that is given, as `check_ids` sees to it,
    and the position of a maximum, which lies in its window."""

    def __init__(
        self, equations: Iterable[Equation], given: Iterable[Tensor], extents: Mapping[str, int] | None = None
    ) -> None:
        self.extents = extents or {}
        self.tops: dict[Tensor, list[tuple[Component | None, Extent]]] = {}
        for read, extent in _compared(equations, {*given}):
            self.tops.setdefault(read.tensor, []).append((read, self.size(extent)))
        for equation in equations:
            if equation.tensor.dtype == "integer":
                window = equation.value.indices if isinstance(equation.value, Reduce) else ()
                sizes = [self.size(i.extent) for i in window] or [ANY]
                top = prod(n if isinstance(n, int) else ANY for n in sizes)
                self.tops.setdefault(equation.tensor, []).append((None, top))

    def size(self, extent: Extent) -> Extent:
        return extent if isinstance(extent, int) else self.extents.get(extent, extent)

    def sure(self, ids: Component, extent: Extent) -> bool:
        """Whether what is read is a value of an index of this extent."""
        size = self.size(extent)
        tops = [top for other, top in self.tops.get(ids.tensor, ()) if other is None or _overlap(ids, other)]
        return bool(tops) and all(t == size if isinstance(t, str) or isinstance(size, str) else t <= size for t in tops)


def _compared(equations: Iterable[Equation], tensors: Container[Tensor]) -> Iterator[tuple[Component, Extent]]:
    """Each read of one of the tensors that is compared with an index, and the index's extent."""
    for equation in equations:
        for node in nodes(equation.value) if Delta in equation.value.types else ():
            if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor in tensors:
                yield node.right, ANY if node.left.plain is None else node.left.plain.extent


def _overlap(a: Component, b: Component) -> bool:
    """Whether they may read one entry: no axis is read at two numbers."""
    return all(s.terms or t.terms or s == t for s, t in zip(a.subscripts, b.subscripts, strict=True))
