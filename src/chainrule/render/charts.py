"""Small drawings as markup: curves, bars, tables of counts, points, pictures. The page's style has their colours, and
numbers are laid out here; nothing is loaded."""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDE, HIGH, LEFT, FOOT, TOP = 320, 190, 46, 34, 10
"""Of a panel, and of the room beside its axes; in units of which a page shows about one as a pixel."""
KINDS = ("one", "two")  # of curves
POINTS = 300  # of a curve or a cloud: more cannot be told apart
NUMBERED = 30  # classes up to which a table of counts shows its numbers


def curves(panels: Mapping[str, Mapping[str, Sequence[float]]], along: str) -> str:
    """A panel for each name, with its curves over 1, 2, …; `along` says what is counted. A curve of one name has one
    colour in all panels."""
    labels = dict.fromkeys(label for lines in panels.values() for label in lines)
    kinds = dict(zip(labels, KINDS, strict=False))
    return f'<div class="panels">{"".join(_curves(name, lines, along, kinds) for name, lines in panels.items())}</div>'


def _curves(name: str, lines: Mapping[str, Sequence[float]], along: str, kinds: Mapping[str, str]) -> str:
    count = max(map(len, lines.values()))
    finite = np.array([value for values in lines.values() for value in values if math.isfinite(value)] or [0.0])
    axes = _Axes((1, max(count, 2)), (float(finite.min()), float(finite.max())), along, whole=True)
    shown = ""
    for label, values in lines.items():
        kind = kinds[label]
        places = [axes.place(k + 1, values[k]) for k in _kept(len(values)) if math.isfinite(values[k])]
        if len(places) == 1:
            shown += f'<circle class="{kind}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3"/>'
        else:
            shown += f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    keys = "".join(f'<span class="{kinds[label]}">{escape(label)}</span>' for label in lines)
    return f'<div class="panel"><p>{escape(name)} {keys}</p>{axes.svg(shown, name)}</div>'


def cloud(x: Array, y: Array, along: str, up: str) -> str:
    """Points (x, y), with the line on which both are equal."""
    span = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axes = _Axes(span, span, along)
    (x1, y1), (x2, y2) = (axes.place(end, end) for end in axes.x[0])
    shown = f'<polyline class="two" points="{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f}"/>'
    for k in _kept(len(x)):
        left, top = axes.place(float(x[k]), float(y[k]))
        shown += f'<circle class="one" cx="{left:.1f}" cy="{top:.1f}" r="2.2"/>'
    return f'<div class="panels"><div class="panel"><p>{escape(up)}</p>{axes.svg(shown, up)}</div></div>'


def _kept(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).astype(int)).tolist()


class _Axes:
    """From numbers to places in a panel, with a few round numbers beside it."""

    def __init__(
        self, across: tuple[float, float], up: tuple[float, float], along: str, whole: bool = False
    ) -> None:
        self.along, self.x, self.y = along, _round(*across, whole), _round(*up)

    def place(self, x: float, y: float) -> tuple[float, float]:
        (x1, x2), (y1, y2) = self.x[0], self.y[0]
        left = LEFT + (x - x1) / (x2 - x1) * (WIDE - LEFT - 10)
        return left, HIGH - FOOT - (y - y1) / (y2 - y1) * (HIGH - FOOT - TOP)

    def svg(self, shown: str, name: str) -> str:
        marks = ""
        for value in self.y[1]:
            _, top = self.place(self.x[0][0], value)
            marks += f'<path d="M{LEFT} {top:.1f}H{WIDE - 10}"/><text x="{LEFT - 6}" y="{top + 4:.1f}">{value:g}</text>'
        for value in self.x[1]:
            left, _ = self.place(value, self.y[0][0])
            marks += f'<text class="x" x="{left:.1f}" y="{HIGH - FOOT + 15}">{value:g}</text>'
        middle = (LEFT + WIDE - 10) / 2
        marks += f'<text class="x" x="{middle:.1f}" y="{HIGH - 4}">{escape(self.along)}</text>'
        size = f'viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}"'
        return f'<svg class="chart" role="img" aria-label="{escape(name)}" {size}>{marks}{shown}</svg>'


def _round(low: float, high: float, whole: bool = False) -> tuple[tuple[float, float], list[float]]:
    """A span with round ends that holds this one, and the round numbers in it; of whole numbers the span itself."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, low + (abs(low) or 1) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    if whole:
        return (low, high), [mark for mark in marks if low <= mark <= high]
    return (first * step, last * step), marks


def bars(rows: Iterable[tuple[str, str, float]], header: tuple[str, str, str] | None = None) -> str:
    """A line for each (name, what is said of it, share of 1), with a bar as long as its share."""
    head = f"<thead><tr>{''.join(f'<th>{escape(text)}</th>' for text in header)}</tr></thead>" if header else ""
    body = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(said)}</td>"
        f'<td><span class="bar" style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span></td></tr>'
        for name, said, share in rows
    )
    return f'<div class="scroll"><table class="bars">{head}<tbody>{body}</tbody></table></div>'


def by_powers(values: Sequence[float], least: float = 1e-8) -> list[float]:
    """Shares of 1 by the powers of ten of these sizes: the largest is 1, the smallest (no less than `least` of it) a
    tenth of the way from nothing."""
    logs = [math.log10(max(v, least * max(values), 1e-300)) for v in values]
    low, high = min(logs), max(logs)
    return [0.0 if v == 0 else 1.0 if high == low else 0.1 + 0.9 * (log - low) / (high - low)
            for v, log in zip(values, logs, strict=True)]


def counts(table: Array, names: Sequence[str], rows: str, columns: str) -> str:
    """How often row i was taken for column j; deeper where it is more often, by the share of the row."""
    shares = table / np.maximum(table.sum(1, keepdims=True), 1e-300)
    if len(table) > NUMBERED:
        return picture(255 - 255 * shares, f"{rows} × {columns}", wide=320)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for i, name in enumerate(names):
        cells = "".join(
            f'<td class="{"hit" if i == j else "miss"}" style="--s:{shares[i, j]:.3f}">'
            f'{f"{table[i, j]:g}" if table[i, j] else ""}</td>'
            for j in range(len(names))
        )
        body += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    return (
        f'<div class="scroll"><table class="counts"><thead><tr><th>{escape(rows)} \\ {escape(columns)}</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def gallery(pictures: Iterable[tuple[Array, str]], wide: int = 72) -> str:
    """Pictures in rows, each with what is said of it below."""
    shown = (
        f'<div class="shown">{picture(pixels, said, wide)}<p>{escape(said)}</p></div>' for pixels, said in pictures
    )
    return f'<div class="gallery">{"".join(shown)}</div>'


def picture(pixels: Array, said: str, wide: int) -> str:
    """Grey levels (h, w) or colours (h, w, 3) from 0 to 255 as a PNG in the page, `wide` pixels wide."""
    levels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    high, across = levels.shape[:2]
    rows = b"".join(b"\x00" + row.tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", across, high, 8, 2 if levels.ndim == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    size = f'width="{wide}" height="{max(round(wide * high / across), 1)}"'
    return f'<img alt="{escape(said)}" {size} src="data:image/png;base64,{b64encode(file).decode("ascii")}">'


def two_coloured(weights: Array) -> Array:
    """Colours of weights (h, w), white at 0, blue below and red above, as deep as they are large beside the largest."""
    share = (weights / max(float(np.abs(weights).max()), 1e-30))[..., None]
    white, red, blue = np.array([247.0, 247, 247]), np.array([178.0, 24, 43]), np.array([33.0, 102, 172])
    return white + np.abs(share) * (np.where(share > 0, red, blue) - white)
