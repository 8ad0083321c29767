"""Every layer of the registry, once: gradients exact in GF(p), every step an identity, and saved with its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tests.derive.oracle import false_steps, gradients_are_exact
from tests.examples import few
from tests.nn.agreement import off_slopes

import chainrule as cr
from chainrule.ir.print import spelled
from chainrule.nn.layer import Layer, Node
from chainrule.nn.layers import LAYERS
from chainrule.render.build import build as document_of
from chainrule.render.latex import render as as_latex
from chainrule.render.markdown import render as as_markdown
from chainrule.render.text import render as as_text

Build = Callable[[Node], Node]
# What each layer is applied to, and how: the shape of one sample, and a graph from it.
MODELS: dict[str, tuple[tuple[int, ...], Build]] = {
    "Dense": ((2, 3), cr.Dense(2, axes="last")),
    "Conv1d": ((2, 5), cr.Conv1d(2, 3, stride=2, padding=1)),
    "Conv2d": ((2, 4, 3), cr.Conv2d(2, (3, 2), stride=(2, 1), groups=2)),
    "ConvTranspose2d": ((2, 2, 2), cr.ConvTranspose2d(1, 3, stride=2, padding=1, output_padding=1)),
    "ConvTranspose1d": ((4, 3), cr.ConvTranspose1d(6, 3, stride=2, padding=1, dilation=2, groups=2)),
    "Upsample": ((2, 2, 3), cr.Upsample([2, 3], "linear")),
    "AdaptiveMaxPool": ((2, 4, 6), cr.AdaptiveMaxPool([2, 3])),
    "AdaptiveMeanPool": ((2, 5, 4), cr.AdaptiveMeanPool([3, 2])),
    "GroupNorm": ((4, 3), cr.GroupNorm(2)),
    "InstanceNorm": ((2, 3, 2), cr.InstanceNorm()),
    "HardSigmoid": ((2, 3), cr.HardSigmoid(0.25, 0.5)),
    "PReLU": ((2, 3), cr.PReLU()),
    "Attention": ((2, 3, 2), lambda x: cr.Attention(causal=True, dropout=0.25)(cr.Tanh()(x), x, cr.Sigmoid()(x))),
    "Equations": (
        (2, 3), cr.Equations("y[n, i, j] = shift[i] + g[j]*x[n, i, j]", parameters={"g": [3]}, constants={"shift": [2]})
    ),
    "Parameter": (
        (3,), lambda x: cr.Equations("y[n, k<2] = sum[l](x2[l, k]*x1[n, l])")(x, cr.Parameter([3, 2])()),
    ),
    "MaxPool1d": ((2, 5), cr.MaxPool1d(3, stride=2, padding=1)),
    "MaxPool2d": ((1, 4, 4), cr.MaxPool2d(2)),
    "MeanPool1d": ((2, 5), cr.MeanPool1d(3, stride=2, padding=1)),
    "MeanPool2d": ((1, 4, 4), cr.MeanPool2d(2)),
    "GlobalMaxPool": ((2, 3, 2), cr.GlobalMaxPool()),
    "GlobalMeanPool": ((2, 3, 2), cr.GlobalMeanPool()),
    **{
        name: ((2, 3), LAYERS[name]())
        for name in (
            "Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Softplus", "Softsign", "Hardtanh",
            "HardSwish", "Mish",
            "Softmax", "LogSoftmax", "Flatten", "LayerNorm", "RMSNorm", "Dropout", "Standardise", "PositionEmbedding",
        )
    },
    "BatchNorm": ((2, 3, 2), cr.BatchNorm(momentum=0.25)),
    "Reshape": ((2, 3), cr.Reshape(3, -1)),
    "Add": ((3,), lambda x: cr.Add()(x, cr.Tanh()(x))),
    "Concat": ((2, 3), lambda x: cr.Concat(2)(x, cr.Tanh()(x), x)),
    "Embedding": ((3,), cr.Embedding(5, 2)),
    "MultiHeadAttention": ((3, 4), cr.MultiHeadAttention(2, 6, causal=True)),
}  # fmt: skip


ENTRYWISE = {
    "ELU", "GELU", "HardSigmoid", "HardSwish", "Hardtanh", "LeakyReLU", "Mish", "SELU", "SiLU", "Sigmoid", "Softplus",
    "Softsign",
}  # fmt: skip
"""A function entry by entry, as ReLU and Tanh are: loops, forms and sums over samples are those of these two."""
KINDS = [name for name in MODELS if name not in ENTRYWISE]


def model_with(name: str) -> cr.Model:
    shape, build = MODELS[name]
    x = cr.Input(*shape, dtype="integer" if LAYERS[name].integer else "real")
    return cr.Model(x, cr.Dense(2)(build(x)), loss="half_squared_error", dtype="float64", l2=0.1)


def ranges(model: cr.Model) -> dict[str, int]:
    return {t.name: 5 for t in model.network.training.inputs if t.dtype == "integer"}


def without_an_entry() -> set[str]:
    """Layers to be added to MODELS, with options that are not the defaults, and those of MODELS that are none."""
    return set(MODELS) ^ set(LAYERS)


def test_every_layer_has_an_entry_and_no_entry_is_left_over() -> None:
    assert without_an_entry() == set()


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_exact_and_every_step_is_an_identity(name: str) -> None:
    model = model_with(name)
    derivation = model.derive()
    own = tuple(f"{named}." for named, layer in model.network.layers if type(layer) is LAYERS[name])
    lemmas = [use.instance for gradient in derivation.parts.values() for use in gradient.uses]
    checked = [lemma for lemma in lemmas if lemma.equation.tensor.name.startswith(own)]
    assert checked
    for samples in (1, 3):
        assert gradients_are_exact(derivation, {"N": samples}, seed=samples, ranges=ranges(model))
    for lemma in checked:  # of this layer: those of the others, the loss and the decay are checked by themselves
        assert false_steps(lemma, derivation.forward, {"N": 2}, 4, ranges(model)) == []


def samples_of(name: str) -> Any:
    rng = np.random.default_rng(0)
    shape = (3, *MODELS[name][0])
    return rng.integers(0, 5, shape) if LAYERS[name].integer else rng.normal(size=shape)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_agree_with_central_differences(name: str) -> None:
    model = model_with(name)
    values = {**dict(model.parameters), "input": samples_of(name)}
    assert off_slopes(model, values, np.random.default_rng(1).normal(size=(3, 2))) == []


@pytest.mark.parametrize(("name", "lang"), few(product(LAYERS, ["en", "zh"]), 9))
def test_the_document_names_everything_that_is_computed(name: str, lang: Literal["en", "zh"]) -> None:
    derivation = model_with(name).derive()
    document = document_of(derivation, lang, "standard")
    averages = {s.next for s in derivation.forward.states}
    text = as_text(document, 100)
    assert [t.name for t in {*derivation.forward.defined} - averages if spelled(t) not in text] == []
    if averages:  # on which no gradient depends: they stand in full detail alone
        whole = as_text(document_of(derivation, lang, "full"), 100)
        assert [t.name for t in averages if spelled(t) not in whole] == []
    for formulas in (as_markdown(document), as_latex(document)):
        assert formulas.count("{") == formulas.count("}")


@pytest.mark.parametrize("name", LAYERS)
def test_a_trained_and_saved_layer_is_the_same_layer(name: str, tmp_path: Path) -> None:
    model, x = model_with(name), samples_of(name)
    target = np.ones((3, 2))
    model.fit(x, target, epochs=1, batch_size=2, optimizer=cr.SGD(0.01), verbose=False)
    model.save(tmp_path / "m")
    again = cr.load(tmp_path / "m")
    assert {n: v.tobytes() for n, v in again.states.items()} == {n: v.tobytes() for n, v in model.states.items()}
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    # A tuple comes back as a list.
    options = [[json.dumps(layer.config) for _, layer in m.network.layers] for m in (again, model)]
    assert options[0] == options[1]


def test_a_layer_without_an_entry_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "Another", Layer)
    assert without_an_entry() == {"Another"}
