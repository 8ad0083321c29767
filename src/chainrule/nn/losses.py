"""Losses: equations over the last layer's output `u` and the target `t`, of one shape (N, …).

Where a loss works on logits its link turns them into the probabilities that `predict` gives. The link's
equation is part of the program, so a derivation can reuse its value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.layer import Shape, show
from chainrule.nn.layers import axes

Labels = Literal["classes", "binary", "numbers"]


@dataclass(frozen=True)
class Loss:
    """`equation` and `link` take the subscripts of one sample, "k", and give text; an `equation` defines e[n], the
    loss of each sample, and the model takes their mean, or it is a user's own and defines `loss`. `labels` says what
    targets are: one of several classes, 0 or 1, or numbers. `included` names the activation that the loss contains."""

    name: str
    equation: Callable[[str], str]
    link: Callable[[str], str] | None = None
    labels: Labels = "numbers"
    included: str = ""

    def text(self, shape: Shape) -> str:
        """The loss for outputs of this shape."""
        if len(shape) < 2 or (self.labels == "classes" and len(shape) != 2):
            raise ShapeError(
                f"{self.name} takes outputs (N, m), but the last layer gives {show(shape)}",
                about=self.name,
                fix="end the model with a Dense layer",
            )
        if self.labels == "classes" and shape[1] == 1:
            raise ModelError(
                f"{self.name} of a single output is always 0: it needs one output for each class",
                about=f"the last layer, which gives {show(shape)}",
                fix='for two classes write loss="binary_cross_entropy", or give the last layer 2 units',
            )
        text = self.equation(", ".join(axes(len(shape) - 1)))
        return f"{text}\nloss = mean[n](e[n])" if text.startswith("e[n]") else text

    def link_text(self, shape: Shape) -> str:
        return self.link(", ".join(axes(len(shape) - 1))) if self.link else ""


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("half_squared_error", lambda k: f"e[n] = 1/2 * sum[{k}]((u[n, {k}] - t[n, {k}])**2)"),
        Loss("mean_squared_error", lambda k: f"e[n] = mean[{k}]((u[n, {k}] - t[n, {k}])**2)"),
        Loss(
            "binary_cross_entropy",
            lambda k: f"e[n] = mean[{k}](softplus(u[n, {k}]) - t[n, {k}] * u[n, {k}])",
            lambda k: f"p[n, {k}] = sigmoid(u[n, {k}])",
            "binary",
            "Sigmoid",
        ),
        Loss(
            "softmax_cross_entropy",
            lambda k: f"e[n] = logsumexp[{k}](u[n, {k}]) - sum[{k}](t[n, {k}] * u[n, {k}])",
            lambda k: f"p[n, {k}] = exp(u[n, {k}] - logsumexp[h](u[n, h]))",
            "classes",
            "Softmax",
        ),
    )
}
OTHERS = {
    "crossentropyloss": "softmax_cross_entropy",
    "crossentropy": "softmax_cross_entropy",
    "cross_entropy": "softmax_cross_entropy",
    "categorical_crossentropy": "softmax_cross_entropy",
    "sparse_categorical_crossentropy": "softmax_cross_entropy",
    "log_loss": "softmax_cross_entropy",
    "bce": "binary_cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
    "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy",
    "mse": "mean_squared_error",
    "mseloss": "mean_squared_error",
    "squared_error": "mean_squared_error",
    "mean_square_error": "mean_squared_error",
}


def loss_named(name: str) -> Loss:
    """The loss of that name, or the user's own where `name` is an equation over u and t, "loss = …".

    Raises ModelError with our name for another framework's, or the nearest name.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(f"a loss is named by a text, not by {name!r}", fix=f"choose from {', '.join(LOSSES)}")
    if "=" in name:
        return Loss(name, lambda k: name)
    if name in LOSSES:
        return LOSSES[name]
    if name.lower() in OTHERS:
        ours = OTHERS[name.lower()]
        raise ModelError(f"the loss {name!r} is called {ours!r} here", fix=f'write loss="{ours}"')
    near = get_close_matches(name, LOSSES, 1, 0.5)
    raise ModelError(
        f"unknown loss {name!r}", fix=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(LOSSES)}"
    )
