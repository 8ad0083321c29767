"""docs/identities.md is what is derived now, and one layer, loss or function is derived by its name."""

from __future__ import annotations

import pytest
from tools.documents import DOCS, derived
from tools.identities import SECTIONS, entry, of

from chainrule import cli
from chainrule.train.alone import alone, equation_of, names
from tests.examples import few

PAGE = (DOCS / "identities.md").read_text(encoding="utf-8")
EVERY = [name for _, own in SECTIONS.values() for name in own]


@pytest.mark.parametrize("name", few(EVERY, 9))
def test_the_page_has_what_is_derived_now(name: str) -> None:
    now = entry(name, of(name))
    assert now in PAGE, "python tools/documents.py writes it anew"
    assert now.replace("∂f", "∂g").replace("∂ℓ", "∂g").replace("∇", "∂") not in PAGE


@pytest.mark.campaign
def test_the_whole_page_is_what_is_derived_now() -> None:
    assert derived("identities.md") == PAGE


def test_a_name_is_known_however_it_is_written() -> None:
    assert set(EVERY) == set(names())
    found = [alone(text) for text in ("BatchNorm", "batch norm", "batch-norm", "BATCHNORM")]
    assert len({str(model.derive().folds[0].result) for model in found if model is not None}) == 1 and all(found)
    assert alone("BatchNrom") is alone("mlp") is None
    assert equation_of("tanh") == "z[n, k] = tanh(x[n, k])" and equation_of("Dense") is None


def test_an_unknown_name_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["derive", "BatchNrom"]) == 2
    said = capsys.readouterr().err
    assert "did you mean BatchNorm?" in said and "Traceback" not in said


def test_a_layer_a_loss_and_a_function_are_documents(capsys: pytest.CaptureFixture[str]) -> None:
    for name, formula in (
        ("BatchNorm", "(γ_i/(N σ_i)) (N (∂f/∂y^(n)_i) − Σ_n′ ∂f/∂y^(n′)_i − x̂^(n)_i Σ_n″"),
        ("half-squared-error", "x − t"), ("sigmoid", "z_i (1 − z_i)"),
    ):
        assert cli.main(["derive", name]) == 0
        assert formula in capsys.readouterr().out
