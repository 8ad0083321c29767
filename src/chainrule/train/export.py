"""A model as files for others: an ONNX graph that predicts, or one that trains; a module of PyTorch.

A graph that trains is the step of `fit`: from a batch, its targets, parameters, states and the rate to the next values
of what is kept and the loss. What is kept is an input whose default is where the model stands, so that the first step
is given data alone, and each further step the outputs `next.…` of the one before.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.compile import forward, training
from chainrule.errors import ModelError
from chainrule.nn.network import check_inference
from chainrule.optim.named import optimizer_named, saved_optimizer
from chainrule.optim.optimizer import RATE, Optimizer
from chainrule.render.network import kept, module
from chainrule.targets.onnx import File, to_bytes
from chainrule.train.state import Training, begun
from chainrule.verify.certificate import digest

if TYPE_CHECKING:
    from chainrule.train.model import Model

Array = NDArray[Any]


def onnx_of(model: Model, optimizer: Optimizer | str | None, *, trains: bool) -> bytes:
    """Raises ModelError where there is no loss to train by, `onnx` is missing, or a prediction would have to draw."""
    if trains:
        return to_bytes(_training(model, optimizer))
    if optimizer is not None:
        raise ModelError("a file that predicts has no optimizer", fix="write training=True, or leave it out")
    check_inference(model.network)
    tensor = model.network.inferred
    task = forward(model.network, tensor)
    values = {t.name: model.values[t.name] for t in task.kept}
    return to_bytes(File(task, values, {tensor: "prediction"}, True, model.dtype, "prediction", _about(model)))


def _training(model: Model, optimizer: Optimizer | str | None) -> File:
    net = model.network
    if net.loss is None:
        raise ModelError("a model without a loss does not train", fix='give it one: loss="softmax_cross_entropy"')
    state = begun(model.trained, optimizer, None, _another(model.trained, optimizer))
    rule = state.optimizer
    task = training(net, model.derive(), rule, "numbers", model.rates)
    values = {**rule.start(net.training.parameters, model.dtype), **state.kept, **model.values.arrays}
    values[RATE.name] = np.asarray(rule.rate_at(state.steps))
    following = {n: f"next.{t.name}" for t, n in task.following.items() if n is not t}
    assert task.loss
    about = {
        **_about(model), "optimizer": repr(rule),
        "random": json.dumps({t.name: share for t, (_, share) in task.drawn.items()}),
    }
    return File(task, values, {task.loss: "loss", **following}, False, model.dtype, "training", about)


def _another(state: Training | None, optimizer: Optimizer | str | None) -> bool:
    """Whether an optimizer is given that is not the one that training has gone on with."""
    if state is None or optimizer is None:
        return False
    return saved_optimizer(optimizer_named(optimizer)) != saved_optimizer(state.optimizer)


def torch_of(model: Model) -> tuple[str, bytes]:
    """The file of a `torch.nn.Module`, and the safetensors with its weights."""
    from safetensors.numpy import save  # pyright: ignore[reportUnknownVariableType]

    check_inference(model.network)
    arrays = {t.name: np.ascontiguousarray(model.values[t.name]) for t in kept(model.network)}
    return module(model.network, double=model.dtype == np.float64), save(arrays)


def _about(model: Model) -> dict[str, str]:
    return {"chainrule": version("chainrule"), "derivation": digest(model.derive())}
