"""The loop of training: epochs over rows in a drawn order, whole batches at a time, from wherever training stands."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DivergenceError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation
from chainrule.train.callbacks import Callback, Checkpoint
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt
from chainrule.train.processes import Processes
from chainrule.train.progress import Progress
from chainrule.train.runners import Runner, metrics_of, rates
from chainrule.train.shuffle import words_for
from chainrule.train.state import Training, fingerprint, joined

if TYPE_CHECKING:
    from chainrule.train.model import Model

Array = NDArray[Any]
BLOCK = 1 << 24  # bytes of rows that are shuffled together where a file is read


def check_shuffle(value: object) -> None:
    """Raises ModelError for what says nothing of an order."""
    if not isinstance(value, bool) and value != "blocks":
        raise ModelError(f"shuffle is True, False or 'blocks', not {value!r}", fix="write shuffle=True")


@dataclass
class Course:
    """One call of `fit`: what runs its steps, over what. `give` makes the arrays in `kept` those of the model, which a
    callback may have changed, and `take` the model's those that have learnt; `blame` says where a loss that is not
    finite began; `evaluate` gives the metrics of what is held out."""

    model: Model
    training: Training
    runner: Runner
    data: Mapping[Tensor, Array]
    kept: dict[Tensor, Array]
    at: NDArray[np.int64]
    batch: int
    give: Callable[[], None]
    take: Callable[[], None]
    blame: Callable[[NDArray[np.int64]], str]
    shuffle: bool | str = True
    callbacks: Sequence[Callback] = ()
    evaluate: Callable[[], dict[str, float]] = dict
    processes: Processes | None = None

    def __post_init__(self) -> None:
        self.rated: tuple[tuple[int, float] | None, Array] = None, np.zeros(0)
        self.all_rows = bool((self.at == np.arange(len(self.at))).all())

    @property
    def samples(self) -> int:
        return len(self.at)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-self.samples // self.batch)

    def train(self, report: Progress) -> History:
        """Epochs up to the goal. Ctrl-C ends them between two steps. Where several processes train, so does SIGTERM, as
        of a machine that is taken away, to any of them: then what saves does so, and the process ends."""
        history = self.training.history
        with Interrupt(also_ended=self.processes is not None) as interrupt:
            try:
                for callback in self.callbacks:
                    callback.begin(self.model)
                while self.training.epochs < self.training.goal and not history.stopped:
                    self.epoch(report, interrupt)
            except KeyboardInterrupt:
                history.interrupted = True
                if self.training.done:
                    self.training.rows = self.rows()
                if self.processes is not None and interrupt.ended:
                    for callback in self.callbacks:
                        if isinstance(callback, Checkpoint):
                            callback.on_steps(self.model)
                    self.processes.wait()
                    raise SystemExit(128 + SIGTERM) from None
        return history

    def check(self, interrupt: Interrupt) -> None:
        """Raises KeyboardInterrupt where Ctrl-C or SIGTERM came, to any of the processes."""
        if self.processes is not None:
            asked, ended = self.processes.any(interrupt.asked, interrupt.ended)
            if not asked:  # on any process; what has come since then, all hear of at the next check
                return
            interrupt.noted, interrupt.ended = True, interrupt.ended or ended
        interrupt.check()

    def prepare(self, goal: int | None) -> None:
        """Go on up to an epoch, or as far as the last call was to go. An epoch that was begun over other rows, or in
        other batches, begins anew."""
        training = self.training
        if goal is not None:
            training.goal, training.history = goal, History(samples=self.samples, batch_size=self.batch)
        training.history.interrupted = False
        if training.done and training.rows != self.rows():
            warnings.warn(
                "the rows or batches are not those of the epoch that was begun, which begins anew", RuntimeWarning, 4
            )
            training.forget_epoch()
        times = Counter[str]()
        for callback in self.callbacks:
            kind = type(callback).__name__
            name, times[kind] = f"{times[kind]} {kind}", times[kind] + 1
            callback.memory.update(() if callback.memory else training.memory.get(name, {}))
            training.memory[name] = callback.memory

    def step(self) -> dict[str, float]:
        """One step over all rows, which belongs to no epoch."""
        outputs, failed = self.steps_over(self.at, 1)
        if failed >= 0:
            raise self.not_finite(outputs, failed, self.at, "")
        self.training.steps += 1
        return metrics_of(self.runner.task, outputs, self.samples, self.batch)

    def steps_over(
        self, rows: NDArray[np.int64], count: int, report: Callable[[int], bool] | None = None
    ) -> tuple[dict[Tensor, Array], int]:
        """The next steps, over these rows. Whatever comes, the model then has what they have learnt."""
        self.give()
        for tensor in self.runner.task.stepwise:
            self.kept[tensor] = self.rates(self.training.steps, count)
        try:
            seed, before = self.training.seed, self.training.steps
            return self.runner.run(self.data, self.kept, rows, self.batch, seed=seed, before=before, report=report)
        finally:
            self.take()

    def epoch(self, report: Progress, interrupt: Interrupt) -> None:
        """What is left of the epoch that is begun, or a whole one."""
        training = self.training
        order = self.order() if self.all_rows else self.at[self.order()]
        while training.done < self.steps:
            self.check(interrupt)
            end = min([self.steps, *(self.until(c.every) for c in self.callbacks if c.every)])
            self.run(order, end, report, interrupt)
            waiting = [c for c in self.callbacks if c.due() or (c.every and training.steps % c.every == 0)]
            if waiting:
                training.rows = self.rows()
                for callback in waiting:
                    callback.on_steps(self.model)
        self.check(interrupt)
        metrics = self.metrics() | self.evaluate()
        training.epochs += 1
        training.forget_epoch()
        training.history.add(metrics)
        report.epoch(training.epochs - 1, metrics)
        for callback in self.callbacks:
            if callback.on_epoch(self.model, metrics):
                training.history.stopped = training.history.stopped or type(callback).__name__

    def metrics(self) -> dict[str, float]:
        """Those of this epoch's steps: of all but such as a second Ctrl-C has left uncounted."""
        seen = self.training.seen
        if not seen:
            return {"loss": math.nan}
        samples = self.samples - (self.steps - len(seen[0])) * self.batch
        return metrics_of(self.runner.task, dict(zip(self.runner.task.outputs, seen, strict=True)), samples, self.batch)

    def until(self, every: int) -> int:
        """The step of this epoch at which the steps done are the next multiple of `every`."""
        return self.training.done + every - self.training.steps % every

    def order(self) -> NDArray[np.int64]:
        """The order of this epoch, which depends on the seed and the number of the epoch alone."""
        if not self.shuffle:
            return np.arange(self.samples)
        rng = self.training.rng()
        if self.shuffle is True:
            return self.runner.shuffled(self.samples, words_for(self.samples, rng))
        size = max(self.batch, BLOCK // max(sum(a[:1].nbytes for a in self.data.values()), 1))
        starts = range(0, self.samples, size)
        parts: list[NDArray[np.int64]] = []
        for place in map(int, self.runner.shuffled(len(starts), words_for(len(starts), rng))):
            count = min(size, self.samples - starts[place])
            parts.append(starts[place] + self.runner.shuffled(count, words_for(count, rng)))
        return np.concatenate(parts)

    def run(self, order: NDArray[np.int64], end: int, report: Progress, interrupt: Interrupt) -> None:
        """The steps of the epoch up to `end`, or until Ctrl-C or a callback wants a word."""
        training, start, done = self.training, self.training.done, 0
        before, batch, count = training.steps, self.batch, end - training.done

        def tell(now: int) -> bool:
            nonlocal done
            done = now
            report.step(training.epochs, min((start + done) * batch / self.samples, 1.0))
            return interrupt.asked or any(callback.due() for callback in self.callbacks)

        part = order[start * batch : end * batch]
        outputs: dict[Tensor, Array] = {}
        failed = -1
        try:
            outputs, failed = self.steps_over(part, count, tell)
            done = done if failed < 0 else failed
        finally:
            training.steps, training.done = before + done, start + done
            if outputs:
                training.seen = joined(training.seen, [outputs[t] for t in self.runner.task.outputs], done)
        if failed >= 0:
            training.rows = self.rows()
            batch_rows = part[failed * batch : (failed + 1) * batch]
            raise self.not_finite(outputs, failed, batch_rows, f" in epoch {training.epochs + 1}")

    def not_finite(
        self, outputs: Mapping[Tensor, Array], failed: int, rows: NDArray[np.int64], when: str
    ) -> DivergenceError:
        """What is said of a step whose loss is not finite."""
        loss = float(outputs[self.runner.task.outputs[0]][failed])
        steps = self.training.steps
        lower = "choose a lower rate; the parameters are those before this step"
        return DivergenceError(
            f"the loss became {loss}{when}{self.blame(rows)}",
            about=f"step {steps + 1} of {self.training.optimizer}",
            fix=lower if steps else "look at the samples and at what is computed of them: no rate has had a part in it",
        )

    def rates(self, first: int, count: int) -> Array:
        """The rates of the next steps. A rate that a plateau has lowered is rounded once more."""
        rule, factor, dtype = self.training.optimizer, self.training.factor, np.dtype(self.model.dtype)
        same = None if callable(rule.rate) else (count, factor)  # those of the last steps are these too
        if same is None or same != self.rated[0]:
            found = rates(rule, first, count, dtype)
            self.rated = same, found if factor == 1.0 else (found * factor).astype(dtype)
        return self.rated[1]

    def rows(self) -> str:
        return fingerprint({"at": self.at, **{t.name: a for t, a in self.data.items()}}, self.batch, self.shuffle)


def first_not_finite(
    equations: Iterable[Equation], values: Mapping[str, Array], labels: Mapping[str, str]
) -> str:
    """The first of a step's tensors with an entry that is not finite, and the layer it belongs to, in words."""
    for tensor in (equation.tensor for equation in equations):
        if not np.isfinite(values[tensor.name]).all():
            layer = labels.get(tensor.name)
            of = f" of {layer}" if layer else ""
            return f"; it began with {spelled(tensor)}{of}"
    return ""
