"""The command line: `chainrule train`, `evaluate`, `predict`, `summary`, `derive`, `verify`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chainrule.errors import BuildError, ChainruleError, CompileError, VerificationError, printable

if TYPE_CHECKING:
    from chainrule.derivation import Derivation
    from chainrule.train.files import DataSet
    from chainrule.train.model import Model
    from chainrule.verify.certificate import Certificate

FORMATS = ("text", "markdown", "latex", "html", "pdf")
_SUFFIXES = {
    ".txt": "text", ".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".html": "html", ".htm": "html",
    ".pdf": "pdf",
}
OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = ("constant", "step", "cosine", "one-cycle")
TRAINED = ".safetensors"

EXAMPLES = """examples:
  chainrule train digits
  chainrule train digits --epochs 20 --rate 0.2 --save digits.safetensors
  chainrule evaluate digits.safetensors digits
  chainrule summary lenet
  chainrule derive mlp
  chainrule derive neuron --lang zh -o neuron.md
  chainrule derive "u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]" --wrt W
  chainrule verify mlp
"""
TRAIN_EXAMPLES = """examples:
  chainrule train digits
  chainrule train digits --epochs 20 --batch-size 64 --seed 1
  chainrule train digits --save digits.safetensors
  chainrule train fashion-mnist --model lenet
  chainrule train iris.csv --target species --standardise --optimizer adam
  chainrule train folder-of-idx-files --model network.toml --schedule cosine --warm-up 100
"""
EVALUATE_EXAMPLES = """examples:
  chainrule evaluate digits.safetensors digits
  chainrule evaluate iris.safetensors more.csv --target species
"""
PREDICT_EXAMPLES = """examples:
  chainrule predict digits.safetensors digits
  chainrule predict iris.safetensors new.csv -o answers.csv
"""
SUMMARY_EXAMPLES = """examples:
  chainrule summary lenet
  chainrule summary network.toml
  chainrule summary digits.safetensors
"""
DERIVE_EXAMPLES = """examples:
  chainrule derive neuron
  chainrule derive mlp -o mlp.html
  chainrule derive lenet --lang zh -o lenet.pdf
  chainrule derive mlp --detail full -o mlp.tex
  chainrule derive neuron --exercise --lang zh -o sheet.pdf
  chainrule derive neuron --example input=[1,2,0,1,1] --example dense1.W=[[2,-1,1,0,1]]
  chainrule derive "z[n, k] = sigmoid(u[n, k])" --wrt u
  chainrule derive "y[n, i<4] = max[p<2](x[n, 2*i + p])" --wrt x --format markdown --lang zh
  chainrule derive "u[n, k] = sum[l](W[k, l] * x[n, l]); z[n, k] = tanh(u[n, k])" --wrt W
"""
VERIFY_EXAMPLES = """examples:
  chainrule verify mlp
  chainrule verify digits.safetensors -o certificate.json
  chainrule verify "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))" --full
"""
DATA = (
    "digits, iris, wine, breast-cancer, diabetes, fashion-mnist; a table .csv, .tsv or .data, gzipped or not, a file "
    ".npz, a folder with MNIST's IDX files, or one IDX file of images beside its labels"
)
BUILT_IN = "neuron, mlp, seed, lenet, vgg-small, resnet-tiny, transformer-tiny"


class _Parser(argparse.ArgumentParser):
    """One sentence on standard error and exit code 2."""

    def error(self, message: str) -> NoReturn:
        from chainrule.ir.source import shorten

        self.exit(2, f"{self.prog}: {shorten(printable(message), 300)} (see {self.prog} --help)\n")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number that is not negative")
    return int(text)


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _columns(text: str) -> list[str]:
    """Names of columns with commas between; one with a comma in it stands in quotes."""
    import csv

    return [name.strip() for name in next(csv.reader([text]), list[str]())]


def parser() -> argparse.ArgumentParser:
    from chainrule import __version__

    top = _Parser(
        prog="chainrule",
        description="Back-propagation you can read, trust and ship.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, description: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _train_options(
        command(
            "train",
            "train a model on a data set and print its accuracy on held-out data",
            "Train with the gradients that chainrule derives. Where the data have no test part, a fifth is held out.",
            TRAIN_EXAMPLES,
        )
    )
    _used_options(
        command(
            "evaluate",
            "print the loss and the accuracy of a saved model",
            "Evaluate a saved model on the test part of a data set, or on all of it where it has none.",
            EVALUATE_EXAMPLES,
        )
    )
    predict = command(
        "predict",
        "write what a saved model says about data",
        "Predict for the test part of a data set, or for all of it where it has none. A CSV file may leave out the "
        "target.",
        PREDICT_EXAMPLES,
    )
    _used_options(predict)
    predict.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="a file .csv or .npz; default: CSV on standard output"
    )
    command(
        "summary", "print a model's layers, shapes and parameters", "Print a model, layer by layer.", SUMMARY_EXAMPLES
    ).add_argument("what", metavar="FILE|NAME", help=f"a file .toml or {TRAINED}, or {BUILT_IN}")
    _derive_options(
        command(
            "derive",
            "derive the back-propagation of a model or of equations",
            "Derive back-propagation, line by line.",
            DERIVE_EXAMPLES,
        )
    )
    _verify_options(
        command(
            "verify",
            "check every line of a derivation as an exact identity",
            "Check every line of a derivation at random points of the field GF(2^61 - 1), and print the certificate. "
            "Exit code 0 where every line holds, 1 where one does not.",
            VERIFY_EXAMPLES,
        )
    )
    return top


def _train_options(train: argparse.ArgumentParser) -> None:
    train.add_argument("data", metavar="DATA", help=DATA)
    train.add_argument(
        "--model",
        default="mlp",
        metavar="FILE|NAME",
        help=f"a file .toml, or {BUILT_IN}; default: mlp, one hidden layer of 32 sigmoids and softmax cross-entropy",
    )
    train.add_argument(
        "--target",
        metavar="COL",
        help="the column of a table to learn, by name or number from 1; default: target, class or label, or the last",
    )
    train.add_argument(
        "--columns", metavar="COL,…", type=_columns, action="extend", help="the columns that are inputs; default: all"
    )
    train.add_argument("--drop", metavar="COL,…", type=_columns, action="extend", help="columns that are no inputs")
    train.add_argument(
        "--kind", choices=["classes", "numbers"], help="what the target holds, where whole numbers may be either"
    )
    _table_options(train)
    own = "default: what the model's file says"
    train.add_argument("--epochs", type=_positive, help=f"{own}, or 10")
    train.add_argument("--batch-size", type=_positive, help=f"{own}, or 32")
    train.add_argument("--optimizer", choices=OPTIMIZERS, help=f"{own}, or sgd")
    train.add_argument("--rate", type=_rate, help=f"learning rate; {own}, or the optimizer's")
    train.add_argument("--momentum", type=_rate, help=f"of sgd, nesterov, rmsprop; {own}, or the optimizer's")
    train.add_argument("--schedule", choices=SCHEDULES, help=f"of the rate over the whole run; {own}, or constant")
    train.add_argument(
        "--warm-up", type=_positive, metavar="STEPS", help="steps in which the rate rises from 0; default: none"
    )
    train.add_argument(
        "--standardise",
        action=argparse.BooleanOptionalAction,
        help="to mean 0 and deviation 1, for each column or channel, and a column of numbers to learn; the model keeps "
        "both; default: for tables",
    )
    train.add_argument("--limit", type=_positive, metavar="N", help="train on N samples only")
    train.add_argument("--seed", type=_seed, default=0, help="of the initial values and the order, default %(default)s")
    train.add_argument("--tune", action="store_true", help="first measure which loops are quickest here, and keep that")
    train.add_argument("--save", type=Path, metavar="FILE", help="write the trained model, as in digits.safetensors")


def _used_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar=f"MODEL{TRAINED}", help="a model that train --save wrote")
    command.add_argument("data", metavar="DATA", help=DATA)
    command.add_argument("--target", metavar="COL", help="the column of a table that holds the target")
    _table_options(command)


def _table_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether a table's first line holds names; default: as what stands below it says",
    )
    command.add_argument(
        "--separator", metavar="CHAR", help="what stands between the cells of a table, as in ';' or tab; default: seen"
    )
    command.add_argument(
        "--missing",
        metavar="TEXT",
        action="append",
        help="a text that stands for what is missing, besides NA, ?, null and the like; or refuse, to take none",
    )


def _derive_options(derive: argparse.ArgumentParser) -> None:
    derive.add_argument(
        "what",
        metavar="FILE|NAME|EQUATION",
        help="neuron: 5 inputs, 1 sigmoid output; mlp: a sigmoid network of two layers; both with half the squared "
        "error; another built-in model; a file .toml; or equations with semicolons between, derived from a given "
        "gradient of what the last one defines",
    )
    derive.add_argument(
        "--wrt", metavar="NAME", action="append", help="of equations: a tensor to differentiate by (may be repeated)"
    )
    derive.add_argument("--format", choices=FORMATS, help="default: by the suffix of the output file, else text")
    derive.add_argument("--lang", choices=["en", "zh"], default="en")
    derive.add_argument("--verify", action="store_true", help="check every line first; the last section says how")
    derive.add_argument("--detail", choices=["brief", "standard", "full"], default="standard")
    derive.add_argument(
        "--example",
        metavar="NAME=NUMBERS",
        action="append",
        default=[],
        help="own numbers for the worked example, as in input=[1,2] or dense1.W=[[2,-1],[-1,1]]; a fraction is written "
        '"1/2" in quotes (may be repeated; what is left out gets small whole numbers)',
    )
    derive.add_argument("--exercise", action="store_true", help="leave blanks, and end with a solution sheet")
    derive.add_argument("-o", "--output", type=Path, metavar="FILE", help="a file .html, .pdf, .tex, .md or .txt")


def _verify_options(verify: argparse.ArgumentParser) -> None:
    verify.add_argument(
        "what", metavar="FILE|NAME|EQUATION", help=f"as for derive, or a file {TRAINED} that a model was saved in"
    )
    verify.add_argument("--wrt", metavar="NAME", action="append", help="of equations: a tensor to differentiate by")
    verify.add_argument(
        "--samples", type=_positive, default=2, help="samples of the whole gradient, default %(default)s"
    )
    verify.add_argument("--seed", type=_seed, default=0, help="of the random points, default %(default)s")
    verify.add_argument("--full", action="store_true", help="one row for each line, not for each lemma")
    verify.add_argument("--floats", action="store_true", help="measure the error in float32 and float64 too")
    verify.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the certificate as JSON")


def digits_model(seed: int = 0) -> Model:
    """The network that `train digits` trains: 64-32-10, sigmoid, softmax cross-entropy."""
    from chainrule.train.models import read_model

    return read_model("mlp", seed=seed)


def _train(options: argparse.Namespace) -> int:
    read = _reading(options)
    from chainrule.train.models import read_model_file
    from chainrule.train.run import (
        Choices,
        limited,
        merged,
        model_for,
        optimizer_for,
        remarks,
        samples,
        scheduled,
        scores,
        targets,
    )

    file = read_model_file(options.model)
    plan = merged(Choices(**{name: getattr(options, name) for name in Choices.__dataclass_fields__}), file.training)
    optimizer_for(plan)
    if options.save:
        _writable(options.save)
    whole = read()
    data = limited(whole.held_out(), options.limit, options.seed)
    plan = scheduled(plan, len(data.x))
    optimizer = optimizer_for(plan, plan.epochs * -(-len(data.x) // plan.batch_size))
    model = model_for(file, data, seed=options.seed, standardise=options.standardise)
    _say(str(whole))
    for remark in remarks(data, standardised=options.standardise is not False):
        _say(f"note: {remark}")
    _say(model.summary())
    x, y = samples(model, data.x, data.name), targets(model, data, data.y)
    if options.tune:
        try:
            _say(str(model.tune(x, y, batch_size=plan.batch_size, optimizer=optimizer)))
        except (OSError, BuildError, CompileError) as error:
            print(f"no tiles are measured: {error}", file=sys.stderr)
    history = model.fit(x, y, epochs=plan.epochs, batch_size=plan.batch_size, optimizer=optimizer, seed=options.seed)
    if options.save:
        model.save(options.save)
    if data.x_test is not None and data.y_test is not None:
        _say(f"held-out {scores(model, data, data.x_test, data.y_test, data.y)}")
    if options.save:
        _say(f"saved to {options.save}")
    return 130 if history.interrupted else 0


def _reading(options: argparse.Namespace) -> Callable[[], DataSet]:
    """Start to read data beside the imports and checks that come before they are needed. What is returned waits for
    them, and raises what reading raises; who does not ask is not held up."""
    from concurrent.futures import Future
    from threading import Thread

    from chainrule.train.files import read_data

    found: Future[DataSet] = Future()
    chosen = {"columns": options.columns, "drop": options.drop or (), "target": options.target, "kind": options.kind}

    def read() -> None:
        try:
            found.set_result(read_data(options.data, **chosen, **_how(options)))
        except BaseException as error:
            found.set_exception(error)

    Thread(target=read, daemon=True).start()
    return found.result


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """How the lines of a table are read."""
    missing: list[str] = options.missing or []
    return {
        "header": options.header,
        "separator": {"tab": "\t", "space": " "}.get(options.separator, options.separator),
        "missing": "refuse" if missing == ["refuse"] else missing,
    }


def _evaluate(options: argparse.Namespace) -> int:
    from chainrule.train.checkpoint import load
    from chainrule.train.files import read_labelled
    from chainrule.train.run import scores

    model = load(options.model)
    data = read_labelled(options.data, model.columns, target=options.target, **_how(options))
    x, y = (data.x, data.y) if data.x_test is None or data.y_test is None else (data.x_test, data.y_test)
    _say(scores(model, data, x, y, data.y))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from chainrule.errors import DataError
    from chainrule.train.checkpoint import load
    from chainrule.train.files import read_samples
    from chainrule.train.run import as_csv, input_size, predictions, samples, write_npz

    path: Path | None = options.output
    suffix = ".csv" if path is None else path.suffix.lower()
    if suffix not in (".csv", ".npz"):
        raise DataError(f"{path} ends in neither .csv nor .npz", fix="write -o answers.csv")
    if path is not None:
        _writable(path)
    model = load(options.model)
    x = read_samples(options.data, model.columns, input_size(model), target=options.target, **_how(options))
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
    print(printable(text))


def _put(text: str) -> None:
    """A document or a table on standard output; on a terminal what could steer it is shown instead."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)


def _summary(options: argparse.Namespace) -> int:
    _say(_model(options.what).summary())
    return 0


def _model(what: str) -> Model:
    """A saved model, one of a TOML file, or a built-in one."""
    from chainrule.train.checkpoint import load
    from chainrule.train.models import read_model

    return load(what) if what.lower().endswith(TRAINED) else read_model(what)


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
    """The model that `what` names, where it names one."""
    from chainrule.errors import DerivationError
    from chainrule.train.models import is_model_file

    if not is_model_file(what) and not what.lower().endswith(TRAINED):
        return None
    if wrt:
        raise DerivationError("--wrt is for an equation", fix=f"leave it out: {what} is derived by all parameters")
    # The textbook's network ends with a sigmoid and half the squared error, the one that is trained with a softmax.
    return _model("mlp-textbook" if what == "mlp" else what)


def _derivation(what: str, wrt: Sequence[str] | None) -> Derivation:
    from chainrule.errors import EquationError

    if model := _derived_model(what, wrt):
        return model.derive()
    if "=" not in what:
        raise EquationError(
            f"{what[:60]!r} is neither a model nor an equation",
            fix=f'write {BUILT_IN}, a file .toml, or an equation such as "z[n, k] = sigmoid(u[n, k])"',
        )
    from chainrule.derivation import derive

    return derive(what, wrt=wrt)


def _derive(options: argparse.Namespace) -> int:
    path: Path | None = options.output
    format_: str | None = options.format
    if path is not None:
        _writable(path)
        if format_ is None:
            format_ = _SUFFIXES.get(path.suffix.lower())
            if format_ is None:
                known = ".html, .pdf, .tex, .md or .txt"
                print(
                    f"chainrule derive: the suffix of {path} names no format; use {known}, or give --format",
                    file=sys.stderr,
                )
                return 2
    elif format_ == "pdf":
        print("chainrule derive: a PDF goes into a file; add -o document.pdf", file=sys.stderr)
        return 2
    if model := _derived_model(options.what, options.wrt):
        derivation, certificate = model.derive(), model.verify() if options.verify else None
    else:
        derivation = _derivation(options.what, options.wrt)
        certificate = _certified(derivation) if options.verify else None
    choices: dict[str, Any] = {"lang": options.lang, "detail": options.detail, "certificate": certificate}
    choices |= {"example": _example(options.example), "exercise": options.exercise}
    if format_ == "pdf":
        assert path is not None
        _write(path, derivation.to_pdf(**choices))
        return 0
    writers = {"markdown": derivation.to_markdown, "latex": derivation.to_latex, "html": derivation.to_html}
    text = writers.get(format_ or "text", derivation.to_text)(**choices)
    text = text if text.endswith("\n") else text + "\n"
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


def _certified(derivation: Derivation) -> Certificate:
    from chainrule.verify.certificate import certify

    return certify(derivation)


def _verify(options: argparse.Namespace) -> int:
    from chainrule.verify.certificate import certify

    path: Path | None = options.output
    if path is not None:
        _writable(path)
    choices = {"samples": options.samples, "seed": options.seed, "floats": options.floats}
    if model := _derived_model(options.what, options.wrt):
        certificate = model.verify(**choices)
    else:
        certificate = certify(_derivation(options.what, options.wrt), **choices)
    _put(certificate.to_text(full=options.full))
    if path is not None:
        _write(path, certificate.to_json() + "\n")
    return 0


def _sentence(error: ChainruleError) -> str:
    """The error on one line."""
    about = "" if error.about is None else " in " + " ".join(str(error.about).split())
    fix = f"; {error.fix}" if error.fix else ""
    return printable(" ".join(f"{error.problem}{about}{fix}".split()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 for a line that is false, 2 for bad input (with one sentence), 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    options = parser().parse_args(arguments)
    command = f"chainrule {options.command}"
    try:
        actions = {
            "train": _train,
            "evaluate": _evaluate,
            "predict": _predict,
            "summary": _summary,
            "derive": _derive,
            "verify": _verify,
        }
        code = actions[options.command](options)
        sys.stdout.flush()
        return code
    except ChainruleError as error:
        print(f"{command}: {_sentence(error)}", file=sys.stderr)
        return 1 if isinstance(error, VerificationError) else 2
    except BrokenPipeError:
        # The reader (head, less) has gone; what is left in the buffer must not raise once more at exit.
        sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 0
    except OSError as error:
        text = f"{command}: {error.filename or 'standard output'}: {error.strerror or error}"
        print(printable(text), file=sys.stderr)
        if error.filename is None:
            sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
