"""Small kernels around the operations of csrc/, for tests: each is one expression over arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.runtime.build import build
from chainrule.runtime.compiler import AVX2, AVX512, SSE2, Target, features, native
from chainrule.runtime.headers import header

Array = NDArray[Any]
EXPORT = '__attribute__((visibility("default")))'

HERE = native()
_has = features()
RUNNABLE = {"native": HERE} | {f"native with {lanes} lanes": HERE.with_lanes(lanes) for lanes in (4, 8, 16)}
if HERE.architecture == "x86_64":
    RUNNABLE["SSE2"] = SSE2
    if {"avx2", "fma"} <= _has:
        RUNNABLE["AVX2"] = AVX2
    if "avx512f" in _has:
        RUNNABLE["AVX-512"] = AVX512


def pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Kernels:
    """`expressions` holds C over vectors a, b, c; `ones` the same over single numbers. A call applies one to arrays."""

    def __init__(
        self,
        target: Target,
        names: Iterable[str],
        expressions: Mapping[str, str],
        ones: Mapping[str, str] | None = None,
        *,
        over: Literal["float", "field"] = "float",
        more: str = "",
    ) -> None:
        flags = () if over == "float" else ("-O0",)
        self.dtype = np.dtype(np.float32 if over == "float" else np.uint64)
        text = [header(names, over=over), more]
        for name, value in expressions.items():
            text.append(f"{EXPORT} void many_{name}(const real *x, const real *y, const real *z, real *to, long n) {{")
            text.append("  for (long i = 0; i < n; i += LANES) {")
            text.append("    vec a = load(x + i), b = load(y + i), c = load(z + i); (void)b, (void)c;")
            text.append(f"    store(to + i, {value});\n  }}\n}}")
        for name, value in (ones or {}).items():
            text.append(f"{EXPORT} void one_{name}(const real *x, const real *y, const real *z, real *to, long n) {{")
            text.append("  for (long i = 0; i < n; i++) {")
            text.append("    real a = x[i], b = y[i], c = z[i]; (void)b, (void)c;")
            text.append(f"    to[i] = {value};\n  }}\n}}")
        self.library = ctypes.CDLL(str(build("\n".join(text), target=target, flags=flags)))

    def __call__(self, name: str, *arrays: Array, one: bool = False) -> Array:
        """`arrays` of one length; the kernel sees them filled up with their last entry to a multiple of 16."""
        length = len(arrays[0])
        full = [np.ascontiguousarray(np.pad(a, (0, -length % 16), mode="edge"), self.dtype) for a in arrays]
        full += [full[0]] * (3 - len(full))
        result = np.empty_like(full[0])
        function = getattr(self.library, f"{'one' if one else 'many'}_{name}")
        function(*map(pointer, full), pointer(result), ctypes.c_long(len(result)))
        return result[:length]
