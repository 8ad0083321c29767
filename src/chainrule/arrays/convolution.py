"""Sums of products that are convolutions, recognised once for all that print or run the array program.

Nothing here knows a layer: forward, both gradients, strides, dilations and groups are one form, read off subscripts.
"""

from __future__ import annotations

from collections.abc import Collection

from chainrule.arrays.nodes import Axes, Convolution, Einsum, Slice, Window


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
