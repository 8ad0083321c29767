"""The figures in docs/benchmarks.json, one entry a part, and the page and the plot that are made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.compare import Comparison
from bench.plot import svg
from bench.table import markdown, times
from bench.workloads import WORKLOADS

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True)
class Measured:
    """What a part printed; the commit, the machine and the peers' versions it was measured with; and for a workload its
    comparison, of which the summary and the plot are made."""

    text: str
    commit: str
    machine: str
    peers: str
    comparison: Comparison | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Measured:
        found = entry.pop("comparison")
        return cls(**entry, comparison=Comparison(**found) if found else None)


def read() -> dict[str, Measured]:
    path = DOCS / "benchmarks.json"
    if not path.exists():
        return {}
    return {name: Measured.of(entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}


def write(parts: Mapping[str, Measured], headings: Mapping[str, str]) -> None:
    """The three files: each part stands under its heading, or where that is empty on from the part before."""
    entries = {name: asdict(part) for name, part in parts.items()}
    contents = {
        "benchmarks.json": json.dumps(entries, indent=1, ensure_ascii=False) + "\n",
        "benchmarks.md": page(parts, headings),
        "benchmarks.svg": svg([part.comparison for part in parts.values() if part.comparison]),
    }
    for name, content in contents.items():
        (DOCS / name).write_text(content, encoding="utf-8")


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


def page(parts: Mapping[str, Measured], headings: Mapping[str, str]) -> str:
    """What most parts were measured with stands at the top, and what differs from that below the heading of a part."""
    usual = {
        field: Counter(getattr(part, field) for part in parts.values()).most_common(1)[0][0]
        for field in ("commit", "machine", "peers")
    }
    head = ["# Benchmarks", "", "Written by `make bench`. Ratios carry to other machines; absolute figures do not.", ""]
    head += [f"Machine: {usual['machine']}.", "", f"Peers: {usual['peers']}.", "", METHOD]
    head += [f"Measured at commit {usual['commit']}, but for the parts that name another.", ""]
    head += ["![Training speed beside PyTorch eager](benchmarks.svg)", ""]
    head += [summary([part.comparison for part in parts.values() if part.comparison]), ""]
    for name, part in parts.items():
        other = [f"{field} {getattr(part, field)}" for field in usual if getattr(part, field) != usual[field]]
        head += [f"## {headings[name]}", ""] if headings[name] else []
        head += [f"*Measured with {'; '.join(other)}.*", ""] if other else []
        head += [part.text, ""]
    return "\n".join(head)


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
