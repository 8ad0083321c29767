"""Models that train and predict by native code: the results of NumPy, interrupted and refused like it."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import emit, machine_of, training
from chainrule.errors import BuildError, CompileError, ModelError
from chainrule.loops.program import lower
from chainrule.nn.layer import Layer
from chainrule.runtime.compiler import native
from chainrule.runtime.peaks import peaks
from chainrule.train import assembled as model_module
from chainrule.train import runners
from chainrule.train.models import read_model
from chainrule.train.runners import NativeRunner, NumpyRunner

BOUND = 1e-5


def classifier(dtype: str = "float32") -> cr.Sequential:
    return cr.Sequential(
        cr.Input(1, 6, 6), cr.Conv2d(2, 3, stride=2), cr.ReLU(), cr.Flatten(), cr.Dense(5), cr.BatchNorm(), cr.Tanh(),
        cr.Dense(3), loss="softmax_cross_entropy", l2=1e-3, dtype=dtype,
    )  # fmt: skip


def samples(count: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, count)


def close(found: Any, right: Any) -> bool:
    return bool(np.all(np.abs(np.asarray(found) - np.asarray(right)) <= BOUND * max(1.0, float(np.abs(right).max()))))


@pytest.mark.shipped
@pytest.mark.parametrize("batch_size", [8, pytest.param(1, marks=pytest.mark.campaign)])
def test_a_model_learns_and_answers_as_with_numpy(batch_size: int) -> None:
    (x, y), held = samples(21), samples(10, 1)
    weight = np.random.default_rng(2).random(21).astype(np.float32)
    weight[3] = 0
    models = classifier(), classifier("float64")
    runs = [
        model.fit(
            x, y, epochs=2, batch_size=batch_size, optimizer=cr.Adam(0.01, epsilon=1e-2), sample_weight=weight,
            validation_data=held, executor=executor, verbose=False,
        )
        for model, executor in zip(models, ("native", "numpy"), strict=True)
    ]  # fmt: skip
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert close(getattr(runs[0], name), getattr(runs[1], name))
    for name, value in {**models[1].parameters, **models[1].states}.items():
        assert close({**models[0].parameters, **models[0].states}[name], value)
    for count in (1, 2, 21):
        assert close(models[0].predict(x[:count]), models[1].predict(x[:count]))
        assert close(models[0].logits(x[:count]), models[1].logits(x[:count]))
        found, right = models[0].evaluate(x[:count], y[:count]), models[1].evaluate(x[:count], y[:count])
        assert close(found["loss"], right["loss"]) and found["accuracy"] == right["accuracy"]
    assert {type(r) for r in models[0]._runners.found.values()} == {NativeRunner}
    assert {type(r) for r in models[1]._runners.found.values()} == {NumpyRunner}
    loss, gradients = models[0].gradients(x[:5], y[:5], executor="native")
    wanted, right = models[0].gradients(x[:5], y[:5], dtype="float64")
    assert close(loss, wanted) and gradients.keys() == right.keys()
    assert all(close(gradients[name], right[name]) for name in right)


def test_workers_and_runs_give_the_same_bits() -> None:
    x, y = samples(40)
    found: list[dict[str, bytes]] = []
    for workers in (1, 2, 2):
        model = classifier()
        model.fit(x, y, epochs=2, batch_size=16, workers=workers, seed=3, verbose=False)
        found.append({n: v.tobytes() for n, v in {**model.parameters, **model.states}.items()})
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("quickest", [1, 2])
def test_as_many_workers_as_are_quickest_of_those_allowed(quickest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that the steps alone move: a step takes 1 ms by so many workers, else 2 ms; the first ones 5 ms."""
    model = classifier()
    task = training(model.network, model.derive(), cr.SGD(0.1), "classes")
    runner, now, done = NativeRunner(task, 8, 2), [0.0], {1: 0, 2: 0}

    def steps(samples: int, batch: int, first: int, end: int, *, workers: int, **others: Any) -> int:
        now[0] += (end - first) * (5e-3 if done[workers] < 4 else 1e-3 if workers == quickest else 2e-3)
        done[workers] += end - first
        return -1

    monkeypatch.setattr(runner.library, "steps", steps)
    monkeypatch.setattr(runners, "perf_counter", lambda: now[0])
    assert runner.sliced(runner.library, 80_000, 8, 10_000, 0, 0, None) == -1
    assert sum(done.values()) == 10_000 and 0 < done[3 - quickest] < 200
    quickest = 3 - quickest  # other work comes to one of the processors, or goes
    done.update({1: 0, 2: 0})
    assert runner.sliced(runner.library, 160_000, 8, 20_000, 0, 0, None) == -1
    assert done[quickest] > 2 * done[3 - quickest]


def test_a_short_last_batch_is_not_taken_for_a_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of a batch of 64 and one of 1, a sample taking 1 ms by two workers and 2 ms by one."""
    model = classifier()
    task = training(model.network, model.derive(), cr.SGD(0.1), "classes")
    runner, now, done = NativeRunner(task, 64, 2), [0.0], {1: 0, 2: 0}

    def steps(samples: int, batch: int, first: int, end: int, *, workers: int, **others: Any) -> int:
        count = min(samples, end * batch) - first * batch
        now[0] += count * (1e-3 if workers == 2 else 2e-3)
        done[workers] += count
        return -1

    monkeypatch.setattr(runner.library, "steps", steps)
    monkeypatch.setattr(runners, "perf_counter", lambda: now[0])
    for _ in range(1000):
        assert runner.sliced(runner.library, 65, 64, 2, 0, 0, None) == -1
    assert 0 < done[1] < 0.05 * done[2]


def test_what_is_learnt_by_one_executor_goes_on_with_the_other() -> None:
    x, y = samples(12)
    model = classifier()
    losses = [
        model.fit(x, y, epochs=3, optimizer=cr.SGD(0.05), executor=executor, verbose=False).loss
        for executor in ("native", "numpy", None)
    ]
    assert losses[0] > losses[1] > losses[2]


# Counting: every gradient is 1, so that after k steps at rate 1 every parameter is −k.
COUNTING = "e[n] = sum[k](u[n, k])"


def counter() -> cr.Sequential:
    model = cr.Sequential(cr.Input(40), cr.Dense(50), loss=COUNTING)
    for name in model.parameters:
        model.parameters[name] = np.zeros_like(model.parameters[name])
    return model


@pytest.fixture
def interrupted(ctrl_c: None) -> Iterator[Callable[[float], None]]:
    """Sends a real Ctrl-C to this process after so many seconds; one that is in the background ignores it otherwise."""
    timers: list[threading.Timer] = []

    def after(seconds: float) -> None:
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    yield after
    for timer in timers:
        timer.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_in_a_long_epoch_keeps_whole_steps(
    workers: int, interrupted: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = counter()
    x, many = np.ones((64, 40), np.float32), 6_000_000
    task = training(model.network, model.derive(), cr.SGD(1.0), "numbers")
    runner = NativeRunner(task, 1, workers)
    monkeypatch.setattr(runner, "choose", lambda batch: (workers, False))
    kept = model._kept(task) | {t: np.ones(many, np.float32) for t in task.stepwise}
    assert [t.name for t in task.data] == ["input"]
    interrupted(0.3)
    with pytest.raises(KeyboardInterrupt):
        runner.run({task.data[0]: x}, kept, np.zeros(many, np.int64), 1)
    counts = {float(-v) for t in task.kept if t not in task.stepwise for v in np.unique(kept[t])}
    assert len(counts) == 1
    steps = counts.pop()
    assert 0 < steps < many and steps == int(steps)


def test_ctrl_c_ends_a_fit_and_keeps_what_is_learnt(interrupted: Callable[[float], None]) -> None:
    model = counter()
    x, y = np.ones((20_000, 40), np.float32), np.zeros((20_000, 50), np.float32)
    model.fit(x[:2], y[:2], epochs=1, batch_size=1, optimizer=cr.SGD(2.0**-9), verbose=False)
    done = -float(model.parameters["dense1.b"][0])
    interrupted(0.5)
    history = model.fit(x, y, epochs=1000, batch_size=1, optimizer=cr.SGD(2.0**-9), verbose=False)
    assert history.interrupted and len(history.loss) < 1000
    values = np.unique(np.concatenate([v.ravel() for v in model.parameters.values()]))
    assert len(values) == 1 and -values[0] > done


class Interrupted:
    """A pool of threads that Ctrl-C, or a lack of threads, comes between: before or after it has sent a worker."""

    def __init__(self, pool: ThreadPoolExecutor, error: type[BaseException], sent: int) -> None:
        self.pool, self.error, self.left = pool, error, sent

    def submit(self, *arguments: Any) -> Any:
        if self.left:
            self.left -= 1
            future = self.pool.submit(*arguments)
            if self.left or self.error is RuntimeError:
                return future
        raise self.error


@pytest.mark.parametrize(
    ("error", "sent"), [(KeyboardInterrupt, 0), (KeyboardInterrupt, 1), (KeyboardInterrupt, 2), (RuntimeError, 1)]
)
def test_workers_of_whom_not_all_were_sent_leave(
    error: type[BaseException], sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have written nothing, and the next run is as if they had not been there."""
    model, (x, y) = classifier(), samples(24)
    task = training(model.network, model.derive(), cr.SGD(0.1), "classes")
    runner = NativeRunner(task, 8, 3)
    monkeypatch.setattr(runner, "choose", lambda batch: (3, False))
    target = np.eye(3, dtype=np.float32)[y]
    data = {t: x if t.name == "input" else target for t in task.data}
    start = model._learning(task, cr.SGD(0.1)) | {
        t: np.full(3, 0.1, np.float32) for t in task.stepwise
    }

    def run() -> dict[str, bytes]:
        kept = {t: a.copy() for t, a in start.items()}
        runner.run(data, kept, np.arange(24), 8)
        return {t.name: a.tobytes() for t, a in kept.items()}

    wanted, pool = run(), runner.library.threads(2)
    with monkeypatch.context() as patch:
        patch.setattr(runner.library, "threads", lambda count: Interrupted(pool, error, sent))
        with pytest.raises(error):
            run()
    assert run() == wanted


def test_ctrl_c_while_an_epoch_is_evaluated_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = classifier(), samples(24)
    found = model._evaluate(model.feed.rows(x, y, None, model.dtype), "classes", None, None)
    answers = iter([found])

    def evaluate(*arguments: Any) -> dict[str, float]:
        if (answer := next(answers, None)) is None:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(model, "_evaluate", evaluate)
    history = model.fit(x, y, epochs=5, batch_size=8, validation_data=(x, y), verbose=False)
    assert history.interrupted and len(history.loss) == len(history.val_loss) == 1


def test_a_prediction_that_another_comes_between_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by another thread: one row is predicted between eight rows and the making of what predicts eight again."""
    model, (x, _) = classifier(), samples(8)
    wanted, again = model.predict(x, executor="numpy"), runners.Again

    def slow(made: NativeRunner, *arguments: Any) -> runners.Again:
        monkeypatch.setattr(model_module, "Again", again)
        model.predict(x[:1], executor="native")
        return again(made, *arguments)

    monkeypatch.setattr(model_module, "Again", slow)
    for _ in range(3):
        assert close(model.predict(x, executor="native"), wanted)
    assert close(model.predict(x[:1], executor="native"), wanted[:1])


def test_threads_predict_with_one_model_at_once() -> None:
    """Each by a library of its own, one row and many; a single lock would let but one of them go on."""
    model, (x, _) = classifier(), samples(64)
    wanted = model.predict(x, executor="native")

    def predicted(first: int) -> bool:
        count = 1 if first % 2 else 16
        found = [model.predict(x[first : first + count], executor="native") for _ in range(50)]
        return all(close(each, wanted[first : first + count]) for each in found)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(predicted, range(0, 48, 3)))
    forwards = [r for r in model._runners.found.values() if isinstance(r, NativeRunner)]
    assert forwards and all(1 <= len(r.idle) <= 4 for r in forwards)


@pytest.mark.parametrize("workers", [0, -1, 2.5, "2", True])
def test_workers_that_are_no_number_of_workers_are_refused(workers: Any) -> None:
    model, (x, y) = classifier(), samples(8)
    for call in (
        lambda: model.fit(x, y, workers=workers), lambda: model.predict(x, workers=workers),
        lambda: model.evaluate(x, y, workers=workers), lambda: model.tune(x, y, workers=workers),
    ):  # fmt: skip
        with pytest.raises(ModelError, match="workers must be a positive whole number"):
            call()


def test_an_executor_that_there_is_not_is_refused() -> None:
    model, (x, y) = classifier(), samples(4)
    for call in (lambda: model.predict(x, executor="tpu"), lambda: model.evaluate(x, y, executor="tpu")):  # pyright: ignore[reportArgumentType]
        with pytest.raises(ModelError, match="unknown executor 'tpu'"):
            call()


def test_a_weight_is_taken_in_whatever_order_it_lies_in() -> None:
    model, (x, y) = classifier(), samples(4)
    weight = np.random.default_rng(3).normal(size=model.parameters["dense1.W"].shape)
    model.parameters["dense1.W"] = weight
    wanted = model.predict(x, executor="native")
    model.parameters["dense1.W"] = np.asfortranarray(weight)
    assert np.array_equal(model.predict(x, executor="native"), wanted)
    assert close(model.evaluate(x, y, executor="native")["loss"], model.evaluate(x, y, executor="numpy")["loss"])


def test_data_are_let_go_behind_a_run() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="softmax_cross_entropy")
    x, y = np.ones((24, 3), np.float32), np.arange(24) % 2
    seen = weakref.ref(x)
    model.fit(x, y, epochs=1, batch_size=8, verbose=False, executor="native")
    model.evaluate(x, y, executor="native")
    model.predict(x, executor="native")
    del x
    gc.collect()
    assert seen() is None


def test_few_kinds_of_tasks_are_kept_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "RUNNERS", 3)
    model, (x, y) = classifier(), samples(4)
    for momentum in (0.1, 0.2, 0.3, 0.4, 0.5):
        model.fit(x, y, epochs=1, optimizer=cr.SGD(0.1, momentum), restart=True, executor="numpy", verbose=False)
    assert len(model._runners.found) == 3


def test_a_clock_over_a_loss_that_is_not_finite_is_none() -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="mean_squared_error")
    x = np.random.default_rng(0).normal(size=(640, 3)).astype(np.float32)
    with pytest.raises(ModelError, match="not finite"):
        model.profile(x, 1e4 * x[:, :2], batch_size=8, optimizer=cr.SGD(10.0))


def test_a_compiler_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, _) = classifier(), samples(2)
    monkeypatch.setenv("CC", "gcc '")
    with pytest.raises(BuildError, match="CC cannot be read"):
        model.predict(x, executor="native")


def test_a_run_that_diverges_ends_with_the_parameters_of_before() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=(9, 2)).astype(np.float32)

    def model() -> cr.Sequential:
        return cr.Sequential(cr.Input(4), cr.Dense(5), cr.Dense(2), loss="mean_squared_error")

    broken = model()
    with pytest.raises(cr.ModelError, match=r"the loss became (inf|nan) in epoch (\d+)") as caught:
        broken.fit(x, y, epochs=100, batch_size=9, optimizer=cr.SGD(1e3), executor="native", verbose=False)
    epoch = int(re.search(r"epoch (\d+)", str(caught.value))[1])  # pyright: ignore[reportOptionalSubscript]
    assert 1 < epoch < 100
    other = model()
    other.fit(x, y, epochs=epoch - 1, batch_size=9, optimizer=cr.SGD(1e3), executor="native", verbose=False)
    assert all(np.isfinite(v).all() for v in broken.parameters.values())
    assert {n: v.tobytes() for n, v in broken.parameters.items()} == {
        n: v.tobytes() for n, v in other.parameters.items()
    }


@pytest.mark.parametrize("bad", [-1, 5, 2**31, -(2**40)])
def test_an_id_out_of_range_is_refused_before_anything_runs(bad: int) -> None:
    model = cr.Sequential(
        cr.Input(3, dtype="integer"), cr.Embedding(5, 2), cr.Flatten(), cr.Dense(2), loss="mean_squared_error"
    )
    before = {n: v.tobytes() for n, v in model.parameters.items()}
    x = np.zeros((6, 3), np.int64)
    x[4, 1] = bad
    for call in (
        lambda: model.fit(x, np.zeros((6, 2)), executor="native", verbose=False),
        lambda: model.predict(x, executor="native"),
        lambda: model.gradients(x, np.zeros((6, 2)), executor="native"),
    ):
        with pytest.raises(cr.DataError, match=rf"{bad}.*outside 0 … 4"):
            call()
    assert before == {n: v.tobytes() for n, v in model.parameters.items()}
    model.fit(x * 0 + 4, np.zeros((6, 2)), epochs=1, executor="native", verbose=False)


def test_float64_runs_on_numpy() -> None:
    x, y = samples(4)
    model = classifier("float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, y, epochs=1, verbose=False)
    assert {type(r) for r in model._runners.found.values()} == {NumpyRunner}
    with pytest.raises(CompileError, match="float32"):
        model.predict(x, executor="native")


def broken_compilers(folder: Path) -> dict[str, str]:
    scripts = {"fails": "exit 1", "dies": "kill -9 $$", "makes nothing": "exit 0", "talks": "echo error: no; exit 3"}
    result = {"is not there": str(folder / "nowhere" / "cc")}
    for name, text in scripts.items():
        path = folder / name.replace(" ", "-")
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        result[name] = str(path)
    return result


@pytest.mark.parametrize("how", ["is not there", "fails", "dies", "makes nothing", "talks", "is on Windows"])
def test_without_a_compiler_numpy_runs_the_model_with_one_warning(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "is on Windows":
        monkeypatch.delattr(os, "O_NOFOLLOW")
    else:
        monkeypatch.setenv("CC", broken_compilers(tmp_path)[how])
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    runners._say_once.cache_clear()
    x, y = samples(4)
    with pytest.raises(BuildError):
        classifier().fit(x, y, epochs=1, executor="native", verbose=False)
    model = classifier()
    with pytest.warns(RuntimeWarning, match="NumPy runs the model instead") as said:
        model.fit(x, y, epochs=1, verbose=False)
        model.predict(x)
    assert len(said) == 1
    assert {type(r) for r in model._runners.found.values()} == {NumpyRunner}
    other = classifier()
    other.fit(x, y, epochs=1, executor="numpy", verbose=False)
    assert all(np.array_equal(v, other.parameters[n]) for n, v in model.parameters.items())
    runners._say_once.cache_clear()


HOSTILE = '"; system("x"); //*/ \\\n#error'


def test_a_name_that_is_code_trains_and_reaches_no_source() -> None:
    def scale(name: str) -> Layer:
        made = type(name, (cr.Layer,), {"equation": "y[n, k] = g[k]*x[n, k]", "init": {"g": cr.ones("k")}})
        return made()

    models = [
        cr.Sequential(cr.Input(3), cr.Dense(4), scale(name), loss="mean_squared_error") for name in ("Scale", HOSTILE)
    ]
    assert any(HOSTILE.lower() in label.lower() for label in models[1].network.labels)
    sources: list[str] = []
    for model in models:
        task = training(model.network, model.derive(), cr.Adam(), "numbers")
        sources.append(emit(lower(task, machine_of(native()), samples=8)))
    assert sources[0] == sources[1]
    history = models[1].fit(
        np.ones((8, 3)), np.ones((8, 4)), epochs=3, optimizer=cr.SGD(0.1), executor="native", verbose=False
    )
    assert history.loss[-1] < history.loss[0]


def test_a_model_file_of_a_hostile_name_trains(tmp_path: Path) -> None:
    path = tmp_path / '"; system("x"); .toml'
    text = 'input = [3]\nloss = "mean_squared_error"\n[[layers]]\ntype = "Dense"\nunits = 2\n'
    path.write_text(text, encoding="utf-8")
    model = read_model(path)
    history = model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=1, executor="native", verbose=False)
    assert len(history.epochs) == 1 and np.isfinite(history.loss).all()


def test_a_profile_names_what_takes_the_time_and_leaves_the_model_as_it_was() -> None:
    model = cr.Sequential(cr.Input(20), cr.Dense(12), cr.Sigmoid(), cr.Dense(3), loss="softmax_cross_entropy")
    before = {name: np.array(value) for name, value in model.parameters.items()}
    profile = model.profile(np.ones((40, 20)), np.arange(40) % 3, batch_size=20, optimizer="adam")
    dense = next(row for row in profile.rows if row.what.startswith("dense1.u"))
    assert dense.flops >= 2 * 20 * 20 * 12  # a product and an addition for each sample, input and output
    assert dense.seconds > 0 and profile.seconds >= dense.seconds and profile.peaks is peaks()
    assert "dense1.u" in str(profile)
    assert all(np.array_equal(model.parameters[name], value) for name, value in before.items())


class Noisy(cr.Layer):
    equation = "y[n, k] = m[n, k]*x[n, k]"

    def __init__(self, share: float) -> None:
        super().__init__()
        self.state = {"m": cr.bernoulli(share, "n", "k")}


def test_models_that_differ_in_what_they_draw_alone_are_not_one_another() -> None:
    """Their equations are the same: of a share of 0 and of 1 nothing and all is kept."""
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    losses = [
        cr.Sequential(cr.Input(3), Noisy(share), loss="mean_squared_error").fit(x, y, epochs=1, verbose=False).loss
        for share in (0.0, 1.0)
    ]
    assert losses == [[0.0], [1.0]]
