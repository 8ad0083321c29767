"""What several equations of a step compute within them, as tensors of its own: computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from chainrule.ir.expr import Add, Constant, Expr, Multiply, Reduce
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes, transform
from chainrule.loops.made import Identity, Parts, identity, inner, nameable

MINUS = Constant(Fraction(-1))


def shared(equations: Sequence[Equation]) -> list[Equation]:
    """The equations in which each logarithm of a sum of exponentials that occurs again, or inside of a reduction over
    what it depends on, is the sum of two tensors, its greatest entry and what is left: a softmax and its cross-entropy
    take the same ones. Where the logarithm is a term of a sum the two are terms of it, what is left the last: others
    may cancel the greatest entry."""
    greatest, left = Parts("greatest"), Parts("left")
    result = [*equations]
    while chosen := _innermost(result):
        before, result = result, list[Equation]()
        for equation in before:
            parts: dict[Expr, tuple[Expr, Expr]] = {}
            for node in nodes(equation.value):
                if isinstance(node, Reduce) and node.kind == "logsumexp" and identity(node) in chosen:
                    great, new = greatest.point(node, equation.tensor)
                    small, _ = left.point(node, equation.tensor)
                    if new:
                        result.append(Equation(great, Reduce("max", node.indices, node.body)))
                        result.append(Equation(small, Add((node, Multiply((MINUS, great))))))
                    parts[node] = great, small
            result.append(Equation(equation.target, _with(equation.value, parts)) if parts else equation)
    return result


def _innermost(equations: Sequence[Equation]) -> set[Identity]:
    """The logarithms that are to be tensors and have no other one of these in them."""
    times = Counter[Identity]()
    inside: set[Identity] = set()
    found: dict[Reduce, Identity] = {}
    for equation in equations:
        for node in nodes(equation.value):
            if isinstance(node, Reduce) and node.kind == "logsumexp" and nameable(node):
                times[found.setdefault(node, identity(node))] += 1
        inside.update(found[node] for node in inner(equation.value) if node in found)
    wanted = {node: what for node, what in found.items() if times[what] > 1 or what in inside}
    return {what for node, what in wanted.items() if not any(n in wanted for n in nodes(node.body))}


def _with(value: Expr, parts: dict[Expr, tuple[Expr, Expr]]) -> Expr:
    """The value with the two parts of each node in its place."""
    wholes: dict[Expr, tuple[Expr, Expr]] = {Add(pair): pair for pair in parts.values()}

    def put(node: Expr) -> Expr:
        if node in parts:
            return Add(parts[node])
        if not isinstance(node, Add) or node in wholes:
            return node
        terms: list[Expr] = []
        late: list[Expr] = []
        for term in node.terms:
            match term:
                case Multiply(factors=(Constant() as sign, whole)) if sign is MINUS and whole in wholes:
                    great, small = (Multiply((MINUS, part)) for part in wholes[whole])
                case _ if term in wholes:
                    great, small = wholes[term]
                case _:
                    terms.append(term)
                    continue
            terms.append(great)
            late.append(small)
        return Add((*terms, *late))

    return transform(value, put)
