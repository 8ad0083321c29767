"""The estimators: scikit-learn's own checks, its tools over them, and what their parameters do."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections import Counter
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import chainrule as cr
from chainrule.errors import ModelError
from chainrule.sklearn import ChainruleClassifier, ChainruleRegressor, from_sklearn

Estimator = type[ChainruleClassifier] | type[ChainruleRegressor]
BOTH = pytest.mark.parametrize("kind", [ChainruleClassifier, ChainruleRegressor])
# A row of weight 2 is one row of a mini-batch, and a row given twice is two, so that the batches behind it are others,
# and the mean is over other numbers of samples. scikit-learn lists both checks for its MLPs by the same reason.
# `test_a_weight_is_a_repetition_where_there_is_one_batch` holds what is true of weights.
WHY = "rows that are repeated make other mini-batches than rows that are weighted"
LISTED = {f"check_sample_weight_equivalence_on_{kind}_data": WHY for kind in ("dense", "sparse")}
ELSEWHERE = {"check_array_api_input"}  # needs SCIPY_ARRAY_API set before SciPy is imported


def small(kind: Any = ChainruleClassifier, **options: Any) -> Any:
    given = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 8, "random_state": 0}
    return kind(**{**given, "executor": "numpy", **options})


@pytest.fixture(autouse=True)
def short(recwarn: pytest.WarningsRecorder) -> None:
    """Runs of a few epochs warn that they are short."""
    warnings.simplefilter("ignore", ConvergenceWarning)


def data(kind: Estimator, samples: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 4))
    score = x[:, 0] - 2 * x[:, 1] + 0.5 * x[:, 2] ** 2
    return x, np.array(["low", "mid", "top"])[np.digitize(score, [-1, 1])] if kind is ChainruleClassifier else score


def verdicts(made: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"failed": set(), "xfail": set(), "skipped": set(), "passed": set()}
    for check in check_estimator(made, expected_failed_checks=LISTED, on_fail=None, on_skip=None):
        found[check["status"]].add(check["check_name"])
    return found


@BOTH
def test_every_check_of_scikit_learn_passes_but_two(kind: Estimator) -> None:
    found = verdicts(small(kind, max_iter=12))
    assert (found["failed"], found["xfail"], found["skipped"]) == (set(), set(LISTED), ELSEWHERE)
    assert len(found["passed"]) > 45


@pytest.mark.campaign
@BOTH
def test_every_check_passes_with_native_code_and_the_defaults(kind: Estimator) -> None:
    found = verdicts(kind())
    assert (found["failed"], found["xfail"], found["skipped"]) == (set(), set(LISTED), ELSEWHERE)


def test_a_check_that_fails_is_seen() -> None:
    class Wrong(ClassifierMixin, BaseEstimator):
        def fit(self, X: Any, y: Any) -> Wrong:
            return self

    assert "check_classifiers_train" in verdicts(Wrong())["failed"]


@BOTH
def test_a_weight_is_a_repetition_where_there_is_one_batch(kind: Estimator) -> None:
    """By gradient descent, at a rate that counts the samples of both means."""
    (x, y), times = data(kind), np.arange(60) % 3
    options: dict[str, Any] = {
        "alpha": 0.0, "batch_size": 1000, "dtype": "float64", "momentum": 0.0, "solver": "sgd", "standardise": False,
    }  # fmt: skip
    weighted = small(kind, **options).fit(x, y, times)
    rows = np.repeat(np.arange(60), times)
    repeated = small(kind, **options | {"learning_rate_init": 0.02 * len(rows) / 60}).fit(x[rows], y[rows])
    assert differ(weighted, repeated) < 1e-12
    assert differ(weighted, small(kind, **options).fit(x, y)) > 1e-4


def pickled(made: Any) -> Any:
    return pickle.loads(pickle.dumps(made))  # noqa: S301


def differ(one: Any, other: Any) -> float:
    arrays = one.model_.parameters, other.model_.parameters
    return max(float(np.abs(arrays[0][name] - arrays[1][name]).max()) for name in arrays[0])


# scikit-learn's tools


@BOTH
def test_it_is_cloned_pickled_and_copied(kind: Estimator) -> None:
    x, y = data(kind)
    made = small(kind, layers=[cr.Dense(5), "tanh"], solver=cr.Adam(cr.cosine(0.02, 20))).fit(x, y)
    for again in (pickled(made), copy.deepcopy(made)):
        assert np.array_equal(again.predict(x), made.predict(x))
        assert again.loss_curve_ == made.loss_curve_ and again.model_.training.steps == made.model_.training.steps
    fresh: Any = clone(made)
    assert not hasattr(fresh, "model_") and fresh.get_params()["solver"] == made.solver
    with pytest.raises(NotFittedError):
        fresh.predict(x)
    assert differ(fresh.fit(x, y), made) == 0  # what the layers have learnt is not the parameter's
    assert differ(made, small(kind).set_params(**made.get_params()).fit(x, y)) == 0


def test_pipelines_searches_and_folds_in_processes_and_threads() -> None:
    x, y = data(ChainruleClassifier, 120)
    pipe = make_pipeline(StandardScaler(), small(max_iter=15))
    alone = cross_val_score(pipe, x, y, cv=3)
    assert np.array_equal(cross_val_score(pipe, x, y, cv=3, n_jobs=2), alone) and alone.mean() > 0.6
    with joblib.parallel_backend("threading", n_jobs=2):
        assert np.array_equal(cross_val_score(pipe, x, y, cv=3), alone)
    rate, sizes = "chainruleclassifier__learning_rate_init", "chainruleclassifier__hidden_layer_sizes"
    search: Any = GridSearchCV(pipe, {rate: [1e-6, 0.02], sizes: [4, (8,)]}, cv=3, n_jobs=2).fit(x, y)
    assert search.best_params_[rate] == 0.02
    assert search.score(x, y) > 0.6


def frame(samples: int = 240) -> pd.DataFrame:
    """Numbers, texts and gaps; what is to be told depends on both a number and a text."""
    rng = np.random.default_rng(3)
    age, port = rng.normal(40, 12, samples), rng.choice(["north", "south", "west"], samples)
    sank = (age > 40) ^ (port == "west")
    fare, deck = rng.lognormal(3, 1, samples), rng.integers(1, 5, samples)
    table = pd.DataFrame({"age": age, "port": port, "fare": fare, "deck": deck})
    table.loc[rng.random(samples) < 0.1, "fare"] = np.nan
    table.loc[rng.random(samples) < 0.1, "deck"] = np.nan
    return table.assign(sank=np.where(sank, "yes", "no"))


def mixed_table(path: Any) -> Any:
    table = pd.read_csv(path)
    x, y = table.drop(columns="sank"), table["sank"]
    model = ChainruleClassifier((16,), learning_rate_init=0.02, max_iter=60, random_state=0)
    return cross_val_score(model, x, y, cv=5, scoring="balanced_accuracy")


@pytest.mark.filterwarnings("ignore:.*missing")
def test_a_mixed_table_in_five_folds_takes_few_lines(tmp_path: Any) -> None:
    frame().to_csv(tmp_path / "table.csv", index=False)
    assert len(inspect.getsource(mixed_table).splitlines()) - 1 <= 10
    scores = mixed_table(tmp_path / "table.csv")
    assert len(scores) == 5 and scores.mean() > 0.85


@pytest.mark.filterwarnings("ignore:.*missing")
def test_columns_of_a_frame_have_names_and_an_order() -> None:
    table = frame(80)
    x, y = table.drop(columns="sank"), table["sank"]
    made = small(max_iter=2).fit(x, y)
    assert list(made.feature_names_in_) == list(x.columns) and made.n_features_in_ == 4
    assert set(made.predict(x)) <= {"no", "yes"} and made.input_gradients(x, y).shape == (80, 6)  # three ports
    for wrong in (x[["port", "age", "fare", "deck"]], x.rename(columns={"age": "years"})):
        with pytest.raises(ValueError, match="feature names"):
            made.predict(wrong)
    numbers = x[["age", "deck"]].fillna(0)
    made = small(max_iter=2).fit(numbers, y)
    with pytest.raises(ValueError, match=r"column 2 \(deck\) of x is empty"):
        made.predict(x[["age", "deck"]])
    with pytest.raises(ValueError, match="0 sample"):
        small(max_iter=2).fit(x, y).predict(x[:0])
    assert differ(made, small(max_iter=2).fit(numbers.to_numpy(), y)) == 0


def test_sparse_samples_are_those_that_they_stand_for() -> None:
    x, y = data(ChainruleClassifier)
    x[np.abs(x) < 0.7] = 0
    one, other = small().fit(csr_array(x), y), small().fit(x, y)
    assert differ(one, other) == 0
    assert np.array_equal(one.predict_proba(csr_array(x)), other.predict_proba(x))


# How it trains


@BOTH
def test_five_iterations_and_five_are_ten(kind: Estimator) -> None:
    x, y = data(kind)
    whole = small(kind, max_iter=10, dropout=0.2).fit(x, y)
    made = small(kind, max_iter=5, dropout=0.2, warm_start=True).fit(x, y)
    assert made.n_iter_ == 5 and differ(made, whole) > 0
    made.fit(x, y)
    assert made.n_iter_ == 10 and made.loss_curve_ == whole.loss_curve_ and differ(made, whole) == 0
    made = small(kind, max_iter=5, dropout=0.2).fit(x, y)
    assert made.fit(x, y).n_iter_ == 5  # without warm_start it begins anew


@BOTH
def test_partial_fit_goes_on_over_what_it_is_given(kind: Estimator) -> None:
    x, y = data(kind)
    classes = [np.unique(y)] if kind is ChainruleClassifier else []
    made, whole = small(kind), small(kind, max_iter=6).fit(x, y)
    for _ in range(6):
        made.partial_fit(x, y, *classes)
    assert made.loss_curve_ == whole.loss_curve_ and differ(made, whole) == 0
    made.partial_fit(x[:7], y[:7])
    assert made.n_iter_ == 7
    with pytest.raises(ValueError, match="features"):
        made.partial_fit(x[:, :3], y)


def test_classes_are_those_of_the_first_call() -> None:
    x, y = data(ChainruleClassifier)
    with pytest.raises(ValueError, match="classes must be passed"):
        small().partial_fit(x, y)
    made = small().partial_fit(x[:5], y[:5], ["low", "mid", "top", "never"])
    assert made.predict_proba(x).shape == (60, 4) and list(made.classes_) == ["low", "mid", "never", "top"]
    with pytest.raises(ValueError, match="the class 'odd', which is none of"):
        made.partial_fit(x[:1], ["odd"])
    with pytest.raises(ValueError, match="and were"):
        made.partial_fit(x, y, ["low", "mid"])
    warm = small(warm_start=True, max_iter=2).fit(x, y)
    with pytest.raises(ValueError, match="none of"):
        warm.fit(x, np.where(y == "top", "new", y))


@pytest.mark.parametrize("changed", [{"hidden_layer_sizes": (5,)}, {"alpha": 0.5}, {"activation": "tanh"}])
def test_what_a_network_is_made_of_does_not_change_when_it_goes_on(changed: dict[str, Any]) -> None:
    x, y = data(ChainruleRegressor, 40)
    made = small(ChainruleRegressor, warm_start=True, max_iter=2).fit(x, y)
    made.set_params(**changed)
    with pytest.raises(ValueError, match=f"{next(iter(changed))} was .* when the network was made"):
        made.fit(x, y)
    with pytest.raises(ValueError, match="when the network was made"):
        made.partial_fit(x, y)
    assert made.set_params(warm_start=False).fit(x, y).n_iter_ == 2
    made.set_params(warm_start=True, learning_rate_init=0.01, hidden_layer_sizes=list(made.hidden_layer_sizes))
    assert made.fit(x, y).n_iter_ == 4  # how it is trained may change


@BOTH
def test_it_stops_early_and_keeps_the_best(kind: Estimator) -> None:
    x, y = data(kind, 150)
    made = small(kind, max_iter=300, early_stopping=True, n_iter_no_change=4, validation_fraction=0.2).fit(x, y)
    assert made.n_iter_ == len(made.validation_scores_) == len(made.loss_curve_) < 300
    assert made.loss_ == made.loss_curve_[-1] and made.best_validation_score_ in made.validation_scores_
    assert 0 <= max(made.validation_scores_) - made.best_validation_score_ <= made.tol
    train, test = made._held(y)
    assert len(test) == 30 and sorted([*train, *test]) == list(range(150))
    score = accuracy_score if kind is ChainruleClassifier else r2_score
    assert score(y[test], made.predict(x[test])) == pytest.approx(made.best_validation_score_, abs=1e-6)
    if kind is ChainruleClassifier:
        assert max(abs(n - Counter(y)[c] / 5) for c, n in Counter(y[test]).items()) <= 1
    assert small(kind).fit(x, y).validation_scores_ is None


def test_it_ends_where_the_loss_no_longer_falls_and_says_where_it_still_does() -> None:
    x, y = data(ChainruleClassifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        made = small(max_iter=500, tol=0.02, n_iter_no_change=3).fit(x, y)
    assert made.n_iter_ < 500
    best = np.minimum.accumulate(made.loss_curve_)
    assert best[-4] - best[-1] < 0.02 and len(made.loss_curve_) == made.n_iter_
    with pytest.warns(ConvergenceWarning, match="8 epochs are over"):
        small().fit(x, y)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_what_is_learnt() -> None:
    x, y = data(ChainruleClassifier)

    def rate(step: int) -> float:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.01

    for batch, epochs in ((20, 1), (5, 0)):  # of 3 steps, and of 12
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            made = small(solver=cr.Adam(rate), batch_size=batch).fit(x, y)
        assert made.n_iter_ == len(made.loss_curve_) == epochs and np.isfinite(made.loss_) == bool(epochs)
        assert made.predict(x).shape == (60,)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("several", [1, 2, 3])
def test_input_gradients_are_those_of_central_differences(several: int, standardise: bool) -> None:
    """Of each sample's own loss: two classes, three, and a regression."""
    kind = ChainruleRegressor if several == 1 else ChainruleClassifier
    x, y = data(kind, 20)
    y = np.where(y == "top", "mid", y) if several == 2 else y
    made = small(kind, dtype="float64", activation="tanh", standardise=standardise, alpha=0.3).fit(x, y)

    def losses(x: Any) -> np.ndarray:
        if several == 1:
            return ((made.predict(x) - y) / made._scale) ** 2
        return -np.log(made.predict_proba(x)[np.arange(20), np.searchsorted(made.classes_, y)])

    found, step = made.input_gradients(x, y), 1e-6
    for column in range(4):
        change = step * np.eye(4)[column]
        wanted = (losses(x + change) - losses(x - change)) / (2 * step)
        assert np.abs(found[:, column] - wanted).max() < 1e-7 * max(1, np.abs(wanted).max())


# What it learns


def test_several_labels_of_a_sample() -> None:
    given: Any = make_multilabel_classification(150, 6, n_classes=3, random_state=0)
    x, y = given
    made = small(max_iter=60).fit(x, y)
    found = made.predict_proba(x)
    assert found.shape == (150, 3) and np.array_equal(made.predict(x), (found > 0.5).astype(int))
    assert made.decision_function(x).shape == (150, 3) and made.score(x, y) > 0.5
    assert made.model_.loss.name == "binary_cross_entropy" and list(made.classes_) == [0, 1, 2]
    early = small(max_iter=5, early_stopping=True, validation_fraction=0.3).fit(x, y)
    assert len(early.validation_scores_) == 5


NUMBERS = {"name": "mean_squared_error", "made": cr.mean_squared_error(mean=0.5, deviation=2.0)}


@pytest.mark.parametrize("loss", [*NUMBERS.values(), "e[n] = sum[k]((u[n,k]-t[n,k])**2)"], ids=[*NUMBERS, "text"])
def test_a_loss_of_numbers_tells_classes_apart(loss: Any) -> None:
    """Its targets are 0 and 1: an output of 1/3 says no."""
    x, y = data(ChainruleRegressor, 200)
    high = y > np.median(y)
    made = small(max_iter=30, batch_size=20, loss=loss).fit(x, high)
    assert made.score(x, high) > 0.9 and np.array_equal(made.predict(x), made.decision_function(x) > 0)
    assert not hasattr(made, "predict_proba")
    if loss in NUMBERS.values():
        both = np.stack([high, ~high], axis=1)
        assert np.mean(small(max_iter=30, batch_size=20, loss=loss).fit(x, both).predict(x) == both) > 0.9


def test_targets_may_be_sparse_and_are_one_class_or_yes_and_no() -> None:
    x, y = data(ChainruleRegressor)
    for kind in (ChainruleClassifier, ChainruleRegressor):
        labels = np.stack([y > 0, y > 1], axis=1).astype(int)
        found = [small(kind, max_iter=3).fit(x, given).predict(x) for given in (labels, csr_matrix(labels))]
        assert np.array_equal(*found)
    with pytest.raises(ValueError, match="use MultiOutputClassifier"):
        small().fit(x, np.arange(120).reshape(60, 2) % 3)


def test_a_column_of_a_nullable_type_has_gaps() -> None:
    x, y = data(ChainruleClassifier)
    holed = pd.DataFrame(np.where(x > 1, np.nan, x), columns=list("abcd"))
    found = [small(max_iter=3).fit(given, y).predict_proba(given) for given in (holed, holed.astype("Float64"))]
    assert np.array_equal(*found)


def test_several_numbers_of_a_sample() -> None:
    x, y = data(ChainruleRegressor, 100)
    both = np.stack([y, 1e4 - 100 * y], axis=1)
    made = small(ChainruleRegressor, max_iter=80).fit(x, both)
    assert made.predict(x).shape == (100, 2) and made.score(x, both) > 0.9
    assert small(ChainruleRegressor, max_iter=2).fit(x, y[:, None]).predict(x).shape == (100,)


def test_two_classes_in_every_way() -> None:
    x, y = data(ChainruleClassifier, 120)
    y = y == "top"
    for loss, outputs in ((None, 1), ("softmax_cross_entropy", 2), ("hinge", 1), ("multiclass_hinge", 2)):
        made = small(max_iter=40, loss=loss).fit(x, y)
        assert made.model_.network.logits.shape[1] == outputs and made.score(x, y) > 0.85
        score = made.decision_function(x)
        assert score.shape == (120,) and np.array_equal(made.predict(x), score > 0)
        assert hasattr(made, "predict_proba") == ("entropy" in str(loss) or loss is None)
        if hasattr(made, "predict_proba"):
            assert np.abs(made.predict_proba(x)[:, 1] - 1 / (1 + np.exp(-score))).max() < 1e-6
            assert np.array_equal(made.predict_log_proba(x), np.log(made.predict_proba(x)))
    single = small(max_iter=2).fit(x, np.zeros(120))
    assert single.predict_proba(x).shape == (120, 1) and set(single.predict(x)) == {0}


@BOTH
def test_a_row_of_weight_0_is_not_there(kind: Estimator) -> None:
    """Its target is anything."""
    x, y = data(kind)
    weight = np.where(np.arange(60) < 45, 1.5, 0.0)
    other = np.where(weight == 0, y[0], y)
    far = np.where(weight[:, None] == 0, 1e6, x)
    for standardise in (False, True):
        options: dict[str, Any] = {"standardise": standardise, "solver": "sgd"}
        one, two = (small(kind, **options).fit(x, target, weight) for target in (y, other))
        assert differ(one, two) == 0
        assert differ(one, small(kind, **options).fit(x, y)) > 0
    assert differ(one, small(kind, **options).fit(far, y, weight)) == 0
    with pytest.raises(ValueError, match=r"(?i)negative"):
        small(kind).fit(x, y, -weight)


def test_weights_of_classes_are_weights_of_samples() -> None:
    x, y = data(ChainruleClassifier, 200)
    rare = np.where((y == "top") & (np.arange(200) % 4 == 0), "top", "low")
    plain, balanced = (small(max_iter=15, class_weight=each).fit(x, rare) for each in (None, "balanced"))
    recalls = [(made.predict(x)[rare == "top"] == "top").mean() for made in (plain, balanced)]
    assert recalls[0] < recalls[1]
    given = small(class_weight={"top": 5.0, "low": 0.5}).fit(x, rare, np.full(200, 2.0))
    assert differ(given, small().fit(x, rare, np.where(rare == "top", 10.0, 1.0))) == 0
    with pytest.raises(ValueError, match="class_weight is for classes"):
        small(ChainruleRegressor, class_weight="balanced").fit(x, x[:, 0])


# chainrule's vocabulary


class Scale(cr.Layer):
    """A layer of one's own."""

    equation = "y[n, k] = g[k] * x[n, k]"
    init = {"g": cr.ones("k")}  # noqa: RUF012


def network(inputs: int, outputs: int) -> cr.Model:
    x = cr.Input(inputs)
    beside = cr.Concat()(x, Scale()(cr.Tanh()(cr.Dense(6)(x))))
    return cr.Model(x, cr.Dense(outputs)(beside), loss="softmax_cross_entropy")


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"class_weight": "balanced"}])
def test_partial_fit_refuses_what_takes_all_rows(options: dict[str, Any]) -> None:
    x, y = data(ChainruleClassifier)
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*partial_fit|partial_fit.*{next(iter(options))}"):
        small(**options).partial_fit(x, y, np.unique(y))


@pytest.mark.parametrize(("x", "told"), [(np.linspace(0, 1, 240).reshape(60, 4), 0), (1e6, 1), (1e9, 1), (1e3, 0)])
def test_numbers_that_float32_hardly_tells_apart_are_told(x: Any, told: int) -> None:
    near, y = data(ChainruleClassifier)[0] * 1e-2 + x, data(ChainruleClassifier)[1]
    for dtype, wanted in (("float32", told), ("float64", 0)):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            small(max_iter=2, dtype=dtype).fit(near, y)
        assert sum("hardly tells" in str(one.message) for one in found) == wanted


def test_layers_losses_and_networks_of_ones_own() -> None:
    x, y = data(ChainruleClassifier, 120)
    made = small(layers=[cr.Dense(6), Scale(), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.1)], max_iter=40).fit(x, y)
    kinds = [type(layer).__name__ for _, layer in made.model_.network.layers]
    assert kinds == ["Standardise", "Dense", "Scale", "BatchNorm", "Tanh", "Dropout", "Dense"]
    assert made.score(x, y) > 0.8
    assert made.model_.derive().to_text()
    made = small(network=network, max_iter=60, early_stopping=True).fit(x, y)
    assert made.score(x, y) > 0.7 and np.array_equal(pickled(made).predict(x), made.predict(x))
    own = "loss = mean[n](sum[k]((sigmoid(u[n, k]) - t[n, k])**2))"
    made = small(loss=own, max_iter=60, standardise=False).fit(x, y)
    assert made.score(x, y) > 0.7 and not hasattr(made, "predict_proba")
    x, y = data(ChainruleRegressor, 120)
    made = small(ChainruleRegressor, loss=cr.huber(delta=0.5), max_iter=60, dropout=0.05).fit(x, y)
    assert made.score(x, y) > 0.8
    assert [type(layer).__name__ for _, layer in made.model_.network.layers][1:4] == ["Dense", "ReLU", "Dropout"]


def test_parameters_mean_what_they_mean_in_scikit_learn() -> None:
    x, y = data(ChainruleClassifier)
    sizes = np.array([7, 3])
    made = small(hidden_layer_sizes=sizes, activation="logistic", standardise=False, batch_size=16, alpha=0.32)
    made.fit(x, y)
    assert [array.shape for array in made.model_.parameters.values()] == [(7, 4), (7,), (3, 7), (3,), (3, 3), (3,)]
    assert [type(layer).__name__ for _, layer in made.model_.network.layers][1] == "Sigmoid"
    assert made.model_.l2 == 0.02 and made.model_.training.steps == 8 * 4
    made = small(hidden_layer_sizes=(), activation="identity", solver="sgd", momentum=0.7).fit(x, y)
    assert made.model_.training.optimizer == cr.SGD(0.02, 0.7, nesterov=True)
    assert len(made.model_.network.layers) == 2  # Standardise, Dense
    made = small(beta_1=0.8, epsilon=1e-6, early_stopping=True, validation_fraction=0.5, alpha=0.3).fit(x, y)
    assert made.model_.training.optimizer == cr.Adam(0.02, 0.8, 0.999, 1e-6) and made.model_.l2 == 0.01
    assert differ(small(random_state=1).fit(x, y), small(random_state=2).fit(x, y)) > 0
    assert differ(small(shuffle=False, batch_size=20).fit(x, y), small(batch_size=20).fit(x, y)) > 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hidden_layer_sizes": 0}, "hidden_layer_sizes must be a positive whole number, not 0"),
    ({"hidden_layer_sizes": (4, 2.5)}, "not 2.5"),
    ({"hidden_layer_sizes": "4"}, "not '4'"),
    ({"activation": "rely"}, "did you mean 'relu'"),
    ({"solver": "lbfgs"}, "there is no solver 'lbfgs'"),
    ({"solver": "adagrab"}, "adagrad"),
    ({"alpha": -1.0}, "alpha must be"),
    ({"batch_size": 0}, "batch_size must be a positive whole number"),
    ({"learning_rate_init": 0.0}, "the rate must be a positive number"),
    ({"max_iter": 0}, "max_iter must be a positive whole number"),
    ({"n_iter_no_change": 0}, "n_iter_no_change must be"),
    ({"tol": -1.0}, "tol must be"),
    ({"shuffle": "yes"}, "shuffle is True, False"),
    ({"beta_1": 1.0}, "beta1 must be at least 0 and below 1"),
    ({"early_stopping": True, "validation_fraction": 1.5}, "early_stopping cannot hold out 1.5 of 60 samples"),
    ({"dropout": 1.5}, "(?i)dropout|rate"),
    ({"layers": [cr.Dense]}, "Dense is a class"),
    ({"network": lambda inputs, outputs: None}, "network gives None, no model"),
    ({"loss": "log_loss"}, "log_loss"),
    ({"dtype": "float16"}, "the dtype is 'float32' or 'float64'"),
    ({"executor": "tpu"}, "unknown executor 'tpu'"),
    ({"workers": 0}, "workers must be a positive whole number"),
    ({"class_weight": "even"}, "class_weight"),
    ({"random_state": "x"}, "seed"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[next(reversed(o)) + str(n) for n, (o, _) in enumerate(WRONG)])
def test_a_wrong_parameter_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small(**options).fit(*data(ChainruleClassifier))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(cr.DivergenceError, match="the loss became"):
        small(ChainruleRegressor, solver=cr.SGD(1e6), max_iter=60).fit(*data(ChainruleRegressor))


# From scikit-learn


KINDS = ["binary", "several", "multilabel", "regression", "regressions"]
ACTIVATIONS = ["tanh", "logistic", "identity"]


@pytest.mark.parametrize(
    ("kind", "activation"), [*((kind, "relu") for kind in KINDS), *(("several", each) for each in ACTIVATIONS)]
)
def test_a_fitted_perceptron_is_taken_over_exactly(kind: str, activation: str) -> None:
    x, y = data(ChainruleRegressor if "regression" in kind else ChainruleClassifier, 80)
    targets = {"binary": y == "top", "several": y, "multilabel": x[:, :3] > 0, "regression": y, "regressions": x[:, :2]}
    made: Any = MLPRegressor if "regression" in kind else MLPClassifier
    mlp = made(hidden_layer_sizes=(7, 5), activation=activation, max_iter=30, random_state=0).fit(x, targets[kind])
    model = cr.from_sklearn(mlp)
    wanted = mlp.predict(x) if "regression" in kind else mlp.predict_proba(x)
    found = model.predict(x)
    found = np.hstack([1 - found, found]) if kind == "binary" else found.reshape(wanted.shape)
    assert model.dtype == np.float64 and np.abs(found - wanted).max() <= 1e-12
    if kind in ("binary", "several"):
        assert np.array_equal(model.classify(x), np.asarray(mlp.predict(x)).astype(model.classify(x).dtype))
    if kind == "multilabel":
        assert np.array_equal(model.classify(x), mlp.predict(x))
    loss = model.evaluate(x, targets[kind])["loss"]
    assert loss > 0 and model.l2 == 1e-4 / 80
    again = from_sklearn(mlp, dtype="float32")
    again.fit(x, targets[kind], epochs=30, batch_size=80, optimizer=cr.Adam(0.01), verbose=False, executor="numpy")
    assert again.evaluate(x, targets[kind])["loss"] < loss


def test_what_is_no_fitted_perceptron_is_refused() -> None:
    x, y = data(ChainruleRegressor)
    piped = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(3,), max_iter=2)).fit(x, y)
    for wrong, said in ((ChainruleClassifier(), "no MLPClassifier"), (3, "int is no MLPClassifier or MLPRegressor"),
                        (MLPClassifier(), "not fitted"), (piped, r"pipeline\[-1\]")):
        with pytest.raises(ModelError, match=said):
            from_sklearn(wrong)
    mlp = MLPRegressor(hidden_layer_sizes=(3,), loss="poisson", max_iter=3, random_state=0).fit(x, np.abs(y))
    with pytest.raises(ModelError, match="there is no loss for the outputs"):
        from_sklearn(mlp)
    by_lines = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=3, random_state=0).fit(x, y)
    assert np.abs(from_sklearn(by_lines).predict(x)[:, 0] - by_lines.predict(x)).max() <= 1e-12


def test_scikit_learn_is_imported_when_it_is_needed() -> None:
    code = "import sys, chainrule; assert 'sklearn' not in sys.modules; sys.modules['sklearn'] = None\n"
    code += "chainrule.from_sklearn"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'ImportError: scikit-learn is not installed: pip install "chainrule[sklearn]"' in said.stderr


@pytest.mark.campaign
def test_digits_are_read_as_well_as_by_scikit_learn() -> None:
    x, y = load_digits(return_X_y=True)
    ours, theirs = (
        cross_val_score(made(hidden_layer_sizes=(64,), max_iter=60, random_state=0), x, y, cv=5, n_jobs=2).mean()
        for made in (ChainruleClassifier, MLPClassifier)
    )
    assert ours > theirs - 0.01
