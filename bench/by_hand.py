"""NumPy by hand: what one writes for a small network of dense layers, with nothing spared but copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.contender import UnavailableError
from bench.workloads import Activation, Array, Data, Workload


class NumPy:
    name = "NumPy by hand"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        if not workload.is_flat:
            raise UnavailableError("dense layers only")
        self.workload, self.threads = workload, threads
        self.activation = next((a.name for a in workload.layers if isinstance(a, Activation)), "relu")
        self.batches = self.prepared(data)
        self.reset()

    def prepared(self, data: Data) -> list[tuple[Array, Array]]:
        pairs = data.batches(self.workload.batch)
        if self.workload.loss == "squared":
            return pairs
        return [(x, np.eye(self.workload.outputs, dtype=np.float32)[y]) for x, y in pairs]

    def reset(self) -> None:
        values = self.workload.initial()
        self.weights, self.biases = values[::2], values[1::2]
        self.moments: list[tuple[Array, Array]] = [(np.zeros_like(v), np.zeros_like(v)) for v in values]
        self.count = 0

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self.batches:
                self.step(x, y, wanted=False)

    def losses(self, data: Data) -> Sequence[float]:
        self.reset()
        return [self.step(x, y, wanted=True) for x, y in self.prepared(data)]

    def step(self, x: Array, y: Array, *, wanted: bool) -> float:
        """Forward, backward, update; the loss where it is wanted."""
        values = [x]
        for W, b in zip(self.weights, self.biases, strict=True):
            u = values[-1] @ W.T
            u += b
            values.append(u if len(values) == len(self.weights) else self.activate(u))
        u = values[-1]
        if self.workload.loss == "squared":
            error = u - y
            loss = float((error**2).mean()) if wanted else 0.0
            delta = error * np.float32(2 / error.size)
        else:
            shifted = np.exp(u - u.max(1, keepdims=True))
            p = shifted / shifted.sum(1, keepdims=True)
            loss = float(-np.log((p * y).sum(1)).mean()) if wanted else 0.0
            delta = (p - y) / np.float32(len(y))
        self.count += 1
        for layer in reversed(range(len(self.weights))):
            weights, gradient = self.weights[layer], delta.T @ values[layer]
            below = delta @ weights if layer else None
            self.update(2 * layer, weights, gradient)
            self.update(2 * layer + 1, self.biases[layer], delta.sum(0))
            if below is not None:
                delta = below
                delta *= self.slope(values[layer])
        return loss

    def activate(self, u: Array) -> Array:
        match self.activation:
            case "sigmoid":
                return 1 / (1 + np.exp(-u))
            case "tanh":
                return np.tanh(u, out=u)
            case _:
                return np.maximum(u, 0, out=u)

    def slope(self, z: Array) -> Any:
        match self.activation:
            case "sigmoid":
                return z * (1 - z)
            case "tanh":
                return 1 - z * z
            case _:
                return z > 0

    def update(self, number: int, value: Array, gradient: Array) -> None:
        rate = np.float32(self.workload.rate)
        if self.workload.optimizer == "sgd":
            gradient *= rate
            value -= gradient
            return
        m, v = self.moments[number]
        m += np.float32(0.1) * (gradient - m)
        v += np.float32(0.001) * (gradient * gradient - v)
        first, second = 1 - 0.9**self.count, 1 - 0.999**self.count
        value -= np.float32(rate / first) * m / (np.sqrt(v / np.float32(second)) + np.float32(1e-8))
