"""The array program as an ONNX graph of standard operators: a step of training too runs where only inference does.

One entry for each node of `arrays/nodes.py`. A value is known by the name of the tensor that it is a part of; the node
that ends an equation carries the equation as its doc string. The number of samples stays open.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from string import ascii_letters
from typing import Any, TypeGuard

import numpy as np

from chainrule.arrays.convolution import around, move
from chainrule.arrays.ids import Limits
from chainrule.arrays.lower import lower
from chainrule.arrays.nodes import (
    Assignment,
    Axes,
    Broadcast,
    Cast,
    Convolution,
    Einsum,
    Gather,
    Given,
    Iota,
    Map,
    Node,
    Number,
    Pad,
    Power,
    Reduce,
    Reshape,
    Scatter,
    Shape,
    Size,
    Slice,
    Transpose,
    broadcast,
    in_order,
)
from chainrule.errors import ModelError
from chainrule.ir.expr import ADJOINT, Tensor
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.print import spelled, to_text
from chainrule.ir.program import Equation
from chainrule.targets.onnx_graph import FUNCTIONS, REST, Array, File, Graph, numbers

OPSET, IR = 18, 10


def to_bytes(file: File) -> bytes:
    """The model, checked. Raises ModelError where `onnx` is missing, or for what ONNX has no words for."""
    onnx, task = _onnx(), file.task
    helper, graph = onnx.helper, _Graph(file, onnx)
    for tensor in (*task.data, *task.kept):
        graph.known[tensor] = graph.unique(tensor.name)
    limits = Limits(task.equations, [t for t in task.data if t.dtype == "integer"])
    parts = Counter(e.tensor for e in task.equations)
    for equation, assignment in zip(task.equations, lower(task.equations, {}, limits, select=True), strict=True):
        graph.assign(equation, assignment, parts[equation.tensor])
    kinds = {"real": helper.np_dtype_to_tensor_dtype(file.dtype), "integer": onnx.TensorProto.INT64}

    def info(tensor: Tensor, name: str) -> Any:
        return helper.make_tensor_value_info(name, kinds[tensor.dtype], list(tensor.shape))

    inputs = [info(t, t.name) for t in (*task.data, *(() if file.fixed else task.kept))]
    for tensor, name in file.outputs.items():
        if graph.known[tensor] != name:
            graph.known[tensor] = graph.named(graph.known[tensor], name, len(graph.nodes))
    outputs = [info(t, graph.known[t]) for t in file.outputs]
    graph.constants |= {t.name: np.asarray(file.values[t.name], file.dtype) for t in task.kept if t.name in file.values}
    nodes: Any = [
        helper.make_node(kind, list(of), [made], name=made, doc_string=graph.says.get(made), **attributes)
        for kind, of, made, attributes in graph.nodes
    ]
    read = {name for _, of, _, _ in graph.nodes for name in of} | {t.name for t in task.kept}
    tensors: Any = [onnx.numpy_helper.from_array(a, name) for name, a in graph.constants.items() if name in read]
    model: Any = helper.make_model(
        helper.make_graph(nodes, file.name, inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="chainrule",
        producer_version=file.about["chainrule"],
    )
    helper.set_model_props(model, dict(file.about))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _onnx() -> Any:  # the package, which is not typed
    try:
        import onnx
    except ModuleNotFoundError:
        raise ModelError("ONNX needs the package onnx", fix="install it: pip install 'chainrule[onnx]'") from None
    return onnx


def _word(tensor: Tensor) -> str:
    """A name that every tool takes: the gradient of x is grad.x."""
    role = tensor.role
    if role is None or role.of is None:
        return spelled(tensor)
    return f"grad.{_word(role.of)}" if role.kind == ADJOINT else f"{_word(role.of)}.{role.kind}{role.number or ''}"


@dataclass
class _Graph(Graph):
    """With the nodes of the array program, and the equations made of them."""

    pieces: dict[Tensor, list[tuple[Assignment, str]]] = field(default_factory=dict[Any, Any])

    # Equations

    def assign(self, equation: Equation, assignment: Assignment, count: int) -> None:
        """The nodes of one equation. A tensor that is written part by part is put together with its last part."""
        tensor = equation.tensor
        self.within, before = _word(tensor), len(self.nodes)
        made = self.value(assignment.value)
        if assignment.part is not None:
            pieces = self.pieces.setdefault(tensor, [])
            pieces.append((assignment, made))
            if len(pieces) < count:
                return
            made = self.joined(tensor, self.pieces.pop(tensor))
        name = self.named(made, self.file.outputs.get(tensor, _word(tensor)), before)
        self.says[name] = to_text(equation)
        self.known[tensor] = name

    def joined(self, tensor: Tensor, pieces: Sequence[tuple[Assignment, str]]) -> str:
        """A tensor of its parts: laid side by side, each component is fetched from where it lies."""
        parts = [a.part or () for a, _ in pieces]
        whole = [
            axis for axis, extent in enumerate(tensor.shape)
            if all(p[axis].plain is not None and p[axis].indices[0].extent == extent for p in parts)
        ]
        rest = [axis for axis in range(len(tensor.shape)) if axis not in whole]
        sizes = [tensor.shape[axis] for axis in rest]
        if any(isinstance(e, str) for e in sizes):
            raise ModelError(
                f"ONNX has no parts of an axis whose extent is open, as those of {tensor.name} are",
                fix="give the extent a number",
            )
        lengths, flat, at = [int(e) for e in sizes], list[str](), list[Array]()
        for (_, made), part in zip(pieces, parts, strict=True):
            own = [i for s in part for i in s.indices]
            over = [i for axis in rest for i in part[axis].indices]
            first = [part[axis].indices[0] for axis in whole]
            made = self.transposed(made, [own.index(i) for i in (*first, *over)])
            count = math.prod(int(i.extent) for i in over)
            flat.append(self.reshaped(made, [*(i.extent for i in first), count]))
            weights = [math.prod(lengths[k + 1 :]) for k in range(len(rest))]
            place = Affine.total((part[axis], w) for axis, w in zip(rest, weights, strict=True))
            at.append(numbers(place, over).ravel())
        found = np.concatenate(at)
        assert sorted(found) == [*range(math.prod(lengths))], "every component is defined once"
        result = self.add("Concat", *flat, axis=len(whole))
        result = self.add("Gather", result, self.constant(np.argsort(found)), axis=len(whole))
        result = self.reshaped(result, [tensor.shape[axis] for axis in (*whole, *rest)])
        return self.transposed(result, np.argsort([*whole, *rest]).tolist())

    def value(self, root: Node) -> str:
        made = dict[Node, str]()
        for node in in_order(root, self.needed):
            made[node] = self.one(node, [made[o] for o in self.needed(node)])
        return made[root]

    def needed(self, node: Node) -> Sequence[Node]:
        """The operands that a node is made of here: a convolution reads the array that its windows slide over."""
        return (around(node)[0], node.kernel) if self.slides(node) else node.operands

    def one(self, node: Node, of: Sequence[str]) -> str:
        """An array of the array program, from its operands."""
        first = node.operands[0] if node.operands else node
        match node:
            case Given(tensor=tensor):
                return self.known[tensor]
            case Number(value=value, dtype=dtype):
                named = {"pi": math.pi, "e": math.e, "-inf": -math.inf}
                return self.scalar(named[value] if isinstance(value, str) else value, dtype)
            case Size(extent=extent, dtype=dtype):
                count = self.add("Squeeze", self.size(extent))
                return count if dtype == "integer" else self.cast(count, "real")
            case Iota(subscript=subscript):
                return self.places(subscript)
            case Cast(dtype=dtype):
                return self.cast(of[0], dtype)
            case Transpose(order=order):
                return self.add("Transpose", of[0], perm=[*order])
            case Reshape(shape=shape):
                return self.reshaped(of[0], shape)
            case Broadcast(shape=shape):
                return self.expanded(of[0], first.shape, shape)
            case Pad(widths=widths, fill=fill):
                around = self.ints(*(before for before, _ in widths), *(after for _, after in widths))
                lowest = np.iinfo(np.int64).min if node.dtype == "integer" else -math.inf
                value = lowest if fill == "-inf" else fill
                assert not isinstance(value, str)
                return self.add("Pad", of[0], around, self.scalar(value, node.dtype))
            case Slice(subscripts=subscripts, axes=axes):
                return self.sliced(of[0], first.shape, subscripts, axes)
            case Gather(axis=axis):
                return self.gathered(of, [o.shape for o in node.operands], axis)
            case Scatter():
                return self.scattered(node, of)
            case Reduce():
                return self.reduced(node, of)
            case Convolution() if self.slides(node):
                return self.convolved(node, *of)
            case Einsum():
                return self.einsum(node, of)
            case Map(function=function):
                return FUNCTIONS[function](self, of)
            case Power(exponent=exponent):
                return self.power(of[0], exponent)
            case _:
                raise TypeError(f"{type(node).__name__} is not in ONNX")

    # Nodes

    def sliced(self, of: str, shape: Shape, subscripts: Sequence[Affine], axes: Axes) -> str:
        """An array at affine subscripts: slices with steps in one operator, windows fetched axis by axis, and what an
        index reads along several axes fetched at once."""
        used = Counter(i for s in subscripts for i in set(s.indices))
        shared = [k for k, s in enumerate(subscripts) if any(used[i] > 1 for i in s.indices)]
        rest = [k for k in range(len(subscripts)) if k not in shared]
        found: Axes = ()
        if shared:
            found = tuple(dict.fromkeys(i for k in shared for i in subscripts[k].indices))
            of = self.transposed(of, [*shared, *rest])
            of = self.at(of, [self.over(subscripts[k], found) for k in shared], tuple(i.extent for i in found))
        steps, fetched = list[tuple[int, int, int, int]](), list[tuple[int, Affine]]()
        for k, axis in zip(rest, range(len(found), len(found) + len(rest)), strict=True):
            s, extent = subscripts[k], shape[k]
            if s.plain is not None and s.plain.extent == extent:
                continue
            if len(s.terms) == 1 and isinstance(s.terms[0][0].extent, int):
                ((index, c),) = s.terms
                stop = s.offset + c * int(index.extent)
                steps.append((s.offset, stop if stop >= 0 else REST, axis, c))
            else:
                fetched.append((axis, s))
        if steps:
            of = self.add("Slice", of, *(self.ints(*numbers) for numbers in zip(*steps, strict=True)))
        for axis, s in reversed(fetched):
            of = self.add("Gather", of, self.places(s), axis=axis)
        own = (*found, *(i for k in rest for i in subscripts[k].indices))
        return self.transposed(of, [own.index(i) for i in axes])

    def over(self, subscript: Affine, axes: Axes) -> tuple[str, Shape]:
        """The values of a subscript, to stand beside others over these axes, and the shape that they have."""
        order = sorted(range(len(subscript.terms)), key=lambda k: axes.index(subscript.indices[k]))
        made = self.transposed(self.places(subscript), order)
        shape = tuple(i.extent if i in subscript.indices else 1 for i in axes)
        return self.reshaped(made, shape), shape

    def at(self, of: str, places: Sequence[tuple[str, Shape]], shape: Shape) -> str:
        """An array at whole numbers along its first axes, which come to stand over this shape."""
        whole = [self.expanded(p, own, shape) if own != shape else p for p, own in places]
        last = self.ints(len(shape))
        return self.add("GatherND", of, self.add("Concat", *(self.add("Unsqueeze", p, last) for p in whole), axis=-1))

    def gathered(self, of: Sequence[str], shapes: Sequence[Shape], axis: int) -> str:
        array, *places = of
        if len(places) == 1:
            return self.add("Gather", array, places[0], axis=axis)
        rank, count = len(shapes[0]), len(places)
        shape = broadcast(*shapes[1:])
        taken = [*range(axis, axis + count)]
        array = self.transposed(array, [*taken, *(k for k in range(rank) if k not in taken)])
        array = self.at(array, [*zip(places, shapes[1:], strict=True)], shape)
        width = len(shape)
        order = [*range(width, width + axis), *range(width), *range(width + axis, width + rank - count)]
        return self.transposed(array, order)

    def scattered(self, node: Scatter, of: Sequence[str]) -> str:
        """Each row of terms added to a row of zeros, one after another: as `ScatterElements` does it everywhere, and
        `ScatterND` by several threads at once."""
        terms, *places = of
        count, row = len(places), places[0]
        for place, extent in zip(places[1:], node.shape[1:], strict=False):
            row = self.add("Add", self.add("Mul", row, self.size(extent)), place)
        over = node.operands[0].shape[: len(node.operands[0].shape) - len(node.shape) + count]
        meeting = broadcast(*(o.shape for o in node.operands[1:]))
        row = self.expanded(row, meeting, over) if meeting != over else row
        width = self.product(node.shape[count:])
        minus = self.ints(-1)
        updates = self.add("Reshape", terms, self.add("Concat", minus, width, axis=0))
        index = self.add("Expand", self.add("Reshape", row, self.ints(-1, 1)), self.add("Shape", updates))
        rows = self.add("Concat", self.product(node.shape[:count]), width, axis=0)
        zeros = self.add("Expand", self.scalar(0), rows)
        made = self.add("ScatterElements", zeros, index, updates, axis=0, reduction="add")
        return self.add("Reshape", made, self.vector(node.shape))

    def reduced(self, node: Reduce, of: Sequence[str]) -> str:
        axes = self.ints(*node.axes)
        match node.kind:
            case "sum":
                return self.add("ReduceSum", of[0], axes, keepdims=0)
            case "max":
                return self.add("ReduceMax", of[0], axes, keepdims=0)
            case "peak":
                top = self.add("ReduceMax", of[0], axes, keepdims=0)
                finite = self.add("Less", self.add("Abs", top), self.scalar(math.inf))
                return self.add("Where", finite, top, self.scalar(0))
            case "rest":
                shifted = self.add("Sub", of[0], self.add("Unsqueeze", of[1], axes))
                return self.add("Log", self.add("ReduceSum", self.add("Exp", shifted), axes, keepdims=0))
            case _:
                return self.first_greatest(node, of)

    def first_greatest(self, node: Reduce, of: Sequence[str]) -> str:
        """Where the greatest entry stands; where there is a second operand, among the entries where it is true."""
        rank, one = len(node.shape), len(node.axes) == 1

        def flat(array: str) -> str:
            if one:
                return array
            minus = self.ints(-1)
            rows = self.add("Concat", self.vector(node.shape), minus, axis=0) if node.shape else minus
            return self.add("Reshape", array, rows)

        array = flat(of[0])
        if len(of) > 1:
            top = self.add("ReduceMax", array, self.ints(rank), keepdims=1)
            array = self.cast(self.add("And", flat(of[1]), self.add("Equal", array, top)), "integer")
        return self.add("ArgMax", array, axis=rank, keepdims=0)

    def einsum(self, node: Einsum, of: Sequence[str]) -> str:
        of = [self.cast(o, "real") if n.dtype == "bool" else o for o, n in zip(of, node.operands, strict=True)]
        if len(of) == 2 and all(len(axes) == 2 for axes in (*node.indices, node.kept)):
            pairs = [*zip(of, node.indices, strict=True)]
            (a, own), (b, other) = pairs if node.kept[0] in node.indices[0] else pairs[::-1]
            summed = [i for i in own if i not in node.kept]
            if len(summed) == 1 and {*other} == {summed[0], node.kept[1]} and {*own} == {summed[0], node.kept[0]}:
                turns = {"transA": int(own[0] == summed[0]), "transB": int(other[1] == summed[0])}
                return self.add("Gemm", a, b, **{name: 1 for name, turned in turns.items() if turned})
        letters = dict[Index, str](zip(dict.fromkeys(i for o in node.indices for i in o), ascii_letters, strict=False))
        words = ",".join("".join(letters[i] for i in own) for own in node.indices)
        return self.add("Einsum", *of, equation=f"{words}->{''.join(letters[i] for i in node.kept)}")

    def slides(self, node: Node) -> TypeGuard[Convolution]:
        """Whether a node is computed as ONNX's convolution, which onnxruntime has in float32 alone: windows and groups
        have known extents there, and each of its arrays one open extent at most."""
        if not isinstance(node, Convolution) or self.kind != np.float32:
            return False
        known = {*node.roles[1], *(i for w in node.windows for i in (w.place, w.within))}
        sizes = _sizes(node)
        lengths = [*(sizes[i] for i in known), *(around(node)[0].shape[w.axis] for w in node.windows)]
        unknown = [[i for i in own if isinstance(sizes[i], str)] for own in (*node.indices, node.kept)]
        return all(isinstance(e, int) for e in lengths) and max(map(len, unknown)) <= 1

    def convolved(self, node: Convolution, image: str, kernel: str) -> str:
        """A convolution: all of the batch as one axis, groups of features as one, and the windows, which slide
        forwards over no more than they see."""
        (of, widths), (batch, groups, outer, features) = around(node), node.roles
        sizes, windows = _sizes(node), {w.axis: w for w in node.windows}
        moves = [move(w, node.slice.subscripts[a] - widths[a][0], sizes, int(of.shape[a])) for a, w in windows.items()]
        axes = [Index(f"at {axis}", of.shape[axis]) for axis in windows]
        plain = dict(zip(windows, map(Affine.of, axes), strict=True))
        read = [plain.get(axis, s) for axis, s in enumerate(node.slice.subscripts)]
        own, sizes = tuple(i for s in read for i in s.indices), sizes | {i: i.extent for i in axes}
        image = self.sliced(image, of.shape, read, own)
        image = self.merged(image, own, [batch, (*groups, *features), *((i,) for i in axes)], sizes)
        within = [(w.within,) for w in node.windows]
        kernel = self.merged(kernel, node.indices[1 - node.image], [(*groups, *outer), features, *within], sizes)
        kernel = self.turned(kernel, [2 + k for k, m in enumerate(moves) if m.within_turned])
        # Places behind the last window, fewer than its stride, need not be cut off.
        pads = [(m.pad[0], max(m.pad[1], 0) if m.pad[1] > -m.stride else m.pad[1]) for m in moves]
        pairs = enumerate(zip(axes, pads, strict=True))
        cut = [(max(-b, 0), int(i.extent) - max(-a, 0), 2 + k) for k, (i, (b, a)) in pairs if b < 0 or a < 0]
        if cut:
            image = self.add("Slice", image, *(self.ints(*numbers) for numbers in zip(*cut, strict=True)))
        made = self.add(
            "Conv", image, kernel, group=math.prod(int(sizes[i]) for i in groups), strides=[m.stride for m in moves],
            dilations=[m.dilation for m in moves], pads=[max(pair[side], 0) for side in (0, 1) for pair in pads],
        )
        made = self.turned(made, [2 + k for k, m in enumerate(moves) if m.turned])
        shown = (*batch, *groups, *outer, *(w.place for w in node.windows))
        if len(batch) != 1 or len(groups) + len(outer) != 1:
            made = self.reshaped(made, [sizes[i] for i in shown])
        return self.transposed(made, [shown.index(i) for i in node.kept])

    def power(self, of: str, exponent: Fraction) -> str:
        if exponent < 0:
            return self.add("Reciprocal", of if exponent == -1 else self.power(of, -exponent))
        match exponent:
            case Fraction(numerator=2, denominator=1):
                return self.add("Mul", of, of)
            case Fraction(numerator=1, denominator=2):
                return self.add("Sqrt", of)
            case _:
                return self.add("Pow", of, self.scalar(exponent))


def _sizes(node: Convolution) -> dict[Index, Extent]:
    return {i: e for own, o in zip(node.indices, node.operands, strict=True) for i, e in zip(own, o.shape, strict=True)}
