"""What equations become as programs of arrays: which operations, with which shapes."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.examples import few
from tests.nn.test_every_layer import KINDS, MODELS, model_with

import chainrule as cr
from chainrule.arrays.ids import Limits
from chainrule.arrays.lower import lower
from chainrule.arrays.nodes import (
    Assignment,
    Convolution,
    Einsum,
    Gather,
    Given,
    Map,
    Node,
    Pad,
    Reduce,
    Reshape,
    Scatter,
    Slice,
    Transpose,
    in_order,
)
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program

N = "N"


def lowered(text: str, *, select: bool = False, **shapes: tuple[int | str, ...]) -> list[Assignment]:
    """Tensors whose names begin with `id` hold whole numbers."""
    known = {k: Tensor(k, s, "integer" if k.startswith("id") else "real") for k, s in shapes.items()}
    equations = parse_program(text, tensors=known)
    return lower(equations, {}, Limits(equations, known.values()), select=select)


def operations(assignment: Assignment) -> list[type[Node]]:
    return [type(node) for node in in_order(assignment.value) if not isinstance(node, Given)]


def only(assignment: Assignment, kind: type[Node]) -> Node:
    (found,) = (node for node in in_order(assignment.value) if isinstance(node, kind))
    return found


def functions(assignment: Assignment) -> Counter[str]:
    return Counter(node.function for node in in_order(assignment.value) if isinstance(node, Map))


def test_a_dense_layer_is_one_einsum_and_a_sum() -> None:
    (u,) = lowered("u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]", W=(3, 2), x=(N, 2), b=(3,))
    assert operations(u) == [Einsum, Map] and u.value.shape == (N, 3)
    product = only(u, Einsum)
    assert isinstance(product, Einsum)
    assert ["".join(i.name for i in axes) for axes in (*product.indices, product.kept)] == ["kl", "nl", "nk"]


@pytest.mark.parametrize(("stride", "dilation", "pad", "out"), [(1, 1, 0, 5), (2, 1, 1, 4), (1, 2, 1, 5)])
def test_a_convolution_is_an_einsum_over_a_slice_that_says_stride_and_dilation(
    stride: int, dilation: int, pad: int, out: int
) -> None:
    text = f"y[n, o, i<{out}] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, {stride}*i + {dilation}*p - {pad}])"
    (y,) = lowered(text, W=(4, 2, 3), x=(N, 2, 7))
    window = only(y, Slice)
    assert isinstance(window, Slice) and window.shape == (N, 2, out, 3) and y.value.shape == (N, 4, out)
    assert [c for _, c in window.subscripts[2].terms] == [stride, dilation]
    around = [node.widths[2] for node in in_order(y.value) if isinstance(node, Pad)]
    last = stride * (out - 1) + 2 * dilation - pad
    assert around == ([(pad, max(0, last - 6))] if pad else [])
    assert operations(y)[-1] is Convolution


def test_samples_lead_where_no_tensor_gives_an_order() -> None:
    (y,) = lowered("y[k, n] = a[k]*b[n]", a=(3,), b=(N,))
    assert operations(y)[-1] is Transpose and y.value.operands[0].shape == (N, 3)


def test_mixed_radix_numbers_are_reshapes() -> None:
    (y,) = lowered("y[n, 6*c + 3*i + j] = x[n, c, i, j]", x=(N, 2, 2, 3))
    assert operations(y) == [Reshape] and y.value.shape == (N, 12)
    (z,) = lowered("z[n, c<2, i<6] = x[n, 6*c + i]", x=(N, 12))
    assert operations(z) == [Reshape] and z.part is None


def test_residue_classes_are_parts_and_a_strided_read_is_a_slice() -> None:
    even, odd = lowered("y[n, 2*i] = x[n, i]\ny[n, 2*(i<3) + 1] = x[n, 2 - i]", x=(N, 3))
    assert operations(even) == [] and operations(odd) == [Slice]
    assert even.part is not None and even.part[1].offset == 0
    assert odd.part is not None and odd.part[1].offset == 1


def test_a_row_that_an_integer_chooses_is_gathered_and_its_gradient_scattered() -> None:
    text = "e[n, d] = sum[v]([v == id[n]]*E[v, d])"
    (e,) = lowered(text, id=(N,), E=(5, 2))
    assert operations(e) == [Gather] and e.value.shape == (N, 2)
    (g,) = lowered("g[v<5, d] = sum[n]([v == id[n]]*s[n, d])", id=(N,), s=(N, 2))
    assert operations(g) == [Scatter] and g.value.shape == (5, 2)


def test_an_integer_that_may_number_nothing_is_clipped_and_selected() -> None:
    text = "a[n, j<9] = [j == id[n]] + 0\ne[n] = sum[v]([v == id[n]]*E[v])"  # up to 8, in a table of 5
    e = lowered(text, id=(N,), E=(5,))[1]
    assert Gather in operations(e) and functions(e)["where"] == 1 and functions(e)["min"] == 1
    apart = lowered(text.replace("id[n]]*", "id_2[n]]*"), id=(N,), id_2=(N,), E=(5,))[1]
    assert operations(apart) == [Gather]


def test_the_position_of_a_maximum_is_a_value_of_its_window_and_of_no_smaller_one() -> None:
    text = "a[i<3] = argmax[q<4](x[i, q])\ny[i<3] = sum[p<{}]([p == a[i]]*v[p])"
    whole = lowered(text.format(4), x=(3, 4), v=(4,))[1]
    part = lowered(text.format(2), x=(3, 4), v=(2,))[1]
    assert functions(whole)["where"] == 0 and functions(part)["where"] == 1


def test_the_argmax_of_a_padded_window_knows_what_is_padding() -> None:
    (inner,) = lowered("a[n, i<3] = argmax[p<2](pad(x, -inf)[n, 2*i + p])", x=(N, 6))
    (outer,) = lowered("a[n, i<3] = argmax[p<2](pad(x, -inf)[n, 2*i + p - 1])", x=(N, 6))
    assert len(only(inner, Reduce).operands) == 1 and len(only(outer, Reduce).operands) == 2


def test_a_logarithm_of_a_sum_is_two_terms_of_which_the_small_one_is_added_last() -> None:
    (p,) = lowered("p[n] = logsumexp[k](u[n, k]) - u[n, 0]", u=(N, 3))
    kinds = [node.kind for node in in_order(p.value) if isinstance(node, Reduce)]
    assert kinds == ["peak", "rest"] and isinstance(p.value, Map) and p.value.function == "add"
    first, *_, last = p.value.operands
    assert isinstance(first, Reduce) and first.kind == "peak" and isinstance(last, Reduce) and last.kind == "rest"


def test_brackets_select_before_a_sum_multiplies_only_where_that_is_asked_for() -> None:
    text = "y[n] = sum[i, j<3]([i == j]*[j == 1]*w[j]/x[n, i])"
    (early,), (late,) = (lowered(text, select=select, x=(N, 3), w=(3,)) for select in (True, False))
    assert functions(early)["where"] == 1 and functions(late)["where"] == 0


@pytest.mark.parametrize("name", few(MODELS, KINDS))
def test_every_layer_is_lowered_with_the_number_of_samples_open(name: str) -> None:
    joint = model_with(name).derive().joint
    for equation, assignment in zip(
        joint.equations, lower(joint.equations, {}, Limits(joint.equations, joint.given)), strict=True
    ):
        assert assignment.part is not None or assignment.value.shape == equation.tensor.shape


def test_a_derivative_has_no_array() -> None:
    with pytest.raises(cr.DerivationError, match="derive it first"):
        lowered("y[i] = D(x[i]**2, x[i])", x=(3,))
