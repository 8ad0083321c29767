"""Training side by side: one workload, one process, all contenders in interleaved rounds.

    python -m bench.compare W3                                                  # everything
    python -m bench.compare W3 --quick --with chainrule,eager,channels-last     # less than a minute
    python -m bench.compare W8 --quick --threads 1 --cpu --with chainrule,eager # on a busy machine
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.contender import CONTENDERS, Contender, UnavailableError, made
from bench.machine import Peak, limit, load, sgemm, spread
from bench.rounds import CLOCKS, Work, interleaved
from bench.table import markdown, times
from bench.workloads import WORKLOADS, Workload

TOLERANCE = 1e-4  # relative, of a loss


@dataclass(frozen=True)
class Effort:
    """How long each measurement lasts, how many rounds there are, and over how many steps losses are compared."""

    seconds: float
    rounds: int
    steps: int


QUICK, FULL = Effort(0.1, 7, 10), Effort(0.4, 15, 50)


@dataclass
class Comparison:
    """`rates`: samples/s in each round. `differences`: the worst relative difference of a loss from chainrule's;
    `control`: the same of chainrule itself with a rate that is a tenth higher, which must be seen. `missing`: why a
    contender does not take part. Peaks are in GFLOP/s, the best seen."""

    workload: str
    threads: int
    clock: str
    steps: int
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    differences: dict[str, float] = field(default_factory=dict[str, float])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    control: float = 0.0
    fma: float = 0.0
    gemm: float = 0.0
    load: str = ""

    def median(self, name: str) -> float:
        return median(self.rates[name])

    def ratio(self, name: str) -> float | None:
        """How many times as fast as it chainrule is, by medians."""
        both = "chainrule" in self.rates and name in self.rates
        return self.median("chainrule") / self.median(name) if both else None

    def best_peer(self) -> str | None:
        peers = [name for name in self.rates if name != "chainrule"]
        return max(peers, key=self.median) if peers else None

    def faults(self) -> list[str]:
        """Contenders that do not compute the same."""
        found = [f"{n}: the losses differ by {d:.1e}" for n, d in self.differences.items() if not d <= TOLERANCE]
        if "chainrule" in self.rates and not self.control > TOLERANCE:
            found.append(f"the comparison of losses does not see another rate: {self.control:.1e}")
        return found


def difference(ours: Iterable[float], others: Iterable[float]) -> float:
    return max(abs(a - b) / abs(a) for a, b in zip(ours, others, strict=True))


def compare(workload: Workload, keys: Iterable[str], effort: Effort, threads: int, clock: str = "wall") -> Comparison:
    """Every contender trains once a round, each time from the initial values."""
    result = Comparison(workload.name, threads, clock, effort.steps)
    data, first = workload.data(), workload.data(effort.steps * workload.batch)
    contenders: list[Contender] = []
    losses: dict[str, list[float]] = {}
    for key in keys:
        try:
            contender = made(key, workload, data, threads)
            losses[contender.name] = list(contender.losses(first))
        except UnavailableError as reason:
            result.missing[key] = str(reason)
            continue
        contenders.append(contender)
    if "chainrule" in losses:
        ours = losses["chainrule"]
        result.differences = {name: difference(ours, other) for name, other in losses.items() if name != "chainrule"}
        faster = made("chainrule", replace(workload, rate=1.1 * workload.rate), data, threads)
        result.control = difference(ours, faster.losses(first))
    peak = Peak(threads)

    def measure_peaks() -> None:
        for _ in range(10):  # a short one may find the machine to itself
            result.fma = max(result.fma, peak.measure(300_000, CLOCKS[clock]))
        result.gemm = max(result.gemm, sgemm(CLOCKS[clock]), sgemm(CLOCKS[clock]))

    works = {contender.name: Work(contender.train, contender.reset) for contender in contenders}
    taken = interleaved(
        works, seconds=effort.seconds, rounds=effort.rounds, now=CLOCKS[clock], before_each=measure_peaks
    )
    result.rates = {name: [workload.samples / seconds for seconds in rounds] for name, rounds in taken.items()}
    result.load = load()
    return result


def section(result: Comparison) -> str:
    """One contender a line, the fastest first."""
    workload = WORKLOADS[result.workload]
    lines = [
        f"### {workload.name}: {workload.title}",
        "",
        f"Batch {workload.batch}, {workload.optimizer.upper() if workload.optimizer == 'sgd' else 'Adam'}, "
        f"{workload.loss} loss, {result.threads} thread{'s' if result.threads > 1 else ''}, "
        f"{workload.flops() / 1e6:.3g} MFLOP a sample. "
        f"Measured peaks: FMA {result.fma:.0f}, sgemm {result.gemm:.0f} GFLOP/s. "
        f"{'Wall' if result.clock == 'wall' else 'CPU'} clock, load {result.load}.",
        "",
    ]
    header = ["", "samples/s", "best", "spread", "of FMA", "of sgemm", "chainrule is", "by best", "losses"]
    rows: list[list[str]] = []
    for name in sorted(result.rates, key=result.median, reverse=True):
        rates = result.rates[name]
        flops = result.median(name) * workload.flops() / 1e9
        row = [name, f"{median(rates):,.0f}", f"{max(rates):,.0f}", f"±{spread(rates):.1%}"]
        row += [f"{flops / result.fma:.1%}", f"{flops / result.gemm:.1%}"]
        ratio = result.ratio(name)
        if ratio is None or name == "chainrule":
            row += ["", "", ""]
        else:
            row += [times(ratio), times(max(result.rates["chainrule"]) / max(rates)), f"{result.differences[name]:.0e}"]
        rows.append(row)
    lines += [markdown(header, rows), ""]
    lines += [f"- {key} takes no part: {reason}." for key, reason in result.missing.items()]
    if "chainrule" in result.rates:
        lines.append(f"- A rate a tenth higher changes a loss by {result.control:.0e} in these {result.steps} steps.")
    lines += [f"- **{fault}**" for fault in result.faults()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true", help="short rounds, and only the contenders that start quickly")
    parser.add_argument("--threads", type=int, help="other than the workload's")
    parser.add_argument("--with", dest="keys", help=f"comma-separated, of {', '.join(CONTENDERS)}")
    parser.add_argument("--cpu", action="store_true", help="time the process's own work; needs one thread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    threads: int = options.threads or workload.threads
    if options.cpu and threads > 1:
        parser.error("--cpu adds up the work of all threads: give --threads 1 too")
    limit(threads)
    if options.keys:
        keys: list[str] = options.keys.split(",")
        if unknown := [key for key in keys if key not in CONTENDERS]:
            parser.error(f"no contender is called {unknown[0]!r}: choose from {', '.join(CONTENDERS)}")
    else:
        keys = [key for key, (_, _, quick) in CONTENDERS.items() if quick or not options.quick]
    compute = partial(compare, workload, keys, QUICK if options.quick else FULL, threads)
    result = compute("cpu" if options.cpu else "wall")
    if options.json:
        options.json.write_text(json.dumps(asdict(result)))
    print(section(result))
    if result.faults():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
