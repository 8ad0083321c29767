"""From foreign calls to a graph of our layers: values are views, written out by a layer of equations where a layer of
ours reads a tensor; weights belong to the layer that reads them, or stand as a layer where several do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.interop.views import (
    SAMPLE,
    Digits,
    Size,
    Source,
    UnmatchedError,
    View,
    aligned,
    declared,
    extended,
    extensible,
    fresh,
    of,
    place_of,
    radix,
    renewed,
    reshaped,
    size_of,
    sliced,
    written_as,
)
from chainrule.ir.functions import ABBREVIATIONS, CATALOGUE
from chainrule.ir.index import SAMPLES, Affine, Extent, Index
from chainrule.nn.equations import Equations, Parameter
from chainrule.nn.layer import Input, Layer, Node, Shape
from chainrule.nn.losses import Loss, loss_named
from chainrule.nn.shapes import axes as axis_names
from chainrule.nn.shapes import exact
from chainrule.train.model import Model

Array = NDArray[Any]
Operand = View | float
LARGE = 1 << 24
"""The most entries of a constant that is made, and does not stand in a file."""
FAR = -1e9
"""What −inf is to a softmax: exp(−10⁹ + s) is 0 in both precisions for every score s that is not of that size."""
RESERVED = {*CATALOGUE, *ABBREVIATIONS, "pi", "e", "n", "y", "pad", "sum", "mean", "min", "logsumexp", "argmax", "D"}


@dataclass
class Call:
    """The call that is being brought in: what it is called, the path of its module, and where it stands, for errors;
    the `sizes` of what it gives. `single` says that the call is all that its module does, `soft` that only a softmax
    reads it, `rounded` that it makes whole numbers of real ones, `logical` that it reads truth values."""

    name: str = ""
    path: str = ""
    where: str = ""
    single: bool = False
    soft: bool = False
    rounded: bool = False
    logical: bool = False
    sizes: list[list[Size]] = field(default_factory=list[list[Size]])


@dataclass
class Graph:
    """`weights` are the arrays by foreign name, `trained` the names of those that are parameters. `shared` are
    parameters that several layers read: each stands as a layer of its own. What a first reading finds to be shared
    (`conflicts`) a second one is told."""

    weights: dict[str, Array]
    trained: set[str]
    shared: set[str] = field(default_factory=set[str])
    call: Call = field(default_factory=Call)
    inputs: list[Input] = field(default_factory=list[Input])
    _made: dict[str, Layer] = field(default_factory=dict[str, Layer])
    _uses: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _values: list[tuple[Layer, str, Array]] = field(default_factory=list[tuple[Layer, str, Array]])
    _labels: set[str] = field(default_factory=set[str])
    _parameters: dict[str, Node] = field(default_factory=dict[str, Node])

    # What there is to begin with

    def input(self, shape: Sequence[int], integer: bool) -> View:
        """A new input of samples of this shape."""
        self.inputs.append(Input(*shape, dtype="integer" if integer else "real"))
        return of(Source((SAMPLES, *shape), self.inputs[-1], integer=integer))

    def weight(self, name: str) -> View:
        """A parameter as a value."""
        return of(self._standing(name) if name in self.shared else Source(self.weights[name].shape, name=name))

    def _standing(self, name: str) -> Source:
        """A parameter that stands as a layer."""
        shape = self.weights[name].shape
        if name not in self._parameters:
            self._parameters[name] = self.layer(Parameter(shape), [], {"W": name}, label=_identifier(name))
        return Source(shape, self._parameters[name])

    def constant(self, name: str, values: Array) -> Operand:
        """An array that nothing trains, as an operand: one of a single entry is a number."""
        return self.finite(float(values.flat[0])) if values.size == 1 else self.fixed(name, values)

    def fixed(self, name: str, values: Array) -> View:
        """An array that nothing trains."""
        far = np.isneginf(values)
        if far.any() and self.call.soft:
            values = np.where(far, FAR, values)
        if not np.isfinite(values).all():
            self.refuse("a constant holds numbers that are not finite", "before a softmax, mask with -inf; else with 0")
        while name in self.weights and (name in self.trained or not np.array_equal(self.weights[name], values)):
            name += "_"
        self.weights[name] = values
        return of(Source(values.shape, name=name, constant=True))

    def finite(self, value: float) -> float:
        """The number; −inf, where only a softmax reads it, as one that is as good."""
        if value == -np.inf and self.call.soft:
            return FAR
        if not np.isfinite(value):
            self.refuse(f"the number {value}", "before a softmax, mask with -inf; else with 0")
        return value

    def owners(self, names: set[str]) -> list[str]:
        """The labels of the layers all of whose parameters are among these."""
        return [label for label, own in self._owned.items() if own and own <= names]

    def divided(self, names: set[str]) -> set[str]:
        """Those of these parameters whose layers have others as well: a layer learns as a whole."""
        return {name for own in self._owned.values() if not own <= names for name in own & names}

    @property
    def _owned(self) -> dict[str, set[str]]:
        """The parameters of each layer, by its label."""
        return {
            layer.label: {name for name, uses in self._uses.items() if key in uses} for key, layer in self._made.items()
        }

    # Layers

    def layer(
        self, layer: Layer, nodes: Sequence[Node], own: Mapping[str, str] | None = None, label: str = "",
        constants: Mapping[str, Array] | None = None,
    ) -> Node:
        """A layer called on values. `own` says which weight each of its parameters and states is. A layer that reads
        the same parameters as one before, in the same way, is that layer."""
        own = own or {}
        key = f"{type(layer).__name__} {json.dumps(layer.config)} {sorted(own.items())}"
        for name in own.values():
            if name in self.trained:
                self._uses.setdefault(name, set()).add(key)
        if any(name in self.trained for name in own.values()) and key in self._made:
            return self._made[key](*nodes)
        self._made[key] = layer
        layer.label = self._label(label or self._named(bool(own)))
        self._values += [(layer, mine, self.weights[name]) for mine, name in own.items()]
        self._values += [(layer, mine, values) for mine, values in (constants or {}).items()]
        return layer(*nodes)

    def _named(self, owner: bool) -> str:
        """A layer is called as the module that it is, or as the function within its module."""
        path, call = _identifier(self.call.path), _identifier(self.call.name)
        alone = path and (self.call.single or owner) and path not in self._labels
        same = self.call.path.split(".")[-1] == self.call.name
        return path if alone or same else "_".join(filter(None, (path, call)))

    @property
    def _place(self) -> str:
        """The module of the call, or what is called where that has no name."""
        return _identifier(self.call.path) or _identifier(self.call.name)

    def _label(self, wanted: str) -> str:
        label, number = wanted, 1
        while label in self._labels:
            number += 1
            label = f"{wanted}_{number}"
        self._labels.add(label)
        return label

    def equation(
        self, text: str, operands: Sequence[Operand], axes: Sequence[Digits], bound: Iterable[Index] = (),
        label: str = "",
    ) -> View:
        """A tensor by an equation: its components at the digits of `axes`, samples first. {0}, {1}, … in the text are
        the operands, and {r} the declared indices of `bound`."""
        operands = [self._cut(operand) if isinstance(operand, View) else operand for operand in operands]
        views = [view for view in operands if isinstance(view, View)]
        if not any(view.source.node for view in views):
            views = self._founded(views)
            founded = iter(views)
            operands = [next(founded) if isinstance(operand, View) else operand for operand in operands]
        # Constants alone are read beside an input, since a layer is called on something.
        nodes = list(dict.fromkeys(view.source.node for view in views if view.source.node)) or [*self.inputs[:1]]
        own = {view.source.name: view.source for view in views if not view.source.node}
        groups = runs(axes)
        names, taken = self._tensors(own, len(nodes)), set[str]()
        for name in (*names.values(), *(f"x{k + 1}" for k in range(len(nodes))), "x", *RESERVED - {"n"}):
            taken.add(name)
        letters = _letters([d for g in groups for d in g if d != SAMPLE], list(bound), taken)
        reads = [self._read(o, nodes, names, letters) if isinstance(o, View) else exact(o) for o in operands]
        spare = (name for name in (f"o{k}" for k in count(1)) if name not in taken)  # indices of extent 1
        # A padded read fixes no extent, and a weight has no samples.
        fixes = (isinstance(o, View) and Affine.of(SAMPLE) in o.at for o in operands)
        known = any(fix and not read.startswith("pad(") for fix, read in zip(fixes, reads, strict=True))
        first = "n" if known else f"n<{SAMPLES}"
        where = ", ".join(first if group == (SAMPLE,) else declared(group, letters, spare) for group in groups)
        over = ", ".join("n" if d == SAMPLE else f"{letters[d]}<{d.extent}" for d in bound)
        value = text.format(*reads, r=over, letters={digit.name: letter for digit, letter in letters.items()})
        kinds = {name: list(map(int, source.shape)) for name, source in own.items()}
        parameters = {names[name]: shape for name, shape in kinds.items() if not own[name].constant}
        constants = {names[name]: shape for name, shape in kinds.items() if own[name].constant}
        made = f"y[{where}] = {value}" if where else f"y = {value}"
        layer = Equations(made, parameters or None, constants or None)
        node = self.layer(layer, nodes, {names[name]: name for name in own}, label)
        return laid(Source(_shape(groups), node), axes)

    def _cut(self, view: View) -> View:
        """A view that reads a part of an axis in several digits, of that part: a slice, and then a reshape. Shapes that
        are made smaller to be checked are made so one by one."""
        for axis, (place, extent) in enumerate(zip(view.at, view.source.shape, strict=True)):
            numbers = place - place.offset
            count, samples = size_of(place.indices)
            several = len(place.terms) > 1 and not samples and view.source.node
            if not several or count == extent or not numbers.radix(count):
                continue
            if place.offset < 0 or count + place.offset > int(extent):  # it reads padding as well
                continue
            whole = of(view.source)
            part = sliced(whole, axis, place.offset, count)
            made = self.equation("{0}", [part], part.axes, label=f"{self._named(False)}_part")
            at = (*view.at[:axis], numbers, *view.at[axis + 1 :])
            return self._cut(View(made.source, view.axes, at, view.pad))
        return view

    def _founded(self, views: Sequence[View]) -> list[View]:
        """Values made of weights alone, as `equation` needs a layer among them: the first parameter stands as one."""
        names = [view.source.name for view in views if view.source.name in self.trained]
        if not names:
            return list(views)
        name, source = names[0], self._standing(names[0])
        return [replace(view, source=source) if view.source.name == name else view for view in views]

    def _tensors(self, own: Iterable[str], nodes: int) -> dict[str, str]:
        """What an equation calls the weights in it: as in their module."""
        names: dict[str, str] = {}
        inputs = {"x", *(f"x{k + 1}" for k in range(nodes))}
        for name in own:
            prefix = f"{self.call.path}."
            short = _identifier(name.removeprefix(prefix) if self.call.path else name)
            while short in RESERVED or short in inputs or short in names.values() or len(short) == 1:
                short = f"{short}_w"
            names[name] = short
        return names

    def _read(
        self, view: View, nodes: Sequence[Node], names: Mapping[str, str], letters: Mapping[Index, str]
    ) -> str:
        node = view.source.node
        name = names[view.source.name] if node is None else "x" if len(nodes) == 1 else f"x{nodes.index(node) + 1}"
        places = ", ".join(written_as(place, letters) for place in view.at)
        if view.pad is not None:
            name = f"pad({name}, {'-inf' if view.pad == -np.inf else exact(view.pad)})"
        elif any(p.plain and p.plain.extent != e for p, e in zip(view.at, view.source.shape, strict=True)):
            name = f"pad({name}, 0)"  # a part of an axis, from its beginning
        return f"{name}[{places}]" if places else name

    # Values for layers of ours

    def written(self, view: View, groups: Sequence[Digits]) -> Node:
        """The node whose axes are these groups of digits: the view's source, where it is that already."""
        source = view.source
        same = view.pad is None and [place_of(group) for group in groups] == list(view.at)
        same = same and _shape(groups) == source.shape
        if source.node and same:
            return source.node
        made = self.equation("{0}", [view], groups, label=f"{self._place}_input")
        assert made.source.node
        return made.source.node

    def plain(self, view: View) -> Node:
        """The node of a value whose first axis is that of the samples."""
        if view.axes[:1] != ((SAMPLE,),) or any(SAMPLE in axis for axis in view.axes[1:]):
            self.refuse(
                "this takes samples along the first axis, and here they are merged with another or stand elsewhere",
                "keep the samples an axis of their own up to this call",
            )
        return self.written(view, view.axes)

    def spread(self, view: View) -> View:
        """The value, written out, each axis of it a digit."""
        return self.equation("{0}", [view], view.axes, label=f"{self._place}_input")

    def reshaped(self, view: View, sizes: Sequence[Size]) -> View:
        found = reshaped(view, sizes)
        if found is None:
            groups = [(SAMPLE,)] * (SAMPLE in view.digits) + [tuple(d for d in view.digits if d != SAMPLE)]
            if SAMPLE in view.digits and view.digits[0] != SAMPLE:
                self.refuse("a reshape cuts through the samples' axis", "keep the samples an axis of their own")
            found = reshaped(self.equation("{0}", [view], groups), sizes)
        if found is None:
            self.refuse("a reshape cuts through the samples' axis", "keep the samples an axis of their own")
        return found

    def single(self, view: View, axis: int) -> View:
        """The value with at most one digit in an axis."""
        if SAMPLE in view.axes[axis]:
            self.refuse("this takes a part of the samples' axis", "samples are independent of each other here")
        return view if len(view.axes[axis]) < 2 else self.spread(view)

    def padded(self, view: View, pads: Mapping[int, tuple[int, int]], value: float) -> View:
        """Numbers around a value, before and after along each axis; a negative width cuts off."""
        for axis, (before, after) in pads.items():
            if not before and not after:
                continue
            length = size_of(view.axes[axis])[0]
            if SAMPLE in view.axes[axis]:
                self.refuse("this pads the samples' axis", "samples are independent of each other here")
            if before <= 0 and after <= 0:
                view = sliced(self.single(view, axis), axis, -before, length + before + after)
                continue
            if not extensible(view, axis, value):
                view = self.spread(view)
            if not view.axes[axis]:  # an axis of one cell: its place in the source is a digit that runs beyond it
                digit, places = fresh(before + 1 + after), list(view.at)
                place = runs_of(view.axes).index(axis)
                places[place] = Affine.of(digit) - before
                new = (*view.axes[:axis], (digit,), *view.axes[axis + 1 :])
                view = View(view.source, new, tuple(places), value)
            else:
                view = extended(view, axis, before, after, value)
        return view

    def aligned(
        self, views: Sequence[View], axes: Callable[[View], Sequence[Digits]]
    ) -> tuple[list[Digits], list[View]]:
        """The digits of axes that run together, these of each value, and the values in them; written out where their
        axes have no common radices."""
        current = [renewed(view) for view in views]
        for _ in range(len(views) + 1):
            try:
                joint, mappings = aligned([axes(view) for view in current])
                return joint, [view.substituted(own) for view, own in zip(current, mappings, strict=True)]
            except UnmatchedError as error:
                current[error.number] = renewed(self.spread(current[error.number]))
        self.refuse("the samples' axis of one value runs along another axis of a second", "keep samples independent")

    def together(self, views: Sequence[View]) -> tuple[list[Digits], list[View]]:
        """Values aligned at their last axes, as `aligned`."""
        rank = max(len(view.axes) for view in views)
        return self.aligned(views, lambda view: ((),) * (rank - len(view.axes)) + view.axes)

    def rowwise(
        self, layer: Layer, view: View, last: int, made: Sequence[int], own: Mapping[str, str] | None = None
    ) -> View:
        """A layer that does the same at each place of the axes before the `last` ones, which it makes into axes of the
        extents `made`."""
        lead = view.axes[: len(view.axes) - last]
        groups = runs(lead)
        if groups[:1] != [(SAMPLE,)]:
            self.refuse("this takes values of samples, and here is one that is the same for all", "")
        groups = [group for group in groups if group]
        node = self.written(view, [*groups, *view.axes[len(view.axes) - last :]])
        found = self.layer(layer, [node], own)
        ends = [(fresh(extent),) * (extent != 1) for extent in made]
        shape = (*_shape(groups), *made)
        at = [Affine.of(SAMPLE), *(radix(group) for group in groups[1:])]
        at += [Affine.of(end[0]) if end else Affine() for end in ends]
        return View(Source(shape, found), (*lead, *ends), tuple(at))

    def result(self, node: Node, shape: Shape) -> View:
        """What a layer gives, axis by axis."""
        return of(Source(shape, node))

    # The end

    @property
    def conflicts(self) -> set[str]:
        """The parameters that layers of several kinds read."""
        return {name for name, uses in self._uses.items() if len(uses) > 1} - self.shared

    def finished(self, view: View, loss: str | Loss | None, l2: float, dtype: str) -> Model:
        """The model of this output, with its weights. A last activation that the loss contains is the loss's."""
        if SAMPLE not in view.digits:
            self.refuse("the output does not depend on the samples", "return a value of each sample")
        node = self.written(view, runs(view.axes))
        if isinstance(node, Input):
            self.refuse("the network computes nothing", "return a value of a layer")
        chosen = None if loss is None else loss_named(loss)
        if chosen and chosen.included and node.layer and type(node.layer).__name__ == chosen.included:
            (node,) = node.parents
        model = Model(self.inputs, node, loss=chosen, l2=l2, dtype=dtype)
        for layer, own, values in self._values:
            name = f"{layer.label}.{own}"
            for arrays in (model.parameters, model.states):
                if name in arrays:
                    arrays[name] = values
        return model

    def small(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape of a constant to be made. Raises ModelError where it is larger than anybody's."""
        extents = tuple(int(extent) for extent in shape)
        if any(extent < 0 for extent in extents) or math.prod(extents) > LARGE:
            self.refuse(f"a constant of the shape {extents}", "export the network again")
        return extents

    def refuse(self, problem: str, fix: str) -> NoReturn:
        """Raises ModelError for the call that is being brought in."""
        raise ModelError(problem, about=self.call.where, fix=fix)


def runs(axes: Iterable[Digits]) -> list[Digits]:
    """The axes as they are written out: the samples first, and what is merged with them apart."""
    parts = [part for axis in axes for part in _parts(axis)]
    return [(SAMPLE,)] * ((SAMPLE,) in parts) + [part for part in parts if part != (SAMPLE,)]


def _parts(axis: Digits) -> list[Digits]:
    if SAMPLE not in axis:
        return [axis]
    place = axis.index(SAMPLE)
    return [part for part in (axis[:place], (SAMPLE,), axis[place + 1 :]) if part]


def runs_of(axes: Sequence[Digits]) -> list[int]:
    """For each axis that is written out, which axis of the value it is a part of."""
    parts = [(number, part) for number, axis in enumerate(axes) for part in _parts(axis)]
    return [n for n, part in parts if part == (SAMPLE,)] + [n for n, part in parts if part != (SAMPLE,)]


def laid(source: Source, axes: Sequence[Digits]) -> View:
    """What was written out as `runs(axes)`, as a value of those axes, with a digit for each run."""
    at: list[Affine] = [Affine.of(SAMPLE)] * (source.shape[:1] == (SAMPLES,))
    result: list[Digits] = []
    for axis in axes:
        digits: list[Index] = []
        for part in _parts(axis):
            if part == (SAMPLE,):
                digits.append(SAMPLE)
                continue
            extent = size_of(part)[0]
            digits += [fresh(extent)] * (extent > 1)
            at.append(Affine.of(digits[-1]) if extent > 1 else Affine())
        result.append(tuple(digits))
    return View(source, tuple(result), tuple(at))


def _shape(groups: Iterable[Digits]) -> tuple[Extent, ...]:
    return tuple(SAMPLES if group == (SAMPLE,) else size_of(group)[0] for group in groups)


def _letters(free: Sequence[Index], bound: Sequence[Index], taken: set[str]) -> dict[Index, str]:
    """Names for the indices of an equation."""
    more = (f"a{k}" for k in range(1, len(free) + len(taken) + 1))
    names = (name for name in dict.fromkeys(chain(axis_names(len(free)), more)) if name not in taken)
    letters = dict(zip(free, names, strict=False)) | {SAMPLE: "n"}
    used = taken | set(letters.values())
    inner = (name for name in chain("rstuv", (f"r{k}" for k in range(1, len(bound) + len(used)))) if name not in used)
    return letters | dict(zip([b for b in bound if b != SAMPLE], inner, strict=False))


def _identifier(name: str) -> str:
    """A foreign name as one of ours: letters, digits and _, a letter first."""
    plain = re.sub(r"\W|[^\x00-\x7f]", "_", name).strip("_")
    return f"layer_{plain}" if plain[:1].isdigit() else plain

