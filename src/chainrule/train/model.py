"""Models: a graph of layers with a loss, its parameters, and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.compile import checked_loops, evaluation, forward, gradients, training
from chainrule.derivation import Derivation, printable
from chainrule.derive import derive_program
from chainrule.errors import CompileError, DataError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.loops.task import Task
from chainrule.nn.layer import Input, Layer, Node, show
from chainrule.nn.losses import Labels, Loss, loss_named
from chainrule.nn.network import Network, assemble, check_inference, needed, order
from chainrule.nn.text import penalty
from chainrule.optim.named import optimizer_named
from chainrule.optim.optimizer import Optimizer
from chainrule.options import spoken
from chainrule.runtime.aligned import aligned
from chainrule.runtime.build import cache
from chainrule.train.columns import Columns, chosen, coded, encoded, labelled
from chainrule.train.data import as_input, as_target, is_one_hot, split
from chainrule.train.history import History
from chainrule.train.learn import learning
from chainrule.train.parameters import Parameters, checked, drawn, extents
from chainrule.train.progress import progress
from chainrule.train.runners import (
    Again,
    Executor,
    NativeRunner,
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
from chainrule.train.shuffle import words_for
from chainrule.train.weights import as_weight, without_masked
from chainrule.verify.loops import Loops

if TYPE_CHECKING:
    from chainrule.train.profile import Profile, Run
    from chainrule.train.tune import Tuning
    from chainrule.verify.certificate import Certificate

Array = NDArray[Any]
Path = str | PathLike[str]
Samples = Any  # what NumPy makes an array of; for several inputs, a tuple of such
DTypes = ("float32", "float64")
WEIGHT = "weight"  # the input that holds the weights of samples
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
    columns: Columns | None = None
    """How the columns of a table become inputs, learnt from the first table that the model is trained on."""

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
        seed = _seed(seed)
        self._build(inputs, output, loss, l2, dtype)
        rng = np.random.default_rng(seed)
        self._values = drawn(rng, self.network.initial, self.dtype)
        self._states = drawn(rng, self.network.initial_states, self.dtype)

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
        wanted = {**model.network.initial, **model.network.initial_states}
        if wanted.keys() != arrays.keys():
            odd = [ascii(name)[1:-1] for name in sorted(wanted.keys() ^ arrays.keys())]
            more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
            raise ModelError(
                f"the arrays do not fit the layers: {', '.join(odd[:5])}{more}",
                fix="give the layer's class as it was when the model was saved",
            )
        values = {name: checked(name, arrays[name], extents(one), model.dtype) for name, one in wanted.items()}
        model._values = {name: values[name] for name in model.network.initial}
        model._states = {name: values[name] for name in model.network.initial_states}
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
        self._values: dict[str, Array] = {}
        self._states: dict[str, Array] = {}

    # What the model is

    @property
    def parameters(self) -> Parameters:
        """Name -> array, "dense1.W" (outputs, inputs). Values can be assigned; shapes are checked."""
        return Parameters(self._values)

    @property
    def states(self) -> Parameters:
        """What layers keep between training steps, such as running means: name -> array."""
        return Parameters(self._states)

    def __getitem__(self, label: str) -> Layer:
        for name, layer in self.network.layers:
            if name == label:
                return layer
        labels = ", ".join(name for name, _ in self.network.layers)
        raise ModelError(f"no layer is called {label!r}", fix=f"there are {labels}")

    def summary(self) -> str:
        """One line for each use of a layer: its name, output shape, and number of parameters."""
        rows = [("layer", "output", "parameters")]
        rows += [(t.name, show(t.shape), "") for t in self._input_tensors]
        seen: set[str] = set()
        for block in self.network.blocks:
            count = 0 if block.label in seen else sum(self._values[t.name].size for t, _ in block.parameters)
            seen.add(block.label)
            rows.append((block.label, show(block.output.shape), f"{count:,}" if count else ""))
        rows.append(("", "total", f"{sum(v.size for v in self._values.values()):,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows)

    @cached_property
    def _derivation(self) -> Derivation:
        return self._derived(self.network)

    def _derived(self, net: Network) -> Derivation:
        wrt = (*net.training.parameters, *(t for t in self._input_tensors if t.dtype == "real"))
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

    @property
    def _input_tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for t in self.network.training.inputs if t is not self.network.target)

    def _reader(self, tensor: Tensor) -> str:
        """The layer that reads an input."""
        for number, node in enumerate(self.inputs):
            if self._input_tensors[number] is tensor:
                for block, other in zip(self.network.blocks, self._layer_nodes, strict=True):
                    if node in other.parents:
                        return block.label
        return "the model"

    @cached_property
    def _layer_nodes(self) -> list[Node]:
        return [node for node in order(self.output) if node.layer is not None]

    def _given(self, x: Samples, dtype: np.dtype[Any]) -> dict[str, Array]:
        tensors = self._input_tensors
        several: list[Any]
        if len(tensors) == 1:
            several = [encoded(self.columns, x)]
        elif isinstance(x, (tuple, list)) and len(x) == len(tensors):  # pyright: ignore[reportUnknownArgumentType]
            several = list(x)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        else:
            raise DataError(f"the model has {len(tensors)} inputs", fix="give x as a tuple with one array for each")
        given = {t.name: as_input(v, t, self._reader(t), dtype) for t, v in zip(tensors, several, strict=True)}
        lengths = {len(v) for v in given.values()}
        if len(lengths) > 1:
            raise DataError(f"the inputs have different numbers of samples: {sorted(lengths)}")
        return given

    def _labelled(
        self, x: Samples, y: ArrayLike, weight: ArrayLike | None, dtype: np.dtype[Any]
    ) -> tuple[dict[str, Array], Array]:
        """What a network with a loss is given, the weights "weight" among it where there are some, and the target."""
        loss, shape = self._need_loss(), self.network.logits.shape
        given = self._given(x, dtype)
        samples, y = len(next(iter(given.values()))), coded(self.columns, y)
        if weight is not None:
            given[WEIGHT] = as_weight(weight, loss.entries(shape), samples, dtype)
            y = without_masked(y, given[WEIGHT], shape)
        return given, as_target(y, shape, loss.labels, samples, dtype)

    def _programs(self, given: Mapping[str, Array]) -> tuple[Network, Derivation]:
        """The network and its derivation: those whose loss is weighted where weights are among what is given."""
        rank = given[WEIGHT].ndim if WEIGHT in given else 0
        if not rank:
            return self.network, self._derivation
        if rank not in self._weighted:
            net = assemble(self.inputs, self.output, self.loss, self.l2, rank)
            self._weighted[rank] = net, self._derived(net)
        return self._weighted[rank]

    def _need_loss(self) -> Loss:
        if self.loss is None:
            raise ModelError("the model has no loss", fix='give it one: cr.Sequential(…, loss="softmax_cross_entropy")')
        return self.loss

    def _kept(self, task: Task, dtype: np.dtype[Any] | None = None) -> dict[Tensor, Array]:
        """The parameters and states of a task, in the model's type or another."""
        wanted, kept = dtype or self.dtype, dict[Tensor, Array]()
        for tensor in task.kept:
            values = self._values if tensor.name in self._values else self._states
            if tensor.name in values:
                array = values[tensor.name]
                kept[tensor] = array if array.dtype == wanted else array.astype(wanted)
        return kept

    def _learning(self, task: Task, rule: Optimizer, dtype: np.dtype[Any]) -> dict[Tensor, Array]:
        """Copies of what a task of training keeps, and what its optimizer keeps before the first step."""
        start = rule.start(self.network.training.parameters, dtype)
        kept = {t: aligned(a) for t, a in self._kept(task, dtype).items()}
        return kept | {t: aligned(start.pop(t.name)) for t in task.kept if t.name in start}

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
        key = tensor, executor, workers
        again = self._again.get(key)
        if again is not None and (result := again(x, self._values, self._states)) is not None:
            return result
        check_inference(self.network)
        given = self._given(x, self.dtype)
        samples = len(next(iter(given.values())))
        made = self._runner(
            ("forward", tensor), lambda: forward(self.network, tensor), MANY if samples >= FEW else 1, executor, workers
        )
        inputs, kept = {t: given[t.name] for t in made.task.data}, self._kept(made.task)
        outputs, _ = made.run(inputs, kept, first(samples), CHUNK)
        if isinstance(made, NativeRunner) and samples < FEW and len(inputs) == 1 and not made.whole:
            self._again[key] = Again(made, kept, samples, outputs[tensor])
        return outputs[tensor]

    def predict(self, x: Samples, *, executor: Executor | None = None, workers: int | None = None) -> Array:
        """The output for each sample: probabilities where the loss contains the link (softmax, sigmoid). `executor`
        and `workers` are as for `fit`."""
        net = self.network
        tensor = net.inference_logits if net.prediction is net.logits else net.prediction
        return self._forward(x, tensor, executor, workers)

    def classify(self, x: Samples) -> Array:
        """The label of each sample, as the targets had them, or the number of its class. Raises ModelError where the
        model learns numbers."""
        found = chosen(self.predict(x), self.loss.labels if self.loss else "numbers", self.classes)
        if found is None:
            raise ModelError("the model learns numbers, not classes", fix="call model.predict(x)")
        return labelled(self.columns, self.classes, found)

    def logits(self, x: Samples, *, executor: Executor | None = None, workers: int | None = None) -> Array:
        """The output of the last layer, before the loss's link."""
        return self._forward(x, self.network.inference_logits, executor, workers)

    def evaluate(
        self, x: Samples, y: ArrayLike, *, sample_weight: ArrayLike | None = None, executor: Executor | None = None,
        workers: int | None = None,
    ) -> dict[str, float]:
        """{"loss", "accuracy"}: the loss (with l2) over these samples, and the accuracy where there are classes: of
        those whose weight is not 0. The options are as for `fit`."""
        given, target = self._labelled(x, y, sample_weight, self.dtype)
        return self._evaluate(given, target, self._classes(target), executor, workers)

    def _classes(self, target: Array) -> Labels:
        """How accuracy is counted: not at all for numbers, unless every target is a class."""
        loss = self._need_loss()
        return "classes" if loss.labels == "numbers" and is_one_hot(target) else loss.labels

    def _evaluate(
        self, given: Mapping[str, Array], target: Array, labels: Labels, executor: Executor | None, workers: int | None
    ) -> dict[str, float]:
        check_inference(self.network)
        net = self._programs(given)[0] if WEIGHT in given else self.network
        assert net.target and net.loss
        made = self._runner(("evaluate", net.weight, labels), lambda: evaluation(net, labels), MANY, executor, workers)
        data = {t: ({**given, net.target.name: target})[t.name] for t in made.task.data}
        outputs, _ = made.run(data, self._kept(made.task), np.arange(len(target)), CHUNK)
        return metrics_of(made.task, outputs, len(target), CHUNK)

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
        given, target = self._labelled(x, y, sample_weight, kind)
        net, derivation = self._programs(given)
        assert net.target and net.loss
        made = self._runner(
            ("gradients", net.weight), lambda: gradients(net, derivation), len(target), executor, None, kind
        )
        data = {t: ({**given, net.target.name: target})[t.name] for t in made.task.data if t not in made.task.drawn}
        outputs, _ = made.run(
            data, self._kept(made.task, kind), np.arange(len(target)), len(target), seed=_seed(seed)
        )
        found = {name: outputs[tensor] for name, tensor in derivation.gradients.items()}
        return float(outputs[net.loss][0]), {
            name: array if SAMPLES in derivation.gradients[name].shape else array[0] for name, array in found.items()
        }

    # Training

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
        validation_split: float | None = None,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        seed: int = 0,
        verbose: bool = True,
        executor: Executor | None = None,
        workers: int | None = None,
    ) -> History:
        """Train by mini-batches. `optimizer` is one of cr.SGD, cr.Adam, … or a name: "sgd" (rate 0.1, momentum 0.9, as
        without one), "nesterov" (the same), "adam", "adamw", "rmsprop", "adagrad" (as their classes without options).
        `sample_weight` holds a weight of each sample's loss, (N,), or of each output's; the loss is still the mean
        over N, and where a weight is 0 the target may be NaN. `validation_data` is (x, y) or (x, y, sample_weight).
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
        rule = optimizer_named(optimizer)
        seed = _seed(seed)
        rng = np.random.default_rng(seed)
        with learning(self, x, y, int(self.network.logits.shape[-1])):
            given, target = self._labelled(x, y, sample_weight, self.dtype)
        labels = self._classes(target)
        given, target, held = self._held_out(given, target, validation_split, validation_data, rng)
        net, derivation = self._programs(given)
        assert net.target
        batch = min(batch_size, len(target))
        made = self._runner(
            ("training", net.weight, labels, rule), lambda: training(net, derivation, rule, labels), batch, executor,
            workers, looked=lambda: checked_loops(net, self.loss, derivation, rule, batch),
        )
        task, samples = made.task, len(target)
        kept = self._learning(task, rule, self.dtype)
        data = {t: {**given, net.target.name: target}[t.name] for t in task.data if t not in task.drawn}
        history, steps = History(), -(-samples // batch_size)
        with progress(epochs, verbose) as report:
            try:
                for epoch in range(epochs):
                    def tell(done: int, epoch: int = epoch) -> None:
                        report.step(epoch, min(done * batch_size / samples, 1.0))

                    if epoch == 0 or callable(rule.rate):
                        kept |= {t: rates(rule, epoch * steps, steps, self.dtype) for t in task.stepwise}
                    order = made.shuffled(samples, words_for(samples, rng))
                    try:
                        outputs, failed = made.run(
                            data, kept, order, batch_size, seed=seed, before=epoch * steps, report=tell
                        )
                    finally:
                        self._take(task, kept)
                    if failed >= 0:
                        loss = float(outputs[task.outputs[0]][failed])
                        raise ModelError(
                            f"the loss became {loss} in epoch {epoch + 1}",
                            about=f"step {epoch * steps + failed + 1} of {rule}",
                            fix="choose a lower rate; the parameters are those before this step",
                        )
                    metrics = metrics_of(task, outputs, samples, batch_size)
                    if held:
                        found = self._evaluate(*held, labels, executor, workers)
                        metrics |= {f"val_{name}": v for name, v in found.items()}
                    history.add(metrics)
                    report.epoch(epoch, metrics)
            except KeyboardInterrupt:
                history.interrupted = True
        return history

    def _held_out(
        self, given: dict[str, Array], target: Array, fraction: float | None,
        data: tuple[Any, Any] | tuple[Any, Any, Any] | None, rng: np.random.Generator,
    ) -> tuple[dict[str, Array], Array, tuple[dict[str, Array], Array] | None]:
        """What is trained on, and what is held out: a drawn part of it, or other data, or nothing."""
        if data is not None and fraction is not None:
            raise ModelError("validation_data and validation_split are both given", fix="give one of them")
        if data is not None:
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DataError(
                    "validation_data is neither (x, y) nor (x, y, sample_weight)",
                    about="validation_data",
                    fix="write validation_data=(x_val, y_val)",
                )
            weight = data[2] if len(data) == 3 else None
            return given, target, self._labelled(data[0], data[1], weight, self.dtype)
        if fraction is None:
            return given, target, None
        train, test = split(len(target), fraction, rng)
        held = {name: v[test] for name, v in given.items()}, target[test]
        return {name: v[train] for name, v in given.items()}, target[train], held

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
        given, target = self._labelled(x, y, None, self.dtype)
        net, derivation = self._programs(given)
        assert net.target
        task = training(net, derivation, rule, self._classes(target))
        batch_size = min(batch_size, len(target))
        order = np.resize(np.arange(len(target)), max(batch_size, len(target) // batch_size * batch_size))
        steps = len(order) // batch_size
        kept = self._learning(task, rule, np.dtype(np.float32))
        kept |= {t: rates(rule, 0, steps, np.dtype(np.float32)) for t in task.stepwise}
        arrays = {**given, net.target.name: target}
        kinds = {"integer": np.int32, "real": np.float32}
        data = {t: np.ascontiguousarray(arrays[t.name], kinds[t.dtype]) for t in task.data if t not in task.drawn}
        return Run(task, data, kept, batch_size, order)

    def _take(self, task: Task, kept: Mapping[Tensor, Array]) -> None:
        """Make what a run has learnt the model's own."""
        for mine in (self._values, self._states):
            mine.update({t.name: kept[t] for t in task.kept if t.name in mine})

    def save(self, path: Path) -> None:
        """Write the architecture, the parameters and the states as a safetensors file.

        Raises OSError, as `open` does, with the path, where it cannot be written.
        """
        from chainrule.train.checkpoint import save

        save(self, path)


def _seed(value: int) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not whole or value < 0:
        raise ModelError(f"seed must be a whole number that is not negative, not {value!r}", fix="write seed=0")
    return int(value)
