"""Measurements side by side: rounds in which everything takes its turn, so that what disturbs one disturbs all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Clock = Callable[[], float]
CLOCKS: Mapping[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` counts this process's work on all cores: with one thread, what a busy machine disturbs least."""


REST = 0.25  # seconds, for the threads of the one before may still be waiting for work, and keep a core while they do


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Work:
    """`run(n)` does a unit of work n times, after `reset`, which is not timed."""

    run: Callable[[int], object]
    reset: Callable[[], object] = nothing


def interleaved(
    works: Mapping[str, Work], *, seconds: float, rounds: int, now: Clock = time.perf_counter,
    before_each: Callable[[], object] = nothing,
) -> dict[str, list[float]]:
    """The seconds that a unit of each work takes, in each round. So many units are timed at once that they last
    `seconds`, which a first run finds out; every round begins with another work."""
    found: dict[str, list[float]] = {name: [] for name in works}

    def timed(work: Work, count: int) -> float:
        work.reset()
        time.sleep(REST)
        start = now()
        work.run(count)
        return (now() - start) / count

    counts: dict[str, int] = {}
    for name, work in works.items():
        timed(work, 1)  # a first run also compiles and warms up
        once, count = timed(work, 1), 1
        while once * count < seconds / 4:  # a run of little work says little
            count = min(count * 10, math.ceil(seconds / once))
            once = timed(work, count)
        counts[name] = max(1, math.ceil(seconds / once))
    names = list(works)
    for number in range(rounds):
        before_each()
        shift = number % len(names) if names else 0
        for name in (*names[shift:], *names[:shift]):
            found[name].append(timed(works[name], counts[name]))
    return found
