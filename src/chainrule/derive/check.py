"""What is derived is checked before anyone sees it: every line of it at one random point of the field.

The lines of each lemma, also for one sample, and of each composite are compared at reduced shapes, a kind once, and so
are concise forms; the whole gradient is compared with the tangent of the original program. What random field elements
cannot settle (roots, shares, steps) is settled by the laws that they cannot obey, or with real numbers. A false line is
an error that names it; a form that is false is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from chainrule.derive.adjoint import Derivation
from chainrule.derive.compose import Composite, composites
from chainrule.derive.laws import normal
from chainrule.derive.lemma import Lemma
from chainrule.derive.reals import gradient_differs, line_differs
from chainrule.derive.reduce import Claim, reduced_composite, same_steps, small_derivation, smaller, smaller_equation
from chainrule.derive.scene import FORMS, Line, Scene, extents_for, of_composite, of_equation, of_lemma
from chainrule.derive.trial import failures, gradient_difference
from chainrule.errors import ChainruleError, DerivationError
from chainrule.ir.cost import operations_for
from chainrule.ir.expr import LOSS, Expr, Tensor
from chainrule.ir.program import Equation

SEED = 0
SAMPLES = 2
SMALL = 2  # what only counts things has this extent
LARGE = 5_000_000  # operations of a program above which its whole gradient is checked at reduced shapes
KEPT = 4096  # results that are kept, so that what is derived again is not checked again

REPORT = "report it: this is a fault of chainrule's own"

T = TypeVar("T")
Extents = Mapping[str, int]


class _Kept:
    """Results by what they are about, the latest of them."""

    def __init__(self) -> None:
        self._found: dict[Hashable, object] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._found:
            while len(self._found) >= KEPT:
                del self._found[next(iter(self._found))]
            self._found[key] = make()
        return self._found[key]  # type: ignore[return-value]

    def clear(self) -> None:
        self._found.clear()


KNOWN = _Kept()


def checked(derivation: Derivation) -> Derivation:
    """The derivation, every line of it checked. Raises DerivationError for the first line that is false."""
    extents = extents_for(derivation.forward, SAMPLES)
    withheld: list[Expr] = []
    for name, lemma in lemmas_of(derivation):
        if not lemma_holds(lemma, extents, name):
            withheld += [piece.equation.value for piece in lemma.pieces]
    for number, repeated in enumerate(composites(derivation), 1):
        _composite(repeated.composite, extents, f"composite {number}, {repeated.form}")
    for equation in derivation.forward.equations:
        if not _forms_hold(equation, extents):
            withheld.append(equation.value)
    program = derivation.joint, derivation.loss, *derivation.gradients.items(), *_sizes(extents)
    KNOWN.get(("gradient", *program), lambda: _gradient(derivation, extents))
    return replace(derivation, withheld=frozenset(withheld)) if withheld else derivation


def lemmas_of(derivation: Derivation) -> Iterable[tuple[str, Lemma]]:
    """Each lemma that was derived, once; what it is called; and its form for one sample."""
    seen: set[int] = set()
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            if id(use.lemma) not in seen:
                seen.add(id(use.lemma))
                name = f"∂{use.tensor.name} in {use.equation.tensor.name}"
                yield name, use.lemma
                if use.lemma.sample is not None:
                    yield f"{name}, one sample", use.lemma.sample


def _sizes(extents: Extents) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(extents.items()))


# Lines.


def lemma_holds(lemma: Lemma, extents: Extents, name: str) -> bool:
    """Whether the concise forms of a lemma hold. Raises DerivationError where one of its lines does not."""
    return KNOWN.get(("lemma", lemma, *_sizes(extents)), lambda: _lemma(lemma, extents, name))


def _lemma(lemma: Lemma, extents: Extents, name: str) -> bool:
    """A lemma's lines are those of its kind at reduced shapes, or they are checked as they stand."""
    claim = Claim.of(lemma)
    small = smaller([claim], SMALL)
    if small is not None:
        found = _stand_ins(small[0])
        alike, forms = KNOWN.get(("kind", found, *_sizes(extents)), lambda: _kind(found, extents, name))
        if alike is not None and same_steps(lemma.all_steps, alike.all_steps):
            return forms
    return _lines(of_lemma(lemma, extents, name))


def _kind(claim: Claim, extents: Extents, name: str) -> tuple[Lemma | None, bool]:
    """The lemma that is derived from a claim, where that can be, and whether its forms hold."""
    try:
        lemma = claim.derived()
    except ChainruleError:
        return None, False
    return lemma, _lines(of_lemma(lemma, extents, name))


def _stand_ins(claim: Claim) -> Claim:
    """The claim about tensors that are numbered: equal for lemmas of one kind."""
    names: dict[Tensor, Tensor] = {}
    for e in (claim.equation, *claim.facts):
        for t in (e.tensor, *e.value.tensors):
            if t not in names:
                names[t] = t if t == LOSS else Tensor(f"t{len(names)}", t.shape, t.dtype)
    return claim.over(names)


def _forms_hold(equation: Equation, extents: Extents) -> bool:
    """Whether the concise forms of a forward equation hold."""
    small = smaller_equation(equation, SMALL) or equation
    tensors = dict.fromkeys((small.tensor, *small.value.tensors))
    small = small.over({t: Tensor(f"t{n}", t.shape, t.dtype) for n, t in enumerate(tensors)})
    return KNOWN.get(("forms", small, *_sizes(extents)), lambda: _lines(of_equation(small, extents)))


def _composite(composite: Composite, extents: Extents, name: str) -> None:
    def lines() -> bool:
        small = reduced_composite(composite, SMALL)
        return _lines(of_composite(small or composite, extents, name))

    KNOWN.get(("composite", composite, *_sizes(extents)), lines)


def _lines(scene: Scene) -> bool:
    """Whether the forms among a scene's lines hold. Raises DerivationError where another line does not."""
    forms = True
    for number, difference in failures(scene, SEED).items():
        line = scene.lines[number]
        if settled(scene, line):
            continue
        if line.rule not in FORMS:
            raise DerivationError(
                f"a line of {line.what} is false, by the rule {line.rule}: {difference}",
                about=f"{line.before} = {line.after}", fix=REPORT,
            )
        forms = False
    return forms


def settled(scene: Scene, line: Line) -> bool:
    """Whether a line that random field elements refuse holds for the functions meant: by their laws or, where those do
    not do, at random real points."""
    again = replace(line, before=normal(line.before), after=normal(line.after))
    if again != line and not failures(replace(scene, lines=(again,)), SEED):
        return True
    return not line_differs(scene, line, SEED)


# Gradients.


def _gradient(derivation: Derivation, extents: Extents) -> None:
    large = operations_for(derivation.joint.equations, extents.get("N", 1)) > LARGE
    small = small_derivation(derivation, SMALL) if large else None
    again = small or derivation
    difference = gradient_difference(again, again.backward, extents, SEED)
    if difference is not None and gradient_differs(again, extents, SEED):
        raise DerivationError(
            f"the derived gradient is not the program's: {difference}", about=derivation.backward, fix=REPORT
        )
