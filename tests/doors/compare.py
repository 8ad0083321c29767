"""Where a model that was brought in is not the module that it comes from."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

import chainrule as cr


def arrays(tensors: tuple[torch.Tensor, ...]) -> Any:
    found = [tensor.detach().numpy() for tensor in tensors]
    return tuple(found) if len(found) > 1 else found[0]


def differences(model: cr.Model, module: nn.Module, example: tuple[torch.Tensor, ...]) -> list[str]:
    """What is off by more than 1e-12 of its largest entry, in float64: the outputs outside training, and in training
    the loss and every gradient, those of weights and of inputs; each weight's with its name in the module."""
    twin = copy.deepcopy(module).eval()
    off: list[str] = []
    outside = twin(*example).detach().numpy()
    ours = model.logits(arrays(example), executor="numpy")
    if not close(ours.reshape(outside.shape), outside):
        off.append(f"the output {np.abs(ours.reshape(outside.shape) - outside).max():.1e}")
    twin.train()
    given = tuple(x.clone().requires_grad_(x.is_floating_point()) for x in example)
    output = twin(*given)
    target = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = ((output - target) ** 2).mean()
    value.backward()
    loss, gradients = model.gradients(arrays(example), target.numpy().reshape(ours.shape))
    if not close(np.array(loss), value.detach().numpy()):
        off.append(f"the loss {loss} {value.item()}")
    wanted = {name: p.grad.numpy() for name, p in twin.named_parameters() if p.grad is not None}
    wanted |= {f"input {k}": x.grad.numpy() for k, x in enumerate(given) if x.grad is not None}
    found = by_values(model, gradients, twin)
    off += [f"{name} is missing" for name in sorted(wanted.keys() ^ found.keys())]
    top = max(float(np.abs(g).max()) for g in wanted.values())
    for name in sorted(wanted.keys() & found.keys()):
        scale = max(float(np.abs(wanted[name]).max()), 1e-3 * top)
        worst = float(np.abs(found[name].reshape(wanted[name].shape) - wanted[name]).max())
        if not worst <= 1e-12 * scale:
            off.append(f"the gradient of {name} {worst / scale:.1e}")
    return off


def by_values(model: cr.Model, gradients: Any, module: nn.Module) -> dict[str, Any]:
    """Gradients by the names that weights have in the module: a weight is known by its values."""
    theirs = {p.detach().numpy().tobytes(): name for name, p in module.named_parameters()}
    found: dict[str, Any] = {}
    for name, gradient in gradients.items():
        if name.startswith("input"):
            found[f"input {int(name[5:] or 1) - 1}"] = gradient
        else:
            found[theirs.get(model.parameters[name].tobytes(), name)] = gradient
    return found


def close(one: Any, other: Any) -> bool:
    return bool(np.abs(one - other).max() <= 1e-12 * max(1.0, float(np.abs(other).max())))
