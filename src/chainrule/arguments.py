"""The words of the command line: its commands, their options and examples."""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import NoReturn, TextIO

from chainrule.errors import printable
from chainrule.ir.source import shorten

FORMATS = ("text", "markdown", "latex", "html", "pdf")
LIBRARIES = ("numpy", "jax", "torch")
OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = ("constant", "step", "cosine", "one-cycle", "plateau")
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
  chainrule train iris.csv --save iris.safetensors
  chainrule train flats.csv --target rent --drop address,id
  chainrule train digits --executor jax --coordinator 10.0.0.1:4321 --processes 2 --process 0
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
  chainrule derive BatchNorm -o batchnorm.html
  chainrule derive softmax_cross_entropy
  chainrule derive mlp --detail full -o mlp.tex
  chainrule derive neuron --exercise --lang zh -o sheet.pdf
  chainrule derive neuron --example input=[1,2,0,1,1] --example dense1.W=[[2,-1,1,0,1]]
  chainrule derive "z[n, k] = sigmoid(u[n, k])" --wrt u
  chainrule derive "y[n, i<4] = max[p<2](x[n, 2*i + p])" --wrt x --format markdown --lang zh
  chainrule derive "u[n, k] = sum[l](W[k, l] * x[n, l]); z[n, k] = tanh(u[n, k])" --wrt W
  chainrule derive "y[n, k] = x[n, k] * sigmoid(x[n, k])" --as torch -o silu.py
"""
VERIFY_EXAMPLES = """examples:
  chainrule verify mlp
  chainrule verify digits.safetensors -o certificate.json
  chainrule verify mlp --prove --keep proof.v
  chainrule verify "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))" --full
"""
EXPORT_EXAMPLES = """examples:
  chainrule export digits.safetensors -o digits.onnx
  chainrule export lenet -o step.onnx --training --optimizer adam
  chainrule export digits.safetensors -o digits.py
"""
DATA = (
    "digits, iris, wine, breast-cancer, diabetes, fashion-mnist; a table .csv, .tsv or .data, packed (.gz, .bz2, .xz, "
    ".zip) or not, or .parquet; a file .npz; a folder with MNIST's IDX files; one IDX file of images beside its labels"
)
BUILT_IN = "neuron, mlp, seed, lenet, vgg-small, resnet-tiny, transformer-tiny"


def fitted(text: str, stream: TextIO) -> str:
    """The text with lines that are broken between words, where it goes to a terminal that is narrower than they."""
    if not stream.isatty():
        return text
    width = get_terminal_size().columns
    lines = (
        line if len(line) <= width
        else fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join(lines)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Fits all to the terminal but the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text.rstrip() + "\n" if text.startswith("examples:") else fill(text, width) + "\n"


class _Parser(argparse.ArgumentParser):
    """One sentence on standard error and exit code 2."""

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: {shorten(printable(message), 300)} (see {self.prog} --help)"
        self.exit(2, fitted(text, sys.stderr) + "\n")


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
    return [name.strip() for name in next(csv.reader([text]), list[str]())]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command and its options. Exits with one sentence, and the help that has more, where they are wrong."""
    top, commands = _parsers()
    options, rest = top.parse_known_args(arguments)
    options.line = shlex.join(["chainrule", *(sys.argv[1:] if arguments is None else arguments)])
    if rest:
        of = commands[options.command]
        known = [text for action in of._actions for text in action.option_strings]  # pyright: ignore[reportPrivateUsage]
        near = get_close_matches(rest[0].split("=")[0], known, 1, 0.6)
        of.error(f"unknown {shorten(rest[0], 60)!r}" + (f": did you mean {near[0]}?" if near else ""))
    return options


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    from chainrule import __version__

    top = _Parser(
        prog="chainrule",
        description="Back-propagation you can read, trust and ship.",
        epilog=EXAMPLES,
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, description: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help,
            description=description,
            epilog=examples,
            formatter_class=_Help,
        )

    _train_options(
        command(
            "train",
            "train a model on a data set and print its accuracy on held-out data",
            "Train with the gradients that chainrule derives. Where the data have no test part, a fifth is held out. "
            "Without --epochs, mlp holds out a tenth of the rest besides, which says when to stop.",
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
    ).add_argument("what", metavar="FILE|NAME", help=f"a file .toml, .onnx or {TRAINED}, or {BUILT_IN}")
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
    _export_options(
        command(
            "export",
            "write a model as a file for other programs",
            "Write a model as ONNX, of standard operators and for any number of samples: its prediction, or a step of "
            "its training, which runtimes run that cannot train; or as a module of PyTorch, its weights beside it.",
            EXPORT_EXAMPLES,
        )
    )
    return top, commands.choices


def _train_options(train: argparse.ArgumentParser) -> None:
    train.add_argument("data", metavar="DATA", help=DATA)
    train.add_argument(
        "--model",
        default="mlp",
        metavar="FILE|NAME",
        help=f"a file .toml or .onnx, a file {TRAINED} to train further, or {BUILT_IN}; default: mlp, one hidden layer "
        "of 32 sigmoids, for classes or numbers",
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
    train.add_argument("--schedule", choices=SCHEDULES, help=f"of the rate over the run; {own}, or constant")
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
    train.add_argument(
        "--executor", choices=["native", "numpy", "jax"], help="what runs the steps; default: native code, or NumPy"
    )
    train.add_argument(
        "--coordinator", metavar="HOST:PORT",
        help="where processes of JAX meet that train together, on the machine of process 0",
    )
    train.add_argument("--processes", type=_positive, metavar="N", help="how many they are")
    train.add_argument("--process", type=_seed, metavar="K", help="which of them this is, from 0")
    train.add_argument("--tune", action="store_true", help="first measure which loops are quickest here, and keep that")
    train.add_argument("--save", type=Path, metavar="FILE", help="write the trained model, as in digits.safetensors")
    train.add_argument(
        "--resume", action="store_true", help="finish the run that the file of --save holds; where there is none, begin"
    )
    train.add_argument(
        "--validation", type=_rate, metavar="SHARE", help="hold out so much of what is trained on, as in 0.1"
    )
    train.add_argument(
        "--patience", type=_positive, metavar="EPOCHS",
        help="end when the loss (held out, with --validation) has not fallen for so long, with the best parameters",
    )
    train.add_argument("--class-weight", choices=["balanced"], help="let each class count as much")
    train.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="told besides: f1, auc, top3_accuracy, r2, …"
    )
    train.add_argument("--history", type=Path, metavar="FILE.csv", help="write a line for each epoch")
    train.add_argument("--report", type=Path, metavar="FILE.html", help="write a page about the run and what is wrong")
    train.add_argument("--lang", choices=["en", "zh"], default="en", help="of the report")
    train.add_argument("--quiet", action="store_true", help="say nothing but the result")
    train.add_argument("--json", action="store_true", help="say the result as JSON, and nothing else")


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
        "--decimal", choices=[".", ","], metavar="SIGN", help="what begins a table's decimals: . or , by default seen"
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
        "error; another built-in model; a file .toml or .onnx; one layer, loss or function by its name; or equations "
        "with semicolons between, derived from a given gradient of what the last one defines",
    )
    derive.add_argument(
        "--wrt", metavar="NAME", action="append", help="of equations: a tensor to differentiate by (may be repeated)"
    )
    derive.add_argument("--format", choices=FORMATS, help="default: by the suffix of the output file, else text")
    derive.add_argument(
        "--as", dest="library", choices=LIBRARIES,
        help="no document, but a Python file that computes it: forward, this backward pass, and a test of both",
    )
    derive.add_argument("--lang", choices=["en", "zh"], default="en")
    derive.add_argument("--verify", action="store_true", help="check every line first; the last section says how")
    derive.add_argument("--prove", action="store_true", help="check, and have Coq prove what it can, as verify does")
    derive.add_argument("--detail", choices=["brief", "standard", "full"], default="standard")
    derive.add_argument(
        "--example",
        metavar="NAME=NUMBERS",
        action="append",
        default=[],
        help="own numbers for the worked example, as in input=[1,2] or dense1.W=[[2,-1],[-1,1]]; a fraction is written "
        '"1/2" in quotes (may be repeated; what is left out gets small whole numbers)',
    )
    derive.add_argument(
        "--exercise", action="store_true", help="leave blanks and ask questions; the solution sheet follows at the end"
    )
    derive.add_argument(
        "--level", type=int, choices=[1, 2, 3],
        help="of the exercise: 1 gives the lemmas, asks for the backward pass and the numbers; 2 asks for the lemmas "
        "too and gives their reasons as hints, 3 gives none; default 2",
    )
    derive.add_argument(
        "--answers", type=Path, metavar="FILE", help="the solution sheet of the exercise goes into a file of its own"
    )
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
    verify.add_argument("--optimizer", choices=OPTIMIZERS, help="check its step too, for all parameters of a model")
    verify.add_argument(
        "--prove", action="store_true", help="have Coq prove every line of every lemma for all values (apt install coq)"
    )
    verify.add_argument("--keep", type=Path, metavar="FILE.v", help="prove, and write what Coq accepted")
    verify.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the certificate as JSON")


def _export_options(export: argparse.ArgumentParser) -> None:
    export.add_argument("what", metavar="FILE|NAME", help=f"a file {TRAINED}, a file .toml, or {BUILT_IN}")
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", required=True, help="a file .onnx, or .py for PyTorch"
    )
    export.add_argument(
        "--training", action="store_true",
        help="a step of training, from a batch and what is kept to the loss and the next values of what is kept",
    )
    export.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="of --training; default: the one it was trained with, or sgd"
    )
