"""Arithmetics over arrays whose axes are indices, and programs run over them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.expr import Component, Delta, Expr, Guard, NamedReal, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.semantics.evaluator import Arithmetic, Evaluator, named
from chainrule.semantics.labelled import (
    Array,
    Axes,
    Labelled,
    Mask,
    axes_of,
    chosen,
    onto,
    ranges,
    reaches,
    relabelled,
    shape_of,
    size,
    undefined_of,
)

_WINDOW = Index("", 0)  # labels a flattened window while its axes are put in order


@dataclass(frozen=True)
class Selected:
    """The positions that maxima have selected in their windows, and those that they could have."""

    seen: dict[Expr, set[int]] = field(default_factory=dict[Expr, set[int]])
    within: dict[Expr, set[int]] = field(default_factory=dict[Expr, set[int]])

    def add(self, body: Expr, position: Array, window: Array, inside: Mask | None) -> None:
        """Of equal entries the first is selected."""
        rows = window.reshape(-1, window.shape[-1])
        first = ~np.tril(rows[:, :, None] == rows[:, None, :], -1).any(-1)
        possible = first if inside is None else first & inside.reshape(rows.shape)
        self.within.setdefault(body, set()).update(np.flatnonzero(possible.any(0)).tolist())
        self.seen.setdefault(body, set()).update(np.ravel(position).tolist())

    @property
    def count(self) -> int:
        """Of the positions that have been selected, each maximum's for itself."""
        return sum(map(len, self.seen.values()))

    @property
    def every(self) -> bool:
        """Whether each maximum has selected each position somewhere."""
        return all(possible <= self.seen[node] for node, possible in self.within.items())


class Entries(Arithmetic[Labelled, Array]):
    """Numbers entry by entry. A subclass says what numbers are, over plain arrays of them."""

    dtype: np.dtype[Any]
    lowest: Any
    """The rank of what is never selected."""
    nothing: Any = None
    """What stands where there is no value; without it, that is an error."""

    def __init__(self, extents: Mapping[str, int], selected: Selected | None = None) -> None:
        super().__init__(extents)
        self.selected = selected
        self._ranges: dict[Affine, Labelled] = {}
        self._outside: set[str] = set()

    # What numbers are.

    @abstractmethod
    def constant(self, value: Fraction) -> Any: ...

    @abstractmethod
    def named(self, name: NamedReal) -> Any: ...

    @abstractmethod
    def lifted(self, data: Array) -> Array:
        """Numbers in place of integers or truth."""

    def plus(self, *arrays: Array) -> Array:
        return reduce(np.add, arrays)

    def times(self, a: Array, b: Array) -> Array:
        return a * b

    def total(self, data: Array, axes: tuple[int, ...]) -> Array:
        return data.sum(axes)

    @abstractmethod
    def raised(self, data: Array, exponent: Fraction) -> Array: ...

    @abstractmethod
    def function(self, name: str, *arguments: Array) -> Array: ...

    @abstractmethod
    def exponentials(self, window: Array) -> Array:
        """log Σ exp over the last axis."""

    def rank(self, window: Array) -> Array:
        """What orders the entries of a window."""
        return window

    def same(self, a: Any, b: Any, beside: Iterable[Any] = ()) -> bool:
        """Whether two numbers count as equal, computed from those `beside` them."""
        return bool(a == b)

    # Values.

    def shape(self, indices: Axes) -> tuple[int, ...]:
        return tuple([size(index.extent, self.extents) for index in indices])

    def array(self, data: Any) -> Array:
        return np.asarray(data, self.dtype)

    def each(self, function: Callable[..., Any], arrays: Sequence[Labelled]) -> Labelled:
        """A function entry by entry over the union of the axes."""
        axes = axes_of(arrays)
        data = self.array(function(*[onto(self.lifted(a.data), a.axes, axes) for a in arrays]))
        mask = undefined_of(arrays, axes)
        return Labelled(axes, data, None if mask is None else np.broadcast_to(mask, data.shape))

    def dot(self, a: Array, b: Array) -> Any:
        """Σ a·b over all entries of two arrays of one shape."""
        return self.array(self.total(self.array(self.times(a, b)), tuple(range(a.ndim))))[()]

    def number(self, value: Fraction) -> Labelled:
        return Labelled((), self.array(self.constant(value)))

    def real(self, name: NamedReal) -> Labelled:
        return Labelled((), self.array(self.named(name)))

    def add(self, terms: Sequence[Labelled]) -> Labelled:
        return self.each(self.plus, terms)

    def power(self, base: Labelled, exponent: Fraction) -> Labelled:
        return self.each(partial(self.raised, exponent=exponent), [base])

    def apply(self, function: str, arguments: Sequence[Labelled]) -> Labelled:
        return self.each(partial(self.function, function), arguments)

    def relabelled(self, value: Labelled, old: Index, new: Index) -> Labelled:
        return relabelled(value, old, new)

    # Reading.

    def given(self, tensor: Tensor, array: Array) -> Array:
        array, shape = np.asarray(array), shape_of(tensor, self.extents)
        if array.shape != shape:
            raise ShapeError(f"an array of shape {array.shape}", about=named(tensor), fix=f"give shape {shape}")
        return array.astype(np.int64) if tensor.dtype == "integer" else self.lifted(array)

    def read(self, array: Array, node: Component, fill: Fraction, rest: Axes = ()) -> Labelled:
        axes = node.free
        if (whole := self._whole(node, array.shape)) is not None:
            return Labelled(axes + rest, array[whole])
        inside, grids = np.asarray(True), list[Array]()
        for subscript, extent in zip(node.subscripts, array.shape, strict=False):
            s = self._range(subscript)
            grid = onto(s.data, s.axes, axes)
            if s.data.min(initial=0) < 0 or s.data.max(initial=0) >= extent:
                inside = inside & (grid >= 0) & (grid < extent)
                grid = np.clip(grid, 0, extent - 1)
            grids.append(grid)
        read = np.asarray(array[tuple(grids)], array.dtype)
        if inside.all():
            return Labelled(axes + rest, read)
        inside = np.broadcast_to(np.expand_dims(inside, tuple(range(-len(rest), 0))), read.shape)
        outside = int(fill) if array.dtype == np.int64 else self.constant(fill)
        read = np.where(inside, read, np.asarray(outside, read.dtype))
        if isinstance(node.pad, Fraction):
            return Labelled(axes + rest, read)
        self._outside.add(named(node.tensor))
        return Labelled(axes + rest, read, ~inside)

    def _whole(self, node: Component, shape: tuple[int, ...]) -> tuple[Any, ...] | None:
        """Where the subscripts name each axis as a whole or a place on it: how those entries are sliced out."""
        found: list[Any] = []
        for subscript, extent in zip(node.subscripts, shape, strict=False):
            index = subscript.plain
            if index is not None and size(index.extent, self.extents) == extent:
                found.append(slice(None))
            elif not subscript.terms and 0 <= subscript.offset < extent:
                found.append(subscript.offset)
            else:
                return None
        return (*found, ...) if found.count(slice(None)) == len(node.free) else None

    def _range(self, subscript: Affine) -> Labelled:
        if subscript not in self._ranges:
            self._ranges[subscript] = ranges(subscript, self.extents)
        return self._ranges[subscript]

    def bracket(self, node: Delta | Guard, ids: Labelled | None) -> Labelled:
        if isinstance(node, Guard):
            s = self._range(node.subscript)
            return Labelled(s.axes, (s.data >= 0) & (s.data < size(node.extent, self.extents)), None, True)
        right = node.right if isinstance(node.right, Affine) else None
        a, b = self._range(node.left), ids if right is None else self._range(right)
        assert b is not None
        axes = axes_of((a, b))
        equal = np.asarray(onto(a.data, a.axes, axes) == onto(b.data, b.axes, axes))
        mask = undefined_of((b,), axes)
        mask = None if mask is None else np.broadcast_to(mask, equal.shape)
        one, other = node.left.plain, right and right.plain
        square = one is not None and other is not None and len(axes) == 2 and equal.shape[0] == equal.shape[1]
        return Labelled(axes, equal, mask, True, (one, other) if square else None)  # type: ignore[arg-type]

    # Products and sums.

    def contract(self, factors: Sequence[Labelled], reduced: Axes = ()) -> Labelled:
        arrays = list(factors)
        undefined = reaches(arrays, reduced) if any(a.undefined is not None for a in arrays) else None
        if undefined is None and reduced:
            arrays, reduced = chosen(arrays, reduced)
        axes = axes_of(arrays)
        repeated = prod(self.shape(tuple([i for i in reduced if i not in axes])))
        result = self.product(arrays, axes, reduced)
        data = result.data
        if repeated != 1:
            data = self.array(self.times(self.lifted(data), self.constant(Fraction(repeated))))
        if undefined is None:
            return Labelled(result.axes, data)
        mask = np.broadcast_to(onto(undefined.data, undefined.axes, result.axes), data.shape)
        return Labelled(result.axes, data, mask)

    def product(self, arrays: list[Labelled], axes: Axes, reduced: Axes) -> Labelled:
        """Σ over those of the axes that are reduced of the product, entry by entry; brackets select."""
        parts = [onto(a.data, a.axes, axes) for a in arrays]
        truth = [part for part in parts if part.dtype == bool]
        numbers = [self.lifted(part) for part in parts if part.dtype != bool]
        data = reduce(np.logical_and, truth) if truth else None
        if numbers:
            found = self.array(reduce(self.times, numbers))
            data = found if data is None else np.where(data, found, self.constant(Fraction()))
        assert data is not None
        return self.summed(data, axes, reduced)

    def summed(self, data: Array, axes: Axes, reduced: Axes) -> Labelled:
        gone = tuple([n for n, axis in enumerate(axes) if axis in reduced])
        if not gone:
            return Labelled(axes, data)
        total = self.array(self.total(self.lifted(data), gone))
        return Labelled(tuple([axis for axis in axes if axis not in reduced]), total)

    # Windows.

    def window(self, a: Labelled, indices: Axes, data: Array) -> tuple[Axes, Array]:
        """The other axes, and data of `a` with the window's indices flattened into one last axis."""
        axes = tuple([axis for axis in a.axes if axis not in indices])
        full = np.broadcast_to(onto(data, a.axes, axes + indices), self.shape(axes + indices))
        return axes, full.reshape(*self.shape(axes), prod(self.shape(indices)))

    def logsumexp(self, body: Labelled, indices: Axes) -> Labelled:
        axes, window = self.window(body, indices, self.lifted(body.data))
        outside = None if body.undefined is None else self.window(body, indices, body.undefined)[1]
        hidden = None if outside is None else np.asarray(outside.any(-1))
        return Labelled(axes, self.array(self.exponentials(window)), hidden)

    def select(self, node: Reduce, body: Labelled) -> tuple[Labelled, Labelled]:
        """Padding by −inf is never selected; a window of it alone has no maximum."""
        axes, window = self.window(body, node.indices, self.lifted(body.data))
        rank = self.rank(window)
        hidden = inside = None
        if body.undefined is not None:
            outside = self.window(body, node.indices, body.undefined)[1]
            if isinstance(node.body, Component) and node.body.pad == "-inf":
                inside = ~outside
                rank = np.where(outside, self.lowest, rank)
                hidden = np.asarray(outside.all(-1))
            else:
                hidden = np.asarray(outside.any(-1))
            hidden = hidden if hidden.any() else None
        if inside is None:
            position = np.asarray(rank.argmax(-1))
        else:
            position = np.asarray((inside & (rank == rank.max(-1, keepdims=True))).argmax(-1))
        if self.selected is not None:
            self.selected.add(node.body, position, window, inside)
        value = self.array(np.take_along_axis(window, position[..., None], -1)[..., 0])
        return Labelled(axes, position, hidden), Labelled(axes, value, hidden)

    def pick(self, value: Labelled, indices: Axes, position: Labelled) -> Labelled:
        others, window = self.window(value, indices, self.lifted(value.data))
        axes = tuple(dict.fromkeys(position.axes + others))
        shape = self.shape(axes)
        window = np.broadcast_to(onto(window, (*others, _WINDOW), (*axes, _WINDOW)), (*shape, window.shape[-1]))
        last = np.broadcast_to(onto(position.data, position.axes, axes), shape)[..., None]
        return Labelled(axes, self.array(np.take_along_axis(window, last, -1)[..., 0]))

    # Whole tensors.

    def whole(self, value: Labelled, axes: Axes) -> Array:
        data = self.lifted(value.data) if value.data.dtype == bool else value.data
        return np.broadcast_to(onto(data, value.axes, axes), self.shape(axes))

    def over(self, value: Labelled, indices: Axes) -> Array:
        """The entries over exactly these indices, in their order; an entry without a value is `nothing`, or an error.
        """
        if not set(value.axes) <= set(indices):
            names = [i.name for i in value.axes if i not in indices]
            raise EquationError("indices that the result lacks", about=", ".join(names), fix="sum over them")
        whole = self.whole(value, indices)
        if value.undefined is not None and value.undefined.any():
            if self.nothing is None:
                raise ShapeError(
                    "a read outside a tensor, or a maximum over padding alone", about=", ".join(sorted(self._outside)),
                    fix="give the read a padding, pad(x, 0)[…], or the indices smaller extents",
                )
            return np.where(onto(value.undefined, value.axes, indices), self.nothing, whole)
        return np.array(whole)

    def place(self, equation: Equation, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """The positions of the components that an equation binds, axis by axis over its indices."""
        positions = [self._range(subscript) for subscript in equation.target.subscripts]
        if any(np.any((p.data < 0) | (p.data >= extent)) for p, extent in zip(positions, shape, strict=True)):
            raise ShapeError("a component outside its tensor", about=named(equation.tensor), fix="use smaller extents")
        return tuple([onto(p.data, p.axes, equation.indices) for p in positions])

    def store(self, whole: Array, place: tuple[Array, ...], value: Labelled, indices: Axes) -> None:
        """Put what an equation computes over its indices into its tensor's array."""
        found = self.over(value, indices)
        found = found if found.dtype == whole.dtype else self.lifted(found)
        # NumPy would store an object array of no axes as one entry.
        whole[place] = found if found.ndim else found[()]

    def blank(self, tensor: Tensor) -> Array:
        return np.full(shape_of(tensor, self.extents), 0, np.int64 if tensor.dtype == "integer" else self.dtype)


def evaluate(
    arithmetic: Entries, expr: Expr, values: Mapping[str, Array], indices: Axes,
    definitions: Mapping[str, Equation] | None = None,
) -> Array:
    """The values of an expression over `indices`, in their order. `values` holds an array for each tensor by name.
    Inside a Derivative, a tensor in `definitions` depends on what its equation (of plain target indices) reads.
    Numbers are the arithmetic's, integers (argmax, components of integer tensors) int64.

    Raises EquationError (no value, indices left over), ShapeError (extents, a read outside), DerivationError.
    """
    return arithmetic.over(Evaluator(arithmetic, values, definitions).value(expr), indices)


def execute(
    arithmetic: Entries, equations: Iterable[Equation], given: Mapping[str, Array],
    slopes: Mapping[str, Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The values of all tensors by name, and their tangents along `slopes`; one that moves neither has none. A tensor
    that an equation defines moves along its slope besides what it is computed from.

    Raises EquationError where a component is bound twice or not at all, and what evaluating raises.
    """
    values, moving = dict(given), {name: slope for name, slope in (slopes or {}).items() if name in given}
    evaluator = Evaluator(arithmetic, values)
    direction = evaluator.direction(moving)
    parts: dict[str, tuple[Array, Array, Mask]] = {}
    for equation in equations:
        tensor, name = equation.tensor, equation.tensor.name
        value = evaluator.value(equation.value)
        slope = evaluator.tangent(equation.value, direction) if moving else None
        evaluator.clear()  # equations share little, and what they build is large
        direction.known.clear()
        if name not in parts:
            blank = arithmetic.blank(tensor)
            parts[name] = blank, np.zeros(blank.shape, arithmetic.dtype), np.zeros(blank.shape, bool)
        whole, moved, bound = parts[name]
        before, place = np.count_nonzero(bound), arithmetic.place(equation, whole.shape)
        arithmetic.store(whole, place, value, equation.indices)
        bound[place] = True
        filled = np.count_nonzero(bound)
        if filled - before < prod(arithmetic.shape(equation.indices)):
            raise EquationError("a component bound twice", about=named(tensor), fix="make the pieces disjoint")
        if slope is not None:
            arithmetic.store(moved, place, slope, equation.indices)
        if filled == bound.size:
            if slopes is not None and name in slopes:
                moved = arithmetic.array(arithmetic.plus(moved, slopes[name]))
            del parts[name]
            values[name] = whole
            if moved.any():
                moving[name] = moved
    for name in parts:
        raise EquationError("components that no equation binds", about=name, fix="add their piece")
    return values, moving
