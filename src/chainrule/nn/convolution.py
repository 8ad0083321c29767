"""Convolutions, as frameworks name them: correlations of the channels with a kernel, u_o = Σ_c W_oc ⋆ x_c + b_o.

Samples are (N, channels, *space); a kernel is (filters, channels / groups, *window).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from chainrule.errors import ModelError
from chainrule.nn.initialisers import Initialiser, named, zeros
from chainrule.nn.layer import Layer, Shape
from chainrule.nn.shapes import positive, truth
from chainrule.nn.window import OFFSETS, PLACES, Padding, Window, numbers, padding_of, space, windows

Sizes = int | Sequence[int]


class _Convolution(Layer):
    """`stride`, `dilation` and `kernel_size` are whole numbers, or one for each axis. `padding` adds zeros: none
    ("valid"), so many that stride 1 keeps the size ("same"), or this many on both sides. With `groups` the channels
    fall into that many parts, each convolved with filters of its own; groups = channels is depthwise.
    `init` names the initialiser of W; `l2` adds (l2/2)·ΣW² to the loss, in place of the model's."""

    rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = "valid",
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        init: str = "glorot",
        l2: float | None = None,
    ) -> None:
        super().__init__(l2=l2)
        named(init)
        name, rank = type(self).__name__, self.rank
        self.filters = positive("filters", filters, name, f"{name}(16, 3)")
        self.kernel_size = numbers("kernel_size", kernel_size, rank, name)
        self.stride = numbers("stride", stride, rank, name)
        self.padding = padding_of(padding, rank, name)
        self.dilation = numbers("dilation", dilation, rank, name)
        self.groups = positive("groups", groups, name, "groups=1")
        self.bias, self.start = truth("bias", bias, name), init

    def _windows(self, shape: Shape) -> list[Window]:
        name = type(self).__name__
        found = windows(shape, name, self.kernel_size, self.stride, self.padding, self.dilation)
        for count, what, fix in (
            (int(shape[1]), "channels of the input", "give the input other channels, or choose another groups"),
            (self.filters, "filters", f"write filters={self.groups * max(1, self.filters // self.groups)}"),
        ):
            if count % self.groups:
                raise ModelError(f"groups={self.groups} does not divide the {count} {what}", about=name, fix=fix)
        return found

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        found = self._windows(shape)
        places, offsets = PLACES[: self.rank], OFFSETS[: self.rank]
        channels, outputs = int(shape[1]) // self.groups, self.filters // self.groups
        out, declared, read = "o", f"o<{self.filters}", "c"
        if self.groups > 1:
            # A part of one channel or of one filter needs no index inside the part.
            read = f"{channels}*g + c" if channels > 1 else "g"
            out, declared = "g", f"g<{self.groups}"
            if outputs > 1:
                out, declared = f"{outputs}*g + o", f"{outputs}*(g<{self.groups}) + (o<{outputs})"
        where = ", ".join(f"{i}<{w.outputs}" for i, w in zip(places, found, strict=True))
        cells = ", ".join(w.read(i, p) for i, p, w in zip(places, offsets, found, strict=True))
        bound = ", ".join([f"c<{channels}", *(f"{p}<{w.size}" for p, w in zip(offsets, found, strict=True))])
        x = "pad(x, 0)" if any(w.padded for w in found) else "x"
        bias = f" + b[{out}]" if self.bias else ""
        return (
            f"u[n, {declared}, {where}] = "
            f"sum[{bound}](W[{out}, c, {', '.join(offsets)}] * {x}[n, {read}, {cells}]){bias}"
        )

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        self._windows(shapes[0])
        weight = named(self.start, self.filters, int(shapes[0][1]) // self.groups, *self.kernel_size)
        return {"W": weight, "b": zeros(self.filters)} if self.bias else {"W": weight}


class Conv1d(_Convolution):
    """(N, channels, length) -> (N, filters, length'): u_oi = Σ_cp W_ocp x_c,(s·i + d·p − P) + b_o."""

    rank = 1


class Conv2d(_Convolution):
    """(N, channels, height, width) -> (N, filters, height', width'); see Conv1d for each axis."""

    rank = 2


class _ConvTranspose(Layer):
    """Zeros are inserted between the cells, stride − 1 of them, and the result is convolved in full with the kernel,
    which is (channels, filters / groups, *window); `padding` cells are cut off on each side, `output_padding` added
    after. `groups` and `dilation` are as for the convolution."""

    rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        bias: bool = True,
        init: str = "glorot",
        l2: float | None = None,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(l2=l2)
        named(init)
        name, rank = type(self).__name__, self.rank
        self.filters = positive("filters", filters, name, f"{name}(16, 3)")
        self.kernel_size = numbers("kernel_size", kernel_size, rank, name)
        self.stride = numbers("stride", stride, rank, name)
        self.padding = numbers("padding", padding, rank, name, least=0)
        self.output_padding = numbers("output_padding", output_padding, rank, name, least=0)
        self.dilation = numbers("dilation", dilation, rank, name)
        self.groups = positive("groups", groups, name, "groups=1")
        for added, stride_, dilation_ in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if added >= max(stride_, dilation_):
                raise ModelError(
                    f"output_padding={added} is not less than the stride {stride_}",
                    about=name,
                    fix="write output_padding=0: it tells apart the sizes that the stride makes one",
                )
        self.bias, self.start = truth("bias", bias, name), init

    def _extents(self, shape: Shape) -> list[int]:
        extents: list[int] = []
        for axis, extent in enumerate(space(shape, self.rank, type(self).__name__)):
            span = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            size = self.stride[axis] * (extent - 1) + span
            extents.append(size - 2 * self.padding[axis] + self.output_padding[axis])
            if extents[-1] < 1:
                raise ModelError(
                    f"padding={self.padding[axis]} cuts all {size} cells off along axis {axis + 2}",
                    about=type(self).__name__,
                    fix="use less padding",
                )
        for count, what in ((int(shape[1]), "channels of the input"), (self.filters, "filters")):
            if count % self.groups:
                raise ModelError(f"groups={self.groups} does not divide the {count} {what}", about=type(self).__name__)
        return extents

    def equations(self, *shapes: Shape) -> str:
        (shape,) = shapes
        extents = self._extents(shape)
        lines: list[str] = []
        x = "x"
        if any(stride > 1 for stride in self.stride):
            places = list(zip(PLACES, ("r", "l"), self.stride, shape[2:], strict=False))
            cells = ", ".join(f"{s}*({i}<{e}) + ({r}<{s})" if s > 1 else i for i, r, s, e in places)
            brackets = "".join(f"*[{r} == 0]" for _, r, s, _ in places if s > 1)
            lines.append(f"z[n, c, {cells}] = x[n, c, {', '.join(i for i, _, _, _ in places)}]{brackets}")
            x = "z"
        inputs, outputs = int(shape[1]) // self.groups, self.filters // self.groups
        out, made, read, over = "o", f"o<{self.filters}", "c", "c"
        if self.groups > 1:
            out = f"{outputs}*g + o"
            made, read, over = f"{outputs}*(g<{self.groups}) + (o<{outputs})", f"{inputs}*g + c", f"c<{inputs}"
        axes = list(zip(("h", "w"), OFFSETS, self.padding, self.dilation, strict=False))
        reads = ", ".join(f"{h} - {f'{d}*' * (d > 1)}{p}{f' + {a}' if a else ''}" for h, p, a, d in axes)
        where = ", ".join(f"{h}<{e}" for h, e in zip(("h", "w"), extents, strict=False))
        kernel = ", ".join(f"{p}<{k}" for p, k in zip(OFFSETS, self.kernel_size, strict=False))
        lines.append(
            f"u[n, {made}, {where}] = sum[{over}, {kernel}](W[{read}, o, {', '.join(OFFSETS[: self.rank])}] * "
            f"pad({x}, 0)[n, {read}, {reads}]){f' + b[{out}]' if self.bias else ''}"
        )
        return "\n".join(lines)

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        space(shapes[0], self.rank, type(self).__name__)
        weight = named(self.start, int(shapes[0][1]), self.filters // self.groups, *self.kernel_size)
        return {"W": weight, "b": zeros(self.filters)} if self.bias else {"W": weight}


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d as a linear map: (N, channels, L) -> (N, filters, s(L−1) + d(k−1) + 1 − 2P + added)."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d as a linear map: (N, channels, H, W) -> (N, filters, H', W'); see ConvTranspose1d for
    each axis."""

    rank = 2
