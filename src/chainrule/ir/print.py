"""Writing equations as text that reads back as the same nodes.

Numeric extents are written where an index is bound: on the left-hand side and at a reduction. In a left-hand side's
mixed-radix subscript they stand in parentheses: y[n, 12*(c<3) + 4*(i<3) + (j<4)]. A named extent is written (k<K) only
where reading would not find it: where it is not the index's name in capitals, or no unpadded plain subscript shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from chainrule.ir.expr import (
    ADJOINT,
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
from chainrule.ir.names import is_mean
from chainrule.ir.program import Equation
from chainrule.ir.source import MAX_DIGITS
from chainrule.ir.walk import Steps, iterative, replace_tensors

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class _Text:
    """A node's text, its precedence, and the free indices that an unpadded plain subscript in it shows."""

    node: Expr
    text: str
    precedence: int = ATOM
    plain: frozenset[Index] = frozenset()
    negated: str | None = None
    """Of a product that starts with -1, what stands after a minus sign in a sum."""

    def at(self, precedence: int) -> str:
        """The text as an operand that must bind at least this tightly."""
        return self.text if self.precedence >= precedence else f"({self.text})"


def spellings(tensors: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """What stands in a text for each tensor that has no name of a user's: one of a name that none of the others has.
    ∂ℓ/∂y is δy, or δy_ where a tensor is called so."""
    every = dict.fromkeys(tensors)
    taken = {tensor.name for tensor in every if tensor.role is None}
    found: dict[Tensor, Tensor] = {}
    for tensor in every:
        if tensor.role is not None:
            word = spelled(tensor)
            while word in taken:
                word += "_"
            taken.add(word)
            found[tensor] = Tensor(word, tensor.shape, tensor.dtype)
    return found


def spelled(tensor: Tensor) -> str:
    """The name of a tensor by itself: δy for ∂ℓ/∂y."""
    role = tensor.role
    if role is None:
        return tensor.name
    number = str(role.number or "")
    if role.of is None:
        return role.kind + number
    return f"δ{spelled(role.of)}" if role.kind == ADJOINT else f"{spelled(role.of)}.{role.kind}{number}"


def to_text(item: Equation | Expr) -> str:
    """The canonical text: reading it with the same tensors and extents gives the same nodes. Tensors of chainrule's own
    are spelled as `spellings` says."""
    if isinstance(item, Expr):
        return _write(replace_tensors(item, spellings(item.tensors))).text
    item = item.over(spellings((item.tensor, *item.value.tensors)))
    value = _write(item.value)
    name, subscripts = item.tensor.name, item.target.subscripts
    if not subscripts:
        return f"{name} = {value.text}"
    declared: set[Index] = set()

    def show(index: Index) -> str:
        text = index.name if index in declared else _binder(index, value.plain)
        declared.add(index)
        return text

    def enclosed(index: Index) -> str:
        text = show(index)
        return f"({text})" if "<" in text else text

    parts = [show(s.plain) if s.plain is not None else affine_text(s, enclosed) for s in subscripts]
    return f"{name}[{', '.join(parts)}] = {value.text}"


def _name(index: Index) -> str:
    return index.name


def _binder(index: Index, plain: frozenset[Index]) -> str:
    """i<14, k<K, or k where reading finds the extent K."""
    if index.extent == index.name.upper() and index in plain:
        return index.name
    return f"{index.name}<{index.extent}"


def affine_text(subscript: Affine, show: Callable[[Index], str] = _name) -> str:
    """2*i + p - 1, each index as `show` writes it."""
    text = ""
    for index, c in subscript.terms:
        sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
        text += sign + (f"{abs(c)}*" if abs(c) != 1 else "") + show(index)
    if not text:
        return str(subscript.offset)
    return text + (f" {'-' if subscript.offset < 0 else '+'} {abs(subscript.offset)}" if subscript.offset else "")


def _decimal(value: Fraction) -> str | None:
    """The value as one literal with a decimal exponent, where it has a short one."""
    denominator, twos, fives = value.denominator, 0, 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        return None
    exponent = max(twos, fives)
    digits = abs(value.numerator) * 10**exponent // value.denominator
    while digits and digits % 10 == 0:
        digits, exponent = digits // 10, exponent - 1
    return f"{'-' if value < 0 else ''}{digits}e{-exponent}"


def _number(value: Fraction) -> tuple[str, int]:
    """Digits, or a quotient; a decimal where these are longer than reading allows."""
    text = str(value)
    if max(map(len, text.lstrip("-").split("/"))) > MAX_DIGITS:
        text = _decimal(value) or text
    return text, ATOM if value >= 0 and "/" not in text else PRODUCT


def _is_number(node: Expr) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, Fraction)


def _is_negative(node: Expr) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, Fraction) and node.value < 0


def _is_minus_one(node: Expr) -> bool:
    return isinstance(node, Constant) and node.value == -1


def _component(node: Component) -> str:
    name = node.tensor.name
    if node.pad is not None:
        pad = _number(node.pad)[0] if isinstance(node.pad, Fraction) else node.pad
        name = f"pad({name}, {pad})"
    if not node.subscripts:
        return name if node.pad is None else f"{name}[()]"
    return f"{name}[{', '.join(affine_text(s) for s in node.subscripts)}]"


def _reads_as_minus(parts: list[_Text]) -> bool:
    """Whether `- parts` after a term reads as the product of -1 and the parts."""
    return not _is_negative(parts[0].node) and (len(parts) > 1 or not _is_number(parts[0].node))


def _product(parts: list[_Text], bases: dict[Expr, _Text]) -> str:
    """The text of a product. `bases` has the texts of the bases of reciprocals."""
    head, rest = parts[0], parts[1:]
    sign = ""
    if _is_minus_one(head.node) and not _is_number(rest[0].node):
        # A minus before a number would be the number's own sign.
        sign, head, rest = "-", rest[0], rest[1:]
    text = sign + (head.text if _is_number(head.node) else head.at(POWER))
    before = head.node
    for part in rest:
        value = part.node.value if isinstance(part.node, Constant) else None
        base = bases.get(part.node)
        if base is not None:
            text += "/" + base.at(POWER)
        elif isinstance(value, Fraction) and value.numerator == 1 and value.denominator > 1 and not (
            _is_number(before) or part.precedence == ATOM
        ):
            text += f"/{value.denominator}"
        else:
            text += "*" + part.at(POWER)
        before = part.node
    return text


def _sum(parts: list[_Text]) -> str:
    text = ""
    for term in parts:
        value = term.node.value if isinstance(term.node, Constant) else None
        if not text:
            text = term.at(PRODUCT)
        elif isinstance(value, Fraction) and value < 0:
            text += " - " + _number(-value)[0]
        elif term.negated is not None:
            text += " - " + term.negated
        else:
            text += " + " + term.at(PRODUCT)
    return text


@iterative
def _write(node: Expr) -> Steps[_Text]:
    match node:
        case Constant(value=value):
            if isinstance(value, Fraction):
                text, precedence = _number(value)
                return _Text(node, text, precedence)
            return _Text(node, value)
        case Size(extent=extent):
            return _Text(node, extent)
        case Component(subscripts=subscripts, pad=pad):
            plain = frozenset(s.plain for s in subscripts if s.plain is not None) if pad is None else frozenset[Index]()
            return _Text(node, _component(node), plain=plain)
        case Guard(subscript=subscript, extent=extent):
            return _Text(node, f"[0 <= {affine_text(subscript)} < {extent}]")
        case Delta(left=left, right=right):
            if isinstance(right, Component):
                inner: _Text = yield (right,)
                return _Text(node, f"[{affine_text(left)} == {inner.text}]", plain=inner.plain)
            return _Text(node, f"[{affine_text(left)} == {affine_text(right)}]")
        case Power(base=base, exponent=exponent):
            inner = yield (base,)
            power = str(exponent) if exponent.denominator == 1 else f"({exponent})"
            return _Text(node, f"{inner.at(ATOM)}**{power}", POWER, inner.plain)
        case Reduce(kind=kind, indices=indices, body=body):
            inner = yield (body,)
            binders = ", ".join(_binder(index, inner.plain) for index in indices)
            return _Text(node, f"{kind}[{binders}]({inner.text})", plain=inner.plain - set(indices))
        case Multiply(factors=factors):
            parts: list[_Text] = []
            bases: dict[Expr, _Text] = {}
            for factor in factors:
                parts.append((yield (factor,)))
                if isinstance(factor, Power) and factor.exponent == -1 and not _is_number(factor.base):
                    bases[factor] = yield (factor.base,)
            plain = frozenset[Index]().union(*(part.plain for part in parts))
            rest = parts[1:]
            if is_mean(node):
                return _Text(node, "mean" + parts[-1].text.removeprefix("sum"), plain=plain)
            negated = None
            if _is_minus_one(factors[0]) and _reads_as_minus(rest):
                negated = rest[0].at(POWER) if len(rest) == 1 else _product(rest, bases)
            return _Text(node, _product(parts, bases), PRODUCT, plain, negated)
        case Add(terms=children) | Apply(arguments=children):
            parts = []
            for child in children:
                parts.append((yield (child,)))
            plain = frozenset[Index]().union(*(part.plain for part in parts))
            if isinstance(node, Add):
                return _Text(node, _sum(parts), SUM, plain)
            return _Text(node, f"{node.function}({', '.join(part.text for part in parts)})", plain=plain)
        case Derivative(of=of, wrt=wrt):
            inner = yield (of,)
            by: _Text = yield (wrt,)
            return _Text(node, f"D({inner.text}, {by.text})", plain=inner.plain | by.plain)
        case _:
            raise TypeError(f"no text known for {type(node).__name__}")
