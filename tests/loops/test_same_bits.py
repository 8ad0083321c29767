"""The law of schedules: what is fused, tiled or shared out changes no bit.

Here the loops are carried out by the interpreter, over float64 without fused operations: whatever adds in another order
shows. tests/targets/test_same_bits.py does it to what the compiler makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tests.examples import examples, few
from tests.loops.arithmetic import Floats
from tests.loops.tasks import floats, task_of
from tests.networks import networks
from tests.nn.test_every_layer import MODELS, model_with

import chainrule as cr
from chainrule.compile import forward, training
from chainrule.ir.expr import Tensor
from chainrule.loops import filtering, plan, schedule
from chainrule.loops import nodes as ir
from chainrule.loops.fuse import Group
from chainrule.loops.interpret import Step
from chainrule.loops.plan import Gather
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine, Schedule
from chainrule.loops.task import Task

Bits = Mapping[Tensor, Any]


def bits(task: Task, samples: int, *, expected: int, lanes: int = 4, scheduled: bool = True, workers: int = 1) -> Bits:
    lowered = lower(task, Machine(lanes, 12), samples=expected, scheduled=scheduled)
    step = Step(lowered, Floats(), floats(task, samples), range(workers))
    return {t: a.tobytes() for t, a in {**step.outputs, **step.kept}.items()}


def tiled(draw: Callable[[int], int]) -> Callable[..., Schedule]:
    """`choose` with other tiles: for each loop any size up to 4 that fits, drawn."""

    def choose(group: Group, layouts: Any, machine: Machine, width: int, samples: int) -> Schedule:
        found = schedule.choose(group, layouts, machine, width, samples)
        sizes = [1 + draw(min(4, loop.extent)) for loop in found.loops]
        sizes = [1 + draw(3) if found.lanes == "samples" else 1, *sizes]
        return replace(found, tile=tuple(sizes))

    return choose


def integer(rng: np.random.Generator, below: int) -> int:
    return int(rng.integers(below))


# In `make test` those whose sums, windows or orders differ; the others are drawn, and each in the campaign.
TILED = [
    "Dense", "Conv2d", "ConvTranspose2d", "MaxPool1d", "GlobalMeanPool", "LayerNorm", "BatchNorm", "Embedding",
    "Concat",
]  # fmt: skip


@pytest.mark.parametrize("name", few(MODELS, TILED))
def test_layers_in_random_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with(name)
    task = training(model.network, model.derive(), cr.SGD(0.1, momentum=0.5), "numbers")
    for expected, samples in ((6, 7), (2, 3)):
        wanted = bits(task, samples, expected=expected, scheduled=False)
        assert bits(task, samples, expected=expected, workers=2) == wanted
        with monkeypatch.context() as patch:
            patch.setattr(plan, "choose", tiled(partial(integer, np.random.default_rng(len(name)))))
            assert bits(task, samples, expected=expected) == wanted


@examples(2, 400)
@given(st.data())
def test_drawn_networks_in_drawn_tiles(data: st.DataObject) -> None:
    model, labels = data.draw(networks())
    task = training(model.network, model.derive(), cr.Adam(clip_norm=1.0), labels)
    expected, samples = data.draw(st.sampled_from([(1, 1), (2, 3), (5, 5), (5, 6)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filtering, "TERMS", data.draw(st.sampled_from([1, 16])))
        wanted = bits(task, samples, expected=expected, scheduled=False)
        patch.setattr(plan, "choose", tiled(lambda n: data.draw(st.integers(0, n - 1))))
        assert bits(task, samples, expected=expected) == wanted


@pytest.mark.parametrize("seed", few(range(3), 3))
def test_convolutions_in_tiles_of_outputs_in_random_tiles(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of a tile share sums, and a kernel; what follows them joins it; gradients share their loops."""
    monkeypatch.setattr(filtering, "TERMS", 1)
    model = cr.Sequential(
        cr.Input(2, 4, 6), cr.Conv2d(3, 3, padding=1), cr.ReLU(), cr.Conv2d(2, 3, padding=1), cr.Tanh(), cr.Flatten(),
        cr.Dense(2), loss="softmax_cross_entropy",
    )  # fmt: skip
    task = training(model.network, model.derive(), cr.SGD(0.1, momentum=0.5), "numbers")
    made = [work.group.computes for work in lower(task, Machine(4, 12), samples=6).works]
    assert "conv2d1.u; conv2d1.u; relu1.z; relu1.z" in made
    assert "δrelu1.z; δrelu1.z; δconv2d1.u; δconv2d1.u" in made
    assert any(each.startswith("δconv2d2.W; δconv2d2.W; δconv2d2.W; velocity_next") for each in made)
    wanted = bits(task, 7, expected=6, scheduled=False)
    assert bits(task, 7, expected=6, workers=2) == wanted
    with monkeypatch.context() as patch:
        patch.setattr(plan, "choose", tiled(partial(integer, np.random.default_rng(seed))))
        assert bits(task, 7, expected=6) == wanted


# A sum whose neighbours in a kernel, or in the loops around it, would have it added up in another order.
NEIGHBOURS = {
    "an update that is not side by side": (
        "g[i, j] = sum[n](a[n, i]*b[n, j])\nv[i, j] = w[i, j] - g[i, j]\nu[j, i] = q[j, i] - 2*g[i, j]",
        "w[5, 6]; q[6, 5]", "a[N, 5]; b[N, 6]",
    ),
    "two sums at one point": (
        "s[i, j] = sum[k](p[i, k]*q[j, k])\nt[i, j] = s[i, j]*sum[k](p[i, k]*r[k, j])",
        "p[5, 7]; q[9, 7]; r[7, 9]", "x[N, 2]",
    ),
    "a sum that the samples do not move": ("y[n, i] = x[n, i]*sum[k](w[i, k]**2)", "w[3, 9]", "x[N, 3]"),
    "a sum that nothing moves": ("y[n, i] = x[n, i]*sum[k, l](w[k, l]**2)", "w[3, 9]", "x[N, 3]"),
    "a sum that only the first index moves": ("y[i, j] = v[i, j]*sum[k](w[i, k]**2)", "w[3, 9]; v[3, 8]", "x[N, 1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_do_not_decide_how_a_sum_is_split(name: str) -> None:
    text, kept, given = NEIGHBOURS[name]
    task = task_of(text, kept=kept, data=given)
    for expected, samples in ((6, 7), (1, 2)):
        assert bits(task, samples, expected=expected) == bits(task, samples, expected=expected, scheduled=False)


def test_where_lanes_do_not_split_a_sum_their_number_changes_no_bit() -> None:
    """Forward and input gradients keep samples, or outputs, in the lanes; a weight's gradient splits its sum."""
    text = "u[n, k] = sum[l](w[k, l]*x[n, l])\nz[n, k] = tanh(u[n, k])\nd[n, l] = sum[k](w[k, l]*z[n, k])"
    task = task_of(text, kept="w[5, 9]", data="x[N, 9]")
    for samples in (3, 9, 17):
        assert len({tuple(bits(task, samples, expected=17, lanes=lanes).items()) for lanes in (4, 8, 16)}) == 1
    split = task_of("g[k, l] = sum[n](d[n, k]*x[n, l])", data="x[N, 3]; d[N, 3]")
    assert len({tuple(bits(split, 17, expected=17, lanes=lanes).items()) for lanes in (4, 8, 16)}) == 3


def test_every_tile_leaves_out_the_same_terms() -> None:
    """A product of padding's 0 and an infinite weight is no number where it is added, and nothing where it is not."""
    model = cr.Sequential(cr.Input(1, 3, 3), cr.Conv2d(2, 5, padding=2, bias=False))
    task = forward(model.network, model.network.inference_logits)
    (x,), (weight,) = task.data, task.kept
    given = {x: np.ones((9, 1, 3, 3)), weight: np.ones((2, 1, 5, 5))}
    given[weight][..., 0, 0] = np.inf
    plain = lower(task, Machine(4, 12), samples=9, scheduled=False)
    for lowered in (plain, *(lower(task, Machine(4, 12), samples=9, variant=variant) for variant in range(6))):
        (values,) = Step(lowered, Floats(), given).outputs.values()
        assert np.isinf(np.asarray(values, float)[:, :, 2, 2]).all()
        assert np.isfinite(np.asarray(values, float)).sum() == 9 * 2 * 8


def test_ids_that_are_taken_in_again_are_ids() -> None:
    """The gradient of the embedding goes to the rows that they name, term by term, as in the loops as they stand."""
    model = cr.Sequential(
        cr.Input(24, dtype="integer"), cr.Embedding(5, 2), cr.ReLU(), cr.Flatten(), cr.Dense(6), cr.ReLU(), cr.Dense(2),
        loss="softmax_cross_entropy",
    )  # fmt: skip
    task = training(model.network, model.derive(), cr.SGD(0.1), "numbers")
    lowered = lower(task, Machine(4, 12), samples=8)
    assert sum(isinstance(stage, Gather) and stage.given == task.data[0] for stage in lowered.stages) == 2
    name = next(name for name, work in lowered.made_of.items() if "δembedding1.E" in work.group.computes)
    kernel = next(kernel for kernel in lowered.kernels if kernel.name == name)
    assert any(isinstance(s, ir.Store) and s.address.found for s in every(kernel.body))
    assert bits(task, 9, expected=8) == bits(task, 9, expected=8, scheduled=False)


def every(statements: Iterable[ir.Statement]) -> Iterator[ir.Statement]:
    for statement in statements:
        yield statement
        if isinstance(statement, (ir.For, ir.If)):
            yield from every(statement.body)


def test_another_order_of_a_sum_shows() -> None:
    first = task_of("y[k] = sum[i](x[i, k]*w[i])", kept="x[9, 5]; w[9]", data="d[N, 1]")
    other = replace(first, equations=task_of(
        "y[k] = sum[i<9](x[8 - i, k]*w[8 - i])", kept="x[9, 5]; w[9]", data="d[N, 1]"
    ).equations)
    assert bits(first, 1, expected=1) != bits(other, 1, expected=1)
