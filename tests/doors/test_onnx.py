"""ONNX files as models: what exporters write comes in, and no file is trusted."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from torch import nn

import chainrule as cr
from chainrule.cli import main
from chainrule.interop.operators import FUNCTIONS, ROWS
from tests.doors.compare import arrays, differences
from tests.doors.damaged import answer
from tests.doors.test_torch import made
from tests.examples import few

MSE = "mean_squared_error"
FILES = [
    "mlp", "cnn", "resnet block", "mobilenet", "inception", "u-net", "mlp-mixer", "squeeze-excite",
    "llama feed-forward", "causal attention", "multi-head attention", "group norm", "bag of words", "dilated tcn",
    "densenet block", "gpt", "vision transformer", "shuffled channels", "attention in windows", "pixel shuffle",
]


def exported(module: nn.Module, example: tuple[Any, ...], path: Path, new: bool) -> str:
    """The file that PyTorch's exporter writes: the one that traces, or the one that is newer."""
    logging.disable(logging.WARNING)
    names = [f"x{k}" for k in range(len(example))]
    if new:
        shapes = tuple({0: torch.export.Dim.AUTO} for _ in example)
        program = torch.onnx.export(module, example, None, dynamo=True, dynamic_shapes=shapes, verbose=False)
        program.save(str(path), external_data=True)  # pyright: ignore[reportOptionalMemberAccess]
    else:
        axes = {name: {0: "N"} for name in names}
        torch.onnx.export(module, example, str(path), dynamo=False, input_names=names, dynamic_axes=axes)
    return str(path)


@pytest.mark.parametrize("number", few(range(len(FILES)), 3))
def test_what_exporters_write_comes_in(number: int, tmp_path: Path) -> None:
    module, example, samples = made(FILES[number], torch.float32)
    file = exported(module.eval(), example, tmp_path / "net.onnx", new=number % 2 == 1)
    model = cr.from_onnx(file)
    expected = module(*samples).detach().numpy()
    found = model.predict(arrays(samples), executor="numpy")
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=2e-6)


# The exporter works batch normalisation into a convolution before it, and writes tied weights twice.
CHANGED = {"resnet block", "mobilenet", "gpt"}


@pytest.mark.parametrize("name", few([*(name for name in FILES if name not in CHANGED), "highway"], 3))
def test_gradients_are_those_of_autograd(name: str, tmp_path: Path) -> None:
    """In float64, of the nets whose weights an exporter leaves as they are."""
    module, example, samples = made(name)
    file = exported(module.eval(), example, tmp_path / "net.onnx", new=False)
    off = differences(cr.from_onnx(file, loss=MSE), module, samples)
    # The exporter writes some weights transposed, which have no name here that the module knows.
    assert [line for line in off if "missing" not in line] == []


TENSORFLOW = sorted((Path(__file__).parent / "files").glob("tf_*.onnx"))


@pytest.mark.parametrize("path", TENSORFLOW, ids=lambda path: path.stem)
def test_what_tf2onnx_wrote_comes_in(path: Path) -> None:
    """Keras nets by tf2onnx 1.17, with TensorFlow 2.21's outputs, and gradients of their mean square by the input."""
    model, kept = cr.from_onnx(path, loss=MSE), np.load(path.with_suffix(".npz"))
    np.testing.assert_allclose(model.predict(kept["x"], executor="numpy"), kept["y"], rtol=1e-4, atol=2e-6)
    _, gradients = model.gradients(kept["x"], np.zeros_like(kept["y"]))
    np.testing.assert_allclose(gradients["input"], kept["gx"], rtol=1e-4, atol=1e-6)
    assert len(gradients) >= 3  # weights among them


def test_scikit_learns_perceptrons_come_in(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor

    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    fitted = MLPRegressor(hidden_layer_sizes=(5, 4), activation="tanh", max_iter=20).fit(x, x[:, 0])
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(fitted, x[:1]).SerializeToString())
    found = cr.from_onnx(path, loss=MSE)
    np.testing.assert_allclose(found.predict(x)[:, 0], np.asarray(fitted.predict(x)), rtol=1e-4, atol=1e-5)


def network(nodes: list[Any], weights: dict[str, Any], shape: tuple[Any, ...] = ("N", 3), opset: int = 18) -> Any:
    """A file with one input x and one output y."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    arrays_ = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", [given], [result], arrays_)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


W = np.arange(6, dtype=np.float32).reshape(3, 2)
GEMM = helper.make_node("Gemm", ["x", "W", "b"], ["y"], name="/fc/Gemm")
SOUND = {"W": W, "b": np.ones(2, np.float32)}


def test_layers_are_called_as_their_nodes_and_trained(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    nodes = [GEMM, helper.make_node("Softmax", ["y"], ["z"])]
    model = network(nodes, SOUND)
    model.graph.output[0].name = "z"
    onnx.save(model, str(file))
    found = cr.from_onnx(file, loss="softmax_cross_entropy")
    assert [label for label, _ in found.network.layers] == ["fc"]  # the softmax is the loss's
    np.testing.assert_array_equal(found.parameters["fc.W"], W.T)
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    found.fit(x, y, epochs=60, optimizer=cr.Adam(0.1), verbose=False)
    assert found.evaluate(x, y)["accuracy"] > 0.9
    np.testing.assert_array_equal(cr.from_onnx(file, fixed=["W", "b"]).predict(x[:1]).shape, (1, 2))
    partly = cr.from_onnx(file, fixed=["W"], loss="softmax_cross_entropy")
    assert [value.shape for value in partly.parameters.values()] == [(2,)]
    partly.fit(x, y, epochs=1, optimizer=cr.Adam(0.1), verbose=False)
    np.testing.assert_allclose(np.diff(partly.logits(x[:2]), axis=0), np.diff(x[:2], axis=0) @ W, rtol=1e-4)


def changed(**changes: Any) -> Any:
    """A sound file, and in it what is not."""
    model = network([GEMM], SOUND)
    for name, change in changes.items():
        match name:
            case "nodes":
                del model.graph.node[:]
                model.graph.node.extend(change)
            case "dims":
                model.graph.initializer[0].dims[:] = change
            case "shape":
                for dim, extent in zip(model.graph.input[0].type.tensor_type.shape.dim, change, strict=True):
                    dim.dim_value = extent
            case "opset":
                model.opset_import[0].version = change
            case "location":
                tensor = model.graph.initializer[0]
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in change.items():
                    tensor.external_data.add(key=key, value=str(value))
            case _:
                raise AssertionError(name)
    return model


node = helper.make_node
HOSTILE: dict[str, tuple[Any, str]] = {
    "a shape without its bytes": (changed(dims=[1 << 40, 1 << 40]), "bytes"),
    "a negative extent": (changed(dims=[-1, 6]), "shape"),
    "a cycle": (
        changed(nodes=[node("Add", ["x", "b"], ["a"]), node("Add", ["a", "c"], ["d"]), node("Neg", ["d"], ["c"])]),
        "cycles",
    ),
    "a name twice": (changed(nodes=[node("Neg", ["x"], ["a"]), node("Neg", ["a"], ["a"])]), "twice"),
    "a name that is code": (
        changed(nodes=[
            node("Neg", ["x"], ["y"], name="/__import__('os').system('x')\n/[k] = 1"), node("Foo'; 1", ["y"], ["z"]),
        ]), "",
    ),
    "an unknown operator": (changed(nodes=[node("Foo\n", ["x"], ["y"])]), "no row"),
    "another's operator": (changed(nodes=[node("Neg", ["x"], ["y"], domain="evil")]), "evil"),
    "a huge constant": (
        changed(nodes=[
            node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([1 << 20, 1 << 20]))),
            node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"]),
        ]), "constant",
    ),
    "a huge range": (
        changed(nodes=[
            *(node("Constant", [], [n], value_int=v) for n, v in (("i", 0), ("j", 1 << 50), ("k", 1))),
            node("Range", ["i", "j", "k"], ["r"]), node("Add", ["x", "r"], ["y"]),
        ]), "constant",
    ),
    "data above its folder": (changed(location={"location": "../secret"}), "folder"),
    "data anywhere": (changed(location={"location": "/etc/hostname"}), "folder"),
    "data beyond its end": (changed(location={"location": "net.onnx", "offset": 1 << 50}), "beyond"),
    "an old opset": (changed(opset=7), "older"),
    "no shape": (changed(shape=[0, 0]), "shape"),
    "a huge input": (changed(shape=[0, 1 << 40]), ""),
    "too many axes": (
        changed(nodes=[
            node("Constant", [], ["s"], value_ints=[-1, *[1] * 60, 3]), node("Reshape", ["x", "s"], ["r"]),
            node("Neg", ["r"], ["y"]),
        ]), "62 indices stand together",
    ),
    "no output": (changed(nodes=[node("Neg", ["x"], ["a"])]), "same for all"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    model, says = HOSTILE[name]
    (tmp_path / "secret").write_bytes(bytes(24))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    if name == "a name that is code":  # harmless: it becomes a label
        found = cr.from_onnx(folder / "net.onnx")
        assert all(label.isidentifier() for label, _ in found.network.layers)
        return
    with pytest.raises(cr.ChainruleError) as caught:
        cr.from_onnx(folder / "net.onnx")
    assert says in str(caught.value), str(caught.value)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "net.onnx").write_bytes(changed(location={"location": "link"}).SerializeToString())
    with pytest.raises(cr.ModelError, match="folder"):
        cr.from_onnx(folder / "net.onnx")


def test_axes_of_one_entry_may_be_many(tmp_path: Path) -> None:
    file, ones = tmp_path / "net.onnx", [1] * 10
    model = network([node("Reshape", ["x", "s"], ["r"]), node("Neg", ["r"], ["y"])], {"s": np.array([-1, *ones, 3])})
    file.write_bytes(model.SerializeToString())
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(cr.from_onnx(file).predict(x, executor="numpy"), -x.reshape(2, *ones, 3))


def test_data_beside_the_file_come_in(tmp_path: Path) -> None:
    model = network([GEMM], SOUND)
    onnx.save_model(model, str(tmp_path / "net.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert "fc.W" in cr.from_onnx(tmp_path / "net.onnx").parameters


@pytest.mark.parametrize(
    ("first", "last"), [(45000, 45200), pytest.param(45200, 65000, marks=pytest.mark.campaign)]
)
def test_damaged_files_come_in_or_are_refused_with_a_sentence(first: int, last: int, tmp_path: Path) -> None:
    """More of them by `python -m tests.doors.damaged`, which ends those that take too long or too much."""
    ends = {number: answer(number, tmp_path / "net.onnx") for number in range(first, last)}
    assert {number: end for number, end in ends.items() if end not in ("in", "refused")} == {}
    assert {*ends.values()} == {"in", "refused"}


def test_an_error_that_is_none_of_ours_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RecursionError("too deep")

    monkeypatch.setitem(FUNCTIONS, "Relu", broken)
    file = tmp_path / "relu.onnx"
    relu = network([node("Relu", ["x"], ["y"])], {}).SerializeToString()
    monkeypatch.setattr("tests.doors.damaged.damaged", lambda _: relu)
    assert answer(0, file).startswith("RecursionError")


# The node tests that do not come in, each with what is said, by what they ask for and a network of ours has not.
REFUSED_NODES: dict[str, tuple[str, str]] = {
    "three axes": ("axes", "convtranspose_3d"),
    "what holds in training": ("same for all", "batchnorm_example_training_mode batchnorm_epsilon_training_mode"),
    "uneven cuts": ("cut unevenly", "convtranspose_output_shape convtranspose_kernel_shape convtranspose_autopad_same"),
    "a normalisation over the samples": ("same for all", """
        layer_normalization_4d_axis0 layer_normalization_4d_axis_negative_4 layer_normalization_2d_axis0
        layer_normalization_2d_axis_negative_2 layer_normalization_3d_axis0_epsilon
        layer_normalization_3d_axis_negative_3_epsilon"""),
    "nothing": ("", """
        reduce_l2_empty_set reduce_max_empty_set reduce_min_empty_set reduce_sum_empty_set
        reduce_sum_empty_set_non_reduced_axis_zero reshape_allowzero_reordered slice_start_out_of_bounds
        split_zero_size_splits_opset13 split_zero_size_splits_opset18"""),
    "cropping, smoothing": ("a resize by", """
        resize_tf_crop_and_resize resize_tf_crop_and_resize_extrapolation_value resize_tf_crop_and_resize_axes_2_3
        resize_tf_crop_and_resize_axes_3_2 resize_downsample_scales_linear_antialias
        resize_downsample_sizes_linear_antialias resize_downsample_scales_cubic_antialias
        resize_downsample_sizes_cubic_antialias"""),
}
SAID = {f"test_{name}": says for says, names in REFUSED_NODES.values() for name in names.split()}
# These hold in training alone, and are read here as what they are after it.
OTHERWISE = {"test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"}


def node_tests() -> dict[str, Any]:
    """The float32 node tests of the operators in the table, none that is written out in others."""
    known, found = {*FUNCTIONS, *ROWS}, dict[str, Any]()
    for case in collect_testcases(None):
        plain = all(isinstance(value, np.ndarray) for part in case.data_sets[0] for value in part)
        if "expanded" in case.name or not plain or {node.op_type for node in case.model.graph.node} - known:
            continue
        given, expected = case.data_sets[0]
        if given and given[0].dtype == expected[0].dtype == np.float32:
            found[case.name] = case
    return found


NODES = node_tests()


def answered(case: Any, path: Path) -> dict[str, str]:
    """For each way in which a node test is a network whether it comes in and gives what the test says: with its first
    input as that of the network and the others as weights, or with all real ones as inputs, so that the first axis
    stands for the samples; or as a value that is added to an input of one entry, so that no axis does."""
    given: list[Any] = [np.asarray(array) for array in case.data_sets[0][0]]
    expected = np.asarray(case.data_sets[0][1][0])
    found: dict[str, str] = {}
    real = [k for k, array in enumerate(given) if array.dtype == np.float32 and array.ndim]
    for kept in ([0], real, []):
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        graph, inputs = model.graph, list(model.graph.input)
        del graph.input[:]
        graph.input.extend(info for k, info in enumerate(inputs) if k in kept)
        graph.initializer.extend(
            numpy_helper.from_array(given[k], info.name) for k, info in enumerate(inputs) if k not in kept
        )
        x, wanted = [given[k] for k in kept], expected
        if not kept:
            ones = [1] * max(expected.ndim, 1)
            x = [np.arange(3, dtype=np.float32).reshape(3, *ones)]
            wanted = x[0] + expected
            graph.input.append(helper.make_tensor_value_info("aside", TensorProto.FLOAT, ["N", *ones]))
            graph.node.append(helper.make_node("Add", ["aside", graph.output[0].name], ["beside"]))
            graph.output[0].name = "beside"
        path.write_bytes(model.SerializeToString())
        try:
            y = cr.from_onnx(path).predict(tuple(x) if len(x) > 1 else x[0], executor="numpy")
        except cr.ChainruleError as error:
            found["refused"] = found.get("refused", "") + str(error)
        else:
            # Some of the standard's numbers are given with four digits.
            same = y.size == wanted.size and np.allclose(y.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
            found["right" if same else "wrong"] = ""
            if same:
                break
    return found


@pytest.mark.parametrize("name", NODES)
def test_a_node_means_what_the_standard_says(name: str, tmp_path: Path) -> None:
    found = answered(NODES[name], tmp_path / "node.onnx")
    if name in SAID:
        assert "right" not in found and SAID[name] in found["refused"]
        assert "wrong" not in found or name in OTHERWISE
    else:
        assert "right" in found or name in OTHERWISE, found


def test_every_node_test_that_is_listed_is_one() -> None:
    assert [name for name in (*SAID, *OTHERWISE) if name not in NODES] == []
    assert len(NODES) > 340


def test_the_table_is_short() -> None:
    assert len({**FUNCTIONS, **ROWS}) <= 70


def test_the_command_line_reads_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, table = tmp_path / "net.onnx", tmp_path / "data.csv"
    onnx.save(network([GEMM], SOUND), str(file))
    assert main(["summary", str(file)]) == 0
    assert "fc" in capsys.readouterr().out
    assert main(["derive", str(file)]) == 0
    assert "fc" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    rows = [f"{a},{b},{c},{'yes' if a > 0 else 'no'}" for a, b, c in rng.normal(size=(90, 3)).round(3)]
    table.write_text("a,b,c,answer\n" + "\n".join(rows))
    assert main(["train", str(table), "--model", str(file), "--epochs", "3", "--quiet"]) == 0
    assert "held-out" in capsys.readouterr().out
    assert main(["derive", str(tmp_path / "none.onnx")]) == 2
