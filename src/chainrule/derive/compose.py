"""Lemmas that are made of lemmas: the composite map, and the recurrence of the error signal.

A citation puts the result of one lemma in place of the error signal that another starts from. Dense
after an activation gives δ_j = g′(u_j) Σ_k W_kj δ_k, which repeats from block to block. What comes out is a whole
gradient: the tensor between the lemmas and the one at the end are each used once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from chainrule.derive import algebra
from chainrule.derive.adjoint import Derivation, Use
from chainrule.derive.lemma import Lemma, adjoint_of, rename_bound
from chainrule.derive.trace import Setting, Step, Trace
from chainrule.ir.expr import (
    LOSS,
    Add,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Reduce,
    Tensor,
    summed,
)
from chainrule.ir.index import SAMPLES, Affine, Index
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

    Its form: "recurrence", the error signal of a layer's linear output from that of the next layer's; "last", of the
    last layer, from the loss; "map", any other z = g(h(x)), from ∂ℓ/∂z to ∂ℓ/∂x. `sample` is the same for one
    sample, where that is true.
    """

    composite: Composite
    form: Form
    uses: tuple[tuple[Use, Use], ...]
    sample: Composite | None


def composites(derivation: Derivation) -> tuple[Repeated, ...]:
    """The composites of an element-wise map and its neighbour before or after, one of each kind however deep
    the network is."""
    groups: dict[Key, list[tuple[Use, Use]]] = {}
    for outer, inner in _adjacent(derivation):
        name = (outer.lemma.kind, inner.lemma.kind, _form(derivation, outer, inner), _for_one(derivation, outer, inner))
        groups.setdefault(name, []).append((outer, inner))
    found: list[Repeated] = []
    for (*_, form, for_one), pairs in groups.items():
        outer, inner = (use.instance for use in pairs[0])
        a, b = (outer.sample, inner.sample) if for_one else (None, None)
        # Where the error signal is a known number the batch's lemma may be whole and the sample's not.
        sample = compose(a, b) if a is not None and b is not None and a.whole and b.whole else None
        found.append(Repeated(compose(outer, inner), form, tuple(pairs), sample))
    return tuple(found)


def _for_one(derivation: Derivation, outer: Use, inner: Use) -> bool:
    """Whether both lemmas are true of one sample; the loss of a batch is of none."""
    return derivation.sample(outer) is not None and derivation.sample(inner) is not None


def _form(derivation: Derivation, outer: Use, inner: Use) -> Form:
    if _elementwise(outer):
        return "map"
    if outer.lemma.per_sample or outer.equation.tensor == LOSS:
        return "last"
    weights = [t for t in derivation.forward.given if SAMPLES not in t.shape]
    here = [e for e in derivation.forward.equations if e.tensor in (outer.equation.tensor, inner.tensor)]
    return "recurrence" if len(here) == 2 and all(linear(e.value, weights) for e in here) else "map"


def linear(value: Expr, weights: Collection[Tensor]) -> bool:
    """Whether a value is linear in what it reads besides weights, each read times a weight, and perhaps a bias."""
    terms = value.terms if isinstance(value, Add) else (value,)
    weighted = [t for t in terms if any(tensor not in weights for tensor in t.tensors)]
    return bool(weighted) and all(_weighted(t, weights) for t in weighted)


def _weighted(term: Expr, weights: Collection[Tensor]) -> bool:
    """Whether a term is one read of what is no weight, times one of a weight and constants, under sums."""
    while isinstance(term, Reduce) and term.kind == "sum":
        term = term.body
    factors = term.factors if isinstance(term, Multiply) else (term,)
    reads = [f for f in factors if isinstance(f, Component)]
    constant = all(isinstance(f, Component | Constant | Delta | Guard) and not _selects(f) for f in factors)
    others = [c for c in reads if c.tensor not in weights]
    return constant and len(others) == 1 and len(reads) > 1


def _selects(factor: Expr) -> bool:
    return isinstance(factor, Delta) and isinstance(factor.right, Component)


def _adjacent(derivation: Derivation) -> Iterator[tuple[Use, Use]]:
    """Uses that meet in a tensor, one of them element-wise and the other not, each the only use of its tensor: what is
    left out of either would be missing in the gradient that comes out."""
    parameters = derivation.forward.parameters
    alone = [g.uses[0] for g in derivation.parts.values() if len(g.uses) == 1 and _composes(g.uses[0])]
    by_equation: dict[Tensor, list[Use]] = {}
    for use in alone:
        if use.tensor not in parameters:
            by_equation.setdefault(use.equation.tensor, []).append(use)
    for outer in alone:
        for inner in by_equation.get(outer.tensor, ()):
            if _elementwise(inner) != _elementwise(outer):
                yield outer, inner


def _composes(use: Use) -> bool:
    """Whether the lemma is one line over the equation's own indices: not a stride's residues, nor a reshape."""
    return use.lemma.whole and all(s.plain is not None for s in use.equation.target.subscripts)


def _elementwise(use: Use) -> bool:
    """Whether each component of y depends on the one component of x at the same indices."""
    indices = use.equation.target.subscripts
    return all(c.subscripts == indices for c in components(use.equation.value) if c.tensor == use.tensor)
