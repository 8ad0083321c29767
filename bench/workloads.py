"""What is measured, declared once for all contenders: layers, shapes, batches, optimizers, initial values, data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dense:
    """Over a flattened sample."""

    units: int


@dataclass(frozen=True)
class Conv:
    """Over (channels, height, width)."""

    filters: int
    size: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    kind: Literal["max", "mean"]
    size: int
    stride: int


@dataclass(frozen=True)
class Activation:
    name: Literal["sigmoid", "tanh", "relu"]


Layer = Dense | Conv | Pool | Activation


@dataclass(frozen=True)
class Data:
    """`y` holds classes, or rows of numbers."""

    x: Array
    y: Array

    def batches(self, size: int) -> list[tuple[Array, Array]]:
        return [(self.x[i : i + size], self.y[i : i + size]) for i in range(0, len(self.x), size)]

    def ordered(self, order: NDArray[np.int64]) -> Data:
        return Data(np.ascontiguousarray(self.x[order]), np.ascontiguousarray(self.y[order]))


@dataclass(frozen=True)
class Workload:
    """`steps` batches make an epoch. `loss` is softmax cross-entropy over classes, or the mean of squared errors.

    The rate is so small that for 50 steps no maximum of a pool turns to another entry by rounding alone: from then on
    losses that are computed in another order part, PyTorch's from PyTorch's too.
    """

    name: str
    title: str
    input: Shape
    layers: tuple[Layer, ...]
    batch: int
    threads: int
    steps: int
    loss: Literal["cross-entropy", "squared"] = "cross-entropy"
    optimizer: Literal["sgd", "adam"] = "sgd"
    rate: float = 0.1

    def walk(self) -> Iterator[tuple[Layer, Shape, Shape]]:
        """Each layer with the shapes of a sample before and after it."""
        shape = self.input
        for layer in self.layers:
            before = shape
            match layer:
                case Dense(units=units):
                    shape = (units,)
                case Conv(filters=filters, size=size, stride=stride, padding=padding):
                    shape = (filters, *((n + 2 * padding - size) // stride + 1 for n in shape[1:]))
                case Pool(size=size, stride=stride):
                    shape = (shape[0], *((n - size) // stride + 1 for n in shape[1:]))
                case Activation():
                    pass
            yield layer, before, shape

    @property
    def outputs(self) -> int:
        return [after for _, _, after in self.walk()][-1][0]

    @property
    def samples(self) -> int:
        return self.steps * self.batch

    @property
    def is_flat(self) -> bool:
        """Whether there are dense layers and activations only."""
        return all(isinstance(layer, Dense | Activation) for layer in self.layers)

    def macs(self) -> list[int]:
        """The products of each dense layer and convolution for one sample, forward."""
        result: list[int] = []
        for layer, before, after in self.walk():
            match layer:
                case Dense():
                    result.append(math.prod(before) * after[0])
                case Conv(size=size):
                    result.append(math.prod(after) * before[0] * size * size)
                case _:
                    pass
        return result

    def flops(self) -> int:
        """The operations that training on one sample needs, a product and its sum counting as two: forward, gradients
        of the weights, and of the inputs of all but the first layer."""
        macs = self.macs()
        return 2 * (3 * sum(macs) - macs[0])

    def memory(self) -> int:
        """The bytes of parameters, optimizer state, activations of one batch (a number for each output of a layer,
        where an activation takes the place of what it is applied to) and the batch."""
        parameters = sum(value.size for value in self.initial()) * (3 if self.optimizer == "adam" else 1)
        kept = sum(math.prod(after) for layer, _, after in self.walk() if not isinstance(layer, Activation))
        return 4 * (parameters + self.batch * (kept + math.prod(self.input)))

    def initial(self) -> list[Array]:
        """W (outputs, inputs, …) and b of each layer that has some, in order."""
        rng = np.random.default_rng(1)
        values: list[Array] = []
        for layer, before, after in self.walk():
            match layer:
                case Dense():
                    shape = (after[0], math.prod(before))
                case Conv(filters=filters, size=size):
                    shape = (filters, before[0], size, size)
                case _:
                    continue
            deviation = math.sqrt(1.5 / math.prod(shape[1:]))
            values.append(rng.normal(0, deviation, shape).astype(np.float32))
            values.append(rng.normal(0, 0.05, shape[:1]).astype(np.float32))
        return values

    def data(self, samples: int | None = None) -> Data:
        """Samples that a network can learn: Gaussian, with targets of a random linear map of them."""
        count = self.samples if samples is None else samples
        rng = np.random.default_rng(2)
        x = rng.standard_normal((count, *self.input), dtype=np.float32)
        hidden = x.reshape(count, -1) @ rng.standard_normal((math.prod(self.input), self.outputs), dtype=np.float32)
        if self.loss == "cross-entropy":
            return Data(x, hidden.argmax(1).astype(np.int64))
        return Data(x, np.sin(hidden))


def mlp(*widths: int, activation: Literal["sigmoid", "tanh", "relu"]) -> tuple[Layer, ...]:
    """Dense layers with an activation between any two."""
    layers: list[Layer] = []
    for width in widths:
        layers += [Dense(width), Activation(activation)]
    return tuple(layers[:-1])


def _pair(filters: int) -> tuple[Layer, ...]:
    conv, relu = Conv(filters, 3, padding=1), Activation("relu")
    return (conv, relu, conv, relu, Pool("max", 2, 2))


LENET = (
    Conv(6, 5, padding=2), Activation("relu"), Pool("max", 2, 2),
    Conv(16, 5), Activation("relu"), Pool("mean", 2, 2),
    *mlp(120, 84, 10, activation="relu"),
)  # fmt: skip
VGG_SMALL = (*_pair(32), *_pair(64), *mlp(256, 10, activation="relu"))

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "64-32-10 sigmoid", (64,), mlp(32, 10, activation="sigmoid"), 32, 1, 512),
        Workload("W2", "784-128-64-10 ReLU", (784,), mlp(128, 64, 10, activation="relu"), 64, 2, 64, rate=0.05),
        Workload("W3", "LeNet 28×28", (1, 28, 28), LENET, 64, 2, 16, rate=5e-3),
        Workload(
            "W4", "8-64-64-4 tanh", (8,), mlp(64, 64, 4, activation="tanh"), 32, 1, 512, "squared", "adam", rate=1e-3
        ),
        Workload(
            "W5", "1024-2048-2048-10 ReLU", (1024,), mlp(2048, 2048, 10, activation="relu"), 256, 2, 16, rate=0.01
        ),
        Workload("W6", "784-128-10 ReLU", (784,), mlp(128, 10, activation="relu"), 1, 1, 1024, rate=2e-3),
        Workload("W8", "vgg-small 32×32×3", (3, 32, 32), VGG_SMALL, 64, 2, 2, rate=2e-4),
    )
}
