"""Processes of MPI that train one model together: each computes the gradients of its share of a batch, by native code
or NumPy, one all-reduce adds them up, and all make the same update.

A loss is a mean over the samples of a batch, and what is added to it: it and its gradients are the sum of those of the
shares, each times its part of the batch. Where samples couple that is not so, which is found over GF(p) and refused.
What fails on one process ends them all, with one line that names it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.compile import Shared
from chainrule.derive import Derivation
from chainrule.derive.coupling import coupling
from chainrule.errors import ChainruleError, DivergenceError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.print import spelled
from chainrule.loops.task import Task
from chainrule.semantics.prime import PRIME
from chainrule.train.runners import Engine, Jax, Runner, drawn, first, outputs_of
from chainrule.verify.loops import executed, point, reduced_step

Array = NDArray[Any]
PARTS = 1, 2
"""The samples of two shares of a batch, for which the law of sums is looked at."""
LAUNCHED = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"
"""What mpirun tells the processes that it starts."""


def mpi() -> Any:
    """Raises ModelError where mpi4py is not installed."""
    try:
        from mpi4py import MPI  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        raise ModelError("several processes need mpi4py", fix='pip install "chainrule[mpi]"') from None
    return cast(Any, MPI)


def world() -> Any | None:
    """All processes that mpirun has started with this one, or None where there are no others. Raises ModelError where
    there are, and no mpi4py."""
    several = any(os.environ.get(name, "1") not in ("", "1") for name in LAUNCHED)
    return mpi().COMM_WORLD if several else None


@dataclass(frozen=True)
class Ranks:
    """The processes, by a communicator of mpi4py. Where the samples couple they are those of the whole batch if
    `synchronised`, which is refused, else of each share."""

    communicator: Any
    synchronised: bool = True

    def __post_init__(self) -> None:
        if not all(hasattr(self.communicator, name) for name in ("Allreduce", "Abort", "rank", "size")):
            raise ModelError(
                f"{self.communicator!r} is no communicator",
                fix="from mpi4py import MPI; model.fit(x, y, communicator=MPI.COMM_WORLD)",
            )

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.communicator.rank == 0

    def share(self, samples: int) -> slice:
        """Of so many rows, those of this process: as many as the others have, or one more."""
        rank, size = self.communicator.rank, self.communicator.size
        return slice(samples * rank // size, samples * (rank + 1) // size)

    def sum(self, numbers: Array) -> None:
        """Put the sum over all processes in the place of an array."""
        self.communicator.Allreduce(mpi().IN_PLACE, numbers, mpi().SUM)

    def any(self, *said: bool) -> list[bool]:
        """What one process at least says."""
        numbers = np.array(said, np.int32)
        self.sum(numbers)
        return [bool(n) for n in numbers]

    @contextmanager
    def failing(self) -> Generator[None]:
        """Of what fails here the others would never know: they are ended too. A loss that is not finite is one of all
        processes, and so is Ctrl-C when it gets here."""
        try:
            yield
        except (DivergenceError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if self.communicator.size == 1:
                raise
            rank, size = self.communicator.rank, self.communicator.size
            what = f"{type(error).__name__}: {error}"
            if isinstance(error, ChainruleError):
                what = f"{error.problem}; {error.fix}" if error.fix else error.problem
            line = f"chainrule: rank {rank} of {size} on {socket.gethostname()} failed: {' '.join(what.split())}"
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
            self.communicator.Abort(1)


class RanksRunner:
    """Runs a task of training: `made` computes the shares, on this process its own."""

    def __init__(self, shared: Shared, ranks: Ranks, made: Runner, dtype: np.dtype[Any]) -> None:
        self.task, self.shared, self.ranks, self.made, self.dtype = shared.whole, shared, ranks, made, dtype
        self.shuffled = made.shuffled
        outputs = shared.share.outputs
        self.shapes = [tuple(int(n) for n in t.shape) for t in outputs]
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.ends = [1, *(1 + int(n) for n in np.cumsum(sizes))]  # in front: how many want to stop
        self.mean = np.ones(self.ends[-1], bool)  # what is a mean over samples; the others are counts
        for tensor, start, end in zip(outputs, self.ends, self.ends[1:], strict=False):
            self.mean[start:end] = tensor not in self.task.outputs[1:]
        self.mean[0] = False

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
            numbers = self.step(data, kept, rows, seed, before + step)
            numbers[0] = wish
            self.ranks.sum(numbers)
            pairs = zip(self.shared.share.outputs, self.shapes, self.ends, self.ends[1:], strict=False)
            values = {t: numbers[start:end].reshape(shape) for t, shape, start, end in pairs}
            for tensor, array in result.items():
                array[step] = values[tensor]
            if not np.isfinite(result[task.outputs[0]][step]):
                failed = step
                break
            kept.update(self.updated(kept, values, step))
            wish = bool(report and report(step + 1))
            if numbers[0]:
                break
        return result, failed

    def step(
        self, data: Mapping[Tensor, Array], kept: Mapping[Tensor, Array], rows: NDArray[np.int64], seed: int, step: int
    ) -> Array:
        """What this process adds to the sums of a step. What is drawn, it draws for the whole batch."""
        share, own = self.shared.share, self.ranks.share(len(rows))
        numbers, mine = np.zeros(self.ends[-1], self.dtype), rows[own]
        if not len(mine):
            return numbers
        given = {t: array[mine] for t, array in data.items()}
        given |= {t: a[own] for t, a in drawn(self.task, seed, step, len(rows), self.dtype).items()}
        found, _ = self.made.run(given, {t: kept[t] for t in share.kept}, first(len(mine)), len(mine))
        for tensor, start, end in zip(share.outputs, self.ends, self.ends[1:], strict=False):
            numbers[start:end] = found[tensor].ravel()
        numbers[self.mean] *= len(mine) / len(rows)
        return numbers

    def updated(self, kept: Mapping[Tensor, Array], values: Mapping[Tensor, Array], step: int) -> dict[Tensor, Array]:
        """What is kept after the step, as the optimizer's equations say."""
        task, update = self.task, self.shared.update
        known = {**values, **{t: a[step] if t in task.stepwise else a for t, a in kept.items()}}
        with np.errstate(over="ignore", invalid="ignore"):
            made = execute(update, {t.name: known[t] for t in update.given}, dtype=self.dtype)
        after = {**{t.name: np.array(a) for t, a in values.items()}, **made}
        return {t: after[n.name] for t, n in task.following.items() if n is not t}


def check_sums(derivation: Derivation, ranks: Ranks, executor: Engine | None) -> None:
    """Raises ModelError for JAX, which shares batches by itself, and where loss and gradients of a batch are not the
    sum of those of its shares: at a random point of GF(p), at reduced shapes, that sum is another number."""
    if isinstance(executor, Jax):
        raise ModelError("JAX shares a batch by itself", fix="leave out communicator, or executor")
    if not ranks.synchronised or not _differing(reduced_step(derivation, None)):
        return
    forward = derivation.forward
    found = coupling(forward, derivation.loss, {t for t in (*forward.given, *forward.defined) if t.dtype == "real"})
    at = ", ".join(spelled(e.tensor) for e in found.first if SAMPLES in e.tensor.shape)
    raise ModelError(
        f"the samples of a batch are coupled{f', in {at}' if at else ': its loss is not a mean over them'}, so that "
        "the shares of processes do not add up",
        fix='write synchronised=False for statistics of each share, or executor="jax" for those of the batch',
    )


def _differing(task: Task, seed: int = 1) -> list[Tensor]:
    """The numbers of a step that are not the sum of those of two shares of its batch, each times its part."""
    samples = sum(PARTS)
    given = point(task, samples, seed)
    whole = executed(task, given, samples, seed)
    wanted = [t for t in whole if SAMPLES not in t.shape]
    total: dict[Tensor, Array] = {t: np.zeros(np.shape(whole[t]), object) for t in wanted}
    start = 0
    for count in PARTS:
        rows = {t: a[start : start + count] if SAMPLES in t.shape else a for t, a in given.items()}
        part = executed(task, rows, count, seed)
        weight = count * pow(samples, -1, PRIME) % PRIME
        for t in wanted:
            total[t] = (total[t] + weight * np.asarray(part[t]).astype(object)) % PRIME
        start += count
    return [t for t in wanted if not np.array_equal(total[t], np.asarray(whole[t]).astype(object) % PRIME)]

