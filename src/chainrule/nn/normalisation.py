"""Normalisations: mean 0 and variance 1 over the batch, or within each sample. Variances are biased, Σ(x − m)²/count.

ε is added to the variance under the root, so constant inputs give 0. Scale and shift do not decay.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.initialisers import Initialiser, ones, zeros
from chainrule.nn.layer import Layer, Random, Shape, State, show
from chainrule.nn.shapes import axes, complement, exact, positive, real, truth

LETTERS = {"m": "μ", "g": "γ", "gain": "γ", "b": "β"}


class BatchNorm(Layer):
    """y = g·(x − m)/√(v + ε) + b for each channel, axis 1, with the mean m and the variance v over the samples and
    all further axes. Outside training the running averages take their places, the states that each step moves:
    running = (1 − momentum)·running + momentum·batch. Ioffe & Szegedy, ICML 2015.

    The running variance averages the biased one, so that inference is training with averages in the place of the
    batch's values, and a batch of one does not divide by 0. Without `affine` there are no g and b.
    """

    letters = LETTERS
    state: Mapping[str, State | Random] = {
        "running_mean": State("next_mean", zeros("c")),
        "running_variance": State("next_variance", ones("c")),
    }

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5, affine: bool = True) -> None:
        super().__init__(l2=0.0)
        self.affine = truth("affine", affine, "BatchNorm")
        self.momentum = real(
            "momentum", momentum, "BatchNorm", "BatchNorm(momentum=0.1): the share of the new batch",
            lambda share: 0 <= share <= 1, "a number from 0 to 1",
        )
        self.epsilon = _epsilon(epsilon, "BatchNorm")

    @property
    def numbers(self) -> Mapping[str, str]:
        return {exact(self.epsilon): "ε"}

    def _parts(self, shape: Shape) -> tuple[str, str]:
        """The subscripts, and those that are averaged over."""
        if len(shape) < 2:
            raise ShapeError("BatchNorm needs an axis of channels after the samples", fix="give Input(3), not Input()")
        space = {3: ["i"], 4: ["i", "j"]}.get(len(shape)) or [f"a{i + 1}" for i in range(len(shape) - 2)]
        return ", ".join(["n", "c", *space]), ", ".join(["n", *space])

    def equations(self, *shapes: Shape) -> str:
        where, over = self._parts(shapes[0])
        old, new = complement(self.momentum), exact(self.momentum)
        return f"""
            m[c] = mean[{over}](x[{where}])
            v[c] = mean[{over}]((x[{where}] - m[c])**2)
            next_mean[c] = {old}*running_mean[c] + {new}*m[c]
            next_variance[c] = {old}*running_variance[c] + {new}*v[c]
            y[{where}] = {self._scaled(f"(x[{where}] - m[c])*(v[c] + {exact(self.epsilon)})**(-1/2)")}
        """

    def _scaled(self, normalised: str) -> str:
        return f"g[c]*{normalised} + b[c]" if self.affine else normalised

    def inference_equations(self, *shapes: Shape) -> str:
        where, _ = self._parts(shapes[0])
        scale = f"(running_variance[c] + {exact(self.epsilon)})**(-1/2)"
        return f"y[{where}] = {self._scaled(f'(x[{where}] - running_mean[c])*{scale}')}"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"g": ones("c"), "b": zeros("c")} if self.affine else {}


class _SampleNorm(Layer):
    """Over the last `axes` axes of each sample."""

    shifts: bool
    letters = LETTERS

    def __init__(self, axes: int = 1, epsilon: float = 1e-5, scale: bool = True) -> None:
        super().__init__(l2=0.0)
        name = type(self).__name__
        self.scale = truth("scale", scale, name)
        self.axes = positive("axes", axes, name, f"{name}(axes=1): how many of the last axes")
        self.epsilon = _epsilon(epsilon, name)

    @property
    def numbers(self) -> Mapping[str, str]:
        return {exact(self.epsilon): "ε"}

    def parts(self, shape: Shape) -> tuple[str, str, str]:
        """The subscripts, those before the normalised axes, and those of the normalised axes."""
        if self.axes > len(shape) - 1:
            raise ShapeError(
                f"axes={self.axes} are more than the {len(shape) - 1} axes of a sample in {show(shape)}",
                fix=f"write axes={len(shape) - 1}" if len(shape) > 1 else "give Input(3), not Input()",
            )
        names = ["n", *axes(len(shape) - 1)]
        return ", ".join(names), ", ".join(names[: -self.axes]), ", ".join(names[-self.axes :])

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        self.parts(shapes[0])
        last = axes(len(shapes[0]) - 1)[-self.axes :]
        return ({"g": ones(*last)} if self.scale else {}) | ({"b": zeros(*last)} if self.shifts else {})


class LayerNorm(_SampleNorm):
    """y = g·(x − m)/√(v + ε) + b with the mean m and the variance v over the last `axes` axes of each sample; g and b
    have the shape of these axes. Without `scale` there is no g, without `shift` no b. Ba et al., 2016."""

    def __init__(self, axes: int = 1, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> None:
        super().__init__(axes, epsilon, scale)
        self.shifts = truth("shift", shift, "LayerNorm")

    def equations(self, *shapes: Shape) -> str:
        where, kept, last = self.parts(shapes[0])
        scale, shift = f"g[{last}]*" * self.scale, f" + b[{last}]" * self.shifts
        return f"""
            m[{kept}] = mean[{last}](x[{where}])
            v[{kept}] = mean[{last}]((x[{where}] - m[{kept}])**2)
            y[{where}] = {scale}(x[{where}] - m[{kept}])*(v[{kept}] + {exact(self.epsilon)})**(-1/2){shift}
        """


class RMSNorm(_SampleNorm):
    """y = g·x/√(mean(x²) + ε) over the last `axes` axes of each sample; g has the shape of these axes, and without
    `scale` there is none. Zhang & Sennrich, NeurIPS 2019."""

    shifts = False

    def equations(self, *shapes: Shape) -> str:
        where, kept, last = self.parts(shapes[0])
        return f"""
            r[{kept}] = mean[{last}](x[{where}]**2)
            y[{where}] = {f"g[{last}]*" * self.scale}x[{where}]*(r[{kept}] + {exact(self.epsilon)})**(-1/2)
        """


class GroupNorm(Layer):
    """y = g_c·(x − m)/√(v + ε) + b_c with the mean m and the variance v over the channels of a group and all further
    axes, for each sample: the channels of (N, channels, …) fall into `groups` parts. Without `affine` there are no g
    and b. Wu & He, ECCV 2018."""

    letters = LETTERS

    def __init__(self, groups: int, epsilon: float = 1e-5, affine: bool = True) -> None:
        super().__init__(l2=0.0)
        self.groups = positive("groups", groups, "GroupNorm", "GroupNorm(4)")
        self.epsilon, self.affine = _epsilon(epsilon, "GroupNorm"), truth("affine", affine, "GroupNorm")

    @property
    def numbers(self) -> Mapping[str, str]:
        return {exact(self.epsilon): "ε"}

    def equations(self, *shapes: Shape) -> str:
        return self._text(shapes[0], self.groups)

    def _text(self, shape: Shape, groups: int) -> str:
        if len(shape) < 2:
            raise ShapeError("GroupNorm needs an axis of channels after the samples", fix="give Input(3), not Input()")
        channels = int(shape[1])
        if channels % groups:
            raise ModelError(
                f"groups={groups} does not divide the {channels} channels", about="GroupNorm",
                fix="choose a divisor of the channels",
            )
        inside, space = channels // groups, axes(len(shape) - 1)[1:] if len(shape) != 3 else ["i"]
        # A group of one channel needs no index inside the group.
        of = f"{inside}*g + c" if inside > 1 else "g"
        over = ", ".join([*([f"c<{inside}"] if inside > 1 else []), *space])
        place = f"{inside}*(g<{groups}) + (c<{inside})" if inside > 1 else "g"
        cell, cells = (", ".join(["n", at, *space]) for at in (place, of))
        z = f"(x[{cells}] - m[n, g])*(v[n, g] + {exact(self.epsilon)})**(-1/2)"
        return f"""
            m[n, g<{groups}] = mean[{over}](x[{cells}])
            v[n, g<{groups}] = mean[{over}]((x[{cells}] - m[n, g])**2)
            y[{cell}] = {f"gain[{of}]*{z} + b[{of}]" if self.affine else z}
        """

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        channels = int(shapes[0][1]) if len(shapes[0]) > 1 else 1
        return {"gain": ones(channels), "b": zeros(channels)} if self.affine else {}


class InstanceNorm(GroupNorm):
    """GroupNorm with a group for each channel: mean 0 and variance 1 of every channel of every sample of
    (N, channels, …). Ulyanov et al., 2016."""

    def __init__(self, epsilon: float = 1e-5, affine: bool = True) -> None:
        super().__init__(1, epsilon, affine)
        self.config = {"epsilon": epsilon, "affine": affine}

    def equations(self, *shapes: Shape) -> str:
        if len(shapes[0]) < 3:
            raise ShapeError(
                f"InstanceNorm takes (N, channels, …), not {show(shapes[0])}", fix="put cr.Reshape before it"
            )
        return self._text(shapes[0], int(shapes[0][1]))


def _epsilon(value: float, about: str) -> float:
    return real("epsilon", value, about, f"{about}(epsilon=1e-5)", lambda e: e > 0, "a positive number")
