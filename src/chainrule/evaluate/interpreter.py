"""The exact semantics: the language over the prime field GF(p), p = 2^61 − 1, with dual numbers.

Sums, products and quotients are exact. The functions that no field has (sigmoid, exp, log, logsumexp, roots,
the named reals) are uninterpreted: keyed pseudo-random values of their arguments, so equal arguments give equal
values and nothing else is known of them. Derivatives come from the laws of the catalogue alone. Two expressions
that are equal by algebra and those laws agree at every point and for every seed; others differ at a random
point, up to a chance of about degree/p.

Kinks: step(x) is a keyed random field element (a 0/1 coin would miss wrong slopes half the time), relu(x) = x·step(x),
max(x, y) = x + (y−x)·step(y−x), min(x, y) = x + (y−x)·step(x−y); sign(x) is another, and abs(x) = x·sign(x). A
reduction max orders the values of its window by a keyed random rank, so it selects one entry of the window, the first
of equals, and argmax gives the position of that same entry.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import count
from math import floor
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DerivationError, EquationError, ShapeError
from chainrule.evaluate.labelled import (
    WINDOW,
    Labelled,
    axes_of,
    bracketed,
    contract,
    elementwise,
    flattened,
    hides,
    onto,
    ranges,
    relabelled,
    size,
    undefined_of,
)
from chainrule.evaluate.prime import (
    Words,
    add,
    add_all,
    element,
    elements,
    key,
    mix,
    multiply,
    power,
    residue,
    subtract,
)
from chainrule.ir import walk
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.functions import derivative_name, split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.laws import expanded
from chainrule.ir.program import Equation

Tangent = Labelled | None  # None is 0
T = TypeVar("T")
_ONE = np.uint64(1)
_UNIT = Labelled((), np.asarray(_ONE))


@dataclass(frozen=True)
class Selected:
    """The positions that maxima have selected in their windows, and those that they could have."""

    seen: dict[Reduce, set[int]] = field(default_factory=dict[Reduce, set[int]])
    within: dict[Reduce, set[int]] = field(default_factory=dict[Reduce, set[int]])

    def add(self, node: Reduce, position: NDArray[Any], window: Words, inside: NDArray[np.bool_] | None) -> None:
        """Of equal entries the first is selected."""
        rows = window.reshape(-1, window.shape[-1])
        first = ~np.tril(rows[:, :, None] == rows[:, None, :], -1).any(-1)
        possible = first if inside is None else first & inside.reshape(rows.shape)
        self.within.setdefault(node, set()).update(np.flatnonzero(possible.any(0)).tolist())
        self.seen.setdefault(node, set()).update(np.ravel(position).tolist())

    @property
    def every(self) -> bool:
        """Whether each maximum has selected each position somewhere."""
        return all(possible <= self.seen[node] for node, possible in self.within.items())


@dataclass(frozen=True)
class Direction:
    """What tangents start from: `seed` gives a component's, unless `definitions` has the equation of its tensor."""

    seed: Callable[[Component], Tangent]
    definitions: Mapping[str, Equation] = field(default_factory=dict[str, Equation])
    known: dict[Expr, Tangent] = field(default_factory=dict[Expr, Tangent])


class Interpreter:
    """Values, tangents and Jacobians of expressions at one point: memoised by node, iterative in their depth."""

    def __init__(
        self,
        values: Mapping[str, NDArray[Any]],
        extents: Mapping[str, int],
        seed: int,
        definitions: Mapping[str, Equation] | None = None,
        selected: Selected | None = None,
    ) -> None:
        self.selected = selected
        self.given, self.extents, self.seed = values, extents, seed
        self.definitions = definitions or {}
        self.values: dict[Expr, Labelled] = {}
        self.weights: dict[tuple[Index, ...], Labelled] = {}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._ranges: dict[Affine, Labelled] = {}
        self._jacobians: dict[Component, tuple[tuple[Index, ...], Direction]] = {}
        self._directions: dict[tuple[Component, tuple[Index, ...]], tuple[Labelled, Direction]] = {}
        self._outside: set[str] = set()
        self._numbers = count()

    def forget(self, tensor: Tensor) -> None:
        """Compute anew what reads a tensor whose values have changed."""
        self._arrays.pop(tensor.name, None)
        self.values = {node: value for node, value in self.values.items() if tensor not in node.tensors}

    def value(self, root: Expr) -> Labelled:
        return _fill(root, self.values, _operands, self._value)

    def _value(self, node: Expr) -> Labelled:
        match node:
            case Constant(value=Fraction() as value):
                return Labelled((), np.asarray(element(value)))
            case Constant(value=name):
                return Labelled((), np.asarray(residue(mix(np.zeros((), np.uint64), key(self.seed, "real", name)))))
            case Size(extent=name):
                return Labelled((), np.asarray(element(size(name, self.extents))))
            case Component(pad="-inf"):
                raise EquationError("a read padded with -inf outside a maximum", about=node.tensor.name,
                                    fix="make it the whole body of a max or an argmax")
            case Component():
                return self._read(node)
            case Add(terms=terms):
                return elementwise(_added, *map(self.value, terms))
            case Multiply():
                return self._contract(self._factors(node), ())
            case Reduce(kind="sum", indices=indices, body=body):
                return self._contract(self._factors(body), indices)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                array = self.value(body)
                axes, window = flattened(array, indices, array.words, self._shape)
                place = mix(np.arange(window.shape[-1], dtype=np.uint64), key(self.seed, "position"))
                digest = mix(window ^ place, key(self.seed, "entry")).sum(-1, dtype=np.uint64)
                data = residue(mix(digest, key(self.seed, "logsumexp")))
                return Labelled(axes, np.asarray(data), hides(array, indices, self._shape))
            case Reduce(kind="argmax"):
                return self._select(node)[0]
            case Reduce(kind="max"):
                return self._select(node)[1]
            case Power(base=base, exponent=exponent):
                return self._power(self.value(base), exponent)
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    return self.values[expanded(node)]
                return self._apply(function, [self.value(a) for a in arguments])
            case Delta(left=left, right=right):
                a = self._range(left)
                b = self.value(right) if isinstance(right, Component) else self._range(right)
                axes = axes_of((a, b))
                equal = onto(a.data, a.axes, axes) == onto(b.data, b.axes, axes)
                mask = undefined_of((b,), axes)
                found = bracketed(axes, equal, None if mask is None else np.broadcast_to(mask, equal.shape))
                one, other = left.plain, right.plain if isinstance(right, Affine) else None
                if one is None or other is None or len(axes) < 2 or equal.shape[0] != equal.shape[1]:
                    return found
                return replace(found, same=(one, other))
            case Guard(subscript=subscript, extent=extent):
                s = self._range(subscript)
                return bracketed(s.axes, (s.data >= 0) & (s.data < size(extent, self.extents)), None)
            case Derivative(of=of, wrt=wrt):
                return self._jacobian(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")

    # Reading.

    def _read(self, node: Component) -> Labelled:
        """A component; outside its tensor the padding, or undefined where there is none (or −inf)."""
        name = node.tensor.name
        if name not in self._arrays:
            if name not in self.given:
                raise EquationError("a tensor without a value", about=named(node.tensor),
                                    fix="define it before its use")
            self._arrays[name] = checked(node.tensor, self.given[name], self.extents)
        data = self._arrays[name]
        fill = node.pad if isinstance(node.pad, Fraction) else 0
        return self._gather(data, node, element(fill) if data.dtype == np.uint64 else int(fill))

    def _gather(self, data: NDArray[Any], node: Component, fill: Any = 0, trailing: tuple[Index, ...] = ()) -> Labelled:
        """Entries of `data` at the node's subscripts, `fill` outside; further axes of `data` stay as they are."""
        axes = node.free
        if (whole := self._whole(node, data.shape)) is not None:
            return Labelled(axes + trailing, data[whole])
        inside, grids = np.asarray(True), list[NDArray[Any]]()
        for subscript, extent in zip(node.subscripts, data.shape, strict=False):
            s = self._range(subscript)
            grid = onto(s.data, s.axes, axes)
            if s.data.min(initial=0) < 0 or s.data.max(initial=0) >= extent:
                inside = inside & (grid >= 0) & (grid < extent)
                grid = np.clip(grid, 0, extent - 1)
            grids.append(grid)
        read = np.asarray(data[tuple(grids)])
        if inside.all():
            return Labelled(axes + trailing, read)
        inside = np.broadcast_to(np.expand_dims(inside, tuple(range(-len(trailing), 0))), read.shape)
        read = np.where(inside, read, np.asarray(fill, read.dtype))
        if isinstance(node.pad, Fraction):
            return Labelled(axes + trailing, read)
        self._outside.add(named(node.tensor))
        return Labelled(axes + trailing, read, ~inside)

    def _whole(self, node: Component, shape: tuple[int, ...]) -> tuple[int | slice, ...] | None:
        """Where the subscripts name each axis as a whole or a place on it: how those entries are sliced out."""
        found: list[int | slice] = []
        for subscript, extent in zip(node.subscripts, shape, strict=False):
            index = subscript.plain
            if index is not None and size(index.extent, self.extents) == extent:
                found.append(slice(None))
            elif not subscript.terms and 0 <= subscript.offset < extent:
                found.append(subscript.offset)
            else:
                return None
        return tuple(found) if found.count(slice(None)) == len(node.free) else None

    def _range(self, subscript: Affine) -> Labelled:
        if subscript not in self._ranges:
            self._ranges[subscript] = ranges(subscript, self.extents)
        return self._ranges[subscript]

    def direction(self, tangents: Mapping[str, NDArray[Any]], moving: Container[str] | None = None) -> Direction:
        """Given tangents, tensor by tensor; those of other tensors, and of those not in `moving`, are 0."""

        def seed(node: Component) -> Tangent:
            name = node.tensor.name
            if name not in (tangents if moving is None else moving) or node.tensor.dtype == "integer":
                return None
            return self._gather(checked(node.tensor, tangents[name], self.extents), node)

        return Direction(seed)

    # Products, powers, functions.

    def _factors(self, body: Expr) -> list[Labelled]:
        return [self.value(factor) for factor in _flat(body)]

    def _contract(self, arrays: list[Labelled], reduced: tuple[Index, ...]) -> Labelled:
        return contract(arrays, reduced, self._shape)

    def _power(self, x: Labelled, exponent: Fraction) -> Labelled:
        """x^(n + r) = x^n · g with n = floor(exponent) and g keyed by x and the fraction r."""
        whole = floor(exponent)
        rest = exponent - whole
        result = elementwise(partial(power, exponent=whole), x)
        return elementwise(multiply, result, self._keyed(("power", rest), [x])) if rest else result

    def _keyed(self, name: object, arguments: list[Labelled]) -> Labelled:
        def value(*words: Words) -> Words:
            digest: Words = np.zeros((), np.uint64)
            for n, word in enumerate(words):
                digest = mix(digest ^ word, key(self.seed, "function", name, n))
            return residue(digest)

        return elementwise(value, *arguments)

    def _apply(self, function: str, arguments: list[Labelled]) -> Labelled:
        match function:
            case "relu":
                return elementwise(multiply, arguments[0], self._keyed("step", arguments))
            case "abs":
                return elementwise(multiply, arguments[0], self._keyed("sign", arguments))
            case "max" | "min":
                x, y = arguments
                rise = elementwise(subtract, y, x)
                above = rise if function == "max" else elementwise(subtract, x, y)
                return elementwise(add, x, elementwise(multiply, rise, self._keyed("step", [above])))
            case _:
                return self._keyed(function, arguments)

    # Along a direction.

    def along(self, root: Expr, weights: Labelled) -> Labelled:
        """Σ over the axes of the weights of weights · root: where root is linear in what depends on those indices, as
        ∂y_k/∂x_i is, this takes one tangent and no Jacobian."""
        return self._along(root, weights)

    @walk.iterative
    def _along(self, node: Expr, weights: Labelled) -> walk.Steps[Labelled]:
        if not set(node.free).isdisjoint(weights.axes):
            match node:
                case Add(terms=terms):
                    parts: list[Labelled] = []
                    for term in terms:
                        parts.append((yield self, term, weights))
                    return elementwise(_added, *parts)
                case Multiply() | Reduce(kind="sum"):
                    reduced, body = (node.indices, node.body) if isinstance(node, Reduce) else ((), node)
                    if set(reduced).isdisjoint(weights.axes) and not _is_padded(body):
                        factors = _flat(body)
                        moving = [f for f in factors if not set(f.free).isdisjoint(weights.axes)]
                        if len(moving) != 1:
                            parts = [self.value(f) for f in factors]
                            return self._contract([*parts, weights], (*reduced, *weights.axes))
                        inner: Labelled = yield self, moving[0], weights
                        return self._contract([*[self.value(f) for f in factors if f is not moving[0]], inner], reduced)
                case Derivative(of=of, wrt=wrt) if set(of.free).isdisjoint(weights.axes):
                    plain = [s.plain for s in wrt.subscripts]
                    if {*plain} == {*weights.axes} and len(plain) == len(weights.axes) and wrt.pad is None:
                        slope = self.tangent(of, self._towards(wrt, weights))
                        return slope or Labelled((), np.asarray(element(0)))
                case _:
                    pass
        return self._contract([self.value(node), weights], weights.axes)

    def _towards(self, wrt: Component, weights: Labelled) -> Direction:
        if (wrt, weights.axes) not in self._directions:
            data = onto(weights.data, weights.axes, wrt.free)
            others = {name: d for name, d in self.definitions.items() if name != wrt.tensor.name}
            direction = replace(self.direction({wrt.tensor.name: data}), definitions=others)
            self._directions[wrt, weights.axes] = weights, direction
        known, direction = self._directions[wrt, weights.axes]
        assert known is weights, "one set of weights for these indices"
        return direction

    # Windows.

    def _select(self, node: Reduce) -> tuple[Labelled, Labelled]:
        """The position selected in every window, and the value there."""
        indices, body = node.indices, node.body
        array = self._read(body) if _is_padded(body) else self.value(body)
        axes, window = flattened(array, indices, array.words, self._shape)
        rank = mix(window, key(self.seed, "rank")) >> _ONE
        hidden = inside = None
        if not _is_padded(body):
            hidden = hides(array, indices, self._shape)
        elif array.undefined is not None:
            outside = flattened(array, indices, array.undefined, self._shape)[1]
            alone = np.asarray(outside.all(-1))
            hidden = alone if alone.any() else None  # a window of padding alone has no maximum
            rank = np.where(outside, np.uint64(0), rank + _ONE)
            inside = ~outside
        position = np.asarray(rank.argmax(-1))
        if self.selected is not None:
            self.selected.add(node, position, window, inside)
        value = np.take_along_axis(window, position[..., None], -1)[..., 0]
        return Labelled(axes, position, hidden), Labelled(axes, value, hidden)

    # Tangents.

    def tangent(self, root: Expr, direction: Direction) -> Tangent:
        def operands(node: Expr) -> tuple[Expr, ...]:
            read = node.body if isinstance(node, Reduce) and _is_padded(node.body) else node
            if isinstance(read, Component):
                definition = direction.definitions.get(read.tensor.name)
                return () if definition is None else (definition.value,)
            if isinstance(node, Delta) or _is_argmax(node):
                return ()
            return _operands(node)

        return _fill(root, direction.known, operands, lambda node: self._tangent(node, direction))

    def _tangent(self, node: Expr, direction: Direction) -> Tangent:
        known = direction.known
        match node:
            case Constant() | Size() | Guard() | Delta() | Reduce(kind="argmax"):
                return None
            case Component(tensor=tensor):
                definition = direction.definitions.get(tensor.name)
                return direction.seed(node) if definition is None else self._through(definition, node, known)
            case Add(terms=terms):
                return _sum(known[term] for term in terms)
            case Multiply():
                return self._product_rule(_flat(node), (), known)
            case Reduce(kind="sum", indices=indices, body=body):
                return self._product_rule(_flat(body), indices, known)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                slope = known[body]
                if slope is None:
                    return None
                share = self._apply("exp", [elementwise(subtract, self.value(body), self.value(node))])
                return self._contract([share, slope], indices)
            case Reduce(indices=indices, body=body):
                slope = self._tangent(body, direction) if _is_padded(body) else known[body]
                return None if slope is None else self._selected(slope, indices, self._select(node)[0])
            case Power(base=base, exponent=exponent):
                slope = known[base]
                if slope is None:
                    return None
                factor = Labelled((), np.asarray(element(exponent)))
                return self._contract([factor, self._power(self.value(base), exponent - 1), slope], ())
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    return known[expanded(node)]
                slopes = [(n, known[a]) for n, a in enumerate(arguments)]
                laws = [(Apply(derivative_name(function, n), arguments), slope) for n, slope in slopes if slope]
                return _sum(self._contract([self.value(law), slope], ()) for law, slope in laws)
            case Derivative(wrt=wrt):
                raise DerivationError("the tangent of a derivative that is not evaluated", about=named(wrt.tensor),
                                      fix="evaluate the inner derivative first")
            case _:
                raise TypeError(f"no tangent known for {type(node).__name__}")

    def _product_rule(
        self, factors: tuple[Expr, ...], reduced: tuple[Index, ...], known: Mapping[Expr, Tangent]
    ) -> Tangent:
        values = [self.value(factor) for factor in factors]
        slopes = [(n, slope) for n, factor in enumerate(factors) if (slope := known[factor]) is not None]
        return _sum(self._contract([*values[:n], slope, *values[n + 1 :]], reduced) for n, slope in slopes)

    def _selected(self, slope: Labelled, indices: tuple[Index, ...], position: Labelled) -> Labelled:
        """The entry of every window at the selected position."""
        others, window = flattened(slope, indices, slope.words, self._shape)
        axes = tuple(dict.fromkeys(position.axes + others))
        shape = self._shape(axes)
        window = np.broadcast_to(onto(window, (*others, WINDOW), (*axes, WINDOW)), (*shape, window.shape[-1]))
        last = np.broadcast_to(onto(position.data, position.axes, axes), shape)[..., None]
        return Labelled(axes, np.take_along_axis(window, last, -1)[..., 0])

    def _through(self, definition: Equation, node: Component, known: Mapping[Expr, Tangent]) -> Tangent:
        """The tangent of a defined tensor's component: that of its definition, read at the node's subscripts."""
        slope = known[definition.value]
        if slope is None:
            return None
        targets = _plain(definition.target)
        rest = tuple(axis for axis in slope.axes if axis not in targets)
        data = np.broadcast_to(onto(slope.words, slope.axes, targets + rest), self._shape(targets + rest))
        return self._gather(data, node, trailing=rest)

    def _jacobian(self, of: Expr, wrt: Component) -> Labelled:
        """∂of/∂wrt over the free indices of both. The indices of wrt get labels of their own until the end, so that
        no index of `of` is taken for one of them."""
        indices = tuple(s.plain for s in wrt.subscripts if s.plain is not None)
        if wrt.pad is not None or any(s.terms and s.plain is None for s in wrt.subscripts):
            raise _not_plain(wrt)
        if wrt not in self._jacobians:
            own = tuple(Index(f"∂{next(self._numbers)}", index.extent) for index in indices)
            # A subscript that is a number is one place on its axis.
            labels = iter(own)
            at = [Affine.of(next(labels)) if s.plain is not None else s for s in wrt.subscripts]

            def seed(node: Component) -> Tangent:
                if node.tensor.name != wrt.tensor.name:
                    return None
                deltas = [self.value(Delta(s, place)) for s, place in zip(node.subscripts, at, strict=True)]
                return self._contract([_UNIT, *deltas], ())

            others = {name: d for name, d in self.definitions.items() if name != wrt.tensor.name}
            self._jacobians[wrt] = own, Direction(seed, others)
        own, direction = self._jacobians[wrt]
        result = self.tangent(of, direction) or Labelled((), np.asarray(element(0)))
        for label, index in zip(own, indices, strict=True):
            result = relabelled(result, label, index)
        return result

    def over(self, a: Labelled, indices: tuple[Index, ...]) -> NDArray[Any]:
        """The data over exactly these indices, in their order."""
        if a.undefined is not None and a.undefined.any():
            raise ShapeError(
                "a read outside a tensor, or a maximum over padding alone", about=", ".join(sorted(self._outside)),
                fix="give the read a padding, pad(x, 0)[…], or the indices smaller extents",
            )
        if not set(a.axes) <= set(indices):
            names = [i.name for i in a.axes if i not in indices]
            raise EquationError("indices that the result lacks", about=", ".join(names), fix="sum over them")
        return np.array(np.broadcast_to(onto(a.data, a.axes, indices), self._shape(indices)))

    def _shape(self, indices: tuple[Index, ...]) -> tuple[int, ...]:
        return tuple(size(index.extent, self.extents) for index in indices)


def _fill(root: Expr, memo: dict[Expr, T], operands: Callable[[Expr], tuple[Expr, ...]], of: Callable[[Expr], T]) -> T:
    """memo[root], computing first whatever it needs: no recursion, each node once."""
    stack = [root]
    while stack:
        node = stack[-1]
        missing = [] if node in memo else [operand for operand in operands(node) if operand not in memo]
        stack.extend(reversed(missing))
        if not missing:
            stack.pop()
            if node not in memo:
                memo[node] = of(node)
    return memo[root]


def _operands(node: Expr) -> tuple[Expr, ...]:
    """The nodes whose values the node's value is made of."""
    match node:
        case Derivative():
            return ()
        case Multiply():
            return _flat(node)
        case Apply(function=function) if split_derivative(function)[1] is not None:
            return (expanded(node),)
        case Reduce(body=body):
            return () if _is_padded(body) else _flat(body) if node.kind == "sum" else (body,)
        case _:
            return walk.children(node)


def _flat(body: Expr) -> tuple[Expr, ...]:
    """The factors of nested products."""
    factors, stack = list[Expr](), [body]
    while stack:
        node = stack.pop()
        if isinstance(node, Multiply):
            stack.extend(reversed(node.factors))
        else:
            factors.append(node)
    return tuple(factors)


def _is_padded(body: Expr) -> TypeGuard[Component]:
    return isinstance(body, Component) and body.pad == "-inf"


def _is_argmax(node: Expr) -> bool:
    return isinstance(node, Reduce) and node.kind == "argmax"


def _sum(tangents: Iterable[Tangent]) -> Tangent:
    present = [t for t in tangents if t is not None]
    return elementwise(_added, *present) if present else None


def _added(*words: Words) -> Words:
    return add_all(words)


def _plain(node: Component) -> tuple[Index, ...]:
    plain = tuple(s.plain for s in node.subscripts)
    indices = tuple(index for index in plain if index is not None)
    if len(indices) < len(plain) or node.pad is not None:
        raise _not_plain(node)
    return indices


def _not_plain(node: Component) -> DerivationError:
    return DerivationError(
        "subscripts that are no plain indices", about=named(node.tensor), fix="give each axis an index of its own"
    )


def named(tensor: Tensor) -> str:
    return f"{tensor.name} of shape ({', '.join(map(str, tensor.shape))})"


def checked(tensor: Tensor, array: NDArray[Any], extents: Mapping[str, int]) -> NDArray[Any]:
    array = np.asarray(array)
    shape = tuple(size(extent, extents) for extent in tensor.shape)
    if array.shape != shape:
        raise ShapeError(f"an array of shape {array.shape}", about=named(tensor), fix=f"give shape {shape}")
    if tensor.dtype == "integer":
        return array.astype(np.int64)
    return array if array.dtype == np.uint64 else elements(array)
