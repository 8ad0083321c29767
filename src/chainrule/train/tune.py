"""Which tile of each kernel is quickest here: measured, where the model of the machine only estimates.

The whole program is built several times, each time with another of the tiles that the model finds cheapest, and the
builds run by turns with a clock between kernels. Each kernel keeps the tile that was quickest in its best run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chainrule.compile import machine_of
from chainrule.ir.cost import operations_for
from chainrule.loops import nodes as ir
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.schedule import Tile
from chainrule.runtime.compiler import native
from chainrule.runtime.tiles import remember
from chainrule.train.profile import Clocked, Run, ticks_per_second

MOST = 2e9  # operations of a run
VARIANTS = 6  # tiles of each kernel
ROUNDS = 15
MARGIN = 0.03  # share of the time by which another tile must be quicker than the model's


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel's tile by the model and by the clock, with the seconds of a step that it takes with each."""

    what: str
    key: str
    model: Tile
    tile: Tile
    before: float
    after: float


@dataclass(frozen=True)
class Tuning:
    """The kernels that another tile makes quicker. `str()` gives a table; `seconds` are those of all kernels in a step,
    with the model's tiles and with the measured ones; `keys` those of all that were measured."""

    choices: tuple[Choice, ...]
    seconds: tuple[float, float]
    keys: tuple[str, ...]

    def __repr__(self) -> str:
        before, after = (1e6 * each for each in self.seconds)
        kernels = f"another tile for {len(self.choices)} of {len(self.keys)} kernels"
        return f"<Tuning: {kernels}, {before:,.1f} → {after:,.1f} µs a step; print it>"

    def __str__(self) -> str:
        before, after = (1e6 * each for each in self.seconds)
        lines = [f"a step takes {after:,.1f} µs with measured tiles, {before:,.1f} µs with those of the model"]
        for choice in self.choices:
            tiles = f"{'×'.join(map(str, choice.model))} → {'×'.join(map(str, choice.tile))}"
            lines.append(f"{1e6 * choice.before:9.1f} → {1e6 * choice.after:.1f} µs  {tiles}  {choice.what}")
        return "\n".join(lines)


def tune(run: Run, workers: int, report: Callable[[float], None]) -> Tuning:
    """Measure, and remember what was found for all programs with the same kernels. `report` is told the share done.
    Raises BuildError and CompileError where there is no native code."""
    machine = machine_of(native(), workers)
    run = shortened(run)
    builds: list[Clocked] = []
    for variant in range(VARIANTS):
        builds.append(Clocked(run, lower(run.task, machine, samples=run.batch, variant=variant)))
        report(0.5 * (variant + 1) / VARIANTS)
    best = np.full((VARIANTS, builds[0].marks), np.inf)
    try:
        for number in range(ROUNDS):
            for variant, build in enumerate(builds):
                best[variant] = np.minimum(best[variant], build.ticks(workers))
            report(0.5 + 0.5 * (number + 1) / ROUNDS)
    except KeyboardInterrupt:
        if np.isinf(best).any():
            raise
    found = decided([build.lowered for build in builds], best / ticks_per_second(builds[0].library) / run.steps)
    remember(native(), {**dict.fromkeys(found.keys), **{choice.key: choice.tile for choice in found.choices}})
    return found


def shortened(run: Run) -> Run:
    """As many of its steps as take a moment."""
    steps = max(1, min(run.steps, round(MOST / max(1, operations_for(run.task.equations, run.batch)))))
    return replace(run, order=run.order[: steps * run.batch])


def decided(programs: Sequence[Plan], seconds: NDArray[np.float64]) -> Tuning:
    """For each kernel the program in which it was quickest: `seconds` has a row for each program, and in it one entry
    before those of the stages. Kernels that are the same but for their place in the network get one
    tile."""
    places: dict[str, list[int]] = {}
    names: dict[str, str] = {}
    for number, stage in enumerate(programs[0].stages, 1):
        if isinstance(stage, ir.Kernel) and stage.name in programs[0].made_of:
            key = programs[0].key(stage.name)
            places.setdefault(key, []).append(number)
            names.setdefault(key, stage.name)
    choices: list[Choice] = []
    saved = 0.0
    for key, numbers in places.items():
        times = seconds[:, numbers].sum(axis=1)
        quickest = int(times.argmin())
        before, after = float(times[0]), float(times[quickest])
        tiles = [program.made_of[names[key]].schedule.tile for program in programs]
        if after < (1 - MARGIN) * before and tiles[quickest] != tiles[0]:
            what = programs[0].made_of[names[key]].group.computes
            choices.append(Choice(what, key, tiles[0], tiles[quickest], before, after))
            saved += before - after
    whole = float(seconds[0].sum())
    ordered = sorted(choices, key=lambda choice: choice.after - choice.before)
    return Tuning(tuple(ordered), (whole, whole - saved), tuple(places))
