"""A layer in a model of its own, against three oracles: JAX in float64, dual numbers in GF(p), central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from tests.derive.oracle import gradients_are_exact
from tests.nn.agreement import Tree, differing, off_slopes

import chainrule as cr

Forward = Callable[..., Any]
extents = st.integers(1, 4)
# The loss has gradients of every sign and size, and no minimum that would hide a factor.
LOSS = "half_squared_error"


def model_of(layer: cr.Layer | list[cr.Layer], *shape: int, dtype: str = "float64", loss: str = LOSS) -> cr.Model:
    return cr.Sequential(cr.Input(*shape), layer, loss=loss, dtype=dtype)  # pyright: ignore[reportArgumentType]


def randomised(model: cr.Model, rng: np.random.Generator) -> cr.Model:
    """With other parameters than ones and zeros."""
    for name, value in model.parameters.items():
        model.parameters[name] = rng.normal(size=value.shape)
    return model


def disagreements(
    model: cr.Model,
    forward: Forward,
    *,
    samples: int = 3,
    scales: tuple[float, ...] = (1.0, 0.01, 30.0),
    entries: int = 0,
    seed: int = 0,
    differences: bool = True,
    change: Callable[[Any], Any] = lambda x: x,
) -> list[str]:
    """What differs of the loss and every gradient, at inputs of several sizes. `forward(parameters, *inputs)` is JAX;
    inputs of whole numbers are less than `entries`; `change` sets the inputs to a case to look at."""
    rng = np.random.default_rng([seed, samples])
    randomised(model, rng)
    derivation = model.derive()
    inputs = [t for t in derivation.forward.inputs if t.name.startswith("input")]
    shape = tuple(samples if extent == "N" else int(extent) for extent in model.network.logits.shape)
    ranges = {t.name: entries for t in inputs if t.dtype == "integer"}
    off = [] if gradients_are_exact(derivation, {"N": samples}, seed + 1, ranges) else ["a gradient over GF(p)"]

    def loss(given: Tree, fixed: Tree, target: Any) -> Any:
        values = {**given, **fixed}
        u = forward(values, *(values[t.name] for t in inputs))
        return jnp.sum((u - target) ** 2) / (2 * samples)

    jitted = jax.jit(jax.value_and_grad(loss))
    for number, scale in enumerate(scales):
        drawn: dict[str, Any] = {}
        for t in inputs:
            size = tuple(samples if extent == "N" else int(extent) for extent in t.shape)
            real = change(scale * rng.normal(size=size))
            drawn[t.name] = rng.integers(0, entries, size) if t.name in ranges else real
        target = rng.normal(size=shape)
        given = {**dict(model.parameters), **{name: v for name, v in drawn.items() if name not in ranges}}
        expected, gradients = jitted(given, {name: v for name, v in drawn.items() if name in ranges}, target)
        x = tuple(drawn.values()) if len(drawn) > 1 else drawn[inputs[0].name]
        value, ours = model.gradients(x, target)
        if not abs(value - float(expected)) <= 1e-9 * max(1e-3, abs(float(expected))):
            off.append(f"the loss at inputs of size {scale}")
        off += [f"{name} at inputs of size {scale}" for name in differing(ours, gradients)]
        if differences and number == 0:
            off += [f"{name} by differences" for name in off_slopes(model, {**given, **drawn}, target)]
    return off


def slopes(layer: cr.Layer, x: Any) -> Any:
    """The derivative of the sum of a layer's outputs at each place of x, (N, …)."""
    x = np.asarray(x, float)
    model = cr.Sequential(cr.Input(*x.shape[1:]), layer, dtype="float64", loss=LOSS)
    # δ = (y − t)/N is 1 for this target.
    return model.gradients(x, model.predict(x) - len(x))[1]["input"]
