"""Emitted programs under UBSan (by traps, which any compiler has) and, where the compiler brings it, under ASan."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from tests.examples import few

from chainrule.runtime.compiler import find_compiler

ROOT = Path(__file__).resolve().parents[2]


@cache
def address_sanitizer() -> str | None:
    """The library that must be there before the first allocation."""
    compiler = find_compiler()
    if compiler is None or compiler.is_zig:
        return None
    asked = [*compiler.command, "-print-file-name=libasan.so"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return said if Path(said).is_absolute() else None


KINDS = ["undefined", *(["address"] if address_sanitizer() else [])]


def run(kind: str, layouts: str, *programs: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    if kind == "address":
        environment["LD_PRELOAD"] = address_sanitizer() or ""
    command = [sys.executable, "-m", "tests.targets.sanitized", kind, layouts, *programs]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("layouts", "kind"), few(product(["last", "every"], KINDS), [("last", kind) for kind in KINDS])
)
def test_a_network_is_clean_and_a_planted_error_behind_it_is_found(layouts: str, kind: str) -> None:
    done = run(kind, layouts, "network", "planted")
    assert done.stdout == "network is clean\n", done.stderr[-3000:]
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr if kind == "address" else done.returncode < 0


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_is_clean(kind: str) -> None:
    done = run(kind, "every", "0", "1", "2", "3", "losses")
    assert done.returncode == 0, done.stderr[-3000:]
