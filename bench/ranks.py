"""Two processes that train one model, ours by MPI and PyTorch's DDP, beside one process, by turns.

    python -m bench.ranks                   # LeNet, 1024 samples in a batch, two processes of one thread each
    python -m bench.ranks --quick

Needs mpi4py and MPICH, and PyTorch for its rows. All processes are there from the beginning and wait, without taking a
processor, until it is their turn. By the clock of the wall two processes are so many times as fast as one as this
machine lets them; the table also says what share of two processors they got meanwhile, and what a busy machine does not
change: the work of each process on its processor's clock, without meetings, and a meeting at its quickest. The loss is
that of one process in each library: ours of the last epoch, theirs of the last step.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.table import markdown, times
from bench.workloads import WORKLOADS, Workload

WORKLOAD = replace(WORKLOADS["W3"], batch=1024, steps=4)
GOAL = 1.7  # times one process


class Ours:
    """`fit`, of one process or of all that mpirun has started."""

    def __init__(self, workload: Workload, *, ranks: bool) -> None:
        from bench.ours import Chainrule
        from chainrule.train.ranks import mpi

        class Meeting:
            """The communicator, and how long its sums of real numbers take."""

            def __init__(self) -> None:
                self.communicator = mpi().COMM_WORLD
                self.work, self.numbers = 0.0, 0

            def __getattr__(self, name: str) -> Any:
                return getattr(self.communicator, name)

            def Allreduce(self, *given: Any) -> None:
                work = time.process_time()
                self.communicator.Allreduce(*given)
                self.work += time.process_time() - work
                self.numbers = max(self.numbers, len(given[1]))

            def quickest(self) -> float:
                """Seconds of a meeting like those of the steps, when nobody has to be waited for."""
                numbers, taken = np.zeros(self.numbers, np.float32), list[float]()
                for _ in range(50):
                    self.communicator.Barrier()
                    start = time.perf_counter()
                    self.communicator.Allreduce(mpi().IN_PLACE, numbers, mpi().SUM)
                    taken.append(time.perf_counter() - start)
                return min(taken)

        self.communicator: Any = Meeting() if ranks else None
        self.inside = Chainrule(workload, workload.data(), 1)

    def train(self, epochs: int) -> float:
        """An epoch or several; the seconds of work at meetings."""
        made, before = self.inside, self.communicator.work if self.communicator else 0.0
        made.model.fit(
            made.data.x, made.data.y, epochs=epochs, batch_size=made.workload.batch, optimizer=made.rule, verbose=False,
            executor="native", workers=1, communicator=self.communicator,
        )  # fmt: skip
        return self.communicator.work - before if self.communicator else 0.0

    def loss(self) -> float:
        return self.inside.model.training.history.loss[-1]

    def quickest(self) -> float:
        """Seconds of a meeting."""
        return self.communicator.quickest() if self.communicator else 0.0


class Theirs:
    """PyTorch's DistributedDataParallel over gloo."""

    def __init__(self, workload: Workload, rank: int, count: int) -> None:
        from bench.pytorch import PyTorch, torch
        from bench.workloads import Data

        torch.set_num_threads(1)
        whole, size = workload.data(), workload.batch // count
        own = [slice(at + rank * size, at + (rank + 1) * size) for at in range(0, len(whole.x), workload.batch)]
        rows = np.concatenate([np.arange(part.start, part.stop) for part in own])
        self.inside = PyTorch(replace(workload, batch=size), Data(whole.x[rows], whole.y[rows]), 1)
        if count > 1:
            torch.distributed.init_process_group("gloo", rank=rank, world_size=count)
            self.inside.model = torch.nn.parallel.DistributedDataParallel(self.inside.model)
            self.inside.optimizer = torch.optim.SGD(self.inside.model.parameters(), lr=workload.rate)

    def train(self, epochs: int) -> float:
        for _ in range(epochs):
            for x, y in self.inside.batches:
                self.last = self.inside.step(x, y).detach()
        return 0.0

    def loss(self) -> float:
        return float(self.last)

    def quickest(self) -> float:
        return 0.0


def worker(kind: str, path: str, count: int) -> None:
    """Waits for numbers of epochs, and answers what they took."""
    if kind == "ranks":
        from chainrule.train.ranks import mpi

        number = mpi().COMM_WORLD.rank
    else:
        number = int(os.environ.get("RANK", "0"))
    made: Ours | Theirs = Theirs(WORKLOAD, number, count) if kind == "DDP" else Ours(WORKLOAD, ranks=kind == "ranks")
    with Client(path, authkey=os.environ["BENCH_KEY"].encode()) as parent:
        parent.send(number)
        while epochs := parent.recv():
            work, start = time.process_time(), time.perf_counter()
            meeting = made.train(epochs)
            work, seconds = time.process_time() - work, time.perf_counter() - start
            parent.send((work, meeting, made.loss(), made.quickest(), seconds))


class Team:
    """A contender's processes."""

    def __init__(self, kind: str, count: int) -> None:
        key, port = secrets.token_hex(16), 29_500 + os.getpid() % 500
        with Listener(authkey=key.encode()) as listening:
            command = [sys.executable, "-m", "bench.ranks", "--worker", kind, str(listening.address), str(count)]
            own = {"BENCH_KEY": key, "OMP_NUM_THREADS": "1"}
            if kind == "ranks":
                command = [str(Path(sys.executable).parent / "mpirun"), "-n", str(count), *command]
                self.started = [subprocess.Popen(command, env=os.environ | own)]
            else:
                own |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
                self.started = [
                    subprocess.Popen(command, env=os.environ | own | {"RANK": str(rank)}) for rank in range(count)
                ]
            met: list[Connection[Any, Any]] = [listening.accept() for _ in range(count)]
        numbered = {one.recv(): one for one in met}
        self.connections = [numbered[number] for number in range(count)]

    def train(self, epochs: int) -> tuple[float, list[tuple[float, float, float, float]]]:
        """Seconds of the wall, of the slower, and of each process: its work, that at meetings, the last loss, the
        quickest meeting."""
        for one in self.connections:
            one.send(epochs)
        found = [one.recv() for one in self.connections]
        return max(own[-1] for own in found), [own[:-1] for own in found]

    def end(self) -> None:
        for one in self.connections:
            one.send(0)
        for process in self.started:
            process.wait(60)


def measured(rounds: int, epochs: int) -> list[list[str]]:
    kinds = {"one process": ("one", 1), "2 ranks of MPI": ("ranks", 2)}
    if find_spec("torch"):
        kinds |= {"PyTorch, one process": ("DDP", 1), "PyTorch DDP, 2 processes": ("DDP", 2)}
    steps = WORKLOAD.steps * epochs
    taken: dict[str, list[tuple[float, list[tuple[float, float, float, float]]]]] = {name: [] for name in kinds}
    teams = dict[str, Team]()
    for name, (kind, count) in kinds.items():
        teams[name] = Team(kind, count)
    for team in teams.values():
        team.train(1)  # compiles, and warms up
    names = list(teams)
    for number in range(rounds):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            taken[name].append(teams[name].train(epochs))
    for team in teams.values():
        team.end()
    rows: list[list[str]] = []
    for name, (kind, _) in kinds.items():
        base = taken["one process" if kind != "DDP" else "PyTorch, one process"]
        wall = median(seconds for seconds, _ in taken[name])
        ratio = median(one / own for (one, _), (own, _) in zip(base, taken[name], strict=True))
        share = median(sum(work for work, *_ in each) / seconds / 2 for seconds, each in taken[name])
        own = min(max(work - meeting for work, meeting, *_ in each) for _, each in taken[name]) / steps
        alone = min(max(work - meeting for work, meeting, *_ in each) for _, each in base) / steps
        meeting = min(each[0][3] for _, each in taken[name])
        loss = np.mean([one[2] for one in taken[name][-1][1]])
        quiet = times(alone / (own + meeting)) if kind == "ranks" else ""
        rows.append([
            name, f"{WORKLOAD.batch * steps / wall:,.0f}", times(ratio), f"{100 * share:.0f}", f"{1e3 * own:.1f}",
            f"{1e6 * meeting:.0f}" if kind == "ranks" else "", quiet, f"{loss:.6f}",
        ])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        kind, path, count = options.worker
        worker(kind, path, int(count))
        raise SystemExit
    rows = measured(5 if options.quick else 15, 2 if options.quick else 5)
    header = [
        f"LeNet, {WORKLOAD.batch} in a batch", "samples/s", "times one", "of 2 CPUs, %", "work, ms a step",
        "meeting, µs", "times one, idle", "loss",
    ]
    print(markdown(header, rows))
    load, count = os.getloadavg()[0], os.cpu_count()
    print(f"\nThe load of this machine was {load:.1f} on {count} processors; the goal is {GOAL}×.")


if __name__ == "__main__":
    main()
