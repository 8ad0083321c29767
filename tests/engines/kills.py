"""Ranks of MPI that are killed at random times, and a run that goes on from what is saved, until it is done.

    python -m tests.engines.kills                  # 50 kills, in an environment with mpi4py and MPICH
    python -m tests.engines.kills --count 5 --seed 3

After each kill all must have ended within 5 seconds, with one line that names the rank, and the file must load and be
no older than before. Each start has another number of ranks. At the end the losses are those of one process that nobody
has killed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import chainrule as cr
from tests.engines import share
from tests.engines.test_mpi import ended, off, seen, shares, until

LIMIT = 5.0  # seconds in which all must have ended
WAIT = 0.2  # seconds of training, at most, before a kill: rounding grows 30 times in 250 steps, whoever trains
MOST = 1e-6  # between losses


def killed(folder: Path, count: int, rank: int, wait: float, **options: object) -> str:
    """What is wrong with one kill, or nothing. Where nothing is saved yet a run begins, else it goes on."""
    saved = folder / "model.safetensors"
    before = cr.load(saved).training.steps if saved.exists() else 0
    written = saved.stat().st_mtime_ns if before else 0
    for old in folder.glob("pid*"):
        old.unlink()
    process = shares(folder, count, "long", save=True, dtype="float64", resume=before > 0, **options)
    until(saved)
    while saved.stat().st_mtime_ns == written and process.poll() is None:  # until it trains
        time.sleep(0.02)
    time.sleep(wait)
    if process.poll() is not None:
        return f"the run ended by itself: {process.communicate()[0]}"
    os.kill(int((folder / f"pid{rank}").read_text()), signal.SIGKILL)
    start = time.monotonic()
    code, said = ended(process, 60)
    taken = time.monotonic() - start
    named = re.findall(r"^chainrule: rank (\d+) of (\d+) on .* was killed", said, re.MULTILINE)
    faults = [
        f"all ended after {taken:.1f} s" if taken > LIMIT else "",
        "" if code else "mpirun says that nothing happened",
        "" if named == [(str(rank), str(count))] else f"said: {said}",
    ]
    try:
        after = cr.load(saved).training.steps
        faults.append("" if after >= before else f"{after} steps are saved, {before} were")
    except cr.ChainruleError as error:
        faults.append(f"cannot be loaded: {error}")
    return "; ".join(filter(None, faults))


def campaign(count: int, seed: int, folder: Path) -> list[str]:
    """All faults, each with its kill."""
    rng, faults = np.random.default_rng(seed), list[str]()
    epochs = 1_000_000  # more than come before the last kill; the goal is then set nearer
    for kill in range(count):
        size = int(rng.integers(2, 4))
        rank, wait = int(rng.integers(size)), float(rng.uniform(0, WAIT))
        if fault := killed(folder, size, rank, wait, epochs=epochs):
            faults.append(f"kill {kill}, rank {rank} of {size} after {wait:.2f} s: {fault}")
    saved = folder / "model.safetensors"
    model = cr.load(saved)
    model.training.goal = model.training.epochs + 3
    model.save(saved)
    code, said = ended(shares(folder, 3, "long", save=True, resume=True, dtype="float64"))
    if code:
        return [*faults, f"the last run: {said}"]
    found = seen(folder, "long")
    one = share.model("long", "float64")
    history = share.fit(one, "long", epochs=model.training.goal)
    apart = off(history.loss[-3:], found["losses"][-3:])
    if one.training.steps != found["steps"] or apart > MOST:
        faults.append(f"the losses are {found['losses'][-3:]}, and {history.loss[-3:]} of a run that nobody killed")
    sys.stdout.write(f"{count} kills, {found['steps']} steps; the last losses are {apart:.0e} apart\n")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        faults = campaign(options.count, options.seed, Path(folder))
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
