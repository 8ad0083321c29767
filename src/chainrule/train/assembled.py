"""A graph of layers with a loss as what computes: its values, its derivation, predictions and gradients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.compile import Checked, evaluation, forward, gradients
from chainrule.derivation import Derivation, printable
from chainrule.derive import derive_program
from chainrule.derive.check import KNOWN, Kept
from chainrule.errors import ChainruleError, ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.source import shorten
from chainrule.loops.task import Task
from chainrule.nn.layer import Input, Layer, Node, show
from chainrule.nn.losses import Labels, Loss, loss_named
from chainrule.nn.network import Network, assemble, check_inference, needed
from chainrule.nn.text import penalty
from chainrule.optim.named import optimizer_named
from chainrule.optim.optimizer import Optimizer
from chainrule.train.columns import Columns, chosen, labelled
from chainrule.train.feed import WEIGHT, Feed, Rows, Samples
from chainrule.train.metrics import Asked, Metric, confusion, measured, metrics_named
from chainrule.train.parameters import Gradients, Parameters
from chainrule.train.runners import (
    Again,
    Engine,
    Executor,
    NativeRunner,
    Runner,
    check_workers,
    engine,
    first,
    metrics_of,
    runner,
)
from chainrule.train.state import seeded
from chainrule.train.values import Values
from chainrule.verify.loops import Loops

if TYPE_CHECKING:
    from chainrule.verify.certificate import Certificate

Array = NDArray[Any]
Path = str | PathLike[str]
DTypes = ("float32", "float64")
CHUNK = 1024  # samples in one pass of predict and evaluate
RUNNERS = 16  # kinds of tasks that are kept ready
FEW, MANY = 9, 64  # from so many samples on they go into the lanes of code that is laid out for so many at once


class Assembled:
    """What a model is before it is trained; `Model` says what it is made of."""

    classes: tuple[str, ...] = ()
    """Names of the classes that the outputs stand for, where they have names; a saved model keeps them."""

    seed: int | None = None
    """What the initial values were drawn by; nothing where they were given."""

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
        self.seed = seed = seeded(seed)
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
    ) -> Self:
        """The model whose parameters and states are these arrays. Nothing is drawn, and nothing is allocated for an
        array that is missing or of another shape: that is a ModelError."""
        model = cls.__new__(cls)
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
        self._runners: Kept = Kept(RUNNERS)
        self._again: dict[Hashable, Again] = {}
        self.feed = Feed(self.network, self.inputs, output, self.loss)
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

    def __repr__(self) -> str:
        kinds = ", ".join(type(layer).__name__ for _, layer in self.network.layers)
        count = sum(array.size for array in self.values.parameters.values())
        return f"<{type(self).__name__} of {shorten(kinds, 60)} with {count:,} parameters; print its summary()>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: a diagram of the layers, and a table of them; nothing where there is no derivation."""
        from chainrule import render

        try:
            return render.drawn(self._derivation)
        except ChainruleError:
            return None

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
        made = ("derivation", net.training, net.loss, wrt, *net.labels.items(), *net.letters.items())

        def derived() -> Derivation:
            return printable(derive_program(
                net.training, net.loss, wrt, layers=net.labels, letters=net.letters, memory=Checked()
            ))

        return KNOWN.get(made, derived)

    def derive(self) -> Derivation:
        """The derivation of the whole back-propagation; without a loss, from a given ∂L/∂output."""
        return self._derivation

    def verify(
        self, *, samples: int = 2, seed: int = 0, floats: bool = False, optimizer: Optimizer | str | None = None,
        prove: bool = False, keep: str | PathLike[str] | None = None,
    ) -> Certificate:
        """Check every line of the derivation as an exact identity, with a computed bound, and the whole gradient at
        `samples` samples against dual numbers of the original program. `floats` also measures the gradients' errors
        in float32 and float64 against 50 digits, which needs the extra `verify`. The loops of a step are compared with
        its equations; with an `optimizer` its step for all parameters with its rule for one at a time. `prove` has Coq
        prove every line of every lemma for all values, where it is installed; `keep` is a file for the proof.

        Raises VerificationError for the first line that is no identity.
        """
        from chainrule.verify.certificate import certify

        joint = self._derivation.joint
        wanted = [t.name for t in self._derivation.gradients.values()]
        rule = None if optimizer is None else optimizer_named(optimizer)
        return certify(
            self._derivation, samples=samples, seed=seed, simplified=needed(joint, wanted), floats=floats, loops=True,
            optimizer=rule, prove=prove, keep=keep,
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

    def _runner(
        self, what: Hashable, task: Callable[[], Task], samples: int, executor: Engine | None, workers: int | None,
        dtype: np.dtype[Any] | None = None, looked: Callable[[], Loops] | None = None,
    ) -> Runner:
        """What runs a task, made once for each kind of task as long as there are few kinds: each has memory of its own.
        """
        check_workers(workers)
        return self._runners.get(
            (what, samples, executor, workers, dtype),
            lambda: runner(task(), dtype or self.dtype, samples, executor, workers, looked),
        )

    def _forward(self, x: Samples, tensor: Tensor, executor: Engine | None, workers: int | None) -> Array:
        again = self._again.get((tensor, executor, workers))
        if again is not None and (result := again(x, self.values.parameters, self.values.states)) is not None:
            return result
        given = self.feed.samples(x, self.dtype)
        return self._outputs(given, first(len(next(iter(given.values())))), tensor, executor, workers)

    def _outputs(
        self, given: Mapping[str, Array], at: NDArray[np.int64], tensor: Tensor, executor: Engine | None,
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
        self, x: Samples, layer: str, *, executor: Executor | None = None, workers: int | None = None,
        devices: int | None = None,
    ) -> Array:
        """What a layer gives for each sample, outside of training: model.activations(x, "relu1"). Raises ModelError for
        a layer that there is not."""
        self[layer]
        return self._forward(x, self.network.outputs[layer], engine(executor, devices), workers)

    def predict(
        self, x: Samples, *, executor: Executor | None = None, workers: int | None = None, devices: int | None = None
    ) -> Array:
        """The output for each sample: probabilities where the loss contains the link (softmax, sigmoid). `executor`,
        `workers` and `devices` are as for `fit`."""
        return self._forward(x, self.network.inferred, engine(executor, devices), workers)

    @property
    def columns(self) -> Columns | None:
        """How the columns of a table become inputs, learnt from the first table that the model is trained on."""
        return self.feed.columns

    @columns.setter
    def columns(self, value: Columns | None) -> None:
        self.feed.columns = value

    def classify(self, x: Samples) -> Array:
        """The label of each sample, as the targets had them, or the number of its class; of several outputs that are
        each yes or no, 1 or 0 for each. Raises ModelError where the model learns numbers."""
        output, labels = self.predict(x), self.loss.labels if self.loss else "numbers"
        found = chosen(output, labels, self.classes)
        if found is None and labels == "binary":
            return (output > 0.5).astype(np.int64)
        if found is None:
            raise ModelError("the model learns numbers, not classes", fix="call model.predict(x)")
        return labelled(self.columns, self.classes, found)

    def logits(
        self, x: Samples, *, executor: Executor | None = None, workers: int | None = None, devices: int | None = None
    ) -> Array:
        """The output of the last layer, before the loss's link."""
        return self._forward(x, self.network.inference_logits, engine(executor, devices), workers)

    def evaluate(
        self, x: Samples, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
        metrics: Asked = (), executor: Executor | None = None, workers: int | None = None,
        devices: int | None = None,
    ) -> dict[str, float]:
        """{"loss", "accuracy"}: the loss (with l2) over these samples, and the accuracy where there are classes: of
        those whose weight is not 0; and the `metrics`. The options are as for `fit`."""
        rows = self.feed.rows(x, y, sample_weight, self.dtype)
        measures = metrics_named(metrics)
        return self._evaluate(rows, self.feed.labels(rows.target), engine(executor, devices), workers, measures)

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
        self, rows: Rows, labels: Labels, executor: Engine | None, workers: int | None,
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
        self, rows: Rows, labels: Labels, executor: Engine | None, workers: int | None, measures: Sequence[Metric]
    ) -> dict[str, float]:
        output = self._scores(rows, labels, executor, workers)
        return measured(measures, output, rows.targets, rows.weights, labels)

    def _scores(self, rows: Rows, labels: Labels, executor: Engine | None, workers: int | None) -> Array:
        """Outputs by which an answer is yes above one half."""
        output = self._outputs(rows.given, rows.at, self.network.inferred, executor, workers)
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
        devices: int | None = None,
    ) -> tuple[float, Gradients]:
        """(loss, name -> gradient): of every parameter and of "input", each of the shape of what it belongs to.
        `dtype` is the model's unless given; `seed` draws the random tensors of layers that have some;
        `sample_weight` is as for `fit`. `executor="native"` computes them, in float32, with the code that training
        runs, "jax" on `devices`."""
        made_by = engine(executor, devices)
        if dtype is not None and dtype not in DTypes:
            raise ModelError(f"the dtype is 'float32' or 'float64', not {dtype!r}")
        kind = self.dtype if dtype is None else np.dtype(dtype)
        rows = self.feed.rows(x, y, sample_weight, kind)
        (net, derivation), samples = self._programs(rows.given), len(rows)
        assert net.target and net.loss
        made = self._runner(
            ("gradients", net.weight), lambda: gradients(net, derivation), samples, made_by, None, kind
        )
        data = rows.over((t for t in made.task.data if t not in made.task.drawn), net.target)
        outputs, _ = made.run(data, self._kept(made.task, kind), first(samples), samples, seed=seeded(seed))
        found = {name: outputs[tensor] for name, tensor in derivation.gradients.items()}
        return float(outputs[net.loss][0]), Gradients({
            name: array if SAMPLES in derivation.gradients[name].shape else array[0] for name, array in found.items()
        })
