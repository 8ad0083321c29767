"""The command line: what it prints, its exit codes, and that a mistake is one sentence."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import chainrule as cr
from chainrule import arguments, cli
from chainrule.commands import training
from chainrule.loops.task import Task
from chainrule.optim.named import OPTIMIZERS
from chainrule.train import assembled, models, progress, tune
from chainrule.train.callbacks import Checkpoint
from chainrule.train.files import NAMES
from chainrule.train.models import BUILT_IN, Training
from chainrule.train.run import Choices, merged, optimizer_for
from chainrule.train.runners import NumpyRunner

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


def run(*arguments: str) -> int:
    try:
        return cli.main(list(arguments))
    except SystemExit as exit:
        return int(exit.code or 0)


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(task: Task, dtype: np.dtype[Any], *rest: object) -> NumpyRunner:
        return NumpyRunner(task, dtype)

    monkeypatch.setattr(assembled, "runner", made)


BY_NUMPY = pytest.mark.usefixtures("by_numpy")
"""Where what is read, said and saved is tested: nothing is compiled, which takes longer than the training."""


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
        ["derive", "neuron", "--level", "3"],
        ["derive", "neuron", "--exercise", "--answers", "answers.md"],
        ["derive", "neuron", "-o", "/no/such/folder/neuron.md"],
        ["train", "digits", "--rate", "-1"],
        ["train", "digits", "--rate", "nan"],
        ["train", "digits", "--epochs", "0"],
        ["train", "digits", "--epochs", "99999999999999999999"],
        ["train", "digits", "--momentum", "1"],
        ["train", "digits", "--seed", "-1"],
        ["train", "digits", "--save", "/no/such/folder/m.safetensors"],
        ["train", "digits", "--resume"],
        ["train", "digits", "--metric", "f7"],
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


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["summary"], ["derive"]])
def test_help_has_examples_that_work(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    assert f"chainrule {' '.join(command)}".strip() in capsys.readouterr().out.split("examples:")[1]


# A model of the README's own is tested beside it.
WRITTEN = arguments.EXAMPLES + arguments.DERIVE_EXAMPLES + README
EXAMPLES = [e for e in re.findall(r"^ {2,}chainrule (derive .*)$", WRITTEN, re.MULTILINE) if ".toml" not in e]


@pytest.mark.parametrize("example", dict.fromkeys(EXAMPLES))
def test_every_example_of_derive_derives(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*shlex.split(example, comments=True)) == 0
    files = list(tmp_path.iterdir())
    if files and files[0].suffix == ".pdf":
        assert files[0].read_bytes().startswith(b"%PDF-")
        return
    text = files[0].read_text(encoding="utf-8") if files else capsys.readouterr().out
    assert "∂" in text or r"\partial" in text or "def backward" in text


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "derive", interrupted)
    assert run("derive", "neuron") == 130
    assert capsys.readouterr().err == "chainrule derive: interrupted\n"


def test_a_few_epochs_train_and_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.safetensors"
    assert run("train", "digits", "--epochs", "2", "--save", str(path)) == 0
    out, err = capsys.readouterr()
    assert "held-out accuracy" in out
    assert "epoch 2/2" in out and not err
    x, y = cr.digits()[2:]
    accuracy = cr.load(path).evaluate(x, y)["accuracy"]
    assert f"held-out accuracy {accuracy:.2%}" in out


def test_tiles_are_measured_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    monkeypatch.setattr(tune, "VARIANTS", 2)
    assert run("train", "digits", "--limit", "64", "--epochs", "1", "--tune") == 0
    assert "with measured tiles" in capsys.readouterr().out
    assert list(tmp_path.glob("answers/tiles-*"))


@pytest.mark.filterwarnings("ignore:the cache of compiled models")
def test_where_no_tile_can_be_kept_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tune, "VARIANTS", 2)
    assert run("train", "digits", "--limit", "64", "--epochs", "1", "--tune") == 0
    out, err = capsys.readouterr()
    assert "no tiles are measured" in err and "with measured tiles" not in out and "held-out accuracy" in out


def test_one_equation_is_derived_by_the_facades_function() -> None:
    import_module("chainrule.derive")
    assert callable(cr.derive)
    gradients = cr.derive("u[n, k] = sum[l](W[k, l] * x[n, l])", wrt="W").gradients
    assert [tensor.name for tensor in gradients.values()] == ["δ(W)"]


def test_several_equations_are_derived_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    text = "u[n, k] = sum[l](W[k, l] * x[n, l]); z[n, k] = tanh(u[n, k])"
    assert run("derive", text, "--wrt", "W", "--verify") == 0
    out = capsys.readouterr().out
    assert "∇_W f = (∇_u f) xᵀ" in out and "checked exactly" in out
    assert run("verify", text, "--wrt", "W") == 0
    capsys.readouterr()
    assert run("verify", text, "--optimizer", "adam") == 2
    assert "leave out --optimizer" in capsys.readouterr().err
    assert run("derive", text, "--wrt", "u") == 2
    assert "u is defined by a line, and not given" in capsys.readouterr().err


def test_importing_chainrule_is_light() -> None:
    code = "import sys, chainrule; print({'numpy', 'rich', 'safetensors', 'sklearn', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("chainrule ")


@pytest.mark.parametrize("path", ["/proc/xx", "/tmp", "/nonexist/a"])
def test_where_to_save_is_probed_before_training(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chainrule.commands.training._fitted", None)
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


# Data, models and what is done with them

IRIS = "a,b,c,d,kind\n"


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Iris as a CSV file in which the classes come in another order than their names."""
    data = cr.read_data("iris")
    names = ["zinnia", "aster", "lily"]
    rows = [",".join(map(str, [*row, names[label]])) for row, label in zip(data.x * 100, data.y, strict=True)]
    path = tmp_path / "flowers.csv"
    path.write_text(IRIS + "\n".join(rows), encoding="utf-8")
    return path


@BY_NUMPY
def test_a_standardised_model_is_trained_saved_evaluated_and_predicts(
    flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "m.safetensors")
    options = ["--standardise", "--optimizer", "adam", "--rate", "0.05", "--schedule", "one-cycle", "--warm-up", "3"]
    assert run("train", str(flowers), "--save", saved, "--target", "kind", *options) == 0
    out = capsys.readouterr().out
    right = re.search(r"held-out accuracy .* \((\d+) of 24\)", out)
    assert right
    assert int(right[1]) >= 21
    model = cr.load(saved)
    assert model.classes == ("aster", "lily", "zinnia")
    assert float(model.states["standardise1.mean"][0]) > 400

    assert run("evaluate", saved, str(flowers)) == 0
    found = re.match(r"accuracy (\S+)% \((\d+) of 120\), loss ", capsys.readouterr().out)
    assert found
    assert float(found[1]) > 90

    # One class alone keeps its number, and a table without targets is predicted for.
    lilies = [line for line in flowers.read_text(encoding="utf-8").splitlines() if line.endswith(",lily")]
    part = tmp_path / "lilies.csv"
    part.write_text(IRIS + "\n".join(lilies), encoding="utf-8")
    assert run("evaluate", saved, str(part)) == 0
    again = re.match(r"accuracy (\S+)% ", capsys.readouterr().out)
    assert again
    assert float(again[1]) > 80
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(line.rsplit(",", 1)[0] for line in lilies), encoding="utf-8")
    assert run("predict", saved, str(bare)) == 0
    table = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert table[0] == ["class", "aster", "lily", "zinnia"]
    assert sum(row[0] == "lily" for row in table[1:]) > 0.8 * len(lilies)
    assert sum(map(float, table[1][1:])) == pytest.approx(1, abs=1e-4)

    assert run("predict", saved, str(flowers), "-o", str(tmp_path / "p.npz")) == 0
    with np.load(tmp_path / "p.npz") as file:
        assert file["output"].shape == (120, 3)
        assert file["names"].tolist() == ["aster", "lily", "zinnia"]
        assert (file["output"].argmax(1) == file["class"]).all()

    roses = tmp_path / "roses.csv"
    roses.write_text(IRIS + "1,2,3,4,rose\n1,2,3,4,lily\n", encoding="utf-8")
    assert run("evaluate", saved, str(roses)) == 2
    assert "'rose'" in capsys.readouterr().err


@BY_NUMPY
def test_numbers_are_learnt_by_a_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "net.toml", str(tmp_path / "m.safetensors")
    file.write_text(
        'loss = "mean_squared_error"\n[[layers]]\ntype = "Dense"\nunits = 1\n[training]\nrate = 0.001\nepochs = 2\n',
        encoding="utf-8",
    )
    assert run("train", "diabetes", "--model", str(file), "--standardise", "--save", saved, "--limit", "50") == 0
    out, err = capsys.readouterr()
    assert re.search(r"^held-out R² [\d.-]+, mean absolute error [\d.]+, loss [\d.]+ on 89 samples", out, re.MULTILINE)
    assert "epoch 2/2" in out and not err
    assert run("predict", saved, "diabetes", "-o", str(tmp_path / "p.csv")) == 0
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "output 1"
    assert len(lines) == 90
    assert run("train", "diabetes", "--model", "neuron") == 2
    assert "ends with a sigmoid" in capsys.readouterr().err


@BY_NUMPY
def test_samples_are_reshaped_where_that_is_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "net.toml", str(tmp_path / "m.safetensors")
    file.write_text(
        'input = [1, 8, 8]\nclasses = 10\nloss = "softmax_cross_entropy"\n[[layers]]\ntype = "MaxPool2d"\nsize = 2\n'
        '[[layers]]\ntype = "Dense"\nunits = "classes"\n',
        encoding="utf-8",
    )
    assert run("train", "digits", "--model", str(file), "--epochs", "1", "--save", saved) == 0
    assert run("evaluate", saved, "digits") == 0
    first, second = re.findall(r"^(?:held-out )?(accuracy .*)", capsys.readouterr().out, re.MULTILINE)
    assert first == second
    assert run("evaluate", saved, "iris") == 2
    assert "[4]" in capsys.readouterr().err


@BY_NUMPY
def test_a_built_in_model_takes_its_shape_from_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.random((40, 12, 12)), y=np.arange(40) % 4)
    assert run("train", str(path), "--model", "lenet", "--epochs", "1", "--batch-size", "16") == 0
    out = capsys.readouterr().out
    assert "(N, 1, 12, 12)" in out
    assert re.search(r"dense3 +\(N, 4\)", out)


@BY_NUMPY
def test_a_table_of_pixels_is_standardised_as_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, saved = tmp_path / "t.csv", tmp_path / "m.safetensors"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 784))
    lines = [",".join([f"p{i}" for i in range(784)] + ["class"])]
    lines += [",".join([*map(str, row), "ab"[n % 2]]) for n, row in enumerate(pixels.tolist())]
    table.write_text("\n".join(lines), encoding="utf-8")
    assert run("train", str(table), "--model", "lenet", "--epochs", "1", "--save", str(saved), "--quiet") == 0
    mean = cr.load(saved).states["standardise1.mean"]
    assert mean.shape == (1,) and abs(mean[0] - pixels.mean()) < 2


def test_ctrl_c_in_training_saves_what_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(epoch: int, epochs: int, metrics: dict[str, float]) -> str:  # the first epoch, as it is told
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "_line", ended)
    saved = str(tmp_path / "m.safetensors")
    assert run("train", "digits", "--save", saved) == 130
    assert "held-out accuracy" in capsys.readouterr().out
    start = cr.read_model("mlp").parameters["dense1.W"]
    assert not np.array_equal(cr.load(saved).parameters["dense1.W"], start)


@BY_NUMPY
def test_a_run_that_is_killed_goes_on_from_what_was_saved_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    line = ["train", "digits", "--limit", "200", "--epochs", "4", "--quiet", "--save"]
    saves, save = 0, Checkpoint.on_steps

    def killed(checkpoint: Checkpoint, model: cr.Model) -> None:
        nonlocal saves
        save(checkpoint, model)
        saves += 1
        if saves == 3:
            raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_steps", killed)
        assert run(*line, str(whole)) == 0 and saves == 0  # in less than ten seconds nothing is to be lost
        patch.setattr(training, "KEPT", 0.0)
        with pytest.raises(SystemError):
            run(*line, str(part))
    assert 0 < cr.load(part).training.steps < cr.load(whole).training.steps
    capsys.readouterr()
    assert run(*(word for word in line if word != "--quiet"), str(part), "--resume") == 0
    assert re.search(r"goes on as it was begun, from step [1-9]\d* to epoch 4, by ", capsys.readouterr().out)
    for name, array in cr.load(whole).parameters.items():
        np.testing.assert_array_equal(cr.load(part).parameters[name], array)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "mlp-textbook"])
def test_every_built_in_model_is_named_and_summed_up(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in arguments.BUILT_IN.split(", ")
    assert run("summary", name) == 0
    assert "total" in capsys.readouterr().out


def test_a_models_file_is_derived_and_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "net.toml", tmp_path / "net.safetensors"
    file.write_text('input = [2]\n[[layers]]\ntype = "Dense"\nunits = 3\n', encoding="utf-8")
    assert run("derive", str(file)) == 0
    derived = capsys.readouterr().out
    assert "∂" in derived
    cr.read_model(file).save(saved)
    assert run("derive", str(saved)) == 0
    assert capsys.readouterr().out == derived
    assert run("summary", str(saved)) == 0
    assert "(N, 3)" in capsys.readouterr().out


def test_the_choices_are_those_of_the_library() -> None:
    assert arguments.OPTIMIZERS == tuple(OPTIMIZERS)
    assert arguments.SCHEDULES == models.SCHEDULES
    assert set(arguments.DATA.split(";")[0].split(", ")) == set(NAMES)


@pytest.mark.parametrize(
    ("choices", "file", "expected"),
    [
        (Choices(), Training(rate=1.0, momentum=0.9), cr.SGD(1.0, momentum=0.9)),
        (Choices(), Training(), cr.SGD(0.1, momentum=0.9)),
        (Choices(optimizer="adam"), Training(rate=1.0, momentum=0.5), cr.Adam()),
        (Choices(momentum=0.0), Training(rate=1.0, momentum=0.5), cr.SGD(1.0)),
        (Choices(rate=0.5), Training(optimizer="adamw", rate=1.0), cr.AdamW(0.5)),
        (Choices(schedule="cosine"), Training(rate=1.0, momentum=0.0), cr.SGD(cr.cosine(1.0, 90))),
        (Choices(schedule="step", optimizer="rmsprop"), Training(), cr.RMSProp(cr.step_decay(1e-3, 30))),
        (
            Choices(warm_up=9, optimizer="nesterov", schedule="one-cycle"),
            Training(),
            cr.SGD(cr.warm_up(cr.one_cycle(0.1, 81), 9), momentum=0.9, nesterov=True),
        ),
    ],
)
def test_choices_go_before_the_file_and_the_file_before_the_optimizer(
    choices: Choices, file: Training, expected: object
) -> None:
    assert optimizer_for(merged(choices, file), 90) == expected


TABLE = "a,b,kind\n1,2,u\n3,4,v\n" + "5,6,u\n" * 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "t.csv", "--target", "knd"], "'kind'"),
        (["train", "ragged.csv"], "line 3"),
        (["train", "few.csv"], "1 samples, too few"),
        (["train", "none.csv"], "none.csv"),
        (["train", "t.csv", "--model", "lenet"], "[1, 28, 28]"),
        (["train", "digits", "--model", "resnet-tiny"], "[64]"),
        (["train", "odd.npz", "--model", "lenet"], "[2, 2]"),
        (["train", "digits", "--model", "lenett"], "'lenet'"),
        (["train", "digits", "--model", "bad.toml"], "'unts'"),
        (["train", "digits", "--model", "neuron.toml"], "neuron.toml"),
        (["train", "digits", "--optimizer", "adam", "--momentum", "0.9"], "adam has no momentum"),
        (["train", "digits", "--optimizer", "adm"], "adam"),
        (["train", "digits", "--warm-up", "100000"], "warm-up"),
        (["train", "digits", "--limit", "0"], "--limit"),
        (["train", "digits", "--rate", "fast"], "'fast'"),
        (["train", "digits", "--model", "bare.toml"], "no loss"),
        (["evaluate", "none.safetensors", "digits"], "none.safetensors"),
        (["evaluate", "t.csv", "digits"], "t.csv"),
        (["predict", "m.safetensors", "t.csv", "-o", "p.xlsx"], ".npz"),
        (["predict", "m.safetensors", "t.csv", "-o", "/no/such/p.csv"], "/no/such"),
        (["predict", "m.safetensors", "digits"], "[64]"),
        (["evaluate", "m.safetensors", "t.csv"], "no loss"),
        (["summary", "lnet"], "'lenet'"),
        (["summary", "bad.toml"], "layer 1 (Dense)"),
        (["derive", "bad.toml"], "layer 1 (Dense)"),
        (["derive", "bare.toml", "--wrt", "W"], "--wrt"),
    ],
)
def test_bad_data_and_models_are_one_sentence_and_exit_code_2(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layers = '[[layers]]\ntype = "Dense"\nunits = 2\n'
    files = {
        "t.csv": TABLE,
        "few.csv": "1,2,u\n",
        "ragged.csv": TABLE.replace("3,4,v", "3,v"),
        "bad.toml": f"input = [64]\n{layers.replace('units', 'unts')}",
        "bare.toml": f"input = [64]\n{layers}",
        "neuron.toml": f'input = [5]\nloss = "half_squared_error"\n{layers}',
    }
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    np.savez("odd.npz", x=np.zeros((9, 2, 2)), y=np.arange(9) % 2)
    cr.Sequential(cr.Input(2), cr.Dense(2)).save("m.safetensors")
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1), err
    assert says in err
    assert err.startswith(f"chainrule {arguments[0]}: ")
    assert len(err) < 700


@pytest.mark.parametrize(
    ("labels", "says"),
    [("0 0 0 0 0 0", "a single class")],
)
def test_labels_that_are_no_classes_are_named(
    labels: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(f"{n},{n % 3},{label}" for n, label in enumerate(labels.split()))
    (tmp_path / "d.csv").write_text(f"a,b,c\n{rows}\n", encoding="utf-8")
    assert run("train", str(tmp_path / "d.csv")) == 2
    told = capsys.readouterr()
    assert says in told.err and "such as mlp" not in told.err
    assert not told.out


def test_derive_with_a_check_ends_with_the_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("derive", "z[n, k] = sigmoid(u[n, k])", "--verify") == 0
    assert "The certificate" in capsys.readouterr().out
    assert run("derive", "neuron", "--verify", "--lang", "zh", "--detail", "brief") == 0
    assert "校验证书" in capsys.readouterr().out


# Tables

PEOPLE = "sex,age,city,note,bought\n" + "".join(
    f"{'fm'[i % 2]},{'' if i % 9 == 0 else 20 + i % 30},{('Rome', 'Oslo', 'Bern')[i % 3]},person {i},"
    f"{'yes' if i % 6 == 1 else 'no'}\n"
    for i in range(120)
)


@BY_NUMPY
def test_who_takes_every_sample_for_one_class_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    for known, told in ((False, True), (True, False)):  # whether the columns say anything of the classes
        rows = (f"{i % 5 if known else i // 50},{'many' if i % 5 else 'few'}\n" for i in range(100))
        table.write_text("a,class\n" + "".join(rows), encoding="utf-8")
        assert run("train", str(table), "--epochs", "30") == 0
        assert ("; every sample is taken for many" in capsys.readouterr().out) == told


@BY_NUMPY
def test_a_table_of_texts_and_gaps_is_trained_on_with_no_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, saved = tmp_path / "t.csv", str(tmp_path / "m.safetensors")
    table.write_text(PEOPLE, encoding="utf-8")
    assert run("train", str(table), "--epochs", "40", "--save", saved) == 0
    out = capsys.readouterr().out
    assert "120 samples; 5 inputs from columns: 1 of numbers and 2 of texts; target bought: 2 classes, no 100" in out
    assert "note: note has a text of its own in most rows" in out
    assert "note: age: 14 of 120 are missing, taken for the median" in out
    found = re.search(r"held-out balanced accuracy (\S+)%, accuracy \S+% .*the most frequent class alone: 83.33%", out)
    assert found
    assert float(found[1]) > 90

    # Another order, no target, and a value that nothing is known of.
    new = tmp_path / "new.csv"
    new.write_text("city,note,sex,age\nOslo,x,m,21\nRome,y,f,\n", encoding="utf-8")
    assert run("predict", saved, str(new)) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["class", "yes", "no"]
    assert run("evaluate", saved, str(table)) == 0
    assert "balanced accuracy" in capsys.readouterr().out
    new.write_text("city,sex\nOslo,m\n", encoding="utf-8")
    assert run("predict", saved, str(new)) == 2
    assert "no column 'age', which the model takes" in capsys.readouterr().err


@BY_NUMPY
def test_numbers_are_learnt_with_no_option_and_come_back_in_their_own_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, saved = tmp_path / "t.csv", str(tmp_path / "m.safetensors")
    rows = "".join(f"{i % 17},{i % 5 * 1000},{5000.5 + 300 * (i % 17) - i % 5}\n" for i in range(150))
    table.write_text("a,b,price\n" + rows, encoding="utf-8")
    assert run("train", str(table), "--save", saved, "--optimizer", "sgd") == 0
    out = capsys.readouterr().out
    found = re.search(r"held-out R² (\S+), mean absolute error (\S+), .*the mean alone: mean absolute error (\S+)", out)
    assert found
    assert float(found[1]) > 0.9 and float(found[2]) < float(found[3])
    assert run("predict", saved, str(table)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "price"
    assert abs(float(lines[1]) - 5000.5) < 1000


@BY_NUMPY
def test_a_model_that_is_trained_further_knows_its_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, saved, new = tmp_path / "t.csv", str(tmp_path / "m.safetensors"), tmp_path / "new.csv"
    table.write_text(PEOPLE, encoding="utf-8")
    assert run("train", str(table), "--epochs", "1", "--drop", "note", "--save", saved) == 0
    names, *rows = (line.split(",") for line in PEOPLE.splitlines())
    order = [names.index(name) for name in ("bought", "city", "age", "note", "sex")]
    new.write_text("\n".join(",".join(row[i] for i in order) for row in (names, *rows)) + "\n", encoding="utf-8")
    further = ["train", str(new), "--epochs", "1", "--model", saved, "--quiet", "--save"]
    ended: list[Any] = []
    for path in (new, table):
        further[1] = str(path)
        assert run(*further, str(tmp_path / "further.safetensors")) == 0
        ended.append(cr.load(tmp_path / "further.safetensors").parameters["dense1.W"])
    np.testing.assert_array_equal(*ended)
    capsys.readouterr()
    assert run(*further, saved, "--drop", "note") == 2
    assert "knows its columns already; leave out --drop" in capsys.readouterr().err


@BY_NUMPY
def test_a_note_of_reading_is_a_line_without_a_place_in_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, saved = tmp_path / "t.csv", str(tmp_path / "m.safetensors")
    table.write_text("2019,2020,y\n" + "".join(f"{i % 7},{i % 5},{i % 2}.5\n" for i in range(30)), encoding="utf-8")
    assert run("train", str(table), "--epochs", "1", "--header", "--save", saved) == 0
    table.write_text("2020,2019\n1,2\n", encoding="utf-8")
    capsys.readouterr()
    assert run("predict", saved, str(table)) == 0
    told = capsys.readouterr()
    assert told.err.startswith("note: the first line, 2020, 2019, is taken for names: --no-header")
    assert told.err.count("\n") == 1 and len(told.out.splitlines()) == 2


@BY_NUMPY
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--drop", "sex,city", "--kind", "classes"], "1 input from column: 1 of numbers"),
        (["--columns", "sex"], "1 input from column: 1 of texts"),
        (["--target", "city"], "target city: 3 classes"),
        (["--target", "age"], "target age: numbers from 20 to 49"),
        (["--separator", ",", "--header", "--missing", "Rome"], "city: 40 of 120 are missing"),
    ],
)
def test_options_of_a_table(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(PEOPLE, encoding="utf-8")
    assert run("train", str(tmp_path / "t.csv"), "--epochs", "1", *options) == 0
    assert says in capsys.readouterr().out


def test_missing_values_are_refused_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(PEOPLE, encoding="utf-8")
    assert run("train", str(tmp_path / "t.csv"), "--missing", "refuse") == 2
    assert "line 2, column 2 (age)" in capsys.readouterr().err


@BY_NUMPY
def test_nothing_from_a_file_or_an_argument_steers_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    steer = "\x1b]0;owned\x07\u202e"
    Path("t.csv").write_text(f"a{steer},b,y\n" + f"1,2.5,u{steer}\n3,4,v\n" * 10, encoding="utf-8")
    Path("m.toml").write_text('input = [2]\n[[layers]]\ntype = "De\\u001b[31mnse"\n', encoding="utf-8")
    save_file({f"W{steer}": np.ones(2, np.float32)}, "odd.safetensors", {"chainrule": f'{{"version": "{steer}"}}'})
    runs = [
        ["train", "t.csv", "--epochs", "1", "--save", "m.safetensors"],
        ["train", "t.csv", "--target", steer],
        ["train", f"{steer}.csv"],
        ["summary", "m.toml"],
        ["summary", "odd.safetensors"],
        ["derive", f"y[n] = {steer}"],
        ["train", "digits", f"--{steer}"],
        ["train", "digits", "--rate", steer],
        [steer],
        ["evaluate", "m.safetensors", "t.csv"],
    ]
    for command in runs:
        run(*command)
        told = capsys.readouterr()
        assert told.out or told.err
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(told.out + told.err), command


def test_a_wrong_option_points_to_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "digits", "--lr", "3") == 2
    assert "unknown '--lr': did you mean --rate? (see chainrule train --help)" in capsys.readouterr().err


def test_training_is_watched_stopped_resumed_and_trained_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, log = str(tmp_path / "m.safetensors"), tmp_path / "log.csv"
    watched = ("--validation", "0.1", "--patience", "3", "--metric", "f1", "--class-weight", "balanced")
    start = ("train", "digits", "--epochs", "2", "--save", model)
    assert run(*start, *watched, "--history", str(log), "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("held-out accuracy") and "; f1 0." in said.out
    assert [row.split(",")[0] for row in log.read_text().splitlines()] == ["epoch", "1", "2"]
    assert "val_f1" in log.read_text() and cr.load(model).training.epochs == 2
    assert run(*start, *watched, "--resume", "--json") == 0  # it had ended: nothing is left to do
    told = json.loads(capsys.readouterr().out)
    assert len(told["history"]) == 2 and told["held_out"]["f1"] > 0.5 and not told["interrupted"]
    assert cr.load(model).training.epochs == 2
    assert run(*start, "--rate", "9", "--resume") == 0
    assert "had ended after epoch 2, so nothing is left to do" in capsys.readouterr().out
    assert run("train", "digits", "--model", model, "--epochs", "1", "--save", model, "--quiet") == 0
    assert cr.load(model).training.epochs == 3


def test_texts_fit_the_terminal_and_are_one_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [["train", "digits", "--model", "lenett"], ["train", "digits", "--rate", "fast"], ["train", "digts"]]
    for command in wrong:
        said: list[list[str]] = []
        for columns in (None, 40):
            if columns:
                monkeypatch.setenv("COLUMNS", str(columns))
                monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
            assert run(*command) == 2
            said.append(capsys.readouterr().err.splitlines())
            monkeypatch.undo()
        assert len(said[0]) == 1 < len(said[1])
        assert max(map(len, said[1])) <= 40
        assert " ".join(line.strip() for line in said[1]) == said[0][0]


def test_training_with_no_option_holds_some_out_and_ends_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    x, flip = rng.normal(size=(300, 3)), rng.random(300) < 0.2
    rows = [f"{a},{b},{c},{'no' if (a + b > 0) ^ f else 'yes'}" for (a, b, c), f in zip(x.tolist(), flip, strict=True)]
    table.write_text("a,b,c,y\n" + "\n".join(rows), encoding="utf-8")
    assert run("train", str(table), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    losses = [epoch["val_loss"] for epoch in told["history"]]
    assert told["stopped"] == "EarlyStopping"
    assert len(losses) == losses.index(min(losses)) + 1 + 50 < 300
    assert run("train", str(table)) == 0
    out = capsys.readouterr().out
    assert f"ended after epoch {len(losses)}: the validation loss has not fallen for 50 epochs" in out
    # Who asks for epochs gets them all, of all samples; and so does a table too short to hold anything out.
    assert run("train", str(table), "--epochs", "60", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["history"]) == 60 and "val_loss" not in told["history"][0]
    table.write_text("a,b,c,y\n" + "\n".join(rows[:40]), encoding="utf-8")
    assert run("train", str(table), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["history"]) == 300 and "val_loss" not in told["history"][0]


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_one_line_stops_early_lowers_the_rate_and_writes_a_log(
    schedule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "digits", "--limit", "200", "--epochs", "60", "--rate", "3", "--validation", "0.2"]
    line += ["--patience", "6", "--quiet", "--seed", "1"]
    log, saved = tmp_path / "log.csv", tmp_path / "m.safetensors"
    assert run(*line, "--schedule", schedule, "--history", str(log), "--save", str(saved)) == 0
    model = cr.load(saved)
    assert model.training.history.stopped == "EarlyStopping" and len(log.read_text().splitlines()) < 60
    assert (model.training.factor < 1) == (schedule == "plateau")


@pytest.mark.parametrize(
    "line",
    ["summary {}", "derive {}", "verify {}", "evaluate {} digits", "train digits --limit 99 --epochs 1 --model {}"],
)
def test_a_saved_model_is_one_under_any_name(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, other = tmp_path / "model.bin", tmp_path / "other.bin"
    cr.Sequential(cr.Input(64), cr.Dense(10), loss="softmax_cross_entropy").save(model)
    other.write_bytes(b"\xff" * 8 + b"{")
    assert run(*line.format(model).split()) == 0
    assert "dense1" in capsys.readouterr().out or line.startswith("evaluate")
    assert run(*line.format(other).split()) != 0 and "\n" not in capsys.readouterr().err.strip()


def test_a_run_that_diverges_exits_with_1_and_leaves_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "m.safetensors"
    line = ["train", "digits", "--limit", "99", "--epochs", "1", "--quiet", "--save", str(saved)]
    assert run(*line) == 0
    before = saved.read_bytes()
    assert run(*line, "--rate", "1e38") == 1 and saved.read_bytes() == before
    said = capsys.readouterr().err
    assert re.fullmatch(r"chainrule train: the loss became (nan|inf) .*; choose a lower rate.*\n", said)


def test_an_exercise_and_its_answers_are_two_files(tmp_path: Path) -> None:
    files = [tmp_path / "sheet.md", tmp_path / "answers.txt"]
    what = "z[n, k] = sigmoid(u[n, k])"
    assert run("derive", what, "--exercise", "--level", "3", "-o", str(files[0]), "--answers", str(files[1])) == 0
    sheet, answers = (file.read_text(encoding="utf-8") for file in files)
    assert r"\underline" in sheet and "tanh" in sheet and "____" not in answers and "(1 − (z_i)²)" not in sheet
    assert "tanh(u_k)" in answers.replace("\u00a0", " ")
    derivation = cr.derive(what)
    assert answers.rstrip() == derivation.to_text(exercise=True, level=3, answers="alone").rstrip()
