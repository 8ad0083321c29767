"""Training from a file that memory cannot hold, beside the same rows in memory.

    python -m bench.mapped --gigabytes 1

The file trains in a process of its own, under a cgroup of a quarter of the file's size where one can be made. It prints
the anonymous memory that training adds to that process at its highest, whether the bits are those of the rows in
memory, and how quick the file is beside them, by turns, once it is cached.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import chainrule as cr

FEATURES, CLASSES, BATCH, TURNS = 784, 10, 64, 5
GROUPS = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"  # of version 1


def write(folder: Path, gigabytes: float) -> int:
    """x.npy and y.npy; how many bytes the first has."""
    rows = int(gigabytes * 2**30 / (4 * FEATURES))
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    for at in range(0, rows, 4096):
        x[at : at + 4096] = rng.standard_normal((min(4096, rows - at), FEATURES), np.float32)
    x.flush()
    np.save(folder / "y.npy", rng.integers(0, CLASSES, rows))
    return rows * FEATURES * 4


def fitted(x: Any, y: Any, model: cr.Model | None = None) -> cr.Model:
    if model is None:
        layers = cr.Dense(128), cr.ReLU(), cr.Dense(CLASSES)
        model = cr.Sequential(cr.Input(FEATURES), *layers, loss="softmax_cross_entropy")
    model.fit(x, y, epochs=1, batch_size=BATCH, shuffle="blocks", verbose=False, executor="native")
    return model


def digest(model: cr.Model) -> str:
    return sha256(b"".join(array.tobytes() for array in model.parameters.values())).hexdigest()


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def child(folder: Path) -> None:
    """Train from the file; print the bytes that training adds at its highest, and a digest of what was learnt."""
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")
    fitted(x[:BATCH], y[:BATCH])  # what is imported and compiled once
    start, highest, over = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            highest[0] = max(highest[0], anonymous())

    watching = threading.Thread(target=watch)
    watching.start()
    model = fitted(x, y)
    over.set()
    watching.join()
    sys.stdout.write(f"{highest[0] - start} {highest[0]} {digest(model)}\n")


@contextmanager
def limited(size: int) -> Generator[list[str]]:
    """The command that puts a process under a limit of memory; none where this user may not."""
    group = GROUPS[0] / "chainrule-mapped"
    try:
        group.mkdir()
        (group / GROUPS[1]).write_text(str(size), encoding="ascii")
    except OSError:
        yield []
        return
    try:
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        with suppress(OSError):
            group.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    with tempfile.TemporaryDirectory(prefix="chainrule-mapped-") as place:
        folder = Path(place)
        size = write(folder, options.gigabytes)
        with limited(size // 4) as command:
            ours = [*command, sys.executable, "-m", "bench.mapped", "--child", place]
            said = subprocess.run(ours, capture_output=True, text=True, check=True).stdout.split()
        limit = f"under a cgroup of {size >> 22} MB" if command else "without a limit"
        added, highest, found = int(said[0]), int(said[1]), said[2]
        print(f"a file of {size >> 20} MB {limit}: training adds {added / 2**20:.1f} MB of anonymous memory, ", end="")
        print(f"and the process has {highest / 2**20:.1f} MB of it at its highest")
        mapped, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
        held = np.array(mapped)
        model = fitted(held, y)
        print(f"the bits of the rows in memory: {digest(model) == found}")
        model.fit(mapped, y, epochs=1, batch_size=BATCH, verbose=False)
        taken: dict[str, list[float]] = {"memory": [], "file": []}
        for _ in range(TURNS):
            for name, x in (("memory", held), ("file", mapped)):
                start = time.perf_counter()
                fitted(x, y, model)
                taken[name].append(time.perf_counter() - start)
        ratios = [one / other for one, other in zip(taken["memory"], taken["file"], strict=True)]
        print(f"an epoch takes {median(taken['memory']):.2f} s; the file has {median(ratios):.3f} of that speed")


if __name__ == "__main__":
    main()
