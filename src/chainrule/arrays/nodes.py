"""The array program: a small closed set of operations on whole arrays, to which every equation is lowered once.

Executed it is the NumPy executor, printed it is the NumPy listing. Shapes are numbers, or names of extents that are
open, as the number of samples is; no shape depends on the data. Two arrays meet entry by entry as in NumPy: their last
axes stand below each other, and an axis of length 1 is repeated. Axes that are read or summed carry the index that runs
over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Literal

from chainrule.ir import expr as ir
from chainrule.ir.index import Affine, Extent, Index

DType = Literal["real", "integer", "bool"]
Shape = tuple[Extent, ...]
Axes = tuple[Index, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """An array, made of others."""

    operands: tuple[Node, ...]
    shape: Shape
    dtype: DType


@dataclass(frozen=True, eq=False)
class Given(Node):
    """The value of a tensor."""

    tensor: ir.Tensor


@dataclass(frozen=True, eq=False)
class Number(Node):
    """A rational number, a named real one, or minus infinity."""

    value: ir.NamedReal | ir.Pad


@dataclass(frozen=True, eq=False)
class Size(Node):
    """The number of an open extent."""

    extent: str


@dataclass(frozen=True, eq=False)
class Iota(Node):
    """The values of a subscript, over its indices."""

    subscript: Affine


@dataclass(frozen=True, eq=False)
class Cast(Node):
    """The array as another type: true is 1."""


@dataclass(frozen=True, eq=False)
class Transpose(Node):
    """Axis k is axis `order[k]` of the array."""

    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Reshape(Node):
    """The same entries in the same order."""


@dataclass(frozen=True, eq=False)
class Broadcast(Node):
    """The array repeated along axes that it lacks or that have length 1."""


@dataclass(frozen=True, eq=False)
class Pad(Node):
    """The array with entries put before and after, along each axis so many."""

    widths: tuple[tuple[int, int], ...]
    fill: ir.Pad


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """The array at affine subscripts, over `axes`: slices with any step, sliding windows, diagonals."""

    subscripts: tuple[Affine, ...]
    axes: Axes


@dataclass(frozen=True, eq=False)
class Gather(Node):
    """The first operand at whole numbers, the other operands, which stand for its axes from `axis` on."""

    axis: int


@dataclass(frozen=True, eq=False)
class Scatter(Node):
    """Zeros with each entry of the first operand, in order, added at whole numbers: the other operands, which stand for
    the first axes of the result and are over the first axes of the entries."""


@dataclass(frozen=True, eq=False)
class Reduce(Node):
    """A reduction over axes. `argmax` gives the position of the first greatest entry, the last axis counted fastest;
    where its second operand is false no entry is chosen.

    The logarithm of a sum of exponentials is two arrays. Its `peak` is the greatest entry, or 0 where that is not
    finite; its `rest` is the logarithm of the sum of exp(x − peak), whose second operand is the peak."""

    kind: ir.ReduceKind | Literal["peak", "rest"]
    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Einsum(Node):
    """The sum of the product of arrays over all of their `indices` but those kept. Where an array of booleans is false
    the product is 0, whatever stands beside it."""

    indices: tuple[Axes, ...]
    kept: Axes


@dataclass(frozen=True, eq=False)
class Convolution(Einsum):
    """An einsum of two arrays of which one, operand `image`, is a slice of a third, seen through windows: the axes
    `windows` of it are read at stride·x + dilation·p + offset, x an index of the image alone that the result keeps, p
    one of the other array, the kernel, that is summed. Stride and dilation may be negative. Every other index is the
    only one in its subscript, or one of a mixed-radix number; what is summed and in one of the two alone is summed
    there.

    A layer's convolution, its gradient by the input and its gradient by the weights are all of this one form: in the
    last, the window slides over the places in the kernel and the dilation is the layer's stride."""

    image: int
    windows: tuple[Window, ...]

    @property
    def slice(self) -> Slice:
        node = self.operands[self.image]
        assert isinstance(node, Slice)
        return node

    @property
    def kernel(self) -> Node:
        return self.operands[1 - self.image]

    @property
    def roles(self) -> tuple[Axes, Axes, Axes, Axes]:
        """The indices outside of windows: those of the batch, in the image alone; groups, in both and the result;
        those of the kernel alone; features, in both and summed."""
        own, other = self.indices[self.image], self.indices[1 - self.image]
        sliding = {i for w in self.windows for i in (w.place, w.within)}
        batch = tuple(i for i in own if i in self.kept and i not in other and i not in sliding)
        groups, features = (
            tuple(i for i in own if i in other and i not in sliding and (i in self.kept) is kept)
            for kept in (True, False)
        )
        return batch, groups, tuple(i for i in other if i in self.kept and i not in own), features


@dataclass(frozen=True, eq=False)
class Map(Node):
    """A function entry by entry: one of the catalogue, add, multiply, where, and, equal, less, less_equal. Terms are
    added in their order."""

    function: str


@dataclass(frozen=True, eq=False)
class Power(Node):
    """A constant power of every entry."""

    exponent: Fraction


@dataclass(frozen=True)
class Window:
    """Of a convolution: the axis that is seen through it, the index of the result that moves it, and that within."""

    axis: int
    place: Index
    within: Index


@dataclass(frozen=True)
class Assignment:
    """tensor = value, or the part of it at affine subscripts."""

    tensor: ir.Tensor
    value: Node
    part: tuple[Affine, ...] | None = None


def in_order(root: Node, operands: Callable[[Node], Sequence[Node]] = attrgetter("operands")) -> Iterator[Node]:
    """Every array that one is made of, and itself, operands first, each once."""
    done: set[Node] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        missing = [o for o in operands(node) if o not in done]
        if node in done or not missing:
            stack.pop()
            if node not in done:
                done.add(node)
                yield node
        else:
            stack += missing[::-1]


def number(value: int | ir.NamedReal | ir.Pad, dtype: DType = "real") -> Node:
    return Number((), (), dtype, Fraction(value) if isinstance(value, int) else value)


def transpose(node: Node, order: Sequence[int]) -> Node:
    if list(order) == list(range(len(order))):
        return node
    return Transpose((node,), tuple(node.shape[k] for k in order), node.dtype, tuple(order))


def reshape(node: Node, shape: Sequence[Extent]) -> Node:
    return node if node.shape == tuple(shape) else Reshape((node,), tuple(shape), node.dtype)


def cast(node: Node, dtype: DType) -> Node:
    match node:
        case Map(operands=(Iota(subscript=a), Iota(subscript=b)), function="equal") if not (a.terms or b.terms):
            return number(int(a.offset == b.offset), dtype)  # what is known is no comparison
        case _:
            pass
    return node if node.dtype == dtype else Cast((node,), node.shape, dtype)


def mapped(function: str, *arguments: Node) -> Node:
    dtype = "bool" if function in ("equal", "less", "less_equal") else arguments[-1].dtype
    return Map(arguments, broadcast(*(a.shape for a in arguments)), dtype, function)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of arrays that meet entry by entry."""
    rank = max(map(len, shapes))
    longer = [(*(1,) * (rank - len(s)), *s) for s in shapes]
    return tuple(next((e for e in sizes if e != 1), 1) for sizes in zip(*longer, strict=True))
