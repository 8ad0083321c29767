"""Models that are trained together are those that each would be alone, and are lowered and compiled once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import product
from threading import Barrier
from typing import Any

import numpy as np
import pandas
import pytest
from tests.examples import few

import chainrule as cr
from chainrule.errors import DivergenceError, ModelError
from chainrule.ir.expr import Add, Constant
from chainrule.ir.parse import parse_equation
from chainrule.train import feed, runners
from chainrule.train.runners import NativeRunner

K = 5


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 6)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)


def model(seed: int = 0, units: int = 5, dtype: str = "float32") -> cr.Sequential:
    """One with masks that are drawn and statistics that are kept."""
    return cr.Sequential(
        cr.Input(6), cr.Standardise(), cr.Dense(units), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3), cr.Dense(3),
        loss="softmax_cross_entropy", l2=1e-3, seed=seed, dtype=dtype,
    )


def likes(count: int = K) -> list[cr.Sequential]:
    pattern = model()
    return [pattern.like(seed) for seed in range(count)]


def standing(made: cr.Model) -> dict[str, Any]:
    """All that a model is, and where its training stands."""
    state = made.training
    arrays = {**made.parameters, **made.states, **{f"kept {name}": array for name, array in state.kept.items()}}
    return {
        **{name: array.tobytes() for name, array in arrays.items()}, "history": state.history, "steps": state.steps,
        "epochs": state.epochs, "goal": state.goal, "seed": state.seed, "optimizer": str(state.optimizer),
        "memory": {name: sorted(memory) for name, memory in state.memory.items()},
    }  # fmt: skip


def test_a_model_like_another_is_what_its_constructor_makes(data: tuple[Any, Any]) -> None:
    pattern = model()
    pattern.fit(*data, epochs=2, verbose=False, executor="numpy")
    twin, wanted, before = pattern.like(7), model(7), standing(pattern)
    for name, array in wanted.parameters.items():
        assert array.tobytes() == twin.parameters[name].tobytes() != pattern.parameters[name].tobytes()
    with pytest.raises(ModelError, match="has not been trained"):
        _ = twin.training
    for one in (twin, wanted):
        one.fit(*data, epochs=2, verbose=False, executor="numpy")
    assert standing(twin) == standing(wanted) and standing(pattern) == before
    assert [name for name, _ in twin.network.layers] == [name for name, _ in wanted.network.layers]
    assert not {layer for _, layer in twin.network.layers} & {layer for _, layer in pattern.network.layers}


def test_a_graph_and_what_its_layers_share_are_copied() -> None:
    x, dense = cr.Input(4), cr.Dense(4)
    pattern = cr.Model(x, cr.Dense(2)(dense(x) + dense(dense(x))), loss="mean_squared_error")
    twin = pattern.like(0)
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    assert pattern.predict(rows).tobytes() == twin.predict(rows).tobytes()
    twin.fit(rows, rows[:, :2], epochs=1, verbose=False)
    assert pattern.predict(rows).tobytes() != twin.predict(rows).tobytes()


FOLDS = [(np.delete(np.arange(96), rows), rows) for rows in np.array_split(np.arange(96), K)]
KINDS: dict[str, dict[str, Any]] = {
    "seeds": {"seeds": range(K)},
    "rates": {"optimizers": [cr.Adam(rate) for rate in (1e-3, 3e-3, 1e-2, 3e-2, 0.1)], "seeds": range(K)},
    "rules": {"optimizers": ["sgd", cr.Adam(1e-2), cr.SGD(0.1), cr.Adam(cr.cosine(1e-2, 30)), "rmsprop"]},
    "folds": {"folds": FOLDS},
}


EXECUTORS = ["native", "numpy"]
# Each kind by one of them: programs of their own and rows of their own natively.
BY_ONE = [("seeds", "numpy"), ("rates", "numpy"), ("rules", "native"), ("folds", "native")]


@pytest.mark.parametrize(("kind", "executor"), few(product(KINDS, EXECUTORS), BY_ONE))
def test_each_has_the_bits_that_it_has_alone(kind: str, executor: Any, data: tuple[Any, Any]) -> None:
    """With its history, and its training at the same place: a further epoch of each is the same."""
    given, (x, y) = KINDS[kind], data
    options: dict[str, Any] = {"epochs": 4, "batch_size": 16, "patience": 3, "executor": executor, "verbose": False}
    weight = np.linspace(0.5, 2, 96)
    together, alone = likes(), [model(seed) for seed in range(K)]
    histories = cr.fit_together(together, x, y, sample_weight=weight, metrics=["f1"], **options, **given)
    for number, one in enumerate(alone):
        own: dict[str, Any] = {
            "optimizer": given["optimizers"][number] if "optimizers" in given else None,
            "seed": given["seeds"][number] if "seeds" in given else None,
        }
        rows = np.arange(96)
        if "folds" in given:
            rows, held = given["folds"][number]
            own["validation_data"] = x[held], y[held], weight[held]
        history = one.fit(x[rows], y[rows], sample_weight=weight[rows], metrics=["f1"], workers=1, **options, **own)
        assert histories[number] == history and ("val_f1" if "folds" in given else "f1") in history.epochs[0]
        assert standing(together[number]) == standing(one)
        for made in (together[number], one):
            made.fit(x, y, epochs=1, batch_size=16, executor=executor, verbose=False)
        assert standing(together[number]) == standing(one)
    assert len({together[number].parameters["dense1.W"].tobytes() for number in range(K)}) == K


def test_they_are_lowered_once_and_run_by_a_library_for_each_thread(
    data: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[str]()
    original = runners.compiled

    def counted(*arguments: Any, **options: Any) -> Any:
        made.append("code")
        return original(*arguments, **options)

    monkeypatch.setattr(runners, "compiled", counted)
    together = likes(8)
    rates = [cr.Adam(rate) for rate in np.linspace(1e-3, 1e-2, 8)]
    cr.fit_together(together, *data, epochs=3, optimizers=rates, workers=3, verbose=False, executor="native")
    assert made == ["code"]
    (runner,) = together[0]._runners.found.values()
    assert isinstance(runner, NativeRunner) and 1 <= len(runner.idle) <= 3
    assert all(other._runners is together[0]._runners for other in together)
    apart = [model(seed) for seed in range(3)]  # made by the constructor, of one architecture too
    cr.fit_together(apart, *data, epochs=3, verbose=False, executor="native")
    assert made == ["code", "code"]


class Asking:
    """A schedule that sends Ctrl-C at one step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, step: int) -> float:
        if step == self.at:
            self.at = -1
            os.kill(os.getpid(), signal.SIGINT)
        return 0.01


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_all_and_they_are_finished_later(data: tuple[Any, Any]) -> None:
    """Those that were at work, and those that had not begun."""
    options: dict[str, Any] = {"batch_size": 16, "executor": "numpy", "verbose": False, "seeds": range(K)}
    whole, broken = likes(), likes()
    cr.fit_together(whole, *data, epochs=15, optimizers=[cr.Adam(Asking(-1)) for _ in whole], **options)
    rules = [cr.Adam(Asking(9 if number == 0 else -1)) for number in range(K)]
    histories = cr.fit_together(broken, *data, epochs=15, optimizers=rules, workers=2, **options)
    assert all(history.interrupted for history in histories)
    assert broken[0].training.steps < 90 and broken[-1].training.steps == 0
    histories = cr.fit_together(broken, *data, epochs=1, resume=True, optimizers=rules, **options)
    for one, other, history in zip(broken, whole, histories, strict=True):
        assert history == other.training.history and not history.interrupted
        assert [standing(one)[n] for n in one.parameters] == [standing(other)[n] for n in other.parameters]


def test_where_one_diverges_the_others_are_trained(data: tuple[Any, Any]) -> None:
    def line(seed: int) -> cr.Sequential:
        return cr.Sequential(cr.Input(6), cr.Dense(1), loss="mean_squared_error", seed=seed)

    x, _ = data
    together = [line(seed) for seed in range(3)]
    rates = [cr.SGD(0.01), cr.SGD(1e6), cr.SGD(0.02)]
    with pytest.raises(DivergenceError) as caught:
        cr.fit_together(together, x, x[:, 0], epochs=9, optimizers=rates, verbose=False)
    assert caught.value.__notes__ == ["It is model 1 of 3, counted from 0."]
    assert [made.training.epochs for made in (together[0], together[2])] == [9, 9]


def test_one_rule_and_one_seed_are_for_all(data: tuple[Any, Any]) -> None:
    pairs: Any = (({"optimizers": "adam"}, {"optimizers": ["adam"] * 2}), ({"seeds": 3}, {"seeds": [3, 3]}))
    for one, each in pairs:
        alone, listed = likes(2), likes(2)
        for made, options in ((alone, one), (listed, each)):
            cr.fit_together(made, *data, epochs=1, verbose=False, executor="numpy", **options)
        for a, b in zip(alone, listed, strict=True):
            assert np.array_equal(a.predict(data[0]), b.predict(data[0]))


def test_nothing_is_trained_of_no_models(data: tuple[Any, Any]) -> None:
    assert cr.fit_together([], *data, epochs=2) == []


def test_several_inputs_and_data_frames_are_taken_by_rows() -> None:
    rng = np.random.default_rng(1)
    one, two = cr.Input(2), cr.Input(3)
    pattern = cr.Model([one, two], cr.Dense(1)(cr.Concat()(one, two)), loss="mean_squared_error")
    a, b = rng.normal(size=(24, 2)), rng.normal(size=(24, 3))
    folds = [(np.arange(16), np.arange(16, 24)), (np.arange(8, 24), np.arange(8))]
    for x in ((a, b), {"input1": a, "input2": b}):
        together = [pattern.like(0), pattern.like(1)]
        cr.fit_together(together, x, a[:, :1], epochs=2, folds=folds, verbose=False, executor="numpy")
        alone = pattern.like(1)
        alone.fit((a[8:], b[8:]), a[8:, :1], epochs=2, verbose=False, executor="numpy")
        assert together[1].parameters["dense1.W"].tobytes() == alone.parameters["dense1.W"].tobytes()
    table = pandas.DataFrame({"number": rng.normal(size=24), "text": ["a", "b", None] * 8})
    seen = cr.Sequential(cr.Input(4), cr.Dense(2), loss="softmax_cross_entropy")
    together = [seen.like(0), seen.like(1)]
    cr.fit_together(together, table, pandas.Series(["no", "yes"] * 12), epochs=2, folds=folds, verbose=False)
    assert together[0].classes == ("no", "yes")


def test_data_are_checked_once_and_not_copied(data: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each would learn the labels of its own rows, each is given those."""
    seen, original, (x, y) = list[int](), feed.as_input, data

    def counted(values: Any, *arguments: Any) -> Any:
        seen.append(len(values))
        return original(values, *arguments)

    monkeypatch.setattr(feed, "as_input", counted)
    options: dict[str, Any] = {"epochs": 1, "folds": FOLDS, "verbose": False, "executor": "numpy"}
    cr.fit_together(likes(), x, y, **options)
    assert seen == [96]
    together = likes()
    cr.fit_together(together, x, np.array(["a", "b", "c"])[y], **options)
    folds = [n for train, test in FOLDS for n in (len(train), len(test))]
    assert seen[:2] == [96, 96] and sorted(seen[2:]) == sorted(folds)  # threads come in any order
    assert together[0].classes == ("a", "b", "c")


class Noisy(cr.Layer):
    equation = "y[n, k] = m[n, k]*x[n, k]"

    def __init__(self, share: float) -> None:
        super().__init__()
        self.state = {"m": cr.bernoulli(share, "n", "k")}


def noisy(share: float) -> cr.Model:
    """What it draws is in no equation."""
    return cr.Sequential(cr.Input(6), Noisy(share), cr.Dense(3), loss="softmax_cross_entropy")


REFUSED: list[tuple[Callable[[], list[cr.Model]], dict[str, Any], str]] = [
    (lambda: [model(), model(units=6)], {}, "differ"),
    (lambda: [model(), model(dtype="float64")], {}, "differ"),
    (lambda: [noisy(0.2), noisy(0.3)], {}, "differ"),
    (lambda: [model()] * 2, {}, "layers in common"),
    (lambda: [*likes(2)], {"seeds": [1]}, "2 models and 1 seeds"),
    (lambda: [*likes(2)], {"optimizers": [cr.Adam()] * 3}, "2 models and 3 optimizers"),
    (lambda: [*likes(2)], {"folds": FOLDS}, "2 models and 5 folds"),
    (lambda: [*likes(2)], {"folds": 2}, "a fold is a pair"),
    (lambda: [*likes(2)], {"folds": [np.arange(3)] * 2}, "a fold is a pair"),
    (lambda: [*likes(2)], {"callbacks": [cr.EarlyStopping()]}, "a callback remembers"),
    (lambda: [*likes(2)], {"workers": 0}, "workers must be a positive whole number"),
    (lambda: [*likes(2)], {"epoch": 3}, "fit has no option 'epoch'"),
]


@pytest.mark.parametrize(("made", "options", "said"), REFUSED)
def test_what_cannot_be_trained_together_is_refused(
    made: Callable[[], list[cr.Model]], options: dict[str, Any], said: str, data: tuple[Any, Any]
) -> None:
    with pytest.raises(ModelError, match=said):
        cr.fit_together(made(), *data, verbose=False, executor="numpy", **options)


def test_threads_that_make_equal_nodes_have_one() -> None:
    """And those that read equations are not in each other's way."""
    interval, barrier = sys.getswitchinterval(), Barrier(4)

    def made(number: int) -> list[Any]:
        barrier.wait()
        nodes: list[Any] = [Constant(Fraction(number))]
        for one in range(400):
            nodes.append(Add((nodes[-1], Constant(Fraction(one, number)))))
        return [parse_equation(f"y[n, k] = sum[l<{number}](W[k, l]*x[n, l]) + {number}").value, *nodes]

    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(4) as pool:
            for number in range(3, 40):
                found = list(pool.map(made, [number] * 4))
                assert all(len(set(map(id, same))) == 1 for same in zip(*found, strict=True))
    finally:
        sys.setswitchinterval(interval)
