"""The emitted C over GF(p): the text that trains, at the same width, equals the field executor entry by entry.

A loop that reads, adds or writes one entry too many, too few or elsewhere gives other elements: the planted errors at
the end are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache, reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.examples import few
from tests.nn.test_every_layer import model_with, ranges
from tests.runtime.kernels import HERE, pointer
from tests.targets.native import built_of

import chainrule as cr
from chainrule.compile import emit, evaluation, gradients, machine_of, training
from chainrule.ir.program import Program
from chainrule.loops import filtering
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.task import Task
from chainrule.nn.layer import Node
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.optim.optimizer import Optimizer
from chainrule.runtime.keys import field_keys
from chainrule.runtime.library import Library
from chainrule.semantics.field import execute, random_values
from chainrule.semantics.prime import PRIME
from chainrule.targets import c

Array = NDArray[Any]
SEED = 11
EXPONENTS = (Fraction(1, 2), Fraction(1, 3))
LANES = (4, 8, 16)


def library(lowered: Plan, source: str, lanes: int) -> Library:
    built = built_of(lowered, source, HERE.with_lanes(lanes), ("-O0",), np.uint64)
    rows = field_keys(SEED, EXPONENTS)
    assert built.handle.chainrule_set_keys(pointer(rows), len(rows)) == 1
    return built


def lowering(task: Task, lanes: int, batch: int, *, scheduled: bool = True) -> Plan:
    return lower(task, machine_of(HERE.with_lanes(lanes)), samples=batch, scheduled=scheduled)


class Point:
    """Random elements for all that a task is given, and what the field executor makes of them, batch by batch."""

    def __init__(self, task: Task, samples: int, batch: int, integers: Mapping[str, int] | None = None) -> None:
        self.task, self.samples, self.batch = task, samples, batch
        tensors = (*task.data, *task.kept)
        extents = {e: samples for t in tensors for e in t.shape if isinstance(e, str)}
        self.given = random_values(tensors, extents, SEED, integers)
        self.steps = -(-samples // batch)
        rng = np.random.default_rng(SEED)
        self.order = rng.permutation(samples)
        self.stepwise = {t: rng.integers(0, PRIME, self.steps, np.uint64) for t in task.stepwise}
        self.outputs = self.arrays()
        self.kept = {t: self.given[t.name] for t in task.kept if t not in task.stepwise}
        program = Program(task.equations, inputs=tensors)
        for step in range(self.steps):
            rows = self.order[step * batch : (step + 1) * batch]
            values: dict[str, Array] = {t.name: self.given[t.name][rows] for t in task.data}
            values |= {t.name: value for t, value in self.kept.items()}
            values |= {t.name: value[step].reshape(()) for t, value in self.stepwise.items()}
            found = execute(program, values, seed=SEED)
            for tensor, array in self.outputs.items():
                sized = tensor.shape and isinstance(tensor.shape[0], str)
                array[slice(step * batch, step * batch + len(rows)) if sized else step] = found[tensor.name][0]
            self.kept |= {t: found[n.name][0] for t, n in task.following.items()}

    def arrays(self) -> dict[Any, Array]:
        def shape(extents: tuple[Any, ...]) -> tuple[int, ...]:
            sized = bool(extents) and isinstance(extents[0], str)
            return (self.samples, *extents[1:]) if sized else (self.steps, *extents)

        return {t: np.zeros(shape(t.shape), np.uint64) for t in self.task.outputs}

    def differing(self, built: Library, workers: int = 1) -> list[str]:
        """What comes out otherwise of the kernels."""
        outputs = self.arrays()
        kept = {t: np.array(self.given[t.name], order="C") for t in self.kept} | dict(self.stepwise)
        data = {t: self.given[t.name] for t in self.task.data}
        built.prepare(data, kept, outputs, self.order, self.batch)
        assert built.steps(self.samples, self.batch, 0, self.steps, workers=workers) == -1
        built.unpack()
        wrong = [t.name for t, array in outputs.items() if not np.array_equal(array, self.outputs[t])]
        return wrong + [t.name for t, value in self.kept.items() if not np.array_equal(kept[t], value)]


def differing(
    task: Task, lanes: int, samples: int, batch: int, *, integers: Mapping[str, int] | None = None,
    scheduled: bool = True, workers: int = 1,
) -> list[str]:
    task = replace(task, drawn={})  # masks are given here, as elements
    lowered = lowering(task, lanes, batch, scheduled=scheduled)
    built = library(lowered, emit(lowered, "field"), lanes)
    return Point(task, samples, batch, integers).differing(built, workers)


def gradients_of(model: cr.Model) -> Task:
    return gradients(model.network, model._derivation)


# The vocabulary


WAYS = ["a vector and a part", "one sample", "unscheduled"]
LOOPS = (
    "Dense", "Conv2d", "ConvTranspose1d", "Upsample", "AdaptiveMaxPool", "MaxPool1d", "MeanPool2d", "GlobalMeanPool",
    "ReLU", "PReLU", "Softmax", "GroupNorm", "BatchNorm", "Standardise", "Dropout", "Flatten", "Concat", "Equations",
    "Embedding", "MultiHeadAttention",
)  # fmt: skip
"""Of layers with loops of one kind one. test_native.py compiles every layer, and the campaign each in each way here."""
BY_TURNS = [(name, WAYS[n % 3]) for n, name in enumerate(LOOPS)]


@pytest.mark.parametrize(("name", "way"), few(product(LAYERS, WAYS), BY_TURNS))
def test_every_layer(name: str, way: str) -> None:
    model, lanes = model_with(name), LANES[len(name) % 3]
    batch, scheduled = dict(zip(WAYS, ((lanes + 3, True), (1, True), (5, False)), strict=True))[way]
    assert differing(gradients_of(model), lanes, batch, batch, integers=ranges(model), scheduled=scheduled) == []


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str) -> None:
    lanes = LANES[len(name) % 3]
    model = cr.Sequential(cr.Input(3), cr.Dense(4), cr.Tanh(), cr.Dense(4), loss=name, l2=0.1)
    assert differing(gradients_of(model), lanes, 19, 8) == []


@pytest.mark.parametrize("name", few(LOSSES, 3))
def test_every_evaluation(name: str) -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(4), cr.Tanh(), cr.Dense(4), loss=name)
    assert differing(evaluation(model.network, "classes"), LANES[len(name) % 3], 11, 11) == []


def test_zeros_around_what_is_given_are_there_in_rows_too() -> None:
    """Neighbouring entries of a window in the lanes: the data are copied in rows, where other things lay before."""
    model = cr.Sequential(
        cr.Input(7, 12), cr.Conv1d(5, 4, padding=1), cr.Tanh(), cr.Flatten(), cr.Dense(3), loss="softmax_cross_entropy"
    )
    task = training(model.network, model.derive(), cr.SGD(0.05), "classes")
    assert differing(task, 4, 7, 3) == []


def test_convolutions_with_fewer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them, places left over; another coefficient gives other elements."""
    monkeypatch.setattr(filtering, "TERMS", 1)
    model = cr.Sequential(
        cr.Input(1, 8, 9), cr.Conv2d(2, 3, padding=1), cr.ReLU(), cr.Conv2d(3, 3, padding=1), cr.MaxPool2d(2),
        cr.Flatten(), cr.Dense(3), loss="softmax_cross_entropy",
    )  # fmt: skip
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    names = {e.tensor.name for e in task.equations if filtering.window_of(e)}
    assert names >= {"conv2d1.u", "conv2d2.u", "δ(relu1.z)", "δ(conv2d1.W)"}
    assert differing(task, 8, 19, 8, workers=2) == []
    right = filtering.products
    monkeypatch.setattr(filtering, "products", lambda *size: [replace(p, divisor=2 * p.divisor) for p in right(*size)])
    assert "conv2d1.W" in differing(task, 8, 9, 8)


@cache
def classifier() -> cr.Model:
    layers = (cr.Dense(5), cr.ReLU(), cr.BatchNorm(), cr.Dense(4))
    return cr.Sequential(cr.Input(3), *layers, loss="softmax_cross_entropy")


RULES = [
    cr.SGD(0.1), cr.SGD(0.1, momentum=0.9), cr.SGD(0.1, momentum=0.9, nesterov=True), cr.Adam(), cr.AdamW(),
    cr.RMSProp(momentum=0.5), cr.Adagrad(), cr.Adam(clip_norm=1.0, clip_value=0.5),
]  # fmt: skip
RUNS = [(8, 19, 8), (4, 3, 1)]


@pytest.mark.parametrize(
    ("rule", "run"), few(product(RULES, RUNS), [(rule, RUNS[n % 3 > 1]) for n, rule in enumerate(RULES)]), ids=str
)
def test_epochs_of_every_optimizer(rule: Optimizer, run: tuple[int, int, int]) -> None:
    """Steps that follow each other, the last batch partial, two workers, states of the optimizer and of a layer."""
    task = training(classifier().network, classifier()._derivation, rule, "classes")
    assert differing(task, *run, workers=2) == []


# Shapes of every kind of kernel


def branches(shape: tuple[int, ...], layers: list[Callable[[], Any]]) -> cr.Model:
    """One model with all these layers side by side, each behind a layer of its own, so that the error signals at its
    output differ from entry to entry."""
    x = cr.Input(*shape)
    h = cr.Tanh()(x)
    ends: list[Node] = [cr.Dense(2)(cr.Flatten()(make()(h))) for make in layers]
    return cr.Model(x, reduce(lambda a, b: cr.Add()(a, b), ends), loss="half_squared_error")


def dense(k: int) -> Any:
    return lambda: cr.Dense(k)


KINDS: dict[str, tuple[tuple[int, ...], list[Callable[[], Any]]]] = {
    "dense": ((37,), [dense(k) for k in (1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33)]),
    "convolution": ((2, 7, 6), [
        lambda k=k, s=s, p=p, o=o: cr.Conv2d(o, k, stride=s, padding=p)
        for k, s, p, o in (
            (1, 1, 0, 1), (1, 2, 0, 3), (2, 1, 0, 2), (2, 2, 0, 4), (2, 3, 1, 1), (3, 1, 0, 2), (3, 1, 1, 3),
            (3, 2, 0, 1), (3, 2, 1, 2), (3, 3, 1, 5), (4, 1, 2, 1), (4, 2, 1, 2), (5, 1, 2, 3), (5, 2, 2, 1),
            (5, 4, 0, 2), ((1, 3), 1, 0, 2), ((3, 2), (2, 1), (1, 0), 3), ((6, 1), 1, 0, 1), (6, 1, 3, 1),
            ((2, 5), (1, 2), (0, 2), 4),
        )
    ]),
    "pooling": ((2, 9, 7), [
        lambda pool=pool, k=k, s=s, p=p: pool(k, stride=s, padding=p)
        for pool in (cr.MaxPool2d, cr.MeanPool2d)
        for k, s, p in (
            (2, 2, 0), (3, 3, 0), (2, 1, 0), (3, 2, 1), (3, 1, 1), ((2, 3), (2, 1), (1, 0)), (4, 3, 2), (1, 2, 0),
            ((9, 7), 1, 0), ((3, 2), (3, 2), (0, 1)),
        )
    ]),
}  # fmt: skip


BATCHES = {4: 6, 8: 13, 16: 16}


def shapes(kind: str, lanes: int, batch: int, every: int = 1) -> list[str]:
    shape, layers = KINDS[kind]
    assert len(layers) == 20
    return differing(gradients_of(branches(shape, layers[::every])), lanes, batch, batch)


@pytest.mark.parametrize(("kind", "lanes"), list(zip(KINDS, LANES, strict=True)))
def test_four_shapes_of_each_kind(kind: str, lanes: int) -> None:
    assert shapes(kind, lanes, BATCHES[lanes], every=5) == []


@pytest.mark.campaign
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_shapes_of_each_kind_at_every_width(kind: str, lanes: int) -> None:
    for batch in (1, 2, BATCHES[lanes], 37):
        assert shapes(kind, lanes, batch) == []


# Planted errors. Each reads or writes less than the sound text does, so that none leaves its memory.


def shorter(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) - 1}{found[3]}"


ERRORS: dict[str, tuple[str, str | Callable[[re.Match[str]], str]]] = {
    "a loop ends early": (r"(for \([^;]*; \w+ < )([2-9]|\d\d+)(; \w+\+\+\))", shorter),
    "a loop begins late": (r"(for \(long \w+ = )0(; \w+ < (?:[2-9]|\d\d+); \w+\+\+\))", r"\g<1>1\2"),
    "a neighbour is read": (r"(\bload\([^()]* \+ )([1-9]\d*)(\))", shorter),
    "weights of another place": (r"(\bp\d+\[[^\]]* \+ )([1-9]\d*)(\])", shorter),
    "a stride too small": (r"(\bload\(\w+ \+ \w+ \* )([2-9]|\d\d+)(\b)", shorter),
    "a term is left out": (r"\bmac\(\w+, \w+, (\w+)\)", r"\1"),
    "another factor": (r"\bmac\((\w+), (\w+), (\w+)\)", r"mac(\1, \1, \3)"),
    "an activation is left out": (r"\b(?:relu|tanh|step)_1?\((\w+(?:\([^()]*\))?)\)", r"\1"),
    "a bias or a gradient is left out": (r"\badd1?\((\w+), \w+\)", r"\1"),
    "lanes behind the last sample count": (r"\blive\([^()]*(?:\([^()]*\))?[^()]*\)", "live(LANES)"),
    "samples out of order": (r"order\[begin \+ ", "order["),
}


@cache
def sound() -> tuple[Plan, str, list[Point]]:
    """A program, and points of 1, 2 and 5 to 8 blocks of samples: loops over several blocks run, and their rests."""
    layers = (cr.Conv2d(3, 3, stride=2, padding=1), cr.ReLU(), cr.MaxPool2d(2), cr.Flatten(), cr.Dense(5), cr.Tanh())
    model = cr.Sequential(cr.Input(2, 8, 7), *layers, cr.Dense(3), loss="half_squared_error")
    task = training(model.network, model._derivation, cr.SGD(0.1), "numbers")
    lowered = lowering(task, 8, 13)
    return lowered, emit(lowered, "field"), [Point(task, 24, 13), *(Point(task, n, n) for n in (5, 35, 44, 53, 59))]


def planted(kind: str) -> list[str]:
    """The program with one error of this kind, at each place where there can be one."""
    lowered, source, _ = sound()
    start, (pattern, error) = source.index(c.source(lowered)), ERRORS[kind]
    sites = [m for m in re.finditer(pattern, source) if m.start() >= start]
    return [source[: m.start()] + re.sub(pattern, error, m[0], count=1) + source[m.end() :] for m in sites]


def refused(source: str) -> bool:
    lowered, _, points = sound()
    built = library(lowered, source, 8)
    return any(point.differing(built) for point in points)


def test_the_sound_program_is_accepted() -> None:
    assert not refused(sound()[1])


@pytest.mark.parametrize("kind", ERRORS)
def test_planted_errors_are_refused(kind: str) -> None:
    """At one of two places. The other may be no error: where a loop runs once, or padding is read."""
    sources = planted(kind)
    assert sources
    some = [*dict.fromkeys(sources[len(sources) * third // 3] for third in (1, 2))]
    assert any(map(refused, some))


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ERRORS)
def test_planted_errors_are_refused_everywhere(kind: str) -> None:
    sources = planted(kind)
    assert sum(map(refused, sources)) >= 0.93 * len(sources)
