"""Training survives: a process that is killed at any moment, a disk that is full, files that are damaged."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as deserialise
from safetensors.numpy import save as serialise

import chainrule as cr
from chainrule.train import checkpoint, state

CHILD = """
import sys
from pathlib import Path
import numpy as np
import chainrule as cr
path, rng = Path(sys.argv[1]), np.random.default_rng(0)
x, y = rng.normal(size=(96, 6)), rng.integers(0, 3, 96)
if path.exists():
    model = cr.load(path)
else:
    model = cr.Sequential(cr.Input(6), cr.Dense(5), cr.BatchNorm(), cr.Dropout(0.3), cr.Dense(3), loss="softmax_cross_entropy")
print("begins", flush=True)
callbacks = [cr.Checkpoint(path, every=3), cr.ReduceOnPlateau(0.5, patience=1), cr.CSVLogger(str(path) + ".csv")]
model.fit(x, y, epochs=12, batch_size=16, resume=True, verbose=False, executor="numpy", callbacks=callbacks, patience=20,
          optimizer=cr.Adam(cr.cosine(1e-2, steps=60)), validation_split=0.2)
print("ends", flush=True)
"""  # noqa: E501


def finished(path: Path, kills: int, rng: random.Random) -> int:
    """Train to the end in a process that is killed so many times; how many of them it was really."""
    done = 0
    while True:
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout and child.stdout.readline() == "begins\n"
            if done < kills:
                try:
                    child.wait(rng.uniform(0.0, 0.6))
                except subprocess.TimeoutExpired:
                    child.kill()
            if child.wait() == 0:
                return done
            done += 1
        if path.exists():
            cr.load(path)  # whatever was being written


def arrays(path: Path) -> dict[str, bytes]:
    model = cr.load(path)
    state = model.training
    kept = {**model.parameters, **model.states, **state.kept, **{f"last {name}": a for name, a in state.last.items()}}
    return {name: array.tobytes() for name, array in kept.items()}


@pytest.mark.parametrize("kills", [1, pytest.param(100, marks=pytest.mark.campaign)])
def test_a_run_that_is_killed_and_resumed_ends_with_the_bits_of_one_that_was_not(kills: int, tmp_path: Path) -> None:
    rng = random.Random(kills)
    finished(tmp_path / "whole", 0, rng)
    killed = 0
    while killed < kills:
        path = tmp_path / f"parts{killed}"
        killed += finished(path, min(4, kills - killed), rng) or 1
        assert arrays(path) == arrays(tmp_path / "whole")
        logs = [Path(f"{name}.csv").read_text() for name in (path, tmp_path / "whole")]
        assert logs[0] == logs[1]


# Faults in the midst of writing


@pytest.mark.parametrize("rounds", [1, pytest.param(28, marks=pytest.mark.campaign)])
def test_a_save_that_dies_anywhere_leaves_the_file_before_it_or_the_new_one(rounds: int, tmp_path: Path) -> None:
    """Killed between any two file operations, or a disk that is full at any: some twenty places each."""
    command = [sys.executable, "-m", "tests.train.faults", str(tmp_path), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) >= 24 * rounds


# Files that nobody wrote


@pytest.mark.parametrize("written", [False, True])
def test_a_pipe_is_refused_at_once(written: bool, tmp_path: Path) -> None:
    """Whether somebody is at its other end or not; and a device."""
    os.mkfifo(tmp_path / "pipe")
    other = os.open(tmp_path / "pipe", os.O_RDWR) if written else None
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(cr.ModelError, match="is a pipe or a device, not a file"):
            cr.load(path)
    if other is not None:
        os.close(other)


def _sample(tmp_path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The architecture and the arrays of a model that was trained."""
    model = cr.Sequential(cr.Input(3), cr.Dense(2), cr.Tanh(), cr.BatchNorm(), loss="half_squared_error")
    model.fit(np.ones((5, 3)), np.ones((5, 2)), epochs=1, verbose=False, executor="numpy", optimizer="adam", patience=2)
    model.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    architecture = json.loads(header["__metadata__"]["chainrule"])
    del architecture["digest"]
    return architecture, deserialise(data)


ODD: tuple[Any, ...] = (
    None, -1, 0, 1, 2**31, 2**63, 1e300, float("nan"), "", "x", "../x", [], [[]], {}, {"class": "Adam"}, True, "Dense",
    "\x1b[2J", "9" * 300,
)  # fmt: skip


def _changed(value: Any, rng: random.Random) -> Any:
    """The value with one place of it changed to something odd, dropped, or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if rng.random() < 0.1 else {**rest, key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], *([_changed(value[place], rng)] * rng.choice([0, 1, 1, 1, 2])), *value[place + 1 :]]
    return rng.choice(ODD)


def bounded(path: Path) -> cr.Model:
    """Load a file with no more memory than it and a model of its size take."""
    tracemalloc.start()
    try:
        return cr.load(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * path.stat().st_size + (4 << 20)


def test_a_file_that_claims_more_than_it_holds_is_refused_before_that_is_allocated(tmp_path: Path) -> None:
    architecture, arrays = _sample(tmp_path)
    for units, error in ((10**7, cr.ModelError), (2, None)):
        architecture["layers"][0]["config"]["units"] = units
        text = json.dumps(architecture)
        signed = json.dumps({**architecture, "digest": state.digest(text, arrays)})
        (tmp_path / "m").write_bytes(serialise(arrays, {checkpoint.KEY: signed}))
        with pytest.raises(error) if error else nullcontext():
            bounded(tmp_path / "m")


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=pytest.mark.campaign)])
def test_a_file_that_nobody_wrote_is_refused_or_a_model(count: int, tmp_path: Path) -> None:
    """With a digest that fits: only what the file says is odd. Nothing else than an error of ours comes out."""
    architecture, arrays = _sample(tmp_path)
    rng, path, refused = random.Random(1), tmp_path / "odd", 0
    for number in range(count):
        made, odd = _changed(architecture, rng), dict(arrays)
        if rng.random() < 0.2:
            name = rng.choice(list(odd))
            array = odd.pop(name)
            if rng.random() < 0.7:
                renamed = rng.choice([name, name + "x", "training/seen/9"])
                odd[renamed] = rng.choice([array.ravel(), array.T, array * np.nan])
        text = json.dumps(made)
        odd = {name: np.ascontiguousarray(array) for name, array in odd.items()}
        if isinstance(made, dict):
            text = json.dumps({**made, "digest": state.digest(text, odd)})
        path.write_bytes(serialise(odd, {checkpoint.KEY: text}))
        try:
            model = cr.load(path) if number >= 300 else bounded(path)
        except cr.ChainruleError as error:
            refused += 1
            assert "\x1b" not in str(error) and len(str(error)) < 2000 and "digest" not in str(error)
        else:
            assert model.predict(np.ones((2, *map(int, model.inputs[0].shape[1:]))), executor="numpy").shape[0] == 2
    assert count / 4 < refused < count
