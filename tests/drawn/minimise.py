"""A failing program made smaller, greedily, while the same kind of fault stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from time import monotonic
from typing import Any

from tests.drawn.language import (
    TARGET,
    Add,
    Affine,
    Apply,
    Divide,
    Equation,
    Expr,
    Given,
    Index,
    Multiply,
    N,
    Number,
    Power,
    Program,
    Read,
    Reduce,
    Same,
    at,
    free,
    parts,
    places,
    put,
)

ONE = Number(Fraction(1))
Still = Callable[[Program], bool]


def smallest(program: Program, still: Still, seconds: float = 40, tries: int = 400) -> Program:
    """`still(p)` says whether the fault of the first program is p's too."""
    end = monotonic() + seconds
    if not program.declared and still(whole := replace(program, declared=True)):
        program = whole  # so that a text says all that its tree does
    changed = True
    while changed:
        changed = False
        for candidate in candidates(program):
            if tries <= 0 or monotonic() > end:
                return program
            if size(candidate) >= size(program) or not sound(candidate):
                continue
            tries -= 1
            if still(candidate):
                program, changed = candidate, True
                break
    plain = renamed(program)
    return plain if still(plain) else program


def sound(program: Program) -> bool:
    """Whether every whole number that it is given is one of those that it is compared with."""
    given = {g.name: g for g in program.given}
    if any(len(g.tops) not in (0, 1, g.shape[-1]) for g in program.given if g.shape):
        return False
    for e in program.equations:
        for _, node in places(e.value):
            match node:
                case Same(left, Read(name, subscripts, _)) if name in given:
                    tops, last = given[name].tops, subscripts[-1]
                    columns = [last.offset] if not last.terms else range(len(tops))
                    if left.plain is None or any(left.plain.extent != tops[c % len(tops)] for c in columns):
                        return False
                case _:
                    pass
    return True


def size(program: Program) -> int:
    """What is to become less: the length of all that there is to read."""
    return len(str(program)) + (60 if program.form == "layer" else 0) + 3 * sum(
        e for g in program.given for e in g.shape if isinstance(e, int)
    )


def candidates(program: Program) -> Iterator[Program]:
    """Smaller programs, the much smaller ones first. Some are not well formed, and then not the same fault."""
    for made in _raw(program):
        yield tidy(made)


def _raw(program: Program) -> Iterator[Program]:
    if program.form == "layer":
        yield as_text(program)
        if program.loss and program.named != "half_squared_error":
            yield replace(program, loss=_half(program), named="half_squared_error")
    equations = program.equations
    last = equations[-1].name
    for name in {e.name: None for e in reversed(equations)}:
        rest = tuple(e for e in equations if e.name != name)
        if rest:
            if name == last:
                yield with_result(replace(program, equations=rest))
            elif (given := _as_given(program, name)) is not None:
                yield replace(program, equations=rest, given=(*program.given, given))
            if name != last and not any(name in e.names for e in rest):
                yield replace(program, equations=rest)
    for n, e in enumerate(equations):
        siblings = [other for other in equations if other.name == e.name]
        if len(siblings) > 1:  # one piece as the whole
            alone = replace(e, subscripts=tuple(at(i) for i in e.indices))
            rest = tuple(alone if o is e else o for o in equations if o.name != e.name or o is e)
            yield with_result(replace(program, equations=rest))
        for smaller in _equations(e):
            yield replace(program, equations=(*equations[:n], smaller, *equations[n + 1 :]))
        if e.name == last and len(siblings) == 1:
            for i in e.indices:
                kept = tuple(s for s in e.subscripts if i not in s.indices)
                if i.extent == N and program.form == "layer":
                    continue
                if i not in free(e.value):
                    yield with_result(replace(program, equations=(*equations[:n], replace(e, subscripts=kept))))
                elif i.extent != N:
                    fixed = replace(e, subscripts=kept, value=fix(e.value, i))
                    yield with_result(replace(program, equations=(*equations[:n], fixed)))
            if any(s.plain is None for s in e.subscripts):
                plain = replace(e, subscripts=tuple(at(i) for i in e.indices))
                yield with_result(replace(program, equations=(*equations[:n], plain)))
    if program.loss and not program.named:
        for smaller in _equations(program.loss):
            yield replace(program, loss=smaller)
    found = {i.extent for _, i in _indices(program)} | {e for g in program.given for e in g.shape}
    for extent in sorted((e for e in found if isinstance(e, int) and e > 1), reverse=True):
        for new in (1, 2, 3):
            if new < extent:
                yield resized(program, extent, new)


def _equations(e: Equation) -> Iterator[Equation]:
    found = sorted(places(e.value), key=lambda entry: -len(str(entry[1])))
    for path, node in found:
        for new in _simpler(node):
            if path and path[-1] == "right" and not isinstance(new, Read):
                continue  # a bracket compares with a component or an affine number
            yield replace(e, value=put(e.value, path, new))


def _simpler(node: Expr) -> Iterator[Expr]:
    if node != ONE:
        yield ONE
    match node:
        case Reduce(kind, indices, body):
            inner = body
            for i in indices:
                inner = fix(inner, i)
            yield inner
            if len(indices) > 1:
                for n, i in enumerate(indices):
                    yield Reduce(kind, (*indices[:n], *indices[n + 1 :]), fix(body, i))
            if kind != "sum":
                yield Reduce("sum", indices, body)
        case Same(left, Read()):
            yield Same(left, Affine())
        case Same():
            pass
        case _:
            yield from parts(node)
    match node:
        case Add(terms) if len(terms) > 2:
            for n in range(len(terms)):
                yield Add((*terms[:n], *terms[n + 1 :]))
        case Add(terms) if not all(plus for plus, _ in terms):
            yield Add(tuple((True, t) for _, t in terms))
        case Multiply(factors) if len(factors) > 2:
            for n in range(len(factors)):
                yield Multiply((*factors[:n], *factors[n + 1 :]))
        case Divide(above, below):
            yield Multiply((above, below))
        case Power(base, exponent) if exponent != 2:
            yield Power(base, Fraction(2))
        case Apply(function, (argument,)) if function not in ("exp", "tanh"):
            yield Apply("tanh", (argument,))
        case Read(name, subscripts, pad):
            if pad is not None:
                yield Read(name, subscripts)
                if pad not in ("-inf", 0):
                    yield Read(name, subscripts, Fraction(0))
            for n, s in enumerate(subscripts):
                for new in _affine(s):
                    yield Read(name, (*subscripts[:n], new, *subscripts[n + 1 :]), pad)
        case _:
            pass


def _affine(s: Affine) -> Iterator[Affine]:
    if s.terms and all(i.extent != N for i in s.indices):
        yield Affine()
        if s.offset:
            yield Affine(s.terms)
        for n, (i, c) in enumerate(s.terms):
            yield Affine((*s.terms[:n], *s.terms[n + 1 :]), s.offset)
            if c != 1:
                yield Affine((*s.terms[:n], (i, 1), *s.terms[n + 1 :]), s.offset)


def _half(program: Program) -> Equation:
    n = Index("n", N)
    shape = program.shapes[program.equations[-1].name]
    axes = tuple(Index(name, e) for name, e in zip("ijkl", shape[1:], strict=False))
    u, t = (Read(x, tuple(map(at, (n, *axes)))) for x in "ut")
    square = Power(Add(((True, u), (False, t))), Fraction(2))
    each = Multiply((Number(Fraction(1, 2)), Reduce("sum", axes, square)))
    return Equation("loss", (), Reduce("mean", (n,), each))


def with_result(program: Program) -> Program:
    """A target and a loss that fit the last equation."""
    if program.form == "text":
        return program
    shape = program.shapes[program.equations[-1].name]
    given = tuple(g for g in program.given if g.kind != "target")
    new = replace(program, given=(*given, Given(TARGET, shape, "target")), named="half_squared_error")
    return replace(new, loss=_half(new)) if len(shape) > 1 and shape[0] == N else program


def as_text(program: Program) -> Program:
    """The layer's equations alone, from a given error signal."""
    kinds: dict[str, Any] = {"state": "parameter", "random": "input"}
    given = tuple(replace(g, kind=kinds.get(g.kind, g.kind), next="") for g in program.given if g.kind != "target")
    following = {g.next for g in program.given if g.next}
    kept = tuple(e for e in program.equations if e.name not in following)
    return replace(program, form="text", given=given, equations=kept, loss=None, named="")


def _as_given(program: Program, name: str) -> Given | None:
    shape = program.shapes[name]
    whole = any(isinstance(n, Reduce) and n.kind == "argmax" for e in program.equations if e.name == name
                for n in [e.value])
    if whole:
        return None
    if N in shape:
        return Given(name, shape, "input") if program.form == "text" else None
    return Given(name, shape, "parameter")


def tidy(program: Program) -> Program:
    """Without what nothing reads."""
    read = {name for e in program.equations for name in e.names}
    keep = {"target", "input", "id"} if program.form == "layer" else set[str]()
    return replace(program, given=tuple(g for g in program.given if g.name in read or g.kind in keep))


def fix(node: Expr, index: Index) -> Expr:
    """The node with 0 for a free index."""

    def affine(a: Affine) -> Affine:
        return Affine(tuple((i, c) for i, c in a.terms if i.name != index.name), a.offset)

    match node:
        case Read(name, subscripts, pad):
            return Read(name, tuple(map(affine, subscripts)), pad)
        case Reduce(_, indices, _) if index.name in {i.name for i in indices}:
            return node
        case Same(left, right):
            other = fix(right, index) if isinstance(right, Read) else affine(right)
            assert isinstance(other, Read | Affine)
            return Same(affine(left), other)
        case _:
            made: Any = node
            for field, value in vars(node).items():
                if isinstance(value, Expr):
                    made = replace(made, **{field: fix(value, index)})
                elif isinstance(value, Affine):
                    made = replace(made, **{field: affine(value)})
                elif isinstance(value, tuple):
                    made = replace(made, **{field: _each(value, lambda e: fix(e, index))})
            return made


def _each(items: tuple[Any, ...], function: Callable[[Expr], Expr]) -> tuple[Any, ...]:
    return tuple(
        function(item) if isinstance(item, Expr) else _each(item, function) if isinstance(item, tuple) else item
        for item in items
    )


def _indices(root: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Index]]:
    if isinstance(root, Index):
        yield path, root
    elif isinstance(root, tuple):
        for n, item in enumerate(root):
            yield from _indices(item, (*path, n))
    elif hasattr(root, "__dataclass_fields__"):
        for field in root.__dataclass_fields__:
            yield from _indices(getattr(root, field), (*path, field))


def _mapped(root: Any, index: Callable[[Index], Index], name: Callable[[str], str]) -> Any:
    """The same over other indices and other tensors."""
    match root:
        case Index():
            return index(root)
        case Read() | Equation():
            new = replace(root, name=name(root.name))
            return replace(new, **{f: _mapped(getattr(new, f), index, name) for f in vars(new) if f != "name"})
        case tuple():
            return tuple(_mapped(item, index, name) for item in root)
        case Expr() | Affine():
            made: Any = root
            return replace(made, **{f: _mapped(getattr(root, f), index, name) for f in vars(root)})
        case _:
            return root


def resized(program: Program, old: int, new: int) -> Program:
    """Every extent `old` as `new`."""

    def index(i: Index) -> Index:
        return Index(i.name, new) if i.extent == old else i

    given = tuple(
        replace(
            g, shape=tuple(new if e == old else e for e in g.shape), tops=tuple(new if t == old else t for t in g.tops)
        )
        for g in program.given
    )
    equations = _mapped(program.equations, index, lambda name: name)
    loss = _mapped(program.loss, index, lambda name: name) if program.loss else None
    return replace(program, given=given, equations=equations, loss=loss)


def renamed(program: Program) -> Program:
    """Plain names for all of it."""
    inputs = [g for g in program.given if g.kind in ("input", "id")]
    fixed = {g.name for g in inputs} if program.form == "layer" else set[str]()
    names: dict[str, str] = {n: n for n in fixed} | {TARGET: TARGET}
    pools: Mapping[str, list[str]] = {
        "input": ["x", "z", "v", "a1", "a2"], "id": ["id", "ids", "id3"], "parameter": [*"wWbgVUABC"],
        "state": ["r", "s"], "random": ["mask", "drop"], "target": [TARGET],
    }
    for g in program.given:
        if g.name not in names:
            names[g.name] = next(n for n in (*pools[g.kind], *"DEFGH") if n not in names.values())
    last = program.equations[-1].name
    for e in program.equations:
        wish = ["y"] if e.name == last else [*"hfqmc", "h2", "h3"]
        names.setdefault(e.name, next(n for n in (*wish, "out") if n not in names.values()))

    indices: dict[str, str] = {"n": "n", "m": "m"}
    for _, i in _indices(program.equations):
        indices.setdefault(i.name, next(n for n in "ijklpqcdoshvabefgtuwxyz" if n not in indices.values()))
    equations = _mapped(
        program.equations, lambda i: Index(indices[i.name], i.extent), lambda name: names.get(name, name)
    )
    given = tuple(replace(g, name=names[g.name], next=names.get(g.next, g.next)) for g in program.given)
    return replace(program, equations=equations, given=given)
