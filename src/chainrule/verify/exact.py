"""The first tier: both sides of every line at random points of GF(2^61 − 1), where equal means equal.

A *check* has `lines`, each (what, rule); `chances`, for each line the chance that one trial passes it though it is
false; `shapes`, those at which it is checked; and `run(seed, seconds, selected)`, one trial: the lines that fail, by
number, the time of each added to `seconds`, and what maxima select to `selected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.derive import Derivation
from chainrule.derive.laws import normal
from chainrule.derive.scene import Line, Scene, integer_ranges
from chainrule.derive.subject import Subject
from chainrule.derive.trial import Difference, ends, failures, gradient_difference, is_weighted, point, words
from chainrule.errors import ChainruleError
from chainrule.evaluate.field import execute, random_values
from chainrule.evaluate.interpreter import Selected
from chainrule.evaluate.labelled import Labelled, size
from chainrule.ir.expr import Derivative, Tensor, is_gradient
from chainrule.ir.program import Program
from chainrule.verify.bound import NUMBER, WORD, Degree, Degrees, chance, sum_of

Array = NDArray[Any]
Extents = tuple[tuple[str, tuple[int, ...]], ...]
GRADIENTS, PROGRAMS = Subject("gradients"), Subject("other", y="two programs")


@dataclass(frozen=True)
class SceneCheck:
    """The lines of a scene, all at one point in each trial."""

    scene: Scene

    @property
    def lines(self) -> tuple[tuple[Subject, str], ...]:
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
        sides = [degrees.value(side) for side in (line.before, line.after)]
        if is_weighted(line):
            sides = [degrees.weighted(side, line.free) for side in sides]
        return chance(sides, degrees.events)

    def run(
        self, seed: int, seconds: list[float] | None = None, selected: Selected | None = None
    ) -> dict[int, Difference]:
        return failures(self.scene, seed, seconds, selected)

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
            try:
                left, right = (interpreter.over(slope or zero, line.free) for slope in slopes)
            except ChainruleError:  # a slope reads outside a tensor, where the value does not count
                return False
            if not np.array_equal(left, right):
                return False
        return True

    def tangent_chance(self, line: Line) -> Fraction:
        degrees = Degrees(self.scene.extents)
        slopes = [degrees.tangent(normal(side), lambda node: WORD) for side in (line.before, line.after)]
        return chance((slope or NUMBER for slope in slopes), degrees.events)

    @property
    def shapes(self) -> Extents:
        return shapes_of((t for t in self.scene.given if not is_gradient(t)), self.scene.extents)


def shapes_of(tensors: Iterable[Tensor], extents: Mapping[str, int]) -> Extents:
    return tuple((t.name, tuple(size(e, extents) for e in t.shape)) for t in tensors)


# Gradients.


@dataclass(frozen=True)
class GradientCheck:
    """⟨derived gradient, direction⟩ = the tangent of the original program along that direction."""

    derivation: Derivation
    extents: Mapping[str, int]
    what: Subject = GRADIENTS
    backward: Program | None = None  # in place of the derivation's own: one that was simplified

    @property
    def lines(self) -> tuple[tuple[Subject, str], ...]:
        return ((self.what, "dual numbers"),)

    @property
    def shapes(self) -> Extents:
        return shapes_of(self.derivation.forward.given, self.extents)

    @cached_property
    def chances(self) -> tuple[Fraction, ...]:
        forward, gradients = self.derivation.forward, self.derivation.gradients
        degrees = Degrees(self.extents)
        degrees.slopes.update(dict.fromkeys(gradients, WORD))
        for equation in forward.equations:
            degrees.define(equation)
        expected: list[Degree] = []
        for end in ends(self.derivation):
            slope = degrees.slopes.get(end.name)
            if slope is not None:
                expected.append(self._total(slope * WORD, end))
        found: list[Degree] = []
        for equation in (self.backward or self.derivation.backward).equations:
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

    def run(
        self, seed: int, seconds: list[float] | None = None, selected: Selected | None = None
    ) -> dict[int, Difference]:
        start = perf_counter()
        backward = self.backward or self.derivation.backward
        difference = gradient_difference(self.derivation, backward, self.extents, seed, selected)
        if seconds is not None:
            seconds[0] += perf_counter() - start
        return {} if difference is None else {0: difference}


@dataclass(frozen=True)
class ProgramCheck:
    """Two programs give equal outputs for equal inputs: before and after a simplification, an optimizer's step and
    another form of it."""

    one: Program
    other: Program
    extents: Mapping[str, int]
    outputs: tuple[str, ...] = ()
    what: Subject = PROGRAMS
    given: tuple[Tensor, ...] = field(default=())

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.outputs or tuple(t.name for t in self.one.outputs)

    @property
    def lines(self) -> tuple[tuple[Subject, str], ...]:
        return tuple((replace(self.what, y=name), "equal programs") for name in self.names)

    @property
    def shapes(self) -> Extents:
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

    def run(
        self, seed: int, seconds: list[float] | None = None, selected: Selected | None = None
    ) -> dict[int, Difference]:
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
            a, b = (words(run[name]) for run in runs)
            if a.shape != b.shape:
                failed[number] = Difference(name, str(a.shape), str(b.shape))
            elif not np.array_equal(a, b):
                at = tuple(int(n) for n in np.argwhere(a != b)[0])
                failed[number] = Difference(f"seed {seed}, {name}{list(at)}", str(a[at]), str(b[at]))
        return failed


Check = SceneCheck | GradientCheck | ProgramCheck
