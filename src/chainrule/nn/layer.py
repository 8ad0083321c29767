"""What a layer is: its equations, the initial values of its parameters, and the graph made by calling layers.

    class Scale(Layer):
        equation = "y[n, k] = g[k] * x[n, k]"
        init = {"g": ones("k")}

`x` is the input (x1, x2, … where there are several) and the last line defines the output. `init` gives
each parameter's shape by index names of the equations. Options are keyword arguments whose names stand
for numbers in the equations: `u[n, k<units] = …` with `Dense(units=8)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from typing import Any, ClassVar, Literal

from chainrule.errors import ChainruleError, ModelError, ShapeError, UndeclaredError
from chainrule.ir.check import check_program
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES, Extent
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program
from chainrule.ir.program import State as ProgramState
from chainrule.ir.source import checked_text, shorten
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.text import Line, clash, extents, number, penalty, plain, read, whole, with_options
from chainrule.options import called

Shape = tuple[Extent, ...]


@dataclass(frozen=True)
class State:
    """A tensor of a layer that keeps its value between training steps: `next` names the tensor, defined by
    the layer's equations, that holds its next value."""

    next: str
    init: Initialiser


@dataclass(frozen=True)
class Random:
    """A tensor drawn anew at every training step: 1 with `probability`, else 0; or uniform on [0, 1) where
    that is None. `probability` is a number or the name of an option."""

    shape: tuple[str | int, ...]
    probability: float | str | None = None


def bernoulli(probability: float | str, *shape: str | int) -> Random:
    """A mask of ones, each with this probability, and zeros."""
    return Random(shape, probability)


def uniform(*shape: str | int) -> Random:
    """Numbers uniform on [0, 1)."""
    return Random(shape)


class Node:
    """A value in a graph of layers: `layer` applied to `parents`. Shapes start with the sample axis "N"."""

    def __init__(self, layer: Layer | None, parents: tuple[Node, ...]) -> None:
        self.layer, self.parents = layer, parents

    def __add__(self, other: Node) -> Node:
        from chainrule.nn.arrangement import Add

        return Add()(self, other)

    def __repr__(self) -> str:
        return f"<output of {self.layer!r}>"


class Input(Node):
    """The input of a model: the shape of one sample, Input(64) or Input(1, 28, 28)."""

    def __init__(self, *shape: int, dtype: Literal["real", "integer"] = "real") -> None:
        shape = tuple(map(plain, shape))
        for extent in shape:
            if not isinstance(extent, int) or isinstance(extent, bool) or extent < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ModelError(
                    f"an input extent must be a positive whole number, not {extent!r}",
                    about=f"Input{shape!r}",
                    fix="give the shape of one sample, as in Input(64) or Input(1, 28, 28)",
                )
        if dtype not in ("real", "integer"):
            raise ModelError(f"an input is 'real' or 'integer', not {dtype!r}", about=f"Input{shape!r}")
        super().__init__(None, ())
        self.shape: Shape = (SAMPLES, *shape)
        self.dtype: Literal["real", "integer"] = dtype

    def __repr__(self) -> str:
        kind = "" if self.dtype == "real" else ", dtype='integer'"
        return f"Input({', '.join(map(str, self.shape[1:]))}{kind})"


class Layer:
    """Base of all layers, built in or a user's own. What depends on the inputs' shapes is a method to override."""

    equation: ClassVar[str] = ""
    inference: ClassVar[str] = ""
    """What takes the place of `equation` outside training, where that differs (dropout, running statistics)."""
    init: Mapping[str, Initialiser] = {}
    state: Mapping[str, State | Random] = {}
    inputs: ClassVar[int | None] = 1
    """How many values it is called on; None stands for one or more."""
    integer: ClassVar[bool] = False
    """Whether it reads whole numbers, as an embedding does."""
    letters: Mapping[str, str] = {}
    """What formulas write for a tensor of its equations that has a letter of its own: {"m": "μ"}."""

    config: dict[str, Any]
    """The constructor's arguments, which a saved model keeps."""
    label: str = ""
    """What models call it, "encoder" for the parameter "encoder.W"; its class and a number unless it is set."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        layer = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        bound = called(cls.__name__, signature, (layer, *args), kwargs)
        values = dict(list(bound.arguments.items())[1:])
        layer.config = {}
        for name, value in values.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                layer.config.update({option: plain(given) for option, given in value.items()})
            else:
                layer.config[name] = plain(value)
        return layer

    def __init__(self, *, l2: float | None = None, **options: float) -> None:
        name = type(self).__name__
        for method, text in _METHODS.items():
            if not callable(getattr(self, method)):
                raise ModelError(
                    f"`{method}` is a method, given the inputs' shapes", about=name,
                    fix=f"without them write {text} = …",
                )
        _check_declared(name, self.init, self.state)
        self.l2 = None if l2 is None else penalty(l2, name)
        self.options = {option: number(option, value, name) for option, value in options.items()}
        text = f"{checked_text(self.equation)}\n{checked_text(self.inference)}"
        static = type(self).equations is Layer.equations
        fixed = read(text) if options and static else ()
        known = sorted(set[str]().union(*(line.names for line in fixed)))
        for option in options if static else ():
            if option not in known:
                near = get_close_matches(option, known, 1, 0.5)
                raise ModelError(
                    f"{name} has no option {option!r}: its equations do not name it",
                    about=name,
                    fix=f"did you mean {near[0]!r}?" if near else f"leave {option!r} out, or use it in the equations",
                )
        clash(options, fixed, input_names(self.inputs or 1), (*self.init, *self.state))

    def equations(self, *shapes: Shape) -> str:
        """The equations, one on each line, for inputs of these shapes (each with the sample axis "N" first)."""
        return self.equation

    def inference_equations(self, *shapes: Shape) -> str:
        """What takes the place of `equations` outside training."""
        return self.inference or self.equations(*shapes)

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        """The parameters and how they start, for inputs of these shapes."""
        return self.init

    @property
    def numbers(self) -> Mapping[str, str]:
        """What formulas write for numbers of its equations that have letters: {"1/100000": "ε"}."""
        return {}

    def states(self, *shapes: Shape) -> Mapping[str, State | Random]:
        """What it keeps between steps and what it draws, for inputs of these shapes."""
        return self.state

    def __call__(self, *inputs: Node) -> Node:
        name = type(self).__name__
        if len(inputs) != self.inputs if self.inputs is not None else not inputs:
            takes = "1 input" if self.inputs == 1 else f"{self.inputs or 'at least 1'} inputs"
            raise ModelError(
                f"{name} takes {takes} and was given {len(inputs)}",
                about=name,
                fix="call it on the outputs of other layers, as in h = cr.Dense(8)(x)",
            )
        for value in inputs:
            if not isinstance(value, Node):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ModelError(
                    f"{name} was called on a {type(value).__name__}, not on a cr.Input or another layer's output",
                    about=name,
                    fix="build a model first: model = cr.Sequential(cr.Input(64), …); model.predict(x)",
                )
        return Node(self, inputs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as its constructor's arguments: what it has learnt is the models'."""
        return _made, (type(self), self.config, self.label)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.config.items())})"


_METHODS = {"equations": "equation", "inference_equations": "inference", "initial": "init", "states": "state"}
"""What may depend on the inputs' shapes, and what says it without them."""


def _made(kind: type[Layer], config: Mapping[str, Any], label: str) -> Layer:
    layer = kind(**config)
    layer.label = label
    return layer


def _check_declared(name: str, initial: object, kept: object) -> None:
    """Raises ModelError where parameters or states are not declared by name, each with how it starts."""
    for what, declared, kinds, example in (
        ("init", initial, Initialiser, '{"W": cr.glorot("k", "l")}'),
        ("state", kept, State | Random, '{"mask": cr.bernoulli(0.5, "n", "k")}'),
    ):
        entries: Mapping[Any, Any] = declared if isinstance(declared, Mapping) else {"": declared}  # pyright: ignore[reportUnknownVariableType]
        for key, value in entries.items():
            if not (isinstance(key, str) and key and isinstance(value, kinds)):
                odd = f"{key!r}: {value!r}" if isinstance(declared, Mapping) else repr(value)
                raise ModelError(
                    f"`{what}` names what a layer has, each with how it starts, not {shorten(odd, 60)}",
                    about=name, fix=f"write {what} = {example}",
                )


@dataclass(frozen=True)
class Block:
    """A layer's equations over the tensors of one model, for one of its uses."""

    label: str
    equations: tuple[Equation, ...]
    parameters: tuple[tuple[Tensor, Initialiser], ...]
    states: tuple[tuple[ProgramState, Initialiser], ...]
    random: tuple[tuple[Tensor, float | None], ...]
    output: Tensor


def instantiate(
    layer: Layer, label: str, inputs: Sequence[Tensor], *, suffix: str = "", inference: bool = False,
    left: Mapping[Tensor, Tensor] = {},
) -> Block:
    """A layer's equations for inputs of known shape, its tensors named "label.name". `left` says what the use before
    has made of the layer's states, if there was one: they are read so.

    Raises ShapeError where shapes do not fit and EquationError where the equations are not well formed, each
    naming the layer and the shapes it was given.
    """
    shapes = tuple(tensor.shape for tensor in inputs)
    given = ", ".join(show(shape) for shape in shapes)
    try:
        return _instantiate(layer, label, inputs, shapes, suffix, inference, left)
    except ChainruleError as error:
        about = f"{label}, given an input of shape {given}"
        detail = f"{about}\n  in: {error.about}" if error.about is not None else about
        own = '; a layer names its parameters in `init`, as in init = {"g": cr.ones("k")}, and what it draws in `state`'
        fix = error.fix + own * isinstance(error, UndeclaredError)
        raise type(error)(error.problem, about=detail, fix=fix) from None


def input_names(count: int) -> list[str]:
    """What the equations call the inputs: x, or x1, x2, …"""
    return ["x"] if count == 1 else [f"x{i + 1}" for i in range(count)]


def show(shape: Shape) -> str:
    """(N, 64), as shapes are written in messages."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _instantiate(
    layer: Layer, label: str, inputs: Sequence[Tensor], shapes: tuple[Shape, ...], suffix: str, inference: bool,
    left: Mapping[Tensor, Tensor],
) -> Block:
    names = input_names(len(inputs))
    if layer.integer and any(tensor.dtype != "integer" for tensor in inputs):
        raise ModelError(
            f"{type(layer).__name__} takes whole numbers, and its input holds real ones",
            fix=f'give it cr.Input({", ".join(map(str, shapes[0][1:]))}, dtype="integer")'.replace("(, ", "("),
        )
    given = {name: Tensor(name, tensor.shape, tensor.dtype) for name, tensor in zip(names, inputs, strict=True)}
    initial, kept = layer.initial(*shapes), layer.states(*shapes)
    _check_declared(type(layer).__name__, initial, kept)
    text = layer.inference_equations(*shapes) if inference else layer.equations(*shapes)
    lines = _lines(layer, text, (*initial, *kept), names)
    equations, own = _equations(layer, initial, kept, lines, given)
    if not inference:
        _check_used(initial, own)

    # The uses of a layer share its parameters and states, but not what they draw and compute.
    named = {
        name: Tensor(f"{label}.{name}{suffix if isinstance(kept.get(name), Random) else ''}", tensor.shape)
        for name, tensor in own.items()
    }
    read = (left.get(tensor, tensor) for tensor in named.values())
    final = dict(zip((*given.values(), *own.values()), (*inputs, *read), strict=True))
    for made in (equation.tensor for equation in equations):
        final[made] = Tensor(f"{label}.{made.name}{suffix}", made.shape, made.dtype)
    placed = tuple(equation.over(final) for equation in equations)
    return Block(
        label,
        placed,
        parameters=tuple((named[name], _sized(init, named[name])) for name, init in initial.items() if name in named),
        states=() if inference else _states(kept, named, equations, final),
        random=_random(layer, kept, named),
        output=placed[-1].tensor,
    )


def _lines(layer: Layer, text: str, own: Sequence[str], inputs: Sequence[str]) -> list[Line]:
    """The equations with the values of the options. Raises ModelError where there are none, or where a name has two
    meanings."""
    written = read(checked_text(text))
    clash(layer.options, written, inputs, own)
    lines = [with_options(line, layer.options) for line in written]
    if not lines:
        raise ModelError(f"{type(layer).__name__} has no equations", fix='set equation = "y[n, k] = …" in the class')
    for name in own:
        if name in inputs:
            raise ModelError(f"{name!r} is the input and cannot be a parameter too", fix="rename the parameter")
    return lines


def _equations(
    layer: Layer,
    initial: Mapping[str, Initialiser],
    kept: Mapping[str, State | Random],
    lines: Sequence[Line],
    given: Mapping[str, Tensor],
) -> tuple[list[Equation], dict[str, Tensor]]:
    """The equations, and the layer's own tensors in them by name: its parameters, its states and what it draws."""
    own: dict[str, Tensor] = {}
    equations: list[Equation] = []
    texts: list[str] = []
    for target, pieces in groupby(lines, key=lambda line: line.target):
        defined = _defined(equations)
        for line in pieces:
            fixed = extents(line, {**given, **own, **defined})
            for name in sorted(line.names - given.keys() - own.keys()):
                if name in initial:
                    own[name] = _parameter(layer, name, initial[name].shape, fixed)
                elif name in kept:
                    entry = kept[name]
                    shape = entry.init.shape if isinstance(entry, State) else entry.shape
                    own[name] = _resolved(layer, name, shape, fixed)
            texts.append(line.source.text)
        # The pieces of one tensor fix its size jointly. Where they do not stand together all is read once more.
        known = {**given, **own}
        if target in defined:
            equations = parse_program("\n".join(texts), tensors=known)
        else:
            equations += parse_program("\n".join(texts[len(equations) :]), tensors={**known, **defined})
    check_program(Program(tuple(equations), inputs=(*given.values(), *own.values())))
    return equations, own


def _defined(equations: Sequence[Equation]) -> dict[str, Tensor]:
    return {equation.tensor.name: equation.tensor for equation in equations}


def _parameter(layer: Layer, name: str, shape: tuple[str | int, ...], fixed: Mapping[str, Extent]) -> Tensor:
    tensor = _resolved(layer, name, shape, fixed)
    for axis in tensor.shape:
        if isinstance(axis, str) and axis != SAMPLES:
            raise ModelError(
                f"the parameter {name!r} has an axis of {axis!r} entries, and {axis!r} is not given",
                fix=f"write {type(layer).__name__}({axis}=8); an __init__ of its own passes it on: "
                f"super().__init__({axis}={axis})",
            )
    if SAMPLES in tensor.shape:
        raise ModelError(f"the parameter {name!r} has an axis of samples", fix="make it random, or an input")
    return tensor


def _resolved(layer: Layer, name: str, shape: tuple[str | int, ...], fixed: Mapping[str, Extent]) -> Tensor:
    """A tensor whose axes are numbers, names of options, or indices whose extents the equation has `fixed`."""
    axes: list[Extent] = []
    for axis in shape:
        extent = fixed.get(axis) if isinstance(axis, str) else axis
        if isinstance(axis, str) and axis in layer.options:
            extent = whole(axis, layer.options[axis], f"the shape of {name!r}")
        if extent is None and axis == SAMPLES.lower():
            extent = SAMPLES  # as it is read where nothing fixes it
        if extent is None:
            raise ModelError(
                f"the shape of {name!r} names {axis!r}, whose extent nothing in the equation fixes",
                fix=f"declare it: {axis}<10, or {axis}<units with the option units",
            )
        axes.append(extent)
    return Tensor(name, tuple(axes))


def _check_used(initial: Mapping[str, Initialiser], own: Mapping[str, Tensor]) -> None:
    for name in initial:
        if name not in own:
            raise ModelError(f"the parameter {name!r} is in `init` but in no equation", fix="remove it, or use it")


def _sized(init: Initialiser, tensor: Tensor) -> Initialiser:
    return init.with_shape(tuple(axis for axis in tensor.shape if isinstance(axis, int)))


def _states(
    kept: Mapping[str, State | Random],
    named: Mapping[str, Tensor],
    equations: Sequence[Equation],
    final: Mapping[Tensor, Tensor],
) -> tuple[tuple[ProgramState, Initialiser], ...]:
    """The states and how they start. Raises ModelError or ShapeError where a next value is missing or does not fit."""
    defined = _defined(equations)
    states: list[tuple[ProgramState, Initialiser]] = []
    for name, entry in kept.items():
        if name not in named or isinstance(entry, Random):
            continue
        tensor, following = named[name], defined.get(entry.next)
        if following is None:
            raise ModelError(
                f"the state {name!r} has the next value {entry.next!r}, which no equation defines",
                fix=f"add an equation for it, as in: {entry.next}[k] = 9/10*{name}[k] + 1/10*m[k]",
            )
        if following.shape != tensor.shape:
            raise ShapeError(
                f"the state {name!r} has the shape {show(tensor.shape)} and its next value {show(following.shape)}",
                fix="give both the same axes",
            )
        states.append((ProgramState(tensor, final[following]), _sized(entry.init, tensor)))
    return tuple(states)


def _random(
    layer: Layer, kept: Mapping[str, State | Random], named: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, float | None], ...]:
    """What the layer draws, each with its probability: a number, or the value of an option."""
    drawn: list[tuple[Tensor, float | None]] = []
    for name, entry in kept.items():
        if name in named and isinstance(entry, Random):
            p = entry.probability
            drawn.append((named[name], layer.options.get(p) if isinstance(p, str) else p))
    return tuple(drawn)
