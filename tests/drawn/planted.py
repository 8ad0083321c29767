"""Faults as they were, planted again: what the campaign must find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from chainrule.derive import RULES, adjoint, algebra, calculus, check, compose, eliminate, lemma
from chainrule.derive.trace import Rewrite, Setting
from chainrule.ir.expr import Delta, Derivative, Expr, Guard, Multiply, Reduce, Tensor, multiply
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import nodes, rename, transform

Plant = Callable[[ExitStack], None]
PLANTED: dict[str, tuple[Plant, str]] = {}
"""What is planted, by the kind of fault, and the consumer that is to find it."""


def planted(kind: str, consumer: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        PLANTED[kind] = plant, consumer
        return plant

    return register


@contextmanager
def with_fault(kind: str) -> Any:
    """The fault, and no check while deriving, which would refuse it."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(check, "checked", lambda derivation: derivation))
        check.KNOWN.clear()  # of what is false, nothing is kept
        stack.callback(check.KNOWN.clear)
        PLANTED[kind][0](stack)
        yield


def _rule(stack: ExitStack, name: str, change: Callable[[Expr, Expr, Setting], Expr]) -> None:
    """A rule that does something else: `change` is given what was, what the rule makes of it, and the setting."""
    right = RULES[name]

    def wrong(expr: Expr, setting: Setting) -> Expr:
        after = right.apply(expr, setting)
        return after if after is expr else change(expr, after, setting)

    rewrite: Rewrite = wrong
    stack.enter_context(patch.dict(RULES, {name: replace(right, apply=rewrite)}))


def _everywhere(stack: ExitStack, name: str, value: Any) -> None:
    """A function in place of another, wherever the derivation has imported it."""
    for module in (calculus, eliminate, algebra, lemma):
        if hasattr(module, name):
            stack.enter_context(patch.object(module, name, value))


@planted("a bracket's range is dropped", "numbers")
def range_dropped(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        old = {n for n in nodes(before) if isinstance(n, Guard)}

        def visit(node: Expr) -> Expr:
            return multiply(f for f in node.factors if not isinstance(f, Guard) or f in old) if isinstance(
                node, Multiply
            ) else node

        return transform(after, visit, Multiply)

    _rule(stack, "solve", change)


@planted("a bound index is captured", "numbers")
def captured(stack: ExitStack) -> None:
    def same(name: str, extent: Any, taken: Iterable[Index]) -> Index:
        return Index(name, extent)

    _everywhere(stack, "fresh", same)
    _everywhere(stack, "rename_bound", lambda value, taken: value)


@planted("two subscripts are exchanged", "numbers")
def exchanged(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        plain = [s.plain for s in setting.wrt.subscripts]
        for i, j in pairwise(plain):
            if i is not None and j is not None and i.extent == j.extent and Derivative not in after.types:
                return rename(after, {i: j, j: i})
        return after

    _rule(stack, "derivative.component", change)


@planted("a residue is divided wrongly", "numbers")
def residue(stack: ExitStack) -> None:
    right = eliminate._residue_class

    def wrong(term: Any, difference: Affine, inner: Any, stride: int) -> Any:
        found = right(term, difference, inner, stride)
        return found if found is None or inner is None else (found[0], found[1] + stride)

    stack.enter_context(patch.object(eliminate, "_residue_class", wrong))


@planted("the first of several uses is all", "numbers")
def uses_lost(stack: ExitStack) -> None:
    right = adjoint._total

    def wrong(tensor: Tensor, uses: Iterable[Any]) -> Any:
        first, *_ = uses
        return right(tensor, (first,))

    stack.enter_context(patch.object(adjoint, "_total", wrong))


@planted("a maximum's position is counted the other way round", "field")
def position(stack: ExitStack) -> None:
    right = calculus.radix_of
    stack.enter_context(patch.object(calculus, "radix_of", lambda indices: right(tuple(reversed(indices)))))


@planted("a factor is lost where a sum over an index that it lacks is taken out", "numbers")
def factor_lost(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        match after:
            case Multiply(factors=(*_, Reduce(kind="sum")) as factors) if len(factors) > 2:
                return multiply(factors[1:])
            case _:
                return after

    _rule(stack, "take_out", change)


@planted("a padded read counts outside of its tensor", "numbers")
def padded(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        def visit(node: Expr) -> Expr:
            if isinstance(node, Delta) and isinstance(node.right, Affine) and len(node.left.terms) > 1:
                (first, c), *rest = node.left.terms
                return Delta(Affine(((first, c), *rest[1:]), node.left.offset), node.right) if rest else node
            return node

        return transform(after, visit, Delta)

    _rule(stack, "derivative.component", change)


@planted("a gradient has a name that a user may give", "numbers")
def names(stack: ExitStack) -> None:
    def adjoint_of(tensor: Tensor) -> Tensor:
        return Tensor(f"δ{tensor.name}", tensor.shape)

    for module in (adjoint, lemma, compose):
        stack.enter_context(patch.object(module, "adjoint_of", adjoint_of))


@planted("a composite loses a factor", "verify")
def composite(stack: ExitStack) -> None:
    right = compose._cite

    def wrong(expr: Expr, outer: Any) -> Expr:
        def lose(node: Expr) -> Expr:
            return multiply(node.factors[1:]) if isinstance(node, Multiply) and len(node.factors) > 2 else node

        after = right(expr, outer)
        return after if after is expr else transform(after, lose, Multiply)

    stack.enter_context(patch.object(compose, "_cite", wrong))


@planted("two logarithms of sums lie in one memory", "loops")
def one_memory(stack: ExitStack) -> None:
    from chainrule.loops import made, shared

    def identity(node: Expr) -> Any:
        return tuple(t.name for t in node.tensors), tuple(index.extent for index in made.outer(node))

    for module in (made, shared):
        stack.enter_context(patch.object(module, "identity", identity))


@planted("a lane's index is read as another's", "loops")
def lanes(stack: ExitStack) -> None:
    from chainrule.loops import interpret

    right = interpret.Kernel.affine

    def wrong(self: Any, of: Affine) -> Any:
        return right(self, Affine(of.terms[:-1], of.offset) if len(of.terms) > 3 else of)

    stack.enter_context(patch.object(interpret.Kernel, "affine", wrong))
