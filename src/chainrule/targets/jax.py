"""The array program for JAX: a task's step as one function that is traced, jitted and shared among devices.

Nothing is derived here, and no layer has a name: the equations are those of the task, lowered as for NumPy. The samples
of a batch lie on the devices in equal shares, and all that is kept on each. N is the size of the whole batch, so that
means and the statistics of a batch are right as they stand; what is summed over samples, XLA sums over the devices.

Only this file imports JAX, and whoever runs a task with it imports this file.
"""

# JAX's signatures are only partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import product as cartesian
from math import ceil, e, pi, prod
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainrule.arrays.convolution import Move, around, move
from chainrule.arrays.ids import Limits
from chainrule.arrays.lower import digits_of, lower
from chainrule.arrays.nodes import (
    Axes,
    Broadcast,
    Cast,
    Convolution,
    Einsum,
    Gather,
    Given,
    Iota,
    Map,
    Node,
    Number,
    Pad,
    Power,
    Reduce,
    Reshape,
    Scatter,
    Slice,
    Transpose,
    in_order,
)
from chainrule.errors import ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.loops.task import Task

Array = Any
EXACT = lax.Precision.HIGHEST  # no product in fewer bits than the numbers have
OF_TWO: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": jnp.add, "multiply": jnp.multiply, "and": jnp.logical_and, "equal": jnp.equal, "less": jnp.less,
    "less_equal": jnp.less_equal,
}
FUNCTIONS: Mapping[str, Callable[..., Array]] = {"where": jnp.where} | {n: f.over(jnp) for n, f in CATALOGUE.items()}
AXIS = "samples"
ASKED = 16  # steps after which processes ask each other whether to stop


# Arrays


def slides(node: Node) -> TypeGuard[Convolution]:
    """Whether a node is computed as a convolution of XLA's. XLA would bring all samples together for groups whose
    features they are, as in the gradient by grouped weights: that is computed as the sum of products it is."""
    if not isinstance(node, Convolution):
        return False
    _, groups, _, features = node.roles
    return not groups or not any(i.is_sample for i in features)


def needed(node: Node) -> Sequence[Node]:
    """The operands that a node is made of here: a convolution reads the array that its windows slide over."""
    return (around(node)[0], node.kernel) if slides(node) else node.operands


def value_of(node: Node, operands: Sequence[Array], dtype: np.dtype[Any], *, several: bool) -> Array:
    """An array from its operands, which `needed` names; `several` is whether devices share the samples."""
    first: Array = operands[0] if operands else None
    shape: Any = node.shape
    kind = np.dtype(np.int32) if node.dtype == "integer" else dtype
    match node:
        case Number(value=value):
            number = {"pi": pi, "e": e, "-inf": -np.inf}[value] if isinstance(value, str) else float(value)
            return jnp.asarray(number, kind)
        case Iota(subscript=subscript):
            return positions(subscript, subscript.indices, shape)
        case Cast():
            return first.astype(kind)
        case Transpose(order=order):
            return first.transpose(order)
        case Reshape():
            return first.reshape(shape)
        case Broadcast():
            return jnp.broadcast_to(first, shape)
        case Pad(widths=widths, fill=fill):
            lowest = np.iinfo(np.int32).min if node.dtype == "integer" else -np.inf
            value = jnp.asarray(lowest if isinstance(fill, str) else float(fill), first.dtype)
            return lax.pad(first, value, [(*w, 0) for w in widths])
        case Slice(subscripts=subscripts, axes=axes):
            return sliced(first, subscripts, axes, shape)
        case Gather(axis=axis):
            return first.at[(*(slice(None),) * axis, *operands[1:])].get(mode="promise_in_bounds")
        case Scatter():
            return jnp.zeros(shape, first.dtype).at[tuple(operands[1:])].add(first, mode="promise_in_bounds")
        case Reduce():
            return reduced(node, *operands)
        case Convolution() if slides(node):
            return convolved(node, first, operands[1], around(node)[1], apart=several)
        case Einsum():
            return summed(node, operands, dtype)
        case Map(function=function):
            return reduce(OF_TWO[function], operands) if function in OF_TWO else FUNCTIONS[function](*operands)
        case Power(exponent=exponent):
            return jnp.sqrt(first) if exponent * 2 == 1 else first ** (
                exponent.numerator if exponent.denominator == 1 else float(exponent)
            )
        case _:
            raise TypeError(f"{type(node).__name__} is not known for JAX")


def reduced(node: Reduce, a: Array, other: Array | None = None) -> Array:
    match node.kind:
        case "sum":
            return a.sum(node.axes)
        case "max":
            return a.max(node.axes)
        case "peak":
            top = a.max(node.axes)
            return jnp.where(jnp.isfinite(top), top, jnp.zeros((), a.dtype))
        case "argmax":
            rows: Any = (*node.shape, -1)
            a = a.reshape(rows)
            place = lax.argmax(a, a.ndim - 1, np.int32)
            if other is None:
                return place
            top = a.max(-1, keepdims=True)
            inside = lax.argmax(other.reshape(rows) & (a == top), a.ndim - 1, np.int32)
            return jnp.where(top[..., 0] == -np.inf, inside, place)
        case _:
            assert other is not None
            return jnp.log(jnp.exp(a - jnp.expand_dims(other, node.axes)).sum(node.axes))


def summed(node: Einsum, factors: Sequence[Array], dtype: np.dtype[Any]) -> Array:
    """The sum of products; brackets select, whatever stands beside them."""
    pairs = [*zip(factors, node.indices, strict=True)]
    brackets = [o.dtype == "bool" for o in node.operands]
    if not any(brackets):
        letters = {i: n for n, i in enumerate(dict.fromkeys(i for own in node.indices for i in own))}
        words = [part for f, own in pairs for part in (f.astype(dtype), [letters[i] for i in own])]
        return jnp.einsum(*words, [letters[i] for i in node.kept], precision=EXACT)
    every = (*node.kept, *dict.fromkeys(i for own in node.indices for i in own if i not in node.kept))
    terms = [(over(f, own, every), b) for (f, own), b in zip(pairs, brackets, strict=True)]
    product = reduce(jnp.multiply, [t.astype(dtype) for t, b in terms if not b], jnp.ones((), dtype))
    where = reduce(jnp.logical_and, [t for t, b in terms if b])
    return jnp.where(where, product, jnp.zeros((), dtype)).sum(tuple(range(len(node.kept), len(every))))


def over(array: Array, own: Sequence[object], axes: Sequence[object]) -> Array:
    """The array with its axes in the order of `axes`, of length 1 where it has none."""
    array = array.transpose([own.index(i) for i in axes if i in own])
    return array[tuple(slice(None) if i in own else None for i in axes)]


# Slices


def positions(subscript: Affine, axes: Axes, shape: Sequence[int]) -> Array:
    """The values of a subscript, over axes of which it need not have all."""
    result = jnp.asarray(subscript.offset, np.int32)
    for index, c in subscript.terms:
        axis = axes.index(index)
        steps = c * jnp.arange(shape[axis], dtype=np.int32)
        result = result + steps.reshape([-1 if k == axis else 1 for k in range(len(axes))])
    return result


def sliced(array: Array, subscripts: Sequence[Affine], axes: Axes, shape: Sequence[int]) -> Array:
    """array[subscripts] over these axes; every subscript is in range."""
    used = [i for s in subscripts for i in s.indices]
    if len(set(used)) < len(used):
        return array[tuple(positions(s, axes, shape) for s in subscripts)]
    sizes, order = dict(zip(axes, shape, strict=True)), list[Index]()
    for axis in reversed(range(array.ndim)):
        array, own = along(array, axis, subscripts[axis], sizes)
        order = [*own, *order]
    return array.transpose([order.index(i) for i in axes])


def along(array: Array, axis: int, s: Affine, sizes: Mapping[Index, int]) -> tuple[Array, list[Index]]:
    """One axis read at a subscript, and the axes that stand in its place: a digit of a number each, or windows, which
    are put together from one slice for each place within."""
    if not s.terms:
        return lax.index_in_dim(array, s.offset, axis, keepdims=False), []
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    if s.plain is not None and sizes[s.plain] == array.shape[axis]:
        return array, [s.plain]
    if s.radix(array.shape[axis]):
        axes = digits_of(s)
        return array.reshape(*before, *(sizes[i] for i in axes), *after), axes
    long = max(s.terms, key=lambda term: sizes[term[0]])
    rest = [term for term in s.terms if term != long]
    parts = [
        stepped(array, axis, s.offset + sum(c * k for (_, c), k in zip(rest, at, strict=True)), long[1], sizes[long[0]])
        for at in cartesian(*(range(sizes[i]) for i, _ in rest))
    ]
    if not rest:
        return parts[0], [long[0]]
    axes = [*(i for i, _ in rest), long[0]]
    return jnp.stack(parts, axis).reshape(*before, *(sizes[i] for i in axes), *after), axes


def stepped(array: Array, axis: int, first: int, step: int, count: int) -> Array:
    """`count` places of an axis from `first` on."""
    last = first + step * (count - 1)
    if step > 0:
        return lax.slice_in_dim(array, first, last + 1, step, axis)
    return jnp.flip(lax.slice_in_dim(array, last, first + 1, -step, axis), axis)


def convolved(
    node: Convolution, image: Array, kernel: Array, widths: Sequence[tuple[int, int]], *, apart: bool
) -> Array:
    """A convolution of XLA's: samples, or what is first of the batch; features in groups; what else is of the batch, as
    windows of one place, so that no axis joins that of the samples; and the windows. Groups of several features are
    convolutions `apart` where devices share the samples, which XLA would else bring together."""
    batch, groups, outer, features = node.roles
    subscripts, sliding = node.slice.subscripts, {w.axis: w for w in node.windows}
    sizes = dict(zip(node.indices[node.image], map(int, node.slice.shape), strict=True))
    axes = list[Any]()
    for axis in reversed(range(image.ndim)):
        found: list[Any] = [axis]
        if axis not in sliding:
            image, found = along(image, axis, subscripts[axis], sizes)
        axes = [*found, *axes]
    image, axes = alone(image, axes, (*batch, *groups, *features, *sliding))
    within = [w.within for w in node.windows]
    kernel, rest = alone(kernel, node.indices[1 - node.image], (*groups, *outer, *features, *within))
    size = {i: kernel.shape[k] for k, i in enumerate(rest)} | {i: image.shape[k] for k, i in enumerate(axes)}
    first, more = batch[:1], batch[1:]
    many, wide, count = (prod(size[i] for i in some) for some in (groups, features, first))
    image = over(image, axes, (*first, *groups, *features, *more, *sliding))
    image = image.reshape(count, many * wide, *(size[i] for i in (*more, *sliding)))
    kernel = over(kernel, rest, (*groups, *outer, *features, *within))
    kernel = kernel.reshape(-1, wide, *(1 for _ in more), *(size[i] for i in within))

    moves = [Move() for _ in more]
    for w in node.windows:
        moves.append(move(w, subscripts[w.axis] - widths[w.axis][0], sizes, size[w.axis]))

    def made(image: Array, kernel: Array, groups: int) -> Array:
        return lax.conv_general_dilated(
            image, kernel, [m.stride for m in moves], [m.pad for m in moves], rhs_dilation=[m.dilation for m in moves],
            feature_group_count=groups, precision=EXACT,
        )

    kernel = jnp.flip(kernel, [2 + k for k, m in enumerate(moves) if m.within_turned])
    if apart and many > 1 and wide > 1:
        pairs = zip(jnp.split(image, many, 1), jnp.split(kernel, many, 0), strict=True)
        result = jnp.concatenate([made(*pair, 1) for pair in pairs], 1)
    else:
        result = made(image, kernel, many)
    result = jnp.flip(result, [2 + k for k, m in enumerate(moves) if m.turned])
    shown = (*first, *groups, *outer, *more, *(w.place for w in node.windows))
    return over(result.reshape([size[i] if i in size else sizes[i] for i in shown]), shown, node.kept)


def alone(array: Array, own: Sequence[object], wanted: Sequence[object]) -> tuple[Array, list[object]]:
    """The array summed over the axes that are not wanted, and those that are left."""
    extra = tuple(k for k, i in enumerate(own) if i not in wanted)
    return (array.sum(extra) if extra else array), [i for i in own if i in wanted]


# Programs


def assigned(value: Array, part: Sequence[Affine], shape: Sequence[int], before: Array | None) -> Array:
    """A tensor of which this part is defined, beside the parts of before. A part that is stepped through has zeros put
    between, and the parts are added, which XLA does in one pass."""
    axes = [i for s in part for i in s.indices]
    sizes = dict(zip(axes, value.shape, strict=True))
    whole = [s.radix(n) for s, n in zip(part, shape, strict=True)]
    if all(w or (len(s.terms) <= 1 and all(c > 0 for _, c in s.terms)) for s, w in zip(part, whole, strict=True)):
        digits = [digits_of(s) for s in part]
        value = value.transpose([axes.index(i) for own in digits for i in own])
        value = value.reshape([prod(sizes[i] for i in own) for own in digits])
        widths = list[tuple[int, int, int]]()
        for s, n, k, w in zip(part, shape, value.shape, whole, strict=True):
            step = 1 if w or not s.terms else s.terms[0][1]
            widths.append((s.offset, n - s.offset - (k - 1) * step - 1, step - 1))
        apart = lax.pad(value, jnp.zeros((), value.dtype), widths)
        return apart if before is None else before + apart
    places = tuple(positions(s, tuple(axes), value.shape) for s in part)
    full: Array = jnp.zeros(shape, value.dtype) if before is None else before
    return full.at[places].set(value, unique_indices=True, mode="promise_in_bounds")


def evaluated(
    task: Task, given: Mapping[Tensor, Array], samples: int, dtype: np.dtype[Any], *, several: bool
) -> dict[Tensor, Array]:
    """All that the equations of a task define, and what is given, for so many samples."""
    whole = [t for t in (*task.data, *task.kept) if t.dtype == "integer"]
    sizes = {SAMPLES: samples}
    values = dict(given)
    for a in lower(task.equations, sizes, Limits(task.equations, whole, sizes), select=True):
        arrays = dict[Node, Array]()
        for node in in_order(a.value, needed):
            if isinstance(node, Given):
                arrays[node] = values[node.tensor]
            else:
                arrays[node] = value_of(node, [arrays[o] for o in needed(node)], dtype, several=several)
        value = arrays[a.value].astype(np.int32 if a.tensor.dtype == "integer" else dtype)
        if a.part is not None:
            shape = [samples if n == SAMPLES else int(n) for n in a.tensor.shape]
            value = assigned(value, a.part, shape, values.get(a.tensor))
        values[a.tensor] = value
    return values


# Random numbers

LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def product_of(a: Array, b: int) -> tuple[Array, Array]:
    """The high and the low word of a product of two words of 64 bits."""
    low, high = np.uint64(b & 0xFFFFFFFF), np.uint64(b >> 32)
    middle = (a >> HALF) * low + ((a & LOW) * low >> HALF)
    other = (a & LOW) * high + (middle & LOW)
    return (a >> HALF) * high + (middle >> HALF) + (other >> HALF), a * np.uint64(b)


def philox(seed: Array, tensor: int, step: Array, block: Array) -> Array:
    """The four words of blocks, along a last axis: Philox4x64-10 (Salmon et al., SC 2011), as in csrc/philox.h."""
    none = jnp.zeros_like(block)
    a, b, c, d = block + np.uint64(1), none, none + step, none
    other = np.uint64(tensor)
    for _ in range(10):
        (high_a, low_a), (high_c, low_c) = product_of(a, 0xD2E7470EE14C6C93), product_of(c, 0xCA5A826395121157)
        a, b, c, d = high_c ^ b ^ seed, low_c, high_a ^ d ^ other, low_a
        seed, other = seed + np.uint64(0x9E3779B97F4A7C15), np.uint64((int(other) + 0xBB67AE8584CAA73B) % 2**64)
    return jnp.stack([a, b, c, d], -1)


def drawn(
    shape: tuple[int, ...], tensor: int, probability: float | None, seed: Array, step: Array, dtype: np.dtype[Any]
) -> Array:
    """What `train.runners.drawn` draws, bit by bit. Each row makes the words that it needs, so that the devices need
    nothing of each other."""
    rows, row = (shape[0], prod(shape[1:])) if shape else (1, 1)
    lead = 3 if row % 4 else 0  # words of a row's first block that may belong to the row before
    first = jnp.arange(rows, dtype=np.uint64)[:, None] * np.uint64(row)
    blocks = first // np.uint64(4) + jnp.arange(-(-(row + lead) // 4), dtype=np.uint64)
    words = philox(seed, tensor, step, blocks).reshape(rows, -1)
    if lead:
        words = jnp.take_along_axis(words, (first % np.uint64(4)).astype(np.int32) + np.arange(row, dtype=np.int32), 1)
    words = words.reshape(shape)
    if probability is not None:
        return ((words >> np.uint64(11)) < np.uint64(ceil(probability * 2.0**53))).astype(dtype)
    kept = np.finfo(dtype).nmant + 1
    return (words >> np.uint64(64 - kept)).astype(dtype) * np.asarray(2.0**-kept, dtype)


# Steps


class Step:
    """A task's step on devices, compiled once for each size of a batch. `put` brings arrays there, and a call makes a
    step with what is kept: what it gives stays on the devices until somebody reads it."""

    def __init__(
        self, task: Task, dtype: np.dtype[Any], devices: int | None,
        shard: Callable[[str, tuple[int, ...]], int | None] | None = None,
    ) -> None:
        self.task, self.dtype = task, dtype
        present, self.alone = jax.devices(), jax.process_count() == 1
        if devices is not None and not self.alone:
            raise ModelError("several processes share all devices", fix="leave out devices")
        if devices is not None and devices > len(present):
            raise ModelError(
                f"JAX has {len(present)} device{'s' * (len(present) > 1)} here, not {devices}",
                fix="give fewer, or more of a CPU: XLA_FLAGS=--xla_force_host_platform_device_count=8",
            )
        self.mesh = Mesh(np.array(present[:devices]), (AXIS,))
        self.rows, self.all = (NamedSharding(self.mesh, PartitionSpec(*axes)) for axes in ((AXIS,), ()))
        self.sampled = [bool(t.shape) and isinstance(t.shape[0], str) for t in task.outputs]
        self.kept_at = [self.place_of(t, shard) for t in self.lasting]
        self.places = lru_cache(8)(self.own_places)
        self.wish = False
        # To bring a number to a device takes as long as a small layer: one that comes again is there.
        self.number = lru_cache(8)(self.brought)
        self.jitted: Any = jax.jit(
            self.traced, static_argnums=5, donate_argnums=0,
            out_shardings=(
                (self.kept_at, self.all), tuple(self.rows if s and self.alone else self.all for s in self.sampled)
            ),
        )

    @staticmethod
    def wide() -> Any:
        """While this is entered words have 64 bits, as those of random numbers and of float64 have; whoever uses JAX
        beside it has the types that he chose."""
        return jax.enable_x64(True)

    def padded(self, samples: int) -> int:
        """The least number of rows that the devices share equally."""
        return -(-samples // self.mesh.size) * self.mesh.size

    def put(self, kept: Mapping[Tensor, np.ndarray[Any, Any]]) -> Array:
        """What is kept, on every device or shared, and that every loss so far was finite. `stepwise` numbers are given
        anew to each step."""
        lasting = [kept[t] for t in self.lasting]
        if self.alone:
            return jax.device_put((lasting, np.True_), (self.kept_at, self.all))
        return [self.laid(a, at) for a, at in zip(lasting, self.kept_at, strict=True)], self.laid(np.True_, self.all)

    @staticmethod
    def laid(array: Any, at: NamedSharding) -> Array:
        """An array that every process has, on the devices of all."""
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, at, lambda part: array[part])

    def place_of(self, tensor: Tensor, shard: Callable[[str, tuple[int, ...]], int | None] | None) -> NamedSharding:
        """Where a kept tensor lies: what an optimizer keeps of a parameter, as the parameter does."""
        owners = [t for t in self.lasting if tensor.name.endswith(f".{t.name}") and t.shape == tensor.shape]
        name, shape = (owners or [tensor])[0].name, tuple(int(n) for n in tensor.shape)
        axis = shard(name, shape) if shard and shape else None
        if axis is None:
            return self.all
        if not 0 <= axis < len(shape) or shape[axis] % self.mesh.size:
            raise ModelError(
                f"{self.mesh.size} devices cannot share axis {axis} of {name} {shape} equally",
                fix="let shard give None for it, or another axis",
            )
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, AXIS))

    def own_places(self, samples: int) -> np.ndarray[Any, Any]:
        """Which rows of a batch this process feeds, by their places in it: those of its devices. Places behind the last
        row are the first, whose values nobody reads."""
        each = self.padded(samples) // self.mesh.size
        mine = [k for k, d in enumerate(self.mesh.devices.flat) if d.process_index == jax.process_index()]
        places = (np.array(mine)[:, None] * each + np.arange(each)).ravel()
        return np.where(places < samples, places, 0)

    def agreed(self, step: int, wish: bool) -> bool:
        """Whether to stop after this step. Several processes ask each other from time to time, all after one step."""
        if self.alone:
            return wish
        self.wish |= wish
        if (step + 1) % ASKED:
            return False
        asked, self.wish = self.wish, False
        return bool(Distributed.gathered(np.array(asked)).any())

    @property
    def lasting(self) -> list[Tensor]:
        return [t for t in self.task.kept if t not in self.task.stepwise]

    def __call__(
        self, state: Array, data: Mapping[Tensor, np.ndarray[Any, Any]], rates: Sequence[Any], seed: int, step: int,
        samples: int,
    ) -> tuple[Array, Sequence[Array]]:
        """What is kept after a step over a batch of so many samples, and the task's outputs; what has a row for each
        sample has rows of no meaning behind them. `data` are the rows at `places`. Once a loss is not finite nothing
        that is kept changes any more."""
        return self.jitted(*self.arguments(state, data, rates, seed, step, samples))

    def brought(self, kind: type, value: Any) -> Array:
        return jax.device_put(kind(value), self.all) if self.alone else self.laid(kind(value), self.all)

    def taken(self, state: Array) -> dict[Tensor, np.ndarray[Any, Any]]:
        """What is kept, read back: arrays that others may write to."""
        every = state[0]
        if not self.alone:
            every = [a if a.is_fully_replicated else multihost_utils.process_allgather(a, tiled=True) for a in every]
        return {t: np.array(a) for t, a in zip(self.lasting, every, strict=True)}

    def arguments(
        self, state: Array, data: Mapping[Tensor, np.ndarray[Any, Any]], rates: Sequence[Any], seed: int, step: int,
        samples: int,
    ) -> tuple[Any, ...]:
        rows = [data[t] for t in self.task.data if t not in self.task.drawn]
        if self.alone:
            laid = jax.device_put(rows, self.rows)
        else:
            whole = self.padded(samples)
            laid = [jax.make_array_from_process_local_data(self.rows, a, (whole, *a.shape[1:])) for a in rows]
        numbers = [np.uint64(seed % 2**64), np.uint64(step)] if self.task.drawn else [np.uint64(0), np.uint64(0)]
        given = [self.number(type(n), n) for n in (*rates, *numbers)]
        return state, laid, tuple(given[:-2]), *given[-2:], samples

    def traced(
        self, state: Array, rows: Sequence[Array], rates: Sequence[Array], seed: Array, step: Array, samples: int
    ) -> tuple[Array, Sequence[Array]]:
        task, dtype = self.task, self.dtype
        kept, sound = state
        given = dict(zip([t for t in task.data if t not in task.drawn], map(self.shared(samples), rows), strict=True))
        given |= dict(zip(self.lasting, kept, strict=True)) | dict(zip(task.stepwise, rates, strict=True))
        for tensor, (number, probability) in task.drawn.items():
            shape = tuple(samples if n == SAMPLES else int(n) for n in tensor.shape)
            given[tensor] = self.shared(samples)(drawn(shape, number, probability, seed, step, dtype))
        values = evaluated(task, given, samples, dtype, several=self.mesh.size > 1)
        if task.loss is not None:
            sound = sound & jnp.isfinite(values[task.loss])
        after = [values[task.following.get(t, t)] for t in self.lasting]
        if task.loss is not None:
            after = [a if a is b else jnp.where(sound, a, b) for a, b in zip(after, kept, strict=True)]
        more = self.padded(samples) - samples
        outputs = [
            jnp.pad(values[t], [(0, more), *[(0, 0)] * (len(t.shape) - 1)]) if s else values[t]
            for t, s in zip(task.outputs, self.sampled, strict=True)
        ]
        return (after, sound), tuple(outputs)

    def shared(self, samples: int) -> Callable[[Array], Array]:
        """The first rows of an array, which lie on the devices in shares."""
        return lambda array: lax.with_sharding_constraint(array[:samples], self.rows)


class Distributed:
    """The processes whose devices are shared."""

    @staticmethod
    def connect(coordinator: str, processes: int, process: int) -> None:
        """Meet the others, before anything is computed. Processors talk to each other by gloo."""
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=10)

    @staticmethod
    def place() -> tuple[int, int]:
        """Which process this is, of how many."""
        return jax.process_index(), jax.process_count()

    @staticmethod
    def gathered(numbers: Any) -> Any:
        """An array of every process, one below the other. All ask together."""
        return np.asarray(multihost_utils.process_allgather(numbers))
