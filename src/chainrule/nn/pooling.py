"""Pooling over windows of each channel, and over all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.convolution import Sizes
from chainrule.nn.equations import constant, keeping
from chainrule.nn.layer import Layer, Random, Shape, State, show
from chainrule.nn.shapes import axes, truth
from chainrule.nn.window import OFFSETS, PLACES, Padding, Window, numbers, padding_of, space, windows


class _Pool(Layer):
    """`size`, `stride` and `dilation` are whole numbers, or one for each axis; the stride is the size unless given, and
    windows overlap where it is less. `padding` is "valid", "same" or a number of cells on both sides, or for each axis
    a pair, before and after; no window may hold padding alone. With `ceil` the last cells that windows of the stride
    would leave out are in a window that reaches beyond them."""

    rank: ClassVar[int]

    def __init__(
        self, size: Sizes, stride: Sizes | None = None, padding: Padding = "valid", ceil: bool = False,
        dilation: Sizes = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = numbers("size", size, self.rank, name)
        self.stride = self.size if stride is None else numbers("stride", stride, self.rank, name)
        self.padding = padding_of(padding, self.rank, name)
        self.ceil = truth("ceil", ceil, name)
        self.dilation = numbers("dilation", dilation, self.rank, name)

    def _windows(self, shape: Shape, ceil: bool | None = None) -> list[Window]:
        """Raises ModelError where a window holds padding alone."""
        beyond, name = self.ceil if ceil is None else ceil, type(self).__name__
        found = windows(shape, name, self.size, self.stride, self.padding, self.dilation, beyond)
        for axis, window in enumerate(found, 2):
            if window.hollow:
                cells, most = max(window.before, window.after), window.span - 1
                raise ModelError(
                    f"padding={cells} leaves a window that holds padding alone along axis {axis}", about=name,
                    fix=f"write padding={most} at most" if cells > most else "choose less dilation",
                )
        return found

    def _parts(self, shape: Shape) -> tuple[str, str, str, str, list[Window]]:
        """The output's indices, plain and with extents, the window's, the cells that it reads, and the windows."""
        found = self._windows(shape)
        places, offsets = PLACES[: self.rank], OFFSETS[: self.rank]
        where = ", ".join(f"{i}<{w.outputs}" for i, w in zip(places, found, strict=True))
        bound = ", ".join(f"{p}<{w.size}" for p, w in zip(offsets, found, strict=True))
        cells = ", ".join(w.read(i, p) for i, p, w in zip(places, offsets, found, strict=True))
        return ", ".join(places), where, bound, cells, found


class _MaxPool(_Pool):
    def equations(self, *shapes: Shape) -> str:
        _, where, bound, cells, found = self._parts(shapes[0])
        x = "pad(x, -inf)" if any(w.padded for w in found) else "x"
        return f"y[n, c, {where}] = max[{bound}]({x}[n, c, {cells}])"


class MaxPool1d(_MaxPool):
    """y_ci = max_p x_c,(s·i + d·p − P): (N, channels, length) -> (N, channels, length'). The first maximum wins a tie,
    and padding is never selected."""

    rank = 1


class MaxPool2d(_MaxPool):
    """(N, channels, height, width) -> (N, channels, height', width'); see MaxPool1d for each axis."""

    rank = 2


class _MeanPool(_Pool):
    def __init__(
        self, size: Sizes, stride: Sizes | None = None, padding: Padding = "valid", count_include_pad: bool = False,
        ceil: bool = False, dilation: Sizes = 1,
    ) -> None:
        super().__init__(size, stride, padding, ceil, dilation)
        self.count_include_pad = truth("count_include_pad", count_include_pad, type(self).__name__)

    def equations(self, *shapes: Shape) -> str:
        places, where, bound, cells, found = self._parts(shapes[0])
        if not any(w.padded for w in found):
            return f"y[n, c, {where}] = mean[{bound}](x[n, c, {cells}])"
        padded = self._windows(shapes[0], ceil=False)
        if self.count_include_pad and padded == found:
            return f"y[n, c, {where}] = mean[{bound}](pad(x, 0)[n, c, {cells}])"
        inside = "*".join(
            f"[0 <= {replace(w, before=0).read(i, p)} < {w.extent + w.before + w.after}]"
            if self.count_include_pad else f"[0 <= {w.read(i, p)} < {w.extent}]"
            for i, p, w in zip(PLACES, OFFSETS, padded, strict=False)
        )
        return (
            f"r[{where}] = sum[{bound}]({inside})\n"
            f"y[n, c, {where}] = sum[{bound}](pad(x, 0)[n, c, {cells}]) / r[{places}]"
        )


class MeanPool1d(_MeanPool):
    """y_ci = Σ_p x_c,(s·i + d·p − P) / r_i: (N, channels, length) -> (N, channels, length'). The divisor r_i counts the
    cells of the window that are no padding, or with `count_include_pad` all that `padding` asks for."""

    rank = 1


class MeanPool2d(_MeanPool):
    """(N, channels, height, width) -> (N, channels, height', width'); see MeanPool1d for each axis."""

    rank = 2


class _GlobalPool(Layer):
    reduction: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        if len(shape) < 3:
            name = type(self).__name__
            raise ShapeError(f"{name} takes an input (N, channels, …), not {show(shape)}", fix=f"leave the {name} out")
        _, *space = axes(len(shape) - 1) if len(shape) != 3 else ["c", "i"]
        cells = ", ".join(space)
        return f"y[n, c] = {self.reduction}[{cells}](x[n, c, {cells}])"


class GlobalMaxPool(_GlobalPool):
    """The greatest value of each channel: (N, channels, …) -> (N, channels)."""

    reduction = "max"


class GlobalMeanPool(_GlobalPool):
    """The mean of each channel: (N, channels, …) -> (N, channels)."""

    reduction = "mean"


class _AdaptivePool(Layer):
    """(N, channels, *space) -> (N, channels, *size): along each axis of `extent` cells bin i of `size` holds the cells
    from ⌊i·extent/size⌋ to ⌈(i + 1)·extent/size⌉ − 1. `size` is a whole number for each axis."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(size, (list, tuple)) or len(size) not in (1, 2):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(f"size is a list of 1 or 2 numbers, not {size!r}", about=name, fix=f"write {name}([1, 1])")
        self.size = numbers("size", size, len(size), name)

    def _bins(self, shape: Shape) -> list[list[tuple[int, int]]]:
        """For each axis the first cell of each bin, and the one after its last."""
        extents = space(shape, len(self.size), type(self).__name__)
        return [
            [(i * extent // size, -(-(i + 1) * extent // size)) for i in range(size)]
            for extent, size in zip(extents, self.size, strict=True)
        ]

    def _windows(self, shape: Shape) -> list[Window] | None:
        """The bins as windows, where they are alike and at equal distances."""
        found: list[Window] = []
        for bins, extent in zip(self._bins(shape), shape[2:], strict=True):
            steps = {after[0] - before[0] for before, after in pairwise(bins)} or {1}
            sizes = {end - start for start, end in bins}
            if len(steps) > 1 or len(sizes) > 1:
                return None
            found.append(Window(int(extent), sizes.pop(), max(steps.pop(), 1)))
        return found

    def _reduced(self, kind: str, shape: Shape) -> str | None:
        found = self._windows(shape)
        if found is None or any(w.outputs != size for w, size in zip(found, self.size, strict=True)):
            return None
        where = ", ".join(f"{i}<{size}" for i, size in zip(PLACES, self.size, strict=False))
        bound = ", ".join(f"{p}<{w.size}" for p, w in zip(OFFSETS, found, strict=False))
        cells = ", ".join(w.read(i, p) for i, p, w in zip(PLACES, OFFSETS, found, strict=False))
        return f"y[n, c, {where}] = {kind}[{bound}](x[n, c, {cells}])"


class AdaptiveMeanPool(_AdaptivePool):
    __doc__ = f"The mean of each bin. {_AdaptivePool.__doc__} Bins that are not alike are rows of constant matrices."

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        if (text := self._reduced("mean", shape)) is not None:
            return text
        names = list(self.states(shape))
        kept = [keeping(name, (size, int(e))) for name, size, e in zip(names, self.size, shape[2:], strict=True)]
        where = ", ".join(f"{i}<{size}" for i, size in zip(PLACES, self.size, strict=False))
        cells, bound = OFFSETS[: len(self.size)], ", ".join(OFFSETS[: len(self.size)])
        shares = "*".join(f"{name}[{i}, {p}]" for name, i, p in zip(names, PLACES, cells, strict=False))
        return "\n".join([*kept, f"y[n, c, {where}] = sum[{bound}]({shares}*x[n, c, {bound}])"])

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        (shape,) = shapes
        if self._reduced("mean", shape) is not None:
            return {}
        kept: dict[str, State | Random] = {}
        for name, bins, extent in zip(("A", "B"), self._bins(shape), shape[2:], strict=False):
            cells = np.arange(int(extent))
            kept[name] = constant(name, np.array([((s <= cells) & (cells < e)) / (e - s) for s, e in bins]))
        return kept


class AdaptiveMaxPool(_AdaptivePool):
    __doc__ = f"The greatest of each bin. {_AdaptivePool.__doc__} The bins must be alike and at equal distances."

    def equations(self, *shapes: Shape) -> str:
        text = self._reduced("max", shapes[0])
        if text is None:
            raise ModelError(
                f"{show(shapes[0])} does not fall into {' × '.join(map(str, self.size))} bins that are alike",
                about=type(self).__name__, fix="choose sizes that divide the extents, or AdaptiveMeanPool",
            )
        return text
