"""The steps of every optimizer, over random gradients, against optax in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.ir.expr import Tensor
from chainrule.optim.optimizer import Optimizer

STEPS = 10
# Few shapes, because JAX compiles anew for each: a scalar, a bias, a matrix, a kernel.
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 3), (2, 1, 2, 2)]
Arrays = list[np.ndarray[Any, Any]]


def tensors(shapes: Sequence[tuple[int, ...]]) -> list[tuple[Tensor, Tensor]]:
    return [(Tensor(f"p{i}.W", shape), Tensor(f"δp{i}.W", shape)) for i, shape in enumerate(shapes)]


def ours(rule: Optimizer, start: Arrays, gradients: list[Arrays], dtype: Any = np.float64) -> list[Arrays]:
    """The values after each step of the optimizer's program."""
    pairs = tensors([np.shape(value) for value in start])
    program = rule.program(pairs)
    values = {t.name: np.asarray(v, dtype) for (t, _), v in zip(pairs, start, strict=True)}
    values |= rule.start((t for t, _ in pairs), dtype)
    path: list[Arrays] = []
    for step, gradient in enumerate(gradients):
        given = {g.name: v for (_, g), v in zip(pairs, gradient, strict=True)}
        result = execute(program, {**values, **given, "rate": np.asarray(rule.rate_at(step))}, dtype=dtype)
        values = {state.tensor.name: result[state.next.name] for state in program.states}
        path.append([values[t.name] for t, _ in pairs])
    return path


def theirs(rule: optax.GradientTransformation, start: Arrays, gradients: list[Arrays]) -> list[Arrays]:
    parameters: Any = [jax.numpy.asarray(value) for value in start]
    state = rule.init(parameters)
    path: list[Arrays] = []
    for gradient in gradients:
        updates, state = rule.update([jax.numpy.asarray(g) for g in gradient], state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        path.append([np.asarray(value) for value in parameters])
    return path


def differing(one: list[Arrays], other: list[Arrays]) -> list[str]:
    """What is off by more than 1e-9 of an entry; one that several steps have brought near 0, 1e-12 of the largest."""
    return [
        f"step {step}, tensor {n}" for step, arrays in enumerate(zip(one, other, strict=True))
        for n, (a, b) in enumerate(zip(*arrays, strict=True))
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-9, atol=1e-12 * float(np.abs(b).max()))
    ]  # fmt: skip


def matrices(parameters: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim >= 2, parameters)


rates = st.floats(1e-4, 0.5)
shares = st.sampled_from([0.0, 0.3, 0.9, 0.99, 0.9999])
epsilons = st.sampled_from([1e-12, 1e-8, 1e-7, 1e-3, 1.0])


@st.composite
def rules(draw: st.DrawFn) -> tuple[Optimizer, optax.GradientTransformation]:
    """One of ours and the same of optax."""
    kind = draw(st.sampled_from(["sgd", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]))
    rate, one, two, epsilon = draw(rates), draw(shares), draw(shares), draw(epsilons)
    value, norm = (draw(st.none() | st.sampled_from([1e-3, 0.5, 2.0, 1e4])) for _ in range(2))
    clip: dict[str, Any] = {"clip_value": value, "clip_norm": norm}
    match kind:
        case "sgd":
            rule, other = cr.SGD(rate, one, **clip), optax.sgd(rate, one)
        case "nesterov":
            rule = cr.SGD(rate, one or 0.5, nesterov=True, **clip)
            other = optax.sgd(rate, one or 0.5, nesterov=True)
        case "adagrad":
            initial = draw(st.sampled_from([0.0, 0.1, 1.0]))
            rule, other = cr.Adagrad(rate, initial, epsilon, **clip), optax.adagrad(rate, initial, epsilon)
        case "rmsprop":
            rule, other = cr.RMSProp(rate, one, epsilon, two, **clip), optax.rmsprop(rate, one, epsilon, momentum=two)
        case "adam":
            rule, other = cr.Adam(rate, one, two, epsilon, **clip), optax.adam(rate, one, two, epsilon)
        case _:
            decay = draw(st.sampled_from([0.0, 0.01, 0.3]))
            rule = cr.AdamW(rate, one, two, epsilon, decay, **clip)
            other = optax.adamw(rate, one, two, epsilon, weight_decay=decay, mask=matrices)
    before = [optax.clip(value)] if value else []
    before += [optax.clip_by_global_norm(norm)] if norm else []
    return rule, optax.chain(*before, other)


@examples(15, 1000)
@given(
    rules(),
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    st.sampled_from([1e-6, 1.0, 1e3]),
    st.integers(0, 2**32 - 1),
)
def test_every_optimizer_with_every_option_agrees_with_optax(
    pair: tuple[Optimizer, optax.GradientTransformation], shapes: list[tuple[int, ...]], size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape) for shape in shapes]
    # A step in four has no gradient at all, and single components are 0 in others.
    gradients = [
        [size * rng.normal(size=shape) * (rng.random(shape) < 0.8) * (step % 4 != 1) for shape in shapes]
        for step in range(STEPS)
    ]
    assert differing(ours(pair[0], start, gradients), theirs(pair[1], start, gradients)) == []


def test_the_comparison_refuses_an_epsilon_outside_the_root_and_a_decay_of_everything() -> None:
    start, gradients = [np.ones(3)], [[np.full(3, 1e-3)]] * STEPS
    wrong = optax.rmsprop(0.1, eps=1e-7, eps_in_sqrt=False)
    assert differing(ours(cr.RMSProp(0.1), start, gradients), theirs(wrong, start, gradients)) != []
    everything = optax.adamw(0.1, weight_decay=0.01)
    assert differing(ours(cr.AdamW(0.1), start, gradients), theirs(everything, start, gradients)) != []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_whose_norm_is_the_bound_is_left_as_it_is(dtype: str) -> None:
    start = [np.zeros(2), np.zeros((1, 1))]
    gradients = [[np.array([3.0, 0.0]), np.array([[4.0]])]]
    free, bound = ours(cr.SGD(1.0), start, gradients, dtype), ours(cr.SGD(1.0, clip_norm=5), start, gradients, dtype)
    for a, b in zip(free[0], bound[0], strict=True):
        np.testing.assert_array_equal(a, b)
    right = theirs(optax.chain(optax.clip_by_global_norm(5.0), optax.sgd(1.0)), start, gradients)
    assert differing(ours(cr.SGD(1.0, clip_norm=5), start, gradients), right) == []
    longer = ours(cr.SGD(1.0, clip_norm=2.5), start, gradients, dtype)[0]
    np.testing.assert_allclose(np.concatenate([longer[0], longer[1][0]]), [-1.5, 0, -2], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-200])
@pytest.mark.parametrize("bound", [1e-37, 1.0, 1e37])
@pytest.mark.parametrize("rule", [cr.SGD, cr.Adagrad, cr.RMSProp, cr.Adam, cr.AdamW])
def test_no_gradient_and_a_tiny_one_divide_nothing_by_zero(rule: Any, bound: float, size: float, dtype: str) -> None:
    start, gradients = [np.zeros((2, 3))], [[np.full((2, 3), size)]] * 3
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        path = ours(rule(0.1, clip_norm=bound), start, gradients, dtype)
    assert all(np.isfinite(value).all() for (value,) in path)
    if size == 0:
        assert not any(value.any() for (value,) in path)


def test_weight_decay_draws_matrices_and_not_biases_towards_zero() -> None:
    start, none = [np.ones((2, 2)), np.ones(2), np.ones(())], [np.zeros((2, 2)), np.zeros(2), np.zeros(())]
    matrix, bias, scalar = ours(cr.AdamW(0.1, weight_decay=0.5), start, [none])[0]
    np.testing.assert_allclose(matrix, 0.95, rtol=1e-15)
    assert (bias == 1).all() and scalar == 1


RULES: list[Optimizer] = [
    cr.SGD(0.1, 0.9, nesterov=True), cr.Adagrad(), cr.RMSProp(momentum=0.9), cr.Adam(), cr.AdamW(clip_norm=1.0)
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_float32_follows_float64(rule: Optimizer) -> None:
    rng = np.random.default_rng(1)
    start, gradients = [rng.normal(size=(2, 3))], [[rng.normal(size=(2, 3))] for _ in range(STEPS)]
    for (a,), (b,) in zip(ours(rule, start, gradients, "float32"), ours(rule, start, gradients), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def precise(schedule: Any) -> Any:
    """optax counts in int32, of which JAX makes float32 rates; of int64 it makes float64."""
    return lambda count: schedule(count.astype("int64"))


WARM = optax.join_schedules([optax.linear_schedule(0, 0.05, 3), optax.cosine_decay_schedule(0.05, 6)], [3])
FITS: list[tuple[Optimizer | str, optax.GradientTransformation]] = [
    (
        cr.AdamW(cr.warm_up(cr.cosine(0.05, 6), 3), weight_decay=0.1, clip_norm=0.5),
        optax.chain(
            optax.clip_by_global_norm(0.5),
            optax.adamw(precise(WARM), weight_decay=0.1, mask=matrices),
        ),
    ),
    ("nesterov", optax.sgd(0.1, 0.9, nesterov=True)),
    # The rate changes while there is a velocity: it stands inside, as in optax.
    (
        cr.RMSProp(cr.step_decay(0.01, 4, 0.5), momentum=0.9),
        optax.rmsprop(precise(optax.exponential_decay(0.01, 4, 0.5, staircase=True)), eps=1e-7, momentum=0.9),
    ),
]


@pytest.mark.parametrize(("rule", "other"), FITS, ids=["adamw", "nesterov", "rmsprop"])
def test_a_fit_agrees_with_optax(rule: Any, other: Any) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="half_squared_error", dtype="float64")
    parameters: Any = {name: np.array(value) for name, value in model.parameters.items()}
    state = other.init(parameters)

    def loss(p: Any) -> Any:
        return 0.5 * (((x @ p["dense1.W"].T + p["dense1.b"] - t) ** 2).sum(axis=1)).mean()

    slope = jax.jit(jax.grad(loss))
    for _ in range(STEPS):
        updates, state = other.update(slope(parameters), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    model.fit(x, t, epochs=STEPS, batch_size=8, optimizer=rule, verbose=False)
    for name, value in parameters.items():
        np.testing.assert_allclose(model.parameters[name], value, rtol=1e-9)
