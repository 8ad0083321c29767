"""The exact semantics: the language over the prime field GF(p), p = 2^61 − 1, with dual numbers.

Sums, products and quotients are exact. The functions that no field has (sigmoid, exp, log, logsumexp, roots,
the named reals) are uninterpreted: keyed pseudo-random values of their arguments, so equal arguments give equal
values and nothing else is known of them. Derivatives come from the laws of the catalogue alone. Two expressions
that are equal by algebra and those laws agree at every point and for every seed; others differ at a random
point, up to a chance of about degree/p.

Kinks: step(x) is a keyed random field element (a 0/1 coin would miss wrong slopes half the time), relu(x) = x·step(x),
max(x, y) = x + (y−x)·step(y−x). A reduction max orders the values of its window by a keyed random rank, so it
selects one entry of the window, the first of equals, and argmax gives the position of that same entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial, reduce
from hashlib import blake2b
from itertools import combinations, count
from math import floor, prod
from typing import Any, Literal, TypeGuard, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DerivationError, EquationError, ShapeError
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
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.parse import law
from chainrule.ir.program import Equation, Program

PRIME = 2**61 - 1
_P = np.uint64(PRIME)
_ONE = np.uint64(1)
_LOW_BITS = np.uint64(2**32 - 1)
_LIMB = np.uint64(2**21 - 1)
_CHUNK = 2048 // 3  # 3 limb products below 2^42 for each term: a chunk's sum stays within float64's exact 2^53

Words = NDArray[np.uint64]


# Arithmetic: elements are uint64 arrays with entries below p.


def element(value: int | Fraction) -> np.uint64:
    """The field element of an exact rational."""
    value = Fraction(value)
    return np.uint64(value.numerator * pow(value.denominator, -1, PRIME) % PRIME)


def elements(values: ArrayLike) -> Words:
    """Field elements from integers (any array of them) or from uint64 words, each reduced mod p."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise TypeError(f"field elements are made of integers, not {array.dtype}")
    return array % _P if array.dtype == np.uint64 else (array.astype(np.int64) % PRIME).astype(np.uint64)


@np.errstate(over="ignore")  # numpy warns of wrap-around on 0-d operands; here it is meant
def _reduce(x: Words) -> Words:
    """x mod p for any 64-bit x: 2^61 = 1, and the smaller of x and x − p (which wraps where x < p)."""
    x = (x & _P) + (x >> np.uint64(61))
    return np.minimum(x, x - _P)


def _shift(x: Words, bits: int) -> Words:
    """x·2^bits for x < 2^61: a rotation of 61 bits."""
    return ((x << np.uint64(bits)) & _P) | (x >> np.uint64(61 - bits))


def add(a: Words, b: Words) -> Words:
    return _reduce(a + b)


def subtract(a: Words, b: Words) -> Words:
    return _reduce(a + (_P - b))


def multiply(a: Words, b: Words) -> Words:
    """High halves have 29 bits and low ones 32, so no partial product exceeds 64; 2^64 = 8."""
    half = np.uint64(32)
    a1, a0, b1, b0 = a >> half, a & _LOW_BITS, b >> half, b & _LOW_BITS
    middle = a1 * b0 + a0 * b1
    low = a0 * b0
    middle = (middle >> np.uint64(29)) + ((middle & np.uint64(2**29 - 1)) << half)
    return _reduce(((a1 * b1) << np.uint64(3)) + middle + (low & _P) + (low >> np.uint64(61)))


def power(a: Words, exponent: int) -> Words:
    """a^exponent; a negative exponent is a power of the inverse, and the inverse of 0 is 0."""
    exponent = exponent % (PRIME - 1) if exponent < 0 else exponent
    result = np.ones_like(a)
    while exponent:
        if exponent & 1:
            result = multiply(result, a)
        a, exponent = multiply(a, a), exponent >> 1
    return result


def inverse(a: Words) -> Words:
    return power(a, -1)


def total(a: Words, axes: tuple[int, ...]) -> Words:
    """The sum over axes (below 2^32 terms): the halves are summed apart."""
    high, low = (a >> np.uint64(32)).sum(axes, dtype=np.uint64), (a & _LOW_BITS).sum(axes, dtype=np.uint64)
    return add(_shift(_reduce(high), 32), _reduce(low))


def matmul(a: Words, b: Words) -> Words:
    """(…, m, k) × (…, k, n) → (…, m, n), by one float64 product of limbs for each chunk of k.

    With a = a0 + a1·2^21 + a2·2^42 and b likewise, 2^63 = 4 folds the nine limb products into three columns:
    a0b0 + a1·4b2 + a2·4b1, a0b1 + a1b0 + a2·4b2 (·2^21), a0b2 + a1b1 + a2b0 (·2^42), each product below 2^42.
    """
    n = b.shape[-1]
    result = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], n), np.uint64)
    for start in range(0, a.shape[-1], _CHUNK):
        part, other = a[..., start : start + _CHUNK], b[..., start : start + _CHUNK, :]
        left = np.concatenate([x.astype(np.float64) for x in _limbs(part)], axis=-1)
        b0, b1, b2 = (x.astype(np.float64) for x in _limbs(other))
        rows = ((b0, b1, b2), (4 * b2, b0, b1), (4 * b1, 4 * b2, b0))
        right = np.concatenate([np.concatenate(row, axis=-1) for row in rows], axis=-2)
        product = (left @ right).astype(np.uint64)
        for column in range(3):
            result = add(result, _shift(product[..., column * n : (column + 1) * n], 21 * column))
    return result


def _limbs(x: Words) -> tuple[Words, Words, Words]:
    return x & _LIMB, (x >> np.uint64(21)) & _LIMB, x >> np.uint64(42)


def dot(a: Words, b: Words) -> int:
    """Σ a·b over all entries of two arrays of one shape."""
    if a.shape != b.shape:
        raise ShapeError("an inner product of two shapes", about=f"{a.shape} and {b.shape}", fix="give equal shapes")
    return int(matmul(a.reshape(1, -1), b.reshape(-1, 1))[0, 0])


# Keyed pseudo-random values.


def _key(seed: int, *names: object) -> int:
    return int.from_bytes(blake2b(repr((seed, *names)).encode(), digest_size=16).digest(), "little")


@np.errstate(over="ignore")  # numpy warns of wrap-around on 0-d operands; here it is meant
def _mix(x: Words, key: int) -> Words:
    """A 64-bit hash of each word: two rounds of SplitMix64's finaliser (Steele, Lea, Flood 2014) under a key."""
    for half in (key & (2**64 - 1), key >> 64):
        x = x ^ np.uint64(half)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x


def random_values(
    tensors: Iterable[Tensor],
    extents: Mapping[str, int],
    seed: int,
    integer_ranges: Mapping[str, int] | None = None,
) -> dict[str, NDArray[Any]]:
    """A random point: for each tensor by name uniform field elements, or for an integer tensor integers in
    0 … integer_ranges[name] − 1. A tensor's values depend on the seed, its name and its shape alone."""
    values: dict[str, NDArray[Any]] = {}
    for tensor in tensors:
        shape = tuple(_size(extent, extents) for extent in tensor.shape)
        generator = np.random.default_rng(_key(seed, "values", tensor.name))
        if tensor.dtype == "integer":
            if integer_ranges is None or tensor.name not in integer_ranges:
                raise ShapeError("an integer tensor without a range", about=tensor.name, fix="give integer_ranges")
            values[tensor.name] = generator.integers(0, integer_ranges[tensor.name], shape)
        else:
            values[tensor.name] = generator.integers(0, _P, shape, dtype=np.uint64)
    return values


# Labelled arrays.


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Data with an index for each axis: uint64 field elements, or int64 integers. `undefined` marks the entries
    that come from a read outside a tensor (their data is arbitrary); `bracket` marks the 0/1 of a Delta or Guard."""

    axes: tuple[Index, ...]
    data: NDArray[Any]
    undefined: NDArray[np.bool_] | None = None
    bracket: bool = False

    @property
    def words(self) -> Words:
        return self.data if self.data.dtype == np.uint64 else elements(self.data)


def _onto(data: NDArray[Any], axes: tuple[Index, ...], target: tuple[Index, ...]) -> NDArray[Any]:
    """The same data with its axes in the target's order and extent 1 for the axes it lacks."""
    data = np.transpose(data, [axes.index(axis) for axis in target if axis in axes])
    return np.expand_dims(data, [n for n, axis in enumerate(target) if axis not in axes])


def _union(arrays: Iterable[Labelled]) -> tuple[Index, ...]:
    return tuple(dict.fromkeys(axis for array in arrays for axis in array.axes))


def _undefined(arrays: Iterable[Labelled], axes: tuple[Index, ...]) -> NDArray[np.bool_] | None:
    masks = [_onto(a.undefined, a.axes, axes) for a in arrays if a.undefined is not None]
    return reduce(np.logical_or, masks) if masks else None


def _elementwise(function: Callable[..., NDArray[Any]], *arrays: Labelled) -> Labelled:
    """A function of field elements, entry by entry over the union of the axes."""
    axes = _union(arrays)
    data = np.asarray(function(*(_onto(a.words, a.axes, axes) for a in arrays)))
    mask = _undefined(arrays, axes)
    return Labelled(axes, data, None if mask is None else np.broadcast_to(mask, data.shape))


def _without(a: Labelled, summed: set[Index]) -> Labelled:
    axes = tuple(n for n, axis in enumerate(a.axes) if axis in summed)
    return Labelled(tuple(axis for axis in a.axes if axis not in summed), total(a.data, axes)) if axes else a


def _pair(a: Labelled, b: Labelled, summed: set[Index]) -> Labelled:
    """Σ over `summed` of a·b: one batched matrix product where both have an index that is summed."""
    a, b = _without(a, summed.difference(b.axes)), _without(b, summed.difference(a.axes))
    shared = tuple(axis for axis in a.axes if axis in b.axes and axis in summed)
    if not shared:
        return _elementwise(multiply, a, b)
    batch = tuple(axis for axis in a.axes if axis in b.axes and axis not in summed)
    rows = tuple(axis for axis in a.axes if axis not in b.axes)
    columns = tuple(axis for axis in b.axes if axis not in a.axes)
    left, right = _onto(a.data, a.axes, batch + rows + shared), _onto(b.data, b.axes, batch + shared + columns)
    shape = left.shape[: len(batch) + len(rows)] + right.shape[len(batch) + len(shared) :]
    many, inner = prod(shape[: len(batch)]), prod(right.shape[len(batch) : len(batch) + len(shared)])
    m, n = prod(shape[len(batch) : len(batch) + len(rows)]), prod(shape[len(batch) + len(rows) :])
    data = matmul(left.reshape(many, m, inner), right.reshape(many, inner, n))
    return Labelled(batch + rows + columns, data.reshape(shape))


def _size(extent: Extent, extents: Mapping[str, int]) -> int:
    if isinstance(extent, int):
        return extent
    if extent not in extents:
        raise ShapeError("a named extent without a value", about=extent, fix=f"give extents={{{extent!r}: …}}")
    return extents[extent]


def _ranges(subscript: Affine, extents: Mapping[str, int]) -> Labelled:
    """The integer values of a subscript over its indices."""
    axes = subscript.indices
    data = np.asarray(subscript.offset, np.int64)
    for index, c in subscript.terms:
        data = data + c * _onto(np.arange(_size(index.extent, extents)), (index,), axes)
    return Labelled(axes, data)


def _bracket(axes: tuple[Index, ...], truth: NDArray[np.bool_], undefined: NDArray[np.bool_] | None) -> Labelled:
    return Labelled(axes, np.asarray(truth).astype(np.uint64), undefined, True)


Tangent = Labelled | None  # None is 0
T = TypeVar("T")
_WINDOW = Index("", 0)  # labels a flattened window while its axes are put in order
_UNIT = Labelled((), np.asarray(_ONE))


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
    ) -> None:
        self.given, self.extents, self.seed = values, extents, seed
        self.definitions = definitions or {}
        self.values: dict[Expr, Labelled] = {}
        self._jacobians: dict[Component, tuple[tuple[Index, ...], Direction]] = {}
        self._outside: set[str] = set()
        self._numbers = count()

    def value(self, root: Expr) -> Labelled:
        return _fill(root, self.values, _operands, self._value)

    def _value(self, node: Expr) -> Labelled:
        match node:
            case Constant(value=Fraction() as value):
                return Labelled((), np.asarray(element(value)))
            case Constant(value=name):
                return Labelled((), np.asarray(_reduce(_mix(np.zeros((), np.uint64), _key(self.seed, "real", name)))))
            case Size(extent=name):
                return Labelled((), np.asarray(element(_size(name, self.extents))))
            case Component(pad="-inf"):
                raise EquationError("a read padded with -inf outside a maximum", about=node.tensor.name,
                                    fix="make it the whole body of a max or an argmax")
            case Component():
                return self._read(node)
            case Add(terms=terms):
                return reduce(lambda a, b: _elementwise(add, a, b), map(self.value, terms))
            case Multiply():
                return self._contract(self._factors(node), ())
            case Reduce(kind="sum", indices=indices, body=body):
                return self._contract(self._factors(body), indices)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                array = self.value(body)
                axes, window = self._window(array, indices, array.words)
                place = _mix(np.arange(window.shape[-1], dtype=np.uint64), _key(self.seed, "position"))
                digest = _mix(window ^ place, _key(self.seed, "entry")).sum(-1, dtype=np.uint64)
                data = _reduce(_mix(digest, _key(self.seed, "logsumexp")))
                return Labelled(axes, np.asarray(data), self._hidden(array, indices))
            case Reduce(kind="argmax"):
                return self._select(node)[0]
            case Reduce(kind="max"):
                return self._select(node)[1]
            case Power(base=base, exponent=exponent):
                return self._power(self.value(base), exponent)
            case Apply(function=function, arguments=arguments):
                return self._apply(function, [self.value(a) for a in arguments])
            case Delta(left=left, right=right):
                a = _ranges(left, self.extents)
                b = self.value(right) if isinstance(right, Component) else _ranges(right, self.extents)
                axes = _union((a, b))
                equal = _onto(a.data, a.axes, axes) == _onto(b.data, b.axes, axes)
                mask = _undefined((b,), axes)
                return _bracket(axes, equal, None if mask is None else np.broadcast_to(mask, equal.shape))
            case Guard(subscript=subscript, extent=extent):
                s = _ranges(subscript, self.extents)
                return _bracket(s.axes, (s.data >= 0) & (s.data < _size(extent, self.extents)), None)
            case Derivative(of=of, wrt=wrt):
                return self._jacobian(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")

    # Reading.

    def _read(self, node: Component) -> Labelled:
        """A component; outside its tensor the padding, or undefined where there is none (or −inf)."""
        name = node.tensor.name
        if name not in self.given:
            raise EquationError("a tensor without a value", about=_named(node.tensor), fix="define it before its use")
        data = _checked(node.tensor, self.given[name], self.extents)
        fill = node.pad if isinstance(node.pad, Fraction) else 0
        return self._gather(data, node, element(fill) if data.dtype == np.uint64 else int(fill))

    def _gather(self, data: NDArray[Any], node: Component, fill: Any = 0, trailing: tuple[Index, ...] = ()) -> Labelled:
        """Entries of `data` at the node's subscripts, `fill` outside; further axes of `data` stay as they are."""
        axes, inside, grids = node.free, np.asarray(True), list[NDArray[Any]]()
        for subscript, extent in zip(node.subscripts, data.shape, strict=False):
            s = _ranges(subscript, self.extents)
            grid = _onto(s.data, s.axes, axes)
            inside = inside & (grid >= 0) & (grid < extent)
            grids.append(np.clip(grid, 0, extent - 1))
        read = np.asarray(data[tuple(grids)])
        if inside.all():
            return Labelled(axes + trailing, read)
        inside = np.broadcast_to(np.expand_dims(inside, tuple(range(-len(trailing), 0))), read.shape)
        read = np.where(inside, read, np.asarray(fill, read.dtype))
        if isinstance(node.pad, Fraction):
            return Labelled(axes + trailing, read)
        self._outside.add(_named(node.tensor))
        return Labelled(axes + trailing, read, ~inside)

    def direction(self, tangents: Mapping[str, NDArray[Any]]) -> Direction:
        """Given tangents, tensor by tensor; those of other tensors are 0."""

        def seed(node: Component) -> Tangent:
            if node.tensor.name not in tangents or node.tensor.dtype == "integer":
                return None
            return self._gather(_checked(node.tensor, tangents[node.tensor.name], self.extents), node)

        return Direction(seed)

    # Products, powers, functions.

    def _factors(self, body: Expr) -> list[Labelled]:
        return [self.value(factor) for factor in _flat(body)]

    def _contract(self, arrays: list[Labelled], reduced: tuple[Index, ...]) -> Labelled:
        """Σ over `reduced` of the product of the arrays: pairwise, the pair with the smallest result first."""
        undefined = self._reaches(arrays, reduced)
        repeated = prod(self._shape(tuple(i for i in reduced if i not in _union(arrays))))
        parts = [Labelled(a.axes, a.words) for a in arrays]
        parts += [Labelled((), np.asarray(element(repeated)))] if repeated != 1 or len(parts) == 1 else []
        while len(parts) > 1:
            plans: list[tuple[int, int, int, set[Index]]] = []
            for i, j in combinations(range(len(parts)), 2):
                both, rest = _union((parts[i], parts[j])), _union(p for n, p in enumerate(parts) if n not in (i, j))
                gone = {axis for axis in both if axis in reduced and axis not in rest}
                plans.append((prod(self._shape(tuple(axis for axis in both if axis not in gone))), i, j, gone))
            _, i, j, gone = min(plans, key=lambda plan: plan[:3])
            b, a = parts.pop(j), parts.pop(i)
            parts.append(_pair(a, b, gone))
        axes, data = parts[0].axes, parts[0].data
        if undefined is None:
            return Labelled(axes, data)
        return Labelled(axes, data, np.broadcast_to(_onto(undefined.data, undefined.axes, axes), data.shape))

    def _reaches(self, arrays: list[Labelled], reduced: tuple[Index, ...]) -> Labelled | None:
        """Where an undefined factor reaches the product: a bracket that is 0 hides it (Iverson's convention)."""
        axes = _union(a for a in arrays if a.undefined is not None or a.bracket)
        mask = _undefined(arrays, axes)
        if mask is None:
            return None
        for a in arrays:
            if a.bracket:
                shown = a.data != 0 if a.undefined is None else (a.data != 0) | a.undefined
                mask = mask & _onto(shown, a.axes, axes)
        summed = tuple(n for n, axis in enumerate(axes) if axis in reduced)
        mask = np.asarray(mask.any(summed))
        return Labelled(tuple(a for a in axes if a not in reduced), mask) if mask.any() else None

    def _power(self, x: Labelled, exponent: Fraction) -> Labelled:
        """x^(n + r) = x^n · g with n = floor(exponent) and g keyed by x and the fraction r."""
        whole = floor(exponent)
        rest = exponent - whole
        result = _elementwise(partial(power, exponent=whole), x)
        return _elementwise(multiply, result, self._keyed(("power", rest), [x])) if rest else result

    def _keyed(self, name: object, arguments: list[Labelled]) -> Labelled:
        def value(*words: Words) -> Words:
            digest: Words = np.zeros((), np.uint64)
            for n, word in enumerate(words):
                digest = _mix(digest ^ word, _key(self.seed, "function", name, n))
            return _reduce(digest)

        return _elementwise(value, *arguments)

    def _apply(self, function: str, arguments: list[Labelled]) -> Labelled:
        base, argument = split_derivative(function)
        if argument is not None:
            expression, inner = self._law(base, argument, arguments)
            return inner.value(expression)
        match function:
            case "relu":
                return _elementwise(multiply, arguments[0], self._keyed("step", arguments))
            case "max":
                x, y = arguments
                rise = _elementwise(subtract, y, x)
                return _elementwise(add, x, _elementwise(multiply, rise, self._keyed("step", [rise])))
            case _:
                return self._keyed(function, arguments)

    def _law(self, base: str, argument: int, arguments: list[Labelled]) -> tuple[Expr, Interpreter]:
        """A law and an interpreter in which its x, y and f have the values at these arguments."""
        expression, inner = law(base, argument), Interpreter({}, self.extents, self.seed)
        for node in walk.components(expression):
            name = node.tensor.name
            inner.values[node] = self._apply(base, arguments) if name == "f" else arguments["xy".index(name)]
        return expression, inner

    # Windows.

    def _window(
        self, a: Labelled, indices: tuple[Index, ...], data: NDArray[Any]
    ) -> tuple[tuple[Index, ...], NDArray[Any]]:
        """The other axes, and data of `a` with the window's indices flattened into one last axis, _WINDOW."""
        axes = tuple(axis for axis in a.axes if axis not in indices)
        full = np.broadcast_to(_onto(data, a.axes, axes + indices), self._shape(axes + indices))
        return axes, full.reshape(*self._shape(axes), prod(self._shape(indices)))

    def _hidden(self, a: Labelled, indices: tuple[Index, ...]) -> NDArray[np.bool_] | None:
        """The windows with an undefined entry."""
        return None if a.undefined is None else np.asarray(self._window(a, indices, a.undefined)[1].any(-1))

    def _select(self, node: Reduce) -> tuple[Labelled, Labelled]:
        """The position selected in every window, and the value there."""
        indices, body = node.indices, node.body
        array = self._read(body) if _is_padded(body) else self.value(body)
        axes, window = self._window(array, indices, array.words)
        rank = _mix(window, _key(self.seed, "rank")) >> _ONE
        hidden = None
        if not _is_padded(body):
            hidden = self._hidden(array, indices)
        elif array.undefined is not None:
            outside = self._window(array, indices, array.undefined)[1]
            if outside.all(-1).any():
                raise ShapeError("a maximum over a window of padding alone", about=_named(body.tensor),
                                 fix="use less padding or fewer windows")
            rank = np.where(outside, np.uint64(0), rank + _ONE)
        position = np.asarray(rank.argmax(-1))
        value = np.take_along_axis(window, position[..., None], -1)[..., 0]
        return Labelled(axes, position, hidden), Labelled(axes, value, hidden)

    # Tangents.

    def tangent(self, root: Expr, direction: Direction) -> Tangent:
        def operands(node: Expr) -> tuple[Expr, ...]:
            read = node.body if isinstance(node, Reduce) and _is_padded(node.body) else node
            if isinstance(read, Component):
                definition = direction.definitions.get(read.tensor.name)
                return () if definition is None else (definition.value,)
            return () if isinstance(node, Delta) or _is_argmax(node) else _operands(node)

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
                share = self._apply("exp", [_elementwise(subtract, self.value(body), self.value(node))])
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
                return self._chain_rule(function, [self.value(a) for a in arguments], [known[a] for a in arguments])
            case Derivative(wrt=wrt):
                raise DerivationError("the tangent of a derivative that is not evaluated", about=_named(wrt.tensor),
                                      fix="evaluate the inner derivative first")
            case _:
                raise TypeError(f"no tangent known for {type(node).__name__}")

    def _product_rule(
        self, factors: tuple[Expr, ...], reduced: tuple[Index, ...], known: Mapping[Expr, Tangent]
    ) -> Tangent:
        values = [self.value(factor) for factor in factors]
        slopes = [(n, slope) for n, factor in enumerate(factors) if (slope := known[factor]) is not None]
        return _sum(self._contract([*values[:n], slope, *values[n + 1 :]], reduced) for n, slope in slopes)

    def _chain_rule(self, function: str, arguments: list[Labelled], slopes: list[Tangent]) -> Tangent:
        base, argument = split_derivative(function)
        if argument is None:
            parts = [(self._law(base, n, arguments), slope) for n, slope in enumerate(slopes) if slope is not None]
            return _sum(self._contract([inner.value(expression), slope], ()) for (expression, inner), slope in parts)
        expression, inner = self._law(base, argument, arguments)
        scalars = {"x": slopes[0], "y": slopes[-1], "f": self._chain_rule(base, arguments, slopes)}
        return inner.tangent(expression, Direction(lambda component: scalars[component.tensor.name]))

    def _selected(self, slope: Labelled, indices: tuple[Index, ...], position: Labelled) -> Labelled:
        """The entry of every window at the selected position."""
        others, window = self._window(slope, indices, slope.words)
        axes = tuple(dict.fromkeys(position.axes + others))
        shape = self._shape(axes)
        window = np.broadcast_to(_onto(window, (*others, _WINDOW), (*axes, _WINDOW)), (*shape, window.shape[-1]))
        last = np.broadcast_to(_onto(position.data, position.axes, axes), shape)[..., None]
        return Labelled(axes, np.take_along_axis(window, last, -1)[..., 0])

    def _through(self, definition: Equation, node: Component, known: Mapping[Expr, Tangent]) -> Tangent:
        """The tangent of a defined tensor's component: that of its definition, read at the node's subscripts."""
        slope = known[definition.value]
        if slope is None:
            return None
        targets = _plain(definition.target)
        rest = tuple(axis for axis in slope.axes if axis not in targets)
        data = np.broadcast_to(_onto(slope.words, slope.axes, targets + rest), self._shape(targets + rest))
        return self._gather(data, node, trailing=rest)

    def _jacobian(self, of: Expr, wrt: Component) -> Labelled:
        """∂of/∂wrt over the free indices of both. The indices of wrt get labels of their own until the end, so that
        no index of `of` is taken for one of them."""
        indices = _plain(wrt)
        if wrt not in self._jacobians:
            own = tuple(Index(f"∂{next(self._numbers)}", index.extent) for index in indices)

            def seed(node: Component) -> Tangent:
                if node.tensor.name != wrt.tensor.name:
                    return None
                deltas = [self.value(Delta(s, Affine.of(j))) for s, j in zip(node.subscripts, own, strict=True)]
                return self._contract([_UNIT, *deltas], ())

            others = {name: d for name, d in self.definitions.items() if name != wrt.tensor.name}
            self._jacobians[wrt] = own, Direction(seed, others)
        own, direction = self._jacobians[wrt]
        result = self.tangent(of, direction) or Labelled((), np.asarray(element(0)))
        for label, index in zip(own, indices, strict=True):
            result = _relabelled(result, label, index)
        return result

    def over(self, a: Labelled, indices: tuple[Index, ...]) -> NDArray[Any]:
        """The data over exactly these indices, in their order."""
        if a.undefined is not None and a.undefined.any():
            raise ShapeError("a read outside a tensor", about=", ".join(sorted(self._outside)),
                             fix="give the read a padding, pad(x, 0)[…], or the indices smaller extents")
        if not set(a.axes) <= set(indices):
            names = [i.name for i in a.axes if i not in indices]
            raise EquationError("indices that the result lacks", about=", ".join(names), fix="sum over them")
        return np.array(np.broadcast_to(_onto(a.data, a.axes, indices), self._shape(indices)))

    def _shape(self, indices: tuple[Index, ...]) -> tuple[int, ...]:
        return tuple(_size(index.extent, self.extents) for index in indices)


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
    return reduce(lambda a, b: _elementwise(add, a, b), present) if present else None


def _plain(node: Component) -> tuple[Index, ...]:
    plain = tuple(s.plain for s in node.subscripts)
    indices = tuple(index for index in plain if index is not None)
    if len(indices) < len(plain) or node.pad is not None:
        raise DerivationError("subscripts that are no plain indices", about=_named(node.tensor),
                              fix="give each axis an index of its own")
    return indices


def _relabelled(a: Labelled, old: Index, new: Index) -> Labelled:
    """`new` in place of the axis `old`; where both are there, the entries at which they are equal."""
    if old not in a.axes:
        return a
    if new not in a.axes:
        return replace(a, axes=tuple(new if axis == old else axis for axis in a.axes))
    first, second = a.axes.index(old), a.axes.index(new)
    mask = None if a.undefined is None else np.diagonal(a.undefined, 0, first, second)
    axes = (*(axis for axis in a.axes if axis not in (old, new)), new)
    return Labelled(axes, np.diagonal(a.data, 0, first, second), mask)


def _named(tensor: Tensor) -> str:
    return f"{tensor.name} of shape ({', '.join(map(str, tensor.shape))})"


def _checked(tensor: Tensor, array: NDArray[Any], extents: Mapping[str, int]) -> NDArray[Any]:
    array = np.asarray(array)
    shape = tuple(_size(extent, extents) for extent in tensor.shape)
    if array.shape != shape:
        raise ShapeError(f"an array of shape {array.shape}", about=_named(tensor), fix=f"give shape {shape}")
    if tensor.dtype == "integer":
        return array.astype(np.int64)
    return array if array.dtype == np.uint64 else elements(array)


# Evaluation.


@overload
def evaluate(
    expr: Expr, values: Mapping[str, NDArray[Any]], indices: tuple[Index, ...], *, extents: Mapping[str, int],
    seed: int, tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None, dual: Literal[False] = False,
) -> NDArray[Any]: ...


@overload
def evaluate(
    expr: Expr, values: Mapping[str, NDArray[Any]], indices: tuple[Index, ...], *, extents: Mapping[str, int],
    seed: int, tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None, dual: Literal[True],
) -> tuple[NDArray[Any], Words]: ...


def evaluate(
    expr: Expr,
    values: Mapping[str, NDArray[Any]],
    indices: tuple[Index, ...],
    *,
    extents: Mapping[str, int],
    seed: int,
    tangents: Mapping[str, NDArray[Any]] | None = None,
    definitions: Mapping[str, Equation] | None = None,
    dual: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], Words]:
    """The values of `expr` over `indices`, in their order; with `dual`, also its tangent along `tangents`.

    `values` and `tangents` hold an array for each tensor by name; a tensor without a tangent is constant. Inside a
    Derivative, a tensor in `definitions` depends on what its equation (of plain target indices) reads. Field elements
    are uint64, integers (argmax, components of integer tensors) int64.

    Raises EquationError (no value, indices left over), ShapeError (extents, a read outside), DerivationError.
    """
    interpreter = Interpreter(values, extents, seed, definitions)
    value = interpreter.over(interpreter.value(expr), indices)
    if not dual:
        return value
    slope = interpreter.tangent(expr, interpreter.direction(tangents or {}))
    return value, np.zeros(value.shape, np.uint64) if slope is None else interpreter.over(slope, indices)


def execute(
    program: Program,
    given: Mapping[str, NDArray[Any]],
    *,
    seed: int,
    tangents: Mapping[str, NDArray[Any]] | None = None,
    extents: Mapping[str, int] | None = None,
) -> dict[str, tuple[NDArray[Any], Words]]:
    """Run a program: each tensor's value and its tangent along `tangents`, given tensors included.

    Named extents come from the shapes of the given arrays, or from `extents`. Raises what `evaluate` raises, and
    EquationError where a component is bound twice or not at all.
    """
    sizes = dict(extents or {})
    for tensor in program.given:
        if tensor.name not in given:
            raise EquationError("a given tensor without a value", about=_named(tensor), fix="give its array")
        for extent, size in zip(tensor.shape, np.shape(given[tensor.name]), strict=False):
            if isinstance(extent, str):
                sizes.setdefault(extent, size)
    values = {t.name: _checked(t, given[t.name], sizes) for t in program.given}
    slopes = {t.name: np.zeros(values[t.name].shape, np.uint64) for t in program.given} | dict(tangents or {})
    moving = set(tangents or {})
    pieces: dict[str, tuple[NDArray[Any], Words, NDArray[np.int64]]] = {}
    for equation in program.equations:
        tensor, indices = equation.tensor, equation.indices
        along = {name: slopes[name] for name in moving if name in values}
        value, slope = evaluate(equation.value, values, indices, extents=sizes, seed=seed, tangents=along, dual=True)
        if tensor.name not in pieces:
            shape = tuple(_size(extent, sizes) for extent in tensor.shape)
            empty = np.zeros(shape, np.int64 if tensor.dtype == "integer" else np.uint64)
            pieces[tensor.name] = empty, np.zeros(shape, np.uint64), np.zeros(shape, np.int64)
        whole, whole_slope, bound = pieces[tensor.name]
        ranges = [_ranges(subscript, sizes) for subscript in equation.target.subscripts]
        for s, extent in zip(ranges, whole.shape, strict=True):
            if not np.all((s.data >= 0) & (s.data < extent)):
                raise ShapeError("a component outside its tensor", about=_named(tensor), fix="use smaller extents")
        place = tuple(_onto(s.data, s.axes, indices) for s in ranges)
        whole[place] = value if tensor.dtype == "integer" or value.dtype == np.uint64 else elements(value)
        whole_slope[place] = slope
        np.add.at(bound, place, 1)
        if bound.max(initial=0) > 1:
            raise EquationError("a component bound twice", about=_named(tensor), fix="make the pieces disjoint")
        if bound.all():
            values[tensor.name], slopes[tensor.name] = whole, whole_slope
            if slope.any() or whole_slope.any():
                moving.add(tensor.name)
    for tensor in program.defined:
        if tensor.name not in values:
            raise EquationError("components that no equation binds", about=_named(tensor), fix="add their piece")
    return {name: (value, slopes[name]) for name, value in values.items()}
