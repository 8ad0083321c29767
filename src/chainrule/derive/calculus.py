"""The rules of differentiation. Each moves ∂ one level inwards, everywhere it stands; what is left
at the end are brackets: ∂x[k]/∂x[i] = [k = i].

No function's derivative is written here: those are the scalar laws of `ir.functions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

from chainrule.derive.trace import Setting, rule
from chainrule.ir.expr import (
    LOSS,
    POSITION,
    ZERO,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Multiply,
    Power,
    Reduce,
    Tensor,
    add,
    derived,
    multiply,
    summed,
)
from chainrule.ir.functions import derivative_name, split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import law
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, fresh, nodes, rename, transform

# The order in which `lemma` tries the rules; each pass moves ∂ inwards, so it ends. The brackets come
# when nothing else is left, so that one line of the document shows them all.
MOVES = (
    "derivative.independent", "derivative.argmax", "zero", "derivative.sum", "derivative.reduction",
    "derivative.product", "derivative.power", "unit", "derivative.max", "derivative.logsumexp", "derivative.function",
)
LAST = "derivative.component"


def depends(expr: Expr, tensor: Tensor) -> bool:
    return tensor in expr.tensors


def _on_derivatives(expr: Expr, rewrite: Callable[[Derivative], Expr | None], of: type[Expr] = Expr) -> Expr:
    """Rewrite every derivative of a node of this type."""
    if of is not Expr and of not in expr.types:
        return expr

    def visit(node: Expr) -> Expr:
        return rewrite(node) or node if isinstance(node, Derivative) and isinstance(node.of, of) else node

    return transform(expr, visit, Derivative)


@rule("chain", "∂ℓ/∂x = Σ_k (∂ℓ/∂y_k)(∂y_k/∂x)", ("D(loss, x[i])", "sum[k](D(loss, y[k]) * D(y[k], x[i]))"))
def chain(expr: Expr, setting: Setting) -> Expr:
    """Every path from x to the loss through this equation runs through some component of y."""
    y = setting.equation.target
    if y.tensor == LOSS:
        return expr

    def rewrite(node: Derivative) -> Expr | None:
        if node.of is not Component(LOSS, ()) or node.wrt.tensor != setting.wrt.tensor:
            return None
        return summed(y.free, Multiply((Derivative(node.of, y), Derivative(y, node.wrt))))

    return _on_derivatives(expr, rewrite)


@rule("error_signal", "∂ℓ/∂y_k = δ_k", ("D(loss, y[k]) * a[k]", "δy[k] * a[k]"))
def error_signal(expr: Expr, setting: Setting) -> Expr:
    """The error signal of y is known when the equation's turn comes; a constant one is put in as it is."""

    def rewrite(node: Derivative) -> Expr | None:
        if node.of is Component(LOSS, ()) and node.wrt.tensor == setting.equation.tensor:
            return setting.signal or Component(setting.adjoint, node.wrt.subscripts)
        return None

    return _on_derivatives(expr, rewrite)


@rule("definition", "y_k = E_k", ("D(y[k], x[i])", "D(2*x[k], x[i])"))
def definition(expr: Expr, setting: Setting) -> Expr:
    """Put the right-hand side of the equation in place of its left."""

    def rewrite(node: Derivative) -> Expr | None:
        return Derivative(setting.equation.value, node.wrt) if node.of is setting.equation.target else None

    return _on_derivatives(expr, rewrite)


@rule("derivative.independent", "∂c = 0 where c does not depend on x", ("D(b[k], x[i])", "0"))
def derivative_of_independent(expr: Expr, setting: Setting) -> Expr:
    return _on_derivatives(expr, lambda node: None if depends(node.of, node.wrt.tensor) else ZERO)


@rule(
    "derivative.argmax", "∂ argmax_p a_p = 0 where one element is the greatest",
    ("D(argmax[k<3](x[k]), x[i])", "0"),
)
def derivative_of_argmax(expr: Expr, setting: Setting) -> Expr:
    """A position is constant but where it jumps; at a tie the convention is 0 too."""
    return _on_derivatives(
        expr, lambda node: ZERO if isinstance(node.of, Reduce) and node.of.kind == "argmax" else None, Reduce
    )


@rule("derivative.sum", "∂(a + b) = ∂a + ∂b", ("D(x[k] + b[k], x[i])", "D(x[k], x[i]) + D(b[k], x[i])"))
def derivative_of_sum(expr: Expr, setting: Setting) -> Expr:
    def rewrite(node: Derivative) -> Expr | None:
        return Add(tuple(Derivative(t, node.wrt) for t in node.of.terms)) if isinstance(node.of, Add) else None

    return _on_derivatives(expr, rewrite, Add)


@rule("derivative.reduction", "∂ Σ_l a_l = Σ_l ∂a_l", ("D(sum[l](x[l]), x[i])", "sum[l](D(x[l], x[i]))"))
def derivative_of_reduction(expr: Expr, setting: Setting) -> Expr:
    def rewrite(node: Derivative) -> Expr | None:
        match node.of:
            case Reduce(kind="sum", indices=indices, body=body):
                assert _apart(indices, node.wrt), "an index of the sum is one of the component"
                return Reduce("sum", indices, Derivative(body, node.wrt))
            case _:
                return None

    return _on_derivatives(expr, rewrite, Reduce)


def _apart(indices: Iterable[Index], wrt: Component) -> bool:
    """Whether ∂/∂x_i may go under a reduction over k: no k is an i."""
    return not {i.name for i in indices} & {i.name for i in wrt.free}


@rule(
    "derivative.product", "∂(a·b) = ∂a·b + a·∂b; a factor without x is constant",
    ("D(a[k]*x[k], x[i])", "a[k]*D(x[k], x[i])"),
)
def derivative_of_product(expr: Expr, setting: Setting) -> Expr:
    def rewrite(node: Derivative) -> Expr | None:
        if not isinstance(node.of, Multiply) or not depends(node.of, node.wrt.tensor):
            return None
        factors = node.of.factors
        return add(
            Multiply((*factors[:i], Derivative(f, node.wrt), *factors[i + 1 :]))
            for i, f in enumerate(factors)
            if depends(f, node.wrt.tensor)
        )

    return _on_derivatives(expr, rewrite, Multiply)


@rule("derivative.power", "∂(a^r) = r·a^(r−1)·∂a", ("D(x[k]**2, x[i])", "2*x[k]**1*D(x[k], x[i])"))
def derivative_of_power(expr: Expr, setting: Setting) -> Expr:
    def rewrite(node: Derivative) -> Expr | None:
        match node.of:
            case Power(base=base, exponent=r):
                return Multiply((Constant(r), Power(base, r - Fraction(1)), Derivative(base, node.wrt)))
            case _:
                return None

    return _on_derivatives(expr, rewrite, Power)


@rule(
    "derivative.function", "∂g(a) = g′(a)·∂a",
    ("D(sigmoid(x[k]), x[i])", "d1_sigmoid(x[k])*D(x[k], x[i])"),
)
def derivative_of_function(expr: Expr, setting: Setting) -> Expr:
    """The chain rule for a scalar function, one term for each argument that depends on x."""

    def rewrite(node: Derivative) -> Expr | None:
        if not isinstance(node.of, Apply) or not depends(node.of, node.wrt.tensor):
            return None
        g, arguments = node.of.function, node.of.arguments
        if split_derivative(g)[1] is not None:
            return Derivative(apply_law(node.of), node.wrt)
        return add(
            Multiply((Apply(derivative_name(g, i), arguments), Derivative(a, node.wrt)))
            for i, a in enumerate(arguments)
            if depends(a, node.wrt.tensor)
        )

    return _on_derivatives(expr, rewrite, Apply)


@rule(
    "derivative.max", "∂ max_p a_p = Σ_p [p = p*]·∂a_p with p* = argmax_p a_p, the first maximum",
    ("D(max[p<2](x[2*k + p]), x[i])", "sum[p<2]([p == y.argmax[k]]*D(x[2*k + p], x[i]))"),
)
def derivative_of_max(expr: Expr, setting: Setting) -> Expr:
    """Where the maximum is attained once it moves with that element alone; at a tie the first is taken. A maximum over
    several indices whose positions have no numbers is one of maxima over fewer."""

    def rewrite(node: Derivative) -> Expr | None:
        match node.of:
            case Reduce(kind="max", indices=indices, body=body):
                assert _apart(indices, node.wrt), "an index of the maximum is one of the component"
                if (place := radix_of(indices)) is None:
                    return Derivative(Reduce("max", indices[:1], Reduce("max", indices[1:], body)), node.wrt)
                chosen = argmax_of(node.of, setting)
                return Reduce("sum", indices, Multiply((Delta(place, chosen), Derivative(body, node.wrt))))
            case _:
                return None

    return _on_derivatives(expr, rewrite, Reduce)


def radix_of(indices: tuple[Index, ...]) -> Affine | None:
    """The position within a window, counted with the last index fastest; None where an extent that it is counted by is
    open."""
    place, position = 1, Affine()
    for index in reversed(indices):
        position = Affine.of(index) * place + position
        if isinstance(index.extent, int):
            place *= index.extent
        elif index is not indices[0]:
            return None
    return position


def position_of(tensor: Tensor, indices: Iterable[Index], before: int) -> Tensor:
    """What holds where a maximum in the definition of `tensor` lies, after `before` others."""
    number = before + 1 if before else 0
    return derived(POSITION, tensor, number=number, shape=tuple(i.extent for i in indices), dtype="integer")


def argmax_of(maximum: Reduce, setting: Setting) -> Component:
    """The saved position of a maximum: an auxiliary equation of the forward program."""
    value = Reduce("argmax", maximum.indices, maximum.body)
    for equation in setting.auxiliary:
        if equation.value is value:
            return equation.target
    maxima = [n for n in nodes(setting.equation.value) if isinstance(n, Reduce) and n.kind == "max"]
    before = maxima.index(maximum) if maximum in maxima else len(maxima) + len(setting.auxiliary)
    tensor = position_of(setting.equation.tensor, maximum.free, before)
    target = Component(tensor, tuple(Affine.of(index) for index in maximum.free))
    setting.auxiliary.append(Equation(target, value))
    return target


@rule(
    "derivative.logsumexp", "∂ log Σ_k exp(a_k) = Σ_k exp(a_k − log Σ_j exp(a_j))·∂a_k",
    (
        "D(logsumexp[k](x[k]), x[i])",
        "sum[k](exp(x[k] - logsumexp[k1](x[k1]))*D(x[k], x[i]))",
    ),
)
def derivative_of_logsumexp(expr: Expr, setting: Setting) -> Expr:
    """The weights are the softmax; written with the difference they cannot overflow."""

    def rewrite(node: Derivative) -> Expr | None:
        match node.of:
            case Reduce(kind="logsumexp", indices=indices, body=body):
                assert _apart(indices, node.wrt), "an index of the sum is one of the component"
                taken = [*body.free, *bound(body), *node.wrt.free, *indices]
                inner: dict[Index, Index] = {}
                for index in indices:
                    inner[index] = fresh(index.name, index.extent, taken)
                    taken.append(inner[index])
                total = Reduce("logsumexp", tuple(inner.values()), rename(body, inner))
                weight = Apply("exp", (Add((body, Multiply((Constant(Fraction(-1)), total)))),))
                return Reduce("sum", indices, Multiply((weight, Derivative(body, node.wrt))))
            case _:
                return None

    return _on_derivatives(expr, rewrite, Reduce)


@rule("derivative.component", "∂x_k/∂x_i = [k = i]", ("D(x[k], x[i])", "[k == i]"))
def derivative_of_component(expr: Expr, setting: Setting) -> Expr:
    """A read outside x gives a constant, and no component of x is there, so a padded read needs no guard."""

    def rewrite(node: Derivative) -> Expr | None:
        match node.of:
            case Component(tensor=tensor, subscripts=subscripts) if tensor == node.wrt.tensor:
                return multiply(Delta(s, j) for s, j in zip(subscripts, node.wrt.subscripts, strict=True))
            case _:
                return None

    return _on_derivatives(expr, rewrite, Component)


def apply_law(node: Apply) -> Expr:
    """The law of d1_g with the arguments, and g of them, put in."""
    name, argument = split_derivative(node.function)
    assert argument is not None
    values = dict(zip("xy", node.arguments, strict=False)) | {"f": Apply(name, node.arguments)}

    def put(part: Expr) -> Expr:
        return values[part.tensor.name] if isinstance(part, Component) else part

    return transform(law(name, argument), put)


@rule("law", "g′ by the law of g", ("d1_sigmoid(x[k])", "sigmoid(x[k])*(1 - sigmoid(x[k]))"))
def law_of_function(expr: Expr, setting: Setting) -> Expr:
    def visit(node: Expr) -> Expr:
        if isinstance(node, Apply) and split_derivative(node.function)[1] is not None:
            return apply_law(node)
        return node

    return transform(expr, visit, Apply)
