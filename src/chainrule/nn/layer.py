"""What a layer is: its equations, the initial values of its parameters, and the graph made by calling layers.

    class Scale(Layer):
        equation = "y[n, k] = g[k] * x[n, k]"
        init = {"g": ones("k")}

`x` is the input (x1, x2, … where there are several) and the last line defines the output. `init` gives
each parameter's shape by index names of the equations. Options are keyword arguments whose names stand
for numbers in the equations: `u[n, k<units] = …` with `Dense(units=8)`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from textwrap import dedent
from typing import Any, ClassVar, Literal

from chainrule.errors import ChainruleError, EquationError, ModelError, ShapeError
from chainrule.ir.check import check_equation
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES, Extent
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation
from chainrule.ir.program import State as ProgramState
from chainrule.nn.initialisers import Initialiser

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
        from chainrule.nn.layers import Add

        return Add()(self, other)


class Input(Node):
    """The input of a model: the shape of one sample, Input(64) or Input(1, 28, 28)."""

    def __init__(self, *shape: int, dtype: Literal["real", "integer"] = "real") -> None:
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


class Layer:
    """Base of all layers, built in or a user's own. Override `equations` where they depend on the input's shape."""

    equation: ClassVar[str] = ""
    inference: ClassVar[str] = ""
    """What takes the place of `equation` outside training, where that differs (dropout, running statistics)."""
    init: Mapping[str, Initialiser] = {}
    state: Mapping[str, State | Random] = {}
    inputs: ClassVar[int] = 1

    config: dict[str, Any]
    """The constructor's arguments, which a saved model keeps."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        layer = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        try:
            bound = signature.bind(layer, *args, **kwargs)
        except TypeError as error:
            raise ModelError(f"{cls.__name__}: {error}", about=cls.__name__, fix=_usage(cls, signature)) from None
        values = dict(list(bound.arguments.items())[1:])
        layer.config = {}
        for name, value in values.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                layer.config.update(value)
            else:
                layer.config[name] = value
        return layer

    def __init__(self, *, l2: float | None = None, **options: float) -> None:
        name = type(self).__name__
        self.l2 = l2
        self.options = dict(options)
        if l2 is not None and not l2 >= 0:
            raise ModelError(f"l2 must not be negative, but is {l2!r}", about=name)
        text = f"{self.equation}\n{self.inference}"
        for option, value in options.items():
            if type(self).equations is Layer.equations and not _names(text, option):
                near = get_close_matches(option, _all_names(text), 1, 0.5)
                raise ModelError(
                    f"{name} has no option {option!r}: its equations do not name it",
                    about=name,
                    fix=f"did you mean {near[0]!r}?" if near else f"leave {option!r} out, or use it in the equations",
                )
            if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ModelError(f"the option {option!r} must be a number, not {value!r}", about=name)

    def equations(self, *shapes: Shape) -> str:
        """The equations, one on each line, for inputs of these shapes (each with the sample axis "N" first)."""
        return self.equation

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        """The parameters and how they start, for inputs of these shapes."""
        return self.init

    def __call__(self, *inputs: Node) -> Node:
        name = type(self).__name__
        if len(inputs) != self.inputs:
            plural = "input" if self.inputs == 1 else "inputs"
            raise ModelError(
                f"{name} takes {self.inputs} {plural} and was given {len(inputs)}",
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.config.items())})"


def _usage(cls: type[Layer], signature: inspect.Signature) -> str:
    return (
        f"write {cls.__name__}({', '.join(str(p) for p in list(signature.parameters.values())[1:])}); "
        "an activation is a layer of its own, as in cr.Sigmoid()"
    )


def _all_names(text: str) -> list[str]:
    return sorted({node.id for s in _statements(text, "") for node in ast.walk(s) if isinstance(node, ast.Name)})


def _names(text: str, name: str) -> bool:
    return name in _all_names(text)


def _statements(text: str, label: str) -> list[ast.Assign]:
    """The equations of a layer as syntax trees. The text is a layer's source: code, not data."""
    try:
        body = ast.parse(dedent(text)).body
    except SyntaxError as error:
        raise EquationError(
            f"an equation cannot be read: {error.msg}",
            about=f"{label}: {(error.text or text).strip()}",
            fix="write it as in: y[n, k] = g[k] * x[n, k]",
        ) from None
    for statement in body:
        if not isinstance(statement, ast.Assign):
            raise EquationError("this is no equation", about=f"{label}: {ast.unparse(statement)}")
    return [statement for statement in body if isinstance(statement, ast.Assign)]


class _Options(ast.NodeTransformer):
    """Writes the values of options in place of their names."""

    def __init__(self, options: Mapping[str, float]) -> None:
        self.options = options

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.options.get(node.id)
        if value is None:
            return node
        return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _extents(statement: ast.Assign, known: Mapping[str, Tensor]) -> dict[str, Extent]:
    """The extents that an equation's text fixes: declared ones, and plain subscripts of known tensors."""
    found: dict[str, Extent] = {}
    for node in ast.walk(statement):
        match node:
            case ast.Compare(
                left=ast.Name(id=index), ops=[ast.Lt()], comparators=[ast.Constant(value=int() as extent)]
            ):
                found.setdefault(index, extent)
            case ast.Subscript(value=ast.Name(id=name), slice=subscripts) if name in known:
                parts = subscripts.elts if isinstance(subscripts, ast.Tuple) else [subscripts]
                for part, extent in zip(parts, known[name].shape, strict=False):
                    if isinstance(part, ast.Name):
                        found.setdefault(part.id, extent)
            case _:
                pass
    return found


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
    layer: Layer, label: str, inputs: Sequence[Tensor], *, suffix: str = "", inference: bool = False
) -> Block:
    """A layer's equations for inputs of known shape, its tensors named "label.name".

    Raises ShapeError where shapes do not fit and EquationError where the equations are not well formed, each
    naming the layer and the shapes it was given.
    """
    shapes = tuple(tensor.shape for tensor in inputs)
    given = ", ".join(show(shape) for shape in shapes)
    try:
        return _instantiate(layer, label, inputs, shapes, suffix, inference)
    except ChainruleError as error:
        about = f"{label}, given an input of shape {given}"
        detail = f"{about}\n  in: {error.about}" if error.about is not None else about
        raise type(error)(error.problem, about=detail, fix=error.fix) from None


def show(shape: Shape) -> str:
    """(N, 64), as shapes are written in messages."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _instantiate(
    layer: Layer, label: str, inputs: Sequence[Tensor], shapes: tuple[Shape, ...], suffix: str, inference: bool
) -> Block:
    names = ["x"] if len(inputs) == 1 else [f"x{i + 1}" for i in range(len(inputs))]
    known = {name: Tensor(name, tensor.shape, tensor.dtype) for name, tensor in zip(names, inputs, strict=True)}
    final = {known[name]: tensor for name, tensor in zip(names, inputs, strict=True)}
    initial = layer.initial(*shapes)
    text = layer.inference if inference and layer.inference else layer.equations(*shapes)
    statements = [_Options(layer.options).visit(statement) for statement in _statements(text, label)]
    if not statements:
        raise ModelError(f"{type(layer).__name__} has no equations", fix='set equation = "y[n, k] = …" in the class')
    for name in (*initial, *layer.state):
        if name in known:
            raise ModelError(f"{name!r} is the input and cannot be a parameter too", fix="rename the parameter")

    parameters: list[tuple[Tensor, Initialiser]] = []
    initial_states: dict[str, Initialiser] = {}
    random: list[tuple[Tensor, float | None]] = []
    own: dict[str, Tensor] = {}

    def resolve(name: str, shape: tuple[str | int, ...], extents: Mapping[str, Extent]) -> Tensor:
        axes: list[Extent] = []
        for axis in shape:
            extent = layer.options.get(axis, extents.get(axis)) if isinstance(axis, str) else axis
            if extent is None or isinstance(extent, float):
                raise ModelError(
                    f"the shape of {name!r} names {axis!r}, whose extent nothing in the equation fixes",
                    fix=f"declare it: {axis}<10, or {axis}<units with the option units",
                )
            axes.append(extent)
        return Tensor(name, tuple(axes))

    def number(probability: float | str | None) -> float | None:
        return layer.options.get(probability) if isinstance(probability, str) else probability

    equations: list[Equation] = []
    lines: list[str] = []
    defined: dict[str, Tensor] = {}
    for statement in statements:
        extents = _extents(statement, known | defined)
        used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for name in sorted(used - known.keys()):
            if name in initial:
                tensor = resolve(name, initial[name].shape, extents)
                fixed = tuple(axis for axis in tensor.shape if isinstance(axis, int))
                if len(fixed) < len(tensor.shape):
                    raise ModelError(
                        f"the parameter {name!r} has an axis of samples", fix="make it random, or an input"
                    )
            elif name in layer.state:
                entry = layer.state[name]
                tensor = resolve(name, entry.init.shape if isinstance(entry, State) else entry.shape, extents)
            else:
                continue
            known[name] = own[name] = tensor
        # All lines so far are read together: the pieces of one tensor fix its size jointly.
        lines.append(ast.unparse(statement))
        equations = parse_program("\n".join(lines), tensors=known)
        defined = {equation.tensor.name: equation.tensor for equation in equations}
    for equation in equations:
        check_equation(equation)

    for name in initial:
        if name in own:
            final[own[name]] = Tensor(f"{label}.{name}", own[name].shape)
            shape = tuple(axis for axis in own[name].shape if isinstance(axis, int))
            parameters.append((final[own[name]], initial[name].with_shape(shape)))
        elif not inference:
            raise ModelError(f"the parameter {name!r} is in `init` but in no equation", fix="remove it, or use it")
    for name, entry in layer.state.items():
        if name not in own:
            continue
        final[own[name]] = Tensor(f"{label}.{name}{suffix if isinstance(entry, Random) else ''}", own[name].shape)
        if isinstance(entry, Random):
            random.append((final[own[name]], number(entry.probability)))
        else:
            initial_states[name] = entry.init.with_shape(tuple(a for a in own[name].shape if isinstance(a, int)))
    for equation in equations:
        made = equation.tensor
        final[made] = Tensor(f"{label}.{made.name}{suffix}", made.shape, made.dtype)

    states: list[tuple[ProgramState, Initialiser]] = []
    for name, init in initial_states.items():
        entry = layer.state[name]
        assert isinstance(entry, State)
        if inference:
            continue
        following = defined.get(entry.next)
        if following is None:
            raise ModelError(
                f"the state {name!r} has the next value {entry.next!r}, which no equation defines",
                fix=f"add an equation for it, as in: {entry.next}[k] = 9/10*{name}[k] + 1/10*m[k]",
            )
        if following.shape != own[name].shape:
            raise ShapeError(
                f"the state {name!r} has the shape {show(own[name].shape)} and its next value {show(following.shape)}",
                fix="give both the same axes",
            )
        states.append((ProgramState(final[own[name]], final[following]), init))
    placed = tuple(equation.over(final) for equation in equations)
    return Block(label, placed, tuple(parameters), tuple(states), tuple(random), placed[-1].tensor)
