"""The article that the project was made from: all that it describes is derived; docs/ holds it as it is derived now."""

from __future__ import annotations

import re
from functools import cache

import pytest
from tools.documents import DOCS, derived

import chainrule as cr


@cache
def text_of(name: str, lang: str = "zh", detail: str = "standard") -> str:
    text = cr.read_model(name).derive().to_text(lang=lang, detail=detail, width=400)  # type: ignore[arg-type]
    return re.sub(r"[ \u00a0]+", " ", text)


CHECKLIST: dict[str, dict[str, tuple[str, ...]]] = {
    "neuron": {
        "a neuron": ("u^[1]_k = Σ_l W^[1]_kl x_l + b^[1]_k", "z^[1]_k = σ(u^[1]_k)"),
        "its vector form": ("u^[1] = W^[1] x + b^[1]", "z^[1] = σ(u^[1])"),
        "its gradients": ("δ^[1] = ∇_{z^[1]} ℓ ⊙ z^[1] ⊙ (1 − z^[1])", "∇_{W^[1]} ℓ = δ^[1] xᵀ", "∇_{b^[1]} ℓ = δ^[1]"),
    },
    "mlp-textbook": {
        "a network of layers": (
            "u^[1] = W^[1] x + b^[1]", "z^[1] = σ(u^[1])", "u^[2] = W^[2] z^[1] + b^[2]", "z^[2] = σ(u^[2])",
        ),
        "notation": ("上标 (n) 是样本的编号", "上标 [r] 是层的编号", "方括号 [k = i]", "⊙ 表示逐元素相乘"),
        "the linear map, by W": ("∂ℓ/∂W_ij = Σ_k (∂ℓ/∂u_k) (∂u_k/∂W_ij)", "= δ_i z_j", "∇_W ℓ = δ zᵀ"),
        "the linear map, by x": ("∂ℓ/∂z_j = Σ_k (∂ℓ/∂u_k) (∂u_k/∂z_j)", "= Σ_k δ_k W_kj", "∇_z ℓ = Wᵀ δ"),
        "the element-wise map": (
            "= (∂ℓ/∂z_i) σ′(u_i)", "= (∂ℓ/∂z_i) z_i (1 − z_i)", "∇_u ℓ = ∇_z ℓ ⊙ z ⊙ (1 − z)",
        ),
        "the composite map, both forms": (
            "∇_{z^[1]} ℓ = W^[2]ᵀ (∇_{z^[2]} ℓ ⊙ z^[2] ⊙ (1 − z^[2]))",
            "∂ℓ/∂z^[1]_j = Σ_{k,k′} (∂ℓ/∂z^[2]_k) (∂z^[2]_k/∂u^[2]_k′) (∂u^[2]_k′/∂z^[1]_j)",
            "∇_{z^[1]} ℓ = J_hᵀ J_gᵀ ∇_{z^[2]} ℓ",
        ),
        "the last layer": ("δ^[2] = (z^[2] − t) ⊙ z^[2] ⊙ (1 − z^[2])",),
        "the recurrence": (
            "δ^[1]_i = (∂ℓ/∂z^[1]_i) z^[1]_i (1 − z^[1]_i)", "(Σ_k δ^[2]_k W^[2]_ki) z^[1]_i (1 − z^[1]_i)",
            "δ^[1] = (W^[2]ᵀ δ^[2]) ⊙ z^[1] ⊙ (1 − z^[1])",
        ),
        "the table": ("推导过程说明", "详细推导", "简洁推导"),
        "a batch": ("∇_{W^[1]} 𝓛 = Δ^[1]ᵀ X", "∇_{b^[1]} 𝓛 = Δ^[1]ᵀ 𝟏", "∇_X 𝓛 = Δ^[1] W^[1]"),
        "why the sum and the transpose": ("影响每个 u^[2]_k，故对 k 求和", "前向按行读 W^[2]，反向按列读，故转置"),
    },
    "seed": {
        "ReLU": ("= (∂ℓ/∂z_i) [u_i > 0]", "∇_u ℓ = ∇_z ℓ ⊙ [u > 0]", "约定 ReLU 在 0 处的导数为 0"),
        "max pooling": (
            "unpool_{m*_c}(∇_{y_c} ℓ)", "[2p+q = m*_{c′ij}]", "多个元素同为最大值时，导数全部传给其中第一个",
        ),
        "mean pooling": ("∇_{y_c} ℓ = ¼ (∇_{y\u0303_c} ℓ)↑2 ∗ 𝟏_{2×2}", "窗口中各元素所得相同"),
        "the sum of the gradient is kept": ("Σ_{h,w} ∂ℓ/∂x_chw = Σ_{i,j} ∂ℓ/∂y_cij", "传回的梯度总和不变"),
    },
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, items in CHECKLIST.items() for what in items])
def test_the_document_has_what_the_article_describes(name: str, what: str) -> None:
    text = text_of(name)
    assert [line for line in CHECKLIST[name][what] if line not in text] == []


@pytest.mark.parametrize("name", ["neuron.zh.md", "backpropagation.zh.md"])
def test_the_document_in_docs_is_what_is_derived_now(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    now = derived(name)
    assert written == now, "python tools/documents.py writes it anew"
    assert written != now.replace(r"\delta", "d", 1)
