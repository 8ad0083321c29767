"""A drawn program as loops, carried out by their interpreter over GF(p)."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.index import SAMPLES
from chainrule.ir.laws import signs_read_from_relu
from chainrule.ir.program import Program as Equations
from chainrule.loops.interpret import Step
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task
from chainrule.nn.network import needed
from chainrule.semantics import field
from tests.drawn.consumers import SkippedError, elements
from tests.drawn.subject import Fault, Subject, extents_of
from tests.loops.arithmetic import Field

RULE = cr.SGD(0.1)


def task_of(s: Subject) -> Task:
    """A step of training, or of a text the result and its gradients."""
    d = s.derivation
    if s.model is not None:
        return training(s.model.network, d, RULE, "numbers")
    joint = needed(d.joint, [s.result.name, *(t.name for t in d.gradients.values())])
    given = joint.given
    data = tuple(t for t in given if t.shape and t.shape[0] == SAMPLES)
    sized = any(SAMPLES in t.shape for t in (*joint.given, *joint.defined, *joint.outputs))
    if not data and (sized or f"<{SAMPLES}]" in s.program.text):
        raise SkippedError  # nothing says how many samples there are
    outputs = tuple(dict.fromkeys((s.result, *d.gradients.values())))
    return Task(
        tuple(signs_read_from_relu(joint.equations)), data=data, kept=tuple(t for t in given if t not in data),
        following={}, outputs=tuple(t for t in outputs if t not in given),
    )


def loops_over_the_field(s: Subject, seed: int = 0) -> list[Fault]:
    """Every tensor that a step leaves behind, by the interpreter of loops over GF(p), is that of the equations."""
    task = task_of(s)
    lanes, expected, samples = ((4, 6, 6), (4, 2, 3), (4, 1, 1), (8, 9, 11))[s.program.seed % 4]
    every = (*task.data, *task.kept)
    extents = {**extents_of(s, samples), SAMPLES: samples}
    if len(extents) > 1:
        raise SkippedError  # nobody trains what has open extents
    values = elements(s, every, extents, seed)
    given = {t: values[t.name] for t in every}
    lowered = lower(task, Machine(lanes, 12), samples=expected)
    step = Step(lowered, Field(seed), given, (1, 0))
    program = Equations(task.equations, inputs=every)
    right = field.execute(program, values, seed=seed, extents=extents)
    wanted = {t: right[t.name][0] for t in task.outputs}
    wanted |= {old: right[new.name][0] for old, new in task.following.items() if new.name in right}
    found = {**step.outputs, **step.kept}
    wrong = [
        t.name for t, value in wanted.items()
        if not np.array_equal(np.asarray(found[t], object), np.asarray(value).astype(object))
    ]
    return [Fault("loops", "wrong value", f"of {', '.join(wrong)}")] if wrong else []
