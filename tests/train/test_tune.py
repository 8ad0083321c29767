"""Measured tiles: what the clock decides, where it is kept, and that no bit depends on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import machine_of, training
from chainrule.errors import CompileError, ModelError
from chainrule.loops import nodes as ir
from chainrule.loops.plan import Plan, Tiles
from chainrule.loops.program import lower
from chainrule.loops.task import Task
from chainrule.runtime.compiler import native
from chainrule.runtime.tiles import measured, remember
from chainrule.train import tune as tuning
from chainrule.train.profile import Clocked
from chainrule.train.tune import MARGIN, decided

X = np.random.default_rng(0).standard_normal((64, 20)).astype(np.float32)
Y = np.arange(64) % 3


def model() -> cr.Sequential:
    return cr.Sequential(
        cr.Input(20), cr.Dense(12), cr.ReLU(), cr.Dense(3), loss="softmax_cross_entropy", seed=1
    )  # fmt: skip


def task() -> Task:
    made = model()
    return training(made.network, made.derive(), cr.SGD(0.1), "classes")


def lowered(**options: Any) -> Plan:
    return lower(task(), machine_of(native()), samples=32, **options)


def tiles_of(program: Plan) -> dict[str, tuple[int, ...]]:
    return {program.key(name): work.schedule.tile for name, work in program.made_of.items()}


def weights(made: cr.Model) -> bytes:
    return b"".join(np.asarray(value).tobytes() for value in made.parameters.values())


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    return tmp_path


def test_each_kernel_takes_the_tile_that_was_quickest_by_more_than_the_margin() -> None:
    programs = [lowered(variant=variant) for variant in range(3)]
    first = programs[0]
    numbers = [n for n, stage in enumerate(first.stages, 1) if isinstance(stage, ir.Kernel)]
    names = {n: stage.name for n, stage in enumerate(first.stages, 1) if isinstance(stage, ir.Kernel)}
    other = [n for n in numbers if programs[2].made_of[names[n]].schedule.tile != first.made_of[names[n]].schedule.tile]
    quick, close = other[:2]
    seconds = np.ones((3, len(first.stages) + 1))
    seconds[2, quick], seconds[1, quick] = 0.5, 0.9
    seconds[2, close] = 1 - 0.9 * MARGIN
    found = decided(programs, seconds)
    assert [choice.key for choice in found.choices] == [first.key(names[quick])]
    assert found.choices[0].tile == programs[2].made_of[names[quick]].schedule.tile
    assert found.seconds == (seconds[0].sum(), seconds[0].sum() - 0.5)
    assert str(found).count("→") == 2  # its times, and its tiles


def test_a_measured_tile_is_taken_by_the_kernel_it_is_for_and_by_no_other() -> None:
    model_s, other = tiles_of(lowered()), tiles_of(lowered(variant=1))
    key = next(k for k in model_s if model_s[k] != other[k])
    assert tiles_of(lowered(tiles={key: other[key]})) == {**model_s, key: other[key]}
    assert tiles_of(lowered(tiles={"0" * 32: other[key]})) == model_s


@pytest.mark.parametrize("tile", [(), (1,), (0, 1), (100, 100), (1, 1, 1, 1, 1)])
def test_a_tile_that_is_none_for_its_kernel_is_refused(tile: tuple[int, ...]) -> None:
    wanted = tiles_of(lowered())
    key = next(k for k, found in wanted.items() if len(found) == 2 and found != (1, 1))
    assert tiles_of(lowered(tiles={key: tile})) == wanted


def test_only_the_tile_of_a_kernel_can_be_another() -> None:
    """Lanes decide the order of sums, and so the bits."""
    first, other = lowered(), lowered(variant=3)
    for name, work in first.made_of.items():
        assert other.made_of[name].schedule == replace(work.schedule, tile=other.made_of[name].schedule.tile)


def test_keys_tell_shapes_and_machines_apart_but_not_networks() -> None:
    wide = cr.Sequential(cr.Input(21), cr.Dense(12), cr.ReLU(), cr.Dense(3), loss="softmax_cross_entropy")
    deeper = cr.Sequential(
        cr.Input(20), cr.Dense(12), cr.ReLU(), cr.Dense(12), cr.ReLU(), cr.Dense(3), loss="softmax_cross_entropy"
    )

    def keys(made: cr.Model, workers: int = 1) -> set[str]:
        own = training(made.network, made.derive(), cr.SGD(0.1), "classes")
        program = lower(own, machine_of(native(), workers), samples=32)
        return set(map(program.key, program.made_of))

    ours = keys(model())
    assert not ours & keys(model(), workers=2)
    first = lowered().key("k1")
    assert first in keys(deeper) and first not in keys(wide)


def test_tiles_are_kept_and_a_damaged_file_is_none(own_cache: Path) -> None:
    target = native()
    assert measured(target) == {}
    remember(target, {"a": (1, 2)})
    remember(target, {"b": (3,)})
    assert measured(target) == {"a": (1, 2), "b": (3,)}
    (path,) = own_cache.glob("answers/tiles-*")
    endless = '{"a": [1e999]}', '{"a": [Infinity]}', "[" * 100_000
    for text in ("{", "[1]", '{"a": 5}', '{"a": ["x"]}', '{"a": "12"}', '{"a": [1.5]}', *endless):
        path.write_text(text)
        assert measured(target) == {}
    remember(target, {"c": (4, 1)})
    assert measured(target) == {"c": (4, 1)}


def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything runs, but a clock is told: each build is much quicker than those before it."""
    made: list[Clocked] = []
    ticks = Clocked.ticks

    def said(self: Clocked, workers: int = 1) -> Any:
        ticks(self, workers)
        if self not in made:
            made.append(self)
        return np.full(self.marks, 100.0 / (1 + made.index(self)))

    monkeypatch.setattr(tuning, "ROUNDS", 2)
    monkeypatch.setattr(Clocked, "ticks", said)


def test_tuning_changes_no_bit(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch)
    monkeypatch.setattr(tuning, "VARIANTS", 3)
    plain, tuned = model(), model()
    start = weights(tuned)
    found = tuned.tune(X, Y, batch_size=32, optimizer=cr.SGD(0.1), verbose=False)
    assert weights(tuned) == start and measured(native()) == {c.key: c.tile for c in found.choices} != {}
    taken = tiles_of(lowered(tiles=measured(native())))
    assert {choice.key: choice.tile for choice in found.choices}.items() <= taken.items()
    for made, tiles in ((plain, {}), (tuned, measured(native()))):
        remembered(own_cache, tiles)
        made.fit(X, Y, batch_size=32, epochs=3, optimizer=cr.SGD(0.1), executor="native", verbose=False)
    assert weights(plain) == weights(tuned) != start


def test_a_tile_that_was_measured_before_gives_way_to_a_better_one(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to the model's, and also where it is measured for a kernel that stands there twice."""
    made = cr.Sequential(
        cr.Input(12), cr.Dense(12), cr.ReLU(), cr.Dense(12), cr.ReLU(), cr.Dense(12), cr.ReLU(), cr.Dense(3),
        loss="softmax_cross_entropy",
    )  # fmt: skip
    program = lower(training(made.network, made.derive(), cr.SGD(0.1), "classes"), machine_of(native()), samples=32)
    keys = [program.key(name) for name in program.made_of]
    assert len(set(keys)) < len(keys)
    remember(native(), {**dict.fromkeys(keys, (1, 1)), "of another program": (2,)})
    monkeypatch.setattr(tuning, "MARGIN", 1.0)  # no tile is so much quicker than the model's
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    monkeypatch.setattr(tuning, "VARIANTS", 2)
    found = made.tune(np.ones((64, 12), np.float32), Y, batch_size=32, optimizer=cr.SGD(0.1), verbose=False)
    assert found.choices == () and measured(native()) == {"of another program": (2,)}


def test_clocks_give_back_what_they_took(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor whose rows lie apart is copied for a run: one that is not given back stays in memory."""
    made = cr.Sequential(cr.Input(256), cr.Dense(256), cr.Dense(3), loss="softmax_cross_entropy")
    run = made._steps(np.ones((64, 256), np.float32), Y, 32, cr.SGD(0.1))
    clocked = Clocked(run, lower(run.task, machine_of(native()), samples=32))
    assert clocked.library.rooms == {}
    clocked.ticks()
    assert clocked.library.rooms and clocked.library.packed == []


def test_a_cache_that_cannot_be_written_to_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tuning, "Clocked", None)
    with pytest.raises(OSError, match="file"):
        model().tune(X, Y, verbose=False)


def test_what_fit_would_refuse_is_refused() -> None:
    for size in (0, -3, 2.5):
        for measure in (model().tune, model().profile):
            with pytest.raises(ModelError, match="batch_size must be a positive whole number"):
                measure(X, Y, batch_size=size)  # pyright: ignore[reportArgumentType]
    exact = cr.Sequential(cr.Input(20), cr.Dense(3), loss="softmax_cross_entropy", dtype="float64")
    with pytest.raises(CompileError, match="float64"):
        exact.profile(X, Y)


def test_fewer_samples_than_a_batch_are_measured_as_fit_takes_them(own_cache: Path) -> None:
    run = model()._steps(X[:5], Y[:5], 32, cr.SGD(0.1))
    assert (run.batch, run.steps) == (5, 1)


def test_a_network_with_zeros_around_its_tensors_is_tuned(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that write those zeros are made of no equations and have no tile."""
    told(monkeypatch)
    monkeypatch.setattr(tuning, "VARIANTS", 2)
    made = cr.Sequential(
        cr.Input(1, 5, 5), cr.Conv2d(2, 3, padding=1), cr.ReLU(), cr.Conv2d(2, 3, padding=1), cr.Dense(3),
        loss="softmax_cross_entropy",
    )  # fmt: skip
    own = training(made.network, made.derive(), cr.SGD(0.1), "classes")
    program = lower(own, machine_of(native()), samples=32)
    assert any(isinstance(stage, ir.Kernel) and not program.made(stage) for stage in program.stages)
    x = np.random.default_rng(1).standard_normal((64, 1, 5, 5)).astype(np.float32)
    found = made.tune(x, Y, batch_size=32, optimizer=cr.SGD(0.1), verbose=False)
    assert any("conv2d1" in choice.what for choice in found.choices)
    assert measured(native()) == {choice.key: choice.tile for choice in found.choices}


def remembered(cache: Path, tiles: Tiles) -> None:
    """Make these the measured tiles, and no others."""
    for path in cache.glob("answers/tiles-*"):
        path.unlink()
    if tiles:
        remember(native(), tiles)


def test_ctrl_c_keeps_what_was_measured(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch)
    monkeypatch.setattr(tuning, "ROUNDS", 15)
    monkeypatch.setattr(tuning, "VARIANTS", 3)
    made = model()
    counted = [0]
    ticks = tuning.Clocked.ticks

    def interrupted(self: tuning.Clocked, workers: int = 1) -> Any:
        counted[0] += 1
        if counted[0] == 1 + after:
            raise KeyboardInterrupt
        return ticks(self, workers)

    monkeypatch.setattr(tuning.Clocked, "ticks", interrupted)
    after = tuning.VARIANTS - 1  # not yet every variant once
    with pytest.raises(KeyboardInterrupt):
        made.tune(X, Y, batch_size=32, verbose=False)
    assert measured(native()) == {}
    counted[0], after = 0, 2 * tuning.VARIANTS + 1
    assert made.tune(X, Y, batch_size=32, verbose=False).choices
    assert measured(native())
