"""A figure's geometry: where its spots and arrows stand, and its arrows as chains for formats that cannot draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from unicodedata import combining, east_asian_width

from chainrule.render.document import Arrow, Code, Figure, Text
from chainrule.render.formula import Formula, write
from chainrule.render.styles import UNICODE

LETTER, GAP, HEIGHT = 0.55, 2.2, 2.1
"""In em: a letter's width, the room of an arrow without a label, and the distance of two rows."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A straight arrow, and where its label stands; in em."""

    x1: float
    y1: float
    x2: float
    y2: float
    arrow: Arrow

    @property
    def label(self) -> tuple[float, float]:
        return self.x1 + 0.45 * (self.x2 - self.x1), self.y1 + 0.45 * (self.y2 - self.y1)


@dataclass(frozen=True, slots=True)
class Drawing:
    """In em, y downwards: the size of the whole, the middle of each spot, and the arrows."""

    width: float
    height: float
    places: tuple[tuple[float, float], ...]
    strokes: tuple[Stroke, ...]


def width_of(text: Text) -> float:
    """About how wide a text is, in em; what is above or below the line takes less room."""
    letters = 0.0
    for part in text:
        formula = isinstance(part, Formula)
        word = write(part, UNICODE) if formula else part.text if isinstance(part, Code) else part
        for c in word:
            letters += 0 if combining(c) or (formula and c in "_^{}") else 1.8 if east_asian_width(c) in "WF" else 1
    return LETTER * letters


def draw(figure: Figure) -> Drawing:
    """Columns as wide as their widest spot, with room between them for the arrows' labels."""
    spots = figure.spots
    columns = 1 + max(s.column for s in spots)
    half = [max((width_of(s.text) / 2 + 0.4 for s in spots if s.column == c), default=0.4) for c in range(columns)]
    room = [GAP] * columns
    for arrow in figure.arrows:
        a, b = sorted((spots[arrow.start].column, spots[arrow.end].column))
        if arrow.text and b == a + 1:
            room[a] = max(room[a], width_of(arrow.text) + 2.4)
    starts = [0.0, *accumulate(2 * half[c] + room[c] for c in range(columns - 1))]
    places = tuple((starts[s.column] + half[s.column], HEIGHT * (s.row + 0.5)) for s in spots)
    widths = [width_of(s.text) / 2 + 0.3 for s in spots]
    strokes = tuple(_stroke(places, widths, arrow) for arrow in figure.arrows)
    height = HEIGHT * (1 + max(s.row for s in spots))
    return Drawing(starts[-1] + 2 * half[-1], height, places, strokes)


def _stroke(places: Sequence[tuple[float, float]], half: Sequence[float], arrow: Arrow) -> Stroke:
    """From the edge of one spot's box to the edge of another's."""
    (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
    first, last = _leave(x2 - x1, y2 - y1, half[arrow.start]), _leave(x2 - x1, y2 - y1, half[arrow.end])
    return Stroke(x1 + first * (x2 - x1), y1 + first * (y2 - y1), x2 - last * (x2 - x1), y2 - last * (y2 - y1), arrow)


def _leave(dx: float, dy: float, half: float, tall: float = 0.85) -> float:
    """The share of a line that lies within a box around its end."""
    return min(half / abs(dx) if dx else 1, tall / abs(dy) if dy else 1, 0.4)


Chain = tuple[int, tuple[tuple[Arrow, int], ...]]
"""A spot, and the arrows that lead on from it, each with the spot it ends at; where no arrow touches it, none."""


def chains(figure: Figure) -> list[Chain]:
    """Every arrow once, in chains as long as they get, x → u → z, from the top of the figure to its foot."""
    left = list(figure.arrows)
    touched = {end for arrow in left for end in (arrow.start, arrow.end)}
    result: list[Chain] = [(n, ()) for n in range(len(figure.spots)) if n not in touched]
    while left:
        entered = {a.end for a in left}
        arrow: Arrow | None = next((a for a in left if a.start not in entered), left[0])
        start, links = arrow.start, list[tuple[Arrow, int]]()
        while arrow is not None:
            left.remove(arrow)
            links.append((arrow, arrow.end))
            arrow = next((a for a in left if a.start == links[-1][1]), None)
        result.append((start, tuple(links)))
    return sorted(result, key=lambda chain: _row(figure, chain))


def _row(figure: Figure, chain: Chain) -> int:
    """The row in which a chain runs: that of its first spot between the ends, if it has one."""
    start, links = chain
    return figure.spots[links[0][1] if len(links) > 1 else start].row
