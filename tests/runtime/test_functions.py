"""The functions of exp.h, log.h and double.h: how far they are from the true values, and what they are at the ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import erfc
from tests.runtime.kernels import HERE, RUNNABLE, Array, Kernels
from tests.runtime.test_float import EDGES, alike

from chainrule.ir.functions import FUNCTIONS
from chainrule.runtime.compiler import Target
from chainrule.runtime.headers import NATIVE, header

FUNCTIONS_TEXT = header([*NATIVE, "power"])
BOUNDS = {name: float(bound) for name, bound in re.findall(r"(\w+) ≤ (\d\.\d+)", FUNCTIONS_TEXT)}


def _power(n: int, m: int) -> Callable[[Array], Array]:
    return lambda x: x ** (n / m)


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


# In float64, each right to about one of its own last places.
TRUE: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "expm1": np.expm1, "sigmoid": _sigmoid, "tanh": np.tanh, "log": np.log, "erfc": erfc,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "power_1_3": _power(1, 3), "power_-7_4": _power(-7, 4), "power_21_2": _power(21, 2),
}


def _call(name: str, one: str) -> str:
    if name.startswith("power"):
        _, n, m = name.split("_")
        return f"power{one}(a, {n}, {m})"
    return f"{name}_{one}(a)"


@cache
def kernels(target: Target) -> Kernels:
    many, single = ({n.replace("-", "m"): _call(n, one) for n in TRUE} for one in ("", "1"))
    return Kernels(target, [n.split("_")[0] for n in TRUE], many, single)


def apply(target: Target, name: str, x: Array, *, one: bool = False) -> Array:
    return kernels(target)(name.replace("-", "m"), x, one=one)


def errors(result: Array, true: Array) -> Array:
    """In units in the last place of the float32 below |true|; 0 where both are the same infinity or NaN."""
    exponent = (true.view(np.int64) >> 52) & 0x7FF
    unit = (np.clip(exponent - 23, 1023 - 149, 1023 + 104) << 52).view(np.float64)
    with np.errstate(all="ignore"):
        far = np.abs(result - true) / unit
        odd = ~np.isfinite(far) | ~np.isfinite(true)  # beyond what float32 holds, or no number
        if odd.any():
            right = (np.isnan(result) & np.isnan(true)) | (result == true.astype(np.float32))
            far[odd] = np.where(right, 0, np.inf)[odd]
    return far


def worst(name: str, x: Array) -> float:
    with np.errstate(all="ignore"):
        return float(errors(apply(HERE, name, x), TRUE[name](x.astype(np.float64))).max())


SAMPLE = np.arange(0, 2**32, 20011, dtype=np.uint64).astype(np.uint32).view(np.float32)
NEAR = np.random.default_rng(0).normal(scale=4, size=100_000).astype(np.float32)


@pytest.mark.parametrize("name", TRUE)
def test_errors_over_a_sample(name: str) -> None:
    assert 0.3 < max(worst(name, SAMPLE), worst(name, NEAR)) <= BOUNDS[name.split("_")[0]]


@pytest.mark.campaign
@pytest.mark.parametrize("name", TRUE)
def test_errors_over_all_floats(name: str) -> None:
    step = 2**24
    parts = (np.arange(at, at + step, dtype=np.uint32).view(np.float32) for at in range(0, 2**32, step))
    measured = max(worst(name, part) for part in parts)
    assert measured <= BOUNDS[name.split("_")[0]], measured


def test_every_function_states_a_bound_of_two_at_most() -> None:
    assert BOUNDS.keys() == {name.split("_")[0] for name in TRUE}
    assert max(BOUNDS.values()) <= 2


def test_a_wrong_value_is_seen() -> None:
    x = np.array([1.0, -200, 200], np.float32)
    true = np.exp(x.astype(np.float64))
    result = apply(HERE, "exp", x)
    assert errors(result, true).max() < 1
    assert errors(np.nextafter(result, np.float32(np.inf)), true)[0] > 0.5
    assert errors(np.array([np.nan, 1e-45, 3e38], np.float32), true).tolist()[0] == np.inf
    assert errors(np.array([3, 1, 3e38], np.float32), true)[2] > 1e9


@pytest.mark.parametrize("name", ["exp", "expm1", "sigmoid", "tanh", "log", "softplus", "erfc"])
def test_the_yardstick_is_right(name: str) -> None:
    """float64's values, by which the errors are measured, against 50 digits."""
    exact: dict[str, Callable[[Any], Any]] = {
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    }
    with mpmath.workdps(50):
        for value in NEAR[:200]:
            x = mpmath.mpf(float(abs(value) if name == "log" else value))
            wanted = exact[name](x) if name in exact else getattr(mpmath, name)(x)
            got = float(TRUE[name](np.array([float(x)]))[0])
            assert abs(got - wanted) <= abs(wanted) * mpmath.mpf(2) ** -46


@pytest.mark.parametrize("name", ["exp", "expm1", "sigmoid", "tanh", "log", "softplus", "erfc"])
def test_the_ends_are_those_of_the_numpy_executor(name: str) -> None:
    x = np.concatenate([EDGES, np.array([1000, -1000, 88.73, -104, 10.1, -10.1], np.float32)])
    with np.errstate(all="ignore"):
        wanted = FUNCTIONS[name](x.astype(np.float64)).astype(np.float32)
    result = apply(HERE, name, x)
    assert np.array_equal(np.isnan(result), np.isnan(wanted))
    assert np.array_equal(result[~np.isfinite(wanted)], wanted[~np.isfinite(wanted)], equal_nan=True)
    whole = np.isin(wanted, [0, 1, -1, 2])
    assert np.array_equal(result[whole], wanted[whole])
    assert np.array_equal(np.signbit(result[wanted == 0]), np.signbit(wanted[wanted == 0]))


def test_powers_at_the_ends_are_those_of_numpy() -> None:
    for n, m in ((1, 3), (-7, 4)):
        with np.errstate(all="ignore"):
            wanted = (EDGES.astype(np.float64) ** (n / m)).astype(np.float32)
        assert np.allclose(apply(HERE, f"power_{n}_{m}", EDGES), wanted, rtol=2e-7, atol=0, equal_nan=True)


@pytest.mark.parametrize("target", RUNNABLE.values(), ids=RUNNABLE.keys())
def test_every_width_and_target_gives_the_same_bits(target: Target) -> None:
    x = np.concatenate([EDGES, SAMPLE[::7], NEAR[:20000]])
    for name in TRUE:
        wanted = apply(HERE, name, x)
        for one in (False, True):
            assert alike(apply(target, name, x, one=one), wanted), (name, one)


def test_logsumexp_in_two_passes() -> None:
    top = "lse_top{1}(lse_top{1}(lse_top{1}({0}, a), b), c)"
    adding = "lse_add{1}(lse_add{1}(lse_add{1}({0}, a, top, 0), b, top, 1), c, top, 2)"
    whole = "add{1}(lse_rest{1}(" + adding.replace("{0}", "{3}") + "), lse_shift{1}(top))"
    text = "({{ {2} top = " + top + "; " + whole + "; }})"
    three = Kernels(
        HERE, ["logsumexp"], {"lse": text.format("splat(lse_start())", "", "vec", "splat(0)")},
        {"lse": text.format("lse_start()", "1", "real", "0")},
    )
    rng = np.random.default_rng(3)
    a, b, c = (np.concatenate([grid.ravel(), rng.normal(size=999) * 30]).astype(np.float32)
               for grid in np.meshgrid(EDGES, EDGES, EDGES))
    with np.errstate(all="ignore"):
        wanted = np.logaddexp(np.logaddexp(a.astype(np.float64), b), c).astype(np.float32)
    for one in (False, True):
        result = three("lse", a, b, c, one=one)
        assert np.array_equal(np.isfinite(result), np.isfinite(wanted))
        assert np.allclose(result, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)
