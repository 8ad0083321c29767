"""A lemma: the contribution of one use of a tensor to its gradient, derived from the error signal.

For an equation y[I] = E and a tensor x in it, with δy = ∂ℓ/∂y known, the lemma is the trace that leads
from ∂ℓ/∂x[J] to an expression without derivatives. Its last line is what the backward program runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from chainrule.derive import algebra, calculus, eliminate
from chainrule.derive.subject import Subject
from chainrule.derive.trace import Setting, Step, Trace
from chainrule.errors import DerivationError
from chainrule.forms import Concise, of_lines
from chainrule.ir.expr import ADJOINT, LOSS, ZERO, Component, Derivative, Expr, Reduce, Tensor, derived
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, bound, components, fresh, kind, nodes, rename, replace_tensors, substitute, transform


def adjoint_of(tensor: Tensor) -> Tensor:
    """The tensor that holds the gradient of the loss by this one: of the same shape."""
    return derived(ADJOINT, tensor, dtype="real")


@dataclass(frozen=True)
class Piece:
    """One equation of the gradient and the steps that lead to it from where the pieces part."""

    equation: Equation
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Lemma:
    """∂ℓ/∂x through one equation. There is one piece, but for a stride, where each residue class of the
    index has its own. `signal` is the equation's error signal where that is a constant; `per_sample` says
    that the equation gives the loss of each sample, whose mean is the loss."""

    equation: Equation
    wrt: Component
    steps: tuple[Step, ...]
    pieces: tuple[Piece, ...]
    auxiliary: tuple[Equation, ...]
    facts: tuple[Equation, ...]
    signal: Expr | None = None
    per_sample: bool = False

    @property
    def start(self) -> Expr:
        return Derivative(Component(LOSS, ()), self.wrt)

    @property
    def error_signal(self) -> Tensor:
        return adjoint_of(self.equation.tensor)

    @property
    def whole(self) -> bool:
        """Whether one equation gives every component of the gradient at the lemma's own indices."""
        return len(self.pieces) == 1 and self.pieces[0].equation.target.subscripts == self.wrt.subscripts

    @property
    def result(self) -> Expr:
        """The last line, where there is one piece."""
        assert len(self.pieces) == 1
        return self.pieces[0].equation.value

    @property
    def all_steps(self) -> tuple[Step, ...]:
        return (*self.steps, *(step for piece in self.pieces for step in piece.steps))

    def __repr__(self) -> str:
        return f"<lemma of {len(self.all_steps)} steps by {self.wrt.tensor.name}; print it>"

    def __str__(self) -> str:
        """The trace, a step on each line, with the rule of each."""
        rows = [("", str(self.start)), *((step.rule, str(step.after)) for step in self.all_steps)]
        return "\n".join(f"{rule:22} {text}" for rule, text in rows)

    @cached_property
    def kind(self) -> Key:
        """What makes lemmas instances of one: the equation without names and extents, where samples stand, and the
        use."""
        uses = [c.tensor for c in components(self.equation.value)]
        samples = tuple(tuple(e == SAMPLES for e in t.shape) for t in (self.equation.tensor, *uses))
        return (kind(self.equation.value, self.equation.indices), samples, uses.index(self.wrt.tensor))

    @cached_property
    def sample(self) -> Lemma | None:
        """The same lemma for one sample, derived by the same engine from the equation of one sample;
        None where the equation couples samples, or has none."""
        equation = one_sample(self.equation)
        if equation is None:
            return None
        tensor = _drop_samples(self.wrt.tensor)
        facts = tuple(f for f in map(one_sample, self.facts) if f is not None)
        if self.per_sample:
            equation = equation.over({equation.tensor: LOSS})
        from chainrule.derive.check import lemma_holds  # it derives too

        found = derive_lemma(equation, tensor, facts, signal=ZERO if self.signal == ZERO else None)
        lemma_holds(found, Subject("lemma", tensor.name, equation.tensor.name, one_sample=True))
        return found

    @cached_property
    def concise(self) -> Concise | None:
        """The concise form of the result. Where that stands in pieces, or an index of it was split, it may be that of
        a line before the parting."""
        one = self.pieces[0].equation if len(self.pieces) == 1 else None
        return of_lines(self._lines(), None if one is None else (one.target, one.value))

    def _lines(self) -> Iterable[tuple[Component, Expr]]:
        """The lines without derivatives that all pieces share, and what each is equal to."""
        first, *others = (piece.steps for piece in self.pieces)
        shared = len(first)
        for steps in others:
            same = (a == b for a, b in zip(first, steps, strict=False))
            shared = min(shared, next((k for k, s in enumerate(same) if not s), len(steps)))
        target = _as_gradient(self.wrt)
        for step in (*self.steps, *first[:shared]):
            if step.split is not None:
                target = _at(target, step.split)
            if Derivative not in step.after.types:
                yield target, step.after


def one_sample(equation: Equation) -> Equation | None:
    """The equation of one sample: the sample index dropped from every tensor that carries it."""
    samples = [i for i in equation.indices if i.is_sample]
    if len(samples) != 1 or any(i.is_sample for i in bound(equation.value)):
        return None
    n = samples[0]
    for component in (equation.target, *components(equation.value)):
        if component.tensor.shape.count(SAMPLES) > 1:
            return None
        for s, extent in zip(component.subscripts, component.tensor.shape, strict=True):
            if (s.plain == n) != (extent == SAMPLES) or (s.plain != n and n in s.indices):
                return None

    def drop(node: Expr) -> Expr:
        if isinstance(node, Component):
            subscripts = tuple(s for s in node.subscripts if s.plain != n)
            return Component(_drop_samples(node.tensor), subscripts, node.pad)
        return node

    target, value = drop(equation.target), transform(equation.value, drop)
    assert isinstance(target, Component)
    return None if n in value.free else Equation(target, value)


def _drop_samples(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=tuple(e for e in tensor.shape if e != SAMPLES))


def derive_lemma(
    equation: Equation, tensor: Tensor, facts: Iterable[Equation] = (), *, signal: Expr | None = None,
    per_sample: bool = False,
) -> Lemma:
    """Derive ∂ℓ/∂tensor through this equation; the equation may define the loss itself.

    `facts` are forward equations whose values the result may read; `signal` and `per_sample` are the
    lemma's. Raises DerivationError where a rule is missing, naming the part that is left.
    """
    wrt = _target_component(equation, tensor)
    taken = [*wrt.free]
    renamed: dict[Index, Index] = {}
    for index in equation.indices:
        renamed[index] = fresh(index.name, index.extent, taken)
        taken.append(renamed[index])
    target = rename(equation.target, renamed)
    assert isinstance(target, Component)
    value = rename_bound(rename(equation.value, renamed), taken)
    setting = Setting(Equation(target, value), wrt, adjoint_of(equation.tensor), signal, tuple(facts))

    trace = Trace(Derivative(Component(LOSS, ()), wrt), setting)
    trace.apply_each(("chain", "error_signal", "definition"))
    differentiate(trace)
    trace.apply_each(("zero", "unit", "distribute"))
    common = tuple(trace.steps)
    pieces = tuple(_eliminate(trace.current, wrt, setting))
    return Lemma(equation, wrt, common, pieces, tuple(setting.auxiliary), setting.facts, signal, per_sample)


def _target_component(equation: Equation, tensor: Tensor) -> Component:
    """x[J], its indices named for reading: n for samples; for a vector i where it is read at an index of
    the output, else j; (i, j) for a matrix; elsewhere the equation's own letters, and h, w for pixels."""
    use = next((c for c in components(equation.value) if c.tensor == tensor), None)
    if use is None:
        raise DerivationError(f"{tensor.name} does not occur in the equation", about=equation)
    axes = [(s, e) for s, e in zip(use.subscripts, tensor.shape, strict=True) if e != SAMPLES]
    small = len(axes) <= 2 and all(s.plain is not None for s, _ in axes)
    names: list[Index] = []
    for s, extent in zip(use.subscripts, tensor.shape, strict=True):
        if extent == SAMPLES:
            name = "n"
        elif small:
            name = "i" if len(axes) == 2 or s.plain in equation.indices else "j"
        else:
            name = s.plain.name if s.plain is not None else "h"
        names.append(_distinct(name, extent, names))
    return Component(tensor, tuple(Affine.of(i) for i in names))


def _distinct(name: str, extent: int | str, taken: list[Index]) -> Index:
    alphabet = {"i": "ijk", "j": "jik", "h": "hwd"}.get(name, (name,))
    for letter in alphabet:
        if letter not in {i.name for i in taken}:
            return Index(letter, extent)
    return fresh(name, extent, taken)


def rename_bound(value: Expr, taken: list[Index]) -> Expr:
    """The same expression, with other names for the bound indices whose names are in `taken`: names that stand nowhere
    else in it, so that none of them comes to mean another index wherever a rule moves it."""
    names = {i.name for i in taken}
    used = [*taken, *bound(value), *value.free]

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Reduce) or not any(i.name in names for i in node.indices):
            return node
        new: dict[Index, Index] = {}
        for i in node.indices:
            new[i] = fresh(i.name, i.extent, used) if i.name in names else i
            used.append(new[i])
        return Reduce(node.kind, tuple(new.values()), rename(node.body, new))

    return transform(value, visit, Reduce)


def differentiate(trace: Trace) -> None:
    """Move every ∂ inwards until only brackets are left."""
    while Derivative in trace.current.types:
        if not trace.apply_each(calculus.MOVES) and not trace.apply(calculus.LAST):
            left = next(n for n in nodes(trace.current) if isinstance(n, Derivative))
            raise DerivationError("no rule of differentiation fits", about=left)


def _eliminate(expr: Expr, wrt: Component, setting: Setting) -> list[Piece]:
    """Clear the brackets; where an index of the target must be split by a stride, once per class."""
    waiting: list[tuple[Expr, Component, tuple[Step, ...]]] = [(expr, wrt, ())]
    pieces: list[Piece] = []
    while waiting:
        current, target, steps = waiting.pop()
        trace = Trace(current, setting, list(steps))
        trace.apply("bracket")
        while found := eliminate.find_radix(trace.current, target.free):
            trace.record("split", substitute(trace.current, {found[0]: found[1]}), found)
            target = _at(target, found)
            trace.apply("radix")
            trace.apply("bracket")
        stride = eliminate.find_stride(trace.current, target.free, setting)
        if stride is not None:
            index, s = stride
            assert isinstance(index.extent, int)
            for r in reversed(range(min(s, index.extent))):
                digit = Index(index.name, -((r - index.extent) // s))
                split = (index, Affine.of(digit) * s + r)
                branch = Trace(trace.current, setting, list(trace.steps))
                branch.record("split", substitute(branch.current, {index: split[1]}), split)
                branch.apply_each(("residues", "zero", "single"))
                waiting.append((branch.current, _at(target, split), tuple(branch.steps)))
            continue
        trace.apply_each(eliminate.ELIMINATE)
        trace.settle(algebra.TIDY)
        pieces.append(Piece(Equation(_as_gradient(target), trace.current), tuple(trace.steps)))
    return pieces


def _at(component: Component, split: tuple[Index, Affine]) -> Component:
    return Component(component.tensor, tuple(s.substitute({split[0]: split[1]}) for s in component.subscripts))


def _as_gradient(component: Component) -> Component:
    return Component(adjoint_of(component.tensor), component.subscripts)


def carried(lemma: Lemma, mapping: Mapping[Tensor, Tensor]) -> Lemma:
    """The lemma over other tensors, every step of it: what a citation with this substitution says."""
    if not mapping:
        return lemma

    def swap(expr: Expr) -> Expr:
        return replace_tensors(expr, mapping)

    def steps(old: Iterable[Step]) -> tuple[Step, ...]:
        return tuple(Step(s.rule, swap(s.before), swap(s.after), s.split) for s in old)

    wrt = swap(lemma.wrt)
    assert isinstance(wrt, Component)
    pieces = tuple(Piece(p.equation.over(mapping), steps(p.steps)) for p in lemma.pieces)
    return Lemma(
        lemma.equation.over(mapping), wrt, steps(lemma.steps), pieces,
        tuple(e.over(mapping) for e in lemma.auxiliary), tuple(e.over(mapping) for e in lemma.facts),
        lemma.signal, lemma.per_sample,
    )


def zero_gradient(tensor: Tensor) -> Equation:
    """The gradient of a tensor that the loss does not depend on."""
    taken: list[Index] = []
    for extent in tensor.shape:
        taken.append(_distinct("n" if extent == SAMPLES else "i", extent, taken))
    return Equation(Component(adjoint_of(tensor), tuple(Affine.of(i) for i in taken)), ZERO)
