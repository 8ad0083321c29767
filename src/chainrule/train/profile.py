"""Where the time of training goes: for each kernel its time, FLOP/s and bytes/s, and the tensors that it computes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.compile import loaded, machine_of
from chainrule.errors import ModelError
from chainrule.ir.cost import operations_for
from chainrule.ir.expr import Tensor
from chainrule.ir.source import shorten
from chainrule.loops.plan import Deliver, Draw, Gather, Plan, Prefetch, Stage
from chainrule.loops.program import lower
from chainrule.loops.task import Task
from chainrule.runtime.aligned import aligned
from chainrule.runtime.compiler import native
from chainrule.runtime.library import Library
from chainrule.runtime.peaks import Peaks, peaks
from chainrule.runtime.tiles import measured
from chainrule.train.runners import outputs_of

Array = NDArray[Any]
REPEATS = 20
SHOWN, NAMED = 10, 56  # of the parts, and letters of each, in a notebook


@dataclass(frozen=True, slots=True)
class Row:
    """`seconds` of one step, the best of several; `flops` and `bytes` of one step, each tensor counted once."""

    what: str
    seconds: float
    flops: float
    bytes: float


@dataclass(frozen=True)
class Profile:
    """The parts of a step, the slowest first. `str()` gives a table."""

    rows: tuple[Row, ...]
    samples: int
    peaks: Peaks

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    def __repr__(self) -> str:
        return f"<Profile: a step of {self.samples} samples takes {1e6 * self.seconds:,.1f} µs on one core; print it>"

    def _repr_html_(self) -> str:
        """What a notebook shows: a bar for each part of a step."""
        from chainrule.render.charts import bars
        from chainrule.render.document import Drawn
        from chainrule.render.html import cell

        slow, rest = self.rows[:SHOWN], self.rows[SHOWN:]
        parts = [(row.what, row.seconds) for row in slow] + [(f"{len(rest)} others", sum(row.seconds for row in rest))]
        rows = [
            (shorten(what, NAMED), f"{1e6 * seconds:,.2f} µs", seconds / self.seconds)
            for what, seconds in parts if seconds
        ]
        return cell(Drawn(bars(rows), (repr(self)[1:-1].split(";")[0],)))

    def __str__(self) -> str:
        total, peak = self.seconds, self.peaks.flops
        speed = sum(row.flops for row in self.rows) / total
        lines = [
            f"one step of {self.samples} samples on one core: {1e6 * total:,.1f} µs,"
            f" {self.samples / total:,.0f} samples/s",
            f"{speed / 1e9:.1f} GFLOP/s, {speed / peak:.0%} of the {peak / 1e9:.0f} that the core reaches;"
            f" it reads {self.peaks.bytes / 1e9:.1f} GB/s from memory",
            "",
            f"{'share':>6} {'µs':>9} {'GFLOP/s':>8} {'of peak':>8} {'GB/s':>7}  computes",
        ]
        for row in self.rows:
            rate = row.flops / row.seconds if row.seconds else 0.0
            lines.append(
                f"{row.seconds / total:6.1%} {1e6 * row.seconds:9.2f} {rate / 1e9:8.1f} {rate / peak:8.0%}"
                f" {row.bytes / row.seconds / 1e9 if row.seconds else 0.0:7.1f}  {row.what}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Run:
    """What the steps of a task run over: the samples in `order`, `batch` at once, from the values in `kept`."""

    task: Task
    data: Mapping[Tensor, Array]
    kept: Mapping[Tensor, Array]
    batch: int
    order: NDArray[np.int64]

    @property
    def steps(self) -> int:
        return -(-len(self.order) // self.batch)


class Clocked:
    """A run's program with a clock between kernels."""

    def __init__(self, run: Run, lowered: Plan) -> None:
        self.given, self.lowered = run, lowered
        self.library = loaded(lowered, native(), "#define PROFILED\n")
        self.outputs = outputs_of(run.task, len(run.order), run.steps, np.dtype(np.float32))
        self.marks = len(lowered.stages) + 1

    def ticks(self, workers: int = 1) -> NDArray[np.float64]:
        """For the loop over steps and each stage the ticks of one run through all steps."""
        run, ticks = self.given, np.zeros(self.marks, np.uint64)
        values = {t: aligned(a) for t, a in run.kept.items()}  # as `fit` has them
        self.library.prepare(run.data, values, self.outputs, run.order, run.batch, ticks)
        try:
            failed = self.library.steps(len(run.order), run.batch, 0, run.steps, workers=workers)
        finally:
            self.library.unpack()
        if failed >= 0:
            raise ModelError(f"the loss is not finite after {failed} steps", fix="choose a lower rate")
        return ticks.astype(np.float64)


def profile(run: Run) -> Profile:
    """Go through the run several times, by one worker."""
    target, batch = native(), run.batch
    lowered = lower(run.task, machine_of(target), samples=batch, tiles=measured(target))
    clocked = Clocked(run, lowered)
    best = np.min([clocked.ticks() for _ in range(REPEATS)], axis=0)
    seconds = best / ticks_per_second(clocked.library) / run.steps
    copies = {"the loop over steps": float(seconds[0])}
    rows: list[Row] = []
    for stage, taken in zip(lowered.stages, map(float, seconds[1:]), strict=True):
        if lowered.made(stage):
            rows.append(_row(lowered, stage, taken, batch))
        else:
            copies[_copies(lowered, stage)] = copies.get(_copies(lowered, stage), 0.0) + taken
    rows += [Row(what, taken, 0.0, 0.0) for what, taken in copies.items()]
    return Profile(tuple(sorted(rows, key=lambda row: -row.seconds)), batch, peaks())


def _copies(lowered: Plan, stage: Stage) -> str:
    """What a stage does that computes nothing."""
    match stage:
        case Draw():
            return "random numbers"
        case Prefetch():
            return "the batch into blocks"
        case Gather(tensor=tensor, rows=False) if tensor not in lowered.reloads:
            return "the batch into blocks"
        case Deliver():
            return "results out of blocks"
        case _:
            return "copies in rows, zeros around tensors, checks"


def _row(lowered: Plan, stage: Stage, seconds: float, samples: int) -> Row:
    groups = [work.group for work in lowered.made(stage)]
    flops = sum(operations_for(group.equations, samples) for group in groups)
    touched = dict.fromkeys(t for group in groups for t in (*group.targets, *group.reads))
    moved = sum(4 * prod(samples if isinstance(e, str) else e for e in t.shape) for t in touched)
    return Row("; ".join(group.computes for group in groups), seconds, float(flops), float(moved))


def ticks_per_second(library: Library) -> float:
    ticks = library.handle.chainrule_ticks
    ticks.restype = ctypes.c_uint64
    start, first = perf_counter(), ticks()
    sleep(0.02)
    return (ticks() - first) / (perf_counter() - start)
