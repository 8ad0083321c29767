"""The document as LaTeX source: standard packages, ctex for Chinese (compile with XeLaTeX)."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.render.document import Cell, Code, Document, Heading, Items, Lines, Paragraph, Table, Text
from chainrule.render.formula import Formula, write
from chainrule.render.styles import LATEX

PREAMBLE = r"""\documentclass[a4paper,11pt]{%s}
%s\usepackage{amsmath,amssymb,array,longtable,booktabs}
\usepackage[margin=20mm]{geometry}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt plus 1pt}
\setlength{\LTleft}{0pt}\setlength{\LTright}{0pt}
\renewcommand{\arraystretch}{1.5}
\newcolumntype{P}[1]{>{\raggedright\arraybackslash}p{#1}}
\title{%s}\date{}
\begin{document}
\maketitle
"""
ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\^{}", "~": r"\~{}", "⊙": r"$\odot$", "𝟏": r"$\mathbf{1}$",
    "ᵀ": r"$^{\top}$", "Σ": r"$\Sigma$", "∂": r"$\partial$",
    "·": r"$\cdot$", "×": r"$\times$", "…": r"\dots{}", "−": r"$-$", "≤": r"$\le$", ">": r"$>$", "<": r"$<$",
    "⋆": r"$\star$", "∗": r"$\ast$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "δ": r"$\delta$", "¹": r"\textsuperscript{1}", "⁶": r"\textsuperscript{6}", "–": "--",
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
                shape = r"@{}r l P{0.47\linewidth} P{0.27\linewidth}@{}"
                parts.append(_tabular(shape, rows))
            case Table(header=header, rows=rows_):
                share = 0.94 / len(header)
                shape = "@{}" + " ".join(rf"P{{{share:.3f}\linewidth}}" for _ in header) + "@{}"
                body_ = [[cell_text(c) for c in row] for row in rows_]
                parts.append(_tabular(shape, body_, [flat(h) for h in header]))
    return "\n".join(parts)


def _tabular(shape: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    head = "\\toprule\n" + " & ".join(header) + " \\\\\n\\midrule\n\\endhead\n" if header else ""
    foot = "\n\\bottomrule" if header else ""
    body = " \\\\\n".join(" & ".join(row) for row in rows) + r" \\"
    return f"\\begin{{longtable}}{{{shape}}}\n{head}{body}{foot}\n\\end{{longtable}}"


def cell_text(cell: Cell) -> str:
    return r" \newline ".join(flat(line, display=True) for line in cell)


def _math(formula: Formula) -> str:
    return rf"$\displaystyle {write(formula, LATEX)}$"


def flat(text: Text, display: bool = False) -> str:
    result = ""
    for part in text:
        match part:
            case Formula():
                result += _math(part) if display else f"${write(part, LATEX)}$"
            case Code(text=name):
                result += rf"\texttt{{{escape(name)}}}"
            case str():
                result += escape(part)
    return result


def escape(text: str) -> str:
    return "".join(ESCAPES.get(c, c) for c in text)
