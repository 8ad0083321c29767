"""Places in memory: what lives at the same time lies apart, and what takes another's place may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.examples import examples
from tests.loops.arithmetic import Floats
from tests.loops.tasks import floats, task_of
from tests.networks import networks

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import Tensor
from chainrule.loops import nodes as ir
from chainrule.loops.interpret import Step
from chainrule.loops.layout import Layout
from chainrule.loops.liveness import Liveness
from chainrule.loops.memory import Item, packed
from chainrule.loops.plan import Gather, Plan, Rows, Stage
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine

MACHINE = Machine(4, 12)


def clashes(items: Iterable[Item], offsets: dict[tuple[Tensor, bool], int]) -> int:
    """Pairs that live at the same time and overlap."""
    return sum(
        first <= dies and born <= last
        and offsets[one] < offsets[other] + length and offsets[other] < offsets[one] + size
        for (one, born, dies, size), (other, first, last, length) in combinations(items, 2)
    )  # fmt: skip


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = []
    for n in range(draw(st.integers(1, 12))):
        born, length, size = draw(st.integers(0, 9)), draw(st.integers(0, 6)), draw(st.integers(1, 5))
        items.append(((Tensor(f"t{n}", ()), False), born, born + length, 16 * size))
    return items


def least(items: Sequence[Item]) -> int:
    """What lives at once at the worst time: no packing needs less."""
    return max(sum(size for _, born, dies, size in items if born <= time <= dies) for time in range(17))


@examples(25, 5000)
@given(lifetimes())
def test_what_lives_at_the_same_time_lies_apart(items: list[Item]) -> None:
    offsets, total = packed(items)
    assert clashes(items, offsets) == 0
    assert least(items) <= total == max(offsets[key] + size for key, _, _, size in items)


def test_a_place_given_twice_is_seen() -> None:
    items: list[Item] = [((Tensor("a", ()), False), 0, 2, 16), ((Tensor("b", ()), False), 2, 3, 16)]
    assert clashes(items, {key: 0 for key, *_ in items}) == 1
    assert clashes(items, {items[0][0]: 0, items[1][0]: 16}) == 0


def lowered(name: str) -> Plan:
    """As for many samples: the price of a change is low where there is much work."""
    layers, loss, machine = NETWORKS[name]
    model = cr.Sequential(*layers, loss=loss)
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    return lower(task, machine, samples=600)


NETWORKS = {
    "convolutions": (
        (cr.Input(1, 6, 6), cr.Conv2d(3, 3, padding=1), cr.ReLU(), cr.Conv2d(3, 3, padding=1), cr.ReLU(),
         cr.MaxPool2d(2), cr.Flatten(), cr.Dense(9), cr.Tanh(), cr.Dense(3)), "softmax_cross_entropy", MACHINE,
    ),
    "dense": (
        (cr.Input(16), cr.Dense(48), cr.Tanh(), cr.Dense(48), cr.Tanh(), cr.Dense(4)), "mean_squared_error",
        Machine(16, 24),
    ),
}  # fmt: skip


def result(of: Plan, samples: int, workers: int = 1) -> dict[Tensor, bytes]:
    step = Step(of, Floats(), floats(of.task, samples), range(workers))
    return {t: a.tobytes() for t, a in {**step.outputs, **step.kept}.items()}


@examples(3, 200)
@given(st.data())
def test_networks_in_little_memory_give_the_same_bits(data: st.DataObject) -> None:
    model, labels = data.draw(networks())
    task = training(model.network, model.derive(), cr.Adam(), labels)
    samples = data.draw(st.sampled_from([5, 9]))
    wanted = result(lower(task, MACHINE, samples=samples, scheduled=False), samples)
    assert result(lower(task, MACHINE, samples=samples), samples, workers=2) == wanted


def without(of: Plan, kind: type[Stage] | str) -> list[Plan]:
    """The program without one of its stages of a kind, one after another; kernels by the start of their names."""
    return [
        replace(of, stages=(*of.stages[:n], *of.stages[n + 1 :])) for n, stage in enumerate(of.stages)
        if (isinstance(stage, ir.Kernel) and stage.name.startswith(kind) if isinstance(kind, str)
            else isinstance(stage, kind))
    ]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_zeros_copies_and_batches_that_are_forgotten_are_seen(name: str) -> None:
    sound = lowered(name)
    wanted = result(lower(sound.task, NETWORKS[name][2], samples=600, scheduled=False), 9)
    assert result(sound, 9) == wanted
    broken = {kind: without(sound, kind) for kind in (Gather, Rows, "around_")}
    wrong = [Gather, "around_"] if name == "convolutions" else [Gather, Rows]
    assert [kind for kind, programs in broken.items() if programs] == wrong
    assert all(differs(one, wanted) for programs in broken.values() for one in programs)


def test_zeros_around_data_are_copied_in_rows() -> None:
    """The window's neighbours in the lanes: made of what is given, the copy has no zeros around it."""
    model = cr.Sequential(
        cr.Input(7, 12), cr.Conv1d(5, 4, padding=1), cr.Tanh(), cr.Flatten(), cr.Dense(3), loss="softmax_cross_entropy"
    )
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    sound, plain = (lower(task, MACHINE, samples=9, scheduled=scheduled) for scheduled in (True, False))
    (copied,) = [s for s in sound.stages if isinstance(s, Rows) and s.tensor.name == "input"]
    assert not sound.stored[copied.tensor, True].layout.unhaloed
    wanted = result(plain, 9)
    assert result(sound, 9) == wanted
    again = Gather(copied.tensor, copied.tensor, rows=True)
    stages = tuple(again if stage is copied else stage for stage in sound.stages)
    assert differs(replace(sound, stages=stages), wanted)


def differs(of: Plan, wanted: dict[Tensor, bytes]) -> bool:
    try:
        return result(of, 9) != wanted
    except (TypeError, ValueError):  # a number that was never written
        return True


def test_a_gradient_takes_the_place_of_what_it_is_computed_from() -> None:
    """Unless that is read later: tanh2.z by the gradient of the last weights, tanh1.z only as its copy in rows."""
    places = {t.name: where.offset for (t, rows), where in lowered("dense").stored.items() if not rows}
    assert places["δ(dense1.u)"] == places["tanh1.z"]
    assert places["δ(dense2.u)"] != places["tanh2.z"]


WRONG = {
    "another is read": "a[n, i] = x[n, i]**2\nb[n, i<40] = a[n, 39 - i] + x[n, i]",
    "all are read": "a[n, i] = x[n, i]**2\nb[n, i] = sum[j](a[n, j]*w[i, j])",
    "it is read again": "a[n, i] = x[n, i]**2\nb[n, i] = 2*a[n, i]\nc[n, i] = a[n, i]*sum[j](b[n, j])",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_place_is_taken_only_where_that_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rule that always allows it, and lets it die too early, other bits come out, or the check of a plan sees
    that it is read when it is gone."""
    task = task_of(WRONG[name], data="x[N, 40]", kept="w[40, 40]")
    last = task.outputs[-1]
    task = replace(task, outputs=(last,))
    wanted = result(lower(task, MACHINE, samples=9, scheduled=False), 9)
    assert result(lower(task, MACHINE, samples=9), 9) == wanted
    a = next(e.tensor for e in task.equations)

    def always(self: Liveness, work: object, new: Tensor, old: Tensor) -> bool:
        return old == a and new not in (a, old)

    def dying(self: Liveness, number: int) -> list[Tensor]:
        return [t for t in self.works[number].plain if t == a]

    monkeypatch.setattr(Liveness, "may_take", always)
    monkeypatch.setattr(Liveness, "alike", lambda self, one, other: True)
    monkeypatch.setattr(Liveness, "dying", dying)
    if name == "it is read again":
        with pytest.raises(AssertionError, match=r"write after read: .* reads a, over which k\d has written"):
            lower(task, MACHINE, samples=9)
    else:
        assert differs(lower(task, MACHINE, samples=9), wanted)


@pytest.mark.parametrize("halo", [((1, 1), (1, 1)), ((2, 1), (0, 3)), ((0, 0), (4, 4)), ((1, 0), (0, 1))])
def test_zeros_between_two_rows_serve_both(halo: tuple[tuple[int, int], ...]) -> None:
    """Every position has a place; those of the tensor have one of their own."""
    layout = Layout(Tensor("t", (3, 4)), halo, 1)
    places = {
        (i, j): layout.origin + i * layout.strides[0] + j * layout.strides[1]
        for i in range(-halo[0][0], 3 + halo[0][1]) for j in range(-halo[1][0], 4 + halo[1][1])
    }  # fmt: skip
    inner = {p: places[p] for p in places if 0 <= p[0] < 3 and 0 <= p[1] < 4}
    assert len(set(inner.values())) == 12
    assert set(places.values()).issubset(range(layout.size))
    assert max(places.values()) == layout.size - 1
    assert not set(inner.values()) & {place for p, place in places.items() if p not in inner}

