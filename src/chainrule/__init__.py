"""chainrule: back-propagation you can read, trust and ship.

    import chainrule as cr

    model = cr.Sequential(cr.Input(64), cr.Dense(32), cr.Sigmoid(), cr.Dense(10), loss="softmax_cross_entropy")
    model.fit(x, y, epochs=20)
    print(model.derive().to_text())

Names are imported when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from chainrule.derivation import Derivation, derive
    from chainrule.errors import (
        BuildError,
        ChainruleError,
        CompileError,
        DataError,
        DerivationError,
        DivergenceError,
        EquationError,
        ModelError,
        ShapeError,
        VerificationError,
    )
    from chainrule.interop.onnx import from_onnx
    from chainrule.interop.pytorch import from_torch
    from chainrule.nn.initialisers import Initialiser, constant, glorot, he, lecun, normal, ones, zeros
    from chainrule.nn.layer import Input, Layer, State, bernoulli, uniform
    from chainrule.nn.layers import (
        ELU,
        GELU,
        SELU,
        AdaptiveMaxPool,
        AdaptiveMeanPool,
        Add,
        Attention,
        BatchNorm,
        Concat,
        Conv1d,
        Conv2d,
        ConvTranspose1d,
        ConvTranspose2d,
        Dense,
        Dropout,
        Embedding,
        Equations,
        Flatten,
        GlobalMaxPool,
        GlobalMeanPool,
        GroupNorm,
        HardSigmoid,
        HardSwish,
        Hardtanh,
        InstanceNorm,
        LayerNorm,
        LeakyReLU,
        LogSoftmax,
        MaxPool1d,
        MaxPool2d,
        MeanPool1d,
        MeanPool2d,
        Mish,
        MultiHeadAttention,
        Parameter,
        PositionEmbedding,
        PReLU,
        ReLU,
        Reshape,
        RMSNorm,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Softsign,
        Tanh,
        Upsample,
    )
    from chainrule.nn.losses import (
        binary_cross_entropy,
        half_squared_error,
        hinge,
        huber,
        kl_divergence,
        mean_absolute_error,
        mean_squared_error,
        multiclass_hinge,
        softmax_cross_entropy,
    )
    from chainrule.nn.standardise import Standardise
    from chainrule.optim.adam import Adam, AdamW
    from chainrule.optim.adaptive import Adagrad, RMSProp
    from chainrule.optim.optimizer import Optimizer
    from chainrule.optim.schedules import cosine, one_cycle, step_decay, warm_up
    from chainrule.optim.sgd import SGD
    from chainrule.report import Report, report
    from chainrule.sklearn import from_sklearn
    from chainrule.train.callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, ReduceOnPlateau
    from chainrule.train.checkpoint import load
    from chainrule.train.data import Standardiser, digits
    from chainrule.train.files import DataSet, read_data
    from chainrule.train.history import History
    from chainrule.train.metrics import METRICS
    from chainrule.train.model import Model
    from chainrule.train.models import read_model
    from chainrule.train.rows import rows
    from chainrule.train.sequential import Sequential
    from chainrule.train.together import fit_together
    from chainrule.train.watch import TensorBoard, Watch
    from chainrule.verify.certificate import Certificate

__all__ = [
    "ELU",
    "GELU",
    "METRICS",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveMaxPool",
    "AdaptiveMeanPool",
    "Add",
    "Attention",
    "BatchNorm",
    "BuildError",
    "CSVLogger",
    "Callback",
    "Certificate",
    "ChainruleError",
    "Checkpoint",
    "CompileError",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "DataError",
    "DataSet",
    "Dense",
    "Derivation",
    "DerivationError",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "EquationError",
    "Equations",
    "Flatten",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Hardtanh",
    "History",
    "Initialiser",
    "Input",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MeanPool1d",
    "MeanPool2d",
    "Mish",
    "Model",
    "ModelError",
    "MultiHeadAttention",
    "Optimizer",
    "PReLU",
    "Parameter",
    "PositionEmbedding",
    "RMSNorm",
    "RMSProp",
    "ReLU",
    "ReduceOnPlateau",
    "Report",
    "Reshape",
    "Sequential",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Standardise",
    "Standardiser",
    "State",
    "Tanh",
    "TensorBoard",
    "Upsample",
    "VerificationError",
    "Watch",
    "bernoulli",
    "binary_cross_entropy",
    "constant",
    "cosine",
    "derive",
    "digits",
    "fit_together",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "glorot",
    "half_squared_error",
    "he",
    "hinge",
    "huber",
    "kl_divergence",
    "lecun",
    "load",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge",
    "normal",
    "one_cycle",
    "ones",
    "read_data",
    "read_model",
    "report",
    "rows",
    "softmax_cross_entropy",
    "step_decay",
    "uniform",
    "warm_up",
    "zeros",
]

_WHERE = {
    "derivation": ("Derivation",),
    "errors": (
        "BuildError", "ChainruleError", "CompileError", "DataError", "DerivationError", "DivergenceError",
        "EquationError", "ModelError", "ShapeError", "VerificationError",
    ),
    "nn.initialisers": ("Initialiser", "constant", "glorot", "he", "lecun", "normal", "ones", "zeros"),
    "nn.layer": ("Input", "Layer", "State", "bernoulli", "uniform"),
    "nn.layers": (
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
        "ELU",
        "Embedding",
        "Equations",
        "Flatten",
        "GELU",
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
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Softsign",
        "Tanh",
        "Upsample",
    ),
    "nn.losses": (
        "binary_cross_entropy",
        "half_squared_error",
        "hinge",
        "huber",
        "kl_divergence",
        "mean_absolute_error",
        "mean_squared_error",
        "multiclass_hinge",
        "softmax_cross_entropy",
    ),
    "optim.adam": ("Adam", "AdamW"),
    "optim.adaptive": ("Adagrad", "RMSProp"),
    "optim.optimizer": ("Optimizer",),
    "optim.schedules": ("cosine", "one_cycle", "step_decay", "warm_up"),
    "optim.sgd": ("SGD",),
    "report": ("Report", "report"),
    "train.callbacks": ("CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "ReduceOnPlateau"),
    "train.checkpoint": ("load",),
    "nn.standardise": ("Standardise",),
    "train.data": ("Standardiser", "digits"),
    "train.files": ("DataSet", "read_data"),
    "train.history": ("History",),
    "train.metrics": ("METRICS",),
    "train.model": ("Model",),
    "train.rows": ("rows",),
    "train.sequential": ("Sequential",),
    "train.together": ("fit_together",),
    "sklearn": ("from_sklearn",),
    "interop.onnx": ("from_onnx",),
    "interop.pytorch": ("from_torch",),
    "train.models": ("read_model",),
    "train.watch": ("TensorBoard", "Watch"),
    "verify.certificate": ("Certificate",),
}
_MODULE = {name: f"chainrule.{module}" for module, names in _WHERE.items() for name in names}

# Names that users bring from other frameworks, and what to write here.
_ELSEWHERE = {
    "Subtract": "Subtract is a layer of one's own here: inputs = 2; equation = 'y[n, i] = x1[n, i] - x2[n, i]'",
    "Linear": "Linear is called Dense here: cr.Dense(10), and the number of inputs is found by itself",
    "linear": "linear is called Dense here: cr.Dense(10)",
    "FullyConnected": "FullyConnected is called Dense here: cr.Dense(10)",
    "Module": "Module is called Layer here: subclass cr.Layer and write its equation",
    "CrossEntropyLoss": 'CrossEntropyLoss is named by the model here: cr.Sequential(…, loss="softmax_cross_entropy")',
    "BCEWithLogitsLoss": 'BCEWithLogitsLoss is named by the model here: cr.Sequential(…, loss="binary_cross_entropy")',
    "MSELoss": 'MSELoss is named by the model here: cr.Sequential(…, loss="mean_squared_error")',
    "L1Loss": 'L1Loss is named by the model here: cr.Sequential(…, loss="mean_absolute_error")',
    "HuberLoss": "HuberLoss is given to the model here: cr.Sequential(…, loss=cr.huber(delta=1.0))",
    "SmoothL1Loss": "SmoothL1Loss is given to the model here: cr.Sequential(…, loss=cr.huber(delta=1.0))",
    "Huber": "Huber is called huber here: cr.Sequential(…, loss=cr.huber(delta=1.0))",
    "Hinge": 'Hinge is named by the model here: cr.Sequential(…, loss="hinge")',
    "MultiMarginLoss": 'MultiMarginLoss is named by the model here: cr.Sequential(…, loss="multiclass_hinge")',
    "KLDivLoss": 'KLDivLoss is named by the model here: cr.Sequential(…, loss="kl_divergence")',
    "Activation": "Activation has one class each here: cr.Sigmoid(), cr.Tanh(), cr.ReLU()",
    "InputLayer": "InputLayer is called Input here: cr.Input(64)",
    "xavier_uniform": "xavier_uniform is called glorot here",
    "kaiming_normal": "kaiming_normal is called he here",
    "load_model": "load_model is called load here",
    "Conv2D": "Conv2D is called Conv2d here: cr.Conv2d(16, 3)",
    "MaxPooling2D": "MaxPooling2D is called MaxPool2d here: cr.MaxPool2d(2)",
    "AvgPool2d": "AvgPool2d is called MeanPool2d here: cr.MeanPool2d(2)",
    "AveragePooling2D": "AveragePooling2D is called MeanPool2d here: cr.MeanPool2d(2)",
    "RMSprop": "RMSprop is called RMSProp here: cr.RMSProp(1e-3)",
    "AdaGrad": "AdaGrad is called Adagrad here: cr.Adagrad(0.01)",
    "OneCycleLR": "OneCycleLR is called one_cycle here: cr.Adam(cr.one_cycle(0.01, steps=1000))",
    "StepLR": "StepLR is called step_decay here: cr.SGD(cr.step_decay(0.1, every=1000))",
    "CosineAnnealingLR": "CosineAnnealingLR is called cosine here: cr.SGD(cr.cosine(0.1, steps=1000))",
    "BatchNorm1d": "BatchNorm1d is called BatchNorm here, for any number of axes: cr.BatchNorm()",
    "BatchNorm2d": "BatchNorm2d is called BatchNorm here, for any number of axes: cr.BatchNorm()",
    "BatchNormalization": "BatchNormalization is called BatchNorm here: cr.BatchNorm()",
    "LayerNormalization": "LayerNormalization is called LayerNorm here: cr.LayerNorm()",
    "Concatenate": "Concatenate is called Concat here: cr.Concat(axis=1)(x, y)",
    "MultiheadAttention": "MultiheadAttention is called MultiHeadAttention here: cr.MultiHeadAttention(4)",
    "Swish": "Swish is called SiLU here: cr.SiLU()",
    "grad": "grad is a method here: loss, gradients = model.gradients(x, y)",
}


def __getattr__(name: str) -> Any:
    module = _MODULE.get(name)
    if module is not None:
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value
    if name.startswith("_"):
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    if name in _ELSEWHERE:
        raise AttributeError(_ELSEWHERE[name])
    from difflib import get_close_matches

    spelled = {ours.casefold(): ours for ours in __all__}
    near = get_close_matches(name.casefold(), spelled, 1, 0.7)
    raise AttributeError(f"chainrule has no {name!r}" + (f"; did you mean {spelled[near[0]]!r}?" if near else ""))


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Facade(ModuleType):
    """`chainrule.derive` and `chainrule.report` are modules and, as attributes, functions: importing such a module must
    not put it in the function's place."""

    @property
    def derive(self) -> Any:
        from chainrule.derivation import derive

        return derive

    @derive.setter
    def derive(self, module: ModuleType) -> None:
        """The import system's assignment of a submodule to its parent."""

    @property
    def report(self) -> Any:
        from chainrule.report import report

        return report

    @report.setter
    def report(self, module: ModuleType) -> None:
        """As for `derive`."""


sys.modules[__name__].__class__ = _Facade
