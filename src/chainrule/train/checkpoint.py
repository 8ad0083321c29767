"""Models in safetensors files: arrays, and the architecture as JSON in the metadata. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import fspath
from typing import Any, cast

import numpy as np

from chainrule.errors import ModelError
from chainrule.nn.layer import Input, Layer, Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.network import order
from chainrule.train.model import Model, Path

KEY = "chainrule"
VERSION = 1


def save(model: Model, path: Path) -> None:
    """Raises ModelError where an option of a layer cannot be written as JSON."""
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

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
        "loss": model.loss.name if model.loss else None,
        "l2": model.l2,
        "dtype": str(model.dtype),
    }
    try:
        text = json.dumps(architecture)
    except TypeError as error:
        raise ModelError(
            f"an option of a layer cannot be saved: {error}", fix="give layers numbers, texts and lists"
        ) from None
    arrays = {**dict(model.parameters), **dict(model.states)}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, fspath(path), {KEY: text})


def load(path: Path, *, custom: Mapping[str, type[Layer]] | None = None) -> Model:
    """A saved model. `custom` gives the classes of one's own layers by name: load(path, custom={"Scale": Scale}).

    Raises ModelError where the file is no model of ours or a class is missing; FileNotFoundError as `open` does.
    """
    from safetensors import SafetensorError, safe_open

    name, opened = fspath(path), cast(Any, safe_open)
    with open(name, "rb"):
        pass
    try:
        with opened(name, framework="numpy") as file:
            text: str | None = cast(dict[str, str], file.metadata() or {}).get(KEY)
            arrays: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
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
            raise ModelError(f"{name} has the format {found}, not {VERSION}", fix="use the chainrule that wrote it")
        model = _build(architecture, {**LAYERS, **(custom or {})})
        known = {**dict(model.parameters), **dict(model.states)}
        if known.keys() != arrays.keys():
            odd = sorted(known.keys() ^ arrays.keys())
            raise ModelError(
                f"the arrays in {name} do not fit its architecture: {', '.join(odd)}",
                fix="give the layer's class as it was when the model was saved",
            )
        for target in (model.parameters, model.states):
            for key in target:
                target[key] = arrays[key]
    except (KeyError, IndexError, TypeError, json.JSONDecodeError, AttributeError) as error:
        raise ModelError(f"the architecture in {name} is damaged: {error!r}", fix="save the model again") from None
    return model


def _build(architecture: Mapping[str, Any], classes: Mapping[str, type[Layer]]) -> Model:
    layers: list[Layer] = []
    for entry in architecture["layers"]:
        if entry["class"] not in classes:
            name = entry["class"]
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
            parents: list[int] = entry["parents"]
            which: int = entry["layer"]
            nodes.append(layers[which](*[nodes[place] for place in parents]))
    places: list[int] = architecture["inputs"]
    chosen: list[Node] = [nodes[place] for place in places]
    inputs = [node for node in chosen if isinstance(node, Input)]
    return Model(inputs, nodes[-1], loss=architecture["loss"], l2=architecture["l2"], dtype=architecture["dtype"])
