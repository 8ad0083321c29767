"""One trial: both sides of lines, or a whole gradient, at one random point of an arithmetic. Over GF(2^61 − 1) equal
means equal; what random field elements refuse is looked at with real numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.scene import Line, Scene
from chainrule.errors import ChainruleError
from chainrule.ir.expr import LOSS, Derivative, Tensor
from chainrule.ir.program import Program
from chainrule.semantics.entries import Entries, Selected, execute
from chainrule.semantics.evaluator import Evaluator
from chainrule.semantics.field import Field, integer_ranges, random_values
from chainrule.semantics.labelled import Array, Labelled
from chainrule.semantics.reals import Reals, finite

Point = Evaluator[Labelled, Array]
Draw = Callable[[Tensor], Array]


@dataclass(frozen=True)
class Difference:
    """Where two sides differ: the point in words, and both values there."""

    point: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} ≠ {self.right} at {self.point}"


# Lines.


def failures(
    scene: Scene, seed: int, seconds: list[float] | None = None, selected: Selected | None = None
) -> dict[int, Difference]:
    """The lines of a scene that fail, by number; the time of each is added to `seconds`, what maxima select to
    `selected`."""
    field = Field(scene.extents, seed, selected)
    evaluator = point(scene, field)
    failed: dict[int, Difference] = {}
    for number, line in enumerate(scene.lines):
        start = perf_counter()
        difference = compare(field, evaluator, line)
        if seconds is not None:
            seconds[number] += perf_counter() - start
        if difference is not None:
            failed[number] = difference
    return failed


def point(scene: Scene, field: Field) -> Point:
    """A random point of the field."""
    ranges = scene.ranges
    return at_point(
        scene, field, lambda t: random_values([t], scene.extents, field.seed, {t.name: 1, **ranges})[t.name]
    )


def at_point(scene: Scene, arithmetic: Entries, draw: Draw) -> Point:
    """An evaluator where the given tensors are drawn and the scene's equations have been run. Where one is a piece of a
    tensor, the components of the others are drawn too."""
    values = {t.name: draw(t) for t in scene.given}
    evaluator = Evaluator(arithmetic, values, scene.definitions)
    for tensor, constant in scene.known.items():
        values[tensor.name] = arithmetic.blank(tensor)
        values[tensor.name][...] = arithmetic.over(evaluator.value(constant), ())[()]
    for equation in scene.equations:
        tensor = equation.tensor
        if tensor not in scene.known:
            value = evaluator.value(equation.value)
            if tensor.name in values:
                evaluator.forget(tensor)
            else:
                whole = arithmetic.blank(tensor)
                values[tensor.name] = draw(tensor) if prod(arithmetic.shape(equation.indices)) < whole.size else whole
            whole = values[tensor.name]
            arithmetic.store(whole, arithmetic.place(equation, whole.shape), value, equation.indices)
    values.setdefault(LOSS.name, arithmetic.lifted(np.ones((), np.int64)))
    return evaluator


def compare(field: Field, evaluator: Point, line: Line) -> Difference | None:
    """Where the two sides of a line differ at this point. Lines with derivatives are compared along a random direction:
    both sides, weighted at random over the indices that are free, in one sum."""
    free, sides = line.free, (line.before, line.after)
    try:
        if is_weighted(line):
            weights = field.weights(tuple(sorted(free, key=str)))  # in one order: what two lines share is computed once
            one, other = (field.over(evaluator.along(side, weights), ()) for side in sides)
            if one == other:
                return None
        left, right = (field.lifted(field.over(evaluator.value(side), free)) for side in sides)
    except ChainruleError as error:
        return Difference(f"seed {field.seed}", "a value", f"none: {error.problem} ({error.about})")
    if np.array_equal(left, right):
        return None
    at = tuple(np.argwhere(left != right)[0])
    return _differing(line, field.seed, at, str(left[at]), str(right[at]))


def _differing(line: Line, seed: int, at: Iterable[int], left: str, right: str) -> Difference:
    where = ", ".join(f"{i.name} = {int(n)}" for i, n in zip(line.free, at, strict=True))
    return Difference(f"seed {seed}" + (f", {where}" if where else ""), left, right)


def is_weighted(line: Line) -> bool:
    return any(Derivative in side.types for side in (line.before, line.after))


def line_differs(scene: Scene, line: Line, seed: int, reals: Callable[[Mapping[str, int]], Reals]) -> Difference | None:
    """Where a line fails at three points of real numbers; none where it holds at all of them.

    A component that is no real number on either side says nothing; at least one must be.
    """
    seen, ranges = 0, scene.ranges
    for trial in range(3):
        a = reals(scene.extents)

        def draw(tensor: Tensor, a: Reals = a, trial: int = trial) -> Array:
            return a.draw(tensor, seed + trial, ranges.get(tensor.name, 1), positive=trial == 0)

        evaluator = at_point(scene, a, draw)
        left, right = (a.over(evaluator.value(side), line.free) for side in (line.before, line.after))
        for at in np.ndindex(*left.shape):
            one, other = left[at], right[at]
            seen += finite(one, other)
            if not a.same(one, other):
                return _differing(line, seed + trial, at, _short(one), _short(other))
    return None if seen else Difference("three points", "no real number", "no real number")


def _short(number: Any) -> str:
    return str(number)[:22]


# Gradients.


def ends(derivation: Derivation) -> tuple[Tensor, ...]:
    """What is differentiated: the loss, or each output with its error signal."""
    return (derivation.loss,) if derivation.loss is not None else derivation.forward.outputs


def signals(derivation: Derivation, backward: Program) -> list[Tensor]:
    """The error signals that are given."""
    known = {*derivation.forward.given, *derivation.forward.defined}
    return [t for t in backward.inputs if t not in known]


def gradient_difference(
    derivation: Derivation, backward: Program, extents: Mapping[str, int], seed: int, selected: Selected | None = None
) -> Difference | None:
    """Where a gradient differs at a random point of the field."""
    forward = derivation.forward
    expressions = [e.value for program in (forward, backward) for e in program.equations]
    given = random_values(forward.given, extents, seed, integer_ranges(forward.given, expressions, extents))
    given |= random_values(signals(derivation, backward), extents, seed + 2)
    direction = random_values([forward.tensor(n) for n in derivation.gradients], extents, seed + 1)
    return sides_differ(derivation, backward, Field(extents, seed, selected), given, direction, f"seed {seed}")


def sides_differ(
    derivation: Derivation, backward: Program, a: Entries, given: Mapping[str, Array], direction: Mapping[str, Array],
    where: str,
) -> Difference | None:
    """⟨gradient, direction⟩ beside the tangent of the original program along that direction: where they differ."""
    forward = derivation.forward
    start = {t.name: a.given(t, given[t.name]) for t in forward.given}
    drawn = {name: a.lifted(np.asarray(array)) for name, array in given.items() if name not in start}

    def run(names: Iterable[str]) -> tuple[dict[str, Array], Any]:
        """The forward program, and its tangent along the directions of these tensors."""
        values, slopes = execute(a, forward.equations, start, {n: direction[n] for n in names})
        total = a.lifted(np.zeros((), np.int64))
        for end in ends(derivation):
            if end.name in slopes:
                one = a.lifted(np.ones(slopes[end.name].shape, np.int64))
                signal = drawn.get(adjoint_of(end).name, one)
                total = a.plus(total, a.array(a.dot(signal, slopes[end.name])))
        return values, a.array(total)[()]

    try:
        values, expected = run(derivation.gradients)
        known = {**values, **drawn}
        found, _ = execute(a, backward.equations, {t.name: known[t.name] for t in backward.given})
    except ChainruleError as error:
        return Difference(where, "a gradient", f"none: {error.problem} ({error.about})")
    shares = {name: a.dot(found[gradient.name], direction[name]) for name, gradient in derivation.gradients.items()}
    total = a.array(a.plus(*map(a.array, shares.values())))[()]
    if a.same(total, expected, shares.values()):
        return None
    for name, share in shares.items():  # which of them?
        _, alone = run([name])
        if not a.same(share, alone):
            return Difference(f"{where}, the gradient of {name}", _short(share), _short(alone))
    return Difference(where, _short(total), _short(expected))


def gradient_differs(
    derivation: Derivation, extents: Mapping[str, int], seed: int, reals: Callable[[Mapping[str, int]], Reals]
) -> Difference | None:
    """Where a gradient differs at three points of real numbers, those first where what is drawn is positive. A point at
    which something is no real number says nothing; where all are such, the gradient stands on the lines that it is
    made of."""
    forward, joint = derivation.forward, derivation.joint
    tops = integer_ranges(joint.given, (e.value for e in joint.equations), extents)
    for trial in range(3):
        a = reals(extents)
        given = {t.name: a.draw(t, seed + trial, tops.get(t.name, 1), positive=trial < 2) for t in joint.given}
        moving = map(forward.tensor, derivation.gradients)
        direction = {t.name: a.draw(t, seed + trial + 7, 1, positive=False) for t in moving}
        found = sides_differ(derivation, derivation.backward, a, given, direction, f"seed {seed + trial}")
        if found is not None:
            return found
    return None
