"""What the document says of convolutions and pooling: the concise forms, why they are so, and what is conserved."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.derive.cases import CASES, Case
from tests.examples import few

from chainrule import render
from chainrule.arrays.execute import execute
from chainrule.derive.adjoint import Derivation, derive_equation
from chainrule.ir.expr import Component
from chainrule.ir.walk import nodes
from chainrule.render.conservation import constants, shares
from chainrule.render.prose import LANGUAGES

CONV = CASES["conv2d_stride_padding"].derivation
WINDOWS = sorted(name for name in CASES if "conv" in name or "pool" in name)


def flat(derivation: Derivation, language: str = "en") -> str:
    """The document in long lines, each space single."""
    return re.sub(r"[ ]+", " ", render.text(derivation, language, width=400))


def pool(text: str, *shape: int) -> Derivation:
    return Case("pool", text, {"x": ("N", *shape)}).derivation


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_convolution_has_its_concise_forms(lang: str):
    text = flat(CONV, lang)
    for formula in (
        "y_o = Σ_c (pad_1(x_c) ⋆ W_oc)↓2 + b_o",
        "∇_{W_oc} f = pad_1(x_c) ⋆ δ_o↑2",
        "∇_{x_c} f = Σ_o crop_1(δ_o↑2 ∗ W_oc)",
        "∂f/∂b_i = 𝟏ᵀ δ_i 𝟏",
        "∇_{W_oc} f = Σ_n pad_1(x^(n)_c) ⋆ Δ^(n)_o↑2",
        "∇_{x^(n)_c} f = Σ_o crop_1(Δ^(n)_o↑2 ∗ W_oc)",
    ):
        assert formula in text, formula


def test_a_convolution_in_latex():
    source = render.latex(CONV, "en")
    assert r"\operatorname{pad}_{1}(x_{c}) \star \delta_{o}{\uparrow}_{2}" in source
    assert r"\operatorname{crop}_{1}(\delta_{o}{\uparrow}_{2} \ast W_{oc})" in source
    assert r"{\downarrow}_{2}" in source and r"\mathbf{1}" in source


@pytest.mark.parametrize("name", few(WINDOWS, 2))
def test_every_window_prints_in_every_format(name: str):
    derivation = CASES[name].derivation
    for lang in LANGUAGES:
        source = render.latex(derivation, lang)
        if lang == "en":
            assert [c for c in source if ord(c) > 126] == []
        for line in render.markdown(derivation, lang).splitlines():
            assert line.count("$") % 2 == 0
            # A bar that is not escaped ends a cell of the table.
            assert not line.startswith("|") or not re.search(r"\$[^$|]*(?<!\\)\|[^$|]*\$(?= \|)", line), line
        concise = {"en": "concise", "zh": "简洁推导"}[lang]
        assert concise in render.text(derivation, lang)


def test_the_words_say_why():
    text = flat(CONV)
    assert "a full convolution, with the kernel flipped; zeros are inserted where the stride skips positions" in text
    assert "a correlation with δ as the kernel" in text
    assert "∗ is true convolution" in text
    assert "zeros are inserted in the gaps of the dilated kernel" in flat(CASES["conv1d_dilated"].derivation)
    assert "the stride skips" not in flat(CASES["conv2d_valid"].derivation)


def test_the_signs_are_explained_only_where_they_stand():
    assert "⋆" not in flat(CASES["dense"].derivation)
    assert "unpool" not in flat(CONV)
    assert "pad with" not in flat(pool("y[n, c, i<3] = max[p<2](x[n, c, 2*i + p])", 2, 6))


def test_what_no_window_reads_is_cut_off():
    text = flat(Case("rest", "y[n, i<2] = sum[p](W[p]*x[n, 2*i + p])", {"x": ("N", 5), "W": (2,)}).derivation)
    assert "y = (x ⋆ W)↓2" in text
    assert "∇_W f = crop_{0|1}(x) ⋆ δ↑2" in text
    assert "∇_x f = pad_{0|1}(δ↑2 ∗ W)" in text


def test_max_pooling_sends_the_error_to_the_saved_place():
    text = flat(pool("y[n, c, i<3, j<2] = max[p<2, q<2](x[n, c, 2*i + p, 2*j + q])", 2, 6, 4))
    assert "y_c = maxpool_{2×2}(x_c)↓2" in text
    assert "∇_{x_c} f = unpool_{m*_c}(∇_{y_c} f)" in text
    assert "each error goes back to the position that its window saved" in text


def test_mean_pooling_is_a_convolution_with_ones():
    text = flat(pool("y[n, c, i<3] = mean[p<2](x[n, c, 2*i + p])", 2, 6))
    assert "y_c = ½ (x_c ⋆ 𝟏_2)↓2" in text
    assert "∇_{x_c} f = ½ (∇_{y_c} f)↑2 ∗ 𝟏_2" in text


# --- conservation -------------------------------------------------------------------------------

KEPT = {
    "y[n, c, i<4] = max[p<3](pad(x, -inf)[n, c, 2*i + p - 1])": (2, 7),
    "y[n, c, i<3] = max[p<2](x[n, c, 3*i + p])": (2, 9),
    "y[n, c, i<3] = mean[p<2](x[n, c, 3*i + p])": (2, 9),
    "y[n, c, i<5] = mean[p<3](x[n, c, i + p])": (2, 7),
    "y[n, c] = mean[i, j](x[n, c, i, j])": (2, 3, 4),
    "y[n, c] = max[i, j](x[n, c, i, j])": (2, 3, 4),
    "r[i<4] = sum[p<3]([0 <= 2*i + p - 1 < 7])\ny[n, c, i] = sum[p<3](pad(x, 0)[n, c, 2*i + p - 1])/r[i]": (2, 7),
}
LOST = {
    "y[n, c, i<4] = mean[p<3](pad(x, 0)[n, c, 2*i + p - 1])": ((2, 7), "⅔, 1"),
    "y[n, i<4, j<3] = mean[p<3, q<3](pad(x, 0)[n, 2*i + p - 1, 2*j + q - 1])": ((7, 5), "4/9, ⅔, 1"),
}
NO_LAW = {
    "y[n, c, i<3] = sum[p<2](x[n, c, 2*i + p])": (2, 6),
    "y[n, c, i<3] = max[p<2](pad(x, 0)[n, c, 2*i + p])": (2, 6),
    "y[n, c, i<3] = mean[p<2](x[n, c, 2*i + p]**2)": (2, 6),
    "y[n, c, i<3] = mean[p<2](x[n, c, 2*i + p]) + 1": (2, 6),
    "y[n, c, i] = exp(x[n, c, i])": (2, 6),
}


def test_what_windows_over_samples_keep_is_summed_over_samples_on_both_sides() -> None:
    document = flat(pool("y[n<N, i<3, k<2] = max[m](x[m, k])", 2))
    assert "Σ_n ∂f/∂x^(n)_i = Σ_{n′,i′} ∂f/∂y^(n′)_{i′i}: the weights" in document


def totals(derivation: Derivation) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Σ_h ∂f/∂x and Σ_i δ_i of each sample and channel, executed."""
    rng = np.random.default_rng(0)
    given = {
        t.name: rng.standard_normal(tuple(3 if e == "N" else int(e) for e in t.shape)) for t in derivation.joint.inputs
    }
    run = execute(derivation.joint, given)
    gradient, signal = run["δ(x)"], given["δ(y)"]
    return gradient, signal, given


@pytest.mark.parametrize("text", KEPT)
def test_nothing_is_lost_where_the_weights_of_every_window_sum_to_one(text: str):
    derivation = pool(text, *KEPT[text])
    for lang, words in (("en", "the sum of the gradient is kept"), ("zh", "传回的梯度总和不变")):
        assert words in flat(derivation, lang)
    gradient, signal, _ = totals(derivation)
    assert np.allclose(gradient.reshape(3, 2, -1).sum(-1), signal.reshape(3, 2, -1).sum(-1))


@pytest.mark.parametrize("text", LOST)
def test_the_share_of_the_padded_cells_is_printed(text: str):
    shape, values = LOST[text]
    derivation = pool(text, *shape)
    assert f"here {values}: the share 1 − " in flat(derivation)
    assert "不再传回" in flat(derivation, "zh")
    gradient, signal, _ = totals(derivation)
    assert not np.isclose(gradient.sum(), signal.sum())


@pytest.mark.parametrize("text", NO_LAW)
def test_no_law_is_stated_where_none_holds(text: str):
    derivation = pool(text, *NO_LAW[text])
    assert "of the error" not in flat(derivation) and "is lost" not in flat(derivation)


def test_a_law_is_stated_for_no_convolution():
    for name in WINDOWS:
        if "conv" in name:
            assert "is lost" not in flat(CASES[name].derivation)


def test_the_weights_are_those_of_the_jacobian():
    """Σ_h ∂y_i/∂x_h, executed with one error signal at a time."""
    derivation = pool("y[n, i<4] = mean[p<3](pad(x, 0)[n, 2*i + p - 1])", 7)
    x = np.zeros((4, 7))
    run = execute(derivation.joint, {"x": x, "δ(y)": np.eye(4)})
    equation = derivation.forward.equations[0]
    read = next(n for n in nodes(equation.value) if isinstance(n, Component))
    found = shares(equation, read.tensor, constants(derivation.forward.equations))
    assert found is not None
    assert np.allclose(sorted(set(run["δ(x)"].sum(axis=1).round(12))), [float(w) for w in found])


def test_lemmas_put_together_have_a_concise_form():
    text = "u[n, o, i<4] = sum[c, p](W[o, c, p]*x[n, c, i + p])\nz[n, o, i] = relu(u[n, o, i])"
    document = flat(Case("two", text, {"x": ("N", 2, 6), "W": (3, 2, 3)}).derivation)
    assert "∇_{x_c} f = Σ_o (∇_{z_o} f ⊙ [u_o > 0]) ∗ W_oc" in document
    assert "z = ReLU(u)" in document


def test_an_open_extent_leaves_the_padding_after_it_open():
    text = "y[n, o, i<3] = sum[c, p<3](W[o, c, p]*pad(x, 0)[n, c, 2*i + p - 1])"
    document = flat(derive_equation(text))
    assert "y_o = Σ_c (pad_{1|·}(x_c) ⋆ W_oc)↓2" in document


def test_planes_of_a_normalisation_are_written_whole():
    text = "y[n, c, i, j] = g[c]*(x[n, c, i, j] - m[c])*(v[c] + 1)**(-1/2) + b[c]"
    document = flat(derive_equation(text))
    assert "y_c = g_c (1/√(v_c + 1)) (x_c − m_c) + b_c" in document
    assert "∇_{x_c} f = g_c (1/√(v_c + 1)) ∇_{y_c} f" in document


def test_a_constant_plane_is_a_plane_of_ones():
    document = flat(pool("y[n, c] = mean[i, j](x[n, c, i, j])", 2, 3, 4))
    assert "y_c = (1/12) 𝟏ᵀ x_c 𝟏" in document
    assert "∇_{x_c} f = (1/12) (∂f/∂y_c) 𝟏_{3×4}" in document
