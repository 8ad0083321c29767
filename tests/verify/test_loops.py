"""The loops of a model's own step over GF(p): a tier of `verify`, and a look before a user's equations first train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile as stages
from chainrule.errors import CompileError, VerificationError
from chainrule.ir.expr import Expr
from chainrule.loops.lower import Lowering
from chainrule.verify import loops
from chainrule.verify.loops import WORK, Loops, loops_agree, reduced_step, work


class Distances(cr.Layer):
    equation = "y[n, o<3] = sum[i]((x[n, i] - w[o, i])**2)**(1/3)"
    init: ClassVar[Any] = {"w": cr.normal(1.0, 3, "i")}


def own() -> cr.Model:
    return cr.Sequential(cr.Input(4), Distances(), cr.Dense(2), loss="softmax_cross_entropy")


def data() -> tuple[Any, Any]:
    return np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32), np.arange(16) % 2


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowering that takes a cube root for another."""
    right = Lowering.power

    def wrong(self: Lowering, base: Any, exponent: Any) -> Any:
        return right(self, base, exponent + 1 if exponent.denominator == 3 else exponent)

    monkeypatch.setattr(Lowering, "power", wrong)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Loops]:
    """What came of each look at loops."""
    found: list[Loops] = []

    def look(*arguments: Any) -> Loops:
        found.append(loops_agree(*arguments))
        return found[-1]

    monkeypatch.setattr(stages, "loops_agree", look)
    return found


def test_verify_carries_out_the_loops_of_a_step() -> None:
    certificate = own().verify(optimizer="adam")
    (entry,) = (entry for entry in certificate.entries if entry.tier == "loops")
    assert entry.what.kind == "loops" and entry.what.number > 20
    assert "the loops of a training step" in certificate.claim
    assert (entry.what, 1, "loops", "–") in certificate.rows


@pytest.mark.usefixtures("fault")
def test_verify_refuses_a_fault_in_lowering() -> None:
    with pytest.raises(VerificationError, match=r"native code is no identity: .*loops"):
        own().verify()


def test_equations_of_a_users_are_looked_at_once(cache: Path, looked: list[Loops]) -> None:
    for _ in range(2):
        own().fit(*data(), epochs=1, verbose=False)
    assert [each.differing for each in looked] == [()] and looked[0].kernels > 10
    assert len([*(cache / "answers").iterdir()]) == 3  # that, the code of the step, and how it is called
    own().fit(*data(), epochs=1, batch_size=1, verbose=False)
    assert len(looked) == 2


def test_layers_of_the_library_are_not_looked_at(cache: Path, looked: list[Loops]) -> None:
    cr.Sequential(cr.Input(4), cr.Dense(2), loss="softmax_cross_entropy").fit(*data(), epochs=1, verbose=False)
    assert not looked


@pytest.mark.usefixtures("cache", "fault")
def test_where_the_loops_are_wrong_numpy_trains() -> None:
    model, other = own(), own()
    with pytest.warns(RuntimeWarning, match=r"the loops compute .*otherwise than the equations.*NumPy runs the model"):
        model.fit(*data(), epochs=1, verbose=False)
    other.fit(*data(), epochs=1, verbose=False, executor="numpy")
    assert all(np.array_equal(value, other.parameters[name]) for name, value in model.parameters.items())
    with pytest.raises(CompileError, match="a fault of chainrule's"):
        own().fit(*data(), epochs=1, verbose=False, executor="native")


def test_a_generator_that_breaks_down_says_so_and_numpy_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Lowering, node: Expr, envs: Any) -> Any:
        raise KeyError("i")

    right = own().predict(data()[0], executor="numpy")
    monkeypatch.setattr(Lowering, "evaluate", broken)
    with pytest.warns(RuntimeWarning, match="a fault of chainrule's, KeyError: 'i'; NumPy runs the model"):
        assert np.array_equal(own().predict(data()[0]), right)
    with pytest.raises(CompileError, match="a fault of chainrule's"):
        own().predict(data()[0], executor="native")


def windows(count: int) -> cr.Model:
    """Windows of 7 × 7 that no reduction cuts, and equations of a user's."""
    layers = (cr.Conv2d(3, 7, padding=3) for _ in range(count))
    return cr.Sequential(cr.Input(3, 9, 9), *layers, Own(), loss="mean_squared_error")


class Own(cr.Layer):
    equation = "y[n, c, i, j] = w[c]*x[n, c, i, j]"
    init: ClassVar[Any] = {"w": cr.ones("c")}


def test_a_step_of_many_operations_is_carried_out_at_smaller_shapes() -> None:
    derivation = windows(5).derive()
    large, small = (reduced_step(derivation, None, batch) for batch in (1, 64))
    assert work(large, 1) < work(large, 64) > WORK > work(small, 64)


def test_a_step_of_too_many_operations_is_not_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    task = reduced_step(own().derive(), None)
    assert loops_agree(task).note == ""
    monkeypatch.setattr(loops, "WORK", 100)
    assert "too many operations" in loops_agree(task).note


@pytest.mark.usefixtures("cache")
def test_native_code_that_was_not_looked_at_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "WORK", 10)
    with pytest.warns(RuntimeWarning, match="not compared with the equations: the step takes too many operations"):
        own().fit(*data(), epochs=1, verbose=False)
    monkeypatch.undo()


def test_whole_numbers_of_tables_of_different_sizes_are_positions_of_theirs() -> None:
    class Two(cr.Layer):
        equation = "y[n, d<2] = sum[v<5]([v == x[n, 0]]*E[v, d]) + sum[v<3]([v == x[n, 1]]*F[v, d])"
        init: ClassVar[Any] = {"E": cr.normal(1.0, 5, 2), "F": cr.normal(1.0, 3, 2)}

    model = cr.Sequential(cr.Input(2, dtype="integer"), Two(), loss="mean_squared_error")
    assert not loops_agree(reduced_step(model.derive(), cr.SGD(0.1))).differing


def test_a_maximum_that_is_read_beyond_its_end_is_carried_out() -> None:
    equation = "y[n, i<3] = tanh(max[j<1](pad(x, -inf)[n, 0, i]))*pad(x, 0)[n, 0, i + 2]"
    layer = type("Own", (cr.Layer,), {"equation": equation})()
    certificate = cr.Sequential(cr.Input(1, 3), layer, loss="half_squared_error").verify()
    assert certificate.count("loops") == 1
