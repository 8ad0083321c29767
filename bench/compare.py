"""Contenders side by side: one workload, one process, interleaved rounds.

    python -m bench.compare W3 --quick

prints the table; with --json what `bench.run` reads.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from statistics import median

from bench.contender import Cannot, Contender
from bench.machine import Peak, limit, load, sgemm, spread
from bench.workloads import WORKLOADS, Data, Workload

# Name on the command line: the file, the class, and whether --quick runs it.
CONTENDERS = {
    "chainrule": ("ours", "Chainrule", True),
    "eager": ("pytorch", "PyTorch", True),
    "channels-last": ("pytorch", "ChannelsLast", True),
    "compiled": ("pytorch", "Compiled", False),
    "jit": ("xla", "JaxSteps", False),
    "scan": ("xla", "JaxScan", True),
    "sklearn": ("scikit", "ScikitLearn", False),
    "numpy": ("by_hand", "NumPy", True),
}


@dataclass(frozen=True)
class Effort:
    """How long each measurement lasts, how many rounds there are, and over how many steps losses are compared."""

    seconds: float
    rounds: int
    steps: int


QUICK, FULL = Effort(0.1, 7, 5), Effort(0.4, 15, 50)


@dataclass
class Comparison:
    """`rates`: samples/s in each round. `differences`: the worst relative difference of a loss from chainrule's.
    `missing`: why a contender does not take part. Peaks are in GFLOP/s, the best seen."""

    workload: str
    threads: int
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    differences: dict[str, float] = field(default_factory=dict[str, float])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    fma: float = 0.0
    gemm: float = 0.0
    load: str = ""
    clock: str = "wall"

    def median(self, name: str) -> float:
        return median(self.rates[name])

    def best_peer(self) -> str | None:
        peers = [name for name in self.rates if name != "chainrule"]
        return max(peers, key=self.median) if peers else None

    def ratio(self, name: str) -> float:
        """How many times chainrule is as fast: of medians."""
        return self.median("chainrule") / self.median(name)


def made(key: str, workload: Workload, data: Data, threads: int) -> Contender:
    """Raises Cannot."""
    module, name, _ = CONTENDERS[key]
    return getattr(import_module(f"bench.{module}"), name)(workload, data, threads)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def compare(
    workload: Workload, keys: Iterable[str], effort: Effort, threads: int, clock: str = "wall"
) -> Comparison:
    """Rounds in which every contender trains once, each time from the initial values and so long as `effort` says.
    The clock "cpu" counts this process's work on all cores: with one thread, what a busy machine disturbs least."""
    result = Comparison(workload.name, threads, clock=clock)
    now = CLOCKS[clock]

    def seconds(work: Callable[[], object]) -> float:
        start = now()
        work()
        return now() - start

    data, first = workload.data(), workload.data(effort.steps * workload.batch)
    contenders: list[Contender] = []
    losses: dict[str, list[float]] = {}
    for key in keys:
        try:
            contender = made(key, workload, data, threads)
            losses[contender.name] = list(contender.losses(first))
        except Cannot as reason:
            result.missing[key] = str(reason)
            continue
        contenders.append(contender)
    ours = losses.get("chainrule", [])
    for name, others in losses.items():
        if name != "chainrule" and ours:
            result.differences[name] = max(abs(a - b) / abs(a) for a, b in zip(ours, others, strict=True))
    epochs: dict[str, int] = {}
    for contender in contenders:
        contender.reset()
        once = seconds(lambda c=contender: c.train(1))
        if once < 2 * effort.seconds:  # the first pass compiles and warms up, where that is not done yet
            once = min(once, seconds(lambda c=contender: c.train(1)))
        epochs[contender.name] = max(1, math.ceil(effort.seconds / once))
        result.rates[contender.name] = []
    peak = Peak(threads)
    for number in range(effort.rounds):
        result.fma = max(result.fma, peak.measure(1_000_000, now))
        result.gemm = max(result.gemm, sgemm(now))
        shift = number % max(len(contenders), 1)
        for contender in (*contenders[shift:], *contenders[:shift]):
            contender.reset()
            count = epochs[contender.name]
            taken = seconds(lambda c=contender, n=count: c.train(n))
            result.rates[contender.name].append(count * workload.samples / taken)
    result.load = load()
    return result


def table(result: Comparison) -> str:
    """One contender a line, the fastest first."""
    workload = WORKLOADS[result.workload]
    lines = [
        f"{workload.name}  {workload.title}, batch {workload.batch}, {workload.optimizer}, {workload.loss} loss, "
        f"{result.threads} thread{'s' if result.threads > 1 else ''}; {result.clock} clock, load {result.load}",
        f"peaks: FMA {result.fma:.0f} GFLOP/s, sgemm {result.gemm:.0f} GFLOP/s",
        f"{'':22}{'samples/s':>12}{'best':>12}{'spread':>8}{'of FMA':>8}{'ours/its':>10}{'(best)':>8}{'losses':>10}",
    ]
    for name in sorted(result.rates, key=result.median, reverse=True):
        rates = result.rates[name]
        share = result.median(name) * workload.flops() / result.fma / 1e9
        ratio = best = ""
        if "chainrule" in result.rates:
            ratio = f"{result.ratio(name):.2f}"
            best = f"{max(result.rates['chainrule']) / max(rates):.2f}"
        lines.append(
            f"{name:22}{median(rates):>12,.0f}{max(rates):>12,.0f}{spread(rates):>8.1%}{share:>8.1%}"
            f"{ratio:>10}{best:>8}{result.differences.get(name, 0.0):>10.1e}"
        )
    lines += [f"{key}: {reason}" for key, reason in result.missing.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, help="the workload's")
    parser.add_argument("--with", dest="keys", help=f"comma-separated, of {', '.join(CONTENDERS)}")
    parser.add_argument("--cpu", action="store_true", help="time the process's own work; needs --threads 1")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    threads: int = options.threads or workload.threads
    limit(threads)
    keys = options.keys.split(",") if options.keys else [k for k, c in CONTENDERS.items() if c[2] or not options.quick]
    if options.cpu and threads > 1:
        parser.error("--cpu adds up the work of all threads: give --threads 1 too")
    clock = "cpu" if options.cpu else "wall"
    result = compare(workload, keys, QUICK if options.quick else FULL, threads, clock)
    json.dump(asdict(result), sys.stdout) if options.json else print(table(result))


if __name__ == "__main__":
    main()
