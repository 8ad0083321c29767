"""The derivative of a scalar function written out by its law."""

from __future__ import annotations

from chainrule.ir.expr import Apply, Component, Expr
from chainrule.ir.functions import split_derivative
from chainrule.ir.parse import law
from chainrule.ir.walk import transform


def expanded(node: Apply) -> Expr:
    """d1_g(a) as the catalogue's law over a and g(a)."""
    function, argument = split_derivative(node.function)
    assert argument is not None
    bindings = {**dict(zip("xy", node.arguments, strict=False)), "f": Apply(function, node.arguments)}

    def bind(part: Expr) -> Expr:
        return bindings[part.tensor.name] if isinstance(part, Component) else part

    return transform(law(function, argument), bind)
