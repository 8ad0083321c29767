"""The models that commands name, what they hold, and as what they leave: `summary`, `export`."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.arguments import TRAINED
from chainrule.commands.output import say, writable
from chainrule.errors import ModelError

if TYPE_CHECKING:
    from chainrule.train.model import Model


def model_named(what: str) -> Model:
    """A saved model, an ONNX file, one of a TOML file, or a built-in one."""
    from chainrule.train.checkpoint import load
    from chainrule.train.models import read_model

    if is_onnx(what):
        from chainrule.interop.onnx import from_onnx

        return from_onnx(what)
    return load(what) if is_saved(what) else read_model(what)


def is_onnx(what: str) -> bool:
    return what.lower().endswith(".onnx")


def is_saved(what: str) -> bool:
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


def summary(options: argparse.Namespace) -> int:
    say(model_named(options.what).summary())
    return 0


def export(options: argparse.Namespace) -> int:
    path: Path = options.output
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".py"):
        raise ModelError(f"the suffix of {path} names no format", fix="write -o model.onnx, or model.py for PyTorch")
    if suffix == ".py" and (options.training or options.optimizer):
        raise ModelError("a module of PyTorch is trained by PyTorch", fix="leave out --training and --optimizer")
    writable(path)
    model = model_named(options.what)
    if suffix == ".py":
        model.to_torch(path)
    else:
        model.to_onnx(path, training=options.training, optimizer=options.optimizer)
    return 0
