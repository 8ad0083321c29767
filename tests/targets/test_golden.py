"""The C of two small programs, as it is printed: to be read, and so that a change of it is seen.

`pytest tests/targets/test_golden.py --update-golden` writes the files anew; look at the difference before it is kept.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.compile import gradients
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine
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


def printed(name: str) -> str:
    model = MODELS[name]()
    task = gradients(model.network, model.derive())
    return c.source(lower(task, Machine(8, 12), samples=8, scheduled=name == "mlp"))


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
