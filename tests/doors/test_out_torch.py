"""A model as a `torch.nn.Module`: what it gives, in training and outside of it, is what the model gives."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.cli import main
from tests.doors.test_out_source import said_of
from tests.nn.test_every_layer import MODELS, model_with, samples_of

pytestmark = pytest.mark.doors
Array = NDArray[Any]


def torch() -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    return torch


def network(model: cr.Model, folder: Path) -> Any:
    model.to_torch(folder / "net.py")
    return run_path(str(folder / "net.py"))["load"]()


def given(x: Array) -> Any:
    return torch().from_numpy(x)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_gives_what_it_gives_here(name: str, tmp_path: Path) -> None:
    model, x = model_with(name), samples_of(name)
    for state, value in model.states.items():
        model.states[state] = np.full_like(value, 0.5)
    made = network(model, tmp_path)
    np.testing.assert_allclose(made(given(x)).detach().numpy(), model.logits(x), rtol=1e-13, atol=1e-13)
    # and PyTorch trains it
    made.train()(given(x)).sum().backward()
    assert {n for n, p in made.named_parameters() if p.grad is not None} == {*model.parameters}


def test_a_network_in_training_moves_its_states_and_has_the_gradients(tmp_path: Path) -> None:
    x = cr.Input(6)
    model = cr.Model(
        x, cr.Dense(2)(cr.ReLU()(cr.BatchNorm()(cr.Dense(5)(x)))), loss="half_squared_error", dtype="float64"
    )
    rng = np.random.default_rng(0)
    data, target = rng.normal(size=(8, 6)), rng.normal(size=(8, 2))
    made = network(model, tmp_path).train()
    loss = ((made(given(data)) - given(target)) ** 2).sum() / 2 / len(data)
    loss.backward()
    values = {"input": data, "target": target, **dict(model.parameters), **dict(model.states)}
    wanted = execute(model.derive().joint, values)
    assert abs(loss.item() - wanted["loss()"]) < 1e-13
    for name, parameter in made.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), wanted[f"δ({name})"], rtol=1e-12, atol=1e-13)
    moved = {s.tensor.name: wanted[s.next.name] for s in model.network.training.states}
    assert moved
    for name, value in moved.items():
        np.testing.assert_allclose(dict(made.named_buffers())[name].numpy(), value, rtol=1e-13, atol=1e-13)


def test_dropout_drops_in_training_alone(tmp_path: Path) -> None:
    made = network(cr.Sequential(cr.Input(100), cr.Dropout(0.25)), tmp_path)
    ones = torch().ones(50, 100)
    assert bool((made(ones) == 1).all())
    dropped = made.train()(ones)
    assert {round(float(v), 5) for v in dropped.unique()} == {0.0, round(4 / 3, 5)}
    assert 0.2 < float((dropped == 0).float().mean()) < 0.3


def test_the_file_is_clean_and_the_command_line_writes_it(tmp_path: Path) -> None:
    for name in ("lenet", "mlp"):
        assert main(["export", name, "-o", str(tmp_path / f"{name}.py")]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"lenet.py", "lenet.safetensors", "mlp.py", "mlp.safetensors"}
    assert said_of(tmp_path) == "All checks passed!\n"
