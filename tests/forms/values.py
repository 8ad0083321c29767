"""Values of forms: what a form says in components, by the float executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.forms import Concise, Form, expand, matrix_shape, shape
from chainrule.ir.expr import Component, Derivative, Expr, Tensor
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.walk import transform
from tests.floats import evaluate

Array = NDArray[Any]


def value(form: Form, values: Mapping[str, Array], extents: Mapping[str, int] | None = None) -> Array:
    """All entries of a form."""
    sizes = dict(extents or {})
    free = tuple(Index(f"x{n}", length.extent(sizes)) for n, length in enumerate(shape(form)))
    return evaluate(_named(expand(form, [Affine.of(i) for i in free], sizes)), values, free, extents=sizes)


def as_matrix(form: Form, values: Mapping[str, Array], extents: Mapping[str, int] | None = None) -> Array:
    """A form as rows and columns, a column with a second axis of extent 1."""
    sizes = dict(extents or {})
    rows, columns = (length.extent(sizes) for length in matrix_shape(form))
    i, j = Index("i", rows), Index("j", columns)
    expr = _named(expand(form, [Affine.of(i), Affine.of(j)], sizes))
    return evaluate(expr, values, (i, j), extents=sizes)


def concise(form: Concise, values: Mapping[str, Array], extents: Mapping[str, int] | None = None) -> Array:
    """What a form says of its target, at the target's indices."""
    sizes = dict(extents or {})
    return evaluate(_named(form.expanded(sizes)), values, form.target.free, extents=sizes)


def detailed(form: Concise, values: Mapping[str, Array], extents: Mapping[str, int] | None = None) -> Array:
    return evaluate(_named(form.detailed), values, form.target.free, extents=dict(extents or {}))


def _named(expr: Expr) -> Expr:
    """Jacobians as tensors "z by u"."""

    def visit(node: Expr) -> Expr:
        assert isinstance(node, Derivative) and isinstance(node.of, Component)
        name = f"{node.of.tensor.name} by {node.wrt.tensor.name}"
        tensor = Tensor(name, node.of.tensor.shape + node.wrt.tensor.shape)
        return Component(tensor, node.of.subscripts + node.wrt.subscripts)

    return transform(expr, visit, Derivative)


def drawn(expr: Expr, extents: Mapping[str, int], seed: int = 0, top: int = 2) -> dict[str, Array]:
    """Random values of the tensors that an expression reads."""
    rng = np.random.default_rng(seed)

    def size(extent: Extent) -> int:
        return extent if isinstance(extent, int) else extents[extent]

    return {
        t.name: rng.integers(0, top, [size(e) for e in t.shape]) if t.dtype == "integer"
        else rng.uniform(0.5, 2, [size(e) for e in t.shape])
        for t in expr.tensors
    }
