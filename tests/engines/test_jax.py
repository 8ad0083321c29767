"""JAX against NumPy over the whole vocabulary, and eight devices against one; `make engines` gives them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.optim.named import OPTIMIZERS
from tests.engines.agreement import (
    collectives,
    data_for,
    held_by_a_device,
    identically_zero,
    off,
    off_gradients,
    off_parameters,
    rounds,
    stepped,
)
from tests.nn.test_every_layer import MODELS, model_with

pytestmark = pytest.mark.engines
WINDOWS: dict[str, tuple[tuple[int, ...], cr.Layer]] = {
    "stride": ((2, 7, 6), cr.Conv2d(4, 3, stride=2, padding=1)),
    "dilation": ((2, 9, 7), cr.Conv2d(2, (3, 2), stride=(1, 2), dilation=2, padding=2)),
    "groups": ((4, 7, 6), cr.Conv2d(6, 3, groups=2, stride=2, padding=1)),
    "depthwise": ((4, 5, 5), cr.Conv2d(8, 3, groups=4)),
    "one axis": ((2, 9), cr.Conv1d(3, 4, stride=3, dilation=2, padding=2)),
    "transposed": ((4, 3, 3), cr.ConvTranspose2d(3, 3, stride=2, padding=1, output_padding=1)),
    "overlapping": ((2, 7, 7), cr.MaxPool2d(3, stride=2, padding=1)),
}  # fmt: skip
OPTIONS: dict[str, cr.Optimizer] = {
    "both clips": cr.Adam(0.01, clip_norm=0.1, clip_value=0.05),
    "a schedule": cr.SGD(cr.warm_up(cr.cosine(0.1, steps=20), steps=5), momentum=0.9),
    "moments": cr.RMSProp(0.01, 0.9, 1e-7, 0.5),
    "decay": cr.AdamW(0.01, weight_decay=0.1),
}
RULES = {**OPTIMIZERS, **OPTIONS}


def window(name: str) -> cr.Sequential:
    shape, layer = WINDOWS[name]
    return cr.Sequential(
        cr.Input(*shape), cr.Conv2d(shape[0], 1) if len(shape) == 3 else cr.Conv1d(shape[0], 1), cr.Tanh(), layer,
        cr.Flatten(), cr.Dense(3), loss="softmax_cross_entropy", dtype="float64",
    )


def classifier(dtype: str = "float64") -> cr.Sequential:
    return cr.Sequential(
        cr.Input(2, 6, 6), cr.Conv2d(4, 3, padding=1), cr.BatchNorm(), cr.ReLU(), cr.MaxPool2d(2), cr.Dropout(0.2),
        cr.Dense(3), loss="softmax_cross_entropy", dtype=dtype,
    )


def agrees(model: cr.Model, rule: cr.Optimizer) -> None:
    """Gradients, and the losses of 20 steps, are NumPy's to 1e-12."""
    x, y = data_for(model, 6)
    off_by = off_gradients(model, x, y, executor="jax", devices=1)
    assert max(off_by.values()) <= 1e-12, off_by
    ours = stepped(model.like(0), x, y, 20, 4, rule, executor="numpy")
    assert off(ours, stepped(model.like(0), x, y, 20, 4, rule, executor="jax", devices=1)) <= 1e-12


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_agrees_with_numpy(name: str) -> None:
    agrees(model_with(name), cr.SGD(0.01))


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_of_every_kind_agree_with_numpy(name: str) -> None:
    agrees(window(name), cr.SGD(0.01, momentum=0.9))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_agrees_with_numpy(name: str) -> None:
    agrees(cr.Sequential(cr.Input(4), cr.Dense(3, bias=False), loss=name, dtype="float64"), cr.SGD(0.05))


@pytest.mark.parametrize("name", RULES)
def test_every_optimizer_and_option_agrees_with_numpy(name: str) -> None:
    def made() -> cr.Sequential:
        return cr.Sequential(cr.Input(4), cr.Dense(3), loss="softmax_cross_entropy", l2=0.1, dtype="float64")

    one, two = made(), made()
    x, y = data_for(one, 12)
    weight = np.linspace(0, 2, 5)
    losses = [
        stepped(m, x, y, 20, 5, RULES[name], sample_weight=weight, executor=executor)
        for m, executor in ((one, "numpy"), (two, "jax"))
    ]
    assert off(losses[0], losses[1]) <= 1e-12 and off_parameters(one, two) <= 1e-12


def test_layers_with_rates_of_their_own_and_frozen_ones_agree_with_numpy() -> None:
    one, two = classifier(), classifier()
    for made in (one, two):
        made.set_rates({"conv2d1": 0.1})
        made.freeze("batchnorm1")
    x, y = data_for(one, 20)
    losses = [stepped(m, x, y, 20, 7, cr.Adam(), executor=e) for m, e in ((one, "numpy"), (two, "jax"))]
    assert off(losses[0], losses[1]) <= 1e-12 and off_parameters(one, two) <= 1e-10


def test_losses_in_float32_are_those_of_native_code() -> None:
    one, two = classifier("float32"), classifier("float32")
    x, y = data_for(one, 40)
    losses = [stepped(m, x, y, 20, 16, cr.SGD(0.01), executor=e) for m, e in ((one, "native"), (two, "jax"))]
    assert np.abs(losses[0] - losses[1]).max() <= 5e-7 * np.abs(losses[0]).max()


def mixed(kind: str) -> cr.Sequential:
    layers: dict[str, list[cr.Layer]] = {
        "dense": [cr.Flatten(), cr.Dense(8), cr.Tanh()],
        "convolutions": [cr.Conv2d(4, 3, padding=1, stride=2), cr.ReLU(), cr.Conv2d(4, 2, groups=2), cr.Flatten()],
        "statistics": [cr.Conv2d(3, 3), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2), cr.Flatten()],
    }
    return cr.Sequential(cr.Input(2, 6, 6), *layers[kind], cr.Dense(3), loss="softmax_cross_entropy", dtype="float64")


@pytest.mark.parametrize("kind", ["dense", "convolutions", "statistics"])
def test_eight_devices_take_the_steps_of_one(kind: str) -> None:
    assert len(jax.devices()) == 8, "make engines runs these, with eight devices"
    one, eight, other = mixed(kind), mixed(kind), mixed(kind)
    x, y = data_for(one, 61)

    def fitted(made: cr.Model, epochs: int = 10, batch: int = 13, **options: Any) -> cr.History:
        return made.fit(x, y, epochs=epochs, batch_size=batch, optimizer=cr.Adam(0.01), verbose=False, **options)

    single, several = fitted(one, executor="jax", devices=1), fitted(eight, executor="jax", devices=8)
    assert one.training.steps == 50
    assert off(single.loss, several.loss) <= 1e-12 and off_parameters(one, eight) <= 1e-11
    assert off(eight.predict(x, executor="numpy"), eight.predict(x, executor="jax")) <= 1e-12
    # The comparison sees batches of another size; training goes on with other devices.
    assert off(single.loss[:1], fitted(other, 1, 12, executor="numpy").loss) > 1e-6
    if kind == "dense":
        further = [fitted(made, 1, executor="jax", devices=n).loss for made, n in ((one, 1), (eight, 3))]
        assert off(*further) <= 1e-11


def by_eights(name: str, shape: tuple[int, ...]) -> int | None:
    """The first axis that eight devices share equally."""
    return next((axis for axis, n in enumerate(shape) if n % 8 == 0), None)


def test_parameters_lie_where_a_rule_says_and_the_numbers_are_the_same() -> None:
    """Each device holds an eighth of what is shared, and of what the optimizer keeps of it, before a step and after."""
    one, eight = mixed("dense"), mixed("dense")
    x, y = data_for(one, 61)
    for made, shard in ((one, None), (eight, by_eights)):
        made.fit(
            x, y, epochs=10, batch_size=13, optimizer=cr.Adam(0.01), verbose=False, executor="jax", devices=8,
            shard=shard,
        )
    assert one.training.steps == 50
    assert off(one.training.history.loss, eight.training.history.loss) <= 1e-12 and off_parameters(one, eight) <= 1e-11
    whole = {"dense1.W": 576, "dense1.b": 8, "dense2.W": 24, "dense2.b": 3}
    for shard, wanted in ((None, whole), (by_eights, {"dense1.W": 72, "dense1.b": 1, "dense2.W": 3, "dense2.b": 3})):
        sizes = held_by_a_device(one, cr.Adam(0.01), 16, 8, shard)
        assert {n: found for n, found in sizes.items() if n in wanted} == {n: (s, s) for n, s in wanted.items()}
        moments = {n for n in sizes if n.endswith(".dense1.W")}
        assert len(moments) == 2 and all(sizes[n] == (wanted["dense1.W"],) * 2 for n in moments)


def test_an_axis_that_devices_cannot_share_is_refused_by_name() -> None:
    made = mixed("dense")
    x, y = data_for(made, 16)
    with pytest.raises(cr.ModelError, match=r"8 devices cannot share axis 0 of dense2\.W \(3, 8\) equally"):
        made.fit(x, y, executor="jax", devices=8, shard=lambda name, shape: 0)
    with pytest.raises(cr.ModelError, match="for JAX"):
        made.fit(x, y, shard=by_eights)


SHARED = [name for name in MODELS if name not in ("BatchNorm", "Embedding")]


@pytest.mark.parametrize(("name", "samples"), [(n, 13 if k % 2 else 16) for k, n in enumerate([*SHARED, *WINDOWS])])
def test_devices_meet_once_a_step_where_samples_do_not_couple(name: str, samples: int) -> None:
    made = window(name) if name in WINDOWS else model_with(name)
    assert collectives(made, cr.SGD(0.1), samples, 8) == ["all-reduce"]
    assert rounds(made, cr.SGD(0.1)) == 1


def test_one_device_meets_nobody_and_a_norm_over_all_gradients_needs_no_second_meeting() -> None:
    assert collectives(mixed("dense"), cr.SGD(0.1), 16, 1) == []
    assert collectives(mixed("dense"), cr.Adam(0.01, clip_norm=0.1), 13, 8) == ["all-reduce"]


@pytest.mark.parametrize("layers", [1, 2])
def test_batch_normalisation_adds_three_meetings(layers: int) -> None:
    """The mean, the variance, which is of differences from it, and the two sums over samples in the gradient by its
    input, which stand side by side; and once more for all gradients, as everywhere."""
    blocks = [layer for _ in range(layers) for layer in (cr.Dense(4), cr.BatchNorm(), cr.Tanh())]
    made = cr.Sequential(cr.Input(5), *blocks, cr.Dense(3), loss="half_squared_error", dtype="float64")
    assert collectives(made, cr.SGD(0.1), 16, 8) == ["all-reduce"] * (3 * layers + 1)
    assert rounds(made, cr.SGD(0.1)) == 3 * layers + 1  # no fewer: the longest chain of sums over samples


def test_a_table_that_ids_choose_from_needs_them_all_where_shares_are_not_equal() -> None:
    made = model_with("Embedding")
    assert collectives(made, cr.SGD(0.1), 16, 8) == ["all-reduce"]
    assert collectives(made, cr.SGD(0.1), 13, 8) == ["all-gather", "all-reduce"]


def test_gradients_that_are_exactly_zero_are_found_and_no_others() -> None:
    assert identically_zero(classifier().derive()) == {"conv2d1.b"}
    assert identically_zero(mixed("dense").derive()) == set()
    assert identically_zero(model_with("MultiHeadAttention").derive()) == {"multiheadattention1.bk"}
