"""Recognising planes: lines with sliding windows as correlations and convolutions.

A *plane* is a tensor with its spatial axes left whole; other indices stay as subscripts. One spatial dimension is
one linear relation, total = s·i + d·p + c, between three indices. Which of them is the output says what the line is:

    i      Σ_p K_p·A_(s·i+d·p+c)           (pad(A) ⋆ K↑d)↓s     a correlation
    p      Σ_i K_i·A_(s·i+d·p+c)           (pad(A) ⋆ K↑s)↓d     the same with the other step
    total  Σ_ip [total = …]·B_i·K_p        crop((B↑s) ∗ (K↑d))  a true convolution, in full

↑s inserts s − 1 zeros between neighbours and ↓s keeps every s-th entry. A missing K is a window of ones. What is no
such line has no form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from chainrule.forms.contract import NoFormError
from chainrule.forms.matrices import Found
from chainrule.forms.nodes import (
    ONE,
    Form,
    Length,
    Number,
    Ones,
    Operation,
    Sum,
    View,
    operation,
    scaled,
    seen,
    several,
    walk,
)
from chainrule.forms.shown import reads_as_row
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size
from chainrule.ir.expr import Pad as PadValue
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import components, fresh, nodes, rename


@dataclass(frozen=True, slots=True)
class _Relation:
    """total = first_step·first + second_step·second + offset, with exactly one of the three in the target."""

    total: Index
    first: Index
    second: Index
    steps: tuple[int, int]
    offset: int
    output: Index

    @property
    def indices(self) -> tuple[Index, Index, Index]:
        return self.total, self.first, self.second

    def step(self, index: Index) -> int:
        return self.steps[0] if index == self.first else self.steps[1]

    def rest(self, *without: Index) -> Index:
        (left,) = (i for i in self.indices if i not in without)
        return left


@dataclass(slots=True)
class _Term:
    """number · Σ over `indices` of the product of `factors`, and what its affine reads and brackets say."""

    number: Fraction
    indices: list[Index]
    factors: list[Expr]
    hidden: dict[tuple[Affine, Extent], Index]
    relations: list[_Relation]


def planes(target: Component, value: Expr) -> Found | None:
    """The form in planes of target = value, or None."""
    try:
        terms = [_read(t, target) for t in (value.terms if isinstance(value, Add) else (value,))]
        outputs = {r.output for t in terms for r in t.relations}
        plain = [s.plain for s in target.subscripts]
        entrywise = not outputs and not any(t.indices for t in terms) and None not in plain and len(plain) > 2
        if entrywise:
            outputs = _always_together(target, value)
        out = [i for i in plain if i is not None and i in outputs]
        if len(out) != len(outputs):
            return None
        forms = [_form(t, out, target) for t in terms]
        if not entrywise and not any(map(_windowed, forms)) and len(out) < len(plain):
            return None
    except NoFormError:
        return None
    form = several("plus", forms)
    if out and not any((isinstance(n, View) and None in n.at) or isinstance(n, Ones) for n in walk(form)):
        factors = form.of if isinstance(form, Operation) and form.name == "scale" else (form,)
        form = Operation("scale", (Ones(tuple(i.extent for i in out)), *factors[1:], factors[0]))
    left = seen(target.tensor, [None if i in outputs else s for i, s in zip(plain, target.subscripts, strict=True)])
    return Found(left, form, tuple(i for i in target.free if i not in outputs))


def _always_together(target: Component, value: Expr) -> set[Index]:
    """The indices of the target that every read has all of, or none: all of them, or those of a plane."""
    found = set(target.free)
    while found:
        partial = [found & set(c.free) for c in components(value)]
        alone = next((p for p in partial if p and p != found), None)
        if alone is None:
            break
        found -= alone | {i for i in found if i.is_sample}
    return found


# --- reading a term -----------------------------------------------------------------------------


def _read(expr: Expr, target: Component) -> _Term:
    term = _Term(ONE, [], [], {}, [])
    _flatten(expr, term, [*target.free])
    _clear(term)
    _relate(term, term.factors, target)
    return term


def _flatten(expr: Expr, term: _Term, taken: list[Index]) -> None:
    match expr:
        case Constant(value=Fraction() as value):
            term.number *= value
        case Power(base=Constant(value=Fraction() as value), exponent=e) if e.denominator == 1 and value:
            term.number *= value ** int(e)
        case Multiply(factors=factors):
            for factor in factors:
                _flatten(factor, term, taken)
        case Reduce(kind="sum", indices=indices, body=body):
            new: dict[Index, Index] = {}
            for index in indices:
                new[index] = fresh(index.name, index.extent, taken)
                taken.append(new[index])
            term.indices.extend(new.values())
            _flatten(rename(body, new), term, taken)
        case _:
            term.factors.append(expr)


def _clear(term: _Term) -> None:
    """Put j for a summed k beside a bracket [k = j]."""
    for factor in term.factors:
        if isinstance(factor, Delta) and isinstance(factor.right, Affine):
            pair = [factor.left.plain, factor.right.plain]
            for index, other in (pair, pair[::-1]):
                if index is None or other is None or index == other:
                    continue
                if index in term.indices and other.extent == index.extent:
                    term.indices.remove(index)
                    term.factors = [rename(f, {index: other}) for f in term.factors if f is not factor]
                    return _clear(term)


def _relate(term: _Term, factors: Sequence[Expr], target: Component) -> None:
    """Find the relations that the affine reads and the brackets of the factors state."""
    for factor in factors:
        match factor:
            case Component():
                reads = list(zip(factor.subscripts, factor.tensor.shape, strict=True))
            case Guard():
                reads = [(factor.subscript, factor.extent)]
            case Delta(left=left, right=Affine() as right):
                relation = _relation(left - right, target)
                if relation is None:
                    raise NoFormError
                term.relations.append(relation)
                continue
            case Reduce(kind="max" | "argmax", body=Component() as body):
                _relate(term, [body], target)
                continue
            case _:
                continue
        for subscript, extent in reads:
            if subscript.plain is None and len(subscript.terms) == 2 and (subscript, extent) not in term.hidden:
                own = Index(f"·{len(term.hidden)}", extent)
                relation = _relation(subscript - Affine.of(own), target)
                channels = subscript.radix(extent) and _shared(term, factor, subscript)
                if relation is not None and not channels and not _together(term, factor, relation):
                    term.hidden[subscript, extent] = own
                    term.relations.append(relation)
    used = [i for r in term.relations for i in r.indices]
    if len(set(used)) != len(used):
        raise NoFormError
    order = {s.plain: k for k, s in enumerate(target.subscripts)}
    term.relations.sort(key=lambda r: order.get(r.output, -1))


def _relation(difference: Affine, target: Component) -> _Relation | None:
    """0 = difference as a relation, if it is one."""
    if len(difference.terms) != 3:
        return None
    negative = [i for i, c in difference.terms if c < 0]
    if len(negative) not in (1, 2):
        return None
    difference = difference if len(negative) == 1 else -difference
    (total,) = (i for i, c in difference.terms if c < 0)
    (first, s), (second, d) = ((i, c) for i, c in difference.terms if c > 0)
    output = [i for i in difference.indices if i in target.free]
    if difference.coefficient(total) != -1 or len(output) != 1:
        return None
    return _Relation(total, first, second, (s, d), difference.offset, output[0])


def _shared(term: _Term, owner: Expr, subscript: Affine) -> bool:
    """Whether another factor is read at the same number of several digits: it numbers channels too."""
    return any(f is not owner and isinstance(f, Component) and subscript in f.subscripts for f in term.factors)


def _together(term: _Term, owner: Expr, relation: _Relation) -> bool:
    """Whether another factor is read at two of the indices independently: then they number channels."""
    for factor in term.factors:
        reads = factor.subscripts if isinstance(factor, Component) else ()
        plain = {s.plain for s in reads}
        if factor is not owner and sum(i in plain for i in relation.indices) > 1:
            return True
    return False


# --- putting a form together --------------------------------------------------------------------


def _form(term: _Term, out: Sequence[Index], target: Component) -> Form:
    """The form of a term whose planes have the axes `out`."""
    relations = term.relations
    if relations and [r.output for r in relations] != list(out):
        raise NoFormError
    within = {i for r in relations for i in r.indices}
    left = [i for i in term.indices if i not in within]
    groups = _groups(term, out, left)
    inner = _core(term, groups) if relations else None
    result = [*([] if inner is None else [inner]), *groups.output]
    if not relations and (groups.masks or groups.reduce):
        raise NoFormError
    if not relations and groups.whole:
        bound = [i for i in left if not i.is_sample]
        result.append(operation("total", _product(groups.whole, Ones(()))))
        left = [i for i in left if i not in bound]
    scalars = groups.scalars
    if not result:
        result, scalars = scalars[-1:], scalars[:-1]
    form = _product(result, Number(Constant(ONE)))
    inside = tuple(s for s in scalars if any(i in left for n in walk(s) for i in _free(n)))
    outside = tuple(s for s in scalars if s not in inside)
    if inside:
        form = scaled(ONE, inside, form)
    form = Sum(tuple(left), form) if left else form
    return scaled(term.number, outside, form)


def _free(form: Form) -> list[Index]:
    return [i for s, _ in form.fixed for i in s.indices] if isinstance(form, View) else []


@dataclass(slots=True)
class _Groups:
    """The factors of a term by where their planes lie; `masks` are brackets at a saved position, and `reduce` a
    maximum over the windows."""

    output: list[Form]
    big: list[Form]
    kernel: list[Form]
    whole: list[Form]
    scalars: list[Form]
    axes: dict[str, tuple[Index, ...]]
    masks: list[Delta]
    reduce: Reduce | None = None
    value: PadValue = Fraction(0)


def _groups(term: _Term, out: Sequence[Index], left: Sequence[Index]) -> _Groups:
    relations = term.relations
    whole = () if relations else tuple(i for i in left if not i.is_sample)
    axes = {"output": tuple(out), "whole": whole, **(_roles(term) if relations else {})}
    found = _Groups([], [], [], [], [], axes, [])
    lists = {"output": found.output, "big": found.big, "kernel": found.kernel, "whole": found.whole}
    if not _vanish_outside(term):
        raise NoFormError
    for factor in term.factors:
        match factor:
            case Delta(right=Component()):
                found.masks.append(factor)
                continue
            case Delta():
                continue
            case Guard(subscript=subscript, extent=extent) if (subscript, extent) in term.hidden:
                continue
            case Reduce(kind="max" | "argmax", body=Component() as body) if relations and found.reduce is None:
                found.reduce = factor
                found.value = "-inf" if body.pad is None else body.pad
                factor = body
            case Component(pad=pad) if pad not in (None, 0):
                raise NoFormError
            case _:
                pass
        spatial = {i for group in axes.values() for i in group} | set(term.hidden.values())
        touched = _touched(factor, term.hidden) & spatial
        if not touched:
            found.scalars.append(_pointwise(factor, (), term))
            continue
        group = next((g for g, own in axes.items() if touched == set(own)), None)
        if group is None or (group == "whole" and (relations or found.whole)):
            raise NoFormError
        lists[group].append(_pointwise(factor, axes[group], term))
    return found


def _vanish_outside(term: _Term) -> bool:
    """Whether the product is 0 wherever a function of a padded read is taken outside its range, as planes are there."""
    composite = set(term.hidden.values())
    zero, other = set[Index](), set[Index]()
    for factor in term.factors:
        if isinstance(factor, Component):
            zero |= _touched(factor, term.hidden) & composite
        elif isinstance(factor, Guard):
            zero |= {i for k, i in term.hidden.items() if k == (factor.subscript, factor.extent)}
        elif not isinstance(factor, Reduce) and any(c.pad is not None for c in components(factor)):
            other |= _touched(factor, term.hidden) & composite
    return other <= zero


def _roles(term: _Term) -> dict[str, tuple[Index, ...]]:
    """Which indices are those of the large plane, and which of the kernel that moves over it."""
    relations = term.relations
    at_total = {r.output == r.total for r in relations}
    if len(at_total) > 1:
        raise NoFormError
    if not at_total.pop():
        return {
            "big": tuple(r.total for r in relations), "kernel": tuple(r.rest(r.total, r.output) for r in relations),
        }
    for factor in term.factors:
        if isinstance(factor, Delta | Guard):
            continue
        touched = _touched(factor, term.hidden)
        own = [[i for i in (r.first, r.second) if i in touched] for r in relations]
        if all(len(of_one) == 1 for of_one in own):
            big = tuple(of_one[0] for of_one in own)
            return {"big": big, "kernel": tuple(r.rest(r.total, i) for r, i in zip(relations, big, strict=True))}
    raise NoFormError


def _touched(expr: Expr, hidden: Mapping[tuple[Affine, Extent], Index]) -> set[Index]:
    """The indices that an expression's reads run over, a composite subscript's being its total."""
    result: set[Index] = set()
    for node in nodes(expr):
        if isinstance(node, Component):
            for s, e in zip(node.subscripts, node.tensor.shape, strict=True):
                result |= {hidden[s, e]} if (s, e) in hidden else set(s.indices)
    return result


def _pointwise(expr: Expr, axes: tuple[Index, ...], term: _Term) -> Form:
    """An expression entry by entry, over planes with these axes. Depth is that of one equation."""
    match expr:
        case Component():
            return _plane(expr, axes, term.hidden)
        case Constant() | Size():
            return Number(expr)
        case Power(base=base, exponent=exponent):
            return operation("power", _pointwise(base, axes, term), exponent=exponent)
        case Apply(function=function, arguments=arguments):
            name = "apply" if len(arguments) == 1 else "apply2"
            return operation(name, *(_pointwise(a, axes, term) for a in arguments), function=function)
        case Add(terms=terms):
            return several("plus", [_pointwise(t, axes, term) for t in terms])
        case Multiply(factors=factors):
            numbers = [f.value for f in factors if isinstance(f, Constant) and isinstance(f.value, Fraction)]
            others = [f for f in factors if not (isinstance(f, Constant) and isinstance(f.value, Fraction))]
            form = _product([_pointwise(f, axes, term) for f in others], Number(Constant(ONE)))
            return scaled(prod(numbers, start=ONE), (), form)
        case _:
            raise NoFormError


def _plane(read: Component, axes: tuple[Index, ...], hidden: Mapping[tuple[Affine, Extent], Index]) -> View:
    """The tensor read at all of `axes`, or at none of them."""
    pairs = zip(read.subscripts, read.tensor.shape, strict=True)
    at = [hidden.get((s, e), s.plain) for s, e in pairs]
    places = tuple(k for k, i in enumerate(at) if i is not None and i in axes)
    order = [at[k] for k in places]
    others = [s for k, s in enumerate(read.subscripts) if k not in places]
    if order not in ([], list(axes)) or any(i in axes for s in others for i in s.indices):
        raise NoFormError
    if any(i.extent != read.tensor.shape[k] for k, i in zip(places, axes, strict=False) if places):
        raise NoFormError
    at = [None if k in places else s for k, s in enumerate(read.subscripts)]
    outside = any(s is not None and not s.within(e) for s, e in zip(at, read.tensor.shape, strict=True))
    view = seen(read.tensor, at, read.pad if outside else None)
    if reads_as_row(view):
        raise NoFormError
    return view


def _core(term: _Term, groups: _Groups) -> Form:
    relations = term.relations
    big, kernel = groups.axes["big"], groups.axes["kernel"]
    window = Ones(tuple(i.extent for i in kernel))
    before = tuple(-r.offset for r in relations)
    if relations[0].output != relations[0].total:
        outputs = [r.output for r in relations]
        strides = tuple(r.step(i) for r, i in zip(relations, outputs, strict=True))
        holes = tuple(r.step(i) for r, i in zip(relations, kernel, strict=True))
        reach = tuple(_reach(r, i, o) for r, i, o in zip(relations, kernel, outputs, strict=True))
        if groups.masks or (not groups.big and groups.reduce):
            raise NoFormError
        large = _product(groups.big, Ones(tuple(i.extent for i in big)))
        lengths = tuple(Length.of(i.extent) for i in big)
        padded = _pad(large, before, reach, lengths, strides, groups.value)
        if groups.reduce is not None:
            if groups.reduce.indices != kernel or groups.kernel:
                raise NoFormError
            name = "maxpool" if groups.reduce.kind == "max" else "argmaxpool"
            inner: Form = operation(name, padded, window=window.shape, hole=holes)
        else:
            inner = operation("correlate", padded, _up(_product(groups.kernel, window), holes))
        return inner if set(strides) == {1} else operation("down", inner, factor=strides)
    if groups.reduce is not None or not groups.big:
        raise NoFormError
    strides = tuple(r.step(i) for r, i in zip(relations, big, strict=True))
    holes = tuple(r.step(i) for r, i in zip(relations, kernel, strict=True))
    size = tuple(r.total.extent for r in relations)
    errors = _product(groups.big, window)
    if groups.masks:
        position = _position(term, groups)
        return operation(
            "unpool", errors, position, window=window.shape, stride=strides, hole=holes, before=before, size=size
        )
    moved = operation("convolve", _up(errors, strides), _up(_product(groups.kernel, window), holes))
    full = tuple(_reach(r, i, k) for r, i, k in zip(relations, big, kernel, strict=True))
    cut = tuple(r.offset for r in relations)
    return _pad(moved, cut, tuple(map(Length.of, size)), full, (1,) * len(relations), Fraction(0))


def _pad(
    form: Form, before: tuple[int, ...], size: Sequence[Length], inner: Sequence[Length], steps: Sequence[int],
    value: PadValue,
) -> Form:
    """The form, `inner` long, with `before` cells of `value` before it and after it what makes it `size` long: as many
    as before where a window with these steps does not reach more, else none where none are needed, else as many as are;
    None where a named extent leaves it open."""
    after: list[int | None] = []
    for own, whole, length, step in zip(before, size, inner, steps, strict=True):
        least = (whole + length * -1 + -own).known
        choices = [] if least is None else [a for a in (own, 0) if least <= a < least + step]
        after.append(choices[0] if choices else least)
    if not any(before) and not any(a is None or a for a in after):
        return form
    return operation("pad", form, before=before, after=tuple(after), value=(value,) * len(before))


def _position(term: _Term, groups: _Groups) -> View:
    """The saved position that a bracket compares with the window's, counted with its last index fastest."""
    if len(groups.masks) != 1 or groups.kernel:
        raise NoFormError
    (mask,) = groups.masks
    kernel = groups.axes["kernel"]
    extents = [i.extent for i in kernel]
    for k, index in enumerate(kernel):
        rest = [e for e in extents[k + 1 :] if isinstance(e, int)]
        if len(rest) < len(extents) - k - 1 or (mask.left.coefficient(index) != prod(rest) and index.extent != 1):
            raise NoFormError
    assert isinstance(mask.right, Component)
    if mask.left.offset or any(i not in kernel for i in mask.left.indices):
        raise NoFormError
    return _plane(mask.right, groups.axes["big"], term.hidden)


def _reach(relation: _Relation, a: Index, b: Index) -> Length:
    """How many cells all windows together reach over: s·(I − 1) + d·(P − 1) + 1."""
    s, d = relation.step(a), relation.step(b)
    return (Length.of(a.extent) * s) + (Length.of(b.extent) * d) + (1 - s - d)


def _up(form: Form, factors: tuple[int, ...]) -> Form:
    """Zeros inserted; between ones too."""
    return form if set(factors) == {1} else operation("up", form, factor=factors)


def _product(forms: Sequence[Form], default: Form) -> Form:
    return several("hadamard", forms) if forms else default


def _windowed(form: Form) -> bool:
    match form:
        case Sum(inner=inner):
            return _windowed(inner)
        case Operation(name="scale", of=(inner, *_)):
            return _windowed(inner)
        case Operation(name="plus" | "hadamard", of=of):
            return any(map(_windowed, of))
        case Operation(name="apply" | "apply2" | "power"):
            return False
        case Operation():
            return True
        case _:
            return False
