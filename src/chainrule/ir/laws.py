"""Laws of scalar functions: a derivative written out, and a sign read elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from chainrule.ir.expr import Apply, Component, Constant, Expr, Multiply, Reduce, Tensor
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.parse import bound
from chainrule.ir.program import Equation
from chainrule.ir.walk import transform


@lru_cache(4096)
def expanded(node: Apply) -> Expr:
    """d1_g(a) as the catalogue's law over a and g(a); relu(a) and its kind as they are composed."""
    function, argument = split_derivative(node.function)
    arguments = dict(zip("xy", node.arguments, strict=False))
    if argument is None:
        return bound(CATALOGUE[function].composed, arguments)
    return bound(CATALOGUE[function].laws[argument], {**arguments, "f": Apply(function, node.arguments)})


def logarithm(term: Expr) -> tuple[Reduce | None, int]:
    """The logarithm of a sum of exponentials that a term of a sum is, and its sign. In floating point it is added as
    two terms, its greatest entry at its place, which others may cancel, and what is left when all are there."""
    match term:
        case Reduce(kind="logsumexp"):
            return term, 1
        case Multiply(factors=(Constant() as sign, Reduce(kind="logsumexp") as node)) if sign.value == -1:
            return node, -1
        case _:
            return None, 1


def signs_read_from_relu(equations: Iterable[Equation]) -> list[Equation]:
    """The equations with step(x) read as step(relu(x)) wherever relu(x) was computed before: the two are equal, since
    step(0) = 0, and what is rectified need not be kept for the way back."""
    rectified: dict[Tensor, Tensor] = {}

    def read(node: Expr) -> Expr:
        match node:
            case Apply(function="step", arguments=(Component(tensor=x, subscripts=subscripts, pad=None),)) if (
                x in rectified
            ):
                return Apply("step", (Component(rectified[x], subscripts),))
            case _:
                return node

    result: list[Equation] = []
    for equation in equations:
        result.append(Equation(equation.target, transform(equation.value, read)))
        target = equation.target
        match equation.value:
            case Apply(function="relu", arguments=(Component(tensor=x, subscripts=subscripts, pad=None),)) if (
                subscripts == target.subscripts and all(s.plain is not None for s in subscripts)
            ):
                rectified[x] = target.tensor
            case _:
                pass
    return result
