"""The command line: `chainrule train`, `chainrule derive`, `chainrule verify`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    from chainrule.derivation import Derivation
    from chainrule.train.model import Model

FORMATS = ("text", "markdown", "latex")
_SUFFIXES = {".txt": "text", ".md": "markdown", ".markdown": "markdown", ".tex": "latex"}
MODELS = ("neuron", "mlp")

EXAMPLES = """examples:
  chainrule train digits
  chainrule train digits --epochs 20 --rate 0.2 --save digits.safetensors
  chainrule derive mlp
  chainrule derive neuron --lang zh -o neuron.md
  chainrule derive "u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]" --wrt W
  chainrule verify mlp
"""
TRAIN_EXAMPLES = """examples:
  chainrule train digits
  chainrule train digits --epochs 20 --batch-size 64 --seed 1
  chainrule train digits --save digits.safetensors
"""
DERIVE_EXAMPLES = """examples:
  chainrule derive neuron
  chainrule derive mlp --detail full -o mlp.tex
  chainrule derive "z[n, k] = sigmoid(u[n, k])" --wrt u
  chainrule derive "y[n, i<4] = max[p<2](x[n, 2*i + p])" --wrt x --format markdown --lang zh
"""
VERIFY_EXAMPLES = """examples:
  chainrule verify mlp
  chainrule verify digits.safetensors -o certificate.json
  chainrule verify "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))" --full
"""


class _Parser(argparse.ArgumentParser):
    """One sentence on standard error and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number that is not negative")
    return int(text)


def parser() -> argparse.ArgumentParser:
    from chainrule import __version__

    shape = argparse.RawDescriptionHelpFormatter
    top = _Parser(
        prog="chainrule",
        description="Back-propagation you can read, trust and ship.",
        epilog=EXAMPLES,
        formatter_class=shape,
    )
    top.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser(
        "train",
        help="train a model on a data set and print its accuracy on held-out data",
        epilog=TRAIN_EXAMPLES,
        formatter_class=shape,
        description="Train with the gradients that chainrule derives.",
    )
    train.add_argument(
        "data", choices=["digits"], help="digits: 1,797 handwritten digits of 8x8 pixels, 20 %% held out"
    )
    train.add_argument("--model", choices=["mlp"], default="mlp", help="mlp: 64-32-10, sigmoid, softmax cross-entropy")
    train.add_argument("--epochs", type=_positive, default=EPOCHS, help="default %(default)s")
    train.add_argument("--batch-size", type=_positive, default=BATCH, help="default %(default)s")
    train.add_argument("--rate", type=float, default=RATE, help="learning rate, default %(default)s")
    train.add_argument("--momentum", type=float, default=MOMENTUM, help="default %(default)s")
    train.add_argument("--seed", type=_seed, default=0, help="of the initial values and the order, default %(default)s")
    train.add_argument("--save", type=Path, metavar="FILE", help="write the trained model, as in digits.safetensors")

    derive = commands.add_parser(
        "derive",
        help="derive the back-propagation of a model or of one equation",
        epilog=DERIVE_EXAMPLES,
        formatter_class=shape,
        description="Derive back-propagation, line by line.",
    )
    derive.add_argument(
        "what",
        metavar="neuron|mlp|EQUATION",
        help="neuron: 5 inputs, 1 sigmoid output; mlp: a sigmoid network of two layers; both with half the squared "
        "error; or one equation, derived from a given gradient of its left side",
    )
    derive.add_argument(
        "--wrt", metavar="NAME", action="append", help="the tensor to differentiate by (may be repeated)"
    )
    derive.add_argument("--format", choices=FORMATS, help="default: by the suffix of the output file, else text")
    derive.add_argument("--lang", choices=["en", "zh"], default="en")
    derive.add_argument("--detail", choices=["brief", "standard", "full"], default="standard")
    derive.add_argument("-o", "--output", type=Path, metavar="FILE", help="a file .txt, .md or .tex")

    verify = commands.add_parser(
        "verify",
        help="check every line of a derivation as an exact identity",
        epilog=VERIFY_EXAMPLES,
        formatter_class=shape,
        description="Check every line of a derivation at random points of the field GF(2^61 - 1), and print the "
        "certificate. Exit code 0 where every line holds, 1 where one does not.",
    )
    verify.add_argument(
        "what", metavar="neuron|mlp|MODEL|EQUATION", help="as for derive, or a file that a model was saved in"
    )
    verify.add_argument("--wrt", metavar="NAME", action="append", help="of an equation: the tensor to differentiate by")
    verify.add_argument(
        "--samples", type=_positive, default=2, help="samples of the whole gradient, default %(default)s"
    )
    verify.add_argument("--seed", type=_seed, default=0, help="of the random points, default %(default)s")
    verify.add_argument("--full", action="store_true", help="one row for each line, not for each lemma")
    verify.add_argument("--floats", action="store_true", help="measure the error in float32 and float64 too")
    verify.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the certificate as JSON")
    return top


# Chosen by five-fold cross-validation over four fifths of the digits.
EPOCHS, BATCH, RATE, MOMENTUM = 30, 64, 1.0, 0.9


def digits_model(seed: int = 0) -> Model:
    """The network that `train digits` trains: 64-32-10, sigmoid, softmax cross-entropy."""
    from chainrule.nn.layer import Input
    from chainrule.nn.layers import Dense, Sigmoid
    from chainrule.train.model import Sequential

    return Sequential(Input(64), Dense(32), Sigmoid(), Dense(10), loss="softmax_cross_entropy", seed=seed)


def example_model(name: str) -> Model:
    """The networks that `derive` knows: `neuron` is 5 -> 1, `mlp` 64 -> 32 -> 10; sigmoid, half the squared error."""
    from chainrule.nn.layer import Input
    from chainrule.nn.layers import Dense, Sigmoid
    from chainrule.train.model import Sequential

    if name == "neuron":
        return Sequential(Input(5), Dense(1), Sigmoid(), loss="half_squared_error")
    return Sequential(Input(64), Dense(32), Sigmoid(), Dense(10), Sigmoid(), loss="half_squared_error")


def _train(options: argparse.Namespace) -> int:
    from chainrule.optim.sgd import SGD
    from chainrule.train.data import digits

    optimizer = SGD(options.rate, momentum=options.momentum)
    if options.save:
        _writable(options.save)
    x, y, x_test, y_test = digits()
    model = digits_model(options.seed)
    print(model.summary())
    history = model.fit(
        x, y, epochs=options.epochs, batch_size=options.batch_size, optimizer=optimizer, seed=options.seed
    )
    result = model.evaluate(x_test, y_test)
    right = round(result["accuracy"] * len(y_test))
    print(f"held-out accuracy {result['accuracy']:.2%} ({right} of {len(y_test)}), loss {result['loss']:.4f}")
    if options.save:
        model.save(options.save)
        print(f"saved to {options.save}")
    return 130 if history.interrupted else 0


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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # a full disk is reported without its path
        raise OSError(error.errno, error.strerror, str(path)) from None


def _derivation(what: str, wrt: Sequence[str] | None) -> Derivation:
    from chainrule.errors import DerivationError, EquationError

    if what in MODELS:
        if wrt:
            raise DerivationError("--wrt is for an equation", fix=f"leave it out: {what} is derived by all parameters")
        return example_model(what).derive()
    if "=" not in what:
        raise EquationError(
            f"{what[:60]!r} is neither a model nor an equation",
            fix='write neuron, mlp, or an equation such as "z[n, k] = sigmoid(u[n, k])"',
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
                print(
                    f"chainrule derive: the suffix of {path} names no format; use .txt, .md or .tex, or give --format",
                    file=sys.stderr,
                )
                return 2
    derivation = _derivation(options.what, options.wrt)
    if format_ == "markdown":
        text = derivation.to_markdown(lang=options.lang, detail=options.detail)
    elif format_ == "latex":
        text = derivation.to_latex(lang=options.lang, detail=options.detail)
    else:
        text = derivation.to_text(lang=options.lang, detail=options.detail)
    text = text if text.endswith("\n") else text + "\n"
    if path is None:
        sys.stdout.write(text)
    else:
        _write(path, text)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from chainrule.errors import VerificationError
    from chainrule.verify.certificate import certify

    path: Path | None = options.output
    if path is not None:
        _writable(path)
    try:
        if options.wrt is None and (options.what in MODELS or Path(options.what).is_file()):
            from chainrule.train.checkpoint import load

            model = example_model(options.what) if options.what in MODELS else load(options.what)
            certificate = model.verify(samples=options.samples, seed=options.seed, floats=options.floats)
        else:
            derivation = _derivation(options.what, options.wrt)
            certificate = certify(derivation, samples=options.samples, seed=options.seed, floats=options.floats)
    except VerificationError as error:
        print(f"chainrule verify: {_sentence(error)}", file=sys.stderr)
        return 1
    sys.stdout.write(certificate.to_text(full=options.full))
    if path is not None:
        _write(path, certificate.to_json() + "\n")
    return 0


def _sentence(error: ChainruleError) -> str:
    """The error on one line."""
    about = "" if error.about is None else " in " + " ".join(str(error.about).split())
    fix = f"; {error.fix}" if error.fix else ""
    return " ".join(f"{error.problem}{about}{fix}".split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 2 for bad input (with one sentence), 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    options = parser().parse_args(arguments)
    command = f"chainrule {options.command}"
    try:
        code = {"train": _train, "derive": _derive, "verify": _verify}[options.command](options)
        sys.stdout.flush()
        return code
    except ChainruleError as error:
        print(f"{command}: {_sentence(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, less) has gone; what is left in the buffer must not raise once more at exit.
        sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 0
    except OSError as error:
        print(f"{command}: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        if error.filename is None:
            sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
