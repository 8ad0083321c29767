"""Solving for the extents of an equation.

While a text is read every index and every axis has an unknown extent, named as no text can name one: ?0, ?1. Unknowns
that must be equal form a class, and each subscript is a `Use`. `solve` then finds an extent for each class: declared
(`i<14`, `k<K`) or of a tensor's shape; the largest that keeps unpadded affine subscripts in range; for an axis the
least that holds all its subscripts; what nothing fixes becomes a named extent (k -> "K").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.source import shorten


@dataclass(frozen=True, slots=True)
class Use:
    """One subscript of one axis, whose unknown extent is `extent`; `place` is its text."""

    tensor: str
    axis: int
    extent: Extent
    subscript: Affine
    place: str
    padded: bool
    is_target: bool
    whole: bool
    """Plain in a padded read whose padding is for another axis: pad(x, 0)[n, i + p - 1] reads n unpadded."""
    whole_place: str
    """The text of the whole read."""


def part_of_axis(tensor: str, read: str) -> str:
    """How a plain read is written that means a part of the axis."""
    return f"write {read.replace(tensor, f'pad({tensor}, 0)', 1)} to read a part of {tensor}"


Found = dict[Extent, tuple[int, Use]]


class Extents:
    """Classes of unknowns that must be equal (union-find), each with its value once that is known."""

    def __init__(self, text: str, named: Mapping[str, int]) -> None:
        self.text = text
        self.named = named
        self.indices: list[Index] = []
        self.uses: list[Use] = []
        self._parent: dict[Extent, Extent] = {}
        self._value: dict[Extent, Extent] = {}
        self._place: dict[Extent, str] = {}

    def unknown(self) -> Extent:
        extent = f"?{len(self._parent)}"
        self._parent[extent] = extent
        return extent

    def index(self, name: str) -> Index:
        index = Index(name, self.unknown())
        self.indices.append(index)
        return index

    def fix(self, unknown: Extent, extent: Extent, place: str, what: str, part: str = "") -> None:
        root = self._find(unknown)
        if root not in self._value:
            self._value[root], self._place[root] = extent, place
        elif self._value[root] != extent:
            self._conflict(what, self._value[root], self._place[root], extent, place, part)

    def join(self, one: Extent, other: Extent, place: str, what: str, part: str = "") -> None:
        """Index `one` reads axis `other`; `part` says how to read a part of the axis, where the index is shorter."""
        a, b = self._find(one), self._find(other)
        if a == b:
            return
        if b in self._value:
            # The place of an axis is the tensor's declared shape; the subscript says where the two meet.
            self.fix(a, self._value[b], f"{place} ({self._place[b]})", what, part)
        self._parent[b] = a

    def get(self, unknown: Extent) -> Extent | None:
        return self._value.get(self._find(unknown))

    def solved(self, unknown: Extent) -> Extent:
        extent = self.get(unknown)
        assert extent is not None
        return extent

    def final(self, extent: Extent) -> Extent | None:
        """An extent as it is in the end, whether it was unknown or not; None where nothing fixed it."""
        return self.get(extent) if extent in self._parent else extent

    def settled(self, index: Index) -> Index:
        return Index(index.name, self.solved(index.extent))

    def names(self) -> set[str]:
        """The named extents found so far."""
        return {extent for extent in self._value.values() if isinstance(extent, str)}

    def solve(self, taken: set[str]) -> None:
        """Find every extent; a new name is none of `taken`. Raises EquationError where one stays open, ShapeError
        where no position of a read is in range."""
        while self._fit() or self._reach(True) or self._reach(False) or self._meet():
            pass
        self._refuse_open_indices()
        taken = taken | self.names()
        for index in self.indices:
            if self.get(index.extent) is None:
                self.fix(index.extent, self._new_name(index.name.upper(), taken), index.name, index.name)
        for use in self.uses:
            if self.get(use.extent) is None:
                if not use.padded:
                    self._open(
                        f"axis {use.axis} of {use.tensor} is open: {use.place} does not fix it",
                        f"declare the indices of {use.place} as i<..., or give the shape of {use.tensor}",
                    )
                name = f"{use.tensor.replace('.', '_')}{use.axis}".upper()
                self.fix(use.extent, self._new_name(name, taken), use.place, use.tensor)

    def _find(self, unknown: Extent) -> Extent:
        parent = self._parent
        while parent[unknown] != unknown:
            parent[unknown] = unknown = parent[parent[unknown]]
        return unknown

    def _conflict(
        self, what: str, one: Extent, first: str, other: Extent, second: str, part: str = ""
    ) -> NoReturn:
        shorter = isinstance(one, int) and isinstance(other, int) and one < other
        raise ShapeError(
            f"{what} has extent {one} by {first}, but {other} by {second}", about=shorten(self.text),
            fix="give the axes the same extent, or use two different indices"
            + (f", or {part}" if part and shorter else ""),
        )

    def _open(self, what: str, fix: str) -> NoReturn:
        raise EquationError(f"the extent of {what}", about=shorten(self.text), fix=fix)

    # What fixes an extent, the strongest reason first. Each says whether it fixed any.

    def _fix_all(self, found: Found) -> bool:
        for root, (extent, use) in found.items():
            self.fix(root, extent, use.place, use.tensor)
        return bool(found)

    def _fit(self) -> bool:
        """The largest extents that keep in range every affine subscript with one open class and no negative
        coefficient."""
        found: Found = {}
        for use in self.uses:
            axis = self.get(use.extent)
            extents = [self.get(index.extent) for index in use.subscript.indices]
            if use.padded or not isinstance(axis, int) or any(isinstance(extent, str) for extent in extents):
                continue
            step: dict[Extent, int] = {}
            reach = use.subscript.offset
            for (index, c), extent in zip(use.subscript.terms, extents, strict=True):
                if isinstance(extent, int):
                    reach += c * (extent - 1)
                else:
                    root = self._find(index.extent)
                    step[root] = step.get(root, 0) + c
            if len(step) != 1 or any(c < 0 for _, c in use.subscript.terms):
                continue
            ((root, c),) = step.items()
            extent = (axis - 1 - reach) // c + 1
            if extent < 1:
                raise ShapeError(
                    f"no position of {use.place} is inside axis {use.axis} of {use.tensor} of extent {axis}",
                    about=shorten(self.text), fix=f"write pad({use.tensor}, 0) or a smaller window",
                )
            if root not in found or extent < found[root][0]:
                found[root] = extent, use
        return self._fix_all(found)

    def _reach(self, is_target: bool) -> bool:
        """The least extents of open axes that hold all their subscripts, where these have known bounds."""
        found: Found = {}
        unbounded: set[Extent] = set()
        for use in self.uses:
            if use.is_target != is_target or use.padded or self.get(use.extent) is not None:
                continue
            root = self._find(use.extent)
            known = all(self.get(index.extent) is not None for index in use.subscript.indices)
            bounds = self.affine(use.subscript).bounds() if known else None
            if bounds is None or bounds[1] < 0:
                unbounded.add(root)
            elif root not in found or bounds[1] + 1 > found[root][0]:
                found[root] = bounds[1] + 1, use
        return self._fix_all({root: entry for root, entry in found.items() if root not in unbounded})

    def _meet(self) -> bool:
        """A plain subscript of a padded read, where nothing else fixes it. Declared extents may differ there."""
        for use in self.uses:
            plain = use.subscript.plain
            if not use.whole or plain is None or self._find(plain.extent) == self._find(use.extent):
                continue
            if self.get(plain.extent) is None or self.get(use.extent) is None:
                self.join(plain.extent, use.extent, use.place, f"index {plain.name}")
                return True
        return False

    def affine(self, subscript: Affine) -> Affine:
        """The subscript over its indices with the extents found."""
        return Affine(tuple((self.settled(index), c) for index, c in subscript.terms), subscript.offset)

    # What nothing fixes

    def _refuse_open_indices(self) -> None:
        """An index that stands only in affine or padded subscripts of reads must have an extent by now."""
        reads = [use for use in self.uses if not use.is_target]
        shown = [use.subscript.plain for use in reads if use.whole or not use.padded]
        certain = {self._find(index.extent) for index in shown if index is not None}
        for use in reads:
            if use.whole or (not use.padded and use.subscript.plain is not None):
                continue
            for index in use.subscript.indices:
                if self.get(index.extent) is None and self._find(index.extent) not in certain:
                    self._open(
                        f"index {index.name} is open: {use.place} of {use.tensor} does not fix it",
                        f"declare it as {index.name}<... where it is first written",
                    )

    def _new_name(self, name: str, taken: set[str]) -> Extent:
        # A name that the caller gives means what he says, and N is the number of samples in every equation.
        if name in self.named or name == SAMPLES:
            return self.named.get(name, name)
        number, candidate = 0, name
        while candidate in taken:
            number += 1
            candidate = f"{name}{number}"
        taken.add(candidate)
        return candidate
