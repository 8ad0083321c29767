"""Layers that people know by one formula: the gradient by all paths through a layer, folded into one line.

Batch normalisation reads its input three times: itself, in the mean and in the variance. A *fold* adds the shares of
all these uses, puts in the gradients of the tensors between (mean and variance) until only the error signal of what
leaves the layer is left, drops the sums that vanish by what the forward pass computes, Σ_n (x_n − m) = 0 for the mean
m, and names the values that the formula takes up again, σ = √(v + ε) and x̂ = (x − m)/σ. What comes out for batch
normalisation is g/(N·σ)·(N·δ − Σ δ − x̂·Σ δ·x̂) (Ioffe & Szegedy, ICML 2015, §3, with its six lines folded).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm, prod

from chainrule.derive import algebra
from chainrule.derive.adjoint import Derivation, Gradient, Use
from chainrule.derive.lemma import adjoint_of, rename_bound
from chainrule.derive.trace import Rule, Setting, Step, Trace
from chainrule.errors import DerivationError
from chainrule.ir.expr import (
    LOSS,
    ONE,
    ZERO,
    Add,
    Component,
    Constant,
    Derivative,
    Expr,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
    add,
    derived,
    multiply,
    origin,
)
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation, Program, reads
from chainrule.ir.walk import bound, components, key, nodes, substitute, transform

ROOT, QUOTIENT = "root", "quotient"
"""Roles of the named values: σ = √(v + ε), and x̂ = (x − m)/σ."""
ROUNDS = 20  # of rules that each make a line smaller or move a factor outwards


def is_root(tensor: Tensor) -> bool:
    """Whether it is a value that a fold names, the root and not the quotient by it."""
    return tensor.role is not None and tensor.role.kind == ROOT


@dataclass(frozen=True)
class Fold:
    """The share of one layer in ∂ℓ/∂x, from the error signals of what leaves the layer.

    `uses` are those of x in the layer, `inner` the gradients that are put in, `forward` the equations that are folded,
    `names` those of the values that the formula names. `whole` says that x is used nowhere else.
    """

    target: Component
    uses: tuple[Use, ...]
    inner: tuple[Gradient, ...]
    forward: tuple[Equation, ...]
    names: tuple[Equation, ...]
    steps: tuple[Step, ...]
    whole: bool

    @property
    def result(self) -> Expr:
        return self.steps[-1].after

    @property
    def shares(self) -> Expr:
        """What the result is in the backward program: the gradient, or the sum of the shares of these uses."""
        if self.whole:
            return Component(adjoint_of(self.target.tensor), self.target.subscripts)
        return self.steps[0].after

    @property
    def sinks(self) -> tuple[Equation, ...]:
        """The equations of what leaves the layer."""
        read = {t for e in self.forward for t in e.value.tensors}
        return tuple(e for e in self.forward if e.tensor not in read)

    @property
    def involved(self) -> tuple[Use, ...]:
        """The uses whose shares are put together."""
        return (*(use for gradient in self.inner for use in gradient.uses), *self.uses)

    @property
    def cited(self) -> tuple[Equation, ...]:
        """What the steps put in: the shares of x's uses, and the gradients between."""
        return (*(use.equations[0] for use in self.uses), *map(_total, self.inner))

    @cached_property
    def backward(self) -> tuple[Equation, ...]:
        """The equations of the backward program in whose place the result stands, but for the sum of all x's shares."""
        sums = [gradient.sum for gradient in self.inner if gradient.sum is not None]
        return (*(e for use in self.involved for e in use.equations), *sums)

    @property
    def region(self) -> Program:
        """The folded equations as a program of their own."""
        defined = {e.tensor for e in self.forward}
        given = tuple(t for t in reads(self.forward) if t not in defined)
        return Program(self.forward, given, outputs=tuple(e.tensor for e in self.sinks))


def folds(derivation: Derivation) -> tuple[Fold, ...]:
    """The folds of a derivation in the order of the backward pass: of tensors that a layer uses several times, where
    one formula is shorter than the lines in whose place it stands."""
    order = {e.tensor: -n for n, e in enumerate(derivation.forward.equations)}
    found: list[Fold] = []
    for part in derivation.parts.values():
        layers = dict.fromkeys(_layer(derivation, use.equation) for use in part.uses)
        for layer in layers:
            uses = tuple(use for use in part.uses if _layer(derivation, use.equation) == layer)
            if len(uses) > 1 and (fold := _fold(derivation, part, uses, layer)) is not None:
                found.append(fold)
    inside = {gradient.tensor for fold in found for gradient in fold.inner}
    kept = [fold for fold in found if fold.target.tensor not in inside]
    kept += [also for fold in kept if fold.names for also in _beside(derivation, fold)]
    return tuple(sorted(kept, key=lambda fold: min(order[e.tensor] for e in fold.sinks)))


def _beside(derivation: Derivation, fold: Fold) -> Iterator[Fold]:
    """The gradients by what else the layer reads, a scale, that are shorter with the values that its fold names."""
    inner = {gradient.tensor for gradient in fold.inner}
    for part in derivation.parts.values():
        use = part.uses[0] if len(part.uses) == 1 else None
        if use is None or part.tensor in inner or use.equation not in fold.sinks or not use.lemma.whole:
            continue
        target = Component(part.tensor, use.equations[0].target.subscripts)
        steps = _steps(target, (use,), (), fold.forward, fold.names)
        if _size(steps[-1].after) < _size(use.equations[0].value):
            yield Fold(target, (use,), (), fold.forward, _read(fold.names, steps[-1].after), steps, True)


def in_place(derivation: Derivation) -> tuple[Equation, ...]:
    """The backward program with each fold in the place of the lines that it folds, the named values before it."""
    whole = [fold for fold in derivation.folds if fold.whole]
    last = {adjoint_of(fold.target.tensor): fold for fold in whole}
    gone = {e.tensor for fold in whole for e in fold.backward} - set(last)
    named: dict[Tensor, Equation] = {}
    found: list[Equation] = []
    for equation in derivation.backward.equations:
        fold = last.get(equation.tensor)
        if fold is not None:
            found += [name for name in fold.names if name.tensor not in named]
            named |= {name.tensor: name for name in fold.names}
            target = Component(equation.tensor, fold.target.subscripts)
            found.append(Equation(target, fold.result))
        elif equation.tensor not in gone:
            found.append(equation)
    return tuple(found)


def _layer(derivation: Derivation, equation: Equation) -> str | None:
    return derivation.layers.get(origin(equation.tensor).name)


def _fold(derivation: Derivation, part: Gradient, uses: tuple[Use, ...], layer: str | None) -> Fold | None:
    inner = _between(derivation, part.tensor, layer)
    involved = [*uses, *(use for gradient in inner for use in gradient.uses)]
    if not inner or not all(use.lemma.whole and len(use.equations) == 1 for use in involved):
        return None
    between = {adjoint_of(gradient.tensor) for gradient in inner}
    values = [use.equations[0].value for use in involved]
    if any(c.pad is not None and c.tensor in between for value in values for c in components(value)):
        return None
    reached = {use.equation.tensor for use in involved}
    forward = tuple(e for e in derivation.forward.equations if e.tensor in reached)
    if any(s.plain is None for e in forward for s in e.target.subscripts):
        return None  # a reshape, or one piece of a tensor
    leaving = reached - {gradient.tensor for gradient in inner}
    if any(not leaving.isdisjoint(e.value.tensors) for e in forward):
        return None  # an error signal that stays would hold the paths which are folded
    target = Component(part.tensor, uses[0].equations[0].target.subscripts)
    names = _names(forward, part.tensor, {gradient.tensor for gradient in inner})
    steps = _steps(target, uses, inner, forward, names)
    fold = Fold(target, uses, inner, forward, _read(names, steps[-1].after), steps, len(uses) == len(part.uses))
    return fold if _size(fold.result) < _size(*(e.value for e in fold.backward), fold.steps[0].after) else None


def _between(derivation: Derivation, x: Tensor, layer: str | None) -> tuple[Gradient, ...]:
    """The gradients that only lead to that of x: of tensors that the layer computes of x, reads itself and keeps to
    itself. One from which a parameter's gradient is computed too is none of them: it is needed anyway."""
    here = [e for e in derivation.forward.equations if _layer(derivation, e) == layer]
    through: dict[Tensor, set[Tensor]] = {}
    for part in derivation.parts.values():
        for use in part.uses:
            through.setdefault(use.equation.tensor, set()).add(use.tensor)
    inner = {
        e.tensor for e in here
        if e.tensor != x and e.tensor in through and (part := derivation.parts.get(e.tensor.name)) and part.uses
        and all(_layer(derivation, use.equation) == layer for use in part.uses)
    }
    while any(left := [t for t in inner if not through[t] <= {x, *inner}]):
        inner.difference_update(left)
    return tuple(derivation.parts[e.tensor.name] for e in here if e.tensor in inner)


def _size(*values: Expr) -> int:
    return sum(1 for value in values for _ in nodes(value))


# The steps. ---------------------------------------------------------------------------------------


def _steps(
    target: Component, uses: tuple[Use, ...], inner: tuple[Gradient, ...], forward: tuple[Equation, ...],
    names: tuple[Equation, ...],
) -> tuple[Step, ...]:
    """From ∂ℓ/∂x to the folded formula."""
    setting = Setting(forward[-1], target, adjoint_of(forward[-1].tensor), facts=(*forward, *names))
    trace = Trace(Derivative(Component(LOSS, ()), target), setting)
    shares = add(Component(use.contribution, target.subscripts) for use in uses)
    if len(uses) > 1:
        trace.record("uses", shares)
    trace.record("cite", put(shares, {use.contribution: use.equations[0] for use in uses}))
    for gradient in inner:
        total = _total(gradient)
        trace.record("cite", put(trace.current, {total.tensor: total}))
        _settle(trace, ("vanish", "zero"))
    _settle(trace, (ROOT, QUOTIENT, *("associate", "constants", "zero", "powers", "take_out", "like_terms", "unit")))
    _settle(trace, ("collect", "associate", "denominator", "constants", "unit"))
    return tuple(trace.steps)


def _total(gradient: Gradient) -> Equation:
    """A gradient as the sum of the shares of its uses, each as its lemma has it."""
    own = Component(adjoint_of(gradient.tensor), gradient.uses[0].equations[0].target.subscripts)
    return Equation(own, add(_at(use.equations[0], own.subscripts) for use in gradient.uses))


def _settle(trace: Trace, ids: Iterable[str]) -> None:
    """The rules in order, again until none changes anything: each leaves fewer of what it looks for."""
    for _ in range(ROUNDS):
        before = trace.current
        for id in ids:
            if id in FOLDING:
                trace.record(id, FOLDING[id].apply(trace.current, trace.setting))
            else:
                trace.apply(id)
        if trace.current is before:
            return
    raise DerivationError("the rules that fold a layer find no end", about=trace.setting.equation)


def put(expr: Expr, equations: Mapping[Tensor, Equation]) -> Expr:
    """The right-hand sides in place of the components that they define."""

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Component) or node.tensor not in equations:
            return node
        value = rename_bound(equations[node.tensor].value, [*bound(expr), *expr.free])
        return _at(Equation(equations[node.tensor].target, value), node.subscripts)

    return transform(expr, visit, Component)


def _at(equation: Equation, subscripts: Iterable[Affine]) -> Expr:
    """The right-hand side where the left has these subscripts."""
    own = [s.plain for s in equation.target.subscripts]
    return substitute(equation.value, {i: s for i, s in zip(own, subscripts, strict=True) if i is not None})


# Names. -------------------------------------------------------------------------------------------


def _names(forward: Iterable[Equation], x: Tensor, inner: set[Tensor]) -> tuple[Equation, ...]:
    """σ = √(v + ε) and x̂ = (x − m)/σ, where what leaves the layer is read from a quotient by a root, of x and what
    the layer computes of it alone."""
    own = {x, *inner}
    for equation in forward:
        if equation.tensor in inner:
            continue
        value = equation.value
        for term in value.terms if isinstance(value, Add) else (value,):
            factors = term.factors if isinstance(term, Multiply) else (term,)
            free = [f for f in factors if f.tensors and own.issuperset(f.tensors)]
            roots = [f for f in free if isinstance(f, Power) and f.exponent == Fraction(-1, 2)]
            above = [f for f in free if f not in roots]
            if len(roots) == 1 and above:
                return _quotient(equation, roots[0].base, multiply(above))
    return ()


def _quotient(equation: Equation, base: Expr, above: Expr) -> tuple[Equation, ...]:
    """σ of `base` and x̂ of what stands above it, over their own indices in the order of the equation's."""

    def over(role: str, value: Expr) -> Component:
        indices = tuple(i for i in equation.indices if i in value.free)
        tensor = derived(role, equation.tensor, shape=tuple(i.extent for i in indices), dtype="real")
        return Component(tensor, tuple(Affine.of(i) for i in indices))

    root = Equation(over(ROOT, base), Power(base, Fraction(1, 2)))
    value = Multiply((above, Power(root.target, Fraction(-1))))
    return root, Equation(over(QUOTIENT, value), value)


def _read(names: tuple[Equation, ...], result: Expr) -> tuple[Equation, ...]:
    """The names that the result reads, and those that they are made of."""
    wanted = set(result.tensors)
    for name in reversed(names):
        wanted |= set(name.value.tensors) if name.tensor in wanted else set()
    return tuple(name for name in names if name.tensor in wanted)


# Rules that only folds need. -----------------------------------------------------------------------


def _vanish(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        match node:
            case Reduce(kind="sum", indices=indices, body=Add(terms=(a, Multiply(factors=(Constant(value=c), mean))))):
                if c == -1 and isinstance(mean, Component) and not set(mean.free) & set(indices):
                    facts = [f for f in setting.facts if f.tensor == mean.tensor]
                    if any(_is_mean(_at(f, mean.subscripts), indices, a) for f in facts):
                        return ZERO
                return node
            case _:
                return node

    return transform(expr, visit, Reduce)


def _is_mean(value: Expr, indices: tuple[Index, ...], body: Expr) -> bool:
    """Whether a value is 1/M Σ_k a_k over the M values of these indices."""
    if not isinstance(value, Multiply) or not isinstance(total := value.factors[-1], Reduce):
        return False
    numbers, sizes = _scale(value.factors[:-1])
    named = sorted(i.extent for i in indices if isinstance(i.extent, str))
    count = prod(i.extent for i in indices if isinstance(i.extent, int))
    ours = Reduce("sum", indices, body)
    return numbers == Fraction(1, count) and sorted(sizes) == named and key(total) == key(ours)


def _scale(factors: Iterable[Expr]) -> tuple[Fraction | None, list[str]]:
    """The rational number and the sizes below it that factors are; no number where they are anything else."""
    number, sizes = Fraction(1), list[str]()
    for factor in factors:
        match factor:
            case Constant(value=Fraction() as value):
                number *= value
            case Power(base=Size(extent=extent), exponent=exponent) if exponent == -1:
                sizes.append(extent)
            case _:
                return None, sizes
    return number, sizes


def _root(expr: Expr, setting: Setting) -> Expr:
    roots = [f for f in setting.facts if is_root(f.tensor)]

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Power)
        for fact in roots:
            assert isinstance(fact.value, Power)
            same = algebra.match(Equation(fact.target, fact.value.base), node.base)
            if same is not None:
                return Power(same, node.exponent / fact.value.exponent)
        return node

    return transform(expr, visit, Power) if roots else expr


def _of_quotient(expr: Expr, setting: Setting) -> Expr:
    known = [f for f in setting.facts if f.tensor.role is not None and f.tensor.role.kind == QUOTIENT]

    def visit(node: Expr) -> Expr:
        for fact in known:
            assert isinstance(fact.value, Multiply)
            above, below = fact.value.factors
            assert isinstance(below, Power) and isinstance(below.base, Component)
            found = algebra.match(Equation(fact.target, above), node) if type(node) is type(above) else None
            if found is not None:
                own = [s.plain for s in fact.target.subscripts]
                at = {i: s for i, s in zip(own, found.subscripts, strict=True) if i is not None}
                return Multiply((found, substitute(below.base, at)))
        return node

    return transform(expr, visit) if known else expr


def _powers(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        assert isinstance(node, Multiply)
        exponents: dict[Expr, Fraction] = {}
        for factor in node.factors:
            base, exponent = (factor.base, factor.exponent) if isinstance(factor, Power) else (factor, Fraction(1))
            exponents[base] = exponents.get(base, Fraction(0)) + exponent
        split = {f.base for f in node.factors if isinstance(f, Power)}
        if len(exponents) == len(node.factors) or not split:
            return node
        return multiply(b if e == 1 else Power(b, e) for b, e in exponents.items() if e)

    return transform(expr, visit, Multiply)


def _denominator(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        assert isinstance(node, Add)
        terms = [t.factors if isinstance(t, Multiply) else (t,) for t in node.terms]
        below = [_below(factors) for factors in terms]
        number = lcm(*(n for n, _ in below))
        sizes = {size: max(own.get(size, 0) for _, own in below) for _, each in below for size in each}
        if number == 1 and not sizes:
            return node
        scaled: list[Expr] = []
        for factors, (own, divided) in zip(terms, below, strict=True):
            first = factors[0].value if isinstance(factors[0], Constant) else None
            numerator = first.numerator * (number // own) if isinstance(first, Fraction) else number
            missing = [_raised(size, times - divided.get(size, 0)) for size, times in sizes.items()]
            kept = [f for f in factors[isinstance(first, Fraction) :] if not _is_size_below(f)]
            kept.sort(key=lambda f: isinstance(f, Reduce))  # no sum takes in what stands behind it
            front = [Constant(Fraction(numerator))] if numerator != 1 else []
            scaled.append(multiply((*front, *(m for m in missing if m is not ONE), *kept)))
        scaled.sort(key=_size)
        front = [Constant(Fraction(1, number))] if number != 1 else []
        return multiply((*front, *(_raised(size, -times) for size, times in sizes.items()), Add(tuple(scaled))))

    return transform(expr, visit, Add)


def _raised(size: str, times: int) -> Expr:
    return ONE if not times else Size(size) if times == 1 else Power(Size(size), Fraction(times))


def _is_size_below(factor: Expr) -> bool:
    inverse = isinstance(factor, Power) and factor.exponent < 0 and factor.exponent.denominator == 1
    return isinstance(factor, Power) and inverse and isinstance(factor.base, Size)


def _below(factors: tuple[Expr, ...]) -> tuple[int, dict[str, int]]:
    """The number that a product is divided by, and how often each size."""
    first = factors[0]
    number = first.value.denominator if isinstance(first, Constant) and isinstance(first.value, Fraction) else 1
    sizes: dict[str, int] = {}
    for factor in factors:
        if isinstance(factor, Power) and isinstance(factor.base, Size) and _is_size_below(factor):
            sizes[factor.base.extent] = sizes.get(factor.base.extent, 0) - int(factor.exponent)
    return number, sizes


FOLDING = {
    rule.id: rule
    for rule in (
        Rule("vanish", "Σ_k (a_k − m) = 0 where m = (1/M) Σ_k a_k", ("sum[n](x[n, c] - m[c])", "0"), _vanish),
        Rule(ROOT, "a^r = σ^(2r) where σ = √a", ("(v[c] + 1)**(-3/2)", "s[c]**(-3)"), _root),
        Rule(QUOTIENT, "a = x̂·σ where x̂ = a/σ", ("x[n, c] - m[c]", "h[n, c]*s[c]"), _of_quotient),
        Rule("powers", "a^r·a^s = a^(r+s)", ("s[c]**(-3)*s[c]*s[c]", "s[c]**(-1)"), _powers),
        Rule("denominator", "a + b/M = (M·a + b)/M", ("d[n] + N**-1*u[n]", "N**-1*(u[n] + N*d[n])"), _denominator),
    )
}
"""Rules by their ids. The first reads facts of the forward pass, the next two the names."""
