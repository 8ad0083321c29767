"""`derive` and `verify`: documents, exercises, modules and certificates of derivations."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.arguments import BUILT_IN
from chainrule.commands.models import is_onnx, is_saved, model_named
from chainrule.commands.output import put, warn, writable, write
from chainrule.errors import DerivationError, EquationError

if TYPE_CHECKING:
    from chainrule.derivation import Derivation
    from chainrule.train.model import Model

_SUFFIXES = {
    ".txt": "text", ".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".html": "html", ".htm": "html",
    ".pdf": "pdf",
}


def _derived_model(what: str, wrt: Sequence[str] | None) -> Model | None:
    """The model that `what` names, where it names one, or one layer or loss."""
    from chainrule.train.alone import alone
    from chainrule.train.models import is_model_file

    known = is_model_file(what) or is_onnx(what) or is_saved(what)
    single = None if known else alone(what)
    if single is None and not known:
        return None
    if wrt:
        raise DerivationError("--wrt is for an equation", fix=f"leave it out: {what} is derived by all parameters")
    if single is not None:
        return single
    # The textbook's network ends with a sigmoid and half the squared error, the one that is trained with a softmax.
    return model_named("mlp-textbook" if what == "mlp" else what)


def _derivation(what: str, wrt: Sequence[str] | None) -> Derivation:
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


def derive(options: argparse.Namespace) -> int:
    if options.library:
        return _module(options)
    path: Path | None = options.output
    answers: Path | None = options.answers
    if (answers or options.level) and not options.exercise:
        warn("chainrule derive: --level and --answers belong to an exercise; add --exercise")
        return 2
    if answers is not None and path is None:
        warn("chainrule derive: with --answers the exercise goes into a file too; add -o exercise.pdf")
        return 2
    formats = {file: _format_of(file, options.format) for file in (path, answers) if file is not None}
    unknown = [str(file) for file, format_ in formats.items() if format_ is None]
    if unknown:
        known = ".html, .pdf, .tex, .md or .txt"
        warn(f"chainrule derive: the suffix of {unknown[0]} names no format; use {known}, or give --format")
        return 2
    if path is None and options.format == "pdf":
        warn("chainrule derive: a PDF goes into a file; add -o document.pdf")
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
    writable(path)
    return chosen or _SUFFIXES.get(path.suffix.lower())


def _print_document(derivation: Derivation, path: Path | None, format_: str | None, choices: dict[str, Any]) -> None:
    """A document into a file, or as text that is printed."""
    if format_ == "pdf":
        assert path is not None
        write(path, derivation.to_pdf(**choices))
        return
    writers = {"markdown": derivation.to_markdown, "latex": derivation.to_latex, "html": derivation.to_html}
    text = writers.get(format_ or "text", derivation.to_text)(**choices)
    text = text if text.endswith("\n") else text + "\n"
    if path is None:
        put(text)
    else:
        write(path, text)


def _module(options: argparse.Namespace) -> int:
    """A derivation as a Python file for an array library."""
    path: Path | None = options.output
    if path is not None:
        writable(path)
    derivation = _derivation(options.what, options.wrt)
    writers = {"numpy": derivation.to_numpy, "jax": derivation.to_jax, "torch": derivation.to_torch}
    text = writers[options.library]()
    if path is None:
        put(text)
    else:
        write(path, text)
    return 0


def _example(texts: Sequence[str]) -> dict[str, Any]:
    """Numbers by name, from NAME=NUMBERS."""
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


def verify(options: argparse.Namespace) -> int:
    path: Path | None = options.output
    for file in (path, options.keep):
        if file is not None:
            writable(file)
    choices = {"samples": options.samples, "seed": options.seed, "floats": options.floats}
    choices |= {"prove": options.prove, "keep": options.keep}
    if model := _derived_model(options.what, options.wrt):
        certificate = model.verify(**choices, optimizer=options.optimizer)
    elif options.optimizer:
        raise DerivationError("equations have no parameters to step", fix="give a model, or leave out --optimizer")
    else:
        certificate = _derivation(options.what, options.wrt).verify(**choices)
    put(certificate.to_text(full=options.full))
    if path is not None:
        write(path, certificate.to_json() + "\n")
    return 0
