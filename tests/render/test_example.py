"""The worked example: its numbers are those of the program, exact where they can be, and stand in the right lines."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.built_in import derived
from tests.derive.cases import Case

import chainrule as cr
from chainrule.arrays.execute import execute
from chainrule.derive import derive_equation
from chainrule.derive.lemma import adjoint_of
from chainrule.errors import DerivationError
from chainrule.render.build import build
from chainrule.render.document import Table, formulas
from chainrule.render.formula import Blank, Formula, write
from chainrule.render.prose import sentences
from chainrule.render.sample import Sample, degenerate, sample_of, trial
from chainrule.render.styles import UNICODE
from chainrule.render.text import flat
from chainrule.semantics.exact import plain

NUMBERS = {"input": [[1, 2]], "target": [[0, 1]], "dense1.W": [[2, -1], [-1, 1]], "dense1.b": [0, -1]}


def page() -> cr.Derivation:
    return cr.Sequential(cr.Input(2), cr.Dense(2), cr.Sigmoid(), loss="half_squared_error").derive()


def cells(derivation: Any, example: Any = None, detail: str = "standard", lang: str = "en") -> list[str]:
    """The formulas of the table of numbers, the one with rows for the example."""
    title = sentences(lang)["example.line"]
    blocks = build(derivation, lang, detail, example=example).blocks
    table = next(b for b in blocks if isinstance(b, Table) and b.header[0] == (title,))
    texts = (text for row in table.rows for cell in row for text in cell)
    return [write(part, UNICODE) for text in texts for part in text if isinstance(part, Formula)]


def test_the_page_of_the_checklist_comes_out() -> None:
    """FORMULAS: u = (0, 0), z = (1/2, 1/2), δ = (1/8, −1/8), and the gradients, in exact fractions."""
    found = cells(page(), NUMBERS)
    for line in (
        "u^[1] = (0, 0)", "z^[1] = (½, ½)", "δ^[1] = (⅛, −⅛)", "∇_{W^[1]} ℓ = [⅛, ¼; −⅛, −¼]", "∇_{b^[1]} ℓ = (⅛, −⅛)",
        "∇_x ℓ = (3/8, −¼)", "u^[1]_0 = 2 · 1 − 1 · 2 + 0 = 0", "δ^[1]_0 = ½ · ½ · (1 − ½) = ⅛",
        "∂ℓ/∂x_0 = ⅛ · 2 − ⅛ · (−1) = 3/8",
    ):
        assert line in found, line
    assert cells(page()) == found  # the numbers chosen where the reader gives none are these


def test_a_step_to_where_there_is_no_loss_is_a_smaller_one() -> None:
    class Root(cr.Layer):
        equation = "y[n, i] = x[n, i]*w[i]**(1/2)"
        init: ClassVar[Any] = {"w": cr.ones("i")}

    derivation = cr.Sequential(cr.Input(1), Root(), loss="half_squared_error").derive()
    given = {"input": [[4]], "target": [[0]], "root1.w": [1]}
    sample = sample_of(derivation, given)
    assert sample is not None
    found = trial(sample)
    assert found is not None and found.rate == Fraction(1, 10)
    assert float(plain(found.after)) < float(plain(found.before))


def test_pooling_gives_the_numbers_of_the_checklist() -> None:
    largest = derive_equation("y[c<1, i<1, j<1] = max[p<2, q<2](x[c, 2*i + p, 2*j + q])", wrt="x")
    mean = derive_equation("y[c<1, i<1, j<1] = mean[p<2, q<2](x[c, 2*i + p, 2*j + q])", wrt="x")
    given = {"x": [[[1, 3], [2, 0]]], "δy": [[[8]]]}
    assert "∇_x f = [0, 8; 0, 0]" in cells(largest, given)
    assert "∇_x f = [2, 2; 2, 2]" in cells(mean, given)


def agrees(sample: Sample) -> bool:
    joint = sample.derivation.joint
    given: dict[str, Any] = {}
    for tensor in joint.given:
        shape = [sample.sizes.get(str(e), e) for e in tensor.shape]
        dtype = int if tensor.dtype == "integer" else float
        entries = [plain(v) for _, v in sorted(sample.values[tensor.name].items())]
        given[tensor.name] = np.array([float(v) for v in entries]).astype(dtype).reshape([int(str(e)) for e in shape])
    floats = execute(joint, given, dtype=np.dtype("float64"))
    return all(
        np.allclose([float(plain(v)) for _, v in sorted(sample.values[t.name].items())], floats[t.name].ravel())
        for t in joint.outputs
    )


@pytest.mark.parametrize("name", ["neuron", "mlp", "mlp-textbook", "seed", "lenet", "transformer-tiny"])
def test_the_numbers_are_those_that_the_program_computes(name: str) -> None:
    sample = sample_of(derived(name), None)
    assert sample is not None and agrees(sample)
    wrong = next(t for t in sample.derivation.joint.outputs)
    place = next(iter(sample.values[wrong.name]))
    sample.values[wrong.name][place] = float(plain(sample.values[wrong.name][place])) + 1
    assert not agrees(sample)


@pytest.mark.parametrize(
    ("text", "shapes", "ranges"),
    [
        (
            "y[n] = sum[i<4]([i == id[n, 0]]*E[i]) + sum[i<2]([i == id[n, 2]]*z[i])",
            {"id": ("N", 3), "E": (4,), "z": (2,)}, {"id": 2},
        ),
        ("h[n, i<2] = argmax[i<2](x[i])\ny[n] = [0 == h[n, 0]]*x[1]*t[n]", {"x": (2,), "t": ("N",)}, {}),
    ],
)
def test_an_example_of_what_a_user_writes_has_its_numbers(text: str, shapes: Any, ranges: Any) -> None:
    sample = sample_of(Case("", text, shapes, ranges).derivation, None)
    assert sample is not None and agrees(sample)


def test_the_place_of_a_maximum_that_a_user_asks_for_is_cut_with_the_rest() -> None:
    text = "a[n] = argmax[k](x[n, k])\ny[n] = sum[k]([k == a[n]]*x[n, k]*w[k])"
    sample = sample_of(Case("", text, {"x": ("N", 99), "w": (99,)}).derivation, None)
    assert sample is not None and agrees(sample)
    assert len(sample.values["x"]) == 2


class Edge(cr.Layer):
    """A bias of the first two components."""

    equation = "u[n, i] = x[n, i] + pad(b, 0)[i]\ny[n, i] = tanh(u[n, i])"
    init: ClassVar[Any] = {"b": cr.ones(2)}


def test_a_bias_that_is_read_beyond_its_end_is_balanced_by_nothing() -> None:
    sample = sample_of(cr.Sequential(cr.Input(4), Edge(), loss="mean_squared_error").derive(), None)
    assert sample is not None and agrees(sample)


def test_a_mean_over_fewer_has_a_smaller_divisor() -> None:
    model = cr.Sequential(cr.Input(2, 9, 9), cr.GlobalMeanPool(), cr.Dense(3), loss="mean_squared_error")
    sample = sample_of(model.derive(), None)
    assert sample is not None
    mean = next(e for e in sample.derivation.forward.equations if e.tensor.name.endswith("pool1.y"))
    assert len(sample.values["input"]) < 2 * 81
    plane = [plain(v) for p, v in sample.values["input"].items() if p[1] == 0]
    assert plain(sample.values[mean.tensor.name][0, 0]) == sum((Fraction(v) for v in plane), Fraction(0)) / len(plane)


NORMAL = {
    "batch norm": cr.Sequential(cr.Input(2), cr.Dense(2), cr.BatchNorm(), cr.Sigmoid(), loss="half_squared_error"),
    "layer norm": cr.Sequential(cr.Input(5), cr.Dense(8), cr.LayerNorm(), cr.Tanh(), loss="half_squared_error"),
}


def vanishing(sample: Sample) -> set[str]:
    """The gradients that are 0 in an example, or next to nothing beside the largest."""
    names = [t.name for t in sample.derivation.backward.defined]
    sizes = {name: max(abs(float(plain(v))) for v in sample.values[name].values()) for name in names}
    return {name for name, size in sizes.items() if size < 1e-4 * max(sizes.values())}


def test_samples_that_couple_are_four_and_their_gradients_do_not_vanish() -> None:
    """Two samples brought to mean 0 and variance 1 are ±1 whatever they were. The bias before the mean is taken has no
    influence, nor has the mean on the variance: these two gradients are 0, and so are their numbers."""
    derivation = NORMAL["batch norm"].derive()
    sample = sample_of(derivation, None)
    assert sample is not None and sample.sizes["N"] == 4 and agrees(sample)
    shares = [use.contribution.name for use in derivation.parts["batchnorm1.m"].uses]
    bias = derivation.gradients["dense1.b"].name
    assert vanishing(sample) == {bias, shares[1]}
    assert set(sample.values[bias].values()) == {0}
    few = {"input": [[1, 2], [0, -1]], "target": [[0, 1], [0, 1]]}
    two = sample_of(derivation, few)
    assert two is not None and derivation.gradients["dense1.W"].name in vanishing(two)


def test_four_features_are_left_of_those_that_are_normalised() -> None:
    sample = sample_of(NORMAL["layer norm"].derive(), None)
    assert sample is not None and sample.derivation.gradients["dense1.W"].name not in vanishing(sample)
    assert len(sample.values["dense1.b"]) == 4


def test_softmax_of_equal_numbers_is_exact() -> None:
    found = cells(derived("mlp"))
    assert "p = (½, ½)" in found and "δ^[2] = (½, −½)" in found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"imput": [1, 2]}, "nothing given is called"), ({"input": [1, 2, 3]}, "has shape"),
        ({"input": [[1, 2], [3]]}, "no array of finite numbers"), ({"input": [1, float("nan")]}, "no array of finite"),
    ],
)
def test_numbers_that_fit_nothing_are_refused(given: Any, words: str) -> None:
    with pytest.raises(DerivationError, match=words):
        build(page(), "en", "standard", example=given)


def test_several_samples_are_averaged() -> None:
    both = {**NUMBERS, "input": [[1, 2], [1, 2]], "target": [[0, 1], [0, 1]]}
    assert "∇_{W^[1]} 𝓛 = [⅛, ¼; −⅛, −¼]" in cells(page(), both)


def test_an_exercise_has_blanks_and_then_the_whole_derivation() -> None:
    plain_, sheet = (build(page(), "en", "standard", exercise=exercise) for exercise in (False, True))
    written = [write(f, UNICODE) for f in formulas(sheet)]
    blanks = [f for f in formulas(sheet) if any(isinstance(part, Blank) for part in f.parts)]
    assert len(blanks) > 30 and not any(isinstance(p, Blank) for f in formulas(plain_) for p in f.parts)
    # The answer to every blank stands in the solutions.
    assert {write(f, UNICODE) for f in formulas(plain_)} <= set(written)
    first = written.index("= δ_i x_j")
    assert "Σ_k δ_k W_kj" not in " ".join(written[: first // 2])
    titles = [str(b.text[0]) for b in sheet.blocks if hasattr(b, "level") and b.level == 1]  # type: ignore[union-attr]
    assert titles.index("Solution sheet") > titles.index("The backward pass")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_format_prints_an_exercise(lang: Any) -> None:
    for text in (page().to_text(lang, exercise=True), page().to_markdown(lang, exercise=True)):
        assert "____" in text or r"\underline" in text
    assert r"\underline" in page().to_latex(lang, exercise=True)


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_a_step_along_the_gradients_lowers_the_loss_and_differences_agree(name: str) -> None:
    sample = sample_of(derived(name), None, whole=False)
    assert sample is not None
    found = trial(sample)
    assert found is not None and float(plain(found.after)) < float(plain(found.before))
    gradient = float(plain(found.gradient))
    assert abs(gradient) > 0.01 and abs(found.quotient - gradient) < 1e-5 * abs(gradient)
    # A wrong gradient is seen by the differences, and a step against the gradients finds no rate.
    own = sample.values[f"{adjoint_of(found.tensor).name}"]
    own[found.place] = -2 * plain(own[found.place])
    wrong = trial(sample)
    assert wrong is None or abs(wrong.quotient - float(plain(wrong.gradient))) > 0.1 * abs(wrong.quotient)


def test_a_line_of_the_example_has_the_number_of_its_line_in_the_backward_pass() -> None:
    """Of equal layers the backward pass prints the lines once, for r = 4, 3, 2; the example has numbers for each."""
    layers = [layer for _ in range(4) for layer in (cr.Dense(2), cr.Sigmoid())]
    derivation = cr.Sequential(cr.Input(2), *layers, cr.Dense(2), loss="half_squared_error").derive()
    blocks = [b for b in build(derivation, "en", "full").blocks if isinstance(b, Table)]
    example, backward = (next(b for b in blocks if flat(b.header[0]) == title) for title in ("line", "explanation"))
    signals = [(flat(r[0][0]), flat(r[1][0])[:4]) for r in example.rows if flat(r[1][0]).startswith("δ^[")]
    lines = {flat(r[1][0])[:4]: flat(r[0][0]).split()[0] for r in backward.rows if len(r) == 3}
    assert signals == [(lines["δ^[r" if layer in "δ^[4 δ^[3 δ^[2" else layer], layer) for _, layer in signals]
    assert [layer for _, layer in signals] == ["δ^[5", "δ^[4", "δ^[3", "δ^[2", "δ^[1"]


def shares(sample: Sample) -> list[float]:
    """What each softmax of an example gives."""
    own = (e for e in sample.derivation.forward.equations if str(e.value).startswith("exp(") and "logsumexp" in str(e))
    return [float(plain(v)) for e in own for v in sample.values[e.tensor.name].values()]


@pytest.mark.parametrize("name", ["mlp", "lenet", "transformer-tiny", "resnet-tiny"])
def test_an_example_is_at_no_degenerate_point(name: str) -> None:
    """No softmax is sure of its answer, and most gradients are seen at two decimals."""
    sample = sample_of(derived(name), None, whole=False)
    assert sample is not None
    doubtful = [p for p in shares(sample) if 0.01 < p < 0.99]
    assert 2 * len(doubtful) >= len(shares(sample)) > 1
    sizes = [
        max(abs(float(plain(v))) for v in sample.values[t.name].values())
        for t in sample.derivation.backward.defined if t.name in sample.values
    ]
    assert sum(size >= 0.005 for size in sizes) > len(sizes) / 2


def test_a_degenerate_point_is_left_for_another() -> None:
    """With weights of 40, a softmax is sure of what it says; no gradient is left of a loss without doubt."""
    model = cr.Sequential(cr.Input(2), cr.Dense(2), loss="softmax_cross_entropy")
    derivation = model.derive()
    own = {"input": [[1, 2]], "target": [[0, 1]], "dense1.W": [[2, -1], [-1, 1]], "dense1.b": [0, 0]}
    sure = sample_of(derivation, {**own, "dense1.W": [[0, 0], [0, 40]]})
    fine = sample_of(derivation, own)
    assert sure is not None and fine is not None and degenerate(sure) and not degenerate(fine)
