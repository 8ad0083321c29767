"""A document as an exercise: the right sides are left blank, and the whole derivation follows as a solution sheet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chainrule.ir.expr import Apply
from chainrule.render.document import Block, Cell, Figure, Heading, Line, Lines, Table, Text
from chainrule.render.formula import Blank, Formula, Worked, write
from chainrule.render.styles import UNICODE
from chainrule.render.writer import Writer

NARROW, WIDE = 6, 24
"""In letters: the width of a blank is that of what is asked for, between these."""


class Exercise(Writer):
    def sheet(self, blocks: Iterable[Block], *, blank: bool) -> Iterable[Block]:
        """The blocks as they are given, without the numbers that are asked for; and with `blank`, to be worked on: of
        each proof the first line stays, and every reason as a hint."""
        for block in blocks:
            match block:
                case Figure(spots=spots, arrows=arrows):
                    bare = tuple(replace(spot, above=(), below=()) for spot in spots)
                    kept = (replace(arrow, text=() if blank else arrow.text, under=()) for arrow in arrows)
                    yield replace(block, spots=bare, arrows=tuple(kept))
                case _ if not blank:
                    yield block
                case Lines(lines=lines):
                    first = replace(blank_line(lines[0]), right=blanked(lines[0].right, kept=1))
                    yield Lines((first, *map(blank_line, lines[1:])))
                case Table(header=header, rows=rows):
                    yield Table(header, tuple((row[0], *map(blank_cell, row[1:])) for row in rows))
                case _:
                    yield block

    def solutions(self, blocks: Iterable[Block]) -> Iterable[Block]:
        """The blocks as they are, one level further down."""
        yield Heading(1, self.say("exercise.solutions"))
        for block in blocks:
            yield Heading(2, block.text) if isinstance(block, Heading) else block

    def lead(self) -> Text:
        return self.say("exercise.lead")


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
