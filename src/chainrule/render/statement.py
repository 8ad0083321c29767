"""One equation as a NumPy statement.

A sum of products is a matrix product where it is one, else einsum. A read at an affine subscript, x[n, c, 2i + p],
is an index of open grids, as the formula has it: x[:, :, 2*i + p]. Every value knows which index each axis is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Protocol

from chainrule.errors import DerivationError
from chainrule.forms.fuse import fuse
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, iterative, nodes

SUM, PRODUCT, POWER, ATOM = range(4)
CALLS = {
    "exp": "np.exp", "expm1": "np.expm1", "log": "np.log", "tanh": "np.tanh", "max": "np.maximum", "min": "np.minimum",
    "sign": "np.sign", "abs": "np.abs", **{name: name for name in ("sigmoid", "softplus", "relu", "erfc")},
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEW = "None"
OVER = "1 / "


@dataclass(frozen=True, slots=True)
class Value:
    """Code for an array whose axes are these indices, in this order."""

    code: str
    axes: tuple[Index, ...] = ()
    precedence: int = ATOM
    minus: bool = False
    """Whether the value is minus the code."""

    def at(self, precedence: int) -> str:
        if self.minus:
            text = f"-{self.code if self.precedence >= PRODUCT else f'({self.code})'}"
            return text if precedence <= PRODUCT else f"({text})"
        return self.code if self.precedence >= precedence else f"({self.code})"

    @property
    def text(self) -> str:
        return self.at(SUM)


class Context(Protocol):
    """What the statements of one listing share."""

    words: Mapping[str, str]
    """Tensors by name: their names in Python."""
    given: Sequence[Tensor]
    helpers: set[str]
    """The helper functions that the statements call."""
    defined: set[str]
    """The tensors that are written part by part and exist already."""
    pads: dict[tuple[str, str], str]
    sized: bool
    """Whether the number of samples is read."""


class Statement:
    """One equation: the lines that its reads need before it, and the assignment."""

    def __init__(self, listing: Context, equation: Equation) -> None:
        self.listing, self.equation = listing, equation
        self.before: list[str] = []
        fused = fuse(equation.target, equation.value)
        self.target, self.result, self.flat = fused.target, fused.value, fused.flat
        target, others = self.target.free, [i for node in nodes(self.result) for i in node.free]
        self.order = tuple(dict.fromkeys((*target, *others)))
        self.grids: dict[tuple[Index, ...], None] = {}
        self.letters: dict[Index, str] = {}
        for index in self.order:
            free = [c for c in (*index.name[:1], *LETTERS) if c not in self.letters.values()]
            self.letters[index] = free[0]
        self.places: dict[tuple[tuple[Index, ...], Index], str] = {}

    def place(self, group: tuple[Index, ...], index: Index) -> str:
        """The name of an index in the grid of a group; in every grid of a statement it is another."""
        if (group, index) not in self.places:
            word = self.letters[index]
            while word in self.listing.words.values() or word in self.places.values():
                word += word[0]
            self.places[group, index] = word
        return self.places[group, index]

    def lines(self) -> list[str]:
        equation, target = self.equation, self.target
        name = self.listing.words[equation.tensor.name]
        radix = [s.radix(e) for s, e in zip(target.subscripts, target.tensor.shape, strict=True)]
        if not all(radix):
            return self.pieces(name)
        digits = [[i for i, _ in sorted(s.terms, key=lambda t: -t[1])] for s in target.subscripts]
        order = tuple(i for group in digits for i in group)
        value = self.full(self.aligned(self.value(self.result), order), order)
        if target.tensor != equation.tensor or any(s.plain is None for s in target.subscripts):
            value = Value(f"{value.at(ATOM)}.reshape({self.extents(equation.tensor.shape)})", order)
        return [*self.before, *self.assignment(name, value.text)]

    def pieces(self, name: str) -> list[str]:
        """One part of a tensor that several equations define."""
        equation, listing = self.equation, self.listing
        made: list[str] = []
        if name not in listing.defined:
            listing.defined.add(name)
            made.append(f"{name} = np.zeros({self.shape(equation.tensor.shape)})")
        places: list[str] = []
        order: list[Index] = []
        for s, extent in zip(equation.target.subscripts, equation.tensor.shape, strict=True):
            if len(s.terms) != 1:
                raise DerivationError("no slice is known for this part of a tensor", about=equation)
            ((index, step),) = s.terms
            order.append(index)
            places.append(self.slice(s, index, step, extent))
        value = self.aligned(self.value(self.result), tuple(order))
        return [*made, *self.before, *self.assignment(f"{name}[{', '.join(places)}]", value.text)]

    def assignment(self, name: str, code: str) -> list[str]:
        grids = [self.grid(g) for g in self.grids]
        return [*grids, f"{name} = {code}"]

    def grid(self, group: tuple[Index, ...]) -> str:
        words = ", ".join(self.place(group, i) for i in group)
        ranges = ", ".join(f":{self.extent(i.extent)}" for i in group)
        if len(group) == 1:
            return f"{words} = np.arange({self.extent(group[0].extent)})"
        return f"{words} = np.ogrid[{ranges}]"

    def extent(self, extent: Extent) -> str:
        if isinstance(extent, int):
            return str(extent)
        if extent == SAMPLES:
            self.listing.sized = True
            return SAMPLES
        for tensor in self.listing.given:
            if extent in tensor.shape:
                return f"{self.listing.words[tensor.name]}.shape[{tensor.shape.index(extent)}]"
        raise DerivationError(f"nothing given has the extent {extent}", about=self.equation)

    def extents(self, shape: Iterable[Extent]) -> str:
        return ", ".join(map(self.extent, shape))

    def shape(self, shape: Sequence[Extent]) -> str:
        return f"({self.extents(shape)}{',' if len(shape) == 1 else ''})"

    def slice(self, s: Affine, index: Index, step: int, extent: Extent) -> str:
        """start:stop:step, as short as it can be."""
        if step < 0:
            raise DerivationError("no slice is known for this part of a tensor", about=self.equation)
        if s.plain is not None and index.extent == extent:
            return ":"
        start = str(s.offset) if s.offset else ""
        if isinstance(index.extent, int) and isinstance(extent, int):
            last = s.offset + step * (index.extent - 1)
            stop = "" if last + step >= extent else str(last + 1)
        else:
            stop = "" if not s.offset and step == 1 else f"{s.offset} + {step}*{self.extent(index.extent)}"
        return f"{start}:{stop}" + (f":{step}" if step != 1 else "")

    # --- axes -----------------------------------------------------------------------------------

    def aligned(self, value: Value, order: Sequence[Index]) -> Value:
        """The value with its axes in this order, and new axes of length 1 where that is not at the front."""
        wanted = tuple(i for i in order if i in value.axes)
        assert set(wanted) == set(value.axes), "a value has the axes of what it stands in"
        plain = replace(value, minus=False)
        if wanted != value.axes:
            places = [value.axes.index(i) for i in wanted]
            turned = "T" if places == [1, 0] else f"transpose({', '.join(map(str, places))})"
            plain = Value(f"{plain.at(ATOM)}.{turned}", wanted)
        rest = order[order.index(wanted[0]) :] if wanted else ()
        if len(rest) > len(wanted):
            shown = [":" if i in wanted else NEW for i in rest]
            tail = len(shown) - shown[::-1].index(":")
            several = NEW in shown[:tail] or tail == 1
            parts = shown if several else ["...", *shown[tail:]]
            plain = Value(f"{plain.at(ATOM)}[{', '.join(parts)}]", wanted)
        return replace(plain, minus=value.minus)

    def full(self, value: Value, order: Sequence[Index]) -> Value:
        """The value repeated along the axes that it lacks."""
        if len(value.axes) == len(order):
            return value
        shape = self.shape([i.extent for i in order])
        if not value.axes:
            made = f"np.zeros({shape})" if value.code == "0" else f"np.full({shape}, {value.text})"
            return Value(made, tuple(order))
        return Value(f"np.broadcast_to({value.text}, {shape})", tuple(order))

    def union(self, values: Iterable[Value]) -> tuple[Index, ...]:
        """All axes: in the order of the value that has most, if that has all of them."""
        values = list(values)
        largest = max(values, key=lambda v: len(v.axes)).axes
        every = {i for v in values for i in v.axes}
        return largest if every == set(largest) else tuple(i for i in self.order if i in every)

    # --- expressions ----------------------------------------------------------------------------

    def value(self, expr: Expr) -> Value:
        return _code(expr, self)

    def word(self, tensor: Tensor) -> str:
        if tensor.name in self.flat:
            return f"{self.listing.words[self.flat[tensor.name].tensor.name]}.reshape({self.extents(tensor.shape)})"
        return self.listing.words[tensor.name]

    def read(self, c: Component) -> Value:
        """A component: whole axes as they are, constants and single steps as slices, all else as grids."""
        name, subscripts, shape = self.word(c.tensor), list(c.subscripts), list(c.tensor.shape)
        if c.pad is not None:
            name = self.padded(name, c, subscripts, shape)
        radix = [len(s.terms) > 1 and s.radix(e) for s, e in zip(subscripts, shape, strict=True)]
        if any(radix) and all(r or s.plain for r, s in zip(radix, subscripts, strict=True)):
            return self.parted(name, subscripts)
        used: list[Index] = []
        kinds: list[str] = []
        for s, extent in zip(subscripts, shape, strict=True):
            single = len(s.terms) == 1 and s.terms[0][1] > 0 and s.terms[0][0] not in used
            inside = single and isinstance(s.terms[0][0].extent, int) and isinstance(extent, int)
            whole = s.plain is not None and s.plain.extent == extent and s.plain not in used
            kinds.append(":" if whole else "number" if not s.terms else "slice" if inside else "grid")
            used.extend(s.indices)
        shared = {i for i in used if used.count(i) > 1}
        kinds = ["grid" if any(i in shared for i in s.indices) else k for k, s in zip(kinds, subscripts, strict=True)]
        if "grid" in kinds:
            first, last = kinds.index("grid"), len(kinds) - kinds[::-1].index("grid")
            if any(k != "grid" for k in kinds[first:last]):
                kinds = ["grid" if first <= n < last else k for n, k in enumerate(kinds)]
            if "number" in kinds:
                kinds = ["grid"] * len(kinds)
        if all(k == ":" for k in kinds):
            return Value(name, tuple(i for s in subscripts for i in s.indices))
        gridded = {i for s, k in zip(subscripts, kinds, strict=True) if k == "grid" for i in s.indices}
        group = tuple(i for i in self.order if i in gridded)
        if group and group not in self.grids:
            self.grids[group] = None
        axes: list[Index] = []
        parts: list[str] = []
        for s, kind, extent in zip(subscripts, kinds, shape, strict=True):
            if kind == "grid":
                parts.append(self.affine(s, group))
                axes.extend(i for i in group if i not in axes)
            elif kind == "number":
                parts.append(str(s.offset))
            else:
                ((index, step),) = s.terms
                axes.append(index)
                parts.append(":" if kind == ":" else self.slice(s, index, step, extent))
        return Value(f"{name}[{', '.join(parts)}]", tuple(axes))

    def parted(self, name: str, subscripts: Sequence[Affine]) -> Value:
        """Mixed-radix subscripts: the axis is parted into its digits."""
        groups = [[i for i, _ in sorted(s.terms, key=lambda t: (-t[1], t[0].extent != 1))] for s in subscripts]
        axes = tuple(i for group in groups for i in group)
        return Value(f"{name}.reshape({self.extents(i.extent for i in axes)})", axes)

    def padded(self, name: str, c: Component, subscripts: list[Affine], shape: list[Extent]) -> str:
        """The tensor with cells put around it; subscripts and shape become those to read there."""
        amounts: list[tuple[int, int]] = []
        for k, (s, extent) in enumerate(zip(c.subscripts, c.tensor.shape, strict=True)):
            bounds = s.bounds()
            if s.plain is not None and s.plain.extent == extent:
                amounts.append((0, 0))
                continue
            if bounds is None or not isinstance(extent, int):
                raise DerivationError("no padding is known for an open extent", about=self.equation)
            before, after = max(0, -bounds[0]), max(0, bounds[1] - extent + 1)
            amounts.append((before, after))
            subscripts[k], shape[k] = s + before, extent + before + after
        if not any(map(any, amounts)):
            return name
        fill = c.pad if isinstance(c.pad, Fraction) else Fraction(0)
        value = "" if c.pad == 0 else f", constant_values={'-np.inf' if c.pad == '-inf' else _fraction(fill).text}"
        code = f"np.pad({name}, ({', '.join(map(str, amounts))}{',' if len(amounts) == 1 else ''}){value})"
        pads = self.listing.pads
        if (name, code) not in pads:
            word = f"{name}_padded"
            while word in (*self.listing.words.values(), *pads.values()):
                word += "_"
            pads[name, code] = word
            self.before.append(f"{word} = {code}")
        return pads[name, code]

    def affine(self, s: Affine, group: tuple[Index, ...]) -> str:
        text = ""
        for index, c in s.terms:
            word = self.place(group, index)
            term = word if abs(c) == 1 else f"{abs(c)} * {word}"
            text = f"{text} {'-' if c < 0 else '+'} {term}" if text else ("-" if c < 0 else "") + term
        if s.offset:
            text = f"{text} {'-' if s.offset < 0 else '+'} {abs(s.offset)}" if text else str(s.offset)
        return text or "0"

    def counted(self, s: Affine) -> Value:
        """The values of a subscript, over its indices."""
        axes = tuple(i for i in self.order if i in s.indices)
        if axes and axes not in self.grids:
            self.grids[axes] = None
        return Value(self.affine(s, axes), axes, ATOM if s.plain or not s.terms else SUM)

    def product(self, factors: Sequence[Value]) -> Value:
        """Entry by entry; reciprocals stand below, at the end."""
        if len(factors) == 1:
            return factors[0]
        axes = self.union(factors)
        minus = sum(f.minus for f in factors) % 2 == 1
        parts = [replace(self.aligned(f, axes), minus=False) for f in factors]
        below = [p for p in parts if p.code.startswith(OVER) and p.precedence == PRODUCT]
        above = [p for p in parts if p not in below]
        code = " * ".join(p.at(POWER) if n else p.at(PRODUCT) for n, p in enumerate(above)) or "1"
        for part in below:
            code += f" / {part.code.removeprefix(OVER)}"
        return Value(code, axes, PRODUCT, minus)

    def summed(self, indices: Sequence[Index], factors: Sequence[Expr]) -> Value:
        """Σ over the indices of a product."""
        for factor in factors:
            match factor:
                case Delta(left=left, right=Component() as right) if left.plain in indices and len(factors) == 2:
                    (other,) = (f for f in factors if f is not factor)
                    chosen = self.gathered(other, left.plain, right) if left.plain else None
                    if chosen is not None:
                        rest = [i for i in indices if i != left.plain]
                        return self.total(chosen, rest)
                case _:
                    pass
        values = [self.value(f) for f in factors]
        outside = [v for v in values if not set(v.axes) & set(indices)]
        inside = [v for v in values if v not in outside]
        own = [i for i in indices if any(i in v.axes for v in inside)]
        idle = [i.extent for i in indices if i not in own]
        times = prod(e for e in idle if isinstance(e, int))
        counts = [str(times)] * (times != 1) + [self.extent(e) for e in idle if isinstance(e, str)]
        outside = [*map(Value, counts), *outside]
        if not inside:
            return self.product(outside)
        core = self.total(inside[0], own) if len(inside) == 1 else self.contraction(inside, own)
        return self.product([*outside, core]) if outside else core

    def gathered(self, other: Expr, index: Index, chosen: Component) -> Value | None:
        """Σ_v [v = id] E_v is E at id."""
        if not isinstance(other, Component) or other.pad is not None:
            return None
        plain = [s.plain for s in other.subscripts]
        whole = all(i is not None and i.extent == e for i, e in zip(plain, other.tensor.shape, strict=True))
        if not whole or plain.count(index) != 1 or index not in plain[:1] or len(set(plain)) != len(plain):
            return None
        at = self.read(chosen)
        rest = tuple(i for i in plain if i is not None and i != index)
        if set(rest) & set(at.axes):
            return None
        return Value(f"{self.word(other.tensor)}[{at.text}]", (*at.axes, *rest))

    def total(self, value: Value, indices: Sequence[Index]) -> Value:
        if not indices:
            return value
        return Value(f"{value.at(ATOM)}.sum({self.axis(value, indices)})", _without(value.axes, indices))

    def over(self, value: Value, indices: Sequence[Index]) -> Value:
        """The value repeated along those of the indices that it does not depend on."""
        missing = [i for i in indices if i not in value.axes]
        axes = (*value.axes, *missing)
        return self.full(self.aligned(value, axes), axes) if missing else value

    def axis(self, value: Value, indices: Sequence[Index]) -> str:
        if set(indices) == set(value.axes):
            return ""
        places = [value.axes.index(i) for i in indices]
        return f"axis={places[0] if len(places) == 1 else tuple(places)}"

    def contraction(self, values: Sequence[Value], indices: Sequence[Index]) -> Value:
        minus = sum(v.minus for v in values) % 2 == 1
        values = [replace(v, minus=False) for v in values]
        every = tuple(i for i in self.order if any(i in v.axes for v in values))
        out = _without(every, indices)
        largest = max(values, key=lambda v: len(v.axes))
        alike = len(values) != 2 or set(values[0].axes) == set(values[1].axes) or not out
        if alike and set(largest.axes) == set(every) and len(every) == 1 + len(out) < 3:
            return replace(self.total(self.product(values), indices), minus=minus)
        if len(values) == 2 and len(indices) == 1:
            for a, b in (values, values[::-1]):
                form = self.matrix_product(a, b, indices[0], out)
                if form is not None:
                    return replace(form, minus=minus)
        words = ",".join("".join(self.letters[i] for i in v.axes) for v in values)
        result = "".join(self.letters[i] for i in out)
        return Value(f'np.einsum("{words}->{result}", {", ".join(v.text for v in values)})', out, ATOM, minus)

    def matrix_product(self, a: Value, b: Value, k: Index, out: Sequence[Index]) -> Value | None:
        """a @ b, where that is Σ_k over the last axis of a and the first of b, and gives the axes in order."""
        ra, rb = _without(a.axes, (k,)), _without(b.axes, (k,))
        if not (k in a.axes and k in b.axes) or set(ra) & set(rb) or len(rb) > 1 or (*ra, *rb) != tuple(out):
            return None
        left, right = self.aligned(a, (*ra, k)), self.aligned(b, (k, *rb))
        if len(ra) > 1 and a.axes[-1] != k:
            return None
        return Value(f"{left.at(PRODUCT)} @ {right.at(POWER)}", tuple(out), PRODUCT)


@iterative
def _code(expr: Expr, own: Statement) -> Steps[Value]:
    match expr:
        case Constant(value=Fraction() as value):
            return _fraction(value)
        case Constant(value=value):
            return Value("np.pi" if value == "pi" else "np.e")
        case Size(extent=extent):
            return Value(own.extent(extent))
        case Component():
            return own.read(expr)
        case Delta(left=left, right=right):
            one = own.counted(left)
            other = own.read(right) if isinstance(right, Component) else own.counted(right)
            axes = own.union((one, other))
            a, b = own.aligned(one, axes), own.aligned(other, axes)
            return Value(f"({a.text} == {b.text})", axes)
        case Guard(subscript=subscript, extent=extent):
            one = own.counted(subscript)
            return Value(f"((0 <= {one.text}) & ({one.text} < {own.extent(extent)}))", one.axes)
        case Add(terms=terms):
            values: list[Value] = []
            for term in terms:
                values.append((yield term, own))
            axes = own.union(values)
            code = ""
            for value in (own.aligned(v, axes) for v in values):
                if not code:
                    code = value.text
                else:
                    code += f" {'-' if value.minus else '+'} {replace(value, minus=False).at(PRODUCT)}"
            return Value(code, axes, SUM)
        case Multiply(factors=factors):
            values = []
            for factor in factors:
                values.append((yield factor, own))
            minus = sum(v.minus for v in values) % 2 == 1
            one = Value("1")
            rest = [v for v in (replace(v, minus=False) for v in values) if v != one] or [one]
            return replace(own.product(rest), minus=minus)
        case Power(base=base, exponent=exponent):
            inner: Value = yield base, own
            if exponent < 0:
                below = inner.at(POWER) if exponent == -1 else _power(inner, -exponent)
                return Value(f"{OVER}{below}", inner.axes, PRODUCT)
            return Value(_power(inner, exponent), inner.axes, POWER)
        case Apply(function=function, arguments=arguments):
            values = []
            for argument in arguments:
                values.append((yield argument, own))
            axes = own.union(values)
            parts = [own.aligned(v, axes) for v in values]
            if function == "step":
                return Value(f"({parts[0].text} > 0)", axes)
            if function not in CALLS:
                raise DerivationError(f"no NumPy is known for {function}", about=own.equation)
            own.listing.helpers.add(function)
            return Value(f"{CALLS[function]}({', '.join(p.text for p in parts)})", axes)
        case Reduce(kind="sum", indices=indices, body=body):
            if isinstance(body, Add):
                inner = yield body, own
                return own.total(own.over(inner, indices), indices)
            return own.summed(indices, body.factors if isinstance(body, Multiply) else (body,))
        case Reduce(kind=kind, indices=indices, body=body):
            inner = own.over((yield body, own), indices)
            axes = (*_without(inner.axes, indices), *indices)
            if kind == "logsumexp":
                own.listing.helpers.add("logsumexp")
                places = [inner.axes.index(i) for i in indices]
                axis = places[0] if len(places) == 1 else tuple(places)
                return Value(f"logsumexp({inner.text}, axis={axis})", _without(inner.axes, indices))
            if kind == "max":
                return Value(f"{inner.at(ATOM)}.max({own.axis(inner, indices)})", _without(inner.axes, indices))
            ordered = own.aligned(inner, axes)
            left = _without(axes, indices)
            if len(indices) == 1:
                return Value(f"{ordered.at(ATOM)}.argmax(axis={len(left)})", left)
            shape = ", ".join([*(own.extent(i.extent) for i in left), "-1"])
            return Value(f"{ordered.at(ATOM)}.reshape({shape}).argmax(axis={len(left)})", left)
        case _:
            raise DerivationError(f"no NumPy is known for {type(expr).__name__}", about=own.equation)


def _power(base: Value, exponent: Fraction) -> str:
    if exponent == Fraction(1, 2):
        return f"np.sqrt({base.text})"
    number = _fraction(exponent)
    return f"{base.at(ATOM)}**{number.at(ATOM)}"


def _fraction(value: Fraction) -> Value:
    """The number in decimals where that is exact and short, else as a quotient."""
    minus, value = value < 0, abs(value)
    if value.denominator == 1:
        return Value(str(value.numerator), (), ATOM, minus)
    text = repr(float(value))
    if (Fraction(text) == value and len(text) <= 7) or len(str(value)) > len(text):
        return Value(text, (), ATOM, minus)
    return Value(f"{value.numerator} / {value.denominator}", (), PRODUCT, minus)


def _without(axes: Sequence[Index], indices: Iterable[Index]) -> tuple[Index, ...]:
    gone = set(indices)
    return tuple(i for i in axes if i not in gone)


