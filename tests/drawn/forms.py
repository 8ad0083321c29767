"""The concise forms of a drawn program's lemmas, counted."""

from __future__ import annotations

from chainrule.derive.lemma import Lemma
from chainrule.ir.index import SAMPLES
from tests.drawn.grammar import program
from tests.drawn.subject import Fault, Subject, subject


def small_lemmas(s: Subject) -> list[Lemma]:
    """Those whose tensors have at most two axes besides the sample."""
    return [
        lemma for lemma in s.derivation.lemmas
        if all(len(t.shape) - (SAMPLES in t.shape) <= 2 for t in (lemma.equation.tensor, *lemma.equation.value.tensors))
    ]


def forms(s: Subject) -> list[Fault]:
    """Counts the small lemmas, and those of them without a form."""
    small = small_lemmas(s)
    s.notes["lemmas"] = len(small)
    s.notes["lemmas without a form"] = sum(lemma.concise is None for lemma in small)
    return []


def formless(last: int, first: int = 0) -> None:
    """Prints the small lemmas without a form."""
    for seed in range(first, last):
        for lemma in small_lemmas(subject(program(seed))):
            if lemma.concise is None:
                print(f"{seed}: ∂{lemma.wrt.tensor.name} of {lemma.equation}")
                print(*(f"    {piece.equation}" for piece in lemma.pieces), sep="\n")
