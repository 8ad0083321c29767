"""Rows from files and batches: the bits of arrays in memory, and no copy of the whole."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train import rows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(200, 6)).astype(np.float32), RNG.integers(0, 3, 200)


def fitted(x: Any, y: Any, **options: Any) -> cr.Model:
    model = cr.Sequential(cr.Input(6), cr.Dense(5), cr.Tanh(), cr.Dense(3), loss="softmax_cross_entropy")
    given: dict[str, Any] = {"epochs": 2, "batch_size": 16, "verbose": False, "executor": "numpy", **options}
    model.fit(x, y, **given)
    return model


def same(one: cr.Model, other: cr.Model) -> bool:
    return all(one.parameters[name].tobytes() == other.parameters[name].tobytes() for name in one.parameters)


@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
@pytest.mark.parametrize("split", [None, 0.2])
def test_a_file_trains_as_the_array_does(shuffle: Any, split: float | None, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    file = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert same(
        fitted(file, Y, shuffle=shuffle, validation_split=split), fitted(X, Y, shuffle=shuffle, validation_split=split)
    )
    assert same(fitted(X, Y, shuffle=shuffle), fitted(X, Y)) == (shuffle is True)


def test_batches_of_whatever_kind_train_as_the_arrays_do() -> None:
    x, y = cr.rows((X[at : at + 30].astype(float), Y[at : at + 30].tolist()) for at in range(0, 200, 30))
    assert isinstance(x, np.memmap) and x.dtype == np.float32 and y.dtype == np.int64
    assert same(fitted(x, y), fitted(X, Y))
    np.testing.assert_array_equal(cr.rows(X[at : at + 50] for at in range(0, 200, 50)), X)


def test_blocks_come_in_a_drawn_order_and_each_is_shuffled_within(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.train import fit

    monkeypatch.setattr(fit, "BLOCK", 40 * X[0].nbytes)  # the targets take their part: 33 rows
    orders: list[np.ndarray] = []

    def noted(self: fit.Course) -> np.ndarray:
        orders.append(order(self))
        return orders[-1]

    order = fit.Course.order
    monkeypatch.setattr(fit.Course, "order", noted)
    fitted(X, Y, shuffle="blocks", epochs=3)
    size = 40 * 24 // (24 + 12)
    for found in orders:
        assert sorted(found) == list(range(200)) and list(found) != sorted(found)
        blocks = found // size
        changes = np.count_nonzero(np.diff(blocks))
        assert changes == len(set(blocks)) - 1  # a block is left once
    assert len({tuple(found // size) for found in orders}) == len(orders) == 3


@pytest.mark.parametrize(
    ("batches", "problem"),
    [
        ([(X[:3], Y[:3]), (X[:3, :4], Y[:3])], "batch 2 has rows of shape"),
        ([(X[:3], Y[:2])], "different lengths"),
        ([], "no rows"),
        ([(X[:3], np.array(["a", "b", "c"]))], "not numbers"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit_are_named(batches: Any, problem: str) -> None:
    with pytest.raises(cr.DataError, match=problem):
        cr.rows(iter(batches))
    with pytest.raises(cr.ModelError, match="'blocks'"):
        fitted(X, Y, shuffle="block")


def test_an_extra_that_is_missing_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("pyarrow", "tensorboardX"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(cr.DataError, match=r'pip install "chainrule\[parquet\]"'):
        cr.rows(tmp_path / "x.parquet")
    with pytest.raises(cr.ModelError, match=r'pip install "chainrule\[tensorboard\]"'):
        cr.TensorBoard(tmp_path / "log")


CHILD = """
import resource, sys
import numpy as np
import chainrule as cr
x, y = np.load(sys.argv[1], mmap_mode="r"), np.arange(4096) % 2
model = cr.Sequential(cr.Input(4096), cr.Dense(1), loss="binary_cross_entropy")
model.fit(x[:64], y[:64], epochs=1, verbose=False, executor="numpy")
resource.setrlimit(resource.RLIMIT_DATA, (int(open("/proc/self/statm").read().split()[5]) * 4096 + (24 << 20),) * 2)
model.fit(x, y, epochs=1, verbose=False, executor="numpy", shuffle="blocks", validation_split=0.25)
print("trained")
"""


def test_a_file_is_not_copied_into_memory(tmp_path: Path) -> None:
    """64 MB of rows, and 24 MB that may be allocated; the same rows in an array of another type are refused that."""
    for dtype, fits in ((np.float32, True), (np.float64, False)):
        np.save(tmp_path / "x.npy", np.zeros((4096, 4096), dtype))
        command = [sys.executable, "-c", CHILD, str(tmp_path / "x.npy")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout == "trained\n") == fits, done.stderr[-500:]
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_a_parquet_file_comes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    path = tmp_path / "t.parquet"
    pd.DataFrame(X, columns=[*"abcdef"]).assign(y=Y).to_parquet(path)
    monkeypatch.setattr(rows, "BATCH", 30)
    x, y = cr.rows(path, target="y")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    assert cr.rows(path).shape == (200, 7)
    with pytest.raises(cr.DataError, match="no column 'z'"):
        cr.rows(path, target="z")
    pd.DataFrame({"a": ["u", "v"]}).to_parquet(path)
    with pytest.raises(cr.DataError, match=r"'a' of .* holds no numbers"):
        cr.rows(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(cr.DataError, match="damaged"):
        cr.rows(path)
