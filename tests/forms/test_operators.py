"""Every operator of the table means what NumPy does under its name, has the shape that it says, and refuses others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.errors import ShapeError
from chainrule.forms import OPERATORS, Form, operation, shape, whole
from chainrule.forms.nodes import ONE, Fill, Length, scaled, seen
from chainrule.forms.operators import template
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Affine
from tests.forms.values import Array, value

RNG = np.random.default_rng(0)
VALUES = {
    "A": RNG.uniform(0.5, 2, (3, 4)), "B": RNG.uniform(0.5, 2, (4, 2)), "C": RNG.uniform(0.5, 2, (3, 4)),
    "v": RNG.uniform(0.5, 2, 3), "s": np.asarray(1.5), "t": RNG.integers(0, 5, 3), "n": np.asarray(3),
    "x": RNG.uniform(0.5, 2, (7, 6)), "k": RNG.uniform(0.5, 2, (3, 2)), "e": RNG.uniform(0.5, 2, (3, 2)),
    "m": RNG.integers(0, 6, (3, 2)),
}
INTEGER = {"t", "n", "m"}


def of(name: str) -> Form:
    return whole(Tensor(name, VALUES[name].shape, "integer" if name in INTEGER else "real"))


A, B, C, v, s, t, n, x, k, e, m = map(of, VALUES)
a, b, c, w, y, z, d = (np.asarray(VALUES[name], dtype=float) for name in ("A", "B", "C", "v", "x", "k", "e"))


def softmax(u: Array, axis: int) -> Array:
    return np.exp(u) / np.exp(u).sum(axis=axis, keepdims=True)


def padded(u: Array, before: tuple[int, int], after: tuple[int, int], fill: float) -> Array:
    amounts = list(zip(before, after, strict=True))
    grown = np.pad(u, [(max(p, 0), max(q, 0)) for p, q in amounts], constant_values=fill)
    return grown[tuple(slice(max(-p, 0), size - max(-q, 0)) for size, (p, q) in zip(grown.shape, amounts, strict=True))]


def up(u: Array, factors: tuple[int, int]) -> Array:
    result = np.zeros([f * (size - 1) + 1 for f, size in zip(factors, u.shape, strict=True)])
    result[:: factors[0], :: factors[1]] = u
    return result


def correlate(large: Array, kernel: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(large, kernel.shape)
    return np.einsum("ijpq,pq->ij", windows, kernel)


def windows(u: Array, window: tuple[int, int], holes: tuple[int, int]) -> Array:
    reach = tuple(h * (p - 1) + 1 for h, p in zip(holes, window, strict=True))
    cells = np.lib.stride_tricks.sliding_window_view(u, reach)[:, :, :: holes[0], :: holes[1]]
    return cells.reshape(*cells.shape[:2], -1)


def unpooled() -> Array:
    """Windows of 3×2 with steps 2 and 3, holes of 2 in the first axis, one cell cut off at the top."""
    result = np.zeros((8, 5))
    for place in np.ndindex(3, 2):
        p, q = divmod(int(VALUES["m"][place]), 2)
        cell = (2 * place[0] + 2 * p - 1, 3 * place[1] + q)
        if cell[0] >= 0:
            result[cell] += d[place]
    return result


MEANINGS: dict[str, tuple[Form, Array]] = {
    "transpose": (operation("transpose", A), a.T),
    "matmul": (operation("matmul", A, B), a @ b),
    "diag": (operation("diag", v), np.diag(w)),
    "onehot_rows": (operation("onehot_rows", t, extent=5), np.eye(5)[np.asarray(VALUES["t"], dtype=int)]),
    "onehot": (operation("onehot", n, extent=5), np.eye(5)[3][:, None]),
    "softmax_rows": (operation("softmax_rows", A), softmax(a, 1)),
    "softmax": (operation("softmax", A), softmax(a, 0)),
    "logsumexp_rows": (operation("logsumexp_rows", A), np.log(np.exp(a).sum(1, keepdims=True))),
    "logsumexp": (operation("logsumexp", A), np.log(np.exp(a).sum(0, keepdims=True))),
    "max_rows": (operation("max_rows", A), a.max(1, keepdims=True)),
    "max": (operation("max", A), a.max(0, keepdims=True)),
    "argmax_rows": (operation("argmax_rows", A), a.argmax(1, keepdims=True)),
    "argmax": (operation("argmax", A), a.argmax(0, keepdims=True)),
    "logsumexp_all": (operation("logsumexp_all", A), np.log(np.exp(a).sum(keepdims=True))),
    "max_all": (operation("max_all", A), a.max(keepdims=True)),
    "argmax_all": (operation("argmax_all", A), np.asarray([[a.argmax()]])),
    "hadamard": (operation("hadamard", A, C, A), a * c * a),
    "plus": (operation("plus", A, C, A), a + c + a),
    "scale": (scaled(ONE / 2, [s, s], A), a / 2 * 1.5**2),
    "power": (operation("power", A, exponent=ONE / -2), a**-0.5),
    "apply": (operation("apply", A, function="tanh"), np.tanh(a)),
    "apply2": (operation("apply2", A, C, function="max"), np.maximum(a, c)),
    "total": (operation("total", x), np.asarray(y.sum())),
    "pad": (operation("pad", x, before=(1, 0), after=(2, 1), value=(ONE, ONE)), padded(y, (1, 0), (2, 1), 1)),
    "up": (operation("up", k, factor=(2, 3)), up(z, (2, 3))),
    "down": (operation("down", x, factor=(2, 3)), y[::2, ::3]),
    "correlate": (operation("correlate", x, k), correlate(y, z)),
    "convolve": (operation("convolve", x, k), correlate(padded(y, (2, 1), (2, 1), 0), z[::-1, ::-1])),
    "maxpool": (operation("maxpool", x, window=(3, 2), hole=(2, 1)), windows(y, (3, 2), (2, 1)).max(2)),
    "argmaxpool": (operation("argmaxpool", x, window=(3, 2), hole=(2, 1)), windows(y, (3, 2), (2, 1)).argmax(2)),
    "unpool": (
        operation("unpool", e, m, window=(3, 2), stride=(2, 3), hole=(2, 1), before=(1, 0), size=(8, 5)), unpooled()
    ),
}


def test_every_operator_is_compared() -> None:
    assert set(MEANINGS) == set(OPERATORS)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_means_what_numpy_does(name: str) -> None:
    form, expected = MEANINGS[name]
    assert tuple(length.known for length in shape(form)) == expected.shape
    assert np.allclose(value(form, VALUES), expected, rtol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_meaning_is_an_expression_of_our_language(name: str) -> None:
    form, _ = MEANINGS[name]
    assert not isinstance(form, Fill)
    operator = OPERATORS[name]
    given = {key: own[0] if operator.kind == "plane" else own for key, own in getattr(form, "parameters", ())}
    assert {tensor.name for tensor in template(operator.meaning.format(**given)).tensors} <= {"A", "B"}


def test_a_corrupted_meaning_is_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the comparison: a convolution whose kernel is not turned round, a product transposed."""
    from dataclasses import replace

    for name, meaning in (("convolve", "sum[p](pad(A, 0)[i + p]*B[p])"), ("correlate", "sum[p](A[i + p]*B[p]**2)")):
        monkeypatch.setitem(OPERATORS, name, replace(OPERATORS[name], meaning=meaning))
        form, expected = MEANINGS[name]
        assert not np.allclose(value(form, VALUES), expected)


def test_cropping_and_composite_operands() -> None:
    cropped = operation("pad", operation("convolve", x, k), before=(-2, -1), after=(-2, -1), value=(0, 0))
    full = correlate(padded(y, (2, 1), (2, 1), 0), z[::-1, ::-1])
    assert np.allclose(value(cropped, VALUES), full[2:-2, 1:-1])
    grown = operation("pad", operation("hadamard", k, e), before=(1, 1), after=(1, 1), value=(0, 0))
    assert np.allclose(value(grown, VALUES), padded(z * d, (1, 1), (1, 1), 0))


def test_a_view_runs_axes_together_and_parts_them() -> None:
    from chainrule.forms.nodes import View

    flat = View(Tensor("A", (3, 4)), (12,), ((0, 1),), (None,))
    weight = whole(Tensor("W", (2, 12)))
    values = {**VALUES, "W": RNG.standard_normal((2, 12))}
    assert np.allclose(value(operation("matmul", weight, flat), values)[:, 0], values["W"] @ a.ravel())
    parted = View(Tensor("u", (6,)), (2, 3), ((0,), (0,)), (None, None))
    values = {"u": np.arange(6.0)}
    assert np.allclose(value(operation("transpose", parted), values), values["u"].reshape(2, 3).T)
    row = seen(Tensor("A", (3, 4)), (Affine((), 2), None))
    assert np.allclose(value(row, VALUES), a[2])


@pytest.mark.parametrize(
    "build",
    [
        lambda: operation("matmul", A, C),
        lambda: operation("plus", A, B),
        lambda: operation("diag", A),
        lambda: operation("scale", A, v),
        lambda: operation("correlate", x, v),
    ],
)
def test_operands_that_do_not_fit_are_refused(build: Callable[[], Form]) -> None:
    with pytest.raises(ShapeError):
        shape(build())


def test_lengths_of_named_extents_are_known_once_they_cancel() -> None:
    open_ = Length.of("K")
    assert open_.known is None and (open_ + open_ * -1 + 3).known == 3
    assert (open_ * 2 + 1).extent({"K": 4}) == 9 and open_.extent({}) == "K"
    assert str(open_ * 2 + 1) == "2*K + 1" and str(open_) == "K"
