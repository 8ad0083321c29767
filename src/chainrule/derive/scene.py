"""Scenes: lines that are compared at the same random points, and how a point is made.

A lemma is checked by itself. Its tensors are drawn at random; the equation it is about, the facts it may use and the
positions it saves are computed; the loss is ⟨δ, y⟩ with δ random, so that ∂loss/∂y = δ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from chainrule.derive.compose import Composite
from chainrule.derive.fold import Fold, put
from chainrule.derive.lemma import Lemma, adjoint_of
from chainrule.derive.subject import Subject
from chainrule.derive.trace import Step
from chainrule.derive.written import Evaluation
from chainrule.errors import DerivationError
from chainrule.forms import Concise, concise
from chainrule.ir.expr import LOSS, Component, Derivative, Expr, Multiply, Reduce, Tensor, add, derived, summed
from chainrule.ir.index import Affine, Index, small_extents
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import nodes, substitute, transform
from chainrule.semantics.field import integer_ranges
from chainrule.semantics.labelled import size

RULES = {"matrix": "matrix form", "planes": "form in planes", "blocks": "form in blocks", "entries": "form by entries"}
FORMS = tuple(RULES.values())
"""The rules of lines that say a value otherwise and lead nowhere."""


@dataclass(frozen=True)
class Line:
    """before = after, by a rule; `what` says where it stands."""

    what: Subject
    rule: str
    before: Expr
    after: Expr

    @property
    def free(self) -> tuple[Index, ...]:
        return tuple(dict.fromkeys((*self.before.free, *self.after.free)))


@dataclass(frozen=True)
class Scene:
    """Lines over one point: `given` is drawn, `equations` are run in order, `known` fills a tensor with a constant;
    derivatives see through `definitions`."""

    lines: tuple[Line, ...]
    given: tuple[Tensor, ...]
    equations: tuple[Equation, ...]
    definitions: Mapping[str, Equation]
    extents: Mapping[str, int]
    known: Mapping[Tensor, Expr] = field(default_factory=dict[Tensor, Expr])

    @property
    def ranges(self) -> dict[str, int]:
        expressions = [e.value for e in self.equations] + [s for line in self.lines for s in (line.before, line.after)]
        return integer_ranges(self.given, expressions, self.extents)

    @property
    def work(self) -> int:
        """How many entries the largest array of its lines has."""
        return max((work(side, self.extents) for line in self.lines for side in (line.before, line.after)), default=0)


# From derivations.


def of_lemma(
    lemma: Lemma, extents: Mapping[str, int], name: Subject | None = None, forms: bool = True
) -> Scene:
    """Every step of a lemma, and with `forms` the concise form of its result beside the component form."""
    name = name or Subject("lemma", spelled(lemma.wrt.tensor), spelled(lemma.equation.tensor))
    y = lemma.equation.target
    plain = _Plain(lemma.equation)
    lines = [_line(name, step, plain) for step in lemma.all_steps]
    if forms:
        lines += _form_line(name, lemma.concise, extents)
    computed = (*lemma.facts, lemma.equation, *lemma.auxiliary)
    if y.tensor == LOSS:
        definitions = {LOSS.name: lemma.equation}
        return _scene(lines, computed, definitions, extents)
    signal = Component(lemma.error_signal, y.subscripts)
    loss = Equation(Component(LOSS, ()), summed(y.free, Multiply((signal, plain.equation.target))))
    definitions = {LOSS.name: loss, plain.equation.tensor.name: plain.equation}
    extra = () if plain.equation is lemma.equation else (plain.equation,)
    known = {} if lemma.signal is None else {lemma.error_signal: lemma.signal}
    return _scene(lines, (*computed, *extra, loss), definitions, extents, known)


def of_evaluation(evaluation: Evaluation, extents: Mapping[str, int]) -> Scene:
    """Every step that evaluates a derivative which an equation is written with."""
    name = Subject("written", spelled(evaluation.derivative.wrt.tensor), spelled(evaluation.equation.tensor))
    return _scene([_line(name, step) for step in evaluation.steps], (), {}, extents)


def of_composite(composite: Composite, extents: Mapping[str, int], where: Subject, forms: bool = True) -> Scene:
    """The steps of two lemmas composed: u = h(x), z = g(u), the error signal of u being the outer lemma's result.
    Where z reads x itself too, it reads a copy: a composite is about the paths through u."""
    outer, inner = composite.outer, composite.inner
    x, u = inner.wrt, inner.equation
    copy = Component(derived("copy", x.tensor), x.subscripts)
    z = outer.equation.over({x.tensor: copy.tensor})
    signal_of_u = outer.pieces[0].equation
    lines = [_line(where, step) for step in (*composite.steps, *composite.jacobian)]
    gradient = Component(adjoint_of(x.tensor), x.subscripts)
    if forms:
        for value in (composite.result, composite.jacobian[-1].after):
            lines += _form_line(where, concise(gradient, value), extents)
    definitions = {u.tensor.name: u, z.tensor.name: z}
    computed = (
        *inner.facts, u, *outer.facts, Equation(copy, x), z, *inner.auxiliary, *outer.auxiliary, signal_of_u
    )
    if z.tensor == LOSS:
        return _scene(lines, computed, definitions, extents)
    signal = Component(adjoint_of(z.tensor), z.target.subscripts)
    loss = Equation(Component(LOSS, ()), summed(z.indices, Multiply((signal, z.target))))
    known = {} if outer.signal is None else {adjoint_of(z.tensor): outer.signal}
    return _scene(lines, (*computed, loss), {**definitions, LOSS.name: loss}, extents, known)


def of_fold(fold: Fold, extents: Mapping[str, int], where: Subject, forms: bool = True) -> Scene:
    """The steps of a fold, its named values written out, from the error signals of what leaves the layer."""

    def plain(expr: Expr) -> Expr:
        for name in reversed(fold.names):  # a later one may read those before it
            expr = put(expr, {name.tensor: name})
        return expr

    lines = [Line(where, step.rule, plain(step.before), plain(step.after)) for step in fold.steps]
    target = Component(adjoint_of(fold.target.tensor), fold.target.subscripts)
    if forms:
        lines += _form_line(where, concise(target, fold.result), extents)
    definitions = {e.tensor.name: e for e in fold.forward}
    computed = [*fold.forward, *fold.names, *fold.backward]
    read, defined = {t for e in computed for t in e.value.tensors}, {e.tensor for e in computed}
    lemmas = [use.instance for use in fold.involved]
    saved = {e.tensor: e for lemma in lemmas for e in (*lemma.facts, *lemma.auxiliary)}
    computed += [e for tensor, e in saved.items() if tensor in read - defined]  # what these lemmas read besides
    if all(e.tensor != LOSS for e in fold.sinks):
        reached = (
            summed(e.indices, Multiply((Component(adjoint_of(e.tensor), e.target.subscripts), e.target)))
            for e in fold.sinks
        )
        computed.append(Equation(Component(LOSS, ()), add(reached)))
        definitions[LOSS.name] = computed[-1]
    known = {adjoint_of(u.equation.tensor): u.lemma.signal for u in fold.involved if u.lemma.signal is not None}
    return _scene(lines, computed, definitions, extents, known)


def _scene(
    lines: Iterable[Line], computed: Iterable[Equation], definitions: Mapping[str, Equation],
    extents: Mapping[str, int], known: Mapping[Tensor, Expr] | None = None,
) -> Scene:
    lines, equations = tuple(lines), _in_order(computed)
    read = [t for e in equations for t in e.value.tensors]
    read += [t for line in lines for side in (line.before, line.after) for t in side.tensors]
    defined = {e.tensor for e in equations}
    given = tuple(t for t in dict.fromkeys(read) if t not in defined)
    return Scene(lines, given, equations, definitions, extents, known or {})


def _in_order(equations: Iterable[Equation]) -> tuple[Equation, ...]:
    """Each after what it reads: what is known of the forward pass may be computed from each other."""
    waiting = list(dict.fromkeys(equations))
    found: list[Equation] = []
    while waiting:
        later = {e.tensor for e in waiting}
        ready = [e for e in waiting if later.isdisjoint(e.value.tensors)]
        assert ready, "equations that read each other"
        found += ready
        waiting = [e for e in waiting if e not in ready]
    return tuple(found)


def _line(what: Subject, step: Step, plain: _Plain | None = None) -> Line:
    before = substitute(step.before, {step.split[0]: step.split[1]}) if step.split else step.before
    if plain is not None:
        return Line(what, step.rule, plain.derivatives(before), plain.derivatives(step.after))
    return Line(what, step.rule, before, step.after)


def of_equation(equation: Equation, extents: Mapping[str, int], forms: bool = True) -> Scene:
    """The concise form of a forward equation, beside its components."""
    form = concise(equation.target, equation.value) if forms else None
    return _scene(_form_line(Subject("form", y=spelled(equation.tensor)), form, extents), (), {}, extents)


def _form_line(what: Subject, form: Concise | None, extents: Mapping[str, int]) -> list[Line]:
    """The concise form, written out, beside the component form."""
    return [] if form is None else [Line(what, RULES[form.family], form.detailed, form.expanded(extents))]


class _Plain:
    """An equation over plain indices. Where the target's subscripts are mixed-radix numbers, or one piece of a tensor,
    its derivatives speak of another tensor with an axis for each index: y[n, 12*c + 4*i + j] becomes y′[n, c, i, j]."""

    def __init__(self, equation: Equation) -> None:
        self.target, self.equation = equation.target, equation
        if any(s.plain is None for s in equation.target.subscripts) or any(
            s.plain is not None and s.plain.extent != e
            for s, e in zip(equation.target.subscripts, equation.tensor.shape, strict=True)
        ):
            tensor = derived("unfolded", equation.tensor, shape=tuple(i.extent for i in equation.indices))
            target = Component(tensor, tuple(Affine.of(i) for i in equation.indices))
            self.equation = Equation(target, equation.value)

    def derivatives(self, expr: Expr) -> Expr:
        if self.equation.target is self.target:
            return expr

        def visit(node: Expr) -> Expr:
            assert isinstance(node, Derivative)
            wrt = self._component(node.wrt)
            return Derivative(self._component(node.of) if isinstance(node.of, Component) else node.of, wrt)

        return transform(expr, visit, Derivative)

    def _component(self, node: Component) -> Component:
        if node.tensor != self.target.tensor:
            return node
        mapping: dict[Index, Index] = {}
        for own, other in zip(self.target.subscripts, node.subscripts, strict=True):
            if [c for _, c in own.terms] != [c for _, c in other.terms]:
                raise DerivationError("a derivative at other positions than the equation's", about=node)
            mapping.update(zip(own.indices, other.indices, strict=True))
        return Component(self.equation.tensor, tuple(Affine.of(mapping[i]) for i in self.target.free))


# Shapes.


def extents_for(program: Program, samples: int) -> dict[str, int]:
    """Numbers for the named extents: `samples` for N, small distinct ones for others."""
    return extents_of((*program.given, *program.defined), samples)


def extents_of(tensors: Iterable[Tensor], samples: int) -> dict[str, int]:
    return small_extents((e for t in tensors for e in t.shape if isinstance(e, str)), samples)


def work(expr: Expr, extents: Mapping[str, int]) -> int:
    """How many entries the largest array is, that an interpreter of this expression builds. A product under a sum is
    contracted and never built."""

    def count(indices: Iterable[Index]) -> int:
        return prod(size(i.extent, extents) for i in set(indices))

    contracted = {node.body for node in nodes(expr) if isinstance(node, Reduce) and node.kind == "sum"}
    largest = 1
    for node in nodes(expr):
        if isinstance(node, Derivative):
            inner = max(count(part.free) for part in nodes(node.of))
            largest = max(largest, inner * count(node.wrt.free))
        elif not (isinstance(node, Multiply) and node in contracted):
            largest = max(largest, count(node.free))
    return largest
