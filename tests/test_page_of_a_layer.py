"""docs/from_text_to_kernel.md shows what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

import chainrule as cr
from chainrule.compile import training
from chainrule.loops.names import described
from chainrule.loops.program import PASSES, lower
from chainrule.loops.schedule import Machine
from chainrule.targets import c

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "from_text_to_kernel.md").read_text(encoding="utf-8")


def printed() -> str:
    """Derivation, equations, the code's equations and C, each line without what is around it."""
    model = cr.Sequential(cr.Input(20), cr.Dense(12), cr.ReLU(), cr.Dense(10), loss="softmax_cross_entropy")
    derivation = model.derive()
    task = training(model.network, derivation, cr.SGD(0.1), "classes")
    plan = lower(task, Machine(8, 12, 2), samples=64)
    lines = [*map(str, task.equations), *(described(e, plan.names) for e in plan.task.equations)]
    text = "\n".join([*lines, derivation.to_text(), c.source(plan)])
    return "\n".join(line.strip() for line in text.splitlines() if "MARK" not in line)


def test_the_page_shows_what_the_code_prints() -> None:
    text = printed()
    blocks = re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines()]
    assert len(shown) > 15 and [line for line in shown if line not in text] == []
    assert blocks[-1] in text  # the meeting stands between the two


def test_the_page_names_every_pass_and_files_that_are_there() -> None:
    assert [each.__name__ for each in PASSES if f"`{each.__name__}`" not in PAGE] == []
    files = re.findall(r"`((?:\w+/)+\w+\.(?:py|h))`", PAGE)
    roots = ROOT, ROOT / "src" / "chainrule", ROOT / "src" / "chainrule" / "runtime"
    assert len(files) > 10 and [file for file in files if not any((root / file).is_file() for root in roots)] == []
