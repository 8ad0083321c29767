"""How formulas look: as one line of Unicode for a terminal, and as LaTeX.

All tokens are Unicode; the LaTeX style translates them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chainrule.ir.expr import Tensor

SUM, NEGATIVE, PRODUCT, QUOTIENT, POWER, ATOM = range(1, 7)


@dataclass(frozen=True, slots=True)
class Piece:
    """Written mathematics. `open`: a big operator in it takes in whatever follows; `unsigned`: of a
    negative term, what stands after the minus sign."""

    text: str
    precedence: int = ATOM
    open: bool = False
    unsigned: str | None = None


class Style(Protocol):
    """What differs between the written forms of one formula. `join` is what stands between two factors, `symbol` marks
    what stands for a tensor."""

    def token(self, text: str) -> str: ...
    def join(self, before: str, after: str) -> str: ...
    def symbol(self, text: str, tensor: Tensor) -> str: ...
    def bracket(self, text: str) -> str: ...
    def name(self, stem: str) -> str: ...
    def script(self, base: str, upper: Sequence[str], lower: str) -> str: ...
    def fraction(self, above: Piece, below: Piece) -> Piece: ...
    def power(self, base: str, exponent: str) -> Piece: ...
    def root(self, body: Piece) -> Piece: ...
    def exponential(self, body: Piece) -> Piece: ...
    def operator(self, sign: str, lower: str, body: str) -> str: ...
    def call(self, function: str, primes: str, arguments: Sequence[str]) -> str: ...
    def parenthesise(self, text: str) -> str: ...
    def absolute(self, text: str) -> str: ...
    def bar(self, base: str) -> str: ...
    def bold_one(self) -> str: ...
    def word(self, name: str) -> str: ...
    def sampled(self, base: str, sign: str, factors: str) -> str: ...
    def rows(self, rows: Sequence[Sequence[str]]) -> str: ...
    def blank(self, width: int | None) -> str: ...


def at(piece: Piece, precedence: int, style: Style) -> str:
    """The piece as an operand that must bind at least this tightly."""
    return piece.text if piece.precedence >= precedence else style.parenthesise(piece.text)


def numeral(text: str) -> bool:
    """Whether the text begins with the digits of a number; the 𝟏 of vectors is none."""
    return text[:1].isascii() and text[:1].isdigit()


PRIMES = "′″‴"


SUPERSCRIPTS = dict(zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))
VULGAR = {"1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/8": "⅛"}


class Unicode:
    """Formulas for a terminal, in one line: Σ_k δ_k W_kj, (1/N) Σ_n x_j^(n)."""

    def token(self, text: str) -> str:
        return text

    def join(self, before: str, after: str) -> str:
        return " · " if numeral(after) else " "

    def symbol(self, text: str, tensor: Tensor) -> str:
        return text

    def bracket(self, text: str) -> str:
        return f"[{text}]"

    def name(self, stem: str) -> str:
        return stem

    def script(self, base: str, upper: Sequence[str], lower: str) -> str:
        scripts = "".join(u for u in upper if u not in "*ᵀ")
        above = "*" * ("*" in upper) + (f"^{scripts}" if scripts else "") + "ᵀ" * ("ᵀ" in upper)
        if not lower:
            return base + above
        short = lower.rstrip(PRIMES).isalnum()
        return f"{base}{above}_{lower if short else '{' + lower + '}'}"

    def fraction(self, above: Piece, below: Piece) -> Piece:
        text = f"{at(above, POWER, self)}/{at(below, POWER, self)}"
        return Piece(VULGAR[text]) if text in VULGAR else Piece(text, QUOTIENT)

    def power(self, base: str, exponent: str) -> Piece:
        if exponent == "ᵀ":
            return Piece(base + exponent)
        raised = "".join(SUPERSCRIPTS.get(c, "") for c in exponent)
        return Piece(base + raised if len(raised) == len(exponent) else f"{base}^({exponent})", POWER)

    def root(self, body: Piece) -> Piece:
        return Piece(f"√{at(body, ATOM, self)}")

    def exponential(self, body: Piece) -> Piece:
        return Piece(f"exp({body.text})")

    def operator(self, sign: str, lower: str, body: str) -> str:
        *before, sign = sign.split()
        return " ".join([*before, f"{self.script(sign, (), lower)} {body}"])

    def call(self, function: str, primes: str, arguments: Sequence[str]) -> str:
        return f"{function}{primes.replace('1', '₁').replace('2', '₂')}({', '.join(arguments)})"

    def parenthesise(self, text: str) -> str:
        return f"({text})"

    def absolute(self, text: str) -> str:
        return f"|{text}|"

    def bar(self, base: str) -> str:
        return base + "\u0304"

    def bold_one(self) -> str:
        return "𝟏"

    def word(self, name: str) -> str:
        return name

    def sampled(self, base: str, sign: str, factors: str) -> str:
        return base + sign + factors

    def rows(self, rows: Sequence[Sequence[str]]) -> str:
        return "[" + "; ".join(", ".join(row) for row in rows) + "]"

    def blank(self, width: int | None) -> str:
        return "_" * (COLUMNS if width is None else width)


COMMANDS = {
    "∂": r"\partial ", "Σ": r"\sum", "δ": r"\delta", "Δ": r"\Delta", "σ": r"\sigma", "π": r"\pi", "ℓ": r"\ell",
    "𝓛": r"\mathcal{L}", "⊙": r"\odot", "×": r"\times ", "·": r"\cdot", "≤": r"\le", "−": "-",
    "′": "'", "″": "''", "‴": "'''",
    "ᵀ": r"\top", "✓": r"\checkmark", "…": r"\dots", "→": r"\to", "<": "<", "α": r"\alpha", "β": r"\beta",
    "γ": r"\gamma", "ε": r"\varepsilon", "λ": r"\lambda", "μ": r"\mu", "ρ": r"\rho", "τ": r"\tau", "θ": r"\theta",
    "φ": r"\varphi", "ω": r"\omega", "η": r"\eta", "∇": r"\nabla", "≈": r"\approx", "⋮": r"\vdots",
    "⋆": r"\star", "∗": r"\ast", "↑": r"\uparrow", "↓": r"\downarrow", "∞": r"\infty", "|": r"\mid ",
}


ACCENTS = {"\u0303": r"\tilde", "\u0302": r"\hat"}
ACCENTED = (r"\tilde", r"\hat", r"\bar")
COLUMNS = 70
"""In letters: a line to write on from margin to margin, on any paper."""
LONG, WIDE = 110, 4
"""Characters of source in a parenthesis beyond which a line may break in it; columns beyond which a matrix is small."""
FEET = "₀₁₂₃₄₅₆₇₈₉"


class Latex:
    """LaTeX mathematics, for amsmath and for the mathematics of Markdown."""

    def token(self, text: str) -> str:
        result = ""
        for character in text:
            command = COMMANDS.get(character, character)
            if result and result[-1].isalpha() and "\\" in result.rsplit(" ", 1)[-1] and command[:1].isalpha():
                result += " "
            result += command
        return result

    def symbol(self, text: str, tensor: Tensor) -> str:
        return text

    def bracket(self, text: str) -> str:
        return f"[{text}]"

    def join(self, before: str, after: str) -> str:
        if numeral(after):
            return r" \cdot "
        return r" \, " if after.startswith(r"\frac") or before.endswith("}}") else " "

    def name(self, stem: str) -> str:
        for mark, command in ACCENTS.items():
            if stem.endswith(mark):
                return rf"{command}{{{self.name(stem[:-1])}}}"
        bare = stem.rstrip(FEET)
        if bare and bare != stem:
            foot = "".join(str(FEET.index(c)) for c in stem[len(bare) :])
            return rf"{{{self.name(bare)}_{{\mathrm{{{foot}}}}}}}"
        if stem in COMMANDS or len(stem) == 1:
            return COMMANDS.get(stem, stem)
        return r"\mathrm{" + stem.replace("_", r"\_") + "}"

    def script(self, base: str, upper: Sequence[str], lower: str) -> str:
        above = "^{" + "".join(upper) + "}" if upper else ""
        return base + above + (f"_{{{lower}}}" if lower else "")

    def fraction(self, above: Piece, below: Piece) -> Piece:
        return Piece(rf"\frac{{{above.text}}}{{{below.text}}}", POWER)

    def power(self, base: str, exponent: str) -> Piece:
        # TeX takes a group of an accent alone for the accent, which has its scripts already.
        own = base + "{}" if base.startswith(ACCENTED) else base
        return Piece(f"{{{own}}}^{{{self.token(exponent)}}}", ATOM if exponent == "ᵀ" else POWER)

    def root(self, body: Piece) -> Piece:
        return Piece(rf"\sqrt{{{body.text}}}", POWER)

    def exponential(self, body: Piece) -> Piece:
        return Piece(f"e^{{{body.text}}}", POWER)

    def operator(self, sign: str, lower: str, body: str) -> str:
        words = {"Σ": r"\sum", "log": r"\log", "max": r"\max", "argmax": r"\operatorname*{argmax}"}
        return "".join(words[w] for w in sign.split()) + f"_{{{lower}}} {body}"

    def call(self, function: str, primes: str, arguments: Sequence[str]) -> str:
        known = {"σ": r"\sigma", "tanh": r"\tanh", "log": r"\log", "exp": r"\exp", "max": r"\max", "min": r"\min"}
        head = known.get(function) or rf"\operatorname{{{function}}}"
        if primes:
            head += "'" if len(primes) == 1 else f"'_{{{primes[1:]}}}"
        return f"{head}{self.parenthesise(', '.join(arguments))}"

    def parenthesise(self, text: str) -> str:
        tall = r"\frac" in text or r"\sum" in text or r"\max" in text
        if not tall:
            return f"({text})"
        # A line breaks inside \bigl( and not inside \left(.
        return rf"\left({text}\right)" if len(text) < LONG else rf"\bigl({text}\bigr)"

    def absolute(self, text: str) -> str:
        return rf"\left|{text}\right|"

    def bar(self, base: str) -> str:
        return rf"\bar{{{base}}}"

    def bold_one(self) -> str:
        return r"\mathbf{1}"

    def word(self, name: str) -> str:
        return rf"\operatorname{{{name}}}"

    def sampled(self, base: str, sign: str, factors: str) -> str:
        return f"{base}{{{self.token(sign)}}}_{{{factors}}}"

    def rows(self, rows: Sequence[Sequence[str]]) -> str:
        body = r" \\ ".join(" & ".join(row) for row in rows)
        if len(rows[0]) <= WIDE:
            return rf"\begin{{bmatrix}}{body}\end{{bmatrix}}"
        return rf"\left[\begin{{smallmatrix}}{body}\end{{smallmatrix}}\right]"

    def blank(self, width: int | None) -> str:
        # The rule of no width makes room to write by hand.
        return rf"\underline{{\hspace{{{COLUMNS if width is None else width}ex}}\rule{{0pt}}{{3.5ex}}}}"


UNICODE = Unicode()
LATEX = Latex()
