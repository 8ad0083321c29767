"""Writing concise forms, operator by operator, and the check of their shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from chainrule.derive.lemma import adjoint_of
from chainrule.forms.nodes import Entries, Fill, Form, Jacobian, Number, Ones, Operation, Sum, View, operation, walk
from chainrule.forms.operators import matrix_shape, shape
from chainrule.ir.expr import Component, Constant, Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.walk import Steps, iterative
from chainrule.render.component import binders, component, differentiated, expression, loss_letter, number, partial
from chainrule.render.names import WORDS, Names
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

SIGNS = {"hadamard": "⊙", "correlate": "⋆", "convolve": "∗"}
"""Operators that stand between their operands."""


def nabla(gradient: Tensor, names: Names, style: Style) -> Piece:
    signal = names.signal(gradient)
    if signal is not None:
        return Piece(script(signal, gradient, (), "", style))
    known = names.gradient(gradient)
    assert known is not None, f"{gradient.name} is no gradient"
    if not gradient.shape:
        return component(Component(gradient, ()), names, style)
    symbol = names.matrix_symbol(gradient, known[0])
    return _nabla(script(symbol, differentiated(gradient, names), (), "", style), known[1], names, style)


def _nabla(below: str, share: str, names: Names, style: Style) -> Piece:
    text = f"{style.script(style.token('∇'), (), below)} {loss_letter(names, style)}"
    return Piece(style.script(style.parenthesise(text), (), share)) if share else Piece(text, POWER, True)


@iterative
def concise(form: Form, names: Names, style: Style) -> Steps[Piece]:
    match form:
        case View():
            return _view(form, names, style)
        case Entries(axes=axes, entry=entry):
            entry_: Piece = expression(entry, names, style)
            if not axes:
                return entry_
            lower = style.token(binders(axes, entry, names))
            return Piece(style.script(style.parenthesise(entry_.text), (), lower))
        case Number(value=value):
            return expression(value, names, style)
        case Fill(value=value, shape=extents):
            if value == 1 and 1 in extents and extents != (1, 1):
                column = style.bold_one()
                return Piece(column if extents[1] == 1 else style.power(column, "ᵀ").text)
            return rational(value, style)
        case Ones(shape=extents):
            return Piece(style.script(style.bold_one(), (), style.token("×".join(map(str, extents)))))
        case Jacobian(of=of, wrt=wrt):
            return _jacobian(of, wrt, names, style)
        case Sum(indices=indices, inner=body):
            inner: Piece = yield body, names, style
            tokens = [index_name(i.name) for i in indices]
            lower = (", " if any(len(t.rstrip(PRIMES)) > 1 for t in tokens) else ",").join(tokens)
            return Piece(style.operator("Σ", style.token(lower), at(inner, PRODUCT, style)), PRODUCT, True)
        case Operation(name="matmul", of=(left, right)):
            if isinstance(left, Fill) and left.shape == (1, 1) and left.value == 1:
                return (yield right, names, style)
            (flip, left), (other, right) = _unsigned(left), _unsigned(right)
            first: Piece = yield left, names, style
            second: Piece = yield right, names, style
            if _is(right, "matmul") and second.unsigned is not None:
                other, second = not other, Piece(second.unsigned, PRODUCT, second.open)
            bare = _is(left, "matmul") and first.precedence == PRODUCT and not first.open
            before = first.text if bare else at(first, ATOM, style)
            bare = _is(right, "matmul") and second.precedence == PRODUCT
            after = second.text if bare else at(second, POWER, style)
            text = f"{before}{style.join(before, after)}{after}"
            return signed(flip != other, Piece(text, PRODUCT, second.open), style)
        case Operation(name="logsumexp_rows" | "logsumexp" | "logsumexp_all" as name, of=(of,)):
            rows, columns = (length.extent({}) for length in matrix_shape(of))
            sums = operation("apply", of, function="exp")
            if name != "logsumexp":
                sums = operation("matmul", sums, Fill(Fraction(1), (columns, 1)))
            if name != "logsumexp_rows":
                sums = operation("matmul", Fill(Fraction(1), (1, rows)), sums)
            return (yield operation("apply", sums, function="log"), names, style)
        case Operation():
            pieces: list[Piece] = []
            for part in form.of:
                pieces.append((yield part, names, style))
            return _operation(form, pieces, names, style)


def _operation(form: Operation, pieces: Sequence[Piece], names: Names, style: Style) -> Piece:
    inner = pieces[0]
    match form.name:
        case "transpose":
            of = form.of[0]
            if isinstance(of, View) and not of.fixed and not of.joined and names.matrix_layer(of.tensor):
                symbol = names.matrix_symbol(of.tensor, names.signal(of.tensor) or names.symbol(of.tensor))
                return Piece(script(symbol, of.tensor, (), "", style, transposed=True))
            return style.power(at(inner, ATOM, style), "ᵀ")
        case "hadamard" | "correlate" | "convolve":
            sign = f" {style.token(SIGNS[form.name])} "
            return Piece(sign.join(at(p, POWER, style) for p in pieces), PRODUCT, pieces[-1].open)
        case "plus":
            # A matrix of one number is that number: 1 − z.
            pairs = zip(form.of, pieces, strict=True)
            return total([number(of.value, names, style) if isinstance(of, Fill) else p for of, p in pairs], style)
        case "scale":
            return _scaled(form, pieces, names, style)
        case "power":
            exponent = form["exponent"]
            of = form.of[0]
            scripted = isinstance(of, View) and not of.fixed and names.matrix_layer(of.tensor)
            if all(length.known == 1 for length in shape(of)):
                return power_of(Piece(inner.text, PRODUCT) if scripted else inner, exponent, style)
            base = at(Piece(inner.text, PRODUCT) if scripted else inner, ATOM, style)
            return style.power(base, "⊙" + str(exponent).replace("-", "−"))
        case "apply" | "apply2":
            return application(form["function"], pieces, style, e=False)
        case "total":
            rank = len(shape(form.of[0]))
            if rank > 2:
                return _map("sum", "", inner, style)
            ones = style.power(style.bold_one(), "ᵀ").text
            text = f"{ones} {at(inner, ATOM, style)}" + (f" {style.bold_one()}" if rank == 2 else "")
            return Piece(text, PRODUCT)
        case "pad":
            return _margin(form, inner, style)
        case "up" | "down":
            factors = form["factor"]
            steps = str(factors[0]) if len(set(factors)) == 1 else f"({','.join(map(str, factors))})"
            return Piece(style.sampled(at(inner, ATOM, style), "↑" if form.name == "up" else "↓", steps), POWER)
        case "maxpool" | "argmaxpool":
            apart = "" if set(form["hole"]) == {1} else "↑" + ",".join(map(str, form["hole"]))
            return _map(form.name, "×".join(map(str, form["window"])) + apart, inner, style)
        case "unpool":
            word = style.script(style.word("unpool"), (), pieces[1].text)
            return Piece(word + style.parenthesise(inner.text))
        case name:
            word = WORDS[name]
            if name in ("max", "argmax") and matrix_shape(form.of[0])[1].known == 1:
                word = name
            return Piece(style.call(word, "", [inner.text]))


def _is(form: Form, name: str) -> bool:
    return isinstance(form, Operation) and form.name == name


def _unsigned(form: Form) -> tuple[bool, Form]:
    """Whether the form is minus another, and that one."""
    match form:
        case Operation(name="scale", of=(of, Number(value=Constant(value=value)))) if value == -1:
            return True, of
        case _:
            return False, form


def _scaled(form: Operation, pieces: Sequence[Piece], names: Names, style: Style) -> Piece:
    """A number over sizes, then the other scalars, then what they multiply."""
    number, below, row = Fraction(1), list[Piece](), list[Piece]()
    for scalar, piece in zip(form.of[1:], pieces[1:], strict=True):
        match scalar:
            case Number(value=Constant(value=Fraction() as value)):
                number *= value
            case Operation(name="power", of=(base,)) if scalar["exponent"] < 0 and not _varies(base):
                inverse = concise(base, names, style)
                below.append(inverse if scalar["exponent"] == -1 else power_of(inverse, -scalar["exponent"], style))
            case _:
                row.append(Piece(style.parenthesise(piece.text)) if _is(scalar, "matmul") else piece)
    of = form.of[0]
    if not (isinstance(of, Fill) and of.shape == (1, 1) and of.value == 1 and row):
        row.append(pieces[0])
    elif _is(form.of[-1], "matmul"):
        row[-1] = pieces[-1]
    if abs(number) != 1 or below:
        row.insert(0, coefficient(number, below, style))
    return signed(number < 0, row_of(row, style), style)


def _varies(form: Form) -> bool:
    """Whether a number is another one for other subscripts."""
    return any(isinstance(node, View) and node.fixed for node in walk(form))


def _jacobian(of: Tensor, wrt: Tensor, names: Names, style: Style) -> Piece:
    if not of.shape:
        return nabla(adjoint_of(wrt), names, style)
    letter = names.jacobians.get((of.name, wrt.name))
    if letter:
        return Piece(style.script(style.name("J"), (), style.name(letter)))
    return partial(script(names.symbol(of), of, (), "", style), script(names.symbol(wrt), wrt, (), "", style), style)


def _map(word: str, lower: str, argument: Piece, style: Style) -> Piece:
    return Piece(style.script(style.word(word), (), style.token(lower)) + style.parenthesise(argument.text))


def _margin(form: Operation, inner: Piece, style: Style) -> Piece:
    """pad_1, or pad_{1|0} where other cells come after than before, axis by axis where they differ; crop for fewer."""
    amounts = list(zip(form["before"], form["after"], strict=True))
    known = [a for pair in amounts for a in pair if a is not None]
    cut = max(known) <= 0
    sign = -1 if cut else 1
    texts: list[str] = []
    for pair in amounts:
        ends = ["·" if a is None else str(sign * a).replace("-", "−") for a in pair]
        texts.append(ends[0] if ends[0] == ends[1] else "|".join(ends))
    return _map("crop" if cut else "pad", texts[0] if len(set(texts)) == 1 else ",".join(texts), inner, style)


def _view(view: View, names: Names, style: Style) -> Piece:
    """The tensor with the subscripts that are left, x_c, and for a gradient ∇_{x_c} ℓ; vec(x) where axes are run
    together."""
    tensor, signal = view.tensor, names.signal(view.tensor)
    samples = [s for s, e in view.fixed if e == SAMPLES]
    lower = subscripts_of([s for s, e in view.fixed if e != SAMPLES], some=True)
    gradient = None if signal else names.gradient(tensor)
    if gradient is not None and None not in view.at and view.view == tensor.shape:
        return component(Component(tensor, tuple(s for s, _ in view.fixed), view.pad), names, style, among=True)
    symbol = signal or (gradient[0] if gradient else names.symbol(tensor))
    if not view.fixed and signal is None:
        symbol = names.matrix_symbol(tensor, symbol)
    of = differentiated(tensor, names) if gradient else tensor
    text = script(symbol, of, samples, lower, style, bars=names.bars(tensor, view.pad))
    piece = _nabla(text, gradient[1], names, style) if gradient else Piece(text)
    return Piece(style.call("vec", "", [piece.text])) if view.joined else piece


def shape_check(form: Form) -> str | None:
    """(3×1)(1×2) = 3×2 ✓ for a matrix product."""
    if _is(form, "scale"):
        assert isinstance(form, Operation)
        return shape_check(form.of[0])
    if not _is(form, "matmul"):
        return None
    shapes = "".join(f"({s})" for s in _shapes(form))
    return f"{shapes} = {_shape(form)} ✓"


def _shapes(form: Form) -> Iterable[str]:
    if isinstance(form, Operation) and form.name == "matmul":
        for part in form.of:
            yield from _shapes(part)
    else:
        yield _shape(form)


def _shape(form: Form) -> str:
    return "×".join(map(str, matrix_shape(form)))


