"""Formulas as presentation MathML Core: the style, and the pieces at which a browser may break a long formula.

Each sign is an element of its own and letters stay plain: the browser slants a letter that stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from chainrule.ir.expr import Tensor
from chainrule.render.styles import COLUMNS, FEET, POWER, PRIMES, Piece

ACCENTS = {"\u0303": "~", "\u0302": "^"}
SIGNS = {"Σ": "∑", "ᵀ": "⊤", "*": "∗"}
TOKENS = re.compile(rf"(\[\d+\]|\d+(?:\.\d+)?)|([^\W\d_])([{PRIMES}]*)|(\S)")
"""A number, also one between brackets as that of a layer is; a letter with its primes; any other sign."""
TIMES, APPLY = "<mo>\u2062</mo>", "<mo>\u2061</mo>"
"""A product without a sign, and a function applied to what follows: neither is seen."""


class MathML:
    """`tensors` collects what the formulas speak of, so that a page can say what each symbol is."""

    def __init__(self) -> None:
        self.tensors: dict[str, tuple[int, Tensor, str]] = {}

    def token(self, text: str) -> str:
        result = ""
        for number, letter, prime, sign in TOKENS.findall(text):
            if number:
                result += f"<mn>{number}</mn>"
            elif prime:
                result += f"<mi>{letter}</mi>{_prime(prime)}"
            elif letter or sign == "✓":
                result += f"<mi>{SIGNS.get(letter, letter) or sign}</mi>"
            elif sign in BRACKETS:
                result += f'<mo stretchy="false">{sign}</mo>'
            else:
                result += f"<mo>{escape(str(SIGNS.get(sign, sign)))}</mo>"
        return result

    def join(self, before: str, after: str) -> str:
        return self.token("·") if after.startswith("<mn>") and not after.startswith("<mn>𝟏") else TIMES

    def symbol(self, text: str, tensor: Tensor) -> str:
        number, known, written = self.tensors.get(tensor.name, (len(self.tensors) + 1, tensor, text))
        larger = known if len(known.shape) >= len(tensor.shape) else tensor
        self.tensors[tensor.name] = (number, larger, written)
        name, rest = text[1:].split(">", 1)
        whole = len(list(_outermost(text))) == 1 and " " not in name
        return f'<{name} class="s{number}">{rest}' if whole else f'<mrow class="s{number}">{text}</mrow>'

    def bracket(self, text: str) -> str:
        return f"<mrow><mo>[</mo>{text}<mo>]</mo></mrow>"

    def name(self, stem: str) -> str:
        for mark, sign in ACCENTS.items():
            if stem.endswith(mark):
                return f'<mover accent="true">{row(self.name(stem[:-1]))}<mo stretchy="false">{sign}</mo></mover>'
        bare = stem.rstrip(FEET)
        if bare and bare != stem:
            foot = "".join(str(FEET.index(c)) for c in stem[len(bare) :])
            return f"<msub>{row(self.name(bare))}<mn>{foot}</mn></msub>"
        return f"<mi>{escape(stem)}</mi>"

    def script(self, base: str, upper: Sequence[str], lower: str) -> str:
        above = "".join(upper)
        if above and lower:
            return f"<msubsup>{row(base)}{row(lower)}{row(above)}</msubsup>"
        if above or lower:
            kind = "msup" if above else "msub"
            return f"<{kind}>{row(base)}{row(above or lower)}</{kind}>"
        return base

    def fraction(self, above: Piece, below: Piece) -> Piece:
        return Piece(f"<mfrac>{row(above.text)}{row(below.text)}</mfrac>", POWER)

    def power(self, base: str, exponent: str) -> Piece:
        return Piece(f"<msup>{row(base)}{row(self.token(exponent))}</msup>")

    def root(self, body: Piece) -> Piece:
        return Piece(f"<msqrt>{body.text}</msqrt>")

    def exponential(self, body: Piece) -> Piece:
        return Piece(f"<msup><mi>e</mi>{row(body.text)}</msup>")

    def operator(self, sign: str, lower: str, body: str) -> str:
        *before, sign = sign.split()
        words = "".join(f"<mi>{word}</mi>{APPLY}" for word in before)
        return f"{words}<munder><mo movablelimits=\"true\">{SIGNS.get(sign, sign)}</mo>{row(lower)}</munder>{body}"

    def call(self, function: str, primes: str, arguments: Sequence[str]) -> str:
        head = f"<mi>{function}</mi>{_prime(primes[:1])}" if primes else f"<mi>{function}</mi>"
        if primes[1:]:
            head = f"<msub>{row(head)}<mn>{primes[1:]}</mn></msub>"
        return head + APPLY + self.parenthesise("<mo>,</mo>".join(arguments))

    def parenthesise(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"

    def absolute(self, text: str) -> str:
        return f'<mrow><mo form="prefix">|</mo>{text}<mo form="postfix">|</mo></mrow>'

    def bar(self, base: str) -> str:
        return f'<mover accent="true">{row(base)}<mo stretchy="false">¯</mo></mover>'

    def bold_one(self) -> str:
        return "<mn>𝟏</mn>"

    def word(self, name: str) -> str:
        return f"<mi>{name}</mi>"

    def sampled(self, base: str, sign: str, factors: str) -> str:
        return f'{base}<msub><mo stretchy="false" lspace="0" rspace="0">{sign}</mo>{row(self.token(factors))}</msub>'

    def rows(self, rows: Sequence[Sequence[str]]) -> str:
        table = "".join("<mtr>" + "".join(f"<mtd>{entry}</mtd>" for entry in line) + "</mtr>" for line in rows)
        return f"<mrow><mo>[</mo><mtable>{table}</mtable><mo>]</mo></mrow>"

    def blank(self, width: int | None) -> str:
        size = (COLUMNS if width is None else width) * 0.6
        return f'<mspace class="blank" width="{size:.1f}em" height="1.4em"></mspace>'


BRACKETS = ("(", ")", "[", "]")


def _prime(prime: str) -> str:
    return f'<mo lspace="0" rspace="0">{prime}</mo>'


def row(text: str) -> str:
    """The markup as one element: a script has exactly two or three."""
    return text if text.count("<m") == 1 else f"<mrow>{text}</mrow>"


# --- where a long formula may break -------------------------------------------------------------

ELEMENT = re.compile(r"<(/?)m\w+[^>]*>")
SIGNED = tuple(f"<mo>{sign}</mo>" for sign in "=+−⊙⋆∗·≈")
OPEN, CLOSE = "<mrow><mo>(</mo>", "<mo>)</mo></mrow>"
LONG = 24
"""In letters: a longer parenthesis may break inside."""


def breakable(markup: str) -> list[str]:
    """The formula in pieces, each well-formed: a new one starts before a relation or sign of its outermost level, and
    between factors. A long parenthesis is opened up: its signs are then of that level too."""
    pieces, before = [""], ""
    for gap, element in _outermost(markup):
        factors = gap and not before.startswith(("<mo", "<msub><mo>∇")) and not element.startswith("<mo")
        if before and (element in SIGNED or before == TIMES or factors):
            pieces.append("")
        if element.startswith(OPEN) and letters(element) > LONG:
            first, *rest = breakable(element[len(OPEN) : -len(CLOSE)])
            pieces[-1] += f"<mo>(</mo>{first}"
            pieces += rest
            pieces[-1] += "<mo>)</mo>"
        else:
            pieces[-1] += element
        before = element
    return pieces


def _outermost(markup: str) -> Iterable[tuple[bool, str]]:
    """The elements of the outermost level, each with whether a space stands before it."""
    depth = start = end = 0
    for found in ELEMENT.finditer(markup):
        if not found[1] and depth == 0:
            start = found.start()
        depth += -1 if found[1] else 1
        if depth == 0:
            yield bool(markup[end:start].strip(" ") == "" and start > end), markup[start : found.end()]
            end = found.end()


def letters(markup: str) -> int:
    """About how many letters wide a formula is: what stands below a sum or above a line takes no room of its own."""
    return len(re.sub(r"\s|[\u2061\u2062]", "", re.sub(r"<[^>]*>", "", markup)))


def joined(pieces: Iterable[str], room: int) -> list[str]:
    """Pieces put together again while they fit in so many letters."""
    result: list[str] = []
    for piece in pieces:
        if result and letters(result[-1]) + letters(piece) <= room:
            result[-1] += piece
        else:
            result.append(piece)
    return result
