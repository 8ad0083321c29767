"""Writing expressions, component by component: one walk that knows precedence and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from chainrule.ir.expr import (
    LOSS,
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
)
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import Steps, components, iterative
from chainrule.render.names import Names
from chainrule.render.pieces import (
    affine_token,
    application,
    coefficient,
    index_name,
    power_of,
    rational,
    row_of,
    script,
    signed,
    subscripts_of,
    total,
    value_of,
)
from chainrule.render.styles import ATOM, PRIMES, PRODUCT, QUOTIENT, Piece, Style, at


@iterative
def expression(node: Expr, names: Names, style: Style) -> Steps[Piece]:
    match node:
        case Constant(value=Fraction() as value):
            return number(value, names, style)
        case Constant(value=value):
            return Piece(style.name("π" if value == "pi" else str(value)))
        case Size(extent=extent):
            return Piece(style.name(extent))
        case Component():
            return component(node, names, style)
        case Delta(left=left, right=right):
            integer = isinstance(right, Component)
            other = component(right, names, style).text if integer else style.token(affine_token(right))
            return Piece(style.bracket(f"{style.token(affine_token(left))} {style.token('=')} {other}"))
        case Guard(subscript=subscript, extent=extent):
            chain = ("0", "≤", affine_token(subscript), "<", str(extent))
            return Piece(style.bracket(" ".join(map(style.token, chain))))
        case Derivative(of=of, wrt=wrt):
            inner: Piece = yield of, names, style
            above = inner.text if isinstance(of, Component) else style.parenthesise(inner.text)
            return partial(above, component(wrt, names, style).text, style)
        case Power(base=base, exponent=exponent):
            inner = yield base, names, style
            return power_of(_plain_base(base, inner, names), exponent, style)
        case Apply(function=function, arguments=arguments):
            pieces: list[Piece] = []
            for argument in arguments:
                pieces.append((yield argument, names, style))
            return application(function, pieces, style, names.e)
        case Reduce(kind=kind, indices=indices, body=body):
            inner = yield body, names, style
            lower = style.token(binders(indices, body, names))
            if kind == "sum":
                return Piece(style.operator("Σ", lower, at(inner, PRODUCT, style)), PRODUCT, True)
            if kind == "logsumexp":
                summand = application("exp", [inner], style, names.e)
                return Piece(style.operator("log Σ", lower, summand.text), PRODUCT, True)
            return Piece(style.operator(kind, lower, at(inner, ATOM, style)), PRODUCT, True)
        case Add(terms=terms):
            pieces = []
            for term in terms:
                pieces.append((yield term, names, style))
            return total(pieces, style)
        case Multiply(factors=factors):
            pieces = []
            for factor in factors:
                inverse = isinstance(factor, Power) and factor.exponent < 0
                pieces.append((yield (_reciprocal(factor) if inverse else factor), names, style))
            return _product(factors, pieces, style)
        case _:
            raise TypeError(f"no formula known for {type(node).__name__}")


def number(value: Fraction, names: Names, style: Style) -> Piece:
    """A number, or the letter that stands for it."""
    letter = names.constants.get(value)
    return Piece(style.name(letter)) if letter else rational(value, style)


def _plain_base(base: Expr, piece: Piece, names: Names) -> Piece:
    """A component that has superscripts already is parenthesised before it gets an exponent."""
    if isinstance(base, Component) and names.has_upper(base):
        return Piece(piece.text, PRODUCT)
    return piece


def _reciprocal(factor: Expr) -> Expr:
    assert isinstance(factor, Power)
    return factor.base if factor.exponent == -1 else Power(factor.base, -factor.exponent)


def _product(factors: Sequence[Expr], pieces: Sequence[Piece], style: Style) -> Piece:
    """Reciprocals go below the factor before them, the first of them with the sizes and the leading number's
    denominator; where there is none of them, number and sizes are one coefficient."""
    first = factors[0]
    number = first.value if isinstance(first, Constant) and isinstance(first.value, Fraction) else None
    rest = list(zip(factors, pieces, strict=True))[0 if number is None else 1 :]
    below = [piece for factor, piece in rest if _divides(factor) and isinstance(_base(factor), Size)]
    left = Fraction(1) if number is None else number
    row: list[Piece] = []
    numerator = False  # whether the last piece of the row may stand above a line
    for factor, piece in rest:
        if not _divides(factor):
            row.append(piece)
            fits = isinstance(factor, Component | Apply | Size) and piece.precedence == ATOM
            numerator = fits or isinstance(factor, Add)
        elif not isinstance(_base(factor), Size):
            under = [*below, piece]
            if left.denominator != 1:
                under.insert(0, Piece(style.token(str(left.denominator))))
            above = row.pop() if numerator else Piece(style.token("1"))
            row.append(style.fraction(above, row_of(under, style)))
            numerator = False
            left, below = Fraction(left.numerator), []
    minus = left < 0
    if below or (number is not None and not (abs(left) == 1 and row)):
        row.insert(0, coefficient(left, below, style))
    return signed(minus, row_of(row, style), style)


def _divides(factor: Expr) -> bool:
    return isinstance(factor, Power) and factor.exponent < 0


def _base(factor: Expr) -> Expr:
    return factor.base if isinstance(factor, Power) else factor


def partial(above: str, below: str, style: Style) -> Piece:
    partial = style.token("∂")
    return style.fraction(Piece(f"{partial}{above}"), Piece(f"{partial}{below}"))


def component(node: Component, names: Names, style: Style, *, among: bool = False) -> Piece:
    """A component; `among` others of the tensor's views."""
    samples, subscripts = split_samples(node)
    lower, bars = subscripts_of(subscripts, some=among), names.bars(node.tensor, node.pad)
    signal = names.signal(node.tensor)
    if signal is not None:
        return Piece(script(signal, node.tensor, samples, lower, style, bars=bars))
    gradient = names.gradient(node.tensor)
    if gradient is not None:
        of, share = gradient
        below = script(of, differentiated(node.tensor, names), samples, lower, style, bars=bars)
        loss = loss_letter(names, style)
        piece = partial(loss, below, style)
        return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else piece
    return Piece(script(names.symbol(node.tensor), node.tensor, samples, lower, style, bars=bars))


def loss_letter(names: Names, style: Style) -> str:
    return script(names.loss, LOSS, (), "", style)


def differentiated(gradient: Tensor, names: Names) -> Tensor:
    """The tensor whose gradient this is."""
    return Tensor(names.adjoints[gradient.name][0], gradient.shape)


def split_samples(node: Component) -> tuple[list[Affine], list[Affine]]:
    """The subscripts on sample axes, which are written (n) above, and the others."""
    samples = [s for s, e in zip(node.subscripts, node.tensor.shape, strict=True) if e == "N"]
    return samples, [s for s, e in zip(node.subscripts, node.tensor.shape, strict=True) if e != "N"]


def bounded(*exprs: Expr) -> Iterable[Index]:
    """The indices whose extents a subscript in the expressions shows."""
    for c in components(*exprs):
        if c.pad is None:
            for s, e in zip(c.subscripts, c.tensor.shape, strict=True):
                if (index := s.plain) is not None and index.extent == e:
                    yield index


def binders(indices: Sequence[Index], body: Expr, names: Names) -> str:
    """The indices below a big operator; p<2 where no subscript shows the extent, here or in the same lemma."""
    shown = {*names.bounded, *bounded(body)}
    parts = [index_name(i.name) + ("" if i in shown else f"<{i.extent}") for i in indices]
    return (", " if any(len(p.rstrip(PRIMES)) > 1 for p in parts) else ",").join(parts)


# --- numbers in place of letters ----------------------------------------------------------------

OMITTED = Tensor("…", ())
"""What a component of a worked line stands for where it is terms left out; any other is a number that has a letter."""
MINUS = "−"
"""The function of a worked line that turns the sign of its argument: the minus of a − b, not that of a number."""


@iterative
def worked(node: Expr, e: bool, style: Style) -> Steps[Piece]:
    """Numbers, with a dot for every product; `e` says whether that letter is Euler's number."""
    match node:
        case Constant(value=Fraction() as value):
            piece = value_of(value, style)
            return piece if value < 0 or value.denominator == 1 else Piece(piece.text, QUOTIENT)
        case Component(tensor=tensor):
            return Piece(style.token("…") if tensor == OMITTED else style.name(tensor.name))
        case Power(base=base, exponent=exponent):
            inner: Piece = yield base, e, style
            return power_of(inner, exponent, style)
        case Apply(function=function, arguments=(argument,)) if function == MINUS:
            return signed(True, (yield argument, e, style), style)
        case Apply(function=function, arguments=arguments):
            pieces: list[Piece] = []
            for argument in arguments:
                pieces.append((yield argument, e, style))
            return application(function, pieces, style, e)
        case Add(terms=terms):
            pieces = []
            for term in terms:
                pieces.append((yield term, e, style))
            return total(pieces, style)
        case Multiply(factors=factors):
            first: Piece = yield factors[0], e, style
            text = first.unsigned or at(first, PRODUCT, style)
            for factor in factors[1:]:
                piece = yield factor, e, style
                text += f" {style.token('·')} {at(piece, PRODUCT, style)}"
            return signed(first.unsigned is not None, Piece(text, PRODUCT), style)
        case _:
            raise TypeError(f"no numbers known for {type(node).__name__}")
