"""Reading equations from text. The grammar is that of Python's expressions, read with `ast` and never evaluated.

    u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]
    y[n, i<14] = max[p<2](pad(x, -inf)[n, 2*i + p - 1])
    y[n, 12*(c<3) + 4*(i<3) + (j<4)] = x[n, c, i, j]

The text is walked once and its nodes are built over unknown extents (`names`); then the extents are solved for
(`extents`) and put into the nodes.

What is written is what is built: `a + b + c` is one sum, `(a + b) + c` a sum in a sum. `a/b` is a product with the
power b**-1, `a/2` one with the constant 1/2, `a - b*c` a sum with the product of -1, b, c; `2/3` is one constant;
`mean[n](x)` is the sum times the reciprocal of the extent; `[x > 0]` is step(x).

Some spellings are read as others: `min[k](x)` as -max[k](-x), `argmin` likewise; `[a > b]` of values as step(a - b),
`[i <= j]` of indices as [0 <= j - i < J]; `M[id[n], k]`, the row that a tensor of integers chooses, as
sum[v]([v == id[n]] * M[v, k]).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from typing import NoReturn

from chainrule.errors import ShapeError
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
    ReduceKind,
    Tensor,
    multiply,
)
from chainrule.ir.functions import ABBREVIATIONS, CATALOGUE, arity, is_function
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.names import MINUS_ONE, Names, Scope, mean_factors, nearest, parts, without
from chainrule.ir.program import Equation
from chainrule.ir.source import Source, checked_text, guarded, lines, shorten
from chainrule.ir.walk import transform

__all__ = ["bound", "law", "mean_factors", "parse_equation", "parse_expression", "parse_program", "shorten"]

MAX_POWER = 64
REDUCTIONS: tuple[ReduceKind, ...] = ("sum", "max", "argmax", "logsumexp")
_OVER_INDICES = (*REDUCTIONS, "mean", "min", "argmin")
_CALLABLE = (*CATALOGUE, *ABBREVIATIONS, *_OVER_INDICES, "pad", "D")


class _Reader:
    """The grammar of expressions: one method to a construct, each from a node of `ast` to a node of ours."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.source = names.source
        self.error = names.source.error

    def expression(self, node: ast.expr, scope: Scope) -> Expr:
        value = self.source.literal(node)
        if value is not None:
            return Constant(value)
        match node:
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self.sum(node, scope)
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return multiply(self.factors(node, scope))
            case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
                return self.power(base, exponent, scope)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Multiply((MINUS_ONE, self.expression(operand, scope)))
            case ast.Name() | ast.Attribute():
                return self.name(node, scope)
            case ast.Subscript() if any(self.names.is_chosen(part, scope) for part in parts(node.slice)):
                return self.chosen(node, scope)
            case ast.Subscript():
                return self.names.component(node, scope)
            case ast.Call():
                return self.call(node, scope)
            case ast.List(elts=[ast.Compare() as comparison]):
                return self.bracket(comparison, scope)
            case ast.List():
                self.no_bracket(node)
            case _:
                self.source.refuse(node)

    def chain(
        self, node: ast.BinOp, operators: tuple[type[ast.operator], ...]
    ) -> list[tuple[ast.operator | None, ast.expr, bool]]:
        """The operands of a chain of left-associative operators, each with the operator before it and whether it is
        in parentheses. A left operand in parentheses starts elsewhere than the whole."""
        operands: list[tuple[ast.operator | None, ast.expr, bool]] = []
        while True:
            between = self.source.between(node.left.end_col_offset or 0, node.right.col_offset)
            operands.append((node.op, node.right, "(" in between))
            bare = node.left.col_offset == node.col_offset
            if not (bare and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, operators)):
                operands.append((None, node.left, not bare))
                return operands[::-1]
            node = node.left

    def sum(self, node: ast.BinOp, scope: Scope) -> Expr:
        terms: list[Expr] = []
        for operator, operand, enclosed in self.chain(node, (ast.Add, ast.Sub)):
            value = None if enclosed else self.source.rational(operand)
            if not isinstance(operator, ast.Sub):
                terms.append(self.expression(operand, scope))
            elif value is not None:
                terms.append(Constant(-value))
            elif isinstance(operand, ast.BinOp) and isinstance(operand.op, ast.Mult | ast.Div) and not enclosed:
                terms.append(Multiply((MINUS_ONE, *self.factors(operand, scope))))
            else:
                terms.append(Multiply((MINUS_ONE, self.expression(operand, scope))))
        return Add(tuple(terms))

    def factors(self, node: ast.BinOp, scope: Scope) -> list[Expr]:
        (_, head, enclosed), *operands = self.chain(node, (ast.Mult, ast.Div))
        one, other = self.source.literal(head), self.source.literal(operands[0][1])
        factors: list[Expr]
        if one is not None and other is not None and isinstance(operands[0][0], ast.Div):
            factors = [Constant(self.source.quotient(one, other))]
            operands = operands[1:]
        elif isinstance(head, ast.UnaryOp) and isinstance(head.op, ast.USub) and one is None and not enclosed:
            factors = [MINUS_ONE, self.expression(head.operand, scope)]
        else:
            factors = [self.expression(head, scope)]
        for operator, operand, _ in operands:
            value = self.source.literal(operand)
            if isinstance(operator, ast.Mult):
                factors.append(self.expression(operand, scope))
            elif value is not None:
                factors.append(Constant(self.source.quotient(Fraction(1), value)))
            else:
                factors.append(Power(self.expression(operand, scope), Fraction(-1)))
        return factors

    def power(self, base: ast.expr, exponent: ast.expr, scope: Scope) -> Expr:
        value = self.source.rational(exponent)
        if value is None:
            written, fix = self.source.cut(exponent), "write exp(y*log(x)) for x to the power y"
            if isinstance(base, ast.Name) and base.id == "e":
                fix = f"write exp({written})"
            self.error(f"the exponent {written} is no number", f"exponents are constant: x**2, x**(1/2); {fix}")
        if abs(value) > MAX_POWER:
            self.error(f"the exponent {shorten(str(value), 20)} is beyond ±{MAX_POWER}")
        return Power(self.expression(base, scope), value)

    def name(self, node: ast.expr, scope: Scope) -> Expr:
        name = self.names.spelled(node)
        assert name is not None
        if name == "pi" or name == "e":
            return Constant(name)
        if self.names.is_scalar(name):
            return self.names.component(node, scope)
        if name in self.names.named:
            return Constant(Fraction(self.names.named[name]))
        return self.names.bare(name, scope)

    def no_bracket(self, node: ast.expr) -> NoReturn:
        self.error(
            f"{self.source.cut(node)} is no bracket",
            "the brackets are [i == j], [v == id[n]], [0 <= i + p - 1 < 14], [i <= j] and [x > 0]",
        )

    def chosen(self, node: ast.Subscript, scope: Scope) -> Expr:
        """x[id[n], k], entries of x at places that tensors of integers say: Σ_v [v = id_n] x_vk."""
        if isinstance(node.value, ast.Call):
            self.error(f"a padded read {self.source.cut(node)} at a tensor's integers", "read the tensor itself")
        inner: dict[str, Index] = {}
        brackets: list[Expr] = []
        written = list(parts(node.slice))
        for place, part in enumerate(written):
            if self.names.is_chosen(part, scope):
                name = self.names.unused("v")
                inner[name] = self.names.bind(name, None)
                brackets.append(Delta(Affine.of(inner[name]), self.names.component(part, scope, True)))
                written[place] = ast.copy_location(ast.Name(name), part)
        plain = ast.Subscript(node.value, ast.Tuple(written) if len(written) > 1 else written[0])
        read = self.names.component(ast.copy_location(plain, node), {**scope, **inner})
        return Reduce("sum", tuple(inner.values()), Multiply((*brackets, read)))

    def bracket(self, node: ast.Compare, scope: Scope) -> Expr:
        names, literal = self.names, self.source.literal
        match node:
            case ast.Compare(left=zero, ops=[ast.LtE(), ast.Lt()], comparators=[at, end]) if literal(zero) == 0:
                return Guard(names.affine(at, scope), names.extent(end))
            case ast.Compare(left=left, ops=[_, *_] as ops, comparators=sides) if not any(
                isinstance(operator, ast.Eq) for operator in ops
            ):
                pairs = zip((left, *sides), ops, sides, strict=False)
                return multiply([self.comparison(node, *pair, scope) for pair in pairs])
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                index = names.affine(left, scope)
                if isinstance(right, ast.Name) and names.is_integer(right.id):
                    names.is_index(right, scope)  # or the tensor: refused where it may be either
                is_tensor = isinstance(right, ast.Attribute) or names.is_chosen(right, scope)
                return Delta(index, names.component(right, scope, True) if is_tensor else names.affine(right, scope))
            case _:
                self.no_bracket(node)

    def comparison(
        self, node: ast.Compare, left: ast.expr, operator: ast.cmpop, right: ast.expr, scope: Scope
    ) -> Expr:
        """1 where left < right, or as the operator says: of indices a bracket, of values a step."""
        names = self.names
        if isinstance(operator, ast.Gt | ast.GtE):
            left, right = right, left
        match operator, names.is_index(left, scope) or names.is_index(right, scope):
            case ast.NotEq(), True:
                return without(Delta(names.affine(left, scope), names.affine(right, scope)))
            case (ast.Lt() | ast.Gt() | ast.LtE() | ast.GtE()), True:
                between = names.affine(right, scope) - names.affine(left, scope)
                between -= Affine((), int(isinstance(operator, ast.Lt | ast.Gt)))
                return Guard(between, names.extents.unknown())  # as far as it goes: an extent that settling finds
            case (ast.Lt() | ast.Gt()), False:
                return self.step(right, left, scope)
            case (ast.LtE() | ast.GtE()), False:
                return without(self.step(left, right, scope))
            case _:
                self.no_bracket(node)

    def step(self, greater: ast.expr, less: ast.expr, scope: Scope) -> Expr:
        """1 where one value is greater than another."""
        one, other = self.source.literal(greater), self.source.literal(less)
        if other == 0:
            return Apply("step", (self.expression(greater, scope),))
        if one == 0:
            return Apply("step", (Multiply((MINUS_ONE, self.expression(less, scope))),))
        minus = Multiply((MINUS_ONE, self.expression(less, scope))) if other is None else Constant(-other)
        return Apply("step", (Add((self.expression(greater, scope), minus)),))

    def call(self, node: ast.Call, scope: Scope) -> Expr:
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self.error(f"keyword or starred arguments in {self.source.cut(node)}", "write plain arguments")
        if isinstance(node.func, ast.Subscript) and isinstance(node.func.value, ast.Name):
            return self.reduction(node.func.value.id, parts(node.func.slice), node.args, scope)
        name, count = self.names.spelled(node.func), len(node.args)
        if name is None:
            self.error(f"{self.source.cut(node.func)} cannot be called")
        if name == "D":
            return self.derivative(node, scope)
        if name in ABBREVIATIONS and count == 1:
            return bound(ABBREVIATIONS[name], {"x": self.expression(node.args[0], scope)})
        if is_function(name):
            if count != arity(name):
                example = f"{name}({', '.join('xy'[: arity(name)])})"
                reduce = f", or {name}[i](...) to reduce over i" if name in REDUCTIONS else ""
                self.error(f"{name} takes {arity(name)} arguments, not {count}", f"write {example}{reduce}")
            return Apply(name, tuple([self.expression(argument, scope) for argument in node.args]))
        if name == "pad":
            self.error("pad without subscripts", "write pad(x, 0)[i]")
        if name in _OVER_INDICES:
            self.error(f"{name} without indices", f"write {name}[i](...)")
        self.error(
            f"the function {shorten(name, 40)} is unknown",
            nearest(name, _CALLABLE) + f"known: {', '.join(CATALOGUE)}, and over indices {', '.join(_OVER_INDICES)}",
        )

    def reduction(self, name: str, written: list[ast.expr], arguments: list[ast.expr], scope: Scope) -> Expr:
        if name not in _OVER_INDICES:
            self.error(
                f"{shorten(name, 40)} is no reduction",
                nearest(name, _OVER_INDICES) + f"known: {', '.join(_OVER_INDICES)}",
            )
        if len(arguments) != 1:
            self.error(f"{name}[...] takes one argument, not {len(arguments)}")
        inner: dict[str, Index] = {}
        for part in written:
            match part:
                case ast.Name(id=index):
                    extent = None
                case ast.Compare(left=ast.Name(id=index), ops=[ast.Lt()], comparators=[extent]):
                    pass
                case _:
                    self.error(f"{self.source.cut(part)} is no index to reduce over", "write i or i<14")
            if index in inner:
                self.error(f"{name} reduces twice over index {index}", "give the indices different names")
            inner[index] = self.names.bind(index, extent)
        if not inner:
            self.error(f"{name} over no index", f"write {name}[i](...)")
        indices = tuple(inner.values())
        body = self.expression(arguments[0], {**scope, **inner})
        if name == "mean":
            return Multiply((*mean_factors(indices), Reduce("sum", indices, body)))
        if name == "min":
            return Multiply((MINUS_ONE, Reduce("max", indices, Multiply((MINUS_ONE, body)))))
        if name == "argmin":
            return Reduce("argmax", indices, Multiply((MINUS_ONE, body)))
        return Reduce(name, indices, body)

    def derivative(self, node: ast.Call, scope: Scope) -> Expr:
        match node.args:
            case [of, (ast.Subscript() | ast.Name() | ast.Attribute()) as by]:
                pass
            case _:
                self.error(f"{self.source.cut(node)} is no derivative", "write D(expression, x[i, j])")
        value, wrt = self.expression(of, scope), self.names.component(by, scope)
        if wrt.pad is not None or any(s.plain is None for s in wrt.subscripts):
            self.error(f"a derivative by {self.source.cut(by)}", "differentiate by plain x[i, j]")
        return Derivative(value, wrt)


def _read_expression(names: Names, indices: Mapping[str, Index] | None) -> Expr:
    match names.source.tree().body:
        case [ast.Expr(value=body)]:
            pass
        case _:
            names.source.error("this is no expression", "write what stands behind the equality sign: x[n, k] + 1")
    for name, index in (indices or {}).items():
        names.declare(name, index.extent)
    names.binding = indices is None
    value = _Reader(names).expression(body, {})
    names.solve()
    return names.settle(value)


def _read_equation(names: Names) -> Equation:
    source = names.source
    match source.tree().body:
        case [ast.Assign(targets=[target], value=value)]:
            pass
        case _:
            source.error("this is no equation", "write one equation: y[n, k] = ...")
    defined = target.value if isinstance(target, ast.Subscript) else target
    name = names.spelled(defined) if isinstance(target, ast.Subscript | ast.Name | ast.Attribute) else None
    if name is None:
        source.error(f"{source.cut(target)} cannot be defined", "define a tensor: y[n, k] = ...")
    if name in ("pi", "e") and target is defined:
        source.error(f"{name} is a constant", "give the tensor another name")
    match value:
        case ast.Call(func=ast.Subscript(value=ast.Name(id="argmax" | "argmin"))):
            names.integer.add(name)
        case ast.Subscript(value=ast.Name(id=read)) if read in names.tensors:
            if names.tensors[read].dtype == "integer":
                names.integer.add(name)
        case _:
            pass
    names.target = name
    names.binding = True
    left = names.component(target, {})
    names.binding = False
    right = _Reader(names).expression(value, {})
    names.solve()
    return Equation(names.settle_component(left), names.settle(right))


def parse_expression(
    text: str,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    indices: Mapping[str, Index] | None = None,
    extents: Mapping[str, int] | None = None,
) -> Expr:
    """Read an expression. With `indices`, only these are free in it; without, every unbound index is. With `tensors`,
    every name must be one of them; without, an unknown name is a new tensor.

    Raises EquationError where the text is no expression, ShapeError where extents or ranks do not fit.
    """

    def read() -> Expr:
        names = Names(Source(text), tensors or {}, extents or {}, closed=tensors is not None)
        return _read_expression(names, indices)

    return guarded(text, read)


def parse_equation(
    text: str,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    extents: Mapping[str, int] | None = None,
    integer: Collection[str] = (),
) -> Equation:
    """Read an equation. With `tensors`, every name but the target must be one of them; without, an unknown name is a
    new tensor, of integers where it stands right of == or in `integer`. `extents` gives names their numbers.

    Raises EquationError where the text is no equation, ShapeError where extents or ranks do not fit.
    """

    def read() -> Equation:
        return _read_equation(Names(Source(text), tensors or {}, extents or {}, integer, tensors is not None))

    return guarded(text, read)


def parse_program(
    text: str, *, tensors: Mapping[str, Tensor] | None = None, extents: Mapping[str, int] | None = None
) -> list[Equation]:
    """Read equations, one on each line, `#` starts a comment. The tensors of a line are known to the lines after it.
    A tensor that several lines define piece by piece is as large as its pieces reach.

    Raises what `parse_equation` raises.
    """
    given = None if tensors is None else tuple(tensors.items())
    return [*_parsed(checked_text(text), given, tuple((extents or {}).items()))]


@lru_cache(maxsize=1024)
def _parsed(
    text: str, given: tuple[tuple[str, Tensor], ...] | None, extents: tuple[tuple[str, int], ...]
) -> tuple[Equation, ...]:
    """The second model of an architecture is made of the texts of the first."""

    def read(sizes: Mapping[str, Tensor]) -> list[Equation]:
        known = {**dict(given or ()), **sizes}
        found: dict[str, Tensor] = {}
        defined: dict[str, None] = {}
        equations: list[Equation] = []
        for line in lines(text):
            visible = {**known, **found}
            target = line.split("=", 1)[0].split("[", 1)[0].strip()
            if target in defined and target not in known:
                visible.pop(target, None)  # a further piece has a reach of its own
            names = Names(Source(line), visible, dict(extents), closed=given is not None)
            equation = guarded(line, lambda names=names: _read_equation(names))
            equations.append(equation)
            for name in names.axes:
                if name not in known:
                    another = name == equation.tensor.name and name in defined
                    found[name] = _union(found[name], names.tensor(name), line) if another else names.tensor(name)
            defined[equation.tensor.name] = None
        # Pieces of different reach are read again with the size of the whole.
        whole = {name: found[name] for name in defined if name not in known}
        if any(e.tensor != whole.get(e.tensor.name, e.tensor) for e in equations):
            return read(whole)
        return equations

    return guarded(text, lambda: tuple(read({})))


def _union(one: Tensor, other: Tensor, line: str) -> Tensor:
    """The tensor that holds two of its pieces."""
    if len(one.shape) != len(other.shape):
        raise ShapeError(
            f"pieces of {one.name} have {len(one.shape)} and {len(other.shape)} axes", about=shorten(line),
            fix="give every piece the same number of subscripts",
        )
    shape: list[Extent] = []
    for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)):
        if isinstance(a, int) and isinstance(b, int):
            shape.append(max(a, b))
        elif a == b:
            shape.append(a)
        else:
            raise ShapeError(
                f"pieces of {one.name} have extents {a} and {b} along axis {axis}", about=shorten(line),
                fix=f"declare {one.name} with its shape, or give the indices the same extent",
            )
    return Tensor(one.name, tuple(shape), one.dtype)


_SCALARS = {name: Tensor(name, ()) for name in ("x", "y", "f")}


def bound(text: str, arguments: Mapping[str, Expr]) -> Expr:
    """The expression of a text over the scalars x, y and f, with these arguments in their places."""

    def bind(part: Expr) -> Expr:
        return arguments[part.tensor.name] if isinstance(part, Component) else part

    return transform(_over_scalars(text), bind)


@cache
def _over_scalars(text: str) -> Expr:
    return parse_expression(text, tensors=_SCALARS, indices={})


def law(function: str, argument: int) -> Expr:
    """The catalogue's law for the derivative of `function` by an argument: an expression over scalars x, y (the
    arguments) and f (the function's value)."""
    return _over_scalars(CATALOGUE[function].laws[argument])
