"""What a value of a foreign network is here: a view of a tensor, moved without being copied.

An axis of a view is a mixed-radix number whose digits are indices, the most significant first; `at` says which
component of the source the digits choose. View, reshape, permute, slice, expand, pad and the like change these two and
compute nothing. An axis that merges the samples with others has "n" among its digits, and an axis of extent 1 has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.nn.layer import Node

SAMPLE = Index("n", SAMPLES)
Digits = tuple[Index, ...]
Size = tuple[int, bool]
"""The extent of an axis: a number, and whether it is multiplied by that of the samples."""
_numbers = count()


def fresh(extent: int) -> Index:
    """An index that is no other's."""
    return Index(f"d{next(_numbers)}", extent)


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that is read: the output of `node`, or the parameter or constant called `name`."""

    shape: tuple[Extent, ...]
    node: Node | None = None
    name: str = ""
    constant: bool = False
    integer: bool = False


@dataclass(frozen=True, eq=False)
class View:
    """The component of `source` at `at`, for every value of the digits of `axes`; where that lies outside the source,
    the number `pad`."""

    source: Source
    axes: tuple[Digits, ...]
    at: tuple[Affine, ...]
    pad: float | None = None

    @property
    def sizes(self) -> list[Size]:
        return [size_of(axis) for axis in self.axes]

    @property
    def digits(self) -> Digits:
        return tuple(digit for axis in self.axes for digit in axis)

    @property
    def whole(self) -> bool:
        """Whether it holds every component of its source once."""
        used = [index for place in self.at for index in place.indices]
        places = zip(self.at, self.source.shape, strict=True)
        full = all(place.radix(e) if place.terms else e == 1 for place, e in places)
        return full and self.pad is None and len(used) == len(set(used)) and set(used) == set(self.digits)

    @property
    def unmoved(self) -> bool:
        """Whether it is its source, axis by axis."""
        return self.whole and [place_of(axis) for axis in self.axes] == list(self.at)

    def substituted(self, mapping: Mapping[Index, Affine]) -> View:
        return replace(self, at=tuple(place.substitute(mapping) for place in self.at)) if mapping else self


def size_of(axis: Iterable[Index]) -> Size:
    digits = list(axis)
    return math.prod(d.extent for d in digits if isinstance(d.extent, int)), SAMPLE in digits


def radix(digits: Iterable[Index]) -> Affine:
    """The number that digits without the samples make."""
    total, place = list[tuple[Affine, int]](), 1
    for digit in reversed(list(digits)):
        assert isinstance(digit.extent, int)
        total.insert(0, (Affine.of(digit), place))
        place *= digit.extent
    return Affine.total(total)


def renewed(view: View) -> View:
    """The same with digits of its own."""
    new = {digit: fresh(digit.extent) for digit in view.digits if isinstance(digit.extent, int)}
    axes = tuple(tuple(new.get(digit, digit) for digit in axis) for axis in view.axes)
    return replace(view.substituted({old: Affine.of(index) for old, index in new.items()}), axes=axes)


def place_of(axis: Digits) -> Affine | None:
    """The subscript that an axis is; None where samples are merged with others."""
    if axis == (SAMPLE,):
        return Affine.of(SAMPLE)
    return None if SAMPLE in axis else radix(axis)


def of(source: Source) -> View:
    """The whole of a tensor, axis by axis."""
    axes = [(SAMPLE,) if extent == SAMPLES else (fresh(int(extent)),) * (extent != 1) for extent in source.shape]
    return View(source, tuple(axes), tuple(Affine.of(axis[0]) if axis else Affine() for axis in axes))


def values_of(view: View, array: NDArray[Any]) -> NDArray[Any]:
    """The components of a view without padding, whose source has these values; axes of samples have one entry."""
    digits = [digit for digit in view.digits if isinstance(digit.extent, int)]
    grid = dict(zip(digits, np.indices([int(digit.extent) for digit in digits]), strict=True))
    at = [sum((factor * grid[index] for index, factor in place.terms), np.int64(place.offset)) for place in view.at]
    return np.broadcast_to(array[tuple(at)], [int(digit.extent) for digit in digits]).reshape(
        [extent for extent, _ in view.sizes]
    )


# Moves; axes count from 0


def permuted(view: View, order: Sequence[int]) -> View:
    return replace(view, axes=tuple(view.axes[axis] for axis in order))


def reshaped(view: View, sizes: Sequence[Size]) -> View | None:
    """The digits grouped anew, split where they must be; None where the shapes have no common radices."""
    left, groups, split = list(view.digits), list[Digits](), dict[Index, Affine]()
    for extent, samples in reversed(sizes):
        group: list[Index] = []
        while extent > 1 or samples:
            if not left:
                return None
            digit = left.pop()
            if digit == SAMPLE:
                if not samples:
                    return None
                samples = False
            else:
                assert isinstance(digit.extent, int)
                if extent == 1 or (extent % digit.extent and digit.extent % extent):
                    return None
                if extent % digit.extent:
                    high, digit = _split(digit, extent, split)
                    left.append(high)
                assert isinstance(digit.extent, int)
                extent //= digit.extent
            group.insert(0, digit)
        groups.insert(0, tuple(group))
    return None if left else replace(view.substituted(split), axes=tuple(groups))


def _split(digit: Index, extent: int, split: dict[Index, Affine]) -> tuple[Index, Index]:
    """The digit as two, the lower of this extent. Written into `split`, earlier entries of which are kept resolved."""
    assert isinstance(digit.extent, int)
    high, low = fresh(digit.extent // extent), fresh(extent)
    made = {digit: radix((high, low))}
    for key, value in split.items():
        split[key] = value.substitute(made)
    split |= made
    return high, low


def selected(view: View, axis: int, place: int) -> View:
    """One place of an axis of a single digit, which goes."""
    (digit,) = view.axes[axis] or (None,)
    chosen = {digit: Affine((), place)} if digit else {}
    return replace(view.substituted(chosen), axes=(*view.axes[:axis], *view.axes[axis + 1 :]))


def sliced(view: View, axis: int, start: int, length: int, step: int = 1) -> View:
    """`length` places of an axis of at most one digit, from `start` on, each `step` after the one before."""
    (digit,) = view.axes[axis] or (None,)
    new = (fresh(length),) if length > 1 else ()
    if not digit:
        return view
    place = (Affine.of(new[0]) * step if new else Affine()) + start
    return replace(view.substituted({digit: place}), axes=(*view.axes[:axis], new, *view.axes[axis + 1 :]))


def flipped(view: View, axis: int) -> View:
    (length, _), step = size_of(view.axes[axis]), -1
    return sliced(view, axis, length - 1, length, step)


def extensible(view: View, axis: int, value: float) -> bool:
    """Whether reads beyond an axis are reads beyond the source, as `extended` needs."""
    if view.pad not in (None, value) or len(view.axes[axis]) != 1:
        return False
    (digit,) = view.axes[axis]
    for place, extent in zip(view.at, view.source.shape, strict=True):
        if place.coefficient(digit):
            low, high = place.bounds() or (0, 0)
            return len(place.terms) == 1 and abs(place.terms[0][1]) == 1 and low <= 0 and high >= int(extent) - 1
    return False


def extended(view: View, axis: int, before: int, after: int, value: float) -> View:
    """`before` and `after` times the number `value` around an axis that is `extensible`."""
    return replace(sliced(view, axis, -before, size_of(view.axes[axis])[0] + before + after), pad=value)


def repeated(view: View, axis: int, size: Size, inner: bool = False) -> View:
    """Each place of an axis that many times: the whole of it again and again, or `inner`, every place."""
    times, samples = size
    new = ((SAMPLE,) if samples else ()) + ((fresh(times),) if times > 1 else ())
    digits = (*view.axes[axis], *new) if inner else (*new, *view.axes[axis])
    return replace(view, axes=(*view.axes[:axis], digits, *view.axes[axis + 1 :]))


def unfolded(view: View, axis: int, size: int, step: int, dilation: int = 1) -> View:
    """Windows of an axis of at most one digit, each `step` after the one before; what they hold, each `dilation` after
    the one before, is a last axis."""
    length = size_of(view.axes[axis])[0]
    count = (length - dilation * (size - 1) - 1) // step + 1
    places, offsets = ((fresh(e),) * (e > 1) for e in (count, size))
    terms = [*((Affine.of(index), step) for index in places), *((Affine.of(index), dilation) for index in offsets)]
    chosen = {view.axes[axis][0]: Affine.total(terms)} if view.axes[axis] else {}
    axes = (*view.axes[:axis], places, *view.axes[axis + 1 :], offsets)
    return replace(view.substituted(chosen), axes=axes)


def diagonal(view: View, one: int, other: int, offset: int = 0) -> View:
    """The entries at i and i + `offset` of two axes of at most one digit, along a last axis in their place."""
    lengths = [size_of(view.axes[axis])[0] for axis in (one, other)]
    starts = max(0, -offset), max(0, offset)
    length = min(lengths[0] - starts[0], lengths[1] - starts[1])
    new = (fresh(length),) * (length > 1)
    at = Affine.total([(Affine.of(index), 1) for index in new])
    chosen = {d: at + start for axis, start in zip((one, other), starts, strict=True) for d in view.axes[axis]}
    rest = tuple(digits for axis, digits in enumerate(view.axes) if axis not in (one, other))
    return replace(view.substituted(chosen), axes=(*rest, new))


def inserted(view: View, axis: int) -> View:
    return replace(view, axes=(*view.axes[:axis], (), *view.axes[axis:]))


def removed(view: View, axes: Iterable[int]) -> View:
    """Without those of these axes that have extent 1."""
    gone = {axis for axis in axes if not view.axes[axis]}
    return replace(view, axes=tuple(digits for axis, digits in enumerate(view.axes) if axis not in gone))


# Views whose axes run together


class UnmatchedError(Exception):
    """Two axes of one size have no common radices: the view `number` is to be written out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def aligned(groups: Sequence[Sequence[Digits]]) -> tuple[list[Digits], list[dict[Index, Affine]]]:
    """Axes that run together: for each number of a view and each axis its digits, () where the view does not depend on
    the axis. What comes back are the digits of each axis, and for each view what its own digits are in these.

    Raises UnmatchedError where two have no common radices.
    """
    mappings: list[dict[Index, Affine]] = [{} for _ in groups]
    result: list[Digits] = []
    for axis in range(len(groups[0])):
        joint: list[Index] = []
        for number, own in enumerate(groups):
            joint = _refined(joint, list(own[axis]), mappings, number)
        result.append(tuple(joint))
    return result, mappings


def _refined(
    joint: list[Index], own: list[Index], mappings: list[dict[Index, Affine]], number: int
) -> list[Index]:
    """The digits in which those of an axis so far and those of one more view can be written."""
    if not joint or not own:
        return joint or own
    left, right, result = list(joint), list(own), list[Index]()
    while left and right:
        one, other = left.pop(), right.pop()
        if SAMPLE in (one, other):
            if one != other:
                raise UnmatchedError(number)
            result.insert(0, one)
            continue
        assert isinstance(one.extent, int) and isinstance(other.extent, int)
        low = min(one.extent, other.extent)
        if one.extent % low or other.extent % low:
            raise UnmatchedError(number)
        if one.extent > low:
            high, one = _split_all(one, low, mappings)
            left.append(high)
        if other.extent > low:
            high, other = _split_all(other, low, mappings)
            right.append(high)
        if other != one:
            _renamed({other: Affine.of(one)}, mappings)
        result.insert(0, one)
    if left or right:
        raise UnmatchedError(number)
    return result


def _split_all(digit: Index, extent: int, mappings: list[dict[Index, Affine]]) -> tuple[Index, Index]:
    made: dict[Index, Affine] = {}
    pair = _split(digit, extent, made)
    _renamed(made, mappings)
    return pair


def _renamed(made: dict[Index, Affine], mappings: list[dict[Index, Affine]]) -> None:
    for mapping in mappings:
        for key, value in mapping.items():
            mapping[key] = value.substitute(made)
        mapping |= made


def written_as(place: Affine, names: Mapping[Index, str]) -> str:
    """A subscript: 8*h + c - 1."""
    text = ""
    for index, factor in place.terms:
        size = names[index] if abs(factor) == 1 else f"{abs(factor)}*{names[index]}"
        text += (" + " if factor > 0 else " - ") + size if text else ("" if factor > 0 else "-") + size
    if place.offset or not text:
        text += f" {'+' if place.offset > 0 else '-'} {abs(place.offset)}" if text else str(place.offset)
    return text


def declared(group: Digits, names: Mapping[Index, str], fallback: Iterator[str]) -> str:
    """The subscript that defines an axis: c<3, 4*(i<3) + (j<4); an index of extent 1 where it has no digits."""
    if not group:
        return f"{next(fallback)}<1"
    if len(group) == 1:
        return f"{names[group[0]]}<{group[0].extent}"
    terms = [(names[index], index.extent, factor) for index, factor in radix(group).terms]
    return " + ".join(f"{factor}*({name}<{e})" if factor > 1 else f"({name}<{e})" for name, e, factor in terms)
