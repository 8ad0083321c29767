"""The document as Markdown with LaTeX mathematics between dollar signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from chainrule.render.figure import chains
from chainrule.render.formula import Formula, write
from chainrule.render.styles import LATEX


def render(document: Document) -> str:
    parts = [f"# {document.title}"]
    for block in document.blocks:
        match block:
            case Heading(level=level, text=text):
                parts.append(f"{'#' * (level + 1)} {flat(text)}")
            case Paragraph(text=text):
                parts.append(flat(text))
            case Items(items=items):
                parts.append("\n".join(f"- {flat(item)}" for item in items))
            case Lines(lines=lines):
                rows = [
                    (f"({x.number})", _math(x.left) if x.left else "", _math(x.right), flat(x.reason)) for x in lines
                ]
                parts.append(grid(("", "", "", ""), rows))
            case Table(header=header, rows=rows_):
                parts.append(grid([flat(h) for h in header], [_row(row, len(header)) for row in rows_]))
            case Listing(text=text, language=language):
                parts.append(f"```{language}\n{text.rstrip()}\n```")
            case Figure(caption=caption):
                parts.append("\n".join(f"- {line}" for line in figure(block)))
                parts.append(flat(caption))
    return "\n\n".join(part for part in parts if part) + "\n"


def figure(block: Figure) -> Iterable[str]:
    """The arrows of a figure in chains."""
    numbered = {n for n, spot in enumerate(block.spots) if spot.above or spot.below}

    def told(number: int) -> str:
        """A spot; with its numbers where it is met first."""
        spot = block.spots[number]
        if number not in numbered:
            return flat(spot.text)
        numbered.remove(number)
        return flat(spot.text) + with_gradient(f" = {flat(spot.above)}" if spot.above else "", spot.below)

    for start, links in chains(block):
        words = told(start)
        for arrow, end in links:
            label = with_gradient(flat(arrow.text), arrow.under)
            words += f" —{label}→ {told(end)}" if label else f" → {told(end)}"
        yield words


def with_gradient(value: str, gradient: Text) -> str:
    """A value, and the gradient by it behind ∂."""
    return f"{value}, ∂ {flat(gradient)}".removeprefix(", ") if gradient else value


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(row: Sequence[Cell], columns: int) -> list[str]:
    """The cells of a row; one alone stands in the first column."""
    if len(row) == columns:
        return [cell_text(c) for c in row]
    title, *remarks = map(flat, row[0])
    return ["<br>".join([f"**{title}**" if title else "", *remarks]).removeprefix("<br>"), *[""] * (columns - 1)]


def cell_text(cell: Cell) -> str:
    return "<br>".join(flat(line, display=True) for line in cell)


def _math(formula: Formula) -> str:
    return rf"$\displaystyle {write(formula, LATEX)}$"


def flat(text: Text, display: bool = False) -> str:
    result = ""
    for part in text:
        match part:
            case Formula():
                result += _math(part) if display else f"${write(part, LATEX)}$"
            case Code(text=name):
                result += f"`{name}`"
            case str():
                result += part.replace("|", r"\|").replace("*", r"\*")
    return result
