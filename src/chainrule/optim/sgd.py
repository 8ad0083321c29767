"""Stochastic gradient descent, as equations.

    velocity_next[i, j] = momentum*velocity[i, j] + gradient[i, j]
    value_next[i, j] = value[i, j] - rate*velocity_next[i, j]

Source: Polyak, 1964; in this form (the rate outside the velocity) Sutskever et al., ICML 2013, §2, up to scaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chainrule.errors import ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program, State

RATE = Tensor("rate", ())


@dataclass(frozen=True)
class SGD:
    """`rate` is a number, or a function of the step (0, 1, …) that gives one; 0 ≤ `momentum` < 1."""

    rate: float | Callable[[int], float] = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.rate) and not (math.isfinite(self.rate) and self.rate > 0):
            raise ModelError(
                f"the rate must be a positive number, not {self.rate!r}", about="SGD", fix="write SGD(0.1)"
            )
        if not 0 <= self.momentum < 1:
            raise ModelError(
                f"the momentum must be at least 0 and below 1, not {self.momentum!r}",
                about="SGD",
                fix="write SGD(0.1, momentum=0.9)",
            )

    def rate_at(self, step: int) -> float:
        """The rate of one step. Raises ModelError where a schedule gives no positive finite number."""
        rate = float(self.rate(step)) if callable(self.rate) else self.rate
        if not (math.isfinite(rate) and rate >= 0):
            raise ModelError(f"the schedule gives the rate {rate!r} at step {step}", about="SGD")
        return rate

    def equations(self, rank: int) -> str:
        """The update of one parameter of that rank."""
        axes = f"[{', '.join(f'i{axis + 1}' for axis in range(rank))}]" if rank else ""
        if not self.momentum:
            return f"value_next{axes} = value{axes} - rate*gradient{axes}"
        momentum = Fraction(str(self.momentum))
        return (
            f"velocity_next{axes} = {momentum.numerator}/{momentum.denominator} * velocity{axes} + gradient{axes}\n"
            f"value_next{axes} = value{axes} - rate*velocity_next{axes}"
        )

    def program(self, parameters: Sequence[tuple[Tensor, Tensor]]) -> Program:
        """One step for parameters, each with its gradient. The parameters and velocities are its states, the rate
        and the gradients its inputs."""
        equations: list[Equation] = []
        states: list[State] = []
        for value, gradient in parameters:
            names = ("value", "value_next", "gradient", "velocity", "velocity_next")
            tensors = {name: Tensor(name, value.shape) for name in names}
            final = {
                tensors["value"]: value,
                tensors["value_next"]: Tensor(f"{value.name}_next", value.shape),
                tensors["gradient"]: gradient,
                tensors["velocity"]: Tensor(f"velocity.{value.name}", value.shape),
                tensors["velocity_next"]: Tensor(f"velocity.{value.name}_next", value.shape),
            }
            for equation in parse_program(self.equations(len(value.shape)), tensors={**tensors, "rate": RATE}):
                equations.append(equation.over(final))
            states.append(State(value, final[tensors["value_next"]]))
            if self.momentum:
                states.append(State(final[tensors["velocity"]], final[tensors["velocity_next"]]))
        return Program(
            tuple(equations),
            inputs=(RATE, *(gradient for _, gradient in parameters)),
            states=tuple(states),
            outputs=tuple(state.next for state in states),
        )
