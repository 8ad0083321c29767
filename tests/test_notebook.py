"""At a prompt and in a notebook: what every public object is, in a few lines, and drawn where there is more to see."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest

import chainrule as cr
from chainrule.optim.named import RULES
from chainrule.runtime.peaks import Peaks
from chainrule.train import progress
from chainrule.train.profile import Profile, Row
from tests.nn.test_every_layer import MODELS
from tests.render.test_html import loads

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
LINES, LETTERS = 10, 500
HTML = import_module("chainrule.render.html")  # whose name in its package is a function's
X = np.random.default_rng(0).normal(size=(40, 6))
Y = (X[:, 0] > 0).astype(int)


@cache
def trained() -> tuple[cr.Model, cr.History]:
    model = cr.Sequential(cr.Input(6), cr.Dense(4), cr.ReLU(), cr.Dense(2), loss="softmax_cross_entropy")
    return model, model.fit(X, Y, epochs=30, validation_split=0.25, verbose=False, executor="numpy")


@cache
def objects() -> dict[str, Any]:
    """An object of every public class, by the name of its class, and others that a user meets."""
    model, history = trained()
    derivation = model.derive()
    watch = cr.Watch(X, Y)
    made = [
        model, history, derivation, model.verify(), model.parameters, model.states, model.training, model.network,
        model.gradients(X, Y)[1], derivation["dense1.W"], derivation.lemmas[0], derivation.forward, cr.Input(3, 3),
        cr.Dense(3)(cr.Input(4)), cr.glorot("k", "l"), cr.State("m", cr.zeros()), cr.bernoulli(0.5, "n"), cr.huber(2.0),
        cr.Layer, cr.Optimizer, cr.Adam(cr.warm_up(cr.cosine(0.1, steps=10), 3)), cr.Callback(), watch,
        cr.EarlyStopping(), cr.ReduceOnPlateau(), cr.CSVLogger("log.csv"), cr.Checkpoint("m.safetensors"),
        cr.Standardiser.fit(np.ones((9, 300))), cr.METRICS["f1"], cr.report(model, history, X, Y),
        cr.DataSet(np.zeros((900, 30)), np.arange(900), name="counted"),
        cr.read_model("lenet").derive(), cr.read_model("lenet").parameters, cr.read_model("resnet-tiny").states,
    ]
    made += [cr.Sequential(cr.Input(3), "relu"), cr.Model(start := cr.Input(3), cr.Dense(2)(start))]
    made += [*(layer for _, layer in MODELS.values() if isinstance(layer, cr.Layer)), cr.Add(), cr.Concat(1)]
    made += [cr.Attention(), cr.Parameter([3, 8])]
    made += [*(rule() for rule in RULES.values()), cr.warm_up(0.1, 3), cr.cosine(0.1, steps=9)]
    made += [cr.one_cycle(0.1, steps=9), cr.step_decay(0.1, every=9)]
    return {f"{number} {type(one).__name__}": one for number, one in enumerate(made)}


def long(shown: str) -> str:
    """What is wrong with what a prompt shows: too many lines, too many letters, or an address."""
    lines = shown.splitlines()
    if not 1 <= len(lines) <= LINES or len(shown) > LETTERS:
        return f"{len(lines)} lines, {len(shown)} letters"
    return "an address" if " at 0x" in shown else ""


def test_every_public_object_is_said_in_a_few_lines() -> None:
    assert {name: repr(one) for name, one in objects().items() if long(repr(one))} == {}


def test_every_public_class_is_among_them() -> None:
    classes = {getattr(cr, name) for name in cr.__all__ if inspect.isclass(getattr(cr, name))}
    shown = {type(one) for one in objects().values()} | {one for one in objects().values() if inspect.isclass(one)}
    left = {one.__name__ for one in classes - shown if not issubclass(one, cr.ChainruleError)}
    assert left == {"TensorBoard"}  # which needs an extra


@pytest.mark.parametrize("value", [trained, np.arange(2000.0).tolist(), {"W": np.zeros((12, 3))}, ""])
def test_what_is_too_long_or_an_address_is_seen(value: object) -> None:
    assert long(str(value) if isinstance(value, str) else repr(value))


def drawn() -> dict[str, str]:
    return {name: shown for name, one in objects().items() if (shown := getattr(one, "_repr_html_", lambda: "")())}


def test_what_is_drawn_is_whole_and_small_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HTML, "_FONTS_IN", ["another cell"])
    shown = drawn()
    kinds = {name.split()[1] for name in shown}
    assert kinds == {"Sequential", "Model", "History", "Derivation", "Certificate", "Gradients", "Gradient"}
    for name, text in shown.items():
        html5lib.HTMLParser(strict=True).parseFragment(text)
        assert loads(text) == [], name
        assert len(text) < 60_000, name
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parseFragment(shown["0 Sequential"].replace("</table>", "", 1))


def test_the_fonts_come_once_for_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first cell that needs them, and with it again when it runs again; with all where cells are not told."""
    model, _ = trained()
    monkeypatch.setattr(HTML, "_FONTS_IN", [])
    for place, fonts in (("a", 4), ("b", 0), ("a", 4)):
        monkeypatch.setattr(HTML, "cell_id", lambda place=place: place)
        assert model.derive()._repr_html_().count("@font-face") == fonts
    monkeypatch.setattr(HTML, "_FONTS_IN", [])
    monkeypatch.setattr(HTML, "cell_id", lambda: "")
    assert all(str(model._repr_html_()).count("@font-face") == 4 for _ in range(2))
    assert model.gradients(X, Y)[1]._repr_html_().count("@font-face") == 0  # no formula


def test_a_long_name_leaves_room_for_the_bars_of_a_profile() -> None:
    made = Profile((Row("δconv1.W; " * 30, 3e-6, 9.0, 9.0), Row("dense1.u", 1e-6, 9.0, 9.0)), 4, Peaks(1e9, 1e9))
    names = re.findall("<code>([^<]*)</code>", made._repr_html_())
    assert max(map(len, names)) < 70 and names[1] == "dense1.u"


def test_a_certificate_is_a_table_with_one_row_of_headers() -> None:
    shown = trained()[0].verify()._repr_html_()
    rows = [re.findall("<(t[hd]) ", row) for row in shown.split("<tr>")[1:]]
    assert rows[0] == ["th"] * 4 and len(rows) > 5 and all(row == ["td"] * 4 for row in rows[1:])


def test_a_model_is_drawn_with_its_shapes() -> None:
    shown = cr.read_model("lenet")._repr_html_()
    assert shown is not None
    assert re.findall(r'<span class="label"[^>]*>([\d×]+)<', shown)[:3] == ["1×28×28", "6×14×14", "16×5×5"]
    assert "61,706" in shown


def test_a_curve_goes_through_the_numbers() -> None:
    history = cr.History([{"loss": 4.0}, {"loss": 2.0, "val_loss": 3.0}, {"loss": 0.0, "val_loss": float("nan")}])
    shown = history._repr_html_()
    (points,) = re.findall(r'<polyline class="one" points="([^"]*)"', shown)
    x, y = np.array([pair.split(",") for pair in points.split()], float).T
    assert np.allclose(np.diff(x, 2), 0, atol=0.11) and np.allclose(np.diff(y, 2), 0, atol=0.11)
    assert y[0] < y[1] < y[2]
    assert len(re.findall(r'<circle class="two"', shown)) == 1  # a single number is a point
    alone = cr.History([{"loss": 4.0, "val_f1": 0.5, "val_loss": 3.0}])._repr_html_()
    assert re.findall(r'<circle class="(\w+)"', alone) == ["one", "two", "two"]  # what is held out has one colour


def test_a_history_is_a_dictionary_a_frame_and_a_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    history = cr.History([{"loss": 1.0}, {"loss": 0.5, "val_loss": 0.75}])
    assert str(history.to_dict()) == "{'loss': [1.0, 0.5], 'val_loss': [nan, 0.75]}"
    assert history["val_loss"] == [0.75] and history.accuracy == [] and cr.History()["loss"] == []
    with pytest.raises(KeyError, match="no 'los': the metrics are loss, val_loss"):
        history["los"]
    frame = history.to_frame()
    assert frame.index.tolist() == [1, 2] and frame["loss"].tolist() == history.loss
    assert str(history.panels()) == "{'loss': {'training': [1.0, 0.5], 'held out': [nan, 0.75]}}"
    for library, call in (("pandas", history.to_frame), ("matplotlib", history.plot)):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(cr.DataError, match=rf"needs {library}(.|\n)*chainrule\[plot\]"):
            call()


class Handle:
    """What a notebook keeps of a display: all that was shown in its place."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.shown.append(data["text/plain"])


def test_a_bar_fills_in_its_place_and_goes_when_the_run_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    shown: list[str] = []
    cell = progress.Cell(40, "", 0)
    cell.handle = Handle(shown)
    for epoch in range(40):
        cell.step(epoch, 0.5)
        cell.epoch(epoch, {"loss": 1.0})
    cell.__exit__(None, None, None)
    assert shown[0] == "epoch 1/40 1%" and shown[20] == "epoch 21/40 51%" and shown[-1] == ""
    told = capsys.readouterr()
    assert told.err == "" and len(told.out.splitlines()) == progress.SHORT
    assert not progress.in_notebook() and isinstance(progress.progress(3, True), progress.Lines)


@pytest.mark.pages
def test_the_tour_is_executed_by_jupyter(tmp_path: Path) -> None:
    """Nothing in it is red, nothing long, and the whole is small."""
    run = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output-dir", str(tmp_path), str(TOUR)]
    subprocess.run(run, check=True, env={**os.environ, "IPYTHONDIR": str(tmp_path)}, capture_output=True)
    text = (tmp_path / TOUR.name).read_text()
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
    assert len(text) <= 500_000 and len(json.loads(text)["cells"]) == 12
    assert {output["output_type"] for output in outputs} <= {"display_data", "execute_result", "stream"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} == {"stdout"}
    shown = [output["data"] for output in outputs if "data" in output]
    assert [long("".join(data["text/plain"])) for data in shown if "".join(data["text/plain"])] == [""] * 11
    assert text.count("@font-face") == 4 and sum("image/png" in data for data in shown) == 1
    assert sum("text/html" in data and "".join(data["text/html"]) != "" for data in shown) == 8
