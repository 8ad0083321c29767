"""Reads formulas as LaTeX mathematics."""

from __future__ import annotations

import re

from tests.render.reading.tokens import (
    After,
    Exponential,
    Fraction,
    Group,
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

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ", "varepsilon": "ε", "lambda": "λ", "mu": "μ",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "theta": "θ", "varphi": "φ", "omega": "ω", "eta": "η", "pi": "π", "ell": "ℓ",
}
SIGNS = {
    "partial": "∂", "odot": "⊙", "approx": "≈", "vdots": "⋮", "times": "×", "cdot": "·",
    "le": "≤", "star": "⋆", "ast": "∗", "infty": "∞",
    "mid": "|", "dots": "…", "to": "→", "checkmark": "✓", "uparrow": "↑", "downarrow": "↓", "top": "ᵀ",
}
WORDS = {"sum": "Σ", "log": "log", "exp": "exp", "tanh": "tanh", "max": "max", "min": "min", "nabla": "∇"}
ACCENTS = {"tilde": "\u0303", "hat": "\u0302"}
FEET = "₀₁₂₃₄₅₆₇₈₉"


def read(text: str, words: Vocabulary) -> list[Token]:
    return _Reader(text, words).tokens()


def plain(text: str) -> str:
    """A script as a string: its commands as the characters they set."""
    text = re.sub(r"\\(?:mathrm|operatorname)\{([^{}]*)\}", r"\1", text)
    for command, mark in ACCENTS.items():
        text = re.sub(rf"\\{command}(?:\{{([^{{}}]*)\}}| (\w))", rf"\1\2{mark}", text)
    text = re.sub(r"\\([a-zA-Z]+) ?", lambda m: {**GREEK, **SIGNS, **WORDS}.get(m[1]) or f"?{m[1]}?", text)
    text = text.replace("'''", "‴").replace("''", "″").replace("'", "′").replace(r"\_", "_")
    return re.sub(r"[{} ]", "", text).replace("-", "−")


class _Reader:
    def __init__(self, text: str, words: Vocabulary) -> None:
        self.text, self.words, self.place = text, words, 0

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

    def group(self) -> str:
        """The text between the braces that stand here."""
        if not self.text.startswith("{", self.place):
            raise ReadingError(f"no group at {self.text[self.place :]!r}")
        start = self.place
        depth = 0
        for place in range(start, len(self.text)):
            character = self.text[place]
            escaped = self.text[place - 1] == "\\"
            depth += 0 if escaped else (character == "{") - (character == "}")
            if depth == 0:
                self.place = place + 1
                return self.text[start + 1 : place]
        raise ReadingError(f"a group stays open in {self.text!r}")

    def inner(self) -> tuple[Token, ...]:
        return tuple(_Reader(self.group(), self.words).tokens())

    def next(self) -> list[Token]:
        if self.match(r"\s+|\\,|\\(left|right|bigl|bigr)(?![a-z])"):
            return []
        if digits := self.match(r"[0-9]+(\.[0-9]+)?"):
            return [Number(digits)]
        if self.text.startswith("{", self.place):
            return self.braced()
        for kind in ("bmatrix", "smallmatrix"):
            if self.match(rf"\[?\\begin\{{{kind}\}}"):
                return [self.matrix(rf"\end{{{kind}}}")]
        if self.match(r"\\frac"):
            return [Fraction(self.inner(), self.inner())]
        if self.match(r"\\sqrt"):
            return [Root(self.inner())]
        if not self.words.e and self.text.startswith("e^{", self.place):
            self.place += 2
            return [Exponential(tuple(_Reader(self.group(), self.words).tokens()))]
        if self.match("_"):
            return [After("share", plain(self.group()))]
        stem = self.stem()
        if stem is None:
            sign = self.sign()
            return [Sign({"-": "−", "[": "[", "]": "]"}.get(sign, sign))]
        return self.scripted(*stem)

    def matrix(self, closing: str) -> Rows:
        end = self.text.index(closing, self.place)
        body, self.place = self.text[self.place : end], end + len(closing)
        self.match(r"\\right\]")
        lines = (line.split("&") for line in body.split(r"\\"))
        return Rows(tuple(tuple(tuple(_Reader(cell, self.words).tokens()) for cell in line) for line in lines))

    def sign(self) -> str:
        if command := self.match(r"\\[a-zA-Z]+"):
            if command[1:] not in SIGNS:
                raise ReadingError(f"{command} in {self.text!r}")
            return SIGNS[command[1:]]
        self.place += 1
        return self.text[self.place - 1]

    def stem(self) -> tuple[str, int] | None:
        """A letter or word, and how many bars are above it."""
        if self.match(r"\\operatorname\*?"):
            return self.group(), 0
        if self.match(r"\\mathrm"):
            return self.group().replace(r"\_", "_"), 0
        if self.match(r"\\mathcal\{L\}"):
            return "𝓛", 0
        if self.match(r"\\mathbf\{1\}"):
            return "𝟏", 0
        if self.match(r"\\bar"):
            inner = _Reader(self.group(), self.words)
            more = inner.stem() if inner.text.startswith(r"\bar") else (self.named(inner.text), 0)
            return None if more is None else (more[0], more[1] + 1)
        for command, mark in ACCENTS.items():
            if self.match(rf"\\{command}(?![a-z])"):
                return self.named(self.group()) + mark, 0
        start = self.place
        if command := self.match(r"\\[a-zA-Z]+"):
            name = {**GREEK, **WORDS}.get(command[1:])
            if name is None:
                self.place = start
                return None
            return name, 0
        if self.text[self.place].isalpha():
            self.place += 1
            return self.text[self.place - 1], 0
        return None

    def named(self, text: str) -> str:
        """The letter or word that the text sets."""
        inner = _Reader(text, self.words)
        if text.startswith("{"):
            foot = re.fullmatch(r"(.*)_\{\\mathrm\{(\d+)\}\}", inner.group())
            if foot is None:
                raise ReadingError(f"no letter: {text!r}")
            return self.named(foot[1]) + "".join(FEET[int(c)] for c in foot[2])
        found = inner.stem()
        if found is None or inner.place != len(text):
            raise ReadingError(f"no letter: {text!r}")
        return found[0]

    def braced(self) -> list[Token]:
        start = self.place
        body = self.group()
        if not body:
            return []
        if body in (r"\uparrow", r"\downarrow"):
            if not self.match("_"):
                raise ReadingError(f"an arrow without a number in {self.text!r}")
            return [After(SIGNS[body[1:]], self.group().strip("()"))]
        if re.fullmatch(r".*_\{\\mathrm\{\d+\}\}", body):
            return self.scripted(self.named(self.text[start : self.place]), 0)
        tokens: list[Token] = [Group(tuple(_Reader(body, self.words).tokens()))]
        return [*tokens, *power(plain(self.group()))] if self.match(r"\^") else tokens

    def scripted(self, stem: str, bars: int) -> list[Token]:
        primes = (self.match("'+") or "").replace("'''", "‴").replace("''", "″").replace("'", "′")
        above = below = ""
        while mark := self.match(r"[\^_]"):
            if mark == "^":
                above = self.group()
            else:
                below = self.group()
        if stem in ("∇", "unpool"):
            return [Of(stem, tuple(_Reader(below, self.words).tokens()))]
        if primes and below.isdigit() and stem in self.words.functions:
            return letter(stem, primes + below, "", "")
        return letter(stem, primes, plain(above), plain(below), bars)
