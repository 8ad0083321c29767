"""Equations written once over names of their own, bound to a network's tensors: losses, metrics, update rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chainrule.ir.check import check_program
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program


def bound(text: str, given: Mapping[str, Tensor], defined: Callable[[Tensor], Tensor]) -> list[Equation]:
    """The equations of a text in which each name stands for the tensor that is `given` for it. What the text itself
    defines becomes the tensor that `defined` says. Errors speak of the text's own names.

    Raises EquationError and ShapeError where the text is no program over tensors of these shapes.
    """
    local = {name: Tensor(name, tensor.shape, tensor.dtype) for name, tensor in given.items()}
    equations = parse_program(text, tensors=local)
    check_program(Program(tuple(equations), inputs=tuple(local.values())))
    tensors = {local[name]: tensor for name, tensor in given.items()}
    tensors |= {equation.tensor: defined(equation.tensor) for equation in equations}
    return [equation.over(tensors) for equation in equations]
