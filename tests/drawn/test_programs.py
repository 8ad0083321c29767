"""Drawn programs, a few: derived, their gradients and their loops right. Many: `python -m tests.drawn.campaign`."""

from __future__ import annotations

import pytest

from tests.drawn.grammar import program
from tests.drawn.judge import CONSUMERS, QUICK, judged

EACH = 5
SEEDS = range(0, 15, EACH)


@pytest.mark.parametrize("first", SEEDS)
def test_gradients_and_loops_of_drawn_programs_are_right(first: int) -> None:
    found = {seed: judged(program(seed), QUICK).faults for seed in range(first, first + EACH)}
    assert {f"{seed}\n{program(seed)}": faults for seed, faults in found.items() if faults} == {}


@pytest.mark.campaign
@pytest.mark.parametrize("first", range(0, 200, EACH))
def test_drawn_programs_pass_through_all_consumers(first: int) -> None:
    found = {seed: judged(program(seed), [*CONSUMERS]).faults for seed in range(first, first + EACH)}
    assert {f"{seed}\n{program(seed)}": faults for seed, faults in found.items() if faults} == {}
