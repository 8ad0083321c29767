"""Where the signs and the lines of a PDF stand, read from its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pypdf import PageObject
from pypdf.generic import ContentStream

Matrix = tuple[float, float, float, float, float, float]
HANGING = "，。；：、！？）」』】》"
"""Marks whose right half is empty: at the end of a line that half may stand in the margin."""


@dataclass(frozen=True)
class Mark:
    """A sign, or a point of a line where there is no text: how far it reaches to the left and to the right, in pt."""

    text: str
    left: float
    right: float


@dataclass(frozen=True)
class Font:
    widths: dict[int, float]
    default: float
    signs: dict[int, str]


def marks(page: PageObject) -> Iterable[Mark]:
    """Every sign and every point of every line of a page, in the order in which they are printed."""
    content = page.get_contents()
    assert content is not None
    resources: Any = page["/Resources"]
    fonts = {name: _font(font.get_object()) for name, font in resources.get("/Font", {}).items()}
    yield from _run(ContentStream(content, page.pdf).operations, fonts, resources, (1, 0, 0, 1, 0, 0))


def _run(operations: Iterable[Any], fonts: dict[str, Font], resources: Any, start: Matrix) -> Iterable[Mark]:
    ctm, text, saved = start, start, list[Matrix]()
    font, size, spacing = Font({}, 0.0, {}), 1.0, 0.0
    for operands, operator in operations:
        match operator:
            case b"q":
                saved.append(ctm)
            case b"Q":
                ctm = saved.pop()
            case b"cm":
                ctm = _times(_matrix(operands), ctm)
            case b"BT":
                text = (1, 0, 0, 1, 0, 0)
            case b"Tf":
                font, size = fonts[operands[0]], float(operands[1])
            case b"Tc":
                spacing = float(operands[0])
            case b"Tm":
                text = _matrix(operands)
            case b"Td":
                text = _times((1, 0, 0, 1, float(operands[0]), float(operands[1])), text)
            case b"Tj" | b"TJ":
                for part in operands[0] if operator == b"TJ" else operands:
                    if isinstance(part, int | float):
                        text = _times((1, 0, 0, 1, -float(part) / 1000 * size, 0), text)
                        continue
                    data = part.original_bytes
                    for code in (int.from_bytes(data[n : n + 2]) for n in range(0, len(data), 2)):
                        width = font.widths.get(code, font.default) / 1000 * size
                        sign = font.signs.get(code, "")
                        whole = _times(text, ctm)
                        right = whole[4] + whole[0] * width * (0.5 if sign and sign in HANGING else 1)
                        if not sign.isspace():
                            yield Mark(sign, *sorted((whole[4], right)))
                        text = _times((1, 0, 0, 1, width + spacing, 0), text)
            case b"m" | b"l" | b"c" | b"re":
                numbers = [float(n) for n in operands]
                points = list(zip(numbers[::2], numbers[1::2], strict=True))
                if operator == b"re":
                    (x, y), (wide, high) = points
                    points = [(x, y), (x + wide, y + high)]
                across = [ctm[0] * x + ctm[2] * y + ctm[4] for x, y in points]
                yield Mark("", min(across), max(across))
            case b"Do":
                inner = resources["/XObject"][operands[0]].get_object()
                assert inner["/Subtype"] == "/Form", "a picture is nothing that is read here"
            case b"Tw" | b"Tz" | b"TL" | b"Ts" | b"T*" | b"TD" | b"'" | b'"' | b"v" | b"y":
                raise NotImplementedError(operator)
            case _:
                pass


def _matrix(operands: Any) -> Matrix:
    a, b, c, d, e, f = map(float, operands)
    return a, b, c, d, e, f


def _times(first: Matrix, second: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, l_ = second
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + l_


def _font(font: Any) -> Font:
    descendant = font["/DescendantFonts"][0].get_object()
    widths, entries = dict[int, float](), list(descendant["/W"])
    while entries:
        first, then = int(entries.pop(0)), entries.pop(0).get_object()
        if isinstance(then, list):
            widths |= {first + n: float(width) for n, width in enumerate(then)}
        else:
            widths |= dict.fromkeys(range(first, int(then) + 1), float(entries.pop(0)))
    table = font["/ToUnicode"].get_object().get_data().decode("latin-1")
    return Font(widths, float(descendant.get("/DW", 1000)), _signs(table))


def _signs(table: str) -> dict[int, str]:
    def text(digits: str) -> str:
        return bytes.fromhex(digits).decode("utf-16-be")

    found = dict[int, str]()
    for block in re.findall(r"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        found |= {int(code, 16): text(to) for code, to in re.findall(r"<(\w+)>\s*<(\w+)>", block)}
    return found
