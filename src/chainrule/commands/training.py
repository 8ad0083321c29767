"""`train`, `evaluate`, `predict`: models learn from data, and answer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.commands.models import is_onnx, is_saved
from chainrule.commands.output import put, say, warn, writable, write
from chainrule.errors import BuildError, CompileError, DataError, ModelError

if TYPE_CHECKING:
    from chainrule.optim.optimizer import Optimizer
    from chainrule.train.files import DataSet
    from chainrule.train.history import History
    from chainrule.train.model import Model
    from chainrule.train.models import Training
    from chainrule.train.processes import Processes

KEPT = 10.0  # seconds of training between one time that --save writes and the next


def train(options: argparse.Namespace) -> int:
    """Where several processes train, by mpirun or by --coordinator, the first of them speaks and writes."""
    if options.resume and not options.save:
        raise ModelError("--resume goes on with the file of --save", fix="write --save FILE")
    begun = options.save if options.resume and options.save.exists() else None
    trained = begun or (options.model if is_saved(options.model) else None)
    read = _reading(options, trained, begun is not None)
    processes = _processes(options)
    if processes is None:
        return _trained(options, read, begun is not None, None)
    if not processes.first:
        options.quiet, options.json, options.tune = True, False, False
    with processes.failing():
        return _trained(options, read, begun is not None, processes)


def _processes(options: argparse.Namespace) -> Processes | None:
    """The processes that train together, this one among them, where there are others."""
    from chainrule.train.processes import connect
    from chainrule.train.ranks import Ranks, world

    met: tuple[Any, ...] = options.coordinator, options.processes, options.process
    if met != (None, None, None):
        if options.executor != "jax":
            raise ModelError("--coordinator is where processes of JAX meet", fix="write --executor jax, or use mpirun")
        return connect(*met)
    communicator = world()
    return None if communicator is None else Ranks(communicator)


def _trained(
    options: argparse.Namespace, read: Callable[[], tuple[DataSet, Model | None]], begun: bool,
    processes: Processes | None,
) -> int:
    from chainrule.train import run
    from chainrule.train.metrics import metric_named
    from chainrule.train.models import read_model_file

    for metric in options.metric:
        metric_named(metric)
    brought = not begun and is_onnx(options.model)
    file = read_model_file("mlp" if begun or brought or is_saved(options.model) else options.model)
    asked = run.Choices(**{name: getattr(options, name) for name in run.Choices.__dataclass_fields__})
    plan = run.merged(asked, file.training)
    run.optimizer_for(plan)
    for path in (options.save, options.report):
        if path:
            writable(path)
    whole, model = read()
    data = run.limited(whole.held_out(), options.limit, options.seed)
    plan, steps = run.scheduled(plan, len(data.x), asked)
    optimizer: Optimizer | None = run.optimizer_for(plan, steps)
    if model:
        given = any(getattr(options, name) is not None for name in ("optimizer", "rate", "momentum", "schedule"))
        optimizer = optimizer if given and not begun else None
    elif brought:
        model = _brought(options.model, data)
    else:
        model = run.model_for(file, data, seed=options.seed, standardise=options.standardise)
    say = _saying(options)
    say(str(whole))
    for remark in run.remarks(data, standardised=options.standardise is not False):
        say(f"note: {remark}")
    say(model.summary())
    if begun:
        say(_goes_on(model))
    history = _fitted(options, model, data, plan, optimizer, processes)
    if processes is None or processes.first:
        _written(options, model, data, str(whole), history)
    return 130 if history.interrupted else 0


def _goes_on(model: Model) -> str:
    """What --resume does, whatever the options beside it ask for."""
    state = model.training
    if state.unfinished:
        return f"note: goes on as it was begun, from step {state.steps:,} to epoch {state.goal}, by {state.optimizer}"
    return f"note: had ended after epoch {state.epochs}, so nothing is left to do; --model trains it further"


def _brought(path: str, data: DataSet) -> Model:
    """The network of an ONNX file, to learn what the data hold."""
    from chainrule.interop.onnx import from_onnx

    numbers = data.classes is None and data.y.dtype.kind == "f"
    model = from_onnx(path, loss="mean_squared_error" if numbers else "softmax_cross_entropy")
    model.classes, model.columns = tuple(data.classes or ()), data.columns
    return model


def _written(options: argparse.Namespace, model: Model, data: DataSet, whole: str, history: History) -> None:
    """What a run leaves: the model, how well it does, the report."""
    if options.save:
        model.save(options.save)
    if data.x_test is not None and data.y_test is not None:
        _say_result(options, model, data, history)
    if options.save:
        _saying(options)(f"saved to {options.save}")
    if options.report:
        _report(options, model, data, whole, history)
    if history.interrupted:
        kept = f"the same command with --resume goes on from {options.save}" if options.save else "nothing is saved"
        warn(f"interrupted in epoch {model.training.epochs + 1}; {kept}")


def _saying(options: argparse.Namespace) -> Callable[[str], None]:
    """What says a line where anything but the result is to be said."""
    return _nothing if options.quiet or options.json else say


def _nothing(text: str) -> None:
    """What is said where nothing is to be said."""


def _fitted(
    options: argparse.Namespace, model: Model, data: DataSet, plan: Training, optimizer: Optimizer | None,
    processes: Processes | None,
) -> History:
    """Train the model as planned, and keep it in the file of --save meanwhile."""
    from chainrule.train.callbacks import Callback, Checkpoint, CSVLogger, ReduceOnPlateau
    from chainrule.train.ranks import Ranks
    from chainrule.train.run import samples, targets

    x, y = samples(model, data.x, data.name), targets(model, data, data.y)
    if options.tune:
        try:
            say(str(model.tune(x, y, batch_size=plan.batch_size, optimizer=optimizer)))
        except (OSError, BuildError, CompileError) as error:
            warn(f"no tiles are measured: {error}")
    watching: list[Callback] = [ReduceOnPlateau()] if plan.schedule == "plateau" else []
    watching += [CSVLogger(options.history)] if options.history else []
    watching += [Checkpoint(options.save, seconds=KEPT, epochs=False)] if options.save else []
    history = model.fit(
        x, y, epochs=plan.epochs, batch_size=plan.batch_size, optimizer=optimizer, seed=options.seed,
        resume=options.resume, validation_split=plan.validation, patience=plan.patience,
        class_weight=options.class_weight, metrics=options.metric, verbose=not (options.quiet or options.json),
        callbacks=watching, executor=options.executor,
        communicator=processes.communicator if isinstance(processes, Ranks) else None,
    )
    if history.stopped and plan.patience:
        ended = model.training.epochs
        _saying(options)(
            f"ended after epoch {ended}: the {'validation ' if plan.validation else ''}loss has not fallen for "
            f"{plan.patience} epochs; the parameters of epoch {ended - plan.patience} are kept"
        )
    return history


def _report(options: argparse.Namespace, model: Model, data: DataSet, whole: str, history: History) -> None:
    """Write the page about a run."""
    from chainrule.report import report
    from chainrule.train.run import samples, targets

    held = (data.x, data.y) if data.x_test is None or data.y_test is None else (data.x_test, data.y_test)
    found = report(
        model, history, samples(model, held[0], data.name), targets(model, data, held[1]), metrics=options.metric,
        data=whole, command=options.line, lang=options.lang,
    )
    found.save(options.report)
    _saying(options)(f"the report is in {options.report}")


def _say_result(options: argparse.Namespace, model: Model, data: DataSet, history: History) -> None:
    """How well the model does on the part of the data that it has not seen."""
    from chainrule.train.run import samples, scores, targets

    assert data.x_test is not None and data.y_test is not None
    found: dict[str, float] = {}
    if options.json or options.metric:
        x, y = samples(model, data.x_test, data.name), targets(model, data, data.y_test)
        found = model.evaluate(x, y, metrics=options.metric)
    if options.json:
        run = {"interrupted": history.interrupted, "stopped": history.stopped, "history": history.epochs}
        say(json.dumps({"held_out": found, **run}))
        return
    more = [f"{name} {value:.4f}" for name, value in found.items() if name not in ("loss", "accuracy")]
    say("; ".join([f"held-out {scores(model, data, data.x_test, data.y_test, data.y)}", *more]))


def _reading(
    options: argparse.Namespace, trained: Path | str | None, begun: bool
) -> Callable[[], tuple[DataSet, Model | None]]:
    """Start to read data, and the model that is `trained` further, which knows the columns of its table, beside the
    imports and checks that come before they are needed. What is returned waits for both, and raises what reading
    raises; who does not ask is not held up."""
    from concurrent.futures import Future
    from threading import Thread

    found: Future[tuple[DataSet, Model | None]] = Future()

    def read() -> None:
        try:
            found.set_result(_read(options, trained, begun))
        except BaseException as error:
            found.set_exception(error)

    Thread(target=read, daemon=True).start()
    return found.result


def _read(options: argparse.Namespace, trained: Path | str | None, begun: bool) -> tuple[DataSet, Model | None]:
    """The data, and the model that was trained before. A run that was `begun` goes on with the same options."""
    from chainrule.train.checkpoint import load
    from chainrule.train.files import Form, read_data, read_labelled

    chosen = {"columns": options.columns, "drop": options.drop, "kind": options.kind}
    model = load(trained) if trained else None
    if model and model.columns and model.columns.features:
        given = [f"--{name}" for name, value in chosen.items() if value is not None]
        if given and not begun:
            raise ModelError(f"the model in {trained} knows its columns already", fix=f"leave out {', '.join(given)}")
        return read_labelled(options.data, model.columns, Form(**_how(options)), target=options.target), model
    chosen["drop"] = options.drop or ()
    return read_data(options.data, target=options.target, **chosen, **_how(options)), model


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """How the lines of a table are read."""
    missing: list[str] = options.missing or []
    return {
        "header": options.header,
        "separator": {"tab": "\t", "space": " "}.get(options.separator, options.separator),
        "decimal": options.decimal,
        "missing": "refuse" if missing == ["refuse"] else missing,
    }


def evaluate(options: argparse.Namespace) -> int:
    from chainrule.train.checkpoint import load
    from chainrule.train.files import Form, read_labelled
    from chainrule.train.run import scores

    model = load(options.model)
    data = read_labelled(options.data, model.columns, Form(**_how(options)), target=options.target)
    x, y = (data.x, data.y) if data.x_test is None or data.y_test is None else (data.x_test, data.y_test)
    say(scores(model, data, x, y, data.y))
    return 0


def predict(options: argparse.Namespace) -> int:
    from chainrule.train.checkpoint import load
    from chainrule.train.files import Form, read_samples
    from chainrule.train.run import as_csv, input_size, predictions, samples, write_npz

    path: Path | None = options.output
    suffix = ".csv" if path is None else path.suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise DataError(f"{path} ends in neither .csv nor .npz", fix="write -o answers.csv")
    if path is not None:
        writable(path)
    model = load(options.model)
    form = Form(**_how(options))
    x = read_samples(options.data, model.columns, input_size(model), form, target=options.target)
    output, numbers = predictions(model, samples(model, x, options.data))
    if path is None:
        put(as_csv(model, output, numbers))
    elif suffix == ".csv":
        write(path, as_csv(model, output, numbers))
    else:
        write_npz(path, model, output, numbers)
    return 0
