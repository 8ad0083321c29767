"""What it takes until the first step of training runs: times to derive, lower, emit, compile and load, and memory.

    python -m bench.stages W1 W3
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from chainrule.compile import emit, machine_of, training
from chainrule.loops.nodes import Kernel
from chainrule.loops.program import lower
from chainrule.runtime.compiler import native
from chainrule.runtime.library import Library
from chainrule.targets import c

from bench.ours import labels_of, model_of, rule_of
from bench.table import duration, markdown
from bench.table import times as times_of
from bench.workloads import WORKLOADS, Workload


def stages(workload: Workload) -> tuple[list[str], list[str]]:
    """A row of times and a row of sizes."""
    times: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = perf_counter()
        result = work()
        times[name] = perf_counter() - start
        return result

    model = timed("declare", lambda: model_of(workload))
    derivation = timed("derive", model.derive)
    rule = rule_of(workload)
    target = native()
    task = timed("task", lambda: training(model.network, derivation, rule, labels_of(workload)))
    lowered = timed("lower", lambda: lower(task, machine_of(target), samples=workload.batch))
    source = timed("emit", lambda: emit(lowered))

    def load() -> Library:
        return Library(lowered, source, c.slots(lowered), target, np.dtype(np.float32))

    with tempfile.TemporaryDirectory() as cache:
        os.environ["CHAINRULE_CACHE"] = cache
        timed("compile", load)
        timed("from the cache", load)
        size = sum(path.stat().st_size for path in (Path(cache) / "objects").iterdir())
    kernels = sum(isinstance(stage, Kernel) for stage in lowered.stages)
    kept = sum(prod(int(extent) for extent in tensor.shape) for tensor in task.kept)
    blocks = -(-workload.batch // lowered.width) * lowered.stride
    memory = 4 * (kept + blocks + lowered.common + workload.batch * prod(workload.input))
    row = [workload.name, *(duration(times[name]) for name in times)]
    return row, [
        workload.name, str(kernels), f"{source.count(chr(10)):,}", f"{size / 1024:,.0f} KiB",
        f"{memory / 2**20:.2f} MiB", times_of(memory / workload.memory()),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    options = parser.parse_args()
    both = [stages(WORKLOADS[name]) for name in options.workloads]
    header = ["", "declare", "derive", "task", "lower", "emit", "compile", "from the cache"]
    print(markdown(header, [times for times, _ in both]) + "\n")
    print(markdown(["", "kernels", "lines of C", "object", "memory of a step", "to what it needs"], [sizes for _, sizes in both]))


if __name__ == "__main__":
    main()
