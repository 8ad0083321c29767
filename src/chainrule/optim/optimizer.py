"""What every optimizer is: the equations of one step, over a parameter's value, its gradient and what is kept.

Clipping belongs to all of them and is part of the same program:

    bounded[i, j] = max(min(gradient[i, j], c), -c)
    squares1 = sum[i, j](bounded.W[i, j]**2)
    squares2 = squares1 + sum[i](bounded.b[i]**2)
    norm = squares2**(1/2)
    scale = 1/max(norm/c, 1)
    scaled[i, j] = scale*bounded[i, j]

Source of clipping by the norm: Pascanu, Mikolov, Bengio, ICML 2013, Algorithm 1. As `scale` is written, nothing is
divided by a norm of zero, and a gradient within the bound is unchanged to the last bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from fractions import Fraction
from functools import cache
from inspect import signature
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chainrule.errors import ModelError, UndeclaredError
from chainrule.ir.check import check_program
from chainrule.ir.expr import Tensor, derived
from chainrule.ir.program import Equation, Program, State
from chainrule.ir.source import MAX_DIGITS
from chainrule.ir.template import bound
from chainrule.options import called

Rate = float | Callable[[int], float]
RATE = Tensor("rate", ())
# A number and its reciprocal that float32 holds: beyond, an epsilon is no guard and a bound divides by zero.
_SMALL, _LARGE = 1e-37, 1e37


@dataclass(frozen=True)
class Optimizer(ABC):
    """`rate` is a number, or a function of the step (0, 1, …) that gives one. `clip_value` bounds each component of
    the gradient by ±clip_value; `clip_norm` shortens the gradient of all parameters together to that length; of both,
    the first goes first.

    A subclass gives `equations`; what they keep between steps is named, with its first value, by `kept` (a tensor
    for each parameter) and `numbers` (one number for all, whose equations are `shared`): `x` is read and `x_next`
    defined.

    Raises ModelError where an option is out of its range.
    """

    rate: Rate = 0.01
    _: KW_ONLY
    clip_value: float | None = None
    clip_norm: float | None = None

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        made = super().__new__(cls)
        called(cls.__name__, signature(cls.__init__), (made, *arguments), options)
        return made

    def __post_init__(self) -> None:
        for option in fields(self):
            value: Any = getattr(self, option.name)
            written = str(value)
            if isinstance(value, np.floating):
                # The decimal that it prints as: 0.9 also of a float32, not 0.8999999761581421.
                object.__setattr__(self, option.name, float(written))
        if not callable(self.rate):
            check_rate(self, self.rate)
        for name in ("clip_value", "clip_norm"):
            if getattr(self, name) is not None:
                check_positive(self, name, "1.0")

    @abstractmethod
    def equations(self, rank: int) -> str:
        """The step of one parameter of that rank: it reads value, gradient and rate, and defines value_next."""

    def shared(self) -> str:
        """The equations of the numbers."""
        return ""

    @property
    def kept(self) -> Mapping[str, float]:
        return {}

    @property
    def numbers(self) -> Mapping[str, float]:
        return {}

    def rate_at(self, step: int) -> float:
        """The rate of one step. Raises ModelError where a schedule gives no finite number of at least 0."""
        given: Any = self.rate(step) if callable(self.rate) else self.rate
        try:
            rate = float(given)
        except (TypeError, ValueError):
            rate = math.nan
        if not (math.isfinite(rate) and rate >= 0):
            raise ModelError(
                f"the schedule gives the rate {given!r} at step {step}", about=type(self).__name__,
                fix="give a finite number that is not negative",
            )
        return rate

    def text(self, ranks: Iterable[int]) -> tuple[object, ...]:
        """All that `program` depends on for parameters of these ranks: of the rate, which is a number that is given at
        each step, no more than equations say."""
        options = (getattr(self, option.name) for option in fields(self) if option.name != "rate")
        kept, numbers = tuple(self.kept.items()), tuple(self.numbers.items())
        return type(self), *options, kept, numbers, self.shared(), *map(self.equations, sorted(set(ranks)))

    def start(self, parameters: Iterable[Tensor], dtype: DTypeLike = np.float64) -> dict[str, NDArray[Any]]:
        """What is kept before the first step, by name: an array for each state of the program but the parameters."""
        start = {name: np.asarray(value, dtype) for name, value in self.numbers.items()}
        for tensor in parameters:
            shape = tuple(int(extent) for extent in tensor.shape)
            start |= {_own(name, tensor): np.full(shape, value, dtype) for name, value in self.kept.items()}
        return start

    def program(
        self, parameters: Sequence[tuple[Tensor, Tensor]], factors: Mapping[Tensor, float] | None = None
    ) -> Program:
        """One step for parameters, each with its gradient. The parameters and what is kept are its states, the rate
        and the gradients its inputs. The rate of a parameter is its factor times the rate."""
        numbers = {name: Tensor(name, ()) for name in self.numbers}
        equations = bound(self.shared(), numbers, lambda made: made)
        known = {"rate": RATE, **numbers, **{e.tensor.name: e.tensor for e in equations}}
        states = [State(tensor, known[f"{name}_next"]) for name, tensor in numbers.items()]
        clipping, gradients = self._clipped(parameters)
        equations += clipping
        for (value, _), gradient in zip(parameters, gradients, strict=True):
            given = {"value": value, "gradient": gradient}
            given |= {name: Tensor(_own(name, value), value.shape) for name in self.kept}
            factor = (factors or {}).get(value, 1.0)
            if factor != 1:
                own = derived("rate", value, shape=())
                equations += bound(f"own = {factor!r}*rate", {"rate": RATE}, lambda _, own=own: own)
                given["rate"] = own
            try:
                step = _instance(self.equations(len(value.shape)), known, given, value)
            except UndeclaredError as error:
                fix = f"{error.fix}; `kept` names what is remembered, and an option is its value: {{self.rate}}"
                raise UndeclaredError(error.problem, about=error.about, fix=fix) from None
            equations += step
            defined = {equation.tensor.name: equation.tensor for equation in step}
            for name in ("value", *self.kept):
                if _own(f"{name}_next", value) not in defined:
                    raise ModelError(
                        f"no equation defines {name}_next", about=type(self).__name__, fix=f"write {name}_next = …"
                    )
                states.append(State(given[name], defined[_own(f"{name}_next", value)]))
        program = Program(
            tuple(equations),
            inputs=(RATE, *(gradient for _, gradient in parameters)),
            states=tuple(states),
            outputs=tuple(state.next for state in states),
        )
        check_program(program)
        return program

    def _clipped(self, parameters: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Equation], list[Tensor]]:
        """The equations of clipping, and the tensor that stands for each parameter's gradient after them."""
        equations: list[Equation] = []
        gradients = [gradient for _, gradient in parameters]
        if self.clip_value is not None:
            c = self.clip_value
            for number, (value, _) in enumerate(parameters):
                at = axes(len(value.shape))
                text = f"bounded{at} = max(min(gradient{at}, {c}), -{c})"
                equations += _clipping(text, {}, {"gradient": gradients[number]}, value)
                gradients[number] = equations[-1].tensor
        if self.clip_norm is not None and parameters:
            scalars: dict[str, Tensor] = {}
            # Each sum of squares is added on its own, so that it is an instance of one text however many there are.
            for number, ((value, _), gradient) in enumerate(zip(parameters, gradients, strict=True), 1):
                at = axes(len(value.shape))
                before = f"squares{number - 1} + " if number > 1 else ""
                text = f"squares{number} = {before}{f'sum{at}' if at else ''}(gradient{at}**2)"
                equations += _clipping(text, scalars, {"gradient": gradient})
                scalars = {f"squares{number}": equations[-1].tensor}
            length = f"norm = squares{len(parameters)}**(1/2)\nscale = 1/max(norm/{self.clip_norm}, 1)"
            equations += _clipping(length, scalars, {})
            scale = {"scale": equations[-1].tensor}
            for number, (value, _) in enumerate(parameters):
                at = axes(len(value.shape))
                text = f"scaled{at} = scale*gradient{at}"
                equations += _clipping(text, scale, {"gradient": gradients[number]}, value)
                gradients[number] = equations[-1].tensor
        return equations, gradients


def axes(rank: int) -> str:
    """The subscripts of a tensor of that rank: "[i1, i2]", and nothing for a scalar."""
    return f"[{', '.join(f'i{axis + 1}' for axis in range(rank))}]" if rank else ""


@cache
def rest(share: float) -> str:
    """1 − share as text, exactly."""
    value = 1 - Fraction(str(share))
    short = len(str(value.denominator)) <= MAX_DIGITS
    return f"{value.numerator}/{value.denominator}" if short else f"(1 - {share})"


def _own(name: str, parameter: Tensor) -> str:
    """The name that a tensor of the text has for one parameter."""
    return f"{name}.{parameter.name}"


def _instance(
    text: str, shared: Mapping[str, Tensor], given: Mapping[str, Tensor], parameter: Tensor
) -> list[Equation]:
    """The equations of a text for one parameter: `given` are its tensors, and those defined get names of their own."""
    return bound(text, {**shared, **given}, lambda made: Tensor(_own(made.name, parameter), made.shape))


def _clipping(
    text: str, shared: Mapping[str, Tensor], given: Mapping[str, Tensor], parameter: Tensor | None = None
) -> list[Equation]:
    """The same for a text of ours, whose tensors are none of the rule's, whatever the rule calls its own."""
    return bound(text, {**shared, **given}, lambda made: derived(made.name, parameter, shape=made.shape))


# Options


def is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_rate(of: object, value: Any) -> None:
    """Raises ModelError unless the rate is positive and finite."""
    if not (is_number(value) and 0 < value < math.inf):
        about = type(of).__name__
        raise ModelError(
            f"the rate must be a positive number, not {value!r}", about=about, fix=f"write {about}(rate=0.1)"
        )


def check_positive(of: object, name: str, example: str) -> None:
    """Raises ModelError unless the option is a positive number of a size that float32 holds."""
    value, about = getattr(of, name), type(of).__name__
    if not (is_number(value) and _SMALL <= value <= _LARGE):
        raise ModelError(
            f"{name} must be a positive number between {_SMALL} and {_LARGE}, not {value!r}",
            about=about, fix=f"write {about}({name}={example})",
        )


def check_not_negative(of: object, name: str, example: str) -> None:
    """Raises ModelError unless the option is 0 or a positive number."""
    value, about = getattr(of, name), type(of).__name__
    if not (is_number(value) and 0 <= value <= _LARGE):
        raise ModelError(
            f"{name} must be a finite number that is not negative, not {value!r}",
            about=about, fix=f"write {about}({name}={example})",
        )


def check_share(of: object, name: str, example: str) -> None:
    """Raises ModelError unless 0 ≤ option < 1."""
    value, about = getattr(of, name), type(of).__name__
    if not (is_number(value) and 0 <= value < 1):
        raise ModelError(
            f"{name} must be at least 0 and below 1, not {value!r}",
            about=about, fix=f"write {about}({name}={example})",
        )
