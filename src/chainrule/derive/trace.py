"""The trace of a derivation: steps, each one application of a named rule.

A rule is data: an id, its law, and an example that the tests apply it to; the prose of a rule is keyed
by its id elsewhere. The trace is the computation: the result is the `after` of the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from chainrule.errors import DerivationError
from chainrule.ir.expr import Component, Expr, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation


@dataclass(frozen=True)
class Setting:
    """What a lemma is about: the use of `wrt.tensor` in `equation`, seen from ∂loss/∂wrt.

    `signal` is the error signal of the equation's left side where it is a known constant (the 1/N of a mean),
    else None; `facts` are forward equations whose values may be reused; `auxiliary` collects the equations
    that a rule introduces (the argmax of a maximum).
    """

    equation: Equation
    wrt: Component
    adjoint: Tensor
    signal: Expr | None = None
    facts: tuple[Equation, ...] = ()
    auxiliary: list[Equation] = field(default_factory=list[Equation])


@dataclass(frozen=True, slots=True)
class Rule:
    """`law` states the identity; `example` is (before, after) in the text form, with D for ∂."""

    id: str
    law: str
    example: tuple[str, str]
    apply: Callable[[Expr, Setting], Expr]


RULES: dict[str, Rule] = {}
ROUNDS = 100  # each round of tidying makes a line smaller or moves a factor outwards

Rewrite = Callable[[Expr, Setting], Expr]


def rule(id: str, law: str, example: tuple[str, str]) -> Callable[[Rewrite], Rewrite]:
    """Register a rewriting function as a rule."""

    def register(function: Rewrite) -> Rewrite:
        assert id not in RULES, f"two rules are called {id}"
        RULES[id] = Rule(id, law, example, function)
        return function

    return register


@dataclass(frozen=True, slots=True)
class Step:
    """before = after by the rule. A step that writes an index of the target in another form
    (h = 2·h′ + 1) carries that substitution: `after` is `before` under it."""

    rule: str
    before: Expr
    after: Expr
    split: tuple[Index, Affine] | None = None


@dataclass
class Trace:
    """A growing list of steps."""

    current: Expr
    setting: Setting
    steps: list[Step] = field(default_factory=list[Step])

    def apply(self, id: str) -> bool:
        """Apply one rule everywhere it fits; a step is recorded where it changed something."""
        return self.record(id, RULES[id].apply(self.current, self.setting))

    def apply_each(self, ids: Iterable[str]) -> bool:
        """Apply rules in order, each once; whether any changed something."""
        changed = False
        for id in ids:
            changed |= self.apply(id)
        return changed

    def settle(self, ids: Iterable[str]) -> None:
        """Apply rules in order, again until none changes anything. Raises DerivationError where there is no end."""
        ids = tuple(ids)
        for _ in range(ROUNDS):
            if not self.apply_each(ids):
                return
        raise DerivationError("the rules that tidy a line find no end", about=self.setting.equation)

    def record(self, id: str, after: Expr, split: tuple[Index, Affine] | None = None) -> bool:
        if after is self.current:
            return False
        self.steps.append(Step(id, self.current, after, split))
        self.current = after
        return True
