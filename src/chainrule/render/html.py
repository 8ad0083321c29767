"""The document as one HTML page, complete in itself: MathML, fonts and style inside, nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from html import escape
from importlib.resources import files

from chainrule.ir.expr import Tensor, is_gradient, origin
from chainrule.ir.print import spelled
from chainrule.notebook import cell_id
from chainrule.render.document import (
    Block,
    Cell,
    Code,
    Document,
    Drawn,
    Figure,
    Heading,
    Items,
    Line,
    Lines,
    Listing,
    Paragraph,
    Table,
    Text,
)
from chainrule.render.figure import NUMBER, RING, SMALL, Drawing, Stroke, draw
from chainrule.render.formula import Blank, Formula, write
from chainrule.render.mathml import MathML, breakable, joined, letters
from chainrule.render.prose import sentences
from chainrule.render.styles import LATEX
from chainrule.render.text import CLOSING, flat
from chainrule.render.text import figure as described

FONTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "en": (
        ("Chainrule Math", "math", ""), ("Chainrule Text", "text-regular", ""),
        ("Chainrule Text", "text-italic", "font-style:italic"), ("Chainrule Text", "text-bold", "font-weight:700"),
    ),
}
FONTS["zh"] = (
    *FONTS["en"], ("Chainrule Chinese", "chinese-regular", ""), ("Chainrule Chinese", "chinese-bold", "font-weight:700")
)
WHOLE, ROOM = 16, 12
"""In letters: a formula up to WHOLE never breaks, a longer one in pieces of up to ROOM."""


def render(document: Document) -> str:
    """The page of a document."""
    return page(document.title, document.blocks, document.language)


def page(heading: str, blocks: Iterable[Block | Drawn], language: str = "en") -> str:
    """A page. It is read without JavaScript; a few lines of it copy formulas as LaTeX."""
    page = _Page(blocks, language)
    links = "".join(f'<a href="#{name}">{page.flat(text, plain=True)}</a>' for name, text in page.anchors)
    title = escape(heading)
    return (
        f'<!DOCTYPE html>\n<html lang="{LANGUAGES[language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_faces(language)}{page.sheet()}</style>\n</head>\n"
        f'<body class="cr">\n<a class="skip" href="#main">{escape(page.words["figure.skip"])}</a>\n'
        f'<main id="main">\n<h1>{title}</h1>\n<nav aria-label="{title}">{links}</nav>\n'
        f"{page.body}\n</main>\n{page.legend()}"
        f"\n<script>\n{_resource('page/page.js')}</script>\n</body>\n</html>\n"
    )


def cell(*blocks: Block | Drawn, language: str = "en") -> str:
    """What a notebook shows of an object; the first with a formula brings the fonts for all of the notebook."""
    page = _Page(blocks, language)
    fonts = _faces(language) if "<math" in page.body and brings_fonts(cell_id()) else ""
    style = f"{fonts}{page.sheet(drawn=True)}{_themes()}"
    return f'<div class="cr cell"><style>\n{style}</style>\n<main>\n{page.body}\n</main>\n{page.legend()}</div>'


@cache
def _themes() -> str:
    """The style's two sets of colours once more, as the notebook's theme says and not the system's."""
    light, dark = re.findall(r"\.cr \{(\s*--paper.*?--code: \S+;)", _resource("page/page.css"), re.DOTALL)[:2]
    return "".join(
        f'[data-jp-theme-light="{is_light}"] .cr.cell,.vscode-{name} .cr.cell{{color-scheme:{name};{colours}}}\n'
        for is_light, name, colours in (("true", "light", light), ("false", "dark", dark))
    )


_FONTS_IN: list[str] = []


def brings_fonts(place: str) -> bool:
    """Whether what is shown in this cell of a notebook brings the fonts: it is the first that asks, or the same cell
    run again, which takes the place of what it has shown. Where cells are not told apart each does."""
    if not _FONTS_IN:
        _FONTS_IN.append(place)
    return _FONTS_IN[0] == place


LANGUAGES = {"en": "en", "zh": "zh-Hans"}
PHONE = 22.0
"""In em: the width of a page on a phone."""


class _Page:
    def __init__(self, blocks: Iterable[Block | Drawn], language: str) -> None:
        self.style, self.words = MathML(), sentences(language)
        self.title = ""
        self.anchors: list[tuple[str, Text]] = []
        given = tuple(blocks)
        self.drawn = any(isinstance(block, Drawn) for block in given)
        self.body = "\n".join(map(self.block, given))

    def sheet(self, drawn: bool = False) -> str:
        """The style sheet for the blocks."""
        charts = _resource("page/charts.css") if drawn or self.drawn else ""
        return f"{_resource('page/page.css')}{charts}{self.rules()}"

    def block(self, block: object) -> str:
        match block:
            case Heading(level=1, text=text):
                name = f"part-{len(self.anchors) + 1}"
                self.anchors.append((name, text))
                self.title = flat(text)
                return f'<h2 id="{name}">{self.flat(text)}</h2>'
            case Heading(text=text):
                self.title = flat(text)
                return f"<h3>{self.flat(text)}</h3>"
            case Paragraph(text=text):
                return f"<p>{self.flat(text)}</p>"
            case Items(items=items):
                return "<ul>\n" + "\n".join(f"<li>{self.flat(item)}</li>" for item in items) + "\n</ul>"
            case Lines(lines=lines):
                rows = "\n".join(map(self.line, lines))
                copy = f'<button class="copy" type="button">{escape(self.words["figure.copy"])}</button>'
                table = f'<table class="lines"{self.named()}>\n<tbody>\n{rows}\n</tbody>\n</table>'
                return f'<div class="proof">{table}{copy}</div>'
            case Table():
                return self.table(block)
            case Listing(text=text):
                return f'<pre tabindex="0"><code>{escape(text.rstrip())}\n</code></pre>'
            case Figure():
                return self.figure(block)
            case Drawn(markup=markup, caption=caption):
                return f"<figure>{markup}{self.caption(caption)}</figure>"
            case _:
                raise TypeError(f"no HTML known for {type(block).__name__}")

    def line(self, line: Line) -> str:
        left = self.formula(line.left, display=True) if line.left else ""
        cells = (("n", f"({line.number})"), ("l", left), ("r", self.formula(line.right, display=True)))
        shown = "".join(f'<td class="{name}">{text}</td>' for name, text in cells)
        return f'<tr>{shown}<td class="why">{self.flat(line.reason)}</td></tr>'

    def table(self, table: Table) -> str:
        header = [self.flat(text) for text in table.header]
        labels = ["".join(p for p in text if isinstance(p, str)).strip() for text in table.header]
        # On a narrow screen a cell stands below its column's title.
        titles = ";".join(f"--c{at}:{json.dumps(label, ensure_ascii=False)}" for at, label in enumerate(labels) if at)
        rows: list[str] = []
        for row in table.rows:
            if len(row) < len(header):
                title, *remarks = row[0]
                said = self.flat(title) + "".join(f"<p>{self.flat(remark)}</p>" for remark in remarks)
                whole = f'<th colspan="{len(header)}" scope="rowgroup">{said}</th>'
                rows.append(f'<tr class="group">{whole}</tr>')
                continue
            rows.append(f"<tr>{''.join(f'<td>{self.cell(cell)}</td>' for cell in row)}</tr>")
        kind = "grid three" if len(header) == 3 else "grid"
        head = "".join(f'<th scope="col">{text}</th>' for text in header)
        body = "\n".join(rows)
        named = f' style="{escape(titles)}"' if len(header) == 3 else ""
        region = f'<div class="scroll" tabindex="0" role="region"{self.named()}>'
        rows_ = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        return f'{region}<table class="{kind}"{self.named()}{named}>\n{rows_}</table></div>'

    def named(self) -> str:
        """The name of a table: the title it stands below."""
        return f' aria-label="{escape(self.title)}"' if self.title else ""

    def cell(self, cell: Cell) -> str:
        if len(cell) == 1:
            return self.flat(cell[0], display=True)
        return "".join(f"<p>{self.flat(text, display=True)}</p>" for text in cell)

    def flat(self, text: Text, display: bool = False, plain: bool = False) -> str:
        result = mark = ""
        for part, following in zip(text, (*text, "")[1:], strict=True):
            match part:
                case Formula():
                    # A formula between words stands in the line; one that is a cell's whole text stands free.
                    shown = self.formula(part, display=display and len(text) < 3, plain=plain)
                    mark = following[:1] if isinstance(following, str) and "<wbr>" not in shown and not plain else ""
                    mark = mark if mark in CLOSING else ""
                    # A mark that closes never starts a line.
                    result += f'<span class="k">{shown}{mark}</span>' if mark else shown
                case Code(text=name):
                    result += f"<code>{escape(name)}</code>"
                case str():
                    part, mark = part.removeprefix(mark), ""
                    result += escape(part, quote=False).replace("ᵀ", "<sup>⊤</sup>")
        return result

    def formula(self, formula: Formula, display: bool = False, plain: bool = False) -> str:
        if formula.parts == (Blank(None),):
            return '<span class="line"></span>'
        markup = write(formula, self.style)
        if plain:
            return f"<math>{markup}</math>"
        pieces = [markup] if letters(markup) <= WHOLE else joined(breakable(markup), ROOM)
        maths = "".join(f"<math>{_leading(p)}</math><wbr>" for p in pieces).removesuffix("<wbr>")
        kind = "f d" if display else "f"
        return f'<span class="{kind}" data-tex="{escape(write(formula, LATEX))}">{maths}</span>'

    def figure(self, figure: Figure) -> str:
        wide, narrow = draw(figure), draw(figure, PHONE)
        # A row that a phone has no room for is drawn once more, in shorter ones.
        folded = narrow.height > wide.height
        kinds = (("drawing wide", wide), ("drawing narrow", narrow)) if folded else (("drawing", wide),)
        drawings = "".join(self.drawing(figure, drawing, kind) for kind, drawing in kinds)
        return f'<figure><div class="scroll" tabindex="0">{drawings}</div>{self.caption(figure.caption)}</figure>'

    def drawing(self, figure: Figure, drawing: Drawing, kind: str) -> str:
        lines = "".join(map(_arrow, drawing.strokes))
        spots = list[str]()
        for (x, y), spot in zip(drawing.places, figure.spots, strict=True):
            if spot.ring:
                lines += f'<circle cx="{16 * x:.1f}" cy="{16 * y:.1f}" r="{16 * RING:.1f}"/>'
            up = (RING if spot.ring else 0.7) + NUMBER / 2
            spots.append(_placed("spot", x, y, self.flat(spot.text)))
            spots.append(_placed("value", x, y - up, self.flat(spot.above), SMALL))
            spots.append(_placed("gradient", x, y + up, self.flat(spot.below), SMALL))
        for stroke in drawing.strokes:
            (x, y), arrow = stroke.label, stroke.arrow
            label = self.flat(arrow.text) + (f" <b>∂ {self.flat(arrow.under)}</b>" if arrow.under else "")
            spots.append(_placed("value" if arrow.under else "label", x, y, label, SMALL))
        size = f"width:{drawing.width:.2f}em;height:{drawing.height:.2f}em"
        view = f"0 0 {drawing.width * 16:.1f} {drawing.height * 16:.1f}"
        told = escape("; ".join(described(replace(figure, caption=()), sys.maxsize)))
        return (
            f'<div class="{kind}" role="img" aria-label="{told}" style="{size}">'
            f'<svg viewBox="{view}" aria-hidden="true">{lines}</svg>{"".join(spots)}</div>'
        )

    def caption(self, text: Text) -> str:
        return f"<figcaption>{self.flat(text)}</figcaption>" if text else ""

    def legend(self) -> str:
        """What each symbol is: shown at the foot of the page while the pointer is on it."""
        entries = "".join(
            f'<p class="t{number}"><math>{written}</math> <code>{escape(_meaning(tensor))}</code> '
            f"{' × '.join(map(str, tensor.shape))}</p>"
            for number, tensor, written in self.style.tensors.values()
        )
        return f'<div class="legend" aria-hidden="true">{entries}</div>'

    def rules(self) -> str:
        """A symbol under the pointer is marked wherever it stands, and its entry shown."""
        return "".join(
            f".cr:has(main .s{n}:hover) .s{n}{{background:var(--mark)}}"
            f".cr:has(main .s{n}:hover) .t{n}{{display:block}}\n"
            for n, _, _ in self.style.tensors.values()
        )


def _meaning(tensor: Tensor) -> str:
    """A tensor's name; of a gradient, what it is the gradient of."""
    return f"∂loss/∂{spelled(origin(tensor))}" if is_gradient(tensor) else spelled(tensor)


def _leading(piece: str) -> str:
    """A sign at the start of a piece keeps the room around it."""
    sign = piece.startswith("<mo>") and piece[4] not in "(∂∇["
    return piece.replace("<mo>", '<mo form="infix">', 1) if sign else piece


def _placed(kind: str, x: float, y: float, markup: str, scale: float = 1) -> str:
    """In the middle of a place of a drawing."""
    at = f"left:{x / scale:.2f}em;top:{y / scale:.2f}em"
    return f'<span class="{kind}" style="{at}">{markup}</span>' if markup else ""


def _arrow(stroke: Stroke) -> str:
    """A line or an arc with a head, in units of 1/16 em."""
    points = [stroke.start, *([stroke.via] if stroke.via else []), stroke.tip[0]]
    start, *rest = (f"{16 * x:.1f} {16 * y:.1f}" for x, y in points)
    head = " ".join(f"{16 * x:.1f},{16 * y:.1f}" for x, y in stroke.corners)
    return f'<path d="M{start} {"Q" if stroke.via else "L"}{" ".join(rest)}"/><polygon points="{head}"/>'


@cache
def _resource(name: str) -> str:
    return files("chainrule.render").joinpath(name).read_text(encoding="utf-8")


@cache
def _faces(language: str) -> str:
    return "".join(_face(*font) for font in FONTS[language])


def _face(family: str, name: str, style: str) -> str:
    data = b64encode(files("chainrule.render").joinpath(f"fonts/{name}.woff2").read_bytes()).decode("ascii")
    source = f'src:url("data:font/woff2;base64,{data}") format("woff2")'
    return f'@font-face{{font-family:"{family}";font-display:block;{source};{style}}}\n'
