"""chainrule: back-propagation you can read, trust and ship.

    import chainrule as cr

    model = cr.Sequential(cr.Input(64), cr.Dense(32), cr.Sigmoid(), cr.Dense(10), loss="softmax_cross_entropy")
    model.fit(x, y, epochs=20)
    print(model.derive().to_text())

The public names are listed in `__init__.pyi`, and imported when they are first used.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib import import_module
from pkgutil import get_data
from types import ModuleType
from typing import Any

__version__ = "0.2.0"

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


@cache
def _listed() -> tuple[dict[str, str], list[str]]:
    """The module of each name that `__init__.pyi` lists, and the modules whose whole `__all__` it takes."""
    where: dict[str, str] = {}
    whole: list[str] = []
    for line in ast.parse(get_data(__name__, "__init__.pyi") or b"").body:
        if isinstance(line, ast.ImportFrom) and line.module is not None:
            names = [alias.name for alias in line.names]
            if names == ["*"]:
                whole.append(line.module)
            else:
                where |= dict.fromkeys(names, line.module)
    return where, whole


@cache
def _public() -> dict[str, str]:
    where, whole = _listed()
    return where | {name: module for module in whole for name in import_module(module).__all__}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_public())
    if name.startswith("_"):
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    # What is listed by name does not wait for the modules that are listed as a whole.
    module = _listed()[0].get(name) or _public().get(name)
    if module is not None:
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value
    if name in _ELSEWHERE:
        raise AttributeError(_ELSEWHERE[name])
    from difflib import get_close_matches

    spelled = {ours.casefold(): ours for ours in _public()}
    near = get_close_matches(name.casefold(), spelled, 1, 0.7)
    raise AttributeError(f"chainrule has no {name!r}" + (f"; did you mean {spelled[near[0]]!r}?" if near else ""))


def __dir__() -> list[str]:
    return [*sorted(_public()), "__version__"]


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

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, as other modules are pickled with a function that names them, by joblib or Ray."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Facade
