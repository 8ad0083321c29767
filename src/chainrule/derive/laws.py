"""Laws that random values cannot obey, applied to both sides of a line that the field does not settle as it stands.

A random step s has no reason to satisfy s·s = s, nor do random shares sum to 1, nor is a random root squared its
base. These laws hold for the functions meant, so a line may be compared after they have been applied:

    s·s = s for a step; σ·σ·σ = σ for a sign; x^a · x^b = x^(a+b) for one base x ≥ 0; (x^a)^n = x^(a·n) for whole n;
    Σ_k exp(z_k − logsumexp_j z_j) = 1
"""

from __future__ import annotations

from fractions import Fraction

from chainrule.ir.expr import ONE, Add, Apply, Constant, Derivative, Expr, Multiply, Power, Reduce, multiply, summed
from chainrule.ir.index import Index
from chainrule.ir.walk import key, nodes, rename, transform

IDEMPOTENT = {"step": 1, "sign": 2}  # f·f^p = f


def normal(expr: Expr) -> Expr:
    """The expression with the laws applied, sums of products taken apart first where a law may then fit."""
    if Derivative in expr.types:
        return transform(expr, _law)
    return transform(transform(expr, _expand), _law)


def _expand(node: Expr) -> Expr:
    """a·(b + c) = a·b + a·c where a root or a step stands in both, and small whole powers of sums."""
    if isinstance(node, Power) and node.exponent in (2, 3) and isinstance(node.base, Add) and _special(node.base):
        return _expand(Multiply((node.base,) * int(node.exponent)))
    if not isinstance(node, Multiply) or not _special(node):
        return node
    factors = [g for f in node.factors for g in (f.factors if isinstance(f, Multiply) else (f,))]
    sums = [f for f in factors if isinstance(f, Add)]
    if not sums or sum(len(s.terms) for s in sums) > 12:
        return node
    products: list[tuple[Expr, ...]] = [()]
    for factor in factors:
        terms = factor.terms if isinstance(factor, Add) else (factor,)
        products = [(*p, t) for p in products for t in terms]
    return Add(tuple(_law(multiply(p)) for p in products))


def _special(node: Expr) -> bool:
    return any(
        (isinstance(n, Apply) and n.function in IDEMPOTENT)
        or (isinstance(n, Power) and n.exponent.denominator != 1)
        for n in nodes(node)
    )


def _law(node: Expr) -> Expr:
    match node:
        case Multiply(factors=factors):
            return _product(factors)
        case Power(base=Power(base=base, exponent=inner), exponent=outer) if outer.denominator == 1:
            return _power(base, inner * outer)
        case Power(base=Multiply(factors=factors), exponent=outer) if outer.denominator == 1:
            return _product(tuple(_law(Power(f, outer)) for f in factors))
        case Power(base=Apply(function=f), exponent=e) if f in IDEMPOTENT and e.denominator == 1 and e > 0:
            return _repeated(node.base, f, int(e))
        case Reduce(kind="sum", indices=indices, body=body):
            return _shares(indices, body)
        case _:
            return node


def _power(base: Expr, exponent: Fraction) -> Expr:
    return ONE if exponent == 0 else base if exponent == 1 else Power(base, exponent)


def _repeated(factor: Expr, function: str, times: int) -> Expr:
    period = IDEMPOTENT[function]
    left = (times - 1) % period + 1
    return factor if left == 1 else Power(factor, Fraction(left))


def _product(factors: tuple[Expr, ...]) -> Expr:
    flat = [g for f in factors for g in (f.factors if isinstance(f, Multiply) else (f,))]
    exponents: dict[Expr, Fraction] = {}
    for factor in flat:
        base, exponent = (factor.base, factor.exponent) if isinstance(factor, Power) else (factor, Fraction(1))
        exponents[base] = exponents.get(base, Fraction(0)) + exponent
    rest: list[Expr] = []
    for base, exponent in exponents.items():
        if isinstance(base, Apply) and base.function in IDEMPOTENT and exponent.denominator == 1 and exponent > 0:
            rest.append(_repeated(base, base.function, int(exponent)))
        elif isinstance(base, Constant) and isinstance(base.value, Fraction) and exponent.denominator == 1:
            rest.append(Constant(base.value ** int(exponent)) if base.value or exponent > 0 else Power(base, exponent))
        elif exponent:
            rest.append(_power(base, exponent))
    return multiply(rest)


def _shares(indices: tuple[Index, ...], body: Expr) -> Expr:
    """Σ_k c·exp(z_k − logsumexp_j z_j) = c"""
    factors = body.factors if isinstance(body, Multiply) else (body,)
    inside = [f for f in factors if any(i in indices for i in f.free)]
    outside = [f for f in factors if f not in inside]
    if len(inside) == 1 and _is_share(indices, inside[0]):
        return multiply(outside)
    return Reduce("sum", indices, body) if not outside or not inside else multiply(
        (*outside, summed(indices, multiply(inside)))
    )


def _is_share(indices: tuple[Index, ...], factor: Expr) -> bool:
    match factor:
        case Apply(function="exp", arguments=(Add(terms=(z, Multiply(factors=(Constant(value=value), total)))),)):
            if value != -1 or not isinstance(total, Reduce) or total.kind != "logsumexp":
                return False
            if [i.extent for i in total.indices] != [i.extent for i in indices]:
                return False
            renamed = rename(total.body, dict(zip(total.indices, indices, strict=True)))
            return key(renamed) == key(z)
        case _:
            return False
