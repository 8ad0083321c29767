"""What several equations of a step compute within them, a tensor of its own: computed once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from chainrule.ir.expr import Component, Expr, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Key, key, nodes, transform
from chainrule.loops.task import Task


def shared(task: Task) -> Task:
    """The task in which each logarithm of a sum of exponentials that occurs again is a tensor: a softmax and its
    cross-entropy take the same one."""
    found = [[n for n in nodes(e.value) if isinstance(n, Reduce) and n.kind == "logsumexp"] for e in task.equations]
    times = Counter(key(node, _outer(node)) for each in found for node in each)
    made: dict[Key, Tensor] = {}
    equations: list[Equation] = []
    for equation, own in zip(task.equations, found, strict=True):
        points: dict[Expr, Expr] = {}
        for node in own:
            outer = _outer(node)
            if times[which := key(node, outer)] > 1:
                known = which in made
                name = f"logsumexp({', '.join(t.name for t in node.tensors)})"
                tensor = made.setdefault(which, Tensor(name, tuple(i.extent for i in outer)))
                points[node] = point = Component(tensor, tuple(map(Affine.of, outer)))
                if not known:
                    equations.append(Equation(point, node))
        equations.append(Equation(equation.target, transform(equation.value, lambda n, at=points: at.get(n, n))))
    return replace(task, equations=tuple(equations))


def _outer(node: Expr) -> tuple[Index, ...]:
    """The indices that a node is a function of, the samples' first."""
    return tuple(sorted(node.free, key=lambda index: not index.is_sample))
