"""The command line: what it prints, its exit codes, and that a mistake is one sentence."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import cli

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


def run(*arguments: str) -> int:
    try:
        return cli.main(list(arguments))
    except SystemExit as exit:
        return int(exit.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["derive", "neurn"],
        ["derive", "u[n, k] = "],
        ["derive", "y[i] = __import__('os')[i]"],
        ["derive", "y[i] = x.real[i] + (1).__class__"],
        ["derive", "y[i] = x[i]**99999999999"],
        ["derive", "y[i] = " + "(" * 10000 + "x[i]" + ")" * 10000],
        ["derive", "u[n, k] = sum[l](W[k, l]*x[n, l])", "--wrt", "V"],
        ["derive", "y[n, k] = x[n, j]"],
        ["derive", "neuron", "--wrt", "W"],
        ["derive", "neuron", "-o", "neuron.docx"],
        ["derive", "neuron", "-o", "/no/such/folder/neuron.md"],
        ["train", "digits", "--rate", "-1"],
        ["train", "digits", "--rate", "nan"],
        ["train", "digits", "--epochs", "0"],
        ["train", "digits", "--epochs", "99999999999999999999"],
        ["train", "digits", "--momentum", "1"],
        ["train", "digits", "--seed", "-1"],
        ["train", "digits", "--save", "/no/such/folder/m.safetensors"],
        ["train", "mnist"],
        ["tain"],
        [],
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("chainrule")
    assert len(err) < 700
    assert "Traceback" not in err


def test_ten_megabytes_of_equation_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("derive", "y[i] = " + "x[i] + " * 1_500_000 + "1") == 2
    assert len(capsys.readouterr().err) < 700


@pytest.mark.parametrize("command", [[], ["train"], ["derive"]])
def test_help_has_examples_that_work(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    assert f"chainrule {' '.join(command)}".strip() in capsys.readouterr().out.split("examples:")[1]


EXAMPLES = re.findall(r"^ {2,}chainrule (derive .*)$", cli.EXAMPLES + cli.DERIVE_EXAMPLES + README, re.MULTILINE)


@pytest.mark.parametrize("example", dict.fromkeys(EXAMPLES))
def test_every_example_of_derive_derives(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*shlex.split(example)) == 0
    files = list(tmp_path.iterdir())
    text = files[0].read_text(encoding="utf-8") if files else capsys.readouterr().out
    assert "∂" in text or r"\partial" in text


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_derive", interrupted)
    assert run("derive", "neuron") == 130
    assert capsys.readouterr().err == "chainrule derive: interrupted\n"


def test_a_few_epochs_train_and_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.safetensors"
    assert run("train", "digits", "--epochs", "2", "--save", str(path)) == 0
    out, err = capsys.readouterr()
    assert "held-out accuracy" in out
    assert "epoch 2/2" in err
    x, y = cr.digits()[2:]
    accuracy = cr.load(path).evaluate(x, y)["accuracy"]
    assert f"held-out accuracy {accuracy:.2%}" in out


def test_one_equation_is_derived_by_the_facades_function() -> None:
    import_module("chainrule.derive")
    assert callable(cr.derive)
    gradients = cr.derive("u[n, k] = sum[l](W[k, l] * x[n, l])", wrt="W").gradients
    assert [tensor.name for tensor in gradients.values()] == ["δW"]


def test_importing_chainrule_is_light() -> None:
    code = "import sys, chainrule; print({'numpy', 'rich', 'safetensors', 'sklearn', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("chainrule ")


@pytest.mark.parametrize("path", ["/proc/xx", "/tmp", "/nonexist/a"])
def test_where_to_save_is_probed_before_training(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "digits_model", None)
    assert run("train", "digits", "--save", path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "/" + path.split("/")[1] in err


def test_probing_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run("derive", "y[n, k<5] = x[n, j]", "-o", str(tmp_path / "a.md")) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.symlink_to("/dev/full")
    assert run("derive", "neuron", "-o", str(path)) == 2
    assert capsys.readouterr().err == f"chainrule derive: {path}: No space left on device\n"


def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "chainrule.cli", "derive", "y[i] = x[i]*x[i]", "--wrt", "x"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "chainrule derive: standard output: No space left on device\n"
