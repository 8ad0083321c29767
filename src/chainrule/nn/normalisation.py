"""Normalisations: mean 0 and variance 1 over the batch, or within each sample. Variances are biased, Σ(x − m)²/count.

ε is added to the variance under the root, so constant inputs give 0. Scale and shift do not decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from chainrule.errors import ShapeError
from chainrule.nn.initialisers import Initialiser, ones, zeros
from chainrule.nn.layer import Layer, Random, Shape, State, show
from chainrule.nn.shapes import axes, complement, exact, positive, real

LETTERS = {"m": "μ", "g": "γ", "b": "β"}


class BatchNorm(Layer):
    """y = g·(x − m)/√(v + ε) + b for each channel, axis 1, with the mean m and the variance v over the samples and
    all further axes. Outside training the running averages take their places, the states that each step moves:
    running = (1 − momentum)·running + momentum·batch. Ioffe & Szegedy, ICML 2015.

    The running variance averages the biased one, so that inference is training with averages in the place of the
    batch's values, and a batch of one does not divide by 0.
    """

    letters = LETTERS
    state: Mapping[str, State | Random] = {
        "running_mean": State("next_mean", zeros("c")),
        "running_variance": State("next_variance", ones("c")),
    }

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__(l2=0.0)
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
            y[{where}] = g[c]*(x[{where}] - m[c])*(v[c] + {exact(self.epsilon)})**(-1/2) + b[c]
        """

    def inference_equations(self, *shapes: Shape) -> str:
        where, _ = self._parts(shapes[0])
        scale = f"(running_variance[c] + {exact(self.epsilon)})**(-1/2)"
        return f"y[{where}] = g[c]*(x[{where}] - running_mean[c])*{scale} + b[c]"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"g": ones("c"), "b": zeros("c")}


class _SampleNorm(Layer):
    """Over the last `axes` axes of each sample."""

    shifts: ClassVar[bool]
    letters = LETTERS

    def __init__(self, axes: int = 1, epsilon: float = 1e-5) -> None:
        super().__init__(l2=0.0)
        name = type(self).__name__
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
        return {"g": ones(*last), "b": zeros(*last)} if self.shifts else {"g": ones(*last)}


class LayerNorm(_SampleNorm):
    """y = g·(x − m)/√(v + ε) + b with the mean m and the variance v over the last `axes` axes of each sample; g and b
    have the shape of these axes. Ba et al., 2016."""

    shifts = True

    def equations(self, *shapes: Shape) -> str:
        where, kept, last = self.parts(shapes[0])
        return f"""
            m[{kept}] = mean[{last}](x[{where}])
            v[{kept}] = mean[{last}]((x[{where}] - m[{kept}])**2)
            y[{where}] = g[{last}]*(x[{where}] - m[{kept}])*(v[{kept}] + {exact(self.epsilon)})**(-1/2) + b[{last}]
        """


class RMSNorm(_SampleNorm):
    """y = g·x/√(mean(x²) + ε) over the last `axes` axes of each sample; g has the shape of these axes.
    Zhang & Sennrich, NeurIPS 2019."""

    shifts = False

    def equations(self, *shapes: Shape) -> str:
        where, kept, last = self.parts(shapes[0])
        return f"""
            r[{kept}] = mean[{last}](x[{where}]**2)
            y[{where}] = g[{last}]*x[{where}]*(r[{kept}] + {exact(self.epsilon)})**(-1/2)
        """


def _epsilon(value: float, about: str) -> float:
    return real("epsilon", value, about, f"{about}(epsilon=1e-5)", lambda e: e > 0, "a positive number")
