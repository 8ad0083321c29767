"""Every formula that the mathematics must give: the text of the derived line, and its matrix form's value."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.derive import Derivation, Lemma, derive_program
from chainrule.derive.compose import compose, composites
from chainrule.forms import Concise, Form, concise, matrix_shape
from chainrule.ir.expr import LOSS, Component, Expr, Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.print import to_text
from chainrule.ir.program import Program
from tests.forms.values import as_matrix

Array = NDArray[Any]


def derive(text: str, wrt: str, **shapes: tuple[int | str, ...]) -> Derivation:
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    equations = tuple(parse_program(text, tensors=tensors))
    program = Program(equations, inputs=tuple(tensors.values()), outputs=(equations[-1].tensor,))
    loss = program.outputs[0] if program.outputs[0].shape == () else None
    return derive_program(program, loss, [program.tensor(name) for name in wrt.split()])


def lemma(derivation: Derivation, wrt: str) -> Lemma:
    return derivation[wrt].uses[0].instance


def line(lemma: Lemma | None) -> str:
    assert lemma is not None
    return to_text(lemma.result)


def form(lemma: Lemma | None) -> Form:
    assert lemma is not None
    assert lemma.concise is not None, f"no concise form for {to_text(lemma.result)}"
    return lemma.concise.right


def value(found: Form, **values: Any) -> Array:
    samples = next((np.shape(v)[0] for v in values.values() if np.ndim(v) == 2), 1)
    arrays = {f"δ({name[1:]})" if name[0] == "δ" else name: np.asarray(v) for name, v in values.items()}
    return as_matrix(found, arrays, {"N": samples})


def composed(target: Component, result: Expr) -> Concise:
    found = concise(target, result)
    assert found is not None
    return found


RNG = np.random.default_rng(0)
DENSE = "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]"


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape)


def test_neuron() -> None:
    d = derive("o[n] = sigmoid(u[n])\n", "u", u=("N",))
    assert line(lemma(d, "u").sample) == "δo*o*(1 - o)"
    d = derive("u[n] = sum[i](w[i]*x[n, i]) + b", "w b x", w=(5,), x=("N", 5), b=())
    assert line(lemma(d, "w").sample) == "δu*x[j]"
    assert line(lemma(d, "b").sample) == "δu"
    assert line(lemma(d, "x").sample) == "δu*w[j]"


def test_linear_map_for_one_sample() -> None:
    d = derive(DENSE, "W x b", W=(3, 4), x=("N", 4), b=(3,))
    assert line(lemma(d, "W").sample) == "δu[i]*x[j]"
    assert line(lemma(d, "x").sample) == "sum[k<3](δu[k]*W[k, j])"
    assert line(lemma(d, "b").sample) == "δu[i]"
    W, x, δ = random(3, 4), random(4), random(3)
    assert np.allclose(value(form(lemma(d, "W").sample), δu=δ, x=x), np.outer(δ, x))
    assert np.allclose(value(form(lemma(d, "x").sample), δu=δ, W=W)[:, 0], W.T @ δ)
    assert [length.known for length in matrix_shape(form(lemma(d, "W").sample))] == [3, 4]
    assert [length.known for length in matrix_shape(form(lemma(d, "x").sample))] == [4, 1]


def test_linear_map_for_a_batch() -> None:
    d = derive(DENSE, "W x b", W=(3, 4), x=("N", 4), b=(3,))
    assert line(lemma(d, "W")) == "sum[n](δu[n, i]*x[n, j])"
    W, X, Δ = random(3, 4), random(6, 4), random(6, 3)
    assert np.allclose(value(form(lemma(d, "W")), δu=Δ, x=X), Δ.T @ X)
    assert np.allclose(value(form(lemma(d, "x")), δu=Δ, W=W), Δ @ W)
    assert np.allclose(value(form(lemma(d, "b")), δu=Δ)[:, 0], Δ.sum(0))


def test_a_wrong_matrix_form_has_another_value() -> None:
    """The negative control of the comparisons above: Δᵀ X with X in place of Δ."""
    d = derive(DENSE, "W", W=(3, 3), x=("N", 3), b=(3,))
    X, Δ = random(6, 3), random(6, 3)
    assert not np.allclose(value(form(lemma(d, "W")), δu=X, x=Δ), Δ.T @ X)


@pytest.mark.parametrize(
    ("function", "result"),
    [("sigmoid", "δz[i]*z[i]*(1 - z[i])"), ("tanh", "δz[i]*(1 - z[i]**2)"), ("relu", "δz[i]*step(u[i])")],
)
def test_element_wise_map(function: str, result: str) -> None:
    d = derive(f"z[n, k] = {function}(u[n, k])", "u", u=("N", 3))
    assert line(lemma(d, "u").sample) == result


def test_element_wise_map_for_a_batch_is_a_hadamard_product() -> None:
    d = derive("z[n, k] = sigmoid(u[n, k])", "u", u=("N", 3))
    Δ, Z = random(5, 3), random(5, 3)
    assert np.allclose(value(form(lemma(d, "u")), δz=Δ, z=Z), Δ*Z*(1 - Z))


def test_composite_map_in_both_forms() -> None:
    d = derive("u[n, k] = sum[l](W[k, l]*x[n, l])\nz[n, k] = sigmoid(u[n, k])", "x u", W=(3, 4), x=("N", 4))
    outer, inner = lemma(d, "u").sample, lemma(d, "x").sample
    assert outer is not None and inner is not None
    both = compose(outer, inner)
    assert to_text(both.result) == "sum[k<3](δz[k]*z[k]*(1 - z[k])*W[k, j])"
    found = composed(both.target, both.result)
    W, z, δ = random(3, 4), random(3), random(3)
    assert np.allclose(value(found.right, W=W, z=z, δz=δ)[:, 0], W.T @ (δ*z*(1 - z)))
    jacobian = composed(both.target, both.jacobian[-1].after)
    J_g, J_h, g = random(3, 3), random(3, 4), random(3)
    jacobians = {f"{LOSS.name} by z": g, "z by u": J_g, "u by x": J_h}
    assert np.allclose(as_matrix(jacobian.right, jacobians)[:, 0], J_h.T @ J_g.T @ g)


def mlp(depth: int, width: int = 3) -> Derivation:
    lines, shapes, last = list[str](), dict[str, tuple[int | str, ...]](), "x"
    shapes["x"] = ("N", width)
    for n in range(1, depth + 1):
        lines.append(f"u{n}[n, k] = sum[l](W{n}[k, l]*{last}[n, l]) + b{n}[k]")
        lines.append(f"z{n}[n, k] = sigmoid(u{n}[n, k])")
        shapes |= {f"W{n}": (width, width), f"b{n}": (width,)}
        last = f"z{n}"
    shapes["t"] = ("N", width)
    lines += [f"e[n] = 1/2*sum[k](({last}[n, k] - t[n, k])**2)", "loss = mean[n](e[n])"]
    return derive("\n".join(lines), " ".join(s for s in shapes if s[0] in "Wb"), **shapes)


def test_recurrence_of_the_error_signal_is_one_for_all_blocks() -> None:
    d = mlp(4)
    found = [r for r in composites(d) if r.form == "recurrence"]
    assert len(found) == 1 and len(found[0].uses) == 3
    composite = found[0].composite
    assert to_text(composite.result) in (
        "sum[k<3](δu4[n, k]*W4[k, i])*z3[n, i]*(1 - z3[n, i])",
        "sum[k<3](δu2[n, k]*W2[k, i])*z1[n, i]*(1 - z1[n, i])",
    )


def test_the_number_of_lemmas_does_not_grow_with_depth() -> None:
    assert len(mlp(3).lemmas) == len(mlp(50).lemmas)
    assert [len(m.all_steps) for m in mlp(3).lemmas] == [len(m.all_steps) for m in mlp(50).lemmas]


def test_last_layer_half_squared_error_with_sigmoid() -> None:
    d = derive(
        "z[n, k] = sigmoid(u[n, k])\ne[n] = 1/2*sum[k]((z[n, k] - t[n, k])**2)", "u z", u=("N", 3), t=("N", 3)
    )
    outer, inner = lemma(d, "z").sample, lemma(d, "u").sample
    assert outer is not None and inner is not None
    assert line(outer) == "δe*(z[j] - t[j])"
    assert to_text(compose(outer, inner).result) == "δe*(z[i] - t[i])*z[i]*(1 - z[i])"


def test_last_layer_cross_entropy_with_sigmoid() -> None:
    text = "z[n, k] = sigmoid(u[n, k])\ne[n] = sum[k](softplus(u[n, k]) - t[n, k]*u[n, k])"
    d = derive(text, "u", u=("N", 3), t=("N", 3))
    assert line(lemma(d, "u").sample) == "δe*(z[j] - t[j])"


def test_last_layer_softmax_and_cross_entropy() -> None:
    softmax = "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))"
    d = derive(softmax, "u", u=("N", 3))
    assert line(lemma(d, "u").sample) == "p[i]*(δp[i] - sum[k<3](δp[k]*p[k]))"
    p, δ = random(3), random(3)
    jacobian = np.diag(p) - np.outer(p, p)
    assert np.allclose(value(form(lemma(d, "u").sample), p=p, δp=δ)[:, 0], jacobian.T @ δ)
    text = softmax + "\ne[n] = logsumexp[k](u[n, k]) - sum[k](t[n, k]*u[n, k])"
    d = derive(text, "u", u=("N", 3), t=("N", 3))
    assert line(lemma(d, "u").sample) == "δe*(p[j] - t[j])"


def test_mean_squared_error_as_frameworks_define_it() -> None:
    d = derive("loss = mean[n](mean[k]((z[n, k] - t[n, k])**2))", "z", z=("N", 4), t=("N", 4))
    z, t = random(5, 4), random(5, 4)
    run = execute(d.joint, {"z": z, "t": t})
    assert np.allclose(run["δ(z)"], 2*(z - t)/(5*4), rtol=1e-14)
    assert np.allclose(value(form(lemma(d, "z")), δloss=np.ones(()), z=z, t=t), 2*(z - t)/20)


def test_batch_gradients_have_the_mean_inside() -> None:
    d = mlp(1, 2)
    given = {"W1": [[2.0, -1], [-1, 1]], "b1": [0.0, -1], "x": [[1.0, 2]], "t": [[0.0, 1]]}
    run = execute(d.joint, given)
    assert run["u1"].tolist() == [[0, 0]] and run["z1"].tolist() == [[0.5, 0.5]]
    assert run["δ(u1)"].tolist() == [[1/8, -1/8]]
    assert run["δ(W1)"].tolist() == [[1/8, 1/4], [-1/8, -1/4]]
    twice = execute(d.joint, {**given, "x": [[1.0, 2]]*2, "t": [[0.0, 1]]*2})
    assert twice["δ(W1)"].tolist() == run["δ(W1)"].tolist()
    assert twice["δ(u1)"].tolist() == [[1/16, -1/16]]*2


def test_weight_decay_adds_lambda_w_without_the_mean() -> None:
    text = "u[n, k] = sum[l](W[k, l]*x[n, l])\nloss = mean[n](sum[k](u[n, k])) + r/2*sum[k, l](W[k, l]**2)"
    d = derive(text, "W", W=(2, 3), x=("N", 3), r=())
    assert len(d["W"].uses) == 2 and d["W"].sum is not None
    W, x = random(2, 3), random(4, 3)
    run = execute(d.joint, {"W": W, "x": x, "r": 0.3})
    assert np.allclose(run["δ(W)"], x.mean(0) + 0.3*W)


def test_relu_at_zero_and_a_users_own_maximum() -> None:
    relu = derive("z[n] = relu(u[n])", "u", u=("N",))
    assert execute(relu.joint, {"u": [-1.0, 0, 1], "δ(z)": [1.0, 1, 1]})["δ(u)"].tolist() == [0, 0, 1]
    first = derive("z[n] = max(u[n], 0)", "u", u=("N",))
    assert execute(first.joint, {"u": [-1.0, 0, 1], "δ(z)": [1.0, 1, 1]})["δ(u)"].tolist() == [0, 1, 1]


def test_pooling_examples() -> None:
    x = [[[1.0, 3], [2, 0]]]
    largest = derive("y[n, i, j] = max[p<2, q<2](x[n, 2*i + p, 2*j + q])", "x", x=("N", 2, 2))
    assert execute(largest.joint, {"x": x, "δ(y)": [[[8.0]]]})["δ(x)"].tolist() == [[[0, 8], [0, 0]]]
    mean = derive("y[n, i, j] = mean[p<2, q<2](x[n, 2*i + p, 2*j + q])", "x", x=("N", 2, 2))
    assert execute(mean.joint, {"x": x, "δ(y)": [[[8.0]]]})["δ(x)"].tolist() == [[[2, 2], [2, 2]]]


def test_the_first_maximum_wins_a_tie() -> None:
    d = derive("y[n, i] = max[p<3](x[n, 2*i + p])", "x", x=("N", 5))
    run = execute(d.joint, {"x": [[1.0, 1, 1, 1, 1]], "δ(y)": [[4.0, 5]]})
    assert run["δ(x)"].tolist() == [[4, 0, 5, 0, 0]]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("y[n, i<4] = max[p<3](pad(x, -inf)[n, 2*i + p - 1])", Fraction(1)),
        ("y[n, i<2] = max[p<2](x[n, 4*i + p])", Fraction(1)),
        ("y[n, i<3] = mean[p<3](x[n, 2*i + p])", Fraction(1)),
        ("c[i<4] = sum[p<3]([0 <= 2*i + p - 1 < 7])\ny[n, i] = sum[p<3](pad(x, 0)[n, 2*i + p - 1])/c[i]", Fraction(1)),
        ("y[n, i<4] = mean[p<3](pad(x, 0)[n, 2*i + p - 1])", Fraction(10, 12)),
    ],
)
def test_pooling_conserves_the_error_signal_as_far_as_it_should(text: str, share: Fraction) -> None:
    """Σ ∂ℓ/∂x = Σ δ for a maximum, and for a mean whose divisor counts real cells; else the padded share is lost."""
    d = derive(text, "x", x=("N", 7))
    width = d.forward.outputs[0].shape[1]
    assert isinstance(width, int)
    δ = np.ones((3, width)) if share != 1 else random(3, width)
    run = execute(d.joint, {"x": random(3, 7), "δ(y)": δ})
    assert np.allclose(run["δ(x)"].sum(), δ.sum()*float(share))


def test_convolution_against_its_definition() -> None:
    stride, pad, size, kernel, out = 2, 1, 7, 3, 4
    d = derive(
        f"u[n, o, h<{out}] = sum[c, p](W[o, c, p]*pad(x, 0)[n, c, {stride}*h + p - {pad}]) + b[o]", "W x b",
        W=(2, 3, kernel), x=("N", 3, size), b=(2,),
    )
    W, x, δ = random(2, 3, kernel), random(2, 3, size), random(2, 2, out)
    run = execute(d.joint, {"W": W, "x": x, "b": random(2), "δ(u)": δ})
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    spread = np.zeros((2, 2, stride*(out - 1) + 1))
    spread[:, :, ::stride] = δ
    weight = np.zeros_like(W)
    full = np.zeros((2, 3, spread.shape[2] + kernel - 1))
    for p in range(kernel):
        weight[:, :, p] = np.einsum("noh,nch->oc", spread, padded[:, :, p : p + spread.shape[2]])
        full[:, :, p : p + spread.shape[2]] += np.einsum("noh,oc->nch", spread, W[:, :, p])
    assert np.allclose(run["δ(W)"], weight)
    assert np.allclose(run["δ(x)"], full[:, :, pad : pad + size])
    assert np.allclose(run["δ(b)"], δ.sum((0, 2)))
