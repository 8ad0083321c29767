"""The semantics of the language, once, over any arithmetic: values, tangents by forward mode, Jacobians.

An arithmetic says what a number is: an element of GF(p), 50 digits, a float, an exact fraction, the degree of a
rational function. The evaluator says what an expression makes of them. It walks nodes, memoised and without recursion,
and takes derivatives from the laws of the catalogue alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import count
from typing import Generic, Protocol, TypeGuard, TypeVar

from chainrule.errors import DerivationError, EquationError
from chainrule.ir import walk
from chainrule.ir.expr import (
    ZERO,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    NamedReal,
    Power,
    Reduce,
    Size,
    Tensor,
    constant,
)
from chainrule.ir.functions import CATALOGUE, derivative_name, split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.laws import expanded
from chainrule.ir.program import Equation
from chainrule.semantics.labelled import Axes, size


class Indexed(Protocol):
    """What a value of an arithmetic is at least: something over indices."""

    @property
    def axes(self) -> Axes: ...


V = TypeVar("V", bound=Indexed)
A = TypeVar("A")
T = TypeVar("T")
_NONE, _ONE = Fraction(), Fraction(1)


class Arithmetic(ABC, Generic[V, A]):
    """V is a value over indices, A what is known of a whole tensor, axis by axis."""

    uninterpreted = False
    """Whether random values stand for functions, so that what is composed of others must be written out."""

    def __init__(self, extents: Mapping[str, int]) -> None:
        self.extents = extents

    @abstractmethod
    def number(self, value: Fraction) -> V: ...

    @abstractmethod
    def real(self, name: NamedReal) -> V: ...

    @abstractmethod
    def given(self, tensor: Tensor, array: A) -> A:
        """A tensor's array, made ready to be read."""

    @abstractmethod
    def read(self, array: A, node: Component, fill: Fraction, rest: Axes = ()) -> V:
        """The entries at a component's subscripts; outside, `fill` where it is padded with a number. Further axes stay
        as they are and are called `rest`."""

    @abstractmethod
    def bracket(self, node: Delta | Guard, ids: V | None) -> V:
        """`ids` are the values of a component that an index is compared with."""

    @abstractmethod
    def add(self, terms: Sequence[V]) -> V: ...

    @abstractmethod
    def contract(self, factors: Sequence[V], reduced: Axes = ()) -> V:
        """The product, summed."""

    @abstractmethod
    def power(self, base: V, exponent: Fraction) -> V: ...

    @abstractmethod
    def apply(self, function: str, arguments: Sequence[V]) -> V: ...

    @abstractmethod
    def logsumexp(self, body: V, indices: Axes) -> V: ...

    @abstractmethod
    def select(self, node: Reduce, body: V) -> tuple[V, V]:
        """The position of the maximum in every window, and the value there."""

    @abstractmethod
    def pick(self, value: V, indices: Axes, position: V) -> V:
        """The entry of every window at a position."""

    @abstractmethod
    def whole(self, value: V, axes: Axes) -> A:
        """The value over exactly these indices, in their order."""

    @abstractmethod
    def relabelled(self, value: V, old: Index, new: Index) -> V:
        """`new` in place of `old`; where the value has both, it is taken where they are equal."""


class Direction(Generic[V]):
    """What tangents start from: `seed` gives a component's, unless `definitions` has the equation of its tensor. No
    tangent is the tangent 0."""

    def __init__(
        self, seed: Callable[[Component], V | None], definitions: Mapping[str, Equation] | None = None
    ) -> None:
        self.seed, self.definitions = seed, definitions or {}
        self.known: dict[Expr, V | None] = {}


class Evaluator(Generic[V, A]):
    """Values, tangents and Jacobians of expressions at one point: memoised by node, iterative in their depth."""

    def __init__(
        self, arithmetic: Arithmetic[V, A], given: Mapping[str, A], definitions: Mapping[str, Equation] | None = None
    ) -> None:
        self.arithmetic, self.given, self.definitions = arithmetic, given, definitions or {}
        self.values: dict[Expr, V] = {}
        self._arrays: dict[str, A] = {}
        self._jacobians: dict[Component, tuple[Axes, Direction[V]]] = {}
        self._directions: dict[tuple[Component, Axes], tuple[V, Direction[V]]] = {}
        self._selections: dict[tuple[Expr, Axes], tuple[V, V]] = {}
        self._weighted: dict[tuple[Expr, Axes], V] = {}
        self._numbers = count()

    def forget(self, tensor: Tensor) -> None:
        """Compute anew what reads a tensor whose values have changed."""
        self._arrays.pop(tensor.name, None)
        self.values = {node: value for node, value in self.values.items() if tensor not in node.tensors}
        self._selections.clear()
        self._weighted.clear()

    def clear(self) -> None:
        self.values.clear()
        self._selections.clear()
        self._weighted.clear()

    # Values.

    def value(self, root: Expr) -> V:
        return _fill(root, self.values, self._operands, self._value)

    def _operands(self, node: Expr) -> tuple[Expr, ...]:
        """The nodes whose values the node's value is made of."""
        match node:
            case Derivative():
                return ()
            case Multiply():
                return _flat(node)
            case Apply():
                return (expanded(node),) if self._written(node) else node.arguments
            case Reduce(body=body):
                return () if _is_padded(body) else _flat(body) if node.kind == "sum" else (body,)
            case _:
                return node.parts

    def _written(self, node: Apply) -> bool:
        """Whether a function's value is that of an expression."""
        base, argument = split_derivative(node.function)
        return argument is not None or (self.arithmetic.uninterpreted and bool(CATALOGUE[base].composed))

    def _value(self, node: Expr) -> V:
        a = self.arithmetic
        match node:
            case Constant(value=Fraction() as value):
                return a.number(value)
            case Constant(value="pi" | "e" as name):
                return a.real(name)
            case Size(extent=name):
                return a.number(Fraction(size(name, a.extents)))
            case Component(pad="-inf"):
                raise EquationError("a read padded with -inf outside a maximum", about=node.tensor.name,
                                    fix="make it the whole body of a max or an argmax")
            case Component():
                return self._read(node)
            case Add(terms=terms):
                return a.add([self.values[term] for term in terms])
            case Multiply():
                return a.contract(self._factors(node))
            case Reduce(kind="sum", indices=indices, body=body):
                return a.contract(self._factors(body), indices)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                return a.logsumexp(self.values[body], indices)
            case Reduce(kind=kind):
                return self._select(node)[0 if kind == "argmax" else 1]
            case Power(base=base, exponent=exponent):
                return a.power(self.values[base], exponent)
            case Apply(function=function, arguments=arguments):
                if self._written(node):
                    return self.values[expanded(node)]
                return a.apply(function, [self.values[argument] for argument in arguments])
            case Delta(right=right):
                return a.bracket(node, self.values[right] if isinstance(right, Component) else None)
            case Guard():
                return a.bracket(node, None)
            case Derivative(of=of, wrt=wrt):
                return self._jacobian(of, wrt)
            case _:
                raise TypeError(f"no value known for {type(node).__name__}")

    def _read(self, node: Component) -> V:
        name = node.tensor.name
        if name not in self._arrays:
            if name not in self.given:
                raise EquationError("a tensor without a value", about=named(node.tensor),
                                    fix="define it before its use")
            self._arrays[name] = self.arithmetic.given(node.tensor, self.given[name])
        fill = node.pad if isinstance(node.pad, Fraction) else _NONE
        return self.arithmetic.read(self._arrays[name], node, fill)

    def _factors(self, body: Expr) -> list[V]:
        return [self.value(factor) for factor in _flat(body)]

    def _select(self, node: Reduce) -> tuple[V, V]:
        body, key = node.body, (node.body, node.indices)
        if key not in self._selections:
            value = self._read(body) if _is_padded(body) else self.value(body)
            self._selections[key] = self.arithmetic.select(node, value)
        return self._selections[key]

    # Along a direction.

    def along(self, root: Expr, weights: V) -> V:
        """Σ over the axes of the weights of weights · root: where root is linear in what depends on those indices, as
        ∂y_k/∂x_i is, this takes one tangent and no Jacobian."""
        if (root, weights.axes) not in self._weighted:
            self._weighted[root, weights.axes] = self._along(root, weights)
        return self._weighted[root, weights.axes]

    @walk.iterative
    def _along(self, node: Expr, weights: V) -> walk.Steps[V]:
        a = self.arithmetic
        if not set(node.free).isdisjoint(weights.axes):
            match node:
                case Add(terms=terms):
                    parts: list[V] = []
                    for term in terms:
                        parts.append((yield self, term, weights))
                    return a.add(parts)
                case Multiply() | Reduce(kind="sum"):
                    reduced, body = (node.indices, node.body) if isinstance(node, Reduce) else ((), node)
                    if set(reduced).isdisjoint(weights.axes) and not _is_padded(body):
                        factors = _flat(body)
                        moving = [f for f in factors if not set(f.free).isdisjoint(weights.axes)]
                        if len(moving) != 1:
                            parts = [self.value(f) for f in factors]
                            return a.contract([*parts, weights], (*reduced, *weights.axes))
                        inner: V = yield self, moving[0], weights
                        return a.contract([*[self.value(f) for f in factors if f is not moving[0]], inner], reduced)
                case Derivative(of=of, wrt=wrt) if set(of.free).isdisjoint(weights.axes):
                    plain = [s.plain for s in wrt.subscripts]
                    if {*plain} == {*weights.axes} and len(plain) == len(weights.axes) and wrt.pad is None:
                        return self.tangent(of, self._towards(wrt, weights)) or self.value(ZERO)
                case _:
                    pass
        return a.contract([self.value(node), weights], weights.axes)

    def _towards(self, wrt: Component, weights: V) -> Direction[V]:
        if (wrt, weights.axes) not in self._directions:
            slopes = {wrt.tensor.name: self.arithmetic.whole(weights, wrt.free)}
            self._directions[wrt, weights.axes] = weights, self.direction(slopes, self._others(wrt))
        known, direction = self._directions[wrt, weights.axes]
        assert known is weights, "one set of weights for these indices"
        return direction

    def _others(self, wrt: Component) -> dict[str, Equation]:
        return {name: d for name, d in self.definitions.items() if name != wrt.tensor.name}

    # Tangents.

    def direction(self, slopes: Mapping[str, A], definitions: Mapping[str, Equation] | None = None) -> Direction[V]:
        """Slopes tensor by tensor; those of other tensors are 0."""
        a = self.arithmetic

        def seed(node: Component) -> V | None:
            if node.tensor.name not in slopes or node.tensor.dtype == "integer":
                return None
            return a.read(a.given(node.tensor, slopes[node.tensor.name]), node, _NONE)

        return Direction(seed, definitions)

    def tangent(self, root: Expr, direction: Direction[V]) -> V | None:
        def operands(node: Expr) -> tuple[Expr, ...]:
            read = node.body if isinstance(node, Reduce) and _is_padded(node.body) else node
            match read:
                case Component(tensor=tensor):
                    definition = direction.definitions.get(tensor.name)
                    return () if definition is None else (definition.value,)
                case Delta() | Reduce(kind="argmax"):
                    return ()
                case Apply(function=function, arguments=arguments):
                    return (expanded(read),) if split_derivative(function)[1] is not None else arguments
                case _:
                    return self._operands(node)

        return _fill(root, direction.known, operands, lambda node: self._tangent(node, direction))

    def _tangent(self, node: Expr, direction: Direction[V]) -> V | None:
        known, a = direction.known, self.arithmetic
        match node:
            case Constant() | Size() | Guard() | Delta() | Reduce(kind="argmax"):
                return None
            case Component(tensor=tensor):
                definition = direction.definitions.get(tensor.name)
                return direction.seed(node) if definition is None else self._through(definition, node, known)
            case Add(terms=terms):
                return self._sum(known[term] for term in terms)
            case Multiply():
                return self._product_rule(_flat(node), (), known)
            case Reduce(kind="sum", indices=indices, body=body):
                return self._product_rule(_flat(body), indices, known)
            case Reduce(kind="logsumexp", indices=indices, body=body):
                share = Apply("exp", (Add((body, Multiply((constant(-1), node)))),))
                return (slope := known[body]) and a.contract([self.value(share), slope], indices)
            case Reduce(indices=indices, body=body):
                slope = self._tangent(body, direction) if _is_padded(body) else known[body]
                return slope and a.pick(slope, indices, self._select(node)[0])
            case Power(base=base, exponent=exponent):
                return (slope := known[base]) and a.contract(
                    [a.number(exponent), a.power(self.value(base), exponent - 1), slope]
                )
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    return known[expanded(node)]
                slopes = [(n, slope) for n, x in enumerate(arguments) if (slope := known[x]) is not None]
                laws = [(Apply(derivative_name(function, n), arguments), slope) for n, slope in slopes]
                return self._sum([a.contract([self.value(law), slope]) for law, slope in laws])
            case Derivative(wrt=wrt):
                raise DerivationError("the tangent of a derivative that is not evaluated", about=named(wrt.tensor),
                                      fix="evaluate the inner derivative first")
            case _:
                raise TypeError(f"no tangent known for {type(node).__name__}")

    def _sum(self, tangents: Iterable[V | None]) -> V | None:
        present = [t for t in tangents if t is not None]
        return self.arithmetic.add(present) if present else None

    def _product_rule(self, factors: tuple[Expr, ...], reduced: Axes, known: Mapping[Expr, V | None]) -> V | None:
        slopes = [(n, slope) for n, factor in enumerate(factors) if (slope := known[factor]) is not None]
        values = [self.value(factor) for factor in factors] if slopes else []
        contract = self.arithmetic.contract
        return self._sum([contract([*values[:n], slope, *values[n + 1 :]], reduced) for n, slope in slopes])

    def _through(self, definition: Equation, node: Component, known: Mapping[Expr, V | None]) -> V | None:
        """The tangent of a defined tensor's component: that of its definition, read at the node's subscripts."""
        slope = known[definition.value]
        if slope is None:
            return None
        targets = tuple([index for s in definition.target.subscripts if (index := s.plain) is not None])
        if len(targets) < len(definition.target.subscripts):
            raise _not_plain(definition.target)
        rest = tuple([axis for axis in slope.axes if axis not in targets])
        return self.arithmetic.read(self.arithmetic.whole(slope, targets + rest), node, _NONE, rest)

    def _jacobian(self, of: Expr, wrt: Component) -> V:
        """∂of/∂wrt over the free indices of both. The indices of wrt get labels of their own until the end, so that
        no index of `of` is taken for one of them."""
        a = self.arithmetic
        indices = tuple([index for s in wrt.subscripts if (index := s.plain) is not None])
        if wrt.pad is not None or any(s.terms and s.plain is None for s in wrt.subscripts):
            raise _not_plain(wrt)
        if wrt not in self._jacobians:
            own = tuple([Index(f"∂{next(self._numbers)}", index.extent) for index in indices])
            # A subscript that is a number is one place on its axis.
            labels = iter(own)
            at = [Affine.of(next(labels)) if s.plain is not None else s for s in wrt.subscripts]

            def seed(node: Component) -> V | None:
                if node.tensor.name != wrt.tensor.name:
                    return None
                deltas = [self.value(Delta(s, place)) for s, place in zip(node.subscripts, at, strict=True)]
                return a.contract([a.number(_ONE), *deltas])

            self._jacobians[wrt] = own, Direction(seed, self._others(wrt))
        own, direction = self._jacobians[wrt]
        result = self.tangent(of, direction) or self.value(ZERO)
        for label, index in zip(own, indices, strict=True):
            result = a.relabelled(result, label, index)
        return result


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


def _flat(body: Expr) -> tuple[Expr, ...]:
    """The factors of nested products."""
    if not isinstance(body, Multiply):
        return (body,)
    if not any(isinstance(factor, Multiply) for factor in body.factors):
        return body.factors
    factors, stack = list[Expr](), list[Expr](body.factors[::-1])
    while stack:
        node = stack.pop()
        if isinstance(node, Multiply):
            stack.extend(reversed(node.factors))
        else:
            factors.append(node)
    return tuple(factors)


def _is_padded(body: Expr) -> TypeGuard[Component]:
    return isinstance(body, Component) and body.pad == "-inf"


def _not_plain(node: Component) -> DerivationError:
    return DerivationError(
        "subscripts that are no plain indices", about=named(node.tensor), fix="give each axis an index of its own"
    )


def named(tensor: Tensor) -> str:
    return f"{tensor.name} of shape ({', '.join(map(str, tensor.shape))})"
