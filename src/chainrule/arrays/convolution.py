"""Sums of products that are convolutions, recognised once for all that print or run the array program.

Nothing here knows a layer: forward, both gradients, strides, dilations and groups are one form, read off subscripts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chainrule.arrays.nodes import Axes, Convolution, Einsum, Node, Pad, Slice, Window
from chainrule.ir.index import Affine, Extent, Index


def recognised(product: Einsum) -> Einsum:
    """The sum of products as a convolution where it is one, else as it is."""
    if len(product.operands) != 2 or any(o.dtype != "real" for o in product.operands):
        return product
    for image, operand in enumerate(product.operands):
        windows = windows_of(operand, product.indices[1 - image], product.kept) if isinstance(operand, Slice) else ()
        if windows:
            return Convolution(
                product.operands, product.shape, product.dtype, product.indices, product.kept, image, windows
            )
    return product


def windows_of(image: Slice, other: Axes, kept: Collection[object]) -> tuple[Window, ...]:
    """The windows through which a slice is seen by a kernel over the indices `other`; none where there is anything
    else in it, as a diagonal is."""
    used = [i for s in image.subscripts for i in s.indices]
    if len(set(used)) < len(used):
        return ()
    windows = list[Window]()
    for axis, (subscript, extent) in enumerate(zip(image.subscripts, image.operands[0].shape, strict=True)):
        if len(subscript.terms) < 2 or subscript.radix(extent):
            continue
        moving = [i for i in subscript.indices if i in kept and i not in other]
        within = [i for i in subscript.indices if i not in kept and i in other]
        if len(subscript.terms) > 2 or not moving or not within:
            return ()
        windows.append(Window(axis, moving[0], within[0]))
    return tuple(windows)


def around(node: Convolution) -> tuple[Node, Sequence[tuple[int, int]]]:
    """The array that the windows of a convolution slide over, and how many zeros stand before and after each axis."""
    of, sliding = node.slice.operands[0], {w.axis for w in node.windows}
    if isinstance(of, Pad) and of.fill == 0 and all(axis in sliding for axis, w in enumerate(of.widths) if any(w)):
        return of.operands[0], of.widths
    return of, [(0, 0)] * len(of.shape)


@dataclass(frozen=True)
class Move:
    """How a window slides along an axis: forwards, so that the result or the kernel may have to be turned round."""

    stride: int = 1
    dilation: int = 1
    pad: tuple[int, int] = 0, 0
    turned: bool = False
    within_turned: bool = False


def move(window: Window, s: Affine, sizes: Mapping[Index, Extent], extent: int) -> Move:
    """That of a window which reads an axis of this extent at s, with zeros where that is outside."""
    stride, dilation = s.coefficient(window.place), s.coefficient(window.within)
    places, taps = int(sizes[window.place]) - 1, int(sizes[window.within]) - 1
    first = s.offset + min(0, stride * places) + min(0, dilation * taps)
    last = first + abs(stride) * places + abs(dilation) * taps
    return Move(abs(stride), abs(dilation), (-first, last + 1 - extent), stride < 0, dilation < 0)
