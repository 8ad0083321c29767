"""The rules of algebra that tidy a line once its brackets are gone: units, constants, common factors, and
values that the forward pass has computed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from chainrule.derive.trace import Setting, rule
from chainrule.ir.expr import ONE, Add, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, add, multiply
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, children, iterative, key, rebuild, substitute, transform

# Tried in this order, over again until none changes anything: each makes the expression smaller or moves a
# factor outwards, so this ends.
TIDY = ("law", "zero", "unit", "associate", "constants", "reuse", "take_out", "like_terms", "collect", "unit")


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

    return transform(expr, visit, Multiply, Power)


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
    """A factor that does not depend on the summed indices stands before the sum."""

    def visit(node: Expr) -> Expr:
        match node:
            case Reduce(kind="sum", indices=indices, body=Multiply(factors=factors)):
                outside = [f for f in factors if not any(i in indices for i in f.free)]
                inside = [f for f in factors if any(i in indices for i in f.free)]
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
    """A value that the forward pass has computed is read, not computed again."""
    facts = [f for f in (setting.equation, *setting.facts) if not isinstance(f.value, Component | Constant)]

    def visit(node: Expr) -> Expr:
        for fact in facts:
            if type(node) is type(fact.value):
                found = match(fact, node)
                if found is not None:
                    return found
        return node

    return transform(expr, visit)


def match(fact: Equation, node: Expr) -> Component | None:
    """The component of the fact's target that equals the node, where the node is the fact's right-hand
    side with affine forms in place of its indices."""
    mapping: dict[Index, Affine] = {}
    if not _unify(fact.value, node, mapping, {}, frozenset(fact.indices)) or set(mapping) != set(fact.indices):
        return None
    found = substitute(fact.target, mapping)
    assert isinstance(found, Component)
    inside = all(s.within(e) for s, e in zip(found.subscripts, found.tensor.shape, strict=True))
    return found if inside else None


@iterative
def _unify(
    pattern: Expr, node: Expr, mapping: dict[Index, Affine], binders: Mapping[Index, Index], free: frozenset[Index]
) -> Steps[bool]:
    if type(pattern) is not type(node):
        return False
    match pattern, node:
        case Component(), Component():
            if pattern.tensor != node.tensor or pattern.pad != node.pad:
                return False
            pairs = zip(pattern.subscripts, node.subscripts, strict=True)
            return all(_unify_affine(a, b, mapping, binders, free) for a, b in pairs)
        case Reduce(), Reduce():
            if pattern.kind != node.kind or [i.extent for i in pattern.indices] != [i.extent for i in node.indices]:
                return False
            inner = {**binders, **dict(zip(pattern.indices, node.indices, strict=True))}
            return (yield pattern.body, node.body, mapping, inner, free)
        case (Constant() | Delta() | Guard()), _:
            return pattern is node
        case _:
            parts, others = children(pattern), children(node)
            if len(parts) != len(others) or rebuild(node, parts) is not pattern:
                return False
            for a, b in zip(parts, others, strict=True):
                if not (yield a, b, mapping, binders, free):
                    return False
            return True


def _unify_affine(
    a: Affine, b: Affine, mapping: dict[Index, Affine], binders: Mapping[Index, Index], free: frozenset[Index]
) -> bool:
    index = a.plain
    if index is not None and index in free and index not in binders:
        if any(i in binders.values() for i in b.indices):
            return False
        return mapping.setdefault(index, b) == b
    if any(i in free for i in a.indices):
        return False
    return a.substitute({i: Affine.of(j) for i, j in binders.items()}) == b
