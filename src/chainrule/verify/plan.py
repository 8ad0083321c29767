"""What is checked of a derivation, at which shapes, and how many trials it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from chainrule.derive import Derivation, Lemma
from chainrule.derive.check import broken_chain, equation_holds, forms_hold, lemmas_of
from chainrule.derive.compose import composites
from chainrule.derive.fold import Fold
from chainrule.derive.reduce import reduced_composite, reduced_fold, reduced_lemma, small_derivation
from chainrule.derive.scene import Scene, extents_for, of_composite, of_equation, of_evaluation, of_fold, of_lemma, work
from chainrule.derive.subject import Subject
from chainrule.errors import DerivationError
from chainrule.ir.expr import Add, Component, Reduce, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import Key, kind, nodes
from chainrule.semantics.labelled import size
from chainrule.verify.exact import Check, GradientCheck, SceneCheck

LINE_WORK = 20_000  # entries of the largest array of a lemma's lines, above which its shapes are reduced
PROGRAM_WORK = 4_000_000  # the same for whole programs
TARGET = Fraction(1, 2**60)
USEFUL = Fraction(1, 2**10)  # a check whose one trial says less than this is made at reduced shapes
MOST_TRIALS = 64
WIDE = 8  # positions of a window above which a lemma is checked at reduced shapes
LEMMA_SAMPLES = 2


@dataclass(frozen=True)
class Planned:
    """A check, how often it is run, and whether its shapes are reduced ones."""

    check: Check
    trials: int
    reduced: bool


def checks_of(derivation: Derivation, samples: int) -> list[tuple[Check, bool]]:
    """Every line of every lemma, for the batch and for one sample, of the composites, and the whole gradient."""
    program = derivation.forward
    few = extents_for(program, min(samples, LEMMA_SAMPLES))
    found: list[tuple[Check, bool]] = [(SceneCheck(of_evaluation(e, few)), False) for e in derivation.evaluations]
    for where, lemma in every_lemma(derivation):
        forms = printed(lambda known=lemma: forms_hold(known))
        scene, small = of_lemma(lemma, few, where, forms), None
        if scene.work > LINE_WORK or _window(scene) > WIDE:
            small = reduced_lemma(lemma)
        found.append((SceneCheck(scene if small is None else of_lemma(small, few, where, forms)), small is not None))
    for number, repeated in enumerate(composites(derivation), 1):
        for composite, one in ((repeated.composite, False), (repeated.sample, True)):
            if composite is not None:
                where = Subject("composite", number=number, form=repeated.form, one_sample=one)
                forms = printed(lambda known=composite: forms_hold(known))
                scene, less = of_composite(composite, few, where, forms), None
                if scene.work > LINE_WORK or _window(scene) > WIDE:
                    less = reduced_composite(composite)
                scene = scene if less is None else of_composite(less, few, where, forms)
                found.append((SceneCheck(scene), less is not None))
    for fold in derivation.folds:
        where = fold_subject(fold)
        forms = printed(lambda known=fold: forms_hold(known))
        scene, smaller = of_fold(fold, few, where, forms), None
        if scene.work > LINE_WORK:
            smaller = reduced_fold(fold)
        scene = scene if smaller is None else of_fold(smaller, few, where, forms)
        found.append((SceneCheck(scene), smaller is not None))
    found += [(SceneCheck(scene), False) for scene in equation_forms(program, few)]
    found.append(_gradient(derivation, extents_for(program, samples)))
    return found


def fold_subject(fold: Fold) -> Subject:
    return Subject("fold", spelled(fold.target.tensor), spelled(fold.sinks[0].tensor))


def equation_forms(program: Program, extents: Mapping[str, int]) -> Iterable[Scene]:
    """The concise forms of the forward equations, one of each kind."""
    seen: set[Key] = set()
    for equation in program.equations:
        key = kind(equation.value, equation.indices)
        if key not in seen:
            seen.add(key)
            if equation_holds(equation) and (scene := of_equation(equation, extents)).lines:
                yield scene


def printed(holds: Callable[[], bool]) -> bool:
    """Whether the concise forms are printed. A false line is found again, and named, by the check that is planned."""
    try:
        return holds()
    except DerivationError:
        return True


def _window(scene: Scene) -> int:
    """The most positions that a maximum selects from."""
    every = nodes(*(e.value for e in scene.equations))
    maxima = [node for node in every if isinstance(node, Reduce) and node.kind == "max"]
    return max((prod(size(i.extent, scene.extents) for i in node.indices) for node in maxima), default=1)


def every_lemma(derivation: Derivation) -> Iterable[tuple[Subject, Lemma]]:
    """Each lemma that was derived, once; what it is called; and its form for one sample."""
    for name, lemma in lemmas_of(derivation):
        if broken := broken_chain(lemma):
            raise DerivationError(f"the steps of {name} do not follow one another: {broken}", about=lemma)
        yield name, lemma
        if (sample := derivation.sample_of(lemma)) is not None:
            yield replace(name, one_sample=True), sample


def broken_citation(derivation: Derivation) -> str:
    """Where the backward program is not made of the lemmas' last lines: in words, empty where it is."""
    equations = set(derivation.backward.equations)
    cited = {(use.equation, name) for name, gradient in derivation.parts.items() for use in gradient.uses}
    for equation in derivation.forward.equations:
        for tensor in equation.value.tensors:
            live = equation.tensor.name in derivation.parts or equation.tensor in (derivation.loss, *_seeds(derivation))
            if live and tensor.name in derivation.parts and (equation, tensor.name) not in cited:
                return f"no lemma is cited for {tensor.name} in {equation}"
    for gradient in derivation.parts.values():
        shares = [use.contribution for use in gradient.uses]
        if gradient.sum is not None and (gradient.sum not in equations or _added(gradient.sum) != shares):
            return f"{gradient.sum} does not add the contributions of all uses"
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            for piece, equation in zip(use.lemma.pieces, use.equations, strict=True):
                own = piece.equation
                if kind(own.value, own.indices) != kind(equation.value, equation.indices) or equation not in equations:
                    return f"{equation} is not the last line of its lemma"
    return ""


def _seeds(derivation: Derivation) -> tuple[Tensor, ...]:
    return derivation.forward.outputs if derivation.loss is None else ()


def _added(equation: Equation) -> list[Tensor]:
    """The tensors whose sum, component by component, an equation is; none where it is something else."""
    terms = equation.value.terms if isinstance(equation.value, Add) else ()
    found = [t.tensor for t in terms if isinstance(t, Component) and t.subscripts == equation.target.subscripts]
    return found if len(found) == len(terms) else []


def _gradient(derivation: Derivation, extents: Mapping[str, int]) -> tuple[Check, bool]:
    program = derivation.forward
    largest = max(work(e.value, extents) for e in derivation.joint.equations)
    whole = GradientCheck(derivation, extents)
    if largest > PROGRAM_WORK or max(whole.chances) > USEFUL:
        small = small_derivation(derivation)
        if small is not None:
            return GradientCheck(small, extents_for(program, min(extents.get(SAMPLES, 1), LEMMA_SAMPLES))), True
    return whole, False


# Trials.


def planned(checks: Iterable[tuple[Check, bool]], target: Fraction = TARGET) -> list[Planned]:
    """Enough trials for each check that the chance of a false line passing, over all lines, is at most the target."""
    checks = list(checks)
    trials = [1] * len(checks)
    chances = [check.chances for check, _ in checks]

    def share(n: int) -> Fraction:
        return sum((c ** trials[n] for c in chances[n]), Fraction(0))

    bounded = [n for n in range(len(checks)) if exact_within(chances[n], target)]
    shares = {n: share(n) for n in bounded}
    while sum(shares.values()) > target:
        worst = max(bounded, key=lambda n: shares[n])
        trials[worst] += 1
        shares[worst] = share(worst)
    return [Planned(check, t, reduced) for (check, reduced), t in zip(checks, trials, strict=True)]


def exact_within(chances: Sequence[Fraction], target: Fraction = TARGET) -> bool:
    """Whether the most trials bring the chances so low that every plan of no more than 2^40 checks meets the target."""
    return sum((c**MOST_TRIALS for c in chances), Fraction(0)) <= target / 2**40
