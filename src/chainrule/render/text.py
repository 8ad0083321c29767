"""The document as plain text for a terminal, with Unicode mathematics and aligned columns."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

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
from chainrule.render.styles import UNICODE

FIXED = "\u00a0"
"""A space at which a line does not break."""
CLOSING = "\uff0c\u3002\uff1b\uff1a\u3001\uff09\u300b\u300d\u300f\uff01\uff1f,.;:)"


def width_of(text: str) -> int:
    """Columns of a terminal: a wide character takes two, a combining one none."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def render(document: Document, width: int) -> str:
    """The whole document; no line is wider than `width` unless a single word is."""
    lines: list[str] = [document.title, "═" * width_of(document.title)]
    for block in document.blocks:
        lines.append("")
        match block:
            case Heading(level=level, text=text):
                title = flat(text)
                lines += [title.replace(FIXED, " "), ("─" if level == 1 else "┄") * width_of(title)]
            case Paragraph(text=text):
                lines += wrap(flat(text), width)
            case Items(items=items):
                for item in items:
                    first, *rest = wrap(flat(item), width - 4)
                    lines += [f"  • {first}", *(f"    {line}" for line in rest)]
            case Lines():
                lines += proof(block, width)
            case Table():
                lines += table(block, width)
            case Listing(text=text):
                lines += [f"    {line}" for line in text.rstrip().splitlines()]
            case Figure():
                lines += figure(block, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def flat(text: Text) -> str:
    """Inline parts as one string. A short formula does not break."""
    result = ""
    for part in text:
        match part:
            case Formula():
                formula = write(part, UNICODE)
                result += formula.replace(" ", FIXED) if width_of(formula) <= 24 else formula
            case Code(text=name):
                result += name
            case str():
                result += part
    return result


def figure(block: Figure, width: int) -> list[str]:
    """The arrows of a figure in chains, x ─W→ u → z, and the caption."""
    lines: list[str] = []
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
            label = with_gradient(flat(arrow.text), arrow.under).replace(" ", FIXED)
            words += f" ─{label}→ {told(end)}"
        first, *rest = wrap(words, width - 4)
        lines += [f"    {first}", *(f"      {line}" for line in rest)]
    return [*lines, *wrap(flat(block.caption), width)] if block.caption else lines


def with_gradient(value: str, gradient: Text) -> str:
    """A value, and the gradient by it behind ∂."""
    return f"{value}, ∂ {flat(gradient)}".removeprefix(", ") if gradient else value


def wrap(text: str, width: int) -> list[str]:
    """Break at spaces and between wide characters; a closing mark never starts a line."""
    lines: list[str] = []
    current = ""
    for word in _words(text):
        if current and width_of(current + word.rstrip()) > width:
            lines.append(current.rstrip())
            current = word.lstrip()
        else:
            current += word
    return [line.replace(FIXED, " ") for line in (*lines, current.rstrip()) if line] or [""]


def _words(text: str) -> list[str]:
    words: list[str] = []
    start = True
    for character in text:
        wide = east_asian_width(character) in "WF"
        if words and (character in CLOSING or not (start or wide)):
            words[-1] += character
        else:
            words.append(character)
        start = character == " " or wide
    return words


def proof(block: Lines, width: int) -> list[str]:
    """number, left side, = right side, reason, in columns; a long right side has its reason below."""
    rows = [
        (line.number, write(line.left, UNICODE) if line.left else "", write(line.right, UNICODE), flat(line.reason))
        for line in block.lines
    ]
    number = max(width_of(r[0]) for r in rows)
    left = max(width_of(r[1]) for r in rows)
    room = width - number - left - 4
    limit = max(room - 34, room // 2)
    right = max((w for r in rows if (w := width_of(r[2])) <= limit), default=limit)
    result: list[str] = []
    for own, lhs, rhs, why in rows:
        head = f"{pad(own, number)}  {pad(lhs, left)} "
        if width_of(rhs) <= right:
            reasons = wrap(why, room - right - 2)
            result.append(f"{head}{pad(rhs, right)}   {reasons[0]}")
            result += [" " * (number + left + right + 6) + line for line in reasons[1:]]
            continue
        formula = wrap(rhs, room - 4)
        result.append(head + formula[0])
        result += [" " * (number + left + 7) + line for line in formula[1:]]
        result += [" " * (number + left + right + 6) + line for line in wrap(why, room - right - 2)]
    return result


def table(block: Table, width: int) -> list[str]:
    """Columns as wide as they need where all fit; else the widest give way."""
    rows = [tuple(cell_text(cell) for cell in row) for row in block.rows]
    header = tuple([flat(text)] for text in block.header)
    own = [row for row in (header, *rows) if len(row) == len(header)]
    natural = [max(width_of(line) for row in own for line in row[c]) for c in range(len(header))]
    widths = fit(natural, width - 3 * (len(header) - 1))
    result = [*_row(header, widths), "─┼─".join("─" * w for w in widths)]
    several = any(len(_row(row, widths)) > 1 for row in own)
    for position, row in enumerate(rows):
        if len(row) < len(header):
            whole = [part for line in row[0] for part in wrap(line, width)]
            result += [*([""] if position else []), *whole, "─┴─".join("─" * w for w in widths)]
            continue
        if position and several and len(rows[position - 1]) == len(header):
            result.append(" │ ".join(" " * w for w in widths))
        result += _row(row, widths)
    return result


def cell_text(cell: Cell) -> list[str]:
    return [flat(line) for line in cell] or [""]


def fit(natural: Sequence[int], room: int) -> list[int]:
    """The columns' widths: none more than it needs; the others share what is left."""
    widths = list(natural)
    open_ = set(range(len(widths)))
    while sum(widths) > room and open_:
        share = (room - sum(w for c, w in enumerate(widths) if c not in open_)) // len(open_)
        small = {c for c in open_ if natural[c] <= share}
        if not small:
            for c in open_:
                widths[c] = share
            break
        open_ -= small
    return widths


def _row(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    columns = [[line for part in cell for line in wrap(part, w)] for cell, w in zip(cells, widths, strict=True)]
    height = max(map(len, columns))
    return [
        " │ ".join(pad(column[i] if i < len(column) else "", w) for column, w in zip(columns, widths, strict=True))
        for i in range(height)
    ]


def pad(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))
