"""The document as PDF, through typst: no TeX, no font but those beside this file and typst's own for code."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import as_file, files
from math import ceil

from chainrule.errors import DerivationError
from chainrule.render.document import (
    Block,
    Cell,
    Code,
    Document,
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
from chainrule.render.figure import NUMBER, PAGE, RING, SMALL, Stroke, draw, width_of
from chainrule.render.formula import Formula, write
from chainrule.render.styles import UNICODE
from chainrule.render.text import CLOSING
from chainrule.render.typst import BREAK, LEVEL, TYPST, WHOLE, breaking, letters, quoted, runs

PREAMBLE = """\
#set document(title: %(title)s)
#set page(paper: "a4", margin: (x: 17mm, top: 15mm, bottom: 16mm), numbering: "1", number-align: center)
#set text(size: 10pt, lang: "%(lang)s", font: ("Chainrule Text", "Chainrule Chinese", "Chainrule Math"),
  fallback: false)
#set par(leading: 0.5em, spacing: 0.52em, justify: false)
#show math.equation: set text(
  font: ("Chainrule Math", "Chainrule Chinese"), fallback: false, top-edge: "bounds", bottom-edge: "bounds")
#show raw: set text(font: ("DejaVu Sans Mono", "Chainrule Chinese"), size: 1em, fallback: false)
#show raw.where(block: true): set text(size: 0.82em)
#show raw.where(block: true): set par(leading: 0.38em)
#set math.mat(delim: "[")
// Nothing, after which a line may end as it may after a sign.
#let brk = { h(0pt); math.class("binary", ""); h(0pt) }
#let accent = rgb("#8c2f1b")
#let soft = rgb("#6b6760")
#let hair = rgb("#d9d3c7")
#show heading.where(level: 1): it => block(above: 0.55em, below: 0.3em, width: 100%%, sticky: true,
  stroke: (bottom: 0.5pt + hair), inset: (bottom: 0.2em), text(size: 1.2em, fill: accent, it.body))
#show heading.where(level: 2): it => block(above: 0.7em, below: 0.35em, sticky: true, text(size: 1.04em, it.body))
#show heading.where(level: 3): it => text(size: 1.04em, it.body)
#set list(marker: text(fill: accent, "•"), spacing: 0.4em)
#show list: set text(size: 0.93em)
#let reason(body) = context text(fill: soft, size: 0.92em, bottom-edge: -0.14em,
  top-edge: if text.lang == "zh" { 0.8em } else { "cap-height" }, body)
#let code(body) = box(fill: rgb("#f3ecdd"), inset: (x: 0.25em), outset: (y: 0.15em), radius: 0.2em, body)
#show table: set par(spacing: 0.4em)
#set table(stroke: none, inset: (x: 0pt, top: 0.21em, bottom: 0.11em), column-gutter: 1em, align: left + top)
#let formulas(..all) = layout(size => {
  // Those that fit into a line follow each other, a longer one stands alone.
  let line = ()
  for formula in (..all.pos(), none) {
    let fits = formula != none and measure(formula).width <= size.width
    if not fits and line != () { par(line.map(box).join(h(1.6em, weak: true))) }
    line = if fits { (..line, formula) } else { () }
    if not fits { par(hanging-indent: 1em, formula) }
  }
})
#let together(row, widths) = {
  // A row is not parted, but where it takes much of a page.
  let high = calc.max(..row.zip(widths).map(((cell, width)) => measure(width: width, cell).height))
  row.map(cell => table.cell(breakable: high > 80mm, cell))
}
#let widest(pieces) = calc.max(0pt, ..pieces.map(piece => measure(piece).width))
#let proof(pieces, ..lines) = context {
  let wide = calc.max(..lines.pos().map(line => measure(line.at(1)).width))
  let room = calc.max(..lines.pos().map(line => measure(line.at(2)).width))
  let cells(line) = (
    par(hanging-indent: wide + 4.2em, {
      box(width: 2.9em, text(fill: soft, size: 0.85em, line.at(0)))
      box(width: wide, align(right, line.at(1)))
      h(0.28em)
      line.at(2)
    }),
    reason(line.at(3)),
  )
  let whole = wide + room + 4.2em.to-absolute()
  let least = wide + widest(pieces) + 4.3em.to-absolute()
  let wanted = range(6).map(n => 72mm + n * 12mm).map(
    width => calc.min(whole, calc.max(width, least))).dedup()
  let rows = lines.pos().map(cells)
  let set-in(width, rows) = table(
    columns: (width, 1fr), inset: (x: 0pt, y: 0.05em), align: left + horizon, ..rows.flatten())
  layout(size => {
    let heights = wanted.map(width => measure(width: size.width, set-in(width, rows)).height)
    let width = wanted.at(heights.position(height => height == calc.min(..heights)))
    set-in(width, rows.map(row => together(row, (width, size.width - width - 1em.to-absolute()))))
  })
}
#let splits(count, parts) = if count == 1 { ((parts,),) } else {
  range(1, parts - count + 2).map(n => splits(count - 1, parts - n).map(rest => (n, ..rest))).join()
}
#let fitted(rows, natural, least, room) = {
  // Columns that are narrow keep their width; the others share what is left so that the table is low.
  let open = range(natural.len()).filter(c => natural.at(c) > 0.12 * room)
  let left = room - range(natural.len()).filter(c => c not in open).map(c => natural.at(c)).sum(default: 0pt)
  let parts = if open.len() > 3 { 2 * open.len() } else { 24 }
  // Beyond its natural width a column stays as high as it is.
  let enough(c) = calc.max(1, calc.min(parts - open.len() + 1, calc.ceil(parts * natural.at(c) / left)))
  let heights = open.map(c => range(1, enough(c) + 1).map(n => rows.map(row => (
    measure(width: left * n / parts, row.at(c)).height))))
  let best = splits(open.len(), parts).map(split => {
    let short = open.zip(split).map(((c, n)) => calc.max(0pt, least.at(c) - left * n / parts)).sum()
    let own = heights.zip(split).map(((heights, n)) => heights.at(calc.min(n, heights.len()) - 1))
    (short, array.zip(..own).map(row => calc.max(..row) + 0.04 * row.sum()).sum(), split)
  }).sorted(key: ((short, height, _)) => (calc.max(short, 0.1pt), height)).first().last()
  let widths = natural
  for (c, n) in open.zip(best) { widths.at(c) = left * n / parts }
  widths
}
#let listed(placed, pieces, header, ..rows) = layout(size => {
  let count = header.len()
  let titles = header.map(title => pad(bottom: 0.12em, text(fill: accent, weight: 700, title)))
  let whole = (titles, ..rows.pos().filter(row => row.len() == count))
  let natural = range(count).map(c => calc.max(..whole.map(row => measure(row.at(c)).width)) + 0.2pt)
  let gutter = 1em.to-absolute()
  let room = size.width - gutter * (count - 1)
  let title(row) = table.cell(colspan: count, breakable: false, inset: (top: 0.5em, bottom: 0.25em), row.at(0))
  let set-in(widths, rows) = {
    let padded = (..rows.slice(0, -1), rows.last().map(cell => pad(bottom: 0.16em, cell)))
    // Titles across the table are a header of the rows below: they never stand alone at the foot of a page.
    let (cells, above) = ((), ())
    for row in (..padded, none) {
      if row != none and row.len() < count {
        above += (table.hline(stroke: 0.4pt + hair), title(row))
      } else {
        if above != () { cells.push(table.header(level: 2, repeat: false, ..above)) }
        if row != none { cells += together(row, widths) }
        above = ()
      }
    }
    table(columns: widths, align: left + placed, table.header(..titles), table.hline(stroke: 0.8pt + accent),
      ..cells, table.hline(stroke: 0.8pt + accent))
  }
  let spare = room - natural.sum()
  let abreast = int((size.width + 2 * gutter) / (natural.sum() + (count + 1) * gutter))
  if abreast > 1 and whole.len() == rows.pos().len() + 1 and whole.len() > 4 * abreast {
    // A long narrow table stands beside itself.
    let parts = rows.pos().chunks(calc.ceil(rows.pos().len() / abreast))
    grid(columns: (1fr,) * parts.len(), column-gutter: 2 * gutter, ..parts.map(rows => set-in(natural, rows)))
  } else if spare > 0pt {
    set-in(natural.map(w => w + spare / count), rows.pos())
  } else {
    // The second line of a cell stands in.
    let least = pieces.zip(natural).map(((each, whole)) => calc.min(whole, widest(each) + 1.1em.to-absolute()))
    set-in(fitted(whole, natural, least, room), rows.pos())
  }
})
#text(size: 1.7em, weight: 700, %(title)s)
"""
LANGUAGES = {"en": "en", "zh": "zh"}
RAISED = '#h(0pt)$""^⊤$'
"""The sign of a transpose among words."""


def render(document: Document) -> bytes:
    """The PDF. Raises DerivationError where typst is not installed, or no font has a character of a name."""
    lost = unknown(document)
    if lost:
        raise DerivationError(
            f"the fonts of the PDF have no glyph for {', '.join(lost)}", fix="use other names, or write HTML instead"
        )
    try:
        import typst
    except ModuleNotFoundError:
        raise DerivationError(
            "a PDF needs the package typst", fix="install it: pip install 'chainrule[pdf]'"
        ) from None
    with as_file(files("chainrule.render").joinpath("fonts")) as fonts:
        own = typst.Fonts(font_paths=[fonts], include_system_fonts=False)
        return typst.compile(source(document).encode(), font_paths=own, format="pdf")


def source(document: Document) -> str:
    """The document in typst's notation."""
    head = PREAMBLE % {"title": quoted(document.title), "lang": LANGUAGES[document.language]}
    parts = [head]
    blocks = (None, *_together(document.blocks), None)
    for before, block, after in zip(blocks, blocks[1:], blocks[2:], strict=False):
        match before, block, after:
            case _, Paragraph(), Listing():
                continue
            case Paragraph(text=text), Listing(), _:
                # What is said of a listing goes where the listing goes.
                parts.append(_listed(block, flat(text)))
            case _, Heading(text=text), Paragraph() if block.level > 1:
                # What is said below the title of a lemma goes on in its line.
                parts.append(f"\n#block(above: 0.62em, sticky: true)[#box[#heading(level: 3)[{flat(text)}.]]#h(0.6em)")
            case Heading(), Paragraph(text=text), _ if before.level > 1:
                parts[-1] += f"{flat(text)}]\n"
            case _:
                parts.append(_block(block))
    return "\n".join(parts) + "\n"


def _together(blocks: Iterable[Block]) -> Iterable[Block]:
    """The blocks, with neighbouring proofs as one where the second is one line: their signs stand below each other."""
    last: Block | None = None
    for block in blocks:
        match last, block:
            case Lines(lines=before), Lines(lines=(line,)):
                last = Lines((*before, line))
                continue
            case None, _:
                pass
            case _:
                yield last
        last = block
    if last is not None:
        yield last


def _block(block: object) -> str:
    match block:
        case Heading(level=level, text=text):
            return f"#heading(level: {min(level, 2)})[{flat(text)}]"
        case Paragraph(text=text):
            return f"\n{flat(text)}\n"
        case Items(items=items):
            return _items(items)
        case Lines(lines=lines):
            longest = _longest(((line.right,),) for line in lines)
            return f"#proof({longest}, " + "".join(f"\n  {_line(line)}," for line in lines) + ")"
        case Table(header=header, rows=rows):
            return _table(header, rows)
        case Listing():
            return _listed(block)
        case Figure():
            return _figure(block)
        case _:
            raise TypeError(f"no PDF known for {type(block).__name__}")


LONG, PAGEFUL = 40, 70
"""Lines of a listing up to which it stands where it is, and up to which it stands on one page."""


def _parts(text: str) -> list[str]:
    """A listing in as few parts as pages have room for, parted at its empty lines."""
    parts = [""]
    for block in text.split("\n\n"):
        joined = f"{parts[-1]}\n\n{block}" if parts[-1] else block
        if joined.count("\n") < PAGEFUL or not parts[-1]:
            parts[-1] = joined
        else:
            parts.append(block)
    return parts


def _listed(listing: Listing, said: str = "") -> str:
    parts = _parts(listing.text.rstrip())
    told = (said, *[""] * len(parts))
    return "".join(_boxed(part, listing.language, words) for part, words in zip(parts, told, strict=False))


def _boxed(text: str, language: str, said: str) -> str:
    lines = text.count("\n")
    body = f"#raw(block: true, lang: {quoted(language)}, {quoted(text)})"
    breakable = f"breakable: {'true' if lines > PAGEFUL else 'false'}"
    shown = f'#block(fill: rgb("#f6f1e6"), inset: 0.45em, radius: 0.4em, width: 100%, {breakable})[{body}]'
    whole = f"block({breakable}, align(left)[{said}\n\n{shown}])"
    # A longer one stands where a page has room for all of it, and what follows goes on before it.
    return f"#place(auto, float: true, {whole})\n" if LONG < lines <= PAGEFUL else f"#{whole}\n"


def _items(items: Sequence[Text]) -> str:
    """A list; a long one in two columns of about the same length."""
    lengths = [ceil(width_of(item) / 24) for item in items]
    if len(items) <= FEW:
        return f"#list({', '.join(f'[{flat(item)}]' for item in items)})"
    half = min(range(1, len(items)), key=lambda n: max(sum(lengths[:n]), sum(lengths[n:])))
    sides = (f"list({', '.join(f'[{flat(item)}]' for item in own)})" for own in (items[:half], items[half:]))
    return f"#grid(columns: (1fr, 1fr), column-gutter: 1.5em, {', '.join(sides)})"


FEW = 3
"""Items up to which a list has one column."""


def _line(line: Line) -> str:
    left = breaking(line.left) if line.left else ""
    return f"([({line.number})], [{left}], [{breaking(line.right)}], [{flat(line.reason)}])"


def _table(header: Sequence[Text], rows: Sequence[Sequence[Cell]]) -> str:
    head = ", ".join(f"[{flat(text)}]" for text in header)
    cells = ([f"[{_cell(c)}]" for c in row] if len(row) > 1 else [_spanned(row[0])] for row in rows)
    lines = (f"({', '.join(own)},)" for own in cells)
    columns = zip(*(row for row in rows if len(row) > 1), strict=True)
    least = (_longest(column) for column in columns)
    # Symbols and names stand beside the middle of their rows, where the signs of formulas are; words begin at the top.
    symbols = all(len(text) < 2 for row in rows if len(row) > 1 for text in row[0])
    placed = "horizon" if symbols else "top"
    return f"#listed({placed}, ({', '.join(least)},), ({head},),\n  " + ",\n  ".join(lines) + ")"


def _longest(cells: Iterable[Cell]) -> str:
    """Those pieces of cells that seem the longest of those that no line break parts, for typst to measure."""
    pieces = dict[str, int]()
    for part in (part for cell in cells for text in cell for part in text):
        match part:
            case Formula():
                pieces |= {piece: letters(piece) for piece in runs(part)}
            case Code(text=name):
                pieces[f"#{_code(name)}"] = len(name)
            case str():
                pass
    return f"({''.join(f'[{piece}], ' for piece in sorted(pieces, key=pieces.__getitem__)[-MEASURED:])})"


MEASURED = 6
"""How many pieces are measured."""


def _spanned(cell: Cell) -> str:
    """A row across the table: its title, and remarks below it."""
    title, *remarks = map(flat, cell)
    return f"[{' #parbreak() '.join([f'*{title}*' if title else '', *remarks])}]"


def _cell(cell: Cell) -> str:
    if len(cell) > 1 and all(len(text) == 1 and isinstance(text[0], Formula) for text in cell):
        return f"#formulas({', '.join(f'[{flat(text, display=True)}]' for text in cell)})"
    words = (len(t) > 1 and not any(isinstance(part, Code) for part in t) for t in cell)
    lines = (f"par(hanging-indent: 1em)[{flat(text, display=True)}]" for text in cell)
    return " #parbreak() ".join(f"#reason({x})" if told else f"#{x}" for told, x in zip(words, lines, strict=True))


def _code(name: str) -> str:
    return f"code(raw({quoted(name)}))"


def flat(text: Text, display: bool = False) -> str:
    result, mark = "", ""
    for part, following in zip(text, (*text, "")[1:], strict=True):
        match part:
            case Formula():
                alone = display and len(text) < 3
                formula = breaking(part) if alone else f"${write(part, LEVEL).replace(BREAK, ' ')}$"
                mark = following[:1] if isinstance(following, str) and len(write(part, UNICODE)) < WHOLE else ""
                mark = mark if mark in CLOSING else ""
                # A mark that closes never starts a line.
                result += f"#box[{formula}#{quoted(mark)};]" if mark else formula
            case Code(text=name):
                result += f"#{_code(name)};"
            case str():
                result += RAISED.join(f"#{quoted(piece)};" for piece in part.removeprefix(mark).split("ᵀ"))
                mark = ""
    return result


def _figure(figure: Figure) -> str:
    drawing = draw(figure)
    strokes = "".join(map(_arrow, drawing.strokes))
    spots = labels = ""
    for (x, y), spot in zip(drawing.places, figure.spots, strict=True):
        ring = f"#circle(radius: {RING}em, stroke: 0.6pt + hair)" if spot.ring else ""
        up = (RING if spot.ring else 0.7) + NUMBER / 2
        spots += _place(x, y, ring) + _place(x, y, flat(spot.text))
        spots += _label(x, y - up, spot.above, "black") + _label(x, y + up, spot.below, "accent")
    for (x, y), arrow in ((s.label, s.arrow) for s in drawing.strokes):
        labels += _label(x, y, arrow.text, "black" if arrow.under else "soft", arrow.under)
    size = f"width: {drawing.width:.2f}em, height: {drawing.height:.2f}em"
    body = f"block({size}, breakable: false)[{strokes}{spots}{labels}]"
    if drawing.width > PAGE:
        body = f"scale({100 * PAGE / drawing.width:.0f}%, origin: left + top, reflow: true, {body})"
    if not figure.caption:
        return f"#block({body})"
    caption = f"text(fill: soft, size: 0.92em)[{flat(figure.caption)}]"
    if drawing.width < PAGE / 2:
        # What is said of a small figure stands beside it.
        columns = f"columns: ({drawing.width:.2f}em, 1fr), column-gutter: 2em, align: horizon"
        return f"#block(breakable: false, grid({columns}, {body}, {caption}))"
    return f"#block(breakable: false)[#{body}\n\n#{caption}]"


def _label(x: float, y: float, text: Text, colour: str, gradient: Text = ()) -> str:
    """Small, in the middle of a place, on the paper's white: an arrow may run below."""
    more = f" #text(fill: accent)[∂ {flat(gradient)}]" if gradient else ""
    shown = f"text(size: {SMALL}em, fill: {colour})[{flat(text)}{more}]"
    return _place(x, y, f"#box(fill: white.transparentize(20%), inset: 0.1em, {shown})") if text else ""


def _place(x: float, y: float, body: str) -> str:
    """Centred on a point."""
    box = f"box(width: {2 * PAGE}em, height: 4em, align(center + horizon)[{body}])"
    return f"#place(top + left, dx: {x - PAGE:.2f}em, dy: {y - 2:.2f}em, {box})"


def _arrow(stroke: Stroke) -> str:
    last = _point(*stroke.tip[0])
    to = f"curve.quad({_point(*stroke.via)}, {last})" if stroke.via else f"curve.line({last})"
    line = f"curve(stroke: 0.6pt + soft, curve.move({_point(*stroke.start)}), {to})"
    head = f"polygon(fill: soft, {', '.join(_point(*c) for c in stroke.corners)})"
    return f"#place(top + left, {line})#place(top + left, {head})"


def _point(x: float, y: float) -> str:
    return f"({x:.2f}em, {y:.2f}em)"


# --- glyphs -------------------------------------------------------------------------------------

INVISIBLE = frozenset(" \n\t\u00a0\u200b")


def unknown(document: Document) -> list[str]:
    """The characters for which no font of the PDF has a glyph; typst itself says nothing of them."""
    known = glyphs()
    mathematics, code = (set(known[k]) | set(known["chinese"]) for k in ("math", "code"))
    plain = mathematics | set(known["text"]) | {"ᵀ"}
    lost: dict[str, None] = {}
    for text in _texts(document):
        for part in text:
            match part:
                case Formula():
                    written, own = write(part, TYPST), mathematics
                case Code(text=written):
                    own = code
                case str():
                    written, own = part, plain
            lost.update(dict.fromkeys(c for c in written if c not in own and c not in INVISIBLE))
    return list(lost)


def _texts(document: Document) -> Iterable[Text]:
    """Every text of a document."""
    yield (document.title,)
    for block in document.blocks:
        match block:
            case Heading(text=text) | Paragraph(text=text):
                yield text
            case Items(items=items):
                yield from items
            case Lines(lines=lines):
                yield from ((*((x.left,) if x.left else ()), x.right, *x.reason) for x in lines)
            case Table(header=header, rows=rows):
                yield from (*header, *(t for row in rows for cell in row for t in cell))
            case Listing(text=text):
                yield (Code(text),)
            case Figure(texts=texts):
                yield from texts


@cache
def glyphs() -> dict[str, str]:
    """The characters that each font has."""
    return tomllib.loads(files("chainrule.render").joinpath("fonts/glyphs.toml").read_text(encoding="utf-8"))
