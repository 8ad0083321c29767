"""The exact semantics, held against slow loops over Python integers."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chainrule.errors import DerivationError, EquationError, ShapeError
from chainrule.ir import walk
from chainrule.ir.expr import Apply, Component, Constant, Expr, Guard, Multiply, Reduce, Tensor, constant
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation, parse_program
from chainrule.ir.program import Equation, Program
from chainrule.semantics import field, prime
from chainrule.semantics.evaluator import Evaluator
from chainrule.semantics.field import evaluate, execute, random_values
from chainrule.semantics.prime import PRIME, element, elements

Arrays = dict[str, NDArray[Any]]
SEED = 7
EXTREMES = [0, 1, 2, PRIME - 1, PRIME - 2, 2**32 - 1, 2**32, 2**60]
numbers = st.one_of(st.integers(0, PRIME - 1), st.sampled_from(EXTREMES))


def words(*values: int) -> NDArray[np.uint64]:
    return np.array(values, np.uint64)


def ints(a: NDArray[Any]) -> NDArray[Any]:
    return a.astype(object)


def tensor(name: str, *shape: int, dtype: Any = "real") -> Tensor:
    return Tensor(name, shape, dtype)


def known(*tensors: Tensor) -> dict[str, Tensor]:
    return {t.name: t for t in tensors}


def point(*tensors: Tensor, ranges: dict[str, int] | None = None, seed: int = SEED) -> Arrays:
    return random_values(tensors, {}, seed, ranges)


def tangent(
    expr: Expr, values: Arrays, indices: tuple[Index, ...], slopes: Arrays, *, extents: dict[str, int], seed: int
) -> NDArray[Any]:
    arithmetic = field.Field(extents, seed)
    evaluator = Evaluator(arithmetic, values)
    found = evaluator.tangent(expr, evaluator.direction(slopes))
    return arithmetic.over(evaluator.value(constant(0)) if found is None else found, indices)


def run(text: str, *tensors: Tensor, values: Arrays | None = None, seed: int = SEED) -> NDArray[Any]:
    equation = parse_equation(text, tensors=known(*tensors))
    return evaluate(equation.value, values or point(*tensors), equation.indices, extents={}, seed=seed)


def dual(text: str, *tensors: Tensor) -> tuple[NDArray[Any], NDArray[Any], Arrays, Arrays]:
    """Value and tangent, the point and the direction."""
    equation = parse_equation(text, tensors=known(*tensors))
    at, along = point(*tensors), point(*tensors, seed=SEED + 1)
    value = evaluate(equation.value, at, equation.indices, extents={}, seed=SEED)
    slope = tangent(equation.value, at, equation.indices, along, extents={}, seed=SEED)
    return value, slope, at, along


# Arithmetic.


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_arithmetic_is_that_of_integers_mod_p(pairs: list[tuple[int, int]]) -> None:
    a, b = words(*(x for x, _ in pairs)), words(*(y for _, y in pairs))
    assert prime.add(a, b).tolist() == [(x + y) % PRIME for x, y in pairs]
    for times in (1, 50):  # few are multiplied otherwise than many
        found = prime.multiply(np.tile(a, times), np.tile(b, times))
        assert found.tolist() == times * [x * y % PRIME for x, y in pairs]


@given(numbers, st.integers(-20, 20))
def test_powers_and_inverses(x: int, n: int) -> None:
    expected = pow(x, n, PRIME) if x or n >= 0 else 0
    assert prime.power(words(x), n).tolist() == [expected]


@given(st.fractions())
def test_a_fraction_is_its_quotient(q: Fraction) -> None:
    assert int(element(q)) * q.denominator % PRIME == q.numerator % PRIME


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 2**32))
def test_matrix_products_are_exact(m: int, k: int, n: int, large: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    low = PRIME - 3 if large else 0
    a = generator.integers(low, PRIME, (2, m, k), dtype=np.uint64)
    b = generator.integers(low, PRIME, (2, k, n), dtype=np.uint64)
    assert (ints(prime.matmul(a, b)) == (ints(a) @ ints(b)) % PRIME).all()


@pytest.mark.parametrize("k", [681, 682, 683, 1365, 3000])
@pytest.mark.parametrize("entry", [PRIME - 1, 2**60, 2**42 - 1, 2**61 - 2**40])
def test_long_products_of_extreme_entries_are_exact(k: int, entry: int) -> None:
    a = np.full((1, k), entry, np.uint64)
    assert int(prime.matmul(a, a.T)[0, 0]) == k * entry * entry % PRIME
    assert prime.dot(a, a) == k * entry * entry % PRIME
    assert int(prime.total(a, (1,))[0]) == k * entry % PRIME


def test_elements_reduce_integers_and_refuse_floats() -> None:
    assert elements([-1, PRIME]).tolist() == [PRIME - 1, 0]
    with pytest.raises(TypeError, match="float64"):
        elements([0.5])
    with pytest.raises(ShapeError, match="inner product"):
        prime.dot(words(1), words(1, 2))


# Equations against loops.


def test_dense() -> None:
    W, x, b = tensor("W", 4, 5), tensor("x", 3, 5), tensor("b", 4)
    v = point(W, x, b)
    got = run("u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]", W, x, b)
    assert (ints(got) == (ints(v["x"]) @ ints(v["W"]).T + ints(v["b"])) % PRIME).all()


def test_convolution_with_stride_and_padding() -> None:
    W, x = tensor("W", 2, 3, 3, 3), tensor("x", 2, 3, 6, 6)
    v = point(W, x)
    got = run(
        "y[n, o, i<3, j<3] = sum[c, p, q](W[o, c, p, q] * pad(x, 5)[n, c, 2*i + p - 1, 2*j + q - 1])", W, x
    )
    for n, o, i, j in np.ndindex(got.shape):
        expected = 0
        for c, p, q in itertools.product(range(3), repeat=3):
            r, s = 2 * i + p - 1, 2 * j + q - 1
            read = int(v["x"][n, c, r, s]) if 0 <= r < 6 and 0 <= s < 6 else 5
            expected += int(v["W"][o, c, p, q]) * read
        assert int(got[n, o, i, j]) == expected % PRIME


def test_max_pooling_selects_what_argmax_says_and_never_the_padding() -> None:
    x = tensor("x", 3, 7)
    v = point(x)
    position = run("a[n, i<4] = argmax[p<3](pad(x, -inf)[n, 2*i + p - 1])", x)
    value = run("y[n, i<4] = max[p<3](pad(x, -inf)[n, 2*i + p - 1])", x)
    assert position.dtype == np.int64
    assert len(set(position.ravel().tolist())) == 3
    for n, i in np.ndindex(value.shape):
        read = 2 * i + int(position[n, i]) - 1
        assert 0 <= read < 7 and value[n, i] == v["x"][n, read]
    assert (position == run("a[n, i<4] = argmax[p<3](pad(x, -inf)[n, 2*i + p - 1])", x)).all()


def test_the_first_of_equal_entries_is_selected_with_the_last_index_fastest() -> None:
    x = tensor("x", 2, 3)
    assert run("a = argmax[i, j](x[i, j])", x, values={"x": np.full((2, 3), 9, np.uint64)}) == 0
    v = point(x)
    place = int(run("a = argmax[i, j](x[i, j])", x))
    assert run("m = max[i, j](x[i, j])", x) == v["x"].ravel()[place] == run("m = max[j, i](x[i, j])", x)


def test_a_window_of_padding_alone_is_refused() -> None:
    x = tensor("x", 4)
    with pytest.raises(ShapeError, match="padding alone"):
        run("y[i<4] = max[p<2](pad(x, -inf)[2*i + p])", x)
    hidden = "y[i<4] = max[p<2](pad(x, -inf)[2*i + p])*[0 <= i < 2]"
    assert (run(hidden, x)[2:] == 0).all() and run(hidden, x)[:2].all()
    i = Index("i", 4)
    with pytest.raises(EquationError, match="-inf outside a maximum"):
        evaluate(Component(x, (Affine.of(i),), "-inf"), point(x), (i,), extents={}, seed=SEED)


def test_embedding_is_a_gather() -> None:
    ids, E = tensor("id", 3, 4, dtype="integer"), tensor("E", 6, 5)
    v = point(ids, E, ranges={"id": 6})
    got = run("e[n, t, d] = sum[v]([v == id[n, t]] * E[v, d])", ids, E, values=v)
    assert (got == v["E"][v["id"]]).all()


def test_a_sum_over_an_index_that_the_body_lacks_counts() -> None:
    x = tensor("x", 3)
    assert (ints(run("y[i] = sum[k<5](x[i])", x)) == ints(point(x)["x"]) * 5 % PRIME).all()


def test_products_of_many_factors_are_contracted() -> None:
    a, b, c = tensor("a", 3, 4), tensor("b", 4, 5, 2), tensor("c", 5, 3, 2)
    v = point(a, b, c)
    got = run("y[n, t] = sum[k, l](2 * a[n, k] * b[k, l, t] * c[l, n, t] * a[n, k])", a, b, c)
    for n, t in np.ndindex(3, 2):
        expected = sum(
            2 * int(v["a"][n, k]) ** 2 * int(v["b"][k, m, t]) * int(v["c"][m, n, t]) for k, m in np.ndindex(4, 5)
        )
        assert int(got[n, t]) == expected % PRIME


def program(text: str, *tensors: Tensor) -> Program:
    return Program(tuple(parse_program(text, tensors=known(*tensors))), inputs=tensors)


def test_mixed_radix_targets_and_pieces() -> None:
    x = tensor("x", 2, 3, 4)
    y, z = tensor("y", 2, 12), tensor("z", 24)
    i, j, k = Index("i", 2), Index("j", 3), Index("k", 4)
    first, second, third = map(Affine.of, (i, j, k))
    flat = Equation(Component(y, (first, second * 4 + third)), Component(x, (first, second, third)))
    m = Index("m", 12)
    pieces = [
        Equation(Component(z, (Affine.of(m) * 2 + r,)), Component(y, (Affine((), r), Affine.of(m)))) for r in (0, 1)
    ]
    v, t = point(x), point(x, seed=99)
    out = execute(Program((flat, *pieces), inputs=(x,)), v, seed=SEED, tangents=t)
    for part, a in ((0, v["x"]), (1, t["x"])):
        assert (out["y"][part] == a.reshape(2, 12)).all()
        assert (out["z"][part] == a.reshape(2, 12).T.ravel()).all()
    with pytest.raises(EquationError, match="no equation binds"):
        execute(Program((flat, pieces[0]), inputs=(x,)), v, seed=SEED)
    with pytest.raises(EquationError, match="bound twice"):
        execute(Program((flat, pieces[0], pieces[0]), inputs=(x,)), v, seed=SEED)


def test_named_extents_come_from_the_arrays() -> None:
    x = Tensor("x", ("N", 3))
    n, k = Index("n", "N"), Index("k", 3)
    mean = parse_equation("m[k] = mean[n](x[n, k])", tensors=known(x))
    v = random_values([x], {"N": 4}, SEED)
    out = execute(Program((mean,), inputs=(x,)), v, seed=SEED)["m"][0]
    assert (ints(out) * 4 % PRIME == ints(v["x"]).sum(0) % PRIME).all()
    with pytest.raises(ShapeError, match="named extent"):
        evaluate(Component(x, (Affine.of(n), Affine.of(k))), v, (n, k), extents={}, seed=SEED)


# Brackets.


def test_a_false_bracket_hides_a_read_outside() -> None:
    x, w = tensor("x", 4), tensor("w", 3)
    i, p = Index("i", 4), Index("p", 3)
    s = Affine.of(i) + Affine.of(p) - 1
    read, weight = Component(x, (s,)), Component(w, (Affine.of(p),))
    guarded = Reduce("sum", (p,), Multiply((weight, Guard(s, 4), read)))
    v = point(x, w)
    got = evaluate(guarded, v, (i,), extents={}, seed=SEED)
    assert (got == run("y[i<4] = sum[p](w[p] * pad(x, 0)[i + p - 1])", x, w)).all()
    nested = Multiply((Guard(s, 4), Apply("exp", (read,))))
    both = evaluate(nested, v, (i, p), extents={}, seed=SEED)
    assert both[0, 0] == 0 and both[0, 1] != 0
    with pytest.raises(ShapeError, match="outside a tensor"):
        evaluate(Reduce("sum", (p,), Multiply((weight, read))), v, (i,), extents={}, seed=SEED)


# Uninterpreted functions.


@pytest.mark.parametrize("text", ["sigmoid(x[i])", "tanh(x[i])", "step(x[i])", "x[i]**(1/2)", "logsumexp[k](y[i, k])",
                                  "pi * x[i]", "exp(x[i])", "log(x[i])", "softplus(x[i])"])
def test_values_depend_on_the_argument_and_the_seed_alone(text: str) -> None:
    x, y = tensor("x", 3), tensor("y", 3, 4)
    v = point(x, y)
    v["x"][2], v["y"][2] = v["x"][0], v["y"][0]
    once = run(f"z[i<3] = {text}", x, y, values=v)
    assert (once == run(f"z[i<3] = {text}", x, y, values=v)).all()
    assert once[0] == once[2] != once[1]
    assert (once != run(f"z[i<3] = {text}", x, y, values=v, seed=SEED + 1)).all()


def test_renaming_bound_indices_changes_nothing() -> None:
    y = tensor("y", 3, 4)
    one, other = "z[i] = logsumexp[k](y[i, k]) + max[k](y[i, k])", "z[i] = logsumexp[m](y[i, m]) + max[j](y[i, j])"
    assert (run(one, y) == run(other, y)).all()


@pytest.mark.parametrize(
    "left, right",
    [
        ("x[i]**(3/2)", "x[i] * x[i]**(1/2)"),
        ("x[i]**(-1/2)", "x[i]**(1/2) / x[i]"),
        ("relu(x[i])", "x[i] * step(x[i])"),
        ("max(0, x[i])", "relu(x[i])"),
        ("abs(x[i])", "x[i] * sign(x[i])"),
        ("min(x[i], y[i])", "x[i] + (y[i] - x[i]) * step(x[i] - y[i])"),
        ("x[i]**-2", "1 / (x[i] * x[i])"),
        ("max(x[i], y[i])", "x[i] + (y[i] - x[i]) * step(y[i] - x[i])"),
    ],
)
def test_laws_of_powers_and_kinks(left: str, right: str) -> None:
    x, y = tensor("x", 3), tensor("y", 3)
    assert (run(f"z[i] = {left}", x, y) == run(f"z[i] = {right}", x, y)).all()


# Tangents.


@pytest.mark.parametrize(
    "text, law",
    [
        ("x[i] * y[i]", "dx[i] * y[i] + x[i] * dy[i]"),
        ("x[i] + 3 * y[i]", "dx[i] + 3 * dy[i]"),
        ("x[i]**(3/2)", "3/2 * x[i]**(1/2) * dx[i]"),
        ("x[i]**-1", "-x[i]**-2 * dx[i]"),
        ("sigmoid(x[i])", "sigmoid(x[i]) * (1 - sigmoid(x[i])) * dx[i]"),
        ("tanh(x[i])", "(1 - tanh(x[i])**2) * dx[i]"),
        ("exp(x[i] * y[i])", "exp(x[i] * y[i]) * (dx[i] * y[i] + x[i] * dy[i])"),
        ("log(x[i])", "dx[i] / x[i]"),
        ("softplus(x[i])", "sigmoid(x[i]) * dx[i]"),
        ("relu(x[i])", "step(x[i]) * dx[i]"),
        ("step(x[i])", "0 * dx[i]"),
        ("sign(x[i])", "0 * dx[i]"),
        ("abs(x[i])", "sign(x[i]) * dx[i]"),
        ("min(x[i], y[i])", "dx[i] + step(x[i] - y[i]) * (dy[i] - dx[i])"),
        ("max(x[i], y[i])", "dx[i] + step(y[i] - x[i]) * (dy[i] - dx[i])"),
        ("logsumexp[k](w[i, k])", "sum[k](exp(w[i, k] - logsumexp[m](w[i, m])) * dw[i, k])"),
        ("max[k](w[i, k])", "sum[k]([k == a[i]] * dw[i, k])"),
        ("sum[k](w[i, k] * w[i, k] * x[i])", "sum[k](2 * w[i, k] * dw[i, k] * x[i] + w[i, k]**2 * dx[i])"),
        ("d1_sigmoid(x[i])", "(1 - 2 * sigmoid(x[i])) * d1_sigmoid(x[i]) * dx[i]"),
        ("sum[k]([k == i] * w[i, k])", "dw[i, i]"),
        ("sum[k<3]([0 <= i + k - 1 < 3] * pad(x, 1)[i + k - 1])", "sum[k<3](pad(dx, 0)[i + k - 1])"),
    ],
)
def test_tangents_obey_the_laws(text: str, law: str) -> None:
    x, y, w = tensor("x", 3), tensor("y", 3), tensor("w", 3, 3)
    _, slope, at, along = dual(f"z[i<3] = {text}", x, y, w)
    more = [Tensor("d" + t.name, t.shape) for t in (x, y, w)] + [tensor("a", 3, dtype="integer")]
    values = {**at, **{"d" + name: a for name, a in along.items()}, "a": run("a[i] = argmax[k](w[i, k])", w, values=at)}
    expected = run(f"z[i<3] = {law}", x, y, w, *more, values=values)
    assert (slope == expected).all()
    assert text.startswith(("step", "sign")) or (slope != 0).all()


def test_the_tangent_of_padded_max_pooling() -> None:
    x = tensor("x", 2, 5)
    value, slope, at, along = dual("y[n, i<3] = max[p<3](pad(x, -inf)[n, 2*i + p - 1])", x)
    for n, i in np.ndindex(value.shape):
        place = at["x"][n].tolist().index(value[n, i])
        assert slope[n, i] == along["x"][n, place]


@pytest.mark.parametrize(
    "text, closed",
    [
        ("D(sum[l](W[k, l] * x[l]), W[m, j]) * x[i]", "[k == m] * x[j] * x[i]"),
        ("D(sum[l](W[k, l] * x[l]), x[j]) * W[k, i]", "W[k, j] * W[k, i]"),
        ("D(sigmoid(x[i]), x[j]) * W[k, i]", "sigmoid(x[i]) * (1 - sigmoid(x[i])) * [i == j] * W[k, i]"),
        ("D(sum[j](W[k, j] * x[j]), x[j]) * x[i]", "W[k, j] * x[i]"),
        ("D(x[j] * W[k, i], x[j])", "W[k, i]"),
        ("D(pad(x, 1)[2*k + i - 1], x[j])", "[2*k + i - 1 == j] * 1"),
        ("D(sum[c](z[c]**2) * x[i], x[j]) * W[k, i]",
         "(sum[c](2 * z[c] * W[c, j]) * x[i] + sum[c](z[c]**2) * [i == j]) * W[k, i]"),
        ("D(pad(z, 1)[k + i - 1], x[j])", "sum[c<4]([c == k + i - 1] * W[c, j])"),
    ],
)
def test_derivatives_inside_expressions(text: str, closed: str) -> None:
    W, x, z = tensor("W", 4, 5), tensor("x", 5), tensor("z", 4)
    definition = parse_equation("z[k] = sum[l](W[k, l] * x[l])", tensors=known(W, x))
    v = point(W, x)
    v["z"] = evaluate(definition.value, v, definition.indices, extents={}, seed=SEED)
    results: list[NDArray[Any]] = []
    for side in (text, closed):
        equation = parse_equation(f"y[k<4, i<5, j<5, m<4] = {side}", tensors=known(W, x, z))
        results.append(
            evaluate(equation.value, v, equation.indices, extents={}, seed=SEED, definitions={"z": definition})
        )
    assert (results[0] == results[1]).all() and results[0].any()


def test_second_derivatives_are_refused() -> None:
    x = tensor("x", 3)
    with pytest.raises(DerivationError, match="not evaluated"):
        run("y[i, j, k] = D(D(x[i]**3, x[j]), x[k])", x)


# Programs, gradients and negative controls.

TINY = """
    u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]
    z[n, k] = sigmoid(u[n, k])
    a[n] = argmax[k](z[n, k])
    loss = sum[n, k](z[n, k] * t[n, k]) / 3 + sum[n](max[k](z[n, k]))
"""
GRADIENT = """
    d[n, k] = (t[n, k] / 3 + [k == a[n]] * 1) * z[n, k] * (1 - z[n, k])
    g[k, l] = sum[n](d[n, k] * x[n, l])
"""
WRONG = [
    ("/ 3", "/ 3.0000001"),
    ("z[n, k] * (1 - z[n, k])\n    g", "z[n, k] * (1 - z[n, k]) * (1 + 1e-7)\n    g"),
    (" + [k == a[n]] * 1", ""),
    ("g[k, l] = sum[n](d[n, k] * x[n, l])", "g[k, l<4] = sum[n](d[n, k] * pad(x, 0)[n, l + 1])"),
    ("(1 - z[n, k])", "(1 + z[n, k])"),
    ("d[n, k] * x", "d[n, k] * d[n, k] * x"),
]


def gap(gradient: str) -> int:
    """⟨g, direction⟩ minus the tangent of the loss."""
    x, W, b, t = tensor("x", 3, 4), tensor("W", 5, 4), tensor("b", 5), tensor("t", 3, 5)
    v, direction = point(x, W, b, t), point(W, seed=3)
    forward = program(TINY, x, W, b, t)
    out = execute(forward, v, seed=SEED, tangents=direction)
    assert out["a"][0].dtype == np.int64 and not out["a"][1].any()
    assert (out["u"][1] == prime.matmul(v["x"], direction["W"].T)).all()
    backward = program(gradient, x, t, tensor("z", 3, 5), tensor("a", 3, dtype="integer"))
    g = execute(backward, {name: value for name, (value, _) in out.items()}, seed=SEED)["g"][0]
    return (prime.dot(g, direction["W"]) - int(out["loss"][1])) % PRIME


def test_the_gradient_agrees_with_the_dual_forward_pass() -> None:
    assert gap(GRADIENT) == 0


@pytest.mark.parametrize("old, new", WRONG)
def test_a_wrong_gradient_is_refused(old: str, new: str) -> None:
    assert old in GRADIENT
    wrong = GRADIENT.replace(old, new)
    assert gap(wrong) != 0


def test_a_factor_of_one_plus_a_tiny_fraction_is_seen() -> None:
    x = tensor("x", 3)
    i = Index("i", 3)
    read: Expr = Component(x, (Affine.of(i),))
    for factor in (Fraction(10**7 + 1, 10**7), Fraction(2**200 + 1, 2**200)):
        off = evaluate(Multiply((Constant(factor), read)), point(x), (i,), extents={}, seed=SEED)
        assert (off != point(x)["x"]).all()


def test_a_shifted_subscript_in_a_convolution_gradient_is_refused() -> None:
    x, w, d = tensor("x", 8), tensor("w", 3), tensor("d", 8)
    v, along = point(x, w, d), point(x, seed=5)
    loss = parse_equation("L = sum[i<8, p](d[i] * w[p] * pad(x, 0)[i + p - 1])", tensors=known(x, w, d))
    slope = tangent(loss.value, v, (), along, extents={}, seed=SEED)
    right = run("g[j<8] = sum[p](w[p] * pad(d, 0)[j - p + 1])", x, w, d, values=v)
    wrong = run("g[j<8] = sum[p](w[p] * pad(d, 0)[j + p - 1])", x, w, d, values=v)
    assert prime.dot(right, along["x"]) == int(slope) != prime.dot(wrong, along["x"])


# Mistakes and limits.


def test_mistakes_name_the_thing() -> None:
    x = tensor("x", 3)
    i = Index("i", 3)
    read = Component(x, (Affine.of(i),))
    with pytest.raises(ShapeError, match=r"shape \(4,\)"):
        evaluate(read, {"x": words(1, 2, 3, 4)}, (i,), extents={}, seed=SEED)
    with pytest.raises(EquationError, match="without a value"):
        evaluate(read, {}, (i,), extents={}, seed=SEED)
    with pytest.raises(EquationError, match="lacks"):
        evaluate(read, point(x), (), extents={}, seed=SEED)
    with pytest.raises(EquationError, match="given tensor"):
        execute(Program((), inputs=(x,)), {}, seed=SEED)
    with pytest.raises(ShapeError, match="without a range"):
        point(tensor("id", 3, dtype="integer"))


def test_depth_is_no_limit() -> None:
    x = tensor("x", 2)
    i = Index("i", 2)
    node: Expr = Component(x, (Affine.of(i),))
    for _ in range(1200):
        node = Apply("relu", (Multiply((constant(2), node)),))
    value = evaluate(node, point(x), (i,), extents={}, seed=SEED)
    slope = tangent(node, point(x), (i,), point(x), extents={}, seed=SEED)
    assert (value == slope).all() and len(list(walk.nodes(node))) == 2402


def test_random_values_depend_on_the_name_and_the_seed() -> None:
    x, y = tensor("x", 50), tensor("y", 50)
    both, alone = point(x, y), point(y)
    assert (both["y"] == alone["y"]).all() and (both["x"] != both["y"]).all()
    assert (both["x"] != point(x, seed=SEED + 1)["x"]).all() and both["x"].max() < PRIME
    ids = point(tensor("id", 200, dtype="integer"), ranges={"id": 5})["id"]
    assert set(ids.tolist()) == set(range(5))


def test_a_padded_read_at_constant_places_outside_is_the_padding() -> None:
    b = tensor("b", 2, 2)
    assert run("y = pad(b, 3)[2, 0]", b) == 3
    assert run("y = pad(b, 3)[1, 0]", b) == point(b)["b"][1, 0]


def test_a_defined_tensor_moves_along_its_own_tangent_too() -> None:
    x = tensor("x", 3)
    equations = tuple(parse_program("u[i] = 2*x[i]\ny = sum[i](u[i])", tensors={"x": x}))
    program = Program(equations, inputs=(x,), outputs=(equations[-1].tensor,))
    ones = prime.elements(np.ones(3, np.int64))
    along = {"x": ones, "u": ones}
    assert int(field.execute(program, point(x), seed=SEED, tangents=along)["y"][1]) == 3 * 2 + 3
