"""Pooling over windows of each channel, and over all of it."""

from __future__ import annotations

from typing import ClassVar

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.convolution import Sizes
from chainrule.nn.layer import Layer, Shape, show
from chainrule.nn.shapes import axes, truth
from chainrule.nn.window import OFFSETS, PLACES, Padding, Window, numbers, padding_of, windows


class _Pool(Layer):
    """`size` and `stride` are whole numbers, or one for each axis; the stride is the size unless given, and windows
    overlap where it is less. `padding` is "valid", "same" or a number of cells on both sides, less than the size."""

    rank: ClassVar[int]

    def __init__(self, size: Sizes, stride: Sizes | None = None, padding: Padding = "valid") -> None:
        super().__init__()
        name = type(self).__name__
        self.size = numbers("size", size, self.rank, name)
        self.stride = self.size if stride is None else numbers("stride", stride, self.rank, name)
        self.padding = padding_of(padding, self.rank, name)
        if not isinstance(self.padding, str):
            for cells, extent in zip(self.padding, self.size, strict=True):
                if cells >= extent:
                    raise ModelError(
                        f"padding={cells} leaves windows of {extent} that hold padding alone",
                        about=name,
                        fix=f"write padding={extent - 1} at most",
                    )

    def _windows(self, shape: Shape) -> list[Window]:
        return windows(shape, type(self).__name__, self.size, self.stride, self.padding)

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
    """y_ci = max_p x_c,(s·i + p − P): (N, channels, length) -> (N, channels, length'). The first maximum wins a tie,
    and padding is never selected."""

    rank = 1


class MaxPool2d(_MaxPool):
    """(N, channels, height, width) -> (N, channels, height', width'); see MaxPool1d for each axis."""

    rank = 2


class _MeanPool(_Pool):
    def __init__(
        self, size: Sizes, stride: Sizes | None = None, padding: Padding = "valid", count_include_pad: bool = False
    ) -> None:
        super().__init__(size, stride, padding)
        self.count_include_pad = truth("count_include_pad", count_include_pad, type(self).__name__)

    def equations(self, *shapes: Shape) -> str:
        places, where, bound, cells, found = self._parts(shapes[0])
        if not any(w.padded for w in found):
            return f"y[n, c, {where}] = mean[{bound}](x[n, c, {cells}])"
        if self.count_include_pad:
            return f"y[n, c, {where}] = mean[{bound}](pad(x, 0)[n, c, {cells}])"
        inside = "*".join(
            f"[0 <= {w.read(i, p)} < {w.extent}]" for i, p, w in zip(PLACES, OFFSETS, found, strict=False)
        )
        return (
            f"r[{where}] = sum[{bound}]({inside})\n"
            f"y[n, c, {where}] = sum[{bound}](pad(x, 0)[n, c, {cells}]) / r[{places}]"
        )


class MeanPool1d(_MeanPool):
    """y_ci = Σ_p x_c,(s·i + p − P) / r_i: (N, channels, length) -> (N, channels, length'). The divisor r_i counts the
    cells of the window that are no padding, or with `count_include_pad` all of them."""

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
