"""An optimizer's step: the program that runs, for all parameters, against its rule for one parameter at a time.

The second program is put together apart from the first: each parameter's equations by themselves, over a gradient that
is clipped as the definition has it, max(min(g, c), −c) and then g/max(‖g‖/c, 1) with ‖g‖² as one sum. So a state of
another parameter, a wrong rank, a missing decay or a norm over some of the parameters is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from chainrule.ir.expr import ONE, Apply, Component, Constant, Expr, Power, Tensor, add, multiply, summed
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation, Program
from chainrule.optim.optimizer import Optimizer
from chainrule.verify.exact import ProgramCheck

Pair = tuple[Tensor, Tensor]


def step_check(optimizer: Optimizer, pairs: Sequence[Pair], program: Program | None = None) -> ProgramCheck:
    """The step for parameters, each with its gradient; `program` stands in for the one that the optimizer makes."""
    one = program or optimizer.program(pairs)
    equations, clipped = _clipped(optimizer, pairs)
    alone = replace(optimizer, clip_value=None, clip_norm=None)
    steps = [alone.program([(value, gradient)]) for (value, _), gradient in zip(pairs, clipped, strict=True)]
    equations += [equation for step in steps for equation in step.equations]
    # What belongs to no parameter, a step's count, stands in each of them.
    other = Program(tuple(dict.fromkeys(equations)), inputs=one.given)
    outputs = tuple(dict.fromkeys(t.name for step in steps for t in step.outputs))
    return ProgramCheck(one, other, {}, outputs, f"the step of {type(optimizer).__name__}")


def _clipped(optimizer: Optimizer, pairs: Sequence[Pair]) -> tuple[list[Equation], list[Tensor]]:
    """The definitions of clipping, and the tensors that hold the clipped gradients."""
    equations: list[Equation] = []

    def define(kind: str, by: dict[Tensor, Expr]) -> dict[Tensor, Expr]:
        """Each parameter's gradient as a tensor of its own, and reads of those."""
        made: dict[Tensor, Expr] = {}
        for value, expression in by.items():
            tensor = Tensor(f"·{kind}.{value.name}", value.shape)
            made[value] = Component(tensor, _at(value))
            equations.append(Equation(Component(tensor, _at(value)), expression))
        return made

    reads: dict[Tensor, Expr] = {value: Component(gradient, _at(value)) for value, gradient in pairs}
    reads = define("given", reads)
    if (c := optimizer.clip_value) is not None:
        bound = Constant(Fraction(str(c)))
        below = Constant(-Fraction(str(c)))
        reads = define("bounded", {v: Apply("max", (Apply("min", (g, bound)), below)) for v, g in reads.items()})
    if (c := optimizer.clip_norm) is not None:
        squares = add(summed(g.free, Power(g, Fraction(2))) for g in reads.values())
        norm = multiply((Power(squares, Fraction(1, 2)), Constant(1 / Fraction(str(c)))))
        scale = Power(Apply("max", (norm, ONE)), Fraction(-1))
        reads = define("scaled", {v: multiply((g, scale)) for v, g in reads.items()})
    return equations, [g.tensor for g in reads.values() if isinstance(g, Component)]


def _at(tensor: Tensor) -> tuple[Affine, ...]:
    return tuple(Affine.of(Index(f"i{axis + 1}", extent)) for axis, extent in enumerate(tensor.shape))
