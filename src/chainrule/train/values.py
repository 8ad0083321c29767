"""The arrays of a model by name. Its layers keep them: a model that is built on a layer later begins with what the
layer has learnt, and models that have a layer in common have its parameters in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer
from chainrule.nn.network import Network
from chainrule.runtime.aligned import aligned
from chainrule.train.parameters import checked

Array = NDArray[Any]


class Values:
    """`parameters` and `states` are plain dictionaries from names such as "dense1.W". Whoever puts another array in
    says so by `spread`."""

    def __init__(self, network: Network, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.parameters: dict[str, Array] = {}
        self.states: dict[str, Array] = {}
        self.initial: Mapping[str, Initialiser] = {**network.initial, **network.initial_states}
        self._mine = {name: self.parameters if name in network.initial else self.states for name in self.initial}
        layers = dict(network.layers)
        parted = {name: name.partition(".") for name in self.initial}
        self._places = {
            name: (layers[label], own) for name, (label, _, own) in parted.items() if label in layers
        }

    @property
    def arrays(self) -> dict[str, Array]:
        return {**self.parameters, **self.states}

    def copies(self) -> dict[str, Array]:
        return {name: np.array(array) for name, array in self.arrays.items()}

    def draw(self, rng: np.random.Generator) -> None:
        """Begin: with what the layers know, else with initial values. Raises ModelError where memory does not do."""
        for name, one in self.initial.items():
            known = self._known(name)
            if known is None or known.shape != shape_of(one):
                known = self._drawn(name, one, rng)
            self._mine[name][name] = known if known.dtype == self.dtype else aligned(known, self.dtype)
        self._join()

    def _known(self, name: str) -> Array | None:
        """What the layer has learnt, if it has."""
        if name not in self._places:
            return None
        layer, own = self._places[name]
        return _LEARNT[layer].arrays.get(own) if layer in _LEARNT else None

    def _drawn(self, name: str, one: Initialiser, rng: np.random.Generator) -> Array:
        # NumPy says ValueError or OverflowError of what no address could reach, MemoryError of what is not there.
        shape = shape_of(one)
        if math.prod(shape) >= 2**60:
            raise _too_large(name, shape)
        try:
            return aligned(one.draw(rng, shape), self.dtype)
        except MemoryError:
            raise _too_large(name, shape) from None

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Begin with these. Nothing is allocated for an array that is missing or of another shape: a ModelError."""
        if self.initial.keys() != arrays.keys():
            odd = [ascii(name)[1:-1] for name in sorted(self.initial.keys() ^ arrays.keys())]
            more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
            raise ModelError(
                f"the arrays do not fit the layers: {', '.join(odd[:5])}{more}",
                fix="give the layer's class as it was when the model was saved",
            )
        for name, one in self.initial.items():
            self._mine[name][name] = checked(name, arrays[name], shape_of(one), self.dtype)
        self._join()

    def _join(self) -> None:
        """Have in common with the layers, and all models on them, what has one shape."""
        for name, (layer, own) in list(self._places.items()):
            learnt = _LEARNT.setdefault(layer, _Learnt())
            array = self._mine[name][name]
            if learnt.arrays.setdefault(own, array).shape == array.shape:
                learnt.users.add(self)
                learnt.shared = learnt.shared or len(learnt.users) > 1
            else:
                del self._places[name]  # the layer is used at another size: each has arrays of its own
        self.spread()

    def spread(self) -> None:
        """Make the arrays here those of the layers and of every other model on them."""
        for name, (layer, own) in self._places.items():
            learnt, array = _LEARNT[layer], self._mine[name][name]
            if learnt.shared or learnt.arrays[own] is not array:
                learnt.arrays[own] = array
                for other in learnt.users:
                    other.receive(layer, own, array)

    def receive(self, layer: Layer, own: str, array: Array) -> None:
        """The array of a layer is this one now."""
        for name, place in self._places.items():
            if place == (layer, own) and self._mine[name][name] is not array:
                self._mine[name][name] = array if array.dtype == self.dtype else aligned(array, self.dtype)

    def copy(self, other: Values, mapping: Mapping[str, str] | None) -> list[str]:
        """Take the arrays of the same name and shape, or those that the mapping names, a layer's or single ones, mine
        -> the other's; their names. Raises ModelError for a name that there is not, ShapeError where shapes differ."""
        if mapping is None:
            pairs = {n: n for n in self.initial if n in other.initial and other[n].shape == self[n].shape}
        else:
            own = ((n, mine, theirs) for mine, theirs in mapping.items() for n in self.initial)
            pairs = {n: to + n[len(mine) :] for n, mine, to in own if n == mine or n.startswith(f"{mine}.")}
        for mine, theirs in pairs.items():
            if theirs not in other.initial:
                raise ModelError(f"the other model has no {theirs!r}", fix=f"it has {', '.join(other.initial)}")
            self._mine[mine][mine] = checked(mine, other[theirs], self[mine].shape, self.dtype)
        self.spread()
        return list(pairs)

    def __getitem__(self, name: str) -> Array:
        return self._mine[name][name]


@dataclass(eq=False)
class _Learnt:
    """What a layer knows, by the names in its equations, and whose it is too."""

    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    users: WeakSet[Values] = field(default_factory=WeakSet[Values])
    shared: bool = False


_LEARNT: WeakKeyDictionary[Layer, _Learnt] = WeakKeyDictionary()


def shape_of(initial: Initialiser) -> tuple[int, ...]:
    """The shape of a parameter, which `assemble` gives in numbers."""
    return tuple(int(extent) for extent in initial.shape)


def _too_large(name: str, shape: tuple[int, ...]) -> ModelError:
    return ModelError(
        f"the parameter {name} of shape {shape} does not fit into memory", about=name, fix="give the layer fewer units"
    )
