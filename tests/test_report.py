"""The report of a training run: one page, complete in itself, whose numbers are those of the model."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from base64 import b64decode
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from html5lib.html5parser import ParseError

import chainrule as cr
from chainrule import cli
from chainrule.render import charts
from tests.render.test_html import loads

RNG = np.random.default_rng(0)
PICTURES = np.cumsum(np.cumsum(RNG.normal(size=(60, 1, 8, 8)), axis=2), axis=3)
CLASSES = (PICTURES[:, 0, 4, 4] > 0).astype(int) + (PICTURES[:, 0, 7, 7] > 3)
TABLE = RNG.normal(size=(50, 9))


def fitted(*layers: Any, loss: Any, x: Any, y: Any, **options: Any) -> tuple[cr.Model, cr.History]:
    model = cr.Sequential(*layers, loss=loss, seed=4)
    return model, model.fit(x, y, epochs=4, verbose=False, executor="numpy", **options)


@cache
def runs() -> dict[str, tuple[cr.Model, cr.History, Any, Any]]:
    """A run of each kind of answer, with what it is looked at with."""
    layers = cr.Conv2d(3, 3), cr.ReLU(), cr.Flatten(), cr.Dense(3)
    entropy, squares, binary = "softmax_cross_entropy", cr.mean_squared_error(1.0, 2.0), "binary_cross_entropy"
    numbers, several = TABLE[:, :2].sum(1), (TABLE[:, :3] > 0).astype(int)
    pictures = fitted(cr.Input(1, 8, 8), *layers, loss=entropy, x=PICTURES, y=CLASSES, validation_split=0.2)
    flat = fitted(cr.Input(64), cr.Dense(3), loss=entropy, x=PICTURES.reshape(60, 64), y=CLASSES)
    return {
        "pictures": (*pictures, PICTURES, CLASSES),
        "flat": (*flat, PICTURES.reshape(60, 64), CLASSES),
        "numbers": (*fitted(cr.Input(9), cr.Dense(1), loss=squares, x=TABLE, y=numbers), TABLE, numbers),
        "binary": (*fitted(cr.Input(9), cr.Dense(1), loss=binary, x=TABLE, y=numbers > 0), TABLE, numbers > 0),
        "several": (*fitted(cr.Input(9), cr.Dense(3), loss=binary, x=TABLE, y=several), TABLE, several),
    }


@cache
def page(kind: str, lang: Any = "en") -> str:
    model, history, x, y = runs()[kind]
    return str(cr.report(model, history, x, y, lang=lang))


def fetched(source: str) -> list[str]:
    """What a page fetches, but for pictures that it holds."""
    return [found for found in loads(source) if not found.startswith("src=data:image/png;base64,")]


@pytest.mark.parametrize("kind", ["pictures", "flat", "numbers", "binary", "several"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_report_is_valid_whole_small_and_asks_no_host(kind: str, lang: str) -> None:
    source = page(kind, lang)
    html5lib.HTMLParser(strict=True).parse(source)
    assert fetched(source) == []
    assert len(source) < (700_000 if lang == "zh" else 350_000)
    assert f'<html lang="{lang}' in source and not re.search(r"\{\w+\}</|report\.", source.split("</style>")[1])


def test_a_page_that_loads_or_is_torn_is_seen() -> None:
    source = page("binary")
    asking = source.replace('<main id="main">', '<main id="main"><img alt="" src="https://example.org/a.png">')
    assert len(fetched(asking)) > 0
    asking = source.replace('<main id="main">', '<main id="main"><link rel="stylesheet" href="style.css">')
    assert fetched(asking) == ["href=style.css"]
    with pytest.raises(ParseError):
        html5lib.HTMLParser(strict=True).parse(source.replace("</main>", ""))


def facts(source: str) -> dict[str, str]:
    """The rows of the first table."""
    rows = re.findall(r"<tr><td>(.*?)</td><td[^>]*>(.*?)</td></tr>", source.split("</table>")[0])
    return {name: unescape(re.sub(r"<[^>]+>", "", value)) for name, value in rows}


@pytest.mark.parametrize("kind", ["pictures", "numbers", "binary", "several"])
def test_the_numbers_of_the_page_are_those_of_evaluate(kind: str) -> None:
    model, history, x, y = runs()[kind]
    found, said = model.evaluate(x, y), facts(page(kind))
    assert said["loss"] == f"{found['loss']:.4f}"
    assert said.get("accuracy") == (f"{found['accuracy']:.2%}" if "accuracy" in found else None)
    assert said["training"] == f"4 epochs over {history.samples} samples in batches of 32"
    assert facts(str(cr.report(model, history, x[:9], y[:9])))["loss"] != said["loss"]


def test_the_table_of_counts_is_the_confusion_matrix() -> None:
    model, _, x, y = runs()["pictures"]
    cells = re.findall(r'<td class="(hit|miss)" style="--s:[\d.]+">(\d*)</td>', page("pictures"))
    shown = np.array([int(count or 0) for _, count in cells]).reshape(3, 3)
    assert (shown == model.confusion_matrix(x, y)).all() and shown.sum() == 60
    assert [kind for kind, _ in cells[:4]] == ["hit", "miss", "miss", "miss"]


def test_gradient_flow_has_the_norms_of_the_gradients() -> None:
    model, _, x, y = runs()["pictures"]
    said = dict(re.findall(r"<tr><td><code>([\w.]+)</code></td><td>([\d.e-]+)</td><td><span", page("pictures")))
    gradients = model.gradients(x, y)[1]
    assert said == {name: f"{np.linalg.norm(g.astype(float)):.3g}" for name, g in gradients.items()}
    assert charts.by_powers([1e-4, 1e-2, 1.0, 0.0]) == pytest.approx([0.55, 0.775, 1.0, 0.0])


def images(source: str) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Every picture of a page: what is said of it, and its bytes as they come out of the file."""
    found: list[tuple[str, np.ndarray[Any, Any]]] = []
    for said, data in re.findall(r'<img alt="([^"]*)"[^>]* src="data:image/png;base64,([^"]*)">', source):
        file = b64decode(data)
        across, high, _, colour = struct.unpack(">IIBB", file[16:26])
        length = struct.unpack(">I", file[33:37])[0]
        raw = np.frombuffer(zlib.decompress(file[41 : 41 + length]), np.uint8).reshape(high, -1)
        found.append((said, raw[:, 1:].reshape(high, across, 3 if colour == 2 else 1)))
    return found


@pytest.mark.parametrize(("kind", "shape"), [("pictures", (3, 3, 3)), ("flat", (8, 8, 3))])
def test_weights_and_wrong_samples_are_pictures(kind: str, shape: tuple[int, ...]) -> None:
    model, _, x, y = runs()[kind]
    shown = images(page(kind))
    wrong = np.flatnonzero(model.classify(x) != y)
    weights = np.asarray(next(iter(model.parameters.values()))).reshape(3, *shape[:2])
    assert [picture.shape for _, picture in shown[:3]] == [shape] * 3
    for (_, picture), plane in zip(shown[:3], weights, strict=True):
        top = np.unravel_index(np.abs(plane).argmax(), plane.shape)
        assert picture[top].tolist() == ([178, 24, 43] if plane[top] > 0 else [33, 102, 172])
    assert len(shown) == 3 + min(len(wrong), 24) > 3
    assert {said for said, _ in shown[3:]} <= {f"{y[r]}, taken for {model.classify(x)[r]}" for r in wrong}


def test_what_is_no_picture_is_shown_as_numbers() -> None:
    """Neighbours in a picture are alike; 64 numbers that are not are no picture."""
    shuffled = PICTURES.reshape(60, 64)[:, np.random.default_rng(1).permutation(64)]
    model, history = fitted(cr.Input(64), cr.Dense(3), loss="softmax_cross_entropy", x=shuffled, y=CLASSES)
    source = str(cr.report(model, history, shuffled, CLASSES))
    assert images(source) == [] and len(images(page("flat"))) > 3
    assert '<th scope="col">x6</th>' in source and '<th scope="col">x7</th>' not in source


def test_the_program_of_a_report_trains_the_same(tmp_path: Path) -> None:
    model, _, x, y = runs()["binary"]
    code = unescape(re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page("binary"), re.DOTALL)[0])
    np.savez(tmp_path / "data.npz", x=x, y=y)
    begin = "import numpy as np\ndata = np.load('data.npz')\nx = x_test = data['x']\ny = y_test = data['y']\n"
    end = "\nprint(model.evaluate(x, y)['loss'], model.parameters['dense1.W'].sum())"
    again = code.replace("seed=0,", "seed=0, executor='numpy', verbose=False,")
    assert again != code and "seed=4," in code
    run = [sys.executable, "-c", begin + again + end]
    done = subprocess.run(run, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(model.evaluate(x, y)["loss"]), str(model.parameters["dense1.W"].sum())]


def test_the_command_line_writes_a_report_and_the_derivation_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.html"
    train = ["train", "digits", "--epochs", "1", "--limit", "200", "--metric", "f1", "--report", str(file)]
    assert cli.main(train) == 0
    source, beside = file.read_text(encoding="utf-8"), tmp_path / "run-derivation.html"
    said, told = facts(source), capsys.readouterr().out
    assert f"held-out accuracy {said['accuracy']}" in told and f"f1 {said['f1']}" in told
    assert said["data"].startswith("digits: 1,797 samples") and said["evaluated on"] == "360 samples of shape 64"
    assert f"chainrule train digits --epochs 1 --limit 200 --metric f1 --report {file}" in source
    assert fetched(source) == [f"href={beside.name}"] and "dense1.W" in beside.read_text(encoding="utf-8")
    assert len(images(source)) == 32 + 24
    assert cli.main(["train", "digits", "--report", str(tmp_path / "none" / "run.html")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_report_of_nothing_is_refused() -> None:
    model, history, x, y = runs()["binary"]
    with pytest.raises(cr.DataError):
        cr.report(model, history, x, y[:-1])
    with pytest.raises(cr.DerivationError, match="language"):
        cr.report(model, history, x, y, lang="fr")  # pyright: ignore[reportArgumentType]
    with pytest.raises(cr.ModelError, match="no loss"):
        cr.report(cr.Sequential(cr.Input(9), cr.Dense(1)), history, x, y)
