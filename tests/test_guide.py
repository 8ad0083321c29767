"""Every block of the guide runs, and prints what the page shows below it; no built page asks another host.

By `make pages`, and what takes long by the campaign.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import chainrule as cr
from tests.pages import differing

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "guide").glob("*.md"))]
SLOW = {"command_line.md", "lenet.md", "lenet.zh.md", "recipes.md"}
DOORS = {"onnx.md", "your_network.md"}
"""Pages that need what `make doors` installs, which runs them."""
HERE = [p for p in PAGES if p.name not in DOORS]


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.campaign if p.name in SLOW else pytest.mark.pages, id=p.name) for p in HERE],
)
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert differing(page.read_text(encoding="utf-8"), tmp_path) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\na = 1\n```\n\n```python\nprint(a, a)\n```\n\n```text\n1\n```\n",
        "```console\n$ chainrule summary neuron\na … b\n```\n",
    ],
)
def test_another_output_is_seen(wrong: str, tmp_path: Path) -> None:
    assert len(differing(wrong, tmp_path)) == 1


def test_a_block_that_fails_or_is_of_no_kind_is_seen(tmp_path: Path) -> None:
    with pytest.raises(NameError):
        differing("```python\nprint(missing)\n```\n", tmp_path)
    with pytest.raises(AssertionError, match="'bash'"):
        differing("```bash\nls\n```\n", tmp_path)


# The built pages

HOST = re.compile(r"^(?:\w+:)?//|^(?:https?|ftp|wss?):")
IN_STYLE = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")
LINKS_THAT_LOAD_NOTHING = {"canonical", "next", "prev", "author", "license", "alternate"}


class _Asked(HTMLParser):
    """What a page loads without its reader's doing, as it names it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.within = tag
        loading = {name: given[name] for name in ("src", "poster", "data", "background", "srcset") if name in given}
        if tag == "link" and not set(given.get("rel", "").split()) <= LINKS_THAT_LOAD_NOTHING:
            loading["href"] = given.get("href", "")
        if tag in ("use", "image") or (tag == "base"):
            loading["href"] = given.get("href", given.get("xlink:href", ""))
        for name, value in loading.items():
            self.found += re.findall(r"[^\s,]\S+(?=\s)", value) if name == "srcset" else [value]
        self.found += in_style(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.within == "style":
            self.found += in_style(data)
        elif self.within == "script":
            self.found += re.findall(r"[\"'](https?://[^\"']+|//\w[^\"']+)[\"']", data)


def in_style(text: str) -> list[str]:
    return [first or second for first, second in IN_STYLE.findall(text)]


def asked_of_others(folder: Path) -> list[str]:
    """Each address of another host that a page or a style sheet in a folder loads, with its file."""
    found: list[str] = []
    for path in sorted(folder.rglob("*.html")):
        parser = _Asked()
        parser.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {address}" for address in parser.found if HOST.match(address)]
    for path in sorted(folder.rglob("*.css")):
        addresses = in_style(path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {address}" for address in addresses if HOST.match(address)]
    return found


@pytest.mark.pages
def test_no_built_page_asks_another_host(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert asked_of_others(site) == []
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {str(page.relative_to(DOCS).with_suffix(".html")) for page in PAGES} <= pages
    assert "<math" in (site / "guide" / "reading.html").read_text(encoding="utf-8")
    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert [name for name in cr.__all__ if f"<code>{name}</code>" not in reference] == []
    words = re.sub(r"<[^>]+>", "", reference)
    assert [name for name in ("fit", "predict", "derive") if f"Model.{name}(" not in words] == []
    # and what would ask is counted
    (site / "asks.html").write_text(
        '<link rel="stylesheet" href="https://a.example/x.css"><link rel="icon" href="//a.example/i.png">'
        '<img src="https://a.example/a.png" srcset="b.png 1x, https://a.example/b.png 2x">'
        '<p style="background: url(https://a.example/c.png)"></p><style>@import "https://a.example/y.css";</style>'
        '<script src="http://a.example/z.js"></script><script>load("https://a.example/w.js")</script>'
        '<iframe src="https://a.example/"></iframe><a href="https://a.example/">a link</a>',
        encoding="utf-8",
    )
    (site / "asks.css").write_text("@font-face { src: url(https://a.example/f.woff2) }", encoding="utf-8")
    assert len(asked_of_others(site)) == 10
