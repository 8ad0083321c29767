"""What a model is given: samples, targets and weights as arrays of its shapes, and a part that is held out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DataError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.nn.layer import Input, Node
from chainrule.nn.losses import Labels, Loss
from chainrule.nn.network import Network, order
from chainrule.train.columns import Columns, coded, encoded
from chainrule.train.data import as_input, as_target, is_one_hot, split, too_fine
from chainrule.train.metrics import class_weights
from chainrule.train.weights import as_weight, without_masked

Array = NDArray[Any]
Samples = Any  # what NumPy makes an array of; for several inputs, a tuple of such, or a dictionary by their names
WEIGHT = "weight"  # the input that holds the weights of samples


@dataclass
class Rows:
    """Samples by input's name, the weights "weight" among them where there are some, and their targets; of these arrays
    the rows `at`. Nothing is copied: the arrays may be files that memory cannot hold."""

    given: dict[str, Array]
    target: Array
    at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> Rows:
        return Rows(self.given, self.target, self.at[rows])

    @property
    def targets(self) -> Array:
        return self.target[self.at]

    @property
    def weights(self) -> Array | None:
        return self.given[WEIGHT][self.at] if WEIGHT in self.given else None

    @property
    def counted(self) -> NDArray[np.int64]:
        """Of the rows `at` those whose weight is not 0: the others are as if they were not there."""
        weights = self.weights
        return self.at if weights is None else self.at[weights.reshape(len(weights), -1).any(axis=1)]

    def over(self, tensors: Iterable[Tensor], target: Tensor) -> dict[Tensor, Array]:
        """The arrays of these inputs of a network."""
        return {t: self.target if t.name == target.name else self.given[t.name] for t in tensors}


class Feed:
    """Checks and shapes what a network is fed with."""

    def __init__(self, network: Network, inputs: Sequence[Input], output: Node, loss: Loss | None) -> None:
        self.network, self.nodes, self.output = network, inputs, output
        self.loss = loss
        self.columns: Columns | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(t for t in self.network.training.inputs if t is not self.network.target)

    def reader(self, tensor: Tensor) -> str:
        """The layer that reads an input."""
        for number, node in enumerate(self.nodes):
            if self.inputs[number] is tensor:
                for block, other in zip(self.network.blocks, self._layer_nodes, strict=True):
                    if node in other.parents:
                        return block.label
        return "the model"

    @cached_property
    def _layer_nodes(self) -> list[Node]:
        return [node for node in order(self.output) if node.layer is not None]

    def samples(self, x: Samples, dtype: np.dtype[Any], *, learning: bool = False) -> dict[str, Array]:
        """The samples of each input, by its name; `learning` from them, what the type of numbers loses is told. Raises
        DataError and ShapeError."""
        tensors = self.inputs
        several: list[Any]
        if isinstance(x, Mapping):
            named, names = dict(cast("Mapping[str, Any]", x)), [t.name for t in tensors]
            if sorted(named) != sorted(names):
                raise DataError(f"x has the inputs {', '.join(map(str, named))}", fix=f"give {', '.join(names)}")
            several = [named[name] for name in names]
        elif len(tensors) == 1:
            several = [encoded(self.columns, x)]
        elif isinstance(x, (tuple, list)) and len(x) == len(tensors):  # pyright: ignore[reportUnknownArgumentType]
            several = list(x)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        else:
            raise DataError(f"the model has {len(tensors)} inputs", fix="give x as a tuple with one array for each")
        for value in several if learning else ():
            if isinstance(value, np.ndarray) and (lost := too_fine(value, dtype)):  # pyright: ignore[reportUnknownArgumentType]
                columns = f"column{'s' * (len(lost) > 1)} {', '.join(map(str, lost[:5]))}{' …' * (len(lost) > 5)}"
                warnings.warn(
                    f"{dtype} hardly tells the values of {columns} apart, which vary little beside their size: take "
                    'away a constant, such as their mean, or write dtype="float64"', stacklevel=4,
                )
        given = {t.name: as_input(v, t, self.reader(t), dtype) for t, v in zip(tensors, several, strict=True)}
        lengths = {len(v) for v in given.values()}
        if len(lengths) > 1:
            raise DataError(f"the inputs have different numbers of samples: {sorted(lengths)}")
        return given

    def rows(
        self, x: Samples, y: ArrayLike, weight: ArrayLike | None, dtype: np.dtype[Any], *, learning: bool = False
    ) -> Rows:
        """Samples with their targets. Raises ModelError where there is no loss, DataError and ShapeError."""
        loss, shape = self.need_loss(), self.network.logits.shape
        given = self.samples(x, dtype, learning=learning)
        samples, y = len(next(iter(given.values()))), coded(self.columns, y)
        if weight is not None:
            given[WEIGHT] = as_weight(weight, loss.entries(shape), samples, dtype)
            y = without_masked(y, given[WEIGHT], shape)
        return Rows(given, as_target(y, shape, loss.labels, samples, dtype), np.arange(samples))

    def need_loss(self) -> Loss:
        if self.loss is None:
            raise ModelError("the model has no loss", fix='give it one: cr.Sequential(…, loss="softmax_cross_entropy")')
        return self.loss

    def labels(self, target: Array) -> Labels:
        """How accuracy is counted: not at all for numbers, unless every target is a class."""
        loss = self.need_loss()
        return "classes" if loss.labels == "numbers" and is_one_hot(target) else loss.labels

    def weighted(self, rows: Rows, weights: str | Mapping[Any, float], names: tuple[str, ...]) -> Rows:
        """The rows with the weight of each sample's class, times its own. Raises ModelError where there are none."""
        target = rows.targets
        single = target.shape[-1] == 1
        if self.labels(target) == "numbers" or (self.labels(target) == "binary" and not single):
            raise ModelError("class_weight is for classes, one for a sample", fix="give sample_weight")
        truth = (target[..., 0] > 0.5).astype(np.int64) if single else target.argmax(-1)
        each = class_weights(weights, truth.ravel(), 2 if single else target.shape[-1], names).reshape(truth.shape)
        if (own := rows.weights) is not None:
            each = own * (each if own.ndim <= each.ndim else each[..., None])
        all_ = np.ones((len(rows.target), *each.shape[1:]))
        all_[rows.at] = each
        entries = self.need_loss().entries(self.network.logits.shape)
        return Rows({**rows.given, WEIGHT: as_weight(all_, entries, len(all_), target.dtype)}, rows.target, rows.at)

    def held_out(
        self, rows: Rows, fraction: float | None, data: tuple[Any, Any] | tuple[Any, Any, Any] | Rows | None, seed: int
    ) -> tuple[Rows, Rows | None]:
        """What is trained on, and what is held out: a part of it, drawn from the seed, or other data, or nothing."""
        if data is not None and fraction is not None:
            raise ModelError("validation_data and validation_split are both given", fix="give one of them")
        if isinstance(data, Rows):
            return rows, data
        if data is not None:
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DataError(
                    "validation_data is neither (x, y) nor (x, y, sample_weight)",
                    about="validation_data",
                    fix="write validation_data=(x_val, y_val)",
                )
            return rows, self.rows(data[0], data[1], data[2] if len(data) == 3 else None, rows.target.dtype)
        if fraction is None:
            return rows, None
        train, test = split(len(rows), fraction, np.random.default_rng(seed))
        return rows[train], rows[test]
