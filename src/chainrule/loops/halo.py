"""Halos: zeros around a tensor where reads padded with 0 leave it, and the kernels that write them."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Literal

from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import components
from chainrule.loops import nodes as ir
from chainrule.loops.layout import Layout, extents, own_subscripts, sampled
from chainrule.loops.lower import ZERO
from chainrule.loops.places import Place
from chainrule.loops.plan import ALIGN, Plan


def add_halos(plan: Plan) -> Plan:
    """A layout for every tensor, with a halo where reads padded with 0 leave it, unless the zeros would be more than
    what they are around: sums leave most of them out then."""
    task, equations = plan.task, [e for group in plan.groups for e in group.equations]
    used = (t for e in equations for t in (e.tensor, *e.value.tensors))
    halos = {t: [(0, 0)] * len(extents(t)) for t in (*task.data, *task.kept, *used)}
    for equation in equations:
        for component in components(equation.value):
            tensor = component.tensor
            if component.pad != 0 or tensor in task.kept or tensor.dtype != "real":
                continue
            own = own_subscripts(component)
            wider: list[tuple[int, int]] = []
            for (before, after), subscript, extent in zip(halos[tensor], own, extents(tensor), strict=True):
                low, high = subscript.bounds() or (0, 0)
                wider.append((max(before, -low), max(after, high - extent + 1)))
            bare, grown = Layout(tensor, ((0, 0),) * len(wider), 1), Layout(tensor, tuple(wider), 1)
            if prod(grown.lengths) <= 2 * bare.size:
                halos[tensor] = wider
    for tensor in task.kept:
        own = halos[tensor]
        if task.following and len(own) > 1 and extents(tensor)[-1] % 256 == 0:
            own[-1] = (0, ALIGN)  # or a column would keep to a few lines of the cache
            if (new := task.following.get(tensor, tensor)) in halos:
                halos[new] = own
    layouts = {t: Layout(t, tuple(halo), plan.width if sampled(t) else 1) for t, halo in halos.items()}
    haloed = frozenset(t for t, layout in layouts.items() if not layout.unhaloed) - {*task.kept}
    return replace(plan, layouts=layouts, haloed=haloed)


def zeros_around(place: Place, name: str, width: int) -> ir.Kernel:
    """The kernel that writes the halo of a tensor, before the tensor: its place may have been another's."""
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
