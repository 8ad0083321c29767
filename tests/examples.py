"""What `make test` runs a part of, and `make campaign` the whole: drawn examples, and long lists of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

CAMPAIGN = settings.default.max_examples > 1000  # pyright: ignore[reportOptionalMemberAccess]


def examples(few: int, many: int) -> Callable[[Any], Any]:
    """A test that `make test` runs with few examples and `make campaign` with many."""

    def drawn(test: Any) -> Any:
        return pytest.mark.drawn(settings(max_examples=many if CAMPAIGN else few)(test))

    return drawn


def few(values: Iterable[Any], every: int) -> list[Any]:
    """Values of a parameter, or tuples for several, of which `make test` takes each `every`-th, from the first on."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=[pytest.mark.campaign] * (n % every > 0))
        for n, value in enumerate(values)
    ]
