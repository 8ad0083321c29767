"""Forward mode against central differences, and floats against 50 digits: the oracles outside of the evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from tests.derive.cases import CASES

from chainrule.derive.trial import gradient_differs
from chainrule.errors import ShapeError
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_equation
from chainrule.semantics.entries import evaluate, execute
from chainrule.semantics.reals import Floats, Precise, precise

EXTENTS = {"N": 2}
STEP = 1e-6


def tops(name: str, tensor: Tensor) -> int:
    return CASES[name].ranges.get(tensor.name, 2)


@pytest.mark.parametrize("name", CASES)
def test_a_tangent_is_what_central_differences_give(name: str) -> None:
    forward, floats = CASES[name].derivation.forward, Floats(EXTENTS)
    given = {t.name: floats.draw(t, 3, tops(name, t), positive=True) for t in forward.given}
    moving = {t.name: floats.draw(t, 4, 1, positive=False) for t in forward.given if t.dtype == "real"}
    _, slopes = execute(floats, forward.equations, given, moving)
    ends = [
        execute(floats, forward.equations, {n: v + step * moving[n] if n in moving else v for n, v in given.items()})[0]
        for step in (STEP, -STEP)
    ]
    for tensor in forward.outputs:
        expected = (ends[0][tensor.name] - ends[1][tensor.name]) / (2 * STEP)
        found = slopes.get(tensor.name, np.zeros(expected.shape))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_floats_and_50_digits_have_one_value(name: str) -> None:
    joint = CASES[name].derivation.joint
    floats, real = Floats(EXTENTS), precise(EXTENTS)
    given = {t.name: floats.draw(t, 3, tops(name, t), positive=True) for t in joint.given}
    lifted = {n: v if v.dtype.kind == "i" else real.one(real.mp.mpf, v) for n, v in given.items()}
    found, _ = execute(floats, joint.equations, given)
    exact, _ = execute(real, joint.equations, lifted)
    for tensor in joint.defined:
        np.testing.assert_allclose(found[tensor.name], exact[tensor.name].astype(float), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "max_pool", "conv1d_stride_3_kernel_2"])
def test_a_gradient_holds_in_floats_alone(name: str) -> None:
    assert gradient_differs(CASES[name].derivation, EXTENTS, 1, Floats) is None


def test_a_wrong_derivative_is_no_central_difference() -> None:
    x = Tensor("x", (3,))
    point = {"x": np.array([0.5, 1.0, 1.5])}
    equation = parse_equation("y[i] = d1_tanh(x[i])", tensors={"x": x})
    slope = evaluate(Floats({}), equation.value, point, equation.indices)
    difference = (np.tanh(point["x"] + STEP) - np.tanh(point["x"] - STEP)) / (2 * STEP)
    assert np.allclose(slope, difference, rtol=1e-8) and not np.allclose(slope * (1 + 1e-7), difference, rtol=1e-8)


def test_where_there_is_no_value_stands_no_number() -> None:
    x = Tensor("x", (2,))
    equation = parse_equation("y[i] = log(x[i]) + x[i]**(1/2)", tensors={"x": x})
    for arithmetic in (Floats({}), precise({})):
        lifted = arithmetic.lifted(np.array([-1, 1]))
        values = evaluate(arithmetic, equation.value, {"x": lifted}, equation.indices)
        assert values[0] != values[0] and values[1] == 1


def test_a_factor_of_0_hides_what_is_no_number_at_50_digits() -> None:
    x = Tensor("x", (2,))
    equation = parse_equation("y[i] = step(x[i])*x[i]**(1/2)", tensors={"x": x})
    real: Precise = precise({})
    assert evaluate(real, equation.value, {"x": real.lifted(np.array([-1, 4]))}, equation.indices).tolist() == [0, 2]


def test_a_tensor_of_another_shape_is_refused() -> None:
    equation = parse_equation("y[i] = x[i]", tensors={"x": Tensor("x", (2,))})
    with pytest.raises(ShapeError, match=r"shape \(3,\)"):
        evaluate(Floats({}), equation.value, {"x": np.ones(3)}, equation.indices)
