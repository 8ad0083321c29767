"""ONNX files of standard operators, run by an onnxruntime that knows nothing of training, against native training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.cli import main
from chainrule.loops.task import Task
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.optim.named import OPTIMIZERS
from chainrule.optim.optimizer import Optimizer
from chainrule.targets.onnx import File, to_bytes
from tests.derive.cases import ALL, Case
from tests.nn.test_every_layer import MODELS
from tests.render.test_listing import WRITTEN, random_values

pytestmark = pytest.mark.doors
Array = NDArray[Any]
STEPS, BATCH = 20, 4


def session(model: Path | bytes) -> Any:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), providers=["CPUExecutionProvider"]
    )


def loaded(path: Path) -> Any:
    import onnx  # pyright: ignore[reportMissingImports]

    return onnx.load(str(path))


def outputs(made: Any, feed: Mapping[str, Array]) -> dict[str, Array]:
    return dict(zip([o.name for o in made.get_outputs()], made.run(None, dict(feed)), strict=True))


def steps(made: Any, x: Array, target: Array, more: Callable[[int], Mapping[str, Array]] = lambda _: {}) -> list[float]:
    """The losses of steps by onnxruntime, each given what came out of the one before."""
    kept: dict[str, Array] = {}
    losses = list[float]()
    for step in range(STEPS):
        rows = np.arange(step * BATCH, (step + 1) * BATCH) % len(x)
        found = outputs(made, {"input": x[rows], "target": target[rows], **kept, **more(step)})
        losses.append(float(found.pop("loss")))
        kept = {name.removeprefix("next."): value for name, value in found.items()}
    return losses


def own_steps(model: cr.Model, x: Array, target: Array, rule: Optimizer) -> list[float]:
    rows = [np.arange(step * BATCH, (step + 1) * BATCH) % len(x) for step in range(STEPS)]
    return [model.train_on_batch(x[r], target[r], optimizer=rule)["loss"] for r in rows]


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True))


def trained(model: cr.Model, x: Array, target: Array, rule: Optimizer, folder: Path) -> float:
    """How far the losses of 20 steps by onnxruntime are from ours, at most."""
    model.to_onnx(folder / "step.onnx", training=True, optimizer=rule)
    return furthest(steps(session(folder / "step.onnx"), x, target), own_steps(model, x, target, rule))


def with_layer(name: str, dtype: str) -> cr.Model:
    shape, build = MODELS[name]
    x = cr.Input(*shape, dtype="integer" if LAYERS[name].integer else "real")
    model = cr.Model(x, cr.Dense(2)(build(x)), loss="half_squared_error", dtype=dtype, l2=0.1)
    for state, value in model.states.items():
        model.states[state] = np.full_like(value, 0.5)  # as if it had been learnt
    return model


def convolutions(model: cr.Model, folder: Path, **options: Any) -> int:
    """How many nodes of the file that is written are convolutions."""
    model.to_onnx(folder / "net.onnx", **options)
    return sum(node.op_type == "Conv" for node in loaded(folder / "net.onnx").graph.node)


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("Conv")])
def test_a_convolution_is_one_in_the_file_and_so_is_the_gradient_of_its_kernel(name: str, tmp_path: Path) -> None:
    assert convolutions(with_layer(name, "float32"), tmp_path) == 1
    assert convolutions(with_layer(name, "float32"), tmp_path, training=True, optimizer=cr.SGD(0.1)) == 2
    # The control: onnxruntime convolves float32, and other types are sums of products there.
    assert convolutions(with_layer(name, "float64"), tmp_path) == 0


def test_a_network_has_as_many_convolutions_in_the_file_as_its_derivation(tmp_path: Path) -> None:
    lenet = cr.read_model("lenet")
    assert convolutions(lenet, tmp_path) == 2
    # Both layers, both kernels' gradients, and the error signal that goes through the second.
    assert convolutions(lenet, tmp_path, training=True, optimizer=cr.SGD(0.1)) == 5
    assert convolutions(cr.read_model("mlp"), tmp_path, training=True, optimizer=cr.SGD(0.1)) == 0


DRAWING = ("Dropout", "Attention")
TYPES = ("float32", "float64")
LISTED = [(n, d) for n in LAYERS for d in TYPES if n not in DRAWING and (n, d) != ("GELU", "float64")]


def batches(name: str, dtype: str = "float64") -> Array:
    """Samples for all steps, none twice: a loss that is learnt to nothing would be compared with its own noise."""
    shape, rng = (STEPS * BATCH, *MODELS[name][0]), np.random.default_rng(5)
    return rng.integers(0, 5, shape) if LAYERS[name].integer else rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), LISTED)  # onnxruntime has no error function in float64
def test_every_layer_predicts_and_trains_in_onnxruntime_as_here(name: str, dtype: str, tmp_path: Path) -> None:
    model, x = with_layer(name, dtype), batches(name, dtype)
    model.to_onnx(tmp_path / "net.onnx")
    target = np.random.default_rng(2).normal(size=(len(x), *map(int, model.network.logits.shape[1:]))).astype(dtype)
    for rows in (1, len(x)):
        (predicted,) = session(tmp_path / "net.onnx").run(["prediction"], {"input": x[:rows]})
        close = 1e-14 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(predicted, model.predict(x[:rows]), rtol=close, atol=close)
    assert trained(model, x, target, cr.SGD(0.01), tmp_path) <= (5e-7 if dtype == "float32" else 1e-13)


def classifier(loss: str = "softmax_cross_entropy", dtype: str = "float32") -> tuple[cr.Model, Array, Array]:
    rng = np.random.default_rng(1)
    model = cr.Sequential(cr.Input(4), cr.Dense(5), cr.Tanh(), cr.Dense(3), loss=loss, dtype=dtype)
    return model, rng.normal(size=(12, 4)).astype(dtype), np.eye(3, dtype=dtype)[rng.integers(0, 3, 12)]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_in_onnxruntime_as_here(loss: str, tmp_path: Path) -> None:
    assert trained(*classifier(loss), cr.Adam(0.01), tmp_path) <= 5e-7
    assert trained(*classifier(loss, "float64"), cr.Adam(0.01), tmp_path) <= 1e-13


RULES = [*OPTIMIZERS.values(), cr.SGD(0.05, momentum=0.9, clip_norm=0.1), cr.Adam(0.01, clip_value=0.05)]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_optimizer_trains_in_onnxruntime_as_here(rule: Optimizer, tmp_path: Path) -> None:
    assert trained(*classifier(), rule, tmp_path) <= 5e-7
    assert trained(*classifier(dtype="float64"), rule, tmp_path) <= 1e-13


@pytest.mark.parametrize("name", ["lenet", "transformer-tiny"])
def test_a_built_in_network_trains_in_onnxruntime_as_here(name: str, tmp_path: Path) -> None:
    model, rng = cr.read_model(name), np.random.default_rng(3)
    (given,), shape = model.inputs, model.network.logits.shape[1:]
    size = (STEPS * BATCH, *[int(e) for e in given.shape[1:]])
    x = rng.integers(0, 10, size) if given.dtype == "integer" else rng.normal(size=size).astype(np.float32)
    target = np.eye(int(shape[-1]), dtype=np.float32)[rng.integers(0, int(shape[-1]), (len(x), *map(int, shape[:-1])))]
    assert trained(model, x, target, cr.SGD(0.01), tmp_path) <= 5e-7


@pytest.mark.parametrize("name", DRAWING)
def test_a_mask_that_is_drawn_is_an_input_without_a_default(name: str, tmp_path: Path) -> None:
    model, x = with_layer(name, "float64"), batches(name)[:BATCH]
    (drawn,) = model.network.training.random
    model.to_onnx(tmp_path / "step.onnx", training=True, optimizer=cr.SGD(0.1))
    made = session(tmp_path / "step.onnx")
    assert [i.name for i in made.get_inputs()] == ["input", "target", drawn.name]
    rng = np.random.default_rng(4)
    feed = {
        "input": x, "target": rng.normal(size=(BATCH, *map(int, model.network.logits.shape[1:]))),
        drawn.name: (rng.uniform(size=(BATCH, *map(int, drawn.shape[1:]))) < 0.6).astype(float),
    }
    found = outputs(made, feed)
    values = {t.name: model.values[t.name] for t in model.network.training.parameters}
    wanted = execute(model.derive().joint, {**feed, **values})
    assert abs(found["loss"] - wanted["loss()"]) <= 1e-13 * wanted["loss()"]
    for parameter, value in values.items():
        stepped = value - 0.1 * wanted[f"δ({parameter})"]
        np.testing.assert_allclose(found[f"next.{parameter}"], stepped, rtol=1e-12, atol=1e-14)


def test_a_file_goes_on_where_training_stands(tmp_path: Path) -> None:
    model, x, target = classifier()
    rule = cr.Adam(0.01)
    own_steps(model, x, target, rule)
    assert trained(model, x, target, rule, tmp_path) <= 5e-7


def test_what_is_in_the_file_reads_as_the_derivation_does(tmp_path: Path) -> None:
    model, *_ = classifier()
    model.to_onnx(tmp_path / "step.onnx", training=True, optimizer="adam")
    file = loaded(tmp_path / "step.onnx")
    says = {n.output[0]: n.doc_string for n in file.graph.node}
    assert says["dense2.u"] == "dense2.u[n, k<3] = sum[l<5](dense2.W[k, l]*tanh1.z[n, l]) + dense2.b[k]"
    assert says["grad.dense2.W"].startswith("δdense2.W[i<3, j<5] = sum[n](δdense2.u[n, i]*")
    about = {p.key: p.value for p in file.metadata_props}
    assert (about["derivation"], about["optimizer"][:17]) == (model.verify().program, "Adam(rate=0.001, ")
    assert (file.producer_name, file.producer_version) == ("chainrule", about["chainrule"])
    assert file.opset_import[0].version == 18
    assert {n.domain for n in file.graph.node} == {""}
    assert [d.dim_param or d.dim_value for d in file.graph.input[0].type.tensor_type.shape.dim] == ["N", 4]


def test_a_graph_with_a_wrong_operator_is_told_apart(tmp_path: Path) -> None:
    model, x, target = classifier()
    model.to_onnx(tmp_path / "step.onnx", training=True, optimizer=cr.SGD(0.1))
    file = loaded(tmp_path / "step.onnx")
    node = next(n for n in file.graph.node if n.output[0] == "next.dense1.W")
    assert node.op_type == "Add"
    node.op_type = "Sub"
    wrong = steps(session(file.SerializeToString()), x, target)
    assert furthest(wrong, own_steps(model, x, target, cr.SGD(0.1))) > 1e-3


def differing(case: Case) -> list[str]:
    """What a program computes otherwise in onnxruntime."""
    derivation = case.derivation
    joint = derivation.joint
    wanted = dict.fromkeys((*joint.outputs, *derivation.gradients.values()))
    task = Task(joint.equations, joint.given, (), {}, tuple(wanted))
    names = {t: f"out{number}" for number, t in enumerate(wanted)}
    made = session(to_bytes(File(task, {}, names, True, np.dtype("float64"), "program", {"chainrule": "0"})))
    values = random_values(derivation, 3, 2)
    held = {i.name for i in made.get_inputs()}
    found = outputs(made, {n: np.asarray(v) for n, v in values.items() if n in held})
    right = execute(joint, values, dtype=np.dtype("float64"))
    return [
        t.name for t, name in names.items()
        if found[name].shape != right[t.name].shape
        or not np.allclose(found[name], right[t.name], rtol=1e-10, atol=1e-12, equal_nan=True)
    ]


EQUATIONS = {**ALL, **WRITTEN}


@pytest.mark.parametrize("name", EQUATIONS)
def test_what_a_user_writes_gives_its_gradients(name: str) -> None:
    assert differing(EQUATIONS[name]) == []


def test_the_command_line_writes_both(tmp_path: Path) -> None:
    for more in ((), ("--training", "--optimizer", "adam")):
        assert main(["export", "mlp", "-o", str(tmp_path / "m.onnx"), *more]) == 0
        assert [i.name for i in session(tmp_path / "m.onnx").get_inputs()] == ["input", "target"][: 1 + bool(more)]
