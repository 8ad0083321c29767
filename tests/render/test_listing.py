"""The NumPy listing runs, and gives the loss and the gradients of the program that it was written from."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.built_in import derived
from tests.derive.cases import ALL, Case
from tests.examples import few
from tests.nn.test_every_layer import MODELS, model_with, ranges

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive import Derivation
from chainrule.ir.expr import Tensor
from chainrule.render.listing import listing, variables
from chainrule.render.names import names_of

Values = dict[str, NDArray[Any]]


def random_values(derivation: Derivation, samples: int, top: int) -> Values:
    rng = np.random.default_rng(samples)

    def value(tensor: Tensor) -> NDArray[Any]:
        shape = tuple(e if isinstance(e, int) else samples for e in tensor.shape)
        return rng.integers(0, top, shape) if tensor.dtype == "integer" else rng.uniform(0.01, 0.3, shape)

    return {t.name: value(t) for t in derivation.joint.given}


def outcome(derivation: Derivation, source: str, values: Values) -> tuple[Any, Values]:
    space: dict[str, Any] = {}
    exec(source, space)  # noqa: S102 - to run it is the test
    function = space["gradients" if derivation.loss is None else "loss_and_gradients"]
    words = {word: name for name, word in variables(derivation, names_of(derivation)).items()}
    return function(*(values[words[word]] for word in signature(function).parameters))


def differences(derivation: Derivation, source: str, samples: int = 3, top: int = 5) -> list[str]:
    """What the listing computes otherwise than the program."""
    values = random_values(derivation, samples, top)
    wanted = execute(derivation.joint, values, dtype=np.dtype("float64"))
    value, gradients = outcome(derivation, source, values)
    name = (derivation.loss or derivation.forward.outputs[0]).name
    wrong = [] if np.allclose(value, wanted[name], rtol=1e-10) else [name]
    assert gradients.keys() == derivation.gradients.keys()
    for key, tensor in derivation.gradients.items():
        same_shape = np.shape(gradients[key]) == wanted[tensor.name].shape
        if not same_shape or not np.allclose(gradients[key], wanted[tensor.name], rtol=1e-10, atol=1e-12):
            wrong.append(key)
    return wrong


def source_of(derivation: Derivation) -> str:
    return listing(derivation, names_of(derivation))


NETWORKS = "neuron", "mlp", "mlp-textbook", "lenet", "resnet-tiny", "transformer-tiny"


@pytest.mark.parametrize("name", few(NETWORKS, {*NETWORKS} - {"resnet-tiny"}))
def test_the_listing_of_a_model_gives_its_gradients(name: str) -> None:
    derivation = derived(name)
    source = source_of(derivation)
    assert differences(derivation, source, 2, 256) == []
    assert [line for line in source.splitlines() if len(line) > 104] == []


@pytest.mark.parametrize("name", few(MODELS, 2))
def test_the_listing_of_every_layer_gives_its_gradients(name: str) -> None:
    model = model_with(name)
    derivation = model.derive()
    assert differences(derivation, source_of(derivation), top=min([5, *ranges(model).values()])) == []


def test_a_parameters_gradient_waits_for_every_piece_of_what_it_reads() -> None:
    """The gradient of h is computed in two pieces, and that of w is its sum."""
    layer = cr.Equations("h[n<N, i<2, j<2] = w[j]*x[n, i]; y[n, j<1] = pad(h, 0)[n, j, 2*j + 1]", parameters={"w": [2]})
    derivation = cr.Sequential(cr.Input(2), layer, loss="half_squared_error").derive()
    assert sum(e.tensor.name == "δ(equations1.h)" for e in derivation.backward.equations) == 2
    assert differences(derivation, source_of(derivation)) == []


@pytest.mark.parametrize("name", few(ALL, 2))
def test_the_listing_of_an_equation_gives_its_gradients(name: str) -> None:
    derivation = ALL[name].derivation
    assert differences(derivation, source_of(derivation), top=2) == []


N = "N"
WRITTEN = {
    case.name: case
    for case in (
        # Which axis of a part is which: an index of extent 1 makes any coefficient a digit.
        Case("a digit of extent 1", "y[n, d<1, q<2] = x[n, 2*d + q]", {"x": (N, 2)}),
        Case("a third of a bracket, with a minus", "y[n] = 1/3*(1 - min(1, x[n, 0]) + x[n, 0])", {"x": (N, 1)}),
        Case("a window of extent 1 on a diagonal", "y[n, i<1] = max[l<1](x[n, i + l, i])", {"x": (N, 1, 1)}),
        Case("a diagonal", "y[n, i] = sum[j<3](w[j, j])*w[i, i]*x[n, i, i]", {"w": (3, 3), "x": (N, 3, 3)}),
        Case("a diagonal over samples", "y[n] = x[n]*sum[m](x[m]*x[m])", {"x": (N,)}),
        # Brackets are booleans until they meet a number.
        Case("a difference of brackets", "y[n<N] = 1 - w[0]", {"w": (2,)}),
        Case("sums of brackets", "y[n, i<3] = [i == 1] - [i == 2]*x[n, i] + [i == 0] + [i == 2]", {"x": (N, 3)}),
        Case("minus a bracket first", "y[n, i<3] = -[i == 1] + x[n, i] - ([i == 2] - [i == 0])", {"x": (N, 3)}),
        Case(
            "functions of brackets",
            "y[n, i<3] = sign([i == 1])*exp([i == 0])*[i == 1]**2*x[n, i] + [0 <= i - 2 < 1]/([i == 1] + 1)",
            {"x": (N, 3)},
        ),
        Case(
            "contractions of brackets",
            "y[n] = 2 - sum[i<3, j<3]([i == j]*[j == 1])*x[n, 0] - sum[i<3]([i == 1]*x[n, i])",
            {"x": (N, 3)},
        ),
        Case(
            "minus a matrix product of brackets", "y[n, i<2] = 1/3*(1 - sum[j<2]([j == id[n, 0]]*w[j, i]))",
            {"id": (N, 1), "w": (2, 2)}, {"id": 2},
        ),
        Case(
            "counts that are padded with a fraction",
            "c[i<4] = sum[p<3]([0 <= 2*i + p - 1 < 7])\ny[n, i<5] = pad(c, 1/2)[i]*x[n, i]", {"x": (N, 5)},
        ),
        Case(
            "counts that are padded with -inf",
            "c[i<4] = sum[p<3]([0 <= 2*i + p - 1 < 7])\ny[n, i<5] = max[p<2](pad(c, -inf)[i - p])*x[n, i]",
            {"x": (N, 5)},
        ),
        # Parts of a tensor that no slice says.
        Case("pieces at a constant", "y[0, i<2] = x[i]\ny[(j<7) + 1, i<2] = x[i]**2", {"x": (2,)}),
        Case(
            "pieces over two indices", "y[n, 0] = x[n, 1]\ny[n, 2*(i<2) + (j<2) + 1] = x[n, i]*w[j]",
            {"x": (N, 2), "w": (2,)},
        ),
        Case(
            "pieces beside a reshape",
            "y[0, 2*(i<2) + (j<2)] = x[i, j]\ny[(k<2) + 1, 2*(i<2) + (j<2)] = x[i, j]**2*x[k, j]",
            {"x": (2, 2)},
        ),
        # Sums at places that integers give, in one equation and in a part.
        Case(
            "two sums at integers",
            "c[v<2] = sum[n]([v == id[n, 0]]*x[n]) - sum[n]([v == id[n, 1]]*x[n]**2)\ny[n] = c[0]*x[n] + c[1]",
            {"id": (N, 2), "x": (N,)}, {"id": 2},
        ),
        Case(
            "a sum at integers in a part",
            "c[0, v<2] = sum[n]([v == id[n, 0]]*x[n])\nc[1, v<2] = w[v]\ny[n] = c[0, 0]*c[0, 1]*c[1, 1]*x[n]",
            {"id": (N, 1), "x": (N,), "w": (2,)}, {"id": 2},
        ),
        # Reads.
        Case("backwards", "y[n, i<3] = sum[m](x[m, 2 - i])*x[n, i]", {"x": (N, 3)}),
        Case(
            "several indices in several places", "y[i<2, j<2] = x[i + j, 2*i - j + 1]*v[i, j]",
            {"x": (3, 4), "v": (2, 2)},
        ),
        Case("a constant beside grids", "y[n, i<2, j<2] = x[n, i + j, 1, i]", {"x": (N, 3, 2, 2)}),
        Case("padding of an open extent", "y[n, k] = pad(x, 1/2)[n, k + 1]*v[k]", {"x": (N, "K"), "v": ("K",)}),
        Case(
            "the place of a maximum in a split window",
            "a[i<3] = argmax[q<4](x[2*i + q]*w[q])\ny[i<3] = sum[p<2]([p == a[i]]*v[p])*x[2*i]",
            {"x": (8,), "w": (4,), "v": (2,)},
        ),
        # Sums over what the body lacks.
        Case("a sum over samples alone", "y[n] = sum[m<N](x[n, 0])", {"x": (N, 1)}),
        Case("a sum of nothing but numbers", "y[n] = x[n]*sum[m<N](1) + sum[i<3](2)", {"x": (N,)}),
        Case("a choice over what the body lacks", "y[n] = max[i<3](x[n]) + logsumexp[i<3, j<2](x[n])", {"x": (N,)}),
    )
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_listing_of_what_a_user_writes_gives_its_gradients(name: str) -> None:
    derivation = WRITTEN[name].derivation
    assert differences(derivation, source_of(derivation), top=2) == []


def test_what_a_bracket_leaves_out_may_be_infinite() -> None:
    case = Case("", "y[n, i<3] = sum[j<3]([j == i]*[i == 0]/x[n, j]) + [i == 1]*log(x[n, i])", {"x": (N, 3)})
    derivation = case.derivation
    values = {"x": np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0]]), "δ(y)": np.array([[1.0, 2.0, 1.0], [0.0, 3.0, 1.0]])}
    wanted = execute(derivation.joint, values, dtype=np.dtype("float64"))
    with np.errstate(all="ignore"):
        value, gradients = outcome(derivation, source_of(derivation), values)
    assert np.array_equal(value, wanted["y"], equal_nan=True)
    assert np.array_equal(value, [[1, np.log(0.5), 0], [np.inf, np.log(2), 0]])
    assert np.array_equal(gradients["x"], wanted["δ(x)"], equal_nan=True)


def test_a_dense_layer_reads_as_its_matrix_form() -> None:
    source = source_of(derived("mlp-textbook"))
    for line in ("u1 = x @ W1.T + b1", "dW2 = du2.T @ z1", "db2 = du2.sum(axis=0)", "dz1 = du2 @ W2"):
        assert f"    {line}\n" in source


def test_a_listing_with_a_line_changed_is_told_apart() -> None:
    derivation = derived("mlp-textbook")
    source = source_of(derivation)
    assert differences(derivation, source.replace("du2 @ W2", "2 * du2 @ W2")) != []
    assert differences(derivation, source.replace("1 - z1", "1 + z1")) != []
