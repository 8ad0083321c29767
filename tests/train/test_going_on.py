"""Training goes on: in further calls, after Ctrl-C, through a file; the bits are those of one call that never ended."""

from __future__ import annotations

import copy
import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.optim.named import OPTIMIZERS
from chainrule.runtime.compiler import native
from chainrule.train import callbacks, state
from chainrule.train.atomic import replaced
from chainrule.train.data import split
from chainrule.train.fit import Course
from chainrule.train.interrupt import Interrupt

RULES: dict[str, cr.Optimizer] = {
    **OPTIMIZERS,
    "cosine": cr.Adam(cr.cosine(1e-2, steps=30)),
    "warm up": cr.SGD(cr.warm_up(cr.step_decay(0.1, every=7), steps=5), momentum=0.9, clip_norm=1.0),
}
STEPS = 5  # of an epoch: 76 samples of 96 are trained on, 16 in a batch


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(96, 6)).astype(np.float32), rng.integers(0, 3, 96)


def model() -> cr.Sequential:
    """One with masks that are drawn and statistics that are kept."""
    return cr.Sequential(
        cr.Input(6), cr.Dense(5), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3), cr.Dense(3), loss="softmax_cross_entropy"
    )


def differing(one: cr.Model, other: cr.Model) -> list[str]:
    """The parameters and states that have not the same bits."""
    pairs = {**one.parameters, **one.states}, {**other.parameters, **other.states}
    return [name for name in pairs[0] if pairs[0][name].tobytes() != pairs[1][name].tobytes()]


def fitted(made: cr.Model, data: tuple[Any, Any], epochs: int = 6, **options: Any) -> cr.History:
    options = {"batch_size": 16, "validation_split": 0.2, "verbose": False, "executor": "numpy"} | options
    return made.fit(*data, epochs=epochs, **options)


class Stop(cr.Callback):
    """Ctrl-C after so many steps."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def on_steps(self, model: cr.Model) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Seen(cr.Callback):
    """What the arrays are as a call begins."""

    def __init__(self, seen: list[dict[str, np.ndarray]]) -> None:
        super().__init__()
        self.seen = seen

    def begin(self, model: cr.Model) -> None:
        self.seen.append(model.values.copies())


def held(data: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What `fitted` holds out."""
    _, rows = split(len(data[0]), 0.2, np.random.default_rng(0))
    return data[0][rows], data[1][rows]


CUTS = [(rule, 7, "numpy", False) for rule in RULES] + [
    ("cosine", 0, "numpy", False), ("cosine", STEPS, "numpy", False), ("warm up", 8, "numpy", True),
    ("cosine", 8, "native", True),
]  # fmt: skip
MORE = [(rule, 7, "native", rule == "adamw") for rule in RULES]


@pytest.mark.parametrize(
    ("rule", "stop", "executor", "frozen"), [*CUTS, *(pytest.param(*cut, marks=pytest.mark.campaign) for cut in MORE)]
)
@pytest.mark.usefixtures("ctrl_c")
def test_what_is_cut_in_two_is_what_is_done_at_once(
    rule: str, stop: int, executor: str, frozen: bool, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """By two calls, in the midst of an epoch or at its end by Ctrl-C, and each time through a file."""
    whole, parts = model(), model()
    for each in (whole, parts) if frozen else ():
        each.freeze("dense1", "batchnorm1")
        each.set_rates({"dense2": 0.5})
    wanted = fitted(whole, data, optimizer=RULES[rule], executor=executor)
    if stop:
        found = fitted(parts, data, optimizer=RULES[rule], executor=executor, callbacks=[Stop(stop)])
        assert found.interrupted and parts.training.steps == stop
    else:
        found = fitted(parts, data, 2, optimizer=RULES[rule], executor=executor)
    assert differing(whole, parts)
    parts.save(tmp_path / "m.safetensors")
    parts = cr.load(tmp_path / "m.safetensors")
    more = fitted(parts, data, 4, resume=bool(stop), executor=executor)
    assert differing(whole, parts) == []
    assert (more.epochs if stop else found.epochs + more.epochs) == wanted.epochs
    assert not more.interrupted
    assert not frozen or (parts.parameters["dense1.W"] == model().parameters["dense1.W"]).all()


def test_a_loop_of_single_epochs_draws_other_orders_and_masks(data: tuple[np.ndarray, np.ndarray]) -> None:
    made = model()
    losses = [fitted(made, data, 1, optimizer=cr.SGD(1e-30)).loss[0] for _ in range(3)]
    assert len(set(losses)) == 3


def test_another_optimizer_begins_anew_and_says_so(data: tuple[np.ndarray, np.ndarray]) -> None:
    made, fresh = model(), model()
    fitted(made, data, 1, optimizer="adam")
    fitted(made, data, 1, optimizer=cr.Adam())
    assert made.training.epochs == 2
    for name, array in made.parameters.items():
        fresh.parameters[name] = array
    for name, array in made.states.items():
        fresh.states[name] = array
    with pytest.warns(RuntimeWarning, match="begins anew") as said:
        fitted(made, data, 1, optimizer="sgd")
    assert said[0].filename == __file__  # where the user called
    fitted(fresh, data, 1, optimizer="sgd")
    assert made.training.epochs == 1 and differing(made, fresh) == []
    fitted(made, data, 1, restart=True)
    fitted(fresh, data, 1)
    assert made.training.epochs == 1 and differing(made, fresh)


def test_a_machine_of_another_vector_width_is_named(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: Any
) -> None:
    made, here = model(), native()
    fitted(made, data, 1)
    made.save(tmp_path / "m")
    fitted(cr.load(tmp_path / "m"), data, 1)
    assert not recwarn
    monkeypatch.setattr(state, "native", lambda: here.with_lanes(2 * here.lanes))
    made = cr.load(tmp_path / "m")
    with pytest.warns(RuntimeWarning, match=rf"vectors of {here.lanes} numbers, and this machine's hold") as said:
        fitted(made, data, 1)
        fitted(made, data, 1)
    assert len(said) == 1 and made.training.epochs == 3


@pytest.mark.usefixtures("ctrl_c")
def test_an_epoch_that_was_begun_over_other_rows_begins_anew_and_says_so(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    made = model()
    fitted(made, data, optimizer="adam", callbacks=[Stop(7)])
    assert made.training.done == 2
    with pytest.warns(RuntimeWarning, match="rows or batches") as said:
        fitted(made, (x + 1, y), 1)
    assert said[0].filename == __file__
    assert made.training.steps == 7 + STEPS and made.training.epochs == 2


def test_resume_of_what_was_not_interrupted_is_a_call_as_any_other(data: tuple[np.ndarray, np.ndarray]) -> None:
    whole, other = model(), model()
    fitted(whole, data)
    first = fitted(other, data, resume=True)
    assert differing(whole, other) == []
    assert fitted(other, data, resume=True) is first and differing(whole, other) == []


def test_a_batch_at_a_time_goes_on_from_step_to_step(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    made, other = model(), model()
    for step in range(3):
        rows = slice(32 * step, 32 * step + 32)
        told = made.train_on_batch(x[rows], y[rows], optimizer="adam", executor="numpy")
        assert set(told) == {"loss", "accuracy"}
    assert made.training.steps == 3
    fitted(other, data, 1, optimizer="adam", batch_size=32, shuffle=False, validation_split=None)
    assert differing(made, other) == []


# Callbacks


def test_patience_ends_a_run_and_the_best_parameters_come_back(data: tuple[np.ndarray, np.ndarray]) -> None:
    made, values = model(), list[dict[str, np.ndarray]]()

    def keep(model: cr.Model, metrics: Any) -> None:
        values.append({name: np.array(array) for name, array in model.parameters.items()})

    history = fitted(made, data, 60, optimizer=cr.SGD(0.5), patience=3, callbacks=[keep])
    best = int(np.argmin(history.val_loss))
    assert history.stopped == "EarlyStopping" and len(history.loss) == best + 4 < 60
    assert all((made.parameters[name] == array).all() for name, array in values[best].items())
    other = model()
    fitted(other, data, 60, optimizer=cr.SGD(0.5), patience=3, restore_best=False)
    assert all((other.parameters[name] == array).all() for name, array in values[-1].items())


@pytest.mark.parametrize("through", ["memory", "file"])
def test_the_best_parameters_are_not_those_that_training_goes_on_from(
    through: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """5 + 5 epochs are 10, though each call ends with the best parameters so far; without a word of patience in the
    second call too."""
    options: dict[str, Any] = {"optimizer": cr.SGD(0.5), "patience": 20}
    whole, parts, plain = model(), model(), model()
    wanted = fitted(whole, data, 10, **options).val_loss
    assert int(np.argmin(wanted[:5])) < 4 and int(np.argmin(wanted)) < 9  # else there would be nothing to tell apart
    found = fitted(parts, data, 5, **options).val_loss
    assert fitted(parts, data, 5, resume=True, **options).val_loss == found  # nothing to finish
    assert min(found) == parts.evaluate(*held(data), executor="numpy")["loss"]
    if through == "file":
        parts.save(tmp_path / "m")
        parts = cr.load(tmp_path / "m")
    other = copy.deepcopy(parts)
    assert found + fitted(parts, data, 5, **options).val_loss == wanted and differing(whole, parts) == []
    assert found + fitted(other, data, 5, optimizer=cr.SGD(0.5)).val_loss == wanted
    fitted(plain, data, 10, optimizer=cr.SGD(0.5))
    assert differing(plain, other) == [] and differing(plain, parts)


def test_the_best_parameters_come_back_where_another_callback_ends_the_run(data: tuple[np.ndarray, np.ndarray]) -> None:
    made, plain = model(), model()
    end = {"optimizer": cr.SGD(0.5), "callbacks": [lambda model, metrics: model.training.epochs == 5]}
    history = fitted(made, data, 60, **end, patience=20)
    assert len(history.loss) == 5 and min(history.val_loss) < history.val_loss[-1]
    assert made.evaluate(*held(data), executor="numpy")["loss"] == min(history.val_loss)
    fitted(plain, data, 60, **end)
    assert differing(made, plain)
    for each in (made, plain):
        fitted(each, data, 1)
    assert differing(made, plain) == []


def test_parameters_that_a_user_has_set_are_gone_on_from(data: tuple[np.ndarray, np.ndarray]) -> None:
    made = model()
    fitted(made, data, 5, optimizer=cr.SGD(0.5), patience=20)
    assert made.training.last
    made.parameters["dense1.W"] = made.parameters["dense1.W"] + 100
    fitted(made, data, 1, optimizer=cr.SGD(0.5))
    assert made.parameters["dense1.W"].min() > 50 and not made.training.last


def test_a_run_that_was_ended_early_goes_on_from_the_best(data: tuple[np.ndarray, np.ndarray]) -> None:
    made, seen = model(), list[dict[str, np.ndarray]]()
    options: dict[str, Any] = {"optimizer": cr.SGD(0.5), "patience": 2}
    history = fitted(made, data, 60, **options)
    assert history.stopped and not made.training.last
    best = made.values.copies()
    fitted(made, data, 1, optimizer=cr.SGD(0.5), callbacks=[Seen(seen)])
    assert all((seen[0][name] == array).all() for name, array in best.items())


@pytest.mark.usefixtures("ctrl_c")
def test_callbacks_go_on_with_what_they_remember(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    def given(name: str, *more: Any) -> list[Any]:
        plateau = cr.ReduceOnPlateau(0.5, patience=1, monitor="loss")
        return [cr.Checkpoint(tmp_path / name, every=4), plateau, cr.EarlyStopping(8), *more]

    whole, parts = model(), model()
    wanted = fitted(whole, data, 20, optimizer=cr.SGD(1.0), callbacks=given("whole"))
    assert whole.training.factor < 1
    fitted(parts, data, 20, optimizer=cr.SGD(1.0), callbacks=given("parts", Stop(43)))
    parts = cr.load(tmp_path / "parts")
    assert parts.training.steps == 40
    found = fitted(parts, data, resume=True, callbacks=given("parts"))
    assert differing(whole, parts) == [] and found.epochs == wanted.epochs
    assert parts.training.factor == whole.training.factor and found.stopped == wanted.stopped


def test_the_log_has_one_line_an_epoch_however_often_the_run_began(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    made, path = model(), tmp_path / "log.csv"
    fitted(made, data, 2, callbacks=[cr.CSVLogger(path)])
    made.save(tmp_path / "m")
    fitted(made, data, 2, callbacks=[cr.CSVLogger(path)])
    history = fitted(cr.load(tmp_path / "m"), data, 3, callbacks=[cr.CSVLogger(path)])
    rows = list(csv.DictReader(path.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [float(row["val_loss"]) for row in rows[2:]] == history.val_loss


def test_the_log_is_added_to_and_a_torn_line_is_dropped(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, path, writes = model(), tmp_path / "log.csv", list[Path]()
    monkeypatch.setattr(callbacks, "replaced", lambda path: writes.append(path) or replaced(path))
    path.write_text("something else\n")
    fitted(made, data, 3, callbacks=[cr.CSVLogger(path)])
    whole = path.read_text()
    assert len(writes) == 1 and [row["epoch"] for row in csv.DictReader(path.open())] == ["1", "2", "3"]
    path.write_text(whole + "4,0.1")  # killed while it was written
    history = fitted(made, data, 1, callbacks=[cr.CSVLogger(path)], metrics=["f1"])
    rows = list(csv.DictReader(path.open()))
    assert path.read_text().startswith(whole.splitlines()[0] + ",val_f1\n") and len(writes) == 3
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"] and rows[0]["val_f1"] == ""
    assert [float(rows[3]["loss"]), float(rows[3]["val_f1"])] == [history.loss[0], history.epochs[0]["val_f1"]]


def test_a_run_is_saved_at_its_best_epoch_only(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    made = model()
    history = fitted(made, data, 30, optimizer=cr.SGD(0.5), callbacks=[cr.Checkpoint(tmp_path / "m", best=True)])
    best = int(np.argmin(history.val_loss))
    assert best < 29 and cr.load(tmp_path / "m").training.epochs == best + 1


def test_a_loss_that_is_not_finite_says_where_that_began(data: tuple[np.ndarray, np.ndarray]) -> None:
    made = cr.Sequential(cr.Input(6), cr.Dense(4), cr.Dense(3), loss="softmax_cross_entropy")
    made.parameters["dense2.W"] = np.full((3, 4), 3e38, np.float32)
    with pytest.raises(cr.ModelError, match=r"it began with dense2\.u of dense2(.|\n)*no rate has had a part in it"):
        fitted(made, data, 1)
    with pytest.raises(cr.DivergenceError, match="choose a lower rate"):
        fitted(model(), data, 60, optimizer=cr.SGD(1e30))


BAD: dict[str, Callable[[], Any]] = {
    "callback": lambda: fitted(model(), (np.zeros((9, 6)), np.zeros(9, int)), callbacks=[3]),
    "class": lambda: fitted(model(), (np.zeros((9, 6)), np.zeros(9, int)), callbacks=[cr.EarlyStopping]),
    "metric": lambda: fitted(
        model(), (np.zeros((9, 6)), np.zeros(9, int)), validation_split=None,
        callbacks=[cr.EarlyStopping(monitor="val_loss")],
    ),
    "patience": lambda: cr.EarlyStopping(0),
    "factor": lambda: cr.ReduceOnPlateau(1.5),
    "best": lambda: cr.Checkpoint("m", every=3, best=True),
    "never": lambda: model().training,
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_an_error_with_its_fix(what: str) -> None:
    with pytest.raises(cr.ModelError) as caught:
        BAD[what]()
    assert caught.value.fix


# Files


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen", "chmod"])
def test_a_file_that_cannot_be_replaced_stays(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever operation fails: a disk that is full, a process that is killed."""
    made, path = model(), tmp_path / "m.safetensors"
    made.save(path)
    before = path.read_bytes()

    def fail(*given: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            made.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.safetensors"]


def test_a_file_that_is_replaced_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with replaced(link) as file:
        file.write(b"new")
    assert link.is_symlink() and real.read_text() == "new" and real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.campaign)])
def test_a_bit_that_is_flipped_anywhere_is_seen(
    count: int, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    made, path = model(), tmp_path / "m.safetensors"
    fitted(made, data, 1)
    made.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), count):
        bad = bytearray(whole)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(cr.ModelError):
            cr.load(path)
    for length in rng.integers(0, len(whole), count // 3):
        path.write_bytes(whole[:length])
        with pytest.raises(cr.ModelError):
            cr.load(path)


def test_a_signal_that_comes_while_processes_agree_is_not_lost() -> None:
    class Others:
        """Processes of which none has heard of anything yet, while this one is told to end."""

        def any(self, *said: bool) -> list[bool]:
            interrupt._note(signal.SIGTERM, None)
            self.any = lambda *said: [*said]  # pyright: ignore[reportAttributeAccessIssue]
            return [False for _ in said]

    interrupt = Interrupt(also_ended=True)
    course: Any = SimpleNamespace(processes=Others())
    Course.check(course, interrupt)
    with pytest.raises(KeyboardInterrupt):
        Course.check(course, interrupt)
    assert interrupt.ended
    Course.check(course, other := Interrupt())
    assert not other.noted


def test_sigterm_ends_a_program_as_ever_where_nobody_asked() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) is before
    with Interrupt(also_ended=True) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.asked and interrupt.ended
    assert signal.getsignal(signal.SIGTERM) is before
