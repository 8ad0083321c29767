"""How much of what is derived is proved: `python -m tests.proof.campaign models layers losses cases steps`, and of
drawn programs `python -m tests.proof.campaign --from 700000 --to 700200`.

Results are appended to build/proof/*.jsonl, one line a derivation, so that a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from chainrule.derive import Derivation
from chainrule.errors import ChainruleError
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.train.alone import alone
from chainrule.train.models import BUILT_IN, read_model
from chainrule.verify.claims import Claim, claims, of_programs
from chainrule.verify.proof import Proved, coqc, proved
from chainrule.verify.steps import step_check
from tests.derive.cases import CASES
from tests.drawn.grammar import program
from tests.drawn.subject import subject
from tests.nn.test_every_layer import model_with
from tests.verify.test_steps import PAIRS
from tests.verify.test_steps import RULES as OPTIMIZERS

Row = dict[str, Any]
Made = Callable[[str], Iterator[Claim]]


def _loss(name: str) -> Derivation:
    model = alone(name)
    assert model is not None
    return model.derive()


SUBJECTS: Mapping[str, tuple[Iterable[str], Made, int]] = {
    "models": (BUILT_IN, lambda name: claims(read_model(name).derive()), 8),
    "layers": (LAYERS, lambda name: claims(model_with(name).derive()), 8),
    "losses": (LOSSES, lambda name: claims(_loss(name)), 9),
    "cases": (CASES, lambda name: claims(CASES[name].derivation), 8),
    "steps": (OPTIMIZERS, lambda name: of_programs(step_check(OPTIMIZERS[name], PAIRS)), 16),
}
"""Names, what each is, and how many go to Coq in one file, where what is the same but for its names is proved once."""


def drawn(seed: str) -> Iterator[Claim]:
    return claims(subject(program(int(seed))).derivation)


def rows_of(made: Mapping[str, Iterable[Claim]]) -> list[Row]:
    """Of claims that go to Coq in one file; its seconds stand with the first. Lines are counted by what they are: the
    pieces of lemmas, composites, folds and steps, and concise forms."""
    before = getrusage(RUSAGE_CHILDREN)
    every = [(name, claim) for name, own in made.items() for claim in own]
    _, found, axioms = proved([claim for _, claim in every])
    after = getrusage(RUSAGE_CHILDREN)
    seconds = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    rows: list[Row] = []
    for name in made:
        row: Row = {"name": name, "axioms": axioms, "open": [], "seconds": 0 if rows else seconds}
        for what, form in (("pieces", False), ("forms", True)):
            pairs = zip(every, found, strict=True)
            own = [one for (owner, claim), one in pairs if owner == name and _is_form(claim) == form]
            row[what] = _counted(own)
            row["open"] += [[what, str(one.what), one.reason] for one in own if one.reason]
        rows.append(row)
    return rows


def _is_form(claim: Claim) -> bool:
    return claim.rows[-1].rule == "form"


def _counted(own: Sequence[Proved]) -> dict[str, int]:
    levels = Counter(one.level for one in own if not one.reason)
    return {"all": len(own), "proved": sum(levels.values()), "every extent": levels[0], "tied": levels[1]}


def summary(title: str, rows: Sequence[Row]) -> str:
    derived = [row for row in rows if "refused" not in row]
    lines = [f"{title}: {len(derived)} derivations, {sum(row['seconds'] for row in derived):.0f} s of coqc"]
    for what in ("pieces", "forms"):
        total = sum((Counter(row[what]) for row in derived), Counter[str]())
        lines.append(
            f"  {what}: {total['all']}, proved {total['proved']}, for every extent that is no number of the layer "
            f"{total['every extent'] + total['tied']}, of which with shapes tied {total['tied']}"
        )
    reasons = Counter(f"{what}: {reason}" for row in derived for what, _, reason in row["open"])
    lines += [f"  open {n:4d}  {reason}" for reason, n in reasons.most_common()]
    whole = sum(not row["open"] for row in derived)
    lines.append(f"  derivations in which every line is proved: {whole}")
    lines += [f"  axioms: {sorted(found)}" for found in ({a for row in derived for a in row["axioms"]},) if found]
    return "\n".join(lines)


def results(title: str, names: Iterable[str], made: Made, together: int) -> Iterator[Row]:
    """Those that are known, and then the others, which are kept."""
    path = Path("build/proof") / f"{title}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known: dict[str, Row] = {row["name"]: row for row in map(json.loads, lines)}
    names = [*names]
    yield from (known[name] for name in names if name in known)
    new = [name for name in names if name not in known]
    for some in (new[k : k + together] for k in range(0, len(new), together)):
        rows: list[Row] = []
        subjects: dict[str, Iterator[Claim]] = {}
        for name in some:
            try:
                subjects[name] = made(name)
            except ChainruleError as error:  # what cannot be derived says why
                rows.append({"name": name, "refused": error.problem})
        rows += rows_of(subjects)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        yield from rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.campaign", description=__doc__)
    parser.add_argument("subjects", nargs="*", help=f"which lines are counted, of {', '.join(SUBJECTS)}")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", dest="last", type=int, default=0)
    options = parser.parse_args(arguments)
    if coqc() is None:
        parser.error("install coqc")
    if unknown := {*options.subjects} - {*SUBJECTS}:
        parser.error(f"no subjects: {', '.join(sorted(unknown))}")
    for title in options.subjects:
        names, made, together = SUBJECTS[title]
        print(summary(title, [*results(title, names, made, together)]), flush=True)
    if seeds := [str(seed) for seed in range(options.first, options.last)]:
        print(summary("drawn", [*results("drawn", seeds, drawn, 1)]))


if __name__ == "__main__":
    main()
