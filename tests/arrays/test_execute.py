"""The float semantics against plain NumPy formulas, explicit loops and central differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.floats import evaluate

from chainrule.arrays.execute import bind_extents, execute
from chainrule.derive import derive_equation
from chainrule.errors import DataError, EquationError, ShapeError
from chainrule.ir.expr import ONE, Apply, Component, Guard, Multiply, Reduce, Tensor
from chainrule.ir.functions import CATALOGUE, FUNCTIONS
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation, parse_program
from chainrule.ir.program import Equation, Program

Array = NDArray[Any]


def run(text: str, *, dtype: Any = np.float64, **arrays: Any) -> Array:
    """The last tensor that the equations define; tensors have the shapes of the arrays."""
    kinds = {k: np.asarray(v) for k, v in arrays.items()}
    known = {k: Tensor(k, v.shape, "integer" if v.dtype.kind == "i" else "real") for k, v in kinds.items()}
    equations = parse_program(text, tensors=known)
    result = execute(Program(tuple(equations), inputs=tuple(known.values())), kinds, dtype=dtype)
    return result[equations[-1].tensor.name]


def slope(text: str, x: Array, dtype: Any = np.float64) -> Array:
    """The derivative of a function by its first argument."""
    tensor = Tensor("x", x.shape)
    axes = "n, i" if x.ndim == 2 else "i"
    equation = parse_equation(f"y[{axes}] = {text}", tensors={"x": tensor})
    assert isinstance(equation.value, Apply)
    law = Apply(f"d1_{equation.value.function}", equation.value.arguments)
    return execute(Program((Equation(equation.target, law),), inputs=(tensor,)), {"x": x}, dtype=dtype)["y"]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def ids(extent: int, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).integers(0, extent, shape)


def loop(shape: tuple[int, ...], entry: Callable[..., float]) -> Array:
    """An array filled entry by entry."""
    result = np.empty(shape)
    for position in product(*map(range, shape)):
        result[position] = entry(*position)
    return result


def padded(x: Array, *position: int, value: float = 0.0) -> float:
    inside = all(0 <= p < size for p, size in zip(position, x.shape, strict=True))
    return float(x[position]) if inside else value


# Contractions


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_dense(n: int, k: int, m: int) -> None:
    w, x, b = normal(k, m), normal(n, m), normal(k)
    np.testing.assert_allclose(run("u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]", W=w, x=x, b=b), x @ w.T + b)


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(4, 7),
    st.integers(1, 2), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2),
)
def test_convolution(n: int, c: int, o: int, h: int, stride: int, size: int, pad: int, dilation: int) -> None:
    x, w, b = normal(n, c, h, h), normal(o, c, size, size), normal(o)
    out = (h + 2 * pad - dilation * (size - 1) - 1) // stride + 1
    if out < 1:
        return
    i, j = (f"{stride}*{a} + {dilation}*{b} - {pad}" for a, b in ("ip", "jq"))
    text = f"y[n, o, i<{out}, j<{out}] = sum[c, p, q](W[o, c, p, q] * pad(x, 0)[n, c, {i}, {j}]) + b[o]"
    y = run(text, x=x, W=w, b=b)

    def entry(n: int, o: int, i: int, j: int) -> float:
        return b[o] + sum(
            w[o, a, p, q] * padded(x, n, a, stride * i + dilation * p - pad, stride * j + dilation * q - pad)
            for a, p, q in product(range(c), range(size), range(size))
        )

    np.testing.assert_allclose(y, loop(y.shape, entry), atol=1e-12)


def test_reads_with_negative_coefficients_are_a_rotated_kernel() -> None:
    d, w = normal(2, 3, 4), normal(3, 2, 3)
    g = run("g[n, c, i<6] = sum[o, p](W[o, c, p] * pad(d, 0)[n, o, i - p])", d=d, W=w)
    flipped = run("g[n, c, i<6] = sum[o, p<3](W[o, c, 2 - p] * pad(d, 0)[n, o, i + p - 2])", d=d, W=w)
    expected = loop(
        (2, 2, 6), lambda n, c, i: sum(w[o, c, p] * padded(d[n, o], i - p) for o, p in product(range(3), range(3)))
    )
    np.testing.assert_allclose(g, expected)
    np.testing.assert_allclose(flipped, expected)


def test_padding_with_other_numbers_and_reads_entirely_outside() -> None:
    x = normal(3)
    around = loop((9,), lambda i: padded(x, i - 4, value=0.5))
    np.testing.assert_array_equal(run("y[i<9] = pad(x, 1/2)[i - 4]", x=x), around)
    np.testing.assert_array_equal(run("y[i<2] = pad(x, 2)[i + 7]", x=x), [2, 2])
    np.testing.assert_array_equal(run("y[i<2] = pad(x, 2)[i - 7]", x=x), [2, 2])


def test_attention_is_a_batch_of_matrix_products() -> None:
    q, k, v = normal(2, 3, 4, 5), normal(2, 3, 6, 5, seed=1), normal(2, 3, 6, 7)
    y = run(
        """
        s[n, h, i, j] = 5**(-1/2) * sum[d](q[n, h, i, d] * k[n, h, j, d])
        a[n, h, i, j] = exp(s[n, h, i, j] - logsumexp[m](s[n, h, i, m]))
        y[n, i, h, f] = sum[j](a[n, h, i, j] * v[n, h, j, f])
        """,
        q=q, k=k, v=v,
    )
    s = np.einsum("nhid,nhjd->nhij", q, k) / np.sqrt(5)
    a = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    np.testing.assert_allclose(y, np.einsum("nhij,nhjf->nihf", a, v))


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("y[i, l] = sum[j, k](a[i, j] * b[j, k] * c[k, l])", "ij,jk,kl->il"),
        ("y[i] = sum[j, k, l](a[i, j] * b[j, k] * c[k, l])", "ij,jk,kl->i"),
        ("y[i, j] = sum[k](a[i, j] * b[j, k] * b[j, k])", "ij,jk,jk->ij"),
        ("y[l, j, i] = sum[k](c[k, l] * b[j, k] * a[i, j])", "kl,jk,ij->lji"),
        ("y = sum[i, j, k, l](a[i, j] * b[j, k] * c[k, l])", "ij,jk,kl->"),
    ],
)
def test_products_of_several_factors(text: str, formula: str) -> None:
    a, b, c = normal(2, 3), normal(3, 4), normal(4, 5)
    arrays = {"a": a, "b": b, "c": c}
    used = [arrays[name] for name in (("a", "b", "b") if "jk,jk" in formula else "cba" if formula[0] == "k" else "abc")]
    known = {k: v for k, v in arrays.items() if k in text}
    np.testing.assert_allclose(run(text, **known), np.einsum(formula, *used))


def test_a_sum_over_an_index_that_no_factor_has_multiplies_by_its_extent() -> None:
    x = normal(3)
    np.testing.assert_allclose(run("y[i] = sum[p<4, q<2](x[i])", x=x), 8 * x)
    np.testing.assert_allclose(run("y = sum[i, p<4](x[i] * x[i])", x=x), 4 * (x @ x))


def test_a_repeated_index_reads_the_diagonal() -> None:
    x = normal(4, 4)
    np.testing.assert_allclose(run("y = sum[i](x[i, i])", x=x), np.trace(x))
    np.testing.assert_array_equal(run("y[i<4] = x[i, 3 - i]", x=x), np.fliplr(x).diagonal())


# Selection


@given(st.integers(1, 2), st.integers(3, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1))
def test_max_pooling_overlapping_and_padded(n: int, h: int, size: int, stride: int, pad: int) -> None:
    pad = min(pad, size - 1)
    x = np.round(normal(n, 2, h, h))  # rounded, so that there are ties
    out = (h + 2 * pad - size) // stride + 1
    if out < 1:
        return
    window = f"[p<{size}, q<{size}](pad(x, -inf)[n, c, {stride}*i + p - {pad}, {stride}*j + q - {pad}])"
    y = run(f"y[n, c, i<{out}, j<{out}] = max{window}", x=x)
    a = run(f"a[n, c, i<{out}, j<{out}] = argmax{window}", x=x)

    def entries(n: int, c: int, i: int, j: int) -> list[float]:
        return [
            padded(x[n, c], stride * i + p - pad, stride * j + q - pad, value=-np.inf)
            for p, q in product(range(size), range(size))
        ]

    np.testing.assert_array_equal(y, loop(y.shape, lambda *at: max(entries(*at))))
    np.testing.assert_array_equal(a, loop(a.shape, lambda *at: int(np.argmax(entries(*at)))))
    assert a.dtype == np.int64


def test_mean_pooling() -> None:
    x = normal(2, 3, 6, 6)
    y = run("y[n, c, i<3, j<3] = mean[p<2, q<2](x[n, c, 2*i + p, 2*j + q])", x=x)
    np.testing.assert_allclose(y, x.reshape(2, 3, 3, 2, 3, 2).mean((3, 5)))


def test_the_first_maximum_wins_a_tie() -> None:
    x = np.array([[1.0, 3, 3], [3, 1, 3]])
    np.testing.assert_array_equal(run("a[i] = argmax[j](x[i, j])", x=x), [1, 0])
    assert run("a = argmax[j, i](x[i, j])", x=x) == 1  # positions (j, i) with i fastest
    np.testing.assert_array_equal(run("a[i] = argmax[i2<3](x[i, 0])", x=x), [0, 0])


def test_padding_is_never_selected() -> None:
    x = np.array([-np.inf, -np.inf, 2.0])
    np.testing.assert_array_equal(run("a[i<3] = argmax[p<2](pad(x, -inf)[i + p - 1])", x=x), [1, 0, 1])


def test_a_window_of_padding_alone_is_never_selected() -> None:
    """No program has one that counts; a gradient has them beside a bracket that is false there."""
    x, i, p = Tensor("x", (3,)), Index("i", 2), Index("p", 2)
    body = Component(x, (Affine(((i, 4), (p, 1)), -2),), "-inf")
    largest, inside = Reduce("max", (p,), body), Guard(Affine(((i, 1),), -1), 1)
    np.testing.assert_array_equal(evaluate(largest, {"x": np.ones(3)}, [i]), [-np.inf, 1])
    np.testing.assert_array_equal(evaluate(Multiply((largest, inside)), {"x": np.ones(3)}, [i]), [0, 1])


# Integer tensors


def test_an_embedding_is_a_gather_and_its_gradient_a_scatter() -> None:
    table, words = normal(5, 3), ids(5, 4, 6)
    e = run("e[n, t, d] = sum[v]([v == id[n, t]] * E[v, d])", id=words, E=table)
    np.testing.assert_array_equal(e, table[words])
    d = normal(4, 6, 3)
    expected = np.zeros((5, 3))
    np.add.at(expected, words, d)
    np.testing.assert_allclose(run("g[v<5, m] = sum[n, t](d[n, t, m] * [v == id[n, t]])", id=words, d=d), expected)
    kept = run("g[n, v<5, m] = sum[t](d[n, t, m] * [v == id[n, t]])", id=words, d=d)
    np.testing.assert_allclose(kept, np.einsum("ntm,ntv->nvm", d, np.eye(5)[words]))


def test_gathers_that_share_indices_with_the_ids() -> None:
    x, label = normal(4, 5), ids(5, 4)
    np.testing.assert_array_equal(run("y[n] = sum[k]([k == t[n]] * x[n, k])", t=label, x=x), x[np.arange(4), label])
    np.testing.assert_array_equal(
        run("y[n] = sum[k]([k == t[n]] * x[n, k] * x[n, k])", t=label, x=x), x[np.arange(4), label] ** 2
    )
    np.testing.assert_allclose(run("y = sum[n, k]([k == t[n]] * x[n, k])", t=label, x=x), x[np.arange(4), label].sum())
    np.testing.assert_array_equal(run("y[n, k<5] = [k == t[n]] * 2", t=label), 2 * np.eye(5)[label])
    np.testing.assert_allclose(run("y[k<5] = sum[n]([k == t[n]])", t=label), np.bincount(label, minlength=5))


def test_several_brackets_with_ids() -> None:
    x, a, b = normal(4, 5), ids(4, 3), ids(5, 3, seed=1)
    both = "y[n] = sum[i, j]([i == a[n]] * [j == b[n]] * x[i, j])"
    np.testing.assert_array_equal(run(both, a=a, b=b, x=x), x[a, b])
    same = "y[n] = sum[i<4]([i == a[n]] * [i == b[n]] * 2)"
    np.testing.assert_array_equal(run(same, a=a, b=a), 2 * np.ones(3))
    pairs = "y[i<4, j<5] = sum[n]([i == a[n]] * [j == b[n]])"
    expected = np.zeros((4, 5))
    np.add.at(expected, (a, b), 1)
    np.testing.assert_array_equal(run(pairs, a=a, b=b), expected)


def test_saved_positions_of_a_pooling_route_its_gradient() -> None:
    x, d = normal(2, 6), normal(2, 3)
    g = run(
        """
        a[n, i<3] = argmax[p<2](x[n, 2*i + p])
        g[n, i<3, p<2] = d[n, i] * [p == a[n, i]]
        y[n, 2*i + p] = g[n, i, p]
        """,
        x=x, d=d,
    )
    expected = np.zeros((2, 6))
    for n, i in product(range(2), range(3)):
        expected[n, 2 * i + int(np.argmax(x[n, 2 * i : 2 * i + 2]))] = d[n, i]
    np.testing.assert_array_equal(g, expected)


def test_ids_in_a_padded_read_match_nothing_outside() -> None:
    a = ids(2, 3)
    g = run("g[i<5, p<2] = [p == pad(a, -1)[i - 1]] * 1", a=a)
    np.testing.assert_array_equal(g, np.pad(np.eye(2)[a], ((1, 1), (0, 0))))


def test_columns_of_one_tensor_number_tables_of_different_sizes() -> None:
    columns, A, B = np.array([[3, 1], [0, 0]]), normal(4), normal(2)
    text = "y[n] = sum[i<4]([i == id[n, 0]]*A[i]) + sum[i<2]([i == id[n, 1]]*B[i]) + [0 == pad(id, -1)[n, 7]]"
    np.testing.assert_allclose(run(text, id=columns, A=A, B=B), A[columns[:, 0]] + B[columns[:, 1]])
    with pytest.raises(DataError, match=r"id\[0, 0\] is 4, outside 0 … 3"):
        run(text, id=np.array([[4, 1]]), A=A, B=B)


def test_an_id_out_of_range_is_named() -> None:
    with pytest.raises(DataError, match=r"id\[1, 2\] is 5, outside 0 … 4"):
        run("e[n, t, d] = sum[v]([v == id[n, t]] * E[v, d])", id=np.array([[0, 1, 2], [3, 4, 5]]), E=normal(5, 2))
    with pytest.raises(DataError, match=r"id\[0\] is -1"):
        run("y[n, v<3] = [v == id[n]] * 1", id=np.array([-1, 2]))


# Targets


def test_a_reshape_is_a_mixed_radix_target() -> None:
    x = normal(2, 3, 4, 5)
    np.testing.assert_array_equal(run("y[n, c*20 + i*5 + j] = x[n, c, i, j]", x=x), x.reshape(2, 60))


def test_pieces_write_into_one_tensor() -> None:
    x = normal(2, 3)
    y = run("y[n, 2*i] = x[n, i]\ny[n, 2*i + 1] = -x[n, i]\nz[n, j] = y[n, j]", x=x)
    np.testing.assert_array_equal(y, np.stack([x, -x], -1).reshape(2, 6))


def test_components_left_undefined_are_an_error() -> None:
    with pytest.raises(EquationError, match="3 of its 6"):
        i, y = Index("i", 3), Tensor("y", (6,))
        execute(Program((Equation(Component(y, (Affine(((i, 2),)),)), ONE),)), {})


def test_concatenation_is_a_sum_of_padded_reads() -> None:
    a, b = normal(2, 3), normal(2, 4)
    np.testing.assert_array_equal(run("y[n, k<7] = pad(a, 0)[n, k] + pad(b, 0)[n, k - 3]", a=a, b=b), np.hstack([a, b]))


# Scalar functions


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_functions_at_extreme_arguments(dtype: Any) -> None:
    x = np.array([[-1000.0, -1, 0, 1, 1000]], dtype)
    one, big = dtype(1), dtype(1000)
    with np.errstate(all="raise", under="ignore"):
        sigmoid = run("y[n, i] = sigmoid(x[n, i])", x=x, dtype=dtype)[0]
        softplus = run("y[n, i] = softplus(x[n, i])", x=x, dtype=dtype)[0]
        tanh = run("y[n, i] = tanh(x[n, i])", x=x, dtype=dtype)[0]
        lse = run("y[n] = logsumexp[i](x[n, i])", x=x, dtype=dtype)
        softmax = run("y[n, i] = exp(x[n, i] - logsumexp[j](x[n, j]))", x=x, dtype=dtype)[0]
        slopes = [slope(f"{f}(x[n, i])", x, dtype)[0] for f in ("sigmoid", "softplus")]
    assert all(v.dtype == dtype for v in (sigmoid, softplus, tanh, lse, softmax, *slopes))
    logistic = 1 / (1 + np.exp(-one))
    np.testing.assert_allclose(sigmoid, [0, 1 - logistic, 0.5, logistic, 1], rtol=1e-6)
    np.testing.assert_allclose(softplus, [0, np.log1p(np.exp(-one)), np.log(2), np.log1p(np.exp(one)), big], rtol=1e-6)
    np.testing.assert_allclose(tanh, np.tanh(x[0]))
    np.testing.assert_array_equal(lse, [1000])
    np.testing.assert_array_equal(softmax, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(slopes[0][[0, 4]], [0, 0])
    np.testing.assert_array_equal(slopes[1][[0, 4]], [0, 1])


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1], [np.inf, 1000]])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(run("y[n] = logsumexp[i](x[n, i])", x=x), [-np.inf, 1, np.inf])


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_function_has_a_value_and_its_laws_are_its_slopes(name: str) -> None:
    assert name in FUNCTIONS
    count = CATALOGUE[name].arity
    tensors_ = [Tensor(n, ()) for n in "xy"[:count]]
    arguments = tuple(Component(t, ()) for t in tensors_)
    at = [0.7, 1.9][:count]
    for number in range(count):
        law = Apply(f"d{number + 1}_{name}", arguments)
        values = {t.name: np.asarray(a) for t, a in zip(tensors_, at, strict=True)}
        h = 1e-6 * np.eye(count)[number]
        slope = (FUNCTIONS[name](*map(np.asarray, at + h)) - FUNCTIONS[name](*map(np.asarray, at - h))) / 2e-6
        np.testing.assert_allclose(evaluate(law, values, []), slope, rtol=1e-6, atol=1e-9)


def test_kinks_follow_their_conventions() -> None:
    x = np.array([-1.0, 0, 1])
    np.testing.assert_array_equal(run("y[i] = step(x[i])", x=x), [0, 0, 1])
    np.testing.assert_array_equal(slope("relu(x[i])", x), [0, 0, 1])
    np.testing.assert_array_equal(slope("max(x[i], 0)", x), [0, 1, 1])
    np.testing.assert_array_equal(slope("min(x[i], 0)", x), [1, 1, 0])
    np.testing.assert_array_equal(slope("abs(x[i])", x), [-1, 0, 1])


def test_powers_and_named_numbers() -> None:
    x = np.abs(normal(4)) + 0.1
    np.testing.assert_allclose(run("y[i] = x[i]**2 + x[i]**(1/2) - x[i]**-1 + x[i]**(-3/2) / 3", x=x),
                               x**2 + np.sqrt(x) - 1 / x + x**-1.5 / 3)
    np.testing.assert_allclose(run("y[i] = pi * x[i] + e", x=x), np.pi * x + np.e)


def test_batch_normalisation() -> None:
    x, g, b = normal(6, 3), normal(3), normal(3, seed=1)
    y = run(
        """
        m[k] = mean[n](x[n, k])
        v[k] = mean[n]((x[n, k] - m[k])**2)
        y[n, k] = g[k] * (x[n, k] - m[k]) * (v[k] + 1/100000)**(-1/2) + b[k]
        """,
        x=x, g=g, b=b,
    )
    np.testing.assert_allclose(y, g * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + b)


def test_float32_stays_float32() -> None:
    x, w = normal(3, 4).astype(np.float32), normal(2, 4).astype(np.float32)
    text = "y[n, k] = pi / 3 * sum[l, r<2](W[k, l] * sigmoid(x[n, l])**(1/2)) + [0 <= k - 1 < 5] + [k == 1] * 2 + e**-1"
    y = run(text, x=x, W=w, dtype=np.float32)
    assert y.dtype == np.float32
    x64, w64 = x.astype(float), w.astype(float)
    expected = np.pi / 3 * 2 * np.sqrt(1 / (1 + np.exp(-x64))) @ w64.T + [0, 3] + 1 / np.e
    np.testing.assert_allclose(y, expected, rtol=1e-5)


# Brackets


def test_a_false_bracket_makes_zero_of_anything() -> None:
    x = np.array([np.nan, 1, 2, np.inf])
    np.testing.assert_array_equal(run("y[i] = [0 <= i - 1 < 2] * x[i]", x=x), [0, 1, 2, 0])
    np.testing.assert_array_equal(run("y = sum[i]([0 <= i - 1 < 2] * x[i])", x=x), 3)
    np.testing.assert_array_equal(run("y[j<4] = sum[i]([i == j] * x[i])", x=x), x)
    w = np.array([[np.inf, 1, 1, 1], [1, np.nan, 1, 1]])
    np.testing.assert_array_equal(
        run("y[k] = sum[i]([0 <= i - 1 < 2] * x[i] * w[k, i])", x=x, w=w), [3, np.nan]
    )


def test_guards_count_the_positions_inside() -> None:
    np.testing.assert_array_equal(run("g[i<7] = sum[p<3]([0 <= 2*i + p - 1 < 13])"), [2, 3, 3, 3, 3, 3, 2])


# Named extents


def program(text: str, **shapes: tuple[int | str, ...]) -> Program:
    known = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Program(tuple(parse_program(text, tensors=known)), inputs=tuple(known.values()))


@pytest.mark.parametrize("samples", [1, 4])
def test_named_extents_take_their_numbers_from_the_arrays(samples: int) -> None:
    text = "u[n, k] = sum[l](W[k, l] * x[n, l])\nloss = mean[n](logsumexp[k](u[n, k]) - u[n, 0]) + N"
    p = program(text, W=(3, 2), x=("N", 2))
    w, x = normal(3, 2), normal(samples, 2)
    u = x @ w.T
    result = execute(p, {"W": w, "x": x})
    np.testing.assert_allclose(result["u"], u)
    np.testing.assert_allclose(result["loss"], (np.log(np.exp(u).sum(1)) - u[:, 0]).mean() + samples)


def test_shapes_that_do_not_fit_are_named() -> None:
    p = program("y[n] = x[n, 0] + z[n]", x=("N", 3), z=("N",))
    with pytest.raises(ShapeError, match=r"x has shape \(N, 3\) = \(4, 3\), but the array given has shape \(4, 2\)"):
        execute(p, {"x": np.ones((4, 2)), "z": np.ones(4)})
    with pytest.raises(ShapeError, match=r"z has shape \(N,\) = \(4,\), but the array given has shape \(5,\)"):
        execute(p, {"x": np.ones((4, 3)), "z": np.ones(5)})
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        execute(p, {"x": np.ones(4), "z": np.ones(4)})
    with pytest.raises(DataError, match="z has no value"):
        execute(p, {"x": np.ones((4, 3))})
    assert bind_extents(p.given, {"x": np.ones((4, 3)), "z": np.ones(4)}) == {"N": 4}


def test_other_mistakes_are_named() -> None:
    x, i = Tensor("x", (3,)), Index("i", 3)
    outside = Component(x, (Affine(((i, 1),), 1),))
    with pytest.raises(ShapeError, match=r"axis 0 of x is read at 1 … 3, outside its shape \(3,\)"):
        evaluate(outside, {"x": np.ones(3)}, [i])
    with pytest.raises(DataError, match="x has no value"):
        evaluate(Component(x, (Affine.of(i),)), {}, [i])
    m = Index("m", "M")
    with pytest.raises(ShapeError, match="the extent M has no number"):
        evaluate(Component(x, (Affine.of(i),)), {"x": np.ones(3)}, [i, m])
    with pytest.raises(DataError, match="holds integers, not float64"):
        evaluate(Component(Tensor("a", (3,), "integer"), (Affine.of(i),)), {"a": np.ones(3)}, [i])


def test_the_result_is_an_array_of_its_own_in_the_order_of_the_indices() -> None:
    x = np.ones((2, 3))
    i, j, k = Index("i", 2), Index("j", 3), Index("k", 4)
    y = evaluate(Component(Tensor("x", (2, 3)), (Affine.of(i), Affine.of(j))), {"x": x}, [k, j, i])
    assert y.shape == (4, 3, 2)
    y[...] = 0
    assert x.all()


def test_deep_expressions_do_not_exhaust_the_stack() -> None:
    node: Any = Component(Tensor("x", ()), ())
    for _ in range(3000):
        node = Apply("tanh", (node,))
    assert evaluate(node, {"x": np.asarray(0.5)}, []) > 0


def test_brackets_alone_are_counted() -> None:
    a = np.array([[0, 1, 1], [2, 2, 0]])
    counted = run("y[n] = sum[i<2, t](sum[v<2]([v == id[n, t]]))", id=np.minimum(a, 1))
    np.testing.assert_array_equal(counted, [6, 6])


def test_an_id_beyond_a_padded_table_reads_the_padding() -> None:
    d = derive_equation("y[n] = sum[i<4]([i == id[n, 0]]*pad(x, 0)[n, 2*i])")
    ids = np.array([[0], [3], [1]])
    x = normal(3, 3)
    found = execute(d.joint, {"id": ids, "x": x, "δ(y)": np.ones(3)})
    np.testing.assert_allclose(found["y"], [x[0, 0], 0, x[2, 2]])
    np.testing.assert_array_equal(found["δ(x)"], [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
