"""A derivation as a file of its own runs as printed, and its own test refuses a wrong line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest
from tests.built_in import derived
from tests.derive.cases import ALL
from tests.examples import few
from tests.nn.test_every_layer import MODELS, model_with
from tests.render.test_listing import WRITTEN

import chainrule as cr
from chainrule.cli import main
from chainrule.derivation import Derivation, printable
from chainrule.nn.losses import LOSSES

EVERY: dict[str, Callable[[], Derivation]] = {
    **{name: lambda name=name: model_with(name).derive() for name in MODELS},
    **{name: lambda name=name: with_loss(name) for name in LOSSES},
    **{name: lambda case=case: printable(case.derivation) for name, case in {**ALL, **WRITTEN}.items()},
}
"""Each layer, each loss, and what users write."""


def with_loss(name: str) -> Derivation:
    x = cr.Input(4)
    return cr.Model(x, cr.Dense(3)(x), loss=name).derive()


def run(source: str, folder: Path) -> None:
    """Run a file as its reader does: its test is in it."""
    path = folder / "derived.py"
    path.write_text(source, encoding="utf-8")
    run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("name", few(EVERY, 12))
def test_numpy_source_agrees_with_central_differences(name: str, tmp_path: Path) -> None:
    run(EVERY[name]().to_numpy(), tmp_path)


@pytest.mark.parametrize("name", ["LayerNorm", "softmax_cross_entropy", "embedding"])  # `make doors` runs them all
def test_jax_source_agrees_with_jax(name: str, tmp_path: Path) -> None:
    run(EVERY[name]().to_jax(), tmp_path)


def test_what_nothing_but_the_gradient_counts_is_refused() -> None:
    derivation = EVERY["a difference of brackets"]()
    for write in (derivation.to_jax, derivation.to_torch):
        with pytest.raises(cr.DerivationError, match="nothing given has the extent N"):
            write()


def test_a_wrong_line_is_refused_by_the_file_itself(tmp_path: Path) -> None:
    for source in (derived("mlp-textbook").to_numpy(), derived("mlp-textbook").to_jax()):
        assert "du2 @ W2" in source
        with pytest.raises(AssertionError, match="x"):
            run(source.replace("du2 @ W2", "2 * du2 @ W2"), tmp_path)


def test_each_line_cites_its_lemma_and_its_equation() -> None:
    source, derivation = derived("mlp").to_torch(), derived("mlp")
    number = derivation.number(derivation["dense2.W"].uses[0].lemma)
    assert (
        f"    # lemma {number}, by linearity, component, distribute, bracket:\n"
        "    # dW2[i<10, j<32] = sum[n](du2[n, i]*z1[n, j])\n    dW2 = du2.T @ z1\n"
    ) in source
    assert "    W1  (32, 64)  dense1.W\n" in source


def test_the_command_line_writes_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "y[n, k] = x[n, k]*sigmoid(x[n, k])"
    assert main(["derive", text, "--as", "numpy"]) == 0
    run(capsys.readouterr().out, tmp_path)
    assert main(["derive", text, "--as", "torch", "-o", str(tmp_path / "silu.py")]) == 0
    assert "class Function(torch.autograd.Function):" in (tmp_path / "silu.py").read_text()
