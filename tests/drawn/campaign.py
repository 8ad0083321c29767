"""Many drawn programs, in one process, by ranges of seeds: `python -m tests.drawn.campaign --from 0 --to 20000`.

Results are appended to build/drawn/*.jsonl, one line a program, so that a run that was ended goes on where it was. A
program that fails is made smaller and printed.
"""

from __future__ import annotations

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

os.environ.setdefault("CHAINRULE_CACHE", "build/drawn/cache")

import argparse  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

from tests.drawn.grammar import program  # noqa: E402
from tests.drawn.judge import CONSUMERS, QUICK, judged  # noqa: E402
from tests.drawn.language import Program  # noqa: E402
from tests.drawn.minimise import smallest  # noqa: E402
from tests.drawn.subject import Fault  # noqa: E402

Row = dict[str, Any]
WITH_JAX = 10  # JAX takes a second or more, so that one program in so many goes through it too


def row_of(seed: int, names: Sequence[str]) -> Row:
    start = process_time()
    if tuple(names) == QUICK and seed % WITH_JAX == 0:
        names = (*names, "jax")
    verdict = judged(program(seed), names)
    return {
        "seed": seed, "faults": [[f.consumer, f.kind, f.detail] for f in verdict.faults], "refused": verdict.refused,
        "skipped": verdict.skipped, "notes": verdict.notes, "seconds": round(process_time() - start, 3),
    }


def made_small(seed: int, consumer: str, kind: str) -> Program:
    """The smallest program found that has this fault, or is refused for this reason."""
    names = [name for name in CONSUMERS if consumer.startswith(name)]
    if kind in ("slow", "hangs"):
        return program(seed)

    def still(candidate: Program) -> bool:
        try:
            found = judged(candidate, names, 10)
            if any((f.consumer, f.kind) == (consumer, kind) for f in found.faults):
                return True
            return general(found.refused.get(consumer, "")) == kind
        except (AssertionError, IndexError, KeyError, ValueError, StopIteration):
            return False  # a candidate that means nothing

    return smallest(program(seed), still)


def general(reason: str) -> str:
    """A reason without the names and numbers of one program."""
    reason = re.sub(r"\d+", "#", reason)
    return re.sub(r"(drawn#\.)[\w·]+|input#?", "…", reason)


def summary(rows: Iterable[Row]) -> str:
    faults, refused, notes, skipped = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seconds, count = 0.0, 0
    for row in rows:
        count, seconds = count + 1, seconds + row["seconds"]
        faults.update({f"{c}: {k}" for c, k, _ in row["faults"]})
        refused.update(f"{c}: {general(r)}" for c, r in row["refused"].items())
        skipped.update(row["skipped"])
        notes.update(row["notes"])
    lines = [f"{count} programs, {seconds:.0f} s, {seconds / max(count, 1):.3f} s each"]
    fallbacks = sum(n for what, n in refused.items() if what.startswith("loops: CompileError"))
    lines.append(f"NumPy runs {fallbacks} of them, {100 * fallbacks / max(count, 1):.1f} %")
    if notes["lemmas"]:
        share = 1 - notes["lemmas without a form"] / notes["lemmas"]
        lines.append(f"{100 * share:.1f} % of {notes['lemmas']} small lemmas have a concise form")
    for title, found in (("faults", faults), ("refused", refused), ("skipped", skipped)):
        lines += [f"{title}:", *(f"  {n:6d}  {what}" for what, n in found.most_common())] if found else []
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drawn.campaign", description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", dest="last", type=int, default=2000)
    parser.add_argument("--all", action="store_true", help="through all consumers")
    parser.add_argument("--through", default="", help="these consumers, by name")
    parser.add_argument("--again", default="", help="only these seeds, or those that failed in this file")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--small", type=int, default=2, help="how many faults of a kind are made smaller")
    parser.add_argument("--refused", type=int, default=0, help="how many refusals of a reason are made smaller")
    parser.add_argument("--show", type=int, help="print a program")
    options = parser.parse_args(arguments)
    if options.show is not None:
        print(program(options.show))
        return 0
    names = options.through.split(",") if options.through else [*CONSUMERS] if options.all else [*QUICK]
    path = Path("build/drawn") / f"{'all' if options.all else '-'.join(names)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[int, Row] = {}
    if path.exists() and not options.fresh:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["seed"]] = row
    elif options.fresh:
        path.unlink(missing_ok=True)
    seeds: Iterable[int] = range(options.first, options.last)
    if options.again == "failed":
        seeds = [seed for seed, row in rows.items() if row["faults"]]
    elif options.again:
        seeds = [int(seed) for seed in options.again.split(",")]
    chosen = list(seeds)
    seen = Counter[tuple[str, str]]()
    with path.open("a", encoding="utf-8") as file:
        for seed in chosen:
            if seed in rows and not options.again:
                continue
            row = rows[seed] = row_of(seed, names)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            for consumer, kind, detail in row["faults"]:
                seen[consumer, kind] += 1
                print(f"seed {seed}: {Fault(consumer, kind, detail)}")
                if seen[consumer, kind] <= options.small:
                    print(f"  smallest:\n{made_small(seed, consumer, kind)}")
            for consumer, why in row["refused"].items():
                kind = general(why)
                seen[consumer, kind] += 1
                if seen[consumer, kind] <= options.refused:
                    print(f"seed {seed}: refused by {consumer}: {kind}")
                    print(f"  smallest:\n{made_small(seed, consumer, kind)}")
            sys.stdout.flush()
    print(summary(rows[seed] for seed in chosen if seed in rows))
    return 1 if any(rows[seed]["faults"] for seed in chosen if seed in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
