"""The pages of the guide that need PyTorch or ONNX: every block runs, and prints what stands below it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.pages import differing
from tests.test_guide import DOCS, DOORS

pytestmark = pytest.mark.doors


@pytest.mark.parametrize("name", sorted(DOORS))
def test_every_block_of_the_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()  # it numbers the layers of a process
    assert differing((DOCS / "guide" / name).read_text(encoding="utf-8"), tmp_path) == []
