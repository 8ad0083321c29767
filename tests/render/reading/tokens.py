"""What a printed formula consists of, whatever the format: signs, letters with their scripts, fractions, roots.

Three readers make these tokens, one for each format; none of them shares anything with what writes formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction as Rational
from itertools import accumulate


class ReadingError(Exception):
    """The text is no formula."""


@dataclass(frozen=True)
class Number:
    digits: str


@dataclass(frozen=True)
class Letter:
    """A letter or a word with what stands at it: W^[1](n)_kl is W, with ("[1]", "(n)") above and "kl" below."""

    stem: str
    primes: str = ""
    upper: tuple[str, ...] = ()
    lower: str = ""
    bars: int = 0


@dataclass(frozen=True)
class Of:
    """A sign with a formula below it: ∇_W, unpool_{m*}."""

    sign: str
    below: tuple[Token, ...]


@dataclass(frozen=True)
class Sign:
    text: str


@dataclass(frozen=True)
class Fraction:
    above: tuple[Token, ...]
    below: tuple[Token, ...]


@dataclass(frozen=True)
class Root:
    body: tuple[Token, ...]


@dataclass(frozen=True)
class Exponential:
    body: tuple[Token, ...]


@dataclass(frozen=True)
class Group:
    """Tokens that are one operand without a parenthesis: the base of a power."""

    body: tuple[Token, ...]


@dataclass(frozen=True)
class After:
    """What stands behind an operand and belongs to it: a power, ᵀ, ↑2, or the number of a share."""

    kind: str
    text: str


@dataclass(frozen=True)
class Rows:
    """Numbers in rows between brackets."""

    rows: tuple[tuple[tuple[Token, ...], ...], ...]


Token = Number | Letter | Of | Sign | Fraction | Root | Exponential | Group | After | Rows


@dataclass(frozen=True)
class Vocabulary:
    """The words that formulas may use: the stems of tensors and signs, the functions; whether a tensor is called e."""

    stems: frozenset[str]
    functions: frozenset[str]
    e: bool


def scripts(text: str) -> tuple[str, list[str], str]:
    """What stands above a letter: a star, [layer] and (sample)s, and what belongs to it as a power."""
    star = ""
    if text.startswith("*"):
        star, text = "*", text[1:]
    groups: list[str] = []
    while text[:1] in ("[", "("):
        depths = accumulate((c in "[(") - (c in "])") for c in text)
        end = next((place for place, depth in enumerate(depths, 1) if depth == 0), None)
        if end is None:
            raise ReadingError(f"an open bracket in {text!r}")
        groups.append(text[:end])
        text = text[end:]
    return star, groups, text


def letter(stem: str, primes: str, above: str, lower: str, bars: int = 0) -> list[Token]:
    """A letter and, where a power or ᵀ is among what stands above it, that behind it."""
    star, upper, rest = scripts(above)
    found: list[Token] = [Letter(stem + star, primes, tuple(upper), lower, bars)]
    return found + power(rest) if rest else found


def power(text: str) -> list[Token]:
    """What a superscript that is no layer and no sample says."""
    if text.endswith("ᵀ"):
        return [*(power(text[:-1]) if len(text) > 1 else []), After("transpose", "")]
    text = text.replace("−", "-")
    if not text.lstrip("⊙-").replace("/", "").isdigit():
        raise ReadingError(f"a power {text!r}")
    return [After("power", text)]


def numbered(tokens: Sequence[Token], letters: Mapping[Rational, str]) -> list[Token]:
    """The tokens with numbers for the letters that stand for them."""
    values = {letter: Number(str(value)) for value, letter in letters.items()}

    def one(token: Token) -> Token:
        if isinstance(token, Letter):
            return values.get(token.stem, token) if token == Letter(token.stem) else token
        return _inside(token, letters)

    return [one(token) for token in tokens]


def _inside(token: Token, letters: Mapping[Rational, str]) -> Token:
    parts = {
        f.name: tuple(numbered(part, letters))
        for f in fields(token) if isinstance(part := getattr(token, f.name), tuple) and f.name != "rows"
    }
    return replace(token, **parts) if parts else token


def depth_change(token: Token) -> int:
    return (token in OPEN) - (token in CLOSE)


OPEN = (Sign("("), Sign("["))
CLOSE = (Sign(")"), Sign("]"))


def find(tokens: Sequence[Token], wanted: Sequence[Token]) -> int:
    """Where the wanted tokens first stand outside brackets; the end where they do not."""
    depth = 0
    for place, token in enumerate(tokens):
        if depth == 0 and tuple(tokens[place : place + len(wanted)]) == tuple(wanted):
            return place
        depth += depth_change(token)
    return len(tokens)
