"""How many examples hypothesis draws: few in `make test`, many in `make campaign`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

CAMPAIGN = settings.default.max_examples > 1000  # pyright: ignore[reportOptionalMemberAccess]


def examples(few: int, many: int) -> Callable[[Any], Any]:
    """A test that `make test` runs with few examples and `make campaign` with many."""

    def drawn(test: Any) -> Any:
        return pytest.mark.drawn(settings(max_examples=many if CAMPAIGN else few)(test))

    return drawn
