"""Lines printed for Coq: the expressions of a claim over a commutative ring, derivatives as tangents of dual numbers.

The theorems of `proof/Rules.v` and the tactics of `proof/Steps.v` stand in front of what is printed, so that a file is
complete in itself. Nothing that is printed decides anything: what Coq refuses is not proved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from fractions import Fraction
from functools import cache
from pathlib import Path

from chainrule.derive.calculus import apply_law, radix_of
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
)
from chainrule.ir.functions import derivative_name, split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import substitute
from chainrule.verify.claims import Claim, Extents, Link, aligned

PROOF = Path(__file__).parents[1] / "proof"
RULES = ("Rules.v", "Steps.v")
WORDS = frozenset(
    {"as", "at", "cofix", "else", "end", "exists", "exists2", "fix", "for", "forall", "fun", "if", "IF", "in", "let"}
    | {"match", "mod", "Prop", "return", "Set", "then", "Type", "using", "where", "with", "by", "true", "false", "fst"}
    | {"snd", "eq", "loss", "signal", "gradient_of_loss", "known", "divisor", "rewritten"}
)
WORD = r"[^\W\d][\w']*"
ARGUMENT = "argument "  # of a law; no tensor that is read or made has a space in its name


class UnprintableError(Exception):
    """What the printer has no text for, in words."""


@cache
def theorems(*files: str) -> str:
    """The theorems and tactics in front of what is printed: of these files, or of those that every claim needs."""
    return "\n".join((PROOF / file).read_text(encoding="utf-8") for file in files or RULES)


@cache
def words(*files: str) -> frozenset[str]:
    """The words that stand in them, which no name may be."""
    return frozenset(re.findall(WORD, re.sub(r"\(\*.*?\*\)", "", theorems(*files), flags=re.DOTALL)))


class Printer:
    """Expressions as text. What moves is known by the subclass, and so is which extents are one."""

    moving: Set[Tensor] = frozenset()

    def __init__(self) -> None:
        self._names: dict[object, str] = {}
        self._taken = {*WORDS, *words()}
        self.sizes: dict[object, str] = {}
        self.tensors: dict[Tensor, str] = {}
        self.functions: dict[str, int] = {}
        self.constants: dict[str, str] = {}
        self.assumed: dict[tuple[str, str], None] = {}
        """What a line stands on: a law of a function, a power's, no ties of a maximum."""

    def extent(self, i: Index) -> str:
        raise NotImplementedError

    def axis(self, tensor: Tensor, k: int) -> str:
        raise NotImplementedError

    def range(self, g: Guard) -> str:
        raise NotImplementedError

    def moved(self, tensor: Tensor) -> str:
        """The dual number that stands for a tensor that moves."""
        raise NotImplementedError

    def derivative(self, of: Expr, wrt: Component) -> str:
        raise UnprintableError("a derivative outside a lemma")

    # Names.

    def named(self, thing: object, stem: str) -> str:
        """An identifier that stands for this and nothing else: no other name, no word of Coq's or of the rules."""
        if thing not in self._names:
            stem = re.sub(r"[^A-Za-z0-9δ]+", "_", stem).strip("_") or "x"
            name = stem = stem if not stem[0].isdigit() else f"x{stem}"
            number = 0
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._names[thing] = name
        return self._names[thing]

    def tensor(self, t: Tensor) -> str:
        self.tensors[t] = self.named(t, t.name)
        return self.tensors[t]

    def index(self, i: Index) -> str:
        return self.named(i, i.name)

    def function(self, name: str, arity: int) -> str:
        base, argument = split_derivative(name)
        if argument is not None:
            self.assumed["law", base] = None
        if name == "exp":
            return "exp"
        self.functions[name] = arity
        return self.named(("function ", name), name if argument is None else f"{base}_by_{argument + 1}")

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
        return f"(inside {self.affine(g.subscript)} {self.range(g)})"

    def condition(self, c: Component) -> str:
        parts = [
            f"inside {self.affine(s)} {self.axis(c.tensor, k)}"
            for k, (s, e) in enumerate(zip(c.subscripts, c.tensor.shape, strict=True))
            if s.plain is None or s.plain.extent != e
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
        self.constants[name] = self.named(("constant ", name), name)
        return self.constants[name]

    def number(self, value: Fraction) -> str:
        if value in (0, 1):
            return "one" if value else "zero"
        return f"(num ({value.numerator} # {value.denominator}))"

    def exponent(self, value: Fraction) -> str:
        return f"({value.numerator} # {value.denominator})"

    def line(self, e: Expr) -> str:
        """An expression as an element of K, or of Z for a position and a component of a tensor of numbers."""
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
                return f"({' + '.join(map(self.real, parts))})"
            case Multiply(factors=parts):
                return f"({' * '.join(map(self.real, parts))})"
            case Power(base=base, exponent=r):
                return f"(power {self.exponent(r)} {self.real(base)})"
            case Apply(function=f, arguments=arguments):
                return f"({self.function(f, len(arguments))} {' '.join(map(self.real, arguments))})"
            case Delta():
                return f"(bracket {self.delta(e)})"
            case Guard():
                return f"(bracket {self.guard(e)})"
            case Reduce(kind="sum", indices=indices, body=body):
                return self.nested("sum", indices, self.real(body))
            case Reduce(kind="max") if radix_of(e.indices) is None:
                return self.line(_apart(e))
            case Reduce(kind=kind, indices=indices, body=body):
                return self.over(kind, indices, self.real(body))
            case Derivative(of=of, wrt=wrt):
                return self.derivative(of, wrt)
            case _:
                raise UnprintableError(f"no text for {type(e).__name__}")

    def real(self, e: Expr) -> str:
        """An expression as an element of K; a position and a component of a tensor of numbers too."""
        match e:
            case Reduce(kind="argmax"):
                return f"(num ({self.line(e)} # 1))"
            case Component(tensor=tensor) if tensor.dtype != "real":
                return f"(num ({self.line(e)} # 1))"
            case _:
                return self.line(e)

    def component(self, c: Component) -> str:
        if not c.subscripts:
            return self.tensor(c.tensor)
        return f"({' '.join([self.tensor(c.tensor), *map(self.affine, c.subscripts)])})"

    def nested(self, operator: str, indices: Sequence[Index], body: str) -> str:
        head = "".join(f"({operator} {self.extent(i)} (fun {self.index(i)} => " for i in indices)
        return head + body + "))" * len(indices)

    def over(self, kind: str, indices: tuple[Index, ...], body: str) -> str:
        """A maximum, a position or a logsumexp over a window: over its positions, the last index fastest."""
        first, *others = map(self.extent, indices)
        size, entries = first, f"(fun {' '.join(map(self.index, indices))} => {body})"
        for m in others:
            size = f"(cells {size} {m})"
        for m in others:
            entries = f"(joined {m} {entries})"
        return f"({kind} {size} {entries})"

    def dual_over(self, kind: str, indices: tuple[Index, ...], body: str) -> str:
        self.assumed[("ties", "max") if kind == "dmax" else ("law", "logsumexp")] = None
        first, *others = map(self.extent, indices)
        window = "".join(f"{m} :: " for m in others)
        return f"({kind} {first} ({window}nil)%list (fun {' '.join(map(self.index, indices))} => {body}))"

    def applied(self, name: str, subscripts: Sequence[Affine]) -> str:
        return f"({' '.join([name, *map(self.affine, subscripts)])})" if subscripts else name

    def dual(self, e: Expr) -> str:
        """An expression over dual numbers, x being moved along one component."""
        depends = not self.moving.isdisjoint(e.tensors)
        match e:
            case Reduce(kind="sum", indices=indices, body=body):
                return self.nested("dsum", indices, self.dual(body))
            case Add(terms=parts):
                text = self.dual(parts[0])
                for part in parts[1:]:
                    text = f"(dadd {text} {self.dual(part)})"
                return text
            case _ if not depends or isinstance(e, Delta) or (isinstance(e, Reduce) and e.kind == "argmax"):
                return f"(still {self.real(e)})"
            case Component():
                if e.pad is not None:
                    return self.padded(e, "dread", self.applied(self.moved(e.tensor), e.subscripts))
                return self.applied(self.moved(e.tensor), e.subscripts)
            case Multiply(factors=factors):
                text, moving = "", False
                for factor in factors:
                    if not self.moving.isdisjoint(factor.tensors):
                        one = self.dual(factor)
                        text = one if not text else f"({'dmul' if moving else 'dleft'} {text} {one})"
                        moving = True
                    else:
                        one = self.real(factor)
                        text = one if not text else f"(dright {text} {one})" if moving else f"({text} * {one})"
                return text
            case Power(base=base, exponent=r):
                self.assumed["power", str(r)] = None
                return f"(dpower {self.exponent(r)} {self.exponent(r - 1)} {self.dual(base)})"
            case Apply(function=f, arguments=arguments):
                if split_derivative(f)[1] is not None:
                    return f"({self.line(e)}, snd {self.dual(apply_law(e))})"
                return self.moved_function(f, arguments)
            case Reduce(kind="max" | "logsumexp" as kind, indices=indices, body=body):
                if kind == "max" and radix_of(indices) is None:
                    return self.dual(_apart(e))
                return self.dual_over(f"d{kind}", indices, self.dual(body))
            case _:
                raise UnprintableError(f"no derivative of {type(e).__name__}")

    def moved_function(self, f: str, arguments: Sequence[Expr]) -> str:
        names = [self.function(f, len(arguments))]
        names += [self.function(derivative_name(f, n), len(arguments)) for n in range(len(arguments))]
        if len(arguments) == 1:
            return f"(dfun {names[0]} {names[1]} {self.dual(arguments[0])})"
        a, b = arguments
        if self.moving.isdisjoint(b.tensors):
            u, v = self.named("u", "u"), self.real(b)
            return f"(dfun (fun {u} => {names[0]} {u} {v}) (fun {u} => {names[1]} {u} {v}) {self.dual(a)})"
        if self.moving.isdisjoint(a.tensors):
            u, v = self.named("u", "u"), self.real(a)
            return f"(dfun ({names[0]} {v}) ({names[2]} {v}) {self.dual(b)})"
        return f"(dfun2 {' '.join(names)} {self.dual(a)} {self.dual(b)})"

    def laws(self) -> Iterator[tuple[str, str, str]]:
        """What is known of the derivatives of functions: which, a name, and the hypothesis."""
        for function in [f for f in self.functions if split_derivative(f)[1] is not None]:
            arguments = tuple(Component(Tensor(f"{ARGUMENT}{n}", ()), ()) for n in range(self.functions[function]))
            names = " ".join(self.named(a.tensor, "a") for a in arguments)
            value = self.line(apply_law(Apply(function, arguments)))
            name = self.named(("law ", function), f"law_{function}")
            left = f"{self.function(function, len(arguments))} {names}"
            yield function, name, f"Hypothesis {name} : forall {names}, {left} = {value}."


class Lines(Printer):
    """The printer of one claim, by name. Of its extents those of `Extents` at this level stay numbers."""

    def __init__(self, claim: Claim, name: str, level: int = 0) -> None:
        super().__init__()
        self.claim, self.name, self.level = claim, name, level
        self.x, self.y = f"{name}_x", f"{name}_y"  # moved along one component of x
        lines = aligned(claim)
        self.rows, self.cleared, self.target = lines.rows, lines.cleared, lines.target
        self.extents = Extents(claim, lines, level)
        self.moving = frozenset() if claim.wrt is None else frozenset({claim.wrt.tensor})

    def size(self, root: object) -> str:
        """The extent of axes and indices that are one: a number, or a variable."""
        extent = self.extents.values[root]
        if root in self.extents.literal and isinstance(extent, int):
            return str(extent)
        self.sizes[root] = self.named(("extent ", root), self.extents.name(root))
        return self.sizes[root]

    def extent(self, i: Index) -> str:
        return self.size(self.extents.index(i))

    def axis(self, tensor: Tensor, k: int) -> str:
        return self.size(self.extents.axis(tensor, k))

    def range(self, g: Guard) -> str:
        return self.size(self.extents.place(g.subscript, g.extent))

    def moved(self, tensor: Tensor) -> str:
        """The dual numbers that stand for it: x moved along one component, y of that, and what links make of these."""
        claim = self.claim
        if claim.equation is not None and tensor == claim.equation.tensor:
            return self.y
        for link in claim.links:
            if link.y.tensor == tensor:
                return f"({' '.join([self.link(link), *(self.moved(x.tensor) for x, _ in link.by)])})"
        return self.x if tensor in self.moving else self.named(("moved", tensor), tensor.name)

    def link(self, link: Link) -> str:
        """The name of y as a function."""
        return "loss" if link.y.tensor == LOSS else self.named(("link", link), link.y.tensor.name)

    def derivative(self, of: Expr, wrt: Component) -> str:
        """∂of/∂wrt: a tangent, or the factor of a link."""
        if wrt.tensor in self.moving and wrt.subscripts == self.target:
            linked = {LOSS, *(t for link in self.claim.links for t in (link.y.tensor, *(x.tensor for x, _ in link.by)))}
            if isinstance(of, Component) and of.tensor in linked:
                return f"(snd {self.applied(self.moved(of.tensor), of.subscripts)})"
            return f"(snd {self.dual(of)})"
        if of is wrt:
            return self.number(Fraction(1))
        for link in self.claim.links:
            for x, factor in link.by:
                if isinstance(of, Component) and (of.tensor, wrt.tensor) == (link.y.tensor, x.tensor):
                    own, others = (*link.y.subscripts, *x.subscripts), (*of.subscripts, *wrt.subscripts)
                    at = {s.plain: at for s, at in zip(own, others, strict=True) if s.plain is not None}
                    return self.line(substitute(factor, at))
        raise UnprintableError(f"a derivative by {wrt}")


def _apart(maximum: Reduce) -> Reduce:
    """A maximum whose positions have no numbers, as its derivative has it: one of maxima over fewer indices."""
    return Reduce("max", maximum.indices[:1], Reduce("max", maximum.indices[1:], maximum.body))
