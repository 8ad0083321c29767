"""How long `chainrule derive lenet -o FILE` takes from a cold start, as a whole process, for every format."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

RUNS = 5
LIMITS = {"html": 1.5, "pdf": 4.0, "tex": 1.5, "md": 1.5, "txt": 1.5}
"""In seconds: what each is to stay under."""


def seconds(path: Path) -> float:
    start = perf_counter()
    command = [sys.executable, "-m", "chainrule.cli", "derive", "lenet", "-o", str(path)]
    subprocess.run(command, check=True)
    return perf_counter() - start


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}; median of {RUNS} runs after a warm-up")
    print("format  seconds  limit  bytes")
    with TemporaryDirectory() as folder:
        for suffix, limit in LIMITS.items():
            path = Path(folder) / f"lenet.{suffix}"
            seconds(path)
            taken = median(seconds(path) for _ in range(RUNS))
            print(f"{suffix:>6} {taken:>8.2f} {limit:>6.1f} {path.stat().st_size:>8,}")


if __name__ == "__main__":
    main()
