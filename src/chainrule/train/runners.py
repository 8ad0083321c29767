"""What runs the steps of a task: native code, NumPy, or JAX.

All take the same arrays and give the same outputs. What a task keeps (parameters, states) they change: native code in
place, the others by putting new arrays into the dictionary.
"""

from __future__ import annotations

import ctypes
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.arrays.ids import check_ids
from chainrule.compile import compiled
from chainrule.errors import BuildError, CompileError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Program
from chainrule.loops.task import Task
from chainrule.optim.optimizer import Optimizer
from chainrule.runtime.library import NUMBERS, Library
from chainrule.runtime.workers import Team
from chainrule.train.data import sums_up
from chainrule.train.shuffle import shuffled
from chainrule.verify.loops import Loops

if TYPE_CHECKING:
    from chainrule.targets.jax import Step

Array = NDArray[Any]
Executor = Literal["native", "numpy", "jax"]
REAL, INT = np.dtype(np.float32), np.dtype(np.int32)
SLICE = 0.05  # seconds after which Ctrl-C is seen and the number of workers chosen anew
TRIAL = 0.005  # seconds for which a number of workers is tried
RESTS = 4, 200  # times as long as its trial took, the slower number is left alone: each time twice as long, to the last
PARALLEL = 8e6  # operations in a batch from which a second worker is worth its meetings
AHEAD = 8  # steps that may wait for JAX's devices


Rule = Callable[[str, tuple[int, ...]], int | None]
"""Of a parameter's name and shape the axis that devices share, or None where each has all of it."""


@dataclass(frozen=True)
class Jax:
    """JAX on so many of its devices, or on all, which share parameters by a rule."""

    devices: int | None = None
    shard: Rule | None = None


Engine = Literal["native", "numpy"] | Jax
"""An executor with what it runs on."""


class Runner(Protocol):
    """Runs a task over batches."""

    task: Task

    def shuffled(self, samples: int, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The order of the samples that `shuffle.shuffled` makes of these words."""
        ...

    def run(
        self,
        data: Mapping[Tensor, Array],
        kept: dict[Tensor, Array],
        order: NDArray[np.int64],
        batch: int,
        *,
        seed: int = 0,
        before: int = 0,
        report: Callable[[int], bool | None] | None = None,
    ) -> tuple[dict[Tensor, Array], int]:
        """All batches of the samples in `order`: the outputs, one row a sample or one entry a step, and the number of
        the step whose loss was not finite, or -1. `before` steps were done earlier; `report` is told from time to time
        how many are, and ends the run by True. KeyboardInterrupt comes between two steps, with whole steps done."""
        ...


def outputs_of(task: Task, samples: int, steps: int, dtype: np.dtype[Any]) -> dict[Tensor, Array]:
    """Arrays for a task's outputs: one row a sample, or one entry a step."""
    result: dict[Tensor, Array] = {}
    for tensor in task.outputs:
        sized = bool(tensor.shape) and isinstance(tensor.shape[0], str)
        first = samples if sized else steps
        rest = tensor.shape[1:] if sized else tensor.shape
        result[tensor] = np.empty((first, *(int(e) for e in rest)), dtype)
    return result


class NumpyRunner:
    """Each step executes the equations over NumPy arrays, in the dtype of what is kept."""

    def __init__(self, task: Task, dtype: np.dtype[Any]) -> None:
        self.task, self.dtype = task, dtype
        self.program = Program(task.equations, inputs=(*task.data, *task.kept))
        self.shuffled = shuffled

    def run(
        self, data: Mapping[Tensor, Array], kept: dict[Tensor, Array], order: NDArray[np.int64], batch: int, *,
        seed: int = 0, before: int = 0, report: Callable[[int], bool | None] | None = None,
    ) -> tuple[dict[Tensor, Array], int]:
        task, samples = self.task, len(order)
        steps = -(-samples // batch)
        outputs = outputs_of(task, samples, steps, self.dtype)
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            values = self.values(data, kept, rows, seed, before + step, step)
            for tensor, array in outputs.items():
                if tensor.shape and isinstance(tensor.shape[0], str):
                    array[step * batch : step * batch + len(rows)] = values[tensor.name]
                else:
                    array[step] = values[tensor.name]
            if task.loss is not None and not np.isfinite(values[task.loss.name]):
                return outputs, step
            following = {t: values[n.name] for t, n in task.following.items() if n is not t}
            kept.update(following)  # one call, so that Ctrl-C falls before or after it, never between two parameters
            if report and report(step + 1):
                break
        return outputs, -1


    def values(
        self, data: Mapping[Tensor, Array], kept: Mapping[Tensor, Array], rows: NDArray[np.int64], seed: int, step: int,
        at: int = 0,
    ) -> dict[str, Array]:
        """All that a step over these rows computes, by name; `at` is its place among the rates."""
        given = {t.name: a[rows] for t, a in data.items()}
        given |= {t.name: a for t, a in drawn(self.task, seed, step, len(rows), self.dtype).items()}
        given |= {t.name: a[at] if t in self.task.stepwise else a for t, a in kept.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            return execute(self.program, given, extents={SAMPLES: len(rows)}, dtype=self.dtype)


class JaxRunner:
    """JAX, on devices that share each batch. Steps are handed to the devices ahead of what they have done."""

    def __init__(self, task: Task, dtype: np.dtype[Any], devices: int | None, shard: Rule | None = None) -> None:
        self.task, self.dtype = task, dtype
        self.step = step_of(task, dtype, devices, shard)
        self.shuffled = shuffled
        self.whole = any(t.dtype == "integer" for t in task.data)

    def run(
        self, data: Mapping[Tensor, Array], kept: dict[Tensor, Array], order: NDArray[np.int64], batch: int, *,
        seed: int = 0, before: int = 0, report: Callable[[int], bool | None] | None = None,
    ) -> tuple[dict[Tensor, Array], int]:
        task, samples = self.task, len(order)
        if self.whole:
            check_ids(task.equations, data)
        kinds = {t: INT if t.dtype == "integer" else self.dtype for t in data}
        steps, failed = -(-samples // batch), -1
        result = outputs_of(task, samples, steps, self.dtype)
        waiting = deque[tuple[int, Any]]()
        with self.step.wide():
            state = self.step.put(kept)
            for step in range(steps):
                rows = order[step * batch : (step + 1) * batch]
                own = rows[self.step.places(len(rows))]
                given = {t: array[own].astype(kinds[t], copy=False) for t, array in data.items()}
                rates = [kept[t][step] for t in task.stepwise]
                state, outputs = self.step(state, given, rates, seed, before + step, len(rows))
                waiting.append((step, outputs))
                if len(waiting) == AHEAD and (failed := self.read(result, waiting, batch)) >= 0:
                    break
                if self.step.agreed(step, bool(report and report(step + 1))):
                    break
            while waiting and failed < 0:
                failed = self.read(result, waiting, batch)
            if task.following:
                kept.update(self.step.taken(state))
        return result, failed

    def read(self, result: Mapping[Tensor, Array], waiting: deque[tuple[int, Any]], batch: int) -> int:
        """The outputs of the first step that waits; its number where the loss is not finite, or -1."""
        step, outputs = waiting.popleft()
        for (tensor, array), output in zip(result.items(), outputs, strict=True):
            if tensor.shape and isinstance(tensor.shape[0], str):
                rows = array[step * batch : (step + 1) * batch]
                rows[...] = np.asarray(output)[: len(rows)]
            else:
                array[step] = output
        loss = self.task.loss
        return -1 if loss is None or np.isfinite(result[loss][step]) else step


def step_of(task: Task, dtype: np.dtype[Any], devices: int | None, shard: Rule | None = None) -> Step:
    """A task's step for JAX. Raises ModelError where there is no JAX, or not so many devices."""
    try:
        from chainrule.targets.jax import Step
    except ModuleNotFoundError:
        raise ModelError('executor="jax" needs JAX', fix='pip install "chainrule[jax]"') from None
    return Step(task, dtype, devices, shard)


class NativeRunner:
    """Native code, by as many workers as are quickest. A run is made in slices; each tells how fast so many workers
    are, for the processors may have other work. How many they are changes no bit. Threads that run it at once have a
    library each, of the same code."""

    def __init__(self, task: Task, samples: int, workers: int | None) -> None:
        self.task = task
        self.workers = workers
        self.most = workers_for(task, samples, workers)
        self.library: Library = compiled(task, samples=samples, workers=self.most)
        self.idle = [self.library]
        self.shuffled = self.library.shuffled
        self.whole = any(t.dtype == "integer" for t in task.data)
        self.speeds: dict[int, float] = {}  # samples per second, by the number of workers
        self.cold: dict[int, float] = {}  # those of the first step, which also starts threads and fills caches
        self.spent = 0.0  # seconds that all slices have taken
        self.due = math.inf  # so many, when the slower number is tried again
        self.rest = RESTS[0]

    def run(
        self, data: Mapping[Tensor, Array], kept: dict[Tensor, Array], order: NDArray[np.int64], batch: int, *,
        seed: int = 0, before: int = 0, report: Callable[[int], bool | None] | None = None,
    ) -> tuple[dict[Tensor, Array], int]:
        if self.whole:
            check_ids(self.task.equations, data)
        given = {t: np.ascontiguousarray(a, INT if t.dtype == "integer" else REAL) for t, a in data.items()}
        samples = len(order)
        batch = min(batch, samples)
        steps = -(-samples // batch)
        outputs = outputs_of(self.task, samples, steps, REAL)
        try:
            library = self.idle.pop()
        except IndexError:
            library = self.library.another()
        try:
            library.prepare(given, kept, outputs, order, batch)
            try:
                return outputs, self.sliced(library, samples, batch, steps, seed, before, report)
            finally:
                library.unpack()
        finally:
            self.idle.append(library)

    def sliced(
        self, library: Library, samples: int, batch: int, steps: int, seed: int, before: int,
        report: Callable[[int], bool | None] | None,
    ) -> int:
        """All steps, slice by slice. Returns the one whose loss was not finite, or -1."""
        done = 0
        while done < steps:
            workers, trial = self.choose(batch)
            known = self.speeds.get(workers)
            expected = known or self.cold.get(workers)
            count = max(1, int((TRIAL if trial else SLICE) * expected / batch)) if expected else 1
            end, start = min(steps, done + count), perf_counter()
            failed = library.steps(samples, batch, done, end, seed=seed, before=before, workers=workers)
            if failed >= 0:
                return failed
            taken = max(perf_counter() - start, 1e-9)
            self.spent += taken
            speed = (min(samples, end * batch) - done * batch) / taken
            if expected is None:
                self.cold[workers] = speed
            else:
                self.speeds[workers] = speed if known is None else (known + speed) / 2
            if trial:
                self.due = self.spent + self.rest * taken
                again = workers != self.best(batch)[0]
                self.rest = min(2 * self.rest, RESTS[1]) if again else RESTS[0]
            done = end
            if report and report(done):
                break
        return -1

    def choose(self, batch: int) -> tuple[int, bool]:
        """The number of workers for the next slice, and whether it is tried only: the quickest of late, or one that is
        not known, and now and then the slower, the first times soon: processors that were idle start slowly."""
        best, other = self.best(batch)
        if best != other and best in self.speeds and self.spent >= self.due:
            return other, True
        return best, best not in self.speeds

    def best(self, batch: int) -> list[int]:
        """The numbers of workers there may be, the quickest or unknown first."""
        most = min(self.most, workers_for(self.task, batch, self.workers))
        return sorted((most, 1), key=lambda n: -self.speeds.get(n, math.inf))


@lru_cache(maxsize=8)
def first(samples: int) -> NDArray[np.int64]:
    """The order in which samples come that are not shuffled."""
    return np.arange(samples)


class Again:
    """The last short prediction, to be made once more of other samples: they are copied to one place, and nothing is
    bound anew: the library is its own. For those who predict one sample at a time, where all else would take longer
    than the products."""

    def __init__(self, made: NativeRunner, kept: Mapping[Tensor, Array], samples: int, result: Array) -> None:
        self.library, self.lock = made.library.another(), Lock()
        (given,), (out,) = made.task.data, made.task.outputs
        self.shape = (samples, *(int(e) for e in given.shape[1:]))
        self.given: Array = np.empty(self.shape, REAL)
        self.out = np.empty_like(result)
        self.kept = [(t.name, array) for t, array in kept.items()]
        self.order = first(samples)
        self.library.prepare({given: self.given}, kept, {out: self.out}, self.order, samples)
        self.arguments = self.library.table, NUMBERS(samples, samples, 0, 1, 0, 0), ctypes.byref(Team(1)), 0

    def __call__(self, x: Any, values: Mapping[str, Array], states: Mapping[str, Array]) -> Array | None:
        """The prediction, or None where anything is not as it was."""
        if type(x) is not np.ndarray or x.dtype != REAL or x.shape != self.shape:
            return None
        for name, array in self.kept:
            if values.get(name) is not array and states.get(name) is not array:
                return None
        with self.lock:
            self.given[...] = x
            if not sums_up(self.given):
                return None
            self.library.function(*self.arguments)
            return self.out.copy()


def workers_for(task: Task, batch: int, workers: int | None) -> int:
    """How many workers may share a batch: those asked for, or as many as there are processors where it is worth it."""
    return workers or (1 if task.operations * batch < PARALLEL else cores())


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def runner(
    task: Task, dtype: np.dtype[Any], samples: int, executor: Engine | None, workers: int | None = None,
    looked: Callable[[], Loops] | None = None,
) -> Runner:
    """Native code where that is possible, else NumPy, with a line that says why; with an `executor` that one. `looked`
    says what came of carrying out the task's loops; native code whose loops never were runs with a line. Raises
    BuildError and CompileError for "native" where it is not possible, ModelError for "jax"."""
    if isinstance(executor, Jax):
        return JaxRunner(task, dtype, executor.devices, executor.shard)
    if executor == "numpy" or (executor is None and dtype != np.float32):
        return NumpyRunner(task, dtype)
    if dtype != np.float32:
        raise CompileError(f"native code computes in float32, and the model in {dtype}", fix='write executor="numpy"')
    try:
        found = Loops() if looked is None else looked()
        if found.differing:
            raise CompileError(
                f"the loops compute {', '.join(found.differing)} otherwise than the equations, a fault of chainrule's",
                fix="please report it, with the model's equations",
            )
        made = NativeRunner(task, samples, workers)
        if found.note:
            _say_once(f"the loops are not compared with the equations: {found.note}; native code runs the model")
        return made
    except (BuildError, CompileError) as error:
        if executor == "native":
            raise
        _say_once(f"{error.problem}; NumPy runs the model instead, slower")
        return NumpyRunner(task, dtype)


@lru_cache(maxsize=16)
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, RuntimeWarning, stacklevel=4)


def drawn(task: Task, seed: int, step: int, samples: int, dtype: np.dtype[Any]) -> dict[Tensor, Array]:
    """What the layers draw in one step: each entry depends on the seed, the tensor, the step and its place alone.

    Philox4x64-10 (Salmon et al., SC 2011) maps a key and a counter to four words of 64 bits. Entry i of the
    tensor, in row-major order, is made of word i mod 4 at the key (seed mod 2^64, number of the tensor among the
    program's random ones, from 0) and the counter (1 + i div 4, 0, step, 0), lowest word first. A mask is 1 where
    (word >> 11)/2^53 is less than the probability. A uniform number is (word >> 11)/2^53 in float64 and
    (word >> 40)/2^24 in float32, each exact and less than 1.
    """
    result: dict[Tensor, Array] = {}
    for tensor, (number, probability) in task.drawn.items():
        shape = tuple(samples if isinstance(extent, str) else extent for extent in tensor.shape)
        # NumPy counts up before it draws: the first block has the counter 1.
        key, counter = np.array([seed % 2**64, number], np.uint64), np.array([0, 0, step, 0], np.uint64)
        words = np.random.Philox(key=key, counter=counter).random_raw(math.prod(shape)).reshape(shape)
        if probability is not None:
            result[tensor] = ((words >> np.uint64(11)) * 2.0**-53 < probability).astype(dtype)
        else:
            kept = np.finfo(dtype).nmant + 1
            result[tensor] = (words >> np.uint64(64 - kept)).astype(dtype) * dtype.type(2.0**-kept)
    return result


def rates(rule: Optimizer, first: int, count: int, dtype: np.dtype[Any]) -> Array:
    """The optimizer's rate at `count` steps from `first` on."""
    if not callable(rule.rate):
        return np.full(count, rule.rate_at(first), dtype)
    return np.array([rule.rate_at(step) for step in range(first, first + count)], dtype)


def metrics_of(task: Task, outputs: Mapping[Tensor, Array], samples: int, batch: int) -> dict[str, float]:
    """The loss over all batches, and the accuracy where the task counts it: its outputs are the loss, and then how many
    are right, of how many."""
    losses, *counts = (outputs[tensor] for tensor in task.outputs)
    batch = min(batch, samples)
    last = samples - batch * (len(losses) - 1)
    metrics = {"loss": float(batch * losses[:-1].sum(dtype=np.float64) + last * float(losses[-1])) / samples}
    if counts:
        right, counted = (float(each.sum(dtype=np.float64)) for each in counts)
        metrics["accuracy"] = right / max(counted, 1.0)
    return metrics


def engine(executor: Executor | None, devices: int | None = None, shard: Rule | None = None) -> Engine | None:
    """The executor that a user has named, on as many of JAX's devices. Raises ModelError for what is none."""
    if executor not in (None, "native", "numpy", "jax"):
        raise ModelError(f"unknown executor {executor!r}", fix='write executor="native", "numpy" or "jax"')
    if devices is not None:
        if executor != "jax":
            raise ModelError("devices are those of JAX", fix='write executor="jax", or workers= for native code')
        check_count("devices", devices, 8)
    if shard is not None and (executor != "jax" or not callable(shard)):
        raise ModelError(
            "shard is a function of a parameter's name and shape, for JAX",
            fix='write executor="jax", shard=lambda name, shape: 0 if len(shape) == 2 else None',
        )
    return Jax(devices, shard) if executor == "jax" else executor


def check_workers(workers: object) -> None:
    if workers is not None:
        check_count("workers", workers, 2)


def check_count(name: str, value: object, example: int) -> None:
    """Raises ModelError for what is no positive whole number."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{name} must be a positive whole number, not {value!r}", fix=f"write {name}={example}")
