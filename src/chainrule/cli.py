"""The command line: `chainrule train`, `evaluate`, `predict`, `summary`, `derive`, `verify`, `export`."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.arguments import BUILT_IN, TRAINED, fitted, parsed
from chainrule.errors import (
    BuildError,
    ChainruleError,
    CompileError,
    DivergenceError,
    ModelError,
    VerificationError,
    printable,
)

if TYPE_CHECKING:
    from chainrule.derivation import Derivation
    from chainrule.optim.optimizer import Optimizer
    from chainrule.train.files import DataSet
    from chainrule.train.history import History
    from chainrule.train.model import Model
    from chainrule.train.models import Training
    from chainrule.train.processes import Processes

KEPT = 10.0  # seconds of training between one time that --save writes and the next
_SUFFIXES = {
    ".txt": "text", ".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".html": "html", ".htm": "html",
    ".pdf": "pdf",
}


def digits_model(seed: int = 0) -> Model:
    """The network that `train digits` trains: 64-32-10, sigmoid, softmax cross-entropy."""
    from chainrule.train.models import read_model

    return read_model("mlp", seed=seed)


def _train(options: argparse.Namespace) -> int:
    """Where several processes train, by mpirun or by --coordinator, the first of them speaks and writes."""
    if options.resume and not options.save:
        raise ModelError("--resume goes on with the file of --save", fix="write --save FILE")
    begun = options.save if options.resume and options.save.exists() else None
    trained = begun or (options.model if _is_saved(options.model) else None)
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
    brought = not begun and _is_onnx(options.model)
    file = read_model_file("mlp" if begun or brought or _is_saved(options.model) else options.model)
    asked = run.Choices(**{name: getattr(options, name) for name in run.Choices.__dataclass_fields__})
    plan = run.merged(asked, file.training)
    run.optimizer_for(plan)
    for path in (options.save, options.report):
        if path:
            _writable(path)
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
    history = _fitted(options, model, data, plan, optimizer, processes)
    if processes is None or processes.first:
        _written(options, model, data, str(whole), history)
    return 130 if history.interrupted else 0


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
        _warn(f"interrupted in epoch {model.training.epochs + 1}; {kept}")


def _saying(options: argparse.Namespace) -> Callable[[str], None]:
    """What says a line where anything but the result is to be said."""
    return _nothing if options.quiet or options.json else _say


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
            _say(str(model.tune(x, y, batch_size=plan.batch_size, optimizer=optimizer)))
        except (OSError, BuildError, CompileError) as error:
            _warn(f"no tiles are measured: {error}")
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


def _nothing(text: str) -> None:
    """What is said where nothing is to be said."""


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
        _say(json.dumps({"held_out": found, **run}))
        return
    more = [f"{name} {value:.4f}" for name, value in found.items() if name not in ("loss", "accuracy")]
    _say("; ".join([f"held-out {scores(model, data, data.x_test, data.y_test, data.y)}", *more]))


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


def _evaluate(options: argparse.Namespace) -> int:
    from chainrule.train.checkpoint import load
    from chainrule.train.files import Form, read_labelled
    from chainrule.train.run import scores

    model = load(options.model)
    data = read_labelled(options.data, model.columns, Form(**_how(options)), target=options.target)
    x, y = (data.x, data.y) if data.x_test is None or data.y_test is None else (data.x_test, data.y_test)
    _say(scores(model, data, x, y, data.y))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from chainrule.errors import DataError
    from chainrule.train.checkpoint import load
    from chainrule.train.files import Form, read_samples
    from chainrule.train.run import as_csv, input_size, predictions, samples, write_npz

    path: Path | None = options.output
    suffix = ".csv" if path is None else path.suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise DataError(f"{path} ends in neither .csv nor .npz", fix="write -o answers.csv")
    if path is not None:
        _writable(path)
    model = load(options.model)
    form = Form(**_how(options))
    x = read_samples(options.data, model.columns, input_size(model), form, target=options.target)
    output, numbers = predictions(model, samples(model, x, options.data))
    if path is None:
        _put(as_csv(model, output, numbers))
    elif suffix == ".csv":
        _write(path, as_csv(model, output, numbers))
    else:
        write_npz(path, model, output, numbers)
    return 0


def _say(text: str) -> None:
    """A line for people, on standard output."""
    print(fitted(printable(text), sys.stdout))


def _warn(text: str) -> None:
    """A line for people, on standard error."""
    print(fitted(printable(text), sys.stderr), file=sys.stderr)


def _note(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning, as the line for people that it is; where in the program it was raised says nothing to them."""
    _warn(f"note: {message}")


def _put(text: str) -> None:
    """A document or a table on standard output; on a terminal what could steer it is shown instead."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)


def _summary(options: argparse.Namespace) -> int:
    _say(_model(options.what).summary())
    return 0


def _model(what: str) -> Model:
    """A saved model, an ONNX file, one of a TOML file, or a built-in one."""
    from chainrule.train.checkpoint import load
    from chainrule.train.models import read_model

    if _is_onnx(what):
        from chainrule.interop.onnx import from_onnx

        return from_onnx(what)
    return load(what) if _is_saved(what) else read_model(what)


def _is_onnx(what: str) -> bool:
    return what.lower().endswith(".onnx")


def _brought(path: str, data: DataSet) -> Model:
    """The network of an ONNX file, to learn what the data hold."""
    from chainrule.interop.onnx import from_onnx

    numbers = data.classes is None and data.y.dtype.kind == "f"
    model = from_onnx(path, loss="mean_squared_error" if numbers else "softmax_cross_entropy")
    model.classes, model.columns = tuple(data.classes or ()), data.columns
    return model


def _is_saved(what: str) -> bool:
    """Whether a file holds a saved model, as its name says or how it begins: the length of a header, and the header."""
    if what.lower().endswith(TRAINED):
        return True
    try:
        path = Path(what)
        with path.open("rb") if path.is_file() else io.BytesIO() as file:
            head = file.read(9)
            return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    except (OSError, ValueError):
        return False


def _writable(path: Path) -> None:
    """Refuse a path that cannot be written before the work is done."""
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(path.parent))
    if path.exists() and not path.is_file():  # a device or a pipe: opening it could wait, or act
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "cannot be written", str(path))
        return
    new = not path.exists()
    with path.open("ab"):  # what permissions say is not all: file systems refuse too
        pass
    if new:
        path.unlink()


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:  # a full disk is reported without its path
        raise OSError(error.errno, error.strerror, str(path)) from None


def _derived_model(what: str, wrt: Sequence[str] | None) -> Model | None:
    """The model that `what` names, where it names one, or one layer or loss."""
    from chainrule.errors import DerivationError
    from chainrule.train.alone import alone
    from chainrule.train.models import is_model_file

    known = is_model_file(what) or _is_onnx(what) or _is_saved(what)
    single = None if known else alone(what)
    if single is None and not known:
        return None
    if wrt:
        raise DerivationError("--wrt is for an equation", fix=f"leave it out: {what} is derived by all parameters")
    if single is not None:
        return single
    # The textbook's network ends with a sigmoid and half the squared error, the one that is trained with a softmax.
    return _model("mlp-textbook" if what == "mlp" else what)


def _derivation(what: str, wrt: Sequence[str] | None) -> Derivation:
    from chainrule.errors import EquationError
    from chainrule.train.alone import equation_of, near

    if model := _derived_model(what, wrt):
        return model.derive()
    text = equation_of(what) or what
    if "=" not in text:
        raise EquationError(
            f"{what[:60]!r} is neither a model nor a layer, a loss, a function or an equation",
            fix=f'{near(what)}write {BUILT_IN}, a file .toml, a layer such as BatchNorm, or an equation such as '
            '"z[n, k] = sigmoid(u[n, k])"',
        )
    from chainrule.derivation import derive

    return derive(text, wrt=wrt)


def _derive(options: argparse.Namespace) -> int:
    if options.library:
        return _module(options)
    path: Path | None = options.output
    answers: Path | None = options.answers
    if (answers or options.level) and not options.exercise:
        _warn("chainrule derive: --level and --answers belong to an exercise; add --exercise")
        return 2
    if answers is not None and path is None:
        _warn("chainrule derive: with --answers the exercise goes into a file too; add -o exercise.pdf")
        return 2
    formats = {file: _format_of(file, options.format) for file in (path, answers) if file is not None}
    unknown = [str(file) for file, format_ in formats.items() if format_ is None]
    if unknown:
        known = ".html, .pdf, .tex, .md or .txt"
        _warn(f"chainrule derive: the suffix of {unknown[0]} names no format; use {known}, or give --format")
        return 2
    if path is None and options.format == "pdf":
        _warn("chainrule derive: a PDF goes into a file; add -o document.pdf")
        return 2
    checked = options.verify or options.prove
    if model := _derived_model(options.what, options.wrt):
        derivation, certificate = model.derive(), model.verify(prove=options.prove) if checked else None
    else:
        derivation = _derivation(options.what, options.wrt)
        certificate = derivation.verify(prove=options.prove) if checked else None
    choices: dict[str, Any] = {"lang": options.lang, "detail": options.detail, "certificate": certificate}
    choices |= {"example": _example(options.example), "exercise": options.exercise, "level": options.level or 2}
    choices["name"] = None if "=" in options.what else Path(options.what).stem
    format_ = options.format if path is None else formats[path]
    _print_document(derivation, path, format_, choices | ({"answers": "without"} if answers else {}))
    if answers is not None:
        _print_document(derivation, answers, formats[answers], choices | {"answers": "alone"})
    return 0


def _format_of(path: Path, chosen: str | None) -> str | None:
    """The format chosen, or that of the file's suffix."""
    _writable(path)
    return chosen or _SUFFIXES.get(path.suffix.lower())


def _print_document(derivation: Derivation, path: Path | None, format_: str | None, choices: dict[str, Any]) -> None:
    """A document into a file, or as text that is printed."""
    if format_ == "pdf":
        assert path is not None
        _write(path, derivation.to_pdf(**choices))
        return
    writers = {"markdown": derivation.to_markdown, "latex": derivation.to_latex, "html": derivation.to_html}
    text = writers.get(format_ or "text", derivation.to_text)(**choices)
    text = text if text.endswith("\n") else text + "\n"
    if path is None:
        _put(text)
    else:
        _write(path, text)


def _module(options: argparse.Namespace) -> int:
    """A derivation as a Python file for an array library."""
    path: Path | None = options.output
    if path is not None:
        _writable(path)
    derivation = _derivation(options.what, options.wrt)
    writers = {"numpy": derivation.to_numpy, "jax": derivation.to_jax, "torch": derivation.to_torch}
    text = writers[options.library]()
    if path is None:
        _put(text)
    else:
        _write(path, text)
    return 0


def _example(texts: Sequence[str]) -> dict[str, Any]:
    """Numbers by name, from NAME=NUMBERS."""
    import json

    from chainrule.errors import DerivationError

    numbers: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        try:
            numbers[name.strip()] = json.loads(values, parse_constant=lambda word: word)
        except (ValueError, RecursionError):
            equals = ""
        if not equals:
            raise DerivationError(f"--example {text[:60]!r} is no NAME=NUMBERS", fix="write --example input=[1,2]")
    return numbers


def _verify(options: argparse.Namespace) -> int:
    path: Path | None = options.output
    for file in (path, options.keep):
        if file is not None:
            _writable(file)
    choices = {"samples": options.samples, "seed": options.seed, "floats": options.floats}
    choices |= {"prove": options.prove, "keep": options.keep}
    if model := _derived_model(options.what, options.wrt):
        certificate = model.verify(**choices)
    else:
        certificate = _derivation(options.what, options.wrt).verify(**choices)
    _put(certificate.to_text(full=options.full))
    if path is not None:
        _write(path, certificate.to_json() + "\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    path: Path = options.output
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".py"):
        raise ModelError(f"the suffix of {path} names no format", fix="write -o model.onnx, or model.py for PyTorch")
    if suffix == ".py" and (options.training or options.optimizer):
        raise ModelError("a module of PyTorch is trained by PyTorch", fix="leave out --training and --optimizer")
    _writable(path)
    model = _model(options.what)
    if suffix == ".py":
        model.to_torch(path)
    else:
        model.to_onnx(path, training=options.training, optimizer=options.optimizer)
    return 0


def _sentence(error: ChainruleError) -> str:
    """The error on one line."""
    about = "" if error.about is None else " in " + " ".join(str(error.about).split())
    fix = f"; {error.fix}" if error.fix else ""
    return " ".join(f"{error.problem}{about}{fix}".split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 for a line that is false or a run that diverges, 2 for bad input (with one
    sentence), 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    options = parsed(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _note
        return _carried_out(options)


def _carried_out(options: argparse.Namespace) -> int:
    """The exit code of a command, whose errors are said."""
    command = f"chainrule {options.command}"
    try:
        actions = {
            "train": _train,
            "evaluate": _evaluate,
            "predict": _predict,
            "summary": _summary,
            "derive": _derive,
            "verify": _verify,
            "export": _export,
        }
        code = actions[options.command](options)
        sys.stdout.flush()
        return code
    except ChainruleError as error:
        _warn(f"{command}: {_sentence(error)}")
        return 1 if isinstance(error, (VerificationError, DivergenceError)) else 2
    except BrokenPipeError:
        # The reader (head, less) has gone; what is left in the buffer must not raise once more at exit.
        sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 0
    except OSError as error:
        _warn(f"{command}: {error.filename or 'standard output'}: {error.strerror or error}")
        if error.filename is None:
            sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
