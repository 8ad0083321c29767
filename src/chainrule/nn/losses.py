"""Losses: equations over the last layer's output `u` and the target `t`, of one shape (N, …).

e[n] is the loss of sample n, and the model takes the mean of the samples, or of w[n]·e[n] where samples have weights.
Where a loss works on logits its link turns them into the probabilities that `predict` gives; where it works on
standardised numbers, into numbers of the targets' own size. The link's equation is
part of the program, so a derivation can reuse its value.

Sources: Huber, Ann. Math. Statist. 35 (1964), eq. 3.7; Kullback & Leibler, Ann. Math. Statist. 22 (1951), eq. 2.2;
Szegedy et al., CVPR 2016, §7 (label smoothing); Weston & Watkins, ESANN 1999, eq. 3 (the hinge of several classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from inspect import signature
from typing import Any, Literal

import numpy as np

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.layer import Shape, show
from chainrule.nn.shapes import axes
from chainrule.nn.text import number, sized

Labels = Literal["classes", "binary", "numbers"]
Term = Callable[[str, str, int], str]
"""The text of one entry's loss, from its subscripts ("n, i, j"), the last axis's index and that axis's extent. The
entries of a loss over classes are the positions (n, …) of whole distributions: their subscripts lack the last index."""


@dataclass(frozen=True, eq=False)
class Loss:
    """`term` is the loss of one entry, and `reduction` ("mean", "1/2 * sum") adds a sample's entries up; without a
    term `name` is a user's own text, which defines e[n] or `loss`. `link` gives the equation of the probabilities.
    `labels` says what targets are: one of several classes, 0 or 1, or numbers. `included` names the activation that
    the loss contains. `constant` is a vector over the last axis, by the name of its option: `v` in the text."""

    name: str
    term: Term | None = None
    reduction: str = "mean"
    link: Callable[[str, str], str] | None = None
    labels: Labels = "numbers"
    included: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    constant: tuple[str, tuple[float, ...]] | None = None

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    @property
    def saved(self) -> Any:
        """What a saved model keeps: the name, with the options where there are any."""
        return {"name": self.name, "options": dict(self.options)} if self.options else self.name

    def entries(self, shape: Shape) -> Shape:
        """The shape of the entries whose losses a sample's is made of: (N,) where it has only one."""
        return shape[:1] if self.term is None else shape[:-1] if self.labels == "classes" else shape

    def text(self, shape: Shape, weight: int = 0) -> str:
        """The loss for outputs of this shape; `weight` is the number of axes of the weights `w`, 0 without any."""
        self._check(shape)
        if self.term is None:
            text = self.name
            if not text.startswith("e[n]"):
                if weight:
                    raise ModelError(
                        "a loss of one's own that defines `loss` takes no sample_weight",
                        about=text,
                        fix='define the loss of each sample, "e[n] = …": the model takes the mean',
                    )
                return text
        else:
            entries = axes(len(shape) - 1)[: len(self.entries(shape)) - 1]
            at = ", ".join(["n", *entries])
            term = self.term(at, axes(len(shape) - 1)[-1], int(shape[-1]))
            if weight > 1:
                term = f"w[{at}] * ({term})"
            text = f"e[n] = {self.reduction}[{', '.join(entries)}]({term})" if entries else f"e[n] = {term}"
        return f"{text}\nloss = mean[n]({'w[n] * ' if weight == 1 else ''}e[n])"

    def link_text(self, shape: Shape) -> str:
        names = axes(len(shape) - 1)
        return self.link(", ".join(["n", *names[:-1]]), names[-1]) if self.link else ""

    def _check(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ShapeError(
                f"{self.name} takes outputs (N, m), but the last layer gives {show(shape)}",
                about=self.name,
                fix="end the model with a Dense layer",
            )
        if self.labels == "classes" and shape[-1] == 1:
            raise ModelError(
                f"{self.name} of a single output is always {'1' if self.name == 'multiclass_hinge' else '0'}: "
                "it needs one output for each class",
                about=f"the last layer, which gives {show(shape)}",
                fix='for two classes write loss="binary_cross_entropy", or give the last layer 2 units',
            )
        if self.constant and len(self.constant[1]) != shape[-1]:
            name, values = self.constant
            raise ModelError(
                f"{name} has {len(values)} entries, but the last layer gives {show(shape)}",
                about=self.name,
                fix=f"give {shape[-1]} numbers, one for each output",
            )


def half_squared_error() -> Loss:
    """½ Σ (u − t)² of each sample."""
    return Loss("half_squared_error", _square, "1/2 * sum")


def mean_squared_error(mean: float = 0.0, deviation: float = 1.0) -> Loss:
    """The mean of (u − t)² over a sample's outputs. With a `mean` m and a `deviation` d of the targets it is that of
    (u − (t − m)/d)², and the model predicts d·u + m: it learns numbers of any size as if they were standardised.

    Raises ModelError unless the deviation is positive.
    """
    name = "mean_squared_error"
    m, d = number("mean", mean, name), number("deviation", deviation, name)
    if d <= 0:
        raise ModelError(
            f"deviation must be positive, not {d!r}", about=name, fix=f"write {name}(mean=10.0, deviation=2.5)"
        )
    if (m, d) == (0, 1):
        return Loss(name, _square)

    def term(at: str, k: str, outputs: int) -> str:
        return f"(u[{at}] - (t[{at}] - ({m!r})) / {d!r})**2"

    def link(at: str, k: str) -> str:
        return f"p[{at}, {k}] = {d!r} * u[{at}, {k}] + ({m!r})"

    return Loss(name, term, link=link, options=_given(mean=(m, 0), deviation=(d, 1)))


def _square(at: str, k: str, m: int) -> str:
    return f"(u[{at}] - t[{at}])**2"


def mean_absolute_error() -> Loss:
    """The mean of |u − t| over a sample's outputs; the derivative at u = t is 0."""
    return Loss("mean_absolute_error", lambda at, k, m: f"abs(u[{at}] - t[{at}])")


def huber(delta: float = 1.0) -> Loss:
    """The mean over a sample's outputs of ½ r² where |r| = |u − t| ≤ delta, and delta·(|r| − delta/2) beyond.

    Raises ModelError unless delta > 0.
    """
    value = number("delta", delta, "huber")
    if value <= 0:
        raise ModelError(f"delta must be positive, not {value!r}", about="huber", fix="write huber(delta=1.0)")

    def term(at: str, k: str, m: int) -> str:
        # Both pieces in one, and no difference of squares: ½ r² − ½ max(0, |r| − delta)² would cancel far out.
        r = f"abs(u[{at}] - t[{at}])"
        return f"1/2 * min({r}, {value!r})**2 + {value!r} * relu({r} - {value!r})"

    return Loss("huber", term, options=_given(delta=(value, 1)))


def hinge() -> Loss:
    """The mean of max(0, 1 − s·u) over a sample's outputs, s = 2t − 1 for targets t of 0 or 1; the derivative at the
    margin s·u = 1 is 0."""
    return Loss("hinge", lambda at, k, m: f"relu(1 - (2 * t[{at}] - 1) * u[{at}])", labels="binary")


def multiclass_hinge() -> Loss:
    """(1/m) Σ max(0, 1 + u_k − u_t) over the classes k that are not the true one, t; targets are labels or one-hot."""

    def term(at: str, k: str, m: int) -> str:
        margin = f"1 + u[{at}, {k}] - sum[h](t[{at}, h] * u[{at}, h])"
        return f"mean[{k}]((1 - t[{at}, {k}]) * relu({margin}))"

    return Loss("multiclass_hinge", term, labels="classes")


def binary_cross_entropy(label_smoothing: float = 0.0, positive_weight: Any = 1.0) -> Loss:
    """The mean of −t·log p − (1 − t)·log(1 − p) over a sample's outputs, p = sigmoid(u).

    `label_smoothing` ε takes (1 − ε)t + ε/2 for t; `positive_weight`, a number or one for each output, multiplies
    the first term. Raises ModelError unless 0 ≤ ε < 1 and the weights are finite and not negative.
    """
    name = "binary_cross_entropy"
    smoothing = _smoothing(label_smoothing, name)
    constant = None
    if isinstance(positive_weight, (int, float, np.number)):
        (positive,) = _weights("positive_weight", [positive_weight], name)
        saved, weight = positive, "" if positive == 1 else repr(positive)
    else:
        constant = ("positive_weight", _weights("positive_weight", positive_weight, name))
        saved, weight = list(constant[1]), "v"

    def term(at: str, k: str, m: int) -> str:
        t, u = _smoothed(f"t[{at}]", smoothing, 2), f"u[{at}]"
        if not weight:
            return f"softplus({u}) - {t} * {u}"
        factor = f"v[{k}]" if weight == "v" else weight
        return f"(1 - {t}) * softplus({u}) + {factor} * {t} * softplus(-{u})"

    def link(at: str, k: str) -> str:
        return f"p[{at}, {k}] = sigmoid(u[{at}, {k}])"

    options = _given(label_smoothing=(float(smoothing), 0), positive_weight=(saved, 1))
    return Loss(name, term, link=link, labels="binary", included="Sigmoid", options=options, constant=constant)


def softmax_cross_entropy(label_smoothing: float = 0.0, class_weights: Any = None) -> Loss:
    """−Σ t_k·log p_k, p = softmax(u) over the last axis; for outputs (N, …, m) the mean over the positions.

    `label_smoothing` ε takes (1 − ε)t + ε/m for t; `class_weights` multiply the terms of the sum, and the divisor
    stays the number of samples. Raises ModelError unless 0 ≤ ε < 1 and the weights are finite and not negative.
    """
    name = "softmax_cross_entropy"
    smoothing = _smoothing(label_smoothing, name)
    weights = None if class_weights is None else _weights("class_weights", class_weights, name)

    def term(at: str, k: str, m: int) -> str:
        t, u = _smoothed(f"t[{at}, {k}]", smoothing, m), f"u[{at}, {k}]"
        if weights is None:
            return f"logsumexp[{k}]({u}) - sum[{k}]({t} * {u})"
        # In each term, where what is large cancels.
        return f"sum[{k}](v[{k}] * {t} * (logsumexp[h](u[{at}, h]) - {u}))"

    options = _given(label_smoothing=(float(smoothing), 0), class_weights=(weights and list(weights), None))
    constant = ("class_weights", weights) if weights else None
    return Loss(
        name, term, link=_softmax, labels="classes", included="Softmax", options=options, constant=constant
    )


def kl_divergence() -> Loss:
    """KL(t ‖ p) = Σ t_k·(log t_k − log p_k), p = softmax(u) over the last axis, 0·log 0 = 0; targets are
    distributions. For outputs (N, …, m) the mean over the positions."""

    def term(at: str, k: str, m: int) -> str:
        t, u = f"t[{at}, {k}]", f"u[{at}, {k}]"
        return f"logsumexp[{k}]({u}) - sum[{k}]({t} * {u}) + sum[{k}]({t} * log({t} + 1 - step({t})))"

    return Loss("kl_divergence", term, link=_softmax, labels="classes", included="Softmax")


def _softmax(at: str, k: str) -> str:
    return f"p[{at}, {k}] = exp(u[{at}, {k}] - logsumexp[h](u[{at}, h]))"


def _smoothed(t: str, smoothing: Fraction, outcomes: int) -> str:
    """The target, or (1 − ε)t + ε/outcomes."""
    if not smoothing:
        return t
    kept, shared = 1 - smoothing, smoothing / outcomes
    return f"({kept} * {t} + {shared})"


def _smoothing(value: Any, about: str) -> Fraction:
    smoothing = number("label_smoothing", value, about)
    # Beyond 15 decimals the numbers of the equation are longer than its text may hold.
    if not 0 <= smoothing < 1 or 0 < smoothing < 1e-15:
        raise ModelError(
            f"label_smoothing must be at least 0 and less than 1, not {smoothing!r}",
            about=about,
            fix=f"write {about}(label_smoothing=0.1)",
        )
    return Fraction(str(smoothing))


def _weights(name: str, values: Any, about: str) -> tuple[float, ...]:
    """Weights over the last axis. Raises ModelError unless they are finite and not negative."""
    example = f"{about}({name}=[1, 2, 0.5])"
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1 or not len(array):
        raise ModelError(
            f"{name} must be a list of numbers, one for each output, not {values!r}",
            about=about,
            fix=f"write {example}",
        )
    weights = tuple(float(value) for value in array)
    for place, value in enumerate(weights):
        if not 0 <= value < np.inf:
            where = f" in place {place}" if len(weights) > 1 else ""
            raise ModelError(
                f"{name} holds {value!r}{where}: weights are finite and not negative",
                about=about,
                fix=f"write {example}",
            )
        sized(name, value, about)
    return weights


def _given(**options: tuple[Any, Any]) -> dict[str, Any]:
    """The options whose value is not the default, from pairs of the two."""
    return {name: value for name, (value, default) in options.items() if value != default}


LOSSES: dict[str, Callable[..., Loss]] = {
    make.__name__: make
    for make in (
        half_squared_error,
        mean_squared_error,
        mean_absolute_error,
        huber,
        hinge,
        multiclass_hinge,
        binary_cross_entropy,
        softmax_cross_entropy,
        kl_divergence,
    )
}
_ALIASES = {
    "softmax_cross_entropy": (
        "crossentropyloss", "crossentropy", "cross_entropy", "categorical_crossentropy", "categoricalcrossentropy",
        "sparse_categorical_crossentropy", "sparsecategoricalcrossentropy", "log_loss", "nllloss", "nll",
    ),
    "binary_cross_entropy": (
        "bce", "binary_crossentropy", "binarycrossentropy", "bceloss", "bcewithlogitsloss",
        "sigmoid_binary_cross_entropy",
    ),
    "mean_squared_error": ("mse", "mseloss", "squared_error", "mean_square_error", "meansquarederror", "l2", "l2loss"),
    "mean_absolute_error": ("mae", "l1", "l1loss", "l1_loss", "absolute_error", "meanabsoluteerror"),
    "huber": ("huberloss", "huber_loss", "smoothl1loss", "smooth_l1", "smooth_l1_loss", "smoothl1"),
    "hinge": ("hingeloss", "hinge_loss"),
    "multiclass_hinge": (
        "multimarginloss", "multi_margin_loss", "categorical_hinge", "categoricalhinge", "multiclass_hinge_loss",
    ),
    "kl_divergence": (
        "kldivloss", "kl_div", "kld", "kl", "kldivergence", "kullback_leibler_divergence", "kullbackleiblerdivergence",
    ),
}  # fmt: skip
OTHERS = {other: ours for ours, names in _ALIASES.items() for other in names}


def loss_named(name: str | Loss, options: Mapping[str, Any] | None = None) -> Loss:
    """The loss of that name, with its options, or the user's own where `name` is an equation over u and t, "loss = …"
    or "e[n] = …".

    Raises ModelError with our name for another framework's, or the nearest name.
    """
    choose = f"choose from {', '.join(LOSSES)}"
    if isinstance(name, Loss):
        return name
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        made = getattr(name, "__name__", "")
        fix = f"call it: loss=cr.{made}()" if made in LOSSES else choose
        raise ModelError(f"a loss is named by a text, not by {name!r}", fix=fix)
    if "=" in name:
        return Loss(name)
    name = name if name in LOSSES else next((loss for loss in LOSSES if loss == name.lower()), name)
    if name in LOSSES:
        known = signature(LOSSES[name]).parameters
        for option in options or {}:
            if option not in known:
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ModelError(f"{name} has no option {option!r}", about=name, fix=takes)
        return LOSSES[name](**(options or {}))
    if name.lower() in OTHERS:
        ours = OTHERS[name.lower()]
        raise ModelError(f"the loss {name!r} is called {ours!r} here", fix=f'write loss="{ours}"')
    if "[" in name:
        raise ModelError("a loss of one's own is an equation", about=name, fix=f"write loss={f'e[n] = {name}'!r}")
    near = get_close_matches(name, LOSSES, 1, 0.5)
    raise ModelError(f"unknown loss {name!r}", fix=f"did you mean {near[0]!r}?" if near else choose)


def loss_saved(saved: Any) -> Loss | None:
    """The loss of a saved model, from what `Loss.saved` gave."""
    if isinstance(saved, dict):
        return loss_named(saved["name"], saved["options"])  # pyright: ignore[reportUnknownArgumentType]
    return None if saved is None else loss_named(saved)
