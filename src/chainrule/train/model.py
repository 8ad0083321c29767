"""Models: a graph of layers with a loss, its parameters, and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.compile import checked_loops, evaluation, forward, gradients, training
from chainrule.derivation import Derivation, printable
from chainrule.derive import derive_program
from chainrule.errors import CompileError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.loops.task import Task
from chainrule.nn.layer import Input, Layer, Node, show
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import Labels, Loss, loss_named
from chainrule.nn.network import Network, assemble, check_inference, needed
from chainrule.nn.text import penalty
from chainrule.optim.named import optimizer_named
from chainrule.optim.optimizer import Optimizer
from chainrule.runtime.aligned import aligned
from chainrule.runtime.build import cache
from chainrule.train.callbacks import Callback, EarlyStopping, callbacks_of, in_order
from chainrule.train.feed import WEIGHT, Feed, Rows, Samples
from chainrule.train.fit import Course, check_shuffle, first_not_finite
from chainrule.train.history import History
from chainrule.train.metrics import Metric, confusion, measured, metric_named
from chainrule.train.parameters import Parameters
from chainrule.train.progress import progress
from chainrule.train.runners import (
    Again,
    Executor,
    NativeRunner,
    NumpyRunner,
    Runner,
    check_count,
    check_executor,
    check_workers,
    first,
    metrics_of,
    rates,
    runner,
    workers_for,
)
from chainrule.train.state import Training, begun, seeded
from chainrule.train.values import Values
from chainrule.verify.loops import Loops

if TYPE_CHECKING:
    from chainrule.train.profile import Profile, Run
    from chainrule.train.tune import Tuning
    from chainrule.verify.certificate import Certificate

Array = NDArray[Any]
Path = str | PathLike[str]
DTypes = ("float32", "float64")
CHUNK = 1024  # samples in one pass of predict and evaluate
RUNNERS = 16  # kinds of tasks that are kept ready
FEW, MANY = 9, 64  # from so many samples on they go into the lanes of code that is laid out for so many at once


class Model:
    """A model from a graph: `h = Dense(8)(x); Model(x, Dense(2)(h + x), loss=…)`.

    `loss` is the name of a loss, or one with options, cr.huber(delta=2.0), or an equation "loss = …" or "e[n] = …" (the
    loss of each sample) over the output u and the target t; without one the model predicts only. `l2` adds
    (l2/2)·ΣW² over all weights, not biases. The same `seed` gives the same initial values on every machine.

    Raises ModelError, ShapeError or EquationError, each naming the layer.
    """

    classes: tuple[str, ...] = ()
    """Names of the classes that the outputs stand for, where they have names; a saved model keeps them."""

    def __init__(
        self,
        inputs: Input | Sequence[Input],
        output: Node,
        *,
        loss: str | Loss | None = None,
        l2: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        seed = seeded(seed)
        self._build(inputs, output, loss, l2, dtype)
        self.values.draw(np.random.default_rng(seed))

    @classmethod
    def restored(
        cls,
        inputs: Sequence[Input],
        output: Node,
        arrays: Mapping[str, Array],
        *,
        loss: str | Loss | None,
        l2: float,
        dtype: str,
    ) -> Model:
        """The model whose parameters and states are these arrays. Nothing is drawn, and nothing is allocated for an
        array that is missing or of another shape: that is a ModelError."""
        model = Model.__new__(cls)
        model._build(inputs, output, loss, l2, dtype)
        model.values.restore(arrays)
        return model

    def _build(
        self, inputs: Input | Sequence[Input], output: Node, loss: str | Loss | None, l2: float, dtype: str
    ) -> None:
        several = isinstance(inputs, Iterable)  # a mistake in place of an input is named below
        self.inputs: tuple[Input, ...] = tuple(inputs) if several else (inputs,)
        for value in (*self.inputs, output):
            if not isinstance(value, Node):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ModelError(
                    f"a model is made of cr.Input and the outputs of layers, not {value!r}",
                    fix="x = cr.Input(64); model = cr.Model(x, cr.Dense(10)(x))",
                )
        if not self.inputs:
            raise ModelError("a model needs an input", fix="start with cr.Input(64)")
        if len(set(self.inputs)) < len(self.inputs):
            raise ModelError("an input is listed twice", about="Model", fix="list every cr.Input once")
        if not isinstance(dtype, str) or dtype not in DTypes:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelError(f"the dtype is 'float32' or 'float64', not {dtype!r}")
        l2 = penalty(l2, "Model")
        self.output, self.l2, self.dtype = output, l2, np.dtype(dtype)
        self.loss: Loss | None = None if loss is None else loss_named(loss)
        self.network: Network = assemble(self.inputs, output, self.loss, l2)
        self._weighted: dict[int, tuple[Network, Derivation]] = {}
        self._runners: dict[Hashable, Runner] = {}
        self._again: dict[Hashable, Again] = {}
        self.feed = Feed(self.network, self.inputs, output, self.loss)
        self.trained: Training | None = None
        self.values = Values(self.network, self.dtype)

    # What the model is

    @property
    def parameters(self) -> Parameters:
        """Name -> array, "dense1.W" (outputs, inputs). Values can be assigned; shapes are checked."""
        return Parameters(self.values.parameters, self.values.spread)

    @property
    def states(self) -> Parameters:
        """What layers keep between training steps, such as running means: name -> array."""
        return Parameters(self.values.states, self.values.spread)

    def __getitem__(self, label: str) -> Layer:
        for name, layer in self.network.layers:
            if name == label:
                return layer
        labels = ", ".join(name for name, _ in self.network.layers)
        raise ModelError(f"no layer is called {label!r}", fix=f"there are {labels}")

    def summary(self) -> str:
        """One line for each use of a layer: its name, output shape, and number of parameters."""
        rows = [("layer", "output", "parameters")]
        rows += [(t.name, show(t.shape), "") for t in self.feed.inputs]
        seen: set[str] = set()
        for block in self.network.blocks:
            count = 0 if block.label in seen else sum(self.values[t.name].size for t, _ in block.parameters)
            seen.add(block.label)
            rows.append((block.label, show(block.output.shape), f"{count:,}" if count else ""))
        rows.append(("", "total", f"{sum(v.size for v in self.values.parameters.values()):,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows)

    @cached_property
    def _derivation(self) -> Derivation:
        return self._derived(self.network)

    def _derived(self, net: Network) -> Derivation:
        wrt = (*net.training.parameters, *(t for t in self.feed.inputs if t.dtype == "real"))
        return printable(derive_program(net.training, net.loss, wrt, layers=net.labels))

    def derive(self) -> Derivation:
        """The derivation of the whole back-propagation; without a loss, from a given ∂L/∂output."""
        return self._derivation

    def verify(
        self, *, samples: int = 2, seed: int = 0, floats: bool = False, optimizer: Optimizer | str | None = None
    ) -> Certificate:
        """Check every line of the derivation as an exact identity, with a computed bound, and the whole gradient at
        `samples` samples against dual numbers of the original program. `floats` also measures the gradients' errors
        in float32 and float64 against 50 digits, which needs the extra `verify`. The loops of a step are compared with
        its equations; with an `optimizer` its step for all parameters with its rule for one at a time.

        Raises VerificationError for the first line that is no identity.
        """
        from chainrule.verify.certificate import certify

        joint = self._derivation.joint
        wanted = [t.name for t in self._derivation.gradients.values()]
        rule = None if optimizer is None else optimizer_named(optimizer)
        return certify(
            self._derivation, samples=samples, seed=seed, simplified=needed(joint, wanted), floats=floats, loops=True,
            optimizer=rule,
        )

    # Values

    def _programs(self, given: Mapping[str, Array]) -> tuple[Network, Derivation]:
        """The network and its derivation: those whose loss is weighted where weights are among what is given."""
        rank = given[WEIGHT].ndim if WEIGHT in given else 0
        if not rank:
            return self.network, self._derivation
        if rank not in self._weighted:
            net = assemble(self.inputs, self.output, self.loss, self.l2, rank)
            self._weighted[rank] = net, self._derived(net)
        return self._weighted[rank]

    def _kept(self, task: Task, dtype: np.dtype[Any] | None = None) -> dict[Tensor, Array]:
        """The parameters and states of a task, in the model's type or another."""
        wanted, kept = dtype or self.dtype, dict[Tensor, Array]()
        for tensor in task.kept:
            if tensor.name in self.values.initial:
                array = self.values[tensor.name]
                kept[tensor] = array if array.dtype == wanted else array.astype(wanted)
        return kept

    def _learning(self, task: Task, rule: Optimizer) -> dict[Tensor, Array]:
        """Copies of what a task of training keeps, and what its optimizer keeps before the first step."""
        start = rule.start(self.network.training.parameters, self.dtype)
        kept = {t: aligned(a) for t, a in self._kept(task).items()}
        return kept | {t: aligned(start[t.name]) for t in task.kept if t.name in start}

    def _runner(
        self, what: Hashable, task: Callable[[], Task], samples: int, executor: Executor | None, workers: int | None,
        dtype: np.dtype[Any] | None = None, looked: Callable[[], Loops] | None = None,
    ) -> Runner:
        """What runs a task, made once for each kind of task as long as there are few kinds."""
        check_executor(executor)
        check_workers(workers)
        key = (what, samples, executor, workers, dtype)
        if key not in self._runners:
            while len(self._runners) >= RUNNERS:  # each has memory of its own
                del self._runners[next(iter(self._runners))]
            self._runners[key] = runner(task(), dtype or self.dtype, samples, executor, workers, looked)
        return self._runners[key]

    def _forward(self, x: Samples, tensor: Tensor, executor: Executor | None, workers: int | None) -> Array:
        again = self._again.get((tensor, executor, workers))
        if again is not None and (result := again(x, self.values.parameters, self.values.states)) is not None:
            return result
        given = self.feed.samples(x, self.dtype)
        return self._outputs(given, first(len(next(iter(given.values())))), tensor, executor, workers)

    def _outputs(
        self, given: Mapping[str, Array], at: NDArray[np.int64], tensor: Tensor, executor: Executor | None,
        workers: int | None,
    ) -> Array:
        """A tensor's value at these rows of the inputs."""
        check_inference(self.network)
        samples = len(at)
        made = self._runner(
            ("forward", tensor), lambda: forward(self.network, tensor), MANY if samples >= FEW else 1, executor, workers
        )
        inputs, kept = {t: given[t.name] for t in made.task.data}, self._kept(made.task)
        outputs, _ = made.run(inputs, kept, at, CHUNK)
        if isinstance(made, NativeRunner) and samples < FEW and len(inputs) == 1 and not made.whole:
            self._again[tensor, executor, workers] = Again(made, kept, samples, outputs[tensor])
        return outputs[tensor]

    def activations(
        self, x: Samples, layer: str, *, executor: Executor | None = None, workers: int | None = None
    ) -> Array:
        """What a layer gives for each sample, outside of training: model.activations(x, "relu1"). Raises ModelError for
        a layer that there is not."""
        self[layer]
        return self._forward(x, self.network.outputs[layer], executor, workers)

    def predict(self, x: Samples, *, executor: Executor | None = None, workers: int | None = None) -> Array:
        """The output for each sample: probabilities where the loss contains the link (softmax, sigmoid). `executor`
        and `workers` are as for `fit`."""
        return self._forward(x, self._prediction, executor, workers)

    @property
    def _prediction(self) -> Tensor:
        net = self.network
        return net.inference_logits if net.prediction is net.logits else net.prediction

    def logits(self, x: Samples, *, executor: Executor | None = None, workers: int | None = None) -> Array:
        """The output of the last layer, before the loss's link."""
        return self._forward(x, self.network.inference_logits, executor, workers)

    def evaluate(
        self, x: Samples, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
        metrics: Iterable[str | Callable[..., Any]] = (), executor: Executor | None = None, workers: int | None = None,
    ) -> dict[str, float]:
        """{"loss", "accuracy"}: the loss (with l2) over these samples, and the accuracy where there are classes: of
        those whose weight is not 0; and the `metrics`. The options are as for `fit`."""
        rows = self.feed.rows(x, y, sample_weight, self.dtype)
        measures = [metric_named(metric) for metric in metrics]
        return self._evaluate(rows, self.feed.labels(rows.target), executor, workers, measures)

    def confusion_matrix(self, x: Samples, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Array:
        """How often a sample of class i, the row, is taken for one of class j, the column; in the order of `classes`.

        Raises ModelError where the model learns numbers, or several answers for a sample.
        """
        rows = self.feed.rows(x, y, sample_weight, self.dtype)
        labels = self.feed.labels(rows.target)
        if labels == "numbers" or (labels == "binary" and rows.target.shape[-1] > 1):
            raise ModelError("a confusion matrix is of classes, one for a sample", fix="use evaluate(metrics=…)")
        weight = np.ones(len(rows)) if rows.weights is None else rows.weights
        return confusion(self._scores(rows, labels, None, None), rows.target, weight)

    def _evaluate(
        self, rows: Rows, labels: Labels, executor: Executor | None, workers: int | None,
        measures: Sequence[Metric] = (),
    ) -> dict[str, float]:
        check_inference(self.network)
        net = self._programs(rows.given)[0] if WEIGHT in rows.given else self.network
        assert net.target and net.loss
        made = self._runner(("evaluate", net.weight, labels), lambda: evaluation(net, labels), MANY, executor, workers)
        outputs, _ = made.run(rows.over(made.task.data, net.target), self._kept(made.task), rows.at, CHUNK)
        found = metrics_of(made.task, outputs, len(rows), CHUNK)
        return self._measured(rows, labels, executor, workers, measures) | found if measures else found

    def _measured(
        self, rows: Rows, labels: Labels, executor: Executor | None, workers: int | None, measures: Sequence[Metric]
    ) -> dict[str, float]:
        output = self._scores(rows, labels, executor, workers)
        return measured(measures, output, rows.targets, rows.weights, labels)

    def _scores(self, rows: Rows, labels: Labels, executor: Executor | None, workers: int | None) -> Array:
        """Outputs by which an answer is yes above one half."""
        output = self._outputs(rows.given, rows.at, self._prediction, executor, workers)
        linked = self.network.prediction is not self.network.logits
        return output if linked or labels != "binary" else output + self.dtype.type(0.5)

    def gradients(
        self,
        x: Samples,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        dtype: str | None = None,
        executor: Executor = "numpy",
        seed: int = 0,
    ) -> tuple[float, dict[str, Array]]:
        """(loss, name -> gradient): of every parameter and of "input", each of the shape of what it belongs to.
        `dtype` is the model's unless given; `seed` draws the random tensors of layers that have some;
        `sample_weight` is as for `fit`. `executor="native"` computes them, in float32, with the code that training
        runs."""
        check_executor(executor)
        if dtype is not None and dtype not in DTypes:
            raise ModelError(f"the dtype is 'float32' or 'float64', not {dtype!r}")
        kind = self.dtype if dtype is None else np.dtype(dtype)
        rows = self.feed.rows(x, y, sample_weight, kind)
        (net, derivation), samples = self._programs(rows.given), len(rows)
        assert net.target and net.loss
        made = self._runner(
            ("gradients", net.weight), lambda: gradients(net, derivation), samples, executor, None, kind
        )
        data = rows.over((t for t in made.task.data if t not in made.task.drawn), net.target)
        outputs, _ = made.run(data, self._kept(made.task, kind), first(samples), samples, seed=seeded(seed))
        found = {name: outputs[tensor] for name, tensor in derivation.gradients.items()}
        return float(outputs[net.loss][0]), {
            name: array if SAMPLES in derivation.gradients[name].shape else array[0] for name, array in found.items()
        }

    # Training

    @property
    def training(self) -> Training:
        """Where training stands: steps and epochs done, what the optimizer keeps. Raises ModelError before any."""
        if self.trained is None:
            raise ModelError("the model has not been trained", fix="call fit first")
        return self.trained

    def fit(
        self,
        x: Samples,
        y: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Optimizer | str | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        validation_split: float | None = None,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        shuffle: bool | Literal["blocks"] = True,
        seed: int | None = None,
        resume: bool = False,
        restart: bool = False,
        patience: int | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
        callbacks: Iterable[Callback | Callable[[Model, Mapping[str, float]], bool | None]] = (),
        metrics: Iterable[str | Callable[..., Any]] = (),
        verbose: bool = True,
        executor: Executor | None = None,
        workers: int | None = None,
    ) -> History:
        """Train by mini-batches. `optimizer` is one of cr.SGD, cr.Adam, … or a name: "sgd" (rate 0.1, momentum 0.9, as
        without one), "nesterov" (the same), "adam", "adamw", "rmsprop", "adagrad" (as their classes without options).

        A further call goes on where the last one ended, with what the optimizer keeps, its schedule and the random
        draws: 5 epochs and 5 more are the bits of 10. Another optimizer begins anew and says so, as `restart` does
        without a word; the parameters stay. `resume` finishes the call that was interrupted, in this process or before
        the model was saved, up to the same epoch; where none was, it is a call as any other, or nothing.

        x and y may be files larger than memory (np.load(…, mmap_mode="r") of the model's type; `cr.rows` makes such of
        whatever comes in batches): nothing is copied. `shuffle` draws an order of all samples in each epoch; "blocks"
        one of blocks and one within each, so that a file is read in large pieces; False keeps theirs.

        `sample_weight` holds a weight of each sample's loss, (N,), or of each output's; the loss is still the mean
        over N, and where a weight is 0 the target may be NaN. `class_weight` multiplies it by a weight of the sample's
        class: {0: 1.0, 1: 5.0}, or "balanced", by which each class counts as much. `validation_data` is (x, y) or
        (x, y, sample_weight). `metrics` are names ("f1", "auc", "top3_accuracy", "r2", …, `cr.METRICS`) or functions
        (outputs, targets) -> number: of what is held out, else of what is trained on, after each epoch.
        With `patience` the run ends when the loss of what is held out (else of what is trained on) has not fallen by
        more than `min_delta` for so many epochs, and `restore_best` brings back the parameters of the best one;
        `callbacks` are cr.Checkpoint, cr.CSVLogger, …, or functions (model, metrics).

        The loss and accuracy of an epoch are those of its batches as they came. Ctrl-C ends the run and keeps
        what is learnt; the same seed and data give the same bits. `executor` is "native", code made from the
        derivation for this machine, or "numpy"; without one it is native where the model is of float32 and there is a C
        compiler. `workers` is how many threads may share the work, by default the processors where a batch is worth
        it; fewer do where that is quicker. It changes no bit.

        Raises DataError and ShapeError for the data, ModelError where the loss is no longer finite.
        """
        check_count("epochs", epochs, 10)
        check_count("batch_size", batch_size, 10)
        check_executor(executor)
        check_shuffle(shuffle)
        listed = callbacks_of(callbacks)
        if patience is not None:
            listed.append(EarlyStopping(patience, min_delta=min_delta, restore_best=restore_best))
        state = begun(self.trained, optimizer, seed, restart)
        rows, held = self.feed.held_out(
            self.feed.rows(x, y, sample_weight, self.dtype), validation_split, validation_data, state.seed
        )
        if class_weight is not None:
            rows = self.feed.weighted(rows, class_weight, self.classes)
        labels, measures = self.feed.labels(rows.target), [metric_named(metric) for metric in metrics]
        course = self._course(state, rows, labels, min(batch_size, len(rows)), executor, workers)
        course.shuffle, course.callbacks = shuffle, in_order(listed)
        if held is not None:
            course.evaluate = lambda: {
                f"val_{name}": value
                for name, value in self._evaluate(held, labels, executor, workers, measures).items()
            }
        elif measures:
            course.evaluate = lambda: self._measured(rows, labels, executor, workers, measures)
        if resume and state.goal and not state.unfinished:
            return state.history
        self.trained = state
        course.prepare(None if resume and state.unfinished else state.epochs + epochs)
        with progress(state.goal, verbose, first=state.epochs) as report:
            return course.train(report)

    def train_on_batch(
        self, x: Samples, y: ArrayLike, *, optimizer: Optimizer | str | None = None,
        sample_weight: ArrayLike | None = None, executor: Executor | None = None, workers: int | None = None,
    ) -> dict[str, float]:
        """One step over these samples as one batch, {"loss", "accuracy"} before it. It goes on where training stands;
        epochs are the caller's to count.

        Raises DataError and ShapeError for the data, ModelError where the loss is not finite.
        """
        state = begun(self.trained, optimizer, None, False)
        rows = self.feed.rows(x, y, sample_weight, self.dtype)
        course = self._course(state, rows, self.feed.labels(rows.target), len(rows), executor, workers)
        self.trained = state
        return course.step()

    def _course(
        self, state: Training, rows: Rows, labels: Labels, batch: int, executor: Executor | None, workers: int | None
    ) -> Course:
        """What trains on these rows."""
        (net, derivation), rule = self._programs(rows.given), state.optimizer
        assert net.target
        made = self._runner(
            ("training", net.weight, labels, rule), lambda: training(net, derivation, rule, labels), batch, executor,
            workers, looked=lambda: checked_loops(net, self.loss, derivation, rule, batch),
        )
        task, kept = made.task, dict[Tensor, Array]()
        start = rule.start(self.network.training.parameters, self.dtype)
        state.kept = {name: aligned(state.kept.get(name, value), self.dtype) for name, value in start.items()}

        def give() -> None:
            """The runner's arrays are the model's, copied where somebody else has written those."""
            for tensor, array in self._kept(task).items():
                if kept.get(tensor) is not array:
                    kept[tensor] = aligned(array)
            kept.update({t: state.kept[t.name] for t in task.kept if t.name in state.kept})

        def take() -> None:
            for mine in (self.values.parameters, self.values.states, state.kept):
                mine.update({t.name: kept[t] for t in task.kept if t.name in mine})
            self.values.spread()

        def blame(failed: NDArray[np.int64]) -> str:
            values = NumpyRunner(task, self.dtype).values(data, kept, failed, state.seed, state.steps)
            return first_not_finite(task.equations, values, net.labels)

        data = rows.over((t for t in task.data if t not in task.drawn), net.target)
        return Course(self, state, made, data, kept, rows.at, batch, give, take, blame)

    def profile(
        self, x: Samples, y: ArrayLike, *, batch_size: int = 32, optimizer: Optimizer | str | None = None
    ) -> Profile:
        """Where the time of a training step goes: for each kernel of the native code its time, FLOP/s and bytes/s
        beside what one core of this machine can do, and the tensors it computes. The model is not changed; `print` it.

        Raises CompileError or BuildError where there is no native code.
        """
        from chainrule.train.profile import profile

        return profile(self._steps(x, y, batch_size, optimizer))

    def tune(
        self, x: Samples, y: ArrayLike, *, batch_size: int = 32, optimizer: Optimizer | str | None = None,
        verbose: bool = True, workers: int | None = None,
    ) -> Tuning:
        """Measure which register tile of each kernel of a training step is quickest here, where otherwise a model of
        the machine decides: some seconds, for a few percent of speed and the same bits. The result is kept in the cache
        of compiled code, for all models with the same kernels, batch size and `workers`. The model is not changed;
        `print` what comes back. Ctrl-C ends the measuring and keeps what it has found.

        Raises CompileError or BuildError where there is no native code, OSError where the cache cannot be written to.
        """
        from chainrule.train.tune import tune

        run = self._steps(x, y, batch_size, optimizer)
        check_workers(workers)
        most = workers_for(run.task, run.batch, workers)
        cache()  # a tile that cannot be kept need not be found
        with progress(1, verbose, "measuring tiles") as report:
            found = tune(run, most, lambda done: report.step(0, done))
        self._runners.clear()
        self._again.clear()
        return found

    def _steps(
        self, x: Samples, y: ArrayLike, batch_size: int, optimizer: Optimizer | str | None
    ) -> Run:
        """Steps of training over all samples, in whole batches, for a clock. Raises CompileError for float64."""
        from chainrule.train.profile import Run

        check_count("batch_size", batch_size, 10)
        if self.dtype != np.float32:
            raise CompileError(f"native code computes in float32, and the model in {self.dtype}")
        rule = optimizer_named(optimizer)
        rows = self.feed.rows(x, y, None, self.dtype)
        (net, derivation), samples = self._programs(rows.given), len(rows.target)
        assert net.target
        task = training(net, derivation, rule, self.feed.labels(rows.target))
        batch_size = min(batch_size, samples)
        order = np.resize(np.arange(samples), max(batch_size, samples // batch_size * batch_size))
        steps = len(order) // batch_size
        kept = self._learning(task, rule)
        kept |= {t: rates(rule, 0, steps, np.dtype(np.float32)) for t in task.stepwise}
        kinds = {"integer": np.int32, "real": np.float32}
        data = rows.over((t for t in task.data if t not in task.drawn), net.target)
        data = {t: np.ascontiguousarray(array, kinds[t.dtype]) for t, array in data.items()}
        return Run(task, data, kept, batch_size, order)

    def copy_weights(self, other: Model, mapping: Mapping[str, str] | None = None) -> list[str]:
        """Take the parameters and states of another model: those of the same name and shape, or those that `mapping`
        names, a layer or an array of this model -> one of the other. Returns the names of what was taken.

        Raises ModelError for a name that there is not, ShapeError where shapes differ.
        """
        for name in mapping or ():
            if name not in self.values.initial:
                self[name]
        return self.values.copy(other.values, mapping)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as a saved model is, with where its training stands."""
        from chainrule.train.checkpoint import from_bytes, to_bytes

        own = {type(layer).__name__: type(layer) for _, layer in self.network.layers if not in_library(layer)}
        return from_bytes, (to_bytes(self), own, self.trained and self.trained.optimizer)

    def save(self, path: Path) -> None:
        """Write the architecture, the parameters and the states as a safetensors file.

        Raises OSError, as `open` does, with the path, where it cannot be written.
        """
        from chainrule.train.checkpoint import save

        save(self, path)


def in_library(layer: Layer) -> bool:
    return LAYERS.get(type(layer).__name__) is type(layer)
