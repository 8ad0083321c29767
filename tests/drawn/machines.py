"""A drawn program as native code, against NumPy; and a model of it fitted, saved and loaded."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chainrule as cr
from chainrule.errors import CompileError
from chainrule.ir.expr import Tensor
from chainrule.loops.task import Task
from tests.drawn import oracle
from tests.drawn.consumers import point_of
from tests.drawn.language import TARGET
from tests.drawn.loops import task_of
from tests.drawn.subject import Fault, Subject
from tests.targets.native import HERE, Result, at_lanes, by_numpy, distance, library, natively, off_by_rounding

Array = NDArray[Any]
BOUND, TIMES = 1e-5, 8


def _given(s: Subject, task: Task, values: Mapping[str, Array], signal: Array) -> dict[Tensor, Array]:
    named = s.values(values)
    if s.signals:
        named[s.signals[0].name] = signal
    return {t: np.asarray(0.05) if t in task.stepwise else named[t.name] for t in (*task.data, *task.kept)}


def native(s: Subject) -> list[Fault]:
    """A step in float32 is NumPy's: within 1e-5, or within 8 times what rounding moves."""
    task = replace(task_of(s), drawn={})  # what is drawn is given here
    samples = (6, 3, 11, 1)[s.program.seed % 4]
    point = point_of(s, 0, samples)
    given, order = _given(s, task, point.values, point.signal), np.arange(samples)
    lanes, expected = (HERE.lanes, samples) if s.program.seed % 2 else (4, max(samples - 1, 1))
    built = library(at_lanes(task, lanes, samples=expected))

    def numpy(of: Task, dtype: str = "float64") -> Result:
        return by_numpy(of, given, order, samples, dtype=dtype)

    found, right = natively(built, given, order, samples), numpy(task)
    moved = [distance(numpy(off_by_rounding(task, n)), right) for n in range(3)]
    moved.append(distance(numpy(task, "float32"), right))
    allowed = {name: max(off[name] for off in moved) for name in moved[0]}
    own = distance(found, right)
    wrong = {n: d for n, d in own.items() if right.failed < 0 and not d <= max(BOUND, TIMES * allowed[n])}
    faults = [Fault("native", "wrong value", ", ".join(f"{n}: {d:.1g}" for n, d in wrong.items()))] if wrong else []
    if natively(built, given, order, samples, workers=2).bits != found.bits:
        faults.append(Fault("native", "other bits with two workers"))
    return faults


def _arrays(s: Subject, point: oracle.Point) -> tuple[Any, Array]:
    inputs = [g for g in s.program.given if g.kind in ("input", "id")]
    x = tuple(point.values[g.name].astype(np.int64 if g.kind == "id" else np.float32) for g in inputs)
    return x if len(x) > 1 else next(iter(x)), point.values[TARGET].astype(np.float32)


def fitted(s: Subject) -> list[Fault]:
    """A model predicts, is fitted by native code (or by NumPy, with a reason), is saved and loaded."""
    model = s.model
    if model is None:
        return []
    point = point_of(s, 0, 5)
    x, y = _arrays(s, point)
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "m.safetensors"
        with suppress(cr.DivergenceError):
            model.fit(x, y, epochs=1, batch_size=3, verbose=False, optimizer=cr.SGD(1e-3))
        model.save(path)
        layer = type(model.network.layers[0][1])
        again = cr.load(path, custom={layer.__name__: layer})
        for name, value in {**dict(model.parameters), **dict(model.states)}.items():
            other = {**dict(again.parameters), **dict(again.states)}[name]
            if not np.array_equal(other, value, equal_nan=True):
                faults.append(Fault("fitted", "saved otherwise", name))
        one, other = (m.predict(x, executor="numpy") for m in (model, again))
        if not np.array_equal(one, other, equal_nan=True):
            faults.append(Fault("fitted", "loaded otherwise"))
        try:
            quick = model.predict(x, executor="native")
        except CompileError:
            return faults
        size = max(1.0, float(np.abs(one).max(initial=0)))
        if np.all(np.isfinite(one)) and not np.abs(quick - one).max(initial=0) < 1e-3 * size:
            faults.append(Fault("fitted", "native prediction", f"off by {np.abs(quick - one).max():.1g}"))
    return faults
