"""Data frames of pandas in `fit`, `predict` and `evaluate`: any type of column, matched by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule.train.table import table_of

ROWS = 24


def frame() -> Any:
    return pd.DataFrame(
        {
            "age": pd.array([20 + i * 7 % 11 for i in range(ROWS)], dtype="Int64"),
            "sex": pd.Categorical(["f", "m"] * (ROWS // 2)),
            "city": ["Rome", "Oslo", "Bern"] * (ROWS // 3),
            "member": [i % 4 == 0 for i in range(ROWS)],
            "known": pd.array([True, False, None] * (ROWS // 3), dtype="boolean"),
            "wage": np.arange(ROWS) * 1.5,
        }
    )


def labels() -> Any:
    return pd.Series(["no", "yes"] * (ROWS // 2), name="bought")


@pytest.fixture(scope="module")
def model() -> cr.Model:
    made = cr.Sequential(cr.Input(10), cr.Dense(2), loss="softmax_cross_entropy")
    with pytest.warns(UserWarning, match="known: 8 of 24 are missing"):
        made.fit(frame(), labels(), epochs=200, optimizer=cr.Adam(0.05), verbose=False)
    return made


def test_columns_of_every_type_are_learnt_from(model: cr.Model, tmp_path: Path) -> None:
    assert model.classes == ("no", "yes")
    assert model.evaluate(frame(), labels())["accuracy"] == pytest.approx(1)
    assert model.classify(frame()).tolist() == labels().tolist()
    model.save(tmp_path / "m.safetensors")
    assert cr.load(tmp_path / "m.safetensors").classify(frame()).tolist() == labels().tolist()


def test_columns_come_in_any_order_and_with_the_target(model: cr.Model) -> None:
    expected, x = model.predict(frame()), frame()
    np.testing.assert_array_equal(model.predict(x[list(x.columns[::-1])]), expected)
    np.testing.assert_array_equal(model.predict(x.astype({"age": "float64", "sex": str})), expected)
    np.testing.assert_array_equal(model.predict(x.set_index("city", drop=False)), expected)
    with pytest.raises(cr.DataError, match="column 7 \\(colour\\) of x is none that the model was trained with"):
        model.predict(x.assign(colour="red"))
    with pytest.raises(cr.DataError, match="x has no column 'sex'"):
        model.predict(x.drop(columns="sex"))


def test_missing_values_of_every_kind_are_filled(model: cr.Model) -> None:
    x = frame()
    one, other = x.copy(), x.copy()
    one.loc[0, "age"] = pd.NA
    other["age"] = other["age"].astype(object)
    other.loc[0, "age"] = None
    np.testing.assert_array_equal(model.predict(one), model.predict(other))
    assert not np.array_equal(model.predict(one)[0], model.predict(x)[0])


def test_days_are_refused_with_advice() -> None:
    x = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=4), "a": [1, 2, 3, 4]})
    with pytest.raises(cr.DataError, match="column 1 \\(when\\) of x holds dates"):
        cr.Sequential(cr.Input(2), cr.Dense(2), loss="softmax_cross_entropy").fit(x, [0, 1, 0, 1], verbose=False)


def test_a_frame_of_numbers_is_the_array_that_it_holds() -> None:
    x = pd.DataFrame(np.random.default_rng(0).standard_normal((8, 3)))
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="softmax_cross_entropy")
    np.testing.assert_array_equal(model.predict(x), model.predict(x.to_numpy()))
    model.fit(x, pd.Series([0, 1] * 4), epochs=1, verbose=False)
    np.testing.assert_array_equal(model.predict(x[[2, 1, 0]]), model.predict(x.to_numpy()))


@pytest.mark.parametrize("kind", ["pandas", "csv", "csv without index", "semicolons"])
def test_what_pandas_writes_with_its_defaults_is_read_as_it_was(kind: str, tmp_path: Path) -> None:
    x, path = frame().assign(bought=labels()), tmp_path / "t.csv"
    if kind == "semicolons":
        x.to_csv(path, sep=";", decimal=",")
    else:
        x.to_csv(path, index=kind != "csv without index")
    data = cr.read_data(path)
    assert data.columns is not None
    table = table_of(x)
    assert data.columns.order == tuple(table.names)
    np.testing.assert_array_equal(data.x, data.columns.encode(table))
    np.testing.assert_array_equal(data.y, data.columns.target_of(table))


def test_two_columns_of_one_name_are_refused() -> None:
    x = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(cr.DataError, match="x has 2 columns 'a'"):
        table_of(x)
