"""Nests of loops around what a reduction adds up, picks or compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from chainrule.ir.expr import Component, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.layout import own_subscripts
from chainrule.loops.places import SPARING, Env, Ids, Place, Sample, inside, known_part
from chainrule.loops.reading import Reader

UNROLL = 9
"""Innermost reductions of at most so many terms are written out: their loads are shared among the terms."""

Atom = ir.Atom
Body = Callable[[list[Env], "Atom | None"], None]
"""What stands inside the loops of a reduction, given its points there and a mask of the lanes that count."""


class Nests(Reader):
    """`padded` are factors of the sum that is being written that make its terms 0 outside of their tensors."""

    def __init__(self, places: Mapping[tuple[Tensor, bool], Place], lanes: int, width: int, ids: Ids) -> None:
        super().__init__(places, lanes, width, ids)
        self.padded: list[Component] = []

    def loop(self, indices: Sequence[Index], envs: list[Env], body: Body, lanes: Index | None) -> None:
        """The loops of a reduction around `body`, which is given the points inside them."""
        if not indices:
            body(envs, None)
            return
        index, rest = indices[0], indices[1:]
        sizes = [i.extent for i in indices if isinstance(i.extent, int)]
        if index.is_sample:
            self.over_samples(index, rest, envs, body, lanes)
        elif lanes is not None and index is lanes:
            assert not rest and isinstance(index.extent, int)
            self.over_lanes(index, index.extent, envs, body)
        elif isinstance(index.extent, int) and (bounds := self.cut(index, envs)) is not None:
            variable = self.variable(index.extent)
            with self.inside() as statements:
                self.loop(rest, [{**env, index: Affine.of(variable)} for env in envs], body, lanes)
            self.statements.append(ir.For(variable, *bounds, 1, tuple(statements)))
        elif isinstance(index.extent, int) and prod(sizes) <= UNROLL and lanes not in indices:
            for n in range(index.extent):
                self.loop(rest, [{**env, index: Affine((), n)} for env in envs], body, lanes)
        else:
            variable = self.variable(index.extent)
            with self.inside() as statements:
                self.loop(rest, [{**env, index: Affine.of(variable)} for env in envs], body, lanes)
            assert isinstance(index.extent, int)
            self.statements.append(ir.For(variable, 0, index.extent, 1, tuple(statements)))

    def cut(self, index: Index, envs: Sequence[Env]) -> tuple[ir.Local, ir.Local] | None:
        """The bounds between which a factor of the sum is not all padding, where that spares a good part of the terms:
        a product with the padding's 0 is not added at all. None where the points of the tile differ in it."""
        for component in self.padded:
            layout = self.places[component.tensor, False].layout
            own = own_subscripts(component)
            for subscript, extent in zip(own, layout.extents, strict=True):
                c = subscript.coefficient(index)
                rest = subscript - Affine(((index, c),)) if c else subscript
                known = all(isinstance(env.get(i), Affine) for i in rest.indices for env in envs)
                if abs(c) != 1 or not known:
                    continue
                base = known_part(rest, envs[0])
                if any(known_part(rest, env) != base for env in envs):
                    continue
                if self.lane is not None and base.coefficient(self.lane):
                    continue
                assert isinstance(index.extent, int)
                if inside(subscript, index, extent) < SPARING:
                    low, high = (-base, -base + extent) if c > 0 else (base + (1 - extent), base + 1)
                    return self.clipped(low, index.extent), self.clipped(high, index.extent)
        return None

    def clipped(self, value: Affine, extent: int) -> ir.Local:
        """The value, but at least 0 and at most the extent."""
        least = self.call("least", ir.Whole(value), ir.Whole(Affine((), extent)), kind="int")
        clipped = self.call("most", least, ir.Whole(Affine()), kind="int")
        assert isinstance(clipped, ir.Local)
        return clipped

    def over_samples(
        self, index: Index, rest: Sequence[Index], envs: list[Env], body: Body, lanes: Index | None
    ) -> None:
        block = self.variable("blocks", "b")
        here = Affine.of(block)

        def loop(sample: Sample, start: int | str, stop: int | str, alive: bool) -> None:
            with self.inside() as statements:
                mask = self.let(ir.Call("live", (self.left(block),), "mask")) if alive else None

                def guarded(points: list[Env], more: Atom | None) -> None:
                    body(points, self.call("both", mask, more, kind="mask") if mask and more else mask or more)

                self.loop(rest, [{**env, index: sample} for env in envs], guarded, lanes)
            self.statements.append(ir.For(block, start, stop, 1, tuple(statements)))

        if self.width == 1:
            loop(Sample(here, Affine()), 0, "blocks", False)
        elif lanes is not None and lanes is index:
            loop(Sample(here, None), 0, "full", False)
            loop(Sample(here, None), "full", "blocks", True)
        else:
            one = self.variable(self.width, "n")
            with self.inside() as outer:
                stop = self.let(ir.Call("least", (self.left(block), ir.Whole(Affine((), self.width))), "int"))
                assert isinstance(stop, ir.Local)
                with self.inside() as statements:
                    self.loop(rest, [{**env, index: Sample(here, Affine.of(one))} for env in envs], body, lanes)
                self.statements.append(ir.For(one, 0, stop, 1, tuple(statements)))
            self.statements.append(ir.For(block, 0, "blocks", 1, tuple(outer)))

    def left(self, block: Index) -> Atom:
        """How many samples are left from a block on."""
        return self.let(ir.Call("minus", (ir.Local("N", "int"), ir.Whole(Affine.of(block) * self.width)), "int"))

    def over_lanes(self, index: Index, extent: int, envs: list[Env], body: Body) -> None:
        """A reduction whose neighbouring terms are in the lanes: one partial sum a lane."""
        full = extent - extent % self.lanes
        variable = self.variable(extent, "l")
        self.lane = variable
        if full:
            with self.inside() as statements:
                body([{**env, index: Affine.of(variable)} for env in envs], None)
            self.statements.append(ir.For(variable, 0, full, self.lanes, tuple(statements)))
        if extent % self.lanes:
            self.part = extent - full
            with self.inside() as statements:
                alive = self.let(ir.Call("live", (ir.Whole(Affine((), extent - full)),), "mask"))
                body([{**env, index: Affine.of(variable)} for env in envs], alive)
            self.statements.append(ir.For(variable, full, full + 1, 1, tuple(statements)))
            self.part = None
        self.lane = None
