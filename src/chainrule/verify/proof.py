"""The third tier: lines proved by Coq, where it is installed, for all values and for the extents that are variables."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
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
from chainrule.verify.session import Session
from chainrule.verify.theorem import Part, Theorem

MISSING = "not proved: Coq is not installed; `apt install coq` brings it, and every check above stands without it"
ALLOWED: frozenset[str] = frozenset()
"""The axioms that a proof may rest on: none."""


@dataclass(frozen=True)
class Proved:
    """The lines at these places of a subject as one theorem, and what it stands on: (kind, name), where a kind is one
    of those that the certificate words. `numbers` are the indices whose extents stay numbers, no more than strides and
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
    return which("coqc") if which("coqtop") else None


def started() -> Session | None:
    """Coq, which reads the rules while other work goes on; None where it is not installed."""
    return Session(theorems()) if coqc() else None


def prove(
    derivation: Derivation, keep: str | PathLike[str] | None = None, more: Iterable[Claim] = (),
    coq: Session | None = None,
) -> Proof | None:
    """Prove every line that can be, and `more` claims with them; None where Coq is not installed. What Coq accepted is
    written to `keep`. Raises VerificationError where that rests on an axiom that is not allowed."""
    program = coqc()
    if program is None:
        return None
    start = perf_counter()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\S+)", version)
    text, theorems, axioms = proved([*claims(derivation), *more], coq)
    if not ALLOWED.issuperset(axioms):
        raise VerificationError("the proof", "what it rests on", ", ".join(axioms), "the axioms that are allowed")
    if keep is not None:
        Path(keep).write_text(text, encoding="utf-8")
    return Proof(found[1] if found else "", theorems, axioms, perf_counter() - start)


def proved(
    every: Sequence[Claim], coq: Session | None = None
) -> tuple[str, tuple[Proved, ...], tuple[str, ...]]:
    """The file, what it proves, and its axioms. A claim that Coq refuses is tried with more and more extents as
    numbers, and what stays open is left out. What is the same but for its names is tried once. A session that was
    `started` before is as it was afterwards."""
    known: dict[str, tuple[str, str]] = {}
    sections: list[str] = []
    found: list[Proved] = []
    with nullcontext(coq) if coq else Session(theorems()) as coq:
        if not coq.begun():
            raise VerificationError("the proof", "the rules", "refused by Coq", "accepted")
        with coq.aside():
            for n, claim in enumerate(every):
                one, section = _proved(coq, claim, f"claim_{n}", known)
                found.append(one)
                sections.append(section)
            printed = coq.said(_end(sections))
    if any(sections) and "Closed" not in printed and "Axioms:" not in printed:
        raise VerificationError("the proof", "what it rests on", printed, "what Coq prints of the theorems")
    return document(sections), tuple(found), tuple(sorted(axioms_of(printed)))


def _proved(coq: Session, claim: Claim, name: str, known: dict[str, tuple[str, str]]) -> tuple[Proved, str]:
    """What is proved of a claim, and its section, "" where it stays open. `known` has of each pattern that was tried
    the name of the theorem, and why it was refused, if it was."""
    reason = ""
    for level in claim.levels:
        theorem = Theorem(claim, name, level)
        try:
            parts = [*theorem.parts()]
        except UnprintableError as error:
            reason = str(error)
            break
        pattern = theorem.pattern("".join(part.text for part in parts))
        cited, reason = known.get(pattern, ("", ""))
        if not reason:
            parts = [*theorem.parts(cited)] if cited else parts
            text, reason = _told(coq, theorem, parts)
            known.setdefault(pattern, (name, reason))
            if not reason:
                assumed, numbers = tuple(theorem.assumed), theorem.extents.numbers
                return Proved(claim.what, claim.places, assumed, numbers, level), text
    return Proved(claim.what, claim.places, reason=reason), ""


def _told(coq: Session, theorem: Theorem, parts: Sequence[Part]) -> tuple[str, str]:
    """What Coq takes, each step by the first way that closes it; or why it does not, and knows nothing of it then."""
    opening, *others = parts
    coq.said(opening.said)
    taken = [opening.said]
    for part in others:
        texts = [part.by(way) for way in part.ways] or [part.said]
        text = next((text for text in texts if coq.accepts(text)), "")
        if not text:
            coq.said(f"Reset {theorem.name}_section.")
            return "", f"Coq does not close the step {part.rule}" if part.rule else "Coq refuses what is given"
        taken.append(text)
    return "".join(taken), ""


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


def document(sections: Sequence[str]) -> str:
    """A file that is complete in itself: the rules, the sections, and a question for what all of it rests on."""
    return f"{theorems()}\n{''.join(sections)}{_end(sections)}"


def _end(sections: Sequence[str]) -> str:
    names = re.findall(r"^Theorem (claim_\d+) :", "".join(sections), re.MULTILINE)
    every = "".join(f"let _ := {name} in " for name in names)
    return "End Chainrule.\n" + (f"Definition claims := {every}I.\nPrint Assumptions claims.\n" if names else "")


def axioms_of(printed: str) -> frozenset[str]:
    """The names that `Print Assumptions` prints: each begins a line, what it says is set in."""
    return frozenset(re.findall(r"^\S+", printed.partition("Axioms:")[2], re.MULTILINE)) - {"Axioms:", "Closed"}


def compiled(text: str, program: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "proof.v")
        path.write_text(text, encoding="utf-8")
        return subprocess.run([program, "-q", path.name], cwd=folder, capture_output=True, text=True, check=False)
