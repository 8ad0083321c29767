"""The value of an expression in float64: by the executor, which shares nothing with the field's semantics, or by
`semantics` where it has a derivative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute_equations
from chainrule.ir.expr import Component, Derivative, Expr, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation
from chainrule.semantics import entries
from chainrule.semantics.reals import Floats

Array = NDArray[Any]


def evaluate(
    expr: Expr, values: Mapping[str, Any], indices: Sequence[Index], *, extents: Mapping[str, int] | None = None,
    definitions: Mapping[str, Equation] | None = None,
) -> Array:
    """With one axis for each of the indices."""
    if Derivative in expr.types:
        given = {name: np.asarray(v) for name, v in values.items()}
        return entries.evaluate(Floats(extents or {}), expr, given, tuple(indices), definitions)
    whole = isinstance(expr, Reduce) and expr.kind == "argmax"
    target = Tensor("the value", tuple(i.extent for i in indices), "integer" if whole else "real")
    equation = Equation(Component(target, tuple(map(Affine.of, indices))), expr)
    return execute_equations([equation], values, extents=extents)[target.name]
