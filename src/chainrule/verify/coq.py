"""A derivation printed for Coq: each line of each lemma a theorem, for all values and for every extent that is a variable.

The theorems of `proof/Rules.v` stand in front of what is printed, so that a file is complete in itself. A lemma is a
section: its tensors, functions and extents are variables, what it reuses are hypotheses, each step is a lemma closed by
the tactic of its rule, and the theorem is "first line = last line". Nothing that is printed decides anything: what Coq
refuses is not proved.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from time import perf_counter

from chainrule.derive import Derivation, Lemma
from chainrule.derive.calculus import apply_law, radix_of
from chainrule.derive.compose import Composite
from chainrule.derive.eliminate import Move, Term, bracket_once, digits, moves, residue_once, solve_once, spatial_of, terms_of
from chainrule.derive.scene import Scene, of_composite, of_lemma
from chainrule.derive.subject import Subject
from chainrule.ir.expr import (
    LOSS,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
    add,
    multiply,
)
from chainrule.ir.functions import derivative_name, split_derivative
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, nodes, substitute

RULES = Path(__file__).parents[1] / "proof" / "Rules.v"
WORDS = frozenset(
    "as at cofix else end exists exists2 fix for forall fun if IF in let match mod Prop return Set then Type using where "
    "with by Qed Section End Lemma Theorem Proof Variable Variables Hypothesis Definition nat Z Q K R true false fst snd "
    "negb andb Some None pair eq conj".split()
)


class UnprintableError(Exception):
    """What the printer has no text for, in words."""


@dataclass(frozen=True)
class Row:
    """before = after by a rule; `split` is what the rows before it have in place of an index."""

    rule: str
    before: Expr
    after: Expr
    split: tuple[Index, Affine] | None = None


@dataclass(frozen=True)
class Claim:
    """That the first line of these rows is the last, given `facts`. Derivatives are by `wrt`, of the loss through
    `equation`, whose error signal is `signal`, a component or a number."""

    what: Subject
    rows: tuple[Row, ...]
    facts: tuple[Equation, ...]
    wrt: Component | None = None
    equation: Equation | None = None
    signal: Component | None = None
    constant: Expr | None = None


def of_piece(lemma: Lemma, number: int, what: Subject) -> Claim:
    """The lines that lead to one piece of a lemma's gradient."""
    one = replace(lemma, pieces=lemma.pieces[number : number + 1])
    scene = of_lemma(one, {}, what, forms=False)
    rows = tuple(Row(l.rule, l.before, l.after, s.split) for l, s in zip(scene.lines, one.all_steps, strict=True))
    signal, equation = None, scene.definitions[LOSS.name]
    if lemma.equation.tensor != LOSS:
        signal = Component(lemma.error_signal, lemma.equation.target.subscripts)
        equation = next(e for name, e in scene.definitions.items() if name != LOSS.name)
    facts = tuple(e for e in scene.equations if e.tensor not in (LOSS, equation.tensor) or e.tensor != LOSS)
    return Claim(what, rows, facts, lemma.wrt, equation, signal, lemma.signal)


def of_map(composite: Composite, what: Subject) -> Claim:
    """The lines of a composite after its inner lemma's result, given that of the outer one."""
    scene = of_composite(composite, {}, what, forms=False)
    rows = tuple(Row(s.rule, s.before, s.after) for s in composite.steps[1:])
    return Claim(what, rows, tuple(e for e in scene.equations if e.tensor != LOSS))


# Extents.


class _Extents:
    """Which extents are one: the axes and indices that a line runs over together. `literal` are those that stay
    numbers; every other is a variable."""

    def __init__(self) -> None:
        self.parent: dict[object, object] = {}
        self.values: dict[object, Extent] = {}
        self.numbers: set[object] = set()

    def find(self, node: object, extent: Extent) -> object:
        if isinstance(extent, str):
            node = ("name", extent)
        self.values.setdefault(node, extent)
        self.parent.setdefault(node, node)
        while self.parent[node] != node:
            node = self.parent[node]
        return node

    def join(self, a: object, b: object, extent: Extent) -> None:
        one, other = self.find(a, extent), self.find(b, extent)
        if one != other:
            self.parent[other] = one

    def index(self, i: Index) -> object:
        return self.find(i, i.extent)

    def axis(self, tensor: Tensor, k: int) -> object:
        return self.find((tensor, k), tensor.shape[k])

    def see(self, root: Expr) -> None:
        for node in nodes(root):
            match node:
                case Component(tensor=tensor, subscripts=subscripts):
                    for k, (s, e) in enumerate(zip(subscripts, tensor.shape, strict=True)):
                        self.axis(tensor, k)
                        if s.plain is not None and s.plain.extent == e:
                            self.join(s.plain, (tensor, k), e)
                        self.join(("place", s, e), (tensor, k), e)
                case Delta(left=left, right=Affine() as right):
                    difference = left - right
                    if not difference.offset and sorted(c for _, c in difference.terms) == [-1, 1]:
                        (a, _), (b, _) = difference.terms
                        if a.extent == b.extent:
                            self.join(a, b, a.extent)
                case _:
                    pass

    def stay(self, i: Index) -> None:
        self.numbers.add(i)

    @property
    def literal(self) -> set[object]:
        return {self.find(n, self.values[n]) for n in self.numbers if n in self.values}


def _affines(root: Expr) -> Iterator[Affine]:
    for node in nodes(root):
        match node:
            case Component(subscripts=subscripts):
                yield from subscripts
            case Delta(left=left, right=right):
                yield left
                if isinstance(right, Affine):
                    yield right
            case Guard(subscript=subscript):
                yield subscript
            case _:
                pass


# One claim.


@cache
def _rules() -> tuple[str, frozenset[str]]:
    """The theorems, and the names that stand in them."""
    text = RULES.read_text(encoding="utf-8")
    return text, frozenset(re.findall(r"[^\W\d][\w']*", re.sub(r"\(\*.*?\*\)", "", text, flags=re.DOTALL)))


class Sheet:
    """One claim as a section. `free` says how many extents are tried as variables: all that no stride or radix counts by
    (0), all that stand in no window (1), none (2)."""

    def __init__(self, claim: Claim, name: str, free: int = 0) -> None:
        self.claim, self.name = claim, name
        self._names: dict[object, str] = {}
        self._taken = {*WORDS, *_rules()[1]}
        self.functions: dict[str, int] = {}
        self.laws: dict[str, Expr] = {}
        self.constants: dict[str, str] = {}
        self.powers = self.maxima = False
        self.tensors: dict[str, Tensor] = {}
        self.moving = claim.wrt.tensor if claim.wrt is not None else None
        self.spatial = spatial_of(claim.equation) if claim.equation is not None else frozenset[str]()
        self.rows = self._rows()
        self.equations = [*claim.facts, *([claim.equation] if claim.equation is not None else [])]
        self.moves = {n: self._moves(row) for n, row in enumerate(self.rows)}
        self.extents = self._extents(free)
        self.literal = self.extents.literal
        self.sizes: dict[object, str] = {}
        self.running: list[str] = []
        self.bounded: set[str] = set()

    def _rows(self) -> list[Row]:
        """The rows with the later splits put in: all speak of the same component of the gradient."""
        later: dict[Index, Affine] = {}
        found: list[Row] = []
        for row in reversed(self.claim.rows):
            found.append(Row(row.rule, substitute(row.before, {**later, **dict([row.split] if row.split else [])}),
                             substitute(row.after, later), row.split))
            if row.split is not None:
                i, at = row.split
                later = {**later, i: at.substitute(later)}
        self.target = tuple(s.substitute(later) for s in self.claim.wrt.subscripts) if self.claim.wrt else ()
        return found[::-1]

    # Names.

    def named(self, thing: object, stem: str) -> str:
        """An identifier that stands for this and nothing else: no other name, no word of Coq's or of the rules."""
        if thing not in self._names:
            stem = re.sub(r"[^A-Za-z0-9δ]+", "_", stem).strip("_") or "x"
            stem = stem if not stem[0].isdigit() else f"x{stem}"
            name, number = stem, 0
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._names[thing] = name
        return self._names[thing]

    def tensor(self, t: Tensor) -> str:
        self.tensors[t.name] = t
        return self.named(t, t.name)

    def index(self, i: Index) -> str:
        return self.named(i, i.name)

    def function(self, name: str, arity: int) -> str:
        if name == "exp":
            return "exp"
        self.functions[name] = arity
        base, argument = split_derivative(name)
        if argument is not None and name not in self.laws:
            arguments = tuple(Component(Tensor(f"argument {n}", ()), ()) for n in range(arity))
            self.laws[name] = apply_law(Apply(name, arguments))
        return self.named(("function", name), name if argument is None else f"{base}_by_{argument + 1}")

    # Extents.

    def _extents(self, free: int) -> _Extents:
        e = _Extents()
        values = [x.value for x in self.equations] + [x.target for x in self.equations]
        lines = [side for row in self.rows for side in (row.before, row.after)]
        middle = [m.term.expr for found in self.moves.values() for _, some in found for m in some if m.term]
        every = [*values, *lines, *middle]
        for root in every:
            e.see(root)
            for node in nodes(root):
                if isinstance(node, Reduce):
                    for i in node.indices:
                        e.index(i)
        for n, row in enumerate(self.rows):
            for _, found in self.moves[n]:
                for move in found:
                    if move.index is None:
                        for i in (*move.delta.left.indices, *(move.delta.free)):
                            e.stay(i)
                    elif row.rule == "solve" and move.at is not None:
                        e.join(("place", move.at, move.index.extent), move.index, move.index.extent)
                    elif row.rule == "residues" and move.at is not None:
                        for i in (move.index, *move.at.indices):
                            e.stay(i)
        single = any(row.rule == "single" for row in self.rows)
        for i in [n for n in e.values if isinstance(n, Index)]:
            if single and i.extent == 1:
                e.stay(i)
        for root in every:
            for a in _affines(root):
                most = max((abs(c) for _, c in a.terms), default=0)
                for i, c in a.terms:
                    if (len(a.terms) > 1 and abs(c) < most) or (free == 1 and a.plain is None):
                        e.stay(i)
        if free == 2:
            e.numbers |= set(e.values)
        return e

    def size(self, node: object) -> str:
        """The extent of a class of axes and indices: a number, or a variable."""
        extent = self.extents.values[node]
        root = self.extents.find(node, extent)
        if root in self.literal and isinstance(extent, int):
            return str(extent)
        if root not in self.sizes:
            one = next((n for n in self.extents.values if isinstance(n, Index) and self.extents.index(n) == root), None)
            stem = extent if isinstance(extent, str) else f"E_{one.name}" if one is not None else "E"
            self.sizes[root] = self.named(("extent", root), stem)
        return self.sizes[root]

    def extent(self, i: Index) -> str:
        return self.size(self.extents.index(i))

    def axis(self, tensor: Tensor, k: int) -> str:
        return self.size(self.extents.axis(tensor, k))

    # Lines.

    def affine(self, a: Affine) -> str:
        if a.plain is not None:
            return self.index(a.plain)
        text = ""
        for i, c in a.terms:
            part = self.index(i) if abs(c) == 1 else f"{abs(c)} * {self.index(i)}"
            text += (" - " if c < 0 else " + ") + part if text else ("- " if c < 0 else "") + part
        if a.offset or not text:
            text += (" - " if a.offset < 0 else " + ") + str(abs(a.offset)) if text else str(a.offset)
        return f"({text})%Z"

    def delta(self, d: Delta) -> str:
        """The condition of a bracket."""
        if isinstance(d.right, Component):
            return f"(at_id {self.affine(d.left)} {self.line(d.right)})"
        return f"({self.affine(d.left)} =? {self.affine(d.right)})%Z"

    def guard(self, g: Guard) -> str:
        return f"(inside {self.affine(g.subscript)} {self.size(self.place(g.subscript, g.extent))})"

    def place(self, s: Affine, extent: Extent) -> object:
        return self.extents.find(("place", s, extent), extent)

    def condition(self, c: Component) -> str:
        parts = [
            f"inside {self.affine(s)} {self.axis(c.tensor, k)}"
            for k, (s, e) in enumerate(zip(c.subscripts, c.tensor.shape, strict=True)) if not s.within(e)
        ]
        return " && ".join(parts)

    def padded(self, c: Component, kind: str, value: str) -> str:
        """A read with what it gives outside; `kind` is the operation that chooses."""
        test = self.condition(c) if c.pad is not None else ""
        if not test:
            return value
        real = c.tensor.dtype == "real"
        if not real:
            return f"(if ({test})%bool then {value} else {c.pad})"
        outside = self.constant("minus_infinity") if c.pad == "-inf" else self.number(Fraction(c.pad or 0))
        return f"({kind} ({test})%bool {value} {outside})"

    def constant(self, name: str) -> str:
        self.constants[name] = self.named(("constant", name), name)
        return self.constants[name]

    def number(self, value: Fraction) -> str:
        if value in (0, 1):
            return "one" if value else "zero"
        return f"(num ({value.numerator} # {value.denominator}))"

    def exponent(self, value: Fraction) -> str:
        self.powers |= value != 1
        return f"({value.numerator} # {value.denominator})"

    def line(self, e: Expr) -> str:
        """An expression as an element of K, or of Z for a component of a tensor of numbers."""
        match e:
            case Constant(value=Fraction() as value):
                return self.number(value)
            case Constant(value=str() as name):
                return self.constant(name)
            case Size(extent=name):
                return self.constant(f"number_of_{name}")
            case Component():
                return self.padded(e, "read", self.component(e))
            case Add(terms=parts):
                return f"({' + '.join(map(self.line, parts))})"
            case Multiply(factors=parts):
                return f"({' * '.join(map(self.line, parts))})"
            case Power(base=base, exponent=r):
                return f"(power {self.exponent(r)} {self.line(base)})"
            case Apply(function=f, arguments=arguments):
                return f"({self.function(f, len(arguments))} {' '.join(map(self.line, arguments))})"
            case Delta():
                return f"(bracket {self.delta(e)})"
            case Guard():
                return f"(bracket {self.guard(e)})"
            case Reduce(kind="sum", indices=indices, body=body):
                return self.nested("sum", indices, self.line(body))
            case Reduce(kind=kind, indices=indices, body=body):
                return self.over(kind, indices, self.line(body))
            case Derivative(of=of, wrt=wrt):
                return self.derivative(of, wrt)
            case _:
                raise UnprintableError(f"no text for {type(e).__name__}")

    def component(self, c: Component) -> str:
        if not c.subscripts:
            return self.tensor(c.tensor)
        return f"({' '.join([self.tensor(c.tensor), *map(self.affine, c.subscripts)])})"

    def nested(self, operator: str, indices: Sequence[Index], body: str) -> str:
        head = "".join(f"({operator} {self.extent(i)} (fun {self.index(i)} => " for i in indices)
        return head + body + "))" * len(indices)

    def over(self, kind: str, indices: Sequence[Index], body: str) -> str:
        """A maximum, a position or a logsumexp over one or two indices."""
        if len(indices) > 2 or (kind == "argmax" and radix_of(tuple(indices)) is None):
            raise UnprintableError(f"a {kind} over {len(indices)} indices")
        self.maxima |= "max" in kind
        sizes = " ".join(map(self.extent, indices))
        return f"({kind}{'2' * (len(indices) == 2)} {sizes} (fun {' '.join(map(self.index, indices))} => {body}))"

    def derivative(self, of: Expr, wrt: Component) -> str:
        """∂of/∂wrt: a tangent, or the error signal."""
        claim = self.claim
        if claim.equation is None or claim.wrt is None:
            raise UnprintableError("a derivative outside a lemma")
        y = claim.equation.target
        if of is Component(LOSS, ()) and wrt.tensor == y.tensor and claim.signal is not None:
            mapping = {s.plain: at for s, at in zip(y.subscripts, wrt.subscripts, strict=True) if s.plain is not None}
            return self.line(Component(claim.signal.tensor, tuple(s.substitute(mapping) for s in claim.signal.subscripts)))
        if wrt.tensor != self.moving or wrt.subscripts != self.target:
            raise UnprintableError(f"a derivative by {wrt}")
        if of is Component(LOSS, ()):
            return "(snd y_moved)" if y.tensor == LOSS else "(snd (loss y_moved))"
        if isinstance(of, Component) and of.tensor == y.tensor:
            return f"(snd {self.applied('y_moved', of.subscripts)})"
        return f"(snd {self.dual(of)})"

    def applied(self, name: str, subscripts: Sequence[Affine]) -> str:
        return f"({' '.join([name, *map(self.affine, subscripts)])})" if subscripts else name

    def dual(self, e: Expr) -> str:
        """An expression over dual numbers, x being moved along one component."""
        depends = self.moving in e.tensors
        match e:
            case Reduce(kind="sum", indices=indices, body=body):
                return self.nested("dsum", indices, self.dual(body))
            case Add(terms=parts):
                text = self.dual(parts[0])
                for part in parts[1:]:
                    text = f"(dadd {text} {self.dual(part)})"
                return text
            case _ if not depends or isinstance(e, Delta) or (isinstance(e, Reduce) and e.kind == "argmax"):
                return f"(still {self.line(e)})"
            case Component():
                if e.pad is not None:
                    return self.padded(e, "dread", self.applied("x_moved", e.subscripts))
                return self.applied("x_moved", e.subscripts)
            case Multiply(factors=factors):
                text, moving = "", False
                for factor in factors:
                    if self.moving in factor.tensors:
                        one = self.dual(factor)
                        text = one if not text else f"({'dmul' if moving else 'dleft'} {text} {one})"
                        moving = True
                    else:
                        one = self.line(factor)
                        text = one if not text else f"(dright {text} {one})" if moving else f"({text} * {one})"
                return text
            case Power(base=base, exponent=r):
                return f"(dpower {self.exponent(r)} {self.exponent(r - 1)} {self.dual(base)})"
            case Apply(function=f, arguments=arguments):
                if split_derivative(f)[1] is not None:
                    return f"({self.line(e)}, snd {self.dual(apply_law(e))})"
                return self.moved_function(f, arguments)
            case Reduce(kind="max" | "logsumexp" as kind, indices=indices, body=body):
                if kind == "max" and radix_of(indices) is None:
                    return self.dual(Reduce("max", indices[:1], Reduce("max", indices[1:], body)))
                return self.over(f"d{kind}", indices, self.dual(body))
            case _:
                raise UnprintableError(f"no derivative of {type(e).__name__}")

    def moved_function(self, f: str, arguments: Sequence[Expr]) -> str:
        names = [self.function(f, len(arguments))]
        names += [self.function(derivative_name(f, n), len(arguments)) for n in range(len(arguments))]
        if len(arguments) == 1:
            return f"(dfun {names[0]} {names[1]} {self.dual(arguments[0])})"
        a, b = arguments
        if self.moving not in b.tensors:
            u, v = self.named("u", "u"), self.line(b)
            return f"(dfun (fun {u} => {names[0]} {u} {v}) (fun {u} => {names[1]} {u} {v}) {self.dual(a)})"
        if self.moving not in a.tensors:
            u, v = self.named("u", "u"), self.line(a)
            return f"(dfun ({names[0]} {v}) ({names[2]} {v}) {self.dual(b)})"
        return f"(dfun2 {' '.join(names)} {self.dual(a)} {self.dual(b)})"

    # Proofs.

    def _moves(self, row: Row) -> list[tuple[Term, list[Move]]]:
        """For each term of the line before, what clears its brackets one by one."""
        once: dict[str, Callable[[Term], Move | None]] = {
            "bracket": bracket_once,
            "solve": lambda term: solve_once(term, self.spatial),
            "residues": lambda term: residue_once(term, self.spatial),
        }
        if row.rule not in once:
            return []
        return [(term, list(moves(term, once[row.rule]))) for term in terms_of(row.before)]

    def proof(self, number: int, row: Row) -> str:
        match row.rule:
            case "chain":
                return "apply gradient_of_loss; intros; reflexivity."
            case "definition":
                return "unfold y_moved; reflexivity."
            case "error_signal":
                return "reflexivity." if self.claim.constant is None else "same ltac:(first [apply signal | known])."
            case "bracket" | "solve" | "residues":
                return self.cleared(row, self.moves[number])
            case "distribute":
                return "first [spread | same tidy]."
            case "radix":
                return self.radix(row)
            case "take_out":
                return "first [symmetry; pull; same tidy | same ltac:(first [tidy | pull; same tidy])]."
            case "single":
                return "repeat first [rewrite single_term | same ltac:(repeat rewrite single_term; same tidy)]."
            case rule if rule.startswith("derivative."):
                return "unfold x_moved; duals; same ltac:(first [tidy | known])."
            case "law" | "reuse" | "cite":
                return "same ltac:(first [known | tidy])."
            case _:
                return "same tidy."

    def path(self, number: int, count: int) -> str:
        """To one term of a sum."""
        text = "apply (f_equal2 add); [ | reflexivity]. " * (count - 1 - max(number, 0))
        return text + ("apply (f_equal2 add); [reflexivity | ]. " if number else "")

    def under(self, indices: Iterable[Index], theorem: str) -> str:
        return "".join(f"apply {theorem}; intros {self.index(i)} ?; cbv beta. " for i in indices)

    def cleared(self, row: Row, every: list[tuple[Term, list[Move]]]) -> str:
        """One bracket after the other."""
        terms: list[Expr | None] = [term.expr for term, _ in every]
        text = ""
        current = row.before
        for n, (term, found) in enumerate(every):
            for move in found:
                alive = [t for t in terms if t is not None]
                place = sum(t is not None for t in terms[:n])
                if move.term is None:
                    terms[n] = None
                    after = add(t for t in terms if t is not None)
                    tactic = self.path(place, len(alive)) if False else ""
                    text += f"transitivity {self.line(after)}. {{ {tactic}vanishing. }} "
                    break
                terms[n] = move.term.expr
                after = add(t for t in terms if t is not None)
                if after is not current:
                    tactic = self.path(place, len(alive)) + self.clear(row.rule, term, move)
                    text += f"transitivity {self.line(after)}. {{ {tactic} }} "
                term, current = move.term, after
        return text + "same tidy."

    def clear(self, rule: str, term: Term, move: Move) -> str:
        if move.index is None or move.at is None:
            return self.under(term.indices, "sum_ext") + "same tidy."
        k = term.indices.index(move.index)
        outer, inner = term.indices[:k], term.indices[k + 1 :]
        if rule == "residues":
            (p, m), = move.at.terms or ((move.index, 1),)
            count = self.extent(p) if move.at.terms else "1"
            return (
                self.under(outer, "sum_ext") + f"apply (residue_class _ {m} ({move.at.offset}) _ {count}); "
                "[lia | lia | lia | intros; cbv beta; absent | intros; cbv beta; same tidy]."
            )
        others = multiply(f for f in term.factors if f is not move.delta)
        body = f"(fun {self.index(move.index)} => {self.line(others)})"
        test = f"(fun {self.index(move.index)} => {self.delta(move.delta)})"
        size, at = self.extent(move.index), self.affine(move.at)
        descend = self.under(outer, "sum_ext") + self.under(inner, "sum_inner")
        if rule == "bracket":
            return descend + (
                f"apply (clear_bracket {size} {test} {at} _ {body}); "
                "[arith | intros; arith | arith | intros; cbv beta; ring | cbv beta; same tidy]."
            )
        left = self.line(substitute(others, {move.index: move.at}))
        return descend + (
            f"eapply eq_trans; [apply (solve_bracket {size} {test} {at} _ {body} {left}); "
            "[intros; arith | arith | intros; cbv beta; ring | cbv beta; same tidy] | same tidy]."
        )

    def radix(self, row: Row) -> str:
        """Each bracket between two numbers as those between their digits."""
        text = ""
        for d in dict.fromkeys(n for n in nodes(row.before) if isinstance(n, Delta)):
            if pairs := digits(d):
                parts = [self.line(Delta(Affine.of(a), Affine.of(b))) for a, b in pairs]
                text += f"try replace {self.line(d)} with ({' * '.join(parts)}) by digits; "
        return f"same ltac:({text}same tidy)."

    # The section.

    @property
    def text(self) -> str:
        claim, rows = self.claim, self.rows
        lines = [self.line(rows[0].before), *(self.line(row.after) for row in rows)]
        for number, row in enumerate(rows[1:], 1):
            if self.line(row.before) != lines[number]:
                raise UnprintableError(f"the line before {row.rule} is not the one above it")
        proofs = [self.proof(n, row) for n, row in enumerate(rows)]
        body: list[str] = []
        hypotheses: list[str] = []
        known: list[str] = []
        if claim.wrt is not None and claim.equation is not None:
            body += self._moved(claim.wrt, claim.equation)
            if claim.signal is not None:
                hypotheses += self._gradient(claim.equation, claim.signal, claim.constant)
        read = {t for row in rows for side in (row.before, row.after) for t in side.tensors}
        for fact in claim.facts:
            if fact.tensor in read:
                known.append(self.named(("definition", fact), f"def_{fact.tensor.name}"))
                hypotheses.append(self._definition(known[-1], fact))
        hypotheses += self._ranges()
        for name in list(self.laws):
            known.append(self.named(("law", name), f"law_{name}"))
            arguments = [Component(Tensor(f"argument {n}", ()), ()) for n in range(self.functions[name])]
            quantified = " ".join(self.named(a.tensor, "a") for a in arguments)
            left = f"{self.function(name, len(arguments))} {quantified}"
            value = self.line(self.laws[name])
            hypotheses.append(f"Hypothesis {known[-1]} : forall {quantified}, {left} = {value}.")
        rewrites = "; ".join(f"rewrite ?{h} by arith" if h in self.bounded else f"rewrite ?{h}" for h in known)
        tactic = f"Ltac known := progress ({rewrites}); first [reflexivity | tidy]." if known else "Ltac known := fail."
        declared = self._declared()
        steps = [
            f"Lemma {self.name}_{n} : (* {row.rule} *)\n  {lines[n - 1]}\n  = {lines[n]}.\nProof. {proofs[n - 1]} Qed."
            for n, row in enumerate(rows, 1)
        ]
        whole = f"{self.name}_1"
        for n in range(2, len(rows) + 1):
            whole = f"(eq_trans {whole} {self.name}_{n})"
        theorem = f"Theorem {self.name} :\n  {lines[0]}\n  = {lines[-1]}.\nProof. exact {whole}. Qed."
        title = f"(* {str(claim.what).replace('(*', '( *').replace('*)', '* )')} *)"
        return "\n".join([
            f"Section {self.name}_section. {title}", *declared, *body, *hypotheses, tactic, *steps, theorem,
            f"End {self.name}_section.", "",
        ])

    def _moved(self, wrt: Component, equation: Equation) -> list[str]:
        places = [self.named(("place", k), f"p{k}") for k in range(len(wrt.subscripts))]
        tests = [f"bracket ({p} =? {self.affine(s)})%Z" for p, s in zip(places, self.target, strict=True)]
        value = f"({' '.join([self.tensor(wrt.tensor), *places])}, {' * '.join(tests) or 'one'})"
        own = " ".join(f"({p} : Z)" for p in places)
        indices = " ".join(f"({self.index(i)} : Z)" for i in equation.target.free)
        return [
            f"Definition x_moved {own} : dual := {value}.",
            f"Definition y_moved {indices} : dual := {self.dual(equation.value)}.",
        ]

    def _gradient(self, equation: Equation, signal: Component, constant: Expr | None) -> list[str]:
        indices = equation.target.free
        names = " ".join(map(self.index, indices))
        every = f"forall {names}, " if names else ""
        moved = f"({'Z -> ' * len(indices)}dual)"
        at = f"(v {names})" if names else "v"
        same = f"({every}fst {at} = fst {self.applied('y_moved', [Affine.of(i) for i in indices])})"
        total = self.nested("sum", indices, f"({self.line(signal)} * snd {at})")
        found = [
            f"Variable loss : {moved} -> dual.",
            f"Hypothesis gradient_of_loss : forall v : {moved}, {same} -> snd (loss v) = {total}.",
        ]
        if constant is not None:
            found.append(f"Hypothesis signal : {every}{self.line(signal)} = {self.line(constant)}.")
        return found

    def _definition(self, name: str, fact: Equation) -> str:
        indices = fact.target.free
        if any(s.plain is None for s in fact.target.subscripts):
            self.bounded.add(name)
            bounds = "".join(f"(0 <= {self.index(i)} < {self.extent(i)})%Z -> " for i in indices)
        else:
            bounds = ""
        every = f"forall {' '.join(map(self.index, indices))}, " if indices else ""
        return f"Hypothesis {name} : {every}{bounds}{self.line(fact.target)} = {self.line(fact.value)}."

    def _ranges(self) -> list[str]:
        """Where the indices of the gradient run, that the equation reads inside its tensors, and how the shapes fit."""
        found: list[str] = []
        free = list(dict.fromkeys(i for row in self.rows for side in (row.before, row.after) for i in side.free))
        for i in dict.fromkeys([*(i for s in self.target for i in s.indices), *free]):
            self.running.append(self.index(i))
            found.append(f"(0 <= {self.index(i)} < {self.extent(i)})%Z")
        for equation in self.equations:
            for c in components(equation.value):
                for k, s in enumerate(c.subscripts):
                    if c.pad is None and s.terms and not (s.plain and s.plain.extent == c.tensor.shape[k]):
                        low, high = self._bounds(s)
                        found.append(f"(0 <= {low} /\\ {high} < {self.axis(c.tensor, k)})%Z")
        if self.claim.wrt is not None:
            for k, s in enumerate(self.target):
                if s.plain is None:
                    found.append(f"(0 <= {self.affine(s)} < {self.axis(self.claim.wrt.tensor, k)})%Z")
        for row in self.rows:
            if row.split is not None:
                found += self._split(*row.split)
        kept = dict.fromkeys(f for f in found)
        return [f"Hypothesis {self.named(('range', f), f'range_{n}')} : {f}." for n, f in enumerate(kept, 1)]

    def _bounds(self, a: Affine) -> tuple[str, str]:
        parts = [(c, f"{abs(c)} * ({self.extent(i)} - 1)") for i, c in a.terms]
        low = "".join(f" - {text}" for c, text in parts if c < 0)
        high = "".join(f" + {text}" for c, text in parts if c > 0)
        return f"{a.offset}{low}", f"{a.offset}{high}"

    def _split(self, index: Index, at: Affine) -> list[str]:
        """How the extents of a split index and of its digits fit."""
        whole = self.extent(index)
        lead, m = max(at.terms, key=lambda t: t[1])
        if len(at.terms) > 1:
            return [f"({whole} = {m} * {self.extent(lead)})%Z"]
        return [f"({m} * ({self.extent(lead)} - 1) + {at.offset} < {whole} <= {m} * {self.extent(lead)} + {at.offset})%Z"]

    def _declared(self) -> list[str]:
        found: list[str] = []
        integers = [*dict.fromkeys([*self.sizes.values(), *self.running])]
        if integers:
            found.append(f"Variables ({' '.join(integers)} : Z).")
        for name, arity in self.functions.items():
            found.append(f"Variable {self.function(name, arity)} : {'K -> ' * arity}K.")
        if self.constants:
            found.append(f"Variables ({' '.join(self.constants.values())} : K).")
        arguments = {t for name in self.laws for t in self.laws[name].tensors}
        for t in self.tensors.values():
            if t not in arguments:
                kind = "K" if t.dtype == "real" else "Z"
                found.append(f"Variable {self.tensor(t)} : {'Z -> ' * len(t.shape)}{kind}.")
        return found
