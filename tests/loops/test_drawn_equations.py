"""Equations drawn from what a layer's equation may say, nested as they come: their gradients' loops equal them over
GF(p), and native code equals NumPy in float64 within what NumPy's own float32 loses."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from tests.examples import CAMPAIGN, few
from tests.loops.arithmetic import Field
from tests.loops.tasks import computed_exactly, differing, elements, floats, wanted
from tests.targets.native import HERE, at_lanes, by_numpy, distance, library, natively

import chainrule as cr
from chainrule.compile import gradients
from chainrule.errors import ChainruleError
from chainrule.loops.interpret import Step
from chainrule.loops.program import lower
from chainrule.loops.reading import Reader
from chainrule.loops.schedule import Machine
from chainrule.loops.task import Task

Scope = dict[str, int | str]
NAMES = ["i", "j", "k", "i1", "i2", "j1", "k1", "l", "p", "q", "i3", "j2", "a", "b"]
POWERS = ["1/2", "1/3", "-3/4", "2/3", "-1/2", "-1", "5/2", "-3/2"]
KINDS = ("read", "add", "product", "power", "function", "reduce", "two", "bracket", "samples")
CASES = [(4, 6, 6), (4, 2, 3), (4, 1, 1), (8, 8, 11)]
SEEDS = 400 if CAMPAIGN else 12


class Draw:
    """One layer over x[N, 3, 4]: the text of its equation, and the shapes of its parameters."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.shapes: dict[str, list[int]] = {}
        out = self.bind({}, self.random.choice([1, 1, 2]))
        left = ", ".join(f"{i}<{e}" for i, e in out.items())
        body = self.expression({"n": "N", **out}, self.random.choice([2, 3, 3, 4]))
        self.text = f"y[n, {left}] = {body} + 0*x[n, 0, 0]"

    def bind(self, scope: Scope, count: int) -> dict[str, int]:
        names = self.random.sample([name for name in NAMES if name not in scope], count)
        return {name: self.random.choice([2, 3, 4, 9]) for name in names}

    def subscript(self, scope: Scope, extent: int) -> tuple[str, bool]:
        """A subscript, and whether it is inside an axis of this extent."""
        ways = [i for i, e in scope.items() if e == extent]
        others = [i for i in scope if i not in ("n", "m")]
        if ways and self.random.random() < 0.75:
            return self.random.choice(ways), True
        if others and self.random.random() < 0.8:
            i = self.random.choice(others)
            return self.random.choice([f"{i} + 1", f"2*{i}", f"{i} - 1", f"2*{i} - 1", i]), False
        return str(self.random.randrange(extent)), True

    def read(self, scope: Scope) -> str:
        if self.random.random() < 0.5:
            sample, name, shape = self.random.choice([s for s in ("n", "m") if s in scope]) + ", ", "x", [3, 4]
        else:
            new = [self.random.choice([2, 3, 4]) for _ in range(self.random.choice([1, 2, 3]))]
            known = self.random.choice([*self.shapes, f"W{len(self.shapes)}"])
            sample, name, shape = "", known, self.shapes.setdefault(known, new)
        parts = [self.subscript(scope, extent) for extent in shape]
        inside = all(fine for _, fine in parts)
        of = name if inside else f"pad({name}, {self.random.choice('001')})"
        return f"{of}[{sample}{', '.join(text for text, _ in parts)}]"

    def expression(self, scope: Scope, depth: int) -> str:
        def inner(more: Scope | None = None) -> str:
            return f"({self.expression({**scope, **(more or {})}, depth - 1)})"

        choose = self.random.choice
        kind = choose([*KINDS, "reduce", "reduce"])
        others = [i for i in scope if i not in ("n", "m")]
        cannot = (kind == "bracket" and len(others) < 2) or (kind == "samples" and "m" in scope)
        if depth <= 0 or kind == "read" or cannot:
            return self.read(scope)
        match kind:
            case "add":
                return f"{inner()} {choose('+-')} {inner()}"
            case "product":
                return f"{inner()}*{inner()}"
            case "power":
                return f"(1 + tanh{inner()}**2)**({choose(POWERS)})"
            case "function":
                return f"{choose(['tanh', 'sigmoid', 'relu', 'softplus', 'abs', 'sign', 'step', 'erfc'])}{inner()}"
            case "two":
                return f"{choose(['max', 'min'])}({inner()}, {inner()})"
            case "bracket":
                one, other = self.random.sample(others, 2)
                return choose([f"[{one} == {other}]", f"[{one} + 1 == {other}]"])
            case "samples":
                return f"{choose(['mean', 'sum', 'max', 'logsumexp'])}[m]({inner({'m': 'N'})} + 0*x[m, 0, 0])"
            case _:
                over = self.bind(scope, choose([1, 1, 2]))
                text = ", ".join(f"{i}<{e}" for i, e in over.items())
                return f"{choose(['sum', 'mean', 'max', 'logsumexp'])}[{text}]({inner({**over})})"


def drawn(seed: int) -> tuple[str, Task] | None:
    """A model's gradients as a task; None where the text says what no equation may (a power of a power)."""
    draw = Draw(seed)
    init = {n: cr.normal(0.5, *s) for n, s in draw.shapes.items() if f"{n}[" in draw.text or f"({n}," in draw.text}
    layer = type("Drawn", (cr.Layer,), {"equation": draw.text, "init": init})
    before = [cr.Dense(12), cr.Reshape(3, 4)] if seed % 2 else []
    loss = draw.random.choice(["mean_squared_error", "softmax_cross_entropy"])
    try:
        model = cr.Sequential(cr.Input(3, 4), *before, layer(), loss=loss)
    except ChainruleError:
        return None
    return draw.text, gradients(model.network, model.derive())


def differs(task: Task, seed: int) -> Any:
    lanes, expected, samples = CASES[seed % len(CASES)]
    given = elements(task, samples, seed)
    lowered = lower(task, Machine(lanes, 12), samples=expected, scheduled=seed % 5 > 0)
    right = wanted(task, computed_exactly(task, given, samples, seed))
    return differing(Step(lowered, Field(seed), given, (1, 0)).outputs, right)


@pytest.mark.drawn
@pytest.mark.parametrize("part", range(4))
def test_the_loops_of_drawn_equations(part: int) -> None:
    tasks = {seed: found for seed in range(part, SEEDS, 4) if (found := drawn(seed))}
    assert {text: wrong for seed, (text, task) in tasks.items() if (wrong := differs(task, seed))} == {}
    assert len(tasks) > SEEDS / 4 * 0.8


@pytest.mark.parametrize("seed", few(range(1000, 1060), range(1000, 1002)))
def test_native_code_of_drawn_equations(seed: int) -> None:
    found = drawn(seed)
    if found is None:
        return
    text, task = found
    _, expected, samples = CASES[seed % len(CASES)]
    given, order = floats(task, samples, seed), np.arange(samples)
    built = library(at_lanes(task, HERE.lanes, samples=expected), flags=("-O0",))
    result = natively(built, given, order, samples)
    exact, single = (by_numpy(task, given, order, samples, dtype=dtype) for dtype in ("float64", "float32"))
    own, allowed = distance(result, exact), distance(single, exact)
    assert {name: far for name, far in own.items() if not far <= max(2e-5, 30 * allowed[name])} == {}, text
    assert natively(built, given, order, samples, workers=2).bits == result.bits


def is_wrong(seed: int) -> bool:
    one = drawn(seed)
    try:
        return one is not None and bool(differs(one[1], seed))
    except IndexError:
        return True


def test_a_padding_cut_at_the_wrong_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads padded with a number whose position is not looked at."""
    right = Reader.conditions

    def wrong(self: Any, node: Any, env: Any) -> Any:
        return () if node.pad and right(self, node, env) is not None else right(self, node, env)

    monkeypatch.setattr(Reader, "conditions", wrong)
    assert any(map(is_wrong, range(120)))
