"""Equations that read themselves at an earlier position of an index, written out position by position.

There is no recurrence in the language yet. What an error shows in its place is a program that means the same: each
position is a tensor of its own, h0, h1, …, and the last lines put them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from chainrule.ir.expr import Component, Constant, Expr, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.print import to_text
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import components, substitute, transform

FEW = 3
"""Positions that are all shown; of more, the first two and the last."""


def unrolled(program: Program, names: Sequence[str]) -> tuple[str, list[str]] | None:
    """The index over which the equations of these tensors run, each position after those that it reads, and their
    lines unrolled; None where no index orders them."""
    members = [e for e in program.equations if e.tensor.name in names]
    for index in members[0].target.free:
        axes = {e.tensor: a for e in members for a, s in enumerate(e.target.subscripts) if s.plain == index}
        if len(axes) < len(members):
            continue  # a tensor without that axis, or in pieces
        lags = _lags(members, index, axes)
        if lags is None or (min(lags) < 0 and isinstance(index.extent, str)):
            continue
        taken = {t.name for t in (*program.given, *program.defined)}
        return index.name, _lines(members, index, axes, min(lags) < 0, taken)
    return None


def _lags(members: Sequence[Equation], index: Index, axes: Mapping[Tensor, int]) -> list[int] | None:
    """How far back each read among the equations goes, where all that go anywhere go the same way, and those that stay
    read what stands before."""
    found: list[int] = []
    for place, equation in enumerate(members):
        before = {e.tensor for e in members[:place]}
        for read in components(equation.value):
            if read.tensor in axes:
                back = Affine.of(index) - read.subscripts[axes[read.tensor]]
                if back.terms or (back.offset == 0 and read.tensor not in before):
                    return None
                found.append(back.offset)
    return None if not found or min(found) < 0 < max(found) else found


def _lines(
    members: Sequence[Equation], index: Index, axes: Mapping[Tensor, int], backwards: bool, taken: set[str]
) -> list[str]:
    extent = index.extent
    first = [0, 1] if isinstance(extent, str) or extent > FEW else list(range(extent))
    last = [] if isinstance(extent, str) or extent <= FEW else [extent - 1]
    if backwards and isinstance(extent, int):
        first, last = [extent - 1 - t for t in first], [extent - 1 - t for t in last]
    stems = {t: t.name if taken.isdisjoint(f"{t.name}{p}" for p in (*first, *last)) else f"{t.name}_" for t in axes}

    def own(component: Component, place: int) -> Component:
        """The same component of the tensor that one position is."""
        axis, t = axes[component.tensor], component.tensor
        rest = (*component.subscripts[:axis], *component.subscripts[axis + 1 :])
        tensor = Tensor(f"{stems[t]}{place}", (*t.shape[:axis], *t.shape[axis + 1 :]), t.dtype)
        inside = all(s.within(e) for s, e in zip(rest, tensor.shape, strict=True))
        return Component(tensor, rest, None if inside else component.pad)

    def at(equation: Equation, position: int) -> str:
        def visit(node: Expr) -> Expr:
            if not isinstance(node, Component) or node.tensor not in axes:
                return node
            place = position + (node.subscripts[axes[node.tensor]] - Affine.of(index)).offset
            outside = place < 0 or (isinstance(extent, int) and place >= extent)
            return Constant(node.pad) if outside and isinstance(node.pad, Fraction) else own(node, place)

        value = transform(equation.value, visit, Component)
        return to_text(Equation(own(equation.target, position), substitute(value, {index: Affine((), position)})))

    def together(equation: Equation, position: int) -> str:
        whole = substitute(equation.target, {index: Affine((), position)})
        assert isinstance(whole, Component)
        return to_text(Equation(whole, own(equation.target, position)))

    def each(write: Callable[[Equation, int], str]) -> list[str]:
        gap = ["…"] if last or isinstance(extent, str) else []
        return [
            *(write(e, position) for position in first for e in members), *gap,
            *(write(e, position) for position in last for e in members),
        ]

    return [*each(at), *each(together)]
