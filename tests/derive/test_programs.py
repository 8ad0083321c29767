"""`derive` of several equations: gradients against JAX in float64, every format, the certificate; what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.verify.certificate import certify
from tests.derive.test_written import pulled

Array = NDArray[Any]
Function = Callable[[Mapping[str, Any]], Any]

DENSE = "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]\nz[n, k] = sigmoid(u[n, k])\nv[n, j] = sum[k](V[j, k]*z[n, k])"


def halves(x: Any) -> Any:
    return jnp.stack([x, x**2], -1).reshape(len(x), -1)


DIAGONALS = np.add.outer(range(2), range(3))

PROGRAMS: dict[str, tuple[dict[str, tuple[int, ...]], Function]] = {
    DENSE: (
        {"W": (2, 3), "x": (4, 3), "b": (2,), "V": (5, 2)},
        lambda a: jax.nn.sigmoid(a["x"] @ a["W"].T + a["b"]) @ a["V"].T,
    ),
    "g[n, k] = 2*x[n, k]; y[n, k] = g[n, k]*x[n, k]": ({"x": (4, 3)}, lambda a: 2 * a["x"] ** 2),
    "m = mean[n](x[n]); s = mean[n]((x[n] - m)**2); y[n] = (x[n] - m)/(s + 1/100)**(1/2)": (
        {"x": (5,)}, lambda a: (a["x"] - a["x"].mean()) / jnp.sqrt(a["x"].var() + 0.01),
    ),
    "y[n, 2*(i<3)] = x[n, i]\ny[n, 2*(i<3) + 1] = x[n, i]**2\nz[n, k] = y[n, k]*w[k]": (
        {"x": (4, 3), "w": (6,)}, lambda a: halves(a["x"]) * a["w"],
    ),
    "z[n, k<3] = y[n, k]*w[k]\np[n, 2*i] = z[n, i]\np[n, 2*i + 1] = z[n, i]**2": (
        {"y": (4, 3), "w": (3,)}, lambda a: halves(a["y"] * a["w"]),
    ),
    "u[n, k] = sum[l](W[k, l]*x[n, l])\nloss = mean[n](logsumexp[k](u[n, k]))": (
        {"W": (2, 3), "x": (4, 3)}, lambda a: jax.nn.logsumexp(a["x"] @ a["W"].T, -1).mean(),
    ),
    "e[n, t, d] = sum[v]([v == ids[n, t]]*E[v, d])\ny[n, d] = sum[t](e[n, t, d]**2)": (
        {"E": (3, 2), "ids": (4, 2)}, lambda a: (a["E"][a["ids"]] ** 2).sum(1),
    ),
    # The padded reads lie outside w everywhere: a bracket that is never true hides a read of δy outside y.
    "y[i<3, j<4] = pad(w, 0)[j, i - j + 4] + pad(w, 0)[i - 3, j]*v[j] + w[1, 1]*v[j]": (
        {"w": (2, 2), "v": (4,)}, lambda a: jnp.broadcast_to(a["w"][1, 1] * a["v"], (3, 4)),
    ),
    # A factor at both indices of one window, and at none of the other.
    "y[i<2, j<5] = sum[k<3](sum[l<3](w[j + i, l + k]))": (
        {"w": (6, 5)}, lambda a: sum((a["w"][:, k + m : k + m + 1] for k in range(3) for m in range(3)), 0)[
            np.add.outer(range(2), range(5)), 0
        ],
    ),
    # log of a read outside w, where the bracket beside it is false.
    "y[i<2, j<3] = pad(w, 1)[i + j - 1]*log(w[i + j]**2)": (
        {"w": (4,)}, lambda a: jnp.insert(a["w"], 0, 1)[DIAGONALS] * jnp.log(a["w"] ** 2)[DIAGONALS],
    ),
}


def gradients(derivation: cr.Derivation, given: Mapping[str, Array], signal: Array) -> dict[str, Array]:
    joint = derivation.joint
    signals = [t for t in joint.inputs if t not in derivation.forward.given]
    values = execute(joint, {**given, **{t.name: signal for t in signals}}, dtype=np.dtype(np.float64))
    return {name: values[t.name] for name, t in derivation.gradients.items()}


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {n: rng.integers(0, 3, s) if n == "ids" else rng.normal(size=s) for n, s in shapes.items()}


@pytest.mark.parametrize("text", PROGRAMS)
def test_gradients_of_several_equations_are_jax_s(text: str) -> None:
    shapes, function = PROGRAMS[text]
    given = drawn(shapes)
    real = {name: array for name, array in given.items() if name != "ids"}

    def of_real(values: dict[str, Any]) -> Any:
        return function({**given, **values})

    shape = jax.eval_shape(of_real, real).shape
    signal = np.random.default_rng(4).normal(size=shape) if shape else np.asarray(1.0)
    expected = pulled(of_real, real, signal)[1]
    derivation = cr.derive(text)
    found = gradients(derivation, given, signal)
    assert found.keys() == real.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-10, atol=1e-12)
    # Each format for some of the programs, in both languages.
    formats = [derivation.to_text, derivation.to_markdown, derivation.to_latex, derivation.to_html]
    one, *_, other = formats[[*PROGRAMS].index(text) % 4 :] + formats
    assert one() and other("zh", "full")
    certificate = certify(derivation)
    assert derivation.to_text(certificate=certificate)


def test_wrt_chooses_among_what_is_given() -> None:
    assert list(cr.derive(DENSE).gradients) == ["W", "x", "b", "V"]
    assert list(cr.derive(DENSE, wrt="x").gradients) == ["x"]
    assert list(cr.derive(DENSE, wrt=["b", "W", "b"]).gradients) == ["b", "W"]


REFUSED: dict[tuple[str, str | None], str] = {
    (DENSE, "u"): "u is defined by a line, and not given",
    (DENSE, "q"): "no real tensor q stands in the equations",
    ("e[n, d] = sum[v]([v == ids[n]]*E[v, d])", "ids"): "no real tensor ids stands in the equation\n",
    ("a[n] = x[n]; y[n] = x[n]", None): "a is defined and not used: y, which the last line defines",
    ("a[n] = b[n]; b[n] = x[n]; y[n] = a[n]*b[n]", None): "a reads b, which is defined later",
    ("a[n] = x[n]; a[n] = b[n]", None): "a is defined twice",
    ("h[n, t<3] = pad(h, 0)[n, t-1] + x[n, t]", None): "recurrence over an index is not supported yet",
    ("y[n] = 2; # x[n]", None): "there is nothing to differentiate by",
    ("# y[n] = x[n]", None): "there is no equation",
    ("", None): "there is no equation",
}


@pytest.mark.parametrize(("text", "wrt"), REFUSED)
def test_what_is_no_program_with_a_result_is_refused(text: str, wrt: str | None) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        cr.derive(text, wrt=wrt)
    assert REFUSED[text, wrt] in str(caught.value)


def test_a_line_goes_on_until_the_next_equation() -> None:
    text = "u[n] =\n  2*x[n]   # = 3; 4\n\n  + b[n]\ny[n] = sum[k](\n a[k]\n)*u[n]"
    assert [str(e) for e in cr.derive(text).forward.equations] == [
        "u[n] = 2*x[n] + b[n]", "y[n] = sum[k](a[k])*u[n]",
    ]
