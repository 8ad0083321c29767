"""Processes of MPI against one, and what becomes of the others when one of them fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.engines import share
from tests.engines.agreement import off_parameters

pytestmark = pytest.mark.engines
SHARE = Path(share.__file__)


def launched(count: int, *arguments: str) -> subprocess.Popen[str]:
    mpirun = Path(sys.executable).parent / "mpirun"
    command = [str(mpirun), "-n", str(count), sys.executable, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str], seconds: float = 100) -> tuple[int, str]:
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def shares(folder: Path, count: int, kinds: str, **options: Any) -> subprocess.Popen[str]:
    return launched(count, str(SHARE), str(folder), kinds, json.dumps(options))


def seen(folder: Path, kind: str, rank: int = 0) -> dict[str, Any]:
    return json.loads((folder / f"{kind}{rank}.json").read_text())


def off(one: Any, other: Any) -> float:
    return float(np.max(np.abs(np.asarray(one) - np.asarray(other)) / np.abs(one)))


def until(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name} after {seconds} s"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("count", "dtype", "most"), [(2, "float32", 5e-7), (3, "float32", 5e-7), (2, "float64", 1e-12)]
)
def test_processes_take_the_steps_of_one(count: int, dtype: str, most: float, tmp_path: Path) -> None:
    code, said = ended(shares(tmp_path, count, "masks,table,statistics", dtype=dtype))
    assert code == 0, said
    for kind, meetings in (("masks", 1), ("table", 1), ("statistics", 7)):
        one = share.model(kind, dtype)
        history = share.fit(one, kind)
        found = [seen(tmp_path, kind, rank) for rank in range(count)]
        assert one.training.steps == found[0]["steps"] == 50
        assert off(history.loss, found[0]["losses"]) <= most
        if kind != "statistics":  # where what is held out depends on a bias that nothing draws to a value
            assert off(history.val_loss, found[0]["held"]) <= most
        if dtype == "float64":
            assert off_parameters(one, cr.load(tmp_path / f"{kind}.safetensors")) <= 1e-11
        assert all(f == found[0] for f in found)  # the same numbers on all, bit by bit
        assert found[0]["meetings"] == 50 * meetings  # two batch normalisations: 3*2 + 1
        assert off(history.loss, share.fit(share.model(kind, dtype), kind, seed=1).loss) > 1e-3  # another order is seen


def test_statistics_of_each_share_are_a_choice_and_not_those_of_the_batch(tmp_path: Path) -> None:
    code, said = ended(shares(tmp_path, 2, "statistics", synchronised=False))
    assert code == 0, said
    found = [seen(tmp_path, "statistics", rank) for rank in range(2)]
    assert found[0] == found[1] and all(np.isfinite(found[0]["losses"])) and found[0]["meetings"] == 50
    assert off(share.fit(share.model("statistics"), "statistics").loss, found[0]["losses"]) > 1e-3


def test_samples_that_need_more_than_sums_are_refused_with_a_line_that_names_the_equation(tmp_path: Path) -> None:
    code, said = ended(shares(tmp_path, 2, "greatest"))
    lines = [line for line in said.splitlines() if line.startswith("chainrule: rank ")]
    assert code != 0 and len(lines) >= 1
    assert "more than sums over them, in loss: loss = max[n]" in lines[0] and "synchronised=False" in lines[0]


def test_what_fails_on_one_process_ends_all_and_is_named(tmp_path: Path) -> None:
    start = time.monotonic()
    code, said = ended(shares(tmp_path, 3, "masks", fail=1, epochs=10_000))
    lines = [line for line in said.splitlines() if line.startswith("chainrule: ")]
    assert code != 0 and len(lines) == 1 and lines[0].startswith("chainrule: rank 1 of 3 on ")
    assert "FileNotFoundError" in lines[0] and time.monotonic() - start < 60


def test_a_killed_process_ends_all_within_seconds(tmp_path: Path) -> None:
    process = shares(tmp_path, 2, "long", epochs=100_000, save=True)
    until(tmp_path / "model.safetensors")
    pid = (tmp_path / "pid1").read_text()
    os.kill(int(pid), signal.SIGKILL)
    start = time.monotonic()
    code, said = ended(process, 20)
    assert code != 0 and time.monotonic() - start < 5
    assert len(re.findall(r"^chainrule: rank 1 of 2 on .* was killed", said, re.MULTILINE)) == 1, said
    assert said.count("chainrule: ") == 1 and pid in said  # beside mpirun's lines, which know processes and no ranks
    cr.load(tmp_path / "model.safetensors")  # written whole


def test_a_process_that_is_told_to_end_saves_and_another_number_goes_on_from_there(tmp_path: Path) -> None:
    process = shares(tmp_path, 2, "long", save=True, epochs=400)
    until(tmp_path / "model.safetensors")
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGTERM)
    code, said = ended(process, 30)
    saved = cr.load(tmp_path / "model.safetensors")
    assert code == 128 + signal.SIGTERM, said
    assert saved.training.unfinished and saved.training.history.interrupted  # by the save at the end, and no other
    saved.training.goal = saved.training.epochs + 5
    saved.save(tmp_path / "model.safetensors")
    one = cr.load(tmp_path / "model.safetensors")
    history = share.fit(one, "long", resume=True)
    code, said = ended(shares(tmp_path, 3, "long", save=True, resume=True))
    assert code == 0, said
    found = seen(tmp_path, "long")
    assert one.training.steps == found["steps"]
    assert off(history.loss, found["losses"]) <= 1e-6


def test_the_command_line_trains_with_all_and_speaks_once(tmp_path: Path) -> None:
    saved = tmp_path / "m.safetensors"
    options = ["train", "iris", "--epochs", "3", "--save", str(saved), "--seed", "1"]
    code, said = ended(launched(2, "-m", "chainrule", *options))
    assert code == 0, said
    assert said.count("held-out") == said.count("epoch 3/3") == 1
    one = subprocess.run([sys.executable, "-m", "chainrule", *options], capture_output=True, text=True, check=True)
    assert one.stdout.splitlines()[-2] == next(line for line in said.splitlines() if "held-out" in line)
    code, said = ended(launched(2, "-m", "chainrule", "train", "absent.csv"))
    assert code != 0 and "chainrule: rank " in said
