"""Negative controls of the campaign: each kind of fault, planted again, is found within 500 programs."""

from __future__ import annotations

import pytest

from tests.drawn.grammar import program
from tests.drawn.judge import judged
from tests.drawn.planted import PLANTED, with_fault

WITHIN = 500


def found_at(kind: str, within: int = WITHIN) -> int | None:
    """The number of programs that were drawn until one shows the fault, or is refused, and is not without it."""
    consumer = PLANTED[kind][1]
    for seed in range(within):
        drawn = program(seed)
        with with_fault(kind):
            found = judged(drawn, [consumer])
        if found.faults or found.refused:
            right = judged(drawn, [consumer])
            if (bool(right.faults), right.refused) != (bool(found.faults), found.refused):
                return seed + 1
    return None


@pytest.mark.campaign
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_within_500_programs(kind: str) -> None:
    assert found_at(kind) is not None
