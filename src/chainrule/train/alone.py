"""One layer, one loss or one function by its name, at small shapes: what is derived of it alone."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from chainrule.ir.functions import CATALOGUE
from chainrule.nn.activations import Tanh
from chainrule.nn.arrangement import Add, Concat, Flatten, Reshape
from chainrule.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from chainrule.nn.dense import Dense
from chainrule.nn.layer import Input, Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.nn.pooling import GlobalMaxPool, GlobalMeanPool, MaxPool1d, MaxPool2d, MeanPool1d, MeanPool2d
from chainrule.nn.sequences import Embedding, MultiHeadAttention, PositionEmbedding
from chainrule.train.model import Model

Shape = tuple[int, ...]
Build = Callable[[Node], Node]
SHAPES: dict[str, tuple[Shape, Build]] = {
    "Dense": ((3,), Dense(2)),
    "Conv1d": ((2, 5), Conv1d(2, 3, padding=1)),
    "Conv2d": ((2, 5, 5), Conv2d(2, 3, padding=1)),
    "ConvTranspose2d": ((2, 3, 3), ConvTranspose2d(2, 3, stride=2, padding=1, output_padding=1)),
    "MaxPool1d": ((2, 6), MaxPool1d(2)),
    "MaxPool2d": ((1, 4, 4), MaxPool2d(2)),
    "MeanPool1d": ((2, 6), MeanPool1d(2)),
    "MeanPool2d": ((1, 4, 4), MeanPool2d(2)),
    "GlobalMaxPool": ((2, 3, 3), GlobalMaxPool()),
    "GlobalMeanPool": ((2, 3, 3), GlobalMeanPool()),
    "Flatten": ((2, 3, 3), Flatten()),
    "Reshape": ((6,), Reshape(2, 3)),
    "Add": ((3,), lambda x: Add()(x, Tanh()(x))),
    "Concat": ((3,), lambda x: Concat()(x, Tanh()(x))),
    "Embedding": ((3,), Embedding(5, 2)),
    "PositionEmbedding": ((3, 2), PositionEmbedding()),
    "MultiHeadAttention": ((3, 4), MultiHeadAttention(2)),
}
"""The shape of one sample, and the graph on it, for each layer that is not made by its name and put on a vector."""
VECTOR = (3,)


def names() -> list[str]:
    """All that `alone` and `equation_of` know: layers, losses, functions."""
    return [*LAYERS, *LOSSES, *CATALOGUE]


def alone(name: str) -> Model | None:
    """The model that is this layer alone, with any function of its output in the place of a loss; or this loss alone,
    of its input. None for any other name. Capitals, hyphens and spaces do not count."""
    layers, losses = ({_plain(known): known for known in table} for table in (LAYERS, LOSSES))
    if (own := layers.get(_plain(name))) is not None and name not in CATALOGUE:
        shape, build = SHAPES[own] if own in SHAPES else (VECTOR, LAYERS[own]())
        x = Input(*shape, dtype="integer" if LAYERS[own].integer else "real")
        return Model(x, build(x))
    if (own := losses.get(_plain(name))) is not None:
        x = Input(*VECTOR)
        return Model(x, x, loss=own)
    return None


def equation_of(name: str) -> str | None:
    """The equation of a function of the catalogue, component by component."""
    if name not in CATALOGUE:
        return None
    read = ("x[n, k]", "y[n, k]")[: len(CATALOGUE[name].laws)]
    return f"z[n, k] = {name}({', '.join(read)})"


def near(name: str) -> str:
    """The name that is meant, as a question, or nothing."""
    plain = {_plain(known): known for known in reversed(names())}
    match = get_close_matches(_plain(name), sorted(plain), 1, 0.6)
    return f"did you mean {plain[match[0]]}? " if match else ""


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
