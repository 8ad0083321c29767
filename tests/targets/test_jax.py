"""JAX runs the array program: the same numbers as NumPy's, the same random bits, and what a user can get wrong."""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import Tensor
from chainrule.loops.task import Task
from chainrule.targets import jax as target
from chainrule.train.runners import drawn

Array = NDArray[Any]


def model(dtype: str = "float64") -> cr.Sequential:
    """One with windows, statistics of the batch, and masks."""
    return cr.Sequential(
        cr.Input(2, 6), cr.Conv1d(4, 3, padding=1, stride=2), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3), cr.Dense(3),
        loss="softmax_cross_entropy", dtype=dtype,
    )


def data(samples: int = 20) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(samples, 2, 6)), rng.integers(0, 3, samples)


def off(one: Any, other: Any) -> float:
    """The greatest difference, of the greatest entry."""
    one, other = np.asarray(one), np.asarray(other)
    return float(np.abs(one - other).max() / np.abs(one).max())


def test_random_numbers_are_those_of_numpy_bit_by_bit() -> None:
    step, seeds = 2**33 + 5, (0, 2**64 - 1)
    cases = [
        ((5, 8), None, "float32"), ((7, 2, 3), 0.3, "float64"), ((13, 1), None, "float64"), ((1, 13), 0.3, "float32"),
    ]
    tensors = {Tensor(f"r{n}", ("N", *shape[1:])): shape for n, (shape, _, _) in enumerate(cases)}

    @jax.jit
    def made(seed: Any, step: Any) -> list[Any]:
        return [target.drawn(shape, n, p, seed, step, np.dtype(kind)) for n, (shape, p, kind) in enumerate(cases)]

    for seed in seeds:
        with target.Step.wide():
            found, other = (made(np.uint64(seed), np.uint64(at)) for at in (step, step + 1))
        for n, ((tensor, shape), (_, share, kind)) in enumerate(zip(tensors.items(), cases, strict=True)):
            task = Task((), (tensor,), (), {}, (), drawn={tensor: (n, share)})
            wanted = drawn(task, seed, step, shape[0], np.dtype(kind))[tensor]
            assert np.asarray(found[n]).dtype == wanted.dtype and np.asarray(found[n]).tobytes() == wanted.tobytes()
            assert np.asarray(other[n]).tobytes() != wanted.tobytes()


def test_gradients_training_and_prediction_are_those_of_numpy() -> None:
    x, y = data()
    made, other = model(), model()
    loss, gradients = made.gradients(x, y, seed=7)
    again, found = made.gradients(x, y, seed=7, executor="jax")
    worse = made.gradients(x, y, seed=8, executor="jax")[0]
    assert abs(worse - loss) > 1e-3 * loss  # other masks: the comparison sees them
    assert abs(loss - again) <= 1e-12 * loss and gradients.keys() == found.keys()
    zero = {"conv1d1.b"}  # below batch normalisation
    top = max(float(np.abs(g).max()) for g in gradients.values())
    assert max(off(gradients[name], found[name]) for name in gradients if name not in zero) <= 1e-12
    assert max(float(np.abs(g[name]).max()) for g in (gradients, found) for name in zero) <= 1e-12 * top
    options: dict[str, Any] = {"epochs": 2, "batch_size": 10, "optimizer": cr.SGD(0.1, momentum=0.9), "verbose": False}
    one, two = made.fit(x, y, executor="numpy", **options), other.fit(x, y, executor="jax", **options)
    assert off(one.loss, two.loss) <= 1e-12 and one.accuracy == two.accuracy
    assert off(made.states["batchnorm1.running_mean"], other.states["batchnorm1.running_mean"]) <= 1e-12
    assert off(made.predict(x, executor="numpy"), other.predict(x, executor="jax")) <= 1e-12


def test_a_model_of_float32_is_computed_in_float32() -> None:
    made = model("float32")
    net, derivation = made.network, made.derive()
    rule = cr.Adam()
    task = training(net, derivation, rule, "classes")
    step = target.Step(task, np.dtype(np.float32), None)
    x, y = data(4)
    assert net.target
    rows = {t: np.eye(3, dtype=np.float32)[y] if t.name == net.target.name else x.astype(np.float32)
            for t in task.data if t not in task.drawn}
    with step.wide():
        state = step.put(made._learning(task, rule))
        text = step.jitted.lower(*step.arguments(state, rows, [np.float32(0.1)], 0, 0, 4)).as_text()
        state, outputs = step(state, rows, [np.float32(0.1)], 0, 0, 4)
    assert "xf64>" not in text and "tensor<f64>" not in text and "f32" in text
    assert outputs[0].dtype == np.float32 and all(a.dtype == np.float32 for a in step.taken(state).values())


def test_where_the_loss_is_not_finite_nothing_changes() -> None:
    x, y = data(16)
    x[11] = np.finfo(np.float64).max
    found: list[dict[str, Array]] = []
    for executor in ("numpy", "jax"):
        made = cr.Sequential(cr.Input(2, 6), cr.Dense(3), loss="mean_squared_error", dtype="float64")
        with pytest.raises(cr.DivergenceError, match="step 3 of"):
            made.fit(
                x, np.eye(3)[y], batch_size=4, shuffle=False, optimizer=cr.SGD(0.1), executor=executor, verbose=False
            )
        assert made.training.steps == 2
        found.append({name: np.array(a) for name, a in made.parameters.items()})
    assert all(off(found[0][name], found[1][name]) <= 1e-12 for name in found[0])
    start = cr.Sequential(cr.Input(2, 6), cr.Dense(3), loss="mean_squared_error", dtype="float64")
    assert off(start.parameters["dense1.W"], found[1]["dense1.W"]) > 1e-3


def test_whole_numbers_that_number_nothing_are_refused_as_by_numpy() -> None:
    x = cr.Input(3, dtype="integer")
    made = cr.Model(x, cr.Dense(2)(cr.Embedding(5, 2)(x)), loss="mean_squared_error")
    ids = np.array([[0, 1, 4], [2, 5, 0]])
    with pytest.raises(cr.DataError, match="outside 0 … 4"):
        made.predict(ids, executor="jax")
    assert off(made.predict(ids % 5, executor="numpy"), made.predict(ids % 5, executor="jax")) <= 1e-6


def test_what_a_user_gets_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = cr.Sequential(cr.Input(2), cr.Dense(1), loss="mean_squared_error")
    x = np.zeros((3, 2))
    with pytest.raises(cr.ModelError, match="JAX has 1 device here, not 99"):
        made.predict(x, executor="jax", devices=99)
    with pytest.raises(cr.ModelError, match="devices are those of JAX"):
        made.predict(x, executor="native", devices=1)
    with pytest.raises(cr.ModelError, match="devices must be a positive whole number"):
        made.predict(x, executor="jax", devices=0)
    with pytest.raises(cr.ModelError, match="unknown executor 'tpu'"):
        made.predict(x, executor="tpu")  # pyright: ignore[reportArgumentType]
    monkeypatch.delitem(sys.modules, "chainrule.targets.jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(cr.ModelError, match="needs JAX"):
        cr.Sequential(cr.Input(2), cr.Dense(1), loss="mean_squared_error").predict(x, executor="jax")
