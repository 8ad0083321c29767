"""The text of an equation: the scan that makes it safe to parse, excerpts for errors, and exact numbers.

Python's own parser reads the text (`ast`); what could strain it, or is no part of the language, is refused before.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from threading import Lock
from typing import NoReturn, TypeVar

from chainrule.errors import EquationError, ShapeError

MAX_LENGTH = 10_000
MAX_NESTING = 100
MAX_DIGITS = 40
MAX_DECIMAL_EXPONENT = 400

_PARSER = Lock()
_NUMBER = re.compile(r"(?<![\w.])\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?")
_EXPONENT = re.compile(r"[eE]([+-]?\d+)$")
_PRIVATE = re.compile(r"(?:(?<![\w.])|(?<=\w\.))_\w*")
_KINDS = {"ListComp": "a comprehension", "GeneratorExp": "a comprehension", "JoinedStr": "an f-string"}
# What people try, as they wrote it, and what says it here.
_TRIED: dict[str, tuple[str, str]] = {
    "BitXor": ("^", "a power is written x**2"),
    "MatMult": ("@", "a product of matrices is a sum over the index that they share: sum[l](W[k, l]*x[n, l])"),
    "Mod": ("%", ""),
    "FloorDiv": ("//", "a quotient is written x/2"),
    "BitAnd": ("&", "both is a product of brackets: [a > 0]*[b > 0]"),
    "BitOr": ("|", "either is max([a > 0], [b > 0])"),
    "IfExp": ("if", "a case is a bracket, 1 where it holds and else 0: [x[n] > 0]*x[n]"),
    "Compare": ("a comparison", "a comparison stands in brackets, 1 where it holds and else 0: [x[n] > 0]"),
    "BoolOp": ("and, or", "both is a product of brackets, either is their max: [a > 0]*[b > 0]"),
    "Lambda": ("lambda", ""),
    "Not": ("not", "not is 1 minus a bracket: 1 - [a > 0]"),
    "Invert": ("~", "not is 1 minus a bracket: 1 - [a > 0]"),
}
T = TypeVar("T")


def shorten(text: str, width: int = 100) -> str:
    """The text on one line, cut in the middle where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width // 2]} … {text[-width // 2 :]}"


def _is_number(text: str) -> bool:
    try:
        complex(text)
    except ValueError:
        return re.fullmatch(r"0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+", text) is not None
    return True


def checked_text(text: object) -> str:
    """The text. Raises EquationError where it is none."""
    if not isinstance(text, str):
        raise EquationError(
            f"equations are a text, not {shorten(repr(text), 40)}", fix="write them as in: y[n, k] = sigmoid(u[n, k])"
        )
    return text


class Source:
    """A text, safe to parse, without comments and on one line."""

    def __init__(self, text: str) -> None:
        self.text = text = checked_text(text)
        if len(text) > MAX_LENGTH:
            self.error(
                f"an equation of {len(text)} characters is longer than {MAX_LENGTH}", "split it into several equations"
            )
        if "\0" in text:
            self.text = text.replace("\0", "\\0")
            self.error("a null byte in an equation")
        self.text = " ".join(line.split("#", 1)[0] for line in text.splitlines()).strip()
        if not self.text:
            raise EquationError("an empty equation", fix="write it as in: y[n, k] = sigmoid(u[n, k])")
        self._scan()
        self._encoded = self.text.encode()  # `ast` counts columns in bytes

    def tree(self) -> ast.Module:
        """What Python's parser makes of it; that of 3.11 fails where two threads are in it."""
        with _PARSER:
            return ast.parse(self.text)

    def _scan(self) -> None:
        if "'" in self.text or '"' in self.text:
            self.error("quoted text is no part of the language")
        depth = 0
        for character in self.text:
            depth += (character in "([{") - (character in ")]}")
            if depth > MAX_NESTING:
                self.error(f"brackets nested deeper than {MAX_NESTING}", "name an inner part by an equation of its own")
        for match in _NUMBER.finditer(self.text):
            exponent = _EXPONENT.search(match[0])
            if len(match[0]) > MAX_DIGITS or (exponent and abs(int(exponent[1])) > MAX_DECIMAL_EXPONENT):
                self.error(
                    f"the number {shorten(match[0], 20)} is too long: at most {MAX_DIGITS} characters and an exponent "
                    f"of at most {MAX_DECIMAL_EXPONENT}"
                )
            if not _is_number(match[0]):  # Python warns of some, 2if
                self.error(f"{match[0]} is no number", "a name starts with a letter; write 2*x for 2 times x")
        private = _PRIVATE.search(self.text)
        if private:
            self.error(f"the name {shorten(private[0], 40)} starts with an underscore", "names start with a letter")

    def error(self, problem: str, fix: str = "") -> NoReturn:
        raise EquationError(problem, about=shorten(self.text), fix=fix)

    def refuse(self, node: ast.expr) -> NoReturn:
        if isinstance(node, ast.Attribute):
            self.error(
                f"attribute access is no part of the language: {self.cut(node)}",
                "a dotted name is a tensor's only where that tensor is declared",
            )
        operation = node.op if isinstance(node, (ast.BinOp, ast.UnaryOp)) else node
        kind = type(operation).__name__
        what, fix = _TRIED.get(kind, (_KINDS.get(kind, kind.lower()), ""))
        self.error(f"{what} is no part of the language: {self.cut(node)}", fix)

    # Excerpts

    def between(self, start: int, end: int | None) -> str:
        return self._encoded[start:end].decode()

    def of(self, node: ast.expr) -> str:
        return self.between(node.col_offset, node.end_col_offset)

    def cut(self, node: ast.expr, width: int = 40) -> str:
        return shorten(self.of(node), width)

    # Numbers

    def literal(self, node: ast.expr) -> Fraction | None:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as inner):
                value = self.literal(inner)
                return None if value is None else -value
            case ast.Constant(value=bool()):
                return None
            case ast.Constant(value=int(value)):
                return Fraction(value)
            case ast.Constant(value=float()):
                return self._finite(Fraction(self.of(node).replace("_", "")), self.cut(node))
            case _:
                return None

    def rational(self, node: ast.expr) -> Fraction | None:
        """A literal, or a quotient of two."""
        match node:
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                one, other = self.literal(left), self.literal(right)
                return None if one is None or other is None else self.quotient(one, other)
            case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp() as inner):
                value = self.rational(inner)
                return None if value is None else -value
            case _:
                return self.literal(node)

    def quotient(self, one: Fraction, other: Fraction) -> Fraction:
        if other == 0:
            self.error("division by zero")
        return self._finite(one / other, "a quotient of numbers")

    def _finite(self, value: Fraction, what: str) -> Fraction:
        """The number, where float64 can hold it."""
        try:
            small = value != 0 and float(value) == 0
        except OverflowError:
            self.error(f"{what} is too large for float64", "numbers are less than 1.8e308 in size")
        if small:
            self.error(f"{what} is too small for float64, which takes it for 0", "write 0, or a number above 5e-324")
        return value


def guarded(text: str, read: Callable[[], T]) -> T:
    """Python's own refusals of a text become ours."""
    try:
        return read()
    except (EquationError, ShapeError):
        raise
    except SyntaxError as error:
        raise EquationError(
            f"this cannot be read: {error.msg}", about=shorten(text),
            fix="write y[n, k] = ... in Python's expression grammar",
        ) from None
    except (RecursionError, MemoryError):
        raise EquationError("nested too deeply", about=shorten(text), fix="split it into several equations") from None
    except ValueError as error:
        raise EquationError(f"this cannot be read: {error}", about=ascii(shorten(text))) from None


def lines(text: str) -> Iterator[str]:
    """The equations of a program: one on each line, or several with semicolons between. A line goes on while a bracket
    is open, and a line without an equality sign outside of brackets belongs to the one before."""
    held: list[str] = []
    depth = 0
    for part in (part.strip() for line in checked_text(text).splitlines() for part in line.split("#", 1)[0].split(";")):
        before, starts = depth, False
        for character in part:
            depth += (character in "([{") - (character in ")]}")
            starts |= character == "=" and depth <= 0
        if held and before <= 0 and starts:
            yield " ".join(held)
            held, depth = [], depth - before
        if part:
            held.append(part)
    if held:
        yield " ".join(held)
