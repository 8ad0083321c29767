"""Derived gradients, run by the NumPy executor, against JAX and central differences, over random shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.derive import Derivation, derive_program
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program
from tests.examples import few

Array = NDArray[Any]
Shapes = dict[str, tuple[int | str, ...]]
INTEGERS = {"id"}


@dataclass(frozen=True)
class Peer:
    """Equations, the shapes of what they read, and the same function in JAX over the arrays by name."""

    text: str
    shapes: Shapes
    function: Callable[[dict[str, Any]], Any]
    positive: bool = False


Draw = Callable[[Callable[[int, int], int]], Peer]
PEERS: dict[str, Draw] = {}


def peer(draw: Draw) -> Draw:
    PEERS[draw.__name__] = draw
    return draw


@peer
def dense(size: Callable[[int, int], int]) -> Peer:
    m, n = size(1, 6), size(1, 6)
    text = "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]"
    return Peer(text, {"W": (m, n), "x": ("N", n), "b": (m,)}, lambda a: a["x"] @ a["W"].T + a["b"])


@peer
def activations(size: Callable[[int, int], int]) -> Peer:
    text = "z[n, k] = sigmoid(u[n, k]) + tanh(u[n, k])*relu(u[n, k]) + softplus(u[n, k]) - max(u[n, k], 1/3)"

    def function(a: dict[str, Any]) -> Any:
        u = a["u"]
        return jax.nn.sigmoid(u) + jnp.tanh(u)*jax.nn.relu(u) + jax.nn.softplus(u) - jnp.maximum(u, 1/3)

    return Peer(text, {"u": ("N", size(1, 5))}, function)


@peer
def silu_and_fan_out(size: Callable[[int, int], int]) -> Peer:
    text = "z[n, k] = u[n, k]*sigmoid(u[n, k])\ny[n, k] = z[n, k] + u[n, k] + u[n, k]"
    return Peer(text, {"u": ("N", size(1, 5))}, lambda a: jax.nn.silu(a["u"]) + 2*a["u"])


@peer
def powers_and_logs(size: Callable[[int, int], int]) -> Peer:
    text = "y[n, k] = x[n, k]**3/(w[k] + 1) + log(x[n, k])*x[n, k]**(1/2) - x[n, k]**-2"
    k = size(1, 5)
    return Peer(
        text, {"x": ("N", k), "w": (k,)},
        lambda a: a["x"]**3/(a["w"] + 1) + jnp.log(a["x"])*jnp.sqrt(a["x"]) - a["x"]**-2.0, positive=True,
    )


@peer
def softmax(size: Callable[[int, int], int]) -> Peer:
    text = "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))"
    return Peer(text, {"u": ("N", size(1, 6))}, lambda a: jax.nn.softmax(a["u"], axis=1))


@peer
def softmax_cross_entropy(size: Callable[[int, int], int]) -> Peer:
    text = "loss = mean[n](logsumexp[k](u[n, k]) - sum[k](t[n, k]*u[n, k]))"
    k = size(1, 6)

    def function(a: dict[str, Any]) -> Any:
        return jnp.mean(jax.scipy.special.logsumexp(a["u"], axis=1) - jnp.sum(a["t"]*a["u"], axis=1))

    return Peer(text, {"u": ("N", k), "t": ("N", k)}, function)


@peer
def shared_weight_mse_and_decay(size: Callable[[int, int], int]) -> Peer:
    k = size(1, 4)
    text = (
        "u[n, k] = sum[l](W[k, l]*x[n, l])\nz[n, k] = sigmoid(u[n, k])\nv[n, k] = sum[l](W[k, l]*z[n, l])\n"
        "loss = mean[n](mean[k]((v[n, k] + x[n, k] - t[n, k])**2)) + 1/20*sum[k, l](W[k, l]**2)"
    )

    def function(a: dict[str, Any]) -> Any:
        v = jax.nn.sigmoid(a["x"] @ a["W"].T) @ a["W"].T
        return jnp.mean((v + a["x"] - a["t"])**2) + jnp.sum(a["W"]**2)/20

    return Peer(text, {"W": (k, k), "x": ("N", k), "t": ("N", k)}, function)


def convolve(x: Any, w: Any, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
    pads = [(p, p) for p in padding]
    return lax.conv_general_dilated(x, w, stride, pads, rhs_dilation=dilation)


@peer
def conv2d(size: Callable[[int, int], int]) -> Peer:
    c, o, p, q, s, t = size(1, 3), size(1, 3), size(1, 3), size(1, 3), size(1, 3), size(1, 3)
    a, b, d = size(0, 2), size(0, 2), size(1, 2)
    height, width = size(5, 8), size(5, 8)
    rows = (height + 2*a - d*(p - 1) - 1)//s + 1
    columns = (width + 2*b - (q - 1) - 1)//t + 1
    text = (
        f"y[n, o, i<{rows}, j<{columns}] = "
        f"sum[c, p, q](W[o, c, p, q]*pad(x, 0)[n, c, {s}*i + {d}*p - {a}, {t}*j + q - {b}]) + b[o]"
    )

    def function(v: dict[str, Any]) -> Any:
        return convolve(v["x"], v["W"], (s, t), (a, b), (d, 1)) + v["b"][None, :, None, None]

    return Peer(text, {"x": ("N", c, height, width), "W": (o, c, p, q), "b": (o,)}, function)


@peer
def transposed_conv1d(size: Callable[[int, int], int]) -> Peer:
    c, o, p, s, width = size(1, 2), size(1, 2), size(1, 3), size(1, 3), size(3, 5)
    out = s*(width - 1) + p
    text = f"y[n, o, h<{out}] = sum[c, i, p]([h == {s}*i + p]*x[n, c, i]*W[c, o, p])"

    def function(v: dict[str, Any]) -> Any:
        def forward(y: Any) -> Any:
            return lax.conv_general_dilated(y, v["W"], (s,), [(0, 0)])

        zeros = jnp.zeros((v["x"].shape[0], o, out))
        return jax.vjp(forward, zeros)[1](v["x"])[0]

    return Peer(text, {"x": ("N", c, width), "W": (c, o, p)}, function)


def _windows(size: Callable[[int, int], int]) -> tuple[int, int, int, int, int]:
    kernel, stride, width = size(1, 3), size(1, 3), size(5, 9)
    padding = size(0, kernel//2)
    return kernel, stride, padding, width, (width + 2*padding - kernel)//stride + 1


@peer
def max_pool(size: Callable[[int, int], int]) -> Peer:
    (p, s, a, h, rows), (q, t, b, w, columns) = _windows(size), _windows(size)
    text = (
        f"y[n, c, i<{rows}, j<{columns}] = "
        f"max[p<{p}, q<{q}](pad(x, -inf)[n, c, {s}*i + p - {a}, {t}*j + q - {b}])"
    )

    def function(v: dict[str, Any]) -> Any:
        pads = [(0, 0), (0, 0), (a, a), (b, b)]
        return lax.reduce_window(v["x"], -jnp.inf, lax.max, (1, 1, p, q), (1, 1, s, t), pads)

    return Peer(text, {"x": ("N", size(1, 2), h, w)}, function)


@peer
def mean_pool(size: Callable[[int, int], int]) -> Peer:
    (p, s, a, h, rows), (q, t, b, w, columns) = _windows(size), _windows(size)
    text = (
        f"y[n, c, i<{rows}, j<{columns}] = "
        f"mean[p<{p}, q<{q}](pad(x, 0)[n, c, {s}*i + p - {a}, {t}*j + q - {b}])"
    )

    def function(v: dict[str, Any]) -> Any:
        pads = [(0, 0), (0, 0), (a, a), (b, b)]
        return lax.reduce_window(v["x"], 0.0, lax.add, (1, 1, p, q), (1, 1, s, t), pads)/(p*q)

    return Peer(text, {"x": ("N", size(1, 2), h, w)}, function)


@peer
def window_over_its_own_norm(size: Callable[[int, int], int]) -> Peer:
    """Outside the range of i the norm is 0: the range bracket must keep 0/0 out of the gradient."""
    text = (
        "y[n, i<5] = sum[p](W[p]*pad(x, 0)[n, 2*i + p - 1])*v[2*i]*log(w[i])"
        "/sum[q<3](pad(x, 0)[n, 2*i + q - 1]**2)"
    )

    def function(a: dict[str, Any]) -> Any:
        windows = jnp.stack([jnp.pad(a["x"], ((0, 0), (1, 1)))[:, p : p + 9 : 2] for p in range(3)], axis=-1)
        return (windows @ a["W"])*a["v"][::2]*jnp.log(a["w"])/jnp.sum(windows**2, axis=-1)

    return Peer(text, {"x": ("N", 9), "W": (3,), "v": (10,), "w": (5,)}, function, positive=True)


@peer
def batch_norm(size: Callable[[int, int], int]) -> Peer:
    k = size(1, 4)
    text = (
        "m[k] = mean[n](x[n, k])\nv[k] = mean[n]((x[n, k] - m[k])**2)\n"
        "y[n, k] = g[k]*(x[n, k] - m[k])*(v[k] + 1/1000)**(-1/2) + b[k]"
    )

    def function(a: dict[str, Any]) -> Any:
        centred = a["x"] - a["x"].mean(0)
        return a["g"]*centred/jnp.sqrt((centred**2).mean(0) + 1e-3) + a["b"]

    return Peer(text, {"x": ("N", k), "g": (k,), "b": (k,)}, function)


@peer
def embedding(size: Callable[[int, int], int]) -> Peer:
    text = "e[n, t, d] = sum[v]([v == id[n, t]]*E[v, d])"
    return Peer(text, {"id": ("N", size(1, 4)), "E": (5, size(1, 3))}, lambda a: a["E"][a["id"]])


@peer
def attention(size: Callable[[int, int], int]) -> Peer:
    t, e, d = size(1, 4), size(1, 4), size(1, 4)
    text = (
        "q[n, t, d] = sum[e](Q[d, e]*x[n, t, e])\nk[n, t, d] = sum[e](K[d, e]*x[n, t, e])\n"
        "v[n, t, d] = sum[e](V[d, e]*x[n, t, e])\ns[n, t, r] = 1/2*sum[d](q[n, t, d]*k[n, r, d])\n"
        "a[n, t, r] = exp(s[n, t, r] - logsumexp[j](s[n, t, j]))\ny[n, t, d] = sum[r](a[n, t, r]*v[n, r, d])"
    )

    def function(v: dict[str, Any]) -> Any:
        q, k, w = (v["x"] @ v[name].T for name in "QKV")
        return jax.nn.softmax(q @ k.swapaxes(1, 2)/2, axis=2) @ w

    return Peer(text, {"x": ("N", t, e), "Q": (d, e), "K": (d, e), "V": (d, e)}, function)


@peer
def reshape_into_dense(size: Callable[[int, int], int]) -> Peer:
    c, h, w, k = size(1, 3), size(1, 3), size(1, 3), size(1, 4)
    text = (
        f"f[n, {h*w}*(c<{c}) + {w}*(i<{h}) + (j<{w})] = x[n, c, i, j]**2\n"
        "y[n, k] = sum[l](W[k, l]*f[n, l])"
    )
    shapes: Shapes = {"x": ("N", c, h, w), "W": (k, c*h*w)}
    return Peer(text, shapes, lambda a: (a["x"].reshape(a["x"].shape[0], -1)**2) @ a["W"].T)


@peer
def concatenation(size: Callable[[int, int], int]) -> Peer:
    a, b = size(1, 3), size(1, 3)
    text = f"y[n, k<{a + b}] = pad(a, 0)[n, k] + pad(b, 0)[n, k - {a}]"
    return Peer(text, {"a": ("N", a), "b": ("N", b)}, lambda v: jnp.concatenate([v["a"], v["b"]], axis=1))


def derive(given: Peer) -> Derivation:
    tensors = {n: Tensor(n, s, "integer" if n in INTEGERS else "real") for n, s in given.shapes.items()}
    equations = tuple(parse_program(given.text, tensors=tensors))
    program = Program(equations, inputs=tuple(tensors.values()), outputs=(equations[-1].tensor,))
    output = program.outputs[0]
    return derive_program(
        program, None if output.shape else output, [t for t in tensors.values() if t.dtype == "real"]
    )


def drawn(given: Peer, rng: np.random.Generator, samples: int) -> dict[str, Array]:
    values: dict[str, Array] = {}
    for name, shape in given.shapes.items():
        sizes = tuple(samples if e == "N" else int(e) for e in shape)
        if name in INTEGERS:
            values[name] = rng.integers(0, 5, sizes)
        else:
            values[name] = rng.uniform(0.5, 2, sizes) if given.positive else rng.standard_normal(sizes)
    return values


def relative_error(found: Array, expected: Array) -> float:
    return float(np.max(np.abs(found - expected), initial=0)/max(float(np.max(np.abs(expected), initial=0)), 1e-3))


@pytest.mark.parametrize(("name", "draw"), few(product(PEERS, range(4)), 6))
def test_gradients_agree_with_jax(name: str, draw: int) -> None:
    rng = np.random.default_rng([draw, *name.encode()])
    given = PEERS[name](lambda low, high: int(rng.integers(low, high + 1)))
    samples = 1 if draw == 0 else int(rng.integers(2, 6))
    derivation, values = derive(given), drawn(given, rng, samples)
    output = derivation.forward.outputs[0]
    real = {n: v for n, v in values.items() if n not in INTEGERS}
    whole = {n: v for n, v in values.items() if n in INTEGERS}

    def forward(r: dict[str, Any]) -> Any:
        return given.function({**r, **whole})

    def both(r: dict[str, Any], signal: Any) -> Any:
        value, pull = jax.vjp(forward, r)
        return value, pull(signal)[0]

    signal = rng.standard_normal(jax.eval_shape(forward, real).shape) if output.shape else np.ones(())
    expected, gradients = jax.jit(both)(real, signal)
    seeds = {f"δ({output.name})": signal} if output.shape else {}
    run = execute(derivation.joint, {**values, **seeds})
    assert relative_error(run[output.name], np.asarray(expected)) < 1e-10
    assert set(gradients) == set(derivation.gradients)
    for n, gradient in gradients.items():
        assert relative_error(run[f"δ({n})"], np.asarray(gradient)) < 1e-10, n


@pytest.mark.parametrize("name", PEERS)
def test_gradients_agree_with_central_differences(name: str) -> None:
    rng = np.random.default_rng([99, *name.encode()])
    given = PEERS[name](lambda low, high: int(rng.integers(low, high + 1)))
    derivation, values = derive(given), drawn(given, rng, 2)
    output = derivation.forward.outputs[0]
    shape = execute(derivation.forward, values)[output.name].shape
    signal = rng.standard_normal(shape)
    seeds = {f"δ({output.name})": signal} if output.shape else {}
    run = execute(derivation.joint, {**values, **seeds})
    weight = signal if output.shape else np.ones(())
    for n in derivation.gradients:
        direction = rng.standard_normal(values[n].shape)
        ends = [
            np.sum(weight*execute(derivation.forward, {**values, n: values[n] + h*direction})[output.name])
            for h in (1e-6, -1e-6)
        ]
        slope = (ends[0] - ends[1])/2e-6
        assert abs(slope - np.sum(run[f"δ({n})"]*direction)) <= 1e-6*max(1.0, abs(slope)), n


def test_a_swapped_transpose_is_refused() -> None:
    """The negative control: the gradient of x by W in place of Wᵀ."""
    given = PEERS["dense"](lambda low, high: 3)
    derivation = derive(given)
    values = drawn(given, np.random.default_rng(1), 2)
    run = execute(derivation.joint, {**values, "δ(u)": np.ones((2, 3))})
    assert relative_error(run["δ(x)"], np.ones((2, 3)) @ values["W"]) < 1e-10
    assert relative_error(run["δ(x)"], np.ones((2, 3)) @ values["W"].T) > 1e-3
