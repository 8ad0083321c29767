"""Writing matrix forms and forms in planes, and the check of their shapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from chainrule.derive import matrix as m
from chainrule.derive import planes as pl
from chainrule.derive.lemma import adjoint_of
from chainrule.ir.expr import LOSS, Component, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.walk import Steps, iterative
from chainrule.render.component import component, differentiated, expression, loss_letter, partial, split_samples
from chainrule.render.names import Names
from chainrule.render.pieces import (
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
)
from chainrule.render.styles import ATOM, POWER, PRIMES, PRODUCT, Piece, Style, at


def nabla(gradient: Tensor, names: Names, style: Style) -> Piece:
    signal = names.signal(gradient)
    if signal is not None:
        return Piece(script(signal, gradient, (), "", style))
    known = names.gradient(gradient)
    assert known is not None, f"{gradient.name} is no gradient"
    symbol, share = known
    if not gradient.shape:
        return component(Component(gradient, ()), names, style)
    below = script(names.matrix_symbol(gradient, symbol), differentiated(gradient, names), (), "", style)
    piece = Piece(f"{style.script(style.token('∇'), (), below)} {loss_letter(names, style)}")
    return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else Piece(piece.text, POWER, True)


@iterative
def matrix(form: m.Matrix, names: Names, style: Style) -> Steps[Piece]:
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
                return nabla(adjoint_of(wrt), names, style)
            letter = names.jacobians.get((of.name, wrt.name))
            if letter:
                return Piece(style.script(style.name("J"), (), style.name(letter)))
            return partial(
                script(names.symbol(of), of, (), "", style), script(names.symbol(wrt), wrt, (), "", style), style
            )
        case m.Fill(value=value, shape=shape):
            if value == 1 and 1 in shape and shape != (1, 1):
                column = style.bold_one()
                return Piece(column if shape[1] == 1 else style.power(column, "ᵀ").text)
            return rational(value, style)
        case m.Scalar(name=name):
            return Piece(style.name("π" if name == "pi" else name))
        case m.Transpose(of=of):
            inner = yield of, names, style
            if isinstance(of, m.Symbol) and names.matrix_layer(of.tensor):
                symbol = names.matrix_symbol(of.tensor, names.signal(of.tensor) or names.symbol(of.tensor))
                return Piece(script(symbol, of.tensor, (), "", style, transposed=True))
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
            return signed(flip != other, Piece(f"{before} {after}", PRODUCT, second.open), style)
        case m.Hadamard(factors=parts):
            pieces: list[Piece] = []
            for part in parts:
                pieces.append((yield part, names, style))
            return Piece(f" {style.token('⊙')} ".join(at(p, POWER, style) for p in pieces), PRODUCT)
        case m.Plus(terms=parts):
            pieces = []
            for part in parts:
                piece: Piece = rational(part.value, style) if isinstance(part, m.Fill) else (yield part, names, style)
                pieces.append(piece)
            return total(pieces, style)
        case m.Scale(number=number, scalars=scalars, of=of):
            inner = yield of, names, style
            below: list[Piece] = []
            row: list[Piece] = []
            for scalar, exponent in scalars:
                piece: Piece = yield scalar, names, style
                if exponent < 0:
                    below.append(piece if exponent == -1 else power_of(piece, -exponent, style))
                else:
                    row.append(piece if exponent == 1 else power_of(piece, exponent, style))
            if not (isinstance(of, m.Fill) and of.shape == (1, 1) and of.value == 1 and row):
                row.append(inner)
            if abs(number) != 1 or below:
                row.insert(0, coefficient(number, below, style))
            return signed(number < 0, row_of(row, style), style)
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
            return application(function, pieces, style, elementwise=True)


def _block(form: m.Block, names: Names, style: Style) -> Piece:
    """The symbol with the subscripts that are left, S_h; vec(y) where axes are run together."""
    tensor = form.tensor
    places = [(s, e) for s, e in zip(form.at, form.view, strict=True) if s is not None]
    if not places:
        piece = _matrix_symbol(tensor, names, style)
    else:
        samples = [s for s, e in places if e == SAMPLES]
        lower = subscripts_of([s for s, e in places if e != SAMPLES])
        gradient = None if names.signal(tensor) else names.gradient(tensor)
        symbol = names.signal(tensor) or (gradient[0] if gradient else names.symbol(tensor))
        piece = Piece(script(symbol, tensor, samples, lower, style))
        if gradient:
            below = f"{style.script(style.token('∇'), (), piece.text)} {script(names.loss, LOSS, (), '', style)}"
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
        return power_of(word, exponent, style)
    return style.power(at(word, ATOM, style), "⊙" + str(exponent).replace("-", "−"))


def _matrix_symbol(tensor: Tensor, names: Names, style: Style) -> Piece:
    signal = names.signal(tensor)
    if signal is not None:
        return Piece(script(signal, tensor, (), "", style))
    if names.gradient(tensor) is not None:
        return nabla(tensor, names, style)
    return Piece(script(names.matrix_symbol(tensor, names.symbol(tensor)), tensor, (), "", style))


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
def planes(form: pl.Form, names: Names, style: Style) -> Steps[Piece]:
    inner: list[Piece] = []
    for part in pl.parts(form):
        inner.append((yield part, names, style))
    match form:
        case pl.Plane():
            return _plane(form, names, style)
        case pl.Number(value=value):
            return expression(value, names, style)
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
            return total(inner, style)
        case pl.Scale(number=number, scalars=scalars, of=of):
            below, row = list[Piece](), list[Piece]()
            for scalar, piece in zip((*scalars, of), inner, strict=True):
                match scalar:
                    case pl.Entrywise(function="power", arguments=(pl.Number(value=size),), exponent=exponent) if (
                        exponent == -1
                    ):
                        below.append(expression(size, names, style))
                    case _:
                        row.append(piece)
            if abs(number) != 1 or below:
                row.insert(0, coefficient(number, below, style))
            return signed(number < 0, row_of(row, style), style)
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
                return power_of(inner[0], exponent, style)
            return style.power(at(inner[0], ATOM, style), "⊙" + str(exponent).replace("-", "−"))
        case pl.Entrywise(function=function):
            return application(function, inner, style, elementwise=True)


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
    samples, subscripts = split_samples(Component(replace(tensor, shape=shape), plane.subscripts))
    lower = subscripts_of(subscripts)
    signal = names.signal(tensor)
    if signal is not None:
        return Piece(script(signal, tensor, samples, lower, style))
    gradient = names.gradient(tensor)
    if gradient is not None and not plane.axes:
        return component(plane.read, names, style)
    symbol, share = gradient or (names.symbol(tensor), "")
    if not plane.subscripts:
        symbol = names.matrix_symbol(tensor, symbol)
    text = script(symbol, tensor if gradient is None else differentiated(tensor, names), samples, lower, style)
    if gradient is None:
        return Piece(text)
    piece = Piece(f"{style.script(style.token('∇'), (), text)} {loss_letter(names, style)}", POWER, True)
    return Piece(style.script(style.parenthesise(piece.text), (), share)) if share else piece
