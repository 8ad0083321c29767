"""What the engines are held to: steps over the same rows, gradients that are exactly 0, collectives of a program."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.compile import training
from chainrule.derive import Derivation
from chainrule.ir.index import SAMPLES
from chainrule.loops.shares import shares
from chainrule.semantics import entries, field
from chainrule.semantics.reals import Floats, Reals, precise
from chainrule.targets.jax import Step
from chainrule.train.runners import Rule

Array = NDArray[Any]
Fit = Callable[..., cr.History]
COLLECTIVE = re.compile(r" (all-reduce|all-gather|collective-permute|all-to-all|reduce-scatter)(?:-start)?\(")


def identically_zero(derivation: Derivation) -> set[str]:
    """The parameters whose gradient is 0 whatever the numbers: at random points of GF(p) it is, or, where that needs
    shares to sum to 1, which random values of exp do not, at 50 digits."""
    joint, extents = derivation.joint, {SAMPLES: 2}
    ranges = field.integer_ranges(joint.given, [e.value for e in joint.equations], extents)
    values = field.execute(joint, field.random_values(joint.given, extents, 1, ranges), seed=1, extents=extents)
    found = {name for name, g in derivation.gradients.items() if not values[g.name][0].any()}

    def drawn(reals: Reals) -> dict[str, Array]:
        return {t.name: reals.draw(t, 1, ranges.get(t.name, 2), positive=False) for t in joint.given}

    floats = execute(joint, drawn(Floats(extents)), extents=extents)
    top = max(float(np.abs(floats[g.name]).max()) for g in derivation.gradients.values())
    near = {n for n, g in derivation.gradients.items() if float(np.abs(floats[g.name]).max()) < 1e-9 * top} - found
    if near:
        reals = precise(extents)
        exact, _ = entries.execute(reals, joint.equations, drawn(reals))
        found |= {n for n in near if max(map(abs, exact[derivation.gradients[n].name].flat)) < 1e-40}
    return found


def data_for(model: cr.Model, samples: int, seed: int = 0) -> tuple[Any, Array]:
    """Inputs, and targets that the model's loss takes."""
    rng = np.random.default_rng(seed)
    given: list[Array] = []
    for tensor in model.feed.inputs:
        shape = [samples, *(int(n) for n in tensor.shape[1:])]
        given.append(rng.integers(0, 5, shape) if tensor.dtype == "integer" else rng.normal(size=shape))
    shape = [samples, *(int(n) for n in model.network.logits.shape[1:])]
    assert model.loss
    match model.loss.labels:
        case "numbers":
            y = rng.normal(size=shape)
            y = np.abs(y) / np.abs(y).sum(-1, keepdims=True) if model.loss.name == "kl_divergence" else y
        case "binary":
            y = rng.integers(0, 2, shape).astype(float)
        case _:
            y = rng.integers(0, shape[-1], shape[:-1])
    return (given[0] if len(given) == 1 else tuple(given)), y


def off(one: Any, other: Any) -> float:
    """The greatest difference, of the greatest entry."""
    one, other = np.asarray(one), np.asarray(other)
    top = float(np.abs(one).max())
    return float(np.abs(one - other).max()) / (top or 1.0)


def off_gradients(model: cr.Model, x: Any, y: Array, **options: Any) -> dict[str, float]:
    """How far loss and gradients of two executors, NumPy and another, are apart; what is exactly 0, of all of them."""
    loss, ours = model.gradients(x, y, seed=5)
    other, found = model.gradients(x, y, seed=5, **options)
    top, zero = max(float(np.abs(g).max()) for g in ours.values()), identically_zero(model.derive())
    apart = {n: float(np.abs(found[n]).max()) / top if n in zero else off(ours[n], found[n]) for n in ours}
    return {"loss": off(loss, other)} | apart


def stepped(model: cr.Model, x: Any, y: Array, steps: int, batch: int, rule: cr.Optimizer, **options: Any) -> Array:
    """The loss of each of so many steps over batches that are drawn anew each time."""
    rng, losses = np.random.default_rng(3), list[float]()
    for _ in range(steps):
        rows = rng.permutation(len(y))[:batch]
        part = tuple(a[rows] for a in x) if isinstance(x, tuple) else x[rows]
        losses.append(model.train_on_batch(part, y[rows], optimizer=rule, **options)["loss"])
    return np.array(losses)


def off_parameters(one: cr.Model, other: cr.Model) -> float:
    """How far parameters are apart, but for those whose gradient is exactly 0."""
    zero = identically_zero(one.derive())
    return max(off(one.parameters[name], other.parameters[name]) for name in one.parameters if name not in zero)


def rounds(model: cr.Model, rule: cr.Optimizer) -> int:
    """How often those who share a batch must meet, by the equations of a step."""
    assert model.loss
    return len(shares(training(model.network, model.derive(), rule, model.loss.labels)).rounds)


def compiled(
    model: cr.Model, rule: cr.Optimizer, samples: int, devices: int, shard: Rule | None = None
) -> tuple[Step, Any, Any]:
    """A step for devices, what it keeps, and the program that XLA has compiled."""
    net, derivation = model.network, model.derive()
    assert model.loss
    task = training(net, derivation, rule, model.loss.labels)
    step = Step(task, model.dtype, devices, shard)
    rates = [model.dtype.type(0.1) for _ in task.stepwise]
    count = len(step.places(samples))
    rows: dict[Any, Array] = {
        t: np.zeros([count, *(int(n) for n in t.shape[1:])], np.int32 if t.dtype == "integer" else model.dtype)
        for t in task.data if t not in task.drawn
    }
    with step.wide():
        state = step.put(model._learning(task, rule))
        return step, state, step.jitted.lower(*step.arguments(state, rows, rates, 0, 0, samples)).compile()


def collectives(model: cr.Model, rule: cr.Optimizer, samples: int, devices: int) -> list[str]:
    """What devices tell each other in a step, in the program that XLA has compiled."""
    return COLLECTIVE.findall(compiled(model, rule, samples, devices)[2].as_text())


def held_by_a_device(
    model: cr.Model, rule: cr.Optimizer, samples: int, devices: int, shard: Rule | None
) -> dict[str, tuple[int, int]]:
    """How many numbers of what is kept a device holds, before a step and after it."""
    step, (before, _), program = compiled(model, rule, samples, devices, shard)
    after = program.output_shardings[0][0]
    return {
        t.name: (a.addressable_shards[0].data.size, int(np.prod(at.shard_shape(a.shape))))
        for t, a, at in zip(step.lasting, before, after, strict=True)
    }
