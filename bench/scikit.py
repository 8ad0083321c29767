"""scikit-learn's multi-layer perceptron, an epoch a call of `partial_fit`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.contender import UnavailableError, library
from bench.workloads import Activation, Data, Dense, Workload

networks = library("sklearn.neural_network")


class ScikitLearn:
    """Its squared error is half of ours, and so is its gradient, which Adam does not see."""

    name = "scikit-learn"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        if not workload.is_flat:
            raise UnavailableError("dense layers only")
        if workload.loss == "squared" and workload.optimizer == "sgd":
            raise UnavailableError("its gradient of the squared error is another")
        self.workload, self.data = workload, data
        dense = [layer.units for layer in workload.layers if isinstance(layer, Dense)]
        activation = next((a.name for a in workload.layers if isinstance(a, Activation)), "relu")
        squared = workload.loss == "squared"
        options: dict[str, Any] = {
            "hidden_layer_sizes": dense[:-1], "activation": {"sigmoid": "logistic"}.get(activation, activation),
            "solver": workload.optimizer, "alpha": 0.0, "batch_size": workload.batch,
            "learning_rate_init": workload.rate, "momentum": 0.0, "nesterovs_momentum": False, "shuffle": False,
        }  # fmt: skip
        self.scale = 2.0 if squared else 1.0
        self.classes = {} if squared else {"classes": np.arange(workload.outputs)}
        self.network: Any = (networks.MLPRegressor if squared else networks.MLPClassifier)(**options)
        self.pass_over(data.x[: workload.batch], data.y[: workload.batch])
        self.reset()

    def reset(self) -> None:
        """In place: its optimizer holds these arrays. A new optimizer is made where there is none."""
        values = self.workload.initial()
        for own, value in zip(self.network.coefs_, values[::2], strict=True):
            own[...] = value.T
        for own, value in zip(self.network.intercepts_, values[1::2], strict=True):
            own[...] = value
        vars(self.network).pop("_optimizer", None)

    def pass_over(self, x: Any, y: Any) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network.partial_fit(x, y, **self.classes)
        return self.scale * float(self.network.loss_)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.pass_over(self.data.x, self.data.y)

    def losses(self, data: Data) -> Sequence[float]:
        self.reset()
        return [self.pass_over(x, y) for x, y in data.batches(self.workload.batch)]
