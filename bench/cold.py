"""Whole processes: from their start to the end of the first epoch, and the most memory they held.

    python -m bench.cold W2 W3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.table import duration, markdown
from bench.workloads import WORKLOADS, Workload

SAMPLES = 6400
ROUNDS = 3
PROCESSES = {
    "chainrule, first run": "chainrule",
    "chainrule, from the cache": "chainrule",
    "PyTorch eager": "eager",
    "JAX scan": "scan",
    "scikit-learn": "sklearn",
    "only the data": "nothing",
}


def child(key: str, workload: Workload, threads: int) -> None:
    """Trains for an epoch, and prints the most memory held, in bytes, or why it cannot."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    data = workload.data(SAMPLES)
    if key != "nothing":
        from bench.contender import UnavailableError, made

        try:
            made(key, workload, data, threads).train(1)
        except UnavailableError as reason:
            print(json.dumps(str(reason)))
            return
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def process(key: str, workload: Workload, cache: Path) -> tuple[float, int | str]:
    """(seconds, bytes or why not)."""
    command = [sys.executable, "-m", "bench.cold", workload.name, "--child", key]
    environment = {**os.environ, "CHAINRULE_CACHE": str(cache)}
    start = perf_counter()
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return perf_counter() - start, json.loads(said.splitlines()[-1])


def section(workload: Workload) -> str:
    times: dict[str, list[float]] = {name: [] for name in PROCESSES}
    memory: dict[str, int | str] = {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            for name, key in PROCESSES.items():
                seconds, memory[name] = process(key, workload, Path(cache))
                times[name].append(seconds)
    bare = memory["only the data"]
    rows: list[list[str]] = []
    missing: list[str] = []
    for name in sorted(times, key=lambda name: median(times[name])):
        held = memory[name]
        if isinstance(held, str) or isinstance(bare, str):
            missing.append(f"- {name} takes no part: {held}.")
        else:
            sizes = [f"{size / 2**20:.0f} MiB" for size in (held, held - bare)]
            rows.append([name, duration(median(times[name])), duration(min(times[name])), *sizes])
    title = f"#### {workload.name}, {workload.title}: {SAMPLES} samples, batch {workload.batch}\n"
    table = markdown(["", "start to end", "best", "most memory", "more than the data alone"], rows)
    told = f"Parameters, state, activations and a batch are {workload.memory() / 2**20:.1f} MiB."
    return "\n".join([title, table, "", told, *missing])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["W1", "W2", "W3"], metavar="WORKLOAD")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        workload = WORKLOADS[options.workloads[0]]
        child(options.child, workload, workload.threads)
        return
    for name in options.workloads:
        print(section(WORKLOADS[name]) + "\n", flush=True)


if __name__ == "__main__":
    main()
