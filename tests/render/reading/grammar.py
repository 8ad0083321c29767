"""From the tokens of a formula to what it says: sums of products of operands, as anyone reads them.

A sum or a maximum takes in the product that follows it; ⊙, ⋆ and ∗ bind less than factors side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.render.reading import tokens as t
from tests.render.reading.tokens import ReadingError, Sign, Token, depth_change, find


@dataclass(frozen=True)
class Node:
    """An operation with its arguments; `text` holds what else it is about: digits, indices, a name."""

    kind: str
    arguments: tuple[Node, ...] = ()
    text: str = ""
    letter: t.Letter | None = None


BIG = ("Σ", "max", "argmax")
RELATIONS = ("=", ">", "≤", "<")


def parse(tokens: Sequence[Token], functions: frozenset[str]) -> Node:
    reader = _Reader(tokens, functions)
    node = reader.sum()
    if reader.place != len(tokens):
        raise ReadingError(f"{tokens[reader.place]} is left over")
    return node


class _Reader:
    def __init__(self, tokens: Sequence[Token], functions: frozenset[str]) -> None:
        self.tokens, self.functions, self.place = tokens, functions, 0

    def inner(self, tokens: Sequence[Token]) -> Node:
        return parse(tokens, self.functions)

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def sign(self, *texts: str) -> str | None:
        if isinstance(self.next, Sign) and self.next.text in texts:
            self.place += 1
            return self.tokens[self.place - 1].text  # pyright: ignore[reportAttributeAccessIssue]
        return None

    def sum(self) -> Node:
        terms = [self.term(self.sign("−"))]
        while sign := self.sign("+", "−"):
            terms.append(self.term("−" if sign == "−" else None))
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def term(self, minus: str | None) -> Node:
        product = self.product()
        return Node("minus", (product,)) if minus else product

    def product(self) -> Node:
        """Operands side by side, or with · between them; then ⊙, ⋆ and ∗ between such products."""
        left = self.row()
        while sign := self.sign("⊙", "⋆", "∗"):
            left = Node(sign, (left, self.row()))
        return left

    def row(self) -> Node:
        factors: list[Node] = []
        while self.begins():
            factors.append(self.quotient())
            self.sign("·")
        if not factors:
            raise ReadingError(f"an operand is missing before {self.next}")
        return factors[0] if len(factors) == 1 else Node("row", tuple(factors))

    def begins(self) -> bool:
        token = self.next
        if token is None or isinstance(token, t.After):
            return False
        return not isinstance(token, Sign) or (token.text in ("(", "[", "|", "∂", "…") and not self.closes())

    def closes(self) -> bool:
        """Whether a | here ends an absolute value: an even number of them is open before it."""
        if self.next != Sign("|"):
            return False
        return self.bars > 0

    bars = 0

    def quotient(self) -> Node:
        node = self.operand()
        while self.sign("/"):
            node = _divided(node, self.operand())
        return node

    def operand(self) -> Node:
        node = self.atom()
        while isinstance(after := self.next, t.After):
            self.place += 1
            node = Node(after.kind, (node,), after.text)
        return node

    def atom(self) -> Node:
        token = self.next
        assert token is not None
        self.place += 1
        match token:
            case t.Number(digits=digits):
                return Node("number", text=digits)
            case t.Fraction(above=above, below=below):
                return _divided(self.inner(above), self.inner(below))
            case t.Root(body=body):
                return Node("root", (self.inner(body),))
            case t.Exponential(body=body):
                return Node("call", (self.inner(body),), "exp")
            case t.Group(body=body):
                return self.inner(body)
            case t.Rows(rows=rows):
                return Node("rows", tuple(Node("line", tuple(map(self.inner, line))) for line in rows))
            case t.Of(sign=sign, below=below):
                return self.of(sign, below)
            case Sign(text="("):
                node = self.sum()
                self.close(")")
                return node
            case Sign(text="["):
                return self.bracket()
            case Sign(text="|"):
                self.bars += 1
                node = self.sum()
                self.bars -= 1
                self.close("|")
                return Node("call", (node,), "|")
            case Sign(text="…"):
                return Node("dots")
            case Sign(text="∂"):
                return Node("∂", (self.operand(),))
            case t.Letter():
                return self.letter(token)
            case _:
                raise ReadingError(f"{token} is no operand")

    def close(self, text: str) -> None:
        if not self.sign(text):
            raise ReadingError(f"{text} is missing before {self.next}")

    def of(self, sign: str, below: tuple[Token, ...]) -> Node:
        if sign == "∇":
            return Node("∇", (self.inner(below), self.operand()))
        if self.sign("(") is None:
            raise ReadingError(f"{sign} of nothing")
        node = self.sum()
        self.close(")")
        return Node("unpool", (self.inner(below), node))

    def letter(self, token: t.Letter) -> Node:
        if token.stem in BIG and token.lower:
            return Node("big", (self.product(),), f"{token.stem} {token.lower}")
        if token.stem == "log" and self.next != Sign("("):
            return Node("call", (self.product(),), "log")
        if token.stem in self.functions and self.sign("("):
            arguments = [self.sum()]
            while self.sign(","):
                arguments.append(self.sum())
            self.close(")")
            name = "|" if (token.stem, token.primes) == ("abs", "") else token.stem + token.primes
            return Node("call", tuple(arguments), f"{name}_{token.lower}" if token.lower else name)
        return Node("letter", letter=token)

    def bracket(self) -> Node:
        """[k = i], [0 ≤ i < 3], [u > 0]."""
        depth, end = 1, self.place
        while depth:
            if end == len(self.tokens):
                raise ReadingError("] is missing")
            depth += depth_change(self.tokens[end])
            end += 1
        inside = self.tokens[self.place : end - 1]
        self.place = end
        parts: list[Node] = []
        signs = ""
        while True:
            cut = min(find(inside, [Sign(r)]) for r in RELATIONS)
            parts.append(self.inner(inside[:cut]))
            if cut == len(inside):
                return Node("bracket", tuple(parts), signs)
            signs += inside[cut].text  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportOperatorIssue]
            inside = inside[cut + 1 :]


def _divided(above: Node, below: Node) -> Node:
    if above.kind == "∂" and below.kind == "∂":
        return Node("partial", (above.arguments[0], below.arguments[0]))
    return Node("divide", (above, below))
