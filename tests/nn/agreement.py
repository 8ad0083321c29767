"""Where a model's loss and gradients are not those of JAX and of central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import chainrule as cr
from chainrule import compile as compiling
from chainrule.arrays.execute import execute
from chainrule.ir.expr import LOSS
from chainrule.train.runners import drawn

Tree = dict[str, Any]


def flat(x: Any) -> Any:
    return x.reshape(len(x), -1)


def dense(p: Tree, name: str, x: Any) -> Any:
    return flat(x) @ p[f"{name}.W"].T + p.get(f"{name}.b", 0.0)


def disagreements(
    model: cr.Model,
    forward: Callable[[Tree, Any], Any],
    loss: Callable[[Any, Any], Any],
    x: Any,
    y: Any,
    t: Any | None = None,
    penalty: Callable[[Tree], Any] = lambda p: 0.0,
) -> list[str]:
    """What of the output, the loss and its gradients by every parameter and the input is off by more than 1e-10 of the
    largest entry."""
    target = y if t is None else t
    given = {**{n: jnp.asarray(v) for n, v in model.parameters.items()}, "input": jnp.asarray(x)}

    def run(p: Tree) -> Any:
        u = forward(p, p["input"])
        return loss(u, target) + penalty(p), u

    (expected, u), gradients = jax.jit(jax.value_and_grad(run, has_aux=True))(given)
    outputs = np.asarray(u)
    value, ours = model.gradients(x, y)
    off = [] if abs(value - float(expected)) <= 1e-10 * max(1, abs(float(expected))) else ["the loss"]
    if not model.states and not model.network.random:  # otherwise `predict` is another program
        top, logits = max(1, float(np.abs(outputs).max())), model.logits(x)
        if logits.shape != outputs.shape or not np.allclose(logits, outputs, rtol=1e-10, atol=1e-10 * top):
            off.append("the output")
    return off + differing(ours, gradients)


def differing(ours: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Gradients off by more than 1e-10 of the greatest entry. One that is 0 by symmetry (of a key's bias, for example)
    is rounding in both: it is held to 1e-12 of the greatest entry of all the gradients."""
    arrays = {name: np.asarray(g) for name, g in expected.items()}  # JAX would compile abs and max for every shape
    top = max(float(np.abs(g).max()) for g in arrays.values())

    def same(name: str) -> bool:
        if name not in arrays or name not in ours or ours[name].shape != arrays[name].shape:
            return False
        scale = max(float(np.abs(arrays[name]).max()), 1e-3 * top, 1e-9)
        return float(np.abs(ours[name] - arrays[name]).max()) <= 1e-10 * scale

    return [name for name in {**arrays, **ours} if not same(name)]


def draws(model: cr.Model, seed: int, step: int, samples: int, dtype: str) -> dict[str, Any]:
    """What the model's layers draw in a step, by name."""
    task = compiling.task_of(model.network.training, [], model.network)
    return {t.name: a for t, a in drawn(task, seed, step, samples, np.dtype(dtype)).items()}


def off_slopes(model: cr.Model, values: Mapping[str, Any], target: Any) -> list[str]:
    """Gradients whose slope along a random direction is not that of central differences."""
    derivation = model.derive()
    rng = np.random.default_rng(0)
    given = {**values, "target": target, **dict(model.states), **draws(model, 0, 0, len(target), "float64")}
    given = {t.name: given[t.name] for t in derivation.forward.given}
    run = execute(derivation.joint, given)
    off: list[str] = []
    for name in derivation.gradients:
        direction = rng.standard_normal(given[name].shape)
        up, down = (
            execute(derivation.forward, {**given, name: given[name] + h * direction})[LOSS.name] for h in (1e-6, -1e-6)
        )
        slope = float(up - down) / 2e-6
        if not abs(slope - float(np.sum(run[f"δ({name})"] * direction))) <= 1e-6 * max(1.0, abs(slope)):
            off.append(name)
    return off
