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
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from hashlib import blake2b
from itertools import combinations, count
from math import floor, prod
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DerivationError, EquationError, ShapeError
from chainrule.ir import walk
from chainrule.ir.expr import (
    Add, Apply, Component, Constant, Delta, Derivative, Expr, Guard, Multiply, Power, Reduce, Size, Tensor,
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
_wrapping = np.errstate  # numpy warns of wrap-around on 0-d operands only; here it is meant


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


@_wrapping(over="ignore")
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
    return _reduce(((a1 * b1) << np.uint64(3)) + _shift(_reduce(middle), 32) + _reduce(a0 * b0))


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


@_wrapping(over="ignore")
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


def _pair(a: Labelled, b: Labelled, summed: set[Index]) -> Labelled:
    """Σ over `summed` of a·b: one batched matrix product where both have an index that is summed."""
    for this, other in ((a, b), (b, a)):
        alone = tuple(n for n, axis in enumerate(this.axes) if axis in summed and axis not in other.axes)
        kept = tuple(axis for n, axis in enumerate(this.axes) if n not in alone)
        short = Labelled(kept, total(this.data, alone)) if alone else this
        a, b = (short, b) if this is a else (a, short)
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
        self._jacobians: dict[Component, tuple[tuple[Index, ...], dict[Expr, Tangent]]] = {}
        self._numbers = count()

    def value(self, root: Expr) -> Labelled:
        return _fill(root, self.values, _operands, self._value)

    def _value(self, node: Expr) -> Labelled:
        match node:
            case Constant(value=Fraction() as value):
                return Labelled((), np.asarray(element(value)))
            case Constant(value=name):
                return Labelled((), np.asarray(_reduce(_mix(np.uint64(0), _key(self.seed, "real", name)))))
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
                axes, window, mask = self._window(self.value(body), indices)
                place = _mix(np.arange(window.shape[-1], dtype=np.uint64), _key(self.seed, "position"))
                digest = _mix(window ^ place, _key(self.seed, "entry")).sum(-1, dtype=np.uint64)
                return Labelled(axes, np.asarray(_reduce(_mix(digest, _key(self.seed, "logsumexp")))), mask)
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
                return _bracket(axes, _onto(a.data, a.axes, axes) == _onto(b.data, b.axes, axes), _undefined((b,), axes))
            case Guard(subscript=subscript, extent=extent):
                s = _ranges(subscript, self.extents)
                return _bracket(s.axes, (s.data >= 0) & (s.data < _size(extent, self.extents)), None)
            case Derivative(of=of, wrt=wrt):
                return self._jacobian(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")

    # Reading.

    def _read(self, node: Component) -> Labelled:
        name = node.tensor.name
        if name not in self.given:
            raise EquationError("a tensor without a value", about=name, fix="define it or give it before it is read")
        data = _checked(node.tensor, self.given[name], self.extents)
        fill = 0 if node.pad is None or node.pad == "-inf" else node.pad
        return self._gather(data, node, element(fill) if data.dtype == np.uint64 else int(fill))

    def _gather(self, data: NDArray[Any], node: Component, fill: Any = 0, trailing: tuple[Index, ...] = ()) -> Labelled:
        """Entries of `data` at the node's subscripts, `fill` outside; further axes of `data` stay as they are."""
        axes, grids, inside = node.free, list[NDArray[Any]](), np.asarray(True)
        for subscript, extent in zip(node.subscripts, data.shape, strict=False):
            s = _ranges(subscript, self.extents)
            grid = _onto(s.data, s.axes, axes)
            inside = inside & (grid >= 0) & (grid < extent)
            grids.append(np.clip(grid, 0, extent - 1))
        inside = np.expand_dims(inside, tuple(range(-len(trailing), 0)))
        read = np.asarray(data[tuple(grids)])
        if inside.all():
            return Labelled(axes + trailing, read)
        outside = np.broadcast_to(~inside, read.shape)
        return Labelled(axes + trailing, np.where(inside, read, fill), outside if node.pad is None else None)

    # Products, powers, functions.

    def _factors(self, body: Expr) -> list[Labelled]:
        return [self.value(factor) for factor in _flat(body)]

    def _contract(self, arrays: list[Labelled], reduced: tuple[Index, ...]) -> Labelled:
        """Σ over `reduced` of the product of the arrays: pairwise, the pair with the smallest result first."""
        undefined = self._reaches(arrays, reduced)
        repeated = prod(_size(i.extent, self.extents) for i in reduced if i not in _union(arrays))
        parts = [Labelled(a.axes, a.words) for a in arrays]
        parts += [Labelled((), np.asarray(element(repeated)))] if repeated != 1 or len(parts) == 1 else []
        while len(parts) > 1:
            plans: list[tuple[int, int, int, set[Index]]] = []
            for i, j in combinations(range(len(parts)), 2):
                both, rest = _union((parts[i], parts[j])), _union(p for n, p in enumerate(parts) if n not in (i, j))
                gone = {axis for axis in both if axis in reduced and axis not in rest}
                plans.append((prod(_size(a.extent, self.extents) for a in both if a not in gone), i, j, gone))
            _, i, j, gone = min(plans, key=lambda plan: plan[:3])
            b, a = parts.pop(j), parts.pop(i)
            parts.append(_pair(a, b, gone))
        axes, mask = parts[0].axes, None
        if undefined is not None:
            axes = _union((parts[0], undefined))
            mask = np.broadcast_to(_onto(undefined.data, undefined.axes, axes), [self._extent(a) for a in axes])
        data = np.broadcast_to(_onto(parts[0].data, parts[0].axes, axes), [self._extent(a) for a in axes])
        return Labelled(axes, data, mask)

    def _extent(self, index: Index) -> int:
        return _size(index.extent, self.extents)

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
        mask = mask.any(summed)
        return Labelled(tuple(a for a in axes if a not in reduced), mask) if mask.any() else None

    def _power(self, x: Labelled, exponent: Fraction) -> Labelled:
        """x^(n + r) = x^n · g with n = floor(exponent) and g keyed by x and the fraction r."""
        whole = floor(exponent)
        rest = exponent - whole
        result = _elementwise(lambda a: power(a, whole), x)
        return _elementwise(multiply, result, self._keyed(("power", rest), [x])) if rest else result

    def _keyed(self, name: object, arguments: list[Labelled]) -> Labelled:
        def value(*words: Words) -> Words:
            digest = np.uint64(0)
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
        self, array: Labelled, indices: tuple[Index, ...], words: bool = True
    ) -> tuple[tuple[Index, ...], NDArray[Any], NDArray[np.bool_] | None]:
        """Other axes, the data with the window's indices flattened into a last axis, and where any is undefined."""
        axes = tuple(axis for axis in array.axes if axis not in indices)
        shape = [self._extent(a) for a in axes + indices]
        flat = (*shape[: len(axes)], prod(shape[len(axes) :]))

        def flattened(data: NDArray[Any]) -> NDArray[Any]:
            return np.broadcast_to(_onto(data, array.axes, axes + indices), shape).reshape(flat)

        mask = None if array.undefined is None else flattened(array.undefined).any(-1)
        return axes, flattened(array.words if words else array.data), mask

    def _select(self, node: Reduce) -> tuple[Labelled, Labelled]:
        """The position selected in every window, and the value there."""
        allowed: NDArray[np.bool_] | None = None
        if _is_padded(node.body):
            # Reading without the padding marks every entry outside as undefined: those are the ones never selected.
            array = self._read(Component(node.body.tensor, node.body.subscripts, None))
            if array.undefined is not None:
                allowed = ~self._window(Labelled(array.axes, array.undefined), node.indices, words=False)[1]
                array = replace(array, undefined=None)
        else:
            array = self.value(node.body)
        axes, window, mask = self._window(array, node.indices)
        rank = _mix(window, _key(self.seed, "rank")) >> _ONE
        if allowed is not None:
            if not allowed.any(-1).all():
                raise ShapeError("a maximum over a window of padding alone",
                                 about=f"{walk.tensors(node.body)[0].name} of shape {walk.tensors(node.body)[0].shape}",
                                 fix="use less padding or fewer windows")
            rank = np.where(allowed, rank + _ONE, np.uint64(0))
        position = np.asarray(rank.argmax(-1))
        value = np.take_along_axis(window, position[..., None], -1)[..., 0]
        return Labelled(axes, position, mask), Labelled(axes, value, mask)

    # Tangents.

    def tangent(self, root: Expr, seed: Callable[[Component], Tangent], memo: dict[Expr, Tangent]) -> Tangent:
        """The tangent of `root` where the tangent of each component is seed(component)."""

        def operands(node: Expr) -> tuple[Expr, ...]:
            # A component leads to its definition where the seed needs that definition's tangent first.
            definition = getattr(seed, "definition", lambda _: None)(node)
            return _operands(node) if definition is None else (definition.value,)

        return _fill(root, memo, operands, lambda node: self._tangent(node, seed, memo))

    def _tangent(self, node: Expr, seed: Callable[[Component], Tangent], memo: dict[Expr, Tangent]) -> Tangent:
        match node:
            case Constant() | Size() | Guard() | Delta() | Reduce(kind="argmax"):
                return None
            case Component():
                return seed(node)
            case Add(terms=terms):
                return _sum(memo[term] for term in terms)
            case Multiply():
                return self._product_rule(_flat(node), (), memo)
            case Reduce(kind="sum", indices=indices, body=body):
                return self._product_rule(_flat(body), indices, memo)
            case Power(base=base, exponent=exponent):
                slope = memo[base]
                if slope is None or exponent == 0:
                    return None
                factor = Labelled((), np.asarray(element(exponent)))
                return self._contract([factor, self._power(self.value(base), exponent - 1), slope], ())
            case Apply(function=function, arguments=arguments):
                return self._chain_rule(function, [self.value(a) for a in arguments], [memo[a] for a in arguments])
            case Reduce(kind="logsumexp", indices=indices, body=body):
                slope = memo[body]
                if slope is None:
                    return None
                share = self._apply("exp", [_elementwise(subtract, self.value(body), self.value(node))])
                return self._contract([share, slope], indices)
            case Reduce(kind="max", indices=indices, body=body):
                slope = seed(body) if _is_padded(body) else memo[body]
                return None if slope is None else self._at(slope, indices, self._select(node)[0])
            case Derivative():
                raise DerivationError("the tangent of a derivative that is not evaluated", about=node.wrt.tensor.name,
                                      fix="evaluate the inner derivative first")
            case _:
                raise TypeError(f"no tangent known for {type(node).__name__}")

    def _product_rule(self, factors: tuple[Expr, ...], reduced: tuple[Index, ...], memo: dict[Expr, Tangent]) -> Tangent:
        values = [self.value(factor) for factor in factors]
        slopes = [memo[factor] for factor in factors]
        return _sum(
            self._contract([*values[:n], slope, *values[n + 1 :]], reduced)
            for n, slope in enumerate(slopes)
            if slope is not None
        )

    def _chain_rule(self, function: str, arguments: list[Labelled], slopes: list[Tangent]) -> Tangent:
        base, argument = split_derivative(function)
        if argument is None:
            return _sum(
                self._contract([inner.value(expression), slope], ())
                for n, slope in enumerate(slopes)
                if slope is not None
                for expression, inner in [self._law(base, n, arguments)]
            )
        expression, inner = self._law(base, argument, arguments)
        known = {"x": slopes[0], "y": slopes[-1], "f": self._chain_rule(base, arguments, slopes)}
        return inner.tangent(expression, lambda component: known[component.tensor.name], {})

    def _at(self, array: Labelled, indices: tuple[Index, ...], position: Labelled) -> Labelled:
        """The entry of every window at the selected position."""
        others, window, _ = self._window(array, indices)
        axes = tuple(dict.fromkeys(position.axes + others))
        shape = tuple(self._extent(a) for a in axes)
        last = np.broadcast_to(_onto(position.data, position.axes, axes), shape)[..., None]
        data = np.moveaxis(_onto(np.moveaxis(window, -1, 0)[..., None], (Index("", 0), *others, Index("", 1)), (
            *axes, Index("", 0), Index("", 1))), -1, -1)[..., 0]
        return Labelled(axes, np.take_along_axis(np.broadcast_to(data, (*shape, window.shape[-1])), last, -1)[..., 0])
