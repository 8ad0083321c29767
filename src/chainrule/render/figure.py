"""A figure's geometry: where its spots and arrows stand, and its arrows as chains for formats that cannot draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from unicodedata import combining, east_asian_width

from chainrule.render.document import Arrow, Code, Figure, Spot, Text
from chainrule.render.formula import Formula, write
from chainrule.render.pieces import Numbers, value_of
from chainrule.render.styles import UNICODE

LETTER, SIGN, GAP, HEIGHT = 0.55, 0.46, 2.2, 1.9
"""In em: a letter's width in words and in a formula, the room of an arrow without a label, the distance of two rows."""
SMALL = 0.85
"""The size of what stands on an arrow, above a spot and below it, of the size of the text."""
TALL, NUMBER, RING = 0.85, 1.4, 1.25
"""In em: half a spot's height, the height of a number above or below it, and a ring's radius."""
TURN = 1.6
"""In em: the room between two lines of one row, for the arrow from one to the next."""
PAGE = 49.0
"""In em: the width that a figure may have on paper; a longer row goes on in a line below, the other way."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stroke:
    """An arrow from one point to another, and where its label stands; an arc bends towards the point `via`. In em."""

    start: Point
    end: Point
    via: Point | None
    label: Point
    arrow: Arrow

    @property
    def tip(self) -> tuple[Point, Point]:
        """Where the head begins, and the direction it points to."""
        (x, y), (x0, y0) = self.end, self.via or self.start
        length = max(((x - x0) ** 2 + (y - y0) ** 2) ** 0.5, 1e-9)
        dx, dy = (x - x0) / length, (y - y0) / length
        return (x - HEAD * dx, y - HEAD * dy), (dx, dy)

    @property
    def corners(self) -> tuple[Point, Point, Point]:
        """The head, a triangle."""
        (x, y), (dx, dy) = self.tip
        half = 0.4 * HEAD
        return self.end, (x - half * dy, y + half * dx), (x + half * dy, y - half * dx)


HEAD = 0.44
"""In em: the length of an arrow's head."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """In em, y downwards: the size of the whole, the middle of each spot, and the arrows."""

    width: float
    height: float
    places: tuple[Point, ...]
    strokes: tuple[Stroke, ...]


def width_of(text: Text) -> float:
    """About how wide a text is, in em; what is above or below the line takes less room."""
    letters = 0.0
    for part in text:
        if isinstance(part, Formula):
            letters += SIGN / LETTER * sum(_letters(line) for line in _written(part))
            continue
        for c in part.text if isinstance(part, Code) else part:
            letters += 0 if combining(c) else 1.8 if east_asian_width(c) in "WF" else 1
    return LETTER * letters


def is_matrix(part: Numbers) -> bool:
    return isinstance(part.values, tuple) and isinstance(part.values[0], tuple)


def _written(formula: Formula) -> Iterable[str]:
    """The formula in the terminal's form; of a matrix its widest row."""
    for part in formula.parts:
        values = part.values if isinstance(part, Numbers) else ()
        rows = [Numbers(row) for row in values if isinstance(row, tuple)] if isinstance(values, tuple) else []
        yield max((write(Formula((row,), formula.names), UNICODE) for row in rows or [part]), key=len)


def _letters(formula: str) -> float:
    """A formula's width in letters: those of a script are smaller."""
    result, script, depth = 0.0, False, 0
    for c in formula:
        depth += (c in "{[") - (c in "}]")
        script = c in "_^" or (script and (depth > 0 or c not in " ),;="))
        result += 0 if combining(c) or c in "_^{}" else 0.65 if script else 1
    return result


def drawn_width(text: Text) -> float:
    """The same where matrices stand with their columns apart, as they do in a drawing."""
    matrices = [p for t in text if isinstance(t, Formula) for p in t.parts if isinstance(p, Numbers) and is_matrix(p)]
    rest = tuple(
        Formula(tuple(p for p in t.parts if p not in matrices), t.names) if isinstance(t, Formula) else t for t in text
    )
    return width_of(rest) + sum(map(_matrix_width, matrices))


def _matrix_width(matrix: Numbers) -> float:
    assert isinstance(matrix.values, tuple)
    rows = [row if isinstance(row, tuple) else (row,) for row in matrix.values]
    entries = [[value_of(v, UNICODE).text for v in column] for column in zip(*rows, strict=True)]
    return BRACKETS + sum(APART + max(DIGIT * len(e) + MINUS * e.count("−") for e in column) for column in entries)


BRACKETS, APART, DIGIT, MINUS = 1.6, 0.4, 0.5, 0.28
"""In em: the two brackets of a matrix with the room beside them, the room between two columns, the width of a digit,
and what a minus is wider."""


def spot_width(spot: Spot) -> float:
    own = 2 * RING if spot.ring else drawn_width(spot.text)
    return max(own, *(SMALL * width_of(t) for t in (spot.above, spot.below)))


def spot_height(spot: Spot) -> float:
    """A spot's own height, in em; that of a matrix is as many rows."""
    numbers = (p for t in spot.text if isinstance(t, Formula) for p in t.parts if isinstance(p, Numbers))
    rows = max((len(p.values) for p in numbers if is_matrix(p) and isinstance(p.values, tuple)), default=1)
    return 2 * RING if spot.ring else max(2 * TALL, 1.15 * rows)


def draw(figure: Figure, page: float = PAGE) -> Drawing:
    """Columns as wide as their widest spot, with room between them for the arrows' labels; a row that is wider than
    the page goes on in a line below."""
    spots = figure.spots
    columns = 1 + max(s.column for s in spots)
    half = [max((spot_width(s) / 2 + 0.4 for s in spots if s.column == c), default=0.4) for c in range(columns)]
    room = [GAP] * columns
    for arrow in figure.arrows:
        a, b = sorted((spots[arrow.start].column, spots[arrow.end].column))
        if b == a + 1:
            label = SMALL * (width_of(arrow.text) + width_of(arrow.under))
            # Weights stand at one third of an arrow, where no two arrows cross; a shape, in its middle.
            room[a] = max(room[a], (1.9 * label + 2.6 if arrow.under else label + 2.2) if label else GAP)
    # Only a single row can go on below; a figure of more rows that is too wide is for its format to scale.
    middles, lines = _folded(half, room, page if all(s.row == 0 for s in spots) else inf)
    numbered = any(s.above or s.below for s in spots)
    pitch = max(HEIGHT, *map(spot_height, spots)) + numbered * 2 * NUMBER
    arcs = [_arc(figure, lines, arrow) for arrow in figure.arrows]
    rise = max((ARC + 0.1 * abs(middles[b] - middles[a]) for a, b in filter(None, arcs)), default=0.0)
    line = pitch * (1 + max(s.row for s in spots)) + rise + TURN * (max(lines) > 0)
    places = tuple((middles[s.column], lines[s.column] * line + rise + pitch * (s.row + 0.5)) for s in spots)
    strokes = tuple(
        _stroke(figure, places, arrow, rise if arc else 0) for arrow, arc in zip(figure.arrows, arcs, strict=True)
    )
    width = max(m + h for m, h in zip(middles, half, strict=True))
    return Drawing(width, line * (1 + max(lines)) - TURN * (max(lines) > 0), places, strokes)


ARC = 1.4
"""In em: how high the flattest arc rises above the row."""


def _folded(half: Sequence[float], room: Sequence[float], page: float) -> tuple[list[float], list[int]]:
    """The middle of each column and its line. Every other line runs from right to left, so that an arrow from the end
    of one to the start of the next goes straight down."""
    middles, lines = [half[0]], [0]
    for column in range(1, len(half)):
        step = half[column - 1] + room[column - 1] + half[column]
        forward = 1 if lines[-1] % 2 == 0 else -1
        middle = middles[-1] + forward * step
        if middle + half[column] > page or middle < half[column]:
            middles.append(middles[-1])
            lines.append(lines[-1] + 1)
        else:
            middles.append(middle)
            lines.append(lines[-1])
    left = min(m - h for m, h in zip(middles, half, strict=True))
    return [m - left for m in middles], lines


def _arc(figure: Figure, lines: Sequence[int], arrow: Arrow) -> tuple[int, int] | None:
    """The columns that an arrow joins above others in their row, if it does."""
    a, b = figure.spots[arrow.start], figure.spots[arrow.end]
    between = (s.column for s in figure.spots if s.row == a.row and min(a.column, b.column) < s.column)
    over = a.row == b.row and lines[a.column] == lines[b.column] and any(c < max(a.column, b.column) for c in between)
    return (a.column, b.column) if over else None


def _stroke(figure: Figure, places: Sequence[Point], arrow: Arrow, rise: float) -> Stroke:
    """From the edge of one spot's box to the edge of another's; an arc from above one to above the other."""
    (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
    first, last = figure.spots[arrow.start], figure.spots[arrow.end]
    if rise:
        y1, y2 = (y - TALL - NUMBER * bool(s.above) for y, s in ((y1, first), (y2, last)))
        inward = 0.3 if x2 > x1 else -0.3
        start, end, via = (x1 + inward, y1), (x2 - inward, y2), ((x1 + x2) / 2, min(y1, y2) - 1.6 * rise + 0.6)
        return Stroke(start, end, via, _between(_between(start, end, 0.5), via, 0.5), arrow)
    via = _around(figure, places, arrow)
    before, after = via or (x1, y1), via or (x2, y2)
    t1 = _leave(after[0] - x1, after[1] - y1, first)
    t2 = _leave(before[0] - x2, before[1] - y2, last)
    start, end = _between((x1, y1), after, t1), _between((x2, y2), before, t2)
    return Stroke(start, end, via, _between(start, via or end, 0.3 if arrow.under else 0.45), arrow)


def _around(figure: Figure, places: Sequence[Point], arrow: Arrow) -> Point | None:
    """The point that an arrow bends towards where it would run through another spot: to the side that the middle of
    the drawing is on."""
    (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
    dx, dy = x2 - x1, y2 - y1
    square = dx * dx + dy * dy
    wide = 0.0
    if not square:
        return None
    for n, (x, y) in enumerate(places):
        along = ((x - x1) * dx + (y - y1) * dy) / square
        apart = abs((x - x1) * dy - (y - y1) * dx) / square**0.5
        if n not in (arrow.start, arrow.end) and 0 < along < 1 and apart < TALL:
            wide = max(wide, spot_width(figure.spots[n]) / 2)
    if not wide:
        return None
    side = 1 if (x1 + x2) / 2 < sum(x for x, _ in places) / len(places) else -1
    return (x1 + x2) / 2 + 2 * side * (wide + 0.6), (y1 + y2) / 2


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _leave(dx: float, dy: float, spot: Spot) -> float:
    """The share of a line that lies within the spot at its beginning."""
    if spot.ring and abs(dx) > abs(dy) / 2:
        return min(RING / max((dx * dx + dy * dy) ** 0.5, 1e-9), 0.4)
    half = RING if spot.ring else drawn_width(spot.text) / 2 + 0.3
    tall = spot_height(spot) / 2 + NUMBER * bool(spot.below if dy > 0 else spot.above)
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


def _row(figure: Figure, chain: Chain) -> float:
    """The row in which a chain runs: that of its first spot between the ends, if it has one."""
    start, links = chain
    return figure.spots[links[0][1] if len(links) > 1 else start].row
