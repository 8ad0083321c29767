"""The loops as what they mean: each node carried out by one function, over an arithmetic that is given.

For tests: a lowered program run here equals the program's equations whatever is printed of it. Memory is checked: an
address outside of its tensor, with its halo, raises IndexError, as does a vector that reaches beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import NamedReal, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.task import Check, Lowered, Meet, Rows, Taken, Turns

Array = NDArray[Any]


class Arithmetic(Protocol):
    """What numbers are. Vectors are arrays of `dtype`, one entry a lane, and operations go entry by entry.

    `unwritten` fills memory before anything is stored there.
    """

    dtype: np.dtype[Any]
    unwritten: Any

    def number(self, value: Fraction | NamedReal | str) -> Any: ...
    def apply(self, operation: str, arguments: Sequence[Any]) -> Any: ...
    def finite(self, value: Any) -> bool: ...


@dataclass
class Memory:
    """A buffer: `stretches` of `size` entries, `apart` entries from each other, from entry `origin` of `entries` on."""

    entries: Array
    origin: int
    size: int
    apart: int = 0

    def place(self, address: int, count: int) -> slice:
        within = address % self.apart if self.apart else address
        start = self.origin + address
        if address < 0 or within + count > self.size or start + count > len(self.entries):
            raise IndexError(f"entries {address} … {address + count - 1} of a buffer of {self.size}")
        return slice(start, start + count)


class Kernel:
    """One call of a kernel by one worker, whose share is `start` … `stop` − 1."""

    def __init__(
        self, kernel: ir.Kernel, memory: Mapping[str, Memory], arithmetic: Arithmetic, samples: int,
        lanes: int, width: int, start: int, stop: int,
    ) -> None:
        self.memory, self.arithmetic, self.samples, self.lanes = memory, arithmetic, samples, lanes
        self.bounds = {
            "N": samples, "blocks": -(-samples // width), "full": samples // width, "from": start, "to": stop
        }
        self.locals: dict[ir.Local, Any] = {ir.Local(name, "int"): value for name, value in self.bounds.items()}
        self.loops: dict[Index, int] = {}
        self.written = {b.name for b in kernel.written}
        self.block(kernel.body)

    # Statements

    def block(self, statements: Iterable[ir.Statement]) -> None:
        for statement in statements:
            match statement:
                case ir.Let(local=local, value=value) | ir.Variable(local=local, value=value):
                    self.locals[local] = self.value(value)
                case ir.Set(local=local, value=value):
                    self.locals[local] = self.value(value)
                case ir.Fetch():
                    pass
                case ir.Store():
                    self.store(statement)
                case ir.For():
                    self.loop(statement)
                case ir.If(condition=condition, body=body):
                    if self.value(condition):
                        self.block(body)

    def loop(self, of: ir.For) -> None:
        position = self.loops[of.loop] if of.start is None else self.bound(of.start, max)
        stop = self.bound(of.stop, min)
        while position + of.step <= stop:
            self.loops[of.loop] = position
            self.block(of.body)
            position += of.step
        self.loops[of.loop] = position

    def bound(self, of: int | str | tuple[str, int] | ir.Local, both: Any) -> int:
        match of:
            case (str() as name, int() as number):
                return both(self.bounds[name], number)
            case ir.Local():
                return int(self.locals[of])
            case str():
                return self.bounds[of]
            case int():
                return of

    def store(self, of: ir.Store) -> None:
        assert of.buffer.name in self.written
        value = self.value(of.value)
        count = self.part(of.part) if of.value.kind in ("vec", "ints") else 1
        memory = self.memory[of.buffer.name]
        memory.entries[memory.place(self.address(of.address), count)] = np.atleast_1d(value)[:count]

    # Values

    def value(self, of: ir.Value) -> Any:
        match of:
            case ir.Local():
                return self.locals[of]
            case ir.Number(value=value):
                return self.arithmetic.number(Fraction(self.samples) if value == "samples" else value)
            case ir.Whole(value=value):
                return self.affine(value)
            case ir.Load():
                return self.load(of)
            case ir.Call(operation="root", arguments=(base, ir.Number(value=rest))):
                return self.arithmetic.apply("root", [self.value(base), rest])
            case ir.Call(operation=operation, arguments=arguments, kind=kind):
                return self.call(operation, [self.value(a) for a in arguments], kind)

    def affine(self, of: Affine) -> int:
        return of.offset + sum(c * self.loops[index] for index, c in of.terms)

    def address(self, of: ir.Address) -> int:
        return self.affine(of.affine) + sum(int(self.locals[local]) * stride for local, stride in of.found)

    def part(self, part: ir.Part) -> int:
        given = self.locals[part] if isinstance(part, ir.Local) else part
        return self.lanes if given is None else max(0, min(int(given), self.lanes))

    def load(self, of: ir.Load) -> Any:
        memory = self.memory[of.buffer.name]
        varying = [(self.locals[local], stride) for local, stride in of.address.found if local.kind == "ints"]
        if varying:
            (index, stride), = varying
            rest = tuple(f for f in of.address.found if f[0].kind != "ints")
            start = self.address(ir.Address(of.address.affine, rest))
            return np.array([memory.entries[memory.place(start + int(i) * stride, 1)][0] for i in index],
                            memory.entries.dtype)
        if of.kind not in ("vec", "ints"):
            return memory.entries[memory.place(self.address(of.address), 1)][0]
        count = self.part(of.part)
        value = np.zeros(self.lanes, memory.entries.dtype)
        value[:count] = memory.entries[memory.place(self.address(of.address), count)]
        return value

    def call(self, operation: str, values: Sequence[Any], kind: ir.Kind) -> Any:
        match operation:
            case "splat" | "splat_ints" | "splat_mask":
                return np.full(self.lanes, values[0], self.arithmetic.dtype if kind == "vec" else None)
            case "live":
                return np.arange(self.lanes) < values[0]
            case "choose":
                flag, first, second = values
                return self.chosen(flag, first, second)
            case "both":
                return values[0] & values[1]
            case "either":
                return values[0] | values[1]
            case "same":
                return values[0] == values[1]
            case "before":
                return values[0] < values[1]
            case "inside":
                return 0 <= values[0] < values[1]
            case "plus":
                return values[0] + values[1]
            case "minus":
                return values[0] - values[1]
            case "times":
                return values[0] * values[1]
            case "least":
                return min(values)
            case "most":
                return max(values)
            case "hsum":
                return self.halved(values[0])
            case _:
                return self.arithmetic.apply(operation, values)

    def chosen(self, flag: Any, first: Any, second: Any) -> Any:
        if not np.ndim(flag):
            return first if flag else second
        result = np.array(second)
        result[flag] = first[flag]
        return result

    def halved(self, lanes: Array) -> Any:
        """The sum of the lanes: the upper half is added to the lower until one is left."""
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = self.arithmetic.apply("add", [lanes[:half], lanes[half:]])
        return lanes[0]


class Step:
    """One step of a lowered program over a batch: `given` holds its data, (N, …), and what it keeps, by tensor.

    `outputs` and `kept` are what comes of it; after a loss that is not finite `failed` is set and nothing kept changes.
    Between two meetings the workers run one after another in the order of `workers`: a meeting that is missing shows.
    """

    def __init__(
        self, lowered: Lowered, arithmetic: Arithmetic, given: Mapping[Tensor, Array], workers: Sequence[int] = (0,)
    ) -> None:
        self.of, self.arithmetic = lowered, arithmetic
        self.samples = len(given[lowered.task.data[0]]) if lowered.task.data else 1
        assert self.samples == 1 or not lowered.single
        self.blocks = -(-self.samples // lowered.width)
        self.memory: dict[str, Memory] = {}
        self.blocks_memory = np.full(self.blocks * lowered.stride, arithmetic.unwritten, arithmetic.dtype)
        self.common = np.full(lowered.common, arithmetic.unwritten, arithmetic.dtype)
        self.kept: dict[Tensor, Array] = {}
        for tensor in lowered.task.kept:
            layout = lowered.stored[tensor, False].layout
            entries = np.full(layout.size, arithmetic.number(Fraction(0)), arithmetic.dtype)
            self.memory[lowered.names[tensor]] = Memory(entries, 0, entries.size)
            self.kept[tensor] = layout.inside(entries)
            self.kept[tensor][...] = np.asarray(given[tensor]).astype(arithmetic.dtype)
        for (tensor, rows), where in lowered.stored.items():
            match where.region:
                case "kept":
                    continue
                case "blocks":
                    size = where.layout.length * lowered.width
                    memory = Memory(self.blocks_memory, where.offset, size, lowered.stride)
                case "common":
                    memory = Memory(self.common, where.offset, where.layout.size)
            self.memory[lowered.names[tensor] + ("r" if rows else "")] = memory
        self.given = {t: np.asarray(given[t]).astype(arithmetic.dtype) for t in lowered.task.data}
        for tensor in lowered.task.data:
            for block in range(self.blocks):
                self.gather(tensor, tensor, False, block)
        self.outputs: dict[Tensor, Array] = {}
        self.failed = not self.run(workers)

    def run(self, workers: Sequence[int]) -> bool:
        """Whether the loss was finite."""
        phases: list[list[ir.Kernel | Rows | Taken]] = [[]]
        stages = [*self.of.stages, Meet()]
        if self.of.turns:  # a single step begins with its own first kernel and ends without the next one's
            stages = [self.of.turns.first, Meet(), *stages[:-2], self.of.turns.update, Meet()]
        meetings = sum(isinstance(s, Meet) for s in stages)
        for stage in stages:
            match stage:
                case Turns():
                    raise AssertionError("the last stage alone")
                case Meet():
                    last = len(phases) == meetings
                    for worker in workers:
                        for part in phases[-1]:
                            self.stage(part, worker, len(workers))
                        if last and worker == 0:
                            self.deliver("common")
                    phases.append([])
                case Check(loss=loss):
                    assert not phases[-1]
                    memory = self.memory[self.of.names[loss]]
                    if not self.arithmetic.finite(memory.entries[memory.place(0, 1)][0]):
                        return False
                case _:
                    phases[-1].append(stage)
        self.deliver("blocks")
        return True

    def deliver(self, region: str) -> None:
        """The outputs without samples are delivered by worker 0 alone, those of its blocks by each worker."""
        for tensor in self.of.task.outputs:
            if (self.of.stored[tensor, False].region == "blocks") == (region == "blocks"):
                self.outputs[tensor] = self.taken(tensor)

    def stage(self, stage: ir.Kernel | Rows | Taken, worker: int, workers: int) -> None:
        own = range(self.blocks * worker // workers, self.blocks * (worker + 1) // workers)
        match stage:
            case ir.Kernel(split=split, unit=unit):
                if split == "blocks":
                    start, stop = own.start, own.stop
                elif split is None:
                    start = stop = 0
                    if worker:
                        return
                else:
                    units = -(-split // unit)
                    start = units * worker // workers * unit
                    stop = min(units * (worker + 1) // workers * unit, split)
                    if start >= stop:
                        return
                Kernel(stage, self.memory, self.arithmetic, self.samples, self.of.lanes, self.of.width, start, stop)
            case Rows(tensor=tensor, given=given):
                for block in own:
                    if given:
                        self.gather(tensor, tensor, True, block)
                    else:
                        self.entries(tensor, True, block)[...] = self.entries(tensor, False, block)
            case Taken(tensor=tensor, given=given):
                for block in own:
                    self.gather(tensor, given, False, block)

    # Blocks

    def entries(self, tensor: Tensor, rows: bool, block: int) -> Array:
        """A block's components one after another, their halo among them, for each sample: (size, width)."""
        layout, width = self.of.stored[tensor, rows].layout, self.of.width
        memory = self.memory[self.of.names[tensor] + ("r" if rows else "")]
        entries = memory.entries[memory.place(block * self.of.stride, layout.length * width)]
        if rows:
            return entries.reshape(width, -1)[:, : layout.size].T
        return entries.reshape(-1, width)

    def gather(self, tensor: Tensor, given: Tensor, rows: bool, block: int) -> None:
        """What is given of the batch into a block; lanes behind the last sample repeat it."""
        inner = self.of.stored[tensor, rows].layout.inside(self.entries(tensor, rows, block))
        for s in range(self.of.width):
            row = self.given[given][min(block * self.of.width + s, self.samples - 1)]
            inner[..., s] = row

    def taken(self, tensor: Tensor) -> Array:
        where = self.of.stored[tensor, False]
        layout = where.layout
        if where.region == "blocks":
            parts = [layout.inside(self.entries(tensor, False, b)) for b in range(self.blocks)]
            return np.concatenate([np.moveaxis(p, -1, 0) for p in parts])[: self.samples]
        memory = self.memory[self.of.names[tensor]]
        return np.array(layout.inside(memory.entries[memory.place(0, layout.size)]))
