"""Whether equations and programs are well formed. What passes here has a meaning at every component.

An equation: its right side is over the indices of its left; ranks, extents and arities fit; every read that is not
padded lies inside its tensor. A program: every component of every defined tensor is bound exactly once, and every read
is of something given or bound before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import combinations, islice, product
from math import prod

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.expr import Apply, Component, Delta, Derivative, Expr, Reduce, Size, Tensor
from chainrule.ir.functions import CATALOGUE, arity, is_function
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.print import affine_text, to_text
from chainrule.ir.program import Equation, Program
from chainrule.ir.source import shorten
from chainrule.ir.walk import children, components, nodes

MAX_POSITIONS = 1_000_000


def check_equation(equation: Equation) -> None:
    """Raises EquationError where the equation is not well formed, ShapeError where its shapes do not fit. Whether its
    pieces bind every component is a question about the program: `check_program`."""
    about = shorten(str(equation), 200)
    _check_target(equation.target, about)
    _check_free(equation, about)
    for node in nodes(equation.value):
        match node:
            case Apply():
                _check_function(node, about)
            case Delta(right=Component(tensor=tensor)):
                if tensor.dtype != "integer":
                    raise EquationError(
                        f"{to_text(node)} compares an index with {tensor.name}, which holds real numbers", about=about,
                        fix=f"declare {tensor.name} as integer",
                    )
            case Reduce(indices=indices, body=body):
                if len({index.name for index in indices}) < len(indices):
                    raise EquationError(
                        f"{shorten(to_text(node), 60)} reduces twice over one index", about=about,
                        fix="give the indices different names",
                    )
                if node.kind in ("max", "argmax") and isinstance(body, Component) and body.pad == "-inf":
                    _check_window(node, body, about)
            case Derivative(wrt=wrt):
                if wrt.pad is not None or any(s.plain is None for s in wrt.subscripts):
                    raise EquationError(
                        f"a derivative by {to_text(wrt)}", about=about, fix="differentiate by plain x[i, j]"
                    )
            case _:
                pass
    _check_minus_infinity(equation.value, about)
    for component in components(equation.value):
        _check_read(component, about)


def _check_target(target: Component, about: str) -> None:
    """Mixed-radix subscripts over distinct indices, in range."""
    _check_rank(target, about)
    seen: set[str] = set()
    for axis, (subscript, extent) in enumerate(zip(target.subscripts, target.tensor.shape, strict=True)):
        for index in subscript.indices:
            if index.name in seen:
                raise EquationError(
                    f"index {index.name} stands twice on the left", about=about,
                    fix="use two indices and a bracket [i == j] on the right",
                )
            seen.add(index.name)
        if not _injective(subscript):
            raise EquationError(
                f"the subscript {affine_text(subscript)} on the left is no mixed-radix number: two positions may meet",
                about=about, fix="write c*H*W + i*W + j, each coefficient the product of the extents after it",
            )
        if not subscript.within(extent):
            raise _out_of_range(target, axis, about, "define components inside the tensor only")


def _injective(subscript: Affine) -> bool:
    """Whether different positions of the indices give different values."""
    reach: int | None = 0
    for index, c in sorted(subscript.terms, key=lambda term: term[1]):
        if index.extent == 1:
            continue
        # Above an index of named extent nothing can be proven to stay clear of it.
        if reach is None or c <= reach:
            return False
        reach = reach + c * (index.extent - 1) if isinstance(index.extent, int) else None
    return True


def _check_free(equation: Equation, about: str) -> None:
    left = {index.name: index for index in equation.target.free}
    for index in equation.value.free:
        if index.name not in left:
            raise EquationError(
                f"index {index.name} is free on the right but not on the left", about=about,
                fix="sum over it or add it to the left",
            )
        if left[index.name] != index:
            raise ShapeError(
                f"index {index.name} has extent {left[index.name].extent} on the left and {index.extent} on the right",
                about=about, fix="use two different indices",
            )


def _check_function(node: Apply, about: str) -> None:
    if not is_function(node.function):
        match = get_close_matches(node.function, sorted(CATALOGUE), 1, 0.5)
        raise EquationError(
            f"the function {node.function} is unknown", about=about,
            fix=(f"did you mean {match[0]}? " if match else "") + f"known: {', '.join(CATALOGUE)}",
        )
    if len(node.arguments) != arity(node.function):
        raise EquationError(
            f"{node.function} takes {arity(node.function)} arguments, not {len(node.arguments)}", about=about,
            fix=f"write {node.function}({', '.join('xy'[: arity(node.function)])})",
        )


def _check_rank(component: Component, about: str) -> None:
    tensor = component.tensor
    if len(component.subscripts) != len(tensor.shape):
        raise ShapeError(
            f"{to_text(component)} has {len(component.subscripts)} subscripts, but {tensor.name} has "
            f"{len(tensor.shape)} axes {_shape(tensor)}", about=about, fix="give one subscript for each axis",
        )


def _check_read(component: Component, about: str) -> None:
    _check_rank(component, about)
    if component.pad is not None:
        return
    for axis, (subscript, extent) in enumerate(zip(component.subscripts, component.tensor.shape, strict=True)):
        if not subscript.within(extent):
            name = component.tensor.name
            raise _out_of_range(component, axis, about, f"write pad({name}, 0) for 0 outside {name}")


def _out_of_range(component: Component, axis: int, about: str, fix: str) -> ShapeError:
    subscript, extent = component.subscripts[axis], component.tensor.shape[axis]
    bounds = subscript.bounds()
    if bounds is not None and isinstance(extent, int):
        reach = f"reaches {bounds[0]} … {bounds[1]}, outside 0 … {extent - 1} (extent {extent})"
    else:
        sizes = ", ".join(f"{index.name}<{index.extent}" for index in subscript.indices)
        reach = f"with {sizes or 'no index'} is not known to stay inside extent {extent}"
    return ShapeError(
        f"axis {axis} of {component.tensor.name} {_shape(component.tensor)}: the subscript "
        f"{affine_text(subscript)} {reach}", about=about, fix=fix,
    )


def _check_minus_infinity(value: Expr, about: str) -> None:
    """A padding of -inf is never selected, so it may stand only where something is selected. A node is shared, so
    every place where it stands is looked at, not every node."""
    seen: set[tuple[Expr, bool]] = set()
    stack = [(value, False)]
    while stack:
        node, selected = stack.pop()
        if (node, selected) in seen:
            continue
        seen.add((node, selected))
        if isinstance(node, Component) and node.pad == "-inf" and not selected:
            raise EquationError(
                f"{to_text(node)} stands outside a maximum", about=about,
                fix="pad with -inf only directly under max[...] or argmax[...]",
            )
        inside = isinstance(node, Reduce) and node.kind in ("max", "argmax")
        stack.extend((child, inside) for child in children(node))


def _check_window(node: Reduce, body: Component, about: str) -> None:
    """Every window of a padded maximum holds a position inside the tensor. Axes that share no window index are
    independent, so each group of axes that do is enumerated on its own."""
    if len(body.subscripts) != len(body.tensor.shape):
        return  # `_check_read` says so.
    groups: list[tuple[set[Index], list[int]]] = []
    for axis, (subscript, extent) in enumerate(zip(body.subscripts, body.tensor.shape, strict=True)):
        if subscript.within(extent):
            continue
        window = {index for index in subscript.indices if index in node.indices}
        joined = [group for group in groups if group[0] & window]
        groups = [group for group in groups if group not in joined]
        groups.append((window.union(*(g[0] for g in joined)), [*(a for g in joined for a in g[1]), axis]))
    for window, axes in groups:
        subscripts = [body.subscripts[axis] for axis in axes]
        outer = tuple(dict.fromkeys(i for s in subscripts for i in s.indices if i not in window))
        inner = tuple(i for i in node.indices if i in window)
        extents = [body.tensor.shape[axis] for axis in axes]
        sizes = [e for e in (*extents, *(i.extent for i in (*outer, *inner))) if isinstance(e, int)]
        if len(sizes) < len(axes) + len(outer) + len(inner):
            raise ShapeError(
                f"the windows of {to_text(body)} have named extents, so a window of padding alone cannot be excluded",
                about=about, fix="declare the extents as numbers",
            )
        count = prod(sizes[len(axes) :])
        if count > MAX_POSITIONS:
            raise ShapeError(
                f"the windows of {to_text(body)} have {count} positions, too many to look at", about=about,
                fix="give every window axis its own index",
            )
        limits = sizes[: len(axes)]
        for position in product(*(range(_size(i.extent)) for i in outer)):
            at = dict(zip(outer, position, strict=True))
            if not any(
                all(
                    0 <= _value(s, at | dict(zip(inner, w, strict=True))) < e
                    for s, e in zip(subscripts, limits, strict=True)
                )
                for w in product(*(range(_size(i.extent)) for i in inner))
            ):
                where = ", ".join(f"{index.name} = {p}" for index, p in at.items()) or "everywhere"
                raise ShapeError(
                    f"the window of {to_text(body)} at {where} is padding alone: it lies outside "
                    f"{body.tensor.name} {_shape(body.tensor)}", about=about,
                    fix="use less padding or fewer positions",
                )


def _size(extent: Extent) -> int:
    assert isinstance(extent, int)
    return extent


def _value(subscript: Affine, at: dict[Index, int]) -> int:
    return subscript.offset + sum(c * at[index] for index, c in subscript.terms)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


# Programs


def check_program(program: Program) -> None:
    """Raises EquationError where the program is not well formed, ShapeError where shapes do not fit."""
    for equation in program.equations:
        check_equation(equation)
    _check_names(program)
    _check_given(program)
    _check_sizes(program)
    _check_order(program)
    for tensor in program.defined:
        _check_bound_once(tensor, [e for e in program.equations if e.tensor == tensor])


def _check_names(program: Program) -> None:
    """One name, one tensor."""
    known: dict[str, Tensor] = {}
    states = [tensor for state in program.states for tensor in (state.tensor, state.next)]
    read = [tensor for e in program.equations for tensor in (e.tensor, *e.value.tensors)]
    for tensor in (*program.given, *states, *read, *program.outputs):
        other = known.setdefault(tensor.name, tensor)
        if other != tensor:
            raise ShapeError(
                f"{tensor.name} is {other.dtype} {_shape(other)} in one place and {tensor.dtype} {_shape(tensor)} in "
                "another", about=tensor.name, fix="use one shape, or two names",
            )


def _check_given(program: Program) -> None:
    given: set[str] = set()
    for tensor in program.given:
        if tensor.name in given:
            raise EquationError(f"{tensor.name} is given twice", about=tensor.name, fix="give it one role")
        given.add(tensor.name)
    for equation in program.equations:
        if equation.tensor.name in given:
            raise EquationError(
                f"{equation.tensor.name} is given, and defined again", about=shorten(str(equation), 200),
                fix="define another tensor",
            )
    available = given | {tensor.name for tensor in program.defined}
    for output in program.outputs:
        if output.name not in available:
            raise EquationError(
                f"the output {output.name} is neither given nor defined", about=output.name,
                fix=_suggest(output.name, available),
            )
    for state in program.states:
        if state.tensor.shape != state.next.shape or state.tensor.dtype != state.next.dtype:
            raise ShapeError(
                f"the state {state.tensor.name} is {state.tensor.dtype} {_shape(state.tensor)}, but its next value "
                f"{state.next.name} is {state.next.dtype} {_shape(state.next)}", about=state.tensor.name,
                fix="a state keeps its shape",
            )
        if state.next.name not in available:
            raise EquationError(
                f"{state.next.name}, the next value of {state.tensor.name}, is neither given nor defined",
                about=state.tensor.name, fix=_suggest(state.next.name, available),
            )


def _check_sizes(program: Program) -> None:
    """Every named extent is one that a tensor's shape gives: nothing else says how large it is."""
    shapes = {e for t in program.given for e in t.shape if isinstance(e, str)} | {SAMPLES}
    for equation in program.equations:
        bound = [i.extent for n in nodes(equation.value) if isinstance(n, Reduce) for i in n.indices]
        sizes = [n.extent for n in nodes(equation.value) if isinstance(n, Size)]
        for extent in (*(i.extent for i in equation.indices), *bound, *sizes):
            if isinstance(extent, str) and extent not in shapes:
                raise ShapeError(
                    f"no given tensor has an axis of the named extent {extent}", about=shorten(str(equation), 200),
                    fix=f"give a tensor with an axis {extent}, or write the number",
                )


def _suggest(name: str, names: Iterable[str]) -> str:
    match = get_close_matches(name, sorted(names), 1, 0.5)
    return f"did you mean {match[0]}?" if match else f"define it: {name}[...] = ..."


def _check_order(program: Program) -> None:
    given = {tensor.name for tensor in program.given}
    last = {e.tensor.name: position for position, e in enumerate(program.equations)}
    for position, equation in enumerate(program.equations):
        about = shorten(str(equation), 200)
        for tensor in equation.value.tensors:
            name = tensor.name
            if name in given:
                continue
            if name not in last:
                raise EquationError(
                    f"{name} is neither given nor defined", about=about, fix=_suggest(name, given | set(last))
                )
            if last[name] < position:
                continue
            cycle = _path(program, name, equation.tensor.name)
            if cycle is not None:
                raise EquationError(
                    f"cyclic equations: {' -> '.join((equation.tensor.name, *cycle))}", about=about,
                    fix="a value of the run before is a state: State(tensor, next)",
                )
            raise EquationError(
                f"{equation.tensor.name} reads {name}, which is defined later", about=about,
                fix=f"move the definition of {name} before it",
            )


def _path(program: Program, start: str, end: str) -> list[str] | None:
    """The names from `start` to `end` along definitions, where there is a way."""
    edges: dict[str, list[str]] = {}
    for equation in program.equations:
        edges.setdefault(equation.tensor.name, []).extend(t.name for t in equation.value.tensors)
    came: dict[str, str | None] = {start: None}
    queue = [start]
    for name in queue:
        if name == end:
            path: list[str] = []
            step: str | None = name
            while step is not None:
                path.append(step)
                step = came[step]
            return path[::-1]
        for read in edges.get(name, []):
            if read not in came:
                came[read] = name
                queue.append(read)
    return None


def _positions(component: Component, axis: int) -> frozenset[int] | None:
    """The values of a subscript; None where they are the whole axis or not known."""
    subscript, extent = component.subscripts[axis], component.tensor.shape[axis]
    if subscript.radix(extent) or not isinstance(extent, int):
        return None
    values = {subscript.offset}
    for index, c in subscript.terms:
        if isinstance(index.extent, str):
            return None
        values = {v + c * i for v in values for i in range(index.extent)}
    return frozenset(values)


def _disjoint(one: Component, other: Component) -> bool:
    for axis in range(len(one.subscripts)):
        a, b = _positions(one, axis), _positions(other, axis)
        if a is not None and b is not None and not a & b:
            return True
    return False


def _check_bound_once(tensor: Tensor, pieces: Sequence[Equation]) -> None:
    """Pieces that are pairwise disjoint and together as many as the components bind each exactly once."""
    about = shorten(" ; ".join(str(piece) for piece in pieces), 200)
    for one, other in combinations(pieces, 2):
        if not _disjoint(one.target, other.target):
            whole = all(_positions(p.target, axis) is None for p in (one, other) for axis in range(len(tensor.shape)))
            raise EquationError(
                f"{tensor.name} is defined twice" if whole else f"pieces of {tensor.name} overlap: "
                f"{to_text(one.target)} and {to_text(other.target)}", about=about,
                fix="define every component exactly once",
            )
    positions = [[_positions(piece.target, axis) for axis in range(len(tensor.shape))] for piece in pieces]
    partial = [axis for axis in range(len(tensor.shape)) if any(p[axis] is not None for p in positions)]
    extents = [tensor.shape[axis] for axis in partial]
    total = prod(_size(extent) for extent in extents)
    bound = 0
    for piece in positions:
        sets = [piece[axis] for axis in partial]
        bound += prod(_size(e) if s is None else len(s) for s, e in zip(sets, extents, strict=True))
    if bound != total:
        spots = product(*(range(_size(extent)) for extent in extents))
        covered = [[piece[axis] for axis in partial] for piece in positions]
        missing = next(
            (
                spot for spot in islice(spots, MAX_POSITIONS)
                if not any(all(s is None or v in s for v, s in zip(spot, sets, strict=True)) for sets in covered)
            ),
            None,
        )
        where = ""
        if missing is not None:
            at = dict(zip(partial, missing, strict=True))
            where = f", for one {tensor.name}[{', '.join(str(at.get(axis, ':')) for axis in range(len(tensor.shape)))}]"
        raise EquationError(
            f"some components of {tensor.name} {_shape(tensor)} are not defined{where}", about=about,
            fix="define every component exactly once",
        )
