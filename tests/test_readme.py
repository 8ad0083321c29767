"""The README's code runs, and prints what the README says it prints."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from runpy import run_path

import pytest

from chainrule.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def run(code: str, folder: Path) -> str:
    file = folder / "example.py"
    file.write_text(code, encoding="utf-8")
    printed = StringIO()
    with redirect_stdout(printed):
        run_path(str(file))
    return printed.getvalue()


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def test_the_first_example_prints_what_stands_below_it(tmp_path: Path) -> None:
    assert [kind for kind, _ in BLOCKS[:2]] == ["python", "text"]
    assert stripped(run(BLOCKS[0][1], tmp_path)) == stripped(BLOCKS[1][1])


def test_the_layers_of_the_second_example_train(tmp_path: Path) -> None:
    kind, code = BLOCKS[2]
    assert kind == "python"
    code = f"import chainrule as cr\n{code}\nprint(*model.parameters)\n"
    assert run(code, tmp_path).split() == ["scale1.g", "dense1.W", "dense1.b"]


def test_the_training_of_the_third_example_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = next(code for kind, code in BLOCKS if kind == "python" and "resume=True" in code)
    printed = run("import chainrule as cr\n" + code, tmp_path)
    assert "'f1': 0.9" in printed and printed.count("\n") > 10
    assert {"digits.safetensors", "digits.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_the_search_and_the_models_of_the_fourth_example_train(tmp_path: Path) -> None:
    code = next(code for kind, code in BLOCKS if kind == "python" and "GridSearchCV" in code)
    given = "import chainrule as cr\nx, y, x_test, y_test = cr.digits()\n"
    printed = run(f"{given}{code}\nprint(len(histories), histories[15].accuracy[-1] > 0.9)\n", tmp_path)
    assert "'hidden_layer_sizes': (64,)" in printed and printed.endswith("16 True\n")


def test_the_model_file_trains_on_the_commands_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((kind, text),) = [block for block in BLOCKS if block[0] == "toml"]
    name = text.split("\n", 1)[0].removeprefix("# ")
    assert kind == "toml"
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [line.split()[1:] for line in README.split("\n") if line.startswith("    chainrule ")]
    mine = [c for c in commands if name in c or "conv.safetensors" in c]
    assert [c[0] for c in mine] == ["train", "evaluate", "derive"]
    for command in mine:
        short = ["--limit", "64"] if command[0] == "train" else []
        assert main([*command, *short]) == 0
    assert (tmp_path / "network.md").exists()


def test_the_picture_shows_what_is_printed_today(tmp_path: Path) -> None:
    picture = (ROOT / "docs" / "lemma.svg").read_text(encoding="utf-8")
    source = (ROOT / "tools" / "readme_picture.py").read_text(encoding="utf-8")
    copy = tmp_path / "tools" / "readme_picture.py"
    copy.parent.mkdir()
    (tmp_path / "docs").mkdir()
    copy.write_text(source, encoding="utf-8")
    run_path(str(copy), run_name="__main__")
    assert (tmp_path / "docs" / "lemma.svg").read_text(encoding="utf-8") == picture
