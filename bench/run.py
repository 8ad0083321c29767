"""All benchmarks, each in a process of its own; what they print makes docs/benchmarks.md.

    python -m bench.run                     # everything: the better part of an hour; writes docs/benchmarks.md and .svg
    python -m bench.run W1 inference --quick
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.compare import Comparison
from bench.machine import described
from bench.plot import svg
from bench.table import markdown, times
from bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
FIGURES = Path("build") / "bench"  # below ROOT
PEERS = ("numpy", "torch", "jax", "jaxlib", "optax", "scikit-learn", "onnxruntime")


@dataclass(frozen=True)
class Part:
    """A command, and the heading over what it prints. It is given --quick where it knows that, and where to write its
    figures if they make the summary and the plot."""

    heading: str
    module: str
    arguments: tuple[str, ...] = ()
    knows_quick: bool = True

    def command(self, quick: bool) -> list[str]:
        more = ["--quick"] if quick and self.knows_quick else []
        if self.module == "compare":
            more += ["--json", str(figures(self.arguments[0], quick))]
        return [sys.executable, "-m", f"bench.{self.module}", *self.arguments, *more]


def figures(workload: str, quick: bool) -> Path:
    return FIGURES / ("quick" if quick else "full") / f"{workload}.json"


PARTS: dict[str, Part] = {
    **{
        name: Part("" if number else "Training", "compare", (name,))
        for number, name in enumerate(WORKLOADS)
    },
    "inference": Part("Inference, one thread", "inference", ("--threads", "1")),
    "inference-2": Part("Inference, two threads", "inference", ("--threads", "2")),
    "cold": Part("Whole processes", "cold", knows_quick=False),
    "fashion": Part("Fashion-MNIST", "fashion"),
    "stages": Part("From a declaration to native code", "stages", knows_quick=False),
    "random": Part("Networks drawn at random", "random_models"),
    "scaling": Part("How cost grows", "scaling"),
    "derive": Part("Deriving", "derive", knows_quick=False),
}


def run(part: Part, quick: bool) -> str:
    """What a part prints, shown as it comes; where it fails, that too."""
    lines: list[str] = []
    with subprocess.Popen(part.command(quick), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        lines.append(f"\n**`{' '.join(['python', *part.command(quick)[1:]])}` ended with {process.returncode}.**\n")
        print(lines[-1])
    return "".join(lines).rstrip()


def versions() -> str:
    found: list[str] = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is missing")
    return ", ".join(found)


def comparisons(quick: bool) -> list[Comparison]:
    """Those that the last runs of the workloads left."""
    paths = [ROOT / figures(name, quick) for name in WORKLOADS]
    return [Comparison(**json.loads(path.read_text())) for path in paths if path.exists()]


def summary(results: list[Comparison]) -> str:
    rows: list[list[str]] = []
    for result in results:
        workload, best = WORKLOADS[result.workload], result.best_peer()
        if "chainrule" not in result.rates or best is None:
            continue
        share = result.median("chainrule") * workload.flops() / 1e9 / result.fma
        apart = max(result.differences.values(), default=0.0)
        ratios = [times(ratio) if (ratio := result.ratio(n)) else "" for n in ("PyTorch eager", best)]
        rate = f"{result.median('chainrule'):,.0f}"
        row = [f"{workload.name} {workload.title}, batch {workload.batch}", str(result.threads), rate, f"{share:.0%}"]
        row += [ratios[0], f"{ratios[1]} ({best})", f"{apart:.0e}"]
        rows.append(row)
    header = ["training", "threads", "samples/s", "of FMA peak", "to PyTorch eager", "to the best peer", "losses"]
    return markdown(header, rows)


METHOD = """\
All contenders of a table run in one process, in rounds in which each takes its turn; figures are medians of rounds, and
the spread is half the distance between the quartiles. They start from the same initial values, see the same batches and
have the same number of threads; where that is fewer than the machine's cores, the process is held on as many cores.
*Losses*: the largest relative difference of a loss from chainrule's over the first steps. Operations are those that
training needs (forward, gradients of the weights, and of the inputs of all layers but the first), a product and its
sum counting as two (convolutions may do with fewer, and pass the peak); the FMA peak is measured in registers, on as
many cores as there are threads. chainrule is timed through `fit`, which checks the data, shuffles and gathers; its
peers are given batches that lie ready, PyTorch and JAX as their own tensors.
"""


def page(sections: dict[str, str], quick: bool) -> str:
    head = ["# Benchmarks", "", "Written by `make bench`. Ratios carry to other machines; absolute figures do not.", ""]
    head += [f"Machine: {described()}.", "", f"Peers: {versions()}.", "", METHOD]
    head += ["The rounds of this run were short (`--quick`).", ""] if quick else []
    head += ["![Training speed beside PyTorch eager](benchmarks.svg)", "", summary(comparisons(quick)), ""]
    for name, text in sections.items():
        head += ([f"## {PARTS[name].heading}", ""] if PARTS[name].heading else []) + [text, ""]
    return "\n".join(head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="short rounds; nothing is written to docs/")
    parser.add_argument("--write", action="store_true", help="with --quick: write docs/ all the same")
    options = parser.parse_args()
    names: list[str] = options.parts or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}")
    for kind in ("quick", "full"):
        (ROOT / FIGURES / kind).mkdir(parents=True, exist_ok=True)
    print(f"{described()}\n{versions()}\n")
    sections: dict[str, str] = {}
    for name in names:
        print(f"== {name}: {' '.join(['python', *PARTS[name].command(options.quick)[1:]])}\n", flush=True)
        sections[name] = run(PARTS[name], options.quick)
        print()
        if not options.quick:
            (ROOT / FIGURES / f"{name}.md").write_text(sections[name], encoding="utf-8")
    if options.quick and not options.write:
        print(summary([result for result in comparisons(True) if result.workload in names]))
        return
    kept = sections
    if not options.quick:
        kept = {name: path.read_text() for name in PARTS if (path := ROOT / FIGURES / f"{name}.md").exists()}
    (ROOT / "docs" / "benchmarks.md").write_text(page(kept, options.quick), encoding="utf-8")
    (ROOT / "docs" / "benchmarks.svg").write_text(svg(comparisons(options.quick)), encoding="utf-8")
    print("written: docs/benchmarks.md and docs/benchmarks.svg")


if __name__ == "__main__":
    main()
