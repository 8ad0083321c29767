"""Whether equations and programs are well formed. What passes here has a meaning at every component.

An equation: its right side is over the indices of its left; ranks, extents and arities fit; every read that is not
padded lies inside its tensor. A program: every component of every defined tensor is bound exactly once, and every read
is of something given or bound before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import combinations, islice, product
from math import gcd, prod
from typing import NoReturn

from chainrule.errors import EquationError, ShapeError
from chainrule.ir.cost import derivative_size
from chainrule.ir.expr import Apply, Component, Delta, Derivative, Expr, Multiply, Reduce, Size, Tensor
from chainrule.ir.functions import CATALOGUE, arity, is_function
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.print import affine_text, to_text
from chainrule.ir.program import Equation, Program
from chainrule.ir.recurrence import unrolled
from chainrule.ir.source import shorten
from chainrule.ir.walk import components, nodes

# What an equation may cost. Each bound is far above what networks are written with, and is met by a text of a line or
# two; derivation, document and check of an equation within all of them take seconds, not minutes.
MAX_COMPONENTS = 2**31 - 1
"""Components of one tensor for one sample, and positions that a subscript reaches: what native code can address."""
MAX_INDICES = 12
"""Indices that stand together: those of the left side and of all sums around one place. A tensor has as many axes."""
MAX_DEPTH = 64
"""Operations around one place, signs and brackets among them."""
MAX_DERIVATIVE = 3_000
"""Nodes of all the derivatives before they are simplified, `cost.derivative_size`: a product of 54 factors, say."""
MAX_FACTORS = 64
"""Factors of one product, brackets among them."""
MAX_PIECES = 256
"""Equations that define one tensor; residue classes of the strides of one read, each an equation of its gradient."""
MAX_POSITIONS = 100_000
"""Positions of windows, and of pieces, that are looked at one by one."""


@lru_cache(maxsize=4096)  # a network's equations are checked in each program that has them
def check_equation(equation: Equation) -> None:
    """Raises EquationError where the equation is not well formed, ShapeError where its shapes do not fit. Whether its
    pieces bind every component is a question about the program: `check_program`."""
    check_cost(equation)
    _check_target(equation)
    _check_free(equation)
    for node in nodes(equation.value):
        match node:
            case Apply():
                _check_function(node, equation)
            case Delta(right=Component(tensor=tensor)):
                if tensor.dtype != "integer":
                    raise EquationError(
                        f"{to_text(node)} compares an index with {tensor.name}, which holds real numbers",
                        about=_shown(equation), fix=f"declare {tensor.name} as integer",
                    )
            case Reduce(indices=indices, body=body):
                if len({index.name for index in indices}) < len(indices):
                    raise EquationError(
                        f"{shorten(to_text(node), 60)} reduces twice over one index", about=_shown(equation),
                        fix="give the indices different names",
                    )
                if node.kind in ("max", "argmax") and isinstance(body, Component) and body.pad == "-inf":
                    _check_window(node, body, equation)
            case Derivative(wrt=wrt):
                if wrt.pad is not None or any(s.plain is None for s in wrt.subscripts):
                    raise EquationError(
                        f"a derivative by {to_text(wrt)}", about=_shown(equation), fix="differentiate by plain x[i, j]"
                    )
            case _:
                pass
    _check_minus_infinity(equation)
    for component in components(equation.value):
        _check_read(component, equation)


def check_cost(equation: Equation) -> None:
    """Raises EquationError or ShapeError where an equation is beyond one of the bounds."""
    inside = list(nodes(equation.value))
    tensors = dict.fromkeys((equation.tensor, *equation.value.tensors))
    read = [(f"{t.name} {shorten(_shape(t), 60)}", t.shape) for t in tensors]
    sums = [n for n in inside if isinstance(n, Reduce)]
    read += [(shorten(to_text(n), 60), tuple(i.extent for i in n.indices)) for n in sums if _large(n)]
    for what, shape in read:
        if prod(e for e in shape if isinstance(e, int)) > MAX_COMPONENTS:
            raise ShapeError(
                f"{what} does not fit into memory: it is over more than {MAX_COMPONENTS} positions",
                about=_shown(equation), fix="use smaller extents",
            )
    derivatives, depth = derivative_size(equation.value)
    together = [equation.target.free, *(n.body.free for n in sums), *(t.shape for t in tensors)]
    factors = [len(n.factors) for n in inside if isinstance(n, Multiply)]
    for count, most, what, fix in (
        (max(map(len, together)), MAX_INDICES, "indices stand together", "sum over some in an equation of its own"),
        (max(factors, default=0), MAX_FACTORS, "factors stand in one product", "name a part by an equation of its own"),
        (depth, MAX_DEPTH, "operations stand around one place", "name an inner part by an equation of its own"),
        (derivatives, MAX_DERIVATIVE, "nodes make up its derivatives", "name parts by equations of their own"),
    ):
        if count > most:
            raise EquationError(f"{count} {what}, more than {most}", about=_shown(equation), fix=fix)
    for node in inside:
        if isinstance(node, Component):
            _check_strides(node, equation)


def _large(node: Reduce) -> bool:
    return prod(i.extent for i in node.indices if isinstance(i.extent, int)) > MAX_COMPONENTS


def _check_strides(component: Component, equation: Equation) -> None:
    """A stride splits the gradient into its residue classes; a mixed-radix subscript does not."""
    classes = 1
    for subscript, extent in zip(component.subscripts, component.tensor.shape, strict=False):
        bounds = subscript.bounds()
        if bounds is not None and not -MAX_COMPONENTS <= bounds[0] <= bounds[1] <= MAX_COMPONENTS:
            raise ShapeError(
                f"the subscript {affine_text(subscript)} of {component.tensor.name} reaches {bounds[0]} … {bounds[1]}, "
                f"beyond ±{MAX_COMPONENTS}", about=_shown(equation), fix="use smaller coefficients",
            )
        outer = [abs(c) for i, c in subscript.terms if i in equation.indices]
        if len(outer) == 1 and isinstance(extent, int) and not subscript.radix(extent):
            classes *= min(outer[0], extent)
    if classes > MAX_PIECES:
        raise EquationError(
            f"the strides of {to_text(component)} split its gradient into {classes} classes, more than {MAX_PIECES}",
            about=_shown(equation), fix="reshape first: y[n, i, r] = x[n, s*i + r], and read y[n, i, 0]",
        )


def _shown(*equations: Equation) -> str:
    """What an error says it is about. Written when there is one, for the text of an equation takes longer than its
    check."""
    return shorten(" ; ".join(map(str, equations)), 200)


def _check_target(equation: Equation) -> None:
    """Mixed-radix subscripts over distinct indices, in range."""
    target = equation.target
    _check_rank(target, equation)
    seen: set[str] = set()
    for axis, (subscript, extent) in enumerate(zip(target.subscripts, target.tensor.shape, strict=True)):
        for index in subscript.indices:
            if index.name in seen:
                raise EquationError(
                    f"index {index.name} stands twice on the left", about=_shown(equation),
                    fix="use two indices and a bracket [i == j] on the right",
                )
            seen.add(index.name)
        if not _injective(subscript):
            raise EquationError(
                f"the subscript {affine_text(subscript)} on the left is no mixed-radix number: two positions may meet",
                about=_shown(equation),
                fix="write c*H*W + i*W + j, each coefficient the product of the extents after it",
            )
        if not subscript.within(extent):
            raise _out_of_range(target, axis, equation, "define components inside the tensor only")


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


def _check_free(equation: Equation) -> None:
    left = {index.name: index for index in equation.target.free}
    for index in equation.value.free:
        if index.name not in left:
            raise EquationError(
                f"index {index.name} is free on the right but not on the left", about=_shown(equation),
                fix="sum over it or add it to the left",
            )
        if left[index.name] != index:
            raise ShapeError(
                f"index {index.name} has extent {left[index.name].extent} on the left and {index.extent} on the right",
                about=_shown(equation), fix="use two different indices",
            )


def _check_function(node: Apply, equation: Equation) -> None:
    if not is_function(node.function):
        match = get_close_matches(node.function, sorted(CATALOGUE), 1, 0.5)
        raise EquationError(
            f"the function {node.function} is unknown", about=_shown(equation),
            fix=(f"did you mean {match[0]}? " if match else "") + f"known: {', '.join(CATALOGUE)}",
        )
    if len(node.arguments) != arity(node.function):
        raise EquationError(
            f"{node.function} takes {arity(node.function)} arguments, not {len(node.arguments)}",
            about=_shown(equation), fix=f"write {node.function}({', '.join('xy'[: arity(node.function)])})",
        )


def _check_rank(component: Component, equation: Equation) -> None:
    tensor = component.tensor
    if len(component.subscripts) != len(tensor.shape):
        raise ShapeError(
            f"{to_text(component)} has {len(component.subscripts)} subscripts, but {tensor.name} has "
            f"{len(tensor.shape)} axes {_shape(tensor)}",
            about=_shown(equation), fix="give one subscript for each axis",
        )


def _check_read(component: Component, equation: Equation) -> None:
    _check_rank(component, equation)
    if component.pad is not None:
        return
    for axis, (subscript, extent) in enumerate(zip(component.subscripts, component.tensor.shape, strict=True)):
        if not subscript.within(extent):
            name = component.tensor.name
            raise _out_of_range(component, axis, equation, f"write pad({name}, 0) for 0 outside {name}")


def _out_of_range(component: Component, axis: int, equation: Equation, fix: str) -> ShapeError:
    subscript, extent = component.subscripts[axis], component.tensor.shape[axis]
    bounds = subscript.bounds()
    if bounds is not None and isinstance(extent, int):
        reach = f"reaches {bounds[0]} … {bounds[1]}, outside 0 … {extent - 1} (extent {extent})"
    else:
        sizes = ", ".join(f"{index.name}<{index.extent}" for index in subscript.indices)
        reach = f"with {sizes or 'no index'} is not known to stay inside extent {extent}"
    return ShapeError(
        f"axis {axis} of {component.tensor.name} {_shape(component.tensor)}: the subscript "
        f"{affine_text(subscript)} {reach}", about=_shown(equation), fix=fix,
    )


def _check_minus_infinity(equation: Equation) -> None:
    """A padding of -inf is never selected, so it may stand only where something is selected. A node is shared, so
    every place where it stands is looked at, not every node."""
    seen: set[tuple[Expr, bool]] = set()
    stack: list[tuple[Expr, bool]] = [(equation.value, False)]
    while stack:
        node, selected = stack.pop()
        if (node, selected) in seen:
            continue
        seen.add((node, selected))
        if isinstance(node, Component) and node.pad == "-inf" and not selected:
            raise EquationError(
                f"{to_text(node)} stands outside a maximum", about=_shown(equation),
                fix="pad with -inf only directly under max[...] or argmax[...]",
            )
        inside = isinstance(node, Reduce) and node.kind in ("max", "argmax")
        stack.extend((child, inside) for child in node.parts)


def _check_window(node: Reduce, body: Component, equation: Equation) -> None:
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
                about=_shown(equation), fix="declare the extents as numbers",
            )
        limits, counts = sizes[: len(axes)], sizes[len(axes) :]
        places, window_ = prod(counts[: len(outer)]), prod(counts[len(outer) :])
        # Along one axis the positions of a window are numbers in a row, and one look finds whether any is inside.
        count = max(places, window_) if len(axes) == 1 else places * window_
        if count > MAX_POSITIONS:
            raise ShapeError(
                f"the windows of {to_text(body)} have {count} positions, more than {MAX_POSITIONS}",
                about=_shown(equation), fix="give every window axis its own index",
            )
        cells = [[_value(s, dict(zip(inner, w, strict=True)), 0) for s in subscripts] for w in _every(inner)]
        along = sorted(cell[0] for cell in cells) if len(axes) == 1 else []
        for position in _every(outer):
            at = dict(zip(outer, position, strict=True))
            start = [_value(s, at, s.offset) for s in subscripts]
            if len(axes) == 1:
                first = bisect_left(along, -start[0])
                inside = first < len(along) and start[0] + along[first] < limits[0]
            else:
                inside = any(
                    all(0 <= a + c < e for a, c, e in zip(start, cell, limits, strict=True)) for cell in cells
                )
            if not inside:
                where = ", ".join(f"{index.name} = {p}" for index, p in at.items()) or "everywhere"
                raise ShapeError(
                    f"the window of {to_text(body)} at {where} is padding alone: it lies outside "
                    f"{body.tensor.name} {_shape(body.tensor)}", about=_shown(equation),
                    fix="use less padding or fewer positions",
                )


def _every(indices: Sequence[Index]) -> Iterator[tuple[int, ...]]:
    return product(*(range(_size(i.extent)) for i in indices))


def _size(extent: Extent) -> int:
    assert isinstance(extent, int)
    return extent


def _value(subscript: Affine, at: dict[Index, int], start: int) -> int:
    return start + sum(c * at[index] for index, c in subscript.terms if index in at)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


# Programs


def check_program(program: Program) -> None:
    """Raises EquationError where the program is not well formed, ShapeError where shapes do not fit."""
    pieces: dict[Tensor, list[Equation]] = {}
    for equation in program.equations:
        check_equation(equation)
        pieces.setdefault(equation.tensor, []).append(equation)
    _check_names(program)
    _check_given(program)
    _check_sizes(program)
    _check_order(program)
    for tensor, equations in pieces.items():
        _check_bound_once(tensor, equations)


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
                f"{equation.tensor.name} is given, and defined again", about=_shown(equation),
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
        inside = [n for n in nodes(equation.value) if isinstance(n, Reduce | Size)]
        bound = [i.extent for n in inside if isinstance(n, Reduce) for i in n.indices]
        sizes = [n.extent for n in inside if isinstance(n, Size)]
        for extent in (*(i.extent for i in equation.indices), *bound, *sizes):
            if isinstance(extent, str) and extent not in shapes:
                raise ShapeError(
                    f"no given tensor has an axis of the named extent {extent}", about=_shown(equation),
                    fix=f"give a tensor with an axis {extent}, or write the number",
                )


def _suggest(name: str, names: Iterable[str]) -> str:
    match = get_close_matches(name, sorted(names), 1, 0.5)
    return f"did you mean {match[0]}?" if match else f"define it: {name}[...] = ..."


def _check_order(program: Program) -> None:
    given = {tensor.name for tensor in program.given}
    last = {e.tensor.name: position for position, e in enumerate(program.equations)}
    for position, equation in enumerate(program.equations):
        for tensor in equation.value.tensors:
            name = tensor.name
            if name in given:
                continue
            if name not in last:
                raise EquationError(
                    f"{name} is neither given nor defined", about=_shown(equation),
                    fix=_suggest(name, given | set(last)),
                )
            if last[name] < position:
                continue
            cycle = _path(program, name, equation.tensor.name)
            if cycle is not None:
                _refuse_cycle(program, equation, cycle)
            raise EquationError(
                f"{equation.tensor.name} reads {name}, which is defined later", about=_shown(equation),
                fix=f"move the definition of {name} before it",
            )


def _refuse_cycle(program: Program, equation: Equation, cycle: Sequence[str]) -> NoReturn:
    way = " -> ".join((equation.tensor.name, *cycle))
    found = unrolled(program, cycle)
    if found is None:
        raise EquationError(
            f"cyclic equations: {way}", about=_shown(equation),
            fix="read what is defined before it; a value of the run before is a state: State(tensor, next)",
        )
    index, lines = found
    raise EquationError(
        f"recurrence over an index is not supported yet: {way} over {index}", about=_shown(equation),
        fix="write it unrolled:\n    " + "\n    ".join(lines),
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


def _partial(component: Component, axis: int) -> bool:
    """Whether the subscript of a target takes only some positions of its axis."""
    extent = component.tensor.shape[axis]
    return isinstance(extent, int) and not component.subscripts[axis].radix(extent)


def _count(subscript: Affine) -> int:
    """How many positions a subscript of a target takes: each a value of its own."""
    return prod(_size(i.extent) for i in subscript.indices)


def _positions(subscript: Affine) -> frozenset[int]:
    values = {subscript.offset}
    for index, c in subscript.terms:
        values = {v + c * i for v in values for i in range(_size(index.extent))}
    return frozenset(values)


def _apart(one: Affine, other: Affine) -> bool:
    """Whether two subscripts of targets take no position both. Ranges and residue classes are told apart by their
    numbers alone; other ones position by position."""
    a, b = one.bounds(), other.bounds()
    assert a is not None and b is not None
    if a[1] < b[0] or b[1] < a[0]:
        return True
    common = gcd(*(c for s in (one, other) for i, c in s.terms if i.extent != 1))
    if common and (a[0] - b[0]) % common:
        return True
    if max(_count(one), _count(other)) > MAX_POSITIONS:
        return False
    return _positions(one).isdisjoint(_positions(other))


def _check_bound_once(tensor: Tensor, pieces: Sequence[Equation]) -> None:
    """Pieces that are pairwise disjoint and together as many as the components bind each exactly once."""
    axes = range(len(tensor.shape))
    if len(pieces) > MAX_PIECES:
        raise EquationError(
            f"{tensor.name} is defined in {len(pieces)} pieces, more than {MAX_PIECES}", about=_shown(pieces[0]),
            fix="define it by fewer equations, each over an index",
        )
    targets = [piece.target for piece in pieces]
    partial = [axis for axis in axes if any(_partial(target, axis) for target in targets)]
    for one, other in combinations(targets, 2):
        if not any(
            _partial(one, axis) and _partial(other, axis) and _apart(one.subscripts[axis], other.subscripts[axis])
            for axis in partial
        ):
            whole = not any(_partial(target, axis) for target in (one, other) for axis in partial)
            raise EquationError(
                f"{tensor.name} is defined twice" if whole
                else f"pieces of {tensor.name} overlap: {to_text(one)} and {to_text(other)}",
                about=_shown(*pieces), fix="define every component exactly once",
            )
    extents = [_size(tensor.shape[axis]) for axis in partial]
    if sum(prod(_count(target.subscripts[axis]) for axis in partial) for target in targets) == prod(extents):
        return
    where = ""
    if sum(_count(target.subscripts[axis]) for target in targets for axis in partial) <= MAX_POSITIONS:
        covered = [[_positions(target.subscripts[axis]) for axis in partial] for target in targets]
        spots = islice(product(*map(range, extents)), MAX_POSITIONS // len(pieces))
        missing = next(
            (s for s in spots if not any(all(v in w for v, w in zip(s, one, strict=True)) for one in covered)), None
        )
        if missing is not None:
            at = dict(zip(partial, missing, strict=True))
            where = f", for one {tensor.name}[{', '.join(str(at.get(axis, ':')) for axis in axes)}]"
    raise EquationError(
        f"some components of {tensor.name} {_shape(tensor)} are not defined{where}", about=_shown(*pieces),
        fix="define every component exactly once",
    )
