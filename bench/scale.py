"""What a step costs on many workers: arithmetic and meetings measured here, a model of both, and what it predicts.

    python -m bench.scale                   # measure, and write the tables of docs/scale.md
    python -m bench.scale --check           # predict two processes, and compare with two processes

Needs mpi4py, MPICH and JAX, as `make engines` installs them.
A worker is one process on one processor. Its arithmetic is its own work on the processor's clock, what is sent is timed
by the quickest of many times: both say what an idle machine does, also where this one is not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from bench.table import markdown
from chainrule.compile import shared
from chainrule.ir.expr import Tensor
from chainrule.loops.task import Task
from chainrule.train.models import read_model
from chainrule.train.ranks import Ranks, RanksRunner, mpi, parted
from chainrule.train.runners import NativeRunner, rates

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
REAL = np.dtype(np.float32)
RULE = cr.SGD(0.01, momentum=0.9)
WORKERS = 8, 16, 64, 256, 1024
EACH = 64  # samples of a worker, where the batch grows with the workers
WHOLE = 4096  # samples of a batch that all share
PAYS = 0.5  # of a worker's speed, below which one more hardly pays


@dataclass(frozen=True)
class Network:
    """How processes are connected: seconds until a message begins, bytes a second. Those of clusters are assumed."""

    name: str
    latency: float
    bandwidth: float


CLUSTERS = Network("10 Gbit/s Ethernet", 25e-6, 1.1e9), Network("100 Gbit/s InfiniBand", 2e-6, 11e9)


def dense(*sizes: int) -> Callable[[], cr.Model]:
    layers = [layer for n in sizes[1:-1] for layer in (cr.Dense(n), cr.ReLU())]
    return lambda: cr.Sequential(cr.Input(sizes[0]), *layers, cr.Dense(sizes[-1]), loss="softmax_cross_entropy")


NETS: dict[str, Callable[[], cr.Model]] = {
    "dense 784-128-10": dense(784, 128, 10),
    "dense 784-1024-1024-10": dense(784, 1024, 1024, 10),
    "dense 784-4096-4096-10": dense(784, 4096, 4096, 10),
    "LeNet": lambda: read_model("lenet"),
    "ResNet-tiny, batch norm": lambda: read_model("resnet-tiny"),
    "VGG-small": lambda: read_model("vgg-small"),
}
SIZES = 32, 256  # samples of a worker whose arithmetic is measured


def kept_by(model: cr.Model, task: Task) -> dict[Tensor, Any]:
    """What a step keeps, where training begins."""
    start = {**model.parameters, **model.states, **RULE.start(model.network.training.parameters, REAL)}
    return {t: np.array(start[t.name], REAL) for t in task.kept if t.name in start}


class Alone(Ranks):
    """One of `count` that meets nobody: its arithmetic is all that takes time."""

    def __init__(self, count: int = 1) -> None:
        self.communicator, self.synchronised, self.number, self.count = None, True, 0, count

    spent = 0.0

    def sum(self, numbers: Any) -> None:
        pass

    def alike(self, number: int) -> int:
        return number


class Timed(Ranks):
    """Ranks that know how much of their time they spent at meetings."""

    spent = 0.0

    def sum(self, numbers: Any) -> None:
        start = time.process_time()
        super().sum(numbers)
        self.spent += time.process_time() - start

    def alike(self, number: int) -> int:
        """The greatest of all."""
        return int(self.communicator.allreduce(number, mpi().MAX))


class Steps:
    """A net's step as a rank makes it, over one batch that comes again."""

    def __init__(self, model: cr.Model, batch: int, ranks: Alone | Timed) -> None:
        net = model.network
        assert net.target and model.loss
        step = shared(net, model.derive(), RULE, model.loss.labels)
        parts = parted(step, synchronised=True)
        self.ranks, self.batch, self.rounds = ranks, batch, parts.rounds
        made = [NativeRunner(part.task, -(-batch // ranks.count), 1) for part in parts.rounds]
        self.runner = RanksRunner(step.whole, parts, ranks, made, REAL)
        rng = np.random.default_rng(0)
        shape = [batch, *(int(n) for n in model.feed.inputs[0].shape[1:])]
        classes = int(net.logits.shape[-1])
        target = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, batch)]
        x = rng.normal(size=shape).astype(np.float32)
        drawn = step.whole.drawn
        self.data = {t: target if t == net.target else x for t in step.whole.data if t not in drawn}
        self.kept = kept_by(model, step.whole)

    def run(self, count: int) -> None:
        order = np.tile(np.arange(self.batch), count)
        self.kept |= {t: rates(RULE, 0, count, REAL) for t in self.runner.task.stepwise}
        _, failed = self.runner.run(self.data, self.kept, order, self.batch)
        assert failed < 0

    def seconds(self, repeats: int = 7) -> float:
        """Of a step, on the processor's clock and without meetings: the quickest of several runs."""
        self.run(1)
        start = time.process_time()
        self.run(1)
        count = self.ranks.alike(max(1, math.ceil(0.1 / max(time.process_time() - start, 1e-6))))
        found = list[float]()
        for _ in range(repeats):
            start, before = time.process_time(), self.ranks.spent
            self.run(count)
            found.append((time.process_time() - start - self.ranks.spent + before) / count)
        return min(found)


@dataclass(frozen=True)
class Cost:
    """What a net's step costs a worker: seconds before any sample, seconds a sample; `sums` are how many numbers are
    added up at each meeting."""

    name: str
    parameters: int
    start: float
    sample: float
    sums: tuple[int, ...]

    def meetings(self, workers: int, network: Network) -> float:
        """Seconds, by a ring where that is quicker, else by a tree (Thakur, Rabenseifner and Gropp, 2005): a number of
        4 bytes goes round twice, but for the worker's own part."""
        if workers == 1:
            return 0.0
        rounds, part = math.ceil(math.log2(workers)), (workers - 1) / workers
        return sum(
            min(
                2 * rounds * network.latency + 2 * part * 4 * n / network.bandwidth,  # halves, and halves of them
                rounds * (network.latency + 4 * n / network.bandwidth),  # all to a neighbour, twice as far each time
            )
            for n in self.sums
        )

    def step(self, workers: int, samples: float, network: Network) -> float:
        """Seconds of a step in which each worker has so many samples: nothing is computed while they meet."""
        return self.start + self.sample * samples + self.meetings(workers, network)

    def growing(self, workers: int, network: Network) -> float:
        """The efficiency where each worker has EACH samples."""
        return self.step(1, EACH, network) / self.step(workers, EACH, network)

    def shared(self, workers: int, network: Network) -> float:
        """The efficiency where all share a batch of WHOLE samples."""
        return self.step(1, WHOLE, network) / (workers * self.step(workers, WHOLE / workers, network))

    def most(self, network: Network) -> int:
        """The workers up to which a batch of WHOLE samples is shared at PAYS of their speed."""
        return max(w for w in range(1, WHOLE + 1) if self.shared(w, network) >= PAYS)


def cost(name: str) -> Cost:
    model = NETS[name]()
    few, many = (Steps(model, size, Alone()).seconds() for size in SIZES)
    steps = Steps(model, SIZES[0], Alone())
    sums = tuple(1 + sum(math.prod(int(n) for n in t.shape) for t in part.sums) for part in steps.rounds)
    sample = (many - few) / (SIZES[1] - SIZES[0])
    return Cost(name, sum(a.size for a in model.parameters.values()), max(few - SIZES[0] * sample, 0.0), sample, sums)


def worker() -> None:
    """One of the ranks that `launched` starts: what a meeting takes, and steps of some nets."""
    world = mpi().COMM_WORLD
    found: dict[str, Any] = {"meetings": {}, "steps": {}}
    for count in (1, 256, 4096, 65_536, 1_048_576, 4_194_304):
        numbers, taken = np.zeros(count, np.float32), list[float]()
        for _ in range(100 if count < 100_000 else 20):
            world.Barrier()
            start = time.perf_counter()
            world.Allreduce(mpi().IN_PLACE, numbers, mpi().SUM)
            taken.append(time.perf_counter() - start)
        found["meetings"][count] = float(world.allreduce(min(taken), mpi().MAX))
    for name in ("dense 784-1024-1024-10", "LeNet", "ResNet-tiny, batch norm"):
        for batch in (256, 1024):
            own = Steps(NETS[name](), batch, Timed(world)).seconds(5)
            found["steps"][f"{name}/{batch}"] = float(world.allreduce(own, mpi().MAX))
    if not world.rank:
        print(json.dumps(found))


def launched(count: int) -> dict[str, Any]:
    mpirun = Path(sys.executable).parent / "mpirun"
    command = [str(mpirun), "-n", str(count), sys.executable, "-m", "bench.scale", "--worker"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def here(meetings: dict[str, float]) -> Network:
    """Latency and bandwidth between two processes of this machine, by the smallest and the greatest meeting."""
    sizes = sorted(meetings, key=int)
    least, most = meetings[sizes[0]], meetings[sizes[-1]]
    return Network("between two processes here", least, 4 * int(sizes[-1]) / max(most - least, 1e-9))


def simulated(name: str) -> tuple[int, int]:
    """How often eight simulated devices meet in a step, and how many numbers they add up, in what XLA has compiled."""
    code = f"from bench.scale import traffic; print(*traffic({name!r}))"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, check=True)
    times, numbers = map(int, run.stdout.split()[-2:])
    return times, numbers


def traffic(name: str) -> tuple[int, int]:
    import re

    from chainrule.compile import training
    from chainrule.targets.jax import Step

    model = NETS[name]()
    assert model.loss
    task = training(model.network, model.derive(), RULE, model.loss.labels)
    step = Step(task, REAL, 8)
    rows: Any = {t: np.zeros([16, *(int(n) for n in t.shape[1:])], REAL) for t in task.data if t not in task.drawn}
    with step.wide():
        state = step.put(kept_by(model, task))
        given = step.arguments(state, rows, [np.float32(0.1)] * len(task.stepwise), 0, 0, 16)
        text: str = step.jitted.lower(*given).compile().as_text()
    shapes = re.findall(r"= (\(?.*?\)?) all-reduce(?:-start)?\(", text)
    sizes = [shape.split(",") for line in shapes for shape in re.findall(r"\[([\d,]*)\]", line)]
    return len(shapes), sum(math.prod(int(n) for n in size if n) for size in sizes)


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def tables(costs: list[Cost], found: dict[str, Any], devices: dict[str, tuple[int, int]]) -> dict[str, str]:
    own = here(found["meetings"])
    result = {
        "costs": markdown(
            ["net", "parameters", "meetings", "numbers sent", "a step, ms", "a sample, µs", "64 samples, ms"],
            [
                [c.name, f"{c.parameters:,}", str(len(c.sums)), f"{sum(c.sums):,}", f"{1e3 * c.start:.2f}",
                 f"{1e6 * c.sample:.0f}", f"{1e3 * (c.start + 64 * c.sample):.1f}"]
                for c in costs
            ],
        ),
        "here": markdown(
            ["numbers", "measured, µs", "by the model, µs"],
            [
                [f"{int(n):,}", f"{1e6 * t:,.0f}", f"{1e6 * Cost('', 0, 0, 0, (int(n),)).meetings(2, own):,.0f}"]
                for n, t in found["meetings"].items()
            ],
        ),
    }
    rows: list[list[str]] = []
    for key, seconds in found["steps"].items():
        name, batch = key.split("/")
        c = next(c for c in costs if c.name == name)
        model, meet = c.step(2, int(batch) / 2, own), c.meetings(2, own)
        one = c.step(1, int(batch), own)
        rows.append([
            f"{name}, {batch} in a batch", f"{1e3 * (seconds + meet):.1f}", f"{1e3 * model:.1f}",
            f"{(seconds + meet) / model:.2f}", f"{one / (seconds + meet):.2f}", f"{one / model:.2f}",
        ])
    result["two"] = markdown(["", "measured, ms", "model, ms", "ratio", "times one, measured", "model"], rows)
    result["eight"] = markdown(
        ["net", "meetings in XLA's program", "by the equations", "numbers in XLA's program", "by the equations"],
        [
            [c.name, str(devices[c.name][0]), str(len(c.sums)), f"{devices[c.name][1]:,}", f"{sum(c.sums):,}"]
            for c in costs if c.name in devices
        ],
    )
    for number, network in enumerate(CLUSTERS):
        result[f"growing {number}"] = markdown(
            [f"{EACH} samples a worker", *(f"{w:,} workers" for w in WORKERS)],
            [[c.name, *(percent(c.growing(w, network)) for w in WORKERS)] for c in costs],
        )
        result[f"shared {number}"] = markdown(
            [f"{WHOLE:,} samples together", *(f"{w:,} workers" for w in WORKERS), "half at"],
            [[c.name, *(percent(c.shared(w, network)) for w in WORKERS), f"{c.most(network):,}"] for c in costs],
        )
    return result


def written(page: str, made: dict[str, str]) -> str:
    """The page with each table between its two marks."""
    for name, table in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"docs/scale.md has no place for the table {name!r}")
        page = f"{before}{start}\n{table}\n\n{end}{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="two processes only; nothing is written")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker()
        raise SystemExit
    found = launched(2)
    wanted = [n for n in NETS if not options.check or any(key.startswith(f"{n}/") for key in found["steps"])]
    costs = [cost(name) for name in wanted]
    devices = {} if options.check else {name: simulated(name) for name in wanted if "4096" not in name}
    made = tables(costs, found, devices)
    if options.check:
        print(made["here"], made["two"], sep="\n")
        raise SystemExit
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    print("docs/scale.md is written")


if __name__ == "__main__":
    main()
