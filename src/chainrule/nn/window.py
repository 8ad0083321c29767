"""The geometry of a sliding window along one axis, and its text: where convolutions and pooling read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.layer import Shape, show
from chainrule.nn.text import plain

Padding = str | int | Sequence[int] | Sequence[Sequence[int]]
Pairs = tuple[tuple[int, int], ...]
PLACES = ("i", "j")
OFFSETS = ("p", "q")


@dataclass(frozen=True)
class Window:
    """Position i of the output reads stride·i + dilation·p − before, p < size, of an axis of `extent` cells."""

    extent: int
    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def span(self) -> int:
        """The cells from the first to the last that one window reads."""
        return self.dilation * (self.size - 1) + 1

    @property
    def outputs(self) -> int:
        """The number of positions: windows that would leave the padded axis are left out."""
        return (self.extent + self.before + self.after - self.span) // self.stride + 1

    @property
    def padded(self) -> bool:
        """Whether any window reads padding."""
        return self.before > 0 or self.stride * (self.outputs - 1) + self.span - self.before > self.extent

    @property
    def hollow(self) -> bool:
        """Whether any window reads padding alone: one that begins behind the axis, or before it and steps over it."""
        end = self.stride * self.outputs - self.before
        before = range(-self.before, min(0, end), self.stride)
        steps_over = (start % self.dilation >= min(self.extent, start + self.span) for start in before)
        return end - self.stride >= self.extent or any(steps_over)

    def read(self, place: str, offset: str) -> str:
        """The subscript: 2*i + 3*p - 1."""
        steps = f"{_times(self.stride, place)} + {_times(self.dilation, offset)}"
        return f"{steps} - {self.before}" if self.before else steps


def _times(factor: int, index: str) -> str:
    return index if factor == 1 else f"{factor}*{index}"


def numbers(name: str, value: Any, rank: int, about: str, least: int = 1) -> tuple[int, ...]:
    """An option that is one whole number for all axes, or one for each. Raises ModelError otherwise."""
    each = cast("Sequence[Any]", value) if isinstance(value, (tuple, list)) else (value,) * rank
    given = tuple(plain(v) for v in each)
    if len(given) != rank or not all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in given):
        kind = "positive whole number" if least == 1 else f"whole number of at least {least}"
        several = f", or {rank} of them" if rank > 1 else ""
        fix = f"write {name}={least + 1}"
        raise ModelError(f"{name} must be a {kind}{several}, not {value!r}", about=about, fix=fix)
    return given


def padding_of(value: Any, rank: int, about: str) -> str | Pairs:
    """The option padding: "valid", "same", or whole numbers, for all axes, for each, or a pair for each, before and
    after. Raises ModelError otherwise."""
    if isinstance(value, str):
        if value not in ("valid", "same"):
            raise ModelError(
                f"padding must be 'valid', 'same' or a whole number, not {value!r}", about=about, fix="write padding=1"
            )
        return value
    each = cast("Sequence[Any]", value) if isinstance(value, (tuple, list)) else ()
    if len(each) == rank and all(isinstance(pair, (tuple, list)) for pair in each):
        pairs = [numbers("padding", pair, 2, about, least=0) for pair in each]
        return tuple((before, after) for before, after in pairs)
    return tuple((cells, cells) for cells in numbers("padding", value, rank, about, least=0))


def space(shape: Shape, rank: int, about: str) -> tuple[int, ...]:
    """The extents along which windows slide, of an input (N, channels, *space). Raises ShapeError otherwise."""
    if len(shape) != rank + 2:
        want = ("N", "channels", *("length", "height, width")[rank - 1].split(", "))
        fix = "put cr.Reshape(1, 28, 28) before it" if rank == 2 else "put cr.Reshape(1, 28) before it"
        raise ShapeError(f"{about} takes an input {show(want)}, not {show(shape)}", fix=fix)
    return tuple(int(extent) for extent in shape[2:])


def windows(
    shape: Shape,
    about: str,
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: str | Pairs,
    dilations: Sequence[int] | None = None,
    ceil: bool = False,
) -> list[Window]:
    """The windows along each axis of an input. "same" gives ⌈extent/stride⌉ outputs, the odd cell of padding after.
    With `ceil` one more window begins where cells would be left out, if it begins before the padding after them.

    Raises ModelError where a window is larger than the padded input.
    """
    found: list[Window] = []
    for axis, extent in enumerate(space(shape, len(sizes), about)):
        dilation = dilations[axis] if dilations else 1
        window = Window(extent, sizes[axis], strides[axis], dilation)
        if padding == "same":
            total = max((-(-extent // window.stride) - 1) * window.stride + window.span - extent, 0)
            before, after = total // 2, total - total // 2
        else:
            before, after = (0, 0) if isinstance(padding, str) else padding[axis]
        window = Window(extent, sizes[axis], strides[axis], dilation, before, after)
        if window.outputs < 1:
            cells, room = f"{window.span} cells" if dilation > 1 else f"{window.size}", extent + before + after
            raise ModelError(
                f"a window of {cells} is larger than the padded input of {room} along axis {axis + 2}",
                about=about,
                fix=f'use a window of at most {room}, or more padding, as in padding="same"',
            )
        if ceil and (left := extent + before + after - window.span - window.stride * (window.outputs - 1)):
            begins = window.stride * window.outputs
            if begins < extent + before:
                window = replace(window, after=after + window.stride - left)
        found.append(window)
    return found
