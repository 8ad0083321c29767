"""How cost grows: time per operation as batch, width and depth double, compile time with the number of kernels, and
two threads beside one.

    python -m bench.scaling --cpu
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable
from statistics import median

from bench.machine import limit, load
from bench.ours import Chainrule
from bench.rounds import CLOCKS, Work, interleaved
from bench.stages import build_times
from bench.table import duration, markdown
from bench.workloads import WORKLOADS, Workload, mlp

SAMPLES = 16384


def network(batch: int, width: int, depth: int) -> Workload:
    """`depth` dense ReLU layers of one width under a dense layer of 10."""
    layers = mlp(*[width] * depth, 10, activation="relu")
    return Workload(f"{batch}/{width}/{depth}", "", (width,), layers, batch, 1, max(1, SAMPLES // batch), rate=1e-3)


SERIES = {
    "batch, 2 layers of 128": [network(batch, 128, 2) for batch in (16, 32, 64, 128, 256)],
    "width, batch 64, 2 layers": [network(64, width, 2) for width in (32, 64, 128, 256, 512)],
    "depth, batch 64, width 128": [network(64, 128, depth) for depth in (1, 2, 4, 8)],
}


def measured(workloads: Iterable[Workload], threads: int, seconds: float, rounds: int, clock: str) -> dict[str, float]:
    """The seconds that an operation takes, in each workload."""
    ours = {workload.name: Chainrule(workload, workload.data(), threads) for workload in workloads}
    works = {name: Work(each.train, each.reset) for name, each in ours.items()}
    taken = interleaved(works, seconds=seconds, rounds=rounds, now=CLOCKS[clock])
    return {n: median(taken[n]) / each.workload.samples / each.workload.flops() for n, each in ours.items()}


def growth(seconds: float, rounds: int, clock: str) -> None:
    for name, workloads in SERIES.items():
        found = measured(workloads, 1, seconds, rounds, clock)
        rows: list[list[str]] = []
        before: float | None = None
        for workload in workloads:
            each = found[workload.name]
            state = f"{workload.memory() / 1024:,.0f} KiB"
            change = "" if before is None else f"{each / before - 1:+.0%}"
            rows.append([workload.name, state, f"{1e-9 / each:.1f}", change])
            before = each
        print(f"#### {name}\n")
        print(markdown(["batch/width/depth", "memory", "GFLOP/s", "time per operation"], rows) + "\n", flush=True)


def threads(seconds: float, rounds: int) -> None:
    """Both in one process; where there is one core only, the second worker shares it."""
    rows: list[list[str]] = []
    for name in ("W1", "W4", "W6", "W2", "W3", "W5"):
        workload = WORKLOADS[name]
        one, two, chosen = (Chainrule(workload, workload.data(), number) for number in (1, 2, None))
        works = {str(each.threads): Work(each.train, each.reset) for each in (one, two, chosen)}
        taken = interleaved(works, seconds=seconds, rounds=rounds)
        rates = [workload.samples / median(taken[str(each.threads)]) for each in (one, two, chosen)]
        beside = (f"{rate / rates[0]:.2f}" for rate in rates[1:])
        rows.append([name, *(f"{rate:,.0f}" for rate in rates), *beside])
    print(f"#### Threads; load {load()}\n")
    print(markdown(["", "1 thread", "up to 2", "default", "2 beside 1", "default beside 1"], rows) + "\n", flush=True)


def compiling() -> None:
    rows: list[list[str]] = []
    for depth in (1, 2, 4, 8, 16):
        # Each layer has a width of its own, so that no two share a kernel.
        widths = [64 + 8 * layer for layer in range(depth)]
        workload = Workload(f"{depth} layers", "", (60,), mlp(*widths, 10, activation="relu"), 32, 1, 1)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["CHAINRULE_CACHE"] = cache
            found = build_times(workload)
        whole = found.seconds["lower"] + found.seconds["emit"] + found.seconds["compile"]
        row = [workload.name, str(found.kernels), *(duration(found.seconds[n]) for n in ("lower", "emit", "compile"))]
        rows.append([*row, duration(whole / found.kernels)])
    print("#### Compiling networks of layers that all differ\n")
    print(markdown(["", "kernels", "lower", "emit", "compile", "all, a kernel"], rows), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--cpu", action="store_true", help="time the process's own work where one thread runs")
    options = parser.parse_args()
    seconds, rounds = (0.05, 5) if options.quick else (0.2, 15)
    threads(seconds, rounds)
    limit(1)
    growth(seconds, rounds, "cpu" if options.cpu else "wall")
    compiling()


if __name__ == "__main__":
    main()
