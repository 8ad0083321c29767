"""Layers that move components without changing them, and that put tensors together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.layer import Layer, Shape, show
from chainrule.nn.shapes import axes, flat, indices, positive, size
from chainrule.nn.text import plain


class Flatten(Layer):
    """(N, C, H, W) -> (N, C·H·W), row by row. Dense needs none: it contracts over every axis."""

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        names = axes(len(shapes[0]) - 1)
        return f"y[n, {flat(names, shapes[0])}] = x[n, {', '.join(names)}]"


class Reshape(Layer):
    """The components of a sample, row by row, in another shape: Reshape(1, 28, 28). One extent may be -1, for what is
    left; `shape` gives the extents as a list."""

    def __init__(self, *extents: int, shape: Sequence[int] = ()) -> None:
        super().__init__()
        given = tuple(map(plain, extents or shape))
        for extent in given:
            whole = isinstance(extent, int) and not isinstance(extent, bool)
            if not whole or (extent < 1 and extent != -1):
                raise ModelError(
                    f"an extent must be a positive whole number or -1, not {extent!r}",
                    about="Reshape", fix="write Reshape(1, 28, 28)",
                )
        if (extents and shape) or not given or given.count(-1) > 1:
            raise ModelError(
                f"Reshape takes one shape with at most one -1, not {(*extents, *shape)!r}",
                about="Reshape", fix="write Reshape(-1, 8)",
            )
        self.shape = given
        self.config = {"shape": list(given)}

    def _shape(self, shape: Shape) -> Shape:
        components, known = size(shape), math.prod(extent for extent in self.shape if extent != -1)
        found = tuple(components // known if extent == -1 else extent for extent in self.shape)
        if math.prod(found) != components:
            wanted = ", ".join(map(str, self.shape))
            raise ShapeError(
                f"shape=({wanted}) does not hold the {components} components of a sample of {show(shape)}",
                fix=f"choose extents whose product {'divides' if -1 in self.shape else 'is'} {components}",
            )
        return (shape[0], *found)

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        target = self._shape(shape)
        before, after = axes(len(shape) - 1), [f"o{i + 1}" for i in range(len(target) - 1)]
        declared = ", ".join(f"{name}<{extent}" for name, extent in zip(after, target[1:], strict=True))
        lines: list[str] = []
        row = "x"
        if len(before) != 1:
            row = "r" if len(after) > 1 else "y"
            lines.append(f"{row}[n, {flat(before, shape) or 'o<1'}] = x[{', '.join(['n', *before])}]")
        if row != "y":
            lines.append(f"y[n, {declared}] = {row}[n, {flat(after, target)}]")
        return "\n".join(lines)


class Add(Layer):
    """y = x1 + x2, of one shape: a skip connection. `h + x` in a graph is the same."""

    inputs = 2

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"Add needs two inputs of one shape, not {show(shapes[0])} and {show(shapes[1])}",
                fix="put a Dense layer of the other's width on one of them",
            )
        where = indices(shapes[0])
        return f"y[{where}] = x1[{where}] + x2[{where}]"


class Concat(Layer):
    """One value after another along `axis`, which counts from 1: axis 0 are the samples. The other extents agree."""

    inputs = None

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = positive("axis", axis, "Concat", "Concat(axis=1): axis 0 are the samples")

    def equations(self, *shapes: Shape) -> str:
        first, axis = shapes[0], self.axis
        for shape in shapes:
            if axis >= len(shape):
                raise ShapeError(
                    f"axis={axis} is none of {show(shape)}",
                    fix=f"write axis={len(shape) - 1}" if len(shape) > 1 else "give Input(3), not Input()",
                )
            if (*shape[:axis], *shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]):
                raise ShapeError(
                    f"Concat along axis {axis} needs inputs that agree in the other axes, not {show(first)} and "
                    f"{show(shape)}",
                    fix="give both the same extents there, or choose another axis",
                )
        if len(shapes) == 1:
            return f"y[{indices(first)}] = x[{indices(first)}]"
        names, at = ["n", *axes(len(first) - 1)], 0
        terms: list[str] = []
        for number, shape in enumerate(shapes, 1):
            place = f"{names[axis]} - {at}" if at else names[axis]
            terms.append(f"pad(x{number}, 0)[{', '.join([*names[:axis], place, *names[axis + 1 :]])}]")
            at += int(shape[axis])
        declared = [
            name if name == "n" else f"{name}<{at if i == axis else first[i]}" for i, name in enumerate(names)
        ]
        return f"y[{', '.join(declared)}] = {' + '.join(terms)}"
