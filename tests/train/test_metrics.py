"""Metrics against scikit-learn's; in fit and evaluate; weights of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.utils.class_weight import compute_sample_weight

import chainrule as cr
from chainrule.train.metrics import class_weights, confusion, measured, metric_named

RNG = np.random.default_rng(0)
sk: Any = metrics


def value(name: str, output: Any, target: Any, weight: Any, labels: Any) -> float:
    return measured([metric_named(name)], output, target, weight, labels)[name]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 5])
def test_metrics_of_classes_are_those_of_scikit_learn(classes: int, weighted: bool) -> None:
    output = RNG.integers(1, 9, (80, classes)) + RNG.normal(size=(80, classes)) * (classes > 2)
    output = output / output.sum(1, keepdims=True)
    truth = RNG.integers(0, classes, 80)
    found, weight = output.argmax(1), RNG.integers(0, 4, 80) / 2 if weighted else None
    given, target = {"sample_weight": weight}, np.eye(classes)[truth]
    wanted = {
        "accuracy": sk.accuracy_score(truth, found, **given),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, found, **given),
        "precision": sk.precision_score(truth, found, average="macro", zero_division=0, **given),
        "recall": sk.recall_score(truth, found, average="macro", zero_division=0, **given),
        "f1": sk.f1_score(truth, found, average="macro", zero_division=0, **given),
        "top2_accuracy": sk.top_k_accuracy_score(truth, output, k=2, **given) if classes > 2 else 1.0,
        "auc": np.mean([sk.roc_auc_score(truth == k, output[:, k], **given) for k in range(classes)]),
    }
    found_ = {name: value(name, output, target, weight, "classes") for name in wanted}
    assert found_ == pytest.approx(wanted, abs=1e-12)
    table = confusion(output, target, np.ones(80) if weight is None else weight)
    np.testing.assert_allclose(table, sk.confusion_matrix(truth, found, **given))


def test_metrics_of_yes_and_no_are_those_of_scikit_learn() -> None:
    output, target = RNG.integers(0, 10, (90, 3)) / 10, RNG.integers(0, 2, (90, 3)).astype(float)
    yes = output > 0.5
    for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        one = value(name, output[:, :1], target[:, :1], None, "binary")
        assert one == pytest.approx(function(target[:, 0], yes[:, 0]))
        assert value(name, output, target, None, "binary") == pytest.approx(function(target, yes, average="macro"))
    assert value("auc", output, target, None, "binary") == pytest.approx(sk.roc_auc_score(target, output))


@pytest.mark.parametrize("columns", [1, 3])
def test_metrics_of_numbers_are_those_of_scikit_learn(columns: int) -> None:
    output, target, weight = RNG.normal(size=(50, columns)), RNG.normal(size=(50, columns)), RNG.uniform(size=50)
    wanted = {
        "mae": sk.mean_absolute_error(target, output, sample_weight=weight),
        "rmse": sk.mean_squared_error(target, output, sample_weight=weight) ** 0.5,
        "r2": sk.r2_score(target, output, sample_weight=weight),
    }
    assert {n: value(n, output, target, weight, "numbers") for n in wanted} == pytest.approx(wanted, abs=1e-12)
    flat = np.ones((5, 1))
    assert value("r2", flat, flat, None, "numbers") == 1 and value("r2", flat + 1, flat, None, "numbers") == 0


def test_fit_and_evaluate_tell_the_metrics_that_are_asked_for() -> None:
    x, y = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)
    model = cr.Sequential(cr.Input(4), cr.Dense(3), loss="softmax_cross_entropy")

    def worst(outputs: Any, targets: Any) -> float:
        return float((outputs * targets).sum(1).min())

    options: dict[str, Any] = {"epochs": 2, "verbose": False, "executor": "numpy"}
    history = model.fit(x, y, validation_data=(x, y), metrics=["f1", worst], **options)
    again = model.evaluate(x, y, metrics=["f1", worst], executor="numpy")
    assert history["val_f1"][-1] == again["f1"] and history["val_worst"][-1] == again["worst"]
    assert again["f1"] == pytest.approx(sk.f1_score(y, model.predict(x).argmax(1), average="macro"))
    alone = model.fit(x, y, metrics="f1", callbacks=cr.EarlyStopping(9), **options).epochs[0]
    assert set(alone) == {"loss", "accuracy", "f1"} == set(model.evaluate(x, y, metrics="f1", executor="numpy"))
    assert set(model.fit(x, y, metrics=["auc"], **options).epochs[0]) == {"loss", "accuracy", "auc"}
    np.testing.assert_array_equal(model.confusion_matrix(x, y), sk.confusion_matrix(y, model.predict(x).argmax(1)))
    longer: dict[str, Any] = {**options, "epochs": 50}
    stopped = model.fit(x, y, metrics=["f1"], callbacks=[cr.EarlyStopping(1, monitor="f1")], **longer)
    assert stopped["f1"][-1] <= max(stopped["f1"]) and len(stopped.loss) < 50


def test_a_hinge_says_yes_above_zero() -> None:
    x = RNG.normal(size=(40, 3))
    y = (x[:, :1] > 0.3).astype(float)
    model = cr.Sequential(cr.Input(3), cr.Dense(1), loss="hinge")
    model.fit(x, y, epochs=3, verbose=False, executor="numpy")
    found = model.evaluate(x, y, metrics=["precision"], executor="numpy")
    assert found["precision"] == pytest.approx(sk.precision_score(y, model.predict(x) > 0))
    np.testing.assert_array_equal(model.confusion_matrix(x, y), sk.confusion_matrix(y, model.predict(x) > 0))


def test_class_weights_are_those_of_scikit_learn_and_multiply_the_samples_own() -> None:
    truth = np.array([0, 0, 0, 0, 1, 2, 2])
    np.testing.assert_allclose(class_weights("balanced", truth, 3), compute_sample_weight("balanced", truth))
    np.testing.assert_array_equal(class_weights({"b": 5, 0: 2}, truth, 3, ("a", "b", "c")), [2, 2, 2, 2, 5, 1, 1])
    x = RNG.normal(size=(7, 4))
    options: dict[str, Any] = {"epochs": 2, "verbose": False, "executor": "numpy"}
    one, two, plain = (cr.Sequential(cr.Input(4), cr.Dense(3), loss="softmax_cross_entropy") for _ in range(3))
    own = RNG.uniform(size=7)
    one.fit(x, truth, class_weight={1: 3.0}, sample_weight=own, **options)
    two.fit(x, truth, sample_weight=own * [1, 1, 1, 1, 3, 1, 1], **options)
    plain.fit(x, truth, sample_weight=own, **options)
    np.testing.assert_allclose(one.parameters["dense1.W"], two.parameters["dense1.W"], rtol=1e-6)
    assert np.abs(one.parameters["dense1.W"] - plain.parameters["dense1.W"]).max() > 1e-3




@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"metrics": ["f2"]}, "there is no metric 'f2'"), ({"metrics": ["auc"]}, "about classes"),
        ({"class_weight": "balanced"}, "for classes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_with_its_fix(given: Any, problem: str) -> None:
    model = cr.Sequential(cr.Input(4), cr.Dense(2), loss="mean_squared_error")
    with pytest.raises(cr.ModelError, match=problem) as caught:
        model.fit(np.ones((5, 4)), np.ones((5, 2)), epochs=1, verbose=False, executor="numpy", **given)
    assert caught.value.fix
    with pytest.raises(cr.ModelError, match="names the class 7"):
        class_weights({7: 1.0}, np.array([0, 1]), 2)


@pytest.mark.parametrize("given", [[1, 2], (1, 2), np.ones(2), 1.0, "even"], ids=repr)
def test_class_weights_that_are_no_mapping_are_refused_with_the_fix(given: Any) -> None:
    with pytest.raises(cr.ModelError, match=r"class_weight is (.|\n)*balanced"):
        class_weights(given, np.array([0, 1]), 2)


@pytest.mark.parametrize("weight", ["2", True, -1, np.nan, np.inf, None, [2]], ids=repr)
def test_what_is_no_weight_of_a_class_is_refused(weight: Any) -> None:
    with pytest.raises(cr.ModelError, match=r"gives the class 0 the weight .*, which is no number from 0"):
        class_weights({0: weight}, np.array([0, 1]), 2)
    known: Any = {0: np.float32(2), 1: np.int8(3)}
    assert class_weights(known, np.array([0, 1]), 2).tolist() == [2, 3]


@pytest.mark.parametrize("given", [{"class_weight": {0: 0, 1: 0}}, {"sample_weight": np.zeros(10)}], ids=str)
def test_weights_that_are_all_0_are_refused(given: Any) -> None:
    model = cr.Sequential(cr.Input(4), cr.Dense(2), loss="softmax_cross_entropy")
    options: dict[str, Any] = {"epochs": 1, "verbose": False, "executor": "numpy"}
    with pytest.raises(cr.ModelError, match="all samples have the weight 0") as caught:
        model.fit(np.ones((10, 4)), [0, 1] * 5, validation_split=0.2, **given, **options)
    assert caught.value.fix
    model.fit(np.ones((10, 4)), [0, 1] * 5, class_weight={0: 0}, **options)



def test_a_watch_sees_dead_units_and_the_size_of_gradients_and_updates() -> None:
    x, y = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)
    model = cr.Sequential(cr.Input(4), cr.Dense(8), cr.ReLU(), cr.Dense(3), loss="softmax_cross_entropy")
    model.parameters["dense1.b"] = np.array([-100.0] * 6 + [1.0] * 2)
    before = np.array(model.parameters["dense2.W"])
    watch = cr.Watch(x, y)
    model.fit(x, y, epochs=1, batch_size=30, optimizer=cr.SGD(0.1), verbose=False, callbacks=[watch], executor="numpy")
    (row,) = watch.rows
    assert row["dead relu1"] == 0.75 and row["gradient dense1.b"] > 0
    after = model.parameters["dense2.W"]
    assert row["update dense2.W"] == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(after), rel=1e-5)
    assert row["gradient dense2.W"] == pytest.approx(np.linalg.norm(model.gradients(x, y)[1]["dense2.W"]), rel=1e-5)
    hidden = np.maximum(x @ model.parameters["dense1.W"].T + model.parameters["dense1.b"], 0)
    assert row["activation relu1"] == pytest.approx(np.sqrt((hidden**2).mean()), rel=1e-5)
    assert "dead relu1" in str(watch)
