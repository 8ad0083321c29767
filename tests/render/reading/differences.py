"""What a network's derivatives are, by central differences of its own program: no rule, no lemma, no backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.derive.adjoint import Derivation
from chainrule.ir.expr import LOSS, Tensor, derived
from chainrule.ir.program import Equation, Program, averaged

Array = NDArray[np.float64]
STEP = 2e-5


class World:
    """The forward program at one point in float64, and the derivatives of what it computes there.

    A tensor that the program computes is moved after it is computed, and what reads it follows; through one equation
    alone, only that equation sees it moved.
    """

    def __init__(self, derivation: Derivation, samples: int = 3, seed: int = 0) -> None:
        forward = derivation.forward
        self.derivation, self.samples = derivation, samples
        named = {name.tensor: name for fold in derivation.folds for name in fold.names}
        self.program = Program((*forward.equations, *named.values()), forward.given, outputs=forward.outputs)
        rng = np.random.default_rng(seed)
        given: dict[str, Array] = {}
        for tensor in forward.given:
            assert tensor.dtype == "real", "a point of real numbers"
            given[tensor.name] = rng.normal(size=self.shape(tensor))
        self.given = given
        self.found: dict[tuple[Tensor, Equation | None], dict[str, Array]] = {}
        self.values: dict[str, Any] = {**given, **execute(self.program, given)}
        (loss,) = (e for e in forward.equations if e.tensor == derivation.loss)
        self.of_sample = averaged(loss)

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(self.samples if isinstance(e, str) else e for e in tensor.shape)

    def value(self, tensor: Tensor) -> Any:
        return self.values[tensor.name]

    def equation(self, tensor: Tensor) -> Equation:
        (found,) = (e for e in self.program.equations if e.tensor == tensor)
        return found

    def of_loss(self, batch: bool) -> Tensor:
        """The loss of the batch, or the tensor of each sample's."""
        found = LOSS if batch else self.of_sample
        assert found is not None
        return found

    def moved(self, wrt: Tensor, through: Equation | None) -> dict[str, Array]:
        """The derivatives of every tensor by every entry of `wrt`, whose axes come last; found once."""
        if (wrt, through) not in self.found:
            self.found[wrt, through] = self.differences(wrt, through)
        return self.found[wrt, through]

    def differences(self, wrt: Tensor, through: Equation | None) -> dict[str, Array]:
        copy = derived("moved", wrt)
        equations: list[Equation] = []
        for equation in self.program.equations:
            seen = equation == through if through is not None else equation.tensor != wrt
            if through is not None or equation.tensor != wrt:
                equations.append(Equation(equation.target, equation.over({wrt: copy}).value) if seen else equation)
        inputs = (*(t for t in self.program.inputs if t != wrt or through is not None), copy)
        program = replace(self.program, equations=tuple(equations), inputs=inputs)
        start = np.asarray(self.value(wrt), dtype=np.float64)

        known = {t.name: self.given[t.name] for t in inputs if t != copy}
        names = [t.name for t in program.defined]
        shapes = [self.shape(t) for t in program.defined]
        columns: list[Array] = []
        for place in np.ndindex(*start.shape):

            def run(step: float, place: tuple[int, ...] = place) -> Array:
                array = start.copy()
                array[place] += step
                found = execute(program, {**known, copy.name: array})
                return np.concatenate([np.ravel(found[name]) for name in names])

            columns.append(slope(run))
        every = np.stack(columns, -1)
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        parts = zip(names, shapes, np.split(every, cuts), strict=True)
        return {name: part.reshape(*shape, *start.shape) for name, shape, part in parts}

    def derivative(self, of: Tensor, wrt: Tensor, through: Equation | None = None) -> Array:
        """∂of/∂wrt; the axes of `of` first."""
        if of == wrt and through is None:
            shape = self.shape(wrt)
            return np.eye(int(np.prod(shape))).reshape(*shape, *shape)
        return self.moved(wrt, through)[of.name]


def slope(function: Callable[[float], Any]) -> Any:
    """The derivative at 0 by central differences of two widths, whose errors cancel to the fourth order."""
    near, far = (function(s * STEP) - function(-s * STEP) for s in (1, 2))
    return (8 * near - far) / (12 * STEP)
