"""What all formulas are written with: scripts, numbers, products, sums, calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from chainrule.ir.expr import Tensor
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.index import Affine
from chainrule.render.names import LAYER, Symbol
from chainrule.render.styles import ATOM, NEGATIVE, PRIMES, PRODUCT, QUOTIENT, SUM, Piece, Style, at


def index_name(name: str) -> str:
    """i, and i′, i″, i‴, i‴′, … for the i1, i2, i3, i4, … that the engine makes."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    if not stem or not digits or digits.startswith("0") or len(digits) > 2:
        return name
    threes, rest = divmod(int(digits), len(PRIMES))
    return stem + PRIMES[-1] * threes + (PRIMES[rest - 1] if rest else "")


def affine_token(subscript: Affine) -> str:
    """2i+p−1, as it stands in a subscript."""
    text = ""
    for index, c in subscript.terms:
        sign = ("−" if c < 0 else "+") if text else ("−" if c < 0 else "")
        text += sign + (str(abs(c)) if abs(c) != 1 else "") + index_name(index.name)
    if not text:
        return str(subscript.offset).replace("-", "−")
    if subscript.offset:
        text += f"{'−' if subscript.offset < 0 else '+'}{abs(subscript.offset)}"
    return text


def subscripts_of(subscripts: Sequence[Affine], *, some: bool = False) -> str:
    """All subscripts of a tensor, or `some`: then 2i and 20 are one of them, and 2 and i, 2 and 0 are two. None is
    written 0i or 1i."""
    parts = [affine_token(s) for s in subscripts]
    apart = some and any(a.isdigit() and (int(a) > 1 or b.isdigit()) for a, b in pairwise(parts))
    single = not apart and all(len(p.rstrip(PRIMES)) == 1 for p in parts)
    return ("" if single else ",").join(parts)


def script(
    symbol: Symbol, tensor: Tensor, samples: Sequence[Affine], lower: str, style: Style, *, bars: int = 0,
    transposed: bool = False,
) -> str:
    """The symbol of a tensor with its layer, its samples and its other subscripts."""
    stem = symbol.stem.removesuffix("*")
    base = style.name(stem)
    for _ in range(bars):
        base = style.bar(base)
    upper = [style.token("*")] if stem != symbol.stem else []
    if symbol.layer.isdigit():
        upper.append(style.token(f"[{symbol.layer}]"))
    elif symbol.layer:
        layer = style.token(",").join(_layer(part, style) for part in symbol.layer.split(","))
        upper.append(style.token("[") + layer + style.token("]"))
    upper += [style.token(f"({affine_token(s)})") for s in samples] + ([style.token("ᵀ")] if transposed else [])
    return style.symbol(style.script(base, upper, style.token(lower)), tensor)


def _layer(part: str, style: Style) -> str:
    """A layer's number, r or its distance from r; or its label."""
    number = part.isdigit() or re.fullmatch(rf"{LAYER}([+−]\d+)?", part)
    return style.token(part) if number else style.name(part)


def rational(value: Fraction, style: Style) -> Piece:
    piece = Piece(style.token(str(abs(value.numerator))))
    if value.denominator != 1:
        piece = style.fraction(piece, Piece(style.token(str(value.denominator))))
    return Piece(style.token("−") + piece.text, NEGATIVE, False, piece.text) if value < 0 else piece


def coefficient(number: Fraction, below: Sequence[Piece], style: Style) -> Piece:
    """|number| over a product of scalars."""
    above = Piece(style.token(str(abs(number.numerator))))
    under = ([Piece(style.token(str(number.denominator)))] if number.denominator != 1 else []) + list(below)
    return style.fraction(above, row_of(under, style)) if under else above


def row_of(pieces: Sequence[Piece], style: Style) -> Piece:
    """A product by juxtaposition; a dot stands before a number."""
    if len(pieces) == 1:
        return pieces[0]
    text = ""
    for position, piece in enumerate(pieces):
        last = position == len(pieces) - 1
        bare = (piece.precedence > QUOTIENT or piece.precedence == PRODUCT) and (last or not piece.open)
        word = piece.text if bare else style.parenthesise(piece.text)
        text += (style.join(text, word) if text else "") + word
    return Piece(text, PRODUCT, pieces[-1].open)


def signed(negative: bool, piece: Piece, style: Style) -> Piece:
    if not negative:
        return piece
    return Piece(style.token("−") + at(piece, PRODUCT, style), NEGATIVE, piece.open, at(piece, PRODUCT, style))


def total(pieces: Sequence[Piece], style: Style) -> Piece:
    text = ""
    for piece in pieces:
        if not text:
            text = at(piece, NEGATIVE, style)
        elif piece.unsigned is not None:
            text += f" {style.token('−')} {piece.unsigned}"
        else:
            text += f" {style.token('+')} {at(piece, PRODUCT, style)}"
    return Piece(text, SUM, pieces[-1].open)


def power_of(base: Piece, exponent: Fraction, style: Style, sign: str = "") -> Piece:
    if exponent < 0:
        below = base if exponent == -1 else power_of(base, -exponent, style, sign)
        return style.fraction(Piece(style.token("1")), below)
    if exponent == Fraction(1, 2) and not sign:
        return style.root(base)
    return style.power(at(base, ATOM, style), sign + str(exponent))


def application(function: str, arguments: Sequence[Piece], style: Style, e: bool = True) -> Piece:
    """`e` says whether that letter is Euler's number here."""
    base, argument = split_derivative(function)
    if function == "step":
        return Piece(style.bracket(f"{arguments[0].text} {style.token('>')} {style.token('0')}"))
    if function == "abs":
        (inner,) = arguments
        bar = style.absolute("…").partition("…")[0]
        # Between bars within bars one would not see which of them belong together.
        return Piece(style.call("abs", "", [inner.text]) if bar in inner.text else style.absolute(inner.text))
    if function == "exp" and e:
        return style.exponential(arguments[0])
    name = CATALOGUE[base].symbol if base in CATALOGUE else ""
    primes = "" if argument is None else "′" if len(arguments) == 1 else f"′{argument + 1}"
    return Piece(style.call(name or base, primes, [a.text for a in arguments]))


# --- numbers -----------------------------------------------------------------------------------

Exact = Fraction | float


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values: one number, a column (one tuple of numbers), or the rows of a matrix; a float is rounded."""

    values: Exact | tuple[Exact, ...] | tuple[tuple[Exact, ...], ...]


DIGITS = 4
"""Significant digits of a number that is not exact."""
LONGEST = 1000
"""The greatest denominator of a fraction that is written as one."""


def numbers(values: Exact | tuple[Exact, ...] | tuple[tuple[Exact, ...], ...], style: Style) -> Piece:
    if not isinstance(values, tuple):
        return value_of(values, style)
    rows = [tuple(value_of(v, style).text for v in (row if isinstance(row, tuple) else (row,))) for row in values]
    column = not any(isinstance(row, tuple) for row in values)
    if not column:
        return Piece(style.rows(rows))
    return Piece(style.parenthesise(f"{style.token(',')} ".join(text for (text,) in rows)))


def whole_in_print(value: Exact) -> bool:
    """Whether a number is printed as it is."""
    return isinstance(value, Fraction) and value.denominator <= LONGEST


def value_of(value: Exact, style: Style) -> Piece:
    """An exact number as it is, any other rounded to DIGITS significant digits."""
    if isinstance(value, Fraction) and whole_in_print(value):
        return rational(value, style)
    mantissa, _, exponent = f"{abs(float(value)):.{DIGITS}g}".partition("e")
    digits = style.token(mantissa)
    if exponent:
        power = style.power(style.token("10"), str(int(exponent)).replace("-", "−"))
        digits = f"{digits} {style.token('·')} {power.text}"
    if value < 0:
        return Piece(style.token("−") + digits, NEGATIVE, False, digits)
    return Piece(digits, PRODUCT if exponent else ATOM)
