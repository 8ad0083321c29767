"""Data sets from files and by name: IDX, NPZ, CSV, scikit-learn's bundled sets, Fashion-MNIST. Files are not trusted:
nothing is unpickled, and nothing is allocated beyond what a file can hold."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError
from chainrule.ir.source import shorten
from chainrule.train.data import digits, numbers, split
from chainrule.train.idx import RATIO, read_idx
from chainrule.train.table import read_csv

Array = NDArray[Any]
Source = str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]]

BUNDLED = ("digits", "iris", "wine", "breast-cancer", "diabetes")
NAMES = (*BUNDLED, "fashion-mnist")
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_PARTS = {"x": "train-images", "y": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
_KINDS = "the name of a data set, a folder with IDX files, or a file .csv, .npz or IDX"
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError),
    *(RuntimeError, RecursionError, SyntaxError, TokenError),  # NumPy reads a header through Python's tokens
)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Samples `x` and targets `y`, held-out ones where there are any, and the names of the classes where they have
    names: y holds their places in `classes`."""

    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None
    classes: list[str] | None = None
    name: str = ""

    def held_out(self, fraction: float = 0.2, seed: int = 0) -> DataSet:
        """The same with this fraction held out, of every class where y holds classes, unless some is already.
        Raises DataError where there are too few samples."""
        if self.x_test is not None:
            return self
        rng = np.random.default_rng(seed)
        labels = np.unique(self.y) if self.y.ndim == 1 and self.y.dtype.kind in "iu" else np.zeros(0)
        if not 0 < len(labels) <= fraction * len(self.y):
            if not 0 < round(fraction * len(self.x)) < len(self.x):
                raise DataError(
                    f"{self.name} has {len(self.x)} samples, too few to hold {fraction:.0%} of them out",
                    fix="give more samples, or a test part",
                )
            train, test = split(len(self.x), fraction, rng)
        else:
            held: list[int] = []
            for label in labels:
                rows = np.flatnonzero(self.y == label)
                held += rng.permutation(rows)[: round(fraction * len(rows))].tolist()
            test = np.sort(held)
            train = np.setdiff1d(np.arange(len(self.x)), test)
        return replace(self, x=self.x[train], y=self.y[train], x_test=self.x[test], y_test=self.y[test])


def read_data(source: Source, *, target: str | int | None = None, header: bool | None = None) -> DataSet:
    """A data set by its name ("digits", "iris", "wine", "breast-cancer", "diabetes", "fashion-mnist"), or from a
    file: .csv (numbers; the last column, or `target` by its name or its number from 1, holds what is to be learnt),
    .npz (x and y, or x_train and y_train; x_test and y_test), a folder with MNIST's four IDX files, one IDX file of
    images beside its labels, or a pair (images, labels). Images of bytes become float32 in 0 … 1. Texts in the target
    column of a CSV file become classes in sorted order. `header` says whether a CSV file starts with names, where that
    cannot be seen: it does if no cell of its first line is a number.

    Raises DataError naming the file, the line or array, what was found and the fix; FileNotFoundError as `open` does.
    """
    if isinstance(source, tuple):
        data = _pair(Path(source[0]), Path(source[1]))
        _no_table(target, header, data.name)
        return data
    text = fspath(source)
    if text in NAMES:
        _no_table(target, header, text)
        return _fashion() if text == "fashion-mnist" else _bundled(text)
    path = _existing(text)
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        x, y, classes = read_csv(path, target=target, header=header)
        assert y is not None
        return DataSet(x, y, classes=classes, name=text)
    _no_table(target, header, text)
    if path.is_dir():
        return _folder(path, text)
    if path.suffix.lower() == ".npz":
        return _npz(path)
    if "idx" in path.name:
        return _pair(path, _labels_beside(path))
    raise _unknown(path)


def read_samples(source: Source, columns: int, *, target: str | int | None = None) -> Array:
    """The samples alone, to predict for: those held out where a data set has some. A CSV file of `columns` columns
    has no target; an IDX file needs no labels and an .npz file no y."""
    if not isinstance(source, tuple) and fspath(source) not in NAMES:
        path = _existing(fspath(source))
        if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
            return read_csv(path, target=target, columns=columns)[0]
        _no_table(target, None, str(path))
        if path.is_file() and path.suffix.lower() == ".npz":
            arrays = _arrays(path)
            for key in ("x_test", "x", "x_train"):
                if key in arrays:
                    return _images(numbers(arrays[key], key, path))
            raise DataError(f"{path} has no array x, only {_some(arrays)}", fix="write it with np.savez(path, x=x)")
        if path.is_file() and "idx" in path.name:
            return _images(read_idx(path))
    data = read_data(source, target=target)
    return data.x if data.x_test is None else data.x_test


def _existing(text: str) -> Path:
    """The path. Raises DataError where it is not there and may be a slip in the name of a data set."""
    path = Path(text)
    if "\0" in text:
        raise DataError(f"{text!r} is no path", fix=f"give {_KINDS}")
    if path.exists():
        return path
    if path.suffix or "/" in text:
        raise FileNotFoundError(2, "No such file or directory", text)
    if text.lower() == "mnist":
        raise DataError(
            "MNIST does not come with chainrule", fix="give the folder that holds its four IDX files, or fashion-mnist"
        )
    near = get_close_matches(text.lower().replace("_", "-"), NAMES, 1, 0.5)
    raise DataError(
        f"there is no data set or file {text[:60]!r}",
        fix=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(NAMES)}, or give a file or folder",
    )


def _unknown(path: Path) -> DataError:
    return DataError(f"{path} is of no known kind", fix=f"give {_KINDS}")


def _no_table(target: str | int | None, header: bool | None, name: str) -> None:
    if target is not None or header is not None:
        raise DataError(f"{name} has no columns with names", fix="target and header are for a CSV file: leave them out")


def _bundled(name: str) -> DataSet:
    """scikit-learn's sets, of which a fifth is held out, of every class: as for the digits, with random_state=0."""
    if name == "digits":
        x, y, x_test, y_test = digits()
        return DataSet(x, y, x_test, y_test, [str(digit) for digit in range(10)], name)
    try:
        from sklearn import datasets  # pyright: ignore[reportMissingTypeStubs]
        from sklearn.model_selection import train_test_split  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError:
        raise DataError(
            f"{name} comes with scikit-learn, which is not installed", fix='pip install "chainrule[data]"'
        ) from None
    bunch: Any = getattr(datasets, f"load_{name.replace('-', '_')}")()
    x = np.asarray(bunch.data, np.float64)
    names = None if name == "diabetes" else [str(one) for one in bunch.target_names]
    y = np.asarray(bunch.target, np.int64 if names else np.float64)
    rows = np.arange(len(y))
    _, test = train_test_split(rows, test_size=0.2, random_state=0, stratify=y if names else None)  # pyright: ignore[reportUnknownVariableType]
    held = np.isin(rows, test)  # pyright: ignore[reportUnknownArgumentType]
    return DataSet(x[~held], y[~held], x[held], y[held], names, name)


def _fashion() -> DataSet:
    if not FASHION.is_dir():
        raise DataError(
            f"Fashion-MNIST is not in {FASHION}",
            fix="apt install dataset-fashion-mnist, or give the folder that holds its four IDX files",
        )
    data = _folder(FASHION, "fashion-mnist")
    if data.y.max() >= len(CLOTHES):
        raise DataError(f"{FASHION} holds the label {data.y.max()}, but Fashion-MNIST has {len(CLOTHES)} classes")
    return replace(data, classes=list(CLOTHES))


def _folder(folder: Path, name: str) -> DataSet:
    """The four files of MNIST; those of the test may be missing together."""
    found = {part: _named(folder, stem) for part, stem in _PARTS.items()}
    missing = [stem for part, stem in _PARTS.items() if found[part] is None]
    if missing and missing != [_PARTS["x_test"], _PARTS["y_test"]]:
        raise DataError(
            f"{folder} has no file {missing[0]}-idx{3 if 'images' in missing[0] else 1}-ubyte, gzipped or not",
            fix="give a folder with MNIST's four files: " + ", ".join(_PARTS.values()),
        )
    train = _pair(cast(Path, found["x"]), cast(Path, found["y"]))
    if missing:
        return replace(train, name=name)
    test = _pair(cast(Path, found["x_test"]), cast(Path, found["y_test"]))
    if test.x.shape[1:] != train.x.shape[1:]:
        raise DataError(f"{folder} has samples of {train.x.shape[1:]} to train on and of {test.x.shape[1:]} to test")
    return replace(train, x_test=test.x, y_test=test.y, name=name)


def _named(folder: Path, stem: str) -> Path | None:
    rank = 3 if "images" in stem else 1
    for end in ("", ".gz"):
        for dash in "-.":
            path = folder / f"{stem}{dash}idx{rank}-ubyte{end}"
            if path.is_file():
                return path
    return None


def _labels_beside(images: Path) -> Path:
    name = re.sub(r"idx\d", "idx1", images.name.replace("images", "labels"))
    stem = images.with_name(name.removesuffix(".gz"))
    for path in (stem, stem.with_name(f"{stem.name}.gz")):
        if path != images and path.is_file():
            return path
    raise DataError(
        f"there are no labels {stem.name} beside {images}", fix="give the folder, or both: (images, labels)"
    )


def _pair(images: Path, labels: Path) -> DataSet:
    x, y = read_idx(images), read_idx(labels)
    if x.ndim < 2:
        raise DataError(f"{images} holds {x.ndim} axis, so no samples", fix="are these the labels? images go first")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(f"{labels} holds {y.dtype} of shape {y.shape}, and no labels", fix="give one whole number each")
    if len(x) != len(y):
        raise DataError(
            f"{images} holds {len(x):,} samples and {labels} {len(y):,} labels", fix="give files that belong together"
        )
    return DataSet(_images(numbers(x, "x", images)), y.astype(np.int64), name=str(images))


def _images(x: Array) -> Array:
    """Images of bytes as float32 in 0 … 1; anything else as it is."""
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 and x.ndim >= 3 else x


def _npz(path: Path) -> DataSet:
    arrays = _arrays(path)
    x_name, y_name = ("x", "y") if "x" in arrays else ("x_train", "y_train")
    for name in (x_name, y_name):
        if name not in arrays:
            raise DataError(
                f"{path} has no array {name if name != 'x_train' else 'x'}, only {_some(arrays)}",
                fix="write it with np.savez(path, x=x, y=y), and x_test, y_test where there are some",
            )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path} has only one of x_test and y_test", fix="save both, or neither")
    wanted = (x_name, y_name, "x_test", "y_test")
    found = {name: numbers(arrays[name], name, path) for name in wanted if name in arrays}
    for a, b in ((x_name, y_name), ("x_test", "y_test")):
        if a in found and found[a].ndim < 2:
            raise DataError(f"{a} in {path} has the shape {found[a].shape}", fix="give one row for each sample")
        if b in found and found[b].dtype.kind == "b":
            found[b] = found[b].astype(np.int64)
        if a in found and len(found[a]) != len(found[b]):
            raise DataError(
                f"{a} in {path} has {len(found[a])} samples and {b} has {len(found[b])}",
                fix="give one target for each sample",
            )
    test = found.get("x_test")
    if test is not None and test.shape[1:] != found[x_name].shape[1:]:
        raise DataError(f"{path} has samples of {found[x_name].shape[1:]} in {x_name} and {test.shape[1:]} in x_test")
    return DataSet(
        _images(found[x_name]),
        found[y_name],
        None if test is None else _images(test),
        found.get("y_test"),
        name=str(path),
    )


def _some(names: Any) -> str:
    shown = sorted(ascii(name)[1:-1][:40] for name in names)
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "") or "nothing"


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name: those that a data set can have. Raises DataError for objects, and where a
    header promises more than the file holds."""
    known = ("x", "y", "x_train", "y_train", "x_test", "y_test")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            for name in known:
                if name in members:
                    _check_member(archive, members[name], f"{name} in {path}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in known if name in members}
    except (*_DAMAGED, OSError) as error:
        # A damaged archive can send a reader to before the file's start: an OSError that has no file.
        if isinstance(error, DataError) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise DataError(
            f"{path} is no .npz file, or a damaged one: {shorten(ascii(str(error))[1:-1], 200)}",
            fix="write it with np.savez(path, x=x, y=y)",
        ) from None
    return arrays or dict.fromkeys(members, np.zeros(0))


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> None:
    fmt = np.lib.format
    with archive.open(member) as file:
        version = fmt.read_magic(file)
        read = {(1, 0): fmt.read_array_header_1_0, (2, 0): fmt.read_array_header_2_0}.get(version)
        if read is None:
            raise DataError(f"{what} has the version {version} of NumPy's format", fix="save it with np.savez")
        header = cast(tuple[Sequence[int], bool, np.dtype[Any]], read(file))
        shape, _, dtype = header
        if dtype.hasobject or dtype.kind not in "biuf":
            raise DataError(
                f"{what} holds {'objects' if dtype.hasobject else dtype}, not numbers",
                fix="save it as numbers: np.savez(path, x=x.astype(float), y=y.astype(int))",
            )
        most = min(member.file_size, member.compress_size * RATIO + RATIO)
        if math.prod(shape) * dtype.itemsize > most:
            raise DataError(
                f"{what} should hold {' × '.join(map(str, shape))} values, but the file is too short for them",
                fix="save it again: it is truncated or damaged",
            )
