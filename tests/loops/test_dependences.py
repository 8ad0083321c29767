"""The check of a plan: each kind of dependence, broken by a planted fault, is refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from tests.loops.arithmetic import Floats
from tests.loops.tasks import floats, task_of

import chainrule as cr
from chainrule.compile import gradients, training
from chainrule.loops import barriers, program
from chainrule.loops import nodes as ir
from chainrule.loops.check import Fault, faults
from chainrule.loops.halo import zeros_around
from chainrule.loops.interpret import Step
from chainrule.loops.liveness import Liveness
from chainrule.loops.places import Place
from chainrule.loops.plan import Barrier, Check, Deliver, Draw, Gather, Plan, Prefetch, Rows, Stage
from chainrule.loops.program import PASSES, Pass, lower
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task

MACHINE = Machine(4, 12)
PIECES = "u[2*i] = sum[k](w[i, k]*w[i, k])\nu[2*i + 1] = sum[k](w[i, k]*v[k])\ny[n, i] = x[n, i]*u[i]"


def steps_of(*layers: Any, rule: cr.Optimizer) -> Task:
    model = cr.Sequential(*layers, cr.Dense(3), loss="softmax_cross_entropy")
    return training(model.network, model.derive(), rule, "numbers")


@cache
def plan(name: str) -> Plan:
    match name:
        case "convolutions":  # halos, data that are reloaded, places that are shared
            layers = (
                cr.Input(1, 6, 6), cr.Conv2d(3, 3, padding=1), cr.ReLU(), cr.Conv2d(3, 3, padding=1), cr.ReLU(),
                cr.MaxPool2d(2), cr.Flatten(), cr.Dense(9), cr.Tanh(),
            )  # fmt: skip
            return lower(steps_of(*layers, rule=cr.SGD(0.1)), MACHINE, samples=600)
        case "dense":  # copies in rows
            layers = cr.Input(16), cr.Dense(48), cr.Tanh(), cr.Dense(48), cr.Tanh()
            return lower(steps_of(*layers, rule=cr.SGD(0.1)), Machine(16, 24), samples=600)
        case "pipelined":  # the first kernel at the end of the step before; new values that are copied
            return lower(steps_of(cr.Input(700), cr.Dense(13), cr.Tanh(), rule=cr.Adam()), MACHINE, samples=1)
        case "pairs":  # what reads other samples
            text = "y[n, i] = tanh(x[n, i])\nz[n, i] = y[n, i] - sum[m<N](y[m, i])"
            return lower(task_of(text, data="x[N, 6]"), MACHINE, samples=9)
        case "drawn":
            layers = cr.Input(6), cr.Dropout(0.5), cr.Dense(5), cr.Tanh()
            return lower(steps_of(*layers, rule=cr.SGD(0.1)), MACHINE, samples=6)
        case "gradients":  # outputs that several workers write
            model = cr.Sequential(cr.Input(6), cr.Dense(5), cr.Tanh(), cr.Dense(3), loss="half_squared_error")
            return lower(gradients(model.network, model.derive()), MACHINE, samples=6)
        case _:  # a tensor in pieces
            return lower(task_of(PIECES, data="x[N, 10]", kept="w[5, 9]; v[9]"), MACHINE, samples=9)


NAMES = "convolutions", "dense", "pipelined", "gradients", "pieces"


def kinds(found: list[Fault]) -> set[str]:
    return {fault.kind for fault in found}


def without(of: Plan, kind: type[Stage] | str) -> Iterator[tuple[Stage, list[Fault]]]:
    """The faults of the plan without one of its stages of a kind, one after another; kernels by the start of their
    names."""
    for n, stage in enumerate(of.stages):
        named = isinstance(stage, ir.Kernel) and isinstance(kind, str) and stage.name.startswith(kind)
        if named or type(stage) is kind:
            yield stage, faults(replace(of, stages=(*of.stages[:n], *of.stages[n + 1 :])))


def test_what_is_lowered_is_sound() -> None:
    assert [faults(plan(name)) for name in NAMES] == [[]] * len(NAMES)


def test_without_any_one_barrier_workers_meet_in_memory() -> None:
    found = [each for name in NAMES for _, each in without(plan(name), Barrier)]
    assert len(found) > 12 and all(each and all("no barrier between" in text for _, text in each) for each in found)


@pytest.mark.parametrize("kind", ["read after write", "write after read", "write after write"])
def test_a_barrier_that_is_deleted_is_missed_by_the_kind_of_dependence(kind: str) -> None:
    """There are barriers that one kind alone asks for."""
    assert any(kinds(found) == {kind} for name in NAMES for _, found in without(plan(name), Barrier))


def test_a_kernel_that_reads_before_its_writer_is_seen() -> None:
    """Whatever two neighbours are swapped of which one reads the other's result."""
    count = 0
    for name in NAMES:
        of = plan(name)
        where = {s.name: n for n, s in enumerate(of.stages) if isinstance(s, ir.Kernel)}
        works = [(f"k{n}", work) for n, work in enumerate(of.works, 1) if f"k{n}" in where]
        for (one, first), (other, second) in pairwise(works):
            if of.in_memory.intersection(first.group.targets).isdisjoint(map(of.base, second.group.reads)):
                continue
            stages = [*of.stages]
            stages[where[one]], stages[where[other]] = stages[where[other]], stages[where[one]]
            assert "read after write" in kinds(faults(replace(of, stages=tuple(stages)))), (name, one, other)
            count += 1
    assert count > 10


def test_an_update_before_the_last_reader_of_the_old_value_is_seen() -> None:
    """The weights of the last layer, updated before the error is sent back through them."""
    of = plan("dense")
    (check,) = [n for n, s in enumerate(of.stages) if isinstance(s, Check)]
    old = next(t for t in of.task.kept if t.name == "dense3.W")
    update = next(
        n for n, s in enumerate(of.stages)
        if isinstance(s, ir.Kernel) and s.name in of.made_of and of.in_place[old] in of.made_of[s.name].group.targets
    )  # fmt: skip
    stages = [*of.stages]
    stages.insert(check + 1, stages.pop(update))
    found = faults(replace(of, stages=tuple(stages)))
    assert any(kind == "write after read" and "dense3.W" in text for kind, text in found)


@pytest.mark.parametrize("name", NAMES[:4])
def test_two_tensors_that_are_alive_at_once_in_one_place_are_seen(name: str) -> None:
    of = plan(name)
    lives = Liveness(of)
    places = [key for key, where in of.stored.items() if where.region != "kept"]
    alive = [(key, *lives.spans[key]) for key in places if key in lives.spans]
    pairs = [
        (one, other) for (one, born, dies), (other, first, last) in combinations(alive, 2)
        if first <= dies and born <= last and of.stored[one].region == of.stored[other].region
    ]  # fmt: skip
    assert pairs
    for one, other in pairs:
        offset = of.stored[one].offset
        same = [key for key in of.stored if of.buffers[key] == of.buffers[other]]
        moved = {**of.stored, **{key: replace(of.stored[key], offset=offset) for key in same}}
        found = kinds(faults(replace(of, stored=moved)))
        assert "write after read" in found or "write after write" in found, (one, other)
        assert "write after read" in kinds(faults(replace(of, stored=moved, stages=()))), (one, other)


def test_zeros_that_are_not_written_are_seen() -> None:
    found = [*without(plan("convolutions"), "around_")]
    assert len(found) == 4 and all("halo" in kinds(each) for _, each in found)


def test_a_halo_that_is_too_small_is_seen() -> None:
    of = plan("convolutions")
    for n, stage in enumerate(of.stages):
        if isinstance(stage, ir.Kernel) and stage.name.startswith("around_"):
            key = next(k for k in of.stored if f"around_{of.names[k[0]]}" == stage.name)
            where, (buffer,) = of.stored[key], stage.written
            for axis in range(-2, 0):
                halo = [list(sides) for sides in where.layout.halo]
                halo[axis][1] -= 1
                smaller = replace(where.layout, halo=tuple((before, after) for before, after in halo))
                zeros = zeros_around(Place(buffer, smaller, of.stride), of.names[key[0]], of.width)
                assert "halo" in kinds(faults(replace(of, stages=(*of.stages[:n], zeros, *of.stages[n + 1 :]))))
                stored = {**of.stored, key: replace(where, layout=smaller)}
                assert "halo" in kinds(faults(replace(of, stored=stored)))


@pytest.mark.parametrize("name", NAMES)
def test_data_that_are_not_gathered_are_seen(name: str) -> None:
    of = plan(name)
    found = [*without(of, Gather)]
    turning = len(of.turns.gathers) if of.turns else 0  # those that the step before has gathered
    assert len({stage.given for stage, _ in found if isinstance(stage, Gather)}) == len(of.task.data) - turning
    for stage, each in found:
        assert isinstance(stage, Gather)
        assert kinds(each) == {"reload" if stage.tensor in of.reloads else "read after write"}
    assert any(stage.tensor in of.reloads for stage, _ in found if isinstance(stage, Gather)) == (name == NAMES[0])


def test_what_is_gathered_undrawn_is_seen() -> None:
    ((_, found),) = without(plan("drawn"), Draw)
    assert kinds(found) == {"read after write"} and "not drawn" in found[0].text


def test_outputs_that_are_not_delivered_are_seen() -> None:
    found = [each for name in NAMES for _, each in without(plan(name), Deliver)]
    assert len(found) == sum(len(plan(name).task.outputs) for name in NAMES)
    assert all("not delivered" in fault.text for each in found for fault in each)


def test_what_is_brought_to_the_cache_changes_nothing() -> None:
    assert [found for name in NAMES for _, found in without(plan(name), Prefetch)] == [[]] * len(NAMES)


def test_a_copy_in_rows_that_is_not_made_is_seen() -> None:
    found = [each for _, each in without(plan("dense"), Rows)]
    assert len(found) == 1 and all(kinds(each) == {"read after write"} for each in found)


def test_a_change_before_the_loss_is_checked_is_seen() -> None:
    found = [each for name in NAMES[:3] for _, each in without(plan(name), Check)]
    assert len(found) == 3 and all("control" in kinds(each) for each in found)


def test_what_reads_other_workers_samples_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pass takes for a worker's own, the check sees for itself."""
    assert faults(plan("pairs")) == []
    monkeypatch.setattr(barriers, "split_of", lambda kernel: "blocks" if kernel.split == "blocks" else "positions")
    bare = replace(plan("pairs"), stages=tuple(s for s in plan("pairs").stages if not isinstance(s, Barrier)))
    found = faults(barriers.insert_barriers(bare))
    assert kinds(found) == {"read after write"} and all("no barrier between" in text for _, text in found)


def test_every_kernel_is_of_use() -> None:
    assert all(found for name in NAMES for _, found in without(plan(name), "k"))


# The check runs after each pass


def backwards(of: Plan) -> Plan:
    return replace(of, groups=of.groups[::-1])


def in_one_place(of: Plan) -> Plan:
    return replace(of, stored={key: replace(where, offset=0) for key, where in of.stored.items()})


def unmet(of: Plan) -> Plan:
    return replace(of, stages=tuple(s for s in of.stages if not isinstance(s, Barrier)))


BROKEN = {
    "order_updates": (backwards, "read after write"), "allocate": (in_one_place, "write after read"),
    "insert_barriers": (unmet, "read after write"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_pass_that_breaks_the_plan_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, kind = BROKEN[name]

    def broken(each: Pass) -> Pass:
        def run(of: Plan) -> Plan:
            return change(each(of))

        run.__name__ = name
        return run if each.__name__ == name else each

    monkeypatch.setattr(program, "PASSES", tuple(map(broken, PASSES)))
    with pytest.raises(AssertionError, match=f"after {name}: .*{kind}"):
        lower(plan("dense").task, MACHINE, samples=600)


def test_a_state_that_its_step_does_not_read_takes_its_new_value() -> None:
    task = task_of("m[k] = sum[n](x[n, k])\ny[n, k] = x[n, k]*m[k]", data="x[N, 10]", kept="s[10]")
    (state,), (total, y) = task.kept, task.outputs
    task = replace(task, following={state: total}, outputs=(y,))
    given = floats(task, 9)
    step = Step(lower(task, MACHINE, samples=9), Floats(), given)
    assert np.allclose(np.asarray(step.kept[state], float), given[task.data[0]].sum(axis=0), rtol=1e-5)
