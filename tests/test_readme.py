"""The README's code runs, in both languages, and prints what the README says it prints."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

import chainrule as cr
from tests.pages import BLOCK, differing

ROOT = Path(__file__).parents[1]
READMES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")}


def test_every_block_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert differing(READMES["README.md"], tmp_path) == []
    assert {"digits.safetensors", "digits.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_both_languages_have_the_same_blocks_and_commands() -> None:
    """So those of one need not run once more. Comments are translated."""

    def code(text: str) -> list[str]:
        blocks = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
        commands = [line for line in text.splitlines() if line.startswith("    ") and line not in blocks]
        return [line.split("  #")[0].rstrip() for line in (*blocks, *commands)]

    english, chinese = map(code, READMES.values())
    assert len(english) > 50 and chinese == english


def test_one_version_stands_everywhere() -> None:
    citation, changes = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md"))
    assert f"\nversion: {cr.__version__}\n" in citation
    assert f"\n## {cr.__version__}\n" in changes


def test_the_picture_shows_what_is_printed_today(tmp_path: Path) -> None:
    picture = (ROOT / "docs" / "lemma.svg").read_text(encoding="utf-8")
    source = (ROOT / "tools" / "readme_picture.py").read_text(encoding="utf-8")
    copy = tmp_path / "tools" / "readme_picture.py"
    copy.parent.mkdir()
    (tmp_path / "docs").mkdir()
    copy.write_text(source, encoding="utf-8")
    run_path(str(copy), run_name="__main__")
    assert (tmp_path / "docs" / "lemma.svg").read_text(encoding="utf-8") == picture
