"""The first tier: both sides of every line at random points of GF(2^61 − 1), where equal means equal.

A *check* has `lines`, each (what, rule); `chances`, for each line the chance that one trial passes it though it is
false; `shapes`, those at which it is checked; and `run(seed, seconds)`, one trial: the lines that fail, by number, the
time of each added to `seconds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.derive import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.errors import ChainruleError
from chainrule.evaluate.field import PRIME, Words, dot, elements, execute, random_values
from chainrule.evaluate.interpreter import Interpreter
from chainrule.evaluate.labelled import Labelled, ranges, size
from chainrule.ir.expr import LOSS, Derivative, Tensor, is_gradient
from chainrule.ir.program import Equation, Program
from chainrule.verify.bound import NUMBER, WORD, Degree, Degrees, chance, sum_of
from chainrule.verify.laws import normal
from chainrule.verify.scene import Line, Scene, integer_ranges

Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """Where two sides differ: the point in words, and both values there."""

    point: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} ≠ {self.right} at {self.point}"


@dataclass(frozen=True)
class SceneCheck:
    """The lines of a scene, all at one point in each trial."""

    scene: Scene

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        return tuple((line.what, line.rule) for line in self.scene.lines)

    @cached_property
    def chances(self) -> tuple[Fraction, ...]:
        return tuple(self.chance(line) for line in self.scene.lines)

    def chance(self, line: Line) -> Fraction:
        """Applications are counted over the lines' own sides and over what they read."""
        scene = self.scene
        degrees = Degrees(scene.extents)
        degrees.definitions = scene.definitions
        for tensor in scene.known:
            degrees.tensors[tensor.name] = NUMBER
        for equation in scene.equations:
            degrees.define(equation)
        return chance((degrees.value(line.before), degrees.value(line.after)), degrees.events)

    def run(self, seed: int, seconds: list[float] | None = None) -> dict[int, Difference]:
        interpreter = point(self.scene, seed)
        failed: dict[int, Difference] = {}
        for number, line in enumerate(self.scene.lines):
            start = perf_counter()
            difference = compare(interpreter, line, seed)
            if seconds is not None:
                seconds[number] += perf_counter() - start
            if difference is not None:
                failed[number] = difference
        return failed

    def tangents_agree(self, line: Line, seed: int) -> bool:
        """Whether both sides change alike along random directions, at two points: then they differ by a constant."""
        if any(Derivative in side.types for side in (line.before, line.after)):
            return False
        if not {t for side in (line.before, line.after) for t in side.tensors} <= set(self.scene.given):
            return False  # a computed tensor would move too
        for trial in range(2):
            interpreter = point(self.scene, seed + trial)
            real = [t for t in self.scene.given if t.dtype == "real"]
            direction = interpreter.direction(random_values(real, self.scene.extents, seed + trial + 7))
            slopes = [interpreter.tangent(normal(side), direction) for side in (line.before, line.after)]
            zero = Labelled((), np.asarray(np.uint64(0)))
            left, right = (interpreter.over(slope or zero, line.free) for slope in slopes)
            if not np.array_equal(left, right):
                return False
        return True

    def tangent_chance(self, line: Line) -> Fraction:
        degrees = Degrees(self.scene.extents)
        slopes = [degrees.tangent(normal(side), lambda node: WORD) for side in (line.before, line.after)]
        return chance((slope or NUMBER for slope in slopes), degrees.events)

    @property
    def shapes(self) -> str:
        return shapes_of((t for t in self.scene.given if not is_gradient(t)), self.scene.extents)


def shapes_of(tensors: Iterable[Tensor], extents: Mapping[str, int]) -> str:
    """x 2×8×8, W 2×2×5×5"""
    shown = ((t.name, [str(size(e, extents)) for e in t.shape]) for t in tensors)
    return ", ".join(f"{name} {'×'.join(shape) or '1'}" for name, shape in shown)


def point(scene: Scene, seed: int) -> Interpreter:
    """An interpreter at a random point of the scene."""
    given = random_values(scene.given, scene.extents, seed, scene.ranges)
    values = {**given}
    for tensor, constant in scene.known.items():
        known = Interpreter(values, scene.extents, seed)
        word = known.over(known.value(constant), ())
        values[tensor.name] = np.full(tuple(size(e, scene.extents) for e in tensor.shape), word, np.uint64)
    for equation in scene.equations:
        if equation.tensor not in scene.known:
            bind(values, equation, scene.extents, seed)
    values.setdefault(LOSS.name, elements(np.ones((), np.int64)))
    return Interpreter(values, scene.extents, seed, scene.definitions)


def bind(values: dict[str, Array], equation: Equation, extents: Mapping[str, int], seed: int) -> None:
    """Run one equation. Where it is one piece of a tensor, the components of the others are random."""
    interpreter = Interpreter(values, extents, seed)
    result = interpreter.over(interpreter.value(equation.value), equation.indices)
    tensor = equation.tensor
    if tensor.name not in values:
        whole = random_values([tensor], extents, seed, {tensor.name: 1})[tensor.name]
        values[tensor.name] = np.asarray(whole)
    place: list[Array] = []
    for subscript in equation.target.subscripts:
        position = ranges(subscript, extents)
        shape = [size(i.extent, extents) if i in position.axes else 1 for i in equation.indices]
        place.append(position.data.reshape(shape))
    if tensor.dtype != "integer" and result.dtype != np.uint64:
        result = elements(result)
    values[tensor.name][tuple(place)] = result


def compare(interpreter: Interpreter, line: Line, seed: int) -> Difference | None:
    """Where the two sides of a line differ at this point."""
    free = line.free
    try:
        left, right = (interpreter.over(interpreter.value(side), free) for side in (line.before, line.after))
    except ChainruleError as error:
        return Difference(f"seed {seed}", "a value", f"none: {error.problem} ({error.about})")
    left, right = _words(left), _words(right)
    if np.array_equal(left, right):
        return None
    at = tuple(np.argwhere(left != right)[0])
    where = ", ".join(f"{i.name} = {int(n)}" for i, n in zip(free, at, strict=True))
    return Difference(f"seed {seed}" + (f", {where}" if where else ""), str(left[at]), str(right[at]))


def _words(array: Array) -> Words:
    return array if array.dtype == np.uint64 else elements(array)


# Gradients.


@dataclass(frozen=True)
class GradientCheck:
    """⟨derived gradient, direction⟩ = the tangent of the original program along that direction."""

    derivation: Derivation
    extents: Mapping[str, int]
    what: str = "all gradients together"
    backward: Program | None = None  # in place of the derivation's own: one that was simplified

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        return ((self.what, "dual numbers"),)

    @property
    def shapes(self) -> str:
        return shapes_of(self.derivation.forward.given, self.extents)

    @cached_property
    def _joint(self) -> Program:
        joint = self.derivation.joint
        if self.backward is None:
            return joint
        return Program((*self.derivation.forward.equations, *self.backward.equations), joint.inputs, joint.parameters,
                       joint.random, joint.states, joint.outputs)

    @cached_property
    def _signals(self) -> list[Tensor]:
        forward = self.derivation.forward
        known = {*forward.given, *forward.defined}
        return [t for t in self._joint.inputs if t not in known]

    @property
    def _ends(self) -> tuple[Tensor, ...]:
        loss = self.derivation.loss
        return (loss,) if loss is not None else self.derivation.forward.outputs

    @cached_property
    def chances(self) -> tuple[Fraction, ...]:
        forward, gradients = self.derivation.forward, self.derivation.gradients
        degrees = Degrees(self.extents)
        degrees.slopes.update(dict.fromkeys(gradients, WORD))
        for equation in forward.equations:
            degrees.define(equation)
        expected: list[Degree] = []
        for end in self._ends:
            slope = degrees.slopes.get(end.name)
            if slope is not None:
                expected.append(self._total(slope * WORD, end))
        found: list[Degree] = []
        for equation in self._joint.equations[len(forward.equations) :]:
            degrees.define(equation)
        for name, gradient in gradients.items():
            value = degrees.tensors.get(gradient.name, WORD)
            found.append(self._total(value * WORD, forward.tensor(name)))
        return (chance((sum_of(expected or [NUMBER]), sum_of(found or [NUMBER])), degrees.events),)

    def _total(self, entry: Degree, tensor: Tensor) -> Degree:
        """The sum over all entries of a tensor."""
        count = 1
        for extent in tensor.shape:
            count *= size(extent, self.extents)
        return Degree(entry.top + (count - 1) * entry.bottom, count * entry.bottom)

    def run(self, seed: int, seconds: list[float] | None = None) -> dict[int, Difference]:
        start = perf_counter()
        failed = self._trial(seed)
        if seconds is not None:
            seconds[0] += perf_counter() - start
        return failed

    def _trial(self, seed: int) -> dict[int, Difference]:
        forward, gradients = self.derivation.forward, self.derivation.gradients
        expressions = [e.value for e in self._joint.equations]
        tops = integer_ranges(forward.given, expressions, self.extents)
        given = random_values(forward.given, self.extents, seed, tops)
        direction = random_values([forward.tensor(n) for n in gradients], self.extents, seed + 1)
        drawn = random_values(self._signals, self.extents, seed + 2)
        try:
            joint = execute(self._joint, {**given, **drawn}, seed=seed, extents=self.extents)
        except ChainruleError as error:
            return {0: Difference(f"seed {seed}", "a gradient", f"none: {error.problem} ({error.about})")}

        def sides(names: Iterable[str]) -> tuple[int, int]:
            along = {n: direction[n] for n in names}
            run = execute(forward, given, seed=seed, tangents=along, extents=self.extents)
            expected = 0
            for end in self._ends:
                value, tangent = run[end.name]
                expected += dot(drawn.get(adjoint_of(end).name, elements(np.ones(value.shape, np.int64))), tangent)
            return sum(dot(joint[gradients[n].name][0], d) for n, d in along.items()) % PRIME, expected % PRIME

        found, expected = sides(gradients)
        if found == expected:
            return {}
        for name in gradients:  # which of them?
            found, expected = sides([name])
            if found != expected:
                return {0: Difference(f"seed {seed}, the gradient of {name}", str(found), str(expected))}
        return {0: Difference(f"seed {seed}", "the gradients", "the tangents together")}


@dataclass(frozen=True)
class ProgramCheck:
    """Two programs give equal outputs for equal inputs: before and after a simplification, an optimizer's step and
    another form of it."""

    one: Program
    other: Program
    extents: Mapping[str, int]
    outputs: tuple[str, ...] = ()
    what: str = "two programs"
    given: tuple[Tensor, ...] = field(default=())

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.outputs or tuple(t.name for t in self.one.outputs)

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        return tuple((f"{self.what}: {name}", "equal programs") for name in self.names)

    @property
    def shapes(self) -> str:
        return shapes_of(self._given, self.extents)

    @cached_property
    def _given(self) -> tuple[Tensor, ...]:
        return self.given or tuple(dict.fromkeys((*self.one.given, *self.other.given)))

    @cached_property
    def chances(self) -> tuple[Fraction, ...]:
        sides: list[Degrees] = []
        events = Degrees(self.extents).events
        for program in (self.one, self.other):
            degrees = Degrees(self.extents, events)
            for equation in program.equations:
                degrees.define(equation)
            sides.append(degrees)
        return tuple(chance((s.tensors.get(name, WORD) for s in sides), events) for name in self.names)

    def run(self, seed: int, seconds: list[float] | None = None) -> dict[int, Difference]:
        start = perf_counter()
        failed = self._trial(seed)
        if seconds is not None:
            for number in range(len(self.names)):
                seconds[number] += (perf_counter() - start) / len(self.names)
        return failed

    def _trial(self, seed: int) -> dict[int, Difference]:
        expressions = [e.value for p in (self.one, self.other) for e in p.equations]
        given = random_values(self._given, self.extents, seed, integer_ranges(self._given, expressions, self.extents))
        runs: list[dict[str, Array]] = []
        for program in (self.one, self.other):
            own = {t.name: given[t.name] for t in program.given}
            try:
                run = execute(program, own, seed=seed, extents=self.extents)
            except ChainruleError as error:
                message = Difference(f"seed {seed}", "a value", f"none: {error.problem} ({error.about})")
                return dict.fromkeys(range(len(self.names)), message)
            runs.append({name: value for name, (value, _) in run.items()})
        failed: dict[int, Difference] = {}
        for number, name in enumerate(self.names):
            a, b = (_words(run[name]) for run in runs)
            if a.shape != b.shape:
                failed[number] = Difference(name, str(a.shape), str(b.shape))
            elif not np.array_equal(a, b):
                at = tuple(int(n) for n in np.argwhere(a != b)[0])
                failed[number] = Difference(f"seed {seed}, {name}{list(at)}", str(a[at]), str(b[at]))
        return failed


Check = SceneCheck | GradientCheck | ProgramCheck
