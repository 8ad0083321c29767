"""Reads formulas as plain text with Unicode mathematics."""

from __future__ import annotations

import re

from tests.render.reading.tokens import (
    After,
    Fraction,
    Letter,
    Number,
    Of,
    ReadingError,
    Root,
    Sign,
    Token,
    Vocabulary,
    letter,
    power,
)

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
HALVES = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8"}
PRIMES = "′″‴"
MACRON = "\u0304"


def read(text: str, words: Vocabulary) -> list[Token]:
    return _Reader(text, words).tokens()


class _Reader:
    def __init__(self, text: str, words: Vocabulary) -> None:
        self.text, self.words, self.place = text, words, 0
        self.known = sorted((*words.stems, *words.functions), key=len, reverse=True)

    def tokens(self) -> list[Token]:
        result: list[Token] = []
        while self.place < len(self.text):
            result += self.next()
        return result

    def match(self, pattern: str) -> str | None:
        found = re.compile(pattern).match(self.text, self.place)
        if found is None or not found[0]:
            return None
        self.place = found.end()
        return found[0]

    def balanced(self, open_: str, close: str) -> str:
        start = self.place
        depth = 0
        for place in range(start, len(self.text)):
            depth += (self.text[place] == open_) - (self.text[place] == close)
            if depth == 0:
                self.place = place + 1
                return self.text[start + 1 : place]
        raise ReadingError(f"{open_} stays open in {self.text!r}")

    def next(self) -> list[Token]:
        if self.match(r"\s+"):
            return []
        if digits := self.match(r"[0-9]+(\.[0-9]+)?"):
            return [Number(digits)]
        if raised := self.match("[⁰¹²³⁴⁵⁶⁷⁸⁹]+"):
            return [After("power", "".join(RAISED[c] for c in raised))]
        if half := self.match("[" + "".join(HALVES) + "]"):
            above, below = HALVES[half].split("/")
            return [Fraction((Number(above),), (Number(below),))]
        if self.match("ᵀ"):
            return [After("transpose", "")]
        if arrow := self.match("[↑↓]"):
            factors = self.balanced("(", ")") if self.text.startswith("(", self.place) else self.match("[0-9]+") or ""
            return [After(arrow, factors)]
        if self.match("√"):
            return [Root(tuple(self.operand()))]
        if self.text.startswith("^(", self.place):
            self.place += 1
            return power(self.balanced("(", ")"))
        if self.match("_"):
            self.place -= 1
            return [After("share", self.lower())]
        return self.word() or [Sign(self.text[self.take()])]

    def take(self) -> int:
        self.place += 1
        return self.place - 1

    def operand(self) -> list[Token]:
        """The parenthesis, the absolute value, the letter or the function with its argument that comes next."""
        rest = self.text[self.place :]
        if rest.startswith("|"):
            end = rest.index("|", 1)
            self.place += end + 1
            return [Sign("|"), *_Reader(rest[1:end], self.words).tokens(), Sign("|")]
        if not rest.startswith("("):
            applied = any(rest.startswith(f"{function}(") for function in self.words.functions)
            return [*self.next(), *(self.operand() if applied else ())]
        inner = _Reader(self.balanced("(", ")"), self.words).tokens()
        return [Sign("("), *inner, Sign(")")]

    def word(self) -> list[Token] | None:
        rest = self.text[self.place :]
        stem = next((w for w in self.known if rest.startswith(w) and rest[len(w) : len(w) + 1] != "\u0303"), None)
        if stem is not None and stem[-1].isalnum() and rest[len(stem) : len(stem) + 1].isascii():
            following = rest[len(stem) : len(stem) + 1]
            stem = None if following.isalnum() else stem
        if stem is None:
            if not rest[0].isalpha() and rest[0] not in "∇":
                return None
            stem = rest[0]
        self.place += len(stem)
        bars = len(self.match(f"{MACRON}+") or "")
        primes = self.match(f"[{PRIMES}]+") or ""
        if number := self.match("[₁₂]"):
            primes += str("₀₁₂".index(number))
        above = ""
        if self.match(r"\*"):
            above = "*"
        if self.text.startswith(("^[", "^("), self.place):
            start = self.place
            self.place += 1
            groups = ""
            while self.text[self.place : self.place + 1] in ("[", "(") and self.place < len(self.text):
                open_ = self.text[self.place]
                before = self.place
                inner = self.balanced(open_, "])"["[(".index(open_)])
                if re.fullmatch(r"(?=.*[⊙−/])[⊙−\d/]+", inner) and open_ == "(":
                    self.place = before
                    break
                groups += open_ + inner + "])"["[(".index(open_)]
            if not groups:
                self.place = start
            above += groups
        if self.match("ᵀ"):
            above += "ᵀ"
        lower = self.lower()
        if stem in ("∇", "unpool"):
            return [Of(stem, tuple(_Reader(lower, self.words).tokens()))]
        return letter(stem, primes, above, lower, bars)

    def lower(self) -> str:
        if not self.text.startswith("_", self.place):
            return ""
        self.place += 1
        if self.text.startswith("{", self.place):
            return self.balanced("{", "}")
        found = self.match(f"[^\\W_⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ]+[{PRIMES}]*")
        if found is None:
            raise ReadingError(f"nothing below in {self.text!r}")
        return found


__all__ = ["Letter", "read"]
