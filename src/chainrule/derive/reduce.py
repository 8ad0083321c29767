"""Smaller shapes for large programs, by a rule that keeps every code path.

RULE states it. An index that only ever stands alone in a subscript (channels, features, positions of an element-wise
map) may have any extent. Where a window slides, an output of extent I over an input of extent H by a stride s loses m
positions while H loses s·m: stride, window, dilation, the remainder of H, and what is read of the padding on both
sides stay as they are. A mixed-radix number keeps its digits' order with places that fit the new extents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from chainrule.derive.adjoint import Derivation, backward_pass
from chainrule.derive.compose import Composite, compose
from chainrule.derive.fold import Fold, folds
from chainrule.derive.lemma import Lemma, derive_lemma
from chainrule.derive.trace import Step
from chainrule.errors import ChainruleError
from chainrule.ir.check import check_equation, check_program
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
    is_position,
)
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.program import Equation, Program, State
from chainrule.ir.walk import nodes, transform

RULE = (
    "extents that only count things (channels, features) are cut to at most 3; where a window slides, its output "
    "loses positions and its input the stride times as many, so that stride, window, dilation, the remainder and the "
    "padding read on both sides stay; the places of a reshape follow"
)
SMALL = 3
POSITIONS = 2  # windows that stay besides those that touch a padding

Element = tuple[object, ...]  # ("axis", tensor name, axis) or ("index", equation number, Index)


class _Classes:
    """Extents that are one extent: a union-find with the ratio in which they shrink together."""

    def __init__(self) -> None:
        self.parent: dict[Element, tuple[Element, Fraction]] = {}
        self.extent: dict[Element, int] = {}
        self.fixed: set[Element] = set()
        self.slides: set[Element] = set()
        self.least: dict[Element, int] = {}
        self.averaged: dict[Element, int] = {}

    def add(self, element: Element, extent: int) -> None:
        if element not in self.parent:
            self.parent[element], self.extent[element] = (element, Fraction(1)), extent

    def find(self, element: Element) -> tuple[Element, Fraction]:
        ratio = Fraction(1)
        while self.parent[element][0] != element:
            element, factor = self.parent[element][0], self.parent[element][1]
            ratio *= factor
        return element, ratio

    def join(self, one: Element, other: Element, ratio: Fraction) -> None:
        """`one` loses `ratio` times what `other` loses."""
        (a, u), (b, v) = self.find(one), self.find(other)
        if a == b:
            if u != ratio * v:
                self.fixed.add(a)
            return
        self.parent[a] = (b, ratio * v / u)
        for marks in (self.fixed, self.slides):
            if a in marks:
                marks.add(b)


@dataclass(frozen=True)
class Reduction:
    """New extents for the axes of tensors and for the indices of each equation."""

    axes: Mapping[tuple[str, int], int]
    indices: Mapping[tuple[int, Index], int]

    def tensor(self, tensor: Tensor) -> Tensor:
        shape = tuple(
            self.axes.get((tensor.name, n), e) if isinstance(e, int) else e for n, e in enumerate(tensor.shape)
        )
        return replace(tensor, shape=shape)

    def equation(self, number: int, equation: Equation) -> Equation:
        outer = frozenset(equation.indices)

        def index(i: Index) -> Index:
            return Index(i.name, self.indices.get((number, i), i.extent))

        def affine(a: Affine, extent: Extent | None) -> Affine:
            """The same form over the new indices; a mixed-radix number with its new places."""
            terms = a.terms
            if extent is not None and len({i in outer for i in a.indices}) == 1 < len(terms) and a.radix(extent):
                place = 1
                places: dict[Index, int] = {}
                for i, _ in sorted(terms, key=lambda t: (t[1], t[0].extent == 1)):
                    new = index(i).extent
                    assert isinstance(new, int)
                    places[i], place = place, place * new
                terms = tuple((i, places[i]) for i, _ in terms)
            return Affine(tuple((index(i), c) for i, c in terms), a.offset)

        def component(c: Component) -> Component:
            subscripts = tuple(affine(s, e) for s, e in zip(c.subscripts, c.tensor.shape, strict=True))
            return Component(self.tensor(c.tensor), subscripts, c.pad)

        def visit(node: Expr) -> Expr:
            match node:
                case Component():
                    return component(node)
                case Reduce(kind=kind, indices=indices, body=body):
                    return Reduce(kind, tuple(index(i) for i in indices), body)
                case Delta(left=left, right=right):
                    # A component on the right is renewed already, as a child.
                    other = right if isinstance(right, Component) else affine(right, None)
                    return Delta(affine(left, None), other)
                case Guard(subscript=s, extent=extent):
                    new = self.indices.get((number, _guarded(node)), extent)
                    return Guard(affine(s, None), new)
                case _:
                    return node

        return Equation(component(equation.target), transform(equation.value, visit))


def _guarded(guard: Guard) -> Index:
    """Stands for the extent of a range bracket."""
    return Index(f"[{guard.subscript}]", guard.extent)


def reduction_of(
    equations: Sequence[Equation], small: int = SMALL, *, means: bool = False, averaged: int = 0
) -> Reduction | None:
    """The reduction of these equations together; None where nothing gets smaller. What only counts things is cut to
    `small`, what a mean is taken over alone to no less than `averaged`; where `means` stay means, it is not cut, for
    its number is a divisor."""
    classes = _Classes()
    digits: list[tuple[Element, list[Element]]] = []
    for number, equation in enumerate(equations):
        for node in (equation.target, *nodes(equation.value)):
            _relate(classes, digits, number, node, frozenset(equation.indices), means, averaged)
    new = _solve(classes, digits, small)
    if new is None or all(new[e] == old for e, old in classes.extent.items()):
        return None
    return Reduction(
        {(str(e[1]), int(str(e[2]))): n for e, n in new.items() if e[0] == "axis"},
        {(int(str(e[1])), e[2]): n for e, n in new.items() if e[0] == "index" and isinstance(e[2], Index)},
    )


def _relate(
    classes: _Classes, digits: list[tuple[Element, list[Element]]], number: int, node: Expr, outer: frozenset[Index],
    means: bool, averaged: int,
) -> None:
    def element(index: Index) -> Element | None:
        if not isinstance(index.extent, int):
            return None
        classes.add(("index", number, index), index.extent)
        return ("index", number, index)

    def slide(subscript: Affine, base: Element | None, base_extent: Extent) -> None:
        """A window: the index with the most positions moves, the others stay; one of the result before the others, so
        that what is small already is what it would be reduced to."""

        def positions(term: tuple[Index, int]) -> tuple[bool, int]:
            extent = term[0].extent if isinstance(term[0].extent, int) else 0
            return term[0] in outer and extent > 1, extent

        moving = sorted(subscript.terms, key=positions, reverse=True)
        for index, _ in moving[1:]:
            if (e := element(index)) is not None:
                classes.fixed.add(classes.find(e)[0])
        first, bounds = element(moving[0][0]) if moving else None, subscript.bounds()
        if first is None or bounds is None or not isinstance(base_extent, int):  # or an extent is a name
            for e in (base, first):
                if e is not None:
                    classes.fixed.add(classes.find(e)[0])
            return
        index, stride = moving[0]
        assert base is not None and isinstance(index.extent, int)
        for e in (base, first):
            classes.slides.add(classes.find(e)[0])
        classes.join(base, first, Fraction(abs(stride)))
        before, behind = max(0, -bounds[0]), max(0, bounds[1] - base_extent + 1)
        touching = -(-before // abs(stride)) - (-behind // abs(stride))
        rest = sum(abs(c) * (i.extent - 1) for i, c in moving[1:] if isinstance(i.extent, int))
        classes.least[first] = max(classes.least.get(first, 0), min(index.extent, touching + POSITIONS))
        classes.least[base] = max(classes.least.get(base, 0), min(base_extent, rest + 1))

    match node:
        case Component(tensor=tensor, subscripts=subscripts):
            for axis, (s, extent) in enumerate(zip(subscripts, tensor.shape, strict=True)):
                base: Element | None = None
                if isinstance(extent, int):
                    base = ("axis", tensor.name, axis)
                    classes.add(base, extent)
                if s.plain is not None and s.plain.extent == extent:
                    if base is not None and (e := element(s.plain)) is not None:
                        classes.join(base, e, Fraction(1))
                elif base is not None and len({i in outer for i in s.indices}) == 1 < len(s.terms) and s.radix(extent):
                    parts = [e for i in s.indices if (e := element(i)) is not None]
                    digits.append((base, parts))
                else:
                    slide(s, base, extent)
        case Reduce(indices=indices):
            for index in indices:
                element(index)
        case Multiply(factors=(Constant(value=Fraction() as c), *_, Reduce(kind="sum", indices=indices))):
            if c.denominator % _product(i.extent for i in indices if isinstance(i.extent, int)) == 0:
                if means:
                    _pin(classes, element, indices)
                elif len(indices) == 1 and (e := element(indices[0])) is not None:
                    classes.averaged[e] = averaged
        case Delta(left=left, right=Affine() as right):
            difference = left - right
            if not difference.offset and sorted(c for _, c in difference.terms) == [-1, 1]:
                one, other = (element(i) for i in difference.indices)
                if one is not None and other is not None and len({i.extent for i in difference.indices}) == 1:
                    classes.join(one, other, Fraction(1))
                    return
            _pin(classes, element, difference.indices)
        case Delta(left=left):
            if left.plain is None:
                _pin(classes, element, left.indices)
            else:
                element(left.plain)
        case Guard(subscript=subscript, extent=int() as extent):
            slide(subscript, element(_guarded(node)), extent)
        case _:
            pass


def _pin(classes: _Classes, element: Callable[[Index], Element | None], indices: Iterable[Index]) -> None:
    for index in indices:
        e = element(index)
        if e is not None:
            classes.fixed.add(classes.find(e)[0])


def _solve(
    classes: _Classes, digits: Sequence[tuple[Element, list[Element]]], small: int
) -> dict[Element, int] | None:
    roots = {e: classes.find(e) for e in classes.extent}
    fixed = {roots[e][0] for e in classes.fixed}
    slides = {roots[e][0] for e in classes.slides}
    members: dict[Element, list[Element]] = {}
    for e, (root, _) in roots.items():
        members.setdefault(root, []).append(e)
    for base, parts in digits:  # a reshape of an axis on which windows slide keeps its extents
        if roots[base][0] in slides | fixed:
            fixed.update(roots[e][0] for e in (base, *parts))
    wholes = {roots[base][0] for base, _ in digits}
    lost: dict[Element, int] = {}
    for root, group in members.items():
        ratios = {e: roots[e][1] for e in group}
        if root in fixed or root in wholes:
            lost.update(dict.fromkeys(group, 0))
        elif root not in slides:
            least_ = max(small, *(classes.averaged.get(e, 0) for e in group))
            lost.update({e: max(0, classes.extent[e] - least_) for e in group})
        else:
            unit = lcm(*(r.denominator for r in ratios.values()))
            least = {e: classes.least.get(e, min(classes.extent[e], 2)) for e in group}
            times = min(int((classes.extent[e] - least[e]) / (r * unit)) for e, r in ratios.items())
            lost.update({e: int(r * unit * max(0, times)) for e, r in ratios.items()})
    new = {e: classes.extent[e] - lost[e] for e in classes.extent}
    for _ in digits:  # a digit may itself be a mixed-radix number
        for base, parts in digits:
            product = 1
            for part in parts:
                product *= new[part]
            for e in members[roots[base][0]]:
                new[e] = product
    if any(_product(new[p] for p in parts) != new[base] for base, parts in digits):
        return None
    return new


def _product(numbers: Iterable[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def reduced_program(
    program: Program, few: int = SMALL, *, means: bool = False, averaged: int = 0
) -> Program | None:
    """The program at smaller shapes, or None where the rule makes none."""
    reduction = reduction_of(program.equations, few, means=means, averaged=averaged)
    if reduction is None:
        return None

    def tensors(old: Iterable[Tensor]) -> tuple[Tensor, ...]:
        return tuple(map(reduction.tensor, old))

    equations = tuple(reduction.equation(n, e) for n, e in enumerate(program.equations))
    states = tuple(State(reduction.tensor(s.tensor), reduction.tensor(s.next)) for s in program.states)
    small = replace(
        program, equations=equations, inputs=tensors(program.inputs), parameters=tensors(program.parameters),
        random=tensors(program.random), states=states, outputs=tensors(program.outputs),
    )
    try:
        check_program(small)
    except ChainruleError:
        return None
    return small


def reduced_lemma(lemma: Lemma, small: int = SMALL) -> Lemma | None:
    """The lemma at smaller shapes, derived by the same rules, or None where the rule makes none or where a line of it
    is not the lemma's own line with other extents."""
    found = _derived_again((lemma,), small)
    return found[0] if found and same_steps(lemma.all_steps, found[0].all_steps) else None


def reduced_composite(composite: Composite, small: int = SMALL) -> Composite | None:
    """The same for two lemmas composed."""
    found = _derived_again((composite.outer, composite.inner), small)
    if found is None:
        return None
    again = compose(*found)
    one, other = ((*c.steps, *c.jacobian) for c in (composite, again))
    return again if same_steps(one, other) else None


def reduced_fold(fold: Fold, small: int = SMALL) -> Fold | None:
    """The same for a layer folded into one formula."""
    program = reduced_program(fold.region, small, means=True)
    again = () if program is None else refolded(program)
    found = next((f for f in again if f.target.tensor.name == fold.target.tensor.name), None)
    return found if found is not None and same_steps(fold.steps, found.steps) else None


def refolded(program: Program) -> tuple[Fold, ...]:
    """The folds of a layer's equations, derived by themselves."""
    loss = LOSS if program.outputs == (LOSS,) else None
    try:
        return folds(backward_pass(program, loss, [t for t in program.given if t.dtype == "real"]))
    except ChainruleError:
        return ()


@dataclass(frozen=True)
class Claim:
    """What a lemma is derived from."""

    equation: Equation
    tensor: Tensor
    facts: tuple[Equation, ...]
    signal: Expr | None
    per_sample: bool

    @staticmethod
    def of(lemma: Lemma) -> Claim:
        return Claim(lemma.equation, lemma.wrt.tensor, lemma.facts, lemma.signal, lemma.per_sample)

    def derived(self) -> Lemma:
        return derive_lemma(
            self.equation, self.tensor, self.facts, signal=self.signal, per_sample=self.per_sample
        )

    def over(self, mapping: Mapping[Tensor, Tensor]) -> Claim:
        facts = tuple(f.over(mapping) for f in self.facts)
        return replace(self, equation=self.equation.over(mapping), tensor=mapping[self.tensor], facts=facts)


def smaller(claims: Sequence[Claim], small: int = SMALL) -> list[Claim] | None:
    """The same at smaller shapes, or None where the rule makes none."""
    equations = tuple(e for claim in claims for e in (*claim.facts, claim.equation))
    reduction = reduction_of(equations, small)
    if reduction is None:
        return None
    result: list[Claim] = []
    try:
        numbered = iter([reduction.equation(n, e) for n, e in enumerate(equations)])
        for claim in claims:
            facts = tuple([next(numbered) for _ in claim.facts])
            equation = next(numbered)
            for one in (*facts, equation):
                check_equation(one)
            result.append(replace(claim, equation=equation, tensor=reduction.tensor(claim.tensor), facts=facts))
    except ChainruleError:
        return None
    return result


def smaller_equation(equation: Equation, small: int = SMALL) -> Equation | None:
    """An equation at smaller shapes, or None where the rule makes none."""
    reduction = reduction_of([equation], small)
    if reduction is None:
        return None
    result = reduction.equation(0, equation)
    try:
        check_equation(result)
    except ChainruleError:
        return None
    return result


def _derived_again(lemmas: Sequence[Lemma], small: int) -> list[Lemma] | None:
    claims = smaller(list(map(Claim.of, lemmas)), small)
    try:
        return None if claims is None else [claim.derived() for claim in claims]
    except ChainruleError:
        return None


def small_derivation(derivation: Derivation, small: int = SMALL) -> Derivation | None:
    """The derivation of the program at reduced shapes, where it uses the same lemmas in the same order."""
    forward = derivation.forward
    kept = tuple(e for e in forward.equations if not is_position(e.tensor))
    program = reduced_program(replace(forward, equations=kept), small)
    if program is None:
        return None
    loss = None if derivation.loss is None else program.tensor(derivation.loss.name)
    again = backward_pass(program, loss, [program.tensor(name) for name in derivation.gradients])
    return again if _rules(again) == _rules(derivation) else None


def _rules(derivation: Derivation) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (name, use.equation.tensor.name, tuple(step.rule for step in use.lemma.all_steps))
        for name, gradient in derivation.parts.items()
        for use in gradient.uses
    ]


def same_steps(steps: Sequence[Step], others: Sequence[Step]) -> bool:
    """Whether these are the same steps but for extents, the places of mixed-radix numbers and the tensors' names."""
    same = _Same()
    return len(steps) == len(others) and all(
        one.rule == other.rule and same.roots(one.before, other.before) and same.roots(one.after, other.after)
        for one, other in zip(steps, others, strict=True)
    )


class _Same:
    """Expressions side by side: each tensor of one stands for one of the other, each index for one."""

    def __init__(self) -> None:
        self._tensors: dict[Tensor, Tensor] = {}
        self._back: dict[Tensor, Tensor] = {}
        self._known: set[tuple[object, ...]] = set()

    def roots(self, one: Expr, other: Expr) -> bool:
        stack: list[tuple[Expr, Expr, dict[Index, Index]]] = [(one, other, {})]
        if len(one.free) == len(other.free):
            stack[0] = (one, other, dict(zip(one.free, other.free, strict=True)))
        while stack:
            a, b, names = stack.pop()
            state = (a, b, *[names.get(i) for i in a.free])
            if state in self._known:
                continue
            if type(a) is not type(b) or len(a.free) != len(b.free) or not self._alike(a, b, names):
                return False
            self._known.add(state)
            inner = names
            if isinstance(a, Reduce) and isinstance(b, Reduce):
                inner = {**names, **dict(zip(a.indices, b.indices, strict=True))}
            parts, others = a.parts, b.parts
            if len(parts) != len(others):
                return False
            stack += [(x, y, inner) for x, y in zip(parts, others, strict=True)]
        return True

    def _alike(self, one: Expr, other: Expr, names: Mapping[Index, Index]) -> bool:
        """The nodes themselves, whatever stands inside."""
        match one, other:
            case Component(), Component():
                there = self._tensors.setdefault(one.tensor, other.tensor) == other.tensor
                back = self._back.setdefault(other.tensor, one.tensor) == one.tensor
                pairs = zip(one.subscripts, other.subscripts, strict=False)
                return (
                    there and back and one.tensor.dtype == other.tensor.dtype and one.pad == other.pad
                    and len(one.subscripts) == len(other.subscripts) and all(_affine(a, b, names) for a, b in pairs)
                )
            case Delta(right=Affine() as a), Delta(right=Affine() as b):
                return _affine(one.left, other.left, names) and _affine(a, b, names)
            case Delta(right=Component()), Delta(right=Component()):
                return _affine(one.left, other.left, names)
            case Guard(), Guard():
                return _affine(one.subscript, other.subscript, names)
            case Reduce(), Reduce():
                return one.kind == other.kind and len(one.indices) == len(other.indices)
            case Power(), Power():
                return one.exponent == other.exponent
            case Apply(), Apply():
                return one.function == other.function
            case Constant(), Constant():
                return one.value == other.value
            case Size(), Size():
                return one.extent == other.extent
            case (Add(), Add()) | (Multiply(), Multiply()) | (Derivative(), Derivative()):
                return True
            case _:
                return False


def _affine(one: Affine, other: Affine, names: Mapping[Index, Index]) -> bool:
    """The same form; mixed-radix numbers may have other places, in the same order."""
    terms = {names.get(i, i): c for i, c in _ranked(one)}
    return one.offset == other.offset and terms == dict(_ranked(other))


def _ranked(a: Affine) -> Iterable[tuple[Index, int]]:
    """The terms, with the ranks of digits in place of their places."""
    if len(a.terms) < 2:
        return a.terms
    product = _product(index.extent if isinstance(index.extent, int) else 0 for index in a.indices)
    if not product or not a.radix(product):
        return a.terms
    order = sorted(a.terms, key=lambda t: (t[1], t[0].extent == 1))
    return [(i, n) for n, (i, _) in enumerate(order, 1)]
