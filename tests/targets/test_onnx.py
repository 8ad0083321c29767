"""What a model that cannot be an ONNX file is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli import main


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = cr.Sequential(cr.Input(2), cr.Dense(1), loss="half_squared_error")
    for training in (False, True):
        with pytest.raises(cr.ModelError, match=r"pip install 'chainrule\[onnx\]'"):
            model.to_onnx(tmp_path / "m.onnx", training=training)
    assert [*tmp_path.iterdir()] == []


def test_what_makes_no_sense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(cr.ModelError, match="does not train"):
        cr.Sequential(cr.Input(2), cr.Dense(1)).to_onnx(tmp_path / "m.onnx", training=True)
    with pytest.raises(cr.ModelError, match="has no optimizer"):
        cr.Sequential(cr.Input(2), cr.Dense(1)).to_onnx(tmp_path / "m.onnx", optimizer="adam")
    assert main(["export", "mlp", "-o", str(tmp_path / "m.pb")]) == 2
    assert "names no format; write -o model.onnx" in capsys.readouterr().err
    assert main(["export", "mlp", "-o", str(tmp_path / "m.py"), "--training"]) == 2
    assert "a module of PyTorch is trained by PyTorch" in capsys.readouterr().err
