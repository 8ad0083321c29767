"""chainrule: the workload as a model, trained by `fit` on native code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import chainrule as cr
from bench.workloads import Activation, Conv, Data, Dense, Pool, Workload
from chainrule.compile import training
from chainrule.nn.losses import Labels
from chainrule.train.data import as_target
from chainrule.train.runners import NativeRunner, rates

ACTIVATIONS = {"sigmoid": cr.Sigmoid, "tanh": cr.Tanh, "relu": cr.ReLU}


def model_of(workload: Workload) -> cr.Sequential:
    """The workload's network with its initial values."""
    layers: list[Any] = [cr.Input(*workload.input)]
    for layer in workload.layers:
        match layer:
            case Dense(units=units):
                layers.append(cr.Dense(units))
            case Conv(filters=filters, size=size, stride=stride, padding=padding):
                layers.append(cr.Conv2d(filters, size, stride=stride, padding=padding))
            case Pool(kind=kind, size=size, stride=stride):
                layers.append((cr.MaxPool2d if kind == "max" else cr.MeanPool2d)(size, stride=stride))
            case Activation(name=name):
                layers.append(ACTIVATIONS[name]())
    loss = "softmax_cross_entropy" if workload.loss == "cross-entropy" else "mean_squared_error"
    model = cr.Sequential(*layers, loss=loss)
    take(model, workload)
    return model


def take(model: cr.Model, workload: Workload) -> None:
    """Give a model the initial values of the workload."""
    for name, value in zip(model.parameters, workload.initial(), strict=True):
        model.parameters[name] = value


def rule_of(workload: Workload) -> cr.Optimizer:
    return cr.SGD(workload.rate) if workload.optimizer == "sgd" else cr.Adam(workload.rate)


def labels_of(workload: Workload) -> Labels:
    return "classes" if workload.loss == "cross-entropy" else "numbers"


class Chainrule:
    """Through the public `fit`, which checks the data, draws an order for every epoch and gathers each batch."""

    name = "chainrule"

    def __init__(self, workload: Workload, data: Data, threads: int | None) -> None:
        self.workload, self.data, self.threads = workload, data, threads
        self.model = model_of(workload)
        self.rule = rule_of(workload)

    def reset(self) -> None:
        take(self.model, self.workload)

    def train(self, epochs: int) -> None:
        self.model.fit(
            self.data.x, self.data.y, epochs=epochs, batch_size=self.workload.batch, optimizer=self.rule,
            verbose=False, executor="native", workers=self.threads,
        )  # fmt: skip

    def losses(self, data: Data) -> Sequence[float]:
        """`fit` tells the loss of an epoch; the loss of each step comes from the runner that it runs."""
        self.reset()
        net, derivation, batch = self.model.network, self.model.derive(), self.workload.batch
        task = training(net, derivation, self.rule, labels_of(self.workload))
        made = NativeRunner(task, batch, self.threads)
        start = {**self.model.parameters, **self.rule.start(net.training.parameters, np.float32)}
        start[task.stepwise[0].name] = rates(self.rule, 0, -(-len(data.x) // batch), np.dtype(np.float32))
        kept = {t: np.array(start[t.name], np.float32) for t in task.kept}
        target = as_target(data.y, net.logits.shape, labels_of(self.workload), len(data.y), np.dtype(np.float32))
        given = {t: target if t is net.target else data.x for t in task.data}
        outputs, _ = made.run(given, kept, np.arange(len(data.x)), batch)
        return outputs[task.outputs[0]].tolist()
