"""Data sets from files and by name: IDX, NPZ, tables, scikit-learn's bundled sets, Fashion-MNIST. Files are not
trusted: nothing is unpickled, and nothing is allocated beyond what a file can hold."""

from __future__ import annotations

import math
import re
import sys
import warnings
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
from chainrule.train.columns import Columns, Target, find
from chainrule.train.data import digits, numbers, split
from chainrule.train.delimited import is_delimited, read_table
from chainrule.train.idx import RATIO, read_idx
from chainrule.train.learn import FEW, Kind, answered, learn
from chainrule.train.packed import PACKED, SMALL
from chainrule.train.rows import read_parquet
from chainrule.train.table import NOTHING, Table, table_of

Array = NDArray[Any]
Source = str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]]

BUNDLED = ("digits", "iris", "wine", "breast-cancer", "diabetes")
NAMES = (*BUNDLED, "fashion-mnist")
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
PARQUET = ".parquet"
REFUSE = "refuse"  # what `missing` says to refuse what is missing, in place of texts that stand for it
_PARTS = {"x": "train-images", "y": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
_KINDS = "the name of a data set, a folder with IDX files, or a file .csv, .tsv, .data, .parquet, .npz or IDX"
_NAMES = {  # of the arrays in an .npz file, in any case
    "x": ("x", "x_train", "train_x", "xtrain", "train_images", "train_data", "data", "features", "inputs", "images"),
    "y": ("y", "y_train", "train_y", "ytrain", "train_labels", "targets", "target", "labels", "label", "outputs"),
    "x_test": ("x_test", "test_x", "xtest", "test_images", "test_data"),
    "y_test": ("y_test", "test_y", "ytest", "test_labels"),
}
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError),
    *(RuntimeError, RecursionError, SyntaxError, TokenError),  # NumPy reads a header through Python's tokens
)


@dataclass(frozen=True)
class Form:
    """How a table is written, where that is told: as `read_data` takes it."""

    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    missing: str | Sequence[str] = ()


AS_SEEN = Form()


@dataclass(frozen=True, eq=False)
class DataSet:
    """Samples `x` and targets `y`, held-out ones where there are any, and the names of the classes where they have
    names: y holds their places in `classes`. `columns` says how the inputs came from a table; `print` says in a line
    what was understood."""

    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None
    classes: list[str] | None = None
    name: str = ""
    columns: Columns | None = None

    def __repr__(self) -> str:
        return f"<DataSet {self}>"

    def __str__(self) -> str:
        samples, shape = len(self.x) + len(self.x_test if self.x_test is not None else ()), self.x.shape[1:]
        parts = [f"{samples:,} samples", f"{' × '.join(map(str, shape))} inputs"]
        goal = "target"
        if self.columns and self.columns.target:
            texts = sum(feature.of_texts for feature in self.columns.features)
            kinds = {"of numbers": len(self.columns.features) - texts, "of texts": texts}
            of = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
            columns = "column" + "s" * (len(self.columns.features) > 1)
            parts[-1] = f"{shape[0]} input{'s' * (shape[0] > 1)} from {columns}: {of}"
            named = "" if self.columns.named else "column "
            goal = f"target {named}{shorten(self.columns.target.name, 40)}"
        y = self.y if self.y_test is None else np.concatenate([self.y, self.y_test])
        if self.classes is None and (y.ndim > 1 or y.dtype.kind == "f" or not self.numbers_classes):
            wide = "" if y.ndim == 1 else f" {' × '.join(map(str, y.shape[1:]))}"
            parts.append(f"{goal}:{wide} numbers from {y.min():g} to {y.max():g}")
        else:
            found, counts = np.unique(y.reshape(-1), return_counts=True)
            names = [self.classes[int(k)] if self.classes else str(k) for k in found]
            each = [f"{shorten(name, 20)} {n}" for name, n in zip(names, counts, strict=True)]
            shown = ", ".join(each[:10]) + (" …" if len(each) > 10 else "")
            parts.append(f"{goal}: {len(self.classes or range(int(found.max()) + 1))} classes, {shown}")
        return f"{self.name}: {'; '.join(parts)}"

    @property
    def numbers_classes(self) -> bool:
        """Whether targets without names can be the numbers of classes: those of a table know, others are whole, and
        few beside the number of samples."""
        if self.columns is not None or self.y.ndim != 1:
            return self.columns is None
        count = float(self.y.max()) + 1
        return bool((self.y == np.floor(self.y)).all()) and (count <= FEW or 3 * count <= len(self.y))

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


def read_data(
    source: Source,
    *,
    target: str | int | None = None,
    header: bool | None = None,
    columns: Sequence[str | int] | None = None,
    drop: Sequence[str | int] = (),
    missing: str | Sequence[str] = (),
    separator: str | None = None,
    decimal: str | None = None,
    kind: Kind | None = None,
) -> DataSet:
    """A data set by its name ("digits", "iris", "wine", "breast-cancer", "diabetes", "fashion-mnist"), or from a
    file: a table (.csv, .tsv, .data, packed as .gz, .bz2, .xz, .zip or not, or .parquet), .npz (x and y, or x_train and
    y_train; x_test and y_test), a folder with MNIST's four IDX files, one IDX file of images beside its labels, or a
    pair (images, labels). Images of bytes become float32 in 0 … 1.

    Of a table, `target` is the column to learn, by its name or its number from 1, the last one unless one is called
    target, class or label; `columns` are the inputs, all others unless given, without those to `drop`. Numbers are
    inputs as they are, texts as zeros and ones for each value. Missing numbers become the median, missing texts a value
    of their own; `missing` gives texts that stand for what is missing, besides those that usually do (nothing, NA, ?,
    null …), or is "refuse". A target of texts, or of few whole numbers, becomes classes in sorted order, which `kind`
    decides where that is not wanted: "classes" or "numbers". `header` says whether there are names in the first line,
    `separator` what stands between cells and `decimal` whether "." or "," begins decimals, where what is seen misleads.

    Raises DataError naming the file, the line or array, what was found and the fix; FileNotFoundError as `open` does.
    """
    options = {"target": target, "header": header, "columns": columns, "drop": drop or None, "missing": missing or None}
    form = Form(header, separator, decimal, missing)
    options |= {"separator": separator, "decimal": decimal, "kind": kind}
    given = [name for name, value in options.items() if value is not None]
    if not isinstance(source, tuple):
        text = fspath(source)
        name = _data_set(text)
        path = None if name else _existing(text)
        if path is not None and _is_table(path):
            table = _table(path, form)
            made, table = learn(table, target=target, columns=columns, drop=drop, kind=kind, refuse=missing == REFUSE)
            return _encoded(made, table, None, text)
        if given:
            raise _no_table(given, text)
        if path is None:
            return _fashion() if name == "fashion-mnist" else _bundled(name)
        if path.is_dir():
            return _folder(path, text)
        if path.suffix.lower() == ".npz":
            return _npz(path)
        if "idx" not in path.name:
            raise DataError(f"{path} is of no known kind", fix=f"give {_KINDS}; a spreadsheet is saved as CSV first")
        source = path, _labels_beside(path)
    if given:
        raise _no_table(given, fspath(source[0]))
    return _pair(Path(source[0]), Path(source[1]))


def read_labelled(
    source: Source, columns: Columns | None, form: Form = AS_SEEN, *, target: str | int | None = None
) -> DataSet:
    """Samples and their targets for a model with this mapping: a table's columns as the model knows them."""
    if columns is None or not columns.features or (path := _delimited(source)) is None:
        return read_data(source, target=target, **vars(form))
    table = _table(path, form, columns)
    wanted = columns.goal(table) if target is None else find(table, target)
    table, lost = answered(table, wanted)
    for note in lost:
        warnings.warn(note, stacklevel=2)
    return _encoded(columns, table, target, str(path))


def _encoded(columns: Columns, table: Table, target: str | int | None, name: str) -> DataSet:
    """Samples and targets of a table, every row of which has one."""
    wanted = columns.goal(table) if target is None else find(table, target)
    y = (columns.target or Target(wanted.name)).encode(table, wanted)
    if table.named and wanted.name not in columns.names:
        table = replace(table, columns=tuple(column for column in table.columns if column is not wanted))
    return DataSet(columns.encode(table), y, classes=list(columns.labels) or None, name=name, columns=columns)


def read_samples(
    source: Source, columns: Columns | None, inputs: int, form: Form = AS_SEEN, *, target: str | int | None = None
) -> Array:
    """The samples alone, to predict for: those held out where a data set has some. A table needs no target, an IDX
    file no labels and an .npz file no y. Without a mapping a table of `inputs` columns has no target."""
    path = _delimited(source)
    if path is not None:
        table = _table(path, form, columns)
        if columns is not None and columns.features:
            return columns.encode(table)
        if target is None and len(table.columns) == inputs:
            return Columns.of_numbers(table).encode(table)
        made, table = learn(table, target=target)
        return made.encode(table)
    if not isinstance(source, tuple) and not _data_set(fspath(source)):
        path = _existing(fspath(source))
        if path.is_file() and path.suffix.lower() == ".npz":
            arrays = _arrays(path)
            for key in ("x_test", "x"):
                if key in arrays:
                    return _images(numbers(arrays[key][1], arrays[key][0], path))
            raise DataError(f"{path} has no array x, only {_some(path)}", fix="write it with np.savez(path, x=x)")
        if path.is_file() and "idx" in path.name:
            return _images(read_idx(path))
    data = read_data(source)
    return data.x if data.x_test is None else data.x_test


def _data_set(text: str) -> str:
    """The data set that comes with a package and is so called, in any case, and as scikit-learn writes it; or ''."""
    name = text.lower().replace("_", "-")
    return name if name in NAMES else ""


def _delimited(source: Source) -> Path | None:
    """The file of a table, where it is one."""
    if isinstance(source, tuple) or _data_set(fspath(source)):
        return None
    path = _existing(fspath(source))
    return path if _is_table(path) else None


def _is_table(path: Path) -> bool:
    return path.is_file() and (is_delimited(path) or path.suffix.lower() == PARQUET)


def _table(path: Path, form: Form, columns: Columns | None = None) -> Table:
    """The table in a file. What was done to one that a model is given is said at once; else its mapping keeps it."""
    words = () if form.missing == REFUSE else (form.missing,) if isinstance(form.missing, str) else tuple(form.missing)
    if path.suffix.lower() != PARQUET:
        known = columns.known if columns else NOTHING
        table = read_table(
            path, header=form.header, separator=form.separator, decimal=form.decimal, missing=words, known=known
        )
    elif (form.header, form.separator, form.decimal) != (None, None, None):
        raise DataError(f"{path} has its names and types with it", fix="leave out header, separator and decimal")
    else:
        table = table_of(read_parquet(str(path), max(SMALL, PACKED * path.stat().st_size)), str(path), words)
    if columns is not None and columns.features:
        if columns.named and not table.named:
            table = replace(table, notes=(*table.notes, f"{path} has no names: its columns are taken in their order"))
        for note in table.notes:
            warnings.warn(note, stacklevel=3)
    return table


def _existing(text: str) -> Path:
    """The path. Raises DataError where it is not there and may be a slip in the name of a data set."""
    path = Path(text)
    if "\0" in text:
        raise DataError(f"{text!r} is no path", fix=f"give {_KINDS}")
    if path.is_file() or path.is_dir():
        return path
    if path.exists():  # a pipe would be waited for
        raise DataError(f"{path} is no regular file", fix="save what it gives as a file, and give that")
    if path.suffix or "/" in text:
        raise FileNotFoundError(2, "No such file or directory", text)
    if text.lower() == "mnist":
        raise DataError(
            "MNIST does not come with chainrule", fix="give the folder that holds its four IDX files, or fashion-mnist"
        )
    near = get_close_matches(text.lower(), NAMES, 1, 0.5)
    raise DataError(
        f"there is no data set or file {text[:60]!r}",
        fix=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(NAMES)}, or give a file or folder",
    )


def _no_table(given: Sequence[str], name: str) -> DataError:
    return DataError(f"{name} is no table", fix=f"{', '.join(given)}: for tables alone, so leave it out")


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
    for key in ("x", "y"):
        if key not in arrays:
            raise DataError(
                f"{path} has no array {key}, only {_some(path)}",
                fix="write it with np.savez(path, x=x, y=y), and x_test, y_test where there are some",
            )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path} has only one of x_test and y_test", fix="save both, or neither")
    names = {key: name for key, (name, _) in arrays.items()}
    classes = _classes_of(arrays)
    found = {key: numbers(array, name, path) for key, (name, array) in arrays.items()}
    for a, b in (("x", "y"), ("x_test", "y_test")):
        if a in found and found[a].ndim < 2:
            raise DataError(f"{names[a]} in {path} has the shape {found[a].shape}", fix="give one row for each sample")
        if b in found and found[b].dtype.kind == "b":
            found[b] = found[b].astype(np.int64)
        if b in found and found[b].ndim == 2 and found[b].shape[1] == 1:
            found[b] = found[b][:, 0]
        if a in found and not len(found[a]):
            raise DataError(f"{names[a]} in {path} has no samples", fix="give at least one row")
        if a in found and len(found[a]) != len(found[b]):
            raise DataError(
                f"{names[a]} in {path} has {len(found[a])} samples and {names[b]} has {len(found[b])}",
                fix="give one target for each sample",
            )
    test = found.get("x_test")
    if test is not None and test.shape[1:] != found["x"].shape[1:]:
        raise DataError(
            f"{path} has samples of {found['x'].shape[1:]} in {names['x']} and {test.shape[1:]} in {names['x_test']}"
        )
    tested = None if test is None else _images(test)
    return DataSet(_images(found["x"]), found["y"], tested, found.get("y_test"), classes, str(path))


def _classes_of(arrays: dict[str, tuple[str, Array]]) -> list[str] | None:
    """The names of the classes where y holds texts, or few whole numbers that do not count from 0; their places then
    stand in the arrays."""
    parts = [key for key in ("y", "y_test") if key in arrays]
    kinds = {arrays[key][1].dtype.kind for key in parts}
    whole = np.concatenate([arrays[key][1].reshape(-1) for key in parts])
    if kinds <= set("US"):
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in whole.tolist()]
        names, places = np.unique(np.array([text.strip() for text in texts]), return_inverse=True)
    elif kinds <= set("iu") and arrays["y"][1].ndim == 1:
        values, places = np.unique(whole, return_inverse=True)
        counted = not len(values) or (values[0] == 0 and values[-1] < 2 * len(values))
        if counted or len(values) > FEW or 2 * len(values) > len(whole):
            return None
        names = np.array([str(value) for value in values.tolist()])
    else:
        return None
    start = 0
    for key in parts:
        name, array = arrays[key]
        arrays[key] = name, places[start : start + array.size].reshape(array.shape)
        start += array.size
    return names.tolist()


def _some(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        shown = sorted(ascii(name.removesuffix(".npy"))[1:-1][:40] for name in archive.namelist())
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "") or "nothing"


def _arrays(path: Path) -> dict[str, tuple[str, Array]]:
    """What an .npz file has of x, y, x_test and y_test: the name there, in any case and among those in use, and the
    array. Raises DataError for objects, and where a header promises more than the file holds."""
    found: dict[str, tuple[str, Array]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            loose = {name.lower(): name for name in reversed(members)}
            for key, names in _NAMES.items():
                name = next((loose[name] if name not in members else name for name in names if name in loose), None)
                if name is not None:
                    found[key] = name, _member(archive, members[name], f"{name} in {path}", texts=key.startswith("y"))
    except (*_DAMAGED, OSError) as error:
        # A damaged archive can send a reader to before the file's start: an OSError that has no file.
        if isinstance(error, DataError) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise DataError(
            f"{path} is no .npz file, or a damaged one: {shorten(ascii(str(error))[1:-1], 200)}",
            fix="write it with np.savez(path, x=x, y=y)",
        ) from None
    return found


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str, *, texts: bool) -> Array:
    fmt = np.lib.format
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{what} is packed as np.savez packs nothing", fix="save it with np.savez_compressed")
    with archive.open(member) as file:
        version = fmt.read_magic(file)
        read = {(1, 0): fmt.read_array_header_1_0, (2, 0): fmt.read_array_header_2_0}.get(version)
        if read is None:
            raise DataError(f"{what} has the version {version} of NumPy's format", fix="save it with np.savez")
        header = cast(tuple[Sequence[int], bool, np.dtype[Any]], read(file))
        shape, _, dtype = header
        if dtype.hasobject or dtype.kind not in ("biufUS" if texts else "biuf"):
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
    with archive.open(member) as file:
        array = fmt.read_array(file, allow_pickle=False)
    if dtype.kind == "U" and dtype.itemsize:
        points = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (points > sys.maxunicode).any():
            raise DataError(f"{what} holds what is no character", fix="save it again: it is damaged")
    return array
