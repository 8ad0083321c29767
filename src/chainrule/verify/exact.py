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
from chainrule.derive.scene import Line, Scene
from chainrule.derive.subject import Subject
from chainrule.derive.trial import Difference, ends, failures, gradient_difference, is_weighted, point, signals
from chainrule.errors import ChainruleError
from chainrule.ir.expr import LOSS, Derivative, Tensor, is_gradient
from chainrule.ir.program import Program
from chainrule.semantics.entries import Selected
from chainrule.semantics.field import Field, execute, integer_ranges, random_values
from chainrule.semantics.labelled import shape_of
from chainrule.verify.bound import NUMBER, Degree, Events, Run, chance, sum_of

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
        run = Run(scene.extents, (*scene.given, LOSS), definitions=scene.definitions)
        for equation in scene.equations:
            if equation.tensor in scene.known:
                run.values[equation.tensor.name] = NUMBER
            else:
                run.define(equation)
        sides = [run.value(side) for side in (line.before, line.after)]
        if is_weighted(line):
            weights = Degree(1, axes=line.free)
            sides = [run.degrees.contract([side, weights], line.free) for side in sides]
        return chance(sides, run.events)

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
            field = Field(self.scene.extents, seed + trial)
            evaluator = point(self.scene, field)
            real = [t for t in self.scene.given if t.dtype == "real"]
            direction = evaluator.direction(random_values(real, self.scene.extents, seed + trial + 7))
            slopes = [evaluator.tangent(normal(side), direction) for side in (line.before, line.after)]
            try:
                left, right = (field.over(slope or field.number(Fraction()), line.free) for slope in slopes)
            except ChainruleError:  # a slope reads outside a tensor, where the value does not count
                return False
            if not np.array_equal(left, right):
                return False
        return True

    def tangent_chance(self, line: Line) -> Fraction:
        given = self.scene.given
        run = Run(self.scene.extents, given, moving=(t.name for t in given))
        slopes = [run.tangent(normal(side)) for side in (line.before, line.after)]
        return chance((slope or Degree(0) for slope in slopes), run.events)

    @property
    def shapes(self) -> Extents:
        return shapes_of((t for t in self.scene.given if not is_gradient(t)), self.scene.extents)


def shapes_of(tensors: Iterable[Tensor], extents: Mapping[str, int]) -> Extents:
    return tuple((t.name, shape_of(t, extents)) for t in tensors)


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
        backward = self.backward or self.derivation.backward
        run = Run(self.extents, (*forward.given, *signals(self.derivation, backward)), moving=gradients)
        for equation in forward.equations:
            run.define(equation)
        moved = [(end, slope) for end in ends(self.derivation) if (slope := run.slopes.get(end.name)) is not None]
        for equation in backward.equations:
            run.define(equation)
        found = [(forward.tensor(name), run.values[gradient.name]) for name, gradient in gradients.items()]
        sides = (sum_of([run.total(*entries) for entries in side] or [Degree(0)]) for side in (moved, found))
        return (chance(sides, run.events),)

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
        events = Events()
        sides = [Run(self.extents, self._given, events) for _ in range(2)]
        for run, program in zip(sides, (self.one, self.other), strict=True):
            for equation in program.equations:
                run.define(equation)
        entries = [[run.values[name] for run in sides] for name in self.names]
        return tuple(chance((Degree(e.top, e.bottom) for e in pair), events) for pair in entries)

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
            a, b = (Field(self.extents, seed).lifted(run[name]) for run in runs)
            if a.shape != b.shape:
                failed[number] = Difference(name, str(a.shape), str(b.shape))
            elif not np.array_equal(a, b):
                at = tuple(int(n) for n in np.argwhere(a != b)[0])
                failed[number] = Difference(f"seed {seed}, {name}{list(at)}", str(a[at]), str(b[at]))
        return failed


Check = SceneCheck | GradientCheck | ProgramCheck
