"""The operations of float.h: against exact arithmetic and NumPy; the same bits at every width and on every target."""

from __future__ import annotations

import ctypes
import math
import mmap
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from tests.runtime.kernels import EXPORT, HERE, RUNNABLE, Array, Kernels, pointer

from chainrule.runtime.build import build
from chainrule.runtime.compiler import Target
from chainrule.runtime.headers import header

TWO = {name: f"{name}(a, b)" for name in ("add", "sub", "mul", "div", "max_", "min_")}
ONE = {name: f"{name}(a)" for name in ("neg", "square_root", "reciprocal_root", "step_", "relu_", "sign_", "abs_")}
MANY = {**TWO, **ONE, "mac": "mac(a, b, c)"}
SINGLE = {name: value.replace("(", "1(", 1) for name, value in MANY.items()}
CHOICES = {f"choose_{name}": f"select({name}(a, b), splat(1), splat(2))" for name in ("greater", "better")}
SINGLE_CHOICES = {f"choose_{name}": f"{name}1(a, b) ? 1 : 2" for name in ("greater", "better")}

EDGES = np.array(
    [0, -0.0, 1, -1, 2, -3, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, -1e-38, 3e38, -3e38, 1 + 2**-23, 1 - 2**-24],
    np.float32,
)
targets = pytest.mark.parametrize("target", RUNNABLE.values(), ids=RUNNABLE.keys())


@cache
def kernels(target: Target) -> Kernels:
    return Kernels(target, [], {**MANY, **CHOICES}, {**SINGLE, **SINGLE_CHOICES})


@cache
def operands() -> tuple[Array, Array, Array]:
    """Every triple of edges, and numbers of every size whose sums cancel in part."""
    rng = np.random.default_rng(0)
    a, b, c = (grid.ravel() for grid in np.meshgrid(EDGES, EDGES, EDGES))
    x, y = (np.ldexp(rng.uniform(-1, 1, 4000), rng.integers(-75, 64, 4000)).astype(np.float32) for _ in range(2))
    near = np.ldexp(-x.astype(np.float64) * y, rng.integers(-50, 50, 4000) * rng.integers(0, 2, 4000))
    with np.errstate(over="ignore"):
        z = near.astype(np.float32)
    return np.concatenate([a, x]), np.concatenate([b, y]), np.concatenate([c, z])


def alike(a: Array, b: Array) -> bool:
    """The same bits, but for which NaN."""
    return bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))))


def test_results_are_those_of_numpy() -> None:
    a, b, c = operands()
    with np.errstate(all="ignore"):
        wanted = {
            "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "neg": -a, "square_root": np.sqrt(a),
            "reciprocal_root": 1 / np.sqrt(a),
            "step_": (a > 0).astype(np.float32), "relu_": np.maximum(a, 0), "sign_": np.sign(a), "abs_": np.abs(a),
            "max_": np.where(np.isnan(a) | np.isnan(b), np.nan, np.where(b > a, b, a)),
            "min_": np.where(np.isnan(a) | np.isnan(b), np.nan, np.where(b < a, b, a)),
            "choose_greater": np.where(a > b, 1, 2),
            "choose_better": np.where((a > b) | (np.isnan(a) & ~np.isnan(b)), 1, 2),
        }
    for name, value in wanted.items():
        result = kernels(HERE)(name, a, b, c)
        if name in ("relu_", "sign_"):  # NumPy's zeros have other signs here
            result, value = result + np.float32(0), value + np.float32(0)
        assert alike(result, value.astype(np.float32)), name


def rounded(x: Fraction) -> float:
    """The float32 nearest to x, of two the even one."""
    exponent = max(-149, abs(x.numerator).bit_length() - x.denominator.bit_length() - 24)
    if abs(x) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    nearest = round(x / Fraction(2) ** exponent) * Fraction(2) ** exponent
    return float(nearest) if abs(nearest) < 2**128 else math.copysign(math.inf, nearest)


@cache
def sums() -> tuple[Array, Array, Array, Array]:
    """a, b, c and a·b + c rounded once. Some sums are halfway between two floats but for a trace."""
    rng = np.random.default_rng(1)
    a = (1 + rng.integers(0, 2**12, 1500) * 2.0**-12).astype(np.float32)
    b = (1 + (2 * rng.integers(0, 2**11, 1500) + 1) * 2.0**-12).astype(np.float32)
    c = np.ldexp(rng.choice([-1.0, 1.0], 1500), rng.integers(-126, 126, 1500)).astype(np.float32)
    x, y, z = (np.concatenate([own, more[-4000:]]) for own, more in zip((a, b, c), operands(), strict=True))
    finite = np.isfinite(z)
    x, y, z = x[finite], y[finite], z[finite]
    exact = [Fraction(float(p)) * Fraction(float(q)) + Fraction(float(r)) for p, q, r in zip(x, y, z, strict=True)]
    return x, y, z, np.array([rounded(value) for value in exact], np.float32)


@targets
def test_mac_rounds_once(target: Target) -> None:
    x, y, z, wanted = sums()
    assert ((x.astype(np.float64) * y + z).astype(np.float32) != wanted).any()  # rounding twice errs
    for one in (False, True):
        assert np.array_equal(kernels(target)("mac", x, y, z, one=one), wanted)


@targets
def test_every_width_and_target_gives_the_same_bits(target: Target) -> None:
    for name in (*MANY, *CHOICES):
        wanted = kernels(HERE)(name, *operands())
        for one in (False, True):
            assert alike(kernels(target)(name, *operands(), one=one), wanted), (name, one)


MEMORY = f"""
{EXPORT} void transposed(real *x) {{
  vec rows[LANES];
  for (int i = 0; i < LANES; i++) rows[i] = load(x + i * LANES);
  transpose(rows);
  for (int i = 0; i < LANES; i++) store(x + i * LANES, rows[i]);
}}
{EXPORT} void part(real *to, const real *from, long k) {{ store_part(to, neg(load_part(from, k)), k); }}
{EXPORT} void part_whole(real *to, const real *from, long k) {{ store(to, load_part(from, k)); }}
{EXPORT} void gathered(real *to, const real *from, const whole *index, long stride) {{
  store(to, gather(from, load_ints(index), stride));
}}
{EXPORT} void summed(real *to, const real *from) {{ *to = hsum(load(from)); }}
{EXPORT} void chosen(whole *to, const whole *a, const whole *b, long k, int flag) {{
  ints x = load_ints(a), y = load_ints(b);
  mask m = either(both(before(x, y), live(k)), both(same(x, y), splat_mask(flag)));
  store_ints(to, select_ints(m, x, splat_ints(-7)));
}}
{EXPORT} void sizes(real *to, long n) {{
  to[0] = size_of_samples(n), to[1] = number(0x1p-2f, 17), to[2] = lowest();
}}
"""


@targets
def test_lanes_move_and_fold(target: Target) -> None:
    lanes, rng = target.lanes, np.random.default_rng(2)
    library = ctypes.CDLL(str(build(header([]) + MEMORY, target=target)))
    square = rng.normal(size=(lanes, lanes)).astype(np.float32)
    turned = square.copy()
    library.transposed(pointer(turned))
    assert np.array_equal(turned, square.T)

    row = rng.normal(size=lanes).astype(np.float32)
    for k in range(lanes + 2):
        live = np.arange(lanes) < k
        for name, wanted in (("part", np.where(live, -row, 9)), ("part_whole", np.where(live, row, 0))):
            result = np.full(lanes, 9, np.float32)
            getattr(library, name)(pointer(result), pointer(row), ctypes.c_long(k))
            assert np.array_equal(result, wanted)
        a, b = (rng.integers(0, 3, lanes).astype(np.int32) for _ in range(2))
        for flag in (0, 5):
            picked = np.empty(lanes, np.int32)
            library.chosen(pointer(picked), pointer(a), pointer(b), ctypes.c_long(k), ctypes.c_int(flag))
            assert np.array_equal(picked, np.where(((a < b) & live) | ((a == b) & (flag != 0)), a, -7))

    index, result = rng.integers(0, lanes, lanes).astype(np.int32), np.empty(lanes, np.float32)
    library.gathered(pointer(result), pointer(square), pointer(index), ctypes.c_long(lanes))
    assert np.array_equal(result, square[index, 0])

    folded = row
    while len(folded) > 1:
        folded = folded[: len(folded) // 2] + folded[len(folded) // 2 :]
    library.summed(pointer(result), pointer(row))
    assert result[0] == folded[0]

    library.sizes(pointer(result), ctypes.c_long(12345))
    assert result[:3].tolist() == [12345, 0.25, -np.inf]


def test_parts_touch_nothing_beyond() -> None:
    """The last lanes of a part may lie on a page that is not there."""
    library = ctypes.CDLL(str(build(header([]) + MEMORY, target=HERE)))
    page = mmap.PAGESIZE
    room = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0
    for k in range(HERE.lanes):
        at = ctypes.c_void_p(start + page - 4 * k)
        library.part(at, at, ctypes.c_long(k))
    assert protect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), mmap.PROT_READ | mmap.PROT_WRITE) == 0
