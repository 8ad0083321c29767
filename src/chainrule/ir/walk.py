"""Walking expressions: rebuilding them, substitution, and identity up to renaming.

A function that would recurse is written as a generator that yields the arguments of the inner call;
`iterative` runs it on a stack of its own, so no depth of nesting can exhaust Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

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
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.index import Affine, Extent, Index

P = ParamSpec("P")
T = TypeVar("T")
Steps = Generator[tuple[Any, ...], Any, T]


def iterative(function: Callable[P, Steps[T]]) -> Callable[P, T]:
    """Run a generator that yields argument tuples of its own recursive calls."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        stack: list[Steps[T]] = [function(*args, **kwargs)]
        value: Any = None
        while True:
            try:
                request = stack[-1].send(value)
            except StopIteration as stop:
                stack.pop()
                value = stop.value
                if not stack:
                    return value
            else:
                stack.append(function(*request))  # type: ignore[call-arg]
                value = None

    return run


def rebuild(node: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same node around other parts."""
    match node:
        case Constant() | Size() | Component() | Guard():
            return node
        case Add():
            return Add(parts)
        case Multiply():
            return Multiply(parts)
        case Power():
            return Power(parts[0], node.exponent)
        case Apply():
            return Apply(node.function, parts)
        case Reduce():
            return Reduce(node.kind, node.indices, parts[0])
        case Delta():
            if not parts:
                return node
            assert isinstance(parts[0], Component)
            return Delta(node.left, parts[0])
        case Derivative():
            assert isinstance(parts[1], Component)
            return Derivative(parts[0], parts[1])
        case _:
            raise TypeError(f"no rebuild known for {type(node).__name__}")


def nodes(*roots: Expr) -> Iterator[Expr]:
    """Every distinct node, parents before children, in order of writing; what several roots share is met once."""
    seen: set[Expr] = set()
    stack = [*reversed(roots)]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack += node.parts[::-1]


def components(*roots: Expr) -> Iterator[Component]:
    return (node for node in nodes(*roots) if isinstance(node, Component))


def bound(root: Expr) -> Iterator[Index]:
    return (index for node in nodes(root) if isinstance(node, Reduce) for index in node.indices)


def finite(node: Expr) -> bool:
    """Whether an operation gives a finite number for all finite numbers: sums and products do."""
    return not (
        isinstance(node, Apply)
        or (isinstance(node, Component) and node.pad == "-inf")
        or (isinstance(node, Reduce) and node.kind == "logsumexp")
        or (isinstance(node, Power) and (node.exponent < 0 or node.exponent.denominator != 1))
    )


def hidden(factor: Expr, beside: Iterable[Expr]) -> bool:
    """Whether a bracket that it stands beside may hide that it has no finite value: a function with a pole, of a read
    outside a tensor, as log is of pad(x, 0)."""
    return any({Delta, Guard} & other.types for other in beside if other is not factor) and any(
        _has_pole(node) and any(read.pad is not None for read in components(node)) for node in nodes(factor)
    )


def _has_pole(node: Expr) -> bool:
    if isinstance(node, Apply):
        return any("**-" in law for law in CATALOGUE[split_derivative(node.function)[0]].laws)
    return isinstance(node, Power) and (node.exponent < 0 or node.exponent.denominator > 1)


def transform(root: Expr, function: Callable[[Expr], Expr], *types: type[Expr]) -> Expr:
    """Apply `function` to every node, or every node of these types, parts first; a shared node is visited once."""
    chosen = frozenset(types)
    if chosen and chosen.isdisjoint(root.types):
        return root
    done: dict[Expr, Expr] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        parts = node.parts
        missing = [part for part in parts if part not in done]
        if chosen:
            missing = [part for part in missing if not chosen.isdisjoint(part.types)]
        if missing:
            stack += missing[::-1]
            continue
        new = tuple([done.get(part, part) for part in parts])
        same = node if new == parts else rebuild(node, new)
        done[node] = function(same) if not chosen or type(same) in chosen else same
        stack.pop()
    return done[root]


def fresh(name: str, extent: Extent, taken: Iterable[Index]) -> Index:
    """An index of this extent whose name no index in `taken` has: i, then i1, i2, …"""
    names = {index.name for index in taken}
    stem = name.rstrip("0123456789") or "i"
    number, candidate = 0, name
    while candidate in names:
        number += 1
        candidate = f"{stem}{number}"
    return Index(candidate, extent)


@iterative
def substitute(node: Expr, mapping: Mapping[Index, Affine]) -> Steps[Expr]:
    """Replace free indices by affine forms; a bound index that would capture one is renamed."""
    mapping = {i: a for i, a in mapping.items() if i in node.free and a.plain != i}
    if not mapping:
        return node
    match node:
        case Component(tensor=tensor, subscripts=subscripts, pad=pad):
            return Component(tensor, tuple(s.substitute(mapping) for s in subscripts), pad)
        case Guard(subscript=subscript, extent=extent):
            return Guard(subscript.substitute(mapping), extent)
        case Delta(left=left, right=right):
            if isinstance(right, Component):
                right = yield right, mapping
            else:
                right = right.substitute(mapping)
            return Delta(left.substitute(mapping), right)
        case Reduce(kind=kind, indices=indices, body=body):
            incoming = {j.name for a in mapping.values() for j in a.indices}
            renamed: dict[Index, Affine] = {}
            if any(i.name in incoming for i in indices):
                taken = [*body.free, *indices, *(j for a in mapping.values() for j in a.indices), *bound(body)]
                for i in indices:
                    if i.name in incoming:
                        new = fresh(i.name, i.extent, taken)
                        taken.append(new)
                        renamed[i] = Affine.of(new)
            body = yield body, {**mapping, **renamed}
            new_indices = tuple(renamed[i].indices[0] if i in renamed else i for i in indices)
            return Reduce(kind, new_indices, body)
        case _:
            parts: list[Expr] = []
            for child in node.parts:
                parts.append((yield child, mapping))
            return rebuild(node, tuple(parts))


@iterative
def distinct(node: Expr, around: frozenset[str] = frozenset()) -> Steps[Expr]:
    """The same expression for readers: no bound index has the name of one that is free, or bound around it."""
    if Reduce not in node.types:
        return node
    around = around or frozenset(i.name for i in node.free)
    if isinstance(node, Reduce):
        names = {i.name for i in node.indices}
        if names & around:
            taken = [*(Index(name, 1) for name in around), *node.indices, *bound(node.body), *node.body.free]
            new: dict[Index, Index] = {}
            for i in node.indices:
                new[i] = fresh(i.name, i.extent, taken)
                taken.append(new[i])
            node = Reduce(node.kind, tuple(new.values()), rename(node.body, new))
        around |= {i.name for i in node.indices}
    parts: list[Expr] = []
    for child in node.parts:
        parts.append((yield child, around))
    return rebuild(node, tuple(parts))


def rename(node: Expr, mapping: Mapping[Index, Index]) -> Expr:
    return substitute(node, {old: Affine.of(new) for old, new in mapping.items()})


def replace_tensors(root: Expr, mapping: Mapping[Tensor, Tensor]) -> Expr:
    """The same expression over other tensors."""

    def swap(node: Expr) -> Expr:
        if isinstance(node, Component) and node.tensor in mapping:
            return Component(mapping[node.tensor], node.subscripts, node.pad)
        return node

    return transform(root, swap, Component) if any(t in mapping for t in root.tensors) else root


Key = tuple[Any, ...]


@iterative
def _key(node: Expr, level: Mapping[Index, int], names: Callable[[Tensor], object], extents: bool) -> Steps[Key]:
    def affine(a: Affine) -> Key:
        named = sorted((str(level.get(i, i.name)), c) for i, c in a.terms)
        return (*named, a.offset)

    def extent(e: Extent) -> object:
        return e if extents else None

    match node:
        case Constant(value=value):
            return ("constant", value)
        case Size(extent=name):
            return ("size", name)
        case Component(tensor=tensor, subscripts=subscripts, pad=pad):
            return ("component", names(tensor), tuple(affine(s) for s in subscripts), pad)
        case Guard(subscript=subscript, extent=e):
            return ("guard", affine(subscript), extent(e))
        case Delta(left=left, right=right):
            if isinstance(right, Component):
                return ("delta", affine(left), (yield right, level, names, extents))
            return ("delta", affine(left), affine(right))
        case Reduce(kind=kind, indices=indices, body=body):
            inner = {**level, **{i: len(level) + n for n, i in enumerate(indices)}}
            sizes = tuple(extent(i.extent) for i in indices)
            return (kind, sizes, (yield body, inner, names, extents))
        case _:
            parts: list[Key] = []
            for child in node.parts:
                parts.append((yield child, level, names, extents))
            extra = node.exponent if isinstance(node, Power) else node.function if isinstance(node, Apply) else None
            return (type(node).__name__, extra, *parts)


def key(node: Expr, free: Iterable[Index] = ()) -> Key:
    """A value that two expressions share exactly when they differ only in the names of bound indices
    and of the indices listed in `free` (a de Bruijn key)."""
    return _key(node, {i: n for n, i in enumerate(free)}, lambda tensor: tensor, True)


def kind(node: Expr, free: Iterable[Index] = ()) -> Key:
    """The key without tensor names and extents: what makes two equations instances of one lemma."""
    numbers: dict[Tensor, int] = {}
    return _key(
        node, {i: n for n, i in enumerate(free)}, lambda t: (numbers.setdefault(t, len(numbers)), t.dtype), False
    )
