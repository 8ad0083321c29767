"""What it takes until the first step of training runs: times to derive, lower, emit, compile and load, and memory.

    python -m bench.stages W1 W3
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.ours import labels_of, model_of, rule_of
from bench.table import duration, markdown
from bench.table import times as ratio
from bench.workloads import WORKLOADS, Workload
from chainrule.compile import compiled, emit, machine_of, training
from chainrule.loops.nodes import Kernel
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.task import Task
from chainrule.runtime.compiler import native


@dataclass(frozen=True)
class Built:
    """`seconds` of each stage; `memory` of a step, in bytes: what is kept, and the places of all tensors, among them
    those of the batch, in which each of its samples is copied from where it is given."""

    seconds: dict[str, float]
    kernels: int
    lines: int
    memory: int


def build_times(workload: Workload) -> Built:
    """Through all stages, and a second time from the cache, which the caller chooses: an empty one."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = perf_counter()
        result = work()
        seconds[name] = perf_counter() - start
        return result

    model = timed("declare", lambda: model_of(workload))
    derivation = timed("derive", model.derive)
    rule, target = rule_of(workload), native()
    task: Task = timed("task", lambda: training(model.network, derivation, rule, labels_of(workload)))
    lowered: Plan = timed("lower", lambda: lower(task, machine_of(target), samples=workload.batch))
    timed("emit", lambda: emit(lowered))
    timed("compile", lambda: compiled(task, samples=workload.batch))
    timed("from the cache", lambda: compiled(task, samples=workload.batch))
    seconds["compile"] -= seconds["from the cache"]  # which lowers and emits too
    kept = sum(prod(int(extent) for extent in tensor.shape) for tensor in task.kept)
    blocks = -(-workload.batch // lowered.width) * lowered.stride
    memory = 4 * (kept + blocks + lowered.common)
    kernels = sum(isinstance(stage, Kernel) for stage in lowered.stages)
    return Built(seconds, kernels, emit(lowered).count("\n"), memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    options = parser.parse_args()
    times: list[list[str]] = []
    sizes: list[list[str]] = []
    for name in options.workloads:
        workload = WORKLOADS[name]
        with tempfile.TemporaryDirectory() as cache:
            os.environ["CHAINRULE_CACHE"] = cache
            built = build_times(workload)
            size = sum(path.stat().st_size for path in (Path(cache) / "objects").iterdir()) / 1024
        times.append([name, *(duration(each) for each in built.seconds.values())])
        given, needed = 4 * workload.batch * prod(workload.input), workload.memory()
        memory = f"{built.memory / 2**20:.2f} MiB", ratio(built.memory / needed), ratio((built.memory + given) / needed)
        sizes.append([name, str(built.kernels), f"{built.lines:,}", f"{size:,.0f} KiB", *memory])
    header = ["", "declare", "derive", "task", "lower", "emit", "compile", "all from the cache"]
    print(markdown(header, times) + "\n")
    print(markdown(
        ["", "kernels", "lines of C", "object", "memory of a step", "to what it needs", "with the given samples"], sizes
    ))


if __name__ == "__main__":
    main()
