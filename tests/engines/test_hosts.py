"""Two processes of JAX that share each batch, each feeding its own rows, against one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from tests.engines import host, share
from tests.engines.agreement import off_parameters
from tests.engines.test_mpi import off, seen, until

pytestmark = pytest.mark.engines
ROOT = Path(__file__).resolve().parents[2]


def port() -> int:
    """One that nobody listens at."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def started(*command: str) -> subprocess.Popen[str]:
    """A process with the one device that it has."""
    flags = " ".join(f for f in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in f)
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"XLA_FLAGS": flags}, cwd=ROOT,
    )


def both(folder: Path, kinds: str, **options: Any) -> list[subprocess.Popen[str]]:
    given, at = ("-m", host.__name__, str(folder), kinds, json.dumps(options)), str(port())
    return [started(*given, at, "2", str(k)) for k in range(2)]


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    for process in both(tmp_path, "statistics"):
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
    one = share.model("statistics", "float64")
    history = share.fit(one, "statistics")
    found = [seen(tmp_path, "statistics", number) for number in range(2)]
    assert found[0] == found[1] and one.training.steps == found[0]["steps"] == 50
    assert off(history.loss, found[0]["losses"]) <= 1e-12
    assert off_parameters(one, cr.load(tmp_path / "statistics.safetensors")) <= 1e-11
    assert off(history.loss, share.fit(share.model("statistics", "float64"), "statistics", seed=1).loss) > 1e-3


def test_the_command_line_trains_on_both_and_speaks_once(tmp_path: Path) -> None:
    """With --resume once more it goes on alone, to what one process alone comes to."""
    options = ["-m", "chainrule", "train", "iris", "--epochs", "3", "--executor", "jax"]
    saved, at = tmp_path / "m.safetensors", f"localhost:{port()}"
    two = [
        started(*options, "--save", str(saved), "--coordinator", at, "--processes", "2", "--process", str(k))
        for k in range(2)
    ]
    texts = [process.communicate(timeout=200)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], texts
    assert "held-out" in texts[0] and "held-out" not in texts[1] and "epoch" not in texts[1]
    alone = started(*options).communicate(timeout=200)[0]
    held = [re.findall(r"held-out.*loss [0-9.]+", text) for text in (alone, texts[0])]
    assert len(held[0]) == 1 and held[0] == held[1]
    assert cr.load(saved).training.epochs == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--coordinator", "localhost:1"], "stand together"),
        (["--coordinator", "nowhere", "--processes", "2", "--process", "0"], "no HOST:PORT"),
        (["--coordinator", "localhost:4321", "--processes", "2", "--process", "2"], "no process 2 of 2"),
    ],
)
def test_what_cannot_meet_is_refused_before_anything_waits(options: list[str], said: str) -> None:
    process = started("-m", "chainrule", "train", "iris", "--executor", "jax", *options)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and said in text and text.count("\n") <= 2


def test_one_that_is_told_to_end_stops_both_between_two_steps_and_saves(tmp_path: Path) -> None:
    two = both(tmp_path, "table", epochs=100_000, save=True)
    until(tmp_path / "model.safetensors", 200)
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGTERM)
    for process in two:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, said
    saved = cr.load(tmp_path / "model.safetensors")
    assert saved.training.history.interrupted and saved.training.steps > 0


def test_one_that_is_killed_ends_the_other(tmp_path: Path) -> None:
    two = both(tmp_path, "table", epochs=100_000, save=True)
    until(tmp_path / "model.safetensors", 200)
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    start = time.monotonic()
    said, _ = two[0].communicate(timeout=60)
    assert two[0].returncode != 0 and time.monotonic() - start < 30
    assert len(re.findall(r"^chainrule: process 0 of 2 on .* failed: ", said, re.MULTILINE)) == 1, said
    cr.load(tmp_path / "model.safetensors")  # written whole
    two[1].communicate()
