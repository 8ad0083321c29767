"""Formulas in typst's notation, and where a long one may break."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from chainrule.ir.expr import Tensor
from chainrule.render.formula import Formula, write
from chainrule.render.styles import FEET, POWER, PRIMES, QUOTIENT, UNICODE, Piece, at, numeral

ACCENTS = {"\u0303": "tilde", "\u0302": "hat"}
SIGNS = {
    "ᵀ": "⊤", "Σ": "sum", "*": "∗", "<": "lt", ">": "gt",
    **{c: "\\" + c for c in "/&#_^$\\\"'`~@;"},
    **dict(zip(PRIMES, ("'", "''", "'''"), strict=True)),
}


class Typst:
    """Formulas in typst's notation for mathematics. Every letter stands alone: two together would be a word of it."""

    def token(self, text: str) -> str:
        result = ""
        for character in text:
            digits = character.isdigit() and (result[-1:].isdigit() or result[-1:] == ".")
            attached = character in PRIMES or character == "." or digits
            result += ("" if attached else " ") + SIGNS.get(character, character)
        return result.strip()

    def join(self, before: str, after: str) -> str:
        if numeral(after):
            return " dot "
        # The room that typst itself leaves before a name or a sum, and some between ones.
        return f" thin{BREAK}" if after.removeprefix("attach(").startswith(("op(", "sum", "𝟏")) else BREAK

    def symbol(self, text: str, tensor: Tensor) -> str:
        return text

    def bracket(self, text: str) -> str:
        return f"[{_unbroken(text)}]"

    def name(self, stem: str) -> str:
        for mark, word in ACCENTS.items():
            if stem.endswith(mark):
                return f"{word}({self.name(stem[:-1])})"
        bare = stem.rstrip(FEET)
        if bare and bare != stem:
            foot = "".join(str(FEET.index(c)) for c in stem[len(bare) :])
            return f"attach({self.name(bare)}, b: {foot})"
        return SIGNS.get(stem, stem) if len(stem) == 1 else f"upright({quoted(stem)})"

    def script(self, base: str, upper: Sequence[str], lower: str) -> str:
        if not upper and not lower:
            return base
        above = f", t: {_argument(' '.join(upper))}" if upper else ""
        return f"attach({_argument(base)}{above}{f', b: {_argument(lower)}' if lower else ''})"

    def fraction(self, above: Piece, below: Piece) -> Piece:
        return Piece(f"frac({_argument(above.text)}, {_argument(below.text)})", POWER)

    def power(self, base: str, exponent: str) -> Piece:
        return Piece(f"attach({_argument(base)}, t: {_argument(self.token(exponent))})")

    def root(self, body: Piece) -> Piece:
        return Piece(f"sqrt({_argument(body.text)})")

    def exponential(self, body: Piece) -> Piece:
        return Piece(f"attach(e, t: {_argument(body.text)})")

    def operator(self, sign: str, lower: str, body: str) -> str:
        *before, last = sign.split()
        words = "".join(f"op({quoted(word)}) " for word in before)
        big = "sum" if last == "Σ" else f"op({quoted(last)}, limits: #true)"
        return f"{words}attach({big}, b: {_argument(lower)}) {body}"

    def call(self, function: str, primes: str, arguments: Sequence[str]) -> str:
        head = function if len(function) == 1 else f"op({quoted(function)})"
        if primes:
            foot = f", b: {primes[1:]}" if primes[1:] else ""
            head = f"attach({head}, t: {self.token(primes[0]).replace(chr(39), 'prime')}{foot})"
        return f"{head} {self.parenthesise(', '.join(arguments))}"

    def parenthesise(self, text: str) -> str:
        return f"({text})"

    def absolute(self, text: str) -> str:
        return f"abs({_argument(text)})"

    def bar(self, base: str) -> str:
        return f"macron({base})"

    def bold_one(self) -> str:
        return "𝟏"

    def word(self, name: str) -> str:
        return f"op({quoted(name)})"

    def sampled(self, base: str, sign: str, factors: str) -> str:
        return f'{base} attach(class("normal", {sign}), br: {_argument(self.token(factors))})'

    def rows(self, rows: Sequence[Sequence[str]]) -> str:
        return "mat(" + "; ".join(", ".join(map(_argument, row)) for row in rows) + ")"

    def blank(self, width: int | None) -> str:
        size = "100%" if width is None else f"{0.55 * width:.1f}em"
        return f"#box(width: {size}, height: 1.6em, stroke: (bottom: 0.5pt))"


class Level(Typst):
    """The same for rows of a proof or a table: what is short is divided by a slash, and a row is one line high."""

    def fraction(self, above: Piece, below: Piece) -> Piece:
        text = f"{at(above, POWER, self)} slash {at(below, POWER, self)}"
        if "frac(" not in text and len(text) <= SHORT:
            return Piece(text, QUOTIENT)
        return Piece(f"display({super().fraction(above, below).text})", POWER)


SHORT = 130
"""Characters of source up to which a fraction is divided by a slash."""
BREAK = " \u200b "
"""Between factors: a long formula may break here."""
SPACED = ("=", "lt", "gt", "≤", "+", "−")


def _unbroken(text: str) -> str:
    """The text with its outermost signs as ordinary letters with room around them: typst breaks lines after signs."""
    depth, words = 0, list[str]()
    for word in text.split(" "):
        words.append(f'med class("normal", {word}) med' if depth == 0 and word in SPACED else word)
        depth += sum((c in "([") - (c in ")]") for c in word)
    return " ".join(words)


def _argument(text: str) -> str:
    """The text as one argument of a function: a comma outside brackets would end it."""
    depth, result = 0, ""
    for character in text:
        depth += (character in "([") - (character in ")]")
        result += "\\," if character == "," and depth == 0 else character
    return result


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


TYPST, LEVEL = Typst(), Level()


# --- where a long formula may break -------------------------------------------------------------

WHOLE = 28
"""In letters: a formula up to this long has no breaks but those that typst sees, after signs."""
OPENED = 16
"""In letters: a longer product within brackets may break between its factors too."""
SIGNS_BETWEEN = ("=", "≈", "+", "−", "lt", "gt", "⊙", "⋆", "∗", "dot")
MARK = BREAK.strip(" ")
SILENT = re.compile(r"[a-z]+\(|\b[tb]:|[\s\"'(),]")
"""What of typst's notation takes no room."""


def breaking(formula: Formula) -> str:
    """A formula that stands alone in a row; a long one may break between factors."""
    return f"${' '.join(_words(formula)).replace(MARK, 'brk')}$"


def runs(formula: Formula) -> list[str]:
    """The pieces of the same that no line break parts, each a formula of its own."""
    words = _words(formula)
    ends = [0, *(n + 1 for n, _ in _ends(words)), len(words)]
    return [f"${_single(' '.join(words[a:b]).replace(MARK, ''))}$" for a, b in pairwise(ends)]


def _words(formula: Formula) -> list[str]:
    """The formula's words in typst's notation, without the marks at which no line ends: those of a short formula, those
    of a short product within brackets, and those in what is an argument of one of typst's functions."""
    words = write(formula, LEVEL).split(" ")
    ends = dict(_ends(words)) if len(write(formula, UNICODE)) > WHOLE else dict[int, int]()
    firm = [n for n, depth in ends.items() if words[n] != MARK or not depth]
    kept = set(firm)
    for a, b in pairwise((-1, *firm, len(words))):
        if letters("".join(words[a + 1 : b])) > OPENED:
            kept.update(n for n in range(a + 1, b) if n in ends)
    return [word for n, word in enumerate(words) if word != MARK or n in kept]


def letters(text: str) -> int:
    """About how many letters wide a formula is."""
    return len(SILENT.sub("", text))


def _ends(words: Sequence[str]) -> Iterable[tuple[int, int]]:
    """The places of the words after which typst can end a line, and how many brackets stand around each."""
    brackets = list[bool]()
    for place, word in enumerate(words):
        leads = word in ("+", "−") and (place == 0 or words[place - 1][-1:] in ("", "(", ",", *SIGNS_BETWEEN))
        if all(brackets) and (word == MARK or word in SIGNS_BETWEEN) and not leads:
            yield place, len(brackets)
        for n, c in enumerate(word):
            if c in "([":
                brackets.append(c == "(" and not word[:n][-1:].isalpha())
            elif c in ")]" and brackets:
                brackets.pop()


def _single(run: str) -> str:
    """The run with brackets that have their other half elsewhere as signs of their own, as wide as tall ones are."""
    alone, opened = set[int](), list[int]()
    for place, c in enumerate(run):
        if c in "([":
            opened.append(place)
        elif c in ")]" and opened:
            opened.pop()
        elif c in ")]":
            alone.add(place)
    alone.update(opened)
    return "".join(f"\\{c} #h(0.2em);" if place in alone else c for place, c in enumerate(run)).strip()
