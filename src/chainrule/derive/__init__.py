"""Derivation: from a forward program to its back-propagation, as a trace of named rules."""

from chainrule.derive.adjoint import Derivation, Gradient, Use, derive_equation, derive_program
from chainrule.derive.lemma import Lemma, derive_lemma
from chainrule.derive.trace import RULES, Rule, Step

__all__ = [
    "RULES", "Derivation", "Gradient", "Lemma", "Rule", "Step", "Use", "derive_equation", "derive_lemma",
    "derive_program",
]
