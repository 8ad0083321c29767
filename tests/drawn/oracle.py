"""What a program means, by JAX or NumPy and straight from the tests' own tree: index grids, gathers, reductions.

Every value under D indices has D axes, each of that index's extent or of 1. JAX differentiates it, in a second or so.
So does NumPy, along one direction and in a millisecond, by a complex step: f(x + i·h·v) = f(x) + i·h·f′(x)·v + O(h²),
and with h = 1e-40 nothing of that is lost (Squire & Trapp, SIAM Review 40 (1998)). NumPy also says where kinks are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from numpy.typing import NDArray

from tests.drawn.language import (
    TARGET,
    Add,
    Affine,
    Apply,
    Divide,
    Equation,
    Expr,
    Index,
    Minus,
    Multiply,
    N,
    Number,
    Positive,
    Power,
    Program,
    Read,
    Reduce,
    Same,
    Within,
)

Array = NDArray[Any]
Axes = Mapping[str, tuple[int, int]]
"""By the name of an index, its axis and its extent."""


def _functions(xp: Any, erfc: Callable[[Any], Any]) -> dict[str, Callable[..., Any]]:
    """Those with a kink look at real parts."""
    return {
        "exp": xp.exp, "expm1": xp.expm1, "log": xp.log, "sigmoid": lambda x: 1 / (1 + xp.exp(-x)), "tanh": xp.tanh,
        "softplus": lambda x: xp.log1p(xp.exp(x)), "erfc": erfc, "step": lambda x: xp.where(x.real > 0, 1.0, 0.0),
        "relu": lambda x: xp.where(x.real > 0, x, 0.0), "max": lambda x, y: xp.where(x.real >= y.real, x, y),
        "min": lambda x, y: xp.where(x.real <= y.real, x, y), "sign": lambda x: xp.sign(x.real) + 0.0,
        "abs": lambda x: xp.where(x.real > 0, x, xp.where(x.real < 0, -x, 0.0)),
    }


FUNCTIONS = {np: _functions(np, scipy.special.erfc), jnp: _functions(jnp, jax.scipy.special.erfc)}


@dataclass
class Watch:
    """What kinks are about: arguments whose sign decides, and the entries of maxima, in the order of evaluation."""

    signs: list[Array] = field(default_factory=list[Array])
    tops: list[Array] = field(default_factory=list[Array])
    largest: float = 0.0


class Evaluation:
    """The values of the program's tensors by name. `xp` is numpy or jax.numpy."""

    def __init__(self, values: Mapping[str, Any], samples: int, xp: Any = np, watch: Watch | None = None) -> None:
        self.values, self.samples, self.xp, self.watch = dict(values), samples, xp, watch

    def size(self, extent: int | str) -> int:
        return self.samples if extent == N else int(extent)

    def run(self, program: Program, equations: tuple[Equation, ...]) -> dict[str, Any]:
        shapes = program.shapes
        for e in equations:
            indices = e.indices
            axes = {i.name: (n, self.size(i.extent)) for n, i in enumerate(indices)}
            value = self.over(self.value(e.value, axes, len(indices)), axes)
            shape = () if e is program.loss else tuple(map(self.size, shapes[e.name]))
            place = tuple(self.affine(s, axes, len(indices)) for s in e.subscripts)
            whole = self.values.get(e.name, self.xp.zeros(shape, value.dtype))
            if not shape:
                whole = value.reshape(())
            elif self.xp is np:
                whole = np.array(whole, np.result_type(whole, value))
                whole[place] = value
            else:
                whole = whole.at[place].set(value)
            self.values[e.name] = whole
        return self.values

    def over(self, value: Any, axes: Axes) -> Any:
        shape = [1] * len(axes)
        for n, extent in axes.values():
            shape[n] = extent
        return self.xp.broadcast_to(value, shape)

    def affine(self, a: Affine, axes: Axes, depth: int) -> Array:
        result = np.full((1,) * depth, a.offset)
        for index, c in a.terms:
            axis, extent = axes[index.name]
            result = result + c * np.arange(extent).reshape([-1 if n == axis else 1 for n in range(depth)])
        return result

    def value(self, node: Expr, axes: Axes, depth: int) -> Any:
        result = self._value(node, axes, depth)
        if self.watch is not None and not isinstance(node, Read):
            self.watch.largest = max(self.watch.largest, float(np.abs(result).max(initial=0)))
            if not np.all(np.isfinite(result)):
                self.watch.largest = math.inf
        return result

    def _value(self, node: Expr, axes: Axes, depth: int) -> Any:
        xp = self.xp
        functions = FUNCTIONS[xp]

        def of(part: Expr) -> Any:
            return self.value(part, axes, depth)

        match node:
            case Number(value, _):
                return xp.full((1,) * depth, math.pi if value == "pi" else float(value))
            case Read():
                return self.read(node, axes, depth)
            case Add(terms):
                return sum((of(t) if plus else -of(t) for plus, t in terms), start=np.zeros((1,) * depth))
            case Multiply(factors):
                return prod((of(f) for f in factors), start=np.ones((1,) * depth))
            case Divide(above, below):
                return of(above) / of(below)
            case Minus(part):
                return -of(part)
            case Power(base, exponent):
                value = of(base)
                if exponent.denominator > 1:
                    return value ** float(exponent)
                product = prod([value] * abs(int(exponent)))  # NumPy's own goes by way of a logarithm
                return 1 / product if exponent < 0 else product
            case Apply(function, arguments):
                values = [of(a) for a in arguments]
                if self.watch and function in ("step", "relu", "sign", "abs"):
                    self.watch.signs.append(np.asarray(values[0]))
                if self.watch and function in ("max", "min"):
                    self.watch.signs.append(np.asarray(values[0] - values[1]))
                return functions[function](*values)
            case Positive(part):
                value = of(part)
                if self.watch:
                    self.watch.signs.append(np.asarray(value))
                return xp.where(value.real > 0, 1.0, 0.0)
            case Same(left, right):
                a = self.affine(left, axes, depth)
                b = self.read(right, axes, depth) if isinstance(right, Read) else self.affine(right, axes, depth)
                return xp.where(a == b, 1.0, 0.0)
            case Within(part, extent):
                place = self.affine(part, axes, depth)
                return np.where((place >= 0) & (place < extent), 1.0, 0.0)
            case Reduce(kind, indices, body):
                return self.reduced(kind, indices, body, axes, depth)
            case _:
                raise TypeError(type(node).__name__)

    def reduced(self, kind: str, indices: tuple[Index, ...], body: Expr, axes: Axes, depth: int) -> Any:
        xp, count = self.xp, len(indices)
        sizes = tuple(self.size(i.extent) for i in indices)
        inner = {**axes, **{i.name: (depth + n, size) for n, (i, size) in enumerate(zip(indices, sizes, strict=True))}}
        value = self.value(body, inner, depth + count)
        value = xp.broadcast_to(value, (*value.shape[:depth], *sizes)).reshape((*value.shape[:depth], -1))
        if self.watch is not None and kind in ("max", "argmax"):
            self.watch.tops.append(np.asarray(value))
        match kind:
            case "sum":
                return value.sum(-1)
            case "mean":
                return value.mean(-1)
            case "max":
                best = xp.argmax(value.real, -1)[..., None]
                return xp.take_along_axis(value, best, -1)[..., 0]
            case "argmax":
                return xp.argmax(value.real, -1)
            case "logsumexp":
                top = value.real.max(-1, keepdims=True)
                top = top if xp is np else jax.lax.stop_gradient(top)
                return xp.log(xp.exp(value - top).sum(-1)) + top[..., 0]
            case _:
                raise ValueError(kind)

    def read(self, node: Read, axes: Axes, depth: int) -> Any:
        data = self.values[node.name]
        flat, inside = np.zeros((1,) * depth, np.int64), np.ones((1,) * depth, bool)
        for s, extent in zip(node.subscripts, data.shape, strict=True):
            place = self.affine(s, axes, depth)
            inside = inside & (place >= 0) & (place < extent)
            flat = flat * extent + np.clip(place, 0, extent - 1)
        value = data.reshape(-1)[flat]
        if inside.all():
            return value
        assert node.pad is not None, f"{node} is read outside"
        return self.xp.where(inside, value, -np.inf if node.pad == "-inf" else float(node.pad))


# Points


@dataclass(frozen=True)
class Point:
    values: dict[str, Array]
    samples: int
    signal: Array


def draw(program: Program, seed: int, scale: float, samples: int) -> dict[str, Array]:
    rng = np.random.default_rng([seed, program.seed])
    values: dict[str, Array] = {}
    for g in program.given:
        shape = tuple(samples if e == N else int(e) for e in g.shape)
        if g.kind == "id":
            values[g.name] = rng.integers(0, g.tops, shape)
        elif g.kind == "random":
            values[g.name] = (rng.random(shape) < 0.7).astype(float)
        elif g.positive:
            values[g.name] = rng.uniform(0.5, 2, shape)
        else:
            values[g.name] = scale * rng.uniform(-2, 2, shape)
    return values


def _watched(program: Program, values: dict[str, Array], samples: int) -> Watch:
    watch = Watch()
    with np.errstate(all="ignore"):
        run(program, values, samples, np, watch)
    return watch


def run(program: Program, values: Mapping[str, Any], samples: int, xp: Any = np, watch: Watch | None = None) -> Any:
    """The result, and the loss or None."""
    made = Evaluation(values, samples, xp, watch).run(program, program.equations)
    result = made[program.equations[-1].name]
    if program.loss is None:
        return result, None
    over = {"u": result, "t": made[TARGET]}
    return result, Evaluation(over, samples, xp, watch).run(program, (program.loss,))["loss"]


CLOSE = 1e-3
ROUNDING = 1e-12
POINTS = 5


def kinked(one: Watch, other: Watch, *more: Watch) -> bool:
    """Whether an argument is near a kink at the first point. One that is 0 at both, or equal to the greatest entry at
    both, is so everywhere, and nothing comes of it; but where it is what rounding leaves at a further point, its sign
    is that of the rounding, which others do otherwise."""
    for a, b, *rest in zip(one.signs, other.signs, *(watch.signs for watch in more), strict=True):
        if np.any((np.abs(a) < CLOSE) & ((a != 0) | (b != 0))):
            return True
        if np.any(a == 0) and any(np.any((v != 0) & (np.abs(v) < ROUNDING)) for v in rest):
            return True
    for a, b in zip(one.tops, other.tops, strict=True):
        best = a.argmax(-1)[..., None]
        gap = np.take_along_axis(a, best, -1) - a
        with np.errstate(invalid="ignore"):
            same = np.abs(np.take_along_axis(b, best, -1) - b) < 1e-12
        if np.any((gap < CLOSE) & ~((gap < 1e-12) & same) & (np.arange(a.shape[-1]) != best)):
            return True
    return False


LARGE = 1e4


def point(program: Program, seed: int = 0, samples: int = 3) -> Point | None:
    """A point away from kinks, at which nothing is large; None where eight draws find none."""
    for attempt, scale in enumerate((0.7, 0.5, 0.9, 0.3, 0.6, 0.8, 0.4, 1.0)):
        values = draw(program, seed + 10 * attempt, scale, samples)
        watch = _watched(program, values, samples)
        if not watch.largest < LARGE:
            continue
        others = (draw(program, seed + 10 * attempt + n, scale, samples) for n in range(POINTS, 2 * POINTS))
        if kinked(watch, *(_watched(program, other, samples) for other in others)):
            continue
        target = program.equations[-1].name
        shape = tuple(samples if e == N else int(e) for e in program.shapes[target])
        return Point(values, samples, np.random.default_rng([seed, 1]).uniform(0.5, 1.5, shape))
    return None


def wrt(program: Program) -> list[str]:
    return [g.name for g in program.given if g.kind in ("input", "parameter")]


STEP = 1e-40


def slopes(program: Program, at: Point, directions: Mapping[str, Array]) -> tuple[Array, dict[str, float]]:
    """The result (or the loss), and for each tensor its slope along a direction of this tensor alone."""
    found: dict[str, float] = {}
    value: Any = None
    for name, direction in directions.items():
        moved = {name: at.values[name] + 1j * STEP * direction}
        end, loss = run(program, {**at.values, **moved}, at.samples)
        value = end if loss is None else loss
        found[name] = float(((value * at.signal).sum() if loss is None else value).imag / STEP)
    if value is None:
        end, loss = run(program, at.values, at.samples)
        value = end if loss is None else loss
    return np.real(value), found


def gradients(program: Program, at: Point) -> tuple[Array, dict[str, Array]]:
    """The result (or the loss) and its gradients: the vector-Jacobian product with the signal where it is no loss."""
    moved = wrt(program)
    still = {name: value for name, value in at.values.items() if name not in moved}

    def total(real: dict[str, Any]) -> Any:
        end, loss = run(program, {**still, **real}, at.samples, jnp)
        return ((end * at.signal).sum(), end) if loss is None else (loss, loss)

    real = {name: at.values[name] for name in moved}
    (_, value), found = jax.jit(jax.value_and_grad(total, has_aux=True))(real)
    return np.asarray(value), {name: np.asarray(g) for name, g in found.items()}
