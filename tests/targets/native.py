"""Plans as native code, for tests: built with the flags that a test wants, run over a task's steps."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import CDLL
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.compile import emit, machine_of
from chainrule.ir.expr import Constant, Multiply, Tensor
from chainrule.ir.program import Equation
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.task import Task
from chainrule.runtime.build import build
from chainrule.runtime.compiler import Target, native
from chainrule.runtime.library import Library, frame_of
from chainrule.train.runners import NumpyRunner, outputs_of

Array = NDArray[Any]
HERE = native()
BOUND = 2e-6
"""After three steps each entry is within it of its tensor's largest entry, or of 1. Float32 rounds to 6e-8."""


def at_lanes(task: Task, lanes: int, *, samples: int, scheduled: bool = True) -> Plan:
    return lower(task, machine_of(HERE.with_lanes(lanes)), samples=samples, scheduled=scheduled)


def library(lowered: Plan, *, target: Target | None = None, flags: tuple[str, ...] = ()) -> Library:
    target = target or HERE.with_lanes(lowered.lanes)
    return built_of(lowered, emit(lowered), target, flags)


def built_of(
    lowered: Plan, source: str, target: Target, flags: tuple[str, ...] = (), real: Any = np.float32
) -> Library:
    """What is made of a source, which may be another one than the plan's."""
    code = CDLL(str(build(source, target=target, flags=flags)))
    return Library(lowered.task, frame_of(lowered), code, np.dtype(real))


@dataclass
class Result:
    """What the steps of a task leave behind; `failed` is the step whose loss was not finite, or -1."""

    outputs: dict[Tensor, Array]
    kept: dict[Tensor, Array]
    failed: int

    @property
    def bits(self) -> dict[str, bytes]:
        return {t.name: a.tobytes() for t, a in {**self.outputs, **self.kept}.items()}


def natively(
    built: Library, given: Mapping[Tensor, Array], order: NDArray[np.int64], batch: int, *, workers: int = 1,
    seed: int = 0,
) -> Result:
    task, steps = built.task, -(-len(order) // batch)
    arrays = {t: np.array(a, np.int32 if t.dtype == "integer" else np.float32) for t, a in given.items()}
    arrays |= {t: np.repeat(arrays[t], steps) for t in task.stepwise}
    data = {t: arrays[t] for t in task.data if t not in task.drawn}
    kept = {t: arrays[t] for t in task.kept}
    outputs = outputs_of(task, len(order), steps, np.dtype(np.float32))
    batch = min(batch, len(order))
    built.prepare(data, kept, outputs, order, batch)
    failed = built.steps(len(order), batch, 0, steps, workers=workers, seed=seed)
    built.unpack()
    return Result(outputs, kept, failed)


def by_numpy(
    task: Task, given: Mapping[Tensor, Array], order: NDArray[np.int64], batch: int, *, seed: int = 0,
    dtype: str = "float64",
) -> Result:
    """The same by the NumPy executor."""
    steps = -(-len(order) // batch)
    arrays = {t: np.array(a, np.int64 if t.dtype == "integer" else dtype) for t, a in given.items()}
    arrays |= {t: np.repeat(arrays[t], steps) for t in task.stepwise}
    kept = {t: arrays[t] for t in task.kept}
    data = {t: arrays[t] for t in task.data if t not in task.drawn}
    outputs, failed = NumpyRunner(task, np.dtype(dtype)).run(data, kept, order, batch, seed=seed)
    return Result(outputs, kept, failed)


def off_by_rounding(task: Task, seed: int) -> Task:
    """The same task, each of its real tensors 2^-24 too large or too small: as far as float32 rounds a number."""
    rng = np.random.default_rng(seed)

    def off(equation: Equation) -> Equation:
        if equation.tensor.dtype == "integer":
            return equation
        factor = Constant(1 + Fraction(int(rng.choice([-1, 1])), 2**24))
        return replace(equation, value=Multiply((factor, equation.value)))

    return replace(task, equations=tuple(map(off, task.equations)))


def distance(found: Result, right: Result) -> dict[str, float]:
    """For each tensor the largest difference, as a share of its largest entry, or of 1."""
    result: dict[str, float] = {}
    for tensor, value in {**right.outputs, **right.kept}.items():
        other = found.kept[tensor] if tensor in found.kept else found.outputs[tensor]
        size = max(1.0, float(np.abs(value).max(initial=0)))
        result[tensor.name] = float(np.abs(other - value).max(initial=0)) / size
    return result
