"""Tasks for the tests of loops and of native code: values for them, what they should give, many in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.arrays.ids import limits
from chainrule.ir.expr import Add, Component, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program
from chainrule.loops.task import Task
from chainrule.optim.optimizer import RATE
from chainrule.semantics import field

Array = NDArray[Any]
IDS = 5  # whole numbers in data are below, where they are compared with no shorter index


def task_of(text: str, *, kept: str = "", data: str = "", **given: Tensor) -> Task:
    """The task of a program in text over tensors "x[N, 3]; w[3]": `kept` and `data` declare what it is given, `id` as
    whole numbers."""
    known = dict(given)
    for part in [part for declared in (kept, data) if declared for part in declared.split("; ")]:
        name, shape = part.rstrip("]").split("[")
        extents = [int(e) if e.strip().isdigit() else e.strip() for e in shape.split(",") if e.strip()]
        known[name] = Tensor(name, tuple(extents), "integer" if name == "id" else "real")
    names = {part.split("[")[0] for part in data.split("; ")}
    equations = tuple(parse_program(text, tensors=known))
    return Task(
        equations, data=tuple(t for n, t in known.items() if n in names),
        kept=tuple(t for n, t in known.items() if n not in names), following={},
        outputs=tuple(dict.fromkeys(e.tensor for e in equations if e.tensor.dtype == "real")),
    )


def together(tasks: Mapping[str, Task]) -> Task:
    """Many tasks as one, its loss the sum of theirs: one program to lower, one source to compile."""
    parts: list[Task] = []
    for name, task in tasks.items():
        def own(t: Tensor, name: str = name) -> Tensor:
            return t if t.name == RATE.name else Tensor(f"{name}.{t.name}", t.shape, t.dtype)

        every = {t: own(t) for e in task.equations for t in (e.tensor, *e.value.tensors)}
        every |= {t: own(t) for t in (*task.data, *task.kept)}
        parts.append(replace(
            task, equations=tuple(e.over(every) for e in task.equations), data=tuple(every[t] for t in task.data),
            kept=tuple(every[t] for t in task.kept), following={every[a]: every[b] for a, b in task.following.items()},
            outputs=tuple(every[t] for t in task.outputs), loss=task.loss and every[task.loss],
            drawn={every[t]: d for t, d in task.drawn.items()},
        ))
    losses = [t.loss for t in parts if t.loss is not None]
    total = Tensor("total", ())
    ends = [1 + next(n for n, e in enumerate(p.equations) if e.tensor == p.loss) if p.loss else 0 for p in parts]
    first = [e for p, end in zip(parts, ends, strict=True) for e in p.equations[:end]]
    rest = [e for p, end in zip(parts, ends, strict=True) for e in p.equations[end:]]
    added = Add(tuple(Component(t, ()) for t in losses)) if len(losses) > 1 else None
    middle = [Equation(Component(total, ()), added)] if added else []
    random = [t for p in parts for t in p.drawn]
    return Task(
        (*first, *middle, *rest), data=tuple(t for p in parts for t in p.data),
        kept=tuple(dict.fromkeys(t for p in parts for t in p.kept)),
        following={a: b for p in parts for a, b in p.following.items()},
        outputs=(*(t for p in parts for t in p.outputs), *([total] if added else ())),
        loss=total if added else losses[0] if losses else None,
        drawn={t: (random.index(t), d) for p in parts for t, (_, d) in p.drawn.items()},
        stepwise=tuple(dict.fromkeys(t for p in parts for t in p.stepwise)),
    )


def floats(task: Task, samples: int, seed: int = 0) -> dict[Tensor, Array]:
    """Normal numbers for what a task is given; whole numbers below IDS, zeros and ones for what is drawn; targets that
    are distributions; small positive values for rates and squares."""
    rng = np.random.default_rng(seed)
    given: dict[Tensor, Array] = {}
    for tensor in (*task.data, *task.kept):
        shape = tuple(samples if e == SAMPLES else int(e) for e in tensor.shape)
        name = tensor.name.rsplit(".", 1)[-1]
        if tensor.dtype == "integer":
            given[tensor] = rng.integers(0, IDS, shape)
        elif tensor in task.drawn:
            given[tensor] = (rng.random(shape) < 0.7).astype(float)
        elif tensor in task.stepwise:
            given[tensor] = np.full(shape, 0.05)
        elif any(word in tensor.name for word in ("variance", "deviation", "square", "moment2", "weight2")):
            given[tensor] = rng.random(shape) + 0.5
        elif name == "target" and len(shape) > 1:
            given[tensor] = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        else:
            given[tensor] = rng.normal(size=shape) * (0.4 if tensor in task.kept else 1.0)
    return positions(task, given, samples)


def positions(task: Task, given: dict[Tensor, Array], samples: int) -> dict[Tensor, Array]:
    """The same, with each whole number a position of what it is compared with."""
    numbers = {tensor: array.shape for tensor, array in given.items() if tensor.dtype == "integer"}
    found = limits(task.equations, numbers, {SAMPLES: samples})
    return given | {t: given[t] % np.maximum(limit, 1) for t, limit in found.items()}


def elements(task: Task, samples: int, seed: int) -> dict[Tensor, Array]:
    """Random field elements for what a task is given."""
    every = (*task.data, *task.kept)
    ranges = {t.name: IDS for t in every if t.dtype == "integer"}
    drawn = field.random_values(every, {SAMPLES: samples}, seed, ranges)
    return positions(task, {t: drawn[t.name] for t in every}, samples)


def computed(task: Task, given: Mapping[Tensor, Array], dtype: str = "float64") -> dict[Tensor, Array]:
    """Every tensor that the task's equations define, by the NumPy executor."""
    program = Program(task.equations, inputs=(*task.data, *task.kept))
    with np.errstate(all="ignore"):
        values = execute(program, {t.name: a for t, a in given.items()}, dtype=dtype)
    return {t: values[t.name] for t in program.defined}


def computed_exactly(task: Task, given: Mapping[Tensor, Array], samples: int, seed: int) -> dict[Tensor, Array]:
    """The same over GF(p), by the field executor."""
    program = Program(task.equations, inputs=(*task.data, *task.kept))
    values = field.execute(program, {t.name: a for t, a in given.items()}, seed=seed, extents={SAMPLES: samples})
    return {t: values[t.name][0] for t in program.defined}


def wanted(task: Task, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    """What a step leaves behind: its outputs, and the new values of what it keeps."""
    after = {old: values[new] for old, new in task.following.items() if new in values}
    return {**{t: values[t] for t in task.outputs}, **after}


def differing(found: Mapping[Tensor, Array], right: Mapping[Tensor, Array]) -> Sequence[str]:
    """The tensors that are not equal, entry by entry."""
    same = {t: np.array_equal(np.asarray(found[t], object), np.asarray(right[t]).astype(object)) for t in right}
    return [t.name for t, equal in same.items() if not equal]


def far(found: Mapping[Tensor, Array], right: Mapping[Tensor, Array], bound: float) -> Sequence[str]:
    """The tensors that differ by more than `bound` times their largest entry, or 1."""
    result: list[str] = []
    for tensor, value in right.items():
        size = max(1.0, float(np.abs(value).max(initial=0)))
        distance = np.abs(np.asarray(found[tensor], float) - value).max(initial=0)
        if not distance <= bound * size:
            result.append(f"{tensor.name}: {distance:.2g} of {size:.2g}")
    return result
