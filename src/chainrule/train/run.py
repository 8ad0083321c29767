"""What the command line puts together: a model file, a data set and the choices of a training run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ChainruleError, DataError, ModelError, ShapeError
from chainrule.ir.source import shorten
from chainrule.nn.losses import mean_squared_error
from chainrule.nn.standardise import Standardise
from chainrule.optim.named import OPTIMIZERS
from chainrule.optim.optimizer import Optimizer, Rate
from chainrule.optim.schedules import cosine, one_cycle, step_decay, warm_up
from chainrule.train.columns import chosen
from chainrule.train.data import differ_in_scale
from chainrule.train.files import DataSet
from chainrule.train.model import Model
from chainrule.train.models import BUILT_IN, ModelFile, Training

Array = NDArray[Any]
DROPS = 3  # the schedule "step" has this many equal parts, each with a tenth of the rate before
MOST = 300  # epochs that steps may ask for
HELD = 5  # samples that say when to stop: fewer say nothing
UNEVEN = 2  # the largest class has so many times the samples of the smallest


@dataclass(frozen=True)
class Choices:
    """What the user asks for; None leaves it to the model's file."""

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    rate: float | None = None
    momentum: float | None = None
    schedule: str | None = None
    warm_up: int | None = None
    validation: float | None = None
    patience: int | None = None


def merged(choices: Choices, file: Training) -> Training:
    """The choices, then the file's. The rate and the momentum of a file belong to its optimizer; who asks for epochs
    gets all of them."""
    same = choices.optimizer in (None, file.optimizer)
    kept = file if same else replace(file, rate=None, momentum=None)
    if choices.epochs is not None:
        kept = replace(kept, steps=1, validation=None, patience=None)
    given = {name: value for name, value in vars(choices).items() if value is not None}
    return replace(kept, **given)


def scheduled(plan: Training, samples: int, asked: Choices) -> tuple[Training, int]:
    """The plan for so many samples, and its steps: with as many epochs as its steps take, within a bound. Nothing is
    held out of a few samples unless that is asked for."""
    held = round(samples * (plan.validation or 0))
    if held < HELD and plan.validation != asked.validation:
        plan, held = replace(plan, validation=None, patience=asked.patience), 0
    batches = -(-max(samples - held, 1) // plan.batch_size)
    epochs = max(plan.epochs, min(MOST, -(-plan.steps // batches)))
    return replace(plan, epochs=epochs, steps=1), epochs * batches


def optimizer_for(plan: Training, steps: int = 1_000_000_000) -> Optimizer:
    """The optimizer of a run of that many steps. Raises ModelError where an option is out of its range."""
    base = OPTIMIZERS[plan.optimizer]
    given: dict[str, Any] = {}
    if plan.momentum is not None:
        if not hasattr(base, "momentum"):
            several = [name for name, one in OPTIMIZERS.items() if hasattr(one, "momentum")]
            raise ModelError(f"{plan.optimizer} has no momentum", fix=f"leave it out; it is for {', '.join(several)}")
        given["momentum"] = plan.momentum
    rate = cast(float, base.rate) if plan.rate is None else plan.rate
    constant = replace(base, rate=rate, **given)  # which checks the rate before a schedule is made of it
    if plan.warm_up >= steps:
        raise ModelError(
            f"the warm-up takes {plan.warm_up} steps, but the run has only {steps}", fix="choose a shorter warm-up"
        )
    rest = steps - plan.warm_up
    rates: dict[str, Rate] = {
        "constant": rate,
        "step": step_decay(rate, math.ceil(rest / DROPS)),
        "cosine": cosine(rate, rest),
        "one-cycle": one_cycle(rate, rest),
        "plateau": rate,
    }
    chosen = rates[plan.schedule]
    return replace(constant, rate=warm_up(chosen, plan.warm_up) if plan.warm_up else chosen)


def limited(data: DataSet, limit: int | None, seed: int) -> DataSet:
    """The data set with so many of its samples to train on, drawn by `seed`."""
    if limit is None or limit >= len(data.x):
        return data
    rows = np.sort(np.random.default_rng(seed).permutation(len(data.x))[:limit])
    return replace(data, x=data.x[rows], y=data.y[rows])


def model_for(file: ModelFile, data: DataSet, *, seed: int, standardise: bool | None = None) -> Model:
    """The model for these data. A built-in one takes the shape of a sample and the number of classes from them, as far
    as its layers allow, and learns numbers where the targets are such; a file of the user's says what it takes. Where
    it is to `standardise`, as it is for tables unless refused, its first layer learns the mean and the deviation of the
    samples to train on, and a squared error carries those of numbers to learn.

    Raises ShapeError with both shapes and the fix, DataError where there are no classes to learn.
    """
    shape = _input_shape(file, data)
    if standardise is None:
        standardise = data.x.ndim == 2 and file.input_dtype == "real" and not any(
            entry["type"] == Standardise.__name__ for entry in file.layers
        )
    file = _learning_numbers(file, data, standardise)
    classes = _classes(file, data)
    try:
        model = file.build(input=shape, classes=classes, seed=seed, standardise=standardise)
    except ChainruleError as error:
        if shape == file.input or file.name not in BUILT_IN or isinstance(error, DataError):
            raise
        raise _misfit(file, data, f": {error.problem}") from None
    model.classes, model.columns = tuple(data.classes or ()), data.columns
    return model


def _learning_numbers(file: ModelFile, data: DataSet, standardise: bool) -> ModelFile:
    """The file with a squared error, where numbers are to be learnt and it is ours or has one; for numbers of any size
    where they are to be standardised."""
    low, high = float(data.y.min()), float(data.y.max())
    numbers = data.classes is None and data.y.dtype.kind == "f"
    if numbers and str(file.layers[-1]["type"]).lower() == "sigmoid" and (low < 0 or high > 1):
        raise DataError(
            f"{data.name} has numbers from {low:g} to {high:g} to learn, but {file.name} ends with a sigmoid, which is "
            "never outside of 0 … 1",
            fix="choose --model mlp, or end the model's file with a Dense layer",
        )
    ours = file.name in BUILT_IN and file.loss is not None and file.loss.labels == "classes"
    plain = file.loss is not None and file.loss.name == "mean_squared_error" and not file.loss.options
    if data.classes is not None or not (ours or plain) or data.y.ndim > 2 or (data.numbers_classes and not plain):
        return file
    if data.y.ndim == 2 and (not plain or data.y.shape[1] > 1):
        return file
    mean, deviation = float(data.y.mean(dtype=np.float64)), float(data.y.std(dtype=np.float64))
    sound = standardise and 1e-30 < deviation < 1e30
    loss = mean_squared_error(mean if abs(mean) > 1e-30 else 0.0, deviation) if sound else mean_squared_error()
    return replace(file, loss=loss, classes=1 if ours else file.classes)


def _input_shape(file: ModelFile, data: DataSet) -> tuple[int, ...]:
    found = data.x.shape[1:]
    if file.input is None:
        return found
    if math.prod(found) == math.prod(file.input):
        return file.input
    if file.name in BUILT_IN:
        if len(file.input) == 1:
            return (math.prod(found),)
        if len(file.input) in (len(found), len(found) + 1):
            return (1, *found)[-len(file.input) :]
    raise _misfit(file, data)


def _misfit(file: ModelFile, data: DataSet, why: str = "") -> ShapeError:
    found = list(data.x.shape[1:])
    fix = f"write input = {found} in {file.name}"
    if file.name in BUILT_IN:
        fix = f"choose a model for this shape, such as mlp, or write a model file with input = {found}"
    return ShapeError(
        f"{data.name} has samples of shape {found}, but {file.name} takes {list(file.input or ())}{why}", fix=fix
    )


def _classes(file: ModelFile, data: DataSet) -> int | None:
    """How many classes the data have; None leaves it to the file."""
    if file.loss is None:
        raise ModelError(f"{file.name} has no loss", fix='write loss = "softmax_cross_entropy" on top of the file')
    wanted = file.loss.labels == "classes"
    if wanted and data.classes is None and data.y.ndim == 1 and not data.numbers_classes:
        raise DataError(
            f"{data.name} has numbers to learn, but {file.name} learns classes: its loss is {file.loss.name}",
            fix='write a model file with loss = "mean_squared_error" and units = 1 in its last layer; '
            "if they are classes, name them by texts",
        )
    labels = wanted and data.classes is None and data.y.ndim == 1
    if labels and data.y.min() < 0:
        raise DataError(
            f"{data.name} holds the label {data.y.min():g}, but classes are numbered from 0",
            fix="number the classes from 0, or name them by texts",
        )
    if file.classes is not None and (file.name not in BUILT_IN or file.loss.name == "mean_squared_error"):
        return None
    found = len(data.classes) if data.classes is not None else data.y.shape[1] if data.y.ndim > 1 else None
    if labels:
        found = int(data.y.max()) + 1
    if wanted and found is not None and found < 2:
        raise DataError(f"{data.name} has a single class, of which there is nothing to learn", fix="give two or more")
    return found


def input_size(model: Model) -> int:
    """How many numbers a sample has."""
    return math.prod(int(extent) for extent in model.inputs[0].shape[1:])


def samples(model: Model, x: Array, name: str) -> Array:
    """The samples in the shape that the model takes, where that is only another arrangement of theirs."""
    shape = tuple(int(extent) for extent in model.inputs[0].shape[1:])
    if len(model.inputs) > 1:
        raise ModelError(f"the model has {len(model.inputs)} inputs", fix="use it from Python: model.predict((x1, x2))")
    if x.ndim < 2 or math.prod(x.shape[1:]) != input_size(model):
        raise ShapeError(
            f"{name} has samples of shape {list(x.shape[1:])}, but the model takes {list(shape)}",
            fix="give data such as the model was trained on",
        )
    return x.reshape(len(x), *shape)


def targets(model: Model, data: DataSet, y: Array) -> Array:
    """y with the classes numbered as the model has them, or as numbers where its labels are such. Raises DataError for
    a class that it does not know."""
    if not model.classes or data.classes is None:
        return y
    places = {name: number for number, name in enumerate(model.classes)}
    for name in data.classes:
        if name not in places:
            raise DataError(
                f"{data.name} has the class {shorten(name, 40)!r}, which the model does not know",
                fix=f"it knows {', '.join(shorten(one, 40) for one in model.classes[:12])}"
                f"{' …' if len(model.classes) > 12 else ''}",
            )
    if model.columns and model.columns.target and model.columns.target.numeric:
        return np.array([float(name) for name in data.classes])[y]
    return np.array([places[name] for name in data.classes], np.int64)[y]


def scores(model: Model, data: DataSet, x: Array, y: Array, before: Array) -> str:
    """How well a model does on these samples, in words, beside who always says the same: the most frequent class, or
    the mean, of the targets `before`. Where classes are uneven each counts alike."""
    x = samples(model, x, data.name)
    result = model.evaluate(x, numbered := targets(model, data, y))
    loss = f"loss {result['loss']:.4f}"
    if "accuracy" in result and y.ndim == 1:
        usual = np.bincount(before.astype(np.int64)).argmax()
        right = round(result["accuracy"] * len(y))
        text = f"accuracy {result['accuracy']:.2%} ({right} of {len(y)}), {loss}"
        alone = f"the most frequent class alone: {(y == usual).mean():.2%}"
        counts = np.bincount(y.astype(np.int64))
        counts = counts[counts > 0]
        if len(counts) > 1 and counts.max() > UNEVEN * counts.min():
            balanced = model.evaluate(x, numbered, metrics=["balanced_accuracy"])["balanced_accuracy"]
            text = f"balanced accuracy {balanced:.2%}, {text}"
            alone += f", balanced {1 / len(counts):.2%}"
        places = predictions(model, x)[1]
        if len(counts) > 1 and places is not None and (places == places[0]).all():
            alone += f"; every sample is taken for {shorten(_name(model, int(places[0])), 40)}"
        return f"{text}; {alone}"
    if "accuracy" in result:
        return f"accuracy {result['accuracy']:.2%}, {loss} on {len(y)} samples"
    found = model.evaluate(x, numbered, metrics=["r2", "mae"])
    mean = before.mean(axis=0, dtype=np.float64)
    return (
        f"R² {found['r2']:.4f}, mean absolute error {found['mae']:.4g}, {loss} on {len(y)} samples; "
        f"the mean alone: mean absolute error {np.abs(y - mean).mean():.4g}"
    )


def remarks(data: DataSet, *, standardised: bool) -> list[str]:
    """What was done to a table beyond what its line says, and what is odd about its numbers."""
    notes = list(data.columns.notes) if data.columns else []
    if not standardised and differ_in_scale(data.x):
        notes.append("the inputs differ much in scale: --standardise helps")
    return notes


def predictions(model: Model, x: Array) -> tuple[Array, Array | None]:
    """(the output for each sample, the number of its class or None where the model learns numbers)."""
    output = model.predict(x)
    return output, chosen(output, model.loss.labels if model.loss else "numbers", model.classes)


def write_npz(path: Path, model: Model, output: Array, numbers: Array | None) -> None:
    arrays = {"output": output}
    if numbers is not None:
        arrays["class"] = numbers
        if model.classes:
            arrays["names"] = np.array(model.classes)
    with path.open("wb") as file:
        np.savez(file, **cast(Any, arrays))


def as_csv(model: Model, output: Array, numbers: Array | None) -> str:
    """A table with a line of names: the class, where there are classes, and every output."""
    rows = output.reshape(len(output), -1)
    names: Sequence[str] = [f"output {i + 1}" for i in range(rows.shape[1])]
    if rows.shape[1] == 1 and numbers is None and model.columns and model.columns.target:
        names = [model.columns.target.name]
    if len(model.classes) == rows.shape[1]:
        names = model.classes
    elif numbers is not None and rows.shape[1] > 1:
        names = [str(i) for i in range(rows.shape[1])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*([] if numbers is None else ["class"]), *names])
    for row, values in enumerate(rows):
        label = [] if numbers is None else [_name(model, int(numbers[row]))]
        writer.writerow([*label, *(f"{float(value):.6g}" for value in values)])
    return text.getvalue()


def _name(model: Model, number: int) -> str:
    return model.classes[number] if number < len(model.classes) else str(number)
