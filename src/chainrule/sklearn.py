"""scikit-learn estimators: a network as a classifier or a regressor, for pipelines, searches and cross-validation.

    from chainrule.sklearn import ChainruleClassifier

    ChainruleClassifier(hidden_layer_sizes=(64,), dropout=0.2).fit(X, y).score(X, y)

Parameters that MLPClassifier has mean what they mean there; the others are chainrule's. They need the extra `sklearn`.
"""
# scikit-learn has no types, and what estimators share with its own is in names with an underscore.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportPrivateUsage=false, reportUntypedBaseClass=false

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
except ImportError:
    raise ImportError('scikit-learn is not installed: pip install "chainrule[sklearn]"') from None
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from chainrule.errors import ModelError
from chainrule.nn.dense import Dense
from chainrule.nn.dropout import Dropout
from chainrule.nn.layer import Input, Layer
from chainrule.nn.losses import Loss, loss_named
from chainrule.nn.standardise import Standardise
from chainrule.optim.adam import Adam
from chainrule.optim.named import optimizer_named
from chainrule.optim.optimizer import Optimizer, check_not_negative
from chainrule.optim.sgd import SGD
from chainrule.options import several
from chainrule.train.assembled import FEW
from chainrule.train.callbacks import EarlyStopping
from chainrule.train.columns import Columns, Target, encoded
from chainrule.train.learn import inputs_of
from chainrule.train.model import Model
from chainrule.train.runners import Executor, check_count
from chainrule.train.sequential import Sequential
from chainrule.train.table import dense, plain

Array = NDArray[Any]
MOST = 200  # samples in a batch, unless another number is asked for
MAKE = ("hidden_layer_sizes", "activation", "alpha", "dropout", "layers", "network", "loss", "standardise", "dtype")
OURS = {"logistic": "sigmoid"}
"""What is called otherwise in scikit-learn; its "identity" is no layer."""


class _Estimator(BaseEstimator):
    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        dropout: float = 0.0,
        layers: Sequence[Layer | str] | Layer | str | None = None,
        network: Callable[[int, int], Model] | None = None,
        loss: str | Loss | None = None,
        standardise: bool = True,
        class_weight: str | Mapping[Any, float] | None = None,
        dtype: str = "float32",
        executor: Executor | None = None,
        workers: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.dropout = dropout
        self.layers = layers
        self.network = network
        self.loss = loss
        self.standardise = standardise
        self.class_weight = class_weight
        self.dtype = dtype
        self.executor: Executor | None = executor
        self.workers = workers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # What a subclass says of its targets

    _score = "accuracy"
    _outputs = 1
    _default_loss = "mean_squared_error"

    def _learn(self, y: Array, classes: Array | None, weight: Array | None) -> None:
        """Take in what there is to know of the targets, and the classes where they are given."""
        raise NotImplementedError

    def _coded(self, y: Array) -> Array:
        """The targets as the network learns them."""
        raise NotImplementedError

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train until the loss, with `early_stopping` the score of what is held out, has not become better by `tol` for
        `n_iter_no_change` epochs, or for `max_iter` epochs. With `warm_start` it goes on where the last call ended.

        X is an array or a sparse matrix (n, features), or a data frame, whose texts and gaps are inputs as well. Raises
        ValueError for data and parameters that cannot be used.
        """
        return self._train(X, y, sample_weight, begins=not (self.warm_start and hasattr(self, "model_")))

    def _train(
        self, X: Any, y: Any, sample_weight: Any, *, begins: bool, once: bool = False, classes: Array | None = None
    ) -> Self:
        for name in ("alpha", "tol"):
            check_not_negative(self, name, "1e-4")
        if once and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: one epoch has nothing to stop")
        if once and isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} is not for partial_fit, which sees some rows of each class: give "
                "class_weight={class: weight}, or a sample_weight"
            )
        if not begins:
            self._check_makes_it_still()
        rows, y = self._given(X, y, begins)
        weight = self._weight(sample_weight, y, rows)
        if begins:
            self._learn(y, classes, weight)
        options: dict[str, Any] = {"epochs": 1}
        watched = "loss"
        if self.early_stopping and not once:
            train, test = self._held(y)
            apart = _safe_indexing(rows, test), self._coded(y[test])
            options["validation_data"] = apart if weight is None else (*apart, weight[test])
            options["metrics"], watched = [self._score], f"val_{self._score}"
            rows, y, weight = _safe_indexing(rows, train), y[train], None if weight is None else weight[train]
        batch = min(MOST if self.batch_size == "auto" else _whole("batch_size", self.batch_size, MOST), len(y))
        seed = None
        if begins:
            seed = self._drawn()
            self.model_, self._makes = self._made(rows, batch, seed), self._making()
            self.loss_curve_ = list[float]()
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        stop = EarlyStopping(
            _whole("n_iter_no_change", self.n_iter_no_change, 10), monitor=watched, min_delta=float(self.tol),
            restore_best=bool(self.early_stopping),
        )
        if not once:
            options |= {"epochs": _whole("max_iter", self.max_iter, 200), "callbacks": [stop]}
        history = self.model_.fit(
            rows, self._coded(y), batch_size=batch, optimizer=self._optimizer(), sample_weight=weight,
            shuffle=self.shuffle, verbose=bool(self.verbose), executor=self.executor, workers=self.workers,
            seed=seed, **options,
        )
        self.loss_curve_ += history.loss
        self.n_iter_, self.loss_ = len(self.loss_curve_), self.loss_curve_[-1] if self.loss_curve_ else math.nan
        if watched != "loss":
            self.validation_scores_ = (self.validation_scores_ or []) + history[watched]
            self.best_validation_score_ = -stop.memory.get("best", math.nan)  # of the parameters that are kept
        if history.interrupted:
            further = "call fit again" if self.warm_start else "with warm_start=True another fit goes on"
            warnings.warn(f"training was interrupted: {further}", ConvergenceWarning, stacklevel=3)
        elif not (once or history.stopped):
            warnings.warn(
                f"{self.max_iter} epochs are over, and the {watched} still becomes better: give a larger max_iter",
                ConvergenceWarning, stacklevel=3,
            )
        return self

    def _given(self, X: Any, y: Any, begins: bool) -> tuple[Any, Array]:
        """The samples, as an array or, where texts or gaps are among them, the frame that they are; the targets."""
        options: dict[str, Any] = {"dtype": (np.float32, np.float64), "accept_sparse": True, "reset": begins}
        y = dense(y)
        if _is_mixed(X):
            rows, y = self._frame(X, begins), _check_y(y, multi_output=True, estimator=self)
            check_consistent_length(rows, y)
        else:
            rows, y = validate_data(self, X, y, multi_output=True, **options)
            rows = dense(rows)
        return rows, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _frame(self, X: Any, begins: bool) -> Any:
        _check_feature_names(self, X, reset=begins)
        _check_n_features(self, X, reset=begins)
        return X

    def _rows(self, X: Any) -> Array:
        """Samples to predict, as the network is given them."""
        check_is_fitted(self, "model_")
        if _is_mixed(X) or self.model_.columns is not None:
            if not len(X):
                raise ValueError(f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
            return encoded(self.model_.columns, self._frame(X, False))
        return dense(validate_data(self, X, accept_sparse=True, dtype=(np.float32, np.float64), reset=False))

    def _ran(self, X: Any, *, linked: bool) -> Array:
        """The outputs for samples, before the loss's link or behind it. A sample has the same bits alone as among
        others: a few are run by the code for many."""
        rows = self._rows(X)
        many = rows if len(rows) >= FEW else rows[np.resize(np.arange(len(rows)), FEW)]
        run = self.model_.predict if linked else self.model_.logits
        return run(many, executor=self.executor, workers=self.workers)[: len(rows)]

    def _weight(self, weight: Any, y: Array, rows: Any) -> Array | None:
        """The weights of samples, times those of their classes."""
        each = None
        if weight is not None:
            each = _check_sample_weight(weight, rows, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            balance = compute_sample_weight(self.class_weight, y)
            each = balance if each is None else each * balance
        return each

    def _held(self, y: Array) -> tuple[Array, Array]:
        """The rows that are trained on and those that are held out, of each class as many as of the others."""
        share, seed = float(self.validation_fraction), self._drawn()
        stratify = y if self._score == "accuracy" and y.ndim == 1 else None
        try:
            train, test = train_test_split(np.arange(len(y)), test_size=share, random_state=seed, stratify=stratify)
        except ValueError as error:
            raise ValueError(f"early_stopping cannot hold out {share} of {len(y)} samples: {error}") from None
        return np.asarray(train), np.asarray(test)

    def _drawn(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # The network

    def _made(self, rows: Any, batch: int, seed: int) -> Model:
        columns = inputs_of(rows) if _is_mixed(rows) else None
        inputs = rows.shape[1] if columns is None else len(columns.scaled)
        if self.network is not None:
            model = self.network(inputs, self._outputs)
            if not isinstance(model, Model):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ModelError(f"network gives {model!r}, no model", fix="return cr.Sequential(cr.Input(inputs), …)")
        else:
            first = [Standardise()] if self.standardise else []
            # Layers hold what they have learnt: each fit begins with copies.
            between = self._hidden() if self.layers is None else copy.deepcopy(several(self.layers))
            penalty = float(self.alpha) / batch  # MLPClassifier divides it by the samples of a batch
            model = Sequential(
                Input(inputs), *first, *between, Dense(self._outputs), loss=copy.deepcopy(self._loss), l2=penalty,
                seed=seed, dtype=self.dtype,
            )
        model.columns = columns
        return model

    def _making(self) -> dict[str, Any]:
        """The parameters that a network is made of."""
        found = {name: getattr(self, name) for name in MAKE}
        return {**found, "hidden_layer_sizes": [*several(self.hidden_layer_sizes)]}

    def _check_makes_it_still(self) -> None:
        """Refuse to go on with a network that is another than the parameters say now."""
        for name, value in self._making().items():
            if self._makes[name] != value:
                raise ValueError(
                    f"{name} was {self._makes[name]!r} when the network was made, and is {value!r}: training would go "
                    "on with the network as it was made; set it back, or fit with warm_start=False"
                )

    def _hidden(self) -> list[Layer | str]:
        sizes = self.hidden_layer_sizes
        found: list[Layer | str] = []
        for size in several(sizes):
            found.append(Dense(_whole("hidden_layer_sizes", size, 100)))
            if self.activation != "identity":
                found.append(OURS.get(self.activation, self.activation))
            if self.dropout:
                found.append(Dropout(self.dropout))
        return found

    @property
    def _loss(self) -> Loss:
        return loss_named(self.loss or self._default_loss)

    def _optimizer(self) -> Optimizer:
        rate = float(self.learning_rate_init)
        match self.solver:
            case "adam":
                return Adam(rate, self.beta_1, self.beta_2, self.epsilon)
            case "sgd":
                nesterov = bool(self.nesterovs_momentum) and self.momentum > 0
                return SGD(rate, self.momentum, nesterov)
            case "lbfgs":
                raise ModelError("there is no solver 'lbfgs'", fix='solver="adam", or any of chainrule\'s optimizers')
            case _:
                return optimizer_named(self.solver)

    def input_gradients(self, X: Any, y: Any) -> Array:
        """The gradient of each sample's loss with respect to what the network is given of it, (n, inputs)."""
        rows = self._rows(X)
        _, found = self.model_.gradients(rows, self._coded(np.asarray(y)))
        return found["input"] * len(found["input"])


def _is_mixed(X: Any) -> bool:
    """Whether this is a data frame with columns that are no numbers, or with gaps."""
    if not hasattr(X, "columns") or isinstance(X, np.ndarray):
        return hasattr(X, "column_names")
    kinds = [getattr(kind, "kind", "O") for kind in getattr(X, "dtypes", [])]
    if any(kind not in "biuf" for kind in kinds):
        return True
    return bool(X.isna().to_numpy().any())


def _whole(name: str, value: Any, example: int) -> int:
    check_count(name, value, example)
    return int(value)


class ChainruleClassifier(ClassifierMixin, _Estimator):
    """A network that tells classes apart: of two, of several, or, where y is (n, labels) of 0 and 1, any number of
    labels at once.

    As MLPClassifier's: `hidden_layer_sizes`, `activation` ("identity", "logistic", or any of chainrule's), `solver`
    ("adam", "sgd", or one of chainrule's optimizers with its schedule), `alpha`, `batch_size`, `learning_rate_init`,
    `max_iter`, `shuffle`, `random_state`, `tol`, `verbose`, `warm_start`, `momentum`, `nesterovs_momentum`,
    `early_stopping`, `validation_fraction`, `beta_1`, `beta_2`, `epsilon`, `n_iter_no_change`.

    chainrule's: `dropout` behind each activation; `layers`, those between the inputs and the last Dense, in place of
    hidden layers; or a whole `network`, a function (inputs, outputs) -> cr.Model; `loss`, whose targets are 0 and 1 for
    each class (one of your own is taken to work on logits, above 0 for yes); `class_weight`, "balanced" or
    class -> weight; `standardise`, by which the network scales its inputs as in the first rows that it is trained on;
    `dtype`, `executor` and `workers` as for `Model.fit`.

    `model_` is the network, a `cr.Model`: `model_.derive()`, `model_.save(path)`; it knows classes by their places in
    `classes_`. That, `loss_curve_`, `loss_`, `validation_scores_`, `best_validation_score_`, `n_iter_` (all epochs so
    far), `n_features_in_`, `feature_names_in_` are as elsewhere.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _learn(self, y: Array, classes: Array | None, weight: Array | None) -> None:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("each sample has several labels of more than two classes: use MultiOutputClassifier")
        self.multilabel_ = kind.startswith("multilabel")
        self.classes_ = np.unique(y) if classes is None else classes
        if self.multilabel_:
            self.classes_ = np.arange(y.shape[1])

    @property
    def _binary(self) -> bool:
        return self.multilabel_ or len(self.classes_) <= 2

    @property
    def _default_loss(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "binary_cross_entropy" if self._binary else "softmax_cross_entropy"

    @property
    def _outputs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        single = not self.multilabel_ and self._binary and self._loss.labels == "binary"
        return 1 if single else max(len(self.classes_), 2 - self.multilabel_)

    def _coded(self, y: Array) -> Array:
        if self.multilabel_:
            return np.asarray(y, np.float64)
        places = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[places] != y
        if unknown.any():
            raise ValueError(f"y has the class {y[unknown].tolist()[0]!r}, which is none of {self.classes_}")
        outputs = self._outputs
        if outputs == 1:
            return places[:, None].astype(np.float64)
        return places if self._loss.labels == "classes" else np.eye(outputs)[places]

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch over these rows. `classes` are all that will come, given with the first rows."""
        begins = not hasattr(self, "model_")
        if begins and classes is None and not type_of_target(y).startswith("multilabel"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = None if classes is None else np.unique(classes)
        if not begins and known is not None and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes are {known}, and were {self.classes_} on the first call to partial_fit")
        return self._train(X, y, sample_weight, begins=begins, once=True, classes=known)

    def decision_function(self, X: Any) -> Array:
        """The network's outputs before the loss's link, (n, classes), or (n,) of two classes: above 0 for the second.
        Where the loss is one of numbers, which are 0 and 1, 1/2 is taken away."""
        check_is_fitted(self, "model_")
        loss = self.model_.loss
        numbers = loss is not None and loss.term is not None and loss.labels == "numbers"
        found = self._ran(X, linked=numbers) - 0.5 * numbers
        if len(self.classes_) == 2 and found.shape[1] == 2 and not self.multilabel_:
            return found[:, 1] - found[:, 0]
        return found[:, 0] if found.shape[1] == 1 else found

    def predict(self, X: Any) -> Array:
        found = self.decision_function(X)
        if self.multilabel_:
            return (found.reshape(len(found), -1) > 0).astype(int)
        places = (found > 0).astype(int) if found.ndim == 1 else found.argmax(axis=1)
        return self.classes_[np.minimum(places, len(self.classes_) - 1)]

    def _has_probabilities(self) -> bool:
        if hasattr(self, "model_") and not (self.model_.loss and self.model_.loss.included):
            raise AttributeError(f"the loss {self.loss!r} gives no probabilities: call decision_function")
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes)."""
        found = self._ran(X, linked=True).astype(np.float64)
        if self.multilabel_:
            return found
        if found.shape[1] == 1:
            found = np.hstack([1 - found, found])[:, : len(self.classes_)]
        return found / found.sum(axis=1, keepdims=True)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class ChainruleRegressor(RegressorMixin, _Estimator):
    """A network that learns numbers: one for each sample, or where y is (n, outputs) several.

    Its parameters are those of `ChainruleClassifier`, with mean squared error as the loss unless another is given. With
    `standardise` it learns targets in units of their deviation, and gives them back in their own; `loss_` and what
    `model_` alone predicts are in those units.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    _score = "r2"

    def _learn(self, y: Array, classes: Array | None, weight: Array | None) -> None:
        if self.class_weight is not None:
            raise ValueError("class_weight is for classes: give fit a sample_weight")
        table = y.reshape(len(y), -1).astype(np.float64)
        self._outputs, self._single = table.shape[1], y.ndim == 1
        if weight is not None and weight.any():
            table = table[weight > 0]
        self._mean, deviation = (table.mean(axis=0), table.std(axis=0)) if self.standardise else (0.0, np.ones(1))
        self._scale = np.where(deviation > 0, deviation, 1.0)

    def _coded(self, y: Array) -> Array:
        return (y.reshape(len(y), -1).astype(np.float64) - self._mean) / self._scale

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over these rows."""
        return self._train(X, y, sample_weight, begins=not hasattr(self, "model_"), once=True)

    def predict(self, X: Any) -> Array:
        found = self._ran(X, linked=True) * self._scale + self._mean
        return found[:, 0] if self._single else found


def from_sklearn(mlp: Any, dtype: str | None = None) -> Sequential:
    """The network of a fitted MLPClassifier or MLPRegressor, with its weights: what it predicts are the probabilities
    or numbers of the other, what it `classify`es the labels. `dtype` is that of its weights unless given; native code
    trains in float32.

    Raises ModelError for anything else, where it is not fitted, or where it was fitted with another loss.
    """
    if not isinstance(mlp, (MLPClassifier, MLPRegressor)):
        last = isinstance(mlp, Pipeline) and isinstance(mlp[-1], (MLPClassifier, MLPRegressor))
        raise ModelError(
            f"a {type(mlp).__name__} is no MLPClassifier or MLPRegressor",
            fix="give pipeline[-1], whose inputs are what the steps before it make" if last else "",
        )
    if not hasattr(mlp, "coefs_"):
        raise ModelError(f"{mlp!r} is not fitted", fix="call its fit first")
    layers: list[Any] = [Input(int(mlp.coefs_[0].shape[0]))]
    for weights in mlp.coefs_:
        layers.append(Dense(int(weights.shape[1])))
        if weights is not mlp.coefs_[-1] and mlp.activation != "identity":
            layers.append(OURS.get(mlp.activation, mlp.activation))
    losses = {"softmax": "softmax_cross_entropy", "logistic": "binary_cross_entropy", "identity": "half_squared_error"}
    if mlp.out_activation_ not in losses:
        raise ModelError(f"there is no loss for the outputs of {mlp!r}: {mlp.out_activation_}")
    kind = dtype or mlp.coefs_[0].dtype.name
    samples = mlp.t_ // mlp.n_iter_ or MOST  # of an epoch; solver="lbfgs" counts none
    batch = min(MOST, samples) if mlp.batch_size == "auto" else mlp.batch_size
    model = Sequential(*layers, loss=losses[mlp.out_activation_], l2=mlp.alpha / batch, dtype=kind)
    dense = [name for name, layer in model.network.layers if isinstance(layer, Dense)]
    for name, weights, bias in zip(dense, mlp.coefs_, mlp.intercepts_, strict=True):
        model.parameters[f"{name}.W"], model.parameters[f"{name}.b"] = weights.T, bias
    if isinstance(mlp, MLPClassifier) and (mlp.out_activation_ == "softmax" or mlp.n_outputs_ == 1):
        labels = tuple(label if isinstance(label, str) else plain(label) for label in mlp.classes_)
        model.columns, model.classes = Columns(target=Target("y", labels)), labels
    return model
