"""What is proved of a derivation: claims, each that the first of some lines is the last; and their extents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import product

from chainrule.derive import Derivation, Lemma
from chainrule.derive.check import forms_hold
from chainrule.derive.compose import Composite, composites
from chainrule.derive.eliminate import (
    Move,
    Term,
    bracket_once,
    linear_in_brackets,
    moves,
    residue_once,
    solve_once,
    spatial_of,
    terms_of,
)
from chainrule.derive.fold import Fold, put
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.scene import FORMS, Scene, of_composite, of_fold, of_lemma
from chainrule.derive.subject import Subject
from chainrule.ir.expr import (
    LOSS,
    Add,
    Component,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
    derived,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import bound, components, fresh, nodes, rename, substitute, transform
from chainrule.verify.exact import ProgramCheck
from chainrule.verify.plan import equation_forms, every_lemma, fold_subject, printed


@dataclass(frozen=True)
class Row:
    """before = after by a rule; `split` is what the rows before it have in place of an index."""

    rule: str
    before: Expr
    after: Expr
    split: tuple[Index, Affine] | None = None


@dataclass(frozen=True)
class Link:
    """A link of the chain rule: y as a function of tensors, each over indices of its own. However they are moved,
    the tangent of y is the sum of theirs times these factors: the loss moves so by its error signal."""

    y: Component
    by: tuple[tuple[Component, Component], ...]


@dataclass(frozen=True)
class Claim:
    """That the first line of these rows is the last, given `facts`; `places` are theirs among all lines of the subject.
    Derivatives are by `wrt`, of the loss along `links`, and through `equation`, whose error signal is a `constant`, if
    it is known. `divisors` are not 0."""

    what: Subject
    places: tuple[int, ...]
    rows: tuple[Row, ...]
    facts: tuple[Equation, ...]
    wrt: Component | None = None
    equation: Equation | None = None
    links: tuple[Link, ...] = ()
    constant: Expr | None = None
    divisors: tuple[Expr, ...] = ()

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of `Extents` at which it is tried. A form has those of its line, or all as numbers; the range in
        which a form reads is a number of the layer."""
        if self.rows[-1].rule != "form":
            return LEVELS
        guarded = any(isinstance(node, Guard) for node in nodes(self.rows[-1].after))
        return LEVELS[-1:] if guarded else (LEVELS[0], LEVELS[-1])

    @property
    def equations(self) -> tuple[Equation, ...]:
        return self.facts if self.equation is None else (*self.facts, self.equation)


def of_piece(lemma: Lemma, number: int, what: Subject) -> Claim:
    """The lines that lead to one piece of a lemma's gradient."""
    one = replace(lemma, pieces=lemma.pieces[number : number + 1])
    scene = of_lemma(one, {}, what, forms=False)
    pairs = zip(scene.lines, one.all_steps, strict=True)
    rows = tuple(Row(s.rule, line.before, line.after, s.split) for line, s in pairs)
    links, equation = (), scene.definitions[LOSS.name]
    if lemma.equation.tensor != LOSS:
        signal = Component(lemma.error_signal, lemma.equation.target.subscripts)
        equation = next(e for name, e in scene.definitions.items() if name != LOSS.name)
        links = (Link(Component(LOSS, ()), ((equation.target, signal),)),)
    facts = tuple(e for e in scene.equations if e.tensor != LOSS)
    common, before = len(lemma.steps), sum(len(piece.steps) for piece in lemma.pieces[:number])
    places = (*range(common), *range(common + before, before + len(rows)))
    return Claim(what, places, rows, facts, lemma.wrt, equation, links, lemma.signal)


def of_map(composite: Composite, what: Subject) -> Claim:
    """The lines of a composite: its citation of the inner lemma is that lemma, step by step; the outer one's result is
    given."""
    inner = of_piece(composite.inner, 0, what)
    scene = of_composite(composite, {}, what, forms=False)
    rows = (*inner.rows, *(Row(s.rule, s.before, s.after) for s in composite.steps[1:]))
    facts = tuple(e for e in scene.equations if e.tensor != LOSS)
    return replace(inner, places=tuple(range(len(composite.steps))), rows=rows, facts=facts)


def of_chain(composite: Composite, what: Subject) -> Claim:
    """The chain rule through u = h(x) and z = g(u), whatever g and h are: both move as their derivatives say."""
    by_z, by_u, _ = (node for node in nodes(composite.jacobian[-1].after) if isinstance(node, Derivative))
    rows = tuple(Row(step.rule, step.before, step.after) for step in composite.jacobian)
    each = [(by.of, by.wrt) for by in (by_z, by_u) if by.of is not by.wrt]  # the loss as z moves as it moves
    links = tuple(Link(of, ((wrt, partial(of, wrt)),)) for of, wrt in each if isinstance(of, Component))
    first = len(composite.steps)
    return Claim(what, tuple(range(first, first + len(rows))), rows, (), composite.target, links=links)


def partial(of: Component, wrt: Component) -> Component:
    """∂of/∂wrt as a component of a tensor, over the indices of both."""
    if of.tensor == LOSS:
        return Component(adjoint_of(wrt.tensor), wrt.subscripts)
    shape = (*of.tensor.shape, *wrt.tensor.shape)
    tensor = derived(f"by {wrt.tensor.name}", of.tensor, shape=shape, dtype="real")
    return Component(tensor, (*of.subscripts, *wrt.subscripts))


def of_forms(scene: Scene) -> Iterator[Claim]:
    """That the concise forms of a scene, written out by their meaning, are the component forms; a Jacobian in them is
    any matrix."""

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Derivative) and isinstance(node.of, Component)
        return partial(node.of, node.wrt)

    for place, line in enumerate(scene.lines):
        if line.rule in FORMS:
            before, after = (transform(side, visit, Derivative) for side in (line.before, line.after))
            yield Claim(line.what, (place,), (Row("form", before, after),), ())


def of_shares(fold: Fold, what: Subject) -> Claim:
    """The first line of a fold, that ∂ℓ/∂x is the sum of the shares of its uses: x is moved in all of them."""
    first = fold.steps[0]
    shares = (Component(use.contribution, fold.target.subscripts) for use in fold.uses)
    link = Link(Component(LOSS, ()), tuple((fold.target, share) for share in shares))
    facts = fold.cited[: len(fold.uses)] if first.rule == "cite" else ()
    rows = (Row(first.rule, first.before, first.after),)
    return Claim(what, (0,), rows, facts, fold.target, links=(link,))


def of_formula(fold: Fold, what: Subject) -> Claim:
    """The lines of a fold from the shares of its uses to its formula."""
    rows = tuple(Row(step.rule, step.before, step.after) for step in fold.steps[1:])
    means = {t for row in rows if row.rule == "vanish" for body in _added(row.before) for t in body.tensors}
    facts = (*fold.cited, *fold.names, *(e for e in fold.forward if e.tensor in means))
    taken = [i for row in rows for side in (row.before, row.after) for i in (*side.free, *bound(side))]
    facts = tuple(_own(fact, taken) for fact in facts)
    return Claim(what, tuple(range(1, len(fold.steps))), rows, facts, divisors=_divisors(rows))


def _own(fact: Equation, taken: list[Index]) -> Equation:
    """The same over indices of its own, whose extents are tied to those of other lines by the tensors alone."""
    new = _fresh(fact.target.free, taken)
    target = rename(fact.target, new)
    assert isinstance(target, Component)
    return Equation(target, _apart(rename(fact.value, new), taken))


def _added(line: Expr) -> Iterator[Expr]:
    """The terms that sums of several add up."""
    for node in nodes(line):
        if isinstance(node, Reduce) and node.kind == "sum" and isinstance(node.body, Add):
            yield node.body


def _divisors(rows: Iterable[Row]) -> tuple[Expr, ...]:
    """What lines divide by, and count as not 0: values and sizes to whole powers below 0."""
    every = nodes(*(side for row in rows for side in (row.before, row.after)))
    below = [e.base for e in every if isinstance(e, Power) and e.exponent < 0 and e.exponent.denominator == 1]
    return tuple({(e.tensors or e): e for e in below if isinstance(e, Component | Size)}.values())


def of_programs(check: ProgramCheck) -> Iterator[Claim]:
    """That two programs give each value alike, of what both are given alone: all definitions are written out."""
    programs = [_written_out(program) for program in (check.one, check.other)]
    for (what, rule), name in zip(check.lines, check.names, strict=True):
        target = programs[0][check.one.tensor(name)].target
        sides = [put(target, definitions) for definitions in programs]
        before, after = (_apart(side, [*side.free, *bound(side)]) for side in sides)
        yield Claim(what, (0,), (Row(rule, before, after),), ())


def _written_out(program: Program) -> Mapping[Tensor, Equation]:
    found: dict[Tensor, Equation] = {}
    for equation in program.equations:
        found[equation.tensor] = replace(equation, value=put(equation.value, found))
    return found


def _apart(expr: Expr, taken: list[Index]) -> Expr:
    """The same with indices for each sum that are no other's: the axes of two tensors that two sums run over may be of
    one length and need not."""

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Reduce)
        new = _fresh(node.indices, taken)
        return Reduce(node.kind, tuple(new.values()), rename(node.body, new))

    return transform(expr, visit, Reduce)


def _fresh(indices: Iterable[Index], taken: list[Index]) -> Mapping[Index, Index]:
    """Indices in their place that are not taken; now they are."""
    found: dict[Index, Index] = {}
    for i in indices:
        found[i] = fresh(i.name, i.extent, taken)
        taken.append(found[i])
    return found


def claims(derivation: Derivation) -> Iterator[Claim]:
    """Every lemma, piece by piece, for the batch and for one sample; composites; folds; and the concise forms."""
    for what, lemma in every_lemma(derivation):
        for number in range(len(lemma.pieces)):
            yield of_piece(lemma, number, what)
        if lemma.concise is not None and printed(lambda known=lemma: forms_hold(known)):
            yield from of_forms(of_lemma(lemma, {}, what))
    for number, repeated in enumerate(composites(derivation), 1):
        for composite, one in ((repeated.composite, False), (repeated.sample, True)):
            if composite is not None:
                what = Subject("composite", number=number, form=repeated.form, one_sample=one)
                yield of_map(composite, what)
                yield of_chain(composite, what)
                if printed(lambda known=composite: forms_hold(known)):
                    yield from of_forms(of_composite(composite, {}, what))
    for fold in derivation.folds:
        what = fold_subject(fold)
        yield of_shares(fold, what)
        yield of_formula(fold, what)
        if printed(lambda known=fold: forms_hold(known)):
            yield from of_forms(of_fold(fold, {}, what))
    for scene in equation_forms(derivation.forward, {}):
        yield from of_forms(scene)


Cleared = tuple[tuple[Term, tuple[Move, ...]], ...]
"""For each term of the line before a rule that clears brackets, how it clears them one by one."""


@dataclass(frozen=True)
class Aligned:
    """The rows of a claim with every later split put in, so that all speak of one component of the gradient, the
    `target`; and how brackets are cleared in each."""

    rows: tuple[Row, ...]
    cleared: tuple[Cleared, ...]
    target: tuple[Affine, ...]


def aligned(claim: Claim) -> Aligned:
    spatial = _spatial(claim)
    later: dict[Index, Affine] = {}
    rows: list[Row] = []
    found: list[Cleared] = []
    for row in reversed(claim.rows):
        before, after = substitute(row.before, later), substitute(row.after, later)  # a split's own line before has it
        if row.split is not None:
            later = {**later, row.split[0]: row.split[1].substitute(later)}
        rows.append(Row(row.rule, before, after, row.split))
        clearing = _cleared(row, spatial)
        found.append(tuple((t.substitute(later), tuple(_seen(m, later) for m in some)) for t, some in clearing))
    target = tuple(s.substitute(later) for s in claim.wrt.subscripts) if claim.wrt is not None else ()
    return Aligned(tuple(rows[::-1]), tuple(found[::-1]), target)


def _spatial(claim: Claim) -> Set[str]:
    """The names of the indices of y in the lines, where the derivation has named them apart from those of x."""
    if claim.equation is None:
        return frozenset()
    for node in nodes(claim.rows[0].after):
        if isinstance(node, Derivative) and isinstance(node.of, Component) and node.of.tensor == claim.equation.tensor:
            return {index.name for subscript in node.of.subscripts for index in subscript.indices}
    return spatial_of(claim.equation)


def _cleared(row: Row, spatial: Set[str]) -> Cleared:
    once: dict[str, Callable[[Term], Move | None]] = {
        "bracket": bracket_once,
        "solve": lambda term: solve_once(term, spatial),
        "residues": lambda term: residue_once(term, spatial),
    }
    if row.rule not in once:
        return ()
    return tuple((term, tuple(moves(term, once[row.rule]))) for term in terms_of(row.before))


def _seen(move: Move, later: Mapping[Index, Affine]) -> Move:
    delta = substitute(move.delta, later)
    assert isinstance(delta, Delta)
    term = None if move.term is None else move.term.substitute(later)
    return Move(delta, term, move.index, None if move.at is None else move.at.substitute(later))


# Extents.

LEVELS = (0, 1, 2, 3)
"""At the first two those extents stay numbers that a stride or a radix counts by, and at the second the extents that a
window ties, H = 2·I + 1, are tied as they are in the layer; at the third all that stand in a window are numbers, at the
last all."""


class Extents:
    """Which extents of a claim are one: the axes and indices that a line runs over together, or at the same subscript.
    `literal` are those that stay numbers; every other is a variable."""

    def __init__(self, claim: Claim, lines: Aligned, level: int) -> None:
        self._parent: dict[object, object] = {}
        self.values: dict[object, Extent] = {}
        self._guards: dict[tuple[object, Extent], None] = {}
        self._axes: dict[tuple[object, Extent], None] = {}
        self._windows_of = {
            e.tensor: e.value.indices
            for e in claim.equations if isinstance(e.value, Reduce) and e.value.kind == "argmax"
        }
        numbers: set[object] = set()
        outer = {*_spatial(claim), *(spatial_of(claim.equation) if claim.equation is not None else ())}
        roots = [side for row in lines.rows for side in (row.before, row.after)]
        roots += [side for e in claim.equations for side in (e.target, e.value)]
        roots += [c for link in claim.links for c in (link.y, *(one for pair in link.by for one in pair))]
        roots += [m.term.expr for each in lines.cleared for _, some in each for m in some if m.term is not None]
        for root in [*roots, *((claim.wrt,) if claim.wrt is not None else ())]:
            self._see(root)
            for a in _affines(root):
                most = max((abs(c) for _, c in a.terms), default=0)
                among = max((abs(c) for i, c in a.terms if i.name in outer), default=0)
                for i, c in a.terms:
                    self.index(i)
                    if abs(c) < (among if i.name in outer else most) or (level == 2 and a.plain is None):
                        numbers.add(i)
        for row, each in zip(lines.rows, lines.cleared, strict=True):
            for move in (move for _, some in each for move in some):
                if move.index is None or move.at is None:
                    numbers |= {*move.delta.free}
                elif row.rule == "solve":
                    self._join(("place", move.at, move.index.extent), move.index, move.index.extent)
                elif row.rule == "residues":
                    numbers |= {move.index, *move.at.indices}
        self._ranges()
        for row in lines.rows:
            if row.rule == "form":
                self._windows(row)
            if row.rule in ("form", "vanish"):
                numbers |= _counted(row)
            elif row.rule == "distribute" and linear_in_brackets(row.before):
                for opened, term in zip(_opened(row.before), terms_of(row.after), strict=True):
                    for i, j in zip(opened, term.indices, strict=True):
                        self._join(i, j, i.extent)
        if any(row.rule in ("single", "form") for row in lines.rows):
            numbers |= {i for i in self.values if isinstance(i, Index) and i.extent == 1}
        if level == 3:
            numbers |= set(self.values)
        self.literal = {self._find(n, self.values[n]) for n in numbers if n in self.values}

    def _find(self, node: object, extent: Extent) -> object:
        node = ("named extent", extent) if isinstance(extent, str) else node
        self.values.setdefault(node, extent)
        self._parent.setdefault(node, node)
        while self._parent[node] != node:
            node = self._parent[node]
        return node

    def _join(self, a: object, b: object, extent: Extent) -> None:
        one, other = self._find(a, extent), self._find(b, extent)
        if one != other:
            self._parent[other] = one

    def _see(self, root: Expr) -> None:
        for node in nodes(root):
            match node:
                case Component(tensor=tensor, subscripts=subscripts):
                    for k, (s, e) in enumerate(zip(subscripts, tensor.shape, strict=True)):
                        self._join((tensor, k), ("place", s, e), e)
                        self._axes[(tensor, k), e] = None
                        if s.plain is not None and s.plain.extent == e:
                            self._join(s.plain, (tensor, k), e)
                case Guard(subscript=s, extent=e):
                    self._join(("place", s, e), ("guard", s, e), e)
                    self._guards[("guard", s, e), e] = None
                    if s.plain is not None and s.plain.extent == e:
                        self._join(s.plain, ("place", s, e), e)
                case Delta(left=left, right=Affine() as right):
                    difference = left - right
                    if not difference.offset and sorted(c for _, c in difference.terms) == [-1, 1]:
                        (a, _), (b, _) = difference.terms
                        if a.extent == b.extent:
                            self._join(a, b, a.extent)
                case Delta(left=left, right=Component(tensor=tensor)) if tensor in self._windows_of:
                    window, digits = self._windows_of[tensor], sorted(left.terms, key=lambda t: -t[1])
                    for i, (j, _) in zip(window, digits, strict=True) if len(window) == len(digits) else ():
                        if i.extent == j.extent:
                            self._join(i, j, i.extent)
                case Reduce(kind=kind, indices=indices):
                    for n, i in enumerate(indices):
                        self.index(i)
                        if kind != "sum":  # a maximum, its position, and what a rule writes anew are over one window
                            self._join(i, ("window", node.tensors, n, i.extent), i.extent)
                case _:
                    pass

    def _ranges(self) -> None:
        """A range bracket that is no axis's has its number in every line, whatever stands for its index."""
        for guard, extent in self._guards:
            root = self._find(guard, extent)
            if not any(self._find(axis, e) == root for axis, e in self._axes):
                self._join(("range", extent), guard, extent)

    def _windows(self, row: Row) -> None:
        """A form and its line run over the same windows: indices of one extent, where no axis ties them."""
        sides = (row.before, row.after)
        bound = {i for side in sides for node in nodes(side) if isinstance(node, Reduce) for i in node.indices}
        read = {at for side in sides for c in components(side) for at in zip(c.subscripts, c.tensor.shape, strict=True)}
        alone = {s.plain for s, extent in read if s.plain is not None and s.plain.extent == extent}
        for i in sorted(bound - alone, key=lambda i: i.name):
            self._join(("window", i.extent), i, i.extent)

    def index(self, i: Index) -> object:
        return self._find(i, i.extent)

    def axis(self, tensor: Tensor, k: int) -> object:
        return self._find((tensor, k), tensor.shape[k])

    def place(self, s: Affine, extent: Extent) -> object:
        """Of the range that a subscript is compared with."""
        return self._find(("place", s, extent), extent)

    def name(self, root: object) -> str:
        """What a variable for it may be called."""
        if isinstance(extent := self.values[root], str):
            return extent
        one = next((n for n in self.values if isinstance(n, Index) and self.index(n) == root), None)
        return "E" if one is None else f"E_{one.name}"

    @property
    def numbers(self) -> tuple[tuple[str, int], ...]:
        """An index of each extent that stays a number."""
        found: dict[object, tuple[str, int]] = {}
        for n in self.values:
            if isinstance(n, Index) and isinstance(n.extent, int) and (root := self.index(n)) in self.literal:
                found.setdefault(root, (n.name, n.extent))
        return tuple(dict.fromkeys(found.values()))


def _opened(e: Expr) -> list[tuple[Index, ...]]:
    """Of each term that `distribute` makes of a line, the sums of the line that it stands under."""
    if not linear_in_brackets(e):
        return [()]
    match e:
        case Add(terms=parts):
            return [one for part in parts for one in _opened(part)]
        case Multiply(factors=factors):
            return [sum(each, ()) for each in product(*map(_opened, factors))]
        case Reduce(kind="sum", indices=indices, body=body):
            return [(*indices, *one) for one in _opened(body)]
        case _:
            return [()]


def _counted(row: Row) -> Set[Index]:
    """The indices of sums whose terms do not read them: of such a sum a form has the number of its terms, and a mean
    that vanishes in a line is divided by it. And of such maxima: that of some equal values is that value."""
    every = [node for side in (row.before, row.after) for node in nodes(side) if isinstance(node, Reduce)]
    found: set[Index] = set()
    for node in (node for node in every if node.kind in ("sum", "max")):
        terms = node.body.terms if row.rule == "vanish" and isinstance(node.body, Add) else (node.body,)
        found |= {i for term in terms for i in node.indices if i not in term.free}
    return found


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
