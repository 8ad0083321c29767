"""What random field elements refuse, at random real points: with 50 digits, or in float64 without mpmath."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.derive import evidence
from chainrule.derive.adjoint import Derivation
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.scene import Line, Scene, integer_ranges
from chainrule.errors import ChainruleError
from chainrule.evaluate.labelled import onto, ranges, size
from chainrule.evaluate.numpy import Array, evaluate, execute_equations
from chainrule.evaluate.precise import MissingLibraryError
from chainrule.evaluate.prime import key
from chainrule.ir.expr import LOSS, Tensor

CLOSE, STEP = 1e-9, 1e-5


def line_differs(scene: Scene, line: Line, seed: int) -> bool:
    """Whether a line fails at one of three points, or has a value at none."""
    try:
        return evidence.line_differs(scene, line, seed) is not None
    except MissingLibraryError:
        pass
    except ChainruleError:  # a side has no value at all
        return True
    try:
        return not all(_line_holds(scene, line, seed + trial) for trial in range(3))
    except ChainruleError:
        return True


def gradient_differs(derivation: Derivation, extents: Mapping[str, int], seed: int) -> bool:
    """Whether the whole gradient is not the program's, at one of three points that have real values."""
    try:
        return evidence.gradient_differs(derivation, extents, seed) is not None
    except MissingLibraryError:
        return not all(_gradient_holds(derivation, extents, seed + trial) for trial in range(3))


def _draw(tensor: Tensor, extents: Mapping[str, int], seed: int, top: int) -> Array:
    rng = np.random.default_rng(key(seed, "floats", tensor.name))
    shape = tuple(size(e, extents) for e in tensor.shape)
    return rng.integers(0, top, shape) if tensor.dtype == "integer" else rng.uniform(0.25, 1.25, shape)


def _line_holds(scene: Scene, line: Line, seed: int) -> bool:
    extents = scene.extents
    values = {t.name: _draw(t, extents, seed, scene.ranges.get(t.name, 2)) for t in scene.given}
    for tensor, constant in scene.known.items():
        number = evaluate(constant, values, (), extents=extents)
        values[tensor.name] = np.full(tuple(size(e, extents) for e in tensor.shape), number)
    for equation in scene.equations:
        if equation.tensor not in scene.known:
            value = evaluate(equation.value, values, equation.indices, extents=extents)
            drawn = _draw(equation.tensor, extents, seed, 1).astype(value.dtype)
            whole = values.setdefault(equation.tensor.name, drawn)
            places = (ranges(s, extents) for s in equation.target.subscripts)
            whole[tuple(onto(p.data, p.axes, equation.indices) for p in places)] = value
    values.setdefault(LOSS.name, np.ones(()))
    left, right = (
        np.asarray(evaluate(side, values, line.free, extents=extents, definitions=scene.definitions), float)
        for side in (line.before, line.after)
    )
    real = np.isfinite(left) & np.isfinite(right)
    return bool(real.any() and np.all(np.abs(left - right)[real] <= CLOSE * np.maximum(1, np.abs(left))[real]))


def _gradient_holds(derivation: Derivation, extents: Mapping[str, int], seed: int) -> bool:
    """⟨gradient, direction⟩ beside a central difference."""
    forward, joint = derivation.forward, derivation.joint
    tops = integer_ranges(joint.given, (e.value for e in joint.equations), extents)
    given = {t.name: _draw(t, extents, seed, tops.get(t.name, 2)) for t in joint.given}
    direction = {n: _draw(forward.tensor(n), extents, seed + 7, 2) - 0.75 for n in derivation.gradients}
    values = execute_equations(joint.equations, given, extents=extents)

    def result(step: float) -> float:
        moved = {n: given[n] + step * d if (d := direction.get(n)) is not None else given[n] for n in given}
        run = execute_equations(forward.equations, moved, extents=extents)
        ends = (derivation.loss,) if derivation.loss is not None else forward.outputs
        return float(sum(np.sum(run[end.name] * given.get(adjoint_of(end).name, 1.0)) for end in ends))

    expected = (result(STEP) - result(-STEP)) / (2 * STEP)
    shares = [values[g.name] * direction[name] for name, g in derivation.gradients.items()]
    found, scale = sum(float(np.sum(s)) for s in shares), 1 + sum(float(np.sum(np.abs(s))) for s in shares)
    return not np.isfinite(found - expected) or abs(found - expected) <= 1e-6 * scale
