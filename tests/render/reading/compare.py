"""One formula, written in a style and read back: whether it says what it is to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from random import Random

import numpy as np
from tests.render.reading import latex, mathml, unicode
from tests.render.reading.grammar import Node, parse
from tests.render.reading.intended import WRITTEN, Intended, indices_of, mode_of, rounded, shown
from tests.render.reading.meaning import Reading, Unit, Value
from tests.render.reading.tokens import CLOSE, OPEN, ReadingError, Rows, Sign, Token, Vocabulary, find, numbered

from chainrule.ir.expr import Expr
from chainrule.ir.functions import CATALOGUE
from chainrule.render.document import Document, Figure, Text
from chainrule.render.formula import Blank, Formula, write
from chainrule.render.mathml import MathML
from chainrule.render.pieces import Numbers
from chainrule.render.styles import LATEX, UNICODE, Style

Reader = Callable[[str, Vocabulary], list[Token]]
FORMATS: dict[str, tuple[Style, Reader]] = {
    "text": (UNICODE, unicode.read), "latex": (LATEX, latex.read), "mathml": (MathML(), mathml.read),
}
WORDS = "abs exp diag vec onehot softmax argmax pad crop maxpool argmaxpool sum rowmax colmax rowargmax colargmax"
FUNCTIONS = (frozenset(WRITTEN.get(f, f) for f in CATALOGUE) - {"|"}) | frozenset(WORDS.split())
SIGNS = frozenset({"Σ", "max", "argmax", "log", "∇", "unpool", "𝟏", "J", "π", "e"})


def computes(formula: Formula) -> bool:
    """Whether there is anything to compute in it: more than signs and letters."""
    return any(not isinstance(part, str | Blank) for part in formula.parts)


class Wanted:
    """What a formula is to say: computed once, and compared with what is read of each format."""

    def __init__(self, formula: Formula) -> None:
        self.formula, self.mode = formula, mode_of(formula)
        self.intended = Intended(formula.names, self.mode)
        indices, random = indices_of(formula), Random(0)
        parts = [part for part in formula.parts if not isinstance(part, str | Numbers)]
        self.places = [{shown(i.name): random.randrange(2) for i in indices} for _ in range(2 if indices else 1)]
        self.values = [[self.intended.part(part, at) for part in parts] for at in self.places]
        self.bounds = {(shown(i.name), str(i.extent)) for i in indices}
        symbols = {stem for stem, _ in (*self.intended.ranks, *self.intended.shapes)}
        called = {p.removesuffix("(") for p in formula.parts if isinstance(p, str) and p[:-1] and p.endswith("(")}
        self.functions = (FUNCTIONS - {stem for stem, _ in self.intended.ranks}) | called
        stems = symbols | self.intended.extents | {name for name, _ in self.bounds} | SIGNS
        stems |= set(formula.names.constants.values())
        self.words = Vocabulary(frozenset(stems), self.functions, "e" in symbols)

    def check(self, style: Style, read: Reader) -> None:
        """Raises ReadingError or AssertionError where the written formula does not say what the parts say."""
        reading = Reading(self.intended.known, self.mode)
        written, names = write(self.formula, style), self.formula.names
        runs = split(numbered(read(written, self.words), names.constants), self.formula, style, read, self.words)
        trees = [parse(run, self.functions) for part, run in runs if not isinstance(part, Numbers)]
        for at, wanted in zip(self.places, self.values, strict=True):
            for tree, value in zip(trees, wanted, strict=True):
                assert same(reading.value(tree, at), value), f"{written} at {at}"
        assert reading.bounds <= self.bounds, reading.bounds - self.bounds
        for part, run in runs:
            if isinstance(part, Numbers):
                numbers(part, run, self.functions)


def unbound(document: Document) -> list[str]:
    """The arrows whose derivative has an index that stands at neither end."""
    wrong: list[str] = []
    for figure in (block for block in document.blocks if isinstance(block, Figure)):
        for arrow in figure.arrows:
            ends = (figure.spots[end].text for end in (arrow.start, arrow.end))
            bound = {i for text in ends for part in _expressions(text) for i in part.free}
            wrong += [str(part) for part in _expressions(arrow.text) if not bound.issuperset(part.free)]
    return wrong


def _expressions(text: Text) -> list[Expr]:
    return [part for f in text if isinstance(f, Formula) for part in f.parts if isinstance(part, Expr)]


def same(found: Value, wanted: Value) -> bool:
    try:
        found = found.like(wanted) if isinstance(found, Unit) else found
        return bool(np.all(np.asarray(found, dtype=object) == np.asarray(wanted, dtype=object)))
    except (ValueError, ReadingError):
        return False


def split(
    tokens: Sequence[Token], formula: Formula, style: Style, read: Reader, words: Vocabulary
) -> list[tuple[object, Sequence[Token]]]:
    """The tokens of each part that is no string; those between are the strings'."""
    runs: list[tuple[object, Sequence[Token]]] = []
    parts = list(formula.parts)
    for position, part in enumerate(parts):
        if isinstance(part, str):
            signs = read(style.token(part), words)
            if tuple(tokens[: len(signs)]) != tuple(signs):
                raise ReadingError(f"{part!r} is not at {tokens[:2]}")
            tokens = tokens[len(signs) :]
            continue
        following = parts[position + 1] if position + 1 < len(parts) else None
        end = len(tokens)
        if isinstance(following, str):
            end = find(tokens, read(style.token(following), words))
        elif following is not None:
            raise ReadingError("two parts with nothing between them")
        runs.append((part, tokens[:end]))
        tokens = tokens[end:]
    if tokens:
        raise ReadingError(f"{tokens} is left over")
    return runs


def numbers(part: Numbers, run: Sequence[Token], functions: frozenset[str]) -> None:
    """Each printed number is the exact one, or the other rounded to the digits that are printed."""
    rows = [row if isinstance(row, tuple) else (row,) for row in _tuple(part.values)]
    printed = _entries(run, functions)
    wanted = [value for row in rows for value in row]
    if len(printed) != len(wanted):
        raise ReadingError(f"{len(printed)} numbers for {len(wanted)}")
    for found, value in zip(printed, wanted, strict=True):
        printed_as = rounded(value) if isinstance(value, Fraction) else Fraction(f"{value:.4g}")
        assert found == printed_as, (found, value)


def _tuple(values: object) -> tuple[object, ...]:
    return values if isinstance(values, tuple) else (values,)  # pyright: ignore[reportUnknownVariableType]


def _entries(run: Sequence[Token], functions: frozenset[str]) -> list[Fraction]:
    """The numbers in a run: one, a row of them between parentheses, rows between brackets."""
    if len(run) == 1 and isinstance(run[0], Rows):
        return [_amount(parse(cell, functions)) for line in run[0].rows for cell in line]
    if run and run[0] in OPEN and run[-1] in CLOSE:
        run = run[1:-1]
    entries: list[list[Token]] = [[]]
    for token in run:
        if token in (Sign(","), Sign(";")):
            entries.append([])
        else:
            entries[-1].append(token)
    return [_amount(parse(entry, functions)) for entry in entries]


def _amount(node: Node) -> Fraction:
    match node.kind:
        case "number":
            return Fraction(node.text)
        case "minus":
            return -_amount(node.arguments[0])
        case "divide":
            return _amount(node.arguments[0]) / _amount(node.arguments[1])
        case "row":
            return _amount(node.arguments[0]) * _amount(node.arguments[1])
        case "power":
            return _amount(node.arguments[0]) ** int(node.text)
        case _:
            raise ReadingError(f"{node.kind} in a number")
