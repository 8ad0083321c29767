"""ONNX files as models of ours: what each operator is here, and a reader that trusts no file.

    model = cr.from_onnx("net.onnx", loss="softmax_cross_entropy")
"""
# The protocol buffers of ONNX have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ModelError
from chainrule.interop.graph import Array, Graph
from chainrule.interop.nodes import FOLDED, Extents, Node
from chainrule.interop.operators import FUNCTIONS, ROWS
from chainrule.interop.views import View
from chainrule.ir.source import shorten
from chainrule.nn.losses import Loss
from chainrule.train.model import Model

OLDEST = 11
MOST = 1 << 31  # bytes: no file that its format can hold is larger
ENTRIES = 1 << 28  # of an array that is computed while a file is read
REAL = {1: np.float32, 11: np.float64, 10: np.float16}
WHOLE = {
    2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 12: np.uint32,
    13: np.uint64,
}
SOFT = {"Softmax", "LogSoftmax", "ReduceMax", "ReduceLogSumExp"}
MOVES = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Add", "Where", "Expand", "Slice",
}


def from_onnx(
    path: str | PathLike[str], *, loss: str | Loss | None = None, l2: float = 0.0, fixed: Sequence[str] = (),
    output: int = 0,
) -> Model:
    """The network of an ONNX file, with its weights: derived, checked, trained and saved as any model.

    The first axis of every input counts the samples. Initialisers of real numbers are parameters, but for running
    averages and those named in `fixed`, which keep their values. Of several outputs the model has number `output`.
    Layers are called as the nodes are.

    The file is not trusted: nothing in it is run, no array is made that is larger than what the file holds, and
    external data must lie in its folder. Raises ModelError for a file that is none or is damaged, and for an operator
    that the table lacks, with the node's name; FileNotFoundError as `open` does. Needs the extra `onnx`.
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError('onnx is not installed: pip install "chainrule[onnx]"') from None
    name = fspath(path)
    file = _parsed(onnx, name)
    try:
        arrays = {tensor.name: _array(tensor, os.path.dirname(name) or ".") for tensor in file.graph.initializer}
        shared: set[str] = set()
        while True:
            importing = _Import(file, arrays, {*fixed}, shared)
            view = importing.output(output)
            graph = importing.graph
            if not graph.conflicts:
                break
            shared |= graph.conflicts
        double = any(array.dtype == np.float64 for array in arrays.values())
        return graph.finished(view, loss, l2, "float64" if double else "float32")
    except ChainruleError as error:
        about = name if error.about is None else f"{name}, {error.about}"
        raise ModelError(error.problem, about=about, fix=error.fix) from None
    except (
        LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError, MemoryError
    ) as error:
        raise ModelError(
            f"the file is damaged, or says what is not understood: {shorten(ascii(error), 100)}", about=name,
            fix="check it with onnx.checker",
        ) from None


def _parsed(onnx: Any, name: str) -> Any:
    """The file as ONNX's own classes, weights in other files left there."""
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not os.path.isfile(name) or size > MOST:
            raise ModelError(f"{name} is no file of at most {MOST} bytes", fix="give the .onnx file")
        data = file.read()
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # the protocol buffers' own
        said = shorten(ascii(error), 80)
        raise ModelError(f"{name} is no ONNX file: {said}", fix="export the network again") from None
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not model.graph.node or not versions:
        raise ModelError(f"{name} is no ONNX file, or holds no network", fix="export the network again")
    if versions[0] < OLDEST:
        raise ModelError(
            f"{name} is of opset {versions[0]}, older than {OLDEST}", fix="convert it with onnx.version_converter"
        )
    if len(model.functions):
        raise ModelError(f"{name} defines functions of its own", fix="inline them with onnx.inliner")
    return model


def _array(tensor: Any, folder: str) -> Array:
    """The values of a tensor, for which the bytes must be there. Raises ModelError."""
    kind = REAL.get(tensor.data_type) or WHOLE.get(tensor.data_type)
    shape = tuple(int(extent) for extent in tensor.dims)
    if kind is None or any(extent < 0 for extent in shape):
        raise ModelError(f"{tensor.name!a} is of type {tensor.data_type} and shape {shape}")
    count = math.prod(shape)
    if tensor.data_location == 1:
        return _outside(tensor, folder, np.dtype(kind), shape)
    if tensor.raw_data:
        raw = tensor.raw_data
        if len(raw) != count * np.dtype(kind).itemsize:
            raise ModelError(f"{tensor.name!a} of shape {shape} has {len(raw)} bytes", fix="export it again")
        return np.frombuffer(raw, np.dtype(kind).newbyteorder("<")).astype(kind).reshape(shape)
    fields = {1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data", 13: "uint64_data"}
    values = getattr(tensor, fields.get(tensor.data_type, "int32_data"))
    if len(values) != count:
        raise ModelError(f"{tensor.name!a} of shape {shape} has {len(values)} entries", fix="export it again")
    if tensor.data_type == 10:
        return np.array(values, np.uint16).view(np.float16).reshape(shape)
    return np.array(values).astype(kind).reshape(shape)


def _outside(tensor: Any, folder: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Values in a file beside the network's, in the same folder."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    root = os.path.realpath(folder)
    place = os.path.realpath(os.path.join(root, said.get("location", "")))
    if os.path.commonpath([root, place]) != root or not os.path.isfile(place):
        raise ModelError(
            f"{tensor.name!a} is said to lie in {shorten(ascii(said.get('location', '')), 60)}, which is no file in "
            "the folder of the network", fix="put the external data beside the file",
        )
    start, size = int(said.get("offset", 0)), math.prod(shape) * kind.itemsize
    if start < 0 or start + size > os.path.getsize(place):
        raise ModelError(f"{tensor.name!a} of shape {shape} lies beyond the end of its file", fix="export it again")
    with open(place, "rb") as file:
        file.seek(start)
        return np.frombuffer(file.read(size), kind.newbyteorder("<")).astype(kind).reshape(shape)


class _Import:
    """One reading of a file."""

    def __init__(self, file: Any, arrays: dict[str, Array], fixed: set[str], shared: set[str]) -> None:
        self.file, self.graph_proto = file, file.graph
        self.version = max(entry.version for entry in file.opset_import if entry.domain in ("", "ai.onnx"))
        for name in fixed - arrays.keys():
            raise ModelError(f"there is no initialiser {name!r}", fix="see the names in the file")
        running = {name for node in file.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}
        self.trained = {
            name for name, array in arrays.items()
            if array.dtype.kind == "f" and array.ndim and name not in fixed | running
        }
        self.arrays = arrays
        self.graph = Graph({name: arrays[name] for name in self.trained}, {*self.trained}, shared)
        self.uses = Counter(name for node in file.graph.node for name in node.input if name)
        self.uses.update(out.name for out in file.graph.output)
        self.values: dict[str, Any] = {}
        self.readers: dict[str, list[Any]] = {}
        for node in file.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def output(self, number: int) -> View:
        outputs = self.graph_proto.output
        if not 0 <= number < len(outputs):
            raise ModelError(f"the network has {len(outputs)} outputs", fix="choose one of them by output=0")
        needed = self._needed(outputs[number].name)
        for name, array in self.arrays.items():
            self.values[name] = self.graph.weight(name) if name in self.trained else array
        for given in self.graph_proto.input:
            if given.name not in self.values:
                self._input(given)
        for node in needed:
            self._node(node)
        result = self.values.get(outputs[number].name)
        if not isinstance(result, View):
            raise ModelError("the output is the same for all samples", fix="choose another by output=1")
        return result

    def _needed(self, output: str) -> list[Any]:
        """The nodes that an output depends on, in the order of the file, which must be one in which they can run."""
        made: dict[str, int] = {}
        known = {*self.arrays, *(given.name for given in self.graph_proto.input)}
        nodes = list(self.graph_proto.node)
        for number, node in enumerate(nodes):
            for name in node.input:
                if name and name not in known:
                    raise ModelError(
                        f"the node {number + 1} reads {shorten(ascii(name), 40)}, which no input and no node before it "
                        "gives", fix="a network has no cycles, and its nodes stand in order",
                    )
            for name in node.output:
                if name and name in known:
                    raise ModelError(f"{shorten(ascii(name), 40)} is defined twice", fix="export the network again")
                if name:
                    known.add(name)
                    made[name] = number
        found, left = set[int](), [output]
        while left:
            number = made.get(left.pop())
            if number is not None and number not in found:
                found.add(number)
                left += nodes[number].input
        return [nodes[number] for number in sorted(found)]

    def _input(self, given: Any) -> None:
        kind = given.type.tensor_type
        extents = [dim.dim_value for dim in kind.shape.dim][1:]
        if not kind.HasField("shape") or not kind.shape.dim or any(extent < 1 for extent in extents):
            raise ModelError(
                f"the input {given.name!a} has no fixed shape of a sample", fix="export it with the samples alone open"
            )
        if kind.elem_type not in REAL and kind.elem_type not in WHOLE:
            raise ModelError(f"the input {given.name!a} is of type {kind.elem_type}", fix="give it real numbers")
        self.values[given.name] = self.graph.input(extents, integer=kind.elem_type in WHOLE)

    def _node(self, proto: Any) -> None:
        name, path = proto.op_type, [part for part in proto.name.split("/") if part]
        call = self.graph.call
        call.path, call.name = ".".join(path[:-1]), name.lower()
        call.where = f"the node {shorten(ascii(proto.name or proto.output[0]), 80)} ({shorten(ascii(name)[1:-1], 40)})"
        call.soft = self._softened(proto)
        if proto.domain not in ("", "ai.onnx"):
            self.graph.refuse(f"the operator {proto.domain!a}.{name!a}", "operators of ONNX itself come in")
        node = Node(
            self.graph, name, [self.values[i] if i else None for i in proto.input], dict(_attributes(proto)),
            self.version, len(proto.output), [*proto.input], [self.uses[i] for i in proto.input],
            proto.output[0],
        )
        plain = not any(isinstance(value, (View, Extents)) for value in node.inputs)
        if name in FOLDED and plain and name != "Shape":
            found: Any = self._folded(node)
        else:
            row = FUNCTIONS.get(name) or ROWS.get(name)
            if row is None:
                self.graph.refuse(
                    f"there is no row for ONNX's {ascii(name)[1:-1]}", "export the network with other operators"
                )
            found = self._biased(proto, node) or row(node)
        for place, made in enumerate(found if isinstance(found, list) else [found]):
            if place < len(proto.output):
                self.values[proto.output[place]] = made.known if isinstance(made, Extents) else made

    def _folded(self, node: Node) -> Any:
        with np.errstate(all="ignore"):
            found = FOLDED[node.kind](node)
        if np.size(found) > ENTRIES:
            self.graph.refuse("a constant of more entries than the file can hold", "")
        return found

    def _biased(self, proto: Any, node: Node) -> Any:
        """A product with a matrix of weights and the addition of a vector after it are one dense layer: the addition
        waits for the product, which is here what it read."""
        if proto.op_type != "MatMul" or self.uses[proto.output[0]] != 1 or proto.input[1] not in self.trained:
            return None
        (reader,) = self.readers.get(proto.output[0], [None])
        if reader is None or reader.op_type != "Add":
            return None
        others = [name for name in reader.input if name != proto.output[0]]
        array = self.arrays.get(others[0]) if others else None
        weight = self.arrays[proto.input[1]]
        alone = array is not None and others[0] in self.trained and self.uses[others[0]] == 1
        if not alone or array is None or array.shape != weight.shape[1:]:
            return None
        node.bias = self.graph.weight(others[0])
        self.values[others[0]] = 0.0
        return None

    def _softened(self, proto: Any) -> bool:
        if proto.op_type in SOFT:
            return True
        left, any_reader = [*proto.output], False
        while left:
            for reader in self.readers.get(left.pop(), []):
                any_reader = True
                if reader.op_type in MOVES:
                    left += reader.output
                elif reader.op_type not in SOFT:
                    return False
        return any_reader


def _attributes(node: Any) -> Iterator[tuple[str, Any]]:
    """What is said beside the inputs: numbers, texts, lists of them, tensors."""
    for attribute in node.attribute:
        match attribute.type:
            case 1:
                yield attribute.name, float(attribute.f)
            case 2:
                yield attribute.name, int(attribute.i)
            case 3:
                yield attribute.name, attribute.s.decode("utf-8", "replace")
            case 4:
                yield attribute.name, _array(attribute.t, ".")
            case 6:
                yield attribute.name, [float(value) for value in attribute.floats]
            case 7:
                yield attribute.name, [int(value) for value in attribute.ints]
            case other:
                yield attribute.name, f"<of type {other}>"
