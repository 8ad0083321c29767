"""What is printed for Coq, read back: a term of the printed language as a value over GF(2^61 − 1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from chainrule.semantics.prime import PRIME

Value = Callable[[Mapping[str, Any]], Any]
TOKEN = re.compile(r"\s*(=>|=\?|&&|::|[^\W\d][\w']*|\d+|%\w+|[()+*#,:-])")


class Number:
    """An element of the field; whole numbers of Python are elements of Z."""

    def __init__(self, value: int | Fraction) -> None:
        part = Fraction(value)
        self.value = part.numerator * pow(part.denominator, -1, PRIME) % PRIME

    def __add__(self, other: Number) -> Number:
        return Number(self.value + other.value)

    def __mul__(self, other: Number) -> Number:
        return Number(self.value * other.value)


class Reader:
    """A recursive descent: fun, if, #, ::, &&, =?, + and −, *, application."""

    def __init__(self, text: str) -> None:
        self.tokens = [t for t in TOKEN.findall(text) if not t.startswith("%")]
        assert "".join(self.tokens) == re.sub(r"\s|%\w+", "", text), text

    def read(self) -> Value:
        value = self.term()
        assert not self.tokens, self.tokens
        return value

    def next(self, *wanted: str) -> str | None:
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in wanted else None

    def term(self) -> Value:
        if self.next("fun"):
            names: list[str] = []
            while not self.next("=>"):
                names.append(self.tokens.pop(0))
            return function(names, self.term())
        if self.next("if"):
            parts = [self.branch("then"), self.branch("else"), self.term()]
            return lambda env: parts[1](env) if parts[0](env) else parts[2](env)
        left = self.chain("&&", lambda: self.chain("=?", self.sum, lambda a, b: a == b), lambda a, b: a and b)
        if self.next("::"):
            return self.binary(left, self.term(), lambda first, rest: [first, *rest])
        return self.binary(left, self.sum(), Fraction) if self.next("#") else left

    def branch(self, end: str) -> Value:
        value = self.term()
        assert self.next(end)
        return value

    def chain(self, sign: str, part: Callable[[], Value], operation: Callable[[Any, Any], Any]) -> Value:
        value = part()
        while self.next(sign):
            value = self.binary(value, part(), operation)
        return value

    def binary(self, a: Value, b: Value, operation: Callable[[Any, Any], Any]) -> Value:
        return lambda env: operation(a(env), b(env))

    def sum(self) -> Value:
        negative = self.next("-")
        value = self.chain("*", self.application, lambda a, b: a * b)
        if negative:
            value = (lambda first: lambda env: -first(env))(value)
        while sign := self.next("+", "-"):
            part = self.chain("*", self.application, lambda a, b: a * b)
            value = self.binary(value, part, (lambda a, b: a + b) if sign == "+" else (lambda a, b: a - b))
        return value

    def application(self) -> Value:
        value = self.atom()
        while self.tokens and self.tokens[0] not in ("then", "else") and re.match(r"[\w(]", self.tokens[0]):
            value = self.binary(value, self.atom(), lambda f, x: f(x))
        return value

    def atom(self) -> Value:
        token = self.tokens.pop(0)
        if token == "(":
            value = self.term()
            if self.next(","):
                value = self.binary(value, self.term(), lambda a, b: (a, b))
            assert self.next(")")
            return value
        if token.isdigit():
            return lambda env: int(token)
        return lambda env: env[token]


def function(names: list[str], body: Value) -> Value:
    """A curried function of these names; of none, the body."""
    if not names:
        return body
    rest = function(names[1:], body)
    return lambda env: lambda x: rest({**env, names[0]: x})


def _sum(n: int) -> Callable[[Callable[[int], Number]], Number]:
    return lambda f: sum((f(i) for i in range(n)), Number(0))


def _joined(m: int) -> Callable[[Any], Any]:
    return lambda f: lambda p: f(p // m)(p % m)


def flat(window: Sequence[int], f: Any) -> Any:
    """The entries of a window by their position, those of all its extents but the first being given."""
    for m in window:
        f = _joined(m)(f)
    return f


def _dual(operation: Callable[..., tuple[Number, Number]], count: int) -> Any:
    """A curried operation."""

    def given(*known: Any) -> Any:
        return operation(*known) if len(known) == count else lambda x: given(*known, x)

    return given()


MEANINGS: dict[str, Any] = {
    "zero": Number(0), "one": Number(1), "num": Number, "sum": _sum, "bracket": Number,
    "inside": lambda a: lambda n: 0 <= a < n, "at_id": lambda a: lambda b: a == b,
    "cells": lambda n: lambda m: n * m, "joined": _joined, "nil": [],
    "read": lambda test: lambda value: lambda outside: value if test else outside,
    "fst": lambda a: a[0], "snd": lambda a: a[1], "still": lambda a: (a, Number(0)),
    "dadd": _dual(lambda a, b: (a[0] + b[0], a[1] + b[1]), 2),
    "dmul": _dual(lambda a, b: (a[0] * b[0], a[1] * b[0] + a[0] * b[1]), 2),
    "dleft": _dual(lambda a, b: (a * b[0], a * b[1]), 2), "dright": _dual(lambda a, b: (a[0] * b, a[1] * b), 2),
    "dsum": lambda n: lambda f: (_sum(n)(lambda i: f(i)[0]), _sum(n)(lambda i: f(i)[1])),
    "dread": _dual(lambda test, a, outside: a if test else (outside, Number(0)), 3),
    "dfun": _dual(lambda g, h, a: (g(a[0]), h(a[0]) * a[1]), 3),
    "dfun2": _dual(lambda g, h, k, a, b: (g(a[0])(b[0]), h(a[0])(b[0]) * a[1] + k(a[0])(b[0]) * b[1]), 5),
}  # fmt: skip
