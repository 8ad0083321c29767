"""Whole numbers that are given, and what they number: the row of a table, a class.

A bracket [v = id[n]] is 0 where the id is none of v's values, so a number too large would vanish without a word. It is
data that number nothing, and is named. Where an entry is read beside several indices, as in a gradient whose index is
split, it need be a value of one of them. One tensor may hold columns for tables of different sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.expr import Component, Delta, Tensor
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
    for equation in equations:
        for node in nodes(equation.value) if Delta in equation.value.types else ():
            if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor in given:
                read = node.right
                extent = ANY if node.left.plain is None else node.left.plain.extent
                top = extent if isinstance(extent, int) else (extents or {}).get(extent, ANY)
                shape = (1, *given[read.tensor][1:]) if given[read.tensor] else ()
                limit = found.setdefault(read.tensor, np.zeros(shape, np.int64))
                at = tuple(
                    slice(None) if s.terms or not axis else slice(max(s.offset, 0), max(s.offset + 1, 0))
                    for axis, s in enumerate(read.subscripts)
                )
                limit[at] = np.maximum(limit[at], top)
    return found
