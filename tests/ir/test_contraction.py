"""What each index does in a sum over a product."""

from __future__ import annotations

from chainrule.ir.contraction import Contraction, contraction
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Index
from chainrule.ir.parse import parse_equation


def classify(text: str, *tensors: Tensor) -> Contraction:
    equation = parse_equation(text, tensors={t.name: t for t in tensors} or None)
    result = contraction(equation.value, equation.indices)
    assert result is not None
    return result


def names(indices: tuple[Index, ...]) -> str:
    return "".join(index.name for index in indices)


def test_a_dense_layer_is_a_matrix_product() -> None:
    found = classify("u[n<5, k<3] = sum[l<4](W[k, l] * x[n, l])")
    assert len(found.factors) == 2
    assert (names(found.free), names(found.batch), names(found.reduced), names(found.windowed)) == ("nk", "", "l", "")


def test_an_index_of_the_result_in_two_factors_is_a_batch() -> None:
    found = classify("s[n<2, h<3, q<4, k<5] = sum[d<6](Q[n, h, q, d] * K[n, h, k, d])")
    assert (names(found.free), names(found.batch), names(found.reduced)) == ("qk", "nh", "d")


def test_indices_that_share_a_subscript_are_windowed() -> None:
    x, w = Tensor("x", (2, 3, 9)), Tensor("W", (4, 3, 3))
    found = classify("y[n, o, i<4] = sum[c, p<3](W[o, c, p] * x[n, c, 2*i + p])", x, w)
    assert (names(found.free), names(found.reduced), names(found.windowed)) == ("noi", "cp", "ip")


def test_brackets_window_their_indices_too() -> None:
    found = classify("g[i<6] = sum[p<3, j<6]([0 <= 2*i + p - 1 < 12] * a[p] * [j == i] * b[j])")
    assert (names(found.batch), names(found.reduced), names(found.windowed)) == ("i", "pj", "ip")


def test_an_index_bound_inside_a_factor_is_no_index_of_the_contraction() -> None:
    found = classify("y[i<4] = sum[j<3](a[j] * sum[p<2](x[i + p]))")
    assert (names(found.free), names(found.reduced), names(found.windowed)) == ("i", "j", "i")


def test_a_lone_factor_and_a_product_without_a_sum_are_contractions() -> None:
    lone = classify("s[n<3] = sum[k<4](x[n, k])")
    assert len(lone.factors) == 1 and names(lone.reduced) == "k"
    product = classify("z[n<3, k<2] = x[n, k] * y[n, k]")
    assert product.reduced == () and names(product.batch) == "nk"


def test_nested_products_are_merged_and_inner_sums_are_not() -> None:
    found = classify("y[i<2] = sum[j<3]((a[i] * b[j]) * (c[j] * sum[k<4](d[k])))")
    assert len(found.factors) == 4


def test_an_index_that_no_factor_has_is_free() -> None:
    equation = parse_equation("y[n<3, k<2] = 2 * b[k]")
    found = contraction(equation.value, equation.indices)
    assert found is not None and names(found.free) == "nk"


def test_other_expressions_are_no_contractions() -> None:
    for text in ("y[n<3] = x[n]", "y[n<3] = x[n] + z[n]", "y[n<3] = max[k<2](x[n, k])", "y[n<3] = sigmoid(x[n])"):
        assert contraction(parse_equation(text).value) is None
