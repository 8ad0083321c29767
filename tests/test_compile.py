"""A model whose step was compiled before is not lowered, printed or built again: in one process, and from the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import compile as stages
from chainrule.derive.trace import RULES, Rule, Setting
from chainrule.ir.expr import ONE, Derivative, Expr
from chainrule.ir.walk import transform
from tests.loops.tasks import task_of

check = import_module("chainrule.derive.check")  # `chainrule.derive` is a function too

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
Y = np.arange(40) % 3


class Bend(cr.Layer):
    """A layer of a user's own, whose loops are looked at before they run."""

    equation = "y[n, i] = x[n, i] + tanh(x[n, i])**2"


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each stage runs, with a cache that is empty, on disk and in the process."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    times = Counter[str]()

    def counting(name: str) -> Any:
        stage = getattr(stages, name)

        def run(*arguments: Any, **options: Any) -> Any:
            times[name] += 1
            return stage(*arguments, **options)

        return run

    for name in ("lower", "emit", "build"):
        monkeypatch.setattr(stages, name, counting(name))
    stages._program.cache_clear()
    return times


def trained(*hidden: Any, batch: int = 8, rule: str = "sgd") -> dict[str, bytes]:
    model = cr.Sequential(
        cr.Input(6), *(hidden or (cr.Dense(5), cr.Tanh())), cr.Dense(3), loss="softmax_cross_entropy", seed=3
    )  # fmt: skip
    model.fit(X, Y, epochs=1, batch_size=batch, optimizer=rule, verbose=False)
    return {name: np.asarray(value).tobytes() for name, value in model.parameters.items()}


ONCE = {"lower": 1, "emit": 1, "build": 1}


def test_a_second_model_of_one_architecture_takes_the_code_of_the_first(counted: Counter[str]) -> None:
    first = trained()
    assert counted == ONCE
    assert trained() == first
    assert counted == ONCE


def test_what_the_cache_holds_is_not_lowered(counted: Counter[str]) -> None:
    first = trained()
    stages._program.cache_clear()
    assert trained() == first
    assert counted == ONCE


def test_names_of_a_users_tell_no_two_programs_apart(counted: Counter[str]) -> None:
    for text, kept, data in (
        ("u[n, k] = sum[l](W[k, l]*x[n, l])", "W[3, 5]", "x[N, 5]"),
        ("a[n, i] = sum[j](V[i, j]*b[n, j])", "V[3, 5]", "b[N, 5]"),
        ("u[n, k] = sum[l](W[k, l]*x[n, l])", "W[3, 4]", "x[N, 4]"),
    ):  # fmt: skip
        stages.compiled(task_of(text, kept=kept, data=data), samples=8)
    assert counted == dict.fromkeys(ONCE, 2)


@pytest.mark.parametrize("other", [
    {"batch": 1}, {"rule": "adam"}, {"hidden": (cr.Dense(4), cr.Tanh())}, {"hidden": (cr.Dense(5), cr.Sigmoid())},
], ids=str)  # fmt: skip
def test_another_program_is_lowered(counted: Counter[str], other: dict[str, Any]) -> None:
    trained()
    trained(*other.pop("hidden", ()), **other)
    assert counted == dict.fromkeys(ONCE, 2)


def test_another_version_of_chainrule_lowers_anew(counted: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trained()
    stages._program.cache_clear()
    monkeypatch.setattr(stages, "_own_code", lambda: "another")
    trained()
    assert counted == dict.fromkeys(ONCE, 2)


@pytest.mark.parametrize("damage", ["answers", "objects"])
def test_what_is_damaged_is_made_anew(counted: Counter[str], tmp_path: Path, damage: str) -> None:
    first = trained()
    stages._program.cache_clear()
    for path in (tmp_path / damage).iterdir():
        path.unlink()  # it is mapped: what is written into it would run
        path.write_text("{}\n")
    assert trained() == first
    assert counted == dict.fromkeys(ONCE, 2)


def test_answers_that_are_exchanged_are_asked_again(counted: Counter[str], tmp_path: Path) -> None:
    """How another program's code is called would read and write beyond its memory."""
    units = 5, 64
    first = [trained(cr.Dense(many), cr.Tanh()) for many in units]
    stages._program.cache_clear()
    files = sorted((tmp_path / "answers").iterdir())
    texts = [path.read_text() for path in files]
    for path, text in zip(files, [*texts[1:], texts[0]], strict=True):
        path.write_text(text)
    assert [trained(cr.Dense(many), cr.Tanh()) for many in units] == first
    assert counted == dict.fromkeys(ONCE, 4)


def test_loops_that_were_looked_at_are_not_lowered_to_know_that(counted: Counter[str]) -> None:
    looked = Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "lowerings", lambda *a, right=stages.lowerings: looked.update(["lowerings"]) or right(*a))
        first = trained(Bend())
        assert trained(Bend()) == first
    assert looked == {"lowerings": 1} and counted == ONCE


def test_libraries_of_one_code_have_memory_of_their_own() -> None:
    model = cr.Sequential(cr.Input(6), cr.Dense(3), loss="softmax_cross_entropy")
    task = stages.training(model.network, model.derive(), cr.SGD(0.1), "classes")
    one, other = (stages.compiled(task, samples=8) for _ in range(2))
    assert one.handle is other.handle and one.table is not other.table
    assert all(not np.shares_memory(a, b) for a, b in zip(one.bound, other.bound, strict=True) if a is not None)


# What was checked is remembered by its lines


NETWORK = "cr.Sequential(cr.Input(6), cr.Dense(5), cr.Tanh(), cr.Dense(3), loss='softmax_cross_entropy')"


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the lines of a derivation are checked, with a cache that is empty."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    times = Counter[str]()
    run = check._check
    monkeypatch.setattr(check, "_check", lambda of: times.update(["checked"]) or run(of))
    return times


def derived() -> cr.Derivation:
    """As a new process has it, which has checked nothing yet."""
    check.KNOWN.clear()
    return cr.Sequential(cr.Input(6), cr.Dense(5), cr.Tanh(), cr.Dense(3), loss="softmax_cross_entropy").derive()


def test_what_was_checked_is_not_checked_again(checks: Counter[str]) -> None:
    for _ in range(2):
        derived()
    assert checks == {"checked": 1}


def test_a_line_that_another_rule_gives_is_checked_whatever_is_remembered(
    checks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule for functions loses the inner derivative, after this very program was checked with the right one."""
    derived()
    rule = RULES["derivative.function"]

    def wrong(expr: Expr, setting: Setting) -> Expr:
        after = rule.apply(expr, setting)
        return expr if after is expr else transform(after, lambda node: ONE if isinstance(node, Derivative) else node)

    monkeypatch.setitem(RULES, rule.id, Rule(rule.id, rule.law, rule.example, wrong))
    with pytest.raises(cr.DerivationError):
        derived()
    assert checks == {"checked": 2}


def test_another_version_of_chainrule_checks_anew(checks: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    derived()
    monkeypatch.setattr(stages, "_own_code", lambda: "another")
    derived()
    assert checks == {"checked": 2}


def test_without_a_place_to_remember_everything_is_checked(
    checks: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        derived()
    assert checks == {"checked": 2}


def test_the_digest_of_lines_is_that_of_any_process() -> None:
    code = (
        "import chainrule as cr; from importlib import import_module as get; "
        f"print(get('chainrule.derive.check').digest({NETWORK}.derive()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {check.digest(derived())}
