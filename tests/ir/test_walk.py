"""Nodes are interned, identity is up to the names of indices, and substitution captures nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest

from chainrule.ir.expr import Add, Component, Constant, Expr, Power, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation, parse_expression
from chainrule.ir.print import to_text
from chainrule.ir.walk import components, distinct, key, kind, nodes, rebuild, substitute, transform

X, W, A = Tensor("x", (4, 4)), Tensor("W", (4, 4)), Tensor("a", (4,), "integer")
i, j, k = Index("i", 4), Index("j", 4), Index("k", 4)
FREE = {"i": i, "j": j, "k": k}


def expression(text: str) -> Expr:
    return parse_expression(text, tensors={"x": X, "W": W, "a": A}, indices=FREE)


def test_equal_nodes_are_one_object_and_constructors_are_inert() -> None:
    assert expression("x[i, j] + 0") is expression("x[i, j] + 0")
    assert expression("x[i, j] + 0") is not expression("x[i, j]")
    assert Component(X, (Affine.of(i), Affine.of(j))) is Component(X, (Affine.of(i), Affine.of(j)), None)
    assert isinstance(Add((Constant(Fraction(0)), Constant(Fraction(0)))), Add)


@pytest.mark.parametrize(
    "text",
    ["x[i, j] + 0", "sum[p<4](W[i, p]*x[p, j])**2", "max[p<4](exp(x[i, p])*W[p, j])*[i == j]", "[0 <= i + 1 < 4]*pi",
     "D(sum[p<4](x[p, j])*x[i, j], x[k, j])", "sum[p<4]([p == a[i]]*W[p, j]/N)"],
)  # fmt: skip
def test_a_node_knows_what_a_walk_through_it_finds(text: str) -> None:
    whole = expression(text)
    for node in nodes(whole):
        assert node.tensors == tuple(dict.fromkeys(c.tensor for c in components(node)))
        assert node.types == {type(inner) for inner in nodes(node)}
        assert rebuild(node, node.parts) is node
    seen: list[Expr] = []

    def visit(node: Expr) -> Expr:
        seen.append(node)
        return swapped if node is expression("x[i, j]") else node

    swapped = expression("W[j, i]")
    everywhere = transform(whole, visit)
    every, seen[:] = list(seen), []
    assert transform(whole, visit, Component) is everywhere
    assert seen == [node for node in every if isinstance(node, Component)]


def test_keys_ignore_the_names_of_bound_and_listed_indices_only() -> None:
    one, other = expression("sum[p<4](W[i, p]*x[p, j])"), expression("sum[q<4](W[i, q]*x[q, j])")
    assert one is not other
    assert key(one) == key(other)
    renamed = expression("sum[q<4](W[k, q]*x[q, j])")
    assert key(one) != key(renamed)
    assert key(one, (i, j)) == key(renamed, (k, j))
    assert key(one) != key(expression("sum[q<4](W[i, q]*x[j, q])"))
    assert key(one) != key(expression("max[q<4](W[i, q]*x[q, j])"))


def test_kinds_ignore_tensor_names_and_extents_too() -> None:
    one = parse_equation("y[i] = sum[j<4](W[i, j]*x[j])")
    other = parse_equation("z[a] = sum[b<9](V[a, b]*u[b])")
    assert kind(one.value, one.indices) == kind(other.value, other.indices)
    assert key(one.value, one.indices) != key(other.value, other.indices)
    twice = parse_equation("z[a] = sum[b<9](V[a, b]*V[b, b])")
    assert kind(one.value, one.indices) != kind(twice.value, twice.indices)


def test_substitution_renames_a_bound_index_that_would_capture() -> None:
    body = expression("sum[j<4](W[i, j]*x[j, k])")
    moved = substitute(body, {i: Affine.of(j)})
    assert to_text(moved) == "sum[j1<4](W[j, j1]*x[j1, k])"
    assert moved.free == (j, k)
    assert substitute(body, {j: Affine.of(k)}) is body
    shifted = substitute(body, {k: Affine(((i, 2), (j, 1)), -1)})
    assert to_text(shifted) == "sum[j1<4](W[i, j1]*x[j1, 2*i + j - 1])"


def test_a_bound_index_is_not_renamed_to_its_neighbour() -> None:
    """j1 stands in no subscript, and is a name of the sum's all the same."""
    body = expression("sum[j<4, j1<2](x[i, j])")
    assert to_text(substitute(body, {i: Affine.of(j)})) == "sum[j2<4, j1<2](x[j, j2])"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sum[j](x[j]*sum[j](W[j, j]))", "sum[j](x[j]*sum[j1](W[j1, j1]))"),
        ("x[j]*max[j](x[j])*sum[k](x[k])", "x[j]*max[j1](x[j1])*sum[k](x[k])"),
        ("sum[j](x[j]*sum[k](W[j, k]*sum[j](x[j]))) + sum[j](x[j])",
         "sum[j](x[j]*sum[k](W[j, k]*sum[j1](x[j1]))) + sum[j](x[j])"),
        ("sum[j](sum[k](W[j, k]))", "sum[j](sum[k](W[j, k]))"),
    ],
)  # fmt: skip
def test_a_reader_meets_each_letter_once(text: str, shown: str) -> None:
    """A sum over an index that stands around it already is one over another."""
    tensors = {"x": Tensor("x", (3,)), "W": Tensor("W", (3, 3))}
    one, other = (parse_expression(t, tensors=tensors) for t in (text, shown))
    assert key(one) == key(other)  # they are the same
    assert to_text(distinct(one)) == to_text(other)


def test_substitution_is_simultaneous() -> None:
    swapped = substitute(expression("x[i, j]"), {i: Affine.of(j), j: Affine.of(i)})
    assert swapped is expression("x[j, i]")


def test_no_depth_of_nesting_exhausts_the_stack() -> None:
    deep = expression("x[i, j]")
    for _ in range(400):
        deep = Reduce("sum", (k,), Power(Add((deep, Constant(Fraction(1)))), Fraction(2)))
    moved = substitute(deep, {i: Affine.of(j)})
    assert moved.free == (j,)
    assert transform(moved, lambda node: node) is moved
    assert len(list(nodes(deep))) == 1202
    assert to_text(deep).startswith("sum[k<4]((sum[k<4]((")
