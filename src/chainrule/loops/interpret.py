"""The loops as what they mean: each node carried out by one function, over an arithmetic that is given.

For tests: a lowered program run here equals the program's equations whatever is printed of it. Memory is checked: an
address outside of its tensor, with its halo, raises IndexError, as does a vector that reaches beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.ir.expr import NamedReal, Tensor
from chainrule.ir.index import Affine
from chainrule.loops import nodes as ir
from chainrule.loops.plan import Barrier, Check, Deliver, Draw, Gather, Plan, Prefetch, Rows, Stage, Turns

Array = NDArray[Any]
Run = Callable[[], None]


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
    """One call of a kernel by one worker, whose share is `start` … `stop` − 1.

    Each node becomes a function that carries it out, once; loops then only call.
    """

    def __init__(
        self, kernel: ir.Kernel, memory: Mapping[str, Memory], arithmetic: Arithmetic, samples: int,
        lanes: int, width: int, start: int, stop: int,
    ) -> None:
        self.memory, self.arithmetic, self.samples, self.lanes = memory, arithmetic, samples, lanes
        self.bounds = {
            "N": samples, "blocks": -(-samples // width), "full": samples // width, "from": start, "to": stop
        }
        self.locals: dict[str, Any] = dict(self.bounds)
        self.loops: dict[str, int] = {}
        self.written = {b.name for b in kernel.written}
        self.block(kernel.body)()

    # Statements

    def block(self, statements: Iterable[ir.Statement]) -> Run:
        parts = [self.statement(statement) for statement in statements if not isinstance(statement, ir.Fetch)]

        def run() -> None:
            for part in parts:
                part()

        return run

    def statement(self, statement: ir.Statement) -> Run:
        match statement:
            case ir.Let(local=local, value=value) | ir.Variable(local=local, value=value) | ir.Set(
                local=local, value=value
            ):
                name, known, given = local.name, self.locals, self.value(value)

                def assign() -> None:
                    known[name] = given()

                return assign
            case ir.Store():
                return self.store(statement)
            case ir.For():
                return self.loop(statement)
            case ir.If(condition=condition, body=body):
                answer, then = self.value(condition), self.block(body)

                def decide() -> None:
                    if answer():
                        then()

                return decide
            case ir.Fetch():
                raise AssertionError("a fetch does nothing")

    def loop(self, of: ir.For) -> Run:
        name, loops, step = of.loop.name, self.loops, of.step
        start = None if of.start is None else self.bound(of.start, max)
        stop, body = self.bound(of.stop, min), self.block(of.body)

        def run() -> None:
            position = loops[name] if start is None else start()
            last = stop()
            while position + step <= last:
                loops[name] = position
                body()
                position += step
            loops[name] = position

        return run

    def bound(self, of: int | str | tuple[str, int] | ir.Local, both: Callable[[int, int], int]) -> Callable[[], int]:
        match of:
            case (str() as name, int() as number):
                return self.constant(both(self.bounds[name], number))
            case ir.Local(name=name):
                return lambda: int(self.locals[name])
            case str():
                return self.constant(self.bounds[of])
            case int():
                return self.constant(of)

    def constant(self, value: Any) -> Callable[[], Any]:
        return lambda: value

    def store(self, of: ir.Store) -> Run:
        assert of.buffer.name in self.written
        value, memory, address = self.value(of.value), self.memory[of.buffer.name], self.address(of.address)
        count = self.part(of.part) if of.value.kind in ("vec", "ints") else self.constant(1)

        def run() -> None:
            length = count()
            memory.entries[memory.place(address(), length)] = np.atleast_1d(value())[:length]

        return run

    # Values

    def value(self, of: ir.Value) -> Callable[[], Any]:
        match of:
            case ir.Local(name=name):
                known = self.locals
                return lambda: known[name]
            case ir.Number(value=value):
                return self.constant(self.arithmetic.number(Fraction(self.samples) if value == "samples" else value))
            case ir.Whole(value=value):
                return self.affine(value)
            case ir.Load():
                return self.load(of)
            case ir.Call(operation="power", arguments=(base, ir.Number(value=exponent))):
                apply, inner = self.arithmetic.apply, self.value(base)
                return lambda: apply("power", [inner(), exponent])
            case ir.Call(operation=operation, arguments=arguments, kind=kind):
                function, parts = self.function(operation, kind), [self.value(a) for a in arguments]
                match parts:
                    case [one]:
                        return lambda: function(one())
                    case [one, other]:
                        return lambda: function(one(), other())
                    case [one, two, three]:
                        return lambda: function(one(), two(), three())
                    case _:
                        return lambda: function(*[part() for part in parts])

    def affine(self, of: Affine) -> Callable[[], int]:
        loops, offset = self.loops, of.offset
        match [(index.name, c) for index, c in of.terms]:
            case []:
                return lambda: offset
            case [(name, c)]:
                return lambda: offset + c * loops[name]
            case [(name, c), (other, d)]:
                return lambda: offset + c * loops[name] + d * loops[other]
            case terms:
                return lambda: offset + sum([c * loops[name] for name, c in terms])

    def address(self, of: ir.Address) -> Callable[[], int]:
        place, known = self.affine(of.affine), self.locals
        found = [(local.name, stride) for local, stride in of.found]
        if not found:
            return place
        return lambda: place() + sum([int(known[name]) * stride for name, stride in found])

    def part(self, part: ir.Part) -> Callable[[], int]:
        if isinstance(part, ir.Local):
            return lambda: max(0, min(int(self.locals[part.name]), self.lanes))
        return self.constant(self.lanes if part is None else max(0, min(part, self.lanes)))

    def load(self, of: ir.Load) -> Callable[[], Any]:
        memory, lanes = self.memory[of.buffer.name], self.lanes
        entries, place = memory.entries, memory.place
        varying = [(local.name, stride) for local, stride in of.address.found if local.kind == "ints"]
        if varying:
            (index, stride), = varying
            rest = tuple(f for f in of.address.found if f[0].kind != "ints")
            start = self.address(ir.Address(of.address.affine, rest))

            def gather() -> Any:
                first = start()
                each = [entries[place(first + int(i) * stride, 1)][0] for i in self.locals[index]]
                return np.array(each, entries.dtype)

            return gather
        address = self.address(of.address)
        if of.kind not in ("vec", "ints"):
            return lambda: entries[place(address(), 1)][0]
        if of.part is None:
            return lambda: entries[place(address(), lanes)].copy()
        count = self.part(of.part)

        def load() -> Any:
            length = count()
            value = np.zeros(lanes, entries.dtype)
            value[:length] = entries[place(address(), length)]
            return value

        return load

    def function(self, operation: str, kind: ir.Kind) -> Callable[..., Any]:
        lanes = self.lanes
        match operation:
            case "splat" | "splat_ints" | "splat_mask":
                return partial(np.full, lanes, dtype=self.arithmetic.dtype if kind == "vec" else None)
            case "numbered":
                return partial(np.arange, lanes)
            case "live":
                return self.live
            case "choose":
                return chosen
            case "hsum":
                return self.halved
            case _ if operation in WHOLE:
                return partial(of_whole, operation)
            case _:
                return partial(self.applied, operation)

    def live(self, count: int) -> Array:
        return np.arange(self.lanes) < count

    def applied(self, operation: str, *values: Any) -> Any:
        return self.arithmetic.apply(operation, values)

    def halved(self, lanes: Array) -> Any:
        """The sum of the lanes: the upper half is added to the lower until one is left."""
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = self.arithmetic.apply("add", [lanes[:half], lanes[half:]])
        return lanes[0]


def chosen(flag: Any, first: Any, second: Any) -> Any:
    if not np.ndim(flag):
        return first if flag else second
    result = np.array(second)
    result[flag] = first[flag]
    return result


WHOLE = frozenset({"both", "either", "same", "before", "inside", "plus", "minus", "times", "least", "most"})


def of_whole(operation: str, a: Any, b: Any) -> Any:
    """What is done with whole numbers and answers, the same over any arithmetic."""
    match operation:
        case "both":
            return a & b
        case "either":
            return a | b
        case "same":
            return a == b
        case "before":
            return a < b
        case "inside":
            return 0 <= a < b
        case "plus":
            return a + b
        case "minus":
            return a - b
        case "times":
            return a * b
        case "least":
            return min(a, b)
        case _:
            return max(a, b)


class Step:
    """One step of a lowered program over a batch: `given` holds its data, (N, …), and what it keeps, by tensor.

    `outputs` and `kept` are what comes of it; after a loss that is not finite `failed` is set and nothing kept changes.
    Between two barriers the workers run one after another in the order of `workers`: a barrier that is missing shows.
    """

    def __init__(
        self, lowered: Plan, arithmetic: Arithmetic, given: Mapping[Tensor, Array], workers: Sequence[int] = (0,)
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
        self.outputs: dict[Tensor, Array] = {}
        self.failed = not self.run(workers)

    def run(self, workers: Sequence[int]) -> bool:
        """Whether the loss was finite."""
        phase: list[Stage] = []
        turns = self.of.turns  # a single step begins with its own first kernel and ends without the next one's
        stages: list[Stage] = [*turns.opening] if turns else []
        stages += [stage.update if isinstance(stage, Turns) else stage for stage in self.of.stages]
        for stage in (*stages, Barrier()):
            match stage:
                case Barrier():
                    for worker in workers:
                        for part in phase:
                            self.stage(part, worker, len(workers))
                    phase = []
                case Check(loss=loss):
                    assert not phase
                    memory = self.memory[self.of.names[loss]]
                    if not self.arithmetic.finite(memory.entries[memory.place(0, 1)][0]):
                        return False
                case _:
                    phase.append(stage)
        return True

    def stage(self, stage: Stage, worker: int, workers: int) -> None:
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
            case Draw() | Prefetch():
                pass  # what is drawn is given
            case Gather(tensor=tensor, given=given, rows=rows):
                for block in own:
                    self.gather(tensor, given, rows, block)
            case Rows(tensor=tensor):
                for block in own:
                    self.entries(tensor, True, block)[...] = self.entries(tensor, False, block)
            case Deliver(tensor=tensor):
                self.deliver(tensor, own, worker)
            case Check() | Barrier() | Turns():
                raise AssertionError("between phases")

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

    def deliver(self, tensor: Tensor, own: range, worker: int) -> None:
        """The samples of the worker's blocks; what has none is delivered by the first worker."""
        where, width = self.of.stored[tensor, False], self.of.width
        layout = where.layout
        if where.region == "blocks":
            array = self.outputs.setdefault(tensor, np.zeros((self.samples, *layout.extents), self.arithmetic.dtype))
            for block in own:
                live = array[block * width : (block + 1) * width]
                live[...] = np.moveaxis(layout.inside(self.entries(tensor, False, block)), -1, 0)[: len(live)]
        elif worker == 0:
            memory = self.memory[self.of.names[tensor]]
            self.outputs[tensor] = np.array(layout.inside(memory.entries[memory.place(0, layout.size)]))
