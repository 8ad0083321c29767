"""The computational graph of the worked example, component by component: values, gradients and weights as numbers.

Every number is one of the sample's; here is only decided which of them stands where.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import product

from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.ir.expr import ZERO, Component, Delta, Expr, Guard, Multiply, Reduce, Tensor
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import Steps, iterative
from chainrule.render.document import Arrow, Figure, Spot, Text
from chainrule.render.example import Numbered, numbered, where
from chainrule.render.formula import Part
from chainrule.render.sample import Place
from chainrule.semantics.labelled import shape_of, size

BROAD = 5
"""Components of a tensor up to which each has a spot of its own."""
COLUMNS, ARROWS = 9, 9
"""Tensors in a row, and arrows from all that stands before a tensor, up to which components are drawn."""

Unit = tuple[str, Place]
"""A component, by its tensor's name and its place; what a bias comes from is ONE."""
ONE: Unit = ("", ())
Read = tuple[Unit, tuple[Tensor, Place] | None]
"""A component that is read, and the weight it is multiplied by, if there is one."""


class Circuit(Numbered):
    def figure(self) -> Figure | None:
        """From the inputs to the loss, a ring for each component; nothing where samples are coupled or layers are
        broad."""
        equations = self.chain()
        if not self.single or equations is None:
            return None
        reads: dict[Unit, list[Read]] = {}
        for equation in equations:
            for at in product(*(range(size(i.extent, self.sample.sizes)) for i in equation.indices)):
                places = dict(zip(equation.indices, at, strict=True))
                unit = equation.tensor.name, self.bare(equation.tensor, where(equation.target.subscripts, places))
                reads[unit] = list(dict.fromkeys(reading(equation.value, places, self, None)))
        columns = self.columns(reads)
        if all(read == ONE for own in reads.values() for read, _ in own):
            return None
        arrows = Counter(columns[unit] for unit, own in reads.items() for _ in own)
        if max(columns.values()) >= COLUMNS or max(arrows.values()) > ARROWS:
            return None
        return self.drawn(reads, columns)

    def chain(self) -> list[Equation] | None:
        """The equations that are drawn, for one sample: all but a mean over the one sample that there is; None where a
        tensor that is drawn has too many components."""
        equations: list[Equation] = []
        for equation in self.derivation.forward.equations:
            value = equation.value.tensors
            if not equation.indices and all(self.names.is_loss(t) for t in value):
                continue
            equations.append(one_sample(equation) or equation)
        shown = [t for e in equations for t in (e.tensor, *e.value.tensors) if self.drawable(t)]
        every = (*self.derivation.forward.given, *self.derivation.forward.defined)
        paired = any(t.shape.count(SAMPLES) > 1 for t in every)
        small = not paired and all(self.count(self.tensors[t.name]) <= BROAD and self.values(t) for t in shown)
        return equations if small and equations else None

    def drawable(self, tensor: Tensor) -> bool:
        """Whether a tensor's components have spots: not those of a weight, a target or whole numbers."""
        own = self.tensors[tensor.name]
        readers = (e.tensor for e in self.derivation.forward.equations if own in e.value.tensors)
        target = own in self.derivation.forward.given and all(map(self.names.is_loss, readers))
        return own not in self.weights and own.dtype == "real" and not target

    @cached_property
    def weights(self) -> frozenset[Tensor]:
        """What has no axis of samples and is given: parameters, or in a lone equation what takes their place."""
        own = (*self.derivation.forward.parameters, *self.derivation.forward.given)
        samples = any(SAMPLES in t.shape for t in own)
        known = {*self.derivation.forward.parameters}
        return frozenset(t for t in own if t in known or (samples and SAMPLES not in t.shape))

    def bare(self, tensor: Tensor, place: Place) -> Place:
        """A place without the axis of samples, of which there is one."""
        shape = self.tensors[tensor.name].shape
        if SAMPLES not in shape or len(place) < len(shape):
            return place
        axis = shape.index(SAMPLES)
        return (*place[:axis], *place[axis + 1 :])

    def count(self, tensor: Tensor) -> int:
        result = 1
        for extent in shape_of(tensor, self.sample.sizes):
            result *= extent
        return result

    # --- where things stand ---------------------------------------------------------------------

    def columns(self, reads: dict[Unit, list[Read]]) -> dict[Unit, int]:
        """The column of each unit: one behind what it reads last. What nobody computes stands before its reader."""
        result: dict[Unit, int] = {}
        for unit, own in reads.items():
            result[unit] = 1 + max((result.get(read, 0) for read, _ in own if read != ONE), default=0)
        for unit, own in reads.items():
            for read, _ in own:
                if read != ONE and read not in reads:
                    result[read] = min(result.get(read, COLUMNS), result[unit] - 1)
        return result

    def drawn(self, reads: dict[Unit, list[Read]], columns: dict[Unit, int]) -> Figure:
        by_column: dict[int, list[Unit]] = {}
        for unit in sorted(columns, key=lambda u: (columns[u], u not in reads, [*columns].index(u))):
            by_column.setdefault(columns[unit], []).append(unit)
        ones = {columns[unit] - 1 for unit, own in reads.items() if any(read == ONE for read, _ in own)}
        by_column |= {column: [] for column in ones - {*by_column}}
        tall = max(len(units) + (column in ones) for column, units in by_column.items())
        spots: list[Spot] = []
        number: dict[tuple[Unit, int], int] = {}
        for column, units in sorted(by_column.items()):
            free = (tall - len(units) - (column in ones)) / 2
            for row, unit in enumerate(units):
                number[unit, column] = len(spots)
                spots.append(Spot(column, free + row, *self.texts(unit), ring=True))
            if column in ones:
                number[ONE, column] = len(spots)
                spots.append(Spot(column, free + len(units), (self.math("1"),), ring=True))
        arrows: list[Arrow] = []
        for unit, own in reads.items():
            for read, weight in own:
                start = number[read, columns[unit] - 1 if read == ONE else columns[read]]
                arrows.append(Arrow(start, number[unit, columns[unit]], *self.weight(weight)))
        caption = self.say("figure.circuit", loss=self.math(self.names.loss.stem))
        return Figure(tuple(spots), tuple(arrows), caption)

    # --- what stands there ----------------------------------------------------------------------

    def texts(self, unit: Unit) -> tuple[Text, Text, Text]:
        """A component, its value, and the gradient by it."""
        name, place = unit
        tensor = self.tensors[name]
        shape = tuple(e for e in tensor.shape if e != SAMPLES)
        symbol: Part = Component(Tensor(name, shape), tuple(Affine((), n) for n in place))
        return (self.math(symbol),), self.shown(tensor, place), self.shown(adjoint_of(tensor), place)

    def shown(self, tensor: Tensor, place: Place) -> Text:
        value = self.value(tensor, place) if tensor.name in self.sample.values else None
        return () if value is None else (self.number(value),)

    def weight(self, weight: tuple[Tensor, Place] | None) -> tuple[Text, Text]:
        if weight is None:
            return (), ()
        tensor, place = weight
        return self.shown(tensor, place), self.shown(adjoint_of(tensor), place)


@iterative
def reading(
    node: Expr, at: dict[Index, int], own: Circuit, weight: tuple[Tensor, Place] | None
) -> Steps[tuple[Read, ...]]:
    """What a component's equation reads at these places, each with the one weight that multiplies it."""
    match node:
        case Component(tensor=tensor, subscripts=subscripts):
            place = own.bare(tensor, where(subscripts, at))
            if own.value(tensor, place) is None:
                return ()
            if tensor in own.weights:
                return ((ONE, (tensor, place)),)
            return (((tensor.name, place), weight),) if own.drawable(tensor) else ()
        case Multiply(factors=factors):
            if any(isinstance(f, Delta | Guard) and numbered(f, at, own) == ZERO for f in factors):
                return ()
            weights = [f for f in factors if isinstance(f, Component) and f.tensor in own.weights]
            others = [f for f in factors if f not in weights]
            found = [(f.tensor, where(f.subscripts, at)) for f in weights]
            result: list[Read] = []
            for factor in others:
                result.extend((yield factor, at, own, found[0] if len(found) == 1 else weight))
            return tuple(result) or tuple((ONE, w) for w in found)
        case Reduce(indices=indices, body=body):
            result = []
            for place in product(*(range(size(i.extent, own.sample.sizes)) for i in indices)):
                result.extend((yield body, {**at, **dict(zip(indices, place, strict=True))}, own, weight))
            return tuple(result)
        case _:
            result = []
            for child in node.parts:
                result.extend((yield child, at, own, weight))
            return tuple(result)
