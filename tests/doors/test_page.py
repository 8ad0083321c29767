"""Every block of the guide's page on networks from elsewhere runs, and prints what the page shows below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import differing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "your_network.md"


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert differing(PAGE.read_text(encoding="utf-8"), tmp_path) == []
