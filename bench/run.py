"""All benchmarks, each in a process of its own; what they print makes docs/benchmarks.md.

    python -m bench.run                     # everything: the better part of an hour
    python -m bench.run W1 inference        # these anew; the page keeps what it has of the others
    python -m bench.run W1 --quick          # short rounds, and nothing is written
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.compare import Comparison
from bench.machine import described
from bench.page import Measured, read, summary, write
from bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("numpy", "torch", "jax", "jaxlib", "optax", "scikit-learn", "onnxruntime")


@dataclass(frozen=True)
class Part:
    """A command, and the heading over what it prints. It is given --quick where it knows that."""

    heading: str
    module: str
    arguments: tuple[str, ...] = ()
    knows_quick: bool = True

    def command(self, quick: bool) -> list[str]:
        more = ["--quick"] if quick and self.knows_quick else []
        return [sys.executable, "-m", f"bench.{self.module}", *self.arguments, *more]


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
    "engines": Part("A step under JAX, derived and by hand", "engines"),
    "derive": Part("Deriving", "derive", knows_quick=False),
    "together": Part("Many small models", "several", ("together",), knows_quick=False),
    "search": Part("A grid search", "several", ("search",), knows_quick=False),
}


def run(part: Part, quick: bool) -> tuple[str, Comparison | None]:
    """What a part prints, shown as it comes, and where it fails that too; and its figures, where it compares."""
    lines: list[str] = []
    with TemporaryDirectory() as folder:
        command, figures = part.command(quick), Path(folder) / "figures.json"
        more = ["--json", str(figures)] if part.module == "compare" else []
        with subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        found = Comparison(**json.loads(figures.read_text())) if figures.exists() else None
    if process.returncode:
        lines.append(f"\n**`{' '.join(['python', *command[1:]])}` ended with {process.returncode}.**\n")
        print(lines[-1])
    return "".join(lines).rstrip(), found


def versions() -> str:
    found: list[str] = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is missing")
    return ", ".join(found)


def commit() -> str:
    """The commit that is measured, with a + where the code differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+"], cwd=ROOT, capture_output=True, text=True
    )
    return said.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="short rounds; nothing is written to docs/")
    options = parser.parse_args()
    names: list[str] = options.parts or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}")
    state = commit(), described(), versions()
    print("\n".join(state), end="\n\n")
    measured: dict[str, Measured] = {}
    for name in names:
        print(f"== {name}: {' '.join(['python', *PARTS[name].command(options.quick)[1:]])}\n", flush=True)
        text, comparison = run(PARTS[name], options.quick)
        measured[name] = Measured(text, *state, comparison)
        print()
        if not options.quick:  # after each part, so that Ctrl-C loses but the one at work
            every = {**read(), **measured}
            write({n: every[n] for n in PARTS if n in every}, {n: p.heading for n, p in PARTS.items()})
    if options.quick:
        print(summary([part.comparison for part in measured.values() if part.comparison]))
    else:
        print("written: docs/benchmarks.json, .md and .svg")


if __name__ == "__main__":
    main()
