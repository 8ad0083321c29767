"""Lemmas that are made of lemmas: the composite map, and the recurrence of the error signal.

A citation puts the result of one lemma in place of the error signal that another starts from. Dense
after an activation gives δ_j = g′(u_j) Σ_k W_kj δ_k, which repeats from block to block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.derive import algebra
from chainrule.derive.adjoint import Derivation, Use
from chainrule.derive.lemma import Lemma, adjoint_of
from chainrule.derive.trace import LOSS, Setting, Step, Trace
from chainrule.ir.expr import Component, Derivative, Expr, Multiply, Reduce, Tensor, summed
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, bound, components, fresh, rename, substitute, transform


@dataclass(frozen=True)
class Composite:
    """∂ℓ/∂x through two equations, u = h(x) and z = g(u): `outer` leads from ∂ℓ/∂z to ∂ℓ/∂u, `inner`
    from there to ∂ℓ/∂x. `jacobian` is the chain over both, no definition put in."""

    outer: Lemma
    inner: Lemma
    steps: tuple[Step, ...]
    jacobian: tuple[Step, ...]

    @property
    def target(self) -> Component:
        return self.inner.wrt

    @property
    def result(self) -> Expr:
        return self.steps[-1].after


def compose(outer: Lemma, inner: Lemma) -> Composite:
    """Compose two lemmas of one piece each; the tensor that `outer` is about is the one `inner` defines."""
    assert outer.wrt.tensor == inner.equation.tensor, "the lemmas do not meet"
    setting = Setting(inner.equation, inner.wrt, inner.error_signal, facts=(outer.equation,))
    trace = Trace(Derivative(Component(LOSS, ()), inner.wrt), setting)
    trace.record("cite", inner.result)
    trace.record("cite", _cite(trace.current, outer))
    trace.apply_each(("associate", *algebra.TIDY))
    return Composite(outer, inner, tuple(trace.steps), _jacobian(outer, inner))


def _cite(expr: Expr, outer: Lemma) -> Expr:
    """The result of `outer` where its gradient is read."""
    gradient = outer.pieces[0].equation.target
    signal = adjoint_of(outer.wrt.tensor)

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Component) or node.tensor != signal:
            return node
        mapping: dict[Index, Affine] = {}
        for own, wanted in zip(gradient.subscripts, node.subscripts, strict=True):
            assert own.plain is not None
            mapping[own.plain] = wanted
        taken = [*bound(expr), *expr.free, *outer.result.free]
        clash = {i: fresh(i.name, i.extent, taken) for i in bound(outer.result)}
        return substitute(_rename_binders(outer.result, clash), mapping)

    return transform(expr, visit)


def _rename_binders(expr: Expr, new: dict[Index, Index]) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Reduce):
            here = {i: new[i] for i in node.indices}
            return Reduce(node.kind, tuple(here.values()), rename(node.body, here))
        return node

    return transform(expr, visit)


def _jacobian(outer: Lemma, inner: Lemma) -> tuple[Step, ...]:
    """∂ℓ/∂x_i = Σ_k (∂ℓ/∂z_k) Σ_j (∂z_k/∂u_j)(∂u_j/∂x_i): the chain rule twice, for any g and h."""
    z, u, x = outer.equation.target, inner.equation.target, inner.wrt
    loss = Component(LOSS, ())
    taken = [*x.free]

    def over(component: Component) -> Component:
        names: dict[Index, Index] = {}
        for index in component.free:
            names[index] = fresh(index.name, index.extent, taken)
            taken.append(names[index])
        result = rename(component, names)
        assert isinstance(result, Component)
        return result

    z, u = over(z), over(u)
    start = Derivative(loss, x)
    once = summed(z.free, Multiply((Derivative(loss, z), Derivative(z, x))))
    twice = summed(
        z.free, Multiply((Derivative(loss, z), summed(u.free, Multiply((Derivative(z, u), Derivative(u, x))))))
    )
    flat = summed((*z.free, *u.free), Multiply((Derivative(loss, z), Derivative(z, u), Derivative(u, x))))
    return (Step("chain", start, once), Step("chain", once, twice), Step("distribute", twice, flat))


@dataclass(frozen=True)
class Recurrence:
    """A run of blocks whose error signals obey one recurrence, and the lemma that says it."""

    composite: Composite
    uses: tuple[tuple[Use, Use], ...]


def recurrences(derivation: Derivation) -> tuple[Recurrence, ...]:
    """The composites that the derivation repeats: δu of one block from δu of the next.

    A block is an equation with a weight (its lemma by the input has a sum) whose only reader is
    element-wise, or the reverse; equal kinds are one recurrence, however deep the network.
    """
    groups: dict[Key, list[tuple[Use, Use]]] = {}
    for outer, inner in _adjacent(derivation):
        name: Key = (outer.lemma.kind, inner.lemma.kind)
        groups.setdefault(name, []).append((outer, inner))
    return tuple(
        Recurrence(compose(pairs[0][0].instance, pairs[0][1].instance), tuple(pairs)) for pairs in groups.values()
    )


def _adjacent(derivation: Derivation) -> Iterator[tuple[Use, Use]]:
    """Pairs (δz from the next block's sum, δu = δz·g′) that meet in a tensor with one use."""
    for gradient in derivation.parts.values():
        if len(gradient.uses) != 1 or gradient.sum is not None:
            continue
        outer = gradient.uses[0]
        for other in derivation.parts.values():
            for inner in other.uses:
                meet = inner.equation.tensor == gradient.tensor and len(other.uses) == 1
                if meet and _elementwise(inner) and not _elementwise(outer) and len(outer.lemma.pieces) == 1:
                    yield outer, inner


def _elementwise(use: Use) -> bool:
    """Whether each component of y depends on the one component of x at the same indices."""
    indices = use.equation.target.subscripts
    return all(
        c.subscripts == indices for c in _reads(use.equation, use.tensor)
    ) and len(use.lemma.pieces) == 1


def _reads(equation: Equation, tensor: Tensor) -> list[Component]:
    return [c for c in components(equation.value) if c.tensor == tensor]
