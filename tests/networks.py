"""Networks drawn by hypothesis: a few small layers in a row that fit each other, a loss, and data for them."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np

import chainrule as cr
from chainrule.nn.layer import Layer, Node
from chainrule.nn.losses import LOSSES, Labels

ACTIVATIONS = [
    cr.Sigmoid, cr.Tanh, cr.ReLU, cr.LeakyReLU, cr.ELU, cr.SELU, cr.GELU, cr.SiLU, cr.Softplus, cr.Softsign,
    cr.Hardtanh, cr.Softmax, cr.LogSoftmax, cr.LayerNorm, cr.RMSNorm, cr.Dropout,
]  # fmt: skip


@st.composite
def layer_for(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Layer]:
    """Layers that take a sample of this shape; the last axes of (c, h, w) and (c, w) are space."""
    small = st.integers(1, 5)
    options: list[st.SearchStrategy[list[Layer]]] = [
        st.sampled_from(ACTIVATIONS).map(lambda a: [a()]),
        st.builds(lambda n: [cr.Flatten(), cr.Dense(n)], small),
        st.builds(lambda n: [cr.Dense(n, axes="last")], small),
        st.builds(lambda: [cr.BatchNorm()]),
    ]
    if len(shape) == 3:
        kernel, stride = st.integers(1, 3), st.integers(1, 2)
        space = min(shape[1:])
        options += [
            st.builds(
                lambda n, k, s, p, d: [cr.Conv2d(n, min(k, space), stride=s, padding=min(p, k - 1), dilation=d)],
                small, kernel, stride, st.integers(0, 2), st.just(1),
            ),
            st.builds(lambda k, s: [cr.MaxPool2d(min(k, space), stride=s)], kernel, stride),
            st.builds(lambda k, p: [cr.MeanPool2d(min(k, space), padding=min(p, min(k, space) // 2))], kernel, stride),
            st.builds(lambda n, k, s: [cr.ConvTranspose2d(n, k, stride=s)], st.integers(1, 2), kernel, stride),
            st.just([cr.GlobalMeanPool()]),
        ]
    if len(shape) == 2:
        options += [
            st.builds(
                lambda n, k, s, p: [cr.Conv1d(n, min(k, shape[1]), stride=s, padding=min(p, k - 1))],
                small, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2),
            ),
            st.builds(lambda k: [cr.MaxPool1d(min(k, shape[1]), stride=1)], st.integers(1, 3)),
            st.builds(lambda h, n: [cr.MultiHeadAttention(h, 2 * h)], st.integers(1, 2), small),
        ]
    return draw(st.one_of(options))


@st.composite
def networks(draw: st.DrawFn, dtype: str = "float32") -> tuple[cr.Model, Labels]:
    """(a model, what its targets are)."""
    shape = draw(st.sampled_from([(3,), (9,), (17,), (2, 5), (3, 8), (1, 5, 4), (2, 6, 6)]))
    start = cr.Input(*shape)
    node: Node = start
    for _ in range(draw(st.integers(0, 3))):
        for layer in draw(layer_for(_shape(start, node))):
            node = layer(node)
        if draw(st.booleans()):
            node = cr.Add()(node, cr.Tanh()(node))
    loss = draw(st.sampled_from(list(LOSSES)))
    model = cr.Model(
        start, cr.Dense(draw(st.integers(2, 4)))(cr.Flatten()(node)), loss=loss, l2=draw(st.sampled_from([0.0, 0.01])),
        seed=draw(st.integers(0, 9)), dtype=dtype,
    )
    return model, LOSSES[loss]().labels


def _shape(start: cr.Input, node: Node) -> tuple[int, ...]:
    if node is start:
        return tuple(int(e) for e in start.shape[1:])
    return tuple(int(e) for e in cr.Model(start, node).network.logits.shape[1:])


def data_for(model: cr.Model, labels: Labels, samples: int, seed: int = 0) -> tuple[Any, Any]:
    """Samples and targets of a model."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(e) for e in model.inputs[0].shape[1:])
    outputs = int(model.network.logits.shape[-1])
    x = rng.normal(size=(samples, *shape))
    if labels == "classes":
        return x, rng.integers(0, outputs, samples)
    if labels == "binary":
        return x, rng.integers(0, 2, (samples, outputs))
    return x, rng.normal(size=(samples, outputs))
