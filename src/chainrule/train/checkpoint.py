"""Models in safetensors files: arrays, and the architecture as JSON in the metadata. Nothing is unpickled."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from os import fspath
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ChainruleError, DataError, ModelError
from chainrule.ir.source import shorten
from chainrule.nn.layer import Input, Layer, Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import loss_saved
from chainrule.nn.network import order
from chainrule.train.columns import Columns
from chainrule.train.model import Model, Path

KEY = "chainrule"
VERSION = 1
T = TypeVar("T")
_TYPES = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64")
_AGAIN = "save the model again"
_DAMAGED = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError, MemoryError)


def save(model: Model, path: Path) -> None:
    """Raises ModelError where an option of a layer cannot be written as JSON; OSError, as `open` does, with the path,
    where the file cannot be written."""
    from safetensors.numpy import save as serialise  # pyright: ignore[reportUnknownVariableType]

    nodes = order(model.output)
    layers = [layer for _, layer in model.network.layers]
    graph: list[dict[str, Any]] = []
    for node in nodes:
        if isinstance(node, Input):
            graph.append({"input": list(node.shape[1:]), "dtype": node.dtype})
        elif node.layer is not None:
            graph.append({"layer": layers.index(node.layer), "parents": [nodes.index(p) for p in node.parents]})
    architecture = {
        "version": VERSION,
        "layers": [{"class": type(layer).__name__, "config": layer.config} for layer in layers],
        "graph": graph,
        "inputs": [nodes.index(node) for node in model.inputs],
        "loss": model.loss.saved if model.loss else None,
        "l2": model.l2,
        "dtype": str(model.dtype),
        "classes": list(model.classes),
        "columns": model.columns.saved() if model.columns else None,
    }
    try:
        text = json.dumps(architecture)
    except TypeError as error:
        raise ModelError(
            f"an option of a layer cannot be saved: {error}", fix="give layers numbers, texts and lists"
        ) from None
    arrays = {**dict(model.parameters), **dict(model.states)}
    data = serialise({name: np.asarray(array, order="C") for name, array in arrays.items()}, {KEY: text})
    target = fspath(path)
    try:
        with open(target, "wb") as file:
            file.write(data)
    except OSError as error:  # a full disk is reported without its path
        raise OSError(error.errno, error.strerror, target) from None
    except ValueError as error:  # a null byte
        raise OSError(errno.EINVAL, str(error), target) from None


def load(path: Path, *, custom: Mapping[str, type[Layer]] | None = None) -> Model:
    """A saved model. `custom` gives the classes of one's own layers by name: load(path, custom={"Scale": Scale}).

    The file is not trusted: nothing is drawn or allocated beyond what it holds.

    Raises ModelError where the file is no model of ours or a class is missing, DataError where a value is not finite;
    FileNotFoundError as `open` does.
    """
    from safetensors import SafetensorError, safe_open

    name, opened = fspath(path), cast(Any, safe_open)
    with open(name, "rb"):
        pass
    try:
        with opened(name, framework="numpy") as file:
            text: str | None = cast(dict[str, str], file.metadata() or {}).get(KEY)
            arrays = {key: _read(file, key, name) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ModelError(f"{name} is no safetensors file: {error}", fix="load a file that model.save wrote") from None
    if text is None:
        raise ModelError(
            f"{name} holds arrays, but no architecture of chainrule", fix="load a file that model.save wrote"
        )
    try:
        architecture = json.loads(text)
        if architecture["version"] != VERSION:
            found = architecture["version"]
            raise ModelError(f"{name} has the format {found!r}, not {VERSION}", fix="use the chainrule that wrote it")
        return _build(architecture, arrays, {**LAYERS, **(custom or {})})
    except (ModelError, DataError) as error:
        raise type(error)(error.problem, about=name if error.about is None else error.about, fix=error.fix) from None
    except ChainruleError as error:
        raise ModelError(f"the layers make no model: {error.problem}", about=name, fix=_AGAIN) from None
    except _DAMAGED as error:
        what = type(error).__name__ if isinstance(error, RecursionError) else shorten(ascii(error))
        raise ModelError(f"the architecture in {name} is damaged: {what}", fix=_AGAIN) from None


def _read(file: Any, key: str, name: str) -> NDArray[Any]:
    kind = file.get_slice(key).get_dtype()
    if kind not in _TYPES:
        raise ModelError(
            f"the array {shorten(ascii(key))} in {name} has the type {kind}, which is none of NumPy's real numbers",
            fix="save it as float32 or float64",
        )
    return file.get_tensor(key)


def _place(value: Any, among: Sequence[T]) -> T:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(among):
        raise IndexError(f"{value!r} is no place among {len(among)}")
    return among[value]


def _build(
    architecture: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], classes: Mapping[str, type[Layer]]
) -> Model:
    layers: list[Layer] = []
    for entry in architecture["layers"]:
        if entry["class"] not in classes:
            name = shorten(ascii(entry["class"])[1:-1], 60)
            raise ModelError(
                f"the model has a layer {name!r} of its author's own", fix=f'load(path, custom={{"{name}": {name}}})'
            )
        layers.append(classes[entry["class"]](**entry["config"]))
    nodes: list[Node] = []
    for entry in architecture["graph"]:
        if "input" in entry:
            shape: list[int] = entry["input"]
            nodes.append(Input(*shape, dtype=entry["dtype"]))
        else:
            parents: list[Any] = entry["parents"]
            nodes.append(_place(entry["layer"], layers)(*[_place(parent, nodes) for parent in parents]))
    places: list[Any] = architecture["inputs"]
    chosen = [_place(place, nodes) for place in places]
    inputs = [node for node in chosen if isinstance(node, Input)]
    reached = order(nodes[-1])
    if len(inputs) < len(chosen) or len(reached) < len(nodes) or {n.layer for n in reached} - {None} != set(layers):
        raise ValueError("an input is no Input, or a layer does not reach the output")
    loss, l2, dtype = loss_saved(architecture["loss"]), architecture["l2"], architecture["dtype"]
    model = Model.restored(inputs, nodes[-1], arrays, loss=loss, l2=l2, dtype=dtype)
    names: list[Any] = architecture.get("classes", [])
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a class is named by no text")
    model.classes = tuple(names)
    if architecture.get("columns") is not None:
        model.columns = Columns.restored(architecture["columns"])
    return model
