"""One trial: both sides of lines, or a whole gradient, at one random point of GF(2^61 − 1), where equal means equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.scene import Line, Scene, integer_ranges
from chainrule.errors import ChainruleError
from chainrule.evaluate.field import PRIME, Words, dot, elements, execute, random_values
from chainrule.evaluate.interpreter import Interpreter, Selected
from chainrule.evaluate.labelled import Labelled, onto, ranges, size
from chainrule.evaluate.prime import key
from chainrule.ir.expr import LOSS, Derivative, Tensor
from chainrule.ir.index import Index
from chainrule.ir.program import Equation, Program

Array = NDArray[Any]


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
    interpreter = point(scene, seed, selected)
    failed: dict[int, Difference] = {}
    for number, line in enumerate(scene.lines):
        start = perf_counter()
        difference = compare(interpreter, line, seed)
        if seconds is not None:
            seconds[number] += perf_counter() - start
        if difference is not None:
            failed[number] = difference
    return failed


def point(scene: Scene, seed: int, selected: Selected | None = None) -> Interpreter:
    """An interpreter at a random point of the scene."""
    values = random_values(scene.given, scene.extents, seed, scene.ranges)
    interpreter = Interpreter(values, scene.extents, seed, scene.definitions, selected)
    for tensor, constant in scene.known.items():
        word = interpreter.over(interpreter.value(constant), ())
        values[tensor.name] = np.full(tuple(size(e, scene.extents) for e in tensor.shape), word, np.uint64)
    for equation in scene.equations:
        if equation.tensor not in scene.known:
            _bind(values, equation, interpreter)
    values.setdefault(LOSS.name, elements(np.ones((), np.int64)))
    return interpreter


def _bind(values: dict[str, Array], equation: Equation, interpreter: Interpreter) -> None:
    """Run one equation. Where it is one piece of a tensor, the components of the others are random."""
    result = interpreter.over(interpreter.value(equation.value), equation.indices)
    tensor, extents = equation.tensor, interpreter.extents
    if tensor.name in values:
        interpreter.forget(tensor)
    else:
        whole = random_values([tensor], extents, interpreter.seed, {tensor.name: 1})[tensor.name]
        values[tensor.name] = np.asarray(whole)
    positions = [ranges(subscript, extents) for subscript in equation.target.subscripts]
    if tensor.dtype != "integer" and result.dtype != np.uint64:
        result = elements(result)
    values[tensor.name][tuple(onto(p.data, p.axes, equation.indices) for p in positions)] = result


def compare(interpreter: Interpreter, line: Line, seed: int) -> Difference | None:
    """Where the two sides of a line differ at this point. Lines with derivatives are compared along a random direction:
    both sides, weighted at random over the indices that are free, in one sum."""
    free, sides = line.free, (line.before, line.after)
    try:
        if is_weighted(line):
            weights = _weights(interpreter, free)
            one, other = (interpreter.over(interpreter.along(side, weights), ()) for side in sides)
            if one == other:
                return None
        left, right = (words(interpreter.over(interpreter.value(side), free)) for side in sides)
    except ChainruleError as error:
        return Difference(f"seed {seed}", "a value", f"none: {error.problem} ({error.about})")
    if np.array_equal(left, right):
        return None
    at = tuple(np.argwhere(left != right)[0])
    where = ", ".join(f"{i.name} = {int(n)}" for i, n in zip(free, at, strict=True))
    return Difference(f"seed {seed}" + (f", {where}" if where else ""), str(left[at]), str(right[at]))


def is_weighted(line: Line) -> bool:
    return any(Derivative in side.types for side in (line.before, line.after))


def _weights(interpreter: Interpreter, free: tuple[Index, ...]) -> Labelled:
    known = interpreter.weights
    if free not in known:
        shape = tuple(size(i.extent, interpreter.extents) for i in free)
        generator = np.random.default_rng(key(interpreter.seed, "weights", *[i.name for i in free]))
        known[free] = Labelled(free, generator.integers(0, PRIME, shape, dtype=np.uint64))
    return known[free]


def words(array: Array) -> Words:
    return array if array.dtype == np.uint64 else elements(array)


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
    """⟨gradient, direction⟩ beside the tangent of the original program along that direction: where they differ."""
    forward, gradients = derivation.forward, derivation.gradients
    expressions = [e.value for program in (forward, backward) for e in program.equations]
    given = random_values(forward.given, extents, seed, integer_ranges(forward.given, expressions, extents))
    direction = random_values([forward.tensor(n) for n in gradients], extents, seed + 1)
    drawn = random_values(signals(derivation, backward), extents, seed + 2)

    def run(names: Iterable[str]) -> tuple[dict[str, tuple[Array, Words]], int]:
        """The forward program, and its tangent along the directions of these tensors."""
        along = {n: direction[n] for n in names}
        found = execute(forward, given, seed=seed, tangents=along, extents=extents, selected=selected)
        total = 0
        for end in ends(derivation):
            value, tangent = found[end.name]
            total += dot(drawn.get(adjoint_of(end).name, elements(np.ones(value.shape, np.int64))), tangent)
        return found, total % PRIME

    try:
        computed, expected = run(gradients)
        known = {name: value for name, (value, _) in computed.items()} | drawn
        result = execute(backward, {t.name: known[t.name] for t in backward.given}, seed=seed, extents=extents)
    except ChainruleError as error:
        return Difference(f"seed {seed}", "a gradient", f"none: {error.problem} ({error.about})")
    shares = {name: dot(result[gradient.name][0], direction[name]) for name, gradient in gradients.items()}
    if sum(shares.values()) % PRIME == expected:
        return None
    for name, share in shares.items():  # which of them?
        _, alone = run([name])
        if share != alone:
            return Difference(f"seed {seed}, the gradient of {name}", str(share), str(alone))
    return Difference(f"seed {seed}", "the gradients", "the tangents together")
