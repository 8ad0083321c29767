"""JAX: one compiled call a step, and one compiled call (a scan) an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.contender import library
from bench.workloads import Activation, Conv, Data, Dense, Pool, Workload

jax, jnp, lax, optax = (library(name) for name in ("jax", "jax.numpy", "jax.lax", "optax"))

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def forward(workload: Workload, parameters: Sequence[Any], x: Any) -> Any:
    remaining = iter(parameters)
    for layer in workload.layers:
        match layer:
            case Dense():
                weights, b = next(remaining), next(remaining)
                x = x.reshape(len(x), -1) @ weights.T + b
            case Conv(stride=stride, padding=padding):
                weights, b = next(remaining), next(remaining)
                around = [(padding, padding)] * 2
                x = lax.conv_general_dilated(x, weights, (stride, stride), around) + b[:, None, None]
            case Pool(kind=kind, size=size, stride=stride):
                window = ((1, 1, size, size), (1, 1, stride, stride), "VALID")
                if kind == "max":
                    x = lax.reduce_window(x, -jnp.inf, lax.max, *window)
                else:
                    x = lax.reduce_window(x, 0.0, lax.add, *window) / size**2
            case Activation(name=name):
                x = ACTIVATIONS[name](x)
    return x


class JaxSteps:
    """The step is compiled; the loop over the batches, which lie ready on the device, is Python's."""

    name = "JAX jit"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        self.workload = workload
        self.rule = optax.sgd(workload.rate) if workload.optimizer == "sgd" else optax.adam(workload.rate)
        self.compiled = jax.jit(self.step, donate_argnums=0)
        self.scanned = jax.jit(partial(lax.scan, self.scan_step), donate_argnums=0)
        self.batches = self.on_device(data)
        self.reset()

    def on_device(self, data: Data) -> Any:
        return [jax.device_put(pair) for pair in data.batches(self.workload.batch)]

    def reset(self) -> None:
        parameters = [jnp.array(value) for value in self.workload.initial()]
        self.state: Any = (parameters, self.rule.init(parameters))

    def loss(self, parameters: Any, x: Any, y: Any) -> Any:
        out = forward(self.workload, parameters, x)
        if self.workload.loss == "cross-entropy":
            return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()
        return ((out - y) ** 2).mean()

    def step(self, state: Any, x: Any, y: Any) -> Any:
        parameters, kept = state
        loss, gradients = jax.value_and_grad(self.loss)(parameters, x, y)
        updates, kept = self.rule.update(gradients, kept, parameters)
        return (optax.apply_updates(parameters, updates), kept), loss

    def scan_step(self, state: Any, pair: Any) -> Any:
        return self.step(state, *pair)

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self.batches:
                self.state, _ = self.compiled(self.state, x, y)
        jax.block_until_ready(self.state)

    def losses(self, data: Data) -> Sequence[float]:
        self.reset()
        result: list[float] = []
        for x, y in self.on_device(data):
            self.state, loss = self.compiled(self.state, x, y)
            result.append(float(loss))
        return result


class JaxScan(JaxSteps):
    """A whole epoch is one compiled call."""

    name = "JAX scan"

    def on_device(self, data: Data) -> Any:
        pairs = data.batches(self.workload.batch)
        return jax.device_put(tuple(np.stack(part) for part in zip(*pairs, strict=True)))

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.state, _ = self.scanned(self.state, self.batches)
        jax.block_until_ready(self.state)

    def losses(self, data: Data) -> Sequence[float]:
        self.reset()
        self.state, losses = self.scanned(self.state, self.on_device(data))
        return np.asarray(losses).tolist()
