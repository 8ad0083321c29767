"""Data frames of pandas in `fit`, `predict` and `evaluate`: any type of column, matched by name."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule.train.columns import Columns
from chainrule.train.files import read_labelled
from chainrule.train.learn import inputs_of
from chainrule.train.table import table_of

ROWS = 24
NAN = float("nan")
INDEXED = ("csv", "semicolons", "parquet with index")


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


def test_a_file_is_evaluated_by_a_model_that_learnt_from_a_frame(model: cr.Model, tmp_path: Path) -> None:
    frame().assign(bought=labels(), paid=labels()).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(cr.DataError, match=r"column 8 \(paid\) .* is none that the model was trained with"):
        read_labelled(tmp_path / "t.csv", model.columns)
    with pytest.warns(UserWarning, match="2 of 24 rows have no bought"):
        x = frame().assign(bought=labels().where(lambda label: label.index > 1))
        x.to_csv(tmp_path / "t.csv", index=False)
        data = read_labelled(tmp_path / "t.csv", model.columns)
    assert model.columns is not None
    np.testing.assert_array_equal(data.x, model.columns.encode(table_of(frame()))[2:])
    assert data.classes == ["no", "yes"] and data.y.tolist() == [0, 1] * 11
    x[["age", "city", "wage"]].to_csv(tmp_path / "t.csv", index=False)
    data = read_labelled(tmp_path / "t.csv", inputs_of(frame()[["city", "age"]]), target="wage")
    assert (data.classes, data.y.tolist(), data.x.shape) == (None, frame()["wage"].tolist(), (24, 4))


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


@pytest.mark.parametrize("kind", ["csv", "csv without index", "semicolons", "parquet", "parquet with index"])
def test_what_pandas_writes_with_its_defaults_is_read_as_it_was(kind: str, tmp_path: Path) -> None:
    x, path = frame().assign(bought=labels()), tmp_path / ("t.parquet" if "parquet" in kind else "t.csv")
    if "parquet" in kind:
        (x.set_axis([*range(ROWS, 0, -1)]) if "index" in kind else x).to_parquet(path)
    elif kind == "semicolons":
        x.to_csv(path, sep=";", decimal=",")
    else:
        x.to_csv(path, index=kind != "csv without index")
    data = cr.read_data(path)
    assert data.columns is not None
    table = table_of(x)
    assert data.columns.order == tuple(table.names)
    np.testing.assert_array_equal(data.x, data.columns.encode(table))
    assert data.columns.target is not None
    np.testing.assert_array_equal(data.y, data.columns.target.encode(table, data.columns.goal(table)))
    assert any("is an index of the rows" in note for note in data.columns.notes) == (kind in INDEXED)


def test_an_index_that_was_read_as_a_column_is_none(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "t.csv")
    x = pd.read_csv(tmp_path / "t.csv")
    assert x.columns[0] == "Unnamed: 0"
    assert table_of(x).names == list(x.columns[1:])


def test_a_damaged_parquet_file_and_one_that_unpacks_to_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame().to_parquet(path)
    with pytest.raises(cr.DataError, match="leave out header, separator and decimal"):
        cr.read_data(path, separator=";")
    good = path.read_bytes()
    for bad in (good[:-9], good[:40], b"PAR1", good[:4] + bytes(200) + good[204:]):
        path.write_bytes(bad)
        with pytest.raises(cr.DataError, match="no Parquet file, or a damaged one"):
            cr.read_data(path)
    pd.DataFrame({"a": np.zeros(10_000_000, np.int8)}).to_parquet(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(cr.DataError, match="unpacks to more than 67,108,864 bytes"):
        cr.read_data(path)


def test_a_text_in_a_parquet_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": ["quaint", "odd"] * 5, "y": [0, 1] * 5}).to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"quaint", b"qu\xb6int"))
    with pytest.raises(cr.DataError, match="no Parquet file, or a damaged one"):
        cr.read_data(path)


def test_a_long_text_that_recurs_in_a_parquet_file_is_kept_once(tmp_path: Path) -> None:
    rows, path = 400, tmp_path / "t.parquet"
    texts = ["x" * 1_000_000 if i % 2 else None for i in range(rows)]
    pd.DataFrame({"s": texts, "f": np.arange(rows) % 7, "y": np.arange(rows) % 2}).to_parquet(path)
    assert path.stat().st_size < 1 << 18
    tracemalloc.start()
    data = cr.read_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.x.shape == (400, 2) and peak < 1 << 24


def test_two_columns_of_one_name_are_told_apart_as_in_a_file(tmp_path: Path) -> None:
    x = pd.DataFrame([[1, 2.5, 0.5], [3, 4.5, 1.5], [5, 6.5, 2.5]], columns=["a", "a", "y"])
    x.to_csv(tmp_path / "t.csv", index=False)
    columns = cr.read_data(tmp_path / "t.csv").columns
    table = table_of(x)
    assert columns is not None
    assert columns.order == tuple(table.names) == ("a", "a (2)", "y")
    assert columns.notes == table.notes == ("a further column a is called a (2)",)
    assert table_of(pd.DataFrame([[1] * 4], columns=["a", "a", "a (2)", "a"])).names == ["a", "a (3)", "a (2)", "a (4)"]


@pytest.mark.parametrize("cells", [pd.array([7, None] * 12, dtype="Int64"), [7.0, NAN] * 12, [None, "u"] * 12])
def test_a_column_of_one_value_and_gaps_tells_where_the_gaps_are(cells: Any) -> None:
    x = pd.DataFrame({"a": np.arange(ROWS) * 1.5, "c": cells})
    columns = inputs_of(x)
    there = pd.isna(x["c"]).to_numpy()
    np.testing.assert_array_equal(columns.encode(table_of(x))[:, 1], there)
    assert "c is" in columns.notes[-1] or "12 of 24 are missing, taken for a value of its own" in columns.notes[-1]
    assert Columns.restored(columns.saved()) == columns
    with pytest.raises(cr.DataError, match="none of the values that the model knows"):
        columns.encode(table_of(x.assign(c=8)))


# Numbers of very different sizes


def test_columns_that_differ_in_scale_are_named_once_with_the_fix() -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"age": rng.normal(40, 9, 60), "share": rng.random(60), "wage": rng.normal(30_000, 9_000, 60)})
    y = np.arange(60) % 2
    model = cr.Sequential(cr.Input(3), cr.Dense(2), loss="softmax_cross_entropy")
    for given, warned in ((x, 1), (x, 0)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model.fit(given, y, epochs=1, optimizer=cr.SGD(1e-9), verbose=False)
        assert sum("differ much in scale" in str(one.message) for one in told) == warned
        assert all("cr.Standardise() before dense1" in str(one.message) for one in told)
        assert all(one.filename == __file__ for one in told)
    scaled = (x - x.mean()) / x.std()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = cr.Sequential(cr.Input(3), cr.Dense(2), loss="softmax_cross_entropy")
        small.fit(scaled, y, epochs=1, verbose=False)
        pixels = cr.Sequential(cr.Input(64), cr.Dense(10), loss="softmax_cross_entropy")
        pixels.fit(*cr.digits()[:2], epochs=1, verbose=False)


def test_what_standardises_an_input_learns_it_from_the_first_samples_alone() -> None:
    def made() -> cr.Model:
        return cr.Sequential(cr.Input(10), cr.Standardise(), cr.Dense(2), loss="softmax_cross_entropy", seed=1)

    x, first = frame(), made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first.fit(x, labels(), epochs=1, verbose=False)
    columns = first.columns
    assert columns is not None
    encoded = columns.encode(table_of(x))
    numbers = columns.scaled
    assert 0 < numbers.sum() < 10
    mean, deviation = (np.array(first.states[f"standardise1.{name}"]) for name in ("mean", "deviation"))
    np.testing.assert_allclose(mean[numbers], encoded[:, numbers].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(deviation[numbers], encoded[:, numbers].std(axis=0), rtol=1e-6)
    assert not mean[~numbers].any() and (deviation[~numbers] == 1).all()
    first.fit(x.assign(wage=0.0), labels(), epochs=1, verbose=False)
    np.testing.assert_array_equal(first.states["standardise1.mean"], mean)

    # Of what is trained on, not of what is held out; and what the user has set is left.
    array, y = np.array(encoded), np.arange(ROWS) % 2
    held, own = made(), made()
    array[:, numbers] *= 1000
    held.fit(array, y, epochs=1, validation_split=0.5, verbose=False)
    assert not np.allclose(held.states["standardise1.mean"], array.mean(axis=0), rtol=1e-3)
    own.states["standardise1.mean"] = np.full(10, 7.0)
    own.fit(array, y, epochs=1, optimizer=cr.SGD(1e-9), verbose=False)
    assert (own.states["standardise1.mean"] == 7).all() and (own.states["standardise1.deviation"] == 1).all()
