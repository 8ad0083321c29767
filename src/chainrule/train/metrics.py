"""What a prediction is worth: measures of outputs beside targets, by name or of a user's own.

Each takes the model's outputs (N, …) as `predict` gives them, the targets (N, …) as the model is trained on them, rows
of 0 and 1 for classes, and a weight for each sample. Of several classes precision, recall, F1 and AUC are means over
the classes, each counting as much; of one output, between 0 and 1, they are those of 1. Where nothing was predicted or
nothing is there to be found, a ratio is 0, as in scikit-learn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.nn.losses import Labels
from chainrule.options import several

Array = NDArray[Any]
Measure = Callable[[Array, Array, Array], float]
Asked = str | Callable[..., Any] | Iterable[str | Callable[..., Any]]
"""One metric or several, by name or as functions."""


@dataclass(frozen=True)
class Metric:
    """`higher` says that more is better; `of` whether it is about classes, numbers, or whatever the user says."""

    name: str
    measure: Measure
    higher: bool = True
    of: str = "classes"

    def __repr__(self) -> str:
        return f"<{self.name} of {self.of}: {'more' if self.higher else 'less'} is better>"


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def confusion(output: Array, target: Array, weight: Array) -> Array:
    """How often (by weight) class i, the row, is taken for class j, the column. Outputs with axes between the first and
    the last count each position."""
    binary = output.shape[-1] == 1
    classes = 2 if binary else output.shape[-1]
    found, truth = (((a[..., 0] > 0.5).astype(int) if binary else a.argmax(-1)) for a in (output, target))
    each = np.broadcast_to(weight.reshape(-1, *[1] * (found.ndim - 1)), found.shape)
    table = np.zeros((classes, classes))
    np.add.at(table, (truth.ravel(), found.ravel()), each.ravel())
    return table


def _of_classes(which: str, output: Array, target: Array, weight: Array) -> float:
    table = confusion(output, target, weight)
    hits, found, there = np.diag(table), table.sum(0), table.sum(1)
    if which == "accuracy":
        return float(hits.sum() / max(table.sum(), 1e-300))
    if which == "balanced_accuracy":
        return float(_ratio(hits, there)[there > 0].mean())
    values = {
        "precision": _ratio(hits, found), "recall": _ratio(hits, there), "f1": _ratio(2 * hits, found + there)
    }[which]
    return float(values[1] if output.shape[-1] == 1 else values[(there > 0) | (found > 0)].mean())


def _top(k: int, output: Array, target: Array, weight: Array) -> float:
    own = np.take_along_axis(output, target.argmax(-1)[..., None], -1)
    right = (output > own).sum(-1) < k
    each = np.broadcast_to(weight.reshape(-1, *[1] * (right.ndim - 1)), right.shape)
    return float(np.average(right, weights=each))


def _auc(output: Array, target: Array, weight: Array) -> float:
    """The chance that one of a class has a higher output than one of no such class, ties counting a half (Mann and
    Whitney); NaN where there is none of either."""
    output, target = output.reshape(-1, output.shape[-1]), target.reshape(-1, target.shape[-1])
    weight = np.repeat(weight, len(output) // len(weight))
    areas = [_area(output[:, k], target[:, k] > 0.5, weight) for k in range(output.shape[1])]
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def _area(score: Array, is_one: Array, weight: Array) -> float:
    _, level = np.unique(score, return_inverse=True)
    ones = np.bincount(level, weight * is_one)
    others = np.bincount(level, weight * ~is_one)
    below = np.cumsum(others) - others
    pairs = ones.sum() * others.sum()
    return float((ones * (below + others / 2)).sum() / pairs) if pairs else float("nan")


def _mean(of: Callable[[Array], Array], output: Array, target: Array, weight: Array) -> float:
    errors = of(output.astype(np.float64) - target).reshape(len(output), -1).mean(1)
    return float(np.average(errors, weights=weight))


def _rmse(output: Array, target: Array, weight: Array) -> float:
    return _mean(np.square, output, target, weight) ** 0.5


def _r2(output: Array, target: Array, weight: Array) -> float:
    """The share of the variance that is explained, of each output and then their mean; 0 of a constant target, unless
    that is met."""
    output, target = (a.reshape(len(a), -1).astype(np.float64) for a in (output, target))
    mean = np.average(target, axis=0, weights=weight)
    left, all_ = (np.average(np.square(target - a), axis=0, weights=weight) for a in (output, mean))
    explained = 1 - np.divide(left, all_, out=np.where(left > 0, 1.0, 0.0), where=all_ > 0)
    return float(explained.mean())


METRICS: dict[str, Metric] = {
    **{
        name: Metric(name, partial(_of_classes, name))
        for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
    },
    "auc": Metric("auc", _auc),
    "mae": Metric("mae", partial(_mean, np.abs), False, "numbers"),
    "rmse": Metric("rmse", _rmse, False, "numbers"),
    "r2": Metric("r2", _r2, True, "numbers"),
}
ALIASES = {"mean_absolute_error": "mae", "root_mean_squared_error": "rmse", "r2_score": "r2", "roc_auc": "auc"}


def metrics_named(given: Asked) -> list[Metric]:
    """One or several."""
    return [metric_named(metric) for metric in several(given)]


def metric_named(given: object) -> Metric:
    """The metric of a name ("top3_accuracy" for any number), or a function (outputs, targets) -> number of one's own;
    more is better of that unless its name has "loss" or "error" in it. Raises ModelError for anything else."""
    if isinstance(given, Metric):
        return given
    if callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        own = cast(Callable[[Array, Array], Any], given)
        return Metric(name, lambda output, target, _: float(own(output, target)), higher(name), "anything")
    name = str(given).lower()
    name = ALIASES.get(name, name)
    if name in METRICS:
        return METRICS[name]
    if found := re.fullmatch(r"top_?([1-9]\d{0,5})(_accuracy)?", name):
        return Metric(f"top{found[1]}_accuracy", partial(_top, int(found[1])))
    near = get_close_matches(name, METRICS, 1, 0.5)
    raise ModelError(
        f"there is no metric {given!r}", about="metrics",
        fix=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(METRICS)}, top3_accuracy, or a function",
    )


def higher(name: str) -> bool:
    """Whether more of a metric is better, "val_f1" too."""
    name = name.removeprefix("val_")
    known = METRICS.get(name)
    return known.higher if known else "loss" not in name and "error" not in name


def measured(
    metrics: Iterable[Metric], output: Array, target: Array, weight: Array | None, labels: Labels
) -> dict[str, float]:
    """The metrics by name; of several outputs that are each yes or no the means over them. Raises ModelError where one
    is about classes and the model learns numbers."""
    each = np.ones(len(output)) if weight is None else weight.reshape(len(weight), -1).mean(1).astype(np.float64)
    result: dict[str, float] = {}
    for metric in metrics:
        if metric.of == "classes" and labels == "numbers":
            raise ModelError(
                f"{metric.name} is about classes, and the model learns numbers", about="metrics",
                fix="choose mae, rmse or r2",
            )
        if metric.of == "classes" and labels == "binary":
            columns = range(output.shape[-1])
            values = [metric.measure(output[..., k : k + 1], target[..., k : k + 1], each) for k in columns]
            result[metric.name] = float(np.mean(values))
        else:
            result[metric.name] = metric.measure(output, target, each)
    return result


def class_weights(
    given: str | Mapping[Any, float], truth: Array, count: int, names: tuple[str, ...] = ()
) -> NDArray[np.float64]:
    """A weight for each sample: that of its class, by number or by name; of "balanced" the number of samples over that
    of classes and the class's own, so that each class counts as much. Raises ModelError for a class that there is
    not, and for what is no weight."""
    if not isinstance(given, Mapping) and not (isinstance(given, str) and given == "balanced"):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(f"class_weight is {given!r}", fix='write class_weight="balanced", or {0: 1.0, 1: 5.0}')
    if isinstance(given, str):
        there = np.bincount(truth, minlength=count)
        return (len(truth) / (np.count_nonzero(there) * np.maximum(there, 1)))[truth]
    weights = np.ones(count)
    for key, weight in given.items():
        if np.asarray(weight).dtype.kind not in "iuf" or np.ndim(weight) or not 0 <= weight < np.inf:
            raise ModelError(
                f"class_weight gives the class {key!r} the weight {weight!r}, which is no number from 0",
                fix="write class_weight={0: 1.0, 1: 5.0}",
            )
        place: Any = names.index(key) if key in names else key
        if isinstance(place, bool) or place not in range(count):
            known = ", ".join(names) or f"0 … {count - 1}"
            raise ModelError(f"class_weight names the class {key!r}", fix=f"the classes are {known}")
        weights[int(place)] = weight
    return weights[truth]
