"""Tables as people have them: each with its right reading, from a file, from memory, and through a saved model."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.columns import Columns
from chainrule.train.delimited import read_table
from chainrule.train.files import read_labelled, read_samples
from chainrule.train.models import read_model_file
from chainrule.train.run import model_for, targets
from chainrule.train.table import column_of, number, number_with_comma

Reading = tuple[Any, Any, Any]  # x, y and the classes
NAN = float("nan")


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path, **options: Any) -> Reading:
    data = cr.read_data(path, **options)
    return data.x.tolist(), data.y.tolist(), data.classes


def error(path: Path, **options: Any) -> str:
    with pytest.raises(cr.DataError) as caught:
        cr.read_data(path, **options)
    assert caught.value.fix
    return str(caught.value)


AB = ([[1, 2.5], [3, 4.5], [5, 6.5]], [0, 1, 0], ["no", "yes"])
A = ([[1.5], [2.5], [3.5]], [0, 1, 0], ["no", "yes"])
NUMBERS = ([[1.5, 2], [2.5, 3], [3.5, 4]], [0.5, 1.5, 2.5], None)

TABLES: dict[str, tuple[str, Reading]] = {
    # Headers, judged by what stands below them
    "names above numbers": ("a,b,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "no names": ("1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "no names, numbers alone": ("1.5,2,.5\n2.5,3,1.5\n3.5,4,2.5\n", NUMBERS),
    "pandas' default names": ("0,1,2\n1.5,2,.5\n2.5,3,1.5\n3.5,4,2.5\n", NUMBERS),
    "pandas' default names and a text": ("0,1,species\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "pandas' default names of two columns": ("0,1\n1.5,no\n2.5,yes\n3.5,no\n", A),
    "pandas' default names and classes": (
        "0,1,2\n.5,.1,1\n.2,.3,0\n.4,.4,1\n",
        ([[0.5, 0.1], [0.2, 0.3], [0.4, 0.4]], [1, 0, 1], ["0", "1"]),
    ),
    "pandas' default names above two rows": (
        "0,1,species\n5.1,3.5,setosa\n4.9,3.0,virginica\n",
        ([[5.1, 3.5], [4.9, 3]], [0, 1], ["setosa", "virginica"]),
    ),
    "pandas' index": (",a,b,y\n0,1,2.5,no\n1,3,4.5,yes\n2,5,6.5,no\n", AB),
    "pandas' index, written twice": ("Unnamed: 0.1,Unnamed: 0,a,y\n0,0,1.5,no\n1,1,2.5,yes\n2,2,3.5,no\n", A),
    "pandas' index and default names": (",0,1,2\n0,1.5,2,.5\n1,2.5,3,1.5\n2,3.5,4,2.5\n", NUMBERS),
    "an index of texts": (",a,y\nAnn,1.5,no\nBob,2.5,yes\nCid,3.5,no\n", A),
    "R's short line of names": ('"a","b","y"\n"1",1,2.5,"no"\n"2",3,4.5,"yes"\n"3",5,6.5,"no"\n', AB),
    "R's quotes within texts": ('"a" "y"\n"1" 1.5 "the \\"no\\""\n"2" 2.5 "yes"\n"3" 3.5 "the \\"no\\""\n', (
        A[0], A[1], ['the "no"', "yes"]
    )),
    "paths of Windows in quotes": ('"y","a"\n"c:\\no\\",1.5\n"c:\\yes\\",2.5\n"c:\\no\\",3.5\n', (
        [[0], [1], [0]], [1.5, 2.5, 3.5], None
    )),
    "R's names of rows": ('"a" "y"\n"Mazda" 1.5 "no"\n"Datsun" 2.5 "yes"\n"Fiat" 3.5 "no"\n', A),
    "years as names": (
        "g,2010,2011,2012\nu,1,2,.5\nv,3,4,1.5\nu,5,6,2.5\n",
        ([[0, 1, 2], [1, 3, 4], [0, 5, 6]], [0.5, 1.5, 2.5], None),
    ),
    "years with gaps as names": (
        "town,1990,2000,2015\nRome,1.5,2,.5\nOslo,2.5,3,1.5\nBern,3.5,4,2.5\n",
        ([[0, 0, 1, 1.5, 2], [0, 1, 0, 2.5, 3], [1, 0, 0, 3.5, 4]], [0.5, 1.5, 2.5], None),
    ),
    "a first sample that counts": (
        "0,1,1\n1,0,1\n0,0,0\n1,1,0\n",
        ([[0, 1], [1, 0], [0, 0], [1, 1]], [1, 1, 0, 0], ["0", "1"]),
    ),
    "exclusive or": ("0,0,0\n0,1,1\n1,0,1\n1,1,0\n", ([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], ["0", "1"])),
    "texts alone, with names": ("kind,shape\ne,x\np,y\ne,x\n", ([[0], [1], [0]], [0, 1, 0], ["x", "y"])),
    "texts alone, without names": ("e,x\np,y\ne,x\n", ([[0], [1], [0]], [0, 1, 0], ["x", "y"])),
    "names above missing values": (
        "a,b,y\n,2.5,no\n3,NA,yes\n5,6.5,no\n",
        ([[4, 2.5], [3, 4.5], [5, 6.5]], [0, 1, 0], ["no", "yes"]),
    ),
    "a first line with a missing value": (
        "?,2.5,no\n3,4.5,yes\n5,6.5,no\n",
        ([[4, 2.5], [3, 4.5], [5, 6.5]], [0, 1, 0], ["no", "yes"]),
    ),
    "one line below the names": ("a,b,y\n1,2.5,no\n", ([[1, 2.5]], [0], ["no"])),
    "names in quotes with separators in them": ('"a, in m","b; in s",y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n', AB),
    "a line break within a name": ('"a\nin m",b,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n', AB),
    "two columns of one name": ("a,a,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "a column without a name in the middle": ("a,,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "names that are capitals alone": ("A,Y\n1.5,no\n2.5,yes\n3.5,no\n", A),
    # What separates
    "semicolons": ("a;b;y\n1;2.5;no\n3;4.5;yes\n5;6.5;no\n", AB),
    "semicolons and decimal commas": ("a;b;y\n1;2,5;no\n3;4,5;yes\n5;6,5;no\n", AB),
    "semicolons and decimal commas alone": ("1,5;2;0,5\n2,5;3;1,5\n3,5;4;2,5\n", NUMBERS),
    "commas and decimal commas in quotes": ('"1,5",2,"0,5"\n"2,5",3,"1,5"\n"3,5",4,"2,5"\n', NUMBERS),
    "semicolons within texts": (
        "a,b,y\n1,2.5,no; never\n3,4.5,yes; often\n5,6.5,no; never\n",
        (AB[0], AB[1], ["no; never", "yes; often"]),
    ),
    "a first line that tells Excel the separator": ("sep=|\r\na|b|y\r\n1|2.5|no\r\n3|4.5|yes\r\n5|6.5|no\r\n", AB),
    "tabs": ("a\tb\ty\n1\t2.5\tno\n3\t4.5\tyes\n5\t6.5\tno\n", AB),
    "tabs and decimal commas": ("a\tb\ty\n1\t2,5\tno\n3\t4,5\tyes\n5\t6,5\tno\n", AB),
    "bars": ("a|b|y\n1|2.5|no\n3|4.5|yes\n5|6.5|no\n", AB),
    "spaces": ("a b y\n1 2.5 no\n3 4.5 yes\n5 6.5 no\n", AB),
    "spaces in columns": ("  a    b  y\n  1  2.5  no\n  3  4.5  yes\n  5  6.5  no\n", AB),
    "spaces behind commas": ("a, b, y\n1, 2.5, no\n3, 4.5, yes\n5, 6.5, no\n", AB),
    "spaces, and a tab before a name": ("1 2.5\t\"no\"\n3 4.5\t\"yes\"\n5 6.5\t\"no\"\n", AB),
    "spaces within texts": ("a,y\n1.5,not now\n2.5,yes sir\n3.5,not now\n", (A[0], A[1], ["not now", "yes sir"])),
    "a separator at the end of each line": ("a,b,y,\n1,2.5,no,\n3,4.5,yes,\n5,6.5,no,\n", AB),
    "a separator at the end of each line but the first": ("a,b,y\n1,2.5,no,\n3,4.5,yes,\n5,6.5,no,\n", AB),
    # Lines
    "a mark of the byte order": ("\ufeffa,b,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n", AB),
    "Windows' ends of lines": ("a,b,y\r\n1,2.5,no\r\n3,4.5,yes\r\n5,6.5,no\r\n", AB),
    "empty lines": ("\n\na,b,y\n\n1,2.5,no\n3,4.5,yes\n,,\n5,6.5,no\n\n", AB),
    "comments": ("# made by hand\n# 2020\na,b,y\n1,2.5,no\n# a break\n3,4.5,yes\n5,6.5,no\n", AB),
    "names in a comment": ("# a b y\n1 2.5 0.5\n3 4.5 1.5\n", ([[1, 2.5], [3, 4.5]], [0.5, 1.5], None)),
    "an index called #": ("#,a,y\n1,1.5,no\n2,2.5,yes\n3,3.5,no\n", A),
    # Numbers
    "thousands": (
        'a,b,y\n"1,000",2.5,no\n"3,000",4.5,yes\n"5,000,000",6.5,no\n',
        ([[1000, 2.5], [3000, 4.5], [5e6, 6.5]], AB[1], AB[2]),
    ),
    "thousands with points": ("a;y\n1.000,5;no\n2.000,5;yes\n", ([[1000.5], [2000.5]], [0, 1], ["no", "yes"])),
    "thousands with spaces": ("a;y\n1 000;no\n2 000;yes\n", ([[1000], [2000]], [0, 1], ["no", "yes"])),
    "money and percent": ('a,b,y\n"$1,000.50",5%,no\n$2,10 %,yes\n', ([[1000.5, 5], [2, 10]], [0, 1], ["no", "yes"])),
    "money and percent with commas": (
        "a;b;y\n1.000,50 €;5 %;no\n2,00 €;7,5%;yes\n", ([[1000.5, 5], [2, 7.5]], [0, 1], ["no", "yes"])
    ),
    "powers of ten": ("a,b,y\n1e0,2.5E0,no\n+3,4.5,yes\n5.,6.5,no\n", AB),
    # What is missing
    "missing numbers": (
        "a,y\n1.5,no\n,yes\n3.5,no\nNA,yes\nnan,no\n?,no\n5.5,yes\n",
        ([[1.5], [3.5], [3.5], [3.5], [3.5], [3.5], [5.5]], [0, 1, 0, 1, 0, 0, 1], ["no", "yes"]),
    ),
    "a missing text is a value": ("a,y\nu,no\n,yes\nu,no\n", ([[0], [1], [0]], [0, 1, 0], ["no", "yes"])),
    "missing texts among three": (
        "a,y\nu,no\nv,yes\nNA,no\nw,yes\n",
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [0, 1, 0, 1], ["no", "yes"]),
    ),
    "rows without a target": ("a,y\n1.5,no\n9,NA\n2.5,yes\n9,\n3.5,no\n", A),
    # Texts and truth values
    "a column of two texts": ("sex,age,y\nf,23,no\nm,31,yes\n", ([[0, 23], [1, 31]], [0, 1], ["no", "yes"])),
    "a column of three texts": (
        "a,y\nu,no\nv,yes\nw,no\n",
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 0], ["no", "yes"]),
    ),
    "truth values": ("a,b,y\nTrue,1,no\nFalse,,yes\n", ([[1, 1], [0, 1]], [0, 1], ["no", "yes"])),
    "truth values to learn": ("a,y\n1.5,False\n2.5,True\n3.5,False\n", (A[0], A[1], ["False", "True"])),
    "codes with letters": (
        "doors,y\n2,no\n3,yes\n5more,no\n",
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 0], ["no", "yes"]),
    ),
    "one spelling of each text": (
        "a,y\n1,Yes\n2,yes\n3,no\n4, No\n5,no\n6,yes\n",
        ([[1], [2], [3], [4], [5], [6]], [1, 1, 0, 0, 0, 1], ["no", "yes"]),
    ),
    "letters are told apart": (
        "x,letter\n1,a\n2,A\n3,b\n4,B\n5,c\n6,C\n",
        ([[1], [2], [3], [4], [5], [6]], [3, 0, 4, 1, 5, 2], ["A", "B", "C", "a", "b", "c"]),
    ),
    "a column that is always the same": ("a,c,y\n1.5,7,no\n2.5,7,yes\n3.5,7,no\n", A),
    "a number or nothing": ("a,c,y\n1.5,7,no\n2.5,,yes\n3.5,7,no\n", (
        [[1.5, 0], [2.5, 1], [3.5, 0]], A[1], A[2]
    )),
    "an empty column": ("a,c,y\n1.5,,no\n2.5,,yes\n3.5,,no\n", A),
    # Targets
    "labels of any range": ("a,y\n1.5,5\n2.5,15\n3.5,25\n", (A[0], [0, 1, 2], ["5", "15", "25"])),
    "labels -1 and 1": ("a,y\n1.5,-1\n2.5,1\n3.5,-1\n", (A[0], A[1], ["-1", "1"])),
    "labels 1 and 2, with decimals": ("a,y\n1.5,1.0\n2.5,2.0\n3.5,1.0\n", (A[0], A[1], ["1", "2"])),
    "numbers to learn": ("a,b,y\n1.5,2,.5\n2.5,3,1.5\n3.5,4,2.5\n", NUMBERS),
    "whole numbers of many values": ("a,y\n1,10\n2,20\n3,30\n4,41\n", ([[1], [2], [3], [4]], [10, 20, 30, 41], None)),
    "a target by its name": ("class,a\nno,1.5\nyes,2.5\nno,3.5\n", A),
    "None is a class": ("a,y\n1.5,None\n2.5,Some\n3.5,None\n", (A[0], A[1], ["None", "Some"])),
    "plus and minus are classes": ("a,y\n1.5,+\n2.5,-\n3.5,+\n", (A[0], A[1], ["+", "-"])),
    "None and - among numbers": ("a,y\n1.5,no\nNone,yes\n-,no\n", ([[1.5], [1.5], [1.5]], [0, 1, 0], ["no", "yes"])),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_read_as_what_it_is(kind: str, tmp_path: Path) -> None:
    text, expected = TABLES[kind]
    assert read(write(tmp_path, text)) == expected


def test_there_are_as_many_tables_as_promised() -> None:
    assert len(TABLES) >= 60
    assert len({text for text, _ in TABLES.values()}) == len(TABLES)


def untrained(path: Path) -> str:
    """Why the command line's network learns no epoch of a table, with no option; nothing, where it does."""
    try:
        data = cr.read_data(path)
        model = model_for(read_model_file("mlp"), data, seed=0)
        history = model.fit(data.x, targets(model, data, data.y), epochs=1, verbose=False, executor="numpy")
    except cr.ChainruleError as refused:
        return str(refused)
    return "" if np.isfinite(history.loss).all() else "the loss is not finite"


@pytest.mark.parametrize("part", [6, pytest.param(1, marks=pytest.mark.campaign)])
def test_the_tables_with_texts_train_as_they_are(part: int, tmp_path: Path) -> None:
    paths = {kind: write(tmp_path, text, f"{kind}.csv") for kind, (text, _) in TABLES.items()}
    texts = {kind: path for kind, path in paths.items() if holds_texts(path)}
    chosen = list(texts)[::part]
    failed = {kind: why for kind in chosen if (why := untrained(texts[kind]))}
    assert len(texts) >= 60 and failed.keys() <= {"one line below the names"}, failed  # which has one class alone
    assert "holds dates" in untrained(write(tmp_path, "when,y\n2020-01-01,no\n2020-01-02,yes\n"))


def holds_texts(path: Path) -> bool:
    return any(column.texts is not None for column in read_table(path).columns)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.data", "t.tsv", "t.txt", "T.CSV"])
def test_the_suffix_says_that_it_is_a_table_and_no_more(name: str, tmp_path: Path) -> None:
    text = TABLES["bars"][0].encode()
    assert read(write(tmp_path, gzip.compress(text) if name.endswith("gz") else text, name)) == AB


def test_excels_text_in_utf_16_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path, TABLES["tabs"][0].encode("utf-16"))) == AB


def test_an_npz_may_call_its_samples_X(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.eye(4), y=[0, 1, 0, 1])
    assert read(tmp_path / "d.npz")[:2] == (np.eye(4).tolist(), [0, 1, 0, 1])


def test_each_column_of_ids_has_a_table_of_its_own_size() -> None:
    class Pair(cr.Layer):
        equation = (
            "p[n,f<3] = sum[a<4]([a == x[n,0]]*A[a,f])\nq[n,f<3] = sum[b<6]([b == x[n,1]]*B[b,f])\n"
            "y[n,o<1] = sum[f](p[n,f]*q[n,f]) + m[o]"
        )
        init: ClassVar[Any] = {"A": cr.ones(4, 3), "B": cr.ones(6, 3), "m": cr.zeros(1)}

    model = cr.Sequential(cr.Input(2, dtype="integer"), Pair(), loss="mean_squared_error")
    assert model.predict([[0, 5], [3, 1]]).tolist() == [[3], [3]]
    for beyond in ([4, 0], [0, 6]):
        with pytest.raises(cr.DataError, match=r"outside 0 … [35]"):
            model.predict([beyond])


# What is asked for goes before what is seen


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a,b,y\n1.5,9,no\n2.5,8,yes\n3.5,9,no\n", {"drop": ["b"]}, A),
        ("a,b,y\n1.5,9,no\n2.5,8,yes\n3.5,9,no\n", {"columns": ["a"]}, A),
        ("a,b,y\n1.5,9,no\n2.5,8,yes\n3.5,9,no\n", {"columns": [1]}, A),
        ("y,a\nno,1.5\nyes,2.5\nno,3.5\n", {"target": "y"}, A),
        ("Y,a\nno,1.5\nyes,2.5\nno,3.5\n", {"target": "y"}, A),
        ("0,1\n5,6\n7,8\n", {"header": True, "kind": "numbers"}, ([[5], [7]], [6, 8], None)),
        ("0,1\n5,6\n7,8\n", {"header": False, "kind": "numbers"}, ([[0], [5], [7]], [1, 6, 8], None)),
        ("a,y\n1.5,no\n-999,yes\n3.5,no\n", {"missing": "-999"}, ([[1.5], [2.5], [3.5]], [0, 1, 0], ["no", "yes"])),
        ("a,y\n1.5,no\n*,yes\n3.5,no\n", {"missing": ["*"]}, ([[1.5], [2.5], [3.5]], [0, 1, 0], ["no", "yes"])),
        ("a:y\n1.5:no\n2.5:yes\n3.5:no\n", {"separator": ":"}, A),
        ("a,s,y\n1.5,7,no\n2.5,c7,yes\n3.5,8,no\n" + "2.5,9,yes\n" * 40, {"drop": ["s"]}, (
            [*A[0], *[[2.5]] * 40], [*A[1], *[1] * 40], A[2]
        )),
        ("a,y\n1,3\n2,3\n3,4\n4,4\n", {"kind": "numbers"}, ([[1], [2], [3], [4]], [3, 3, 4, 4], None)),
        ("a,y\n1,.5\n2,1.5\n3,.5\n", {"kind": "classes"}, ([[1], [2], [3]], [0, 1, 0], ["0.5", "1.5"])),
    ],
)
def test_options_decide(text: str, options: dict[str, Any], expected: Reading, tmp_path: Path) -> None:
    assert read(write(tmp_path, text), **options) == expected


# What is refused, and with which advice


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("when,y\n2020-01-01,1\n2020-01-02,0\n", {}, ["column 1 (when)", "dates", "--drop when"]),
        ("a,when,y\n1,3/4/2021 10:30,u\n2,13/4/2021 9:00,v\n", {}, ["column 2 (when)", "dates"]),
        ("a,y\n1,1 Jan 2020\n2,2 Feb 2020\n", {}, ["dates", "--target"]),
        ("a,b,y\n1,,no\n2,3,yes\n", {"missing": "refuse"}, ["line 2, column 2 (b)", "is empty"]),
        ("a,y\n1,no\n" + "2,3\n" * 40, {"kind": "numbers"}, ["line 2, column 2 (y)", "'no'"]),
        ("a,s,y\n1,7,no\n2,c7,yes\n" + "3,8,no\n" * 40, {}, ["line 3, column 2 (s)", "'c7'", "--drop"]),
        ("a,b\n" + "".join(f"{i % 3},name {i}\n" for i in range(30)), {}, ["30 texts in 30 rows", "--target"]),
        ("a,b,y\n1,2,3\n", {"drop": ["c"]}, ["no column 'c'"]),
        ("a,b,y\n1,2,3\n", {"separator": ";;"}, ["no single character"]),
        ("a,y\n1,\n2,\n", {}, ["column 2 (y)", "empty"]),
        ("name,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(30)), {}, ["no column to learn from"]),
        ("a,b,y\n1,2,3\n4,inf,6\n", {}, ["line 3, column 2 (b)", "not finite"]),
    ],
)
def test_what_cannot_be_used_is_named_with_the_fix(
    text: str, options: dict[str, Any], says: list[str], tmp_path: Path
) -> None:
    found = error(write(tmp_path, text), **options)
    assert all(part in found for part in says), found


def test_a_pipe_and_a_line_without_end_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "no regular file" in error(tmp_path / "pipe.csv")
    assert "longer than" in error(write(tmp_path, "a,b\n" + "1" * (1 << 21), "long.csv"))


PACKS: dict[str, Any] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def packed(content: bytes, suffix: str, *names: str) -> bytes:
    if suffix != "zip":
        return PACKS[suffix](content)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("t.csv",):
            archive.writestr(name, content)
    return whole.getvalue()


@pytest.mark.parametrize("suffix", [*PACKS, "zip"])
def test_a_packed_table_is_read_within_the_same_bounds(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = packed(TABLES["bars"][0].encode(), suffix)
    assert read(write(tmp_path, good, f"t.csv.{suffix}")) == AB
    assert read(write(tmp_path, good, "t.csv")) == AB  # whatever its name says
    for bad in (good[:-5], good[:40] + b"\xff\xff" + good[42:]):
        assert re.search("damaged|unpacked|UTF-8|zero byte", error(write(tmp_path, bad, f"t.csv.{suffix}")))
    monkeypatch.setattr("chainrule.train.packed.SMALL", 1 << 20)
    bomb = write(tmp_path, packed(b"1,2,3\n" * (1 << 18), suffix), f"bomb.csv.{suffix}")
    assert bomb.stat().st_size < 1 << 13
    assert "unpacks to more than 1,048,576 bytes" in error(bomb)


def test_an_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    text = TABLES["bars"][0].encode()
    assert read(write(tmp_path, packed(text, "zip", "a/", "a/t.csv", "__MACOSX/t"), "t.csv.zip")) == AB
    assert "holds 2 files" in error(write(tmp_path, packed(text, "zip", "t.csv", "u.csv"), "t.csv.zip"))


@pytest.mark.parametrize("text", ["a,b,y\n1,2.5,no\n3,4\0.5,yes\n", "a,b,y\n1,2.5,no\n3,4.5,\0yes\n", "\0a,y\n\n1,2\n"])
def test_a_zero_byte_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    at = text.index("\0")
    line, character = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    assert f"line {line} of" in (said := error(write(tmp_path, text)))
    assert f"zero byte at character {character}," in said


# What is said


def notes_of(path: Path, **options: Any) -> str:
    columns = cr.read_data(path, **options).columns
    assert columns is not None
    return "\n".join(columns.notes)


@pytest.mark.parametrize(
    ("text", "samples", "says"),
    [
        ("1,2,3\n" + "".join(f"{i % 7},{i % 5},{i % 3}\n" for i in range(50)), 51, "1, 2, 3, is taken for a sample"),
        ("0,1\n" + "".join(f"{i % 7},{i % 3}\n" for i in range(50)), 51, "0, 1, is taken for a sample"),
        ("2010,2011,2012\n" + "".join(f"{i % 7}.5,{i},{i / 2}\n" for i in range(50)), 50, "is taken for names"),
        ("7,70,700\n8,80,800\n9,90,900\n", 3, "7, 70, 700, is taken for a sample"),
        ("a,b\nc,d\ne,f\n", 2, "a, b, is taken for names"),
        ("1,2,3\n" + "".join(f"{i % 7},{i % 5},{i % 3}\n" for i in range(50)), 51, "--header, or header=True"),
        ("0,1,2,3\n" + "".join(f"{i % 7},{i % 5},1,{i % 3}\n" for i in range(50)), 50, ""),
        ("3,1,2\n" + "".join(f"{i % 7},{i % 5},{i % 3}\n" for i in range(50)), 51, ""),
    ],
)
def test_a_first_line_that_may_be_doubted_is_said(text: str, samples: int, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    assert len(cr.read_data(path).x) == samples
    assert says in (said := notes_of(path))
    assert bool(says) == ("the first line" in said)
    assert not any("the first line" in notes_of(path, header=header) for header in (True, False))


@pytest.mark.parametrize(
    ("text", "options", "first", "says"),
    [
        ("a;y\n1.000;no\n2.000;yes\n", {}, 1, "1.000 is taken for 1, not 1000: --decimal"),
        ("a;y\n1.000;no\n2.000;yes\n", {"decimal": ","}, 1000, ""),
        ("a;y\n1,000;no\n2,000;yes\n", {}, 1, "1,000 is taken for 1, not 1000: --decimal"),
        ("a;y\n1,000;no\n2,000;yes\n", {"decimal": "."}, 1000, ""),
        ("a\ty\n1,000\tno\n2,000\tyes\n", {}, 1000, "1,000 is taken for 1000, not 1: --decimal"),
        ("a;b;y\n1.000;1,5;no\n2.000;2,5;yes\n", {}, 1000, "decimals are written with commas"),
        ("a;b;y\n1.000;1.5;no\n2.000;2.5;yes\n", {}, 1, ""),
        ('a,y\n"1,000",no\n"2,000",yes\n', {}, 1000, ""),
    ],
)
def test_numbers_that_can_be_read_in_two_ways_are_said(
    text: str, options: dict[str, Any], first: float, says: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    assert cr.read_data(path, **options).x[0, 0] == first
    assert says in (said := notes_of(path, **options))
    assert bool(says) == ("taken for" in said or "commas" in said)


def test_one_line_says_what_was_understood_and_notes_say_what_was_done(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 7 / 2},{'uv'[i % 2]},person {i},7,{'no' if i % 3 else 'yes'}\n" for i in range(30))
    data = cr.read_data(write(tmp_path, "id,a,b,name,c,y\n" + rows + "30,,u,person,7,yes\n"))
    assert str(data).endswith(
        "t.csv: 31 samples; 2 inputs from columns: 1 of numbers and 1 of texts; target y: 2 classes, no 20, yes 11"
    )
    assert data.columns is not None
    notes = "\n".join(data.columns.notes)
    for part in ("name has a text of its own", "c is always 7", "a: 1 of 31 are missing, taken for the median, 1.5"):
        assert part in notes
    whole = cr.read_data(write(tmp_path, "Id,a,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(30))))
    assert whole.x.shape == (30, 1)
    assert whole.columns is not None
    assert "Id numbers the rows: it is left out" in whole.columns.notes


def test_a_text_of_many_values_has_an_input_for_the_frequent_ones(tmp_path: Path) -> None:
    cities = [f"city {i % 300 if i < 600 else i % 10}" for i in range(1000)]
    data = cr.read_data(write(tmp_path, "city,y\n" + "".join(f"{c},{i % 2}\n" for i, c in enumerate(cities))))
    assert data.x.shape == (1000, 256)
    assert set(data.x.sum(axis=1).tolist()) == {0, 1}
    assert data.columns is not None
    assert "the 256 most frequent of 300" in data.columns.notes[0]


def test_what_comes_from_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path, "a\x1b[31m,y\nfive\x1b]x\x07,no\n1,yes\n2,no\n")
    assert "\x1b" not in error(path, missing="refuse") + error(path, target="\x1b[2J")


# Numbers


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("1", 1, 1), ("-1.5", -1.5, None), ("1,5", None, 1.5), ("1,234", 1234, 1.234), ("1.234", 1.234, 1234),
        ("1,234.5", 1234.5, None), ("1.234,5", None, 1234.5), ("1'234", 1234, 1234), ("1_000", None, None),
        ("12,34", None, 12.34), ("$5", 5, 5), ("-$5", -5, -5), ("5 €", 5, 5), ("7%", 7, 7),
        ("1.234,50 €", None, 1234.5),
        ("%", None, None), ("$$5", None, None),
        ("", None, None), (",", None, None), ("1,2,3", None, None), ("1e3", 1000, 1000),
        ("0x10", None, None), ("five", None, None), ("1,", None, None), ("+1,5", None, 1.5),
        ("e99", None, None), (",5", None, 0.5), ("0.123", 0.123, None), ("0,123", None, 0.123),
    ],
)  # fmt: skip
def test_a_cell_is_the_number_that_people_mean(cell: str, point: float | None, comma: float | None) -> None:
    assert (number(cell), number_with_comma(cell)) == (point, comma)


# The mapping is part of the model and its file

TRAINED = "sex,age,city,y\n" + "".join(
    f"{'fm'[i % 2]},{20 + i},{('Rome', 'Oslo', 'Bern')[i % 3]},{'yes' if i % 2 else 'no'}\n" for i in range(24)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> cr.Model:
    folder = tmp_path_factory.mktemp("model")
    data = cr.read_data(write(folder, TRAINED))
    model = cr.Sequential(cr.Input(5), cr.Standardise(), cr.Dense(2), loss="softmax_cross_entropy")
    model.columns, model.classes = data.columns, tuple(data.classes or ())
    model.save(folder / "m.safetensors")
    return cr.load(folder / "m.safetensors")


SAME = [[0, 30, 0, 0, 1], [1, 40, 0, 1, 0]]


@pytest.mark.parametrize(
    "text",
    [
        "sex,age,city,y\nf,30,Rome,no\nm,40,Oslo,yes\n",
        "city,y,age,sex\nRome,no,30,f\nOslo,yes,40,m\n",
        "age,city,sex\n30,Rome,f\n40,Oslo,m\n",
        ",AGE,City,sex\n0,30,rome,F\n1,40,OSLO,M\n",
        "f,30,Rome\nm,40,Oslo\n",
        "f,30,Rome,no\nm,40,Oslo,yes\n",
    ],
)
def test_columns_are_matched_by_name(text: str, model: cr.Model, tmp_path: Path) -> None:
    assert read_samples(write(tmp_path, text), model.columns, 5).tolist() == SAME


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sex,city\nf,Rome\n", "no column 'age'"),
        ("sex,age,town\nf,30,Rome\n", "no column 'city'"),
        ("sex,age,city,wage\nf,30,Rome,7\n", "column 4 (wage)"),
        ("f,30\nm,40\n", "2 columns"),
        ("sex,age,city\nf,old,Rome\nm,old,Rome\n", "'old', which is no number"),
        ("sex,age,city\nx,30,Rome\nx,40,Rome\n", "none of the values that the model knows"),
    ],
)
def test_missing_and_foreign_columns_are_refused_by_name(
    text: str, says: str, model: cr.Model, tmp_path: Path
) -> None:
    with pytest.raises(cr.DataError, match=re.escape(says)):
        read_samples(write(tmp_path, text), model.columns, 5)


def test_unknown_and_missing_values_are_as_when_the_model_was_trained(model: cr.Model, tmp_path: Path) -> None:
    x = read_samples(write(tmp_path, "sex,age,city\nf,,Rome\nm,40,Paris\n"), model.columns, 5)
    assert x.tolist() == [[0, 31.5, 0, 0, 1], [1, 40, 0, 0, 0]]


def test_a_table_is_evaluated_by_its_own_labels(model: cr.Model, tmp_path: Path) -> None:
    data = read_labelled(write(tmp_path, "y,age,city,sex\nyes,40,Oslo,m\n"), model.columns)
    assert (data.x.tolist(), data.y.tolist(), data.classes) == ([SAME[1]], [1], ["no", "yes"])
    with pytest.raises(cr.DataError, match="'maybe', which the model does not know"):
        read_labelled(write(tmp_path, "y,age,city,sex\nmaybe,40,Oslo,m\n"), model.columns)
    with pytest.raises(cr.DataError, match="no column 'y', which the model learnt"):
        read_labelled(write(tmp_path, "age,city,sex\n40,Oslo,m\n"), model.columns)


def trained_on(folder: Path, text: str) -> Columns:
    """The mapping of a table, as a model's file keeps it."""
    columns = cr.read_data(write(folder, text, "trained.csv")).columns
    assert columns is not None
    return Columns.restored(json.loads(json.dumps(columns.saved())))


YEARS = "2019,2020,y\n" + "".join(f"{i % 7},{i % 5},{'no' if i % 2 else 'yes'}\n" for i in range(30))


@pytest.mark.parametrize("text", ["2019,2020\n1,2\n3,4\n", "2020,2019\n2,1\n4,3\n", "y,2020,2019\nno,2,1\nyes,4,3\n",
                                  ",2019,2020\n0,1,2\n1,3,4\n"])  # fmt: skip
def test_names_that_the_model_knows_are_no_sample_whatever_they_look_like(text: str, tmp_path: Path) -> None:
    columns = trained_on(tmp_path, YEARS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_samples(write(tmp_path, text), columns, 2).tolist() == [[1, 2], [3, 4]]


def test_names_that_the_model_knows_are_matched_and_what_is_in_doubt_is_said(tmp_path: Path) -> None:
    columns = trained_on(tmp_path, YEARS)
    with pytest.warns(UserWarning, match="the first line, 2019, 2020, is taken for names: --no-header"):
        read_samples(write(tmp_path, "2019,2020\n1,2\n3,4\n"), columns, 2)
    with pytest.warns(UserWarning, match="has no names: its columns are taken in their order"):
        assert read_samples(write(tmp_path, "1,2\n3,4\n"), columns, 2).tolist() == [[1, 2], [3, 4]]
    with pytest.warns(UserWarning), pytest.raises(cr.DataError, match="no column '2020'"):
        read_samples(write(tmp_path, "2019\n1\n"), columns, 2)


def test_names_that_differ_in_capitals_alone_are_matched_with_a_word(tmp_path: Path) -> None:
    columns = trained_on(tmp_path, "a,A,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_samples(write(tmp_path, "A,a\n2,1\n"), columns, 2).tolist() == [[1, 2]]
    columns = trained_on(tmp_path, "a,b,y\n1,2.5,no\n3,4.5,yes\n5,6.5,no\n")
    with pytest.warns(UserWarning, match="the column 'B' of .* is taken for 'b'"):
        assert read_samples(write(tmp_path, "a,B\n1,2\n"), columns, 2).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("trained", "text", "number"),
    [
        ("a;y\n1,5;no\n2,5;yes\n", "a\n1.000\n", 1000), ("a;y\n1,5;no\n2,5;yes\n", "y;a\n;1,5\n", 1.5),
        ("a;y\n1,5;no\n2,5;yes\n", "a\n1.5\n", 1.5), ("a;y\n1.5;no\n2.5;yes\n", "a\n1.000\n", 1),
        ("a;y\n1.5;no\n2.5;yes\n", "a;y\n1,000;no\n", 1000), ("a;y\n1;no\n2;yes\n", "a;y\n1,000;no\n", 1),
    ],
)  # fmt: skip
def test_decimals_are_read_as_in_the_table_that_was_learnt_from(
    trained: str, text: str, number: float, tmp_path: Path
) -> None:
    columns = trained_on(tmp_path, trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_samples(write(tmp_path, text), columns, 1).tolist() == [[number]]


def test_codes_with_zeros_in_front_stay_texts(tmp_path: Path) -> None:
    text = "code,y\n007,no\n7a,yes\n007,no\n08,yes\n"
    columns = cr.read_data(write(tmp_path, text)).columns
    assert columns is not None
    assert read_samples(write(tmp_path, "code\n007\n08\n"), columns, 3).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "damage",
    [
        {"features": [["a", "x"]]}, {"features": [["a", None]]}, {"features": [["zz", 1.0]]}, {"order": [1]},
        {"features": [["a", [], False]]}, {"named": 1}, {"target": ["y"]}, {"target": ["y", [1]]}, {"features": 7},
        {"comma": ","},
    ],
)  # fmt: skip
def test_a_damaged_mapping_is_refused(damage: dict[str, Any]) -> None:
    good: dict[str, Any] = {"features": [["a", 1.0]], "target": None, "order": ["a"], "named": True, "refuse": False}
    good["comma"] = None
    assert Columns.restored(good).saved() == good
    with pytest.raises((ValueError, TypeError)):
        Columns.restored({**good, **damage})


# Tables in memory


def small(outputs: int = 2, inputs: int = 2) -> cr.Model:
    return cr.Sequential(cr.Input(inputs), cr.Dense(outputs), loss="softmax_cross_entropy")


def test_objects_and_labels_of_texts_are_learnt_and_come_back(tmp_path: Path) -> None:
    x = np.array([["f", 1.5], ["m", None], ["f", 2.5], ["m", 3.5]], object)
    model = small()
    with pytest.warns(UserWarning, match="1 of 4 are missing"):
        model.fit(x, ["no", "yes", "no", "yes"], epochs=30, optimizer="adam", verbose=False)
    assert model.classes == ("no", "yes")
    model.save(tmp_path / "m.safetensors")
    again = cr.load(tmp_path / "m.safetensors")
    assert again.classify([["m", 3.0], ["f", None]]).dtype.kind == "U"
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert again.evaluate(x, ["no", "yes", "no", "yes"]) == model.evaluate(x, [0, 1, 0, 1])
    with pytest.raises(cr.DataError, match="'maybe'"):
        model.evaluate(x, ["no", "yes", "maybe", "yes"])


@pytest.mark.parametrize("labels", [[5, 15, 25, 15], [-1, 0, 1, 0], [1.0, 2.0, 3.0, 2.0]])
def test_labels_of_any_range_are_mapped_and_come_back(labels: list[float]) -> None:
    model, x = small(3), np.eye(4)[:, :2]
    model.fit(x, labels, epochs=1, verbose=False)
    assert set(model.classify(x).tolist()) <= set(labels)
    assert model.evaluate(x[:1], labels[1:2]) == model.evaluate(x[:1], [[0, 1, 0]])
    with pytest.raises(cr.DataError, match="'7'"):
        model.evaluate(x[:1], [7])


def test_whole_labels_from_0_are_what_they_were() -> None:
    model = small(3)
    model.fit(np.eye(2), [0, 2], epochs=1, verbose=False)
    assert model.columns is None
    with pytest.raises(cr.DataError, match="the label 3"):
        small(3).fit(np.eye(2), [0, 3], epochs=1, verbose=False)


def test_a_table_that_does_not_fit_leaves_the_model_as_it_was() -> None:
    model = small(2, 7)
    with pytest.raises(cr.ShapeError, match="x has the shape"):
        model.fit([["f", "a"], ["m", "b"]], ["no", "yes"], epochs=1, verbose=False)
    assert (model.columns, model.classes) == (None, ())
    with pytest.raises(cr.DataError, match="give the last layer 3 units"):
        small(2).fit(np.eye(3)[:, :2], ["a", "b", "c"], epochs=1, verbose=False)


def test_a_sparse_matrix_is_what_it_stands_for() -> None:
    from scipy.sparse import csr_matrix

    model, x = small(), np.eye(2)
    np.testing.assert_array_equal(model.predict(csr_matrix(x)), model.predict(x))
    model.fit(csr_matrix(x), [0, 1], epochs=1, verbose=False)


def test_a_model_that_learns_numbers_has_no_classes() -> None:
    model = cr.Sequential(cr.Input(2), cr.Dense(1), loss="mean_squared_error")
    with pytest.raises(cr.ModelError, match="learns numbers"):
        model.classify(np.eye(2))


@pytest.mark.parametrize(
    ("cells", "values", "texts"),
    [
        ([1, None, 2.5], [1, NAN, 2.5], None),
        (["1", "2", ""], [1, 2, NAN], None),
        ([True, False, None], [0, 1, -1], ("True", "False")),
        (np.array([True, False]), [0, 1], ("True", "False")),
        (["a", NAN, "b"], [0, -1, 1], ("a", "b")),
        ([1, "a", "b"], [0, 1, 2], ("1", "a", "b")),
        (np.array([1, 2], np.int8), [1, 2], None),
    ],
)
def test_a_column_of_objects_holds_numbers_or_texts(cells: Any, values: list[float], texts: Any) -> None:
    column = column_of("c", cells)
    np.testing.assert_array_equal(column.values, values)
    assert column.texts == texts


def test_days_in_memory_are_dates() -> None:
    assert column_of("when", np.array(["2020-01-01", "NaT"], "datetime64[D]")).dates


# Numbers of any size are learnt as if they were standardised


def test_a_squared_error_of_standardised_targets_predicts_the_targets_own_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2))
    y = 5000 + 300 * x[:, 0]
    loss = cr.mean_squared_error(mean=float(y.mean()), deviation=float(y.std()))
    model = cr.Sequential(cr.Input(2), cr.Dense(1), loss=loss)
    model.fit(x, y, epochs=20, verbose=False)
    assert np.abs(model.predict(x)[:, 0] - y).max() < 10
    found = ((model.logits(x)[:, 0] - (y - y.mean()) / y.std()) ** 2).mean()
    assert model.evaluate(x, y)["loss"] == pytest.approx(found, abs=1e-5)
    model.verify()
    with pytest.raises(cr.ModelError, match="deviation must be positive"):
        cr.mean_squared_error(deviation=0)


def test_a_table_of_a_hundred_thousand_rows_is_read_in_parts(tmp_path: Path) -> None:
    rows = "".join(f"{i % 13}.5,{'uvw'[i % 3]},{i % 2}\n" for i in range(10_000))
    table = read_table(write(tmp_path, "a,b,y\n" + rows))
    assert [len(column) for column in table.columns] == [10_000] * 3
    assert table.columns[0].values[9_999] == 9_999 % 13 + 0.5
    assert table.columns[1].texts == ("u", "v", "w")
    assert table.lines is not None
    assert table.lines[9_999] == 10_001
