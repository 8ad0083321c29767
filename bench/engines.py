"""A training step under JAX, ours and one written by hand, by turns in one process.

    python -m bench.engines                        # an MLP and LeNet, 64 and 1024 samples in a batch
    python -m bench.engines --quick --cpu          # short rounds; the process's own work, on a busy machine

Both have their batches ready on the device, and a loop of Python around one compiled call a step, which gives the loss
and how many are right. By hand is the network of `bench/xla.py`, differentiated by JAX.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from bench.compare import difference
from bench.ours import labels_of, model_of, rule_of
from bench.rounds import CLOCKS, Work, interleaved
from bench.table import markdown, times
from bench.workloads import WORKLOADS, Data, Workload

SIZES = 64, 1024
NAMES = "W2", "W3"
TOLERANCE = 1e-4  # relative, of a loss
RATIO = 0.95  # of the step by hand, at least


class Derived:
    """The derived step, as `fit(executor="jax")` compiles it."""

    def __init__(self, workload: Workload, data: Data) -> None:
        import jax
        import numpy as np

        from chainrule.compile import training
        from chainrule.targets.jax import Step

        self.wait = jax.block_until_ready
        self.model = model_of(workload)
        rule = rule_of(workload)
        task = training(self.model.network, self.model.derive(), rule, labels_of(workload))
        self.step = Step(task, np.dtype(np.float32), 1)
        start = {**self.model.parameters, **rule.start(self.model.network.training.parameters, np.dtype(np.float32))}
        self.kept = {t: start[t.name] for t in self.step.lasting}
        rates, classes = [np.float32(workload.rate)] * len(task.stepwise), np.eye(workload.outputs, dtype=np.float32)
        target = self.model.network.target
        with self.step.wide():
            self.batches = [
                self.step.arguments((), {t: z if t == target else x for t in task.data}, rates, 0, 0, len(z))[1:]
                for x, z in ((x, classes[y]) for x, y in data.batches(workload.batch))
            ]
        self.reset()

    def reset(self) -> None:
        with self.step.wide():
            self.state: Any = self.step.put(self.kept)

    def train(self, epochs: int) -> Sequence[float]:
        outputs: list[Any] = []
        with self.step.wide():
            for _ in range(epochs):
                for batch in self.batches:
                    self.state, found = self.step.jitted(self.state, *batch)
                    outputs.append(found[0])
            self.wait(self.state)
            return [] if epochs > 1 else [float(loss) for loss in outputs]


def measured(workload: Workload, seconds: float, rounds: int, clock: str) -> tuple[float, float, float, float]:
    """Samples a second of ours and of the step by hand, how many times as fast ours is, by the median of the rounds in
    which each took its turn, and how far the losses are apart."""
    import jax
    from jax import numpy as jnp

    from bench.xla import JaxSteps, forward, optax

    class ByHand(JaxSteps):
        def step(self, state: Any, x: Any, y: Any) -> Any:
            def loss(parameters: Any) -> Any:
                out = forward(workload, parameters, x)
                return optax.softmax_cross_entropy_with_integer_labels(out, y).mean(), (out.argmax(-1) == y).sum()

            parameters, kept = state
            found, gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
            updates, kept = self.rule.update(gradients, kept, parameters)
            return (jax.tree.map(jnp.add, parameters, updates), kept), found

        def losses(self, data: Data) -> Sequence[float]:
            self.reset()
            result: list[float] = []
            for batch in self.batches:
                self.state, (loss, _) = self.compiled(self.state, *batch)
                result.append(float(loss))
            return result

    data = workload.data()
    derived, by_hand = Derived(workload, data), ByHand(workload, data, 1)
    apart = difference(derived.train(1), by_hand.losses(data))
    works = {"derived": Work(derived.train, derived.reset), "by hand": Work(by_hand.train, by_hand.reset)}
    taken = interleaved(works, seconds=seconds, rounds=rounds, now=CLOCKS[clock])
    ratios = [theirs / ours for ours, theirs in zip(taken["derived"], taken["by hand"], strict=True)]
    ours, theirs = (workload.samples / median(taken[name]) for name in works)
    return ours, theirs, median(ratios), apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--cpu", action="store_true", help="time the process's own work, on one thread")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    if options.cpu:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    seconds, rounds, clock = 0.2 if options.quick else 1.0, 5 if options.quick else 15, "cpu" if options.cpu else "wall"
    rows: list[list[str]] = []
    faults: list[str] = []
    for name in NAMES:
        for size in SIZES:
            workload = replace(WORKLOADS[name], batch=size, steps=max(1, 1024 // size))
            ours, theirs, ratio, apart = measured(workload, seconds, rounds, clock)
            title = f"{workload.title}, {size} in a batch"
            rows.append([title, f"{ours:,.0f}", f"{theirs:,.0f}", times(ratio), f"{apart:.0e}"])
            faults += [f"{title}: the losses differ by {apart:.1e}"] if not apart <= TOLERANCE else []
            faults += [f"{title}: {ratio:.2f} times the step by hand"] if not ratio >= RATIO else []
    print(markdown(["samples/s", "derived", "by hand", "derived is", "losses"], rows))
    print("".join(f"\n- **{fault}**" for fault in faults))
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
