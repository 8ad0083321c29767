"""What every test runs under: JAX on the CPU in float64, one BLAS thread per worker, repeatable hypothesis."""

from __future__ import annotations

import gc
import os
import signal
import sys

# Read when NumPy and JAX are first imported, so they are set before anything else is.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
# Each test compiles its own small function once: compiling costs more than running. XLA's algebraic simplifier aborts
# on the gradient of some convolutions with a reversed window (jaxlib 0.10.2).
_XLA = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_disable_hlo_passes=algsimp "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", _XLA)
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from chainrule.runtime import compiler  # noqa: E402

# The same examples on every machine, and no verdict that depends on how fast it is.
settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "campaign", settings.get_profile("default"), derandomize=False, max_examples=5000, print_blob=True
)
settings.load_profile("default")


def pytest_collection_finish() -> None:
    """What was imported stays, and what is derived mostly stays: the garbage collector need not look at it often."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files in tests/golden/ anew")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the tests compile is kept for the run, for all of its workers, away from the user's cache."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(folder))
        patch.delenv("CC", raising=False)
        yield folder


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Whatever the process does with SIGINT, as in a background job, here it is Python's own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests run their kernels a few times, and would wait longer for the compiler: they do without -O2, which
    changes no bit (tests/targets/test_native.py), and one compiler takes a whole source, since every core has a test to
    run. What users get is in the campaign, and where a test says so."""
    campaign = request.config.getoption("--hypothesis-profile") == "campaign"
    if not campaign and request.node.get_closest_marker("shipped") is None:
        monkeypatch.setattr(compiler, "FLAGS", tuple("-O0" if flag == "-O2" else flag for flag in compiler.FLAGS))
        monkeypatch.setattr("chainrule.compile.LONG", sys.maxsize)
