"""The machine: its name, how many threads a process may use, and the peaks it reaches."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from chainrule.runtime.build import build
from chainrule.runtime.compiler import find_compiler, native

FMA = """
#include <stddef.h>
typedef float vec __attribute__((vector_size(4 * LANES)));
%(fma)s
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define DECLARE(i) vec a##i = x + i;
#define STEP(i) a##i = fma(a##i, x, y);
#define SUM(i) + a##i
__attribute__((visibility("default"))) float peak(long turns) {
  vec x = (vec){} + 0.999f, y = (vec){} + 0.001f;
  EACH(DECLARE)
  for (long i = 0; i < turns; i++) {
    __asm__ volatile("" : "+x"(x), "+x"(y));
    EACH(STEP)
  }
  vec sum = (vec){} EACH(SUM);
  float total = 0;
  for (int i = 0; i < LANES; i++) total += sum[i];
  return total;
}
"""
CHAINS = 12  # independent sums: more than the latency of an FMA times the FMA that start in a cycle


def limit(threads: int) -> None:
    """Let this process use so many cores: NumPy's library, and those that are imported later. Where fewer than all are
    asked for it is held on them, so that nothing else can start more."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    threadpool_limits(threads)


def described() -> str:
    """Processor, cores, instructions and compiler, in a line."""
    name = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        fields = dict[str, str](re.findall(r"^(.+?)\s*: (.*)$", path.read_text(), re.MULTILINE))
        name = fields.get("model name", name)
        if "cpu family" in fields:
            name += f" (family {fields['cpu family']}, model {fields['model']})"
    compiler = find_compiler()
    made = "no C compiler" if compiler is None else Path(compiler.command[0]).name
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, {native().lanes} float lanes, {made}, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


class Peak:
    """GFLOP/s of dependent chains of FMA in registers, on each of so many threads at once."""

    def __init__(self, threads: int) -> None:
        target = native()
        builtin = {16: "vfmaddps512_mask", 8: "vfmaddps256", 4: "vfmaddps"}[target.lanes]
        more = ", (unsigned short)-1, 4" if target.lanes == 16 else ""
        text = f"#define fma(a, b, c) __builtin_ia32_{builtin}(a, b, c{more})"
        if target.architecture != "x86_64":
            text = "static inline vec fma(vec a, vec b, vec c) {\n" \
                "  for (int i = 0; i < LANES; i++) a[i] = __builtin_fmaf(a[i], b[i], c[i]);\n  return a;\n}"
        self.function = ctypes.CDLL(str(build(FMA % {"fma": text}, target=target))).peak
        self.function.argtypes, self.function.restype = [ctypes.c_long], ctypes.c_float
        self.work = 2 * CHAINS * target.lanes
        self.pool = ThreadPoolExecutor(threads)
        self.threads = threads

    def measure(self, turns: int, now: Callable[[], float] = perf_counter) -> float:
        start = now()
        list(self.pool.map(self.function, [turns] * self.threads))
        return self.threads * turns * self.work / (now() - start) / 1e9


def sgemm(now: Callable[[], float] = perf_counter, size: int = 1024) -> float:
    """GFLOP/s of NumPy's product of two matrices, with the threads that its library may use."""
    a = np.ones((size, size), np.float32)
    out = np.empty_like(a)
    start = now()
    np.matmul(a, a, out=out)
    return 2 * size**3 / (now() - start) / 1e9


def load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def spread(values: Sequence[float]) -> float:
    """Half of the distance between the quartiles, relative to the median."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float((high - low) / 2 / middle)
