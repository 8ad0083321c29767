"""The C of two small programs, as it is printed: to be read, and so that a change of it is seen.

`pytest tests/targets/test_golden.py --update-golden` writes the files anew; look at the difference before it is kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.compile import emit, gradients
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
from chainrule.runtime.compiler import AVX2, FLAGS, NEON, Target
from chainrule.targets import c

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MODELS = {
    "mlp": lambda: cr.Sequential(
        cr.Input(20), cr.Dense(12), cr.Sigmoid(), cr.Dense(10), loss="softmax_cross_entropy"
    ),
    "convolution": lambda: cr.Sequential(
        cr.Input(1, 12, 12), cr.Conv2d(2, 3, padding=1), cr.ReLU(), loss="half_squared_error"
    ),
}  # fmt: skip


def lowered(name: str, lanes: int = 8) -> Plan:
    model = MODELS[name]()
    task = gradients(model.network, model.derive())
    return lower(task, Machine(lanes, 12), samples=8, scheduled=name == "mlp")


def printed(name: str) -> str:
    return c.source(lowered(name))


@pytest.mark.parametrize("name", MODELS)
def test_the_c_is_the_golden_file(name: str, pytestconfig: pytest.Config) -> None:
    path, text = GOLDEN / f"{name}.c", printed(name)
    if pytestconfig.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    golden = path.read_text(encoding="utf-8")
    assert "".join(unified_diff(golden.splitlines(True), text.splitlines(True), f"golden/{name}.c", "printed")) == ""


@pytest.mark.parametrize("name", MODELS)
def test_every_kernel_stands_below_its_equation(name: str) -> None:
    lines = printed(name).splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("KERNEL void k")]
    kernels = [n for n in starts if next(x for x in lines[n:] if x == "{" or x.endswith(";")) == "{"]
    assert len(kernels) > 3
    for n in kernels:
        above = next(k for k in range(n - 1, -1, -1) if lines[k].startswith("/*"))
        assert all("=" in line for line in lines[above:n]) and lines[n - 1].endswith("*/")


# A system, what is compiled for there, and how its objects begin: Mach-O of 64 bits for ARM, COFF for x86-64.
ELSEWHERE = (
    ("aarch64-macos", NEON, b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"), ("x86_64-windows", AVX2, b"\x64\x86"),
)
LINKING = {"-shared", "-fPIC", "-nostdlib"}


def compiled_for(system: str, target: Target, text: str, folder: Path) -> tuple[bytes, str]:
    """The object that zig makes of a C text for another system, and what it says."""
    (folder / "model.c").write_text(text, encoding="utf-8")
    flags = [flag for flag in (*FLAGS, *target.flags) if flag not in LINKING and not flag.startswith("-march")]
    flags += ["-fno-sanitize=undefined", f"-DLANES={target.lanes}", "-target", system]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-Werror", "-c", "model.c", "-o", "model.o"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")},
    )
    made = folder / "model.o"
    return made.read_bytes() if done.returncode == 0 else b"", done.stderr


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("system", "target", "magic"), ELSEWHERE, ids=["macOS", "Windows"])
def test_the_c_compiles_where_nothing_of_it_has_run(
    name: str, system: str, target: Target, magic: bytes, tmp_path: Path
) -> None:
    text = emit(lowered(name, target.lanes))
    assert target.lanes != 8 or (GOLDEN / f"{name}.c").read_text(encoding="utf-8") in text
    made, said = compiled_for(system, target, text, tmp_path)
    assert made.startswith(magic), said
    assert b"chainrule_run" in made
    refused, said = compiled_for(system, target, text + "\nlong f(void) { return sched_yield(); }\n", tmp_path)
    assert refused == b"" and "sched_yield" in said
