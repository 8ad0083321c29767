"""The C compiler, and the machine that it compiles for. Nothing here runs a compiler on Linux or macOS."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from chainrule.errors import BuildError

FLAGS = (
    "-std=gnu11", "-O2", "-g0", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-nostdlib",
    "-fvisibility=hidden", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-Wno-psabi",
)
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Target:
    """What is compiled for: an architecture, its instructions as flags, and the lanes of its vectors. `cpu` tells two
    machines apart where the flags say "native"."""

    architecture: str
    flags: tuple[str, ...]
    lanes: int
    cpu: str = ""

    def with_lanes(self, lanes: int) -> Target:
        return replace(self, lanes=lanes)


_BASELINE = "-march=x86-64"
SSE2 = Target("x86_64", (_BASELINE,), 4)
AVX2 = Target("x86_64", (_BASELINE, "-mavx2", "-mfma"), 8)
AVX512 = Target("x86_64", (_BASELINE, "-mavx2", "-mfma", "-mavx512f"), 16)
NEON = Target("aarch64", (), 4)


@dataclass(frozen=True, slots=True)
class Compiler:
    """`command` starts it; `identity` changes when it is replaced by another version."""

    command: tuple[str, ...]
    identity: str
    is_zig: bool = False

    def arguments(self, target: Target, more: tuple[str, ...], sources: tuple[str, ...], output: str) -> list[str]:
        """The whole command line. For zig another machine is a target, and so is the baseline of an architecture;
        without optimisation it would add checks that call a library."""
        flags, linking = target.flags, ()
        if self.is_zig:
            more = ("-fno-sanitize=undefined", *more)
        if self.is_zig and (target.architecture != _architecture() or _BASELINE in flags):
            flags = ("-target", f"{target.architecture}-linux-gnu", *(f for f in flags if f != _BASELINE))
        if self.is_zig or platform.system() == "Linux":
            linking = ("-Wl,-z,defs",)  # a symbol that is missing is missed here, not when the object is loaded
        return [*self.command, *FLAGS, *flags, f"-DLANES={target.lanes}", *linking, *more, *sources, "-o", output]


def find_compiler(target: Target | None = None) -> Compiler | None:
    """$CC, else cc, gcc or clang, else the wheel `ziglang`; for another architecture than this machine's, ziglang.

    Raises BuildError where CC names nothing that is there.
    """
    if target is not None and target.architecture != _architecture():
        return _zig()
    try:
        wanted = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise BuildError(f"CC cannot be read: {error}", fix="unset CC, or name a C compiler") from None
    if wanted:
        path = shutil.which(wanted[0])
        if path is None:
            raise BuildError(f"CC names no program that is there: {wanted[0]}", fix="unset CC, or name a C compiler")
        wanted[0] = os.path.abspath(path)  # it runs in another folder
        return Compiler(tuple(wanted), _identity(wanted), any(Path(w).stem in ("zig", "ziglang") for w in wanted))
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return Compiler((path,), _identity((path,)))
    return _zig()


def _zig() -> Compiler | None:
    spec = find_spec("ziglang")
    for folder in (spec and spec.submodule_search_locations) or ():
        for name in ("zig", "zig.exe"):
            path = Path(folder) / name
            if path.is_file():
                return Compiler((str(path), "cc"), _identity((str(path),)), is_zig=True)
    return None


def _identity(command: Sequence[str]) -> str:
    """The command with the path, time and size of every program in it: what an update of the compiler changes, read
    without running it."""
    said = list(command)
    for word in command:
        if path := shutil.which(word):
            status = os.stat(path)
            said += [os.path.realpath(path), str(status.st_mtime_ns), str(status.st_size)]
    return repr(said)


def native() -> Target:
    """This machine: 16 lanes with AVX-512, 8 with AVX2 and FMA, else 4."""
    architecture = _architecture()
    has, cpu = _processor()
    if architecture != "x86_64":
        return Target(architecture, (), 4, cpu)
    if "avx512f" in has:
        lanes = 16
    elif {"avx2", "fma"} <= has:
        lanes = 8
    else:
        lanes = 4
    return Target(architecture, ("-march=native",), lanes, cpu)


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def features() -> frozenset[str]:
    """What this processor and its system can do, in Linux' words: "avx2", "fma", …"""
    return _processor()[0]


@lru_cache(maxsize=1)
def _processor() -> tuple[frozenset[str], str]:
    """The features, and a text that names the processor."""
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            return features_in(file.read(1 << 14))
    except OSError:
        return _predefined() if _architecture() == "x86_64" else (frozenset(), platform.node())


def features_in(text: str) -> tuple[frozenset[str], str]:
    """What /proc/cpuinfo says of the first processor."""
    first = text.split("\n\n")[0]
    fields = dict(re.findall(r"^(.*?)\s*: ?(.*)$", first, re.MULTILINE))
    x86, arm = ("vendor_id", "cpu family", "model", "stepping", "flags"), ("CPU implementer", "CPU part", "Features")
    return frozenset(fields.get("flags", "").split()), " ".join(fields[name] for name in (*x86, *arm) if name in fields)


def _predefined() -> tuple[frozenset[str], str]:
    """The same from the macros that the compiler defines for this machine."""
    compiler = find_compiler()
    if compiler is None:
        return frozenset(), ""
    command = [*compiler.command, "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return frozenset(), ""
    found = {name.lower() for name in re.findall(r"^#define __(\w+?)__ 1$", said, re.MULTILINE)}
    return frozenset(found), " ".join(sorted(found))
