"""Wrong lines made of right ones, and right lines written otherwise: what the check must refuse, and must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from chainrule.ir.expr import (
    ZERO,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    add,
    multiply,
    summed,
)
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, fresh, nodes, rename, substitute, transform

SLIGHTLY = Constant(Fraction(10_000_001, 10_000_000))


@dataclass(frozen=True)
class Mutant:
    kind: str
    value: Expr


def mutants(expr: Expr) -> Iterator[Mutant]:
    """Every mutant of an expression, one change each."""
    yield Mutant("scale by 1 + 1e-7", Multiply((SLIGHTLY, expr)))
    for node in nodes(expr):
        for kind, new in _changes(node, expr):
            value = _put(expr, node, new)
            if value is not expr and set(value.free) <= set(expr.free):
                yield Mutant(kind, value)
    plain = [i for i in expr.free if not i.is_sample]
    for i, j in combinations(plain, 2):
        if i.extent == j.extent:
            yield Mutant("wrong axis", rename(expr, {i: j, j: i}))


def _put(expr: Expr, old: Expr, new: Expr) -> Expr:
    return transform(expr, lambda node: new if node is old else node)


def _changes(node: Expr, whole: Expr) -> Iterator[tuple[str, Expr]]:
    match node:
        case Add(terms=terms):
            for n in range(len(terms)):
                yield "drop a term", add(t for m, t in enumerate(terms) if m != n)
            yield "sign of a term", Add((*terms[:-1], Multiply((Constant(Fraction(-1)), terms[-1]))))
        case Multiply(factors=factors):
            for n, factor in enumerate(factors):
                rest = multiply(f for m, f in enumerate(factors) if m != n)
                name = "drop a bracket" if isinstance(factor, Delta | Guard) else "drop a factor"
                name = "missing 1/N" if isinstance(factor, Power) and not factor.free else name
                yield name, rest
        case Reduce(kind="sum", indices=indices, body=body):
            for index in indices:
                name = "missing sum over the batch" if index.is_sample else "missing sum"
                rest = tuple(i for i in indices if i != index)
                yield name, summed(rest, substitute(body, {index: Affine()}))
        case Component(tensor=tensor, subscripts=subscripts, pad=pad):
            for n, (s, extent) in enumerate(zip(subscripts, tensor.shape, strict=True)):
                if s.terms and extent != 1 and pad != "-inf":
                    shifted = (*subscripts[:n], s + 1, *subscripts[n + 1 :])
                    yield "shift a subscript", Component(tensor, shifted, Fraction(0) if pad is None else pad)
            for n, m in combinations(range(len(subscripts)), 2):
                if tensor.shape[n] == tensor.shape[m] and subscripts[n] != subscripts[m]:
                    swapped = list(subscripts)
                    swapped[n], swapped[m] = swapped[m], swapped[n]
                    yield "swap indices", Component(tensor, tuple(swapped), pad)
            others = [i for i in (*whole.free, *bound(whole)) if not i.is_sample]
            for n, s in enumerate(subscripts):
                for other in dict.fromkeys(others):
                    if s.plain is not None and other != s.plain and other.extent == s.plain.extent:
                        changed = (*subscripts[:n], Affine.of(other), *subscripts[n + 1 :])
                        yield "wrong index", Component(tensor, changed, pad)
        case Delta(left=left, right=right):
            yield "shift a bracket", Delta(left + 1, right)
        case Guard(subscript=subscript, extent=int() as extent):
            yield "shift a range", Guard(subscript + 1, extent)
        case Power(base=base, exponent=exponent):
            yield "wrong power", Power(base, exponent + 1)
        case Apply(function=function, arguments=arguments):
            base, argument = split_derivative(function)
            if argument is not None:
                yield "function in place of its derivative", Apply(base, arguments)
            elif len(arguments) == 2:
                yield "swap arguments", Apply(function, arguments[::-1])
        case _:
            pass


# The same said otherwise.


def reformulations(expr: Expr, facts: tuple[Equation, ...] = ()) -> Iterator[tuple[str, Expr]]:
    """The expression in other words, of equal value everywhere."""
    forms: dict[str, Callable[[Expr], Expr]] = {
        "commuted factors": _commuted, "commuted terms": _reversed_terms, "renamed bound indices": _renamed,
        "distributed products": _distributed, "re-associated sums": _associated, "nested sums": _nested,
        "a zero and a one": lambda e: Add((Multiply((Constant(Fraction(1)), e)), ZERO)),
        "a definition for a forward value": lambda e: _unfolded(e, facts),
    }
    for name, form in forms.items():
        new = form(expr)
        if new is not expr:
            yield name, new


def _commuted(expr: Expr) -> Expr:
    return transform(expr, lambda n: Multiply(n.factors[::-1]) if isinstance(n, Multiply) else n)


def _reversed_terms(expr: Expr) -> Expr:
    return transform(expr, lambda n: Add(n.terms[::-1]) if isinstance(n, Add) else n)


def _renamed(expr: Expr) -> Expr:
    def visit(node: Expr) -> Expr:
        if not isinstance(node, Reduce):
            return node
        taken = [*node.body.free, *bound(node.body), *expr.free]
        new: dict[Index, Index] = {}
        for index in node.indices:
            new[index] = fresh("q", index.extent, taken)
            taken.append(new[index])
        return Reduce(node.kind, tuple(new.values()), rename(node.body, new))

    return transform(expr, visit)


def _distributed(expr: Expr) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Multiply):
            for n, factor in enumerate(node.factors):
                if isinstance(factor, Add):
                    return Add(tuple(Multiply((*node.factors[:n], t, *node.factors[n + 1 :])) for t in factor.terms))
        return node

    return transform(expr, visit)


def _associated(expr: Expr) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Add) and len(node.terms) > 2:
            return Add((node.terms[0], Add(node.terms[1:])))
        if isinstance(node, Multiply) and len(node.factors) > 2:
            return Multiply((Multiply(node.factors[:-1]), node.factors[-1]))
        return node

    return transform(expr, visit)


def _nested(expr: Expr) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Reduce) and node.kind == "sum" and len(node.indices) > 1:
            return Reduce("sum", node.indices[-1:], Reduce("sum", node.indices[:-1], node.body))
        return node

    return transform(expr, visit)


def _unfolded(expr: Expr, facts: tuple[Equation, ...]) -> Expr:
    """y_k := E_k undone: a forward value written out."""

    def visit(node: Expr) -> Expr:
        for fact in facts:
            if isinstance(node, Component) and node.tensor == fact.tensor and node.pad is None:
                pairs = zip(fact.target.subscripts, node.subscripts, strict=True)
                if all(s.plain is not None for s in fact.target.subscripts):
                    taken = [*expr.free, *bound(expr)]
                    value = _apart(fact.value, taken)
                    return substitute(value, {a.plain: b for a, b in pairs if a.plain is not None})
        return node

    return transform(expr, visit)


def _apart(value: Expr, taken: list[Index]) -> Expr:
    """The value with bound indices of names that are not taken."""
    own = {i: fresh("w", i.extent, [*taken, *value.free]) for i in bound(value)}

    def visit(node: Expr) -> Expr:
        if isinstance(node, Reduce):
            return Reduce(node.kind, tuple(own[i] for i in node.indices), rename(node.body, own))
        return node

    return transform(value, visit)


def canonical(expr: Expr) -> str:
    """A text that reordering factors and terms, and nesting them, does not change."""
    texts: dict[Expr, str] = {}

    def visit(node: Expr) -> Expr:
        match node:
            case Add(terms=terms):
                flat = [p for t in terms for p in (t.terms if isinstance(t, Add) else (t,))]
                return add(sorted(flat, key=str))
            case Multiply(factors=factors):
                flat = [p for f in factors for p in (f.factors if isinstance(f, Multiply) else (f,))]
                return multiply(sorted((f for f in flat if f is not Constant(Fraction(1))), key=str))
            case _:
                return node

    texts[expr] = str(transform(expr, visit))
    return texts[expr]
