"""Documents in Chromium: no page is wider than its window, nothing is cut off or stands over something else, and
axe-core finds nothing serious."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import pytest
from tests.built_in import Language, derived
from tests.examples import few

import chainrule as cr
from chainrule.derivation import Derivation
from chainrule.train.alone import alone

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
AXE = HERE.parents[1] / "build/axe/node_modules/axe-core/axe.min.js"
WIDTHS = (1280, 500, 390)
MODELS = ("mlp", "lenet", "resnet-tiny", "transformer-tiny", "BatchNorm")
Report = dict[str, list[str]]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and where a browser finds it."""
    (tmp_path / "seen.js").write_text((HERE / "seen.js").read_text())
    (tmp_path / "axe.js").write_text(AXE.read_text())
    (tmp_path / "index.html").write_text(
        f'<!DOCTYPE html><body><script src="seen.js"></script><script>looked({list(WIDTHS)})</script>'
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def looked_at(page: str, site: tuple[Path, str]) -> Report:
    """What is wrong with a page at each width, and what axe-core finds serious."""
    folder, address = site
    (folder / "page.html").write_text(page)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser is not None
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,2200",
        "--virtual-time-budget=120000", f"--user-data-dir={folder / 'profile'}", "--dump-dom", address,
    ]
    dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    found = re.search(r"<pre>(.*)</pre>", dom, re.DOTALL)
    assert found is not None, dom[:2000]
    return json.loads(html.unescape(found[1]))


def of(name: str) -> Derivation:
    single = alone(name)
    return derived(name) if single is None else single.derive()


@pytest.mark.parametrize(
    ("name", "lang"), few(product(MODELS, ("en", "zh")), [*zip(MODELS, ("en", "zh", "en", "zh", "zh"), strict=True)])
)
def test_nothing_is_cut_or_stands_over_something_else(name: str, lang: Language, site: tuple[Path, str]) -> None:
    assert looked_at(of(name).to_html(lang=lang), site) == {**{str(width): [] for width in WIDTHS}, "axe": []}


def test_what_is_wrong_is_found(site: tuple[Path, str]) -> None:
    page = cr.derive("y[n, k] = x[n, k]*c[k]").to_html()
    planted = (
        '<p style="width: 450px">wide</p><div style="position: relative"><b>one</b>'
        '<b style="position: absolute; left: 2px; top: 1px">two</b></div>'
        '<p style="width: 100px; overflow: hidden; white-space: nowrap">much that is cut off here</p>'
        '<img src="none.png">'
    )
    report = looked_at(page.replace("</main>", planted + "</main>"), site)
    assert [fault.partition(":")[0] for fault in report["1280"]] == ["cut off", "over each other"]
    assert [fault for fault in report["390"] if "px wide" in fault]
    assert [fault for fault in report["axe"] if fault.startswith("image-alt")]
