"""Float behaviour: the error of each gradient in float32 and float64, measured against 50 digits.

Three kinds of points, all exact in float32: *random* ones; *saturated* ones, 32 times as large, where sigmoids and
exponentials run out of range; *tied* ones of −1, 0 and 1, where relus stand at their kink and maxima have equals.
At tied points the derivation and the executor must follow the conventions of the catalogue: there a mask x ≥ 0 in
place of x > 0 shows, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.arrays import execute as executor
from chainrule.derive import Derivation
from chainrule.derive.reduce import small_derivation
from chainrule.derive.scene import extents_for
from chainrule.derive.trial import sides_differ
from chainrule.errors import VerificationError
from chainrule.ir.expr import Tensor
from chainrule.semantics.entries import execute as execute_exactly
from chainrule.semantics.field import integer_ranges
from chainrule.semantics.labelled import shape_of
from chainrule.semantics.prime import key
from chainrule.semantics.reals import Precise, precise

Array = NDArray[Any]
Kind = Literal["random", "saturated", "tied"]
KINDS: tuple[Kind, ...] = ("random", "saturated", "tied")
Execute = Callable[..., Mapping[str, Array]]
TIES = 3  # tied points
WRONG = 2.0**-20  # a relative error at a tie that no rounding of float64 explains


@dataclass(frozen=True)
class Measured:
    """The greatest error of a gradient's entries, in ulps of its largest entry; None where it is not finite."""

    gradient: str
    dtype: str
    kind: Kind
    ulps: float | None

    def __str__(self) -> str:
        shown = "not finite" if self.ulps is None else f"{self.ulps:.1f} ulp"
        return f"δ{self.gradient} in {self.dtype}, {self.kind} point: {shown}"


def draw(tensor: Tensor, extents: Mapping[str, int], kind: Kind, seed: int, top: int, positive: bool) -> Array:
    rng = np.random.default_rng(key(seed, "floats", kind, tensor.name))
    shape = shape_of(tensor, extents)
    if tensor.dtype == "integer":
        return rng.integers(0, top, shape)
    if kind == "tied":
        return rng.integers(0 if positive else -1, 2, shape).astype(np.float64) + positive
    values = rng.uniform(0.25, 1.25, shape) * (1 if positive else rng.choice([-1.0, 1.0], shape))
    return values.astype(np.float32).astype(np.float64) * (32 if kind == "saturated" else 1)


def measure(
    derivation: Derivation, *, samples: int = 2, seed: int = 0, execute: Execute = executor.execute
) -> tuple[Measured, ...]:
    """The errors of every gradient, at reduced shapes. Raises VerificationError where a gradient breaks a convention
    at a tie; MissingLibraryError without mpmath."""
    derivation = small_derivation(derivation) or derivation
    joint, extents = derivation.joint, extents_for(derivation.forward, samples)
    real = precise(extents)
    mp = real.mp
    top = integer_ranges(joint.given, (e.value for e in joint.equations), extents)
    found: list[Measured] = []
    forward = {t.name for t in derivation.forward.given}
    points: list[tuple[Kind, int]] = [(k, n) for k in KINDS for n in range(TIES if k == "tied" else 1)]
    for kind, number in points:
        for positive in (False, True):
            given = {
                # An error signal that is given is never 0, or a tie might not show.
                t.name: draw(t, extents, kind if t.name in forward else "random", seed + number, top.get(t.name, 2),
                             positive)
                for t in joint.given
            }
            exact, _ = execute_exactly(real, joint.equations, {n: _exact(real, v) for n, v in given.items()})
            if all(not mp.isnan(x) for g in derivation.gradients.values() for x in _entries(exact[g.name])):
                break
        else:
            continue  # no real gradient at either point
        if kind == "tied":
            _conventions(real, derivation, given, seed + number)
        for dtype in (np.float32, np.float64):
            with np.errstate(all="ignore"):
                values = execute(joint, given, dtype=dtype)
            overall = max(_largest(mp, exact[g.name]) for g in derivation.gradients.values())
            for name, gradient in derivation.gradients.items():
                ulps, relative = _error(mp, values[gradient.name], exact[gradient.name], overall, dtype)
                found.append(Measured(name, np.dtype(dtype).name, kind, ulps))
                if kind == "tied" and dtype is np.float64 and not relative <= WRONG:
                    at = int(np.argmax(np.abs(values[gradient.name] - exact[gradient.name].astype(float))))
                    raise VerificationError(
                        f"the gradient of {name} in float64", f"a tie, entry {at}, seed {seed + number}",
                        str(_entries(values[gradient.name])[at]), mp.nstr(_entries(exact[gradient.name])[at], 20),
                    )
    return tuple(found)


def _entries(array: Array) -> list[Any]:
    return array.ravel().tolist()


def _exact(real: Precise, array: Array) -> Array:
    return array if array.dtype.kind in "iu" else real.one(real.mp.mpf, array)


def _largest(mp: Any, exact: Array) -> Any:
    return max((abs(x) for x in _entries(exact)), default=mp.zero)


def _error(mp: Any, found: Array, exact: Array, overall: Any, dtype: Any) -> tuple[float | None, float]:
    """The greatest error in ulps of the gradient's largest entry, and relative to the largest of all gradients. A
    gradient that is 0 but for the 50 digits' own rounding is measured in ulps of the latter too."""
    if not np.isfinite(found).all():
        return None, float("inf")
    largest = _largest(mp, exact)
    if largest < overall * mp.mpf(2) ** -100:
        largest = overall
    pairs = zip(_entries(found), _entries(exact), strict=True)
    worst = max((abs(mp.mpf(float(a)) - b) for a, b in pairs), default=mp.zero)
    unit = float(np.spacing(dtype(float(largest)))) if largest else float(np.finfo(dtype).tiny)
    if not np.isfinite(unit):
        return None, float("inf")
    return float(worst / unit), float(worst / overall) if overall else float(worst)


def _conventions(real: Precise, derivation: Derivation, given: Mapping[str, Array], seed: int) -> None:
    """At a tie the derived gradient is still the tangent of the original program, under the catalogue's conventions."""
    direction: dict[str, Array] = {}
    for name in derivation.gradients:
        shape = shape_of(derivation.forward.tensor(name), real.extents)
        direction[name] = np.random.default_rng(key(seed, "direction", name)).integers(1, 1000, shape)
    known = {name: _exact(real, array) for name, array in given.items()}
    moved = {name: real.lifted(array) for name, array in direction.items()}
    found = sides_differ(derivation, derivation.backward, real, known, moved, f"seed {seed}")
    if found is not None:
        raise VerificationError("a gradient at a tie", found.point, found.left, found.right)


def summary(measured: tuple[Measured, ...]) -> tuple[str, ...]:
    """One row for each kind of point and type: the worst gradient."""
    rows: list[str] = []
    for kind in KINDS:
        for dtype in ("float32", "float64"):
            part = [m for m in measured if (m.kind, m.dtype) == (kind, dtype)]
            if not part:
                continue
            broken = [m.gradient for m in part if m.ulps is None]
            finite = [m for m in part if m.ulps is not None]
            worst = max(finite, key=lambda m: m.ulps or 0.0, default=None)
            text = f"{kind} point, {dtype}: "
            if worst is not None:
                text += f"at most {worst.ulps:.1f} ulp of the largest entry (δ{worst.gradient})"
            if broken:
                text += f"{'; ' if worst else ''}not finite: {', '.join(f'δ{b}' for b in broken)}"
            rows.append(text)
    return tuple(rows)
