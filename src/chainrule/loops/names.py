"""Names for the code: no name of a user's reaches it."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.ir.expr import Component, Delta, Expr, Guard, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.print import to_text
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, transform
from chainrule.loops.task import Task

_INDICES = "ijklmpqrstuvwabcdefgh"


def names_of(task: Task) -> dict[Tensor, str]:
    """Names of numbers alone: x data, p kept, y computed."""
    names = {t: f"x{n}" for n, t in enumerate(task.data, 1)}
    names |= {t: f"p{n}" for n, t in enumerate(task.kept, 1)}
    computed = dict.fromkeys(e.tensor for e in task.equations if e.tensor not in names)
    return names | {t: f"y{n}" for n, t in enumerate(computed, 1)}


def described(equation: Equation, names: Mapping[Tensor, str]) -> str:
    """The equation in the names of the code."""
    tensors = (equation.tensor, *equation.value.tensors)
    return to_text(plain(equation.over({t: Tensor(names[t], t.shape, t.dtype) for t in tensors})))


def written(task: Task) -> str:
    """The whole task in the names of the code: tasks of one text have the same loops, whatever a user calls things."""
    names = names_of(task)
    extents = [[i.extent for i in (*e.indices, *bound(e.value))] for e in task.equations]
    return repr((
        [(name, t.shape, t.dtype) for t, name in names.items()], [described(e, names) for e in task.equations], extents,
        {names[old]: names[new] for old, new in task.following.items()}, [names[t] for t in task.outputs],
        names[task.loss] if task.loss else None, {names[t]: drawn for t, drawn in task.drawn.items()},
        [names[t] for t in task.stepwise],
    ))


def plain(equation: Equation) -> Equation:
    """The equation with index names of the code's own, the samples' n."""
    names: dict[Index, Index] = {}
    free = iter(_INDICES)
    for index in dict.fromkeys((*equation.indices, *bound(equation.value))):
        sample = index.is_sample and Index("n", index.extent) not in names.values()
        names[index] = Index("n" if sample else next(free, f"i{len(names)}"), index.extent)

    def affine(a: Affine) -> Affine:
        return Affine(tuple((names.get(i, i), c) for i, c in a.terms), a.offset)

    def renamed(node: Expr) -> Expr:
        match node:
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                return Component(tensor, tuple(map(affine, subscripts)), pad)
            case Delta(left=left, right=right):
                return Delta(affine(left), affine(right) if isinstance(right, Affine) else right)
            case Guard(subscript=subscript, extent=extent):
                return Guard(affine(subscript), extent)
            case Reduce(kind=kind, indices=indices, body=body):
                return Reduce(kind, tuple(names.get(i, i) for i in indices), body)
            case _:
                return node

    target = renamed(equation.target)
    assert isinstance(target, Component)
    return Equation(target, transform(equation.value, renamed))
