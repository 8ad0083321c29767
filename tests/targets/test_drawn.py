"""Networks that hypothesis draws, trained by native code and by NumPy in float64: partial batches, batches of one.

The bound: each entry is within 1e-5 of its tensor's largest entry, or of 1; or, where the network magnifies rounding,
within 8 times what rounding moves it: NumPy's own float32, or all tensors off by half a unit in the last place. The
first alone may be exact by chance: a batch of one minus its mean is 0 in NumPy, while a fused multiply-add leaves the
product's rounding, and batch normalisation divides it by √ε.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tests.examples import examples
from tests.loops.tasks import floats
from tests.networks import networks
from tests.targets.native import HERE, at_lanes, by_numpy, distance, library, natively, off_by_rounding

import chainrule as cr
from chainrule.compile import training
from chainrule.loops import filtering

BOUND, TIMES = 1e-5, 8
OPTIMIZERS = [cr.SGD(0.05), cr.SGD(0.05, momentum=0.9, nesterov=True), cr.Adam(0.01, epsilon=1e-2, clip_norm=1.0)]


@examples(3, 300)
@given(networks(), st.sampled_from(OPTIMIZERS), st.sampled_from([(1, 1, 1), (2, 3, 7), (9, 9, 22)]), st.integers(0, 99))
def test_a_drawn_network_trains_as_with_numpy(
    drawn: tuple[cr.Model, str], rule: cr.Optimizer, run: tuple[int, int, int], seed: int
) -> None:
    model, labels = drawn
    expected, batch, samples = run
    task = training(model.network, model.derive(), rule, labels)  # pyright: ignore[reportArgumentType]
    given, order = floats(task, samples, seed), np.random.default_rng(seed).permutation(samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filtering, "TERMS", 1 if seed % 2 else 16)
        built = library(at_lanes(task, HERE.lanes, samples=expected))
    found = natively(built, given, order, batch, seed=seed)
    right, single = (by_numpy(task, given, order, batch, seed=seed, dtype=d) for d in ("float64", "float32"))
    assert found.failed == right.failed
    moved = [by_numpy(off_by_rounding(task, s), given, order, batch, seed=seed) for s in range(3)]
    offs = [distance(result, right) for result in (single, *moved)]
    own, allowed = distance(found, right), {name: max(off[name] for off in offs) for name in offs[0]}
    wrong = {n: (d, allowed[n]) for n, d in own.items() if right.failed < 0 and not d <= max(BOUND, TIMES * allowed[n])}
    assert wrong == {}
    assert natively(built, given, order, batch, seed=seed, workers=2).bits == found.bits
