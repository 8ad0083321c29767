"""The second tier: expressions at 50 digits, at random points. What agrees there is evidence, not an exact identity.

A third semantics of the language beside the two executors, the plainest: arrays of mpmath numbers whose axes are
indices, forward mode for derivatives. It is slow, so it is given small shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ChainruleError, DerivationError
from chainrule.evaluate.labelled import onto, ranges, size
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
)
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import law
from chainrule.ir.program import Equation

Array = NDArray[Any]
DIGITS = 50


class MissingLibraryError(ChainruleError, ImportError):
    """A check needs a library that only an extra installs."""


def library() -> Any:
    """mpmath, at 50 digits. Raises MissingLibraryError where it is not installed."""
    try:
        import mpmath
    except ImportError:
        raise MissingLibraryError(
            "arithmetic at 50 digits needs mpmath", about="verify", fix="pip install 'chainrule[verify]'"
        ) from None
    context: Any = mpmath.MPContext()
    context.dps = DIGITS
    return context


def functions(mp: Any) -> dict[str, Callable[..., Any]]:
    """The scalar functions of the catalogue."""
    one, zero = mp.mpf(1), mp.mpf(0)

    def sigmoid(x: Any) -> Any:
        return one / (one + mp.exp(-x))

    def softplus(x: Any) -> Any:
        return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))

    def step(x: Any) -> Any:
        return one if x > 0 else zero

    def sign(x: Any) -> Any:
        return one if x > 0 else -one if x < 0 else zero

    def relu(x: Any) -> Any:
        return x if x > 0 else zero

    def greater(x: Any, y: Any) -> Any:
        return x if x >= y else y

    def lesser(x: Any, y: Any) -> Any:
        return x if x <= y else y

    return {
        "exp": mp.exp, "expm1": mp.expm1, "log": mp.log, "sigmoid": sigmoid, "tanh": mp.tanh, "erf": mp.erf,
        "erfc": mp.erfc, "softplus": softplus, "step": step, "sign": sign, "relu": relu, "abs": abs,
        "max": greater, "min": lesser,
    }


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Numbers with an index for each axis."""

    axes: tuple[Index, ...]
    data: Array


Slope = Entries | None


class Precise:
    """Values and tangents at one point of real numbers."""

    def __init__(
        self, mp: Any, values: Mapping[str, Array], extents: Mapping[str, int],
        definitions: Mapping[str, Equation] | None = None,
    ) -> None:
        self.mp, self.given, self.extents, self.definitions = mp, values, extents, definitions or {}
        self.functions = functions(mp)
        self._values: dict[Expr, Entries] = {}
        self._numbers = count()

    # Arrays.

    def shape(self, axes: Iterable[Index]) -> tuple[int, ...]:
        return tuple(size(i.extent, self.extents) for i in axes)

    def over(self, a: Entries, axes: tuple[Index, ...]) -> Array:
        return np.broadcast_to(onto(a.data, a.axes, axes), self.shape(axes))

    def one(self, function: Callable[[Any], Any], a: Entries) -> Entries:
        return self.each(function, a)

    def two(self, function: Callable[[Any, Any], Any], a: Entries, b: Entries) -> Entries:
        return self.each(function, a, b)

    def each(self, function: Callable[..., Any], *arrays: Entries) -> Entries:
        axes = tuple(dict.fromkeys(axis for a in arrays for axis in a.axes))
        data = np.frompyfunc(function, len(arrays), 1)(*(onto(a.data, a.axes, axes) for a in arrays))
        return Entries(axes, np.asarray(data, object))

    def _add(self, arrays: list[Entries]) -> Entries:
        result = arrays[0]
        for other in arrays[1:]:
            result = self.two(lambda a, b: a + b, result, other)
        return result

    def _times(self, arrays: list[Entries]) -> Entries:
        """A product; an entry that is 0 hides one that is no number, as a bracket does."""

        def product(a: Any, b: Any) -> Any:
            return a * b if a and b else self.mp.zero

        result = arrays[0]
        for other in arrays[1:]:
            result = self.each(product, result, other)
        return result

    def _sum(self, a: Entries, indices: tuple[Index, ...]) -> Entries:
        axes = tuple(axis for axis in a.axes if axis not in indices)
        data = self.over(a, axes + indices).reshape(*self.shape(axes), -1)
        total = data.sum(-1) if data.shape[-1] else np.full(self.shape(axes), self.mp.zero, object)
        return Entries(axes, np.asarray(total, object))

    def read(self, data: Array, node: Component, trailing: tuple[Index, ...] = ()) -> Entries:
        """A component; the padding outside, and no number where there is none."""
        inside, grids = np.asarray(True), list[Array]()
        for subscript, extent in zip(node.subscripts, data.shape, strict=False):
            s = ranges(subscript, self.extents)
            grid = onto(s.data, s.axes, node.free)
            inside = inside & (grid >= 0) & (grid < extent)
            grids.append(np.clip(grid, 0, extent - 1))
        read = np.asarray(data[tuple(grids)], object)
        if not inside.all():
            outside = self.mp.nan if node.pad is None else self.mp.ninf
            if isinstance(node.pad, Fraction):
                outside = self.number(node.pad)
            if trailing:
                outside = self.mp.zero
            inside = np.broadcast_to(np.expand_dims(inside, tuple(range(-len(trailing), 0))), read.shape)
            read = np.where(inside, read, outside)
        return Entries(node.free + trailing, read)

    def number(self, value: Fraction) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator

    # Values.

    def value(self, root: Expr) -> Entries:
        stack = [root]
        while stack:
            node = stack[-1]
            parts = () if isinstance(node, Derivative) else walk.children(node)
            missing = [] if node in self._values else [c for c in parts if c not in self._values]
            stack.extend(missing)
            if not missing:
                stack.pop()
                if node not in self._values:
                    self._values[node] = self._value(node)
        return self._values[root]

    def _value(self, node: Expr) -> Entries:
        known = self._values
        match node:
            case Constant(value=Fraction() as value):
                return Entries((), np.asarray(self.number(value), object))
            case Constant(value=name):
                return Entries((), np.asarray(+getattr(self.mp, str(name)), object))
            case Size(extent=name):
                return Entries((), np.asarray(self.mp.mpf(size(name, self.extents)), object))
            case Component():
                return self.read(self.given[node.tensor.name], node)
            case Add(terms=terms):
                return self._add([known[t] for t in terms])
            case Multiply(factors=factors):
                brackets = [known[f] for f in factors if isinstance(f, Delta | Guard)]
                return self._times(brackets + [known[f] for f in factors if not isinstance(f, Delta | Guard)])
            case Reduce(kind="sum", indices=indices, body=body):
                return self._sum(known[body], indices)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                window, axes = self._window(known[body], indices)
                return Entries(axes, self._rows(self._logsumexp, window))
            case Reduce(kind="argmax", indices=indices, body=body):
                window, axes = self._window(known[body], indices)
                return Entries(axes, self._rows(lambda row: max(range(len(row)), key=lambda n: (row[n], -n)), window))
            case Reduce(indices=indices, body=body):
                window, axes = self._window(known[body], indices)
                return Entries(axes, self._rows(max, window))
            case Power(base=base, exponent=exponent):
                return self.one(lambda x: self._power(x, exponent), known[base])
            case Apply(function=function, arguments=arguments):
                return self.apply(function, [known[a] for a in arguments])
            case Delta(left=left, right=right):
                a = ranges(left, self.extents)
                if isinstance(right, Affine):
                    b = ranges(right, self.extents)
                    return self._bracket(Entries(a.axes, a.data), Entries(b.axes, b.data), lambda x, y: x == y)
                return self._bracket(Entries(a.axes, a.data), known[right], lambda x, y: x == y)
            case Guard(subscript=subscript, extent=extent):
                s, top = ranges(subscript, self.extents), size(extent, self.extents)
                return self._bracket(Entries(s.axes, s.data), Entries((), np.asarray(top)), lambda x, e: 0 <= x < e)
            case Derivative(of=of, wrt=wrt):
                return self._jacobian(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")

    def _bracket(self, a: Entries, b: Entries, holds: Callable[[Any, Any], bool]) -> Entries:
        return self.two(lambda x, y: self.mp.one if holds(x, y) else self.mp.zero, a, b)

    def _window(self, a: Entries, indices: tuple[Index, ...]) -> tuple[Array, tuple[Index, ...]]:
        axes = tuple(axis for axis in a.axes if axis not in indices)
        return self.over(a, axes + indices).reshape(*self.shape(axes), -1), axes

    def _rows(self, function: Callable[[list[Any]], Any], window: Array) -> Array:
        result = np.empty(window.shape[:-1], object)
        for at in np.ndindex(*result.shape):
            result[at] = function(list(window[at]))
        return result

    def _logsumexp(self, row: list[Any]) -> Any:
        top = max(row)
        return top + self.mp.log(self.mp.fsum(self.mp.exp(x - top) for x in row))

    def _power(self, x: Any, exponent: Fraction) -> Any:
        if exponent.denominator == 1 and (exponent >= 0 or x):
            return x ** int(exponent)
        return self.mp.nan if not x > 0 else x ** self.number(exponent)

    def _safe(self, function: str, *arguments: Any) -> Any:
        if any(self.mp.isnan(a) for a in arguments) or (function == "log" and not arguments[0] > 0):
            return self.mp.nan
        if function not in self.functions:
            raise DerivationError(f"no value of {function} at 50 digits", fix="add it to evaluate/precise.py")
        return self.functions[function](*arguments)

    def apply(self, function: str, arguments: list[Entries]) -> Entries:
        base, argument = split_derivative(function)
        if argument is None:
            return self.each(partial(self._safe, base), *arguments)
        expression, inner = self._law(base, argument, arguments)
        return inner.value(expression)

    def _law(self, base: str, argument: int, arguments: list[Entries]) -> tuple[Expr, Precise]:
        expression, inner = law(base, argument), Precise(self.mp, {}, self.extents)
        for node in walk.components(expression):
            name = node.tensor.name
            inner._values[node] = self.apply(base, arguments) if name == "f" else arguments["xy".index(name)]
        return expression, inner

    # Tangents.

    def tangent(self, root: Expr, seed: Callable[[Component], Slope], known: dict[Expr, Slope] | None = None) -> Slope:
        known = {} if known is None else known
        self.value(root)
        stack = [root]
        while stack:
            node = stack[-1]
            parts = () if isinstance(node, Derivative | Delta) else walk.children(node)
            missing = [] if node in known else [c for c in parts if c not in known]
            stack.extend(missing)
            if not missing:
                stack.pop()
                if node not in known:
                    known[node] = self._tangent(node, seed, known)
        return known[root]

    def _tangent(self, node: Expr, seed: Callable[[Component], Slope], known: Mapping[Expr, Slope]) -> Slope:
        match node:
            case Component():
                return None if node.tensor.dtype == "integer" else seed(node)
            case Add(terms=terms):
                return self._total([known[t] for t in terms])
            case Multiply(factors=factors):
                parts: list[Slope] = []
                for n, factor in enumerate(factors):
                    slope = known[factor]
                    if slope is not None:
                        others = [self.value(f) for m, f in enumerate(factors) if m != n]
                        parts.append(self._times([*others, slope]))
                return self._total(parts)
            case Reduce(kind="sum", indices=indices, body=body):
                slope = known[body]
                return slope and self._sum(self._spread(slope, indices, body), indices)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                slope = known[body]
                if slope is None:
                    return None
                share = self.two(lambda a, b: self.mp.exp(a - b), self.value(body), self.value(node))
                return self._sum(self._times([share, slope]), indices)
            case Reduce(kind="max", indices=indices, body=body):
                slope = known[body]
                if slope is None:
                    return None
                first = self.value(Reduce("argmax", indices, body))
                return self._selected(slope, indices, first)
            case Power(base=base, exponent=exponent):
                slope = known[base]
                if slope is None:
                    return None
                factor = self.one(lambda x: self.number(exponent) * self._power(x, exponent - 1), self.value(base))
                return self._times([factor, slope])
            case Apply(function=function, arguments=arguments):
                return self._chain(function, [self.value(a) for a in arguments], [known[a] for a in arguments])
            case Derivative(wrt=wrt):
                raise DerivationError("the tangent of a derivative that is not evaluated", about=wrt.tensor.name)
            case _:
                return None

    def _spread(self, slope: Entries, indices: tuple[Index, ...], body: Expr) -> Entries:
        """The slope over the summed indices too, where it lacks one: it counts once for each value."""
        missing = tuple(i for i in indices if i not in slope.axes)
        axes = slope.axes + missing
        return Entries(axes, self.over(slope, axes)) if missing else slope

    def _total(self, slopes: Iterable[Slope]) -> Slope:
        present = [s for s in slopes if s is not None]
        return self._add(present) if present else None

    def _chain(self, function: str, arguments: list[Entries], slopes: list[Slope]) -> Slope:
        base, argument = split_derivative(function)
        if argument is None:
            parts: list[Slope] = []
            for n, slope in enumerate(slopes):
                if slope is not None:
                    expression, inner = self._law(base, n, arguments)
                    parts.append(self._times([inner.value(expression), slope]))
            return self._total(parts)
        expression, inner = self._law(base, argument, arguments)
        own = {"x": slopes[0], "y": slopes[-1], "f": self._chain(base, arguments, slopes)}
        return inner.tangent(expression, lambda node: own[node.tensor.name])

    def _selected(self, slope: Entries, indices: tuple[Index, ...], first: Entries) -> Entries:
        window, others = self._window(slope, indices)
        axes = tuple(dict.fromkeys(first.axes + others))
        last = Index("·window", window.shape[-1])
        spread = np.broadcast_to(onto(window, (*others, last), (*axes, last)), (*self.shape(axes), window.shape[-1]))
        at = self.over(first, axes).astype(np.int64)[..., None]
        return Entries(axes, np.take_along_axis(spread, at, -1)[..., 0])

    def _jacobian(self, of: Expr, wrt: Component) -> Entries:
        plain = [s.plain for s in wrt.subscripts]
        indices = tuple(i for i in plain if i is not None)
        if any(s.terms and s.plain is None for s in wrt.subscripts):
            raise DerivationError("a derivative by subscripts that are no plain indices", about=wrt.tensor.name)
        own = tuple(Index(f"∂{next(self._numbers)}", i.extent) for i in indices)
        labels = iter(own)
        places = [Affine.of(next(labels)) if s.plain is not None else s for s in wrt.subscripts]
        definitions = {name: e for name, e in self.definitions.items() if name != wrt.tensor.name}
        memo: dict[Expr, Slope] = {}

        def seed(node: Component) -> Slope:
            if node.tensor.name == wrt.tensor.name:
                pairs = zip(node.subscripts, places, strict=True)
                one = Entries((), np.asarray(self.mp.one, object))
                return self._times([one, *(self.value(Delta(s, place)) for s, place in pairs)])
            definition = definitions.get(node.tensor.name)
            if definition is None:
                return None
            slope = self.tangent(definition.value, seed, memo)
            if slope is None:
                return None
            targets = tuple(i for i in (s.plain for s in definition.target.subscripts) if i is not None)
            rest = tuple(axis for axis in slope.axes if axis not in targets)
            return self.read(self.over(slope, targets + rest), node, rest)

        result = self.tangent(of, seed) or Entries((), np.asarray(self.mp.zero, object))
        for label, index in zip(own, indices, strict=True):
            if label in result.axes and index in result.axes:
                first, second = result.axes.index(label), result.axes.index(index)
                axes = (*(a for a in result.axes if a not in (label, index)), index)
                result = Entries(axes, np.diagonal(result.data, 0, first, second))
            else:
                result = Entries(tuple(index if a == label else a for a in result.axes), result.data)
        return result
