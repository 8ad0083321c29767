"""How options are given: by our names, with an answer for those who know them by another library's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from chainrule.errors import ModelError

P = ParamSpec("P")
T = TypeVar("T")

# Another library's names, and ours: the first of them that is an option is meant.
_OTHERS = {
    "rate": ("lr", "learning_rate", "learning_rate_init", "eta", "eta0", "alpha", "p", "prob", "drop_prob"),
    "epochs": ("n_epochs", "num_epochs", "nb_epoch", "max_iter", "n_iter", "iterations"),
    "batch_size": ("batch", "batchsize", "bs", "minibatch_size"),
    "validation_data": ("val_data", "eval_set", "validation", "val_set"),
    "validation_split": ("val_split", "validation_fraction", "test_size"),
    "sample_weight": ("sample_weights", "weights", "weight"),
    "optimizer": ("optim", "optimiser", "solver"),
    "seed": ("random_state", "random_seed", "rng"),
    "workers": ("n_jobs", "num_workers", "threads"),
    "units": ("out_features", "neurons", "nodes", "hidden_size", "output_dim", "embedding_dim", "size", "n"),
    "filters": ("out_channels", "channels", "n_filters", "num_filters"),
    "kernel_size": ("kernel", "filter_size", "ksize", "kernel_shape"),
    "size": ("pool_size", "kernel_size", "kernel", "pool"),
    "stride": ("strides", "subsample"),
    "dilation": ("dilation_rate",),
    "padding": ("pad",),
    "bias": ("use_bias", "fit_intercept"),
    "init": ("kernel_initializer", "weight_init", "initializer"),
    "l2": ("kernel_regularizer", "weight_decay", "regularizer", "alpha"),
    "entries": ("num_embeddings", "input_dim", "vocab_size"),
    "heads": ("num_heads", "n_heads", "nhead"),
    "slope": ("negative_slope", "alpha"),
    "epsilon": ("eps",),
}  # fmt: skip
_FOUND = "the number of inputs is found by itself"
BEHIND = "an activation is a layer of its own: put cr.ReLU() behind this one"
_ADVICE = {
    **dict.fromkeys(("in_features", "in_channels", "num_features", "input_shape", "input_size", "input_dim"), _FOUND),
    **dict.fromkeys(("rate", "lr", "learning_rate"), "the rate is the optimizer's: optimizer=cr.Adam(rate=0.001)"),
    "activation": BEHIND,
    "betas": "they are options of their own: beta1=0.9, beta2=0.999",
    "schedule": "a schedule is given as the rate: rate=cr.cosine(0.01, steps)",
}  # fmt: skip


def called(
    name: str, signature: inspect.Signature, arguments: Sequence[Any], options: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call, bound. Raises ModelError where they do not fit, with our name for another library's."""
    parameters = list(signature.parameters.values())
    known = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY)]
    usage = f"write {name}({', '.join(_shown(p) for p in parameters if p.name != 'self')})"
    strange = [option for option in options if option not in known]
    if strange and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ModelError(
            f"{name} has no option {strange[0]!r}", about=name, fix=_answer(strange[0], known) or usage
        )
    if known[1:2] and known[1] in ("units", "filters"):
        needed = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        numbers = [a for a in arguments[1:] if isinstance(a, int) and not isinstance(a, bool)]
        if needed < len(arguments) == len(numbers) + 1:
            fitting = ", ".join(map(str, numbers[1:needed]))
            raise ModelError(
                f"{name} takes {' and '.join(known[1:needed])} by place, but {len(numbers)} numbers are given",
                about=name,
                fix=f"{_FOUND}: write cr.{name}({fitting}); give other options by name",
            )
    kind = inspect.Parameter
    try:
        return signature.bind(*arguments, **options)
    except TypeError as error:
        if len(arguments) > 1 and {p.kind for p in parameters[1:]} == {kind.KEYWORD_ONLY, kind.VAR_KEYWORD}:
            usage = f"give each option by its name, as in {name}(units={arguments[1]!r})"
        raise ModelError(f"{name}: {error}", about=name, fix=usage) from None


def written(kind: type) -> str:
    """A class as a user writes it: cr.Dense, or one of their own by its name."""
    return f"{'cr.' if kind.__module__.startswith('chainrule.') else ''}{kind.__name__}"


def several(given: T | Iterable[T]) -> list[T]:
    """What is given, where one alone may be: "f1" is ["f1"]."""
    alone = isinstance(given, str) or not isinstance(given, Iterable)
    return [cast(T, given)] if alone else list(cast("Iterable[T]", given))


def _answer(option: str, known: Sequence[str]) -> str:
    same = option.lower()
    for ours, others in _OTHERS.items():
        if ours in known and same in others:
            return f"it is called {ours} here"
    if same in _ADVICE:
        return _ADVICE[same]
    near = get_close_matches(same, known, 1, 0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def _shown(parameter: inspect.Parameter) -> str:
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{star}{parameter.name}{default}"


def spoken(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with an answer of ours to arguments that it does not take."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        called(function.__name__, signature, arguments, options)
        return function(*arguments, **options)

    return call
