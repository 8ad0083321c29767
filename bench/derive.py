"""How long it takes to derive the back-propagation of sigmoid networks, and how much of it a reader must read."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from bench.table import duration, markdown
from chainrule.derive import derive_program
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


def main() -> None:
    rows: list[list[str]] = []
    for depth in (1, 3, 10, 50):
        program = network(depth)
        derivation = derive_program(program, program.outputs[0], program.parameters)
        times: list[float] = []
        for _ in range(RUNS):
            start = perf_counter()
            derive_program(program, program.outputs[0], program.parameters)
            times.append(perf_counter() - start)
        steps = sum(len(lemma.all_steps) for lemma in derivation.lemmas)
        rows.append([str(depth), duration(median(times)), str(len(derivation.lemmas)), f"{steps:,}"])
    print(f"Sigmoid networks of width {WIDTH}; the median of {RUNS} runs after a warm-up.\n")
    print(markdown(["layers", "to derive", "lemmas", "steps"], rows))


if __name__ == "__main__":
    main()
