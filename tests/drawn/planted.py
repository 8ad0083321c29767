"""Faults as they were, planted again: what the campaign must find.

`python -m tests.drawn.planted` prints for each after how many programs which consumer found it. A crash of what is
planted is no find: a consumer has to see a wrong number or formula, or the library's own check has to refuse.
"""

from __future__ import annotations

import os

os.environ["JAX_PLATFORMS"] = "cpu"
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import sys  # noqa: E402
from collections.abc import Callable, Generator, Iterable, Sequence  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from dataclasses import replace  # noqa: E402
from fractions import Fraction  # noqa: E402
from itertools import pairwise  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import patch  # noqa: E402

from chainrule.arrays.execute import executable  # noqa: E402
from chainrule.derive import RULES, adjoint, algebra, calculus, check, compose, eliminate, lemma  # noqa: E402
from chainrule.derive.coupling import Coupling  # noqa: E402
from chainrule.derive.trace import Rewrite, Setting  # noqa: E402
from chainrule.forms import recognise  # noqa: E402
from chainrule.forms.nodes import Operation, parts, rebuilt  # noqa: E402
from chainrule.ir.expr import (  # noqa: E402
    ZERO,
    Add,
    Apply,
    Component,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Tensor,
    multiply,
    summed,
)
from chainrule.ir.index import Affine, Index  # noqa: E402
from chainrule.ir.walk import nodes, rename, transform  # noqa: E402
from tests.drawn.grammar import program  # noqa: E402
from tests.drawn.judge import Verdict, judged  # noqa: E402

Plant = Callable[[ExitStack], None]
PLANTED: dict[str, tuple[Plant, str]] = {}
"""What is planted, by the kind of fault, and the consumer that is to find it."""
WITHIN = 500


def planted(kind: str, consumer: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        PLANTED[kind] = plant, consumer
        return plant

    return register


@contextmanager
def with_fault(kind: str) -> Generator[None]:
    """The fault, and no check while deriving, which would refuse it."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(check, "checked", lambda derivation, memory=None: derivation))
        stack.enter_context(patch.object(check, "lemma_holds", lambda lemma, *about: lemma))
        _forget()  # of what is false, nothing is kept
        stack.callback(_forget)
        PLANTED[kind][0](stack)
        yield


def _forget() -> None:
    check.KNOWN.clear()
    executable.cache_clear()
    recognise._found.cache_clear()
    recognise._passes.cache_clear()


def seen(verdict: Verdict) -> str:
    """What was seen of a fault in the way that a fault is to be seen: "" where there is nothing but a crash."""
    for fault in verdict.faults:
        if fault.raised is None or issubclass(fault.raised, AssertionError):
            return str(fault)
    return "; ".join(f"refused by {consumer}: {reason}" for consumer, reason in verdict.refused.items())


def found_at(kind: str, within: int = WITHIN) -> tuple[int, str] | None:
    """The number of programs that were drawn until one shows the fault and shows nothing without it; and what is
    seen."""
    consumer = PLANTED[kind][1]
    for seed in range(within):
        drawn = program(seed)
        with with_fault(kind):
            found = seen(judged(drawn, [consumer]))
        if found and found != seen(judged(drawn, [consumer])):
            return seed + 1, found
    return None


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
    for module in (calculus, eliminate, algebra, lemma, adjoint, compose):
        if hasattr(module, name):
            stack.enter_context(patch.object(module, name, value))


def _without_first(node: Expr) -> Expr:
    return multiply(node.factors[1:]) if isinstance(node, Multiply) and len(node.factors) > 2 else node


# Names


@planted("a gradient has a name that a user may give", "numbers")
def names(stack: ExitStack) -> None:
    _everywhere(stack, "adjoint_of", lambda tensor: Tensor(f"δ{tensor.name}", tensor.shape))


@planted("the share of a use has a name that a user may give", "numbers")
def share_names(stack: ExitStack) -> None:
    def as_share(use: Any, number: int, count: int) -> Any:
        if count == 1:
            return use
        share = Tensor(f"{use.tensor.name}.use{number}", use.tensor.shape)
        equations = tuple(replace(e, target=Component(share, e.target.subscripts)) for e in use.equations)
        return replace(use, equations=equations)

    stack.enter_context(patch.object(adjoint, "_as_share", as_share))


@planted("a maximum's position has a name that a user may give", "numbers")
def position_names(stack: ExitStack) -> None:
    def position_of(tensor: Tensor, indices: Iterable[Index], before: int) -> Tensor:
        name = f"{tensor.name}.argmax{before or ''}"
        return Tensor(name, tuple(i.extent for i in indices), "integer")

    _everywhere(stack, "position_of", position_of)


@planted("two tensors are written alike", "read back")
def written_alike(stack: ExitStack) -> None:
    from chainrule.render import names as written

    right = written._choices
    stack.enter_context(patch.object(written, "_choices", lambda *about: [next(iter(right(*about)))]))
    stack.enter_context(patch.object(written, "_marked", lambda symbol, used: symbol))


# Forms


@planted("a concise form loses a factor", "verify")
def form(stack: ExitStack) -> None:
    def lose(node: Any) -> Any:
        node = rebuilt(node, [lose(part) for part in parts(node)])
        return node.of[0] if isinstance(node, Operation) and node.name in ("hadamard", "scale") else node

    for family, right in recognise.FAMILIES.items():

        def wrong(target: Component, value: Expr, right: Any = right) -> Any:
            found = right(target, value)
            return found and replace(found, right=lose(found.right))

        stack.enter_context(patch.dict(recognise.FAMILIES, {family: wrong}))
    stack.enter_context(patch.object(recognise, "holds", lambda form: True))


# Derivation


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
    stack.enter_context(patch.object(calculus, "_apart", lambda indices, wrt: True))


@planted("a fresh name is fresh for a part of the expression", "numbers")
def fresh_for_a_part(stack: ExitStack) -> None:
    right = lemma.fresh

    def rename_bound(value: Expr, taken: list[Index]) -> Expr:
        names = {i.name for i in taken}

        def visit(node: Expr) -> Expr:
            if not isinstance(node, Reduce) or not any(i.name in names for i in node.indices):
                return node
            new = {i: right(i.name, i.extent, taken) if i.name in names else i for i in node.indices}
            return Reduce(node.kind, tuple(new.values()), rename(node.body, new))

        return transform(value, visit, Reduce)

    _everywhere(stack, "rename_bound", rename_bound)
    stack.enter_context(patch.object(calculus, "_apart", lambda indices, wrt: True))


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
        return found if found is None or inner is None else (found[0], found[1] + stride, *found[2:])

    stack.enter_context(patch.object(eliminate, "_residue_class", wrong))


@planted("a stride divides an index that it does not split", "numbers")
def divided(stack: ExitStack) -> None:
    right = eliminate.residue_once

    def wrong(term: eliminate.Term, spatial: Any) -> Any:
        if (found := right(term, spatial)) is not None:
            return found
        for delta, difference in term.brackets:
            strides = {abs(c) for i, c in difference.terms if i not in term.indices or i.name in spatial} - {1}
            for stride in strides:
                kept = tuple((i, c // stride) for i, c in difference.terms if c // stride)
                over = Delta(Affine(kept, difference.offset // stride), Affine())
                return eliminate.Move(delta, term.replace(delta, over))
        return None

    stack.enter_context(patch.object(eliminate, "residue_once", wrong))


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


@planted("several maxima have one position", "numbers")
def one_position(stack: ExitStack) -> None:
    right = calculus.argmax_of

    def wrong(maximum: Reduce, setting: Setting) -> Component:
        for equation in setting.auxiliary:
            if equation.tensor.shape == tuple(i.extent for i in maximum.free):
                return Component(equation.tensor, tuple(map(Affine.of, maximum.free)))
        return right(maximum, setting)

    stack.enter_context(patch.object(calculus, "argmax_of", wrong))


@planted("a sum over an index that its body lacks is taken once", "numbers")
def lacking(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        def visit(node: Expr) -> Expr:
            if isinstance(node, Reduce) and node.kind == "sum":
                return summed([i for i in node.indices if i in node.body.free], node.body)
            return node

        return transform(after, visit, Reduce)

    _rule(stack, "derivative.reduction", change)


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
                return Delta(Affine(node.left.terms, 0), node.right)
            return node

        return transform(after, visit, Delta)

    _rule(stack, "derivative.component", change)


@planted("a value of the forward pass is read at another place", "numbers")
def shifted(stack: ExitStack) -> None:
    right = algebra.match

    def wrong(*about: Any) -> Any:
        found = right(*about)
        if found is None:
            return None
        moved = tuple(s if s.plain else Affine(s.terms, 0) for s in found.subscripts)
        return Component(found.tensor, moved, found.pad)

    stack.enter_context(patch.object(algebra, "match", wrong))


@planted("a value of the forward pass is read as 0 outside of its tensor", "numbers")
def reused_outside(stack: ExitStack) -> None:
    right = algebra.match

    class Everywhere(frozenset[Any]):
        def __contains__(self, place: object) -> bool:
            return True

    stack.enter_context(patch.object(algebra, "match", lambda fact, node, covered: right(fact, node, Everywhere())))


@planted("a rational power keeps its exponent", "numbers")
def power_law(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        def visit(node: Expr) -> Expr:
            match node:
                case Power(base=base, exponent=r) if r.denominator > 1 and r + 1 in old:
                    return Power(base, r + 1)
                case _:
                    return node

        old = {n.exponent for n in nodes(before) if isinstance(n, Power)}
        return transform(after, visit, Power)

    _rule(stack, "derivative.power", change)


@planted("the weights of a log-sum-exp do not add up to 1", "numbers")
def weights(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        def visit(node: Expr) -> Expr:
            match node:
                case Apply(function="exp", arguments=(Add(terms=(body, Multiply(factors=(_, Reduce() as total)))),)):
                    return Apply("exp", (Add((body, Multiply((calculus.Constant(Fraction(-2)), total)))),))
                case _:
                    return node

        return transform(after, visit, Apply)

    _rule(stack, "derivative.logsumexp", change)


@planted("with a 0 its neighbour is dropped", "numbers")
def dropped(stack: ExitStack) -> None:
    def change(before: Expr, after: Expr, setting: Setting) -> Expr:
        lost = isinstance(before, Add) and isinstance(after, Add) and ZERO in before.terms
        return after.terms[0] if lost and isinstance(after, Add) else after

    _rule(stack, "zero", change)


@planted("a composite loses a factor", "verify")
def composite(stack: ExitStack) -> None:
    right = compose._cite

    def wrong(expr: Expr, outer: Any) -> Expr:
        after = right(expr, outer)
        return after if after is expr else transform(after, _without_first, Multiply)

    stack.enter_context(patch.object(compose, "_cite", wrong))


@planted("a composite goes through one of several uses", "composites")
def one_of_several(stack: ExitStack) -> None:
    def adjacent(derivation: Any) -> Any:
        uses = [u for g in derivation.parts.values() for u in g.uses if compose._composes(u)]
        for outer in uses:
            for inner in uses:
                meet = inner.equation.tensor == outer.tensor and inner.tensor not in derivation.forward.parameters
                if meet and compose._elementwise(inner) != compose._elementwise(outer):
                    yield outer, inner

    stack.enter_context(patch.object(compose, "_adjacent", adjacent))


@planted("there are lines for one sample below an equation that couples samples", "samples")
def coupled(stack: ExitStack) -> None:
    stack.enter_context(patch.object(adjoint, "coupling", lambda *about: Coupling({}, frozenset())))


# Arrays and loops


@planted("the number that a tensor is padded with is dropped", "numbers")
def pad_dropped(stack: ExitStack) -> None:
    from chainrule.arrays import lower

    right: Any = lower.Pad

    def wrong(*fields: Any) -> Any:
        *others, value = fields
        return right(*others, value if isinstance(value, str) else Fraction(0))

    stack.enter_context(patch.object(lower, "Pad", wrong))


@planted("the number that a tensor is padded with is dropped in the loops", "loops")
def pad_dropped_in_loops(stack: ExitStack) -> None:
    from chainrule.loops import reading

    right = reading.Reader.component

    def wrong(self: Any, node: Component, env: Any) -> Any:
        pad = Fraction(0) if isinstance(node.pad, Fraction) else node.pad
        return right(self, Component(node.tensor, node.subscripts, pad), env)

    stack.enter_context(patch.object(reading.Reader, "component", wrong))


@planted("two logarithms of sums lie in one memory", "loops")
def one_memory(stack: ExitStack) -> None:
    from chainrule.loops import made, shared

    def identity(node: Expr) -> Any:
        return tuple(t.name for t in node.tensors), tuple(index.extent for index in made.outer(node))

    for module in (made, shared):
        stack.enter_context(patch.object(module, "identity", identity))


@planted("an inner reduction is read at another one's index", "loops")
def inner_index(stack: ExitStack) -> None:
    from chainrule.loops import made

    right = made.Parts.point

    def wrong(self: Any, part: Expr, of: Tensor) -> Any:
        component, new = right(self, part, of)
        if self.kind == "inner" and not new:
            order = [*self.first[component.tensor]]
            component = Component(component.tensor, tuple(map(Affine.of, order)))
        elif self.kind == "inner":
            self.first = {**getattr(self, "first", {}), component.tensor: made.outer(part)}
        return component, new

    stack.enter_context(patch.object(made.Parts, "point", wrong))


@planted("a lane's index is read as another's", "loops")
def lanes(stack: ExitStack) -> None:
    from chainrule.loops import interpret

    right = interpret.Kernel.affine

    def wrong(self: Any, of: Affine) -> Any:
        return right(self, Affine(of.terms[:-1], of.offset) if len(of.terms) > 3 else of)

    stack.enter_context(patch.object(interpret.Kernel, "affine", wrong))


@planted("a value for each pair of samples is taken where they are one", "loops")
def pairs(stack: ExitStack) -> None:
    from chainrule.loops import normal

    right = normal._written_out

    def wrong(node: Component, pieces: Any) -> Expr:
        n = next(i for s in node.subscripts for i in s.indices if i.is_sample)
        one = Component(
            node.tensor, tuple(Affine.of(n) if e == "N" else s for s, e in zip(node.subscripts, node.tensor.shape,
                                                                               strict=True)), node.pad
        )
        return right(one, pieces)

    stack.enter_context(patch.object(normal, "_written_out", wrong))


@planted("a rational power is rounded down to a whole one", "native")
def rounded(stack: ExitStack) -> None:
    from chainrule.loops.lower import Lowering

    right = Lowering.power
    stack.enter_context(patch.object(
        Lowering, "power", lambda self, base, r: right(self, base, r if abs(r) < 1 else Fraction(int(r)))
    ))


@planted("a bracket by itself is 1", "native")
def bracket(stack: ExitStack) -> None:
    from chainrule.loops import lower

    right = lower.Lowering.evaluate

    def wrong(self: Any, node: Expr, envs: Any) -> Any:
        return [lower.ONE for _ in envs] if isinstance(node, Delta | Guard) else right(self, node, envs)

    stack.enter_context(patch.object(lower.Lowering, "evaluate", wrong))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table for the kinds that have these words in them, or for all."""
    words = sys.argv[1:] if arguments is None else arguments
    lost = 0
    for kind, (_, consumer) in PLANTED.items():
        if words and not any(word in kind for word in words):
            continue
        found = found_at(kind)
        lost += found is None
        after, what = found or ("not found", "")
        print(f"{after:>9}  {kind} | {consumer} | {what[:150]}", flush=True)  # noqa: T201
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
