"""A program as kernels: what is stored where, which equations share a kernel, and the memory they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import prod

from chainrule.ir.expr import Component, Delta, Expr, Guard, Reduce, Tensor, derived
from chainrule.ir.index import Affine, Index
from chainrule.ir.print import to_text
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, components, transform
from chainrule.loops import nodes as ir
from chainrule.loops.ahead import reading_once, run_ahead
from chainrule.loops.border import border
from chainrule.loops.filtering import filtered
from chainrule.loops.fuse import Group, Lanes, grouped, ordered
from chainrule.loops.kernel import Builder, crosses, scattered
from chainrule.loops.layout import Layout, extents, own_subscripts, sampled
from chainrule.loops.lives import Facts, Lives, Work
from chainrule.loops.memory import ALIGN, met, packed, spread, whole
from chainrule.loops.normal import normal
from chainrule.loops.order import arranged
from chainrule.loops.places import Place
from chainrule.loops.schedule import (
    Machine,
    Schedule,
    Tile,
    alternatives,
    choose,
    few_rows,
    fits,
    lanes_of,
    needs_rows,
    single_sided,
)
from chainrule.loops.single import single
from chainrule.loops.task import Check, Lowered, Region, Rows, Stage, Stored, Taken, Task, Turns


def lower(
    task: Task, machine: Machine, *, samples: int, scheduled: bool = True, tiles: Tiles | None = None, variant: int = 0
) -> Lowered:
    """The kernels of a task. Where more `samples` are expected at once than half a vector has lanes, they go into the
    lanes; a task of training for 1 is for batches of 1 alone. Without `scheduled` the loops are as the equations have
    them, one equation a kernel: what every schedule must equal bit for bit. `tiles` are taken for the kernels they
    name; of the others each takes its `variant`-th best by the model. Raises CompileError where the program has no
    loops."""
    width = machine.lanes if 2 * samples > machine.lanes else 1
    return _Plan(task, machine, width, samples, scheduled, tiles or {}, variant).lowered()


Tiles = Mapping[str, Tile]
"""Measured tiles, by the keys of the kernels they are for."""


class _Plan:
    def __init__(
        self, task: Task, machine: Machine, width: int, samples: int, scheduled: bool, tiles: Tiles, variant: int
    ) -> None:
        self.single = samples == 1 and bool(task.following)
        task = normal(task)
        task = single(task) if self.single else filtered(task) if width > 1 else task
        self.task = task
        self.machine, self.width, self.samples = machine, width, samples
        self.scheduled, self.tiles, self.variant = scheduled, tiles, variant
        self.ids = task.ids
        equations = self.merged() if scheduled else [*task.equations]
        self.names = names_of(task)
        self.layouts = self.with_halos(equations)
        self.bordered = frozenset(t for t, layout in self.layouts.items() if not layout.unhaloed) - {*task.kept}
        self.taken: Mapping[Tensor, Tensor] = {}
        self.lasting: frozenset[Tensor] = frozenset()
        self.next: Mapping[Tensor, Tensor] = {}
        """What the next step's first kernel reads of its batch, where it is run ahead: data, and views of them."""
        self.views = self.find_views(equations) if scheduled else {}
        equations = [e for e in equations if e.tensor not in self.views]
        lanes: dict[Equation, Lanes | None] = {
            e: lanes_of(e, self.layouts, machine, width, samples) for e in equations
        }
        self.groups = [Group((e,), lanes[e]) for e in equations]
        if scheduled:
            self.groups = grouped(equations, lanes.__getitem__, self.fits)
        self.schedules = [self.choose(g, self.layouts) for g in self.groups]
        if scheduled:
            works, facts = arranged(self.works(), self.facts(samples), self.choose)
            self.groups, self.schedules = [w.group for w in works], [w.schedule for w in works]
            for tensor in [t for t in facts.layouts if t not in self.names]:
                self.names[tensor] = f"y{1 + sum(name[0] == 'y' for name in self.names.values())}"
            self.layouts, self.bordered, self.taken, self.ids = facts.layouts, facts.bordered, facts.taken, facts.ids
        self.made_in: dict[Tensor | None, int] = {t: n for n, g in enumerate(self.groups) for t in g.targets}
        self.read_in: dict[Tensor, list[int]] = {}
        for number, group in enumerate(self.groups):
            for tensor in group.reads:
                self.read_in.setdefault(tensor, []).append(number)
        self.in_place = {
            old: new for old, new in task.following.items() if old is not new and self.may_overwrite(old, new)
        }
        copies = [
            Equation(Component(old, plain), Component(new, plain))
            for old, new in task.following.items()
            if old is not new and old not in self.in_place
            for plain in [tuple(Affine.of(Index(f"i{n}", e)) for n, e in enumerate(extents(old), 1))]
        ]
        for equation in copies:
            group = Group((equation,))
            self.groups.append(group)
            self.schedules.append(self.choose(group, self.layouts))
        if scheduled and self.width == 1:
            self.overlap()

    def overlap(self) -> None:
        """Run the first kernel of a step at the end of the step before, where that is of use."""
        facts = self.facts(1)
        works = run_ahead(self.works(), facts, self.in_place)
        if works is None:
            return
        self.groups, self.schedules = [w.group for w in works], [w.schedule for w in works]
        first = self.groups[0]
        given = [t for t in map(facts.base, first.reads) if t in self.task.data]
        read = dict.fromkeys((*given, *(t for t in first.reads if facts.base(t) in given)))
        self.next = {t: derived("next", t) for t in read}
        for old, new in self.next.items():
            self.names[new] = f"{self.names[old]}n"
            self.layouts = {**self.layouts, new: replace(self.layouts[old], tensor=new)}
            if old in self.views:
                self.views[new] = self.next[self.views[old]]
        batch = [new for old, new in self.next.items() if old in given]
        self.lasting = frozenset((*given, *batch, *facts.stored.intersection(first.targets)))

    def choose(self, group: Group, layouts: Mapping[Tensor, Layout], *, few: bool = False) -> Schedule:
        """The measured tile, or the model's choice; or a tile of `few` rows, for what comes from a far cache."""
        schedule = choose(group, layouts, self.machine, self.width, self.samples)
        if few:
            schedule = replace(schedule, tile=few_rows(schedule, self.machine))
        if not self.scheduled:
            return replace(schedule, tile=(1,) * len(schedule.tile))
        tile = self.tiles.get(self.key(group, schedule, layouts)) if self.tiles else None
        if tile is not None:
            return replace(schedule, tile=tile) if self.may_take(tile, group, schedule) else schedule
        if self.variant:
            others = alternatives(group, schedule, self.machine, self.width, self.samples)
            return others[min(self.variant, len(others) - 1)]
        return schedule

    def may_take(self, tile: Tile, group: Group, schedule: Schedule) -> bool:
        """Whether a tile is one for such a schedule: any of those gives the same bits."""
        if len(tile) != len(schedule.tile) or min(tile) < 1 or prod(tile) > self.machine.accumulators:
            return False
        return all(tile[n] == 1 for n in single_sided(group, schedule.loops))

    def key(self, group: Group, schedule: Schedule, layouts: Mapping[Tensor, Layout]) -> str:
        """What decides the code of a kernel but for its tile, in whatever program it stands."""
        every = dict.fromkeys(t for e in group.equations for t in (e.tensor, *e.value.tensors))
        names = {t: Tensor(f"t{n}", t.shape, t.dtype) for n, t in enumerate(every)}
        texts = [to_text(_plain(e.over(names))) for e in group.equations]
        shapes = [(t.shape, layouts[t].halo, layouts[t].width) for t in every]
        extents = [loop.extent for loop in schedule.loops]
        whole = repr((texts, shapes, schedule.lanes, extents, self.width, self.samples, self.machine))
        return sha256(whole.encode()).hexdigest()[:32]

    def merged(self) -> list[Equation]:
        """The equations in an order in which updates directly follow the gradients that they consume, where that is
        allowed: everything that reads a kept tensor comes before its new value."""
        new_to_old = {new: old for old, new in self.task.following.items() if new is not old}
        first_update = next((n for n, e in enumerate(self.task.equations) if _updates(e, new_to_old, self.task)), None)
        if first_update is None:
            return [*self.task.equations]
        head, tail = self.task.equations[:first_update], self.task.equations[first_update:]
        return ordered([*head, *tail], tail, self.task.loss)

    def find_views(self, equations: Sequence[Equation]) -> dict[Tensor, Tensor]:
        """Tensors that hold the components of another one in the order in which that lies in memory: a reshape is no
        work. Each with the tensor whose memory it is."""
        pieces = Counter(e.tensor for e in equations)
        views: dict[Tensor, Tensor] = {}
        for equation in equations:
            target, value = equation.target, equation.value
            if not isinstance(value, Component) or value.pad is not None or pieces[target.tensor] > 1:
                continue
            one, other = self.layouts[target.tensor], self.layouts[value.tensor]
            lasting = {*self.task.kept, *self.task.outputs, *self.task.following.values()}
            if target.tensor in lasting or value.tensor in self.task.kept or target.tensor.dtype != value.tensor.dtype:
                continue
            if sampled(target.tensor) != sampled(value.tensor) or not (one.unhaloed and other.unhaloed):
                continue
            here, there = map(own_subscripts, (target, value))
            if sampled(target.tensor) and target.subscripts[0] != value.subscripts[0]:
                continue
            if one.size == other.size and set(one.flat(here).terms) == set(other.flat(there).terms):
                views[target.tensor] = views.get(value.tensor, value.tensor)
        return views

    def fits(self, group: Group) -> bool:
        """Whether a group can have in the lanes what its sums ask for; what scatters its terms stays alone."""
        alone = any(scattered(Group((e,)), self.ids) for e in group.equations)
        return not alone and (group.lanes != "outputs" or fits(group, self.layouts))

    def with_halos(self, equations: Iterable[Equation]) -> dict[Tensor, Layout]:
        """A layout for every tensor, with zeros around it where reads padded with 0 leave it, unless the zeros would
        be more than what they are around: sums leave most of them out then."""
        used = (t for e in equations for t in (e.tensor, *e.value.tensors))
        known = dict.fromkeys((*self.task.data, *self.task.kept, *used))
        halos = {t: [(0, 0)] * len(extents(t)) for t in known}
        for equation in equations:
            for component in components(equation.value):
                tensor = component.tensor
                if component.pad != 0 or tensor in self.task.kept or tensor.dtype != "real":
                    continue
                own = own_subscripts(component)
                wider: list[tuple[int, int]] = []
                for (before, after), subscript, extent in zip(halos[tensor], own, extents(tensor), strict=True):
                    low, high = subscript.bounds() or (0, 0)
                    wider.append((max(before, -low), max(after, high - extent + 1)))
                bare, grown = Layout(tensor, ((0, 0),) * len(wider), 1), Layout(tensor, tuple(wider), 1)
                if prod(grown.lengths) <= 2 * bare.size:
                    halos[tensor] = wider
        for tensor in self.task.kept:
            own = halos[tensor]
            if self.task.following and len(own) > 1 and extents(tensor)[-1] % 256 == 0:
                own[-1] = (0, ALIGN)  # or a column would keep to a few lines of the cache
                if (new := self.task.following.get(tensor, tensor)) in halos:
                    halos[new] = own
        return {t: Layout(t, tuple(halo), self.width if sampled(t) else 1) for t, halo in halos.items()}

    def may_overwrite(self, old: Tensor, new: Tensor) -> bool:
        """Whether the new value of a kept tensor may take the old one's place as it is computed."""
        position = self.made_in.get(new)
        if position is None or position <= self.made_in.get(self.task.loss, -1) or new in self.task.outputs:
            return False
        if any(n != position for n in self.read_in.get(new, ())) or max(self.read_in.get(old, [-1])) > position:
            return False
        equations = self.groups[position].equations
        first, *_, last = [n for n, e in enumerate(equations) if e.tensor == new for _ in range(2)]
        read = [c for e in equations for c in components(e.value) if c.tensor == old]
        if any(old in e.value.tensors for e in equations[last + 1 :]):
            return False
        if any(Reduce in e.value.types for e in equations[first + 1 : last + 1]):
            return False  # what comes before a sum may be stored before it
        points = [e.target.subscripts for e in equations[first : last + 1] if e.tensor == new]
        return all(c.subscripts in points for c in read)

    # Memory

    def works(self) -> list[Work]:
        result: list[Work] = []
        for group, schedule in zip(self.groups, self.schedules, strict=True):
            scatters = scattered(group, self.ids) is not None
            rows: Sequence[Tensor] = ()
            if self.width > 1 and schedule.lanes == "outputs" and not scatters:
                rows = needs_rows(group, schedule.loops[-1])
            blocks = not scatters and not schedule.across and not crosses(group)
            blocks = blocks and any(i.is_sample for i in group.indices)
            result.append(Work(group, schedule, tuple(rows), blocks))
        return result

    def facts(self, samples: int) -> Facts:
        stored, blocks = self.stored_targets(), -(-samples // self.width)
        return Facts(
            self.task, self.layouts, self.views, stored, self.bordered, self.taken, self.width, blocks, self.lasting
        )

    def lowered(self) -> Lowered:
        facts = self.facts(1)
        stored = facts.stored
        self.lives = lives = Lives(self.works(), facts)
        kept = set(self.task.kept)
        places: dict[tuple[Tensor, bool], Stored] = {}
        sizes: dict[Region, int] = {}
        for region in ("blocks", "common"):
            keys = [
                k for k in lives.born
                if k[0] not in kept and k[0] not in self.in_place.values() and sampled(k[0]) == (region == "blocks")
            ]
            items = [(k, *lives.spans[k], facts.entries(k)) for k in keys if k in lives.spans]
            offsets, sizes[region] = packed(items)
            for key in keys:
                layout = replace(self.layouts[key[0]], rows=key[1])
                places[key] = Stored(region, offsets[lives.root(key)], layout)
        for tensor in self.task.kept:
            places[tensor, False] = Stored("kept", 0, self.layouts[tensor])
        for old, new in self.in_place.items():
            places[new, False] = Stored("kept", 0, self.layouts[old])
        for view, of in self.views.items():
            for in_rows in (False, True):
                if (of, in_rows) in places:
                    layout = replace(self.layouts[view], rows=in_rows)
                    places[view, in_rows] = replace(places[of, in_rows], layout=layout)
        stride = spread(sizes["blocks"])
        given = {self.buffer(t) for t in self.task.data}
        stages = met(self.stages(places, stride, stored), self.memory(places), given, self.buffer)
        delivered = {self.buffer(t) for t in self.task.outputs}
        return Lowered(
            self.task, self.machine.lanes, self.width, self.single, whole(stages, delivered), places, self.names,
            stride, sizes["common"], self.by_name, self.views, lambda name: self.key(*self.by_name[name], self.layouts),
        )

    def memory(self, places: Mapping[tuple[Tensor, bool], Stored]) -> dict[str, tuple[str, int, int]]:
        """For the name of each buffer the memory that it takes: where, from which entry to which."""
        result: dict[str, tuple[str, int, int]] = {}
        for (tensor, in_rows), where in places.items():
            name = self.buffer(tensor, in_rows)
            if where.region == "kept":
                result[name] = (name, 0, 1)
            else:
                size = where.layout.length * (self.width if where.region == "blocks" else 1)
                result[name] = (where.region, where.offset, where.offset + size)
        return result

    def buffer(self, tensor: Tensor, in_rows: bool = False) -> str:
        tensor, _ = self.lives.root((self.views.get(tensor, tensor), in_rows))
        return self.names[_old(tensor, self.in_place)] + ("r" if in_rows else "")

    def stored_targets(self) -> frozenset[Tensor]:
        """Targets that must be in memory: read outside of their group, or afterwards."""
        wanted = {*self.task.outputs, *self.task.following.values()}
        if self.task.loss is not None:
            wanted.add(self.task.loss)
        for group in self.groups:
            own = set(group.targets)
            wanted.update(v for t in group.reads if (v := self.views.get(t, t)) not in own or t in self.views)
            for equation in group.equations:
                if scattered(group, self.ids):
                    wanted.add(equation.tensor)
        return frozenset(wanted)

    def stages(
        self, stored: Mapping[tuple[Tensor, bool], Stored], stride: int, targets: frozenset[Tensor]
    ) -> Iterable[Stage]:
        places: dict[tuple[Tensor, bool], Place] = {}
        for (tensor, in_rows), where in stored.items():
            name = self.buffer(tensor, in_rows)
            kind = "int" if tensor.dtype == "integer" else "real"
            apart = stride if where.region == "blocks" else 0
            places[tensor, in_rows] = Place(ir.Buffer(name, kind), where.layout, apart)
        for tensor, layout in self.layouts.items():
            places.setdefault((tensor, False), Place(ir.Buffer(self.names[tensor], "real"), layout, 0))
        self.by_name: dict[str, tuple[Group, Schedule]] = {}
        ahead: ir.Kernel | None = None
        for tensor in self.task.data:
            if tensor in self.bordered:
                yield border(places[tensor, False], self.names[tensor], self.width)
        for number, (group, schedule) in enumerate(zip(self.groups, self.schedules, strict=True)):
            name = f"k{number + 1}"
            afresh = self.lives.facts.afresh
            yield from (Rows(t, t in afresh) for t, at in self.lives.copied.items() if at == number)
            for tensor, at in self.lives.first.items():
                if at == number and tensor in self.bordered and tensor not in self.in_place.values():
                    yield border(places[tensor, False], self.names[tensor], self.width)
                if at == number and tensor in self.taken:
                    yield Taken(tensor, self.taken[tensor])
            builder = Builder(group, schedule, places, targets, self.machine.lanes, self.width, self.ids)
            self.by_name[name] = (group, schedule)
            kernel = builder.build(name, [self.described(e) for e in group.equations])
            if schedule.across:
                ahead = kernel
            elif ahead is not None and number == len(self.groups) - 1:
                taken = {old: new for old, new in self.next.items() if old in self.task.data}
                yield Turns(kernel, ahead, taken, self.both(group, places, targets))
            else:
                yield kernel
            if self.task.loss is not None and self.task.loss in group.targets:
                yield Check(self.task.loss)

    def both(
        self, update: Group, places: Mapping[tuple[Tensor, bool], Place], targets: frozenset[Tensor]
    ) -> ir.Kernel | None:
        """A step's last kernel and the next one's first in one, where each has one sample."""
        news = {old: new for old, new in self.in_place.items() if new in update.targets}
        group = reading_once(self.groups[0], update, news, self.next) if self.single else None
        if group is None:
            return None
        schedule = replace(self.choose(group, self.layouts, few=True), across=True)
        comment = [self.described(e) for e in (*update.equations, *group.equations)]
        machine, name = self.machine, f"k{len(self.groups) + 1}"
        builder = Builder(group, schedule, places, targets, machine.lanes, self.width, self.ids, update.equations)
        return builder.build(name, comment)

    def described(self, equation: Equation) -> str:
        """The equation in the names of the code: no name of a user's reaches it."""
        mapping = {t: Tensor(self.names[t], t.shape, t.dtype) for t in (equation.tensor, *equation.value.tensors)}
        return to_text(_plain(equation.over(mapping)))


def _updates(equation: Equation, following: Mapping[Tensor, Tensor], task: Task) -> bool:
    """Whether an equation belongs to the update: after the loss, where anything kept changes."""
    return equation.tensor in following and task.loss is not None and _after(task, equation)


def _after(task: Task, equation: Equation) -> bool:
    targets = [e.tensor for e in task.equations]
    return task.loss in targets and task.equations.index(equation) > targets.index(task.loss)


def _old(tensor: Tensor, in_place: Mapping[Tensor, Tensor]) -> Tensor:
    return next((old for old, new in in_place.items() if new == tensor), tensor)


INDEX_NAMES = "ijklmnpqrstuvwabcdefgh"


def _plain(equation: Equation) -> Equation:
    """The equation with index names of the code's own, the samples' n."""
    names: dict[Index, Index] = {}
    free = iter(c for c in INDEX_NAMES if c != "n")
    for index in dict.fromkeys((*equation.indices, *bound(equation.value))):
        sample = index.is_sample and Index("n", index.extent) not in names.values()
        names[index] = Index("n" if sample else next(free, f"i{len(names)}"), index.extent)

    def affine(a: Affine) -> Affine:
        return Affine(tuple((names.get(i, i), c) for i, c in a.terms), a.offset)

    def renamed(node: Expr) -> Expr:
        match node:
            case Component(tensor=tensor, subscripts=subscripts, pad=pad):
                return Component(tensor, tuple(map(affine, subscripts)), pad)
            case Delta(left=left, right=right):
                return Delta(affine(left), affine(right) if isinstance(right, Affine) else right)
            case Guard(subscript=subscript, extent=extent):
                return Guard(affine(subscript), extent)
            case Reduce(kind=kind, indices=indices, body=body):
                return Reduce(kind, tuple(names.get(i, i) for i in indices), body)
            case _:
                return node

    target = renamed(equation.target)
    assert isinstance(target, Component)
    return Equation(target, transform(equation.value, renamed))


def names_of(task: Task) -> dict[Tensor, str]:
    """Names for the code, of numbers alone: x data, p kept, y computed."""
    names = {t: f"x{n}" for n, t in enumerate(task.data, 1)}
    names |= {t: f"p{n}" for n, t in enumerate(task.kept, 1)}
    number = 0
    for equation in task.equations:
        if equation.tensor not in names:
            number += 1
            names[equation.tensor] = f"y{number}"
    return names
