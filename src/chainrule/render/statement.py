"""One equation as a NumPy statement.

A sum of products is a matrix product where it is one, else einsum. A read or a write at an affine subscript,
x[n, c, 2i + p], is an index of open grids, as the formula has it: x[:, :, 2*i + p]. Every value knows which index each
axis is, and whether it is a bracket, which is boolean in NumPy until it meets a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from string import ascii_letters
from typing import Protocol

from chainrule.errors import DerivationError
from chainrule.forms.fuse import Fused, fuse
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, iterative, nodes
from chainrule.render.value import ATOM, POWER, PRODUCT, SUM, Kind, Value, fraction, kind_of, power, without

CALLS = {name: name if f.listing else f"np.{f.numpy or name}" for name, f in CATALOGUE.items() if name != "step"}
EXACT = ("max", "min", "sign", "abs", "relu")
"""Integers of integers."""
LETTERS = ascii_letters
NEW = "None"
OVER = "1 / "


class Context(Protocol):
    """What the statements of one listing share."""

    words: Mapping[str, str]
    """Tensors by name: their names in Python."""
    given: Sequence[Tensor]
    helpers: set[str]
    """The helper functions that the statements call."""
    defined: set[str]
    """The tensors that are written part by part and exist already."""
    whole: set[str]
    """The real tensors whose arrays hold integers: counts, sums of brackets."""
    pads: dict[tuple[str, str], str]
    sized: bool
    """Whether the number of samples is read."""


class Statement:
    """One equation: the lines that its reads need before it, and the assignment."""

    def __init__(self, listing: Context, equation: Equation) -> None:
        self.listing, self.equation = listing, equation
        self.before: list[str] = []
        target = equation.target
        self.complete = all(s.radix(e) for s, e in zip(target.subscripts, target.tensor.shape, strict=True))
        fused = fuse(target, equation.value) if self.complete else Fused(target, equation.value)
        self.target, self.result, self.flat = fused.target, fused.value, fused.flat
        target, others = self.target.free, [i for node in nodes(self.result) for i in node.free]
        self.order = tuple(dict.fromkeys((*target, *others)))
        self.grids: dict[tuple[Index, ...], None] = {}
        self.letters: dict[Index, str] = {}
        for index in self.order:
            first = index.name[:1] if index.name[:1] in LETTERS else ""
            used = self.letters.values()
            self.letters[index] = next((c for c in (*first, *LETTERS) if c not in used), LETTERS[0])
        self.places: dict[tuple[tuple[Index, ...], Index], str] = {}

    def place(self, group: tuple[Index, ...], index: Index) -> str:
        """The name of an index in the grid of a group; in every grid of a statement it is another."""
        if (group, index) not in self.places:
            word = self.letters[index]
            while word in (SAMPLES, *self.listing.words.values(), *self.places.values()):
                word += word[0]
            self.places[group, index] = word
        return self.places[group, index]

    def lines(self) -> list[str]:
        equation, target = self.equation, self.target
        name = self.listing.words[equation.tensor.name]
        if not self.complete:
            return self.piece(name)
        digits = [[i for i, _ in sorted(s.terms, key=lambda t: -t[1])] for s in target.subscripts]
        order = tuple(i for group in digits for i in group)
        value = self.value(self.result)
        if equation.tensor.dtype == "real":
            value = value.number
            if value.kind == "whole":
                self.listing.whole.add(name)
        value = self.full(self.aligned(value, order), order)
        if target.tensor != equation.tensor or any(s.plain is None for s in target.subscripts):
            value = Value(f"{value.at(ATOM)}.reshape({self.extents(equation.tensor.shape)})", order)
        return [*self.before, *self.assignment(name, value.text)]

    def piece(self, name: str) -> list[str]:
        """One part of a tensor that several equations define."""
        tensor, listing = self.equation.tensor, self.listing
        made: list[str] = []
        if name not in listing.defined:
            listing.defined.add(name)
            made.append(f"{name} = np.zeros({self.shape(tensor.shape)}{', int' if tensor.dtype == 'integer' else ''})")
        parts, axes = self.place_of(self.target.subscripts, tensor.shape)
        value = self.aligned(self.value(self.result), axes)
        return [*made, *self.before, *self.assignment(f"{name}[{', '.join(parts)}]", value.text)]

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
        for tensor in self.listing.given:
            if extent in tensor.shape:
                if extent == SAMPLES:
                    self.listing.sized = True
                    return SAMPLES
                return f"{self.listing.words[tensor.name]}.shape[{tensor.shape.index(extent)}]"
        raise DerivationError(f"nothing given has the extent {extent}", about=self.equation)

    def extents(self, shape: Iterable[Extent]) -> str:
        return ", ".join(map(self.extent, shape))

    def shape(self, shape: Sequence[Extent]) -> str:
        return f"({self.extents(shape)}{',' if len(shape) == 1 else ''})"

    def slice(self, s: Affine, extent: int) -> str:
        """start:stop:step, as short as it can be, of an index with a positive step."""
        ((index, step),) = s.terms
        if s.plain is not None and index.extent == extent:
            return ":"
        last = s.offset + step * (int(index.extent) - 1)
        stop = "" if last + step >= extent else str(last + 1)
        return f"{s.offset or ''}:{stop}" + (f":{step}" if step != 1 else "")

    # --- axes -----------------------------------------------------------------------------------

    def aligned(self, value: Value, order: Sequence[Index]) -> Value:
        """The value with its axes in this order, and new axes of length 1 where that is not at the front."""
        wanted = tuple(i for i in order if i in value.axes)
        assert set(wanted) == set(value.axes), "a value has the axes of what it stands in"
        plain = replace(value, minus=False)
        if wanted != value.axes:
            places = [value.axes.index(i) for i in wanted]
            turned = "T" if places == [1, 0] else f"transpose({', '.join(map(str, places))})"
            plain = Value(f"{plain.at(ATOM)}.{turned}", wanted, kind=value.kind)
        rest = order[order.index(wanted[0]) :] if wanted else ()
        if len(rest) > len(wanted):
            shown = [":" if i in wanted else NEW for i in rest]
            tail = len(shown) - shown[::-1].index(":")
            several = NEW in shown[:tail] or tail == 1
            parts = shown if several else ["...", *shown[tail:]]
            plain = Value(f"{plain.at(ATOM)}[{', '.join(parts)}]", wanted, kind=value.kind)
        return replace(plain, minus=value.minus)

    def full(self, value: Value, order: Sequence[Index]) -> Value:
        """The value repeated along the axes that it lacks."""
        if len(value.axes) == len(order):
            return value
        value = value.number if value.minus else value
        shape = self.shape([i.extent for i in order])
        if not value.axes:
            made = f"np.zeros({shape})" if value.code == "0" else f"np.full({shape}, {value.text})"
            return Value(made, tuple(order), kind=value.kind)
        return Value(f"np.broadcast_to({value.text}, {shape})", tuple(order), kind=value.kind)

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
        whole = c.tensor.dtype == "integer" or name in self.listing.whole
        kind: Kind = "whole" if whole and c.pad != "-inf" else "real"
        if c.pad is not None:
            if any(_open(s, e) for s, e in zip(subscripts, shape, strict=True)):
                return self.clipped(name, c)
            name = self.padded(name, c, subscripts, shape, whole)
        digits = all(s.terms and s.radix(e) for s, e in zip(subscripts, shape, strict=True))
        used = [i for s in subscripts for i in s.indices]
        if digits and len(shape) < len(used) == len(set(used)):
            return replace(self.parted(name, subscripts), kind=kind)
        parts, axes = self.place_of(subscripts, shape)
        return Value(name if all(p == ":" for p in parts) else f"{name}[{', '.join(parts)}]", axes, kind=kind)

    def place_of(self, subscripts: Sequence[Affine], shape: Sequence[Extent]) -> tuple[list[str], tuple[Index, ...]]:
        """What stands in the brackets behind a name: whole axes as they are, constants and single steps as slices, all
        else as grids; and the indices of the axes that come out."""
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
            # NumPy puts the axes of grids where the first of them stands only if no slice stands between.
            first, last = kinds.index("grid"), len(kinds) - kinds[::-1].index("grid")
            kinds = ["grid" if first <= n < last else k for n, k in enumerate(kinds)]
            if "number" in kinds:
                kinds = ["grid"] * len(kinds)
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
                axes.extend(s.indices)
                parts.append(":" if kind == ":" else self.slice(s, int(extent)))
        return parts, tuple(axes)

    def clipped(self, name: str, c: Component) -> Value:
        """A padded read along an axis whose extent is open: where the subscripts lie inside, else the padding."""
        axes = tuple(i for i in self.order if i in c.free)
        if axes and axes not in self.grids:
            self.grids[axes] = None
        inside: list[str] = []
        parts: list[str] = []
        for s, extent in zip(c.subscripts, c.tensor.shape, strict=True):
            text, end = self.affine(s, axes), self.extent(extent)
            if s.within(extent):
                parts.append(text)
            else:
                inside.append(f"(0 <= {text}) & ({text} < {end})")
                parts.append(f"np.clip({text}, 0, {end} - 1)")
        return Value(f"np.where({' & '.join(inside)}, {name}[{', '.join(parts)}], {_fill(c)})", axes)

    def parted(self, name: str, subscripts: Sequence[Affine]) -> Value:
        """Mixed-radix subscripts: the axis is parted into its digits."""
        groups = [[i for i, _ in sorted(s.terms, key=lambda t: (-t[1], t[0].extent != 1))] for s in subscripts]
        axes = tuple(i for group in groups for i in group)
        return Value(f"{name}.reshape({self.extents(i.extent for i in axes)})", axes)

    def padded(self, name: str, c: Component, subscripts: list[Affine], shape: list[Extent], whole: bool) -> str:
        """The tensor with cells put around it; subscripts and shape become those to read there."""
        amounts: list[tuple[int, int]] = []
        for k, (s, extent) in enumerate(zip(c.subscripts, c.tensor.shape, strict=True)):
            bounds = s.bounds()
            if s.plain is not None and s.plain.extent == extent:
                amounts.append((0, 0))
                continue
            assert bounds is not None and isinstance(extent, int), "what is open is clipped"
            before, after = max(0, -bounds[0]), max(0, bounds[1] - extent + 1)
            amounts.append((before, after))
            subscripts[k], shape[k] = s + before, extent + before + after
        if not any(map(any, amounts)):
            return name
        value = "" if c.pad == 0 else f", constant_values={_fill(c)}"
        # An array of integers would round what is put around it.
        exact = not whole or (isinstance(c.pad, Fraction) and c.pad.denominator == 1)
        array = name if exact else f"1.0 * {name}"
        code = f"np.pad({array}, ({', '.join(map(str, amounts))}{',' if len(amounts) == 1 else ''}){value})"
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
        below = [p for p in parts if p.below]
        above = [p for p in parts if not p.below]
        code = " * ".join(p.at(POWER) if n else p.at(PRODUCT) for n, p in enumerate(above)) or "1"
        for part in below:
            code += f" / {part.below}"
        kind = "truth" if all(f.kind == "truth" for f in factors) else kind_of(factors)
        return Value(code, axes, PRODUCT, minus, kind, led=bool(above) and above[0].bracketed)

    def chosen(self, factors: Sequence[Expr], values: Sequence[Value]) -> list[Value]:
        """The values of the factors of a product. Where a bracket is 0 the product is 0: it chooses where the factors
        beside it may be infinite."""
        pairs = [*zip(factors, values, strict=True)]
        brackets = [v for f, v in pairs if isinstance(f, Delta | Guard)]
        unbounded = [v for f, v in pairs if any(map(_unbounded, nodes(f)))]
        if not brackets or not unbounded:
            return [*values]
        where, value = self.product(brackets), self.product(unbounded)
        axes = self.union([where, value])
        condition = self.aligned(where, axes).text
        if len(brackets) == 1 and condition == where.code:
            condition = condition[1:-1]  # its own brackets
        code = f"np.where({condition}, {self.aligned(value, axes).text}, 0)"
        return [Value(code, axes), *(v for v in values if v not in brackets and v not in unbounded)]

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
        values = self.chosen(factors, [self.value(f) for f in factors])
        outside = [v for v in values if not set(v.axes) & set(indices)]
        inside = [v for v in values if v not in outside]
        own = [i for i in indices if any(i in v.axes for v in inside)]
        idle = [i.extent for i in indices if i not in own]
        times = prod(e for e in idle if isinstance(e, int))
        counts = [str(times)] * (times != 1) + [self.extent(e) for e in idle if isinstance(e, str)]
        outside = [*(Value(c, kind="whole") for c in counts), *outside]
        if not inside:
            return self.product(outside)
        core = self.total(inside[0], own) if len(inside) == 1 else self.contraction(inside, own)
        return self.product([*outside, core]) if outside else core

    def gathered(self, other: Expr, index: Index, chosen: Component) -> Value | None:
        """Σ_v [v = id] E_v is E at id, where id is a value of v: what is computed or put around may be none."""
        if not isinstance(other, Component) or other.pad is not None:
            return None
        if chosen.tensor not in self.listing.given or chosen.pad is not None:
            return None
        plain = [s.plain for s in other.subscripts]
        whole = all(i is not None and i.extent == e for i, e in zip(plain, other.tensor.shape, strict=True))
        if not whole or plain.count(index) != 1 or index not in plain[:1] or len(set(plain)) != len(plain):
            return None
        at = self.read(chosen)
        rest = tuple(i for i in plain if i is not None and i != index)
        if set(rest) & set(at.axes):
            return None
        word = self.word(other.tensor)
        return Value(f"{word}[{at.text}]", (*at.axes, *rest), kind="whole" if word in self.listing.whole else "real")

    def total(self, value: Value, indices: Sequence[Index]) -> Value:
        if not indices:
            return value
        kind = kind_of([value])
        return Value(f"{value.at(ATOM)}.sum({self.axis(value, indices)})", without(value.axes, indices), kind=kind)

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
        if all(v.kind == "truth" for v in values):
            values[0] = values[0].number
        kind = kind_of(values)
        every = tuple(i for i in self.order if any(i in v.axes for v in values))
        out = without(every, indices)
        largest = max(values, key=lambda v: len(v.axes))
        alike = len(values) != 2 or set(values[0].axes) == set(values[1].axes) or not out
        if alike and set(largest.axes) == set(every) and len(every) == 1 + len(out) < 3:
            return replace(self.total(self.product(values), indices), minus=minus)
        if len(values) == 2 and len(indices) == 1:
            for a, b in (values, values[::-1]):
                form = self.matrix_product(a, b, indices[0], out)
                if form is not None:
                    return replace(form, minus=minus, kind=kind)
        letters: dict[Index, str] = {}
        for index in every:
            used = letters.values()
            letters[index] = next(c for c in (self.letters[index], *LETTERS) if c not in used)
        words = ",".join("".join(letters[i] for i in v.axes) for v in values)
        result = "".join(letters[i] for i in out)
        return Value(f'np.einsum("{words}->{result}", {", ".join(v.text for v in values)})', out, ATOM, minus, kind)

    def matrix_product(self, a: Value, b: Value, k: Index, out: Sequence[Index]) -> Value | None:
        """a @ b, where that is Σ_k over the last axis of a and the first of b, and gives the axes in order."""
        ra, rb = without(a.axes, (k,)), without(b.axes, (k,))
        if not (k in a.axes and k in b.axes) or set(ra) & set(rb) or len(rb) > 1 or (*ra, *rb) != tuple(out):
            return None
        left, right = self.aligned(a, (*ra, k)), self.aligned(b, (k, *rb))
        if len(ra) > 1 and a.axes[-1] != k:
            return None
        return Value(f"{left.at(PRODUCT)} @ {right.at(POWER)}", tuple(out), PRODUCT, led=left.bracketed)


@iterative
def _code(expr: Expr, own: Statement) -> Steps[Value]:
    match expr:
        case Constant(value=Fraction() as value):
            return fraction(value)
        case Constant(value=value):
            return Value("np.pi" if value == "pi" else "np.e")
        case Size(extent=extent):
            return Value(own.extent(extent), kind="whole")
        case Component():
            return own.read(expr)
        case Delta(left=left, right=right):
            one = own.counted(left)
            other = own.read(right) if isinstance(right, Component) else own.counted(right)
            axes = own.union((one, other))
            a, b = own.aligned(one, axes), own.aligned(other, axes)
            return Value(f"({a.text} == {b.text})", axes, kind="truth")
        case Guard(subscript=subscript, extent=extent):
            one = own.counted(subscript)
            return Value(f"((0 <= {one.text}) & ({one.text} < {own.extent(extent)}))", one.axes, kind="truth")
        case Add(terms=terms):
            values: list[Value] = []
            for term in terms:
                values.append((yield term, own))
            if values[0].kind == "truth" and (values[0].minus or values[1].kind == "truth"):
                values[0] = values[0].number
            axes, kind = own.union(values), kind_of(values)
            code = ""
            for value in (own.aligned(v, axes) for v in values):
                if not code:
                    code = value.text
                else:
                    code += f" {'-' if value.minus else '+'} {replace(value, minus=False).at(PRODUCT)}"
            return Value(code, axes, SUM, kind=kind)
        case Multiply(factors=factors):
            values = []
            for factor in factors:
                values.append((yield factor, own))
            values = own.chosen(factors, values)
            minus = sum(v.minus for v in values) % 2 == 1
            rest = [v for v in (replace(v, minus=False) for v in values) if v.code != "1"] or [fraction(Fraction(1))]
            return replace(own.product(rest), minus=minus)
        case Power(base=base, exponent=exponent):
            inner = yield base, own
            inner = inner.number
            if exponent < 0:
                below = inner.at(POWER) if exponent == -1 else power(inner, -exponent)
                return Value(f"{OVER}{below}", inner.axes, PRODUCT, below=below)
            kind = inner.kind if exponent.denominator == 1 else "real"
            return Value(power(inner, exponent), inner.axes, POWER, kind=kind)
        case Apply(function=function, arguments=arguments):
            values = []
            for argument in arguments:
                inner: Value = yield argument, own
                values.append(inner.number)
            axes = own.union(values)
            parts = [own.aligned(v, axes) for v in values]
            if function == "step":
                return Value(f"({parts[0].text} > 0)", axes, kind="truth")
            if function not in CALLS:
                raise DerivationError(f"no NumPy is known for {function}", about=own.equation)
            own.listing.helpers.add(function)
            kind = kind_of(values) if function in EXACT else "real"
            return Value(f"{CALLS[function]}({', '.join(p.text for p in parts)})", axes, kind=kind)
        case Reduce(kind="sum", indices=indices, body=body):
            if isinstance(body, Add):
                inner = yield body, own
                return own.total(own.over(inner, indices), indices)
            return own.summed(indices, body.factors if isinstance(body, Multiply) else (body,))
        case Reduce(kind=kind, indices=indices, body=body):
            inner = own.over((yield body, own), indices)
            axes = (*without(inner.axes, indices), *indices)
            if kind == "logsumexp":
                own.listing.helpers.add("logsumexp")
                inner = inner.number
                places = [inner.axes.index(i) for i in indices]
                axis = places[0] if len(places) == 1 else tuple(places)
                return Value(f"logsumexp({inner.text}, axis={axis})", without(inner.axes, indices))
            if kind == "max":
                inner, left = inner.number if inner.minus else inner, without(inner.axes, indices)
                return Value(f"{inner.at(ATOM)}.max({own.axis(inner, indices)})", left, kind=inner.kind)
            ordered = own.aligned(inner, axes)
            left = without(axes, indices)
            if len(indices) == 1:
                return Value(f"{ordered.at(ATOM)}.argmax(axis={len(left)})", left, kind="whole")
            shape = ", ".join([*(own.extent(i.extent) for i in left), "-1"])
            return Value(f"{ordered.at(ATOM)}.reshape({shape}).argmax(axis={len(left)})", left, kind="whole")
        case _:
            raise DerivationError(f"no NumPy is known for {type(expr).__name__}", about=own.equation)


def _fill(c: Component) -> str:
    return fraction(c.pad).text if isinstance(c.pad, Fraction) else "-np.inf"


def _unbounded(node: Expr) -> bool:
    match node:
        case Power(exponent=exponent):
            return exponent < 0 or exponent.denominator > 1
        case Apply(function=function):
            return function in ("log", "exp", "expm1")
        case Component(pad=pad):
            return pad == "-inf"
        case _:
            return False


def _open(s: Affine, extent: Extent) -> bool:
    """Whether it cannot be said, while the listing is written, how far outside the axis a subscript reads."""
    return not (s.plain is not None and s.plain.extent == extent) and (s.bounds() is None or isinstance(extent, str))
