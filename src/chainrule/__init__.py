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

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainrule.derivation import Derivation, derive
    from chainrule.errors import (
        ChainruleError,
        DataError,
        DerivationError,
        EquationError,
        ModelError,
        ShapeError,
        VerificationError,
    )
    from chainrule.nn.initialisers import Initialiser, constant, glorot, he, lecun, normal, ones, zeros
    from chainrule.nn.layer import Input, Layer, State, bernoulli, uniform
    from chainrule.nn.layers import Add, Dense, Flatten, ReLU, Sigmoid, Softmax, Tanh
    from chainrule.optim.sgd import SGD
    from chainrule.train.checkpoint import load
    from chainrule.train.data import digits
    from chainrule.train.model import History, Model, Sequential
    from chainrule.verify.certificate import Certificate

__all__ = [
    "SGD",
    "Add",
    "Certificate",
    "ChainruleError",
    "DataError",
    "Dense",
    "Derivation",
    "DerivationError",
    "EquationError",
    "Flatten",
    "History",
    "Initialiser",
    "Input",
    "Layer",
    "Model",
    "ModelError",
    "ReLU",
    "Sequential",
    "ShapeError",
    "Sigmoid",
    "Softmax",
    "State",
    "Tanh",
    "VerificationError",
    "bernoulli",
    "constant",
    "derive",
    "digits",
    "glorot",
    "he",
    "lecun",
    "load",
    "normal",
    "ones",
    "uniform",
    "zeros",
]

_WHERE = {
    "derivation": ("Derivation",),
    "errors": (
        "ChainruleError", "DataError", "DerivationError", "EquationError", "ModelError", "ShapeError",
        "VerificationError",
    ),
    "nn.initialisers": ("Initialiser", "constant", "glorot", "he", "lecun", "normal", "ones", "zeros"),
    "nn.layer": ("Input", "Layer", "State", "bernoulli", "uniform"),
    "nn.layers": ("Add", "Dense", "Flatten", "ReLU", "Sigmoid", "Softmax", "Tanh"),
    "optim.sgd": ("SGD",),
    "train.checkpoint": ("load",),
    "train.data": ("digits",),
    "train.model": ("History", "Model", "Sequential"),
    "verify.certificate": ("Certificate",),
}
_MODULE = {name: f"chainrule.{module}" for module, names in _WHERE.items() for name in names}

# Names that users bring from other frameworks, and what to write here.
_ELSEWHERE = {
    "Linear": "Linear is called Dense here: cr.Dense(10), and the number of inputs is found by itself",
    "linear": "linear is called Dense here: cr.Dense(10)",
    "FullyConnected": "FullyConnected is called Dense here: cr.Dense(10)",
    "Module": "Module is called Layer here: subclass cr.Layer and write its equation",
    "CrossEntropyLoss": 'CrossEntropyLoss is named by the model here: cr.Sequential(…, loss="softmax_cross_entropy")',
    "BCEWithLogitsLoss": 'BCEWithLogitsLoss is named by the model here: cr.Sequential(…, loss="binary_cross_entropy")',
    "MSELoss": 'MSELoss is named by the model here: cr.Sequential(…, loss="mean_squared_error")',
    "Activation": "Activation has one class each here: cr.Sigmoid(), cr.Tanh(), cr.ReLU()",
    "InputLayer": "InputLayer is called Input here: cr.Input(64)",
    "xavier_uniform": "xavier_uniform is called glorot here",
    "kaiming_normal": "kaiming_normal is called he here",
    "load_model": "load_model is called load here",
    "Conv2d": "there is no Conv2d yet; a layer of one's own can be one: subclass cr.Layer and write its equation",
    "Conv2D": "there is no Conv2D yet; a layer of one's own can be one: subclass cr.Layer and write its equation",
    "MaxPool2d": "there is no MaxPool2d yet; a layer of one's own can be one: subclass cr.Layer and write its equation",
    "Dropout": "there is no Dropout yet; a layer of one's own can be one, with a state cr.bernoulli(0.8, 'n', 'k')",
    "Adam": "there is no Adam yet; use cr.SGD(0.1, momentum=0.9)",
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

    near = get_close_matches(name, __all__, 1, 0.6)
    raise AttributeError(f"chainrule has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Facade(ModuleType):
    """`chainrule.derive` is a package and, as an attribute, the function that derives one equation: importing the
    package must not put the module in the function's place."""

    @property
    def derive(self) -> Any:
        from chainrule.derivation import derive

        return derive

    @derive.setter
    def derive(self, module: ModuleType) -> None:
        """The import system's assignment of a submodule to its parent."""


sys.modules[__name__].__class__ = _Facade
