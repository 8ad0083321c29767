"""Lemmas that are made of lemmas: the composite map, and the recurrence of the error signal.

A citation puts the result of one lemma in place of the error signal that another starts from. Dense
after an activation gives δ_j = g′(u_j) Σ_k W_kj δ_k, which repeats from block to block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chainrule.derive import algebra
from chainrule.derive.adjoint import Derivation, Use
from chainrule.derive.lemma import Lemma, adjoint_of, rename_bound
from chainrule.derive.trace import Setting, Step, Trace
from chainrule.ir.expr import LOSS, Component, Derivative, Expr, Guard, Multiply, Tensor, summed
from chainrule.ir.index import Affine, Index
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
    """Compose two lemmas that are whole; the tensor that `outer` is about is the one `inner` defines."""
    assert outer.wrt.tensor == inner.equation.tensor, "the lemmas do not meet"
    setting = Setting(inner.equation, inner.wrt, inner.error_signal, facts=(outer.equation,))
    trace = Trace(Derivative(Component(LOSS, ()), inner.wrt), setting)
    trace.record("cite", inner.result)
    trace.record("cite", _cite(trace.current, outer))
    trace.apply_each(("associate", "padding", *algebra.TIDY))
    return Composite(outer, inner, tuple(trace.steps), _jacobian(outer, inner))


def _cite(expr: Expr, outer: Lemma) -> Expr:
    """The result of `outer` where its gradient is read; where that read is padded, 0 outside the gradient's range."""
    gradient = outer.pieces[0].equation.target
    signal = adjoint_of(outer.wrt.tensor)

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Component) or node.tensor != signal:
            return node
        mapping: dict[Index, Affine] = {}
        ranges: list[Expr] = []
        for own, wanted in zip(gradient.subscripts, node.subscripts, strict=True):
            assert own.plain is not None
            mapping[own.plain] = wanted
            if node.pad is not None and not wanted.within(own.plain.extent):
                ranges.append(Guard(wanted, own.plain.extent))
        cited = substitute(rename_bound(outer.result, [*bound(expr), *expr.free]), mapping)
        return Multiply((*ranges, cited)) if ranges else cited

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


Form = Literal["map", "recurrence", "last"]


@dataclass(frozen=True)
class Repeated:
    """A composite and every place where the derivation has one of its kind.

    Its form: "map", z = g(W x), from ∂ℓ/∂z to ∂ℓ/∂x; "recurrence", the error signal of one block from that of
    the next; "last", the error signal of the last layer, from the loss.
    """

    composite: Composite
    form: Form
    uses: tuple[tuple[Use, Use], ...]


def composites(derivation: Derivation) -> tuple[Repeated, ...]:
    """The composites of an element-wise map and its neighbour before or after, one of each kind however deep
    the network is."""
    groups: dict[Key, list[tuple[Use, Use]]] = {}
    for outer, inner in _adjacent(derivation):
        groups.setdefault((outer.lemma.kind, inner.lemma.kind), []).append((outer, inner))
    return tuple(
        Repeated(compose(outer.instance, inner.instance), _form(outer), tuple(pairs))
        for pairs in groups.values()
        for outer, inner in pairs[:1]
    )


def _form(outer: Use) -> Form:
    if _elementwise(outer):
        return "map"
    return "last" if outer.lemma.per_sample or outer.equation.tensor == LOSS else "recurrence"


def _adjacent(derivation: Derivation) -> Iterator[tuple[Use, Use]]:
    """Uses that meet in a tensor which is used once, one of them element-wise and the other not."""
    parameters = derivation.forward.parameters
    by_equation: dict[Tensor, list[Use]] = {}
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            if use.tensor not in parameters and _composes(use):
                by_equation.setdefault(use.equation.tensor, []).append(use)
    for gradient in derivation.parts.values():
        if len(gradient.uses) == 1 and _composes(gradient.uses[0]):
            outer = gradient.uses[0]
            for inner in by_equation.get(gradient.tensor, ()):
                if _elementwise(inner) != _elementwise(outer):
                    yield outer, inner


def _composes(use: Use) -> bool:
    """Whether the lemma is one line over the equation's own indices: not a stride's residues, nor a reshape."""
    return use.lemma.whole and all(s.plain is not None for s in use.equation.target.subscripts)


def _elementwise(use: Use) -> bool:
    """Whether each component of y depends on the one component of x at the same indices."""
    indices = use.equation.target.subscripts
    return all(c.subscripts == indices for c in components(use.equation.value) if c.tensor == use.tensor)
