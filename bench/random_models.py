"""Networks drawn at random beside PyTorch eager: nothing but the benchmark's own shapes may be fast.

    python -m bench.random_models --count 40
    python -m bench.random_models --count 8 --threads 1 --cpu     # on a busy machine
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from bench.compare import TOLERANCE, difference
from bench.contender import made
from bench.machine import limit, load
from bench.rounds import CLOCKS, Work, interleaved
from bench.table import markdown, times
from bench.workloads import Activation, Conv, Dense, Layer, Pool, Workload, mlp
from chainrule.errors import ChainruleError

MOST = 4e9  # operations in a batch
STEPS = 10  # over which losses are compared


def drawn_mlp(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[Layer, ...]]:
    """One to four dense layers of 3 to 1000 units."""
    widths = [int(np.exp(rng.uniform(np.log(3), np.log(1000)))) for _ in range(rng.integers(2, 6))]
    return (widths[0],), mlp(*widths[1:], int(rng.integers(2, 20)), activation=drawn_activation(rng))


def drawn_activation(rng: np.random.Generator) -> Literal["sigmoid", "tanh", "relu"]:
    return (("sigmoid", "tanh", "relu", "relu"))[rng.integers(4)]


def drawn_cnn(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[Layer, ...]]:
    """One to three convolutions with kernels of 1 to 7, strides, padding, pools, and a dense layer or two."""
    channels, size = int(rng.choice([1, 2, 3, 4])), int(rng.integers(8, 41))
    shape, layers = (channels, size, size), list[Layer]()
    for _ in range(rng.integers(1, 4)):
        if size < 4:
            break
        kernel = int(rng.integers(1, min(7, size) + 1))
        stride, padding = int(rng.choice([1, 1, 1, 2, 3])), int(rng.integers(0, kernel // 2 + 1))
        filters = int(np.exp(rng.uniform(np.log(3), np.log(80))))
        layers += [Conv(filters, kernel, stride, padding), Activation(drawn_activation(rng))]
        size = (size + 2 * padding - kernel) // stride + 1
        window = int(rng.integers(2, 4))
        if size >= window and rng.random() < 0.6:
            step = int(rng.integers(1, window + 1))
            layers.append(Pool("max" if rng.random() < 0.6 else "mean", window, step))
            size = (size - window) // step + 1
    if rng.random() < 0.5:
        layers += [Dense(int(rng.integers(5, 200))), Activation("relu")]
    return shape, (*layers, Dense(int(rng.integers(2, 20))))


def drawn(number: int, threads: int) -> Workload:
    """The network of that number: the same on every machine."""
    rng = np.random.default_rng([2026, number])
    while True:
        shape, layers = (drawn_cnn if number % 2 else drawn_mlp)(rng)
        batch = int(rng.choice([1, 3, 7, 17, 32, 33, 50, 64, 100, 128, 200, 255]))
        workload = Workload(f"random {number}", "", shape, layers, batch, threads, max(1, 256 // batch), rate=0.01)
        if workload.flops() * batch <= MOST:
            return workload


def described(workload: Workload) -> str:
    words = ["×".join(map(str, workload.input))]
    for layer in workload.layers:
        match layer:
            case Dense(units=units):
                words.append(str(units))
            case Conv(filters=filters, size=size, stride=stride, padding=padding):
                more = [f"s{stride}"] * (stride > 1) + [f"p{padding}"] * (padding > 0)
                words.append("".join([f"c{filters}k{size}", *more]))
            case Pool(kind=kind, size=size, stride=stride):
                words.append(f"{kind}{size}s{stride}")
            case Activation():
                pass
    return "-".join(words)


@dataclass(frozen=True)
class Found:
    workload: Workload
    rates: tuple[float, float]  # samples/s, ours and PyTorch's
    difference: float

    @property
    def ratio(self) -> float:
        return self.rates[0] / self.rates[1]


def measure(workload: Workload, seconds: float, rounds: int, clock: str) -> Found:
    data, first = workload.data(), workload.data(STEPS * workload.batch)
    ours, eager = (made(key, workload, data, workload.threads) for key in ("chainrule", "eager"))
    apart = difference(ours.losses(first), eager.losses(first))
    works = {each.name: Work(each.train, each.reset) for each in (ours, eager)}
    taken = interleaved(works, seconds=seconds, rounds=rounds, now=CLOCKS[clock])
    fast, slow = (workload.samples / median(taken[each.name]) for each in (ours, eager))
    return Found(workload, (fast, slow), apart)


def section(found: list[Found], threads: int, clock: str) -> str:
    """The slowest in comparison first."""
    ranked = sorted(found, key=lambda each: each.ratio)
    rows = [
        [described(each.workload), each.workload.batch, *(f"{rate:,.0f}" for rate in each.rates), times(each.ratio)]
        for each in ranked
    ]
    ratios = [each.ratio for each in ranked]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    told = (
        f"{len(found)} networks, {threads} thread{'s' if threads > 1 else ''}, {clock} clock, load {load()}: the least "
        f"ratio is {times(ratios[0])}, the median {times(median(ratios))}, the geometric mean {times(mean)}; "
        f"{sum(ratio < 1 for ratio in ratios)} are below 1. Losses over {STEPS} steps differ by "
        f"{max(each.difference for each in found):.0e} at most."
    )
    return f"{told}\n\n{markdown(['network', 'batch', 'chainrule', 'PyTorch eager', 'chainrule is'], rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="the number of the first network")
    parser.add_argument("--quick", action="store_true", help="eight networks, short rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="time the process's own work; needs one thread")
    options = parser.parse_args()
    if options.cpu and options.threads > 1:
        parser.error("--cpu needs one thread")
    limit(options.threads)
    seconds, rounds = (0.03, 3) if options.quick else (0.1, 7)
    count: int = min(options.count, 8) if options.quick else options.count
    found: list[Found] = []
    failed: list[str] = []
    for number in range(options.first, options.first + count):
        workload = drawn(number, options.threads)
        try:
            found.append(measure(workload, seconds, rounds, "cpu" if options.cpu else "wall"))
        except ChainruleError as error:
            failed.append(f"- **{workload.name}, {described(workload)}, batch {workload.batch}: {error.problem}**")
    if found:
        print(section(found, options.threads, "CPU" if options.cpu else "wall"))
    wrong = [each for each in found if not each.difference <= TOLERANCE]
    failed += [f"- **{described(each.workload)}: losses differ by {each.difference:.0e}**" for each in wrong]
    if failed:
        print("\n" + "\n".join(failed))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
