"""What is wrong: a line of a derivation with one thing in it changed, a theorem that says something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from random import Random

from chainrule.ir.expr import Add, Component, Constant, Delta, Derivative, Expr, Guard, Multiply, Reduce, add, multiply
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import rebuild
from chainrule.verify.claims import Cleared, Row
from chainrule.verify.session import Session
from chainrule.verify.theorem import Theorem


def _places(root: Expr) -> Iterator[tuple[Expr, tuple[Index, ...], Callable[[Expr], Expr]]]:
    """Every node but those inside a derivative, the indices that it may use, and what puts another in its place."""
    stack: list[tuple[Expr, tuple[Index, ...], Callable[[Expr], Expr]]] = [(root, root.free, lambda new: new)]
    while stack:
        node, seen, put = stack.pop()
        yield node, seen, put
        if isinstance(node, Derivative | Delta):
            continue
        inner = (*seen, *node.indices) if isinstance(node, Reduce) else seen
        parts = node.parts
        for k in range(len(parts)):

            def inside(new: Expr, k: int = k, node: Expr = node, put: Callable[[Expr], Expr] = put) -> Expr:
                own = node.parts
                return put(rebuild(node, (*own[:k], new, *own[k + 1 :])))

            stack.append((parts[k], inner, inside))


def _changes(node: Expr, seen: tuple[Index, ...]) -> Iterator[Expr]:
    match node:
        case Component(tensor=t, subscripts=subscripts, pad=pad):
            for k, s in enumerate(subscripts):
                for new in (s + 1, s - 1, *(Affine.of(i) for i in seen)):
                    yield Component(t, (*subscripts[:k], new, *subscripts[k + 1 :]), pad)
            if len(subscripts) > 1:
                yield Component(t, (subscripts[1], subscripts[0], *subscripts[2:]), pad)
        case Constant(value=Fraction() as value):
            yield Constant(value + 1)
            yield Constant(-value)
        case Multiply(factors=factors):
            for k in range(len(factors)):
                yield multiply((*factors[:k], *factors[k + 1 :]))
            yield Multiply((*factors, factors[0]))
            yield Multiply((Constant(Fraction(-1)), *factors))
        case Add(terms=terms):
            for k in range(len(terms)):
                yield add((*terms[:k], *terms[k + 1 :]))
        case Delta(left=left, right=right):
            yield Delta(left + 1, right)
        case Guard(subscript=s, extent=e):
            yield Guard(s + 1, e)
            yield Constant(Fraction(1))
        case _:
            pass


def mutants(line: Expr, count: int, random: Random) -> list[Expr]:
    """At most `count` other lines, each with one change."""
    every = [put(changed) for node, seen, put in _places(line) for changed in _changes(node, seen)]
    every = [new for new in dict.fromkeys(every) if new is not line]
    return random.sample(every, min(count, len(every)))


def given(coq: Session, theorem: Theorem) -> None:
    """Opens the section of a theorem, with all that its steps stand on."""
    opening, given, *_ = theorem.parts()
    coq.said(opening.said)
    assert coq.accepts(given.said)


def closes(coq: Session, theorem: Theorem, row: Row, found: Cleared, line: str, seconds: int) -> bool:
    """Whether a step's own proof closes it with this as its last line."""
    return coq.accepts(f"Goal {theorem.line(row.before)} = {line}.\nProof. {theorem.proof(row, found)}. Qed.", seconds)


def refused(text: str, wrong: Mapping[str, tuple[str, str]]) -> set[str]:
    """Of copies of a file, each with one thing in it replaced, those that Coq refuses: a theorem in its own proof, a
    definition anywhere below. What stands above is as it is, and accepted."""
    found: set[str] = set()
    at = 0
    with Session() as coq:
        for name, (old, new) in sorted(wrong.items(), key=lambda item: text.index(item[1][0])):
            assert text.count(old) == 1
            above = text[: text.index(old) + 1]
            *_, start = (m.start() for m in re.finditer("^(?:Lemma|Theorem|Definition|Fixpoint) ", above, re.MULTILINE))
            assert coq.accepts(text[at:start], 100)
            at = start
            proven = text.startswith(("Lemma", "Theorem"), start)
            end = text.index("Qed.", text.index(old)) + len("Qed.") if proven else len(text)
            with coq.aside():
                if not coq.accepts(text[at:end].replace(old, new), 100):
                    found.add(name)
        assert coq.accepts(text[at:], 100)
    return found
