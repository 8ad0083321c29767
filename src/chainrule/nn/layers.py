"""The list of layers, each in the file of its family."""

from __future__ import annotations

from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from chainrule.nn.arrangement import Add, Concat, Flatten, Reshape
from chainrule.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from chainrule.nn.dense import Dense
from chainrule.nn.dropout import Dropout
from chainrule.nn.equations import Equations, Parameter
from chainrule.nn.layer import Layer
from chainrule.nn.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
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
from chainrule.nn.standardise import Standardise
from chainrule.nn.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveMaxPool",
    "AdaptiveMeanPool",
    "Add",
    "Attention",
    "BatchNorm",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Dense",
    "Dropout",
    "Embedding",
    "Equations",
    "Flatten",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Hardtanh",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MeanPool1d",
    "MeanPool2d",
    "Mish",
    "MultiHeadAttention",
    "PReLU",
    "Parameter",
    "PositionEmbedding",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Standardise",
    "Tanh",
    "Upsample",
]
LAYERS: dict[str, type[Layer]] = {name: globals()[name] for name in __all__}
ACTIVATIONS: dict[str, type[Layer]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "softsign": Softsign,
    "hardtanh": Hardtanh,
    "hardsigmoid": HardSigmoid,
    "hardswish": HardSwish,
    "mish": Mish,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
    "flatten": Flatten,
}
