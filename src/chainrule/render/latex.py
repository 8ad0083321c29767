"""The document as LaTeX source: standard packages, ctex for Chinese (compile with XeLaTeX)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainrule.render.document import (
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
from chainrule.render.figure import NUMBER, RING, draw, width_of
from chainrule.render.formula import Formula, write
from chainrule.render.pieces import Numbers
from chainrule.render.styles import LATEX, UNICODE
from chainrule.render.text import FIXED

PREAMBLE = r"""\documentclass[a4paper,11pt]{%s}
%s\usepackage{amsmath,amssymb,array,longtable,booktabs,tikz}
\usepackage[margin=20mm]{geometry}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt plus 1pt}
\setlength{\LTleft}{0pt}\setlength{\LTright}{0pt}
\renewcommand{\arraystretch}{1.5}\allowdisplaybreaks
\title{%s}\date{}
\begin{document}
\maketitle
"""
COLUMN = r">{\raggedright\arraybackslash}p{%.3f\linewidth}"
ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", FIXED: "~",
    "_": r"\_", "^": r"\^{}", "~": r"\~{}", "⊙": r"$\odot$", "𝟏": r"$\mathbf{1}$",
    "ᵀ": r"$^{\top}$", "Σ": r"$\Sigma$", "∂": r"$\partial$",
    "·": r"$\cdot$", "×": r"$\times$", "…": r"\dots{}", "−": r"$-$", "≤": r"$\le$", ">": r"$>$", "<": r"$<$",
    "⋆": r"$\star$", "∗": r"$\ast$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "δ": r"$\delta$", "¹": r"\textsuperscript{1}", "⁶": r"\textsuperscript{6}", "–": "--",
    "⋮": r"$\vdots$", "\u202f": r"\,", "→": r"$\to$", "≈": r"$\approx$",
}


def render(document: Document) -> str:
    chinese = document.language == "zh"
    setup = "" if chinese else "\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n"
    preamble = PREAMBLE % ("ctexart" if chinese else "article", setup, escape(document.title))
    return f"{preamble}{body(document)}\n\\end{{document}}\n"


def body(document: Document) -> str:
    """The document without its preamble: amsmath, amssymb, array, longtable, booktabs and tikz must be there."""
    parts, labels = [REASON], set[str]()
    for block in document.blocks:
        match block:
            case Heading(level=level, text=text):
                parts.append(rf"\{'section' if level == 1 else 'subsection'}*{{{flat(text)}}}")
            case Paragraph(text=text):
                parts.append(flat(text) + "\n")
            case Items(items=items):
                body = "\n".join(rf"\item {flat(item)}" for item in items)
                parts.append("\\begin{itemize}\n" + body + "\n\\end{itemize}")
            case Lines(lines=lines):
                parts.append(_proof(lines, labels))
            case Table(header=header, rows=rows_):
                shape = "@{}" + " ".join(COLUMN % share for share in _shares(header, rows_)) + "@{}"
                body_ = [_row(row, len(header)) for row in rows_]
                parts.append(_tabular(shape, body_, [flat(h) for h in header]))
            case Listing(text=text):
                parts.append(f"{{\\footnotesize\\begin{{verbatim}}\n{text.rstrip()}\n\\end{{verbatim}}}}")
            case Figure(caption=caption):
                parts.append(f"{_picture(block)}\n\n{{\\small {flat(caption)}}}\n")
    return "\n".join(parts)


def _shares(header: Sequence[Text], rows: Sequence[Sequence[Cell]]) -> Iterable[float]:
    """The columns' parts of a line: one that holds more is wider."""
    whole = [tuple((title,) for title in header), *(row for row in rows if len(row) == len(header))]
    columns = ([width_of(text) for cell in own for text in cell] for own in zip(*whole, strict=True))
    wanted = [2 + min(MOST, max(column)) for column in columns]
    return ((1 - 0.026 * (len(header) - 1)) * width / sum(wanted) for width in wanted)


MOST = 22.0
"""In em: from this width on, a column that holds more is no wider."""


def _row(row: Sequence[Cell], columns: int) -> list[str]:
    """The cells of a row; one alone runs across all columns."""
    if len(row) == columns:
        return [cell_text(c) for c in row]
    whole = r"p{\dimexpr\linewidth-2\tabcolsep}"
    title, *remarks = row[0]
    said = r" \par ".join([rf"\textbf{{{flat(title)}}}", *map(flat, remarks)])
    return [rf"\multicolumn{{{columns}}}{{@{{}}{whole}}}{{{said}}}"]


REASON = r"\providecommand{\reason}[2][0.35]{\parbox[t]{#1\linewidth}{\raggedright\small #2}}"
"""Why a line of a proof holds: a narrow column beside it, a wider one below it."""
BESIDE, BROAD = 42, 78
"""In letters: lines of a proof up to which their reasons stand beside them, and what a line has room for."""


def _proof(lines: Sequence[Line], labels: set[str]) -> str:
    """The lines as an align, each with its number as tag and label; `labels` are those that have been given."""
    rows: list[str] = []
    # The columns of an align are as wide as the widest line, so the reasons stand beside all lines or below all.
    beside = all(sum(len(write(f, UNICODE)) for f in (x.left, x.right) if f) <= BESIDE for x in lines)
    for line in lines:
        left = write(line.left, LATEX) if line.left else ""
        first, *more = _chunks(line.right)
        number = rf"\tag{{{line.number}}}" + (rf"\label{{eq:{line.number}}}" if line.number not in labels else "")
        labels.add(line.number)
        if beside:
            rows.append(rf"{left} &{first} && \reason{{{flat(line.reason)}}} {number}")
            continue
        rows.append(f"{left} &{first} {number}")
        rows += [rf"&\quad {chunk} \notag" for chunk in more]
        rows.append(rf"&\quad \reason[0.7]{{{flat(line.reason)}}} \notag")
    body = " \\\\\n".join(rows)
    return f"\\begin{{align}}\n{body}\n\\end{{align}}"


def _chunks(formula: Formula) -> list[str]:
    """A formula in pieces that fit in a line: parted at spaces outside braces and tall parentheses."""
    text = write(formula, LATEX)
    room = BROAD * len(text) / max(len(write(formula, UNICODE)), 1)
    chunks, depth = [""], 0
    for word in text.split(" "):
        apart = depth == 0 and chunks[-1] and len(chunks[-1]) + len(word) > room
        depth += word.count("{") - word.count("}") + word.count(r"\left") - word.count(r"\right")
        if apart:
            chunks.append(word)
        else:
            chunks[-1] += f" {word}" if chunks[-1] else word
    return chunks


LINE = 44.0
"""In em: the width of a line, which a figure may have."""


def _picture(figure: Figure) -> str:
    """The figure in TikZ: a node for each spot, named s0, s1, …, and labels of their own."""
    drawing = draw(figure, LINE)
    lines = [r"\begin{tikzpicture}[x=1em, y=-1em, inner sep=1pt]"]
    for number, ((x, y), spot) in enumerate(zip(drawing.places, figure.spots, strict=True)):
        ring = f", circle, draw=gray, minimum size={2 * RING}em" if spot.ring else ""
        lines.append(rf"\node[{ring.removeprefix(', ')}] (s{number}) at {_at(x, y)} {{{flat(spot.text)}}};")
        up = (RING if spot.ring else 0.7) + NUMBER / 2
        lines += [*_label(x, y - up, spot.above, "black"), *_label(x, y + up, spot.below, ACCENT)]
    for stroke in drawing.strokes:
        path = f"-- {_at(*stroke.end)}"
        if stroke.via is not None:
            (vx, vy), ends = stroke.via, (stroke.start, stroke.end)
            towards = [_at((x + 2 * vx) / 3, (y + 2 * vy) / 3) for x, y in ends]
            path = f".. controls {' and '.join(towards)} .. {_at(*stroke.end)}"
        lines.append(rf"\draw[->, gray] {_at(*stroke.start)} {path};")
    for (x, y), arrow in ((stroke.label, stroke.arrow) for stroke in drawing.strokes):
        lines += _label(x, y, arrow.text, "black" if arrow.under else "gray", arrow.under)
    body = "\n".join([*lines, r"\end{tikzpicture}"])
    return f"\\resizebox{{\\linewidth}}{{!}}{{%\n{body}}}" if drawing.width > LINE else body


ACCENT = "red!60!black"


def _at(x: float, y: float) -> str:
    return f"({x:.2f},{y:.2f})"


def _label(x: float, y: float, text: Text, colour: str, gradient: Text = ()) -> list[str]:
    size = rf"font=\small, text={colour}, fill=white, fill opacity=0.8, text opacity=1"
    more = rf" \textcolor{{{ACCENT}}}{{$\partial$ {flat(gradient)}}}" if gradient else ""
    return [rf"\node[{size}] at {_at(x, y)} {{{flat(text)}{more}}};"] if text else []


def _tabular(shape: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    head = "\\toprule\n" + " & ".join(header) + " \\\\\n\\midrule\n\\endhead\n" if header else ""
    foot = "\n\\bottomrule" if header else ""
    body = " \\\\ \\addlinespace[2pt]\n".join(" & ".join(row) for row in rows) + r" \\"
    return f"\\begin{{longtable}}{{{shape}}}\n{head}{body}{foot}\n\\end{{longtable}}"


def cell_text(cell: Cell) -> str:
    return r" \par\smallskip ".join(flat(line, display=True) for line in cell)


def _math(formula: Formula) -> str:
    """A formula as one that stands alone; in a long one a line may break between factors."""
    text = write(formula, LATEX)
    return rf"$\displaystyle {breakable(text) if len(write(formula, UNICODE)) > WHOLE else text}$"


def _inline(formula: Formula) -> str:
    """A formula among words; a long row of numbers in it may break, as words do."""
    text = write(formula, LATEX)
    long = any(isinstance(p, Numbers) and isinstance(p.values, tuple) and len(p.values) > ROW for p in formula.parts)
    return f"${text.replace(', ', f', {BREAK}') if long else text}$"


ROW = 8
"""Numbers that stand in a line without a break."""


WHOLE = 28
"""In letters: a formula up to this long has no breaks but those that LaTeX sees."""
BREAK = r"\allowbreak "


def breakable(text: str) -> str:
    depth, result = 0, ""
    for character in text:
        depth += (character == "{") - (character == "}")
        result += f" {BREAK}" if character == " " and depth == 0 else character
    return result


def flat(text: Text, display: bool = False) -> str:
    result = ""
    for part in text:
        match part:
            case Formula():
                result += _math(part) if display else _inline(part)
            case Code(text=name):
                result += rf"\texttt{{{escape(name).replace('.', '.' + BREAK)}}}"
            case str():
                result += escape(part)
    return result


def escape(text: str) -> str:
    return "".join(ESCAPES.get(c, c) for c in text)
