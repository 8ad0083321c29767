"""The optimizers that have a name: what `fit(optimizer="adam")` stands for."""

from __future__ import annotations

from difflib import get_close_matches

from chainrule.errors import ModelError
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.adaptive import Adagrad, RMSProp
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.sgd import SGD

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(0.1, momentum=0.9),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSProp(),
    "adagrad": Adagrad(),
}


def optimizer_named(value: object) -> Optimizer:
    """The optimizer of that name, "sgd" for None; an optimizer is itself. Raises ModelError for anything else."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise ModelError(f"{value.__name__} is a class", about="optimizer", fix=f"call it: cr.{value.__name__}()")
    if value is None:
        return OPTIMIZERS["sgd"]
    if not isinstance(value, str):
        raise ModelError(
            f"an optimizer is a name or an object, not {value!r}", about="optimizer",
            fix='write optimizer="adam" or optimizer=cr.Adam(rate=1e-3)',
        )
    if value.lower() in OPTIMIZERS:
        return OPTIMIZERS[value.lower()]
    near = get_close_matches(value.lower(), OPTIMIZERS, 1, 0.6)
    fix = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(OPTIMIZERS)}"
    raise ModelError(f"unknown optimizer {value!r}", about="optimizer", fix=fix)
