"""Sums over products of several arrays, by matrix products of two at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.nodes import Axes, Einsum
from chainrule.ir.index import Index

Array = NDArray[Any]


class Plan:
    """Which two arrays are multiplied next, the smallest result first: their places among those that are left, and the
    indices that the result needs."""

    def __init__(self, node: Einsum) -> None:
        pairs = ((i, n) for o, own in zip(node.operands, node.indices, strict=True)
                 for i, n in zip(own, o.shape, strict=True))
        self.sizes = {i: n for i, n in pairs if isinstance(n, int)}
        self.node, self.kept = node, node.kept
        self.every = (*node.kept, *dict.fromkeys(i for own in node.indices for i in own if i not in node.kept))
        self.brackets = [o.dtype == "bool" for o in node.operands]
        self.left = [tuple(i for i in own if i in self.needed(node.indices, k)) for k, own in enumerate(node.indices)]
        self.steps = list[tuple[int, int, Axes]]()
        work = [*self.left]
        while len(work) > 1:
            options = list[tuple[int, int, int, Axes]]()
            for a, b in combinations(range(len(work)), 2):
                needed = self.needed(work, a, b)
                axes = tuple(i for i in dict.fromkeys((*work[a], *work[b])) if i in needed)
                options.append((prod(self.shape(axes)), a, b, axes))
            _, a, b, axes = min(options, key=lambda option: option[0])
            self.steps.append((a, b, axes))
            del work[b], work[a]
            work.append(axes)

    def needed(self, work: Sequence[Axes], *taken: int) -> set[Index]:
        return {*self.kept, *(i for k, axes in enumerate(work) if k not in taken for i in axes)}

    def shape(self, axes: Iterable[Index]) -> tuple[int, ...]:
        return tuple(self.sizes[i] for i in axes)

    def run(self, factors: Sequence[Array], dtype: np.dtype[Any]) -> Array:
        work = list[tuple[Array, Axes]]()
        for factor, own, left in zip(factors, self.node.indices, self.left, strict=True):
            alone = tuple(axis for axis, i in enumerate(own) if i not in left)
            factor = factor.astype(dtype, copy=False)
            work.append((factor.sum(alone) if alone else factor, left))
        for a, b, axes in self.steps:
            right, left = work.pop(b), work.pop(a)
            # The result's first index leads, so that fewer axes move at the end.
            turned = any(i in right[1] and i not in left[1] for i in self.kept[:1])
            work.append(self.product(*((*right, *left) if turned else (*left, *right)), axes))
        result = over(*work[0], self.kept)
        # As zeros and ones the brackets join the matrix products. Where 0·∞ or 0·NaN makes that differ from
        # selecting, the result has a NaN, and the product is made in full.
        return self.selected(factors, dtype) if any(self.brackets) and np.isnan(result).any() else result

    def product(self, x: Array, a: Axes, y: Array, b: Axes, needed: Axes) -> tuple[Array, Axes]:
        """Σ of x·y over the indices not needed, all of which both have: a batch of matrix products."""
        summed = [i for i in (a if x.size > y.size else b) if i not in needed]
        if not summed:
            return over(x, a, needed) * over(y, b, needed), needed
        batch = [i for i in a if i in b and i in needed]
        left, right = [i for i in a if i not in b], [i for i in b if i not in a]
        stack, rows, terms, columns = map(self.shape, (batch, left, summed, right))
        result = np.matmul(
            over(x, a, [*batch, *left, *summed]).reshape(*stack, prod(rows), prod(terms)),
            over(y, b, [*batch, *summed, *right]).reshape(*stack, prod(terms), prod(columns)),
        )
        return result.reshape((*stack, *rows, *columns)), (*batch, *left, *right)

    def selected(self, factors: Sequence[Array], dtype: np.dtype[Any]) -> Array:
        """The product term by term, brackets as a selection, then its sum."""
        terms = [over(f, own, self.every) for f, own in zip(factors, self.node.indices, strict=True)]
        pairs = [*zip(terms, self.brackets, strict=True)]
        product = reduce(np.multiply, [t for t, bracket in pairs if not bracket], np.ones((), dtype))
        where = reduce(np.logical_and, [t for t, bracket in pairs if bracket])
        return np.where(where, product, np.zeros((), dtype)).sum(tuple(range(len(self.kept), len(self.every))))


def over(array: Array, own: Axes, axes: Sequence[Index]) -> Array:
    """The array with its axes in the order of `axes`, of length 1 where it has none."""
    array = array.transpose([own.index(i) for i in axes if i in own])
    return array[tuple(slice(None) if i in own else None for i in axes)]
