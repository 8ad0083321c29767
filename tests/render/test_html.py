"""The HTML page: valid, complete in itself, and its formulas are those of the document."""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from html.parser import HTMLParser
from itertools import product

import html5lib
import pytest
from html5lib.html5parser import ParseError
from tests.built_in import Language, document
from tests.examples import few

import chainrule as cr
from chainrule import render
from chainrule.render.document import formulas
from chainrule.render.formula import write
from chainrule.render.html import render as write_page
from chainrule.render.mathml import MathML, breakable, joined
from chainrule.render.styles import LATEX

PAGES = few(
    product(("mlp-textbook", "lenet", "transformer-tiny"), ("en", "zh")),
    [("lenet", "en"), ("transformer-tiny", "zh")],
)
CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3}
CORE = {*CHILDREN, "math", "mrow", "mi", "mn", "mo", "msqrt", "mtable", "mtr", "mtd", "mspace"}


@cache
def page(name: str, lang: Language) -> str:
    return write_page(document(name, lang))


class Outline(HTMLParser):
    """Elements with their attributes; children of MathML elements; what is left open."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.counts: list[tuple[str, int]] = []
        self.stack: list[list[str | int]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if self.stack:
            self.stack[-1][1] = int(self.stack[-1][1]) + 1
        if tag not in ("meta", "wbr", "br", "img", "link"):
            self.stack.append([tag, 0])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "polygon") or self.stack:
            opened, count = self.stack.pop()
            self.counts.append((str(opened), int(count)))
            assert opened == tag, f"</{tag}> closes <{opened}>"


def loads(source: str) -> list[str]:
    """What a page fetches when it is shown."""
    found = [
        f"{name}={value}"
        for tag, attributes in Outline(source).elements for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "xlink:href", "background", "data")
        and not (tag == "a" and str(value).startswith("#"))
    ]
    found += [u for u in re.findall(r"url\(([^)]*)", source) if not u.startswith('"data:font/woff2;base64,')]
    return found + re.findall(r"@import|\bfetch\(|XMLHttpRequest|\bimport\(|https?:", source)


def misformed(source: str) -> list[str]:
    """MathML with another number of children than its element has, or beyond MathML Core."""
    outline = Outline(source)
    wrong = [f"{tag}: {n}" for tag, n in outline.counts if tag in CHILDREN and n != CHILDREN[tag]]
    strange = {tag for tag, _ in outline.elements if re.fullmatch(r"m[a-z]+", tag)} - CORE - {"main", "meta"}
    return wrong + sorted(strange)


@pytest.mark.parametrize(("name", "lang"), PAGES)
def test_the_page_is_valid(name: str, lang: Language) -> None:
    source = page(name, lang)
    html5lib.HTMLParser(strict=True).parse(source)
    assert misformed(source) == []
    elements = Outline(source).elements
    ids = [a["id"] for _, a in elements if "id" in a]
    links = [str(a["href"])[1:] for tag, a in elements if tag == "a"]
    assert len(ids) == len(set(ids)) > 4 and links == ids  # the first skips to the text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<h1>", "<h1><p>"), ("</p>", "</p></p>"), ("</li>", "</ul>"),
        ('<main id="main">', '<main id="main"><a class="f" class="f">x</a>'),
    ],
)
def test_a_page_that_is_not_valid_is_refused(before: str, after: str) -> None:
    with pytest.raises((ParseError, AssertionError)):
        broken = page("mlp-textbook", "en").replace(before, after, 1)
        html5lib.HTMLParser(strict=True).parse(broken)
        Outline(broken)
    assert misformed("<math><mfrac><mi>a</mi></mfrac></math>") and misformed("<math><mfenced></mfenced></math>")


@pytest.mark.parametrize(("name", "lang"), PAGES)
def test_the_page_loads_nothing(name: str, lang: Language) -> None:
    assert loads(page(name, lang)) == []


@pytest.mark.parametrize(
    "more",
    ['<img src="a.png">', '<link href="x.css">', "<style>@import 'x'</style>", '<p style="background:url(x)"></p>'],
)
def test_a_page_that_loads_something_is_found_out(more: str) -> None:
    assert loads(page("mlp-textbook", "en").replace('<main id="main">', f'<main id="main">{more}')) != []


def maths(source: str) -> list[tuple[str, str]]:
    """The formulas of a page: MathML with its pieces put together, and LaTeX."""
    body = source[source.index("<main ") : source.index("</main>")]
    body = re.sub(r"<nav.*?</nav>", "", body, flags=re.DOTALL)
    found = re.findall(r'<span class="f(?: d)?" data-tex="([^"]*)">(.*?)</span>', body, flags=re.DOTALL)
    whole = ((re.sub(r"</?math[^>]*>|<wbr>| form=\"infix\"", "", markup), unescape(tex)) for tex, markup in found)
    return [(signs(markup), tex) for markup, tex in whole]


def signs(markup: str) -> str:
    """The markup without spaces, and without the rows around parentheses, which a long one loses."""
    return re.sub(r"\s+|</?mrow>", "", markup)


@pytest.mark.parametrize(("name", "lang"), PAGES)
def test_the_formulas_of_the_page_are_those_of_the_document(name: str, lang: Language) -> None:
    """So what test_reading reads back is what stands on the page, and what is copied from it."""
    style = MathML()
    wanted = [(signs(write(f, style)), write(f, LATEX)) for f in formulas(document(name, lang))]
    copies = re.compile(r'(<div class="drawing wide".*?</div>)(<div class="drawing narrow".*?</div>)', re.DOTALL)
    whole = page(name, lang)
    assert maths(copies.sub(r"\1", whole)) == wanted
    assert len(wanted) > 100
    for wide, narrow in copies.findall(whole):
        assert maths(f"<main >{wide}</main>") == maths(f"<main >{narrow}</main>")


def test_a_long_formula_is_cut_between_its_outermost_parts() -> None:
    style = MathML()
    for formula in formulas(document("transformer-tiny", "en")):
        markup = write(formula, style)
        pieces = joined(breakable(markup), 12)
        assert signs("".join(pieces)) == signs(markup)
        assert misformed("".join(f"<math>{piece}</math>" for piece in pieces)) == []
    assert any(len(breakable(write(f, style))) > 4 for f in formulas(document("transformer-tiny", "en")))


def test_every_symbol_is_marked_and_explained() -> None:
    source = page("mlp-textbook", "en")
    numbers = set(re.findall(r'<m\w+ class="s(\d+)">', source))
    assert len(numbers) > 12
    for number in numbers:
        assert f".s{number}:hover" in source and f'<p class="t{number}">' in source
    assert re.search(r"<code>dense1\.W</code> 32 × 64</p>", source)
    assert re.search(r"<code>∂loss/∂dense1\.u</code> N × 32</p>", source)


def test_names_of_a_user_are_text_and_never_markup() -> None:
    source = render.html(cr.derive("y[n, k] = a_b[n, k]*c[k]"))
    html5lib.HTMLParser(strict=True).parse(source)
    assert "<mi>a_b</mi>" in source


def test_a_notebook_shows_the_page_without_its_frame() -> None:
    derivation = cr.derive("z[n, k] = sigmoid(u[n, k])")
    shown, source = derivation._repr_html_(), derivation._repr_latex_()
    assert shown.startswith('<div class="cr cell">') and "<body" not in shown and "<script" not in shown
    assert loads(shown) == []
    assert r"\subsection*" in source and r"\documentclass" not in source and r"\begin{document}" not in source
