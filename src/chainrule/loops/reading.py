"""Components in memory: loads and stores at a point, with what padding asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from chainrule.errors import CompileError
from chainrule.ir.expr import Component, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.layout import own_subscripts, sampled
from chainrule.loops.places import Env, Ids, Place, Sample, key_of, known_part, placed
from chainrule.loops.writer import Writer

Atom = ir.Atom


class Reader(Writer):
    """`places` gives each tensor's places, a second one with `rows`; `ids` are the whole numbers that are given, and
    what they are positions of. `read` and `written` are the buffers that were."""

    def __init__(self, places: Mapping[tuple[Tensor, bool], Place], lanes: int, width: int, ids: Ids) -> None:
        super().__init__()
        self.places, self.lanes, self.width, self.ids = places, lanes, width, ids
        self.lane: Index | None = None
        """The loop whose neighbouring positions are in the lanes."""
        self.part: ir.Part = None
        self.read: dict[ir.Buffer, None] = {}
        self.written: dict[ir.Buffer, None] = {}

    def address(self, component: Component, env: Env, store: bool = False) -> tuple[ir.Buffer, ir.Address, bool]:
        """Where a component lies, and whether it is a different one in each lane."""
        tensor, subscripts = component.tensor, component.subscripts
        sample: Sample | None = None
        if sampled(tensor):
            index = subscripts[0].plain
            position = env.get(index) if index else Sample(Affine(), Affine()) if subscripts[0] == Affine() else None
            if not isinstance(position, Sample):
                raise CompileError(f"{tensor.name} is read at the samples {subscripts[0]}", about=component)
            sample, subscripts = position, subscripts[1:]
        layout = self.places[tensor, False].layout
        flat, found = placed(layout, subscripts, env)
        rows = sample is not None and self.lane is not None and bool(flat.coefficient(self.lane))
        if rows and self.width > 1:
            if (tensor, True) not in self.places:
                raise CompileError(f"{tensor.name} has no copy in rows", about=component)
            layout = self.places[tensor, True].layout
            flat, found = placed(layout, subscripts, env)
        place = self.places[tensor, rows and self.width > 1]
        lanes = sample is not None and sample.at is None
        if sample is not None:
            step = 1 if rows and self.width > 1 else self.width
            flat = sample.block * place.stride + flat * step
            found = tuple((local, stride * step) for local, stride in found)
            if sample.at is not None:
                flat = flat + sample.at * (layout.apart if rows and self.width > 1 else 1)
        if self.lane is not None and (reach := flat.coefficient(self.lane)):
            if reach != 1:
                raise CompileError(f"{tensor.name} is read at a stride of {reach} in the lanes", about=component)
            lanes = True
        (self.written if store else self.read)[place.buffer] = None
        return place.buffer, ir.Address(flat, self.one_varying(found, lanes)), lanes

    def one_varying(self, found: Sequence[tuple[ir.Local, int]], lanes: bool) -> tuple[tuple[ir.Local, int], ...]:
        """The parts of an address that are known as a value, of those that differ from lane to lane one at most: where
        each lane has a component of its own, a place chosen in it is counted from that."""
        varying = [(local, stride) for local, stride in found if local.kind == "ints"]
        if not varying or (len(varying) == 1 and not lanes):
            return tuple(found)
        parts = [self.call("times", v, ir.Whole(Affine((), s)), kind="int") if s != 1 else v for v, s in varying]
        if lanes:
            parts.append(self.let(ir.Call("numbered", (), "ints")))
        total = parts[0]
        for part in parts[1:]:
            total = self.call("plus", total, part, kind="int")
        assert isinstance(total, ir.Local)
        return (*(f for f in found if f not in varying), (total, 1))

    def component(self, node: Component, env: Env) -> Atom:
        forwarded = self.lookup(key_of(node, env))
        if forwarded is not None:
            return forwarded
        inside = self.conditions(node, env) if node.pad is not None else ()
        pad: Atom | None = None
        if isinstance(node.pad, Fraction):
            whole = node.tensor.dtype == "integer"
            pad = ir.Whole(Affine((), int(node.pad))) if whole else ir.Number(node.pad)
        if inside is None:
            assert pad is not None
            return pad
        buffer, address, lanes = self.address(node, env)
        kind: ir.Kind = "int" if buffer.kind == "int" else "real"
        if any(local.kind == "ints" for local, _ in address.found):
            lanes = True
        if inside:
            # Outside the tensor the address is one inside it, and what is read there is not taken.
            where = self.call("choose", self.every(inside), ir.Whole(address.affine), ir.Whole(Affine()), kind="int")
            assert isinstance(where, ir.Local)
            address = ir.Address(Affine(), (*address.found, (where, 1)))
        part = self.part if lanes and self.lane is not None else None
        value = self.let(ir.Load(buffer, address, ir.IN_LANES[kind] if lanes else kind, part), "a")
        if inside and pad is not None:
            value = self.call("choose", self.every(inside), value, self.lift(pad) if lanes else pad, kind=value.kind)
        return value

    def store(self, target: Component, env: Env, value: Atom) -> None:
        buffer, address, lanes = self.address(target, env, store=True)
        self.statements.append(
            ir.Store(buffer, address, self.lift(value) if lanes else value, self.part if lanes and self.lane else None)
        )

    def fetch(self, component: Component, env: Env) -> None:
        """Bring to the cache what is read at a point later, where it is of several lanes."""
        buffer, address, lanes = self.address(component, env)
        if lanes and not address.found:
            self.statements.append(ir.Fetch(buffer, address))

    def conditions(self, node: Component, env: Env) -> tuple[Atom, ...] | None:
        """Flags that say whether a padded read is inside the tensor; None where it is outside whatever the loops do."""
        subscripts = own_subscripts(node)
        layout = self.places[node.tensor, False].layout
        flags: list[Atom] = []
        for subscript, extent, (before, after) in zip(subscripts, layout.extents, layout.halo, strict=True):
            reach = subscript.bounds()
            around = (before, after) if node.pad == 0 else (0, 0)
            if reach and -around[0] <= reach[0] and reach[1] < extent + around[1]:
                continue  # positions of loops that run as one say nothing of a single subscript's
            now = known_part(subscript, env)
            low, high = now.bounds() or (-1, extent)
            if high < 0 or low >= extent:
                return None
            if low < 0 or high >= extent:
                if self.lane is not None and now.coefficient(self.lane):
                    raise CompileError(f"the padding of {node.tensor.name} cuts across the lanes", about=node)
                flags.append(self.call("inside", ir.Whole(now), ir.Whole(Affine((), extent)), kind="flag"))
        return tuple(flags)
