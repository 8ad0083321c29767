"""Training: results, repeatability, labels, weights, files, and what is said about bad data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train import assembled as model_module
from chainrule.train import values


def small(**options: Any) -> cr.Sequential:
    options.setdefault("loss", "softmax_cross_entropy")
    return cr.Sequential(cr.Input(4), cr.Dense(6), cr.Sigmoid(), cr.Dense(3), **options)


@pytest.fixture
def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def same(one: cr.Model, other: cr.Model) -> bool:
    return all(np.array_equal(one.parameters[name], other.parameters[name]) for name in one.parameters)


def test_training_lowers_the_loss(data: Any) -> None:
    model = small()
    history = model.fit(*data, epochs=60, optimizer=cr.SGD(0.5, momentum=0.9), verbose=False)
    assert len(history.loss) == len(history.accuracy) == 60
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert model.evaluate(*data)["accuracy"] > 0.9
    assert not history.interrupted


def test_the_same_seed_gives_the_same_bits(data: Any) -> None:
    models = [small(seed=seed) for seed in (3, 3, 4)]
    for model, seed in zip(models, (1, 1, 1), strict=True):
        model.fit(*data, epochs=2, batch_size=7, seed=seed, verbose=False)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])
    other = small(seed=3)
    other.fit(*data, epochs=2, batch_size=7, seed=2, verbose=False)
    assert not same(models[0], other)


def test_integer_and_one_hot_labels_are_the_same(data: Any) -> None:
    x, y = data
    models = [small() for _ in range(4)]
    labels = (y, np.eye(3)[y], y.astype(float), y[:, None])
    for model, label in zip(models, labels, strict=True):
        model.fit(x, label, epochs=2, verbose=False)
    assert all(same(models[0], model) for model in models[1:])


def test_binary_labels(data: Any) -> None:
    x, _ = data
    y = x[:, 0] > 0
    model = cr.Sequential(cr.Input(4), cr.Dense(1), loss="binary_cross_entropy")
    history = model.fit(x, y, epochs=30, verbose=False)
    assert history.accuracy[-1] > 0.9
    assert model.predict(x).shape == (50, 1)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_every_sample_of_an_epoch_counts_once(batch_size: int, data: Any) -> None:
    model = small(dtype="float64")
    before = model.evaluate(*data)
    history = model.fit(*data, epochs=1, batch_size=batch_size, optimizer=cr.SGD(1e-12), verbose=False)
    assert history.loss[0] == pytest.approx(before["loss"])
    assert history.accuracy[0] == before["accuracy"]


def test_predictions_do_not_depend_on_the_chunk(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(dtype="float64")
    whole, loss = model.predict(data[0]), model.evaluate(*data)["loss"]
    monkeypatch.setattr(model_module, "CHUNK", 7)
    np.testing.assert_allclose(model.predict(data[0]), whole, rtol=1e-14)
    assert model.evaluate(*data)["loss"] == pytest.approx(loss)


def test_accuracy_is_left_out_where_targets_are_numbers(data: Any) -> None:
    x, y = data
    model = small(loss="mean_squared_error")
    assert model.fit(x, np.stack([x[:, 0]] * 3, 1), epochs=1, verbose=False).accuracy == []
    assert len(model.fit(x, y, epochs=1, verbose=False).accuracy) == 1


def test_validation(data: Any) -> None:
    x, y = data
    history = small().fit(x, y, epochs=3, validation_split=0.2, verbose=False)
    assert len(history.val_loss) == len(history.val_accuracy) == 3
    model = small()
    history = model.fit(x[:40], y[:40], epochs=3, validation_data=(x[40:], y[40:]), verbose=False)
    assert history.val_loss[-1] == pytest.approx(model.evaluate(x[40:], y[40:])["loss"])
    with pytest.raises(cr.DataError, match="between 0 and 1"):
        model.fit(x, y, validation_split=1.5, verbose=False)


def test_the_dtype_of_gradients_can_be_chosen(data: Any) -> None:
    model = small()
    single, double = model.gradients(*data)[1], model.gradients(*data, dtype="float64")[1]
    assert single["dense1.W"].dtype == np.float32
    assert double["dense1.W"].dtype == np.float64
    for name, value in double.items():
        np.testing.assert_allclose(single[name], value, rtol=1e-3, atol=1e-6)
    with pytest.raises(cr.ModelError, match="executor"):
        model.gradients(*data, executor="gpu")  # pyright: ignore[reportArgumentType]


def test_weights_can_be_assigned_with_the_right_shape_only() -> None:
    model = small()
    model.parameters["dense1.W"] = np.ones((6, 4))
    assert (model.parameters["dense1.W"] == 1).all()
    assert model.parameters["dense1.W"].dtype == np.float32
    with pytest.raises(cr.ShapeError, match=r"\(6, 4\)[\s\S]*\(4, 6\)[\s\S]*transpose"):
        model.parameters["dense1.W"] = np.ones((4, 6))
    with pytest.raises(cr.ModelError, match=r"did you mean .dense1"):
        model.parameters["dense1.w"] = np.ones((6, 4))
    with pytest.raises(cr.DataError, match="finite"):
        model.parameters["dense1.b"] = np.full(6, np.nan)
    with pytest.raises(ValueError, match="read-only"):
        model.parameters["dense1.b"][0] = 1
    assert list(model.parameters) == ["dense1.W", "dense1.b", "dense2.W", "dense2.b"]


def test_ctrl_c_keeps_the_progress(data: Any) -> None:
    model = small()

    def rate(step: int) -> float:
        if step == 5:
            raise KeyboardInterrupt
        return 0.1

    before = np.array(model.parameters["dense1.W"])
    history = model.fit(*data, epochs=10, batch_size=25, optimizer=cr.SGD(rate), verbose=False)
    assert history.interrupted
    assert len(history.loss) == 2
    assert not np.array_equal(before, model.parameters["dense1.W"])


def test_a_diverging_run_stops_with_finite_parameters(data: Any) -> None:
    model = small(loss="half_squared_error")
    with pytest.raises(cr.ModelError, match="lower rate"):
        model.fit(*data, epochs=200, optimizer=cr.SGD(1e6), verbose=False)
    assert all(np.isfinite(value).all() for value in model.parameters.values())


def test_lines_are_printed_where_there_is_no_terminal(data: Any, capsys: pytest.CaptureFixture[str]) -> None:
    small().fit(*data, epochs=2, validation_split=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2")
    assert "val accuracy" in lines[1]


def test_a_model_without_a_loss_predicts_and_derives(data: Any) -> None:
    model = cr.Sequential(cr.Input(4), cr.Dense(3), cr.Sigmoid())
    assert model.predict(data[0]).shape == (50, 3)
    assert set(model.derive().gradients) == {"dense1.W", "dense1.b", "input"}
    for use in (model.fit, model.evaluate, model.gradients):
        with pytest.raises(cr.ModelError, match="no loss"):
            use(*data)


def test_the_summary_counts_parameters() -> None:
    text = small().summary()
    assert "sigmoid1" in text
    assert text.splitlines()[-1].split() == ["total", str(4 * 6 + 6 + 6 * 3 + 3)]


# Files


def test_a_saved_model_is_the_same_model(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "m.safetensors"
    start, layer = cr.Input(4), cr.Dense(4, init="he")
    h = layer(cr.Tanh()(layer(start)))
    model = cr.Model(start, cr.Dense(3, bias=False)(h + start), loss="softmax_cross_entropy", l2=0.01, dtype="float64")
    model.fit(*data, epochs=2, verbose=False)
    model.save(path)
    other = cr.load(path)
    np.testing.assert_array_equal(other.predict(data[0]), model.predict(data[0]))
    assert other.evaluate(*data) == model.evaluate(*data)
    assert same(model, other)
    assert (other.dtype, other.l2) == (model.dtype, 0.01)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError):
        cr.load(path)
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(cr.ModelError, match="no safetensors"):
        cr.load(path)
    save_file({"a": np.ones(2)}, str(path))
    with pytest.raises(cr.ModelError, match="no architecture"):
        cr.load(path)
    for text in ("{", "[]", json.dumps({"version": 99}), json.dumps({"version": 1})):
        save_file({"a": np.ones(2)}, str(path), {"chainrule": text})
        with pytest.raises(cr.ModelError):
            cr.load(path)


# Bad data


@pytest.mark.parametrize(
    ("x", "y", "parts"),
    [
        (np.ones((5, 3)), np.zeros(5, int), ["(5, 3)", "(N, 4)", "dense1"]),
        (np.ones(4), np.zeros(1, int), ["x[None]"]),
        (np.ones((5, 2, 2)), np.zeros(5, int), ["reshape(len(x), 4)"]),
        (np.ones((0, 4)), np.zeros(0, int), ["no samples"]),
        (np.ones((5, 4)), np.zeros(4, int), ["5 samples", "4"]),
        (np.ones((5, 4)), np.array([0, 1, 3, 2, 0]), ["label 3", "row 2", "0 to 2"]),
        (np.ones((5, 4)), np.array([0, 1, -1, 2, 0]), ["label -1", "row 2"]),
        (np.ones((3, 4)), np.array([1, 3, 3]), ["from 0"]),
        (np.ones((5, 4)), np.array(list("abcda")), ["4 classes", "4 units"]),
        (np.ones((5, 4)), np.zeros((5, 7)), ["(5, 7)", "(5, 3)"]),
        (np.ones((2, 4)), np.array([[1, 1, 0], [1, 0, 0]]), ["row 0", "distribution"]),
        (np.ones((2, 4)), np.array([0.5, 1]), ["(N, 3)"]),
        (np.array([["a"] * 4]), np.zeros(1, int), ["no column to learn from"]),
        (np.array([[None] * 4]), np.zeros(1, int), ["no column to learn from"]),
        ([[1, 2, 3, 4], [1, 2]], np.zeros(2, int), ["same length"]),
        (np.array(1.0), np.zeros(1, int), ["single number"]),
    ],
)
def test_bad_data_is_named_with_the_fix(x: Any, y: Any, parts: list[str]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        small().fit(x, y, epochs=1, verbose=False)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "fix:" in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(value: float) -> None:
    x = np.ones((5, 4))
    x[3, 2] = value
    model = small()
    for use in (lambda: model.fit(x, np.zeros(5, int), verbose=False), lambda: model.predict(x)):
        with pytest.raises(cr.DataError, match="row 3, column 2"):
            use()
    with pytest.raises(cr.DataError, match="row 1"):
        small(loss="mean_squared_error").fit(np.ones((2, 4)), np.array([[0, 0, 0], [0, value, 0]]), verbose=False)


def test_values_that_do_not_add_up_to_a_number_are_looked_at_one_by_one() -> None:
    opposite = np.array([[np.inf, -np.inf, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(cr.DataError, match="row 0, column 0 and 1 more"):
        small().predict(opposite)
    model = cr.Sequential(cr.Input(4), cr.Dense(2), dtype="float64")
    model.parameters["dense1.W"] = np.zeros((2, 4))
    assert not model.predict(np.full((2, 4), 1e308)).any()  # each is finite, and their sum is not


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 0}, {"batch_size": 2.5}, {"optimizer": "adamm"}])
def test_bad_options_are_named(options: Any, data: Any) -> None:
    with pytest.raises(cr.ModelError, match=next(iter(options))):
        small().fit(*data, verbose=False, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": "a"}, "seed"),
        ({"validation_split": "a"}, "validation_split"),
        ({"validation_split": float("nan")}, "validation_split"),
    ],
)
def test_a_seed_and_a_split_are_numbers(options: Any, says: str, data: Any) -> None:
    with pytest.raises(cr.ChainruleError, match=says):
        small().fit(*data, verbose=False, **options)


def test_a_number_that_the_models_dtype_cannot_hold_is_named_by_row_and_column() -> None:
    x, y = np.ones((5, 4)), np.ones((5, 3))
    x[2, 3] = y[4, 1] = 1e300
    model = small(loss="mean_squared_error")
    with pytest.raises(cr.DataError, match="x holds 1e\\+300 at row 2, column 3"):
        model.predict(x)
    with pytest.raises(cr.DataError, match="y holds 1e\\+300 at row 4, column 1"):
        model.evaluate(np.ones((5, 4)), y)
    with pytest.raises(cr.DataError, match="float32"):
        model.parameters["dense1.W"] = np.full((6, 4), 1e300)
    assert np.isfinite(small(dtype="float64").predict(x)).all()


def test_a_negative_label_asks_for_labels_from_0() -> None:
    with pytest.raises(cr.DataError, match="labels must be 0 … 2") as caught:
        small().fit(np.ones((2, 4)), np.array([0, -1]), verbose=False)
    assert "units" not in str(caught.value)


def test_a_name_in_another_case_is_the_nearest() -> None:
    with pytest.raises(cr.ModelError, match=r"did you mean .dense1\.W"):
        small().parameters["dense1.w"]


def test_a_loss_over_classes_refuses_a_single_output() -> None:
    with pytest.raises(cr.ModelError, match="binary_cross_entropy"):
        cr.Sequential(cr.Input(4), cr.Dense(1), loss="softmax_cross_entropy")


def test_an_input_is_listed_once() -> None:
    x = cr.Input(4)
    with pytest.raises(cr.ModelError, match="twice"):
        cr.Model([x, x], cr.Dense(1)(x))


def test_what_does_not_fit_into_memory_is_refused() -> None:
    for units in (10**13, 10**30):
        with pytest.raises(cr.ChainruleError, match=r"does not fit into memory(.|\n)*dense1"):
            cr.Sequential(cr.Input(4), cr.Dense(units))


@pytest.mark.parametrize("path", ["/tmp", "/nonexist/a", "/proc/xx", "a\0b"])
def test_a_path_that_cannot_be_written_is_named(path: str) -> None:
    with pytest.raises(OSError) as caught:
        small().save(path)
    assert caught.value.filename == path
    assert caught.value.strerror


def test_a_full_disk_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.symlink_to("/dev/full")  # what replaces the file instead of writing to it would replace the device
    with pytest.raises(OSError, match="No space left") as caught:
        small().save(path)
    assert caught.value.filename == str(path)


def hostile(tmp_path: Path, change: Any) -> Path:
    """A saved model whose architecture was changed."""
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "m.safetensors"
    small().save(path)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    architecture = json.loads(header["__metadata__"]["chainrule"])
    changed = change(architecture)
    save_file(load_file(path), path, {"chainrule": changed if isinstance(changed, str) else json.dumps(architecture)})
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda a: "[" * 100_000,
        lambda a: '{"version": ' + "1" * 10_000 + "}",
        lambda a: a["layers"][0]["config"].update(units=10**12),
        lambda a: a["layers"][0]["config"].update(units=10**30),
        lambda a: a["layers"][0]["config"].update(units=10**60),
        lambda a: a["layers"][0]["config"].update(units=5),
        lambda a: a["layers"][0]["config"].update(init=5),
        lambda a: a["layers"][0].update({"class": "\ud800"}),
        lambda a: a["graph"][1].update(parents=[-1]),
        lambda a: a["graph"][1].update(parents=[0, 0]),
        lambda a: a["graph"][1].update(layer=-3),
        lambda a: a["graph"][1].update(layer=True),
        lambda a: a["graph"][0].update(input=[10**30]),
        lambda a: a["graph"].insert(1, a["graph"][0]),
        lambda a: a.update(inputs=[0, 0]),
        lambda a: a.update(inputs=[-4]),
        lambda a: a.update(inputs=[0, 1]),
        lambda a: a.update(l2="a"),
        lambda a: a.update(l2=float("inf")),
        lambda a: a.update(loss=5),
        lambda a: a.update(dtype=[]),
        lambda a: a.update(layers=[*a["layers"], a["layers"][0]]),
    ],
)
def test_a_hostile_architecture_is_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises((cr.ModelError, cr.DataError, cr.ShapeError)) as caught:
        cr.load(hostile(tmp_path, change))
    assert isinstance(caught.value, (cr.ModelError, cr.DataError))
    assert len(str(caught.value)) < 600


def test_a_model_is_loaded_without_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small().save(tmp_path / "m")
    monkeypatch.setattr(values.Values, "draw", None)
    assert cr.load(tmp_path / "m").parameters["dense1.W"].shape == (6, 4)


def test_an_array_of_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "__metadata__": {"chainrule": "{}"}}).encode()
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(cr.ModelError, match="BF16"):
        cr.load(tmp_path / "m")


@pytest.mark.parametrize("given", [(np.ones((2, 3)),), 3, [], "xy", (1, 2, 3, 4)])
def test_validation_data_of_another_form_are_refused(given: Any) -> None:
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="softmax_cross_entropy")
    with pytest.raises(cr.DataError, match="x_val, y_val"):
        model.fit(np.ones((2, 3)), [0, 1], validation_data=given, verbose=False)
