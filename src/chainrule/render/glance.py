"""The network at a glance: a diagram, and a table of its layers with shapes, parameters and operations.

The operations are counted from the equations of the two passes; no layer is known by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from math import prod
from typing import Protocol

from chainrule.ir.cost import operations
from chainrule.ir.expr import Tensor, is_position, origin
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.render.document import Arrow, Block, Cell, Code, Figure, Spot, Table, Text
from chainrule.render.writer import Writer

LABELS = 8
"""Layers up to which each is drawn by itself; beyond, those of one number stand together."""
SPOTS = 19
"""Spots of a diagram beyond which the middle is left out."""
ROWS = 9
"""Rows of the table beyond which those of one number are one row, and then equal neighbours are."""


class Values(Protocol):
    """The numbers of the worked example."""

    def beside(self, tensor: Tensor) -> tuple[Text, Text]:
        """A tensor's value and the gradient by it, where they are short."""
        ...


@dataclass
class Part:
    """What is drawn or counted as one: some labels, and the equations of their layers."""

    labels: list[str] = field(default_factory=list[str])
    equations: list[Equation] = field(default_factory=list[Equation])
    parameters: list[Tensor] = field(default_factory=list[Tensor])
    backward: list[Equation] = field(default_factory=list[Equation])

    @property
    def output(self) -> Tensor:
        return self.equations[-1].tensor

    @property
    def numbers(self) -> tuple[object, ...]:
        sizes = sum(prod(e for e in t.shape if isinstance(e, int)) for t in self.parameters)
        return shape_of(self.output), sizes, operations(self.equations), operations(self.backward)


class Glance(Writer):
    @cached_property
    def several(self) -> bool:
        """Whether there is more to see than one layer."""
        return len(self.parts(numbered=False)) > 1

    def at_a_glance(self, circuit: Figure | None, numbers: Values | None) -> Iterable[Block]:
        if self.several:
            figure, table = self.drawn_and_counted(numbers)
            yield circuit or figure
            yield table
        elif circuit:
            yield circuit

    def drawn_and_counted(self, numbers: Values | None = None) -> tuple[Figure, Table]:
        parts = self.parts(numbered=False)
        drawn = parts if len(parts) <= LABELS else self.parts(numbered=True)
        return self.figure(drawn, numbers), self.table(parts if len(parts) <= ROWS else self.parts(numbered=True))

    def parts(self, *, numbered: bool) -> list[Part]:
        """The layers in order, each label by itself or those of one number together; the loss last."""
        derivation = self.derivation
        by_label: dict[str, Part] = {}
        shares = {use.contribution: use for use in derivation.uses}
        for equation in derivation.forward.equations:
            label = derivation.layers.get(origin(equation.tensor).name, "")
            part = by_label.setdefault(label, Part([label] if label else []))
            if not is_position(equation.tensor):
                part.equations.append(equation)
            own = (t for t in equation.value.tensors if t in derivation.forward.parameters)
            part.parameters.extend(t for t in own if label and t not in part.parameters)
        for equation in derivation.backward.equations:
            use = shares.get(equation.tensor)
            through = use.equation.tensor if use else equation.tensor
            label = derivation.layers.get(origin(through).name, "")
            by_label.setdefault(label if label in by_label else "", Part()).backward.append(equation)
        loss = by_label.pop("", None)
        parts = list(by_label.values())
        if numbered:
            parts = [_together(list(group)) for _, group in groupby(parts, key=self.number)]
        return [*parts, *([loss] if loss and loss.equations else [])]

    def number(self, part: Part) -> int | None:
        return self.names.layer(part.output)

    # --- the table ------------------------------------------------------------------------------

    def table(self, parts: Sequence[Part]) -> Table:
        rows: list[tuple[Text, tuple[object, ...]]] = []
        runs = [(list(run), numbers) for numbers, run in groupby(parts, key=lambda p: p.numbers)]
        for run, numbers in runs:
            if len(run) > 2 and len(parts) > ROWS:
                ends = (self.labels(run[0]), self.labels(run[-1]))
                rows.append((self.say("glance.several", first=ends[0], last=ends[1], count=str(len(run))), numbers))
            else:
                rows.extend((self.labels(part), numbers) for part in run)
        header = ("layer", "output", "parameters", "forward", "backward")
        total = [sum(int(str(p.numbers[k])) for p in parts) for k in (1, 2, 3)]
        cells: list[tuple[Cell, ...]] = [
            ((label,), ((str(n[0]),),), *(((_grouped(int(str(k))) if k else "",),) for k in n[1:])) for label, n in rows
        ]
        cells.append(((self.say("glance.total"),), (), *(((_grouped(k),),) for k in total)))
        return Table(tuple(self.say(f"glance.{key}") for key in header), tuple(cells))

    def labels(self, part: Part) -> Text:
        if not part.labels:
            return self.say("glance.loss")
        return tuple(x for n, label in enumerate(part.labels) for x in ((" + ", Code(label)) if n else (Code(label),)))

    # --- the diagram ----------------------------------------------------------------------------

    def figure(self, parts: Sequence[Part], numbers: Values | None) -> Figure:
        """From the inputs to the loss; beside an arrow the shape of what passes, and beside a layer the numbers of the
        example, where they are short."""
        forward = self.derivation.forward
        owner: dict[Tensor, int] = {}
        read_by_layers = {t for part in parts if part.labels for e in part.equations for t in e.value.tensors}
        inputs = [t for t in forward.inputs if t in read_by_layers]
        spots: list[tuple[Text, Text, Text]] = []

        def add(text: Text, tensor: Tensor) -> None:
            above, below = numbers.beside(tensor) if numbers else ((), ())
            spots.append((text, above, below))

        for tensor in inputs:
            owner[tensor] = len(spots)
            add((self.math(self.whole(tensor)),), tensor)
        for part in parts:
            owner.update((e.tensor, len(spots)) for e in part.equations)
            add(self.drawn(part), part.output)
        edges: dict[tuple[int, int], Tensor] = {}
        for part in parts:
            for equation in part.equations:
                for read in equation.value.tensors:
                    start, end = owner.get(read), owner[equation.tensor]
                    if (start is not None and start != end and read.dtype == "real") or read in inputs:
                        edges.setdefault((owner[read], end), read)
        kept = self.kept(len(spots))
        placed: list[Spot] = []
        where: dict[int | None, int] = {}
        for column, old in enumerate(kept):
            where[old] = column
            placed.append(Spot(column, 0, *(spots[old] if old is not None else (("…",), (), ()))))
        arrows: list[Arrow] = []
        for (start, end), tensor in edges.items():
            if start in where and end in where:
                near = where[end] - where[start] == 1
                arrows.append(Arrow(where[start], where[end], (shape_of(tensor),) if near else ()))
        if None in where:
            gap = where[None]
            arrows += [Arrow(gap - 1, gap), Arrow(gap, gap + 1)]
        caption = self.say("glance.caption")
        if any(spot.above or spot.below for spot in placed):
            caption = (*caption, " ", *self.say("figure.numbers", loss=self.math(self.names.loss.stem)))
        return Figure(tuple(placed), tuple(arrows), caption)

    def whole(self, tensor: Tensor) -> str:
        return self.names.symbol(tensor).stem

    def drawn(self, part: Part) -> Text:
        if not part.labels:
            return (self.math(self.names.loss.stem),)
        number = self.number(part)
        if len(part.labels) > 1 and number:
            return self.say("backward.layer", number=str(number))
        return self.labels(part)

    def kept(self, count: int) -> list[int | None]:
        """All spots, or the first and the last ones with a gap between."""
        if count <= SPOTS:
            return list(range(count))
        half = SPOTS // 2
        return [*range(half), None, *range(count - half, count)]


def _together(parts: Sequence[Part]) -> Part:
    result = Part()
    for part in parts:
        result.labels += part.labels
        result.equations += part.equations
        result.parameters += part.parameters
        result.backward += part.backward
    return result


def shape_of(tensor: Tensor) -> str:
    """The extents of one sample."""
    return "×".join(str(e) for e in tensor.shape if e != SAMPLES) or "1"


def _grouped(number: int) -> str:
    return f"{number:,}"
