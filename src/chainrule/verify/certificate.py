"""The certificate: what was checked, how, at which shapes, with what chance of error, and what it does not say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from hashlib import sha256
from html import escape
from io import StringIO
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from chainrule.derive import Derivation
from chainrule.derive.laws import normal
from chainrule.derive.reduce import RULE
from chainrule.derive.scene import Line as SceneLine
from chainrule.derive.scene import extents_for
from chainrule.derive.subject import ENGLISH, Shapes, Subject
from chainrule.derive.trial import Difference, gradient_differs, line_differs
from chainrule.errors import ChainruleError, CompileError, DataError, VerificationError
from chainrule.ir.program import Program
from chainrule.optim.optimizer import Optimizer
from chainrule.semantics.entries import Selected
from chainrule.semantics.reals import MissingLibraryError, precise
from chainrule.verify.claims import Claim, of_programs
from chainrule.verify.exact import Check, GradientCheck, ProgramCheck, SceneCheck
from chainrule.verify.loops import loops_agree, reduced_step
from chainrule.verify.plan import LEMMA_SAMPLES, MOST_TRIALS, Planned, broken_citation, checks_of, exact_within, planned
from chainrule.verify.proof import MISSING, Proof, Proved, started
from chainrule.verify.proof import prove as proved_by_coq

Tier = Literal["proved", "exact", "exact up to a constant", "evidence", "loops"]
TIERS: tuple[Tier, ...] = ("proved", "exact", "exact up to a constant", "evidence", "loops")
UNBOUNDED: tuple[Tier, ...] = ("proved", "evidence", "loops")
HEADER = ("lemma", "checked")  # of a row for each lemma

MEANING = (
    "exact: both sides were equal at random points of the field GF(2^61 − 1); `bound` limits the chance that a false "
    "line is found equal, the keyed hash behind uninterpreted functions taken for a random function. evidence: both "
    "sides agreed to 40 digits at random real points, in 50-digit arithmetic, or at random points of the field where "
    "the degree is too high for a useful bound; the whole gradient of a deep network still follows from its lemmas, "
    "each checked exactly, since every use of every tensor is cited and added. loops: the loops of the native code, as "
    "they are lowered at reduced shapes, gave the elements of the field that the equations give."
)
PROVED = (
    "proved: Coq accepts every step of a lemma as a theorem, those from the shares of a layer's uses to its one "
    "formula, and what an optimizer's step makes of each parameter, for all values in every commutative ring that "
    "holds the rational numbers, and for all extents but those that are named, given what is listed; a derivative is "
    "the tangent of a dual number. That the lemmas compose to the gradient of the network is checked exactly, and not "
    "proved."
)
ASSUMED = {
    "law": "the law of {}", "power": "(a^{0})' = {0} a^({0} - 1) a'", "ties": "no ties of a {}",
    "definition": "{} as the forward pass has it", "signal": "the constant error signal",
    "cited": "{} as its lemmas have it", "divisor": "{} is not 0", "root": "the power {} as one of the square root",
    "whole": "the power {} as a product", "size": "{0} terms in a sum over {0}",
}
EXCLUSIONS = (
    "rounding: floating point is measured apart and never part of an exact line",
    "ties and kinks: at x = 0 of a relu, or where entries of a maximum are equal, the convention decides, not algebra",
    "shapes other than those listed",
    "the scalar laws (σ′ = σ(1 − σ), …), which are tested one by one at 50 digits",
    "selections of a maximum other than those drawn; trials are added, up to 64, until each position of its window has "
    "been selected somewhere",
)


@dataclass(frozen=True)
class Entry:
    """One line of a derivation: where it stands, its rule, its tier, the bound after all trials, and the time."""

    what: Subject
    rule: str
    tier: Tier
    bound: Fraction
    trials: int
    seconds: float


@dataclass(frozen=True)
class Certificate:
    """Every line passed a tier. `bound` is the chance that any line counted as exact is false."""

    entries: tuple[Entry, ...]
    shapes: tuple[Shapes, ...]
    notes: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = EXCLUSIONS
    floats: tuple[str, ...] = ()
    seconds: float = 0.0
    program: str = ""
    """The digest of the derivation that was checked."""
    proof: Proof | None = None

    @property
    def bound(self) -> Fraction:
        return sum((e.bound for e in self.entries if e.tier not in UNBOUNDED), Fraction(0))

    @property
    def power(self) -> str:
        """The bound as the least power of two that is not below it: "2^-61"."""
        return _power(self.bound)

    @property
    def rows(self) -> tuple[tuple[Subject, int, Tier, str], ...]:
        """For each lemma and tier: what it is, how many lines, the tier, and the bound over them."""
        return tuple(
            (what, len(lines), tier, "–" if tier in UNBOUNDED else _power(sum((e.bound for e in lines), Fraction(0))))
            for (what, tier), lines in self._groups().items()
        )

    def _groups(self) -> dict[tuple[Subject, Tier], list[Entry]]:
        groups: dict[tuple[Subject, Tier], list[Entry]] = {}
        for e in self.entries:
            groups.setdefault((e.what, e.tier), []).append(e)
        return groups

    def count(self, tier: Tier) -> int:
        return sum(e.tier == tier for e in self.entries)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<certificate: {self.claim}; print it>"

    def _repr_html_(self) -> str:
        """What a notebook shows, in its own style: the claim, and a row for each lemma."""

        def row(kind: str, *texts: str) -> str:
            cells = (f'<{kind} style="text-align:left;padding-right:1em">{escape(text)}</{kind}>' for text in texts)
            return f"<tr>{''.join(cells)}</tr>"

        head = row("th", *HEADER, "tier", "bound")
        body = "".join(
            row("td", str(what), rule, tier, "none" if tier in UNBOUNDED else _power(bound))
            for what, rule, tier, bound, _ in self._rows(False)
        )
        table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
        return f'<p>{escape(self.claim)}.</p><div style="max-height:26rem;overflow:auto">{table}</div>'

    @property
    def claim(self) -> str:
        exact, constant, evidence = (self.count(t) for t in ("exact", "exact up to a constant", "evidence"))
        bound = f", a false one among them with a chance of at most {_power(self.bound)}" if exact else ""
        parts = [f"{exact} lines checked exactly{bound}"]
        if self.proof is not None:
            parts.insert(0, f"{self.count('proved')} lines proved by Coq {self.proof.coq}")
        if constant:
            parts.append(f"{constant} checked exactly up to a constant, which agrees to 40 digits")
        if evidence:
            parts.append(f"{evidence} with evidence, without a bound")
        if self.count("loops"):
            parts.append("the loops of a training step carried out over the field")
        return "; ".join(parts)

    def to_text(self, full: bool = False, width: int = 110) -> str:
        """A table with one row for each lemma, or for each line with `full`; then shapes and exclusions."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title="Certificate", title_justify="left")
        for name in (*(("line", "rule") if full else HEADER), "tier"):
            table.add_column(name)
        for name in ("bound", "ms"):
            table.add_column(name, justify="right")
        for what, rule, tier, bound, seconds in self._rows(full):
            chance = _power(bound) if tier not in UNBOUNDED else "none"
            table.add_row(str(what), rule, tier, chance, f"{1000 * seconds:.1f}")
        out = StringIO()
        console = Console(file=out, width=width, color_system=None, highlight=False, emoji=False, markup=False)
        console.print(table)
        console.print(f"{self.claim}.")
        console.print(f"\n{MEANING}")
        if self.proof is not None:
            console.print(f"\n{PROVED}")
        for title, items in (
            ("Theorems", _theorems(self.proof)),
            ("Shapes checked", tuple(map(str, self.shapes))), ("Notes", self.notes), ("Float behaviour", self.floats),
            ("This says nothing about", self.exclusions),
        ):
            if items:
                console.print(f"\n{title}:")
                for item in items:
                    console.print(f"  - {item}")
        return out.getvalue()

    def _rows(self, full: bool) -> Iterable[tuple[Subject, str, str, Fraction, float]]:
        if full:
            for e in self.entries:
                yield e.what, e.rule, e.tier, e.bound, e.seconds
            return
        for (what, tier), lines in self._groups().items():
            rule = lines[0].rule if len(lines) == 1 else f"{len(lines)} lines"
            yield what, rule, tier, sum((e.bound for e in lines), Fraction(0)), sum(e.seconds for e in lines)

    # JSON.

    def to_json(self) -> str:
        """Everything, the bounds as exact fractions."""
        data = asdict(self)
        for entry in data["entries"]:
            entry["bound"] = str(entry["bound"])
        data["entries"] = list(data["entries"])
        data = {"format": "chainrule certificate 2", "claim": self.claim, **data}
        return json.dumps(data, indent=1, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Certificate:
        """Raises DataError where the text is no certificate."""
        try:
            data: dict[str, Any] = json.loads(text)
            entries = tuple(_entry(e) for e in data["entries"])
            shapes = tuple(_shapes_from(s) for s in data["shapes"])
            lists = {n: tuple(map(str, data[n])) for n in ("notes", "exclusions", "floats")}
            proof = _proof(data["proof"]) if data.get("proof") else None
            seconds, program = float(data["seconds"]), str(data["program"])
            return Certificate(entries, shapes, **lists, seconds=seconds, program=program, proof=proof)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DataError(f"no certificate: {error}", fix="give what Certificate.to_json wrote") from None

    def save(self, path: str | PathLike[str]) -> None:
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")


def _entry(data: Mapping[str, Any]) -> Entry:
    tier = data["tier"]
    if tier not in TIERS:
        raise ValueError(f"unknown tier {tier!r}")
    return Entry(
        _subject(data["what"]), str(data["rule"]), tier, Fraction(str(data["bound"])), int(data["trials"]),
        float(data["seconds"]),
    )


def _subject(data: Mapping[str, Any]) -> Subject:
    if data["kind"] not in ENGLISH:
        raise ValueError(f"unknown subject {data['kind']!r}")
    x, y, form, rule = (str(data[name]) for name in ("x", "y", "form", "rule"))
    return Subject(data["kind"], x, y, int(data["number"]), form, rule, bool(data["one_sample"]), int(data["cut"]))


def _shapes_from(data: Mapping[str, Any]) -> Shapes:
    tensors = tuple((str(name), tuple(map(int, shape))) for name, shape in data["tensors"])
    return Shapes(_subject(data["subject"]), tensors, bool(data["reduced"]))


def _proof(data: Mapping[str, Any]) -> Proof:
    theorems = tuple(
        Proved(
            _subject(t["what"]), tuple(map(int, t["places"])), tuple((str(a), str(b)) for a, b in t["assumed"]),
            tuple((str(a), int(n)) for a, n in t["numbers"]), int(t["level"]), str(t["reason"]),
        )
        for t in data["theorems"]
    )
    return Proof(str(data["coq"]), theorems, tuple(map(str, data["axioms"])), float(data["seconds"]))


def _theorems(proof: Proof | None) -> tuple[str, ...]:
    """What each theorem says, what it stands on, and what is not proved."""
    if proof is None:
        return ()
    found: list[str] = []
    for t in proof.theorems:
        if t.reason:
            found.append(f"{t.what}: not proved: {t.reason}")
            continue
        numbers = f" but {', '.join(f'{name} < {n}' for name, n in t.numbers)}" if t.numbers else ""
        numbers += ", shapes tied as in the layer" if t.level == 1 else ""
        given = ", ".join(ASSUMED[kind].format(name) for kind, name in t.assumed)
        given = f"; given {given}" if given else ""
        found.append(f"{t.what}: {len(t.places)} lines for all extents{numbers}{given}")
    return (*found, f"axioms: {', '.join(proof.axioms) or 'none'}")


def _power(bound: Fraction) -> str:
    """The least power of two that is not below the bound: "2^-61"."""
    if bound <= 0:
        return "0"
    exponent = bound.numerator.bit_length() - bound.denominator.bit_length() - 1
    while bound > Fraction(2) ** exponent:
        exponent += 1
    return f"2^{exponent}"


# Making one.


def certify(
    derivation: Derivation, *, samples: int = 2, seed: int = 0, simplified: Program | None = None,
    floats: bool = False, loops: bool = False, optimizer: Optimizer | None = None, prove: bool = False,
    keep: str | PathLike[str] | None = None,
) -> Certificate:
    """Check every line of a derivation, the program that is run in its place (`simplified`), and the step of an
    `optimizer`; with `floats` measure the gradients' errors too, with `loops` carry out those of a step, with `prove`
    prove what Coq can, and write the proof to `keep`. Raises VerificationError for the first line that passes neither
    tier, MissingLibraryError where 50 digits are needed and mpmath is not installed."""
    start = perf_counter()
    more: list[Check] = []
    steps: list[Claim] = []
    if optimizer is not None:
        from chainrule.verify.steps import step_check

        pairs = [(t, derivation.gradients[t.name]) for t in derivation.joint.parameters]
        step = step_check(optimizer, pairs)
        more.append(step)
        steps += of_programs(step)
    if simplified is not None:
        outputs = tuple(t.name for t in simplified.outputs)
        extents = extents_for(derivation.forward, min(samples, LEMMA_SAMPLES))
        more.append(ProgramCheck(derivation.joint, simplified, extents, outputs, Subject("program")))
    measured = ()
    if floats:
        from chainrule.verify.floats import measure, summary

        measured = summary(measure(derivation, seed=seed))
    broken = broken_citation(derivation)
    if broken:
        raise VerificationError("the backward program", "its text", broken, "the lemma's")
    plan = planned([*checks_of(derivation, samples), *((check, False) for check in more)])
    entries, telling = list[Entry](), list[int]()
    with (started() if prove or keep is not None else None) or nullcontext() as coq:
        for item in plan:
            entries += settle(item, seed, telling)
        proof = proved_by_coq(derivation, keep, steps, coq) if coq is not None else None
    if proof is not None:
        entries = _with_proof(entries, proof)
    looked = [_of_loops(derivation, optimizer, seed)] if loops else []
    entries += [found for found in looked if isinstance(found, Entry)]
    shapes = tuple(dict.fromkeys(_shapes(item) for item in plan))
    notes = (f"reduced shapes: {RULE}",) if any(item.reduced for item in plan) else ()
    notes += tuple(found for found in looked if isinstance(found, str))
    notes += (MISSING,) if proof is None and (prove or keep is not None) else ()
    seconds = perf_counter() - start
    return Certificate(
        tuple(entries), shapes, notes, floats=measured, seconds=seconds, program=digest(derivation), proof=proof
    )


def _with_proof(entries: Iterable[Entry], proof: Proof) -> list[Entry]:
    """The lines that are proved, as that."""
    seen: dict[Subject, int] = {}
    found: list[Entry] = []
    for entry in entries:
        place = seen.setdefault(entry.what, 0)
        seen[entry.what] += 1
        proved = (entry.what, place) in proof.lines
        found.append(replace(entry, tier="proved", bound=Fraction(0)) if proved else entry)
    return found


def _of_loops(derivation: Derivation, rule: Optimizer | None, seed: int) -> Entry | str:
    """What came of a step's loops, or why they were not carried out. Raises VerificationError where they compute
    something else than the equations."""
    try:
        found = loops_agree(reduced_step(derivation, rule), seed=seed)
    except CompileError as error:
        return f"there are no loops: {error.problem}"
    if found.differing:
        left = f"{', '.join(found.differing)} by its loops"
        raise VerificationError("the native code", "a random point of the field", left, "the equations")
    if found.note:
        return f"loops: {found.note}"
    return Entry(Subject("loops", number=found.kernels), "equal programs", "loops", Fraction(1), 1, found.seconds)


def digest(derivation: Derivation) -> str:
    """What tells one derivation from another: its forward and backward equations and the shapes that they name."""
    shapes = "\n".join(f"{t.name} {t.shape}" for t in derivation.joint.given)
    return sha256(f"{shapes}\n{derivation.joint}".encode()).hexdigest()


def _shapes(item: Planned) -> Shapes:
    return Shapes(item.check.lines[0][0], item.check.shapes, item.reduced)


def settle(item: Planned, seed: int, telling: list[int]) -> list[Entry]:
    """Run a check's trials; what the field refuses goes to the laws, then to tangents, then to the second tier. Trials
    beyond those of its bound are for what maxima have not selected yet. Checks share points: those `telling`, where a
    maximum has selected something new, come first among them."""
    check = item.check
    seconds = [0.0] * len(check.lines)
    failed: dict[int, Difference] = {}
    trials, selected = 0, Selected()
    for point in dict.fromkeys((*range(item.trials), *telling, *range(MOST_TRIALS))):
        if trials >= item.trials and selected.every:
            break
        known = selected.count
        failed = {**check.run(seed + 1000 * point, seconds, selected), **failed}
        trials += 1
        if point not in telling and selected.count > known:
            telling.append(point)
        if failed and not isinstance(check, SceneCheck):
            break
    entries: list[Entry] = []
    for number, ((what, rule), chance) in enumerate(zip(check.lines, check.chances, strict=True)):
        bounded = exact_within(check.chances)
        tier: Tier = "exact" if bounded else "evidence"
        bound = chance**trials if bounded else Fraction(1)
        began = perf_counter()
        if number in failed:
            tier, bound = second_look(item, number, failed[number], seed)
        entries.append(Entry(what, rule, tier, bound, trials, seconds[number] + perf_counter() - began))
    return entries


def second_look(item: Planned, number: int, difference: Difference, seed: int) -> tuple[Tier, Fraction]:
    """A line that random field elements refuse. Raises VerificationError where the second tier does too."""
    check = item.check
    what, rule = check.lines[number]
    if isinstance(check, GradientCheck) and check.backward is None and (
        gradient_differs(check.derivation, check.extents, seed, precise) is None
    ):
        return "evidence", Fraction(1)
    if not isinstance(check, SceneCheck):
        raise VerificationError(f"{what}, {rule}", difference.point, difference.left, difference.right)
    line = check.scene.lines[number]
    again = replace(line, before=normal(line.before), after=normal(line.after))
    if again != line:
        alone = SceneCheck(replace(check.scene, lines=(again,)))
        retried = planned([(alone, item.reduced)])[0]
        if not any(alone.run(seed + 1000 * t) for t in range(retried.trials)):
            return "exact", alone.chances[0] ** retried.trials
    try:
        found = line_differs(check.scene, line, seed, precise)
    except MissingLibraryError:
        raise
    except ChainruleError as error:  # a side has no value at all
        found = Difference(difference.point, difference.left, f"no value: {error.problem}")
    if found is not None:
        raise VerificationError(f"{what}, {rule}", found.point, found.left, found.right, about=_about(line))
    if check.tangents_agree(line, seed):
        chance = check.tangent_chance(line)
        return "exact up to a constant", chance**2
    return "evidence", Fraction(1)


def _about(line: SceneLine) -> str:
    return f"{line.before} = {line.after}"
