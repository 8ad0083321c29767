"""Models from TOML files, and the built-in ones, which are such files in `chainrule/models`.

input = [1, 28, 28]                 # the shape of one sample
classes = 10                        # what units = "classes" stands for
loss = "softmax_cross_entropy"      # or a table [loss] with name and its options

[[layers]]
type = "Conv2d"                     # a layer with its options, or an activation: type = "relu"
filters = 6
kernel_size = 5
name = "a"                          # where a later layer says from = "a", or from = ["a", "b"]

[training]                          # what `chainrule train` does unless told otherwise
epochs = 5
"""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_type_hints

from chainrule.errors import ChainruleError, ModelError
from chainrule.ir.source import shorten
from chainrule.nn.layer import Input, Layer, Node
from chainrule.nn.layers import ACTIVATIONS, LAYERS
from chainrule.nn.losses import Loss, loss_named
from chainrule.nn.standardise import Standardise
from chainrule.optim.named import OPTIMIZERS
from chainrule.train.model import Model

BUILT_IN = ("neuron", "mlp", "mlp-textbook", "seed", "lenet", "vgg-small", "resnet-tiny", "transformer-tiny")
SCHEDULES = ("constant", "step", "cosine", "one-cycle", "plateau")
CLASSES = "classes"
LARGEST = 1 << 20  # bytes of a file: more is no model that somebody wrote
DOTS = 200  # in one line of it

_TOP = ("input", "input_dtype", "classes", "loss", "l2", "layers", "training")


@dataclass(frozen=True)
class Training:
    """How `chainrule train` trains a model, unless told otherwise; None where nothing is said. There are `epochs`, and
    more of them where the data are so few that they do not make `steps`. The share `validation` of the samples is held
    out, and after `patience` epochs in which their loss has not fallen the best parameters are kept."""

    epochs: int = 10
    steps: int = 1
    batch_size: int = 32
    optimizer: str = "sgd"
    rate: float | None = None
    momentum: float | None = None
    schedule: str = "constant"
    warm_up: int = 0
    validation: float | None = None
    patience: int | None = None


@dataclass(frozen=True)
class ModelFile:
    """A model as a file describes it, checked; `build` makes it. `name` is that of the file or the built-in model."""

    name: str
    layers: tuple[Mapping[str, Any], ...]
    input: tuple[int, ...] | None = None
    input_dtype: Literal["real", "integer"] = "real"
    classes: int | None = None
    loss: Loss | None = None
    l2: float = 0.0
    training: Training = field(default_factory=Training)

    def build(
        self,
        *,
        input: Sequence[int] | None = None,
        classes: int | None = None,
        seed: int = 0,
        standardise: bool = False,
    ) -> Model:
        """The model, its input and number of classes those of the file unless given. `standardise` puts a Standardise
        layer after the input. Raises ModelError naming the file and the layer, ShapeError where shapes do not fit."""
        shape = self.input if input is None else tuple(input)
        if shape is None:
            raise ModelError(
                f"{self.name} does not say the shape of its input", fix="write input = [1, 28, 28] on top of the file"
            )
        classes = self.classes if classes is None else classes
        start = Input(*shape, dtype=self.input_dtype)
        nodes: dict[str, Node] = {"input": start}
        if standardise:
            if self.input_dtype == "integer":
                raise ModelError(f"the input of {self.name} is whole numbers", fix="leave --standardise out")
            nodes["input"] = Standardise()(start)
        node, uses = nodes["input"], dict[Node, str]()
        for number, entry in enumerate(self.layers, 1):
            where = _where(self.name, number, entry)
            parents = _parents(entry, nodes, node, where)
            try:
                node = _layer(entry, classes, where)(*parents)
            except ModelError as error:
                raise _placed(error, where) from None
            for parent in parents:
                uses.pop(parent, None)
            uses[node] = where
            if "name" in entry:
                nodes[entry["name"]] = node
        lost = [where for unused, where in uses.items() if unused is not node]
        if lost:
            raise ModelError(
                "the output does not depend on this layer", about=lost[0], fix="name it in a later layer's from"
            )
        try:
            return Model(start, node, loss=self.loss, l2=self.l2, seed=seed)
        except ChainruleError as error:
            raise _placed(error, self.name) from None


def read_model(
    path_or_name: str | PathLike[str],
    *,
    input: Sequence[int] | None = None,
    classes: int | None = None,
    seed: int = 0,
) -> Model:
    """A model from a TOML file, or a built-in one by its name: neuron, mlp, mlp-textbook, seed, lenet, vgg-small,
    resnet-tiny, transformer-tiny. `input`, the shape of one sample, and `classes` go before those that the file gives.

    Raises ModelError naming the file, the line or the layer, the option and its value; ShapeError where shapes do not
    fit; FileNotFoundError as `open` does.
    """
    return read_model_file(path_or_name).build(input=input, classes=classes, seed=seed)


def is_model_file(text: str) -> bool:
    """Whether this names a built-in model or a TOML file."""
    return text in BUILT_IN or text.lower().endswith(".toml")


def read_model_file(path_or_name: str | PathLike[str]) -> ModelFile:
    """The file's contents, checked as far as they can be without a shape. Raises as `read_model` does."""
    name = fspath(path_or_name)
    if name in BUILT_IN:
        return _parsed(example_text(name), name)
    path = Path(name)
    if not name.lower().endswith(".toml") and not path.is_file():
        near = get_close_matches(name.lower(), BUILT_IN, 1, 0.5)
        raise ModelError(
            f"there is no model {name[:60]!r}",
            fix=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(BUILT_IN)}, or give a .toml file",
        )
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise ModelError(f"{name} is no regular file", fix="save what it gives as a file, and give that")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ModelError(f"{name} is longer than {LARGEST:,} bytes", fix="give a TOML file that describes a model")
    try:
        return _parsed(data.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name} is no text in UTF-8: {error.reason}", fix="save it as UTF-8") from None


def example_text(name: str) -> str:
    """The text of a file in `chainrule/models`."""
    return files("chainrule").joinpath("models", f"{name}.toml").read_text(encoding="utf-8")


def _parsed(text: str, name: str) -> ModelFile:
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > DOTS:  # tomllib takes time by the square of a key's parts
            raise ModelError(f"line {number} of {name} has {line.count('.')} dots", fix="give keys without dots")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{name} is no TOML: {error}", fix="correct that place") from None
    except (RecursionError, ValueError) as error:  # a number of 5000 digits, or lists in lists in lists
        raise ModelError(f"{name} is no TOML that describes a model: {error}", fix="correct it") from None
    _known(table, _TOP, name)
    raw = table.get("layers")
    if not isinstance(raw, list) or not raw or not all(isinstance(entry, dict) for entry in cast(list[Any], raw)):
        raise ModelError(
            f"{name} has no layers", fix='add one: [[layers]], and below it type = "Dense" and its options'
        )
    layers = cast(list[dict[str, Any]], raw)
    for number, entry in enumerate(layers, 1):
        _check_entry(entry, _where(name, number, entry))
    dtype = table.get("input_dtype", "real")
    if dtype not in ("real", "integer"):
        raise _wrong("input_dtype", dtype, 'is "real" or "integer"', name)
    classes, l2 = table.get("classes"), table.get("l2", 0.0)
    if classes is not None:
        _check_whole("classes", classes, name)
    if not _is(l2, float) or not 0 <= l2 < math.inf:
        raise _wrong("l2", l2, "is a number that is not negative", name)
    return ModelFile(
        name,
        tuple(layers),
        _shape(table.get("input"), name),
        dtype,
        classes,
        _loss(table.get("loss"), name),
        l2,
        _training(table.get("training", {}), name),
    )


# What is in the tables


def _known(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises ModelError where a key is none of those known."""
    names = list(known)
    for key in table:
        if key not in names:
            near = get_close_matches(key.lower(), names, 1, 0.6)
            raise ModelError(
                f"unknown key {key[:60]!r}",
                about=where,
                fix=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}",
            )


def _wrong(key: str, value: Any, says: str, where: str) -> ModelError:
    shown = repr(value)
    return ModelError(
        f"{key} {says}, not {shown if len(shown) < 60 else shown[:59] + '…'}", about=where, fix=f"correct {key}"
    )


def _check_whole(key: str, value: Any, where: str) -> None:
    if not _is(value, int) or value < 1:
        raise _wrong(key, value, "is a positive whole number", where)


def _shape(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise _wrong("input", value, "is the shape of one sample, as in [1, 28, 28]", where)
    extents = cast(list[Any], value)
    for extent in extents:
        _check_whole("input", extent, where)
    return tuple(extents)


def _loss(value: Any, where: str) -> Loss | None:
    if value is None:
        return None
    name, options = value, dict[str, Any]()
    if isinstance(value, dict):
        where = f"{where}, [loss]"
        options = dict(cast(dict[str, Any], value))
        name = options.pop("name", None)
    if not isinstance(name, str):
        raise _wrong("loss", value, 'is a name, or a table with name = "…" and options', where)
    try:
        return loss_named(name, options)
    except ChainruleError as error:
        raise _placed(error, where) from None


def _training(value: Any, where: str) -> Training:
    where = f"{where}, [training]"
    if not isinstance(value, dict):
        raise _wrong("training", value, "is a table", where)
    table = cast(dict[str, Any], value)
    _known(table, Training.__dataclass_fields__, where)
    for key, given in table.items():
        if key in ("epochs", "steps", "batch_size", "warm_up", "patience"):
            _check_whole(key, given, where)
        elif key in ("optimizer", "schedule"):
            among = tuple(OPTIMIZERS) if key == "optimizer" else SCHEDULES
            if given not in among:
                near = get_close_matches(str(given).lower(), among, 1, 0.5)
                fix = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(among)}"
                raise ModelError(f"unknown {key} {str(given)[:60]!r}", about=where, fix=fix)
        elif not _is(given, float) or not 0 <= given < math.inf or (key == "rate" and not given):
            raise _wrong(key, given, "is a positive number", where)
        elif key in ("momentum", "validation") and given >= 1:
            raise _wrong(key, given, "is below 1", where)
    return Training(**table)


# Layers


def _where(name: str, number: int, entry: Mapping[str, Any]) -> str:
    kind = entry.get("type")
    return f"{name}, layer {number}" + (f" ({kind[:40]})" if isinstance(kind, str) else "")


def _placed(error: ChainruleError, where: str) -> ChainruleError:
    """The same error, saying which file and layer it is about."""
    about = str(error.about or "")
    # What a layer says of itself is its class, which `where` names already.
    known = not about or about.isidentifier()
    return type(error)(shorten(error.problem, 400), about=where if known else f"{where}: {about}", fix=error.fix)


def _check_entry(entry: Mapping[str, Any], where: str) -> None:
    """The type, the options' names and the types of their values."""
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise ModelError("a layer has no type", about=where, fix='write type = "Dense"')
    signature = inspect.signature(_class(kind, where).__init__)
    options = list(signature.parameters.values())[1:]
    open_ended = any(option.kind is option.VAR_KEYWORD for option in options)
    names = [option.name for option in options if option.kind is not option.VAR_KEYWORD]
    if not open_ended:
        _known(entry, ["type", "name", "from", *names], where)
    for option in options:
        needed = option.default is option.empty and option.kind is not option.VAR_KEYWORD
        if needed and option.name not in entry:
            raise ModelError(f"the option {option.name!r} is missing", about=where, fix=f"write {option.name} = …")
    hints = get_type_hints(_class(kind, where).__init__)
    for name, value in entry.items():
        if name in names and name in hints:
            several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            _check_value(name, value, Sequence[hints[name]] if several else hints[name], where)
    if "name" in entry and (not isinstance(entry["name"], str) or entry["name"] in ("", "input")):
        raise _wrong("name", entry["name"], "is a text, and not 'input'", where)
    source = entry.get("from", "input")
    texts = cast(list[Any], source if isinstance(source, list) and source else [source])
    if not all(isinstance(text, str) for text in texts):
        raise _wrong("from", source, "is the name of a layer, or a list of names", where)


def _class(kind: str, where: str) -> type[Layer]:
    if kind in LAYERS:
        return LAYERS[kind]
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]
    known = {name.lower(): name for name in (*ACTIVATIONS, *LAYERS)}
    near = get_close_matches(kind.lower(), known, 1, 0.5)
    fix = f"did you mean {known[near[0]]!r}?" if near else f"choose from {', '.join(LAYERS)}"
    raise ModelError(f"unknown type {kind[:60]!r}", about=where, fix=fix)


def _is(value: Any, kind: type) -> bool:
    """Whether a value of TOML is of this type: a whole number is a number too, and a truth value is none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


_KINDS: tuple[tuple[type, str], ...] = (
    (int, "a whole number"),
    (float, "a number"),
    (bool, "true or false"),
    (str, "a text"),
    (list, "a list"),
)


def _check_value(name: str, value: Any, hint: Any, where: str) -> None:
    """Whether a value can be of the option's type; what it must be besides, the layer says when it is made."""
    if value == CLASSES and _admits(hint, int):
        return
    allowed = [(kind, says) for kind, says in _KINDS if _admits(hint, kind)]
    if allowed and not any(_is(value, kind) for kind, _ in allowed):
        raise _wrong(name, value, f"is {' or '.join(says for _, says in allowed)}", where)


def _admits(hint: Any, kind: type) -> bool:
    """Whether an annotation takes values of this type; a tuple or a sequence is written as a list."""
    if hint is Any or hint is object:
        return True
    origin, arguments = getattr(hint, "__origin__", None), get_args(hint)
    if origin is Literal:
        return kind in {type(argument) for argument in arguments}
    if isinstance(origin, type):
        return kind is list and issubclass(origin, Sequence)
    if arguments:
        return any(_admits(argument, kind) for argument in arguments if argument is not NoneType)
    return hint is kind


def _layer(entry: Mapping[str, Any], classes: int | None, where: str) -> Layer:
    kind = _class(entry["type"], where)
    options = {name: value for name, value in entry.items() if name not in ("type", "name", "from")}
    hints = get_type_hints(kind.__init__)
    for name, value in options.items():
        if value == CLASSES and _admits(hints.get(name), int):
            if classes is None:
                raise ModelError(
                    f'{name} = "classes", but nothing says how many there are', fix="write classes = 10 on top"
                )
            options[name] = classes
    signature = inspect.signature(kind.__init__)
    several = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    places: list[Any] = [value for name in several for value in options.pop(name)]
    return kind(*places, **options)


def _parents(entry: Mapping[str, Any], nodes: Mapping[str, Node], before: Node, where: str) -> list[Node]:
    """The values that a layer is called on. Raises ModelError for a name that stands for none so far, or for two."""
    if entry.get("name") in nodes:
        raise ModelError(f"two layers have the name {entry['name']!r}", about=where, fix="rename one")
    source = entry.get("from")
    if source is None:
        return [before]
    names = cast(list[str], source if isinstance(source, list) else [source])
    for name in names:
        if name not in nodes:
            near = get_close_matches(name, nodes, 1, 0.6)
            raise ModelError(
                f"from names {name[:60]!r}, and no layer before this one has that name",
                about=where,
                fix=f"did you mean {near[0]!r}?" if near else f'give the earlier layer name = "{name[:60]}"',
            )
    return [nodes[name] for name in names]
