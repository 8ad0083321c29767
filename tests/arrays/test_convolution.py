"""Convolutions recognised in the array program: what the node says is what its einsum computes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.arrays.ids import Limits
from chainrule.arrays.lower import lower
from chainrule.arrays.nodes import Convolution, Einsum, Node, Slice, in_order
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program
from chainrule.nn.layer import Layer

Array = NDArray[Any]
LAYERS: dict[str, tuple[tuple[int, ...], Layer, int]] = {
    # the shape of one sample, a layer, and in how many residue classes of its input's gradient a window slides
    "plain": ((2, 6, 5), cr.Conv2d(4, 3), 1),
    "padded": ((2, 6, 5), cr.Conv2d(4, (3, 2), padding=(1, 0)), 1),
    "strided": ((2, 7, 6), cr.Conv2d(4, 3, stride=2, padding=1), 3),
    "strided one way": ((2, 7, 6), cr.Conv2d(4, 3, stride=(1, 3)), 1),
    "dilated": ((2, 9, 7), cr.Conv2d(4, 3, dilation=2, padding=2), 1),
    "strided and dilated": ((2, 9, 9), cr.Conv2d(4, 3, stride=2, dilation=(2, 3), padding=1), 2),
    "grouped": ((4, 6, 6), cr.Conv2d(6, 3, groups=2, padding=1), 1),
    "grouped, strided": ((4, 7, 7), cr.Conv2d(4, 3, groups=2, stride=2, dilation=1), 3),
    "depthwise": ((4, 6, 6), cr.Conv2d(4, 3, groups=4), 1),
    "transposed": ((2, 3, 3), cr.ConvTranspose2d(3, 3, stride=2, padding=1, output_padding=1), 1),
    "one axis": ((2, 9), cr.Conv1d(3, 3, padding=2), 1),
    "one axis, strided": ((2, 9), cr.Conv1d(3, 4, stride=3, dilation=2, padding=2), 1),
}


def model_of(name: str) -> cr.Model:
    shape, layer, _ = LAYERS[name]
    x = cr.Input(*shape)
    return cr.Model(x, cr.Dense(2)(layer(cr.Tanh()(x))), loss="half_squared_error", dtype="float64")


def nodes_of(program: Program, kind: type[Node]) -> list[tuple[str, Node]]:
    equations = program.equations
    lowered = lower(equations, {}, Limits(equations, program.given))
    return [(a.tensor.name, node) for a in lowered for node in in_order(a.value) if isinstance(node, kind)]


@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_both_gradients_are_convolutions(name: str) -> None:
    model = model_of(name)
    label = model.network.layers[1][0]
    found = [tensor for tensor, _ in nodes_of(model.derive().joint, Convolution)]
    before = f"δ({label}.z)" if name == "transposed" else "δ(tanh1.z)"
    assert sorted(found) == sorted([f"{label}.u", f"δ({label}.W)", *[before] * LAYERS[name][2]])
    for _, node in nodes_of(model.derive().joint, Einsum):  # no window that slides is left to an einsum
        reads = [(s, e) for o in node.operands if isinstance(o, Slice)
                 for s, e in zip(o.subscripts, o.operands[0].shape, strict=True)]
        assert isinstance(node, Convolution) or not any(len(s.terms) > 1 and not s.radix(e) for s, e in reads)


def by_the_node(node: Convolution, image: Array, kernel: Array) -> Array:
    """The sum of products, place by place, from what the node says of windows and of roles alone."""
    batch, groups, outer, features = node.roles
    sliding = {w.axis: w for w in node.windows}
    summed = tuple(dict.fromkeys(i for own in node.indices for i in own if i not in node.kept))
    assert {*features, *(w.within for w in node.windows)} <= {*summed}
    free = (*batch, *groups, *outer, *(w.place for w in node.windows))
    assert sorted(i.name for i in free) == sorted(i.name for i in node.kept)
    result = np.zeros([int(i.extent) for i in node.kept])
    for at in product(*(range(int(i.extent)) for i in (*free, *summed))):
        value = dict(zip((*free, *summed), at, strict=True))
        place = list[int]()
        for axis, s in enumerate(node.slice.subscripts):
            window = sliding.get(axis)
            if window is not None:
                stride, dilation = s.coefficient(window.place), s.coefficient(window.within)
                place.append(stride * value[window.place] + dilation * value[window.within] + s.offset)
            else:
                place.append(s.offset + sum(c * value[i] for i, c in s.terms))
        factor = kernel[tuple(value[i] for i in node.indices[1 - node.image])]
        result[tuple(value[i] for i in node.kept)] += image[tuple(place)] * factor
    return result


TEXTS = [
    ("y[n, o, i<5] = sum[c, p](W[o, c, p]*x[n, c, i + p])", {"W": (2, 2, 3), "x": (2, 2, 7)}),
    ("y[n, o, i<2] = sum[c, p](x[n, c, 3*i + 2*p]*W[o, c, p])", {"W": (2, 2, 3), "x": (2, 2, 8)}),
    ("y[n, c, h<4] = sum[o, p](x[n, o, 5 + h - 2*p]*W[o, c, p])", {"W": (2, 3, 3), "x": (2, 2, 9)}),
    ("y[o, c, p<3] = sum[n, i](d[n, o, i]*x[n, c, 2*i - p + 2])", {"d": (2, 2, 3), "x": (2, 3, 7)}),
    ("y[n, 2*(g<2) + (o<2), i<3] = sum[c<2, p](W[2*g + o, c, p]*x[n, 2*g + c, 2*i + p])",
     {"W": (4, 2, 2), "x": (2, 4, 7)}),
    ("y[n, o, i<3, j<2] = sum[p, q<2](W[o, p, q]*x[n, i + p, 2*j + q])", {"W": (2, 2, 2), "x": (2, 4, 4)}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shapes"), TEXTS)
def test_a_convolution_says_what_its_einsum_computes(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    known = {name: Tensor(name, shape) for name, shape in shapes.items()}
    program = Program(tuple(parse_program(text, tensors=known)), inputs=tuple(known.values()))
    ((_, node),) = nodes_of(program, Convolution)
    assert isinstance(node, Convolution)
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    kernel = given["d" if "d" in given else "W"]
    kernel = kernel.reshape([int(n) for n in node.kernel.shape])
    whole = execute(program, given)["y"]
    expected = by_the_node(node, given["x"], kernel)
    np.testing.assert_allclose(whole.reshape(expected.shape), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "text",
    [
        "y[n, i<3] = sum[p<2](x[n, i + p]*w[i, p])",  # the kernel changes with the place
        "y[n, i<3] = sum[p<2](x[n, i + p]*w[i, p]*b[p])",  # three factors
        "y[n, i<3] = sum[p<2, c](x[n, i + p]*w[i, c])",  # what is within the window is not in the kernel
        "y[n, c] = sum[p<2](x[n, 2*p + 1]*w[p, c])",  # a slice, and no window
        "y[n, p<2, c] = x[n, p + 1]*w[p, c]",  # no sum
        "y[i<2, c] = sum[p<2](x[i + p, i + p]*w[p, c])",  # a diagonal
        "y[n, i<3] = sum[p<2](x[n, i + p]*[p == i])",  # a bracket
    ],
)
def test_what_is_no_convolution_is_not_taken_for_one(text: str) -> None:
    known = {"x": Tensor("x", (4, 6)), "w": Tensor("w", (3, 2) if "*w[i" in text else (2, 5)), "b": Tensor("b", (2,))}
    equations = parse_program(text, tensors=known)
    program = Program(tuple(equations), inputs=tuple(known.values()))
    assert nodes_of(program, Convolution) == []
