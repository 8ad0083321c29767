"""Networks that differ in one thing from a derived one, derived anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from chainrule.derive.adjoint import Derivation, derive_program
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Expr,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
    add,
    is_position,
    multiply,
    summed,
)
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation, averaged


def activation(equation: Equation) -> str | None:
    """The function that the equation applies to each entry of a tensor, if that is all it does."""
    match equation.value:
        case Apply(function=function, arguments=(Component(),)) if function in CATALOGUE:
            return function
        case _:
            return None


def with_function(derivation: Derivation, old: str, new: str) -> Derivation:
    """The network with the activation `new` wherever it has `old`."""

    def put(equation: Equation) -> Equation:
        match equation.value:
            case Apply(arguments=arguments) if activation(equation) == old:
                return Equation(equation.target, Apply(new, arguments))
            case _:
                return equation

    return _derived(derivation, map(put, _computed(derivation)))


def with_sum(derivation: Derivation) -> Derivation | None:
    """The network whose loss is the sum over the samples, where it is their mean (and perhaps more)."""

    def put(term: Expr) -> Expr:
        match term:
            case Multiply(factors=(Power(base=Size(), exponent=r), Reduce() as total)) if r == -1:
                return total
            case _:
                return term

    loss = _loss(derivation)
    if loss is None or averaged(loss) is None:
        return None
    return _derived(derivation, _with(derivation, Equation(loss.target, add(map(put, _terms(loss))))))


def with_decay(derivation: Derivation, weight: Tensor, strength: Fraction) -> Derivation | None:
    """The network whose loss has (λ/2)·Σ W² in it besides, with λ = `strength`; nothing where there is no loss."""
    loss = _loss(derivation)
    if loss is None:
        return None
    indices = tuple(Index(f"{'ijkl'[n % 4]}{n // 4 or ''}", extent) for n, extent in enumerate(weight.shape))
    square = Power(Component(weight, tuple(map(Affine.of, indices))), Fraction(2))
    penalty = multiply((Constant(strength / 2), summed(indices, square)))
    return _derived(derivation, _with(derivation, Equation(loss.target, Add((*_terms(loss), penalty)))))


def by_alone(derivation: Derivation, wanted: Iterable[Tensor]) -> Derivation:
    """The network, derived for the gradients by these tensors alone."""
    return _derived(derivation, _computed(derivation), [t.name for t in wanted])


def _computed(derivation: Derivation) -> Iterable[Equation]:
    """The forward equations without the positions that the backward pass has added."""
    return (e for e in derivation.forward.equations if not is_position(e.tensor))


def _loss(derivation: Derivation) -> Equation | None:
    return next((e for e in derivation.forward.equations if e.tensor == derivation.loss), None)


def _terms(equation: Equation) -> tuple[Expr, ...]:
    return equation.value.terms if isinstance(equation.value, Add) else (equation.value,)


def _with(derivation: Derivation, loss: Equation) -> Iterable[Equation]:
    return (loss if e.tensor == loss.tensor else e for e in _computed(derivation))


def _derived(
    derivation: Derivation, equations: Iterable[Equation], wanted: Iterable[str] | None = None
) -> Derivation:
    """The derivation of these equations for the gradients of the other, or for those by the tensors named."""
    program = replace(derivation.forward, equations=tuple(equations))
    wrt = [program.tensor(name) for name in wanted or derivation.gradients]
    return derive_program(program, derivation.loss, wrt, layers=derivation.layers, letters=derivation.letters)
