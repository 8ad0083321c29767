"""The exact arithmetic: the prime field GF(p), p = 2^61 − 1.

Sums, products and quotients are exact. The functions that no field has (sigmoid, exp, log, logsumexp, roots,
the named reals) are uninterpreted: keyed pseudo-random values of their arguments, so equal arguments give equal
values and nothing else is known of them. Two expressions that are equal by algebra and the laws of the catalogue agree
at every point and for every seed; others differ at a random point, up to a chance of about degree/p.

Kinks: step(x) is a keyed random field element (a 0/1 coin would miss wrong slopes half the time), sign(x) is another;
relu, abs, max and min are composed of them. A reduction max orders the values of its window by a keyed random rank, so
it selects one entry of the window, the first of equals, and argmax gives the position of that same entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import reduce
from itertools import combinations
from math import floor, prod

import numpy as np

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.expr import Component, Delta, Expr, NamedReal, Tensor
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import nodes
from chainrule.semantics import entries
from chainrule.semantics.entries import Entries, Selected
from chainrule.semantics.evaluator import named
from chainrule.semantics.labelled import Array, Axes, Labelled, axes_of, onto, shape_of, size
from chainrule.semantics.prime import (
    PRIME,
    Words,
    add_all,
    dot,
    element,
    elements,
    key,
    matmul,
    mix,
    multiply,
    power,
    residue,
    total,
)

DIRECT = 4096  # entries up to which a product is built before it is summed: less than the calls of a matrix product


class Field(Entries):
    uninterpreted = True
    dtype = np.dtype(np.uint64)
    lowest = np.uint64(0)

    def __init__(self, extents: Mapping[str, int], seed: int, selected: Selected | None = None) -> None:
        super().__init__(extents, selected)
        self.seed = seed
        self._weights: dict[Axes, Labelled] = {}

    def constant(self, value: Fraction) -> np.uint64:
        return element(value)

    def named(self, name: NamedReal) -> Words:
        return residue(mix(np.zeros((), np.uint64), key(self.seed, "real", name)))

    def lifted(self, data: Array) -> Words:
        return data if data.dtype == np.uint64 else data.astype(np.uint64) if data.dtype == bool else elements(data)

    def plus(self, *arrays: Words) -> Words:
        return add_all(arrays)

    def times(self, a: Words, b: Words) -> Words:
        return multiply(a, b)

    def total(self, data: Words, axes: tuple[int, ...]) -> Words:
        return total(data, axes)

    def dot(self, a: Words, b: Words) -> np.uint64:
        return np.uint64(dot(a, b))

    def raised(self, data: Words, exponent: Fraction) -> Words:
        """x^(n + r) = x^n · g with n = floor(exponent) and g keyed by x and the fraction r."""
        whole = floor(exponent)
        found, rest = power(data, whole), exponent - whole
        return multiply(found, self.keyed(("power", rest), data)) if rest else found

    def keyed(self, name: object, *arguments: Words) -> Words:
        digest: Words = np.zeros((), np.uint64)
        for n, word in enumerate(arguments):
            digest = mix(digest ^ word, key(self.seed, "function", name, n))
        return residue(digest)

    function = keyed

    def exponentials(self, window: Words) -> Words:
        place = mix(np.arange(window.shape[-1], dtype=np.uint64), key(self.seed, "position"))
        digest = mix(window ^ place, key(self.seed, "entry")).sum(-1, dtype=np.uint64)
        return residue(mix(digest, key(self.seed, "logsumexp")))

    def rank(self, window: Words) -> Words:
        return mix(window, key(self.seed, "rank")) >> np.uint64(1)

    def weights(self, indices: Axes) -> Labelled:
        """Random elements over these indices, the same each time."""
        if indices not in self._weights:
            generator = np.random.default_rng(key(self.seed, "weights", *[i.name for i in indices]))
            self._weights[indices] = Labelled(
                indices, generator.integers(0, PRIME, self.shape(indices), dtype=np.uint64)
            )
        return self._weights[indices]

    # Contractions.

    def product(self, arrays: list[Labelled], axes: Axes, reduced: Axes) -> Labelled:
        """Entry by entry, the smallest factors first, where that is short; else a pair of factors at a time, the pair
        with the smallest result first. A word times 0 or 1 is a word."""
        if prod(self.shape(axes)) > DIRECT:
            return self._pairwise(arrays, reduced)
        order = sorted(arrays, key=lambda a: a.data.size)
        words = [onto(self.lifted(a.data), a.axes, axes) for a in order if a.data.dtype != bool]
        if not words:
            return super().product(arrays, axes, reduced)
        data = reduce(multiply, words)
        for a in order:
            if a.data.dtype == bool:
                data = data * onto(a.data.astype(np.uint64), a.axes, axes)
        return self.summed(data, axes, reduced)

    def _pairwise(self, arrays: list[Labelled], reduced: Axes) -> Labelled:
        parts = [Labelled(a.axes, self.lifted(a.data)) for a in arrays]
        if len(parts) == 1:
            return self.summed(parts[0].data, parts[0].axes, reduced)
        while len(parts) > 1:
            plans: list[tuple[int, int, int, Axes]] = []
            for i, j in combinations(range(len(parts)), 2):
                both, rest = axes_of((parts[i], parts[j])), axes_of(p for n, p in enumerate(parts) if n not in (i, j))
                gone = tuple([axis for axis in both if axis in reduced and axis not in rest])
                plans.append((prod(self.shape(tuple([axis for axis in both if axis not in gone]))), i, j, gone))
            _, i, j, gone = min(plans, key=lambda plan: plan[:3])
            b, a = parts.pop(j), parts.pop(i)
            parts.append(self._pair(a, b, gone))
        return parts[0]

    def _pair(self, a: Labelled, b: Labelled, gone: Axes) -> Labelled:
        """Σ over `gone` of a·b: one batched matrix product where both have an index that is summed."""
        a = self.summed(a.data, a.axes, tuple([i for i in gone if i not in b.axes]))
        b = self.summed(b.data, b.axes, tuple([i for i in gone if i not in a.axes]))
        shared = tuple([axis for axis in a.axes if axis in b.axes and axis in gone])
        if not shared:
            return self.each(multiply, [a, b])
        batch = tuple([axis for axis in a.axes if axis in b.axes and axis not in gone])
        rows = tuple([axis for axis in a.axes if axis not in b.axes])
        columns = tuple([axis for axis in b.axes if axis not in a.axes])
        left, right = onto(a.data, a.axes, batch + rows + shared), onto(b.data, b.axes, batch + shared + columns)
        shape = self.shape(batch + rows + columns)
        many, inner = prod(shape[: len(batch)]), prod(self.shape(shared))
        m, n = prod(self.shape(rows)), prod(self.shape(columns))
        data = matmul(left.reshape(many, m, inner), right.reshape(many, inner, n))
        return Labelled(batch + rows + columns, data.reshape(shape))


def random_values(
    tensors: Iterable[Tensor],
    extents: Mapping[str, int],
    seed: int,
    integer_ranges: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """A random point: for each tensor by name uniform field elements, or for an integer tensor integers in
    0 … integer_ranges[name] − 1. A tensor's values depend on the seed, its name and its shape alone."""
    values: dict[str, Array] = {}
    for tensor in tensors:
        shape = shape_of(tensor, extents)
        generator = np.random.default_rng(key(seed, "values", tensor.name))
        if tensor.dtype == "integer":
            if integer_ranges is None or tensor.name not in integer_ranges:
                raise ShapeError("an integer tensor without a range", about=tensor.name, fix="give integer_ranges")
            values[tensor.name] = generator.integers(0, integer_ranges[tensor.name], shape)
        else:
            values[tensor.name] = generator.integers(0, PRIME, shape, dtype=np.uint64)
    return values


def integer_ranges(given: Iterable[Tensor], expressions: Iterable[Expr], extents: Mapping[str, int]) -> dict[str, int]:
    """How many values each integer tensor takes: as many as the brackets that it stands in tell apart."""
    found: dict[str, int] = {t.name: 2 for t in given if t.dtype == "integer"}
    for expression in expressions:
        for node in nodes(expression) if Delta in expression.types else ():
            if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor.name in found:
                reach = node.left.offset + sum(c * (size(i.extent, extents) - 1) for i, c in node.left.terms if c > 0)
                found[node.right.tensor.name] = max(found[node.right.tensor.name], reach + 1)
    return found


def evaluate(
    expr: Expr, values: Mapping[str, Array], indices: Axes, *, extents: Mapping[str, int], seed: int,
    definitions: Mapping[str, Equation] | None = None,
) -> Array:
    """`entries.evaluate` over the field."""
    return entries.evaluate(Field(extents, seed), expr, values, indices, definitions)


def execute(
    program: Program,
    given: Mapping[str, Array],
    *,
    seed: int,
    tangents: Mapping[str, Array] | None = None,
    extents: Mapping[str, int] | None = None,
    selected: Selected | None = None,
) -> dict[str, tuple[Array, Words]]:
    """Run a program: each tensor's value and its tangent along `tangents`, given tensors included; what its maxima
    select is noted in `selected`.

    Named extents come from the shapes of the given arrays, or from `extents`. Raises what `entries.execute` raises.
    """
    sizes = dict(extents or {})
    for tensor in program.given:
        if tensor.name not in given:
            raise EquationError("a given tensor without a value", about=named(tensor), fix="give its array")
        for extent, length in zip(tensor.shape, np.shape(given[tensor.name]), strict=False):
            if isinstance(extent, str):
                sizes.setdefault(extent, length)
    field = Field(sizes, seed, selected)
    known = {t.name: field.given(t, given[t.name]) for t in program.given}
    values, slopes = entries.execute(field, program.equations, known, tangents)
    for tensor in program.defined:
        if tensor.name not in values:
            raise EquationError("components that no equation binds", about=named(tensor), fix="add their piece")
    return {name: (v, slopes.get(name, np.zeros(v.shape, np.uint64))) for name, v in values.items()}
