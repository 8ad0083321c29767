"""The rules that clear away the brackets that differentiation leaves.

They work on sums of *terms*, a term being Σ over indices of a product of factors. Elimination solves a
bracket [A = B], linear in the indices, for a summed index. Where the index to solve for has a
coefficient (the s of a stride, h = s·i + p), the target's index is first split into residue classes,
h = s·h′ + r, and each class is an equation of its own in which every coefficient is ±1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

from chainrule.derive.trace import Setting, rule
from chainrule.ir.expr import (
    ONE,
    ZERO,
    Add,
    Component,
    Constant,
    Delta,
    Expr,
    Guard,
    Multiply,
    Reduce,
    add,
    multiply,
    summed,
)
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, bound, finite, fresh, iterative, nodes, rename, substitute, transform

# The order in which the rules clear a line, once no index is left to split.
ELIMINATE = ("zero", "bracket", "solve", "range", "padding", "zero")


@dataclass(frozen=True, slots=True)
class Term:
    """Σ over `indices` of the product of `factors`."""

    indices: tuple[Index, ...]
    factors: tuple[Expr, ...]

    @property
    def expr(self) -> Expr:
        return summed(self.indices, multiply(self.factors))

    @property
    def brackets(self) -> list[tuple[Delta, Affine]]:
        """The linear brackets [A = B], each with A − B."""
        return [
            (f, f.left - f.right)
            for f in self.factors
            if isinstance(f, Delta) and isinstance(f.right, Affine)
        ]

    def replace(self, old: Expr, *new: Expr) -> Term:
        """The term with one factor replaced by others."""
        at = self.factors.index(old)
        return Term(self.indices, (*self.factors[:at], *new, *self.factors[at + 1 :]))

    def substitute(self, mapping: Mapping[Index, Affine]) -> Term:
        """Put affine forms in place of indices; a summed index among them is no longer summed."""
        return Term(
            tuple(i for i in self.indices if i not in mapping),
            tuple(substitute(f, mapping) for f in self.factors),
        )


def terms_of(expr: Expr) -> list[Term]:
    """Read an expression as a sum of terms, without changing it."""
    result: list[Term] = []
    for part in expr.terms if isinstance(expr, Add) else (expr,):
        indices, body = (part.indices, part.body) if isinstance(part, Reduce) and part.kind == "sum" else ((), part)
        result.append(Term(indices, body.factors if isinstance(body, Multiply) else (body,)))
    return result


def _each_term(expr: Expr, rewrite: Iterable[Term]) -> Expr:
    return add(term.expr for term in rewrite)


@dataclass(frozen=True, slots=True)
class Move:
    """What one bracket makes of a term: with an `index`, that takes the value `at`, and without one the bracket is
    decided. There is no term left where the bracket is false everywhere."""

    delta: Delta
    term: Term | None
    index: Index | None = None
    at: Affine | None = None


def moves(term: Term | None, once: Callable[[Term], Move | None]) -> Iterator[Move]:
    """One bracket after the other, until none is left that can be cleared."""
    while term is not None and (move := once(term)) is not None:
        yield move
        term = move.term


def _cleared(term: Term, once: Callable[[Term], Move | None]) -> Term | None:
    for move in moves(term, once):
        if move.term is None:
            return None
        term = move.term
    return term


# --- distribution -------------------------------------------------------------------------------


def linear_in_brackets(expr: Expr) -> bool:
    """Whether a bracket between two affine forms stands in it, so that `distribute` opens it."""
    return Delta in expr.types and any(isinstance(n, Delta) and isinstance(n.right, Affine) for n in nodes(expr))


@rule(
    "distribute", "a·(b + c) = a·b + a·c and a·Σ_l b_l = Σ_l a·b_l",
    ("sum[k](d[k]*sum[l]([k == i]*x[l]))", "sum[k, l](d[k]*[k == i]*x[l])"),
)
def distribute(expr: Expr, setting: Setting) -> Expr:
    """Bring every bracket into one product under one sum. A part without brackets stays closed."""
    taken = [*setting.wrt.free]

    @iterative
    def expand(node: Expr) -> Steps[list[Term]]:
        if not linear_in_brackets(node):
            taken.extend(bound(node))
            return [Term((), node.factors if isinstance(node, Multiply) else (node,))]
        match node:
            case Add(terms=parts):
                result: list[Term] = []
                for part in parts:
                    result += yield (part,)
                return result
            case Multiply(factors=factors):
                result = [Term((), ())]
                for factor in factors:
                    inner: list[Term] = yield (factor,)
                    result = [Term((*a.indices, *b.indices), (*a.factors, *b.factors)) for a in result for b in inner]
                return result
            case Reduce(kind="sum", indices=indices, body=body):
                new: dict[Index, Index] = {}
                for index in indices:
                    new[index] = fresh(index.name, index.extent, taken)
                    taken.append(new[index])
                inner = yield (rename(body, new),)
                return [Term((*new.values(), *t.indices), t.factors) for t in inner]
            case _:
                return [Term((), (node,))]

    return _each_term(expr, expand(expr))


# --- elimination --------------------------------------------------------------------------------


@rule("zero", "a·0 = 0 and a + 0 = a", ("a[i]*0 + b[i]", "b[i]"))
def zero(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        match node:
            case Multiply(factors=factors) if ZERO in factors:
                return ZERO
            case Add(terms=parts) if ZERO in parts:
                return add(t for t in parts if t is not ZERO)
            case Reduce(kind="sum", body=body) if body is ZERO:
                return ZERO
            case _:
                return node

    return transform(expr, visit, Multiply, Add, Reduce) if Constant in expr.types else expr


@rule("bracket", "Σ_k [k = i]·a_k = a_i", ("sum[k](d[k]*[k == i])", "d[i]"))
def bracket(expr: Expr, setting: Setting) -> Expr:
    """A bracket that equates a summed index with another one of the same extent leaves one term."""

    return _each_term(expr, (_cleared(term, bracket_once) or term for term in terms_of(expr)))


def bracket_once(term: Term) -> Move | None:
    for delta, difference in term.brackets:
        pair = [i for i, _ in difference.terms]
        if not difference.offset and sorted(c for _, c in difference.terms) == [-1, 1]:
            for index, other in (pair, pair[::-1]):
                if index in term.indices and other.extent == index.extent:
                    at = Affine.of(other)
                    return Move(delta, term.replace(delta).substitute({index: at}), index, at)
        elif bounds := difference.bounds():
            if bounds == (0, 0):
                return Move(delta, term.replace(delta))
            if bounds[0] > 0 or bounds[1] < 0:
                return Move(delta, Term((), (ZERO,)))  # whatever it stands beside, a read outside too
    return None


@rule("single", "Σ_p a_p = a_0 where p takes one value", ("sum[p<1](d[i + p])", "d[i]"))
def single(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        match node:
            case Reduce(kind="sum", indices=indices, body=body):
                ones = {i: Affine() for i in indices if i.extent == 1}
                return summed((i for i in indices if i not in ones), substitute(body, ones))
            case _:
                return node

    return transform(expr, visit, Reduce)


@rule(
    "solve", "Σ_i [i + c = h]·a_i = [0 ≤ h − c < I]·a_(h−c)",
    ("sum[g](c[g]*[g + 1 == h])", "c[h - 1]*[0 <= h - 1 < 4]"),
)
def solve(expr: Expr, setting: Setting) -> Expr:
    """A linear bracket leaves the one index that solves it, where that lies in range."""
    spatial = spatial_of(setting.equation)
    return _each_term(expr, (_cleared(t, lambda term: solve_once(term, spatial)) or t for t in terms_of(expr)))


def solve_once(term: Term, spatial: Set[str]) -> Move | None:
    for delta, difference in term.brackets:
        candidates = [(i, c) for i, c in difference.terms if i in term.indices and abs(c) == 1]
        candidates.sort(key=lambda ic: ic[0].name not in spatial)
        if candidates:
            index, c = candidates[0]
            at = (Affine.of(index) * c - difference) * c
            at = Affine(tuple(sorted(at.terms, key=lambda t: t[1] < 0)), at.offset)
            guarded = term.replace(delta, Guard(at, index.extent))
            return Move(delta, guarded.substitute({index: at}), index, at)
    return None


def spatial_of(equation: Equation) -> Set[str]:
    """The names of the indices of y: solving for them keeps the sum over the window, which is short."""
    return {index.name for index in equation.indices}


@rule("range", "[0 ≤ i < I] = 1 for an index in its range", ("d[i]*[0 <= i < 4]", "d[i]*1"))
def discharge_range(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Guard):
            bounds = node.subscript.bounds()
            if node.subscript.within(node.extent):
                return ONE
            if bounds and isinstance(node.extent, int) and (bounds[1] < 0 or bounds[0] >= node.extent):
                return ZERO
        # A false bracket hides a read outside that it stands beside; the number 0 would not.
        return ZERO if isinstance(node, Multiply) and ZERO in node.factors else node

    return transform(expr, visit, Guard, Multiply) if Guard in expr.types else expr


@rule(
    "padding", "[0 ≤ h < I]·a_h = a_h read as 0 outside its range",
    ("[0 <= h - 1 < 4]*c[h - 1]", "1*pad(c, 0)[h - 1]"),
)
def padding(expr: Expr, setting: Setting) -> Expr:
    """A range bracket becomes a read padded with zeros, where it stands beside a factor read there.

    It stays where a function, a power or a maximum that need not be finite outside the range depends on its index: the
    executors take a product with a false bracket as 0. Beside it no read may be out of range either way, so
    every other one that might be is padded too.
    """

    def clear(term: Term) -> Term:
        guards = [f for f in term.factors if isinstance(f, Guard)]
        if not guards:
            return term
        read = {f: _padded(f) for f in term.factors}
        covered = [
            g for g in guards
            if any(_reads_at(f, g) for f in term.factors) and all(_finite(f, g) for f in term.factors)
        ]
        return Term(term.indices, tuple(ONE if f in covered else read[f] for f in term.factors))

    return _each_term(expr, map(clear, terms_of(expr)))


def _reads_at(expr: Expr, guard: Guard) -> bool:
    """Whether a factor is, or may be made, 0 where the guard is: a read padded with another number is not."""
    return isinstance(expr, Component) and expr.pad in (None, 0) and any(
        s == guard.subscript and e == guard.extent
        for s, e in zip(expr.subscripts, expr.tensor.shape, strict=True)
    )


def _finite(expr: Expr, guard: Guard) -> bool:
    """Whether a factor is finite also where the guard is false: a polynomial in its indices is."""
    return all(
        finite(node) for node in nodes(expr) if any(i in node.free for i in guard.subscript.indices)
    )


def _padded(expr: Expr) -> Expr:
    """Every read that is not provably in range gives 0 outside."""

    def visit(node: Expr) -> Expr:
        if isinstance(node, Component) and node.pad is None:
            inside = all(s.within(e) for s, e in zip(node.subscripts, node.tensor.shape, strict=True))
            return node if inside else Component(node.tensor, node.subscripts, Fraction(0))
        return node

    return transform(expr, visit, Component)


# --- splitting an index of the target -----------------------------------------------------------


def find_radix(expr: Expr, target: Iterable[Index]) -> tuple[Index, Affine] | None:
    """An index m of the target in a bracket [c·H·W + i·W + j = m] that takes each value once: then m
    is written as that mixed-radix number, over fresh indices."""
    target = tuple(target)
    for term in terms_of(expr):
        for _, difference in term.brackets:
            for m, c in difference.terms:
                rest = (difference - Affine.of(m) * c) * -c
                if (
                    m in target and abs(c) == 1 and sum(i.extent != 1 for i in rest.indices) > 1
                    and all(i in term.indices for i in rest.indices) and rest.radix(m.extent)
                ):
                    taken = [*target, *bound(expr), *expr.free]
                    digits: dict[Index, Affine] = {}
                    for i in rest.indices:
                        new = fresh(i.name, i.extent, taken)
                        taken.append(new)
                        digits[i] = Affine.of(new)
                    return m, rest.substitute(digits)
    return None


@rule("radix", "[H·c + i = H·c′ + i′] = [c = c′][i = i′]", ("d[k]*[3*g + k == 3*j + i]", "d[k]*[k == i]*[g == j]"))
def radix(expr: Expr, setting: Setting) -> Expr:
    """Two mixed-radix numbers are equal exactly when their digits are."""

    def clear(term: Term) -> Term:
        for delta, _ in term.brackets:
            pairs = digits(delta)
            if pairs:
                return clear(term.replace(delta, *(Delta(Affine.of(a), Affine.of(b)) for a, b in pairs)))
        return term

    return _each_term(expr, map(clear, terms_of(expr)))


def digits(delta: Delta) -> list[tuple[Index, Index]] | None:
    """The digits that two mixed-radix numbers over the same extents must share to be equal."""
    left, right = delta.left, delta.right
    if not isinstance(right, Affine) or len(left.terms) < 2 or len(left.terms) != len(right.terms):
        return None
    if left.offset or right.offset or set(left.indices) & set(right.indices):
        return None
    size = 1
    for index in left.indices:
        if isinstance(index.extent, str):
            return None
        size *= index.extent
    by_place = sorted(left.terms, key=lambda t: (t[1], t[0].extent == 1))
    others = sorted(right.terms, key=lambda t: (t[1], t[0].extent == 1))
    same = all(a[1] == b[1] and a[0].extent == b[0].extent for a, b in zip(by_place, others, strict=True))
    return [(a[0], b[0]) for a, b in zip(by_place, others, strict=True)] if same and left.radix(size) else None


def find_stride(expr: Expr, target: Iterable[Index], setting: Setting) -> tuple[Index, int] | None:
    """An index h of the target in a bracket [s·i + … = h] whose index of y has a coefficient s ≠ ±1."""
    spatial = spatial_of(setting.equation)
    target = tuple(target)
    for term in terms_of(expr):
        for _, difference in term.brackets:
            summed_here = [(i, c) for i, c in difference.terms if i in term.indices]
            outer = [(i, c) for i, c in summed_here if i.name in spatial]
            others = [i for i, _ in summed_here if i.name not in spatial]
            free = [(i, c) for i, c in difference.terms if i in target]
            if (
                len(outer) == 1 and abs(outer[0][1]) > 1 and len(others) <= 1 and len(free) == 1
                and abs(free[0][1]) == 1 and len(difference.terms) == len(summed_here) + 1
                and not isinstance(free[0][0].extent, str)
            ):
                return free[0][0], abs(outer[0][1])
    return None


@rule(
    "residues", "[s·i + p = s·h + r] = [i + p′ = h] with p = s·p′ + r",
    ("sum[k, p<3](d[k]*w[p]*[2*k + p == 2*j + 1])", "sum[k, p<1](d[k]*w[2*p + 1]*[k + p - j == 0])"),
)
def residues(expr: Expr, setting: Setting) -> Expr:
    """Once h is split into residue classes of the stride, only one class of the window's index can
    satisfy the bracket, and the stride divides what is left. Where more than that one index is not
    divisible by it, nothing is known of any of them, and the bracket stays as it is."""
    spatial = spatial_of(setting.equation)
    cleared = (_cleared(t, lambda term: residue_once(term, spatial)) for t in terms_of(expr))
    return add(term.expr for term in cleared if term is not None)


def residue_once(term: Term, spatial: Set[str]) -> Move | None:
    for delta, difference in term.brackets:
        strides = {abs(c) for i, c in difference.terms if i not in term.indices or i.name in spatial} - {1}
        for stride in sorted(strides, reverse=True):
            odd = [(i, c) for i, c in difference.terms if c % stride]
            if len(odd) > 1 or any(i not in term.indices or isinstance(i.extent, str) for i, _ in odd):
                continue
            solved = _residue_class(term, difference, odd[0] if odd else None, stride)
            if solved is None:
                return Move(delta, None)
            new, difference, index, at = solved
            divided = Affine(tuple((i, c // stride) for i, c in difference.terms), difference.offset // stride)
            place = term.factors.index(delta)
            factors = (*new.factors[:place], Delta(divided, Affine()), *new.factors[place + 1 :])
            return Move(delta, Term(new.indices, factors), index, at)
    return None


def _residue_class(
    term: Term, difference: Affine, inner: tuple[Index, int] | None, stride: int
) -> tuple[Term, Affine, Index | None, Affine] | None:
    """The term over the one class p = m·p′ + p₀ of the window's index that can satisfy the bracket, the bracket's
    difference, now divisible by the stride, p and its value; None where no class can."""
    offset = difference.offset
    if inner is None:
        return None if offset % stride else (term, difference, None, Affine())
    p, c = inner
    assert isinstance(p.extent, int)
    if offset % gcd(c, stride):
        return None
    modulus = stride // gcd(c, stride)
    start = next(p0 for p0 in range(modulus) if (c * p0 + offset) % stride == 0)
    count = -((start - p.extent) // modulus)
    if count <= 0:
        return None
    reduced = Index(p.name, count)
    at = Affine.of(reduced) * modulus + start
    mapping = {p: at}
    replaced = Term(
        tuple(reduced if i == p else i for i in term.indices), tuple(substitute(f, mapping) for f in term.factors)
    )
    return replaced, difference.substitute(mapping), p, at
