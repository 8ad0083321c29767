"""The loops of a model's own training step over GF(p): what they compute equals what the equations say.

The step is lowered at reduced shapes, as it is lowered for native code, and its loops are carried out one by one by the
interpreter of the loop language, over field elements and with every address checked. All that a step leaves behind is
compared with the field executor's, which knows nothing of loops. Over a field a sum is one value in any order, so that
what differs is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.ids import limits
from chainrule.derive import Derivation
from chainrule.derive.reduce import small_derivation
from chainrule.derive.scene import integer_ranges
from chainrule.errors import ChainruleError
from chainrule.ir.cost import operations
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.laws import signs_read_from_relu
from chainrule.ir.print import spelled
from chainrule.ir.program import Program
from chainrule.loops.interpret import Step
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task
from chainrule.optim.optimizer import RATE, Optimizer
from chainrule.semantics import field
from chainrule.semantics.prime import PRIME, key, mix, residue

Array = NDArray[Any]
LOWEST = -1  # no field element: any of them beats it
MACHINE = Machine(4, 12)
LANES = 16  # of the widest vectors
CASES = (6, 6), (2, 3), (1, 1)
"""Samples that are expected, and that come: vectors of samples, the last of them partial; few samples; one alone."""
SIZES = 3, 2
"""Extents that only count things are cut to the first; to the second where the step has too many operations."""
WORK = 3_000_000
"""Operations of a step that are carried out, at most: they take some seconds."""
SEED = 1


class Field:
    """The operations of kernels over whole numbers below p, or arrays of them, as `csrc/field.h` has them."""

    def __init__(self, seed: int) -> None:
        self.dtype = np.dtype(object)
        self.unwritten = None
        self.seed, self.words = seed, field.Field({}, seed)

    def number(self, value: Any) -> Any:
        return int(self.words.named(value) if value in ("pi", "e") else self.words.constant(value))

    def finite(self, value: Any) -> bool:
        return True

    def back(self, words: Any) -> Any:
        return words.astype(object) if words.ndim else int(words)

    def element(self, x: Any) -> Any:
        """A word; of what no maximum has reached, beyond a tensor's end, any."""
        return np.asarray(x % PRIME, np.uint64)

    def function(self, name: object, x: Any) -> Any:
        return self.back(self.words.keyed(name, self.element(x)))

    def power(self, x: Any, exponent: Fraction) -> Any:
        whole = floor(exponent)
        return self.raised(x, whole) * self.function(("power", exponent - whole), x) % PRIME

    def rank(self, x: Any) -> Any:
        x = np.asarray(x, object)
        words = self.words.rank(np.where(x == LOWEST, 0, x).astype(np.uint64))
        return np.where(x == LOWEST, 0, self.back(np.atleast_1d(words).reshape(x.shape)) + 1)

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        match operation, arguments:
            case "mac", (a, b, total):
                return (a * b + total) % PRIME
            case "mul", (a, b):
                return a * b % PRIME
            case "add", (a, b):
                return (a + b) % PRIME
            case "sub", (a, b):
                return (a - b) % PRIME
            case "neg", (a,):
                return -a % PRIME
            case "div", (a, b):
                return a * self.raised(b, -1) % PRIME
            case "square_root", (x,):
                return self.power(x, Fraction(1, 2))
            case "reciprocal_root", (x,):
                return self.power(x, Fraction(-1, 2))
            case "power", (x, exponent):
                return self.power(x, exponent)
            case "better" | "greater", (a, b):
                return self.rank(a) > self.rank(b)
            case "lowest", ():
                return LOWEST
            case "lse_start", ():
                return 0
            case "lse_top", (top, _):
                return top
            case "lse_add", (total, x, _, at):
                return self.entry(total, x, at)
            case "lse_shift", (top,):
                return top
            case "lse_rest", (total,):
                return self.back(residue(mix(np.asarray(total, np.uint64), key(self.seed, "logsumexp"))))
            case "relu_", (x,):
                return x * self.function("step", x) % PRIME
            case "abs_", (x,):
                return x * self.function("sign", x) % PRIME
            case "max_", (x, y):
                return self.rising(x, y, y - x)
            case "min_", (x, y):
                return self.rising(x, y, x - y)
            case name, (x,):
                return self.function(name.removesuffix("_"), x)
            case _:
                raise AssertionError(f"no operation {operation}")

    def raised(self, x: Any, exponent: int) -> Any:
        """A whole power; the inverse of 0 is 0."""
        if not np.ndim(x):
            return pow(x, exponent % (PRIME - 1), PRIME)
        return np.array([pow(each, exponent % (PRIME - 1), PRIME) for each in x], object)

    def entry(self, total: Any, x: Any, at: Any) -> Any:
        """An entry and its place added to the digest of a logarithm of a sum of exponentials."""
        place = mix(np.asarray(at, np.uint64), key(self.seed, "position"))
        words = mix(self.element(x) ^ place, key(self.seed, "entry"))
        return (total + self.back(words)) % 2**64

    def rising(self, x: Any, y: Any, above: Any) -> Any:
        return (x + (y - x) * self.function("step", above % PRIME)) % PRIME


@dataclass(frozen=True)
class Loops:
    """What came out: `differing` are the tensors that the loops compute otherwise than the equations; `kernels` is how
    many kernels were carried out, `seconds` how long it took. `note` says why nothing was."""

    kernels: int = 0
    differing: tuple[str, ...] = ()
    seconds: float = 0.0
    note: str = ""


def training_step(derivation: Derivation, rule: Optimizer | None) -> Task:
    """Loss, gradients and, with an optimizer, the update, as one task."""
    joint, update = derivation.joint, Program(())
    gradients = tuple(derivation.gradients.values())
    if rule is not None:
        update = rule.program([(t, derivation.gradients[t.name]) for t in joint.parameters])
    numbers = tuple(t for t in update.inputs if t == RATE)
    states = (*joint.states, *update.states)
    outputs = (derivation.loss,) if derivation.loss is not None else joint.outputs
    return Task(
        (*signs_read_from_relu(joint.equations), *update.equations), data=(*joint.inputs, *joint.random),
        kept=tuple(dict.fromkeys((*joint.parameters, *(s.tensor for s in states), *numbers))),
        following={s.tensor: s.next for s in states},
        outputs=tuple(dict.fromkeys((*outputs, *(() if rule else gradients)))), loss=derivation.loss, stepwise=numbers,
    )


def cases(batch: int | None = None) -> tuple[tuple[int, int], ...]:
    """The samples that are expected, and that come, for each way to lower a step: all that there are, or the one that
    is taken for batches of this size."""
    return CASES if batch is None else CASES[2:] if batch == 1 else CASES[1:2] if 2 * batch <= LANES else CASES[:1]


def work(task: Task, batch: int | None = None) -> int:
    """The operations that the loops of a step take in all cases."""
    return operations(task.equations) * sum(samples for _, samples in cases(batch))


def reduced_step(derivation: Derivation, rule: Optimizer | None, batch: int | None = None) -> Task:
    """The same at the reduced shapes of the derivation's checks, at smaller ones where that would take too long, or as
    it is where there are none."""
    steps: list[Task] = []
    for small in SIZES:
        try:
            found = small_derivation(derivation, small)
        except ChainruleError:
            found = None
        if found is not None:
            steps.append(training_step(found, rule))
            if work(steps[-1], batch) <= WORK:
                return steps[-1]
    return min((*steps, training_step(derivation, rule)), key=work)


def lowerings(task: Task, batch: int | None = None) -> list[tuple[Plan, int]]:
    """The ways to lower a task, each with the samples that it is carried out for. Raises CompileError where it cannot
    be lowered."""
    return [(lower(task, MACHINE, samples=expected), samples) for expected, samples in cases(batch)]


def loops_agree(task: Task, made: Sequence[tuple[Plan, int]] | None = None, *, seed: int = SEED) -> Loops:
    """Carry out the loops of a task, and compare all that a step leaves behind. Raises CompileError where the task
    cannot be lowered."""
    began = perf_counter()
    made = lowerings(task) if made is None else made
    if operations(task.equations) * sum(samples for _, samples in made) > WORK:
        return Loops(note="the step takes too many operations to be carried out one by one")
    differing: dict[str, None] = {}
    for lowered, samples in made:
        given = point(task, samples, seed)
        right = executed(task, given, samples, seed)
        try:
            step = Step(lowered, Field(seed), given, (1, 0))
        except (LookupError, TypeError, ValueError):  # an address outside of its tensor, an entry never written
            return Loops(0, tuple(map(spelled, right)), perf_counter() - began)
        found = {**step.outputs, **step.kept}
        differing |= {spelled(t): None for t, value in right.items() if not _equal(found[t], value)}
    kernels = sum(1 for lowered, _ in made for _ in lowered.kernels)
    return Loops(kernels, tuple(differing), perf_counter() - began)


def point(task: Task, samples: int, seed: int) -> dict[Tensor, Array]:
    """Random field elements for all that a task is given; whole numbers that its brackets tell apart, each of them a
    position of what it is compared with, as is seen to of a user's."""
    given = (*task.data, *task.kept)
    extents = {SAMPLES: samples}
    ranges = integer_ranges(given, [equation.value for equation in task.equations], extents)
    values = field.random_values(given, extents, seed, ranges)
    numbers = {tensor: values[tensor.name].shape for tensor in given if tensor.dtype == "integer"}
    for tensor, limit in limits(task.equations, numbers, extents).items():
        values[tensor.name] %= np.maximum(limit, 1)
    return {tensor: values[tensor.name] for tensor in given}


def executed(task: Task, given: Mapping[Tensor, Array], samples: int, seed: int) -> dict[Tensor, Array]:
    """What the step leaves behind, by the field executor."""
    program = Program(task.equations, inputs=(*task.data, *task.kept))
    values = field.execute(program, {t.name: a for t, a in given.items()}, seed=seed, extents={SAMPLES: samples})
    after = {old: values[new.name][0] for old, new in task.following.items()}
    return {**{t: values[t.name][0] for t in task.outputs}, **after}


def _equal(found: Array, right: Array) -> bool:
    return np.array_equal(np.asarray(found, object), np.asarray(right).astype(object))
