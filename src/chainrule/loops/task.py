"""What is lowered, and what comes out: a step as equations, and as kernels with a plan of memory.

Three kinds of memory hold tensors:

- *kept*: parameters and states, arrays that outlive the step;
- the *blocks*: for each block of samples one stretch of equal length that holds all tensors with samples, so that a
  worker's samples are its own; tensors whose lifetimes do not meet share a place;
- the *common* memory: tensors without samples, likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from chainrule.ir.cost import operations
from chainrule.ir.expr import Tensor
from chainrule.ir.program import Equation
from chainrule.loops import nodes as ir
from chainrule.loops.fuse import Group
from chainrule.loops.layout import Layout
from chainrule.loops.places import Ids, ids_of
from chainrule.loops.schedule import Schedule

Region = Literal["kept", "blocks", "common"]


@dataclass(frozen=True)
class Task:
    """What one step is: `equations` in order; `data`, the tensors that a batch is made of (inputs, targets, weights,
    what is drawn); `kept`, parameters, states and numbers such as the rate; `following`, what kept tensors become;
    `outputs`, what is read afterwards; `loss`, the scalar that must be finite before anything kept changes. `drawn` are
    the data that are not given but drawn: the number of the stream, and the probability of a 1 or None for uniform
    numbers; `stepwise` the kept scalars that have a value of their own at each step."""

    equations: tuple[Equation, ...]
    data: tuple[Tensor, ...]
    kept: tuple[Tensor, ...]
    following: Mapping[Tensor, Tensor]
    outputs: tuple[Tensor, ...]
    loss: Tensor | None = None
    drawn: Mapping[Tensor, tuple[int, float | None]] = field(default_factory=dict[Tensor, tuple[int, float | None]])
    stepwise: tuple[Tensor, ...] = ()

    @cached_property
    def operations(self) -> int:
        """The operations that one sample more costs."""
        return operations(self.equations)

    @cached_property
    def ids(self) -> Ids:
        """The data that are whole numbers, and of what they are the positions."""
        return ids_of(self.equations, self.data)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies: in which memory, from which entry on."""

    region: Region
    offset: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Rows:
    """Between kernels: the copy of a tensor in rows is made, of what is `given` or of what lies in blocks."""

    tensor: Tensor
    given: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """Between kernels: data are taken in once more, as another tensor."""

    tensor: Tensor
    given: Tensor


@dataclass(frozen=True, slots=True)
class Check:
    """Between kernels: the step ends here unless the loss is a finite number."""

    loss: Tensor


@dataclass(frozen=True, slots=True)
class Meet:
    """Between kernels: the workers wait for each other."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The end of a step: the workers share out `update`, and run it by turns with the next step's first kernel, so many
    `positions` at a time, or they run `both`, one kernel in the place of the two. Of its next batch that takes in the
    tensors `next`, each in the place of another."""

    update: ir.Kernel
    first: ir.Kernel
    next: Mapping[Tensor, Tensor]
    both: ir.Kernel | None

    @property
    def positions(self) -> int:
        return self.update.unit


Stage = ir.Kernel | Rows | Taken | Check | Meet | Turns


@dataclass(frozen=True)
class Lowered:
    """`stages` in order; `stored` says where each tensor, and each copy in rows, lies; `stride` is the length of one
    block's memory and `common` that of the common memory, in entries. `names` are the tensors' names in the code; a
    view is another tensor's memory. `made_of` tells for each kernel of equations those and their schedule,
    `key` by what measured tiles know it. With `single` every batch has one sample."""

    task: Task
    lanes: int
    width: int
    single: bool
    stages: tuple[Stage, ...]
    stored: Mapping[tuple[Tensor, bool], Stored]
    names: Mapping[Tensor, str]
    stride: int
    common: int
    made_of: Mapping[str, tuple[Group, Schedule]]
    views: Mapping[Tensor, Tensor]
    key: Callable[[str], str]

    @property
    def turns(self) -> Turns | None:
        """How a step ends and the next one begins, where they overlap."""
        last = self.stages[-1]
        return last if isinstance(last, Turns) else None

    @property
    def kernels(self) -> Iterator[ir.Kernel]:
        for stage in self.stages:
            yield from kernels(stage)

    def made(self, stage: Stage) -> list[tuple[Group, Schedule]]:
        """The equations of a stage's kernels, and their schedules; none where it copies, checks, meets or writes
        zeros."""
        return [self.made_of[kernel.name] for kernel in kernels(stage) if kernel.name in self.made_of]


def kernels(stage: Stage) -> tuple[ir.Kernel, ...]:
    match stage:
        case ir.Kernel():
            return (stage,)
        case Turns(update=update, first=first, both=both):
            return (update, first, both) if both else (update, first)
        case _:
            return ()
