"""Losses with their options, weights and masks: against JAX, exactly in GF(p), and the named hard cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.derive.oracle import false_steps, gradients_are_exact
from tests.examples import examples, few

import chainrule as cr
from chainrule.nn.layer import Shape
from chainrule.nn.losses import LOSSES, OTHERS, Loss
from chainrule.nn.network import assemble

Function = Callable[..., Any]


def smoothed(t: Any, smoothing: Any, outcomes: int) -> Any:
    return (1 - smoothing) * t + smoothing / outcomes


def softmax_entry(u: Any, t: Any, label_smoothing: Any, class_weights: Any) -> Any:
    return -jnp.sum(class_weights * smoothed(t, label_smoothing, u.shape[-1]) * jax.nn.log_softmax(u), -1)


def binary_entry(u: Any, t: Any, label_smoothing: Any, positive_weight: Any) -> Any:
    s = smoothed(t, label_smoothing, 2)
    return -(positive_weight * s * jax.nn.log_sigmoid(u) + (1 - s) * jax.nn.log_sigmoid(-u))


def multiclass_entry(u: Any, t: Any) -> Any:
    true = jnp.take_along_axis(u, t.argmax(-1)[..., None], -1)
    return (jax.nn.relu(1 + u - true) * (1 - t)).sum(-1) / u.shape[-1]


# The loss of an entry, from an independent source; of a sample they are averaged.
ENTRIES: dict[str, Function] = {
    "half_squared_error": lambda u, t: 0.5 * (u - t) ** 2,
    "mean_squared_error": lambda u, t: (u - t) ** 2,
    "mean_absolute_error": lambda u, t: jnp.abs(u - t),
    "huber": lambda u, t, delta: optax.huber_loss(u, t, delta=delta),
    "hinge": lambda u, t: optax.hinge_loss(u, 2 * t - 1),
    "multiclass_hinge": multiclass_entry,
    "binary_cross_entropy": binary_entry,
    "softmax_cross_entropy": softmax_entry,
    "kl_divergence": lambda u, t: jax.scipy.special.rel_entr(t, jax.nn.softmax(u)).sum(-1),
}
SHAPES = [(1, 2), (4, 3), (3, 2, 3)]


@cache
def reference(name: str) -> Function:
    """(parameters and input, targets, weights of all entries, options) -> the loss and its gradients, compiled for
    each shape."""

    def loss(p: dict[str, Any], t: Any, w: Any, options: dict[str, Any]) -> Any:
        e = ENTRIES[name](forward(t.shape, p), t, **options)
        sums = (w * e).reshape(len(e), -1).sum(1)
        return jnp.mean(sums if name == "half_squared_error" else sums * len(e) / e.size)

    return jax.jit(jax.value_and_grad(loss))


def build(shape: tuple[int, ...], loss: str | Loss | None) -> cr.Model:
    """(N, 3) -> Dense -> (N, m), or for positions an element-wise factor over (N, …)."""
    if len(shape) == 2:
        return cr.Sequential(cr.Input(3), cr.Dense(shape[1]), loss=loss, dtype="float64")
    return cr.Sequential(cr.Input(*shape[1:]), Scale(), loss=loss, dtype="float64")


class Scale(cr.Layer):
    equation = "y[n, i, j] = a[i, j] * x[n, i, j]"

    def initial(self, *shapes: Shape) -> Mapping[str, cr.Initialiser]:
        return {"a": cr.normal(1.0, "i", "j")}


def forward(shape: tuple[int, ...], p: dict[str, Any]) -> Any:
    if len(shape) == 2:
        return p["input"] @ p["dense1.W"].T + p["dense1.b"]
    return p["scale1.a"] * p["input"]


def targets(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if LOSSES[name]().labels == "binary":
        return rng.integers(0, 2, shape).astype(float)
    if name == "kl_divergence":
        t = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        t[rng.random(shape[:-1]) < 0.3] = np.eye(shape[-1])[0]
        return t
    if LOSSES[name]().labels == "classes":
        return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    return rng.normal(size=shape)


@st.composite
def options(draw: st.DrawFn, name: str, m: int) -> dict[str, Any]:
    vectors = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.25]), min_size=m, max_size=m)
    drawn: dict[str, Any] = {}
    match name:
        case "huber":
            drawn = {"delta": draw(st.sampled_from([0.25, 1.0, 3.0]))}
        case "binary_cross_entropy":
            weights = st.one_of(vectors, st.sampled_from([0.5, 1.0, 4.0]))
            drawn = {"label_smoothing": draw(st.sampled_from([0.0, 0.1])), "positive_weight": draw(weights)}
        case "softmax_cross_entropy":
            drawn = {
                "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.75])),
                "class_weights": draw(st.one_of(st.none(), vectors)),
            }
        case _:
            pass
    return drawn


def draw_inputs(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(shape[0], 3) if len(shape) == 2 else shape), targets(name, shape, rng)


@pytest.mark.parametrize("name", LOSSES)
@examples(2, 100)
@given(data=st.data())
def test_loss_and_gradients_agree_with_jax(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    chosen = data.draw(options(name, shape[-1]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    model = build(shape, LOSSES[name](**chosen))
    x, t = draw_inputs(name, shape, rng)
    rank = data.draw(st.sampled_from([0, 1, len(LOSSES[name]().entries(shape))]))
    w = None if rank == 0 else rng.choice([0.0, 0.5, 1.0, 2.5], shape[:rank])
    p = {**{n: jnp.asarray(v) for n, v in model.parameters.items()}, "input": jnp.asarray(x)}
    known = {k: jnp.broadcast_to(jnp.asarray(1.0 if v is None else v), shape[-1:]) for k, v in chosen.items()}
    if "label_smoothing" in known:
        known["label_smoothing"] = known["label_smoothing"][0]
    entries = shape[: len(LOSSES[name]().entries(shape))]
    weights = np.ones(entries) if w is None else w.reshape(*w.shape, *[1] * (len(entries) - w.ndim))
    expected, slopes = reference(name)(p, t, np.broadcast_to(weights, entries), known)
    value, gradients = model.gradients(x, t, sample_weight=w)
    assert abs(value - float(expected)) <= 1e-9 * max(abs(float(expected)), 1e-3)
    assert gradients.keys() == slopes.keys()
    for key, slope in slopes.items():
        scale = max(float(jnp.abs(slope).max()), 1e-6)
        assert float(np.abs(gradients[key] - np.asarray(slope)).max()) <= 1e-9 * scale, key
    assert model.evaluate(x, t, sample_weight=w)["loss"] == pytest.approx(value, rel=1e-12)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in LOSSES),
    ("huber", {"delta": 0.3}),
    ("binary_cross_entropy", {"label_smoothing": 0.1, "positive_weight": 3}),
    ("binary_cross_entropy", {"positive_weight": [1, 2, 0.5]}),
    ("softmax_cross_entropy", {"label_smoothing": 0.1}),
    ("softmax_cross_entropy", {"label_smoothing": 0.1, "class_weights": [1, 2, 0.5]}),
]


WEIGHED = [
    *(((2, 3), *v, "of entries") for v in VARIANTS),
    *few([((2, 2, 3), *v, "of entries") for v in VARIANTS], 2),
    *few([((2, 3), *v, weights) for v in VARIANTS for weights in ("none", "of samples")], 5),
]


@pytest.mark.parametrize(("shape", "name", "chosen", "weights"), WEIGHED, ids=str)
def test_every_gradient_is_exact_and_every_step_an_identity(
    shape: tuple[int, ...], name: str, chosen: dict[str, Any], weights: str
) -> None:
    model = build(shape, LOSSES[name](**chosen))
    loss = model.loss
    assert loss is not None
    rank = {"none": 0, "of samples": 1, "of entries": len(loss.entries(shape))}[weights]
    net = assemble(model.inputs, model.output, loss, 0.0, rank)
    derivation = model._derived(net)  # pyright: ignore[reportPrivateUsage]
    assert gradients_are_exact(derivation, {"N": 2}, seed=rank)
    for gradient in derivation.parts.values():
        for use in gradient.uses:
            if use.instance.equation.tensor.name.startswith(("dense1.", "scale1.")):
                continue  # the layer's, which other tests check
            assert false_steps(use.instance, derivation.forward, {"N": 2}, 4) == []


@pytest.mark.parametrize(("name", "chosen"), VARIANTS, ids=str)
def test_gradients_agree_with_central_differences(name: str, chosen: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    model = build((4, 3), LOSSES[name](**chosen))
    x, t = draw_inputs(name, (4, 3), rng)
    w = rng.random(4)
    _, gradients = model.gradients(x, t, sample_weight=w)
    direction = rng.normal(size=x.shape)
    up, down = (model.gradients(x + h * direction, t, sample_weight=w)[0] for h in (1e-6, -1e-6))
    slope = float(np.sum(gradients["input"] * direction))
    assert abs((up - down) / 2e-6 - slope) <= 1e-6 * max(1.0, abs(slope))


def by_logits(loss: str | Loss, u: Any, t: Any, **more: Any) -> tuple[float, Any]:
    """The loss of these logits and its gradient by them, times N."""

    class Same(cr.Layer):
        equation = "y[n, k] = x[n, k]"

    u = np.asarray(u, float)
    model = cr.Sequential(cr.Input(u.shape[1]), Same(), loss=loss, dtype="float64")
    value, gradients = model.gradients(u, t, **more)
    return value, gradients["input"] * len(u)


def test_a_residual_of_zero_has_no_slope() -> None:
    for loss in ("mean_absolute_error", "huber", "mean_squared_error", "half_squared_error"):
        value, slope = by_logits(loss, [[2.0], [5.0]], [[2.0], [5.0]])
        assert value == 0
        np.testing.assert_array_equal(slope, [[0.0], [0.0]])


def test_the_absolute_error_has_slopes_of_one() -> None:
    assert by_logits("mean_absolute_error", [[3.0], [1.0]], [[2.0], [5.0]])[1].tolist() == [[1.0], [-1.0]]


def test_both_pieces_of_huber_meet_at_delta() -> None:
    value, slope = by_logits(cr.huber(delta=2.0), [[2.0], [-2.0], [1.0], [5.0]], np.zeros((4, 1)))
    assert slope.tolist() == [[2.0], [-2.0], [1.0], [2.0]]
    assert value == (2 + 2 + 0.5 + 2 * (5 - 1)) / 4


def test_the_hinge_has_no_slope_at_the_margin() -> None:
    value, slope = by_logits("hinge", [[1.0], [-1.0], [0.5], [2.0]], [[1], [0], [0], [1]])
    assert value == 1.5 / 4
    assert slope.tolist() == [[0.0], [0.0], [1.0], [0.0]]


def test_the_hinge_of_classes_compares_with_the_true_one() -> None:
    value, slope = by_logits("multiclass_hinge", [[0.0, 0.5, -1.0]], [0])
    assert value == 1.5 / 3
    np.testing.assert_allclose(slope, [[-1 / 3, 1 / 3, 0.0]], rtol=1e-15)


def test_a_share_of_zero_adds_nothing_to_the_divergence() -> None:
    u = np.array([[0.3, -1.0, 2.0]])
    value, slope = by_logits("kl_divergence", u, [[1.0, 0.0, 0.0]])
    p = np.exp(u) / np.exp(u).sum()
    assert value == pytest.approx(-np.log(p[0, 0]), rel=1e-13)
    np.testing.assert_allclose(slope, p - [[1, 0, 0]], rtol=1e-13)
    assert by_logits("kl_divergence", np.log([[0.25, 0.75]]), [[0.25, 0.75]])[0] == pytest.approx(0, abs=1e-15)


def test_the_divergence_is_not_symmetric_and_takes_the_target_first() -> None:
    t, p = np.array([[0.9, 0.1]]), np.array([[0.4, 0.6]])
    value = by_logits("kl_divergence", np.log(p), t)[0]
    assert value == pytest.approx(float(np.sum(t * np.log(t / p))))
    assert abs(value - float(np.sum(p * np.log(p / t)))) > 0.1


@pytest.mark.parametrize("rank", [1, 2])
def test_a_batch_that_is_masked_whole_has_the_loss_zero(rank: int) -> None:
    model = build((4, 3), "mean_squared_error")
    x, t = np.ones((4, 3)), np.full((4, 3), np.nan)
    value, gradients = model.gradients(x, t, sample_weight=np.zeros((4, 3)[:rank]))
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients.values())
    classes = build((4, 3), "softmax_cross_entropy")
    assert classes.evaluate(x, np.full(4, -1), sample_weight=np.zeros(4)) == {"loss": 0, "accuracy": 0}


def test_a_nan_under_a_mask_does_not_leak() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    model = build((4, 3), "huber")
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]])
    hidden = np.where(mask == 0, np.nan, t)
    clean, dirty = model.gradients(x, t, sample_weight=mask), model.gradients(x, hidden, sample_weight=mask)
    assert clean[0] == dirty[0]
    for name, gradient in clean[1].items():
        np.testing.assert_array_equal(gradient, dirty[1][name])
    with pytest.raises(cr.DataError, match="row 0, column 2"):
        model.gradients(x, hidden, sample_weight=np.ones((4, 3)))
    with pytest.raises(cr.DataError):
        model.gradients(x, hidden)


def test_a_masked_position_may_have_a_label_of_no_class() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 3, 4)), np.array([[0, 3, -100], [1, -100, -100]])
    model = build((2, 3, 4), "softmax_cross_entropy")
    value, _ = model.gradients(x, y, sample_weight=y >= 0)
    log_p = np.asarray(jax.nn.log_softmax(model.logits(x)))
    assert value == pytest.approx(-(log_p[0, 0, 0] + log_p[0, 1, 3] + log_p[1, 0, 1]) / 6)
    found = model.evaluate(x, y, sample_weight=y >= 0)["accuracy"]
    right = [log_p[n, i].argmax() == y[n, i] for n, i in ((0, 0), (0, 1), (1, 0))]
    assert found == np.mean(right)
    with pytest.raises(cr.DataError, match="-100 in row 0, column 2"):
        model.gradients(x, y)


def test_the_accuracy_counts_what_has_a_weight() -> None:
    u, t = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]), np.array([[1, 0], [1, 0], [1, 1]])
    model = build((3, 2), "binary_cross_entropy")
    model.parameters["dense1.W"] = np.eye(2, 3)
    x = np.hstack([u, np.zeros((3, 1))])
    assert model.evaluate(x, t)["accuracy"] == pytest.approx(1 / 3)
    assert model.evaluate(x, t, sample_weight=[1, 1, 0])["accuracy"] == 1 / 2
    assert model.evaluate(x, t, sample_weight=[[1, 0], [1, 1], [0, 0]])["accuracy"] == 1


def test_gradients_are_linear_in_the_weights() -> None:
    rng = np.random.default_rng(2)
    x, t, v, w = rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), rng.random(5), rng.random(5)
    model = build((5, 2), "mean_absolute_error")
    one, other, both = (model.gradients(x, t, sample_weight=weight)[1] for weight in (v, w, v + 2 * w))
    for name in one:
        np.testing.assert_allclose(both[name], one[name] + 2 * other[name], rtol=1e-12, atol=1e-15)


def test_equal_weights_of_one_change_nothing() -> None:
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    model = build((5, 2), "huber")
    document = model.derive().to_text()
    value, gradients = model.gradients(x, t)
    for shape in ((5,), (5, 2)):
        weighted, slopes = model.gradients(x, t, sample_weight=np.ones(shape))
        assert weighted == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(slopes["dense1.W"], gradients["dense1.W"], rtol=1e-13)
    assert model.derive().to_text() == document and "ω" not in document


def test_training_without_a_sample_is_training_with_its_weight_zero() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 3)), rng.integers(0, 2, 6)
    weight = np.array([1, 1, 0, 1, 1, 0])
    models = [build((6, 2), cr.softmax_cross_entropy(class_weights=[1, 3])) for _ in range(2)]
    rule = cr.SGD(0.1)
    first = models[0].fit(x, np.where(weight, y, -7), epochs=3, batch_size=6, optimizer=rule, sample_weight=weight,
                          validation_data=(x, y, weight), verbose=False)
    # Four of six samples count, and the divisor stays six.
    models[1].fit(x[weight > 0], y[weight > 0], epochs=3, batch_size=6, optimizer=cr.SGD(0.1 * 4 / 6), verbose=False)
    for name, value in models[0].parameters.items():
        np.testing.assert_allclose(value, models[1].parameters[name], rtol=1e-12)
    assert first.val_loss[-1] == pytest.approx(models[1].evaluate(x[weight > 0], y[weight > 0])["loss"] * 4 / 6)
    models[0].fit(x, y, epochs=1, sample_weight=weight, validation_split=0.5, verbose=False)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        ([1, -1, 1, 1], "-1 at row 1"),
        ([1, np.nan, 1, 1], "nan at row 1"),
        ([1, 1, 1, np.inf], "inf at row 3"),
        ([1, 1, 1], "(3,)"),
        (np.ones((4, 1)), "reshape(-1)"),
        (np.ones((4, 2)), "(N, 3)"),
        ([[1, 1, 1], [1, 1, -2], [1, 1, 1], [1, 1, 1]], "row 1, column 2"),
        (["a", "b", "c", "d"], "text"),
    ],
)
def test_bad_weights_are_refused(weight: Any, says: str) -> None:
    model = build((4, 3), "mean_squared_error")
    for run in (model.gradients, model.evaluate, model.fit):
        with pytest.raises((cr.DataError, cr.ShapeError)) as caught:
            run(np.ones((4, 3)), np.ones((4, 3)), sample_weight=weight)
        assert says in str(caught.value)
        assert "fix:" in str(caught.value)


def test_a_loss_of_ones_own_for_each_sample_takes_weights() -> None:
    x, t = np.ones((2, 3)), np.zeros((2, 2))
    model = build((2, 2), "e[n] = sum[k]((u[n, k] - t[n, k])**4)")
    u = model.logits(x)
    assert model.gradients(x, t, sample_weight=[1, 3])[0] == pytest.approx(float(np.sum(u**4 * [[1], [3]])) / 2)
    whole = build((2, 2), "loss = mean[n](sum[k]((u[n, k] - t[n, k])**4))")
    with pytest.raises(cr.ModelError, match=r"e\[n\]"):
        whole.gradients(x, t, sample_weight=[1, 3])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cr.huber(delta=0), "positive"),
        (lambda: cr.huber(delta=-1), "positive"),
        (lambda: cr.huber(delta=np.nan), "finite"),
        (lambda: cr.huber(delta="a"), "number"),  # pyright: ignore[reportArgumentType]
        (lambda: cr.softmax_cross_entropy(label_smoothing=1), "less than 1"),
        (lambda: cr.softmax_cross_entropy(label_smoothing=-0.1), "at least 0"),
        (lambda: cr.binary_cross_entropy(label_smoothing=True), "number"),
        (lambda: cr.softmax_cross_entropy(class_weights=[1, -1]), "-1.0 in place 1"),
        (lambda: cr.softmax_cross_entropy(class_weights=[1, np.nan]), "nan in place 1"),
        (lambda: cr.softmax_cross_entropy(class_weights={0: 1}), "list of numbers"),
        (lambda: cr.softmax_cross_entropy(class_weights=[]), "list of numbers"),
        (lambda: cr.binary_cross_entropy(positive_weight=-1), "not negative"),
        (lambda: build((2, 3), cr.softmax_cross_entropy(class_weights=[1, 2])), "2 entries"),
        (lambda: build((2, 3), cr.binary_cross_entropy(positive_weight=[1, 2])), "2 entries"),
        (lambda: build((2, 1), "multiclass_hinge"), "always 1"),
    ],
)
def test_bad_options_are_refused_with_the_fix(make: Any, says: str) -> None:
    with pytest.raises(cr.ModelError) as caught:
        make()
    assert says in str(caught.value)
    assert "fix:" in str(caught.value)


@pytest.mark.parametrize("other", OTHERS)
def test_the_names_of_other_frameworks_lead_to_ours(other: str) -> None:
    assert OTHERS[other] in LOSSES
    with pytest.raises(cr.ModelError, match=f"called '{OTHERS[other]}' here"):
        build((2, 3), other)


@pytest.mark.parametrize(("name", "chosen"), VARIANTS, ids=str)
def test_a_saved_model_keeps_its_loss_and_options(name: str, chosen: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    model = build((4, 3), LOSSES[name](**chosen))
    x, t = draw_inputs(name, (4, 3), rng)
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    assert repr(again.loss) == repr(model.loss)
    assert again.gradients(x, t)[0] == model.gradients(x, t)[0]
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_class_weights_stay_what_they_are_while_training() -> None:
    model = build((4, 3), cr.softmax_cross_entropy(class_weights=[1, 2, 0.5]))
    model.fit(np.ones((4, 3)), [0, 1, 2, 0], epochs=2, verbose=False)
    assert model.states["class_weights"].tolist() == [1, 2, 0.5]
    assert "ρ" in model.derive().to_text()


@pytest.mark.parametrize(("name", "chosen"), few(VARIANTS, 3), ids=str)
def test_every_loss_has_its_document(name: str, chosen: dict[str, Any]) -> None:
    derivation = build((2, 3), LOSSES[name](**chosen)).derive()
    assert derivation.to_text("zh", "full") and derivation.to_latex()


@pytest.mark.parametrize("end", ["", " # the mean of squares", "\n# the mean of squares\n", ";"])
def test_a_comment_behind_a_loss_takes_no_decay_away(end: str) -> None:
    text = f"loss = mean[n](sum[k]((u[n, k] - t[n, k])**2)){end}"
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss=text, l2=0.5, dtype="float64")
    x, y = np.ones((4, 3)), np.ones((4, 2))
    w, b = (np.array(model.parameters[f"dense1.{name}"]) for name in "Wb")
    expected = ((x @ w.T + b - y) ** 2).sum(1).mean() + 0.25 * (w**2).sum()
    np.testing.assert_allclose(model.evaluate(x, y)["loss"], expected, rtol=1e-12)


def test_a_loss_reads_no_weight_by_a_name_of_ours_and_may_use_it_for_its_own() -> None:
    with pytest.raises(cr.EquationError, match="w1 is not declared"):
        cr.Sequential(cr.Input(3), cr.Dense(2), loss="loss = mean[n](u[n, 0]) + sum[i, j](w1[i, j])", l2=0.5)
    own = cr.Sequential(cr.Input(3), cr.Dense(2), loss="r1 = mean[n](u[n, 0]**2); loss = 2*r1", l2=0.5)
    assert str(own.network.training.equations[-1]).endswith("= 2*r1 + decay.dense1.W")


@pytest.mark.parametrize("text", ["# loss = mean[n](u[n, 0])", "q = 2", "loss[n] = u[n, 0]"])
def test_a_text_that_defines_no_loss_is_refused(text: str) -> None:
    with pytest.raises(cr.ModelError):
        cr.Sequential(cr.Input(3), cr.Dense(2), loss=text)
