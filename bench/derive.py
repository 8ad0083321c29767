"""How long it takes to derive a back-propagation with its checks, and how much of it a reader must read.

The checks are those of `chainrule.derive.check`: every line of every kind of lemma at one point, and the whole
gradient. What is derived again finds them done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

from bench.table import duration, markdown
from chainrule import read_model
from chainrule.derive import derive_program
from chainrule.derive.adjoint import backward_pass
from chainrule.derive.check import KNOWN
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program, reads

BATCH, WIDTH, RUNS = 32, 64, 5


def network(depth: int) -> Program:
    """`depth` dense sigmoid layers of one width, under the mean over samples of half the squared error."""
    lines: list[str] = []
    for i in range(1, depth + 1):
        lines.append(f"u{i}[n<{BATCH}, k<{WIDTH}] = sum[j<{WIDTH}](W{i}[k, j] * z{i - 1}[n, j]) + b{i}[k]")
        lines.append(f"z{i}[n<{BATCH}, k<{WIDTH}] = sigmoid(u{i}[n, k])")
    lines.append(f"loss = mean[n<{BATCH}](1/2 * sum[k<{WIDTH}]((z{depth}[n, k] - t[n, k])**2))")
    equations = tuple(parse_program("\n".join(lines)))
    defined = {equation.tensor for equation in equations}
    given = [tensor for tensor in reads(equations) if tensor not in defined]
    parameters = tuple(tensor for tensor in given if tensor.name[0] in "Wb")
    inputs = tuple(tensor for tensor in given if tensor not in parameters)
    return Program(equations, inputs, parameters, outputs=(equations[-1].tensor,))


def timed(run: Callable[[], object], prepare: Callable[[], None] = lambda: None) -> float:
    """The median of some runs after a warm-up, each prepared first."""
    times: list[float] = []
    for _ in range(RUNS + 1):
        prepare()
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times[1:])


def main() -> None:
    programs = {f"{depth} sigmoid layers": network(depth) for depth in (1, 3, 10, 50)}
    programs |= {name: read_model(name).network.training for name in ("lenet", "resnet-tiny")}
    rows: list[list[str]] = []
    for name, program in programs.items():
        loss, parameters = next(t for t in program.outputs if not t.shape), program.parameters
        alone = timed(lambda p=program, y=loss, w=parameters: backward_pass(p, y, w))
        derive = partial(derive_program, program, loss, parameters)
        derivation, checked = derive(), timed(derive, KNOWN.clear)
        steps = sum(len(lemma.all_steps) for lemma in derivation.lemmas)
        times = map(duration, (alone, checked, timed(derive)))
        rows.append([name, *times, str(len(derivation.lemmas)), f"{steps:,}"])
    print(f"Sigmoid networks of width {WIDTH}, and built-in models; the median of {RUNS} runs after a warm-up.\n")
    print(markdown(["network", "without checks", "with checks", "again", "lemmas", "steps"], rows))


if __name__ == "__main__":
    main()
