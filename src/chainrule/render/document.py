"""A document: headings, paragraphs, lines of a proof and tables, printed by every format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.render.formula import Formula


@dataclass(frozen=True, slots=True)
class Code:
    """A name as it stands in a program."""

    text: str


Inline = str | Formula | Code
Text = tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: Text


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Text


@dataclass(frozen=True, slots=True)
class Line:
    """left = right, and why; a line without `left` continues the one above."""

    number: str
    left: Formula | None
    right: Formula
    reason: Text


@dataclass(frozen=True, slots=True)
class Lines:
    lines: tuple[Line, ...]


Cell = tuple[Text, ...]
"""The lines of a table's cell."""


@dataclass(frozen=True, slots=True)
class Table:
    """A row of one cell runs across the whole table: its first line is the title of the rows below it, the others are
    remarks on them."""

    header: tuple[Text, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A program to read and to run, line by line as it stands."""

    text: str
    language: str = "python"


@dataclass(frozen=True, slots=True)
class Spot:
    """A node of a figure; `column` and `row` say where it stands in the grid. `above` it stands its value, `below` it
    the gradient by it, where the figure has numbers; a `ring` is drawn around the text."""

    column: int
    row: float
    text: Text
    above: Text = ()
    below: Text = ()
    ring: bool = False

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.text, self.above, self.below


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow from one spot to another, by their places in the figure. With numbers, `text` is the weight's value and
    `under` the gradient by it."""

    start: int
    end: int
    text: Text = ()
    under: Text = ()

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.text, self.under


@dataclass(frozen=True, slots=True)
class Figure:
    """A graph drawn from left to right: a network, or the paths by which a tensor reaches the loss."""

    spots: tuple[Spot, ...]
    arrows: tuple[Arrow, ...]
    caption: Text

    @property
    def texts(self) -> tuple[Text, ...]:
        """Every text, in the order in which formats print them."""
        parts = (*self.spots, *self.arrows)
        return (*(text for part in parts for text in part.texts), self.caption)


Block = Heading | Paragraph | Lines | Table | Items | Listing | Figure


@dataclass(frozen=True, slots=True)
class Drawn:
    """Markup that `charts` has laid out, among the blocks of a page."""

    markup: str
    caption: Text = ()


@dataclass(frozen=True, slots=True)
class Document:
    language: str
    title: str
    blocks: tuple[Block, ...]


def formulas(document: Document) -> Iterable[Formula]:
    """Every formula of a document, in order."""
    for block in document.blocks:
        match block:
            case Heading(text=text) | Paragraph(text=text):
                texts: Iterable[Text] = (text,)
            case Items(items=texts):
                pass
            case Listing():
                continue
            case Figure(texts=texts):
                pass
            case Lines(lines=lines):
                texts = ((*((x.left,) if x.left else ()), x.right, *x.reason) for x in lines)
            case Table(header=header, rows=rows):
                texts = (*header, *(t for row in rows for cell in row for t in cell))
        for text in texts:
            yield from (part for part in text if isinstance(part, Formula))
