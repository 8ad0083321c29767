"""The search for a compiler, and what a machine's vectors are."""

from __future__ import annotations

import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tests.runtime.kernels import EXPORT

from chainrule.errors import BuildError
from chainrule.ir.functions import CATALOGUE
from chainrule.runtime import compiler as compilers
from chainrule.runtime.build import build
from chainrule.runtime.compiler import AVX2, AVX512, NEON, SSE2, Compiler, Target, features_in, find_compiler, native
from chainrule.runtime.headers import NATIVE, header

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: X: Y\nflags\t\t: "


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def found() -> tuple[str, ...]:
    compiler = find_compiler()
    assert compiler is not None
    return compiler.command


def test_the_search_goes_from_cc_to_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    compiler = find_compiler()
    assert compiler is not None and compiler.is_zig and compiler.command[1:] == ("cc",)
    for name in ("clang", "gcc", "cc"):
        path = program(tmp_path, name)
        assert found() == (str(path),)
    own = program(tmp_path / "own", "my cc")
    monkeypatch.setenv("CC", f"{shlex.quote(str(own))} -m64")
    assert found() == (str(own), "-m64")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "./gcc")
    assert found() == (str(tmp_path / "gcc"),)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match="CC names no program that is there: no-such-compiler"):
        find_compiler()
    monkeypatch.delenv("CC")
    for name in ("clang", "gcc", "cc"):
        (tmp_path / name).unlink()
    monkeypatch.setattr(compilers, "find_spec", lambda _: None)
    assert find_compiler() is None
    assert find_compiler(NEON) is None


@pytest.mark.parametrize(
    ("flags", "lanes"),
    [
        ("fpu sse sse2", 4), ("sse2 avx", 4), ("sse2 avx avx2", 4), ("sse2 avx avx2 fma", 8),
        ("sse2 fma avx2 avx512dq avx512f", 16), ("sse2 fma avx2 avx512dq", 8),
    ],
)
def test_lanes_follow_the_processor(flags: str, lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{INTEL}{flags}\n\nprocessor\t: 1\nflags\t\t: avx512f avx2 fma\n"
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    monkeypatch.setattr(compilers, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(compilers, "_architecture", lambda: "x86_64")
    compilers._processor.cache_clear()
    try:
        assert native().lanes == lanes
    finally:
        compilers._processor.cache_clear()
    assert features_in(text)[1] == f"GenuineIntel 6 85 {flags}"


def test_arm_has_four_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers.platform, "machine", lambda: "arm64")
    here = native()
    assert (here.architecture, here.flags, here.lanes) == ("aarch64", (), 4)
    text = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n"
    assert features_in(text) == (frozenset(), "0x41 0xd0c fp asimd")


def test_zig_is_told_a_target_only_where_it_is_not_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def targets(of: Target) -> list[str]:
        arguments = zig.arguments(of, (), ("model.c",), "model.so")
        return [after for before, after in pairwise(arguments) if before == "-target"]

    zig = Compiler(("zig", "cc"), "", is_zig=True)
    for machine, other in (("x86_64", NEON), ("aarch64", SSE2)):
        monkeypatch.setattr(compilers.platform, "machine", lambda machine=machine: machine)
        assert targets(native()) == []
        assert targets(other) == [f"{other.architecture}-linux-gnu"]
    assert targets(AVX2) == ["x86_64-linux-gnu"]
    monkeypatch.setenv("CC", f"{shlex.quote(sys.executable)} -m ziglang cc")
    wanted = find_compiler()
    assert wanted is not None and wanted.is_zig


def test_without_cpuinfo_the_compiler_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = native()
    monkeypatch.setattr(compilers, "_CPUINFO", tmp_path / "none")
    compilers._processor.cache_clear()
    try:
        assert native().lanes == here.lanes
        assert native().cpu != ""
    finally:
        compilers._processor.cache_clear()


# ELF machine numbers, and a function's code read by the disassembler's eye: which registers it can name.
MACHINES = {"x86_64": 62, "aarch64": 183}
EVERYTHING = header([*NATIVE, "logsumexp", "power", "philox", "barrier"]) + "\n".join(
    f"{EXPORT} void use_{name}(real *to, const real *x) {{ store(to, {name}_({', '.join(['load(x)'] * f.arity)})); }}"
    for name, f in CATALOGUE.items() if name in NATIVE
)
ANYWHERE = pytest.mark.parametrize("target", [SSE2, AVX2, AVX512, NEON], ids=["SSE2", "AVX2", "AVX-512", "NEON"])


@ANYWHERE
@pytest.mark.parametrize("over", ["float", "field"])
def test_one_text_compiles_for_every_target_with_ziglang(
    target: Target, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = compilers._zig()
    assert zig is not None
    monkeypatch.setenv("CC", f"{shlex.join(zig.command)} -Wall -Wextra -Werror")
    text = EVERYTHING if over == "float" else EVERYTHING.replace(
        header([*NATIVE, "logsumexp", "power", "philox", "barrier"]), header(["barrier"], over="field")
    )
    compiled = build(text, target=target).read_bytes()
    assert compiled[:4] == b"\x7fELF" and int.from_bytes(compiled[18:20], "little") == MACHINES[target.architecture]
    assert b"use_softplus" in compiled and b"libc.so" not in compiled


def test_a_target_that_lacks_an_instruction_is_not_given_it() -> None:
    """The control: what compiles for AVX-512 names a builtin that the baseline does not have."""
    text = f"{EXPORT} int f(void) {{ return __AVX512F__; }}"
    build(text, target=AVX512)
    with pytest.raises(BuildError, match="__AVX512F__"):
        build(text, target=SSE2)


def test_identity_changes_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "cc")
    monkeypatch.setenv("CC", str(path))
    one = find_compiler()
    path.write_text("#!/bin/sh\nexit 1 # another\n", encoding="utf-8")
    two = find_compiler()
    assert one is not None and two is not None and one.identity != two.identity


def test_nothing_is_run_to_find_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    for name in ("Popen", "run"):
        monkeypatch.setattr(subprocess, name, lambda *command, **_: started.append(command))
    compilers._processor.cache_clear()
    assert find_compiler() is not None
    assert native().lanes in (4, 8, 16)
    assert started == []
