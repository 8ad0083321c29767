"""A lowered program as something that runs: built, loaded, given memory, and called by its workers."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import Tensor
from chainrule.loops.program import Lowered
from chainrule.runtime.build import build
from chainrule.runtime.compiler import Target
from chainrule.runtime.workers import Team

Array = NDArray[Any]
ALIGNMENT = 64  # bytes


@dataclass
class Run:
    """A call under way. `steps` are done so far; `stop` ends it at the next step."""

    team: Team
    calls: Sequence[Future[int]]
    packed: Sequence[tuple[Array, Array]]  # arrays, and the same in the layout of the code
    alive: object  # what the workers read and write

    @property
    def steps(self) -> int:
        return int(self.team.steps)

    def stop(self) -> None:
        self.team.stop = 1

    def wait(self, timeout: float | None = None) -> int | None:
        """The step whose loss was not finite, -1 where there was none, or None while workers are still busy."""
        for call in self.calls:
            try:
                call.result(timeout)
            except TimeoutError:
                return None
        for array, packed in self.packed:
            array[...] = packed
        return max(call.result() for call in self.calls)


class Library:
    """A built program. `slots` says which entry of the table of memory each thing is; `real` is the type of numbers.
    Its memory grows with the largest batch it has seen."""

    def __init__(
        self,
        lowered: Lowered,
        source: str,
        slots: Mapping[str, int],
        target: Target,
        real: np.dtype[Any],
        flags: tuple[str, ...] = (),
    ) -> None:
        self.lowered, self.real, self.slots = lowered, real, slots
        self.handle = ctypes.CDLL(str(build(source, target=target, flags=flags)))
        self.function = self.handle.chainrule_run
        self.function.restype = ctypes.c_long
        self.function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        self.blocks, self.common = _zeros(0, self.real), _zeros(lowered.common, self.real)
        self.pool: ThreadPoolExecutor | None = None

    def start(
        self,
        data: Mapping[Tensor, Array],
        kept: Mapping[Tensor, Array],
        outputs: Mapping[Tensor, Array],
        order: NDArray[np.int64],
        *,
        batch: int,
        first: int = 0,
        last: int | None = None,
        seed: int = 0,
        before: int = 0,
        workers: int = 1,
        ticks: NDArray[np.uint64] | None = None,
    ) -> Run:
        """Begin steps first … last − 1 over batches of the samples in `order`. Arrays must be contiguous, of the
        library's type (whole numbers: int32, over the field int64); those of `kept` are changed in place. `ticks` are
        for a library built to be profiled: a count for each mark.
        """
        lowered, task = self.lowered, self.lowered.task
        samples = len(order)
        batch = min(batch, samples)
        last = -(-samples // batch) if last is None else last
        entries = -(-batch // lowered.width) * lowered.stride
        if len(self.blocks) < entries:
            self.blocks = _zeros(entries, self.real)
        sizes = {t: batch * prod(int(e) for e in t.shape[1:]) for t in task.drawn if t not in data}
        scratch = {t: np.empty(size, self.real) for t, size in sizes.items()}
        table = (ctypes.c_void_p * len(self.slots))()
        arrays: dict[str, Array] = {"blocks": self.blocks, "common": self.common, "order": order}
        for tensor in task.data:
            arrays[lowered.names[tensor]] = data[tensor] if tensor in data else scratch[tensor]
        packed: list[tuple[Array, Array]] = []
        for tensor in task.kept:
            layout, array = lowered.stored[tensor, False].layout, kept[tensor]
            if not layout.unhaloed:
                room = _zeros(layout.size, self.real)
                inner = room.reshape(layout.padded)[tuple(slice(a, a + e) for e, (a, _) in zip(layout.extents, layout.halo, strict=True))]
                inner[...] = array
                packed.append((array, inner))
                array = room
            arrays[lowered.names[tensor]] = array
        for tensor, array in outputs.items():
            arrays[f"out {lowered.names[tensor]}"] = array
        if ticks is not None:
            arrays["ticks"] = ticks
        for name, array in arrays.items():
            assert array.flags.c_contiguous
            table[self.slots[name]] = array.ctypes.data
        numbers = np.array([samples, batch, first, last, np.int64(np.uint64(seed % 2**64)), before], np.int64)
        team = Team(workers)
        alive = (table, numbers, team, arrays)
        if workers > 1 and (self.pool is None or self.pool._max_workers < workers):
            self.pool = ThreadPoolExecutor(workers)
        calls: list[Future[int]] = []

        def work(worker: int) -> int:
            return int(self.function(table, numbers.ctypes.data, ctypes.byref(team), worker))

        if self.pool is None:
            self.pool = ThreadPoolExecutor(max(workers, 1))
        calls = [self.pool.submit(work, worker) for worker in range(workers)]
        return Run(team, calls, packed, alive)


def _zeros(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros that begin at a multiple of ALIGNMENT."""
    spare = ALIGNMENT // dtype.itemsize
    array = np.zeros(entries + spare, dtype)
    skip = -array.ctypes.data % ALIGNMENT // dtype.itemsize
    return array[skip : skip + entries]
