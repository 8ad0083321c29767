"""Pooling as a picture: a plane of the input and of the result, and beside them the planes of their gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.forms.nodes import seen
from chainrule.ir.expr import Reduce, Tensor
from chainrule.ir.index import SAMPLES, Affine
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, nodes
from chainrule.render.document import Arrow, Figure, Spot, Text
from chainrule.render.example import SHOWN, Numbered, exact
from chainrule.render.formula import Part
from chainrule.render.pieces import Exact, Numbers

MANY = 10
"""Equations of a network beyond which its pooling is not drawn."""
Rows = tuple[tuple[Exact, ...], ...]


class Windows(Numbered):
    def figures(self) -> Iterable[Figure]:
        """One for the first pooling of each kind whose planes are small and whose gradients are followed, unless it is
        one layer of many."""
        if len(self.derivation.forward.equations) > MANY:
            return
        kinds: set[str] = set()
        for equation in self.derivation.forward.equations:
            shown = one_sample(equation) if self.single else None
            pooled = shown and self.pooled(shown)
            if shown is not None and pooled is not None and pooled[1] not in kinds:
                planes = [self.plane(t) for x in (pooled[0], shown.tensor) for t in (x, adjoint_of(x))]
                if all(planes):
                    kinds.add(pooled[1])
                    yield self.figure(pooled[0], shown.tensor, planes)

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

    def figure(self, x: Tensor, y: Tensor, planes: list[Rows | None]) -> Figure:
        tensors = (x, adjoint_of(x), y, adjoint_of(y))
        texts = [self.text(tensor, rows) for tensor, rows in zip(tensors, planes, strict=True) if rows]
        spots = (Spot(0, 0, texts[0]), Spot(1, 0, texts[2]), Spot(2, 0, texts[3]), Spot(3, 0, texts[1]))
        totals = [sum(v for row in planes[n] or () for v in row) for n in (1, 3)]
        caption = self.say(
            "figure.pool", x=self.math(self.symbol(adjoint_of(x))), y=self.math(self.symbol(adjoint_of(y))),
            sum_x=self.math(Numbers(totals[0])), sum_y=self.math(Numbers(totals[1])),
        )
        return Figure(spots, (Arrow(0, 1), Arrow(2, 3)), caption)

    def symbol(self, tensor: Tensor) -> Part:
        bare = replace(tensor, shape=tuple(e for e in tensor.shape if e != SAMPLES))
        channels = len(bare.shape) - 2
        return seen(bare, (*[Affine((), 0)] * channels, None, None))

    def text(self, tensor: Tensor, rows: Rows) -> Text:
        return (self.math(self.symbol(tensor), "=", Numbers(rows)),)
