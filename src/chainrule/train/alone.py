"""One layer, one loss or one function by its name, at small shapes: what is derived of it alone."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from chainrule.ir.functions import CATALOGUE
from chainrule.nn.arrangement import Add, Concat, Flatten, Reshape
from chainrule.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from chainrule.nn.dense import Dense
from chainrule.nn.layer import Input, Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.nn.normalisation import GroupNorm, InstanceNorm
from chainrule.nn.pooling import (
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    GlobalMaxPool,
    GlobalMeanPool,
    MaxPool1d,
    MaxPool2d,
    MeanPool1d,
    MeanPool2d,
)
from chainrule.nn.sequences import Attention, Embedding, MultiHeadAttention, PositionEmbedding
from chainrule.nn.upsampling import Upsample
from chainrule.train.model import Model

Shapes = tuple[tuple[int, ...], ...]
Build = Callable[..., Node]
VECTOR = (3,)
SHAPES: dict[str, tuple[Shapes, Build]] = {
    "Dense": ((VECTOR,), Dense(2)),
    "Conv1d": (((2, 5),), Conv1d(2, 3, padding=1)),
    "Conv2d": (((2, 5, 5),), Conv2d(2, 3, padding=1)),
    "ConvTranspose1d": (((2, 3),), ConvTranspose1d(2, 3, stride=2, padding=1, output_padding=1)),
    "ConvTranspose2d": (((2, 3, 3),), ConvTranspose2d(2, 3, stride=2, padding=1, output_padding=1)),
    "Upsample": (((1, 2, 2),), Upsample([2, 2])),
    "MaxPool1d": (((2, 6),), MaxPool1d(2)),
    "MaxPool2d": (((1, 4, 4),), MaxPool2d(2)),
    "MeanPool1d": (((2, 6),), MeanPool1d(2)),
    "MeanPool2d": (((1, 4, 4),), MeanPool2d(2)),
    "AdaptiveMaxPool": (((2, 6),), AdaptiveMaxPool([3])),
    "AdaptiveMeanPool": (((2, 6),), AdaptiveMeanPool([3])),
    "GlobalMaxPool": (((2, 3, 3),), GlobalMaxPool()),
    "GlobalMeanPool": (((2, 3, 3),), GlobalMeanPool()),
    "GroupNorm": (((4, 3),), GroupNorm(2)),
    "InstanceNorm": (((2, 3),), InstanceNorm()),
    "Flatten": (((2, 3, 3),), Flatten()),
    "Reshape": (((6,),), Reshape(2, 3)),
    "Add": ((VECTOR, VECTOR), Add()),
    "Concat": ((VECTOR, VECTOR), Concat()),
    "Embedding": ((VECTOR,), Embedding(5, 2)),
    "PositionEmbedding": (((3, 2),), PositionEmbedding()),
    "Attention": (((3, 2), (4, 2), (4, 5)), Attention()),
    "MultiHeadAttention": (((3, 4),), MultiHeadAttention(2)),
}
"""The shapes of one sample's inputs, and the layer, for each that is not made by its name and put on a vector."""
OWN = ("Equations", "Parameter")
"""Layers that are nothing without a text or a shape of their user's."""


def names() -> list[str]:
    """All that `alone` and `equation_of` know: layers, losses, functions."""
    return [*(name for name in LAYERS if name not in OWN), *LOSSES, *CATALOGUE]


def alone(name: str) -> Model | None:
    """The model that is this layer alone, with any function of its output in the place of a loss; or this loss alone,
    of its input. None for any other name. Capitals, hyphens and spaces do not count."""
    known = {_plain(own): own for own in reversed(names())}.get(_plain(name))
    if name in CATALOGUE or known is None:
        return None
    if known in LAYERS:
        shapes, build = SHAPES[known] if known in SHAPES else ((VECTOR,), LAYERS[known]())
        inputs = [Input(*shape, dtype="integer" if LAYERS[known].integer else "real") for shape in shapes]
        return Model(inputs, build(*inputs))
    x = Input(*VECTOR)
    return Model(x, x, loss=known) if known in LOSSES else None


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
