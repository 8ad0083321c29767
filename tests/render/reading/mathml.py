"""Reads formulas as presentation MathML."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from tests.render.reading.tokens import (
    After,
    Exponential,
    Fraction,
    Group,
    Letter,
    Number,
    Of,
    ReadingError,
    Root,
    Rows,
    Sign,
    Token,
    Vocabulary,
    letter,
    power,
)

Element = ElementTree.Element
UNSEEN = ("\u2061", "\u2062", "")
SAME = {"⊤": "ᵀ", "∑": "Σ"}
FEET = "₀₁₂₃₄₅₆₇₈₉"
ACCENTS = {"~": "\u0303", "^": "\u0302", "¯": "\u0304"}
PRIMES = ("′", "″", "‴")
COUNTS = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3}


def read(text: str, words: Vocabulary) -> list[Token]:
    return _Reader(words).all(list(ElementTree.fromstring(f"<math>{text}</math>")))


def plain(element: Element) -> str:
    """A script as a string."""
    if element.tag == "mover":
        return plain(element[0]) + ACCENTS[plain(element[1])]
    text = (element.text or "") + "".join(plain(e) + (e.tail or "") for e in element)
    for unseen in (*UNSEEN[:2], " "):
        text = text.replace(unseen, "")
    return "".join(SAME.get(c, c) for c in text)


def unwrapped(element: Element) -> Element:
    """What is left of rows of one."""
    while element.tag == "mrow" and len(element) == 1:
        element = element[0]
    return element


class _Reader:
    def __init__(self, words: Vocabulary) -> None:
        self.words = words

    def all(self, elements: list[Element]) -> list[Token]:
        result: list[Token] = []
        for element in elements:
            last = result[-1] if result else None
            if element.tag == "mo" and plain(element).strip("".join(PRIMES)) == "" and isinstance(last, Letter):
                result[-1] = replace(last, primes=plain(element)) if plain(element) not in UNSEEN else last
            else:
                result += self.one(element)
        return result

    def one(self, element: Element) -> list[Token]:
        children = list(element)
        if len(children) != COUNTS.get(element.tag, len(children)):
            raise ReadingError(f"<{element.tag}> with {len(children)} children")
        match element.tag:
            case "mrow" | "math":
                if len(children) == 3 and children[1].tag == "mtable":
                    return [self.table(children[1])]
                return self.all(children)
            case "mn":
                return letter("𝟏", "", "", "") if plain(element) == "𝟏" else [Number(plain(element))]
            case "mi" | "mover":
                return self.scripted(element, None, None)
            case "mo":
                text = plain(element)
                return [] if text in UNSEEN else [Sign(text)] if text not in ("Σ", "∇") else letter(text, "", "", "")
            case "mfrac":
                return [Fraction(tuple(self.one(children[0])), tuple(self.one(children[1])))]
            case "msqrt":
                return [Root(tuple(self.all(children)))]
            case "msub" | "munder":
                return self.scripted(children[0], None, children[1])
            case "msup":
                return self.scripted(children[0], children[1], None)
            case "msubsup":
                return self.scripted(children[0], children[2], children[1])
            case _:
                raise ReadingError(f"<{element.tag}>")

    def table(self, table: Element) -> Rows:
        return Rows(tuple(tuple(tuple(self.all(list(cell))) for cell in line) for line in table))

    def stem(self, element: Element) -> tuple[str, int] | None:
        """The letter or word that an element is, and how many bars are above it."""
        element = unwrapped(element)
        if element.tag in ("mi", "mo", "mn"):
            return plain(element), 0
        if element.tag == "mover":
            inner, accent = self.stem(element[0]), ACCENTS[plain(element[1])]
            if inner is None:
                return None
            return (inner[0], inner[1] + 1) if accent == "\u0304" else (inner[0] + accent, 0)
        if element.tag == "msub" and plain(element[1]).isdigit():
            inner = self.stem(element[0])
            foot = "".join(FEET[int(c)] for c in plain(element[1]))
            return (inner[0] + foot, inner[1]) if inner and inner[0] + foot in self.words.stems else None
        return None

    def scripted(self, base: Element, above: Element | None, below: Element | None) -> list[Token]:
        upper, lower = ("" if e is None else plain(e) for e in (above, below))
        found = self.stem(base)
        if found is None and base.tag == "mrow" and [e.tag for e in base] == ["mi", "mo"] and plain(base[1]) in PRIMES:
            return letter(plain(base[0]), plain(base[1]) + lower, upper, "")
        if found is None:
            return self.group(base, upper, lower)
        stem, bars = found
        if stem == "e" and above is not None and not self.words.e:
            return [Exponential(tuple(self.one(above)))]
        if stem in ("↑", "↓"):
            return [After(stem, lower.strip("()"))]
        if stem in ("∇", "unpool") and below is not None:
            return [Of(stem, tuple(self.one(below)))]
        if stem + "".join(FEET[int(c)] for c in lower if c.isdigit()) in self.words.stems and lower.isdigit():
            stem, lower = stem + "".join(FEET[int(c)] for c in lower), ""
        if stem.isascii() and stem.isdigit():
            return [Number(stem), *power(upper)]
        return letter(stem, "", upper.replace("∗", "*"), lower, bars)

    def group(self, base: Element, upper: str, lower: str) -> list[Token]:
        body: list[Token] = [Group(tuple(self.one(base)))]
        if lower:
            body.append(After("share", lower))
        return body + (power(upper) if upper else [])
