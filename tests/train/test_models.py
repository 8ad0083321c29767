"""Models from TOML files: what they build, and what is said about a bad one."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tests.examples import few

import chainrule as cr
from chainrule.nn.layers import ACTIVATIONS, LAYERS
from chainrule.train.models import BUILT_IN, read_model_file

GOOD = """
input = [3]
classes = 4
loss = "softmax_cross_entropy"
l2 = 0.5

[[layers]]
type = "Dense"
units = 5
bias = false

[[layers]]
type = "relu"

[[layers]]
type = "Dense"
units = "classes"

[training]
epochs = 3
rate = 1
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "net.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_builds_the_model_that_it_describes(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    model = cr.read_model(path, seed=3)
    same = cr.Sequential(
        cr.Input(3), cr.Dense(5, bias=False), "relu", cr.Dense(4), loss="softmax_cross_entropy", l2=0.5, seed=3
    )
    assert model.summary() == same.summary()
    assert model.l2 == 0.5
    for name, value in same.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], value)
    training = read_model_file(path).training
    assert (training.epochs, training.rate, training.optimizer) == (3, 1, "sgd")


def test_the_input_and_the_classes_can_be_given(tmp_path: Path) -> None:
    model = cr.read_model(write(tmp_path, GOOD), input=[2, 7], classes=9)
    assert [value.shape for value in model.parameters.values()] == [(5, 14), (9, 5), (9,)]
    bare = write(tmp_path, GOOD.replace("input = [3]", "").replace("classes = 4", ""))
    assert cr.read_model(bare, input=(3,), classes=2).parameters["dense2.W"].shape == (2, 5)
    with pytest.raises(cr.ModelError, match="shape of its input"):
        cr.read_model(bare, classes=2)
    with pytest.raises(cr.ModelError, match=r"layer 3 \(Dense\)"):
        cr.read_model(bare, input=[3])


def test_a_model_of_a_file_is_saved_and_loaded(tmp_path: Path) -> None:
    model = cr.read_model(write(tmp_path, GOOD))
    model.classes = ("a", "ä", "c", "d")
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors")
    x = np.ones((2, 3))
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    assert again.classes == model.classes


def test_a_graph_adds_and_a_list_is_a_tuple_of_sizes(tmp_path: Path) -> None:
    text = """
        input = [2, 6, 6]
        [loss]
        name = "softmax_cross_entropy"
        label_smoothing = 0.1
        [[layers]]
        type = "Conv2d"
        filters = 2
        kernel_size = [3, 1]
        padding = [1, 0]
        [[layers]]
        type = "tanh"
        name = "a"
        [[layers]]
        type = "Sigmoid"
        from = "input"
        name = "b"
        [[layers]]
        type = "Add"
        from = ["a", "b"]
        [[layers]]
        type = "Reshape"
        extents = [9, 8]
        [[layers]]
        type = "Dense"
        units = 3
    """
    model = cr.read_model(write(tmp_path, text))
    x = cr.Input(2, 6, 6)
    h = cr.Tanh()(cr.Conv2d(2, (3, 1), padding=(1, 0))(x)) + cr.Sigmoid()(x)
    same = cr.Model(x, cr.Dense(3)(cr.Reshape(9, 8)(h)), loss=cr.softmax_cross_entropy(label_smoothing=0.1))
    values = np.random.default_rng(0).random((4, 2, 6, 6))
    np.testing.assert_array_equal(model.predict(values), same.predict(values))
    assert model.evaluate(values, [0, 1, 2, 0]) == same.evaluate(values, [0, 1, 2, 0])


STEPS = [("lenet", "native"), *((name, "numpy") for name in BUILT_IN if name not in ("vgg-small", "resnet-tiny"))]


@pytest.mark.parametrize(("name", "executor"), few(product(BUILT_IN, ["native", "numpy"]), STEPS))
def test_every_built_in_model_takes_a_step_and_comes_back(
    name: str, executor: Literal["native", "numpy"], tmp_path: Path
) -> None:
    model = cr.read_model(name)
    shape, dtype = [int(extent) for extent in model.inputs[0].shape[1:]], model.inputs[0].dtype
    rng = np.random.default_rng(0)
    x = rng.integers(0, 99, (2, *shape)) if dtype == "integer" else rng.random((2, *shape))
    y = np.zeros((2, 1)) if name == "neuron" else np.array([0, 1])
    before = {key: np.array(value) for key, value in model.parameters.items()}
    model.fit(x, y, epochs=1, optimizer=cr.SGD(0.01), verbose=False, executor=executor)
    assert all(not np.array_equal(before[key], value) for key, value in model.parameters.items() if key[-1] == "W")
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(x, executor=executor), model.predict(x, executor=executor))


def test_lenet_and_vgg_small_have_the_parameters_of_their_sources() -> None:
    def count(name: str) -> int:
        return sum(value.size for value in cr.read_model(name).parameters.values())

    conv = [(6, 25), (16, 6 * 25), (120, 400), (84, 120), (10, 84)]
    assert count("lenet") == sum(out * (into + 1) for out, into in conv)
    vgg = [(32, 27), (32, 288), (64, 288), (64, 576), (256, 4096), (10, 256)]
    assert count("vgg-small") == sum(out * (into + 1) for out, into in vgg)


@pytest.mark.parametrize("kind", [*LAYERS, *ACTIVATIONS])
def test_every_layer_can_be_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(cr.ModelError) as caught:
        read_model_file(write(tmp_path, f'input = [1]\n[[layers]]\ntype = "{kind}"\nunitz = 1'))
    assert "'unitz'" in str(caught.value)
    assert f"layer 1 ({kind})" in str(caught.value)


CONV = '[[layers]]\ntype = "Conv2d"\nfilters = 2\nkernel_size = 3\n'


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed("loss =", "los ="), ["'los'", "did you mean 'loss'"]),
        (changed("bias = false", "biass = false"), ["layer 1 (Dense)", "'biass'", "did you mean 'bias'"]),
        (changed("bias = false", "bias = 1"), ["layer 1 (Dense)", "bias", "true or false", "1"]),
        (changed("bias = false", 'bias = "no"'), ["layer 1 (Dense)", "'no'"]),
        (changed("units = 5", 'units = "5"'), ["layer 1 (Dense)", "units", "a whole number", "'5'"]),
        (changed("units = 5", "units = true"), ["layer 1 (Dense)", "True"]),
        (changed("units = 5", "units = 5.5"), ["layer 1 (Dense)", "5.5"]),
        (changed("units = 5", "units = 0"), ["layer 1 (Dense)", "positive whole number", "0"]),
        (changed("units = 5", "units = [5]"), ["layer 1 (Dense)", "[5]"]),
        (changed("units = 5", "units = 99999999999999999"), ["does not fit into memory"]),
        (changed("units = 5\n", ""), ["layer 1 (Dense)", "'units' is missing"]),
        (changed("bias = false", 'init = "glorott"'), ["layer 1 (Dense)", "'glorot'"]),
        (changed('"relu"', '"rely"'), ["layer 2 (rely)", "did you mean 'ReLU'"]),
        (changed('"relu"', '"conv2D"'), ["layer 2 (conv2D)", "did you mean 'Conv2d'"]),
        (changed('type = "relu"', "type = 3"), ["layer 2", "no type"]),
        (changed('type = "relu"', ""), ["layer 2", "no type"]),
        (changed('"relu"', '"relu"\nfrom = "a"'), ["layer 2 (relu)", "'a'", 'name = "a"']),
        (changed('"relu"', '"relu"\nfrom = "imput"'), ["did you mean 'input'"]),
        (changed('"relu"', '"relu"\nfrom = 2'), ["from", "2"]),
        (changed('"relu"', '"relu"\nfrom = []'), ["from", "[]"]),
        (changed('"relu"', '"relu"\nname = "input"'), ["name", "'input'"]),
        (changed('"relu"', '"relu"\nname = 3'), ["name", "3"]),
        (changed('"relu"', '"relu"\nfrom = ["input", "input"]'), ["layer 2 (relu)", "1 input"]),
        (changed('"relu"', '"relu"\nfrom = "input"'), ["layer 1 (Dense)", "does not depend"]),
        (changed("units = 5", 'units = 5\nname = "a"').replace('"relu"', '"relu"\nname = "a"'), ["two layers", "'a'"]),
        (changed("[3]", "3"), ["input", "[1, 28, 28]"]),
        (changed("[3]", "[3, 0]"), ["positive whole number", "0"]),
        (changed("[3]", "[]"), ["input"]),
        (changed("[3]", '[3]\ninput_dtype = "int"'), ["input_dtype", '"integer"']),
        (changed("classes = 4", "classes = 4.0"), ["classes", "4.0"]),
        (changed("classes = 4", ""), ["layer 3 (Dense)", "classes = 10"]),
        (changed("l2 = 0.5", "l2 = -1"), ["l2", "-1"]),
        (changed("l2 = 0.5", "l2 = nan"), ["l2", "nan"]),
        (changed('"softmax_cross_entropy"', '"crossentropy"'), ["'softmax_cross_entropy'"]),
        (changed('"softmax_cross_entropy"', "3"), ["loss", "3"]),
        (changed('"softmax_cross_entropy"', '{name = "huber", delt = 1}'), ["'delt'", "delta"]),
        (changed('"softmax_cross_entropy"', '{name = "huber", delta = -1}'), ["delta", "-1"]),
        (changed('"softmax_cross_entropy"', "{delta = 1}"), ["name"]),
        (changed("epochs = 3", "epochs = 0"), ["[training]", "epochs", "0"]),
        (changed("epochs = 3", "epoch = 3"), ["did you mean 'epochs'"]),
        (changed("rate = 1", "rate = inf"), ["[training]", "rate", "inf"]),
        (changed("rate = 1", "validation = 1"), ["[training]", "validation", "below 1"]),
        (changed("rate = 1", "patience = 0.5"), ["[training]", "patience", "0.5"]),
        (changed("rate = 1", "rate = 0"), ["rate"]),
        (changed("rate = 1", "momentum = 1.0"), ["momentum", "below 1"]),
        (changed("rate = 1", 'optimizer = "adamm"'), ["did you mean 'adam'"]),
        (changed("rate = 1", 'schedule = "cosin"'), ["did you mean 'cosine'"]),
        ("training = 3\n" + GOOD.split("[training]", maxsplit=1)[0], ["[training]", "table"]),
        (changed("units = 5", "units = "), ["net.toml", "line 9"]),
        (changed("bias = false", "units = 6"), ["net.toml", "no TOML"]),
        ("input = [3]", ["no layers"]),
        ("input = [3]\nlayers = [1]", ["no layers"]),
        ("input = [3]\nlayers = " + "[" * 5000, ["no TOML"]),
        ("", ["no layers"]),
        (b"input = [\xff]", ["UTF-8"]),
        (b"#" * (2 << 20), ["longer than"]),
        ("input = [1, 2, 2]\n" + CONV, ["conv2d1"]),
        ("input = [1, 9, 9]\n" + CONV + "stride = -1", ["layer 1 (Conv2d)", "stride", "-1"]),
        ("input = [1, 9, 9]\n" + CONV + "stride = 1.5", ["layer 1 (Conv2d)", "stride", "whole number or a list"]),
        ("input = [1, 9, 9]\n" + CONV + 'padding = "sane"', ["layer 1 (Conv2d)", "padding", "'sane'"]),
        ("input = [1, 9, 9]\n" + CONV + "groups = 3", ["groups", "3"]),
        ("input = [9]\n" + '[[layers]]\ntype = "Dropout"\nrate = 1.0', ["layer 1 (Dropout)", "rate", "1.0"]),
    ],
)
def test_a_bad_file_is_answered_with_the_place_the_value_and_the_fix(
    text: str | bytes, says: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(cr.ChainruleError) as caught:
        cr.read_model(path)
    found = str(caught.value)
    assert all(part in found for part in [*says, str(path), "fix:"]), found
    assert len(found) < 1000


@pytest.mark.parametrize(("name", "says"), [("lenett", "'lenet'"), ("zzzzz", "choose from"), ("", "choose from")])
def test_an_unknown_name_is_answered_with_the_nearest(name: str, says: str) -> None:
    with pytest.raises(cr.ModelError, match="no model") as caught:
        cr.read_model(name)
    assert says in str(caught.value)


def test_a_missing_file_is_said_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        cr.read_model(tmp_path / "none.toml")


def test_a_model_of_whole_numbers_cannot_be_standardised() -> None:
    arguments: dict[str, Any] = {"standardise": True}
    with pytest.raises(cr.ModelError, match="whole numbers"):
        read_model_file("transformer-tiny").build(**arguments)
