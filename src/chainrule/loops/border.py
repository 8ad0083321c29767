"""The zeros around a tensor with samples, written before it is: its place may have been another's."""

from __future__ import annotations

from typing import Literal

from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.layout import sampled
from chainrule.loops.lower import ZERO
from chainrule.loops.places import Place


def border(place: Place, name: str, width: int) -> ir.Kernel:
    """The kernel that writes the halo of a tensor."""
    layout, block = place.layout, Index("b", "blocks")
    samples = sampled(layout.tensor)
    width = width if samples else 1
    zero = ir.Local("zero", "vec")
    body: list[ir.Statement] = []
    for axis, (before, after) in enumerate(layout.halo):
        extent = layout.lengths[axis]
        for start, stop in ((0, before), (extent - after, extent)):
            if start < stop:
                address = Affine.of(block) * place.stride
                loops: list[tuple[Index, int, int]] = []
                for n, (length, step) in enumerate(zip(layout.lengths, layout.strides, strict=True)):
                    loop = Index(f"i{axis}{n}{'ab'[start > 0]}", length)
                    loops.append((loop, start, stop) if n == axis else (loop, 0, length))
                    address = address + Affine.of(loop) * (step * width)
                value = zero if width > 1 else ZERO
                inner: ir.Statement = ir.Store(place.buffer, ir.Address(address), value)
                for loop, first, last in reversed(loops):
                    inner = ir.For(loop, first, last, 1, (inner,))
                body.append(inner)
    if width > 1:
        body.insert(0, ir.Let(zero, ir.Call("splat", (ZERO,), "vec")))
    whole = (ir.For(block, "from", "to", 1, tuple(body)),) if samples else tuple(body)
    split: Literal["blocks"] | None = "blocks" if samples else None
    comment = f"zeros around {name}"
    return ir.Kernel(f"around_{name}", (comment,), (place.buffer,), (place.buffer,), split, 1, whole)
