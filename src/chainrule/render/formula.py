"""Writing formulas: one walk over expressions and one over matrix forms, for any style.

The walk knows precedence and nothing else; a style knows how a fraction, a script or a big operator
looks. All tokens are Unicode; the LaTeX style translates them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chainrule.derive import matrix as m
from chainrule.derive import planes as pl
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.trace import LOSS
from chainrule.ir.expr import (
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
from chainrule.ir.functions import split_derivative
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.walk import Steps, components, iterative
from chainrule.render.names import Names, Symbol
from chainrule.render.styles import ATOM, NEGATIVE, POWER, PRIMES, PRODUCT, QUOTIENT, SUM, Piece, Style, at


@dataclass(frozen=True, slots=True)
class Nabla:
    """A gradient tensor as a whole: ∇_W ℓ, or the δ it is written as."""

    gradient: Tensor


Exact = Fraction | float


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values: one number, a column (one tuple of numbers), or the rows of a matrix; a float is rounded."""

    values: Exact | tuple[Exact, ...] | tuple[tuple[Exact, ...], ...]


@dataclass(frozen=True, slots=True)
class Blank:
    """A line to write on, about as many letters wide."""

    width: int


@dataclass(frozen=True, slots=True)
class Worked:
    """A line with numbers in place of its letters: ½ · ½ · (1 − ½). A component in it stands for terms left out."""

    expr: Expr


Part = Expr | m.Matrix | pl.Form | Nabla | Numbers | Worked | Blank | str


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
            return _nabla(gradient, names, style)
        case Numbers(values=values):
            return _numbers(values, style)
        case Worked(expr=expr):
            return _worked(expr, style)
        case Blank(width=width):
            return Piece(style.blank(width))
        case Expr():
            return _expression(part, names, style)
        case _:
            return _planes(part, names, style) if isinstance(part, pl.Form) else _matrix(part, names, style)


DIGITS = 4
"""Significant digits of a number that is not exact."""
LONGEST = 1000
"""The greatest denominator of a fraction that is written as one."""


def _numbers(values: Exact | tuple[Exact, ...] | tuple[tuple[Exact, ...], ...], style: Style) -> Piece:
    if not isinstance(values, tuple):
        return _value(values, style)
    rows = [tuple(_value(v, style).text for v in (row if isinstance(row, tuple) else (row,))) for row in values]
    column = not any(isinstance(row, tuple) for row in values)
    return Piece(style.parenthesise(f"{style.token(',')} ".join(text for (text,) in rows)) if column else style.rows(rows))


def _value(value: Exact, style: Style) -> Piece:
    """An exact number as it is, any other rounded to DIGITS significant digits."""
    if isinstance(value, Fraction) and value.denominator <= LONGEST:
        return _number(value, style)
    mantissa, _, exponent = f"{abs(float(value)):.{DIGITS}g}".partition("e")
    digits = style.token(mantissa)
    if exponent:
        power = style.power(style.token("10"), str(int(exponent)).replace("-", "−"))
        digits = f"{digits} {style.token('·')} {power.text}"
    if value < 0:
        return Piece(style.token("−") + digits, NEGATIVE, False, digits)
    return Piece(digits, PRODUCT if exponent else ATOM)


MINUS = "−"
"""The function of a worked line that turns the sign of its argument: the minus of a − b, not that of a number."""


@iterative
def _worked(node: Expr, style: Style) -> Steps[Piece]:
    """Numbers, with a dot for every product."""
    match node:
        case Constant(value=Fraction() as value):
            piece = _value(value, style)
            return piece if value < 0 or value.denominator == 1 else Piece(piece.text, QUOTIENT)
        case Component():
            return Piece(style.token("…"))
        case Power(base=base, exponent=exponent):
            inner: Piece = yield base, style
            return _power(inner, exponent, style)
        case Apply(function=function, arguments=(argument,)) if function == MINUS:
            return _signed(True, (yield argument, style), style)
        case Apply(function=function, arguments=arguments):
            pieces: list[Piece] = []
            for argument in arguments:
                pieces.append((yield argument, style))
            return _application(function, pieces, style)
        case Add(terms=terms):
            pieces = []
            for term in terms:
                pieces.append((yield term, style))
            return _total(pieces, style)
        case Multiply(factors=factors):
            first: Piece = yield factors[0], style
            text = first.unsigned or at(first, PRODUCT, style)
            for factor in factors[1:]:
                piece = yield factor, style
                text += f" {style.token('·')} {at(piece, PRODUCT, style)}"
            return _signed(first.unsigned is not None, Piece(text, PRODUCT), style)
        case _:
            raise TypeError(f"no numbers known for {type(node).__name__}")


# --- parts that both walks share ----------------------------------------------------------------


def index_name(name: str) -> str:
    """i, and i′, i″, i‴, i‴′, … for the i1, i2, i3, i4, … that the engine makes."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    if not stem or not digits or digits.startswith("0") or len(digits) > 2:
        return name
    threes, rest = divmod(int(digits), len(PRIMES))
    return stem + PRIMES[-1] * threes + (PRIMES[rest - 1] if rest else "")


def affine_token(subscript: Affine) -> str:
    """2i+p−1, as it stands in a subscript."""
    text = ""
    for index, c in subscript.terms:
        sign = ("−" if c < 0 else "+") if text else ("−" if c < 0 else "")
        text += sign + (str(abs(c)) if abs(c) != 1 else "") + index_name(index.name)
    if not text:
        return str(subscript.offset).replace("-", "−")
    if subscript.offset:
        text += f"{'−' if subscript.offset < 0 else '+'}{abs(subscript.offset)}"
    return text


def _subscripts(subscripts: Sequence[Affine]) -> str:
    parts = [affine_token(s) for s in subscripts]
    single = all(len(p.rstrip(PRIMES)) == 1 for p in parts)
    return ("" if single else ",").join(parts)


def _script(
    symbol: Symbol, tensor: Tensor, samples: Sequence[Affine], lower: str, style: Style, *, bar: bool = False,
    transposed: bool = False,
) -> str:
    """The symbol of a tensor with its layer, its samples and its other subscripts."""
    stem = symbol.stem.removesuffix("*")
    base = style.bar(stem) if bar else style.name(stem)
    upper = [style.token("*")] if stem != symbol.stem else []
    if symbol.layer:
        layer = style.token(",").join(_layer(part, style) for part in symbol.layer.split(","))
        upper.append(style.token("[") + layer + style.token("]"))
    upper += [style.token(f"({affine_token(s)})") for s in samples] + ([style.token("ᵀ")] if transposed else [])
    return style.symbol(style.script(base, upper, style.token(lower)), tensor)


def _layer(part: str, style: Style) -> str:
    """A layer's number, or the number's distance from ℓ; or its label."""
    return style.token(part) if part[:1] in "ℓ0123456789" else style.name(part)


def _number(value: Fraction, style: Style) -> Piece:
    piece = Piece(style.token(str(abs(value.numerator))))
    if value.denominator != 1:
        piece = style.fraction(piece, Piece(style.token(str(value.denominator))))
    return Piece(style.token("−") + piece.text, NEGATIVE, False, piece.text) if value < 0 else piece


def _coefficient(number: Fraction, below: Sequence[Piece], style: Style) -> Piece:
    """|number| over a product of scalars."""
    above = Piece(style.token(str(abs(number.numerator))))
    under = ([Piece(style.token(str(number.denominator)))] if number.denominator != 1 else []) + list(below)
    return style.fraction(above, _row(under, style)) if under else above


def _row(pieces: Sequence[Piece], style: Style) -> Piece:
    """A product by juxtaposition; a dot stands before a number."""
    if len(pieces) == 1:
        return pieces[0]
    text = ""
    for position, piece in enumerate(pieces):
        last = position == len(pieces) - 1
        bare = (piece.precedence > QUOTIENT or piece.precedence == PRODUCT) and (last or not piece.open)
        word = piece.text if bare else style.parenthesise(piece.text)
        text += (style.join(text, word) if text else "") + word
    return Piece(text, PRODUCT, pieces[-1].open)


def _signed(negative: bool, piece: Piece, style: Style) -> Piece:
    if not negative:
        return piece
    return Piece(style.token("−") + at(piece, PRODUCT, style), NEGATIVE, piece.open, at(piece, PRODUCT, style))


def _total(pieces: Sequence[Piece], style: Style) -> Piece:
    text = ""
    for piece in pieces:
        if not text:
            text = at(piece, NEGATIVE, style)
        elif piece.unsigned is not None:
            text += f" {style.token('−')} {piece.unsigned}"
        else:
            text += f" {style.token('+')} {at(piece, PRODUCT, style)}"
    return Piece(text, SUM, pieces[-1].open)


def _power(base: Piece, exponent: Fraction, style: Style, sign: str = "") -> Piece:
    if exponent < 0:
        below = base if exponent == -1 else _power(base, -exponent, style, sign)
        return style.fraction(Piece(style.token("1")), below)
    if exponent == Fraction(1, 2) and not sign:
        return style.root(base)
    return style.power(at(base, ATOM, style), sign + str(exponent))


FUNCTIONS = {"sigmoid": "σ", "relu": "ReLU"}
"""Functions that are not written by their own names."""


def _application(function: str, arguments: Sequence[Piece], style: Style, elementwise: bool = False) -> Piece:
    base, argument = split_derivative(function)
    if function == "step":
        return Piece(style.bracket(f"{arguments[0].text} {style.token('>')} {style.token('0')}"))
    if function == "abs":
        return Piece(style.absolute(arguments[0].text))
    if function == "exp" and not elementwise:
        return style.exponential(arguments[0])
    primes = "" if argument is None else "′" if len(arguments) == 1 else f"′{argument + 1}"
    return Piece(style.call(FUNCTIONS.get(base, base), primes, [a.text for a in arguments]))


# --- expressions --------------------------------------------------------------------------------


@iterative
def _expression(node: Expr, names: Names, style: Style) -> Steps[Piece]:
    match node:
        case Constant(value=Fraction() as value):
            return _number(value, style)
        case Constant(value=value):
            return Piece(style.name("π" if value == "pi" else str(value)))
        case Size(extent=extent):
            return Piece(style.name(extent))
        case Component():
            return _component(node, names, style)
        case Delta(left=left, right=right):
            integer = isinstance(right, Component)
            other = _component(right, names, style).text if integer else style.token(affine_token(right))
            return Piece(style.bracket(f"{style.token(affine_token(left))} {style.token('=')} {other}"))
        case Guard(subscript=subscript, extent=extent):
            chain = ("0", "≤", affine_token(subscript), "<", str(extent))
            return Piece(style.bracket(" ".join(map(style.token, chain))))
        case Derivative(of=of, wrt=wrt):
            inner: Piece = yield of, names, style
            above = inner.text if isinstance(of, Component) else style.parenthesise(inner.text)
            return _partial(above, _component(wrt, names, style).text, style)
        case Power(base=base, exponent=exponent):
            inner = yield base, names, style
            return _power(_plain_base(base, inner, names), exponent, style)
        case Apply(function=function, arguments=arguments):
            pieces: list[Piece] = []
            for argument in arguments:
                pieces.append((yield argument, names, style))
            return _application(function, pieces, style)
        case Reduce(kind=kind, indices=indices, body=body):
            inner = yield body, names, style
            lower = style.token(_binders(indices, body, names))
            if kind == "sum":
                return Piece(style.operator("Σ", lower, at(inner, PRODUCT, style)), PRODUCT, True)
            if kind == "logsumexp":
                summand = style.exponential(inner)
                return Piece(style.operator("log Σ", lower, summand.text), PRODUCT, True)
            return Piece(style.operator(kind, lower, at(inner, ATOM, style)), PRODUCT, True)
        case Add(terms=terms):
            pieces = []
            for term in terms:
                pieces.append((yield term, names, style))
            return _total(pieces, style)
        case Multiply(factors=factors):
            pieces = []
            for factor in factors:
                inverse = isinstance(factor, Power) and factor.exponent < 0
                pieces.append((yield (_reciprocal(factor) if inverse else factor), names, style))
            return _product(factors, pieces, style)
        case _:
            raise TypeError(f"no formula known for {type(node).__name__}")


def _plain_base(base: Expr, piece: Piece, names: Names) -> Piece:
    """A component that has superscripts already is parenthesised before it gets an exponent."""
    if isinstance(base, Component) and names.has_upper(base):
        return Piece(piece.text, PRODUCT)
    return piece


def _reciprocal(factor: Expr) -> Expr:
    assert isinstance(factor, Power)
    return factor.base if factor.exponent == -1 else Power(factor.base, -factor.exponent)


def _product(factors: Sequence[Expr], pieces: Sequence[Piece], style: Style) -> Piece:
    """A leading number and the reciprocals of sizes become one coefficient; any other reciprocal goes
    below the factor before it."""
    first = factors[0]
    number = first.value if isinstance(first, Constant) and isinstance(first.value, Fraction) else None
    below: list[Piece] = []
    row: list[Piece] = []
    over: list[bool] = []
    for factor, piece in list(zip(factors, pieces, strict=True))[0 if number is None else 1 :]:
        if isinstance(factor, Power) and factor.exponent < 0:
            if isinstance(factor.base, Size):
                below.append(piece)
            elif over and over[-1]:
                row[-1] = style.fraction(row[-1], piece)
                over[-1] = False
            else:
                row.append(style.fraction(Piece(style.token("1")), piece))
                over.append(False)
        else:
            row.append(piece)
            over.append(isinstance(factor, Component | Apply | Add | Size) and piece.precedence == ATOM)
    minus = number is not None and number < 0
    if below or (number is not None and not (number == -1 and row)):
        row.insert(0, _coefficient(Fraction(1) if number is None else number, below, style))
    return _signed(minus, _row(row, style), style)


def _partial(above: str, below: str, style: Style) -> Piece:
    partial = style.token("∂")
    return style.fraction(Piece(f"{partial}{above}"), Piece(f"{partial}{below}"))


def _component(node: Component, names: Names, style: Style) -> Piece:
    samples, subscripts = split_samples(node)
    lower = _subscripts(subscripts)
    signal = names.signal(node.tensor)
    if signal is not None:
        return Piece(_script(signal, node.tensor, samples, lower, style, bar=node.pad is not None))
    gradient = names.gradient(node.tensor)
    if gradient is not None:
        of, share = gradient
        below = _script(of, _differentiated(node.tensor, names), samples, lower, style, bar=node.pad is not None)
        loss = _loss(names, style)
        piece = _partial(loss, below, style)
        return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else piece
    return Piece(_script(names.symbol(node.tensor), node.tensor, samples, lower, style, bar=node.pad is not None))


def _loss(names: Names, style: Style) -> str:
    return _script(names.loss, LOSS, (), "", style)


def _differentiated(gradient: Tensor, names: Names) -> Tensor:
    """The tensor whose gradient this is."""
    return Tensor(names.adjoints[gradient.name][0], gradient.shape)


def split_samples(node: Component) -> tuple[list[Affine], list[Affine]]:
    """The subscripts on sample axes, which are written (n) above, and the others."""
    samples = [s for s, e in zip(node.subscripts, node.tensor.shape, strict=True) if e == "N"]
    return samples, [s for s, e in zip(node.subscripts, node.tensor.shape, strict=True) if e != "N"]


def bounded(expr: Expr) -> Iterable[Index]:
    """The indices whose extents a subscript in the expression shows."""
    for c in components(expr):
        if c.pad is None:
            for s, e in zip(c.subscripts, c.tensor.shape, strict=True):
                if s.plain is not None and s.plain.extent == e:
                    yield s.plain


def _binders(indices: Sequence[Index], body: Expr, names: Names) -> str:
    """The indices below a big operator; p<2 where no subscript shows the extent, here or in the same lemma."""
    shown = {*names.bounded, *bounded(body)}
    parts = [index_name(i.name) + ("" if i in shown else f"<{i.extent}") for i in indices]
    return (", " if any(len(p.rstrip(PRIMES)) > 1 for p in parts) else ",").join(parts)


# --- matrix forms -------------------------------------------------------------------------------


def _nabla(gradient: Tensor, names: Names, style: Style) -> Piece:
    signal = names.signal(gradient)
    if signal is not None:
        return Piece(_script(signal, gradient, (), "", style))
    known = names.gradient(gradient)
    assert known is not None, f"{gradient.name} is no gradient"
    symbol, share = known
    if not gradient.shape:
        return _component(Component(gradient, ()), names, style)
    below = _script(names.matrix_symbol(gradient, symbol), _differentiated(gradient, names), (), "", style)
    piece = Piece(f"{style.script(style.token('∇'), (), below)} {_loss(names, style)}")
    return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else Piece(piece.text, POWER, True)


@iterative
def _matrix(form: m.Matrix, names: Names, style: Style) -> Steps[Piece]:
    match form:
        case m.Symbol(tensor=tensor):
            return _matrix_symbol(tensor, names, style)
        case m.Block():
            return _block(form, names, style)
        case m.OneHot(of=of):
            return Piece(style.call("onehot", "", [_block(of, names, style).text]))
        case m.Softmax(of=of):
            inner: Piece = yield of, names, style
            return Piece(style.call("softmax", "", [inner.text]))
        case m.Sum(indices=indices, of=of):
            inner = yield of, names, style
            lower = style.token(",".join(index_name(i.name) for i in indices))
            return Piece(style.operator("Σ", lower, at(inner, PRODUCT, style)), PRODUCT, True)
        case m.Jacobian(of=of, wrt=wrt):
            if not of.shape:
                return _nabla(adjoint_of(wrt), names, style)
            letter = names.jacobians.get((of.name, wrt.name))
            if letter:
                return Piece(style.script(style.name("J"), (), style.name(letter)))
            return _partial(
                _script(names.symbol(of), of, (), "", style), _script(names.symbol(wrt), wrt, (), "", style), style
            )
        case m.Fill(value=value, shape=shape):
            if value == 1 and 1 in shape and shape != (1, 1):
                column = style.bold_one()
                return Piece(column if shape[1] == 1 else style.power(column, "ᵀ").text)
            return _number(value, style)
        case m.Scalar(name=name):
            return Piece(style.name("π" if name == "pi" else name))
        case m.Transpose(of=of):
            inner = yield of, names, style
            if isinstance(of, m.Symbol) and names.matrix_layer(of.tensor):
                symbol = names.matrix_symbol(of.tensor, names.signal(of.tensor) or names.symbol(of.tensor))
                return Piece(_script(symbol, of.tensor, (), "", style, transposed=True))
            return style.power(at(inner, ATOM, style), "ᵀ")
        case m.Product(left=left, right=right):
            if isinstance(left, m.Fill) and left.shape == (1, 1) and left.value == 1:
                return (yield right, names, style)
            (flip, left), (other, right) = _unsigned(left), _unsigned(right)
            first: Piece = yield left, names, style
            second: Piece = yield right, names, style
            if isinstance(right, m.Product) and second.unsigned is not None:
                other, second = not other, Piece(second.unsigned, PRODUCT, second.open)
            bare = isinstance(left, m.Product) and first.precedence == PRODUCT and not first.open
            before = first.text if bare else at(first, ATOM, style)
            bare = isinstance(right, m.Product) and second.precedence == PRODUCT
            after = second.text if bare else at(second, POWER, style)
            return _signed(flip != other, Piece(f"{before} {after}", PRODUCT, second.open), style)
        case m.Hadamard(factors=parts):
            pieces: list[Piece] = []
            for part in parts:
                pieces.append((yield part, names, style))
            return Piece(f" {style.token('⊙')} ".join(at(p, POWER, style) for p in pieces), PRODUCT)
        case m.Plus(terms=parts):
            pieces = []
            for part in parts:
                piece: Piece = _number(part.value, style) if isinstance(part, m.Fill) else (yield part, names, style)
                pieces.append(piece)
            return _total(pieces, style)
        case m.Scale(number=number, scalars=scalars, of=of):
            inner = yield of, names, style
            below: list[Piece] = []
            row: list[Piece] = []
            for scalar, exponent in scalars:
                piece: Piece = yield scalar, names, style
                if exponent < 0:
                    below.append(piece if exponent == -1 else _power(piece, -exponent, style))
                else:
                    row.append(piece if exponent == 1 else _power(piece, exponent, style))
            if not (isinstance(of, m.Fill) and of.shape == (1, 1) and of.value == 1 and row):
                row.append(inner)
            if abs(number) != 1 or below:
                row.insert(0, _coefficient(number, below, style))
            return _signed(number < 0, _row(row, style), style)
        case m.Diagonal(of=of):
            inner = yield of, names, style
            return Piece(style.call("diag", "", [inner.text]))
        case m.Elementwise(function="power", arguments=(base,), exponent=Fraction() as exponent):
            inner = yield base, names, style
            return _elementwise_power(base, inner, exponent, names, style)
        case m.Elementwise(function=function, arguments=arguments):
            pieces = []
            for argument in arguments:
                pieces.append((yield argument, names, style))
            return _application(function, pieces, style, elementwise=True)


def _block(form: m.Block, names: Names, style: Style) -> Piece:
    """The symbol with the subscripts that are left, S_h; vec(y) where axes are run together."""
    tensor = form.tensor
    places = [(s, e) for s, e in zip(form.at, form.view, strict=True) if s is not None]
    if not places:
        piece = _matrix_symbol(tensor, names, style)
    else:
        samples = [s for s, e in places if e == SAMPLES]
        lower = _subscripts([s for s, e in places if e != SAMPLES])
        gradient = None if names.signal(tensor) else names.gradient(tensor)
        symbol = names.signal(tensor) or (gradient[0] if gradient else names.symbol(tensor))
        piece = Piece(_script(symbol, tensor, samples, lower, style))
        if gradient:
            below = f"{style.script(style.token('∇'), (), piece.text)} {_script(names.loss, LOSS, (), '', style)}"
            share = style.token(gradient[1])
            piece = Piece(style.script(style.parenthesise(below), (), share) if gradient[1] else below, POWER, True)
    if any(len(own) > 1 for own in form.axes):
        return Piece(style.call("vec", "", [piece.text]))
    return piece


def _unsigned(form: m.Matrix) -> tuple[bool, m.Matrix]:
    """Whether the form is minus another, and that one."""
    if isinstance(form, m.Scale) and form.number == -1 and not form.scalars:
        return True, form.of
    return False, form


def _elementwise_power(base: m.Matrix, inner: Piece, exponent: Fraction, names: Names, style: Style) -> Piece:
    scripted = isinstance(base, m.Symbol) and names.matrix_layer(base.tensor)
    word = Piece(inner.text, PRODUCT) if scripted else inner
    scalar = base.shape == (1, 1)
    if scalar:
        return _power(word, exponent, style)
    return style.power(at(word, ATOM, style), "⊙" + str(exponent).replace("-", "−"))


def _matrix_symbol(tensor: Tensor, names: Names, style: Style) -> Piece:
    signal = names.signal(tensor)
    if signal is not None:
        return Piece(_script(signal, tensor, (), "", style))
    if names.gradient(tensor) is not None:
        return _nabla(tensor, names, style)
    return Piece(_script(names.matrix_symbol(tensor, names.symbol(tensor)), tensor, (), "", style))


def shape_check(form: m.Matrix) -> str | None:
    """(3×1)(1×2) = 3×2 ✓ for a matrix product; the product's constructor has refused any other."""
    if isinstance(form, m.Scale):
        return shape_check(form.of)
    if not isinstance(form, m.Product):
        return None
    shapes = "".join(f"({s})" for s in _shapes(form))
    return f"{shapes} = {_shape(form)} ✓"


def _shapes(form: m.Matrix) -> Iterable[str]:
    if isinstance(form, m.Product):
        yield from _shapes(form.left)
        yield from _shapes(form.right)
    else:
        yield _shape(form)


def _shape(form: m.Matrix) -> str:
    return f"{form.shape[0]}×{form.shape[1]}"


# --- forms in planes ----------------------------------------------------------------------------


@iterative
def _planes(form: pl.Form, names: Names, style: Style) -> Steps[Piece]:
    inner: list[Piece] = []
    for part in pl.parts(form):
        inner.append((yield part, names, style))
    match form:
        case pl.Plane():
            return _plane(form, names, style)
        case pl.Number(value=value):
            return _expression(value, names, style)
        case pl.Ones(shape=shape):
            return Piece(style.script(style.bold_one(), (), style.token("×".join(map(str, shape)))))
        case pl.Pad():
            return _margin(form, inner[0], style)
        case pl.Up(factors=factors) | pl.Down(factors=factors):
            sign = "↑" if isinstance(form, pl.Up) else "↓"
            same = len(set(factors)) == 1
            steps = str(factors[0]) if same else f"({','.join(map(str, factors))})"
            return Piece(style.sampled(at(inner[0], ATOM, style), sign, steps), POWER)
        case pl.Correlate() | pl.Convolve():
            sign = style.token("⋆" if isinstance(form, pl.Correlate) else "∗")
            return Piece(f" {sign} ".join(at(p, POWER, style) for p in inner), PRODUCT, inner[-1].open)
        case pl.Extreme(position=position, window=window, holes=holes):
            apart = "" if set(holes) == {1} else "↑" + ",".join(map(str, holes))
            return _map("argmaxpool" if position else "maxpool", "×".join(map(str, window)) + apart, inner[0], style)
        case pl.Unpool():
            word = style.script(style.word("unpool"), (), inner[1].text)
            return Piece(word + style.parenthesise(inner[0].text))
        case pl.Hadamard():
            return Piece(f" {style.token('⊙')} ".join(at(p, POWER, style) for p in inner), PRODUCT, inner[-1].open)
        case pl.Plus():
            return _total(inner, style)
        case pl.Scale(number=number, scalars=scalars, of=of):
            below, row = list[Piece](), list[Piece]()
            for scalar, piece in zip((*scalars, of), inner, strict=True):
                match scalar:
                    case pl.Entrywise(function="power", arguments=(pl.Number(value=size),), exponent=exponent) if (
                        exponent == -1
                    ):
                        below.append(_expression(size, names, style))
                    case _:
                        row.append(piece)
            if abs(number) != 1 or below:
                row.insert(0, _coefficient(number, below, style))
            return _signed(number < 0, _row(row, style), style)
        case pl.Sum(indices=indices):
            tokens = [index_name(i.name) for i in indices]
            lower = (", " if any(len(t.rstrip(PRIMES)) > 1 for t in tokens) else ",").join(tokens)
            return Piece(style.operator("Σ", style.token(lower), at(inner[0], PRODUCT, style)), PRODUCT, True)
        case pl.Total(of=of):
            rank = max((len(node.axes) for node in pl.walk(of) if isinstance(node, pl.Plane)), default=0)
            if rank > 2:
                return _map("sum", "", inner[0], style)
            ones = style.power(style.bold_one(), "ᵀ").text
            text = f"{ones} {at(inner[0], ATOM, style)}" + (f" {style.bold_one()}" if rank == 2 else "")
            return Piece(text, PRODUCT)
        case pl.Entrywise(function="power", exponent=Fraction() as exponent):
            if not any(isinstance(node, pl.Plane) and node.axes for node in pl.walk(form)):
                return _power(inner[0], exponent, style)
            return style.power(at(inner[0], ATOM, style), "⊙" + str(exponent).replace("-", "−"))
        case pl.Entrywise(function=function):
            return _application(function, inner, style, elementwise=True)


def _map(word: str, lower: str, argument: Piece, style: Style) -> Piece:
    return Piece(style.script(style.word(word), (), style.token(lower)) + style.parenthesise(argument.text))


def _margin(form: pl.Pad, inner: Piece, style: Style) -> Piece:
    """pad_1, or pad_{1|0} where other cells come after than before, axis by axis where they differ; crop for fewer."""
    amounts = list(zip(form.before, form.after, strict=True))
    known = [a for pair in amounts for a in pair if a is not None]
    if form.idle:
        return inner
    cut = max(known) <= 0
    sign = -1 if cut else 1
    texts: list[str] = []
    for pair in amounts:
        ends = ["·" if a is None else str(sign * a).replace("-", "−") for a in pair]
        texts.append(ends[0] if ends[0] == ends[1] else "|".join(ends))
    return _map("crop" if cut else "pad", texts[0] if len(set(texts)) == 1 else ",".join(texts), inner, style)


def _plane(plane: pl.Plane, names: Names, style: Style) -> Piece:
    """The tensor with the subscripts that are left: x_c, and for a gradient ∇_{x_c} ℓ."""
    tensor = plane.read.tensor
    shape = tuple(e for k, e in enumerate(tensor.shape) if k not in plane.axes)
    samples, subscripts = split_samples(Component(Tensor(tensor.name, shape), plane.subscripts))
    lower = _subscripts(subscripts)
    signal = names.signal(tensor)
    if signal is not None:
        return Piece(_script(signal, tensor, samples, lower, style))
    gradient = names.gradient(tensor)
    if gradient is not None and not plane.axes:
        return _component(plane.read, names, style)
    symbol, share = gradient or (names.symbol(tensor), "")
    if not plane.subscripts:
        symbol = names.matrix_symbol(tensor, symbol)
    text = _script(symbol, tensor if gradient is None else _differentiated(tensor, names), samples, lower, style)
    if gradient is None:
        return Piece(text)
    piece = Piece(f"{style.script(style.token('∇'), (), text)} {_loss(names, style)}", POWER, True)
    return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else piece
