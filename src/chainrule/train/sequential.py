"""Models that are layers in a row."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from chainrule.errors import ModelError
from chainrule.nn.layer import Input, Layer, Node
from chainrule.nn.layers import ACTIVATIONS, LAYERS
from chainrule.nn.losses import Loss
from chainrule.options import written
from chainrule.train.model import Model


class Sequential(Model):
    """Layers in a row, as arguments or one list: Sequential(Input(64), Dense(32), Sigmoid(), Dense(10), loss=…).
    An activation may be given by its name, "sigmoid". The rest is as for `Model`."""

    def __init__(
        self,
        *layers: Input | Layer | str | Iterable[Input | Layer | str],
        loss: str | Loss | None = None,
        l2: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        items: list[Any] = []
        for layer in layers:
            if isinstance(layer, (Node, Layer, str)) or not isinstance(layer, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
                items.append(layer)
            else:
                items.extend(layer)
        if not items or not isinstance(items[0], Input):
            raise ModelError(
                "a Sequential starts with the shape of one sample",
                about=", ".join(map(str, items)) or "Sequential()",
                fix="put cr.Input(64) first",
            )
        if len(items) == 1:
            raise ModelError("a Sequential needs a layer after its Input", fix="add cr.Dense(10)")
        start: Input = items[0]
        node: Node = start
        for number, item in enumerate(items[1:], 2):
            if isinstance(item, str):
                item = _activation(item)()
            if isinstance(item, type) and issubclass(item, Layer):
                fix = f"call it: {written(item)}()"
                raise ModelError(f"{item.__name__} is a class", about=f"entry {number}", fix=fix)
            if not isinstance(item, Layer):
                raise ModelError(
                    f"entry {number} is no layer: {item!r}",
                    about="Sequential",
                    fix="give layers, as in cr.Dense(10); only the first entry is an Input",
                )
            node = item(node)
        super().__init__(start, node, loss=loss, l2=l2, seed=seed, dtype=dtype)


def _activation(name: str) -> type[Layer]:
    known = {layer.__name__.lower(): layer for layer in ACTIVATIONS.values()} | ACTIVATIONS
    if name.lower() in known:
        return known[name.lower()]
    if name.lower() in {layer.lower() for layer in LAYERS}:
        ours = next(layer for layer in LAYERS if layer.lower() == name.lower())
        raise ModelError(f"{ours} is not an activation", fix=f"write cr.{ours}(…)")
    if "=" in name:
        fix = f"equations are a layer's: class Mine(cr.Layer): equation = {name!r}"
        raise ModelError("a text between layers names an activation", about=name, fix=fix)
    near = get_close_matches(name.lower(), ACTIVATIONS, 1, 0.5)
    fix = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(ACTIVATIONS)}"
    raise ModelError(f"unknown activation {name!r}", fix=fix)
