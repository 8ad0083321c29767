"""Models: a graph of layers with a loss, its parameters, and what one does with it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.compile import checked_loops, shared, training
from chainrule.derive.check import KNOWN
from chainrule.errors import CompileError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.loops.task import Task
from chainrule.nn.dense import Dense
from chainrule.nn.layer import Input, Layer, Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import Labels
from chainrule.nn.network import order
from chainrule.nn.standardise import Standardise
from chainrule.optim.named import optimizer_named
from chainrule.optim.optimizer import Optimizer, is_number
from chainrule.options import spoken
from chainrule.runtime.aligned import aligned
from chainrule.runtime.cache import cache
from chainrule.train.assembled import Assembled
from chainrule.train.callbacks import EarlyStopping, Hook, callbacks_of, in_order
from chainrule.train.data import Standardiser, differ_in_scale
from chainrule.train.feed import Feed, Rows, Samples
from chainrule.train.fit import Course, check_shuffle, first_not_finite
from chainrule.train.history import History
from chainrule.train.learn import learning
from chainrule.train.metrics import Asked, Metric, metrics_named
from chainrule.train.processes import hosts
from chainrule.train.progress import progress
from chainrule.train.ranks import Ranks, RanksRunner, checked_shares, ranks_of
from chainrule.train.runners import (
    Engine,
    Executor,
    Jax,
    NumpyRunner,
    Rule,
    Runner,
    check_count,
    check_workers,
    engine,
    rates,
    workers_for,
)
from chainrule.train.state import Training, begun, digest, seeded
from chainrule.train.values import Values

if TYPE_CHECKING:
    from chainrule.train.profile import Profile, Run
    from chainrule.train.tune import Tuning

Array = NDArray[Any]
Path = str | PathLike[str]


class Model(Assembled):
    """A model from a graph: `h = Dense(8)(x); Model(x, Dense(2)(h + x), loss=…)`.

    `loss` is the name of a loss, or one with options, cr.huber(delta=2.0), or an equation "loss = …" or "e[n] = …" (the
    loss of each sample) over the output u and the target t; without one the model predicts only. `l2` adds
    (l2/2)·ΣW² over all weights, not biases. The same `seed` gives the same initial values on every machine.

    Raises ModelError, ShapeError or EquationError, each naming the layer.
    """

    trained: Training | None = None
    """Where training stands."""
    _rates: Mapping[str, float] = MappingProxyType({})

    def like(self, seed: int) -> Self:
        """A model of the same layers whose parameters are those that its constructor draws from this seed, whatever
        this one has learnt. Nothing is derived or compiled for it once more: the two share the code."""
        model, layers, nodes = object.__new__(type(self)), dict[Layer, Layer](), dict[Node, Node]()
        for node in order(self.output):
            parents, own = tuple(nodes[parent] for parent in node.parents), node.layer
            if own and own not in layers:
                layers[own] = object.__new__(type(own))
                vars(layers[own]).update(vars(own))
            nodes[node] = Node(layers[own], parents) if own else node
        vars(model).update(vars(self))
        model.output, model.trained, model._again = nodes[self.output], None, {}
        model.network = replace(self.network, layers=tuple((name, layers[own]) for name, own in self.network.layers))
        model.feed = Feed(model.network, model.inputs, model.output, model.loss)
        model.columns = self.columns
        model.values = Values(model.network, model.dtype)
        model.values.draw(np.random.default_rng(seeded(seed)))
        return model

    def share(self, other: Model) -> None:
        """Be run by the code of the other. Raises ModelError where that is another architecture."""
        nets = self.network, other.network
        mine, its = ((net.training, net.inference, net.random, net.logits, net.prediction) for net in nets)
        if mine != its or self.dtype != other.dtype:
            raise ModelError(f"{self!r} and {other!r} differ", fix="models = [model.like(seed) for seed in range(8)]")
        self._runners, self._derivation = other._runners, other._derivation

    # Training

    @property
    def rates(self) -> dict[str, float]:
        """Layer -> factor of its rate, of the layers that have one other than 1."""
        return dict(self._rates)

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Let layers learn by a rate of their own, that many times the optimizer's: {"dense1": 0.1}; 1 undoes it. One
        of 0 learns nothing, and its states, such as running means, stay. Raises ModelError for a layer that there is
        not, or no finite number of at least 0."""
        for layer, factor in rates.items():
            self[layer]
            if not is_number(factor) or not 0 <= factor < math.inf:
                raise ModelError(f"the rate of {layer} is {factor!r} times the optimizer's", fix="write 0.1")
        self._rates = {layer: float(f) for layer, f in {**self._rates, **rates}.items() if f != 1}

    def freeze(self, *layers: str) -> None:
        """Let these layers learn nothing until `unfreeze`: set_rates to 0."""
        self.set_rates(dict.fromkeys(layers, 0.0))

    def unfreeze(self, *layers: str) -> None:
        """Let these layers learn again, or all."""
        self.set_rates(dict.fromkeys(layers or self._rates, 1.0))

    def _learning(self, task: Task, rule: Optimizer) -> dict[Tensor, Array]:
        """Copies of what a task of training keeps, and what its optimizer keeps before the first step."""
        start = rule.start(self.network.training.parameters, self.dtype)
        kept = {t: aligned(a) for t, a in self._kept(task).items()}
        return kept | {t: aligned(start[t.name]) for t in task.kept if t.name in start}

    @property
    def training(self) -> Training:
        """Where training stands: steps and epochs done, what the optimizer keeps. Raises ModelError before any."""
        if self.trained is None:
            raise ModelError("the model has not been trained", fix="call fit first")
        return self.trained

    @spoken
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
        callbacks: Hook | Iterable[Hook] = (),
        metrics: Asked = (),
        verbose: bool = True,
        executor: Executor | None = None,
        workers: int | None = None,
        devices: int | None = None,
        shard: Rule | None = None,
        communicator: Any = None,
        synchronised: bool = True,
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
        more than `min_delta` for so many epochs; at its end `restore_best` brings back the parameters of the best one;
        `callbacks` are cr.Checkpoint, cr.CSVLogger, …, or functions (model, metrics).

        The loss and accuracy of an epoch are those of its batches as they came. Ctrl-C ends the run and keeps
        what is learnt; the same seed and data give the same bits. `executor` is "native", code made from the
        derivation for this machine, "numpy", or "jax", the same step on GPUs and TPUs; without one it is native where
        the model is of float32 and there is a C compiler. `workers` is how many threads may share the work, by default
        the processors where a batch is worth it; fewer do where that is quicker. It changes no bit. `devices` is how
        many of JAX's devices share each batch, by default all. Each has all parameters, unless `shard` says otherwise:
        a function of a parameter's name and shape, the axis that the devices share, or None. What the optimizer keeps
        lies as its parameter does. Processes of `jax.distributed`, all of which call this alike, share all devices.

        With a `communicator` of mpi4py each of its processes, all of which call this alike, computes its share of
        every batch, and all make one step: that of the whole batch. Statistics over a batch are those of the whole
        where `synchronised`, else of each share, and then one meeting of all is enough for a step. One process writes;
        SIGTERM to any of them saves by the `cr.Checkpoint` that is among the callbacks, and ends them.

        Raises DataError and ShapeError for the data, DivergenceError where the loss is no longer finite.
        """
        check_count("epochs", epochs, 10)
        check_count("batch_size", batch_size, 10)
        made_by = engine(executor, devices, shard)
        check_shuffle(shuffle)
        ranks = ranks_of(communicator, synchronised)
        processes = ranks or (hosts() if isinstance(made_by, Jax) else None)
        with processes.failing(training=True) if processes else nullcontext():
            speaks = processes is None or processes.first
            listed = callbacks_of(callbacks, speaks)
            if patience is not None:
                listed.append(EarlyStopping(patience, min_delta=min_delta, restore_best=restore_best))
            state = begun(self.trained, optimizer, seed, restart)
            given = x if isinstance(x, Rows) else self.taken(x, y, sample_weight)
            rows, held = self.feed.held_out(given, validation_split, validation_data, state.seed)
            rows = self._by_class(rows, class_weight)
            labels, measures = self.feed.labels(rows.target), metrics_named(metrics)
            if self.trained is None and given is not x:
                self._note_scales(rows)
            course = self._course(state, rows, labels, min(batch_size, len(rows)), made_by, workers, ranks)
            course.shuffle, course.callbacks, course.processes = shuffle, in_order(listed), processes
            if held is not None or measures:
                course.evaluate = lambda: self._after_epoch(rows, held, labels, made_by, workers, measures)
            if resume and state.goal and not state.unfinished:
                return state.history
            self._begin(state, rows, made_by, workers)
            course.prepare(None if resume and state.unfinished else state.epochs + epochs)
            with progress(state.goal, verbose and speaks, first=state.epochs) as report:
                return course.train(report)

    def taken(self, x: Samples, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Rows:
        """Samples with their targets, checked, which `fit` takes in their place, as often as it is called."""
        with learning(self, x, y, int(self.network.logits.shape[-1])):
            return self.feed.rows(x, y, sample_weight, self.dtype, learning=True)

    def _by_class(self, rows: Rows, class_weight: str | Mapping[Any, float] | None) -> Rows:
        """The rows to learn from, with the weight of each one's class."""
        if class_weight is not None:
            rows = self.feed.weighted(rows, class_weight, self.classes)
        if rows.weights is not None and not rows.weights.any():
            problem = "all samples have the weight 0, so there is nothing to learn"
            raise ModelError(problem, fix="give some more than 0")
        return rows

    def _after_epoch(
        self, rows: Rows, held: Rows | None, labels: Labels, executor: Engine | None, workers: int | None,
        measures: Sequence[Metric],
    ) -> dict[str, float]:
        """What `fit` tells after an epoch beside the epoch's loss: of what is held out, else of what is trained on."""
        if held is None:
            return self._measured(rows, labels, executor, workers, measures)
        found = self._evaluate(held, labels, executor, workers, measures)
        return {f"val_{name}": value for name, value in found.items()}

    def _note_scales(self, rows: Rows) -> None:
        """Say so where weights read columns that differ much in scale."""
        layers = dict(self.network.layers)
        for tensor in self.feed.inputs:
            label = self.feed.reader(tensor)
            dense = isinstance(layers.get(label), Dense) and tensor.dtype == "real"
            if dense and differ_in_scale(rows.given[tensor.name]):
                warnings.warn(
                    f"the columns of {tensor.name} differ much in scale, which is learnt badly: put cr.Standardise() "
                    f"before {label}",
                    stacklevel=4,
                )

    @spoken
    def train_on_batch(
        self, x: Samples, y: ArrayLike, *, optimizer: Optimizer | str | None = None,
        sample_weight: ArrayLike | None = None, executor: Executor | None = None, workers: int | None = None,
        devices: int | None = None,
    ) -> dict[str, float]:
        """One step over these samples as one batch, {"loss", "accuracy"} before it. It goes on where training stands;
        epochs are the caller's to count.

        Raises DataError and ShapeError for the data, DivergenceError where the loss is not finite.
        """
        made_by = engine(executor, devices)
        state = begun(self.trained, optimizer, None, False)
        rows = self.feed.rows(x, y, sample_weight, self.dtype)
        course = self._course(state, rows, self.feed.labels(rows.target), len(rows), made_by, workers)
        self._begin(state, rows, made_by, workers)
        return course.step()

    def _begin(self, state: Training, rows: Rows, executor: Engine | None, workers: int | None) -> None:
        """Train from here. Before the first step each `Standardise` whose states nobody has set learns them."""
        labels = {layer: label for label, layer in self.network.layers}
        for node in order(self.output) if self.trained is None else ():
            if not isinstance(node.layer, Standardise):
                continue
            (parent,), label = node.parents, labels[node.layer]
            mean, deviation = f"{label}.mean", f"{label}.deviation"
            if self._rates.get(label) == 0 or self.states[mean].any() or (self.states[deviation] != 1).any():
                continue
            numeric = np.ones(1, bool)
            if isinstance(parent, Input):
                found = Standardiser.fit(rows.given[self.feed.inputs[self.inputs.index(parent)].name], rows.counted)
                if self.columns and self.columns.features and len(parent.shape) == 2:  # else they are one channel's
                    numeric = self.columns.scaled
            else:
                assert parent.layer
                given = self.network.outputs[labels[parent.layer]]
                found = Standardiser.fit(self._outputs(rows.given, rows.counted, given, executor, workers))
            self.states[mean] = np.where(numeric, found.mean, 0.0)
            # What the model's dtype cannot hold is no deviation to divide by.
            held = found.deviation >= float(np.finfo(self.dtype).tiny)
            self.states[deviation] = np.where(numeric & held, found.deviation, 1.0)
        if state.last and state.shown == digest("", self.values.arrays):  # nobody has set others
            self.values.restore(state.last)
        state.last, state.shown = {}, ""
        self.trained = state

    def _course(
        self, state: Training, rows: Rows, labels: Labels, batch: int, executor: Engine | None, workers: int | None,
        ranks: Ranks | None = None,
    ) -> Course:
        """What trains on these rows."""
        (net, derivation), rule = self._programs(rows.given), state.optimizer
        assert net.target
        text = rule.text(len(t.shape) for t in net.training.parameters)
        what: Hashable = net.weight, labels, text, tuple(self._rates.items())

        def made_for(name: str, task: Callable[[], Task], batch: int, workers: int | None) -> Runner:
            return self._runner(
                (name, *what), task, batch, executor, workers,
                looked=lambda: checked_loops(net, self.loss, derivation, rule, batch),
            )

        if ranks is not None:
            step, parts = KNOWN.get(
                ("shares", net.training, net.logits, *what, *net.random.items(), ranks.synchronised, executor),
                lambda: checked_shares(derivation, shared(net, derivation, rule, labels, self._rates), ranks, executor),
            )
            own = -(-batch // ranks.count)
            each = [
                made_for(f"round {n} {ranks.synchronised}", lambda task=part.task: task, own, workers or 1)
                for n, part in enumerate(parts.rounds)
            ]
            made = RanksRunner(step, parts, ranks, each, self.dtype)
        else:
            made = made_for("training", lambda: KNOWN.get(
                ("task", net.training, net.logits, *what, *net.random.items()),
                lambda: training(net, derivation, rule, labels, self._rates),
            ), batch, workers)
        task = made.task
        start = rule.start(self.network.training.parameters, self.dtype)
        state.kept = {name: aligned(state.kept.get(name, value), self.dtype) for name, value in start.items()}
        kept = {t: state.kept[t.name] for t in task.kept if t.name in state.kept}

        owners = (self.values.parameters, self.values.states, state.kept)
        places = [(mine, t) for t in task.kept for mine in owners if t.name in mine]

        def give() -> None:
            """The runner's arrays are the model's, copied where somebody else has written those."""
            for mine, tensor in places:
                if kept.get(tensor) is not (array := mine[tensor.name]):
                    kept[tensor] = aligned(array)

        def take() -> None:
            for mine, tensor in places:
                mine[tensor.name] = kept[tensor]
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

    def to_onnx(self, path: Path, *, training: bool = False, optimizer: Optimizer | str | None = None) -> None:
        """Write an ONNX file of standard operators (opset 18), with any number of samples: input, prediction.

        With `training` one step of training instead, which runtimes run that cannot train: from a batch and its
        targets, in the form that the loss takes, to the loss and "next.…" of each parameter and of all else that is
        kept. What is kept are inputs with a default, where the model stands: a first step is given the batch alone, a
        further one what came out before. `optimizer` is as for `fit`; random masks are inputs without a default.

        Needs the package onnx (extra `onnx`). Raises ModelError, and OSError where the file cannot be written.
        """
        from chainrule.train.atomic import replaced
        from chainrule.train.export import onnx_of

        data = onnx_of(self, optimizer, trains=training)
        with replaced(path) as file:
            file.write(data)

    def to_torch(self, path: Path) -> None:
        """Write a Python file, as in net.py, with the class `Network`, a `torch.nn.Module` whose forward pass is
        printed, and `load()`; and beside it net.safetensors with the weights that it loads. Its output is that of the
        last layer, which PyTorch's losses take; `train()` and `eval()` choose what batch normalisation and dropout do.

        Raises ModelError and DerivationError for what has no word in PyTorch, OSError where a file cannot be written.
        """
        from chainrule.train.atomic import replaced
        from chainrule.train.export import torch_of

        source, weights = torch_of(self)
        for target, data in ((PurePath(path), source.encode()), (PurePath(path).with_suffix(".safetensors"), weights)):
            with replaced(target) as file:
                file.write(data)


def in_library(layer: Layer) -> bool:
    return LAYERS.get(type(layer).__name__) is type(layer)
