"""Files damaged and made up at random: they are read, or refused by one of our errors that cannot steer a terminal."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import re
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.files import read_samples
from chainrule.train.idx import TYPES
from chainrule.train.models import read_model_file

CELLS = (
    "1", "2.5", "-3e4", "1,5", "1.234,5", "NA", "", "?", "nan", "inf", "1e999", "1_0", "yes", "No", "no ", "True",
    '"a,b"', '"', '"x""y"', "2020-01-01", "1/2/03 4:05", "$1,000", "5%", "#", "\x1b[31m", "\u202e", "é", "\ufeff", "0",
    "007", "Unnamed: 0", "target", "a" * 300, "9" * 400, "\0", "٣", "１２", "1 234", "'", "=1+1", "-", ".", "..",
    "0x1p3",
)  # fmt: skip
TOML = (
    'input = [2]\nloss = "mean_squared_error"\n[[layers]]\ntype = "Dense"\nunits = 3\nname = "a"\n[[layers]]\n'
    'type = "relu"\nfrom = ["a"]\n[training]\nepochs = 3\nrate = 0.1\noptimizer = "adam"\n'
)
WORDS = (
    "[", "]", "[[", "]]", "=", '"', "'", '"""', ".", ".a" * 300, "[" * 200, "{", "}", ",", "#", "1e999", "nan", "-1",
    "0", "9" * 5000, "true", "[[layers]]", 'type = "Conv2d"', 'type = "\\u001b[2J"', "units = 99999999", "\x00", "\x1b",
    "1979-05-27", "input = [1000000, 1000000]", 'name = "input"', 'loss = "e[n] = u[n,0]"', 'equation = "x"',
    "axes = [1]", "momentum = 0.5", "é", "inf", "steps = 3", "classes = 2", 'from = "b"', "\\", "l2 = -1",
)  # fmt: skip


def damaged(draw: random.Random, good: bytes) -> bytes:
    bad = bytearray(good)
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        at = draw.randrange(len(bad) + 1)
        match draw.randrange(4):
            case 0 if at < len(bad):
                bad[at] = draw.randrange(256)
            case 1:
                bad[at : at + draw.randrange(9)] = b""
            case 2:
                bad[at:at] = bad[draw.randrange(len(bad) + 1) :][: draw.randrange(40)]
            case _:
                bad[at:at] = draw.randbytes(draw.randrange(4))
    return bytes(bad[: draw.randrange(len(bad) + 1)] if draw.random() < 0.1 else bad)


def a_table(draw: random.Random) -> tuple[str, bytes]:
    width, separator = draw.randrange(1, 6), draw.choice([",", ";", "\t", " ", "|", ", ", ":"])
    kinds = [draw.sample(CELLS, draw.randrange(1, 4)) for _ in range(width)]
    rows = [[draw.choice(kind) for kind in kinds] for _ in range(draw.randrange(0, 30))]
    rows = [draw.sample(CELLS, width), *rows] if draw.random() < 0.7 else rows
    rows = [row[: draw.randrange(width + 1)] if draw.random() < 0.01 else row for row in rows]
    text = draw.choice(["", "", "", "\ufeff", "# a b\n", "\n"]) + draw.choice(["\n", "\r\n", "\r"]).join(
        separator.join(row) for row in rows
    )
    content = text.encode("utf-16" if draw.random() < 0.05 else "utf-8")
    if draw.random() < 0.5:
        content = damaged(draw, content)
    if draw.random() < 0.3:
        content = damaged(draw, draw.choice([gzip.compress, bz2.compress, lzma.compress, zipped])(content))
    return draw.choice(["t.csv", "t.tsv", "t.data", "t.csv.gz", "t.csv.zip"]), content


def zipped(content: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("t.csv"), content)
    return whole.getvalue()


def a_parquet(draw: random.Random) -> tuple[str, bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    rows, whole = draw.randrange(30), io.BytesIO()
    kinds: list[Callable[[], list[Any]]] = [
        lambda: [draw.choice([1.5, -2.0, 7, None, float("nan"), 1e300]) for _ in range(rows)],
        lambda: [draw.choice([0, 1, 2, None, 2**60]) for _ in range(rows)],
        lambda: [draw.choice(["u", "v", None, *CELLS]) for _ in range(rows)],
        lambda: [draw.choice([True, False, None]) for _ in range(rows)],
        lambda: [draw.choice([b"a", b"\xff", None]) for _ in range(rows)],
        lambda: [draw.choice([[1], [], None]) for _ in range(rows)],
        lambda: [draw.choice([{"a": 1}, None]) for _ in range(rows)],
    ]
    names = draw.sample(["a", "b", "a\x1b[2J", "target", "__index_level_0__", "é"], draw.randrange(1, 6))
    table = pa.table({name: draw.choice(kinds[:4] if draw.random() < 0.95 else kinds)() for name in names})
    parquet.write_table(
        table, whole, compression=draw.choice(["none", "snappy", "gzip", "zstd"]), use_dictionary=draw.random() < 0.5,
        data_page_version=draw.choice(["1.0", "2.0"]), row_group_size=draw.choice([5, 1000]),
    )
    return "t.parquet", damaged(draw, whole.getvalue()) if draw.random() < 0.5 else whole.getvalue()


def an_npz(draw: random.Random) -> tuple[str, bytes]:
    whole = io.BytesIO()
    packs = [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]
    pack = zipfile.ZIP_STORED if draw.random() < 0.5 else draw.choice(packs)
    rows = draw.randrange(1, 6)
    with zipfile.ZipFile(whole, "w", pack) as archive:
        others = draw.sample(["X", "x_train", "labels", "x_test", "y_test", "data", "z\x1b"], draw.randrange(1, 5))
        for name in ["x", "y"] if draw.random() < 0.5 else others:
            shape = draw.choice([(rows, 2), (rows, 2) if name == "x" else (rows,), (rows, 2, 2), (), (0,), (rows, 1)])
            array = np.zeros(shape, draw.choice(["f8", "f8", "i4", "u1", "?", "U3", "S2", "c8", "M8[D]", "f2"]))
            member = io.BytesIO()
            np.save(member, array)
            content = member.getvalue()
            if draw.random() < 0.3:
                content = content.replace(b"(", draw.choice([b"(9999999999, ", b"(-1, ", b"((", b"("]), 1)
            archive.writestr(f"{name}.npy", damaged(draw, content) if draw.random() < 0.3 else content)
    return "a.npz", damaged(draw, whole.getvalue()) if draw.random() < 0.6 else whole.getvalue()


def an_idx(draw: random.Random) -> tuple[str, bytes]:
    shape = [draw.choice([0, 9, 2**31]) if draw.random() < 0.1 else 3 for _ in range(draw.randrange(1, 4))]
    content = struct.pack(f">BBBB{len(shape)}I", 0, 0, draw.choice(list(TYPES)), len(shape), *shape)
    content += draw.randbytes(min(int(np.prod(shape, dtype=object)) * draw.choice([1, 1, 2, 4, 8]), 999))
    if draw.random() < 0.7:
        content = damaged(draw, content)
    return "t10k-images-idx3-ubyte", damaged(draw, gzip.compress(content, mtime=0)) if draw.random() < 0.3 else content


def a_model(draw: random.Random) -> tuple[str, bytes]:
    parts = re.findall(r"\w+|\s+|[^\w\s]", TOML)
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        at, other = draw.randrange(len(parts)), draw.randrange(len(parts))
        parts[at : at + draw.randrange(2)] = [draw.choice([draw.choice(WORDS), parts[other]])]
    content = "".join(parts).encode()
    return "m.toml", damaged(draw, content) if draw.random() < 0.3 else content


def as_a_model(path: Path) -> object:
    file = read_model_file(path)
    return file.build(input=file.input or (2,)) if np.prod(file.input or (2,), dtype=object) < 1000 else file


def as_data(path: Path) -> object:
    return str(cr.read_data(path)), read_samples(path, None, 2)


KINDS: dict[str, tuple[Callable[[random.Random], tuple[str, bytes]], Callable[[Path], object]]] = {
    "table": (a_table, as_data), "npz": (an_npz, as_data), "idx": (an_idx, as_data), "model": (a_model, as_a_model),
}  # fmt: skip
if find_spec("pyarrow"):
    KINDS["parquet"] = a_parquet, as_data
else:
    warnings.warn("pyarrow is not installed here: no damaged Parquet files are tried", stacklevel=1)


def answers(kind: str, folder: Path, seeds: range) -> tuple[list[str], int, float]:
    """What is answered amiss, how many were refused, and the most seconds that one took."""
    make, read = KINDS[kind]
    wrong, refused, longest = list[str](), 0, 0.0
    for seed in seeds:
        name, content = make(random.Random(seed))
        path = folder / name
        path.write_bytes(content)
        start = time.process_time()
        try:
            read(path)
        except cr.ChainruleError as error:
            refused += 1
            if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", str(error)) or len(str(error)) >= 3000:
                wrong.append(f"{seed} is refused with {error}")
        except Exception as error:  # of any kind: that is what is looked for
            wrong.append(f"{seed} ends in {type(error).__name__}: {error}")
        longest = max(longest, time.process_time() - start)
    return wrong, refused, longest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_made_up_at_random_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(3))
    wrong, refused, _ = answers(kind, tmp_path, range(250))
    assert wrong == [] and 10 < refused < 250


def test_a_reader_that_ends_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "npz", (an_npz, lambda path: 1 // 0))
    wrong, refused, _ = answers("npz", tmp_path, range(2))
    assert [line.split(":")[0] for line in wrong] == ["0 ends in ZeroDivisionError", "1 ends in ZeroDivisionError"]
    assert refused == 0


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_many_files_are_read_or_refused_in_no_time(kind: str, part: int, tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(3))
    before = getrusage(RUSAGE_SELF).ru_maxrss
    wrong, _, longest = answers(kind, tmp_path, range(1000 + 5000 * part, 6000 + 5000 * part))
    assert wrong == [] and longest < 2
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 1 << 19  # KiB


@pytest.mark.parametrize("label", [2**30, 3e9, 2**62])
def test_one_large_number_is_no_number_of_a_class(label: float, tmp_path: Path) -> None:
    """As many names as that would take all memory."""
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.array([0, 1, 0, label]))
    assert str(cr.read_data(tmp_path / "a.npz")).endswith(f"target: numbers from 0 to {float(label):g}")


def test_what_is_unpacked_is_bounded_by_what_is_there(tmp_path: Path) -> None:
    bomb = tmp_path / "a.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_LZMA) as archive:
        member = io.BytesIO()
        np.save(member, np.zeros((1 << 22, 1)))
        archive.writestr("x.npy", member.getvalue())
    tracemalloc.start()
    with pytest.raises(cr.DataError, match="packed as np"):
        cr.read_data(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_text_of_what_is_no_character_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in (("x", np.zeros((3, 1))), ("y", np.array(["no", "yes", "no"], ">U3"))):
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(f"{name}.npy", member.getvalue().replace(b"\0\0\0s", b"\x7f\0\0s"))
    with pytest.raises(cr.DataError, match="no character"):
        cr.read_data(tmp_path / "a.npz")


KEY = "a." * 60_000 + "a"


@pytest.mark.parametrize("text", [f"{KEY} = 1\n", f"[{KEY}]\n", f"x = {{{KEY} = 1}}\n"], ids=["key", "table", "inline"])
def test_keys_of_many_dots_are_refused_at_once(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(cr.ModelError, match="60000 dots"):
        read_model_file(path)
