"""The PDF: its text can be selected, every glyph is in a font that comes along, and what is missing is said."""

from __future__ import annotations

import io
import sys
from functools import cache
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path

import pytest
import typst
from fontTools.ttLib import TTFont
from pypdf import PageObject, PdfReader
from tests.built_in import Language, derived, document
from tests.examples import few
from tests.render.printed import marks

import chainrule as cr
from chainrule.cli import main
from chainrule.errors import DerivationError
from chainrule.render.build import build
from chainrule.render.document import Cell, Document, Heading, Table, formulas
from chainrule.render.formula import Formula, write
from chainrule.render.pdf import glyphs, render, source, unknown
from chainrule.render.typst import BREAK, TYPST
from chainrule.train.alone import alone

MARGIN = 17 / 25.4 * 72
"""In pt: the margins to the left and to the right."""
LONGEST = {"BatchNorm": 2, "mlp": 4, "lenet": 8, "transformer-tiny": 12, "resnet-tiny": 12}
"""Pages that a document has in standard detail."""
MODELS = ("neuron", "mlp-textbook", "lenet", "transformer-tiny")


def left_out(text: str) -> list[str]:
    """What typst says that it did not print."""
    with as_file(files("chainrule.render").joinpath("fonts")) as folder:
        fonts = typst.Fonts(font_paths=[folder], include_system_fonts=False)
        return [warning.message for warning in typst.compile_with_warnings(text.encode(), font_paths=fonts)[1]]


@cache
def reader(name: str, lang: Language) -> PdfReader:
    single = alone(name)
    return PdfReader(io.BytesIO((derived(name) if single is None else single.derive()).to_pdf(lang=lang)))


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ("Back-propagation, derived", "The backward pass", "dense1.W")),
        ("zh", ("反向传播", "神经网络", "dense1.W")),
    ],
)
def test_the_text_can_be_selected(lang: Language, words: tuple[str, ...]) -> None:
    pages = reader("mlp-textbook", lang).pages
    text = "".join(page.extract_text() for page in pages)
    assert all(word in text.replace("\n", "") for word in words)
    # The letters of formulas too: δ and σ, slanted.
    assert "𝛿" in text and "𝜎" in text and "∑" in text
    assert "\ufffd" not in text


@pytest.mark.parametrize(("name", "lang"), few(product(LONGEST, ("en", "zh")), [("BatchNorm", "en"), ("mlp", "zh")]))
def test_a_document_is_short(name: str, lang: Language) -> None:
    assert len(reader(name, lang).pages) <= LONGEST[name]


def beyond(page: PageObject) -> str:
    """What stands in the margins of a page to the left and to the right."""
    left, right = MARGIN - 0.5, float(page.mediabox.width) - MARGIN + 0.5
    found = list(marks(page))
    assert found
    return "".join(mark.text or "─" for mark in found if mark.left < left or mark.right > right)


@pytest.mark.parametrize(("name", "lang"), few(product(LONGEST, ("en", "zh")), [("BatchNorm", "en"), ("mlp", "zh")]))
def test_nothing_stands_in_the_margins(name: str, lang: Language) -> None:
    assert {n: text for n, page in enumerate(reader(name, lang).pages, 1) if (text := beyond(page))} == {}


def test_what_stands_in_a_margin_is_found() -> None:
    def of(body: str) -> str:
        written = f'#set page(paper: "a4", margin: (x: 17mm))\n{body}'
        return beyond(PdfReader(io.BytesIO(typst.compile(written.encode(), format="pdf"))).pages[0])

    assert of("short $x$ #line(length: 100%)") == ""
    assert of("#h(100% - 1em)#box(width: 0pt)[right]") == "ght"
    assert "n" in of("$ #h(1em) " + "upright(n) " * 100 + "$")
    assert of("x #place(line(length: 100% + 2mm))") == "─"
    assert of("x #place(dx: 100% - 1mm, rect(width: 1cm))") != ""
    assert of("x #move(dx: -4mm)[left]").startswith("l")


def test_a_document_in_full_detail_is_longer_than_its_limit() -> None:
    full = alone("BatchNorm")
    assert full is not None
    assert len(PdfReader(io.BytesIO(full.derive().to_pdf(detail="full"))).pages) > LONGEST["BatchNorm"]


@pytest.mark.parametrize(
    ("name", "lang"), few(product(MODELS, ("en", "zh")), [("neuron", "en")])
)
def test_typst_prints_all_of_a_document(name: str, lang: Language) -> None:
    assert left_out(source(document(name, lang))) == []


def test_a_formula_that_typst_leaves_out_of_a_line_is_found() -> None:
    assert left_out("#par[a $b$#sym.zws;$c$ d]") == []
    assert left_out("#par[a $b$#sym.zws;$ c $ d]") != []


def test_only_the_fonts_that_come_along_are_used() -> None:
    found = {
        str(font["/BaseFont"]).partition("+")[2]
        for page in reader("mlp-textbook", "zh").pages
        for font in (f.get_object() for f in page["/Resources"]["/Font"].values())  # pyright: ignore[reportIndexIssue]
    }
    assert found and {name for name in found if not name.startswith(("Chainrule", "DejaVuSansMono"))} == set()


def test_the_list_of_glyphs_is_that_of_the_fonts() -> None:
    known = glyphs()
    with as_file(files("chainrule.render").joinpath("fonts")) as folder:
        fonts = sorted(Path(folder).glob("*.otf"))
        assert len(fonts) == 6
        for path in fonts:
            kind = path.stem.partition("-")[0]
            assert set(known[kind]) == set(map(chr, TTFont(path).getBestCmap() or ())), path.stem


@pytest.mark.parametrize(
    ("name", "lang"), few(product(MODELS, ("en", "zh")), [*zip(MODELS, ("en", "zh", "en", "en"), strict=True)])
)
def test_every_glyph_of_a_document_is_in_its_fonts(name: str, lang: Language) -> None:
    assert unknown(document(name, lang, "full")) == []


def test_a_glyph_that_no_font_has_is_found() -> None:
    def of(*text: str | Formula) -> Document:
        return Document("en", "Title", (Heading(1, text),))

    assert unknown(of("plain δ ᵀ 推导")) == []
    assert unknown(of("words with 鬱 in them")) == ["鬱"]
    derivation = cr.derive("y[n] = ж[n]*x[n]")
    with pytest.raises(DerivationError, match="no glyph for ж"):
        derivation.to_pdf()


@pytest.mark.parametrize("name", ["mlp-textbook", "lenet", "transformer-tiny"])
def test_every_formula_is_one_that_typst_reads(name: str) -> None:
    found = dict.fromkeys(write(f, TYPST).replace(BREAK, " ") for f in formulas(document(name, "en", "full")))
    typst.compile("\n\n".join(f"${text}$" for text in found).encode(), format="pdf")
    with pytest.raises(typst.TypstError):
        typst.compile(b"$attach(W, b: i$", format="pdf")


def test_nothing_of_a_name_is_taken_for_markup() -> None:
    assert r"a_b" in source(build(cr.derive("y[n, k] = a_b[n, k]*c[k]"), "en", "standard"))
    assert cr.derive("y[n, k] = a_b[n, k]*c[k]").to_pdf().startswith(b"%PDF")


def test_a_missing_package_is_one_sentence_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    assert main(["derive", "neuron", "-o", str(tmp_path / "neuron.pdf")]) == 2
    error = capsys.readouterr().err
    assert error == "chainrule derive: a PDF needs the package typst; install it: pip install 'chainrule[pdf]'\n"
    assert not (tmp_path / "neuron.pdf").exists()


def test_the_command_line_writes_pages_and_pdfs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, start in (("a.html", b"<!DOCTYPE html>"), ("a.htm", b"<!DOCTYPE html>"), ("a.pdf", b"%PDF")):
        assert main(["derive", "neuron", "--lang", "zh", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    assert main(["derive", "neuron", "--format", "pdf"]) == 2
    assert "-o document.pdf" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows",
    [
        ((((("first title",),),), (((("second title",),),)), ((("a",),), (("b",),)))),
        ((((("x" * 90,),), *[(("y",),)] * 14)),),
    ],
    ids=["two titles above the first row", "columns without room"],
)
def test_an_odd_table_is_set(rows: tuple[tuple[Cell, ...], ...]) -> None:
    columns = max(map(len, rows))
    table = Table(tuple((f"column {n}",) for n in range(columns)), rows)
    assert PdfReader(io.BytesIO(render(Document("en", "A table", (table,))))).pages[0].extract_text()
