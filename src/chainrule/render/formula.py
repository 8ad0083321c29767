"""Writing formulas: one walk over expressions and one over concise forms, for any style.

The walk knows precedence and nothing else; a style knows how a fraction, a script or a big operator
looks. All tokens are Unicode; the LaTeX style translates them.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.forms import Form
from chainrule.ir.expr import Expr, Tensor
from chainrule.ir.walk import distinct
from chainrule.render.component import expression, worked
from chainrule.render.concise import concise, nabla
from chainrule.render.names import Names
from chainrule.render.pieces import Numbers, numbers
from chainrule.render.styles import Piece, Style


@dataclass(frozen=True, slots=True)
class Nabla:
    """A gradient tensor as a whole: ∇_W ℓ, or the δ it is written as."""

    gradient: Tensor


@dataclass(frozen=True, slots=True)
class Blank:
    """A line to write on, about as many letters wide; with None as wide as there is room."""

    width: int | None


@dataclass(frozen=True, slots=True)
class Worked:
    """A line with numbers in place of its letters: ½ · ½ · (1 − ½). A component in it stands for terms left out."""

    expr: Expr


Part = Expr | Form | Nabla | Numbers | Worked | Blank | str


@dataclass(frozen=True, slots=True)
class Formula:
    """Parts in a row: expressions, matrix forms, gradients, and tokens such as "=" between them."""

    parts: tuple[Part, ...]
    names: Names


def write(formula: Formula, style: Style) -> str:
    """The formula in one line."""
    text = " ".join(_part(part, formula.names, style).text for part in formula.parts)
    return text.replace(" ,", ",").replace("( ", "(").replace(" )", ")")


def _part(part: Part, names: Names, style: Style) -> Piece:
    match part:
        case str():
            return Piece(style.token(part))
        case Nabla(gradient=gradient):
            return nabla(gradient, names, style)
        case Numbers(values=values):
            return numbers(values, style)
        case Worked(expr=expr):
            return worked(expr, names.e, style)
        case Blank(width=width):
            return Piece(style.blank(width))
        case Expr():
            return expression(distinct(part), names, style)
        case _:
            return concise(part, names, style)
