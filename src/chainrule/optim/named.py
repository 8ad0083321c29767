"""The optimizers that have a name: what `fit(optimizer="adam")` stands for, and what a file says of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, cast

from chainrule.errors import ModelError
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.adaptive import Adagrad, RMSProp
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import cosine, one_cycle, step_decay, warm_up
from chainrule.optim.sgd import SGD
from chainrule.options import written

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
        raise ModelError(f"{value.__name__} is a class", about="optimizer", fix=f"call it: {written(value)}()")
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


# In files

RULES: dict[str, type[Optimizer]] = {rule.__name__: rule for rule in (SGD, Adam, AdamW, RMSProp, Adagrad)}
SCHEDULES: dict[str, type[Any]] = {schedule.__name__: schedule for schedule in (cosine, one_cycle, step_decay, warm_up)}


@dataclass(frozen=True)
class Unknown(Optimizer):
    """An optimizer of somebody's own, of which a file tells the class and the options."""

    saved: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def equations(self, rank: int) -> str:
        raise ModelError(f"{self} is not known here", fix="give the optimizer to fit")

    def __str__(self) -> str:
        return f"the optimizer {str(self.saved.get('class'))[:60]}"


def saved_optimizer(rule: Optimizer) -> dict[str, Any]:
    """The class and the options, for JSON. Of a schedule that is a function of one's own its name alone."""
    if isinstance(rule, Unknown):
        return dict(rule.saved)
    return {"class": type(rule).__name__, "options": _options(rule)}


def _options(of: Any) -> dict[str, Any]:
    return {option.name: _saved(getattr(of, option.name)) for option in fields(of)}


def _saved(value: Any) -> Any:
    name = type(value).__name__
    if name in SCHEDULES:
        return {"schedule": name, "options": _options(value)}
    return {"function": getattr(value, "__name__", name)} if callable(value) else value


def restored_optimizer(saved: Mapping[str, Any]) -> Optimizer:
    """What `saved_optimizer` saw; `Unknown` where it or its schedule is of somebody's own. Raises ModelError, TypeError
    or LookupError where nothing of that kind was ever saved."""
    options = {name: _restored(value) for name, value in saved["options"].items()}
    if saved["class"] not in RULES or any(isinstance(value, Mapping) for value in options.values()):
        return Unknown(saved=saved)
    return RULES[saved["class"]](**options)


def _restored(value: Any) -> Any:
    if not (isinstance(value, dict) and "schedule" in value):
        return cast(Any, value)
    schedule = cast("dict[str, Any]", value)
    options: dict[str, Any] = schedule["options"]
    return SCHEDULES[schedule["schedule"]](**{name: _restored(option) for name, option in options.items()})
