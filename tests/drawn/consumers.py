"""What a drawn program goes through. Each consumer gives the faults that it finds; a ChainruleError that it raises is a
refusal, and any other exception a fault as well (`campaign.judged`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from chainrule.arrays.execute import execute
from chainrule.derive.compose import compose, composites
from chainrule.derive.lemma import adjoint_of
from chainrule.ir.expr import Component, Tensor, derived
from chainrule.ir.program import Equation, Program
from chainrule.semantics import field, prime
from tests.drawn import oracle
from tests.drawn.language import N
from tests.drawn.subject import Fault, Subject, extents_of

Array = NDArray[Any]
CLOSE = 1e-8


class SkippedError(Exception):
    """There is nothing to compare: no point away from kinks."""


def distance(found: Array, right: Array) -> float:
    if found.shape != right.shape:
        return float("inf")
    return float(np.max(np.abs(found - right), initial=0) / max(float(np.max(np.abs(right), initial=0)), 1.0))


def computed(s: Subject, point: oracle.Point) -> dict[str, Array]:
    """All tensors by the NumPy executor in float64."""
    given = s.values(point.values)
    if s.signals:
        given[s.signals[0].name] = point.signal
    known = {t.name for t in s.derivation.joint.given}
    with np.errstate(all="ignore"):
        given = {n: v for n, v in given.items() if n in known}
        return {**given, **execute(s.derivation.joint, given)}


def _found(s: Subject, run: Mapping[str, Array], names: Iterable[str]) -> Iterator[tuple[str, Array]]:
    """The gradient of each tensor. Of a text that is derived as it stands, those of which it speaks."""
    for name in names:
        tensor = s.derivation.gradients.get(s.names[name])
        if tensor is not None:
            yield name, run[tensor.name]
        elif not s.open:
            raise LookupError(f"there is no gradient of {name}")


def point_of(s: Subject, seed: int, samples: int) -> oracle.Point:
    point = oracle.point(s.program, seed, samples)
    if point is None:
        raise SkippedError
    return point


def against_slopes(s: Subject, seed: int = 0, samples: int = 3) -> list[Fault]:
    """The result, and each gradient along a random direction, against complex steps."""
    point = point_of(s, seed, samples)
    run, faults = computed(s, point), list[Fault]()
    rng = np.random.default_rng([seed, 2])
    directions = {n: rng.uniform(-1, 1, point.values[n].shape) for n in oracle.wrt(s.program)}
    right, slopes = oracle.slopes(s.program, point, directions)
    if not (off := distance(run[s.result.name], right)) < CLOSE:
        faults.append(Fault("numbers", "wrong value", f"off by {off:.1g}"))
    for name, gradient in _found(s, run, slopes):
        if gradient.shape != directions[name].shape:
            faults.append(Fault("numbers", "wrong shape", f"of the gradient by {name}"))
            continue
        found = float((gradient * directions[name]).sum())
        scale = max(1.0, float(np.abs(gradient).max(initial=0)))
        if not abs(found - slopes[name]) < CLOSE * scale:
            faults.append(Fault("numbers", "wrong gradient", f"by {name}: {found:.6g}, not {slopes[name]:.6g}"))
    return faults


def against_jax(s: Subject, seed: int = 0, samples: int = 3) -> list[Fault]:
    """The result and all gradients, entry by entry, against JAX."""
    point = point_of(s, seed, samples)
    run, faults = computed(s, point), list[Fault]()
    right, gradients = oracle.gradients(s.program, point)
    jax.clear_caches()  # each program is compiled once
    if not (off := distance(run[s.result.name], right)) < CLOSE:
        faults.append(Fault("jax", "wrong value", f"off by {off:.1g}"))
    for name, found in _found(s, run, gradients):
        if not distance(found, gradients[name]) < CLOSE:
            faults.append(Fault("jax", "wrong gradient", f"by {name}: {_shown(found)}, not {_shown(gradients[name])}"))
    return faults


def _shown(a: Array) -> str:
    return np.array2string(a.reshape(-1)[:4], precision=4, separator=" ")


def elements(s: Subject, tensors: Sequence[Tensor], extents: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Random field elements, and whole numbers where they are asked for: in each column below its own bound."""
    values = field.random_values(tensors, extents, seed, {t.name: 1 for t in tensors if t.dtype == "integer"})
    for g in s.program.given:
        if g.tops and s.names[g.name] in values:
            rng = np.random.default_rng([seed, 4])
            values[s.names[g.name]] = rng.integers(0, g.tops, values[s.names[g.name]].shape)
    return values


def over_the_field(s: Subject, seed: int = 0, samples: int = 2) -> list[Fault]:
    """⟨gradient, direction⟩ is the tangent of the original program, by dual numbers over GF(p)."""
    d, extents = s.derivation, extents_of(s, samples)
    forward, p = d.forward, prime.PRIME
    given = elements(s, forward.given, extents, seed)
    moved = [forward.tensor(name) for name in d.gradients]
    direction = field.random_values(moved, extents, seed + 1)
    drawn = field.random_values(s.signals, extents, seed + 2)
    _, tangent = field.execute(forward, given, seed=seed, tangents=direction, extents=extents)[s.result.name]
    weight = drawn[s.signals[0].name] if s.signals else prime.elements(np.ones(tangent.shape, np.int64))
    joint = field.execute(d.joint, {**given, **drawn}, seed=seed, extents=extents)
    found = sum(prime.dot(joint[g.name][0], direction[name]) for name, g in d.gradients.items())
    if found % p == prime.dot(weight, tangent) % p:
        return []
    return [Fault("field", "wrong gradient")]


def composed(s: Subject, seed: int = 0, samples: int = 3) -> list[Fault]:
    """The last line of each composite is the whole gradient of the tensor that it is about."""
    d = s.derivation
    pairs = [pair for found in composites(d) for pair in found.uses]
    if not pairs:
        return []
    run, wrong = computed(s, point_of(s, seed, samples)), list[str]()
    for outer, inner in pairs:
        composite = compose(outer.instance, inner.instance)
        gradient = adjoint_of(inner.tensor)
        line = Equation(Component(derived("composite", gradient), composite.target.subscripts), composite.result)
        given = (*d.joint.given, *(t for t in d.joint.defined if t in line.value.tensors))
        with np.errstate(all="ignore"):
            found = execute(Program((line,), given, outputs=(line.tensor,)), {t.name: run[t.name] for t in given})
        if not distance(found[line.tensor.name], run[gradient.name]) < CLOSE:
            wrong.append(f"{inner.tensor.name} by {outer.equation.tensor.name}")
    return [Fault("composites", "no gradient", ", ".join(wrong))] if wrong else []


def of_one_sample(s: Subject, seed: int = 0, samples: int = 3) -> list[Fault]:
    """Where there are lines for one sample, the error signal that they start from is that of the sample's own loss:
    the signal of the first sample is the same whatever the tensor has at the others."""
    d = s.derivation
    about = {use.equation.tensor: None for use in d.uses if d.sample(use) is not None}
    if d.loss is None or not about:
        return []
    point = point_of(s, seed, samples)
    others = oracle.draw(s.program, seed + 1, 0.5, samples)
    others = {g.name: others[g.name] if N in g.shape else point.values[g.name] for g in s.program.given}
    run, other = (computed(s, replace(point, values=values)) for values in (point.values, others))
    wrong = list[str]()
    for tensor in about:
        signal, axis = adjoint_of(tensor).name, tensor.shape.index(N)
        own = np.arange(samples).reshape([-1 if n == axis else 1 for n in range(len(tensor.shape))]) == 0
        given = {t.name: run[t.name] for t in d.joint.given}
        given[tensor.name] = np.where(own, run[tensor.name], other[tensor.name])
        rest = tuple(e for e in d.joint.equations if e.tensor != tensor)
        with np.errstate(all="ignore"):
            moved = execute(Program(rest, (*d.joint.given, tensor)), given)
        if not distance(moved[signal].take(0, axis), run[signal].take(0, axis)) < CLOSE:
            wrong.append(tensor.name)
    return [Fault("samples", "coupled", ", ".join(sorted(wrong)))] if wrong else []
