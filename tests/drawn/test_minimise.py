"""A failing program is made smaller, and the fault stays."""

from __future__ import annotations

from tests.drawn.grammar import program
from tests.drawn.language import Apply, Program, Read, places
from tests.drawn.minimise import size, smallest


def holds(drawn: Program) -> bool:
    """The "fault": a function of something that reads a tensor."""
    return any(
        isinstance(node, Apply) and any(isinstance(inner, Read) for _, inner in places(node))
        for e in drawn.equations for _, node in places(e.value)
    )


def test_what_is_left_is_the_fault_alone() -> None:
    failing = [drawn for drawn in map(program, range(10)) if holds(drawn)]
    assert len(failing) > 3
    for drawn in failing[:3]:
        small = smallest(drawn, holds)
        assert holds(small) and size(small) < size(drawn)
        assert len(small.equations) == 1 and len(small.text) < 40
