"""What several equations of a step compute within them, a tensor of its own: computed once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from chainrule.ir.expr import Component, Expr, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, key, nodes, tensors, transform
from chainrule.loops.task import Task


def shared(task: Task) -> Task:
    """The task in which each logarithm of a sum of exponentials that occurs again is a tensor: a softmax and its
    cross-entropy take the same one."""
    times = Counter(
        _key(node) for e in task.equations for node in {*nodes(e.value)}
        if isinstance(node, Reduce) and node.kind == "logsumexp"
    )
    made: dict[Key, Tensor] = {}
    equations: list[Equation] = []
    for equation in task.equations:
        ahead: list[Equation] = []

        def named(node: Expr) -> Expr:
            if not isinstance(node, Reduce) or times[which := _key(node)] < 2:
                return node
            outer = _outer(node)
            new = which not in made
            if new:
                name = f"logsumexp({', '.join(t.name for t in tensors(node))})"
                made[which] = Tensor(name, tuple(i.extent for i in outer))
            point = Component(made[which], tuple(map(Affine.of, outer)))
            if new:
                ahead.append(Equation(point, node))
            return point

        value = transform(equation.value, named)
        equations += [*ahead, Equation(equation.target, value)]
    return replace(task, equations=tuple(equations))


def _key(node: Expr) -> Key:
    return key(node, _outer(node))


def _outer(node: Expr) -> tuple[Index, ...]:
    """The indices that a node is a function of, the samples' first."""
    return tuple(sorted(node.free, key=lambda index: not index.is_sample))
