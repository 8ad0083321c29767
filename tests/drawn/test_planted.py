"""Negative controls of the campaign: each kind of fault, planted again, is found within 500 programs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.drawn import planted
from tests.drawn.planted import PLANTED, found_at


@pytest.mark.campaign
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_within_500_programs(kind: str) -> None:
    assert found_at(kind) is not None


def test_a_plant_that_crashes_or_changes_nothing_is_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*about: object) -> None:
        raise TypeError("it takes other arguments")

    plants: dict[str, Callable[..., None]] = {
        "nothing": lambda stack: None,
        "a crash": lambda stack: stack.enter_context(pytest.MonkeyPatch.context()).setattr(
            planted.lemma, "rename_bound", crash
        ),
    }
    for kind, plant in plants.items():
        monkeypatch.setitem(PLANTED, kind, (plant, "numbers"))
        assert found_at(kind, 3) is None
