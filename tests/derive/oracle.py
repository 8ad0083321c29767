"""The oracles that judge a derivation: exact identities over GF(p), and forward-mode dual numbers.

Neither uses the adjoint rules: a gradient is compared with the tangent of the original program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.derive import Derivation, Lemma, Step
from chainrule.ir.expr import LOSS, Component, Derivative, Multiply, is_gradient, summed
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import nodes, substitute
from chainrule.semantics import field, prime
from chainrule.semantics.evaluator import Evaluator

Values = dict[str, NDArray[Any]]


def point(program: Program, extents: Mapping[str, int], seed: int, ranges: Mapping[str, int] | None = None) -> Values:
    """Random field values of what the program is given, and the values that it computes from them."""
    given = field.random_values(program.given, extents, seed, ranges or {})
    return {name: value for name, (value, _) in field.execute(program, given, seed=seed, extents=extents).items()}


def gradients_are_exact(
    derivation: Derivation, extents: Mapping[str, int], seed: int, ranges: Mapping[str, int] | None = None
) -> bool:
    """Whether ⟨gradient, direction⟩ equals the tangent of the loss along a random direction, in GF(p)."""
    forward = derivation.forward
    given = field.random_values(forward.given, extents, seed, ranges or {})
    wrt = [forward.tensor(name) for name in derivation.gradients]
    direction = field.random_values(wrt, extents, seed + 1)
    run = field.execute(forward, given, seed=seed, tangents=direction, extents=extents)
    loss = [derivation.loss] if derivation.loss is not None else list(forward.outputs)
    signals = [t for t in derivation.joint.inputs if is_gradient(t)]
    drawn = field.random_values(signals, extents, seed + 2)
    expected = 0
    for tensor in loss:
        value, tangent = run[tensor.name]
        weight = drawn.get(f"δ({tensor.name})", prime.elements(np.ones(value.shape, dtype=np.int64)))
        expected += prime.dot(weight, tangent)
    joint = field.execute(derivation.joint, {**given, **drawn}, seed=seed, extents=extents)
    found = sum(prime.dot(joint[g.name][0], direction[name]) for name, g in derivation.gradients.items())
    return expected % prime.PRIME == found % prime.PRIME


def false_steps(
    lemma: Lemma, forward: Program, extents: Mapping[str, int], seed: int, ranges: Mapping[str, int] | None = None
) -> list[Step]:
    """The steps of a lemma whose two sides differ at a random point of GF(p).

    Where the equation's target is a mixed-radix number no tangent of it can be looked up, and only the steps
    without derivatives are compared.
    """
    values = point(forward, extents, seed, ranges)
    y, signal = lemma.equation.target, lemma.error_signal
    if lemma.equation.tensor == LOSS:
        definitions = {LOSS.name: lemma.equation}
    else:
        values |= field.random_values([signal], extents, seed + 3)
        if lemma.signal is not None:
            known = field.evaluate(lemma.signal, values, (), extents=extents, seed=seed)
            values[signal.name] = np.full_like(values[signal.name], known)
        total = summed(y.free, Multiply((Component(signal, y.subscripts), y)))
        definitions = {LOSS.name: Equation(Component(LOSS, ()), total), y.tensor.name: lemma.equation}
        values[LOSS.name] = prime.elements(np.ones((), dtype=np.int64))
    steps = [s for s in lemma.all_steps if plain(lemma.equation) or not _differentiates(s)]
    arithmetic = field.Field(extents, seed)
    evaluator = Evaluator(arithmetic, values, definitions)  # what two lines share is computed once

    def holds(step: Step) -> bool:
        before = substitute(step.before, {step.split[0]: step.split[1]}) if step.split else step.before
        free = tuple(dict.fromkeys((*before.free, *step.after.free)))
        one, other = (arithmetic.over(evaluator.value(side), free) for side in (before, step.after))
        return bool(np.array_equal(one, other))

    return [step for step in steps if not holds(step)]


def _differentiates(step: Step) -> bool:
    return any(isinstance(node, Derivative) for side in (step.before, step.after) for node in nodes(side))


def plain(equation: Equation) -> bool:
    """Whether the target's subscripts are plain, as the interpreters' definitions need."""
    return all(s.plain is not None for s in equation.target.subscripts)
