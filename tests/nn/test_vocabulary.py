"""Initialisers, names, and what is said about a mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.initialisers import NAMED, fans, named

ODD: list[Any] = [cr.Sigmoid, 3]


def test_fans_count_outputs_first_and_multiply_by_the_kernel() -> None:
    assert fans((7, 5)) == (5, 7)
    assert fans((6, 3, 5, 5)) == (75, 150)
    assert fans((4,)) == (4, 1)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 500),
        ("glorot_normal", 2 / 500),
        ("he_uniform", 2 / 200),
        ("he_normal", 2 / 200),
        ("lecun_uniform", 1 / 200),
        ("lecun_normal", 1 / 200),
    ],
)
def test_the_variance_is_the_one_of_the_source(name: str, variance: float) -> None:
    values = named(name).draw(np.random.default_rng(0), (300, 200))
    assert values.var() == pytest.approx(variance, rel=0.02)
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    if name.endswith("uniform"):
        assert np.abs(values).max() <= math.sqrt(3 * variance)


def test_constants() -> None:
    rng = np.random.default_rng(0)
    assert (cr.constant(0.5, "k").draw(rng, (3,)) == 0.5).all()
    assert (cr.ones("k").draw(rng, (3,)) == 1).all()
    assert (cr.zeros("k").draw(rng, (3,)) == 0).all()
    assert cr.normal(2.0, "k").draw(rng, (9999,)).std() == pytest.approx(2, rel=0.05)
    assert set(NAMED) >= {"glorot", "he", "lecun", "zeros", "ones"}


def test_shapes_are_outputs_first() -> None:
    model = cr.Sequential(cr.Input(2, 3), cr.Dense(5), cr.Sigmoid(), cr.Dense(4, bias=False))
    assert {n: v.shape for n, v in model.parameters.items()} == {
        "dense1.W": (5, 6),
        "dense1.b": (5,),
        "dense2.W": (4, 5),
    }


def test_links() -> None:
    x = np.array([[1000.0], [-1000.0], [0.0]])
    binary = cr.Sequential(cr.Input(1), cr.Dense(1), loss="binary_cross_entropy", dtype="float64")
    binary.parameters["dense1.W"] = [[1.0]]
    np.testing.assert_array_equal(binary.predict(x), [[1], [0], [0.5]])
    np.testing.assert_array_equal(binary.logits(x), x)
    several = cr.Sequential(cr.Input(1), cr.Dense(3), loss="softmax_cross_entropy", dtype="float64")
    several.parameters["dense1.W"] = [[1.0], [0.0], [-1.0]]
    np.testing.assert_allclose(several.predict(x), [[1, 0, 0], [0, 0, 1], [1 / 3] * 3])


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), "sigmiod"), "'sigmoid'"),
        (lambda: cr.Sequential(cr.Input(4), "dense"), "cr.Dense"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), loss="softmax_crossentropy"), "softmax_cross_entropy"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), loss="CrossEntropyLoss"), "'softmax_cross_entropy' here"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), loss="mse"), "mean_squared_error"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), loss="zzz"), "choose from"),
        (lambda: cr.Sequential(cr.Input(4), cr.Softmax(), loss="softmax_cross_entropy"), "remove the last Softmax"),
        (lambda: cr.Sequential(cr.Dense(3)), "cr.Input(64) first"),
        (lambda: cr.Sequential(), "cr.Input(64) first"),
        (lambda: cr.Sequential(cr.Input(4)), "needs a layer"),
        (lambda: cr.Sequential(cr.Input(4), *ODD[:1]), "call it: cr.Sigmoid()"),
        (lambda: cr.Sequential(cr.Input(4), *ODD[1:]), "entry 2"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(0)), "positive whole number"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(2.5)), "positive whole number"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.Sequential(cr.Input(0), cr.Dense(2)), "positive whole number"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(2, init="glorott")), "'glorot'"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(2, init="xavier")), "'glorot'"),
        (lambda: cr.Dense(), "units"),  # pyright: ignore[reportCallIssue]
        (lambda: cr.Dense(3)(np.ones((2, 2))), "model.predict"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.Dense(3)(cr.Input(2), cr.Input(2)), "1 input"),
        (lambda: cr.SGD(0), "positive"),
        (lambda: cr.SGD(0.1, momentum=1), "below 1"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(2), dtype="float16"), "float32"),
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(2), l2=-1), "negative"),
        (lambda: cr.Sequential(cr.Input(2), "sigmoid", loss=cr.softmax_cross_entropy(class_weights=[1])), "(N, 2)"),
        (lambda: cr.Sequential(cr.Input(2), "sigmoid", loss=cr.huber), "cr.huber()"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_mistake_is_answered_with_what_to_write(build: Any, says: str) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert says in str(caught.value)


def test_shapes_that_do_not_add_name_the_layer_and_both_shapes() -> None:
    start = cr.Input(4)
    with pytest.raises(cr.ShapeError) as caught:
        cr.Model(start, cr.Dense(3)(start) + start)
    assert all(part in str(caught.value) for part in ("add1", "(N, 3)", "(N, 4)"))


def test_a_graph_with_a_stray_input_is_refused() -> None:
    a, b = cr.Input(4), cr.Input(4)
    with pytest.raises(cr.ModelError, match="not among"):
        cr.Model(a, cr.Dense(3)(a) + cr.Dense(3)(b))
    with pytest.raises(cr.ModelError, match="does not reach"):
        cr.Model([a, b], cr.Dense(3)(a))


@pytest.mark.parametrize(
    ("name", "ours"),
    [("Linear", "Dense"), ("linear", "Dense"), ("CrossEntropyLoss", "loss="), ("Dens", "Dense"), ("Conv2D", "Conv2d")],
)
def test_a_name_of_another_framework_is_answered_with_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=ours):
        getattr(cr, name)
    assert not hasattr(cr, name)


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(cr, name) is not None for name in cr.__all__)
    assert set(cr.__all__) <= set(dir(cr))


@pytest.mark.parametrize("make", [cr.normal, cr.constant])
@pytest.mark.parametrize("value", ["k", math.nan, math.inf, True, None])
def test_the_first_argument_of_an_initialiser_is_a_number(make: Any, value: Any) -> None:
    with pytest.raises(cr.ModelError, match=r"standard deviation|value"):
        make(value)


def test_numpy_scalars_are_extents_and_penalties() -> None:
    model = cr.Sequential(cr.Input(np.int64(4)), cr.Dense(np.int64(3), l2=np.float32(0.5)))  # pyright: ignore[reportArgumentType]
    assert model.parameters["dense1.W"].shape == (3, 4)
    for l2 in (math.inf, math.nan, -1, "a"):
        with pytest.raises(cr.ModelError, match="l2"):
            cr.Dense(3, l2=l2)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "build",
    [
        lambda: cr.BatchNorm(epsilon=1e-300),
        lambda: cr.RMSNorm(epsilon=1e300),
        lambda: cr.LeakyReLU(1e300),
        lambda: cr.Hardtanh(-1e300, 1.0),
        lambda: cr.huber(delta=1e-60),
        lambda: cr.softmax_cross_entropy(class_weights=[1, 1e308]),
        lambda: cr.Dense(3, l2=1e300),
        lambda: cr.Sequential(cr.Input(2), cr.Dense(3), loss="hinge", l2=1e-99),
    ],
)
def test_an_option_that_float32_does_not_hold_is_refused(build: Any) -> None:
    with pytest.raises(cr.ModelError, match="float32") as caught:
        build()
    assert caught.value.fix


@pytest.mark.parametrize(
    "build",
    [
        lambda: cr.Conv2d(2, 3, bias="no"),  # pyright: ignore[reportArgumentType]
        lambda: cr.Dense(2, bias=None),  # pyright: ignore[reportArgumentType]
        lambda: cr.MeanPool2d(2, count_include_pad="maybe"),  # pyright: ignore[reportArgumentType]
        lambda: cr.MultiHeadAttention(2, causal=3),  # pyright: ignore[reportArgumentType]
    ],
)
def test_an_option_that_is_neither_true_nor_false_is_refused(build: Any) -> None:
    with pytest.raises(cr.ModelError, match="True or False"):
        build()


def test_a_model_of_nothing_is_refused() -> None:
    with pytest.raises(cr.ModelError, match=r"made of cr\.Input"):
        cr.Model(None, None)  # pyright: ignore[reportArgumentType]
