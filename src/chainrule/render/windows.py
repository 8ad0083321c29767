"""Windows as pictures: planes of what pooling and convolution read and give, with the planes of their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product, takewhile

from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.forms.nodes import seen
from chainrule.ir.expr import Add, Component, Multiply, Reduce, Tensor
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import components, nodes
from chainrule.render.document import Arrow, Figure, Spot, Text
from chainrule.render.example import SHOWN, Numbered, exact, where
from chainrule.render.formula import Part
from chainrule.render.pieces import Exact, Numbers
from chainrule.semantics.labelled import size

MANY = 10
"""Equations of a network beyond which its windows are not drawn."""
CELLS, SLID = 36, 4
"""Cells of a plane with the zeros around it, and products of planes in one sum, up to which they are drawn."""
Rows = tuple[tuple[Exact, ...], ...]


@dataclass(frozen=True)
class Slid:
    """An equation in which a kernel slides over planes: a sum of products of what is read in windows with `kernel`,
    and what else is added. `window` are the summed indices of the kernel's plane, `summed` the others."""

    equation: Equation
    read: Component
    kernel: Component
    window: tuple[Index, ...]
    summed: tuple[Index, ...]
    added: tuple[Component, ...]

    @property
    def channels(self) -> tuple[Index, ...]:
        """The indices of the result but those of its plane."""
        plane = {i for s in self.equation.target.subscripts[-len(self.window) :] for i in s.indices}
        return tuple(i for i in self.equation.indices if i not in plane)

    @property
    def rotated(self) -> bool:
        """Whether the read goes back where the kernel goes on."""
        plane = self.read.subscripts[-len(self.window) :]
        return all(dict(s.terms)[i] < 0 for s, i in zip(plane, self.window, strict=True))


class Windows(Numbered):
    def figures(self) -> Iterable[Figure]:
        """One for the first pooling of each kind, and for the first convolution, whose planes are small and whose
        gradients are followed, unless it is one layer of many."""
        if len(self.derivation.forward.equations) > MANY or not self.single:
            return
        kinds: set[str] = set()
        for equation in filter(None, map(one_sample, self.derivation.forward.equations)):
            pooled = self.pooled(equation)
            if pooled is not None and pooled[1] not in kinds:
                planes = [self.plane(t) for x in (pooled[0], equation.tensor) for t in (x, adjoint_of(x))]
                if all(planes):
                    kinds.add(pooled[1])
                    yield self.pool(pooled[0], equation.tensor, planes)
        pairs = ((one, self.backward_of(one)) for one in self.slides(self.derivation.forward))
        yield from islice(filter(None, (self.convolution(one, other) for one, other in pairs if other)), 1)

    # --- pooling --------------------------------------------------------------------------------

    def pooled(self, equation: Equation) -> tuple[Tensor, str] | None:
        """The one tensor that an equation reads in windows of a plane, and what is made of a window: max or sum."""
        reads = {c.tensor for c in components(equation.value)}
        reduced = [n for n in nodes(equation.value) if isinstance(n, Reduce)]
        if len(reads) != 1 or len(reduced) != 1 or reduced[0].kind not in ("max", "sum"):
            return None
        (read,) = reads
        places = [c.subscripts[-2:] for c in components(equation.value)]
        windows = len(read.shape) > 1 and all(len(s.indices) > 1 for at in places for s in at)
        return (read, reduced[0].kind) if windows else None

    def plane(self, tensor: Tensor) -> Rows | None:
        """The values of the first channel, if they are known and few."""
        own = self.sample.values.get(tensor.name, {})
        rows: dict[tuple[int, ...], list[Exact]] = {}
        for place, value in sorted(own.items()):
            if not any(place[:-2]):
                rows.setdefault(place[:-1], []).append(exact(value))
        return tuple(map(tuple, rows.values())) if 0 < sum(map(len, rows.values())) <= SHOWN else None

    def pool(self, x: Tensor, y: Tensor, planes: Sequence[Rows | None]) -> Figure:
        tensors = (x, adjoint_of(x), y, adjoint_of(y))
        texts = [self.text(tensor, rows) for tensor, rows in zip(tensors, planes, strict=True) if rows]
        spots = (Spot(0, 0, texts[0]), Spot(1, 0, texts[2]), Spot(2, 0, texts[3]), Spot(3, 0, texts[1]))
        totals = [sum(v for row in planes[n] or () for v in row) for n in (1, 3)]
        caption = self.say(
            "figure.pool", x=self.math(self.symbol(adjoint_of(x))), y=self.math(self.symbol(adjoint_of(y))),
            sum_x=self.math(Numbers(totals[0])), sum_y=self.math(Numbers(totals[1])),
        )
        return Figure(spots, (Arrow(0, 1), Arrow(2, 3)), caption)

    def text(self, tensor: Tensor, rows: Rows) -> Text:
        return (self.math(self.symbol(tensor), "=", Numbers(rows)),)

    # --- convolution ----------------------------------------------------------------------------

    def slides(self, program: Program) -> Iterable[Slid]:
        return filter(None, map(self.slid, filter(None, map(one_sample, program.equations))))

    def backward_of(self, forward: Slid) -> Slid | None:
        """The gradient by what the kernel slides over, where it is one sum with the rotated kernel."""
        gradient = adjoint_of(forward.read.tensor)
        turns = (s for s in self.slides(self.derivation.backward) if s.kernel.tensor == forward.kernel.tensor)
        return next((s for s in turns if s.equation.tensor == gradient and s.rotated), None)

    def slid(self, equation: Equation) -> Slid | None:
        """The kernel and what it slides over; None for any other equation, and where the kernel has gaps."""
        terms = equation.value.terms if isinstance(equation.value, Add) else (equation.value,)
        sums = [t for t in terms if isinstance(t, Reduce) and t.kind == "sum" and isinstance(t.body, Multiply)]
        added = tuple(t for t in terms if isinstance(t, Component))
        if len(sums) != 1 or len(sums) + len(added) < len(terms):
            return None
        factors = [f for f in components(sums[0].body) if f in sums[0].body.parts]
        if len(factors) != 2 or len(sums[0].body.parts) != 2:
            return None
        for read, kernel in (factors, factors[::-1]):
            axes = zip(reversed(read.subscripts), reversed(read.tensor.shape), strict=True)
            # The digits of a number of a channel do not slide.
            slides = takewhile(lambda axis: len(axis[0].indices) == 2 and not axis[0].radix(axis[1]), axes)
            plane = tuple(s for s, _ in slides)[::-1]
            window = [s.plain for s in kernel.subscripts[-len(plane) :]]
            own = tuple(i for s, i in zip(plane, window, strict=False) if i and abs(dict(s.terms).get(i, 0)) == 1)
            if 0 < len(plane) < 3 and len(own) == len(plane) == len(window) and {*own} <= {*sums[0].indices}:
                rest = tuple(i for i in sums[0].indices if i not in own)
                return Slid(equation, read, kernel, own, rest, added)
        return None

    def convolution(self, *turns: Slid) -> Figure | None:
        """Forward, and then backward with the rotated kernel: each plane with the kernel on it, and what their products
        add up to."""
        spots: list[Spot] = []
        arrows: list[Arrow] = []
        for own in turns:
            at = dict.fromkeys(own.channels, 0)
            places = [*product(*(range(size(i.extent, self.sample.sizes)) for i in own.summed))][: SLID + 1]
            products = [self.product(own, {**at, **dict(zip(own.summed, place, strict=True))}) for place in places]
            target = self.laid(own.equation.target, at, [range(n) for n in self.extents(own.equation.target, own)])
            if target is None or len(places) > SLID or not all(products):
                return None
            top = 1 + max((s.row for s in spots), default=-1.0)
            first = len(spots)
            spots += [Spot(0, top + row, text or ()) for row, text in enumerate(products)]
            plus: Text = ("+",) if len(products) > 1 else ()
            arrows += [Arrow(first + row, first + len(products), plus) for row in range(len(products))]
            spots.append(Spot(1, top + (len(products) - 1) / 2, (self.math(target[0], "=", Numbers(target[1])),)))
        forward, backward = turns
        shown = {"x": forward.read, "y": forward.equation.target, "dx": backward.equation.target, "dy": backward.read}
        places_ = {key: self.math(self.first(c, len(forward.window))) for key, c in shown.items()}
        caption = [self.say("figure.convolution", **places_)]
        for term in forward.added:
            at = dict.fromkeys(term.free, 0)
            value = self.value(term.tensor, where(term.subscripts, at))
            if value is not None:
                first_ = Component(term.tensor, tuple(Affine((), n) for n in where(term.subscripts, at)))
                caption.append(self.say("figure.added", term=self.math(first_, "=", Numbers(exact(value)))))
        return Figure(tuple(spots), tuple(arrows), tuple(part for text in caption for part in text))

    def product(self, own: Slid, at: dict[Index, int]) -> Text | None:
        """What is read of a plane, with what lies around it, and the kernel as it lies on it."""
        reach = [self.reach(s) for s in own.read.subscripts[-len(own.window) :]]
        turned = [range(n)[:: -1 if own.rotated else 1] for n in self.extents(own.kernel, own)]
        grid, weights = self.laid(own.read, at, reach), self.laid(own.kernel, at, turned)
        if grid is None or weights is None:
            return None
        kernel: Text = (self.math(weights[0]),)
        if own.rotated:
            kernel = self.say("figure.rotated", kernel=kernel)
        return self.math(grid[0], "⋆"), " ", *kernel, " ", self.math("=", Numbers(grid[1]), "⋆", Numbers(weights[1]))

    def reach(self, subscript: Affine) -> range:
        """What a subscript runs over, from end to end."""
        ends = [(c * (size(i.extent, self.sample.sizes) - 1), 0) for i, c in subscript.terms]
        low, high = (subscript.offset + sum(map(end, ends)) for end in (min, max))
        return range(low, high + 1)

    def extents(self, component: Component, own: Slid) -> list[int]:
        """Those of its plane."""
        return [size(e, self.sample.sizes) for e in component.tensor.shape[-len(own.window) :]]

    def laid(self, read: Component, at: dict[Index, int], rows: Sequence[Sequence[int]]) -> tuple[Part, Rows] | None:
        """The symbol of a tensor's plane and its numbers, in this order; 0 where none is read. None where they are
        many."""
        channel = where(read.subscripts[: -len(rows)], at)
        *outer, inner = rows
        places = [[(*channel, *row, n) for n in inner] for row in product(*outer)]
        if sum(map(len, places)) > CELLS or not self.values(read.tensor):
            return None
        values = tuple(tuple(exact(self.value(read.tensor, p) or 0) for p in row) for row in places)
        return self.first(read, len(rows), at), values

    def first(self, read: Component, rank: int, at: Mapping[Index, int] | None = None) -> Part:
        """A tensor's plane, of `rank` axes, of the channel at these indices, or of the first."""
        channel = where(read.subscripts[:-rank], at or dict.fromkeys(read.free, 0))
        return seen(read.tensor, (*(Affine((), n) for n in channel), *[None] * rank), read.pad)

    def symbol(self, tensor: Tensor) -> Part:
        bare = replace(tensor, shape=tuple(e for e in tensor.shape if e != SAMPLES))
        channels = len(bare.shape) - 2
        return seen(bare, (*[Affine((), 0)] * channels, None, None))
