"""A step as equations: what is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from chainrule.ir.cost import operations
from chainrule.ir.expr import Tensor
from chainrule.ir.program import Equation
from chainrule.loops.places import Ids, ids_of


@dataclass(frozen=True)
class Task:
    """One step. `equations` stand in an order in which they can be computed.

    - `data`: what a batch is made of, inputs, targets, weights and what is `drawn`. A drawn tensor has the number of
      its random stream, and the probability of a 1, or None where it is uniform.
    - `kept`: what outlives the step, parameters, states and numbers such as the rate; `following` says what each
      becomes. `stepwise` are the kept scalars that have a value of their own at each step.
    - `outputs`: what is read after the step.
    - `loss`: the scalar that must be finite before anything kept changes."""

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

    @cached_property
    def slots(self) -> Mapping[object, int]:
        """Which entry of the table of memory each thing is: the blocks, the common memory and the order of the samples,
        then the data's sources, the kept tensors, the outputs, and the ticks of a clock."""
        outputs = [("out", t) for t in self.outputs]
        return {k: n for n, k in enumerate(("blocks", "common", "order", *self.data, *self.kept, *outputs, "ticks"))}

    def __hash__(self) -> int:
        return hash((self.equations, self.data, self.kept, self.outputs))
