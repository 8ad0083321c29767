"""The third tier: lines proved by Coq, where it is installed, for all values and for the extents that are variables."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from time import perf_counter

from chainrule.derive import Derivation
from chainrule.derive.subject import Subject
from chainrule.errors import VerificationError
from chainrule.verify.claims import Claim, claims
from chainrule.verify.coq import UnprintableError, theorems
from chainrule.verify.network import REAL_AXIOMS, Network
from chainrule.verify.theorem import Theorem

MISSING = "not proved: Coq is not installed; `apt install coq` brings it, and every check above stands without it"
ALLOWED: frozenset[str] = frozenset()
"""The axioms that a proof may rest on: none."""
SECONDS = 60  # for one step, by the clock: a tactic that runs on counts as one that fails, and others may be at work


@dataclass(frozen=True)
class Proved:
    """The lines at these places of a subject as one theorem, and what it stands on: (kind, name), where a kind is law,
    power, ties, definition or signal. `numbers` are the indices whose extents stay numbers, no more than strides and
    radices count by at `level` 0. With a `reason` it is not proved."""

    what: Subject
    places: tuple[int, ...]
    assumed: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, int], ...] = ()
    level: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Proof:
    """What Coq accepted, the axioms that it printed, and its version."""

    coq: str
    theorems: tuple[Proved, ...]
    axioms: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def proved(self) -> tuple[Proved, ...]:
        return tuple(t for t in self.theorems if not t.reason)

    @property
    def lines(self) -> frozenset[tuple[Subject, int]]:
        """Every line that is proved in all theorems that it stands in, by its place."""
        refused = {(t.what, place) for t in self.theorems if t.reason for place in t.places}
        return frozenset((t.what, place) for t in self.proved for place in t.places) - refused


def coqc() -> str | None:
    return which("coqc")


def prove(derivation: Derivation, keep: str | PathLike[str] | None = None) -> Proof | None:
    """Prove every line that can be; None where Coq is not installed. What Coq accepted is written to `keep`. Raises
    VerificationError where that rests on an axiom that is not allowed."""
    program = coqc()
    if program is None:
        return None
    start = perf_counter()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\S+)", version)
    text, theorems, axioms = proved([*claims(derivation)], program)
    if not ALLOWED.issuperset(axioms):
        raise VerificationError("the proof", "what it rests on", ", ".join(axioms), "the axioms that are allowed")
    if keep is not None:
        Path(keep).write_text(text, encoding="utf-8")
    return Proof(found[1] if found else "", theorems, axioms, perf_counter() - start)


def proved(every: Sequence[Claim], program: str) -> tuple[str, tuple[Proved, ...], tuple[str, ...]]:
    """The file, what it proves, and its axioms. Where Coq refuses a claim, the steps of it and of those after it are
    tried one by one, with more and more extents as numbers, and what stays open is left out."""
    left = [[*claim.levels] for claim in every]
    made: dict[int, Theorem] = {}
    refused: dict[int, str] = {}
    sure: set[int] = set()
    for n in range(len(every)):
        _make(made, refused, n, every[n], left[n].pop(0))
    while True:
        text = document([f"Set Default Timeout {SECONDS}.\n", *_sections([made[n] for n in sorted(made)])])
        where, message = run(text, program)
        if where is None:
            found = tuple(
                _said(claim, made.get(n), refused.get(n, "")) for n, claim in enumerate(every)
            )
            return text, found, tuple(sorted(axioms_of(message)))
        if where[0] in sure:  # each step is closed, and together they are refused
            del made[where[0]]
            refused[where[0]] = _open(where[1])
            continue
        unsure = [n for n in made if n >= where[0]]
        sure |= {*unsure}
        while unsure:
            steps = tried([made[n] for n in unsure], program)
            for n in steps:
                del made[n]
                if left[n]:
                    _make(made, refused, n, every[n], left[n].pop(0))
                else:
                    refused[n] = _open(steps[n])
            unsure = [n for n in steps if n in made]


def tried(theorems: Sequence[Theorem], program: str) -> dict[int, str]:
    """The claims, by number, that have a step which Coq does not close, and the rule of the first of these. What is the
    same but for its names is tried once."""
    found: dict[int, str] = {}
    sections: dict[int, str] = {}
    alike: dict[str, list[int]] = {}
    for theorem in theorems:
        number = int(theorem.name.removeprefix("claim_"))
        own = alike.setdefault(theorem.pattern(theorem.section()), [])
        if not own:
            sections[number] = theorem.attempt(SECONDS)
        own.append(number)
    while sections:
        where, message = run(document([*sections.values()]), program)
        for number, rule in re.findall(r"^open claim_(\d+) (\S+)$", message, re.MULTILINE):
            found.setdefault(int(number), rule)
        if where is None:
            break
        found.setdefault(*where)
        sections = {n: text for n, text in sections.items() if n > where[0]}
    return {n: found[own[0]] for own in alike.values() if own[0] in found for n in own}


def _open(rule: str) -> str:
    return f"Coq does not close the step {rule}" if rule else "Coq refuses what is given"


def _sections(theorems: Iterable[Theorem]) -> Iterator[str]:
    """What is the same but for its names is proved once."""
    known: dict[str, str] = {}
    for theorem in theorems:
        section = theorem.section()
        name = known.setdefault(theorem.pattern(section), theorem.name)
        yield section if name == theorem.name else theorem.section(cited=name)


def _said(claim: Claim, theorem: Theorem | None, reason: str) -> Proved:
    if theorem is None:
        return Proved(claim.what, claim.places, reason=reason)
    assumed, numbers = tuple(theorem.assumed), theorem.extents.numbers
    return Proved(claim.what, claim.places, assumed, numbers, theorem.level)


def prove_gradient(derivation: Derivation, keep: str | PathLike[str] | None = None) -> str | None:
    """Prove that along every direction of the parameters the loss moves as the derived gradient says, over the real
    numbers; "" where Coq accepted it, else the reason, None where Coq is not installed. What Coq accepted is written to
    `keep`. Raises VerificationError where it rests on an axiom that is not allowed."""
    program = coqc()
    if program is None:
        return None
    try:
        network = Network(derivation)
        sections = network.section()
        text = f"{theorems()}\n{theorems('Compose.v')}\n{sections}End Chainrule.\nPrint Assumptions gradient.\n"
        text += f"{theorems('Real.v')}\n{network.over_the_reals()}"
    except UnprintableError as error:
        return str(error)
    done = compiled(text, program)
    if done.returncode:
        return f"Coq refuses it: {done.stderr.strip().splitlines()[-1]}"
    if others := axioms_of(done.stdout) - REAL_AXIOMS:
        raise VerificationError("the gradient", "what it rests on", ", ".join(sorted(others)), "the allowed axioms")
    if keep is not None:
        Path(keep).write_text(text, encoding="utf-8")
    return ""


def _make(
    made: dict[int, Theorem], refused: dict[int, str], n: int, claim: Claim, level: int
) -> None:
    theorem = Theorem(claim, f"claim_{n}", level)
    try:
        theorem.section()
    except UnprintableError as error:
        refused[n] = str(error)
    else:
        made[n] = theorem


def document(sections: Sequence[str]) -> str:
    """A file that is complete in itself: the rules, the sections, and a question for what all of it rests on."""
    names = re.findall(r"^Theorem (claim_\d+) :", "".join(sections), re.MULTILINE)
    every = "".join(f"let _ := {name} in " for name in names)
    asked = f"Definition claims := {every}I.\nPrint Assumptions claims.\n" if names else ""
    return f"{theorems()}\n{''.join(sections)}End Chainrule.\n{asked}"


def axioms_of(printed: str) -> frozenset[str]:
    """The names that `Print Assumptions` prints: each begins a line, what it says is set in."""
    return frozenset(re.findall(r"^\S+", printed.partition("Axioms:")[2], re.MULTILINE)) - {"Axioms:", "Closed"}


def compiled(text: str, program: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "proof.v")
        path.write_text(text, encoding="utf-8")
        return subprocess.run([program, "-q", path.name], cwd=folder, capture_output=True, text=True, check=False)


def run(text: str, program: str) -> tuple[tuple[int, str] | None, str]:
    """What Coq prints; before it, the number of the claim that it refuses, if it does, and the rule of the step."""
    done = compiled(text, program)
    if not done.returncode:
        return None, done.stdout
    line = re.findall(r"line (\d+), characters", done.stderr)
    above = "\n".join(text.split("\n")[: int(line[-1])]) if line else ""
    steps = re.findall(r"^(?:Lemma|Section) claim_(\d+)_\w+(?: : \(\* (\S+) \*\))?", above, re.MULTILINE)
    assert steps, f"Coq refuses the rules: {done.stderr}"
    return (int(steps[-1][0]), steps[-1][1]), done.stdout
