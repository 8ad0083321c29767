"""PyTorch and JAX source runs as printed, with gradients that are the framework's own to 1e-12, and ruff is silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.nn.losses import LOSSES
from tests.built_in import derived
from tests.nn.test_every_layer import MODELS
from tests.render.test_module import EVERY, run

pytestmark = pytest.mark.doors
SOURCES = [*MODELS, *LOSSES]
UNCOUNTED = "a difference of brackets"  # its samples are counted by the gradient that is given alone


@pytest.mark.parametrize("name", [name for name in EVERY if name != UNCOUNTED])
def test_torch_source_agrees_with_autograd(name: str, tmp_path: Path) -> None:
    run(EVERY[name]().to_torch(), tmp_path)


def test_jax_source_agrees_with_jax(tmp_path: Path) -> None:
    """In a process of its own: XLA without the passes that the other tests leave out fails on the gradient of a pad."""
    paths = [tmp_path / f"{number}.py" for number in range(len(SOURCES))]
    for path, name in zip(paths, SOURCES, strict=True):
        path.write_text(EVERY[name]().to_jax(), encoding="utf-8")
    program = "import runpy, sys; [runpy.run_path(path, run_name='__main__') for path in sys.argv[1:]]"
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)], env=own, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("from jax.grad") >= len(SOURCES)


def test_torch_source_of_a_network_agrees_with_autograd(tmp_path: Path) -> None:
    for name in ("lenet", "transformer-tiny"):
        run(derived(name).to_torch(), tmp_path)


def test_a_wrong_line_is_refused_by_the_file_itself(tmp_path: Path) -> None:
    source = derived("mlp-textbook").to_torch()
    with pytest.raises(AssertionError, match="x"):
        run(source.replace("du2 @ W2", "2 * du2 @ W2"), tmp_path)


def said_of(folder: Path) -> str:
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--output-format", "concise", str(folder)],
        capture_output=True, text=True, check=False,
    )
    return checked.stdout + checked.stderr


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for number, (name, derivation) in enumerate(EVERY.items()):
        for library in ("numpy", "jax", "torch"):
            if name != UNCOUNTED or library == "numpy":
                text = getattr(derivation(), f"to_{library}")()
                (tmp_path / f"{library}{number}.py").write_text(text, encoding="utf-8")
    assert said_of(tmp_path) == "All checks passed!\n"
    (tmp_path / "wrong.py").write_text("import os\n", encoding="utf-8")
    assert "F401" in said_of(tmp_path)
