"""The rules of algebra that tidy a line once its brackets are gone: units, constants, common factors, and
values that the forward pass has computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from fractions import Fraction

from chainrule.derive.trace import Setting, rule
from chainrule.ir.expr import (
    ONE,
    Add,
    Component,
    Constant,
    Delta,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    add,
    multiply,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, finite, hidden, iterative, key, rebuild, substitute, transform

# Tried in this order, over again until none changes anything: each makes the expression smaller or moves a
# factor outwards, so this ends.
TIDY = (
    "law", "zero", "unit", "associate", "constants", "reuse", "padding", "take_out", "like_terms", "collect", "unit",
)


@rule("unit", "1·a = a and a^1 = a", ("1*d[i]*x[k]**1", "d[i]*x[k]"))
def unit(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        match node:
            case Multiply(factors=factors) if ONE in factors:
                return multiply(f for f in factors if f is not ONE)
            case Power(base=base, exponent=r) if r == 1:
                return base
            case _:
                return node

    return transform(expr, visit, Multiply, Power) if {Constant, Power} & expr.types else expr


@rule("associate", "a·(b·c) = a·b·c and a + (b + c) = a + b + c", ("a[i]*(b[i]*x[i])", "a[i]*b[i]*x[i]"))
def associate(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        match node:
            case Multiply(factors=factors) if any(isinstance(f, Multiply) for f in factors):
                return Multiply(tuple(g for f in factors for g in (f.factors if isinstance(f, Multiply) else (f,))))
            case Add(terms=parts) if any(isinstance(t, Add) for t in parts):
                return Add(tuple(g for t in parts for g in (t.terms if isinstance(t, Add) else (t,))))
            case _:
                return node

    return transform(expr, visit, Multiply, Add)


@rule("constants", "exact arithmetic of constants", ("1/2*d[i]*2", "1*d[i]"))
def constants(expr: Expr, setting: Setting) -> Expr:
    """The rational factors of a product become one, in front."""

    def visit(node: Expr) -> Expr:
        if not isinstance(node, Multiply):
            return node
        numbers = [f.value for f in node.factors if isinstance(f, Constant) and isinstance(f.value, Fraction)]
        if len(numbers) < 2 and (not numbers or node.factors[0] is Constant(numbers[0])):
            return node
        value = Fraction(1)
        for number in numbers:
            value *= number
        rest = (f for f in node.factors if not (isinstance(f, Constant) and isinstance(f.value, Fraction)))
        return multiply((Constant(value), *rest))

    return transform(expr, visit, Multiply)


@rule("take_out", "Σ_k a·b_k = a·Σ_k b_k", ("sum[k](p[i]*d[k])", "p[i]*sum[k](d[k])"))
def take_out(expr: Expr, setting: Setting) -> Expr:
    """A factor that does not depend on the summed indices stands before the sum, unless a bracket there hides it."""

    def visit(node: Expr) -> Expr:
        match node:
            case Reduce(kind="sum", indices=indices, body=Multiply(factors=factors)):
                inside = [f for f in factors if any(i in indices for i in f.free)]
                inside += [f for f in factors if f not in inside and hidden(f, inside)]
                outside = [f for f in factors if f not in inside]
                if not outside or not inside:
                    return node
                return multiply((*outside, Reduce("sum", indices, multiply(inside))))
            case _:
                return node

    return transform(expr, visit, Reduce)


def _scaled(term: Expr) -> tuple[Fraction, tuple[Expr, ...]]:
    """A term as a rational coefficient and its other factors."""
    factors = term.factors if isinstance(term, Multiply) else (term,)
    match factors[0]:
        case Constant(value=Fraction() as value):
            return value, factors[1:]
        case _:
            return Fraction(1), factors


def _times(coefficient: Fraction, factors: tuple[Expr, ...]) -> Expr:
    if coefficient == 1 and factors:
        return multiply(factors)
    return multiply((Constant(coefficient), *factors))


@rule("like_terms", "a + a = 2·a", ("d[i]*x[i] + d[i]*x[i]", "2*d[i]*x[i]"))
def like_terms(expr: Expr, setting: Setting) -> Expr:
    if not isinstance(expr, Add):
        return expr
    groups: dict[object, tuple[Fraction, tuple[Expr, ...]]] = {}
    for term in expr.terms:
        coefficient, factors = _scaled(term)
        name = tuple(sorted(map(repr, (key(f) for f in factors))))
        before = groups.get(name, (Fraction(0), factors))
        groups[name] = (before[0] + coefficient, before[1])
    if len(groups) == len(expr.terms):
        return expr
    return add(_times(c, factors) for c, factors in groups.values() if c)


@rule("collect", "a·b + a·c = a·(b + c)", ("d[i]*p[i] - d[i]*t[i]", "d[i]*(p[i] - t[i])"))
def collect(expr: Expr, setting: Setting) -> Expr:
    """The factors that all terms share stand before the sum of what is left."""
    if not isinstance(expr, Add):
        return expr
    scaled = [_scaled(term) for term in expr.terms]
    shared = list(scaled[0][1])
    for _, factors in scaled[1:]:
        left = list(factors)
        kept: list[Expr] = []
        for f in shared:
            if f in left:
                left.remove(f)
                kept.append(f)
        shared = kept
    shared = [f for f in shared if not any(hidden(f, others) for _, others in scaled)]
    if not shared:
        return expr
    rests: list[Expr] = []
    for coefficient, factors in scaled:
        left = list(factors)
        for f in shared:
            left.remove(f)
        rests.append(_times(coefficient, tuple(left)))
    return multiply((*shared, add(rests)))


@rule("reuse", "E_k = y_k where y_k := E_k is known from the forward pass", ("d[k]*(2*x[k])", "d[k]*y[k]"))
def reuse(expr: Expr, setting: Setting) -> Expr:
    """A value that the forward pass has computed is read, not computed again.

    At a subscript that may lie outside y it is read as 0 there, where the product that it stands in is 0 anyway: beside
    the range bracket of that subscript, or as a factor beside a read there that gives 0.
    """
    facts = [f for f in (setting.equation, *setting.facts) if not isinstance(f.value, Component | Constant)]
    return _reused(expr, facts, frozenset(), frozenset()) if facts else expr


Place = tuple[Affine, Extent]
"""A subscript and the extent of the axis at which it stands."""


@iterative
def _reused(
    node: Expr, facts: Sequence[Equation], brackets: frozenset[Place], zeros: frozenset[Place]
) -> Steps[Expr]:
    """`brackets` are the places whose range brackets this stands beside: 0 outside them, whatever it is. `zeros` are
    those where a factor beside it is 0 outside, which takes a finite number to make 0 of."""
    if all(type(fact.value) not in node.types for fact in facts):
        return node
    if isinstance(node, Multiply):
        brackets |= {(f.subscript, f.extent) for f in node.factors if isinstance(f, Guard)}
        reads = [f for f in node.factors if isinstance(f, Component) and f.pad == 0]
        zeros |= {place for f in reads for place in zip(f.subscripts, f.tensor.shape, strict=True)}
    inside = zeros if finite(node) else frozenset[Place]()
    parts: list[Expr] = []
    for child in node.parts:
        parts.append((yield child, facts, brackets, inside))
    new = node if tuple(parts) == node.parts else rebuild(node, tuple(parts))
    for fact in facts:
        if type(new) is type(fact.value):
            found = match(fact, new, brackets | zeros)
            if found is not None:
                return found
    return new


def match(fact: Equation, node: Expr, covered: Set[Place] = frozenset()) -> Component | None:
    """The component of the fact's target that equals the node, where the node is the fact's right-hand side with affine
    forms in place of its indices; read as 0 outside the target where that is `covered`."""
    mapping: dict[Index, Affine] = {}
    if not _unify(fact.value, node, mapping, {}, frozenset(fact.indices)) or set(mapping) != set(fact.indices):
        return None
    found = substitute(fact.target, mapping)
    assert isinstance(found, Component)
    outside = [(s, e) for s, e in zip(found.subscripts, found.tensor.shape, strict=True) if not s.within(e)]
    if not all(place in covered for place in outside):
        return None
    return Component(found.tensor, found.subscripts, Fraction(0)) if outside else found


@iterative
def _unify(
    pattern: Expr, node: Expr, mapping: dict[Index, Affine], binders: Mapping[Index, Index], free: frozenset[Index]
) -> Steps[bool]:
    if type(pattern) is not type(node):
        return False
    match pattern, node:
        case Component(), Component():
            # Where the fact holds, a read without padding is in range, and padding changes nothing.
            if pattern.tensor != node.tensor or len({pattern.pad, node.pad} - {None}) > 1:
                return False
            pairs = zip(pattern.subscripts, node.subscripts, strict=True)
            return all(_unify_affine(a, b, mapping, binders, free) for a, b in pairs)
        case Reduce(), Reduce():
            if pattern.kind != node.kind or [i.extent for i in pattern.indices] != [i.extent for i in node.indices]:
                return False
            inner = {**binders, **dict(zip(pattern.indices, node.indices, strict=True))}
            return (yield pattern.body, node.body, mapping, inner, free)
        case (Constant() | Size() | Delta() | Guard()), _:
            return pattern is node
        case _:
            parts, others = pattern.parts, node.parts
            if len(parts) != len(others) or rebuild(node, parts) is not pattern:
                return False
            for a, b in zip(parts, others, strict=True):
                if not (yield a, b, mapping, binders, free):
                    return False
            return True


def _unify_affine(
    a: Affine, b: Affine, mapping: dict[Index, Affine], binders: Mapping[Index, Index], free: frozenset[Index]
) -> bool:
    """Whether a is b for values of the free indices, of which at most one is not known yet: i + 1 = h for i = h − 1."""
    unknown = [(i, c) for i, c in a.terms if i in free and i not in binders and i not in mapping]
    known = Affine(tuple(t for t in a.terms if t not in unknown), a.offset)
    rest = b - known.substitute({**mapping, **{i: Affine.of(j) for i, j in binders.items()}})
    if not unknown:
        return not rest.terms and not rest.offset
    (index, c), *others = unknown
    if others or rest.offset % c or any(k % c or i in binders.values() for i, k in rest.terms):
        return False
    mapping[index] = Affine(tuple((i, k // c) for i, k in rest.terms), rest.offset // c)
    return True
