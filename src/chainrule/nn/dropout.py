"""Dropout: a random mask in training, the identity outside it."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.nn.layer import Layer, Random, Shape, State, bernoulli
from chainrule.nn.shapes import axes, complement, indices, probability


class Dropout(Layer):
    """y = x·mask/(1 − rate): each component is set to 0 with probability `rate`, in [0, 1), and the others are scaled
    up so that the mean stays. Outside training y = x. Srivastava et al., JMLR 2014, with the scale moved to training.
    """

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = probability("rate", rate, "Dropout", "Dropout(0.5): the share of components that are set to 0")

    def equations(self, *shapes: Shape) -> str:
        where = indices(shapes[0])
        return f"y[{where}] = x[{where}]*mask[{where}]/{complement(self.rate)}"

    def inference_equations(self, *shapes: Shape) -> str:
        where = indices(shapes[0])
        return f"y[{where}] = x[{where}]"

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        return {"mask": bernoulli(float(complement(self.rate)), "n", *axes(len(shapes[0]) - 1))}
