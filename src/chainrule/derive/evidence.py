"""Programs and lines at 50 digits: random points, runs with tangents, and whether a line holds there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.scene import Line, Scene, integer_ranges
from chainrule.evaluate.labelled import onto, ranges, size
from chainrule.evaluate.precise import Array, Entries, Precise, Slope, library
from chainrule.evaluate.prime import key
from chainrule.ir.expr import LOSS, Component, Tensor
from chainrule.ir.program import Equation, Program

CLOSE = "1e-40"  # of the greater side, or of 1


def random_reals(
    mp: Any, tensors: Iterable[Tensor], extents: Mapping[str, int], seed: int, integer: Mapping[str, int],
    positive: bool = False,
) -> dict[str, Array]:
    """Numbers of full precision: between 1/4 and 5/4, with a random sign unless `positive`."""
    values: dict[str, Array] = {}
    for tensor in tensors:
        rng = np.random.default_rng(key(seed, "reals", tensor.name))
        shape = tuple(size(e, extents) for e in tensor.shape)
        if tensor.dtype == "integer":
            values[tensor.name] = rng.integers(0, integer.get(tensor.name, 2), shape)
            continue
        words = rng.integers(0, 2**62, (*shape, 3)).astype(object)
        signs = np.where(rng.random(shape) < 0.5, 1, 1 if positive else -1).astype(object)
        whole = words[..., 0] * 2**124 + words[..., 1] * 2**62 + words[..., 2]
        real = np.frompyfunc(lambda w, s: s * (mp.mpf(w) / mp.mpf(2) ** 186 + mp.mpf(1) / 4), 2, 1)
        values[tensor.name] = np.asarray(real(whole, signs), object)
    return values


def bind(values: dict[str, Array], precise: Precise, equation: Equation, entries: Entries) -> None:
    """Put what an equation computes into its tensor's array, which is made if it is not there."""
    tensor, extents = equation.tensor, precise.extents
    if tensor.name not in values:
        shape = tuple(size(e, extents) for e in tensor.shape)
        values[tensor.name] = np.full(shape, precise.mp.mpf(1) / 3, object)
    place: list[Array] = []
    for subscript in equation.target.subscripts:
        position = ranges(subscript, extents)
        place.append(onto(position.data, position.axes, equation.indices))
    computed = precise.over(entries, equation.indices)
    # NumPy would store an object array of no axes as one entry.
    values[tensor.name][tuple(place)] = computed if computed.ndim else computed[()]


def run(
    mp: Any, program: Program, given: Mapping[str, Array], extents: Mapping[str, int],
    tangents: Mapping[str, Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The values of a program's tensors, and their tangents along `tangents`."""
    values, slopes = dict(given), dict(tangents or {})
    for equation in program.equations:
        precise = Precise(mp, values, extents)

        def seed(node: Component, precise: Precise = precise) -> Slope:
            slope = slopes.get(node.tensor.name)
            if slope is None:
                return None
            read = Component(node.tensor, node.subscripts, node.pad and Fraction(0))
            return precise.read(slope, read)

        entries = precise.value(equation.value)
        slope = precise.tangent(equation.value, seed) if slopes else None
        bind(values, precise, equation, entries)
        if slope is not None:
            if equation.tensor.name not in slopes:
                slopes[equation.tensor.name] = np.full(values[equation.tensor.name].shape, mp.zero, object)
            bind(slopes, precise, equation, slope)
    return values, slopes


def line_differs(scene: Scene, line: Line, seed: int) -> tuple[str, str, str] | None:
    """(point, left, right) where a line fails at 50 digits, at three points; None where it holds at all of them.

    A component that is no real number on either side says nothing; at least one must be.
    """
    mp, seen = library(), 0
    for trial in range(3):
        values = random_reals(mp, scene.given, scene.extents, seed + trial, scene.ranges, positive=trial == 0)
        for tensor, constant in scene.known.items():
            number = Precise(mp, values, scene.extents).value(constant).data[()]
            values[tensor.name] = np.full(tuple(size(e, scene.extents) for e in tensor.shape), number, object)
        for equation in scene.equations:
            if equation.tensor not in scene.known:
                precise = Precise(mp, values, scene.extents)
                bind(values, precise, equation, precise.value(equation.value))
        values.setdefault(LOSS.name, np.asarray(mp.one, object))
        precise = Precise(mp, values, scene.extents, scene.definitions)
        left, right = (precise.over(precise.value(side), line.free) for side in (line.before, line.after))
        for at in np.ndindex(*left.shape):
            a, b = left[at], right[at]
            if mp.isnan(a) or mp.isnan(b):
                continue
            seen += 1
            if not close(mp, a, b):
                where = ", ".join(f"{i.name} = {n}" for i, n in zip(line.free, at, strict=True))
                return f"seed {seed + trial}" + (f", {where}" if where else ""), mp.nstr(a, 20), mp.nstr(b, 20)
    return None if seen else ("three points", "no real number", "no real number")


def close(mp: Any, a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= mp.mpf(CLOSE) * max(mp.one, abs(a), abs(b)))


def gradient_differs(derivation: Derivation, extents: Mapping[str, int], seed: int) -> tuple[str, str, str] | None:
    """(point, left, right) where ⟨gradient, direction⟩ is not the tangent of the program along that direction, at three
    points, those first where what is drawn is positive. A point at which something is no real number says nothing;
    where all are such, the gradient stands on the lines that it is made of."""
    mp = library()
    forward, joint = derivation.forward, derivation.joint
    tops = integer_ranges(joint.given, (e.value for e in joint.equations), extents)
    for trial in range(3):
        given = random_reals(mp, joint.given, extents, seed + trial, tops, positive=trial < 2)
        moving = [forward.tensor(name) for name in derivation.gradients]
        direction = random_reals(mp, moving, extents, seed + trial + 7, {})
        values, slopes = run(mp, forward, {t.name: given[t.name] for t in forward.given}, extents, direction)
        values, _ = run(mp, derivation.backward, {**given, **values}, extents)
        expected, found = mp.zero, mp.zero
        for end in (derivation.loss,) if derivation.loss is not None else forward.outputs:
            if end.name in slopes:
                expected += mp.fsum(np.ravel(slopes[end.name] * given.get(adjoint_of(end).name, mp.one)))
        for name, gradient in derivation.gradients.items():
            found += mp.fsum(np.ravel(values[gradient.name] * direction[name]))
        if not (mp.isnan(found) or mp.isnan(expected) or close(mp, found, expected)):
            return f"seed {seed + trial}", mp.nstr(found, 20), mp.nstr(expected, 20)
    return None
