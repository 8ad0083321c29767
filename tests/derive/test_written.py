"""Derivatives that an equation is written with: what they are, against JAX; each line; documents; layers that train."""

from __future__ import annotations

# ruff: noqa: RUF012 (layers are written here as users write them)
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive.scene import of_evaluation
from chainrule.derive.written import Evaluation
from chainrule.ir.expr import Derivative
from chainrule.ir.walk import nodes
from chainrule.verify.certificate import certify
from chainrule.verify.exact import SceneCheck

Array = NDArray[Any]
Function = Callable[[Any], Any]

softplus, tanh = jax.nn.softplus, jnp.tanh
EVEN, ODD, NEXT = np.eye(6)[::2], np.eye(6)[1::2], np.eye(3, k=1)
EQUATIONS: dict[str, tuple[dict[str, tuple[int, ...]], Function]] = {
    "g[j] = D(sum[k](x[k]**3), x[j])": ({"x": (4,)}, lambda a: jax.grad(lambda x: (x**3).sum())(a["x"])),
    "H[j<3, k<3] = D(D(sum[n<5](softplus(sum[l<3](w[l]*x[n, l]))), w[j]), w[k])": (
        {"w": (3,), "x": (5, 3)}, lambda a: jax.hessian(lambda w: softplus(a["x"] @ w).sum())(a["w"]),
    ),
    "y[i, j] = D(D(logsumexp[k](x[k]), x[i]), x[j])": ({"x": (4,)}, lambda a: jax.hessian(jax.nn.logsumexp)(a["x"])),
    "y = D(D(D(x**5, x), x), x)": ({"x": ()}, lambda a: 60 * a["x"] ** 2),
    "y[n, k] = x[n, k]*exp(D(x[n, k]**3, x[n, k]))": (
        {"x": (4, 3)}, lambda a: a["x"] * jnp.exp(3 * a["x"] ** 2),
    ),
    "y[i] = sum[j](D(sum[a](x[a]**2*v[a]), x[j])*D(x[i]*x[j], x[i]))": (
        {"x": (3,), "v": (3,)},
        lambda a: ((2 * a["x"] * a["v"])[None] * (a["x"][None] + a["x"][:, None] * jnp.eye(3))).sum(1),
    ),
    "g[n, i] = D(tanh(sum[k](W[i, k]*x[n, k]))*x[n, i], x[n, i])": (
        {"W": (3, 3), "x": (4, 3)},
        lambda a: jax.vmap(lambda x: jnp.diag(jax.jacobian(lambda x: tanh(a["W"] @ x) * x)(x)))(a["x"]),
    ),
    "y[i<6] = D(sum[k<3](x[2*k + 1]*x[2*k]**2), x[i])": (
        {"x": (6,)}, lambda a: jax.grad(lambda x: ((ODD @ x) * (EVEN @ x) ** 2).sum())(a["x"]),
    ),
    "y[i<3] = D(sum[k<3](sum[p<2](w[p]*pad(x, 0)[k + p])**2), x[i])": (
        {"w": (2,), "x": (3,)},
        lambda a: jax.grad(lambda x: ((a["w"] @ jnp.stack([x, NEXT @ x])) ** 2).sum())(a["x"]),
    ),
    "s[k] = x[k]**2\ny[i] = D(sum[k](s[k]**3), s[i])": ({"x": (4,)}, lambda a: 3 * a["x"] ** 4),
}


@partial(jax.jit, static_argnums=0)
def pulled(function: Function, given: dict[str, Any], signal: Any) -> tuple[Any, dict[str, Any]]:
    """A value, and what the signal at it gives for each tensor; compiled once, for an operation by itself costs as
    much as all of them."""
    value, pull = jax.vjp(function, given)
    return value, pull(signal)[0]


@pytest.mark.parametrize("text", EQUATIONS)
def test_values_and_gradients_of_written_derivatives_are_jax_s(text: str) -> None:
    shapes, function = EQUATIONS[text]
    rng = np.random.default_rng(3)
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    signal = rng.normal(size=jax.eval_shape(function, given).shape)
    value, expected = pulled(function, given, signal)
    derivation = cr.derive(text)
    assert not any(Derivative in e.value.types for e in derivation.joint.equations)
    signals = [t for t in derivation.joint.inputs if t not in derivation.forward.given]
    found = execute(derivation.joint, {**given, **{t.name: signal for t in signals}}, dtype=np.dtype(np.float64))
    result = derivation.forward.outputs[0].name
    np.testing.assert_allclose(found[result], value, rtol=1e-10, atol=1e-12)
    for name, tensor in derivation.gradients.items():
        np.testing.assert_allclose(found[tensor.name], expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("text", [*EQUATIONS][:3])
def test_the_document_evaluates_them_first_and_the_certificate_checks_each_line(text: str) -> None:
    derivation = cr.derive(text)
    document = derivation.to_text()
    assert document.index("Derivatives in the equations") < document.index("The lemmas")
    for write in (derivation.to_markdown, derivation.to_latex, derivation.to_html):
        assert "Derivatives in the equations" in write() and "等式中的导数" in write("zh", "full")
    names = [row[0] for row in certify(derivation).rows]
    assert any(name.kind == "written" for name in names), names


def test_each_evaluation_is_an_identity_of_first_derivatives() -> None:
    for text in EQUATIONS:
        for evaluation in cr.derive(text).evaluations:
            assert Derivative not in evaluation.derivative.of.types
            assert not SceneCheck(of_evaluation(evaluation, {"N": 2, "K": 3, "I": 3, "J": 3})).run(0)


def test_a_false_step_of_an_evaluation_is_found() -> None:
    first, *_ = cr.derive("g[j<3] = D(sum[k<3](x[k]**3), x[j])").evaluations
    last = first.steps[-1]
    assert last.after is not last.before
    wrong = next(n for n in nodes(cr.derive("g[j<3] = 4*x[j]**2").forward.equations[0].value))
    false = replace(first, steps=(*first.steps[:-1], replace(last, after=wrong)))
    assert isinstance(false, Evaluation)
    assert SceneCheck(of_evaluation(false, {})).run(0)


def test_a_derivative_of_what_another_equation_computes_is_refused() -> None:
    with pytest.raises(cr.DerivationError, match="taken of s, which another equation computes from x"):
        cr.derive("s[k] = x[k]**2\ny[i] = D(sum[k](s[k]), x[i])")
    with pytest.raises(cr.DerivationError, match="taken of a maximum"):
        cr.derive("y[i] = D(max[k<3](x[k]), x[i])")


class Field(cr.Layer):
    """The gradient of a potential with the parameters W: what it is written with is a derivative."""

    equation = "y[n, k] = D(sum[j](softplus(sum[l](W[j, l]*x[n, l]))), x[n, k])"
    init = {"W": cr.normal(1.0, 4, "k")}


def model(dtype: str) -> cr.Sequential:
    return cr.Sequential(cr.Input(3), Field(), cr.Dense(2), loss="mean_squared_error", dtype=dtype)


def test_a_layer_that_is_written_with_a_derivative_has_the_gradients_of_jax() -> None:
    net, rng = model("float64"), np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    values = {name: jnp.asarray(np.array(v)) for name, v in net.parameters.items()}

    def outputs(p: Mapping[str, Any], x: Any) -> Any:
        field = jax.vmap(jax.grad(lambda row: softplus(p["field1.W"] @ row).sum()))(x)
        return field @ p["dense1.W"].T + p["dense1.b"]

    def loss(p: Mapping[str, Any], x: Any) -> Any:
        return ((outputs(p, x) - y) ** 2).mean()

    np.testing.assert_allclose(net.predict(x), outputs(values, x), rtol=1e-12)
    expected, by_x = jax.grad(loss, argnums=(0, 1))(values, jnp.asarray(x))
    found, gradients = net.gradients(x, y)
    np.testing.assert_allclose(found, loss(values, x), rtol=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, by_x if name == "input" else expected[name], rtol=1e-10, atol=1e-14)


def test_a_layer_that_is_written_with_a_derivative_trains_natively_as_in_numpy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    seen: dict[str, list[float]] = {}
    for executor in ("native", "numpy"):
        net = model("float32")
        seen[executor] = net.fit(x, y, epochs=5, batch_size=3, executor=executor, verbose=False).loss
        np.testing.assert_allclose(net.evaluate(x, y)["loss"], net.evaluate(x, y, executor="numpy")["loss"], rtol=1e-5)
    np.testing.assert_allclose(seen["native"], seen["numpy"], rtol=1e-5)
    assert seen["native"][-1] < seen["native"][0]
