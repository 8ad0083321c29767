"""Data sets from files: every format there and back, and what is said about a bad one."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train import files
from chainrule.train.data import split
from chainrule.train.files import read_samples
from chainrule.train.idx import TYPES, read_idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def idx(array: np.ndarray[Any, Any], kind: int = 0x08) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.astype(TYPES[kind]).tobytes()


def fill(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, array in (
        ("train-images-idx3-ubyte", IMAGES),
        ("train-labels-idx1-ubyte", LABELS),
        ("t10k-images-idx3-ubyte", IMAGES[:3]),
        ("t10k-labels-idx1-ubyte", LABELS[:3]),
    ):
        path = folder / (f"{stem}.gz" if packed else stem)
        path.write_bytes(gzip.compress(idx(array), mtime=0) if packed else idx(array))
    return folder


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def error(source: Any, **options: Any) -> str:
    with pytest.raises(cr.DataError) as caught:
        cr.read_data(source, **options)
    assert caught.value.problem
    return str(caught.value)


# IDX


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_idx_files_is_read_as_images_from_0_to_1(tmp_path: Path, packed: bool) -> None:
    data = cr.read_data(fill(tmp_path / "d", packed=packed))
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x, (IMAGES / np.float32(255)).astype(np.float32))
    assert data.y.tolist() == LABELS.tolist()
    assert data.x_test is not None
    assert data.y_test is not None
    assert (len(data.x_test), len(data.y_test)) == (3, 3)


def test_a_single_idx_file_finds_its_labels_and_a_pair_names_them(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d")
    alone = cr.read_data(folder / "train-images-idx3-ubyte.gz")
    pair = cr.read_data((folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"))
    assert alone.y.tolist() == LABELS.tolist()
    assert (alone.x_test, pair.y.tolist()) == (None, LABELS[:3].tolist())
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert "no labels train-labels-idx1-ubyte" in error(folder / "train-images-idx3-ubyte.gz")
    assert "train-labels-idx1-ubyte" in error(folder)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_an_idx_file_comes_back(tmp_path: Path, kind: int) -> None:
    values = np.array([[1, 2, 3], [4, 5, 127]])
    array = read_idx(write(tmp_path / "a", idx(values, kind)))
    np.testing.assert_array_equal(array, values)
    assert array.dtype.isnative


GOOD = idx(IMAGES)
HUGE = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[:-1], "truncated"),
        (GOOD[:40], "120 bytes after its header, but holds at most 24"),
        (GOOD + b"\0", "too long"),
        (GOOD[:9], "within its header"),
        (GOOD[:3], "3 bytes"),
        (b"", "0 bytes"),
        (b"PK\x03\x04" + GOOD, "50 4b 03 04"),
        (b"\0\0\x07\x03" + GOOD[4:], "no IDX magic"),
        (b"\0\0\x08\0", "no IDX magic"),
        (b"\0\0\x08\xff" + bytes(1020), "no IDX magic"),
        (HUGE + b"abc", "truncated"),
        (gzip.compress(HUGE + b"abc", mtime=0), "truncated"),
        (idx(np.zeros((0, 3, 3))), "no values"),
        (gzip.compress(GOOD, mtime=0)[:-9], "damaged gzip"),
        (gzip.compress(GOOD[:-1], mtime=0), "truncated"),
        (gzip.compress(GOOD, mtime=0)[:60] + b"xxxxxx" + gzip.compress(GOOD, mtime=0)[66:], "damaged gzip"),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), "damaged gzip"),
        (b"\x1f\x8bnonsense", "damaged gzip"),
        (gzip.compress(b"PK\x03\x04", mtime=0), "50 4b 03 04"),
    ],
)
def test_a_bad_idx_file_is_named_with_what_was_found(tmp_path: Path, content: bytes, says: str) -> None:
    path = write(tmp_path / "train-images-idx3-ubyte", content)
    write(tmp_path / "train-labels-idx1-ubyte", idx(LABELS))
    text = error(path)
    assert says in text
    assert str(path) in text
    assert "fix:" in text


def test_labels_that_do_not_belong_to_the_images_are_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d")
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"
    assert "6 samples" in error((images, labels))
    assert "3 labels" in error((images, labels))
    assert "no labels" in error((images, images))
    assert "no samples" in error((labels, labels))


def test_fashion_mnist_names_its_classes_or_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FASHION", tmp_path / "none")
    assert "apt install dataset-fashion-mnist" in error("fashion-mnist")
    monkeypatch.setattr(files, "FASHION", fill(tmp_path / "d"))
    data = cr.read_data("fashion-mnist")
    assert data.classes is not None
    assert data.classes[9] == "Ankle boot"
    assert data.name == "fashion-mnist"


# NPZ


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
def test_an_npz_file_comes_back(tmp_path: Path, names: tuple[str, str]) -> None:
    path, x, y = tmp_path / "a.npz", RNG.random((5, 3)), np.array([0, 1, 0, 1, 1])
    np.savez_compressed(path, **{names[0]: x, names[1]: y, "x_test": x[:2], "y_test": y[:2]})  # pyright: ignore[reportArgumentType]
    data = cr.read_data(str(path))
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)
    assert data.x_test is not None
    np.testing.assert_array_equal(data.x_test, x[:2])
    np.testing.assert_array_equal(read_samples(path, None, 3), x[:2])


def test_images_of_bytes_in_an_npz_file_are_scaled_and_columns_of_bytes_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=IMAGES, y=LABELS)
    assert cr.read_data(path).x.max() <= 1
    np.savez(path, x=IMAGES[:, 0], y=LABELS)
    assert cr.read_data(path).x.max() > 1


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("unpickled",)


OBJECTS = np.array([Trap(), 1], object)
NAN = np.array([[1.0, 2.0], [np.nan, 3.0]])
PAIR = np.arange(2)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": OBJECTS, "y": PAIR}, "objects"),
        ({"x": NAN, "y": OBJECTS}, "y in"),
        ({"x": np.array(["a", "b"]), "y": PAIR}, "<U1"),
        ({"x": NAN, "y": PAIR}, "nan at row 1, column 0"),
        ({"a": NAN}, "no array x, only a"),
        ({"x": PAIR, "y": PAIR}, "shape (2,)"),
        ({"x": NAN[:1]}, "no array y"),
        ({"x": NAN[:0], "y": PAIR[:0]}, "no samples"),
        ({"x": NAN[:1], "y": PAIR}, "1 samples and y has 2"),
        ({"x": NAN[:1], "y": PAIR[:1], "x_test": NAN[:1]}, "only one of x_test and y_test"),
        ({"x": NAN[:1], "y": PAIR[:1], "x_test": np.zeros((1, 3)), "y_test": PAIR[:1]}, "(3,)"),
    ],
)
def test_a_bad_array_is_named(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    text = error(path)
    assert says in text
    assert str(path) in text


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9)}"), "too short"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", bytes(8)), "damaged"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([Trap()])), "objects"),
        (npy("{'descr': "), "damaged"),
        (b"abc", "damaged"),
    ],
)
def test_a_header_that_promises_too_much_is_refused(tmp_path: Path, member: bytes, says: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
        archive.writestr("y.npy", member)
    assert says in error(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    assert "no .npz file" in error(write(tmp_path / "a.npz", b"hello"))
    whole = io.BytesIO()
    np.savez(whole, x=NAN, y=PAIR)
    assert "damaged" in error(write(tmp_path / "a.npz", whole.getvalue()[:-60]))


# CSV

FLOWERS = "long,wide,kind\n1,2.5,rose\n3,4,tulip\n\n5,6e-1,rose\n"


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.replace(",", ";"), lambda t: t.replace("\n", "\r\n")])  # pyright: ignore[reportUnknownLambdaType]
def test_texts_in_the_target_are_classes_in_sorted_order(tmp_path: Path, change: Callable[[str], str]) -> None:
    data = cr.read_data(write(tmp_path / "a.csv", "\ufeff" + change(FLOWERS)))
    assert data.x.tolist() == [[1, 2.5], [3, 4], [5, 0.6]]
    assert data.y.tolist() == [0, 1, 0]
    assert data.classes == ["rose", "tulip"]


@pytest.mark.parametrize("target", ["long", 1, "1", -3])
def test_the_target_is_a_column_by_name_or_number(tmp_path: Path, target: str | int) -> None:
    path = write(tmp_path / "a.csv", "long,wide,high\n1.5,2,3\n4,5,6\n")
    data = cr.read_data(path, target=target)
    assert data.x.tolist() == [[2, 3], [5, 6]]
    assert data.y.tolist() == [1.5, 4]
    assert data.classes is None


def test_a_table_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    x, y = RNG.standard_normal((40, 3)) * 10.0 ** RNG.integers(-300, 300, (40, 3)), RNG.random(40)
    lines = "\n".join(",".join(map(repr, map(float, [*row, t]))) for row, t in zip(x, y, strict=True))
    data = cr.read_data(write(tmp_path / "a.csv", lines))
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)


def test_a_table_without_names_has_its_first_line_among_the_samples(tmp_path: Path) -> None:
    assert len(cr.read_data(write(tmp_path / "a.csv", "1,2,rose\n3,4,tulip\n")).x) == 2
    path = write(tmp_path / "b.csv", "0,1,label\n3,4,7.5\n")
    assert cr.read_data(path, header=True).y.tolist() == [7.5]
    assert "which is no number" in error(path, header=False)


def test_samples_to_predict_for_need_no_target(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n3,4\n")
    assert read_samples(path, None, 2).tolist() == [[1, 2], [3, 4]]
    assert read_samples(path, None, 1).tolist() == [[1], [3]]
    assert read_samples(path, None, 2, target="a").tolist() == [[2], [4]]
    assert read_samples(write(tmp_path / "train-images-idx3-ubyte", GOOD), None, 20).shape == (6, 4, 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,c\n1,2,3\n4,5\n", ["line 3", "2 cells", "has 3"]),
        ("a,b,c\n1,2,3\n4,5,6,7\n", ["line 3", "4 cells"]),
        ("a,b,c\n1,2,3\n4,five,6\n", ["line 3", "column 2 (b)", "'five'", "no number"]),
        ("a,b,c\n1,2,3\n4,-inf,6\n", ["line 3", "-inf"]),
        ("a,b,c\n1,1_0,3\n" + "1,10,3\n" * 30, ["line 2", "'1_0'"]),
        ("a,b,c\n1,2,3\n4,5,6\n7,8,x\n", ["line 4", "column 3 (c)", "'x'", "2 others"]),
        ("1,2,3\n4,five,6\n", ["line 2", "column 2 of", "'five'"]),
        ("", ["empty"]),
        ("a,b,c\n", ["only one line"]),
        ("1\n2\n", ["one column"]),
        ('a,b\n1,"2\n', ["no table"]),
    ],
)
def test_a_bad_table_is_named_by_line_column_and_value(tmp_path: Path, text: str, says: list[str]) -> None:
    path = write(tmp_path / "a.csv", text)
    found = error(path)
    assert all(part in found for part in [*says, str(path), "fix:"]), found


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    assert "UTF-8" in error(write(tmp_path / "a.csv", b"a,b\n1,\xff\n"))


@pytest.mark.parametrize(
    ("target", "says"),
    [("hihg", "'high'"), ("zzz", "long, wide, high"), (4, "1 to 3"), (0, "1 to 3"), ("-9", "1 to 3")],
)
def test_an_unknown_target_is_answered_with_the_columns(tmp_path: Path, target: Any, says: str) -> None:
    path = write(tmp_path / "a.csv", "long,wide,high\n1,2,3\n")
    assert says in error(path, target=target)


# Names


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("digits", 64, 10), ("Iris", 4, 3), ("wine", 13, 3), ("breast_cancer", 30, 2), ("diabetes", 10, None)],
)
def test_bundled_sets_hold_a_fifth_of_every_class_out(name: str, shape: int, classes: int | None) -> None:
    data = cr.read_data(name)
    assert data.x_test is not None
    assert data.y_test is not None
    assert data.x.shape[1:] == data.x_test.shape[1:] == (shape,)
    assert len(data.x_test) == pytest.approx(0.2 * (len(data.x) + len(data.x_test)), abs=1)
    assert (len(data.classes) if data.classes else None) == classes
    if classes:
        share = np.bincount(data.y_test) / (np.bincount(data.y) + np.bincount(data.y_test))
        assert np.abs(share - 0.2).max() < 0.03


def test_the_digits_are_those_of_cr_digits() -> None:
    data = cr.read_data("digits")
    for a, b in zip(cr.digits(), (data.x, data.y, data.x_test, data.y_test), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


@pytest.mark.parametrize(
    ("name", "says"),
    [("digts", "'digits'"), ("brest_cancer", "'breast-cancer'"), ("mnist", "folder"), ("qqq", "choose from")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, says: str) -> None:
    assert says in error(name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert "known kind" in error(write(tmp_path / "a.xlsx", "x"))
    assert "train-images" in error(tmp_path)
    assert "target" in error("digits", target="x")
    with pytest.raises(FileNotFoundError):
        cr.read_data(tmp_path / "none.csv")


# What is done with them


def test_a_fifth_of_every_class_is_held_out() -> None:
    y = np.repeat([0, 1, 2], [50, 20, 30])
    data = cr.DataSet(np.arange(100.0)[:, None], y)
    once, again = data.held_out(), data.held_out()
    assert once.y_test is not None
    assert once.x_test is not None
    assert np.bincount(once.y_test).tolist() == [10, 4, 6]
    assert sorted([*once.x[:, 0], *once.x_test[:, 0]]) == list(range(100))
    np.testing.assert_array_equal(once.x, again.x)
    assert once.held_out() is once
    numbers = cr.DataSet(np.arange(100.0)[:, None], np.arange(100.0)).held_out()
    assert len(numbers.x) == 80
    with pytest.raises(cr.DataError):
        cr.DataSet(np.zeros((1, 1)), np.zeros(1)).held_out()


@pytest.mark.parametrize("shape", [(200, 3), (9000, 3), (20, 4, 5), (20, 3, 4, 5), (20, 3, 7)])
def test_standardised_data_have_mean_0_and_deviation_1(shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape) * 7 + 100
    z = cr.Standardiser.fit(x).apply(x)
    over = (0, 1, 2) if len(shape) == 3 else (0, *range(2, len(shape)))
    np.testing.assert_allclose(z.mean(axis=over), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=over), 1, rtol=1e-12)
    assert z.shape == shape


def test_constant_columns_become_0_and_bad_data_are_named() -> None:
    x = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    fitted = cr.Standardiser.fit(x)
    assert fitted.deviation[0] == 1
    np.testing.assert_allclose(fitted.apply(x)[:, 0], 0, atol=1e-16)
    with pytest.raises(cr.ShapeError, match="2 columns"):
        fitted.apply(np.zeros((1, 3)))
    for bad in (NAN, np.zeros((0, 2)), np.zeros(3), [["a"]]):
        with pytest.raises(cr.DataError):
            cr.Standardiser.fit(bad)


@pytest.mark.parametrize("shape", [(3,), (4, 5), (3, 4, 5)])
def test_the_layer_does_what_the_standardiser_does(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = RNG.standard_normal((50, *shape)) * 3 + 2
    model = cr.Sequential(
        cr.Input(*shape), cr.Standardise(), cr.Dense(2), loss="softmax_cross_entropy", dtype="float64"
    )
    fitted = cr.Standardiser.fit(x)
    model.states["standardise1.mean"], model.states["standardise1.deviation"] = fitted.mean, fitted.deviation
    plain = cr.Sequential(cr.Input(*shape), cr.Dense(2), loss="softmax_cross_entropy", dtype="float64")
    plain.parameters["dense1.W"] = model.parameters["dense1.W"]
    np.testing.assert_allclose(model.predict(x), plain.predict(fitted.apply(x)), rtol=1e-12)
    model.fit(x, np.arange(50) % 2, epochs=1, verbose=False)
    np.testing.assert_array_equal(model.states["standardise1.mean"], fitted.mean)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(cr.load(tmp_path / "m.safetensors").predict(x), model.predict(x))


@pytest.mark.parametrize("shape", [(3,), (4, 5), (3, 4, 5)])
def test_the_layer_learns_what_nobody_has_set(shape: tuple[int, ...], tmp_path: Path) -> None:
    """From what is trained on, once, out of memory or a file; what was set, or is frozen, stays."""
    x, y = (RNG.standard_normal((50, *shape)) * 3 + 2).astype(np.float32), np.arange(50) % 2
    np.save(tmp_path / "x.npy", x)

    def fitted(given: np.ndarray, *, mean: float = 0.0, frozen: bool = False, **options: Any) -> cr.Model:
        model = cr.Sequential(cr.Input(*shape), cr.Standardise(), cr.Dense(2), loss="softmax_cross_entropy")
        model.states["standardise1.mean"] = np.full_like(model.states["standardise1.mean"], mean)
        if frozen:
            model.freeze("standardise1")
        model.fit(given, y, epochs=1, verbose=False, executor="numpy", **options)
        return model

    whole = cr.Standardiser.fit(x)
    for given in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        model = fitted(given)
        for name in ("mean", "deviation"):
            found, wanted = model.states[f"standardise1.{name}"], getattr(whole, name).astype(np.float32)
            assert np.array_equal(found, wanted)
    model.fit(100 * x, y, epochs=1, verbose=False, executor="numpy")
    np.testing.assert_array_equal(model.states["standardise1.mean"], whole.mean.astype(np.float32))
    kept, _ = split(50, 0.2, np.random.default_rng(0))
    part = fitted(x, validation_split=0.2).states["standardise1.mean"]
    np.testing.assert_array_equal(part, cr.Standardiser.fit(x[kept]).mean.astype(np.float32))
    assert (part != whole.mean.astype(np.float32)).any()
    assert (fitted(x, mean=5.0).states["standardise1.mean"] == 5).all()
    assert (fitted(x, frozen=True).states["standardise1.mean"] == 0).all()


def test_the_layer_learns_what_another_layer_gives_it() -> None:
    x, y = RNG.standard_normal((50, 3)) * 3 + 2, np.arange(50) % 2
    model = cr.Sequential(
        cr.Input(3), cr.Dense(4), cr.Standardise(), cr.Dense(2), loss="softmax_cross_entropy", dtype="float64"
    )
    given = model.activations(x, "dense1")
    model.train_on_batch(x, y, optimizer=cr.SGD(1e-3))
    np.testing.assert_allclose(model.states["standardise1.mean"], given.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.states["standardise1.deviation"], given.std(axis=0), rtol=1e-12)
