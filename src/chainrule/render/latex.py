"""The document as LaTeX source: standard packages, ctex for Chinese (compile with XeLaTeX)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.render.document import (
    Cell,
    Code,
    Document,
    Figure,
    Heading,
    Items,
    Lines,
    Listing,
    Paragraph,
    Table,
    Text,
)
from chainrule.render.figure import Chain, chains
from chainrule.render.formula import Formula, write
from chainrule.render.styles import LATEX, UNICODE

PREAMBLE = r"""\documentclass[a4paper,11pt]{%s}
%s\usepackage{amsmath,amssymb,array,longtable,booktabs}
\usepackage[margin=20mm]{geometry}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt plus 1pt}
\setlength{\LTleft}{0pt}\setlength{\LTright}{0pt}
\renewcommand{\arraystretch}{1.5}
\title{%s}\date{}
\begin{document}
\maketitle
"""
COLUMN = r">{\raggedright\arraybackslash}p{%.3f\linewidth}"
ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
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
    """The document without its preamble: amsmath, amssymb, array, longtable and booktabs must be there."""
    parts = list[str]()
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
                rows = [
                    [f"({x.number})", _math(x.left) if x.left else "", _math(x.right), flat(x.reason)] for x in lines
                ]
                shape = rf"@{{}}r l {COLUMN % 0.47} {COLUMN % 0.27}@{{}}"
                parts.append(_tabular(shape, rows))
            case Table(header=header, rows=rows_):
                share = (1 - 0.026 * (len(header) - 1)) / len(header)
                shape = "@{}" + " ".join(COLUMN % share for _ in header) + "@{}"
                body_ = [[cell_text(c) for c in row] for row in rows_]
                parts.append(_tabular(shape, body_, [flat(h) for h in header]))
            case Listing(text=text):
                parts.append(f"{{\\footnotesize\\begin{{verbatim}}\n{text.rstrip()}\n\\end{{verbatim}}}}")
            case Figure(caption=caption):
                lines = " \\\\\n".join(map(_chain_of(block), chains(block)))
                parts.append(f"\\begin{{quote}}\n{lines}\n\\end{{quote}}\n{flat(caption)}\n")
    return "\n".join(parts)


def _chain_of(figure: Figure) -> Callable[[Chain], str]:
    def written(chain: Chain) -> str:
        start, links = chain
        arrows = (
            rf" $\xrightarrow{{\text{{{flat(arrow.text)}}}}}$ {flat(figure.spots[end].text)}" for arrow, end in links
        )
        return flat(figure.spots[start].text) + "".join(arrows)

    return written


def _tabular(shape: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    head = "\\toprule\n" + " & ".join(header) + " \\\\\n\\midrule\n\\endhead\n" if header else ""
    foot = "\n\\bottomrule" if header else ""
    body = " \\\\\n".join(" & ".join(row) for row in rows) + r" \\"
    return f"\\begin{{longtable}}{{{shape}}}\n{head}{body}{foot}\n\\end{{longtable}}"


def cell_text(cell: Cell) -> str:
    return r" \par\smallskip ".join(flat(line, display=True) for line in cell)


def _math(formula: Formula) -> str:
    """A formula as one that stands alone; in a long one a line may break between factors."""
    text = write(formula, LATEX)
    return rf"$\displaystyle {breakable(text) if len(write(formula, UNICODE)) > WHOLE else text}$"


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
                result += _math(part) if display else f"${write(part, LATEX)}$"
            case Code(text=name):
                result += rf"\texttt{{{escape(name).replace('.', '.' + BREAK)}}}"
            case str():
                result += escape(part)
    return result


def escape(text: str) -> str:
    return "".join(ESCAPES.get(c, c) for c in text)
