"""What this machine can do at best, measured: products a second in registers, bytes a second from memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np

from chainrule.runtime.build import build, load
from chainrule.runtime.compiler import Target, native
from chainrule.runtime.headers import header

CHAINS = 12  # independent sums: more than the latency of a product times the products that start in a cycle
TURNS, ENTRIES, TRIES = 200_000, 1 << 24, 5
SOURCE = """
__attribute__((visibility("default"))) real peak(long turns) {{
  vec x = splat(number(0.999f, 1u)), y = splat(number(0.001f, 1u));
  {declared}
  for (long i = 0; i < turns; i++) {{
    __asm__ volatile("" : "+x"(x), "+x"(y));
    {steps}
  }}
  return hsum({total});
}}
__attribute__((visibility("default"))) real stream(const real *from, long count) {{
  vec a = splat(number(0.0f, 0u)), b = a, c = a, d = a;
  for (long i = 0; i + 4 * LANES <= count; i += 4 * LANES) {{
    a = add(a, load(from + i)), b = add(b, load(from + i + LANES));
    c = add(c, load(from + i + 2 * LANES)), d = add(d, load(from + i + 3 * LANES));
  }}
  return hsum(add(add(a, b), add(c, d)));
}}
"""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Of one core: `flops` in FLOP/s, a product and its addition counted as two, and `bytes` in bytes/s, read from an
    array that no cache holds."""

    flops: float
    bytes: float


@lru_cache(maxsize=1)
def peaks() -> Peaks:
    """The best of several tries. Raises BuildError without a compiler."""
    target = native()
    library = load(build(header(()) + "\n" + source(target), target=target))
    library.peak.argtypes, library.peak.restype = [ctypes.c_long], ctypes.c_float
    library.stream.argtypes, library.stream.restype = [ctypes.c_void_p, ctypes.c_long], ctypes.c_float
    array = np.ones(ENTRIES, np.float32)
    products = min(_seconds(lambda: library.peak(TURNS)) for _ in range(TRIES))
    stream = min(_seconds(lambda: library.stream(array.ctypes.data, array.size)) for _ in range(TRIES))
    return Peaks(2 * CHAINS * target.lanes * TURNS / products, array.nbytes / stream)


def source(target: Target) -> str:
    chains = range(CHAINS)
    total = "a0"
    for n in chains[1:]:
        total = f"add({total}, a{n})"
    text = SOURCE.format(
        declared=" ".join(f"vec a{n} = splat(number({n}.0f, {n}u));" for n in chains),
        steps=" ".join(f"a{n} = mac(a{n}, x, y);" for n in chains),
        total=total,
    )
    return text if target.architecture == "x86_64" else text.replace('"+x"', '"+w"')


def _seconds(work: object) -> float:
    assert callable(work)
    start = perf_counter()
    work()
    return perf_counter() - start
