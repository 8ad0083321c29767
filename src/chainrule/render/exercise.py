"""A document as an exercise: right sides are left blank and questions asked; what was left out is the solution sheet.

Of three levels: the lemmas are given, and the backward pass and the numbers are asked for; the lemmas too, with their
reasons as hints; and without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from chainrule.ir.expr import Apply
from chainrule.render.document import Block, Cell, Figure, Heading, Inline, Line, Lines, Paragraph, Table, Text
from chainrule.render.formula import Blank, Formula, Worked, write
from chainrule.render.pieces import Numbers
from chainrule.render.questions import Level
from chainrule.render.styles import UNICODE
from chainrule.render.writer import Writer

NARROW, WIDE = 6, 16
"""In letters: the width of a blank is that of what is asked for, between these."""
ROOM = 4
"""Lines for an answer, at most; it has as many as the answer, and two at least."""
Part = Literal["given", "asked", "posed", "told"]
"""What a section is in an exercise: given to the reader, asked with blanks and then answered, posed as questions, or
told as an answer."""
Answers = Literal["after", "without", "alone"]
ANSWERS: tuple[Answers, ...] = ("after", "without", "alone")
"""Whether the solution sheet follows the exercise, or not, or is all there is."""


class Exercise(Writer):
    def sheet(self, blocks: Iterable[Block], part: Part, level: Level) -> Iterable[Block]:
        """The blocks as they are given, without the numbers that are asked for; and where they are asked, to be worked
        on: of each proof the first line stays and every reason as a hint, at the last level only what to find."""
        for block in blocks:
            match block, part:
                case Figure(), "asked" if is_answer(block):
                    pass
                case Figure(spots=spots, arrows=arrows), _:
                    bare = tuple(replace(spot, above=(), below=()) for spot in spots)
                    kept = (replace(a, text=() if part == "asked" else a.text, under=()) for a in arrows)
                    empty = self.say("exercise.figure", loss=self.math(self.names.loss.stem))
                    caption = empty if has_numbers(block) else block.caption
                    yield replace(block, spots=bare, arrows=tuple(kept), caption=caption)
                case Lines(lines=lines), "asked":
                    first = replace(blank_line(lines[0]), right=blanked(lines[0].right, kept=level < 3))
                    blank = (first, *map(blank_line, lines[1:]))
                    yield Lines(tuple(replace(x, reason=()) for x in blank) if level == 3 else blank)
                case Table(header=header, rows=rows), "asked":
                    names = (self.untold(row) if level == 3 else row[:1] for row in rows)
                    cells = ((*name, *map(blank_cell, row[1:])) for name, row in zip(names, rows, strict=True))
                    yield Table(header, tuple(cells))
                case Table(rows=rows), "posed":
                    for (question,), answer in rows:
                        yield Paragraph(question)
                        yield from self.room(answer)
                case _:
                    yield block

    def untold(self, row: Sequence[Cell]) -> Sequence[Cell]:
        """The first cell of a row: a line's number without its explanation, anything else as it is."""
        if len(row) == 1:
            return row
        blank = self.math(Blank(WIDE))
        return (tuple((text[0], blank) if len(text) > 1 and numbered(text[0]) else text for text in row[0]),)

    def room(self, answer: Cell) -> Iterable[Block]:
        """Lines to write an answer on."""
        return (Paragraph((self.math(Blank(None)),)),) * max(2, min(len(answer), ROOM))

    def solutions(self, blocks: Iterable[Block]) -> Iterable[Block]:
        """The blocks as they are, one level further down."""
        yield Heading(1, self.say("exercise.solutions"))
        for block in blocks:
            yield Heading(2, block.text) if isinstance(block, Heading) else block

    def lead(self, level: Level, answers: Answers) -> Text:
        follows = self.say("exercise.follows") if answers == "after" else ()
        return (*self.say(f"exercise.lead_{level}"), *follows)


def numbered(part: Inline) -> bool:
    """Whether it is the number of a line: (3)."""
    return isinstance(part, str) and part.startswith("(")


def is_answer(figure: Figure) -> bool:
    """Whether what stands in it is numbers: a picture of what is asked for."""
    formulas = (part for spot in figure.spots for part in spot.text if isinstance(part, Formula))
    return any(isinstance(part, Numbers) for formula in formulas for part in formula.parts)


def has_numbers(block: Block) -> bool:
    """Whether it is a figure with values, which a sheet has without them."""
    return isinstance(block, Figure) and any(spot.above or spot.below for spot in block.spots)


def blank_line(line: Line) -> Line:
    return replace(line, right=blanked(line.right), reason=blank_reason(line.reason))


def blank_reason(reason: Text) -> Text:
    """The reason, which is a hint; of a gradient in another form that stands in it, the left side alone."""
    asked = (isinstance(part, Formula) and not isinstance(part.parts[0], Apply) for part in reason)
    return tuple(blanked(p) if ask and isinstance(p, Formula) else p for p, ask in zip(reason, asked, strict=True))


def blank_cell(cell: Cell) -> Cell:
    return tuple(tuple(blanked(part) if isinstance(part, Formula) else part for part in text) for text in cell)


def blanked(formula: Formula, kept: int = 0) -> Formula:
    """The formula up to the equals sign after so many that are kept, and room for what stands behind it."""
    parts = formula.parts
    signs = [n for n, part in enumerate(parts) if part == "="]
    if len(signs) <= kept:
        return formula
    at = signs[kept] + 1
    width = len(write(Formula(parts[at:], formula.names), UNICODE))
    worked = any(isinstance(part, Worked) for part in parts)
    return Formula((*parts[:at], Blank(WIDE if worked else min(max(width, NARROW), WIDE))), formula.names)
