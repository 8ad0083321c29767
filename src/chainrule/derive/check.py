"""What is derived is checked before anyone sees it: every line of it at one random point of the field.

The lines of each lemma and each fold are compared at reduced shapes, a kind once; the whole gradient is compared with
the tangent of the original program. What only readers ask for is made and checked when they do: a lemma for one sample
when it is derived, composites and concise forms before they are printed. What random field elements cannot settle
(roots, shares, steps) is settled by the laws that they cannot obey, or with real numbers. A false line is an error that
names it; a form that is false is not printed.

Whoever derives may have a memory of what was checked: derivations by the digest of their lines, so that a rule that
changes a line is checked whatever the memory holds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from hashlib import blake2b
from itertools import chain
from math import prod
from threading import RLock
from typing import Any, TypeVar

from chainrule.derive.adjoint import Derivation, Memory
from chainrule.derive.compose import Composite, compose
from chainrule.derive.fold import Fold
from chainrule.derive.laws import normal
from chainrule.derive.lemma import Lemma
from chainrule.derive.reduce import (
    Claim,
    reduced_program,
    refolded,
    same_steps,
    small_derivation,
    smaller,
    smaller_equation,
)
from chainrule.derive.scene import (
    FORMS,
    Line,
    Scene,
    extents_for,
    extents_of,
    of_composite,
    of_equation,
    of_evaluation,
    of_fold,
    of_lemma,
)
from chainrule.derive.subject import Subject
from chainrule.derive.trace import Step
from chainrule.derive.trial import failures, gradient_difference, gradient_differs, line_differs
from chainrule.errors import ChainruleError, DerivationError
from chainrule.ir.cost import operations_for
from chainrule.ir.expr import LOSS, Expr, Tensor
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation, Program
from chainrule.semantics.reals import best

SEED = 0
SAMPLES = 2
SMALL = 2  # what only counts things has this extent
LARGE = 1_000_000  # operations or entries of a tensor above which a whole gradient is checked at reduced shapes
KEPT = 4096  # results that are kept, so that what is derived again is not checked again

OTHER = Subject("other", y="a composite")
REPORT = "report it: this is a fault of chainrule's own"

T = TypeVar("T")


class Kept:
    """Results by what they are about, the latest of them. Each is made once, whichever thread asks first."""

    def __init__(self, most: int) -> None:
        self.most, self.found = most, dict[Hashable, object]()
        self._one = RLock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._one:
            if key not in self.found:
                while len(self.found) >= self.most:
                    del self.found[next(iter(self.found))]
                self.found[key] = make()
            return self.found[key]  # type: ignore[return-value]

    def clear(self) -> None:
        self.found.clear()


KNOWN = Kept(KEPT)


class _Digests:
    """Digests of data by what they are made of, not by what was computed of them; those of equal data once."""

    def __init__(self) -> None:
        self.known: dict[tuple[type, Any], str] = {}

    def of(self, data: Any) -> str:
        key: tuple[type, Any] = type(data), data  # pyright: ignore[reportUnknownVariableType]
        try:
            if key in self.known:
                return self.known[key]
        except TypeError:  # a dictionary is in it
            return self.made(data)
        self.known[key] = made = self.made(data)
        return made

    def made(self, data: Any) -> str:
        kind: type[object] = data.__class__
        parts: Iterable[Any]
        if is_dataclass(kind):
            parts = (getattr(data, name) for name in _given(kind))
        elif kind is dict:
            parts = chain.from_iterable(data.items())
        elif issubclass(kind, tuple):
            parts = data
        else:
            return repr(data)
        return blake2b(f"{kind.__name__}{[self.of(part) for part in parts]}".encode(), digest_size=32).hexdigest()


@cache
def _given(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.init)


def digest(derivation: Derivation) -> str:
    """Of all lines: the same in every process in which the same lines are derived."""
    return _Digests().of(derivation)


def checked(derivation: Derivation, memory: Memory | None = None) -> Derivation:
    """The derivation, every line of it checked, now or as the memory has it. Raises DerivationError for the first line
    that is false."""
    if memory is None:
        _check(derivation)
        return derivation
    try:
        name = digest(derivation)
    except RecursionError:  # of lines that are too deep for Python's stack nothing is remembered
        return checked(derivation)
    if name not in memory:
        _check(derivation)
        memory.add(name)
    return derivation


def _check(derivation: Derivation) -> None:
    for name, lemma in lemmas_of(derivation):
        lemma_holds(lemma, name)
    for fold in derivation.folds:
        fold_holds(fold)
    for evaluation in derivation.evaluations:
        extents = _extents(evaluation.equation)
        KNOWN.get(("evaluation", evaluation), lambda e=evaluation, x=extents: _lines(of_evaluation(e, x)))
    key = ("gradient", derivation.joint, derivation.loss, *derivation.gradients.items())
    KNOWN.get(key, lambda: _gradient(derivation))


def lemmas_of(derivation: Derivation) -> Iterable[tuple[Subject, Lemma]]:
    """Each lemma that was derived, once, and what it is called."""
    seen: set[int] = set()
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            if id(use.lemma) not in seen:
                seen.add(id(use.lemma))
                yield Subject("lemma", spelled(use.tensor), spelled(use.equation.tensor)), use.lemma


# Lines. Where one is false, DerivationError is raised. What was compared in the place of what was asked is returned.


def lemma_holds(lemma: Lemma, name: Subject | None = None) -> Lemma:
    """A lemma's lines are those of its kind at reduced shapes, or they are checked as they stand."""
    known = name or Subject("lemma", spelled(lemma.wrt.tensor), spelled(lemma.equation.tensor))
    return KNOWN.get(("lemma", lemma), lambda: _lemma(lemma, known))


def _lemma(lemma: Lemma, name: Subject) -> Lemma:
    if broken := broken_chain(lemma):
        raise DerivationError(f"the steps of {name} do not follow one another: {broken}", about=lemma, fix=REPORT)
    claim = Claim.of(lemma)
    small = smaller([claim], SMALL)
    (found,) = _stand_ins(small or [claim])
    alike = KNOWN.get(("kind", found), lambda: _kind(found, lemma if small is None else None, name))
    if alike is not None and same_steps(lemma.all_steps, alike.all_steps):
        return alike
    _lines(_scene(lemma, name, forms=False))
    return lemma


def _kind(claim: Claim, lemma: Lemma | None, name: Subject) -> Lemma | None:
    """The lemma that is derived from a claim, unless it is there, its lines checked."""
    if lemma is None:
        try:
            lemma = claim.derived()
        except ChainruleError:
            return None
    _lines(_scene(lemma, name, forms=False))
    return lemma


def broken_chain(lemma: Lemma) -> str:
    """Where a lemma's steps do not lead from ∂loss/∂x to its result: in words, empty where they do."""
    current: Expr = lemma.start
    for number, step in enumerate(lemma.steps, 1):
        if step.before is not current:
            return f"step {number}, {step.rule}, starts elsewhere"
        current = step.after
    for piece in lemma.pieces:
        here = current
        for number, step in enumerate(piece.steps, 1):
            if step.before is not here:
                return f"step {number} of a piece, {step.rule}, starts elsewhere"
            here = step.after
        if piece.equation.value is not here:
            return "the result is not the last line"
    return ""


def _stand_ins(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The claims about tensors that are numbered: equal for lemmas of one kind."""
    claims = tuple(claims)
    names: dict[Tensor, Tensor] = {}
    for e in (e for claim in claims for e in (claim.equation, *claim.facts)):
        for t in (e.tensor, *e.value.tensors):
            if t not in names:
                names[t] = t if t == LOSS else Tensor(f"t{len(names)}", t.shape, t.dtype)
    return tuple(claim.over(names) for claim in claims)


def composite_holds(composite: Composite, name: Subject = OTHER) -> Composite:
    """A composite's lines are those of its kind at reduced shapes, or they are checked as they stand."""
    return KNOWN.get(("composite", composite), lambda: _composite(composite, name))


def _composite(composite: Composite, name: Subject) -> Composite:
    claims = [Claim.of(composite.outer), Claim.of(composite.inner)]
    found = _stand_ins(smaller(claims, SMALL) or claims)
    alike = KNOWN.get(("composite", found), lambda: _composite_kind(found, name))
    if alike is not None and same_steps(_all_steps(composite), _all_steps(alike)):
        return alike
    _lines(_scene(composite, name, forms=False))
    return composite


def _composite_kind(claims: Iterable[Claim], name: Subject) -> Composite | None:
    """The composite of the lemmas that are derived from two claims, its lines checked."""
    try:
        outer, inner = (claim.derived() for claim in claims)
    except ChainruleError:
        return None
    if not (outer.whole and inner.whole):
        return None  # at small shapes, windows that do not overlap part into pieces
    composite = compose(outer, inner)
    _lines(_scene(composite, name, forms=False))
    return composite


def _all_steps(composite: Composite) -> tuple[Step, ...]:
    return (*composite.steps, *composite.jacobian)


def fold_holds(fold: Fold) -> Fold:
    """A fold's lines are those of its kind at reduced shapes, or they are checked as they stand."""
    return KNOWN.get(("fold", fold.region, fold.steps), lambda: _fold(fold))


def _fold(fold: Fold) -> Fold:
    region = reduced_program(fold.region, SMALL, means=True) or fold.region
    tensors = dict.fromkeys((*region.given, *region.defined))
    names = {t: t if t == LOSS else Tensor(f"t{n}", t.shape, t.dtype) for n, t in enumerate(tensors)}
    of = next(names[t].name for t in tensors if t.name == fold.target.tensor.name)
    kind = region.over(names)
    alike = KNOWN.get(("fold", kind, of), lambda: _fold_kind(kind, of, _named(fold)))
    if alike is not None and same_steps(fold.steps, alike.steps):
        return alike
    _lines(_scene(fold, _named(fold), forms=False))
    return fold


def _fold_kind(region: Program, x: str, name: Subject) -> Fold | None:
    """The fold by x of a layer's equations, its lines checked."""
    found: tuple[Fold, ...] = KNOWN.get(("folds", region), lambda: refolded(region))
    fold = next((fold for fold in found if fold.target.tensor.name == x), None)
    if fold is not None:
        _lines(_scene(fold, name, forms=False))
    return fold


def _named(fold: Fold) -> Subject:
    return Subject("fold", spelled(fold.target.tensor), spelled(fold.sinks[0].tensor))


def _scene(of: Lemma | Composite | Fold, name: Subject, *, forms: bool) -> Scene:
    match of:
        case Lemma():
            return of_lemma(of, _extents(of.equation, *of.facts), name, forms)
        case Composite(outer=outer, inner=inner):
            extents = _extents(outer.equation, inner.equation, *outer.facts, *inner.facts)
            return of_composite(of, extents, name, forms)
        case Fold():
            return of_fold(of, _extents(*of.forward), name, forms)


def _extents(*equations: Equation) -> dict[str, int]:
    return extents_of((t for e in equations for t in (e.tensor, *e.value.tensors)), SAMPLES)


def _lines(scene: Scene) -> None:
    for number, difference in failures(scene, SEED).items():
        line = scene.lines[number]
        if not settled(scene, line):
            raise DerivationError(
                f"a line of {line.what} is false, by the rule {line.rule}: {difference}",
                about=f"{line.before} = {line.after}", fix=REPORT,
            )


# Forms are for readers: they are checked when a document asks for them.


def forms_hold(of: Lemma | Composite | Fold) -> bool:
    """Whether the lines hold, or DerivationError is raised, and whether the concise forms do."""
    match of:
        case Lemma():
            compared = lemma_holds(of)
        case Composite():
            compared = composite_holds(of)
        case Fold():
            compared = fold_holds(of)
    key = (compared.region, compared.steps) if isinstance(compared, Fold) else (compared,)
    return KNOWN.get(("forms", *key), lambda: _forms(lambda: _scene(compared, OTHER, forms=True)))


def equation_holds(equation: Equation) -> bool:
    """Whether the form of a forward equation, which is what the user wrote, holds."""
    small = smaller_equation(equation, SMALL) or equation
    tensors = dict.fromkeys((small.tensor, *small.value.tensors))
    small = small.over({t: Tensor(f"t{n}", t.shape, t.dtype) for n, t in enumerate(tensors)})
    return KNOWN.get(("forms", small), lambda: _forms(lambda: of_equation(small, _extents(small))))


def _forms(made: Callable[[], Scene]) -> bool:
    try:
        scene = made()
    except ChainruleError:  # one cannot even be made
        return False
    forms = replace(scene, lines=tuple(line for line in scene.lines if line.rule in FORMS))
    return all(settled(forms, forms.lines[number]) for number in failures(forms, SEED))


def settled(scene: Scene, line: Line) -> bool:
    """Whether a line that random field elements refuse holds for the functions meant: by their laws or, where those do
    not do, at random real points."""
    again = replace(line, before=normal(line.before), after=normal(line.after))
    if again != line and not failures(replace(scene, lines=(again,)), SEED):
        return True
    try:
        return line_differs(scene, line, SEED, best) is None
    except ChainruleError:  # a side has no value at all
        return False


# Gradients.


def _gradient(derivation: Derivation) -> None:
    tensors = (*derivation.joint.given, *derivation.joint.defined)
    entries = (prod(e if isinstance(e, int) else SAMPLES for e in t.shape) for t in tensors)
    large = operations_for(derivation.joint.equations, SAMPLES) > LARGE or max(entries) > LARGE
    again = (small_derivation(derivation, SMALL) if large else None) or derivation
    extents = extents_for(again.forward, SAMPLES)
    difference = gradient_difference(again, again.backward, extents, SEED)
    if difference is not None and gradient_differs(again, extents, SEED, best):
        raise DerivationError(
            f"the derived gradient is not the program's: {difference}", about=derivation.backward, fix=REPORT
        )
