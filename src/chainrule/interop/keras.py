"""Keras models as models of ours: the graph of a model's layers, read by tables of layers and of operations.

    model = cr.from_keras(network, loss="softmax_cross_entropy")

A layer that the table lacks, the user's own among them, is read as it is written: its `call` is run on symbols, its
weights being symbols too, and what it calls of `keras.ops` and of other layers is brought in one by one.
"""
# Keras is only partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ModelError
from chainrule.interop import layered
from chainrule.interop.graph import Array, Graph, Operand
from chainrule.interop.keras_layers import ACTIVATIONS, LAYERS
from chainrule.interop.keras_operations import OPERATIONS
from chainrule.interop.views import Size, View, permuted
from chainrule.ir.source import shorten
from chainrule.nn.losses import Loss
from chainrule.train.model import Model

TURNED = ".T"
"""After the name of a weight: that weight, its axes as our layers have them."""


def from_keras(network: Any, *, loss: str | Loss | None = None, l2: float = 0.0, output: int = 0) -> Model:
    """The network of a Keras model (Keras 3, any backend), with its weights: derived, checked, trained and saved as any
    model.

    `network` is a functional or sequential model whose shapes are known but for the number of samples. What a layer
    does in training (batch normalisation, dropout), it does here in training; regularisers and the compiled loss are
    left behind: give `l2` and `loss`. Where the model returns several tensors, ours is that of number `output`. Layers
    are called as in Keras, and a kernel is the transpose of Keras's where our layer has it so.

    Raises ModelError for a layer or an operation that has no row and cannot be read, by its name. Needs the extra
    `keras`.
    """
    try:
        import keras
    except ImportError:
        raise ImportError('Keras is not installed: pip install "chainrule[keras]"') from None
    if not isinstance(network, keras.Model):
        raise ModelError(f"{shorten(repr(network), 60)} is no keras.Model", fix="give the model, not its output")
    if not getattr(network, "inputs", None) or not getattr(network, "outputs", None):
        raise ModelError(
            "the model has no graph of layers", about=str(getattr(network, "name", "")), fix="begin a Sequential with "
            "keras.Input; call a subclass of keras.Model on one: x = keras.Input(…), keras.Model(x, net(x))",
        )
    shared, straight, constant = set[str](), set[str](), set[str]()
    while True:
        reading = Reading(keras, network, shared, straight, constant)
        view = reading.output(output)
        divided = reading.graph.divided(reading.frozen)
        if not reading.graph.conflicts and not reading.conflicts and not divided:
            break
        shared |= reading.graph.conflicts
        straight |= reading.conflicts
        constant |= {name.removesuffix(TURNED) for name in divided}
    model = reading.graph.finished(view, loss, l2, "float64" if reading.double else "float32")
    frozen = reading.graph.owners(reading.frozen)
    if frozen:
        model.freeze(*frozen)
    return model


class Reading:
    """One reading of a model. `straight` are the weights that are read in several ways, and therefore as they are;
    `constant` the parameters that nothing trains in layers that learn."""

    def __init__(
        self, keras: Any, network: Any, shared: set[str], straight: set[str], constant: set[str]
    ) -> None:
        self.keras, self.network, self.straight = keras, network, straight
        self.names: dict[int, str] = {}
        parameters = {id(v) for layer in network._flatten_layers() for v in layer._trainable_variables}
        arrays, frozen, taken = dict[str, Array](), set[str](), set[str]()
        for variable in network.weights:
            name = variable.path
            while name in taken:
                name += "_"
            taken.add(name)
            self.names[id(variable)] = name
            if id(variable) in parameters and name not in constant:
                arrays[name] = self.numbers(variable)
                frozen |= set[str]() if variable.trainable else {name}
        self.double = any(array.dtype == np.float64 for array in arrays.values())
        self.graph = Graph(arrays, set(arrays), shared)
        self.frozen, self.forms = frozen, dict[str, set[Any]]()
        self.values: dict[int, tuple[Any, Any]] = {}
        self.places: list[str] = []
        self.alone = False  # whether the layer's code that is being read calls one operation

    def numbers(self, tensor: Any) -> Array:
        """A tensor or a variable as an array."""
        return np.array(self.keras.ops.convert_to_numpy(tensor))

    def output(self, number: int) -> View:
        outputs = self.network.outputs
        if not 0 <= number < len(outputs):
            raise ModelError(f"the model returns {len(outputs)} tensors", fix="choose one of them by output=0")
        for given in self.network.inputs:
            shape = list(given.shape[1:])
            if any(extent is None for extent in shape):
                raise ModelError(f"the input {given.name} is of shape {given.shape}", fix="give it all extents")
            integer = "int" in str(given.dtype)
            self.values[id(given)] = given, self.graph.input([int(e) for e in shape], integer=integer)
        result = self.value(outputs[number])
        if not isinstance(result, View):
            self.graph.refuse("the output is the same for all samples", "return a value of the network")
        return result

    @property
    def conflicts(self) -> set[str]:
        """The weights that are read both as they are and moved."""
        return {name for name, forms in self.forms.items() if len(forms) > 1} - self.straight

    # The graph

    def value(self, tensor: Any) -> Any:
        """What a symbol is here, with all that it is made of, without recursion on the depth of a network."""
        left = [tensor]
        while left:
            symbol = left[-1]
            if id(symbol) in self.values:
                left.pop()
                continue
            node = self.node(symbol)
            missing = [given for given in node.arguments.keras_tensors if id(given) not in self.values]
            if missing:
                left += missing
            else:
                self.call(node)
        return self.values[id(tensor)][1]

    def node(self, symbol: Any) -> Any:
        history = getattr(symbol, "_keras_history", None)
        if history is None or history.operation is None:
            self.graph.refuse("this reads a tensor that no layer gives", "give it as an input of the model")
        return history.operation._inbound_nodes[history.node_index]

    def call(self, node: Any) -> None:
        """Bring in one call of a layer or of an operation."""
        made, kind = node.operation, type(node.operation).__name__
        layer = isinstance(made, self.keras.Layer)
        own = type(made).__module__.split(".")[0] == "keras"
        args = [self.argument(arg) for arg in node.arguments.args]
        more = {key: self.argument(arg) for key, arg in node.arguments.kwargs.items() if arg is not None}
        self.place(kind, made.name if layer else "")
        call = self.graph.call
        call.sizes = [[(1, True) if e is None else (int(e), False) for e in t.shape] for t in node.outputs]
        more.pop("training", None)
        if any(getattr(symbol, "_keras_mask", None) is not None for symbol in node.outputs):
            self.graph.refuse("a mask goes along with the values", "leave mask_zero and Masking out")
        call.soft = kind in ("Softmax", "LogSoftmax", "DotProductAttention", "Logsumexp")
        if layer and isinstance(made, self.keras.Model) and getattr(made, "outputs", None):
            found = self.inside(made.name, lambda: self.nested(made, args))
        elif layer and own and kind in LAYERS:
            self.unmasked(more)
            call.single = True
            found = self.inside(made.name, lambda: LAYERS[kind](self, made, *args, **more))
        elif layer:
            self.unmasked(more)
            found = self.inside(made.name, lambda: self.traced(made, node))
        elif own and kind in OPERATIONS:
            found = OPERATIONS[kind](self, made, *args, **more)
        else:
            self.graph.refuse(
                f"there is no row for Keras's {kind}", "write it with other operations, or as a cr.Layer of your own"
            )
        for symbol, view in zip(node.outputs, found if isinstance(found, list) else [found], strict=True):
            self.values[id(symbol)] = symbol, view

    def place(self, kind: str, name: str) -> None:
        """Say to the graph which call this is."""
        call, path = self.graph.call, [*self.places, *([name] if name else [])]
        call.path, call.name = ".".join(path), kind.lower()
        call.where = f"the layer {'/'.join(path)} ({kind})" if path else kind
        call.single = self.alone and not name

    def inside(self, name: str, act: Callable[[], Any]) -> Any:
        """What is done within a layer of this name."""
        self.places.append(name)
        try:
            return act()
        finally:
            self.places.pop()

    def unmasked(self, more: dict[str, Any]) -> None:
        """Keras's masks go along with tensors. Raises ModelError where one does."""
        for name, value in more.items():
            if name.endswith("mask") and name != "attention_mask" and not isinstance(value, bool):
                self.graph.refuse("a mask goes along with the values", "leave mask_zero and Masking out")

    def nested(self, model: Any, args: Sequence[Any]) -> list[Any]:
        """The values of a model within a model."""
        given = self.keras.tree.flatten(args)
        return self.scope(
            lambda: [self.value(symbol) for symbol in model.outputs],
            {id(symbol): (symbol, view) for symbol, view in zip(model.inputs, given, strict=True)},
        )

    def scope(self, act: Callable[[], Any], values: dict[int, tuple[Any, Any]]) -> Any:
        """What is done where these symbols alone are known."""
        before, self.values = self.values, values
        try:
            return act()
        finally:
            self.values = before

    def traced(self, layer: Any, node: Any) -> list[Any]:
        """What a layer computes, from its own code. Its weights are symbols meanwhile: nothing is computed with their
        numbers."""
        symbol, values = self.keras.KerasTensor, dict[int, tuple[Any, Any]]()

        def given(arg: Any) -> Any:
            if not isinstance(arg, symbol):
                return arg
            new = symbol(arg.shape, dtype=arg.dtype)
            values[id(new)] = new, self.values[id(arg)][1]
            return new

        said = node.arguments
        args, more = (self.keras.tree.map_structure(given, part) for part in (said.args, said.kwargs))
        if "training" in inspect.signature(layer.call).parameters:
            more["training"] = True
        own = {name: value for name, value in vars(layer).items() if isinstance(value, self.keras.Variable)}
        weights: dict[int, Any] = {}
        for name, variable in own.items():
            new = symbol(variable.shape, dtype=variable.dtype)
            values[id(new)], weights[id(new)] = (new, variable), variable
            vars(layer)[name] = new
        try:
            result = layer.call(*args, **more)
        except Exception as error:  # a layer raises what it likes
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            self.graph.refuse(
                f"the layer's code cannot be read: {shorten(first, 160)}",
                "write it with keras.ops on tensors of known shapes, without random numbers of its own",
            )
        finally:
            vars(layer).update(own)
        return self.read(result, values, weights, {id(v) for v in layer._trainable_variables})

    def read(
        self, result: Any, values: dict[int, tuple[Any, Any]], weights: dict[int, Any], owned: set[int]
    ) -> list[Any]:
        """The values of what a layer's code returned. Raises ModelError where a parameter is read in a way that no
        symbol sees: as a number, whose gradient would be missing."""
        results = self.keras.tree.flatten(result)
        if not all(isinstance(each, self.keras.KerasTensor) for each in results):
            self.graph.refuse("the layer gives what is the same for all samples", "return a value of each sample")
        nodes, seen, left = dict[int, Any](), set[int](), list(results)
        while left:
            symbol = left.pop()
            if id(symbol) in weights:
                seen.add(id(weights[id(symbol)]))
            if id(symbol) in values:
                continue
            node = self.node(symbol)
            if id(node) not in nodes:
                nodes[id(node)] = node
                flat = self.keras.tree.flatten([node.arguments.args, node.arguments.kwargs])
                seen |= {id(arg) for arg in flat if isinstance(arg, self.keras.Variable)}
                left += node.arguments.keras_tensors
        if owned - seen:
            self.graph.refuse(
                "a parameter of the layer is read as a number", "read weights as attributes of the layer, by keras.ops"
            )
        before, self.alone = self.alone, len(nodes) == 1
        try:
            return self.scope(lambda: [self.one(each) for each in results], values)
        finally:
            self.alone = before
            for node in nodes.values():  # the layers within forget that they were called
                node.operation._inbound_nodes.remove(node)
                for parent in node.arguments.keras_tensors:
                    maker = getattr(parent, "_keras_history", (None,))[0]
                    if maker is not None and node in maker._outbound_nodes:
                        maker._outbound_nodes.remove(node)

    def one(self, symbol: Any) -> Any:
        found = self.value(symbol)
        return self.weight(found) if isinstance(found, self.keras.Variable) else found

    def through(self, function: Any, x: View) -> View:
        """A function of Keras's, such as a layer's activation."""
        if function is None or function is self.keras.activations.linear:
            return x
        name = getattr(function, "__name__", "")
        if name in ACTIVATIONS and function is getattr(self.keras.activations, name):
            self.graph.call.name, self.graph.call.single = name, False
            return layered.pointwise(self.graph, ACTIVATIONS[name](), x)
        symbol = self.keras.KerasTensor([None if has else size for size, has in x.sizes], dtype=self.dtype)
        result = function(symbol)
        return self.scope(lambda: self.value(result), {id(symbol): (symbol, x)})

    @property
    def dtype(self) -> str:
        return "float64" if self.double else "float32"

    # Arguments

    def argument(self, value: Any) -> Any:
        """An argument of a call: a view, an array that nothing trains, or what it is."""
        keras = self.keras
        if isinstance(value, keras.KerasTensor):
            value = self.values[id(value)][1]
        if isinstance(value, keras.Variable):
            return self.weight(value)
        if isinstance(value, (list, tuple)):
            return [self.argument(part) for part in value]
        if keras.ops.is_tensor(value):
            return self.numbers(value)
        return value

    def weight(self, variable: Any) -> Any:
        """A variable as it is; an array where nothing trains it."""
        name = self.names.get(id(variable))
        if name is None or name not in self.graph.trained:
            return self.numbers(variable)
        self.forms.setdefault(name, set()).add(None)
        return self.graph.weight(name)

    def turned(self, variable: Any, order: Sequence[int], shape: Sequence[int] | None = None) -> View:
        """A variable with its axes in this order, and then of this shape: a parameter of its own, where it is read so
        everywhere."""
        name = self.names.get(id(variable), "")
        if name not in self.graph.trained:
            moved = self.numbers(variable).transpose(order)
            return self.graph.fixed(variable.path, np.ascontiguousarray(moved.reshape(shape or moved.shape)))
        sizes: list[Size] | None = [(extent, False) for extent in shape] if shape else None
        if name in self.straight or ([*order] == [*range(len(order))] and not shape):
            view = permuted(self.weight(variable), order)
            return self.graph.reshaped(view, sizes) if sizes else view
        self.forms.setdefault(name, set()).add((*order, *(shape or ())))
        own = f"{name}{TURNED}"
        moved = self.graph.weights[name].transpose(order)
        self.graph.weights[own] = np.ascontiguousarray(moved.reshape(shape or moved.shape))
        self.graph.trained.add(own)
        if name in self.frozen:
            self.frozen.add(own)
        return self.graph.weight(own)

    def plain(self, variable: Any) -> View | None:
        """A variable, as a view, or none."""
        return None if variable is None else self.view(self.weight(variable))

    def operand(self, value: Any) -> Operand:
        """An argument as an operand."""
        if isinstance(value, View):
            return value
        if isinstance(value, (bool, int, float, np.generic)):
            return self.graph.finite(float(value))
        return self.graph.constant(f"{self.graph.call.name}_{len(self.graph.weights)}", np.asarray(value, np.float64))

    def view(self, value: Any) -> View:
        """An argument as a view, a constant one with its shape."""
        if isinstance(value, View):
            return value
        return self.graph.fixed(f"{self.graph.call.name}_{len(self.graph.weights)}", np.asarray(value, np.float64))
