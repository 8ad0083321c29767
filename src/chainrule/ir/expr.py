"""The expression nodes: frozen, interned, inert.

Interned: equal nodes are one object, so equality and hashing cost nothing and a walk meets shared
parts once. Inert: a constructor builds exactly what it is given (x + 0 stays x + 0); only a named
rule of a derivation changes an expression.

What is asked of nodes over and over is computed as they are built: the expressions directly inside (`parts`), the
indices that a node leaves free (`free`) and the tensors that it reads (`tensors`), both in order of first occurrence,
and the types of the nodes in it (`types`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from threading import RLock
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from chainrule.ir.index import SAMPLES, Affine, Extent, Index

_INTERNED: WeakValueDictionary[tuple[object, ...], Expr] = WeakValueDictionary()
_ONE = RLock()  # of two threads that make equal nodes, one puts its own in
T = TypeVar("T")


class _Interning(type):
    def __call__(cls: type[T], *arguments: Any) -> T:
        missing = cls.__init__.__code__.co_argcount - 1 - len(arguments)
        if missing:
            arguments += (cls.__init__.__defaults__ or ())[-missing:]
        key = (cls, *arguments)
        node = _INTERNED.get(key)
        if node is None:
            node = super().__call__(*arguments)  # type: ignore[misc]
            with _ONE:
                node = _INTERNED.setdefault(key, node)
        return node  # type: ignore[return-value]


DType = Literal["real", "integer"]
ADJOINT, USE, POSITION = "adjoint", "use", "argmax"


@dataclass(frozen=True, slots=True)
class Role:
    """What a tensor of chainrule's own is: "adjoint", "argmax", … of a tensor, and which of several."""

    kind: str
    of: Tensor | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array: its extents, axis by axis, and what its entries are.

    What a user declares is known by its name. What chainrule makes is known by its `role`, and is made by `derived`
    alone; its name is a key that no text can spell. How either is written is decided where it is printed.
    """

    name: str
    shape: tuple[Extent, ...]
    dtype: DType = "real"
    role: Role | None = field(default=None, compare=False)  # the name tells it

    def __hash__(self) -> int:
        return hash(self.name)  # a string's hash is computed once


def derived(
    kind: str, of: Tensor | None = None, *, number: int = 0, shape: tuple[Extent, ...] | None = None,
    dtype: DType | None = None,
) -> Tensor:
    """The tensor that has this role; its shape and what it holds are those of the tensor it comes from unless given.

    Its name has parentheses, which stand in no name that is read from a text, and tells the role, so that tensors of
    one name have one role: δ(y), argmax(y, 2).
    """
    source = of or Tensor("", ())
    name = f"{'δ' if kind == ADJOINT else kind}({source.name}{f', {number}' if number else ''})"
    return Tensor(
        name, source.shape if shape is None else shape, dtype or source.dtype, Role(kind, of, number)
    )


def origin(tensor: Tensor) -> Tensor:
    """What a tensor of chainrule's own comes from in the end, or the tensor itself."""
    while tensor.role is not None and tensor.role.of is not None:
        tensor = tensor.role.of
    return tensor


def is_gradient(tensor: Tensor) -> bool:
    """Whether it holds ∂ℓ/∂x, or the share of one use of x in it."""
    return tensor.role is not None and tensor.role.kind in (ADJOINT, USE)


def is_position(tensor: Tensor) -> bool:
    """Whether it holds where a maximum lies."""
    return tensor.role is not None and tensor.role.kind == POSITION


LOSS = derived("loss", shape=())
SAMPLE_LOSS = derived("sample_loss", shape=(SAMPLES,))
"""ℓ of each sample, whose mean is the loss."""


@dataclass(frozen=True, eq=False)
class Expr(metaclass=_Interning):
    """Base of all nodes."""

    parts: tuple[Expr, ...] = field(init=False, repr=False, default=())
    free: tuple[Index, ...] = field(init=False, repr=False, default=())
    tensors: tuple[Tensor, ...] = field(init=False, repr=False, default=())
    types: frozenset[type[Expr]] = field(init=False, repr=False, default=frozenset())

    def __post_init__(self) -> None:
        self._set()

    def __str__(self) -> str:
        from chainrule.ir.print import to_text

        return to_text(self)

    def _set(
        self, parts: tuple[Expr, ...] = (), *, free: tuple[Index, ...] | None = None, read: tuple[Tensor, ...] = ()
    ) -> None:
        """What is computed of the expressions directly inside: all that is free in them, unless it is given."""
        own = vars(self)  # frozen: no attribute is set from outside
        own["parts"] = parts
        own["free"] = _union([part.free for part in parts]) if free is None else free
        own["tensors"] = _union([part.tensors for part in parts]) if parts else read
        own["types"] = frozenset((type(self),)).union(*[part.types for part in parts])


def _union(several: list[tuple[T, ...]]) -> tuple[T, ...]:
    """What is in any of these, in order of first occurrence. Mostly they are one, or empty."""
    several = [one for one in several if one]
    if not several:
        return ()
    if several.count(several[0]) == len(several):
        return several[0]
    return tuple(dict.fromkeys(chain.from_iterable(several)))


NamedReal = Literal["pi", "e"]


@dataclass(frozen=True, eq=False)
class Constant(Expr):
    """An exact rational number, or a named real number."""

    value: Fraction | NamedReal


@dataclass(frozen=True, eq=False)
class Size(Expr):
    """The value of a named extent: the N of a mean over N samples."""

    extent: str


Pad = Fraction | Literal["-inf"]


@dataclass(frozen=True, eq=False)
class Component(Expr):
    """One component of a tensor, x[n, 2*i + p - 1]; with `pad`, what a read outside x gives."""

    tensor: Tensor
    subscripts: tuple[Affine, ...]
    pad: Pad | None = None

    def __post_init__(self) -> None:
        free = dict.fromkeys([index for s in self.subscripts for index, _ in s.terms])
        self._set(free=tuple(free), read=(self.tensor,))


@dataclass(frozen=True, eq=False)
class Add(Expr):
    """A sum of two or more terms."""

    terms: tuple[Expr, ...]

    def __post_init__(self) -> None:
        assert len(self.terms) >= 2
        self._set(self.terms)


@dataclass(frozen=True, eq=False)
class Multiply(Expr):
    """A product of two or more factors. Where a bracket among them is 0 the product is 0, whatever
    the other factors are (Iverson's convention)."""

    factors: tuple[Expr, ...]

    def __post_init__(self) -> None:
        assert len(self.factors) >= 2
        self._set(self.factors)


@dataclass(frozen=True, eq=False)
class Power(Expr):
    """A constant rational power; the exponent −1 is a reciprocal."""

    base: Expr
    exponent: Fraction

    def __post_init__(self) -> None:
        self._set((self.base,))


@dataclass(frozen=True, eq=False)
class Apply(Expr):
    """A scalar function of the catalogue applied to scalars. `d1_g` is the derivative of g by its
    first argument, `d2_g` by its second."""

    function: str
    arguments: tuple[Expr, ...]

    def __post_init__(self) -> None:
        self._set(self.arguments)


ReduceKind = Literal["sum", "max", "argmax", "logsumexp"]


@dataclass(frozen=True, eq=False)
class Reduce(Expr):
    """A reduction over bound indices. `argmax` gives the position of the first maximum, counted
    with the last index running fastest."""

    kind: ReduceKind
    indices: tuple[Index, ...]
    body: Expr

    def __post_init__(self) -> None:
        assert self.indices
        self._set((self.body,), free=tuple([index for index in self.body.free if index not in self.indices]))


@dataclass(frozen=True, eq=False)
class Delta(Expr):
    """The bracket [left = right]: 1 where they are equal, else 0. The right side may be a component
    of an integer tensor."""

    left: Affine
    right: Affine | Component

    def __post_init__(self) -> None:
        inside = (self.right,) if isinstance(self.right, Component) else ()
        right = self.right.free if isinstance(self.right, Component) else self.right.indices
        self._set(inside, free=tuple(dict.fromkeys((*self.left.indices, *right))))


@dataclass(frozen=True, eq=False)
class Guard(Expr):
    """The bracket [0 ≤ subscript < extent]: 1 inside the range, else 0."""

    subscript: Affine
    extent: Extent

    def __post_init__(self) -> None:
        self._set(free=tuple(dict.fromkeys(self.subscript.indices)))


@dataclass(frozen=True, eq=False)
class Derivative(Expr):
    """∂of/∂wrt, not yet evaluated. The indices of `wrt` are free in it."""

    of: Expr
    wrt: Component

    def __post_init__(self) -> None:
        self._set((self.of, self.wrt))


ZERO = Constant(Fraction(0))
ONE = Constant(Fraction(1))


def constant(value: int | Fraction) -> Constant:
    return Constant(Fraction(value))


def add(terms: Iterable[Expr]) -> Expr:
    """The sum of any number of terms: 0 of none, the term itself of one."""
    terms = tuple(terms)
    return Add(terms) if len(terms) > 1 else terms[0] if terms else ZERO


def multiply(factors: Iterable[Expr]) -> Expr:
    """The product of any number of factors: 1 of none, the factor itself of one."""
    factors = tuple(factors)
    return Multiply(factors) if len(factors) > 1 else factors[0] if factors else ONE


def summed(indices: Iterable[Index], body: Expr) -> Expr:
    """The sum over any number of indices: the body itself over none."""
    indices = tuple(indices)
    return Reduce("sum", indices, body) if indices else body
