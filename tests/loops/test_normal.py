"""Equations as they are lowered: what users write in one line becomes tensors that memory has a place for, with the
same values; its loops equal the equations over GF(p), and native code equals NumPy in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from tests.examples import few
from tests.loops.arithmetic import Field
from tests.loops.tasks import computed, computed_exactly, differing, elements, far, floats, task_of, together, wanted
from tests.targets.native import HERE, at_lanes, library, natively

import chainrule as cr
from chainrule.compile import gradients
from chainrule.errors import CompileError
from chainrule.ir.expr import Expr
from chainrule.ir.walk import bound
from chainrule.loops import made, shared
from chainrule.loops.interpret import Step
from chainrule.loops.made import inner
from chainrule.loops.normal import normal
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task

DATA = "x[N, 3]; z[N, 4, 4]; r[N, 5, 5]; id[N, 2]"
KEPT = "V[4, 3]; U[2, 4]; A[3, 3]; W[3, 2, 3]"
EQUATIONS = {
    "a sum in a sum": "y[n, o<2] = sum[f](U[o, f]*sum[i](V[i + 1, 1]*V[f, i]*x[n, i]**2))",
    "a sum in a function in a sum": "y[n, o] = sum[f](U[o, f]*exp(-sum[i]((x[n, i] - V[f, i])**2)))",
    "a sum three deep": "y[n] = sum[i](tanh(sum[j](A[i, j]*tanh(sum[k](A[j, k]*x[n, k])))))",
    "two sums of one tensor": "y[n] = sum[i](tanh(sum[k](z[n, i, k]*V[k, 0]))*tanh(sum[k](z[n, k, i]*V[k, 0])))",
    "a sum within a power": "y[n] = sum[k]((x[n, k] - A[0, k])**2)**(1/2)",
    "a bracket alone": "y[n, i, j<3] = x[n, i] + [i == j]",
    "brackets added": "y[n, i, j<3] = [i == j] + [i + 1 == j]*x[n, i]",
    "a maximum of products": "y[n, k] = max[p](sum[j](W[k, p, j]*x[n, j]))",
    "log-sum-exp of a product": "y[n, k<2] = logsumexp[j](tanh(A[j, k + 1])*x[n, j])",
    "log-sum-exps of one tensor": "y[n, i<4, j<4] = z[n, i, j] - logsumexp[k](z[n, i, k]) - logsumexp[k](z[n, k, j])",
    "log-sum-exp at two places":
        "y[n, i<3] = logsumexp[k<4](pad(z, 0)[n, i, k]) + logsumexp[k<4](pad(z, 0)[n, i + 1, k]) + x[n, 0]",
    "log-sum-exp in a mean": "y[n] = mean[i](logsumexp[k](z[n, i, k]) - sum[k](V[i, 0]*z[n, i, k]))",
    "log-sum-exp in log-sum-exp": "y[n] = logsumexp[i](logsumexp[k](z[n, i, k])) + mean[i](logsumexp[k](z[n, i, k]))",
    "a maximum over samples": "y[n, k] = x[n, k] - max[m](x[m, k])",
    "log-sum-exp over samples": "y[n, k] = x[n, k] - logsumexp[m](x[m, k])",
    "log-sum-exp over both": "y[k] = logsumexp[i, n](z[n, i, k]) + max[n, i](z[n, i, k])",
    "pairs of samples": "y[n] = mean[m](sum[k]((x[n, k] - x[m, k])**2))",
    "other samples": "y[n, k] = sum[m](x[m, k]*(1 - [n == m]))",
    "attention to other samples":
        "s[n, m] = sum[k](x[n, k]*x[m, k])\ny[n, k] = sum[m](exp(s[n, m] - logsumexp[q](s[n, q]))*x[m, k])",
    "pairs read the other way round": "s[n, m] = tanh(x[n, 0] - 2*x[m, 1])\ny[n] = mean[m](s[n, m]*s[m, n])",
    "pairs in pieces":
        "s[n, m, 0] = x[n, 0] + x[m, 1]\ns[n, m, 1] = x[n, 0] - x[m, 1]\n"
        "y[n, i<3] = mean[m](pad(s, 2)[n, m, i]**2*x[m, 0]) + x[n, 0]",
    "pairs beyond their ends": "s[n, m, i] = x[n, i]*x[m, 1]\ny[n, i] = max[m](pad(s, 1)[m, n, i + 1]) + x[n, i]",
    "the sample before": "y[n, k] = x[n, k] - pad(x, 0)[n - 1, k]",
    "every second sample": "y[n, k<2] = x[n, k + 1]*pad(x, 1)[2*n + 1, k + 2]",
    "one sample for all": "y[n, k] = x[n, k] + pad(x, 2)[3, k]",
    "samples last": "s[k, n] = x[n, k]**2\ny[n] = sum[k](s[k, n])",
    "a padding of 1 where two loops run as one": "y[n, i<3, j<2] = x[n, 0] + sum[k<9](pad(z, 1)[n, i, 2*j])",
    "reductions over what is not there": "y[n] = sum[i<2](x[n, 0]) + sum[m](x[n, 0] + 0*x[m, 0]) + max[j<3](x[n, 1])",
    "a row of a sample's own table": "y[n, k] = sum[i](r[n, i, k]*[i == id[n, 1]])",
    "two places in it": "y[n] = sum[i, k](r[n, i, k]*[i == id[n, 1]]*[k == id[n, 0]])",
    "beyond a table by a number": "y[n, i<2] = sum[v<4]([v == id[n, 0]]*pad(x, 0)[n, v + i])",
    "every second column by a number": "y[n] = sum[i<4]([i == id[n, 0]]*pad(x, 2)[n, 2*i])",
    "a padded table by a number": "y[n] = sum[i<4]([i == id[n, 0]]*pad(V, 1)[2*i - 1, 0]*x[n, 0])",
    "tables of different sizes by one number":
        "y[n, d<3] = sum[v<4]([v == id[n, 0]]*V[v, d]) + sum[v<2]([v == id[n, 0]]*pad(U, 0)[v, d])*x[n, 0]",
    "tables of different sizes by two numbers":
        "y[n, d<3] = sum[v<4]([v == id[n, 0]]*V[v, d]) + sum[v<2]([v == id[n, 1]]*pad(U, 0)[v, d])*x[n, 0]",
    "rows that two numbers choose, of different reach":
        "y[v<2, d<3] = sum[n]([v == id[n, 0]]*x[n, d])\nz2[v<4] = sum[n]([v == id[n, 0]]*x[n, 1])",
    "a sample by a number": "y[n, k] = sum[m]([m == id[n, 0]]*x[m, k])",
    "a number within a subscript": "y[n] = sum[i<3, v<4]([v == id[n, 0]]*[2*i + 1 == id[n, 0]]*x[n, i]*V[v, i])",
    "sums over samples of what has none": "y = sum[n](sum[m<N](x[n, 0]))",
    "a power without samples": "y[c<4] = (1 + V[c, 0]**2)**(1/3)",
    "one name inside and out": "y[n, i] = x[n, i]*sum[j](A[j, i]*sum[i](A[i, j]*x[n, i]))",
    **{f"the power {p}": f"y[n, k] = (1 + x[n, k]**2)**({p})" for p in ("1/3", "-3/4", "2/3", "-1/2", "-5/2", "7/3")},
    "a sum over samples within one that has its terms in the lanes":
        "y = sum[n, m<N](sum[j<N](x[n, 0]*[n == m])*x[m, 1])",
}
CASES = [(4, 6, 6), (4, 2, 3), (8, 8, 11), (4, 1, 1)]


def task(name: str) -> Task:
    whole = task_of(EQUATIONS[name], data=DATA, kept=KEPT)
    return replace(whole, outputs=tuple(t for t in whole.outputs if t.name == "y"))


def unequal(task: Task, case: tuple[int, int, int], scheduled: bool = True) -> Sequence[str]:
    """The tensors that the loops compute otherwise than the equations."""
    lanes, expected, samples = case
    given = elements(task, samples, 3)
    right = wanted(task, computed_exactly(task, given, samples, 3))
    lowered = lower(task, Machine(lanes, 12), samples=expected, scheduled=scheduled)
    return differing(Step(lowered, Field(3), given, (1, 0)).outputs, right)


# Each equation in one of the eight ways, by turns, or in two.
@pytest.mark.parametrize(("name", "case", "scheduled"), few(product(EQUATIONS, CASES, (True, False)), 7))
def test_what_a_user_writes_is_what_the_loops_compute(name: str, case: tuple[int, int, int], scheduled: bool) -> None:
    assert unequal(task(name), case, scheduled) == []


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_normal_form_has_the_same_values(name: str) -> None:
    one = task(name)
    other = normal(one)
    given = elements(one, 5, 3)
    found, right = (computed_exactly(each, given, 5, 3) for each in (other, one))
    assert all(np.array_equal(found[t], right[t]) for t in right if t in found)
    for equation in other.equations:
        assert equation.tensor.shape.count("N") < 2 and "N" not in equation.tensor.shape[1:]
        assert not [*inner(equation.value)]
        names = [index.name for index in equation.indices]
        assert not {index.name for index in bound(equation.value)}.intersection(names)


def test_native_code_computes_the_same_as_numpy() -> None:
    """All of them as one program."""
    whole = together({f"e{number}": task(name) for number, name in enumerate(EQUATIONS)})
    for expected, samples in ((6, 9), (1, 3)):
        given = floats(whole, samples)
        built = library(at_lanes(whole, HERE.lanes, samples=expected), flags=("-O0",))
        found = natively(built, given, np.arange(samples), samples)
        values = computed(whole, given)
        flat = {t: a if t.shape[:1] == ("N",) else a[0] for t, a in found.outputs.items()}
        assert far(flat, {t: values[t] for t in whole.outputs}, 1e-5) == []
        again = natively(built, given, np.arange(samples), samples, workers=2)
        assert again.bits == found.bits


BY_NAME = "log-sum-exps of one tensor", "two sums of one tensor"


@pytest.mark.parametrize("name", BY_NAME)
def test_parts_known_by_the_tensors_in_them_alone_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(node: Expr) -> Any:
        return tuple(t.name for t in node.tensors[-1:]), tuple(index.extent for index in made.outer(node))

    monkeypatch.setattr(made, "identity", named)
    monkeypatch.setattr(shared, "identity", named)
    assert any(unequal(task(name), case) for case in CASES)


def test_a_negative_base_has_no_power() -> None:
    one = task_of("y[n, k] = x[n, k]**(1/3) + x[n, k]**(-1/2)", data="x[N, 3]")
    given = {one.data[0]: np.array([[-1.0, 0.0, 8.0]] * 3)}
    built = library(at_lanes(one, HERE.lanes, samples=3))
    (found,) = natively(built, given, np.arange(3), 3).outputs.values()
    assert np.isnan(found[:, 0]).all() and np.isinf(found[:, 1]).all()
    np.testing.assert_allclose(found[:, 2], 2 + 8**-0.5, rtol=1e-6)


REFUSED = {
    "s[n, m] = x[n, 0] - x[m, 1]\ny[n] = mean[m](s[n, m])": "s has a value for each pair of samples and is an output",
    "s[n, m] = argmax[k](x[n, k] - x[m, k])\ny[n, k<3] = sum[m]([k == s[n, m]]*x[m, k])":
        "s has a value for each pair of samples and says where a maximum lies",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_has_no_loops_says_why(text: str) -> None:
    one = task_of(text, data="x[N, 3]")
    outputs = one.outputs if "an output" in REFUSED[text] else one.outputs[-1:]
    with pytest.raises(CompileError, match=REFUSED[text]):
        lower(replace(one, outputs=outputs), Machine(4, 12), samples=6)


LAYERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "distances": ("y[n, o<3] = sum[i]((x[n, i] - w[o, i])**2)**(1/2)", {"w": (3, "i")}, "mean_squared_error"),
    "pairs in the loss": (
        "y[n, k] = w[k]*x[n, k]", {"w": ("k",)},
        "loss = mean[n](mean[m](sum[k]((u[n, k] - u[m, k])**2))) + mean[n](sum[k](t[n, k]*u[n, k]))",
    ),
    "a maximum, its weights first": (
        "y[n, k<3] = max[p<2](sum[j](W[k, p, j]*x[n, j]))", {"W": (3, 2, "j")}, "softmax_cross_entropy"
    ),
    "the sample before": ("y[n, k] = tanh(w[k]*pad(x, 0)[n - 1, k])*x[n, k]", {"w": ("k",)}, "mean_squared_error"),
    "the greatest of a batch": ("y[n, k] = w[k]*x[n, k] - max[m](w[k]*x[m, k])", {"w": ("k",)}, "mean_squared_error"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_users_equations(name: str) -> None:
    equation, shapes, loss = LAYERS[name]
    init = {parameter: cr.normal(1.0, *shape) for parameter, shape in shapes.items()}
    layer = type("Own", (cr.Layer,), {"equation": equation, "init": init})
    model = cr.Sequential(cr.Input(4), layer(), loss=loss, seed=5)
    for case in CASES[::2]:
        assert unequal(gradients(model.network, model.derive()), case) == []
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 4)).astype(np.float32)
    y = rng.dirichlet(np.ones(3 if "k<3" in equation or "o<3" in equation else 4), 7)
    loss_value, found = model.gradients(x, y, executor="native")
    right_value, right = model.gradients(x, y, dtype="float64")
    assert loss_value == pytest.approx(right_value, rel=1e-5)
    for parameter, value in right.items():
        np.testing.assert_allclose(found[parameter], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_bound_names_are_kept_where_nothing_is_around_them() -> None:
    one = task_of("y[n, i] = x[n, i]*sum[j](A[j, i]*x[n, j])", data="x[N, 3]", kept="A[3, 3]")
    assert normal(one) == one
