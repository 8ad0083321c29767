"""Several models of one architecture, trained side by side: seeds, rates, folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from chainrule.errors import ModelError
from chainrule.optim.optimizer import Optimizer
from chainrule.options import several
from chainrule.train.feed import Rows, Samples
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt
from chainrule.train.model import Model
from chainrule.train.progress import progress
from chainrule.train.runners import check_workers, cores

T = TypeVar("T")


def fit_together(
    models: Iterable[Model],
    x: Samples,
    y: ArrayLike,
    *,
    optimizers: Optimizer | str | Iterable[Optimizer | str | None] | None = None,
    seeds: int | Iterable[int | None] | None = None,
    folds: Iterable[tuple[ArrayLike, ArrayLike]] | None = None,
    sample_weight: ArrayLike | None = None,
    workers: int | None = None,
    verbose: bool = True,
    **options: Any,
) -> list[History]:
    """Train models of one architecture, `[model.like(seed) for seed in range(16)]`, side by side on the processors; the
    history of each. Each ends with the bits, the state and the history of its own `fit`, but it is lowered and compiled
    once for all.

    `optimizers` and `seeds` have one for each model, or are one for all. `folds` has one for each, pairs of rows as
    `KFold().split(x)` gives them: those that it is trained on, and those that are its validation data. `workers` are
    the threads for all of them, by default as many as there are processors. The other options are those of `fit`, the
    same for every model, but for `callbacks`, each of which would have one memory for all.

    Ctrl-C ends all of them between two steps; with `resume=True` they are finished. Where training fails, the others
    are trained to their end, and then the first error is raised, with a note that says whose it is. Raises ModelError
    where the models are not of one architecture, or have layers in common; the rest as `fit`.
    """
    listed = list(models)
    check_workers(workers)
    if "callbacks" in options:
        raise ModelError("a callback remembers what one model does", fix="train the models that have one by fit")
    layers = [layer for model in listed for _, layer in model.network.layers]
    if len(set(layers)) < len(layers):
        raise ModelError("models have layers in common", fix="models = [model.like(seed) for seed in range(8)]")
    for model in listed[1:]:
        model.share(listed[0])
    most = workers or cores()
    options |= {"verbose": False, "workers": max(1, most // max(len(listed), 1))}
    parts = _each("folds", folds, listed)
    if any(not (part is None or (isinstance(part, (tuple, list)) and len(part) == 2)) for part in parts):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(
            "a fold is a pair: the rows to train on, and those that are held out", fix="folds=KFold(5).split(x)"
        )
    calls = zip(listed, _each("optimizers", optimizers, listed), _each("seeds", seeds, listed), parts, strict=True)

    shared = _taken(listed, x, y, sample_weight)

    def train(model: Model, optimizer: Optimizer | str | None, seed: int | None, fold: Any) -> History:
        given: tuple[Any, ...] = (x, y, sample_weight) if shared is None else (shared, shared.target, None)
        own = dict(options)
        if fold is not None:
            train, test = map(np.asarray, fold)
            held = tuple(_rows(value, test) for value in given if value is not None)
            given = tuple(_rows(value, train) for value in given)
            own["validation_data"] = held if shared is None else held[0]
        try:
            return model.fit(*given[:2], sample_weight=given[2], optimizer=optimizer, seed=seed, **own)
        finally:
            done.append(model)
            report.step(0, len(done) / len(listed))

    done: list[Model] = []
    with (
        progress(1, verbose, f"training {len(listed)} models") as report, Interrupt(),
        ThreadPoolExecutor(min(most, len(listed)) or 1) as pool,
    ):
        runs = [pool.submit(copy_context().run, train, *call) for call in calls]
        wait(runs)
    for number, run in enumerate(runs):
        if (error := run.exception()) is not None:
            error.add_note(f"It is model {number} of {len(runs)}, counted from 0.")
            raise error
    return [run.result() for run in runs]


def _each(name: str, values: T | Iterable[T], models: Sequence[Model]) -> list[T]:
    found = several(values)
    if not isinstance(values, Iterable) or isinstance(values, str):
        found *= len(models)
    if len(found) != len(models):
        raise ModelError(f"there are {len(models)} models and {len(found)} {name}", fix="give one for each model")
    return found


def _taken(models: Sequence[Model], x: Samples, y: ArrayLike, weight: ArrayLike | None) -> Rows | None:
    """The samples, checked once for all; None where each model learns a table or labels of its own from its rows."""
    if not models:
        return None
    rows = (model := models[0].like(0)).taken(x, y, weight)
    return rows if model.columns is None else None


def _rows(values: Any, rows: Any) -> Any:
    """These rows of what `fit` takes: arrays, several of them, a data frame, weights that there are not."""
    if values is None or isinstance(values, Rows):
        return values and values[rows]
    if isinstance(values, Mapping):
        return {name: _rows(value, rows) for name, value in cast("Mapping[str, Any]", values).items()}
    if isinstance(values, tuple):
        return tuple(_rows(value, rows) for value in cast("tuple[Any, ...]", values))
    return values.iloc[rows] if hasattr(values, "iloc") else np.asarray(values)[rows]
