"""One family of errors. Each says what is wrong, about which thing, and what to do about it."""

from __future__ import annotations

import re

# What steers a terminal or turns the direction of its text; lines and tabs are left.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with what is no character of its own shown as Python writes it."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class ChainruleError(Exception):
    """Base of every error that chainrule raises for a user's mistake.

    `about` is the offending equation, layer, shape or index; `fix` says what to write instead.
    """

    def __init__(self, problem: str, *, about: object = None, fix: str = "") -> None:
        self.problem, self.about, self.fix = printable(problem), about, printable(fix)
        text = self.problem if about is None else f"{self.problem}\n  in: {printable(str(about))}"
        super().__init__(f"{text}\n  fix: {self.fix}" if fix else text)


class EquationError(ChainruleError, ValueError):
    """A text that is no equation, or an equation that is not well formed."""


class UndeclaredError(EquationError):
    """A name in an equation that nothing declares."""


class ShapeError(ChainruleError, ValueError):
    """Extents or shapes that do not fit together."""


class DerivationError(ChainruleError, ValueError):
    """A derivative that the rules cannot reach."""


class DataError(ChainruleError, ValueError):
    """Training data that cannot be used: its shape, type, labels, or a NaN or infinity in it."""


class ModelError(ChainruleError, ValueError):
    """A model that cannot be built: an unknown name, a wrong option, an order that makes no sense."""


class DivergenceError(ModelError):
    """Training whose loss is no longer finite."""


class CompileError(ChainruleError, ValueError):
    """A program that the code generator has no loops for; the NumPy executor runs it."""


class BuildError(ChainruleError, RuntimeError):
    """Native code that cannot be built: no compiler, one that fails or hangs, no folder to build in."""


class VerificationError(ChainruleError, ValueError):
    """A line that is no identity: `line` says where it stands, `point` where both sides differ, and the two values."""

    def __init__(self, line: str, point: str, left: str, right: str, *, about: object = None) -> None:
        self.line, self.point, self.left, self.right = line, point, left, right
        super().__init__(
            f"{line} is no identity: {left} ≠ {right} at {point}", about=about,
            fix="the derivation is wrong in this line; nothing that follows from it may be trusted",
        )
