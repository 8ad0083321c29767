"""Models in safetensors files: arrays, and as JSON in the metadata the architecture, where training stands, and a
digest of it all. Nothing is unpickled, and a file is replaced only by one that is written whole."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from chainrule.optim.named import Unknown, restored_optimizer, saved_optimizer
from chainrule.optim.optimizer import Optimizer
from chainrule.train.atomic import replaced
from chainrule.train.columns import Columns
from chainrule.train.history import History
from chainrule.train.model import Model, Path
from chainrule.train.state import Training, digest

KEY = "chainrule"  # the one entry of the metadata, so that the same model is the same bytes
VERSION = 4
TRAINING = "training/"  # begins the names of arrays that belong to the state of training
T = TypeVar("T")
_TYPES = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64")
_AGAIN = "save the model again"
_DAMAGED = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError, MemoryError)


def save(model: Model, path: Path) -> None:
    """Raises ModelError where an option of a layer cannot be written as JSON; OSError, as `open` does, with the path,
    where the file cannot be written."""
    data = to_bytes(model)
    with replaced(path) as file:
        file.write(data)


def to_bytes(model: Model) -> bytes:
    """The file's content. Raises ModelError where an option of a layer cannot be written as JSON."""
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
        "layers": [
            {"class": type(layer).__name__, "config": layer.config} | ({"label": layer.label} if layer.label else {})
            for layer in layers
        ],
        "graph": graph,
        "inputs": [nodes.index(node) for node in model.inputs],
        "loss": model.loss.saved if model.loss else None,
        "l2": model.l2,
        "dtype": str(model.dtype),
        "classes": list(model.classes),
        "columns": model.columns.saved() if model.columns else None,
        "rates": model.rates,
    }
    arrays = {name: np.asarray(array, order="C") for name, array in (*model.parameters.items(), *model.states.items())}
    if model.trained is not None:
        architecture["training"], more = _of_training(model.trained)
        arrays |= {TRAINING + name: np.asarray(array, order="C") for name, array in more.items()}
    try:
        text = json.dumps(architecture)
    except TypeError as error:
        raise ModelError(
            f"an option cannot be saved: {error}", fix="give layers, optimizers and callbacks numbers, texts and lists"
        ) from None
    return serialise(arrays, {KEY: json.dumps({**architecture, "digest": digest(text, arrays)})})


def from_bytes(data: bytes, custom: Mapping[str, type[Layer]], optimizer: Optimizer | None) -> Model:
    """A model out of `to_bytes`, with the classes of its author's own layers and the optimizer that it was trained
    with: a copy in this process or another."""
    from safetensors.numpy import load as deserialise  # pyright: ignore[reportUnknownVariableType]

    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    model = _build(json.loads(metadata[KEY]), deserialise(data), {**LAYERS, **custom})
    if optimizer is not None:
        model.training.optimizer = optimizer
    return model


def _of_training(state: Training) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Where training stands, as JSON and as arrays."""
    arrays = {f"kept/{name}": array for name, array in state.kept.items()}
    arrays |= {f"last/{name}": array for name, array in state.last.items()}
    arrays |= {f"seen/{place}": array for place, array in enumerate(state.seen)}
    memory: dict[str, dict[str, Any]] = {}
    for callback, remembered in state.memory.items():
        memory[callback] = {key: value for key, value in remembered.items() if not isinstance(value, dict)}
        for key in remembered.keys() - memory[callback].keys():
            arrays |= {f"memory/{callback}/{key}/{name}": array for name, array in remembered[key].items()}
    text = {name: getattr(state, name) for name in PLAIN}
    text |= {"optimizer": saved_optimizer(state.optimizer), "history": asdict(state.history), "memory": memory}
    return text, arrays


PLAIN: dict[str, type] = {
    "seed": int, "steps": int, "epochs": int, "done": int, "rows": str, "goal": int, "factor": float, "lanes": int,
    "shown": str,
}


def _training(saved: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], model: Model) -> Training:
    """Raises ModelError or one of `_DAMAGED` for what `_of_training` never wrote."""
    for name, kind in PLAIN.items():
        if type(saved[name]) is not kind or (kind is not str and not 0 <= saved[name] < 2**63):
            raise ValueError(f"{name} is {saved[name]!r}")
    history, remembered = saved["history"], saved["memory"]
    state = Training(restored_optimizer(saved["optimizer"]), **{name: saved[name] for name in PLAIN})
    state.history = History(
        [{str(name): float(value) for name, value in epoch.items()} for epoch in history["epochs"]],
        bool(history["interrupted"]), str(history["stopped"]), int(history["samples"]), int(history["batch_size"]),
    )
    state.memory = {str(callback): dict(values) for callback, values in remembered.items()}
    for name, array in arrays.items():
        match name.split("/"):
            case ["kept", *rest]:
                state.kept["/".join(rest)] = array
            case ["last", *rest]:
                state.last["/".join(rest)] = array
            case ["seen", _]:
                state.seen.append(array)
            case ["memory", callback, key, *rest]:
                state.memory[callback].setdefault(key, {})["/".join(rest)] = array
            case _:
                raise ValueError(f"an array is called {name}")
    shapes = {name: array.shape for name, array in model.values.arrays.items()}
    if state.last and {name: array.shape for name, array in state.last.items()} != shapes:
        raise ValueError("training goes on from other arrays")
    if not isinstance(state.optimizer, Unknown):
        start = state.optimizer.start(model.network.training.parameters, model.dtype)
        if {n: a.shape for n, a in start.items()} != {n: a.shape for n, a in state.kept.items()} and state.kept:
            raise ValueError("the optimizer keeps other arrays")
    return state


def load(path: Path, *, custom: Mapping[str, type[Layer]] | None = None) -> Model:
    """A saved model. `custom` gives the classes of one's own layers by name: load(path, custom={"Scale": Scale}).

    The file is not trusted: nothing is drawn or allocated beyond what it holds.

    Raises ModelError where the file is no model of ours or a class is missing, DataError where a value is not finite;
    FileNotFoundError as `open` does.
    """
    from safetensors import SafetensorError, safe_open

    name, opened = fspath(path), cast(Any, safe_open)
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0))) as plain:
        if not stat.S_ISREG(os.fstat(plain.fileno()).st_mode):
            raise ModelError(f"{name} is a pipe or a device, not a file", fix="copy what it gives into a file first")
    try:
        with opened(name, framework="numpy") as file:
            text = cast(dict[str, str], file.metadata() or {}).get(KEY)
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
        if architecture.pop("digest", None) != digest(json.dumps(architecture), arrays):
            raise ModelError("the file is damaged: its digest is that of another content", fix=_AGAIN)
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
        layers[-1].label = str(entry.get("label", ""))
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
    own = {name: array for name, array in arrays.items() if not name.startswith(TRAINING)}
    model = Model.restored(inputs, nodes[-1], own, loss=loss, l2=l2, dtype=dtype)
    if "training" in architecture:
        more = {name.removeprefix(TRAINING): array for name, array in arrays.items() if name not in own}
        model.trained = _training(architecture["training"], more, model)
    names: list[Any] = architecture.get("classes", [])
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a class is named by no text")
    model.classes = tuple(names)
    if architecture.get("columns") is not None:
        model.columns = Columns.restored(architecture["columns"])
    model.set_rates(architecture["rates"])
    return model
