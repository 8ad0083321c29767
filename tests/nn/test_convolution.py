"""Convolutions against JAX over drawn shapes and options, exactly in GF(p), and what is said about bad options."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.derive.oracle import false_steps, gradients_are_exact
from tests.examples import examples, few
from tests.nn.agreement import Tree, disagreements

import chainrule as cr

Options = dict[str, Any]
Drawn = tuple[tuple[int, ...], int, Options]


def squares(u: Any, t: Any) -> Any:
    return 0.5 * jnp.sum((u - t) ** 2) / len(u)


def convolution(p: Tree, label: str, x: Any, padding: Any, options: Options) -> Any:
    """Frameworks' convolution, by XLA's own."""
    rank = x.ndim - 2
    u = jax.lax.conv_general_dilated(
        x,
        p[f"{label}.W"],
        options["stride"],
        padding,
        rhs_dilation=options["dilation"],
        feature_group_count=options["groups"],
    )
    return u + p[f"{label}.b"].reshape(-1, *(1,) * rank) if options["bias"] else u


def check(shape: tuple[int, ...], samples: int, options: Options, seed: int) -> cr.Model:
    """The layer's output and the gradients of the squared error are JAX's, and exact in GF(p)."""
    rank, rng = len(shape) - 1, np.random.default_rng(seed)
    layer = (cr.Conv1d if rank == 1 else cr.Conv2d)(**options)
    model = cr.Sequential(cr.Input(*shape), layer, loss="half_squared_error", dtype="float64")
    label = f"conv{rank}d1"
    if options["bias"]:
        model.parameters[f"{label}.b"] = rng.normal(size=options["filters"])
    padding = options["padding"]
    pads: Any = padding.upper() if isinstance(padding, str) else [(cells, cells) for cells in padding]

    def forward(p: Tree, x: Any) -> Any:
        return convolution(p, label, x, pads, options)

    x = rng.normal(size=(samples, *shape))
    t = rng.normal(size=(samples, *map(int, model.network.logits.shape[1:])))
    assert disagreements(model, forward, squares, x, t) == []
    assert gradients_are_exact(model.derive(), {"N": samples}, seed)
    return model


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    """Shapes and options of which some strides do not divide, some windows miss cells, and some see only padding."""
    rank = draw(st.sampled_from([1, 2, 2]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    size = draw(st.tuples(*[st.integers(1, 4)] * rank))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * rank))
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(*[st.integers(0, 3)] * rank)))
    space = draw(st.tuples(*[st.integers(1, 9)] * rank))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    pads = (0,) * rank if isinstance(padding, str) else padding
    assume(padding == "same" or all(e + 2 * p >= s for e, p, s in zip(space, pads, spans, strict=True)))
    options = {
        "filters": groups * draw(st.integers(1, 2)),
        "kernel_size": size,
        "stride": draw(st.tuples(*[st.integers(1, 3)] * rank)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    return (groups * draw(st.integers(1, 2)), *space), draw(st.integers(1, 3)), options


@given(convolutions(), st.integers(0, 99))
@examples(6, 600)
def test_convolutions_agree_with_jax_and_are_exact(drawn: Drawn, seed: int) -> None:
    check(*drawn, seed)


PLAIN: Options = {
    "filters": 2, "kernel_size": (3, 3), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1,
    "bias": True,
}
NAMED: dict[str, Drawn] = {
    "batch of 1": ((2, 5, 5), 1, {}),
    "1x1 kernel": ((3, 4, 4), 2, {"kernel_size": (1, 1)}),
    "1x1 kernel with a stride": ((3, 5, 4), 2, {"kernel_size": (1, 1), "stride": (2, 3)}),
    "stride larger than the kernel": ((2, 8, 9), 2, {"kernel_size": (2, 2), "stride": (3, 4)}),
    "stride that does not divide": ((2, 8, 7), 2, {"stride": (2, 3), "padding": (1, 1)}),
    "one output": ((2, 3, 3), 2, {}),
    "windows of padding alone": ((1, 2, 2), 2, {"padding": (3, 3), "kernel_size": (2, 2), "stride": (2, 2)}),
    "depthwise": ((4, 5, 5), 2, {"filters": 4, "groups": 4, "padding": "same"}),
    "depthwise with a multiplier": ((3, 5, 5), 2, {"filters": 6, "groups": 3}),
    "as many filters as groups": ((6, 5, 5), 2, {"filters": 3, "groups": 3}),
    "stride and dilation share a factor": ((1, 9, 9), 2, {"stride": (4, 2), "dilation": (2, 4), "padding": (3, 4)}),
}


@pytest.mark.parametrize("name", few(NAMED, 2))
def test_named_convolutions(name: str) -> None:
    shape, samples, options = NAMED[name]
    model = check(shape, samples, PLAIN | options, 5)
    derivation = model.derive()
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            assert false_steps(use.instance, derivation.forward, {"N": samples}, 6) == []


def test_a_kernel_that_is_turned_round_is_noticed() -> None:
    """The comparison's own control: JAX's correlation with the rotated kernel is another function."""
    model = cr.Sequential(cr.Input(1, 4, 4), cr.Conv2d(1, 2), loss="half_squared_error", dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4))

    def rotated(p: Tree, x: Any) -> Any:
        turned = {**p, "conv2d1.W": p["conv2d1.W"][:, :, ::-1, ::-1]}
        return convolution(turned, "conv2d1", x, "VALID", PLAIN)

    assert disagreements(model, rotated, squares, x, np.zeros((2, 1, 3, 3))) != []


@st.composite
def transposed(draw: st.DrawFn) -> Drawn:
    size, stride = draw(st.tuples(*[st.integers(1, 4)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    space = draw(st.tuples(*[st.integers(1, 4)] * 2))
    whole = [s * (e - 1) + k for k, s, e in zip(size, stride, space, strict=True)]
    cut = tuple(draw(st.integers(0, min(k - 1, (cells - 1) // 2))) for k, cells in zip(size, whole, strict=True))
    options = {
        "filters": draw(st.integers(1, 2)),
        "kernel_size": size,
        "stride": stride,
        "padding": cut,
        "output_padding": tuple(draw(st.integers(0, s - 1)) for s in stride),
    }
    return (draw(st.integers(1, 2)), *space), draw(st.integers(1, 2)), options


def check_transposed(shape: tuple[int, ...], samples: int, options: Options, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = cr.ConvTranspose2d(**options)
    model = cr.Sequential(cr.Input(*shape), layer, loss="half_squared_error", dtype="float64")
    ends = zip(options["kernel_size"], options["padding"], options["output_padding"], strict=True)
    padding = [(k - 1 - cut, k - 1 - cut + added) for k, cut, added in ends]

    def forward(p: Tree, x: Any) -> Any:
        kernel = jnp.swapaxes(p["convtranspose2d1.W"], 0, 1)[:, :, ::-1, ::-1]
        u = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, lhs_dilation=options["stride"])
        return u + p["convtranspose2d1.b"].reshape(-1, 1, 1)

    x = rng.normal(size=(samples, *shape))
    t = rng.normal(size=(samples, *map(int, model.network.logits.shape[1:])))
    assert disagreements(model, forward, squares, x, t) == []
    assert gradients_are_exact(model.derive(), {"N": samples}, seed)


@given(transposed(), st.integers(0, 99))
@examples(3, 300)
def test_transposed_convolutions_agree_with_jax_and_are_exact(drawn: Drawn, seed: int) -> None:
    check_transposed(*drawn, seed)


def test_the_transpose_is_the_transpose_of_the_convolution() -> None:
    """⟨y, conv(x)⟩ = ⟨convᵀ(y), x⟩ with one kernel."""
    rng = np.random.default_rng(3)
    options: Options = {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False}
    down = cr.Sequential(cr.Input(2, 7, 5), cr.Conv2d(3, **options), dtype="float64")
    up = cr.Sequential(cr.Input(3, 4, 3), cr.ConvTranspose2d(2, **options), dtype="float64")
    up.parameters["convtranspose2d1.W"] = down.parameters["conv2d1.W"]
    x, y = rng.normal(size=(2, 2, 7, 5)), rng.normal(size=(2, 3, 4, 3))
    assert np.vdot(y, down.predict(x)) == pytest.approx(np.vdot(up.predict(y), x), rel=1e-12)


def built(layer: cr.Layer, *shape: int) -> cr.Model:
    return cr.Sequential(cr.Input(*shape), layer)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cr.Conv2d(0, 3), ("Conv2d", "filters", "positive", "0")),
        (lambda: cr.Conv2d(4, 0), ("kernel_size", "positive", "0")),
        (lambda: cr.Conv2d(4, (3, 3, 3)), ("kernel_size", "2 of them", "(3, 3, 3)")),
        (lambda: cr.Conv2d(4, 3, stride=-1), ("stride", "positive", "-1")),
        (lambda: cr.Conv2d(4, 3, stride=2.5), ("stride", "2.5")),  # pyright: ignore[reportArgumentType]
        (lambda: cr.Conv2d(4, 3, padding=-1), ("padding", "at least 0", "-1")),
        (lambda: cr.Conv2d(4, 3, padding="full"), ("padding", "'same'", "'full'")),
        (lambda: cr.Conv2d(4, 3, dilation=0), ("dilation", "positive")),
        (lambda: cr.Conv2d(4, 3, groups=0), ("groups", "positive")),
        (lambda: cr.Conv2d(4, 3, init="zzz"), ("zzz",)),
        (lambda: built(cr.Conv2d(4, 7), 1, 5, 9), ("conv2d1", "7", "padded input of 5", "axis 2", 'padding="same"')),
        (lambda: built(cr.Conv2d(4, 3, dilation=3), 1, 9, 6), ("conv2d1", "7 cells", "padded input of 6", "axis 3")),
        (lambda: built(cr.Conv2d(4, 3, groups=2), 3, 9, 9), ("conv2d1", "groups=2", "3 channels", "divide")),
        (lambda: built(cr.Conv2d(5, 3, groups=2), 4, 9, 9), ("conv2d1", "groups=2", "5 filters", "filters=4")),
        (lambda: built(cr.Conv2d(4, 3), 28, 28), ("conv2d1", "(N, channels, height, width)", "(N, 28, 28)")),
        (lambda: built(cr.Conv1d(4, 3), 28), ("conv1d1", "(N, channels, length)", "(N, 28)")),
        (lambda: cr.ConvTranspose2d(4, 3, stride=2, output_padding=2), ("output_padding=2", "stride 2")),
        (lambda: built(cr.ConvTranspose2d(4, 3, padding=3), 1, 2, 2), ("padding=3", "less padding")),
    ],
)
def test_a_bad_option_is_answered_with_the_fix(build: Any, says: tuple[str, ...]) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        build()
    assert [part for part in says if part not in str(caught.value)] == []
    assert caught.value.fix
