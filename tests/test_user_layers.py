"""Layers of one's own: equations, and everything else follows."""

# ruff: noqa: RUF012 (layers are written here as users write them)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr


class Scale(cr.Layer):
    equation = "y[n, k] = g[k] * x[n, k]"
    init = {"g": cr.ones("k")}


class MyDense(cr.Layer):
    equation = "u[n, k<units] = gain * sum[l](W[k, l] * x[n, l]) + b[k]"
    init = {"W": cr.glorot("k", "l"), "b": cr.zeros("k")}


class Centre(cr.Layer):
    """Subtracts the mean of the batch; outside training, the running mean."""

    equation = """
        m[k] = mean[n](x[n, k])
        running_next[k] = 9/10 * running[k] + 1/10 * m[k]
        y[n, k] = s[k] * (x[n, k] - m[k])
    """
    inference = "y[n, k] = s[k] * (x[n, k] - running[k])"
    init = {"s": cr.ones("k")}
    state = {"running": cr.State("running_next", cr.zeros("k"))}


class Dropout(cr.Layer):
    equation = "y[n, k] = x[n, k] * mask[n, k] / keep"
    inference = "y[n, k] = x[n, k]"
    state = {"mask": cr.bernoulli("keep", "n", "k")}


class Halves(cr.Layer):
    """Two pieces of one tensor."""

    equation = "y[n, 2*i] = x[n, i]\ny[n, 2*i + 1] = x[n, i]**2"


def numeric(model: cr.Model, x: Any, y: Any, name: str) -> np.ndarray[Any, Any]:
    """Central differences of the loss by a parameter."""
    start = np.array(model.parameters[name])
    result = np.zeros_like(start)
    for place in np.ndindex(start.shape):
        values: list[float] = []
        for h in (1e-5, -1e-5):
            moved = start.copy()
            moved[place] += h
            model.parameters[name] = moved
            values.append(model.gradients(x, y)[0])
        result[place] = (values[0] - values[1]) / 2e-5
    model.parameters[name] = start
    return result


def model_of(*layers: Any, **options: Any) -> cr.Sequential:
    return cr.Sequential(cr.Input(4), *layers, cr.Dense(3), loss="softmax_cross_entropy", dtype="float64", **options)


@pytest.fixture
def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(6, 4)), rng.integers(0, 3, 6)


@pytest.mark.parametrize(
    "layer", [Scale, Centre, Halves, lambda: MyDense(units=5, gain=-0.5), lambda: Dropout(keep=0.75)]
)
def test_the_gradients_of_a_users_layer_agree_with_differences(layer: Any, data: Any) -> None:
    model = model_of(layer(), cr.Tanh())
    _, gradients = model.gradients(*data)
    assert set(gradients) == {*model.parameters, "input"}
    for name in model.parameters:
        np.testing.assert_allclose(gradients[name], numeric(model, data[0], data[1], name), rtol=1e-6, atol=1e-9)


def test_options_become_extents_and_numbers() -> None:
    model = model_of(MyDense(units=5, gain=2))
    assert model.parameters["mydense1.W"].shape == (5, 4)
    x = np.ones((2, 4))
    first = cr.Sequential(cr.Input(4), MyDense(units=5, gain=2), dtype="float64")
    np.testing.assert_allclose(first.predict(x), 2 * x @ first.parameters["mydense1.W"].T)


def test_a_state_follows_its_equation_and_serves_inference(data: Any) -> None:
    x, _ = data
    model = cr.Sequential(cr.Input(4), Centre(), loss="mean_squared_error", dtype="float64")
    for _ in range(2):
        model.fit(x, x, epochs=1, batch_size=6, verbose=False, optimizer=cr.SGD(0.01))
    np.testing.assert_allclose(model.states["centre1.running"], 0.19 * x.mean(0))
    np.testing.assert_allclose(model.predict(x), model.parameters["centre1.s"] * (x - 0.19 * x.mean(0)))


def test_random_inputs_act_in_training_only(data: Any) -> None:
    x, _ = data
    model = cr.Sequential(cr.Input(4), Dropout(keep=0.5), dtype="float64", loss="mean_squared_error")
    np.testing.assert_array_equal(model.predict(x), x)
    _, gradients = model.gradients(x, np.zeros_like(x), seed=3)
    mask = gradients["input"] != 0
    assert 0 < mask.sum() < mask.size
    np.testing.assert_allclose(gradients["input"], np.where(mask, 8 * x / x.size, 0))


def test_several_pieces_make_one_output(data: Any) -> None:
    x, _ = data
    result = cr.Sequential(cr.Input(4), Halves(), dtype="float64").predict(x)
    np.testing.assert_array_equal(result[:, ::2], x)
    np.testing.assert_allclose(result[:, 1::2], x**2)


def test_a_users_layer_is_saved_and_loaded_by_its_class(tmp_path: Path, data: Any) -> None:
    x, y = data
    model = model_of(Scale(), MyDense(units=5, gain=0.25), Centre())
    model.fit(x, y, epochs=2, verbose=False)
    model.save(tmp_path / "m.safetensors")
    custom = {"Scale": Scale, "MyDense": MyDense, "Centre": Centre}
    np.testing.assert_array_equal(cr.load(tmp_path / "m.safetensors", custom=custom).predict(x), model.predict(x))
    with pytest.raises(cr.ModelError, match="custom="):
        cr.load(tmp_path / "m.safetensors")


def broken(equation: str, init: dict[str, Any] | None = None, state: dict[str, Any] | None = None) -> type[cr.Layer]:
    return type("Broken", (cr.Layer,), {"equation": equation, "init": init or {}, "state": state or {}})


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (broken("y[n, k] = q[k] * x[n, k]"), 'a layer names its parameters in `init`, as in init = {"g":'),
        (broken("y[n, k] = x[n, j]"), "j"),
        (broken("y[n, k] = x[n, k, 0]"), "axes"),
        (broken("y[n, k<4] = x[n, k + 1]"), "x"),
        (broken("u[n, k] = sum[l](W[k, l]*x[n, l])", {"W": cr.glorot("k", "l")}), "'k'"),
        (broken("y[n, k] = x[n, k]", {"g": cr.ones("k")}), "'g'"),
        (broken("y[n, k] = x[n, k] +"), "read"),
        (broken("print(x)"), "no equation"),
        (broken("y[n, k] = x[n, k] - r[k]", {}, {"r": cr.State("r_next", cr.zeros("k"))}), "r_next"),
        (broken(""), "no equations"),
    ],
)
def test_a_mistake_in_a_users_equation_names_the_layer_and_the_shape(layer: type[cr.Layer], says: str) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        cr.Sequential(cr.Input(4), layer())
    assert says in str(caught.value)
    assert "broken1" in str(caught.value)
    assert "(N, 4)" in str(caught.value)


def test_what_is_written_in_another_ones_place_is_answered() -> None:
    class Plural(cr.Layer):
        equations = "y[n, k] = x[n, k]**2"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    class Gain(cr.Layer):
        equation = "y[n, k] = gain*x[n, k]"

    class Step(cr.Optimizer):
        def equations(self, rank: int) -> str:
            at = "[i, j]" if rank == 2 else "[i]"
            return f"value_next{at} = value{at} - rate*(gradient{at} + decay*value{at})"

    written: list[tuple[Callable[[], Any], str]] = [
        (Plural, "`equations` is a method.*\n.*\n.*write equation = "),
        (lambda: Gain(3), r"give each option by its name, as in Gain\(units=3\)"),  # pyright: ignore[reportCallIssue]
        (lambda: model_of(Gain), r"call it: Gain\(\)"),
        (lambda: model_of("y[n, k] = x[n, k]**2"), "equations are a layer's"),
        (lambda: model_of(cr.Dense(3, "relu")), "an activation is a layer of its own"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.Sequential(cr.Input(4), cr.Dense(3), loss="sum[k](abs(u[n,k] - t[n,k]))"), r"loss='e\[n\] = sum"),
        (lambda: model_of(cr.Dense(3)).fit(np.eye(4), [0, 1, 2, 0], optimizer=Step()), "an option is its value"),
        (lambda: model_of(cr.Dense(3)).fit(np.eye(4), [0, 1, 2, 0], optimizer=Step), r"call it: Step\(\)"),  # pyright: ignore[reportArgumentType]
    ]
    for made, says in written:
        with pytest.raises(cr.ChainruleError, match=says):
            made()


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(cr.ModelError, match="units"):
        MyDense(unit=5, gain=1)
    with pytest.raises(cr.ModelError, match="activation"):
        cr.Dense(8, activation="sigmoid")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "equation",
    [
        "y[n, k] = " + "-" * 3000 + "x[n, k]",
        "y[n, k] = x[n, k]" + " + x[n, k]" * 300_000,
        "y[n, k] = " + "(" * 3000 + "x[n, k]" + ")" * 3000,
        "y[n, k] = x[n, k] + \ud800",
        "y[n, k] = x[n, k] + '\0'",
    ],
)
def test_a_layers_equation_is_read_under_the_parsers_guards(equation: str) -> None:
    with pytest.raises(cr.EquationError) as caught:
        cr.Sequential(cr.Input(4), broken(equation)())
    assert len(str(caught.value)) < 500
    with pytest.raises(cr.EquationError):
        broken(equation + " + a")(a=1)


def test_a_long_equation_takes_options() -> None:
    layer = broken("y[n, k] = x[n, k]" + " + a*x[n, k]" * 600)
    assert cr.Sequential(cr.Input(1), layer(a=-2), dtype="float64").predict([[1.0]])[0, 0] == -1199


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "a", None, True, np.float64("nan")])
def test_an_option_is_a_finite_number(value: Any) -> None:
    with pytest.raises(cr.ModelError, match="'gain' must be a"):
        MyDense(units=5, gain=value)


def test_options_are_numpys_numbers_too(tmp_path: Path) -> None:
    model = cr.Sequential(cr.Input(4), MyDense(units=np.int64(5), gain=np.float32(0.5)))
    model.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", custom={"MyDense": MyDense}).parameters["mydense1.W"].shape == (5, 4)
    assert cr.Sequential(cr.Input(4), MyDense(units=5.0, gain=1)).parameters["mydense1.W"].shape == (5, 4)


@pytest.mark.parametrize("units", [5.5, 0, -3])
def test_an_option_that_is_an_extent_is_a_positive_whole_number(units: float) -> None:
    with pytest.raises(cr.ModelError, match="'units' is an extent"):
        cr.Sequential(cr.Input(4), MyDense(units=units, gain=1))


@pytest.mark.parametrize("name", ["k", "n", "l", "x", "u", "W", "b", "sum"])
def test_an_option_named_like_a_part_of_the_equation_is_refused(name: str) -> None:
    with pytest.raises(cr.ModelError, match=f"option '{name}' has the name of"):
        MyDense(units=5, gain=1, **{name: 2})


def test_a_plain_axis_of_a_padded_tensor_fixes_an_extent() -> None:
    class Convolve(cr.Layer):
        equation = "y[n, o<2, i<2] = sum[c, p<3](W[o, c, p] * pad(x, 0)[n, c, 2*i + p - 1])"
        init = {"W": cr.glorot("o", "c", "p")}

    assert cr.Sequential(cr.Input(2, 4), Convolve()).parameters["convolve1.W"].shape == (2, 2, 3)


READS_ITSELF = {
    "h[n, t, k] = tanh(x[n, t, k] + sum[j](U[k, j] * pad(h, 0)[n, t-1, j]))": "recurrence .* h -> h over t",
    "h[n, t, k] = tanh(x[n, t, k] + h[n, t, k]) + 0*U[0, 0]": "cyclic equations: h -> h",
}


@pytest.mark.parametrize("equation", READS_ITSELF)
def test_a_layer_that_reads_itself_is_refused_when_the_model_is_made(equation: str) -> None:
    layer = type("Own", (cr.Layer,), {"equation": equation, "init": {"U": cr.glorot(2, 2)}})
    with pytest.raises(cr.EquationError, match=READS_ITSELF[equation]) as caught:
        cr.Sequential(cr.Input(3, 2), layer(), loss="mean_squared_error")
    assert "own1" in str(caught.value)


def test_a_loss_and_an_optimizer_that_read_themselves_are_refused() -> None:
    with pytest.raises(cr.EquationError, match="cyclic equations: loss -> loss"):
        cr.Sequential(cr.Input(3), cr.Dense(2), loss="loss = mean[n](sum[k]((u[n, k] - t[n, k])**2)) + loss")

    class Own(cr.SGD):
        def equations(self, rank: int) -> str:
            return super().equations(rank) + "\nq = 2*q"

    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="mean_squared_error")
    with pytest.raises(cr.EquationError, match=r"cyclic equations: .*q"):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=1, optimizer=Own(0.1), verbose=False)


class Gate(cr.Layer):
    equation = "h[n] = mask[n, 0]\ny[n, k] = g*x[n, k]*h[n]"
    init = {"g": cr.ones()}
    state = {"mask": cr.bernoulli(0.7, "n", 3)}


class GateOpen(Gate):
    inference = "y[n, k] = g*x[n, k]"


def test_a_draw_in_a_line_that_reads_no_input_has_a_row_for_each_sample() -> None:
    model = cr.Sequential(cr.Input(3), GateOpen(), loss="half_squared_error")
    assert model.network.training.random[0].shape == ("N", 3)


def test_a_layer_that_draws_says_what_a_prediction_is() -> None:
    model, x = cr.Sequential(cr.Input(3), Gate(), loss="half_squared_error"), np.ones((4, 3))
    model.fit(x, x, epochs=1, verbose=False)
    for run in (lambda: model.predict(x), lambda: model.evaluate(x, x)):
        with pytest.raises(cr.ModelError, match=r"gate1\.mask is drawn at random(.|\n)*inference"):
            run()


def test_a_parameter_without_axes_is_saved_and_loaded(tmp_path: Path) -> None:
    model, x = cr.Sequential(cr.Input(3), GateOpen(), loss="half_squared_error"), np.ones((4, 3))
    model.parameters["gateopen1.g"] = np.array(3.0)
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors", custom={"GateOpen": GateOpen})
    assert again.predict(x).tolist() == model.predict(x).tolist() == [[3.0] * 3] * 4


def test_a_layer_that_reads_no_input_has_a_value_for_each_sample() -> None:
    class One(cr.Layer):
        equation = "y[n<N, i<1] = 1"

    model = cr.Sequential(cr.Input(3), One(), loss="mean_squared_error")
    x = np.zeros((4, 3), np.float32)
    for executor in ("numpy", "native"):
        assert np.array_equal(model.predict(x, executor=executor), np.ones((4, 1)))


class Distance(cr.Layer):
    equation = "u[n, k<units] = sum[l]((x[n, l] - c[k, l])**2)"
    init = {"c": cr.normal(0.3, "k", "l")}


class Forgetful(Distance):
    def __init__(self, units: int) -> None:
        super().__init__()


class Careful(Distance):
    def __init__(self, units: int) -> None:
        super().__init__(units=units)


@pytest.mark.parametrize("layer", [Distance, lambda: Forgetful(3)])
def test_a_size_that_is_not_given_is_named(layer: Callable[[], cr.Layer]) -> None:
    with pytest.raises(cr.ModelError, match=r"'units' is not given(.|\n)*super\(\).__init__\(units=units\)"):
        cr.Sequential(cr.Input(4), layer())
    assert cr.Sequential(cr.Input(4), Careful(3)).parameters["careful1.c"].shape == (3, 4)


def test_a_model_without_a_real_tensor_has_nothing_to_derive() -> None:
    layer = type("Hot", (cr.Layer,), {"equation": "y[n, k<4] = [k == x[n]]*1"})()
    model = cr.Sequential(cr.Input(dtype="integer"), layer)
    assert model.predict(np.array([1])).tolist() == [[0, 1, 0, 0]]
    with pytest.raises(cr.DerivationError, match="nothing to differentiate by"):
        model.derive()


class Thresholded(cr.Layer):
    """A maximum that nothing but a step reads: its gradient is 0, of all samples as of one."""

    equation = "J[n] = max[k](x[n, k])\ny[n, i<2] = [J[n] > 0]*x[n, i + 1]"


@pytest.mark.parametrize("detail", ["brief", "standard", "full"])
def test_a_lemma_whose_error_signal_is_zero_needs_no_place_of_a_maximum(detail: Any) -> None:
    derivation = cr.Sequential(cr.Input(3), Thresholded(), loss="mean_squared_error").derive()
    assert not any("argmax" in t.name for t in derivation.forward.defined)
    for lang in ("en", "zh"):
        assert "0" in derivation.to_text(lang=lang, detail=detail)
    (lemma,) = (e for e in derivation.lemmas if e.signal is not None and not e.result.tensors and e.sample)
    assert lemma.sample and lemma.sample.result == lemma.result and not lemma.sample.auxiliary
