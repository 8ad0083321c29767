"""A lowered program as something that runs: built, loaded, given memory, and called by its workers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import Tensor
from chainrule.loops.layout import Layout
from chainrule.loops.plan import Plan
from chainrule.loops.task import Task
from chainrule.runtime.aligned import zeros
from chainrule.runtime.workers import Team

Array = NDArray[Any]
NUMBERS = ctypes.c_long * 6  # what chainrule_run reads as n


@dataclass(frozen=True, slots=True)
class Frame:
    """What there is to know of a plan when its code runs: the samples of a block and the entries of its memory, those
    of the common memory, whether every batch has one sample, and the halos of what is kept."""

    width: int
    stride: int
    common: int
    single: bool
    halos: tuple[tuple[tuple[int, int], ...], ...]


def frame_of(plan: Plan) -> Frame:
    halos = tuple(plan.stored[t, False].layout.halo for t in plan.task.kept)
    return Frame(plan.width, plan.stride, plan.common, plan.single, halos)


class Library:
    """The program of a task, built and loaded; `real` is the type of numbers. Its memory grows with the largest batch
    it has seen. One call at a time; `another` has memory of its own."""

    def __init__(self, task: Task, frame: Frame, code: ctypes.CDLL, real: np.dtype[Any]) -> None:
        self.task, self.frame, self.handle, self.real = task, frame, code, real
        self.function = self.handle.chainrule_run
        self.function.restype = ctypes.c_long
        self.function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        self.shuffle = self.handle.chainrule_shuffle
        self.shuffle.restype, self.shuffle.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        self.pool: tuple[ThreadPoolExecutor, int, int] | None = None
        self.slots = slots = task.slots
        self.table = (ctypes.c_void_p * len(slots))()
        self.bound: list[object] = [None] * len(slots)
        self.blocks = 0  # entries
        self.bind(slots["common"], zeros((frame.common,), real))
        self.data = [(t, slots[t]) for t in task.data]
        self.kept = [(t, slots[t], Layout(t, halo, 1)) for t, halo in zip(task.kept, frame.halos, strict=True)]
        self.results = [(t, slots["out", t]) for t in task.outputs]
        self.rooms: dict[int, Array] = {}
        """For what the code keeps in a layout of its own, by slot: made once, for fresh memory is slow to touch."""
        self.packed: list[tuple[Array, Array]] = []

    def another(self) -> Library:
        return Library(self.task, self.frame, self.handle, self.real)

    def bind(self, slot: int, array: Array) -> None:
        """Put the address of an array into the table; it lives as long as it stands there."""
        if self.bound[slot] is not array:
            assert array.flags.c_contiguous
            self.table[slot] = _address(array)
            self.bound[slot] = array

    def prepare(
        self, data: Mapping[Tensor, Array], kept: Mapping[Tensor, Array], outputs: Mapping[Tensor, Array],
        order: NDArray[np.int64], batch: int, ticks: NDArray[np.uint64] | None = None,
    ) -> None:
        """Take the arrays that the next steps run over. They must be contiguous, of the library's type (int32 for whole
        numbers, over the field int64); those of `kept` are changed in place, at the latest by `unpack`. `ticks` are for
        a library built to be profiled: a count for each mark.
        """
        frame = self.frame
        assert batch == 1 or not frame.single
        entries = -(-batch // frame.width) * frame.stride
        if self.blocks < entries:
            self.bind(self.slots["blocks"], zeros((entries,), self.real))
            self.blocks = entries
        self.bind(self.slots["order"], order)
        for tensor, slot in self.data:
            if tensor in data:
                self.bind(slot, data[tensor])
            else:  # drawn: a batch of it, row by row
                self.bind(slot, np.empty(batch * prod(int(e) for e in tensor.shape[1:]), self.real))
        for tensor, slot, layout in self.kept:
            array = kept[tensor]
            if not layout.unhaloed:
                room = self.rooms.get(slot)
                if room is None:
                    room = self.rooms[slot] = zeros((layout.size,), self.real)
                inner = layout.inside(room)
                inner[...] = array
                self.packed.append((array, inner))
                array = room
            self.bind(slot, array)
        for tensor, slot in self.results:
            self.bind(slot, outputs[tensor])
        if ticks is not None:
            self.bind(self.slots["ticks"], ticks)

    def shuffled(self, samples: int, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The numbers of the samples, in an order made of random words."""
        order = np.empty(samples, np.int64)
        self.shuffle(_address(order), _address(words), samples)
        return order

    def threads(self, count: int) -> ThreadPoolExecutor:
        """Threads beside this one; those of a process that was forked are not there in the other."""
        if self.pool is None or self.pool[1] < count or self.pool[2] != os.getpid():
            self.pool = ThreadPoolExecutor(count), count, os.getpid()
        return self.pool[0]

    def unpack(self) -> None:
        """What the code keeps in a layout of its own, back into the arrays it was given; all of it, whenever Ctrl-C
        comes. The data are let go."""
        try:
            self._copy_back()
        except KeyboardInterrupt:
            self._copy_back()
            raise
        finally:
            self.packed.clear()
            for slot in (self.slots["order"], *(slot for _, slot in self.data)):
                self.bound[slot] = None

    def _copy_back(self) -> None:
        for array, inner in self.packed:
            array[...] = inner

    def steps(
        self, samples: int, batch: int, first: int, last: int, *, seed: int = 0, before: int = 0, workers: int = 1
    ) -> int:
        """Steps first … last − 1 over batches of the samples in the order given to `prepare`, by this thread and
        `workers` − 1 others. Returns the step whose loss was not finite, or -1."""
        bits = seed % 2**64  # a word, in a long
        numbers = NUMBERS(samples, batch, first, last, bits if bits < 2**63 else bits - 2**64, before)
        team = Team(workers)
        others: list[Future[int]] = []
        try:
            if workers > 1:
                pool = self.threads(workers - 1)
                for n in range(1, workers):
                    others.append(pool.submit(self.function, self.table, numbers, ctypes.byref(team), n))
            return int(self.function(self.table, numbers, ctypes.byref(team), 0))
        finally:
            _dismiss(team, others)


def _address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def _dismiss(team: Team, others: list[Future[int]]) -> None:
    """Wait until the other workers are done. Where Ctrl-C or a lack of threads came before all were sent, those that
    wait for the rest are let go; they have written nothing. Further exceptions come when all is over."""
    later: BaseException | None = None
    while True:
        try:
            team.stop = 1  # one that was sent may not be among them yet
            if others:
                wait(others)
            break
        except BaseException as error:
            later = error
    if later is not None:
        raise later
