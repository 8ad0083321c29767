"""Processes of MPI that train one model together: each computes sums over its share of a batch, by native code or
NumPy, an all-reduce adds them up, and all make the same update.

That is one all-reduce a step where samples do not couple, and where they do, as by the statistics of a batch, as many
as `loops/shares.py` finds rounds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.compile import Shared
from chainrule.derive import Derivation
from chainrule.errors import CompileError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.print import spelled
from chainrule.loops.shares import SAMPLE_COUNT, Round, Shares, shares
from chainrule.loops.task import Task
from chainrule.semantics import field
from chainrule.semantics.prime import PRIME
from chainrule.train.guardian import Guard
from chainrule.train.processes import Processes
from chainrule.train.runners import Engine, Jax, Runner, drawn, first, outputs_of
from chainrule.train.shuffle import shuffled
from chainrule.verify.loops import executed, point, reduced_step

Array = NDArray[Any]
PARTS = 1, 2
"""The samples of two shares of a batch, for which the rounds are looked at."""
DIRECT = "MPIR_CVAR_CH4_CMA_ENABLE"
"""Whether MPICH reads what another process of its machine sends out of that one's memory. Where that one is killed
meanwhile the reader is aborted, and it is left to chance which of them seems to have ended first."""
LAUNCHED = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"
"""What mpirun tells the processes that it starts."""


def mpi() -> Any:
    """Raises ModelError where mpi4py is not installed."""
    os.environ.setdefault(DIRECT, "0")  # MPI reads it when it is first imported
    try:
        from mpi4py import MPI  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        raise ModelError("several processes need mpi4py", fix='pip install "chainrule[mpi]"') from None
    return cast(Any, MPI)


def world() -> Any | None:
    """All processes that mpirun has started with this one, as a communicator of mpi4py for `fit(communicator=…)`, or
    None where there are no others. Raises ModelError where there are, and no mpi4py."""
    several = any(os.environ.get(name, "1") not in ("", "1") for name in LAUNCHED)
    return mpi().COMM_WORLD if several else None


class Ranks(Processes):
    """The processes, by a communicator of mpi4py. Statistics are of the whole batch if `synchronised`, else of each
    share, and then a step needs one all-reduce whatever couples."""

    kind = "rank"

    def __init__(self, communicator: Any, synchronised: bool = True) -> None:
        if not all(hasattr(communicator, name) for name in ("Allreduce", "Barrier", "Abort", "rank", "size")):
            raise ModelError(
                f"{communicator!r} is no communicator",
                fix="model.fit(x, y, communicator=cr.world())",
            )
        self.communicator, self.synchronised = communicator, synchronised
        self.number, self.count = communicator.rank, communicator.size

    def share(self, samples: int) -> slice:
        """Of so many rows, those of this process: as many as the others have, or one more."""
        return slice(samples * self.number // self.count, samples * (self.number + 1) // self.count)

    def sum(self, numbers: Array) -> None:
        """Put the sum over all processes in the place of an array."""
        self.communicator.Allreduce(mpi().IN_PLACE, numbers, mpi().SUM)

    def any(self, *said: bool) -> list[bool]:
        numbers = np.array(said, np.int32)
        self.sum(numbers)
        return [bool(n) for n in numbers]

    def wait(self) -> None:
        self.communicator.Barrier()

    def end(self) -> None:
        self.communicator.Abort(1)
        os._exit(1)  # after an error of its own MPI may come back from there

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, mpi().Exception)

    def guarded(self) -> Guard | None:
        return Guard(self.communicator) if self.count > 1 else None


def ranks_of(communicator: Any | None, synchronised: bool) -> Ranks | None:
    """The processes of a communicator, where there is one. Raises ModelError where none is there to share a batch."""
    if communicator is None and not synchronised:
        raise ModelError(
            "synchronised=False is for processes of MPI; JAX's devices have the statistics of the whole batch",
            fix="leave it out, or give communicator=cr.world()",
        )
    return None if communicator is None else Ranks(communicator, synchronised)


def parted(made: Shared, *, synchronised: bool) -> Shares:
    """A step as the processes make it: that of the whole batch, or with the statistics of each share, which are not
    added up, nor is what comes of them. Raises ModelError where sums are not enough."""
    if synchronised:
        return shares(made.whole)
    return Shares((Round(made.share, made.share.outputs),), made.update)


class RanksRunner:
    """Runs a task of training: `made` computes the rounds of a step, on this process of its own samples. Without
    `synchronised` each share has statistics of its own: what it gives is a mean over its samples, or a count."""

    def __init__(
        self, task: Task, parts: Shares, ranks: Ranks, made: Sequence[Runner], dtype: np.dtype[Any]
    ) -> None:
        self.task, self.parts, self.ranks, self.made, self.dtype = task, parts, ranks, made, dtype
        self.shuffled = made[0].shuffled if made else shuffled
        self.counts = frozenset(task.outputs[1:])

    def run(
        self, data: Mapping[Tensor, Array], kept: dict[Tensor, Array], order: NDArray[np.int64], batch: int, *,
        seed: int = 0, before: int = 0, report: Callable[[int], bool | None] | None = None,
    ) -> tuple[dict[Tensor, Array], int]:
        """A process that wants to stop says so with the next step, after which all do."""
        task, samples = self.task, len(order)
        steps = -(-samples // batch)
        result, wish, failed = outputs_of(task, samples, steps, self.dtype), False, -1
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            now = {t: a[step] if t in task.stepwise else a for t, a in kept.items()}
            values, ending = self.step(data, now, rows, seed, before + step, wish)
            for tensor, array in result.items():
                array[step] = values[tensor]
            if not np.isfinite(result[task.outputs[0]][step]):
                failed = step
                break
            kept.update({t: values[n] for t, n in task.following.items() if n is not t})
            wish = bool(report and report(step + 1))
            if ending:
                break
        return result, failed

    def step(
        self, data: Mapping[Tensor, Array], kept: Mapping[Tensor, Array], rows: NDArray[np.int64], seed: int, step: int,
        wish: bool,
    ) -> tuple[dict[Tensor, Array], bool]:
        """What a step leaves behind, and whether a process has wished to stop. What is drawn, each draws for the whole
        batch."""
        own = self.ranks.share(len(rows))
        mine = rows[own]
        given = {t: array[mine] for t, array in data.items()} if len(mine) else {}
        given |= {t: a[own] for t, a in drawn(self.task, seed, step, len(rows), self.dtype).items()}
        known = {**kept, SAMPLE_COUNT: np.asarray(len(rows), self.dtype)}
        wishes = 0.0
        for part, made in zip(self.parts.rounds, self.made, strict=True):
            found: dict[Tensor, Array] = {}
            if len(mine):
                its, of_all = part.task.data, {t: known[t] for t in part.task.kept}
                found, _ = made.run({t: given[t] for t in its}, of_all, first(len(mine)), len(mine))
            wishes += self.added(part.sums, found, len(mine) / len(rows), known, wish)
            given |= {t: array for t, array in found.items() if t not in known}
        with np.errstate(over="ignore", invalid="ignore"):
            rest = self.parts.rest
            made = execute(rest, {t.name: known[t] for t in rest.given}, dtype=self.dtype)
        return known | {t: np.asarray(made[t.name]) for t in rest.defined}, wishes > 0

    def added(
        self, sums: Sequence[Tensor], found: Mapping[Tensor, Array], part: float, known: dict[Tensor, Array], wish: bool
    ) -> float:
        """Put the sums over all processes among what is known: one meeting, which also counts who wishes to stop."""
        shapes = [tuple(int(n) for n in t.shape) for t in sums]
        ends = [1, *(1 + int(n) for n in np.cumsum([math.prod(shape) for shape in shapes]))]
        numbers = np.zeros(ends[-1], self.dtype)
        numbers[0] = wish
        for tensor, start, end in zip(sums, ends, ends[1:], strict=False):
            if tensor in found:
                weight = 1.0 if self.ranks.synchronised or tensor in self.counts else part
                numbers[start:end] = found[tensor].ravel() * self.dtype.type(weight)
        self.ranks.sum(numbers)
        pairs = zip(sums, shapes, ends, ends[1:], strict=False)
        known.update({t: numbers[start:end].reshape(shape) for t, shape, start, end in pairs})
        return float(numbers[0])


def checked_shares(
    derivation: Derivation, made: Shared, ranks: Ranks, executor: Engine | None
) -> tuple[Task, Shares]:
    """A step and its rounds. Raises ModelError for JAX, which shares batches by itself, and where samples depend on
    each other by more than sums over them; CompileError where the rounds of shares do not give what the step of the
    whole batch does: at random points of GF(p), at reduced shapes, where a sum is one number in any order."""
    if isinstance(executor, Jax):
        raise ModelError("JAX shares a batch by itself", fix="leave out communicator, or executor")
    if ranks.synchronised and (wrong := differing(*reduced_shares(derivation))):
        raise CompileError(f"shares of a batch give another {spelled(wrong[0])} than the batch", fix="please report it")
    return made.whole, parted(made, synchronised=ranks.synchronised)


def reduced_shares(derivation: Derivation) -> tuple[Task, Shares]:
    """Loss and gradients at reduced shapes, and their rounds. Raises ModelError where sums are not enough."""
    task = reduced_step(derivation, None)
    task = replace(task, outputs=tuple(t for t in task.outputs if SAMPLES not in t.shape))
    return task, shares(task)


def differing(task: Task, parts: Shares, seed: int = 1) -> list[Tensor]:
    """What a step leaves behind that its rounds, over two shares, do not give."""
    samples = sum(PARTS)
    given = point(task, samples, seed)
    whole = executed(task, given, samples, seed)
    known = {t: a for t, a in given.items() if SAMPLES not in t.shape} | {SAMPLE_COUNT: np.array(samples, np.uint64)}
    ends = [sum(PARTS[:n]) for n in range(len(PARTS) + 1)]
    rows = [{t: a[start:end] for t, a in given.items() if SAMPLES in t.shape} for start, end in pairwise(ends)]
    for part in parts.rounds:
        total = dict.fromkeys(part.sums, 0)
        for own, count in zip(rows, PARTS, strict=True):
            its = {t: own[t] if t in own else known[t] for t in (*part.task.data, *part.task.kept)}
            found = executed(part.task, its, count, seed)
            own.update({t: a for t, a in found.items() if t not in total})
            total = {t: (a + found[t].astype(object)) % PRIME for t, a in total.items()}
        known |= {t: np.asarray(a).astype(np.uint64) for t, a in total.items()}
    after = field.execute(parts.rest, {t.name: known[t] for t in parts.rest.given}, seed=seed, extents={})
    left = known | {t: after[t.name][0] for t in parts.rest.defined}
    return [t for t in whole if not np.array_equal(left[task.following.get(t, t)], whole[t])]
